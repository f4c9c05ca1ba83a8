package tags

import (
	"fmt"
	"unicode/utf8"
)

// Ref stands for a pair in one store: its key and its value by number.
type Ref uint64

// A Loader adds stored sets to a store during recovery, as Load does, but pair by pair: a pair that comes again needs no
// look-up. The store takes nothing else meanwhile; after an error it is to be thrown away. Not safe for concurrent use.
type Loader struct {
	s       *Store
	longest []int // by key: the most bytes that a pair with it takes
	coded   []coded
}

// NewLoader makes a loader.
func (s *Store) NewLoader() *Loader { return &Loader{s: s} }

// Pair returns what stands for a pair of the set that is to be added next. It copies what is new. It fails with what Valid
// says of a set with the pair.
func (l *Loader) Pair(key, value []byte) (Ref, error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keyOf(key)
	if k == nil {
		if err := validPart(key, MaxKeyBytes, ErrKeyTooLong); err != nil {
			return 0, err
		}
		k = s.key(key, s.n.Load())
		s.bytes.Add(int64(len(key)) + keyBytes)
	}
	for int(k.no) >= len(l.longest) {
		l.longest = append(l.longest, 0)
	}
	if err := validPart(value, MaxValueBytes, ErrValueTooLong); err != nil {
		return 0, err
	}
	if s.bytes.Load() > maxStoreBytes {
		return 0, fmt.Errorf("load: %w: more than 3 GiB", ErrTooManySets)
	}
	code, created := k.values.intern(value, s.n.Load())
	if created {
		s.bytes.Add(int64(len(value)) + valueBytes)
	}
	l.longest[k.no] = max(l.longest[k.no], len(k.name)+len(value)+4)
	return Ref(k.no)<<32 | Ref(code), nil
}

func validPart(b []byte, most int, long error) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%w: an empty key or value", ErrMalformed)
	case len(b) > most:
		return fmt.Errorf("%w: %d bytes, at most %d", long, len(b), most)
	case !utf8.Valid(b):
		return fmt.Errorf("%w: %q", ErrNotUTF8, b)
	}
	return nil
}

// Add adds the set that had the given id when it was stored; its pairs are in order of key. Ids come in order.
func (l *Loader) Add(id uint32, pairs []Ref) error {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.n.Load(); id != n {
		return fmt.Errorf("%w: %d where %d is next", ErrOrder, id, n)
	}
	if len(pairs) == 0 {
		return fmt.Errorf("%w: id %d is empty", ErrDuplicate, id)
	}
	if len(pairs) > MaxKeys {
		return fmt.Errorf("%w: at most %d", ErrTooManyKeys, MaxKeys)
	}
	l.coded, s.pairs = l.coded[:0], s.pairs[:0]
	list := *s.list.Load()
	s.sum = 0
	size := 0
	for _, r := range pairs {
		k, code := list[r>>32], uint32(r)
		s.sum += mix(k.no, code)
		size += l.longest[k.no]
		l.coded = append(l.coded, coded{k, code})
		s.pairs = append(s.pairs, pair{key: k, code: code})
	}
	if !s.sameKeys((*s.shapes.Load())[s.last]) {
		for i := 1; i < len(l.coded); i++ {
			if a, b := l.coded[i-1].key.name, l.coded[i].key.name; a >= b {
				return fmt.Errorf("%w: key %q after %q", ErrMalformed, b, a)
			}
		}
	}
	if size > MaxSetBytes && l.size() > MaxSetBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrSetTooLong, l.size(), MaxSetBytes)
	}
	if was, ok := s.find(fold(s.sum), l.coded); ok {
		return fmt.Errorf("%w: id %d is %d", ErrDuplicate, id, was)
	}
	s.add()
	return nil
}

// size is the length of the encoding of the set being added.
func (l *Loader) size() (n int) {
	uvarint := func(x int) int {
		if x < 0x80 {
			return 1
		}
		return 2
	}
	for _, p := range l.coded {
		value := len(p.key.values.state.Load().get(p.code))
		n += len(p.key.name) + uvarint(len(p.key.name)) + value + uvarint(value)
	}
	return n
}

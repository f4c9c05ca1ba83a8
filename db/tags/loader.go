package tags

import (
	"fmt"
	"unicode/utf8"
)

// A Loader adds stored sets to a store during recovery, many at a time: the values that sets have for a key, key after key
// or set after set. They are in the store when Finish has returned. The store takes nothing else meanwhile and nobody reads
// it; after an error it is to be thrown away. Not safe for concurrent use.
type Loader struct {
	s        *Store
	from, to uint32
	keys     []loadKey // by number
	// by set, less from: the hash of its pairs, and its keys so far as a node
	sums  []uint64
	nodes []uint32
	tree  []loadNode
	steps map[uint64]uint32 // node<<32 | key: the node with that key, too
}

// loadKey is what a Loader knows of a key.
type loadKey struct {
	next    uint32 // the least id that may come next
	longest int    // the most bytes that a pair takes
	fresh   int    // values that were added
	// whether room was made for more than were there
	reserved bool
	// where the last set with the key came from and went to: the next one often does, too
	was, is uint32
}

// loadNode is a list of keys: another one and a key more. Node 0 is the empty list.
type loadNode struct {
	parent uint32
	key    *key
	count  int
	shape  uint32 // its number, plus one; 0 while it is not known
	// whether a set with these keys may be too long, once that was looked at
	long, weighed bool
}

// NewLoader makes a loader of the sets with ids in [from, to); from is the store's next id.
func (s *Store) NewLoader(from, to uint32) (*Loader, error) {
	if n := s.n.Load(); from != n || to < from {
		return nil, fmt.Errorf("%w: %d to %d where %d is next", ErrOrder, from, to, n)
	}
	return &Loader{
		s: s, from: from, to: to, sums: make([]uint64, to-from), nodes: make([]uint32, to-from), tree: make([]loadNode, 1), steps: map[uint64]uint32{},
	}, nil
}

// Key returns the number of a key, which is copied when it is new. It fails with what Valid says of it.
func (l *Loader) Key(name []byte) (uint32, error) {
	s := l.s
	k := s.keyOf(name)
	if k == nil {
		if err := validPart(name, MaxKeyBytes, ErrKeyTooLong); err != nil {
			return 0, err
		}
		k = s.key(name, l.from)
		s.bytes.Add(int64(len(name)) + keyBytes)
	}
	for int(k.no) >= len(l.keys) {
		l.keys = append(l.keys, loadKey{next: l.from, is: unknownNode})
	}
	return k.no, nil
}

const unknownNode = ^uint32(0)

// Value returns the code of a key's value, of which id is the next set that has it; it is copied when it is new. It fails
// with what Valid says of it.
func (l *Loader) Value(key uint32, value []byte, id uint32) (uint32, error) {
	s := l.s
	k := (*s.list.Load())[key]
	code, hash := k.values.resolve(value)
	if code == 0 {
		if err := validPart(value, MaxValueBytes, ErrValueTooLong); err != nil {
			return 0, err
		}
		if s.bytes.Load() > maxStoreBytes {
			return 0, fmt.Errorf("load: %w: more than 3 GiB", ErrTooManySets)
		}
		l.keys[key].fresh++
		if k.values.scarce() {
			l.reserve(k, id)
		}
		code = k.values.insert(value, hash, id)
		s.bytes.Add(valueSize(len(value)))
	}
	if n := len(k.name) + len(value) + 4; n > l.keys[key].longest {
		l.keys[key].longest = n
	}
	return code, nil
}

// reserve makes room for more values of a key, by how many new ones the sets before id have: up to seven times as many as
// there are.
func (l *Loader) reserve(k *key, id uint32) {
	at := &l.keys[k.no]
	sets, left := int(id-l.from)+1, int(l.to-id)
	if 2*at.fresh < sets {
		return
	}
	k.values.reserve(min(left*at.fresh/sets, 7*int(k.values.n.Load())))
	at.reserved = true
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

// Add gives sets their values of one key; ids ascend, also from call to call. The keys of a set come in ascending order.
func (l *Loader) Add(key uint32, ids []int64, codes []uint32) error {
	if len(ids) == 0 {
		return nil
	}
	s := l.s
	k, at := (*s.list.Load())[key], &l.keys[key]
	for i, id := range ids {
		if id < int64(at.next) || id >= int64(l.to) {
			return fmt.Errorf("%w: set %d has key %q after %d, of %d to %d", ErrOrder, id, k.name, int64(at.next)-1, l.from, l.to)
		}
		at.next = uint32(id) + 1
		off := uint32(id) - l.from
		l.sums[off] += mix(key, codes[i])
		if node := &l.nodes[off]; *node == at.was && at.is != unknownNode {
			*node = at.is
		} else if err := l.step(node, k, at); err != nil {
			return fmt.Errorf("set %d: %w", id, err)
		}
	}
	k.col.appendAll(ids, codes, &s.bytes)
	return nil
}

// step moves a set to the list of keys that has one more.
func (l *Loader) step(node *uint32, k *key, at *loadKey) error {
	was := *node
	is, ok := l.steps[uint64(was)<<32|uint64(k.no)]
	if !ok {
		before := l.tree[was]
		if before.key != nil && before.key.name >= k.name {
			return fmt.Errorf("%w: key %q after %q", ErrMalformed, k.name, before.key.name)
		}
		if before.count == MaxKeys {
			return fmt.Errorf("%w: at most %d", ErrTooManyKeys, MaxKeys)
		}
		is = uint32(len(l.tree))
		l.tree = append(l.tree, loadNode{parent: was, key: k, count: before.count + 1})
		l.steps[uint64(was)<<32|uint64(k.no)] = is
	}
	at.was, at.is, *node = was, is, is
	return nil
}

// Finish adds the sets. It fails with ErrDuplicate when two are equal or one has no tags.
func (l *Loader) Finish() error {
	s := l.s
	for t := s.table.Load(); t.full(l.to); t = s.table.Load() {
		s.table.Store(t.grow())
	}
	table := s.table.Load()
	for i, node := range l.nodes {
		id := l.from + uint32(i)
		if node == 0 {
			return fmt.Errorf("%w: id %d is empty", ErrDuplicate, id)
		}
		no, err := l.shape(node)
		if err != nil {
			return err
		}
		if l.tooLong(node) {
			if n := l.size(id, no); n > MaxSetBytes {
				return fmt.Errorf("set %d: %w: %d bytes, at most %d", id, ErrSetTooLong, n, MaxSetBytes)
			}
		}
		s.bytes.Add(setBytes + s.shapeCol.append(id, no+1))
		if was, ok := s.findEqual(fold(l.sums[i]), id, no); ok {
			return fmt.Errorf("%w: id %d is %d", ErrDuplicate, id, was)
		}
		table.insert(fold(l.sums[i]), id)
	}
	for no, k := range l.keys {
		if k.reserved {
			(*s.list.Load())[no].values.trim()
		}
	}
	s.n.Store(l.to)
	s.recent.fitAll(int(l.to))
	return nil
}

// shape is the number of a node's shape.
func (l *Loader) shape(node uint32) (uint32, error) {
	at := &l.tree[node]
	if at.shape != 0 {
		return at.shape - 1, nil
	}
	s := l.s
	s.pairs = append(s.pairs[:0], make([]pair, at.count)...)
	for n := node; n != 0; n = l.tree[n].parent {
		s.pairs[l.tree[n].count-1].key = l.tree[n].key
	}
	no, size := s.shape()
	if s.bytes.Add(size) > maxStoreBytes {
		return 0, fmt.Errorf("load: %w: more than 3 GiB", ErrTooManySets)
	}
	at.shape = no + 1
	return no, nil
}

// tooLong says whether the encoding of a set with these keys may be too long.
func (l *Loader) tooLong(node uint32) bool {
	if at := &l.tree[node]; !at.weighed {
		at.weighed = true
		size := 0
		for n := node; n != 0; n = l.tree[n].parent {
			size += l.keys[l.tree[n].key.no].longest
		}
		at.long = size > MaxSetBytes
	}
	return l.tree[node].long
}

// size is the length of the encoding of a set that is being added.
func (l *Loader) size(id, shape uint32) (n int) {
	uvarint := func(x int) int {
		if x < 0x80 {
			return 1
		}
		return 2
	}
	for _, k := range (*l.s.shapes.Load())[shape].keys {
		value := len(k.values.state.Load().get(k.col.at(id)))
		n += len(k.name) + uvarint(len(k.name)) + value + uvarint(value)
	}
	return n
}

// findEqual returns a set before id that equals it; id has the given hash and shape.
func (s *Store) findEqual(hash, id, shape uint32) (uint32, bool) {
	t := s.table.Load()
	for i := hash; ; i++ {
		slot := t.slots[i&t.mask].Load()
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) == hash && s.equal(uint32(slot), id, shape) {
			return uint32(slot), true
		}
	}
}

// equal says whether two sets are equal, of which b has the given shape.
func (s *Store) equal(a, b, shape uint32) bool {
	if s.shapeCol.at(a) != shape+1 {
		return false
	}
	for _, k := range (*s.shapes.Load())[shape].keys {
		if k.col.at(a) != k.col.at(b) {
			return false
		}
	}
	return true
}

package tags

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// pair is one tag of a set as codes.
type pair struct {
	key         *key
	code        uint32 // of the value; 0 while the key does not have it
	hash        uint32 // of the value, where it has no code
	name, value []byte // parts of the encoding
}

// shape is the keys of some sets, in the order of their encoding. Immutable.
type shape struct{ keys []*key }

// shapeBytes is what a shape takes beside 12 bytes a key.
const shapeBytes = 120

// shape returns the number of the shape of s.pairs, and the bytes it took if it is new; mu is held.
func (s *Store) shape() (no uint32, size int64) {
	all := *s.shapes.Load()
	if s.sameKeys(all[s.last]) {
		return s.last, 0
	}
	s.keyText = s.keyText[:0]
	for i := range s.pairs {
		s.keyText = binary.LittleEndian.AppendUint32(s.keyText, s.pairs[i].key.no)
	}
	no, ok := s.byKeys[string(s.keyText)]
	if !ok {
		keys := make([]*key, len(s.pairs))
		for i := range keys {
			keys[i] = s.pairs[i].key
		}
		no, size = uint32(len(all)), int64(12*len(keys)+shapeBytes)
		all = append(all, &shape{keys}) // readers of the old header do not look at the new element
		s.shapes.Store(&all)
		s.byKeys[string(s.keyText)] = no
	}
	s.last = no
	return no, size
}

func (s *Store) sameKeys(sh *shape) bool {
	if len(sh.keys) != len(s.pairs) {
		return false
	}
	for i, k := range sh.keys {
		if s.pairs[i].key != k {
			return false
		}
	}
	return true
}

// shapeOf is the shape of a published set.
func (s *Store) shapeOf(id uint32) *shape {
	no := s.shapeCol.at(id) // before the list, which then has it
	return (*s.shapes.Load())[no-1]
}

// keyOf returns the index of a key, nil where there is none.
func (s *Store) keyOf(name []byte) *key {
	code, ok := s.names.find(name)
	if list := *s.list.Load(); ok && int(code) <= len(list) {
		return list[code-1]
	}
	return nil // its first set is being added
}

// resolve sets s.pairs to those of an encoding and s.sum to their hash, and says whether the store has them all. It fails
// with what Valid says of the encoding. What the store knows is valid, so only the rest is looked at; mu is held.
func (s *Store) resolve(enc []byte) (known bool, err error) {
	s.pairs, s.sum, known = s.pairs[:0], 0, true
	keys := (*s.shapes.Load())[s.last].keys
	rest, guessed := enc, true
	var prev []byte
	for len(rest) > 0 {
		var p pair
		var ok bool
		if p.name, p.value, rest, ok = next(rest); !ok || len(p.value) == 0 {
			return false, invalid(enc)
		}
		if i := len(s.pairs); guessed && i < len(keys) && keys[i].name == string(p.name) {
			p.key = keys[i] // in order, as the shape's keys are
		} else {
			guessed = false
			if p.key = s.keyOf(p.name); p.key == nil && validPart(p.name, MaxKeyBytes, ErrKeyTooLong) != nil || bytes.Compare(prev, p.name) >= 0 {
				return false, invalid(enc)
			}
		}
		if p.key == nil {
			p.hash = uint32(xxhash.Sum64(p.value))
		} else {
			p.code, p.hash = p.key.values.resolve(p.value)
		}
		if p.code == 0 {
			if known = false; validPart(p.value, MaxValueBytes, ErrValueTooLong) != nil {
				return false, invalid(enc)
			}
		} else {
			s.sum += mix(p.key.no, p.code)
		}
		prev = p.name
		s.pairs = append(s.pairs, p)
	}
	if len(enc) > MaxSetBytes || len(s.pairs) > MaxKeys {
		return false, invalid(enc)
	}
	return known, nil
}

// invalid is what Valid says of an encoding that is not.
func invalid(enc []byte) error { return cmp.Or(Valid(enc), ErrMalformed) }

// findPairs returns the set of s.pairs, all of which the store has; mu is held.
func (s *Store) findPairs() (id uint32, ok bool) {
	s.coded = s.coded[:0]
	for i := range s.pairs {
		s.coded = append(s.coded, coded{s.pairs[i].key, s.pairs[i].code})
	}
	return s.find(fold(s.sum), s.coded)
}

// coded is a pair that the store has.
type coded struct {
	key  *key
	code uint32
}

// search looks a set up by the codes of its pairs. Any goroutine may.
func (s *Store) search(enc []byte) (id uint32, ok bool) {
	var room [64]coded
	pairs := room[:0]
	guess := (*s.shapes.Load())[s.hint.Load()].keys
	var hash uint64
	for len(enc) > 0 {
		var name, value []byte
		if name, value, enc, ok = next(enc); !ok || len(value) == 0 {
			return 0, false
		}
		var p coded
		if i := len(pairs); i < len(guess) && guess[i].name == string(name) {
			p.key = guess[i]
		} else if p.key = s.keyOf(name); p.key == nil {
			return 0, false
		}
		if p.code, ok = p.key.values.find(value); !ok {
			return 0, false
		}
		hash += mix(p.key.no, p.code)
		pairs = append(pairs, p)
	}
	return s.find(fold(hash), pairs)
}

// find returns the set with these pairs, in order of key.
func (s *Store) find(hash uint32, pairs []coded) (id uint32, ok bool) {
	t := s.table.Load()
	for i := hash; ; i++ {
		slot := t.slots[i&t.mask].Load()
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) == hash && s.has(uint32(slot), pairs) {
			return uint32(slot), true
		}
	}
}

func (s *Store) has(id uint32, pairs []coded) bool {
	no := s.shapeCol.at(id) - 1
	keys := (*s.shapes.Load())[no].keys
	if len(keys) != len(pairs) {
		return false
	}
	for i, k := range keys {
		if pairs[i].key != k || k.col.at(id) != pairs[i].code {
			return false
		}
	}
	if s.hint.Load() != no {
		s.hint.Store(no)
	}
	return true
}

// mix is the hash of one pair; the hash of a set is their sum, so that it can be known without one of them.
func mix(key, code uint32) uint64 {
	h := (uint64(key)+1)<<32 | uint64(code)
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func fold(hash uint64) uint32 {
	hash *= 0x9e3779b97f4a7c15
	return uint32(hash >> 32)
}

// AppendSet appends the encoding of a set; nothing for the empty set and for ids that the view does not have.
func (v *View) AppendSet(dst []byte, id uint32) []byte {
	if id == 0 || id >= v.n {
		return dst
	}
	for _, k := range v.s.shapeOf(id).keys {
		code := k.col.at(id) // before the state, which then has its value
		value := k.values.state.Load().get(code)
		dst = binary.AppendUvarint(dst, uint64(len(k.name)))
		dst = append(dst, k.name...)
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	return dst
}

// Set returns the encoding of a set, a copy; nil for the empty set and for ids that the view does not have.
func (v *View) Set(id uint32) []byte {
	var room [512]byte
	if enc := v.AppendSet(room[:0], id); len(enc) > 0 {
		return slices.Clone(enc)
	}
	return nil
}

// Value returns the value that a set has for a key.
func (v *View) Value(id uint32, key string) (value string, ok bool) {
	k := v.key(key)
	if k == nil || id == 0 || id >= v.n {
		return "", false
	}
	code := k.col.at(id)
	if code == 0 {
		return "", false
	}
	return text(k.values.state.Load().get(code)), true
}

// Each calls f for every tag of a set, in order of key; for none of the empty set and of ids that the view does not have.
func (v *View) Each(id uint32, f func(key, value string)) {
	if id == 0 || id >= v.n {
		return
	}
	for _, k := range v.s.shapeOf(id).keys {
		code := k.col.at(id)
		f(k.name, text(k.values.state.Load().get(code)))
	}
}

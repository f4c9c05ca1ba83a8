package batch

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Dict is an immutable list of byte strings in one arena. Entries of a builder's or a frame's dictionary are distinct;
// those of a scanned page need not be.
type Dict struct {
	data []byte
	offs []uint32 // len()+1 offsets into data
}

var emptyDict = &Dict{offs: []uint32{0, 0}}

// NewDict wraps an arena: entry i is data[offs[i]:offs[i+1]]. Both are owned by the dictionary from here on. offs has one
// more element than there are entries and ascends.
func NewDict(data []byte, offs []uint32) *Dict { return &Dict{data: data, offs: offs} }

// DictOf is a dictionary of the given strings, in order.
func DictOf(values ...string) *Dict {
	d := &Dict{offs: make([]uint32, 1, len(values)+1)}
	for _, v := range values {
		d.data = append(d.data, v...)
		d.offs = append(d.offs, uint32(len(d.data)))
	}
	return d
}

// Len is the number of entries.
func (d *Dict) Len() int {
	if d == nil {
		return 0
	}
	return len(d.offs) - 1
}

// Bytes is the size of all entries together.
func (d *Dict) Bytes() int {
	if d == nil {
		return 0
	}
	return len(d.data)
}

// At is entry i, borrowed.
func (d *Dict) At(i int) []byte { return d.data[d.offs[i]:d.offs[i+1]:d.offs[i+1]] }

// String is entry i as a string of its own.
func (d *Dict) String(i int) string { return string(d.At(i)) }

// Arena is the dictionary's memory: all entries one after another and their offsets. Read-only.
func (d *Dict) Arena() (data []byte, offs []uint32) { return d.data, d.offs }

// DictBuilder interns byte strings into a dictionary. Not safe for concurrent use.
type DictBuilder struct {
	data []byte
	offs []uint32
	// slots are by open addressing: the upper half of an entry's hash, and its code plus one; 0 is free. The hash lies
	// beside the code so that what is not the entry is told from the cache line at hand. The length is a power of two.
	slots []uint64
}

// Len is the number of entries so far.
func (b *DictBuilder) Len() int { return max(len(b.offs)-1, 0) }

// Bytes is the size of the entries so far.
func (b *DictBuilder) Bytes() int { return len(b.data) }

// Code is the code of v, which is added when it is new. v is copied.
func (b *DictBuilder) Code(v []byte) uint32 {
	if len(b.slots) == 0 {
		b.init()
	}
	h := xxhash.Sum64(v) >> 32
	mask := uint64(len(b.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := b.slots[i]
		if s == 0 {
			return b.add(v, h, i)
		}
		if s>>32 != h {
			continue
		}
		if c := uint32(s) - 1; bytes.Equal(b.data[b.offs[c]:b.offs[c+1]], v) {
			return c
		}
	}
}

func (b *DictBuilder) init() {
	b.slots = make([]uint64, 64)
	b.offs = append(b.offs[:0], 0)
}

func (b *DictBuilder) add(v []byte, h, slot uint64) uint32 {
	b.data = append(b.data, v...)
	b.offs = append(b.offs, uint32(len(b.data)))
	n := len(b.offs) - 1
	b.slots[slot] = h<<32 | uint64(n)
	if n*4 > len(b.slots)*3 {
		b.rehash(len(b.slots) * 2)
	}
	return uint32(n - 1)
}

func (b *DictBuilder) rehash(size int) {
	old := b.slots
	b.slots = make([]uint64, size)
	mask := uint64(size - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		i := s >> 32 & mask
		for b.slots[i] != 0 {
			i = (i + 1) & mask
		}
		b.slots[i] = s
	}
}

// Seal hands the dictionary over and starts an empty one. The hash table's memory is kept.
func (b *DictBuilder) Seal() *Dict {
	if len(b.slots) == 0 {
		b.init()
	}
	d := &Dict{data: b.data, offs: b.offs}
	b.data, b.offs = make([]byte, 0, len(b.data)), append(make([]uint32, 0, len(b.offs)), 0)
	clear(b.slots)
	return d
}

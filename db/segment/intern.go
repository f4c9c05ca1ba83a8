package segment

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// interner numbers the distinct byte strings of a column chunk: its Parquet dictionary in the making. The hash it keeps
// of every entry is the one Parquet's Bloom filters use.
type interner struct {
	data   []byte
	offs   []uint32 // len+1
	hashes []uint64
	slots  []uint32 // open addressing, code+1, 0 is free; len is a power of two
}

func (d *interner) len() int { return len(d.hashes) }

func (d *interner) at(code uint32) []byte { return d.data[d.offs[code]:d.offs[code+1]] }

func (d *interner) reset() {
	d.data, d.hashes = d.data[:0], d.hashes[:0]
	if len(d.slots) == 0 {
		d.slots, d.offs = make([]uint32, 64), make([]uint32, 1, 64)
		return
	}
	d.offs = d.offs[:1]
	if len(d.slots) > 1<<16 { // one wide row group must not make every later reset dear
		d.slots = make([]uint32, 64)
		return
	}
	clear(d.slots)
}

// code is the number of v, which is copied when it is new.
func (d *interner) code(v []byte) uint32 {
	h := xxhash.Sum64(v)
	mask := uint32(len(d.slots) - 1)
	i := uint32(h) & mask
	for ; d.slots[i] != 0; i = (i + 1) & mask {
		if c := d.slots[i] - 1; d.hashes[c] == h && bytes.Equal(d.at(c), v) {
			return c
		}
	}
	c := uint32(len(d.hashes))
	d.slots[i] = c + 1
	d.data = append(d.data, v...)
	d.offs = append(d.offs, uint32(len(d.data)))
	d.hashes = append(d.hashes, h)
	if len(d.hashes)*4 > len(d.slots)*3 {
		d.grow()
	}
	return c
}

// truncate drops all entries from n on. Until the next reset it must not be asked for codes.
func (d *interner) truncate(n int) {
	d.data, d.offs, d.hashes = d.data[:d.offs[n]], d.offs[:n+1], d.hashes[:n]
}

func (d *interner) grow() {
	d.slots = make([]uint32, 4*len(d.slots))
	mask := uint32(len(d.slots) - 1)
	for c, h := range d.hashes {
		i := uint32(h) & mask
		for d.slots[i] != 0 {
			i = (i + 1) & mask
		}
		d.slots[i] = uint32(c) + 1
	}
}

// idInterner numbers the distinct tag-set ids of a column chunk. Ids are handed out densely, so an array by id is the
// fastest table; the rare large one goes to a map, so that a wild id cannot cost memory.
type idInterner struct {
	ids   []uint32
	dense []uint32 // by id: code+1
	wild  map[uint32]uint32
}

const maxDenseID = 1 << 22

func (d *idInterner) reset() {
	for _, id := range d.ids {
		if int(id) < len(d.dense) {
			d.dense[id] = 0
		}
	}
	d.ids = d.ids[:0]
	clear(d.wild)
}

// truncate drops all ids from n on.
func (d *idInterner) truncate(n int) {
	for _, id := range d.ids[n:] {
		if int(id) < len(d.dense) {
			d.dense[id] = 0
		}
		delete(d.wild, id)
	}
	d.ids = d.ids[:n]
}

func (d *idInterner) code(id uint32) uint32 {
	if int(id) < len(d.dense) {
		if c := d.dense[id]; c != 0 {
			return c - 1
		}
	} else if id >= maxDenseID {
		if c, ok := d.wild[id]; ok {
			return c
		}
	}
	return d.add(id)
}

func (d *idInterner) add(id uint32) uint32 {
	c := uint32(len(d.ids))
	d.ids = append(d.ids, id)
	switch {
	case id >= maxDenseID:
		if d.wild == nil {
			d.wild = make(map[uint32]uint32)
		}
		d.wild[id] = c
		return c
	case int(id) >= len(d.dense):
		grown := make([]uint32, min(maxDenseID, max(1024, 2*int(id)+2)))
		copy(grown, d.dense)
		d.dense = grown
	}
	d.dense[id] = c + 1
	return c
}

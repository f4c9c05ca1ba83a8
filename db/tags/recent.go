package tags

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// recent finds sets that were met lately by their encoding: one hash and one comparison instead of a look-up per tag. Any
// goroutine may use it; entries replace each other at will.
type recent struct {
	slots atomic.Pointer[[]atomic.Pointer[met]] // by hash; len is a power of two
	bytes atomic.Int64
	limit int64
}

// met is an entry, immutable but for used.
type met struct {
	hash uint64
	id   uint32
	used atomic.Bool // since a newcomer asked for the slot
	enc  []byte
}

// metBytes is what an entry takes beside its encoding.
const metBytes = 56

func (r *recent) init(limit int64) {
	r.limit = limit
	slots := make([]atomic.Pointer[met], 64)
	r.slots.Store(&slots)
}

func (r *recent) get(hash uint64, enc []byte) (id uint32, ok bool) {
	slots := *r.slots.Load()
	m := slots[hash&uint64(len(slots)-1)].Load()
	if m == nil || m.hash != hash || !bytes.Equal(m.enc, enc) {
		return 0, false
	}
	if !m.used.Load() {
		m.used.Store(true)
	}
	return m.id, true
}

// put enters a set, unless the one in its place was used since the last that wanted it. enc is copied.
func (r *recent) put(hash uint64, id uint32, enc []byte) {
	slots := *r.slots.Load()
	slot := &slots[hash&uint64(len(slots)-1)]
	old := slot.Load()
	more := int64(len(enc)) + metBytes
	if old != nil {
		if old.used.Load() {
			old.used.Store(false)
			return
		}
		more -= int64(len(old.enc)) + metBytes
	}
	if r.bytes.Add(more) > r.limit && more > 0 {
		r.bytes.Add(-more)
		r.drop(&slots[hash>>32&uint64(len(slots)-1)]) // there is room for the next then
		return
	}
	if !slot.CompareAndSwap(old, &met{hash: hash, id: id, enc: slices.Clone(enc)}) {
		r.bytes.Add(-more)
	}
}

// drop empties a slot, unless it was used since somebody wanted its room.
func (r *recent) drop(slot *atomic.Pointer[met]) {
	m := slot.Load()
	if m == nil {
		return
	}
	if m.used.Load() {
		m.used.Store(false)
	} else if slot.CompareAndSwap(m, nil) {
		r.bytes.Add(-int64(len(m.enc)) - metBytes)
	}
}

// fit makes room for n sets, at most for as many as the limit lets in when they are short. Only one goroutine calls it.
func (r *recent) fit(n int) {
	old := *r.slots.Load()
	if n < len(old) || int64(len(old))*8*metBytes > r.limit {
		return
	}
	slots := make([]atomic.Pointer[met], 2*len(old))
	var lost int64
	for i := range old {
		m := old[i].Load()
		if m == nil {
			continue
		}
		if at := &slots[m.hash&uint64(len(slots)-1)]; at.Load() == nil {
			at.Store(m)
		} else {
			lost += int64(len(m.enc)) + metBytes
		}
	}
	r.slots.Store(&slots)
	r.bytes.Add(-lost)
}

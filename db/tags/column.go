package tags

import (
	"bytes"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// key is the index of one tag key: which value each set has.
type key struct {
	name   string
	no     uint32 // place in the store's list
	first  uint32 // id of the first set with the key
	col    column
	values values
	dense  denseCache
}

// A column stores value codes by set id in blocks of 4096 ids. The writer appends to the tail; when an id of a later block
// arrives, the tail is packed into a sealed block.
const (
	blockBits = 12
	blockLen  = 1 << blockBits
)

// column maps set ids to value codes.
type column struct {
	state atomic.Pointer[colState]
}

// colState is a snapshot: a reader that loads it sees every set published before, in sealed or in tail.
type colState struct {
	sealed []*block // ascending no, immutable
	tail   *tail
}

// block is the sealed codes of one stretch of ids. Codes are stored as distances from lo in the narrowest of three widths,
// or not at all when they are equal.
type block struct {
	no     uint32 // ids are no<<blockBits + offset
	n      uint32 // sets that have the key
	lo, hi uint32 // bounds of the codes
	ids    []uint16
	w8     []uint8
	w16    []uint16
	w32    []uint32
}

// tail is the codes of the last stretch of ids. The first n elements are published.
type tail struct {
	no    uint32
	n     atomic.Uint32
	ids   []uint16 // len is the capacity
	codes []uint32
}

func newTail(no uint32, room int) *tail {
	return &tail{no: no, ids: make([]uint16, room), codes: make([]uint32, room)}
}

func (c *column) init() { c.state.Store(&colState{tail: newTail(0, 4)}) }

// append adds the code of a set, whose id is greater than all before, and returns by how many bytes the column grew. One
// writer.
func (c *column) append(id, code uint32) (grew int64) {
	t := c.state.Load().tail
	n := t.n.Load()
	if t.no != id>>blockBits || int(n) == len(t.ids) {
		t, grew = c.room(id>>blockBits, 1)
		n = t.n.Load()
	}
	t.ids[n], t.codes[n] = uint16(id&(blockLen-1)), code
	t.n.Store(n + 1)
	return grew
}

// appendAll is append of many sets, in ascending order of id; grew is added to.
func (c *column) appendAll(ids []int64, codes []uint32, grew *atomic.Int64) {
	for len(ids) > 0 {
		no := ids[0] >> blockBits
		k := 1
		for k < len(ids) && ids[k]>>blockBits == no {
			k++
		}
		t, more := c.room(uint32(no), k)
		grew.Add(more)
		n := int(t.n.Load())
		to := t.ids[n : n+k]
		for i, id := range ids[:k] {
			to[i] = uint16(id & (blockLen - 1))
		}
		copy(t.codes[n:], codes[:k])
		t.n.Store(uint32(n + k))
		ids, codes = ids[k:], codes[k:]
	}
}

// room returns a tail for a block, with room for some more codes, and by how many bytes the column grew. Its size depends on
// the number of codes only, not on how many come at a time.
func (c *column) room(no uint32, more int) (t *tail, grew int64) {
	st := c.state.Load()
	t = st.tail
	n := int(t.n.Load())
	switch {
	case n > 0 && no != t.no:
		// Keys come as often as they came: start with room for as many.
		b := seal(t)
		fresh := newTail(no, roomFor(min(blockLen, max(4, n)), more))
		grew = b.bytes() + fresh.bytes() - t.bytes()
		t = fresh
		c.state.Store(&colState{sealed: append(st.sealed, b), tail: t})
	case n == 0 && no != t.no:
		fresh := newTail(no, roomFor(len(t.ids), more))
		grew = fresh.bytes() - t.bytes()
		t = fresh
		c.state.Store(&colState{sealed: st.sealed, tail: t})
	case n+more > len(t.ids):
		fresh := newTail(no, roomFor(len(t.ids), n+more))
		copy(fresh.ids, t.ids[:n])
		copy(fresh.codes, t.codes[:n])
		fresh.n.Store(uint32(n))
		grew = fresh.bytes() - t.bytes()
		t = fresh
		c.state.Store(&colState{sealed: st.sealed, tail: t})
	}
	return t, grew
}

// roomFor is the room of a tail for n codes that began with some.
func roomFor(room, n int) int {
	for room < n {
		room *= 2
	}
	return min(room, blockLen)
}

// bytes is the memory of a block: its header, its place in the list, and the codes.
func (b *block) bytes() int64 {
	return 136 + int64(2*len(b.ids)+len(b.w8)+2*len(b.w16)+4*len(b.w32))
}

func (t *tail) bytes() int64 { return 6 * int64(len(t.ids)) }

// at is the code of a published set, 0 where it does not have the key.
func (c *column) at(id uint32) uint32 {
	st := c.state.Load()
	no, off := id>>blockBits, uint16(id&(blockLen-1))
	if t := st.tail; t.no == no && t.n.Load() > 0 {
		if i := place(t.ids[:t.n.Load()], off); i >= 0 {
			return t.codes[i]
		}
		return 0
	}
	b := st.block(no)
	if b == nil {
		return 0
	}
	i := int(off)
	if b.ids != nil {
		if i = place(b.ids, off); i < 0 {
			return 0
		}
	}
	switch {
	case b.w8 != nil:
		return b.lo + uint32(b.w8[i])
	case b.w16 != nil:
		return b.lo + uint32(b.w16[i])
	case b.w32 != nil:
		return b.lo + b.w32[i]
	}
	return b.lo
}

// block is the sealed block of that number, nil where there is none.
func (st *colState) block(no uint32) *block {
	if len(st.sealed) == 0 || no < st.sealed[0].no {
		return nil
	}
	// Most keys have sets in every block since their first.
	if i := int(no - st.sealed[0].no); i < len(st.sealed) && st.sealed[i].no == no {
		return st.sealed[i]
	}
	i := sort.Search(len(st.sealed), func(i int) bool { return st.sealed[i].no >= no })
	if i < len(st.sealed) && st.sealed[i].no == no {
		return st.sealed[i]
	}
	return nil
}

// place is the index of off in ids, which ascend; -1 where it is not.
func place(ids []uint16, off uint16) int {
	// Where all sets since the first have the key, it is known.
	if i := int(off) - int(ids[0]); i >= 0 && i < len(ids) && ids[i] == off {
		return i
	}
	if i, ok := slices.BinarySearch(ids, off); ok {
		return i
	}
	return -1
}

// seal packs a tail.
func seal(t *tail) *block {
	n := t.n.Load()
	codes := t.codes[:n]
	b := &block{no: t.no, n: n, lo: slices.Min(codes), hi: slices.Max(codes)}
	if n < blockLen {
		b.ids = slices.Clone(t.ids[:n])
	}
	switch span := b.hi - b.lo; {
	case span == 0:
	case span < 1<<8:
		b.w8 = make([]uint8, n)
		for i, c := range codes {
			b.w8[i] = uint8(c - b.lo)
		}
	case span < 1<<16:
		b.w16 = make([]uint16, n)
		for i, c := range codes {
			b.w16[i] = uint16(c - b.lo)
		}
	default:
		b.w32 = make([]uint32, n)
		for i, c := range codes {
			b.w32[i] = c - b.lo
		}
	}
	return b
}

// span is some sets of a block: set base+ids[i], or base+i where ids is nil. Its code is lo plus w8[i], w16[i] or w32[i],
// whichever is not nil, else lo.
type span struct {
	base uint32
	n    int
	ids  []uint16
	lo   uint32
	w8   []uint8
	w16  []uint16
	w32  []uint32
}

// scan calls visit for the sets in [from, to) that have the key, in stretches of ascending id that do not cross a block.
// want, unless nil, says from the bounds of a block's codes whether it is of interest. The span is valid until visit returns.
func (c *column) scan(from, to uint32, want func(lo, hi uint32) bool, visit func(*span)) {
	if from >= to {
		return
	}
	st := c.state.Load()
	var sp span
	first := sort.Search(len(st.sealed), func(i int) bool { return st.sealed[i].no >= from>>blockBits })
	for _, b := range st.sealed[first:] {
		if b.no<<blockBits >= to {
			return
		}
		if want != nil && !want(b.lo, b.hi) {
			continue
		}
		sp = span{base: b.no << blockBits, n: int(b.n), ids: b.ids, lo: b.lo, w8: b.w8, w16: b.w16, w32: b.w32}
		if sp.clip(from, to); sp.n > 0 {
			visit(&sp)
		}
	}
	t := st.tail
	n := t.n.Load()
	if n == 0 || t.no<<blockBits >= to {
		return
	}
	sp = span{base: t.no << blockBits, n: int(n), ids: t.ids[:n], w32: t.codes[:n]}
	if sp.clip(from, to); sp.n > 0 {
		visit(&sp)
	}
}

// clip cuts a span to ids in [from, to).
func (s *span) clip(from, to uint32) {
	i, j := 0, s.n
	if s.base < from {
		i = s.search(from - s.base)
	}
	if to-s.base < blockLen {
		j = max(i, s.search(to-s.base))
	}
	if i == 0 && j == s.n {
		return
	}
	switch {
	case s.w8 != nil:
		s.w8 = s.w8[i:j]
	case s.w16 != nil:
		s.w16 = s.w16[i:j]
	case s.w32 != nil:
		s.w32 = s.w32[i:j]
	}
	if s.ids != nil {
		s.ids = s.ids[i:j]
	} else {
		s.base += uint32(i)
	}
	s.n = j - i
}

// search returns the index of the first set whose offset in the block is off or more.
func (s *span) search(off uint32) int {
	if s.ids == nil {
		return int(min(off, uint32(s.n)))
	}
	return sort.Search(s.n, func(k int) bool { return uint32(s.ids[k]) >= off })
}

// values is the dictionary of one key: code 1, 2, 3 in order of arrival; code 0 is "", no value.
type values struct {
	n     atomic.Uint32 // codes published, 0 included
	state atomic.Pointer[valState]
	last  uint32 // code interned last; the writer's
}

// valState is a snapshot of the dictionary's headers; the writer fills the arrays in place behind what is published.
type valState struct {
	data  []byte   // len is the capacity
	offs  []uint32 // value c is data[offs[c]:offs[c+1]]; len is the capacity
	first []uint32 // by code: id of the first set that has it, ascending
	table []atomic.Uint32
	// mark says which bits of a slot are those of the value's hash: the highest eight as long as codes leave them free, so that
	// what is not the value is told from the slot at hand. The others are the code; 0 is free.
	mark uint32
}

const hashMark = 0xff << 24

func (v *values) init() {
	v.state.Store(&valState{offs: make([]uint32, 4), first: make([]uint32, 3), table: make([]atomic.Uint32, 4), mark: hashMark})
	v.n.Store(1)
}

func (st *valState) get(code uint32) []byte {
	from, to := st.offs[code], st.offs[code+1]
	return st.data[from:to:to]
}

// find returns the code of a value. The caller bounds it by what is published to it.
func (v *values) find(value []byte) (code uint32, ok bool) {
	return v.lookup(value, uint32(xxhash.Sum64(value)))
}

func (v *values) lookup(value []byte, hash uint32) (code uint32, ok bool) {
	st := v.state.Load()
	mask := uint32(len(st.table) - 1)
	for i := hash; ; i++ {
		c := st.table[i&mask].Load()
		if c == 0 {
			return 0, false
		}
		if (c^hash)&st.mark != 0 {
			continue
		}
		c &^= st.mark
		// The state is loaded after the slot: the arrays of st may be older than the value.
		if bytes.Equal(v.state.Load().get(c), value) {
			return c, true
		}
	}
}

// intern returns the code of a value, adding it with the set that has it first. One writer.
func (v *values) intern(value []byte, id uint32) (code uint32, created bool) {
	c, hash := v.resolve(value)
	if c != 0 {
		return c, false
	}
	return v.insert(value, hash, id), true
}

// resolve returns the code of a value, or 0 and its hash. The writer's.
func (v *values) resolve(value []byte) (code, hash uint32) {
	// The next set often has the same value.
	if st := v.state.Load(); v.last != 0 && bytes.Equal(st.get(v.last), value) {
		return v.last, 0
	}
	hash = uint32(xxhash.Sum64(value))
	if c, ok := v.lookup(value, hash); ok {
		v.last = c
		return c, 0
	}
	return 0, hash
}

// insert adds a value that is not there, with its hash and the set that has it first. One writer.
func (v *values) insert(value []byte, hash, id uint32) (code uint32) {
	st := v.state.Load()
	c := v.n.Load()
	start := int(st.offs[c])
	if end := start + len(value); end > len(st.data) || int(c)+2 > len(st.offs) || int(c) >= len(st.table)*3/4 {
		st = st.grow(c, end)
	}
	copy(st.data[start:], value)
	st.offs[c+1] = uint32(start + len(value))
	st.first[c] = id
	v.state.Store(st)
	v.n.Store(c + 1)
	v.last = c
	st.enter(hash, c)
	return c
}

// enter writes a code to the table. One writer.
func (st *valState) enter(hash, code uint32) {
	mask := uint32(len(st.table) - 1)
	for i := hash; ; i++ {
		if slot := &st.table[i&mask]; slot.Load() == 0 {
			slot.Store(hash&st.mark | code)
			return
		}
	}
}

// grow returns a state with room for code c and end bytes, sharing the arrays that have room.
func (st *valState) grow(c uint32, end int) *valState {
	g := *st
	if end > len(g.data) {
		g.data = make([]byte, max(16, end, len(st.data)+len(st.data)/2))
		copy(g.data, st.data[:st.offs[c]])
	}
	if int(c)+2 > len(g.offs) {
		g.setRoom(len(g.offs)+len(g.offs)/2, c)
	}
	if int(c) >= len(g.table)*3/4 {
		g.setTable(2*len(st.table), c)
	}
	return &g
}

// setRoom makes room for so many offsets; codes below c are taken.
func (st *valState) setRoom(room int, c uint32) {
	offs, first := make([]uint32, room), make([]uint32, room-1)
	copy(offs, st.offs[:c+1])
	copy(first, st.first[:c])
	st.offs, st.first = offs, first
}

// setTable makes a table with so many slots for the codes below c.
func (st *valState) setTable(size int, c uint32) {
	st.table, st.mark = make([]atomic.Uint32, size), hashMark
	if size > 1<<24 { // codes get longer than 24 bits
		st.mark = 0
	}
	for code := uint32(1); code < c; code++ {
		st.enter(uint32(xxhash.Sum64(st.get(code))), code)
	}
}

// scarce says that the next value makes the table grow. The writer's.
func (v *values) scarce() bool { return int(v.n.Load()) >= len(v.state.Load().table)*3/4 }

// reserve makes room for more values as long as those that are there, so that they come without the table being made anew
// time and again. One writer.
func (v *values) reserve(more int) {
	c := v.n.Load()
	st := *v.state.Load()
	size := len(st.table)
	for size*3/4 <= int(c)+more {
		size *= 2
	}
	end := int(st.offs[c])
	data := make([]byte, end+end/16*more/int(c)*17) // a sixteenth more than the mean: later ones are often longer
	copy(data, st.data[:end])
	st.data = data
	st.setRoom(int(c)+more+2, c)
	st.setTable(size, c)
	v.state.Store(&st)
}

// trim gives back room that reserve made and that was not needed. One writer.
func (v *values) trim() {
	c := v.n.Load()
	st := *v.state.Load()
	end := int(st.offs[c])
	if len(st.offs) < 2*int(c) && len(st.data) < 2*end {
		return
	}
	st.data = append(make([]byte, 0, end), st.data[:end]...)
	st.setRoom(int(c)+2, c)
	size := len(st.table)
	for size/2*3/4 > int(c) {
		size /= 2
	}
	if size < len(st.table) {
		st.setTable(size, c)
	}
	v.state.Store(&st)
}

// visible returns the dictionary and the number of its codes, 0 included, that sets below n have.
func (v *values) visible(n uint32) (*valState, uint32) {
	count := v.n.Load() // before the state, which then holds them all
	st := v.state.Load()
	return st, uint32(sort.Search(int(count)-1, func(i int) bool { return st.first[i+1] >= n })) + 1
}

// denseCache keeps a key's codes by set id between calls of View.Dense.
type denseCache struct {
	ready atomic.Pointer[[]uint32] // codes of the sets below its length; extended in place
	mu    sync.Mutex               // held while it is extended
}

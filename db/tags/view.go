package tags

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/RoaringBitmap/roaring/v2"
)

// View is a store as it was when the view was taken. It is immutable, costs nothing to keep apart from holding the store,
// and its methods are safe for concurrent use. Strings and slices that it returns are parts of the store's memory, which
// never changes: keep them as long as you like, do not write to them. Bitmaps are the caller's.
type View struct {
	s *Store
	n uint32 // sets
}

// View returns the store as it is now: all sets whose Intern or Load has returned, perhaps some more.
func (s *Store) View() *View { return &View{s: s, n: s.n.Load()} }

// Len is the number of sets, the empty one included; ids are below it.
func (v *View) Len() int { return int(v.n) }

// text is b as a string without a copy, for bytes in the store's arenas: those are written before they are published and
// never again, and the string keeps them alive.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// key returns the index of a key that some set of the view has, nil otherwise.
func (v *View) key(name string) *key {
	k := v.s.keyOf(bytesOf(name))
	if k == nil || k.first >= v.n {
		return nil
	}
	return k
}

// KeyInfo is what Keys tells of a key.
type KeyInfo struct {
	Key    string
	Sets   int // sets that have it
	Values int // distinct values
}

// Keys returns all keys in ascending order.
func (v *View) Keys() []KeyInfo {
	var out []KeyInfo
	for _, k := range *v.s.list.Load() {
		if k.first >= v.n {
			break
		}
		_, count := k.values.visible(v.n)
		out = append(out, KeyInfo{Key: k.name, Sets: k.col.count(v.n), Values: int(count) - 1})
	}
	slices.SortFunc(out, func(a, b KeyInfo) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// count is the number of sets below n that have the key.
func (c *column) count(n uint32) (sets int) {
	c.scan(0, n, nil, func(sp *span) { sets += sp.n })
	return sets
}

// Values returns the values of a key in ascending order: those for which match, unless nil, is true, at most limit of them,
// the first ones, or all when limit is not positive.
func (v *View) Values(key string, match func(value string) bool, limit int) []string {
	k := v.key(key)
	if k == nil {
		return nil
	}
	st, n := k.values.visible(v.n)
	var out []string
	for c := uint32(1); c < n; c++ {
		if s := text(st.get(c)); match == nil || match(s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	if limit > 0 && len(out) > limit {
		out = out[:limit:limit]
	}
	return out
}

// HasPrefix is a match for Values and Match.
func HasPrefix(prefix string) func(string) bool {
	return func(value string) bool { return strings.HasPrefix(value, prefix) }
}

// Equal returns the ids of the sets whose key has the value. An empty value stands for no value: Equal(key, "") is
// Missing(key).
func (v *View) Equal(key, value string) *roaring.Bitmap {
	if value == "" {
		return v.Missing(key)
	}
	k := v.key(key)
	if k == nil {
		return roaring.New()
	}
	code, ok := k.values.find(bytesOf(value))
	if !ok {
		return roaring.New()
	}
	first := k.values.state.Load().first[code]
	if first >= v.n {
		return roaring.New()
	}
	g := gather{n: v.n}
	k.col.scan(first, v.n, func(lo, hi uint32) bool { return lo <= code && code <= hi }, func(sp *span) { g.equal(sp, code) })
	return g.bitmap()
}

// In returns the ids of the sets whose key has one of the values; "" stands for no value.
func (v *View) In(key string, values ...string) *roaring.Bitmap {
	switch len(values) {
	case 0:
		return roaring.New()
	case 1:
		return v.Equal(key, values[0])
	}
	out := roaring.New()
	k := v.key(key)
	var lut []uint64
	if k != nil {
		_, n := k.values.visible(v.n)
		lut = make([]uint64, (n+63)/64)
		for _, value := range values {
			if c, ok := k.values.find([]byte(value)); ok && c < n {
				lut[c>>6] |= 1 << (c & 63)
			}
		}
		out = v.matchLUT(k, lut)
	}
	if slices.Contains(values, "") {
		out.Or(v.Missing(key))
	}
	return out
}

// Match returns the ids of the sets that have the key with a value for which match is true. match is called once per
// distinct value. Sets without the key are not in the result, whatever match says of "": see Missing.
func (v *View) Match(key string, match func(value string) bool) *roaring.Bitmap {
	k := v.key(key)
	if k == nil {
		return roaring.New()
	}
	st, n := k.values.visible(v.n)
	lut := make([]uint64, (n+63)/64)
	for c := uint32(1); c < n; c++ {
		if match(text(st.get(c))) {
			lut[c>>6] |= 1 << (c & 63)
		}
	}
	return v.matchLUT(k, lut)
}

// matchLUT returns the ids of the sets whose code has its bit set. lut covers the codes that the view can have.
func (v *View) matchLUT(k *key, lut []uint64) *roaring.Bitmap {
	// Only sets from the first value's first on, and only blocks between the least and the greatest code, can match.
	lo, hi := bounds(lut)
	if lo > hi {
		return roaring.New()
	}
	g := gather{n: v.n}
	first := k.values.state.Load().first[lo]
	k.col.scan(first, v.n, func(blo, bhi uint32) bool { return blo <= hi && lo <= bhi }, func(sp *span) { g.match(sp, lut) })
	return g.bitmap()
}

// bounds returns the first and last bit set; lo > hi when there is none.
func bounds(lut []uint64) (lo, hi uint32) {
	lo = 1
	for i := uint32(0); i < uint32(len(lut))*64; i++ {
		if lut[i>>6] == 0 {
			i |= 63
			continue
		}
		if lut[i>>6]>>(i&63)&1 != 0 {
			if hi == 0 {
				lo = i
			}
			hi = i
		}
	}
	return lo, hi
}

// Has returns the ids of the sets that have the key.
func (v *View) Has(key string) *roaring.Bitmap {
	k := v.key(key)
	if k == nil {
		return roaring.New()
	}
	g := gather{n: v.n}
	k.col.scan(k.first, v.n, nil, func(sp *span) { g.all(sp) })
	return g.bitmap()
}

// Missing returns the ids of the sets that do not have the key, the empty set among them.
func (v *View) Missing(key string) *roaring.Bitmap {
	g := gather{n: v.n}
	g.toWords()
	if k := v.key(key); k != nil {
		k.col.scan(k.first, v.n, nil, func(sp *span) { g.all(sp) })
	}
	for i := range g.words {
		g.words[i] = ^g.words[i]
	}
	last := v.n >> 6
	if v.n&63 != 0 {
		g.words[last] &= 1<<(v.n&63) - 1
		last++
	}
	g.words = g.words[:last]
	return g.bitmap()
}

// Dense maps set ids to the values of one key, for grouping and projection without a look-up per row. Its slices are
// shared and read-only.
type Dense struct {
	// Codes is the value code by set id, 0 where the set does not have the key. Its length is the view's.
	Codes []uint32
	// Data and Offs are the values: that of code c is Data[Offs[c]:Offs[c+1]], code 0 is "". Values are distinct, in order of
	// first appearance.
	Data []byte
	Offs []uint32
}

// Len is the number of codes, 0 included.
func (d Dense) Len() int { return len(d.Offs) - 1 }

// Value returns the value of a code.
func (d Dense) Value(code uint32) string { return text(d.Data[d.Offs[code]:d.Offs[code+1]]) }

// Values returns the values by code as strings, which share the store's memory.
func (d Dense) Values() []string {
	out := make([]string, d.Len())
	for c := range out {
		out[c] = d.Value(uint32(c))
	}
	return out
}

// Dense returns the dense map of a key. It is kept and extended by later calls, within Limits.DenseBytes.
func (v *View) Dense(key string) Dense {
	k := v.key(key)
	if k == nil {
		return Dense{Codes: make([]uint32, v.n), Offs: []uint32{0, 0}}
	}
	st, n := k.values.visible(v.n)
	end := st.offs[n]
	d := Dense{Data: st.data[:end:end], Offs: st.offs[: n+1 : n+1]}
	if ready := k.dense.ready.Load(); ready != nil && uint32(len(*ready)) >= v.n {
		d.Codes = (*ready)[:v.n:v.n]
		return d
	}
	d.Codes = v.extendDense(k)
	return d
}

// extendDense makes the codes of a key up to the view's length, from those that are kept.
func (v *View) extendDense(k *key) []uint32 {
	k.dense.mu.Lock()
	defer k.dense.mu.Unlock()
	var codes []uint32
	if ready := k.dense.ready.Load(); ready != nil {
		codes = *ready
	}
	have := uint32(len(codes))
	if have >= v.n {
		return codes[:v.n:v.n]
	}
	room := cap(codes)
	if room < int(v.n) {
		room = int(v.n) + int(v.n)/8 + 64
	}
	more := int64(room-cap(codes)) * 4
	if v.s.dense.Add(more) > v.s.limits.DenseBytes {
		v.s.dense.Add(-more)
		out := make([]uint32, v.n)
		copy(out, codes)
		k.fillDense(out, have)
		return out
	}
	if room > cap(codes) {
		grown := make([]uint32, have, room)
		copy(grown, codes)
		codes = grown
	}
	codes = codes[:v.n] // readers of the shorter slice do not look at what is written now
	k.fillDense(codes, have)
	k.dense.ready.Store(&codes)
	return codes[:v.n:v.n]
}

// fillDense writes the codes of the sets from id from on into out, which is zero there.
func (k *key) fillDense(out []uint32, from uint32) {
	k.col.scan(from, uint32(len(out)), nil, func(sp *span) {
		switch {
		case sp.w8 != nil:
			spread(out[sp.base:], sp.ids, sp.w8, sp.lo)
		case sp.w16 != nil:
			spread(out[sp.base:], sp.ids, sp.w16, sp.lo)
		case sp.w32 != nil:
			spread(out[sp.base:], sp.ids, sp.w32, sp.lo)
		case sp.ids == nil:
			for i := range out[sp.base : int(sp.base)+sp.n] {
				out[int(sp.base)+i] = sp.lo
			}
		default:
			for _, off := range sp.ids {
				out[sp.base+uint32(off)] = sp.lo
			}
		}
	})
}

// spread writes lo plus each code to its place.
func spread[T code](out []uint32, ids []uint16, codes []T, lo uint32) {
	if ids == nil {
		out = out[:len(codes)]
		for i, c := range codes {
			out[i] = uint32(c) + lo
		}
		return
	}
	ids = ids[:len(codes)]
	for i, c := range codes {
		out[ids[i]] = uint32(c) + lo
	}
}

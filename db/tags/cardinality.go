package tags

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// KeyCardinality says what one key costs.
type KeyCardinality struct {
	Key    string
	Values int   // distinct values
	Sets   int   // sets that have it
	Bytes  int64 // of its values and codes, and Share of what all keys take (0..1)
	Share  float64
	// Multiplies is by how much the key multiplies the sets that have it: their number over how many would be left without
	// the key. 1 means that the other keys tell the sets apart as well. It is estimated, within a few per cent, from the
	// last sets; 0 where it was not estimated.
	Multiplies float64
	// NewValues is how many values were added per minute in the last minutes; 0 without Limits.NowNanos.
	NewValues float64
}

// BytesPerSet is how much memory each set with the key takes for it, in bytes.
func (k *KeyCardinality) BytesPerSet() float64 { return float64(k.Bytes) / float64(max(k.Sets, 1)) }

// What an estimate of Multiplies looks at: so many of the last sets, of so many keys.
const (
	sampleSets = 256 << 10
	sampleKeys = 64
)

// Cardinality returns the keys with the most values, at most limit of them unless it is 0, in descending order of values.
func (v *View) Cardinality(limit int) []KeyCardinality {
	type row struct {
		k *key
		KeyCardinality
	}
	var rows []row
	var total int64
	from, minutes := v.s.marks.since(v.s.now())
	for _, k := range *v.s.list.Load() {
		if k.first >= v.n {
			break
		}
		st, count := k.values.visible(v.n)
		r := row{k, KeyCardinality{Key: k.name, Values: int(count) - 1}}
		r.Sets, r.Bytes = k.col.weigh(v.n)
		r.Bytes += valueSize(int(st.offs[count])) + valueBytes*int64(r.Values-1) + keyBytes
		if minutes > 0 {
			fresh, _ := slices.BinarySearch(st.first[1:count], from)
			r.NewValues = float64(int(count)-1-fresh) / minutes
		}
		total += r.Bytes
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Sets, a.Sets), strings.Compare(a.Key, b.Key))
	})
	if limit > 0 && len(rows) > limit {
		rows = rows[:limit]
	}
	hashes, base := v.setHashes()
	out := make([]KeyCardinality, len(rows))
	for i, r := range rows {
		out[i] = r.KeyCardinality
		out[i].Share = float64(r.Bytes) / float64(max(total, 1))
		if i < sampleKeys {
			out[i].Multiplies = v.multiplies(r.k, hashes, base)
		}
	}
	return out
}

// weigh is the number of sets below n that have the key, and what their codes take, in bytes.
func (c *column) weigh(n uint32) (sets int, bytes int64) {
	st := c.state.Load()
	for _, b := range st.sealed {
		if b.no<<blockBits < n {
			bytes += b.bytes()
		}
	}
	return c.count(n), bytes + st.tail.bytes()
}

// setHashes are the hashes of the last sets, from base on.
func (v *View) setHashes() (hashes []uint64, base uint32) {
	if v.n > sampleSets {
		base = v.n - sampleSets
	}
	hashes = make([]uint64, v.n-base)
	for _, k := range *v.s.list.Load() {
		if k.first < v.n {
			k.eachCode(base, v.n, func(id, code uint32) { hashes[id-base] += mix(k.no, code) })
		}
	}
	return hashes, base
}

// eachCode calls f for the sets in [from, to) that have the key.
func (k *key) eachCode(from, to uint32, f func(id, code uint32)) {
	k.col.scan(from, to, nil, func(sp *span) {
		for i := range sp.n {
			id, code := sp.base+uint32(i), sp.lo
			if sp.ids != nil {
				id = sp.base + uint32(sp.ids[i])
			}
			switch {
			case sp.w8 != nil:
				code += uint32(sp.w8[i])
			case sp.w16 != nil:
				code += uint32(sp.w16[i])
			case sp.w32 != nil:
				code += sp.w32[i]
			}
			f(id, code)
		}
	})
}

// multiplies estimates KeyCardinality.Multiplies by counting the hashes without the key: each sets a bit of a field with
// eight bits a set, and the share of bits that stay clear says how many different ones there were.
func (v *View) multiplies(k *key, hashes []uint64, base uint32) float64 {
	shift := 64 - max(10, bits.Len(uint(8*len(hashes))))
	field := make([]uint64, 1<<(64-shift)/64)
	sets := 0
	k.eachCode(base, v.n, func(id, code uint32) {
		rest := (hashes[id-base] - mix(k.no, code)) * 0x9e3779b97f4a7c15
		at := rest >> shift
		field[at>>6] |= 1 << (at & 63)
		sets++
	})
	if sets == 0 {
		return 0
	}
	marked := 0
	for _, w := range field {
		marked += bits.OnesCount64(w)
	}
	size := float64(len(field) * 64)
	left := -size * math.Log1p(-float64(marked)/size)
	return max(1, float64(sets)/max(1, left))
}

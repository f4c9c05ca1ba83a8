package pred

import (
	"math/bits"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Select appends to rows the numbers of the rows of v that satisfy the term, out of in (ascending), or out of all n rows
// when in is nil. ids maps the codes of a tag-set vector to tag-set ids; nil when they are ids already.
// rows may be in[:0].
func (t *Term) Select(rows []int32, v *batch.Vector, n int, in []int32, ids []uint32) []int32 {
	switch {
	case t.Kind == IsNull:
		return selectRows(rows, n, in, func(i int32) bool { return v.IsNull(int(i)) != t.Not })
	case v.Type.Physical() == schema.Int64:
		return t.selectInt(rows, v, n, in)
	case v.Type.Physical() == schema.Float64:
		return selectRows(rows, n, in, func(i int32) bool { return !v.IsNull(int(i)) && t.Float(v.F64[i]) })
	case v.Type.Physical() == schema.ID:
		lut := t.matchIDs(v, ids)
		if lut == nil {
			return t.selectIDs(rows, v, n, in)
		}
		return selectCodes(rows, v, n, in, lut)
	}
	return selectCodes(rows, v, n, in, t.matchDict(v.Dict))
}

func (t *Term) selectInt(rows []int32, v *batch.Vector, n int, in []int32) []int32 {
	vals := v.I64
	if t.Kind != IntRange {
		return selectRows(rows, n, in, func(i int32) bool { return !v.IsNull(int(i)) && t.Int(vals[i]) })
	}
	if t.Lo > t.Hi {
		if !t.Not {
			return rows
		}
		return selectRows(rows, n, in, func(i int32) bool { return !v.IsNull(int(i)) })
	}
	// Lo <= x <= Hi as one unsigned comparison, whose outcome is added and not branched on.
	lo, width, not := uint64(t.Lo), uint64(t.Hi)-uint64(t.Lo), 0
	if t.Not {
		not = 1
	}
	if in != nil {
		k := len(rows)
		rows = room(rows, len(in))
		for _, i := range in { // rows may begin where in does: what is written has been read
			_, out := bits.Sub64(width, uint64(vals[i])-lo, 0)
			ok := (1 - int(out)) ^ not
			if v.Valid != nil {
				ok &= int(v.Valid[i>>6] >> (uint(i) & 63))
			}
			rows[k] = i
			k += ok
		}
		return rows[:k]
	}
	k := len(rows)
	rows = room(rows, n)
	if v.Valid == nil {
		for i, x := range vals[:n] {
			_, out := bits.Sub64(width, uint64(x)-lo, 0)
			rows[k] = int32(i)
			k += (1 - int(out)) ^ not
		}
		return rows[:k]
	}
	for i, x := range vals[:n] {
		_, out := bits.Sub64(width, uint64(x)-lo, 0)
		rows[k] = int32(i)
		k += ((1 - int(out)) ^ not) & int(v.Valid[i>>6]>>(uint(i)&63))
	}
	return rows[:k]
}

// room makes rows longer by n, whose numbers are yet to be written.
func room(rows []int32, n int) []int32 { return slices.Grow(rows, n)[:len(rows)+n] }

// SelectLUT appends to rows those whose code has true in lut, out of in (ascending), or out of all when in is nil. rows may
// be in[:0].
func SelectLUT(rows []int32, codes []uint32, in []int32, lut []bool) []int32 {
	k := len(rows)
	if in == nil {
		rows = room(rows, len(codes))
		for i, c := range codes {
			rows[k] = int32(i)
			k += one(lut[c])
		}
		return rows[:k]
	}
	rows = room(rows, len(in))
	for _, i := range in { // what is written has been read
		rows[k] = i
		k += one(lut[codes[i]])
	}
	return rows[:k]
}

// one is 1 for true; the compiler makes it a move.
func one(b bool) int {
	var n int
	if b {
		n = 1
	}
	return n
}

func selectRows(rows []int32, n int, in []int32, keep func(i int32) bool) []int32 {
	if in == nil {
		for i := int32(0); i < int32(n); i++ {
			if keep(i) {
				rows = append(rows, i)
			}
		}
		return rows
	}
	for _, i := range in {
		if keep(i) {
			rows = append(rows, i)
		}
	}
	return rows
}

// matchDict evaluates a Text term once per dictionary entry.
func (t *Term) matchDict(d *batch.Dict) []bool {
	lut := make([]bool, d.Len())
	for i := range lut {
		lut[i] = t.Match(d.At(i)) != t.Not
	}
	return lut
}

// matchIDs evaluates a Tags term once per local code, or per id that may be seen when the vector holds ids. It is nil when
// the ids reach too far for a table: one wild id must not cost gigabytes.
func (t *Term) matchIDs(v *batch.Vector, ids []uint32) []bool {
	if ids == nil {
		var hi uint32
		for _, c := range v.Codes {
			hi = max(hi, c)
		}
		if int64(hi) >= minIDTable+16*int64(len(v.Codes)) {
			return nil
		}
		lut := make([]bool, int(hi)+1)
		if t.Not {
			for i := range lut {
				lut[i] = true
			}
		}
		it := t.IDs.Iterator()
		for it.HasNext() {
			id := it.Next()
			if id > hi {
				break
			}
			lut[id] = !t.Not
		}
		return lut
	}
	lut := make([]bool, len(ids))
	for i, id := range ids {
		lut[i] = t.IDs.Contains(id) != t.Not
	}
	return lut
}

// minIDTable is how far ids may reach for a table of them whatever the number of rows.
const minIDTable = 1 << 16

// selectIDs is selectCodes for ids without a table; neighbours often have the same.
func (t *Term) selectIDs(rows []int32, v *batch.Vector, n int, in []int32) []int32 {
	var last uint32
	keep := t.IDs.Contains(last) != t.Not
	return selectRows(rows, n, in, func(i int32) bool {
		if v.IsNull(int(i)) {
			return false
		}
		if id := v.Codes[i]; id != last {
			last, keep = id, t.IDs.Contains(id) != t.Not
		}
		return keep
	})
}

func selectCodes(rows []int32, v *batch.Vector, n int, in []int32, lut []bool) []int32 {
	codes := v.Codes
	if v.Valid != nil {
		return selectRows(rows, n, in, func(i int32) bool { return !v.IsNull(int(i)) && lut[codes[i]] })
	}
	return SelectLUT(rows, codes[:n], in, lut)
}

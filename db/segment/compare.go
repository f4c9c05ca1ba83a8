package segment

import (
	"bytes"
	"cmp"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// CompareRows compares row i of a with row j of b by the sort terms of their table: below 0 when i comes first in Order.
func CompareRows(a *batch.Batch, i int32, b *batch.Batch, j int32) int {
	for _, t := range a.Table.Sort {
		if c := compareTerm(a.Cols[t.Column], i, b.Cols[t.Column], j, t); c != 0 {
			return c
		}
	}
	return 0
}

// compareTerm compares row i of a with row j of b, both of the column of a sort term; a nil vector holds defaults.
func compareTerm(a *batch.Vector, i int32, b *batch.Vector, j int32, t schema.SortTerm) int {
	typ := schema.BigInt
	if a != nil {
		typ = a.Type
	} else if b != nil {
		typ = b.Type
	}
	switch typ.Physical() {
	case schema.Code:
		return bytes.Compare(textOf(a, i), textOf(b, j))
	case schema.ID:
		return cmp.Compare(idOf(a, i), idOf(b, j))
	case schema.Float64:
		return cmp.Compare(floatKey(floatOf(a, i)), floatKey(floatOf(b, j)))
	}
	x, y := intOf(a, i), intOf(b, j)
	if t.Bucket > 0 {
		x, y = floorDiv(x, t.Bucket), floorDiv(y, t.Bucket)
	}
	return cmp.Compare(x, y)
}

func textOf(v *batch.Vector, i int32) []byte {
	if v == nil {
		return nil
	}
	return v.Bytes(int(i))
}

func idOf(v *batch.Vector, i int32) uint32 {
	if v == nil {
		return 0
	}
	return v.Codes[i]
}

func floatOf(v *batch.Vector, i int32) float64 {
	if v == nil {
		return 0
	}
	return v.F64[i]
}

func intOf(v *batch.Vector, i int32) int64 {
	if v == nil {
		return 0
	}
	return v.I64[i]
}

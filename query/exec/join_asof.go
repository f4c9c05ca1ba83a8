package exec

import (
	"slices"
	"sort"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Asof is the inequality Left Op Right of an ASOF join: of the right rows with equal keys that satisfy it, the one whose
// Right is closest to Left is taken; among equal ones the last.
type Asof struct {
	Left, Right Expr // over the columns of one side each, of one type: numbers, times or intervals
	Op          CompareOp
	order       []uint64 // Right of every right row
}

// HasOrderBits says whether a type can be compared in an ASOF join.
func HasOrderBits(t schema.Type) bool {
	return t.Physical() == schema.Int64 || t.Physical() == schema.Float64
}

// orderBits appends the first n values as numbers that order as they do, and whether they are not NULL.
func orderBits(dst []uint64, known []bool, v *batch.Vector, n int) ([]uint64, []bool) {
	for i := range n {
		known = append(known, !v.IsNull(i))
		if v.Type.Physical() == schema.Int64 {
			dst = append(dst, uint64(v.I64[i])^1<<63)
			continue
		}
		b := floatBits(v.F64[i])
		if b>>63 != 0 {
			b = ^b
		} else {
			b |= 1 << 63
		}
		dst = append(dst, b)
	}
	return dst, known
}

// asofOrder collects the values of the right side while it is read.
type asofOrder struct {
	key   evaluator // nil when the join is not ASOF
	bits  []uint64
	known []bool
}

func (o *asofOrder) append(b *batch.Batch) error {
	v, err := o.key.eval(b)
	if err != nil {
		return err
	}
	o.bits, o.known = orderBits(o.bits, o.known, v, b.N)
	return nil
}

func (o *asofOrder) bytes() int64 { return int64(cap(o.bits))*8 + int64(cap(o.known)) }

// sortAsof orders the rows of every key by their value and drops those without one.
func (j *Join) sortAsof(o *asofOrder) {
	j.Asof.order = o.bits
	tidy := func(rows []int32) []int32 {
		rows = slices.DeleteFunc(rows, func(r int32) bool { return !o.known[r] })
		sort.SliceStable(rows, func(a, b int) bool { return o.bits[rows[a]] < o.bits[rows[b]] })
		return rows
	}
	j.all = tidy(j.all)
	for k, rows := range j.index {
		j.index[k] = tidy(rows)
	}
}

// closest is the one row of list, ordered by sortAsof, that a left row with the value x takes; none when it is empty.
func (a *Asof) closest(list []int32, x uint64) []int32 {
	first := func(inclusive bool) int { // of the rows >= x, or > x
		return sort.Search(len(list), func(i int) bool {
			v := a.order[list[i]]
			return v > x || inclusive && v == x
		})
	}
	at := 0
	switch a.Op {
	case Ge:
		at = first(false) - 1
	case Gt:
		at = first(true) - 1
	case Le:
		at = first(true)
		for at < len(list) && at+1 < len(list) && a.order[list[at+1]] == a.order[list[at]] {
			at++
		}
	default:
		at = first(false)
		for at < len(list) && at+1 < len(list) && a.order[list[at+1]] == a.order[list[at]] {
			at++
		}
	}
	if at < 0 || at >= len(list) {
		return nil
	}
	return list[at : at+1]
}

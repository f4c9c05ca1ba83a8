package workload

import (
	"fmt"
	"iter"
	"slices"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Generator makes the different rows of a spec in order; equal specs give equal rows in every process.
type Generator struct {
	next func(n int) *batch.Batch
	sets map[uint32][]byte
	left int
	// tagged makes the rows of TaggedTable; nil of other tables
	tagged *tagger
}

// NewGenerator starts with the first row.
func NewGenerator(s Spec) (*Generator, error) {
	g := &Generator{sets: map[uint32][]byte{}, left: s.Pool}
	o := gen.Options{Seed: s.Seed}
	switch s.Table {
	case "flows":
		g.next = gen.NewFlows(o).Next
	case "spans":
		g.next = gen.NewSpans(o).Next
	case "samples":
		g.next = gen.NewSamples(gen.SampleOptions{Seed: s.Seed, Series: samplesSeries}).Next
	case EdgesTable:
		g.next = gen.NewNetwork(gen.EdgeOptions{Seed: s.Seed, RowsPerSecond: edgesPerSecond}).Next
	case TaggedTable:
		t, err := newTagger(s, g)
		if err != nil {
			return nil, err
		}
		g.tagged, g.next = t, t.next
	default:
		return nil, fmt.Errorf("no generator makes rows of table %q", s.Table)
	}
	return g, nil
}

// Next is the next batch with its tag sets by value; nil after the last.
func (g *Generator) Next() *batch.Batch {
	n := min(BatchRows, g.left)
	if n == 0 {
		return nil
	}
	g.left -= n
	b := g.next(n)
	gen.ByValue(b, g.set)
	return b
}

func (g *Generator) set(id uint32) []byte {
	if g.sets[id] == nil {
		g.sets[id] = gen.PodTags(id)
	}
	return g.sets[id]
}

// stream hands out all rows of a spec: generated one after the other, or from a pool made beforehand.
type stream struct {
	s     Spec
	g     *Generator
	pool  []*batch.Batch
	given int // rows
}

// newStream makes the pool when the rows are to come from one, so that making them is not part of what is measured.
func newStream(s Spec, pooled bool) (*stream, error) {
	g, err := NewGenerator(s)
	if err != nil {
		return nil, err
	}
	st := &stream{s: s, g: g}
	if pooled {
		for b := g.Next(); b != nil; b = g.Next() {
			st.pool = append(st.pool, b)
		}
	}
	return st, nil
}

// next is the next batch; nil after the last.
func (st *stream) next() *batch.Batch {
	if st.given >= st.s.Rows && st.s.Seconds == 0 {
		return nil
	}
	if st.pool == nil {
		b := st.g.Next()
		if b != nil {
			st.given += b.N
		}
		return b
	}
	cycle, k := st.given/st.s.Pool, st.given%st.s.Pool/BatchRows
	b := again(st.pool[k], int64(cycle), st.s.ShiftNanos)
	st.given += b.N
	return b
}

// idShift says which bits of an id tell the rounds of the pool apart: high ones, so that ids that count up still do.
const idShift = 40

// IsID says whether a column holds ids that are others when the rows of a pool come again.
func IsID(column string) bool { return column == "flow_id" || column == "id" }

// again is the batch of the pool as it comes again in some cycle: its times later, its ids others.
func again(b *batch.Batch, cycle, shiftNanos int64) *batch.Batch {
	if cycle == 0 {
		return b
	}
	out := &batch.Batch{Table: b.Table, N: b.N, Cols: slices.Clone(b.Cols)}
	for i, v := range b.Cols {
		var f func(dst, src []int64)
		switch {
		case v == nil:
		case v.Type == schema.Timestamp:
			f = func(dst, src []int64) {
				for k, t := range src {
					dst[k] = t + cycle*shiftNanos
				}
			}
		case IsID(b.Table.Columns[i].Name):
			f = func(dst, src []int64) {
				for k, id := range src {
					dst[k] = id ^ cycle<<idShift
				}
			}
		}
		if f != nil {
			values := make([]int64, len(v.I64))
			f(values, v.I64)
			out.Cols[i] = &batch.Vector{Type: v.Type, Valid: v.Valid, I64: values}
		}
	}
	return out
}

// Batches is all rows of a spec in order, those of the pool that come again included, in batches of up to BatchRows.
func Batches(s Spec) (iter.Seq[*batch.Batch], error) {
	st, err := newStream(s, s.Pool < s.Rows)
	if err != nil {
		return nil, err
	}
	return func(yield func(*batch.Batch) bool) {
		for b := st.next(); b != nil && yield(b); b = st.next() {
		}
	}, nil
}

// TraceIDs are n trace ids spread over the rows of a spec of table spans.
func TraceIDs(s Spec, n int) ([]string, error) {
	g, err := NewGenerator(s)
	if err != nil {
		return nil, err
	}
	var ids []string
	step, row := max(1, s.Pool/n), 0
	for b := g.Next(); b != nil; b = g.Next() {
		v := b.Cols[b.Table.MustColumn("trace_id")]
		for i := range b.N {
			if row%step == step/2 && len(ids) < n {
				ids = append(ids, string(v.Bytes(i)))
			}
			row++
		}
	}
	return ids, nil
}

package workload

import (
	"fmt"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Generator makes the different rows of a spec in order; equal specs give equal rows in every process.
type Generator struct {
	next func(n int) *batch.Batch
	sets map[uint32][]byte
	left int
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
		g.next = gen.NewSamples(gen.SampleOptions{Seed: s.Seed}).Next
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
	if st.given >= st.s.Rows {
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
	b := later(st.pool[k], int64(cycle)*st.s.ShiftNanos)
	st.given += b.N
	return b
}

// later is the batch with all its times so much later.
func later(b *batch.Batch, nanos int64) *batch.Batch {
	if nanos == 0 {
		return b
	}
	out := &batch.Batch{Table: b.Table, N: b.N, Cols: append([]*batch.Vector(nil), b.Cols...)}
	for i, v := range b.Cols {
		if v == nil || v.Type != schema.Timestamp {
			continue
		}
		times := make([]int64, len(v.I64))
		for k, t := range v.I64 {
			times[k] = t + nanos
		}
		out.Cols[i] = &batch.Vector{Type: v.Type, Valid: v.Valid, I64: times}
	}
	return out
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

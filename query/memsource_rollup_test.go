package query_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// Rollups of memSource: partial rows are made of the source's rows as they are read, unit by unit, so that a key and
// bucket have several. It is a schema.RollupAdmin.

func (m *memSource) Rollups() []schema.RollupStatus {
	var out []schema.RollupStatus
	for _, u := range m.reg.Rollups() {
		s := schema.RollupStatus{Rollup: u, Ready: !m.pending[u.Def.Name], Damaged: m.damaged[u.Def.Name]}
		if !s.Ready {
			s.Done, s.Total = 2, 5
		}
		out = append(out, s)
	}
	return out
}

func (m *memSource) CreateRollup(_ context.Context, def schema.RollupDef) error {
	reg, err := m.reg.With(def)
	if err == nil {
		m.reg = reg
	}
	return err
}

func (m *memSource) DropRollup(_ context.Context, name string, ifExists bool) error {
	if u, ok := m.reg.Rollup(name); ok && u.Builtin {
		return fmt.Errorf("%w: %s", schema.ErrBuiltinRollup, name)
	}
	reg, err := m.reg.Without(name)
	if errors.Is(err, schema.ErrUnknownRollup) && ifExists {
		return nil
	}
	if err == nil {
		m.reg = reg
	}
	return err
}

func (m *memSource) SetRetention(_ context.Context, table string, d time.Duration) error {
	if _, ok := m.reg.Table(table); !ok {
		return fmt.Errorf("%w: %s", schema.ErrUnknownTable, table)
	}
	m.keep[table] = d
	return nil
}

func (m *memSource) Retention(table string) time.Duration {
	if d, ok := m.keep[table]; ok {
		return d
	}
	t, _ := m.reg.Table(table)
	return t.Retention
}

// rolled is the units of a table: of a rollup, partial rows of the rows of its source that a request with SourceTime is about.
func (m *memSource) rolled(req *pred.Request) []*batch.Batch {
	u, ok := m.reg.Rollup(req.Table.Name)
	if !ok || m.stored[u.Def.Name] {
		return m.units[req.Table.Name]
	}
	from, to := int64(pred.MinTime), int64(pred.MaxTime)
	if req.SourceTime {
		from, to = req.From, req.To
	}
	var out []*batch.Batch
	for _, b := range m.units[u.Source.Name] {
		out = append(out, m.roll(u, b, from, to))
	}
	return out
}

// roll makes partial rows of those rows of a batch that are in a range of time.
func (m *memSource) roll(u *schema.Rollup, b *batch.Batch, from, to int64) *batch.Batch {
	out := &batch.Batch{Table: u.Target, Cols: make([]*batch.Vector, len(u.Target.Columns))}
	times := b.Cols[u.Source.TimeColumn].I64
	groups := map[string]int{}
	var rows [][]int32 // of each group
	for i, t := range times {
		if t < from || t >= to && to != pred.MaxTime {
			continue
		}
		key := fmt.Sprint(u.Bucket(t))
		for _, k := range u.Keys {
			key += "\x00" + m.cell(b.Cols[k.Source], i, k.TagKey)
		}
		g, ok := groups[key]
		if !ok {
			g = len(rows)
			groups[key] = g
			rows = append(rows, nil)
		}
		rows[g] = append(rows[g], int32(i))
	}
	out.N = len(rows)
	first := make([]int32, len(rows))
	bucket := &batch.Vector{Type: schema.Timestamp}
	for g, r := range rows {
		first[g] = r[0]
		bucket.I64 = append(bucket.I64, u.Bucket(times[r[0]]))
	}
	out.Cols[u.Target.TimeColumn] = bucket
	for _, k := range u.Keys {
		v := &batch.Vector{Type: schema.Varchar}
		if k.TagKey == "" {
			batch.Gather(v, b.Cols[k.Source], first)
		} else {
			var d batch.DictBuilder
			for _, r := range first {
				v.Codes = append(v.Codes, d.Code([]byte(m.cell(b.Cols[k.Source], int(r), k.TagKey))))
			}
			v.Dict = d.Seal()
		}
		out.Cols[k.Target] = v
	}
	for _, p := range u.Parts {
		out.Cols[p.Target] = rollPart(&u.Target.Columns[p.Target], p, b, rows)
	}
	return out
}

// cell is a value as text; of a tag set, the value of a key or, without one, its id.
func (m *memSource) cell(v *batch.Vector, i int, key string) string {
	switch {
	case v.IsNull(i):
		return "NULL"
	case key != "":
		value, _ := tags.Get(m.tags.View().Set(v.Codes[i]), key)
		return string(value)
	case v.Type.Physical() == schema.ID:
		return fmt.Sprint(v.Codes[i])
	case v.Type.Physical() == schema.Int64:
		return fmt.Sprint(v.I64[i])
	}
	return string(v.Bytes(i))
}

func rollPart(c *schema.Column, p schema.Part, b *batch.Batch, rows [][]int32) *batch.Vector {
	out := &batch.Vector{}
	out.Reset(c.Type, len(rows))
	var d batch.DictBuilder
	for g, list := range rows {
		var src *batch.Vector
		if p.Source >= 0 {
			src = b.Cols[p.Source]
			list = slices.DeleteFunc(slices.Clone(list), func(i int32) bool { return src.IsNull(int(i)) })
		}
		if len(list) == 0 && c.Nullable {
			if out.Valid == nil {
				out.Valid = batch.NewBitmap(len(rows))
				out.Valid.Fill(len(rows))
			}
			out.Valid.Clear(g)
		}
		switch {
		case p.Merge == schema.MergeCount:
			out.I64[g] = int64(len(list))
		case c.Type == schema.Bytes:
			out.Codes[g] = d.Code(rollSketch(p.Merge, src, list))
		case c.Type == schema.Double:
			out.F64[g] = fold(p.Merge, src.F64, list)
		default:
			out.I64[g] = fold(p.Merge, src.I64, list)
		}
	}
	if c.Type == schema.Bytes {
		out.Dict = d.Seal()
	}
	return out
}

func fold[T int64 | float64](m schema.Merge, vals []T, rows []int32) (out T) {
	for n, i := range rows {
		switch v := vals[i]; {
		case n == 0:
			out = v
		case m == schema.MergeSum:
			out += v
		case m == schema.MergeMin:
			out = min(out, v)
		default:
			out = max(out, v)
		}
	}
	return out
}

func rollSketch(m schema.Merge, src *batch.Vector, rows []int32) []byte {
	if m == schema.MergeUniq {
		var h enc.HLL
		for _, i := range rows {
			h.Add(enc.HLLValue(xxhash.Sum64(src.Bytes(int(i)))))
		}
		return h.AppendTo(nil)
	}
	var s enc.Sketch
	for _, i := range rows {
		switch src.Type.Physical() {
		case schema.Int64:
			s.Add(float64(src.I64[i]))
		case schema.Float64:
			s.Add(src.F64[i])
		default:
			if m == schema.MergeSketch {
				if err := s.Merge(src.Bytes(int(i))); err != nil {
					panic(err)
				}
			}
		}
	}
	return s.AppendTo(nil)
}

package db

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// metaRollup is a rollup that a history may create, with the key of a row as the model knows it.
type metaRollup struct {
	def schema.RollupDef
	key func(r metaRow) string
}

var metaRollups = []metaRollup{
	{schema.RollupDef{Name: "events_by_name", Source: "events", Every: 10 * time.Minute, Keys: []schema.RollupKey{{Column: "name"}}},
		func(r metaRow) string { return fmt.Sprintf("|%q", r[2]) }},
	{schema.RollupDef{Name: "events_by_app", Source: "events", Every: time.Hour, Keys: []schema.RollupKey{{Column: "tags", TagKey: "app"}}},
		func(r metaRow) string { return metaTag(r[4], "app") }},
	{schema.RollupDef{Name: "edges_by_ip", Source: "edges", Every: 15 * time.Minute,
		Keys: []schema.RollupKey{{Column: "ip"}, {Column: "server_tags", TagKey: "service"}, {Column: "n"}}},
		func(r metaRow) string { return fmt.Sprintf("|%q%s|%v", r[4], metaTag(r[9], "service"), r[7]) }},
	{schema.RollupDef{Name: "edges_by_day", Source: "edges", Every: 24 * time.Hour}, func(metaRow) string { return "" }},
}

// metaKeeps are the retentions that a history sets for a rollup; 0 is for ever.
var metaKeeps = []time.Duration{0, 30 * time.Hour, 90 * time.Hour}

func noRollups() map[string]time.Duration { return map[string]time.Duration{} }

func metaTag(set any, key string) string {
	v, _ := tags.Get(set.([]byte), key)
	return fmt.Sprintf("|%q", v)
}

// partial is what rows of one bucket and key add up to: their number, and of load the values that are not NULL.
type partial struct {
	rows, count int64
	sum         float64
	min, max    float64
}

func (p *partial) add(rows, count int64, sum, lo, hi float64) {
	if p.count == 0 {
		p.min, p.max = math.Inf(1), math.Inf(-1)
	}
	p.rows += rows
	if p.count += count; count > 0 {
		p.sum, p.min, p.max = p.sum+sum, min(p.min, lo), max(p.max, hi)
	}
}

// rollup does an operation on a rollup. The model is: which there are, and the shortest time for which each was kept.
func (r *metaRun) rollup(op metaOp) error {
	ctx := context.Background()
	u := metaRollups[op.Table]
	name := u.def.Name
	_, exists := r.kept[name]
	switch op.Op {
	case "create":
		err := r.d.CreateRollup(ctx, u.def)
		if exists && errors.Is(err, schema.ErrRollupExists) {
			return nil
		}
		if err == nil && exists {
			err = fmt.Errorf("%s is created again", name)
		}
		r.kept[name] = forever(r.d.Retention(name))
		return err
	case "drop":
		delete(r.kept, name)
		return r.d.DropRollup(ctx, name, !exists)
	case "keep":
		keep := metaKeeps[op.Seed%uint64(len(metaKeeps))]
		err := r.d.SetRetention(ctx, name, keep)
		if !exists && errors.Is(err, schema.ErrUnknownTable) {
			return nil
		}
		if exists {
			r.kept[name] = min(r.kept[name], forever(keep))
		}
		return err
	case "backfill":
		return r.d.Backfill(ctx)
	}
	if !exists {
		return nil
	}
	return r.rolled(u)
}

func forever(keep time.Duration) time.Duration {
	if keep == 0 {
		return math.MaxInt64
	}
	return keep
}

// sameRollups has the model know, after a power cut in the middle of an operation, whether it was done.
func (r *metaRun) sameRollups(cut bool) error {
	there := map[string]bool{}
	for _, s := range r.d.Rollups() {
		name := s.Rollup.Def.Name
		if _, ok := r.kept[name]; !ok {
			if !cut {
				return fmt.Errorf("rollup %s is there again", name)
			}
			r.kept[name] = forever(r.d.Retention(name))
		}
		there[name] = true
	}
	for name := range r.kept {
		if !there[name] {
			if !cut {
				return fmt.Errorf("rollup %s is gone", name)
			}
			delete(r.kept, name)
		}
	}
	return nil
}

// rolled compares all of a rollup with what the model's rows add up to: of the time since when no row, and no bucket, can
// have expired.
func (r *metaRun) rolled(u metaRollup) error {
	if err := r.d.Backfill(context.Background()); err != nil {
		return err
	}
	keep := r.kept[u.def.Name]
	table := 0
	if u.def.Source == edges.Name {
		table = 1
		keep = min(keep, metaKeep)
	}
	since := int64(math.MinInt64)
	if keep < math.MaxInt64 {
		since = r.d.opts.Now().Add(-keep).UnixNano()
	}
	every := int64(u.def.Every)
	load := metaTables[table].Column("load")
	want := map[string]*partial{}
	at := func(m map[string]*partial, bucket int64, key string) *partial {
		key = fmt.Sprint(bucket, key)
		if m[key] == nil {
			m[key] = &partial{}
		}
		return m[key]
	}
	for id := range r.rows[table] {
		row := makeRow(metaTables[table], id)
		bucket := row[0].(int64) / every * every
		if bucket < since {
			continue
		}
		p := at(want, bucket, u.key(row))
		if p.add(1, 0, 0, 0, 0); load >= 0 && row[load] != nil {
			x := row[load].(float64)
			p.add(0, 1, x, x, x)
		}
	}
	got := map[string]*partial{}
	if err := r.partials(u, func(bucket int64, key string, p partial) {
		if bucket >= since {
			at(got, bucket, key).add(p.rows, p.count, p.sum, p.min, p.max)
		}
	}); err != nil {
		return err
	}
	for key, p := range want {
		if g := got[key]; g == nil || *g != *p {
			return fmt.Errorf("rollup %s: %s is %+v, its rows add up to %+v", u.def.Name, key, g, *p)
		}
	}
	for key, g := range got {
		if want[key] == nil {
			return fmt.Errorf("rollup %s: %s is %+v, but has no rows", u.def.Name, key, *g)
		}
	}
	return nil
}

// partials calls f for every partial row of a rollup.
func (r *metaRun) partials(u metaRollup, f func(bucket int64, key string, p partial)) error {
	roll, ok := r.d.tables().Rollup(u.def.Name)
	if !ok {
		return fmt.Errorf("rollup %s is not there", u.def.Name)
	}
	t := roll.Target
	req := &pred.Request{Table: t, Columns: allColumns(t), From: pred.MinTime, To: pred.MaxTime}
	return r.each(req, func(b *batch.Batch, i int) error {
		key := ""
		for _, k := range roll.Keys {
			switch v := metaValue(b.Cols[k.Target], i).(type) {
			case []byte:
				key += fmt.Sprintf("|%q", v)
			default:
				key += fmt.Sprintf("|%v", v)
			}
		}
		p := partial{rows: b.Cols[t.MustColumn("rows")].I64[i]}
		if t.Column("load_count") >= 0 {
			number := func(name string) float64 {
				v := b.Cols[t.MustColumn(name)]
				if v.IsNull(i) {
					return 0
				}
				return v.F64[i]
			}
			p.count = b.Cols[t.MustColumn("load_count")].I64[i]
			p.sum, p.min, p.max = number("load_sum"), number("load_min"), number("load_max")
		}
		f(b.Cols[t.TimeColumn].I64[i], key, p)
		return nil
	})
}

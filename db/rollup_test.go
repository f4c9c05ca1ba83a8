package db

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// calls is a table with a column of each kind that rollups tell apart.
var calls = func() *schema.Table {
	t, err := schema.New(schema.Table{Name: "calls", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "host", Type: schema.Varchar},
		{Name: "code", Type: schema.Integer, Nullable: true},
		{Name: "user", Type: schema.Varchar, Uniq: true},
		{Name: "bytes", Type: schema.BigInt, Role: schema.Counter},
		{Name: "peak", Type: schema.BigInt, Role: schema.Max},
		{Name: "took_us", Type: schema.BigInt, Role: schema.Gauge, Unit: "us", Nullable: true},
		{Name: "temp", Type: schema.Double, Role: schema.Gauge},
		{Name: "tags", Type: schema.TagSet},
	}}, "time/1m", "host", "time")
	if err != nil {
		panic(err)
	}
	return t
}()

var callsOnly = func() *schema.Registry {
	r, err := schema.NewRegistry(calls)
	if err != nil {
		panic(err)
	}
	return r
}()

func callDefs() []schema.RollupDef {
	key := func(c string) schema.RollupKey { return schema.RollupKey{Column: c} }
	return []schema.RollupDef{
		{Name: "by_second", Source: "calls", Every: time.Second, Keys: []schema.RollupKey{key("host"), key("code"), {Column: "tags", TagKey: "app"}}},
		{Name: "by_minute", Source: "calls", Every: time.Minute, Keys: []schema.RollupKey{{Column: "tags", TagKey: "pod"}, key("host")}},
		{Name: "by_day", Source: "calls", Every: 24 * time.Hour},
		{Name: "by_set", Source: "calls", Every: time.Hour, Keys: []schema.RollupKey{key("tags"), key("user")}},
	}
}

// randomCalls are rows of three days, in no order of time.
func randomCalls(r *rand.Rand, n int) *batch.Batch {
	b := batch.NewBuilder(calls)
	for range n {
		at := t0 + r.Int64N(int64(72*time.Hour))
		if r.IntN(2) == 0 { // many in a few seconds
			at = t0 + r.Int64N(int64(5*time.Second))
		}
		b.Int(0, at)
		b.String(1, fmt.Sprint("host-", r.IntN(3)))
		if r.IntN(3) > 0 {
			b.Int(2, int64(r.IntN(3)))
		}
		b.String(3, fmt.Sprint("user-", r.IntN(50)))
		b.Int(4, r.Int64N(1000))
		b.Int(5, r.Int64N(1000)-500)
		if r.IntN(3) > 0 {
			b.Int(6, r.Int64N(1_000_000))
		}
		b.Float(7, float64(r.IntN(200)-100))
		if r.IntN(50) == 0 {
			b.Float(7, math.NaN())
		}
		if r.IntN(4) > 0 {
			b.Tags(8, tagsOf(r.IntN(40)))
		}
		b.EndRow()
	}
	return b.Seal()
}

// eachRow calls f for every row of a scan.
func eachRow(d *DB, req *pred.Request, f func(b *batch.Batch, i int) error) error {
	s, err := d.Scan(context.Background(), req)
	if err != nil {
		return err
	}
	defer s.Close()
	var b batch.Batch
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, &b); err != nil {
			return err
		}
		for i := range b.N {
			if err := f(&b, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func allColumns(t *schema.Table) (cols []int) {
	for i := range t.Columns {
		cols = append(cols, i)
	}
	return cols
}

// group is a merged group: text per metric, built from states that merge.
type group struct {
	ints   []int64
	floats []float64
	some   []bool
	sketch []enc.Sketch
	uniq   []enc.HLL
}

type groups struct {
	u *schema.Rollup
	m map[string]*group
}

func newGroups(u *schema.Rollup) *groups { return &groups{u, map[string]*group{}} }

func (g *groups) at(key string) *group {
	x := g.m[key]
	if x == nil {
		n := len(g.u.Parts)
		x = &group{make([]int64, n), make([]float64, n), make([]bool, n), make([]enc.Sketch, n), make([]enc.HLL, n)}
		g.m[key] = x
	}
	return x
}

// value merges a number into part k.
func (x *group) value(k int, m schema.Merge, i int64, f float64) {
	first := !x.some[k]
	x.some[k] = true
	switch {
	case m == schema.MergeSum || m == schema.MergeCount:
		x.ints[k] += i
		x.floats[k] += f
	case m == schema.MergeMin:
		if first || i < x.ints[k] {
			x.ints[k] = i
		}
		if first || f < x.floats[k] || x.floats[k] != x.floats[k] {
			x.floats[k] = f
		}
	default:
		if first || i > x.ints[k] {
			x.ints[k] = i
		}
		if first || f > x.floats[k] || f != f {
			x.floats[k] = f
		}
	}
}

func (g *groups) String() string {
	var lines []string
	for key, x := range g.m {
		line := key + ":"
		for k, p := range g.u.Parts {
			c := &g.u.Target.Columns[p.Target]
			switch {
			case p.Merge == schema.MergeSketch:
				line += fmt.Sprintf(" %s=%x", c.Name, x.sketch[k].AppendTo(nil))
			case p.Merge == schema.MergeUniq:
				line += fmt.Sprintf(" %s=%x", c.Name, x.uniq[k].AppendTo(nil))
			case !x.some[k] && c.Nullable:
				line += fmt.Sprintf(" %s=NULL", c.Name)
			case c.Type == schema.Double:
				line += fmt.Sprintf(" %s=%v", c.Name, x.floats[k])
			default:
				line += fmt.Sprintf(" %s=%d", c.Name, x.ints[k])
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func cell(v *batch.Vector, i int) string {
	switch {
	case v.IsNull(i):
		return "NULL"
	case v.Type.Physical() == schema.Int64:
		return fmt.Sprint(v.I64[i])
	case v.Type.Physical() == schema.ID:
		return fmt.Sprint("#", v.Codes[i])
	}
	return fmt.Sprintf("%q", v.Bytes(i))
}

// fromRaw is what a rollup must say, from the rows of its source with times in a range.
func fromRaw(d *DB, u *schema.Rollup, from, to int64) (*groups, error) {
	out := newGroups(u)
	view := d.Tags()
	req := &pred.Request{Table: u.Source, Columns: allColumns(u.Source), From: from, To: to}
	err := eachRow(d, req, func(b *batch.Batch, i int) error {
		key := fmt.Sprint(u.Bucket(b.Cols[u.Source.TimeColumn].I64[i]))
		for _, k := range u.Keys {
			v := b.Cols[k.Source]
			if k.TagKey != "" {
				value, _ := view.Value(v.Codes[i], k.TagKey)
				key += fmt.Sprintf(" %q", value)
			} else {
				key += " " + cell(v, i)
			}
		}
		x := out.at(key)
		for k, p := range u.Parts {
			if p.Source < 0 {
				x.value(k, p.Merge, 1, 0)
				continue
			}
			v := b.Cols[p.Source]
			if v.IsNull(i) {
				continue
			}
			var n int64
			var f float64
			switch v.Type.Physical() {
			case schema.Int64:
				n, f = v.I64[i], float64(v.I64[i])
			case schema.Float64:
				f = v.F64[i]
			}
			switch {
			case p.Merge == schema.MergeUniq:
				x.uniq[k].Add(enc.HLLValue(xxhash.Sum64(v.Bytes(i))))
			case p.Merge == schema.MergeSketch && v.Type == schema.Bytes:
				if err := x.sketch[k].Merge(v.Bytes(i)); err != nil {
					return err
				}
			case p.Merge == schema.MergeSketch:
				x.sketch[k].Add(f)
			case p.Merge == schema.MergeCount:
				x.value(k, p.Merge, 1, 1)
			default:
				x.value(k, p.Merge, n, f)
			}
		}
		return nil
	})
	return out, err
}

// fromRollup is what its table says; rows is the number of partial rows.
func fromRollup(d *DB, u *schema.Rollup, req *pred.Request) (out *groups, rows int, err error) {
	out = newGroups(u)
	req.Table, req.Columns = u.Target, allColumns(u.Target)
	err = eachRow(d, req, func(b *batch.Batch, i int) error {
		rows++
		key := fmt.Sprint(b.Cols[u.Target.TimeColumn].I64[i])
		for _, k := range u.Keys {
			key += " " + cell(b.Cols[k.Target], i)
		}
		x := out.at(key)
		for k, p := range u.Parts {
			v := b.Cols[p.Target]
			switch {
			case v.IsNull(i):
			case p.Merge == schema.MergeSketch:
				if err := x.sketch[k].Merge(v.Bytes(i)); err != nil {
					return err
				}
			case p.Merge == schema.MergeUniq:
				if err := x.uniq[k].Merge(v.Bytes(i)); err != nil {
					return err
				}
			case v.Type.Physical() == schema.Float64:
				x.value(k, p.Merge, 0, v.F64[i])
			default:
				x.value(k, p.Merge, v.I64[i], 0)
			}
		}
		return nil
	})
	return out, rows, err
}

// checkRollup compares a rollup with its source, whole and in ranges of the source's time.
func checkRollup(d *DB, u *schema.Rollup, r *rand.Rand) error {
	for i := range 4 {
		req := &pred.Request{From: pred.MinTime, To: pred.MaxTime, SourceTime: i > 0}
		if i > 0 {
			req.From = t0 + r.Int64N(int64(72*time.Hour)) - int64(time.Hour)
			req.To = req.From + r.Int64N([]int64{int64(3 * time.Second), int64(time.Hour), int64(50 * time.Hour)}[i-1])
			if r.IntN(8) == 0 {
				req.To = pred.MaxTime
			}
		}
		want, err := fromRaw(d, u, req.From, req.To)
		if err != nil {
			return err
		}
		got, _, err := fromRollup(d, u, req)
		if err != nil {
			return err
		}
		if w, g := want.String(), got.String(); w != g {
			return fmt.Errorf("rollup %s from %d to %d says\n%s\nits source\n%s", u.Def.Name, req.From, req.To, firstDifference(g, w), firstDifference(w, g))
		}
	}
	return nil
}

func firstDifference(a, b string) string {
	in := map[string]bool{}
	for _, l := range strings.Split(b, "\n") {
		in[l] = true
	}
	for _, l := range strings.Split(a, "\n") {
		if !in[l] {
			return l
		}
	}
	return "(nothing that the other does not)"
}

// checkRollups does so for all of them, once they are ready.
func checkRollups(d *DB, r *rand.Rand) error {
	if err := d.Backfill(context.Background()); err != nil {
		return err
	}
	for _, s := range d.Rollups() {
		if !s.Ready || s.Done != s.Total {
			return fmt.Errorf("rollup %s: %d of %d segments after a backfill", s.Rollup.Def.Name, s.Done, s.Total)
		}
		if err := checkRollup(d, s.Rollup, r); err != nil {
			return err
		}
	}
	return nil
}

func openCalls(fsys vfs.FS, more ...func(*Options)) (*DB, error) {
	return Open("data", options(fsys, append(more, func(o *Options) { o.Tables = callsOnly })...))
}

// rollupStep does something to a database; it returns the database, opened again perhaps.
func rollupStep(fsys vfs.FS, d *DB, r *rand.Rand) (*DB, error) {
	ctx := context.Background()
	switch r.IntN(12) {
	case 0, 1, 2, 3, 4:
		return d, d.Write(ctx, randomCalls(r, 1+r.IntN(60)))
	case 5, 6:
		return d, d.Flush(ctx)
	case 7:
		return d, d.Compact(ctx)
	case 8, 9:
		def := callDefs()[r.IntN(len(callDefs()))]
		if err := d.CreateRollup(ctx, def); !errors.Is(err, schema.ErrRollupExists) {
			return d, err
		}
		return d, nil
	case 10:
		if r.IntN(3) > 0 {
			return d, d.Backfill(ctx)
		}
		return d, d.DropRollup(ctx, callDefs()[r.IntN(len(callDefs()))].Name, true)
	}
	if err := d.Close(); err != nil {
		return d, err
	}
	return openCalls(fsys)
}

// TestRollupHistories: whatever happens, a rollup says what its source says.
func TestRollupHistories(t *testing.T) {
	runs, steps := 6, 40
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		runs, steps = 300, 120
	} else if raceEnabled {
		runs = 2
	}
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		fsys := vfs.NewMem()
		d, err := openCalls(fsys)
		if err != nil {
			t.Fatal(err)
		}
		for step := range steps {
			if d, err = rollupStep(fsys, d, r); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if step%8 == 7 {
				if err := checkRollups(d, r); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		problems, err := VerifyFolder(context.Background(), fsys, "data", nil, func(o *VerifyOptions) { o.Tables = callsOnly })
		if err != nil || len(problems) > 0 {
			t.Fatalf("seed %d: verify: %v %v", seed, problems, err)
		}
	}
}

// TestRollupCrashes cuts the power during such a history, and has the next process check.
func TestRollupCrashes(t *testing.T) {
	runs := 40
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		runs = 5000
	} else if raceEnabled {
		runs = 6
	}
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 8))
		mem := vfs.NewMem()
		fsys := vfs.NewInjecting(mem, vfs.CutAfter(20+r.Int64N(500)))
		d, err := openCalls(fsys)
		for range 40 {
			if err != nil {
				break
			}
			var next *DB
			if next, err = rollupStep(fsys, d, r); next != nil {
				d = next
			}
		}
		clone := mem.CrashClone(vfs.CrashConfig{Seed: uint64(seed), KeepUnsynced: float64(seed%3) / 2})
		if d != nil {
			_ = d.Close() // its disk is gone
		}
		after, err := openCalls(clone)
		if err != nil {
			t.Fatalf("seed %d: open after the crash: %v", seed, err)
		}
		if err := checkRollups(after, r); err != nil {
			t.Fatalf("seed %d: after the crash: %v", seed, err)
		}
		if err := after.Write(context.Background(), randomCalls(r, 30)); err != nil {
			t.Fatal(err)
		}
		if err := checkRollups(after, r); err != nil {
			t.Fatalf("seed %d: writing on: %v", seed, err)
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRollupFaults fails file operations of creating, backfilling and dropping a rollup, one after another: every 11th, in a
// soak each.
func TestRollupFaults(t *testing.T) {
	stride := 11
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		stride = 1
	} else if raceEnabled {
		stride = 53
	}
	for n := 1; ; n += stride {
		r := rand.New(rand.NewPCG(uint64(n), 9))
		var left atomic.Int64 // operations until the one that fails; never reached while not positive
		fsys := vfs.NewInjecting(vfs.NewMem(), vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
			if left.Add(-1) == 0 {
				return vfs.Fault{Err: errors.New("injected")}
			}
			return vfs.Fault{}
		}))
		d, err := openCalls(fsys, func(o *Options) { o.NoCompaction = true })
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := d.Write(context.Background(), randomCalls(r, 20)); err != nil {
				t.Fatal(err)
			}
			mustFlush(t, d)
		}
		// the backfiller works beside it: which operation fails may differ, what must hold afterwards does not
		left.Store(int64(n))
		_ = faultySteps(d) // it may fail, or the backfiller in its stead
		reached := left.Swap(0) <= 0
		for try := 0; ; try++ {
			if err = faultySteps(d); err == nil {
				break
			} else if try == 3 {
				t.Fatalf("fault %d: still failing: %v", n, err)
			}
		}
		if err := checkRollups(d, r); err != nil {
			t.Fatalf("fault %d: %v", n, err)
		}
		if err := d.Close(); err != nil {
			t.Fatalf("fault %d: %v", n, err)
		}
		if !reached {
			t.Logf("%d file operations", n-1)
			return
		}
	}
}

func faultySteps(d *DB) error {
	ctx := context.Background()
	defs := callDefs()[:2]
	if err := d.CreateRollup(ctx, defs[0]); err != nil && !errors.Is(err, schema.ErrRollupExists) {
		return err
	}
	if err := d.Backfill(ctx); err != nil {
		return err
	}
	if err := d.DropRollup(ctx, defs[1].Name, true); err != nil {
		return err
	}
	if err := d.CreateRollup(ctx, defs[1]); err != nil {
		return err
	}
	return d.Backfill(ctx)
}

// TestRollupMergesToOneRow: after a day is over, compaction leaves one row for each key and bucket.
func TestRollupMergesToOneRow(t *testing.T) {
	fsys := vfs.NewMem()
	d, err := openCalls(fsys, func(o *Options) { o.Now = func() time.Time { return time.Unix(0, t0).Add(30 * 24 * time.Hour) } })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx := context.Background()
	for _, def := range callDefs() {
		if err := d.CreateRollup(ctx, def); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(1, 10))
	for range 12 {
		mustWrite(t, d, randomCalls(r, 100))
		mustFlush(t, d)
	}
	before := 0
	for _, s := range d.Rollups() {
		_, n, err := fromRollup(d, s.Rollup, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
		if err != nil {
			t.Fatal(err)
		}
		before += n
	}
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	after := 0
	for _, s := range d.Rollups() {
		got, n, err := fromRollup(d, s.Rollup, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
		if err != nil {
			t.Fatal(err)
		}
		if n != len(got.m) {
			t.Errorf("rollup %s: %d rows for %d keys", s.Rollup.Def.Name, n, len(got.m))
		}
		after += n
	}
	t.Logf("%d partial rows became %d", before, after)
	if err := checkRollups(d, r); err != nil {
		t.Fatal(err)
	}
}

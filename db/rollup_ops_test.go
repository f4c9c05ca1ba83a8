package db

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

func mustOpenCalls(t *testing.T, fsys vfs.FS, more ...func(*Options)) *DB {
	t.Helper()
	d, err := openCalls(fsys, more...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustCreate(t *testing.T, d *DB, defs ...schema.RollupDef) {
	t.Helper()
	for _, def := range defs {
		if err := d.CreateRollup(context.Background(), def); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEdgesBySecondAndMinute: a collector's partial rows of a second, in any order and pieces, give the minute's, also when the
// folder is from before the minute's table was there.
func TestEdgesBySecondAndMinute(t *testing.T) {
	ctx := context.Background()
	r := rand.New(rand.NewPCG(3, 3))
	seconds := schema.Network()
	old, err := schema.NewRegistry(seconds)
	if err != nil {
		t.Fatal(err)
	}
	write := func(d *DB) {
		for range 6 {
			b := batch.NewBuilder(seconds)
			for range 50 {
				b.Int(0, t0/1e9*1e9+r.Int64N(300)*1e9)
				b.Int(seconds.MustColumn("server_port"), int64(r.IntN(2)))
				b.Tags(seconds.MustColumn("server_tags"), tagsOf(r.IntN(5)))
				b.Int(seconds.MustColumn("bytes_tx"), r.Int64N(1e6))
				b.Int(seconds.MustColumn("rtt_max_us"), r.Int64N(1e6))
				var s enc.Sketch
				for range r.IntN(5) {
					s.Add(float64(r.IntN(1e6)))
				}
				b.Text(seconds.MustColumn("rtt_sketch"), s.AppendTo(nil))
				b.EndRow()
			}
			mustWrite(t, d, b.Seal())
			if r.IntN(2) == 0 {
				mustFlush(t, d)
			}
		}
	}
	fsys := vfs.NewMem()
	d, err := Open("data", options(fsys, func(o *Options) { o.Tables = old }))
	if err != nil {
		t.Fatal(err)
	}
	write(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open("data", options(fsys, func(o *Options) { o.Now = func() time.Time { return time.Unix(0, t0).Add(40 * time.Hour) } }))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	write(d)
	for range 2 {
		if err := checkRollups(d, r); err != nil {
			t.Fatal(err)
		}
		if err := d.Compact(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mustFlush(t, d)
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	// the seconds' own partial rows were merged, too
	keys, rows := map[[3]int64]bool{}, 0
	err = eachRow(d, &pred.Request{Table: seconds, Columns: []int{0, 1, 3}, From: pred.MinTime, To: pred.MaxTime}, func(b *batch.Batch, i int) error {
		rows++
		keys[[3]int64{b.Cols[0].I64[i], int64(b.Cols[1].Codes[i]), b.Cols[2].I64[i]}] = true
		return nil
	})
	if err != nil || rows != len(keys) {
		t.Errorf("%d rows of a second for %d keys after a merge, %v", rows, len(keys), err)
	}
	if s := d.Rollups(); len(s) != 2 || !s[0].Ready || s[1].Total == 0 || s[1].Created.IsZero() || !s[0].Created.IsZero() {
		t.Errorf("rollups %+v", s)
	}
	if err := d.DropRollup(ctx, "network_1m", false); !errors.Is(err, schema.ErrBuiltinRollup) {
		t.Errorf("DropRollup(network_1m) = %v", err)
	}
	b := batch.NewBuilder(d.Rollups()[1].Rollup.Target)
	b.Int(0, t0)
	b.EndRow()
	if err := d.Write(ctx, b.Seal()); !errors.Is(err, ErrBadBatch) || !strings.Contains(err.Error(), "is a rollup") {
		t.Errorf("writing to a rollup: %v", err)
	}
}

// TestRollupTerms: conditions on keys and on metrics choose the same partial rows, flushed or not.
func TestRollupTerms(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	d := mustOpenCalls(t, vfs.NewMem())
	defer d.Close()
	mustCreate(t, d, callDefs()...)
	for range 4 {
		mustWrite(t, d, randomCalls(r, 200))
	}
	s := d.Rollups()
	u := s[slices.IndexFunc(s, func(s schema.RollupStatus) bool { return s.Rollup.Def.Name == "by_second" })].Rollup
	col := u.Target.MustColumn
	text := func(c string, not bool, values ...string) pred.Term {
		term := pred.Term{Column: col(c), Kind: pred.Text, Not: not, Match: func(v []byte) bool { return slices.Contains(values, string(v)) }}
		for _, v := range values {
			term.Equal = append(term.Equal, []byte(v))
		}
		return term
	}
	prefix := text("tag.app", false)
	prefix.Equal, prefix.Match = nil, func(v []byte) bool { return len(v) == 0 || v[len(v)-1] == '2' }
	for i, terms := range [][]pred.Term{
		{text("tag.app", false, "app-1", "")}, {text("tag.app", true, "app-1")}, {prefix}, {text("host", true, "host-1")},
		{{Column: col("code"), Kind: pred.IsNull}}, {{Column: col("code"), Kind: pred.IntRange, Lo: 1, Hi: 2}, text("host", false, "host-0")},
		{{Column: 0, Kind: pred.IntSet, Ints: []int64{t0, t0 + 1e9}}}, {text("host", false, "nope")},
	} {
		var before string
		for range 2 {
			all, _, err := fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime, Terms: terms})
			if err != nil {
				t.Fatal(err)
			}
			for key := range got.m {
				if all.m[key] == nil {
					t.Fatalf("terms %d: %s is not there without them", i, key)
				}
			}
			if len(got.m) == len(all.m) || len(got.m) == 0 && i < 7 {
				t.Errorf("terms %d choose %d of %d", i, len(got.m), len(all.m))
			}
			if before != "" && before != got.String() {
				t.Errorf("terms %d choose something else once rows are flushed", i)
			}
			before = got.String()
			mustFlush(t, d)
		}
		mustWrite(t, d, randomCalls(r, 200))
	}
}

// TestRollupPercentiles: a percentile from a rollup is within the sketch's error of the exact one, a distinct count within its own.
func TestRollupPercentiles(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	d := mustOpenCalls(t, vfs.NewMem())
	defer d.Close()
	mustCreate(t, d, callDefs()...)
	var took []float64
	for range 10 {
		b := randomCalls(r, 500)
		for i := range b.N {
			if !b.Cols[6].IsNull(i) {
				took = append(took, float64(b.Cols[6].I64[i]))
			}
		}
		mustWrite(t, d, b)
	}
	slices.Sort(took)
	for _, s := range d.Rollups() {
		part := slices.IndexFunc(s.Rollup.Parts, func(p schema.Part) bool { return s.Rollup.Target.Columns[p.Target].Name == "took_sketch" })
		got, _, err := fromRollup(d, s.Rollup, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
		if err != nil {
			t.Fatal(err)
		}
		var whole enc.Sketch
		for _, x := range got.m {
			whole.MergeWith(&x.sketch[part])
		}
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			want := took[int(q*float64(len(took)-1))]
			if v := whole.Quantile(q); math.Abs(v-want) > enc.SketchAccuracy*want*1.0001 {
				t.Errorf("%s q=%g: %g, exactly %g", s.Rollup.Def.Name, q, v, want)
			}
		}
	}
}

// TestRetentionIsKept: what SetRetention says holds after a restart, before options and definitions, and rollups have their KEEP.
func TestRetentionIsKept(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	var days atomic.Int64 // the clock: the flusher reads it, too
	days.Store(100)
	open := func() *DB {
		return mustOpenCalls(t, fsys, func(o *Options) {
			o.Now = func() time.Time { return time.Unix(0, t0).Add(time.Duration(days.Load()) * 24 * time.Hour) }
			o.Retention = map[string]time.Duration{"calls": 9 * time.Hour}
		})
	}
	d := open()
	def := callDefs()[1]
	def.Keep = 200 * 24 * time.Hour
	mustCreate(t, d, def)
	if d.Retention("calls") != 9*time.Hour || d.Retention(def.Name) != def.Keep || d.Retention("nope") != 0 {
		t.Errorf("retention %v %v", d.Retention("calls"), d.Retention(def.Name))
	}
	if err := d.SetRetention(ctx, "nope", 1); !errors.Is(err, schema.ErrUnknownTable) {
		t.Errorf("SetRetention(nope) = %v", err)
	}
	if err := d.SetRetention(ctx, "calls", 10*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, d, randomCalls(rand.New(rand.NewPCG(6, 6)), 100))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open()
	defer func() { d.Close() }()
	if got := d.Retention("calls"); got != 10*24*time.Hour {
		t.Fatalf("retention %v after a restart", got)
	}
	u := d.Rollups()[0].Rollup
	before, _, err := fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
	if err != nil {
		t.Fatal(err)
	}
	days.Add(20) // the rows are too old now, the rollup is not
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	raw, err := fromRaw(d, u, pred.MinTime, pred.MaxTime)
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
	if err != nil {
		t.Fatal(err)
	}
	if len(raw.m) != 0 || before.String() != after.String() || len(after.m) == 0 {
		t.Errorf("%d groups of rows, %d of the rollup are left", len(raw.m), len(after.m))
	}
	if err := d.SetRetention(ctx, def.Name, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if after, _, _ = fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime}); len(after.m) != 0 {
		t.Errorf("%d groups of the rollup are left", len(after.m))
	}
}

// stuckCalls is a database with a rollup whose backfill has not begun: it waits behind the lock that the caller lets go.
func stuckCalls(t *testing.T, fsys vfs.FS) (d *DB, free func()) {
	t.Helper()
	d = mustOpenCalls(t, fsys, func(o *Options) { o.CompactEvery = time.Hour })
	r := rand.New(rand.NewPCG(7, 7))
	for range 9 {
		mustWrite(t, d, randomCalls(r, 30))
		mustFlush(t, d)
	}
	d.backfillMu.Lock()
	mustCreate(t, d, callDefs()[0])
	return d, d.backfillMu.Unlock
}

// TestPendingSegments: they are neither merged nor expired, a backup takes the list along, and a damaged one leaves it.
func TestPendingSegments(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d, free := stuckCalls(t, fsys)
	defer func() { d.Close() }()
	s := d.Rollups()[0]
	if s.Ready || s.Done != 0 || s.Total == 0 {
		t.Fatalf("rollup %+v", s)
	}
	if err := d.SetRetention(ctx, "calls", time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if s := d.Rollups()[0]; s.Done != 0 || s.Ready {
		t.Fatalf("pending segments went: %+v", s)
	}
	if err := d.SetRetention(ctx, "calls", 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Backup(ctx, "copy"); err != nil {
		t.Fatal(err)
	}
	d.commitMu.Lock()
	victim := d.manifest.rollups[s.Rollup.Def.Name].Pending[0]
	d.commitMu.Unlock()
	damageFile(t, fsys, "data/"+victim)
	free()
	if err := checkRollups(d, rand.New(rand.NewPCG(8, 8))); err != nil {
		t.Fatal(err)
	}
	if q := d.Metrics().Quarantined; q != 1 {
		t.Errorf("%d segments set aside", q)
	}
	if m := d.Metrics(); m.BackfilledSegments != s.Total-1 || m.RollupRows == 0 || m.RollupPartials == 0 {
		t.Errorf("%d segments backfilled of %d, %d rows, %d partial rows", m.BackfilledSegments, s.Total, m.RollupRows, m.RollupPartials)
	}
	c, err := Open("copy", options(fsys, func(o *Options) { o.Tables = callsOnly }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := checkRollups(c, rand.New(rand.NewPCG(9, 9))); err != nil {
		t.Fatalf("the copy: %v", err)
	}
}

// damageFile changes the first page of a segment.
func damageFile(t *testing.T, fsys *vfs.Mem, name string) {
	t.Helper()
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 64)
	if _, err := f.ReadAt(buf, 8); err != nil {
		t.Fatal(err)
	}
	for i := range buf {
		buf[i] ^= 0xff
	}
	if _, err := f.WriteAt(buf, 8); err != nil {
		t.Fatal(err)
	}
}

// TestDropMidBackfill drops a rollup that is being filled, and makes another of that name.
func TestDropMidBackfill(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d, free := stuckCalls(t, fsys)
	defer func() { d.Close() }()
	def := callDefs()[0]
	old := d.Rollups()[0].Rollup
	free()
	if err := d.DropRollup(ctx, def.Name, false); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Table(def.Name); ok || len(d.Rollups()) != 0 {
		t.Error("the table of a dropped rollup is still there")
	}
	if err := d.DropRollup(ctx, def.Name, false); !errors.Is(err, schema.ErrUnknownRollup) {
		t.Errorf("dropping it again: %v", err)
	}
	def.Every = time.Hour
	mustCreate(t, d, def)
	if err := d.CreateRollup(ctx, def); !errors.Is(err, schema.ErrRollupExists) {
		t.Errorf("creating it again: %v", err)
	}
	if _, err := d.Scan(ctx, &pred.Request{Table: old.Target}); !errors.Is(err, schema.ErrUnknownTable) {
		t.Errorf("scanning the dropped one: %v", err)
	}
	if err := checkRollups(d, rand.New(rand.NewPCG(1, 1))); err != nil {
		t.Fatal(err)
	}
	for _, f := range listAll(fsys, "data/tables/"+def.Name) {
		if strings.Contains(f, "/1s/") {
			t.Errorf("%s is left over", f)
		}
	}
}

// TestManifestVersions: a MANIFEST is of version 1 until a rollup needs version 2 or a tag file version 3, and stays of that
// one.
func TestManifestVersions(t *testing.T) {
	fsys := vfs.NewMem()
	magic := func() string {
		b, err := vfs.ReadFile(fsys, "data/MANIFEST", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:8])
	}
	d := mustOpenCalls(t, fsys)
	if got := magic(); got != manifestMagic {
		t.Errorf("header %q of an empty folder", got)
	}
	mustCreate(t, d, callDefs()[1])
	if got := magic(); got != manifestMagic2 {
		t.Errorf("header %q with a rollup", got)
	}
	mustWrite(t, d, randomCalls(rand.New(rand.NewPCG(1, 1)), 10))
	mustFlush(t, d)
	if got := magic(); got != manifestMagic3 {
		t.Errorf("header %q with a tag file", got)
	}
	mustCreate(t, d, callDefs()[0])
	if err := d.Backfill(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := magic(); got != manifestMagic3 {
		t.Errorf("header %q later", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	notes := ""
	if err := InspectManifest(fsys, "data", func(e ManifestEdit) error { notes += strings.Join(e.Notes, "\n"); return nil }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(notes, "rollup by_second of calls every 1s: ") || !strings.Contains(notes, "rolled up into by_second: tables/calls/raw/") {
		t.Errorf("the edits say\n%s", notes)
	}
	d = mustOpenCalls(t, fsys)
	defer d.Close()
	if len(d.Rollups()) != 2 {
		t.Errorf("rollups %v after a restart", d.Rollups())
	}
}

// TestRollupsWhileWriting writes, reads, merges, creates and drops at the same time; in the end all agrees, and meanwhile no
// scan sees a row twice or not at all.
func TestRollupsWhileWriting(t *testing.T) {
	ctx := context.Background()
	rounds := 25
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		rounds = 1000
	}
	d := mustOpenCalls(t, vfs.NewMem(), func(o *Options) { o.HeadBytes, o.CompactEvery = 2<<10, time.Millisecond })
	defer d.Close()
	def := callDefs()[1]
	mustCreate(t, d, def)
	u := d.Rollups()[0].Rollup
	fail := make(chan error, 4)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := rand.New(rand.NewPCG(1, 2))
		for range rounds {
			if err := d.Write(ctx, randomCalls(r, 20)); err != nil {
				fail <- err
				return
			}
		}
	}()
	churned := make(chan struct{})
	go func() {
		defer close(churned)
		other := callDefs()[0]
		for range rounds / 5 {
			if err := errors.Join(d.CreateRollup(ctx, other), d.Backfill(ctx), d.DropRollup(ctx, other.Name, false)); err != nil {
				fail <- err
				return
			}
		}
	}()
	last := int64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		got, _, err := fromRollup(d, u, &pred.Request{From: pred.MinTime, To: pred.MaxTime})
		if err != nil {
			t.Error(err)
			break
		}
		rows := int64(0)
		for _, x := range got.m {
			rows += x.ints[0]
		}
		if rows < last || rows%20 != 0 {
			t.Errorf("%d rows after %d", rows, last)
			break
		}
		last = rows
	}
	<-done
	<-churned
	select {
	case err := <-fail:
		t.Fatal(err)
	default:
	}
	if err := checkRollups(d, rand.New(rand.NewPCG(1, 3))); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedRollup: a rollup that lost a segment says so, after restarts too, until it is made again.
func TestDamagedRollup(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	d := mustOpenCalls(t, fsys, func(o *Options) { o.NoCompaction = true })
	def := callDefs()[1]
	mustCreate(t, d, def)
	mustWrite(t, d, randomCalls(rand.New(rand.NewPCG(4, 4)), 50))
	mustFlush(t, d)
	u := d.Rollups()[0].Rollup
	for _, s := range d.Segments() {
		if s.Table == def.Name {
			damageFile(t, fsys, "data/"+s.Path)
			break
		}
	}
	if _, err := d.Verify(ctx, nil, func(o *VerifyOptions) { o.SetAside = true }); err != nil {
		t.Fatal(err)
	}
	expect := func(what string, want int64) {
		t.Helper()
		if s := d.Rollups()[0]; s.Damaged != want || !s.Ready {
			t.Errorf("%s: %+v, want %d damaged segments", what, s, want)
		}
	}
	expect("set aside", 1)
	d.commitMu.Lock()
	err := d.manifest.rewrite()
	d.commitMu.Unlock()
	if err := errors.Join(err, d.Close()); err != nil {
		t.Fatal(err)
	}
	d = mustOpenCalls(t, fsys, func(o *Options) { o.NoCompaction = true })
	expect("after a restart", 1)
	if err := errors.Join(d.DropRollup(ctx, def.Name, false), d.CreateRollup(ctx, def), d.Backfill(ctx)); err != nil {
		t.Fatal(err)
	}
	expect("made again", 0)
	if err := checkRollup(d, u, rand.New(rand.NewPCG(5, 5))); err == nil {
		t.Error("the dropped rollup can be read")
	}
	if err := checkRollups(d, rand.New(rand.NewPCG(5, 5))); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustOpenCalls(t, fsys)
	defer d.Close()
	expect("made again, after a restart", 0)
}

package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// events is a small table for tests.
var events = func() *schema.Table {
	t, err := schema.New(schema.Table{Name: "events", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "id", Type: schema.BigInt},
		{Name: "name", Type: schema.Varchar},
		{Name: "n", Type: schema.Integer, Nullable: true},
		{Name: "tags", Type: schema.TagSet},
	}}, "tags", "time")
	if err != nil {
		panic(err)
	}
	return t
}()

var eventsOnly = func() *schema.Registry {
	r, err := schema.NewRegistry(events)
	if err != nil {
		panic(err)
	}
	return r
}()

const t0 = int64(1_700_000_000_000_000_000)

// rowsOf makes a batch of n rows with ids from first on; everything in a row follows from its id.
func rowsOf(first, n int) *batch.Batch {
	b := batch.NewBuilder(events)
	for id := first; id < first+n; id++ {
		b.Int(0, t0+int64(id)*1e9)
		b.Int(1, int64(id))
		b.String(2, nameOf(id))
		if id%3 == 0 {
			b.Int(3, int64(id))
		}
		b.Tags(4, tagsOf(id))
		b.EndRow()
	}
	return b.Seal()
}

func nameOf(id int) string { return fmt.Sprint("name-", id%17) }

func tagsOf(id int) []byte {
	return tags.AppendSet(nil, tags.Tag{Key: "pod", Value: fmt.Sprint("pod-", id%23)}, tags.Tag{Key: "app", Value: fmt.Sprint("app-", id%5)})
}

// options are small so that little data goes through everything.
func options(fsys vfs.FS, more ...func(*Options)) func(*Options) {
	return func(o *Options) {
		o.FS, o.HeadBytes, o.HeadAge, o.FlushRows = fsys, 4<<10, time.Hour, 200
		o.LogSegmentBytes, o.CompactEvery = 64<<10, time.Hour
		for _, f := range more {
			f(o)
		}
	}
}

func mustOpen(t testing.TB, fsys vfs.FS, more ...func(*Options)) *DB {
	t.Helper()
	d, err := Open("data", options(fsys, append(more, func(o *Options) { o.Tables = eventsOnly })...))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustWrite(t testing.TB, d *DB, b *batch.Batch) {
	t.Helper()
	if err := d.Write(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

func mustFlush(t testing.TB, d *DB) {
	t.Helper()
	if err := d.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// scanIDs reads the ids that satisfy a request, and checks that each row is the one that was written.
func scanIDs(d *DB, from, to int64, terms ...pred.Term) ([]int, error) {
	req := &pred.Request{Table: events, Columns: []int{0, 1, 2, 3, 4}, From: from, To: to, Terms: terms, Stats: &pred.Stats{}}
	s, err := d.Scan(context.Background(), req)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	view := d.Tags()
	var ids []int
	var b batch.Batch
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, &b); err != nil {
			return nil, err
		}
		for i := range b.N {
			id := int(b.Cols[1].I64[i])
			ids = append(ids, id)
			set := view.Set(b.Cols[4].Codes[i])
			if b.Cols[0].I64[i] != t0+int64(id)*1e9 || string(b.Cols[2].Bytes(i)) != nameOf(id) || string(set) != string(tagsOf(id)) ||
				b.Cols[3].IsNull(i) != (id%3 != 0) || id%3 == 0 && b.Cols[3].I64[i] != int64(id) {
				return nil, fmt.Errorf("row %d is not as it was written: time %d name %q tags %q", id, b.Cols[0].I64[i], b.Cols[2].Bytes(i), set)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func allIDs(t testing.TB, d *DB) []int {
	t.Helper()
	ids, err := scanIDs(d, pred.MinTime, pred.MaxTime)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func upTo(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = i
	}
	return ids
}

func equalIDs(t testing.TB, what string, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d rows, want %d\n got %v\nwant %v", what, len(got), len(want), got, want)
	}
}

func TestWriteScanReopen(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	total := 0
	for _, n := range []int{1, 7, 300, 2, 50} {
		mustWrite(t, d, rowsOf(total, n))
		total += n
		equalIDs(t, "after a write", allIDs(t, d), upTo(total))
	}
	mustFlush(t, d)
	equalIDs(t, "after a flush", allIDs(t, d), upTo(total))
	if m := d.Metrics(); m.HeadRows != 0 || m.SegmentRows != int64(total) || m.Rows != int64(total) || m.Segments < 1 {
		t.Fatalf("metrics %+v", m)
	}
	mustWrite(t, d, rowsOf(total, 30))
	total += 30
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(context.Background(), rowsOf(0, 1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("write after close: %v", err)
	}
	d = mustOpen(t, fsys)
	defer d.Close()
	equalIDs(t, "after opening again", allIDs(t, d), upTo(total))
	mustWrite(t, d, rowsOf(total, 5))
	equalIDs(t, "after a further write", allIDs(t, d), upTo(total+5))
}

func TestScanPredicatesInHeadAndSegments(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	defer d.Close()
	mustWrite(t, d, rowsOf(0, 500))
	mustFlush(t, d)
	mustWrite(t, d, rowsOf(500, 100))
	where := func(f func(id int) bool) (ids []int) {
		for id := range 600 {
			if f(id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	pod := d.Tags().Equal("pod", "pod-3")
	for _, c := range []struct {
		name string
		want func(id int) bool
		from int64
		to   int64
		term []pred.Term
	}{
		{"time", func(id int) bool { return id >= 450 && id < 520 }, t0 + 450e9, t0 + 520e9, nil},
		{"int range", func(id int) bool { return id >= 490 && id <= 510 }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 1, Kind: pred.IntRange, Lo: 490, Hi: 510}}},
		{"int set", func(id int) bool { return id == 3 || id == 555 }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 1, Kind: pred.IntSet, Ints: []int64{3, 555}}}},
		{"text", func(id int) bool { return nameOf(id) == "name-4" }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 2, Kind: pred.Text,
			Match: func(v []byte) bool { return string(v) == "name-4" }, Equal: [][]byte{[]byte("name-4")}}}},
		{"not text", func(id int) bool { return nameOf(id) != "name-4" }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 2, Kind: pred.Text, Not: true,
			Match: func(v []byte) bool { return string(v) == "name-4" }, Equal: [][]byte{[]byte("name-4")}}}},
		{"null", func(id int) bool { return id%3 != 0 }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 3, Kind: pred.IsNull}}},
		{"not null and range", func(id int) bool { return id%3 == 0 && id > 300 }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 3, Kind: pred.IsNull, Not: true}, {Column: 3, Kind: pred.IntRange, Lo: 301, Hi: 1 << 30}}},
		{"tags", func(id int) bool { return id%23 == 3 }, pred.MinTime, pred.MaxTime, []pred.Term{{Column: 4, Kind: pred.Tags, IDs: pod}}},
		{"all together", func(id int) bool { return id%23 == 3 && id%3 == 0 && id > 200 }, t0 + 201e9, pred.MaxTime, []pred.Term{{Column: 4, Kind: pred.Tags, IDs: pod}, {Column: 3, Kind: pred.IsNull, Not: true}}},
		{"nothing", func(id int) bool { return false }, t0 + 9000e9, pred.MaxTime, nil},
	} {
		got, err := scanIDs(d, c.from, c.to, c.term...)
		if err != nil {
			t.Fatal(err)
		}
		equalIDs(t, c.name, got, where(c.want))
	}
}

// TestScanIsASnapshot holds a scan open while rows are written, flushed and merged.
func TestScanIsASnapshot(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	defer d.Close()
	mustWrite(t, d, rowsOf(0, 250))
	mustFlush(t, d)
	mustWrite(t, d, rowsOf(250, 10))
	s, err := d.Scan(context.Background(), &pred.Request{Table: events, From: pred.MinTime, To: pred.MaxTime})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		mustWrite(t, d, rowsOf(260+i*10, 10))
		mustFlush(t, d)
	}
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	rows := 0
	var b batch.Batch
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, &b); err != nil {
			t.Fatal(err)
		}
		rows += b.N
	}
	s.Close()
	if rows != 260 {
		t.Fatalf("%d rows, 260 were there when the scan began", rows)
	}
	equalIDs(t, "a new scan", allIDs(t, d), upTo(460))
}

func TestCompactionMergesAndKeepsRows(t *testing.T) {
	fsys := vfs.NewMem()
	merged := 0
	d := mustOpen(t, fsys, func(o *Options) {
		o.NoCompaction = true // only when told
		o.Events.Compacted = func(string, int, int64, int64, time.Duration) { merged++ }
	})
	for i := range 30 {
		mustWrite(t, d, rowsOf(i*20, 20))
		mustFlush(t, d)
	}
	before := d.Metrics().Segments
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	m := d.Metrics()
	if merged == 0 || m.Segments >= before/2 || m.SegmentRows != 600 || m.Compactions != int64(merged) {
		t.Fatalf("%d segments became %d in %d merges: %+v", before, m.Segments, merged, m)
	}
	equalIDs(t, "after merging", allIDs(t, d), upTo(600))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	files := 0
	days, err := fsys.List("data/tables/events/raw")
	if err != nil {
		t.Fatal(err)
	}
	for _, day := range days {
		names, err := fsys.List("data/tables/events/raw/" + day)
		if err != nil {
			t.Fatal(err)
		}
		files += len(names)
	}
	if int64(files) != m.Segments {
		t.Fatalf("%d files for %d segments", files, m.Segments)
	}
	d = mustOpen(t, fsys)
	defer d.Close()
	equalIDs(t, "opened again", allIDs(t, d), upTo(600))
}

func TestManyWritersAndReaders(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.CompactEvery = time.Millisecond })
	defer d.Close()
	const writers, each = 8, 40
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				first := (w*each + i) * 10
				if err := d.Write(context.Background(), rowsOf(first, 10)); err != nil {
					t.Error(err)
					return
				}
				ids, err := scanIDs(d, t0+int64(first)*1e9, t0+int64(first+10)*1e9)
				if err != nil || len(ids) != 10 {
					t.Errorf("own rows after the write was acknowledged: %v %v", ids, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	equalIDs(t, "at the end", allIDs(t, d), upTo(writers*each*10))
}

func TestWriteRefusesWhatDoesNotFit(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.MaxTagSets = 30 })
	defer d.Close()
	refuse := func(what string, want error, change func(b *batch.Batch)) {
		t.Helper()
		b := rowsOf(0, 2)
		change(b)
		if err := d.Write(context.Background(), b); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	refuse("unknown table", ErrBadBatch, func(b *batch.Batch) { b.Table = schema.Flows() })
	refuse("short column", ErrBadBatch, func(b *batch.Batch) { b.Cols[1] = &batch.Vector{Type: schema.BigInt, I64: []int64{1}} })
	refuse("other type", ErrBadBatch, func(b *batch.Batch) { b.Cols[1] = &batch.Vector{Type: schema.Double, F64: []float64{1, 2}} })
	refuse("no time", ErrBadBatch, func(b *batch.Batch) { b.Cols[0] = nil })
	refuse("INTEGER out of range", ErrBadBatch, func(b *batch.Batch) { b.Cols[3] = &batch.Vector{Type: schema.Integer, I64: []int64{1 << 40, 0}} })
	refuse("code beyond the dictionary", ErrBadBatch, func(b *batch.Batch) {
		b.Cols[2] = &batch.Vector{Type: schema.Varchar, Codes: []uint32{0, 9}, Dict: batch.DictOf("a")}
	})
	refuse("a tag set that is none", ErrBadBatch, func(b *batch.Batch) {
		b.Cols[4] = &batch.Vector{Type: schema.TagSet, Codes: []uint32{0, 0}, Dict: batch.DictOf("\xff\xff")}
	})
	mustWrite(t, d, rowsOf(0, 20))
	if err := d.Write(context.Background(), rowsOf(100, 120)); !errors.Is(err, ErrTooManyTagSets) || !errors.Is(err, batch.ErrRefused) {
		t.Errorf("too many tag sets: %v", err)
	}
	err := d.Write(context.Background(), rowsOf(100, 120))
	for _, says := range []string{"21 tag sets", "limit is 33", `"pod"`, "SHOW TAG CARDINALITY", "MaxTagSets"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("it does not say %q: %v", says, err)
		}
	}
	equalIDs(t, "what was taken", allIDs(t, d), upTo(20))
	if m := d.Metrics(); m.Refused["bad_batch"] != 14 || m.Refused["tag_limit"] != 240 || m.TagRefused["sets"] != 240 {
		t.Errorf("refused %v", m.Refused)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "pid") {
		t.Fatalf("second open: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

func TestOpenRefusesOtherFolders(t *testing.T) {
	for what, c := range map[string]struct {
		prepare func(fsys vfs.FS) error
		want    error
	}{
		"somebody's files": {func(f vfs.FS) error { return write(f, "data/thesis.txt", "x") }, ErrNotAFolder},
		"a newer format":   {func(f vfs.FS) error { return write(f, "data/OPTIONS", `{"format":99}`) }, ErrNewerFormat},
		"a file":           {func(f vfs.FS) error { return write(f, "data", "x") }, ErrNotAFolder},
		"broken options":   {func(f vfs.FS) error { return write(f, "data/OPTIONS", `{`) }, ErrCorrupt},
		"broken manifest": {func(f vfs.FS) error {
			return errors.Join(write(f, "data/OPTIONS", `{"format":1}`), write(f, "data/MANIFEST", "garbage, surely"))
		}, ErrCorrupt},
		"newer manifest": {func(f vfs.FS) error {
			return errors.Join(write(f, "data/OPTIONS", `{"format":1}`), write(f, "data/MANIFEST", "FLMANIF9"))
		}, ErrNewerFormat},
	} {
		fsys := vfs.NewMem()
		if err := c.prepare(fsys); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("data", options(fsys)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
}

func write(fsys vfs.FS, name, content string) error {
	if err := fsys.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(content))
	return errors.Join(err, f.Close())
}

func TestLeftOverFilesAreRemoved(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	mustWrite(t, d, rowsOf(0, 10))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	strays := []string{"data/tmp/x.parquet", "data/tables/events/raw/2023-11-14/9-9-9.parquet", "data/tags/99-100.parquet"}
	for _, s := range strays {
		if err := write(fsys, s, "left over"); err != nil {
			t.Fatal(err)
		}
	}
	d = mustOpen(t, fsys)
	defer d.Close()
	for _, s := range strays {
		if _, err := fsys.Stat(s); err == nil {
			t.Errorf("%s is still there", s)
		}
	}
	equalIDs(t, "rows", allIDs(t, d), upTo(10))
}

func TestBackPressure(t *testing.T) {
	var fail sync.Map // makes flushes fail while set
	inj := vfs.NewInjecting(vfs.NewMem(), vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if _, on := fail.Load(1); on && c.Kind == vfs.OpCreate && strings.HasSuffix(c.Path, ".parquet") {
			return vfs.Fault{Err: errors.New("no segments today")}
		}
		return vfs.Fault{}
	}))
	fail.Store(1, true)
	d := mustOpen(t, inj, func(o *Options) { o.MemoryBytes, o.MaxWait = 16<<10, 20*time.Millisecond })
	n := 0
	var err error
	for range 1000 {
		if err = d.Write(context.Background(), rowsOf(n, 20)); err != nil {
			break
		}
		n += 20
	}
	if !errors.Is(err, ErrBusy) {
		t.Fatalf("after %d rows that could not be flushed: %v", n, err)
	}
	equalIDs(t, "acknowledged rows", allIDs(t, d), upTo(n))
	deadline := time.Now().Add(2 * time.Minute)
	for d.Metrics().BackgroundErrors == 0 { // the flusher may not have had a core yet
		if time.Now().After(deadline) {
			t.Fatal("no flush has failed")
		}
		time.Sleep(time.Millisecond)
	}
	fail.Delete(1)
	for {
		if err = d.Write(context.Background(), rowsOf(n, 20)); err == nil {
			break
		}
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			t.Fatalf("after flushes work again: %v", err)
		}
	}
	n += 20
	equalIDs(t, "at the end", allIDs(t, d), upTo(n))
	if m := d.Metrics(); m.BackgroundErrors == 0 || m.Stalls == 0 || m.Refused["busy"] == 0 {
		t.Errorf("metrics %+v", m)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpointIsADatabase(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	defer d.Close()
	mustWrite(t, d, rowsOf(0, 300))
	if err := d.Checkpoint(context.Background(), "copy"); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, d, rowsOf(300, 100))
	c, err := Open("copy", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
	if err != nil {
		t.Fatal(err)
	}
	equalIDs(t, "the copy", allIDs(t, c), upTo(300))
	mustWrite(t, c, rowsOf(300, 7))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = Open("copy", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	equalIDs(t, "the copy, written to and opened again", allIDs(t, c), upTo(307))
	equalIDs(t, "the original", allIDs(t, d), upTo(400))
	if err := d.Checkpoint(context.Background(), "copy"); err == nil {
		t.Fatal("a checkpoint into a folder with files")
	}
}

func TestRetention(t *testing.T) {
	now := time.Unix(0, t0)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	d := mustOpen(t, vfs.NewMem(), func(o *Options) {
		o.Now, o.Retention = clock, map[string]time.Duration{"events": time.Hour}
	})
	defer d.Close()
	mustWrite(t, d, rowsOf(-10*86400, 100)) // ten days old, as from a file
	mustFlush(t, d)
	compactNow := func() int {
		if err := d.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		return int(d.Metrics().SegmentRows)
	}
	if n := compactNow(); n != 100 {
		t.Fatalf("%d rows: old rows that were just imported are kept for their retention", n)
	}
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	mustWrite(t, d, rowsOf(7100, 50)) // of now
	mustFlush(t, d)
	if n := compactNow(); n != 50 {
		t.Fatalf("%d rows after the retention of the first has passed, want 50", n)
	}
}

func TestApplyFromAnExternalLog(t *testing.T) {
	fsys := vfs.NewMem()
	var log [][]byte
	external := func(o *Options) { o.ExternalLog = true }
	d := mustOpen(t, fsys, external)
	for i := range 20 {
		rec, err := batch.AppendFrame(nil, rowsOf(i*10, 10))
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, rec)
		if err := d.Apply(uint64(i+1), rec); err != nil {
			t.Fatal(err)
		}
		if i == 11 {
			mustFlush(t, d)
		}
	}
	if err := d.Write(context.Background(), rowsOf(0, 1)); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("write: %v", err)
	}
	clone := fsys.CrashClone(vfs.CrashConfig{})
	equalIDs(t, "before", allIDs(t, d), upTo(200))
	d.Close()
	d = mustOpen(t, clone, external)
	defer d.Close()
	if d.Applied() != 12 {
		t.Fatalf("applied %d, 12 were flushed", d.Applied())
	}
	for i, rec := range log { // those that are in segments are skipped
		if err := d.Apply(uint64(i+1), rec); err != nil {
			t.Fatal(err)
		}
	}
	equalIDs(t, "after", allIDs(t, d), upTo(200))
}

// TestTagIDsAreDeterministic applies the same log to two databases that flush at different times.
func TestTagIDsAreDeterministic(t *testing.T) {
	external := func(o *Options) { o.ExternalLog = true }
	a, b := mustOpen(t, vfs.NewMem(), external), mustOpen(t, vfs.NewMem(), external)
	defer a.Close()
	defer b.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		rec, err := batch.AppendFrame(nil, rowsOf(rng.IntN(1000), 1+rng.IntN(9)))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*DB{a, b} {
			if err := d.Apply(uint64(i+1), slices.Clone(rec)); err != nil {
				t.Fatal(err)
			}
		}
		if i%7 == 0 {
			mustFlush(t, b)
		}
	}
	va, vb := a.Tags(), b.Tags()
	if va.Len() != vb.Len() {
		t.Fatalf("%d and %d tag sets", va.Len(), vb.Len())
	}
	for id := range uint32(va.Len()) {
		if string(va.Set(id)) != string(vb.Set(id)) {
			t.Fatalf("tag set %d is %q and %q", id, va.Set(id), vb.Set(id))
		}
	}
}

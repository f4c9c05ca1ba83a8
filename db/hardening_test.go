package db

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// A rewrite of the MANIFEST that fails after an edit was committed must not make the flush look failed: rows would double.
func TestRewriteFailureDoublesRows(t *testing.T) {
	mem := vfs.NewMem()
	var fail atomic.Bool
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if c.Kind == vfs.OpCreate && strings.HasSuffix(c.Path, "tmp/MANIFEST") && fail.Load() {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, func(o *Options) { o.NoCompaction = true })
	mustWrite(t, d, rowsOf(0, 115))
	mustFlush(t, d)
	d.commitMu.Lock() // age the MANIFEST: many edits that cancel each other
	ageManifest(t, d)
	d.commitMu.Unlock()
	mustWrite(t, d, rowsOf(115, 10)) // no tag set is new
	fail.Store(true)
	t.Log("flush:", d.Flush(context.Background()), "off", d.manifest.off)
	fail.Store(false)
	mustFlush(t, d)
	_ = d.Close()
	d = mustOpen(t, mem)
	defer d.Close()
	if ids := allIDs(t, d); len(ids) != 125 {
		t.Fatalf("%d rows, want 125", len(ids))
	}
}

// The same for a merge: its inputs would stay, and be merged for ever.
func TestRewriteFailureMergeSpins(t *testing.T) {
	mem := vfs.NewMem()
	var fail atomic.Bool
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if c.Kind == vfs.OpCreate && strings.HasSuffix(c.Path, "tmp/MANIFEST") && fail.Load() {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, func(o *Options) { o.NoCompaction = true })
	defer d.Close()
	for i := range 9 {
		mustWrite(t, d, rowsOf(i*20, 20))
		mustFlush(t, d)
	}
	d.commitMu.Lock()
	ageManifest(t, d)
	d.commitMu.Unlock()
	fail.Store(true)
	t.Log("compact:", d.Compact(context.Background()))
	fail.Store(false)
	seq := d.nextSeq.Load()
	done := make(chan error, 1)
	go func() { done <- d.Compact(context.Background()) }()
	select {
	case err := <-done:
		t.Log("second compact", err)
	case <-time.After(time.Minute):
		d.commitMu.Lock()
		n := d.nextSeq.Load() - seq
		d.commitMu.Unlock()
		t.Errorf("Compact spins: %d merges in a minute, %d counted", n, d.Metrics().Compactions)
	}
}

// What a segment cannot hold is refused before it is acknowledged.
func TestBooleanPoison(t *testing.T) {
	tab, err := schema.New(schema.Table{Name: "b", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time}, {Name: "ok", Type: schema.Boolean}}}, "time")
	if err != nil {
		t.Fatal(err)
	}
	reg, _ := schema.NewRegistry(tab)
	d, err := Open("data", options(vfs.NewMem(), func(o *Options) { o.Tables = reg }))
	if err != nil {
		t.Fatal(err)
	}
	b := batch.NewBuilder(tab)
	b.Int(0, t0)
	b.Int(1, 2)
	b.EndRow()
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		return // refused, as it should be
	}
	if err := d.Flush(context.Background()); err != nil {
		t.Errorf("acknowledged, and: %v", err)
	}
	t.Log("close:", d.Close())
}

// Tag sets that differ only in bytes that are no text would be one set after a restart.
func TestTagsNotUTF8(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	b := batch.NewBuilder(events)
	for i, v := range []string{"\xff", "\xfe"} {
		b.Int(0, t0+int64(i))
		b.Tags(4, tags.AppendSet(nil, tags.Tag{Key: "a", Value: v}))
		b.EndRow()
	}
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		return // refused, as it should be
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open("data", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
	if err != nil {
		t.Fatalf("the database cannot be opened any more: %v", err)
	}
	d.Close()
}

func listAll(fsys vfs.FS, dir string) (out []string) {
	names, _ := fsys.List(dir)
	for _, n := range names {
		p := filepath.Join(dir, n)
		if st, err := fsys.Stat(p); err == nil && st.IsDir() {
			out = append(out, listAll(fsys, p)...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

// A MANIFEST that is lost or damaged deletes nothing.
func TestManifestLossDeletesSegments(t *testing.T) {
	for _, how := range []string{"missing", "bit flip", "bit flip after rewrite"} {
		fsys := vfs.NewMem()
		d := mustOpen(t, fsys)
		mustWrite(t, d, rowsOf(0, 100))
		mustFlush(t, d)
		if how == "bit flip after rewrite" {
			d.commitMu.Lock()
			if err := d.manifest.rewrite(); err != nil {
				t.Fatal(err)
			}
			d.commitMu.Unlock()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		before := len(listAll(fsys, "data/tables"))
		if how == "missing" {
			if err := fsys.Remove("data/MANIFEST"); err != nil {
				t.Fatal(err)
			}
		} else {
			f, err := fsys.OpenReadWrite("data/MANIFEST")
			if err != nil {
				t.Fatal(err)
			}
			st, _ := f.Stat()
			var c [1]byte
			f.ReadAt(c[:], st.Size()-20)
			c[0] ^= 1
			f.WriteAt(c[:], st.Size()-20)
			f.Sync()
			f.Close()
		}
		d, err := Open("data", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
		if err == nil {
			d.Close()
		}
		if after := len(listAll(fsys, "data/tables")); after != before {
			t.Errorf("%s: %d segment files before Open, %d after; Open: %v", how, before, after, err)
		}
	}
}

// Setting a segment aside can be tried again after a failure half way.
func TestQuarantineTwice(t *testing.T) {
	mem := vfs.NewMem()
	d := mustOpen(t, mem, func(o *Options) { o.NoCompaction = true })
	mustWrite(t, d, rowsOf(0, 100))
	mustFlush(t, d)
	path := d.Segments()[0].Path
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	full := "data/" + path
	f, _ := mem.OpenReadWrite(full)
	st, _ := f.Stat()
	f.Truncate(st.Size() - 5)
	f.Sync()
	f.Close()
	armed := true
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if armed && c.Kind == vfs.OpWrite && strings.HasSuffix(c.Path, "MANIFEST") {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	}))
	_, err := Open("data", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
	t.Log("first open:", err)
	armed = false
	for range 3 {
		d, err = Open("data", options(fsys, func(o *Options) { o.Tables = eventsOnly }))
		if err == nil {
			d.Close()
			return
		}
	}
	t.Fatalf("never opens again: %v", err)
}

// Flush beside Close ends.
func TestFlushBesideClose(t *testing.T) {
	for i := range 300 {
		d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.NoSync = true })
		done := make(chan struct{})
		go func() {
			defer close(done)
			for d.Flush(context.Background()) == nil {
			}
		}()
		runtime.Gosched()
		_ = d.Close()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("round %d: Flush hangs after Close", i)
		}
	}
}

// Close waits for a Compact that a caller began.
func TestCompactBesideClose(t *testing.T) {
	mem := vfs.NewMem()
	var d *DB
	var armed atomic.Bool
	fsys := vfs.NewCounting(mem, func(c vfs.Call, _ error) {
		if c.Kind == vfs.OpSync && strings.HasSuffix(c.Path, "MANIFEST") && armed.CompareAndSwap(true, false) {
			done := make(chan struct{})
			go func() { d.Close(); close(done) }()
			select {
			case <-done:
			case <-time.After(200 * time.Millisecond): // Close waits for the merge: right
			}
		}
	})
	d = mustOpen(t, fsys, func(o *Options) { o.NoCompaction = true })
	for i := range 10 {
		mustWrite(t, d, rowsOf(i*20, 20))
		mustFlush(t, d)
	}
	armed.Store(true)
	defer func() {
		if r := recover(); r != nil {
			t.Fatalf("panic: %v", r)
		}
	}()
	t.Log(d.Compact(context.Background()))
}

// Every limit of the tag store is checked before rows are acknowledged.
func TestTagKeysOverflow(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.HeadBytes = 32 << 20; o.NoSync = true })
	defer d.Close()
	b := batch.NewBuilder(events)
	for i := range 70_000 {
		b.Int(0, t0)
		b.Tags(4, tags.AppendSet(nil, tags.Tag{Key: fmt.Sprint("k", i), Value: "v"}))
		b.EndRow()
	}
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		return // refused, as it should be
	}
	if n := d.Metrics().TagOverflow; n > 0 {
		t.Errorf("Write returned nil, %d tag sets became the empty one", n)
	}
}

// A batch that the log cannot take is refused for good: its sender must not try again.
func TestFrameTooLargeForLog(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.NoSync = true; o.HeadBytes = 256 << 20 })
	defer d.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	b := batch.NewBuilder(events)
	for range 4 {
		v := make([]byte, 16<<20)
		for i := 0; i < len(v); i += 8 {
			u := rng.Uint64()
			for k := range 8 {
				v[i+k] = byte(u >> (8 * k))
			}
		}
		b.Int(0, t0)
		b.Text(2, v)
		b.EndRow()
	}
	err := d.Write(context.Background(), b.Seal())
	if err == nil || !errors.Is(err, batch.ErrRefused) {
		t.Errorf("%v (refused: %v)", err, errors.Is(err, batch.ErrRefused))
	}
}

// A flush bounds the text that it decodes, not only the rows.
func TestFlushMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a GiB and some seconds")
	}
	d := mustOpen(t, vfs.NewMem(), func(o *Options) {
		o.NoSync = true
		o.HeadBytes = 64 << 20
		o.FlushRows = 128 << 10
		o.NoCompaction = true
	})
	for i := range 16 {
		b := batch.NewBuilder(events)
		b.Int(0, t0)
		b.String(2, strings.Repeat(" ", 16<<20-10)+fmt.Sprint(i))
		b.EndRow()
		mustWrite(t, d, b.Seal())
	}
	head := d.Metrics().HeadBytes
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is garbage must not decide
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		var hi uint64
		for {
			select {
			case <-stop:
				peak <- hi
				return
			default:
				runtime.ReadMemStats(&m)
				hi = max(hi, m.HeapAlloc)
				time.Sleep(2 * time.Millisecond)
			}
		}
	}()
	err := d.Flush(context.Background())
	close(stop)
	hi := <-peak >> 20
	t.Logf("heap peak %d MiB", hi)
	if err != nil || hi > 600 { // over a GiB before lots were bounded by their text
		t.Errorf("a head of %d KiB: heap peak %d MiB; flush %v", head>>10, hi, err)
	}
	d.Close()
}

// Head and segments agree about the last nanosecond there is.
func TestMaxTime(t *testing.T) {
	d := mustOpen(t, vfs.NewMem())
	defer d.Close()
	b := batch.NewBuilder(events)
	b.Int(0, math.MaxInt64)
	b.EndRow()
	b.Int(0, math.MaxInt64-1)
	b.EndRow()
	mustWrite(t, d, b.Seal())
	count := func() (n int) {
		s, err := d.Scan(context.Background(), &pred.Request{Table: events, Columns: []int{0}, From: pred.MinTime, To: pred.MaxTime})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var b batch.Batch
		for u := range s.Units() {
			if err := s.Read(context.Background(), u, &b); err != nil {
				t.Fatal(err)
			}
			n += b.N
		}
		return n
	}
	h := count()
	mustFlush(t, d)
	if s := count(); h != 2 || s != 2 {
		t.Errorf("head answers %d rows, segment %d, want 2", h, s)
	}
}

// A file that the MANIFEST on disk may name is not removed.
func TestTagFileDiscarded(t *testing.T) {
	mem := vfs.NewMem()
	stage := atomic.Int32{}
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		switch {
		case stage.Load() == 1 && c.Kind == vfs.OpSync && strings.HasSuffix(c.Path, "MANIFEST"):
			stage.Store(2)
			return vfs.Fault{Err: syscall.EIO}
		case stage.Load() == 2 && c.Kind == vfs.OpSyncDir && strings.HasSuffix(c.Path, "2023-11-14"):
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, func(o *Options) { o.NoCompaction = true })
	mustWrite(t, d, rowsOf(0, 10))
	stage.Store(1)
	t.Log("flush:", d.Flush(context.Background()))
	t.Log("again:", d.Flush(context.Background()))
	clone := mem.CrashClone(vfs.CrashConfig{Seed: 1, KeepUnsynced: 1})
	e, err := Open("data", options(clone, func(o *Options) { o.Tables = eventsOnly }))
	if err != nil {
		t.Errorf("after the crash: %v", err)
	} else {
		if n := len(allIDs(t, e)); n != 10 {
			t.Errorf("%d rows", n)
		}
		e.Close()
	}
	stage.Store(0)
	d.Close()
}

// An event handler may ask the database.
func TestEventAsks(t *testing.T) {
	var d *DB
	d = mustOpen(t, vfs.NewMem(), func(o *Options) {
		o.Events.Flushed = func(int, int64, int64, time.Duration) { d.Segments() }
	})
	mustWrite(t, d, rowsOf(0, 10))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := d.Flush(ctx); err != nil {
		t.Errorf("deadlock: %v", err)
	}
}

// A restart on a full disk reads on.
func TestOpenOnFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	full.Store(true)
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if full.Load() && c.Kind == vfs.OpWrite && strings.HasSuffix(c.Path, ".parquet") {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, func(o *Options) { o.HeadBytes = 1 << 10 })
	n := 0
	for i := range 8 {
		if d.Write(context.Background(), rowsOf(i*20, 20)) == nil {
			n += 20
		}
	}
	t.Log(len(allIDs(t, d)), "rows readable, close:", d.Close() != nil)
	d, err := Open("data", options(fsys, func(o *Options) { o.Tables, o.HeadBytes = eventsOnly, 1<<10 }))
	if err != nil {
		t.Fatalf("%d acknowledged rows, but after a restart on the full disk: %v", n, err)
	}
	d.Close()
}

// Files of failed MANIFEST writes do not pile up.
func TestFailedCommitsPileUp(t *testing.T) {
	mem := vfs.NewMem()
	var fail atomic.Bool
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if fail.Load() && (c.Kind == vfs.OpCreate || c.Kind == vfs.OpWrite) && strings.HasSuffix(c.Path, "MANIFEST") {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, func(o *Options) { o.NoCompaction = true })
	mustWrite(t, d, rowsOf(0, 10))
	fail.Store(true)
	for range 10 {
		_ = d.Flush(context.Background())
	}
	fail.Store(false)
	mustFlush(t, d)
	if n := len(listAll(mem, "data/tables")); n != 1 {
		t.Errorf("1 live segment, %d files", n)
	}
	d.Close()
}

func ageManifest(t *testing.T, d *DB) {
	for d.manifest.off < rewriteBytes-310 {
		e := &edit{}
		n := 50
		if d.manifest.off > rewriteBytes-20000 {
			n = 1
		}
		for i := range n {
			m := segmentMeta{Table: "events", Path: fmt.Sprint("tables/x/", i)}
			e.Add, e.Drop = append(e.Add, m), append(e.Drop, m.Path)
		}
		if _, err := d.manifest.commit(e); err != nil {
			t.Fatal(err)
		}
	}
}

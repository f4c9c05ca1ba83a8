package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

const testSegment = 64 << 10

func testOptions(fsys vfs.FS, more ...func(*Options)) func(*Options) {
	return func(o *Options) {
		o.FS, o.SegmentBytes = fsys, testSegment
		for _, m := range more {
			m(o)
		}
	}
}

func mustOpen(t testing.TB, fsys vfs.FS, more ...func(*Options)) *Log {
	t.Helper()
	l, err := Open("data/wal", testOptions(fsys, more...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// testRecord is the record that tests write at an index: its size and bytes follow from the index and a version.
func testRecord(index uint64, version int) []byte {
	rng := rand.New(rand.NewPCG(index, uint64(version)))
	b := make([]byte, rng.IntN(3000))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return fmt.Appendf(b, "%d/%d", index, version)
}

func mustAppend(t testing.TB, l *Log, recs ...[]byte) uint64 {
	t.Helper()
	first, err := l.Append(recs)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

func fill(t testing.TB, l *Log, n int) {
	t.Helper()
	for range n {
		next := l.NextIndex()
		if got := mustAppend(t, l, testRecord(next, 0)); got != next {
			t.Fatalf("appended at %d, want %d", got, next)
		}
	}
}

// checkLog checks that the log holds exactly the records first to last, through Get and Range.
func checkLog(t testing.TB, l *Log, first, last uint64) {
	t.Helper()
	if f, n := l.FirstIndex(), l.LastIndex(); f != first || n != last {
		t.Fatalf("log is %d to %d, want %d to %d", f, n, first, last)
	}
	want := first
	err := l.Range(0, func(index uint64, rec []byte) error {
		if index != want || !bytes.Equal(rec, testRecord(index, 0)) {
			return fmt.Errorf("range gave record %d (%d bytes) where %d was due", index, len(rec), want)
		}
		want++
		return nil
	})
	if err != nil || first > 0 && want != last+1 {
		t.Fatalf("range ended before %d, want after %d: %v", want, last, err)
	}
	var buf []byte
	for i := first; i <= last && i > 0; i++ {
		if buf, err = l.Get(i, buf); err != nil || !bytes.Equal(buf, testRecord(i, 0)) {
			t.Fatalf("get %d: %d bytes, %v", i, len(buf), err)
		}
	}
	for _, i := range []uint64{0, first - 1, last + 1} {
		if _, err := l.Get(i, nil); i != first && !errors.Is(err, ErrNotFound) {
			t.Fatalf("get %d beyond the log: %v", i, err)
		}
	}
}

func TestAppendReopen(t *testing.T) {
	for _, name := range []string{"os", "mem"} {
		t.Run(name, func(t *testing.T) {
			fsys, dir := vfs.OS, t.TempDir()+"/a/wal"
			if name == "mem" {
				fsys, dir = vfs.NewMem(), "a/wal"
			}
			for round := range uint64(4) {
				l, err := Open(dir, testOptions(fsys))
				if err != nil {
					t.Fatal(err)
				}
				if round == 0 {
					checkLog(t, l, 0, 0)
				} else {
					checkLog(t, l, 1, round*100)
				}
				fill(t, l, 100)
				checkLog(t, l, 1, (round+1)*100)
				if m := l.Metrics(); m.TornTails != 0 || m.Appends != 100 || m.Segments < 2 {
					t.Fatalf("metrics %+v", m)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if err := l.Close(); err != nil {
					t.Fatal("second close:", err)
				}
				if _, err := l.Append([][]byte{{1}}); !errors.Is(err, ErrClosed) {
					t.Fatal("append after close:", err)
				}
				if _, err := l.Get(1, nil); !errors.Is(err, ErrClosed) {
					t.Fatal("get after close:", err)
				}
			}
		})
	}
}

func TestRecordSizes(t *testing.T) {
	fsys := vfs.NewMem()
	l := mustOpen(t, fsys, func(o *Options) { o.MaxRecordBytes = 3 << 20 })
	sizes := []int{0, 1, 7, 8, 9, 4096, directBytes - 1, directBytes, directBytes + 1, testSegment, 1<<20 + 3, 3 << 20, 0}
	var recs [][]byte
	for i, n := range sizes {
		recs = append(recs, bytes.Repeat([]byte{byte(i + 1)}, n))
		mustAppend(t, l, recs[i])
	}
	mustAppend(t, l, recs...) // and all as one append
	if _, err := l.Append([][]byte{make([]byte, 3<<20+1)}); !errors.Is(err, ErrTooLarge) {
		t.Fatal("record over the limit:", err)
	}
	if first, err := l.Append(nil); err != nil || first != l.NextIndex() {
		t.Fatal("append of nothing:", first, err)
	}
	for range 2 {
		n := 0
		if err := l.Range(0, func(index uint64, rec []byte) error {
			if !bytes.Equal(rec, recs[n%len(recs)]) {
				return fmt.Errorf("record %d is wrong", index)
			}
			n++
			return nil
		}); err != nil || n != 2*len(recs) {
			t.Fatal(n, err)
		}
		_ = l.Close()
		l = mustOpen(t, fsys)
	}
}

func TestTruncateFront(t *testing.T) {
	fsys := vfs.NewMem()
	l := mustOpen(t, fsys)
	fill(t, l, 300)
	segments := l.Metrics().Segments
	for _, upto := range []uint64{0, 1, 2, 57, 57, 30, 200} {
		if err := l.TruncateFront(upto); err != nil {
			t.Fatal(err)
		}
		first := max(l.FirstIndex(), upto+1)
		checkLog(t, l, first, 300)
		_ = l.Close()
		l = mustOpen(t, fsys)
		checkLog(t, l, first, 300)
	}
	if m := l.Metrics(); m.Segments > segments/2 || m.SpareSegments != 2 {
		t.Fatalf("%d segments of %d and %d spares after removing two thirds", m.Segments, segments, m.SpareSegments)
	}
	if err := l.Range(5, nil); !errors.Is(err, ErrNotFound) {
		t.Fatal("range from before the front:", err)
	}
	if err := l.TruncateFront(1000); err != nil {
		t.Fatal(err)
	}
	checkLog(t, l, 0, 0)
	_ = l.Close()
	l = mustOpen(t, fsys)
	checkLog(t, l, 0, 0)
	fill(t, l, 1) // goes on where it was
	checkLog(t, l, 301, 301)
	fill(t, l, 100)
	if l.Metrics().Recycled == 0 {
		t.Fatal("no segment was used again")
	}
	_ = l.Close()
	checkLog(t, mustOpen(t, fsys), 301, 401)
}

func TestTruncateBack(t *testing.T) {
	fsys := vfs.NewMem()
	l := mustOpen(t, fsys)
	fill(t, l, 200)
	if err := l.TruncateBack(0); err == nil {
		t.Fatal("truncated back from 0")
	}
	for _, from := range []uint64{500, 201, 200, 150, 150, 60, 100, 2} {
		last := min(l.LastIndex(), from-1)
		if err := l.TruncateBack(from); err != nil {
			t.Fatal(err)
		}
		checkLog(t, l, 1, last)
		_ = l.Close()
		l = mustOpen(t, fsys)
		checkLog(t, l, 1, last)
		fill(t, l, 20)
		checkLog(t, l, 1, last+20)
	}
	if err := l.TruncateFront(10); err != nil {
		t.Fatal(err)
	}
	if err := l.TruncateBack(5); err != nil { // below the front: empties
		t.Fatal(err)
	}
	checkLog(t, l, 0, 0)
	_ = l.Close()
	l = mustOpen(t, fsys)
	checkLog(t, l, 0, 0)
	if l.NextIndex() != 5 {
		t.Fatalf("next is %d, want 5", l.NextIndex())
	}
	fill(t, l, 10)
	checkLog(t, l, 5, 14)
}

func TestAppendAt(t *testing.T) {
	fsys := vfs.NewMem()
	l := mustOpen(t, fsys)
	at := func(index uint64, n int) error {
		var recs [][]byte
		for i := range uint64(n) {
			recs = append(recs, testRecord(index+i, 0))
		}
		return l.AppendAt(index, recs)
	}
	for _, c := range []struct {
		index uint64
		ok    bool
	}{{0, false}, {1000, true}, {1000, false}, {1009, false}, {1010, true}, {1021, false}, {1, false}} {
		err := at(c.index, 10)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOutOfOrder) {
			t.Fatalf("append at %d: %v", c.index, err)
		}
	}
	checkLog(t, l, 1000, 1019)
	for _, restart := range []uint64{5000, 20} { // up and down, as after a snapshot was restored
		if err := l.TruncateFront(l.LastIndex()); err != nil {
			t.Fatal(err)
		}
		if err := at(restart, 30); err != nil {
			t.Fatal(err)
		}
		checkLog(t, l, restart, restart+29)
		_ = l.Close()
		l = mustOpen(t, fsys)
		checkLog(t, l, restart, restart+29)
	}
}

func TestConcurrentAppends(t *testing.T) {
	const workers, each = 8, 100
	var l *Log
	var visible atomic.Uint64 // set by the hook
	hooked := map[uint64]int{}
	next := uint64(1)
	l = mustOpen(t, vfs.NewMem(), func(o *Options) {
		o.MaxBatchBytes = 20 << 10
		o.Committed = func(first uint64, recs [][]byte, note any) {
			if first != next {
				t.Errorf("committed %d, want %d", first, next)
			}
			if note != &recs[0] {
				t.Errorf("the note of %d is %v", first, note)
			}
			if got := l.LastIndex(); got < first+uint64(len(recs))-1 {
				t.Errorf("committed %d while the log ends at %d", first, got)
			}
			next = first + uint64(len(recs))
			hooked[first] = len(recs)
			visible.Store(next - 1)
		}
	})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			for range each {
				recs := make([][]byte, 1+rng.IntN(3))
				for i := range recs {
					recs[i] = bytes.Repeat([]byte{byte(w)}, rng.IntN(500))
				}
				first, err := l.AppendNoted(recs, &recs[0])
				last := first + uint64(len(recs)) - 1
				if err != nil || visible.Load() < last {
					t.Errorf("append: %v; committed to %d, want %d", err, visible.Load(), last)
				}
				got, err := l.Get(last, nil)
				if errors.Is(err, ErrNotFound) && last < l.FirstIndex() {
					continue // this goroutine stood still for so long that the record was truncated meanwhile
				}
				if err != nil || !bytes.Equal(got, recs[len(recs)-1]) {
					t.Errorf("read own write %d: %v", last, err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := l.TruncateFront(visible.Load() / 2); err != nil {
				t.Error(err)
			}
			if err := l.Range(0, func(uint64, []byte) error { return nil }); err != nil && !errors.Is(err, ErrNotFound) {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if len(hooked) != workers*each {
		t.Fatalf("%d commits for %d appends", len(hooked), workers*each)
	}
	if m := l.Metrics(); m.Appends != workers*each || m.GroupSize.Sum != workers*each || m.Records != next-1 {
		t.Fatalf("metrics %+v", m)
	}
}

func TestGroupCommitSharesSyncs(t *testing.T) {
	// While one sync is held up, eight appends queue; they must share the next one.
	started, release := make(chan struct{}), make(chan struct{})
	var hold atomic.Bool
	fsys := vfs.NewInjecting(vfs.NewMem(), vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if c.Kind == vfs.OpSyncData && hold.CompareAndSwap(true, false) {
			close(started)
			<-release
		}
		return vfs.Fault{}
	}))
	l := mustOpen(t, fsys)
	mustAppend(t, l, []byte("a"))
	hold.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { mustAppend(t, l, []byte("held")) })
	select {
	case <-started:
	case <-time.After(time.Minute):
		t.Fatal("an append did not sync")
	}
	for range 8 {
		wg.Go(func() { mustAppend(t, l, []byte("x")) })
	}
	waitFor(t, func() bool {
		l.queueMu.Lock()
		defer l.queueMu.Unlock()
		return len(l.queue) == 8
	})
	if l.LastIndex() != 1 {
		t.Fatal("visible before it is durable")
	}
	close(release)
	wg.Wait()
	if m := l.Metrics(); m.Groups != 3 || m.GroupSize.Max != 8 {
		t.Fatalf("%d groups, the largest of %d; want 3 and 8", m.Groups, m.GroupSize.Max)
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited a minute in vain")
		}
	}
}

func TestMaxDelay(t *testing.T) {
	l := mustOpen(t, vfs.NewMem(), func(o *Options) { o.MaxDelay = time.Minute; o.MaxBatchBytes = 4 * 32 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { mustAppend(t, l, []byte("12345678")) })
	}
	wg.Wait() // at once, as twice four make a full group: else this takes minutes
	if m := l.Metrics(); m.Appends != 8 || m.Groups > 4 {
		t.Fatalf("%d groups", m.Groups)
	}
}

func TestOptionErrors(t *testing.T) {
	for _, o := range []Options{{SegmentBytes: 1}, {MaxRecordBytes: 2 << 30}, {MaxRecordBytes: -1}, {MaxBatchBytes: -1}, {MaxDelay: -1}} {
		if _, err := Open("x", func(p *Options) { *p = o; p.FS = vfs.NewMem() }); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestAppendAllocations(t *testing.T) {
	l := mustOpen(t, vfs.NewEphemeral(), func(o *Options) { o.SegmentBytes = 64 << 20 })
	recs := [][]byte{make([]byte, 1000), make([]byte, 200)}
	buf := make([]byte, 0, 2000)
	mustAppend(t, l, recs...)
	if n := testing.AllocsPerRun(2000, func() { mustAppend(t, l, recs...) }); n > 0 {
		t.Errorf("append allocates %v times, budget 0", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		var err error
		if buf, err = l.Get(7, buf); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("get allocates %v times, budget 0", n)
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 {
		t.Fatal("empty histogram is not 0")
	}
	for v := range int64(1000) {
		h.observe(v)
		if b := bucket(v); bucketTop(b) < v || b > 0 && bucketTop(b-1) >= v {
			t.Fatalf("%d is in bucket %d up to %d", v, b, bucketTop(b))
		}
	}
	h.observe(1 << 62)
	h.observe(-5)
	for _, q := range []float64{0.1, 0.5, 0.9} {
		if got, want := float64(h.Quantile(q)), q*1000; got < want*0.99 || got > want*1.26 {
			t.Errorf("quantile %v is %v", q, got)
		}
	}
	if h.Quantile(1) != 1<<62 || h.Count != 1002 {
		t.Errorf("max quantile %d of %d", h.Quantile(1), h.Count)
	}
}

// TestPanicInHook checks that a panic in the hook, survived by its caller, ends the log but hangs nobody.
func TestPanicInHook(t *testing.T) {
	l := mustOpen(t, vfs.NewMem(), func(o *Options) {
		o.Committed = func(uint64, [][]byte, any) { panic("hook") }
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_, _ = l.Append([][]byte{{1}})
	}()
	if _, err := l.Append([][]byte{{1}}); !errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

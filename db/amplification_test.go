package db

import (
	"context"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

// A head that holds a little more than a flush takes at once makes equal segments, and the metrics say how often their
// bytes were written.
func TestWriteAmplification(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.HeadBytes, o.FlushRows, o.NoCompaction = 1<<20, 1000, true })
	defer d.Close()
	m := d.Metrics()
	if got := m.WriteAmplification(); got != 0 {
		t.Errorf("before the first flush: %v", got)
	}
	for i := range 11 {
		mustWrite(t, d, rowsOf(100*i, 100))
	}
	mustFlush(t, d)
	for _, s := range d.Segments() {
		if s.Rows < 500 || s.Rows > 600 {
			t.Errorf("a segment of %d rows of 1100", s.Rows)
		}
	}
	m = d.Metrics()
	if got := m.WriteAmplification(); got != 1 {
		t.Errorf("before the first merge: %v", got)
	}
	for i := range 10 {
		mustWrite(t, d, rowsOf(1100+100*i, 100))
		mustFlush(t, d)
	}
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	m = d.Metrics()
	want := 1 + float64(m.CompactedBytes)/float64(m.FlushedBytes)
	if got := m.WriteAmplification(); m.Compactions == 0 || got != want || got < 1.2 || got > 3 {
		t.Errorf("after %d merges: %v, want %v", m.Compactions, got, want)
	}
}

// When too many segments are due to be merged, flushes wait for the merge that runs, and go on when it ends, whatever its end.
func TestFlushesWaitForMerges(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.NoCompaction, o.MaxUnmerged = true, 9 })
	defer d.Close()
	for i := range 9 {
		if d.mergesBehind() || d.mergesUrgent() != (i >= 8) {
			t.Fatalf("after %d flushes: behind %v, urgent %v", i, d.mergesBehind(), d.mergesUrgent())
		}
		mustWrite(t, d, rowsOf(10*i, 10))
		if err := d.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.Metrics().Unmerged; n != 9 || d.mergesBehind() {
		t.Fatalf("%d segments are due, behind %v though no merge runs", n, d.mergesBehind())
	}
	d.merging.Store(true)
	mustWrite(t, d, rowsOf(90, 10))
	d.seal()
	if err := d.flushSealed(true); err != nil {
		t.Fatal(err)
	}
	if m := d.Metrics(); m.HeadRows != 10 || m.Unmerged != 9 {
		t.Fatalf("%d rows wait, %d segments are due", m.HeadRows, m.Unmerged)
	}
	d.mergeEnded()
	eventually(t, "the flush goes on", func() bool { return d.Metrics().HeadRows == 0 })
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if m := d.Metrics(); m.Unmerged != 0 || m.Compactions != 1 || d.merging.Load() {
		t.Errorf("after the merge %d segments are due, %d merges", m.Unmerged, m.Compactions)
	}
	equalIDs(t, "rows", allIDs(t, d), upTo(100))
}

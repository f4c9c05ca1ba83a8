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

package db

import (
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

// TestFewOpenSegments has many times more segments than may be open, or than the bytes for their indexes hold: every row is
// found, before and after opening the folder again, and the bounds are kept.
func TestFewOpenSegments(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(o *Options)
		files int
		bytes int64
	}{
		{"files", func(o *Options) { o.MaxOpenFiles = 5 }, 5, 1 << 20},
		{"bytes", func(o *Options) { o.IndexBytes = 16 << 10 }, 60, 16 << 10},
		{"budget", func(o *Options) { o.BudgetBytes = minBudget }, 512, minBudget / 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			set := func(o *Options) {
				o.NoCompaction = true
				c.set(o)
			}
			d := mustOpen(t, fsys, set)
			check := func() {
				t.Helper()
				if ids := allIDs(t, d); len(ids) != 60*20 {
					t.Fatalf("%d rows", len(ids))
				}
				if m := d.Metrics(); m.Segments != 60 || m.OpenSegments > c.files || m.OpenSegments == 0 || m.IndexBytes > c.bytes {
					t.Errorf("%d of %d segments are open, their indexes take %d bytes", m.OpenSegments, m.Segments, m.IndexBytes)
				}
			}
			for i := range 60 {
				mustWrite(t, d, rowsOf(20*i, 20))
				mustFlush(t, d)
			}
			check()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = mustOpen(t, fsys, set)
			check()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

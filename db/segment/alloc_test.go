package segment

import (
	"context"
	"testing"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/vfs"
)

// Reading a page allocates nothing but the header of a dictionary per column whose values are stored one by one.
func TestReadAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	rows := gen.NewSpans(gen.Options{Seed: 3}).Next(40000)
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", rows, Order(rows), Options{Sorted: true})
	r := mustOpen(t, fs, "seg", rows.Table)
	in, err := Inspect(fs, "seg")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for _, c := range in.Columns {
		if c.Encodings["DELTA_LENGTH_BYTE_ARRAY"] > 0 {
			direct++
		}
	}
	req := everything(rows.Table)
	tc := rows.Table.MustColumn("l7_protocol")
	req.Terms = []pred.Term{{Column: tc, Kind: pred.Text, Match: func(v []byte) bool { return string(v) != "mysql" }}}
	units := r.Units(req)
	var s Scratch
	var dst batch.Batch
	read := func() {
		for _, u := range units {
			if err := r.Read(context.Background(), u, req, &s, &dst); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	got := testing.AllocsPerRun(5, read) / float64(len(units))
	// Gather makes a bitmap for each nullable column
	nullable := 0
	for _, c := range rows.Table.Columns {
		if c.Nullable {
			nullable++
		}
	}
	if limit := float64(direct + nullable + 2); got > limit {
		t.Errorf("%.1f allocations per page of rows, want at most %.0f", got, limit)
	}
}

// Once its buffers have grown, a writer allocates nothing per page: only what row groups and files need.
func TestWriteAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	rows := gen.NewFlows(gen.Options{Seed: 3}).Next(4096)
	fs := vfs.NewMem()
	w, err := NewWriter(fs, "seg", rows.Table, Options{PageRows: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	page := func() {
		if err := w.Append(rows, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		page()
	}
	got := testing.AllocsPerRun(20, page) / float64(len(rows.Table.Columns))
	t.Logf("%.2f allocations per page", got)
	if got > 0.5 { // chunks still double now and then
		t.Errorf("%.2f allocations per page of a column, want at most 0.5", got)
	}
}

package db

import (
	"context"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/vfs"
)

// Rows of very many days make a few files, before and after merging, in which time still prunes.
func TestRowsOfManyDays(t *testing.T) {
	const flushes, perFlush, days = 20, 500, 5000
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys, func(o *Options) { o.HeadBytes, o.FlushRows, o.NoCompaction, o.PageRows = 1<<20, 100_000, true, 64 })
	id := 0
	for range flushes {
		b := batch.NewBuilder(events)
		for i := range perFlush {
			at := t0 + int64(id)*1e9
			if i%2 == 0 {
				at -= int64(id*7919%days) * int64(24*time.Hour)
			}
			b.Int(0, at)
			b.Int(1, int64(id))
			b.Tags(4, tagsOf(id))
			b.EndRow()
			id++
		}
		mustWrite(t, d, b.Seal())
		mustFlush(t, d)
	}
	if n := len(d.Segments()); n > 2*flushes {
		t.Fatalf("%d flushes of rows of %d days made %d segments", flushes, days, n)
	}
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, s := range d.Segments() {
		if compact.Late(s.MinTime, s.MaxTime) {
			late++
		}
	}
	if late == 0 || late > 7 || d.Metrics().Compactions < 2 {
		t.Fatalf("%d segments of late rows are left, of %d merges", late, d.Metrics().Compactions)
	}
	rows := func(from, to int64) (n int, st *pred.Stats) {
		st = &pred.Stats{}
		s, err := d.Scan(context.Background(), &pred.Request{Table: events, Columns: []int{0}, From: from, To: to, Stats: st})
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
		return n, st
	}
	if n, _ := rows(pred.MinTime, pred.MaxTime); n != id {
		t.Fatalf("%d rows of %d", n, id)
	}
	sum, read := 0, int64(0)
	const slice = int64(100 * 24 * time.Hour)
	from := t0 - int64(days+1)*int64(24*time.Hour)
	for at := from; at < t0+int64(48*time.Hour); at += slice {
		n, st := rows(at, at+slice)
		sum += n
		read += st.RowsScanned.Load()
	}
	if sum != id {
		t.Errorf("%d rows of %d by time", sum, id)
	}
	if read > 3*int64(id) { // each row about once, and those of pages at the limits
		t.Errorf("%d rows were looked at to find %d by time", read, id)
	}
	if p, err := d.Verify(context.Background(), nil); err != nil || len(p) > 0 {
		t.Error(p, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

package stages

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
)

// BenchmarkAppendLog appends one frame of 8,192 rows after the other, each durable on its own: nobody shares the sync, so
// this is the dearest case. The front is dropped as flushes would, and files are used again.
func BenchmarkAppendLog(b *testing.B) {
	for _, sync := range []bool{true, false} {
		name := map[bool]string{true: "sync=on", false: "sync=off"}[sync]
		b.Run(name, func(b *testing.B) {
			l, err := wal.Open(b.TempDir(), func(o *wal.Options) { o.NoSync = !sync })
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := l.Close(); err != nil {
					b.Error(err)
				}
			}()
			frames := flowFrames()
			since := 0
			perRow(b, batchRows, func(i int) {
				f := frames[i%batches]
				index, err := l.Append([][]byte{f})
				if err != nil {
					b.Fatal(err)
				}
				if since += len(f); since >= 64<<20 {
					since = 0
					if err := l.TruncateFront(index); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// headOf is the frames in a head, with their tag sets interned: what applying log records makes of them.
func headOf(tb testing.TB, store *tags.Store, frames [][]byte) *head.Head {
	h := head.New()
	for i, f := range frames {
		apply(tb, h, store, uint64(i+1), f)
	}
	return h
}

func apply(tb testing.TB, h *head.Head, store *tags.Store, index uint64, frame []byte) {
	v, err := batch.Open(frame, registry())
	if err != nil {
		tb.Fatal(err)
	}
	e := &head.Entry{Index: index, View: v, IDs: map[int][]uint32{}}
	for col, c := range v.Table.Columns {
		if c.Type != schema.TagSet {
			continue
		}
		dict, err := v.Dict(col)
		if err != nil {
			tb.Fatal(err)
		}
		ids := make([]uint32, dict.Len())
		for k := range ids {
			if ids[k], _, err = store.Intern(dict.At(k)); err != nil {
				tb.Fatal(err)
			}
		}
		e.IDs[col] = ids
	}
	h.Add(e, time.Unix(0, 0))
}

// BenchmarkAppendHead makes logged frames visible: open the frame, find the ids of its tag sets, add it to the head.
func BenchmarkAppendHead(b *testing.B) {
	frames := flowFrames()
	store := tags.New(tags.Limits{})
	h := headOf(b, store, frames)
	perRow(b, batchRows, func(i int) {
		if i%1000 == 0 {
			h = head.New()
		}
		apply(b, h, store, uint64(i+1), frames[i%batches])
	})
}

// segmentRows is the number of rows that a flush sorts and writes at once by default.
const segmentRows = 128 << 10

// BenchmarkSortRows finds the order in which a flush writes its rows.
func BenchmarkSortRows(b *testing.B) {
	rows := gen.NewFlows(gen.Options{Seed: 2}).Next(segmentRows)
	perRow(b, segmentRows, func(int) { segment.Order(rows) })
}

// writeSegment writes rows sorted.
func writeSegment(tb testing.TB, path string, rows *batch.Batch, order []int32) segment.Info {
	tb.Helper()
	w, err := segment.NewWriter(vfs.OS, path, rows.Table, segment.Options{Sorted: true})
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Append(rows, order); err != nil {
		tb.Fatal(err)
	}
	info, err := w.Finish()
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

// BenchmarkWriteSegment gathers sorted rows, encodes and compresses them, and writes and syncs the file.
func BenchmarkWriteSegment(b *testing.B) {
	rows := gen.NewFlows(gen.Options{Seed: 2}).Next(segmentRows)
	order := segment.Order(rows)
	path := filepath.Join(b.TempDir(), "x.parquet")
	var info segment.Info
	perRow(b, segmentRows, func(int) { info = writeSegment(b, path, rows, order) })
	b.ReportMetric(float64(info.Bytes)/float64(info.Rows), "B/row")
}

package stages

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// idle is a database that flushes and compacts only when told.
func idle(o *db.Options) {
	o.HeadBytes, o.HeadAge, o.CompactEvery, o.NoCompaction = 1<<32, time.Hour, time.Hour, true
	o.Retention = map[string]time.Duration{"flows": 0} // the rows are of a fixed day
}

func noSync(o *db.Options) { o.NoSync = true }

func openDB(tb testing.TB, opts ...func(*db.Options)) *db.DB {
	tb.Helper()
	d, err := db.Open(filepath.Join(tb.TempDir(), "data"), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func closeDB(tb testing.TB, d *db.DB) {
	tb.Helper()
	if err := d.Close(); err != nil {
		tb.Fatal(err)
	}
}

func writeAll(tb testing.TB, d *db.DB, all []*batch.Batch) {
	tb.Helper()
	for _, in := range all {
		if err := d.Write(context.Background(), in); err != nil {
			tb.Fatal(err)
		}
	}
}

func flush(tb testing.TB, d *db.DB) {
	tb.Helper()
	if err := d.Flush(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

// perDB measures b.N calls of op, each with a database of its own that prepare has filled.
func perDB(b *testing.B, prepare, op func(d *db.DB), opts ...func(*db.Options)) {
	const rows = batches * batchRows
	flowBatches()
	var m meter
	var stored, inFiles int64
	for range b.N {
		d := openDB(b, opts...)
		prepare(d)
		runtime.GC()
		m.start()
		op(d)
		m.stop()
		if got := d.Metrics().Rows; got != rows {
			b.Fatalf("%d rows, want %d", got, rows)
		}
		s := d.Metrics()
		stored, inFiles = stored+s.SegmentBytes, inFiles+s.SegmentRows
		closeDB(b, d)
	}
	m.report(b, rows*b.N, "row")
	if inFiles > 0 {
		b.ReportMetric(float64(stored)/float64(inFiles), "B/row")
	}
}

// BenchmarkWrite takes batches through everything up to the acknowledgement: check, encode, log, head. Flushes wait.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name   string
		noSync bool
	}{{"sync=off", true}, {"sync=on", false}} {
		b.Run(c.name, func(b *testing.B) {
			perDB(b, func(*db.DB) {}, func(d *db.DB) { writeAll(b, d, flowBatches()) }, idle, func(o *db.Options) { o.NoSync = c.noSync })
		})
	}
}

// BenchmarkWriteKnown is BenchmarkWrite where every tag set has been met before, as after the first minutes of a life: each
// database has been written the same rows once, unmeasured.
func BenchmarkWriteKnown(b *testing.B) {
	in := flowBatches()
	for _, c := range []struct {
		name   string
		noSync bool
	}{{"sync=off", true}, {"sync=on", false}} {
		b.Run(c.name, func(b *testing.B) {
			var m meter
			var logged int64
			for range b.N {
				d := openDB(b, idle, func(o *db.Options) { o.NoSync = c.noSync })
				writeAll(b, d, in)
				before := d.Metrics().Bytes
				runtime.GC()
				m.start()
				writeAll(b, d, in)
				m.stop()
				logged += d.Metrics().Bytes - before
				closeDB(b, d)
			}
			rows := batches * batchRows * b.N
			m.report(b, rows, "row")
			b.ReportMetric(float64(logged)/float64(rows), "B/row")
		})
	}
}

// BenchmarkFlush makes segments of the head: decode, sort, gather, encode, write, sync.
func BenchmarkFlush(b *testing.B) {
	perDB(b, func(d *db.DB) { writeAll(b, d, flowBatches()) }, func(d *db.DB) { flush(b, d) }, idle)
}

// BenchmarkFlushLarge is BenchmarkFlush of a head as large as a large budget has them: one segment, of several row groups. Most
// of its tag sets are in a file already.
func BenchmarkFlushLarge(b *testing.B) {
	for _, c := range []struct {
		name string
		in   func() []*batch.Batch
	}{{"flows", manyBatches}, {"spans", manySpans}} {
		b.Run(c.name, func(b *testing.B) { flushLarge(b, c.in()) })
	}
}

func flushLarge(b *testing.B, in []*batch.Batch) {
	rows := len(in) * batchRows
	var m meter
	var stored int64
	for range b.N {
		d := openDB(b, idle, noSync, func(o *db.Options) { o.FlushRows = 3 << 19; o.Retention["spans"] = 0 })
		writeAll(b, d, in[:1])
		flush(b, d)
		before := d.Metrics().SegmentBytes
		writeAll(b, d, in)
		runtime.GC()
		m.start()
		flush(b, d)
		m.stop()
		stored += d.Metrics().SegmentBytes - before
		closeDB(b, d)
	}
	m.report(b, rows*b.N, "row")
	b.ReportMetric(float64(stored)/float64(rows*b.N), "B/row")
}

// BenchmarkIngest is all that a row costs on one node: written with sync, flushed, compacted. With heads of a quarter of the
// default size eight flushes are one merge, as with the defaults over a longer time.
func BenchmarkIngest(b *testing.B) {
	in := manyBatches()
	rows := len(in) * batchRows
	var m meter
	var files, bytes, merged int64
	var amplification float64
	first, _, _ := in[0].TimeRange()
	day, start := time.Unix(0, first), time.Now()
	for range b.N {
		d := openDB(b, func(o *db.Options) {
			o.Retention = map[string]time.Duration{"flows": 0}
			o.HeadBytes, o.MemoryBytes = 8<<20, 128<<20
			o.Now = func() time.Time { return day.Add(time.Since(start)) } // else the day is over, and all is merged at once
		})
		runtime.GC()
		m.start()
		writeAll(b, d, in)
		flush(b, d)
		if err := d.Compact(context.Background()); err != nil {
			b.Fatal(err)
		}
		m.stop()
		s := d.Metrics()
		if s.SegmentRows != int64(rows) {
			b.Fatalf("%d rows in segments, want %d", s.SegmentRows, rows)
		}
		merged += s.CompactedRows
		amplification += s.WriteAmplification()
		files, bytes = files+s.Segments, bytes+s.SegmentBytes
		closeDB(b, d)
	}
	m.report(b, rows*b.N, "row")
	b.ReportMetric(float64(bytes)/float64(rows*b.N), "B/row")
	b.ReportMetric(float64(files)/float64(b.N), "segments")
	b.ReportMetric(float64(merged)/float64(rows*b.N), "merges/row")
	b.ReportMetric(amplification/float64(b.N), "amplification")
}

// BenchmarkCompact merges eight segments of 65,536 rows into one.
func BenchmarkCompact(b *testing.B) {
	const inputs, rows = 8, 64 << 10
	dir := b.TempDir()
	g := gen.NewFlows(gen.Options{Seed: 3})
	in := make([]*segment.Reader, inputs)
	for i := range in {
		part := g.Next(rows)
		path := filepath.Join(dir, fmt.Sprintf("%d.parquet", i))
		writeSegment(b, path, part, segment.Order(part))
		r, err := segment.Open(vfs.OS, path, part.Table)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		in[i] = r
	}
	var info segment.Info
	perRow(b, inputs*rows, func(int) {
		var err error
		if info, err = compact.Merge(context.Background(), vfs.OS, in, filepath.Join(dir, "out.parquet"), compact.MergeOptions{}); err != nil {
			b.Fatal(err)
		}
	})
	if info.Rows != inputs*rows {
		b.Fatalf("%d rows", info.Rows)
	}
	b.ReportMetric(float64(info.Bytes)/float64(info.Rows), "B/row")
}

// scanAll reads a request to its end on one goroutine and counts the rows.
func scanAll(tb testing.TB, d *db.DB, req *pred.Request, dst *batch.Batch) (rows int) {
	tb.Helper()
	s, err := d.Scan(context.Background(), req)
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close()
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, dst); err != nil {
			tb.Fatal(err)
		}
		rows += dst.N
	}
	return rows
}

// scan measures a request over rows in the head or in segments, per row that there is.
func scan(b *testing.B, inSegments bool, request func(t *schema.Table) *pred.Request) {
	d := openDB(b, idle, noSync)
	defer closeDB(b, d)
	writeAll(b, d, flowBatches())
	if inSegments {
		flush(b, d)
	}
	t := flowsTable(b)
	req := request(t)
	req.Table, req.From, req.To = t, pred.MinTime, pred.MaxTime
	var dst batch.Batch
	want := scanAll(b, d, req, &dst)
	if want == 0 || len(req.Terms) == 0 && want != batches*batchRows {
		b.Fatalf("%d rows found", want)
	}
	perRow(b, batches*batchRows, func(int) {
		if n := scanAll(b, d, req, &dst); n != want {
			b.Fatalf("%d rows, want %d", n, want)
		}
	})
	b.ReportMetric(100*float64(want)/(batches*batchRows), "%rows")
}

func threeColumns(t *schema.Table) *pred.Request { return &pred.Request{Columns: three(t)} }

// BenchmarkScanHead and BenchmarkScanSegments read three columns, from the page cache.
func BenchmarkScanHead(b *testing.B)     { scan(b, false, threeColumns) }
func BenchmarkScanSegments(b *testing.B) { scan(b, true, threeColumns) }

// BenchmarkFilter reads one column of the rows of one application protocol, from segments.
func BenchmarkFilter(b *testing.B) {
	scan(b, true, func(t *schema.Table) *pred.Request {
		return &pred.Request{Columns: []int{t.MustColumn("bytes_rx")}, Terms: []pred.Term{{
			Column: t.MustColumn("l7_protocol"), Kind: pred.Text,
			Match: func(v []byte) bool { return string(v) == "mysql" }, Equal: [][]byte{[]byte("mysql")},
		}}}
	})
}

package segment

import (
	"context"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/vfs"
)

const benchRows = 256 << 10

func benchBatch(table string) *batch.Batch {
	if table == "spans" {
		return gen.NewSpans(gen.Options{Seed: 1}).Next(benchRows)
	}
	return gen.NewFlows(gen.Options{Seed: 1}).Next(benchRows)
}

func writeAll(tb testing.TB, fs vfs.FS, path string, b *batch.Batch, order []int32, o Options) Info {
	tb.Helper()
	w, err := NewWriter(fs, path, b.Table, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Append(b, order); err != nil {
		tb.Fatal(err)
	}
	info, err := w.Finish()
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

func BenchmarkOrder(b *testing.B) {
	for _, table := range []string{"flows", "spans"} {
		b.Run(table, func(b *testing.B) {
			rows := benchBatch(table)
			for b.Loop() {
				Order(rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, table := range []string{"flows", "spans"} {
		rows := benchBatch(table)
		order := Order(rows)
		for _, page := range []int{16 << 10, 32 << 10, 64 << 10} {
			for _, sorted := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/page=%dk/sorted=%v", table, page>>10, sorted), func(b *testing.B) {
					fs := vfs.NewMem()
					var info Info
					ord := order
					if !sorted {
						ord = nil
					}
					for b.Loop() {
						info = writeAll(b, fs, "x", rows, ord, Options{PageRows: page, Sorted: sorted})
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
					b.ReportMetric(float64(info.Bytes)/benchRows, "B/row")
				})
			}
		}
	}
}

func BenchmarkRead(b *testing.B) {
	rows := benchBatch("flows")
	fs := vfs.NewMem()
	writeAll(b, fs, "x", rows, Order(rows), Options{Sorted: true})
	r, err := Open(fs, "x", rows.Table)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	t := rows.Table
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	eq := func(col, v string) pred.Term {
		return pred.Term{Column: t.MustColumn(col), Kind: pred.Text, Match: func(x []byte) bool { return string(x) == v }, Equal: [][]byte{[]byte(v)}}
	}
	for _, c := range []struct {
		name string
		req  pred.Request
	}{
		{"codes1", pred.Request{Columns: []int{t.MustColumn("l7_protocol")}}},
		{"tags1", pred.Request{Columns: []int{t.MustColumn("server_tags")}}},
		{"ints1", pred.Request{Columns: []int{t.MustColumn("bytes_rx")}}},
		{"nulls1", pred.Request{Columns: []int{t.MustColumn("rtt_us")}}},
		{"columns3", pred.Request{Columns: []int{t.MustColumn("server_tags"), t.MustColumn("l7_protocol"), t.MustColumn("bytes_rx")}}},
		{"filter", pred.Request{Columns: []int{t.MustColumn("bytes_rx")}, Terms: []pred.Term{eq("l7_protocol", "mysql")}}},
		{"all", pred.Request{Columns: all}},
	} {
		b.Run(c.name, func(b *testing.B) {
			req := c.req
			req.Table, req.From, req.To = t, pred.MinTime, pred.MaxTime
			var s Scratch
			var dst batch.Batch
			units := r.Units(&req)
			for b.Loop() {
				for _, u := range units {
					if err := r.Read(context.Background(), u, &req, &s, &dst); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
		})
	}
}

package query_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query"
)

// viewSource gives its units as they are, without a copy: what is measured is the executor alone. It cannot filter, so
// benchmarks use conditions that are not pushed down.
type viewSource struct{ *memSource }

func (s viewSource) Scan(_ context.Context, req *pred.Request) (pred.Scan, error) {
	if len(req.Terms) > 0 || req.From != pred.MinTime || req.To != pred.MaxTime {
		return nil, errors.New("this source cannot filter")
	}
	return &viewScan{req: req, units: s.units[req.Table.Name]}, nil
}

type viewScan struct {
	req   *pred.Request
	units []*batch.Batch
}

func (s *viewScan) Units() int { return len(s.units) }
func (s *viewScan) Close()     {}

func (s *viewScan) Read(_ context.Context, unit int, dst *batch.Batch) error {
	b := s.units[unit]
	dst.N = b.N
	dst.Cols = dst.Cols[:0]
	for _, c := range s.req.Columns {
		dst.Cols = append(dst.Cols, b.Cols[c])
	}
	return nil
}

const benchUnits, benchRows = 16, 1 << 16

// benchSource has 1 Mi rows of t: s of 1,000 texts, j of 1,000 numbers, u of a million, i of 65,536, 2,000 tag sets.
func benchSource(b *testing.B) viewSource {
	b.Helper()
	m := newMemSource(b)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		bb := batch.NewBuilder(m.mustTable("t"))
		fillRow(bb, rng, testStart)
		m.add(b, bb.Seal())
	}
	m.units = map[string][]*batch.Batch{}
	tab := m.mustTable("t")
	words := make([]string, 1000)
	for i := range words {
		words[i] = "/api/v1/resource/" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
	}
	dict := batch.DictOf(words...)
	sets := uint32(m.tags.Len())
	for u := range benchUnits {
		n := benchRows
		out := &batch.Batch{Table: tab, N: n, Cols: make([]*batch.Vector, len(tab.Columns))}
		for i := range tab.Columns {
			v := &batch.Vector{}
			v.Default(&schema.Column{Type: tab.Columns[i].Type}, n)
			out.Cols[i] = v
		}
		out.Cols[5].Dict = dict
		for r := range n {
			out.Cols[0].I64[r] = testStart + int64(u*n+r)*1e6
			out.Cols[1].I64[r] = int64(rng.IntN(1 << 16))
			out.Cols[2].I64[r] = int64(rng.IntN(1000))
			out.Cols[3].F64[r] = rng.Float64() * 1000
			out.Cols[5].Codes[r] = uint32(rng.IntN(1000))
			out.Cols[8].I64[r] = int64(rng.IntN(1_000_000))
			out.Cols[9].Codes[r] = uint32(rng.IntN(int(sets)))
		}
		m.units["t"] = append(m.units["t"], out)
	}
	return viewSource{m}
}

// BenchmarkQuery measures the executor with one worker, in ns per row scanned, over 1 Mi rows.
func BenchmarkQuery(b *testing.B) {
	src := benchSource(b)
	e := query.New(src, func(o *query.Options) { o.Workers = 1 })
	for _, q := range []struct{ name, sql string }{
		{"count", "SELECT count(*) FROM t"},
		{"sum", "SELECT sum(u) FROM t"},
		{"filter/arith", "SELECT count(*) FROM t WHERE u - j > 500000"},
		{"filter/text", "SELECT count(*) FROM t WHERE upper(s) LIKE '%A'"},
		{"group/text=1000", "SELECT s, sum(u), count(*) FROM t GROUP BY s"},
		{"group/tag=5", "SELECT pod, sum(u), count(*) FROM t GROUP BY pod"},
		{"group/int=1000", "SELECT j, sum(u), count(*) FROM t GROUP BY j"},
		{"group/int=65536", "SELECT i, sum(u), count(*) FROM t GROUP BY i"},
		{"group/int=1000000", "SELECT u, count(*) FROM t GROUP BY u"},
		{"group/text,tag=5000", "SELECT s, pod, sum(u) FROM t GROUP BY s, pod"},
		{"group/int,int=1Mi", "SELECT j, i, sum(u) FROM t GROUP BY j, i"},
		{"group/minute", "SELECT time_bucket('1 minute', time), sum(u), avg(f) FROM t GROUP BY 1"},
		{"distinct/int=1000000", "SELECT count(DISTINCT u) FROM t"},
		{"uniq/int=1000000", "SELECT uniq(u) FROM t"},
		{"percentile/approx", "SELECT pod, approx_percentile(u, 0.99) FROM t GROUP BY pod"},
		{"percentile/exact", "SELECT percentile(u, 0.99) FROM t"},
		{"top/int", "SELECT u, s FROM t ORDER BY u DESC LIMIT 10"},
		{"top/text", "SELECT u, s FROM t ORDER BY s DESC, u LIMIT 10"},
		{"sort/int", "SELECT u, s FROM t ORDER BY u"},
		{"stream", "SELECT time, u, s FROM t"},
	} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				res, err := e.Query(context.Background(), q.sql)
				if err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := res.Next(context.Background()); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				res.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(benchUnits*benchRows), "ns/row")
		})
	}
}

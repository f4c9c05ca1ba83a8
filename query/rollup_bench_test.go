package query_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
)

// benchRollup makes a rollup of flows by service, a row for each of 24 hours' buckets and of 100 services, whose sketches
// hold 300 delays, so that testNow is the end of them.
func benchRollup(b *testing.B, m *memSource, name, every string) {
	b.Helper()
	e := testEngine(m, 1)
	if got := answer(e, "CREATE ROLLUP "+name+" ON flows EVERY "+every+" GROUP BY server.service", false); got != "CREATE ROLLUP\n" {
		b.Fatal(got)
	}
	u, _ := m.reg.Rollup(name)
	rng := rand.New(rand.NewPCG(5, 5))
	col := u.Target.MustColumn
	out := batch.NewBuilder(u.Target)
	var sketch []byte
	n := 0
	for at := testNow.Add(-24 * time.Hour); at.Before(testNow); at = at.Add(u.Def.Every) {
		for s := range 100 {
			var k enc.Sketch
			for range 300 {
				k.Add(math.Exp(rng.NormFloat64()*0.7 + 6))
			}
			sketch = k.AppendTo(sketch[:0])
			out.Int(col("time"), at.UnixNano())
			out.String(col("server.service"), fmt.Sprint("service-", s))
			out.Int(col("rows"), 300)
			out.Int(col("bytes_tx"), rng.Int64N(1e9))
			out.Int(col("rtt_sum_us"), rng.Int64N(1e9))
			out.Int(col("rtt_count"), 300)
			out.Text(col("rtt_sketch"), sketch)
			out.EndRow()
			if n++; n%16384 == 0 {
				m.add(b, out.Seal())
				out = batch.NewBuilder(u.Target)
			}
		}
	}
	m.add(b, out.Seal())
	m.stored[name] = true
}

// BenchmarkDashboard answers what a dashboard asks of a day of rollups, all layers but storage.
func BenchmarkDashboard(b *testing.B) {
	for _, every := range []string{"1h", "5m", "1m"} {
		m := newMemSource(b)
		benchRollup(b, m, "r", "'"+every+"'")
		for _, q := range []struct{ name, sql string }{
			{"p99", "SELECT server.service, count(*), sum(bytes_tx), avg(rtt_us), approx_percentile(rtt_us, 0.99) FROM flows WHERE time >= now() - INTERVAL '24 hours' GROUP BY 1 ORDER BY 5 DESC LIMIT 10"},
			{"p99Hourly", "SELECT time_bucket('1 hour', time), server.service, approx_percentile(rtt_us, 0.99) FROM flows WHERE time >= now() - INTERVAL '24 hours' GROUP BY 1, 2"},
			{"bytesHourly", "SELECT time_bucket('1 hour', time), server.service, sum(bytes_tx) FROM flows WHERE time >= now() - INTERVAL '24 hours' GROUP BY 1, 2"},
		} {
			b.Run(fmt.Sprintf("every=%s/%s", every, q.name), func(b *testing.B) {
				e := testEngine(m, 2)
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					res, err := e.Query(ctx, q.sql)
					if err != nil {
						b.Fatal(err)
					}
					rows := 0
					for {
						out, err := res.Next(ctx)
						if err == io.EOF {
							break
						}
						if err != nil {
							b.Fatal(err)
						}
						rows += out.N
					}
					res.Close()
					if rows < 10 {
						b.Fatalf("%d rows", rows)
					}
				}
			})
		}
	}
}

// TestSketchMergeAllocations: merging stored sketches allocates for groups, not for rows.
func TestSketchMergeAllocations(t *testing.T) {
	allocs := func(rows int) float64 {
		m := newMemSource(t)
		tab := m.mustTable("network_1s")
		b := batch.NewBuilder(tab)
		for i := range rows {
			var k enc.Sketch
			for j := range 50 {
				k.Add(float64(1 + (i*j)%5000))
			}
			b.Int(tab.TimeColumn, testStart)
			b.Text(tab.MustColumn("rtt_sketch"), k.AppendTo(nil))
			b.EndRow()
		}
		m.add(t, b.Seal())
		e := testEngine(m, 1)
		return testing.AllocsPerRun(5, func() {
			answer(e, "SELECT approx_percentile(rtt_sketch, 0.99) FROM network_1s", false)
		})
	}
	few, many := allocs(100), allocs(5000)
	if many > few+500 {
		t.Errorf("%.0f allocations for 100 sketches, %.0f for 5000", few, many)
	}
}

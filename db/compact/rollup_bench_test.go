package compact

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// edgeRows are n rows of network_1s of a minute, of n/7 edges, with 18 counters that are not 0.
func edgeRows(t testing.TB, n int) (*schema.Rollup, *tags.View, []*batch.Vector) {
	t.Helper()
	u, ok := schema.Builtin().Rollup("network_1m")
	if !ok {
		t.Fatal("no rollup network_1m")
	}
	r := rand.New(rand.NewPCG(1, 1))
	b := batch.NewBuilder(u.Source)
	col := u.Source.MustColumn
	counters := []string{
		"packets_tx", "packets_rx", "bytes_tx", "bytes_rx", "payload_bytes_tx", "payload_bytes_rx", "syn_count", "synack_count", "fin_count",
		"new_flow", "closed_flow", "flow_load", "rtt_sum_us", "rtt_count", "srt_sum_us", "srt_count", "art_sum_us", "art_count",
	}
	edges := make([]int, n)
	for i := range n {
		e := r.IntN(n / 7)
		edges[i] = e
		b.Int(0, int64(i)*int64(time.Minute)/int64(n))
		b.Int(col("server_port"), int64([]int{80, 443, 5432, 6379}[e%4]))
		b.String(col("protocol"), "tcp")
		b.String(col("observation_point"), []string{"c", "s"}[e/4%2])
		b.String(col("agent"), fmt.Sprint("node-", e%8))
		b.String(col("source"), "packet")
		for _, c := range counters {
			b.Int(col(c), r.Int64N(1000))
		}
		b.Int(col("rtt_max_us"), r.Int64N(1000))
		b.EndRow()
	}
	all := b.Seal()
	for k, name := range []string{"server_tags", "client_tags"} {
		v := &batch.Vector{Type: schema.TagSet, Codes: make([]uint32, n)}
		for i := range v.Codes {
			v.Codes[i] = uint32(edges[i] >> (8 * k))
		}
		all.Cols[col(name)] = v
	}
	return u, tags.New(tags.Limits{}).View(), all.Cols
}

// BenchmarkGrouper is the cost per row of rolling up edges of a minute: seven to a group.
func BenchmarkGrouper(b *testing.B) {
	const n = 64 << 10
	u, view, all := edgeRows(b, n)
	g := NewRollupGrouper(u, view, nil)
	cols := make([]*batch.Vector, len(g.Inputs()))
	for i, c := range g.Inputs() {
		cols[i] = all[c]
	}
	var out batch.Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Add(cols, n); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(g.Groups()), "groups")
		g.Emit(&out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}

// BenchmarkGrouperSketch is the cost per value of a gauge: sum, count, minimum, maximum and sketch.
func BenchmarkGrouperSketch(b *testing.B) {
	const n = 64 << 10
	reg, err := schema.Builtin().With(schema.RollupDef{Name: "r", Source: "samples", Every: time.Minute, Keys: []schema.RollupKey{{Column: "tags"}}})
	if err != nil {
		b.Fatal(err)
	}
	u, _ := reg.Rollup("r")
	rng := rand.New(rand.NewPCG(1, 1))
	cols := []*batch.Vector{
		{Type: schema.Timestamp, I64: make([]int64, n)}, {Type: schema.TagSet, Codes: make([]uint32, n)}, {Type: schema.Double, F64: make([]float64, n)},
	}
	for i := range n {
		cols[0].I64[i], cols[1].Codes[i], cols[2].F64[i] = int64(i)*1e6, uint32(rng.IntN(4000)), rng.Float64()*1e6
	}
	g := NewRollupGrouper(u, tags.New(tags.Limits{}).View(), nil)
	var out batch.Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Add(cols, n); err != nil {
			b.Fatal(err)
		}
		g.Emit(&out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
}

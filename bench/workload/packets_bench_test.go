package workload

import (
	"context"
	"testing"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/ingest/enrich"
)

// BenchmarkPackets is what a packet costs on its way to rows, in the forms of the workload packets.
func BenchmarkPackets(b *testing.B) {
	const n = 2 << 20
	s := Spec{Rows: n, Seed: 1}
	tags := enrich.New()
	p := packets(s)
	for _, form := range []string{PacketsAll, PacketsFlows, PacketsHTTP, PacketsOpen} {
		name := form
		if name == "" {
			name = "all"
		}
		b.Run(name, func(b *testing.B) {
			began, loops := cpuTime(), 0
			for ; b.Loop(); loops++ {
				src := poolRing(n, p)
				switch form {
				case PacketsHTTP:
					src = httpRing(n)
				case PacketsOpen:
					src = openRing(n, nil)
				}
				if _, err := collector.ImportSource(context.Background(), src, count{}, packetOptions(form, tags)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(loops)/n, "cpu-ns/row")
		})
	}
}

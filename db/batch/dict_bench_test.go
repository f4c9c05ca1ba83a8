package batch

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// BenchmarkDictBuilder looks up addresses as a flush does: most are known, and more than a core's cache holds.
func BenchmarkDictBuilder(b *testing.B) {
	const distinct, lookups = 100_000, 1 << 19
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, lookups)
	for i := range keys {
		keys[i] = binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(rng.IntN(distinct)))
	}
	var d DictBuilder
	b.ReportAllocs()
	for b.Loop() {
		for _, k := range keys {
			d.Code(k)
		}
		d.Seal()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lookups, "ns/lookup")
}

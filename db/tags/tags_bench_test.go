package tags

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// wide makes the i-th set of 18 tags with values of 16 characters: 8 of low, 6 of middle, 4 of high cardinality.
func wide(i int) []byte {
	var t [18]Tag
	for k := range t {
		card := [...]int{4, 4, 10, 10, 30, 30, 50, 50, 300, 300, 1000, 1000, 5000, 5000}
		v := i
		if k < len(card) {
			v = i / (k + 1) % card[k]
		} else {
			v = i / (1 + (k-14)*2)
		}
		t[k] = Tag{fmt.Sprintf("tag_%02d", k), fmt.Sprintf("v%02d-%012d", k, v)}
	}
	return AppendSet(nil, t[:]...)
}

func wideSets(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = wide(i)
	}
	return out
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools held goes at the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkIntern(b *testing.B) {
	const n = 100_000
	sets := wideSets(n)
	b.Run("miss/tags=18", func(b *testing.B) {
		var bytes uint64
		for range b.N {
			b.StopTimer()
			before := heap()
			s := New(Limits{})
			b.StartTimer()
			for _, enc := range sets {
				if _, _, err := s.Intern(enc); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			bytes = heap() - before
			runtime.KeepAlive(s)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/set")
		b.ReportMetric(float64(bytes)/n, "B/set")
		b.ReportMetric(float64(len(sets[n-1])), "B/encoding")
	})
	s := New(Limits{})
	for _, enc := range sets {
		s.Intern(enc)
	}
	b.Run("hit/tags=18", func(b *testing.B) {
		i := 0
		for b.Loop() {
			s.Intern(sets[i*7919%n])
			i++
		}
	})
	b.Run("hit/hot", func(b *testing.B) {
		i := 0
		for b.Loop() {
			s.Intern(sets[i&255])
			i++
		}
	})
}

func BenchmarkView(b *testing.B) {
	const n = 300_000
	s := New(Limits{})
	for i := range n {
		s.Intern(wide(i))
	}
	v := s.View()
	run := func(name string, f func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/set")
		})
	}
	run("equal/card=4", func() { v.Equal("tag_00", "v00-000000000001") })
	run("equal/card=300", func() { v.Equal("tag_08", "v08-000000000001") })
	run("equal/card=5000", func() { v.Equal("tag_12", "v12-000000000100") })
	run("equal/unique", func() { v.Equal("tag_14", "v14-000000150000") })
	run("match/card=300", func() { v.Match("tag_08", HasPrefix("v08-00000000000")) })
	run("missing", func() { v.Missing("tag_03") })
	run("dense/cold", func() {
		k := v.key("tag_08")
		clear := make([]uint32, v.n)
		k.fillDense(clear, 0)
	})
	run("dense/warm", func() { v.Dense("tag_08") })
}

// BenchmarkPostings is the index that was not built: a bitmap of ids per value. It shows what the columns save.
func BenchmarkPostings(b *testing.B) {
	const n = 100_000
	sets := wideSets(n)
	var bytes uint64
	index := map[string]map[string]*roaring.Bitmap{}
	for range b.N {
		b.StopTimer()
		before := heap()
		index = map[string]map[string]*roaring.Bitmap{}
		b.StartTimer()
		for id, enc := range sets {
			Each(enc, func(k, v []byte) {
				values := index[string(k)]
				if values == nil {
					values = map[string]*roaring.Bitmap{}
					index[string(k)] = values
				}
				ids := values[string(v)]
				if ids == nil {
					ids = roaring.New()
					values[string(v)] = ids
				}
				ids.Add(uint32(id))
			})
		}
		b.StopTimer()
		bytes = heap() - before
		runtime.KeepAlive(index)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/set")
	b.ReportMetric(float64(bytes)/n, "B/set")
}

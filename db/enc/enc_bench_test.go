package enc

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

const benchN = 8192

func perValue(b *testing.B, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchN, "ns/value")
	b.ReportMetric(float64(bytes)/benchN, "B/value")
}

func BenchmarkInt64(b *testing.B) {
	for _, d := range dists {
		v := d.make(benchN, 3)
		src := AppendInt64(nil, v)
		buf := make([]byte, 0, 9*benchN+1024)
		dst := make([]int64, 0, benchN)
		b.Run("encode/"+d.name, func(b *testing.B) {
			b.SetBytes(8 * benchN)
			for b.Loop() {
				buf = AppendInt64(buf[:0], v)
			}
			perValue(b, len(src))
		})
		b.Run("decode/"+d.name, func(b *testing.B) {
			b.SetBytes(8 * benchN)
			for b.Loop() {
				dst, _, _ = DecodeInt64(dst[:0], src, benchN)
			}
			perValue(b, len(src))
		})
	}
}

func BenchmarkUint32(b *testing.B) {
	for _, card := range []int{1, 2, 16, 200, 5000, 200_000} {
		r := rand.New(rand.NewPCG(1, 1))
		z := rand.NewZipf(r, 1.2, 8, uint64(card-1))
		v := make([]uint32, benchN)
		for i := range v {
			v[i] = uint32(z.Uint64())
		}
		src := AppendUint32(nil, v)
		buf := make([]byte, 0, 9*benchN+1024)
		dst := make([]uint32, 0, benchN)
		b.Run(fmt.Sprintf("encode/card=%d", card), func(b *testing.B) {
			b.SetBytes(4 * benchN)
			for b.Loop() {
				buf = AppendUint32(buf[:0], v)
			}
			perValue(b, len(src))
		})
		b.Run(fmt.Sprintf("decode/card=%d", card), func(b *testing.B) {
			b.SetBytes(4 * benchN)
			for b.Loop() {
				dst, _, _ = DecodeUint32(dst[:0], src, benchN)
			}
			perValue(b, len(src))
		})
	}
}

func BenchmarkFloat64(b *testing.B) {
	for _, d := range floatDists {
		r := rand.New(rand.NewPCG(1, 3))
		v := make([]float64, benchN)
		for i := range v {
			v[i] = d.gen(r, i)
		}
		src := AppendFloat64(nil, v)
		buf := make([]byte, 0, 9*benchN+1024)
		dst := make([]float64, 0, benchN)
		b.Run("encode/"+d.name, func(b *testing.B) {
			b.SetBytes(8 * benchN)
			for b.Loop() {
				buf = AppendFloat64(buf[:0], v)
			}
			perValue(b, len(src))
		})
		b.Run("decode/"+d.name, func(b *testing.B) {
			b.SetBytes(8 * benchN)
			for b.Loop() {
				dst, _, _ = DecodeFloat64(dst[:0], src, benchN)
			}
			perValue(b, len(src))
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	v := make([]uint64, benchN)
	for _, w := range []uint8{1, 4, 7, 8, 12, 16, 20, 24, 32, 40, 57} {
		src := append(appendPacked(nil, v, w, 0), make([]byte, 16)...)
		b.Run(fmt.Sprintf("int64/width=%d", w), func(b *testing.B) {
			dst := make([]int64, 1024)
			for b.Loop() {
				for range benchN / 1024 {
					unpackBits(dst, src, w, 5)
				}
			}
			perValue(b, 0)
		})
		if w <= 32 {
			b.Run(fmt.Sprintf("uint32/width=%d", w), func(b *testing.B) {
				dst := make([]uint32, 1024)
				for b.Loop() {
					for range benchN / 1024 {
						unpackBits(dst, src, w, 5)
					}
				}
				perValue(b, 0)
			})
		}
	}
}

func BenchmarkSketch(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	v := make([]float64, 1024)
	for i := range v {
		v[i] = r.ExpFloat64() * 2000
	}
	var s, sum Sketch
	b.Run("add", func(b *testing.B) {
		i := 0
		for b.Loop() {
			s.Add(v[i&1023])
			i++
		}
	})
	src := s.AppendTo(nil)
	b.Run(fmt.Sprintf("merge/bytes=%d", len(src)), func(b *testing.B) {
		for b.Loop() {
			if err := sum.Merge(src); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("quantile", func(b *testing.B) {
		for b.Loop() {
			s.Quantile(0.99)
		}
	})
}

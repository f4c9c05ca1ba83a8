package enc

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// FuzzSketchMergeOnce: it takes and refuses what Merge does, and gives the same sketch.
func FuzzSketchMergeOnce(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 9))
	for i := range 20 {
		var s Sketch
		for range rng.IntN(500) {
			s.AddN(math.Exp(rng.NormFloat64()*float64(i)), rng.Uint64N(300))
		}
		if i%5 == 0 {
			s.Add(0)
			s.Add(-3)
		}
		f.Add(s.AppendTo(nil))
	}
	f.Add([]byte{sketchVersion, 0, 0})
	f.Add([]byte{sketchVersion, 1, 0})
	f.Add([]byte{sketchVersion, 0, 2, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, src []byte) {
		var a, b Sketch
		for _, s := range []*Sketch{&a, &b} {
			for _, v := range []float64{0, 1, 250, 1e9} {
				s.Add(v)
			}
		}
		err, once := a.Merge(src), b.MergeOnce(src)
		if (err == nil) != (once == nil) || once != nil && !errors.Is(once, ErrCorrupt) {
			t.Fatalf("Merge: %v, MergeOnce: %v", err, once)
		}
		if err == nil && !bytes.Equal(a.AppendTo(nil), b.AppendTo(nil)) {
			t.Fatalf("Merge gives %x, MergeOnce %x", a.AppendTo(nil), b.AppendTo(nil))
		}
	})
}

func BenchmarkSketchMerge(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 9))
	var list [][]byte
	for range 64 {
		var s Sketch
		for range 300 {
			s.Add(math.Exp(rng.NormFloat64()*0.7 + 6))
		}
		list = append(list, s.AppendTo(nil))
	}
	for _, how := range []struct {
		name string
		f    func(s *Sketch, src []byte) error
	}{{"checked", (*Sketch).Merge}, {"once", (*Sketch).MergeOnce}} {
		b.Run(how.name, func(b *testing.B) {
			var s Sketch
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := how.f(&s, list[i&63]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

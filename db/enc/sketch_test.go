package enc

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSketchQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	gens := map[string]func() float64{
		"uniform":   func() float64 { return r.Float64() * 1e6 },
		"lognormal": func() float64 { return math.Exp(r.NormFloat64()*2 + 7) },
		"tiny":      func() float64 { return r.Float64() * 1e-6 },
		"integers":  func() float64 { return float64(r.IntN(50)) },
		"zeros":     func() float64 { return float64(r.IntN(2)) * 1000 },
		"signed":    func() float64 { return r.NormFloat64() * 1000 },
		"negative":  func() float64 { return -math.Exp(r.NormFloat64()*2 + 7) },
	}
	for name, gen := range gens {
		var s Sketch
		v := make([]float64, 5000)
		for i := range v {
			v[i] = gen()
			s.Add(v[i])
		}
		slices.Sort(v)
		for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1} {
			want := v[int(q*float64(len(v)-1))]
			if got := s.Quantile(q); math.Abs(got-want) > SketchAccuracy*math.Abs(want)*1.0001 && math.Abs(want) >= sketchMin {
				t.Errorf("%s q=%g: %g, want %g within 1 %%", name, q, got, want)
			}
		}
		if s.Count() != uint64(len(v)) {
			t.Errorf("%s: count %d", name, s.Count())
		}
		b := s.AppendTo(nil)
		t.Logf("%-10s %d bytes, %d buckets", name, len(b), len(s.counts))
	}
}

// Every bucket boundary must agree with the function that assigns buckets, and be narrow enough.
func TestSketchBuckets(t *testing.T) {
	gamma := (1 + SketchAccuracy) / (1 - SketchAccuracy)
	for i := sketchMinIndex + 1; i < sketchMaxIndex; i++ {
		lo, hi := sketchLower(i), sketchLower(i+1)
		if hi/lo > gamma*(1+1e-12) || hi <= lo {
			t.Fatalf("bucket %d is [%g, %g), ratio %g", i, lo, hi, hi/lo)
		}
		if mid := sketchValue(i); sketchIndex(mid) != i {
			t.Fatalf("bucket %d stands for %g, which is in %d", i, mid, sketchIndex(mid))
		}
		for _, f := range []float64{1e-6, 0.5, 1 - 1e-6} {
			if got := sketchIndex(lo + (hi-lo)*f); got != i {
				t.Fatalf("bucket %d at %g: index %d", i, f, got)
			}
		}
	}
}

func TestSketchMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var whole Sketch
	var parts [3]Sketch
	for range 3000 {
		v := math.Exp(r.NormFloat64()*3 + 5)
		switch r.IntN(10) {
		case 0:
			v = 0
		case 1:
			v = -v
		}
		n := uint64(r.IntN(3))
		whole.AddN(v, n)
		parts[r.IntN(3)].AddN(v, n)
	}
	var ab, ba Sketch
	for i := range parts {
		if err := ab.Merge(parts[i].AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		ba.MergeWith(&parts[2-i])
	}
	want := whole.AppendTo(nil)
	if !bytes.Equal(ab.AppendTo(nil), want) || !bytes.Equal(ba.AppendTo(nil), want) {
		t.Fatal("merging depends on the order or on how the values were split")
	}
	ab.Reset()
	if ab.Count() != 0 || len(ab.AppendTo(nil)) != 0 || !math.IsNaN(ab.Quantile(0.5)) {
		t.Fatal("reset left something")
	}
	ab.Add(100)
	if got := ab.Quantile(0.5); math.Abs(got-100) > 1 {
		t.Fatalf("after reset: %g", got)
	}
}

// TestSketchKeys: counting by key gives the bytes that counting one by one does.
func TestSketchKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		var s Sketch
		var counts []KeyCount
		for range r.IntN(50) {
			v := math.Trunc(r.NormFloat64() * math.Exp(float64(r.IntN(10))))
			if r.IntN(20) == 0 {
				v = math.NaN()
			}
			s.Add(v)
			if k, ok := SketchKey(v); ok {
				counts = append(counts, KeyCount{k, 1})
			}
		}
		want := s.AppendTo(nil)
		counts, err := SketchCounts(counts, want) // all twice
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Merge(want); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(counts, func(a, b KeyCount) int { return int(a.Key - b.Key) })
		if got, want := AppendSketch(nil, counts), s.AppendTo(nil); !bytes.Equal(got, want) {
			t.Fatalf("AppendSketch = %x, want %x", got, want)
		}
	}
}

func TestSketchOddValues(t *testing.T) {
	var s Sketch
	s.Add(math.NaN())
	if s.Count() != 0 {
		t.Fatal("counted NaN")
	}
	for _, v := range []float64{-1, 0, math.Inf(-1), 5e-324, math.Inf(1), math.MaxFloat64} {
		s.Add(v)
	}
	if s.Count() != 6 || s.Quantile(0.5) != 0 || math.Abs(s.Quantile(0)/-sketchMax-1) > 0.011 || math.Abs(s.Quantile(1)/sketchMax-1) > 0.011 {
		t.Fatalf("count %d, quantiles %g %g", s.Count(), s.Quantile(0), s.Quantile(1))
	}
	if !math.IsNaN(s.Quantile(1.1)) || !math.IsNaN(s.Quantile(-0.1)) || !math.IsNaN(s.Quantile(math.NaN())) {
		t.Fatal("quantile out of range")
	}
	s.AddN(5, math.MaxUint64)
	if s.Count() != math.MaxUint64 {
		t.Fatal("count wrapped")
	}
}

func TestSketchDamage(t *testing.T) {
	var s Sketch
	for i := range 200 {
		s.Add(float64(i * i))
		s.Add(-float64(i))
	}
	src := s.AppendTo(nil)
	before := s.AppendTo(nil)
	for cut := 1; cut < len(src); cut++ {
		if err := s.Merge(src[:cut]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if err := s.Merge(append(slices.Clip(src), 0)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("bytes behind: %v", err)
	}
	if !bytes.Equal(s.AppendTo(nil), before) {
		t.Fatal("a failed merge changed the sketch")
	}
}

func FuzzSketchMerge(f *testing.F) {
	var s Sketch
	f.Add([]byte{}, s.AppendTo(nil))
	s.Add(0)
	f.Add(s.AppendTo(nil), []byte{1, 0, 1, 2, 1})
	s.Add(1e6)
	s.Add(3)
	s.Add(-20)
	f.Add(s.AppendTo(nil), s.AppendTo(nil))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y Sketch
		if x.Merge(a) != nil || y.Merge(b) != nil {
			return
		}
		if len(x.counts) > 2*(sketchMaxIndex-sketchMinIndex) {
			t.Fatalf("%d buckets", len(x.counts))
		}
		var xy, yx Sketch
		xy.MergeWith(&x)
		yx.MergeWith(&y)
		xy.MergeWith(&y)
		yx.MergeWith(&x)
		if !bytes.Equal(xy.AppendTo(nil), yx.AppendTo(nil)) {
			t.Fatal("merge is not commutative")
		}
		var back Sketch
		if err := back.Merge(xy.AppendTo(nil)); err != nil || !bytes.Equal(back.AppendTo(nil), xy.AppendTo(nil)) {
			t.Fatalf("does not come back: %v", err)
		}
		if q := xy.Quantile(0.5); xy.Count() > 0 && q != q {
			t.Fatalf("quantile %g", q)
		}
	})
}

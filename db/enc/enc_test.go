package enc

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"
)

// dist is a named kind of integer column, with the size that it must not exceed.
type dist struct {
	name  string
	bytes float64 // per value, at 8192 values
	codec string  // prefix of Describe, "" for any
	gen   func(r *rand.Rand, i int, prev int64) int64
}

var dists = []dist{
	{"const", 0.001, "const(7)", func(*rand.Rand, int, int64) int64 { return 7 }},
	{"identity", 0.001, "linear(0+1)", func(_ *rand.Rand, i int, _ int64) int64 { return int64(i) }},
	{"descending", 0.001, "linear", func(_ *rand.Rand, i int, _ int64) int64 { return 5 - 3*int64(i) }},
	{"small", 0.9, "blocks", func(r *rand.Rand, _ int, _ int64) int64 { return int64(r.IntN(100)) }},
	{"wide", 5.1, "blocks", func(r *rand.Rand, _ int, _ int64) int64 { return r.Int64N(1 << 40) }},
	{"random", 8.01, "raw", func(r *rand.Rand, _ int, _ int64) int64 { return int64(r.Uint64()) }},
	{"times", 2.2, "blocks", func(r *rand.Rand, i int, p int64) int64 {
		if i == 0 {
			return 1_790_000_000_000_000_000
		}
		return p + r.Int64N(100_000)
	}},
	{"micros", 0.9, "scaled(1000) blocks", func(r *rand.Rand, i int, p int64) int64 {
		if i == 0 {
			return 1_790_000_000_000_000_000
		}
		return p + r.Int64N(100)*1000
	}},
	{"scrapes", 0.25, "scaled(", func(_ *rand.Rand, i int, _ int64) int64 {
		return 1_790_000_000_000_000_000 + int64(i/500)*15_000_000_000 + int64(i/500%3)*1_000_000
	}},
	{"unsorted-times", 2.6, "", func(r *rand.Rand, i int, _ int64) int64 {
		return 1_790_000_000_000_000_000 + int64(i)*1000 + r.Int64N(100_000)
	}},
	{"gap", 1.6, "blocks", func(r *rand.Rand, i int, p int64) int64 {
		if i%1000 == 999 {
			return p + 3_600_000_000_000
		}
		return p + r.Int64N(1000)
	}},
	{"runs", 0.1, "rle", func(r *rand.Rand, i int, p int64) int64 {
		if i == 0 || r.IntN(40) == 0 {
			return r.Int64N(1000)
		}
		return p
	}},
	{"zero-heavy", 0.16, "", func(r *rand.Rand, _ int, _ int64) int64 {
		if r.IntN(20) == 0 {
			return r.Int64N(3000)
		}
		return 0
	}},
	{"heavy-tail", 1.7, "", func(r *rand.Rand, _ int, _ int64) int64 {
		return int64(math.Exp(r.NormFloat64()*1.5 + 6))
	}},
	{"ports", 0.4, "dict", func(r *rand.Rand, _ int, _ int64) int64 {
		return []int64{80, 443, 5432, 53, 9092, 6379}[r.IntN(6)]
	}},
	{"edges", 1.7, "dict", func(r *rand.Rand, _ int, _ int64) int64 { return int64(r.IntN(700)) * 7919 % 1_000_003 }},
	{"extremes", 8.1, "", func(r *rand.Rand, _ int, _ int64) int64 {
		return []int64{math.MinInt64, math.MaxInt64, 0, -1, 1}[r.IntN(5)]
	}},
	{"negative", 1.4, "", func(r *rand.Rand, _ int, _ int64) int64 { return -r.Int64N(1000) }},
}

func (d *dist) make(n int, seed uint64) []int64 {
	r := rand.New(rand.NewPCG(seed, 1))
	v := make([]int64, n)
	var prev int64
	for i := range v {
		v[i] = d.gen(r, i, prev)
		prev = v[i]
	}
	return v
}

var testSizes = []int{0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 255, 1000, 1023, 1024, 1025, 2048, 5000, 8192}

func TestInt64RoundTrip(t *testing.T) {
	for _, d := range dists {
		for _, n := range testSizes {
			want := d.make(n, uint64(n))
			src := AppendInt64([]byte("head"), want)
			if string(src[:4]) != "head" {
				t.Fatalf("%s/%d: overwrote dst", d.name, n)
			}
			checkInt64(t, d.name, src[4:], want)
			checkPeek(t, d.name, src[4:], want)
		}
	}
}

func checkInt64(t *testing.T, name string, src []byte, want []int64) {
	t.Helper()
	got, rest, err := DecodeInt64([]int64{42}, append(src[:len(src):len(src)], "tail"...), len(want))
	if err != nil || string(rest) != "tail" || got[0] != 42 || !slices.Equal(got[1:], want) {
		t.Fatalf("%s/%d %s: err %v, rest %q, %d values", name, len(want), Describe(src), err, rest, len(got)-1)
	}
	// Nothing after the column: the unpackers must not rely on what follows.
	got, rest, err = DecodeInt64(nil, slices.Clip(slices.Clone(src)), len(want))
	if err != nil || len(rest) != 0 || !slices.Equal(got, want) {
		t.Fatalf("%s/%d %s alone: %v", name, len(want), Describe(src), err)
	}
}

func checkPeek(t *testing.T, name string, src []byte, want []int64) {
	t.Helper()
	r, ok := PeekInt64(src, len(want))
	if len(want) == 0 {
		if ok {
			t.Fatalf("%s: peeked into nothing", name)
		}
		return
	}
	lo, hi := slices.Min(want), slices.Max(want)
	if !ok {
		if hi-lo >= 0 {
			t.Fatalf("%s/%d %s: no range", name, len(want), Describe(src))
		}
		return
	}
	if r.Min > lo || r.Max < hi || r.Constant != (lo == hi) {
		t.Fatalf("%s/%d %s: peeked %+v, values in [%d, %d]", name, len(want), Describe(src), r, lo, hi)
	}
}

func TestInt64Size(t *testing.T) {
	const n = 8192
	for _, d := range dists {
		src := AppendInt64(nil, d.make(n, 3))
		got := float64(len(src)) / n
		t.Logf("%-15s %6.3f B/value  %s", d.name, got, Describe(src))
		if got > d.bytes {
			t.Errorf("%s: %.3f bytes per value, want at most %g (%s)", d.name, got, d.bytes, Describe(src))
		}
		if !hasPrefix(Describe(src), d.codec) {
			t.Errorf("%s: chose %s, want %s", d.name, Describe(src), d.codec)
		}
	}
}

func hasPrefix(s, p string) bool { return len(s) >= len(p) && s[:len(p)] == p }

func TestUint32RoundTrip(t *testing.T) {
	for _, d := range dists {
		for _, n := range testSizes {
			v := d.make(n, uint64(n)+9)
			want := make([]uint32, n)
			for i, x := range v {
				want[i] = uint32(x)
			}
			src := AppendUint32(nil, want)
			got, rest, err := DecodeUint32(nil, slices.Clip(src), n)
			if err != nil || len(rest) != 0 || !slices.Equal(got, want) {
				t.Fatalf("%s/%d %s: %v", d.name, n, Describe(src), err)
			}
			if r, ok := PeekInt64(src, n); n > 0 && (!ok || r.Min > int64(slices.Min(want)) || r.Max < int64(slices.Max(want))) {
				t.Fatalf("%s/%d %s: peeked %+v %v", d.name, n, Describe(src), r, ok)
			}
			if len(src) > 4*n+32 {
				t.Fatalf("%s/%d: %d bytes", d.name, n, len(src))
			}
		}
	}
}

func TestUint32RefusesWiderValues(t *testing.T) {
	for _, v := range [][]int64{{-1, 5, 9}, {1 << 32, 1 << 32}, {0, 1, 1 << 32, 3}, {-3, -2, -1}} {
		if _, _, err := DecodeUint32(nil, AppendInt64(nil, v), len(v)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v: err %v", v, err)
		}
	}
}

func TestInt64Quick(t *testing.T) {
	f := func(base int64, width uint8, ns uint16, seed uint64) bool {
		n := int(ns % 3000)
		r := rand.New(rand.NewPCG(seed, 2))
		v := make([]int64, n)
		for i := range v {
			v[i] = base + int64(r.Uint64()>>(width%64))
			if r.IntN(50) == 0 {
				v[i] = int64(r.Uint64() >> r.IntN(64))
			}
			if i > 0 && width&64 != 0 {
				v[i] += v[i-1]
			}
		}
		src := AppendInt64(nil, v)
		got, rest, err := DecodeInt64(nil, src, n)
		return err == nil && len(rest) == 0 && slices.Equal(got, v)
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 400}); err != nil {
		t.Fatal(err)
	}
}

func TestPackEveryWidth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for w := uint8(0); w <= 64; w++ {
		if w > maxPacked && w < 64 {
			continue
		}
		for _, n := range []int{1, 7, 8, 9, 64, 100} {
			want := make([]uint64, n)
			for i := range want {
				if w > 0 {
					want[i] = r.Uint64() >> (64 - w)
				}
			}
			src := appendPacked(nil, want, w, 0)
			if len(src) != packedLen(n, w) {
				t.Fatalf("width %d: %d bytes for %d values", w, len(src), n)
			}
			got := make([]uint64, n)
			unpackBits(got, slices.Clip(src), w, 0)
			if !slices.Equal(got, want) {
				t.Fatalf("width %d, %d values", w, n)
			}
			for i, x := range want { // the layout, said plainly
				for b := range int(w) {
					at := i*int(w) + b
					if x>>b&1 != uint64(src[at/8]>>(at%8)&1) {
						t.Fatalf("width %d value %d bit %d misplaced", w, i, b)
					}
				}
			}
		}
	}
}

func TestTruncatedColumnsFail(t *testing.T) {
	for _, d := range dists {
		src := AppendInt64(nil, d.make(300, 5))
		for cut := range src {
			if _, _, err := DecodeInt64(nil, src[:cut], 300); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut at %d of %d: err %v", d.name, cut, len(src), err)
			}
		}
	}
}

func TestDecodeKeepsDstOnError(t *testing.T) {
	dst := []int64{1, 2}
	got, rest, err := DecodeInt64(dst, []byte{0xff, 1}, 5)
	if err == nil || len(got) != 2 || len(rest) != 2 {
		t.Fatalf("%v %v %v", got, rest, err)
	}
	if _, _, err = DecodeInt64(nil, []byte{codecConst, 0}, -1); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("negative n: %v", err)
	}
}

func TestScaledTwiceIsRefused(t *testing.T) {
	src := []byte{codecScaled, 2, 0, codecScaled, 2, 0, codecConst, 2}
	if _, _, err := DecodeInt64(nil, src, 3); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	const n = 4096
	for _, d := range dists {
		v := d.make(n, 1)
		src := AppendInt64(nil, v)
		buf := make([]byte, 0, 9*n+1024)
		dst := make([]int64, 0, n)
		if got := testing.AllocsPerRun(20, func() { buf = AppendInt64(buf[:0], v) }); got > 0.5 {
			t.Errorf("%s: %.1f allocations per encode", d.name, got)
		}
		if got := testing.AllocsPerRun(20, func() { dst, _, _ = DecodeInt64(dst[:0], src, n) }); got > 0.5 {
			t.Errorf("%s: %.1f allocations per decode", d.name, got)
		}
	}
	f := make([]float64, n)
	for i := range f {
		f[i] = float64(i) / 10
	}
	f[77] = math.NaN()
	src := AppendFloat64(nil, f)
	buf := make([]byte, 0, 9*n+1024)
	if got := testing.AllocsPerRun(20, func() { buf = AppendFloat64(buf[:0], f) }); got > 0.5 {
		t.Errorf("floats: %.1f allocations per encode", got)
	}
	if got := testing.AllocsPerRun(20, func() { f, _, _ = DecodeFloat64(f[:0], src, n) }); got > 0.5 {
		t.Errorf("floats: %.1f allocations per decode", got)
	}
}

func FuzzDecodeInt64(f *testing.F) {
	for _, d := range dists {
		f.Add(AppendInt64(nil, d.make(50, 1)), uint16(50))
		f.Add(AppendInt64(nil, d.make(1500, 1)), uint16(1500))
	}
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		v, rest, err := DecodeInt64(nil, src, int(n))
		if err == nil {
			if len(v) != int(n) || len(rest) > len(src) {
				t.Fatalf("%d values, wanted %d", len(v), n)
			}
			got, _, err := DecodeInt64(nil, AppendInt64(nil, v), int(n))
			if err != nil || !slices.Equal(got, v) {
				t.Fatalf("does not come back: %v", err)
			}
		}
		if u, _, err := DecodeUint32(nil, src, int(n)); err == nil && len(u) != int(n) {
			t.Fatalf("%d codes, wanted %d", len(u), n)
		}
		PeekInt64(src, int(n))
		Describe(src)
	})
}

func FuzzInt64RoundTrip(f *testing.F) {
	for _, d := range dists {
		var b []byte
		for _, x := range d.make(40, 2) {
			b = binary.LittleEndian.AppendUint64(b, uint64(x))
		}
		f.Add(b, uint8(3), uint8(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, repeat, shift uint8) {
		var v []int64
		for len(b) >= 8 && len(v) < 8000 {
			x := int64(binary.LittleEndian.Uint64(b)) >> (shift % 64)
			for range int(repeat%16) + 1 {
				v = append(v, x)
			}
			b = b[8:]
		}
		src := AppendInt64(nil, v)
		got, rest, err := DecodeInt64(nil, src, len(v))
		if err != nil || len(rest) != 0 || !slices.Equal(got, v) {
			t.Fatalf("%s: %v", Describe(src), err)
		}
		if len(src) > 8*len(v)+32 {
			t.Fatalf("%s: %d bytes for %d values", Describe(src), len(src), len(v))
		}
		if len(v) > 0 {
			if r, ok := PeekInt64(src, len(v)); ok && (r.Min > slices.Min(v) || r.Max < slices.Max(v)) {
				t.Fatalf("%s: range %+v", Describe(src), r)
			}
		}
	})
}

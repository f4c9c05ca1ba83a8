package enc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

var floatDists = []struct {
	name  string
	bytes float64 // per value, at 8192 values
	codec string
	gen   func(r *rand.Rand, i int) float64
}{
	{"const", 0.001, "decimal(10^-1) const(15)", func(*rand.Rand, int) float64 { return 1.5 }},
	{"pi", 0.002, "float-bits const", func(*rand.Rand, int) float64 { return math.Pi }},
	{"counter", 0.01, "decimal(10^-0) linear", func(_ *rand.Rand, i int) float64 { return float64(i) * 3 }},
	{"percent", 1.3, "decimal(10^-1) blocks", func(r *rand.Rand, _ int) float64 { return float64(r.IntN(1000)) / 10 }},
	{"cents", 2.6, "decimal(10^-2) blocks", func(r *rand.Rand, _ int) float64 { return float64(r.IntN(1_000_000)) / 100 }},
	{"stale", 1.6, "decimal(10^-1) ", func(r *rand.Rand, _ int) float64 {
		if r.IntN(40) == 0 {
			return math.Float64frombits(0x7ff0000000000002)
		}
		return float64(r.IntN(1000)) / 10
	}},
	{"random", 7.2, "float-bits", func(r *rand.Rand, _ int) float64 { return r.Float64() }},
	{"normal", 8.1, "float-bits", func(r *rand.Rand, _ int) float64 { return r.NormFloat64() }},
	{"few", 0.3, "float-bits dict", func(r *rand.Rand, _ int) float64 { return []float64{math.Pi, math.E, math.Sqrt2}[r.IntN(3)] }},
	{"odd", 0.6, "", func(r *rand.Rand, _ int) float64 {
		return []float64{math.Copysign(0, -1), 0, math.Inf(1), math.Inf(-1), math.NaN(), 1, 5e-324, math.MaxFloat64}[r.IntN(8)]
	}},
	{"huge", 8.1, "", func(r *rand.Rand, _ int) float64 { return float64(r.Uint64()) * 1e12 }},
}

func sameFloats(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(x, y float64) bool { return math.Float64bits(x) == math.Float64bits(y) })
}

func TestFloat64RoundTrip(t *testing.T) {
	for _, d := range floatDists {
		for _, n := range testSizes {
			r := rand.New(rand.NewPCG(uint64(n), 3))
			want := make([]float64, n)
			for i := range want {
				want[i] = d.gen(r, i)
			}
			src := AppendFloat64(nil, want)
			got, rest, err := DecodeFloat64(nil, slices.Clip(src), n)
			if err != nil || len(rest) != 0 || !sameFloats(got, want) {
				t.Fatalf("%s/%d %s: %v", d.name, n, Describe(src), err)
			}
			if n != 8192 {
				continue
			}
			per := float64(len(src)) / float64(n)
			t.Logf("%-10s %6.3f B/value  %s", d.name, per, Describe(src))
			if per > d.bytes || !strings.HasPrefix(Describe(src), d.codec) {
				t.Errorf("%s: %.3f B/value as %s, want at most %g as %s", d.name, per, Describe(src), d.bytes, d.codec)
			}
			for cut := 0; cut < len(src); cut += 1 + len(src)/50 {
				if _, _, err := DecodeFloat64(nil, src[:cut], n); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s cut at %d: %v", d.name, cut, err)
				}
			}
		}
	}
}

func TestFloat64Quick(t *testing.T) {
	f := func(v []float64, decimals uint8) bool {
		for i := range v {
			if i%3 == 0 {
				v[i] = math.Round(math.Mod(v[i], 1e9)) / pow10[decimals%10]
			}
		}
		got, rest, err := DecodeFloat64(nil, AppendFloat64(nil, v), len(v))
		return err == nil && len(rest) == 0 && sameFloats(got, v)
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 500}); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecodeFloat64(f *testing.F) {
	for _, d := range floatDists {
		r := rand.New(rand.NewPCG(1, 3))
		v := make([]float64, 60)
		for i := range v {
			v[i] = d.gen(r, i)
		}
		f.Add(AppendFloat64(nil, v), uint16(60))
	}
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		Describe(src)
		v, _, err := DecodeFloat64(nil, src, int(n))
		if err != nil {
			return
		}
		if len(v) != int(n) {
			t.Fatalf("%d values, wanted %d", len(v), n)
		}
		got, _, err := DecodeFloat64(nil, AppendFloat64(nil, v), int(n))
		if err != nil || !sameFloats(got, v) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func TestBools(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for _, rate := range []float64{0, 0.001, 0.02, 0.5, 0.98, 0.999, 1} {
		for _, n := range []int{1, 2, 7, 8, 9, 63, 64, 65, 128, 1000, 8191, 8192} {
			want := make([]bool, n)
			ones := 0
			for i := range want {
				want[i] = r.Float64() < rate
				if want[i] {
					ones++
				}
			}
			src := AppendBools(nil, want)
			if limit := (n+7)/8 + 1; len(src) > limit {
				t.Errorf("rate %g n %d: %d bytes as %s", rate, n, len(src), Describe(src))
			}
			if (ones == 0 || ones == n) && len(src) != 1 {
				t.Errorf("rate %g n %d: %d bytes for equal bits", rate, n, len(src))
			}
			got, rest, err := DecodeBools(nil, append(slices.Clip(src), 9), n)
			if err != nil || len(rest) != 1 || !slices.Equal(got, want) {
				t.Fatalf("rate %g n %d %s: %v", rate, n, Describe(src), err)
			}
			words, _, err := DecodeBitmap([]uint64{5}, src, n)
			if err != nil || len(words) != 1+BitmapWords(n) || words[0] != 5 {
				t.Fatalf("bitmap: %d words, %v", len(words), err)
			}
			words[len(words)-1] |= ^uint64(0) << (n & 63) * b2u(n&63 != 0) // bits beyond n are ignored
			if again := AppendBitmap(nil, words[1:], n); !bytes.Equal(again, src) {
				t.Fatalf("rate %g n %d: bitmap and bools differ", rate, n)
			}
			for cut := range src {
				if _, _, err := DecodeBools(nil, src[:cut], n); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("cut at %d of %d: %v", cut, len(src), err)
				}
			}
		}
	}
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func FuzzDecodeBools(f *testing.F) {
	f.Add([]byte{codecAllTrue}, uint16(100))
	f.Add([]byte{codecBitmap, 0xff, 0x0f}, uint16(12))
	v := make([]bool, 500)
	v[70], v[71], v[400] = true, true, true
	f.Add(AppendBools(nil, v), uint16(500))
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		words, _, err := DecodeBitmap(nil, src, int(n))
		if err != nil {
			return
		}
		if n&63 != 0 && words[len(words)-1]>>(n&63) != 0 {
			t.Fatal("bits behind the end")
		}
		got, rest, err := DecodeBitmap(nil, AppendBitmap(nil, words, int(n)), int(n))
		if err != nil || len(rest) != 0 || !slices.Equal(got, words) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func listOf(values ...string) (data []byte, offsets []uint32) {
	offsets = []uint32{0}
	for _, v := range values {
		data = append(data, v...)
		offsets = append(offsets, uint32(len(data)))
	}
	return data, offsets
}

func TestBytesList(t *testing.T) {
	words := strings.Fields("checkout cart payment shipping catalogue user front-end orders queue-master session-db")
	var urls, sorted, same, hex []string
	r := rand.New(rand.NewPCG(8, 8))
	for i := range 2000 {
		urls = append(urls, fmt.Sprintf("/api/v1/%s/%d/%s?page=%d", words[r.IntN(10)], r.IntN(100000), words[r.IntN(10)], i%7))
		sorted = append(sorted, fmt.Sprintf("pod-%s-%06d", words[i/200], i*37))
		same = append(same, "x")
		hex = append(hex, fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()))
	}
	slices.Sort(sorted)
	var addresses, eight, bits []string
	for range 3000 {
		addresses = append(addresses, fmt.Sprintf("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a%c%c%c", r.IntN(64), r.IntN(128), r.IntN(128)))
		eight = append(eight, fmt.Sprintf("%08x", r.Uint32()))
		bits = append(bits, string(binary.BigEndian.AppendUint64(nil, r.Uint64())))
	}
	cases := []struct {
		name   string
		values []string
		codec  string
		ratio  float64 // of bytes in
	}{
		{"one", []string{"a"}, "bytes", 100},
		{"empty", []string{"", "", ""}, "bytes", 100},
		{"words", words, "bytes", 2},
		{"urls", urls, "bytes", 0.7},
		{"sorted", sorted, "bytes-front", 0.3},
		{"same", same, "bytes", 1.1},
		{"hex", hex, "", 1.01},
		{"addresses", addresses, "bytes-fixed", 0.2},
		{"eight", eight, "bytes", 1.01},
		{"bits", bits, "bytes", 1.01},
		{"binary", []string{"\x00\xff", "\x00", ""}, "bytes", 100},
	}
	for _, c := range cases {
		data, offsets := listOf(c.values...)
		src := AppendBytesList(nil, data, offsets)
		t.Logf("%-8s %7d -> %7d %s", c.name, len(data), len(src), Describe(src))
		if !strings.HasPrefix(Describe(src), c.codec) || float64(len(src)) > c.ratio*float64(len(data)+1) {
			t.Errorf("%s: %d of %d bytes as %s", c.name, len(src), len(data), Describe(src))
		}
		d, o, rest, err := DecodeBytesList([]byte("pre"), nil, append(slices.Clip(src), 1), len(c.values), 1<<30)
		if err != nil || len(rest) != 1 || string(d[:3]) != "pre" || len(o) != len(c.values)+1 {
			t.Fatalf("%s: %v, %d offsets", c.name, err, len(o))
		}
		for i, v := range c.values {
			if string(d[o[i]:o[i+1]]) != v {
				t.Fatalf("%s: string %d is %q, want %q", c.name, i, d[o[i]:o[i+1]], v)
			}
		}
		if len(data) > 0 {
			if _, _, _, err := DecodeBytesList(nil, nil, src, len(c.values), len(data)-1); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %d bytes past a smaller bound: %v", c.name, len(data), err)
			}
			if _, _, _, err := DecodeBytesList(nil, nil, src, len(c.values), 2*len(data)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		for cut := 0; cut < len(src); cut += 1 + len(src)/100 {
			if _, _, _, err := DecodeBytesList(nil, nil, src[:cut], len(c.values), 1<<30); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut at %d: %v", c.name, cut, err)
			}
		}
	}
	if _, o, _, err := DecodeBytesList(nil, nil, nil, 0, 0); err != nil || len(o) != 1 {
		t.Fatalf("no strings: %v %v", o, err)
	}
	if len(AppendBytesList(nil, nil, []uint32{0})) != 0 || len(AppendBytesList(nil, nil, nil)) != 0 {
		t.Fatal("no strings take bytes")
	}
}

func FuzzDecodeBytesList(f *testing.F) {
	add := func(values ...string) {
		data, offsets := listOf(values...)
		f.Add(AppendBytesList(nil, data, offsets), uint16(len(values)))
	}
	add("a", "b", "")
	add("pod-aaaaaaaaaaa1", "pod-aaaaaaaaaaa2", "pod-aaaaaaaaaaa3", "pod-aaaaaaaaaaa4")
	add(strings.Repeat("GET /index.html ", 400))
	add(strings.Split(strings.Repeat("node-0-b,node-0-a,", 60)+"node-0-c", ",")...)
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		data, offsets, _, err := DecodeBytesList(nil, nil, src, int(n), 1<<20)
		if err != nil {
			return
		}
		if len(offsets) != int(n)+1 || int(offsets[n]) != len(data) || !slices.IsSorted(offsets) || len(data) > 1<<20 {
			t.Fatalf("%d offsets over %d bytes", len(offsets), len(data))
		}
		d, o, rest, err := DecodeBytesList(nil, nil, AppendBytesList(nil, data, offsets), int(n), 1<<30)
		if err != nil || len(rest) != 0 || !bytes.Equal(d, data) || !slices.Equal(o, offsets) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func TestDescribeNeverPanics(t *testing.T) {
	for c := range 256 {
		for _, tail := range [][]byte{nil, {1}, {1, 2, 3}, {0xff, 0xff}, {1, 1, 0x12, 0, 0}} {
			if Describe(append([]byte{byte(c)}, tail...)) == "" {
				t.Fatalf("codec %#x has no description", c)
			}
		}
	}
	if Describe(nil) != "empty" {
		t.Fatal("empty column")
	}
}

func TestPeekRefusesWrapping(t *testing.T) {
	for _, v := range [][]int64{{math.MinInt64, math.MaxInt64, 0}, {math.MaxInt64 - 1, math.MaxInt64, math.MinInt64}} {
		if r, ok := PeekInt64(AppendInt64(nil, v), len(v)); ok && (r.Min > math.MinInt64 || r.Max < math.MaxInt64) {
			t.Errorf("%v: %+v", v, r)
		}
	}
}

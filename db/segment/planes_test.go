package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// numberSets are columns of numbers as they occur, each with the encoding that suits it.
var numberSets = []struct {
	name, encoding string
	value          func(rng *rand.Rand, i int) int64
}{
	{"constant", "DELTA_BINARY_PACKED", func(*rand.Rand, int) int64 { return -5 }},
	{"counting", "DELTA_BINARY_PACKED", func(_ *rand.Rand, i int) int64 { return int64(i) * 15e9 }},
	{"uniform", "DELTA_BINARY_PACKED", func(rng *rand.Rand, _ int) int64 { return int64(rng.Uint64()) }},
	{"latencies", "BYTE_STREAM_SPLIT", func(rng *rand.Rand, _ int) int64 { return int64(rng.ExpFloat64() * 5000) }},
	{"few", "BYTE_STREAM_SPLIT", func(rng *rand.Rand, _ int) int64 { return 1 + int64(rng.ExpFloat64()*4) }},
	{"rare", "RLE_DICTIONARY", func(rng *rand.Rand, _ int) int64 { return max(0, rng.Int64N(100)-97) }},
	{"negative", "BYTE_STREAM_SPLIT", func(rng *rand.Rand, _ int) int64 { return -int64(rng.ExpFloat64() * 5000) }},
	{"signs", "DELTA_BINARY_PACKED", func(rng *rand.Rand, _ int) int64 { return int64(rng.NormFloat64() * 300) }},
	{"runs", "RLE_DICTIONARY", func(_ *rand.Rand, i int) int64 { return int64(i/500*7919) % 4096 }},
	{"steps", "BYTE_STREAM_SPLIT", func(_ *rand.Rand, i int) int64 { return int64(i / 13 * 7919) }}, // more than a dictionary holds
	{"extremes", "BYTE_STREAM_SPLIT", func(rng *rand.Rand, _ int) int64 {
		return []int64{math.MinInt64, math.MaxInt64, 0, 0, 0, 0, 1, -1}[rng.IntN(8)]
	}},
}

// numbers is a table and a batch of it: each set as BIGINT, as INTEGER and as nullable BIGINT.
func numbers(tb testing.TB, n int) *batch.Batch {
	tb.Helper()
	cols := []schema.Column{{Name: "time", Type: schema.Timestamp, Role: schema.Time}}
	for _, s := range numberSets {
		cols = append(cols, schema.Column{Name: s.name, Type: schema.BigInt}, schema.Column{Name: s.name + "_32", Type: schema.Integer},
			schema.Column{Name: s.name + "_null", Type: schema.BigInt, Nullable: true})
	}
	t, err := schema.New(schema.Table{Name: "numbers", Columns: cols}, "time")
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	b := &batch.Batch{Table: t, N: n}
	for i := range cols {
		v := &batch.Vector{Type: cols[i].Type, I64: make([]int64, n)}
		b.Cols = append(b.Cols, v)
		if i == 0 {
			continue
		}
		if cols[i].Nullable {
			v.Valid = batch.NewBitmap(n)
		}
		for k := range n {
			x := numberSets[(i-1)/3].value(rng, k)
			switch {
			case cols[i].Type == schema.Integer:
				x = int64(int32(x))
			case cols[i].Nullable && rng.IntN(3) == 0:
				continue
			case cols[i].Nullable:
				v.Valid.Set(k)
			}
			v.I64[k] = x
		}
	}
	return b
}

func TestNumbers(t *testing.T) {
	noRace(t)
	b := numbers(t, 20000)
	for _, portable := range []bool{false, true} {
		for _, page := range []int{64, 1000, 16 << 10} {
			fs := vfs.NewMem()
			writeAll(t, fs, "seg", b, nil, Options{PageRows: page, Portable: portable})
			r := mustOpen(t, fs, "seg", b.Table)
			sameRows(t, readRows(t, r, everything(b.Table)), rowsOf(b, allColumns(b.Table), nil, false))
			in, err := Inspect(fs, "seg")
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range in.Columns[1:] {
				split := c.Encodings["BYTE_STREAM_SPLIT"]
				switch want := numberSets[i/3].encoding; {
				case portable && split > 0:
					t.Errorf("column %s of a portable file: %v", c.Name, c.Encodings)
				case !portable && page == 16<<10 && c.Type == schema.BigInt && (!c.Nullable || numberSets[i/3].name != "steps") && c.Encodings[want] == 0:
					t.Errorf("column %s: %v, want %s", c.Name, c.Encodings, want)
				}
			}
		}
	}
}

// What the planes save on numbers as the collector counts them is the reason that they are there.
func TestPlanesSave(t *testing.T) {
	b := numbers(t, 16<<10)
	size := func(o Options) map[string]int64 {
		fs := vfs.NewMem()
		writeAll(t, fs, "seg", b, nil, o)
		in, err := Inspect(fs, "seg")
		if err != nil {
			t.Fatal(err)
		}
		sizes := map[string]int64{}
		for _, c := range in.Columns {
			sizes[c.Name] = c.Stored
		}
		return sizes
	}
	delta, planes := size(Options{Portable: true}), size(Options{})
	for name, percent := range map[string]int64{"latencies": 93, "few": 75, "rare": 100, "constant": 100, "counting": 100, "uniform": 100} {
		if 100*planes[name] > percent*delta[name] {
			t.Errorf("column %s takes %d bytes instead of %d, want at most %d %%", name, planes[name], delta[name], percent)
		}
	}
}

// DuckDB decodes the frames that are built here with the zstd library itself.
func TestNumbersReadByDuckDB(t *testing.T) {
	b := numbers(t, 20000)
	path := filepath.Join(t.TempDir(), "seg.parquet")
	writeAll(t, vfs.OS, path, b, nil, Options{})
	rows := duckdb(t, path)
	if len(rows) != b.N {
		t.Fatalf("%d rows, want %d", len(rows), b.N)
	}
	sameForeign(t, b, func(col, row int) string { return rows[row][col] })
}

// FuzzPlanes takes numbers through split and frame and back through a decoder that knows nothing of either.
func FuzzPlanes(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, s := range numberSets {
		var raw []byte
		for i := range 1200 {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(s.value(rng, i)))
		}
		f.Add(raw, true)
		f.Add(raw[:80], false)
	}
	e, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, repeats bool) {
		for n := range 40 { // of any bytes: no panic, and never more than there was
			forged := append([]byte{0, 0, 0, 0, 2<<6 | 1<<5}, raw...)
			if out := cutPlanes(forged, n, n%9, 8*n); len(out) > len(forged) {
				t.Fatal("a frame became longer")
			}
		}
		var v []int64
		for ; len(raw) >= 8 && len(v) < maxPageRows; raw = raw[8:] {
			v = append(v, int64(binary.LittleEndian.Uint64(raw)))
		}
		if len(v) == 0 {
			return
		}
		p := &pageMeta{flags: pageRange, enc: encByteSplit}
		p.min, p.max = rangeOf(v)
		e.sample.choose(v, p.min, p.max, wants{gain: planesGain})
		low := 8
		if repeats {
			low = int(v[0]) & 7
		}
		frame := e.packPlanes(e.split64(v, planesOf(p.min, p.max)), len(v), 8, uint64(p.min), low)
		src, err := z.DecodeAll(frame, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := e.split.EncodeInt64(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(src, want) {
			t.Fatal("the frame is not BYTE_STREAM_SPLIT of the values")
		}
		for _, flags := range []uint8{pageRange, 0} { // without a range all planes are read
			p.flags = flags
			got := make([]int64, len(v))
			if err := decodePlanes(got, src, schema.BigInt, p); err != nil || !slices.Equal(got, v) {
				t.Fatalf("flags %d: read back as other values: %v", flags, err)
			}
		}
		p.flags = pageRange
		planes := planesUsed(p, schema.BigInt)
		cut := cutPlanes(bytes.Clone(frame), len(v), planes, 8*len(v))
		if (cut == nil) != (planes == 8) {
			t.Fatalf("%d planes of %d values: cut to %d bytes of %d", planes, len(v), len(cut), len(frame))
		}
		if cut == nil {
			return
		}
		if src = nil; planes > 0 {
			if src, err = z.DecodeAll(cut, nil); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]int64, len(v))
		if err := decodePlanes(got, src, schema.BigInt, p); err != nil || !slices.Equal(got, v) || !bytes.Equal(src, want[:planes*len(v)]) {
			t.Fatalf("cut to %d planes: read back as other values: %v", planes, err)
		}
	})
}

func BenchmarkNumbers(b *testing.B) {
	e, err := newEncoder()
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const n = 16 << 10
	for _, s := range numberSets {
		v := make([]int64, n)
		for i := range v {
			v[i] = s.value(rng, i)
		}
		lo, hi := rangeOf(v)
		ns := func(b *testing.B) { b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/value") }
		b.Run(fmt.Sprintf("choose/%s", s.name), func(b *testing.B) {
			for b.Loop() {
				e.sample.choose(v, lo, hi, wants{gain: planesGain})
			}
			ns(b)
		})
		b.Run(fmt.Sprintf("planes/%s", s.name), func(b *testing.B) {
			low := 0
			if e.sample.choose(v, lo, hi, wants{gain: planesGain}) != formSparse {
				low = e.sample.low
			}
			for b.Loop() {
				e.packPlanes(e.split64(v, planesOf(lo, hi)), n, 8, uint64(lo), low)
			}
			ns(b)
		})
		b.Run(fmt.Sprintf("delta/%s", s.name), func(b *testing.B) {
			for b.Loop() {
				if _, err := e.int64s(v); err != nil {
					b.Fatal(err)
				}
			}
			ns(b)
		})
	}
}

func TestInspectSaysWhy(t *testing.T) {
	b := numbers(t, 20000)
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", b, nil, Options{})
	in, err := Inspect(fs, "seg")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"constant": "constant", "latencies": "no order, few different bytes", "counting": "small differences, or no pattern at all"}
	for _, c := range in.Columns {
		if why, ok := want[c.Name]; ok && c.Why() != why {
			t.Errorf("column %s: %s, want %s", c.Name, c.Why(), why)
		}
		if plain := int64(8 * b.N); c.Type == schema.BigInt && c.Plain+8*c.Nulls != plain {
			t.Errorf("column %s takes %d bytes plain, want %d", c.Name, c.Plain, plain)
		}
	}
}

// The times of a scrape come again in every series: no order, but the same values after one another.
func TestRepeatsAreFound(t *testing.T) {
	times := make([]int64, 16384)
	for i := range times {
		times[i] = 1767225600e9 + int64(i%60)*15e9
	}
	lo, hi := rangeOf(times)
	e, err := takeEncoder()
	if err != nil {
		t.Fatal(err)
	}
	defer e.giveBack()
	if got := e.sample.choose(times, lo, hi, wants{gain: planesGain}); got != formSparse {
		t.Fatalf("form %d", got)
	}
	page := e.packPlanes(e.split64(times, planesOf(lo, hi)), len(times), 8, uint64(lo), 0)
	if len(page) > len(times)/16 {
		t.Errorf("%d bytes for %d times", len(page), len(times))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range times { // as few values, in no order
		times[i] = 1767225600e9 + int64(rng.IntN(60))*15e9
	}
	if got := e.sample.choose(times, lo, hi, wants{gain: planesGain}); got != formPlanes {
		t.Errorf("values in random order: form %d", got)
	}
}

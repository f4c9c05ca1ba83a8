package segment

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// runTable has columns of numbers that stay the same for many rows.
func runTable(tb testing.TB) *schema.Table {
	tb.Helper()
	t, err := schema.New(schema.Table{Name: "runs", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "port", Type: schema.Integer},
		{Name: "big", Type: schema.BigInt},
		{Name: "maybe", Type: schema.BigInt, Nullable: true},
		{Name: "many", Type: schema.Integer},
		{Name: "yes", Type: schema.Boolean},
	}}, "time")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// runBatch is n rows whose numbers come in runs of about length rows; the column many has ever new ones.
func runBatch(rng *rand.Rand, t *schema.Table, n, length int) *batch.Batch {
	b := &batch.Batch{Table: t, N: n, Cols: make([]*batch.Vector, len(t.Columns))}
	for i := range t.Columns {
		b.Cols[i] = &batch.Vector{Type: t.Columns[i].Type, I64: make([]int64, n)}
	}
	few := []int64{-1, 80, 443, math.MinInt32, math.MaxInt32, 6379}
	big := []int64{math.MinInt64, 1 << 40, 7, math.MaxInt64}
	b.Cols[3].Valid = batch.NewBitmap(n)
	for at, run := 0, 0; at < n; run++ {
		end := min(n, at+1+rng.IntN(2*length))
		port, large, null := few[rng.IntN(len(few))], big[rng.IntN(len(big))], rng.IntN(3) == 0
		for ; at < end; at++ {
			b.Cols[0].I64[at] = int64(at)
			b.Cols[1].I64[at], b.Cols[2].I64[at] = port, large
			if !null {
				b.Cols[3].I64[at] = large
				b.Cols[3].Valid.Set(at)
			}
			b.Cols[4].I64[at] = int64(run)
			b.Cols[5].I64[at] = int64(run & 1)
		}
	}
	return b
}

// TestNumbersInRuns writes and reads numbers in runs of all lengths: from where it pays they are codes of a dictionary, which
// gives way to other forms where it is full.
func TestNumbersInRuns(t *testing.T) {
	table := runTable(t)
	for _, c := range []struct {
		length   int
		portable bool
		codes    bool // port is stored as codes
	}{{1, false, false}, {12, false, true}, {60, false, true}, {60, true, true}, {5000, false, true}} {
		rng := rand.New(rand.NewPCG(uint64(c.length), 3))
		b := runBatch(rng, table, 90_000, c.length)
		fs := vfs.NewMem()
		writeAll(t, fs, "seg", b, nil, Options{PageRows: 4096, RowGroupRows: 80_000, Portable: c.portable})
		r := mustOpen(t, fs, "seg", table)
		sameRows(t, readRows(t, r, everything(table)), rowsOf(b, allColumns(table), nil, true))
		in, err := Inspect(fs, "seg")
		if err != nil {
			t.Fatal(err)
		}
		port, many := in.Columns[1], in.Columns[4]
		if got := port.Encodings["RLE_DICTIONARY"] > 0; got != c.codes {
			t.Errorf("runs of %d: port is stored as %v", c.length, port.Encodings)
		}
		if c.length == 60 && (many.Encodings["RLE_DICTIONARY"] == 0 || len(many.Encodings) < 2 || many.DictionaryItems > 3*numberEntries) {
			t.Errorf("runs of %d: many is stored as %v with %d entries", c.length, many.Encodings, many.DictionaryItems)
		}
	}
}

// TestNumberDict compares codes with a map, and what is left after a page that did not fit.
func TestNumberDict(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var d numberDict
	for range 20 {
		d.reset()
		for range 60 {
			v := make([]int64, 1+rng.IntN(200))
			for i := range v {
				v[i] = int64(rng.IntN(3000)) << uint(rng.IntN(50))
			}
			before := slices.Clone(d.values)
			codes, ok := d.codes(nil, v)
			if !ok {
				if !slices.Equal(before, d.values) {
					t.Fatal("a page that does not fit changes the dictionary")
				}
				continue
			}
			for i, c := range codes[:len(v)] {
				if d.values[c] != v[i] {
					t.Fatalf("code %d is %d, not %d", c, d.values[c], v[i])
				}
			}
			if len(d.values) > numberEntries {
				t.Fatalf("%d entries", len(d.values))
			}
		}
		all := slices.Clone(d.values)
		slices.Sort(all)
		if len(slices.Compact(all)) != len(d.values) {
			t.Fatal("a value has two codes")
		}
	}
}

func FuzzDecodeNumbers(f *testing.F) {
	f.Add([]byte{2, 8, 1, 3, 0xe4}, uint16(12))
	f.Add([]byte{0, 200}, uint16(70))
	f.Fuzz(func(t *testing.T, src []byte, count uint16) {
		src = append(make([]byte, 0, len(src)+padding), src...)
		entries := []int64{5, -7, 1 << 60, 9, 11}
		dst, codes := make([]int64, count), make([]uint32, count)
		err := decodeNumbers(dst, src, entries)
		other := decodeCodes(codes, src, uint32(len(entries)))
		if (err == nil) != (other == nil) {
			t.Fatalf("numbers: %v, codes: %v", err, other)
		}
		for i := range dst {
			if err == nil && dst[i] != entries[codes[i]] {
				t.Fatalf("row %d is %d, its code %d", i, dst[i], codes[i])
			}
		}
		_, _ = parseNumbers(src, int(count), schema.Integer)
		_, _ = parseNumbers(src, int(count), schema.BigInt)
	})
}

package segment

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// everyType is a table with a column of each kind.
func everyType(tb testing.TB) *schema.Table {
	tb.Helper()
	t, err := schema.New(schema.Table{Name: "every", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "yes", Type: schema.Boolean},
		{Name: "small", Type: schema.Integer, Bloom: true},
		{Name: "big", Type: schema.BigInt},
		{Name: "id", Type: schema.BigInt, Bloom: true},
		{Name: "num", Type: schema.Double, Bloom: true}, // without effect,
		{Name: "text", Type: schema.Varchar},
		{Name: "key", Type: schema.Varchar, Bloom: true},
		{Name: "ip", Type: schema.Inet},
		{Name: "tags", Type: schema.TagSet},
		{Name: "map", Type: schema.Map},
		{Name: "blob", Type: schema.Bytes},
		{Name: "maybe_yes", Type: schema.Boolean, Nullable: true},
		{Name: "maybe_small", Type: schema.Integer, Nullable: true},
		{Name: "maybe_big", Type: schema.BigInt, Nullable: true},
		{Name: "maybe_num", Type: schema.Double, Nullable: true},
		{Name: "maybe_time", Type: schema.Timestamp, Nullable: true},
	}}, "time/1m", "tags", "ip", "text", "time")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// randomBatch makes n rows whose columns each follow a distribution of their own; some columns are left out.
func randomBatch(rng *rand.Rand, t *schema.Table, n int) *batch.Batch {
	b := &batch.Batch{Table: t, N: n, Cols: make([]*batch.Vector, len(t.Columns))}
	for i := range t.Columns {
		c := &t.Columns[i]
		if rng.IntN(12) == 0 && i != t.TimeColumn {
			continue
		}
		v := &batch.Vector{Type: c.Type}
		switch c.Type.Physical() {
		case schema.Int64:
			v.I64 = randomInts(rng, c.Type, n)
		case schema.Float64:
			v.F64 = randomFloats(rng, n)
		case schema.ID:
			top := 1 + rng.Uint32N(1<<rng.UintN(24))
			for range n {
				v.Codes = append(v.Codes, rng.Uint32N(top))
			}
			if n > 0 && rng.IntN(4) == 0 {
				v.Codes[rng.IntN(n)] = math.MaxUint32
			}
		default:
			randomText(rng, c.Type, v, n)
		}
		if c.Nullable {
			randomNulls(rng, v, n)
		}
		b.Cols[i] = v
	}
	return b
}

func randomNulls(rng *rand.Rand, v *batch.Vector, n int) {
	mode := rng.IntN(5)
	if mode == 4 {
		return // nil: none is NULL
	}
	v.Valid = batch.NewBitmap(n)
	for i, run := 0, false; i < n; i++ {
		if rng.IntN(100) == 0 {
			run = !run
		}
		if mode == 1 || mode == 2 && rng.IntN(2) == 0 || mode == 3 && run {
			v.Valid.Set(i)
		} else if v.I64 != nil {
			v.I64[i] = 0
		} else {
			v.F64[i] = 0
		}
	}
}

func randomInts(rng *rand.Rand, t schema.Type, n int) []int64 {
	v := make([]int64, n)
	mode := rng.IntN(5)
	for i := range v {
		switch {
		case t == schema.Boolean:
			v[i] = int64(rng.IntN(2) & mode)
		case t == schema.Timestamp:
			v[i] = 1767225600e9 + rng.Int64N(300e9)
		case mode == 0:
			v[i] = 7
		case mode == 1:
			v[i] = int64(i)*3 - 100
		case mode == 2:
			v[i] = rng.Int64N(1000) / 990
		default:
			v[i] = int64(rng.Uint64()) >> (rng.UintN(4) * 16)
		}
		if t == schema.Integer {
			v[i] = int64(int32(v[i]))
		}
	}
	if n > 2 && mode == 4 && t == schema.BigInt {
		v[0], v[n-1] = math.MinInt64, math.MaxInt64
	}
	if n > 2 && mode == 4 && t == schema.Integer {
		v[0], v[n-1] = math.MinInt32, math.MaxInt32
	}
	return v
}

func randomFloats(rng *rand.Rand, n int) []float64 {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64}
	v := make([]float64, n)
	mode := rng.IntN(5)
	for i := range v {
		switch mode {
		case 0:
			v[i] = 1.5
		case 1:
			v[i] = math.Round(rng.Float64()*1000) / 10
		case 2:
			v[i] = math.NaN()
		case 3:
			v[i] = odd[rng.IntN(len(odd))]
		default:
			v[i] = rng.NormFloat64()
		}
	}
	return v
}

func randomText(rng *rand.Rand, t schema.Type, v *batch.Vector, n int) {
	var d batch.DictBuilder
	card := 1 + rng.IntN(1<<rng.UintN(17))
	long := rng.IntN(6) == 0
	for range n {
		k := rng.IntN(card)
		if k == 0 && t != schema.Map {
			v.Codes = append(v.Codes, d.Code(nil))
			continue
		}
		s := fmt.Sprintf("value-%d-ü", k)
		if long && k%97 == 1 {
			s = strings.Repeat(s, 300)
		}
		switch t {
		case schema.Inet:
			ip := [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: byte(k >> 16), 14: byte(k >> 8), 15: byte(k)}
			if k%5 == 0 {
				ip[0], ip[10] = 0x20, 0
			}
			s = string(ip[:])
		case schema.Map:
			s = string(tags.AppendSet(nil, tags.Tag{Key: "k\"1", Value: s}, tags.Tag{Key: "k\x01", Value: "a\\b\n"}))
			if k == 0 {
				s = ""
			}
		case schema.Bytes:
			s = "\xff\x00" + s
		}
		v.Codes = append(v.Codes, d.Code([]byte(s)))
	}
	v.Dict = d.Seal()
}

// cell is a value that can be compared: nil, int64, float bits, text or a tag-set id.
func cell(v *batch.Vector, c *schema.Column, row int) any {
	if v == nil {
		v = new(batch.Vector)
		v.Default(c, row+1)
	}
	if v.IsNull(row) {
		return nil
	}
	switch c.Type.Physical() {
	case schema.Int64:
		return v.I64[row]
	case schema.Float64:
		return math.Float64bits(v.F64[row])
	case schema.ID:
		return v.Codes[row]
	}
	return string(v.Bytes(row))
}

// rowsOf are the rows of b's requested columns as text, in order (a list of row numbers, nil for all).
func rowsOf(b *batch.Batch, columns []int, order []int32, byRequest bool) []string {
	n := b.N
	if order != nil {
		n = len(order)
	}
	out := make([]string, n)
	for i := range out {
		r := i
		if order != nil {
			r = int(order[i])
		}
		var s strings.Builder
		for k, c := range columns {
			v := b.Cols[c%len(b.Cols)]
			if byRequest {
				v = b.Cols[k]
			}
			fmt.Fprintf(&s, "%v|", cell(v, &b.Table.Columns[c], r))
		}
		out[i] = s.String()
	}
	return out
}

func allColumns(t *schema.Table) []int {
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

// readRows reads all rows of a request.
func readRows(tb testing.TB, r *Reader, req *pred.Request) []string {
	tb.Helper()
	var out []string
	var s Scratch
	var dst batch.Batch
	for _, u := range r.Units(req) {
		if err := r.Read(context.Background(), u, req, &s, &dst); err != nil {
			tb.Fatal(err)
		}
		dst.Table = req.Table
		out = append(out, rowsOf(&dst, req.Columns, nil, true)...)
	}
	return out
}

func everything(t *schema.Table) *pred.Request {
	return &pred.Request{Table: t, Columns: allColumns(t), From: pred.MinTime, To: pred.MaxTime}
}

func mustOpen(tb testing.TB, fs vfs.FS, path string, t *schema.Table) *Reader {
	tb.Helper()
	r, err := Open(fs, path, t)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func sameRows(tb testing.TB, got, want []string) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			tb.Fatalf("row %d is\n%.300q, want\n%.300q", i, got[i], want[i])
		}
	}
}

// noRace skips a long test of one goroutine under the race detector, which has nothing to see there; TestReadersShare is what
// it looks at.
func noRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("a single goroutine: nothing for the race detector")
	}
}

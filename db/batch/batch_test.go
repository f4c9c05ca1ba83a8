package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/db/schema"
)

// testTable has a column of every type.
func testTable(t testing.TB) (*schema.Table, *schema.Registry) {
	t.Helper()
	tab, err := schema.New(schema.Table{Name: "t", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "i", Type: schema.BigInt},
		{Name: "ni", Type: schema.Integer, Nullable: true},
		{Name: "f", Type: schema.Double},
		{Name: "nf", Type: schema.Double, Nullable: true},
		{Name: "s", Type: schema.Varchar},
		{Name: "ip", Type: schema.Inet},
		{Name: "b", Type: schema.Boolean},
		{Name: "tags", Type: schema.TagSet},
		{Name: "m", Type: schema.Map},
	}}, "time")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := schema.NewRegistry(tab)
	if err != nil {
		t.Fatal(err)
	}
	return tab, reg
}

// value is a row's value in a form that compares: nil for NULL.
func value(v *Vector, i int) any {
	if v.IsNull(i) {
		return nil
	}
	switch v.Type.Physical() {
	case schema.Int64:
		return v.I64[i]
	case schema.Float64:
		return math.Float64bits(v.F64[i])
	}
	return string(v.Bytes(i))
}

func randomBatch(tab *schema.Table, rng *rand.Rand, rows int) *Batch {
	b := NewBuilder(tab)
	for range rows {
		for col, c := range tab.Columns {
			if rng.IntN(3) == 0 && col != 0 {
				continue
			}
			switch c.Type.Physical() {
			case schema.Int64:
				b.Int(col, int64(int32(rng.Uint32()>>rng.IntN(32))))
			case schema.Float64:
				b.Float(col, math.Float64frombits(rng.Uint64()))
			case schema.ID:
				b.Tags(col, []byte(fmt.Sprint("set", rng.IntN(5))))
			default:
				b.String(col, fmt.Sprint("v", rng.IntN(1+rng.IntN(300))))
			}
		}
		b.EndRow()
	}
	return b.Seal()
}

// rowsOf lists all values of a batch; absent columns as their defaults.
func rowsOf(b *Batch) [][]any {
	out := make([][]any, b.N)
	for col := range b.Table.Columns {
		v := b.Cols[col]
		if v == nil {
			v = &Vector{}
			v.Default(&b.Table.Columns[col], b.N)
			if v.Type == schema.TagSet {
				v.Dict = emptyDict
			}
		}
		for i := range out {
			out[i] = append(out[i], value(v, i))
		}
	}
	return out
}

func TestFrameRoundTrip(t *testing.T) {
	tab, reg := testTable(t)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		b := randomBatch(tab, rng, 1+rng.IntN(400))
		frame, err := AppendFrame([]byte("prefix"), b)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Open(frame[len("prefix"):], reg)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi, _ := b.TimeRange()
		if v.N != b.N || v.MinTime != lo || v.MaxTime != hi {
			t.Fatalf("seed %d: rows %d times %d %d, want %d %d %d", seed, v.N, v.MinTime, v.MaxTime, b.N, lo, hi)
		}
		got := &Batch{Table: tab, N: v.N, Cols: make([]*Vector, len(tab.Columns))}
		for i := range got.Cols {
			got.Cols[i] = &Vector{}
			if err := v.Column(i, got.Cols[i]); err != nil {
				t.Fatal(err)
			}
		}
		if g, w := fmt.Sprint(rowsOf(got)), fmt.Sprint(rowsOf(b)); g != w {
			t.Fatalf("seed %d:\n got %s\nwant %s", seed, g, w)
		}
	}
}

func TestConcatKeepsRowsInOrder(t *testing.T) {
	tab, _ := testTable(t)
	rng := rand.New(rand.NewPCG(7, 7))
	columns := []int{0, 1, 2, 3, 4, 5, 6, 7, 9} // all but tags, which must be ids
	var c Concat
	var dst Batch
	for round := range 20 {
		c.Reset(tab, columns, &dst)
		var want [][]any
		for range rng.IntN(5) {
			b := randomBatch(tab, rng, 1+rng.IntN(90))
			var rows []int32
			if rng.IntN(2) == 0 {
				rows = []int32{}
				for i := range b.N {
					if rng.IntN(2) == 0 {
						rows = append(rows, int32(i))
					}
				}
			}
			cols := make([]Vector, len(columns))
			for i, col := range columns {
				if b.Cols[col] != nil {
					cols[i] = *b.Cols[col]
				} else {
					cols[i].Default(&tab.Columns[col], b.N)
				}
			}
			n := b.N
			if rows != nil {
				n = len(rows)
			}
			c.Append(cols, n, rows)
			for i := range n {
				r := i
				if rows != nil {
					r = int(rows[i])
				}
				var row []any
				for k := range cols {
					row = append(row, value(&cols[k], r))
				}
				want = append(want, row)
			}
		}
		c.Finish()
		var got [][]any
		for i := range dst.N {
			var row []any
			for _, v := range dst.Cols {
				row = append(row, value(v, i))
			}
			got = append(got, row)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("round %d:\n got %v\nwant %v", round, got, want)
		}
	}
}

func TestMergeIsTheRowsOfAll(t *testing.T) {
	tab, _ := testTable(t)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var parts []*Batch
		var want [][]any
		for range 1 + rng.IntN(4) {
			b := randomBatch(tab, rng, 1+rng.IntN(40))
			if rng.IntN(2) == 0 {
				b.Cols[5], b.Cols[8] = nil, nil
			}
			parts = append(parts, b)
			want = append(want, rowsOf(b)...)
		}
		merged, err := Merge(parts)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if got := rowsOf(merged); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("seed %d:\n got %v\nwant %v", seed, got, want)
		}
	}
}

func TestGatherWithNulls(t *testing.T) {
	src := &Vector{Type: schema.BigInt, I64: []int64{1, 0, 3, 0}, Valid: Bitmap{0b0101}}
	var dst Vector
	Gather(&dst, src, []int32{3, 2, 2, 0})
	if fmt.Sprint(dst.I64) != "[0 3 3 1]" || fmt.Sprint(dst.IsNull(0), dst.IsNull(1), dst.IsNull(3)) != "true false false" {
		t.Fatalf("%+v", dst)
	}
}

func TestBuilderDefaults(t *testing.T) {
	tab, _ := testTable(t)
	b := NewBuilder(tab)
	b.Int(0, 1)
	b.EndRow()
	b.Int(0, 2)
	b.Int(2, 5)
	b.String(5, "x")
	b.EndRow()
	b.Int(0, 3)
	b.EndRow()
	got := b.Seal()
	want := "[[1 0 <nil> 0 <nil>   0  ] [2 0 5 0 <nil> x  0  ] [3 0 <nil> 0 <nil>   0  ]]"
	if s := fmt.Sprint(rowsOf(got)); s != want {
		t.Fatalf("got  %s\nwant %s", s, want)
	}
	if b.Seal() != nil {
		t.Fatal("sealing twice gave rows twice")
	}
}

func TestBuilderPanicsOnTheWrongType(t *testing.T) {
	tab, _ := testTable(t)
	defer func() {
		if recover() == nil {
			t.Fatal("a string in a number column was taken")
		}
	}()
	NewBuilder(tab).String(1, "x")
}

func TestAppendFrameRefuses(t *testing.T) {
	tab, _ := testTable(t)
	if _, err := AppendFrame(nil, &Batch{Table: tab}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("no rows: %v", err)
	}
	ids := &Batch{Table: tab, N: 1, Cols: make([]*Vector, len(tab.Columns))}
	ids.Cols[8] = &Vector{Type: schema.TagSet, Codes: []uint32{7}}
	if _, err := AppendFrame(nil, ids); !errors.Is(err, ErrBadFrame) {
		t.Errorf("tag-set ids: %v", err)
	}
	short := &Batch{Table: tab, N: 2, Cols: make([]*Vector, len(tab.Columns))}
	short.Cols[0] = &Vector{Type: schema.Timestamp, I64: []int64{1}}
	if out, err := AppendFrame([]byte("x"), short); !errors.Is(err, ErrBadFrame) || string(out) != "x" {
		t.Errorf("a short column: %q %v", out, err)
	}
}

func TestOpenRefusesDamage(t *testing.T) {
	tab, reg := testTable(t)
	frame, err := AppendFrame(nil, randomBatch(tab, rand.New(rand.NewPCG(3, 3)), 20))
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		bad := bytes.Clone(frame)
		bad[i] ^= 0x41
		if _, err := Open(bad, reg); err == nil {
			t.Fatalf("byte %d changed: opened", i)
		}
	}
	newer := bytes.Clone(frame)
	newer[3] = '3'
	if _, err := Open(newer, reg); !errors.Is(err, ErrNewerFrame) {
		t.Fatalf("newer version: %v", err)
	}
	for i := range frame {
		if _, err := Open(frame[:i], reg); err == nil {
			t.Fatalf("the first %d bytes opened", i)
		}
	}
}

func TestDictBuilderInterns(t *testing.T) {
	var b DictBuilder
	for round := range 3 {
		seen := map[string]uint32{}
		for i := range 5000 {
			s := fmt.Sprint(i % 1777)
			c := b.Code([]byte(s))
			if old, ok := seen[s]; ok && old != c {
				t.Fatalf("%q has codes %d and %d", s, old, c)
			}
			seen[s] = c
		}
		d := b.Seal()
		if d.Len() != 1777 {
			t.Fatalf("round %d: %d entries", round, d.Len())
		}
		for s, c := range seen {
			if d.String(int(c)) != s {
				t.Fatalf("entry %d is %q, want %q", c, d.At(int(c)), s)
			}
		}
	}
}

func TestBuilderDoesNotAllocatePerRow(t *testing.T) {
	tab, _ := testTable(t)
	b := NewBuilder(tab)
	fill := func() {
		for i := range 10_000 {
			b.Int(0, int64(i))
			b.String(5, "abc")
			b.EndRow()
		}
	}
	fill()
	b.Seal()
	if n := testing.AllocsPerRun(5, func() { fill(); b.Seal() }); n > 60 {
		t.Fatalf("%v allocations for 10,000 rows", n)
	}
}

// fuzzed frames get a right checksum, or the fuzzer would never pass it.
func FuzzOpen(f *testing.F) {
	tab, reg := testTable(f)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		frame, err := AppendFrame(nil, randomBatch(tab, rng, 1+rng.IntN(50)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame[8:])
		b := inRange(tab, rng, 1+rng.IntN(50))
		v, err := Encode(b, withIDs(b))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(v.Bytes()[8:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := withChecksum(body)
		v, err := Open(frame, reg)
		if err != nil {
			return
		}
		if v.N > 1<<16 {
			return // legal, but the fuzzer's memory is not for it
		}
		var dst Vector
		for i := range tab.Columns {
			if v.Column(i, &dst) == nil && dst.Len() != v.N {
				t.Fatalf("column %d has %d values for %d rows", i, dst.Len(), v.N)
			}
			if v.Has(i) && tab.Columns[i].Type == schema.TagSet {
				_, _ = v.Dict(i) // must not panic
				sets, ids, err := v.Sets(i)
				if err == nil && v.Codes(i, &dst) == nil && v.HasIDs(i) {
					for _, c := range dst.Codes {
						if c >= uint32(sets.Len()) && c-uint32(sets.Len()) >= ids {
							t.Fatalf("code %d with %d sets and ids below %d", c, sets.Len(), ids)
						}
					}
				}
			}
		}
	})
}

func withChecksum(body []byte) []byte {
	frame := append([]byte(frameMagic), 0, 0, 0, 0)
	frame = append(frame, body...)
	binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(body, castagnoli))
	return frame
}

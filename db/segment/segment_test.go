package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

func randomOptions(rng *rand.Rand) Options {
	o := Options{PageRows: 64 << rng.IntN(8), PageBytes: 1024 << rng.IntN(12), DictionaryBytes: 64 << rng.IntN(14)}
	o.RowGroupRows = o.PageRows * (1 + rng.IntN(5))
	o.Level, o.MinIndex, o.MaxIndex = rng.IntN(4), rng.Uint64(), rng.Uint64()
	return o
}

// What is written is read back, in order, whatever the values and the options; Verify agrees.
func TestRoundTrip(t *testing.T) {
	noRace(t)
	table := everyType(t)
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewMem()
			o := randomOptions(rng)
			w, err := NewWriter(fs, "seg", table, o)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for range 1 + rng.IntN(4) {
				b := randomBatch(rng, table, rng.IntN(3000))
				order := Order(b)
				if rng.IntN(2) == 0 {
					order = nil
				}
				if err := w.Append(b, order); err != nil {
					t.Fatal(err)
				}
				want = append(want, rowsOf(b, allColumns(table), order, false)...)
			}
			info, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			r := mustOpen(t, fs, "seg", table)
			if got := r.Info(); got != info {
				t.Fatalf("reader says %+v, writer %+v", got, info)
			}
			if info.Rows != int64(len(want)) || info.Level != o.Level || info.MinIndex != o.MinIndex || info.MaxIndex != o.MaxIndex {
				t.Fatalf("info %+v of %d rows", info, len(want))
			}
			sameRows(t, readRows(t, r, everything(table)), want)
			if err := r.Verify(context.Background()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAppendColumns hands columns over one at a time: the file is the one that Append makes, and an error ends the writer.
func TestAppendColumns(t *testing.T) {
	noRace(t)
	table := everyType(t)
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 9))
		fs := vfs.NewMem()
		o := randomOptions(rng)
		b := randomBatch(rng, table, 1+rng.IntN(5000))
		order := Order(b)
		want := writeAll(t, fs, "want", b, order, o)
		early := &batch.Batch{Table: table, N: b.N, Cols: slices.Clone(b.Cols)}
		late := map[int]bool{}
		for i, c := range table.Columns {
			if c.Type.Physical() != schema.Code && rng.IntN(4) != 0 {
				early.Cols[i], late[i] = nil, true
			}
		}
		w, err := NewWriter(fs, "got", table, o)
		if err != nil {
			t.Fatal(err)
		}
		var used batch.Vector // as a caller would that keeps one column
		if err := w.AppendColumns(early, order, func(col int) (*batch.Vector, error) {
			if !late[col] && b.Cols[col] != nil {
				t.Errorf("asked for column %d, which was there", col)
			}
			if b.Cols[col] == nil {
				return nil, nil
			}
			all := make([]int32, b.N)
			for i := range all {
				all[i] = int32(i)
			}
			batch.Gather(&used, b.Cols[col], all)
			return &used, nil
		}); err != nil {
			t.Fatal(err)
		}
		got, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if got.Path = want.Path; got != want {
			t.Errorf("seed %d: wrote %+v, want %+v", seed, got, want)
		}
		wrong := errors.New("wrong")
		if w, err = NewWriter(fs, "none", table, o); err != nil {
			t.Fatal(err)
		}
		early.Cols[table.TimeColumn] = nil
		err = w.AppendColumns(early, order, func(int) (*batch.Vector, error) { return nil, wrong })
		if _, end := w.Finish(); !errors.Is(err, wrong) || !errors.Is(end, wrong) {
			t.Errorf("append %v, finish %v: want the error of the column", err, end)
		}
	}
}

// randomTerm makes a condition that some rows of b satisfy, mostly.
func randomTerm(rng *rand.Rand, b *batch.Batch) pred.Term {
	col := rng.IntN(len(b.Table.Columns))
	c := &b.Table.Columns[col]
	term := pred.Term{Column: col, Not: rng.IntN(4) == 0}
	if rng.IntN(8) == 0 {
		term.Kind = pred.IsNull
		return term
	}
	pick := func() any { return cell(b.Cols[col], c, rng.IntN(b.N)) }
	switch c.Type.Physical() {
	case schema.Int64:
		term.Kind = pred.IntRange
		term.Lo, _ = pick().(int64)
		term.Hi, _ = pick().(int64)
		if rng.IntN(3) == 0 {
			term.Hi = term.Lo
		}
		if rng.IntN(3) == 0 {
			term.Kind, term.Ints = pred.IntSet, []int64{term.Lo, term.Hi, rng.Int64()}
			slices.Sort(term.Ints)
		}
	case schema.Float64:
		term.Kind = pred.FloatRange
		lo, _ := pick().(uint64)
		hi, _ := pick().(uint64)
		term.FLo, term.FHi = math.Float64frombits(lo), math.Float64frombits(hi)
		if term.FLo != term.FLo {
			term.FLo = math.Inf(-1)
		}
	case schema.ID:
		term.Kind, term.IDs = pred.Tags, roaring.New()
		for range rng.IntN(4) {
			term.IDs.Add(pick().(uint32))
		}
	default:
		term.Kind = pred.Text
		values := []string{pick().(string), pick().(string), "nowhere"}[rng.IntN(3):]
		term.Match = func(v []byte) bool { return slices.Contains(values, string(v)) }
		if rng.IntN(2) == 0 {
			term.Equal = [][]byte{}
			for _, v := range values {
				term.Equal = append(term.Equal, []byte(v))
			}
		}
	}
	return term
}

// naive evaluates a request row by row.
func naive(b *batch.Batch, order []int32, req *pred.Request) (rows []int32) {
	for _, r := range order {
		keep := true
		if ts := b.Cols[b.Table.TimeColumn].I64[r]; ts < req.From || ts >= req.To {
			continue
		}
		for i := range req.Terms {
			t := &req.Terms[i]
			v := cell(b.Cols[t.Column], &b.Table.Columns[t.Column], int(r))
			switch x := v.(type) {
			case nil:
				keep = keep && t.Kind == pred.IsNull && !t.Not
			case int64:
				keep = keep && (t.Kind == pred.IsNull && t.Not || t.Kind != pred.IsNull && t.Int(x))
			case uint64:
				keep = keep && (t.Kind == pred.IsNull && t.Not || t.Kind != pred.IsNull && t.Float(math.Float64frombits(x)))
			case uint32:
				keep = keep && (t.Kind == pred.IsNull && t.Not || t.Kind != pred.IsNull && t.IDs.Contains(x) != t.Not)
			case string:
				keep = keep && (t.Kind == pred.IsNull && t.Not || t.Kind != pred.IsNull && t.Match([]byte(x)) != t.Not)
			}
		}
		if keep {
			rows = append(rows, r)
		}
	}
	return rows
}

// A pruned scan gives the rows of a full scan, whatever the terms.
func TestScanEqualsFilter(t *testing.T) {
	noRace(t)
	table := everyType(t)
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			fs := vfs.NewMem()
			b := randomBatch(rng, table, 1+rng.IntN(4000))
			order := Order(b)
			o := randomOptions(rng)
			writeAll(t, fs, "seg", b, order, o)
			r := mustOpen(t, fs, "seg", table)
			for range 25 {
				req := everything(table)
				rng.Shuffle(len(req.Columns), func(i, j int) { req.Columns[i], req.Columns[j] = req.Columns[j], req.Columns[i] })
				req.Columns = req.Columns[:rng.IntN(len(req.Columns))]
				req.Stats = new(pred.Stats)
				for range rng.IntN(3) {
					req.Terms = append(req.Terms, randomTerm(rng, b))
				}
				if rng.IntN(3) == 0 {
					times := b.Cols[0].I64
					req.From, req.To = times[rng.IntN(b.N)], times[rng.IntN(b.N)]
				}
				want := naive(b, order, req)
				sameRows(t, readRows(t, r, req), rowsOf(b, req.Columns, want, false)[:len(want)])
				if got := req.Stats.RowsMatched.Load(); got != int64(len(want)) {
					t.Fatalf("stats count %d rows, want %d", got, len(want))
				}
			}
		})
	}
}

func TestPruning(t *testing.T) {
	table := everyType(t)
	n := 4096
	b := &batch.Batch{Table: table, N: n, Cols: make([]*batch.Vector, len(table.Columns))}
	var text, key batch.DictBuilder
	times, ids := &batch.Vector{Type: schema.Timestamp}, &batch.Vector{Type: schema.TagSet}
	words, keys := &batch.Vector{Type: schema.Varchar}, &batch.Vector{Type: schema.Varchar}
	for i := range n {
		times.I64 = append(times.I64, int64(i))
		ids.Codes = append(ids.Codes, uint32(i%7)*3)
		words.Codes = append(words.Codes, text.Code(fmt.Appendf(nil, "w%d", i%5*2)))
		keys.Codes = append(keys.Codes, key.Code(fmt.Appendf(nil, "key %d of many", i*2)))
	}
	words.Dict, keys.Dict = text.Seal(), key.Seal()
	b.Cols[0], b.Cols[9], b.Cols[6], b.Cols[7] = times, ids, words, keys
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", b, nil, Options{PageRows: 256, RowGroupRows: 1024, DictionaryBytes: 2048})
	r := mustOpen(t, fs, "seg", table)
	equal := func(col int, v string) pred.Term {
		return pred.Term{Column: col, Kind: pred.Text, Equal: [][]byte{[]byte(v)}, Match: func(x []byte) bool { return string(x) == v }}
	}
	f := func(name string, wantUnits int, from, to int64, terms ...pred.Term) {
		t.Helper()
		req := everything(table)
		req.From, req.To, req.Terms, req.Stats = from, to, terms, new(pred.Stats)
		units := r.Units(req)
		if len(units) != wantUnits {
			t.Errorf("%s: %d units, want %d", name, len(units), wantUnits)
		}
		if p := req.Stats.PagesPruned.Load(); p != int64(16-wantUnits) || req.Stats.Pages.Load() != 16 {
			t.Errorf("%s: %d pages pruned, want %d", name, p, 16-wantUnits)
		}
	}
	all, end := int64(pred.MinTime), int64(pred.MaxTime)
	f("all", 16, all, end)
	f("time", 2, 255, 257)
	f("time before", 0, all, 0)
	f("time after", 0, 4096, end)
	f("tag in range, not there", 0, all, end, pred.Term{Column: 9, Kind: pred.Tags, IDs: roaring.BitmapOf(4, 5)})
	f("tag there", 16, all, end, pred.Term{Column: 9, Kind: pred.Tags, IDs: roaring.BitmapOf(6)})
	f("word not in the dictionary", 0, all, end, equal(6, "w3"))
	f("word out of bounds", 0, all, end, equal(6, "x"))
	f("word there", 16, all, end, equal(6, "w4"))
	f("key not there", 0, all, end, equal(7, "key 4001 of many"))
	f("null", 0, all, end, pred.Term{Column: 6, Kind: pred.IsNull})
	f("default column", 0, all, end, pred.Term{Column: 3, Kind: pred.IntRange, Lo: 1, Hi: 5})
	req := everything(table)
	req.Terms = []pred.Term{equal(7, "key 4000 of many")}
	if units := r.Units(req); len(units) == 0 || len(units) > 4 || units[0].RowGroup != 1 {
		t.Errorf("a key of row group 1 is looked for in %v", units)
	}
}

// An older file lacks columns, a newer one has columns that the table does not know.
func TestOtherColumns(t *testing.T) {
	table := everyType(t)
	old, err := schema.New(schema.Table{Name: "every", Columns: slices.Clone(table.Columns[:4])}, "time")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	fs := vfs.NewMem()
	b := randomBatch(rng, old, 500)
	writeAll(t, fs, "old", b, nil, Options{})
	wide := &batch.Batch{Table: table, N: b.N, Cols: append(slices.Clone(b.Cols), make([]*batch.Vector, len(table.Columns)-4)...)}
	sameRows(t, readRows(t, mustOpen(t, fs, "old", table), everything(table)), rowsOf(wide, allColumns(table), nil, false))

	full := randomBatch(rng, table, 500)
	writeAll(t, fs, "new", full, nil, Options{})
	sameRows(t, readRows(t, mustOpen(t, fs, "new", old), everything(old)), rowsOf(full, []int{0, 1, 2, 3}, nil, false))

	other := slices.Clone(table.Columns)
	other[6].Type = schema.BigInt
	bad, err := schema.New(schema.Table{Name: "every", Columns: other}, "time")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fs, "new", bad); !errors.Is(err, ErrColumnType) {
		t.Errorf("a column of another type opens with %v", err)
	}
}

func TestRejectedValues(t *testing.T) {
	table := everyType(t)
	f := func(name string, col int, v *batch.Vector) {
		t.Helper()
		fs := vfs.NewMem()
		w, err := NewWriter(fs, "seg", table, Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := &batch.Batch{Table: table, N: 1, Cols: make([]*batch.Vector, len(table.Columns))}
		b.Cols[col] = v
		err = w.Append(b, nil)
		if _, ferr := w.Finish(); err == nil {
			err = ferr
		}
		if !errors.Is(err, ErrValue) {
			t.Errorf("%s: %v, want ErrValue", name, err)
		}
		if names, _ := fs.List("."); len(names) != 0 {
			t.Errorf("%s: leaves %v behind", name, names)
		}
		if err := w.Append(b, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: append after finish gives %v", name, err)
		}
	}
	f("integer too large", 2, &batch.Vector{Type: schema.Integer, I64: []int64{1 << 31}})
	f("boolean 2", 1, &batch.Vector{Type: schema.Boolean, I64: []int64{2}})
	f("short address", 8, &batch.Vector{Type: schema.Inet, Codes: []uint32{0}, Dict: batch.DictOf("1234")})
	f("map that is none", 10, &batch.Vector{Type: schema.Map, Codes: []uint32{0}, Dict: batch.DictOf("\x05a")})
	f("huge value", 6, &batch.Vector{Type: schema.Varchar, Codes: []uint32{0}, Dict: batch.DictOf(string(make([]byte, MaxValueBytes+1)))})
}

func TestInvalidTextIsReplaced(t *testing.T) {
	table := everyType(t)
	b := &batch.Batch{Table: table, N: 2, Cols: make([]*batch.Vector, len(table.Columns))}
	b.Cols[6] = &batch.Vector{Type: schema.Varchar, Codes: []uint32{0, 1}, Dict: batch.DictOf("a\xffb", "fine")}
	fs := vfs.NewMem()
	if info := writeAll(t, fs, "seg", b, nil, Options{}); info.BadText != 1 {
		t.Errorf("%d bad values counted, want 1", info.BadText)
	}
	req := everything(table)
	req.Columns = []int{6}
	sameRows(t, readRows(t, mustOpen(t, fs, "seg", table), req), []string{"a\uFFFDb|", "fine|"})
}

func TestEmptySegment(t *testing.T) {
	table := everyType(t)
	fs := vfs.NewMem()
	w, err := NewWriter(fs, "seg", table, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, fs, "seg", table)
	if rows := readRows(t, r, everything(table)); len(rows) != 0 || r.Info().Rows != 0 {
		t.Errorf("empty segment has %d rows", len(rows))
	}
}

// A page ends when a column's text in it is too much, whatever the number of rows.
func TestLongText(t *testing.T) {
	table := everyType(t)
	var d batch.DictBuilder
	v := &batch.Vector{Type: schema.Varchar}
	for i := range 200 {
		s := make([]byte, 10000)
		for k := range s {
			s[k] = 'a' + byte((i*k)%26)
		}
		s = fmt.Appendf(s, "%d", i)
		v.Codes = append(v.Codes, d.Code(s), d.Code([]byte("short")))
	}
	v.Dict = d.Seal()
	b := &batch.Batch{Table: table, N: len(v.Codes), Cols: make([]*batch.Vector, len(table.Columns))}
	b.Cols[6] = v
	fs := vfs.NewMem()
	info := writeAll(t, fs, "seg", b, nil, Options{PageBytes: 100000})
	if info.Units < 20 || info.Units > 25 {
		t.Errorf("2 MB of text in pages of 100 kB are %d pages", info.Units)
	}
	r := mustOpen(t, fs, "seg", table)
	sameRows(t, readRows(t, r, everything(table)), rowsOf(b, allColumns(table), nil, false))
}

// Order sorts as a comparison of the values would, and is stable.
func TestOrder(t *testing.T) {
	noRace(t)
	table := everyType(t)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		b := randomBatch(rng, table, rng.IntN(10000))
		want := make([]int32, b.N)
		for i := range want {
			want[i] = int32(i)
		}
		slices.SortStableFunc(want, func(x, y int32) int { return CompareRows(b, x, b, y) })
		if got := Order(b); !slices.Equal(got, want) {
			t.Fatalf("seed %d: order of %d rows differs", seed, b.N)
		}
		// the same rows as sorted runs
		runs := &batch.Batch{Table: table, N: b.N, Cols: make([]*batch.Vector, len(b.Cols))}
		var ends []int
		order := make([]int32, 0, b.N)
		for k := 0; len(order) < b.N; k++ {
			n := min(b.N-len(order), 1+rng.IntN(b.N))
			part := make([]int32, n)
			for i := range part {
				part[i] = int32(len(order) + i)
			}
			slices.SortStableFunc(part, func(x, y int32) int { return CompareRows(b, x, b, y) })
			order = append(order, part...)
			ends = append(ends, len(order))
		}
		for i, v := range b.Cols {
			if v != nil {
				runs.Cols[i] = new(batch.Vector)
				batch.Gather(runs.Cols[i], v, order)
			}
		}
		if got := MergeOrder(runs, ends); !slices.Equal(got, Order(runs)) {
			t.Fatalf("seed %d: merging %d runs of %d rows gives another order", seed, len(ends), b.N)
		}
	}
}

// A page of equal values is encoded without looking at them: it reads back as them, whatever was encoded before.
func TestConstantEncoding(t *testing.T) {
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 2, 1000, 1000, 128, 129, 130, 1, 16384, 20000, 7} {
		for _, x := range []int64{0, 1, -1, 63, 64, -65, 1 << 40, math.MinInt64, math.MaxInt64, 0} {
			got, err := e.constant(x, n)
			if err != nil {
				t.Fatal(err)
			}
			values, err := e.delta.DecodeInt64(nil, got)
			if err != nil || len(values) != n {
				t.Fatalf("%d times %d: read %d, %v", n, x, len(values), err)
			}
			for i, v := range values {
				if v != x {
					t.Fatalf("%d times %d: value %d is %d", n, x, i, v)
				}
			}
		}
	}
}

// TestPageStore keeps pages of all sizes: each stays as it was until the reset, and blocks are used again.
// Runs of any length at any place come back, and short ones take less than bit-packing them.
func TestCodes(t *testing.T) {
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(8, 8))
	for width := range 21 {
		for _, most := range []int{1, 2, 5, 9, 40, 1000} {
			var v []int32
			for n := 1 + rng.IntN(3000); len(v) < n; {
				c := int32(rng.Uint32N(1 << width))
				for range 1 + rng.IntN(most) {
					v = append(v, c)
				}
			}
			out, err := e.codes(v)
			if err != nil {
				t.Fatal(err)
			}
			if limit := len(v)*width/8 + len(v)/16 + 40; len(out) > limit {
				t.Errorf("width %d, runs of up to %d: %d bytes for %d codes", width, most, len(out), len(v))
			}
			if limit := len(v) * width / 8 * 2 / 3; width > 12 && most == 9 && len(out) > limit {
				t.Errorf("width %d, runs of five on average: %d bytes, want at most %d", width, len(out), limit)
			}
			got := make([]uint32, len(v))
			if err := decodeCodes(got, append(make([]byte, 0, len(out)+padding), out...), 1<<width); err != nil {
				t.Fatalf("width %d, runs of up to %d: %v", width, most, err)
			}
			for i := range v {
				if got[i] != uint32(v[i]) {
					t.Fatalf("width %d, runs of up to %d: code %d is %d, want %d", width, most, i, got[i], v[i])
				}
			}
		}
	}
}

func TestPageStore(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var s pageStore
	for round := range 4 {
		var pages [][]byte
		for i := range 300 {
			n := rng.IntN(1 << (8 + rng.IntN(12)))
			page := bytes.Repeat([]byte{byte(i)}, n)
			pages = append(pages, s.keep(page[:n/3], page[n/3:]))
			if len(pages[i]) != n {
				t.Fatalf("a page of %d, want %d", len(pages[i]), n)
			}
		}
		for i, p := range pages {
			if bytes.Count(p, []byte{byte(i)}) != len(p) {
				t.Fatalf("round %d: page %d was overwritten", round, i)
			}
		}
		blocks := len(s.full)
		s.reset()
		if len(s.full) != 0 || len(s.free) < blocks {
			t.Fatalf("%d blocks in use after the reset, %d free of %d", len(s.full), len(s.free), blocks)
		}
	}
}

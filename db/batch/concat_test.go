package batch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/db/schema"
)

// oneRow is a batch of testTable with a text, a tag set and a NULL.
func oneRow(tab *schema.Table) *Batch {
	b := NewBuilder(tab)
	b.Int(0, 1)
	b.Int(2, 7)
	b.String(5, "x")
	b.Tags(8, []byte{1, 'k', 1, 'v'})
	b.EndRow()
	return b.Seal()
}

// badBatches are batches of one row that are not what they claim, by what is wrong with them.
func badBatches(tab *schema.Table) map[string]*Batch {
	bad := map[string]*Batch{}
	set := func(what string, col int, v *Vector) {
		b := oneRow(tab)
		b.Cols[col] = v
		bad[what] = b
	}
	set("code beyond its dictionary", 5, &Vector{Type: schema.Varchar, Codes: []uint32{7}, Dict: DictOf("a")})
	set("code of an empty dictionary", 5, &Vector{Type: schema.Varchar, Codes: []uint32{0}, Dict: DictOf()})
	set("dictionary without offsets", 5, &Vector{Type: schema.Varchar, Codes: []uint32{0}, Dict: &Dict{}})
	set("text without dictionary", 5, &Vector{Type: schema.Varchar, Codes: []uint32{0}})
	set("address without dictionary", 6, &Vector{Type: schema.Inet, Codes: []uint32{0}})
	set("tag-set ids", 8, &Vector{Type: schema.TagSet, Codes: []uint32{0}})
	set("tag set beyond its dictionary", 8, &Vector{Type: schema.TagSet, Codes: []uint32{1}, Dict: DictOf("")})
	set("too few values", 1, &Vector{Type: schema.BigInt})
	set("too many values", 3, &Vector{Type: schema.Double, F64: []float64{1, 2}})
	set("another type", 3, &Vector{Type: schema.BigInt, I64: []int64{1}})
	set("tag set in a text column", 5, &Vector{Type: schema.TagSet, Codes: []uint32{0}, Dict: DictOf("a")})
	set("NULLs where none may be", 1, &Vector{Type: schema.BigInt, I64: []int64{1}, Valid: NewBitmap(1)})
	set("short bitmap", 2, &Vector{Type: schema.Integer, I64: []int64{1}, Valid: Bitmap{}})
	wide := oneRow(tab)
	wide.Cols = append(wide.Cols, &Vector{Type: schema.BigInt, I64: []int64{1}})
	bad["too many columns"] = wide
	bad["fewer than no rows"] = &Batch{Table: tab, N: -1}
	return bad
}

func TestCheck(t *testing.T) {
	tab, _ := testTable(t)
	good := oneRow(tab)
	short := &Batch{Table: tab, N: 1, Cols: good.Cols[:3]}
	for _, b := range []*Batch{good, short, {Table: tab}} {
		if err := Check(b); err != nil {
			t.Errorf("good batch: %v", err)
		}
	}
	for what, b := range badBatches(tab) {
		if Check(b) == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if Check(&Batch{N: 1}) == nil {
		t.Error("no table: taken")
	}
}

// TestMergeRefusesBadBatches puts each between good ones: an error, no panic, no row with what belongs to another.
func TestMergeRefusesBadBatches(t *testing.T) {
	tab, _ := testTable(t)
	other, _ := testTable(t)
	bad := badBatches(tab)
	bad["another table"] = oneRow(other)
	for what, b := range bad {
		if _, err := Merge([]*Batch{oneRow(tab), b, oneRow(tab)}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Merge(nil); err == nil {
		t.Error("no batches: no error")
	}
}

// TestConcatDoesNotMixForms: ids beside codes, and codes of nothing, are refused before a row is added.
func TestConcatDoesNotMixForms(t *testing.T) {
	tab, _ := testTable(t)
	ids := func() []Vector { return []Vector{{Type: schema.TagSet, Codes: []uint32{3}}} }
	codes := func() []Vector { return []Vector{{Type: schema.TagSet, Codes: []uint32{0}, Dict: DictOf("set")}} }
	for _, c := range []struct {
		what          string
		column        int
		first, second []Vector
		panics        bool
	}{
		{"ids, then codes", 8, ids(), codes(), true},
		{"codes, then ids", 8, codes(), ids(), true},
		{"text without dictionary", 5, []Vector{{Type: schema.Varchar, Codes: []uint32{0}, Dict: DictOf("a")}}, []Vector{{Type: schema.Varchar, Codes: []uint32{0}}}, true},
		{"another type", 5, []Vector{{Type: schema.Varchar, Codes: []uint32{0}, Dict: DictOf("a")}}, ids(), true},
		{"ids alone", 8, ids(), ids(), false},
		{"codes alone", 8, codes(), codes(), false},
	} {
		var cat Concat
		var dst Batch
		cat.Reset(tab, []int{c.column}, &dst)
		cat.Append(c.first, 1, nil)
		func() {
			defer func() {
				if r := recover(); (r != nil) != c.panics {
					t.Errorf("%s: panic %v", c.what, r)
				}
			}()
			cat.Append(c.second, 1, nil)
		}()
		if c.panics && cat.Rows() != 1 {
			t.Errorf("%s: %d rows", c.what, cat.Rows())
		}
		// the next one may take the other form
		cat.Reset(tab, []int{8}, &dst)
		cat.Append(ids(), 1, nil)
		cat.Finish()
		if v := dst.Cols[0]; v.Dict != nil || fmt.Sprint(v.Codes) != "[3]" {
			t.Errorf("%s: after it %+v", c.what, v)
		}
	}
}

// TestConcatForgetsAnAbortedOne: nothing of a concatenation that was not finished gets into the next.
func TestConcatForgetsAnAbortedOne(t *testing.T) {
	tab, _ := testTable(t)
	var cat Concat
	var dst Batch
	text := func(s string) Vector { return Vector{Type: schema.Varchar, Codes: []uint32{0}, Dict: DictOf(s)} }
	set := Vector{Type: schema.TagSet, Codes: []uint32{0}, Dict: DictOf("set")}
	cat.Reset(tab, []int{5, 8}, &dst)
	cat.Append([]Vector{text("secret"), set}, 1, nil)
	// no Finish: as when decoding the next entry failed
	cat.Reset(tab, []int{5, 8, 9}, &dst) // more columns than before
	cat.Append([]Vector{text("a"), {Type: schema.TagSet, Codes: []uint32{9}}, {Type: schema.Map, Codes: []uint32{0}, Dict: DictOf("m")}}, 1, nil)
	cat.Finish()
	if d := dst.Cols[0].Dict; d.Len() != 1 || d.String(0) != "a" {
		t.Errorf("dictionary of %d entries, the first %q", d.Len(), d.String(0))
	}
	if v := dst.Cols[1]; v.Dict != nil || v.Codes[0] != 9 {
		t.Errorf("ids became codes: %+v", v)
	}
	if got := string(dst.Cols[2].Bytes(0)); got != "m" {
		t.Errorf("column that is new: %q", got)
	}
}

func BenchmarkCheck(b *testing.B) {
	tab, _ := testTable(b)
	const rows = 8192
	bl := NewBuilder(tab)
	for i := range rows {
		bl.Int(0, int64(i))
		bl.Int(2, 7)
		for _, col := range []int{5, 6, 9} {
			bl.String(col, fmt.Sprint(i%100))
		}
		bl.Tags(8, []byte{1, 'k', 1, 'v'})
		bl.EndRow()
	}
	batch := bl.Seal()
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}

// TestNumbers decodes the number columns of several frames at once: the same as one after the other.
func TestNumbers(t *testing.T) {
	tab, reg := testTable(t)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var views []*View
		var rows int
		absent := rng.IntN(len(tab.Columns)) // from all
		zero := tab.MustColumn("i")
		for range 1 + rng.IntN(5) {
			b := randomBatch(tab, rng, 1+rng.IntN(200))
			for i := range b.Cols {
				if i != 0 && (i == absent || rng.IntN(3) == 0) {
					b.Cols[i] = nil
				}
			}
			if v := b.Cols[zero]; v != nil && seed%2 == 0 {
				clear(v.I64)
			}
			frame, err := AppendFrame(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			v, err := Open(frame, reg)
			if err != nil {
				t.Fatal(err)
			}
			views, rows = append(views, v), rows+b.N
		}
		var got Vector
		for col, c := range tab.Columns {
			if p := c.Type.Physical(); p != schema.Int64 && p != schema.Float64 {
				continue
			}
			ok, err := Numbers(views, col, &got)
			if err != nil {
				t.Fatal(err)
			}
			if ok && (got.Len() != rows || col == zero && seed%2 == 0 || col == absent && col != 0) {
				t.Fatalf("seed %d: %d values of %s, want %d or only defaults", seed, got.Len(), c.Name, rows)
			}
			if !ok {
				got.Default(&c, rows)
			}
			at := 0
			for _, view := range views {
				var one Vector
				if err := view.Column(col, &one); err != nil {
					t.Fatal(err)
				}
				for i := range view.N {
					if g, w := value(&got, at+i), value(&one, i); g != w {
						t.Fatalf("seed %d: row %d of %s is %v, want %v", seed, at+i, c.Name, g, w)
					}
				}
				at += view.N
			}
		}
	}
}

// A reserved concatenation does not move its columns, and says which rows are NULL wherever batches meet.
func TestConcatReserve(t *testing.T) {
	tab, _ := testTable(t)
	columns := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 8))
		var c Concat
		var dst Batch
		c.Reset(tab, columns, &dst)
		c.Reserve(1000)
		first := &dst.Cols[0].I64[:1][0]
		var want [][]any
		for c.Rows() < 700 {
			b := randomBatch(tab, rng, 1+rng.IntN(150))
			cols := make([]Vector, len(columns))
			for k, i := range columns {
				if b.Cols[i] != nil {
					cols[k] = *b.Cols[i]
					continue
				}
				cols[k].Default(&tab.Columns[i], b.N)
				if tab.Columns[i].Type == schema.TagSet {
					cols[k].Dict = emptyDict
				}
			}
			var rows []int32
			for i := range b.N {
				if seed%2 == 0 && rng.IntN(2) == 0 {
					continue
				}
				rows = append(rows, int32(i))
				row := make([]any, len(columns))
				for k := range cols {
					row[k] = value(&cols[k], i)
				}
				want = append(want, row)
			}
			n := len(rows)
			if seed%2 != 0 {
				rows = nil
			}
			c.Append(cols, n, rows)
		}
		c.Finish()
		if &dst.Cols[0].I64[0] != first {
			t.Errorf("seed %d: the column has moved", seed)
		}
		if dst.N != len(want) {
			t.Fatalf("seed %d: %d rows, want %d", seed, dst.N, len(want))
		}
		for i, row := range want {
			for k := range row {
				if got := value(dst.Cols[k], i); got != row[k] {
					t.Fatalf("seed %d: row %d column %d is %v, want %v", seed, i, k, got, row[k])
				}
			}
		}
	}
}

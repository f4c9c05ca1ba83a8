package segment

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// rareBatch has columns in which about one row in `one` is not like the others.
func rareBatch(tb testing.TB, rng *rand.Rand, n int) *batch.Batch {
	tb.Helper()
	cols := []schema.Column{{Name: "time", Type: schema.Timestamp, Role: schema.Time}}
	parts := []int{1 << 30, 5000, 100, 40, 10, 1}
	for _, one := range parts {
		cols = append(cols, schema.Column{Name: fmt.Sprint("int_", one), Type: schema.BigInt},
			schema.Column{Name: fmt.Sprint("text_", one), Type: schema.Varchar}, schema.Column{Name: fmt.Sprint("tags_", one), Type: schema.TagSet})
	}
	t, err := schema.New(schema.Table{Name: "rare", Columns: cols}, "time")
	if err != nil {
		tb.Fatal(err)
	}
	b := &batch.Batch{Table: t, N: n}
	var d batch.DictBuilder
	for i := range 50 {
		d.Code([]byte(fmt.Sprint("word ", i)))
	}
	dict := d.Seal()
	for i := range cols {
		v := &batch.Vector{Type: cols[i].Type}
		one := 1
		if i > 0 {
			one = parts[(i-1)/3]
		}
		for range n {
			x := 7
			if rng.IntN(one) == 0 {
				x = rng.IntN(50)
			}
			if cols[i].Type.Physical() == schema.Int64 {
				v.I64 = append(v.I64, int64(x))
			} else {
				v.Codes = append(v.Codes, uint32(x))
			}
		}
		if cols[i].Type == schema.Varchar {
			v.Dict = dict
		}
		b.Cols = append(b.Cols, v)
	}
	return b
}

// Rows come out in the order that was asked for, whichever columns were gathered and whichever only had their rare values
// moved, from the whole batch or a part of it.
func TestRareValues(t *testing.T) {
	noRace(t)
	rng := rand.New(rand.NewPCG(3, 1))
	for _, n := range []int{sparseMin, 3 * sparseMin} {
		b := rareBatch(t, rng, n)
		for _, part := range []int{n, n - 1, sparseMin, sparseMin / 2} {
			var order []int32
			for _, r := range rng.Perm(n)[:part] {
				order = append(order, int32(r))
			}
			fs := vfs.NewMem()
			writeAll(t, fs, "seg", b, order, Options{PageRows: 1024, RowGroupRows: 2048})
			r := mustOpen(t, fs, "seg", b.Table)
			sameRows(t, readRows(t, r, everything(b.Table)), rowsOf(b, allColumns(b.Table), order, false))
		}
	}
}

// Columns of one value, or nearly, are not gathered.
func TestStraighten(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 2))
	b := rareBatch(t, rng, 2*sparseMin)
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	order := make([]int32, b.N)
	for i, r := range rng.Perm(b.N) {
		order[i] = int32(r)
	}
	for i, c := range b.Table.Columns[1:] {
		_, got := e.straighten(b.Cols[i+1], b.N, order)
		if want := i/3 < 3; got != want { // up to one in a hundred
			if i/3 == 3 {
				continue // one in forty: the sample decides
			}
			t.Errorf("column %s: %v, want %v", c.Name, got, want)
		}
	}
}

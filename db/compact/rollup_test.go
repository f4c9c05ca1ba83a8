package compact

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// TestGrouperAllocations: nothing is allocated for a row whose group is there.
func TestGrouperAllocations(t *testing.T) {
	const n = 4096
	u, view, all := edgeRows(t, n)
	g := NewRollupGrouper(u, view, nil)
	cols := make([]*batch.Vector, len(g.Inputs()))
	for i, c := range g.Inputs() {
		cols[i] = all[c]
	}
	add := func() {
		if err := g.Add(cols, n); err != nil {
			t.Fatal(err)
		}
	}
	add()
	if got := testing.AllocsPerRun(5, add); got > 0 {
		t.Errorf("%v allocations for %d rows", got, n)
	}
	var out batch.Batch
	g.Emit(&out)
	var sum, want int64
	for _, x := range out.Cols[u.Target.MustColumn("bytes_tx")].I64 {
		sum += x
	}
	for _, x := range all[u.Source.MustColumn("bytes_tx")].I64 {
		want += x
	}
	if sum != 7*want { // AllocsPerRun runs once more
		t.Errorf("sum %d, want %d", sum, 7*want)
	}
	if g.Groups() != 0 {
		t.Errorf("%d groups after Emit", g.Groups())
	}
}

// TestGrouperRefuses what it cannot read, without a panic.
func TestGrouperRefuses(t *testing.T) {
	u, view, all := edgeRows(t, 70)
	fill := func(g *Grouper) []*batch.Vector {
		cols := make([]*batch.Vector, len(g.Inputs()))
		for i, c := range g.Inputs() {
			cols[i] = all[c]
		}
		return cols
	}
	g := NewRollupGrouper(u, view, nil)
	cols := fill(g)
	for i, c := range g.Inputs() {
		if u.Source.Columns[c].Name == "rtt_sketch" {
			cols[i] = &batch.Vector{Type: schema.Bytes, Codes: make([]uint32, 70), Dict: batch.DictOf("no sketch")}
		}
	}
	if err := g.Add(cols, 70); !errors.Is(err, enc.ErrCorrupt) || !strings.Contains(err.Error(), "rtt_sketch") {
		t.Errorf("Add of no sketch = %v", err)
	}
	reg, err := schema.Builtin().With(schema.RollupDef{
		Name: "r", Source: "network_1s", Every: 60e9, Keys: []schema.RollupKey{{Column: "server_tags", TagKey: "pod"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := reg.Rollup("r")
	g = NewRollupGrouper(r, view, nil)
	if err := g.Add(fill(g), 70); err == nil || !strings.Contains(err.Error(), "tag set") {
		t.Errorf("Add of unknown tag sets = %v", err)
	}
}

// TestGroupTableCollisions: keys with equal hashes stay apart.
func TestGroupTableCollisions(t *testing.T) {
	var g groupTable
	g.slots = make([]uint32, 8)
	g.add([]uint64{1, 2}, hashWords([]uint64{3, 4}), hashWords([]uint64{3, 4})&7) // an entry with another key's hash
	gids := make([]uint32, 3)
	g.assign(gids, []uint64{3, 4, 5, 6, 3, 4}, 2)
	if gids[0] != 1 || gids[1] != 2 || gids[2] != 1 || g.n != 3 {
		t.Errorf("groups %v of %d", gids, g.n)
	}
	var many []uint64
	for i := range uint64(5000) {
		many = append(many, i, i%7)
	}
	gids = make([]uint32, 5000)
	g.reset()
	g.assign(gids, many, 2)
	for i, id := range gids {
		if int(id) != i {
			t.Fatalf("row %d is in group %d", i, id)
		}
	}
}

// TestPartialGrouperMerges what a rollup grouper made in pieces to what it makes at once.
func TestPartialGrouperMerges(t *testing.T) {
	const n = 2000
	reg, err := schema.Builtin().With(schema.RollupDef{Name: "r", Source: "spans", Every: 60e9, Keys: []schema.RollupKey{{Column: "response_code"}, {Column: "agent"}}})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := reg.Rollup("r")
	b := batch.NewBuilder(u.Source)
	for i := range n {
		b.Int(0, int64(i)*1e9)
		if i%3 > 0 {
			b.Int(u.Source.MustColumn("response_code"), int64(i%2))
			b.Int(u.Source.MustColumn("duration_us"), int64(i*i))
		}
		b.String(u.Source.MustColumn("agent"), []string{"", "a", "b"}[i%5%3])
		b.String(u.Source.MustColumn("endpoint"), strings.Repeat("x", i%1500)) // more than are counted exactly
		b.EndRow()
	}
	rows := b.Seal()
	view := tags.New(tags.Limits{}).View()
	parts := func(pieces int) string {
		p := NewPartialGrouper(u.Target)
		for k := range pieces {
			g := NewRollupGrouper(u, view, nil)
			var list []int32
			for i := range n {
				if i%pieces == k {
					list = append(list, int32(i))
				}
			}
			cols := make([]*batch.Vector, len(g.Inputs()))
			for i, c := range g.Inputs() {
				if rows.Cols[c] != nil {
					cols[i] = &batch.Vector{}
					batch.Gather(cols[i], rows.Cols[c], list)
				}
			}
			if err := g.Add(cols, len(list)); err != nil {
				t.Fatal(err)
			}
			var out batch.Batch
			g.Emit(&out)
			if err := p.Add(out.Cols, out.N); err != nil {
				t.Fatal(err)
			}
		}
		var out batch.Batch
		p.Emit(&out)
		return describe(&out)
	}
	whole := parts(1)
	for _, pieces := range []int{2, 7} {
		if got := parts(pieces); got != whole {
			t.Errorf("in %d pieces:\n%.2000s\nat once:\n%.2000s", pieces, got, whole)
		}
	}
}

// describe is a batch as text, its rows in order of their text.
func describe(b *batch.Batch) string {
	var lines []string
	for i := range b.N {
		var line []byte
		for _, v := range b.Cols {
			switch {
			case v.IsNull(i):
				line = append(line, " NULL"...)
			case v.Type.Physical() == schema.Int64:
				line = fmt.Appendf(line, " %d", v.I64[i])
			case v.Type.Physical() == schema.Float64:
				line = fmt.Appendf(line, " %v", v.F64[i])
			case v.Type.Physical() == schema.ID:
				line = fmt.Appendf(line, " #%d", v.Codes[i])
			default:
				line = fmt.Appendf(line, " %x", v.Bytes(i))
			}
		}
		lines = append(lines, string(line))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

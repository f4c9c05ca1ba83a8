package exec

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// inRuns repeats rows of the vectors, so that neighbours are equal in runs of about mean rows.
func inRuns(rng *rand.Rand, vecs []*batch.Vector, n, mean int) []*batch.Vector {
	rows := make([]int32, n)
	for i := range rows {
		if rows[i] = int32(rng.IntN(n)); i > 0 && rng.IntN(mean) > 0 {
			rows[i] = rows[i-1]
		}
	}
	out := make([]*batch.Vector, len(vecs))
	for i, v := range vecs {
		out[i] = &batch.Vector{}
		batch.Gather(out[i], v, rows)
	}
	return out
}

// TestRunsAgainstRows groups batches once by runs and once row by row: groups, their order and all aggregates are equal.
func TestRunsAgainstRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	pool := []schema.Type{schema.BigInt, schema.Varchar, schema.Double, schema.TagSet}
	byRun := 0
	for round := range 60 {
		types := make([]schema.Type, rng.IntN(4))
		cards := make([]int64, len(types)+2)
		for i := range types {
			types[i] = pool[rng.IntN(len(pool))]
			cards[i] = 1 + rng.Int64N(50)
		}
		cards[len(types)], cards[len(types)+1] = 1000, 1000
		all := append(types[:len(types):len(types)], schema.BigInt, schema.Double)
		runs, rows := runsTable(types), runsTable(types)
		rows.pause = 1 << 30
		for b := range 3 {
			n := 1 + rng.IntN(3000)
			vecs, _ := randomKeys(rng, all, cards, n)
			keys := inRuns(rng, vecs[:len(types)], n, 1+rng.IntN(40))
			if rng.IntN(4) == 0 { // sums that leave what is added without a look
				vecs[len(types)].I64[rng.IntN(n)] = 1 << 58
			}
			in := &batch.Batch{N: n, Cols: append(keys, vecs[len(types):]...)}
			for _, table := range []*aggTable{runs, rows} {
				if err := table.add(in, int64(b)<<32); err != nil {
					t.Fatal(err)
				}
			}
			if runs.pause == 0 {
				byRun++
			}
		}
		got, n1, err := runs.result(false)
		if err != nil {
			t.Fatal(err)
		}
		want, n2, err := rows.result(false)
		if err != nil {
			t.Fatal(err)
		}
		if n1 != n2 || texts(got, n1) != texts(want, n2) {
			t.Fatalf("round %d, keys %v: %d groups by runs, %d by rows:\n%s\n%s", round, types, n1, n2, texts(got, n1), texts(want, n2))
		}
	}
	if byRun < 60 {
		t.Errorf("only %d batches were grouped by runs", byRun)
	}
}

func texts(cols []*batch.Vector, n int) string {
	var s strings.Builder
	for i := range n {
		for _, v := range cols {
			s.WriteString(ValueAt(v, i).Text() + "|")
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// runsTable is a table of groups with each aggregate that takes runs and one that does not; rows are the keys, a BIGINT
// and a DOUBLE.
func runsTable(types []schema.Type) *aggTable {
	n := len(types)
	a := &Aggregate{}
	for i, typ := range types {
		a.Keys = append(a.Keys, &Column{Index: i, Typ: typ})
	}
	whole, float := &Column{Index: n, Typ: schema.BigInt}, &Column{Index: n + 1, Typ: schema.Double}
	add := func(s aggState, args ...Expr) {
		a.Aggs = append(a.Aggs, &Agg{Args: args, Impl: &AggOverload{New: func([]schema.Type, []Value) aggState { return s }}})
	}
	add(&countState{})
	add(&countState{}, whole)
	add(&sumInt{typ: schema.BigInt}, whole)
	add(&meanState{typ: schema.Double}, float)
	add(&meanState{typ: schema.Double, avg: true}, whole)
	add(&extremeInt{typ: schema.BigInt}, whole)
	add(&extremeInt{typ: schema.BigInt, max: true}, whole)
	add(&distinctState{coder: newCoder(schema.BigInt), inner: &countState{}}, whole)
	return newAggTable(a, &Run{Budget: &Budget{}})
}

// TestRunsOfTags: a key that is a tag of a column is looked up once per run of the column, and equals the lookup by row.
func TestRunsOfTags(t *testing.T) {
	var d batch.DictBuilder
	codes := make([]uint32, 100) // by id; 0 where a set has no such tag
	d.Code(nil)
	for i := range codes {
		if i%7 > 0 {
			codes[i] = d.Code([]byte{'s', byte('a' + i%5)})
		}
	}
	tags := &TagDict{Dict: d.Seal(), Codes: codes}
	env := &Env{TagDict: func(string) *TagDict { return tags }}
	col := &Column{Typ: schema.TagSet}
	a := &Aggregate{Keys: []Expr{&TagValue{X: col, Key: "service"}, col}}
	rng := rand.New(rand.NewPCG(3, 3))
	ids := &batch.Vector{}
	ids.Reset(schema.TagSet, 5000)
	for i := range ids.Codes {
		if ids.Codes[i] = uint32(rng.IntN(120)); i > 0 && rng.IntN(12) > 0 {
			ids.Codes[i] = ids.Codes[i-1]
		}
	}
	var out [2]string
	for i := range out {
		table := newAggTable(a, &Run{Env: env, Budget: &Budget{}})
		table.pause = i * 100
		if err := table.add(&batch.Batch{N: 5000, Cols: []*batch.Vector{ids}}, 0); err != nil {
			t.Fatal(err)
		}
		cols, n, err := table.result(false)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = texts(cols, n)
	}
	if out[0] != out[1] || out[0] == "" {
		t.Errorf("by runs:\n%s\nby rows:\n%s", out[0], out[1])
	}
}

// TestRunBits compares the word-wise kernels with loops over single bits.
func TestRunBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for range 2000 {
		n := 1 + rng.IntN(300)
		b := batch.NewBitmap(n)
		on := false
		for i := range n {
			if rng.IntN(40) == 0 {
				on = !on
			}
			if on {
				b.Set(i)
			}
		}
		from := rng.IntN(n)
		to := from + rng.IntN(n-from+1)
		end, count := from, int64(0)
		for end < n && b.Get(end) == b.Get(from) {
			end++
		}
		for i := from; i < to; i++ {
			if b.Get(i) {
				count++
			}
		}
		if got := bitsEnd(b, from, n); got != end {
			t.Fatalf("run from %d of %d ends at %d, not %d", from, n, end, got)
		}
		if got := countBits(b, from, to); got != count {
			t.Fatalf("%d bits in [%d, %d), not %d", count, from, to, got)
		}
	}
}

// TestRunsAllocate nothing once the groups are known.
func TestRunsAllocate(t *testing.T) {
	types := []schema.Type{schema.TagSet, schema.BigInt}
	table := runsTable(types)
	table.aggs = table.aggs[:7] // the last one copies codes of rows
	ids, whole, float := &batch.Vector{}, &batch.Vector{}, &batch.Vector{}
	ids.Reset(schema.TagSet, ChunkRows)
	whole.Reset(schema.BigInt, ChunkRows)
	float.Reset(schema.Double, ChunkRows)
	for i := range ChunkRows {
		ids.Codes[i], whole.I64[i] = uint32(i/100), int64(i/50)
	}
	b := &batch.Batch{N: ChunkRows, Cols: []*batch.Vector{ids, whole, whole, float}}
	add := func() {
		if err := table.add(b, 0); err != nil {
			t.Fatal(err)
		}
	}
	add()
	if n := testing.AllocsPerRun(10, add); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
	if !reflect.DeepEqual(table.runs.gids[:2], []uint32{0, 1}) || table.pause > 0 {
		t.Errorf("not grouped by runs")
	}
}

// TestRunsOfTagValues: where neighbours have different tag sets of equal values, they are grouped by the values' runs, as by row.
func TestRunsOfTagValues(t *testing.T) {
	var d batch.DictBuilder
	d.Code(nil)
	codes := make([]uint32, 1000) // by id; some sets have no such tag
	for i := range codes {
		if s := i / 50 % 7; s > 0 {
			codes[i] = d.Code([]byte{'s', byte('a' + s)})
		}
	}
	tags := &TagDict{Dict: d.Seal(), Codes: codes}
	env := &Env{TagDict: func(string) *TagDict { return tags }}
	a := &Aggregate{Keys: []Expr{&TagValue{X: &Column{Typ: schema.TagSet}, Key: "service"}}}
	var out [2]string
	for i := range out {
		table := newAggTable(a, &Run{Env: env, Budget: &Budget{}})
		table.valuePause = i * 100
		for first := range 3 {
			ids := &batch.Vector{}
			ids.Reset(schema.TagSet, 3000)
			for k := range ids.Codes {
				ids.Codes[k] = uint32(first*11+k/2) % uint32(len(codes)+30)
			}
			byRun, err := table.assign(&batch.Batch{N: 3000, Cols: []*batch.Vector{ids}})
			if err != nil || byRun != (i == 0) {
				t.Fatalf("by runs: %v %v", byRun, err)
			}
			gids := make([]uint32, 3000)
			if byRun {
				table.runs.expand(gids)
			} else {
				copy(gids, table.gids)
			}
			for _, g := range gids {
				out[i] += string(rune('a' + g))
			}
		}
		cols, n, err := table.result(false)
		if err != nil {
			t.Fatal(err)
		}
		out[i] += texts(cols, n)
	}
	if out[0] != out[1] || len(out[0]) < 9000 {
		t.Errorf("by runs:\n%s\nby rows:\n%s", out[0], out[1])
	}
}

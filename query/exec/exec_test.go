package exec

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

var rewrite = flag.Bool("rewrite", false, "write docs/sql/functions.md")

func ints(v ...int64) *batch.Vector { return &batch.Vector{Type: schema.BigInt, I64: v} }

func nullable(v *batch.Vector, nulls ...int) *batch.Vector {
	v.Valid = batch.NewBitmap(v.Len())
	v.Valid.Fill(v.Len())
	for _, i := range nulls {
		v.Valid.Clear(i)
	}
	return v
}

// TestGrouperAgainstMap: random rows of up to four keys get the groups that a map of their texts gives, also when the
// groups of two workers are merged.
func TestGrouperAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 30 {
		types := make([]schema.Type, 1+rng.IntN(4))
		cards := make([]int64, len(types))
		for i := range types {
			types[i] = []schema.Type{schema.BigInt, schema.Double, schema.Varchar, schema.TagSet}[rng.IntN(4)]
			cards[i] = []int64{2, 100, 5000, 1 << 40}[rng.IntN(4)]
		}
		workers := []*grouper{newGrouper(types), newGrouper(types)}
		number := []map[string]uint32{{}, {}}
		for batchNo := range 12 {
			w := batchNo % 2
			keys, texts := randomKeys(rng, types, cards, 1+rng.IntN(3000))
			gids := make([]uint32, len(texts))
			workers[w].assign(keys, gids)
			for i, k := range texts {
				g, ok := number[w][k]
				if !ok {
					g = uint32(len(number[w]))
					number[w][k] = g
				}
				if gids[i] != g {
					t.Fatalf("%v: row %s is in group %d, want %d", types, k, gids[i], g)
				}
			}
		}
		checkMerge(t, types, workers, number)
	}
}

func checkMerge(t *testing.T, types []schema.Type, workers []*grouper, number []map[string]uint32) {
	t.Helper()
	a, b := workers[0], workers[1]
	b.seal()
	remap := b.merge2(a)
	for k, g := range number[1] {
		want, ok := number[0][k]
		if !ok {
			want = uint32(len(number[0]))
		}
		if ok && remap[g] != want || !ok && remap[g] < want {
			t.Fatalf("%v: group %s merged into %d, want %d", types, k, remap[g], want)
		}
	}
	for k := range number[1] {
		number[0][k] = 0
	}
	if int(a.total) != len(number[0]) {
		t.Fatalf("%v: %d groups after merging, want %d", types, a.total, len(number[0]))
	}
	a.seal()
	got := map[string]bool{}
	cols := make([]batch.Vector, len(types))
	for c, codes := range a.columnCodes() {
		a.cols[c].vector(&cols[c], codes)
	}
	for g := range int(a.total) {
		var parts []string
		for c := range cols {
			parts = append(parts, ValueAt(&cols[c], g).Text())
		}
		got[strings.Join(parts, "|")] = true
	}
	for k := range number[0] {
		if !got[k] {
			t.Fatalf("%v: key %s is lost", types, k)
		}
	}
}

// merge2 is merge seen from the other side.
func (g *grouper) merge2(into *grouper) []uint32 { return into.merge(g) }

func randomKeys(rng *rand.Rand, types []schema.Type, cards []int64, n int) ([]*batch.Vector, []string) {
	keys := make([]*batch.Vector, len(types))
	parts := make([][]string, n)
	for c, typ := range types {
		v := &batch.Vector{}
		v.Reset(typ, n)
		var d batch.DictBuilder
		withNull := rng.IntN(2) == 0 && typ != schema.TagSet
		if withNull {
			nullable(v)
		}
		for i := range n {
			x := rng.Int64N(cards[c]) - 1
			null := withNull && rng.IntN(4) == 0
			if null {
				x = 0
				v.Valid.Clear(i)
			}
			switch typ {
			case schema.BigInt:
				v.I64[i] = x
			case schema.Double:
				v.F64[i] = float64(x) / 2
			case schema.TagSet:
				v.Codes[i] = uint32(x+1) & 0xffff
			default:
				s := ""
				if !null {
					s = fmt.Sprint("k", x)
				}
				v.Codes[i] = d.Code([]byte(s))
			}
		}
		if typ == schema.Varchar {
			v.Dict = d.Seal()
		}
		for i := range n {
			parts[i] = append(parts[i], ValueAt(v, i).Text())
		}
		keys[c] = v
	}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = strings.Join(parts[i], "|")
	}
	return keys, texts
}

// TestAssignAllocates nothing once the groups are known.
func TestAssignAllocates(t *testing.T) {
	types := []schema.Type{schema.Varchar, schema.BigInt}
	g := newGrouper(types)
	keys, texts := randomKeys(rand.New(rand.NewPCG(2, 2)), types, []int64{100, 100}, ChunkRows)
	gids := make([]uint32, len(texts))
	g.assign(keys, gids)
	if n := testing.AllocsPerRun(10, func() { g.assign(keys, gids) }); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
	st := &sumInt{typ: schema.BigInt}
	vals := ints(make([]int64, len(gids))...)
	args := []*batch.Vector{vals}
	if err := st.add(gids, int(g.total), args); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { _ = st.add(gids, int(g.total), args) }); n > 0 {
		t.Errorf("sum: %v allocations per batch", n)
	}
}

// TestExpressionAllocates nothing per row in the usual kernels.
func TestExpressionAllocates(t *testing.T) {
	col := &Column{Typ: schema.BigInt, Name: "x"}
	text := &Column{Index: 1, Typ: schema.Varchar, Name: "s"}
	n := ChunkRows
	v, s := &batch.Vector{}, &batch.Vector{}
	v.Reset(schema.BigInt, n)
	s.Reset(schema.Varchar, n)
	clear(s.Codes)
	s.Dict = batch.DictOf("abc")
	b := &batch.Batch{N: n, Cols: []*batch.Vector{v, s}}
	for _, e := range []Expr{
		&Arith{Op: Add, L: col, R: &Const{IntValue(3)}, Typ: schema.BigInt},
		&Compare{Op: Lt, L: col, R: &Const{IntValue(3)}},
		&Match{X: text, Kind: Like, Pattern: "a%"},
		&Logic{Terms: []Expr{&Compare{Op: Lt, L: col, R: col}, &IsNull{X: text}}},
		&Cast{X: col, Typ: schema.Double},
	} {
		ev := compile(e, &Env{})
		if _, err := ev.eval(b); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(10, func() { _, _ = ev.eval(b) }); n > 0 {
			t.Errorf("%s: %v allocations per batch", e, n)
		}
	}
}

func TestRadixSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{0, 1, 127, 128, 5000} {
		for _, mask := range []uint64{0, 0xff, 0xff00ff, math.MaxUint64} {
			rows := make([]sortRow, n)
			for i := range rows {
				rows[i] = sortRow{rng.Uint64() & mask, int32(i)}
			}
			want := slices.Clone(rows)
			sort.SliceStable(want, func(a, b int) bool { return want[a].key < want[b].key })
			got, _ := radixSort(rows, make([]sortRow, n))
			if !slices.Equal(got, want) {
				t.Errorf("n=%d mask=%x: not a stable sort", n, mask)
			}
		}
	}
}

func TestSelectAt(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 300 {
		n := 1 + rng.IntN(400)
		l := make([]int64, n)
		for i := range l {
			l[i] = rng.Int64N(int64(1 + rng.IntN(500)))
		}
		want := slices.Sorted(slices.Values(l))
		lo := rng.IntN(n)
		hi := min(lo+rng.IntN(2), n-1)
		selectAt(l, lo, hi, compareInt)
		if l[lo] != want[lo] || l[hi] != want[hi] {
			t.Fatalf("n=%d lo=%d hi=%d: got %d and %d, want %d and %d", n, lo, hi, l[lo], l[hi], want[lo], want[hi])
		}
	}
}

func TestSumOverflow(t *testing.T) {
	s := &sumInt{typ: schema.BigInt}
	err := s.add([]uint32{0, 0}, 1, []*batch.Vector{ints(math.MaxInt64, 1)})
	if err == nil {
		t.Error("no overflow")
	}
	a, b := &sumInt{typ: schema.BigInt}, &sumInt{typ: schema.BigInt}
	for _, st := range []*sumInt{a, b} {
		if err := st.add([]uint32{0}, 1, []*batch.Vector{ints(math.MaxInt64)}); err != nil {
			t.Fatal(err)
		}
	}
	if a.merge(b, []uint32{0}, 1) == nil {
		t.Error("no overflow in merge")
	}
	ok := &sumInt{typ: schema.BigInt}
	if err := ok.add([]uint32{0, 0}, 1, []*batch.Vector{nullable(ints(math.MaxInt64, 1), 1)}); err != nil {
		t.Errorf("NULL counted: %v", err)
	}
}

// TestArithmetic: an overflow in a NULL row is none, and the check of products is exact.
func TestArithmetic(t *testing.T) {
	eval := func(op ArithOp, l, r *batch.Vector) (*batch.Vector, error) {
		b := &batch.Batch{N: l.Len(), Cols: []*batch.Vector{l, r}}
		return compile(&Arith{Op: op, L: &Column{Typ: schema.BigInt}, R: &Column{Index: 1, Typ: schema.BigInt}, Typ: schema.BigInt}, &Env{}).eval(b)
	}
	for _, tc := range []struct {
		op   ArithOp
		a, b int64
		want int64
		bad  bool
	}{
		{Add, math.MaxInt64, 1, 0, true}, {Add, math.MinInt64, -1, 0, true}, {Add, math.MaxInt64, math.MinInt64, -1, false},
		{Sub, math.MinInt64, 1, 0, true}, {Sub, 0, math.MinInt64, 0, true}, {Sub, -1, math.MinInt64, math.MaxInt64, false},
		{Mul, 1 << 32, 1 << 31, 0, true}, {Mul, 1 << 32, 1<<31 - 1, 1<<63 - 1<<32, false}, {Mul, -1, math.MinInt64, 0, true},
		{Mul, math.MinInt64, -1, 0, true}, {Mul, math.MinInt64, 1, math.MinInt64, false}, {Mul, 3037000500, 3037000500, 0, true},
		{Div, math.MinInt64, -1, 0, true}, {Mod, math.MinInt64, -1, 0, false}, {Div, 7, -2, -3, false},
	} {
		v, err := eval(tc.op, ints(tc.a), ints(tc.b))
		if (err != nil) != tc.bad || err == nil && v.I64[0] != tc.want {
			t.Errorf("%d %s %d: got %v, %v", tc.a, tc.op, tc.b, v, err)
		}
		if _, err := eval(tc.op, nullable(ints(tc.a), 0), ints(tc.b)); err != nil {
			t.Errorf("NULL %s %d: %v", tc.op, tc.b, err)
		}
	}
	if v, err := eval(Div, ints(1, 2), ints(0, 1)); err != nil || !v.IsNull(0) || v.IsNull(1) {
		t.Errorf("division by zero: %v", err)
	}
}

func TestLike(t *testing.T) {
	for _, tc := range []struct {
		text, pattern string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "a%", true}, {"abc", "%c", true}, {"abc", "%b%", true}, {"abc", "a_c", true}, {"abc", "_", false},
		{"", "%", true}, {"", "", true}, {"", "_", false}, {"a%c", `a\%c`, true}, {"abc", `a\%c`, false}, {"a\nb", "a%b", true},
		{"a.c", "a.c", true}, {"abc", "a.c", false}, {"äö", "_ö", true}, {"x%", "%%", true}, {"ab", "%a%b%", true}, {"ba", "%a%b%", false},
	} {
		f, err := Matcher(&Match{Kind: Like, Pattern: tc.pattern, Escape: `\`})
		if err != nil || f([]byte(tc.text)) != tc.want {
			t.Errorf("%q LIKE %q: want %v (%v)", tc.text, tc.pattern, tc.want, err)
		}
	}
	if _, err := Matcher(&Match{Kind: Like, Pattern: `a\`, Escape: `\`}); err == nil {
		t.Error("a pattern that ends with its escape was taken")
	}
}

func TestBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	for range 2000 {
		x, w, o := rng.Int64()-math.MaxInt64/2, 1+rng.Int64N(1e15), rng.Int64N(1e18)
		b := bucketOf(x, w, o)
		if b > x || x-b >= w || (b-o)%w != 0 {
			t.Fatalf("bucketOf(%d, %d, %d) = %d", x, w, o, b)
		}
	}
	for _, x := range []int64{math.MinInt64, math.MaxInt64} {
		_ = bucketOf(x, 1e9, bucketOrigin)
		_, _ = monthBucket(x, 1200, 2001), addMonths(x, math.MaxInt64)
	}
}

// TestFunctionsDoc keeps docs/sql/functions.md equal to the registry.
func TestFunctionsDoc(t *testing.T) {
	const file = "../../docs/sql/functions.md"
	want := functionsDoc()
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is out of date: go test ./query/exec -run FunctionsDoc -rewrite", file)
	}
}

func functionsDoc() string {
	var b strings.Builder
	b.WriteString(functionsHead)
	group := ""
	for _, f := range Functions() {
		if f.Group != group {
			group = f.Group
			title := strings.ToUpper(group[:1]) + group[1:]
			fmt.Fprintf(&b, "\n## %s functions\n\n| call | what it gives |\n|---|---|\n", title)
		}
		doc := f.Doc
		if a := Aliases(f); len(a) > 0 {
			doc += "; also `" + strings.Join(a, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(f.Signature, "|", "\\|"), strings.ReplaceAll(doc, "|", "\\|"))
	}
	return b.String()
}

const functionsHead = `# Functions

Made from the registry in query/exec, which ` + "`SHOW FUNCTIONS`" + ` lists too; a test keeps this page current.

A NULL argument makes the result NULL, unless the text says otherwise; aggregates leave NULLs out. What is not defined
gives NULL: division by zero, the root of a negative number. Whole numbers that leave the range of 64 bits are an error
(SQLSTATE 22003). ` + "`/`" + ` between whole numbers gives a whole number.

` + "`now()`" + `, ` + "`current_timestamp`" + ` and ` + "`current_date`" + ` are fixed when a statement starts. ` + "`CASE`" + `, ` + "`CAST`" + `, ` + "`::`" + `, ` + "`TRY_CAST`" + `, ` + "`LIKE`" + `, ` + "`~`" + `
and the operators are described in README.md. Aggregates take ` + "`DISTINCT`" + ` and ` + "`FILTER (WHERE ...)`" + `.

Tags are read as ` + "`client.pod`" + `, ` + "`server.service`" + `, ` + "`tag.job`" + `, or just ` + "`job`" + ` in tables with one tag set. A label is a key that starts with
` + "`label.`" + `: ` + "`client.label['app']`" + ` and ` + "`client.\"label.app\"`" + ` read the same. A key that the row does not have is NULL. ` + "`attributes['x']`" + `
reads a map the same way.
`

package stages

import (
	"sync"
	"testing"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// batchRows is the number of rows in a batch as a busy agent sends it; batches is how many different ones a benchmark
// cycles through, so that caches do not know them by heart.
const (
	batchRows = 8 << 10
	batches   = 32
)

// flowBatches are seeded batches of flows with their tag sets, as an agent sends them; manyBatches are more of them, for
// what must not see the same rows twice. They are shared and read-only.
var (
	flowBatches = sync.OnceValue(func() []*batch.Batch { return makeBatches(1, batches) })
	manyBatches = sync.OnceValue(func() []*batch.Batch { return makeBatches(4, 4*batches) })
)

func makeBatches(seed uint64, n int) []*batch.Batch {
	sets := map[uint32][]byte{}
	enc := func(id uint32) []byte {
		if sets[id] == nil {
			sets[id] = gen.PodTags(id)
		}
		return sets[id]
	}
	g := gen.NewFlows(gen.Options{Seed: seed})
	out := make([]*batch.Batch, n)
	for i := range out {
		out[i] = g.Next(batchRows)
		gen.ByValue(out[i], enc)
	}
	return out
}

// manySpans are batches of spans, half as many.
var manySpans = sync.OnceValue(func() []*batch.Batch {
	sets := map[uint32][]byte{}
	enc := func(id uint32) []byte {
		if sets[id] == nil {
			sets[id] = gen.PodTags(id)
		}
		return sets[id]
	}
	g := gen.NewSpans(gen.Options{Seed: 5})
	out := make([]*batch.Batch, 2*batches)
	for i := range out {
		out[i] = g.Next(batchRows)
		gen.ByValue(out[i], enc)
	}
	return out
})

// flowFrames are flowBatches encoded.
var flowFrames = sync.OnceValue(func() [][]byte {
	var out [][]byte
	for _, b := range flowBatches() {
		f, err := batch.AppendFrame(nil, b)
		if err != nil {
			panic(err) // a generator that makes bad rows: nothing can be measured
		}
		out = append(out, f)
	}
	return out
})

// registry is the built-in tables.
var registry = sync.OnceValue(schema.Builtin)

func flowsTable(tb testing.TB) *schema.Table {
	tb.Helper()
	t, ok := registry().Table("flows")
	if !ok {
		tb.Fatal("there is no table flows")
	}
	return t
}

// three are the columns that a typical question reads: who, what, how much.
func three(t *schema.Table) []int {
	return []int{t.MustColumn("server_tags"), t.MustColumn("l7_protocol"), t.MustColumn("bytes_rx")}
}

func TestRowsAreRealistic(t *testing.T) {
	rows, bytes := 0, 0
	distinct := map[string]bool{}
	for i, b := range flowBatches() {
		rows += b.N
		bytes += len(flowFrames()[i])
		v := b.Cols[b.Table.MustColumn("server_tags")]
		for k := range v.Dict.Len() {
			distinct[v.Dict.String(k)] = true
			if err := tags.Valid(v.Dict.At(k)); err != nil {
				t.Fatalf("tag set %d: %v", k, err)
			}
		}
	}
	if per := bytes / rows; per < 30 || per > 400 {
		t.Errorf("%d bytes per encoded row: the generator does not make rows like real ones", per)
	}
	if len(distinct) < 500 {
		t.Errorf("%d distinct server tag sets, want at least 500", len(distinct))
	}
}

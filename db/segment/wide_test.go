package segment

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// againBatch is n rows of which every so many in a row repeat the numbers and words of the one before, but not in all columns.
func againBatch(tb testing.TB, rng *rand.Rand, n, most int) *batch.Batch {
	tb.Helper()
	table, err := schema.New(schema.Table{Name: "again", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "id", Type: schema.BigInt},
		{Name: "port", Type: schema.Integer},
		{Name: "maybe", Type: schema.BigInt, Nullable: true},
		{Name: "few", Type: schema.Varchar},
		{Name: "many", Type: schema.Varchar},
		{Name: "address", Type: schema.Inet},
		{Name: "alone", Type: schema.BigInt, Role: schema.Counter},
	}}, "time")
	if err != nil {
		tb.Fatal(err)
	}
	const few, many = 100, 900
	b := batch.NewBuilder(table)
	for at := 0; at < n; {
		id, port, word, name := rng.Int64(), rng.Int32(), rng.IntN(few), rng.IntN(many)
		for range 1 + rng.IntN(most) {
			if at == n {
				break
			}
			b.Int(0, int64(at))
			b.Int(1, id)
			b.Int(2, int64(port))
			if word > 3 {
				b.Int(3, id>>20)
			}
			b.String(4, fmt.Sprintf("word %d", word))
			b.String(5, fmt.Sprintf("name-%d", name))
			b.Text(6, []byte{10: 0xff, 11: 0xff, 12: 10, 14: byte(name >> 8), 15: byte(name)})
			b.Int(7, rng.Int64())
			b.EndRow()
			at++
		}
	}
	return b.Seal()
}

// TestNeighboursAlike: in a merged segment numbers that repeat the one before are PLAIN and words are codes of whole bytes, which
// is smaller; a flushed one has neither.
func TestNeighboursAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	b := againBatch(t, rng, 40_003, 4)
	sizes := map[int]int64{}
	for _, level := range []int{0, 1} {
		for _, portable := range []bool{false, true} {
			fs := vfs.NewMem()
			info := writeAll(t, fs, "seg", b, nil, Options{PageRows: 4096, Level: level, Portable: portable})
			r := mustOpen(t, fs, "seg", b.Table)
			sameRows(t, readRows(t, r, everything(b.Table)), rowsOf(b, allColumns(b.Table), nil, true))
			in, err := Inspect(fs, "seg")
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []bool{false, level > 0, level > 0, level > 0} {
				if got := in.Columns[i].Encodings["PLAIN"] > 0; got != want {
					t.Errorf("level %d: %s is stored as %v", level, in.Columns[i].Name, in.Columns[i].Encodings)
				}
			}
			if in.Columns[7].Encodings["PLAIN"] > 0 {
				t.Errorf("numbers without repeats are stored as %v", in.Columns[7].Encodings)
			}
			if !portable {
				sizes[level] = info.Bytes - in.Columns[7].Stored
			}
		}
	}
	if sizes[1]*100 > sizes[0]*75 {
		t.Errorf("%d bytes merged, %d flushed", sizes[1], sizes[0])
	}
}

// TestWideCodes: codes of whole bytes are read as the same codes, whatever their number and width.
func TestWideCodes(t *testing.T) {
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for _, n := range []int{1, 7, 8, 9, 255, 1000, 4099} {
		for _, limit := range []int32{1, 2, 256, 257, 1 << 16} {
			codes := make([]int32, n)
			for i := range codes {
				codes[i] = rng.Int32N(limit)
			}
			codes[n/2] = limit - 1
			src := e.wideCodes(codes)
			got := make([]uint32, n)
			if err := decodeCodes(got, append(make([]byte, 0, len(src)+padding), src...), uint32(limit)); err != nil {
				t.Fatalf("%d codes below %d: %v", n, limit, err)
			}
			if !slices.EqualFunc(got, codes, func(a uint32, b int32) bool { return a == uint32(b) }) {
				t.Fatalf("%d codes below %d are not what they were", n, limit)
			}
		}
	}
}

// A trial that fails is not repeated for every page, one that pays is not either.
func TestWideTrial(t *testing.T) {
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	alike, mixed := make([]int32, 4096), make([]int32, 4096)
	for i := range alike {
		mixed[i] = rng.Int32N(1 << 10)
		if alike[i] = mixed[i]; i%12 > 5 { // six that come twice
			alike[i] = alike[i-6]
		}
	}
	for _, c := range []struct {
		codes []int32
		pays  bool
	}{{alike, true}, {mixed, false}} {
		var trial wideTrial
		for page := range 2 * wideEvery {
			narrow, err := e.codes(c.codes)
			if err != nil {
				t.Fatal(err)
			}
			packed, raw := trial.pack(e, slices.Clone(narrow), c.codes)
			if got := raw > 0; got != c.pays || got && (raw < 2*len(c.codes) || len(packed) >= len(narrow)) {
				t.Fatalf("page %d: %d bytes of %d, narrow %d; want wide: %v", page, len(packed), raw, len(narrow), c.pays)
			}
		}
	}
}

// DuckDB reads what merged segments alone have.
func TestNeighboursReadByDuckDB(t *testing.T) {
	b := againBatch(t, rand.New(rand.NewPCG(8, 8)), 20_000, 4)
	path := filepath.Join(t.TempDir(), "seg.parquet")
	writeAll(t, vfs.OS, path, b, nil, Options{Level: 1})
	rows := duckdb(t, path)
	if len(rows) != b.N {
		t.Fatalf("%d rows, want %d", len(rows), b.N)
	}
	sameForeign(t, b, func(col, row int) string { return rows[row][col] })
}

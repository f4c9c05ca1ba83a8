package segment

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// textTable has columns of text that hardly repeats, of digits and of words.
func textTable(tb testing.TB) *schema.Table {
	tb.Helper()
	t, err := schema.New(schema.Table{Name: "texts", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "n", Type: schema.BigInt},
		{Name: "id", Type: schema.Varchar, Bloom: true},
		{Name: "lengths", Type: schema.Varchar},
		{Name: "words", Type: schema.Varchar},
		{Name: "blob", Type: schema.Bytes},
		{Name: "ip", Type: schema.Inet},
	}}, "time")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func textBatch(rng *rand.Rand, t *schema.Table, n int) *batch.Batch {
	b := batch.NewBuilder(t)
	for i := range n {
		id := fmt.Sprintf("%016x%016x", rng.Uint64(), rng.Uint64())
		b.Int(0, int64(i))
		b.Int(1, int64(i))
		b.String(2, id)
		b.String(3, id[:rng.IntN(33)])
		b.String(4, fmt.Sprintf("/api/v1/resource/%d/of/%d", rng.IntN(1e6), i))
		blob := make([]byte, rng.IntN(20))
		for k := range blob {
			blob[k] = byte(rng.ExpFloat64() * 9)
		}
		b.Text(5, blob)
		var ip [16]byte
		copy(ip[10:], []byte{255, 255, 10, byte(i), byte(rng.IntN(256)), byte(rng.IntN(256))})
		b.Text(6, ip[:])
		b.EndRow()
	}
	return b.Seal()
}

// TestTextByRows reads some rows of pages of text, any rows, and gets what reading all of them gives.
func TestTextByRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	table := textTable(t)
	b := textBatch(rng, table, 40_000)
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", b, nil, Options{DictionaryBytes: 1})
	r := mustOpen(t, fs, "seg", table)
	all := rowsOf(b, allColumns(table), nil, true)
	sameRows(t, readRows(t, r, everything(table)), all)
	if err := r.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, count := range []int{1, 2, 30, 700, 3000, 20_000} {
		for range 4 {
			term := pred.Term{Column: 1, Kind: pred.IntSet}
			var want []string
			for i := range b.N {
				if rng.IntN(b.N) < count {
					term.Ints = append(term.Ints, int64(i))
					want = append(want, all[i])
				}
			}
			req := everything(table)
			req.Terms = []pred.Term{term}
			if len(want) > 0 {
				sameRows(t, readRows(t, r, req), want)
			}
		}
	}
	for range 200 {
		i := rng.IntN(b.N)
		id := b.Cols[2].Bytes(i)
		req := everything(table)
		req.Terms = []pred.Term{{Column: 2, Kind: pred.Text, Equal: [][]byte{id}, Match: func(v []byte) bool { return bytes.Equal(v, id) }}}
		sameRows(t, readRows(t, r, req), all[i:i+1])
	}
}

// TestTextFrameIsSmaller: ids of digits take four bits a digit and little more.
func TestTextFrameIsSmaller(t *testing.T) {
	table := textTable(t)
	b := textBatch(rand.New(rand.NewPCG(4, 4)), table, 16<<10)
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", b, nil, Options{DictionaryBytes: 1})
	in, err := Inspect(fs, "seg")
	if err != nil {
		t.Fatal(err)
	}
	if c := in.Columns[2]; c.Stored > 165*int64(b.N)/10 {
		t.Errorf("ids of 32 digits take %d bytes for %d rows", c.Stored, b.N)
	}
}

// DuckDB decodes the frames of text with the zstd library itself.
func TestTextReadByDuckDB(t *testing.T) {
	b := textBatch(rand.New(rand.NewPCG(4, 4)), textTable(t), 20_000)
	path := filepath.Join(t.TempDir(), "seg.parquet")
	writeAll(t, vfs.OS, path, b, nil, Options{DictionaryBytes: 1})
	rows := duckdb(t, path)
	if len(rows) != b.N {
		t.Fatalf("%d rows, want %d", len(rows), b.N)
	}
	sameForeign(t, b, func(col, row int) string { return rows[row][col] })
}

// TestTextRowsAllocate: looking for a row of a page takes nothing from the heap but the header of its dictionary.
func TestTextRowsAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	table := textTable(t)
	b := textBatch(rand.New(rand.NewPCG(4, 4)), table, 16<<10)
	fs := vfs.NewMem()
	writeAll(t, fs, "seg", b, nil, Options{DictionaryBytes: 1})
	r := mustOpen(t, fs, "seg", table)
	req := &pred.Request{Table: table, Columns: []int{2}, From: pred.MinTime, To: pred.MaxTime, Terms: []pred.Term{{Column: 1, Kind: pred.IntRange, Lo: 5000, Hi: 5003}}}
	units := r.Units(req)
	var s Scratch
	var dst batch.Batch
	read := func() {
		for _, u := range units {
			if err := r.Read(context.Background(), u, req, &s, &dst); err != nil || dst.N != 4 {
				t.Fatal(err, dst.N)
			}
		}
	}
	read()
	if n := testing.AllocsPerRun(20, read); n > 4 {
		t.Errorf("%v allocations for each read of a unit", n)
	}
}

// FuzzTextRows never panics on frames that were made by anybody, and agrees with the whole page where it gives rows.
func FuzzTextRows(f *testing.F) {
	e, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	var arena []byte
	var ends []uint32
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		arena = fmt.Appendf(arena, "%032x", rng.Uint64())
		ends = append(ends, uint32(len(arena)))
	}
	values, err := e.lengths(arena, ends)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(nil), e.packText(values)...), uint32(len(values)), uint16(3000), uint16(1234))
	f.Fuzz(func(t *testing.T, frame []byte, want uint32, n, row uint16) {
		if want > 1<<20 || n == 0 || row >= n || !frameHolds(frame, int(want)) {
			return
		}
		frame = append(make([]byte, 0, len(frame)+padding), frame...)
		var s scratch
		ok, err := s.textRows(frame, int(want), int(n), []int32{int32(row)})
		if !ok || err != nil {
			return
		}
		got := append([]byte(nil), s.raw[:want]...)
		z, err := s.decoder()
		if err != nil {
			t.Fatal(err)
		}
		whole, err := z.DecodeAll(frame, nil)
		if err != nil {
			return
		}
		for _, p := range s.parts {
			if !bytes.Equal(got[p.from:p.to], whole[p.from:p.to]) {
				t.Fatalf("bytes %d to %d are others than in the whole page", p.from, p.to)
			}
		}
	})
}

// TestPlainHas finds what a dictionary holds and nothing else, and leaves damage to whoever parses it.
func TestPlainHas(t *testing.T) {
	e, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	data, offs := []byte("abcab"), []uint32{0, 3, 3, 5}
	src := bytes.Clone(e.plainBytes(data, offs))
	d, err := parseDictionary(append(src, make([]byte, padding)...)[:len(src)], 3, schema.Varchar)
	if err != nil || d.text.Len() != 3 {
		t.Fatal(d, err)
	}
	for value, want := range map[string]bool{"abc": true, "": true, "ab": true, "a": false, "b": false, "abca": false, "\x02\x00\x00\x00ab": false} {
		if plainHas(src, []byte(value)) != want {
			t.Errorf("%q: %v", value, !want)
		}
	}
	if !plainHas(src[:len(src)-1], []byte("x")) || !plainHas(append(src[:len(src):len(src)], 1), []byte("x")) {
		t.Error("damage rules values out")
	}
}

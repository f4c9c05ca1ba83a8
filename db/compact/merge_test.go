package compact

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

func testTable(tb testing.TB) *schema.Table {
	tb.Helper()
	t, err := schema.New(schema.Table{Name: "t", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "tags", Type: schema.TagSet},
		{Name: "ip", Type: schema.Inet},
		{Name: "name", Type: schema.Varchar},
		{Name: "unique", Type: schema.Varchar, Bloom: true},
		{Name: "num", Type: schema.Double},
		{Name: "maybe", Type: schema.BigInt, Nullable: true},
		{Name: "from", Type: schema.Integer}, // which input and row it was
	}}, "time/1m", "tags", "ip", "name", "time")
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func randomRows(rng *rand.Rand, t *schema.Table, n, from int) *batch.Batch {
	b := batch.NewBuilder(t)
	minutes := 1 + rng.Int64N(5)
	start := rng.Int64N(3)
	ids := make([]uint32, n)
	for i := range n {
		b.Int(0, (start+rng.Int64N(minutes))*60e9+rng.Int64N(4))
		ids[i] = rng.Uint32N(4)
		b.Text(2, append(make([]byte, 15), byte(rng.IntN(3))))
		b.String(3, fmt.Sprint("name", rng.IntN(3)))
		b.String(4, fmt.Sprintf("unique-%d-%d", from, i))
		b.Float(5, rng.Float64())
		if rng.IntN(2) == 0 {
			b.Int(6, rng.Int64())
		}
		b.Int(7, int64(from*100000+i))
		b.EndRow()
	}
	out := b.Seal()
	out.Cols[1] = &batch.Vector{Type: schema.TagSet, Codes: ids}
	if rng.IntN(3) == 0 {
		out.Cols[6] = nil
	}
	return out
}

func writeSegment(tb testing.TB, fs vfs.FS, path string, b *batch.Batch, order []int32, o segment.Options) *segment.Reader {
	tb.Helper()
	w, err := segment.NewWriter(fs, path, b.Table, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.Append(b, order); err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		tb.Fatal(err)
	}
	return openSegment(tb, fs, path, b.Table)
}

func openSegment(tb testing.TB, fs vfs.FS, path string, t *schema.Table) *segment.Reader {
	tb.Helper()
	r, err := segment.Open(fs, path, t)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func cellText(v *batch.Vector, c *schema.Column, row int) string {
	if v == nil {
		v = new(batch.Vector)
		v.Default(c, row+1)
	}
	if v.IsNull(row) {
		return "NULL"
	}
	switch c.Type.Physical() {
	case schema.Int64:
		return fmt.Sprint(v.I64[row])
	case schema.Float64:
		return fmt.Sprint(v.F64[row])
	case schema.ID:
		return fmt.Sprint(v.Codes[row])
	}
	return fmt.Sprintf("%q", v.Bytes(row))
}

func rowText(b *batch.Batch, row int) (s string) {
	for c := range b.Table.Columns {
		s += cellText(b.Cols[c], &b.Table.Columns[c], row) + "|"
	}
	return s
}

func readAll(tb testing.TB, r *segment.Reader) (rows []string) {
	tb.Helper()
	t := r.Table()
	req := &pred.Request{Table: t, From: pred.MinTime, To: pred.MaxTime}
	for i := range t.Columns {
		req.Columns = append(req.Columns, i)
	}
	var s segment.Scratch
	var b batch.Batch
	for _, u := range r.Units(req) {
		if err := r.Read(context.Background(), u, req, &s, &b); err != nil {
			tb.Fatal(err)
		}
		for i := range b.N {
			rows = append(rows, rowText(&b, i))
		}
	}
	return rows
}

// A merge holds the rows of all inputs, sorted, and equal keys in the order of the inputs.
func TestMergeIsSortedUnion(t *testing.T) {
	table := testTable(t)
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 5))
		fs := vfs.NewMem()
		type row struct {
			b *batch.Batch
			i int32
		}
		var want []row
		var in []*segment.Reader
		for k := range 1 + rng.IntN(7) {
			b := randomRows(rng, table, 1+rng.IntN(900), k)
			order := segment.Order(b)
			o := segment.Options{Sorted: true, PageRows: 64 << rng.IntN(3), DictionaryBytes: 64 << rng.IntN(9), MinIndex: uint64(k + 1), MaxIndex: uint64(k + 1)}
			o.RowGroupRows = 2 * o.PageRows
			in = append(in, writeSegment(t, fs, fmt.Sprint("in", k), b, order, o))
			for _, i := range order {
				want = append(want, row{b, i})
			}
		}
		slices.SortStableFunc(want, func(x, y row) int { return segment.CompareRows(x.b, x.i, y.b, y.i) })
		bytes := int64(0)
		info, err := Merge(context.Background(), fs, in, "out", MergeOptions{
			Segment:     segment.Options{PageRows: 128, RowGroupRows: 512, Level: 1},
			MemoryBytes: int64(seed%2) << 20, // windows of a few pages, or of all rows
			Limit:       func(_ context.Context, n int64) error { bytes += n; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if !info.Sorted || info.Level != 1 || info.MinIndex != 1 || info.MaxIndex != uint64(len(in)) || info.Rows != int64(len(want)) {
			t.Fatalf("seed %d: info %+v of %d rows", seed, info, len(want))
		}
		if bytes == 0 {
			t.Error("the limit was told of no bytes")
		}
		out := openSegment(t, fs, "out", table)
		if err := out.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, out)
		for i := range want {
			if w := rowText(want[i].b, int(want[i].i)); got[i] != w {
				t.Fatalf("seed %d row %d: %s, want %s", seed, i, got[i], w)
			}
		}
	}
}

// Segments of an order that the table had before are sorted anew, in lots that fit the memory, and no file of that is left.
func TestMergeResorts(t *testing.T) {
	older := testTable(t)
	other, err := schema.New(schema.Table{Name: "t", Columns: older.Columns, Order: 1}, "name", "time/1m", "from")
	if err != nil {
		t.Fatal(err)
	}
	for _, late := range []bool{false, true} {
		rng := rand.New(rand.NewPCG(9, 6))
		fs := vfs.NewMem()
		var in []*segment.Reader
		var want []string
		sorted := other
		if late {
			sorted = DayMajor(other)
		}
		var all []*batch.Batch
		for k := range 4 {
			b := randomRows(rng, older, 3000, k)
			o := segment.Options{Sorted: true, PageRows: 128}
			if late {
				b.Cols[0].I64[0] += 3 * dayNanos
				b.Table, o.Sorted = DayMajor(older), false
			}
			order := segment.Order(b)
			b.Table = older
			if k == 3 { // one that is in order
				b.Table = sorted
				order = segment.Order(b)
				b.Table = other
			}
			writeSegment(t, fs, fmt.Sprint("in", k), b, order, o)
			in = append(in, openSegment(t, fs, fmt.Sprint("in", k), other))
			b.Table = sorted
			all = append(all, b)
		}
		type row struct {
			b *batch.Batch
			i int32
		}
		var rows []row
		for _, b := range all {
			for i := range b.N {
				rows = append(rows, row{b, int32(i)})
			}
		}
		slices.SortStableFunc(rows, func(x, y row) int { return segment.CompareRows(x.b, x.i, y.b, y.i) })
		for _, r := range rows {
			want = append(want, rowText(r.b, int(r.i)))
		}
		before, err := fs.List(".")
		if err != nil {
			t.Fatal(err)
		}
		info, err := Merge(context.Background(), fs, in, "out", MergeOptions{MemoryBytes: 1 << 20, Segment: segment.Options{PageRows: 128}})
		if err != nil {
			t.Fatal(err)
		}
		if info.Order != 1 || info.Sorted == late {
			t.Errorf("late %v: order %d, sorted %v", late, info.Order, info.Sorted)
		}
		if got := readAll(t, openSegment(t, fs, "out", other)); !slices.Equal(got, want) {
			t.Errorf("late %v: other rows, or in another order", late)
		}
		if after, err := fs.List("."); err != nil || len(after) != len(before)+1 {
			t.Errorf("%d files, %d before: %v", len(after), len(before), err)
		}
		if _, err := Merge(context.Background(), fs, in, "none", MergeOptions{MemoryBytes: 1 << 20,
			Limit: func(context.Context, int64) error { return errDisk }}); !errors.Is(err, errDisk) {
			t.Errorf("limit: %v", err)
		}
		if after, err := fs.List("."); err != nil || len(after) != len(before)+1 {
			t.Errorf("failed: %d files, %d before: %v", len(after), len(before), err)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	table := testTable(t)
	rng := rand.New(rand.NewPCG(1, 6))
	fs := vfs.NewMem()
	b := randomRows(rng, table, 500, 0)
	sorted := writeSegment(t, fs, "sorted", b, segment.Order(b), segment.Options{Sorted: true})
	unsorted := writeSegment(t, fs, "unsorted", b, nil, segment.Options{})
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	stop := errors.New("stop")
	f := func(name string, want error, ctx context.Context, in []*segment.Reader, o MergeOptions) {
		t.Helper()
		if _, err := Merge(ctx, fs, in, "out", o); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if _, err := fs.Stat("out"); err == nil {
			t.Errorf("%s: left a file behind", name)
		}
	}
	two := []*segment.Reader{sorted, sorted}
	f("unsorted", ErrUnsorted, context.Background(), []*segment.Reader{sorted, unsorted}, MergeOptions{})
	f("memory", ErrMemory, context.Background(), two, MergeOptions{MemoryBytes: 1000})
	f("canceled", context.Canceled, canceled, two, MergeOptions{})
	f("limit", stop, context.Background(), two, MergeOptions{Limit: func(context.Context, int64) error { return stop }})
}

// A disk that fails at any operation leaves an error, never a merged file that lacks rows.
func TestMergeOnFailingDisk(t *testing.T) {
	table := testTable(t)
	rng := rand.New(rand.NewPCG(2, 6))
	fs := vfs.NewMem()
	var in []*segment.Reader
	for k := range 3 {
		b := randomRows(rng, table, 300, k)
		in = append(in, writeSegment(t, fs, fmt.Sprint("in", k), b, segment.Order(b), segment.Options{Sorted: true}))
	}
	for fail := range 8 {
		bad := &failingFS{FS: fs, left: fail}
		_, err := Merge(context.Background(), bad, in, "out", MergeOptions{})
		if _, exists := fs.Stat("out"); (err == nil) != (exists == nil) {
			t.Fatalf("failure %d: error %v, file %v", fail, err, exists)
		}
		_ = fs.Remove("out")
	}
}

var errDisk = errors.New("disk failed")

// failingFS fails every operation on files it creates after the first few.
type failingFS struct {
	vfs.FS
	left int
}

func (f *failingFS) spend() error {
	if f.left--; f.left < 0 {
		return errDisk
	}
	return nil
}

func (f *failingFS) Create(name string) (vfs.File, error) {
	if err := f.spend(); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	return &failingFile{file, f}, err
}

type failingFile struct {
	vfs.File
	fs *failingFS
}

func (f *failingFile) Write(p []byte) (int, error) {
	if err := f.fs.spend(); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *failingFile) Sync() error {
	if err := f.fs.spend(); err != nil {
		return err
	}
	return f.File.Sync()
}

func BenchmarkMerge(b *testing.B) {
	const rows = 32 << 10
	for _, overlap := range []bool{true, false} {
		b.Run(fmt.Sprintf("inputs=8/overlap=%v", overlap), func(b *testing.B) {
			fs := vfs.NewMem()
			var in []*segment.Reader
			flows := gen.NewFlows(gen.Options{Seed: 1})
			for k := range 8 {
				if !overlap {
					flows = gen.NewFlows(gen.Options{Seed: 1, StartNanos: 1767225600e9 + int64(k)*60e9})
				}
				batch := flows.Next(rows)
				if k > 0 {
					batch.Table = in[0].Table()
				}
				in = append(in, writeSegment(b, fs, fmt.Sprint("in", k), batch, segment.Order(batch), segment.Options{Sorted: true}))
			}
			var size int64
			for _, r := range in {
				size += r.Info().Bytes
			}
			var info segment.Info
			var err error
			for b.Loop() {
				if info, err = Merge(context.Background(), fs, in, "out", MergeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(8*rows), "ns/row")
			b.ReportMetric(float64(info.Bytes)/(8*rows), "B/row")
			b.ReportMetric(float64(size)/(8*rows), "inB/row")
		})
	}
}

package segment

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/parquet-go/parquet-go"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// foreign is a cell as another reader should see it.
func foreign(tb testing.TB, b *batch.Batch, col, row int) string {
	tb.Helper()
	c := &b.Table.Columns[col]
	switch x := cell(b.Cols[col], c, row).(type) {
	case nil:
		return "NULL"
	case int64:
		if c.Type == schema.Boolean {
			return fmt.Sprint(x != 0)
		}
		return fmt.Sprint(x)
	case uint32:
		return fmt.Sprint(x)
	case uint64:
		return float(math.Float64frombits(x))
	case string:
		conv := converter{typ: c.Type}
		s, err := conv.stored([]byte(x))
		if err != nil {
			tb.Fatal(err)
		}
		return hex.EncodeToString(s)
	}
	panic("no such cell")
}

func float(x float64) string {
	if x != x {
		return "NaN"
	}
	return fmt.Sprintf("%016x", math.Float64bits(x))
}

// interopFile writes a file of random rows onto the disk.
func interopFile(t *testing.T, seed uint64, portable bool) (path string, b *batch.Batch) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 9))
	b = randomBatch(rng, everyType(t), 1500)
	path = filepath.Join(t.TempDir(), "seg.parquet")
	o := Options{Portable: portable, Level: int(seed & 1), PageRows: 64 << rng.IntN(6), DictionaryBytes: 256 << rng.IntN(10)}
	o.RowGroupRows = o.PageRows * 8
	writeAll(t, vfs.OS, path, b, nil, o)
	return path, b
}

func sameForeign(t *testing.T, b *batch.Batch, get func(col, row int) string) {
	t.Helper()
	for c := range b.Table.Columns {
		for r := range b.N {
			if got, want := get(c, r), foreign(t, b, c, r); got != want {
				t.Fatalf("column %s row %d: %s, want %s", b.Table.Columns[c].Name, r, got, want)
			}
		}
	}
}

func TestReadByParquetGo(t *testing.T) {
	for seed := range uint64(12) {
		path, b := interopFile(t, seed, false)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		file, err := parquet.OpenFile(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		reader := parquet.NewReader(file)
		defer reader.Close()
		rows := make([]parquet.Row, b.N)
		n := 0
		for n < b.N {
			var k int
			k, err = reader.ReadRows(rows[n:])
			for i := n; i < n+k; i++ {
				rows[i] = rows[i].Clone()
			}
			n += k
			if err != nil {
				break
			}
		}
		if n != b.N {
			t.Fatalf("seed %d: %d rows, want %d: %v", seed, n, b.N, err)
		}
		sameForeign(t, b, func(col, row int) string {
			v := rows[row][col]
			switch {
			case v.IsNull():
				return "NULL"
			case v.Kind() == parquet.Boolean:
				return fmt.Sprint(v.Boolean())
			case v.Kind() == parquet.Int32 && b.Table.Columns[col].Type == schema.TagSet:
				return fmt.Sprint(v.Uint32())
			case v.Kind() == parquet.Int32:
				return fmt.Sprint(v.Int32())
			case v.Kind() == parquet.Int64:
				return fmt.Sprint(v.Int64())
			case v.Kind() == parquet.Double:
				return float(v.Double())
			}
			return hex.EncodeToString(v.ByteArray())
		})
		checkPageIndex(t, file, b)
	}
}

// checkPageIndex compares the file's page bounds and Bloom filters with its values, as parquet-go understands them.
func checkPageIndex(t *testing.T, file *parquet.File, b *batch.Batch) {
	t.Helper()
	row := 0
	for _, g := range file.RowGroups() {
		for c, chunk := range g.ColumnChunks() {
			offsets, err := chunk.OffsetIndex()
			if err != nil {
				t.Fatal(err)
			}
			index, err := chunk.ColumnIndex()
			if err != nil || index == nil {
				continue // columns without bounds
			}
			typ := chunk.Type()
			filter := chunk.BloomFilter()
			for p := range index.NumPages() {
				from, to := row+int(offsets.FirstRowIndex(p)), row+int(g.NumRows())
				if p+1 < offsets.NumPages() {
					to = row + int(offsets.FirstRowIndex(p+1))
				}
				nulls := int64(0)
				for r := from; r < to; r++ {
					v, ok := parquetValue(t, b, c, r)
					if !ok {
						nulls++
						continue
					}
					if !v.IsNull() && (typ.Compare(v, index.MinValue(p)) < 0 || typ.Compare(v, index.MaxValue(p)) > 0) {
						t.Fatalf("column %s row %d: %v outside %v..%v", b.Table.Columns[c].Name, r, v, index.MinValue(p), index.MaxValue(p))
					}
					if filter == nil {
						continue
					}
					if has, err := filter.Check(v); err != nil || !has {
						t.Fatalf("column %s row %d: %v is not in the Bloom filter: %v", b.Table.Columns[c].Name, r, v, err)
					}
				}
				if nulls != index.NullCount(p) || (nulls == int64(to-from)) != index.NullPage(p) {
					t.Fatalf("column %s page %d: %d nulls, want %d", b.Table.Columns[c].Name, p, index.NullCount(p), nulls)
				}
			}
		}
		row += int(g.NumRows())
	}
}

func parquetValue(t *testing.T, b *batch.Batch, col, row int) (v parquet.Value, ok bool) {
	c := &b.Table.Columns[col]
	switch x := cell(b.Cols[col], c, row).(type) {
	case int64:
		switch c.Type {
		case schema.Boolean:
			return parquet.BooleanValue(x != 0), true
		case schema.Integer:
			return parquet.Int32Value(int32(x)), true
		}
		return parquet.Int64Value(x), true
	case uint32:
		return parquet.Int32Value(int32(x)), true
	case uint64:
		if f := math.Float64frombits(x); f == f {
			return parquet.DoubleValue(f), true
		}
		return parquet.NullValue(), true // NaN is outside the bounds
	case string:
		conv := converter{typ: c.Type}
		s, err := conv.stored([]byte(x))
		if err != nil {
			t.Fatal(err)
		}
		return parquet.ByteArrayValue(bytes.Clone(s)), true
	}
	return v, false
}

func TestReadByArrow(t *testing.T) {
	for seed := range uint64(12) {
		readByArrow(t, seed, false)
	}
}

// Version 15 of arrow reads all columns of a portable file.
func TestPortableReadByArrow(t *testing.T) {
	for seed := range uint64(6) {
		readByArrow(t, seed, true)
	}
}

func readByArrow(t *testing.T, seed uint64, portable bool) {
	t.Helper()
	path, b := interopFile(t, seed, portable)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := Inspect(vfs.OS, path)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := file.NewParquetReader(f)
	if err != nil {
		t.Fatal(err)
	}
	ar, err := pqarrow.NewFileReader(rd, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	columns := make([][]string, len(b.Table.Columns))
	for c := range columns {
		if in.Columns[c].Encodings["BYTE_STREAM_SPLIT"] > 0 {
			if portable {
				t.Fatalf("column %s of a portable file: %v", in.Columns[c].Name, in.Columns[c].Encodings)
			}
			continue // later versions of arrow read it, v15 does not: TestPortableReadByArrow
		}
		column, err := ar.GetColumn(context.Background(), c)
		if err != nil {
			t.Fatal(err)
		}
		chunks, err := column.NextBatch(int64(b.N))
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range chunks.Chunks() {
			columns[c] = append(columns[c], arrowCells(t, chunk)...)
		}
		if len(columns[c]) != b.N {
			t.Fatalf("column %d has %d rows", c, len(columns[c]))
		}
	}
	sameForeign(t, b, func(col, row int) string {
		if columns[col] == nil {
			return foreign(t, b, col, row)
		}
		return columns[col][row]
	})
}

func arrowCells(t *testing.T, a arrow.Array) []string {
	t.Helper()
	out := make([]string, a.Len())
	for i := range out {
		if a.IsNull(i) {
			out[i] = "NULL"
			continue
		}
		switch a := a.(type) {
		case *array.Boolean:
			out[i] = fmt.Sprint(a.Value(i))
		case *array.Int32:
			out[i] = fmt.Sprint(a.Value(i))
		case *array.Uint32:
			out[i] = fmt.Sprint(a.Value(i))
		case *array.Int64:
			out[i] = fmt.Sprint(a.Value(i))
		case *array.Timestamp:
			if typ := a.DataType().(*arrow.TimestampType); typ.Unit != arrow.Nanosecond || typ.TimeZone != "UTC" {
				t.Fatalf("timestamps are %v", typ)
			}
			out[i] = fmt.Sprint(int64(a.Value(i)))
		case *array.Float64:
			out[i] = float(a.Value(i))
		case *array.String:
			out[i] = hex.EncodeToString([]byte(a.Value(i)))
		case *array.Binary:
			out[i] = hex.EncodeToString(a.Value(i))
		default:
			t.Fatalf("column of type %s", a.DataType())
		}
	}
	return out
}

const duckScript = `
import duckdb, json, struct, sys
c = duckdb.connect()
path = sys.argv[1]
names, types = [], []
for d in c.execute("DESCRIBE SELECT * FROM read_parquet(?)", [path]).fetchall():
    names.append(d[0]); types.append(d[1])
print(json.dumps(dict(zip(names, types))))
cols = ['epoch_ns("%s")' % n if t.startswith('TIMESTAMP') else '"%s"' % n for n, t in zip(names, types)]
def text(v):
    if v is None: return 'NULL'
    if isinstance(v, bool): return 'true' if v else 'false'
    if isinstance(v, float): return 'NaN' if v != v else struct.pack('>d', v).hex()
    if isinstance(v, str): return v.encode().hex()
    if isinstance(v, bytes): return v.hex()
    return str(v)
for row in c.execute("SELECT %s FROM read_parquet(?)" % ", ".join(cols), [path]).fetchall():
    print(json.dumps([text(v) for v in row]))
for q in sys.argv[2:]:
    print(json.dumps([text(v) for v in c.execute(q.replace('FILE', "read_parquet('%s')" % path)).fetchone()]))
`

// duckdb runs the script; the test is skipped where there is no python with duckdb.
func duckdb(t *testing.T, args ...string) [][]string {
	t.Helper()
	python := os.Getenv("FLOWLAKE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import duckdb").Run(); err != nil {
		t.Skipf("%s has no module duckdb (FLOWLAKE_PYTHON names another): %v", python, err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(python, append([]string{"-c", duckScript}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("duckdb: %v\n%s", err, stderr.String())
	}
	var rows [][]string
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for i := 0; lines.Scan(); i++ {
		if i == 0 {
			t.Logf("types: %s", lines.Text())
			continue
		}
		var row []string
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

func TestReadByDuckDB(t *testing.T) {
	for seed := range uint64(4) {
		path, b := interopFile(t, seed, false)
		rows := duckdb(t, path, "SELECT count(*) FROM FILE",
			"SELECT count(*) FROM FILE WHERE maybe_big IS NULL", "SELECT count(*) FROM FILE WHERE key = 'value-1-ü'")
		if len(rows) != b.N+3 {
			t.Fatalf("%d rows, want %d", len(rows), b.N)
		}
		sameForeign(t, b, func(col, row int) string { return rows[row][col] })
		nulls, keys := 0, 0
		for r := range b.N {
			if foreign(t, b, 14, r) == "NULL" {
				nulls++
			}
			if cell(b.Cols[7], &b.Table.Columns[7], r) == "value-1-ü" {
				keys++
			}
		}
		if got := rows[b.N+1][0]; got != fmt.Sprint(nulls) {
			t.Errorf("duckdb counts %s NULLs, want %d", got, nulls)
		}
		if got := rows[b.N+2][0]; got != fmt.Sprint(keys) {
			t.Errorf("duckdb finds %s keys, want %d", got, keys)
		}
	}
}

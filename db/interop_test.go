package db

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/pqarrow"
	"github.com/parquet-go/parquet-go"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// interopRow makes a random row and says how another reader should see it: one text for each column, tag sets by their tags.
func interopRow(rng *rand.Rand, b *batch.Builder) []string {
	t := b.Table()
	out := make([]string, len(t.Columns))
	word := func() string {
		return []string{"", "GET", "ünï", strings.Repeat("x", rng.IntN(200)), fmt.Sprint(rng.Uint64())}[rng.IntN(5)]
	}
	for i, c := range t.Columns {
		if c.Nullable && rng.IntN(3) == 0 {
			out[i] = "NULL"
			continue
		}
		switch {
		case i == t.TimeColumn:
			v := t0 + rng.Int64N(int64(3*time.Hour))
			b.Int(i, v)
			out[i] = fmt.Sprint(v)
		case c.Type == schema.Boolean:
			v := rng.IntN(2) == 0
			b.Bool(i, v)
			out[i] = fmt.Sprint(v)
		case c.Type == schema.Integer:
			v := int64(int32(rng.Uint32())) >> rng.IntN(32)
			b.Int(i, v)
			out[i] = fmt.Sprint(v)
		case c.Type.Physical() == schema.Int64:
			v := rng.Int64() >> rng.IntN(64)
			b.Int(i, v)
			out[i] = fmt.Sprint(v)
		case c.Type.Physical() == schema.Float64:
			v := []float64{0, 1.5, -3, math.Inf(1), rng.NormFloat64(), float64(rng.IntN(1000)) / 10}[rng.IntN(6)]
			b.Float(i, v)
			out[i] = fmt.Sprintf("%016x", math.Float64bits(v))
		case c.Type == schema.TagSet:
			pod := fmt.Sprint("pod-", rng.IntN(40))
			b.Tags(i, tags.AppendSet(nil, tags.Tag{Key: "pod", Value: pod}, tags.Tag{Key: "zone", Value: "ü"}))
			out[i] = "pod=" + pod + ",zone=ü"
		case c.Type == schema.Inet:
			if rng.IntN(4) == 0 {
				break // no address
			}
			a := netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(3)), byte(rng.IntN(256))})
			if rng.IntN(3) == 0 {
				a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(rng.IntN(256))})
			}
			v := a.As16()
			b.Text(i, v[:])
			out[i] = hex.EncodeToString([]byte(a.String()))
		case c.Type == schema.Map:
			v := word()
			b.Text(i, tags.AppendSet(nil, tags.Tag{Key: "k", Value: v + "\"<"}))
			text, _ := json.Marshal(map[string]string{"k": v + "\"<"})
			out[i] = "json " + string(text)
		case c.Merge == schema.MergeSketch:
			var s enc.Sketch
			for range rng.IntN(6) {
				s.Add(float64(rng.IntN(1e6)))
			}
			v := s.AppendTo(nil)
			b.Text(i, v)
			out[i] = hex.EncodeToString(v)
		case c.Merge == schema.MergeUniq:
			v := enc.AppendHLL(nil, []uint64{enc.HLLValue(rng.Uint64())})
			b.Text(i, v)
			out[i] = hex.EncodeToString(v)
		case c.Type.Physical() == schema.Code:
			v := word()
			b.String(i, v)
			out[i] = hex.EncodeToString([]byte(v))
		default:
			panic("no such type")
		}
	}
	b.EndRow()
	return out
}

// ownRows are the rows of a table as we read them, in the form of interopRow, sorted.
func ownRows(t *testing.T, d *DB, table *schema.Table) (out []string) {
	t.Helper()
	view := d.Tags()
	err := eachRow(d, &pred.Request{Table: table, Columns: allColumns(table), From: pred.MinTime, To: pred.MaxTime}, func(b *batch.Batch, r int) error {
		row := make([]string, len(table.Columns))
		for i, c := range table.Columns {
			v := b.Cols[i]
			switch {
			case v.IsNull(r):
				row[i] = "NULL"
			case c.Type == schema.Boolean:
				row[i] = fmt.Sprint(v.I64[r] != 0)
			case c.Type.Physical() == schema.Int64:
				row[i] = fmt.Sprint(v.I64[r])
			case c.Type.Physical() == schema.Float64:
				row[i] = fmt.Sprintf("%016x", math.Float64bits(v.F64[r]))
			case c.Type == schema.TagSet:
				var list []string
				if err := tags.Each(view.Set(v.Codes[r]), func(key, value []byte) { list = append(list, string(key)+"="+string(value)) }); err != nil {
					return err
				}
				slices.Sort(list)
				row[i] = strings.Join(list, ",")
			case c.Type == schema.Inet && len(v.Bytes(r)) == 16:
				row[i] = hex.EncodeToString([]byte(netip.AddrFrom16([16]byte(v.Bytes(r))).Unmap().String()))
			default:
				row[i] = hex.EncodeToString(v.Bytes(r))
			}
		}
		out = append(out, strings.Join(row, "|"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// foreignFile is a Parquet file as another reader sees it: columns by name, each cell as text.
type foreignFile map[string][]string

func readParquetGo(t *testing.T, path string) foreignFile {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	pf, err := parquet.OpenFile(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	names, out := pf.Schema().Columns(), foreignFile{}
	r := parquet.NewReader(pf)
	defer r.Close()
	rows := make([]parquet.Row, 64)
	for {
		n, err := r.ReadRows(rows)
		for _, row := range rows[:n] {
			for _, v := range row {
				name := names[v.Column()][0]
				out[name] = append(out[name], parquetText(v))
			}
		}
		if err != nil || n == 0 {
			return out
		}
	}
}

func parquetText(v parquet.Value) string {
	switch {
	case v.IsNull():
		return "NULL"
	case v.Kind() == parquet.Boolean:
		return fmt.Sprint(v.Boolean())
	case v.Kind() == parquet.Int32:
		return fmt.Sprint(v.Int32())
	case v.Kind() == parquet.Int64:
		return fmt.Sprint(v.Int64())
	case v.Kind() == parquet.Double:
		return fmt.Sprintf("%016x", math.Float64bits(v.Double()))
	}
	return hex.EncodeToString(v.ByteArray())
}

func readArrow(t *testing.T, path string) foreignFile {
	t.Helper()
	rd, err := file.OpenParquetFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	ar, err := pqarrow.NewFileReader(rd, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := ar.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer table.Release()
	out := foreignFile{}
	for i := range int(table.NumCols()) {
		c := table.Column(i)
		cells := []string{}
		for _, chunk := range c.Data().Chunks() {
			for k := range chunk.Len() {
				text := "NULL"
				if !chunk.IsNull(k) {
					switch a := chunk.(type) {
					case *array.Boolean:
						text = fmt.Sprint(a.Value(k))
					case *array.Int32:
						text = fmt.Sprint(a.Value(k))
					case *array.Uint32:
						text = fmt.Sprint(a.Value(k))
					case *array.Int64:
						text = fmt.Sprint(a.Value(k))
					case *array.Timestamp:
						text = fmt.Sprint(int64(a.Value(k)))
					case *array.Float64:
						text = fmt.Sprintf("%016x", math.Float64bits(a.Value(k)))
					case *array.String:
						text = hex.EncodeToString([]byte(a.Value(k)))
					case *array.Binary:
						text = hex.EncodeToString(a.Value(k))
					default:
						t.Fatalf("column %s is %s", c.Name(), chunk.DataType())
					}
				}
				cells = append(cells, text)
			}
		}
		out[c.Name()] = cells
	}
	return out
}

const interopScript = `
import duckdb, json, struct, sys
c = duckdb.connect()
def text(v):
    if v is None: return 'NULL'
    if isinstance(v, bool): return 'true' if v else 'false'
    if isinstance(v, float): return struct.pack('>d', v).hex()
    if isinstance(v, str): return v.encode().hex()
    if isinstance(v, bytes): return v.hex()
    return str(v)
for path in sys.argv[1:]:
    names, types = [], []
    for d in c.execute("DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning=false)", [path]).fetchall():
        names.append(d[0]); types.append(d[1])
    cols = ['epoch_ns("%s")' % n if t.startswith('TIMESTAMP') else '"%s"' % n for n, t in zip(names, types)]
    rows = c.execute("SELECT %s FROM read_parquet(?, hive_partitioning=false)" % ", ".join(cols), [path]).fetchall()
    print(json.dumps({n: [text(r[i]) for r in rows] for i, n in enumerate(names)}))
`

// readDuckDB reads files with DuckDB; nil where there is no python with it.
func readDuckDB(t *testing.T, paths ...string) []foreignFile {
	t.Helper()
	python := os.Getenv("FLOWLAKE_PYTHON")
	if python == "" {
		python = "python3"
	}
	if err := exec.Command(python, "-c", "import duckdb").Run(); err != nil {
		return nil
	}
	var stderr bytes.Buffer
	cmd := exec.Command(python, append([]string{"-c", interopScript}, paths...)...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("duckdb: %v\n%s", err, stderr.String())
	}
	var out []foreignFile
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 256<<20)
	for lines.Scan() {
		var f foreignFile
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// foreignTags are the tag sets of tag files as another reader sees them, by id.
func foreignTags(t *testing.T, files []foreignFile) map[string]string {
	t.Helper()
	sets := map[string][]string{}
	for _, f := range files {
		for i, id := range f["id"] {
			key, err := hex.DecodeString(f["key"][i])
			value, verr := hex.DecodeString(f["value"][i])
			if err != nil || verr != nil {
				t.Fatal(err, verr)
			}
			sets[id] = append(sets[id], string(key)+"="+string(value))
		}
	}
	out := map[string]string{"0": ""}
	for id, list := range sets {
		slices.Sort(list)
		out[id] = strings.Join(list, ",")
	}
	return out
}

// foreignRows are the rows of segments as another reader sees them, sorted.
func foreignRows(t *testing.T, table *schema.Table, files []foreignFile, sets map[string]string) []string {
	t.Helper()
	var out []string
	for _, f := range files {
		for r := range f[table.Columns[table.TimeColumn].Name] {
			row := make([]string, len(table.Columns))
			for i, c := range table.Columns {
				if len(f[c.Name]) == 0 {
					t.Fatalf("a file of %s has no column %s", table.Name, c.Name)
				}
				row[i] = f[c.Name][r]
				switch c.Type {
				case schema.TagSet:
					set, ok := sets[row[i]]
					if !ok {
						t.Fatalf("%s: no tag set %s", table.Name, row[i])
					}
					row[i] = set
				case schema.Map:
					text, err := hex.DecodeString(row[i])
					var m map[string]string
					if err == nil {
						err = json.Unmarshal(text, &m)
					}
					if err != nil {
						t.Fatalf("%s.%s: %q: %v", table.Name, c.Name, text, err)
					}
					again, _ := json.Marshal(m)
					row[i] = "json " + string(again)
				}
			}
			out = append(out, strings.Join(row, "|"))
		}
	}
	slices.Sort(out)
	return out
}

// TestOthersReadWhatWasWritten writes random rows of every table, flushes them to several segments, and has parquet-go, arrow
// and DuckDB read segments and tag files: all rows are there, whole. Then the same after everything was merged. The rows of
// rollups, which the database makes itself, are compared with those that it reads.
func TestOthersReadWhatWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, err := Open(dir, func(o *Options) {
		o.NoCompaction, o.Portable, o.NoSync, o.HeadAge, o.PageRows = true, true, true, time.Hour, 64
	})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rng := rand.New(rand.NewPCG(4, 4))
	want := map[*schema.Table][]string{}
	for range 8 {
		for _, table := range d.Tables() {
			if d.isRollup(table) {
				continue
			}
			b := batch.NewBuilder(table) // of partial rows no two have the same time, which would become one
			for range 40 {
				want[table] = append(want[table], strings.Join(interopRow(rng, b), "|"))
			}
			mustWrite(t, d, b.Seal())
		}
		mustFlush(t, d)
	}
	for _, rows := range want {
		slices.Sort(rows)
	}
	for _, when := range []string{"flushed", "merged"} {
		if when == "merged" {
			if err := d.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
			if n := d.Metrics().Compactions; n < int64(len(want)) {
				t.Fatalf("%d merges of %d tables", n, len(want))
			}
		}
		partial := 0
		for _, table := range d.Tables() {
			if d.isRollup(table) {
				want[table] = ownRows(t, d, table)
				partial += len(want[table])
			}
		}
		if partial < 2*8*40 {
			t.Fatalf("%s: rollups have %d rows", when, partial)
		}
		othersRead(t, d, dir, when, want)
	}
}

func othersRead(t *testing.T, d *DB, dir, when string, want map[*schema.Table][]string) {
	t.Helper()
	tagPaths, err := filepath.Glob(filepath.Join(dir, "tags", "*.parquet"))
	if err != nil || len(tagPaths) == 0 {
		t.Fatal(tagPaths, err)
	}
	readers := map[string]func(paths []string) []foreignFile{
		"parquet-go": func(paths []string) (out []foreignFile) {
			for _, p := range paths {
				out = append(out, readParquetGo(t, p))
			}
			return out
		},
		"arrow": func(paths []string) (out []foreignFile) {
			for _, p := range paths {
				out = append(out, readArrow(t, p))
			}
			return out
		},
		"duckdb": func(paths []string) []foreignFile { return readDuckDB(t, paths...) },
	}
	for name, read := range readers {
		tagFiles := read(tagPaths)
		if tagFiles == nil {
			t.Logf("%s: not here (FLOWLAKE_PYTHON names a python that has it)", name)
			continue
		}
		sets := foreignTags(t, tagFiles)
		for table, rows := range want {
			var paths []string
			for _, s := range d.Segments() {
				if s.Table == table.Name {
					paths = append(paths, filepath.Join(dir, s.Path))
				}
			}
			got := foreignRows(t, table, read(paths), sets)
			if len(got) != len(rows) {
				t.Fatalf("%s, %s: %d rows of %s, want %d", name, when, len(got), table.Name, len(rows))
			}
			for i := range rows {
				if got[i] != rows[i] {
					t.Fatalf("%s, %s: a row of %s is\n%s, was written as\n%s", name, when, table.Name, got[i], rows[i])
				}
			}
		}
	}
}

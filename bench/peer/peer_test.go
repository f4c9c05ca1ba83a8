package peer

import (
	"bytes"
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db/tags"
)

// TestChunksHoldTheRows reads the files back and compares some columns of each kind with the rows they were made of.
func TestChunksHoldTheRows(t *testing.T) {
	s := workload.Spec{Table: "flows", Rows: 900, Pool: 900, ChunkRows: 900, Seed: 3}
	files, cols, err := WriteChunks(s, t.TempDir())
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	rows, err := parquet.ReadFile[struct {
		Time  int64  `parquet:"time"`
		IP    string `parquet:"server_ip"`
		New   bool   `parquet:"is_new"`
		RTT   *int64 `parquet:"rtt_us,optional"`
		Port  int32  `parquet:"server_port"`
		Pod   string `parquet:"server_tags_pod"`
		Proto string `parquet:"l7_protocol"`
	}](files[0])
	if err != nil {
		t.Fatal(err)
	}
	g, err := workload.NewGenerator(s)
	if err != nil {
		t.Fatal(err)
	}
	b := g.Next()
	if len(rows) != b.N {
		t.Fatalf("%d rows, want %d", len(rows), b.N)
	}
	if len(cols) < len(b.Table.Columns)+30 {
		t.Errorf("%d columns: tags are missing", len(cols))
	}
	col := b.Table.MustColumn
	nulls := 0
	for i, r := range rows {
		ip, _ := netip.AddrFromSlice(b.Cols[col("server_ip")].Bytes(i))
		pod, _ := tags.Get(b.Cols[col("server_tags")].Bytes(i), "pod")
		if r.Time != b.Cols[col("time")].I64[i] || r.IP != ip.String() || r.Pod != string(pod) || r.New != (b.Cols[col("is_new")].I64[i] != 0) ||
			int64(r.Port) != b.Cols[col("server_port")].I64[i] || r.Proto != string(b.Cols[col("l7_protocol")].Bytes(i)) {
			t.Fatalf("row %d: %+v", i, r)
		}
		rtt := b.Cols[col("rtt_us")]
		if null := rtt.IsNull(i); null != (r.RTT == nil) || !null && *r.RTT != rtt.I64[i] {
			t.Fatalf("row %d: rtt_us %v", i, r.RTT)
		} else if null {
			nulls++
		}
	}
	if nulls == 0 || nulls == len(rows) {
		t.Errorf("%d of %d rtt_us are NULL: nothing was shown", nulls, len(rows))
	}
}

func TestCreate(t *testing.T) {
	for _, c := range []struct{ system, table, has string }{
		{"chdb", "flows", "server_tags_pod LowCardinality(String) CODEC(ZSTD(1))"},
		{"chdb", "flows", "rtt_us Nullable(Int64)"},
		{"chdb", "spans", "trace_id TYPE bloom_filter"},
		{"chdb", "spans", "span_id String CODEC"},
		{"chdb", "samples", "ORDER BY (tags___name__, tags_instance"},
		{"duckdb", "flows", "time TIMESTAMP_NS"},
		{"duckdb", "spans", "CREATE INDEX spans_trace_id"},
		{"duckdb", "samples", "value DOUBLE"},
	} {
		_, cols, err := WriteChunks(workload.Spec{Table: c.table, Pool: 500, ChunkRows: 500}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		create, names, times, err := Describe(c.system, c.table, cols)
		if err != nil {
			t.Fatal(err)
		}
		if sql := strings.Join(create, ";\n"); !strings.Contains(sql, c.has) {
			t.Errorf("%s %s has no %q:\n%s", c.system, c.table, c.has, sql)
		}
		if len(names) != len(cols) || len(times) == 0 {
			t.Errorf("%s %s: %d names, times %q", c.system, c.table, len(names), times)
		}
	}
	if _, err := Create("postgres", "flows", nil); err == nil {
		t.Error("a table for a system that is not known")
	}
	if _, err := Create("chdb", "logs", nil); err == nil {
		t.Error("a table without a sort key")
	}
}

func TestPythonThatIsNotThere(t *testing.T) {
	t.Setenv(PythonEnv, filepath.Join(t.TempDir(), "python"))
	if _, err := Python(context.Background(), "duckdb", &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), PythonEnv) {
		t.Errorf("got %v", err)
	}
}

package peer

import (
	"bytes"
	"context"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/parquet-go/parquet-go"
	"google.golang.org/protobuf/encoding/protowire"

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
		{"questdb", "flows", "server_tags_pod SYMBOL"},
		{"questdb", "flows", "TIMESTAMP(time) PARTITION BY HOUR WAL"},
	} {
		_, cols, err := WriteChunks(workload.Spec{Table: c.table, Pool: 500, ChunkRows: 500}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s := workload.Spec{System: c.system, Table: c.table}
		if err := Describe(&s, cols); err != nil {
			t.Fatal(err)
		}
		if sql := strings.Join(s.Create, ";\n"); !strings.Contains(sql, c.has) {
			t.Errorf("%s %s has no %q:\n%s", c.system, c.table, c.has, sql)
		}
		if len(s.Columns) != len(cols) || len(s.Times) == 0 || (len(s.IDs) == 0) != (c.table == "samples") {
			t.Errorf("%s %s: %d names, times %q, ids %q", c.system, c.table, len(s.Columns), s.Times, s.IDs)
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
	for _, name := range Names() {
		if _, err := Find(context.Background(), name, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), PythonEnv) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestRequestsHoldTheSamples decodes the requests with a decoder of their own and compares them with the rows.
func TestRequestsHoldTheSamples(t *testing.T) {
	s := workload.Spec{Table: "samples", Rows: 3 * workload.BatchRows, Pool: workload.BatchRows, ChunkRows: workload.BatchRows, Seed: 4, ShiftNanos: 15e9}
	files, err := WriteRequests(s, t.TempDir())
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	g, err := workload.NewGenerator(s)
	if err != nil {
		t.Fatal(err)
	}
	b := g.Next()
	at, values, sets := b.Cols[b.Table.TimeColumn].I64, b.Cols[b.Table.MustColumn("value")].F64, b.Cols[b.Table.MustColumn("tags")]
	for round, file := range files {
		packed, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body, err := snappy.Decode(nil, packed)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		fields(t, body, func(_ protowire.Number, _ uint64, series []byte) {
			var set []tags.Tag
			var got []uint64 // value, milliseconds
			fields(t, series, func(n protowire.Number, _ uint64, v []byte) {
				if n == 2 {
					fields(t, v, func(_ protowire.Number, v uint64, _ []byte) { got = append(got, v) })
					return
				}
				var label []string
				fields(t, v, func(_ protowire.Number, _ uint64, v []byte) { label = append(label, string(v)) })
				set = append(set, tags.Tag{Key: label[0], Value: label[1]})
			})
			want := []uint64{math.Float64bits(values[i]), uint64(at[i]/1e6) + uint64(round)*15e3}
			if !slices.Equal(got, want) || string(tags.AppendSet(nil, set...)) != string(sets.Bytes(i)) {
				t.Fatalf("round %d series %d: %v, want %v", round, i, got, want)
			}
			i++
		})
		if i != b.N {
			t.Fatalf("%d series", i)
		}
	}
}

// fields calls f for each field of a message: a number or bytes.
func fields(t *testing.T, msg []byte, f func(n protowire.Number, v uint64, b []byte)) {
	t.Helper()
	for len(msg) > 0 {
		num, kind, n := protowire.ConsumeTag(msg)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(msg)
		default:
			b, n = protowire.ConsumeBytes(msg)
		}
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		msg = msg[n:]
		f(num, v, b)
	}
}

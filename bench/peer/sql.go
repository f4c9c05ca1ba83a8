package peer

import (
	"fmt"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
)

// sortKeys is the order of a table in ClickHouse: that of ours, a tag set being told apart by its pod or its series.
var sortKeys = map[string]string{
	"flows":   "toStartOfMinute(time), server_tags_pod, client_tags_pod, server_port, time",
	"spans":   "toStartOfMinute(time), server_tags_pod, client_tags_pod, endpoint, time",
	"samples": "tags___name__, tags_instance, tags_job, tags_namespace, tags_cluster, time",
}

// Create is the statements that make the table of a peer.
func Create(system, table string, cols []Column) ([]string, error) {
	typed := map[string]func(*Column) string{"chdb": (*Column).clickhouse, "duckdb": (*Column).duckdb}[system]
	if typed == nil {
		return nil, fmt.Errorf("no tables are known for %q", system)
	}
	var defs []string
	for i := range cols {
		defs = append(defs, cols[i].Name+" "+typed(&cols[i]))
	}
	if system == "duckdb" {
		out := []string{fmt.Sprintf("CREATE TABLE %s (%s)", table, strings.Join(defs, ", "))}
		if table == "spans" {
			out = append(out, "CREATE INDEX spans_trace_id ON spans (trace_id)")
		}
		return out, nil
	}
	key, ok := sortKeys[table]
	if !ok {
		return nil, fmt.Errorf("no sort key is known for table %q", table)
	}
	if table == "spans" {
		defs = append(defs, "INDEX by_trace trace_id TYPE bloom_filter(0.001) GRANULARITY 1")
	}
	// an insert is acknowledged when it is on disk, as in the other systems
	return []string{fmt.Sprintf("CREATE TABLE %s (%s) ENGINE = MergeTree ORDER BY (%s) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1",
		table, strings.Join(defs, ", "), key)}, nil
}

// clickhouse is the type and codec of a column: those of the tables that OpenTelemetry's exporter for ClickHouse makes.
func (c *Column) clickhouse() string {
	var t string
	codec := "ZSTD(1)"
	switch c.Type {
	case schema.Boolean:
		t = "Bool"
	case schema.Integer:
		t = "Int32"
	case schema.BigInt:
		t = "Int64"
	case schema.Double:
		t, codec = "Float64", "Gorilla, ZSTD(1)"
	case schema.Timestamp:
		t, codec = "DateTime64(9)", "Delta(8), ZSTD(1)"
	default:
		if t = "String"; c.Few {
			t = "LowCardinality(String)"
		}
	}
	if c.Nullable {
		t = "Nullable(" + t + ")"
	}
	return t + " CODEC(" + codec + ")"
}

func (c *Column) duckdb() string {
	switch c.Type {
	case schema.Boolean:
		return "BOOLEAN"
	case schema.Integer:
		return "INTEGER"
	case schema.BigInt:
		return "BIGINT"
	case schema.Double:
		return "DOUBLE"
	case schema.Timestamp:
		return "TIMESTAMP_NS"
	}
	return "VARCHAR"
}

// Describe sets what a peer must know of its table: the statements, the columns, and those that are times.
func Describe(system, table string, cols []Column) (create, names, times []string, err error) {
	for i := range cols {
		names = append(names, cols[i].Name)
		if cols[i].Type == schema.Timestamp {
			times = append(times, cols[i].Name)
		}
	}
	create, err = Create(system, table, cols)
	return create, names, times, err
}

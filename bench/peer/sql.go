package peer

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db/schema"
)

// sortKeys is the order of a table in ClickHouse: that of ours, a tag set being told apart by its pod or its series.
var sortKeys = map[string]string{
	"flows":              "toStartOfMinute(time), server_tags_pod, client_tags_pod, server_port, time",
	"spans":              "toStartOfMinute(time), server_tags_pod, client_tags_pod, endpoint, time",
	workload.EdgesTable:  "toStartOfMinute(time), server_tags_pod, client_tags_pod, server_port, time",
	workload.TaggedTable: "toStartOfMinute(time), server_tags_pod, client_tags_pod, server_port, time",
	"samples":            "tags___name__, tags_instance, tags_job, tags_namespace, tags_cluster, time",
}

// Create is the statements that make the table of a peer.
func Create(system, table string, cols []Column) ([]string, error) {
	if system == VictoriaMetrics { // series come into being with their first sample
		return nil, nil
	}
	typed := map[string]func(*Column) string{ClickHouse: (*Column).clickhouse, DuckDB: (*Column).duckdb, QuestDB: (*Column).questdb}[system]
	if typed == nil {
		return nil, fmt.Errorf("no tables are known for %q", system)
	}
	var defs []string
	for i := range cols {
		defs = append(defs, cols[i].Name+" "+typed(&cols[i]))
	}
	if system == QuestDB {
		return []string{fmt.Sprintf("CREATE TABLE %s (%s) TIMESTAMP(time) PARTITION BY HOUR WAL", table, strings.Join(defs, ", "))}, nil
	}
	if system == DuckDB {
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
	const settings = "SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
	out := []string{fmt.Sprintf("CREATE TABLE %s (%s) ENGINE = MergeTree ORDER BY (%s) %s", table, strings.Join(defs, ", "), key, settings)}
	if table == workload.EdgesTable {
		out = append(out,
			"CREATE TABLE "+workload.RollupName+" (bucket DateTime64(9), service LowCardinality(String), l7_request SimpleAggregateFunction(sum, Int64), "+
				"bytes_rx SimpleAggregateFunction(sum, Int64), rtt AggregateFunction(quantileDD(0.01, 0.99), Int64)) "+
				"ENGINE = AggregatingMergeTree ORDER BY (bucket, service) "+settings,
			"CREATE MATERIALIZED VIEW "+workload.RollupName+"_view TO "+workload.RollupName+" AS SELECT toStartOfInterval(time, INTERVAL 5 minute) AS bucket, "+
				"server_tags_service AS service, sum(l7_request) AS l7_request, sum(bytes_rx) AS bytes_rx, "+
				"quantileDDStateIf(0.01, 0.99)(rtt_sum_us, rtt_count > 0) AS rtt FROM "+table+" GROUP BY bucket, service")
	}
	return out, nil
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

func (c *Column) questdb() string {
	switch c.Type {
	case schema.Boolean:
		return "BOOLEAN"
	case schema.Integer:
		return "INT"
	case schema.BigInt:
		return "LONG"
	case schema.Double:
		return "DOUBLE"
	case schema.Timestamp:
		return "TIMESTAMP_NS"
	}
	if c.Few { // its makers ask for room for all values, which are more than those of the first rows
		return fmt.Sprintf("SYMBOL CAPACITY %d", max(256, 8<<bits.Len(uint(c.Distinct))))
	}
	return "VARCHAR"
}

// Describe sets what a peer must know of its table: the statements, the columns, and those that are times and ids.
func Describe(s *workload.Spec, cols []Column) (err error) {
	s.Columns, s.Times, s.IDs = []string{}, []string{}, []string{}
	for i := range cols {
		s.Columns = append(s.Columns, cols[i].Name)
		if cols[i].Type == schema.Timestamp {
			s.Times = append(s.Times, cols[i].Name)
		}
		if workload.IsID(cols[i].Name) {
			s.IDs = append(s.IDs, cols[i].Name)
		}
	}
	s.Create, err = Create(s.System, s.Table, cols)
	return err
}

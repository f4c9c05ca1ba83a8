package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query"
)

// rollupQuestion is a random aggregate over flows or spans that a rollup may answer, with any bounds of time.
func rollupQuestion(rng *rand.Rand) string {
	some := func(n int, list ...string) []string {
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list[:rng.IntN(n+1)]
	}
	at := func() string {
		n := duckTime(rng)
		n -= n % pick(rng, int64(1e3), 60e9, 300e9, 3600e9)
		return "TIMESTAMP '" + time.Unix(0, n).UTC().Format(time.RFC3339Nano) + "'"
	}
	table, keys := "flows", some(2, "server.service", "client.zone", "protocol", "time_bucket('5 minutes', time)", "date_trunc('hour', time)")
	aggs := append(some(4, "sum(bytes_tx)", "sum(bytes_tx + 2 * bytes_rx)", "avg(rtt_us)", "max(rtt_us)", "count(rtt_us)", "uniq(client_ip)",
		"approx_percentile(rtt_us, 0.95)", "count(*) FILTER (WHERE protocol = 'tcp')", "count(server.service)"), "count(*)")
	where := some(2, "protocol <> 'icmp'", "server.service = 'svc-3'", "server.service IS NOT NULL", "client.zone IN ('a', 'b')", "server.service LIKE 'svc-%'")
	if rng.IntN(3) == 0 {
		table, keys = "spans", some(2, "service_name", "response_status", "date_trunc('day', time AT TIME ZONE 'Europe/Berlin')")
		aggs = append(some(4, "avg(duration_us)", "approx_percentile(duration_us, 0.5)", "uniq(trace_id)", "uniq(endpoint)", "min(duration_us)", "sum(request_bytes)"), "count(*)")
		where = some(1, "response_status = 'ok'", "service_name <> 'svc-1'")
	}
	if rng.IntN(4) > 0 {
		where = append(where, "time >= "+at())
	}
	if rng.IntN(2) > 0 {
		where = append(where, "time < "+at())
	}
	sql := "SELECT " + strings.Join(append(slices.Clone(keys), aggs...), ", ") + " FROM " + table
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if len(keys) > 0 {
		sql += " GROUP BY " + strings.Join(keys, ", ")
	}
	return sql
}

// ask gives the rows of an answer, sorted.
func ask(t *testing.T, s *query.Session, sql string) string {
	t.Helper()
	res, err := s.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	rows, err := res.All(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = strings.Join(r, " | ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestRollupsThroughSQL declares rollups over rows that are there, some in segments and some not, writes more, and asks the
// same with and without rollups: before and after flushes and merges, after a restart, and when one is dropped.
func TestRollupsThroughSQL(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	now := func() time.Time { return duckStart.Add(duckSpan) }
	var d *db.DB
	var on, off *query.Session
	ctx, rng := context.Background(), rand.New(rand.NewPCG(3, 5))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func() {
		var err error
		d, err = db.Open(dir, func(o *db.Options) {
			o.FlushRows, o.NoSync, o.CompactEvery, o.Now = 500, true, time.Hour, now
		})
		must(err)
		e := query.New(d, func(o *query.Options) { o.Now, o.Workers = now, 2 })
		on, off = e.NewSession(), e.NewSession()
		ask(t, off, "SET rollup = off")
	}
	write := func() {
		must(d.Write(ctx, duckFlows(rng, 300)))
		must(d.Write(ctx, duckSpans(rng, 200, 0)))
	}
	used := 0
	compare := func(when string, questions int) {
		t.Helper()
		for range questions {
			sql := rollupQuestion(rng)
			plan := ask(t, on, "EXPLAIN VERBOSE "+sql)
			if got, want := ask(t, on, sql), ask(t, off, sql); got != want {
				t.Fatalf("%s: %s\nwith rollups\n%s\nwithout\n%s\n%s", when, sql, got, want, plan)
			}
			if strings.Contains(plan, "rollup of ") {
				used++
			}
		}
	}
	open()
	defer func() { must(d.Close()) }()
	write()
	must(d.Flush(ctx))
	write()
	ask(t, on, "CREATE ROLLUP flows_5m ON flows EVERY 5 minutes GROUP BY server.service, client.zone, protocol")
	ask(t, on, "CREATE ROLLUP flows_1h ON flows EVERY 1 hour GROUP BY server.service, protocol KEEP 90 days")
	ask(t, on, "CREATE ROLLUP spans_15m ON spans EVERY 15 minutes GROUP BY service_name, response_status")
	must(d.Backfill(ctx))
	compare("backfilled", 40)
	write()
	compare("with rows not flushed", 40)
	must(d.Flush(ctx))
	write()
	must(d.Compact(ctx))
	compare("compacted", 40)
	must(d.Close())
	open()
	compare("reopened", 40)
	if used < 80 {
		t.Errorf("only %d of 160 questions were answered from a rollup", used)
	}
	rollups := ask(t, on, "SHOW ROLLUPS")
	for _, want := range []string{"flows_1h | flows | 1h | server.service, protocol | 90d | ready", "network_1m | network_1s | 1m"} {
		if !strings.Contains(rollups, want) {
			t.Errorf("%q is missing in\n%s", want, rollups)
		}
	}
	ask(t, on, "ALTER TABLE flows_1h SET RETENTION FOREVER")
	if got := ask(t, on, "SHOW RETENTION LIKE 'flows_1h'"); !strings.HasPrefix(got, "flows_1h | forever") {
		t.Error(got)
	}
	for _, name := range []string{"flows_1h", "flows_5m", "spans_15m"} {
		ask(t, on, "DROP ROLLUP "+name)
		compare("without "+name, 5)
	}
	if _, err := on.Query(ctx, "SELECT * FROM flows_5m"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q does not exist", "flows_5m")) {
		t.Errorf("a dropped rollup can be read: %v", err)
	}
}

// TestBuiltinRollupOfTheHead asks the built-in rollup, whose keys lie in another order than its source's columns, with a
// term on each key, before the rows are flushed and after.
func TestBuiltinRollupOfTheHead(t *testing.T) {
	d, err := db.Open(t.TempDir(), func(o *db.Options) { o.Retention = map[string]time.Duration{"application_1s": 0, "application_1m": 0} })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table := schema.Application()
	keys := []string{"protocol", "observation_point", "agent", "source", "l7_protocol", "endpoint", "service_name"}
	for i := range 4 {
		b := batch.NewBuilder(table)
		b.Int(table.TimeColumn, 1_795_500_000_000_000_000+int64(i)*1e9)
		b.Int(table.MustColumn("request"), 1)
		b.Int(table.MustColumn("server_port"), int64(80+i%2))
		for k, name := range keys {
			b.String(table.MustColumn(name), fmt.Sprint(name, (i>>(k%2))&1))
		}
		b.EndRow()
		if err := d.Write(context.Background(), b.Seal()); err != nil {
			t.Fatal(err)
		}
	}
	s := query.New(d).NewSession()
	for range 2 {
		for _, from := range []string{"application_1s", "application_1m", "application"} {
			for _, where := range []string{"protocol = 'protocol1'", "observation_point LIKE '%1'", "agent = 'agent1'", "source <> 'source0'",
				"l7_protocol = 'l7_protocol1'", "endpoint LIKE 'endpoint1%'", "service_name IN ('service_name1')", "server_port = 81",
				"server_port = 81 AND endpoint = 'endpoint1' AND l7_protocol <> ''"} {
				want := "2"
				if strings.Contains(where, "AND") {
					want = "1"
				}
				if got := strings.TrimSpace(ask(t, s, "SELECT sum(request) FROM "+from+" WHERE "+where)); !strings.Contains(got, want) {
					t.Errorf("%s WHERE %s: %s, want %s", from, where, got, want)
				}
			}
		}
		if err := d.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

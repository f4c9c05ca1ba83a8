package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query"
)

// rollupWorld has flows and samples of three hours, late ones and some at the edges of buckets among them, and rollups of both.
func rollupWorld(t testing.TB, rng *rand.Rand, rows int) *memSource {
	t.Helper()
	m := newMemSource(t)
	flows, samples := m.mustTable("flows"), m.mustTable("samples")
	at := func() int64 {
		n := testStart + rng.Int64N(int64(3*time.Hour))
		if rng.IntN(4) == 0 {
			n -= n % int64(time.Minute)
		}
		return n
	}
	for range 4 {
		b := batch.NewBuilder(flows)
		col := flows.MustColumn
		for range rows {
			b.Int(col("time"), at())
			b.Text(col("client_ip"), ip16(fmt.Sprintf("10.0.%d.%d", rng.IntN(4), rng.IntN(250))))
			b.Int(col("server_port"), []int64{80, 443, 53}[rng.IntN(3)])
			b.String(col("protocol"), []string{"tcp", "udp", ""}[rng.IntN(3)])
			b.Int(col("bytes_tx"), rng.Int64N(1e6))
			b.Int(col("bytes_rx"), rng.Int64N(1e6))
			b.Int(col("rrt_max_us"), rng.Int64N(1e4))
			if rng.IntN(3) > 0 {
				b.Int(col("rtt_us"), rng.Int64N(1e5))
			}
			if rng.IntN(3) > 0 {
				b.Int(col("client_pid"), rng.Int64N(3))
			}
			b.Tags(col("client_tags"), tags.AppendSet(nil, tags.Tag{Key: "label.app", Value: "app" + string(rune('a'+rng.IntN(3)))}, tags.Tag{Key: "pod", Value: fmt.Sprint("p", rng.IntN(4))}))
			if rng.IntN(4) > 0 {
				b.Tags(col("server_tags"), tags.AppendSet(nil, tags.Tag{Key: "service", Value: fmt.Sprint("svc", rng.IntN(5))}))
			}
			b.EndRow()
		}
		m.add(t, b.Seal())
		b = batch.NewBuilder(samples)
		for range rows {
			b.Int(0, at())
			b.Tags(1, tags.AppendSet(nil, tags.Tag{Key: "__name__", Value: []string{"up", "heat"}[rng.IntN(2)]}, tags.Tag{Key: "job", Value: fmt.Sprint("j", rng.IntN(3))}))
			b.Float(2, float64(rng.IntN(400)-200)/4)
			b.EndRow()
		}
		m.add(t, b.Seal())
	}
	e := testEngine(m, 1)
	for _, def := range []string{
		"f1 ON flows EVERY 1 minute GROUP BY server.service, client_tags, protocol, server_port, client_pid",
		"f5 ON flows EVERY 5 minutes GROUP BY server.service, client.label['app'], protocol",
		"f60 ON flows EVERY 1 hour GROUP BY server.service, client.pod",
		"s7 ON samples EVERY 7 seconds GROUP BY tag.__name__, tag.job",
		"s90 ON samples EVERY 90 seconds GROUP BY tag.__name__",
	} {
		if got := answer(e, "CREATE ROLLUP "+def, false); got != "CREATE ROLLUP\n" {
			t.Fatal(got)
		}
	}
	return m
}

// rollupQueries writes random aggregates, most of which a rollup answers.
type rollupQueries struct{ *rand.Rand }

func (r rollupQueries) pick(list ...string) string { return list[r.IntN(len(list))] }

func (r rollupQueries) some(max int, list ...string) []string {
	list = slices.Clone(list)
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:r.IntN(max+1)]
}

func (r rollupQueries) timestamp() string {
	n := testStart + r.Int64N(int64(3*time.Hour))
	n -= n % []int64{1, 1e9, 60e9, 300e9, 3600e9}[r.IntN(5)]
	return "TIMESTAMP '" + time.Unix(0, n).UTC().Format(time.RFC3339Nano) + "'"
}

func (r rollupQueries) flows() string {
	keys := r.some(3, "server.service", "client.label['app']", "client.pod", "protocol", "server_port", "client_pid",
		"time_bucket('1 minute', time)", "time_bucket('5 minutes', time)", "time_bucket('7 minutes', time)", "date_trunc('hour', time)",
		"extract(hour FROM time)", "upper(protocol)", "time_bucket('30 minutes', time AT TIME ZONE 'Asia/Kolkata')",
		"coalesce(server.service, 'none')", "date_trunc('month', time)", "time_bucket('1 hour', time, TIMESTAMP '2026-01-05 10:05:00')")
	aggs := append(r.some(5, "count(*)", "sum(bytes_tx)", "sum(bytes_tx + bytes_rx * 2)", "avg(bytes_rx)", "max(rrt_max_us)", "min(rtt_us)", "max(rtt_us)",
		"avg(rtt_us)", "sum(rtt_us)", "count(rtt_us)", "count(server.service)", "count(bytes_tx)", "uniq(client_ip)", "approx_percentile(rtt_us, 0.9)",
		"count(DISTINCT protocol)", "min(server.service)", "sum(bytes_tx) FILTER (WHERE protocol = 'tcp')", "count(*) FILTER (WHERE server.service <> 'svc1')",
		"approx_percentile(rtt_us, 0.5) FILTER (WHERE protocol LIKE 'u%')", "sum(bytes_rx - 3)", "count(client_pid)", "sum(DISTINCT server_port)",
		"sum(rtt_us) FILTER (WHERE protocol = 'none')", "percentile(rtt_us, 0.5)", "min(bytes_tx)"), "count(*)")
	return r.build("flows", keys, aggs, "protocol = 'tcp'", "protocol <> ''", "server.service = 'svc1'", "server.service <> 'svc2'", "server.service IS NULL",
		"server.service IS NOT NULL", "server.service IN ('svc0', 'svc3')", "server.service NOT IN ('svc0')", "server.service LIKE 'svc%'",
		"server.service NOT LIKE '%1'", "server.service ~ '[12]$'", "server.service = ''", "server.service > 'svc2'", "client.label['app'] = 'appa'",
		"client.pod <> 'p1'", "server_port IN (80, 443)", "client_pid IS NULL", "client_pid = 1", "NOT (protocol = 'udp' OR server.service = 'svc1')",
		"(protocol = 'udp' OR server.service = 'svc1')", "time_bucket('5 minutes', time) > "+r.timestamp(), "extract(minute FROM time) < 30", "bytes_tx > 10")
}

func (r rollupQueries) samples() string {
	keys := r.some(2, "tag.job", "tag.__name__", "time_bucket('7 seconds', time)", "time_bucket('90 seconds', time)", "time_bucket('3 minutes', time)")
	aggs := append(r.some(4, "avg(value)", "sum(value)", "min(value)", "max(value)", "count(value)", "approx_percentile(value, 0.1)", "spread(value)"), "count(*)")
	return r.build(r.pick("samples", "metrics.heat"), keys, aggs, "tag.job = 'j1'", "tag.job IS NULL", "tag.__name__ = 'up'")
}

func (r rollupQueries) build(table string, keys, aggs []string, conditions ...string) string {
	where := r.some(2, conditions...)
	switch r.IntN(4) {
	case 0:
		where = append(where, "time >= "+r.timestamp())
	case 1:
		where = append(where, "time BETWEEN "+r.timestamp()+" AND "+r.timestamp())
	case 2:
		where = append(where, "time >= "+r.timestamp(), "time < "+r.timestamp())
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

// sessionAnswer is answer in a session, its rows sorted.
func sessionAnswer(t *testing.T, s *query.Session, sql string) string {
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
	for i, row := range rows {
		lines[i] = strings.Join(row, " | ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestRollupsAnswerAlike: a query has the same answer with the setting rollup on and off, sketches included.
func TestRollupsAnswerAlike(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 3))
	m := rollupWorld(t, rng, 300)
	e := testEngine(m, 2)
	on, off := e.NewSession(), e.NewSession()
	sessionAnswer(t, off, "SET rollup = off")
	r := rollupQueries{rng}
	used := map[string]int{}
	n := 600
	if raceEnabled {
		n = 100
	}
	for i := range n {
		sql := r.flows()
		if i%4 == 0 {
			sql = r.samples()
		}
		got, want := sessionAnswer(t, on, sql), sessionAnswer(t, off, sql)
		plan := sessionAnswer(t, on, "EXPLAIN VERBOSE "+sql)
		if got != want {
			t.Fatalf("%s\nwith rollups\n%s\nwithout\n%s\n%s", sql, got, want, plan)
		}
		for _, name := range []string{"f1", "f5", "f60", "s7", "s90"} {
			if strings.Contains(plan, "Scan "+name+"\n") || strings.HasSuffix(plan, "Scan "+name) {
				used[name]++
			}
		}
		if plain := sessionAnswer(t, off, "EXPLAIN "+sql); strings.Contains(plain, "rollup") {
			t.Fatalf("%s\nuses one though rollup = off:\n%s", sql, plain)
		}
	}
	for _, name := range []string{"f1", "f5", "f60", "s7", "s90"} {
		if used[name] < n/60 {
			t.Errorf("rollup %s answered %d of %d queries: %v", name, used[name], n, used)
		}
	}
}

// A rollup whose backfill is not done, or that forgets sooner than the table, is not used.
func TestRollupMustHaveAllRows(t *testing.T) {
	m := rollupWorld(t, rand.New(rand.NewPCG(1, 1)), 20)
	e := testEngine(m, 1)
	sql := "EXPLAIN VERBOSE SELECT server.service, count(*) FROM flows "
	expect := func(where string, want ...string) {
		t.Helper()
		got := answer(e, sql+where+" GROUP BY 1", false)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing in\n%s", where, w, got)
			}
		}
	}
	expect("", "Scan f60\n")
	m.damaged["f60"], m.keep["flows"] = 1, 0
	expect("", "rollup f60 not used: 1 of its segments were set aside as damaged", "Scan f5\n")
	m.keep["flows"] = 50 * time.Minute // the table has no more
	expect("WHERE time >= now() - INTERVAL '40 minutes'", "rollup f60 not used")
	expect("", "Scan f60\n")
	delete(m.damaged, "f60")
	delete(m.keep, "flows")
	m.pending["f60"] = true
	expect("", "rollup f60 not used: its backfill is not done: 2 of 5 segments\n", "Scan f5\n")
	m.keep["flows"], m.keep["f5"] = 0, time.Hour
	expect("", "rollup f5 not used: it is kept for 1h only, the query may ask for more\n", "Scan f1\n")
	expect("WHERE time >= now() - INTERVAL '55 minutes'", "Scan f5\n")
	expect("WHERE time >= now() - INTERVAL '65 minutes'", "Scan f1\n")
	m.keep["flows"] = time.Hour
	expect("", "Scan f5\n")
	if got := answer(e, "EXPLAIN ANALYZE SELECT count(*) FROM flows", false); !strings.Contains(got, "rollup f60 not used") {
		t.Errorf("EXPLAIN ANALYZE does not tell:\n%s", got)
	}
	if got := answer(e, "EXPLAIN SELECT count(*) FROM flows", false); strings.Contains(got, "not used") {
		t.Errorf("EXPLAIN tells too much:\n%s", got)
	}
}

// Where the bounds of time cut buckets, the finest rollup is taken whose buckets are a small part of the range: rows of cut
// buckets are read from the table.
func TestRollupByEdges(t *testing.T) {
	e := testEngine(rollupWorld(t, rand.New(rand.NewPCG(2, 2)), 5), 1)
	for where, want := range map[string]string{
		"":                                      "f60",
		"time >= '2026-01-05 10:00:00'":         "f60",
		"time >= '2026-01-05 10:05:00'":         "f5",
		"time >= '2026-01-05 10:00:01'":         "f1",
		"time < '2026-01-05 10:00:01'":          "f60", // everything before it
		"time >= '2026-01-01 00:00:01'":         "f5",  // 1284 of its buckets, 107 of an hour
		"time >= '2025-12-01 00:00:01'":         "f60",
		"time BETWEEN '2026-01-04' AND now()":   "f5",
		"time >= '2026-01-04' AND time < now()": "f60",
	} {
		sql := "EXPLAIN SELECT server.service, count(*) FROM flows"
		if where != "" {
			sql += " WHERE " + where
		}
		if got := answer(e, sql+" GROUP BY 1", false); !strings.Contains(got, "Scan "+want+"\n") {
			t.Errorf("%s: want %s in\n%s", where, want, got)
		}
	}
}

// What changes the database is refused where only reading is allowed, and where the source cannot do it.
func TestRollupStatementsRefused(t *testing.T) {
	m := fill(t)
	list := []string{"CREATE ROLLUP r ON flows EVERY 1 minute GROUP BY protocol", "DROP ROLLUP IF EXISTS r", "ALTER TABLE flows SET RETENTION 1 day"}
	readOnly := query.New(m, func(o *query.Options) { o.ReadOnly = true })
	bare := query.New(struct{ query.Source }{m})
	for _, sql := range list {
		if got := answer(readOnly, sql, false); !strings.HasPrefix(got, "ERROR 25006: ") {
			t.Errorf("%s in a read-only engine: %s", sql, got)
		}
		if got := answer(bare, sql, false); !strings.HasPrefix(got, "ERROR 0A000: this source has no rollups") {
			t.Errorf("%s over a source without: %s", sql, got)
		}
	}
	if got := answer(readOnly, "SHOW ROLLUPS", false); strings.HasPrefix(got, "ERROR") {
		t.Error(got)
	}
	if got := answer(bare, "SHOW ROLLUPS", false); !strings.HasPrefix(got, "ERROR 0A000") {
		t.Error(got)
	}
	if got := answer(bare, "SELECT count(*) FROM network", false); got != "count BIGINT\n120\n" {
		t.Error(got)
	}
}

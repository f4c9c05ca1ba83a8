package query_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/query"
)

// FuzzQuery: no statement panics, hangs, leaves a scan open or fails without a SQLSTATE.
func FuzzQuery(f *testing.F) {
	files, err := filepath.Glob("testdata/*.qt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n\n") {
			if sql, _, ok := strings.Cut(part, "\n----"); ok {
				f.Add(sql)
			}
		}
	}
	for _, sql := range []string{
		"SELECT -(-9223372036854775808)", "SELECT (-9223372036854775808) / -1, abs(-9223372036854775807 - 1)",
		"SELECT time_bucket('1 ns', '1677-09-22'::timestamp), time_bucket('290 years', '2262-01-01'::timestamp)",
		"SELECT repeat('x', 9223372036854775807), lpad('x', 1000000000), substr('x', -9223372036854775808, 9223372036854775807)",
		"SELECT left('abc', -9223372036854775808), right('abc', -9223372036854775808), split_part('a', 'b', -9223372036854775808)",
		"SELECT INTERVAL '1 month' * 9223372036854775807, date_trunc('century', '2261-01-01'::timestamp) + INTERVAL '999999999 months'",
		"SELECT generate_series FROM generate_series(-9223372036854775808, 9223372036854775807, 9223372036854775807)",
		"SELECT 1 LIMIT 9223372036854775807 OFFSET 9223372036854775807", "SELECT NULL FROM t ORDER BY NULL", "SELECT DISTINCT NULL FROM t",
		"SELECT NULL, count(NULL), max(NULL), sum(NULL), topk(NULL, 1), uniq(NULL) FROM t GROUP BY NULL",
		"SELECT max(tags), min(m), count(DISTINCT tags) FROM t", "SELECT tags = tags, tags IS NULL FROM t", "SELECT CASE WHEN b THEN tags ELSE tags END FROM t",
		"SELECT coalesce(tags, tags), tags::text, m::text FROM t", "SELECT NULL[1], m[1], 'x'['y']", "SELECT round(1e308, 400), 10 ^ 400, exp(1e9)",
		"SELECT percentile(f, 0), percentile(f, 1), approx_percentile(f, 0), first(s, time), last(tags, time) FROM t",
		"SELECT greatest(NULL, NULL), nullif(NULL, NULL), concat(), NULL::bytea, '\\x00'::bytea::text",
		"SELECT * FROM t a JOIN t b ON a.i = b.i AND a.tags = b.tags AND a.m['k'] = b.m['k'] LIMIT 3",
		"SELECT regexp_replace('aaa', 'a*', '\\1\\9$1'), 'x' ~ '(?:a{1000}){1000}', 'a' LIKE 'b' ESCAPE ''",
		"SELECT i FROM t UNION SELECT NULL EXCEPT SELECT 1 INTERSECT SELECT f FROM t", "VALUES (NULL), (NULL)", "VALUES ()",
		"SELECT lag(tags) OVER (ORDER BY tags), first_value(m) OVER (ORDER BY i), max(tags) OVER (ORDER BY i ROWS 3 PRECEDING), lag(NULL) OVER (ORDER BY NULL) FROM t",
		"SELECT sum(f) OVER (ORDER BY f RANGE BETWEEN 1e308 PRECEDING AND 1e308 FOLLOWING), count(*) OVER (ORDER BY time RANGE BETWEEN INTERVAL '290 years' PRECEDING AND INTERVAL '290 years' FOLLOWING) FROM t",
		"SELECT nth_value(s, 2147483647) OVER (), ntile(2147483647) OVER (ORDER BY i), lead(i, 2147483647, NULL) OVER (ORDER BY i) FROM t WHERE j < 0",
		"SELECT sum(sum(i)) OVER (ORDER BY sum(sum(i)) OVER ()) FROM t", "SELECT row_number() OVER (PARTITION BY row_number() OVER ()) FROM t",
		"SELECT i FROM t GROUP BY i ORDER BY rank() OVER (ORDER BY count(*))", "SELECT DISTINCT rank() OVER (ORDER BY s) FROM t ORDER BY 1 LIMIT 2",
		"CREATE ROLLUP a ON t EVERY 1 second GROUP BY s, tags, i", "CREATE ROLLUP b ON t EVERY '292 years' GROUP BY u KEEP 1e9 days",
	} {
		f.Add(sql)
	}
	m := fill(f)
	e := query.New(m, func(o *query.Options) {
		o.Workers, o.MemoryLimit, o.Timeout = 2, 64<<20, 5*time.Second
	})
	f.Fuzz(func(t *testing.T, sql string) {
		fuzzOne(t, e, sql)
		if n := m.open.Load(); n != 0 {
			t.Fatalf("%s: %d scans left open", sql, n)
		}
	})
}

func fuzzOne(t *testing.T, e *query.Engine, sql string) {
	ctx := context.Background()
	res, err := e.Query(ctx, sql)
	for rows := 0; err == nil && rows < 100_000; {
		b, nextErr := res.Next(ctx)
		if err = nextErr; err != nil {
			break
		}
		rows += b.N
		if len(b.Cols) != len(res.Columns()) {
			t.Fatalf("%s: %d vectors for %d columns", sql, len(b.Cols), len(res.Columns()))
		}
		for c, v := range b.Cols {
			if v.Len() < b.N || v.Type != res.Columns()[c].Type {
				t.Fatalf("%s: column %d is %d rows of %s, want %d of %s", sql, c, v.Len(), v.Type, b.N, res.Columns()[c].Type)
			}
			for i := range min(b.N, 50) {
				_ = query.AppendText(nil, v, i)
			}
		}
	}
	if res != nil {
		res.Close()
	}
	if err == nil || errors.Is(err, io.EOF) {
		return
	}
	var qe *query.Error
	if !errors.As(err, &qe) || len(qe.SQLState) != 5 || qe.SQLState == "XX000" || qe.Msg == "" || qe.Detail() == "" {
		t.Fatalf("%s: %v", sql, err)
	}
}

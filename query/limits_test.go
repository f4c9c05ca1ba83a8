package query_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/query"
)

// leakCheck fails when goroutines are left behind.
func leakCheck(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(time.Minute)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<16)
				t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func queryError(t *testing.T, err error) *query.Error {
	t.Helper()
	var qe *query.Error
	if !errors.As(err, &qe) {
		t.Fatalf("got %v, want a *query.Error", err)
	}
	return qe
}

func TestMemoryLimit(t *testing.T) {
	leakCheck(t)
	m := bigSource(t)
	e := query.New(m, func(o *query.Options) { o.MemoryLimit = 2 << 20; o.Workers = 2 })
	for _, sql := range []string{
		"SELECT u, j, count(*) FROM t GROUP BY u, j",
		"SELECT * FROM t ORDER BY time",
		"SELECT count(DISTINCT u * j) FROM t",
		"SELECT percentile(u, 0.5), string_agg(tags::text, ',') FROM t",
		"SELECT count(*) FROM t a JOIN t b ON a.u = b.u",
		"SELECT u, uniq(j) FROM t GROUP BY u",
	} {
		_, err := e.Query(context.Background(), sql)
		qe := queryError(t, err)
		if !errors.Is(err, query.ErrMemoryLimit) || qe.SQLState != "53200" || !strings.Contains(qe.Msg, "query_memory_limit") {
			t.Errorf("%s: %v (%s)", sql, err, qe.SQLState)
		}
	}
	res, err := e.Query(context.Background(), "SELECT s, count(*), sum(u) FROM t GROUP BY s")
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := res.All(context.Background()); err != nil || len(rows) != 8 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if p := res.Metrics().PeakMemory; p <= 0 || p > 2<<20 {
		t.Errorf("peak memory %d", p)
	}
	if n := m.open.Load(); n != 0 {
		t.Errorf("%d scans left open", n)
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	leakCheck(t)
	m := bigSource(t)
	m.onRead = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	e := query.New(m, func(o *query.Options) { o.Timeout = 20 * time.Millisecond; o.Workers = 4 })
	_, err := e.Query(context.Background(), "SELECT count(*) FROM t")
	if qe := queryError(t, err); !errors.Is(err, query.ErrTimeout) || qe.SQLState != "57014" {
		t.Errorf("aggregate: %v (%s)", err, qe.SQLState)
	}
	res, err := e.Query(context.Background(), "SELECT u FROM t")
	if err == nil { // a slow machine has used up the time by now
		_, err = res.Next(context.Background())
		res.Close()
	}
	if !errors.Is(err, query.ErrTimeout) {
		t.Errorf("stream: %v", err)
	}

	e = query.New(m, func(o *query.Options) { o.Workers = 4 })
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = e.Query(ctx, "SELECT s, count(*) FROM t GROUP BY s")
	if qe := queryError(t, err); !errors.Is(err, query.ErrCanceled) || qe.SQLState != "57014" {
		t.Errorf("cancel: %v (%s)", err, qe.SQLState)
	}
	if res, err = e.Query(context.Background(), "SELECT u FROM t"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := res.Next(ctx); err == nil {
		t.Error("Next of a canceled context gave rows")
	}
	res.Close()
	if n := m.open.Load(); n != 0 {
		t.Errorf("%d scans left open", n)
	}
}

// TestCloseEarly closes results in the middle: nothing may be left running or open.
func TestCloseEarly(t *testing.T) {
	leakCheck(t)
	m := bigSource(t)
	e := testEngine(m, 8)
	for _, sql := range []string{"SELECT * FROM t", "SELECT u FROM t LIMIT 3", "SELECT s FROM t UNION ALL SELECT s FROM t", "SELECT * FROM t ORDER BY u"} {
		res, err := e.Query(context.Background(), sql)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := res.Next(context.Background()); err != nil || b.N == 0 {
			t.Fatalf("%s: %v", sql, err)
		}
		res.Close()
		res.Close()
		if _, err := res.Next(context.Background()); err == nil {
			t.Errorf("%s: rows after Close", sql)
		}
	}
	if n := m.open.Load(); n != 0 {
		t.Errorf("%d scans left open", n)
	}
}

func TestMaxResultRows(t *testing.T) {
	s := testEngine(fill(t), 2).NewSession()
	ctx := context.Background()
	if _, err := s.Query(ctx, "SET max_result_rows = 100"); err != nil {
		t.Fatal(err)
	}
	res, err := s.Query(ctx, "SELECT * FROM t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := res.All(ctx); !errors.Is(err, query.ErrTooManyRows) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Query(ctx, "RESET ALL"); err != nil {
		t.Fatal(err)
	}
	if res, err = s.Query(ctx, "SELECT * FROM t"); err != nil {
		t.Fatal(err)
	}
	if rows, err := res.All(ctx); err != nil || len(rows) != 600 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestReadErrorIsReported(t *testing.T) {
	leakCheck(t)
	m := bigSource(t)
	broken := errors.New("disk on fire")
	m.onRead = func(context.Context) error { return broken }
	e := testEngine(m, 4)
	if _, err := e.Query(context.Background(), "SELECT sum(u) FROM t"); !errors.Is(err, broken) {
		t.Errorf("aggregate: %v", err)
	}
	res, err := e.Query(context.Background(), "SELECT u FROM t")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if _, err := res.Next(context.Background()); !errors.Is(err, broken) {
		t.Errorf("stream: %v", err)
	}
}

func TestParametersAndSettings(t *testing.T) {
	m := fill(t)
	s := testEngine(m, 2).NewSession()
	ctx := context.Background()
	one := func(sql string, args ...any) string {
		t.Helper()
		res, err := s.Query(ctx, sql, args...)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		rows, err := res.All(ctx)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %d rows, %v", sql, len(rows), err)
		}
		return strings.Join(rows[0], " ")
	}
	for _, tc := range []struct {
		want, sql string
		args      []any
	}{
		{"157", "SELECT count(*) FROM t WHERE s IN ($1, $2)", []any{"alpha", "beta"}},
		{"2026-01-05T10:00:05Z true 2.5 NULL", "SELECT $1::timestamp + $2, $3, $4, $5", []any{time.Unix(0, testStart), 5 * time.Second, true, 2.5, nil}},
		{"2026-01-04T23:00:00Z", "SELECT '2026-01-05'::timestamp", nil},
		{"30s", "SHOW statement_timeout", nil},
		{"Europe/Berlin", "SHOW timezone", nil},
	} {
		if strings.Contains(tc.want, "23:00") {
			if _, err := s.Query(ctx, "SET TIME ZONE 'Europe/Berlin'"); err != nil {
				t.Fatal(err)
			}
		}
		if got := one(tc.sql, tc.args...); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.sql, got, tc.want)
		}
	}
	if _, err := s.Query(ctx, "SELECT $1", struct{}{}); queryError(t, err).SQLState != "22023" {
		t.Errorf("a parameter of no known type: %v", err)
	}
	if _, err := s.Query(ctx, "CHECKPOINT"); err != nil || m.flushed != 1 {
		t.Errorf("checkpoint: %v, %d", err, m.flushed)
	}
	if res, err := s.Query(ctx, "SHOW SETTINGS"); err != nil || len(res.Columns()) != 3 {
		t.Error(err)
	} else if b, err := res.Next(ctx); err != nil || b.N != 6 {
		t.Error(err)
	} else if _, err := res.Next(ctx); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestExplainAnalyze(t *testing.T) {
	e := testEngine(fill(t), 2)
	got := answer(e, "EXPLAIN ANALYZE SELECT s, count(*) FROM t WHERE j < 500 GROUP BY s ORDER BY 2 LIMIT 2", false)
	for _, want := range []string{"Limit 2  (rows 2,", "Top 2 by count", "Aggregate count(*) by s  (rows 8,", "Scan t  (rows ", "rows scanned: 600, matched: ", "head batches: 6", "Execution time: ", "peak memory: "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

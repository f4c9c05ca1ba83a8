package query_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/query"
)

var rewrite = flag.Bool("rewrite", false, "write the answers into testdata/*.qt")

// testNow is what now() answers in tests: an hour after the first row.
var testNow = time.Date(2026, 1, 5, 11, 0, 0, 0, time.UTC)

func testEngine(m *memSource, workers int) *query.Engine {
	return query.New(m, func(o *query.Options) {
		o.Workers = workers
		o.Now = func() time.Time { return testNow }
	})
}

// answer is the result as text: a header of names and types, then the rows; or the error with its place.
func answer(e *query.Engine, sql string, sorted bool) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := e.Query(ctx, sql)
	if err != nil {
		return errorText(err)
	}
	rows, err := res.All(ctx)
	if err != nil {
		return errorText(err)
	}
	if len(res.Columns()) == 0 {
		return res.Command + "\n"
	}
	var head []string
	for _, c := range res.Columns() {
		h := c.Name + " " + c.Type.String()
		if c.Unit != "" {
			h += " (" + c.Unit + ")"
		}
		head = append(head, h)
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = strings.TrimRight(strings.Join(r, " | "), " ")
	}
	if sorted {
		slices.Sort(lines)
	}
	out := strings.Join(head, " | ") + "\n"
	for _, l := range lines {
		if l == "" {
			l = "(empty)"
		}
		out += l + "\n"
	}
	return out
}

func errorText(err error) string {
	var qe *query.Error
	if !errors.As(err, &qe) {
		return "not a *query.Error: " + err.Error() + "\n"
	}
	return "ERROR " + qe.SQLState + ": " + qe.Detail() + "\n"
}

// TestScripts runs testdata/*.qt: a statement up to "----", then its answer up to an empty line. "workers" before the
// statement's first line is not needed: every statement must answer alike with 1, 2 and 8 workers.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.qt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".qt"), func(t *testing.T) { runScript(t, f) })
	}
}

// sameAnswer compares answers of different numbers of workers. Which row an error is about depends on who comes first: the
// value in it may differ.
func sameAnswer(a, b string) bool {
	if strings.HasPrefix(a, "ERROR ") && strings.HasPrefix(b, "ERROR ") {
		a, _, _ = strings.Cut(a, ": \"")
		b, _, _ = strings.Cut(b, ": \"")
	}
	return a == b
}

func runScript(t *testing.T, file string) {
	m := fill(t)
	engines := []*query.Engine{testEngine(m, 1), testEngine(m, 2), testEngine(m, 8)}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out, stmt, want strings.Builder
	section, line, start := 0, 0, 0 // 0 outside, 1 statement, 2 answer
	finish := func() {
		sql := strings.TrimSpace(stmt.String())
		got := answer(engines[0], sql, false)
		if !*rewrite && got != want.String() {
			t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s", file, start, sql, got, want.String())
		}
		for i, e := range engines[1:] {
			if other := answer(e, sql, false); !sameAnswer(other, got) && !strings.Contains(sql, "ANALYZE") {
				t.Errorf("%s:%d: %s\nwith %d workers:\n%swith one:\n%s", file, start, sql, []int{2, 8}[i], other, got)
			}
		}
		fmt.Fprintf(&out, "%s\n----\n%s\n", sql, got)
		stmt.Reset()
		want.Reset()
		section = 0
	}
	for sc := bufio.NewScanner(in); sc.Scan(); {
		line++
		l := sc.Text()
		switch {
		case section == 0 && (l == "" || strings.HasPrefix(l, "#")):
			if l != "" {
				out.WriteString(l + "\n\n")
			}
		case section < 2 && l == "----":
			section = 2
		case section < 2:
			if section == 0 {
				start = line
			}
			section = 1
			stmt.WriteString(l + "\n")
		case l == "":
			finish()
		default:
			want.WriteString(l + "\n")
		}
	}
	if section > 0 {
		finish()
	}
	if n := m.open.Load(); n != 0 {
		t.Errorf("%d scans were not closed", n)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/query"
)

// randomPredicate writes a condition over the table t, with every kind of term that can be pushed down and some that cannot.
func randomPredicate(rng *rand.Rand, depth int) string {
	if depth > 0 && rng.IntN(3) > 0 {
		a, b := randomPredicate(rng, depth-1), randomPredicate(rng, depth-1)
		switch rng.IntN(5) {
		case 0:
			return "NOT (" + a + ")"
		case 1, 2:
			return "(" + a + ") OR (" + b + ")"
		default:
			return "(" + a + ") AND (" + b + ")"
		}
	}
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	op := pick("=", "<>", "<", "<=", ">", ">=")
	word := pick("''", "'alpha'", "'beta'", "'delta/x'", "'nothing'", "'ümlaut'")
	pod := pick("'pod-0'", "'pod-3'", "'pod-9'", "''")
	n := rng.IntN(45) - 22
	switch rng.IntN(22) {
	case 0:
		return fmt.Sprintf("i %s %d", op, n)
	case 1:
		return fmt.Sprintf("%d %s j", rng.IntN(1000), op)
	case 2:
		return fmt.Sprintf("f %s %d.25", op, n)
	case 3:
		return pick("b", "b IS TRUE", "b IS NOT FALSE", "b = false", "b IS NULL")
	case 4:
		return "s " + op + " " + word
	case 5:
		return "s " + pick("LIKE 'delta%'", "NOT LIKE '%a'", "ILIKE 'GAMMA'", "LIKE '%lph%'", "LIKE 'a_pha'", "~ '^.e'", "!~ 'x'", "LIKE 'beta'")
	case 6:
		return "s " + pick("IN", "NOT IN") + " (" + word + ", 'Gamma')"
	case 7:
		return pick("ip", "NOT ip") + " << '10.0.0.0/8'"
	case 8:
		return "ip " + op + " inet '10.1.2.3'"
	case 9:
		return fmt.Sprintf("time %s TIMESTAMP '2026-01-05 10:0%d:00'", op, rng.IntN(10))
	case 10:
		return "pod " + op + " " + pod
	case 11:
		return "pod " + pick("LIKE 'pod-%'", "NOT LIKE '%1'", "~ '[02]$'", "IS NULL", "IS NOT NULL")
	case 12:
		return "tag.job " + pick("IN", "NOT IN") + " ('job0', " + pod + ")"
	case 13:
		return pick("i", "f", "b", "pod", "m['k']") + " IS " + pick("", "NOT ") + "NULL"
	case 14:
		return fmt.Sprintf("i BETWEEN %d AND %d", n-5, n+5)
	case 15:
		return fmt.Sprintf("i %s %d.5", op, n)
	case 16:
		return "m['k'] " + op + " " + word
	case 17:
		return fmt.Sprintf("i %s (%d, %d, %d)", pick("IN", "NOT IN"), n, n+1, rng.IntN(5))
	case 18:
		return "i " + op + " j % 7"
	case 19:
		return pick("is_private(ip)", "starts_with(s, 'a')", "length(s) > 4", "upper(s) = 'ALPHA'")
	case 20:
		return fmt.Sprintf("j %s f * %d", op, n)
	default:
		return fmt.Sprintf("s = %s OR s = 'beta' OR s LIKE 'G%%'", word)
	}
}

// TestPushedEqualsFiltered: a condition keeps the same rows whether storage or the executor evaluates it, and splits all
// rows into those for which it is true, false and NULL.
func TestPushedEqualsFiltered(t *testing.T) {
	m := fill(t)
	e := testEngine(m, 2)
	rng := rand.New(rand.NewPCG(7, 7))
	for range 400 {
		p := randomPredicate(rng, 3)
		pushed := answer(e, "SELECT count(*), sum(u), sum(j) FROM t WHERE "+p, false)
		if strings.HasPrefix(pushed, "ERROR") {
			t.Fatalf("%s: %s", p, pushed)
		}
		filtered := answer(e, "SELECT count(*), sum(u), sum(j) FROM t WHERE CASE WHEN "+p+" THEN true ELSE false END", false)
		if pushed != filtered {
			t.Errorf("%s\npushed down: %sfiltered:    %s", p, pushed, filtered)
		}
		aggregated := answer(e, "SELECT count(*) FILTER (WHERE "+p+") AS count, sum(u) FILTER (WHERE "+p+") AS sum, sum(j) FILTER (WHERE "+p+") AS sum FROM t", false)
		if pushed != aggregated {
			t.Errorf("%s\npushed down: %sFILTER:      %s", p, pushed, aggregated)
		}
		parts := answer(e, "SELECT (SELECT count(*) FROM t WHERE "+p+") + (SELECT count(*) FROM t WHERE NOT ("+p+")) + (SELECT count(*) FROM t WHERE ("+p+") IS NULL) AS n", false)
		if parts != "n BIGINT\n600\n" {
			t.Errorf("%s: true, false and NULL together: %s", p, parts)
		}
	}
}

// bigSource has units larger than a chunk.
func bigSource(t testing.TB) *memSource {
	t.Helper()
	m := newMemSource(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for u := range 4 {
		b := batch.NewBuilder(m.mustTable("t"))
		for i := range 8500 + u*1000 {
			fillRow(b, rng, testStart+int64(u*20000+i)*int64(10*time.Millisecond))
		}
		m.add(t, b.Seal())
	}
	return m
}

func mustRows(t *testing.T, e *query.Engine, sql string) [][]string {
	t.Helper()
	res, err := e.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	rows, err := res.All(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// TestGroupByEqualsNaive compares random GROUP BYs with a row-by-row interpreter, for several numbers of workers.
func TestGroupByEqualsNaive(t *testing.T) {
	m := bigSource(t)
	engines := []*query.Engine{testEngine(m, 1), testEngine(m, 2), testEngine(m, 8)}
	rng := rand.New(rand.NewPCG(5, 5))
	keys := []string{"i", "j % 7", "f", "b", "s", "ip", "pod", "tag.job", "time_bucket('20 seconds', time)", "m['k']", "j", "u", "tags::text", "u * 1000003 + j"}
	for n := range 12 {
		perm := rng.Perm(len(keys))[:rng.IntN(5)]
		var sel []string
		for _, k := range perm {
			sel = append(sel, keys[k])
		}
		where := ""
		if rng.IntN(2) == 0 {
			where = " WHERE " + randomPredicate(rng, 1)
		}
		want := naiveGroups(mustRows(t, engines[0], "SELECT "+strings.Join(append(slices.Clone(sel), "i", "u", "j % 50", "s"), ", ")+" FROM t"+where), len(sel))
		sql := "SELECT " + strings.Join(append(slices.Clone(sel), "count(*)", "count(i)", "sum(u)", "min(i)", "max(s)", "count(DISTINCT j % 50)"), ", ") + " FROM t" + where
		if len(sel) > 0 {
			var ord []string
			for i := range sel {
				ord = append(ord, strconv.Itoa(i+1))
			}
			sql += " GROUP BY " + strings.Join(ord, ", ")
		}
		for _, e := range engines {
			got := map[string]string{}
			for _, r := range mustRows(t, e, sql) {
				got[strings.Join(r[:len(sel)], "|")] = strings.Join(r[len(sel):], "|")
			}
			if len(got) != len(want) {
				t.Fatalf("%d: %s: %d groups, want %d", n, sql, len(got), len(want))
			}
			for k, w := range want {
				if got[k] != w {
					t.Fatalf("%d: %s\ngroup %s: got %s, want %s", n, sql, k, got[k], w)
				}
			}
		}
	}
}

type naive struct {
	rows, ints, sum, low int64
	max                  string
	distinct             map[string]bool
}

// naiveGroups groups rows of nk keys, i, u, j % 50 and s.
func naiveGroups(rows [][]string, nk int) map[string]string {
	groups := map[string]*naive{}
	if nk == 0 {
		groups[""] = &naive{distinct: map[string]bool{}}
	}
	for _, r := range rows {
		k := strings.Join(r[:nk], "|")
		g := groups[k]
		if g == nil {
			g = &naive{distinct: map[string]bool{}}
			groups[k] = g
		}
		g.rows++
		if i, err := strconv.ParseInt(r[nk], 10, 64); err == nil {
			if g.ints == 0 || i < g.low {
				g.low = i
			}
			g.ints++
		}
		u, _ := strconv.ParseInt(r[nk+1], 10, 64)
		g.sum += u
		g.distinct[r[nk+2]] = true
		g.max = max(g.max, r[nk+3])
	}
	out := map[string]string{}
	for k, g := range groups {
		sum, low, top := strconv.FormatInt(g.sum, 10), strconv.FormatInt(g.low, 10), g.max
		if g.rows == 0 {
			sum, top = "NULL", "NULL"
		}
		if g.ints == 0 {
			low = "NULL"
		}
		out[k] = fmt.Sprintf("%d|%d|%s|%s|%s|%d", g.rows, g.ints, sum, low, top, len(g.distinct))
	}
	return out
}

// TestTopEqualsSort: the first rows by LIMIT are the first rows of the full sort, which is stable and in order.
func TestTopEqualsSort(t *testing.T) {
	m := bigSource(t)
	one, eight := testEngine(m, 1), testEngine(m, 8)
	rng := rand.New(rand.NewPCG(9, 9))
	cols := []string{"i", "j", "f", "b", "s", "ip", "pod", "u % 1000", "time"}
	for range 8 {
		var keys []string
		for _, k := range rng.Perm(len(cols))[:1+rng.IntN(3)] {
			keys = append(keys, cols[k]+[]string{"", " DESC", " NULLS FIRST", " DESC NULLS LAST"}[rng.IntN(4)])
		}
		order := "SELECT time, i, j, f, s, pod, u FROM t ORDER BY " + strings.Join(keys, ", ")
		full := mustRows(t, one, order)
		if par := mustRows(t, eight, order); !slices.EqualFunc(full, par, slices.Equal) {
			t.Fatalf("%s: other rows with 8 workers", order)
		}
		limit, offset := rng.IntN(40), rng.IntN(20)
		top := mustRows(t, eight, fmt.Sprintf("%s LIMIT %d OFFSET %d", order, limit, offset))
		if !slices.EqualFunc(top, full[offset:offset+limit], slices.Equal) {
			t.Fatalf("%s LIMIT %d OFFSET %d: not the first rows of the sort", order, limit, offset)
		}
	}
	rows := mustRows(t, eight, "SELECT j, u FROM t ORDER BY j, u DESC")
	ordered := sort.SliceIsSorted(rows, func(a, b int) bool {
		ja, _ := strconv.Atoi(rows[a][0])
		jb, _ := strconv.Atoi(rows[b][0])
		ua, _ := strconv.Atoi(rows[a][1])
		ub, _ := strconv.Atoi(rows[b][1])
		return ja < jb || ja == jb && ua > ub
	})
	if !ordered || len(rows) != 40000 {
		t.Fatalf("%d rows, in order: %v", len(rows), ordered)
	}
}

// TestStreamKeepsOrder: rows come in the order of storage, however many workers read them.
func TestStreamKeepsOrder(t *testing.T) {
	m := bigSource(t)
	one, eight := testEngine(m, 1), testEngine(m, 8)
	for _, sql := range []string{
		"SELECT time, s, pod, f FROM t WHERE j % 3 = 0",
		"SELECT time FROM t WHERE s = 'alpha' LIMIT 1000 OFFSET 7000",
		"SELECT s, u FROM t WHERE j < 5 UNION ALL SELECT pod, j FROM t WHERE j > 990",
		"SELECT u, s, pod, count(*) FROM t GROUP BY u, s, pod",
		"SELECT a.time, b.j FROM t a JOIN (SELECT DISTINCT j FROM t WHERE j < 10) b ON a.j = b.j",
	} {
		if a, b := mustRows(t, one, sql), mustRows(t, eight, sql); !slices.EqualFunc(a, b, slices.Equal) {
			t.Errorf("%s: other rows with 8 workers (%d and %d)", sql, len(a), len(b))
		}
	}
}

package db_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/query"
)

// questioner makes random questions in words that both dialects have. t is the alias of a table with the columns of flows
// that it names.
type questioner struct {
	*rand.Rand
	t string
}

func (q questioner) of(list ...string) string { return list[q.IntN(len(list))] }

// number is a whole number of the row, perhaps NULL. Factors are small, so that nothing leaves 32 bits.
func (q questioner) number(depth int) string {
	if depth == 0 || q.IntN(4) == 0 {
		c := q.of("bytes_tx", "rtt_us", "rtt_us", "tls_rtt_us", "server_port", "tcp_flags_tx", "packets_rx", "")
		if c == "" {
			return fmt.Sprint(q.IntN(4000) - 500)
		}
		return q.t + "." + c
	}
	a, d := q.number(depth-1), depth-1
	switch q.IntN(12) {
	case 0:
		return fmt.Sprintf("(%s + %s)", a, q.number(d))
	case 1:
		return fmt.Sprintf("(%s - %s)", a, q.number(d))
	case 2:
		return fmt.Sprintf("(%s * %d)", a, q.IntN(9)-4)
	case 3:
		return fmt.Sprintf("(%s %% %d)", a, q.IntN(15)-7)
	case 4:
		return fmt.Sprintf("(%s / %d)", a, q.IntN(15)-7)
	case 5:
		return fmt.Sprintf("coalesce(%s, %s)", a, q.number(d))
	case 6:
		return fmt.Sprintf("nullif(%s, %s)", a, q.number(d))
	case 7:
		return fmt.Sprintf("abs(%s)", a)
	case 8:
		return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", q.truth(d), a, q.number(d))
	case 9:
		return fmt.Sprintf("length(%s)", q.text(d))
	case 10:
		return fmt.Sprintf("%s(%s, %s)", q.of("greatest", "least"), a, q.number(d))
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s END", q.truth(d), a)
}

func (q questioner) text(depth int) string {
	if depth == 0 || q.IntN(3) == 0 {
		return q.t + "." + q.of("protocol", "l7_protocol", "close_type", "client.pod", "server.zone", "client.service", "client.label['app']", "server.service")
	}
	a, d := q.text(depth-1), depth-1
	switch q.IntN(9) {
	case 0:
		return fmt.Sprintf("%s(%s)", q.of("upper", "lower", "reverse"), a)
	case 1:
		return fmt.Sprintf("%s(%s, %d)", q.of("left", "right"), a, q.IntN(7)-2)
	case 2:
		return fmt.Sprintf("coalesce(%s, %s)", a, q.text(d))
	case 3:
		return fmt.Sprintf("(%s || %s)", a, q.text(d))
	case 4:
		return fmt.Sprintf("nullif(%s, %s)", a, q.word())
	case 5:
		return fmt.Sprintf("replace(%s, '%s', '%s')", a, q.of("p", "-", "o", "App"), q.of("", "xy"))
	case 6:
		return fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", q.truth(d), a, q.of("NULL", q.word(), q.text(d)))
	case 7:
		return fmt.Sprintf("split_part(%s, '%s', %d)", a, q.of("-", "_"), 1+q.IntN(2))
	}
	return fmt.Sprintf("concat(%s, '.', %s)", a, q.text(d))
}

func (q questioner) word() string {
	return q.of("'tcp'", "'http'", "''", "'pod-3'", "'pod-105'", "'a'", "'svc-2'", "'App_1'", "'zzz'", "'normal'")
}

func (q questioner) truth(depth int) string {
	if depth > 0 && q.IntN(2) == 0 {
		d := depth - 1
		switch q.IntN(4) {
		case 0:
			return fmt.Sprintf("(%s AND %s)", q.truth(d), q.truth(d))
		case 1:
			return fmt.Sprintf("(%s OR %s)", q.truth(d), q.truth(d))
		case 2:
			return fmt.Sprintf("NOT (%s)", q.truth(d))
		}
		return fmt.Sprintf("(%s) IS %s", q.truth(d), q.of("NULL", "NOT NULL"))
	}
	d := max(depth-1, 0)
	not := q.of("", "", "NOT ")
	op := q.of("=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM")
	switch q.IntN(9) {
	case 0:
		return fmt.Sprintf("%s %s %s", q.number(d), op, q.number(d))
	case 1:
		return fmt.Sprintf("%s %s %s", q.text(d), op, q.word())
	case 2:
		return fmt.Sprintf("%s %s %s", q.text(d), op, q.text(d))
	case 3:
		return fmt.Sprintf("%s %sBETWEEN %s AND %s", q.number(d), not, q.number(d), q.number(d))
	case 4:
		return fmt.Sprintf("%s %sIN (%s, %s%s)", q.text(d), not, q.word(), q.word(), q.of("", "", ", NULL"))
	case 5:
		return fmt.Sprintf("%s %sIN (80, 443, %d%s)", q.number(d), not, q.IntN(60), q.of("", "", ", NULL"))
	case 6:
		return fmt.Sprintf("%s %s%s '%s'", q.text(d), not, q.of("LIKE", "ILIKE"), q.of("%o%", "pod-1%", "_cp", "%", "", "A%", "%-_", "app__"))
	case 7:
		return fmt.Sprintf("%s IS %sNULL", q.of(q.text(d), q.number(d)), not)
	}
	return q.of("is_new", "NOT is_new")
}

func (q questioner) aggregate() string {
	a := ""
	switch q.IntN(6) {
	case 0:
		a = "count(*)"
	case 1:
		a = fmt.Sprintf("%s(%s)", q.of("sum", "avg", "min", "max", "count", "stddev_pop"), q.number(2))
	case 2:
		a = fmt.Sprintf("%s(%s)", q.of("min", "max", "count"), q.text(1))
	case 3:
		a = fmt.Sprintf("count(DISTINCT %s)", q.of(q.text(1), q.number(1)))
	case 4:
		a = fmt.Sprintf("%s(%s)", q.of("bool_and", "bool_or"), q.truth(1))
	default:
		a = fmt.Sprintf("sum(DISTINCT %s)", q.number(1))
	}
	if q.IntN(3) == 0 {
		a += " FILTER (WHERE " + q.truth(1) + ")"
	}
	return a
}

func (q questioner) list(n int, f func() string) string {
	out := make([]string, n)
	for i := range out {
		out[i] = f()
	}
	return strings.Join(out, ", ")
}

// question is a query over flows, alone or joined; join says how rows of spans come beside them.
func (q questioner) question() string {
	from := "flows " + q.t
	if q.IntN(4) == 0 {
		from += fmt.Sprintf(" %s JOIN (SELECT server_ip, l7_protocol AS p, response_code, id FROM spans WHERE id < %d) AS s ON s.server_ip = %s.server_ip AND s.p = %[3]s.l7_protocol",
			q.of("LEFT", "INNER", "RIGHT", "FULL"), q.IntN(40), q.t)
		if q.IntN(2) == 0 {
			from += fmt.Sprintf(" AND s.id %% 7 < %s %% 9", q.number(0))
		}
	}
	where := ""
	if q.IntN(5) > 0 {
		where = " WHERE " + q.truth(3)
	}
	switch q.IntN(4) {
	case 0:
		return fmt.Sprintf("SELECT %s FROM %s%s", q.list(1+q.IntN(4), q.aggregate), from, where)
	case 1:
		having := ""
		if q.IntN(2) == 0 {
			having = fmt.Sprintf(" HAVING count(*) > %d", q.IntN(20))
		}
		return fmt.Sprintf("SELECT %s, %s, %s FROM %s%s GROUP BY 1, 2%s", q.text(2), q.of(q.number(2), q.text(1), q.truth(1)), q.list(1+q.IntN(3), q.aggregate), from, where, having)
	case 2:
		return fmt.Sprintf("SELECT DISTINCT %s, %s FROM %s%s", q.text(2), q.of(q.number(1), q.truth(2)), from, where)
	}
	return fmt.Sprintf("SELECT %s, %s, %s, %s.flow_id FROM %s%s ORDER BY 1%s, 2%s, 3, 4 LIMIT %d OFFSET %d", q.number(3), q.text(3), q.truth(2), q.t, from, where,
		q.of("", " DESC", " NULLS FIRST", " DESC NULLS LAST"), q.of("", " DESC", " NULLS FIRST"), 1+q.IntN(300), q.IntN(3)*q.IntN(200))
}

// TestRandomAnswersAreThoseOfDuckDB asks random questions, of the same seed each time.
func TestRandomAnswersAreThoseOfDuckDB(t *testing.T) {
	duck := startDuck(t)
	d, files := duckDatabase(t)
	duck.views(files)
	e := query.New(d)
	const questions = 400
	rows, empty := 0, 0
	for i := range uint64(questions) {
		q := questioner{rand.New(rand.NewPCG(i, 42)), "f"}
		sql := q.question()
		ours := ourAnswer(e, sql)
		rows += len(ours.Rows)
		if len(ours.Rows) == 0 {
			empty++
		}
		if diff := difference(ours, duck.ask(sql), strings.Contains(sql, "ORDER BY")); diff != "" {
			t.Errorf("question %d: %s\n%s", i, sql, diff)
		}
	}
	if empty > questions/3 {
		t.Errorf("%d of %d questions find nothing", empty, questions)
	}
	t.Logf("%d questions, %d rows, %d without any", questions, rows, empty)
}

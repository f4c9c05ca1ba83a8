package parse

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flowlake/flowlake/query/ast"
)

// FuzzParse: no text panics; an error has a place inside the text; what parses
// prints as a text that parses to an equal tree, and Complete and Split agree
// with the lexer on where statements end.
func FuzzParse(f *testing.F) {
	for _, sql := range corpus(f) {
		f.Add(sql)
	}
	raw, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, block := range strings.Split(string(raw), "\n\n") {
		sql, _, _ := strings.Cut(block, "\n----")
		f.Add(sql)
	}
	f.Add("SELECT '\x00'")
	f.Add("\xff")
	f.Fuzz(func(t *testing.T, sql string) {
		stmts, err := Parse(sql, func(o *Options) { o.MaxBytes = 8 << 10 })
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(sql) || len(e.SQLState) != 5 || e.Msg == "" {
				t.Fatalf("%q gives the error %#v", sql, err)
			}
			if e.Line > 0 && !strings.HasPrefix(sql[e.Offset:], e.Near) {
				t.Fatalf("%q: near %q is not at %d", sql, e.Near, e.Offset)
			}
			if d := e.Detail(sql); !utf8.ValidString(d) && utf8.ValidString(sql) {
				t.Fatalf("%q: detail is not UTF-8", sql)
			}
			return
		}
		if parts := Split(sql); len(parts) != len(stmts) {
			t.Fatalf("%q: %d statements, Split gives %q", sql, len(stmts), parts)
		}
		if !Complete(sql + "\n;") {
			t.Fatalf("%q parses but is not complete", sql)
		}
		for _, s := range stmts {
			printed := s.String()
			again, err := ParseOne(printed, func(o *Options) { o.MaxNesting, o.MaxDepth = 1000, 10_000 })
			if err != nil {
				t.Fatalf("%q prints as %q: %v", sql, printed, err)
			}
			if !ast.Equal(s, again) {
				t.Fatalf("%q prints as %q, which reads as %q", sql, printed, again)
			}
		}
	})
}

// FuzzParseExpr is FuzzParse for a lone expression.
func FuzzParseExpr(f *testing.F) {
	for _, s := range []string{"status = 'ok' AND rtt_us > 5", "a LIKE b = c", "-1::int", "a BETWEEN b AND c AND d",
		"(SELECT 1)", "x IN ((SELECT 1) UNION SELECT 2)", "CASE a WHEN 1 THEN 2 END", "f(a => 1)", "t.*", "a[1]['x']"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		e, err := ParseExpr(sql, func(o *Options) { o.MaxBytes = 8 << 10 })
		if err != nil {
			return
		}
		printed := e.String()
		again, err := ParseExpr(printed, func(o *Options) { o.MaxNesting, o.MaxDepth = 1000, 10_000 })
		if err != nil || !ast.Equal(e, again) {
			t.Fatalf("%q prints as %q: %v", sql, printed, err)
		}
		same := ast.RewriteExpr(e, func(x ast.Expr) ast.Expr { return x })
		if same != e {
			t.Fatalf("%q: a rewrite that changes nothing copied", sql)
		}
	})
}

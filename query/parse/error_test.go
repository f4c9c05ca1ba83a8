package parse

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/errors.txt anew")

// TestErrors holds every error of testdata/errors.txt to its text: blocks of a
// statement, a line ----, the SQLSTATE, and what Detail shows.
func TestErrors(t *testing.T) {
	const file = "testdata/errors.txt"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(string(raw), "\n\n")
	var out strings.Builder
	out.WriteString(header)
	n := 0
	for _, block := range strings.Split(strings.TrimSpace(rest), "\n\n") {
		sql, want, ok := strings.Cut(block, "\n----")
		if !ok {
			t.Fatalf("no ---- in %q", block)
		}
		n++
		_, err := Parse(sql)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("no error: %s", sql)
			continue
		}
		if strings.Contains(e.Error(), "\n") || len(e.SQLState) != 5 || e.Line < 1 || e.Column < 1 {
			t.Errorf("%s: %q %s %d:%d", sql, e.Error(), e.SQLState, e.Line, e.Column)
		}
		if !strings.HasPrefix(sql[e.Offset:], e.Near) {
			t.Errorf("%s: near %q is not at %d", sql, e.Near, e.Offset)
		}
		got := e.SQLState + " " + e.Detail(sql)
		if want = strings.TrimPrefix(want, "\n"); got != want && !*rewrite {
			t.Errorf("%s\ngot\n%s\nwant\n%s", sql, got, want)
		}
		out.WriteString("\n\n" + sql + "\n----\n" + got)
	}
	if n < 100 {
		t.Errorf("only %d errors", n)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorExpr(t *testing.T) {
	for sql, want := range map[string]string{
		"a = 1 FROM":       `line 1, column 7: unexpected "FROM"`,
		"":                 "line 1, column 1: unexpected end of the statement",
		"SELECT 1":         `line 1, column 1: unexpected "SELECT"`,
		"a, b":             `line 1, column 2: unexpected ","`,
		"status = NULL":    "line 1, column 8: = NULL is never true, not even for NULL (write IS NULL)",
		"a == 1":           `line 1, column 3: unexpected "==" (equality is written =)`,
		"a; b":             `line 1, column 2: unexpected ";"`,
		"t.*":              "line 1, column 1: * has no place here (it stands for all columns, in a select list)",
		"duration_us > 5s": `line 1, column 15: "5s" is not a number (write INTERVAL '5s')`,
	} {
		_, err := ParseExpr(sql)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", sql, err, want)
		}
	}
	if _, err := ParseOne("SELECT 1; SELECT 2"); err == nil || !strings.Contains(err.Error(), "line 1, column 11: there are several") {
		t.Errorf("two statements: %v", err)
	}
	if _, err := ParseOne(" ; "); err == nil || !strings.Contains(err.Error(), "there is no statement") {
		t.Errorf("no statement: %v", err)
	}
}

func TestCaret(t *testing.T) {
	for _, tc := range []struct {
		sql  string
		off  int
		want string
	}{
		{"abc", 1, "abc\n ^"},
		{"abc", 3, "abc\n   ^"},
		{"abc", 99, "abc\n   ^"},
		{"abc", -1, "abc\n^"},
		{"", 0, "\n^"},
		{"a\nbü c\nd", 6, "bü c\n   ^"},
		{"\tx\ty", 3, " x y\n   ^"},
		{strings.Repeat("a", 100) + "b" + strings.Repeat("c", 100), 100,
			"..." + strings.Repeat("a", 60) + "b" + strings.Repeat("c", 59) + "...\n" + strings.Repeat(" ", 63) + "^"},
	} {
		if got := Caret(tc.sql, tc.off); got != tc.want {
			t.Errorf("Caret(%q, %d) = %q, want %q", tc.sql, tc.off, got, tc.want)
		}
	}
}

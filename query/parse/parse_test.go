package parse

import (
	"errors"
	"testing"

	"github.com/flowlake/flowlake/query/ast"
)

// roundTrip parses sql, prints every statement, and parses that again.
func roundTrip(t *testing.T, sql string) {
	t.Helper()
	stmts, err := Parse(sql)
	if err != nil {
		t.Errorf("%s\n%s", sql, detail(err, sql))
		return
	}
	for _, s := range stmts {
		printed := s.String()
		again, err := ParseOne(printed)
		if err != nil {
			t.Errorf("%s\nprints as\n%s\n%s", sql, printed, detail(err, printed))
			continue
		}
		if !ast.Equal(s, again) {
			t.Errorf("%s\nprints as\n%s\nwhich reads as\n%s", sql, printed, again)
		}
		if p := again.String(); p != printed {
			t.Errorf("printing is not stable:\n%s\n%s", printed, p)
		}
	}
}

func detail(err error, sql string) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Detail(sql)
	}
	return err.Error()
}

func TestWarmSQL(t *testing.T) {
	for _, sql := range warmSQL {
		roundTrip(t, sql)
	}
	Warm()
}

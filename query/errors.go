package query

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
	"github.com/flowlake/flowlake/query/plan"
)

// Errors that queries end with; the *Error that is returned wraps one of them.
var (
	// ErrTimeout is returned when a query takes longer than the setting query_timeout.
	ErrTimeout = errors.New("query timeout exceeded")
	// ErrCanceled is returned when the context of a query is canceled.
	ErrCanceled = errors.New("query canceled")
	// ErrMemoryLimit is returned when a query needs more than the setting query_memory_limit.
	ErrMemoryLimit = exec.ErrMemory
	// ErrTooManyRows is returned when a result has more rows than the setting max_result_rows.
	ErrTooManyRows = errors.New("too many result rows")
)

// Error is what went wrong with a statement. All errors of Query and Result.Next, io.EOF aside, are of this type.
type Error struct {
	SQLState string // five characters, as in PostgreSQL
	Msg      string // without the place
	Hint     string // what may have been meant or done; may be empty
	// Line and Column count from 1, Column in code points; Offset is in bytes from 0. Line is 0 where there is no place.
	Line, Column, Offset int

	sql   string
	cause error
}

// Error is place, message and hint in one line.
func (e *Error) Error() string {
	p := parse.Error{Line: e.Line, Column: e.Column, Msg: e.Msg, Hint: e.Hint}
	return p.Error()
}

// Detail is the message, the line of the statement with a caret under the place, and the hint.
func (e *Error) Detail() string {
	p := parse.Error{Line: e.Line, Column: e.Column, Offset: e.Offset, Msg: e.Msg, Hint: e.Hint}
	return p.Detail(e.sql)
}

// Unwrap is the error below.
func (e *Error) Unwrap() error { return e.cause }

// wrapError turns the errors of all layers into *Error.
func wrapError(sql string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	out := &Error{SQLState: "XX000", Msg: err.Error(), sql: sql, cause: err}
	var pe *parse.Error
	var le *plan.Error
	var re *exec.RunError
	switch {
	case errors.As(err, &pe):
		out.SQLState, out.Msg, out.Hint = pe.SQLState, pe.Msg, pe.Hint
		out.Line, out.Column, out.Offset = pe.Line, pe.Column, pe.Offset
	case errors.As(err, &le):
		out.SQLState, out.Msg, out.Hint = le.State, le.Msg, le.Hint
		if le.Pos.IsValid() {
			out.Line, out.Column, out.Offset = le.Pos.Line, le.Pos.Column, le.Pos.Offset
		}
	case errors.As(err, &re):
		out.SQLState, out.Msg = re.State, re.Msg
	case errors.Is(err, ErrMemoryLimit):
		out.SQLState = "53200"
		out.Hint = "narrow the time range, group by fewer keys, or raise it: SET query_memory_limit = '4 GiB'"
	case errors.Is(err, ErrTimeout):
		out.SQLState = "57014"
		out.Hint = "narrow the time range, or raise it: SET query_timeout = '5 minutes'"
	case errors.Is(err, ErrTooManyRows):
		out.SQLState = "54000"
		out.Hint = "add LIMIT, or raise it: SET max_result_rows = ..."
	case errors.Is(err, context.DeadlineExceeded):
		out.SQLState, out.Msg, out.cause = "57014", "canceling the query: the deadline of its context has passed", errors.Join(ErrTimeout, err)
	case errors.Is(err, context.Canceled):
		out.SQLState, out.Msg, out.cause = "57014", "canceling the query on request", errors.Join(ErrCanceled, err)
	}
	return out
}

func errorf(state, hint, format string, args ...any) *Error {
	return &Error{SQLState: state, Msg: strings.TrimSpace(fmt.Sprintf(format, args...)), Hint: hint}
}

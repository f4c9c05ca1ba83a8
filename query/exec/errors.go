package exec

import (
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/db/schema"
)

// Errors of running queries. A RunError carries the SQLSTATE of the errors that values cause.
var (
	// ErrMemory is returned when a query needs more memory than its budget.
	ErrMemory = errors.New("query memory limit exceeded")
)

// RunError is an error that the values of a row cause: an overflow, a failed cast, an argument out of range.
type RunError struct {
	State string // SQLSTATE
	Msg   string
}

// Error is the message.
func (e *RunError) Error() string { return e.Msg }

func runErrorf(state, format string, args ...any) error {
	return &RunError{State: state, Msg: fmt.Sprintf(format, args...)}
}

// SQLSTATEs of run-time errors.
const (
	stateOutOfRange  = "22003"
	stateBadText     = "22P02"
	stateBadArgument = "22023"
	stateBadRegex    = "2201B"
	stateCannotCast  = "42846"
	stateLimit       = "54000"
)

func errOverflow(t schema.Type) error {
	return runErrorf(stateOutOfRange, "%s out of range", t)
}

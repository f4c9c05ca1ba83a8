// Package sqlshell runs SQL for somebody at a terminal or a script: statements and the shell's own commands, over a server
// or a folder opened in process.
package sqlshell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/query/render"
)

// Session is where statements are sent. It is for one goroutine.
type Session interface {
	// Query starts a statement; timeout 0 is the other side's own. Errors about the statement are *api.Problem.
	Query(ctx context.Context, sql string, timeout time.Duration) (Result, error)
	// Where says what is asked: an address or a folder.
	Where() string
	// Keeps says whether SET holds for the statements after it.
	Keeps() bool
}

// Result is the answer to a statement.
type Result interface {
	Columns() []render.Column
	// Copy writes all rows to w, which it neither begins nor closes, and counts them.
	Copy(w render.Writer) (rows int64, err error)
	Close() error
}

// Local is a session over a function that runs statements in this process, in one session of the engine.
func Local(where string, run api.QueryFunc) Session { return &local{where, run} }

type local struct {
	where string
	run   api.QueryFunc
}

func (l *local) Where() string { return l.where }
func (l *local) Keeps() bool   { return true }

func (l *local) Query(ctx context.Context, sql string, timeout time.Duration) (Result, error) {
	cancel := context.CancelFunc(func() {})
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	rows, err := l.run(ctx, sql)
	if err != nil {
		cancel()
		return nil, err
	}
	r := &localResult{ctx: ctx, cancel: cancel, rows: rows}
	// the first rows, as a server does: what fails before them has no header
	if r.first, r.err = rows.Next(ctx); r.err != nil && !errors.Is(r.err, io.EOF) {
		return nil, errors.Join(r.err, r.Close())
	}
	return r, nil
}

type localResult struct {
	ctx    context.Context // of the statement
	cancel context.CancelFunc
	rows   api.Rows
	first  *batch.Batch // with err, what the first Next gave
	err    error
}

func (r *localResult) Columns() []render.Column { return r.rows.Columns() }

func (r *localResult) Copy(w render.Writer) (int64, error) {
	cells := render.Body(w, len(r.rows.Columns()))
	var n int64
	for b, err := r.first, r.err; ; b, err = r.rows.Next(r.ctx) {
		if errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if err := cells.Batch(b); err != nil {
			return n, fmt.Errorf("write rows: %w", err)
		}
		n += int64(b.N)
	}
}

func (r *localResult) Close() error {
	defer r.cancel()
	return r.rows.Close()
}

package query

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/exec"
)

// Column is a column of a result.
type Column struct {
	Name string
	Type schema.Type
	// Unit is the unit of a number ("us", "bytes"); "" where none is known.
	Unit string
}

// Metrics is what a query did so far.
type Metrics struct {
	Rows        int64         // rows of the result given out
	PeakMemory  int64         // bytes held at most by its tables, sorts and results
	Elapsed     time.Duration // since the start of the query, until its end
	RowsScanned int64         // rows that storage looked at
	BytesRead   int64         // bytes that storage read
}

// Result streams the rows of a statement in batches. It is for one goroutine, but Close may be called by any.
type Result struct {
	// Command is the kind of statement as PostgreSQL names it: SELECT, SHOW, EXPLAIN, SET, CHECKPOINT, BEGIN, ...
	Command string

	cols    []Column
	sql     string
	session *Session
	started time.Time
	cancel  context.CancelFunc
	run     *exec.Run
	root    exec.Node
	rows    *exec.Rows
	given   int64
	err     error
	once    sync.Once
	closed  atomic.Bool
	mu      sync.Mutex // held while the tree runs in Next, so that Close does not take its resources away
	elapsed time.Duration
}

// Columns describes the columns; none for statements without rows.
func (r *Result) Columns() []Column { return r.cols }

// Next is the next batch of at least one row, parallel to Columns; io.EOF is the end. The batch is borrowed until the next
// call of Next or Close. Vectors of types VARCHAR, INET, MAP and BYTEA have dictionaries; AppendText prints any value.
func (r *Result) Next(ctx context.Context) (*batch.Batch, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.rows == nil {
		return nil, r.end(io.EOF)
	}
	b, err := r.pull(ctx)
	switch {
	case err != nil:
		return nil, r.end(wrapError(r.sql, err))
	case b == nil:
		return nil, r.end(io.EOF)
	}
	r.given += int64(b.N)
	if m := r.session.opts.MaxResultRows; m > 0 && r.given > m {
		return nil, r.end(wrapError(r.sql, ErrTooManyRows))
	}
	return b, nil
}

func (r *Result) pull(ctx context.Context) (*batch.Batch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil, errClosed
	}
	stop := context.AfterFunc(ctx, func() { r.run.Cancel(context.Cause(ctx)) })
	defer stop()
	return r.rows.Next()
}

// errClosed is what Next says after Close.
var errClosed = errorf("24000", "", "the result is closed")

// end remembers how the result ended.
func (r *Result) end(err error) error {
	r.err = err
	r.elapsed = time.Since(r.started)
	return err
}

// Close stops the query, waits for its goroutines and gives its resources back. It may be called more than once.
func (r *Result) Close() error {
	r.once.Do(func() {
		r.closed.Store(true)
		if r.run != nil {
			r.run.Cancel(errClosed)
			r.mu.Lock()
			r.run.Close()
			r.mu.Unlock()
		}
		if r.cancel != nil {
			r.cancel()
		}
	})
	return nil
}

// Metrics is what the query did so far.
func (r *Result) Metrics() Metrics {
	m := Metrics{Rows: r.given, Elapsed: r.elapsed}
	if m.Elapsed == 0 {
		m.Elapsed = time.Since(r.started)
	}
	if r.run != nil {
		m.PeakMemory = r.run.Budget.Peak()
	}
	if r.root != nil {
		scans(r.root, func(s *exec.Scan) {
			m.RowsScanned += s.Request.Stats.RowsScanned.Load()
			m.BytesRead += s.Request.Stats.BytesRead.Load()
		})
	}
	return m
}

func scans(n exec.Node, f func(*exec.Scan)) {
	if s, ok := n.(*exec.Scan); ok {
		f(s)
	}
	for _, in := range n.Inputs() {
		scans(in, f)
	}
}

// All reads the rest of the result as text, "NULL" for NULL, and closes it: for tests and small results.
func (r *Result) All(ctx context.Context) ([][]string, error) {
	defer r.Close()
	var out [][]string
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range b.N {
			row := make([]string, len(b.Cols))
			for c, v := range b.Cols {
				row[c] = exec.ValueAt(v, i).Text()
			}
			out = append(out, row)
		}
	}
}

// AppendText appends row i of a vector as SQL prints it; nothing for NULL.
func AppendText(dst []byte, v *batch.Vector, i int) []byte {
	if v.IsNull(i) {
		return dst
	}
	return exec.AppendText(dst, exec.ValueAt(v, i))
}

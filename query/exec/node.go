package exec

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// ChunkRows is the most rows in a batch between operators: small enough that a few columns stay in the cache.
const ChunkRows = 8192

// Col is a column of an operator's output.
type Col struct {
	Name string
	Type schema.Type
	Unit string // as in schema.Column; "" where there is none
}

// Node is an operator. A tree of nodes is made for one run and used once.
type Node interface {
	// Cols is the output.
	Cols() []Col
	// Inputs are the operators it reads.
	Inputs() []Node
	// Describe is its line in EXPLAIN, and lines of detail below it.
	Describe() (line string, detail []string)

	// start makes the node ready for iter; operators that must see all rows do their work here.
	start(r *Run) error
	// width is how many workers may iterate at once; known after start.
	width(r *Run) int
	// iter is the rows of worker w; each worker is one goroutine and asks once.
	iter(r *Run, w int) iterator
	// stats is what ANALYZE shows.
	stats() *NodeStats
}

// iterator gives batches one after another; nil is the end. A batch may have no rows; it is borrowed until the next call.
// seq ascends for each worker and tells the order of batches across workers.
type iterator interface {
	next() (b *batch.Batch, seq int64, err error)
}

// NodeStats counts the work of an operator when the run is analyzed.
type NodeStats struct {
	Rows, Batches atomic.Int64
	// Nanos is the time of all workers in the operator and in what it reads.
	Nanos atomic.Int64
}

func (s *NodeStats) stats() *NodeStats { return s }

// Run is one execution of a tree.
type Run struct {
	Workers int // at least 1
	Env     *Env
	Budget  *Budget
	// Analyze measures every operator.
	Analyze bool

	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup // goroutines that outlive start
	mu      sync.Mutex
	closers []func() // guarded by mu
}

// Begin ties the run to a context. Close must be called in the end.
func (r *Run) Begin(ctx context.Context) {
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.Workers = max(r.Workers, 1)
}

// errClosed is the cause of a context that ended because the result was closed.
var errClosed = errors.New("result closed")

// Close stops all goroutines of the run, waits for them and gives its resources back.
func (r *Run) Close() {
	r.cancel(errClosed)
	r.wg.Wait()
	r.mu.Lock()
	closers := r.closers
	r.closers = nil
	r.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}

// Cancel ends the run early with a cause, which its calls then return.
func (r *Run) Cancel(cause error) { r.cancel(cause) }

func (r *Run) onClose(f func()) {
	r.mu.Lock()
	r.closers = append(r.closers, f)
	r.mu.Unlock()
}

// err is why the run ended early; nil while it goes on.
func (r *Run) err() error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// begin starts a node.
func (r *Run) begin(n Node) error {
	t := time.Now()
	err := n.start(r)
	if r.Analyze {
		n.stats().Nanos.Add(int64(time.Since(t)))
	}
	return err
}

// rows is the node's iterator for a worker, measured when asked for.
func (r *Run) rows(n Node, w int) iterator {
	it := n.iter(r, w)
	if r.Analyze {
		return &measured{it: it, s: n.stats()}
	}
	return it
}

type measured struct {
	it iterator
	s  *NodeStats
}

func (m *measured) next() (*batch.Batch, int64, error) {
	t := time.Now()
	b, seq, err := m.it.next()
	m.s.Nanos.Add(int64(time.Since(t)))
	if b != nil {
		m.s.Rows.Add(int64(b.N))
		m.s.Batches.Add(1)
	}
	return b, seq, err
}

// parallel runs f for every worker of the started input n of parent and waits. The first error ends the others.
func (r *Run) parallel(parent, n Node, f func(w int, it iterator) error) error {
	width := n.width(r)
	if r.Analyze { // begin counts the time of one goroutine: make it that of all workers
		inner, start := f, time.Now()
		f = func(w int, it iterator) error {
			t := time.Now()
			defer func() { parent.stats().Nanos.Add(int64(time.Since(t))) }()
			return inner(w, it)
		}
		defer func() { parent.stats().Nanos.Add(-int64(time.Since(start))) }()
	}
	if width == 1 {
		return guard(func() error { return f(0, r.rows(n, 0)) })
	}
	errs := make([]error, width)
	var wg sync.WaitGroup
	for w := range width {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[w] = guard(func() error { return f(w, r.rows(n, w)) })
			if errs[w] != nil {
				r.cancel(errs[w])
			}
		}()
	}
	wg.Wait()
	return firstError(errs)
}

// firstError prefers the cause over the cancellations that followed it.
func firstError(errs []error) error {
	var out error
	for _, e := range errs {
		if e != nil && (out == nil || errors.Is(out, context.Canceled)) {
			out = e
		}
	}
	return out
}

// guard turns a panic into an error: a broken invariant ends the query, not the process.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// PanicError is a broken invariant met while a query ran.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the invariant; the stack is left out.
func (e *PanicError) Error() string { return fmt.Sprintf("internal error: %v", e.Value) }

// drain calls f for every batch with rows.
func drain(r *Run, it iterator, f func(b *batch.Batch, seq int64) error) error {
	for {
		if err := r.err(); err != nil {
			return err
		}
		b, seq, err := it.next()
		if err != nil || b == nil {
			return err
		}
		if b.N > 0 {
			if err := f(b, seq); err != nil {
				return err
			}
		}
	}
}

// batchSource deals batches out to workers.
type batchSource struct {
	list      []*batch.Batch
	nextBatch atomic.Int64
}

func (s *batchSource) next() (*batch.Batch, int64, error) {
	i := s.nextBatch.Add(1) - 1
	if i >= int64(len(s.list)) {
		return nil, 0, nil
	}
	return s.list[i], i << 32, nil
}

// chunks cuts vectors of n rows into batches.
func chunks(cols []*batch.Vector, n int) []*batch.Batch {
	var out []*batch.Batch
	for from := 0; from < n; from += ChunkRows {
		out = append(out, chunk(cols, from, min(from+ChunkRows, n)))
	}
	return out
}

func chunk(cols []*batch.Vector, from, to int) *batch.Batch {
	b := &batch.Batch{N: to - from, Cols: make([]*batch.Vector, len(cols))}
	for i, c := range cols {
		b.Cols[i] = &batch.Vector{}
		slice(b.Cols[i], c, from, to)
	}
	return b
}

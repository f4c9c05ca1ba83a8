package exec

import (
	"fmt"
	"math"
	"sync"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Limit skips rows and ends its input early.
type Limit struct {
	NodeStats
	Input  Node
	Offset int64
	Count  int64 // negative: all
}

// Cols is the output.
func (l *Limit) Cols() []Col { return l.Input.Cols() }

// Inputs is the one input.
func (l *Limit) Inputs() []Node { return []Node{l.Input} }

// Describe is the line in EXPLAIN.
func (l *Limit) Describe() (string, []string) {
	switch {
	case l.Count < 0:
		return fmt.Sprintf("Offset %d", l.Offset), nil
	case l.Offset > 0:
		return fmt.Sprintf("Limit %d offset %d", l.Count, l.Offset), nil
	}
	return fmt.Sprintf("Limit %d", l.Count), nil
}

func (l *Limit) start(r *Run) error {
	if l.Count == 0 {
		return nil
	}
	return r.begin(l.Input)
}

func (l *Limit) width(*Run) int { return 1 }

func (l *Limit) iter(r *Run, w int) iterator {
	it := &limitIter{skip: l.Offset, left: l.Count}
	if l.Count < 0 {
		it.left = math.MaxInt64
	}
	if it.left > 0 {
		it.in = r.gather(l.Input)
	}
	return it
}

type limitIter struct {
	in         iterator
	skip, left int64
	sel        compactor
	rows       []int32
}

func (l *limitIter) next() (*batch.Batch, int64, error) {
	if l.left == 0 {
		if e, ok := l.in.(*exchange); ok {
			e.stop()
		}
		return nil, 0, nil
	}
	b, seq, err := l.in.next()
	if err != nil || b == nil {
		return nil, 0, err
	}
	n := int64(b.N)
	from := min(l.skip, n)
	to := n
	if l.left < n-from {
		to = from + l.left
	}
	l.skip -= from
	l.left -= to - from
	if from == 0 && to == n {
		return b, seq, nil
	}
	l.rows = l.rows[:0]
	for i := from; i < to; i++ {
		l.rows = append(l.rows, int32(i))
	}
	return l.sel.gather(b, l.rows), seq, nil
}

// Union gives the rows of its inputs one after another.
type Union struct {
	NodeStats
	List   []Node
	Output []Col
}

// Cols is the output.
func (u *Union) Cols() []Col { return u.Output }

// Inputs are the parts.
func (u *Union) Inputs() []Node { return u.List }

// Describe is the line in EXPLAIN.
func (u *Union) Describe() (string, []string) { return "Union all", nil }

func (u *Union) start(r *Run) error {
	for _, n := range u.List {
		if err := r.begin(n); err != nil {
			return err
		}
	}
	return nil
}

func (u *Union) width(r *Run) int {
	w := 1
	for _, n := range u.List {
		w = max(w, n.width(r))
	}
	return w
}

func (u *Union) iter(r *Run, w int) iterator { return &unionIter{u: u, r: r, w: w, at: -1} }

type unionIter struct {
	u  *Union
	r  *Run
	w  int
	at int
	in iterator
}

func (it *unionIter) next() (*batch.Batch, int64, error) {
	for {
		if it.in != nil {
			b, seq, err := it.in.next()
			if err != nil || b != nil {
				return b, int64(it.at)<<56 | seq, err
			}
			it.in = nil
		}
		if it.at++; it.at >= len(it.u.List) {
			return nil, 0, nil
		}
		if n := it.u.List[it.at]; it.w < n.width(it.r) {
			it.in = it.r.rows(n, it.w)
		}
	}
}

// Rows iterates over a started tree from one goroutine.
type Rows struct{ it iterator }

// Start runs everything that must see all rows before the first one can be given.
func (r *Run) Start(n Node) (*Rows, error) {
	var rows *Rows
	err := guard(func() error {
		if err := r.begin(n); err != nil {
			return err
		}
		rows = &Rows{r.gather(n)}
		return nil
	})
	return rows, err
}

// Next is the next batch that has rows, nil at the end; it is borrowed until the next call.
func (s *Rows) Next() (b *batch.Batch, err error) {
	err = guard(func() error {
		for {
			if b, _, err = s.it.next(); err != nil || b == nil || b.N > 0 {
				return err
			}
		}
	})
	if err != nil {
		b = nil
	}
	return b, err
}

// gather is the rows of a started node for one goroutine.
func (r *Run) gather(n Node) iterator {
	if n.width(r) == 1 {
		return r.rows(n, 0)
	}
	return newExchange(r, n)
}

// exchange runs the workers of a node in goroutines and gives their batches in order.
type exchange struct {
	r *Run

	mu      sync.Mutex
	cond    *sync.Cond
	pending [][]item // guarded by mu; per worker, in ascending order
	pos     []int64  // guarded by mu; per worker, nothing it still gives comes before this
	err     error    // guarded by mu
	stopped bool     // guarded by mu
}

type item struct {
	b    *batch.Batch
	seq  int64
	size int64 // bytes charged
}

// maxPending is how many batches a worker may be ahead.
const maxPending = 4

func newExchange(r *Run, n Node) *exchange {
	width := n.width(r)
	e := &exchange{r: r, pending: make([][]item, width), pos: make([]int64, width)}
	e.cond = sync.NewCond(&e.mu)
	for w := range width {
		r.wg.Add(1)
		go func() {
			defer r.wg.Done()
			err := guard(func() error { return e.work(w, r.rows(n, w)) })
			e.finish(w, err)
		}()
	}
	r.wg.Add(1)
	go func() { // wakes the others when the run ends
		defer r.wg.Done()
		<-r.ctx.Done()
		e.mu.Lock()
		e.cond.Broadcast()
		e.mu.Unlock()
	}()
	return e
}

func (e *exchange) work(w int, it iterator) error {
	for {
		b, seq, err := it.next()
		if err != nil || b == nil {
			return err
		}
		var owned *batch.Batch
		if b.N > 0 {
			owned = copyBatch(b)
		}
		more, err := e.push(w, owned, seq)
		if err != nil || !more {
			return err
		}
	}
}

// push hands a batch (nil for none) over; false means that nobody wants more.
func (e *exchange) push(w int, b *batch.Batch, seq int64) (more bool, err error) {
	it := item{b: b, seq: seq}
	if b != nil {
		it.size = batchBytes(b)
		if err := e.r.Budget.Charge(it.size); err != nil {
			return false, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pos[w] = seq
	if b != nil {
		e.pending[w] = append(e.pending[w], it)
	}
	e.cond.Broadcast()
	for len(e.pending[w]) >= maxPending && !e.stopped && e.r.ctx.Err() == nil {
		e.cond.Wait()
	}
	return !e.stopped && e.r.ctx.Err() == nil, nil
}

// batchBytes is the memory of a batch that owns it.
func batchBytes(b *batch.Batch) int64 {
	var n int64
	for _, v := range b.Cols {
		n += int64(len(v.I64)+len(v.F64)+len(v.Valid))*8 + int64(len(v.Codes))*4
		if v.Dict != nil {
			data, offs := v.Dict.Arena()
			n += int64(len(data)) + int64(len(offs))*4
		}
	}
	return n
}

func (e *exchange) finish(w int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pos[w] = math.MaxInt64
	if err != nil && e.err == nil {
		e.err = err
	}
	e.cond.Broadcast()
}

func (e *exchange) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	e.cond.Broadcast()
}

func (e *exchange) next() (*batch.Batch, int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if e.err != nil {
			return nil, 0, e.err
		}
		if err := e.r.err(); err != nil {
			return nil, 0, err
		}
		w, done := e.first()
		if w >= 0 {
			it := e.pending[w][0]
			e.pending[w] = e.pending[w][1:]
			e.cond.Broadcast()
			return it.b, it.seq, e.r.Budget.Charge(-it.size)
		}
		if done {
			return nil, 0, nil
		}
		e.cond.Wait()
	}
}

// first is the worker with the next batch in order, -1 while it is not known; done when there is none to come.
func (e *exchange) first() (w int, done bool) {
	w, at, done := -1, int64(math.MaxInt64), true
	for i := range e.pos {
		p := e.pos[i]
		if len(e.pending[i]) > 0 {
			p = e.pending[i][0].seq
		}
		if p == math.MaxInt64 {
			continue
		}
		done = false
		if p < at {
			at, w = p, i
		}
	}
	if w >= 0 && len(e.pending[w]) == 0 {
		return -1, false // the worker that is furthest behind may still give the next one
	}
	return w, done
}

// copyBatch is a batch with memory of its own; dictionaries hold only the entries in use.
func copyBatch(b *batch.Batch) *batch.Batch {
	out := &batch.Batch{N: b.N, Cols: make([]*batch.Vector, len(b.Cols))}
	for i, v := range b.Cols {
		out.Cols[i] = copyVector(v, b.N)
	}
	return out
}

func copyVector(v *batch.Vector, n int) *batch.Vector {
	out := &batch.Vector{Type: v.Type}
	if v.Valid != nil {
		out.Valid = append(batch.Bitmap(nil), v.Valid[:(n+63)/64]...)
	}
	switch v.Type.Physical() {
	case schema.Int64:
		out.I64 = append([]int64(nil), v.I64[:n]...)
	case schema.Float64:
		out.F64 = append([]float64(nil), v.F64[:n]...)
	default:
		out.Codes = append([]uint32(nil), v.Codes[:n]...)
		if v.Dict != nil {
			out.Dict = compactDict(out.Codes, v.Dict)
		}
	}
	return out
}

// compactDict copies the entries that codes refer to and rewrites the codes.
func compactDict(codes []uint32, d *batch.Dict) *batch.Dict {
	var own growDict
	if d.Len() <= 4*len(codes)+64 {
		lut := make([]uint32, d.Len())
		for i, c := range codes {
			if lut[c] == 0 {
				lut[c] = own.addBytes(d.At(int(c))) + 1
			}
			codes[i] = lut[c] - 1
		}
		return own.dict()
	}
	lut := make(map[uint32]uint32, len(codes))
	for i, c := range codes {
		k, ok := lut[c]
		if !ok {
			k = own.addBytes(d.At(int(c)))
			lut[c] = k
		}
		codes[i] = k
	}
	return own.dict()
}

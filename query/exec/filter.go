package exec

import (
	"github.com/flowlake/flowlake/db/batch"
)

// Filter keeps the rows for which all terms are true.
type Filter struct {
	NodeStats
	Input Node
	Terms []Expr
}

// Cols is the output.
func (f *Filter) Cols() []Col { return f.Input.Cols() }

// Inputs is the one input.
func (f *Filter) Inputs() []Node { return []Node{f.Input} }

// Describe is the line in EXPLAIN.
func (f *Filter) Describe() (string, []string) {
	return "Filter " + joinExprs(f.Terms, " AND ", true), nil
}

func (f *Filter) start(r *Run) error { return r.begin(f.Input) }
func (f *Filter) width(r *Run) int   { return f.Input.width(r) }

func (f *Filter) iter(r *Run, w int) iterator {
	return &filterIter{in: r.rows(f.Input, w), terms: compileAll(f.Terms, r.Env)}
}

type filterIter struct {
	in    iterator
	terms []evaluator
	sel   compactors
}

func (f *filterIter) next() (*batch.Batch, int64, error) {
	b, seq, err := f.in.next()
	if err != nil || b == nil {
		return nil, 0, err
	}
	for _, t := range f.terms {
		if b.N == 0 {
			break
		}
		v, err := t.eval(b)
		if err != nil {
			return nil, 0, err
		}
		b = f.sel.keep(b, v)
	}
	return b, seq, nil
}

// compactors applies one condition after another: it writes to the one of two places that the batch does not lie in.
type compactors [2]compactor

func (c *compactors) keep(b *batch.Batch, cond *batch.Vector) *batch.Batch {
	if b == &c[0].out {
		return c[1].keep(b, cond)
	}
	return c[0].keep(b, cond)
}

// compactor gathers the rows of a batch that a condition holds for.
type compactor struct {
	rows []int32
	vecs []batch.Vector
	out  batch.Batch
}

func (c *compactor) keep(b *batch.Batch, cond *batch.Vector) *batch.Batch {
	c.rows = trueRows(c.rows, cond, b.N)
	if len(c.rows) == b.N {
		return b
	}
	return c.gather(b, c.rows)
}

func (c *compactor) gather(b *batch.Batch, rows []int32) *batch.Batch {
	if len(c.vecs) < len(b.Cols) {
		c.vecs = make([]batch.Vector, len(b.Cols))
		c.out.Cols = make([]*batch.Vector, len(b.Cols))
	}
	c.out.N = len(rows)
	if len(rows) == 0 {
		return &c.out
	}
	for i, v := range b.Cols {
		batch.Gather(&c.vecs[i], v, rows)
		c.out.Cols[i] = &c.vecs[i]
	}
	return &c.out
}

// trueRows is the rows for which a BOOLEAN vector is true, in dst's memory.
func trueRows(dst []int32, cond *batch.Vector, n int) []int32 {
	dst = resize(dst, n)
	k := 0
	if cond.Valid == nil {
		for i, x := range cond.I64[:n] {
			dst[k] = int32(i)
			k += int(x)
		}
		return dst[:k]
	}
	for i, x := range cond.I64[:n] {
		dst[k] = int32(i)
		k += int(x) & int(cond.Valid[i>>6]>>(uint(i)&63))
	}
	return dst[:k]
}

// Project computes expressions.
type Project struct {
	NodeStats
	Input  Node
	Exprs  []Expr
	Output []Col
}

// Cols is the output.
func (p *Project) Cols() []Col { return p.Output }

// Inputs is the one input.
func (p *Project) Inputs() []Node { return []Node{p.Input} }

// Describe is the line in EXPLAIN.
func (p *Project) Describe() (string, []string) {
	return "Project " + joinExprs(p.Exprs, ", ", false), nil
}

func (p *Project) start(r *Run) error { return r.begin(p.Input) }
func (p *Project) width(r *Run) int   { return p.Input.width(r) }

func (p *Project) iter(r *Run, w int) iterator {
	return &projectIter{in: r.rows(p.Input, w), exprs: compileAll(p.Exprs, r.Env), out: batch.Batch{Cols: make([]*batch.Vector, len(p.Exprs))}}
}

type projectIter struct {
	in    iterator
	exprs []evaluator
	out   batch.Batch
}

func (p *projectIter) next() (*batch.Batch, int64, error) {
	b, seq, err := p.in.next()
	if err != nil || b == nil {
		return nil, 0, err
	}
	p.out.N = b.N
	if b.N == 0 {
		return &p.out, seq, nil
	}
	for i, e := range p.exprs {
		if p.out.Cols[i], err = e.eval(b); err != nil {
			return nil, 0, err
		}
	}
	return &p.out, seq, nil
}

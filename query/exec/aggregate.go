package exec

import (
	"math"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Aggregate groups its input by keys and computes aggregates; its columns are the keys, then the aggregates. Without keys
// there is always one row. DISTINCT is an Aggregate without aggregates. Groups come in the order of their first rows.
type Aggregate struct {
	NodeStats
	Input  Node
	Keys   []Expr
	Aggs   []*Agg
	Output []Col

	src batchSource
}

// Cols is the output.
func (a *Aggregate) Cols() []Col { return a.Output }

// Inputs is the one input.
func (a *Aggregate) Inputs() []Node { return []Node{a.Input} }

// Describe is the line in EXPLAIN.
func (a *Aggregate) Describe() (string, []string) {
	var parts []string
	for _, g := range a.Aggs {
		parts = append(parts, g.String())
	}
	line := "Aggregate " + strings.Join(parts, ", ")
	if len(a.Aggs) == 0 {
		line = "Distinct"
	}
	if len(a.Keys) > 0 {
		line += " by " + joinExprs(a.Keys, ", ", false)
	}
	return line, nil
}

func (a *Aggregate) start(r *Run) error {
	if err := r.begin(a.Input); err != nil {
		return err
	}
	tables := make([]*aggTable, a.Input.width(r))
	err := r.parallel(a, a.Input, func(w int, it iterator) error {
		t := newAggTable(a, r)
		t.several = len(tables) > 1
		tables[w] = t
		return drain(r, it, t.add)
	})
	if err != nil {
		return err
	}
	t := tables[0]
	for _, o := range tables[1:] {
		if err := t.merge(o); err != nil {
			return err
		}
	}
	cols, n, err := t.result(len(tables) > 1)
	if err != nil {
		return err
	}
	if len(cols) == 0 { // SELECT DISTINCT of nothing
		a.src.list = []*batch.Batch{{N: n}}
		return nil
	}
	a.src.list = chunks(cols, n)
	return nil
}

func (a *Aggregate) width(r *Run) int { return max(1, min(r.Workers, len(a.src.list))) }

func (a *Aggregate) iter(r *Run, w int) iterator { return &a.src }

// aggTable is the groups of one worker.
type aggTable struct {
	keys    []evaluator
	keyVecs []*batch.Vector
	group   *grouper
	aggs    []aggWorker
	first   []int64 // per group: where it was met first; kept where tables are merged
	several bool    // there are other workers' tables
	gids    []uint32
	mem     charger

	// Keys that are a tag of a column are looked up once per run of the column; tagCols is that column, -1 for other keys.
	tagCols []int
	runs    runList
	pause   int // batches until runs are looked for again
	// valuePause is the same for runs of the values of tags, which are looked for where there are no runs of tag sets
	valuePause int
	small      batch.Batch    // the columns of tagCols at the first rows of the runs
	subs       []batch.Vector // by key: the key, or the column of tagCols, at the first rows of the runs
}

type aggWorker struct {
	state  aggState
	runs   runAdder // the state, where it takes runs and there is no filter; else nil
	args   []evaluator
	filter evaluator // nil: all rows
	vecs   []*batch.Vector
	sub    []batch.Vector
	rows   []int32
	gids   []uint32
}

func newAggTable(a *Aggregate, r *Run) *aggTable {
	t := &aggTable{keys: compileAll(a.Keys, r.Env), keyVecs: make([]*batch.Vector, len(a.Keys)), mem: charger{budget: r.Budget}}
	types := make([]schema.Type, len(a.Keys))
	for i, k := range a.Keys {
		types[i] = vectorType(k.Type())
	}
	t.group = newGrouper(types)
	t.tagCols, t.subs = tagColumns(a.Keys), make([]batch.Vector, len(a.Keys))
	for _, g := range a.Aggs {
		w := aggWorker{state: g.newState(), args: compileAll(g.Args, r.Env), vecs: make([]*batch.Vector, len(g.Args)), sub: make([]batch.Vector, len(g.Args))}
		if g.Filter != nil {
			w.filter = compile(g.Filter, r.Env)
		} else {
			w.runs, _ = w.state.(runAdder)
		}
		t.aggs = append(t.aggs, w)
	}
	return t
}

// vectorType is the type of the vector that an expression of type t gives: an untyped NULL is text.
func vectorType(t schema.Type) schema.Type {
	if t == schema.Invalid {
		return schema.Varchar
	}
	return t
}

func (t *aggTable) add(b *batch.Batch, seq int64) error {
	byRun, err := t.assign(b)
	if err != nil {
		return err
	}
	groups := int(t.group.total)
	for n := int64(0); t.several && len(t.first) < groups; n++ {
		t.first = append(t.first, seq+n)
	}
	expanded := !byRun
	for i := range t.aggs {
		w := &t.aggs[i]
		if byRun && w.runs != nil {
			if err := w.addRuns(b, &t.runs, groups); err != nil {
				return err
			}
			continue
		}
		if !expanded {
			t.gids = resize(t.gids, b.N)
			t.runs.expand(t.gids)
			expanded = true
		}
		if err := w.add(b, t.gids, groups); err != nil {
			return err
		}
	}
	return t.mem.set(t.bytes())
}

// assign finds the group of every row: byRun says that they are in runs, else they are in gids.
func (t *aggTable) assign(b *batch.Batch) (byRun bool, err error) {
	if b.N == 0 {
		t.gids = t.gids[:0]
		return false, nil
	}
	for i, k := range t.keys {
		if c := t.tagCols[i]; c >= 0 {
			t.keyVecs[i] = b.Cols[c]
		} else if t.keyVecs[i], err = k.eval(b); err != nil {
			return false, err
		}
	}
	if t.pause > 0 {
		t.pause--
	} else if t.runs.find(t.keyVecs, b.N) {
		return true, t.assignRuns(b, true)
	} else {
		t.pause = runsPause
	}
	hasTags := false
	for i, k := range t.keys {
		if t.tagCols[i] < 0 {
			continue
		}
		hasTags = true
		if t.keyVecs[i], err = k.eval(b); err != nil {
			return false, err
		}
	}
	// Rows that are sorted by their tag sets have long runs of values that many sets share, where those of sets are short.
	if t.valuePause > 0 {
		t.valuePause--
	} else if hasTags && t.runs.find(t.keyVecs, b.N) {
		return true, t.assignRuns(b, false)
	} else {
		t.valuePause = runsPause
	}
	t.gids = resize(t.gids, b.N)
	t.group.assign(t.keyVecs, t.gids)
	return false, nil
}

// assignRuns finds the group of every run; bySets says that keys which are tags are still to be looked up.
func (t *aggTable) assignRuns(b *batch.Batch, bySets bool) (err error) {
	n := t.runs.count()
	for i := range t.keys {
		batch.Gather(&t.subs[i], t.keyVecs[i], t.runs.starts[:n])
		t.keyVecs[i] = &t.subs[i]
	}
	for i, k := range t.keys {
		c := t.tagCols[i]
		if c < 0 || !bySets {
			continue
		}
		t.small.N, t.small.Cols = n, resize(t.small.Cols, len(b.Cols))
		t.small.Cols[c] = &t.subs[i]
		if t.keyVecs[i], err = k.eval(&t.small); err != nil {
			return err
		}
	}
	t.group.assign(t.keyVecs, t.runs.gids)
	return nil
}

// tagColumns is, by key that is a tag of a column, the column; -1 for others.
func tagColumns(keys []Expr) []int {
	out := make([]int, len(keys))
	for i, k := range keys {
		out[i] = -1
		if tag, ok := k.(*TagValue); ok {
			if col, ok := tag.X.(*Column); ok {
				out[i] = col.Index
			}
		}
	}
	return out
}

// addRuns is add for rows that come in runs.
func (w *aggWorker) addRuns(b *batch.Batch, r *runList, groups int) error {
	for i, a := range w.args {
		v, err := a.eval(b)
		if err != nil {
			return err
		}
		w.vecs[i] = v
	}
	return w.runs.addRuns(r, groups, w.vecs)
}

func (w *aggWorker) add(b *batch.Batch, gids []uint32, groups int) error {
	if w.filter != nil {
		cond, err := w.filter.eval(b)
		if err != nil {
			return err
		}
		w.rows = trueRows(w.rows, cond, b.N)
		w.gids = resize(w.gids, len(w.rows))
		for i, r := range w.rows {
			w.gids[i] = gids[r]
		}
		gids = w.gids
	}
	for i, a := range w.args {
		v, err := a.eval(b)
		if err != nil {
			return err
		}
		if w.filter != nil {
			batch.Gather(&w.sub[i], v, w.rows)
			if v = &w.sub[i]; v.Valid == nil {
				v.Valid = batch.NewBitmap(len(w.rows)) // a group may stay without rows
				v.Valid.Fill(len(w.rows))
			}
		}
		w.vecs[i] = v
	}
	return w.state.add(gids, groups, w.vecs)
}

func (t *aggTable) bytes() int64 {
	n := t.group.bytes() + int64(cap(t.first))*8
	for i := range t.aggs {
		n += t.aggs[i].state.bytes()
	}
	return n
}

func (t *aggTable) merge(o *aggTable) error {
	o.group.seal()
	remap := t.group.merge(o.group)
	groups := int(t.group.total)
	for len(t.first) < groups {
		t.first = append(t.first, math.MaxInt64)
	}
	for g, to := range remap {
		t.first[to] = min(t.first[to], o.first[g])
	}
	for i := range t.aggs {
		if err := t.aggs[i].state.merge(o.aggs[i].state, remap, groups); err != nil {
			return err
		}
	}
	if err := t.mem.set(t.bytes()); err != nil {
		return err
	}
	return o.mem.set(0)
}

// result is the columns of the result and the number of groups, in the order of first rows.
func (t *aggTable) result(merged bool) ([]*batch.Vector, int, error) {
	if len(t.keys) == 0 {
		t.group.total = 1
	}
	n := int(t.group.total)
	t.group.seal()
	codes := t.group.columnCodes()
	var order []int32
	if merged && len(t.keys) > 0 {
		order = firstOrder(t.first)
	}
	var out []*batch.Vector
	for k, c := range t.group.cols {
		if order != nil {
			permuted := make([]uint32, n)
			for i, g := range order {
				permuted[i] = codes[k][g]
			}
			codes[k] = permuted
		}
		v := &batch.Vector{}
		c.vector(v, codes[k])
		out = append(out, v)
	}
	for i := range t.aggs {
		v, err := t.aggs[i].state.result(n)
		if err != nil {
			return nil, 0, err
		}
		if order != nil {
			g := &batch.Vector{}
			batch.Gather(g, v, order)
			v = g
		}
		out = append(out, v)
	}
	return out, n, nil
}

// firstOrder is the groups by where they were met first.
func firstOrder(first []int64) []int32 {
	type place struct {
		at int64
		g  int32
	}
	p := make([]place, len(first))
	for g, at := range first {
		p[g] = place{at, int32(g)}
	}
	slices.SortFunc(p, func(a, b place) int { return compareInt(a.at, b.at) })
	out := make([]int32, len(p))
	for i := range p {
		out[i] = p[i].g
	}
	return out
}

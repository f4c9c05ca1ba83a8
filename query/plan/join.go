package plan

import (
	"slices"
	"strconv"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

func itoa(i int) string { return strconv.Itoa(i) }

// join combines two relations on equal keys; residual conditions are over the columns of both.
func join(kind exec.JoinKind, l, r *relation, keys [][2]exec.Expr, on []exec.Expr) *relation {
	j := &exec.Join{Kind: kind, Left: l.node, Right: r.node, On: on}
	for _, k := range keys {
		j.LeftKeys = append(j.LeftKeys, k[0])
		j.RightKeys = append(j.RightKeys, k[1])
	}
	out := &relation{node: j}
	out.cols = append(append(out.cols, l.cols...), r.cols...)
	return out
}

func (p *Planner) join(e *ast.Join) (*relation, error) {
	l, err := p.ref(e.Left)
	if err != nil {
		return nil, err
	}
	r, err := p.ref(e.Right)
	if err != nil {
		return nil, err
	}
	names := e.Using
	if e.Natural {
		names = commonNames(l, r)
	}
	if e.Asof && (e.On == nil || len(names) > 0) {
		return nil, errorAt(e, stateUnsupported, "an ASOF join needs ON with one inequality").hint("ASOF JOIN t ON a.key = t.key AND a.time >= t.time")
	}
	if len(names) > 0 {
		return p.using(e, names, l, r)
	}
	kind := map[ast.JoinKind]exec.JoinKind{ast.JoinLeft: exec.JoinLeft, ast.JoinRight: exec.JoinLeft, ast.JoinFull: exec.JoinFull}[e.Kind]
	swapped := e.Kind == ast.JoinRight
	nl, nr := len(l.cols), len(r.cols)
	if swapped {
		l, r, nl, nr = r, l, nr, nl
	}
	both := &relation{}
	both.cols = append(append(both.cols, l.cols...), r.cols...)
	var keys [][2]exec.Expr
	var rest []exec.Expr
	if e.On != nil {
		x := &binder{p: p, rel: both, clause: "ON"}
		cond, err := x.condition(e.On)
		if err != nil {
			return nil, err
		}
		for _, c := range conjuncts(cond) {
			if k, ok := equalKey(c, nl); ok {
				keys = append(keys, k)
			} else {
				rest = append(rest, c)
			}
		}
	}
	out := join(kind, l, r, keys, rest)
	if e.Asof {
		if err := closest(e, out.node.(*exec.Join), nl); err != nil {
			return nil, err
		}
	}
	if !swapped {
		return out, nil
	}
	// columns in the order they were written
	proj := &exec.Project{Input: out.node}
	back := &relation{node: proj}
	for i := range out.cols {
		at := (i + nl) % (nl + nr)
		proj.Exprs = append(proj.Exprs, out.column(at))
		proj.Output = append(proj.Output, exec.Col{Name: out.cols[at].name, Type: out.cols[at].typ, Unit: out.cols[at].unit})
		back.cols = append(back.cols, out.cols[at])
	}
	return back, nil
}

// equalKey recognises left = right, where each side uses columns of one input only.
func equalKey(e exec.Expr, nl int) (key [2]exec.Expr, ok bool) {
	c, isCmp := e.(*exec.Compare)
	if !isCmp || c.Op != exec.Eq || c.L.Type().Physical() != c.R.Type().Physical() {
		return key, false
	}
	ls, rs := sideOf(c.L, nl), sideOf(c.R, nl)
	l, r := c.L, c.R
	if ls == 2 && rs == 1 {
		l, r, ls, rs = r, l, rs, ls
	}
	if ls != 1 || rs != 2 {
		return key, false
	}
	r = exec.Remap(r, func(c *exec.Column) exec.Expr { return &exec.Column{Index: c.Index - nl, Typ: c.Typ, Name: c.Name} })
	return [2]exec.Expr{l, r}, true
}

// sideOf is 1 where e uses columns of the left input only, 2 for the right, 3 for both, 0 for none.
func sideOf(e exec.Expr, nl int) int {
	side := 0
	exec.Columns(e, func(c *exec.Column) {
		if c.Index < nl {
			side |= 1
		} else {
			side |= 2
		}
	})
	return side
}

// closest makes the join's one inequality between both sides that of an ASOF join.
func closest(e *ast.Join, j *exec.Join, nl int) error {
	if len(j.On) != 1 {
		return errorAt(e.On, stateUnsupported, "an ASOF join needs equalities and one inequality between the tables, it has %d other conditions", len(j.On))
	}
	c, ok := j.On[0].(*exec.Compare)
	if !ok || c.Op < exec.Lt || !exec.HasOrderBits(c.L.Type()) || c.L.Type().Physical() != c.R.Type().Physical() {
		return errorAt(e.On, stateUnsupported, "the inequality of an ASOF join compares numbers or times with <, <=, > or >=")
	}
	l, r, op := c.L, c.R, c.Op
	if sideOf(l, nl) == 2 {
		l, r, op = r, l, map[exec.CompareOp]exec.CompareOp{exec.Lt: exec.Gt, exec.Le: exec.Ge, exec.Gt: exec.Lt, exec.Ge: exec.Le}[op]
	}
	if sideOf(l, nl) != 1 || sideOf(r, nl) != 2 {
		return errorAt(e.On, stateUnsupported, "the inequality of an ASOF join must compare one table with the other")
	}
	r = exec.Remap(r, func(c *exec.Column) exec.Expr { return &exec.Column{Index: c.Index - nl, Typ: c.Typ, Name: c.Name} })
	j.On, j.Asof = nil, &exec.Asof{Left: l, Right: r, Op: op}
	return nil
}

// commonNames are the columns that a NATURAL join is on: those of both sides, in the order of the left.
func commonNames(l, r *relation) (names []string) {
	for _, c := range l.cols {
		if !c.hidden && r.count(c.name) > 0 && !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// using joins on columns of the same name. They appear once and first in the result; by the names of the tables both
// stay in reach.
func (p *Planner) using(e *ast.Join, names []string, l, r *relation) (*relation, error) {
	var keys [][2]exec.Expr
	var at [][2]int
	x := &binder{p: p, rel: l}
	for _, name := range names {
		var k [2]int
		list := make([]exec.Expr, 2)
		for side, rel := range []*relation{l, r} {
			i, err := rel.find(e, "", name)
			if err != nil {
				return nil, err
			}
			if i < 0 {
				return nil, errorAt(e, stateUnknownColumn, "column %q of USING is not in both tables", name)
			}
			k[side], list[side] = i, rel.column(i)
		}
		if _, err := x.unify(e, "USING", list); err != nil {
			return nil, err
		}
		at = append(at, k)
		keys = append(keys, [2]exec.Expr{list[0], list[1]})
	}
	nl := len(l.cols)
	var out *relation
	column := func(side, i int) *exec.Column { return out.column(side*nl + i) }
	switch e.Kind {
	case ast.JoinRight:
		for i := range keys {
			keys[i][0], keys[i][1] = keys[i][1], keys[i][0]
		}
		out = join(exec.JoinLeft, r, l, keys, nil)
		column = func(side, i int) *exec.Column { return out.column((1-side)*len(r.cols) + i) }
	case ast.JoinFull:
		out = join(exec.JoinFull, l, r, keys, nil)
	case ast.JoinLeft:
		out = join(exec.JoinLeft, l, r, keys, nil)
	default:
		out = join(exec.JoinInner, l, r, keys, nil)
	}
	return merged(x, e, [2]*relation{l, r}, at, out.node, column)
}

// merged is the columns of a join with USING: those joined on, which are hidden further on, then the rest.
func merged(x *binder, e *ast.Join, sides [2]*relation, at [][2]int, in exec.Node, column func(side, i int) *exec.Column) (*relation, error) {
	proj := &exec.Project{Input: in}
	out := &relation{node: proj}
	add := func(x exec.Expr, c relCol) {
		c.typ = x.Type()
		proj.Exprs = append(proj.Exprs, x)
		proj.Output = append(proj.Output, exec.Col{Name: c.name, Type: c.typ, Unit: c.unit})
		out.cols = append(out.cols, c)
	}
	joined := [2]map[int]bool{{}, {}}
	for _, k := range at {
		c := sides[0].cols[k[0]]
		var v exec.Expr = column(0, k[0])
		switch e.Kind {
		case ast.JoinRight:
			v = column(1, k[1])
		case ast.JoinFull:
			var err error
			if v, err = x.resolve(e, exec.LookupFunc("coalesce"), "coalesce", []exec.Expr{v, column(1, k[1])}); err != nil {
				return nil, err
			}
		}
		add(v, relCol{name: c.name, unit: c.unit})
		joined[0][k[0]], joined[1][k[1]] = true, true
	}
	for side, rel := range sides {
		for i, c := range rel.cols {
			c.hidden = c.hidden || joined[side][i]
			add(column(side, i), c)
		}
	}
	return out, nil
}

// maxSeries is the most rows that generate_series gives.
const maxSeries = 10_000_000

// tableFunc is a function in FROM: generate_series(from, to [, step]) over whole numbers or times.
func (p *Planner) tableFunc(t *ast.TableFunc) (*relation, error) {
	name := t.Call.FuncName()
	if name != "generate_series" {
		return nil, unknownFunction(t.Call, name)
	}
	x := &binder{p: p, rel: &relation{}, clause: "FROM"}
	args, err := x.bindAll(t.Call.Args...)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 || len(args) > 3 || t.Ordinality {
		return nil, errorAt(t, stateUnknownFunction, "generate_series needs from, to and perhaps a step")
	}
	typ, step := schema.BigInt, schema.BigInt
	if args[0].Type() == schema.Timestamp || len(args) == 3 && args[2].Type() == schema.Interval {
		typ, step = schema.Timestamp, schema.Interval
	}
	vals := [3]int64{2: 1}
	for i, a := range args {
		want := typ
		if i == 2 {
			want = step
		}
		b, err := x.to(t, a, want)
		if err != nil {
			return nil, err
		}
		vals[i] = b.(*exec.Const).Value.I
	}
	if vals[2] == 0 || typ == schema.Timestamp && len(args) < 3 {
		return nil, errorAt(t, "22023", "generate_series needs a step that is not zero")
	}
	var n int64
	if d := float64(vals[1]) - float64(vals[0]); d/float64(vals[2]) >= 0 {
		if n = int64(d/float64(vals[2])) + 1; n > maxSeries {
			return nil, errorAt(t, stateTooComplex, "generate_series would give more than %d rows", maxSeries)
		}
	}
	rows := make([][]exec.Value, n)
	for i := range rows {
		rows[i] = []exec.Value{{Type: typ, I: vals[0] + int64(i)*vals[2]}}
	}
	rel := relationOf(exec.ConstNode("Series", []exec.Col{{Name: "generate_series", Type: typ}}, rows), "")
	if t.Alias != nil && len(t.Alias.Columns) == 0 {
		rel.cols[0].name = t.Alias.Name
	}
	return rename(t, rel, t.Alias, name)
}

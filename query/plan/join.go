package plan

import (
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
	if e.Asof || e.Natural || e.Kind == ast.JoinFull {
		return nil, errorAt(e, stateUnsupported, "ASOF, NATURAL and FULL joins are not supported")
	}
	l, err := p.ref(e.Left)
	if err != nil {
		return nil, err
	}
	r, err := p.ref(e.Right)
	if err != nil {
		return nil, err
	}
	kind := exec.JoinInner
	if e.Kind == ast.JoinLeft || e.Kind == ast.JoinRight {
		kind = exec.JoinLeft
	}
	swapped := e.Kind == ast.JoinRight
	nl, nr := len(l.cols), len(r.cols)
	if swapped {
		l, r, nl, nr = r, l, nr, nl
	}
	if len(e.Using) > 0 {
		return p.using(e, kind, l, r)
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

// using joins on columns of the same name, which appear once in the result.
func (p *Planner) using(e *ast.Join, kind exec.JoinKind, l, r *relation) (*relation, error) {
	var keys [][2]exec.Expr
	drop := map[int]bool{}
	for _, name := range e.Using {
		var pair [2]exec.Expr
		for k, rel := range []*relation{l, r} {
			i, err := rel.find(e, "", name)
			if err != nil {
				return nil, err
			}
			if i < 0 {
				return nil, errorAt(e, stateUnknownColumn, "column %q of USING is not in both tables", name)
			}
			pair[k] = rel.column(i)
			if k == 1 {
				drop[len(l.cols)+i] = true
			}
		}
		x := &binder{p: p, rel: l}
		list := pair[:]
		if _, err := x.unify(e, "USING", list); err != nil {
			return nil, err
		}
		keys = append(keys, [2]exec.Expr{list[0], list[1]})
	}
	out := join(kind, l, r, keys, nil)
	proj := &exec.Project{Input: out.node}
	cut := &relation{node: proj}
	for i, c := range out.cols {
		if !drop[i] {
			proj.Exprs = append(proj.Exprs, out.column(i))
			proj.Output = append(proj.Output, exec.Col{Name: c.name, Type: c.typ, Unit: c.unit})
			cut.cols = append(cut.cols, c)
		}
	}
	return cut, nil
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

package plan

import (
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/exec"
)

// part is the target column of a partial of a column (-1: of the number of rows), -1 where there is none.
func (x *fit) part(source int, m schema.Merge) int {
	for _, p := range x.rollup.Parts {
		if p.Source == source && p.Merge == m {
			return p.Target
		}
	}
	return -1
}

// aggregate adds what an aggregate needs to the rollup's, and gives its value over them.
func (x *fit) aggregate(a *exec.Agg) exec.Expr {
	var filter exec.Expr
	if a.Filter != nil {
		filter = x.condition(a.Filter)
	}
	if x.overKeys(a) {
		g := *a
		g.Args, g.Filter = nil, filter
		for _, e := range a.Args {
			g.Args = append(g.Args, x.expr(e))
		}
		return x.add(&g)
	}
	col := -1
	if len(a.Args) > 0 {
		col = x.sourceColumn(a.Args[0])
	}
	var out exec.Expr
	switch {
	case a.Distinct:
	case a.Fn.Name == "count":
		out = x.count(a, col, filter)
	case a.Fn.Name == "sum":
		out = x.sum(a.Args[0], filter)
	case a.Fn.Name == "avg" && col >= 0:
		sum, n := x.sum(a.Args[0], filter), x.values(col, filter)
		if sum != nil && n != nil {
			out = &exec.Arith{Op: exec.Div, L: toDouble(sum), R: toDouble(n), Typ: schema.Double}
		}
	case a.Fn.Name == "min" && col >= 0:
		out = x.partial("min", col, schema.MergeMin, filter)
	case a.Fn.Name == "max" && col >= 0:
		out = x.partial("max", col, schema.MergeMax, filter)
	case a.Fn.Name == "approx_percentile" && col >= 0:
		if at := x.part(col, schema.MergeSketch); at >= 0 {
			out = x.call(a.Fn.Name, x.target(at), filter, a.Consts...)
		}
	case a.Fn.Name == "uniq" && col >= 0:
		if at := x.part(col, schema.MergeUniq); at >= 0 {
			out = x.call(a.Fn.Name, x.target(at), filter)
		}
	}
	if out == nil {
		x.fail("%s", x.reason(a, col))
		return constant(exec.NullValue(a.Typ))
	}
	return out
}

// reason says why a rollup does not have an aggregate.
func (x *fit) reason(a *exec.Agg, col int) string {
	switch a.Fn.Name {
	case "percentile", "median", "percentile_cont", "percentile_disc":
		return a.Fn.Name + " is exact and needs every row; approx_percentile does not"
	case "uniq_exact":
		return "uniq_exact needs every row; uniq does not"
	}
	if a.Distinct {
		return a.String() + " needs every row"
	}
	if len(a.Args) > 0 && col < 0 {
		return "it has no partials of " + a.Args[0].String()
	}
	return "it has no partials for " + a.String()
}

// overKeys says whether an aggregate gives the same over the distinct combinations of keys as over all rows.
func (x *fit) overKeys(a *exec.Agg) bool {
	if len(a.Args) != 1 {
		return false
	}
	switch a.Fn.Name {
	case "min", "max", "bool_and", "bool_or", "any_value", "uniq", "uniq_exact":
	default:
		if !a.Distinct {
			return false
		}
	}
	return x.probe(a.Args[0])
}

// probe says whether an expression can be translated, without asking for its columns.
func (x *fit) probe(e exec.Expr) bool {
	y := newFit(x.p, x.from, x.rollup)
	y.req.From, y.req.To = x.req.From, x.req.To
	y.expr(e)
	return y.why == ""
}

// add is the column of an aggregate over the rollup.
func (x *fit) add(a *exec.Agg) exec.Expr {
	name := a.String()
	for i, g := range x.out.Aggs {
		if g.String() == name {
			return &exec.Column{Index: len(x.out.Keys) + i, Typ: g.Typ, Name: name}
		}
	}
	x.out.Aggs = append(x.out.Aggs, a)
	x.out.Output = append(x.out.Output, exec.Col{Name: name, Type: a.Typ})
	return &exec.Column{Index: len(x.out.Keys) + len(x.out.Aggs) - 1, Typ: a.Typ, Name: name}
}

// call is an aggregate of one column of the rollup.
func (x *fit) call(name string, arg, filter exec.Expr, consts ...exec.Value) exec.Expr {
	fn := exec.LookupFunc(name)
	types := []schema.Type{arg.Type()}
	for _, c := range consts {
		types = append(types, c.Type)
	}
	impl, _ := fn.ResolveAgg(types, make([]bool, len(types)))
	return x.add(&exec.Agg{Fn: fn, Impl: impl, Args: []exec.Expr{arg}, Consts: consts, Filter: filter, Typ: impl.Result(types)})
}

func (x *fit) partial(fn string, col int, m schema.Merge, filter exec.Expr) exec.Expr {
	at := x.part(col, m)
	if at < 0 {
		return nil
	}
	return x.call(fn, x.target(at), filter)
}

// count is count(*), or count(column).
func (x *fit) count(a *exec.Agg, col int, filter exec.Expr) exec.Expr {
	var n exec.Expr
	switch {
	case len(a.Args) == 0:
		n = x.values(-1, filter)
	case col >= 0:
		n = x.values(col, filter)
	}
	if n == nil && len(a.Args) == 1 && x.part(-1, schema.MergeCount) >= 0 { // of a key
		if x.probe(a.Args[0]) {
			is := exec.Expr(&exec.IsNull{X: x.expr(a.Args[0]), Not: true})
			if filter != nil {
				is = &exec.Logic{Terms: []exec.Expr{filter, is}}
			}
			n = x.values(-1, is)
		}
	}
	if n == nil {
		return nil
	}
	fn := exec.LookupFunc("coalesce") // a count of nothing is 0, a sum of nothing NULL
	return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{n, constant(exec.IntValue(0))}, Typ: schema.BigInt}
}

// values is the number of values of a column, of rows for -1 and for columns that are never NULL; NULL for none.
func (x *fit) values(col int, filter exec.Expr) exec.Expr {
	if col >= 0 && !x.rollup.Source.Columns[col].Nullable && x.part(col, schema.MergeCount) < 0 {
		col = -1
	}
	at := x.part(col, schema.MergeCount)
	if at < 0 {
		return nil
	}
	return x.call("sum", x.target(at), filter)
}

// sum is the sum of a column, or of sums, differences and whole multiples of columns that are never NULL.
func (x *fit) sum(e exec.Expr, filter exec.Expr) exec.Expr {
	if col := x.sourceColumn(e); col >= 0 {
		at := x.part(col, schema.MergeSum)
		if at < 0 {
			return nil
		}
		if n := x.part(col, schema.MergeCount); n >= 0 && !x.rollup.Target.Columns[at].Nullable { // no values: NULL, not 0
			has := exec.Expr(&exec.Compare{Op: exec.Gt, L: x.target(n), R: constant(exec.IntValue(0))})
			if filter != nil {
				has = &exec.Logic{Terms: []exec.Expr{filter, has}}
			}
			filter = has
		}
		return x.call("sum", x.target(at), filter)
	}
	a, ok := e.(*exec.Arith)
	if !ok || a.Typ != schema.BigInt {
		return nil
	}
	switch a.Op {
	case exec.Add, exec.Sub:
		if !x.neverNull(a.L) || !x.neverNull(a.R) {
			return nil
		}
		l, r := x.sum(a.L, filter), x.sum(a.R, filter)
		if l != nil && r != nil {
			return &exec.Arith{Op: a.Op, L: l, R: r, Typ: a.Typ}
		}
	case exec.Mul:
		l, r := a.L, a.R
		if _, isConst := l.(*exec.Const); isConst {
			l, r = r, l
		}
		k, isConst := r.(*exec.Const)
		if !isConst || k.Value.Null {
			return nil
		}
		if s := x.sum(l, filter); s != nil {
			return &exec.Arith{Op: exec.Mul, L: s, R: k, Typ: a.Typ}
		}
	}
	return nil
}

// neverNull says whether all columns in e are never NULL.
func (x *fit) neverNull(e exec.Expr) bool {
	ok := true
	exec.Columns(e, func(c *exec.Column) {
		ok = ok && !x.rollup.Source.Columns[x.from.Request.Columns[c.Index]].Nullable
	})
	return ok
}

func toDouble(e exec.Expr) exec.Expr {
	if e.Type() == schema.Double {
		return e
	}
	return &exec.Cast{X: e, Typ: schema.Double}
}

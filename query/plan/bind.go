package plan

import (
	"math"
	"strconv"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

// binder binds expressions to the columns of one relation.
type binder struct {
	p   *Planner
	rel *relation
	// agg, where set, replaces group keys and aggregates by columns of the Aggregate above rel.
	agg *aggScope
	// win collects window calls; nil where none may stand.
	win *windowScope
	// clause is where the expression stands, for messages ("WHERE").
	clause string
}

func constant(v exec.Value) *exec.Const { return &exec.Const{Value: v} }

// bind resolves names and types of e and folds what is constant.
func (x *binder) bind(e ast.Expr) (exec.Expr, error) {
	if x.agg != nil {
		if out, err := x.agg.replace(e); out != nil || err != nil {
			return out, err
		}
	}
	out, err := x.expr(e)
	if err != nil {
		return nil, atPos(e, err)
	}
	if _, done := out.(*exec.Const); !done && exec.IsConst(out) {
		v, err := exec.EvalConst(out)
		if err != nil {
			return nil, atPos(e, err)
		}
		return constant(v), nil
	}
	return out, nil
}

func (x *binder) expr(e ast.Expr) (exec.Expr, error) {
	switch e := e.(type) {
	case *ast.Ident:
		return x.name(e)
	case *ast.Subscript:
		return x.subscript(e)
	case *ast.Integer:
		return constant(exec.IntValue(e.Value)), nil
	case *ast.Decimal:
		f, err := strconv.ParseFloat(e.Text, 64)
		if err != nil {
			return nil, errorAt(e, "22003", "number %s is out of range for DOUBLE", e.Text)
		}
		return constant(exec.FloatValue(f)), nil
	case *ast.String:
		return constant(exec.TextValue(e.Value)), nil
	case *ast.Bool:
		return constant(exec.BoolValue(e.Value)), nil
	case *ast.Null:
		return constant(exec.NullValue(schema.Invalid)), nil
	case *ast.Interval:
		v, err := exec.MakeInterval(e.Months, e.Days, e.Nanos)
		return constant(v), err
	case *ast.Param:
		if e.Index > len(x.p.Params) {
			return nil, errorAt(e, stateBadParam, "there is no parameter $%d: %d were given", e.Index, len(x.p.Params))
		}
		return constant(x.p.Params[e.Index-1]), nil
	case *ast.Unary:
		return x.unary(e)
	case *ast.Logical:
		return x.logical(e)
	case *ast.Binary:
		return x.binary(e)
	case *ast.Like:
		return x.like(e)
	case *ast.Is:
		return x.is(e)
	case *ast.Distinct:
		l, r, err := x.pair(e, e.Left, e.Right, "IS DISTINCT FROM")
		return &exec.IsDistinct{L: l, R: r, Not: e.Not}, err
	case *ast.Between:
		return x.between(e)
	case *ast.In:
		return x.in(e)
	case *ast.Case:
		return x.caseExpr(e)
	case *ast.Cast:
		return x.cast(e)
	case *ast.FuncCall:
		return x.call(e)
	case *ast.Extract:
		return x.function(e, "date_part", []exec.Expr{constant(exec.TextValue(e.Field))}, []ast.Expr{e.Expr})
	case *ast.AtTimeZone:
		return x.operator(e, "at_time_zone", e.Expr, e.Zone)
	case *ast.Collate:
		return x.bind(e.Expr)
	case *ast.Subquery:
		return x.scalar(e)
	case *ast.Exists:
		rows, err := x.p.subquery(e.Query, 1, true)
		return constant(exec.BoolValue(len(rows.rows) > 0)), err
	case *ast.Quantified:
		return x.quantified(e)
	case *ast.Star:
		return nil, errorAt(e, stateSyntax, "* is not allowed here")
	case *ast.Row:
		return nil, errorAt(e, stateUnsupported, "a row of several values is not supported here")
	case *ast.Array:
		return nil, errorAt(e, stateUnsupported, "ARRAY is supported only in = ANY (ARRAY[...])")
	}
	return nil, errorAt(e, stateUnsupported, "%s is not supported", e)
}

// condition binds an expression that must be BOOLEAN.
func (x *binder) condition(e ast.Expr) (exec.Expr, error) {
	out, err := x.bind(e)
	if err != nil {
		return nil, err
	}
	if out, err = x.to(e, out, schema.Boolean); err == nil {
		return out, nil
	}
	return nil, errorAt(e, stateMismatch, "%s must be a condition, but %s is %s", x.clause, e, out.Type())
}

// to casts out implicitly to t; the error leaves out as it was.
func (x *binder) to(n ast.Node, out exec.Expr, t schema.Type) (exec.Expr, error) {
	from := out.Type()
	if from == t || from == schema.Integer && t == schema.BigInt || from == schema.BigInt && t == schema.Integer {
		return out, nil
	}
	if c, ok := out.(*exec.Const); ok && (from == schema.Invalid || from == schema.Varchar) {
		v, err := x.castConst(c.Value, t)
		if err != nil {
			return out, atPos(n, err)
		}
		return constant(v), nil
	}
	if exec.IsInteger(from) && t == schema.Double || from == schema.Invalid {
		return x.fold(n, &exec.Cast{X: out, Typ: t})
	}
	return out, errorAt(n, stateMismatch, "%s is not %s", from, t)
}

// fold evaluates e when it is constant.
func (x *binder) fold(n ast.Node, e exec.Expr) (exec.Expr, error) {
	if !exec.IsConst(e) {
		return e, nil
	}
	v, err := exec.EvalConst(e)
	if err != nil {
		return e, atPos(n, err)
	}
	return constant(v), nil
}

func (x *binder) castConst(v exec.Value, t schema.Type) (exec.Value, error) {
	if v.Null {
		return exec.NullValue(t), nil
	}
	if v.Type == schema.Varchar && t == schema.Timestamp {
		s := strings.TrimSpace(v.S)
		if strings.EqualFold(s, "now") {
			return exec.Value{Type: t, I: x.p.NowNanos}, nil
		}
		if n, ok := exec.ParseTime(s, x.p.Location); ok {
			return exec.Value{Type: t, I: n}, nil
		}
	}
	return exec.CastValue(v, t)
}

// unify gives expressions one type; what names the construct in messages.
func (x *binder) unify(n ast.Node, what string, list []exec.Expr) (schema.Type, error) {
	t := schema.Invalid
	for _, e := range list {
		if c, ok := e.(*exec.Const); ok && c.Value.Type == schema.Varchar {
			continue // a text literal takes the type of the others
		}
		switch et := e.Type(); {
		case t == schema.Invalid || t == schema.Integer && et == schema.BigInt:
			t = et
		case exec.IsInteger(t) && et == schema.Double:
			t = et
		}
	}
	if t == schema.Invalid {
		for _, e := range list {
			if e.Type() == schema.Varchar {
				t = schema.Varchar
			}
		}
	}
	if t == schema.Invalid {
		return t, nil
	}
	for i, e := range list {
		out, err := x.to(n, e, t)
		if err != nil {
			if c, ok := e.(*exec.Const); ok && c.Value.Type == schema.Varchar {
				return t, err
			}
			return t, errorAt(n, stateMismatch, "%s types %s and %s do not match", what, t, e.Type())
		}
		list[i] = out
	}
	return t, nil
}

// pair binds two operands to one type.
func (x *binder) pair(n ast.Node, l, r ast.Expr, op string) (exec.Expr, exec.Expr, error) {
	list, err := x.bindAll(l, r)
	if err != nil {
		return nil, nil, err
	}
	lt, rt := list[0].Type(), list[1].Type()
	if _, err := x.unify(n, op, list); err != nil {
		pe, ok := err.(*Error)
		if ok && pe.State == stateMismatch {
			return nil, nil, errorAt(n, stateUnknownFunction, "operator does not exist: %s %s %s", lt, op, rt).
				hint("cast one side, for example with ::%s", strings.ToLower(lt.String()))
		}
		return nil, nil, err
	}
	return list[0], list[1], nil
}

func (x *binder) bindAll(list ...ast.Expr) ([]exec.Expr, error) {
	out := make([]exec.Expr, len(list))
	for i, e := range list {
		b, err := x.bind(e)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

func (x *binder) unary(e *ast.Unary) (exec.Expr, error) {
	if e.Op == ast.OpNot {
		c := *x
		c.clause = "the argument of NOT"
		in, err := c.condition(e.Expr)
		return &exec.Not{X: in}, err
	}
	in, err := x.bind(e.Expr)
	if err != nil {
		return nil, err
	}
	t := in.Type()
	switch {
	case t == schema.Double:
		return &exec.Arith{Op: exec.Mul, L: in, R: constant(exec.FloatValue(-1)), Typ: t}, nil
	case exec.IsInteger(t):
		return &exec.Arith{Op: exec.Sub, L: constant(exec.IntValue(0)), R: in, Typ: schema.BigInt}, nil
	case t == schema.Interval:
		if c, ok := in.(*exec.Const); ok && c.Value.I != math.MinInt64 {
			v := c.Value
			v.I, v.Months = -v.I, -v.Months
			return constant(v), nil
		}
		return &exec.Arith{Op: exec.Sub, L: constant(exec.Value{Type: t}), R: in, Typ: t}, nil
	case t == schema.Invalid:
		return in, nil
	}
	return nil, errorAt(e, stateUnknownFunction, "operator does not exist: - %s", t)
}

func (x *binder) logical(e *ast.Logical) (exec.Expr, error) {
	out := &exec.Logic{Or: e.Or}
	c := *x
	if c.clause = "the argument of AND"; e.Or {
		c.clause = "the argument of OR"
	}
	for _, t := range e.Terms {
		b, err := c.condition(t)
		if err != nil {
			return nil, err
		}
		if k, ok := b.(*exec.Const); ok && !k.Value.Null {
			if (k.Value.I != 0) == e.Or { // decides alone
				return b, nil
			}
			continue
		}
		out.Terms = append(out.Terms, b)
	}
	switch len(out.Terms) {
	case 0:
		return constant(exec.BoolValue(!e.Or)), nil
	case 1:
		return out.Terms[0], nil
	}
	return out, nil
}

func (x *binder) is(e *ast.Is) (exec.Expr, error) {
	in, err := x.bind(e.Expr)
	if err != nil {
		return nil, err
	}
	switch e.Test {
	case ast.IsTrue, ast.IsFalse:
		if in, err = x.to(e, in, schema.Boolean); err != nil {
			return nil, err
		}
		return &exec.IsDistinct{L: in, R: constant(exec.BoolValue(e.Test == ast.IsTrue)), Not: !e.Not}, nil
	}
	return &exec.IsNull{X: in, Not: e.Not}, nil
}

func (x *binder) between(e *ast.Between) (exec.Expr, error) {
	list, err := x.bindAll(e.Expr, e.Low, e.High)
	if err != nil {
		return nil, err
	}
	if _, err := x.unify(e, "BETWEEN", list); err != nil {
		return nil, err
	}
	within := func(lo, hi exec.Expr) exec.Expr {
		return &exec.Logic{Terms: []exec.Expr{&exec.Compare{Op: exec.Ge, L: list[0], R: lo}, &exec.Compare{Op: exec.Le, L: list[0], R: hi}}}
	}
	out := within(list[1], list[2])
	if e.Symmetric {
		out = &exec.Logic{Or: true, Terms: []exec.Expr{out, within(list[2], list[1])}}
	}
	if e.Not {
		return &exec.Not{X: out}, nil
	}
	return out, nil
}

func (x *binder) in(e *ast.In) (exec.Expr, error) {
	if elems, ok := rowOf(e.Expr); ok {
		return x.rowIn(e, elems)
	}
	in, err := x.bind(e.Expr)
	if err != nil {
		return nil, err
	}
	if e.Query != nil {
		sub, err := x.p.subquery(e.Query, maxInValues, false)
		if err != nil {
			return nil, err
		}
		if len(sub.types) != 1 {
			return nil, errorAt(e, stateSyntax, "the subquery of IN must have one column, it has %d", len(sub.types))
		}
		var list []exec.Expr
		for _, r := range sub.rows {
			list = append(list, constant(r[0]))
		}
		return x.membership(e, in, list, e.Not)
	}
	list, err := x.bindAll(e.List...)
	if err != nil {
		return nil, err
	}
	return x.membership(e, in, list, e.Not)
}

// membership is in IN (list): one look-up for constants, comparisons for the rest.
func (x *binder) membership(n ast.Node, in exec.Expr, list []exec.Expr, not bool) (exec.Expr, error) {
	all := append([]exec.Expr{in}, list...)
	if _, err := x.unify(n, "IN", all); err != nil {
		return nil, err
	}
	in, list = all[0], all[1:]
	out := &exec.In{X: in, Not: not}
	var other []exec.Expr
	for _, e := range list {
		c, ok := e.(*exec.Const)
		switch {
		case !ok:
			other = append(other, &exec.Compare{Op: exec.Eq, L: in, R: e})
		case c.Value.Null:
			out.HasNull = true
		default:
			out.List = append(out.List, c.Value)
		}
	}
	if len(other) == 0 {
		if len(out.List) == 0 && !out.HasNull {
			return constant(exec.BoolValue(not)), nil
		}
		return out, nil
	}
	if len(out.List) > 0 || out.HasNull {
		out.Not = false
		other = append(other, out)
	}
	var res exec.Expr = &exec.Logic{Or: true, Terms: other}
	if len(other) == 1 {
		res = other[0]
	}
	if not {
		res = &exec.Not{X: res}
	}
	return res, nil
}

// quantified is x = ANY (...) and x <> ALL (...), which are IN and NOT IN.
func (x *binder) quantified(e *ast.Quantified) (exec.Expr, error) {
	not := e.Op == ast.OpNe && e.All
	if !not && (e.Op != ast.OpEq || e.All) {
		return nil, errorAt(e, stateUnsupported, "only = ANY and <> ALL are supported")
	}
	in := &ast.In{Pos: e.Pos, Not: not, Expr: e.Left, Query: e.Query}
	if e.Query == nil {
		arr, ok := e.Array.(*ast.Array)
		if !ok {
			return nil, errorAt(e, stateUnsupported, "ANY and ALL need ARRAY[...] or a subquery")
		}
		if in.List = arr.Elems; len(in.List) == 0 {
			return constant(exec.BoolValue(not)), nil
		}
	}
	return x.in(in)
}

func (x *binder) caseExpr(e *ast.Case) (exec.Expr, error) {
	out := &exec.Case{}
	c := *x
	c.clause = "the condition of CASE"
	var results []exec.Expr
	for _, w := range e.Whens {
		var cond exec.Expr
		var err error
		if e.Operand != nil {
			var l, r exec.Expr
			if l, r, err = x.pair(w, e.Operand, w.Cond, "="); err == nil {
				cond = &exec.Compare{Op: exec.Eq, L: l, R: r}
			}
		} else {
			cond, err = c.condition(w.Cond)
		}
		if err != nil {
			return nil, err
		}
		then, err := x.bind(w.Result)
		if err != nil {
			return nil, err
		}
		out.Whens = append(out.Whens, exec.When{Cond: cond, Then: then})
		results = append(results, then)
	}
	results = append(results, constant(exec.NullValue(schema.Invalid)))
	if e.Else != nil {
		b, err := x.bind(e.Else)
		if err != nil {
			return nil, err
		}
		results[len(results)-1] = b
	}
	t, err := x.unify(e, "CASE", results)
	if err != nil {
		return nil, err
	}
	for i := range out.Whens {
		out.Whens[i].Then = results[i]
	}
	out.Else = results[len(results)-1]
	if out.Typ = t; t == schema.Invalid {
		out.Typ = schema.Varchar
	}
	return out, nil
}

func (x *binder) scalar(e *ast.Subquery) (exec.Expr, error) {
	sub, err := x.p.subquery(e.Query, 1, false)
	if err != nil {
		return nil, err
	}
	if len(sub.types) != 1 {
		return nil, errorAt(e, stateSyntax, "a subquery used as a value must have one column, it has %d", len(sub.types))
	}
	if len(sub.rows) == 0 {
		return constant(exec.NullValue(sub.types[0])), nil
	}
	return constant(sub.rows[0][0]), nil
}

type subResult struct {
	types []schema.Type
	rows  [][]exec.Value
}

// subquery runs a query beforehand. It cannot refer to columns outside of it. With cut, rows beyond max are left out;
// otherwise they are an error.
func (p *Planner) subquery(q *ast.Query, max int, cut bool) (subResult, error) {
	rel, err := p.query(q)
	if err != nil {
		return subResult{}, err
	}
	var out subResult
	for _, c := range rel.cols {
		out.types = append(out.types, c.typ)
	}
	n := exec.Node(&exec.Limit{Input: rel.node, Count: int64(max)})
	if !cut {
		n = &exec.Limit{Input: rel.node, Count: int64(max) + 1}
	}
	if out.rows, err = p.Run(p.optimize(n), max+1); err != nil {
		return subResult{}, err
	}
	if len(out.rows) > max {
		if max == 1 {
			return subResult{}, errorAt(q, stateCardinality, "the subquery used as a value gave more than one row").hint("add LIMIT 1")
		}
		return subResult{}, errorAt(q, stateTooComplex, "the subquery gave more than %d rows", max)
	}
	return out, nil
}

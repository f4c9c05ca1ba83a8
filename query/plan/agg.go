package plan

import (
	"reflect"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

// aggScope is what expressions above an Aggregate may use: its keys and aggregates over its input.
type aggScope struct {
	input *binder // binds keys and the arguments of aggregates
	keys  []groupKey
	aggs  []*exec.Agg
	calls []*ast.FuncCall // parallel to aggs
	units []string        // parallel to aggs
}

type groupKey struct {
	ast   ast.Expr
	bound exec.Expr
	unit  string
}

func (s *aggScope) keyColumn(i int) exec.Expr {
	k := s.keys[i]
	return &exec.Column{Index: i, Typ: keyType(k.bound), Name: k.bound.String()}
}

func keyType(e exec.Expr) schema.Type {
	if e.Type() == schema.Invalid {
		return schema.Varchar
	}
	return e.Type()
}

// replace is the column of the Aggregate that e stands for; nil where e has to be taken apart further.
func (s *aggScope) replace(e ast.Expr) (exec.Expr, error) {
	for i, k := range s.keys {
		if ast.Equal(e, k.ast) {
			return s.keyColumn(i), nil
		}
	}
	switch e := e.(type) {
	case *ast.FuncCall:
		if fn := exec.LookupFunc(e.FuncName()); fn != nil && fn.Aggregate != nil && e.Over == nil {
			return s.aggregate(e, fn)
		}
	case *ast.Ident, *ast.Subscript:
		b, err := s.input.bind(e)
		if err != nil {
			return nil, err
		}
		if m, ok := b.(*exec.MapValue); ok { // attributes['x'] where attributes is a key
			for i, k := range s.keys {
				if reflect.DeepEqual(m.X, k.bound) {
					return &exec.MapValue{X: s.keyColumn(i), Key: m.Key}, nil
				}
			}
		}
		for i, k := range s.keys {
			if reflect.DeepEqual(b, k.bound) {
				return s.keyColumn(i), nil
			}
		}
		return nil, errorAt(e, stateGrouping, "column %s must be in GROUP BY or inside an aggregate", e).
			hint("add it to GROUP BY, or write any_value(%s)", e)
	}
	return nil, nil
}

// aggregate adds an aggregate, or finds an equal one.
func (s *aggScope) aggregate(e *ast.FuncCall, fn *exec.Func) (exec.Expr, error) {
	for i, c := range s.calls {
		if ast.Equal(e, c) {
			return s.aggColumn(i), nil
		}
	}
	a, unit, err := s.bindAgg(e, fn)
	if err != nil {
		return nil, err
	}
	s.aggs, s.calls, s.units = append(s.aggs, a), append(s.calls, e), append(s.units, unit)
	return s.aggColumn(len(s.aggs) - 1), nil
}

func (s *aggScope) aggColumn(i int) exec.Expr {
	return &exec.Column{Index: len(s.keys) + i, Typ: s.aggs[i].Typ, Name: s.aggs[i].String()}
}

func (s *aggScope) bindAgg(e *ast.FuncCall, fn *exec.Func) (*exec.Agg, string, error) {
	in := *s.input
	in.clause = "the arguments of " + fn.Name
	list := e.Args
	if e.WithinGroup != nil {
		if !fn.Aggregate.Ordered || len(e.WithinGroup) != 1 {
			return nil, "", errorAt(e, stateSyntax, "WITHIN GROUP with one key is for percentile_cont and percentile_disc")
		}
		list = append([]ast.Expr{e.WithinGroup[0].Expr}, list...)
	} else if fn.Aggregate.Ordered && len(list) < 2 {
		return nil, "", errorAt(e, stateSyntax, "%s needs WITHIN GROUP", fn.Name).hint("it is called as %s", fn.Signature)
	}
	if e.Star && fn.Name != "count" {
		return nil, "", errorAt(e, stateSyntax, "%s(*) does not exist, only count(*)", fn.Name)
	}
	if len(e.OrderBy) > 0 && fn.Name != "string_agg" {
		return nil, "", errorAt(e, stateUnsupported, "ORDER BY inside %s is not supported", fn.Name)
	}
	if fn.Name == "uniq" || fn.Name == "uniq_exact" {
		list = joinArgs(list)
	}
	args, err := in.bindAll(list...)
	if err != nil {
		return nil, "", err
	}
	a := &exec.Agg{Fn: fn, Distinct: e.Distinct}
	if err := s.arguments(e, fn, a, args); err != nil {
		return nil, "", err
	}
	if e.WithinGroup != nil && e.WithinGroup[0].Desc {
		a.Consts[0].F = 1 - a.Consts[0].F
	}
	if e.Filter != nil {
		in.clause = "FILTER"
		if a.Filter, err = in.condition(e.Filter); err != nil {
			return nil, "", err
		}
	}
	return a, s.unit(fn, a), nil
}

// joinArgs makes uniq(a, b) one argument: texts with a separator that no text has.
func joinArgs(list []ast.Expr) []ast.Expr {
	if len(list) < 2 {
		return list
	}
	c := &ast.FuncCall{Pos: list[0].Position(), Name: []string{"concat"}}
	for i, a := range list {
		if i > 0 {
			c.Args = append(c.Args, &ast.String{Value: "\x00"})
		}
		c.Args = append(c.Args, a)
	}
	return []ast.Expr{c}
}

func (s *aggScope) arguments(e *ast.FuncCall, fn *exec.Func, a *exec.Agg, args []exec.Expr) error {
	types, literal := argTypes(args)
	impl, want := fn.ResolveAgg(types, literal)
	if impl == nil || e.Star != (len(args) == 0) {
		return noOverload(e, fn, fn.Name, types)
	}
	if a.Distinct && len(impl.Args) != 1 {
		return errorAt(e, stateUnsupported, "DISTINCT needs exactly one argument")
	}
	for i := range args {
		out, err := s.input.to(e, args[i], want[i])
		if err != nil {
			return err
		}
		if i < len(impl.Args) {
			if out.Type() == schema.Invalid {
				out = constant(exec.NullValue(schema.Varchar))
			}
			a.Args = append(a.Args, out)
			continue
		}
		c, ok := out.(*exec.Const)
		if !ok {
			return errorAt(e, stateMismatch, "argument %d of %s must be constant", i+1, fn.Name)
		}
		a.Consts = append(a.Consts, c.Value)
	}
	if impl.Check != nil {
		if err := impl.Check(a.Consts); err != nil {
			return atPos(e, err)
		}
	}
	a.Impl = impl
	for i := range a.Args {
		types[i] = a.Args[i].Type()
	}
	a.Typ = impl.Result(types)
	return nil
}

// unit is the unit of the result: most aggregates keep that of their argument.
func (s *aggScope) unit(fn *exec.Func, a *exec.Agg) string {
	switch fn.Name {
	case "count", "uniq", "uniq_exact", "apdex", "rspread", "topk", "string_agg", "var_samp", "var_pop":
		return ""
	}
	if len(a.Args) == 0 {
		return ""
	}
	return s.input.unit(a.Args[0])
}

// unit is the unit of an expression over the relation, "" where none is known.
func (x *binder) unit(e exec.Expr) string {
	switch e := e.(type) {
	case *exec.Column:
		if e.Index >= windowBase {
			return x.win.unit(e.Index - windowBase)
		}
		if x.agg != nil {
			if e.Index < len(x.agg.keys) {
				return x.agg.keys[e.Index].unit
			}
			return x.agg.units[e.Index-len(x.agg.keys)]
		}
		return x.rel.cols[e.Index].unit
	case *exec.Cast:
		if exec.IsNumber(e.Typ) {
			return x.unit(e.X)
		}
	case *exec.Arith:
		l, r := x.unit(e.L), x.unit(e.R)
		if (e.Op == exec.Add || e.Op == exec.Sub) && l == r {
			return l
		}
	case *exec.Call:
		switch e.Fn.Name {
		case "abs", "round", "floor", "ceil", "trunc", "coalesce", "greatest", "least":
			return x.unit(e.Args[0])
		}
	}
	return ""
}

// hasAggregate says whether e calls an aggregate of this query (not of a subquery in it).
func hasAggregate(e ast.Node) bool {
	found := false
	ast.Walk(e, func(n ast.Node) bool {
		if c, ok := n.(*ast.FuncCall); ok && c.Over == nil {
			if fn := exec.LookupFunc(strings.ToLower(c.FuncName())); fn != nil && fn.Aggregate != nil {
				found = true
			}
		}
		_, sub := n.(*ast.Query)
		return !found && !sub
	})
	return found
}

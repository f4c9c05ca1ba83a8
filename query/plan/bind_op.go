package plan

import (
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
)

var compareOps = map[ast.BinaryOp]exec.CompareOp{
	ast.OpEq: exec.Eq, ast.OpNe: exec.Ne, ast.OpLt: exec.Lt, ast.OpLe: exec.Le, ast.OpGt: exec.Gt, ast.OpGe: exec.Ge,
}

var arithOps = map[ast.BinaryOp]exec.ArithOp{
	ast.OpAdd: exec.Add, ast.OpSub: exec.Sub, ast.OpMul: exec.Mul, ast.OpDiv: exec.Div, ast.OpMod: exec.Mod,
	ast.OpBitAnd: exec.BitAnd, ast.OpBitOr: exec.BitOr, ast.OpBitXor: exec.BitXor,
}

func (x *binder) binary(e *ast.Binary) (exec.Expr, error) {
	if out, ok, err := x.rowEqual(e); ok {
		return out, err
	}
	if op, ok := compareOps[e.Op]; ok {
		l, r, err := x.pair(e, e.Left, e.Right, e.Op.String())
		if err != nil {
			return nil, err
		}
		if t := l.Type(); t == schema.Map {
			return nil, errorAt(e, stateUnknownFunction, "operator does not exist: %s %s %s", t, e.Op, t)
		}
		return &exec.Compare{Op: op, L: l, R: r}, nil
	}
	switch e.Op {
	case ast.OpConcat:
		return x.concat(e)
	case ast.OpPow:
		return x.function(e, "power", nil, []ast.Expr{e.Left, e.Right})
	case ast.OpMatch, ast.OpIMatch, ast.OpNotMatch, ast.OpNotIMatch:
		kind := exec.Regex
		if e.Op == ast.OpIMatch || e.Op == ast.OpNotIMatch {
			kind = exec.IRegex
		}
		return x.match(e, e.Left, e.Right, kind, "", e.Op == ast.OpNotMatch || e.Op == ast.OpNotIMatch)
	case ast.OpWithin, ast.OpWithinEq, ast.OpContains, ast.OpContainsEq:
		return x.within(e)
	case ast.OpGet, ast.OpGetText:
		return x.subscript(&ast.Subscript{Pos: e.Pos, Base: e.Left, Index: e.Right})
	}
	list, err := x.bindAll(e.Left, e.Right)
	if err != nil {
		return nil, err
	}
	return x.arith(e, list[0], list[1])
}

func isMonths(e exec.Expr) (exec.Value, bool) {
	c, ok := e.(*exec.Const)
	if !ok || c.Value.Months == 0 {
		return exec.Value{}, false
	}
	return c.Value, true
}

func (x *binder) arith(e *ast.Binary, l, r exec.Expr) (exec.Expr, error) {
	op := arithOps[e.Op]
	l, r = x.literals(l, r)
	lt, rt := l.Type(), r.Type()
	if lt == schema.Invalid {
		lt = rt
	}
	if rt == schema.Invalid {
		rt = lt
	}
	is := func(a, b schema.Type) bool { return lt == a && rt == b }
	plain := func(t schema.Type) (exec.Expr, error) {
		return &exec.Arith{Op: op, L: x.null(l, t), R: x.null(r, t), Typ: t}, nil
	}
	bad := errorAt(e, stateUnknownFunction, "operator does not exist: %s %s %s", lt, e.Op, rt)
	switch {
	case lt == schema.Invalid:
		return constant(exec.NullValue(schema.BigInt)), nil
	case exec.IsNumber(lt) && exec.IsNumber(rt):
		if lt != schema.Double && rt != schema.Double {
			return plain(schema.BigInt)
		}
		if op >= exec.BitAnd {
			return nil, bad
		}
		return &exec.Arith{Op: op, L: x.double(l), R: x.double(r), Typ: schema.Double}, nil
	case is(schema.Timestamp, schema.Interval) && op <= exec.Sub:
		return x.shift(l, r, op)
	case is(schema.Interval, schema.Timestamp) && op == exec.Add:
		return x.shift(r, l, op)
	case is(schema.Timestamp, schema.Timestamp) && op == exec.Sub:
		return plain(schema.Interval)
	case is(schema.Interval, schema.Interval) && op <= exec.Sub:
		if a, ok := l.(*exec.Const); ok {
			if b, ok := r.(*exec.Const); ok {
				m := b.Value.Months
				if op == exec.Sub {
					m = -m
				}
				v, err := exec.EvalConst(&exec.Arith{Op: op, L: l, R: r, Typ: schema.Interval})
				v.Months = a.Value.Months + m
				return constant(v), err
			}
		}
		return plain(schema.Interval)
	case lt == schema.Interval && exec.IsNumber(rt) && (op == exec.Mul || op == exec.Div):
		return x.scale(e, l, r, op)
	case exec.IsNumber(lt) && rt == schema.Interval && op == exec.Mul:
		return x.scale(e, r, l, op)
	}
	if lt == schema.Varchar || rt == schema.Varchar {
		bad.hint("cast the text to a number with ::double, or join texts with ||")
	}
	return nil, bad
}

// literals gives a text literal beside a value of another type that type: '5' + x, time - '1 hour'.
func (x *binder) literals(l, r exec.Expr) (exec.Expr, exec.Expr) {
	conv := func(lit, other exec.Expr) exec.Expr {
		c, ok := lit.(*exec.Const)
		if !ok || c.Value.Type != schema.Varchar || other.Type() == schema.Varchar {
			return lit
		}
		types := []schema.Type{other.Type()}
		if other.Type() == schema.Timestamp {
			types = []schema.Type{schema.Interval, schema.Timestamp}
		}
		for _, t := range types {
			if v, err := x.castConst(c.Value, t); err == nil {
				return constant(v)
			}
		}
		return lit
	}
	return conv(l, r), conv(r, l)
}

func (x *binder) null(e exec.Expr, t schema.Type) exec.Expr {
	if e.Type() == schema.Invalid {
		return constant(exec.NullValue(t))
	}
	return e
}

func (x *binder) double(e exec.Expr) exec.Expr {
	if e.Type() == schema.Double {
		return e
	}
	c := &exec.Cast{X: x.null(e, schema.BigInt), Typ: schema.Double}
	if v, err := exec.EvalConst(c); exec.IsConst(c) && err == nil {
		return constant(v)
	}
	return c
}

// shift is a time plus or minus an interval, which may have calendar months.
func (x *binder) shift(t, iv exec.Expr, op exec.ArithOp) (exec.Expr, error) {
	if v, ok := isMonths(iv); ok {
		m := v.Months
		if op == exec.Sub {
			m = -m
		}
		fn := exec.OperatorFunc("add_months")
		t = &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{t, constant(exec.IntValue(m))}, Typ: schema.Timestamp}
		v.Months = 0
		iv = constant(v)
	}
	return &exec.Arith{Op: op, L: x.null(t, schema.Timestamp), R: x.null(iv, schema.Interval), Typ: schema.Timestamp}, nil
}

func (x *binder) scale(e *ast.Binary, iv, by exec.Expr, op exec.ArithOp) (exec.Expr, error) {
	if v, ok := isMonths(iv); ok {
		c, isConst := by.(*exec.Const)
		if !isConst || op != exec.Mul || c.Value.Type == schema.Double || c.Value.I > 1e6 || c.Value.I < -1e6 {
			return nil, errorAt(e, stateUnsupported, "an interval with months can only be multiplied by a whole number")
		}
		out, err := exec.EvalConst(&exec.Arith{Op: op, L: constant(v), R: by, Typ: schema.Interval})
		out.Months = v.Months * c.Value.I
		return constant(out), err
	}
	name := "interval_mul"
	if op == exec.Div {
		name = "interval_div"
	}
	fn := exec.OperatorFunc(name)
	return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{iv, x.double(by)}, Typ: schema.Interval}, nil
}

// concat is ||: unlike the function, NULL makes the whole NULL.
func (x *binder) concat(e *ast.Binary) (exec.Expr, error) {
	list, err := x.bindAll(e.Left, e.Right)
	if err != nil {
		return nil, err
	}
	fn := exec.LookupFunc("concat")
	strict := *fn.Overloads[0]
	strict.CalledOnNull = false
	op := &exec.Func{Name: "concat", Overloads: []*exec.Overload{&strict}}
	return &exec.Call{Fn: op, Impl: &strict, Args: list, Typ: schema.Varchar}, nil
}

func (x *binder) like(e *ast.Like) (exec.Expr, error) {
	escape := `\`
	if e.Escape != nil {
		b, err := x.bind(e.Escape)
		if err != nil {
			return nil, err
		}
		c, ok := b.(*exec.Const)
		if !ok || c.Value.Type != schema.Varchar || len([]rune(c.Value.S)) > 1 {
			return nil, errorAt(e.Escape, "22019", "ESCAPE must be one character")
		}
		escape = c.Value.S
	}
	kind := exec.Like
	if e.CaseFold {
		kind = exec.ILike
	}
	return x.match(e, e.Expr, e.Pattern, kind, escape, e.Not)
}

func (x *binder) match(n ast.Node, text, pattern ast.Expr, kind exec.MatchKind, escape string, not bool) (exec.Expr, error) {
	list, err := x.bindAll(text, pattern)
	if err != nil {
		return nil, err
	}
	names := [...]string{"LIKE", "ILIKE", "~", "~*"}
	for i := range list {
		t := list[i].Type()
		if t == schema.Inet { // addresses match by their text
			list[i], t = &exec.Cast{X: list[i], Typ: schema.Varchar}, schema.Varchar
		}
		if t != schema.Varchar && t != schema.Invalid {
			return nil, errorAt(n, stateUnknownFunction, "operator does not exist: %s %s %s", list[0].Type(), names[kind], list[1].Type()).
				hint("cast it to text with ::text")
		}
		list[i] = x.null(list[i], schema.Varchar)
	}
	c, ok := list[1].(*exec.Const)
	if !ok {
		fn := exec.OperatorFunc([...]string{"like", "ilike", "regex", "iregex"}[kind])
		var out exec.Expr = &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: append(list, constant(exec.TextValue(escape))), Typ: schema.Boolean}
		if not {
			out = &exec.Not{X: out}
		}
		return out, nil
	}
	if c.Value.Null {
		return constant(exec.NullValue(schema.Boolean)), nil
	}
	m := &exec.Match{X: list[0], Kind: kind, Pattern: c.Value.S, Escape: escape, Not: not}
	if _, err := exec.Matcher(m); err != nil {
		return nil, atPos(pattern, err)
	}
	return m, nil
}

// within is the containment of addresses in networks, or a shift of whole numbers.
func (x *binder) within(e *ast.Binary) (exec.Expr, error) {
	in, net := e.Left, e.Right
	if e.Op == ast.OpContains || e.Op == ast.OpContainsEq {
		in, net = net, in
	}
	addr, err := x.bind(in)
	if err != nil {
		return nil, err
	}
	if t := addr.Type(); exec.IsInteger(t) && (e.Op == ast.OpWithin || e.Op == ast.OpContains) {
		list, err := x.bindAll(e.Left, e.Right)
		if err != nil {
			return nil, err
		}
		op := exec.Shl
		if e.Op == ast.OpContains {
			op = exec.Shr
		}
		if !exec.IsInteger(list[1].Type()) {
			return nil, errorAt(e, stateUnknownFunction, "operator does not exist: %s %s %s", t, e.Op, list[1].Type())
		}
		return &exec.Arith{Op: op, L: list[0], R: list[1], Typ: schema.BigInt}, nil
	}
	var network exec.Expr
	if c, ok := net.(*ast.Cast); ok && (c.Type.Name == "inet" || c.Type.Name == "cidr") {
		net = c.Expr // inet '10.0.0.0/8': the length of the network is part of the text
	}
	if network, err = x.bind(net); err != nil {
		return nil, err
	}
	if addr, err = x.to(e, addr, schema.Inet); err != nil || network.Type() != schema.Varchar {
		return nil, errorAt(e, stateUnknownFunction, "operator does not exist: %s %s %s", addr.Type(), e.Op, network.Type()).
			hint("write an address column and a network: client_ip << '10.0.0.0/8'")
	}
	if c, ok := network.(*exec.Const); ok && !c.Value.Null {
		if _, err := exec.CIDRMatcher(c.Value.S); err != nil {
			return nil, atPos(net, err)
		}
	}
	fn := exec.LookupFunc("inet_contains")
	return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{network, addr}, Typ: schema.Boolean}, nil
}

// typeNames are the names of types that casts understand.
var typeNames = map[string]schema.Type{
	"boolean": schema.Boolean, "bool": schema.Boolean,
	"integer": schema.Integer, "int": schema.Integer, "int4": schema.Integer, "smallint": schema.Integer, "int2": schema.Integer,
	"bigint": schema.BigInt, "int8": schema.BigInt,
	"double precision": schema.Double, "double": schema.Double, "float8": schema.Double, "float": schema.Double, "real": schema.Double,
	"float4": schema.Double, "numeric": schema.Double, "decimal": schema.Double,
	"timestamp": schema.Timestamp, "timestamptz": schema.Timestamp, "timestamp with time zone": schema.Timestamp,
	"timestamp without time zone": schema.Timestamp, "date": schema.Timestamp, "datetime": schema.Timestamp,
	"interval": schema.Interval,
	"text":     schema.Varchar, "varchar": schema.Varchar, "character varying": schema.Varchar, "string": schema.Varchar,
	"char": schema.Varchar, "character": schema.Varchar, "name": schema.Varchar, "bpchar": schema.Varchar,
	"inet": schema.Inet, "cidr": schema.Inet, "bytea": schema.Bytes,
}

func (x *binder) cast(e *ast.Cast) (exec.Expr, error) {
	name := strings.ToLower(e.Type.Name)
	t, ok := typeNames[name]
	if !ok || e.Type.Dims > 0 {
		err := errorAt(e.Type, "42704", "type %q does not exist", e.Type)
		var names []string
		for n := range typeNames {
			names = append(names, n)
		}
		if s := parse.Suggest(name, names); s != "" {
			err.hint("did you mean %s?", s)
		}
		return nil, err
	}
	in, err := x.bind(e.Expr)
	if err != nil {
		return nil, err
	}
	return x.castTo(e, in, t, e.Try, name == "date")
}

func (x *binder) castTo(e ast.Node, in exec.Expr, t schema.Type, try, date bool) (exec.Expr, error) {
	from := in.Type()
	if !exec.CanCast(from, t) {
		err := errorAt(e, "42846", "cannot cast type %s to %s", from, t)
		if t == schema.Timestamp && exec.IsNumber(from) {
			err.hint("use to_timestamp(seconds)")
		} else if from == schema.Timestamp && exec.IsNumber(t) {
			err.hint("use epoch(timestamp) or extract(epoch FROM timestamp)")
		}
		return nil, err
	}
	var out exec.Expr = &exec.Cast{X: in, Typ: t, Try: try}
	if c, ok := in.(*exec.Const); ok {
		v, err := x.castConst(c.Value, t)
		switch {
		case err == nil:
			out = constant(v)
		case try:
			out = constant(exec.NullValue(t))
		default:
			return nil, err
		}
	} else if from == t {
		out = in
	}
	if date {
		fn := exec.LookupFunc("date_trunc")
		out = &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{constant(exec.TextValue("day")), out}, Typ: t}
	}
	return out, nil
}

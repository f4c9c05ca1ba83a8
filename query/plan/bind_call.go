package plan

import (
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
)

func (x *binder) call(e *ast.FuncCall) (exec.Expr, error) {
	name := strings.ToLower(e.FuncName())
	if e.Over != nil {
		return x.window(e)
	}
	fn := exec.LookupFunc(name)
	if fn != nil && fn.Aggregate != nil {
		return nil, errorAt(e, stateGrouping, "aggregate %s is not allowed in %s", name, x.where()).
			hint("conditions on aggregates belong in HAVING")
	}
	if e.Star || e.Distinct || e.Filter != nil || e.OrderBy != nil || e.WithinGroup != nil {
		if fn != nil {
			return nil, errorAt(e, stateSyntax, "%s is not an aggregate: *, DISTINCT, FILTER and ORDER BY are not allowed", name)
		}
	}
	if len(e.Args) == 0 {
		if v, ok := x.session(name); ok {
			return constant(v), nil
		}
	}
	if name == "if" && len(e.Args) == 3 {
		return x.caseExpr(&ast.Case{Pos: e.Pos, Whens: []*ast.When{{Pos: e.Pos, Cond: e.Args[0], Result: e.Args[1]}}, Else: e.Args[2]})
	}
	if fn == nil {
		return nil, unknownFunction(e, name)
	}
	return x.function(e, name, nil, e.Args)
}

func (x *binder) where() string {
	if x.clause == "" {
		return "this place"
	}
	return x.clause
}

func unknownFunction(n ast.Node, name string) error {
	err := errorAt(n, stateUnknownFunction, "function %s does not exist", name)
	if s := parse.Suggest(name, append(exec.FunctionNames(), "now", "if")); s != "" {
		return err.hint("did you mean %s?", s)
	}
	return err.hint("SHOW FUNCTIONS lists all functions")
}

// session is a function without arguments that the statement or the session answers.
func (x *binder) session(name string) (exec.Value, bool) {
	now := exec.Value{Type: schema.Timestamp, I: x.p.NowNanos}
	switch name {
	case "now", "current_timestamp", "localtimestamp", "transaction_timestamp", "statement_timestamp", "clock_timestamp":
		return now, true
	case "current_date", "today":
		const day = 86400e9
		now.I -= (now.I%day + day) % day
		return now, true
	}
	v, ok := x.p.Constants[name]
	return v, ok
}

// function binds a call by name with arguments that are bound already (front) and ones that are not.
func (x *binder) function(n ast.Node, name string, front []exec.Expr, rest []ast.Expr) (exec.Expr, error) {
	args, err := x.bindAll(rest...)
	if err != nil {
		return nil, err
	}
	return x.resolve(n, exec.LookupFunc(name), name, append(front, args...))
}

func (x *binder) operator(n ast.Node, name string, args ...ast.Expr) (exec.Expr, error) {
	list, err := x.bindAll(args...)
	if err != nil {
		return nil, err
	}
	return x.resolve(n, exec.OperatorFunc(name), name, list)
}

func (x *binder) resolve(n ast.Node, fn *exec.Func, name string, args []exec.Expr) (exec.Expr, error) {
	switch fn.Name {
	case "coalesce", "nullif", "greatest", "least":
		if len(args) == 0 || fn.Name == "nullif" && len(args) != 2 {
			return nil, errorAt(n, stateUnknownFunction, "%s needs other arguments", name).hint("%s", fn.Signature)
		}
		t, err := x.unify(n, strings.ToUpper(fn.Name), args)
		if err != nil {
			return nil, err
		}
		if t == schema.Invalid {
			return constant(exec.NullValue(t)), nil
		}
		return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: args, Typ: t}, nil
	case "time_bucket":
		if len(args) > 1 {
			if v, ok := isMonths(x.asInterval(args[0])); ok {
				return x.monthBucket(n, v, args)
			}
		}
	}
	types, literal := argTypes(args)
	impl, want := fn.Resolve(types, literal)
	if impl == nil {
		return nil, noOverload(n, fn, name, types)
	}
	for i := range args {
		out, err := x.to(n, args[i], want[i])
		if err != nil {
			return nil, err
		}
		args[i] = out
	}
	return &exec.Call{Fn: fn, Impl: impl, Args: args, Typ: impl.Result(want)}, nil
}

func argTypes(args []exec.Expr) ([]schema.Type, []bool) {
	types, literal := make([]schema.Type, len(args)), make([]bool, len(args))
	for i, a := range args {
		types[i] = a.Type()
		_, literal[i] = a.(*exec.Const)
	}
	return types, literal
}

func noOverload(n ast.Node, fn *exec.Func, name string, types []schema.Type) error {
	words := make([]string, len(types))
	for i, t := range types {
		if words[i] = t.String(); t == schema.Invalid {
			words[i] = "NULL"
		}
	}
	return errorAt(n, stateUnknownFunction, "function %s(%s) does not exist", name, strings.Join(words, ", ")).hint("it is called as %s", fn.Signature)
}

func (x *binder) asInterval(e exec.Expr) exec.Expr {
	if c, ok := e.(*exec.Const); ok && c.Value.Type == schema.Varchar {
		if v, err := x.castConst(c.Value, schema.Interval); err == nil {
			return constant(v)
		}
	}
	return e
}

func (x *binder) monthBucket(n ast.Node, width exec.Value, args []exec.Expr) (exec.Expr, error) {
	if width.I != 0 || width.Months < 0 || len(args) > 2 {
		return nil, errorAt(n, stateUnsupported, "a bucket is either whole months, without an origin, or a fixed time")
	}
	t, err := x.to(n, args[1], schema.Timestamp)
	if err != nil {
		return nil, err
	}
	fn := exec.OperatorFunc("month_bucket")
	return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{t, constant(exec.IntValue(width.Months))}, Typ: schema.Timestamp}, nil
}

package plan

import (
	"math"
	"reflect"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

const stateWindow = "42P20"

// windowBase is the index of the column that stands for the first window call of a SELECT until all are known.
const windowBase = 1 << 24

// windowScope is the window calls of a SELECT.
type windowScope struct {
	calls []*windowPlan
	asts  []*ast.FuncCall // parallel to calls
}

// unit is the unit of a call's result: that of its argument where values are picked or added.
func (s *windowScope) unit(i int) string {
	c := s.calls[i]
	if c.call.Agg != nil && c.call.Agg.Fn.Name == "count" || c.call.Typ == schema.Invalid {
		return ""
	}
	return c.unit
}

// windowPlan is a window call over the columns below.
type windowPlan struct {
	call      *exec.WindowCall
	args      []exec.Expr
	partition []exec.Expr
	order     []windowOrder
	unit      string // of the first argument
}

type windowOrder struct {
	expr             exec.Expr
	desc, nullsFirst bool
}

// window binds a call with OVER, or finds an equal one; the column stands for its result.
func (x *binder) window(e *ast.FuncCall) (exec.Expr, error) {
	if x.win == nil {
		return nil, errorAt(e, stateWindow, "window functions are not allowed in %s", x.where()).
			hint("select it in a subquery, and use it outside")
	}
	column := func(i int) exec.Expr {
		c := x.win.calls[i].call
		return &exec.Column{Index: windowBase + i, Typ: c.Typ, Name: c.Text}
	}
	for i, a := range x.win.asts {
		if ast.Equal(a, e) {
			return column(i), nil
		}
	}
	in := *x
	in.win, in.clause = nil, "a window function"
	w := &windowPlan{call: &exec.WindowCall{Fn: strings.ToLower(e.FuncName()), Text: e.String()}}
	var err error
	if w.partition, err = in.bindAll(e.Over.PartitionBy...); err != nil {
		return nil, err
	}
	for _, o := range e.Over.OrderBy {
		b, err := in.bind(o.Expr)
		if err != nil {
			return nil, err
		}
		if b.Type() == schema.Map {
			return nil, errorAt(o.Expr, stateUnknownFunction, "%s has no order", b.Type())
		}
		w.order = append(w.order, windowOrder{b, o.Desc, o.NullsAreFirst()})
	}
	if err := in.windowFrame(e, w); err != nil {
		return nil, err
	}
	if err := in.windowCall(e, w); err != nil {
		return nil, err
	}
	if len(w.args) > 0 {
		w.unit = in.unit(w.args[0])
	}
	x.win.calls, x.win.asts = append(x.win.calls, w), append(x.win.asts, e)
	return column(len(x.win.calls) - 1), nil
}

func (x *binder) windowCall(e *ast.FuncCall, w *windowPlan) error {
	name := w.call.Fn
	fn := exec.LookupFunc(name)
	switch {
	case fn == nil:
		return unknownFunction(e, name)
	case e.Distinct || len(e.OrderBy) > 0 || e.WithinGroup != nil:
		return errorAt(e, stateUnsupported, "DISTINCT, ORDER BY and WITHIN GROUP are not supported in a window function")
	case fn.Aggregate != nil:
		return x.windowAggregate(e, fn, w)
	}
	def := exec.LookupWindow(name)
	if def == nil {
		return errorAt(e, stateWrongKind, "%s is neither a window function nor an aggregate", name)
	}
	if e.Star || e.Filter != nil {
		return errorAt(e, stateSyntax, "%s takes neither * nor FILTER", name)
	}
	if def.Ordered && len(w.order) == 0 {
		return errorAt(e, stateWindow, "%s needs ORDER BY in OVER (...)", name)
	}
	args, err := x.bindAll(e.Args...)
	if err != nil {
		return err
	}
	most := len(def.Consts)
	w.call.Typ = def.Ret
	if def.Value && len(args) > 0 {
		w.args, args = args[:1], args[1:]
		w.call.Typ = keyType(w.args[0])
	}
	if def.Value && len(w.args) == 0 || len(args) < def.Need || len(args) > most {
		return errorAt(e, stateUnknownFunction, "%s needs other arguments", name).hint("it is called as %s", fn.Signature)
	}
	for i, a := range args {
		t := def.Consts[i]
		if t == exec.Any {
			t = w.call.Typ
		}
		out, err := x.to(e, a, t)
		if err != nil {
			return err
		}
		c, ok := out.(*exec.Const)
		if !ok || i == 0 && (c.Value.Null || c.Value.I < 0 || c.Value.I > math.MaxInt32 || c.Value.I == 0 && def.Need > 0) {
			return errorAt(e, stateMismatch, "argument %d of %s must be a constant whole number that fits", len(w.args)+i+1, name)
		}
		w.call.Consts = append(w.call.Consts, c.Value)
	}
	return nil
}

const stateWrongKind = "42809"

// windowAggregate binds an aggregate; FILTER becomes a NULL where the condition does not hold.
func (x *binder) windowAggregate(e *ast.FuncCall, fn *exec.Func, w *windowPlan) error {
	call := *e
	call.Over, call.Filter = nil, nil
	if e.Filter != nil {
		arg := ast.Expr(&ast.Integer{Pos: e.Pos, Value: 1})
		if len(e.Args) > 0 {
			arg = e.Args[0]
		}
		c := &ast.Case{Pos: e.Pos, Whens: []*ast.When{{Pos: e.Pos, Cond: e.Filter, Result: arg}}}
		call.Star, call.Args = false, append([]ast.Expr{c}, e.Args[min(1, len(e.Args)):]...)
	}
	scope := &aggScope{input: x}
	a, _, err := scope.bindAgg(&call, fn)
	if err != nil {
		return err
	}
	w.call.Agg, w.call.Typ, w.args = a, a.Typ, a.Args
	if f := &w.call.Frame; !exec.WindowAggregate(fn.Name) && (f.Start.Kind != ast.UnboundedPreceding || f.End.Kind != ast.UnboundedFollowing) {
		return errorAt(e, stateUnsupported, "%s is supported over whole partitions only", fn.Name).
			hint("leave ORDER BY out of OVER (...), or add ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")
	}
	return nil
}

// windowFrame binds the frame. By default it ends with the row's equals where there is an order, else it is the partition.
func (x *binder) windowFrame(e *ast.FuncCall, w *windowPlan) error {
	f := &w.call.Frame
	f.Start.Kind, f.End.Kind = ast.UnboundedPreceding, ast.UnboundedFollowing
	given := e.Over.Frame
	if given == nil {
		if len(w.order) > 0 {
			f.Range, f.End.Kind = true, ast.CurrentRow
		}
		return nil
	}
	if given.Unit == ast.FrameGroups {
		return errorAt(given, stateUnsupported, "frames of GROUPS are not supported")
	}
	f.Range = given.Unit == ast.FrameRange
	if given.Start.Kind > given.End.Kind || given.Start.Kind == ast.UnboundedFollowing || given.End.Kind == ast.UnboundedPreceding {
		return errorAt(given, stateWindow, "the frame ends before it starts")
	}
	var err error
	if f.Start, err = x.frameBound(given, &given.Start, w, f.Range); err == nil {
		f.End, err = x.frameBound(given, &given.End, w, f.Range)
	}
	return err
}

func (x *binder) frameBound(n ast.Node, b *ast.FrameBound, w *windowPlan, byValue bool) (out exec.FrameBound, err error) {
	out.Kind = b.Kind
	if b.Offset == nil {
		return out, nil
	}
	t := schema.BigInt
	if byValue {
		if len(w.order) != 1 {
			return out, errorAt(n, stateWindow, "RANGE with an offset needs one key in ORDER BY")
		}
		switch t = w.order[0].expr.Type(); t {
		case schema.Timestamp:
			t = schema.Interval
		case schema.Double, schema.BigInt, schema.Integer, schema.Interval:
		default:
			return out, errorAt(n, stateWindow, "RANGE with an offset needs a number or a time in ORDER BY, not %s", t)
		}
	}
	e, err := x.bind(b.Offset)
	if err != nil {
		return out, err
	}
	if e, err = x.to(b.Offset, e, t); err != nil {
		return out, err
	}
	c, ok := e.(*exec.Const)
	if !ok || c.Value.Null || c.Value.I < 0 || c.Value.F < 0 || c.Value.F != c.Value.F || c.Value.Months != 0 {
		return out, errorAt(b.Offset, "22013", "the offset of a frame is a constant that is not negative, and no months")
	}
	out.Offset = c.Value
	return out, nil
}

// apply adds the window calls of a SELECT above n, and gives what makes the columns that stand for them real ones.
func (s *windowScope) apply(n exec.Node) (exec.Node, func(exec.Expr) exec.Expr) {
	proj := &exec.Project{Input: n}
	add := func(e exec.Expr) int {
		for i, have := range proj.Exprs {
			if reflect.DeepEqual(have, e) {
				return i
			}
		}
		proj.Exprs = append(proj.Exprs, e)
		proj.Output = append(proj.Output, exec.Col{Name: e.String(), Type: keyType(e)})
		return len(proj.Exprs) - 1
	}
	for i, c := range n.Cols() {
		proj.Exprs = append(proj.Exprs, &exec.Column{Index: i, Typ: c.Type, Name: c.Name})
		proj.Output = append(proj.Output, c)
	}
	var wins []*exec.Window
	at := make([][2]int, len(s.calls)) // window, call in it
	for i, c := range s.calls {
		w := &exec.Window{}
		for _, e := range c.partition {
			w.Partition = append(w.Partition, add(e))
		}
		for _, o := range c.order {
			w.Order = append(w.Order, exec.SortKey{Column: add(o.expr), Desc: o.desc, NullsFirst: o.nullsFirst})
		}
		for _, e := range c.args {
			c.call.Args = append(c.call.Args, add(e))
		}
		found := -1
		for k, o := range wins {
			if reflect.DeepEqual(o.Partition, w.Partition) && reflect.DeepEqual(o.Order, w.Order) {
				found = k
			}
		}
		if found < 0 {
			found, wins = len(wins), append(wins, w)
		}
		at[i] = [2]int{found, len(wins[found].Calls)}
		wins[found].Calls = append(wins[found].Calls, c.call)
	}
	node, first := stack(proj, wins)
	return node, func(e exec.Expr) exec.Expr {
		return exec.Remap(e, func(c *exec.Column) exec.Expr {
			if c.Index < windowBase {
				return c
			}
			p := at[c.Index-windowBase]
			return &exec.Column{Index: first[p[0]] + p[1], Typ: c.Typ, Name: c.Name}
		})
	}
}

// stack puts windows above n, each over its sort; first is where the results of each begin among the columns.
func stack(n exec.Node, wins []*exec.Window) (top exec.Node, first []int) {
	next := len(n.Cols())
	for _, w := range wins {
		var keys []exec.SortKey
		for _, c := range w.Partition {
			keys = append(keys, exec.SortKey{Column: c})
		}
		w.Input = &exec.Sort{Input: n, Keys: append(keys, w.Order...), Limit: -1}
		n, first = w, append(first, next)
		next += len(w.Calls)
	}
	return n, first
}

// pruneWindow drops columns below a window that neither it nor anything above needs.
func pruneWindow(n *exec.Window, need []bool) []int {
	below := append([]bool{}, need[:len(n.Input.Cols())]...)
	for _, c := range n.Partition {
		below[c] = true
	}
	for _, k := range n.Order {
		below[k.Column] = true
	}
	for _, c := range n.Calls {
		for _, a := range c.Args {
			below[a] = true
		}
	}
	in, to := prune(n.Input, below)
	n.Input = in
	for i := range n.Partition {
		n.Partition[i] = to[n.Partition[i]]
	}
	for i := range n.Order {
		n.Order[i].Column = to[n.Order[i].Column]
	}
	to = append([]int{}, to...)
	for i, c := range n.Calls {
		for k := range c.Args {
			c.Args[k] = to[c.Args[k]]
		}
		to = append(to, len(in.Cols())+i)
	}
	return to
}

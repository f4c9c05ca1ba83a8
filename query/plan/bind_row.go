package plan

import (
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

// maxInRows is the most rows that (a, b) IN (query) may give: they are compared one by one.
const maxInRows = 10_000

// rowOf is the elements of a row of several values.
func rowOf(e ast.Expr) ([]ast.Expr, bool) {
	r, ok := e.(*ast.Row)
	if !ok {
		return nil, false
	}
	return r.Elems, true
}

// rowIn is (a, b) IN ((1, 2), ...) or IN (query): equal in all values to any of the rows.
func (x *binder) rowIn(e *ast.In, elems []ast.Expr) (exec.Expr, error) {
	left, err := x.bindAll(elems...)
	if err != nil {
		return nil, err
	}
	var rows [][]exec.Expr
	if e.Query != nil {
		sub, err := x.p.subquery(e.Query, maxInRows, false)
		if err != nil {
			return nil, err
		}
		if len(sub.types) != len(left) {
			return nil, errorAt(e, stateSyntax, "the subquery of IN must have %d columns, it has %d", len(left), len(sub.types))
		}
		for _, r := range sub.rows {
			row := make([]exec.Expr, len(r))
			for i, v := range r {
				row[i] = constant(v)
			}
			rows = append(rows, row)
		}
	}
	for _, item := range e.List {
		list, ok := rowOf(item)
		if !ok || len(list) != len(left) {
			return nil, errorAt(item, stateSyntax, "IN compares a row of %d values with rows of as many", len(left))
		}
		row, err := x.bindAll(list...)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return constant(exec.BoolValue(e.Not)), nil
	}
	any := &exec.Logic{Or: true}
	for _, row := range rows {
		same, err := x.sameRow(e, left, row)
		if err != nil {
			return nil, err
		}
		any.Terms = append(any.Terms, same)
	}
	var out exec.Expr = any
	if len(rows) == 1 {
		out = any.Terms[0]
	}
	if e.Not {
		out = &exec.Not{X: out}
	}
	return out, nil
}

// sameRow says that two rows are equal in all values.
func (x *binder) sameRow(n ast.Node, l, r []exec.Expr) (exec.Expr, error) {
	all := &exec.Logic{}
	for i := range l {
		pair := []exec.Expr{l[i], r[i]}
		if _, err := x.unify(n, "=", pair); err != nil {
			return nil, err
		}
		all.Terms = append(all.Terms, &exec.Compare{Op: exec.Eq, L: pair[0], R: pair[1]})
	}
	if len(all.Terms) == 1 {
		return all.Terms[0], nil
	}
	return all, nil
}

// rowEqual is (a, b) = (c, d) and its opposite; ok is false for anything else.
func (x *binder) rowEqual(e *ast.Binary) (out exec.Expr, ok bool, err error) {
	l, lok := rowOf(e.Left)
	r, rok := rowOf(e.Right)
	if !lok || !rok || len(l) != len(r) || e.Op != ast.OpEq && e.Op != ast.OpNe {
		return nil, false, nil
	}
	left, err := x.bindAll(l...)
	if err != nil {
		return nil, true, err
	}
	right, err := x.bindAll(r...)
	if err != nil {
		return nil, true, err
	}
	if out, err = x.sameRow(e, left, right); err == nil && e.Op == ast.OpNe {
		out = &exec.Not{X: out}
	}
	return out, true, err
}

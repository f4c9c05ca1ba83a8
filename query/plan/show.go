package plan

import (
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

// List plans a list that a SHOW statement narrows by LIKE (on its first column), WHERE and LIMIT.
func (p *Planner) List(s *ast.Show, cols []exec.Col, rows [][]exec.Value) (exec.Node, error) {
	rel := relationOf(exec.ConstNode("List", cols, rows), "")
	x := &binder{p: p, rel: rel, clause: "WHERE"}
	var terms []exec.Expr
	if s.Like != nil {
		first := &ast.Ident{Pos: s.Pos, Parts: []string{cols[0].Name}}
		t, err := x.bind(&ast.Like{Pos: s.Pos, CaseFold: s.ILike, Expr: first, Pattern: s.Like})
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	if s.Where != nil {
		t, err := x.condition(s.Where)
		if err != nil {
			return nil, err
		}
		terms = append(terms, t)
	}
	n := rel.node
	if len(terms) > 0 {
		n = &exec.Filter{Input: n, Terms: terms}
	}
	limit, _, err := p.bounds(&ast.Query{Limit: s.Limit})
	if err != nil {
		return nil, err
	}
	return orderAndLimit(n, nil, limit, 0), nil
}

// Const is the value of an expression without columns, for SET.
func (p *Planner) Const(e ast.Expr) (exec.Value, error) {
	b, err := (&binder{p: p, rel: &relation{}, clause: "SET"}).bind(e)
	if err != nil {
		return exec.Value{}, err
	}
	if c, ok := b.(*exec.Const); ok {
		return c.Value, nil
	}
	return exec.Value{}, errorAt(e, stateSyntax, "%s is not constant", e)
}

// UnknownTable is the error for a table name that Lookup does not know.
func (p *Planner) UnknownTable(t *ast.TableName) error {
	_, err := p.table(t)
	return err
}

package plan

import (
	"slices"

	"github.com/flowlake/flowlake/db/schema"
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

// RollupKeys resolves the keys of CREATE ROLLUP: columns of the table, or keys of its tag sets.
func (p *Planner) RollupKeys(t *schema.Table, keys []ast.Expr) ([]schema.RollupKey, error) {
	rel, err := rename(keys[0], p.stored(Table{Schema: t}), nil, t.Name)
	if err != nil {
		return nil, err
	}
	x := &binder{p: p, rel: rel, clause: "GROUP BY"}
	var out []schema.RollupKey
	for _, k := range keys {
		b, err := x.bind(k)
		if err != nil {
			return nil, err
		}
		var key schema.RollupKey
		switch b := b.(type) {
		case *exec.Column:
			key.Column = t.Columns[b.Index].Name
		case *exec.TagValue:
			key.TagKey = b.Key
			key.Column = t.Columns[b.X.(*exec.Column).Index].Name
		default:
			return nil, errorAt(k, stateUnsupported, "%s cannot be a key of a rollup", k).
				hint("keys are columns and tags: server_port, server.service, client.label['app']")
		}
		if slices.Contains(out, key) {
			return nil, errorAt(k, stateDuplicate, "%s is named twice", k)
		}
		out = append(out, key)
	}
	return out, nil
}

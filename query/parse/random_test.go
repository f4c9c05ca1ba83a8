package parse

import (
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/query/ast"
)

// maker makes random trees that the parser could have made.
type maker struct{ *rand.Rand }

var randomNames = []string{"a", "b", "time", "select", "Pod", "unbounded", "interval", "left", "x y", `q"`, "current_date", "ü", "row", "over"}

func (m maker) name() string { return randomNames[m.IntN(len(randomNames))] }

func (m maker) ident() *ast.Ident {
	x := &ast.Ident{}
	for range 1 + m.IntN(2) {
		x.Parts = append(x.Parts, m.name())
	}
	return x
}

func (m maker) list(min, depth int) []ast.Expr {
	var out []ast.Expr
	for range min + m.IntN(3) {
		out = append(out, m.expr(depth))
	}
	return out
}

func (m maker) leaf() ast.Expr {
	switch m.IntN(9) {
	case 0:
		return &ast.Integer{Value: m.Int64N(20) - 10}
	case 1:
		return &ast.Decimal{Text: []string{"1.50", "-0.5", "1e3", "18446744073709551615"}[m.IntN(4)]}
	case 2:
		return &ast.String{Value: []string{"", "it's", "--", "a\nb", "日本", `\`}[m.IntN(6)]}
	case 3:
		return &ast.Bool{Value: m.IntN(2) == 0}
	case 4:
		return &ast.Interval{Months: m.Int64N(30) - 15, Days: m.Int64N(9) - 4, Nanos: m.Int64N(2e13) - 1e13}
	case 5:
		return &ast.Param{Index: 1 + m.IntN(9)}
	}
	return m.ident()
}

// expr makes an expression. One flat switch.
func (m maker) expr(depth int) ast.Expr {
	if depth <= 0 {
		return m.leaf()
	}
	d := depth - 1
	not := m.IntN(2) == 0
	switch m.IntN(24) {
	case 0, 1:
		return &ast.Binary{Op: ast.BinaryOp(m.IntN(int(ast.OpGetText) + 1)), Left: m.expr(d), Right: m.expr(d)}
	case 2, 3:
		l := &ast.Logical{Or: not}
		for _, e := range m.list(2, d) {
			if sub, ok := e.(*ast.Logical); ok && sub.Or == not {
				e = &ast.Unary{Op: ast.OpNot, Expr: e} // the parser would merge it
			}
			l.Terms = append(l.Terms, e)
		}
		return l
	case 4:
		return &ast.Unary{Op: ast.OpNot, Expr: m.expr(d)}
	case 5:
		return &ast.Unary{Op: ast.OpNeg, Expr: m.expr(d)}
	case 6:
		l := &ast.Like{Not: not, CaseFold: m.IntN(2) == 0, Expr: m.expr(d), Pattern: m.expr(d)}
		if m.IntN(2) == 0 {
			l.Escape = m.expr(d)
		}
		return l
	case 7:
		return &ast.Is{Not: not, Test: ast.IsTest(m.IntN(4)), Expr: m.expr(d)}
	case 8:
		return &ast.Distinct{Not: not, Left: m.expr(d), Right: m.expr(d)}
	case 9:
		return &ast.Between{Not: not, Symmetric: m.IntN(2) == 0, Expr: m.expr(d), Low: m.expr(d), High: m.expr(d)}
	case 10:
		if m.IntN(2) == 0 {
			return &ast.In{Not: not, Expr: m.expr(d), Query: m.query(d)}
		}
		return &ast.In{Not: not, Expr: m.expr(d), List: append(m.list(1, d), &ast.Null{})}
	case 11:
		return &ast.Quantified{Op: ast.BinaryOp(m.IntN(int(ast.OpGe) + 1)), All: not, Left: m.expr(d), Array: &ast.Array{Elems: m.list(0, d)}}
	case 12:
		c := &ast.Case{Whens: []*ast.When{{Cond: m.expr(d), Result: m.expr(d)}}}
		if not {
			c.Operand, c.Else = m.expr(d), m.expr(d)
		}
		return c
	case 13:
		types := []*ast.TypeName{{Name: "int"}, {Name: "double precision", Dims: 1}, {Name: "timestamp with time zone", Mods: []int64{3}},
			{Name: "map", Params: []*ast.TypeName{{Name: "text"}, {Name: "Odd"}}}, {Schema: "s", Name: "time with time zone"}, {Name: "double precision", Mods: []int64{1}}}
		return &ast.Cast{Try: not, Expr: m.expr(d), Type: types[m.IntN(len(types))]}
	case 14:
		return &ast.Subscript{Base: m.expr(d), Index: m.expr(d)}
	case 15:
		return &ast.Extract{Field: m.name(), Expr: m.expr(d)}
	case 16:
		return &ast.AtTimeZone{Expr: m.expr(d), Zone: m.expr(d)}
	case 17:
		return &ast.Collate{Expr: m.expr(d), Name: m.ident().Parts}
	case 18:
		return &ast.Exists{Query: m.query(d)}
	case 19:
		return &ast.Subquery{Query: m.query(d)}
	case 20:
		return &ast.Row{Elems: m.list(0, d)}
	}
	return m.call(d)
}

func (m maker) order(d int) []*ast.OrderItem {
	return []*ast.OrderItem{{Expr: m.expr(d), Desc: m.IntN(2) == 0, Nulls: ast.NullsOrder(m.IntN(3))}}
}

func (m maker) call(d int) *ast.FuncCall {
	c := &ast.FuncCall{Name: m.ident().Parts, Args: m.list(0, d)}
	if m.IntN(3) == 0 {
		c.Args = append(c.Args, &ast.NamedArg{Name: m.name(), Value: m.expr(d)})
	}
	if len(c.Args) > 0 && m.IntN(3) == 0 {
		c.Distinct, c.OrderBy = true, m.order(d)
	}
	if m.IntN(3) == 0 {
		c.WithinGroup, c.Filter = m.order(d), m.expr(d)
	}
	if m.IntN(3) == 0 {
		c.Over = &ast.Window{PartitionBy: m.list(0, d), OrderBy: m.order(d), Frame: &ast.Frame{Unit: ast.FrameUnit(m.IntN(3)),
			Start: ast.FrameBound{Kind: ast.Preceding, Offset: m.expr(d)}, End: ast.FrameBound{Kind: ast.Following, Offset: m.leaf()}}}
	}
	return c
}

func (m maker) alias() *ast.Alias {
	if m.IntN(2) == 0 {
		return nil
	}
	return &ast.Alias{Name: m.name(), Columns: []string{m.name()}}
}

func (m maker) table(d int) ast.TableRef {
	switch m.IntN(5) {
	case 0:
		if d > 0 {
			return &ast.TableSubquery{Query: m.query(d - 1), Alias: m.alias()}
		}
	case 1:
		return &ast.TableFunc{Call: &ast.FuncCall{Name: []string{m.name()}, Args: m.list(0, 0)}, Ordinality: m.IntN(2) == 0, Alias: m.alias()}
	case 2:
		if d > 0 {
			return &ast.Join{Kind: ast.JoinKind(m.IntN(4)), Left: m.table(d - 1), Right: m.table(d - 1), On: m.expr(d - 1)}
		}
	}
	return &ast.TableName{Parts: m.ident().Parts, Alias: m.alias()}
}

func (m maker) body(d int) ast.QueryBody {
	switch m.IntN(5) {
	case 0:
		return &ast.Values{Rows: [][]ast.Expr{m.list(1, d)}}
	case 1, 2:
		if d > 0 {
			return &ast.SetOp{Kind: ast.SetOpKind(m.IntN(3)), All: m.IntN(2) == 0, Left: m.operand(d - 1), Right: m.operand(d - 1)}
		}
	}
	s := &ast.Select{Distinct: m.IntN(2) == 0, Items: []*ast.SelectItem{{Expr: m.expr(d), Alias: m.name()}, {Expr: &ast.Star{Qualifier: []string{m.name()}}}}}
	if m.IntN(2) == 0 {
		s.From = []ast.TableRef{m.table(d), m.table(d)}
		s.Where, s.GroupBy, s.Having = m.expr(d), m.list(0, d), m.expr(d)
	}
	return s
}

// operand is a side of a set operator: in parentheses when it has an order.
func (m maker) operand(d int) ast.QueryBody {
	if m.IntN(3) == 0 {
		return &ast.Query{Body: m.body(d), OrderBy: m.order(d), Limit: m.expr(0)}
	}
	return m.body(d)
}

func (m maker) query(d int) *ast.Query {
	q := &ast.Query{Body: m.body(d)}
	if m.IntN(3) == 0 {
		q.With = &ast.With{Recursive: m.IntN(2) == 0, CTEs: []*ast.CTE{{Name: m.name(), Columns: []string{m.name()}, Query: m.query(d - 1)}}}
	}
	if m.IntN(3) == 0 {
		q.OrderBy, q.Offset = m.order(d), m.expr(d)
	}
	return q
}

// TestRandomTrees: a tree that the parser could have made prints as a text that
// the parser reads as the same tree.
func TestRandomTrees(t *testing.T) {
	n := 1500
	if testing.Short() {
		n = 300
	}
	for seed := range n {
		m := maker{rand.New(rand.NewPCG(uint64(seed), 1))}
		q := m.query(seed % 4)
		sql := q.String()
		again, err := ParseOne(sql)
		if err != nil {
			t.Fatalf("seed %d: %s\n%s", seed, sql, detail(err, sql))
		}
		if !ast.Equal(q, again) {
			t.Fatalf("seed %d:\n%s\nreads as\n%s", seed, sql, again)
		}
		if c := ast.RewriteExpr(m.expr(2), func(e ast.Expr) ast.Expr { return e }); c == nil {
			t.Fatal("an expression was lost")
		}
	}
}

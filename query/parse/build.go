package parse

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

// builder turns ANTLR's tree into ours. The first thing it finds wrong goes to
// err; it then goes on with what it has, and the result is dropped.
type builder struct {
	sql  string
	offs []int // byte offset of each code point; nil when the text is ASCII
	err  *Error
}

func newBuilder(sql string) *builder {
	b := &builder{sql: sql}
	for i := 0; i < len(sql); i++ {
		if sql[i] >= utf8.RuneSelf {
			b.offs = make([]int, 0, len(sql)+1)
			for off := range sql {
				b.offs = append(b.offs, off)
			}
			b.offs = append(b.offs, len(sql))
			break
		}
	}
	return b
}

// offset converts ANTLR's index in code points to bytes.
func (b *builder) offset(i int) int {
	if b.offs != nil {
		return b.offs[max(0, min(i, len(b.offs)-1))]
	}
	return max(0, min(i, len(b.sql)))
}

func (b *builder) pos(t antlr.Token) ast.Pos {
	return ast.Pos{Offset: b.offset(t.GetStart()), Line: t.GetLine(), Column: t.GetColumn() + 1}
}

// text returns the token as written, "" for the end of the text.
func (b *builder) text(t antlr.Token) string {
	if t.GetTokenType() == antlr.TokenEOF {
		return ""
	}
	return b.sql[b.offset(t.GetStart()):b.offset(t.GetStop()+1)]
}

func (b *builder) errorAt(t antlr.Token, state, format string, args ...any) *Error {
	p := b.pos(t)
	return &Error{Line: p.Line, Column: p.Column, Offset: p.Offset, Near: b.text(t),
		Msg: fmt.Sprintf(format, args...), SQLState: state}
}

// fail notes the first error; the caller may add a hint to what it returns.
func (b *builder) fail(t antlr.Token, state, format string, args ...any) *Error {
	e := b.errorAt(t, state, format, args...)
	if b.err == nil {
		b.err = e
	}
	return e
}

// terminal returns the token of a leaf, nil for a rule.
func terminal(c antlr.Tree) antlr.Token {
	if t, ok := c.(antlr.TerminalNode); ok {
		return t.GetSymbol()
	}
	return nil
}

// tokenType returns the type of a leaf, -2 for a rule.
func tokenType(c antlr.Tree) int {
	if t := terminal(c); t != nil {
		return t.GetTokenType()
	}
	return -2
}

// ---- names ----

// word returns the name in a leaf or a rule of one token.
func (b *builder) name(c antlr.Tree) string {
	for terminal(c) == nil {
		c = c.GetChild(0)
	}
	t := terminal(c)
	text := b.text(t)
	if t.GetTokenType() != gen.FlowlakeSQLLexerQUOTED_IDENT {
		return fold(text)
	}
	name := unquote(text, '"')
	if name == "" {
		b.fail(t, "42601", `a name in double quotes cannot be empty`).Hint = "an empty text is ''"
	}
	return name
}

// fold lowers a bare name.
func fold(s string) string { return strings.ToLower(s) }

func unquote(s string, q byte) string {
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, q) < 0 {
		return s
	}
	return strings.ReplaceAll(s, string([]byte{q, q}), string(q))
}

// qualified returns the parts of a dotted name and whether the last is quoted.
func (b *builder) qualified(ctx antlr.Tree) (parts []string, quoted bool) {
	children := ctx.GetChildren()
	parts = make([]string, 0, (len(children)+1)/2)
	for i := 0; i < len(children); i += 2 {
		parts = append(parts, b.name(children[i]))
	}
	last := children[len(children)-1]
	for terminal(last) == nil {
		last = last.GetChild(0)
	}
	return parts, terminal(last).GetTokenType() == gen.FlowlakeSQLLexerQUOTED_IDENT
}

func (b *builder) columnNames(ctx gen.IColumnNamesContext) []string {
	if ctx == nil {
		return nil
	}
	var out []string
	for _, c := range ctx.AllIdentifier() {
		out = append(out, b.name(c))
	}
	return out
}

// ---- queries ----

func (b *builder) script(ctx *gen.ScriptContext) []ast.Statement {
	var out []ast.Statement
	for _, c := range ctx.GetChildren() {
		if s, ok := c.(*gen.StatementContext); ok {
			out = append(out, b.statement(s))
		}
	}
	return out
}

// query builds any rule that is with? term queryTail.
func (b *builder) query(ctx antlr.ParserRuleContext) *ast.Query {
	q := &ast.Query{Pos: b.pos(ctx.GetStart())}
	for _, c := range ctx.GetChildren() {
		switch c := c.(type) {
		case *gen.WithContext:
			q.With = b.with(c)
		case *gen.QueryTermContext:
			q.Body = b.queryTerm(c)
		case *gen.SimpleTermContext:
			q.Body = b.simpleTerm(c)
		case *gen.QueryTailContext:
			b.tail(q, c)
		}
	}
	if inner, ok := q.Body.(*ast.Query); ok && bare(q) {
		return inner
	}
	return q
}

// bare reports that q is nothing but its body.
func bare(q *ast.Query) bool {
	return q.With == nil && len(q.OrderBy) == 0 && q.Limit == nil && q.Offset == nil
}

// asBody drops the parentheses around a query where they say nothing.
func asBody(q *ast.Query) ast.QueryBody {
	if bare(q) {
		return q.Body
	}
	return q
}

// tail adds set operators, ORDER BY and LIMIT to a query with its first term.
func (b *builder) tail(q *ast.Query, ctx gen.IQueryTailContext) {
	terms := []ast.QueryBody{q.Body}
	var ops []*ast.SetOp
	for _, c := range ctx.GetChildren() {
		switch c := c.(type) {
		case *gen.SetOperatorContext:
			op := &ast.SetOp{Pos: b.pos(c.GetStart()), All: c.ALL() != nil}
			switch c.GetStart().GetTokenType() {
			case gen.FlowlakeSQLLexerEXCEPT:
				op.Kind = ast.Except
			case gen.FlowlakeSQLLexerINTERSECT:
				op.Kind = ast.Intersect
			}
			ops = append(ops, op)
		case *gen.QueryTermContext:
			next := b.queryTerm(c)
			if op := ops[len(ops)-1]; op.Kind == ast.Intersect {
				op.Left, op.Right = terms[len(terms)-1], next
				terms[len(terms)-1], ops = op, ops[:len(ops)-1]
			} else {
				terms = append(terms, next)
			}
		case *gen.OrderByContext:
			q.OrderBy = b.orderBy(c)
		case *gen.LimitPartContext:
			b.limitPart(q, c)
		}
	}
	q.Body = terms[0]
	for i, op := range ops {
		op.Left, op.Right = q.Body, terms[i+1]
		q.Body = op
	}
}

func (b *builder) limitPart(q *ast.Query, ctx *gen.LimitPartContext) {
	start := ctx.GetStart()
	var n ast.Expr
	if ctx.Expr() != nil {
		n = b.expr(ctx.Expr())
	}
	field, all := &q.Limit, ctx.ALL() != nil
	switch start.GetTokenType() {
	case gen.FlowlakeSQLLexerOFFSET:
		field = &q.Offset
	case gen.FlowlakeSQLLexerFETCH:
		if n == nil {
			n = &ast.Integer{Pos: b.pos(start), Value: 1}
		}
	}
	if *field != nil {
		b.fail(start, "42601", "%s is given twice", strings.ToUpper(b.text(start)))
	}
	if !all {
		*field = n
	}
}

func (b *builder) with(ctx *gen.WithContext) *ast.With {
	w := &ast.With{Pos: b.pos(ctx.GetStart()), Recursive: ctx.RECURSIVE() != nil}
	for _, c := range ctx.AllCte() {
		w.CTEs = append(w.CTEs, &ast.CTE{Pos: b.pos(c.GetStart()), Name: b.name(c.Identifier()),
			Columns: b.columnNames(c.ColumnNames()), Query: b.query(c.Query())})
	}
	return w
}

func (b *builder) queryTerm(ctx *gen.QueryTermContext) ast.QueryBody {
	if t, ok := ctx.GetChild(0).(*gen.SimpleTermContext); ok {
		return b.simpleTerm(t)
	}
	return asBody(b.query(ctx.Query()))
}

func (b *builder) simpleTerm(ctx *gen.SimpleTermContext) ast.QueryBody {
	pos := b.pos(ctx.GetStart())
	switch c := ctx.GetChild(0).(type) {
	case *gen.SelectContext:
		return b.selectBlock(c)
	case *gen.ValuesContext:
		v := &ast.Values{Pos: pos}
		for _, r := range c.AllValuesRow() {
			row := b.exprs(r)
			if len(v.Rows) > 0 && len(row) != len(v.Rows[0]) {
				b.fail(r.GetStart(), "42601", "the rows of VALUES differ in length: %d and %d", len(v.Rows[0]), len(row))
			}
			v.Rows = append(v.Rows, row)
		}
		return v
	}
	parts, _ := b.qualified(ctx.QualifiedName())
	return &ast.Select{Pos: pos, Items: []*ast.SelectItem{{Pos: pos, Expr: &ast.Star{Pos: pos}}},
		From: []ast.TableRef{b.tableName(ctx.QualifiedName().GetStart(), parts)}}
}

func (b *builder) selectBlock(ctx *gen.SelectContext) *ast.Select {
	s := &ast.Select{Pos: b.pos(ctx.GetStart())}
	for _, c := range ctx.GetChildren() {
		switch c := c.(type) {
		case *gen.SelectItemContext:
			s.Items = append(s.Items, b.selectItem(c))
		case *gen.TableRefContext:
			s.From = append(s.From, b.tableRef(c))
		case antlr.TerminalNode:
			if c.GetSymbol().GetTokenType() == gen.FlowlakeSQLLexerDISTINCT {
				s.Distinct = true
			}
		}
	}
	if e := ctx.GetWhere(); e != nil {
		s.Where = b.expr(e)
	}
	for _, e := range ctx.GetGroupBy() {
		s.GroupBy = append(s.GroupBy, b.expr(e))
	}
	if e := ctx.GetHaving(); e != nil {
		s.Having = b.expr(e)
	}
	return s
}

func (b *builder) selectItem(ctx *gen.SelectItemContext) *ast.SelectItem {
	it := &ast.SelectItem{Pos: b.pos(ctx.GetStart())}
	children := ctx.GetChildren()
	e, ok := children[0].(gen.IExprContext)
	if !ok {
		it.Expr = &ast.Star{Pos: it.Pos}
		return it
	}
	it.Expr = b.exprOrStar(e)
	if len(children) > 1 {
		last := children[len(children)-1]
		it.Alias = b.name(last)
		if _, star := it.Expr.(*ast.Star); star {
			b.fail(last.(antlr.ParserRuleContext).GetStart(), "42601", "t.* stands for many columns and cannot have an alias")
		}
	}
	return it
}

func (b *builder) orderBy(ctx gen.IOrderByContext) []*ast.OrderItem {
	var out []*ast.OrderItem
	for _, c := range ctx.AllSortItem() {
		it := &ast.OrderItem{Pos: b.pos(c.GetStart()), Expr: b.expr(c.Expr()), Desc: c.DESC() != nil}
		if c.FIRST() != nil {
			it.Nulls = ast.NullsFirst
		} else if c.LAST() != nil {
			it.Nulls = ast.NullsLast
		}
		out = append(out, it)
	}
	return out
}

// ---- FROM ----

func (b *builder) tableName(t antlr.Token, parts []string) *ast.TableName {
	if len(parts) > 3 {
		b.fail(t, "42601", "a table name has at most three parts, this one has %d", len(parts))
	}
	return &ast.TableName{Pos: b.pos(t), Parts: parts}
}

func (b *builder) tableRef(ctx gen.ITableRefContext) ast.TableRef {
	var left ast.TableRef
	for _, c := range ctx.GetChildren() {
		switch c := c.(type) {
		case *gen.TablePrimaryContext:
			left = b.tablePrimary(c)
		case *gen.JoinContext:
			left = b.join(left, c)
		}
	}
	return left
}

func (b *builder) join(left ast.TableRef, ctx *gen.JoinContext) *ast.Join {
	j := &ast.Join{Pos: b.pos(ctx.GetStart()), Left: left, Right: b.tablePrimary(ctx.TablePrimary().(*gen.TablePrimaryContext)),
		Natural: ctx.NATURAL() != nil, Asof: ctx.ASOF() != nil, Using: b.columnNames(ctx.ColumnNames())}
	if ctx.CROSS() != nil {
		j.Kind = ast.JoinCross
	}
	if side := ctx.JoinSide(); side != nil {
		switch side.GetStart().GetTokenType() {
		case gen.FlowlakeSQLLexerLEFT:
			j.Kind = ast.JoinLeft
		case gen.FlowlakeSQLLexerRIGHT:
			j.Kind = ast.JoinRight
		case gen.FlowlakeSQLLexerFULL:
			j.Kind = ast.JoinFull
		}
	}
	if j.Asof && j.Kind > ast.JoinLeft {
		b.fail(ctx.GetStart(), "0A000", "an ASOF join is INNER or LEFT")
	}
	if ctx.Expr() != nil {
		j.On = b.expr(ctx.Expr())
	}
	return j
}

func (b *builder) alias(ctx gen.IAliasContext) *ast.Alias {
	if ctx == nil {
		return nil
	}
	a := &ast.Alias{Pos: b.pos(ctx.GetStart()), Columns: b.columnNames(ctx.ColumnNames())}
	if id := ctx.Identifier(); id != nil {
		a.Name = b.name(id)
	} else {
		a.Name = b.name(ctx.BareAlias())
	}
	return a
}

func (b *builder) tablePrimary(ctx *gen.TablePrimaryContext) ast.TableRef {
	pos, alias := b.pos(ctx.GetStart()), b.alias(ctx.Alias())
	if name := ctx.QualifiedName(); name != nil {
		parts, _ := b.qualified(name)
		if ctx.CallArgs() == nil {
			t := b.tableName(name.GetStart(), parts)
			t.Alias = alias
			return t
		}
		return &ast.TableFunc{Pos: pos, Call: b.call(pos, parts, ctx.CallArgs(), nil),
			Ordinality: ctx.ORDINALITY() != nil, Alias: alias}
	}
	if sub := ctx.Subquery(); sub != nil {
		return &ast.TableSubquery{Pos: pos, Query: b.query(sub), Alias: alias}
	}
	inner := b.tableRef(ctx.TableRef())
	sub, isQuery := inner.(*ast.TableSubquery)
	isQuery = isQuery && sub.Alias == nil
	if tail := ctx.QueryTail(); tail.GetChildCount() > 0 {
		if !isQuery {
			b.fail(tail.GetStart(), "42601", "unexpected %s after a table in parentheses", strings.ToUpper(b.text(tail.GetStart())))
			return inner
		}
		q := &ast.Query{Pos: sub.Query.Pos, Body: asBody(sub.Query)}
		b.tail(q, tail)
		return &ast.TableSubquery{Pos: pos, Query: q, Alias: alias}
	}
	if alias == nil {
		return inner
	}
	if !isQuery {
		b.fail(ctx.Alias().GetStart(), "0A000", "an alias for a table in parentheses is not supported").Hint = "name the tables inside"
		return inner
	}
	sub.Alias = alias
	return sub
}

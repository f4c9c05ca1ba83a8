package parse

import (
	"math/big"
	"strconv"
	"strings"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

// exprs builds every expr that is a direct child.
func (b *builder) exprs(ctx antlr.Tree) []ast.Expr {
	var out []ast.Expr
	for _, c := range ctx.GetChildren() {
		if e, ok := c.(*gen.ExprContext); ok {
			out = append(out, b.expr(e))
		}
	}
	return out
}

// expr builds an expression where t.* has no place.
func (b *builder) expr(ctx gen.IExprContext) ast.Expr {
	e := b.exprOrStar(ctx)
	if _, ok := e.(*ast.Star); ok {
		b.fail(ctx.GetStart(), "42601", "* has no place here").Hint = "it stands for all columns, in a select list"
	}
	return e
}

func (b *builder) exprOrStar(ctx gen.IExprContext) ast.Expr {
	return b.or(ctx)
}

// or builds an OR chain as one node.
func (b *builder) or(ctx antlr.ParserRuleContext) ast.Expr {
	children := ctx.GetChildren()
	if len(children) == 1 {
		return b.and(children[0].(*gen.AndExprContext))
	}
	l := &ast.Logical{Pos: b.pos(ctx.GetStart()), Or: true, Terms: make([]ast.Expr, 0, len(children)/2+1)}
	for i := 0; i < len(children); i += 2 {
		b.addTerm(l, b.and(children[i].(*gen.AndExprContext)))
	}
	return l
}

// and builds an AND chain as one node, with the NOTs in front of its terms.
func (b *builder) and(ctx *gen.AndExprContext) ast.Expr {
	children := ctx.GetChildren()
	if len(children) == 1 {
		return b.predicate(children[0].(*gen.PredicateContext))
	}
	l := &ast.Logical{Pos: b.pos(ctx.GetStart())}
	for first, i := 0, 0; i < len(children); i++ {
		p, ok := children[i].(*gen.PredicateContext)
		if !ok {
			continue
		}
		e := b.predicate(p)
		for j := i - 1; j >= first; j-- {
			e = &ast.Unary{Pos: b.pos(terminal(children[j])), Op: ast.OpNot, Expr: b.noStar(e)}
		}
		if first == 0 && i == len(children)-1 {
			return e
		}
		b.addTerm(l, e)
		first = i + 2 // behind the AND
	}
	return l
}

// addTerm adds to a chain, a chain of the same operator by its terms.
func (b *builder) addTerm(l *ast.Logical, e ast.Expr) {
	if sub, ok := e.(*ast.Logical); ok && sub.Or == l.Or {
		l.Terms = append(l.Terms, sub.Terms...)
		return
	}
	l.Terms = append(l.Terms, b.noStar(e))
}

// noStar refuses t.* as an operand.
func (b *builder) noStar(e ast.Expr) ast.Expr {
	if s, ok := e.(*ast.Star); ok && b.err == nil {
		b.err = &Error{Line: s.Line, Column: s.Column, Offset: s.Offset, SQLState: "42601", Near: s.String(),
			Msg: "* has no place here", Hint: "it stands for all columns, in a select list"}
	}
	return e
}

// predicate applies the tails: a comparison takes the LIKE, IN and BETWEEN that
// follow it into its right side, and IS takes all before it.
func (b *builder) predicate(ctx *gen.PredicateContext) ast.Expr {
	children := ctx.GetChildren()
	e := b.value(children[0])
	compared := false // e is a comparison without parentheses
	for i := 1; i < len(children); i++ {
		e = b.noStar(e)
		tail := children[i].(*gen.PredicateTailContext)
		cmp, ok := tail.GetChild(0).(*gen.CompareOpContext)
		if !ok {
			e, compared = b.wordTail(e, tail), false
			continue
		}
		if compared {
			err := b.fail(cmp.GetStart(), "42601", "comparisons do not chain")
			err.Hint = "write a < b AND b < c"
			if l, ok := e.(*ast.Binary); ok && isConcat(l.Right) {
				err.Hint = "|| joins texts; for a condition write OR"
			}
		}
		compared = true
		op := compareOps[cmp.GetStart().GetTokenType()]
		pos := b.pos(cmp.GetStart())
		if tail.LPAREN() != nil {
			e = b.quantified(e, op, pos, tail)
			continue
		}
		right := b.noStar(b.value(tail.GetChild(1)))
		for i+1 < len(children) && bindsTighter(children[i+1]) {
			i++
			right = b.wordTail(right, children[i].(*gen.PredicateTailContext))
		}
		b.checkNull(e, op, right, cmp.GetStart())
		e = &ast.Binary{Pos: pos, Op: op, Left: e, Right: right}
	}
	return e
}

func isConcat(e ast.Expr) bool {
	x, ok := e.(*ast.Binary)
	return ok && x.Op == ast.OpConcat
}

// bindsTighter reports LIKE, IN and BETWEEN.
func bindsTighter(c antlr.Tree) bool {
	switch tokenType(c.GetChild(0)) {
	case gen.FlowlakeSQLLexerNOT, gen.FlowlakeSQLLexerBETWEEN, gen.FlowlakeSQLLexerIN,
		gen.FlowlakeSQLLexerLIKE, gen.FlowlakeSQLLexerILIKE:
		return true
	}
	return false
}

// checkNull refuses = NULL, which is never true.
func (b *builder) checkNull(l ast.Expr, op ast.BinaryOp, r ast.Expr, t antlr.Token) {
	_, ln := l.(*ast.Null)
	_, rn := r.(*ast.Null)
	if !ln && !rn {
		return
	}
	switch op {
	case ast.OpEq:
		b.fail(t, "42601", "= NULL is never true, not even for NULL").Hint = "write IS NULL"
	case ast.OpNe:
		b.fail(t, "42601", "<> NULL is never true").Hint = "write IS NOT NULL"
	}
}

var compareOps = map[int]ast.BinaryOp{
	gen.FlowlakeSQLLexerEQ: ast.OpEq, gen.FlowlakeSQLLexerNE: ast.OpNe,
	gen.FlowlakeSQLLexerLT: ast.OpLt, gen.FlowlakeSQLLexerLE: ast.OpLe,
	gen.FlowlakeSQLLexerGT: ast.OpGt, gen.FlowlakeSQLLexerGE: ast.OpGe,
}

// queryIn returns the query of `( subquery | expr, ... queryTail )`, nil when it
// is a list. A lone scalar subquery in more parentheses is a query too.
func (b *builder) queryIn(ctx *gen.PredicateTailContext) (*ast.Query, []ast.Expr) {
	if sub := ctx.Subquery(); sub != nil {
		return b.query(sub), nil
	}
	list := b.exprs(ctx)
	if len(list) == 1 {
		if s, ok := list[0].(*ast.Subquery); ok {
			return b.withTail(s, ctx.QueryTail()), nil
		}
	}
	b.noTail(ctx.QueryTail())
	return nil, list
}

func (b *builder) withTail(s *ast.Subquery, tail gen.IQueryTailContext) *ast.Query {
	if tail == nil || tail.GetChildCount() == 0 {
		return s.Query
	}
	q := &ast.Query{Pos: s.Query.Pos, Body: asBody(s.Query)}
	b.tail(q, tail)
	return q
}

func (b *builder) noTail(tail gen.IQueryTailContext) {
	if tail != nil && tail.GetChildCount() > 0 {
		b.fail(tail.GetStart(), "42601", "unexpected %s: what stands before it is not a query", strings.ToUpper(b.text(tail.GetStart())))
	}
}

func (b *builder) quantified(left ast.Expr, op ast.BinaryOp, pos ast.Pos, ctx *gen.PredicateTailContext) ast.Expr {
	q := &ast.Quantified{Pos: pos, Op: op, All: ctx.ALL() != nil, Left: left}
	query, list := b.queryIn(ctx)
	if q.Query = query; query == nil {
		q.Array = list[0]
	}
	return q
}

// wordTail applies a tail that starts with a word: IS, LIKE, IN, BETWEEN.
func (b *builder) wordTail(left ast.Expr, ctx *gen.PredicateTailContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	not := ctx.NOT() != nil
	var values []ast.Expr
	for _, c := range ctx.GetChildren() {
		if v, ok := c.(*gen.ValueContext); ok {
			values = append(values, b.noStar(b.value(v)))
		}
	}
	switch {
	case ctx.BETWEEN() != nil:
		return &ast.Between{Pos: pos, Not: not, Symmetric: ctx.SYMMETRIC() != nil, Expr: left, Low: values[0], High: values[1]}
	case ctx.IN() != nil:
		query, list := b.queryIn(ctx)
		return &ast.In{Pos: pos, Not: not, Expr: left, List: list, Query: query}
	case ctx.DISTINCT() != nil:
		return &ast.Distinct{Pos: pos, Not: not, Left: left, Right: values[0]}
	case ctx.IS() != nil:
		is := &ast.Is{Pos: pos, Not: not, Expr: left}
		switch {
		case ctx.TRUE() != nil:
			is.Test = ast.IsTrue
		case ctx.FALSE() != nil:
			is.Test = ast.IsFalse
		case ctx.UNKNOWN() != nil:
			is.Test = ast.IsUnknown
		}
		return is
	}
	l := &ast.Like{Pos: pos, Not: not, CaseFold: ctx.ILIKE() != nil, Expr: left, Pattern: values[0]}
	if len(values) > 1 {
		l.Escape = values[1]
	}
	return l
}

var binaryOps = map[int]ast.BinaryOp{
	gen.FlowlakeSQLLexerPLUS: ast.OpAdd, gen.FlowlakeSQLLexerMINUS: ast.OpSub,
	gen.FlowlakeSQLLexerSTAR: ast.OpMul, gen.FlowlakeSQLLexerSLASH: ast.OpDiv,
	gen.FlowlakeSQLLexerPERCENT: ast.OpMod, gen.FlowlakeSQLLexerCARET: ast.OpPow,
	gen.FlowlakeSQLLexerCONCAT: ast.OpConcat,
	gen.FlowlakeSQLLexerTILDE:  ast.OpMatch, gen.FlowlakeSQLLexerEQ_TILDE: ast.OpMatch,
	gen.FlowlakeSQLLexerTILDE_STAR: ast.OpIMatch, gen.FlowlakeSQLLexerNOT_TILDE: ast.OpNotMatch,
	gen.FlowlakeSQLLexerNOT_TILDE_STAR: ast.OpNotIMatch,
	gen.FlowlakeSQLLexerAMP:            ast.OpBitAnd, gen.FlowlakeSQLLexerPIPE: ast.OpBitOr,
	gen.FlowlakeSQLLexerHASH:   ast.OpBitXor,
	gen.FlowlakeSQLLexerLSHIFT: ast.OpWithin, gen.FlowlakeSQLLexerLSHIFT_EQ: ast.OpWithinEq,
	gen.FlowlakeSQLLexerRSHIFT: ast.OpContains, gen.FlowlakeSQLLexerRSHIFT_EQ: ast.OpContainsEq,
	gen.FlowlakeSQLLexerGET: ast.OpGet, gen.FlowlakeSQLLexerGET_TEXT: ast.OpGetText,
}

// operator reads a binaryOp; OPERATOR(pg_catalog.~) is what psql writes for ~.
func (b *builder) operator(ctx *gen.BinaryOpContext) ast.BinaryOp {
	if op, ok := binaryOps[ctx.GetStart().GetTokenType()]; ok {
		return op
	}
	c := ctx.GetChild(ctx.GetChildCount() - 2)
	if t := terminal(c); t != nil {
		return binaryOps[t.GetTokenType()]
	}
	return compareOps[c.(*gen.CompareOpContext).GetStart().GetTokenType()]
}

// value applies precedence to a flat list of operands and operators, all
// left-associative, with two stacks.
func (b *builder) value(ctx antlr.Tree) ast.Expr {
	children := ctx.GetChildren()
	if len(children) == 1 {
		return b.term(children[0].(*gen.TermContext))
	}
	type pending struct {
		op   ast.BinaryOp
		pos  ast.Pos
		prec int
	}
	var opBuf [4]pending
	var operandBuf [5]ast.Expr
	ops, operands := opBuf[:0], operandBuf[:0]
	reduce := func(prec int) {
		for len(ops) > 0 && ops[len(ops)-1].prec >= prec {
			op := ops[len(ops)-1]
			n := len(operands)
			operands[n-2] = &ast.Binary{Pos: op.pos, Op: op.op, Left: operands[n-2], Right: operands[n-1]}
			ops, operands = ops[:len(ops)-1], operands[:n-1]
		}
	}
	for i, c := range children {
		if i%2 == 0 {
			operands = append(operands, b.noStar(b.term(c.(*gen.TermContext))))
			continue
		}
		opCtx := c.(*gen.BinaryOpContext)
		op := b.operator(opCtx)
		prec := op.Precedence()
		if opCtx.OPERATOR() != nil {
			prec = ast.OpConcat.Precedence() // as Postgres has it, whatever the sign
		}
		reduce(prec)
		ops = append(ops, pending{op, b.pos(opCtx.GetStart()), prec})
	}
	reduce(0)
	return operands[0]
}

func (b *builder) term(ctx *gen.TermContext) ast.Expr {
	children := ctx.GetChildren()
	first := 0 // the primary
	for tokenType(children[first]) != -2 {
		first++
	}
	signs := children[:first]
	prim := children[first].(*gen.PrimaryContext)
	post := children[first+1:]
	var e ast.Expr
	if typ := tokenType(prim.GetChild(0)); typ == gen.FlowlakeSQLLexerINTEGER || typ == gen.FlowlakeSQLLexerDECIMAL {
		neg := len(signs) > 0 && len(post) == 0 && tokenType(signs[len(signs)-1]) == gen.FlowlakeSQLLexerMINUS
		at := prim.GetStart()
		if neg {
			at, signs = terminal(signs[len(signs)-1]), signs[:len(signs)-1]
		}
		e = b.number(prim.GetStart(), neg, b.pos(at))
	} else {
		e = b.primary(prim)
	}
	for _, p := range post {
		e = b.postfix(b.noStar(e), p.(*gen.PostfixContext))
	}
	for i := len(signs) - 1; i >= 0; i-- {
		b.noStar(e)
		if t := terminal(signs[i]); t.GetTokenType() == gen.FlowlakeSQLLexerMINUS {
			e = &ast.Unary{Pos: b.pos(t), Op: ast.OpNeg, Expr: e}
		}
	}
	return e
}

// number reads a literal, with the sign in front of it.
func (b *builder) number(t antlr.Token, neg bool, pos ast.Pos) ast.Expr {
	text := strings.ToLower(strings.ReplaceAll(b.text(t), "_", ""))
	sign := ""
	if neg {
		sign = "-"
	}
	if t.GetTokenType() == gen.FlowlakeSQLLexerINTEGER {
		base := 10
		if rest, ok := strings.CutPrefix(text, "0x"); ok {
			text, base = rest, 16
		}
		if n, err := strconv.ParseInt(sign+text, base, 64); err == nil {
			return &ast.Integer{Pos: pos, Value: n}
		}
		if base == 16 {
			if n, ok := new(big.Int).SetString(text, 16); ok && len(text) <= 64 {
				return &ast.Decimal{Pos: pos, Text: sign + n.String()}
			}
			b.fail(t, "22003", "the number has more than 64 hexadecimal digits")
		}
		// Leading zeros would change nothing but the text.
		return &ast.Decimal{Pos: pos, Text: sign + strings.TrimLeft(text, "0")}
	}
	mant, exp, hasExp := strings.Cut(text, "e")
	whole, frac, hasDot := strings.Cut(mant, ".")
	if whole == "" {
		whole = "0"
	}
	if text = whole; hasDot {
		if frac == "" {
			frac = "0"
		}
		text += "." + frac
	}
	if hasExp {
		text += "e" + exp
	}
	return &ast.Decimal{Pos: pos, Text: sign + text}
}

func (b *builder) postfix(e ast.Expr, ctx *gen.PostfixContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	switch ctx.GetStart().GetTokenType() {
	case gen.FlowlakeSQLLexerLBRACKET:
		return &ast.Subscript{Pos: e.Position(), Base: e, Index: b.expr(ctx.Expr())}
	case gen.FlowlakeSQLLexerCAST_OP:
		return &ast.Cast{Pos: pos, Expr: e, Type: b.typeName(ctx.TypeName())}
	case gen.FlowlakeSQLLexerAT:
		return &ast.AtTimeZone{Pos: pos, Expr: e, Zone: b.noStar(b.primary(ctx.Primary().(*gen.PrimaryContext)))}
	}
	parts, _ := b.qualified(ctx.QualifiedName())
	return &ast.Collate{Pos: pos, Expr: e, Name: parts}
}

// primary builds everything that holds together by itself. One flat switch.
func (b *builder) primary(ctx *gen.PrimaryContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	t := terminal(ctx.GetChild(0))
	if t == nil {
		return b.named(ctx)
	}
	switch t.GetTokenType() {
	case gen.FlowlakeSQLLexerINTEGER, gen.FlowlakeSQLLexerDECIMAL:
		return b.number(t, false, pos)
	case gen.FlowlakeSQLLexerSTRING, gen.FlowlakeSQLLexerESCAPE_STRING:
		return b.str(t)
	case gen.FlowlakeSQLLexerTRUE, gen.FlowlakeSQLLexerFALSE:
		return &ast.Bool{Pos: pos, Value: t.GetTokenType() == gen.FlowlakeSQLLexerTRUE}
	case gen.FlowlakeSQLLexerNULL:
		return &ast.Null{Pos: pos}
	case gen.FlowlakeSQLLexerPARAM:
		n, err := strconv.Atoi(b.text(t)[1:])
		if err != nil || n < 1 || n > 65535 {
			b.fail(t, "42P02", "parameters are numbered from $1 to $65535")
		}
		return &ast.Param{Pos: pos, Index: n}
	case gen.FlowlakeSQLLexerTIMESTAMP, gen.FlowlakeSQLLexerTIME:
		name := strings.ToLower(b.text(t))
		if ctx.WITH() != nil {
			name += " with time zone"
		}
		return &ast.Cast{Pos: pos, Expr: b.str(ctx.STRING().GetSymbol()), Type: &ast.TypeName{Pos: pos, Name: name}}
	case gen.FlowlakeSQLLexerLEFT, gen.FlowlakeSQLLexerRIGHT:
		return b.call(pos, []string{strings.ToLower(b.text(t))}, ctx.CallArgs(), ctx.CallTail())
	case gen.FlowlakeSQLLexerLPAREN:
		return b.paren(ctx, pos)
	case gen.FlowlakeSQLLexerROW:
		return &ast.Row{Pos: pos, Elems: b.exprs(ctx)}
	case gen.FlowlakeSQLLexerARRAY:
		return &ast.Array{Pos: pos, Elems: b.exprs(ctx)}
	case gen.FlowlakeSQLLexerEXISTS:
		return &ast.Exists{Pos: pos, Query: b.query(ctx.Query())}
	case gen.FlowlakeSQLLexerCASE:
		return b.caseExpr(ctx, pos)
	case gen.FlowlakeSQLLexerEXTRACT:
		x := &ast.Extract{Pos: pos, Expr: b.expr(ctx.Expr(0))}
		if id := ctx.Identifier(); id != nil {
			x.Field = b.name(id)
		} else {
			x.Field = fold(b.str(ctx.STRING().GetSymbol()).Value)
		}
		return x
	}
	return &ast.Cast{Pos: pos, Try: t.GetTokenType() == gen.FlowlakeSQLLexerTRY_CAST,
		Expr: b.expr(ctx.Expr(0)), Type: b.typeName(ctx.TypeName())}
}

// paren is a subquery, a row, or just parentheses.
func (b *builder) paren(ctx *gen.PrimaryContext, pos ast.Pos) ast.Expr {
	if sub := ctx.Subquery(); sub != nil {
		return &ast.Subquery{Pos: pos, Query: b.query(sub)}
	}
	list := b.exprs(ctx)
	tail := ctx.QueryTail()
	if len(list) == 1 {
		if s, ok := list[0].(*ast.Subquery); ok {
			return &ast.Subquery{Pos: pos, Query: b.withTail(s, tail)}
		}
	}
	b.noTail(tail)
	if len(list) == 1 {
		return list[0]
	}
	return &ast.Row{Pos: pos, Elems: list}
}

func (b *builder) caseExpr(ctx *gen.PrimaryContext, pos ast.Pos) ast.Expr {
	c := &ast.Case{Pos: pos}
	if e := ctx.GetOperand(); e != nil {
		c.Operand = b.expr(e)
	}
	for _, w := range ctx.AllWhen() {
		c.Whens = append(c.Whens, &ast.When{Pos: b.pos(w.GetStart()), Cond: b.expr(w.Expr(0)), Result: b.expr(w.Expr(1))})
	}
	if e := ctx.GetOtherwise(); e != nil {
		c.Else = b.expr(e)
	}
	return c
}

// parenless are the functions that SQL writes without parentheses.
var parenless = map[string]bool{
	"current_catalog": true, "current_date": true, "current_role": true, "current_schema": true,
	"current_time": true, "current_timestamp": true, "current_user": true, "localtime": true,
	"localtimestamp": true, "session_user": true,
}

// named builds what starts with a name: a column, t.*, a typed literal, a call.
func (b *builder) named(ctx *gen.PrimaryContext) ast.Expr {
	name := ctx.QualifiedName()
	pos := b.pos(ctx.GetStart())
	parts, quoted := b.qualified(name)
	switch {
	case ctx.CallArgs() != nil:
		return b.call(pos, parts, ctx.CallArgs(), ctx.CallTail())
	case ctx.STAR() != nil:
		return &ast.Star{Pos: pos, Qualifier: parts}
	case ctx.STRING() != nil:
		return b.typedLiteral(ctx, pos, parts)
	case len(parts) == 1 && !quoted && parenless[parts[0]]:
		return &ast.FuncCall{Pos: pos, Name: parts}
	}
	return &ast.Ident{Pos: pos, Parts: parts, Quoted: quoted}
}

// typedLiteral is inet '10.0.0.1', TIMESTAMP '...' or INTERVAL '5' MINUTE.
func (b *builder) typedLiteral(ctx *gen.PrimaryContext, pos ast.Pos, parts []string) ast.Expr {
	lit := b.str(ctx.STRING().GetSymbol())
	unit := ctx.IntervalUnit()
	if len(parts) == 1 && parts[0] == "interval" {
		text := lit.Value
		if unit != nil {
			text += " " + strings.ToLower(b.text(unit.GetStart()))
		}
		return b.interval(ctx.STRING().GetSymbol(), pos, text)
	}
	if unit != nil {
		b.fail(unit.GetStart(), "42601", "unexpected %q", b.text(unit.GetStart())).Hint = "a unit follows only an INTERVAL"
	}
	ty := &ast.TypeName{Pos: pos, Name: parts[len(parts)-1]}
	if len(parts) == 2 {
		ty.Schema = parts[0]
	} else if len(parts) > 2 {
		b.fail(ctx.GetStart(), "42704", "a type name has at most two parts")
	}
	return &ast.Cast{Pos: pos, Expr: lit, Type: ty}
}

// interval reads the text of an interval; t is where an error shows.
func (b *builder) interval(t antlr.Token, pos ast.Pos, text string) *ast.Interval {
	months, days, nanos, err := ast.ParseInterval(text)
	if err != nil {
		b.fail(t, "22007", "%s", intervalMessage(text, err)).Hint = "write, for example, INTERVAL '5 minutes' or INTERVAL '1h30m'"
	}
	return &ast.Interval{Pos: pos, Months: months, Days: days, Nanos: nanos}
}

func intervalMessage(text string, err error) string {
	return strconv.Quote(text) + " is " + strings.Replace(err.Error(), "interval: ", "interval, ", 1)
}

// str decodes a text literal.
func (b *builder) str(t antlr.Token) *ast.String {
	s := &ast.String{Pos: b.pos(t)}
	text := b.text(t)
	if t.GetTokenType() == gen.FlowlakeSQLLexerSTRING {
		s.Value = unquote(text, '\'')
	} else {
		s.Value = b.unescape(t, text[2:len(text)-1])
	}
	if strings.IndexByte(s.Value, 0) >= 0 {
		b.fail(t, "22021", "a text cannot hold the character 0")
	}
	return s
}

func (b *builder) call(pos ast.Pos, name []string, args gen.ICallArgsContext, tail gen.ICallTailContext) *ast.FuncCall {
	c := &ast.FuncCall{Pos: pos, Name: name, Star: args.STAR() != nil, Distinct: args.DISTINCT() != nil}
	for _, a := range args.AllArg() {
		e := b.exprOrStar(a.Expr())
		if id := a.Identifier(); id != nil {
			e = &ast.NamedArg{Pos: b.pos(a.GetStart()), Name: b.name(id), Value: b.noStar(e)}
		} else if n := len(c.Args); n > 0 {
			if _, named := c.Args[n-1].(*ast.NamedArg); named {
				b.fail(a.GetStart(), "42601", "an argument without a name follows one with a name").Hint = "put those with => last"
			}
		}
		c.Args = append(c.Args, e)
	}
	if args.FROM() != nil { // substring(x FROM start FOR length)
		if c.FuncName() != "substring" || len(c.Args) != 1 {
			b.fail(args.FROM().GetSymbol(), "42601", "unexpected FROM in the arguments of %s", c.FuncName())
		}
		for _, e := range args.AllExpr() {
			c.Args = append(c.Args, b.expr(e))
		}
	}
	if args.OrderBy() != nil {
		c.OrderBy = b.orderBy(args.OrderBy())
	}
	if tail == nil {
		return c
	}
	if tail.WITHIN() != nil {
		c.WithinGroup = b.orderBy(tail.OrderBy())
	}
	if tail.FILTER() != nil {
		c.Filter = b.expr(tail.Expr())
	}
	if tail.OVER() != nil {
		c.Over = b.window(tail.WindowSpec().(*gen.WindowSpecContext))
	}
	return c
}

func (b *builder) window(ctx *gen.WindowSpecContext) *ast.Window {
	w := &ast.Window{Pos: b.pos(ctx.GetStart()), PartitionBy: b.exprs(ctx)}
	if ctx.OrderBy() != nil {
		w.OrderBy = b.orderBy(ctx.OrderBy())
	}
	bounds := ctx.AllFrameBound()
	if len(bounds) == 0 {
		return w
	}
	f := &ast.Frame{Pos: b.pos(bounds[0].GetStart()), Start: b.bound(bounds[0].(*gen.FrameBoundContext)),
		End: ast.FrameBound{Kind: ast.CurrentRow}}
	switch {
	case ctx.RANGE() != nil:
		f.Unit = ast.FrameRange
	case ctx.GROUPS() != nil:
		f.Unit = ast.FrameGroups
	}
	if len(bounds) == 2 {
		f.End = b.bound(bounds[1].(*gen.FrameBoundContext))
	}
	if f.Start.Kind > f.End.Kind || f.Start.Kind == ast.UnboundedFollowing || f.End.Kind == ast.UnboundedPreceding {
		b.fail(bounds[0].GetStart(), "42P20", "the window frame ends before it starts")
	}
	w.Frame = f
	return w
}

func (b *builder) bound(ctx *gen.FrameBoundContext) ast.FrameBound {
	if ctx.CURRENT() != nil {
		return ast.FrameBound{Kind: ast.CurrentRow}
	}
	preceding := ctx.PRECEDING() != nil
	if ctx.Value() == nil {
		if preceding {
			return ast.FrameBound{Kind: ast.UnboundedPreceding}
		}
		return ast.FrameBound{Kind: ast.UnboundedFollowing}
	}
	kind := ast.Following
	if preceding {
		kind = ast.Preceding
	}
	return ast.FrameBound{Kind: kind, Offset: b.noStar(b.value(ctx.Value()))}
}

func (b *builder) typeName(ctx gen.ITypeNameContext) *ast.TypeName {
	base := ctx.BaseType()
	t := &ast.TypeName{Pos: b.pos(ctx.GetStart()), Dims: len(ctx.AllLBRACKET())}
	switch {
	case base.ZONE() != nil:
		t.Name = strings.ToLower(b.text(base.GetStart()))
		if base.WITH() != nil {
			t.Name += " with time zone"
		}
	case base.DOUBLE() != nil:
		t.Name = "double precision"
	case base.CHARACTER() != nil:
		t.Name = "character varying"
	default:
		parts, _ := b.qualified(base.QualifiedName())
		t.Name = parts[len(parts)-1]
		if len(parts) == 2 {
			t.Schema = parts[0]
		} else if len(parts) > 2 {
			b.fail(ctx.GetStart(), "42704", "a type name has at most two parts")
		}
	}
	mod := func(n antlr.TerminalNode) {
		v, err := strconv.ParseInt(b.text(n.GetSymbol()), 0, 32)
		if err != nil {
			b.fail(n.GetSymbol(), "22023", "the number of a type is too large")
		}
		t.Mods = append(t.Mods, v)
	}
	if n := base.INTEGER(); n != nil {
		mod(n)
	}
	for _, a := range base.AllTypeArg() {
		if n := a.INTEGER(); n != nil {
			mod(n)
		} else {
			t.Params = append(t.Params, b.typeName(a.TypeName()))
		}
	}
	if len(t.Mods) > 0 && len(t.Params) > 0 {
		b.fail(ctx.GetStart(), "42601", "a type takes numbers or types, not both")
	}
	return t
}

package parse

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

// maxRepairBytes bounds the texts whose errors are looked into by trying
// repairs, and maxRepairs how many are tried.
const (
	maxRepairBytes = 16 << 10
	maxRepairs     = 24
)

// keywords are all keywords in upper case, by token type and as a list. They
// are read from the lexer, which is not set up before the first parse.
var keywords = sync.OnceValues(func() (map[int]string, []string) {
	gen.FlowlakeSQLLexerInit()
	byType := map[int]string{gen.FlowlakeSQLLexerANALYZE: "ANALYZE"}
	for typ, lit := range gen.FlowlakeSQLLexerLexerStaticData.LiteralNames {
		if len(lit) > 2 && lit[1] >= 'A' && lit[1] <= 'Z' {
			byType[typ] = lit[1 : len(lit)-1]
		}
	}
	return byType, slices.Sorted(maps.Values(byType))
})

// reservedWord reports a keyword that is not a name.
func reservedWord(typ int) bool {
	byType, _ := keywords()
	w, ok := byType[typ]
	return ok && ast.IsReserved(strings.ToLower(w))
}

// diagnosis looks for what was meant at a syntax error.
type diagnosis struct {
	*builder
	toks []antlr.Token // all, the last is the end of the text
	at   int           // index of the offending one
	rule func(*parser) antlr.ParserRuleContext
	left int // repairs that may still be tried
}

// explain makes the error of an offending token.
func explain(b *builder, toks []antlr.Token, bad antlr.Token, rule func(*parser) antlr.ParserRuleContext) *Error {
	d := &diagnosis{builder: b, toks: toks, at: bad.GetTokenIndex(), rule: rule}
	if len(b.sql) <= maxRepairBytes {
		d.left = maxRepairs
	}
	for _, f := range []func() *Error{d.lexical, d.statementWord, d.misspelt, d.commas, d.wrongQuotes,
		d.openQuote, d.brackets, d.definition, d.clauses, d.keywordAsName, d.missingComma} {
		if e := f(); e != nil {
			return e
		}
	}
	return d.unexpected(d.at, "")
}

func (d *diagnosis) typ(i int) int {
	if i < 0 || i >= len(d.toks) {
		return antlr.TokenEOF
	}
	return d.toks[i].GetTokenType()
}

// unexpected is the plain error at token i.
func (d *diagnosis) unexpected(i int, hint string, args ...any) *Error {
	t := d.toks[i]
	var e *Error
	if t.GetTokenType() == antlr.TokenEOF {
		e = d.errorAt(t, "42601", "unexpected end of the statement")
		e.Line, e.Column, e.Offset = 0, 0, 0
		e.at(d.sql, len(strings.TrimRight(d.sql, " \t\r\n")))
	} else {
		e = d.errorAt(t, "42601", "unexpected %s", show(d.text(t)))
	}
	if hint != "" {
		e.Hint = fmt.Sprintf(hint, args...)
	}
	return e
}

// show quotes a token for a message, cut when long.
func show(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "..."
	}
	s = strings.Join(strings.Fields(s), " ")
	if strings.HasPrefix(s, `"`) {
		return s
	}
	return `"` + s + `"`
}

// repaired reports whether the text with its bytes from start to end replaced
// parses, or at least goes wrong only `further` tokens or more past token at.
func (d *diagnosis) repaired(start, end int, repl string, further int) bool {
	if d.left == 0 {
		return false
	}
	d.left--
	p := parsers.Get().(*parser)
	defer p.release()
	p.load(d.sql[:start] + repl + d.sql[end:])
	_, bad := p.parse(d.rule)
	return bad == nil || bad.GetTokenIndex() >= d.at+further && bad.GetTokenType() != antlr.TokenEOF
}

func (d *diagnosis) span(i int) (start, end int) {
	return d.offset(d.toks[i].GetStart()), d.offset(d.toks[i].GetStop() + 1)
}

// lexical explains the tokens that are never right.
func (d *diagnosis) lexical() *Error {
	t := d.toks[d.at]
	text := d.text(t)
	switch t.GetTokenType() {
	case gen.FlowlakeSQLLexerOPEN_STRING, gen.FlowlakeSQLLexerOPEN_ESCAPE_STRING:
		return d.errorAt(t, "42601", "the text that starts here is not closed with a single quote")
	case gen.FlowlakeSQLLexerOPEN_IDENT:
		return d.errorAt(t, "42601", "the name that starts here is not closed with a double quote")
	case gen.FlowlakeSQLLexerOPEN_COMMENT:
		return d.errorAt(t, "42601", "the comment that starts here is not closed with */")
	case gen.FlowlakeSQLLexerBAD_NUMBER:
		e := d.errorAt(t, "42601", "%s is not a number", show(text))
		if _, _, _, err := ast.ParseInterval(text); err == nil {
			e.Hint = "write INTERVAL '" + text + "'"
		} else {
			e.Hint = "a name cannot start with a digit, unless in double quotes"
		}
		return e
	case gen.FlowlakeSQLLexerEQ_EQ:
		return d.unexpected(d.at, "equality is written =")
	case gen.FlowlakeSQLLexerAND_AND:
		return d.unexpected(d.at, "write AND")
	case gen.FlowlakeSQLLexerQUESTION:
		return d.unexpected(d.at, "parameters are written $1, $2")
	case gen.FlowlakeSQLLexerCONCAT:
		return d.unexpected(d.at, "|| joins texts; for a condition write OR")
	case gen.FlowlakeSQLLexerOTHER:
		switch text {
		case "`":
			return d.unexpected(d.at, "names are written in double quotes")
		case "‘", "’", "“", "”", "´":
			return d.unexpected(d.at, "a typographic quote; texts are written in straight single quotes")
		case "!":
			return d.unexpected(d.at, "write NOT, or != for unequal")
		case "{", "}", "@", ":", "\\":
			return d.unexpected(d.at, "")
		}
		if []rune(text)[0] < ' ' {
			return d.errorAt(t, "42601", "unexpected character 0x%02x", text)
		}
	}
	return nil
}

var statementWords = []string{"SELECT", "WITH", "VALUES", "TABLE", "SHOW", "DESCRIBE", "EXPLAIN", "SET", "RESET",
	"CHECKPOINT", "BEGIN", "COMMIT", "ROLLBACK", "CREATE", "DROP", "ALTER"}

// statementWord explains a first word that starts no statement.
func (d *diagnosis) statementWord() *Error {
	if d.at > 0 && d.typ(d.at-1) != gen.FlowlakeSQLLexerSEMICOLON || d.typ(d.at) == antlr.TokenEOF {
		return nil
	}
	text := d.text(d.toks[d.at])
	if d.at == 0 && d.rule != nil && d.isExpression() {
		return nil
	}
	if s := Suggest(text, statementWords); s != "" && !strings.EqualFold(s, text) {
		return d.unexpected(d.at, "did you mean %s?", s)
	}
	switch strings.ToUpper(text) {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE":
		e := d.unexpected(d.at, "rows come in by collectors and the ingest doors; SQL reads them")
		e.Msg, e.SQLState = strings.ToUpper(text)+" is not supported", "0A000"
		return e
	}
	return d.unexpected(d.at, "a statement starts with SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN, SET, CREATE ROLLUP, DROP ROLLUP, ALTER TABLE or CHECKPOINT")
}

// isExpression reports that an expression alone is being parsed.
func (d *diagnosis) isExpression() bool {
	p := parsers.Get().(*parser)
	defer p.release()
	p.load("1")
	_, bad := p.parse(d.rule)
	return bad == nil
}

// misspelt looks for a name that should be a keyword, at the error or up to
// two tokens before it, where it was taken for a name or an alias.
func (d *diagnosis) misspelt() *Error {
	for _, i := range []int{d.at, d.at - 1, d.at - 2} {
		if d.typ(i) != gen.FlowlakeSQLLexerIDENT {
			continue
		}
		word := d.text(d.toks[i])
		start, end := d.span(i)
		for _, s := range near(word) {
			if d.repaired(start, end, s, 1) {
				return d.unexpected(i, "did you mean %s?", s)
			}
		}
	}
	return nil
}

// near returns the keywords close to word, the clause words first.
func near(word string) []string {
	clause := []string{"SELECT", "FROM", "WHERE", "GROUP", "ORDER", "BY", "HAVING", "LIMIT", "OFFSET", "JOIN", "UNION",
		"AND", "OR", "NOT", "IN", "LIKE", "BETWEEN", "DISTINCT", "AS", "ON", "DESC", "ASC", "NULL", "COLUMNS", "TABLES"}
	_, all := keywords()
	var out []string
	for _, list := range [][]string{clause, all} {
		if s := Suggest(word, list); s != "" && (len(out) == 0 || out[0] != s) {
			out = append(out, s)
		}
	}
	return out
}

// commas explains a comma too many before the error.
func (d *diagnosis) commas() *Error {
	for _, i := range []int{d.at - 1, d.at} {
		if d.typ(i) != gen.FlowlakeSQLLexerCOMMA {
			continue
		}
		if i == d.at && d.typ(i-2) == gen.FlowlakeSQLLexerLIMIT {
			return d.unexpected(i, "write LIMIT count OFFSET start")
		}
		if h := d.callHint(i); i == d.at && h != "" {
			return d.unexpected(i, "%s", h)
		}
		start, end := d.span(i)
		if !d.repaired(start, end, " ", i-d.at+1) {
			continue
		}
		e := d.unexpected(i, "remove the comma")
		if next := d.toks[min(i+1, len(d.toks)-1)]; next.GetTokenType() != antlr.TokenEOF {
			e.Hint = "remove the comma before " + show(d.text(next))
		}
		return e
	}
	return nil
}

// callHint is the hint for a comma where CAST or EXTRACT has a word.
func (d *diagnosis) callHint(comma int) string {
	depth := 0
	for i := comma - 1; i > 0; i-- {
		switch d.typ(i) {
		case gen.FlowlakeSQLLexerRPAREN:
			depth++
		case gen.FlowlakeSQLLexerLPAREN:
			if depth--; depth >= 0 {
				continue
			}
			switch d.typ(i - 1) {
			case gen.FlowlakeSQLLexerCAST, gen.FlowlakeSQLLexerTRY_CAST:
				return "write CAST(value AS type)"
			case gen.FlowlakeSQLLexerEXTRACT:
				return "write EXTRACT(field FROM value)"
			}
			return ""
		}
	}
	return ""
}

// missingComma explains two list items with nothing between them.
func (d *diagnosis) missingComma() *Error {
	if d.at == 0 {
		return nil
	}
	start, _ := d.span(d.at)
	if d.startsOperand(d.at) && d.repaired(start, start, ", ", 2) {
		return d.unexpected(d.at, "a comma may be missing before it")
	}
	return nil
}

// wrongQuotes explains a text in double quotes.
func (d *diagnosis) wrongQuotes() *Error {
	if d.typ(d.at) != gen.FlowlakeSQLLexerQUOTED_IDENT {
		return nil
	}
	start, end := d.span(d.at)
	lit := ast.QuoteString(unquote(d.text(d.toks[d.at]), '"'))
	if d.repaired(start, end, lit, 1) {
		return d.unexpected(d.at, "%s", QuotedHint(unquote(d.text(d.toks[d.at]), '"')))
	}
	return nil
}

// QuotedHint is the hint for a name in double quotes that no column has: text
// is meant, most likely. See ast.Ident.Quoted.
func QuotedHint(name string) string {
	return "double quotes are for names; a text is written " + ast.QuoteString(name)
}

// openQuote explains an error before a quote that is not closed: most likely
// it is an earlier one that is missing.
func (d *diagnosis) openQuote() *Error {
	for _, t := range d.toks[d.at:] {
		switch t.GetTokenType() {
		case gen.FlowlakeSQLLexerOPEN_STRING, gen.FlowlakeSQLLexerOPEN_ESCAPE_STRING, gen.FlowlakeSQLLexerOPEN_IDENT:
			return d.unexpected(d.at, "the quotes do not pair; one before it may be missing")
		}
	}
	return nil
}

// brackets explains ( without ) and ) without (.
func (d *diagnosis) brackets() *Error {
	var open []int
	for i := range d.toks[:d.at] {
		switch d.typ(i) {
		case gen.FlowlakeSQLLexerLPAREN, gen.FlowlakeSQLLexerLBRACKET:
			open = append(open, i)
		case gen.FlowlakeSQLLexerRPAREN, gen.FlowlakeSQLLexerRBRACKET:
			open = open[:max(len(open)-1, 0)]
		}
	}
	typ := d.typ(d.at)
	closing := typ == gen.FlowlakeSQLLexerRPAREN || typ == gen.FlowlakeSQLLexerRBRACKET
	if len(open) == 0 {
		if closing {
			return d.unexpected(d.at, "nothing was opened that it could close")
		}
		return nil
	}
	if typ != antlr.TokenEOF && typ != gen.FlowlakeSQLLexerSEMICOLON && !reservedWord(typ) && !closing {
		return nil
	}
	from := d.toks[open[len(open)-1]]
	sign := ")"
	if from.GetTokenType() == gen.FlowlakeSQLLexerLBRACKET {
		sign = "]"
	}
	start, _ := d.span(d.at)
	if typ == antlr.TokenEOF {
		start = len(d.sql)
	}
	if !d.repaired(start, start, sign+" ", 2) && typ != antlr.TokenEOF {
		return nil
	}
	p := d.pos(from)
	return d.unexpected(d.at, "the %s at line %d, column %d is not closed", d.text(from), p.Line, p.Column)
}

// definition explains an error in CREATE, DROP and ALTER by the form of the statement.
func (d *diagnosis) definition() *Error {
	first := d.at
	for first > 0 && d.typ(first-1) != gen.FlowlakeSQLLexerSEMICOLON {
		first--
	}
	forms := map[int]string{
		gen.FlowlakeSQLLexerCREATE: "CREATE ROLLUP name ON table EVERY 5 minutes GROUP BY column, ... [KEEP 90 days]",
		gen.FlowlakeSQLLexerDROP:   "DROP ROLLUP [IF EXISTS] name",
		gen.FlowlakeSQLLexerALTER:  "ALTER TABLE name SET RETENTION 30 days, or FOREVER",
	}
	form, ok := forms[d.typ(first)]
	if !ok || d.at == first {
		return nil
	}
	return d.unexpected(d.at, "the statement is %s", form)
}

// clauses explains clauses out of order.
func (d *diagnosis) clauses() *Error {
	const order = "the order is SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, OFFSET"
	rank := map[int]int{gen.FlowlakeSQLLexerFROM: 1, gen.FlowlakeSQLLexerWHERE: 2, gen.FlowlakeSQLLexerGROUP: 3,
		gen.FlowlakeSQLLexerHAVING: 4, gen.FlowlakeSQLLexerORDER: 5, gen.FlowlakeSQLLexerLIMIT: 6, gen.FlowlakeSQLLexerOFFSET: 6}
	if d.typ(d.at) == gen.FlowlakeSQLLexerON && d.typ(d.at-1) == gen.FlowlakeSQLLexerDISTINCT {
		e := d.unexpected(d.at, "use an aggregate, or row_number() OVER (PARTITION BY ...) in a subquery")
		e.Msg, e.SQLState = "DISTINCT ON is not supported", "0A000"
		return e
	}
	if d.typ(d.at-2) == gen.FlowlakeSQLLexerAS && reservedWord(d.typ(d.at-1)) {
		return d.unexpected(d.at, "a name is missing behind AS, so %s was taken for it", d.text(d.toks[d.at-1]))
	}
	r, ok := rank[d.typ(d.at)]
	if !ok {
		return nil
	}
	if prev := d.typ(d.at - 1); r == 1 && prev == gen.FlowlakeSQLLexerSELECT {
		return d.unexpected(d.at, "SELECT needs columns, or * for all")
	}
	depth := 0
	for i := d.at - 1; i >= 0 && d.typ(i) != gen.FlowlakeSQLLexerSEMICOLON && depth >= 0; i-- {
		switch d.typ(i) {
		case gen.FlowlakeSQLLexerRPAREN:
			depth++
		case gen.FlowlakeSQLLexerLPAREN:
			depth--
		}
		before, ok := rank[d.typ(i)]
		if !ok || depth != 0 {
			continue
		}
		switch {
		case before == r && r == 2:
			return d.unexpected(d.at, "there is a WHERE already; join conditions with AND")
		case before == r && r < 6:
			return d.unexpected(d.at, "there is one already, at line %d, column %d", d.pos(d.toks[i]).Line, d.pos(d.toks[i]).Column)
		case before > r:
			return d.unexpected(d.at, "%s", order)
		}
		return nil
	}
	return nil
}

// keywordAsName explains a reserved word where a name stands: what is before it
// asks for one, and with quotes around it the text goes on.
func (d *diagnosis) keywordAsName() *Error {
	for _, i := range []int{d.at, d.at - 1} {
		switch typ := d.typ(i); {
		case !reservedWord(typ), d.typ(d.at) == antlr.TokenEOF, d.endsOperand(i - 1):
			continue
		case typ == gen.FlowlakeSQLLexerSELECT, typ == gen.FlowlakeSQLLexerDISTINCT:
			continue
		}
		start, end := d.span(i)
		quoted := strconv.Quote(strings.ToLower(d.text(d.toks[i])))
		if d.repaired(start, end, quoted, 1) {
			return d.unexpected(i, "it is a keyword; as a name write %s, in double quotes", quoted)
		}
	}
	return nil
}

// endsOperand reports that token i may end an operand, so that no name follows.
func (d *diagnosis) endsOperand(i int) bool {
	switch d.typ(i) {
	case gen.FlowlakeSQLLexerRPAREN, gen.FlowlakeSQLLexerRBRACKET:
		return true
	}
	return d.startsOperand(i) && d.typ(i) != gen.FlowlakeSQLLexerLPAREN
}

// startsOperand reports a literal, a plain name or a parenthesis.
func (d *diagnosis) startsOperand(i int) bool {
	switch d.typ(i) {
	case gen.FlowlakeSQLLexerIDENT, gen.FlowlakeSQLLexerQUOTED_IDENT, gen.FlowlakeSQLLexerINTEGER,
		gen.FlowlakeSQLLexerDECIMAL, gen.FlowlakeSQLLexerSTRING, gen.FlowlakeSQLLexerESCAPE_STRING,
		gen.FlowlakeSQLLexerPARAM, gen.FlowlakeSQLLexerLPAREN, gen.FlowlakeSQLLexerCASE, gen.FlowlakeSQLLexerNULL:
		return true
	}
	return false
}

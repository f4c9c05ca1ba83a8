package parse

import (
	"fmt"
	"sync"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

// Options are the limits of one parse. Zero means the default.
type Options struct {
	MaxBytes   int // of the text; default 1 MiB
	MaxTokens  int // words, literals and signs; default 100,000; a parse allocates about 1 KB for each
	MaxNesting int // parentheses, brackets and CASE within each other; default 200
	MaxDepth   int // of the tree, where each operator of a chain such as 1+1+1 is a level (AND and OR chains are one); default 2,000
}

func (o *Options) ensureDefaults() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.MaxBytes, 1<<20)
	def(&o.MaxTokens, 100_000)
	def(&o.MaxNesting, 200)
	def(&o.MaxDepth, 2000)
}

// Parse reads statements separated by semicolons; there may be none. The error
// is an *Error.
func Parse(sql string, opts ...func(*Options)) ([]ast.Statement, error) {
	var out []ast.Statement
	err := run(sql, opts, func(p *parser) antlr.ParserRuleContext { return p.gram.Script() },
		func(b *builder, tree antlr.ParserRuleContext) []ast.Node {
			out = b.script(tree.(*gen.ScriptContext))
			nodes := make([]ast.Node, len(out))
			for i, s := range out {
				nodes[i] = s
			}
			return nodes
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ParseOne reads exactly one statement; a semicolon may follow.
func ParseOne(sql string, opts ...func(*Options)) (ast.Statement, error) {
	stmts, err := Parse(sql, opts...)
	if err != nil {
		return nil, err
	}
	switch len(stmts) {
	case 1:
		return stmts[0], nil
	case 0:
		e := &Error{Msg: "there is no statement", SQLState: "42601"}
		return nil, e.at(sql, len(sql))
	}
	p := stmts[1].Position()
	return nil, &Error{Line: p.Line, Column: p.Column, Offset: p.Offset, SQLState: "42601",
		Msg: "there are several statements where one is expected"}
}

// ParseExpr reads one expression, such as the filter of `flowlake observe --where`.
func ParseExpr(sql string, opts ...func(*Options)) (ast.Expr, error) {
	var out ast.Expr
	err := run(sql, opts, func(p *parser) antlr.ParserRuleContext { return p.gram.Expression() },
		func(b *builder, tree antlr.ParserRuleContext) []ast.Node {
			out = b.expr(tree.(*gen.ExpressionContext).Expr())
			return []ast.Node{out}
		})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Warm parses a few typical statements, so that the first real one does not pay
// for filling the prediction tables (some tens of milliseconds). Call it at
// start, in a goroutine if need be; once is enough for the process.
func Warm() {
	for _, sql := range warmSQL {
		_, _ = Parse(sql) // they parse, by test
	}
}

var warmSQL = []string{
	`SELECT time_bucket(INTERVAL '1 minute', time) AS t, client.pod, sum(bytes_tx) / 60.0, avg(rtt_us) FILTER (WHERE rtt_us > 0), percentile_cont(0.99) WITHIN GROUP (ORDER BY rrt_us)
	 FROM network AS n WHERE time >= now() - INTERVAL '1 hour' AND server.label['app'] IN ('web', 'db') AND client_ip << inet '10.0.0.0/8' AND NOT (status <> 'ok' OR code BETWEEN 400 AND 599)
	 GROUP BY 1, 2 HAVING count(*) > 10 ORDER BY t DESC NULLS LAST, 2 LIMIT 100 OFFSET 10`,
	`WITH a AS (SELECT * FROM spans WHERE trace_id = $1), b (x, y) AS (VALUES (1, 'a'), (2, NULL))
	 SELECT a.*, row_number() OVER (PARTITION BY service_name ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM a LEFT JOIN b ON a.id = b.x CROSS JOIN (SELECT 1) AS c (z)
	 WHERE EXISTS (SELECT 1 FROM logs l WHERE l.trace_id = a.trace_id) AND endpoint LIKE '/api/%' AND name !~* '^x' UNION ALL SELECT DISTINCT 1, 2`,
	`SELECT CASE WHEN status IS NULL THEN 'none' WHEN status = 'ok' THEN 'good' ELSE lower(status) END, duration_us::double precision / 1e3, CAST(x AS text), -y % 7 || 'a' FROM spans s WHERE time > TIMESTAMP '2026-01-01 00:00:00' AND s.attributes['http.route'] IS NOT NULL`,
	`SHOW TABLES; SHOW COLUMNS FROM flows; SHOW TAG KEYS FROM flows; SHOW TAG VALUES FROM flows KEY client.pod LIKE 'a%' LIMIT 10; DESCRIBE flows`,
	`EXPLAIN ANALYZE SELECT 1; SET timezone = 'UTC'; BEGIN; COMMIT; SELECT extract(epoch FROM time), (SELECT max(x) FROM t), ARRAY[1, 2][1], count(DISTINCT a) FROM t`,
}

// parser is one set of the ANTLR objects; only one goroutine uses it at a time.
type parser struct {
	lex    *gen.FlowlakeSQLLexer
	stream *tokens
	gram   *gen.FlowlakeSQLParser
	errs   *strategy
}

func newParser() *parser {
	p := &parser{errs: &strategy{DefaultErrorStrategy: antlr.NewDefaultErrorStrategy()}}
	p.lex = gen.NewFlowlakeSQLLexer(antlr.NewInputStream(""))
	p.lex.RemoveErrorListeners()
	p.stream = &tokens{CommonTokenStream: antlr.NewCommonTokenStream(p.lex, antlr.TokenDefaultChannel)}
	p.gram = gen.NewFlowlakeSQLParser(p.stream)
	p.gram.RemoveErrorListeners()
	p.gram.SetErrorHandler(p.errs)
	return p
}

var parsers = sync.Pool{New: func() any { return newParser() }}

// maxPooledTokens keeps the buffers of a rare large text out of the pool.
const maxPooledTokens = 4096

// load lexes sql; the tokens then are in p.stream.
func (p *parser) load(sql string) {
	p.lex.SetInputStream(antlr.NewInputStream(sql))
	p.stream.SetTokenSource(p.lex)
	p.stream.Fill()
}

// parse runs one rule over the loaded tokens, in SLL mode and, if that finds an
// error, in LL mode. It returns nil and the offending token when both do.
func (p *parser) parse(rule func(*parser) antlr.ParserRuleContext) (antlr.ParserRuleContext, antlr.Token) {
	for _, mode := range [...]int{antlr.PredictionModeSLL, antlr.PredictionModeLL} {
		p.gram.GetInterpreter().SetPredictionMode(mode)
		p.stream.Seek(0)
		p.stream.far = 0
		p.gram.SetTokenStream(p.stream)
		p.errs.first = nil
		tree := rule(p)
		if p.errs.first == nil {
			return tree, nil
		}
	}
	return nil, p.errs.first
}

// release puts p back unless it failed or grew.
func (p *parser) release() {
	if p.stream.Size() > maxPooledTokens || p.errs.first != nil {
		return
	}
	p.gram.SetParserRuleContext(nil) // drop the tree
	parsers.Put(p)
}

// tokens notes the furthest token that was looked at. When no alternative of a
// rule fits, that is where the text went wrong: the runtime reports the first
// token of the rule (and, in Go, not even that: NoViableAltException hides the
// token behind a field of the same name).
type tokens struct {
	*antlr.CommonTokenStream
	far int
}

// Consume steps to the next token, for the parser and for prediction.
func (t *tokens) Consume() {
	t.CommonTokenStream.Consume()
	t.far = max(t.far, t.Index())
}

// strategy stops at the first syntax error: it notes the token and lets the
// rules run out at the end of the text. (The runtime's BailErrorStrategy
// panics with a type whose methods panic in turn.)
type strategy struct {
	*antlr.DefaultErrorStrategy
	first antlr.Token
}

// Sync does not look ahead for errors: they show where a token does not match.
func (s *strategy) Sync(antlr.Parser) {}

// ReportMatch keeps the strategy in its one state.
func (s *strategy) ReportMatch(antlr.Parser) {}

// ReportError notes the first offending token.
func (s *strategy) ReportError(r antlr.Parser, e antlr.RecognitionException) {
	if s.first != nil {
		return
	}
	if _, ok := e.(*antlr.NoViableAltException); ok {
		st := r.GetTokenStream().(*tokens)
		s.first = st.Get(st.far)
		return
	}
	s.first = r.GetCurrentToken()
}

// Recover gives up on the rest of the text.
func (s *strategy) Recover(r antlr.Parser, _ antlr.RecognitionException) {
	st := r.GetTokenStream()
	st.Seek(st.Size() - 1)
}

// RecoverInline never makes up a token.
func (s *strategy) RecoverInline(r antlr.Parser) antlr.Token {
	r.SetError(antlr.NewInputMisMatchException(r))
	return nil
}

// run does a whole parse: limits, syntax, tree, depth.
func run(sql string, opts []func(*Options), rule func(*parser) antlr.ParserRuleContext,
	build func(*builder, antlr.ParserRuleContext) []ast.Node) error {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	o.ensureDefaults()
	if err := measure(sql, &o); err != nil {
		return err
	}
	p := parsers.Get().(*parser)
	defer p.release()
	p.load(sql)
	b := newBuilder(sql)
	tree, bad := p.parse(rule)
	if bad != nil {
		return explain(b, p.stream.GetAllTokens(), bad, rule)
	}
	nodes := build(b, tree)
	if b.err != nil {
		return b.err
	}
	// A tree cannot be deeper than there are tokens, so most are not looked at.
	if p.stream.Size() > o.MaxDepth {
		for _, n := range nodes {
			if err := checkDepth(n, o.MaxDepth); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDepth walks level by level, without recursion.
func checkDepth(root ast.Node, limit int) error {
	level := []ast.Node{root}
	var below []ast.Node
	for depth := 1; len(level) > 0; depth++ {
		if depth > limit {
			at := level[0].Position()
			return &Error{Line: at.Line, Column: at.Column, Offset: at.Offset, SQLState: "54001",
				Msg:  fmt.Sprintf("the expression is more than %d operators deep (MaxDepth)", limit),
				Hint: "use IN (...) or parentheses to make it flatter"}
		}
		below = below[:0]
		for _, n := range level {
			ast.Children(n, func(c ast.Node) { below = append(below, c) })
		}
		level, below = below, level
	}
	return nil
}

package parse

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

func (b *builder) statement(ctx *gen.StatementContext) ast.Statement {
	switch c := ctx.GetChild(0).(type) {
	case *gen.QueryContext:
		return b.query(c)
	case *gen.ExplainContext:
		return b.explain(c)
	case *gen.ShowContext:
		return b.show(c)
	case *gen.DescribeContext:
		d := &ast.Describe{Pos: b.pos(c.GetStart())}
		if name := c.QualifiedName(); name != nil {
			d.Table = b.plainTable(name)
		} else {
			d.Query = b.query(c.Query())
		}
		return d
	case *gen.SetContext:
		return b.set(c)
	case *gen.CreateRollupContext:
		return b.createRollup(c)
	case *gen.DropRollupContext:
		return &ast.DropRollup{Pos: b.pos(c.GetStart()), IfExists: c.EXISTS() != nil, Name: b.plainTable(c.QualifiedName())}
	case *gen.AlterTableContext:
		s := &ast.SetRetention{Pos: b.pos(c.GetStart()), Table: b.plainTable(c.QualifiedName())}
		if d := c.Duration(); d != nil {
			s.Keep = b.duration(d.(*gen.DurationContext))
		}
		return s
	case *gen.TransactionContext:
		t := &ast.Transaction{Pos: b.pos(c.GetStart())}
		switch c.GetStart().GetTokenType() {
		case gen.FlowlakeSQLLexerCOMMIT, gen.FlowlakeSQLLexerEND:
			t.Kind = ast.Commit
		case gen.FlowlakeSQLLexerROLLBACK, gen.FlowlakeSQLLexerABORT:
			t.Kind = ast.Rollback
		}
		return t
	}
	return &ast.Checkpoint{Pos: b.pos(ctx.GetStart())}
}

func (b *builder) plainTable(ctx gen.IQualifiedNameContext) *ast.TableName {
	parts, _ := b.qualified(ctx)
	return b.tableName(ctx.GetStart(), parts)
}

func (b *builder) explain(ctx *gen.ExplainContext) *ast.Explain {
	x := &ast.Explain{Pos: b.pos(ctx.GetStart()), Analyze: ctx.ANALYZE() != nil, Verbose: ctx.VERBOSE() != nil,
		Statement: b.query(ctx.Query())}
	for _, o := range ctx.AllExplainOption() {
		name, value := b.name(o.Identifier(0)), "on"
		if o.GetChildCount() > 1 {
			c := o.GetChild(1)
			if t := terminal(c); t != nil {
				value = strings.ToLower(b.text(t))
			} else {
				value = b.name(c)
			}
		}
		on := value == "on" || value == "true" || value == "1"
		switch name {
		case "analyze", "analyse":
			x.Analyze = on
		case "verbose":
			x.Verbose = on
		case "format":
			if value != "text" && value != "json" {
				b.fail(o.GetStart(), "22023", "the format of EXPLAIN is text or json, not %s", value)
			}
			x.Format = value
		case "costs", "buffers", "timing", "summary", "settings", "wal", "generic_plan", "memory", "serialize":
			// Postgres clients send them; our plan always shows what it has.
		default:
			e := b.fail(o.GetStart(), "42601", "unknown option %q of EXPLAIN", name)
			if s := Suggest(name, []string{"analyze", "verbose", "format"}); s != "" {
				e.Hint = "did you mean " + strings.ToUpper(s) + "?"
			}
		}
	}
	return x
}

func (b *builder) show(ctx *gen.ShowContext) *ast.Show {
	s := &ast.Show{Pos: b.pos(ctx.GetStart())}
	if name := ctx.QualifiedName(); name != nil {
		s.Table = b.plainTable(name)
	}
	switch {
	case ctx.TABLES() != nil:
		s.Kind = ast.ShowTables
	case ctx.COLUMNS() != nil:
		s.Kind = ast.ShowColumns
	case ctx.KEYS() != nil:
		s.Kind = ast.ShowTagKeys
	case ctx.VALUES() != nil:
		s.Kind = ast.ShowTagValues
		s.Key = b.showKey(ctx.ShowKey().(*gen.ShowKeyContext))
	case ctx.CARDINALITY() != nil:
		s.Kind = ast.ShowTagCardinality
	case ctx.ROLLUPS() != nil:
		s.Kind = ast.ShowRollups
	case ctx.RETENTION() != nil:
		s.Kind = ast.ShowRetention
	case ctx.CREATE() != nil:
		s.Kind = ast.ShowCreateRollup
	case ctx.FUNCTIONS() != nil:
		s.Kind = ast.ShowFunctions
	case ctx.SETTINGS() != nil, ctx.ALL() != nil:
		s.Kind = ast.ShowSettings
	case ctx.TRANSACTION() != nil:
		s.Kind, s.Name = ast.ShowSetting, "transaction_isolation"
	case ctx.ZONE() != nil:
		s.Kind, s.Name = ast.ShowSetting, "timezone"
	default:
		s.Kind, s.Name = ast.ShowSetting, b.settingName(ctx.SettingName())
	}
	f := ctx.ShowFilter()
	if f == nil {
		return s
	}
	if n := f.STRING(); n != nil {
		s.Like = b.str(n.GetSymbol())
	} else if n := f.ESCAPE_STRING(); n != nil {
		s.Like = b.str(n.GetSymbol())
	}
	s.ILike = f.ILIKE() != nil
	if e := f.GetWhere(); e != nil {
		s.Where = b.expr(e)
	}
	if e := f.GetLimit(); e != nil {
		s.Limit = b.expr(e)
	}
	return s
}

// showKey reads a tag key; 'pod' as a text is the key pod.
func (b *builder) showKey(ctx *gen.ShowKeyContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	var key ast.Expr
	if n := ctx.STRING(); n != nil {
		v := b.str(n.GetSymbol()).Value
		if v == "" {
			b.fail(n.GetSymbol(), "42601", "a tag key cannot be empty")
		}
		key = &ast.Ident{Pos: pos, Parts: []string{v}}
	} else {
		parts, quoted := b.qualified(ctx.QualifiedName())
		key = &ast.Ident{Pos: pos, Parts: parts, Quoted: quoted}
	}
	if ctx.Expr() != nil {
		key = &ast.Subscript{Pos: pos, Base: key, Index: b.expr(ctx.Expr())}
	}
	return key
}

// settingName joins a dotted name of a setting, in lower case.
func (b *builder) settingName(ctx antlr.Tree) string {
	parts, _ := b.qualified(ctx)
	for i, p := range parts {
		if parts[i] = fold(p); strings.Contains(p, ".") {
			b.fail(ctx.(antlr.ParserRuleContext).GetStart(), "42601", "the name of a setting holds a dot inside quotes")
		}
	}
	return strings.Join(parts, ".")
}

func (b *builder) set(ctx *gen.SetContext) *ast.Set {
	s := &ast.Set{Pos: b.pos(ctx.GetStart()), Local: ctx.LOCAL() != nil}
	switch {
	case ctx.TRANSACTION() != nil:
		s.Name = "transaction_mode"
		var words []string
		for _, m := range ctx.AllTransactionMode() {
			for _, c := range m.GetChildren() {
				words = append(words, strings.ToLower(b.text(terminal(c))))
			}
		}
		s.Values = []ast.Expr{&ast.String{Pos: b.pos(ctx.AllTransactionMode()[0].GetStart()), Value: strings.Join(words, " ")}}
		return s
	case ctx.ZONE() != nil:
		s.Name = "timezone"
	case ctx.QualifiedName() != nil:
		s.Name = b.settingName(ctx.QualifiedName())
	default: // RESET ALL
		s.Name = "all"
	}
	for _, v := range ctx.AllSetValue() {
		if e := b.setValue(v.(*gen.SetValueContext)); e != nil {
			s.Values = append(s.Values, e)
		} else if len(ctx.AllSetValue()) > 1 {
			b.fail(v.GetStart(), "42601", "DEFAULT stands alone")
		}
	}
	return s
}

// setValue reads a literal or a word; nil for DEFAULT.
func (b *builder) setValue(ctx *gen.SetValueContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	last := ctx.GetChild(ctx.GetChildCount() - 1)
	t := terminal(last)
	if t == nil {
		return &ast.String{Pos: pos, Value: b.name(last)}
	}
	switch t.GetTokenType() {
	case gen.FlowlakeSQLLexerINTEGER, gen.FlowlakeSQLLexerDECIMAL:
		return b.number(t, ctx.MINUS() != nil, pos)
	case gen.FlowlakeSQLLexerSTRING, gen.FlowlakeSQLLexerESCAPE_STRING:
		return b.str(t)
	case gen.FlowlakeSQLLexerTRUE, gen.FlowlakeSQLLexerFALSE:
		return &ast.Bool{Pos: pos, Value: t.GetTokenType() == gen.FlowlakeSQLLexerTRUE}
	case gen.FlowlakeSQLLexerDEFAULT:
		return nil
	}
	return &ast.String{Pos: pos, Value: strings.ToLower(b.text(t))}
}

// unescape decodes the inside of E'...'.
func (b *builder) unescape(t antlr.Token, s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\'' { // the lexer let only pairs in
			i++
		}
		if c != '\\' {
			out = append(out, c)
			continue
		}
		i++
		switch c = s[i]; c {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'x', 'u', 'U':
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			digits := 0
			for digits < n && i+1+digits < len(s) && isHex(s[i+1+digits]) {
				digits++
			}
			v, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
			if err != nil || c != 'x' && digits != n || !utf8.ValidRune(rune(v)) {
				b.fail(t, "22025", `wrong escape \%c in a text`, c).Hint = `they are \xHH, \uHHHH and \UHHHHHHHH`
				return ""
			}
			out = utf8.AppendRune(out, rune(v))
			i += digits
		case '0', '1', '2', '3', '4', '5', '6', '7':
			digits := 1
			for digits < 3 && i+digits < len(s) && s[i+digits] >= '0' && s[i+digits] <= '7' {
				digits++
			}
			v, _ := strconv.ParseUint(s[i:i+digits], 8, 32)
			out = utf8.AppendRune(out, rune(v))
			i += digits - 1
		default: // \\ and \' and, as Postgres has it, any other character itself
			out = append(out, c)
		}
	}
	return string(out)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

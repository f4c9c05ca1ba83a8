package parse

import (
	"strings"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

func (b *builder) createRollup(ctx *gen.CreateRollupContext) *ast.CreateRollup {
	s := &ast.CreateRollup{Pos: b.pos(ctx.GetStart()), IfNotExists: ctx.EXISTS() != nil,
		Name: b.plainTable(ctx.GetName()), Table: b.plainTable(ctx.GetTable())}
	for i, d := range ctx.AllDuration() {
		if v := b.duration(d.(*gen.DurationContext)); i == 0 {
			s.Every = v
		} else {
			s.Keep = v
		}
	}
	for _, k := range ctx.AllRollupKey() {
		s.Keys = append(s.Keys, b.rollupKey(k.(*gen.RollupKeyContext)))
	}
	return s
}

func (b *builder) rollupKey(ctx *gen.RollupKeyContext) ast.Expr {
	pos := b.pos(ctx.GetStart())
	parts, quoted := b.qualified(ctx.QualifiedName())
	id := &ast.Ident{Pos: pos, Parts: parts, Quoted: quoted}
	if ctx.LBRACKET() == nil {
		return id
	}
	n := ctx.STRING()
	if n == nil {
		n = ctx.ESCAPE_STRING()
	}
	return &ast.Subscript{Pos: pos, Base: id, Index: b.str(n.GetSymbol())}
}

// duration reads 5 minutes, '5 minutes' or an INTERVAL.
func (b *builder) duration(ctx *gen.DurationContext) *ast.Interval {
	first := ctx.GetStart()
	pos := b.pos(first)
	switch {
	case ctx.INTEGER() != nil:
		return b.interval(first, pos, b.text(first)+" "+b.name(ctx.Identifier()))
	case ctx.Identifier() == nil:
		return b.interval(first, pos, b.str(first).Value)
	}
	if name := b.name(ctx.Identifier()); name != "interval" {
		b.fail(first, "42601", "unexpected %s", show(b.text(first))).Hint = "a span of time is written INTERVAL '5 minutes' or 5 minutes"
	}
	var lit antlr.Token = ctx.STRING().GetSymbol()
	text := b.str(lit).Value
	if unit := ctx.IntervalUnit(); unit != nil {
		text += " " + strings.ToLower(b.text(unit.GetStart()))
	}
	return b.interval(lit, pos, text)
}

package ast

import (
	"strconv"
	"strings"
)

// Precedences of printing, loosest first; the grammar's ladder.
const (
	precLowest = iota
	precOr
	precAnd
	precNot
	precIs
	precCompare
	precIn // LIKE, IN, BETWEEN
	precOther
	precAdd
	precMul
	precPow
	precUnary
	precPostfix
	precPrimary
)

// precOf returns how tightly the printed form of e holds together.
func precOf(e Expr) int {
	switch e := e.(type) {
	case *Logical:
		if e.Or {
			return precOr
		}
		return precAnd
	case *Unary:
		if e.Op == OpNot {
			return precNot
		}
		return precUnary
	case *Is, *Distinct:
		return precIs
	case *Quantified:
		return e.Op.Precedence()
	case *Like, *In, *Between:
		return precIn
	case *Binary:
		return e.Op.Precedence()
	case *Integer:
		if e.Value < 0 {
			return precUnary
		}
	case *Decimal:
		if len(e.Text) > 0 && e.Text[0] == '-' {
			return precUnary
		}
	case *Subscript, *AtTimeZone, *Collate:
		return precPostfix
	case *NamedArg:
		return precLowest
	}
	return precPrimary
}

// appendExpr prints e, in parentheses when it binds looser than prec.
func appendExpr(dst []byte, e Expr, prec int) []byte {
	if precOf(e) < prec {
		dst = append(dst, '(')
		dst = appendBare(dst, e)
		return append(dst, ')')
	}
	return appendBare(dst, e)
}

func appendExprs(dst []byte, list []Expr) []byte {
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendExpr(dst, e, precLowest)
	}
	return dst
}

func appendNot(dst []byte, not bool) []byte {
	if not {
		return append(dst, "NOT "...)
	}
	return dst
}

// appendBare prints e without parentheses around it. One flat switch.
func appendBare(dst []byte, e Expr) []byte {
	switch e := e.(type) {
	case *Ident:
		return appendName(dst, e.Parts)
	case *Star:
		if len(e.Qualifier) > 0 {
			dst = append(appendName(dst, e.Qualifier), '.')
		}
		return append(dst, '*')
	case *Integer:
		return strconv.AppendInt(dst, e.Value, 10)
	case *Decimal:
		return append(dst, e.Text...)
	case *String:
		return appendQuoted(dst, e.Value, '\'')
	case *Bool:
		if e.Value {
			return append(dst, "TRUE"...)
		}
		return append(dst, "FALSE"...)
	case *Null:
		return append(dst, "NULL"...)
	case *Interval:
		dst = append(dst, "INTERVAL '"...)
		return append(AppendInterval(dst, e.Months, e.Days, e.Nanos), '\'')
	case *Param:
		return strconv.AppendInt(append(dst, '$'), int64(e.Index), 10)
	case *Array:
		dst = append(dst, "ARRAY["...)
		return append(appendExprs(dst, e.Elems), ']')
	case *Row:
		dst = append(dst, "ROW("...)
		return append(appendExprs(dst, e.Elems), ')')
	case *Subscript:
		dst = appendExpr(dst, e.Base, precPostfix)
		dst = appendExpr(append(dst, '['), e.Index, precLowest)
		return append(dst, ']')
	case *Unary:
		return appendUnary(dst, e)
	case *Logical:
		return appendLogical(dst, e)
	case *Binary:
		return appendBinary(dst, e)
	case *Like, *Is, *Distinct, *Between, *In, *Quantified:
		return appendPredicate(dst, e)
	case *Case:
		return appendCase(dst, e)
	case *Cast:
		if e.Try {
			dst = append(dst, "TRY_"...)
		}
		dst = appendExpr(append(dst, "CAST("...), e.Expr, precLowest)
		dst = append(dst, " AS "...)
		return append(appendType(dst, e.Type), ')')
	case *FuncCall:
		return appendCall(dst, e)
	case *NamedArg:
		dst = append(appendIdent(dst, e.Name), " => "...)
		return appendExpr(dst, e.Value, precLowest)
	case *Extract:
		dst = append(appendIdent(append(dst, "EXTRACT("...), e.Field), " FROM "...)
		return append(appendExpr(dst, e.Expr, precLowest), ')')
	case *AtTimeZone:
		dst = append(appendExpr(dst, e.Expr, precPostfix), " AT TIME ZONE "...)
		return appendExpr(dst, e.Zone, precPrimary)
	case *Collate:
		dst = append(appendExpr(dst, e.Expr, precPostfix), " COLLATE "...)
		return appendName(dst, e.Name)
	case *Exists:
		return appendParenQuery(append(dst, "EXISTS "...), e.Query)
	case *Subquery:
		return appendParenQuery(dst, e.Query)
	}
	return dst
}

func appendUnary(dst []byte, e *Unary) []byte {
	if e.Op == OpNot {
		return appendExpr(append(dst, "NOT "...), e.Expr, precNot)
	}
	dst = append(dst, '-')
	switch e.Expr.(type) {
	case *Integer, *Decimal:
		// -(5) is an operator on a number, -5 is a number; and -- is a comment.
		dst = append(appendBare(append(dst, '('), e.Expr), ')')
		return dst
	}
	if u, ok := e.Expr.(*Unary); ok && u.Op == OpNeg {
		dst = append(dst, ' ')
	}
	return appendExpr(dst, e.Expr, precUnary)
}

func appendLogical(dst []byte, e *Logical) []byte {
	word, prec := " AND ", precNot
	if e.Or {
		word, prec = " OR ", precAnd
	}
	for i, t := range e.Terms {
		if i > 0 {
			dst = append(dst, word...)
		}
		dst = appendExpr(dst, t, prec)
	}
	return dst
}

func appendBinary(dst []byte, e *Binary) []byte {
	prec := e.Op.Precedence()
	left := prec
	if e.Op.IsComparison() {
		left = prec + 1
	}
	dst = append(appendExpr(dst, e.Left, left), ' ')
	dst = append(append(dst, e.Op.String()...), ' ')
	return appendExpr(dst, e.Right, prec+1)
}

func appendPredicate(dst []byte, e Expr) []byte {
	switch e := e.(type) {
	case *Like:
		dst = appendNot(append(appendExpr(dst, e.Expr, precOther), ' '), e.Not)
		if e.CaseFold {
			dst = append(dst, 'I')
		}
		dst = appendExpr(append(dst, "LIKE "...), e.Pattern, precOther)
		if e.Escape != nil {
			dst = appendExpr(append(dst, " ESCAPE "...), e.Escape, precOther)
		}
	case *Is:
		dst = appendNot(append(appendExpr(dst, e.Expr, precIs), " IS "...), e.Not)
		dst = append(dst, e.Test.String()...)
	case *Distinct:
		dst = appendNot(append(appendExpr(dst, e.Left, precIs), " IS "...), e.Not)
		dst = appendExpr(append(dst, "DISTINCT FROM "...), e.Right, precOther)
	case *Between:
		dst = appendNot(append(appendExpr(dst, e.Expr, precOther), ' '), e.Not)
		dst = append(dst, "BETWEEN "...)
		if e.Symmetric {
			dst = append(dst, "SYMMETRIC "...)
		}
		dst = append(appendExpr(dst, e.Low, precOther), " AND "...)
		dst = appendExpr(dst, e.High, precOther)
	case *In:
		dst = appendNot(append(appendExpr(dst, e.Expr, precOther), ' '), e.Not)
		dst = append(dst, "IN "...)
		if e.Query != nil {
			return appendParenQuery(dst, e.Query)
		}
		dst = append(appendExprs(append(dst, '('), e.List), ')')
	case *Quantified:
		left := e.Op.Precedence()
		if e.Op.IsComparison() {
			left++
		}
		dst = append(appendExpr(dst, e.Left, left), ' ')
		dst = append(dst, e.Op.String()...)
		if e.All {
			dst = append(dst, " ALL "...)
		} else {
			dst = append(dst, " ANY "...)
		}
		if e.Query != nil {
			return appendParenQuery(dst, e.Query)
		}
		dst = append(appendExpr(append(dst, '('), e.Array, precLowest), ')')
	}
	return dst
}

func appendCase(dst []byte, e *Case) []byte {
	dst = append(dst, "CASE"...)
	if e.Operand != nil {
		dst = appendExpr(append(dst, ' '), e.Operand, precLowest)
	}
	for _, w := range e.Whens {
		dst = appendExpr(append(dst, " WHEN "...), w.Cond, precLowest)
		dst = appendExpr(append(dst, " THEN "...), w.Result, precLowest)
	}
	if e.Else != nil {
		dst = appendExpr(append(dst, " ELSE "...), e.Else, precLowest)
	}
	return append(dst, " END"...)
}

func appendType(dst []byte, t *TypeName) []byte {
	if t.Schema != "" {
		dst = append(appendIdent(dst, t.Schema), '.')
	}
	mods := func(dst []byte) []byte {
		if len(t.Mods)+len(t.Params) == 0 {
			return dst
		}
		dst = append(dst, '(')
		for i, m := range t.Mods {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = strconv.AppendInt(dst, m, 10)
		}
		for i, p := range t.Params {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendType(dst, p)
		}
		return append(dst, ')')
	}
	// In `timestamp(3) with time zone` the modifier stands after the first word.
	switch spelled := t.Schema == "" && len(t.Params) == 0; {
	case spelled && len(t.Mods) <= 1 && (t.Name == "timestamp with time zone" || t.Name == "time with time zone"):
		word, rest, _ := strings.Cut(t.Name, " ")
		dst = append(append(mods(append(dst, word...)), ' '), rest...)
	case spelled && (len(t.Mods) == 0 && t.Name == "double precision" || len(t.Mods) <= 1 && t.Name == "character varying"):
		dst = mods(append(dst, t.Name...))
	default:
		dst = mods(appendIdent(dst, t.Name))
	}
	for range t.Dims {
		dst = append(dst, "[]"...)
	}
	return dst
}

func appendCall(dst []byte, c *FuncCall) []byte {
	if len(c.Name) == 1 && callable[c.Name[0]] {
		dst = append(dst, c.Name[0]...)
	} else {
		dst = appendName(dst, c.Name)
	}
	return appendArgs(dst, c)
}

// appendArgs prints all of a call but its name.
func appendArgs(dst []byte, c *FuncCall) []byte {
	dst = append(dst, '(')
	if c.Star {
		dst = append(dst, '*')
	}
	if c.Distinct {
		dst = append(dst, "DISTINCT "...)
	}
	dst = appendExprs(dst, c.Args)
	if len(c.OrderBy) > 0 {
		dst = appendOrderBy(append(dst, ' '), c.OrderBy)
	}
	dst = append(dst, ')')
	if len(c.WithinGroup) > 0 {
		dst = append(appendOrderBy(append(dst, " WITHIN GROUP ("...), c.WithinGroup), ')')
	}
	if c.Filter != nil {
		dst = append(appendExpr(append(dst, " FILTER (WHERE "...), c.Filter, precLowest), ')')
	}
	if c.Over != nil {
		dst = append(appendWindow(append(dst, " OVER ("...), c.Over), ')')
	}
	return dst
}

func appendWindow(dst []byte, w *Window) []byte {
	start := len(dst)
	sep := func() {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
	}
	if len(w.PartitionBy) > 0 {
		dst = appendExprs(append(dst, "PARTITION BY "...), w.PartitionBy)
	}
	if len(w.OrderBy) > 0 {
		sep()
		dst = appendOrderBy(dst, w.OrderBy)
	}
	if f := w.Frame; f != nil {
		sep()
		dst = append(append(dst, f.Unit.String()...), " BETWEEN "...)
		dst = append(appendBound(dst, f.Start), " AND "...)
		dst = appendBound(dst, f.End)
	}
	return dst
}

func appendBound(dst []byte, b FrameBound) []byte {
	switch b.Kind {
	case UnboundedPreceding:
		return append(dst, "UNBOUNDED PRECEDING"...)
	case Preceding:
		return append(appendOffset(dst, b.Offset), " PRECEDING"...)
	case CurrentRow:
		return append(dst, "CURRENT ROW"...)
	case Following:
		return append(appendOffset(dst, b.Offset), " FOLLOWING"...)
	}
	return append(dst, "UNBOUNDED FOLLOWING"...)
}

// appendOffset puts a lone column in parentheses: it may be named unbounded.
func appendOffset(dst []byte, e Expr) []byte {
	if _, ok := e.(*Ident); ok {
		return append(appendBare(append(dst, '('), e), ')')
	}
	return appendExpr(dst, e, precOther)
}

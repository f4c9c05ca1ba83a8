package exec

import (
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
)

// Expr is a bound expression: names are resolved to columns of the operator's input and all types agree. Expressions are
// immutable and may be shared; compile makes the private state that evaluates them.
type Expr interface {
	Type() schema.Type
	// String is the expression as EXPLAIN shows it.
	String() string
}

// Column is a column of the operator's input.
type Column struct {
	Index int
	Typ   schema.Type
	Name  string
}

// Const is a constant.
type Const struct{ Value Value }

// TagValue is the value of a key in a tag set: text, NULL where the set has no such key.
type TagValue struct {
	X   Expr // of type TAGS
	Key string
}

// MapValue is the value of a key in a map: text, NULL where the map has no such key.
type MapValue struct {
	X   Expr // of type MAP
	Key string
}

// CompareOp is a comparison.
type CompareOp uint8

// Comparisons.
const (
	Eq CompareOp = iota
	Ne
	Lt
	Le
	Gt
	Ge
)

// String is the operator.
func (op CompareOp) String() string { return [...]string{"=", "<>", "<", "<=", ">", ">="}[op] }

// Flip is the comparison with its sides changed over.
func (op CompareOp) Flip() CompareOp { return [...]CompareOp{Eq, Ne, Gt, Ge, Lt, Le}[op] }

// Negate is the comparison that holds exactly where op does not (NULL aside).
func (op CompareOp) Negate() CompareOp { return [...]CompareOp{Ne, Eq, Ge, Gt, Le, Lt}[op] }

// Compare is left op right; both have the same physical type.
type Compare struct {
	Op   CompareOp
	L, R Expr
}

// ArithOp is an arithmetic operator.
type ArithOp uint8

// Arithmetic operators. Division by zero and modulo zero give NULL; whole numbers that overflow are an error.
const (
	Add ArithOp = iota
	Sub
	Mul
	Div
	Mod
	BitAnd
	BitOr
	BitXor
	Shl
	Shr
)

// String is the operator.
func (op ArithOp) String() string {
	return [...]string{"+", "-", "*", "/", "%", "&", "|", "#", "<<", ">>"}[op]
}

// Arith is left op right over int64 or float64; both sides have the physical type of Typ.
type Arith struct {
	Op   ArithOp
	L, R Expr
	Typ  schema.Type
}

// Logic is AND (or OR) of terms in three-valued logic.
type Logic struct {
	Or    bool
	Terms []Expr
}

// Not is NOT x.
type Not struct{ X Expr }

// IsNull is x IS [NOT] NULL.
type IsNull struct {
	X   Expr
	Not bool
}

// IsDistinct is a IS [NOT] DISTINCT FROM b.
type IsDistinct struct {
	L, R Expr
	Not  bool
}

// In is x IN (constants) of the type of x. HasNull says that the list held a NULL.
type In struct {
	X       Expr
	List    []Value // without NULL, at least one
	HasNull bool
	Not     bool
}

// MatchKind is how a Match reads its pattern.
type MatchKind uint8

// Kinds of patterns.
const (
	Like MatchKind = iota
	ILike
	Regex
	IRegex
)

// Match is x LIKE or ~ a constant pattern.
type Match struct {
	X       Expr
	Kind    MatchKind
	Pattern string
	Escape  string // LIKE: the escape character, "" for none
	Not     bool
}

// Call is a call of a scalar function.
type Call struct {
	Fn   *Func
	Impl *Overload
	Args []Expr
	Typ  schema.Type
}

// Case is CASE WHEN cond THEN result ... ELSE ... END; all results have type Typ.
type Case struct {
	Whens []When
	Else  Expr // never nil
	Typ   schema.Type
}

// When is a branch of a Case.
type When struct{ Cond, Then Expr }

// Cast changes the type of X.
type Cast struct {
	X   Expr
	Typ schema.Type
	// Try gives NULL where the cast is not possible, instead of an error.
	Try bool
}

func (e *Column) Type() schema.Type     { return e.Typ }
func (e *Const) Type() schema.Type      { return e.Value.Type }
func (e *TagValue) Type() schema.Type   { return schema.Varchar }
func (e *MapValue) Type() schema.Type   { return schema.Varchar }
func (e *Compare) Type() schema.Type    { return schema.Boolean }
func (e *Arith) Type() schema.Type      { return e.Typ }
func (e *Logic) Type() schema.Type      { return schema.Boolean }
func (e *Not) Type() schema.Type        { return schema.Boolean }
func (e *IsNull) Type() schema.Type     { return schema.Boolean }
func (e *IsDistinct) Type() schema.Type { return schema.Boolean }
func (e *In) Type() schema.Type         { return schema.Boolean }
func (e *Match) Type() schema.Type      { return schema.Boolean }
func (e *Call) Type() schema.Type       { return e.Typ }
func (e *Case) Type() schema.Type       { return e.Typ }
func (e *Cast) Type() schema.Type       { return e.Typ }

func (e *Column) String() string { return e.Name }
func (e *Const) String() string  { return e.Value.literal() }
func (e *TagValue) String() string {
	side := strings.TrimSuffix(e.X.String(), "_tags")
	if side == "tags" {
		side = "tag"
	}
	return side + "." + (&ast.Ident{Parts: []string{e.Key}}).String()
}

func (e *MapValue) String() string { return e.X.String() + "['" + e.Key + "']" }
func (e *Compare) String() string  { return operand(e.L) + " " + e.Op.String() + " " + operand(e.R) }
func (e *Arith) String() string    { return operand(e.L) + " " + e.Op.String() + " " + operand(e.R) }
func (e *Not) String() string      { return "NOT " + operand(e.X) }

func (e *Logic) String() string {
	op := " AND "
	if e.Or {
		op = " OR "
	}
	return joinExprs(e.Terms, op, true)
}

func (e *IsNull) String() string { return operand(e.X) + " IS " + notWord(e.Not) + "NULL" }

func (e *IsDistinct) String() string {
	return operand(e.L) + " IS " + notWord(e.Not) + "DISTINCT FROM " + operand(e.R)
}

func (e *In) String() string {
	var b strings.Builder
	b.WriteString(operand(e.X) + " " + notWord(e.Not) + "IN (")
	for i, v := range e.List {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 8 {
			b.WriteString("...")
			break
		}
		b.WriteString(v.literal())
	}
	if e.HasNull {
		b.WriteString(", NULL")
	}
	return b.String() + ")"
}

func (e *Match) String() string {
	op := [...]string{"LIKE", "ILIKE", "~", "~*"}[e.Kind]
	return operand(e.X) + " " + notWord(e.Not) + op + " '" + e.Pattern + "'"
}

func (e *Call) String() string { return e.Fn.Name + "(" + joinExprs(e.Args, ", ", false) + ")" }

func (e *Case) String() string {
	var b strings.Builder
	b.WriteString("CASE")
	for _, w := range e.Whens {
		b.WriteString(" WHEN " + w.Cond.String() + " THEN " + w.Then.String())
	}
	return b.String() + " ELSE " + e.Else.String() + " END"
}

func (e *Cast) String() string {
	if e.Try {
		return "TRY_CAST(" + e.X.String() + " AS " + e.Typ.String() + ")"
	}
	return "CAST(" + e.X.String() + " AS " + e.Typ.String() + ")"
}

func notWord(not bool) string {
	if not {
		return "NOT "
	}
	return ""
}

func operand(e Expr) string {
	switch e.(type) {
	case *Column, *Const, *Call, *TagValue, *MapValue, *Cast, *Case:
		return e.String()
	}
	return "(" + e.String() + ")"
}

func joinExprs(list []Expr, sep string, paren bool) string {
	s := make([]string, len(list))
	for i, e := range list {
		if s[i] = e.String(); paren {
			s[i] = operand(e)
		}
	}
	return strings.Join(s, sep)
}

// Children are the direct parts of an expression.
func Children(e Expr) []Expr {
	switch e := e.(type) {
	case *TagValue:
		return []Expr{e.X}
	case *MapValue:
		return []Expr{e.X}
	case *Compare:
		return []Expr{e.L, e.R}
	case *Arith:
		return []Expr{e.L, e.R}
	case *Logic:
		return e.Terms
	case *Not:
		return []Expr{e.X}
	case *IsNull:
		return []Expr{e.X}
	case *IsDistinct:
		return []Expr{e.L, e.R}
	case *In:
		return []Expr{e.X}
	case *Match:
		return []Expr{e.X}
	case *Call:
		return e.Args
	case *Cast:
		return []Expr{e.X}
	case *Case:
		out := make([]Expr, 0, 2*len(e.Whens)+1)
		for _, w := range e.Whens {
			out = append(out, w.Cond, w.Then)
		}
		return append(out, e.Else)
	}
	return nil
}

// Remap is e with every column replaced by what f gives for it; parts without columns are shared.
func Remap(e Expr, f func(*Column) Expr) Expr {
	return Rewrite(e, func(x Expr) Expr {
		if c, ok := x.(*Column); ok {
			return f(c)
		}
		return nil
	})
}

// Rewrite is e with every part for which f gives another one replaced, outermost first; where f gives nil, the parts
// below are looked at.
func Rewrite(e Expr, f func(Expr) Expr) Expr {
	if r := f(e); r != nil {
		return r
	}
	switch e := e.(type) {
	case *TagValue:
		return &TagValue{X: Rewrite(e.X, f), Key: e.Key}
	case *MapValue:
		return &MapValue{X: Rewrite(e.X, f), Key: e.Key}
	case *Compare:
		return &Compare{Op: e.Op, L: Rewrite(e.L, f), R: Rewrite(e.R, f)}
	case *Arith:
		return &Arith{Op: e.Op, L: Rewrite(e.L, f), R: Rewrite(e.R, f), Typ: e.Typ}
	case *Logic:
		return &Logic{Or: e.Or, Terms: rewriteAll(e.Terms, f)}
	case *Not:
		return &Not{X: Rewrite(e.X, f)}
	case *IsNull:
		return &IsNull{X: Rewrite(e.X, f), Not: e.Not}
	case *IsDistinct:
		return &IsDistinct{L: Rewrite(e.L, f), R: Rewrite(e.R, f), Not: e.Not}
	case *In:
		c := *e
		c.X = Rewrite(e.X, f)
		return &c
	case *Match:
		c := *e
		c.X = Rewrite(e.X, f)
		return &c
	case *Call:
		return &Call{Fn: e.Fn, Impl: e.Impl, Args: rewriteAll(e.Args, f), Typ: e.Typ}
	case *Cast:
		return &Cast{X: Rewrite(e.X, f), Typ: e.Typ, Try: e.Try}
	case *Case:
		c := &Case{Else: Rewrite(e.Else, f), Typ: e.Typ}
		for _, w := range e.Whens {
			c.Whens = append(c.Whens, When{Rewrite(w.Cond, f), Rewrite(w.Then, f)})
		}
		return c
	}
	return e
}

func rewriteAll(list []Expr, f func(Expr) Expr) []Expr {
	out := make([]Expr, len(list))
	for i, e := range list {
		out[i] = Rewrite(e, f)
	}
	return out
}

// Columns calls f for every column in e.
func Columns(e Expr, f func(*Column)) {
	if c, ok := e.(*Column); ok {
		f(c)
		return
	}
	for _, c := range Children(e) {
		Columns(c, f)
	}
}

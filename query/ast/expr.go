package ast

// Ident is a name: a column `rtt_us`, a table's column `f.rtt_us`, a tag
// `client.pod` or `tag.job`. Which it is, is decided by the planner.
type Ident struct {
	Pos
	Parts []string // >= 1
	// Quoted says that the last part was written in double quotes. It has no
	// meaning but for hints ("did you mean the text 'x'?"); Equal ignores it.
	Quoted bool
}

// Name returns the last part.
func (x *Ident) Name() string { return x.Parts[len(x.Parts)-1] }

// Star is * or, with a qualifier, t.*: only in select lists and as an argument.
type Star struct {
	Pos
	Qualifier []string // empty: all
}

// Integer is a whole number that fits 64 bits; a sign in front is part of it.
type Integer struct {
	Pos
	Value int64
}

// Decimal is any other number, with its text kept exactly: 1.50, 1e3,
// 18446744073709551615. A sign in front is part of it.
type Decimal struct {
	Pos
	Text string
}

// String is a text literal, decoded. (Its SQL text is Expr.String().)
type String struct {
	Pos
	Value string
}

// Bool is TRUE or FALSE.
type Bool struct {
	Pos
	Value bool
}

// Null is NULL.
type Null struct{ Pos }

// Interval is INTERVAL '...', already parsed (see ParseInterval). The three
// fields are kept apart because a month and a day have no fixed length.
type Interval struct {
	Pos
	Months, Days, Nanos int64
}

// Param is $1, $2, ...; numbered from 1 to 65535.
type Param struct {
	Pos
	Index int
}

// Array is ARRAY[...].
type Array struct {
	Pos
	Elems []Expr
}

// Row is (a, b, ...) with two or more parts, or ROW(...).
type Row struct {
	Pos
	Elems []Expr
}

// Subscript is base[index]: `attributes['http.route']`, `client.label['app']`.
type Subscript struct {
	Pos
	Base  Expr
	Index Expr
}

// UnaryOp is the operator of a Unary.
type UnaryOp uint8

// The unary operators. A plus sign is dropped by the parser.
const (
	OpNeg UnaryOp = iota // -x
	OpNot                // NOT x
)

// Unary is -x or NOT x.
type Unary struct {
	Pos
	Op   UnaryOp
	Expr Expr
}

// Logical is AND or OR of two or more terms. A chain is one node however long,
// and the parser merges a parenthesised chain of the same operator into it.
type Logical struct {
	Pos   // of the first term
	Or    bool
	Terms []Expr
}

// BinaryOp is the operator of a Binary.
type BinaryOp uint8

// The binary operators (AND and OR are Logical). The regular expression ones
// search anywhere in the text; =~ is written for ~ too.
const (
	OpEq         BinaryOp = iota // =
	OpNe                         // <>, !=
	OpLt                         // <
	OpLe                         // <=
	OpGt                         // >
	OpGe                         // >=
	OpAdd                        // +
	OpSub                        // -
	OpMul                        // *
	OpDiv                        // /
	OpMod                        // %
	OpPow                        // ^
	OpConcat                     // ||
	OpMatch                      // ~, =~
	OpIMatch                     // ~*
	OpNotMatch                   // !~
	OpNotIMatch                  // !~*
	OpBitAnd                     // &
	OpBitOr                      // |
	OpBitXor                     // #
	OpWithin                     // << : strictly inside (inet); shift left (integers)
	OpWithinEq                   // <<= : inside or equal (inet)
	OpContains                   // >> : strictly contains (inet); shift right (integers)
	OpContainsEq                 // >>= : contains or equal (inet)
	OpGet                        // -> : member of a map
	OpGetText                    // ->> : member of a map as text
)

var binaryOps = [...]struct {
	text string
	prec int
}{
	OpEq: {"=", precCompare}, OpNe: {"<>", precCompare}, OpLt: {"<", precCompare},
	OpLe: {"<=", precCompare}, OpGt: {">", precCompare}, OpGe: {">=", precCompare},
	OpAdd: {"+", precAdd}, OpSub: {"-", precAdd},
	OpMul: {"*", precMul}, OpDiv: {"/", precMul}, OpMod: {"%", precMul},
	OpPow: {"^", precPow}, OpConcat: {"||", precOther},
	OpMatch: {"~", precOther}, OpIMatch: {"~*", precOther},
	OpNotMatch: {"!~", precOther}, OpNotIMatch: {"!~*", precOther},
	OpBitAnd: {"&", precOther}, OpBitOr: {"|", precOther}, OpBitXor: {"#", precOther},
	OpWithin: {"<<", precOther}, OpWithinEq: {"<<=", precOther},
	OpContains: {">>", precOther}, OpContainsEq: {">>=", precOther},
	OpGet: {"->", precOther}, OpGetText: {"->>", precOther},
}

// String returns the operator as written in canonical SQL.
func (op BinaryOp) String() string { return binaryOps[op].text }

// Precedence returns how tightly the operator binds; all are left-associative,
// except that comparisons do not chain.
func (op BinaryOp) Precedence() int { return binaryOps[op].prec }

// IsComparison reports whether op is one of = <> < <= > >=.
func (op BinaryOp) IsComparison() bool { return op <= OpGe }

// Binary is left op right.
type Binary struct {
	Pos
	Op          BinaryOp
	Left, Right Expr
}

// Like is LIKE or ILIKE.
type Like struct {
	Pos
	Not      bool
	CaseFold bool // ILIKE
	Expr     Expr
	Pattern  Expr
	Escape   Expr // nil: backslash
}

// IsTest is what Is tests for.
type IsTest uint8

// The tests of IS.
const (
	IsNull IsTest = iota
	IsTrue
	IsFalse
	IsUnknown
)

// String returns the keyword.
func (t IsTest) String() string { return [...]string{"NULL", "TRUE", "FALSE", "UNKNOWN"}[t] }

// Is is IS [NOT] NULL, TRUE, FALSE or UNKNOWN; never NULL itself.
type Is struct {
	Pos
	Not  bool
	Test IsTest
	Expr Expr
}

// Distinct is IS [NOT] DISTINCT FROM: <> (or, with Not, =) where NULL equals NULL.
type Distinct struct {
	Pos
	Not         bool
	Left, Right Expr
}

// Between is [NOT] BETWEEN [SYMMETRIC] low AND high, bounds included.
type Between struct {
	Pos
	Not       bool
	Symmetric bool // the bounds may be in either order
	Expr      Expr
	Low, High Expr
}

// In is [NOT] IN (list) or IN (query). Exactly one of List (>= 1) and Query is set.
type In struct {
	Pos
	Not   bool
	Expr  Expr
	List  []Expr
	Query *Query
}

// Quantified is left op ANY (...) or ALL (...) over an array or a query;
// exactly one of Array and Query is set.
type Quantified struct {
	Pos
	Op    BinaryOp // a comparison or a regular expression match
	All   bool
	Left  Expr
	Array Expr
	Query *Query
}

// Case is CASE [operand] WHEN ... THEN ... ELSE ... END.
type Case struct {
	Pos
	Operand Expr // nil: searched, the conditions are booleans
	Whens   []*When
	Else    Expr // nil: NULL
}

// When is one WHEN cond THEN result.
type When struct {
	Pos
	Cond, Result Expr
}

// Cast is CAST(x AS t), x::t and typed literals such as TIMESTAMP '...' and
// inet '10.0.0.0/8'. With Try it gives NULL where the cast fails.
type Cast struct {
	Pos
	Try  bool
	Expr Expr
	Type *TypeName
}

// TypeName is a type as written, in lower case: `bigint`, `double precision`,
// `timestamp with time zone`, `numeric(10, 2)`, `text[]`, `map(text, text)`.
type TypeName struct {
	Pos
	Schema string // "": none; `pg_catalog.int4` has one
	Name   string // words separated by one space
	Mods   []int64
	Params []*TypeName // type arguments; not both Mods and Params
	Dims   int         // number of [] behind
}

// FuncCall is a call of a scalar, aggregate, window or table function.
// now() and CURRENT_TIMESTAMP are both calls (the latter of current_timestamp).
type FuncCall struct {
	Pos
	Name        []string // lower case unless quoted; the last part is the function, a schema may precede
	Star        bool     // count(*): no Args
	Distinct    bool
	Args        []Expr       // *NamedArg last
	OrderBy     []*OrderItem // array_agg(x ORDER BY y)
	WithinGroup []*OrderItem // percentile_cont(0.99) WITHIN GROUP (ORDER BY x)
	Filter      Expr         // nil when absent
	Over        *Window      // nil: not a window function
}

// FuncName returns the last part of the name.
func (x *FuncCall) FuncName() string { return x.Name[len(x.Name)-1] }

// NamedArg is name => value, only as an argument of a call.
type NamedArg struct {
	Pos
	Name  string
	Value Expr
}

// Window is OVER (PARTITION BY ... ORDER BY ... frame).
type Window struct {
	Pos
	PartitionBy []Expr
	OrderBy     []*OrderItem
	Frame       *Frame // nil: the default of the function
}

// FrameUnit is ROWS, RANGE or GROUPS.
type FrameUnit uint8

// The units of a frame.
const (
	FrameRows FrameUnit = iota
	FrameRange
	FrameGroups
)

// String returns the keyword.
func (u FrameUnit) String() string { return [...]string{"ROWS", "RANGE", "GROUPS"}[u] }

// Frame is ROWS BETWEEN start AND end; a frame written with one bound ends at
// the current row.
type Frame struct {
	Pos
	Unit       FrameUnit
	Start, End FrameBound
}

// BoundKind is the kind of a FrameBound.
type BoundKind uint8

// The kinds of frame bounds, in the order of rows.
const (
	UnboundedPreceding BoundKind = iota
	Preceding
	CurrentRow
	Following
	UnboundedFollowing
)

// FrameBound is one end of a frame; Offset only for Preceding and Following.
type FrameBound struct {
	Kind   BoundKind
	Offset Expr
}

// Extract is EXTRACT(field FROM x).
type Extract struct {
	Pos
	Field string // lower case: year, epoch, dow, ...
	Expr  Expr
}

// AtTimeZone is x AT TIME ZONE zone.
type AtTimeZone struct {
	Pos
	Expr, Zone Expr
}

// Collate is x COLLATE name. All text sorts by bytes; clients send it.
type Collate struct {
	Pos
	Expr Expr
	Name []string
}

// Exists is EXISTS (query).
type Exists struct {
	Pos
	Query *Query
}

// Subquery is a query used as a value: one column, at most one row.
type Subquery struct {
	Pos
	Query *Query
}

func (*Ident) expr()      {}
func (*Star) expr()       {}
func (*Integer) expr()    {}
func (*Decimal) expr()    {}
func (*String) expr()     {}
func (*Bool) expr()       {}
func (*Null) expr()       {}
func (*Interval) expr()   {}
func (*Param) expr()      {}
func (*Array) expr()      {}
func (*Row) expr()        {}
func (*Subscript) expr()  {}
func (*Unary) expr()      {}
func (*Logical) expr()    {}
func (*Binary) expr()     {}
func (*Like) expr()       {}
func (*Is) expr()         {}
func (*Distinct) expr()   {}
func (*Between) expr()    {}
func (*In) expr()         {}
func (*Quantified) expr() {}
func (*Case) expr()       {}
func (*Cast) expr()       {}
func (*FuncCall) expr()   {}
func (*NamedArg) expr()   {}
func (*Extract) expr()    {}
func (*AtTimeZone) expr() {}
func (*Collate) expr()    {}
func (*Exists) expr()     {}
func (*Subquery) expr()   {}

package ast

// Query is a complete query: WITH ... body ORDER BY ... LIMIT ... OFFSET ...
type Query struct {
	Pos
	With    *With // nil when absent
	Body    QueryBody
	OrderBy []*OrderItem
	Limit   Expr // nil: no limit; FETCH FIRST n ROWS ONLY and LIMIT n are the same
	Offset  Expr // nil: 0
}

// With is the list of common table expressions in front of a query.
type With struct {
	Pos
	Recursive bool
	CTEs      []*CTE
}

// CTE is one `name (columns) AS (query)`.
type CTE struct {
	Pos
	Name    string
	Columns []string // empty: the query's own names
	Query   *Query
}

// Select is one SELECT block.
type Select struct {
	Pos
	Distinct bool
	Items    []*SelectItem
	From     []TableRef // several: a cross join, as the comma says; empty: one row
	Where    Expr       // nil when absent
	GroupBy  []Expr     // as written: ordinals and output names are not resolved here
	Having   Expr       // nil when absent
}

// SelectItem is one output column; Expr may be a *Star.
type SelectItem struct {
	Pos
	Expr  Expr
	Alias string // "": none was given
}

// OrderItem is one sort key of ORDER BY, in a query, an aggregate or a window.
type OrderItem struct {
	Pos
	Expr  Expr
	Desc  bool
	Nulls NullsOrder
}

// NullsOrder says where NULLs sort.
type NullsOrder uint8

// The places of NULLs in an order. NullsDefault is as in Postgres: last when
// ascending, first when descending.
const (
	NullsDefault NullsOrder = iota
	NullsFirst
	NullsLast
)

// NullsAreFirst resolves the default.
func (o *OrderItem) NullsAreFirst() bool {
	if o.Nulls == NullsDefault {
		return o.Desc
	}
	return o.Nulls == NullsFirst
}

// Values is VALUES (1, 'a'), (2, 'b'): every row has the same length, >= 1.
type Values struct {
	Pos
	Rows [][]Expr
}

// SetOpKind is UNION, EXCEPT or INTERSECT.
type SetOpKind uint8

// The set operators.
const (
	Union SetOpKind = iota
	Except
	Intersect
)

// String returns the keyword.
func (k SetOpKind) String() string { return [...]string{"UNION", "EXCEPT", "INTERSECT"}[k] }

// SetOp combines two bodies; INTERSECT binds tighter, the rest is from the left.
type SetOp struct {
	Pos
	Kind        SetOpKind
	All         bool
	Left, Right QueryBody
}

// TableName is a table, view, CTE or virtual table: `flows`, `system.segments`,
// `metrics."http_requests_total"`.
type TableName struct {
	Pos
	Parts []string // 1 to 3 parts, the last is the table
	Alias *Alias   // nil when absent
}

// Alias is AS name (columns).
type Alias struct {
	Pos
	Name    string
	Columns []string // empty: none renamed
}

// TableSubquery is a query in FROM, its alias may be nil. (VALUES ...) is one too.
type TableSubquery struct {
	Pos
	Query *Query
	Alias *Alias
}

// TableFunc is a function that returns rows: `trace('4bf9...')`, `generate_series(1, 9)`.
type TableFunc struct {
	Pos
	Call       *FuncCall
	Ordinality bool // WITH ORDINALITY
	Alias      *Alias
}

// JoinKind is the kind of a join.
type JoinKind uint8

// The kinds of joins.
const (
	JoinInner JoinKind = iota
	JoinLeft
	JoinRight
	JoinFull
	JoinCross
)

// String returns the keywords in front of JOIN, "" for an inner join.
func (k JoinKind) String() string { return [...]string{"", "LEFT", "RIGHT", "FULL", "CROSS"}[k] }

// Join joins two items. Exactly one of On, Using, Natural is set, none for CROSS.
type Join struct {
	Pos
	Kind        JoinKind
	Asof        bool // ASOF [LEFT] JOIN: per left row the closest right row by the one inequality in On
	Natural     bool
	Left, Right TableRef
	On          Expr
	Using       []string
}

// ShowKind says what SHOW lists.
type ShowKind uint8

// What SHOW lists.
const (
	ShowTables    ShowKind = iota
	ShowColumns            // of Table
	ShowTagKeys            // of Table
	ShowTagValues          // of Table, Key
	ShowSettings           // SHOW SETTINGS and SHOW ALL
	ShowFunctions
	ShowSetting      // SHOW name: one setting, in Name
	ShowRollups      // with their progress
	ShowCreateRollup // the statement that makes Table
	ShowRetention    // of every stored table
	ShowTagCardinality
)

// Show is a SHOW statement. Where, Like and Limit narrow the list.
type Show struct {
	Pos
	Kind  ShowKind
	Table *TableName // for columns, tag keys, tag values and the statement of a rollup; never with an alias
	Key   Expr       // tag values: *Ident or *Subscript, such as pod, client.pod, server.label['app']
	Name  string     // one setting: its name, dots included
	Like  Expr       // nil when absent; a *String pattern for the first column
	ILike bool       // the pattern ignores case
	Where Expr       // nil when absent; over the columns of the list
	Limit Expr       // nil when absent
}

// Describe is DESCRIBE table, or of the columns of a query.
type Describe struct {
	Pos
	Table *TableName // nil when Query is set
	Query *Query
}

// Explain shows the plan of a statement; with Analyze it runs it.
type Explain struct {
	Pos
	Analyze   bool
	Verbose   bool
	Format    string // "" (text), "text" or "json"
	Statement Statement
}

// Checkpoint makes everything written so far durable in segments.
type Checkpoint struct{ Pos }

// Set is SET name = value. No values mean DEFAULT, which is also what RESET
// name says; RESET ALL has the name "all".
type Set struct {
	Pos
	Local  bool   // until the end of the transaction
	Name   string // lower case, dots included
	Values []Expr // literals; a bare word such as `on` is a *String
}

// TransactionKind is BEGIN, COMMIT or ROLLBACK.
type TransactionKind uint8

// The transaction statements. Clients send them; queries only read.
const (
	Begin TransactionKind = iota
	Commit
	Rollback
)

// String returns the keyword.
func (k TransactionKind) String() string { return [...]string{"BEGIN", "COMMIT", "ROLLBACK"}[k] }

// Transaction is BEGIN, COMMIT or ROLLBACK in any of their spellings.
type Transaction struct {
	Pos
	Kind TransactionKind
}

// CreateRollup is CREATE ROLLUP: rows of Table, summed up for each bucket of time and each combination of the keys.
type CreateRollup struct {
	Pos
	IfNotExists bool
	Name        *TableName // never with an alias, as Table
	Table       *TableName
	Every       *Interval // width of a bucket
	Keys        []Expr    // at least one; *Ident or *Subscript, such as server_port, client.pod, server.label['app']
	Keep        *Interval // how long it is kept; nil: for ever
}

// DropRollup is DROP ROLLUP.
type DropRollup struct {
	Pos
	IfExists bool
	Name     *TableName // never with an alias
}

// SetRetention is ALTER TABLE ... SET RETENTION.
type SetRetention struct {
	Pos
	Table *TableName // never with an alias
	Keep  *Interval  // nil: FOREVER
}

func (*Query) statement()        {}
func (*Show) statement()         {}
func (*Describe) statement()     {}
func (*Explain) statement()      {}
func (*Checkpoint) statement()   {}
func (*Set) statement()          {}
func (*Transaction) statement()  {}
func (*CreateRollup) statement() {}
func (*DropRollup) statement()   {}
func (*SetRetention) statement() {}

func (*Select) queryBody() {}
func (*Values) queryBody() {}
func (*SetOp) queryBody()  {}
func (*Query) queryBody()  {}

func (*TableName) tableRef()     {}
func (*TableSubquery) tableRef() {}
func (*TableFunc) tableRef()     {}
func (*Join) tableRef()          {}

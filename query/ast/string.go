package ast

// The String methods print canonical SQL: keywords in upper case, names bare
// where possible, the fewest parentheses that parse back to an equal tree.

// String returns canonical SQL.
func (x *Query) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Show) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Describe) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Explain) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Checkpoint) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Set) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Transaction) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *CreateRollup) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *DropRollup) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *SetRetention) String() string { return string(appendStatement(nil, x)) }

// String returns canonical SQL.
func (x *Select) String() string { return string(appendBody(nil, x)) }

// String returns canonical SQL.
func (x *Values) String() string { return string(appendBody(nil, x)) }

// String returns canonical SQL.
func (x *SetOp) String() string { return string(appendBody(nil, x)) }

// String returns canonical SQL.
func (x *TableName) String() string { return string(appendTable(nil, x)) }

// String returns canonical SQL.
func (x *TableSubquery) String() string { return string(appendTable(nil, x)) }

// String returns canonical SQL.
func (x *TableFunc) String() string { return string(appendTable(nil, x)) }

// String returns canonical SQL.
func (x *Join) String() string { return string(appendTable(nil, x)) }

// String returns canonical SQL.
func (x *Ident) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Star) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Integer) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Decimal) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *String) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Bool) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Null) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Interval) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Param) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Array) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Row) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Subscript) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Unary) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Logical) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Binary) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Like) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Is) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Distinct) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Between) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *In) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Quantified) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Case) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Cast) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *FuncCall) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *NamedArg) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Extract) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *AtTimeZone) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Collate) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Exists) String() string { return string(appendBare(nil, x)) }

// String returns canonical SQL.
func (x *Subquery) String() string { return string(appendBare(nil, x)) }

// String returns the type as written in SQL.
func (t *TypeName) String() string { return string(appendType(nil, t)) }

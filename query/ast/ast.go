// Package ast holds the syntax tree of Flowlake's SQL: plain structs with
// positions, that print back to canonical SQL text.
//
// The tree says what was written, not what it means: names are unresolved and
// types unchecked. package parse makes it, package plan reads it. A tree is not
// changed once parsed and may be shared by goroutines; RewriteExpr copies what
// it changes. Nodes are always used by pointer.
//
// Unquoted names are folded to lower case by the parser, so every name in the
// tree is compared byte by byte.
package ast

// Pos is a place in the SQL text. The zero Pos means "made by us, not written".
type Pos struct {
	Offset int // bytes from the start of the text, from 0
	Line   int // from 1
	Column int // in code points, from 1
}

// Position returns the place itself; embedding Pos makes a struct a Node.
func (p Pos) Position() Pos { return p }

// IsValid reports whether the place is one in a text.
func (p Pos) IsValid() bool { return p.Line > 0 }

// Node is any part of the tree. Its position is that of its first token, but
// for operators (Binary, Like, In, Between, Is, Distinct, Quantified, SetOp,
// Join) that of the operator, where an error is best shown.
type Node interface {
	Position() Pos
}

// Statement is one complete statement.
type Statement interface {
	Node
	// String returns the statement as canonical SQL, without a semicolon.
	String() string
	statement()
}

// Expr is a scalar expression, an aggregate or a star.
type Expr interface {
	Node
	// String returns the expression as canonical SQL.
	String() string
	expr()
}

// TableRef is an item of a FROM clause: *TableName, *TableSubquery,
// *TableFunc or *Join.
type TableRef interface {
	Node
	// String returns the item as canonical SQL.
	String() string
	tableRef()
}

// QueryBody is what a Query orders and limits: *Select, *Values, *SetOp, or a
// *Query of its own when it was put in parentheses with an ORDER BY, LIMIT or
// WITH inside.
type QueryBody interface {
	Node
	// String returns the body as canonical SQL.
	String() string
	queryBody()
}

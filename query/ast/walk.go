package ast

// Walk visits n and everything below it, parents first, in the order of the
// text. When f returns false, what is below that node is left out; to stay in
// one query, return false for a *Query.
func Walk(n Node, f func(Node) bool) {
	if f(n) {
		Children(n, func(c Node) { Walk(c, f) })
	}
}

// Children calls f for the direct children of n.
func Children(n Node, f func(Node)) {
	switch n := n.(type) {
	case Expr:
		exprChildren(n, f)
	case *Query:
		if n.With != nil {
			f(n.With)
		}
		f(n.Body)
		each(n.OrderBy, f)
		opt(n.Limit, f)
		opt(n.Offset, f)
	case *With:
		each(n.CTEs, f)
	case *CTE:
		f(n.Query)
	case *Select:
		each(n.Items, f)
		each(n.From, f)
		opt(n.Where, f)
		each(n.GroupBy, f)
		opt(n.Having, f)
	case *SelectItem:
		f(n.Expr)
	case *OrderItem:
		f(n.Expr)
	case *Values:
		for _, row := range n.Rows {
			each(row, f)
		}
	case *SetOp:
		f(n.Left)
		f(n.Right)
	case *TableName:
		optAlias(n.Alias, f)
	case *TableSubquery:
		f(n.Query)
		optAlias(n.Alias, f)
	case *TableFunc:
		f(n.Call)
		optAlias(n.Alias, f)
	case *Join:
		f(n.Left)
		f(n.Right)
		opt(n.On, f)
	case *Show:
		if n.Table != nil {
			f(n.Table)
		}
		opt(n.Key, f)
		opt(n.Like, f)
		opt(n.Where, f)
		opt(n.Limit, f)
	case *Describe:
		if n.Query != nil {
			f(n.Query)
		} else {
			f(n.Table)
		}
	case *Explain:
		f(n.Statement)
	case *Set:
		each(n.Values, f)
	case *CreateRollup:
		f(n.Name)
		f(n.Table)
		f(n.Every)
		each(n.Keys, f)
		if n.Keep != nil {
			f(n.Keep)
		}
	case *DropRollup:
		f(n.Name)
	case *SetRetention:
		f(n.Table)
		if n.Keep != nil {
			f(n.Keep)
		}
	case *When:
		f(n.Cond)
		f(n.Result)
	case *Window:
		each(n.PartitionBy, f)
		each(n.OrderBy, f)
		if n.Frame != nil {
			f(n.Frame)
		}
	case *Frame:
		opt(n.Start.Offset, f)
		opt(n.End.Offset, f)
	}
}

func exprChildren(e Expr, f func(Node)) {
	switch e := e.(type) {
	case *Array:
		each(e.Elems, f)
	case *Row:
		each(e.Elems, f)
	case *Subscript:
		f(e.Base)
		f(e.Index)
	case *Unary:
		f(e.Expr)
	case *Logical:
		each(e.Terms, f)
	case *Binary:
		f(e.Left)
		f(e.Right)
	case *Like:
		f(e.Expr)
		f(e.Pattern)
		opt(e.Escape, f)
	case *Is:
		f(e.Expr)
	case *Distinct:
		f(e.Left)
		f(e.Right)
	case *Between:
		f(e.Expr)
		f(e.Low)
		f(e.High)
	case *In:
		f(e.Expr)
		each(e.List, f)
		optQuery(e.Query, f)
	case *Quantified:
		f(e.Left)
		opt(e.Array, f)
		optQuery(e.Query, f)
	case *Case:
		opt(e.Operand, f)
		each(e.Whens, f)
		opt(e.Else, f)
	case *Cast:
		f(e.Expr)
		f(e.Type)
	case *FuncCall:
		each(e.Args, f)
		each(e.OrderBy, f)
		each(e.WithinGroup, f)
		opt(e.Filter, f)
		if e.Over != nil {
			f(e.Over)
		}
	case *NamedArg:
		f(e.Value)
	case *Extract:
		f(e.Expr)
	case *AtTimeZone:
		f(e.Expr)
		f(e.Zone)
	case *Collate:
		f(e.Expr)
	case *Exists:
		f(e.Query)
	case *Subquery:
		f(e.Query)
	}
}

func each[T Node](list []T, f func(Node)) {
	for _, n := range list {
		f(n)
	}
}

func opt(e Expr, f func(Node)) {
	if e != nil {
		f(e)
	}
}

func optAlias(a *Alias, f func(Node)) {
	if a != nil {
		f(a)
	}
}

func optQuery(q *Query, f func(Node)) {
	if q != nil {
		f(q)
	}
}

package ast

// RewriteExpr returns e with f applied to every expression in it, from the
// leaves up; f returns its argument or what replaces it. What changes is
// copied with its parents, the rest is shared, and e itself stays as it was.
// Queries inside e (IN, EXISTS, scalar subqueries) have names of their own and
// are left alone; their left-hand sides are not.
func RewriteExpr(e Expr, f func(Expr) Expr) Expr {
	if e == nil {
		return nil
	}
	r := rewriter{f: f}
	return r.expr(e)
}

type rewriter struct{ f func(Expr) Expr }

func (r *rewriter) expr(e Expr) Expr {
	if e == nil {
		return nil
	}
	return r.f(r.below(e))
}

// one rewrites a field in place of a copy made on first change.
func one[T any](r *rewriter, orig *T, cp **T, get func(*T) *Expr) {
	old := *get(orig)
	if now := r.expr(old); now != old {
		if *cp == orig {
			c := *orig
			*cp = &c
		}
		*get(*cp) = now
	}
}

// list rewrites the elements; the same slice comes back when none changed.
func (r *rewriter) list(in []Expr) ([]Expr, bool) {
	var out []Expr
	for i, e := range in {
		now := r.expr(e)
		if now != e && out == nil {
			out = append(make([]Expr, 0, len(in)), in[:i]...)
		}
		if out != nil {
			out = append(out, now)
		}
	}
	if out == nil {
		return in, false
	}
	return out, true
}

func (r *rewriter) order(in []*OrderItem) ([]*OrderItem, bool) {
	var out []*OrderItem
	for i, it := range in {
		c := it
		one(r, it, &c, func(x *OrderItem) *Expr { return &x.Expr })
		if c != it && out == nil {
			out = append(make([]*OrderItem, 0, len(in)), in[:i]...)
		}
		if out != nil {
			out = append(out, c)
		}
	}
	if out == nil {
		return in, false
	}
	return out, true
}

// below rewrites the children of e. One flat switch.
func (r *rewriter) below(e Expr) Expr {
	switch e := e.(type) {
	case *Array:
		if l, ok := r.list(e.Elems); ok {
			return &Array{e.Pos, l}
		}
	case *Row:
		if l, ok := r.list(e.Elems); ok {
			return &Row{e.Pos, l}
		}
	case *Subscript:
		c := e
		one(r, e, &c, func(x *Subscript) *Expr { return &x.Base })
		one(r, e, &c, func(x *Subscript) *Expr { return &x.Index })
		return c
	case *Unary:
		c := e
		one(r, e, &c, func(x *Unary) *Expr { return &x.Expr })
		return c
	case *Logical:
		if l, ok := r.list(e.Terms); ok {
			return &Logical{e.Pos, e.Or, l}
		}
	case *Binary:
		c := e
		one(r, e, &c, func(x *Binary) *Expr { return &x.Left })
		one(r, e, &c, func(x *Binary) *Expr { return &x.Right })
		return c
	case *Like:
		c := e
		one(r, e, &c, func(x *Like) *Expr { return &x.Expr })
		one(r, e, &c, func(x *Like) *Expr { return &x.Pattern })
		one(r, e, &c, func(x *Like) *Expr { return &x.Escape })
		return c
	case *Is:
		c := e
		one(r, e, &c, func(x *Is) *Expr { return &x.Expr })
		return c
	case *Distinct:
		c := e
		one(r, e, &c, func(x *Distinct) *Expr { return &x.Left })
		one(r, e, &c, func(x *Distinct) *Expr { return &x.Right })
		return c
	case *Between:
		c := e
		one(r, e, &c, func(x *Between) *Expr { return &x.Expr })
		one(r, e, &c, func(x *Between) *Expr { return &x.Low })
		one(r, e, &c, func(x *Between) *Expr { return &x.High })
		return c
	case *In:
		c := e
		one(r, e, &c, func(x *In) *Expr { return &x.Expr })
		if l, ok := r.list(e.List); ok {
			d := *c
			d.List, c = l, &d
		}
		return c
	case *Quantified:
		c := e
		one(r, e, &c, func(x *Quantified) *Expr { return &x.Left })
		one(r, e, &c, func(x *Quantified) *Expr { return &x.Array })
		return c
	case *Case:
		return r.caseExpr(e)
	case *Cast:
		c := e
		one(r, e, &c, func(x *Cast) *Expr { return &x.Expr })
		return c
	case *FuncCall:
		return r.call(e)
	case *NamedArg:
		c := e
		one(r, e, &c, func(x *NamedArg) *Expr { return &x.Value })
		return c
	case *Extract:
		c := e
		one(r, e, &c, func(x *Extract) *Expr { return &x.Expr })
		return c
	case *AtTimeZone:
		c := e
		one(r, e, &c, func(x *AtTimeZone) *Expr { return &x.Expr })
		one(r, e, &c, func(x *AtTimeZone) *Expr { return &x.Zone })
		return c
	case *Collate:
		c := e
		one(r, e, &c, func(x *Collate) *Expr { return &x.Expr })
		return c
	}
	return e
}

func (r *rewriter) caseExpr(e *Case) Expr {
	c := *e
	changed := false
	c.Operand = r.expr(e.Operand)
	c.Whens = make([]*When, len(e.Whens))
	for i, w := range e.Whens {
		n := w
		one(r, w, &n, func(x *When) *Expr { return &x.Cond })
		one(r, w, &n, func(x *When) *Expr { return &x.Result })
		c.Whens[i] = n
		changed = changed || n != w
	}
	c.Else = r.expr(e.Else)
	if changed || c.Operand != e.Operand || c.Else != e.Else {
		return &c
	}
	return e
}

func (r *rewriter) call(e *FuncCall) Expr {
	c := *e
	var args, order, within, over bool
	c.Args, args = r.list(e.Args)
	c.OrderBy, order = r.order(e.OrderBy)
	c.WithinGroup, within = r.order(e.WithinGroup)
	c.Filter = r.expr(e.Filter)
	if e.Over != nil {
		w := *e.Over
		var p, o bool
		w.PartitionBy, p = r.list(w.PartitionBy)
		w.OrderBy, o = r.order(w.OrderBy)
		if over = p || o; over {
			c.Over = &w
		}
	}
	if args || order || within || over || c.Filter != e.Filter {
		return &c
	}
	return e
}

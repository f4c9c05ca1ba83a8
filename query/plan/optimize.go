package plan

import (
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/exec"
)

// Optimize moves conditions down the tree, those that storage can answer into its requests, and drops columns that
// nobody reads. view may be nil.
func Optimize(n exec.Node, view *tags.View) exec.Node {
	n = push(n, view)
	need := make([]bool, len(n.Cols()))
	for i := range need {
		need[i] = true
	}
	n, _ = prune(n, need)
	return n
}

// push moves the terms of filters towards the scans.
func push(n exec.Node, view *tags.View) exec.Node {
	switch n := n.(type) {
	case *exec.Filter:
		in, rest := pushInto(n.Input, n.Terms, view)
		if len(rest) == 0 {
			return in
		}
		return &exec.Filter{Input: in, Terms: rest}
	case *exec.Project:
		n.Input = push(n.Input, view)
	case *exec.Aggregate:
		n.Input = push(n.Input, view)
	case *exec.Sort:
		n.Input = push(n.Input, view)
	case *exec.Limit:
		n.Input = push(n.Input, view)
	case *exec.Window:
		n.Input = push(n.Input, view)
	case *exec.Union:
		for i := range n.List {
			n.List[i] = push(n.List[i], view)
		}
	case *exec.Join:
		n.Left, n.Right = push(n.Left, view), push(n.Right, view)
	}
	return n
}

// pushInto moves terms below n as far as they go; rest is what must stay above.
func pushInto(n exec.Node, terms []exec.Expr, view *tags.View) (out exec.Node, rest []exec.Expr) {
	switch n := n.(type) {
	case *exec.Filter:
		return pushInto(n.Input, append(append([]exec.Expr{}, n.Terms...), terms...), view)
	case *exec.Scan:
		for _, t := range terms {
			if !pushTerm(n, t, view) {
				rest = append(rest, t)
			}
		}
		return n, rest
	case *exec.Project:
		below := make([]exec.Expr, len(terms))
		for i, t := range terms {
			below[i] = exec.Remap(t, func(c *exec.Column) exec.Expr { return n.Exprs[c.Index] })
		}
		n.Input = filtered(n.Input, below, view)
		return n, nil
	case *exec.Aggregate:
		var below []exec.Expr
		for _, t := range terms {
			if len(n.Keys) > 0 && columnsBelow(t, len(n.Keys)) {
				below = append(below, exec.Remap(t, func(c *exec.Column) exec.Expr { return n.Keys[c.Index] }))
			} else {
				rest = append(rest, t)
			}
		}
		n.Input = filtered(n.Input, below, view)
		return n, rest
	case *exec.Union:
		for i := range n.List {
			n.List[i] = filtered(n.List[i], terms, view)
		}
		return n, nil
	case *exec.Join:
		return n, pushJoin(n, terms, view)
	}
	return push(n, view), terms
}

// filtered is n with terms pushed into it and a filter above for what stays.
func filtered(n exec.Node, terms []exec.Expr, view *tags.View) exec.Node {
	out, rest := pushInto(n, terms, view)
	if len(rest) > 0 {
		return &exec.Filter{Input: out, Terms: rest}
	}
	return out
}

// columnsBelow says whether e uses columns, and only the first n.
func columnsBelow(e exec.Expr, n int) bool {
	any, ok := false, true
	exec.Columns(e, func(c *exec.Column) { any, ok = true, ok && c.Index < n })
	return any && ok
}

// pushJoin moves terms that concern one side of a join into it; the right side of a left
// or ASOF join must stay whole, both sides of a full one.
func pushJoin(j *exec.Join, terms []exec.Expr, view *tags.View) (rest []exec.Expr) {
	nl := len(j.Left.Cols())
	inner := j.Kind == exec.JoinInner && j.Asof == nil // fewer rows on the right would be others that are closest
	var left, right []exec.Expr
	for _, t := range terms {
		switch side := sideOf(t, nl); {
		case side == 1 && j.Kind != exec.JoinFull:
			left = append(left, t)
		case side == 2 && inner:
			right = append(right, exec.Remap(t, func(c *exec.Column) exec.Expr {
				return &exec.Column{Index: c.Index - nl, Typ: c.Typ, Name: c.Name}
			}))
		case side == 3 && inner:
			if k, ok := equalKey(t, nl); ok { // FROM a, b WHERE a.x = b.y
				j.LeftKeys, j.RightKeys = append(j.LeftKeys, k[0]), append(j.RightKeys, k[1])
			} else {
				j.On = append(j.On, t)
			}
		default:
			rest = append(rest, t)
		}
	}
	j.Left, j.Right = filtered(j.Left, left, view), filtered(j.Right, right, view)
	return rest
}

// prune drops columns that are not needed; to maps old columns to new ones.
func prune(n exec.Node, need []bool) (out exec.Node, to []int) {
	switch n := n.(type) {
	case *exec.Scan:
		return n, pruneScan(n, need)
	case *exec.Filter:
		return n, pruneFilter(n, need)
	case *exec.Project:
		return n, pruneProject(n, need)
	case *exec.Aggregate:
		return n, pruneAggregate(n, need)
	case *exec.Window:
		return n, pruneWindow(n, need)
	case *exec.Sort:
		for _, k := range n.Keys {
			need[k.Column] = true
		}
		n.Input, to = prune(n.Input, need)
		for i := range n.Keys {
			n.Keys[i].Column = to[n.Keys[i].Column]
		}
		return n, to
	case *exec.Limit:
		n.Input, to = prune(n.Input, need)
		return n, to
	case *exec.Union:
		for i := range n.List {
			whole := make([]bool, len(n.Output))
			for k := range whole {
				whole[k] = true
			}
			n.List[i], _ = prune(n.List[i], whole)
		}
	case *exec.Join:
		return n, pruneJoin(n, need)
	}
	return n, identity(len(n.Cols()))
}

func identity(n int) []int {
	to := make([]int, n)
	for i := range to {
		to[i] = i
	}
	return to
}

func moved(e exec.Expr, to []int) exec.Expr {
	return exec.Remap(e, func(c *exec.Column) exec.Expr {
		return &exec.Column{Index: to[c.Index], Typ: c.Typ, Name: c.Name}
	})
}

func movedAll(list []exec.Expr, to []int) {
	for i := range list {
		list[i] = moved(list[i], to)
	}
}

func mark(need []bool, list ...exec.Expr) {
	for _, e := range list {
		exec.Columns(e, func(c *exec.Column) { need[c.Index] = true })
	}
}

func pruneScan(n *exec.Scan, need []bool) []int {
	to := make([]int, len(need))
	var cols []int
	var out []exec.Col
	for i, keep := range need {
		if keep {
			to[i] = len(cols)
			cols = append(cols, n.Request.Columns[i])
			out = append(out, n.Output[i])
		}
	}
	n.Request.Columns, n.Output = cols, out
	return to
}

func pruneFilter(n *exec.Filter, need []bool) (to []int) {
	mark(need, n.Terms...)
	n.Input, to = prune(n.Input, need)
	movedAll(n.Terms, to)
	return to
}

// fuse takes a projection into the one above it, where that computes nothing twice.
func fuse(n *exec.Project) {
	for {
		in, ok := n.Input.(*exec.Project)
		if !ok {
			return
		}
		uses := make([]int, len(in.Exprs))
		for _, e := range n.Exprs {
			exec.Columns(e, func(c *exec.Column) { uses[c.Index]++ })
		}
		for i, e := range in.Exprs {
			_, col := e.(*exec.Column)
			_, lit := e.(*exec.Const)
			if uses[i] > 1 && !col && !lit {
				return
			}
		}
		for i, e := range n.Exprs {
			n.Exprs[i] = exec.Remap(e, func(c *exec.Column) exec.Expr { return in.Exprs[c.Index] })
		}
		n.Input = in.Input
	}
}

func pruneProject(n *exec.Project, need []bool) []int {
	fuse(n)
	to := make([]int, len(need))
	var exprs []exec.Expr
	var out []exec.Col
	for i, keep := range need {
		if keep {
			to[i] = len(exprs)
			exprs, out = append(exprs, n.Exprs[i]), append(out, n.Output[i])
		}
	}
	n.Exprs, n.Output = exprs, out
	below := make([]bool, len(n.Input.Cols()))
	mark(below, n.Exprs...)
	in, m := prune(n.Input, below)
	n.Input = in
	movedAll(n.Exprs, m)
	return to
}

func pruneAggregate(n *exec.Aggregate, need []bool) []int {
	to := identity(len(need))
	nk := len(n.Keys)
	var aggs []*exec.Agg
	out := append([]exec.Col{}, n.Output[:nk]...)
	for i, a := range n.Aggs {
		if need[nk+i] {
			to[nk+i] = nk + len(aggs)
			aggs, out = append(aggs, a), append(out, n.Output[nk+i])
		}
	}
	if nk+len(aggs) > 0 { // an aggregate without any column still counts its one row
		n.Aggs, n.Output = aggs, out
	}
	below := make([]bool, len(n.Input.Cols()))
	mark(below, n.Keys...)
	for _, a := range n.Aggs {
		mark(below, a.Args...)
		if a.Filter != nil {
			mark(below, a.Filter)
		}
	}
	in, m := prune(n.Input, below)
	n.Input = in
	movedAll(n.Keys, m)
	for _, a := range n.Aggs {
		movedAll(a.Args, m)
		if a.Filter != nil {
			a.Filter = moved(a.Filter, m)
		}
	}
	return to
}

func pruneJoin(n *exec.Join, need []bool) []int {
	mark(need, n.On...)
	nl := len(n.Left.Cols())
	mark(need[:nl], n.LeftKeys...)
	mark(need[nl:], n.RightKeys...)
	if n.Asof != nil {
		mark(need[:nl], n.Asof.Left)
		mark(need[nl:], n.Asof.Right)
	}
	l, ml := prune(n.Left, append([]bool{}, need[:nl]...))
	r, mr := prune(n.Right, append([]bool{}, need[nl:]...))
	n.Left, n.Right = l, r
	movedAll(n.LeftKeys, ml)
	movedAll(n.RightKeys, mr)
	if n.Asof != nil {
		n.Asof.Left, n.Asof.Right = moved(n.Asof.Left, ml), moved(n.Asof.Right, mr)
	}
	to := append([]int{}, ml...)
	for _, i := range mr {
		to = append(to, len(l.Cols())+i)
	}
	movedAll(n.On, to)
	return to
}

// isInt says whether values of a type are whole numbers in memory.
func isInt(t schema.Type) bool { return t.Physical() == schema.Int64 }

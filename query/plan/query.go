package plan

import (
	"context"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
)

// query plans a query with its WITH, ORDER BY and LIMIT.
func (p *Planner) query(q *ast.Query) (*relation, error) {
	if p.relations++; p.relations > maxRelations {
		return nil, errorAt(q, stateTooComplex, "the query reads more than %d tables and subqueries", maxRelations)
	}
	saved := p.ctes
	defer func() { p.ctes = saved }()
	if q.With != nil {
		if q.With.Recursive {
			return nil, errorAt(q.With, stateUnsupported, "WITH RECURSIVE is not supported")
		}
		for _, c := range q.With.CTEs {
			p.ctes = append(slices.Clip(p.ctes), cte{c, len(p.ctes)})
		}
	}
	limit, offset, err := p.bounds(q)
	if err != nil {
		return nil, err
	}
	var rel *relation
	switch b := q.Body.(type) {
	case *ast.Select:
		return p.selectBlock(b, q.OrderBy, limit, offset)
	case *ast.Values:
		rel, err = p.values(b)
	case *ast.SetOp:
		rel, err = p.setOp(b)
	case *ast.Query:
		rel, err = p.query(b)
	}
	if err != nil {
		return nil, err
	}
	var keys []exec.SortKey
	for _, o := range q.OrderBy {
		i, err := outputColumn(o.Expr, rel)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			return nil, errorAt(o.Expr, stateBadOrder, "ORDER BY here must name an output column or its number")
		}
		keys = append(keys, sortKey(o, i))
	}
	rel.node = orderAndLimit(rel.node, keys, limit, offset)
	return rel, nil
}

func sortKey(o *ast.OrderItem, column int) exec.SortKey {
	return exec.SortKey{Column: column, Desc: o.Desc, NullsFirst: o.NullsAreFirst()}
}

func orderAndLimit(n exec.Node, keys []exec.SortKey, limit, offset int64) exec.Node {
	if len(keys) > 0 {
		s := &exec.Sort{Input: n, Keys: keys, Limit: -1}
		if limit >= 0 && limit+offset <= 1<<24 && limit+offset >= 0 {
			s.Limit = limit + offset
		}
		n = s
	}
	if limit >= 0 || offset > 0 {
		n = &exec.Limit{Input: n, Count: limit, Offset: offset}
	}
	return n
}

// bounds are LIMIT (-1 for none) and OFFSET.
func (p *Planner) bounds(q *ast.Query) (limit, offset int64, err error) {
	get := func(e ast.Expr, word string, none int64) (int64, error) {
		if e == nil {
			return none, nil
		}
		x := &binder{p: p, rel: &relation{}, clause: word}
		b, err := x.bind(e)
		if err != nil {
			return 0, err
		}
		c, ok := b.(*exec.Const)
		if ok && c.Value.Null {
			return none, nil
		}
		if ok {
			if b, err = x.to(e, b, schema.BigInt); err == nil {
				if n := b.(*exec.Const).Value.I; n >= 0 {
					return n, nil
				}
			}
		}
		return 0, errorAt(e, stateBadLimit, "%s must be a whole number that is not negative", word)
	}
	if limit, err = get(q.Limit, "LIMIT", -1); err == nil {
		offset, err = get(q.Offset, "OFFSET", 0)
	}
	return limit, offset, err
}

// outputColumn resolves an ordinal or the name of an output column; -1 for anything else.
func outputColumn(e ast.Expr, rel *relation) (int, error) {
	switch e := e.(type) {
	case *ast.Integer:
		if e.Value < 1 || e.Value > int64(len(rel.cols)) {
			return -1, errorAt(e, stateBadOrder, "position %d is not in the select list of %d columns", e.Value, len(rel.cols))
		}
		return int(e.Value) - 1, nil
	case *ast.Ident:
		if len(e.Parts) == 1 {
			return slices.IndexFunc(rel.cols, func(c relCol) bool { return c.name == e.Parts[0] }), nil
		}
	}
	return -1, nil
}

// selectPlan is a SELECT block while it is planned.
type selectPlan struct {
	p     *Planner
	sel   *ast.Select
	in    *binder // over FROM
	out   *binder // over FROM, or over the groups
	items []*ast.SelectItem
	exprs []exec.Expr
	cols  []relCol
}

func (p *Planner) selectBlock(sel *ast.Select, order []*ast.OrderItem, limit, offset int64) (*relation, error) {
	from, err := p.from(sel)
	if err != nil {
		return nil, err
	}
	s := &selectPlan{p: p, sel: sel, in: &binder{p: p, rel: from, clause: "SELECT"}}
	if sel.Where != nil {
		x := *s.in
		x.clause = "WHERE"
		cond, err := x.condition(sel.Where)
		if err != nil {
			return nil, err
		}
		from.node = &exec.Filter{Input: from.node, Terms: conjuncts(cond)}
	}
	if err := s.expandStars(); err != nil {
		return nil, err
	}
	node, having, err := s.group(order)
	if err != nil {
		return nil, err
	}
	windows := &windowScope{}
	out := *s.out
	out.win = windows
	s.out = &out
	if err := s.bindItems(); err != nil {
		return nil, err
	}
	visible := len(s.exprs)
	keys, err := s.order(order)
	if err != nil {
		return nil, err
	}
	if s.out.agg != nil {
		node = s.aggregate(node)
		if having != nil {
			node = &exec.Filter{Input: node, Terms: conjuncts(having)}
		}
	}
	if len(windows.calls) > 0 {
		var real func(exec.Expr) exec.Expr
		node, real = windows.apply(node)
		for i := range s.exprs {
			s.exprs[i] = real(s.exprs[i])
		}
	}
	rel := s.project(node)
	if sel.Distinct {
		if len(s.exprs) > visible {
			return nil, errorAt(order[0], stateBadOrder, "with SELECT DISTINCT, ORDER BY can only use what is selected")
		}
		rel = distinct(rel)
	}
	rel.node = orderAndLimit(rel.node, keys, limit, offset)
	return rel.first(visible), nil
}

// first is the first n columns: those behind were only sorted by.
func (r *relation) first(n int) *relation {
	if n == len(r.cols) {
		return r
	}
	cut := &exec.Project{Input: r.node}
	for i := range n {
		cut.Exprs = append(cut.Exprs, r.column(i))
	}
	cut.Output = r.node.Cols()[:n]
	return &relation{node: cut, cols: r.cols[:n]}
}

func conjuncts(e exec.Expr) []exec.Expr {
	if l, ok := e.(*exec.Logic); ok && !l.Or {
		var out []exec.Expr
		for _, t := range l.Terms {
			out = append(out, conjuncts(t)...)
		}
		return out
	}
	return []exec.Expr{e}
}

func (s *selectPlan) expandStars() error {
	for _, it := range s.sel.Items {
		star, ok := it.Expr.(*ast.Star)
		if !ok {
			s.items = append(s.items, it)
			continue
		}
		table := ""
		if len(star.Qualifier) > 0 {
			table = star.Qualifier[len(star.Qualifier)-1]
		}
		if len(s.sel.From) == 0 {
			return errorAt(star, stateSyntax, "SELECT * needs a table").hint("add FROM")
		}
		n := len(s.items)
		for _, c := range s.in.rel.cols {
			if table != "" && c.table != table || c.hidden && table == "" {
				continue
			}
			id := &ast.Ident{Pos: star.Pos, Parts: []string{c.name}}
			if c.table != "" && (c.hidden || s.in.rel.count(c.name) > 1) {
				id.Parts = []string{c.table, c.name}
			}
			s.items = append(s.items, &ast.SelectItem{Pos: star.Pos, Expr: id})
		}
		if len(s.items) == n {
			err := errorAt(star, stateUnknownTable, "there is no table %q in FROM", table)
			if sug := parse.Suggest(table, s.in.qualifiers()); sug != "" {
				err.hint("did you mean %s.*?", sug)
			}
			return err
		}
	}
	return nil
}

func (r *relation) count(name string) int {
	n := 0
	for _, c := range r.cols {
		if c.name == name && !c.hidden {
			n++
		}
	}
	return n
}

// group decides whether there are groups and prepares binding above them; it also binds HAVING.
func (s *selectPlan) group(order []*ast.OrderItem) (exec.Node, exec.Expr, error) {
	sel := s.sel
	grouped := len(sel.GroupBy) > 0 || sel.Having != nil
	for _, it := range s.items {
		grouped = grouped || hasAggregate(it.Expr)
	}
	for _, o := range order {
		grouped = grouped || hasAggregate(o.Expr)
	}
	s.out = s.in
	if !grouped {
		return s.in.rel.node, nil, nil
	}
	key := *s.in
	key.clause = "GROUP BY"
	scope := &aggScope{input: s.in}
	for _, g := range sel.GroupBy {
		e, err := s.groupExpr(g)
		if err != nil {
			return nil, nil, err
		}
		b, err := key.bind(e)
		if err != nil {
			return nil, nil, err
		}
		scope.keys = append(scope.keys, groupKey{e, b, s.in.unit(b)})
	}
	x := *s.in
	x.agg = scope
	s.out = &x
	if sel.Having == nil {
		return s.in.rel.node, nil, nil
	}
	h := x
	h.clause = "HAVING"
	cond, err := h.condition(s.aliased(sel.Having))
	return s.in.rel.node, cond, err
}

// groupExpr resolves an ordinal or the name of an output column in GROUP BY; names of input columns come first.
func (s *selectPlan) groupExpr(e ast.Expr) (ast.Expr, error) {
	switch g := e.(type) {
	case *ast.Integer:
		if g.Value < 1 || g.Value > int64(len(s.items)) {
			return nil, errorAt(g, stateBadOrder, "GROUP BY position %d is not in the select list of %d columns", g.Value, len(s.items))
		}
		return s.items[g.Value-1].Expr, nil
	case *ast.Ident:
		if len(g.Parts) == 1 {
			return s.alias(g), nil
		}
	}
	return e, nil
}

// alias is the selected expression of a name that is not an input column.
func (s *selectPlan) alias(id *ast.Ident) ast.Expr {
	if b, err := s.in.lookup(id, id.Parts); b != nil || err != nil {
		return id
	}
	for _, it := range s.items {
		if it.Alias == id.Parts[0] {
			return it.Expr
		}
	}
	return id
}

// aliased replaces names of output columns in an expression.
func (s *selectPlan) aliased(e ast.Expr) ast.Expr {
	return ast.RewriteExpr(e, func(e ast.Expr) ast.Expr {
		if id, ok := e.(*ast.Ident); ok && len(id.Parts) == 1 {
			return s.alias(id)
		}
		return e
	})
}

func (s *selectPlan) bindItems() error {
	for _, it := range s.items {
		b, err := s.out.bind(it.Expr)
		if err != nil {
			return err
		}
		s.exprs = append(s.exprs, b)
		col := relCol{name: columnName(it), typ: b.Type(), unit: s.out.unit(b)}
		if c, ok := b.(*exec.Column); ok && s.out.agg == nil && c.Index < windowBase {
			col.merge = s.in.rel.cols[c.Index].merge
		}
		s.cols = append(s.cols, col)
	}
	return nil
}

// order binds ORDER BY; what is not selected is appended to the expressions.
func (s *selectPlan) order(order []*ast.OrderItem) ([]exec.SortKey, error) {
	var keys []exec.SortKey
	for _, o := range order {
		i, err := outputColumn(o.Expr, &relation{cols: s.cols[:len(s.items)]})
		if err != nil {
			return nil, err
		}
		for k := 0; i < 0 && k < len(s.items); k++ {
			if ast.Equal(o.Expr, s.items[k].Expr) {
				i = k
			}
		}
		if i < 0 {
			x := *s.out
			x.clause = "ORDER BY"
			b, err := x.bind(s.aliased(o.Expr))
			if err != nil {
				return nil, err
			}
			if _, ok := b.(*exec.Const); ok {
				continue // orders nothing
			}
			i = len(s.exprs)
			s.exprs = append(s.exprs, b)
			s.cols = append(s.cols, relCol{name: o.Expr.String(), typ: b.Type()})
		}
		if t := s.cols[i].typ; t == schema.Map {
			return nil, errorAt(o.Expr, stateUnknownFunction, "%s has no order", t)
		}
		keys = append(keys, sortKey(o, i))
	}
	return keys, nil
}

func (s *selectPlan) aggregate(in exec.Node) exec.Node {
	a := &exec.Aggregate{Input: in, Aggs: s.out.agg.aggs}
	for _, k := range s.out.agg.keys {
		a.Keys = append(a.Keys, k.bound)
		a.Output = append(a.Output, exec.Col{Name: k.bound.String(), Type: keyType(k.bound), Unit: k.unit})
	}
	for i, g := range a.Aggs {
		a.Output = append(a.Output, exec.Col{Name: g.String(), Type: g.Typ, Unit: s.out.agg.units[i]})
	}
	return a
}

func (s *selectPlan) project(in exec.Node) *relation {
	proj := &exec.Project{Input: in, Exprs: s.exprs}
	for _, c := range s.cols {
		proj.Output = append(proj.Output, exec.Col{Name: c.name, Type: c.typ, Unit: c.unit})
	}
	return &relation{node: proj, cols: s.cols}
}

func distinct(r *relation) *relation {
	a := &exec.Aggregate{Input: r.node}
	out := &relation{node: a, cols: slices.Clone(r.cols)}
	for i, c := range r.cols {
		key := r.column(i)
		a.Keys = append(a.Keys, key)
		out.cols[i].typ = keyType(key)
		a.Output = append(a.Output, exec.Col{Name: c.name, Type: out.cols[i].typ, Unit: c.unit})
	}
	return out
}

// columnName is the name PostgreSQL would give an output column.
func columnName(it *ast.SelectItem) string {
	if it.Alias != "" {
		return it.Alias
	}
	return exprName(it.Expr)
}

func exprName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name()
	case *ast.Subscript:
		if s, ok := e.Index.(*ast.String); ok {
			return s.Value
		}
	case *ast.FuncCall:
		return e.FuncName()
	case *ast.Extract:
		return "extract"
	case *ast.AtTimeZone:
		return "timezone"
	case *ast.Case:
		if e.Else != nil {
			if n := exprName(e.Else); n != "?column?" {
				return n
			}
		}
		return "case"
	case *ast.Cast:
		if n := exprName(e.Expr); n != "?column?" {
			return n
		}
		return e.Type.Name
	case *ast.Interval:
		return "interval"
	case *ast.Bool:
		return "bool"
	case *ast.Collate:
		return exprName(e.Expr)
	case *ast.Exists:
		return "exists"
	case *ast.Subquery:
		if s, ok := e.Query.Body.(*ast.Select); ok && len(s.Items) == 1 {
			return columnName(s.Items[0])
		}
	}
	return "?column?"
}

func (p *Planner) values(v *ast.Values) (*relation, error) {
	x := &binder{p: p, rel: &relation{}, clause: "VALUES"}
	cols := make([][]exec.Expr, len(v.Rows[0]))
	for _, row := range v.Rows {
		for i, e := range row {
			b, err := x.bind(e)
			if err != nil {
				return nil, err
			}
			cols[i] = append(cols[i], b)
		}
	}
	rows := make([][]exec.Value, len(v.Rows))
	var out []exec.Col
	for i, c := range cols {
		t, err := x.unify(v.Rows[0][i], "VALUES", c)
		if err != nil {
			return nil, err
		}
		if t == schema.Invalid {
			t = schema.Varchar
		}
		for r, e := range c {
			rows[r] = append(rows[r], e.(*exec.Const).Value)
		}
		out = append(out, exec.Col{Name: "column" + itoa(i+1), Type: t})
	}
	return relationOf(exec.ConstNode("Values", out, rows), ""), nil
}

func (p *Planner) setOp(s *ast.SetOp) (*relation, error) {
	sides := make([]*relation, 2)
	for i, b := range []ast.QueryBody{s.Left, s.Right} {
		rel, err := p.query(&ast.Query{Pos: b.Position(), Body: b})
		if err != nil {
			return nil, err
		}
		sides[i] = rel
	}
	l, r := sides[0], sides[1]
	if len(l.cols) != len(r.cols) {
		return nil, errorAt(s, stateSyntax, "the sides of %s must have as many columns: %d and %d", s.Kind, len(l.cols), len(r.cols))
	}
	x := &binder{p: p, rel: l}
	parts := [2]*exec.Project{{Input: l.node}, {Input: r.node}}
	out := &relation{cols: slices.Clone(l.cols)}
	for i := range l.cols {
		list := []exec.Expr{l.column(i), r.column(i)}
		t, err := x.unify(s, s.Kind.String(), list)
		if err != nil {
			return nil, err
		}
		if t == schema.Invalid {
			t = schema.Varchar
		}
		out.cols[i].typ, out.cols[i].table = t, ""
		for k, e := range list {
			if e.Type() == schema.Invalid {
				e = constant(exec.NullValue(t))
			}
			parts[k].Exprs = append(parts[k].Exprs, e)
			parts[k].Output = append(parts[k].Output, exec.Col{Name: l.cols[i].name, Type: t, Unit: l.cols[i].unit})
		}
	}
	if s.Kind == ast.Union {
		out.node = &exec.Union{List: []exec.Node{parts[0], parts[1]}, Output: parts[0].Output}
		if !s.All {
			return distinct(out), nil
		}
		return out, nil
	}
	if s.All {
		return nil, errorAt(s, stateUnsupported, "%s ALL is not supported", s.Kind)
	}
	return p.difference(s.Kind, parts, out), nil
}

// difference is EXCEPT and INTERSECT: rows are counted by side, then chosen.
func (p *Planner) difference(kind ast.SetOpKind, parts [2]*exec.Project, out *relation) *relation {
	n := len(out.cols)
	for k, part := range parts {
		part.Exprs = append(part.Exprs, constant(exec.BoolValue(k == 1)))
		part.Output = append(part.Output, exec.Col{Name: "right", Type: schema.Boolean})
	}
	side := &exec.Column{Index: n, Typ: schema.Boolean, Name: "right"}
	and, or := exec.LookupFunc("bool_and"), exec.LookupFunc("bool_or")
	a := &exec.Aggregate{Input: &exec.Union{List: []exec.Node{parts[0], parts[1]}, Output: parts[0].Output}}
	for i := range n {
		a.Keys = append(a.Keys, &exec.Column{Index: i, Typ: out.cols[i].typ, Name: out.cols[i].name})
	}
	a.Aggs = []*exec.Agg{
		{Fn: and, Impl: and.Aggregate.Overloads[0], Args: []exec.Expr{side}, Typ: schema.Boolean},
		{Fn: or, Impl: or.Aggregate.Overloads[0], Args: []exec.Expr{side}, Typ: schema.Boolean},
	}
	a.Output = append(slices.Clone(parts[0].Output[:n]), exec.Col{Name: "all", Type: schema.Boolean}, exec.Col{Name: "some", Type: schema.Boolean})
	onlyRight := &exec.Column{Index: n, Typ: schema.Boolean, Name: "only right"}
	someRight := &exec.Column{Index: n + 1, Typ: schema.Boolean, Name: "also right"}
	var cond exec.Expr = &exec.Not{X: someRight}
	if kind == ast.Intersect {
		cond = &exec.Logic{Terms: []exec.Expr{&exec.Not{X: onlyRight}, someRight}}
	}
	f := &exec.Filter{Input: a, Terms: conjuncts(cond)}
	cut := &exec.Project{Input: f, Exprs: a.Keys, Output: parts[0].Output[:n]}
	return &relation{node: cut, cols: out.cols}
}

// from plans the FROM clause; without one there is one row without columns.
func (p *Planner) from(sel *ast.Select) (*relation, error) {
	if len(sel.From) == 0 {
		return relationOf(exec.ConstNode("One row", nil, [][]exec.Value{nil}), ""), nil
	}
	var rel *relation
	for i, ref := range sel.From {
		r, err := p.ref(ref)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			rel = r
			continue
		}
		rel = join(exec.JoinInner, rel, r, nil, nil)
	}
	return rel, nil
}

func (p *Planner) ref(ref ast.TableRef) (*relation, error) {
	switch r := ref.(type) {
	case *ast.TableName:
		return p.table(r)
	case *ast.TableSubquery:
		rel, err := p.query(r.Query)
		if err != nil {
			return nil, err
		}
		return rename(r, rel, r.Alias, "")
	case *ast.Join:
		return p.join(r)
	case *ast.TableFunc:
		return p.tableFunc(r)
	}
	return nil, errorAt(ref, stateUnsupported, "%s is not supported in FROM", ref)
}

// rename gives the columns of a relation the names of an alias.
func rename(n ast.Node, rel *relation, a *ast.Alias, table string) (*relation, error) {
	out := &relation{node: rel.node, cols: slices.Clone(rel.cols)}
	if a != nil {
		table = a.Name
		if len(a.Columns) > len(out.cols) {
			return nil, errorAt(n, stateBadOrder, "%s has %d columns, but %d names are given", a.Name, len(out.cols), len(a.Columns))
		}
		for i, c := range a.Columns {
			out.cols[i].name = c
		}
	}
	for i := range out.cols {
		out.cols[i].table = table
		if out.cols[i].hidden {
			out.cols[i].name = "" // the names of the tables within are gone
		}
	}
	return out, nil
}

func (p *Planner) table(t *ast.TableName) (*relation, error) {
	name := t.Parts[len(t.Parts)-1]
	if len(t.Parts) == 1 {
		for i := len(p.ctes) - 1; i >= 0; i-- {
			if p.ctes[i].def.Name == name {
				return p.useCTE(t, p.ctes[i])
			}
		}
	}
	if p.relations++; p.relations > maxRelations {
		return nil, errorAt(t, stateTooComplex, "the query reads more than %d tables and subqueries", maxRelations)
	}
	if tab, ok := p.Lookup(t.Parts); ok {
		return rename(t, p.stored(tab), t.Alias, name)
	}
	if len(t.Parts) == 2 && t.Parts[0] == "metrics" {
		if tab, ok := p.Lookup([]string{"samples"}); ok {
			return p.metric(t, tab, name)
		}
	}
	err := errorAt(t, stateUnknownTable, "table %q does not exist", strings.Join(t.Parts, "."))
	names := p.TableNames()
	for _, c := range p.ctes {
		names = append(names, c.def.Name)
	}
	if s := parse.Suggest(strings.Join(t.Parts, "."), names); s != "" {
		return nil, err.hint("did you mean %s?", s)
	}
	return nil, err.hint("SHOW TABLES lists all tables")
}

func (p *Planner) useCTE(t *ast.TableName, c cte) (*relation, error) {
	saved := p.ctes
	p.ctes = p.ctes[:c.seen:c.seen]
	rel, err := p.query(c.def.Query)
	p.ctes = saved
	if err != nil {
		return nil, err
	}
	if rel, err = rename(t, rel, &ast.Alias{Name: c.def.Name, Columns: c.def.Columns}, ""); err != nil {
		return nil, err
	}
	return rename(t, rel, t.Alias, c.def.Name)
}

// stored is the relation of a table with all its columns; Optimize drops those not used.
func (p *Planner) stored(t Table) *relation {
	var cols []exec.Col
	all := make([]int, len(t.Schema.Columns))
	for i, c := range t.Schema.Columns {
		cols = append(cols, exec.Col{Name: c.Name, Type: c.Type, Unit: c.Unit})
		all[i] = i
	}
	if t.Load != nil {
		load := t.Load
		return relationOf(&exec.Values{Name: "Read " + t.Schema.Name, Output: cols, Load: func(ctx context.Context) ([]*batch.Batch, error) {
			b, err := load(ctx)
			if err != nil || b == nil {
				return nil, err
			}
			return []*batch.Batch{b}, nil
		}}, "")
	}
	req := &pred.Request{Table: t.Schema, Columns: all, From: pred.MinTime, To: pred.MaxTime, Stats: &pred.Stats{}}
	rel := relationOf(&exec.Scan{Open: p.Scan, Request: req, Output: cols, Choose: !t.Exact}, "")
	for i, c := range t.Schema.Columns {
		rel.cols[i].merge = c.Merge
	}
	return rel
}

// metric is metrics."name": the samples of one metric.
func (p *Planner) metric(t *ast.TableName, samples Table, name string) (*relation, error) {
	rel := p.stored(samples)
	for i := range rel.cols {
		if rel.cols[i].typ == schema.TagSet {
			cond := &exec.Compare{Op: exec.Eq, L: &exec.TagValue{X: rel.column(i), Key: "__name__"}, R: constant(exec.TextValue(name))}
			rel.node = &exec.Filter{Input: rel.node, Terms: []exec.Expr{cond}}
			return rename(t, rel, t.Alias, name)
		}
	}
	return nil, errorAt(t, stateUnknownTable, "table %q does not exist", strings.Join(t.Parts, "."))
}

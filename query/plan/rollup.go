package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/exec"
)

// useRollups answers aggregates over stored tables from the coarsest rollup that gives the same result. It runs before
// Optimize, while conditions still stand above the scans.
func (p *Planner) useRollups(n exec.Node) exec.Node {
	if p.Rollups == nil {
		return n
	}
	switch n := n.(type) {
	case *exec.Aggregate:
		if out := p.fromRollup(n); out != nil {
			return out
		}
		n.Input = p.useRollups(n.Input)
	case *exec.Filter:
		n.Input = p.useRollups(n.Input)
	case *exec.Project:
		n.Input = p.useRollups(n.Input)
	case *exec.Sort:
		n.Input = p.useRollups(n.Input)
	case *exec.Limit:
		n.Input = p.useRollups(n.Input)
	case *exec.Window:
		n.Input = p.useRollups(n.Input)
	case *exec.Union:
		for i := range n.List {
			n.List[i] = p.useRollups(n.List[i])
		}
	case *exec.Join:
		n.Left, n.Right = p.useRollups(n.Left), p.useRollups(n.Right)
	}
	return n
}

// flat is an Aggregate with all its expressions over the columns of a scan.
type flat struct {
	scan  *exec.Scan
	keys  []exec.Expr
	aggs  []*exec.Agg
	terms []exec.Expr // conjuncts that rows must satisfy
}

// flatten takes the filters and projections below an Aggregate into it; nil where something else is below.
func flatten(a *exec.Aggregate) *flat {
	f := &flat{keys: slices.Clone(a.Keys)}
	for _, g := range a.Aggs {
		c := *g
		c.Args = slices.Clone(g.Args)
		f.aggs = append(f.aggs, &c)
	}
	for n := a.Input; ; {
		switch in := n.(type) {
		case *exec.Scan:
			f.scan = in
			return f
		case *exec.Filter:
			for _, t := range in.Terms {
				f.terms = append(f.terms, conjuncts(t)...)
			}
			n = in.Input
		case *exec.Project:
			below := func(c *exec.Column) exec.Expr { return in.Exprs[c.Index] }
			all := func(list []exec.Expr) {
				for i := range list {
					list[i] = exec.Remap(list[i], below)
				}
			}
			all(f.keys)
			all(f.terms)
			for _, g := range f.aggs {
				all(g.Args)
				if g.Filter != nil {
					g.Filter = exec.Remap(g.Filter, below)
				}
			}
			n = in.Input
		default:
			return nil
		}
	}
}

// fromRollup is the Aggregate over a rollup; nil where none fits.
func (p *Planner) fromRollup(a *exec.Aggregate) exec.Node {
	f := flatten(a)
	if f == nil || !f.scan.Choose {
		return nil
	}
	table := f.scan.Request.Table
	var fits []schema.RollupStatus
	for _, s := range p.Rollups.Rollups() {
		if s.Rollup.Source.Name == table.Name {
			fits = append(fits, s)
		}
	}
	slices.SortFunc(fits, func(a, b schema.RollupStatus) int {
		x, y := &a.Rollup.Def, &b.Rollup.Def
		return cmp.Or(cmp.Compare(y.Every, x.Every), cmp.Compare(len(x.Keys), len(y.Keys)), strings.Compare(x.Name, y.Name))
	})
	var why []string
	var best *rolled // the finest that fits, so far
	for _, s := range fits {
		d := &s.Rollup.Def
		if best != nil && d.Every == best.every {
			continue // more keys
		}
		out, reason := p.tryRollup(f, a, s)
		if out == nil {
			why = append(why, fmt.Sprintf("rollup %s not used: %s", d.Name, reason))
			continue
		}
		if best != nil {
			why = append(why, fmt.Sprintf("rollup %s not used: the bounds of time cut its buckets of %s, of which all rows would be read", best.name, SpanText(best.every)))
		}
		out.name, out.every = d.Name, d.Every
		if best = out; !p.cutsMuch(out.scan.Request, int64(d.Every)) {
			break
		}
	}
	if best == nil {
		f.scan.Rejected = why
		return nil
	}
	best.scan.Rollup = fmt.Sprintf("rollup of %s, every %s", table.Name, SpanText(best.every))
	best.scan.Rejected = why
	return best.node
}

// edgeShare is how many buckets a range of time should have at least where its bounds cut some: the rows of those are read
// from the table, where there may be many for each row of the rollup.
const edgeShare = 256

// cutsMuch says whether a request's bounds cut buckets that are a good part of its range.
func (p *Planner) cutsMuch(req *pred.Request, every int64) bool {
	from, to := req.From, req.To
	cut := from != pred.MinTime && from%every != 0 || to != pred.MaxTime && to%every != 0
	if !cut || from == pred.MinTime {
		return false
	}
	if to == pred.MaxTime {
		to = max(p.NowNanos, from)
	}
	return (uint64(to)-uint64(from))/edgeShare < uint64(every)
}

// SpanText is a duration as people write it: 1m, 1h30m, 90d; 0 is forever.
func SpanText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "forever"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// rolled is an aggregate rewritten to a rollup.
type rolled struct {
	node  exec.Node
	scan  *exec.Scan
	name  string
	every time.Duration
}

// tryRollup rewrites an aggregate to a rollup; where that is not possible, reason says why.
func (p *Planner) tryRollup(f *flat, a *exec.Aggregate, s schema.RollupStatus) (out *rolled, reason string) {
	if !s.Ready {
		return nil, fmt.Sprintf("its backfill is not done: %d of %d segments", s.Done, s.Total)
	}
	x := newFit(p, f.scan, s.Rollup)
	for _, t := range f.terms {
		if !x.timeTerm(t) {
			x.rest = append(x.rest, t)
		}
	}
	if reason := x.damaged(s.Damaged); reason != "" {
		return nil, reason
	}
	if reason := x.retained(); reason != "" {
		return nil, reason
	}
	var filters []exec.Expr
	for _, t := range x.rest {
		filters = append(filters, conjuncts(x.condition(t))...)
	}
	agg := &exec.Aggregate{}
	for i, k := range f.keys {
		agg.Keys = append(agg.Keys, x.expr(k))
		agg.Output = append(agg.Output, a.Output[i])
	}
	proj := &exec.Project{Output: a.Output}
	for i, k := range agg.Keys {
		proj.Exprs = append(proj.Exprs, &exec.Column{Index: i, Typ: keyType(k), Name: a.Output[i].Name})
	}
	x.out = agg
	for _, g := range f.aggs {
		proj.Exprs = append(proj.Exprs, x.aggregate(g))
	}
	if x.why != "" {
		return nil, x.why
	}
	scan := x.source()
	agg.Input = scan
	if len(filters) > 0 {
		agg.Input = &exec.Filter{Input: scan, Terms: filters}
	}
	proj.Input = agg
	return &rolled{node: proj, scan: scan}, ""
}

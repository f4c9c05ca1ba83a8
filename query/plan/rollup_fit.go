package plan

import (
	"fmt"
	"math"
	"time"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/exec"
)

// fit translates expressions over the rows of a table to expressions over a rollup of it. The first thing that has no
// translation is noted; the result is of no use then.
type fit struct {
	p      *Planner
	from   *exec.Scan // of the table
	rollup *schema.Rollup
	every  int64
	req    *pred.Request // of the rollup
	cols   []exec.Col    // parallel to req.Columns
	rest   []exec.Expr   // conditions that are not bounds of time
	why    string        // "": all could be translated so far
	out    *exec.Aggregate
}

func newFit(p *Planner, from *exec.Scan, r *schema.Rollup) *fit {
	src := from.Request
	return &fit{p: p, from: from, rollup: r, every: int64(r.Def.Every),
		req: &pred.Request{Table: r.Target, From: src.From, To: src.To, Stats: &pred.Stats{}}}
}

func (x *fit) fail(format string, args ...any) {
	if x.why == "" {
		x.why = fmt.Sprintf(format, args...)
	}
}

// source is the scan of the rollup for the columns asked for.
func (x *fit) source() *exec.Scan {
	x.req.SourceTime = x.req.From != pred.MinTime || x.req.To != pred.MaxTime
	return &exec.Scan{Open: x.p.Scan, Request: x.req, Output: x.cols}
}

// target is a column of the rollup.
func (x *fit) target(ordinal int) *exec.Column {
	c := &x.rollup.Target.Columns[ordinal]
	at := -1
	for i, o := range x.req.Columns {
		if o == ordinal {
			at = i
		}
	}
	if at < 0 {
		at = len(x.req.Columns)
		x.req.Columns = append(x.req.Columns, ordinal)
		x.cols = append(x.cols, exec.Col{Name: c.Name, Type: c.Type, Unit: c.Unit})
	}
	return &exec.Column{Index: at, Typ: c.Type, Name: c.Name}
}

// timeTerm takes a bound of the time of rows into the request; false for any other condition.
func (x *fit) timeTerm(e exec.Expr) bool {
	t, ok := termOf(e)
	if !ok || x.from.Request.Columns[t.Column] != x.from.Request.Table.TimeColumn || t.Kind != pred.IntRange || t.Not {
		return false
	}
	boundTime(x.req, &t)
	return true
}

// retained checks that the rollup reaches as far back as the table does, or as the query asks; else it says why not.
func (x *fit) retained() string {
	keep, rows := x.p.Rollups.Retention(x.rollup.Target.Name), x.p.Rollups.Retention(x.from.Request.Table.Name)
	if keep <= 0 || rows > 0 && rows <= keep {
		return ""
	}
	if x.req.From >= x.p.NowNanos-int64(keep) {
		return ""
	}
	return fmt.Sprintf("it is kept for %s only, the query may ask for more", SpanText(keep))
}

// damaged says why a rollup that has lost segments is not used: as long as the table itself has all that the query asks for.
// Of times whose rows are gone from the table a rollup with gaps still tells more.
func (x *fit) damaged(segments int64) string {
	rows := x.p.Rollups.Retention(x.from.Request.Table.Name)
	if segments == 0 || rows > 0 && x.req.From < x.p.NowNanos-int64(rows) {
		return ""
	}
	return fmt.Sprintf("%d of its segments were set aside as damaged: DROP and CREATE fills it anew", segments)
}

// key is the target column of a key of the rollup, -1 where it is not grouped by it.
func (x *fit) key(column int, tag string) int {
	name := x.rollup.Source.Columns[column].Name
	for i, k := range x.rollup.Def.Keys {
		if k.Column != name || k.TagKey != tag {
			continue
		}
		at := x.rollup.Keys[i].Target
		src, dst := &x.rollup.Source.Columns[column], &x.rollup.Target.Columns[at]
		if tag == "" && (src.Type != dst.Type || src.Nullable && !dst.Nullable) {
			return -1
		}
		return at
	}
	return -1
}

// sourceColumn is the ordinal of the table's column that e is, -1 where it is something else.
func (x *fit) sourceColumn(e exec.Expr) int {
	if c, ok := e.(*exec.Column); ok {
		return x.from.Request.Columns[c.Index]
	}
	return -1
}

// tagKey is the target column of a key of a tag set; -1 where e is something else. It is text, ” where the set has no
// such key.
func (x *fit) tagKey(e exec.Expr) int {
	t, ok := e.(*exec.TagValue)
	if !ok {
		return -1
	}
	if c := x.sourceColumn(t.X); c >= 0 {
		return x.key(c, t.Key)
	}
	return -1
}

// expr translates an expression of keys and of buckets of time.
func (x *fit) expr(e exec.Expr) exec.Expr {
	return exec.Rewrite(e, func(e exec.Expr) exec.Expr {
		switch e := e.(type) {
		case *exec.TagValue:
			if at := x.tagKey(e); at >= 0 {
				fn := exec.OperatorFunc("not_empty")
				return &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{x.target(at)}, Typ: schema.Varchar}
			}
			if c := x.sourceColumn(e.X); c >= 0 && x.key(c, "") < 0 {
				x.fail("%s is not one of its keys", e)
				return e
			}
		case *exec.Column:
			at := x.key(x.sourceColumn(e), "")
			switch {
			case at >= 0:
				return x.target(at)
			case x.sourceColumn(e) == x.rollup.Source.TimeColumn:
				x.fail("%s is asked for more finely than in buckets of %s", e, SpanText(x.rollup.Def.Every))
			default:
				x.fail("%s is not one of its keys", e)
			}
			return e
		case *exec.Call:
			if arg, ok := x.bucket(e); ok {
				c := &exec.Call{Fn: e.Fn, Impl: e.Impl, Args: append([]exec.Expr{}, e.Args...), Typ: e.Typ}
				c.Args[arg] = exec.Remap(c.Args[arg], func(*exec.Column) exec.Expr { return x.target(x.rollup.Target.TimeColumn) })
				return c
			}
		}
		return nil
	})
}

// bucket says whether a call gives the same for all times in a bucket of the rollup; arg is its argument of time.
func (x *fit) bucket(e *exec.Call) (arg int, ok bool) {
	arg, step, origin, ok := e.Step()
	if !ok {
		return 0, false
	}
	t := e.Args[arg]
	zone, inZone := t.(*exec.Call)
	if inZone = inZone && zone.Fn.Name == "at_time_zone"; inZone {
		t = zone.Args[0]
	}
	if x.sourceColumn(t) != x.rollup.Source.TimeColumn {
		return 0, false
	}
	if step%x.every != 0 || origin%x.every != 0 {
		x.fail("%s is not made of whole buckets of %s", e, SpanText(x.rollup.Def.Every))
		return arg, true
	}
	if inZone && !x.zoneAligned(zone.Args[1]) {
		x.fail("the clock of %s is not always in step with buckets of %s", zone.Args[1], SpanText(x.rollup.Def.Every))
	}
	return arg, true
}

// zoneAligned says whether a zone's offsets, and the times at which they change, are multiples of the bucket wherever the
// request looks.
func (x *fit) zoneAligned(e exec.Expr) bool {
	c, ok := e.(*exec.Const)
	if !ok || c.Value.Null {
		return false
	}
	loc, err := time.LoadLocation(c.Value.S)
	if err != nil {
		return false
	}
	at := time.Unix(0, x.req.From).In(loc)
	for range 4000 { // some changes a year until the end of time are fewer
		_, off := at.Zone()
		if int64(off)*1e9%x.every != 0 {
			return false
		}
		_, end := at.ZoneBounds()
		if end.IsZero() || end.Year() > 2261 || end.UnixNano() >= x.req.To {
			return true
		}
		if !end.After(at) { // seen at the ends of leap years, from 2040 on
			end = at.Add(24 * time.Hour)
		}
		if _, after := end.Zone(); after != off && end.UnixNano()%x.every != 0 {
			return false
		}
		at = end
	}
	return false
}

// condition translates a condition that rows must satisfy, where NULL counts as false. Conditions on a tag are written
// so that storage can answer them.
func (x *fit) condition(e exec.Expr) exec.Expr {
	switch c := e.(type) {
	case *exec.Compare:
		op, l, r := c.Op, c.L, c.R
		if _, isConst := l.(*exec.Const); isConst {
			op, l, r = op.Flip(), r, l
		}
		k, isConst := r.(*exec.Const)
		if at := x.tagKey(l); at >= 0 && isConst && !k.Value.Null {
			return x.present(at, &exec.Compare{Op: op, L: x.target(at), R: k})
		}
	case *exec.IsNull:
		if at := x.tagKey(c.X); at >= 0 {
			op := exec.Eq
			if c.Not {
				op = exec.Ne
			}
			return &exec.Compare{Op: op, L: x.target(at), R: constant(exec.TextValue(""))}
		}
	case *exec.In:
		if at := x.tagKey(c.X); at >= 0 && !c.HasNull {
			in := *c
			in.X = x.target(at)
			return x.present(at, &in)
		}
	case *exec.Match:
		if at := x.tagKey(c.X); at >= 0 {
			m := *c
			m.X = x.target(at)
			return x.present(at, &m)
		}
	}
	return x.expr(e)
}

// present joins a condition on a tag's column with that the tag is there.
func (x *fit) present(at int, e exec.Expr) exec.Expr {
	if c, ok := e.(*exec.Compare); ok && c.Op == exec.Eq && c.R.(*exec.Const).Value.S != "" {
		return e // no need: '' does not equal it
	}
	is := &exec.Compare{Op: exec.Ne, L: x.target(at), R: constant(exec.TextValue(""))}
	return &exec.Logic{Terms: []exec.Expr{e, is}}
}

// boundTime narrows the time of a request by a range.
func boundTime(req *pred.Request, t *pred.Term) {
	req.From = max(req.From, t.Lo)
	if t.Hi < math.MaxInt64 {
		req.To = min(req.To, t.Hi+1)
	}
	if t.Lo > t.Hi || req.From > req.To { // nothing can match
		req.To = req.From
	}
}

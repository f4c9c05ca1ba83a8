package plan

import (
	"bytes"
	"math"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/exec"
)

// pushTerm moves a condition into the request of a scan; false leaves it to a filter.
func pushTerm(s *exec.Scan, e exec.Expr, view *tags.View) bool {
	req := s.Request
	if t, ok := termOf(e); ok {
		t.Column = req.Columns[t.Column]
		if t.Kind == pred.IntRange && !t.Not && t.Column == req.Table.TimeColumn {
			boundTime(req, &t)
			return true
		}
		req.Terms = append(req.Terms, t)
		s.Pushed = append(s.Pushed, e.String())
		return true
	}
	if view == nil {
		return false
	}
	p := tagPusher{view: view, col: -1}
	if ids := p.ids(e, true); ids != nil {
		req.Terms = append(req.Terms, pred.Term{Column: req.Columns[p.col], Kind: pred.Tags, IDs: ids})
		s.Pushed = append(s.Pushed, e.String())
		return true
	}
	return false
}

// termOf translates a condition on one column that is not about tags. Term.Column is the index of the scan's column.
func termOf(e exec.Expr) (pred.Term, bool) {
	switch e := e.(type) {
	case *exec.Column:
		return pred.Term{Column: e.Index, Kind: pred.IntRange, Lo: 1, Hi: 1}, e.Typ == schema.Boolean
	case *exec.Not:
		t, ok := termOf(e.X)
		if t.Not = !t.Not; t.Kind == pred.Text {
			t.Equal = nil
		}
		return t, ok
	case *exec.IsNull:
		c, ok := e.X.(*exec.Column)
		if !ok || c.Typ == schema.TagSet {
			return pred.Term{}, false
		}
		return pred.Term{Column: c.Index, Kind: pred.IsNull, Not: e.Not}, true
	case *exec.Compare:
		return compareTerm(e)
	case *exec.In:
		return inTerm(e)
	case *exec.Match:
		return matchTerm(e)
	case *exec.Call:
		return callTerm(e)
	case *exec.Logic:
		return logicTerm(e)
	}
	return pred.Term{}, false
}

func compareTerm(e *exec.Compare) (t pred.Term, ok bool) {
	op, l, r := e.Op, e.L, e.R
	if _, isConst := l.(*exec.Const); isConst {
		op, l, r = op.Flip(), r, l
	}
	k, isConst := r.(*exec.Const)
	if !isConst || k.Value.Null {
		return t, false
	}
	if cast, isCast := l.(*exec.Cast); isCast && cast.Typ == schema.Double && !cast.Try {
		if c, isCol := cast.X.(*exec.Column); isCol && isInt(c.Typ) {
			return wholeTerm(c, op, k.Value.F)
		}
	}
	c, isCol := l.(*exec.Column)
	if !isCol {
		return t, false
	}
	t.Column = c.Index
	switch c.Typ.Physical() {
	case schema.Int64:
		return rangeTerm(t, op, k.Value.I), true
	case schema.Float64:
		return floatTerm(t, op, k.Value.F)
	case schema.Code:
		t.Kind = pred.Text
		want := []byte(k.Value.S)
		switch op {
		case exec.Eq:
			t.Equal = [][]byte{want}
			t.Match = func(v []byte) bool { return bytes.Equal(v, want) }
		case exec.Ne:
			t.Not = true
			t.Match = func(v []byte) bool { return bytes.Equal(v, want) }
		case exec.Lt:
			t.Match = func(v []byte) bool { return bytes.Compare(v, want) < 0 }
		case exec.Le:
			t.Match = func(v []byte) bool { return bytes.Compare(v, want) <= 0 }
		case exec.Gt:
			t.Match = func(v []byte) bool { return bytes.Compare(v, want) > 0 }
		default:
			t.Match = func(v []byte) bool { return bytes.Compare(v, want) >= 0 }
		}
		return t, true
	}
	return t, false
}

// rangeTerm is column op x for whole numbers.
func rangeTerm(t pred.Term, op exec.CompareOp, x int64) pred.Term {
	t.Kind, t.Lo, t.Hi = pred.IntRange, math.MinInt64, math.MaxInt64
	switch op {
	case exec.Eq:
		t.Lo, t.Hi = x, x
	case exec.Ne:
		t.Lo, t.Hi, t.Not = x, x, true
	case exec.Le:
		t.Hi = x
	case exec.Ge:
		t.Lo = x
	case exec.Lt: // not >= x: right at the ends of the range too
		t.Lo, t.Not = x, true
	case exec.Gt:
		t.Hi, t.Not = x, true
	}
	if t.Not && op == exec.Lt && x > math.MinInt64 {
		t.Lo, t.Hi, t.Not = math.MinInt64, x-1, false
	}
	if t.Not && op == exec.Gt && x < math.MaxInt64 {
		t.Lo, t.Hi, t.Not = x+1, math.MaxInt64, false
	}
	return t
}

// exactInt is the largest magnitude below which every whole number is a DOUBLE of its own.
const exactInt = 1 << 53

// wholeTerm is a whole-number column compared with a DOUBLE.
func wholeTerm(c *exec.Column, op exec.CompareOp, f float64) (pred.Term, bool) {
	t := pred.Term{Column: c.Index}
	if !(math.Abs(f) < exactInt) {
		return t, false
	}
	switch op {
	case exec.Lt:
		return rangeTerm(t, exec.Lt, int64(math.Ceil(f))), true
	case exec.Le:
		return rangeTerm(t, exec.Le, int64(math.Floor(f))), true
	case exec.Gt:
		return rangeTerm(t, exec.Gt, int64(math.Floor(f))), true
	case exec.Ge:
		return rangeTerm(t, exec.Ge, int64(math.Ceil(f))), true
	}
	if f != math.Trunc(f) {
		return t, false
	}
	return rangeTerm(t, op, int64(f)), true
}

// floatTerm is column op x for DOUBLE; NaN is above all numbers.
func floatTerm(t pred.Term, op exec.CompareOp, x float64) (pred.Term, bool) {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return t, false
	}
	t.Kind, t.FLo, t.FHi = pred.FloatRange, math.Inf(-1), math.NaN()
	switch op {
	case exec.Eq:
		t.FLo, t.FHi = x, x
	case exec.Ne:
		t.FLo, t.FHi, t.Not = x, x, true
	case exec.Le:
		t.FHi = x
	case exec.Ge:
		t.FLo = x
	case exec.Lt:
		t.FLo, t.Not = x, true
	case exec.Gt:
		t.FHi, t.Not = x, true
	}
	return t, true
}

func inTerm(e *exec.In) (t pred.Term, ok bool) {
	c, isCol := e.X.(*exec.Column)
	if !isCol || e.HasNull || len(e.List) == 0 {
		return t, false
	}
	t.Column, t.Not = c.Index, e.Not
	switch c.Typ.Physical() {
	case schema.Int64:
		t.Kind = pred.IntSet
		for _, v := range e.List {
			t.Ints = append(t.Ints, v.I)
		}
		slices.Sort(t.Ints)
		t.Ints = slices.Compact(t.Ints)
		return t, true
	case schema.Code:
		t.Kind = pred.Text
		set := make(map[string]struct{}, len(e.List))
		for _, v := range e.List {
			set[v.S] = struct{}{}
			if !e.Not {
				t.Equal = append(t.Equal, []byte(v.S))
			}
		}
		t.Match = func(v []byte) bool { _, in := set[string(v)]; return in }
		return t, true
	}
	return t, false
}

func matchTerm(e *exec.Match) (t pred.Term, ok bool) {
	c, isCol := e.X.(*exec.Column)
	f, err := exec.Matcher(e)
	if !isCol || err != nil {
		return t, false
	}
	t = pred.Term{Column: c.Index, Kind: pred.Text, Not: e.Not, Match: f}
	if lit, exact, ok := exec.LikePrefix(e.Pattern, e.Escape); ok && exact && e.Kind == exec.Like && !e.Not {
		t.Equal = [][]byte{[]byte(lit)}
	}
	return t, true
}

// callTerm is a condition that is a function of one coded column and constants, such as starts_with(endpoint, '/api').
func callTerm(e *exec.Call) (t pred.Term, ok bool) {
	if e.Typ != schema.Boolean || e.Impl.Row == nil || e.Impl.CalledOnNull {
		return t, false
	}
	at := -1
	for i, a := range e.Args {
		switch a := a.(type) {
		case *exec.Const:
			if a.Value.Null {
				return t, false
			}
		case *exec.Column:
			if at >= 0 || a.Typ.Physical() != schema.Code {
				return t, false
			}
			at, t.Column = i, a.Index
		default:
			return t, false
		}
	}
	if at < 0 {
		return t, false
	}
	t.Kind = pred.Text
	if e.Fn.Name == "inet_contains" && at == 1 {
		f, err := exec.CIDRMatcher(e.Args[0].(*exec.Const).Value.S)
		t.Match = f
		return t, err == nil
	}
	typ := e.Args[at].Type()
	t.Match = func(v []byte) bool {
		args := make([]exec.Value, len(e.Args))
		for i, a := range e.Args {
			if c, ok := a.(*exec.Const); ok {
				args[i] = c.Value
			}
		}
		args[at] = exec.Value{Type: typ, S: string(v)}
		r, err := e.Impl.Row(args)
		return err == nil && !r.Null && r.I != 0
	}
	return t, pureFunc(e.Fn.Name)
}

// pureFunc says whether a boolean function of text neither fails nor gives NULL, so that storage may evaluate it.
func pureFunc(name string) bool {
	switch name {
	case "starts_with", "ends_with", "contains", "is_private", "is_internet", "is_loopback", "is_multicast":
		return true
	}
	return false
}

// logicTerm joins an OR of terms on one column.
func logicTerm(e *exec.Logic) (out pred.Term, ok bool) {
	if !e.Or {
		return out, false
	}
	for i, x := range e.Terms {
		t, ok := termOf(x)
		if !ok || t.Not || i > 0 && (t.Column != out.Column || t.Kind == pred.Text != (out.Kind == pred.Text)) {
			return out, false
		}
		switch {
		case t.Kind == pred.Text:
			out = orText(out, t, i == 0)
		case t.Kind == pred.IntSet || t.Kind == pred.IntRange && t.Lo == t.Hi:
			if t.Kind == pred.IntRange {
				t.Ints = []int64{t.Lo}
			}
			out.Column, out.Kind = t.Column, pred.IntSet
			out.Ints = append(out.Ints, t.Ints...)
		default:
			return out, false
		}
	}
	slices.Sort(out.Ints)
	out.Ints = slices.Compact(out.Ints)
	return out, true
}

func orText(a, b pred.Term, first bool) pred.Term {
	if first {
		return b
	}
	f, g := a.Match, b.Match
	a.Match = func(v []byte) bool { return f(v) || g(v) }
	if a.Equal == nil || b.Equal == nil {
		a.Equal = nil
	} else {
		a.Equal = append(slices.Clone(a.Equal), b.Equal...)
	}
	return a
}

// tagPusher turns conditions on the keys of one tag-set column into the set of ids that satisfy them.
type tagPusher struct {
	view *tags.View
	col  int // column of the scan, -1 before one was met
}

// ids is the tag sets for which e is true (want) or false (not want); nil when e is about something else.
func (p *tagPusher) ids(e exec.Expr, want bool) *roaring.Bitmap {
	switch e := e.(type) {
	case *exec.Not:
		return p.ids(e.X, !want)
	case *exec.Logic:
		return p.logic(e, want)
	case *exec.IsNull:
		key, ok := p.key(e.X)
		if !ok {
			return nil
		}
		if e.Not == want { // has the key
			return p.view.Has(key)
		}
		return p.view.Missing(key)
	case *exec.Compare:
		op, l, r := e.Op, e.L, e.R
		if _, isConst := l.(*exec.Const); isConst {
			op, l, r = op.Flip(), r, l
		}
		k, isConst := r.(*exec.Const)
		if !isConst || k.Value.Null {
			return nil
		}
		if !want {
			op = op.Negate()
		}
		if op == exec.Eq {
			switch key, ok := p.key(l); {
			case !ok:
				return nil
			case k.Value.S == "": // no tag has it; View.Equal would take it for "missing", which is NULL in SQL
				return roaring.New()
			default:
				return p.view.Equal(key, k.Value.S)
			}
		}
		return p.match(l, func(v string) bool { return compareHolds(op, v, k.Value.S) })
	case *exec.In:
		if e.HasNull {
			return nil
		}
		set := make(map[string]bool, len(e.List))
		for _, v := range e.List {
			set[v.S] = true
		}
		return p.match(e.X, func(v string) bool { return set[v] == (want != e.Not) })
	case *exec.Match:
		f, err := exec.Matcher(e)
		if err != nil {
			return nil
		}
		return p.match(e.X, func(v string) bool { return f([]byte(v)) == (want != e.Not) })
	}
	return nil
}

func compareHolds(op exec.CompareOp, a, b string) bool {
	switch op {
	case exec.Eq:
		return a == b
	case exec.Ne:
		return a != b
	case exec.Lt:
		return a < b
	case exec.Le:
		return a <= b
	case exec.Gt:
		return a > b
	}
	return a >= b
}

// logic combines: for AND to be true all terms must be, to be false one is enough; OR the other way round.
func (p *tagPusher) logic(e *exec.Logic, want bool) *roaring.Bitmap {
	var out *roaring.Bitmap
	for _, t := range e.Terms {
		ids := p.ids(t, want)
		switch {
		case ids == nil:
			return nil
		case out == nil:
			out = ids.Clone()
		case e.Or == want:
			out.Or(ids)
		default:
			out.And(ids)
		}
	}
	return out
}

// key is the tag key that x reads, of the one column that all of the condition is about.
func (p *tagPusher) key(x exec.Expr) (string, bool) {
	t, ok := x.(*exec.TagValue)
	if !ok {
		return "", false
	}
	c, ok := t.X.(*exec.Column)
	if !ok || p.col >= 0 && p.col != c.Index {
		return "", false
	}
	p.col = c.Index
	return t.Key, true
}

func (p *tagPusher) match(x exec.Expr, f func(string) bool) *roaring.Bitmap {
	key, ok := p.key(x)
	if !ok {
		return nil
	}
	return p.view.Match(key, f)
}

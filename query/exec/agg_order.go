package exec

import (
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// extremeInt is min or max of what is held as int64.
type extremeInt struct {
	typ  schema.Type
	max  bool
	best []int64
	has  []bool
}

func (s *extremeInt) add(gids []uint32, groups int, args []*batch.Vector) error {
	v := args[0]
	s.best, s.has = extend(s.best, groups), extend(s.has, groups)
	best, has := s.best, s.has
	for i, g := range gids {
		if v.Valid != nil && !v.Valid.Get(i) {
			continue
		}
		x := v.I64[i]
		if !has[g] || (x > best[g]) == s.max && x != best[g] {
			best[g], has[g] = x, true
		}
	}
	return nil
}

func (s *extremeInt) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*extremeInt)
	s.best, s.has = extend(s.best, groups), extend(s.has, groups)
	for g, x := range f.best {
		to := remap[g]
		if f.has[g] && (!s.has[to] || (x > s.best[to]) == s.max && x != s.best[to]) {
			s.best[to], s.has[to] = x, true
		}
	}
	return nil
}

func (s *extremeInt) result(groups int) (*batch.Vector, error) {
	out := newResult(s.typ, groups)
	s.best, s.has = extend(s.best, groups), extend(s.has, groups)
	for g := range groups {
		out.I64[g] = s.best[g]
		if !s.has[g] {
			setNull(out, g, groups)
		}
	}
	return out, nil
}

func (s *extremeInt) bytes() int64 { return int64(cap(s.best))*8 + int64(cap(s.has)) }

// pickState keeps one value per group: the one that better prefers over the present one. It does min and max of DOUBLE
// and text, any, and first and last by a second argument.
type pickState struct {
	typ schema.Type
	// better says whether a value (with the order o of the second argument, 0 without) replaces the present one.
	better func(v Value, o int64, have *picked) bool
	groups []picked
	text   int64 // bytes of texts held
}

type picked struct {
	val   Value
	order int64
	has   bool
}

func (s *pickState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	v := args[0]
	for i, g := range gids {
		if v.IsNull(i) || len(args) > 1 && args[1].IsNull(i) {
			continue
		}
		var o int64
		if len(args) > 1 {
			o = args[1].I64[i]
		}
		s.offer(g, viewAt(v, i), o, true)
	}
	return nil
}

// offer gives group g a value, whose text is borrowed when copyText says so.
func (s *pickState) offer(g uint32, val Value, o int64, copyText bool) {
	p := &s.groups[g]
	if p.has && !s.better(val, o, p) {
		return
	}
	if copyText && val.S != "" {
		val.S = strings.Clone(val.S)
	}
	s.text += int64(len(val.S) - len(p.val.S))
	*p = picked{val, o, true}
}

func (s *pickState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, p := range from.(*pickState).groups {
		if p.has {
			s.offer(remap[g], p.val, p.order, false)
		}
	}
	return nil
}

func (s *pickState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	vals := make([]Value, groups)
	for g := range vals {
		if vals[g] = s.groups[g].val; !s.groups[g].has {
			vals[g] = NullValue(s.typ)
		}
	}
	return VectorOf(s.typ, vals), nil
}

func (s *pickState) bytes() int64 { return int64(cap(s.groups))*80 + s.text }

// VectorOf is a vector of the given values.
func VectorOf(t schema.Type, vals []Value) *batch.Vector {
	out := newResult(t, len(vals))
	var d batch.DictBuilder
	for i, v := range vals {
		if v.Null {
			setNull(out, i, len(vals))
			v = NullValue(t)
		}
		switch t.Physical() {
		case schema.Int64:
			out.I64[i] = v.I
		case schema.Float64:
			out.F64[i] = v.F
		case schema.ID:
			out.Codes[i] = uint32(v.I)
		default:
			out.Codes[i] = d.Code([]byte(v.S))
		}
	}
	if t.Physical() == schema.Code {
		out.Dict = d.Seal()
		if out.Dict.Len() == 0 {
			out.Dict = batch.DictOf("")
		}
	}
	return out
}

package exec

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// topkState counts values per group, exactly, and lists the most frequent ones as a JSON array of texts.
type topkState struct {
	k     int
	coder *coder
	pairs fold
	n     []int64 // by pair
	codes []uint32
	gids  []uint32
}

func (s *topkState) add(gids []uint32, groups int, args []*batch.Vector) error {
	n := len(gids)
	s.codes, s.gids = resize(s.codes, n), resize(s.gids, n)
	s.coder.codes(args[0], s.codes)
	copy(s.gids, gids)
	s.pairs.prepare(uint32(groups), s.coder.n)
	s.pairs.codes(s.gids, s.codes)
	s.n = extend(s.n, len(s.pairs.all()))
	for i, p := range s.gids {
		if !args[0].IsNull(i) {
			s.n[p]++
		}
	}
	return nil
}

func (s *topkState) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*topkState)
	f.coder.seal()
	tr := s.coder.translate(f.coder)
	s.pairs.prepare(uint32(groups), s.coder.n)
	for i, p := range f.pairs.all() {
		a, b := [1]uint32{remap[p>>32]}, [1]uint32{tr[uint32(p)]}
		s.pairs.codes(a[:], b[:])
		s.n = extend(s.n, len(s.pairs.all()))
		s.n[a[0]] += f.n[i]
	}
	return nil
}

func (s *topkState) result(groups int) (*batch.Vector, error) {
	s.coder.seal()
	type entry struct {
		val Value
		n   int64
	}
	lists := make([][]entry, groups)
	all := s.pairs.all()
	codes := make([]uint32, len(all))
	for i, p := range all {
		codes[i] = uint32(p)
	}
	var v batch.Vector
	s.coder.vector(&v, codes)
	for i, p := range all {
		if s.n[i] > 0 {
			lists[p>>32] = append(lists[p>>32], entry{viewAt(&v, i), s.n[i]})
		}
	}
	vals := make([]Value, groups)
	for g, l := range lists {
		slices.SortFunc(l, func(a, b entry) int {
			if c := cmp.Compare(b.n, a.n); c != 0 {
				return c
			}
			return CompareValues(a.val, b.val)
		})
		texts := make([]string, 0, min(s.k, len(l)))
		for _, e := range l[:min(s.k, len(l))] {
			texts = append(texts, e.val.Text())
		}
		vals[g] = jsonArray(texts)
	}
	return VectorOf(schema.Varchar, vals), nil
}

func jsonArray(texts []string) Value {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(texts); err != nil {
		return NullValue(schema.Varchar)
	}
	return TextValue(strings.TrimSuffix(b.String(), "\n"))
}

func (s *topkState) bytes() int64 {
	return s.coder.bytes() + s.pairs.bytes() + int64(cap(s.n))*8
}

// joinState is string_agg: the texts of each group in ascending order.
type joinState struct {
	sep    string
	groups [][]string
	held   int64
}

func (s *joinState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	for i, g := range gids {
		if !args[0].IsNull(i) {
			t := string(args[0].Bytes(i))
			s.groups[g] = append(s.groups[g], t)
			s.held += int64(len(t)) + 24
		}
	}
	return nil
}

func (s *joinState) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*joinState)
	s.groups = extend(s.groups, groups)
	s.held += f.held
	for g, l := range f.groups {
		s.groups[remap[g]] = append(s.groups[remap[g]], l...)
	}
	return nil
}

func (s *joinState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	vals := make([]Value, groups)
	for g, l := range s.groups[:groups] {
		if len(l) == 0 {
			vals[g] = NullValue(schema.Varchar)
			continue
		}
		slices.Sort(l)
		size := 0
		for _, t := range l {
			size += len(t) + len(s.sep)
		}
		if size > maxText {
			return nil, errTooLong()
		}
		vals[g] = TextValue(strings.Join(l, s.sep))
	}
	return VectorOf(schema.Varchar, vals), nil
}

func (s *joinState) bytes() int64 { return int64(cap(s.groups))*24 + s.held }

// apdexState counts satisfied (x <= t) and tolerated (x <= 4t) values; see the Apdex Technical Specification 1.1.
type apdexState struct {
	t      float64
	groups []apdex
}

type apdex struct{ n, satisfied, tolerated int64 }

func (s *apdexState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	for i, g := range gids {
		if args[0].IsNull(i) {
			continue
		}
		a := &s.groups[g]
		a.n++
		switch x := floatAt(args[0], i); {
		case x <= s.t:
			a.satisfied++
		case x <= 4*s.t:
			a.tolerated++
		}
	}
	return nil
}

func (s *apdexState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, f := range from.(*apdexState).groups {
		a := &s.groups[remap[g]]
		a.n, a.satisfied, a.tolerated = a.n+f.n, a.satisfied+f.satisfied, a.tolerated+f.tolerated
	}
	return nil
}

func (s *apdexState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	out := newResult(schema.Double, groups)
	for g, a := range s.groups[:groups] {
		if a.n == 0 {
			out.F64[g] = 0
			setNull(out, g, groups)
			continue
		}
		out.F64[g] = (float64(a.satisfied) + float64(a.tolerated)/2) / float64(a.n)
	}
	return out, nil
}

func (s *apdexState) bytes() int64 { return int64(cap(s.groups)) * 24 }

// spreadState is the distance of the greatest from the least value.
type spreadState struct {
	ratio  bool
	groups []extent
}

type extent struct {
	lo, hi float64
	has    bool
}

func (e *extent) add(x float64) {
	if !e.has {
		*e = extent{x, x, true}
	}
	e.lo, e.hi = min(e.lo, x), max(e.hi, x)
}

func (s *spreadState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	for i, g := range gids {
		if !args[0].IsNull(i) {
			s.groups[g].add(floatAt(args[0], i))
		}
	}
	return nil
}

func (s *spreadState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, e := range from.(*spreadState).groups {
		if e.has {
			s.groups[remap[g]].add(e.lo)
			s.groups[remap[g]].add(e.hi)
		}
	}
	return nil
}

func (s *spreadState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	out := newResult(schema.Double, groups)
	for g, e := range s.groups[:groups] {
		switch {
		case !e.has || s.ratio && e.lo == 0:
			out.F64[g] = 0
			setNull(out, g, groups)
		case s.ratio:
			out.F64[g] = e.hi / e.lo
		default:
			out.F64[g] = e.hi - e.lo
		}
	}
	return out, nil
}

func (s *spreadState) bytes() int64 { return int64(cap(s.groups)) * 24 }

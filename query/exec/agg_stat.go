package exec

import (
	"math"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// floatAt is a number as float64.
func floatAt(v *batch.Vector, i int) float64 {
	if v.F64 != nil {
		return v.F64[i]
	}
	return float64(v.I64[i])
}

// moments is a running mean and sum of squared deviations (Welford; merged after Chan, Golub and LeVeque).
type moments struct {
	n, mean, m2 float64
}

func (m *moments) add(x float64) {
	m.n++
	d := x - m.mean
	m.mean += d / m.n
	m.m2 += d * (x - m.mean)
}

func (m *moments) merge(o moments) {
	if o.n == 0 {
		return
	}
	n := m.n + o.n
	d := o.mean - m.mean
	m.mean += d * o.n / n
	m.m2 += o.m2 + d*d*m.n*o.n/n
	m.n = n
}

// varState is variance and standard deviation.
type varState struct {
	sample, root bool
	groups       []moments
}

func (s *varState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	v := args[0]
	for i, g := range gids {
		if !v.IsNull(i) {
			s.groups[g].add(floatAt(v, i))
		}
	}
	return nil
}

func (s *varState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, m := range from.(*varState).groups {
		s.groups[remap[g]].merge(m)
	}
	return nil
}

func (s *varState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	out := newResult(schema.Double, groups)
	for g := range groups {
		m, div := s.groups[g], s.groups[g].n
		if s.sample {
			div--
		}
		if div <= 0 {
			out.F64[g] = 0
			setNull(out, g, groups)
			continue
		}
		if out.F64[g] = m.m2 / div; s.root {
			out.F64[g] = math.Sqrt(out.F64[g])
		}
	}
	return out, nil
}

func (s *varState) bytes() int64 { return int64(cap(s.groups)) * 24 }

// quantState is the exact percentiles: it keeps every value.
type quantState struct {
	q      float64
	cont   bool // between two values, interpolate
	typ    schema.Type
	ints   [][]int64
	floats [][]float64
	held   int64
}

func (s *quantState) add(gids []uint32, groups int, args []*batch.Vector) error {
	v := args[0]
	if v.Type.Physical() == schema.Int64 {
		s.ints = extend(s.ints, groups)
	} else {
		s.floats = extend(s.floats, groups)
	}
	for i, g := range gids {
		if v.IsNull(i) {
			continue
		}
		s.held += 8
		if s.ints != nil {
			s.ints[g] = append(s.ints[g], v.I64[i])
		} else {
			s.floats[g] = append(s.floats[g], v.F64[i])
		}
	}
	return nil
}

func (s *quantState) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*quantState)
	s.held += f.held
	if f.ints != nil {
		s.ints = extend(s.ints, groups)
	}
	if f.floats != nil {
		s.floats = extend(s.floats, groups)
	}
	for g, l := range f.ints {
		s.ints[remap[g]] = append(s.ints[remap[g]], l...)
	}
	for g, l := range f.floats {
		s.floats[remap[g]] = append(s.floats[remap[g]], l...)
	}
	return nil
}

func (s *quantState) result(groups int) (*batch.Vector, error) {
	out := newResult(s.typ, groups)
	for g := range groups {
		lo, hi, frac, n := 0, 0, 0.0, 0
		switch {
		case g < len(s.ints):
			n = len(s.ints[g])
		case g < len(s.floats):
			n = len(s.floats[g])
		}
		if n == 0 {
			clearRow(out, g)
			setNull(out, g, groups)
			continue
		}
		lo, hi, frac = s.place(n)
		if s.ints != nil {
			l := s.ints[g]
			selectAt(l, lo, hi, compareInt)
			if s.typ == schema.Double {
				out.F64[g] = lerp(float64(l[lo]), float64(l[hi]), frac)
			} else {
				out.I64[g] = l[lo] + int64(math.Round(float64(l[hi]-l[lo])*frac))
			}
		} else {
			l := s.floats[g]
			selectAt(l, lo, hi, compareFloat)
			out.F64[g] = lerp(l[lo], l[hi], frac)
		}
	}
	return out, nil
}

// selectAt puts the elements that a sort would put at lo and hi = lo or lo+1 there (Hoare's quickselect, median of three).
func selectAt[T int64 | float64](l []T, lo, hi int, cmp func(a, b T) int) {
	from, to := 0, len(l)
	for rounds := 0; to-from > 32 && rounds < 100; rounds++ { // values that defeat the pivots are sorted instead
		p := pivot(l[from], l[(from+to)/2], l[to-1], cmp)
		i, j := from, to-1
		for i <= j {
			for cmp(l[i], p) < 0 {
				i++
			}
			for cmp(l[j], p) > 0 {
				j--
			}
			if i <= j {
				l[i], l[j] = l[j], l[i]
				i, j = i+1, j-1
			}
		}
		switch { // [from..j] <= p, (j..i) = p, [i..to) >= p
		case lo <= j:
			to = j + 1
		case lo >= i:
			from = i
		default:
			from, to = lo, lo // in its place
		}
	}
	slices.SortFunc(l[from:to], cmp)
	if hi > lo { // the least of what follows
		m := lo + 1
		for k := m + 1; k < len(l); k++ {
			if cmp(l[k], l[m]) < 0 {
				m = k
			}
		}
		l[hi], l[m] = l[m], l[hi]
	}
}

func pivot[T any](a, b, c T, cmp func(a, b T) int) T {
	if cmp(a, b) > 0 {
		a, b = b, a
	}
	if cmp(b, c) > 0 {
		b = c
		if cmp(a, b) > 0 {
			b = a
		}
	}
	return b
}

// place is where the percentile of n sorted values lies: between two of them, or at the first whose share reaches it.
func (s *quantState) place(n int) (lo, hi int, frac float64) {
	if !s.cont {
		i := min(max(int(math.Ceil(s.q*float64(n)))-1, 0), n-1)
		return i, i, 0
	}
	at := s.q * float64(n-1)
	lo = int(at)
	return lo, min(lo+1, n-1), at - float64(lo)
}

func lerp(a, b, f float64) float64 {
	if f == 0 {
		return a
	}
	return a + (b-a)*f
}

func clearRow(v *batch.Vector, i int) {
	if v.F64 != nil {
		v.F64[i] = 0
	} else if v.I64 != nil {
		v.I64[i] = 0
	}
}

func (s *quantState) bytes() int64 { return s.held*5/4 + int64(cap(s.ints)+cap(s.floats))*24 }

package exec

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Agg is one aggregate of an Aggregate operator.
type Agg struct {
	Fn     *Func
	Impl   *AggOverload
	Args   []Expr  // per row
	Consts []Value // the arguments behind them, constant
	// Distinct takes each value once per group; such an aggregate has one argument.
	Distinct bool
	Filter   Expr // nil: all rows
	Typ      schema.Type
}

// String is the aggregate as EXPLAIN shows it.
func (a *Agg) String() string {
	s := a.Fn.Name + "("
	if a.Distinct {
		s += "DISTINCT "
	}
	if len(a.Args) == 0 && len(a.Consts) == 0 {
		s += "*"
	}
	s += joinExprs(a.Args, ", ", false)
	for i, c := range a.Consts {
		if i > 0 || len(a.Args) > 0 {
			s += ", "
		}
		s += c.literal()
	}
	s += ")"
	if a.Filter != nil {
		s += " FILTER (WHERE " + a.Filter.String() + ")"
	}
	return s
}

// AggDef is what makes a function an aggregate.
type AggDef struct {
	Overloads []*AggOverload
	// Ordered aggregates may be written with WITHIN GROUP (ORDER BY x), which puts x in front of the arguments.
	Ordered bool
}

// AggOverload is one signature of an aggregate.
type AggOverload struct {
	Args   []schema.Type // per row; Any takes all types
	Consts []schema.Type // constants that follow
	Ret    schema.Type   // Any: the type of the first argument
	// Check looks at the constants; nil accepts all.
	Check func(consts []Value) error
	// New makes the state of one worker.
	New func(types []schema.Type, consts []Value) aggState
}

// Resolve picks the overload for argument types and the types to cast the row arguments to.
func (f *Func) ResolveAgg(types []schema.Type, literal []bool) (*AggOverload, []schema.Type) {
	var best *AggOverload
	var bestTypes []schema.Type
	bestCost := 1 << 30
	for _, o := range f.Aggregate.Overloads {
		ov := Overload{Args: append(append([]schema.Type{}, o.Args...), o.Consts...)}
		if want, cost, ok := ov.fit(types, literal); ok && cost < bestCost {
			best, bestTypes, bestCost = o, want, cost
		}
	}
	return best, bestTypes
}

// Result is the type of the aggregate for row arguments of the given types.
func (o *AggOverload) Result(types []schema.Type) schema.Type {
	if o.Ret == Any {
		if types[0] == schema.Invalid {
			return schema.Varchar
		}
		return types[0]
	}
	return o.Ret
}

// aggState is an aggregate's state for all groups of one worker.
type aggState interface {
	// add takes rows in: row i belongs to group gids[i] < groups. Vectors are borrowed.
	add(gids []uint32, groups int, args []*batch.Vector) error
	// merge takes another worker's state in; its group g is group remap[g] here. from is not used afterwards.
	merge(from aggState, remap []uint32, groups int) error
	// result is the value of each group.
	result(groups int) (*batch.Vector, error)
	// bytes is the memory held.
	bytes() int64
}

// newState makes the state of the aggregate for one worker.
func (a *Agg) newState() aggState {
	types := make([]schema.Type, len(a.Args))
	for i, e := range a.Args {
		types[i] = e.Type()
	}
	s := a.Impl.New(types, a.Consts)
	if a.Distinct {
		return &distinctState{coder: newCoder(types[0]), inner: s}
	}
	return s
}

// extend makes s have n elements, the new ones zero.
func extend[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n <= cap(s) {
		return s[:n]
	}
	c := make([]T, n, max(n+n/2, 16))
	copy(c, s)
	return c
}

// seen remembers which groups got a value. While no NULL came, every group has one and nothing is kept.
type seen struct {
	groups int     // groups before the present call
	bits   []uint8 // 1: got one
	strict bool
}

// begin prepares for rows with the validity of v; it says whether each row has to be marked.
func (s *seen) begin(v *batch.Vector, groups int) bool {
	if v.Valid != nil && !s.strict {
		s.makeStrict(s.groups)
	}
	s.groups = max(s.groups, groups)
	if s.strict {
		s.bits = extend(s.bits, s.groups)
	}
	return s.strict
}

func (s *seen) makeStrict(n int) {
	s.strict = true
	s.bits = extend(s.bits, n)
	for i := range s.bits {
		s.bits[i] = 1
	}
}

// has says whether group g got a value.
func (s *seen) has(g int) bool {
	if s.strict {
		return g < len(s.bits) && s.bits[g] != 0
	}
	return g < s.groups
}

// merge marks the groups that from has seen.
func (s *seen) merge(from *seen, remap []uint32, groups int) {
	if !s.strict {
		s.makeStrict(s.groups)
	}
	s.bits = extend(s.bits, groups)
	s.groups = groups
	for g, to := range remap {
		if from.has(g) {
			s.bits[to] = 1
		}
	}
}

// result makes the groups that got no value NULL.
func (s *seen) result(out *batch.Vector, groups int) {
	for g := range groups {
		if s.has(g) {
			continue
		}
		if out.Valid == nil {
			out.Valid = batch.NewBitmap(groups)
			out.Valid.Fill(groups)
		}
		out.Valid.Clear(g)
	}
}

// countState counts rows, or values where there is an argument.
type countState struct{ n []int64 }

func (s *countState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.n = extend(s.n, groups)
	n := s.n
	if len(args) == 0 || args[0].Valid == nil {
		if groups == 1 {
			n[0] += int64(len(gids))
			return nil
		}
		for _, g := range gids {
			n[g]++
		}
		return nil
	}
	valid := args[0].Valid
	for i, g := range gids {
		n[g] += int64(valid[i>>6] >> (uint(i) & 63) & 1)
	}
	return nil
}

func (s *countState) merge(from aggState, remap []uint32, groups int) error {
	s.n = extend(s.n, groups)
	for g, n := range from.(*countState).n {
		s.n[remap[g]] += n
	}
	return nil
}

func (s *countState) result(groups int) (*batch.Vector, error) {
	return &batch.Vector{Type: schema.BigInt, I64: extend(s.n, groups)[:groups]}, nil
}

func (s *countState) bytes() int64 { return int64(cap(s.n)) * 8 }

// sumInt sums whole numbers and intervals; leaving the range is an error.
type sumInt struct {
	typ  schema.Type
	sum  []int64
	seen seen
}

func (s *sumInt) add(gids []uint32, groups int, args []*batch.Vector) error {
	v := args[0]
	mark := s.seen.begin(v, groups)
	s.sum = extend(s.sum, groups)
	sum := s.sum
	var bad int64
	if !mark {
		vals := v.I64[:len(gids)]
		if groups == 1 {
			t := sum[0]
			for _, x := range vals {
				r := t + x
				bad |= (t ^ r) & (x ^ r)
				t = r
			}
			sum[0] = t
		} else {
			for i, g := range gids {
				x, t := vals[i], sum[g]
				r := t + x
				bad |= (t ^ r) & (x ^ r)
				sum[g] = r
			}
		}
	} else {
		s.addNullable(gids, v, &bad)
	}
	if bad < 0 {
		return s.overflow()
	}
	return nil
}

// addNullable adds 0 for NULLs, rather than branch on them.
func (s *sumInt) addNullable(gids []uint32, v *batch.Vector, bad *int64) {
	sum, seen := s.sum, s.seen.bits
	for i, g := range gids {
		k := uint64(1)
		if v.Valid != nil {
			k = v.Valid[i>>6] >> (uint(i) & 63) & 1
		}
		x, t := v.I64[i]&-int64(k), sum[g]
		r := t + x
		*bad |= (t ^ r) & (x ^ r)
		sum[g] = r
		seen[g] |= uint8(k)
	}
}

func (s *sumInt) overflow() error {
	return runErrorf(stateOutOfRange, "sum is out of range for %s; cast the argument to DOUBLE", s.typ)
}

func (s *sumInt) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*sumInt)
	s.sum = extend(s.sum, groups)
	for g, x := range f.sum {
		t := s.sum[remap[g]]
		r := t + x
		if (t^r)&(x^r) < 0 {
			return s.overflow()
		}
		s.sum[remap[g]] = r
	}
	s.seen.merge(&f.seen, remap, groups)
	return nil
}

func (s *sumInt) result(groups int) (*batch.Vector, error) {
	out := &batch.Vector{Type: s.typ, I64: extend(s.sum, groups)[:groups]}
	s.seen.result(out, groups)
	return out, nil
}

func (s *sumInt) bytes() int64 { return int64(cap(s.sum))*8 + int64(cap(s.seen.bits)) }

// meanState is sum and avg of DOUBLE, and avg of whole numbers and intervals.
type meanState struct {
	typ schema.Type // of the result
	avg bool
	sum []float64
	n   []int64
}

func (s *meanState) add(gids []uint32, groups int, args []*batch.Vector) error {
	v := args[0]
	s.sum, s.n = extend(s.sum, groups), extend(s.n, groups)
	sum, n := s.sum, s.n
	ints := v.Type.Physical() == schema.Int64
	switch {
	case v.Valid != nil:
		for i, g := range gids {
			if v.Valid.Get(i) {
				if ints {
					sum[g] += float64(v.I64[i])
				} else {
					sum[g] += v.F64[i]
				}
				n[g]++
			}
		}
	case ints:
		vals := v.I64[:len(gids)]
		for i, g := range gids {
			sum[g] += float64(vals[i])
			n[g]++
		}
	default:
		vals := v.F64[:len(gids)]
		for i, g := range gids {
			sum[g] += vals[i]
			n[g]++
		}
	}
	return nil
}

func (s *meanState) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*meanState)
	s.sum, s.n = extend(s.sum, groups), extend(s.n, groups)
	for g := range f.sum {
		s.sum[remap[g]] += f.sum[g]
		s.n[remap[g]] += f.n[g]
	}
	return nil
}

func (s *meanState) result(groups int) (*batch.Vector, error) {
	s.sum, s.n = extend(s.sum, groups), extend(s.n, groups)
	out := newResult(s.typ, groups)
	for g := range groups {
		f := s.sum[g]
		if s.n[g] == 0 {
			setNull(out, g, groups)
			continue
		}
		if s.avg {
			f /= float64(s.n[g])
		}
		if s.typ == schema.Double {
			out.F64[g] = f
		} else {
			out.I64[g] = int64(f)
		}
	}
	return out, nil
}

func (s *meanState) bytes() int64 { return int64(cap(s.sum))*8 + int64(cap(s.n))*8 }

func newResult(t schema.Type, n int) *batch.Vector {
	v := &batch.Vector{}
	v.Reset(t, n)
	return v
}

func setNull(v *batch.Vector, i, n int) {
	if v.Valid == nil {
		v.Valid = batch.NewBitmap(n)
		v.Valid.Fill(n)
	}
	v.Valid.Clear(i)
}

// distinctState keeps the distinct values of each group and gives them to another aggregate in the end.
type distinctState struct {
	coder *coder
	pairs fold
	codes []uint32
	gids  []uint32
	inner aggState
}

func (s *distinctState) add(gids []uint32, groups int, args []*batch.Vector) error {
	n := len(gids)
	s.codes, s.gids = resize(s.codes, n), resize(s.gids, n)
	s.coder.codes(args[0], s.codes)
	copy(s.gids, gids)
	s.pairs.prepare(uint32(groups), s.coder.n)
	s.pairs.codes(s.gids, s.codes)
	return nil
}

func (s *distinctState) merge(from aggState, remap []uint32, groups int) error {
	f := from.(*distinctState)
	f.coder.seal()
	tr := s.coder.translate(f.coder)
	s.pairs.prepare(uint32(groups), s.coder.n)
	for _, p := range f.pairs.all() {
		a, b := [1]uint32{remap[p>>32]}, [1]uint32{tr[uint32(p)]}
		s.pairs.codes(a[:], b[:])
	}
	return nil
}

func (s *distinctState) result(groups int) (*batch.Vector, error) {
	s.coder.seal()
	all := s.pairs.all()
	gids, codes := make([]uint32, len(all)), make([]uint32, len(all))
	for i, p := range all {
		gids[i], codes[i] = uint32(p>>32), uint32(p)
	}
	var v batch.Vector
	s.coder.vector(&v, codes)
	if v.Valid == nil { // not every group has a value: have the inner one look at each
		v.Valid = batch.NewBitmap(max(len(codes), 1))
		v.Valid.Fill(len(codes))
	}
	if err := s.inner.add(gids, groups, []*batch.Vector{&v}); err != nil {
		return nil, err
	}
	return s.inner.result(groups)
}

func (s *distinctState) bytes() int64 { return s.coder.bytes() + s.pairs.bytes() + s.inner.bytes() }

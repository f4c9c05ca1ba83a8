package exec

import (
	"bytes"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// logicEval is AND or OR in three-valued logic.
type logicEval struct {
	terms []evaluator
	or    bool
	out   batch.Vector
	valid validity
}

func (l *logicEval) eval(b *batch.Batch) (*batch.Vector, error) {
	n := b.N
	for k, t := range l.terms {
		v, err := t.eval(b)
		if err != nil {
			return nil, err
		}
		if k == 0 {
			l.out.Reset(schema.Boolean, n)
			copy(l.out.I64, v.I64[:n])
			if v.Valid != nil {
				l.out.Valid = l.valid.and(n, v)
			}
			continue
		}
		l.merge(v, n)
	}
	return &l.out, nil
}

// merge folds one more term in. In AND a false term decides, in OR a true one; NULL rows hold 0 and count as neither.
func (l *logicEval) merge(v *batch.Vector, n int) {
	a, x := l.out.I64, v.I64[:n]
	if l.out.Valid == nil && v.Valid == nil {
		if l.or {
			for i := range a {
				a[i] |= x[i]
			}
		} else {
			for i := range a {
				a[i] &= x[i]
			}
		}
		return
	}
	if l.out.Valid == nil {
		l.out.Valid = l.valid.full(n)
	}
	for i := range a {
		an, xn := !l.out.Valid.Get(i), v.IsNull(i)
		decide := b2i(l.or)
		switch {
		case !an && a[i] == decide:
		case !xn && x[i] == decide:
			a[i] = decide
			l.out.Valid.Set(i)
		case an || xn:
			a[i] = 0
			l.out.Valid.Clear(i)
		}
	}
}

type notEval struct {
	x   evaluator
	out batch.Vector
}

func (e *notEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(schema.Boolean, b.N)
	e.out.Valid = v.Valid
	for i, x := range v.I64[:b.N] {
		e.out.I64[i] = x ^ 1
	}
	return &e.out, nil
}

type isNullEval struct {
	x   evaluator
	not bool
	out batch.Vector
}

func (e *isNullEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(schema.Boolean, b.N)
	if v.Valid == nil {
		for i := range e.out.I64 {
			e.out.I64[i] = b2i(e.not)
		}
		return &e.out, nil
	}
	for i := range e.out.I64 {
		e.out.I64[i] = b2i(v.Valid.Get(i) == e.not)
	}
	return &e.out, nil
}

type isDistinctEval struct {
	l, r evaluator
	not  bool
	out  batch.Vector
}

func (e *isDistinctEval) eval(b *batch.Batch) (*batch.Vector, error) {
	l, err := e.l.eval(b)
	if err != nil {
		return nil, err
	}
	r, err := e.r.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(schema.Boolean, b.N)
	for i := range e.out.I64 {
		ln, rn := l.IsNull(i), r.IsNull(i)
		distinct := ln != rn || !ln && compareAt(l, r, i) != 0
		e.out.I64[i] = b2i(distinct != e.not)
	}
	return &e.out, nil
}

// compareAt orders row i of two vectors of the same physical type, NULLs aside.
func compareAt(l, r *batch.Vector, i int) int {
	switch l.Type.Physical() {
	case schema.Int64:
		return compareInt(l.I64[i], r.I64[i])
	case schema.Float64:
		return compareFloat(l.F64[i], r.F64[i])
	case schema.ID:
		return compareInt(int64(l.Codes[i]), int64(r.Codes[i]))
	}
	return bytes.Compare(l.Bytes(i), r.Bytes(i))
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareFloat orders NaN above all numbers and equal to itself, as PostgreSQL does.
func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	case a != a && b != b:
		return 0
	case a != a:
		return 1
	}
	return -1
}

// compareEval compares two vectors.
type compareEval struct {
	l, r  evaluator
	op    CompareOp
	out   batch.Vector
	valid validity
}

// compareConst compares a vector with a constant.
type compareConst struct {
	x   evaluator
	op  CompareOp
	val Value
	lut boolLUT
	out batch.Vector
}

func compileCompare(e *Compare, env *Env) evaluator {
	op, l, r := e.Op, e.L, e.R
	if _, ok := l.(*Const); ok {
		op, l, r = op.Flip(), r, l
	}
	if c, ok := r.(*Const); ok && !c.Value.Null && c.Type().Physical() != schema.ID {
		k := &compareConst{x: compile(l, env), op: op, val: c.Value}
		want := []byte(c.Value.S)
		k.lut.f = func(v []byte) bool { return op.holds(bytes.Compare(v, want)) }
		return k
	}
	return &compareEval{l: compile(l, env), r: compile(r, env), op: op}
}

// holds says whether the comparison is true of operands that compare as c.
func (op CompareOp) holds(c int) bool {
	switch op {
	case Eq:
		return c == 0
	case Ne:
		return c != 0
	case Lt:
		return c < 0
	case Le:
		return c <= 0
	case Gt:
		return c > 0
	}
	return c >= 0
}

func (e *compareConst) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(schema.Boolean, b.N)
	e.out.Valid = v.Valid
	switch v.Type.Physical() {
	case schema.Int64:
		compareIntConst(e.out.I64, v.I64, e.val.I, e.op)
	case schema.Float64:
		out, c := e.out.I64, e.val.F
		for i, x := range v.F64[:len(out)] {
			out[i] = b2i(e.op.holds(compareFloat(x, c)))
		}
	default:
		e.lut.apply(v, e.out.I64)
	}
	return &e.out, nil
}

func compareIntConst(out, a []int64, c int64, op CompareOp) {
	a = a[:len(out)]
	switch op {
	case Eq:
		for i, x := range a {
			out[i] = b2i(x == c)
		}
	case Ne:
		for i, x := range a {
			out[i] = b2i(x != c)
		}
	case Lt:
		for i, x := range a {
			out[i] = b2i(x < c)
		}
	case Le:
		for i, x := range a {
			out[i] = b2i(x <= c)
		}
	case Gt:
		for i, x := range a {
			out[i] = b2i(x > c)
		}
	default:
		for i, x := range a {
			out[i] = b2i(x >= c)
		}
	}
}

func (e *compareEval) eval(b *batch.Batch) (*batch.Vector, error) {
	l, err := e.l.eval(b)
	if err != nil {
		return nil, err
	}
	r, err := e.r.eval(b)
	if err != nil {
		return nil, err
	}
	n := b.N
	e.out.Reset(schema.Boolean, n)
	e.out.Valid = e.valid.and(n, l, r)
	if l.Type.Physical() == schema.Int64 {
		compareInts(e.out.I64, l.I64, r.I64, e.op)
		return &e.out, nil
	}
	for i := range e.out.I64 {
		e.out.I64[i] = b2i(e.op.holds(compareAt(l, r, i)))
	}
	return &e.out, nil
}

func compareInts(out, a, b []int64, op CompareOp) {
	a, b = a[:len(out)], b[:len(out)]
	switch op {
	case Eq:
		for i, x := range a {
			out[i] = b2i(x == b[i])
		}
	case Ne:
		for i, x := range a {
			out[i] = b2i(x != b[i])
		}
	case Lt:
		for i, x := range a {
			out[i] = b2i(x < b[i])
		}
	case Le:
		for i, x := range a {
			out[i] = b2i(x <= b[i])
		}
	case Gt:
		for i, x := range a {
			out[i] = b2i(x > b[i])
		}
	default:
		for i, x := range a {
			out[i] = b2i(x >= b[i])
		}
	}
}

// inEval is membership in a list of constants.
type inEval struct {
	x       evaluator
	not     bool
	hasNull bool
	ints    []int64
	intSet  map[int64]struct{} // for long lists
	floats  []float64
	lut     boolLUT
	out     batch.Vector
	valid   validity
}

func compileIn(e *In, env *Env) evaluator {
	k := &inEval{x: compile(e.X, env), not: e.Not, hasNull: e.HasNull}
	switch e.X.Type().Physical() {
	case schema.Int64:
		for _, v := range e.List {
			k.ints = append(k.ints, v.I)
		}
		if len(k.ints) > 8 {
			k.intSet = make(map[int64]struct{}, len(k.ints))
			for _, v := range k.ints {
				k.intSet[v] = struct{}{}
			}
		}
	case schema.Float64:
		for _, v := range e.List {
			k.floats = append(k.floats, v.F)
		}
	default:
		set := make(map[string]struct{}, len(e.List))
		for _, v := range e.List {
			set[v.S] = struct{}{}
		}
		k.lut.f = func(v []byte) bool { _, ok := set[string(v)]; return ok }
	}
	return k
}

func (e *inEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	n := b.N
	e.out.Reset(schema.Boolean, n)
	e.out.Valid = v.Valid
	out := e.out.I64
	switch v.Type.Physical() {
	case schema.Int64:
		for i, x := range v.I64[:n] {
			out[i] = b2i(e.hasInt(x))
		}
	case schema.Float64:
		for i, x := range v.F64[:n] {
			out[i] = b2i(slices.ContainsFunc(e.floats, func(f float64) bool { return compareFloat(f, x) == 0 }))
		}
	default:
		e.lut.apply(v, out)
	}
	if e.hasNull { // not found means NULL
		e.out.Valid = e.valid.full(n)
		for i := range out {
			if v.IsNull(i) || out[i] == 0 {
				e.out.Valid.Clear(i)
			}
		}
	}
	if e.not {
		for i := range out {
			out[i] ^= 1
		}
	}
	return &e.out, nil
}

func (e *inEval) hasInt(x int64) bool {
	if e.intSet != nil {
		_, ok := e.intSet[x]
		return ok
	}
	return slices.Contains(e.ints, x)
}

// matchEval is LIKE or a regular expression with a constant pattern.
type matchEval struct {
	x   evaluator
	not bool
	lut boolLUT
	out batch.Vector
}

func compileMatch(e *Match, env *Env) evaluator {
	f, err := Matcher(e)
	if err != nil {
		return failEval{err}
	}
	return &matchEval{x: compile(e.X, env), not: e.Not, lut: boolLUT{f: f}}
}

func (e *matchEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(schema.Boolean, b.N)
	e.out.Valid = v.Valid
	e.lut.apply(v, e.out.I64)
	if e.not {
		for i := range e.out.I64 {
			e.out.I64[i] ^= 1
		}
	}
	return &e.out, nil
}

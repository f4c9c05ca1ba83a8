package exec

import (
	"math"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// arithEval is an arithmetic operator over two vectors of one physical type.
type arithEval struct {
	l, r  evaluator
	op    ArithOp
	typ   schema.Type
	out   batch.Vector
	valid validity
}

func (e *arithEval) eval(b *batch.Batch) (*batch.Vector, error) {
	l, err := e.l.eval(b)
	if err != nil {
		return nil, err
	}
	r, err := e.r.eval(b)
	if err != nil {
		return nil, err
	}
	n := b.N
	e.out.Reset(e.typ, n)
	e.out.Valid = e.valid.and(n, l, r)
	if e.typ.Physical() == schema.Float64 {
		e.floats(e.out.F64, l.F64, r.F64)
		return &e.out, nil
	}
	if e.ints(e.out.I64, l.I64, r.I64) && e.overflowed(l.I64, r.I64) {
		return nil, errOverflow(e.typ)
	}
	return &e.out, nil
}

// ints fills out; true means that some row, perhaps a NULL one, went out of range.
func (e *arithEval) ints(out, a, b []int64) bool {
	a, b = a[:len(out)], b[:len(out)]
	var bad int64
	switch e.op {
	case Add:
		for i, x := range a {
			y := b[i]
			s := x + y
			bad |= (x ^ s) & (y ^ s)
			out[i] = s
		}
	case Sub:
		for i, x := range a {
			y := b[i]
			s := x - y
			bad |= (x ^ y) & (x ^ s)
			out[i] = s
		}
	case Mul:
		var wide uint64 // high bits of operands that do not fit 32 bits
		for i, x := range a {
			y := b[i]
			wide |= (uint64(x) + 1<<31) | (uint64(y) + 1<<31)
			out[i] = x * y
		}
		if wide>>32 != 0 {
			bad = -1
		}
	case Div, Mod:
		return e.divide(out, a, b)
	case BitAnd:
		for i, x := range a {
			out[i] = x & b[i]
		}
	case BitOr:
		for i, x := range a {
			out[i] = x | b[i]
		}
	case BitXor:
		for i, x := range a {
			out[i] = x ^ b[i]
		}
	case Shl:
		for i, x := range a {
			out[i] = x << (uint64(b[i]) & 63)
		}
	case Shr:
		for i, x := range a {
			out[i] = x >> (uint64(b[i]) & 63)
		}
	}
	return bad < 0
}

func (e *arithEval) divide(out, a, b []int64) (overflow bool) {
	for i, x := range a {
		y := b[i]
		switch {
		case y == 0:
			e.null(i, len(out))
			out[i] = 0
		case y == -1:
			out[i] = 0
			if e.op == Div {
				out[i] = -x
				overflow = overflow || x == math.MinInt64
			}
		case e.op == Div:
			out[i] = x / y
		default:
			out[i] = x % y
		}
	}
	return overflow
}

func (e *arithEval) null(i, n int) {
	if e.out.Valid == nil {
		e.out.Valid = e.valid.full(n)
	}
	e.out.Valid.Clear(i)
}

// overflowed looks again, exactly and only at rows that are not NULL.
func (e *arithEval) overflowed(a, b []int64) bool {
	for i := range e.out.I64 {
		if e.out.IsNull(i) {
			continue
		}
		x, y, s := a[i], b[i], e.out.I64[i]
		switch e.op {
		case Add:
			if (x^s)&(y^s) < 0 {
				return true
			}
		case Sub:
			if (x^y)&(x^s) < 0 {
				return true
			}
		case Mul:
			if x != 0 && (s/x != y || x == -1 && y == math.MinInt64) {
				return true
			}
		case Div:
			if x == math.MinInt64 && y == -1 {
				return true
			}
		}
	}
	return false
}

func (e *arithEval) floats(out, a, b []float64) {
	a, b = a[:len(out)], b[:len(out)]
	switch e.op {
	case Add:
		for i, x := range a {
			out[i] = x + b[i]
		}
	case Sub:
		for i, x := range a {
			out[i] = x - b[i]
		}
	case Mul:
		for i, x := range a {
			out[i] = x * b[i]
		}
	default:
		for i, x := range a {
			if b[i] == 0 {
				e.null(i, len(out))
				out[i] = 0
			} else if e.op == Div {
				out[i] = x / b[i]
			} else {
				out[i] = math.Mod(x, b[i])
			}
		}
	}
}

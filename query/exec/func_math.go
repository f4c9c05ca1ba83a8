package exec

import (
	"math"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

func float1(f func(float64) float64) []*Overload {
	return []*Overload{{Args: []schema.Type{tFloat}, Ret: tFloat,
		Row: func(a []Value) (Value, error) { return floatOrNull(f(a[0].F)), nil },
		Vec: func(s *vecState, out *batch.Vector, a []*batch.Vector, n int) error {
			for i, x := range a[0].F64[:n] {
				r := f(x)
				if r != r && x == x {
					s.null(out, i, n)
					r = 0
				}
				out.F64[i] = r
			}
			return nil
		}}}
}

// floatOrNull gives NULL for what is not defined (the root of a negative number), as division by zero does.
func floatOrNull(f float64) Value {
	if f != f {
		return NullValue(tFloat)
	}
	return FloatValue(f)
}

func init() {
	num := func(name, signature, doc string, ov []*Overload, aliases ...string) {
		register(&Func{Name: name, Signature: signature, Group: "number", Doc: doc, Overloads: ov}, aliases...)
	}
	num("abs", "abs(number)", "the number without its sign", []*Overload{
		sig(tInt, func(a []Value) (Value, error) {
			if a[0].I == math.MinInt64 {
				return Value{}, errOverflow(tInt)
			}
			return IntValue(max(a[0].I, -a[0].I)), nil
		}, tInt),
		sig(tFloat, func(a []Value) (Value, error) { return FloatValue(math.Abs(a[0].F)), nil }, tFloat),
		sig(tIvl, func(a []Value) (Value, error) {
			return Value{Type: tIvl, I: max(a[0].I, -a[0].I)}, nil
		}, tIvl)})
	same := sig(tInt, func(a []Value) (Value, error) { return a[0], nil }, tInt)
	num("ceil", "ceil(number)", "the smallest whole number that is not less", append(float1(math.Ceil), same), "ceiling")
	num("floor", "floor(number)", "the largest whole number that is not greater", append(float1(math.Floor), same))
	num("trunc", "trunc(number)", "the number without its fraction", append(float1(math.Trunc), same))
	num("round", "round(number [, digits])", "the nearest whole number, or rounded to digits after the point; halves away from zero",
		append(float1(math.Round), same, sig(tFloat, roundTo, tFloat, tInt)))
	num("sign", "sign(number)", "-1, 0 or 1", float1(func(f float64) float64 {
		return float64(compareFloat(f, 0))
	}))
	num("sqrt", "sqrt(number)", "square root; NULL for a negative number", float1(math.Sqrt))
	num("exp", "exp(number)", "e to the power of the number", float1(math.Exp))
	num("ln", "ln(number)", "natural logarithm; NULL unless positive", float1(positive(math.Log)))
	num("log10", "log10(number)", "logarithm to base 10; NULL unless positive", float1(positive(math.Log10)), "log")
	num("log2", "log2(number)", "logarithm to base 2; NULL unless positive", float1(positive(math.Log2)))
	num("power", "power(x, y)", "x to the power of y", []*Overload{sig(tFloat, func(a []Value) (Value, error) {
		return floatOrNull(math.Pow(a[0].F, a[1].F)), nil
	}, tFloat, tFloat)}, "pow")
	num("mod", "mod(x, y)", "rest of the division of whole numbers; NULL when y is 0", []*Overload{
		sig(tInt, func(a []Value) (Value, error) {
			if a[1].I == 0 {
				return NullValue(tInt), nil
			}
			if a[1].I == -1 {
				return IntValue(0), nil
			}
			return IntValue(a[0].I % a[1].I), nil
		}, tInt, tInt),
		sig(tFloat, func(a []Value) (Value, error) { return floatOrNull(math.Mod(a[0].F, a[1].F)), nil }, tFloat, tFloat)})
	num("percentage", "percentage(part, whole)", "100 * part / whole; NULL when whole is 0", []*Overload{sig(tFloat, func(a []Value) (Value, error) {
		if a[1].F == 0 {
			return NullValue(tFloat), nil
		}
		return FloatValue(a[0].F / a[1].F * 100), nil
	}, tFloat, tFloat)})
	num("pi", "pi()", "3.14159...", []*Overload{sig(tFloat, func([]Value) (Value, error) { return FloatValue(math.Pi), nil })})
	registerHidden("interval_mul", sig(tIvl, func(a []Value) (Value, error) {
		return scaleInterval(a[0].I, a[1].F)
	}, tIvl, tFloat))
	registerHidden("interval_div", sig(tIvl, func(a []Value) (Value, error) {
		if a[1].F == 0 {
			return NullValue(tIvl), nil
		}
		return scaleInterval(a[0].I, 1/a[1].F)
	}, tIvl, tFloat))
}

func positive(f func(float64) float64) func(float64) float64 {
	return func(x float64) float64 {
		if x <= 0 {
			return math.NaN()
		}
		return f(x)
	}
}

func scaleInterval(i int64, by float64) (Value, error) {
	f := math.Round(float64(i) * by)
	if !(f >= math.MinInt64 && f < math.MaxInt64) {
		return Value{}, errOverflow(tIvl)
	}
	return Value{Type: tIvl, I: int64(f)}, nil
}

func roundTo(a []Value) (Value, error) {
	d := min(max(a[1].I, -300), 300)
	p := math.Pow(10, float64(d))
	r := math.Round(a[0].F*p) / p
	if math.IsInf(r, 0) || r != r {
		return a[0], nil // more digits than the number has
	}
	return FloatValue(r), nil
}

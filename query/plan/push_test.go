package plan

import (
	"math"
	"testing"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/exec"
)

var allOps = []exec.CompareOp{exec.Eq, exec.Ne, exec.Lt, exec.Le, exec.Gt, exec.Ge}

func truth(op exec.CompareOp, c int) bool {
	switch op {
	case exec.Eq:
		return c == 0
	case exec.Ne:
		return c != 0
	case exec.Lt:
		return c < 0
	case exec.Le:
		return c <= 0
	case exec.Gt:
		return c > 0
	}
	return c >= 0
}

// TestIntegerTerms: a pushed comparison says the same as the comparison, at the ends of the range too.
func TestIntegerTerms(t *testing.T) {
	edge := []int64{math.MinInt64, math.MinInt64 + 1, -2, -1, 0, 1, 2, math.MaxInt64 - 1, math.MaxInt64}
	for _, op := range allOps {
		for _, x := range edge {
			term := rangeTerm(pred.Term{}, op, x)
			for _, v := range edge {
				if want := truth(op, exec.CompareValues(exec.IntValue(v), exec.IntValue(x))); term.Int(v) != want {
					t.Errorf("%d %s %d: got %v", v, op, x, !want)
				}
			}
		}
	}
}

// TestWholeTerms compares whole numbers with a DOUBLE.
func TestWholeTerms(t *testing.T) {
	col := &exec.Column{Typ: schema.BigInt}
	for _, op := range allOps {
		for _, x := range []float64{-2.5, -2, -0.5, 0, 0.5, 2, 2.5, 1e300, math.Inf(1), math.NaN()} {
			term, ok := wholeTerm(col, op, x)
			if !ok {
				continue
			}
			for v := int64(-4); v <= 4; v++ {
				if want := truth(op, exec.CompareValues(exec.FloatValue(float64(v)), exec.FloatValue(x))); term.Int(v) != want {
					t.Errorf("%d %s %v: got %v", v, op, x, !want)
				}
			}
		}
	}
	if _, ok := wholeTerm(col, exec.Lt, 1e300); ok {
		t.Error("a bound beyond the whole numbers was pushed down")
	}
}

// TestFloatTerms: NaN is greater than all numbers.
func TestFloatTerms(t *testing.T) {
	vals := []float64{math.Inf(-1), -1, math.Copysign(0, -1), 0, 1, math.MaxFloat64, math.Inf(1), math.NaN()}
	for _, op := range allOps {
		for _, x := range vals {
			term, ok := floatTerm(pred.Term{}, op, x)
			if !ok {
				continue
			}
			for _, v := range vals {
				if want := truth(op, exec.CompareValues(exec.FloatValue(v), exec.FloatValue(x))); term.Float(v) != want {
					t.Errorf("%v %s %v: got %v", v, op, x, !want)
				}
			}
		}
	}
}

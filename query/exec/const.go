package exec

import (
	"context"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// EvalConst is the value of an expression without columns.
func EvalConst(e Expr) (v Value, err error) {
	err = guard(func() error {
		vec, err := compile(e, &Env{}).eval(&batch.Batch{N: 1})
		if err == nil {
			v = ValueAt(vec, 0)
			v.Type = e.Type()
		}
		return err
	})
	return v, err
}

// IsConst says whether e has no columns and can be evaluated beforehand.
func IsConst(e Expr) bool {
	switch e.(type) {
	case *Const:
		return true
	case *Column, *TagValue, *MapValue:
		return false
	}
	for _, c := range Children(e) {
		if !IsConst(c) {
			return false
		}
	}
	return true
}

// ConstNode is a node that gives the rows of constants.
func ConstNode(name string, cols []Col, rows [][]Value) *Values {
	v := &Values{Name: name, Output: cols}
	b := &batch.Batch{N: len(rows)}
	for i, c := range cols {
		vals := make([]Value, len(rows))
		for r := range rows {
			vals[r] = rows[r][i]
		}
		b.Cols = append(b.Cols, VectorOf(vectorType(c.Type), vals))
	}
	v.Load = func(_ context.Context) ([]*batch.Batch, error) { return []*batch.Batch{b}, nil }
	return v
}

// IsInteger says whether t is one of the whole number types.
func IsInteger(t schema.Type) bool { return isInteger(t) }

// IsNumber says whether t is a number.
func IsNumber(t schema.Type) bool { return isNumber(t) }

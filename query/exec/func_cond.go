package exec

import (
	"strings"

	"github.com/flowlake/flowlake/db/schema"
)

func init() {
	cond := func(name, signature, doc string, row rowFunc) {
		register(&Func{Name: name, Signature: signature, Group: "condition", Doc: doc,
			Overloads: []*Overload{{Args: []schema.Type{Any}, Variadic: true, Ret: Any, Row: row, CalledOnNull: true}}})
	}
	cond("coalesce", "coalesce(value, ...)", "the first value that is not NULL", func(a []Value) (Value, error) {
		for _, v := range a {
			if !v.Null {
				return v, nil
			}
		}
		return Value{Null: true}, nil
	})
	cond("nullif", "nullif(a, b)", "NULL when a equals b, else a", func(a []Value) (Value, error) {
		if !a[0].Null && !a[1].Null && CompareValues(a[0], a[1]) == 0 {
			return NullValue(a[0].Type), nil
		}
		return a[0], nil
	})
	cond("greatest", "greatest(value, ...)", "the greatest of the values that are not NULL", extreme(1))
	cond("least", "least(value, ...)", "the least of the values that are not NULL", extreme(-1))
}

func extreme(sign int) rowFunc {
	return func(a []Value) (Value, error) {
		best := Value{Null: true}
		for _, v := range a {
			if !v.Null && (best.Null || CompareValues(v, best)*sign > 0) {
				best = v
			}
		}
		return best, nil
	}
}

// CompareValues orders two values of one type that are not NULL.
func CompareValues(a, b Value) int {
	switch a.Type.Physical() {
	case schema.Int64, schema.ID:
		return compareInt(a.I, b.I)
	case schema.Float64:
		return compareFloat(a.F, b.F)
	}
	return strings.Compare(a.S, b.S)
}

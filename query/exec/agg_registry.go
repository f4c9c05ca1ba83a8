package exec

import (
	"github.com/flowlake/flowlake/db/schema"
)

func init() {
	agg := func(name, signature, doc string, ov []*AggOverload, aliases ...string) {
		register(&Func{Name: name, Signature: signature, Group: "aggregate", Doc: doc, Aggregate: &AggDef{Overloads: ov}}, aliases...)
	}
	one := func(arg, ret schema.Type, make func(t schema.Type) aggState) *AggOverload {
		return &AggOverload{Args: []schema.Type{arg}, Ret: ret, New: func(types []schema.Type, _ []Value) aggState {
			if len(types) > 0 && types[0] == schema.Invalid {
				return make(schema.Varchar)
			}
			return make(types[0])
		}}
	}
	agg("count", "count(*), count(value)", "number of rows, or of values that are not NULL", []*AggOverload{
		{Ret: tInt, New: func([]schema.Type, []Value) aggState { return &countState{} }},
		one(Any, tInt, func(schema.Type) aggState { return &countState{} })})
	agg("sum", "sum(number)", "sum of whole numbers (an error beyond 64 bits), DOUBLEs or intervals", []*AggOverload{
		one(tInt, tInt, func(schema.Type) aggState { return &sumInt{typ: tInt} }),
		one(tFloat, tFloat, func(schema.Type) aggState { return &meanState{typ: tFloat} }),
		one(tIvl, tIvl, func(schema.Type) aggState { return &sumInt{typ: tIvl} })})
	agg("avg", "avg(number)", "arithmetic mean", []*AggOverload{
		one(tInt, tFloat, func(schema.Type) aggState { return &meanState{typ: tFloat, avg: true} }),
		one(tFloat, tFloat, func(schema.Type) aggState { return &meanState{typ: tFloat, avg: true} }),
		one(tIvl, tIvl, func(schema.Type) aggState { return &meanState{typ: tIvl, avg: true} })}, "mean")
	agg("min", "min(value)", "least value", []*AggOverload{one(Any, Any, func(t schema.Type) aggState { return newExtreme(t, false) })})
	agg("max", "max(value)", "greatest value", []*AggOverload{one(Any, Any, func(t schema.Type) aggState { return newExtreme(t, true) })})
	agg("any_value", "any_value(value)", "some value that is not NULL", []*AggOverload{one(Any, Any, func(t schema.Type) aggState {
		return &pickState{typ: t, better: func(Value, int64, *picked) bool { return false }}
	})}, "any")
	agg("first", "first(value, time)", "value at the earliest time", byTime(func(a, b int64) bool { return a < b }))
	agg("last", "last(value, time)", "value at the latest time", byTime(func(a, b int64) bool { return a > b }))
	agg("bool_and", "bool_and(condition)", "whether the condition holds for all rows", []*AggOverload{one(tBool, tBool, func(t schema.Type) aggState { return newExtreme(t, false) })}, "every")
	agg("bool_or", "bool_or(condition)", "whether the condition holds for any row", []*AggOverload{one(tBool, tBool, func(t schema.Type) aggState { return newExtreme(t, true) })})
	registerVariance(agg, one)
	registerPercentiles(agg)
	agg("uniq", "uniq(value)", "number of distinct values: exact up to 512, beyond an estimate to about 1.6 % (HyperLogLog); also of the stored counts of rollups", []*AggOverload{
		one(Any, tInt, func(schema.Type) aggState { return &uniqState{} })}, "approx_distinct", "approx_count_distinct")
	agg("uniq_exact", "uniq_exact(value)", "number of distinct values, as count(DISTINCT value)", []*AggOverload{
		one(Any, tInt, func(t schema.Type) aggState { return &distinctState{coder: newCoder(t), inner: &countState{}} })}, "count_distinct")
	registerLists(agg)
	agg("spread", "spread(number)", "greatest minus least value", []*AggOverload{one(tFloat, tFloat, func(schema.Type) aggState { return &spreadState{} })})
	agg("rspread", "rspread(number)", "greatest divided by least value; NULL when that is 0", []*AggOverload{one(tFloat, tFloat, func(schema.Type) aggState { return &spreadState{ratio: true} })})
}

// registerLists registers aggregates with constant arguments.
func registerLists(agg aggRegister) {
	agg("topk", "topk(value, k)", "the k most frequent values as a JSON array, most frequent first; k is 1 to 1000", []*AggOverload{{
		Args: []schema.Type{Any}, Consts: []schema.Type{tInt}, Ret: tText,
		Check: func(c []Value) error {
			if c[0].Null || c[0].I < 1 || c[0].I > 1000 {
				return runErrorf(stateBadArgument, "k of topk must be 1 to 1000")
			}
			return nil
		},
		New: func(types []schema.Type, c []Value) aggState {
			return &topkState{k: int(c[0].I), coder: newCoder(types[0])}
		}}})
	agg("string_agg", "string_agg(text, separator)", "the texts, in ascending order, with separators between them", []*AggOverload{{
		Args: []schema.Type{tText}, Consts: []schema.Type{tText}, Ret: tText,
		New: func(_ []schema.Type, c []Value) aggState { return &joinState{sep: c[0].S} }}})
	apdexFor := func(t schema.Type) *AggOverload {
		return &AggOverload{Args: []schema.Type{t}, Consts: []schema.Type{t}, Ret: tFloat,
			Check: func(c []Value) error {
				if c[0].Null || c[0].I < 0 || c[0].F < 0 {
					return runErrorf(stateBadArgument, "the threshold of apdex must not be negative")
				}
				return nil
			},
			New: func(_ []schema.Type, c []Value) aggState { return &apdexState{t: c[0].F + float64(c[0].I)} }}
	}
	agg("apdex", "apdex(number, threshold)", "Apdex, 0 to 1: the share of values up to the threshold plus half of those up to four times it",
		[]*AggOverload{apdexFor(tInt), apdexFor(tFloat), apdexFor(tIvl)})
}

func newExtreme(t schema.Type, max bool) aggState {
	if t.Physical() == schema.Int64 {
		return &extremeInt{typ: t, max: max}
	}
	return &pickState{typ: t, better: func(v Value, _ int64, have *picked) bool {
		c := CompareValues(v, have.val)
		return c > 0 == max && c != 0
	}}
}

func byTime(before func(a, b int64) bool) []*AggOverload {
	mk := func(t schema.Type) *AggOverload {
		return &AggOverload{Args: []schema.Type{Any, t}, Ret: Any, New: func(types []schema.Type, _ []Value) aggState {
			return &pickState{typ: types[0], better: func(_ Value, o int64, have *picked) bool { return before(o, have.order) }}
		}}
	}
	return []*AggOverload{mk(tTime), mk(tInt)}
}

type aggRegister = func(name, signature, doc string, ov []*AggOverload, aliases ...string)

func registerVariance(agg aggRegister, one func(arg, ret schema.Type, make func(t schema.Type) aggState) *AggOverload) {
	v := func(sample, root bool) []*AggOverload {
		mk := func(schema.Type) aggState { return &varState{sample: sample, root: root} }
		return []*AggOverload{one(tInt, tFloat, mk), one(tFloat, tFloat, mk)}
	}
	agg("stddev_samp", "stddev_samp(number)", "standard deviation of a sample; NULL for fewer than two values", v(true, true), "stddev")
	agg("stddev_pop", "stddev_pop(number)", "standard deviation of a whole population", v(false, true))
	agg("var_samp", "var_samp(number)", "variance of a sample; NULL for fewer than two values", v(true, false), "variance")
	agg("var_pop", "var_pop(number)", "variance of a whole population", v(false, false))
}

func registerPercentiles(agg aggRegister) {
	share := func(c []Value) error {
		if c[0].Null || !(c[0].F >= 0 && c[0].F <= 1) {
			return runErrorf(stateBadArgument, "a percentile is a share from 0 to 1, such as 0.99")
		}
		return nil
	}
	sketch := func(t schema.Type) *AggOverload {
		return &AggOverload{Args: []schema.Type{t}, Consts: []schema.Type{tFloat}, Ret: tFloat, Check: share,
			New: func(_ []schema.Type, c []Value) aggState { return &sketchState{q: c[0].F} }}
	}
	agg("approx_percentile", "approx_percentile(number, share)", "percentile to 1 % of its value, in little memory (DDSketch); also of stored sketches",
		[]*AggOverload{sketch(tInt), sketch(tFloat), sketch(schema.Bytes)}, "approx_quantile")
	exact := func(arg, ret schema.Type, cont bool) *AggOverload {
		return &AggOverload{Args: []schema.Type{arg}, Consts: []schema.Type{tFloat}, Ret: ret, Check: share,
			New: func(types []schema.Type, c []Value) aggState {
				t := ret
				if t == Any {
					t = types[0]
				}
				return &quantState{q: c[0].F, cont: cont, typ: t}
			}}
	}
	cont := []*AggOverload{exact(tInt, tFloat, true), exact(tFloat, tFloat, true), exact(tIvl, tIvl, true), exact(tTime, tTime, true)}
	agg("percentile", "percentile(number, share)", "exact percentile, between two values interpolated; keeps all values in memory", cont, "quantile")
	agg("median", "median(number)", "exact percentile 0.5", medians(cont))
	agg("percentile_cont", "percentile_cont(share) WITHIN GROUP (ORDER BY number)", "exact percentile, between two values interpolated", cont)
	agg("percentile_disc", "percentile_disc(share) WITHIN GROUP (ORDER BY number)", "exact percentile: the first value whose share reaches it",
		[]*AggOverload{exact(tInt, tInt, false), exact(tFloat, tFloat, false), exact(tIvl, tIvl, false), exact(tTime, tTime, false)})
	LookupFunc("percentile_cont").Aggregate.Ordered = true
	LookupFunc("percentile_disc").Aggregate.Ordered = true
}

func medians(cont []*AggOverload) []*AggOverload {
	var out []*AggOverload
	for _, o := range cont {
		out = append(out, &AggOverload{Args: o.Args, Ret: o.Ret, New: func(types []schema.Type, _ []Value) aggState {
			return o.New(types, []Value{FloatValue(0.5)})
		}})
	}
	return out
}

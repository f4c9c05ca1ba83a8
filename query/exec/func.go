package exec

import (
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
)

// Any stands in a signature for an argument of any type, and as a result for the type of the first argument.
const Any schema.Type = 255

// Overload is one signature of a function and what computes it.
type Overload struct {
	Args []schema.Type
	// Variadic repeats the last argument; it may then also be absent.
	Variadic bool
	Ret      schema.Type
	// Row computes one row; it must be safe for concurrent use.
	Row rowFunc
	// Vec, where set, computes a whole batch and is used instead of Row.
	Vec vecFunc
	// CalledOnNull functions see NULL arguments; for all others a NULL argument makes the result NULL.
	CalledOnNull bool
}

// Func is a function: scalar where Overloads is set, aggregate where Aggregate is.
type Func struct {
	Name string
	// Signature is how to call it, for SHOW FUNCTIONS.
	Signature string
	// Group orders the documentation: "text", "time", "number", "inet", "condition", "aggregate".
	Group string
	// Doc is one line.
	Doc       string
	Overloads []*Overload
	Aggregate *AggDef
}

// registry holds all functions by name; aliases share the Func. It is read-only after init.
var registry = map[string]*Func{}

func register(f *Func, aliases ...string) {
	for _, n := range append(aliases, f.Name) {
		if registry[n] != nil {
			panic("exec: function " + n + " is registered twice")
		}
		registry[n] = f
	}
}

// LookupFunc is the function of a name, nil when there is none.
func LookupFunc(name string) *Func { return registry[strings.ToLower(name)] }

// Functions lists all functions by group and name.
func Functions() []*Func {
	var out []*Func
	for n, f := range registry {
		if n == f.Name {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b *Func) int {
		if c := strings.Compare(a.Group, b.Group); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// FunctionNames lists all names, aliases too, for suggestions.
func FunctionNames() []string {
	out := make([]string, 0, len(registry))
	for n := range registry {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Aliases are the other names of a function.
func Aliases(f *Func) []string {
	var out []string
	for n, g := range registry {
		if g == f && n != f.Name {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Resolve picks the overload for arguments of the given types (Invalid for an untyped NULL) and the types to cast them
// to; nil when none fits. Casts are whole number to DOUBLE and, where literal says that an argument is a text literal,
// text to anything.
func (f *Func) Resolve(types []schema.Type, literal []bool) (*Overload, []schema.Type) {
	var best *Overload
	var bestTypes []schema.Type
	bestCost := 1 << 30
	for _, o := range f.Overloads {
		want, cost, ok := o.fit(types, literal)
		if ok && cost < bestCost {
			best, bestTypes, bestCost = o, want, cost
		}
	}
	return best, bestTypes
}

func (o *Overload) fit(types []schema.Type, literal []bool) (want []schema.Type, cost int, ok bool) {
	if len(types) != len(o.Args) && !(o.Variadic && len(types) >= len(o.Args)-1) {
		return nil, 0, false
	}
	for i, t := range types {
		w := o.Args[min(i, len(o.Args)-1)]
		if w == Any {
			w = t
		}
		c, ok := castCost(t, w, literal[i])
		if !ok {
			return nil, 0, false
		}
		want = append(want, w)
		cost += c
	}
	return want, cost, true
}

// castCost is how far an implicit cast goes; not ok when there is none.
func castCost(from, to schema.Type, literal bool) (int, bool) {
	switch {
	case from == to, from == schema.Invalid:
		return 0, true
	case from == schema.Integer && to == schema.BigInt:
		return 0, true
	case from == schema.BigInt && to == schema.Integer:
		return 1, true
	case isInteger(from) && to == schema.Double:
		return 2, true
	case literal && from == schema.Varchar:
		return 3, true
	}
	return 0, false
}

// Result is the type of a call with arguments cast to types.
func (o *Overload) Result(types []schema.Type) schema.Type {
	if o.Ret == Any {
		for _, t := range types {
			if t != schema.Invalid {
				return t
			}
		}
		return schema.Varchar
	}
	return o.Ret
}

package exec

import (
	"math"
	"unsafe"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// TagDict maps tag-set ids to the values of one key: row code Codes[id] of Dict, 0 where the set has no such key.
type TagDict struct {
	Codes []uint32
	Dict  *batch.Dict // entry 0 is ""
}

// Env is what expressions need of the world. Its functions are safe for concurrent use.
type Env struct {
	// TagDict is the dense map of a tag key over all tag sets known when it is called.
	TagDict func(key string) *TagDict
	// MapGet is the value of a key in an encoded map.
	MapGet func(enc []byte, key string) ([]byte, bool)
	// TagSet is the encoding of a tag set; nil for an unknown id.
	TagSet func(id uint32) []byte
}

// evaluator computes an expression for all rows of a batch. The vector is borrowed until the next call.
// Evaluators have private scratch memory and belong to one goroutine.
type evaluator interface {
	eval(b *batch.Batch) (*batch.Vector, error)
}

// compile makes the evaluator of an expression.
func compile(e Expr, env *Env) evaluator {
	switch e := e.(type) {
	case *Column:
		return columnEval(e.Index)
	case *Const:
		return &constEval{val: e.Value}
	case *TagValue:
		return &tagEval{x: compile(e.X, env), env: env, key: e.Key}
	case *MapValue:
		return compileMap(e, env)
	case *Compare:
		return compileCompare(e, env)
	case *Arith:
		return &arithEval{l: compile(e.L, env), r: compile(e.R, env), op: e.Op, typ: e.Typ}
	case *Logic:
		return &logicEval{terms: compileAll(e.Terms, env), or: e.Or}
	case *Not:
		return &notEval{x: compile(e.X, env)}
	case *IsNull:
		return &isNullEval{x: compile(e.X, env), not: e.Not}
	case *IsDistinct:
		return &isDistinctEval{l: compile(e.L, env), r: compile(e.R, env), not: e.Not}
	case *In:
		return compileIn(e, env)
	case *Match:
		return compileMatch(e, env)
	case *Case:
		return compileCase(e, env)
	case *Cast:
		return compileCast(e, env)
	case *Call:
		return compileCall(e, env)
	}
	return failEval{runErrorf("XX000", "no evaluator for %T", e)}
}

func compileAll(list []Expr, env *Env) []evaluator {
	out := make([]evaluator, len(list))
	for i, e := range list {
		out[i] = compile(e, env)
	}
	return out
}

// failEval reports an error that was known when the expression was compiled, once there is a row to evaluate.
type failEval struct{ err error }

func (f failEval) eval(b *batch.Batch) (*batch.Vector, error) { return nil, f.err }

type columnEval int

func (c columnEval) eval(b *batch.Batch) (*batch.Vector, error) { return b.Cols[c], nil }

// constEval keeps a vector that repeats its value and cuts it to the batch's size.
type constEval struct {
	val  Value
	full batch.Vector
	out  batch.Vector
	n    int
}

func (c *constEval) eval(b *batch.Batch) (*batch.Vector, error) {
	if c.full.Type == schema.Invalid || c.n < b.N {
		c.n = max(b.N, 64)
		fillConst(&c.full, c.val, c.n)
	}
	slice(&c.out, &c.full, 0, b.N)
	return &c.out, nil
}

// fillConst makes v hold n copies of val.
func fillConst(v *batch.Vector, val Value, n int) {
	t := val.Type
	if t == schema.Invalid {
		t = schema.Varchar
	}
	v.Reset(t, n)
	switch t.Physical() {
	case schema.Int64:
		for i := range v.I64 {
			v.I64[i] = val.I
		}
	case schema.Float64:
		for i := range v.F64 {
			v.F64[i] = val.F
		}
	case schema.ID:
		for i := range v.Codes {
			v.Codes[i] = uint32(val.I)
		}
	default:
		clear(v.Codes)
		v.Dict = batch.DictOf(val.S)
	}
	if val.Null {
		v.Valid = batch.NewBitmap(n)
	}
}

// slice makes dst the rows [from, to) of src; from is a multiple of 64. dst shares src's memory.
func slice(dst, src *batch.Vector, from, to int) {
	*dst = batch.Vector{Type: src.Type, Dict: src.Dict}
	if src.Valid != nil {
		dst.Valid = src.Valid[from>>6:]
	}
	switch src.Type.Physical() {
	case schema.Int64:
		dst.I64 = src.I64[from:to:to]
	case schema.Float64:
		dst.F64 = src.F64[from:to:to]
	default:
		dst.Codes = src.Codes[from:to:to]
	}
}

// validity is the scratch bitmap of an evaluator's results.
type validity struct{ bits batch.Bitmap }

// grow is the bitmap with room for n rows and undefined contents.
func (s *validity) grow(n int) batch.Bitmap {
	w := (n + 63) / 64
	if cap(s.bits) < w {
		s.bits = make(batch.Bitmap, w)
	}
	return s.bits[:w]
}

// full is the bitmap with the first n bits set.
func (s *validity) full(n int) batch.Bitmap {
	b := s.grow(n)
	b.Fill(n)
	return b
}

// and is the rows that are valid in all of vs; nil when all rows are.
func (s *validity) and(n int, vs ...*batch.Vector) batch.Bitmap {
	var out batch.Bitmap
	for _, v := range vs {
		if v.Valid == nil {
			continue
		}
		if out == nil {
			out = s.grow(n)
			copy(out, v.Valid)
			continue
		}
		for i := range out {
			out[i] &= v.Valid[i]
		}
	}
	return out
}

// tagEval looks tag keys up through the dense map id -> value.
type tagEval struct {
	x     evaluator
	env   *Env
	key   string
	dict  *TagDict
	out   batch.Vector
	valid validity
}

func (t *tagEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := t.x.eval(b)
	if err != nil {
		return nil, err
	}
	if t.dict == nil {
		t.dict = t.env.TagDict(t.key)
	}
	n := b.N
	t.out.Reset(schema.Varchar, n)
	t.out.Dict = t.dict.Dict
	codes, out := t.dict.Codes, t.out.Codes
	t.out.Valid = t.valid.grow(n)
	valid := t.out.Valid
	var word, all uint64 = 0, math.MaxUint64
	for i, id := range v.Codes[:n] {
		var c uint32
		if int(id) < len(codes) {
			c = codes[id]
		}
		out[i] = c
		word |= uint64(min(c, 1)) << (uint(i) & 63)
		if i&63 == 63 {
			valid[i>>6] = word
			all &= word
			word = 0
		}
	}
	if n&63 != 0 {
		valid[n>>6] = word
		all &= word | ^uint64(0)<<(uint(n)&63)
	}
	if all == math.MaxUint64 {
		t.out.Valid = nil
	}
	return &t.out, nil
}

// growDict is a dictionary that grows; views of it stay valid while it does.
type growDict struct {
	data []byte
	offs []uint32
	view *batch.Dict
}

func (d *growDict) reset() { d.data, d.offs, d.view = nil, nil, nil }

func (d *growDict) add(s string) uint32 {
	if len(d.offs) == 0 {
		d.offs = append(d.offs, 0)
	}
	d.data = append(d.data, s...)
	d.offs = append(d.offs, uint32(len(d.data)))
	d.view = nil
	return uint32(len(d.offs) - 2)
}

// addBytes is add for bytes, which are copied.
func (d *growDict) addBytes(b []byte) uint32 {
	return d.add(unsafe.String(unsafe.SliceData(b), len(b)))
}

// dict is the dictionary of all entries so far. Appending more leaves it as it is.
func (d *growDict) dict() *batch.Dict {
	if d.view == nil {
		if len(d.offs) == 0 {
			d.offs = append(d.offs, 0)
		}
		n, m := len(d.data), len(d.offs)
		d.view = batch.NewDict(d.data[:n:n], d.offs[:m:m])
	}
	return d.view
}

// boolLUT evaluates a condition on text once per dictionary entry, as entries are met.
type boolLUT struct {
	f    func(v []byte) bool
	dict *batch.Dict
	lut  []uint8 // per code: 0 not known yet, 1 false, 2 true
}

func (l *boolLUT) apply(v *batch.Vector, out []int64) {
	if l.dict != v.Dict {
		l.dict = v.Dict
		l.lut = resize(l.lut, v.Dict.Len())
		clear(l.lut)
	}
	lut := l.lut
	for i, c := range v.Codes[:len(out)] {
		k := lut[c]
		if k == 0 {
			k = 1
			if l.f(v.Dict.At(int(c))) {
				k = 2
			}
			lut[c] = k
		}
		out[i] = int64(k) - 1
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

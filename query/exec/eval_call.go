package exec

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// rowFunc computes one row. Arguments are not NULL unless the function asked for them; their text is borrowed until the
// result has been used.
type rowFunc func(a []Value) (Value, error)

// rowEval calls a function row by row. Constant arguments are set once; where the only other argument has a dictionary,
// the function is called once per entry that is met.
type rowEval struct {
	f          rowFunc
	args       []evaluator
	typ        schema.Type
	calledNull bool
	constNull  bool // a constant argument is NULL and the function does not want to see it
	vals       []Value
	variable   []int // arguments that are not constant
	vecs       []*batch.Vector
	lift       liftTable
	out        batch.Vector
	valid      validity
	dict       growDict
}

func newRowEval(f rowFunc, args []Expr, typ schema.Type, calledNull bool, env *Env) *rowEval {
	e := &rowEval{f: f, args: compileAll(args, env), typ: typ, calledNull: calledNull,
		vals: make([]Value, len(args)), vecs: make([]*batch.Vector, len(args))}
	for i, a := range args {
		if c, ok := a.(*Const); ok {
			e.vals[i] = c.Value
			e.constNull = e.constNull || c.Value.Null && !calledNull
		} else {
			e.variable = append(e.variable, i)
		}
	}
	return e
}

func (e *rowEval) eval(b *batch.Batch) (*batch.Vector, error) {
	for _, i := range e.variable {
		v, err := e.args[i].eval(b)
		if err != nil {
			return nil, err
		}
		e.vecs[i] = v
	}
	e.out.Reset(e.typ, b.N)
	if e.constNull {
		fillConst(&e.out, NullValue(e.typ), b.N)
		return &e.out, nil
	}
	if len(e.variable) == 1 && e.vecs[e.variable[0]].Dict != nil {
		return e.lifted(e.vecs[e.variable[0]], b.N)
	}
	e.dict.reset()
	for i := 0; i < b.N; i++ {
		if err := e.row(i, b.N); err != nil {
			return nil, err
		}
	}
	if e.typ.Physical() == schema.Code {
		e.out.Dict = e.dict.dict()
	}
	return &e.out, nil
}

func (e *rowEval) row(i, n int) error {
	null := false
	for _, k := range e.variable {
		e.vals[k] = viewAt(e.vecs[k], i)
		null = null || e.vals[k].Null
	}
	r := Value{Null: true}
	if !null || e.calledNull {
		var err error
		if r, err = e.f(e.vals); err != nil {
			return err
		}
	}
	e.store(i, n, r)
	return nil
}

// store sets row i of the result.
func (e *rowEval) store(i, n int, r Value) {
	if r.Null {
		if e.out.Valid == nil {
			e.out.Valid = e.valid.full(n)
		}
		e.out.Valid.Clear(i)
	}
	switch e.typ.Physical() {
	case schema.Int64:
		e.out.I64[i] = r.I
	case schema.Float64:
		e.out.F64[i] = r.F
	case schema.ID:
		e.out.Codes[i] = uint32(r.I)
	default:
		e.out.Codes[i] = e.dict.add(r.S)
	}
}

// liftTable holds a function's results for the entries of one dictionary.
type liftTable struct {
	dict  *batch.Dict
	state []uint8 // per code: 0 not known yet, 1 NULL, 2 known
	i64   []int64
	f64   []float64
	codes []uint32
}

func (e *rowEval) lifted(v *batch.Vector, n int) (*batch.Vector, error) {
	l := &e.lift
	if l.dict != v.Dict {
		e.startLift(v.Dict)
	}
	arg := e.variable[0]
	anyNull := false
	for i, c := range v.Codes[:n] {
		if v.IsNull(i) {
			c = uint32(len(l.state)) - 1 // one more than the dictionary has
		}
		st := l.state[c]
		if st == 0 {
			val := NullValue(v.Type)
			if int(c) < len(l.state)-1 {
				val = Value{Type: v.Type, S: string(v.Dict.At(int(c)))}
			}
			var err error
			if st, err = e.liftEntry(c, arg, val); err != nil {
				return nil, err
			}
		}
		if st == 1 {
			anyNull = true
		}
		switch e.typ.Physical() {
		case schema.Int64:
			e.out.I64[i] = l.i64[c]
		case schema.Float64:
			e.out.F64[i] = l.f64[c]
		default:
			e.out.Codes[i] = l.codes[c]
		}
	}
	if anyNull {
		e.liftNulls(v, n)
	}
	if e.typ.Physical() == schema.Code {
		e.out.Dict = e.dict.dict()
	}
	return &e.out, nil
}

func (e *rowEval) liftNulls(v *batch.Vector, n int) {
	l := &e.lift
	e.out.Valid = e.valid.full(n)
	for i, c := range v.Codes[:n] {
		if v.IsNull(i) {
			c = uint32(len(l.state)) - 1
		}
		if l.state[c] == 1 {
			e.out.Valid.Clear(i)
		}
	}
}

func (e *rowEval) startLift(d *batch.Dict) {
	l := &e.lift
	l.dict = d
	n := d.Len() + 1
	l.state = resize(l.state, n)
	clear(l.state)
	switch e.typ.Physical() {
	case schema.Int64:
		l.i64 = resize(l.i64, n)
	case schema.Float64:
		l.f64 = resize(l.f64, n)
	default:
		l.codes = resize(l.codes, n)
		e.dict.reset()
	}
}

// liftEntry computes the result for one entry and remembers it.
func (e *rowEval) liftEntry(c uint32, arg int, val Value) (uint8, error) {
	l := &e.lift
	r := NullValue(e.typ)
	if !val.Null || e.calledNull {
		e.vals[arg] = val
		var err error
		if r, err = e.f(e.vals); err != nil {
			return 0, err
		}
	}
	l.state[c] = 2
	if r.Null {
		l.state[c] = 1
		r = NullValue(e.typ)
	}
	switch e.typ.Physical() {
	case schema.Int64:
		l.i64[c] = r.I
	case schema.Float64:
		l.f64[c] = r.F
	default:
		l.codes[c] = e.dict.add(r.S)
	}
	return l.state[c], nil
}

// vecFunc computes all rows of a batch. out has n rows of the result type; its validity is the arguments' and may be
// narrowed through s. Constant arguments are vectors like all others.
type vecFunc func(s *vecState, out *batch.Vector, a []*batch.Vector, n int) error

// vecState is what a vecFunc may keep between calls.
type vecState struct {
	valid  validity
	consts []Value // parallel to the arguments, Type Invalid where an argument is not constant
}

// null makes row i of the result NULL.
func (s *vecState) null(out *batch.Vector, i, n int) {
	if out.Valid == nil {
		out.Valid = s.valid.full(n)
	}
	out.Valid.Clear(i)
}

type vecEval struct {
	f     vecFunc
	args  []evaluator
	typ   schema.Type
	vecs  []*batch.Vector
	state vecState
	out   batch.Vector
}

func (e *vecEval) eval(b *batch.Batch) (*batch.Vector, error) {
	for i, a := range e.args {
		v, err := a.eval(b)
		if err != nil {
			return nil, err
		}
		e.vecs[i] = v
	}
	e.out.Reset(e.typ, b.N)
	e.out.Valid = e.state.valid.and(b.N, e.vecs...)
	if err := e.f(&e.state, &e.out, e.vecs, b.N); err != nil {
		return nil, err
	}
	return &e.out, nil
}

func compileCall(e *Call, env *Env) evaluator {
	if e.Impl.Vec == nil {
		return newRowEval(e.Impl.Row, e.Args, e.Typ, e.Impl.CalledOnNull, env)
	}
	k := &vecEval{f: e.Impl.Vec, args: compileAll(e.Args, env), typ: e.Typ, vecs: make([]*batch.Vector, len(e.Args))}
	k.state.consts = make([]Value, len(e.Args))
	for i, a := range e.Args {
		if c, ok := a.(*Const); ok {
			k.state.consts[i] = c.Value
		}
	}
	return k
}

func compileMap(e *MapValue, env *Env) evaluator {
	key := e.Key
	f := func(a []Value) (Value, error) {
		if v, ok := env.MapGet([]byte(a[0].S), key); ok {
			return TextValue(string(v)), nil
		}
		return NullValue(schema.Varchar), nil
	}
	return newRowEval(f, []Expr{e.X}, schema.Varchar, false, env)
}

// caseEval evaluates each branch only for the rows that reach it.
type caseEval struct {
	whens []caseWhen
	other evaluator
	typ   schema.Type
	cols  []int // columns the branches read
	sub   batch.Batch
	vecs  []batch.Vector
	out   batch.Vector
	valid validity
	dict  batch.DictBuilder
}

type caseWhen struct{ cond, then evaluator }

func compileCase(e *Case, env *Env) evaluator {
	k := &caseEval{other: compile(e.Else, env), typ: e.Typ}
	for _, w := range e.Whens {
		k.whens = append(k.whens, caseWhen{compile(w.Cond, env), compile(w.Then, env)})
	}
	seen := map[int]bool{}
	Columns(e, func(c *Column) {
		if !seen[c.Index] {
			seen[c.Index] = true
			k.cols = append(k.cols, c.Index)
		}
	})
	return k
}

func (e *caseEval) eval(b *batch.Batch) (*batch.Vector, error) {
	n := b.N
	e.out.Reset(e.typ, n)
	rest := make([]int32, n)
	for i := range rest {
		rest[i] = int32(i)
	}
	for _, w := range e.whens {
		if len(rest) == 0 {
			break
		}
		sub := e.rows(b, rest)
		v, err := w.cond.eval(sub)
		if err != nil {
			return nil, err
		}
		var yes, no []int32
		for i, r := range rest {
			if v.I64[i] != 0 && !v.IsNull(i) {
				yes = append(yes, r)
			} else {
				no = append(no, r)
			}
		}
		rest = no
		if err := e.branch(b, w.then, yes); err != nil {
			return nil, err
		}
	}
	if err := e.branch(b, e.other, rest); err != nil {
		return nil, err
	}
	if e.typ.Physical() == schema.Code {
		e.out.Dict = e.dict.Seal()
	}
	return &e.out, nil
}

// rows is the part of b that some rows make up, with the columns that branches read.
func (e *caseEval) rows(b *batch.Batch, rows []int32) *batch.Batch {
	if len(rows) == b.N {
		return b
	}
	if len(e.vecs) < len(b.Cols) {
		e.vecs = make([]batch.Vector, len(b.Cols))
		e.sub.Cols = make([]*batch.Vector, len(b.Cols))
	}
	e.sub.N = len(rows)
	for _, c := range e.cols {
		batch.Gather(&e.vecs[c], b.Cols[c], rows)
		e.sub.Cols[c] = &e.vecs[c]
	}
	return &e.sub
}

// branch evaluates then for some rows and puts the results in their places.
func (e *caseEval) branch(b *batch.Batch, then evaluator, rows []int32) error {
	if len(rows) == 0 {
		return nil
	}
	v, err := then.eval(e.rows(b, rows))
	if err != nil {
		return err
	}
	if v.Valid != nil && e.out.Valid == nil {
		e.out.Valid = e.valid.full(b.N)
	}
	switch e.typ.Physical() {
	case schema.Int64:
		for i, r := range rows {
			e.out.I64[r] = v.I64[i]
		}
	case schema.Float64:
		for i, r := range rows {
			e.out.F64[r] = v.F64[i]
		}
	case schema.ID:
		for i, r := range rows {
			e.out.Codes[r] = v.Codes[i]
		}
	default:
		lut := make([]uint32, v.Dict.Len()) // code plus one
		for i, r := range rows {
			c := v.Codes[i]
			if lut[c] == 0 {
				lut[c] = e.dict.Code(v.Dict.At(int(c))) + 1
			}
			e.out.Codes[r] = lut[c] - 1
		}
	}
	for i, r := range rows {
		if v.IsNull(i) {
			e.out.Valid.Clear(int(r))
		}
	}
	return nil
}

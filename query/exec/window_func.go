package exec

import (
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// WindowFunc describes a function that is only called with OVER.
type WindowFunc struct {
	// Value functions take a value of a row first and give one of its type.
	Value bool
	// Consts are the types of the constants that follow, of which the first Need must be there.
	Consts []schema.Type
	Need   int
	// Ret is the type of the others.
	Ret schema.Type
	// Ordered functions need an ORDER BY.
	Ordered bool
}

var windowFuncs = map[string]*WindowFunc{
	"row_number":   {Ret: tInt},
	"rank":         {Ret: tInt, Ordered: true},
	"dense_rank":   {Ret: tInt, Ordered: true},
	"percent_rank": {Ret: tFloat, Ordered: true},
	"cume_dist":    {Ret: tFloat, Ordered: true},
	"ntile":        {Ret: tInt, Consts: []schema.Type{tInt}, Need: 1, Ordered: true},
	"lag":          {Value: true, Consts: []schema.Type{tInt, Any}, Ordered: true},
	"lead":         {Value: true, Consts: []schema.Type{tInt, Any}, Ordered: true},
	"first_value":  {Value: true},
	"last_value":   {Value: true},
	"nth_value":    {Value: true, Consts: []schema.Type{tInt}, Need: 1},
}

// LookupWindow is the window function of a name, nil when there is none.
func LookupWindow(name string) *WindowFunc { return windowFuncs[name] }

func init() {
	w := func(name, signature, doc string) {
		register(&Func{Name: name, Signature: signature + " OVER (...)", Group: "window", Doc: doc})
	}
	w("row_number", "row_number()", "number of the row in its partition, from 1")
	w("rank", "rank()", "number of the first row that is equal in the order, from 1")
	w("dense_rank", "dense_rank()", "number of different places in the order so far, from 1")
	w("percent_rank", "percent_rank()", "(rank - 1) / (rows - 1), 0 to 1")
	w("cume_dist", "cume_dist()", "share of the rows up to this one and its equals")
	w("ntile", "ntile(n)", "number of the part, of n that are as equal as can be, that the row falls into")
	w("lag", "lag(value [, n [, default]])", "value n rows before, by default 1; the default, by default NULL, where there is none")
	w("lead", "lead(value [, n [, default]])", "value n rows further on")
	w("first_value", "first_value(value)", "value of the first row of the frame")
	w("last_value", "last_value(value)", "value of the last row of the frame")
	w("nth_value", "nth_value(value, n)", "value of row n of the frame, from 1")
}

// WindowAggregate says whether an aggregate can be computed over frames that are not the whole partition.
func WindowAggregate(name string) bool {
	switch name {
	case "count", "sum", "avg", "min", "max":
		return true
	}
	return false
}

func (w *windowRows) call(c *WindowCall) (*batch.Vector, error) {
	switch {
	case c.Agg != nil && c.Frame.whole():
		return w.partitions(c)
	case c.Agg != nil:
		return w.aggregate(c)
	}
	switch c.Fn {
	case "lag", "lead", "first_value", "last_value", "nth_value":
		return w.values(c), nil
	case "percent_rank", "cume_dist":
		out := newResult(tFloat, w.n)
		for i := range w.n {
			rows, before := float64(w.pHi[i]-w.pLo[i]), float64(w.eLo[i]-w.pLo[i])
			switch {
			case c.Fn == "cume_dist":
				out.F64[i] = float64(w.eHi[i]-w.pLo[i]) / rows
			case rows > 1:
				out.F64[i] = before / (rows - 1)
			default:
				out.F64[i] = 0
			}
		}
		return out, nil
	}
	out := newResult(tInt, w.n)
	dense := int64(0)
	for i := range w.n {
		at := int64(int32(i) - w.pLo[i])
		if at == 0 {
			dense = 0
		}
		if int(w.eLo[i]) == i {
			dense++
		}
		switch c.Fn {
		case "rank":
			out.I64[i] = int64(w.eLo[i]-w.pLo[i]) + 1
		case "dense_rank":
			out.I64[i] = dense
		case "ntile":
			out.I64[i] = tile(at, int64(w.pHi[i]-w.pLo[i]), c.Consts[0].I)
		default:
			out.I64[i] = at + 1
		}
	}
	return out, nil
}

// tile is which of n parts of rows, the first ones longer by one where it does not come out even, row at lies in.
func tile(at, rows, n int64) int64 {
	size, longer := rows/n, rows%n
	if at < longer*(size+1) {
		return at/(size+1) + 1
	}
	return longer + (at-longer*(size+1))/size + 1
}

// values picks a row for each row.
func (w *windowRows) values(c *WindowCall) *batch.Vector {
	rows := make([]int32, w.n)
	step := int64(1)
	if len(c.Consts) > 0 {
		step = c.Consts[0].I
	}
	if c.Fn == "lag" {
		step = -step
	}
	missing := false
	for i := range rows {
		lo, hi := w.pLo[i], w.pHi[i]
		at := int64(i) + step
		if c.Fn != "lag" && c.Fn != "lead" {
			lo, hi = w.frame(&c.Frame, i)
			switch c.Fn {
			case "first_value":
				at = int64(lo)
			case "last_value":
				at = int64(hi) - 1
			default:
				at = int64(lo) + step - 1
			}
		}
		if rows[i] = int32(at); at < int64(lo) || at >= int64(hi) {
			rows[i], missing = -1, true
		}
	}
	return w.gather(w.cols[c.Args[0]], rows, missing, c)
}

// gather is the values of rows, -1 for those that have none.
func (w *windowRows) gather(v *batch.Vector, rows []int32, missing bool, c *WindowCall) *batch.Vector {
	out := &batch.Vector{}
	if !missing {
		batch.Gather(out, v, rows)
		return out
	}
	if len(c.Consts) > 1 && !c.Consts[1].Null {
		vals := make([]Value, len(rows))
		for i, r := range rows {
			if vals[i] = c.Consts[1]; r >= 0 {
				vals[i] = ValueAt(v, int(r))
			}
		}
		return VectorOf(vectorType(c.Typ), vals)
	}
	sure := make([]int32, len(rows))
	for i, r := range rows {
		sure[i] = max(r, 0)
	}
	batch.Gather(out, v, sure)
	for i, r := range rows {
		if r < 0 {
			clearRow(out, i)
			setNull(out, i, len(rows))
		}
	}
	return out
}

// partitions computes any aggregate over whole partitions.
func (w *windowRows) partitions(c *WindowCall) (*batch.Vector, error) {
	state := c.Agg.newState()
	args := make([]*batch.Vector, len(c.Args))
	for i, a := range c.Args {
		args[i] = w.cols[a]
	}
	out := &batch.Vector{}
	if w.n == 0 {
		out.Reset(vectorType(c.Typ), 0)
		if out.Type.Physical() == schema.Code {
			out.Dict = batch.DictOf("")
		}
		return out, nil
	}
	if err := state.add(w.part, w.parts, args); err != nil {
		return nil, err
	}
	if err := w.run.Budget.Charge(state.bytes()); err != nil {
		return nil, err
	}
	v, err := state.result(w.parts)
	if err != nil {
		return nil, err
	}
	rows := make([]int32, w.n)
	for i, p := range w.part {
		rows[i] = int32(p)
	}
	batch.Gather(out, v, rows)
	return out, nil
}

// aggregate computes count, sum, avg, min and max over frames.
func (w *windowRows) aggregate(c *WindowCall) (*batch.Vector, error) {
	var v *batch.Vector
	if len(c.Args) > 0 {
		v = w.cols[c.Args[0]]
	}
	count := make([]int32, w.n+1) // values before each row
	for i := range w.n {
		count[i+1] = count[i]
		if v == nil || !v.IsNull(i) {
			count[i+1]++
		}
	}
	switch name := c.Agg.Fn.Name; {
	case name == "count":
		out := newResult(tInt, w.n)
		for i := range w.n {
			lo, hi := w.frame(&c.Frame, i)
			out.I64[i] = int64(count[hi] - count[lo])
		}
		return out, nil
	case name == "min" || name == "max":
		return w.extremes(c, v, name == "max")
	case v.Type.Physical() == schema.Float64:
		return w.floatSums(c, v, count)
	}
	return w.intSums(c, v, count)
}

// intSums takes differences of running sums of 128 bits: they do not overflow where the frame's own sum fits.
func (w *windowRows) intSums(c *WindowCall, v *batch.Vector, count []int32) (*batch.Vector, error) {
	type wide struct{ hi, lo uint64 }
	sums := make([]wide, w.n+1)
	for i := range w.n {
		var x int64
		if !v.IsNull(i) {
			x = v.I64[i]
		}
		lo, carry := bits.Add64(sums[i].lo, uint64(x), 0)
		hi, _ := bits.Add64(sums[i].hi, uint64(x>>63), carry)
		sums[i+1] = wide{hi, lo}
	}
	out := newResult(vectorType(c.Typ), w.n)
	for i := range w.n {
		from, to := w.frame(&c.Frame, i)
		n := count[to] - count[from]
		if n == 0 {
			clearRow(out, i)
			setNull(out, i, w.n)
			continue
		}
		lo, borrow := bits.Sub64(sums[to].lo, sums[from].lo, 0)
		hi, _ := bits.Sub64(sums[to].hi, sums[from].hi, borrow)
		if int64(hi) != int64(lo)>>63 {
			return nil, runErrorf(stateOutOfRange, "%s is out of range for %s; cast the argument to DOUBLE", c.Agg.Fn.Name, c.Typ)
		}
		switch {
		case c.Agg.Fn.Name == "sum":
			out.I64[i] = int64(lo)
		case c.Typ == schema.Double:
			out.F64[i] = float64(int64(lo)) / float64(n)
		default:
			out.I64[i] = int64(float64(int64(lo)) / float64(n))
		}
	}
	return out, nil
}

// floatSums adds to the sum of the frame before as long as frames begin alike, else it adds up anew: differences of sums
// would lose digits.
func (w *windowRows) floatSums(c *WindowCall, v *batch.Vector, count []int32) (*batch.Vector, error) {
	out := newResult(schema.Double, w.n)
	begin, end, sum := int32(-1), int32(0), 0.0
	work := 0
	for i := range w.n {
		lo, hi := w.frame(&c.Frame, i)
		if lo != begin || hi < end {
			begin, end, sum = lo, lo, 0
		}
		for ; end < hi; end++ {
			if !v.IsNull(int(end)) {
				sum += v.F64[end]
			}
			if work++; work&0xffff == 0 && w.run.err() != nil {
				return nil, w.run.err()
			}
		}
		n := count[hi] - count[lo]
		if n == 0 {
			out.F64[i] = 0
			setNull(out, i, w.n)
			continue
		}
		if out.F64[i] = sum; c.Agg.Fn.Name == "avg" {
			out.F64[i] = sum / float64(n)
		}
	}
	return out, nil
}

// extremes keeps, of the frame, the rows that may still become the extreme: each is better than all that follow.
func (w *windowRows) extremes(c *WindowCall, v *batch.Vector, greatest bool) (*batch.Vector, error) {
	rows := make([]int32, w.n)
	missing := false
	var queue []int32
	end := int32(0)
	better := func(a, b int32) bool {
		d := CompareValues(viewAt(v, int(a)), viewAt(v, int(b)))
		return d > 0 == greatest && d != 0
	}
	for i := range w.n {
		lo, hi := w.frame(&c.Frame, i)
		if int(w.pLo[i]) == i || hi < end { // a new partition
			queue, end = queue[:0], lo
		}
		for end = max(end, lo); end < hi; end++ {
			if v.IsNull(int(end)) {
				continue
			}
			for len(queue) > 0 && !better(queue[len(queue)-1], end) {
				queue = queue[:len(queue)-1]
			}
			queue = append(queue, end)
		}
		for len(queue) > 0 && queue[0] < lo {
			queue = queue[1:]
		}
		if rows[i] = -1; len(queue) > 0 {
			rows[i] = queue[0]
		} else {
			missing = true
		}
	}
	return w.gather(v, rows, missing, &WindowCall{Typ: c.Typ}), nil
}

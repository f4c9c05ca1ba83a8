package exec

import (
	"sort"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
)

// Window appends the results of window functions to the rows of its input, which come sorted by the columns of Partition,
// then by those of Order. It holds all rows in memory.
type Window struct {
	NodeStats
	Input     Node
	Partition []int // columns of the input
	Order     []SortKey
	Calls     []*WindowCall

	src batchSource
}

// WindowCall is one window function: one of windowFuncs, or an aggregate.
type WindowCall struct {
	Fn     string
	Agg    *Agg    // nil for window functions; its arguments are columns
	Args   []int   // columns of the input
	Consts []Value // the arguments behind them, constant
	Frame  Frame
	Typ    schema.Type
	// Text is the call as EXPLAIN shows it.
	Text string
}

// Frame is the rows around a row that a window function looks at.
type Frame struct {
	// Range counts by the value of the one key of the order, else by rows. CURRENT ROW then stands for its equals too.
	Range      bool
	Start, End FrameBound
}

// FrameBound is one end of a frame.
type FrameBound struct {
	Kind   ast.BoundKind
	Offset Value // of Preceding and Following; not negative, for Range of the type of the key (an interval for times)
}

// whole says whether the frame is the whole partition.
func (f *Frame) whole() bool {
	return f.Start.Kind == ast.UnboundedPreceding && f.End.Kind == ast.UnboundedFollowing
}

// Cols is the input, then the results.
func (n *Window) Cols() []Col {
	out := append([]Col{}, n.Input.Cols()...)
	for _, c := range n.Calls {
		out = append(out, Col{Name: c.Text, Type: c.Typ})
	}
	return out
}

// Inputs is the one input.
func (n *Window) Inputs() []Node { return []Node{n.Input} }

// Describe is the line in EXPLAIN.
func (n *Window) Describe() (string, []string) {
	var list []string
	for _, c := range n.Calls {
		list = append(list, c.Text)
	}
	return "Window " + strings.Join(list, ", "), nil
}

func (n *Window) width(r *Run) int { return max(1, min(r.Workers, len(n.src.list))) }

func (n *Window) iter(*Run, int) iterator { return &n.src }

func (n *Window) start(r *Run) error {
	if err := r.begin(n.Input); err != nil {
		return err
	}
	var bufs []*colBuffer
	for _, c := range n.Input.Cols() {
		bufs = append(bufs, newColBuffer(vectorType(c.Type)))
	}
	mem := charger{budget: r.Budget}
	w := &windowRows{run: r, spec: n}
	var all []int32
	err := drain(r, r.rows(n.Input, 0), func(b *batch.Batch, _ int64) error { // a Sort: one worker has all rows
		all = resize(all, b.N)
		size := int64(0)
		for i := range all {
			all[i] = int32(i)
		}
		for i, c := range bufs {
			c.append(b.Cols[i], all)
			size += c.bytes()
		}
		w.n += b.N
		return mem.set(size)
	})
	if err != nil {
		return err
	}
	for _, c := range bufs {
		w.cols = append(w.cols, c.all())
	}
	// bounds of partitions, peers and frames, and the result, for each row
	if err := r.Budget.Charge(int64(w.n) * int64(24+24*len(n.Calls))); err != nil {
		return err
	}
	w.divide()
	cols := append([]*batch.Vector{}, w.cols...)
	for _, c := range n.Calls {
		v, err := w.call(c)
		if err != nil {
			return err
		}
		cols = append(cols, v)
	}
	n.src.list = chunks(cols, w.n)
	return nil
}

// windowRows is all rows of a Window, and how they are divided.
type windowRows struct {
	run  *Run
	spec *Window
	n    int
	cols []*batch.Vector
	// for each row: the partition's and its equals' first row and the row behind the last; the partition's number
	pLo, pHi, eLo, eHi []int32
	part               []uint32
	parts              int
}

// sameRow says whether two rows agree in a column; NULLs agree.
func sameRow(v *batch.Vector, i, j int) bool {
	if a, b := v.IsNull(i), v.IsNull(j); a || b {
		return a && b
	}
	switch v.Type.Physical() {
	case schema.Int64:
		return v.I64[i] == v.I64[j]
	case schema.Float64:
		return floatBits(v.F64[i]) == floatBits(v.F64[j])
	}
	return v.Codes[i] == v.Codes[j] // a colBuffer has each text once
}

func (w *windowRows) divide() {
	for _, p := range []*[]int32{&w.pLo, &w.pHi, &w.eLo, &w.eHi} {
		*p = make([]int32, w.n)
	}
	w.part = make([]uint32, w.n)
	newPart, newPeers := 0, 0
	for i := range w.n {
		same, peers := i > 0, i > 0
		for _, c := range w.spec.Partition {
			same = same && sameRow(w.cols[c], i-1, i)
		}
		for _, k := range w.spec.Order {
			peers = peers && sameRow(w.cols[k.Column], i-1, i)
		}
		if !same {
			newPart = i
			w.parts++
		}
		if !same || !peers {
			newPeers = i
		}
		w.part[i], w.pLo[i], w.eLo[i] = uint32(w.parts-1), int32(newPart), int32(newPeers)
	}
	pEnd, eEnd := int32(w.n), int32(w.n)
	for i := w.n - 1; i >= 0; i-- {
		w.pHi[i], w.eHi[i] = pEnd, eEnd
		if int(w.eLo[i]) == i {
			eEnd = int32(i)
		}
		if int(w.pLo[i]) == i {
			pEnd = int32(i)
		}
	}
}

// frame is the first row of a row's frame and the row behind its last.
func (w *windowRows) frame(f *Frame, i int) (lo, hi int32) {
	lo = w.bound(f, &f.Start, i, false)
	hi = w.bound(f, &f.End, i, true)
	return lo, max(lo, hi)
}

// bound is where a frame begins, or, at its end, the row behind it.
func (w *windowRows) bound(f *Frame, b *FrameBound, i int, end bool) int32 {
	lo, hi := w.pLo[i], w.pHi[i]
	switch b.Kind {
	case ast.UnboundedPreceding:
		return lo
	case ast.UnboundedFollowing:
		return hi
	}
	if f.Range {
		return w.rangeBound(b, i, end)
	}
	at := int64(i)
	switch b.Kind {
	case ast.Preceding:
		at -= min(b.Offset.I, int64(w.n))
	case ast.Following:
		at += min(b.Offset.I, int64(w.n))
	}
	if end {
		at++
	}
	return int32(min(max(at, int64(lo)), int64(hi)))
}

// rangeBound is bound for a frame that counts by the value of the key.
func (w *windowRows) rangeBound(b *FrameBound, i int, end bool) int32 {
	peers := w.eLo[i]
	if end {
		peers = w.eHi[i]
	}
	if b.Kind == ast.CurrentRow {
		return peers
	}
	k := w.spec.Order[0]
	v := w.cols[k.Column]
	if v.IsNull(i) {
		return peers
	}
	sign := 1 // whether values further on are further up
	if k.Desc {
		sign = -1
	}
	if b.Kind == ast.Preceding {
		sign = -sign
	}
	lo, hi := int(w.pLo[i]), int(w.pHi[i])
	for lo < hi && v.IsNull(lo) {
		lo++
	}
	for hi > lo && v.IsNull(hi-1) {
		hi--
	}
	// cmp is how the value of row j lies to the bound, in the order of the rows
	var cmp func(j int) int
	if v.Type.Physical() == schema.Float64 {
		edge := v.F64[i] + float64(sign)*b.Offset.F
		cmp = func(j int) int { return compareFloat(v.F64[j], edge) }
	} else {
		edge := addSaturated(v.I64[i], b.Offset.I, sign)
		cmp = func(j int) int { return compareInt(v.I64[j], edge) }
	}
	return int32(lo + sort.Search(hi-lo, func(j int) bool {
		c := cmp(lo + j)
		if k.Desc {
			c = -c
		}
		return c > 0 || c == 0 && !end
	}))
}

// addSaturated is a + sign*b, kept in range; b is not negative.
func addSaturated(a, b int64, sign int) int64 {
	if sign < 0 {
		b = -b
	}
	c := a + b
	switch {
	case b > 0 && c < a:
		return 1<<63 - 1
	case b < 0 && c > a:
		return -1 << 63
	}
	return c
}

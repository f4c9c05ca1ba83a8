package exec

import (
	"encoding/binary"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// JoinKind is the kind of a Join.
type JoinKind uint8

// Kinds of joins. A right join is a left join with its sides changed over.
const (
	JoinInner JoinKind = iota
	JoinLeft
	JoinFull
)

// Join combines the rows of two inputs that have equal keys and satisfy the condition; without keys, all pairs. The right
// side is held in memory. Its columns are those of the left, then those of the right.
type Join struct {
	NodeStats
	Kind                JoinKind
	Left, Right         Node
	LeftKeys, RightKeys []Expr // of equal types
	On                  []Expr // over the columns of both sides; all must be true
	Asof                *Asof  // nil unless each left row takes only its closest right row

	cols  []*batch.Vector // of the right side
	hit   []bool          // rows of the right side that found a partner, for a full join
	rows  int
	index map[string][]int32
	all   []int32 // without keys: every row
}

// Cols is the output.
func (j *Join) Cols() []Col { return append(append([]Col{}, j.Left.Cols()...), j.Right.Cols()...) }

// Inputs are both sides.
func (j *Join) Inputs() []Node { return []Node{j.Left, j.Right} }

// Describe is the line in EXPLAIN.
func (j *Join) Describe() (string, []string) {
	line := [...]string{"Join", "Left join", "Full join"}[j.Kind]
	if j.Asof != nil {
		line = "Asof " + strings.ToLower(line)
	}
	if len(j.LeftKeys) == 0 && len(j.On) == 0 && j.Asof == nil {
		return "Cross join", nil
	}
	sep := " on "
	for i := range j.LeftKeys {
		line += sep + operand(j.LeftKeys[i]) + " = " + operand(j.RightKeys[i])
		sep = " and "
	}
	if a := j.Asof; a != nil {
		line += sep + operand(a.Left) + " " + a.Op.String() + " " + operand(a.Right)
		sep = " and "
	}
	for _, e := range j.On {
		line += sep + e.String()
		sep = " and "
	}
	return line, nil
}

func (j *Join) start(r *Run) error {
	if err := r.begin(j.Right); err != nil {
		return err
	}
	if err := j.build(r); err != nil {
		return err
	}
	return r.begin(j.Left)
}

func (j *Join) build(r *Run) error {
	var bufs []*colBuffer
	for _, c := range j.Right.Cols() {
		bufs = append(bufs, newColBuffer(vectorType(c.Type)))
	}
	mem := charger{budget: r.Budget}
	j.index = map[string][]int32{}
	keys := compileAll(j.RightKeys, r.Env)
	var order asofOrder
	if j.Asof != nil {
		order.key = compile(j.Asof.Right, r.Env)
	}
	var rows []int32
	var text int64
	err := drain(r, r.gather(j.Right), func(b *batch.Batch, _ int64) error {
		for len(rows) < b.N {
			rows = append(rows, int32(len(rows)))
		}
		size := int64(0)
		for i, c := range bufs {
			c.append(b.Cols[i], rows[:b.N])
			size += c.bytes()
		}
		if len(keys) > 0 {
			k, err := encodeKeys(keys, b)
			if err != nil {
				return err
			}
			for i, s := range k {
				if s != nil {
					j.index[string(s)] = append(j.index[string(s)], int32(j.rows+i))
					text += int64(len(s)) + 48
				}
			}
		}
		if order.key != nil {
			if err := order.append(b); err != nil {
				return err
			}
		}
		j.rows += b.N
		return mem.set(size + text + order.bytes())
	})
	if err != nil {
		return err
	}
	for _, c := range bufs {
		j.cols = append(j.cols, c.all())
	}
	if len(keys) == 0 {
		for i := range j.rows {
			j.all = append(j.all, int32(i))
		}
	}
	if j.Kind == JoinFull {
		j.hit = make([]bool, j.rows)
	}
	if j.Asof != nil {
		j.sortAsof(&order)
	}
	return nil
}

// encodeKeys is the keys of each row as bytes; nil where one is NULL, which equals nothing.
func encodeKeys(keys []evaluator, b *batch.Batch) ([][]byte, error) {
	out := make([][]byte, b.N)
	for i := range out {
		out[i] = []byte{}
	}
	for _, k := range keys {
		v, err := k.eval(b)
		if err != nil {
			return nil, err
		}
		for i := range out {
			if v.IsNull(i) || out[i] == nil {
				out[i] = nil
				continue
			}
			switch v.Type.Physical() {
			case schema.Int64:
				out[i] = binary.LittleEndian.AppendUint64(out[i], uint64(v.I64[i]))
			case schema.Float64:
				out[i] = binary.LittleEndian.AppendUint64(out[i], floatBits(v.F64[i]))
			case schema.ID:
				out[i] = binary.LittleEndian.AppendUint32(out[i], v.Codes[i])
			default:
				s := v.Bytes(i)
				out[i] = append(binary.AppendUvarint(out[i], uint64(len(s))), s...)
			}
		}
	}
	return out, nil
}

// width is 1 for a full join: who has found a partner is known when all rows of the left were seen.
func (j *Join) width(r *Run) int {
	if j.Kind == JoinFull {
		return 1
	}
	return j.Left.width(r)
}

// leftRows are the rows of the left side that worker w joins.
func (j *Join) leftRows(r *Run, w int) iterator {
	if j.Kind == JoinFull {
		return r.gather(j.Left)
	}
	return r.rows(j.Left, w)
}

func (j *Join) iter(r *Run, w int) iterator {
	it := &joinIter{j: j, r: r, in: j.leftRows(r, w), keys: compileAll(j.LeftKeys, r.Env), on: compileAll(j.On, r.Env)}
	if j.Asof != nil {
		it.asof = compile(j.Asof.Left, r.Env)
	}
	return it
}

type joinIter struct {
	j    *Join
	r    *Run
	in   iterator
	keys []evaluator
	on   []evaluator
	asof evaluator // nil unless the join is ASOF

	left    *batch.Batch
	seq     int64
	found   [][]byte // keys of left
	order   []uint64 // asof of left, as numbers that order alike
	known   []bool   // whether it is not NULL
	tail    int      // of the right side: rows looked at for a partner after the end of the left
	row     int      // of left that is being joined
	at      int      // within its matches
	matched []bool   // per row of left
	l, rr   []int32  // pairs of the next batch
	vecs    []batch.Vector
	pairs   batch.Batch
	out     batch.Batch // of pairs, without the hidden column
	sel     compactors
	hits    []int32
}

func (it *joinIter) next() (*batch.Batch, int64, error) {
	for {
		if it.left == nil {
			b, seq, err := it.in.next()
			if err != nil {
				return nil, 0, err
			}
			if b == nil {
				return it.unmatchedRight(), it.seq, nil
			}
			if b.N == 0 {
				it.out.N = 0
				return &it.out, seq, nil
			}
			if err := it.begin(b, seq); err != nil {
				return nil, 0, err
			}
		}
		if err := it.r.err(); err != nil {
			return nil, 0, err
		}
		if it.fill(); len(it.l) > 0 {
			out, err := it.join()
			return out, it.seq, err
		}
		out := it.unmatched()
		it.left = nil
		if out != nil {
			return out, it.seq, nil
		}
	}
}

// begin takes the next batch of the left side.
func (it *joinIter) begin(b *batch.Batch, seq int64) (err error) {
	if it.found, err = encodeKeys(it.keys, b); err != nil {
		return err
	}
	if it.asof != nil {
		v, err := it.asof.eval(b)
		if err != nil {
			return err
		}
		it.order, it.known = orderBits(it.order[:0], it.known[:0], v, b.N)
	}
	it.left, it.seq, it.row, it.at = b, seq, 0, 0
	it.matched = resize(it.matched, b.N)
	clear(it.matched)
	return nil
}

// candidates are the rows of the right side whose keys are those of the left row in hand.
func (it *joinIter) candidates() []int32 {
	list := it.j.all
	if len(it.keys) > 0 {
		list = nil
		if k := it.found[it.row]; k != nil {
			list = it.j.index[string(k)]
		}
	}
	if it.asof == nil {
		return list
	}
	if !it.known[it.row] {
		return nil
	}
	return it.j.Asof.closest(list, it.order[it.row])
}

// fill collects the next pairs of candidates.
func (it *joinIter) fill() {
	it.l, it.rr = it.l[:0], it.rr[:0]
	for it.row < it.left.N && len(it.l) < ChunkRows {
		list := it.candidates()
		n := min(len(list)-it.at, ChunkRows-len(it.l))
		for _, r := range list[it.at : it.at+n] {
			it.l, it.rr = append(it.l, int32(it.row)), append(it.rr, r)
		}
		if it.at += n; it.at == len(list) {
			it.row, it.at = it.row+1, 0
		}
	}
}

// join makes the batch of the pairs that satisfy the condition.
func (it *joinIter) join() (*batch.Batch, error) {
	nl := len(it.j.Left.Cols())
	if it.vecs == nil {
		it.vecs = make([]batch.Vector, nl+len(it.j.cols)+2)
		it.pairs.Cols = make([]*batch.Vector, nl+len(it.j.cols)+2)
	}
	gather := func(at int, v *batch.Vector, rows []int32) {
		batch.Gather(&it.vecs[at], v, rows)
		it.pairs.Cols[at] = &it.vecs[at]
	}
	for i, v := range it.left.Cols[:nl] {
		gather(i, v, it.l)
	}
	for i, v := range it.j.cols {
		gather(nl+i, v, it.rr)
	}
	// two hidden last columns carry the rows of both sides through the condition
	wide := len(it.vecs) - 2
	for k, rows := range [2][]int32{it.l, it.rr} {
		mark := &it.vecs[wide+k]
		mark.Reset(schema.BigInt, len(rows))
		for i, row := range rows {
			mark.I64[i] = int64(row)
		}
		it.pairs.Cols[wide+k] = mark
	}
	it.pairs.N = len(it.l)
	b := &it.pairs
	for _, e := range it.on {
		if b.N == 0 {
			break
		}
		v, err := e.eval(b)
		if err != nil {
			return nil, err
		}
		b = it.sel.keep(b, v)
	}
	if b.N > 0 {
		for _, l := range b.Cols[wide].I64[:b.N] {
			it.matched[l] = true
		}
		if it.j.hit != nil {
			for _, row := range b.Cols[wide+1].I64[:b.N] {
				it.j.hit[row] = true
			}
		}
	}
	it.out = batch.Batch{N: b.N, Cols: b.Cols[:wide]} // whoever reads this counts on the columns of the join
	return &it.out, nil
}

// unmatchedRight is the next rows of the right side that found no partner, for a full join; nil at the end.
func (it *joinIter) unmatchedRight() *batch.Batch {
	it.hits = it.hits[:0]
	for ; it.tail < len(it.j.hit) && len(it.hits) < ChunkRows; it.tail++ {
		if !it.j.hit[it.tail] {
			it.hits = append(it.hits, int32(it.tail))
		}
	}
	if len(it.hits) == 0 {
		return nil
	}
	out := &batch.Batch{N: len(it.hits), Cols: nulls(it.j.Left.Cols(), len(it.hits))}
	for _, v := range it.j.cols {
		g := &batch.Vector{}
		batch.Gather(g, v, it.hits)
		out.Cols = append(out.Cols, g)
	}
	return out
}

// nulls are columns of n NULLs.
func nulls(cols []Col, n int) (out []*batch.Vector) {
	for _, c := range cols {
		v := &batch.Vector{}
		fillConst(v, NullValue(vectorType(c.Type)), n)
		out = append(out, v)
	}
	return out
}

// unmatched is the rows of the left batch that found no partner, for a left or full join.
func (it *joinIter) unmatched() *batch.Batch {
	if it.j.Kind == JoinInner {
		return nil
	}
	it.hits = it.hits[:0]
	for i, m := range it.matched {
		if !m {
			it.hits = append(it.hits, int32(i))
		}
	}
	if len(it.hits) == 0 {
		return nil
	}
	n := len(it.hits)
	out := &batch.Batch{N: n}
	for _, v := range it.left.Cols {
		g := &batch.Vector{}
		batch.Gather(g, v, it.hits)
		out.Cols = append(out.Cols, g)
	}
	out.Cols = append(out.Cols, nulls(it.j.Right.Cols(), n)...)
	return out
}

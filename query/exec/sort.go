package exec

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// SortKey is one key of an order.
type SortKey struct {
	Column     int // of the input
	Desc       bool
	NullsFirst bool
}

// Sort orders its input, without keys by where rows were met first; with a limit it keeps only the first rows, in memory for them alone. Equal rows keep the order
// they came in.
type Sort struct {
	NodeStats
	Input Node
	Keys  []SortKey
	// Limit is how many rows are wanted; negative for all.
	Limit int64

	src batchSource
}

// Cols is the output.
func (s *Sort) Cols() []Col { return s.Input.Cols() }

// Inputs is the one input.
func (s *Sort) Inputs() []Node { return []Node{s.Input} }

// Describe is the line in EXPLAIN.
func (s *Sort) Describe() (string, []string) {
	var keys []string
	for _, k := range s.Keys {
		t := s.Input.Cols()[k.Column].Name
		if k.Desc {
			t += " DESC"
		}
		if k.NullsFirst != k.Desc {
			t += map[bool]string{true: " NULLS FIRST", false: " NULLS LAST"}[k.NullsFirst]
		}
		keys = append(keys, t)
	}
	if len(s.Keys) == 0 {
		return "Gather in order", nil
	}
	if s.Limit >= 0 {
		return fmt.Sprintf("Top %d by %s", s.Limit, strings.Join(keys, ", ")), nil
	}
	return "Sort by " + strings.Join(keys, ", "), nil
}

func (s *Sort) start(r *Run) error {
	if err := r.begin(s.Input); err != nil {
		return err
	}
	cols := s.Input.Cols()
	tables := make([]*sortTable, s.Input.width(r))
	err := r.parallel(s, s.Input, func(w int, it iterator) error {
		t := newSortTable(cols, s, r.Budget)
		tables[w] = t
		return drain(r, it, t.add)
	})
	if err != nil {
		return err
	}
	t := tables[0]
	for _, o := range tables[1:] {
		if err := t.take(o); err != nil {
			return err
		}
	}
	if s.src.list, err = t.result(r); err != nil {
		return err
	}
	return nil
}

func (s *Sort) width(*Run) int { return 1 }

func (s *Sort) iter(r *Run, w int) iterator { return &s.src }

// sortTable is the rows one worker keeps: one column buffer per column and the place each row came from.
type sortTable struct {
	spec *Sort
	cols []*colBuffer
	seq  []int64
	mem  charger
	rows []int32
	// threshold is the first key of the last row that can still be in the result, once there are enough rows (bounded).
	threshold Value
	bounded   bool
	text      boolLUT // texts that do not lie beyond the threshold
	pass      []int64 // what text says of the rows of a batch
}

func newSortTable(cols []Col, s *Sort, budget *Budget) *sortTable {
	t := &sortTable{spec: s, mem: charger{budget: budget}}
	for _, c := range cols {
		t.cols = append(t.cols, newColBuffer(vectorType(c.Type)))
	}
	return t
}

func (t *sortTable) add(b *batch.Batch, seq int64) error {
	rows := t.candidates(b)
	if len(rows) == 0 {
		return nil
	}
	for i, c := range t.cols {
		c.append(b.Cols[i], rows)
	}
	for _, r := range rows {
		t.seq = append(t.seq, seq+int64(r))
	}
	if t.spec.Limit >= 0 && int64(len(t.seq)) > 2*t.spec.Limit+ChunkRows {
		t.prune()
	}
	return t.mem.set(t.bytes())
}

// candidates is the rows of b that the rows kept so far do not rule out by their first key.
func (t *sortTable) candidates(b *batch.Batch) []int32 {
	t.rows = resize(t.rows, b.N)[:0]
	if !t.bounded {
		for i := range b.N {
			t.rows = append(t.rows, int32(i))
		}
		return t.rows
	}
	k := t.spec.Keys[0]
	v := b.Cols[k.Column]
	switch v.Type.Physical() {
	case schema.Int64:
		t.rows = beyond(t.rows, v, v.I64[:b.N], t.threshold.I, k, compareInt)
	case schema.Float64:
		t.rows = beyond(t.rows, v, v.F64[:b.N], t.threshold.F, k, compareFloat)
	case schema.ID:
		for i := range b.N {
			t.rows = append(t.rows, int32(i))
		}
	default:
		t.pass = resize(t.pass, b.N)
		t.text.apply(v, t.pass)
		for i, p := range t.pass {
			if v.IsNull(i) && k.NullsFirst || !v.IsNull(i) && p != 0 {
				t.rows = append(t.rows, int32(i))
			}
		}
	}
	return t.rows
}

// beyond appends the rows whose key is not behind the threshold. NULLs that come last are behind it: it is not NULL.
func beyond[T int64 | float64](rows []int32, v *batch.Vector, vals []T, threshold T, k SortKey, cmp func(a, b T) int) []int32 {
	for i, x := range vals {
		if v.Valid != nil && !v.Valid.Get(i) {
			if k.NullsFirst {
				rows = append(rows, int32(i))
			}
			continue
		}
		if c := cmp(x, threshold); c == 0 || c > 0 == k.Desc {
			rows = append(rows, int32(i))
		}
	}
	return rows
}

// prune keeps the best rows only.
func (t *sortTable) prune() {
	order := t.order()
	order = order[:min(int64(len(order)), t.spec.Limit)]
	for _, c := range t.cols {
		c.keep(order)
	}
	seq := make([]int64, len(order), cap(t.seq))
	for i, r := range order {
		seq[i] = t.seq[r]
	}
	t.seq = seq
	t.bound(len(order))
}

// bound sets the threshold to the first key of the last of n sorted rows.
func (t *sortTable) bound(n int) {
	k := t.spec.Keys[0]
	c := t.cols[k.Column]
	if n == 0 {
		return
	}
	t.threshold = ValueAt(c.all(), n-1)
	t.bounded = !t.threshold.Null
	want := []byte(t.threshold.S)
	t.text = boolLUT{f: func(v []byte) bool {
		c := bytes.Compare(v, want)
		return c == 0 || c > 0 == k.Desc
	}}
}

// take moves the rows of another table in.
func (t *sortTable) take(o *sortTable) error {
	for i, c := range t.cols {
		c.take(o.cols[i])
	}
	t.seq = append(t.seq, o.seq...)
	if err := o.mem.set(0); err != nil {
		return err
	}
	return t.mem.set(t.bytes())
}

func (t *sortTable) bytes() int64 {
	n := int64(cap(t.seq)) * 8
	for _, c := range t.cols {
		n += c.bytes()
	}
	return n
}

func (t *sortTable) result(r *Run) ([]*batch.Batch, error) {
	// two lists of keys and row numbers, the keys of a column and the order
	if err := r.Budget.Charge(int64(len(t.seq)) * 44); err != nil {
		return nil, err
	}
	order := t.order()
	if t.spec.Limit >= 0 {
		order = order[:min(int64(len(order)), t.spec.Limit)]
	}
	var out []*batch.Batch
	for from := 0; from < len(order); from += ChunkRows {
		rows := order[from:min(from+ChunkRows, len(order))]
		b := &batch.Batch{N: len(rows), Cols: make([]*batch.Vector, len(t.cols))}
		for i, c := range t.cols {
			b.Cols[i] = c.vector(rows)
		}
		out = append(out, b)
	}
	return out, nil
}

// order is the row numbers in their order: sorted stably by each key, from the last to the first.
func (t *sortTable) order() []int32 {
	n := len(t.seq)
	rows := make([]sortRow, n)
	for i := range rows {
		rows[i].at = int32(i)
	}
	tmp := make([]sortRow, n)
	if !slices.IsSorted(t.seq) { // of several workers
		for i, s := range t.seq {
			rows[i].key = uint64(s)
		}
		rows, tmp = radixSort(rows, tmp)
	}
	for i := len(t.spec.Keys) - 1; i >= 0; i-- {
		k := t.spec.Keys[i]
		c := t.cols[k.Column]
		keys := c.sortKeys(n, k)
		for r := range rows {
			rows[r].key = keys[rows[r].at]
		}
		rows, tmp = radixSort(rows, tmp)
		if c.nulls != nil {
			rows, tmp = nullsApart(rows, tmp, c.nulls, k.NullsFirst)
		}
	}
	out := make([]int32, n)
	for i := range rows {
		out[i] = rows[i].at
	}
	return out
}

type sortRow struct {
	key uint64
	at  int32
}

// radixSort sorts stably by key, byte by byte from the lowest, leaving out bytes that are the same in all keys. It
// returns the sorted rows and the other slice.
func radixSort(rows, tmp []sortRow) (sorted, other []sortRow) {
	if len(rows) < 128 {
		slices.SortStableFunc(rows, func(a, b sortRow) int {
			switch {
			case a.key < b.key:
				return -1
			case a.key > b.key:
				return 1
			}
			return 0
		})
		return rows, tmp
	}
	var or, and uint64 = 0, math.MaxUint64
	for i := range rows {
		or, and = or|rows[i].key, and&rows[i].key
	}
	for shift := uint(0); shift < 64; shift += 8 {
		if (or^and)>>shift&0xff == 0 {
			continue
		}
		var place [256]int
		for i := range rows {
			place[rows[i].key>>shift&0xff]++
		}
		at := 0
		for b, n := range place {
			place[b], at = at, at+n
		}
		for _, r := range rows {
			b := r.key >> shift & 0xff
			tmp[place[b]] = r
			place[b]++
		}
		rows, tmp = tmp, rows
	}
	return rows, tmp
}

// nullsApart moves NULLs to their end, stably: they share their sort key with the extreme value.
func nullsApart(rows, tmp []sortRow, nulls []bool, first bool) (sorted, other []sortRow) {
	at := 0
	for _, want := range []bool{first, !first} {
		for _, r := range rows {
			if (int(r.at) < len(nulls) && nulls[r.at]) == want {
				tmp[at] = r
				at++
			}
		}
	}
	return tmp, rows
}

// colBuffer is a growing column that owns its memory.
type colBuffer struct {
	typ   schema.Type
	n     int
	i64   []int64
	f64   []float64
	codes []uint32
	nulls []bool // nil: none
	dict  growDict
	index map[string]uint32
	from  *batch.Dict
	lut   []uint32 // code of from -> own code plus one
}

func newColBuffer(t schema.Type) *colBuffer { return &colBuffer{typ: t} }

func (c *colBuffer) append(v *batch.Vector, rows []int32) {
	if v.Valid != nil {
		c.nulls = extend(c.nulls, c.n+len(rows))
		for i, r := range rows {
			c.nulls[c.n+i] = !v.Valid.Get(int(r))
		}
	} else if c.nulls != nil {
		c.nulls = extend(c.nulls, c.n+len(rows))
	}
	c.n += len(rows)
	switch c.typ.Physical() {
	case schema.Int64:
		for _, r := range rows {
			c.i64 = append(c.i64, v.I64[r])
		}
	case schema.Float64:
		for _, r := range rows {
			c.f64 = append(c.f64, v.F64[r])
		}
	case schema.ID:
		for _, r := range rows {
			c.codes = append(c.codes, v.Codes[r])
		}
	default:
		c.source(v.Dict)
		for _, r := range rows {
			c.codes = append(c.codes, c.text(v.Codes[r]))
		}
	}
}

// source makes d the dictionary that text translates codes of.
func (c *colBuffer) source(d *batch.Dict) {
	if c.from != d {
		c.from = d
		c.lut = resize(c.lut, d.Len())
		clear(c.lut)
	}
}

func (c *colBuffer) text(code uint32) uint32 {
	if k := c.lut[code]; k != 0 {
		return k - 1
	}
	if c.index == nil {
		c.index = map[string]uint32{}
	}
	b := c.from.At(int(code))
	k, ok := c.index[string(b)]
	if !ok {
		k = c.dict.add(string(b))
		c.index[string(b)] = k
	}
	c.lut[code] = k + 1
	return k
}

// keep makes the column the given rows.
func (c *colBuffer) keep(rows []int32) {
	old := *c
	*c = colBuffer{typ: old.typ}
	v := old.all()
	c.append(v, rows)
	c.from, c.lut = nil, nil // v is not referred to any longer
}

// all is the whole column, sharing its memory.
func (c *colBuffer) all() *batch.Vector {
	v := &batch.Vector{Type: c.typ, I64: c.i64, F64: c.f64, Codes: c.codes}
	if c.typ.Physical() == schema.Code {
		v.Dict = c.dict.dict()
	}
	if c.nulls != nil {
		v.Valid = batch.NewBitmap(c.n)
		for i := range c.n {
			if i >= len(c.nulls) || !c.nulls[i] {
				v.Valid.Set(i)
			}
		}
	}
	return v
}

// take appends all rows of o, which is not used afterwards.
func (c *colBuffer) take(o *colBuffer) {
	rows := make([]int32, o.n)
	for i := range rows {
		rows[i] = int32(i)
	}
	c.append(o.all(), rows)
}

func (c *colBuffer) vector(rows []int32) *batch.Vector {
	out := &batch.Vector{}
	batch.Gather(out, c.all(), rows)
	return out
}

// sortKeys is the column as numbers that order as its values do.
func (c *colBuffer) sortKeys(n int, k SortKey) []uint64 {
	out := make([]uint64, n)
	switch c.typ.Physical() {
	case schema.Int64:
		for i, x := range c.i64 {
			out[i] = uint64(x) ^ 1<<63
		}
	case schema.Float64:
		for i, f := range c.f64 {
			b := floatBits(f)
			if b>>63 != 0 {
				b = ^b
			} else {
				b |= 1 << 63
			}
			out[i] = b
		}
	case schema.ID:
		for i, x := range c.codes {
			out[i] = uint64(x)
		}
	default:
		rank := c.ranks()
		for i, x := range c.codes {
			out[i] = uint64(rank[x])
		}
	}
	for i := range out {
		if k.Desc {
			out[i] = ^out[i]
		}
		if i < len(c.nulls) && c.nulls[i] {
			if out[i] = math.MaxUint64; k.NullsFirst {
				out[i] = 0
			}
		}
	}
	return out
}

// ranks is the place of each dictionary entry in byte order.
func (c *colBuffer) ranks() []uint32 {
	d := c.dict.dict()
	order := make([]uint32, d.Len())
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return bytes.Compare(d.At(int(a)), d.At(int(b)))
	})
	rank := make([]uint32, len(order))
	for i, e := range order {
		rank[e] = uint32(i)
	}
	return rank
}

func (c *colBuffer) bytes() int64 {
	return int64(cap(c.i64)+cap(c.f64))*8 + int64(cap(c.codes)+cap(c.lut))*4 + int64(cap(c.nulls)) +
		int64(cap(c.dict.data)) + int64(len(c.dict.offs))*64
}

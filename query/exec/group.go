package exec

import (
	"math"
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// denseLimit is the most cells a dense array of groups may have; beyond it a hash table is used.
const denseLimit = 1 << 20

// u64table maps uint64 keys to codes that its user gives. Open addressing, linear probing.
type u64table struct {
	slots []u64slot
	mask  uint64
	shift uint8
	n     int
}

type u64slot struct {
	key  uint64
	code uint32 // plus one; 0 is free
}

const fibonacci = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: spreads keys by their high bits

// code is the code of a key; a key that was not there gets the code fresh.
func (t *u64table) code(key uint64, fresh uint32) uint32 {
	if len(t.slots) == 0 {
		t.grow(64)
	}
	for i := key * fibonacci >> t.shift; ; i = (i + 1) & t.mask {
		s := &t.slots[i]
		if s.code == 0 {
			*s = u64slot{key, fresh + 1}
			if t.n++; t.n*8 > len(t.slots)*5 {
				t.grow(len(t.slots) * 4)
			}
			return fresh
		}
		if s.key == key {
			return s.code - 1
		}
	}
}

func (t *u64table) grow(size int) {
	old := t.slots
	t.slots = make([]u64slot, size)
	t.mask = uint64(size - 1)
	t.shift = uint8(64 - bits.TrailingZeros(uint(size)))
	for _, s := range old {
		if s.code == 0 {
			continue
		}
		i := s.key * fibonacci >> t.shift
		for t.slots[i].code != 0 {
			i = (i + 1) & t.mask
		}
		t.slots[i] = s
	}
}

func (t *u64table) bytes() int64 { return int64(cap(t.slots)) * 16 }

// smallInts is how many of the non-negative numbers a coder looks up in an array.
const smallInts = 1 << 16

// coder gives the values of one key column dense codes in the order they come. NULL is a value like any other.
type coder struct {
	typ     schema.Type
	n       uint32
	null    uint32   // code of NULL plus one, 0 when none came
	small   []uint32 // by number plus one, [0] for NULL: code plus one, 0 not met yet
	tab     u64table // numbers that are not small, by their bits
	values  []uint64 // numbers by code
	dict    batch.DictBuilder
	texts   []uint32 // code -> entry of dict
	sealed  *batch.Dict
	byEntry []uint32 // entry of dict -> code plus one
	from    *batch.Dict
	lut     []uint32 // by code of from plus one, [0] for NULL: code plus one, 0 not met yet
	ids     []uint32 // tag-set id -> code plus one
}

func newCoder(t schema.Type) *coder { return &coder{typ: t} }

func (c *coder) next() uint32 {
	c.n++
	return c.n - 1
}

func (c *coder) nullCode() uint32 {
	if c.null == 0 {
		c.null = c.next() + 1
		c.values = append(c.values, 0)
		c.texts = append(c.texts, math.MaxUint32)
	}
	return c.null - 1
}

// codes fills out with the codes of the first len(out) rows of v.
func (c *coder) codes(v *batch.Vector, out []uint32) {
	switch c.typ.Physical() {
	case schema.Int64:
		c.intCodes(v.I64[:len(out)], v, out)
	case schema.Float64:
		for i, f := range v.F64[:len(out)] {
			if v.IsNull(i) {
				out[i] = c.nullCode()
			} else {
				out[i] = c.number(floatBits(f))
			}
		}
	case schema.ID:
		c.idCodes(v, out)
	default:
		c.textCodes(v, out)
	}
}

// floatBits makes equal floats equal bits: one zero, one NaN.
func floatBits(f float64) uint64 {
	if f == 0 {
		return 0
	}
	if f != f {
		return math.Float64bits(math.NaN())
	}
	return math.Float64bits(f)
}

func (c *coder) intCodes(vals []int64, v *batch.Vector, out []uint32) {
	c.needSmall()
	if v.Valid != nil {
		c.nullableIntCodes(vals, v.Valid, out)
		return
	}
	small := c.small
	var last int64
	var lastCode uint32
	have := false
	for i, x := range vals {
		if uint64(x) < smallInts {
			if k := small[x+1]; k != 0 {
				out[i] = k - 1
				continue
			}
		}
		if !have || x != last {
			last, lastCode, have = x, c.number(uint64(x)), true
		}
		out[i] = lastCode
	}
}

// nullableIntCodes looks NULL up like a number, without a branch on validity.
func (c *coder) nullableIntCodes(vals []int64, valid batch.Bitmap, out []uint32) {
	small := c.small
	for i, x := range vals {
		k := valid[i>>6] >> (uint(i) & 63) & 1
		x &= -int64(k)
		if uint64(x) < smallInts {
			if g := small[(uint64(x)+1)*k]; g != 0 {
				out[i] = g - 1
				continue
			}
		}
		if k == 0 {
			out[i] = c.nullCode()
			small[0] = out[i] + 1
		} else {
			out[i] = c.number(uint64(x))
		}
	}
}

func (c *coder) needSmall() {
	if c.small == nil {
		c.small = make([]uint32, smallInts+1)
	}
}

// number is the code of a number by its bits.
func (c *coder) number(b uint64) uint32 {
	if b < smallInts && c.typ.Physical() == schema.Int64 {
		c.needSmall()
		if c.small[b+1] == 0 {
			c.values = append(c.values, b)
			c.small[b+1] = c.next() + 1
		}
		return c.small[b+1] - 1
	}
	k := c.tab.code(b, c.n)
	if k == c.n {
		c.n++
		c.values = append(c.values, b)
	}
	return k
}

func (c *coder) idCodes(v *batch.Vector, out []uint32) {
	for i, id := range v.Codes[:len(out)] {
		if int(id) >= len(c.ids) {
			c.ids = append(c.ids, make([]uint32, int(id)+1-len(c.ids))...)
		}
		k := c.ids[id]
		if k == 0 {
			c.values = append(c.values, uint64(id))
			k = c.next() + 1
			c.ids[id] = k
		}
		out[i] = k - 1
	}
}

func (c *coder) textCodes(v *batch.Vector, out []uint32) {
	if c.from != v.Dict {
		c.from = v.Dict
		c.lut = resize(c.lut, v.Dict.Len()+1)
		clear(c.lut)
	}
	lut := c.lut
	if v.Valid == nil {
		lut := lut[1:]
		for i, k := range v.Codes[:len(out)] {
			g := lut[k]
			if g == 0 {
				g = c.text(v.Dict.At(int(k))) + 1
				lut[k] = g
			}
			out[i] = g - 1
		}
		return
	}
	for i, k := range v.Codes[:len(out)] { // NULL is looked up like an entry, without a branch on validity
		at := (k + 1) * uint32(v.Valid[i>>6]>>(uint(i)&63)&1)
		g := lut[at]
		if g == 0 {
			if at == 0 {
				g = c.nullCode() + 1
			} else {
				g = c.text(v.Dict.At(int(k))) + 1
			}
			lut[at] = g
		}
		out[i] = g - 1
	}
}

func (c *coder) text(b []byte) uint32 {
	e := c.dict.Code(b)
	if int(e) == len(c.byEntry) {
		c.byEntry = append(c.byEntry, c.next()+1)
		c.texts = append(c.texts, e)
	}
	return c.byEntry[e] - 1
}

// seal ends the coding of text: entries are read from then on.
func (c *coder) seal() {
	if c.sealed == nil && c.typ.Physical() == schema.Code {
		c.sealed = c.dict.Seal()
	}
}

// vector makes out the values of codes. The coder must be sealed.
func (c *coder) vector(out *batch.Vector, codes []uint32) {
	n := len(codes)
	out.Reset(c.typ, n)
	out.Dict = c.sealed
	if c.null != 0 {
		out.Valid = batch.NewBitmap(n)
		out.Valid.Fill(n)
	}
	for i, k := range codes {
		if k+1 == c.null {
			out.Valid.Clear(i)
			switch c.typ.Physical() {
			case schema.Int64:
				out.I64[i] = 0
			case schema.Float64:
				out.F64[i] = 0
			default:
				out.Codes[i] = 0
			}
			continue
		}
		switch c.typ.Physical() {
		case schema.Int64:
			out.I64[i] = int64(c.values[k])
		case schema.Float64:
			out.F64[i] = math.Float64frombits(c.values[k])
		case schema.ID:
			out.Codes[i] = uint32(c.values[k])
		default:
			out.Codes[i] = c.texts[k]
		}
	}
	if out.Dict != nil && out.Dict.Len() == 0 { // only NULLs came
		out.Dict = batch.DictOf("")
	}
}

// translate is, for each code of a sealed coder, the code of the same value in c.
func (c *coder) translate(from *coder) []uint32 {
	out := make([]uint32, from.n)
	for k := range out {
		switch {
		case uint32(k)+1 == from.null:
			out[k] = c.nullCode()
		case c.typ.Physical() == schema.Code:
			out[k] = c.text(from.sealed.At(int(from.texts[k])))
		case c.typ.Physical() == schema.ID:
			one := [1]uint32{uint32(from.values[k])}
			c.idCodes(&batch.Vector{Codes: one[:]}, out[k:k+1])
		default:
			out[k] = c.number(from.values[k])
		}
	}
	return out
}

func (c *coder) bytes() int64 {
	return c.tab.bytes() + int64(cap(c.small)+cap(c.texts)+cap(c.byEntry)+cap(c.lut)+cap(c.ids))*4 +
		int64(cap(c.values))*8 + int64(c.dict.Bytes()) + int64(c.dict.Len())*16
}

// fold gives pairs of codes dense codes: by a two-dimensional array while it is small, by a hash table beyond.
type fold struct {
	cells []uint32 // code plus one, by a<<shift | b
	shift uint
	rows  int // cells for this many a
	hash  bool
	tab   u64table // after hash: code by pair
	pairs []uint64 // a<<32 | b, by code
}

// prepare makes room for codes a < na and b < nb.
func (f *fold) prepare(na, nb uint32) {
	if f.hash || int(na) <= f.rows && nb <= 1<<f.shift && f.cells != nil {
		return
	}
	shift := uint(bits.Len32(max(nb, 1) - 1))
	shift = max(shift, f.shift)
	rows := max(1<<bits.Len32(max(na, 1)-1), f.rows)
	if rows<<shift > denseLimit {
		f.hash, f.cells = true, nil
		for c, p := range f.pairs {
			f.tab.code(p, uint32(c))
		}
		return
	}
	f.rows, f.shift = rows, shift
	f.cells = make([]uint32, rows<<shift)
	for c, p := range f.pairs {
		f.cells[p>>32<<shift|p&math.MaxUint32] = uint32(c) + 1
	}
}

// codes replaces the codes in a by those of the pairs (a[i], b[i]).
func (f *fold) codes(a, b []uint32) {
	b = b[:len(a)]
	if f.hash {
		for i, x := range a {
			p := uint64(x)<<32 | uint64(b[i])
			g := f.tab.code(p, uint32(len(f.pairs)))
			if int(g) == len(f.pairs) {
				f.pairs = append(f.pairs, p)
			}
			a[i] = g
		}
		return
	}
	cells, shift := f.cells, f.shift
	for i, x := range a {
		k := uint64(x)<<shift | uint64(b[i])
		g := cells[k]
		if g == 0 {
			f.pairs = append(f.pairs, uint64(x)<<32|uint64(b[i]))
			g = uint32(len(f.pairs))
			cells[k] = g
		}
		a[i] = g - 1
	}
}

// all is the pairs by code.
func (f *fold) all() []uint64 { return f.pairs }

func (f *fold) bytes() int64 { return f.tab.bytes() + int64(cap(f.cells))*4 + int64(cap(f.pairs))*8 }

// grouper gives rows the number of their group by any number of key columns: each column is coded on its own, then
// pairs of codes are folded into one, column after column. It is exact and needs no hash of a whole key.
type grouper struct {
	cols  []*coder
	folds []fold // cols-1
	tmp   []uint32
	total uint32
}

func newGrouper(types []schema.Type) *grouper {
	g := &grouper{folds: make([]fold, max(len(types)-1, 0))}
	for _, t := range types {
		g.cols = append(g.cols, newCoder(t))
	}
	return g
}

// assign fills gids with the groups of the rows; new keys make new groups.
func (g *grouper) assign(keys []*batch.Vector, gids []uint32) {
	n := len(gids)
	if n == 0 {
		return
	}
	if len(g.cols) == 0 {
		clear(gids)
		g.total = 1
		return
	}
	g.cols[0].codes(keys[0], gids)
	have := g.cols[0].n
	for k := 1; k < len(g.cols); k++ {
		g.tmp = resize(g.tmp, n)
		g.cols[k].codes(keys[k], g.tmp)
		f := &g.folds[k-1]
		f.prepare(have, g.cols[k].n)
		f.codes(gids, g.tmp)
		have = uint32(len(f.all()))
	}
	g.total = have
}

// columnCodes is the codes of each column by group.
func (g *grouper) columnCodes() [][]uint32 {
	out := make([][]uint32, len(g.cols))
	cur := make([]uint32, g.total)
	for i := range cur {
		cur[i] = uint32(i)
	}
	for k := len(g.cols) - 1; k > 0; k-- {
		pairs := g.folds[k-1].all()
		codes := make([]uint32, len(cur))
		for i, c := range cur {
			p := pairs[c]
			codes[i], cur[i] = uint32(p), uint32(p>>32)
		}
		out[k] = codes
	}
	if len(g.cols) > 0 {
		out[0] = cur
	}
	return out
}

// seal ends the coding; keys can be read from then on.
func (g *grouper) seal() {
	for _, c := range g.cols {
		c.seal()
	}
}

// merge takes the groups of a sealed grouper in; the answer is their numbers in g.
func (g *grouper) merge(from *grouper) []uint32 {
	gids := make([]uint32, from.total)
	if len(g.cols) == 0 {
		g.total = max(g.total, from.total)
		return gids
	}
	codes := from.columnCodes()
	have := uint32(0)
	for k, c := range g.cols {
		tr := c.translate(from.cols[k])
		if k == 0 {
			for i, x := range codes[0] {
				gids[i] = tr[x]
			}
			have = c.n
			continue
		}
		for i, x := range codes[k] {
			codes[k][i] = tr[x]
		}
		f := &g.folds[k-1]
		f.prepare(have, c.n)
		f.codes(gids, codes[k])
		have = uint32(len(f.all()))
	}
	g.total = have
	return gids
}

func (g *grouper) bytes() int64 {
	var n int64
	for _, c := range g.cols {
		n += c.bytes()
	}
	for i := range g.folds {
		n += g.folds[i].bytes()
	}
	return n + int64(cap(g.tmp))*4
}

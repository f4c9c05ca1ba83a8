package compact

import (
	"fmt"
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// Grouper makes partial rows: it groups rows by their bucket of time and their keys, and keeps of each group what
// schema.Merge says. Rows go in a batch at a time, column by column; a group costs memory, a row does not, except where
// sketches are made of it, until Emit. Not safe for concurrent use.
type Grouper struct {
	target *schema.Table
	inputs []int // ordinals of the input's columns
	defs   []*schema.Column
	every  int64 // bucket, 0 takes times as they are
	keys   []groupKey
	parts  []*metric

	width  int      // words of a key
	half   int      // word of which the upper half is free, plus one
	words  []uint64 // keys of the batch in hand, width words a row
	gids   []uint32 // group by row of that batch
	table  groupTable
	filled []batch.Vector // columns that the batch left to their default, by input
}

// groupKey is a key; the time is the first.
type groupKey struct {
	in, out int
	place   keyPlace
	nulls   keyPlace // of a nullable one: 1 for NULL
	typ     schema.Type
	null    bool
	time    bool
	dense   *tags.Dense       // of a tag key
	dict    batch.DictBuilder // of text
	lut     []uint32
}

// keyPlace is where a key is in the words of a row: all of one, or half of it. The lower half is set before the upper one.
type keyPlace struct {
	word  int
	upper bool
}

// set puts a key's bits of row i there.
func (p keyPlace) set(words []uint64, i, width int, bits uint64) {
	if w := &words[i*width+p.word]; p.upper {
		*w |= bits << 32
	} else {
		*w = bits
	}
}

// NewRollupGrouper makes the rows of a rollup from those of its source. Tag keys are resolved with the view, which must have
// all tag sets of the rows. Only the columns of the target for which want is true are made, all when it is nil: rows that
// differ only in other keys are then one.
func NewRollupGrouper(r *schema.Rollup, view *tags.View, want []bool) *Grouper {
	g := &Grouper{target: r.Target, every: int64(r.Def.Every)}
	wanted := func(col int) bool { return want == nil || want[col] }
	g.addKey(groupKey{in: g.input(r.Source, r.Source.TimeColumn), out: r.Target.TimeColumn, typ: schema.Timestamp, time: true})
	for _, k := range r.Keys {
		if !wanted(k.Target) {
			continue
		}
		c := &r.Source.Columns[k.Source]
		key := groupKey{in: g.input(r.Source, k.Source), out: k.Target, typ: r.Target.Columns[k.Target].Type, null: c.Nullable}
		if k.TagKey != "" && view != nil {
			d := view.Dense(k.TagKey)
			key.dense = &d
		}
		g.addKey(key)
	}
	for _, p := range r.Parts {
		if !wanted(p.Target) {
			continue
		}
		in := -1
		if p.Source >= 0 {
			in = g.input(r.Source, p.Source)
		}
		merge := p.Merge
		if in >= 0 && merge == schema.MergeCount && r.Source.Columns[p.Source].Merge == schema.MergeCount {
			merge = schema.MergeSum
		}
		g.addPart(in, p.Target, merge)
	}
	return g
}

// RollupInputs are the ordinals of the source's columns that a grouper of NewRollupGrouper takes.
func RollupInputs(r *schema.Rollup, want []bool) []int {
	return NewRollupGrouper(r, nil, want).Inputs()
}

// NewPartialGrouper merges rows of a table of partials (schema.Table.Partial) that are equal in time and all keys.
func NewPartialGrouper(t *schema.Table) *Grouper {
	g := &Grouper{target: t}
	for i := range t.Columns {
		g.input(t, i)
	}
	g.addKey(groupKey{in: t.TimeColumn, out: t.TimeColumn, typ: schema.Timestamp, time: true})
	for i, c := range t.Columns {
		switch {
		case i == t.TimeColumn:
		case c.Merge == schema.MergeNone:
			g.addKey(groupKey{in: i, out: i, typ: c.Type, null: c.Nullable})
		case c.Merge == schema.MergeCount:
			g.addPart(i, i, schema.MergeSum)
		default:
			g.addPart(i, i, c.Merge)
		}
	}
	return g
}

// input is the position of a column among the inputs.
func (g *Grouper) input(t *schema.Table, col int) int {
	for i, have := range g.inputs {
		if have == col {
			return i
		}
	}
	g.inputs = append(g.inputs, col)
	g.defs = append(g.defs, &t.Columns[col])
	g.filled = append(g.filled, batch.Vector{})
	return len(g.inputs) - 1
}

func (g *Grouper) addKey(k groupKey) {
	k.place = g.take(k.typ.Physical() == schema.Int64 || k.typ.Physical() == schema.Float64)
	if k.null {
		k.nulls = g.take(false)
	}
	g.keys = append(g.keys, k)
}

// take gives a key its place: codes and ids take half a word.
func (g *Grouper) take(whole bool) keyPlace {
	if !whole && g.half > 0 {
		p := keyPlace{g.half - 1, true}
		g.half = 0
		return p
	}
	g.width++
	if !whole {
		g.half = g.width
	}
	return keyPlace{word: g.width - 1}
}

func (g *Grouper) addPart(in, out int, m schema.Merge) {
	c := &g.target.Columns[out]
	p := &metric{in: in, out: out, merge: m, typ: c.Type, null: c.Nullable}
	if in >= 0 {
		p.from = g.defs[in]
	}
	g.parts = append(g.parts, p)
}

// Inputs are the ordinals of the columns that Add takes, in this order.
func (g *Grouper) Inputs() []int { return g.inputs }

// Groups is the number of groups so far.
func (g *Grouper) Groups() int { return g.table.n }

// Bytes is roughly the memory that the groups take.
func (g *Grouper) Bytes() int64 {
	n := int64(g.table.n) * int64(8*g.width+16)
	for i := range g.keys {
		n += int64(g.keys[i].dict.Bytes() + 24*g.keys[i].dict.Len())
	}
	for _, p := range g.parts {
		n += p.bytes()
	}
	return n
}

// Add adds n rows. cols are parallel to Inputs; a nil one has its column's default in all rows; tag-set columns hold ids.
// Nothing of them is kept. It fails with enc.ErrCorrupt when a sketch is none, or when a tag-set id is not in the view;
// what was added until then is undefined, and the grouper takes only Reset.
func (g *Grouper) Add(cols []*batch.Vector, n int) error {
	if n == 0 {
		return nil
	}
	g.words = resize(g.words, n*g.width)
	for i := range g.keys {
		if err := g.keyWords(&g.keys[i], g.column(cols, g.keys[i].in, n), n); err != nil {
			return err
		}
	}
	g.gids = resize(g.gids, n)
	g.table.assign(g.gids, g.words, g.width)
	for _, p := range g.parts {
		p.grow(g.table.n)
		var v *batch.Vector
		if p.in >= 0 {
			if v = cols[p.in]; v == nil && p.skipsDefault() {
				continue
			}
			v = g.column(cols, p.in, n)
		}
		if err := p.add(g.gids, v); err != nil {
			return fmt.Errorf("roll up %s: %w", g.target.Columns[p.out].Name, err)
		}
	}
	return nil
}

// column is an input, with its defaults where the batch has none.
func (g *Grouper) column(cols []*batch.Vector, in, n int) *batch.Vector {
	if cols[in] != nil {
		return cols[in]
	}
	v := &g.filled[in]
	v.Default(g.defs[in], n)
	return v
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// keyWords sets a key's bits of all rows.
func (g *Grouper) keyWords(k *groupKey, v *batch.Vector, n int) error {
	w, width, to := g.words, g.width, k.place
	switch {
	case k.time && g.every > 0:
		every := g.every
		var lo, hi, bucket int64 // rows of a bucket are often neighbours
		for i, t := range v.I64[:n] {
			if t < lo || t >= hi {
				bucket = bucketOf(t, every)
				lo, hi = bucket, bucket+every
			}
			to.set(w, i, width, uint64(bucket))
		}
	case k.dense != nil:
		codes := k.dense.Codes
		for i, id := range v.Codes[:n] {
			if int(id) >= len(codes) {
				return fmt.Errorf("roll up: tag set %d of %d", id, len(codes))
			}
			to.set(w, i, width, uint64(codes[id]))
		}
	case k.typ.Physical() == schema.Code:
		k.codeWords(w, width, v, n)
	case k.typ.Physical() == schema.ID:
		for i, id := range v.Codes[:n] {
			to.set(w, i, width, uint64(id))
		}
	default:
		for i, x := range v.I64[:n] {
			to.set(w, i, width, uint64(x))
		}
	}
	if !k.null {
		return nil
	}
	for i := range n {
		null := uint64(0)
		if v.IsNull(i) {
			null = 1
			to.set(w, i, width, 0) // only numbers are nullable: the word is theirs
		}
		k.nulls.set(w, i, width, null)
	}
	return nil
}

// codeWords maps the codes of a batch to those of the groups' dictionary, each entry once.
func (k *groupKey) codeWords(w []uint64, width int, v *batch.Vector, n int) {
	k.lut = resize(k.lut, v.Dict.Len())
	clear(k.lut) // code plus one
	for i, c := range v.Codes[:n] {
		m := k.lut[c]
		if m == 0 {
			m = k.dict.Code(v.Dict.At(int(c))) + 1
			k.lut[c] = m
		}
		k.place.set(w, i, width, uint64(m-1))
	}
}

// bucketOf is the beginning of t's bucket; times so early that it has none are in the first whole one.
func bucketOf(t, every int64) int64 {
	m := t % every
	if m < 0 {
		m += every
	}
	if t < -1<<63+m {
		return t - t%every
	}
	return t - m
}

// Emit makes dst the groups, in the order in which they were first seen, and forgets them. dst.Cols is parallel to the target's
// columns, nil for those that are not made; its vectors are the caller's.
func (g *Grouper) Emit(dst *batch.Batch) {
	n := g.table.n
	dst.Table, dst.N = g.target, n
	dst.Cols = make([]*batch.Vector, len(g.target.Columns))
	for i := range g.keys {
		dst.Cols[g.keys[i].out] = g.emitKey(&g.keys[i], n)
	}
	for _, p := range g.parts {
		dst.Cols[p.out] = p.emit(n)
	}
	g.table.reset()
}

// Reset forgets the groups.
func (g *Grouper) Reset() {
	var b batch.Batch
	g.Emit(&b)
}

func (g *Grouper) emitKey(k *groupKey, n int) *batch.Vector {
	v := &batch.Vector{}
	v.Reset(k.typ, n)
	w, width, from := g.table.words, g.width, k.place
	switch {
	case k.dense != nil:
		for i := range n {
			c := from.half(w, i, width)
			v.Codes[i] = k.dict.Code(k.dense.Data[k.dense.Offs[c]:k.dense.Offs[c+1]])
		}
		v.Dict = k.dict.Seal()
	case k.typ.Physical() == schema.Code, k.typ.Physical() == schema.ID:
		for i := range n {
			v.Codes[i] = from.half(w, i, width)
		}
		if k.typ.Physical() == schema.Code {
			v.Dict = k.dict.Seal()
		}
	default:
		for i := range n {
			v.I64[i] = int64(w[i*width+from.word])
		}
	}
	if k.null {
		v.Valid = batch.NewBitmap(n)
		for i := range n {
			if k.nulls.half(w, i, width) == 0 {
				v.Valid.Set(i)
			}
		}
	}
	return v
}

// half is what lies in half a word of group i.
func (p keyPlace) half(words []uint64, i, width int) uint32 {
	w := words[i*width+p.word]
	if p.upper {
		w >>= 32
	}
	return uint32(w)
}

// groupTable gives keys of several words numbers in the order in which they come. Equal keys have equal numbers, whatever
// their hashes are.
type groupTable struct {
	n      int
	words  []uint64 // of group i: words[i*width:][:width]
	hashes []uint32
	slots  []uint32 // open addressing, group plus one, 0 is free; len is a power of two
}

func (t *groupTable) reset() {
	t.n = 0
	t.words, t.hashes = t.words[:0], t.hashes[:0]
	clear(t.slots)
}

// assign sets gids[i] to the group of row i.
func (t *groupTable) assign(gids []uint32, words []uint64, width int) {
	if len(t.slots) == 0 {
		t.slots = make([]uint32, 1024)
	}
	for i := range gids {
		key := words[i*width : (i+1)*width]
		if i > 0 && equalWords(key, words[(i-1)*width:]) {
			gids[i] = gids[i-1]
			continue
		}
		gids[i] = t.find(key)
	}
}

func equalWords(a, b []uint64) bool {
	b = b[:len(a)]
	for i, x := range a {
		if x != b[i] {
			return false
		}
	}
	return true
}

func (t *groupTable) find(key []uint64) uint32 {
	h := hashWords(key)
	mask := uint32(len(t.slots) - 1)
	for s := h & mask; ; s = (s + 1) & mask {
		g := t.slots[s]
		if g == 0 {
			return t.add(key, h, s)
		}
		if g--; t.hashes[g] == h && equalWords(key, t.words[int(g)*len(key):]) {
			return g
		}
	}
}

func (t *groupTable) add(key []uint64, h, slot uint32) uint32 {
	g := uint32(t.n)
	t.n++
	t.words = append(t.words, key...)
	t.hashes = append(t.hashes, h)
	t.slots[slot] = g + 1
	if t.n*4 > len(t.slots)*3 {
		t.slots = make([]uint32, 2*len(t.slots))
		mask := uint32(len(t.slots) - 1)
		for g, h := range t.hashes {
			s := h & mask
			for t.slots[s] != 0 {
				s = (s + 1) & mask
			}
			t.slots[s] = uint32(g) + 1
		}
	}
	return g
}

func hashWords(key []uint64) uint32 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, w := range key {
		hi, lo := bits.Mul64(h^w, 0xd6e8feb86659fd93)
		h = hi ^ lo ^ bits.RotateLeft64(w, 32)
	}
	h *= 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

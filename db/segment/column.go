package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// columnWriter gathers one column's values for the current page and keeps the encoded pages of the current row group.
// Which of the value buffers is used follows from the column's type and, for text and tag sets, from direct.
type columnWriter struct {
	col *schema.Column
	n   int // rows in the page so far
	i64 []int64
	// default integers: the page's rows so far all hold 0, and i64 is not filled yet
	defaults bool
	lo, hi   int64 // range of i64, NULL rows' zeros included
	f64      []float64
	code     []int32 // into text or ids
	// direct: values are stored one by one, because the dictionary grew past its bound or would not pay
	direct bool
	arena  []byte   // direct text: values of the page one after another
	offs   []uint32 // direct text: ends of the values

	// textBytes is a bound of the page's text, for closing it by size; kept is the dictionary's length at its start
	textBytes, kept int
	// repeats: the dictionary of the batch in hand has less than half as many entries as the batch has rows
	repeats bool

	valid batch.Bitmap // nullable columns: the page's rows that are not NULL
	nulls int

	text interner
	ids  idInterner
	// numbers is the dictionary of a column of numbers, for its pages of long runs
	numbers numberDict
	remap   []uint32    // code of the batch's dictionary -> code of text, plus one
	from    *batch.Dict // the dictionary remap is for
	conv    converter

	portable bool // no BYTE_STREAM_SPLIT
	want     wants
	wide     wideTrial

	hashes    []uint64      // direct columns with a Bloom filter: hashes of the row group's values
	hashPages []locatorPage // direct text with a Bloom filter: where the hashes of each page end
	split     bool          // DOUBLE: byte stream split was smaller than plain
	digits    bool          // direct text: literals without a search for repeats were smaller

	// the row group so far
	pages   [][]byte // header and all, in the writer's page store; offsets in meta are relative to the first
	size    int      // bytes of pages
	meta    chunkMeta
	skip    int // pages to store without trying to compress, after trying did not pay
	backoff int
	seen    []uint32 // by dictionary code: page number + 1 in which it was seen last
	unique  []uint32 // codes of the page, each once
	near    *narrow  // the numbers of the batch in hand, where gathering them from a copy is cheaper
}

func newColumnWriter(c *schema.Column, o *Options) *columnWriter {
	w := &columnWriter{col: c, conv: converter{typ: c.Type}, portable: o.Portable, want: wants{gain: planesGain, repeat: o.Level > 0}}
	if c.Role != schema.Key && c.Role != schema.Time {
		w.want.gain = summedGain
	}
	w.text.reset()
	return w
}

// append adds rows [start, start+n) of order (of the batch itself when order is nil) of v; a nil v is the default.
func (w *columnWriter) append(v *batch.Vector, order []int32, start, n int) error {
	if w.col.Nullable {
		w.appendValid(v, order, start, n)
	}
	switch w.col.Type.Physical() {
	case schema.Int64:
		if v == nil && (w.n == 0 || w.defaults) {
			w.defaults = true
			break
		}
		w.appendInts(v, order, start, n)
	case schema.Float64:
		w.f64 = extend(w.f64, w.n, n)
		if v == nil {
			clear(w.f64[w.n:])
		} else {
			gather(w.f64[w.n:], v.F64, order, start)
		}
	case schema.ID:
		w.appendIDs(v, order, start, n)
	default:
		if err := w.appendText(v, order, start, n); err != nil {
			return err
		}
	}
	w.n += n
	return nil
}

func (w *columnWriter) appendInts(v *batch.Vector, order []int32, start, n int) {
	if n == 0 { // the page ends, since the next row does not fit
		return
	}
	w.fillDefaults()
	w.i64 = extend(w.i64, w.n, n)
	dst := w.i64[w.n:]
	var lo, hi int64
	switch {
	case v == nil:
		clear(dst)
	case w.near != nil:
		lo, hi = w.near.gather(dst, order[start:start+n])
	default:
		lo, hi = gatherRange(dst, v.I64, order, start)
	}
	if w.n > 0 {
		lo, hi = min(lo, w.lo), max(hi, w.hi)
	}
	w.lo, w.hi = lo, hi
}

// fillDefaults writes down the zeros of a page that has nothing else so far.
func (w *columnWriter) fillDefaults() {
	if !w.defaults {
		return
	}
	w.defaults = false
	w.i64 = extend(w.i64, 0, w.n)
	clear(w.i64)
	w.lo, w.hi = 0, 0
}

// extend makes s hold exactly n values more than have, keeping the first have.
func extend[T any](s []T, have, n int) []T {
	if cap(s) < have+n {
		grown := make([]T, have+n, max(have+n, 2*cap(s)))
		copy(grown, s[:have])
		return grown
	}
	return s[:have+n]
}

func gather[T any](dst, src []T, order []int32, start int) {
	if order == nil {
		copy(dst, src[start:])
		return
	}
	order = order[start : start+len(dst)]
	for i, r := range order {
		dst[i] = src[r]
	}
}

// gatherRange is gather with the range of the values, of which there is at least one: the gathering waits for memory, so
// that the comparing is free.
func gatherRange(dst, src []int64, order []int32, start int) (lo, hi int64) {
	if order == nil {
		src = src[start : start+len(dst)]
		lo, hi = src[0], src[0]
		for i, x := range src {
			dst[i] = x
			lo, hi = min(lo, x), max(hi, x)
		}
		return lo, hi
	}
	order = order[start : start+len(dst)]
	lo = src[order[0]]
	hi = lo
	for i, r := range order {
		x := src[r]
		dst[i] = x
		lo, hi = min(lo, x), max(hi, x)
	}
	return lo, hi
}

func (w *columnWriter) appendValid(v *batch.Vector, order []int32, start, n int) {
	for len(w.valid)*64 < w.n+n {
		w.valid = append(w.valid, 0)
	}
	if v == nil {
		w.nulls += n
		return
	}
	if v.Valid == nil {
		for i := w.n; i < w.n+n; i++ {
			w.valid.Set(i)
		}
		return
	}
	valid := 0
	for i := range n {
		r := start + i
		if order != nil {
			r = int(order[r])
		}
		bit := v.Valid[r>>6] >> (uint(r) & 63) & 1
		w.valid[(w.n+i)>>6] |= bit << (uint(w.n+i) & 63)
		valid += int(bit)
	}
	w.nulls += n - valid
}

func (w *columnWriter) appendIDs(v *batch.Vector, order []int32, start, n int) {
	w.code = extend(w.code, w.n, n)
	dst := w.code[w.n:]
	switch {
	case v == nil:
		c := int32(0)
		if !w.direct {
			c = int32(w.ids.code(0))
		}
		for i := range dst {
			dst[i] = c
		}
	case w.direct:
		gather(dst, unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(v.Codes))), len(v.Codes)), order, start)
	case order == nil:
		for i, id := range v.Codes[start : start+n] {
			dst[i] = int32(w.ids.code(id))
		}
	default:
		src := v.Codes
		for i, r := range order[start : start+n] {
			dst[i] = int32(w.ids.code(src[r]))
		}
	}
}

func (w *columnWriter) appendText(v *batch.Vector, order []int32, start, n int) error {
	if v == nil {
		return w.appendDefaultText(n)
	}
	w.repeats = 2*v.Dict.Len() < len(v.Codes)
	if w.direct {
		return w.appendDirect(v, order, start, n)
	}
	if w.from != v.Dict || len(w.remap) != v.Dict.Len() {
		w.remap = extend(w.remap[:0], 0, v.Dict.Len())
		clear(w.remap)
		w.from = v.Dict
	}
	w.code = extend(w.code, w.n, n)
	dst, src, remap := w.code[w.n:], v.Codes, w.remap
	for i := range dst {
		r := start + i
		if order != nil {
			r = int(order[r])
		}
		c := remap[src[r]]
		if c == 0 {
			value, err := w.conv.stored(v.Dict.At(int(src[r])))
			if err != nil {
				return fmt.Errorf("column %s: %w", w.col.Name, err)
			}
			c = w.text.code(value) + 1
			remap[src[r]] = c
		}
		dst[i] = int32(c - 1)
	}
	return nil
}

func (w *columnWriter) appendDefaultText(n int) error {
	value, err := w.conv.stored(nil)
	if err != nil {
		return fmt.Errorf("column %s: %w", w.col.Name, err)
	}
	if w.direct {
		for range n {
			w.arena = append(w.arena, value...)
			w.offs = append(w.offs, uint32(len(w.arena)))
		}
		return nil
	}
	w.code = extend(w.code, w.n, n)
	c := int32(w.text.code(value))
	dst := w.code[w.n:]
	for i := range dst {
		dst[i] = c
	}
	return nil
}

func (w *columnWriter) appendDirect(v *batch.Vector, order []int32, start, n int) error {
	data, offs := v.Dict.Arena()
	plain := w.conv.typ == schema.Bytes || w.conv.typ == schema.Varchar // text is checked by the page
	for i := start; i < start+n; i++ {
		r := i
		if order != nil {
			r = int(order[i])
		}
		c := v.Codes[r]
		value := data[offs[c]:offs[c+1]]
		if len(value) > MaxValueBytes {
			return fmt.Errorf("column %s: %w: %d bytes", w.col.Name, ErrValue, len(value))
		}
		if !plain {
			var err error
			if value, err = w.conv.stored(value); err != nil {
				return fmt.Errorf("column %s: %w", w.col.Name, err)
			}
		}
		w.arena = append(w.arena, value...)
		w.offs = append(w.offs, uint32(len(w.arena)))
	}
	return nil
}

// toDirect gives up the dictionary for the page in hand and those to come; pages already encoded keep theirs.
func (w *columnWriter) toDirect() {
	w.direct, w.skip, w.backoff = true, 0, 0
	if w.col.Type.Physical() == schema.ID {
		for i, c := range w.code[:w.n] {
			w.code[i] = int32(w.ids.ids[c])
		}
		return
	}
	w.arena, w.offs = w.arena[:0], w.offs[:0]
	for _, c := range w.code[:w.n] {
		w.arena = append(w.arena, w.text.at(uint32(c))...)
		w.offs = append(w.offs, uint32(len(w.arena)))
	}
}

// checkDictionary decides whether the page in hand still uses the dictionary.
func (w *columnWriter) checkDictionary(limit int) {
	if w.direct {
		return
	}
	entries, size := w.text.len(), len(w.text.data)
	if w.col.Type.Physical() == schema.ID {
		entries = len(w.ids.ids)
		size = 4 * entries
	} else {
		size += 4 * entries
	}
	// Of a first page that hardly repeats, most of the dictionary would be read once only; but what is rare in a page of
	// sorted rows may come again in the next, as trace ids do: the batch tells.
	// The ids of a page's tag sets come again in the next, or do not: then most of the second page's are new, too.
	once := len(w.meta.pages) == 0 && entries > w.n/2 && size > 32<<10 && !w.repeats
	if w.col.Type.Physical() == schema.ID {
		once = len(w.meta.pages) == 1 && size > 64<<10 && w.kept > w.n/2 && entries-w.kept > w.kept/4*3
	}
	if size > limit || once {
		w.toDirect()
		w.from = nil
		if w.col.Type.Physical() == schema.ID {
			w.ids.truncate(w.kept)
		} else {
			w.text.truncate(w.kept)
		}
		return
	}
	w.kept = entries
}

// values encodes the page's values that are not NULL into a buffer of e and fills p's encoding and range. Where the values
// are compressed already, raw is what they take uncompressed, else 0.
func (w *columnWriter) values(p *pageMeta, e *encoder) (values []byte, raw int, err error) {
	switch w.col.Type.Physical() {
	case schema.Int64:
		return w.intValues(p, e)
	case schema.Float64:
		values, err = w.floatValues(p, e)
	case schema.ID:
		values, err = w.idValues(p, e)
	default:
		if w.direct {
			values, err = w.directValues(p, e)
		} else {
			return w.codeValues(p, e)
		}
	}
	return values, 0, err
}

// compact drops the NULL rows' values.
func compact[T any](w *columnWriter, s []T) []T {
	if w.nulls == 0 {
		return s
	}
	k := 0
	for i := range s {
		if w.valid.Get(i) {
			s[k] = s[i]
			k++
		}
	}
	return s[:k]
}

func (w *columnWriter) intValues(p *pageMeta, e *encoder) (values []byte, raw int, err error) {
	if w.defaults && w.nulls == 0 && !hasBloom(w.col) && w.col.Type != schema.Boolean && w.col.Type != schema.Integer {
		p.enc, p.min, p.max, p.flags = encDelta, 0, 0, p.flags|pageRange
		values, err = e.constant(0, w.n)
		return values, 0, err
	}
	w.fillDefaults()
	v := compact(w, w.i64[:w.n])
	if len(v) > 0 {
		lo, hi := w.lo, w.hi
		if w.nulls > 0 {
			lo, hi = rangeOf(v)
		}
		p.min, p.max, p.flags = lo, hi, p.flags|pageRange
	}
	if hasBloom(w.col) {
		for _, x := range v {
			w.hashes = append(w.hashes, bloomHashInt(x, w.col.Type))
		}
	}
	if w.col.Type == schema.Boolean {
		p.enc = encRLE
		if p.min < 0 || p.max > 1 {
			return nil, 0, fmt.Errorf("column %s: %w: BOOLEAN %d..%d", w.col.Name, ErrValue, p.min, p.max)
		}
		return e.booleans(v), 0, nil
	}
	return w.numberValues(p, e, v)
}

// numberValues encodes v, which lies in p's range, in the way that suits it best.
func (w *columnWriter) numberValues(p *pageMeta, e *encoder, v []int64) (values []byte, raw int, err error) {
	width := 8
	if w.col.Type == schema.Integer {
		width = 4
		if p.min < math.MinInt32 || p.max > math.MaxInt32 {
			return nil, 0, fmt.Errorf("column %s: %w: INTEGER %d..%d", w.col.Name, ErrValue, p.min, p.max)
		}
	}
	form := formDelta
	if len(v) > 0 {
		form = e.sample.choose(v, p.min, p.max, w.want)
	}
	if form == formRepeat {
		packed := e.compress(e.plainNumbers(v, w.col.Type), true)
		if float64(8*len(packed)) < e.sample.next.bits*(100-planesGain)/100 {
			p.enc = encPlain
			return packed, width * len(v), nil
		}
		form = e.sample.next.form
	}
	if form == formSparse {
		values, ok, err := w.asCodes(e, v)
		if ok || err != nil {
			p.enc = encDictionary
			return values, 0, err
		}
	}
	if !w.portable {
		if form != formDelta {
			p.enc = encByteSplit
			planes := e.split64(v, min(planesOf(p.min, p.max), width))
			low := 0
			if form == formPlanes {
				low = e.sample.low
			}
			return e.packPlanes(planes, len(v), width, uint64(p.min), low), width * len(v), nil
		}
	}
	p.enc = encDelta
	switch {
	case width == 4:
		values, err = e.int32s(v)
	case w.nulls == 0 && p.min == p.max:
		values, err = e.constant(p.min, len(v))
	default:
		values, err = e.int64s(v)
	}
	return values, 0, err
}

// rangeOf is the range of v, of which there is at least one.
func rangeOf(v []int64) (lo, hi int64) {
	lo, hi = v[0], v[0]
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	return lo, hi
}

func (w *columnWriter) floatValues(p *pageMeta, e *encoder) ([]byte, error) {
	v := compact(w, w.f64[:w.n])
	lo, hi := math.Inf(1), math.Inf(-1)
	any := false
	for _, x := range v {
		if x != x {
			p.flags |= pageNaN
			continue
		}
		any = true
		lo, hi = math.Min(lo, x), math.Max(hi, x)
	}
	if any {
		// Parquet asks for the zero that is on the outside, since -0 and 0 compare equal.
		if lo == 0 {
			lo = math.Copysign(0, -1)
		}
		if hi == 0 {
			hi = 0
		}
		p.min, p.max, p.flags = int64(math.Float64bits(lo)), int64(math.Float64bits(hi)), p.flags|pageRange
	}
	if len(w.meta.pages) == 0 && !w.portable {
		w.split = e.splitPays(v)
	}
	if w.split {
		p.enc = encByteSplit
		return e.splitFloats(v)
	}
	p.enc = encPlain
	return e.plainFloats(v), nil
}

func (w *columnWriter) idValues(p *pageMeta, e *encoder) ([]byte, error) {
	lo, hi := uint32(math.MaxUint32), uint32(0)
	if w.direct {
		for _, c := range w.code[:w.n] {
			lo, hi = min(lo, uint32(c)), max(hi, uint32(c))
		}
	} else {
		w.markSeen(len(w.ids.ids))
		for _, c := range w.unique {
			lo, hi = min(lo, w.ids.ids[c]), max(hi, w.ids.ids[c])
		}
	}
	p.min, p.max, p.flags = int64(lo), int64(hi), p.flags|pageRange
	if w.direct {
		p.enc = encDelta
		return e.rawInt32s(w.code[:w.n])
	}
	p.enc = encDictionary
	return e.codes(w.code[:w.n])
}

// markSeen lists the page's distinct codes in w.unique.
func (w *columnWriter) markSeen(entries int) {
	w.seen = extend(w.seen, len(w.seen), max(0, entries-len(w.seen)))
	mark := uint32(len(w.meta.pages) + 1)
	seen, unique := w.seen, w.unique[:0]
	last := int32(-1)
	for _, c := range w.code[:w.n] {
		if c != last && seen[c] != mark {
			seen[c] = mark
			unique = append(unique, uint32(c))
		}
		last = c
	}
	w.unique = unique
}

func (w *columnWriter) codeValues(p *pageMeta, e *encoder) (values []byte, raw int, err error) {
	if hasTextStats(w.col.Type) {
		w.markSeen(w.text.len())
		lo, hi := w.text.at(w.unique[0]), w.text.at(w.unique[0])
		for _, c := range w.unique[1:] {
			v := w.text.at(c)
			if bytes.Compare(v, lo) < 0 {
				lo = v
			} else if bytes.Compare(v, hi) > 0 {
				hi = v
			}
		}
		e.textRange(p, lo, hi)
	}
	p.enc = encDictionary
	code := w.code[:w.n]
	if values, err = e.codes(code); err == nil && w.want.repeat {
		if packed, raw := w.wide.pack(e, values, code); raw > 0 {
			return packed, raw, nil
		}
	}
	return values, 0, err
}

// checkText makes the page's values valid UTF-8. The whole is checked at once: values of a valid whole are valid when none
// begins inside a character.
func (w *columnWriter) checkText() error {
	ok := utf8.Valid(w.arena)
	begin := uint32(0)
	for _, end := range w.offs {
		ok = ok && (begin == end || utf8.RuneStart(w.arena[begin]))
		begin = end
	}
	if ok {
		return nil
	}
	old := bytes.Clone(w.arena)
	w.arena = w.arena[:0]
	begin = 0
	for i, end := range w.offs {
		v, err := w.conv.stored(old[begin:end])
		if err != nil {
			return fmt.Errorf("column %s: %w", w.col.Name, err)
		}
		w.arena = append(w.arena, v...)
		begin = end
		w.offs[i] = uint32(len(w.arena))
	}
	return nil
}

func (w *columnWriter) directValues(p *pageMeta, e *encoder) ([]byte, error) {
	if w.col.Type == schema.Varchar {
		if err := w.checkText(); err != nil {
			return nil, err
		}
	}
	begin := uint32(0)
	stats := hasTextStats(w.col.Type)
	var lo, hi []byte
	var loKey, hiKey uint64
	for i, end := range w.offs[:w.n] {
		v := w.arena[begin:end]
		begin = end
		if w.col.Bloom {
			w.hashes = append(w.hashes, bloomHash(v))
		}
		if !stats {
			continue
		}
		k := prefixKey(v) // settles nearly every comparison
		if i == 0 || k < loKey || k == loKey && bytes.Compare(v, lo) < 0 {
			lo, loKey = v, k
		}
		if i == 0 || k > hiKey || k == hiKey && bytes.Compare(v, hi) > 0 {
			hi, hiKey = v, k
		}
	}
	if stats {
		e.textRange(p, lo, hi)
	}
	if w.col.Bloom {
		w.hashPages = append(w.hashPages, locatorPage{page: len(w.meta.pages), end: len(w.hashes)})
	}
	p.enc = encDeltaLength
	return e.lengths(w.arena, w.offs[:w.n])
}

// prefixKey is the first eight bytes of v as a number that orders like them.
func prefixKey(v []byte) uint64 {
	if len(v) >= 8 {
		return binary.BigEndian.Uint64(v)
	}
	var b [8]byte
	copy(b[:], v)
	return binary.BigEndian.Uint64(b[:])
}

// endPage empties the page buffers.
func (w *columnWriter) endPage() {
	w.n, w.nulls, w.defaults = 0, 0, false
	w.arena, w.offs = w.arena[:0], w.offs[:0]
	clear(w.valid)
}

// endGroup empties what belongs to the row group.
func (w *columnWriter) endGroup() {
	// A column that never used its dictionary will not use the next one either; one that outgrew it starts again.
	w.direct = w.direct && w.text.len() == 0 && len(w.ids.ids) == 0
	clear(w.pages)
	w.pages, w.size = w.pages[:0], 0
	w.meta = chunkMeta{}
	w.hashes, w.hashPages = w.hashes[:0], w.hashPages[:0]
	clear(w.seen)
	w.seen = w.seen[:0]
	w.text.reset()
	w.ids.reset()
	w.numbers.reset()
	w.from, w.kept = nil, 0
}

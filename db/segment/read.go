package segment

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
)

// read is Reader.Read.
func (r *opened) read(ctx context.Context, u Unit, req *pred.Request, s *Scratch, dst *batch.Batch) (err error) {
	defer guard(r.path, 0, &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	if int(u.RowGroup) >= len(r.index.groups) || int(u.Page) >= len(r.index.groups[u.RowGroup].unitPages()) {
		return fmt.Errorf("read segment %s: no unit %d of row group %d", r.path, u.Page, u.RowGroup)
	}
	q := unitRead{r: r, u: u, req: req, s: &s.scratch}
	q.n = int(r.index.groups[u.RowGroup].unitPages()[u.Page].rows)
	q.begin(dst)
	err = q.run(dst)
	if req.Stats != nil {
		req.Stats.RowsScanned.Add(int64(q.n))
		req.Stats.RowsMatched.Add(int64(dst.N))
		req.Stats.BytesRead.Add(q.s.read)
	}
	return err
}

// unitRead is one Read.
type unitRead struct {
	r   *opened
	u   Unit
	req *pred.Request
	s   *scratch
	n   int     // rows of the unit
	sel []int32 // rows that are left; nil while all are
}

func (q *unitRead) begin(dst *batch.Batch) {
	s := q.s
	s.unit++
	s.read = 0
	if s.rows == nil {
		s.rows = make([]int32, 0, maxPageRows) // a nil selection means all rows
	}
	for len(s.columns) < len(q.r.table.Columns) {
		s.columns = append(s.columns, columnScratch{})
	}
	for len(s.luts) < len(q.req.Terms) {
		s.luts = append(s.luts, termLUT{})
	}
	dst.Table, dst.N = q.req.Table, 0
	for len(dst.Cols) < len(q.req.Columns) {
		dst.Cols = append(dst.Cols, nil)
	}
	dst.Cols = dst.Cols[:len(q.req.Columns)]
	for i, v := range dst.Cols {
		if v == nil {
			dst.Cols[i] = new(batch.Vector)
		}
	}
}

func (q *unitRead) run(dst *batch.Batch) error {
	if err := q.filter(); err != nil {
		return err
	}
	n := q.n
	if q.sel != nil {
		n = len(q.sel)
	}
	for i, c := range q.req.Columns {
		v := dst.Cols[i]
		if n == 0 {
			v.Reset(q.r.table.Columns[c].Type, 0)
			if q.r.table.Columns[c].Type.Physical() == schema.Code {
				v.Dict = emptyDict
			}
			continue
		}
		if err := q.output(v, c, n); err != nil {
			return err
		}
	}
	dst.N = n
	return nil
}

var emptyDict = batch.DictOf("")

// filter evaluates the time range and the terms.
func (q *unitRead) filter() error {
	req, tc := q.req, q.r.table.TimeColumn
	time := pred.Term{Column: tc, Kind: pred.IntRange, Lo: req.From, Hi: req.To - 1}
	if req.To == pred.MaxTime {
		time.Hi = pred.MaxTime // nothing lies beyond it
	}
	if req.To == pred.MinTime {
		q.sel = q.s.rows[:0]
		return nil
	}
	if q.u.slices != 0 && q.u.slices != 1<<unitSlices-1 {
		q.s.rows = q.u.rows(q.s.rows[:0], q.n)
		q.sel = q.s.rows
	}
	if err := q.apply(&time, -1); err != nil {
		return err
	}
	for i := range req.Terms {
		if q.sel != nil && len(q.sel) == 0 {
			return nil
		}
		if err := q.apply(&req.Terms[i], i); err != nil {
			return err
		}
	}
	return nil
}

// apply keeps the rows that satisfy term number i.
func (q *unitRead) apply(t *pred.Term, i int) error {
	if page, _, k := q.page(t.Column); k >= 0 {
		switch q.r.verdict(t, page, q.r.index.columns[k].typ, nil) {
		case matchesAll:
			return nil
		case matchesNone:
			q.sel = q.s.rows[:0]
			return nil
		}
	}
	v, d, err := q.decoded(t.Column)
	if err != nil {
		return err
	}
	// The selection is narrowed in place: rows of the next are written behind those that are read.
	rows := q.s.rows[:0]
	if q.sel != nil {
		rows = q.sel[:0]
	}
	switch lut := q.lut(t, i, d); {
	case lut != nil:
		rows = pred.SelectLUT(rows, v.Codes[:q.n], q.sel, lut)
	case t.Kind == pred.Text && q.sel != nil && d == nil: // each row has a value of its own
		for _, i := range q.sel {
			if t.Match(v.Bytes(int(i))) != t.Not {
				rows = append(rows, i)
			}
		}
	case t.Kind == pred.Tags:
		rows = q.selectIDs(rows, v.Codes[:q.n], t, i)
	default:
		rows = t.Select(rows, v, q.n, q.sel, nil)
	}
	if q.s.rows = rows; len(rows) < q.n {
		q.sel = rows
	}
	return nil
}

// page is the page of a table's column in this unit; k is the column of the file, -1 where there is none.
func (q *unitRead) page(column int) (p *pageMeta, m *chunkMeta, k int) {
	if k = q.r.columns[column]; k < 0 {
		return nil, nil, k
	}
	m = &q.r.index.groups[q.u.RowGroup].chunks[k]
	return &m.pages[q.u.Page], m, k
}

// decoded is all rows of a column, decoded once per unit. Of a tag-set column with a dictionary d, the vector holds codes
// of it.
func (q *unitRead) decoded(column int) (*batch.Vector, *dictionary, error) {
	c := &q.s.columns[column]
	_, m, k := q.page(column)
	var d *dictionary
	if k >= 0 && m.pages[q.u.Page].enc == encDictionary {
		var err error
		if d, err = q.r.dictionary(int(q.u.RowGroup), k, q.s); err != nil {
			return nil, nil, err
		}
	}
	if c.unit != q.s.unit {
		if err := q.decode(&c.vec, column, d); err != nil {
			return nil, nil, err
		}
		c.unit = q.s.unit
	}
	return &c.vec, d, nil
}

// decode fills v with all rows of a column; codes of tag sets are left as they are.
func (q *unitRead) decode(v *batch.Vector, column int, d *dictionary) error {
	p, _, k := q.page(column)
	if k < 0 {
		v.Default(&q.r.table.Columns[column], q.n)
		return nil
	}
	if ok, err := q.partly(v, p, k, column); ok || err != nil {
		return q.typed(v, column, err)
	}
	if err := q.r.loadPage(p, planesUsed(p, q.r.index.columns[k].typ), q.s); err != nil {
		return err
	}
	err := decodeValues(v, p, q.r.index.columns[k], d, &q.s.columns[column], q.s)
	if err != nil {
		return q.r.corrupt(p.off, "column %s: %v", q.r.index.columns[k].name, err)
	}
	return q.typed(v, column, nil)
}

// typed gives v, which was decoded unless there is an error, the type that the table's column has.
func (q *unitRead) typed(v *batch.Vector, column int, err error) error {
	if err != nil {
		return err
	}
	if v.Type = q.r.table.Columns[column].Type; !q.r.table.Columns[column].Nullable {
		v.Valid = nil // the column was nullable once: NULL is 0 now
	}
	return nil
}

// output fills v with the selected rows of a column.
func (q *unitRead) output(v *batch.Vector, column, n int) error {
	c := &q.s.columns[column]
	var d *dictionary
	if q.sel == nil && c.unit != q.s.unit { // nobody has decoded it and all of it is wanted
		p, _, k := q.page(column)
		if k >= 0 && p.enc == encDictionary {
			var err error
			if d, err = q.r.dictionary(int(q.u.RowGroup), k, q.s); err != nil {
				return err
			}
		}
		if err := q.decode(v, column, d); err != nil {
			return err
		}
	} else {
		src, dict, err := q.decoded(column)
		if err != nil {
			return err
		}
		d = dict
		if q.sel == nil {
			copyVector(v, src, n)
		} else {
			batch.Gather(v, src, q.sel)
		}
	}
	if d != nil && d.ids != nil {
		ids, codes := d.ids, v.Codes
		for i, c := range codes {
			codes[i] = ids[c]
		}
	}
	return nil
}

func copyVector(dst, src *batch.Vector, n int) {
	dst.Reset(src.Type, n)
	dst.Dict = src.Dict
	copy(dst.I64, src.I64)
	copy(dst.F64, src.F64)
	copy(dst.Codes, src.Codes)
	dst.Valid = src.Valid
}

// decodeValues decodes the loaded page of s into v. c keeps what v borrows.
func decodeValues(v *batch.Vector, p *pageMeta, col columnMeta, d *dictionary, c *columnScratch, s *scratch) error {
	n := int(p.rows)
	v.Reset(col.typ, n)
	some := n - int(p.nulls)
	if col.optional && p.nulls > 0 {
		c.valid = extend(c.valid, 0, (n+63)/64)
		v.Valid = c.valid
		if err := decodeLevels(v.Valid, s.page8.levels, n); err != nil {
			return err
		}
		if v.Valid.Count() != some {
			return fmt.Errorf("%w: %d NULLs instead of %d", errValues, n-v.Valid.Count(), p.nulls)
		}
	}
	src := s.page8.values
	switch col.typ.Physical() {
	case schema.Int64:
		if some == n {
			return decodeInts(v.I64, src, p, col.typ, d, s)
		}
		s.i64 = extend(s.i64, 0, some)
		if err := decodeInts(s.i64, src, p, col.typ, d, s); err != nil {
			return err
		}
		spread(v.I64, s.i64, v.Valid)
	case schema.Float64:
		if p.enc != encPlain && p.enc != encByteSplit {
			return errEncoding(p.enc)
		}
		if some == n {
			return decodeFloats(v.F64, src, p.enc)
		}
		s.f64 = extend(s.f64, 0, some)
		if err := decodeFloats(s.f64, src, p.enc); err != nil {
			return err
		}
		spread(v.F64, s.f64, v.Valid)
	case schema.ID:
		return decodeIDs(v.Codes, src, p.enc, d)
	default:
		return decodeText(v, src, p.enc, col.typ, d, c, s)
	}
	return nil
}

func errEncoding(enc uint8) error { return fmt.Errorf("%w: encoding %d", errValues, enc) }

// spread puts the values that are not NULL at their rows, 64 rows at a time: levels come in runs.
func spread[T any](dst, src []T, valid batch.Bitmap) {
	clear(dst)
	for i := 0; i < len(dst); i += 64 {
		word := valid[i>>6]
		if word == ^uint64(0) {
			src = src[copy(dst[i:min(i+64, len(dst))], src):]
			continue
		}
		rows := dst[i:]
		k := 0
		for ; word != 0; word &= word - 1 {
			rows[bits.TrailingZeros64(word)] = src[k]
			k++
		}
		src = src[k:]
	}
}

func decodeInts(dst []int64, src []byte, p *pageMeta, t schema.Type, d *dictionary, s *scratch) (err error) {
	enc := p.enc
	switch {
	case enc == encDictionary && t != schema.Boolean:
		return decodeNumbers(dst, src, d.ints)
	case enc == encByteSplit && t != schema.Boolean:
		return decodePlanes(dst, src, t, p)
	case enc == encRLE && t == schema.Boolean:
		s.bits = extend(s.bits, 0, (len(dst)+63)/64)
		return decodeBooleans(dst, s.bits, src)
	case enc == encPlain && t != schema.Boolean:
		return decodePlain(dst, src, t)
	case enc != encDelta || t == schema.Boolean:
		return errEncoding(enc)
	case t == schema.Integer:
		err = decodeDelta32(dst, src)
	default:
		_, err = decodeDelta(dst, src)
	}
	return err
}

func decodeIDs(dst []uint32, src []byte, enc uint8, d *dictionary) error {
	switch enc {
	case encDictionary:
		return decodeCodes(dst, src, uint32(len(d.ids)))
	case encDelta:
		_, err := decodeDelta(dst, src)
		return err
	}
	return errEncoding(enc)
}

func decodeText(v *batch.Vector, src []byte, enc uint8, t schema.Type, d *dictionary, c *columnScratch, s *scratch) error {
	n := len(v.Codes)
	switch enc {
	case encDictionary:
		v.Dict = d.text
		return decodeCodes(v.Codes, src, uint32(d.text.Len()))
	case encDeltaLength:
	default:
		return errEncoding(enc)
	}
	s.i32 = extend(s.i32, 0, n)
	c.ends = extend(c.ends, 0, n+1)
	c.ends[0] = 0
	data, err := decodeLengths(c.ends[1:], s.i32, src)
	if err != nil {
		return err
	}
	c.data = c.data[:0]
	if plainText(t) && len(s.parts) > 0 {
		c.data = extend(c.data, 0, len(data))
		s.copyParts(c.data, data, len(src))
	} else if plainText(t) {
		c.data = append(c.data, data...)
	} else {
		begin := uint32(0)
		for i, end := range c.ends[1:] {
			if c.data, err = loaded(c.data, t, data[begin:end]); err != nil {
				return err
			}
			begin = end
			c.ends[i+1] = uint32(len(c.data))
		}
	}
	v.Dict = batch.NewDict(c.data, c.ends) // a new header each time: the address of a dictionary tells it from others
	for i := range v.Codes {
		v.Codes[i] = uint32(i)
	}
	return nil
}

// plainText says that a type's text is stored as it is in memory.
func plainText(t schema.Type) bool { return t == schema.Varchar || t == schema.Bytes }

// termLUT is a term evaluated for every entry of a dictionary or, of a Tags term, its ids as a table.
type termLUT struct {
	req  *pred.Request
	dict *dictionary
	lut  []bool

	ids idTable
}

// lut is the truth of term i by code of d; nil where the column has no dictionary or the term is about NULL. It is kept
// for as long as units share request and dictionary.
func (q *unitRead) lut(t *pred.Term, i int, d *dictionary) []bool {
	if d == nil || i < 0 || t.Kind != pred.Text && t.Kind != pred.Tags {
		return nil
	}
	l := &q.s.luts[i]
	if l.req != q.req || l.dict != d {
		l.lut = q.termTruth(l.lut[:0], t, i, d)
		l.req, l.dict = q.req, d
	}
	return l.lut
}

// equalTruth is termTruth of a term that only one text can satisfy, as an id.
func equalTruth(lut []bool, t *pred.Term, d *dictionary) []bool {
	lut = extend(lut, 0, d.text.Len())
	data, offs := d.text.Arena()
	want := t.Equal[0]
	for i := range lut {
		from, to := offs[i], offs[i+1]
		lut[i] = int(to-from) == len(want) && string(data[from:to]) == string(want) && t.Match(want)
	}
	return lut
}

// termTruth evaluates term i for every entry of d.
func (q *unitRead) termTruth(lut []bool, t *pred.Term, i int, d *dictionary) []bool {
	if t.Kind == pred.Tags {
		return q.idTable(t, i, len(d.ids)).truth(lut, d.ids)
	}
	if len(t.Equal) == 1 && !t.Not {
		return equalTruth(lut, t, d)
	}
	for i := range d.text.Len() {
		lut = append(lut, t.Match(d.text.At(i)) != t.Not)
	}
	return lut
}

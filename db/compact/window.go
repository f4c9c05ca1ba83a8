package compact

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
)

// window is the rows of several inputs that are written together, one input's after the other's, column by column. Its
// memory is used again by every window.
type window struct {
	m    *merge
	b    batch.Batch
	vecs []batch.Vector // of sort columns and text; of all columns where rows are partial
	room batch.Vector   // the number column in hand
	reqs []pred.Request // for each column
	page batch.Batch    // one column of a page
	own  batch.Vector   // its memory

	dicts  []batch.DictBuilder // of text, by column
	remap  []uint32            // code in the page's dictionary -> code in the window plus one
	mapped *batch.Dict         // the dictionary that remap is of
	direct []textCopy          // of text that is stored value by value, by column
	valid  []batch.Bitmap
}

func (w *window) init(m *merge) {
	w.m = m
	n := len(m.table.Columns)
	w.vecs, w.reqs = make([]batch.Vector, n), make([]pred.Request, n)
	w.dicts, w.direct, w.valid = make([]batch.DictBuilder, n), make([]textCopy, n), make([]batch.Bitmap, n)
	w.b = batch.Batch{Table: m.order, Cols: make([]*batch.Vector, n)}
	w.page.Cols = make([]*batch.Vector, 1)
	for i := range w.reqs {
		w.reqs[i] = pred.Request{Table: m.table, Columns: []int{i}, From: pred.MinTime, To: pred.MaxTime, Stats: &m.stats}
	}
}

// join is the sort columns of the parts. The batch is valid until the next join; its other columns are nil.
func (w *window) join(parts []part) (b *batch.Batch, ends []int, err error) {
	w.b.N = 0
	for _, p := range parts {
		w.b.N += p.rows
		ends = append(ends, w.b.N)
	}
	clear(w.b.Cols)
	for _, c := range w.m.keys.req.Columns {
		v := &w.vecs[c]
		if err := w.fill(v, c, parts, func(p *keyPage, _ *input, _ segment.Unit, _ int) (*batch.Vector, error) {
			return p.rows.Cols[c], nil
		}); err != nil {
			return nil, nil, err
		}
		w.b.Cols[c] = v
	}
	return &w.b, ends, nil
}

// write has the writer take the rows in their order. Text is read before, since it decides where pages end.
func (w *window) write(parts []part, order []int32) error {
	t := w.m.table
	for c := range t.Columns {
		if t.Columns[c].Nullable {
			w.b.Cols[c] = nil // a sort column that lacks its NULLs
		}
		if t.Columns[c].Type.Physical() != schema.Code || w.b.Cols[c] != nil || w.isDefault(c, parts) {
			continue
		}
		if err := w.read(&w.vecs[c], c, parts); err != nil {
			return err
		}
		w.b.Cols[c] = &w.vecs[c]
	}
	return w.m.out.AppendColumns(&w.b, order, func(c int) (*batch.Vector, error) {
		if w.isDefault(c, parts) {
			return nil, nil
		}
		return &w.room, w.read(&w.room, c, parts)
	})
}

// collapse has the collapser take the rows in their order.
func (w *window) collapse(parts []part, order []int32) error {
	for c := range w.vecs {
		if w.b.Cols[c] != nil && !w.m.table.Columns[c].Nullable {
			continue
		}
		w.b.Cols[c] = nil
		if w.isDefault(c, parts) {
			continue
		}
		if err := w.read(&w.vecs[c], c, parts); err != nil {
			return err
		}
		w.b.Cols[c] = &w.vecs[c]
	}
	return w.m.collapse.append(&w.b, order)
}

// isDefault says that all rows of the parts are known to hold a column's default.
func (w *window) isDefault(c int, parts []part) bool {
	value, null, ok := w.uniform(c, parts)
	return ok && value == 0 && null == w.m.table.Columns[c].Nullable
}

// uniform is what all rows of the parts hold in a column, if that is known without reading them.
func (w *window) uniform(c int, parts []part) (value int64, null, ok bool) {
	first := true
	for _, p := range parts {
		for _, u := range p.units() {
			v, isNull, uniform := p.in.r.Uniform(u, c)
			if !uniform || !first && (v != value || isNull != null) {
				return 0, false, false
			}
			value, null, first = v, isNull, false
		}
	}
	return value, null, true
}

// read fills v with a column of the parts.
func (w *window) read(v *batch.Vector, c int, parts []part) error {
	if err := w.m.pause(); err != nil {
		return err
	}
	if value, null, ok := w.uniform(c, parts); ok && !null {
		switch v.Reset(w.m.table.Columns[c].Type, w.b.N); v.Type.Physical() {
		case schema.Int64:
			for i := range v.I64 {
				v.I64[i] = value
			}
			return nil
		case schema.ID:
			for i := range v.Codes {
				v.Codes[i] = uint32(value)
			}
			return nil
		}
	}
	return w.fill(v, c, parts, func(_ *keyPage, x *input, u segment.Unit, at int) (*batch.Vector, error) {
		page := &w.own
		if at >= 0 { // all of the page is wanted: it is decoded in place
			page = &batch.Vector{}
			end := at + int(u.Rows)
			switch v.Type.Physical() {
			case schema.Int64:
				page.I64 = v.I64[at:end:end]
			case schema.Float64:
				page.F64 = v.F64[at:end:end]
			case schema.ID:
				page.Codes = v.Codes[at:end:end]
			default:
				page = &w.own
			}
		}
		w.page.Cols[0] = page
		err := x.r.Read(w.m.ctx, u, &w.reqs[c], &w.m.scratch, &w.page)
		return w.page.Cols[0], err
	})
}

// fill sets v to a column of the parts, page by page as get yields them. It is told the first row of v that the page's go
// to, -1 when not all of them do; it may decode the page there.
func (w *window) fill(v *batch.Vector, c int, parts []part, get func(p *keyPage, x *input, u segment.Unit, at int) (*batch.Vector, error)) error {
	v.Reset(w.m.table.Columns[c].Type, w.b.N)
	text := v.Type.Physical() == schema.Code
	direct := text && w.isDirect(c, parts)
	if direct {
		d := &w.direct[c]
		d.data, d.offs = d.data[:0], append(d.offs[:0], 0)
	}
	w.mapped = nil
	nulls := false
	at := 0
	for _, part := range parts {
		err := part.in.each(part.rows, func(p *keyPage, u segment.Unit, from, to int) error {
			whole := -1
			if from == 0 && to == p.rows.N {
				whole = at
			}
			src, err := get(p, part.in, u, whole)
			if err != nil {
				return err
			}
			n := to - from
			switch {
			case text && direct && part.in.r.Direct(u, c):
				w.appendDirect(&w.direct[c], v.Codes[at:at+n], src, from)
			case text:
				w.codes(c, v.Codes[at:at+n], src, from, direct)
			default:
				copyValues(v, at, src, from, n)
			}
			if nulls || src.Valid != nil {
				w.validity(c, at, src, from, n, !nulls)
				nulls = true
			}
			at += n
			return nil
		})
		if err != nil {
			return err
		}
	}
	switch {
	case direct:
		v.Dict = batch.NewDict(w.direct[c].data, w.direct[c].offs) // a new header: the address tells dictionaries apart
	case text:
		v.Dict = w.dicts[c].Seal()
	}
	if nulls {
		v.Valid = w.valid[c]
	}
	return nil
}

// isDirect says that some text of the parts is stored value by value: then no text of them is looked up.
func (w *window) isDirect(c int, parts []part) bool {
	for _, p := range parts {
		for _, u := range p.units() {
			if p.in.r.Direct(u, c) {
				return true
			}
		}
	}
	return false
}

// copyValues copies what is not where it belongs yet.
func copyValues(v *batch.Vector, at int, src *batch.Vector, from, n int) {
	switch v.Type.Physical() {
	case schema.Int64:
		if &v.I64[at] != &src.I64[from] {
			copy(v.I64[at:], src.I64[from:from+n])
		}
	case schema.Float64:
		if &v.F64[at] != &src.F64[from] {
			copy(v.F64[at:], src.F64[from:from+n])
		}
	default:
		if &v.Codes[at] != &src.Codes[from] {
			copy(v.Codes[at:], src.Codes[from:from+n])
		}
	}
}

// appendDirect takes over values of a page that has one for each row, in order.
func (w *window) appendDirect(d *textCopy, dst []uint32, src *batch.Vector, from int) {
	data, offs := src.Dict.Arena()
	offs = offs[from : from+len(dst)+1]
	shift := uint32(len(d.data)) - offs[0]
	d.data = append(d.data, data[offs[0]:offs[len(dst)]]...)
	for i := range dst {
		dst[i] = uint32(len(d.offs)) - 1
		d.offs = append(d.offs, offs[i+1]+shift)
	}
}

// codes sets dst to the window's codes of rows of a page. Each entry is looked up once for the pages of a row group; with
// direct it is not looked up but taken, and may be there twice.
func (w *window) codes(c int, dst []uint32, src *batch.Vector, from int, direct bool) {
	if w.mapped != src.Dict {
		w.mapped = src.Dict
		if cap(w.remap) < src.Dict.Len() {
			w.remap = make([]uint32, src.Dict.Len())
		}
		w.remap = w.remap[:src.Dict.Len()]
		clear(w.remap)
	}
	remap, d, dict := w.remap, &w.direct[c], &w.dicts[c]
	for k, code := range src.Codes[from : from+len(dst)] {
		m := remap[code]
		if m == 0 {
			if v := src.Dict.At(int(code)); direct {
				d.data = append(d.data, v...)
				d.offs = append(d.offs, uint32(len(d.data)))
				m = uint32(len(d.offs) - 1)
			} else {
				m = dict.Code(v) + 1
			}
			remap[code] = m
		}
		dst[k] = m - 1
	}
}

// validity notes which of n rows from row at on are not NULL; first says that it is the first such call for the column, and
// no row before them is.
func (w *window) validity(c, at int, src *batch.Vector, from, n int, first bool) {
	words := (w.b.N + 63) / 64
	if cap(w.valid[c]) < words {
		w.valid[c] = make(batch.Bitmap, words)
	}
	w.valid[c] = w.valid[c][:words]
	valid := w.valid[c]
	if first {
		clear(valid)
		setRange(valid, 0, at)
	}
	if src.Valid == nil {
		setRange(valid, at, n)
		return
	}
	for n > 0 { // up to 64 bits at a time, those that lie in one word of the source
		s := uint(from) & 63
		k := min(n, 64-int(s))
		bits := src.Valid[from>>6] >> s
		if k < 64 {
			bits &= 1<<uint(k) - 1
		}
		d := uint(at) & 63
		valid[at>>6] |= bits << d
		if over := bits >> (64 - d); over != 0 { // a shift by 64 gives 0
			valid[at>>6+1] |= over
		}
		from, at, n = from+k, at+k, n-k
	}
}

// setRange sets n bits from bit at on.
func setRange(b batch.Bitmap, at, n int) {
	for n > 0 {
		s := uint(at) & 63
		k := min(n, 64-int(s))
		bits := ^uint64(0)
		if k < 64 {
			bits = 1<<uint(k) - 1
		}
		b[at>>6] |= bits << s
		at, n = at+k, n-k
	}
}

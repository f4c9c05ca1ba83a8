package batch

import "github.com/flowlake/flowlake/db/schema"

// Concat appends rows of several batches of a table into one. Dictionaries are merged: the result's entries are distinct.
// The zero value is ready for Reset; for one goroutine.
type Concat struct {
	dst   *Batch
	dicts []DictBuilder
	lut   []uint32
	n     int
}

// Reset begins a concatenation of the given columns of a table into dst, whose memory is reused. dst.Cols becomes parallel
// to columns.
func (c *Concat) Reset(t *schema.Table, columns []int, dst *Batch) {
	c.dst, c.n = dst, 0
	dst.Table, dst.N = t, 0
	for len(dst.Cols) < len(columns) {
		dst.Cols = append(dst.Cols, nil)
	}
	dst.Cols = dst.Cols[:len(columns)]
	for i, col := range columns {
		if dst.Cols[i] == nil {
			dst.Cols[i] = &Vector{}
		}
		dst.Cols[i].Reset(t.Columns[col].Type, 0)
	}
	if len(c.dicts) < len(columns) {
		c.dicts = make([]DictBuilder, len(columns))
	}
}

// Append adds n rows of cols (parallel to the columns given to Reset): the rows listed, or all when rows is nil. A tag-set
// column holds ids in all of them, or codes and a dictionary in all of them.
func (c *Concat) Append(cols []Vector, n int, rows []int32) {
	for i := range cols {
		src, dst := &cols[i], c.dst.Cols[i]
		switch {
		case src.Type.Physical() == schema.Int64:
			dst.I64 = appendRows(dst.I64, src.I64, rows)
		case src.Type.Physical() == schema.Float64:
			dst.F64 = appendRows(dst.F64, src.F64, rows)
		case src.Dict == nil: // tag-set ids
			dst.Codes = appendRows(dst.Codes, src.Codes, rows)
		default:
			c.appendCodes(dst, src, &c.dicts[i], rows)
		}
		c.appendValid(dst, src, n, rows)
	}
	c.n += n
}

func appendRows[T any](dst, src []T, rows []int32) []T {
	if rows == nil {
		return append(dst, src...)
	}
	for _, r := range rows {
		dst = append(dst, src[r])
	}
	return dst
}

// appendCodes maps source codes to merged ones, each entry that occurs once.
func (c *Concat) appendCodes(dst, src *Vector, d *DictBuilder, rows []int32) {
	m := src.Dict.Len()
	if cap(c.lut) < m {
		c.lut = make([]uint32, m)
	}
	lut := c.lut[:m]
	clear(lut) // merged code plus one
	code := func(s uint32) uint32 {
		if lut[s] == 0 {
			lut[s] = d.Code(src.Dict.At(int(s))) + 1
		}
		return lut[s] - 1
	}
	if rows == nil {
		for _, s := range src.Codes {
			dst.Codes = append(dst.Codes, code(s))
		}
		return
	}
	for _, r := range rows {
		dst.Codes = append(dst.Codes, code(src.Codes[r]))
	}
}

func (c *Concat) appendValid(dst, src *Vector, n int, rows []int32) {
	if src.Valid == nil && dst.Valid == nil {
		return
	}
	words := (c.n + n + 63) / 64
	if dst.Valid == nil {
		dst.Valid = make(Bitmap, words)
		dst.Valid.Fill(c.n)
	}
	for len(dst.Valid) < words {
		dst.Valid = append(dst.Valid, 0)
	}
	for i := range n {
		r := i
		if rows != nil {
			r = int(rows[i])
		}
		if src.Valid == nil || src.Valid.Get(r) {
			dst.Valid.Set(c.n + i)
		}
	}
}

// Merge is all rows of some batches of one table, in order. Tag-set columns keep their dictionaries.
func Merge(batches []*Batch) *Batch {
	t := batches[0].Table
	var columns []int
	for i := range t.Columns {
		for _, b := range batches {
			if i < len(b.Cols) && b.Cols[i] != nil {
				columns = append(columns, i)
				break
			}
		}
	}
	var c Concat
	var packed Batch
	c.Reset(t, columns, &packed)
	cols := make([]Vector, len(columns))
	for _, b := range batches {
		for k, i := range columns {
			if i < len(b.Cols) && b.Cols[i] != nil {
				cols[k] = *b.Cols[i]
				continue
			}
			cols[k] = Vector{}
			cols[k].Default(&t.Columns[i], b.N)
			if cols[k].Type == schema.TagSet {
				cols[k].Dict = emptyDict
			}
		}
		c.Append(cols, b.N, nil)
	}
	c.Finish()
	out := &Batch{Table: t, N: packed.N, Cols: make([]*Vector, len(t.Columns))}
	for k, i := range columns {
		out.Cols[i] = packed.Cols[k]
	}
	return out
}

// Rows is the number of rows appended so far.
func (c *Concat) Rows() int { return c.n }

// Finish completes dst.
func (c *Concat) Finish() {
	c.dst.N = c.n
	for i, v := range c.dst.Cols {
		if v.Type.Physical() == schema.Code || c.dicts[i].Len() > 0 {
			v.Dict = c.dicts[i].Seal()
		}
	}
}

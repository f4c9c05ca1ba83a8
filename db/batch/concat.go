package batch

import (
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/db/schema"
)

// Concat appends rows of several batches of a table into one. Dictionaries are merged: the result's entries are distinct.
// The zero value is ready for Reset; for one goroutine.
type Concat struct {
	dst   *Batch
	dicts []DictBuilder
	forms []form // per column: what its codes mean so far
	lut   []uint32
	n     int
}

// form says what the codes of a column mean. One column has one form: an id taken for a code would give a row the text or
// the tags of another.
type form uint8

const (
	formNone    form = iota // numbers, or nothing appended yet
	formIDs                 // tag-set ids
	formEntries             // codes of the column's dictionary
)

func formOf(v *Vector) form {
	switch p := v.Type.Physical(); {
	case p != schema.Code && p != schema.ID:
		return formNone
	case p == schema.ID && v.Dict == nil:
		return formIDs
	}
	return formEntries
}

// Reset begins a concatenation of the given columns of a table into dst, whose memory is reused. dst.Cols becomes parallel
// to columns. What an earlier concatenation left unfinished is forgotten.
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
	for i := range c.dicts {
		if c.dicts[i].Len() > 0 { // of one that was not finished
			c.dicts[i].Seal()
		}
	}
	for len(c.dicts) < len(columns) {
		c.dicts = append(c.dicts, DictBuilder{})
		c.forms = append(c.forms, formNone)
	}
	clear(c.forms)
}

// Append adds n rows of cols (parallel to the columns given to Reset): the rows listed, or all when rows is nil. A tag-set
// column holds ids in all of them, or codes and a dictionary in all of them. Mixing the two, other types than the table's
// and texts without a dictionary are programming errors and panic, before anything is added; use Merge for batches of others.
func (c *Concat) Append(cols []Vector, n int, rows []int32) {
	if n == 0 {
		return
	}
	for i := range cols {
		if err := c.agree(i, &cols[i]); err != nil {
			panic(fmt.Sprintf("batch: append to column %d of %s: %v", i, c.dst.Table.Name, err))
		}
	}
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

// agree settles the form of a column, or says why v has another one.
func (c *Concat) agree(i int, v *Vector) error {
	f := formOf(v)
	switch {
	case v.Type.Physical() != c.dst.Cols[i].Type.Physical():
		return fmt.Errorf("values of %s in a column of %s", v.Type, c.dst.Cols[i].Type)
	case f == formEntries && v.Dict == nil:
		return errNoDict
	case c.forms[i] != formNone && c.forms[i] != f:
		return errors.New("tag-set ids beside tag sets")
	}
	c.forms[i] = f
	return nil
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

// Merge is all rows of some batches of one table, in order. Tag-set columns come with their dictionaries and keep them. The
// error wraps ErrRefused and says which batch is at fault: one that Check refuses, or one of another table.
func Merge(batches []*Batch) (*Batch, error) {
	if len(batches) == 0 {
		return nil, errors.New("merge no batches")
	}
	t := batches[0].Table
	for i, b := range batches {
		if b.Table != t {
			return nil, fmt.Errorf("merge batch %d of %d: another table: %w", i+1, len(batches), ErrRefused)
		}
		if err := Check(b); err != nil {
			return nil, fmt.Errorf("merge batch %d of %d: %w: %w", i+1, len(batches), ErrRefused, err)
		}
	}
	return merge(t, batches), nil
}

func merge(t *schema.Table, batches []*Batch) *Batch {
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

var errNoDict = errors.New("codes without a dictionary")

// Check says why a batch cannot travel, nil when it can: it has a table and at most its columns, each with a value of the
// column's physical type for every row, a bitmap that covers the rows and only where NULLs may be, and codes that lie in
// their dictionary. Tag-set ids without a dictionary mean nothing outside their database and are refused. What the values
// themselves are is not looked at. It costs one pass over the codes.
func Check(b *Batch) error {
	switch {
	case b.Table == nil:
		return errors.New("no table")
	case b.N < 0:
		return fmt.Errorf("%d rows", b.N)
	case len(b.Cols) > len(b.Table.Columns):
		return fmt.Errorf("%d columns, table %s has %d", len(b.Cols), b.Table.Name, len(b.Table.Columns))
	}
	for i, v := range b.Cols {
		if v == nil {
			continue
		}
		if err := checkVector(&b.Table.Columns[i], v, b.N); err != nil {
			return fmt.Errorf("column %s of %s: %w", b.Table.Columns[i].Name, b.Table.Name, err)
		}
	}
	return nil
}

func checkVector(c *schema.Column, v *Vector, n int) error {
	switch {
	case v.Type.Physical() != c.Type.Physical():
		return fmt.Errorf("values of %s in a column of %s", v.Type, c.Type)
	case v.Len() != n:
		return fmt.Errorf("%d values for %d rows", v.Len(), n)
	case v.Valid != nil && !c.Nullable:
		return errors.New("NULLs in a column that has none")
	case v.Valid != nil && len(v.Valid) < (n+63)/64:
		return fmt.Errorf("a validity bitmap of %d words for %d rows", len(v.Valid), n)
	case formOf(v) == formNone || n == 0:
		return nil
	case v.Dict == nil:
		return errNoDict
	}
	return checkCodes(v.Codes, v.Dict.Len())
}

// Bytes is the size of the dictionaries so far.
func (c *Concat) Bytes() int {
	n := 0
	for i := range c.dst.Cols {
		n += c.dicts[i].Bytes()
	}
	return n
}

// Rows is the number of rows appended so far.
func (c *Concat) Rows() int { return c.n }

// Finish completes dst.
func (c *Concat) Finish() {
	c.dst.N = c.n
	for i, v := range c.dst.Cols {
		if v.Type.Physical() == schema.Code || c.forms[i] == formEntries {
			v.Dict = c.dicts[i].Seal()
		}
	}
}

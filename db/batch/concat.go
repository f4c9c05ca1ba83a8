package batch

import (
	"errors"
	"fmt"
	"slices"

	"github.com/flowlake/flowlake/db/enc"
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

// Reserve makes room for n rows in all, so that the columns do not grow by copying. It may be called after Reset.
func (c *Concat) Reserve(n int) {
	for _, v := range c.dst.Cols {
		v.reserve(n)
	}
}

func (v *Vector) reserve(n int) {
	switch v.Type.Physical() {
	case schema.Int64:
		v.I64 = slices.Grow(v.I64, max(0, n-len(v.I64)))
	case schema.Float64:
		v.F64 = slices.Grow(v.F64, max(0, n-len(v.F64)))
	default:
		v.Codes = slices.Grow(v.Codes, max(0, n-len(v.Codes)))
	}
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
	at, n := len(dst.Codes), len(src.Codes)
	if rows != nil {
		n = len(rows)
	}
	dst.Codes = slices.Grow(dst.Codes, n)[:at+n]
	out := dst.Codes[at:]
	for i := range out {
		var s uint32
		if rows == nil {
			s = src.Codes[i]
		} else {
			s = src.Codes[rows[i]]
		}
		m := lut[s]
		if m == 0 {
			m = d.Code(src.Dict.At(int(s))) + 1
			lut[s] = m
		}
		out[i] = m - 1
	}
}

func (c *Concat) appendValid(dst, src *Vector, n int, rows []int32) {
	if src.Valid == nil && dst.Valid == nil {
		return
	}
	if rows == nil {
		dst.Valid = appendValid(dst.Valid, c.n, src.Valid, n)
		return
	}
	dst.Valid = appendValid(dst.Valid, c.n, nil, n)
	if src.Valid == nil {
		return
	}
	for i, r := range rows {
		if !src.Valid.Get(int(r)) {
			dst.Valid.Clear(c.n + i)
		}
	}
}

// appendValid appends the first n bits of src to the first at bits of dst; a nil bitmap has all of them set.
func appendValid(dst Bitmap, at int, src Bitmap, n int) Bitmap {
	words := (at + n + 63) / 64
	if dst == nil {
		dst = make(Bitmap, words)
		dst.Fill(at)
	}
	for len(dst) < words {
		dst = append(dst, 0)
	}
	for i := 0; i < n; i += 64 {
		w := ^uint64(0)
		if src != nil {
			w = src[i>>6]
		}
		if rest := n - i; rest < 64 {
			w &= 1<<uint(rest) - 1
		}
		k, shift := (at+i)>>6, uint(at+i)&63
		dst[k] |= w << shift
		if over := w >> (64 - shift); over != 0 { // a shift by 64 gives 0
			dst[k+1] |= over
		}
	}
	return dst
}

// Numbers decodes a column of numbers of several frames into dst, whose memory is reused: the values of one frame after
// those of the other. ok is false when all rows hold the column's default; dst is undefined then.
func Numbers(frames []*View, col int, dst *Vector) (ok bool, err error) {
	rows := 0
	for _, v := range frames {
		rows += v.N
		ok = ok || !v.allDefault(col)
	}
	if !ok {
		return false, nil
	}
	typ := frames[0].Table.Columns[col].Type
	dst.Reset(typ, 0)
	dst.reserve(rows)
	var valid Bitmap
	at := 0
	for _, v := range frames {
		if err := v.appendNumbers(col, dst); err != nil {
			return false, err
		}
		if dst.Valid != nil || valid != nil {
			valid = appendValid(valid, at, dst.Valid, v.N)
		}
		at += v.N
	}
	dst.Valid = valid
	return true, nil
}

// allDefault says that the frame's rows are known, without decoding them, to hold the column's default.
func (v *View) allDefault(col int) bool {
	c := &v.cols[col]
	if !c.present || c.nullable || v.Table.Columns[col].Nullable || v.Table.Columns[col].Type.Physical() != schema.Int64 {
		return !c.present
	}
	r, ok := enc.PeekInt64(c.body, v.N)
	return ok && r.Constant && r.Min == 0
}

// appendNumbers appends the values of a column to dst's; dst.Valid becomes the frame's alone.
func (v *View) appendNumbers(col int, dst *Vector) error {
	c, def := &v.cols[col], &v.Table.Columns[col]
	dst.Valid = nil
	if c.present {
		if err := v.decode(c, dst, false); err != nil {
			return fmt.Errorf("decode %s.%s: %w: %w", v.Table.Name, def.Name, ErrBadFrame, err)
		}
		return nil
	}
	if def.Type.Physical() == schema.Int64 {
		dst.I64 = appendZero(dst.I64, v.N)
	} else {
		dst.F64 = appendZero(dst.F64, v.N)
	}
	if def.Nullable {
		dst.Valid = NewBitmap(v.N)
	}
	return nil
}

func appendZero[T any](s []T, n int) []T {
	at := len(s)
	s = slices.Grow(s, n)[:at+n]
	clear(s[at:])
	return s
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
	if err := CheckShape(b); err != nil {
		return err
	}
	for i, v := range b.Cols {
		if v == nil || formOf(v) == formNone || b.N == 0 {
			continue
		}
		if err := checkCodes(v.Codes, v.Dict.Len()); err != nil {
			return fmt.Errorf("column %s of %s: %w", b.Table.Columns[i].Name, b.Table.Name, err)
		}
	}
	return nil
}

// CheckShape is Check without the codes, which AppendFrame and Encode look at in any case. It costs no pass over anything.
func CheckShape(b *Batch) error {
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
	case formOf(v) != formNone && n > 0 && v.Dict == nil:
		return errNoDict
	}
	return nil
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

package batch

import (
	"fmt"
	"unsafe"

	"github.com/flowlake/flowlake/db/schema"
)

// Builder makes batches row by row: set some columns, then EndRow. Columns that are not set get their default. It is for
// one goroutine. Setting a column of another physical type is a programming error and panics.
type Builder struct {
	table *schema.Table
	cols  []colBuilder
	n     int
	bytes int // rough size of what was set, for sealing by size
}

type colBuilder struct {
	typ      schema.Type
	nullable bool
	touched  bool
	i64      []int64
	f64      []float64
	codes    []uint32
	valid    Bitmap // nullable columns only
	dict     DictBuilder
	empty    uint32 // code of "" plus one, once it was needed
	// last is what String was given for the row before, and lastCode its code: the same text mostly comes again. last keeps
	// the text in place, so that the same place and length are the same text. "" for none.
	last     string
	lastCode uint32
}

// NewBuilder makes batches of the table.
func NewBuilder(t *schema.Table) *Builder {
	b := &Builder{table: t, cols: make([]colBuilder, len(t.Columns))}
	for i, c := range t.Columns {
		b.cols[i].typ, b.cols[i].nullable = c.Type, c.Nullable
	}
	return b
}

// Table is the table whose batches b makes.
func (b *Builder) Table() *schema.Table { return b.table }

// Len is the number of rows ended since the last Seal.
func (b *Builder) Len() int { return b.n }

// Bytes is roughly the memory the batch takes so far.
func (b *Builder) Bytes() int { return b.bytes }

// Int sets an integer, boolean or timestamp column of the current row.
func (b *Builder) Int(col int, v int64) {
	c := &b.cols[col]
	if len(c.i64) != b.n || c.typ.Physical() != schema.Int64 { // no row was left out: nothing to bring up
		c = b.touch(col, schema.Int64)
	}
	c.touched = true
	c.i64 = append(c.i64, v)
	if c.nullable {
		c.setValid(b.n)
	}
	b.bytes += 8
}

// Bool sets a boolean column of the current row.
func (b *Builder) Bool(col int, v bool) {
	var i int64
	if v {
		i = 1
	}
	b.Int(col, i)
}

// Float sets a DOUBLE column of the current row.
func (b *Builder) Float(col int, v float64) {
	c := b.touch(col, schema.Float64)
	c.f64 = append(c.f64, v)
	c.setValid(b.n)
	b.bytes += 8
}

// Text sets a dictionary-coded column of the current row: VARCHAR text, an INET's 16 bytes, a MAP's encoding. v is copied.
func (b *Builder) Text(col int, v []byte) {
	c := b.touch(col, schema.Code)
	before := c.dict.Bytes()
	c.codes = append(c.codes, c.dict.Code(v))
	b.bytes += 4 + c.dict.Bytes() - before
}

// String is Text for a string.
func (b *Builder) String(col int, v string) {
	c := b.touch(col, schema.Code)
	if len(v) == len(c.last) && unsafe.StringData(v) == unsafe.StringData(c.last) && v != "" {
		c.codes = append(c.codes, c.lastCode)
		b.bytes += 4
		return
	}
	before := c.dict.Bytes()
	code := c.dict.Code(unsafe.Slice(unsafe.StringData(v), len(v)))
	c.codes = append(c.codes, code)
	c.last, c.lastCode = v, code
	b.bytes += 4 + c.dict.Bytes() - before
}

// Tags sets a tag-set column of the current row to a tag-set encoding (tags.AppendSet). v is copied.
func (b *Builder) Tags(col int, v []byte) {
	c := b.touch(col, schema.ID)
	before := c.dict.Bytes()
	c.codes = append(c.codes, c.dict.Code(v))
	b.bytes += 4 + c.dict.Bytes() - before
}

// touch brings a column up to the current row.
func (b *Builder) touch(col int, p schema.Physical) *colBuilder {
	c := &b.cols[col]
	if c.typ.Physical() != p {
		panic(fmt.Sprintf("batch: column %s.%s is of type %s", b.table.Name, b.table.Columns[col].Name, c.typ))
	}
	c.touched = true
	c.pad(b.n)
	return c
}

func (c *colBuilder) setValid(row int) {
	if !c.nullable {
		return
	}
	for row>>6 >= len(c.valid) {
		c.valid = append(c.valid, 0)
	}
	c.valid.Set(row)
}

// pad appends defaults until the column has n rows; a value set twice in a row is dropped to the first.
func (c *colBuilder) pad(n int) {
	switch c.typ.Physical() {
	case schema.Int64:
		c.i64 = padTo(c.i64, n, 0)
	case schema.Float64:
		c.f64 = padTo(c.f64, n, 0)
	default:
		if len(c.codes) < n {
			if c.empty == 0 {
				c.empty = c.dict.Code(nil) + 1
			}
			c.codes = padTo(c.codes, n, c.empty-1)
		} else {
			c.codes = c.codes[:n]
		}
	}
}

func padTo[T any](s []T, n int, v T) []T {
	for len(s) < n {
		s = append(s, v)
	}
	return s[:n]
}

// EndRow ends the current row.
func (b *Builder) EndRow() { b.n++ }

// Seal hands the rows over as a batch and starts an empty one; nil when there are no rows.
func (b *Builder) Seal() *Batch {
	if b.n == 0 {
		return nil
	}
	out := &Batch{Table: b.table, N: b.n, Cols: make([]*Vector, len(b.cols))}
	for i := range b.cols {
		if c := &b.cols[i]; c.touched {
			out.Cols[i] = c.seal(b.n)
		}
	}
	b.n, b.bytes = 0, 0
	return out
}

func (c *colBuilder) seal(n int) *Vector {
	c.pad(n)
	v := &Vector{Type: c.typ}
	switch c.typ.Physical() {
	case schema.Int64:
		v.I64, c.i64 = c.i64, make([]int64, 0, n)
	case schema.Float64:
		v.F64, c.f64 = c.f64, make([]float64, 0, n)
	default:
		v.Codes, c.codes = c.codes, make([]uint32, 0, n)
		v.Dict = c.dict.Seal()
		c.empty, c.last = 0, ""
	}
	if c.nullable {
		for len(c.valid) < (n+63)/64 {
			c.valid = append(c.valid, 0)
		}
		v.Valid, c.valid = c.valid, nil
	}
	c.touched = false
	return v
}

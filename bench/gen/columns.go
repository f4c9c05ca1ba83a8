package gen

import (
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// coder numbers the different keys of a batch in the order in which they come.
type coder struct {
	keys  []uint64
	codes []uint32 // code+1, 0 is free; len is a power of two
	n     uint32
}

// reset forgets all keys and makes room for so many.
func (c *coder) reset(rows int) {
	if size := 1 << bits.Len(uint(2*rows)); len(c.codes) < size {
		c.keys, c.codes = make([]uint64, size), make([]uint32, size)
	}
	clear(c.codes)
	c.n = 0
}

// code is the number of a key, and whether it is new.
func (c *coder) code(key uint64) (code uint32, isNew bool) {
	mask := uint64(len(c.codes) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> 20 & mask; ; i = (i + 1) & mask {
		switch {
		case c.codes[i] == 0:
			c.n++
			c.keys[i], c.codes[i] = key, c.n
			return c.n - 1, true
		case c.keys[i] == key:
			return c.codes[i] - 1, false
		}
	}
}

// columns are the vectors of a batch that is being made.
type columns struct {
	b     *batch.Batch
	arena []int64 // room for number columns
}

func newColumns(t *schema.Table, rows, numbers int) *columns {
	return &columns{b: &batch.Batch{Table: t, N: rows, Cols: make([]*batch.Vector, len(t.Columns))}, arena: make([]int64, rows*numbers)}
}

// ints is the values of a number column, all 0.
func (c *columns) ints(name string) []int64 {
	n := c.b.N
	if len(c.arena) < n {
		c.arena = make([]int64, n)
	}
	var v []int64
	v, c.arena = c.arena[:n:n], c.arena[n:]
	col := c.b.Table.MustColumn(name)
	c.b.Cols[col] = &batch.Vector{Type: c.b.Table.Columns[col].Type, I64: v}
	return v
}

// nullable is the values of a number column, and which of them are not NULL: none.
func (c *columns) nullable(name string) ([]int64, batch.Bitmap) {
	v := c.ints(name)
	valid := batch.NewBitmap(c.b.N)
	c.b.Cols[c.b.Table.MustColumn(name)].Valid = valid
	return v, valid
}

// set makes a column of codes.
func (c *columns) set(name string, codes []uint32, d *batch.Dict) {
	col := c.b.Table.MustColumn(name)
	c.b.Cols[col] = &batch.Vector{Type: c.b.Table.Columns[col].Type, Codes: codes, Dict: d}
}

// text makes a column of the text of each row's key. Equal keys have equal text; each text is made once.
func (c *columns) text(name string, known *coder, key func(row int) uint64, text func(dst []byte, key uint64) []byte) {
	n := c.b.N
	codes, offs := make([]uint32, n), make([]uint32, 1, 64)
	var data []byte
	known.reset(n)
	for i := range codes {
		k := key(i)
		code, isNew := known.code(k)
		if isNew {
			data = text(data, k)
			offs = append(offs, uint32(len(data)))
		}
		codes[i] = code
	}
	c.set(name, codes, batch.NewDict(data, offs))
}

// words makes a column of few words, which keys number.
func (c *columns) words(name string, known *coder, key func(row int) uint64, words []string) {
	c.text(name, known, key, func(dst []byte, k uint64) []byte { return append(dst, words[k]...) })
}

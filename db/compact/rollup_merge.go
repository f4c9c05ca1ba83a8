package compact

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
)

// How many groups, or bytes of them, a collapser holds.
const (
	collapseGroups = 64 << 10
	collapseBytes  = 64 << 20
)

// collapser makes partial rows that are equal in all keys one, on their way to a segment. Rows come in the table's order, of
// which all keys are part, so equal ones are neighbours, and the groups come out in that order, too.
type collapser struct {
	w    *segment.Writer
	g    *Grouper
	room []batch.Vector
	cols []*batch.Vector
}

func newCollapser(t *schema.Table, w *segment.Writer) *collapser {
	return &collapser{w: w, g: NewPartialGrouper(t), room: make([]batch.Vector, len(t.Columns)), cols: make([]*batch.Vector, len(t.Columns))}
}

func (c *collapser) append(b *batch.Batch, order []int32) error {
	n := b.N
	copy(c.cols, b.Cols)
	if order != nil {
		n = len(order)
		for i, v := range b.Cols {
			if v != nil {
				batch.Gather(&c.room[i], v, order)
				c.cols[i] = &c.room[i]
			}
		}
	}
	if err := c.g.Add(c.cols, n); err != nil {
		return err
	}
	if c.g.Groups() < collapseGroups && c.g.Bytes() < collapseBytes {
		return nil
	}
	return c.write(false)
}

// end writes what is left.
func (c *collapser) end() error { return c.write(true) }

// write writes the groups; but for the last one, unless all is over: it may go on.
func (c *collapser) write(all bool) error {
	n := c.g.Groups()
	if n == 0 {
		return nil
	}
	var b batch.Batch
	c.g.Emit(&b)
	if all {
		return c.w.Append(&b, nil)
	}
	if n > 1 {
		if err := c.w.Append(&b, span(0, n-1)); err != nil {
			return err
		}
	}
	last := []int32{int32(n - 1)}
	for i, v := range b.Cols {
		batch.Gather(&c.room[i], v, last)
		c.cols[i] = &c.room[i]
	}
	return c.g.Add(c.cols, 1)
}

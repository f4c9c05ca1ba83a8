package compact

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// Errors of Merge.
var (
	// ErrUnsorted is returned when an input does not say that its rows are in the table's order, as it is now.
	ErrUnsorted = errors.New("segment is not sorted")
	// ErrMemory is returned when one page of every input does not fit into MergeOptions.MemoryBytes.
	ErrMemory = errors.New("merge needs more memory than its budget")
)

// MergeOptions tune a merge.
type MergeOptions struct {
	// Segment are the options of the output. Sorted is set as the inputs have it, and MinIndex and MaxIndex too when both are 0: to those of
	// the inputs. Level is the caller's.
	Segment segment.Options
	// MemoryBytes bounds the decoded rows held at a time, of all inputs together; default 256 MiB. What the output's
	// writer holds (one row group, encoded) comes on top.
	MemoryBytes int64
	// Limit, when not nil, is called with the number of bytes read since the last call and may wait, to bound the rate;
	// an error ends the merge.
	Limit func(ctx context.Context, bytes int64) error
}

// Merge writes the rows of all inputs in the table's order to a new segment at path out; rows with equal keys are in the
// order of the inputs, and where the table has partial rows (schema.Table.Partial) they become one. The inputs are sorted
// segments of one table; where some are Late, the output is in their order. It holds one page of rows of each input at a time,
// twice. The file is synced; the caller moves it to its place. When Merge fails or ctx is cancelled no file is left.
func Merge(ctx context.Context, fs vfs.FS, in []*segment.Reader, out string, o MergeOptions) (segment.Info, error) {
	if len(in) == 0 {
		return segment.Info{}, errors.New("merge of no segments")
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 256 << 20
	}
	m := merge{ctx: ctx, table: in[0].Table(), limit: o.Limit}
	if err := m.open(in, &o); err != nil {
		return segment.Info{}, err
	}
	w, err := segment.NewWriter(fs, out, m.table, o.Segment)
	if err != nil {
		return segment.Info{}, err
	}
	m.out = w.Append
	var c *collapser
	if m.table.Partial {
		c = newCollapser(m.table, w)
		m.out = c.append
	}
	err = m.run()
	if err == nil && c != nil {
		err = c.end()
	}
	if err != nil {
		w.Abort()
		return segment.Info{}, fmt.Errorf("merge into %s: %w", out, err)
	}
	return w.Finish()
}

type merge struct {
	ctx    context.Context
	table  *schema.Table
	order  *schema.Table // table, or with late segments its DayMajor
	limit  func(ctx context.Context, bytes int64) error
	inputs []*input
	window window
	out    func(b *batch.Batch, order []int32) error // takes the rows in their order
	stats  pred.Stats
	told   int64 // bytes that limit was told of
}

// input is one segment with the page of rows it has come to.
type input struct {
	r     *segment.Reader
	req   *pred.Request
	units []segment.Unit // still to be read
	s     segment.Scratch
	rows  batch.Batch
	pos   int // first row of rows that is not written yet
}

func (m *merge) open(in []*segment.Reader, o *MergeOptions) error {
	all := make([]int, len(m.table.Columns))
	for i := range all {
		all[i] = i
	}
	first := o.Segment.MinIndex == 0 && o.Segment.MaxIndex == 0
	m.order = m.table
	for _, r := range in {
		if info := r.Info(); Late(info.MinTime, info.MaxTime) {
			m.order = DayMajor(m.table)
		}
	}
	need := int64(0)
	for _, r := range in {
		info := r.Info()
		if r.Table() != m.table {
			return fmt.Errorf("merge segment %s: it was opened with another definition of table %s", info.Path, r.Table().Name)
		}
		if info.Rows > 0 && (info.Order != m.table.Order || !info.Sorted && !Late(info.MinTime, info.MaxTime)) {
			return fmt.Errorf("merge segment %s: %w", info.Path, ErrUnsorted)
		}
		if first {
			if o.Segment.MinIndex == 0 || info.MinIndex < o.Segment.MinIndex {
				o.Segment.MinIndex = info.MinIndex
			}
			o.Segment.MaxIndex = max(o.Segment.MaxIndex, info.MaxIndex)
		}
		x := &input{r: r, req: &pred.Request{Table: m.table, Columns: all, From: pred.MinTime, To: pred.MaxTime, Stats: &m.stats}}
		x.units = r.Units(x.req)
		var page int64
		for _, u := range x.units {
			page = max(page, r.UnitBytes(u))
		}
		need += 2 * page // once as read, once in the window
		m.inputs = append(m.inputs, x)
	}
	if need > o.MemoryBytes {
		return fmt.Errorf("%w: %d segments need %d bytes, the budget is %d", ErrMemory, len(in), need, o.MemoryBytes)
	}
	o.Segment.Sorted = m.order == m.table
	return nil
}

// run writes window after window: the rows of all inputs up to where the next row can only come from a page that is not
// read yet.
func (m *merge) run() error {
	m.window.init(m.order)
	for {
		if err := m.fill(); err != nil {
			return err
		}
		if len(m.inputs) == 0 {
			return nil
		}
		parts := m.cut()
		if len(parts) == 1 {
			b, order := &parts[0].in.rows, span(parts[0].from, parts[0].to)
			if len(order) == b.N {
				order = nil
			}
			if err := m.out(b, order); err != nil {
				return err
			}
			continue
		}
		b, ends := m.window.join(parts)
		if err := m.out(b, segment.MergeOrder(b, ends)); err != nil {
			return err
		}
	}
}

func span(from, to int) []int32 {
	rows := make([]int32, to-from)
	for i := range rows {
		rows[i] = int32(from + i)
	}
	return rows
}

// fill reads the next page of every input that has none, and drops inputs that are at their end.
func (m *merge) fill() error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	left := m.inputs[:0]
	for _, x := range m.inputs {
		runtime.Gosched() // writers that wait to be acknowledged go first
		for x.pos == x.rows.N && len(x.units) > 0 {
			if err := x.r.Read(m.ctx, x.units[0], x.req, &x.s, &x.rows); err != nil {
				return err
			}
			x.units, x.pos, x.rows.Table = x.units[1:], 0, m.order
		}
		if x.pos < x.rows.N {
			left = append(left, x)
		}
	}
	clear(m.inputs[len(left):])
	m.inputs = left
	if m.limit == nil {
		return nil
	}
	read := m.stats.BytesRead.Load()
	n := read - m.told
	m.told = read
	if n == 0 {
		return nil
	}
	return m.limit(m.ctx, n)
}

// part is some rows of an input's page.
type part struct {
	in       *input
	from, to int
}

// cut takes from every input the rows that can be written now. The page whose last row is the smallest ends the window:
// all it holds goes. Of inputs before it also rows equal to that last one go; of those after it only smaller ones,
// because its input may have more such rows, and they come first.
func (m *merge) cut() (parts []part) {
	least := 0
	for i := 1; i < len(m.inputs); i++ {
		a, b := &m.inputs[i].rows, &m.inputs[least].rows
		if segment.CompareRows(a, int32(a.N-1), b, int32(b.N-1)) < 0 {
			least = i
		}
	}
	end := &m.inputs[least].rows
	for i, x := range m.inputs {
		to := x.rows.N
		if i != least {
			bound := 0 // rows comparing below it go
			if i < least {
				bound = 1
			}
			to = searchRows(x, func(row int32) bool {
				return segment.CompareRows(&x.rows, row, end, int32(end.N-1)) < bound
			})
		}
		if to > x.pos {
			parts = append(parts, part{x, x.pos, to})
			x.pos = to
		}
	}
	return parts
}

// searchRows is the first row from pos on for which before does not hold; it holds for a prefix.
func searchRows(x *input, before func(row int32) bool) int {
	lo, hi := x.pos, x.rows.N
	for lo < hi {
		if mid := (lo + hi) / 2; before(int32(mid)) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

package compact

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// Errors of Merge.
var (
	// ErrUnsorted is returned when an input does not say that its rows are in the table's order, or in one that it had.
	ErrUnsorted = errors.New("segment is not sorted")
	// ErrMemory is returned when one page of every input does not fit into MergeOptions.MemoryBytes.
	ErrMemory = errors.New("merge needs more memory than its budget")
)

// MergeOptions tune a merge.
type MergeOptions struct {
	// Segment are the options of the output. Sorted is set as the inputs have it, and MinIndex and MaxIndex too when both are 0: to those of
	// the inputs. Level is the caller's.
	Segment segment.Options
	// MemoryBytes bounds what is held of the rows at a time, of all inputs together; default 256 MiB. What the output's
	// writer holds (one row group, encoded) comes on top.
	MemoryBytes int64
	// Limit, when not nil, is called with the number of bytes read since the last call and may wait, to bound the rate;
	// an error ends the merge.
	Limit func(ctx context.Context, bytes int64) error
}

// maxWindow is the number of rows that are ordered and written at a time, if memory allows: with more a page is seldom read
// for two windows, and text is looked up once for more rows.
const maxWindow = 1 << 20

// Merge writes the rows of all inputs in the table's order to a new segment at path out; rows with equal keys are in the
// order of the inputs, and where the table has partial rows (schema.Table.Partial) they become one. The inputs are sorted
// segments of one table; where some are Late, the output is in their order. Those in an order that the table no longer has
// are sorted first, into files beside out. The order of up to a million rows is made from
// their sort columns; then one column after the other is read and written. The file is synced; the caller moves it to its
// place. When Merge fails or ctx is cancelled no file is left.
func Merge(ctx context.Context, fs vfs.FS, in []*segment.Reader, out string, o MergeOptions) (segment.Info, error) {
	if len(in) == 0 {
		return segment.Info{}, errors.New("merge of no segments")
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 256 << 20
	}
	m := merge{ctx: ctx, table: in[0].Table(), limit: o.Limit, memory: o.MemoryBytes, urgent: o.Segment.Urgent}
	m.sortAs(in)
	in, end, err := m.resorted(fs, in, out, o.Segment.PageRows)
	defer end()
	if err != nil {
		return segment.Info{}, fmt.Errorf("merge into %s: %w", out, err)
	}
	for i, r := range in { // what is asked of their pages must not fail half way
		if err := r.Hold(); err != nil {
			letGo(in[:i])
			return segment.Info{}, fmt.Errorf("merge into %s: %w", out, err)
		}
	}
	defer letGo(in)
	if err := m.open(in, &o); err != nil {
		return segment.Info{}, err
	}
	w, err := segment.NewWriter(fs, out, m.table, o.Segment)
	if err != nil {
		return segment.Info{}, err
	}
	m.out = w
	if m.table.Partial {
		m.collapse = newCollapser(m.table, w)
	}
	err = m.run()
	if err == nil && m.collapse != nil {
		err = m.collapse.end()
	}
	if err != nil {
		w.Abort()
		return segment.Info{}, fmt.Errorf("merge into %s: %w", out, err)
	}
	return w.Finish()
}

func letGo(in []*segment.Reader) {
	for _, r := range in {
		r.Let()
	}
}

type merge struct {
	ctx      context.Context
	table    *schema.Table
	order    *schema.Table // table, or with late segments its DayMajor
	limit    func(ctx context.Context, bytes int64) error
	urgent   func() bool // may be nil
	memory   int64
	rowBytes int64 // of a row in the window, without its text
	inputs   []*input
	keys     keys
	scratch  segment.Scratch
	window   window
	out      *segment.Writer
	collapse *collapser // of partial rows
	rows     int        // loaded and not written, of all inputs
	bytes    int64      // what they take
	stats    pred.Stats
	told     int64 // bytes that limit was told of
}

// sortAs settles the order of the output.
func (m *merge) sortAs(in []*segment.Reader) {
	m.order = m.table
	for _, r := range in {
		if info := r.Info(); Late(info.MinTime, info.MaxTime) {
			m.order = DayMajor(m.table)
		}
	}
}

func (m *merge) open(in []*segment.Reader, o *MergeOptions) error {
	first := o.Segment.MinIndex == 0 && o.Segment.MaxIndex == 0
	m.keys.init(m.order, &m.stats)
	m.rowBytes = rowBytes(m.order, m.keys.req.Columns)
	need := int64(0)
	for _, r := range in {
		info := r.Info()
		if r.Table() != m.table {
			return fmt.Errorf("merge segment %s: it was opened with another definition of table %s", info.Path, r.Table().Name)
		}
		if info.Rows > 0 && !info.Sorted && !Late(info.MinTime, info.MaxTime) {
			return fmt.Errorf("merge segment %s: %w", info.Path, ErrUnsorted)
		}
		if first {
			if o.Segment.MinIndex == 0 || info.MinIndex < o.Segment.MinIndex {
				o.Segment.MinIndex = info.MinIndex
			}
			o.Segment.MaxIndex = max(o.Segment.MaxIndex, info.MaxIndex)
		}
		x := &input{r: r, units: r.Units(&m.keys.req), group: -1}
		x.units = slices.DeleteFunc(x.units, func(u segment.Unit) bool { return u.Rows == 0 })
		var page int64
		for _, u := range x.units {
			page = max(page, m.cost(x, u, -1))
		}
		need += page
		m.inputs = append(m.inputs, x)
	}
	if need > o.MemoryBytes {
		return fmt.Errorf("%w: %d segments need %d bytes, the budget is %d", ErrMemory, len(in), need, o.MemoryBytes)
	}
	o.Segment.Sorted = m.order == m.table
	return nil
}

// rowBytes is about what a row of a window takes: its sort columns twice, their packed keys, what merging them takes, codes
// of all text, and one other column. Partial rows have all columns twice.
func rowBytes(t *schema.Table, keys []int) int64 {
	n := int64(8*len(t.Sort) + 64)
	for _, c := range keys {
		n += 2 * width(t, c)
	}
	for c := range t.Columns {
		if t.Partial {
			n += 2 * width(t, c)
		} else if t.Columns[c].Type.Physical() == schema.Code {
			n += width(t, c)
		}
	}
	return n
}

func width(t *schema.Table, column int) int64 {
	switch t.Columns[column].Type.Physical() {
	case schema.Code, schema.ID:
		return 4
	}
	return 8
}

// run writes window after window: the rows of all inputs up to where the next row can only come from a page that is not
// loaded yet, and of them no more than the row group in hand takes.
func (m *merge) run() error {
	m.window.init(m)
	for {
		if err := m.fill(); err != nil {
			return err
		}
		if len(m.inputs) == 0 {
			return nil
		}
		parts := m.cut()
		b, order, err := m.ordered(parts)
		if err != nil {
			return err
		}
		if m.collapse != nil {
			err = m.window.collapse(parts, order)
		} else {
			if room := m.out.Room(); b.N > room {
				if order, err = m.shorten(parts, order, room); err != nil {
					return err
				}
			}
			err = m.window.write(parts, order)
		}
		if err != nil {
			return err
		}
		for _, p := range parts {
			m.written(p.in, p.rows)
		}
	}
}

// ordered is the sort columns of the parts, one part after another, and the order of their rows; nil when they are in it.
func (m *merge) ordered(parts []part) (*batch.Batch, []int32, error) {
	b, ends, err := m.window.join(parts)
	if err != nil || len(parts) == 1 {
		return b, nil, err
	}
	return b, segment.MergeOrder(b, ends), nil
}

// shorten leaves of the window the first rows in its order, which of each part are the first, too.
func (m *merge) shorten(parts []part, order []int32, rows int) ([]int32, error) {
	if order == nil {
		parts[0].rows = rows
		_, _, err := m.window.join(parts)
		return nil, err
	}
	owner := make([]uint32, 0, len(order))
	for i, p := range parts {
		for range p.rows {
			owner = append(owner, uint32(i))
		}
	}
	order = order[:rows]
	counts, shift := make([]int, len(parts)), make([]int32, len(parts))
	for _, r := range order {
		counts[owner[r]]++
	}
	for i, n := range counts[:len(parts)-1] {
		shift[i+1] = shift[i] + int32(parts[i].rows-n)
	}
	for i, n := range counts {
		parts[i].rows = n
	}
	for i, r := range order {
		order[i] = r - shift[owner[r]]
	}
	_, _, err := m.window.join(parts)
	return order, err
}

// fill loads a page of every input that has none, then, as far as memory allows, pages of the input that bounds what can be
// written. It drops inputs that are at their end.
func (m *merge) fill() error {
	left := m.inputs[:0]
	for _, x := range m.inputs {
		x.group = -1 // the window has its dictionaries anew
		for x.rows == 0 && x.more() {
			if err := m.load(x); err != nil {
				return err
			}
		}
		if x.rows > 0 {
			left = append(left, x)
		}
	}
	clear(m.inputs[len(left):])
	m.inputs = left
	for {
		if err := m.pause(); err != nil {
			return err
		}
		i := m.bounding()
		if i < 0 {
			return nil
		}
		x := m.inputs[i]
		u := x.units[x.next]
		if m.rows+int(u.Rows) > maxWindow || m.bytes+m.cost(x, u, x.group) > m.memory {
			return nil
		}
		if err := m.load(x); err != nil {
			return err
		}
	}
}

// pause lets writers that wait to be acknowledged go first, and tells the limit what was read.
func (m *merge) pause() error {
	if m.urgent == nil || !m.urgent() {
		runtime.Gosched()
	}
	if err := m.ctx.Err(); err != nil {
		return err
	}
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

// span is the numbers from to to.
func span(from, to int) []int32 {
	rows := make([]int32, to-from)
	for i := range rows {
		rows[i] = int32(from + i)
	}
	return rows
}

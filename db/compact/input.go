package compact

import (
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
)

// input is one segment on its way through a merge: pages of which the sort columns are in memory, from the first row that
// is not written yet.
type input struct {
	r     *segment.Reader
	units []segment.Unit
	next  int        // units before it are loaded
	pages []*keyPage // units next-len(pages) to next
	pos   int        // first row of pages[0] that is not written
	rows  int        // loaded and not written
	group int32      // row group whose dictionaries were counted last
}

// keyPage is the sort columns of a page of rows.
type keyPage struct {
	rows  batch.Batch // Cols by ordinal of the table, nil but for sort columns
	read  batch.Batch // the same vectors in the order of the request
	text  []textCopy  // by position in the request
	bytes int64
}

// textCopy is memory for values of a page that are stored one by one: the reader uses its own again.
type textCopy struct {
	data []byte
	offs []uint32
}

func (p *keyPage) n() int32 { return int32(p.rows.N) }

// keys reads the sort columns of pages.
type keys struct {
	table *schema.Table // in whose order the rows are
	req   pred.Request
	free  []*keyPage
}

func (k *keys) init(order *schema.Table, stats *pred.Stats) {
	k.table = order
	k.req = pred.Request{Table: order, From: pred.MinTime, To: pred.MaxTime, Stats: stats}
	for _, s := range order.Sort {
		if !slices.Contains(k.req.Columns, s.Column) {
			k.req.Columns = append(k.req.Columns, s.Column)
		}
	}
}

// load reads the next page of x, which has one.
func (m *merge) load(x *input) error {
	k := &m.keys
	var p *keyPage
	if n := len(k.free); n > 0 {
		p, k.free = k.free[n-1], k.free[:n-1]
	} else {
		p = &keyPage{text: make([]textCopy, len(k.req.Columns))}
		p.rows = batch.Batch{Table: k.table, Cols: make([]*batch.Vector, len(k.table.Columns))}
	}
	u := x.units[x.next]
	if err := x.r.Read(m.ctx, u, &k.req, &m.scratch, &p.read); err != nil {
		return err
	}
	for i, c := range k.req.Columns {
		v := p.read.Cols[i]
		v.Valid = nil // NULL sorts as 0
		if v.Type.Physical() == schema.Code && x.r.Direct(u, c) {
			data, offs := v.Dict.Arena()
			t := &p.text[i]
			t.data, t.offs = append(t.data[:0], data...), append(t.offs[:0], offs...)
			v.Dict = batch.NewDict(t.data, t.offs)
		}
		p.rows.Cols[c] = v
	}
	p.rows.N = p.read.N
	p.bytes = m.cost(x, u, x.group)
	x.group = u.RowGroup
	x.next++
	x.pages = append(x.pages, p)
	x.rows += p.rows.N
	m.rows += p.rows.N
	m.bytes += p.bytes
	return nil
}

// cost is about the memory that a unit takes in a window; counted is the row group whose dictionaries are in it already.
func (m *merge) cost(x *input, u segment.Unit, counted int32) int64 {
	direct, dicts := x.r.TextBytes(u)
	n := m.rowBytes*int64(u.Rows) + 2*direct
	if u.RowGroup != counted {
		n += 2 * dicts
	}
	return n
}

func (x *input) more() bool { return x.next < len(x.units) }

// last is the page with the last loaded row.
func (x *input) last() *keyPage { return x.pages[len(x.pages)-1] }

// bounding is the input that bounds what can be written: of those that have more pages the one whose last loaded row is the
// smallest; -1 when none has more.
func (m *merge) bounding() int {
	least := -1
	for i, x := range m.inputs {
		if !x.more() {
			continue
		}
		if least >= 0 {
			a, b := x.last(), m.inputs[least].last()
			if segment.CompareRows(&a.rows, a.n()-1, &b.rows, b.n()-1) >= 0 {
				continue
			}
		}
		least = i
	}
	return least
}

// part is the next rows of an input, of one page or several.
type part struct {
	in   *input
	rows int
}

// cut says how many rows of each input can be written now. All that is loaded of the bounding input goes. Of inputs before
// it also rows equal to its last one go; of those after it only smaller ones, because it may have more such rows, and they
// come first.
func (m *merge) cut() (parts []part) {
	least := m.bounding()
	for i, x := range m.inputs {
		n := x.rows
		if least >= 0 && i != least {
			end := m.inputs[least].last()
			bound := 0 // rows comparing below it go
			if i < least {
				bound = 1
			}
			n = x.before(func(p *keyPage, row int32) bool {
				return segment.CompareRows(&p.rows, row, &end.rows, end.n()-1) < bound
			})
		}
		if n > 0 {
			parts = append(parts, part{x, n})
		}
	}
	return parts
}

// before is the number of loaded rows for which in holds; it holds for a prefix.
func (x *input) before(in func(p *keyPage, row int32) bool) int {
	n, from := 0, int32(x.pos)
	for _, p := range x.pages {
		if in(p, p.n()-1) {
			n += int(p.n() - from)
			from = 0
			continue
		}
		lo, hi := from, p.n()
		for lo < hi {
			if mid := (lo + hi) / 2; in(p, mid) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return n + int(lo-from)
	}
	return n
}

// units are the units that the part's rows lie in.
func (p *part) units() []segment.Unit {
	x := p.in
	loaded := x.units[x.next-len(x.pages) : x.next]
	left := x.pos + p.rows
	for i, page := range x.pages {
		if p.rows == 0 || left <= 0 {
			return loaded[:i]
		}
		left -= page.rows.N
	}
	return loaded
}

// each calls f for the pages that the first n rows lie in: with the page, its unit, and the rows of it.
func (x *input) each(n int, f func(p *keyPage, u segment.Unit, from, to int) error) error {
	from := x.pos
	for i, p := range x.pages {
		if n == 0 {
			return nil
		}
		to := min(p.rows.N, from+n)
		if err := f(p, x.units[x.next-len(x.pages)+i], from, to); err != nil {
			return err
		}
		n -= to - from
		from = 0
	}
	return nil
}

// written forgets the first n rows.
func (m *merge) written(x *input, n int) {
	m.rows -= n
	x.rows -= n
	for n > 0 {
		p := x.pages[0]
		rest := p.rows.N - x.pos
		if n < rest {
			x.pos += n
			return
		}
		n -= rest
		m.bytes -= p.bytes
		m.keys.free = append(m.keys.free, p)
		x.pages = slices.Delete(x.pages, 0, 1)
		x.pos = 0
	}
}

package head

import (
	"context"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
)

// unitRows is how many rows of small entries are read as one unit.
const unitRows = 16 << 10

// Unit is a run of entries of one table that is scanned at once.
type Unit []*Entry

// Units cuts the entries that may have rows of the request into units.
func Units(entries []*Entry, req *pred.Request) []Unit {
	var us []Unit
	rows := 0
	start := 0
	for i, e := range entries {
		if req.Stats != nil {
			req.Stats.HeadBatches.Add(1)
		}
		if e.View.MaxTime < req.From || e.View.MinTime >= req.To && req.To != pred.MaxTime {
			us = cut(us, entries[start:i])
			start, rows = i+1, 0
			continue
		}
		rows += e.View.N
		if rows >= unitRows {
			us = cut(us, entries[start:i+1])
			start, rows = i+1, 0
		}
	}
	return cut(us, entries[start:])
}

func cut(us []Unit, run []*Entry) []Unit {
	if len(run) == 0 {
		return us
	}
	return append(us, Unit(run))
}

// Scratch is memory that a reader keeps between reads. The zero value is ready. For one goroutine.
type Scratch struct {
	term batch.Vector
	rows []int32
	cols []batch.Vector
	cat  batch.Concat
}

// Read fills dst with the rows of the unit that satisfy the request, as pred.Scan says.
func (u Unit) Read(ctx context.Context, req *pred.Request, s *Scratch, dst *batch.Batch) error {
	s.cat.Reset(req.Table, req.Columns, dst)
	if len(s.cols) < len(req.Columns) {
		s.cols = make([]batch.Vector, len(req.Columns))
	}
	for _, e := range u {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, rows, err := e.selectRows(req, s)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if len(u) == 1 {
			return e.readInto(req, n, rows, s, dst)
		}
		for i, col := range req.Columns {
			if err := e.Column(col, &s.cols[i]); err != nil {
				return err
			}
		}
		s.cat.Append(s.cols[:len(req.Columns)], n, rows)
	}
	s.cat.Finish()
	return nil
}

// readInto is Read for a unit of one entry: columns are decoded where they are wanted, dictionaries stay as they are.
func (e *Entry) readInto(req *pred.Request, n int, rows []int32, s *Scratch, dst *batch.Batch) error {
	dst.N = n
	for i, col := range req.Columns {
		if rows == nil {
			if err := e.Column(col, dst.Cols[i]); err != nil {
				return err
			}
			continue
		}
		if err := e.Column(col, &s.cols[i]); err != nil {
			return err
		}
		batch.Gather(dst.Cols[i], &s.cols[i], rows)
	}
	return nil
}

// selectRows evaluates the time range and the terms: n rows match, which ones is in rows; nil stands for all.
func (e *Entry) selectRows(req *pred.Request, s *Scratch) (n int, rows []int32, err error) {
	n = e.View.N
	if st := req.Stats; st != nil {
		st.RowsScanned.Add(int64(n))
		st.BytesRead.Add(int64(len(e.View.Bytes())))
		defer func() { st.RowsMatched.Add(int64(n)) }()
	}
	if e.View.MinTime < req.From || e.View.MaxTime >= req.To && req.To != pred.MaxTime {
		t := pred.Term{Column: req.Table.TimeColumn, Kind: pred.IntRange, Lo: req.From, Hi: req.To - 1}
		if req.To == pred.MaxTime {
			t.Hi = pred.MaxTime
		}
		if n, rows, err = e.apply(&t, n, rows, s); err != nil || n == 0 {
			return n, rows, err
		}
	}
	for i := range req.Terms {
		if n, rows, err = e.apply(&req.Terms[i], n, rows, s); err != nil || n == 0 {
			return n, rows, err
		}
	}
	return n, rows, nil
}

func (e *Entry) apply(t *pred.Term, n int, rows []int32, s *Scratch) (int, []int32, error) {
	if err := e.Column(t.Column, &s.term); err != nil {
		return 0, nil, err
	}
	if rows == nil {
		if cap(s.rows) < e.View.N {
			s.rows = make([]int32, 0, e.View.N)
		}
		rows = t.Select(s.rows[:0], &s.term, e.View.N, nil, nil)
	} else {
		rows = t.Select(rows[:0], &s.term, e.View.N, rows, nil)
	}
	return len(rows), rows, nil
}

// Decode appends all rows of an entry to a concatenation of whole table rows: what a flush does.
func (e *Entry) Decode(s *Scratch, c *batch.Concat) error {
	t := e.View.Table
	if len(s.cols) < len(t.Columns) {
		s.cols = make([]batch.Vector, len(t.Columns))
	}
	for i := range t.Columns {
		if err := e.Column(i, &s.cols[i]); err != nil {
			return err
		}
	}
	c.Append(s.cols[:len(t.Columns)], e.View.N, nil)
	return nil
}

package exec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
)

// Scan reads a table: the request goes down to storage, whose units the workers pull.
type Scan struct {
	NodeStats
	Open    func(ctx context.Context, req *pred.Request) (pred.Scan, error)
	Request *pred.Request
	Output  []Col // parallel to Request.Columns
	// Pushed are the conditions in the request as EXPLAIN shows them.
	Pushed []string
	// Choose lets the planner answer from a rollup of the table instead.
	Choose bool
	// Rollup says, for EXPLAIN, of what the table is the rollup that was chosen; "" where none was.
	Rollup string
	// Rejected says for EXPLAIN (VERBOSE) and EXPLAIN ANALYZE why coarser rollups were not chosen.
	Rejected []string

	scan     pred.Scan
	nextUnit atomic.Int64
}

// Cols is the output.
func (s *Scan) Cols() []Col { return s.Output }

// Inputs is empty.
func (s *Scan) Inputs() []Node { return nil }

// Describe is the line in EXPLAIN.
func (s *Scan) Describe() (string, []string) {
	req := s.Request
	detail := slices.Clone(s.Rejected)
	if s.Rollup != "" {
		detail = append(detail, s.Rollup)
	}
	if req.From != pred.MinTime || req.To != pred.MaxTime {
		of := ""
		if req.SourceTime {
			of = " of the rows rolled up"
		}
		detail = append(detail, fmt.Sprintf("%s%s in [%s, %s)", req.Table.Columns[req.Table.TimeColumn].Name, of, timeBound(req.From), timeBound(req.To)))
	}
	for _, p := range s.Pushed {
		detail = append(detail, "pushed down: "+p)
	}
	names := make([]string, len(req.Columns))
	for i, c := range req.Columns {
		names[i] = req.Table.Columns[c].Name
	}
	if len(names) == 0 {
		names = []string{"none, rows are only counted"}
	}
	detail = append(detail, "columns: "+strings.Join(names, ", "))
	if st := req.Stats; st != nil && s.scan != nil {
		detail = append(detail, fmt.Sprintf("segments: %d, %d pruned; pages: %d, %d pruned; head batches: %d",
			st.Segments.Load(), st.SegmentsPruned.Load(), st.Pages.Load(), st.PagesPruned.Load(), st.HeadBatches.Load()),
			fmt.Sprintf("rows scanned: %d, matched: %d; bytes read: %s",
				st.RowsScanned.Load(), st.RowsMatched.Load(), FormatBytes(st.BytesRead.Load())))
	}
	return "Scan " + req.Table.Name, detail
}

func timeBound(n int64) string {
	switch n {
	case pred.MinTime:
		return "-infinity"
	case pred.MaxTime:
		return "infinity"
	}
	return time.Unix(0, n).UTC().Format(time.RFC3339Nano)
}

func (s *Scan) start(r *Run) error {
	sc, err := s.Open(r.ctx, s.Request)
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.Request.Table.Name, err)
	}
	s.scan = sc
	r.onClose(sc.Close)
	return nil
}

func (s *Scan) width(r *Run) int { return max(1, min(r.Workers, s.scan.Units())) }

func (s *Scan) iter(r *Run, w int) iterator {
	return &scanIter{s: s, r: r, units: int64(s.scan.Units())}
}

type scanIter struct {
	s     *Scan
	r     *Run
	units int64
	unit  int64
	dst   batch.Batch
	pos   int // rows of dst given out
	out   batch.Batch
	vecs  []batch.Vector
}

func (it *scanIter) next() (*batch.Batch, int64, error) {
	if it.pos >= it.dst.N {
		if err := it.r.err(); err != nil {
			return nil, 0, err
		}
		it.unit = it.s.nextUnit.Add(1) - 1
		if it.unit >= it.units {
			return nil, 0, nil
		}
		it.pos = 0
		if err := it.s.scan.Read(it.r.ctx, int(it.unit), &it.dst); err != nil {
			if c := it.r.err(); c != nil {
				return nil, 0, c
			}
			return nil, 0, fmt.Errorf("scan %s: %w", it.s.Request.Table.Name, err)
		}
		if it.dst.N <= ChunkRows {
			it.pos = it.dst.N
			return &it.dst, it.unit << 32, nil
		}
	}
	from, to := it.pos, min(it.pos+ChunkRows, it.dst.N)
	it.pos = to
	if it.vecs == nil {
		it.vecs = make([]batch.Vector, len(it.dst.Cols))
		it.out.Cols = make([]*batch.Vector, len(it.dst.Cols))
	}
	for i, c := range it.dst.Cols {
		slice(&it.vecs[i], c, from, to)
		it.out.Cols[i] = &it.vecs[i]
	}
	it.out.N = to - from
	return &it.out, it.unit<<32 | int64(from), nil
}

// Values is a list of batches made beforehand: VALUES, SELECT without FROM, virtual tables.
type Values struct {
	NodeStats
	Name   string
	Output []Col
	Load   func(ctx context.Context) ([]*batch.Batch, error)

	src batchSource
}

// Cols is the output.
func (v *Values) Cols() []Col { return v.Output }

// Inputs is empty.
func (v *Values) Inputs() []Node { return nil }

// Describe is the line in EXPLAIN.
func (v *Values) Describe() (string, []string) { return v.Name, nil }

func (v *Values) start(r *Run) error {
	list, err := v.Load(r.ctx)
	if err != nil {
		return err
	}
	for _, b := range list {
		cols := make([]*batch.Vector, len(v.Output))
		for i, c := range v.Output {
			if cols[i] = b.Cols[i]; cols[i] == nil { // a column that was never set
				cols[i] = &batch.Vector{}
				cols[i].Default(&schema.Column{Type: c.Type}, b.N)
			}
		}
		if len(cols) == 0 {
			v.src.list = append(v.src.list, &batch.Batch{N: b.N})
			continue
		}
		v.src.list = append(v.src.list, chunks(cols, b.N)...)
	}
	return nil
}

func (v *Values) width(*Run) int { return 1 }

func (v *Values) iter(r *Run, w int) iterator { return &v.src }

package compact

import (
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// resorted is the inputs, of which those in an order that the table no longer has are replaced by sorted files named after
// out. end closes and removes these.
func (m *merge) resorted(fs vfs.FS, in []*segment.Reader, out string, pageRows int) (sorted []*segment.Reader, end func(), err error) {
	s := sorter{m: m, fs: fs, out: out, pageRows: pageRows}
	for _, r := range in {
		if r.Table() != m.table || r.Info().Rows == 0 || r.Info().Order == m.table.Order {
			sorted = append(sorted, r)
			continue
		}
		files, err := s.sort(r)
		sorted = append(sorted, files...)
		if err != nil {
			return nil, s.end, fmt.Errorf("sort %s anew: %w", r.Info().Path, err)
		}
	}
	return sorted, s.end, nil
}

// sorter makes sorted files of segments.
type sorter struct {
	m        *merge
	fs       vfs.FS
	out      string
	pageRows int
	files    []*segment.Reader
	scratch  segment.Scratch
	page     batch.Batch
	lot      batch.Batch
	concat   batch.Concat
	cols     []batch.Vector
}

func (s *sorter) end() {
	for _, r := range s.files {
		_ = r.Close() // it was only read
		_ = s.fs.Remove(r.Info().Path)
	}
}

// sort writes the rows of a segment to files of as many rows as fit into half of the memory.
func (s *sorter) sort(r *segment.Reader) (files []*segment.Reader, err error) {
	t := s.m.table
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	req := &pred.Request{Table: t, Columns: all, From: pred.MinTime, To: pred.MaxTime, Stats: &s.m.stats}
	s.cols = make([]batch.Vector, len(all))
	s.concat.Reset(t, all, &s.lot)
	bytes := int64(0)
	write := func() error {
		s.concat.Finish()
		f, err := s.write(r.Info())
		if err != nil {
			return err
		}
		files = append(files, f)
		s.concat.Reset(t, all, &s.lot)
		bytes = 0
		return nil
	}
	for _, u := range r.Units(req) {
		if n := r.UnitBytes(u); bytes > 0 && bytes+n > s.m.memory/2 {
			if err := write(); err != nil {
				return files, err
			}
		}
		if err := errors.Join(s.m.pause(), r.Read(s.m.ctx, u, req, &s.scratch, &s.page)); err != nil {
			return files, err
		}
		for i, v := range s.page.Cols {
			s.cols[i] = *v
		}
		s.concat.Append(s.cols, s.page.N, nil)
		bytes += r.UnitBytes(u)
	}
	return files, write()
}

// write writes the lot in order.
func (s *sorter) write(from segment.Info) (*segment.Reader, error) {
	path := fmt.Sprintf("%s.%d", s.out, len(s.files))
	w, err := segment.NewWriter(s.fs, path, s.m.table, segment.Options{PageRows: s.pageRows, Sorted: true, Level: from.Level,
		MinIndex: from.MinIndex, MaxIndex: from.MaxIndex, Urgent: s.m.urgent})
	if err != nil {
		return nil, err
	}
	s.lot.Table = s.m.order
	if err := w.Append(&s.lot, segment.Order(&s.lot)); err != nil {
		w.Abort()
		return nil, err
	}
	if _, err := w.Finish(); err != nil {
		return nil, err
	}
	r, err := segment.Open(s.fs, path, s.m.table)
	if err != nil {
		return nil, errors.Join(err, s.fs.Remove(path))
	}
	s.files = append(s.files, r)
	return r, nil
}

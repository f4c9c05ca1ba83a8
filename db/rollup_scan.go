package db

import (
	"context"
	"fmt"
	"math"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// rolling makes rows of a rollup from rows of its source while a scan reads them.
type rolling struct {
	u    *schema.Rollup
	want []bool
	req  *pred.Request // of the rollup's table

	view     *tags.View
	tagTerms []pred.Term
}

// rolledScratch is what one reader needs for it.
type rolledScratch struct {
	of      *rolling
	grouper *compact.Grouper
	source  batch.Batch
	rows    []int32
}

// scanRollup answers a request for a rollup's table: from its segments, and from the rows of the source that are not
// flushed yet, which are rolled up as they are read. Both are of one snapshot, so each row counts once.
func (d *DB) scanRollup(ctx context.Context, u *schema.Rollup, req *pred.Request) (pred.Scan, error) {
	if u.Target != req.Table {
		return nil, fmt.Errorf("scan %s: %w: it was dropped and made anew", req.Table.Name, schema.ErrUnknownTable)
	}
	for i := range req.Terms {
		if c := req.Terms[i].Column; c < 0 || c >= len(req.Table.Columns) {
			return nil, fmt.Errorf("scan %s: there is no column %d", req.Table.Name, c)
		}
	}
	r := &rolling{u: u, req: req, want: make([]bool, len(u.Target.Columns))}
	for _, c := range req.Columns {
		r.want[c] = true
	}
	for i := range req.Terms {
		r.want[req.Terms[i].Column] = true
	}
	return d.scanParts(ctx, req, r.parts()...)
}

// prepare is called once for each of the parts, with a view that has all tag sets of the snapshot.
func (r *rolling) prepare(view *tags.View, source *pred.Request) {
	if r.view == nil {
		r.view, r.tagTerms = view, r.onTags(view)
	}
	source.Terms = append(source.Terms, r.tagTerms...)
}

// parts says where the rows of the request come from.
func (r *rolling) parts() []scanPart {
	req := r.req
	if !req.SourceTime {
		// a bucket is in the range when its beginning is
		return []scanPart{
			{req: req, segments: true},
			{req: r.source(r.ceil(req.From), r.ceilTo(req.To)), head: true, roll: r},
		}
	}
	parts := []scanPart{{req: r.source(req.From, req.To), head: true, roll: r}}
	from, to := r.ceil(req.From), req.To
	if to != pred.MaxTime {
		to = r.u.Bucket(to)
	}
	if from >= to { // no bucket is wholly in the range
		return append(parts, scanPart{req: r.source(req.From, req.To), segments: true, roll: r})
	}
	whole := *req
	whole.From, whole.To = from, to
	parts = append(parts, scanPart{req: &whole, segments: true})
	if req.From < from {
		parts = append(parts, scanPart{req: r.source(req.From, from), segments: true, roll: r})
	}
	if to < req.To {
		parts = append(parts, scanPart{req: r.source(to, req.To), segments: true, roll: r})
	}
	return parts
}

// ceil is the beginning of the first bucket that begins at a time or after it.
func (r *rolling) ceil(nanos int64) int64 {
	b := r.u.Bucket(nanos)
	switch {
	case nanos == pred.MinTime || b == nanos:
		return nanos
	case b > math.MaxInt64-int64(r.u.Def.Every):
		return math.MaxInt64
	}
	return b + int64(r.u.Def.Every)
}

func (r *rolling) ceilTo(nanos int64) int64 {
	if nanos == pred.MaxTime {
		return nanos
	}
	return r.ceil(nanos)
}

// source is the request for the source's rows of a range of time. The columns are those that the grouper takes.
func (r *rolling) source(from, to int64) *pred.Request {
	return &pred.Request{
		Table: r.u.Source, Columns: compact.RollupInputs(r.u, r.want), From: from, To: to,
		Terms: r.sourceTerms(), Stats: r.req.Stats,
	}
}

// sourceTerms are the terms on keys that are columns of the source, as far as its rows can be asked. All terms are applied
// to the rolled up rows again.
func (r *rolling) sourceTerms() (out []pred.Term) {
	for i := range r.req.Terms {
		t := r.req.Terms[i]
		for _, k := range r.u.Keys {
			if k.Target == t.Column && k.TagKey == "" {
				t.Column = k.Source
				out = append(out, t)
				break // t.Column is the source's now
			}
		}
	}
	return out
}

// onTags are the terms on tag keys, as terms on the tag sets that the view knows.
func (r *rolling) onTags(view *tags.View) (out []pred.Term) {
	for i := range r.req.Terms {
		t := &r.req.Terms[i]
		for _, k := range r.u.Keys {
			if k.Target != t.Column || k.TagKey == "" || t.Kind != pred.Text {
				continue
			}
			var ids *roaring.Bitmap
			if t.Equal != nil {
				values := make([]string, len(t.Equal))
				for i, v := range t.Equal {
					values[i] = string(v)
				}
				ids = view.In(k.TagKey, values...)
			} else {
				ids = view.Match(k.TagKey, func(v string) bool { return t.Match([]byte(v)) })
				if t.Match(nil) {
					ids.Or(view.Missing(k.TagKey))
				}
			}
			out = append(out, pred.Term{Column: k.Source, Kind: pred.Tags, Not: t.Not, IDs: ids})
		}
	}
	return out
}

// rollUp reads a unit of the source and makes partial rows of it.
func (s *scan) rollUp(ctx context.Context, u *scanUnit, sc *scanScratch, dst *batch.Batch) error {
	r, k := u.roll, &sc.rolled
	if k.grouper == nil || k.of != r {
		k.of, k.grouper = r, compact.NewRollupGrouper(r.u, r.view, r.want)
	}
	if err := s.read(ctx, u, sc, &k.source); err != nil {
		return err
	}
	if err := k.grouper.Add(k.source.Cols, k.source.N); err != nil {
		return fmt.Errorf("scan %s: %w", r.u.Target.Name, err)
	}
	var b batch.Batch
	k.grouper.Emit(&b)
	rows := k.rows[:0]
	var in []int32
	for i := range r.req.Terms {
		t := &r.req.Terms[i]
		rows = t.Select(rows[:0], b.Cols[t.Column], b.N, in, nil)
		in = rows
		if len(in) == 0 {
			break
		}
	}
	k.rows = rows
	dst.Table, dst.N = r.u.Target, b.N
	for len(dst.Cols) < len(r.req.Columns) {
		dst.Cols = append(dst.Cols, nil)
	}
	dst.Cols = dst.Cols[:len(r.req.Columns)]
	filtered := len(r.req.Terms) > 0
	if filtered {
		dst.N = len(rows)
	}
	for i, c := range r.req.Columns {
		if dst.Cols[i] == nil {
			dst.Cols[i] = &batch.Vector{}
		}
		if filtered && len(rows) < b.N {
			batch.Gather(dst.Cols[i], b.Cols[c], rows)
		} else {
			*dst.Cols[i] = *b.Cols[c]
		}
	}
	return nil
}

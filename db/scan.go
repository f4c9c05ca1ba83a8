package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
)

var _ pred.Scan = (*scan)(nil)

// scan is one consistent snapshot: some segments, which it holds references to, and some head entries.
type scan struct {
	db    *DB
	req   *pred.Request
	units []scanUnit
	held  []*segmentRef

	mu      sync.Mutex // guards scratch, the map only
	scratch map[*batch.Batch]*scanScratch
}

// scanUnit is a unit of a segment or, where seg is nil, of the head.
type scanUnit struct {
	seg  *segmentRef
	page segment.Unit
	head head.Unit
	req  *pred.Request // what is asked of it: not what was asked for where rows are rolled up
	roll *rolling      // rolls its rows up as they are read, if not nil
}

type scanScratch struct {
	segment segment.Scratch
	head    head.Scratch
	rolled  rolledScratch
}

// Scan answers a request from one consistent snapshot: every batch that was acknowledged before the call is in it, whole.
// The caller must Close it.
func (d *DB) Scan(ctx context.Context, req *pred.Request) (pred.Scan, error) {
	reg := d.tables()
	t, ok := reg.Table(req.Table.Name)
	if !ok {
		return nil, fmt.Errorf("scan: %w: %q", schema.ErrUnknownTable, req.Table.Name)
	}
	for _, c := range req.Columns {
		if c < 0 || c >= len(t.Columns) {
			return nil, fmt.Errorf("scan %s: there is no column %d", t.Name, c)
		}
	}
	if u, ok := reg.Rollup(t.Name); ok {
		return d.scanRollup(ctx, u, req)
	}
	return d.scanParts(ctx, req, scanPart{req: req, segments: true, head: true})
}

// scanPart is some of a scan's rows: those of a table's segments, or in the head, or both.
type scanPart struct {
	req            *pred.Request
	segments, head bool
	roll           *rolling
}

// scanParts takes the snapshot.
func (d *DB) scanParts(ctx context.Context, req *pred.Request, parts ...scanPart) (pred.Scan, error) {
	s := &scan{db: d, req: req, scratch: map[*batch.Batch]*scanScratch{}}
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return nil, ErrClosed
	}
	entries := make([][][]*head.Entry, len(parts))
	segments := make([][]*segmentRef, len(parts))
	for i, p := range parts {
		if p.head {
			entries[i] = d.unflushedEntriesLocked(p.req.Table)
		}
		if p.segments {
			segments[i] = d.acquireInTimeLocked(p.req)
			s.held = append(s.held, segments[i]...)
		}
	}
	view := d.tags.View()
	d.mu.RUnlock()
	for i, p := range parts {
		if p.roll != nil {
			p.roll.prepare(view, p.req)
		}
		if err := s.plan(ctx, segments[i], p); err != nil {
			s.Close()
			return nil, err
		}
		for _, e := range entries[i] {
			for _, u := range head.Units(e, p.req) {
				s.units = append(s.units, scanUnit{head: u, req: p.req, roll: p.roll})
			}
		}
	}
	return s, nil
}

// unflushedEntriesLocked are the entries of a table in the heads, by head.
func (d *DB) unflushedEntriesLocked(t *schema.Table) (out [][]*head.Entry) {
	for _, h := range d.sealed {
		out = append(out, h.Entries(t))
	}
	return append(out, d.active.Entries(t))
}

// acquireInTimeLocked takes references to the segments that may have rows in the request's range of time.
func (d *DB) acquireInTimeLocked(req *pred.Request) (out []*segmentRef) {
	for _, seg := range d.segments[req.Table] {
		if seg.meta.MaxTime < req.From || seg.meta.MinTime >= req.To && req.To != pred.MaxTime {
			if req.Stats != nil {
				req.Stats.Segments.Add(1)
				req.Stats.SegmentsPruned.Add(1)
			}
			continue // those that stay are counted by their reader
		}
		seg.acquire()
		out = append(out, seg)
	}
	return out
}

// plan lists the units of segments. Where conditions may have filters and dictionaries read, several segments are planned at
// a time: they are many small reads, each of which may wait for the disk.
func (s *scan) plan(ctx context.Context, segments []*segmentRef, p scanPart) error {
	units := make([][]segment.Unit, len(segments))
	workers := 1
	if len(p.req.Terms) > 0 {
		workers = parallelReads
	}
	err := each(len(segments), workers, func(i int) error {
		units[i] = segments[i].reader.Units(p.req)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for i, list := range units {
		for _, u := range list {
			s.units = append(s.units, scanUnit{seg: segments[i], page: u, req: p.req, roll: p.roll})
		}
	}
	return nil
}

// Units implements pred.Scan.
func (s *scan) Units() int { return len(s.units) }

// Read implements pred.Scan.
func (s *scan) Read(ctx context.Context, unit int, dst *batch.Batch) error {
	u := &s.units[unit]
	s.mu.Lock()
	sc := s.scratch[dst]
	if sc == nil {
		sc = &scanScratch{}
		s.scratch[dst] = sc
	}
	s.mu.Unlock()
	if u.roll != nil {
		return s.rollUp(ctx, u, sc, dst)
	}
	return s.read(ctx, u, sc, dst)
}

// read reads a unit as it is stored.
func (s *scan) read(ctx context.Context, u *scanUnit, sc *scanScratch, dst *batch.Batch) error {
	if u.seg == nil {
		return u.head.Read(ctx, u.req, &sc.head, dst)
	}
	if err := u.seg.reader.Read(ctx, u.page, u.req, &sc.segment, dst); err != nil {
		return s.db.readError(u.seg, err)
	}
	return nil
}

// Close implements pred.Scan.
func (s *scan) Close() {
	if err := releaseAll(s.held); err != nil {
		s.db.backgroundError("release segments after a scan", err)
	}
	s.held = nil
}

// readError has a damaged segment set aside in the background and says so to whoever read it: this answer would have been
// incomplete, the next one will be without the segment.
func (d *DB) readError(seg *segmentRef, err error) error {
	if !errors.Is(err, segment.ErrCorrupt) {
		return fmt.Errorf("read segment %s: %w", seg.meta.Path, err)
	}
	select {
	case d.damaged <- damage{seg.meta.Path, err}:
	default: // the next reader reports it again
	}
	return fmt.Errorf("read segment %s: %w: %w; it is being set aside, its %d rows are missing from answers from now on",
		seg.meta.Path, ErrCorrupt, err, seg.meta.Rows)
}

// SegmentInfo is a segment as Segments lists it.
type SegmentInfo struct {
	Table, Path        string
	Level              int
	Rows, Bytes        int64
	MinTime, MaxTime   int64
	MinIndex, MaxIndex uint64
	// State is "live" or "quarantined"; Reason says why a segment was set aside.
	State, Reason string
}

// Segments lists the segments there are, those set aside last.
func (d *DB) Segments() []SegmentInfo {
	var out []SegmentInfo
	d.mu.RLock()
	for _, list := range d.segments {
		for _, s := range list {
			out = append(out, s.meta.info())
		}
	}
	aside := d.quarantined
	d.mu.RUnlock()
	slices.SortFunc(out, func(a, b SegmentInfo) int {
		if a.Path < b.Path {
			return -1
		}
		return 1
	})
	for _, q := range aside {
		out = append(out, SegmentInfo{Path: q.Path, State: "quarantined", Reason: q.Reason})
	}
	return out
}

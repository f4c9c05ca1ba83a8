package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
)

// backfillRetry is the pause after a failed step of a backfill.
const backfillRetry = time.Second

func (d *DB) wakeBackfill() {
	select {
	case d.backfill <- struct{}{}:
	default:
	}
}

// backfiller rolls up the segments that were there before their rollups.
func (d *DB) backfiller(ctx context.Context) {
	defer d.wg.Done()
	retry := time.NewTimer(0) // what an earlier process left
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.backfill:
		case <-retry.C:
		}
		if err := d.Backfill(ctx); err != nil && ctx.Err() == nil {
			d.backgroundError("backfill", err)
			retry.Reset(backfillRetry)
		}
	}
}

// Backfill brings rows that were there before a rollup into it, for all rollups: afterwards they are ready, but for those
// created meanwhile. Open and CreateRollup have it done in the background.
func (d *DB) Backfill(ctx context.Context) error {
	d.backfillMu.Lock()
	defer d.backfillMu.Unlock()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("backfill: %w", err)
		}
		name, path := d.nextBackfill()
		if name == "" {
			return nil
		}
		if err := d.backfillSegment(ctx, name, path); err != nil {
			return fmt.Errorf("backfill rollup %s with %s: %w", name, path, err)
		}
	}
}

// nextBackfill is a rollup and a segment that it waits for; "" when there is none.
func (d *DB) nextBackfill() (name, path string) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	for _, u := range d.tables().Rollups() {
		if p := d.manifest.rollups[u.Def.Name].Pending; len(p) > 0 {
			return u.Def.Name, p[0]
		}
	}
	return "", ""
}

// backfillSegment rolls up one segment. It is read without a lock: a pending segment is neither merged nor dropped.
func (d *DB) backfillSegment(ctx context.Context, name, path string) error {
	began := d.opts.Now()
	u, ok := d.tables().Rollup(name)
	if !ok {
		return nil // dropped meanwhile
	}
	d.commitMu.Lock()
	m, ok := d.manifest.segments[path]
	d.commitMu.Unlock()
	if !ok {
		return nil // set aside meanwhile: it is not pending any more
	}
	s := d.acquireSegment(m)
	if s == nil {
		if err := d.usable(); err != nil {
			return err
		}
		return errors.New("it is not open")
	}
	w := &flushWriter{d: d, dirs: map[string]bool{}, keep: m.Written}
	err := w.segmentRollup(ctx, u, s)
	if err = errors.Join(err, s.release()); err != nil {
		d.removeFiles(w.paths)
		if errors.Is(err, segment.ErrCorrupt) {
			return d.quarantine(path, err) // passed over: its rows are gone from its table, too
		}
		return err
	}
	did, total, left, err := d.commitBackfill(w, u, path)
	if err != nil || !did {
		return err
	}
	d.counts.backfilledSegments.Add(1)
	d.counts.rollupRows.Add(w.rolledIn)
	d.counts.rollupPartials.Add(w.rolled)
	if f := d.opts.Events.Backfilled; f != nil {
		f(name, path, m.Rows, total-left, total, d.opts.Now().Sub(began))
	}
	select {
	case d.compact <- struct{}{}:
	default:
	}
	return nil
}

// segmentRollup writes the partial rows of one segment's rows.
func (w *flushWriter) segmentRollup(ctx context.Context, u *schema.Rollup, s *segmentRef) error {
	g := compact.NewRollupGrouper(u, w.d.tags.View(), nil)
	var stats pred.Stats
	req := &pred.Request{Table: u.Source, Columns: g.Inputs(), From: pred.MinTime, To: pred.MaxTime, Stats: &stats}
	out := partialWriter{w: w, u: u, g: g, first: s.meta.MinIndex, last: s.meta.MaxIndex}
	var scratch segment.Scratch
	var rows batch.Batch
	for _, unit := range s.reader.Units(req) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.reader.Read(ctx, unit, req, &scratch, &rows); err != nil {
			return err
		}
		if err := out.add(&rows); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	return w.syncDirs()
}

// commitBackfill makes the partial rows of a segment valid and takes it off the list, in one edit; unless the rollup or the
// segment went meanwhile.
func (d *DB) commitBackfill(w *flushWriter, u *schema.Rollup, path string) (did bool, total, left int64, err error) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	have, _ := d.tables().Rollup(u.Def.Name)
	if closed || have != u || !slices.Contains(d.manifest.rollups[u.Def.Name].Pending, path) {
		d.removeFiles(w.paths)
		return false, 0, 0, nil
	}
	refs, err := d.openRefs(w.edit.Add)
	if err != nil {
		d.removeFiles(w.paths)
		return false, 0, 0, fmt.Errorf("open new segments: %w", err)
	}
	w.edit.NextSeq = d.nextSeq.Load()
	w.edit.Rolled = []rolledMeta{{Rollup: u.Def.Name, Segments: []string{path}}}
	if err := d.commit(&w.edit, w.paths); err != nil {
		return false, 0, 0, errors.Join(err, releaseAll(refs))
	}
	d.mu.Lock()
	d.addSegmentsLocked(refs)
	d.mu.Unlock()
	m := d.manifest.rollups[u.Def.Name]
	return true, m.Total, int64(len(m.Pending)), nil
}

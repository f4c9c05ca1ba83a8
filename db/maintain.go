package db

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// maintainer sets damaged segments aside, merges small segments and drops expired ones; it starts the scrubber.
func (d *DB) maintainer(ctx context.Context) {
	defer d.wg.Done()
	d.wg.Add(1) // before ours ends, so nobody has stopped waiting
	go func() {
		defer d.wg.Done()
		d.scrubber(ctx, d.opts.ScrubEvery)
	}()
	tick := time.NewTicker(d.opts.CompactEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case g := <-d.damaged:
			if err := d.quarantine(g.path, g.reason); err != nil {
				d.backgroundError("quarantine", err)
			}
			continue
		case <-tick.C:
		case <-d.compact:
		}
		if d.opts.NoCompaction {
			continue
		}
		if err := d.expire(); err != nil {
			d.backgroundError("retention", err)
		}
		for ctx.Err() == nil {
			did, err := d.compactOnce(ctx)
			if err != nil && ctx.Err() == nil {
				d.backgroundError("compaction", err)
			}
			if err != nil || !did {
				break
			}
		}
		if err := d.maintainTags(ctx); err != nil && ctx.Err() == nil {
			d.backgroundError("merge tag files", err)
		}
	}
}

// Compact merges segments and tag files until there is nothing worth merging, and applies retention. Open does all of it in
// the background.
func (d *DB) Compact(ctx context.Context) error {
	if err := d.expire(); err != nil {
		return err
	}
	for {
		if did, err := d.compactOnce(ctx); err != nil {
			return err
		} else if !did {
			return d.maintainTags(ctx)
		}
	}
}

// expire drops the segments that are older than their table's retention.
func (d *DB) expire() error {
	gone, err := d.dropExpired()
	if err != nil {
		return fmt.Errorf("drop expired segments: %w", err)
	}
	for _, m := range gone {
		d.counts.expiredRows.Add(m.Rows)
		if f := d.opts.Events.Expired; f != nil {
			f(m.Table, m.Path, m.Rows)
		}
	}
	return nil
}

func (d *DB) dropExpired() ([]segmentMeta, error) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	var gone []segmentMeta
	for _, s := range compact.Expired(d.candidates(), d.retention, d.opts.Now().UnixNano()) {
		gone = append(gone, d.manifest.segments[s.ID])
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, d.replaceSegments(gone, nil, nil)
}

// candidates are the segments in the form the policy takes. The caller holds commitMu.
func (d *DB) candidates() []compact.Segment {
	waiting := d.manifest.waiting()
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []compact.Segment
	for t, list := range d.segments {
		for _, s := range list {
			m := s.meta
			out = append(out, compact.Segment{
				ID: m.Path, Table: m.Table, Resolution: t.Resolution, Level: m.Level, Rows: m.Rows, Bytes: m.Bytes,
				MinTime: m.MinTime, MaxTime: m.MaxTime, MinIndex: m.MinIndex, MaxIndex: m.MaxIndex, WrittenNanos: m.Written,
				Busy: waiting[m.Path],
			})
		}
	}
	return out
}

// replaceSegments makes one edit that drops and adds segments, and changes what scans see accordingly. The caller holds
// commitMu.
func (d *DB) replaceSegments(drop []segmentMeta, add []*segmentRef, files []string) error {
	e := &edit{NextSeq: d.nextSeq.Load()}
	paths := map[string]bool{}
	for _, m := range drop {
		e.Drop = append(e.Drop, m.Path)
		paths[m.Path] = true
	}
	for _, s := range add {
		e.Add = append(e.Add, s.meta)
	}
	if err := d.commit(e, files); err != nil {
		return err
	}
	d.mu.Lock()
	gone := d.removeSegmentsLocked(paths)
	d.addSegmentsLocked(add)
	d.mu.Unlock()
	return dropAll(gone)
}

// compactOnce merges one set of segments; it says whether there was one.
func (d *DB) compactOnce(ctx context.Context) (bool, error) {
	d.compactMu.Lock()
	defer d.compactMu.Unlock()
	defer d.mergeEnded()
	var o compact.Options
	for {
		d.commitMu.Lock()
		segments := d.candidates()
		d.noteBacklog(segments)
		d.commitMu.Unlock()
		job := compact.Pick(segments, d.opts.Now().UnixNano(), o)
		if job == nil {
			return false, nil
		}
		d.merging.Store(true)
		err := d.merge(ctx, job)
		if errors.Is(err, compact.ErrMemory) && len(job.Inputs) > 2 { // fewer at a time
			o.MinFiles = max(len(job.Inputs)/2, 2)
			o.MaxFiles = o.MinFiles
			continue
		}
		if err != nil {
			return false, fmt.Errorf("merge %d segments of %s: %w", len(job.Inputs), job.Table, err)
		}
		return true, nil
	}
}

// noteBacklog counts the segments that are due to be merged. The caller holds commitMu, so that counts come in order.
func (d *DB) noteBacklog(segments []compact.Segment) {
	d.backlog.Store(int64(compact.Backlog(segments, compact.Options{})))
}

// mergeEnded lets the flusher go on.
func (d *DB) mergeEnded() {
	if !d.merging.Swap(false) {
		return
	}
	select {
	case d.merged <- struct{}{}:
	default:
	}
}

// mergesBehind says that so many segments are due to be merged that no more should come: while a merge runs, which will
// make them fewer. One that fails holds nothing up.
func (d *DB) mergesBehind() bool {
	return d.opts.MaxUnmerged > 0 && d.merging.Load() && d.backlog.Load() >= int64(d.opts.MaxUnmerged)
}

// mergesUrgent says that merges should have their share of the cores, though flushes and writers wait.
func (d *DB) mergesUrgent() bool {
	return d.opts.MaxUnmerged > 0 && 2*d.backlog.Load() >= int64(d.opts.MaxUnmerged)
}

// merge runs a job. Segments are only added and taken away by whoever holds commitMu; merging itself runs without it, on
// references of its own.
func (d *DB) merge(ctx context.Context, job *compact.Job) error {
	began := d.opts.Now()
	in := d.acquireInputs(job)
	defer func() {
		if err := releaseAll(in); err != nil {
			d.backgroundError("compaction", err)
		}
	}()
	if len(in) != len(job.Inputs) {
		return nil // one was set aside meanwhile: pick again
	}
	t := in[0].table
	readers := make([]*segment.Reader, len(in))
	drop := make([]segmentMeta, len(in))
	var written int64
	o := segment.Options{PageRows: d.opts.PageRows, Portable: d.opts.Portable, Sorted: true, Level: job.Level,
		MinIndex: job.MinIndex, MaxIndex: job.MaxIndex, Urgent: d.mergesUrgent}
	for i, s := range in {
		readers[i], drop[i] = s.reader, s.meta
		written = max(written, s.meta.Written)
	}
	m, full, err := d.mergeInto(ctx, t, job.Day, readers, o, written)
	if err != nil {
		return d.mergeError(ctx, in, err)
	}
	d.commitMu.Lock()
	did, err := d.replaceMerged(drop, m, full)
	d.noteBacklog(d.candidates())
	d.commitMu.Unlock()
	if err != nil || !did {
		return err
	}
	d.counts.compactions.Add(1)
	d.counts.compactedRows.Add(m.Rows)
	d.counts.compactedBytes.Add(m.Bytes)
	if f := d.opts.Events.Compacted; f != nil {
		f(t.Name, len(in), m.Rows, m.Bytes, d.opts.Now().Sub(began))
	}
	return nil
}

// replaceMerged puts a merged segment in the place of its inputs, unless one of them went meanwhile (expired, set aside,
// dropped with its rollup, the database closed) or waits to be rolled up: then the file is removed. The caller holds commitMu.
func (d *DB) replaceMerged(drop []segmentMeta, m segmentMeta, full string) (did bool, err error) {
	d.mu.RLock()
	stale := d.closed
	d.mu.RUnlock()
	for _, s := range drop {
		if _, ok := d.manifest.segments[s.Path]; !ok || d.manifest.waits(s.Path) != "" {
			stale = true
		}
	}
	if stale {
		d.removeFiles([]string{full})
		return false, nil
	}
	out, err := d.openRef(m)
	if err != nil {
		d.removeFiles([]string{full})
		return false, err
	}
	if err := d.replaceSegments(drop, []*segmentRef{out}, []string{full}); err != nil {
		return false, errors.Join(fmt.Errorf("replace by %s: %w", full, err), out.release())
	}
	return true, nil
}

// acquireInputs takes references to a job's segments, in its order, as far as they are still there.
func (d *DB) acquireInputs(job *compact.Job) []*segmentRef {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t, _ := d.tables().Table(job.Table)
	byPath := map[string]*segmentRef{}
	for _, s := range d.segments[t] {
		byPath[s.meta.Path] = s
	}
	var out []*segmentRef
	for _, in := range job.Inputs {
		if s := byPath[in.ID]; s != nil {
			s.acquire()
			out = append(out, s)
		}
	}
	return out
}

// mergeInto writes the merged segment to its place and syncs the folder.
func (d *DB) mergeInto(ctx context.Context, t *schema.Table, day int64, in []*segment.Reader, o segment.Options, written int64) (segmentMeta, string, error) {
	rel := d.segmentPath(t, day, o)
	full := filepath.Join(d.dir, filepath.FromSlash(rel))
	info, err := d.writeFile(rel, func(tmp string) (segment.Info, error) {
		return compact.Merge(ctx, d.fs, in, tmp, compact.MergeOptions{Segment: o, MemoryBytes: d.opts.MergeBytes})
	})
	if err != nil {
		return segmentMeta{}, full, err
	}
	if err := vfs.SyncDir(d.fs, filepath.Dir(full)); err != nil {
		return segmentMeta{}, full, fmt.Errorf("sync folder: %w", err)
	}
	return newMeta(t, rel, o, info, written), full, nil
}

// mergeError has the damaged segments among in set aside when the merge failed because of one.
func (d *DB) mergeError(ctx context.Context, in []*segmentRef, err error) error {
	if !errors.Is(err, segment.ErrCorrupt) {
		return err
	}
	for _, s := range in {
		if verr := s.reader.Verify(ctx); errors.Is(verr, segment.ErrCorrupt) {
			return d.readError(s, verr)
		}
	}
	return err
}

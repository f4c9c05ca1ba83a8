package db

import (
	"context"
	"fmt"
	"time"
)

// maintainer sets damaged segments aside, merges small segments and drops expired ones.
func (d *DB) maintainer(ctx context.Context) {
	defer d.wg.Done()
	tick := time.NewTicker(d.opts.CompactEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case g := <-d.damaged:
			d.commitMu.Lock()
			err := d.quarantine(g.path, g.reason)
			d.commitMu.Unlock()
			if err != nil {
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
	}
}

// Compact applies retention. Open does it in the background, too.
func (d *DB) Compact(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.expire()
}

// expire drops the segments that are older than their table's retention.
func (d *DB) expire() error {
	now := d.opts.Now().UnixNano()
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	var gone []segmentMeta
	for _, t := range d.opts.Tables.Tables() {
		keep := d.opts.retention(t)
		if keep <= 0 {
			continue
		}
		d.mu.RLock()
		for _, s := range d.segments[t] {
			if max(s.meta.MaxTime, s.meta.Written) < now-int64(keep) {
				gone = append(gone, s.meta)
			}
		}
		d.mu.RUnlock()
	}
	if len(gone) == 0 {
		return nil
	}
	if err := d.replaceSegments(gone, nil); err != nil {
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

// replaceSegments makes one edit that drops and adds segments, and changes what scans see accordingly. The caller holds
// commitMu.
func (d *DB) replaceSegments(drop []segmentMeta, add []*segmentRef) error {
	e := &edit{NextSeq: d.manifest.nextSeq}
	paths := map[string]bool{}
	for _, m := range drop {
		e.Drop = append(e.Drop, m.Path)
		paths[m.Path] = true
	}
	for _, s := range add {
		e.Add = append(e.Add, s.meta)
	}
	if err := d.manifest.commit(e); err != nil {
		return err
	}
	d.mu.Lock()
	gone := d.removeSegmentsLocked(paths)
	d.addSegmentsLocked(add)
	d.mu.Unlock()
	return dropAll(gone)
}

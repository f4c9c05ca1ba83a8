package db

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// segmentRef is an open segment. The database holds one reference while the segment belongs to it, each scan another; the
// last one closes it, and removes the file when it was dropped.
type segmentRef struct {
	meta   segmentMeta
	table  *schema.Table
	reader *segment.Reader
	full   string
	fsys   vfs.FS
	refs   atomic.Int64
	// dropped is set before the database's own reference is released.
	dropped atomic.Bool
}

func (s *segmentRef) acquire() { s.refs.Add(1) }

func (s *segmentRef) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	err := s.reader.Close()
	if s.dropped.Load() {
		err = errors.Join(err, s.fsys.Remove(s.full))
	}
	if err != nil {
		return fmt.Errorf("release segment %s: %w", s.meta.Path, err)
	}
	return nil
}

func releaseAll(refs []*segmentRef) error {
	var errs []error
	for _, s := range refs {
		errs = append(errs, s.release())
	}
	return errors.Join(errs...)
}

func (d *DB) openRef(m segmentMeta) (*segmentRef, error) {
	t, ok := d.tables().Table(m.Table)
	if !ok {
		return nil, fmt.Errorf("segment %s: %w: %q", m.Path, schema.ErrUnknownTable, m.Table)
	}
	full := filepath.Join(d.dir, filepath.FromSlash(m.Path))
	r, err := segment.Open(d.fs, full, t, d.cached)
	if err != nil {
		return nil, err
	}
	s := &segmentRef{meta: m, table: t, reader: r, full: full, fsys: d.fs}
	s.refs.Store(1)
	return s, nil
}

// cached has readers share one cache of dictionaries.
func (d *DB) cached(o *segment.OpenOptions) { o.Cache = d.cache }

func (d *DB) openRefs(metas []segmentMeta) ([]*segmentRef, error) {
	refs := make([]*segmentRef, 0, len(metas))
	for _, m := range metas {
		s, err := d.openRef(m)
		if err != nil {
			return nil, errors.Join(err, releaseAll(refs))
		}
		refs = append(refs, s)
	}
	return refs, nil
}

// openSegments opens all segments at start, several at a time. Damaged ones are set aside, the others answer.
func (d *DB) openSegments() error {
	metas := d.manifest.asEdit().Add
	refs, damaged := make([]*segmentRef, len(metas)), make([]error, len(metas))
	err := each(len(metas), min(parallelReads, len(metas)/4), func(i int) error {
		s, err := d.openRef(metas[i])
		switch {
		case errors.Is(err, segment.ErrCorrupt):
			damaged[i] = err
		case errors.Is(err, segment.ErrNewerFormat):
			return fmt.Errorf("%w: %w", ErrNewerFormat, err)
		case err != nil:
			return err
		default:
			refs[i] = s
		}
		return nil
	})
	for _, s := range refs { // from here on release closes them
		if s != nil {
			d.segments[s.table] = append(d.segments[s.table], s)
		}
	}
	for i := range metas {
		if err == nil && damaged[i] != nil {
			err = d.quarantine(metas[i].Path, damaged[i])
		}
	}
	return err
}

// addSegmentsLocked adds segments to the set that scans see. Lists are replaced, never changed: a scan may hold one.
func (d *DB) addSegmentsLocked(refs []*segmentRef) {
	for _, s := range refs {
		old := d.segments[s.table]
		d.segments[s.table] = append(old[:len(old):len(old)], s)
	}
}

// removeSegmentsLocked takes segments out of the set that scans see and returns them.
func (d *DB) removeSegmentsLocked(paths map[string]bool) []*segmentRef {
	var out []*segmentRef
	for t, list := range d.segments {
		keep := make([]*segmentRef, 0, len(list))
		for _, s := range list {
			if paths[s.meta.Path] {
				out = append(out, s)
			} else {
				keep = append(keep, s)
			}
		}
		if len(keep) != len(list) {
			d.segments[t] = keep
		}
	}
	return out
}

// damage is a segment that a scan found damaged.
type damage struct {
	path   string
	reason error
}

// quarantine sets a segment aside: it is no longer read, its file is moved to quarantine/ for somebody to look at. The
// caller is the maintainer, or Open.
func (d *DB) quarantine(path string, reason error) error {
	d.commitMu.Lock()
	did, err := d.setAside(path, reason)
	d.commitMu.Unlock()
	if f := d.opts.Events.Quarantined; did && f != nil {
		f(path, reason)
	}
	return err
}

func (d *DB) setAside(path string, reason error) (did bool, err error) {
	meta, ok := d.manifest.segments[path]
	if !ok {
		return false, nil // found damaged by two scans
	}
	q := quarantined{Path: path, Reason: reason.Error()}
	if _, ok := d.tables().Rollup(meta.Table); ok {
		q.Rollup = meta.Table
	}
	from := filepath.Join(d.dir, filepath.FromSlash(path))
	dir := filepath.Join(d.dir, "quarantine")
	to := filepath.Join(dir, quarantineName(path))
	if err := d.ensureDir(dir); err != nil {
		return false, fmt.Errorf("set damaged segment %s aside: %w", path, err)
	}
	// a second name first: whatever happens next, the file stays reachable
	if err := d.fs.Link(from, to); err != nil && !errors.Is(err, fs.ErrExist) { // a first attempt may have come this far
		return false, fmt.Errorf("set damaged segment %s aside: %w", path, err)
	}
	if err := vfs.SyncDir(d.fs, dir); err != nil {
		return false, fmt.Errorf("set damaged segment %s aside: %w", path, err)
	}
	if err := d.commit(&edit{Quarantine: []quarantined{q}}, nil); err != nil {
		return false, fmt.Errorf("set damaged segment %s aside: %w", path, err)
	}
	d.mu.Lock()
	gone := d.removeSegmentsLocked(map[string]bool{path: true})
	d.quarantined = d.manifest.quarantine
	d.mu.Unlock()
	d.counts.quarantined.Add(1)
	if len(gone) == 0 { // at start: it was never opened
		return true, d.fs.Remove(from)
	}
	return true, dropAll(gone)
}

func quarantineName(path string) string {
	out := []byte(path)
	for i, c := range out {
		if c == '/' {
			out[i] = '_'
		}
	}
	return string(out)
}

// dropAll releases segments that no longer belong to the database, with their files.
func dropAll(refs []*segmentRef) error {
	for _, s := range refs {
		s.dropped.Store(true)
	}
	return releaseAll(refs)
}

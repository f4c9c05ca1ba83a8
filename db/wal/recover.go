package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/vfs"
)

// folder is what is in the directory of a log.
type folder struct {
	segments []uint64 // ascending
	spares   []uint64
	temps    []string
}

func readFolder(fsys vfs.FS, dir string) (d folder, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return d, err
	}
	for _, name := range names {
		if seq, ok := parseName(name, segmentSuffix); ok {
			d.segments = append(d.segments, seq)
		} else if seq, ok := parseName(name, spareSuffix); ok {
			d.spares = append(d.spares, seq)
		} else if _, ok := parseName(name, tempSuffix); ok || strings.HasSuffix(name, tempSuffix) && len(name) > nameDigits {
			d.temps = append(d.temps, name)
		}
	}
	slices.Sort(d.segments)
	return d, nil
}

// recover reads the directory. It changes nothing before it has found everything sound.
func (l *Log) recover() error {
	if err := l.makeDir(); err != nil {
		return err
	}
	d, err := readFolder(l.fs, l.dir)
	if err != nil {
		return err
	}
	obsolete := d.segments
	if n := len(d.segments); n > 0 {
		tail, res, err := l.loadTail(d.segments[n-1])
		if err != nil {
			return err
		}
		if obsolete, err = l.loadSealed(d.segments[:n-1]); err != nil {
			return err
		}
		if err := l.connect(); err != nil {
			return err
		}
		if err := l.mendTail(tail, res); err != nil {
			return fmt.Errorf("mend %s: %w", tail.name, err)
		}
		l.seq = d.segments[n-1]
	}
	return l.tidy(d, obsolete)
}

func (l *Log) makeDir() error {
	if l.opts.NoSync {
		return l.fs.MkdirAll(l.dir)
	}
	return vfs.MkdirAllSync(l.fs, l.dir)
}

// openSegment opens a segment file and reads its header; size is that of the file.
func (l *Log) openSegment(seq uint64) (s *segment, size int64, err error) {
	name := segmentName(seq)
	f, err := l.fs.OpenReadWrite(l.path(name))
	if err != nil {
		return nil, 0, err
	}
	hdr, err := readSegmentHeader(f, name)
	if err == nil {
		st, statErr := f.Stat()
		if err = statErr; err == nil {
			size = st.Size()
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	s = newSegment(hdr, name, f)
	s.capacity = size
	return s, size, nil
}

// loadTail reads the newest segment, and with it the front.
func (l *Log) loadTail(seq uint64) (*segment, scanResult, error) {
	s, size, err := l.openSegment(seq)
	if err != nil {
		return nil, scanResult{}, err
	}
	l.segs = []*segment{s} // from here on Open closes it
	l.front = s.hdr.front
	res, err := l.scanSegment(s, size, s.hdr.flags&flagUnsynced == 0)
	if err == nil && res.later != 0 {
		err = s.corrupt(res.stop, fmt.Sprintf("%s, yet a later write follows at offset %d", res.reason, res.later))
	}
	return s, res, err
}

// scanSegment reads the records of a segment up to size and fills in offs, end and the log's front.
func (l *Log) scanSegment(s *segment, size int64, search bool) (scanResult, error) {
	res, err := newScanner(s.file, size, s.hdr, func(r record, off int64) error {
		if r.typ == typeData {
			s.offs = append(s.offs, uint32(off/recordAlign))
			return nil
		}
		var b [8]byte
		if _, err := s.file.ReadAt(b[:], off+recordHeader); err != nil {
			return err
		}
		front := le.Uint64(b[:])
		if front > r.index {
			return s.corrupt(off, fmt.Sprintf("front %d is beyond the next index %d", front, r.index))
		}
		l.front = max(l.front, front)
		return nil
	}).scan(search)
	if err != nil {
		return res, fmt.Errorf("read %s: %w", s.name, err)
	}
	s.trim(res.next)
	s.end = res.end
	return res, nil
}

// loadSealed reads the segments before the tail that still hold something of the log, and returns the others.
func (l *Log) loadSealed(older []uint64) (obsolete []uint64, err error) {
	for {
		after := l.segs[0]
		if after.hdr.first <= l.front {
			return older, nil
		}
		n := len(older)
		if n == 0 || older[n-1] != after.hdr.seq-1 {
			return nil, &CorruptionError{File: segmentName(after.hdr.seq - 1), Reason: fmt.Sprintf(
				"segment is missing: the log starts at index %d, %s at %d", l.front, after.name, after.hdr.first)}
		}
		s, size, err := l.openSegment(older[n-1])
		if err != nil {
			return nil, err
		}
		l.segs = slices.Insert(l.segs, 0, s)
		older = older[:n-1]
		end := after.hdr.prevEnd
		if end < dataStart || end > size {
			return nil, s.corrupt(size, fmt.Sprintf("%s says it ends at offset %d", after.name, end))
		}
		front := l.front // only the tail's front counts
		res, err := l.scanSegment(s, end, false)
		if err != nil {
			return nil, err
		}
		l.front = front
		if s.hdr.flags&flagUnsynced != 0 && res.end == end {
			if err := l.sync(s.file); err != nil { // what was written without is made durable now
				return nil, fmt.Errorf("sync %s: %w", s.name, err)
			}
		}
		if res.end != end {
			return nil, s.corrupt(res.stop, fmt.Sprintf("%s, yet %s says it ends at offset %d", orElse(res.reason, "append is not complete"), after.name, end))
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// connect checks that the segments follow on each other, and voids what later ones have replaced.
func (l *Log) connect() error {
	next := l.segs[0].hdr.first
	for i, s := range l.segs {
		if s.hdr.first > next {
			return s.corrupt(32, fmt.Sprintf("starts at index %d, the log before ends at %d", s.hdr.first, next))
		}
		next = s.next()
		for _, old := range l.segs[:i] {
			old.trim(s.hdr.first)
		}
	}
	l.next = next
	return nil
}

// mendTail cuts off what a power cut has torn, and makes what was read durable: it may come from the page cache only.
func (l *Log) mendTail(s *segment, res scanResult) error {
	unsynced := s.hdr.flags&flagUnsynced != 0
	torn := res.incomplete > 0 || res.leftover > 0 || res.reason != "" && res.reason != reasonNoHeader
	if torn {
		l.met.m.TornTails = 1
		l.met.m.TornRecords = uint64(res.incomplete + res.leftover)
	}
	if torn || unsynced && res.end < s.capacity {
		if err := s.file.Truncate(s.end); err != nil {
			return err
		}
		s.capacity = s.end
	}
	if err := l.sync(s.file); err != nil {
		return err
	}
	if want := l.opts.SegmentBytes; s.capacity < want && s.file.Preallocate(s.end, want-s.end) == nil {
		s.capacity = want // a full disk is found out by the writes
	}
	l.rotateNext = unsynced != l.opts.NoSync
	return nil
}

// tidy removes the files that are not needed, or keeps them as spares, and syncs the directory.
func (l *Log) tidy(d folder, obsolete []uint64) error {
	for _, name := range d.temps {
		if err := l.fs.Remove(l.path(name)); err != nil {
			return err
		}
	}
	for _, seq := range d.spares {
		if err := l.keepOrRemove(spareName(seq), seq); err != nil {
			return err
		}
	}
	for _, seq := range obsolete {
		if err := l.keepOrRemove(segmentName(seq), seq); err != nil {
			return err
		}
	}
	l.spareCount = len(l.spares)
	return l.syncDir()
}

// keepOrRemove makes a file a spare if one is wanted and its size is right.
func (l *Log) keepOrRemove(name string, seq uint64) error {
	st, err := l.fs.Stat(l.path(name))
	if err != nil {
		return err
	}
	if st.Size() != l.opts.SegmentBytes || len(l.spares) >= l.opts.RecycleSegments {
		return l.fs.Remove(l.path(name))
	}
	if spare := spareName(seq); name != spare {
		if err := l.fs.Rename(l.path(name), l.path(spare)); err != nil {
			return err
		}
	}
	l.spares = append(l.spares, seq)
	return nil
}

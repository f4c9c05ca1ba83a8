package wal

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/vfs"
)

// segment is an open segment file. Log.state guards end, capacity and offs; the leader alone changes them, so it may read
// them without.
type segment struct {
	hdr      segmentHeader
	name     string // base name, for errors
	file     vfs.File
	salted   uint32
	end      int64    // behind the last acknowledged record
	capacity int64    // bytes reserved in the file
	offs     []uint32 // of the data records hdr.first+i, in units of 8 bytes
	// refs counts the readers and, until the segment is dropped, the log itself; the last one closes the file.
	refs atomic.Int32
}

func newSegment(hdr segmentHeader, name string, f vfs.File) *segment {
	s := &segment{hdr: hdr, name: name, file: f, salted: saltCRC(hdr.salt), end: dataStart}
	s.refs.Store(1)
	return s
}

// next is the index behind the last record that counts in this segment.
func (s *segment) next() uint64 { return s.hdr.first + uint64(len(s.offs)) }

// offset returns where the record of that index starts; the index must be in the segment.
func (s *segment) offset(index uint64) int64 { return int64(s.offs[index-s.hdr.first]) * recordAlign }

// limit returns an offset that the record of that index ends at or before.
func (s *segment) limit(index uint64) int64 {
	if index+1 < s.next() {
		return s.offset(index + 1)
	}
	return s.end
}

func (s *segment) acquire() { s.refs.Add(1) }

func (s *segment) release() error {
	if s.refs.Add(-1) == 0 {
		return s.file.Close()
	}
	return nil
}

// trim forgets the records from index on: a later segment has voided them.
func (s *segment) trim(index uint64) {
	if index < s.next() {
		s.offs = s.offs[:max(index, s.hdr.first)-s.hdr.first]
	}
}

func (s *segment) corrupt(off int64, reason string) error {
	return &CorruptionError{File: s.name, Offset: off, Reason: reason}
}

// readSegmentHeader reads the header of an open segment file.
func readSegmentHeader(f vfs.File, name string) (segmentHeader, error) {
	b := make([]byte, headerBytes)
	n, err := f.ReadAt(b, 0)
	if n < len(b) && !errors.Is(err, errEOF) {
		return segmentHeader{}, fmt.Errorf("read header of %s: %w", name, err)
	}
	hdr, err := parseSegmentHeader(name, b[:n])
	if err != nil {
		return hdr, err
	}
	if seq, _ := parseName(name, segmentSuffix); seq != hdr.seq {
		return hdr, &CorruptionError{File: name, Offset: 24, Reason: fmt.Sprintf("header is of segment %d", hdr.seq)}
	}
	return hdr, nil
}

// makeSegment makes a segment file with its header, durably, and returns it open. size is what to reserve for it.
// renamed reports whether the file may have got its name; if so with an error, nobody knows what a restart will see.
func (l *Log) makeSegment(hdr segmentHeader, size int64) (s *segment, renamed bool, err error) {
	name := segmentName(hdr.seq)
	from, spare := l.path(tempName(hdr.seq)), false
	if n := len(l.spares); n > 0 && size == l.opts.SegmentBytes {
		from, spare = l.path(spareName(l.spares[n-1])), true
		l.spares = l.spares[:n-1]
	}
	f, err := l.prepareFile(from, spare, hdr, size)
	if err != nil {
		_ = l.fs.Remove(from) // best effort; Open removes what is left
		return nil, false, err
	}
	if err = l.fs.Rename(from, l.path(name)); err != nil {
		_ = f.Close()
		_ = l.fs.Remove(from)
		return nil, false, err
	}
	if err = l.syncDir(); err != nil {
		return nil, true, errors.Join(err, f.Close())
	}
	s = newSegment(hdr, name, f)
	s.capacity = size
	if spare {
		l.met.update(func(m *Metrics) { m.Recycled++ })
	}
	return s, true, nil
}

// prepareFile makes or takes the file that becomes a segment and syncs the header into it.
func (l *Log) prepareFile(path string, spare bool, hdr segmentHeader, size int64) (f vfs.File, err error) {
	if spare {
		f, err = l.fs.OpenReadWrite(path)
	} else {
		f, err = l.fs.Create(path)
	}
	if err != nil {
		return nil, err
	}
	if !spare {
		err = f.Preallocate(0, size)
	}
	if err == nil {
		_, err = f.WriteAt(hdr.appendTo(make([]byte, 0, headerBytes)), 0)
	}
	if err == nil {
		err = l.sync(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sync is File.SyncData, unless the log runs without; it keeps the figures.
func (l *Log) sync(f vfs.File) error {
	if l.opts.NoSync {
		return nil
	}
	start := l.opts.NowNanos()
	err := f.SyncData()
	took := l.opts.NowNanos() - start
	l.met.update(func(m *Metrics) {
		m.Syncs++
		m.SyncNanos.observe(took)
		if err != nil {
			m.SyncErrors++
		}
	})
	return err
}

func (l *Log) syncDir() error {
	if l.opts.NoSync {
		return nil
	}
	if err := vfs.SyncDir(l.fs, l.dir); err != nil {
		return fmt.Errorf("sync directory %s: %w", l.dir, err)
	}
	return nil
}

// retire gives up a segment file that is not needed any more: it becomes a spare if one is wanted and nobody reads it,
// else it is removed. The caller syncs the directory before a spare is used.
func (l *Log) retire(s *segment, wanted bool) (spare bool, err error) {
	path := l.path(s.name)
	reusable := wanted && s.refs.Load() == 1 && s.capacity == l.opts.SegmentBytes
	err = s.release()
	if !reusable {
		return false, errors.Join(err, l.fs.Remove(path))
	}
	if renameErr := l.fs.Rename(path, l.path(spareName(s.hdr.seq))); renameErr != nil {
		return false, errors.Join(err, renameErr)
	}
	return true, err
}

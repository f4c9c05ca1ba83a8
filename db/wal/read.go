package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

const readBytes = 1 << 20 // what Range reads at once

// check returns the payload of the record at the start of b, which lies at off in the file.
func (s *segment) check(b []byte, off int64, index uint64) ([]byte, error) {
	if len(b) < recordHeader {
		return nil, s.corrupt(off, "record is cut off")
	}
	r, ok := parseRecord(b, s.salted)
	if !ok || r.typ != typeData || r.index != index || int64(r.length) > int64(len(b)-recordHeader) {
		return nil, s.corrupt(off, "record has changed since it was written")
	}
	payload := b[recordHeader:][:r.length]
	if sum := crc32.Update(s.salted, castagnoli, b[4:recordHeader]); crc32.Update(sum, castagnoli, payload) != r.crc {
		return nil, s.corrupt(off, "checksum is wrong")
	}
	return payload, nil
}

// read fills b from off.
func (s *segment) read(b []byte, off int64) error {
	if n, err := s.file.ReadAt(b, off); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return s.corrupt(off+int64(n), "file is shorter than it was")
		}
		return fmt.Errorf("read %s: %w", s.name, err)
	}
	return nil
}

// Get returns the record of that index. It is appended to buf[:0], so it lies in buf if that is large enough, and is the
// caller's. An index that is not in the log is ErrNotFound.
func (l *Log) Get(index uint64, buf []byte) ([]byte, error) {
	l.state.RLock()
	s, err := l.find(index)
	if err != nil {
		l.state.RUnlock()
		return nil, err
	}
	off, limit := s.offset(index), s.limit(index)
	s.acquire()
	l.state.RUnlock()
	buf = slices.Grow(buf[:0], int(limit-off))[:limit-off]
	err = s.read(buf, off)
	if releaseErr := s.release(); err == nil {
		err = releaseErr
	}
	if err != nil {
		return nil, err
	}
	payload, err := s.check(buf, off, index)
	if err != nil {
		return nil, err
	}
	return buf[:copy(buf, payload)], nil // down to the start, so that buf keeps its capacity
}

// find returns the segment of an index. The state is locked.
func (l *Log) find(index uint64) (*segment, error) {
	if l.released {
		return nil, ErrClosed
	}
	if index < l.front || index >= l.next {
		return nil, fmt.Errorf("index %d of log from %d to before %d: %w", index, l.front, l.next, ErrNotFound)
	}
	for _, s := range slices.Backward(l.segs) {
		if index >= s.hdr.first && index < s.next() {
			return s, nil
		}
	}
	return nil, fmt.Errorf("index %d: %w", index, ErrNotFound)
}

// span is a part of a segment that Range reads. It holds the segment open, and a view of its offsets that is never changed.
type span struct {
	s           *segment
	first, next uint64
	offs        []uint32 // of first, ...
	end         int64
}

func (p *span) offset(index uint64) int64 { return int64(p.offs[index-p.first]) * recordAlign }

func (p *span) limit(index uint64) int64 {
	if index+1 < p.next {
		return p.offset(index + 1)
	}
	return p.end
}

// spans returns what lies from index from to the present end of the log; the caller releases the segments.
func (l *Log) spans(from uint64) ([]span, error) {
	l.state.RLock()
	defer l.state.RUnlock()
	if l.released {
		return nil, ErrClosed
	}
	if from >= l.next {
		return nil, nil
	}
	if from < l.front {
		return nil, fmt.Errorf("range from index %d, the log starts at %d: %w", from, l.front, ErrNotFound)
	}
	var out []span
	for _, s := range l.segs {
		first, next := max(s.hdr.first, from), s.next()
		if first >= next {
			continue
		}
		at := first - s.hdr.first
		p := span{s: s, first: first, next: next, offs: s.offs[at:len(s.offs):len(s.offs)], end: s.end}
		s.acquire()
		out = append(out, p)
	}
	return out, nil
}

// Range calls fn for the records from index from to the end the log has now, in order, and returns the first error. from 0
// means the first there is; one below that is ErrNotFound. rec is valid until fn returns. It holds a MiB, or the largest
// record, whatever the size of the log. The log may be changed meanwhile.
func (l *Log) Range(from uint64, fn func(index uint64, rec []byte) error) error {
	if from == 0 {
		if from = l.FirstIndex(); from == 0 {
			return nil
		}
	}
	spans, err := l.spans(from)
	if err != nil {
		return err
	}
	var buf []byte
	for i := range spans {
		if err == nil {
			buf, err = spans[i].each(buf, fn)
		}
		if releaseErr := spans[i].s.release(); err == nil {
			err = releaseErr
		}
	}
	return err
}

// each calls fn for the records of a span, reading many at once.
func (p *span) each(buf []byte, fn func(uint64, []byte) error) ([]byte, error) {
	for index := p.first; index < p.next; {
		start, last := p.offset(index), index
		for last+1 < p.next && p.limit(last+1)-start <= readBytes {
			last++
		}
		n := int(p.limit(last) - start)
		buf = slices.Grow(buf[:0], n)[:n]
		if err := p.s.read(buf, start); err != nil {
			return buf, err
		}
		for ; index <= last; index++ {
			off := p.offset(index)
			rec, err := p.s.check(buf[off-start:p.limit(index)-start], off, index)
			if err == nil {
				err = fn(index, rec)
			}
			if err != nil {
				return buf, err
			}
		}
	}
	return buf, nil
}

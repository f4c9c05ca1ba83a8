package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var errEOF = io.EOF

// reasonNoHeader is the reason that the space behind the last record has when nothing was ever written there in this use of
// the file.
const reasonNoHeader = "no record header"

const (
	windowBytes = 1 << 20
	// searchFactor bounds the search behind damage: it checks payloads of at most so many times the file's size, however
	// many headers somebody has forged.
	searchFactor = 4
)

// window reads a file through one buffer, forward. It never holds more than windowBytes.
type window struct {
	r    io.ReaderAt
	size int64 // bytes to read at most, from the start of the file
	off  int64 // of buf[0]
	buf  []byte
}

// at returns n bytes at off, n <= windowBytes, from off+n <= size. They are valid until the next call.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, min(windowBytes, w.size))
	}
	want := int(min(int64(cap(w.buf)), w.size-off))
	w.off, w.buf = off, w.buf[:want]
	got, err := w.r.ReadAt(w.buf, off)
	w.buf = w.buf[:got]
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the file is shorter than it said
		}
		return nil, err
	}
	return w.buf[:n], nil
}

// pass says how many bytes after off, which the window holds, are no record's beginning, as far as the window goes: no index
// in [next, next+ahead] stands there. It is a multiple of recordAlign, at least one.
func (w *window) pass(off int64, next, ahead uint64) int64 {
	b := w.buf[off-w.off:]
	i := recordAlign
	for i+recordHeader <= len(b) && le.Uint64(b[i+8:])-next > ahead {
		i += recordAlign
	}
	return int64(i)
}

// crc continues a checksum over n bytes at off.
func (w *window) crc(sum uint32, off, n int64) (uint32, error) {
	for n > 0 {
		// What the buffer holds first, so that no byte is read twice.
		part := min(n, int64(cap(w.buf)))
		if in := w.off + int64(len(w.buf)) - off; off >= w.off && in > 0 {
			part = min(n, in)
		}
		b, err := w.at(off, int(part))
		if err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, b)
		off, n = off+part, n-part
	}
	return sum, nil
}

// scanner reads the records of one segment.
type scanner struct {
	win    window
	hdr    segmentHeader
	salted uint32
	// visit is called for each valid record, in order. One whose append turns out to be incomplete has been passed too.
	visit func(r record, off int64) error
}

// scanResult is what a scan found.
type scanResult struct {
	end        int64  // behind the last whole append
	next       uint64 // index that comes after it
	stop       int64  // where the valid records end
	incomplete int    // valid records between end and stop
	reason     string // why stop is not a record; '' when it is the end of the file
	leftover   int    // headers of this segment's records seen behind stop
	// later is the offset of a record that was written when stop was durable, 0 if there is none: stop is damaged.
	later int64
}

func newScanner(r io.ReaderAt, size int64, hdr segmentHeader, visit func(record, int64) error) *scanner {
	return &scanner{win: window{r: r, size: size}, hdr: hdr, salted: saltCRC(hdr.salt), visit: visit}
}

// scan reads all valid records; search says whether to look for later ones behind the first that is not.
// The error is of reading or from visit, never about what was read.
func (s *scanner) scan(search bool) (res scanResult, err error) {
	res = scanResult{end: dataStart, next: s.hdr.first, stop: dataStart}
	off, next, group := int64(dataStart), s.hdr.first, int64(dataStart)
	for off+recordHeader <= s.win.size {
		r, reason, err := s.recordAt(off, next, group, res.incomplete > 0)
		if err != nil {
			return res, err
		}
		if reason != "" {
			res.reason = reason
			break
		}
		if err := s.visit(r, off); err != nil {
			return res, err
		}
		group = off - int64(r.back)*recordAlign
		off += paddedBytes(int(r.length))
		if r.typ == typeData {
			next++
		}
		res.stop = off
		res.incomplete++
		if r.flags&flagEnd != 0 {
			res.end, res.next, res.incomplete = off, next, 0
		}
	}
	if search && res.stop+recordAlign+recordHeader <= s.win.size {
		err = s.searchLater(&res, next)
	}
	return res, err
}

// recordAt reads the record at off. reason says why there is none.
func (s *scanner) recordAt(off int64, next uint64, group int64, open bool) (r record, reason string, err error) {
	b, err := s.win.at(off, recordHeader)
	if err != nil {
		return r, "", err
	}
	r, ok := parseRecord(b, s.salted)
	start := off - int64(r.back)*recordAlign
	switch {
	case !ok:
		return r, reasonNoHeader, nil
	case r.typ != typeData && r.typ != typeFront || r.typ == typeFront && r.length != 8:
		return r, "unknown type of record", nil
	case r.index != next:
		return r, fmt.Sprintf("index is %d, want %d", r.index, next), nil
	case start != off && start != group:
		return r, "record is of another group", nil
	case start == off && open:
		return r, "a group starts within an append", nil
	case !s.fits(off, r):
		return r, "record is longer than the file", nil
	}
	sum, err := s.payloadCRC(off)
	if err != nil {
		return r, "", err
	}
	if sum != r.crc {
		return r, "checksum is wrong", nil
	}
	return r, "", nil
}

func (s *scanner) fits(off int64, r record) bool {
	return r.length <= maxRecordBytes && off+paddedBytes(int(r.length)) <= s.win.size
}

// payloadCRC is the checksum of the record at off, which fits.
func (s *scanner) payloadCRC(off int64) (uint32, error) {
	b, err := s.win.at(off, recordHeader)
	if err != nil {
		return 0, err
	}
	n := int64(le.Uint32(b[4:]))
	sum := crc32.Update(s.salted, castagnoli, b[4:])
	return s.win.crc(sum, off+recordHeader, n)
}

// searchLater looks behind res.stop for a valid record of a group that starts behind it, and sets res.later.
func (s *scanner) searchLater(res *scanResult, next uint64) error {
	budget := searchFactor * s.win.size
	for off := res.stop + recordAlign; off+recordHeader <= s.win.size; off += recordAlign {
		b, err := s.win.at(off, recordHeader)
		if err != nil {
			return err
		}
		// A cheap look first: zeros and old records of a used file are passed at memory speed.
		if ahead := le.Uint64(b[8:]) - next; ahead > uint64(off-res.stop)/recordHeader {
			off += s.win.pass(off, next, uint64(s.win.size)/recordHeader) - recordAlign
			continue
		}
		r, ok := parseRecord(b, s.salted)
		if !ok || r.typ != typeData && r.typ != typeFront {
			continue
		}
		res.leftover++
		if off-int64(r.back)*recordAlign <= res.stop || !s.fits(off, r) {
			continue
		}
		sum := r.crc
		// Nobody writes so many false headers by accident: beyond the budget one is believed.
		if budget -= recordHeader + int64(r.length); budget >= 0 {
			if sum, err = s.payloadCRC(off); err != nil {
				return err
			}
		}
		if sum == r.crc {
			res.later = off
			return nil
		}
	}
	return nil
}

package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// request is a call that waits for the leader: an append, or, with run, something to be done alone.
type request struct {
	recs  [][]byte
	note  any    // for Options.Committed
	index uint64 // wanted index of the first record, 0 = the next
	bytes int    // in the file
	run   func() error

	first uint64 // index of the first record
	err   error
	lead  bool          // woken to lead, not because it is done
	wake  chan struct{} // holds one
}

var requests = sync.Pool{New: func() any { return &request{wake: make(chan struct{}, 1)} }}

// Append appends records, all or none, and returns the index of the first. On return they are durable, readable and have
// been passed to Options.Committed. The records are borrowed. No records is no error and returns the next index.
//
// An error that does not wrap ErrReadOnly says that the records are not in the log and never will be.
func (l *Log) Append(recs [][]byte) (first uint64, err error) { return l.append(0, recs, nil) }

// AppendNoted is Append with something for Options.Committed, such as what the records were made from. The log does not keep it.
func (l *Log) AppendNoted(recs [][]byte, note any) (first uint64, err error) {
	return l.append(0, recs, note)
}

// AppendAt is Append at an index that the caller chooses. It must be the next one; only an empty log may start anywhere.
func (l *Log) AppendAt(index uint64, recs [][]byte) error {
	if index == 0 {
		return fmt.Errorf("append at index 0: %w", ErrOutOfOrder)
	}
	_, err := l.append(index, recs, nil)
	return err
}

func (l *Log) append(index uint64, recs [][]byte, note any) (first uint64, err error) {
	if len(recs) == 0 {
		return l.NextIndex(), nil
	}
	r := requests.Get().(*request)
	r.recs, r.note, r.index, r.run, r.bytes = recs, note, index, nil, 0
	for _, rec := range recs {
		if len(rec) > l.opts.MaxRecordBytes {
			r.recs, r.note = nil, nil
			requests.Put(r)
			return 0, fmt.Errorf("append record of %d bytes, the limit is %d: %w", len(rec), l.opts.MaxRecordBytes, ErrTooLarge)
		}
		r.bytes += int(paddedBytes(len(rec)))
	}
	if r.bytes > maxAppendBytes {
		r.recs, r.note = nil, nil
		requests.Put(r)
		return 0, fmt.Errorf("append of %d bytes, the limit is %d: %w", r.bytes, int64(maxAppendBytes), ErrTooLarge)
	}
	l.submit(r)
	first, err = r.first, r.err
	r.recs, r.note = nil, nil
	requests.Put(r)
	return first, err
}

// control runs f as the leader, between groups.
func (l *Log) control(f func() error) error {
	r := requests.Get().(*request)
	r.recs, r.note, r.index, r.run, r.bytes = nil, nil, 0, f, 0
	l.submit(r)
	err := r.err
	r.run = nil
	requests.Put(r)
	return err
}

// submit queues a request and returns when it is done.
func (l *Log) submit(r *request) {
	r.first, r.err, r.lead = 0, nil, false
	l.queueMu.Lock()
	if l.closed {
		l.queueMu.Unlock()
		r.err = ErrClosed
		return
	}
	l.queue = append(l.queue, r)
	l.queuedBytes += r.bytes
	if l.leading {
		if l.queuedBytes >= l.opts.MaxBatchBytes {
			select {
			case l.full <- struct{}{}:
			default:
			}
		}
		l.queueMu.Unlock()
		if <-r.wake; !r.lead {
			return
		}
	} else {
		l.leading = true
		l.queueMu.Unlock()
	}
	l.lead(r)
}

// lead does what is queued up to a group's worth, own first in it, and hands over.
func (l *Log) lead(own *request) {
	if l.opts.MaxDelay > 0 && own.run == nil {
		l.waitForMore()
	}
	group := l.take()
	whole := false
	defer func() {
		if !whole { // a panic in the hook, say: nobody knows what of the group is written, and the others must not hang
			err := l.poison(errors.New("a commit was left by a panic"))
			for _, r := range group[1:] {
				r.err = err
			}
		}
		l.handOver(group)
	}()
	if group[0].run != nil {
		group[0].err = group[0].run()
	} else {
		l.commit(group)
	}
	whole = true
}

// handOver wakes those whose requests are done, and the next leader if more are queued.
func (l *Log) handOver(group []*request) {
	for _, r := range group[1:] {
		r.wake <- struct{}{}
	}
	clear(group)
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	switch {
	case len(l.queue) == 0:
		l.leading = false
	case l.closed:
		for _, r := range l.queue {
			r.err = ErrClosed
			r.wake <- struct{}{}
		}
		l.queue, l.leading = nil, false
	default:
		l.queue[0].lead = true
		l.queue[0].wake <- struct{}{}
	}
}

// waitForMore waits until enough is queued for a group, at most MaxDelay.
func (l *Log) waitForMore() {
	l.queueMu.Lock()
	enough := l.queuedBytes >= l.opts.MaxBatchBytes
	select {
	case <-l.full: // of an earlier group
	default:
	}
	l.queueMu.Unlock()
	if enough {
		return
	}
	t := time.NewTimer(l.opts.MaxDelay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.full:
	}
}

// take removes from the queue what is to be done next: one control, or appends of up to MaxBatchBytes together. The result
// is valid until the next take.
func (l *Log) take() []*request {
	l.queueMu.Lock()
	defer l.queueMu.Unlock()
	n, bytes := 0, 0
	for _, r := range l.queue {
		if n > 0 && (r.run != nil || bytes+r.bytes > l.opts.MaxBatchBytes) {
			break
		}
		n++
		bytes += r.bytes
		if r.run != nil {
			break
		}
	}
	l.out.group = append(l.out.group[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	l.queuedBytes -= bytes
	return l.out.group
}

// commit writes a group of appends, makes it durable and publishes it. Each request gets its first index or its error.
func (l *Log) commit(group []*request) {
	err := l.Err()
	if err == nil {
		err = l.place(group)
	}
	if err == nil {
		err = l.writeGroup(group)
	}
	for _, r := range group {
		if err != nil && r.err == nil {
			r.first, r.err = 0, fmt.Errorf("append to log: %w", err)
		}
		if r.err == nil && l.opts.Committed != nil {
			l.opts.Committed(r.first, r.recs, r.note)
		}
	}
}

// place gives indices to the appends and makes sure that the tail has room for them.
func (l *Log) place(group []*request) error {
	next, need, restart := l.next, int64(0), false
	for _, r := range group {
		if r.index != 0 && r.index != next {
			if l.front < l.next || next != l.next || need > 0 {
				r.err = fmt.Errorf("append at index %d, next is %d: %w", r.index, next, ErrOutOfOrder)
				continue
			}
			next, restart = r.index, true
		}
		r.first = next
		next += uint64(len(r.recs))
		need += int64(r.bytes)
	}
	switch {
	case need == 0:
		return nil
	case restart:
		first := next
		for _, r := range group {
			if r.err == nil {
				first = min(first, r.first)
			}
		}
		return l.rotate(first, first, need)
	}
	return l.makeRoom(l.next, l.front, need)
}

// makeRoom makes sure that the tail takes need more bytes, in a new segment if it must.
func (l *Log) makeRoom(first, front uint64, need int64) error {
	if len(l.segs) == 0 || l.rotateNext {
		return l.rotate(first, front, need)
	}
	tail := l.segs[len(l.segs)-1]
	if room := max(tail.capacity, l.opts.SegmentBytes) - tail.end; need > room && tail.end > dataStart {
		return l.rotate(first, front, need)
	}
	return nil
}

// rotate makes a new tail. What the segments so far hold from index first on is void from then on, what lies below front too.
func (l *Log) rotate(first, front uint64, need int64) error {
	hdr := segmentHeader{
		salt:         rand.Uint64(),
		seq:          l.seq + 1,
		first:        first,
		front:        front,
		createdNanos: l.opts.NowNanos(),
	}
	if l.opts.NoSync {
		hdr.flags |= flagUnsynced
	}
	if n := len(l.segs); n > 0 {
		hdr.prevEnd = l.segs[n-1].end
	}
	s, named, err := l.makeSegment(hdr, max(l.opts.SegmentBytes, dataStart+need))
	if err != nil {
		err = fmt.Errorf("make segment %d: %w", hdr.seq, err)
		if named {
			// A restart may find the new segment, and then void what the old one gets after this.
			return l.poison(err)
		}
		l.met.update(func(m *Metrics) { m.WriteErrors++ })
		l.setSpareCount()
		return err
	}
	l.seq, l.rotateNext = hdr.seq, false
	l.met.update(func(m *Metrics) { m.Rotations++ })
	l.state.Lock()
	for _, old := range l.segs {
		old.trim(first)
	}
	l.shrink()
	l.segs = append(l.segs, s)
	l.front, l.next, l.spareCount = front, first, len(l.spares)
	l.state.Unlock()
	return l.dropSegments()
}

// shrink gives back what the tail, soon sealed, has reserved and does not use, if that is much. The state is locked.
func (l *Log) shrink() {
	if len(l.segs) == 0 {
		return
	}
	s := l.segs[len(l.segs)-1]
	if s.end < s.capacity/4*3 && s.file.Truncate(s.end) == nil {
		s.capacity = s.end
	}
}

const (
	chunkBytes  = 1 << 20   // what is gathered before it is written
	directBytes = 128 << 10 // a payload of this size is written from where it is
)

// groupWriter puts the records of a group behind the tail.
type groupWriter struct {
	group []*request // scratch of take
	offs  []uint32   // of the data records written
	s     *segment
	start int64 // of the group in the file
	off   int64 // of buf[0] in the file
	buf   []byte
}

func (w *groupWriter) begin(s *segment) {
	w.s, w.start, w.off, w.buf, w.offs = s, s.end, s.end, w.buf[:0], w.offs[:0]
}

func (w *groupWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.s.file.WriteAt(w.buf, w.off)
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

func (w *groupWriter) record(typ, flags uint8, index uint64, payload []byte) error {
	at := w.off + int64(len(w.buf))
	if typ == typeData {
		w.offs = append(w.offs, uint32(at/recordAlign))
	}
	w.buf = appendRecordHeader(w.buf, w.s.salted, typ, flags, index, uint32((at-w.start)/recordAlign), payload)
	if len(payload) < directBytes {
		w.buf = append(w.buf, payload...)
	} else {
		if err := w.flush(); err != nil {
			return err
		}
		if _, err := w.s.file.WriteAt(payload, w.off); err != nil {
			return err
		}
		w.off += int64(len(payload))
	}
	for pad := paddedBytes(len(payload)) - recordHeader - int64(len(payload)); pad > 0; pad-- {
		w.buf = append(w.buf, 0)
	}
	if len(w.buf) >= chunkBytes {
		return w.flush()
	}
	return nil
}

// writeGroup writes the placed appends of a group and publishes them when they are durable.
func (l *Log) writeGroup(group []*request) error {
	if len(l.segs) == 0 {
		return nil // nothing was placed
	}
	w := &l.out
	w.begin(l.segs[len(l.segs)-1])
	var stats Metrics
	var err error
	next := l.next
	for _, r := range group {
		if r.err != nil {
			continue
		}
		stats.Appends++
		for i, rec := range r.recs {
			flags := uint8(0)
			if i == len(r.recs)-1 {
				flags = flagEnd
			}
			if err = w.record(typeData, flags, next, rec); err != nil {
				return l.undo(err)
			}
			next++
			stats.Records++
			stats.PayloadBytes += uint64(len(rec))
		}
	}
	if stats.Appends == 0 {
		return nil
	}
	return l.finish(next, stats)
}

// writeFront writes a front record, or a new segment that states the front.
func (l *Log) writeFront(front uint64) error {
	seq := l.seq
	if err := l.makeRoom(l.next, front, paddedBytes(8)); err != nil || l.seq != seq {
		return err // or a new segment says it
	}
	w := &l.out
	w.begin(l.segs[len(l.segs)-1])
	if err := w.record(typeFront, flagEnd, l.next, le.AppendUint64(nil, front)); err != nil {
		return l.undo(err)
	}
	return l.finish(l.next, Metrics{})
}

// finish makes the group durable that out has gathered, and publishes it.
func (l *Log) finish(next uint64, stats Metrics) error {
	w := &l.out
	if err := w.flush(); err != nil {
		return l.undo(err)
	}
	if err := l.sync(w.s.file); err != nil {
		return l.poison(fmt.Errorf("sync %s: %w", w.s.name, err))
	}
	l.state.Lock()
	w.s.offs = append(w.s.offs, w.offs...)
	w.s.end = w.off
	w.s.capacity = max(w.s.capacity, w.off)
	l.next = next
	l.state.Unlock()
	l.met.update(func(m *Metrics) {
		m.Groups++
		m.Appends += stats.Appends
		m.Records += stats.Records
		m.PayloadBytes += stats.PayloadBytes
		m.WrittenBytes += uint64(w.off - w.start)
		if stats.Appends > 0 {
			m.GroupSize.observe(int64(stats.Appends))
		}
	})
	return nil
}

// undo takes back a group whose write failed, so that nothing of it can appear after a restart, and returns the error of
// the append.
func (l *Log) undo(cause error) error {
	l.met.update(func(m *Metrics) { m.WriteErrors++ })
	s := l.out.s
	cause = fmt.Errorf("write to %s: %w", s.name, cause)
	err := s.file.Truncate(s.end)
	if err == nil {
		err = l.sync(s.file)
	}
	if err != nil {
		return l.poison(errors.Join(cause, fmt.Errorf("undo it: %w", err)))
	}
	// Room may be short; then writes will find out.
	capacity := s.end
	if want := l.opts.SegmentBytes; s.end < want && s.file.Preallocate(s.end, want-s.end) == nil {
		capacity = want
	}
	l.state.Lock()
	s.capacity = capacity
	l.state.Unlock()
	return cause
}

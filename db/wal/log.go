package wal

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/vfs"
)

// Log is a durable sequence of records with the indices FirstIndex to LastIndex. All methods are safe for concurrent use.
//
// A directory belongs to one Log at a time; to see to that (vfs.FS.Lock) is for the caller.
type Log struct {
	dir  string
	opts Options
	fs   vfs.FS
	met  metrics

	// queueMu guards queue, leading, queuedBytes and closed. There is no goroutine of the log's own: the first caller who
	// finds nobody leading leads, does what is queued, and hands over to one who came meanwhile.
	queueMu     sync.Mutex
	queue       []*request
	queuedBytes int
	leading     bool
	closed      bool
	full        chan struct{} // tells a leader that waits for MaxDelay that enough is queued

	// state guards the fields below for readers. They are changed by the leader alone, under the lock.
	state      sync.RWMutex
	segs       []*segment // ascending; the last is the tail
	front      uint64     // lowest index that is in the log, if it has any
	next       uint64     // index of the next record
	spareCount int        // len(spares), for Metrics
	released   bool       // Close has given up the files

	// retiring is held while segments are given up, beside the leader; it comes before the queue.
	retiring sync.Mutex

	// Of the leader alone:
	spares     []uint64 // numbers of the .free files, all of SegmentBytes
	seq        uint64   // number of the newest segment
	rotateNext bool     // the tail must not be written to any more
	out        groupWriter

	fatal atomic.Pointer[error] // why the log is read-only
}

// Open opens the log in a directory and makes it if there is none. Damage is a *CorruptionError, a torn tail is cut (see
// Metrics).
func Open(dir string, opts ...func(*Options)) (*Log, error) {
	l := &Log{dir: dir, front: 1, next: 1, full: make(chan struct{}, 1)}
	for _, o := range opts {
		o(&l.opts)
	}
	if err := l.opts.fill(); err != nil {
		return nil, fmt.Errorf("options of log %s: %w", dir, err)
	}
	l.fs = l.opts.FS
	if err := l.recover(); err != nil {
		for _, s := range l.segs {
			_ = s.release() // the error of recovery is the one to tell
		}
		return nil, fmt.Errorf("open log %s: %w", dir, err)
	}
	return l, nil
}

// FirstIndex returns the index of the first record, 0 if the log is empty.
func (l *Log) FirstIndex() uint64 {
	l.state.RLock()
	defer l.state.RUnlock()
	if l.front >= l.next {
		return 0
	}
	return l.front
}

// LastIndex returns the index of the last record, 0 if the log is empty. That record is durable.
func (l *Log) LastIndex() uint64 {
	l.state.RLock()
	defer l.state.RUnlock()
	if l.front >= l.next {
		return 0
	}
	return l.next - 1
}

// NextIndex returns the index that the next Append gives to its first record, also when the log is empty.
func (l *Log) NextIndex() uint64 {
	l.state.RLock()
	defer l.state.RUnlock()
	return l.next
}

// Err returns why the log is read-only, an error that wraps ErrReadOnly, or nil.
func (l *Log) Err() error {
	if p := l.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

// poison makes the log read-only and returns the error that says so.
func (l *Log) poison(cause error) error {
	err := fmt.Errorf("%w: %w", ErrReadOnly, cause)
	l.fatal.CompareAndSwap(nil, &err)
	return *l.fatal.Load()
}

// Close waits for the appends under way and closes the files; nothing is lost without it. The second call does nothing.
func (l *Log) Close() error {
	l.retiring.Lock()
	defer l.retiring.Unlock()
	err := l.control(func() error {
		l.queueMu.Lock()
		l.closed = true
		l.queueMu.Unlock()
		l.state.Lock()
		segs := l.segs
		l.segs, l.front, l.released = nil, l.next, true
		l.state.Unlock()
		var errs []error
		for _, s := range segs {
			errs = append(errs, s.release())
		}
		return errors.Join(errs...)
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// TruncateFront removes all records up to and including upto, durably; the disk space of whole segments is given back.
// An upto beyond the last index empties the log. The next index stays. Appends wait for one sync of it, not for the rest.
func (l *Log) TruncateFront(upto uint64) error {
	l.retiring.Lock()
	defer l.retiring.Unlock()
	var drop []*segment
	var room int
	err := l.control(func() error {
		if err := l.Err(); err != nil {
			return err
		}
		if upto < l.front || len(l.segs) == 0 {
			return nil
		}
		front := l.next
		if upto < front {
			front = upto + 1
		}
		if front == l.front {
			return nil
		}
		if err := l.writeFront(front); err != nil {
			return fmt.Errorf("truncate front to %d: %w", upto, err)
		}
		l.state.Lock()
		l.front = front
		l.state.Unlock()
		drop, room = l.detach(), l.opts.RecycleSegments-len(l.spares)
		return nil
	})
	if err != nil || len(drop) == 0 {
		return err
	}
	spares, err := l.giveUp(drop, room)
	if err != nil {
		return err
	}
	err = l.control(func() error {
		l.addSpares(spares)
		return nil
	})
	if errors.Is(err, ErrClosed) {
		return nil // the next Open finds them
	}
	return err
}

// TruncateBack removes all records from index from on, durably and at once; from is the next index after that. A from
// beyond the last index does nothing; one below the first empties the log.
func (l *Log) TruncateBack(from uint64) error {
	if from == 0 {
		return errors.New("truncate back from index 0: indices start at 1")
	}
	return l.control(func() error {
		if err := l.Err(); err != nil {
			return err
		}
		if from >= l.next {
			return nil
		}
		if err := l.rotate(from, min(l.front, from), 0); err != nil {
			return fmt.Errorf("truncate back from %d: %w", from, err)
		}
		return nil
	})
}

// dropSegments gives up the segments that the front has passed. Of the leader.
func (l *Log) dropSegments() error {
	drop := l.detach()
	if len(drop) == 0 {
		return nil
	}
	spares, err := l.giveUp(drop, l.opts.RecycleSegments-len(l.spares))
	if err == nil {
		l.addSpares(spares)
	}
	return err
}

// detach takes from the log the segments that the front has passed. Of the leader.
func (l *Log) detach() []*segment {
	n := 0
	for n+1 < len(l.segs) && l.segs[n+1].hdr.first <= l.front {
		n++
	}
	if n == 0 {
		return nil
	}
	l.state.Lock()
	defer l.state.Unlock()
	drop := l.segs[:n:n]
	l.segs = append([]*segment(nil), l.segs[n:]...)
	return drop
}

// giveUp retires segments that were detached, of which up to room become spares. A file that cannot be removed is counted
// and left to the next Open; only a sync that fails is an error.
func (l *Log) giveUp(drop []*segment, room int) (spares []uint64, err error) {
	failed := uint64(0)
	for _, s := range drop {
		spare, err := l.retire(s, len(spares) < room)
		if err != nil {
			failed++
		}
		if spare {
			spares = append(spares, s.hdr.seq)
		}
	}
	l.met.update(func(m *Metrics) {
		m.Removed += uint64(len(drop))
		m.RemoveErrors += failed
	})
	// A spare must not be used while its old name may come back, so this comes before anything else.
	if err := l.syncDir(); err != nil {
		return nil, l.poison(err)
	}
	return spares, nil
}

// addSpares makes spares of files that have a spare's name, durably. Of the leader.
func (l *Log) addSpares(spares []uint64) {
	l.spares = append(l.spares, spares...)
	l.setSpareCount()
}

func (l *Log) setSpareCount() {
	l.state.Lock()
	l.spareCount = len(l.spares)
	l.state.Unlock()
}

// path is the full path of a file of the log.
func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }

//go:build windows || darwin

package capture

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// SharedSocket says whether one source can capture on several interfaces: on all, or on those of a Selection. Here it cannot.
const SharedSocket = false

// device is an open interface. Its methods but wake and stats are called by one goroutine.
type device interface {
	// read appends frames to the batch until it is full, there are no more, or the time of LiveOptions.BlockTimeout is over.
	// What the frames point to is valid until the next call.
	read(b *Batch, most int) error
	// wake ends a read that waits, as soon as the system lets it.
	wake()
	// dropped is how many frames were lost since the interface was opened.
	dropped() (uint64, error)
	close() error
}

// Live is a Source that captures from a network interface.
type Live struct {
	o     LiveOptions
	d     device
	batch Batch // guarded by run

	run    sync.Mutex
	closed atomic.Bool

	packets, bytes, ignored atomic.Uint64

	stats    sync.Mutex // guards what follows, and keeps d open for Metrics
	drops    uint64
	released bool
}

// OpenLive starts to capture on an interface, which has to be named. Without the right to the error is an ErrPermission.
func OpenLive(opts ...func(*LiveOptions)) (*Live, error) {
	l, err := OpenFanout(1, opts...)
	if err != nil {
		return nil, err
	}
	return l[0], nil
}

// OpenFanout is OpenLive for n = 1; more sources cannot share an interface on this platform.
func OpenFanout(n int, opts ...func(*LiveOptions)) ([]*Live, error) {
	var o LiveOptions
	for _, f := range opts {
		f(&o)
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	switch {
	case n != 1:
		return nil, fmt.Errorf("%w: %d sources that share an interface", ErrUnsupported, n)
	case o.Namespace != nil:
		return nil, fmt.Errorf("%w: network namespaces", ErrUnsupported)
	case o.Select != nil || o.Interface == "":
		return nil, fmt.Errorf("%w: a source for several interfaces", ErrUnsupported)
	}
	d, err := openDevice(&o)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", o.Interface, err)
	}
	return []*Live{{o: o, d: d, batch: Batch{Frames: make([]Frame, 0, o.BatchFrames)}}}, nil
}

// Run delivers frames until the source is closed (nil), ctx ends, fn fails or the interface goes away. It may be called again
// after ctx ended.
func (l *Live) Run(ctx context.Context, fn func(*Batch) error) error {
	if !l.run.TryLock() {
		return ErrBusy
	}
	defer l.run.Unlock()
	stop := context.AfterFunc(ctx, l.wake)
	defer stop()
	for !l.closed.Load() {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.batch.Frames = l.batch.Frames[:0]
		if err := l.d.read(&l.batch, l.o.BatchFrames); err != nil {
			if l.closed.Load() {
				return nil
			}
			return fmt.Errorf("capture on %s: %w", l.o.Interface, err)
		}
		if len(l.batch.Frames) == 0 {
			continue
		}
		size := 0
		for i := range l.batch.Frames {
			size += len(l.batch.Frames[i].Data)
		}
		l.packets.Add(uint64(len(l.batch.Frames)))
		l.bytes.Add(uint64(size))
		if err := fn(&l.batch); err != nil {
			return err
		}
	}
	if l.isReleased() {
		return ErrClosed
	}
	return nil
}

func (l *Live) isReleased() bool {
	l.stats.Lock()
	defer l.stats.Unlock()
	return l.released
}

func (l *Live) wake() {
	l.stats.Lock()
	defer l.stats.Unlock()
	if !l.released {
		l.d.wake()
	}
}

// Metrics returns the counters.
func (l *Live) Metrics() Metrics {
	l.stats.Lock()
	defer l.stats.Unlock()
	if !l.released {
		if n, err := l.d.dropped(); err == nil {
			l.drops = max(l.drops, n)
		}
	}
	return Metrics{Packets: l.packets.Load(), Bytes: l.bytes.Load(), KernelDrops: l.drops, Ignored: l.ignored.Load()}
}

// Close ends Run and waits for it. It must not be called from the callback.
func (l *Live) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.wake()
	l.run.Lock()
	defer l.run.Unlock()
	_ = l.Metrics() // the last look at what was dropped
	l.stats.Lock()
	defer l.stats.Unlock()
	l.released = true
	return l.d.close()
}

// timeout is how long a read waits at most, in whole milliseconds.
func (l *LiveOptions) timeout() time.Duration {
	return max(l.BlockTimeout.Truncate(time.Millisecond), time.Millisecond)
}

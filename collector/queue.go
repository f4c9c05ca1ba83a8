package collector

import (
	"context"
	"sync"
	"unsafe"

	"github.com/flowlake/flowlake/db/batch"
)

// queue holds the batches that wait for the sink, bounded by the memory they take. Several goroutines may put, one gets.
type queue struct {
	limit int64 // bytes

	mu      sync.Mutex // guards what follows
	batches []*batch.Batch
	bytes   int64
	closed  bool

	// more and room hold a token after the queue has grown, was closed or has shrunk: who waits looks again.
	more, room chan struct{}
}

func newQueue(limit int64) *queue {
	return &queue{limit: limit, more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put adds a batch and says whether there was room. An empty queue has room for any.
func (q *queue) put(b *batch.Batch) bool {
	size := memory(b)
	q.mu.Lock()
	fits := len(q.batches) == 0 || q.bytes+size <= q.limit
	if fits {
		q.batches = append(q.batches, b)
		q.bytes += size
	}
	q.mu.Unlock()
	if fits {
		signal(q.more)
	}
	return fits
}

// putWait is put that waits for room until ctx ends. One goroutine at a time may wait.
func (q *queue) putWait(ctx context.Context, b *batch.Batch) bool {
	for ctx.Err() == nil {
		if q.put(b) {
			return true
		}
		select {
		case <-q.room:
		case <-ctx.Done():
		}
	}
	return false
}

// get takes the oldest batch. It waits for one, and returns nil when the queue is closed and empty.
func (q *queue) get() *batch.Batch {
	for {
		q.mu.Lock()
		if len(q.batches) > 0 {
			b := q.batches[0]
			q.batches[0] = nil // the array outlives it
			q.batches = q.batches[1:]
			q.bytes -= memory(b)
			q.mu.Unlock()
			signal(q.room)
			return b
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		<-q.more
	}
}

// close says that nothing more will be put.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.more)
}

// waiting is how many batches wait, and their memory in bytes.
func (q *queue) waiting() (batches int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.batches), q.bytes
}

// memory is what a sealed batch takes, in bytes: the room its builder made for it, used or not.
func memory(b *batch.Batch) int64 {
	n := unsafe.Sizeof(*b) + unsafe.Sizeof(b.Cols[0])*uintptr(cap(b.Cols))
	for _, v := range b.Cols {
		if v == nil {
			continue
		}
		n += unsafe.Sizeof(*v) + 8*uintptr(cap(v.I64)+cap(v.F64)+cap(v.Valid)) + 4*uintptr(cap(v.Codes))
		if v.Dict != nil {
			data, offs := v.Dict.Arena()
			n += unsafe.Sizeof(*v.Dict) + uintptr(cap(data)) + 4*uintptr(cap(offs))
		}
	}
	return int64(n)
}

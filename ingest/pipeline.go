// Package ingest is the way of every batch from a door or a collector to where it is stored: validate, enrich, coalesce,
// hand on. What it does not take is counted by cause.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

var _ batch.Sink = (*Pipeline)(nil)

var (
	// ErrClosed is returned by Write after Close has begun.
	ErrClosed = errors.New("ingest pipeline is closed")
	// ErrBadRows is returned by Write when a batch cannot be stored as it is; writing it again cannot succeed.
	ErrBadRows = fmt.Errorf("bad rows: %w", batch.ErrRefused)
)

// Enricher adds columns to a batch: the result is a new header that shares b's columns, or b itself.
type Enricher interface {
	Enrich(b *batch.Batch) *batch.Batch
}

// Options tune a pipeline. The zero value of a field, or a negative one, means its default.
type Options struct {
	// Enricher adds tags; default none.
	Enricher Enricher
	// MaxRows is how many rows are put into one batch for the next sink, at most batch.MaxRows. Default 16384.
	MaxRows int
	// QueueBytes bounds the batches that wait, by their rough size in memory; past it Write waits for room. Default 128 MiB.
	QueueBytes int64
	// MaxFuture is how far rows may lie ahead of the clock; rows beyond it are dropped and counted. Default 10 minutes.
	MaxFuture time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (o *Options) ensureDefaults() {
	if o.MaxRows <= 0 {
		o.MaxRows = 16384
	}
	o.MaxRows = min(o.MaxRows, batch.MaxRows)
	if o.QueueBytes <= 0 {
		o.QueueBytes = 128 << 20
	}
	if o.MaxFuture <= 0 {
		o.MaxFuture = 10 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// groupBytes bounds the batches that are put together, by their rough size in memory: merging copies them.
const groupBytes = 16 << 20

// Pipeline is a batch.Sink in front of another. Write returns when the next sink has taken the rows: an acknowledgement
// passes through. Concurrent writes for one table travel on as one batch.
type Pipeline struct {
	o    Options
	next batch.Sink

	mu     sync.Mutex // guards what follows
	queue  map[*schema.Table][]*waiting
	order  []*schema.Table // tables with waiting batches, in order of arrival
	bytes  int64
	closed bool
	room   chan struct{} // closed and replaced when batches leave the queue

	kick chan struct{}
	done chan struct{}
	ctx  context.Context // of the worker: ends when Close gives up waiting
	stop context.CancelFunc
	m    metrics
}

type waiting struct {
	b     *batch.Batch
	size  int64
	reply chan error
}

type metrics struct {
	batches, rows, groups    atomic.Int64
	droppedFuture            atomic.Int64
	refusedBad, refusedFull  atomic.Int64
	refusedNext, refusedShut atomic.Int64
}

// Metrics is what a pipeline has done.
type Metrics struct {
	// Batches and Rows were taken and acknowledged; Groups is how many batches they made for the next sink.
	Batches, Rows, Groups int64
	// Dropped is rows that were left out of an acknowledged batch, by cause: "future".
	Dropped map[string]int64
	// Refused is rows whose Write failed, by cause: "bad_rows", "queue_full", "store" (the next sink's error), "closed".
	Refused map[string]int64
	// QueueBytes is what waits now.
	QueueBytes int64
}

// New starts a pipeline in front of next. Close ends it.
func New(next batch.Sink, opts ...func(*Options)) *Pipeline {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	o.ensureDefaults()
	ctx, stop := context.WithCancel(context.Background())
	p := &Pipeline{o: o, next: next, queue: map[*schema.Table][]*waiting{}, room: make(chan struct{}),
		kick: make(chan struct{}, 1), done: make(chan struct{}), ctx: ctx, stop: stop}
	go p.run()
	return p
}

// Write hands rows on and returns when they are stored. It waits while the queue is full, until ctx ends.
func (p *Pipeline) Write(ctx context.Context, b *batch.Batch) error {
	if b == nil || b.N == 0 {
		return nil
	}
	rows := int64(max(b.N, 0))
	b, err := p.validate(b)
	if err != nil {
		p.m.refusedBad.Add(rows)
		return err
	}
	if b == nil { // all dropped
		return nil
	}
	if p.o.Enricher != nil {
		b = p.o.Enricher.Enrich(b)
	}
	w := &waiting{b: b, size: sizeOf(b), reply: make(chan error, 1)}
	if err := p.enqueue(ctx, w); err != nil {
		if errors.Is(err, ErrClosed) {
			p.m.refusedShut.Add(int64(b.N))
		} else {
			p.m.refusedFull.Add(int64(b.N))
		}
		return err
	}
	// the rows are on their way: only their outcome counts, or the caller could not tell whether they were stored
	if err := <-w.reply; err != nil {
		p.m.refusedNext.Add(int64(b.N))
		return err
	}
	p.m.batches.Add(1)
	p.m.rows.Add(int64(b.N))
	return nil
}

// validate checks what must hold before rows of several senders are put together, and leaves out rows of the future. What
// the values are is left to the next sink, which refuses them for their sender alone.
func (p *Pipeline) validate(b *batch.Batch) (*batch.Batch, error) {
	if err := batch.Check(b); err != nil {
		return nil, fmt.Errorf("ingest: %w: %w", ErrBadRows, err)
	}
	t := b.Table
	if len(b.Cols) <= t.TimeColumn || b.Cols[t.TimeColumn] == nil {
		return nil, fmt.Errorf("ingest: rows of %s without a time: %w", t.Name, ErrBadRows)
	}
	limit := p.o.Now().Add(p.o.MaxFuture).UnixNano()
	if _, hi, _ := b.TimeRange(); hi <= limit {
		return b, nil
	}
	return p.dropFuture(b, limit), nil
}

func (p *Pipeline) dropFuture(b *batch.Batch, limit int64) *batch.Batch {
	var keep []int32
	for i, at := range b.Cols[b.Table.TimeColumn].I64 {
		if at <= limit {
			keep = append(keep, int32(i))
		}
	}
	p.m.droppedFuture.Add(int64(b.N - len(keep)))
	if len(keep) == 0 {
		return nil
	}
	out := &batch.Batch{Table: b.Table, N: len(keep), Cols: make([]*batch.Vector, len(b.Cols))}
	for i, v := range b.Cols {
		if v != nil {
			out.Cols[i] = &batch.Vector{}
			batch.Gather(out.Cols[i], v, keep)
		}
	}
	return out
}

// sizeOf is roughly what a batch takes in memory.
func sizeOf(b *batch.Batch) int64 {
	var n int64
	for _, v := range b.Cols {
		if v == nil {
			continue
		}
		n += 8*int64(len(v.I64)+len(v.F64)) + 4*int64(len(v.Codes))
		if v.Dict != nil {
			data, offs := v.Dict.Arena()
			n += int64(len(data) + 4*len(offs))
		}
	}
	return n
}

func (p *Pipeline) enqueue(ctx context.Context, w *waiting) error {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return ErrClosed
		}
		if p.bytes == 0 || p.bytes+w.size <= p.o.QueueBytes {
			t := w.b.Table
			if len(p.queue[t]) == 0 {
				p.order = append(p.order, t)
			}
			p.queue[t] = append(p.queue[t], w)
			p.bytes += w.size
			p.mu.Unlock()
			select {
			case p.kick <- struct{}{}:
			default:
			}
			return nil
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("ingest: %d bytes wait to be stored: %w", p.o.QueueBytes, ctx.Err())
		}
	}
}

// run is the pipeline's worker: it ends when the pipeline is closed and the queue is empty.
func (p *Pipeline) run() {
	defer close(p.done)
	for {
		group, closed := p.take()
		switch {
		case len(group) > 0:
			p.store(group)
		case closed:
			return
		default:
			<-p.kick
		}
	}
}

// take removes the batches of the table that has waited longest, up to MaxRows rows and groupBytes of them.
func (p *Pipeline) take() (group []*waiting, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.order) == 0 {
		return nil, p.closed
	}
	t := p.order[0]
	q := p.queue[t]
	rows, size, n := 0, int64(0), 0
	for n < len(q) && (n == 0 || rows+q[n].b.N <= p.o.MaxRows && size+q[n].size <= groupBytes) {
		rows += q[n].b.N
		size += q[n].size
		n++
	}
	p.bytes -= size
	group = q[:n:n]
	p.order = p.order[1:]
	if n < len(q) {
		p.queue[t] = q[n:]
		p.order = append(p.order, t)
	} else {
		delete(p.queue, t)
	}
	close(p.room)
	p.room = make(chan struct{})
	return group, p.closed
}

// store writes a group as one batch. When that is refused, by the sink or because the batches do not go together, each is
// written alone, so that one sender's bad rows do not take another's with them.
func (p *Pipeline) store(group []*waiting) {
	p.m.groups.Add(1)
	if len(group) == 1 {
		group[0].reply <- p.next.Write(p.ctx, group[0].b)
		return
	}
	parts := make([]*batch.Batch, len(group))
	for i, w := range group {
		parts[i] = w.b
	}
	b, err := batch.Merge(parts)
	if err == nil {
		err = p.next.Write(p.ctx, b)
	}
	for _, w := range group {
		if errors.Is(err, batch.ErrRefused) {
			w.reply <- p.next.Write(p.ctx, w.b)
		} else {
			w.reply <- err
		}
	}
}

// Close stops taking batches and waits until those that wait are stored, or until ctx ends: then they fail.
func (p *Pipeline) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	defer p.stop()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.stop()
	<-p.done
	return fmt.Errorf("ingest: close: %w", ctx.Err())
}

// Metrics is a snapshot.
func (p *Pipeline) Metrics() Metrics {
	p.mu.Lock()
	queued := p.bytes
	p.mu.Unlock()
	return Metrics{
		Batches: p.m.batches.Load(), Rows: p.m.rows.Load(), Groups: p.m.groups.Load(),
		Dropped: map[string]int64{"future": p.m.droppedFuture.Load()},
		Refused: map[string]int64{"bad_rows": p.m.refusedBad.Load(), "queue_full": p.m.refusedFull.Load(),
			"store": p.m.refusedNext.Load(), "closed": p.m.refusedShut.Load()},
		QueueBytes: queued,
	}
}

// Package collector watches: it captures frames, follows flows and requests in them, and hands rows of flows, spans and
// edges to a sink. It never holds up capture: what does not fit its queues is dropped and counted.
package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Options configure a Collector. The zero value of a field means its default.
type Options struct {
	// Interfaces are the names of those to capture on, or patterns (see capture.ParseSelection); default all ("any"). When
	// there is a pattern among them, interfaces may come and go, and are not expected to be there.
	Interfaces []string
	// Namespaces are the network namespaces to capture in: names or numbers of processes (see capture.OpenNamespace), Self for
	// that of the calling thread, AllNamespaces for it and all others, those included that come later. Default Self.
	Namespaces []string
	// Workers is how many sockets share the traffic of an interface, each with its own thread and flow table. Default 1.
	Workers int
	// Exclude leaves traffic out in the kernel: one's own doors.
	Exclude []capture.Rule
	// Filter leaves packets out in the kernel that it does not match; default none.
	Filter *pcapfilter.Expr
	// SnapBytes, RingBytes and Promiscuous are as in capture.LiveOptions; RingBytes is the whole ring of one worker,
	// default 32 MiB.
	SnapBytes, RingBytes int
	Promiscuous          bool
	// Agent goes into the column agent: the host's name.
	Agent string
	// Packets is given all frames that are captured, before they are looked at; default nobody.
	Packets PacketSink
	// Tables has the tables that rows are for; default schema.Builtin().
	Tables *schema.Registry
	// Tags gives the tag sets of addresses, for rows of network_1s and application_1s, one per edge and second. Without it
	// there are none.
	Tags Tagger
	// Flow are the flow tables' options. Where they leave these open, flows are shown to those who watch live: a first
	// report after 1 s, ended connections and answered look-ups after 500 ms. KeyByInterface is set for the interface
	// "any" and for patterns: a packet on its way through veth, bridge and network card is seen three times, as three flows.
	Flow flow.Options
	// QueueBytes bounds the batches that wait for the sink, by the memory they take; what does not fit is dropped and
	// counted. A flow's report takes 400 to 600 bytes, and all open flows are reported at the same moment, each minute.
	// Default 256 MiB.
	QueueBytes int64
	// SealEvery is how long rows wait to share a batch. Default 200 ms.
	SealEvery time.Duration
	// StopTimeout bounds how long Run goes on after capture has ended, to hand over what it has; what is left then is
	// dropped and counted. A Write that does not heed its context is waited for all the same. Default 10 s.
	StopTimeout time.Duration
	// Error is told about failures that capture goes on after; default nobody. It may be called from several goroutines.
	Error func(error)
}

func (o *Options) ensureDefaults() {
	if len(o.Interfaces) == 0 {
		o.Interfaces = []string{capture.AnyInterface}
	}
	o.Workers = max(o.Workers, 1)
	if o.RingBytes <= 0 {
		o.RingBytes = 32 << 20
	}
	if o.Tables == nil {
		o.Tables = schema.Builtin()
	}
	if o.QueueBytes <= 0 {
		o.QueueBytes = 256 << 20
	}
	if o.StopTimeout <= 0 {
		o.StopTimeout = 10 * time.Second
	}
	if o.SealEvery <= 0 {
		o.SealEvery = 200 * time.Millisecond
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	live := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if len(o.Namespaces) == 0 {
		o.Namespaces = []string{Self}
	}
	o.Flow.KeyByInterface = o.Flow.KeyByInterface || slices.Contains(o.Interfaces, capture.AnyInterface) ||
		slices.ContainsFunc(o.Interfaces, capture.IsPattern)
	live(&o.Flow.FirstReport, time.Second)
	live(&o.Flow.Timeouts.ClosedFIN, 500*time.Millisecond)
	live(&o.Flow.Timeouts.Answered, 500*time.Millisecond)
}

// PacketSink takes the frames themselves. Write is called by several goroutines at a time and must not wait; the frames are
// borrowed. namespace is that of the interfaces, "" for the collector's own; names are the names of interfaces by index.
type PacketSink interface {
	Write(namespace string, names map[uint32]string, frames []capture.Frame)
}

// tickLag is how far the flow tables' clock runs behind: frames wait this long at most in the kernel's ring.
const tickLag = 100 * time.Millisecond

// refreshPlace is how often the host's addresses and interface names are looked up again.
const refreshPlace = 10 * time.Second

// Collector captures live.
type Collector struct {
	o         Options
	sink      batch.Sink
	selection *capture.Selection // nil without patterns
	expanded  bool               // Interfaces are those that any or patterns stood for
	queue     *queue

	mu   sync.Mutex // guards what follows; a worker's lock may be taken while it is held
	taps []*tap
	gone seen // by taps that have ended

	rows, batches                          atomic.Uint64
	droppedQueue, droppedSink, droppedStop atomic.Uint64 // rows
}

// New opens the interfaces: what is captured waits in the kernel for Run. Without the right to capture the error is a
// capture.ErrPermission, on a platform without live capture a capture.ErrUnsupported.
func New(sink batch.Sink, opts ...func(*Options)) (*Collector, error) {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	c := newCollector(sink, o)
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// newCollector is one without sources.
func newCollector(sink batch.Sink, o Options) *Collector {
	o.ensureDefaults()
	return &Collector{o: o, sink: sink, queue: newQueue(o.QueueBytes)}
}

// enqueue never waits: capture comes first.
func (c *Collector) enqueue(b *batch.Batch) error {
	if !c.queue.put(b) {
		c.droppedQueue.Add(uint64(b.N))
	}
	return nil
}

// Run captures until ctx ends, then hands on the rows of all flows still open, for StopTimeout at most, and closes the
// interfaces. It returns the error that ended capture early, nil when ctx did. A Collector runs once.
func (c *Collector) Run(ctx context.Context) error {
	c.refresh()
	capturing, stop := context.WithCancel(ctx)
	defer stop()
	var sources, ticker, sender sync.WaitGroup
	var failed failure
	for _, t := range c.current() {
		sources.Add(1)
		go func() {
			defer sources.Done()
			defer stop() // one that fails ends all: a collector that sees half of the traffic would mislead
			if err := t.source.Run(capturing, t.worker.frames); err != nil && capturing.Err() == nil {
				failed.set(fmt.Errorf("capture: %w", err))
			}
		}()
	}
	if slices.Contains(c.o.Namespaces, AllNamespaces) {
		sources.Add(1)
		go func() { defer sources.Done(); c.roam(capturing) }()
	}
	// storing does not end with ctx: what was captured is stored
	storing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	sender.Add(1)
	go func() { defer sender.Done(); c.send(storing) }()
	ticker.Add(1)
	go func() { defer ticker.Done(); c.tick(capturing) }()
	sources.Wait()
	ticker.Wait()
	defer time.AfterFunc(c.o.StopTimeout, giveUp).Stop()
	for _, t := range c.current() {
		c.finish(storing, t.worker)
	}
	c.queue.close()
	sender.Wait()
	if n := c.droppedStop.Load(); n > 0 {
		c.o.Error(fmt.Errorf("stop: %d rows could not be stored within %v", n, c.o.StopTimeout))
	}
	return errors.Join(failed.err, c.close())
}

// finish reports all flows as they are: the collector stops, not they. There are no more packets to be late for, so it
// waits for room in the queue, until ctx ends.
func (c *Collector) finish(ctx context.Context, w *liveWorker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.w.emit = func(b *batch.Batch) error {
		w.mu.Unlock() // for Metrics; nobody else enters w any more
		defer w.mu.Lock()
		if !c.queue.putWait(ctx, b) {
			c.droppedStop.Add(uint64(b.N))
		}
		return nil
	}
	w.w.table.Report(time.Now().UnixNano())
	_ = w.w.seal() // emit counts what it drops
}

// tick lets time pass where there are no packets, and seals what rows there are.
func (c *Collector) tick(ctx context.Context) {
	seal, places := time.NewTicker(c.o.SealEvery), time.NewTicker(refreshPlace)
	defer seal.Stop()
	defer places.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-places.C:
			c.refresh()
		case now := <-seal.C:
			for _, t := range c.current() {
				w := t.worker
				w.mu.Lock()
				w.w.table.Tick(now.Add(-tickLag).UnixNano())
				_ = w.w.seal() // enqueue counts what it drops
				w.mu.Unlock()
			}
		}
	}
}

// send hands batches to the sink until the queue is closed and empty. When ctx ends, what is left is dropped and counted.
func (c *Collector) send(ctx context.Context) {
	for b := c.queue.get(); b != nil; b = c.queue.get() {
		if ctx.Err() != nil {
			c.droppedStop.Add(uint64(b.N))
			continue
		}
		switch err := c.sink.Write(ctx, b); {
		case err == nil:
			c.rows.Add(uint64(b.N))
			c.batches.Add(1)
		case ctx.Err() != nil && !errors.Is(err, batch.ErrRefused):
			c.droppedStop.Add(uint64(b.N))
		default:
			c.droppedSink.Add(uint64(b.N))
			c.o.Error(fmt.Errorf("store %d rows of %s: %w", b.N, b.Table.Name, err))
		}
	}
}

// LocalAddrs are the addresses of this host, loopback included.
func LocalAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().WithZone(""))
		}
	}
	return out, nil
}

// Metrics is what a collector has seen since New. Everything that was lost is in it, by cause.
type Metrics struct {
	Capture capture.Metrics
	// Undecoded frames by cause: "truncated", "not_ip", "bad_header", "other".
	Undecoded map[string]uint64
	Frames    uint64
	Flow      flow.Metrics
	Edges     EdgeMetrics
	// Rows and Batches were taken by the sink.
	Rows, Batches uint64
	// DroppedRows by cause: "queue_full" (the sink is too slow), "sink" (it refused them), "shutdown" (not taken by the
	// sink within StopTimeout).
	DroppedRows map[string]uint64
	// QueuedBatches wait for the sink now; they take QueuedBytes of memory.
	QueuedBatches int
	QueuedBytes   int64
}

// Metrics is a snapshot.
func (c *Collector) Metrics() Metrics {
	m := Metrics{Rows: c.rows.Load(), Batches: c.batches.Load(),
		DroppedRows: map[string]uint64{"queue_full": c.droppedQueue.Load(), "sink": c.droppedSink.Load(), "shutdown": c.droppedStop.Load()}}
	m.QueuedBatches, m.QueuedBytes = c.queue.waiting()
	c.mu.Lock()
	all := c.gone
	for _, t := range c.taps {
		s := t.seen()
		addFields(&all, &s)
	}
	c.mu.Unlock()
	m.Capture, m.Flow, m.Edges, m.Frames = all.Capture, all.Flow, all.Edges, all.Decodes.Frames
	m.Undecoded = map[string]uint64{"truncated": all.Decodes.Truncated, "not_ip": all.Decodes.NotIP, "bad_header": all.Decodes.Header,
		"other": all.Decodes.Other}
	return m
}

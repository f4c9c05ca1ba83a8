// Package collector watches: it captures frames, follows flows and requests in them, and hands rows of flows, spans and
// edges to a sink. It never holds up capture: what does not fit its queues is dropped and counted.
package collector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Options configure a Collector. The zero value of a field means its default.
type Options struct {
	// Interfaces are the names of those to capture on; default all ("any").
	Interfaces []string
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
	// Tables has the tables that rows are for; default schema.Builtin().
	Tables *schema.Registry
	// Tags gives the tag sets of addresses, for rows of network_1s and application_1s, one per edge and second. Without it
	// there are none.
	Tags Tagger
	// Flow are the flow tables' options. Where they leave these open, flows are shown to those who watch live: a first
	// report after 1 s, ended connections and answered look-ups after 500 ms. KeyByInterface is set for the interface
	// "any": a packet on its way through veth, bridge and network card is seen three times, as three flows.
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
	o.Flow.KeyByInterface = o.Flow.KeyByInterface || slices.Contains(o.Interfaces, capture.AnyInterface)
	live(&o.Flow.FirstReport, time.Second)
	live(&o.Flow.Timeouts.ClosedFIN, 500*time.Millisecond)
	live(&o.Flow.Timeouts.Answered, 500*time.Millisecond)
}

// tickLag is how far the flow tables' clock runs behind: frames wait this long at most in the kernel's ring.
const tickLag = 100 * time.Millisecond

// refreshPlace is how often the host's addresses and interface names are looked up again.
const refreshPlace = 10 * time.Second

// Collector captures live.
type Collector struct {
	o       Options
	sink    batch.Sink
	sources []capture.Source
	workers []*liveWorker
	queue   *queue

	rows, batches                          atomic.Uint64
	droppedQueue, droppedSink, droppedStop atomic.Uint64 // rows
}

// liveWorker is a worker that its source's goroutine and a ticker share.
type liveWorker struct {
	mu sync.Mutex // guards w and place
	w  *worker
	// place is what w's rows refer to; it is replaced in place under mu.
	place *place
}

// New opens the interfaces: what is captured waits in the kernel for Run. Without the right to capture the error is a
// capture.ErrPermission, on a platform without live capture a capture.ErrUnsupported.
func New(sink batch.Sink, opts ...func(*Options)) (*Collector, error) {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	c := newCollector(sink, o)
	for _, name := range c.o.Interfaces {
		if err := c.open(name); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// newCollector is one without sources.
func newCollector(sink batch.Sink, o Options) *Collector {
	o.ensureDefaults()
	return &Collector{o: o, sink: sink, queue: newQueue(o.QueueBytes)}
}

func (c *Collector) open(name string) error {
	live, err := capture.OpenFanout(c.o.Workers, func(l *capture.LiveOptions) {
		l.Interface, l.Exclude, l.SnapBytes, l.Promiscuous = name, c.o.Exclude, c.o.SnapBytes, c.o.Promiscuous
		l.Blocks, l.Filter = max(c.o.RingBytes>>20, 2), c.o.Filter
	})
	if err != nil {
		return err
	}
	for _, l := range live {
		c.sources = append(c.sources, l)
	}
	for range live {
		if err := c.addWorker(); err != nil {
			return err
		}
	}
	return nil
}

// addWorker makes the worker of a source.
func (c *Collector) addWorker() (err error) {
	w := &liveWorker{place: &place{agent: c.o.Agent}}
	if w.w, err = newWorker(c.o.Tables, w.place, c.o.Tags, c.o.Flow, c.enqueue); err != nil {
		return err
	}
	c.workers = append(c.workers, w)
	return nil
}

func (c *Collector) close() error {
	var errs []error
	for _, s := range c.sources {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
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
	errs := make([]error, len(c.sources))
	for i, s := range c.sources {
		sources.Add(1)
		go func() {
			defer sources.Done()
			defer stop() // one that fails ends all: a collector that sees half of the traffic would mislead
			if err := s.Run(capturing, c.workers[i].frames); err != nil && capturing.Err() == nil {
				errs[i] = fmt.Errorf("capture: %w", err)
			}
		}()
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
	for _, w := range c.workers {
		c.finish(storing, w)
	}
	c.queue.close()
	sender.Wait()
	if n := c.droppedStop.Load(); n > 0 {
		c.o.Error(fmt.Errorf("stop: %d rows could not be stored within %v", n, c.o.StopTimeout))
	}
	return errors.Join(append(errs, c.close())...)
}

func (w *liveWorker) frames(b *capture.Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.frames(b)
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
			for _, w := range c.workers {
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

// refresh looks up the host's addresses and interface names.
func (c *Collector) refresh() {
	local, names, err := hostPlace()
	if err != nil {
		c.o.Error(fmt.Errorf("look up interfaces: %w", err))
		return
	}
	for _, w := range c.workers {
		w.mu.Lock()
		w.place.local, w.place.names = local, names
		if w.w.edges != nil {
			w.w.edges.moved()
		}
		w.mu.Unlock()
	}
}

func hostPlace() (map[packet.Addr]bool, map[uint32]string, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, nil, err
	}
	names := make(map[uint32]string, len(ifaces))
	for _, i := range ifaces {
		names[uint32(i.Index)] = i.Name
	}
	addrs, err := LocalAddrs()
	if err != nil {
		return nil, nil, err
	}
	local := make(map[packet.Addr]bool, len(addrs))
	for _, a := range addrs {
		local[packet.Addr(a.As16())] = true
	}
	return local, names, nil
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
	m := Metrics{Undecoded: map[string]uint64{}, Rows: c.rows.Load(), Batches: c.batches.Load(),
		DroppedRows: map[string]uint64{"queue_full": c.droppedQueue.Load(), "sink": c.droppedSink.Load(), "shutdown": c.droppedStop.Load()}}
	m.QueuedBatches, m.QueuedBytes = c.queue.waiting()
	for _, s := range c.sources {
		sm := s.Metrics()
		addFields(&m.Capture, &sm)
	}
	for _, w := range c.workers {
		w.mu.Lock()
		d, f, edges := w.w.decodes, w.w.table.Metrics(), EdgeMetrics{}
		if w.w.edges != nil {
			edges = w.w.edges.m
		}
		w.mu.Unlock()
		m.Frames += d.frames
		maps.Copy(m.Undecoded, map[string]uint64{
			"truncated": m.Undecoded["truncated"] + d.truncated, "not_ip": m.Undecoded["not_ip"] + d.notIP,
			"bad_header": m.Undecoded["bad_header"] + d.header, "other": m.Undecoded["other"] + d.other,
		})
		addFields(&m.Flow, &f)
		addFields(&m.Edges, &edges)
	}
	return m
}

package collector

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// datagram is an Ethernet frame with a UDP datagram of flow i: each has its own client.
func datagram(i int) []byte {
	f := make([]byte, 14+20+8+4)
	f[0], f[6] = 2, 2
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)})
	copy(ip[16:], []byte{10, 255, 255, 1})
	binary.BigEndian.PutUint16(ip[20:], 40000+uint16(byte(i)))
	binary.BigEndian.PutUint16(ip[22:], 9999)
	binary.BigEndian.PutUint16(ip[24:], 12)
	return f
}

func datagrams(n int, at int64) *capture.Batch {
	b := &capture.Batch{}
	for i := range n {
		d := datagram(i)
		b.Frames = append(b.Frames, capture.Frame{Data: d, TimeNanos: at, WireLen: len(d), Link: packet.LinkEthernet})
	}
	return b
}

// source hands out frames once, says so, and then waits to be stopped.
type source struct {
	frames *capture.Batch
	handed chan struct{}
}

func (s *source) Run(ctx context.Context, fn func(*capture.Batch) error) error {
	if err := fn(s.frames); err != nil {
		return err
	}
	close(s.handed)
	<-ctx.Done()
	return ctx.Err()
}

func (s *source) Metrics() capture.Metrics {
	return capture.Metrics{Packets: uint64(len(s.frames.Frames))}
}
func (s *source) Close() error { return nil }

// watching is a running collector of n flows on a source that needs no rights.
type watching struct {
	*Collector
	stop context.CancelFunc
	done chan error
}

func watch(t *testing.T, sink batch.Sink, n int, opts ...func(*Options)) *watching {
	t.Helper()
	o := Options{SealEvery: time.Hour, Flow: flow.Options{FirstReport: time.Hour}}
	for _, f := range opts {
		f(&o)
	}
	c := newCollector(sink, o)
	src := &source{frames: datagrams(n, time.Now().UnixNano()), handed: make(chan struct{})}
	tap, err := c.newTap(src, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.taps = append(c.taps, tap)
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{c, cancel, make(chan error, 1)}
	go func() { w.done <- c.Run(ctx) }()
	t.Cleanup(cancel)
	select {
	case <-src.handed:
	case <-time.After(2 * time.Minute):
		t.Fatal("the frames were not taken")
	}
	return w
}

// ended waits for Run and checks that every row is accounted for.
func (w *watching) ended(t *testing.T) Metrics {
	t.Helper()
	select {
	case err := <-w.done:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the collector does not stop")
	}
	m := w.Metrics()
	var dropped uint64
	for _, n := range m.DroppedRows {
		dropped += n
	}
	if m.Rows+dropped != m.Flow.Reports+m.Edges.NetworkRows+m.Edges.ApplicationRows || m.QueuedBatches != 0 || m.QueuedBytes != 0 {
		t.Errorf("%d rows stored and %d dropped of %d, %d batches (%d bytes) left over", m.Rows, dropped, m.Flow.Reports, m.QueuedBatches, m.QueuedBytes)
	}
	return m
}

// sinkFunc is a sink.
type sinkFunc func(ctx context.Context, b *batch.Batch) error

func (f sinkFunc) Write(ctx context.Context, b *batch.Batch) error { return f(ctx, b) }

// TestStopWaitsForASlowSink: the last reports are more than the queue holds, none is dropped.
func TestStopWaitsForASlowSink(t *testing.T) {
	const flows = 5*sealRows + 10
	largest := 0
	w := watch(t, sinkFunc(func(_ context.Context, b *batch.Batch) error {
		largest = max(largest, b.N)
		time.Sleep(5 * time.Millisecond)
		return nil
	}), flows, func(o *Options) { o.QueueBytes = 1 })
	w.stop()
	m := w.ended(t)
	if m.Rows < flows || len(m.DroppedRows) != 3 || m.DroppedRows["queue_full"]+m.DroppedRows["sink"]+m.DroppedRows["shutdown"] != 0 {
		t.Fatalf("%d rows of %d flows, dropped %v", m.Rows, flows, m.DroppedRows)
	}
	if largest > sealRows {
		t.Errorf("a batch of %d rows", largest)
	}
}

// TestStopGivesUp: a sink that does not take rows holds up the end for StopTimeout, not for its own wait times the number of
// batches; what it did not take is counted.
func TestStopGivesUp(t *testing.T) {
	const flows = 4*sealRows + 10
	full := errors.New("disk full")
	for what, write := range map[string]sinkFunc{
		"heeds its context": func(ctx context.Context, _ *batch.Batch) error { <-ctx.Done(); return ctx.Err() },
		"does not heed it":  func(context.Context, *batch.Batch) error { time.Sleep(time.Second); return full },
	} {
		for _, size := range []int64{1, 0} { // no room for what waits, room for all
			var mu sync.Mutex
			var told []error
			w := watch(t, write, flows, func(o *Options) {
				o.QueueBytes, o.StopTimeout = size, 100*time.Millisecond
				o.Error = func(err error) { mu.Lock(); told = append(told, err); mu.Unlock() }
			})
			w.stop()
			w.Metrics() // answers while the collector waits
			m := w.ended(t)
			// had it waited for every batch, their rows would be counted as refused by the sink
			if m.DroppedRows["shutdown"] < flows-2*sealRows || m.DroppedRows["queue_full"] != 0 {
				t.Errorf("%s, queue %d: %v", what, size, m.DroppedRows)
			}
			mu.Lock()
			if len(told) == 0 {
				t.Errorf("%s, queue %d: nobody was told", what, size)
			}
			mu.Unlock()
		}
	}
}

// TestMetricsWhileStopping: a collector that waits for its sink still answers.
func TestMetricsWhileStopping(t *testing.T) {
	gate := make(chan struct{})
	w := watch(t, sinkFunc(func(context.Context, *batch.Batch) error { <-gate; return nil }), 4*sealRows, func(o *Options) { o.QueueBytes = 1 })
	w.stop()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for deadline := time.Now().Add(time.Minute); w.Metrics().QueuedBatches == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}()
	select {
	case <-answered:
	case <-time.After(2 * time.Minute):
		t.Error("no answer while the collector waits for room")
	}
	close(gate)
	if m := w.ended(t); m.Rows < 4*sealRows {
		t.Errorf("%+v", m.DroppedRows)
	}
}

// TestMinuteReportFitsTheQueue has one worker report many flows at once, with a sink that takes nothing meanwhile.
func TestMinuteReportFitsTheQueue(t *testing.T) {
	const flows = 100_000
	c := newCollector(nil, Options{Flow: flow.Options{FirstReport: time.Hour, Timeouts: flow.Timeouts{SingleDirection: time.Hour}}})
	tap, err := c.newTap(&source{frames: &capture.Batch{}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.taps = append(c.taps, tap)
	w := tap.worker.w
	at := time.Unix(1_700_000_000, 0)
	if err := w.frames(datagrams(flows, at.UnixNano())); err != nil {
		t.Fatal(err)
	}
	w.table.Tick(at.Add(2 * time.Minute).UnixNano())
	m := c.Metrics()
	if m.DroppedRows["queue_full"] != 0 || m.Flow.Reports < flows || m.QueuedBatches < flows/sealRows {
		t.Fatalf("%d reports, dropped %v, %d batches", m.Flow.Reports, m.DroppedRows, m.QueuedBatches)
	}
	t.Logf("%d rows wait in %d batches, %d bytes each", m.Flow.Reports, m.QueuedBatches, m.QueuedBytes/int64(m.Flow.Reports))
	c.queue.close()
	for b := c.queue.get(); b != nil; b = c.queue.get() {
		if b.N > sealRows {
			t.Errorf("a batch of %d rows", b.N)
		}
	}
}

// TestImportWritesBoundedBatches imports a capture whose flows all end with it.
func TestImportWritesBoundedBatches(t *testing.T) {
	const flows = 3*sealRows + 1
	name := filepath.Join(t.TempDir(), "many.pcap")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(file)
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0xa1b2c3d4) // microseconds
	head = le.AppendUint16(le.AppendUint16(head, 2), 4)
	head = append(head, make([]byte, 8)...)
	w.Write(le.AppendUint32(le.AppendUint32(head, 65535), 1)) // Ethernet
	for i := range flows {
		d := datagram(i)
		rec := le.AppendUint32(le.AppendUint32(nil, 1_700_000_000), uint32(i))
		rec = le.AppendUint32(le.AppendUint32(rec, uint32(len(d))), uint32(len(d)))
		w.Write(append(rec, d...))
	}
	if err := errors.Join(w.Flush(), file.Close()); err != nil {
		t.Fatal(err)
	}
	rows := 0
	stats, err := Import(context.Background(), name, sinkFunc(func(_ context.Context, b *batch.Batch) error {
		rows += b.N
		if b.N > sealRows {
			return fmt.Errorf("a batch of %d rows", b.N)
		}
		return nil
	}))
	if err != nil || rows != flows || stats.Flows != flows {
		t.Fatalf("%d rows of %d flows, %v; %+v", rows, flows, err, stats)
	}
}

func TestQueue(t *testing.T) {
	one := func(rows int) *batch.Batch {
		b := batch.NewBuilder(schema.Samples())
		for range rows {
			b.Int(0, 1)
			b.EndRow()
		}
		return b.Seal()
	}
	small, large := one(1), one(10_000)
	if s, l := memory(small), memory(large); s < 8 || s > 1000 || l < 80_000 || l > 300_000 {
		t.Fatalf("%d and %d bytes", s, l)
	}
	q := newQueue(2 * memory(small))
	if !q.put(large) {
		t.Error("an empty queue has room for any batch")
	}
	if q.put(small) {
		t.Error("the bound is passed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if q.putWait(ctx, small) {
		t.Error("put where there was no room")
	}
	put := make(chan bool)
	go func() { put <- q.putWait(context.Background(), small) }()
	if q.get() != large || !<-put || !q.put(small) || q.put(small) {
		t.Error("room for two after the large one")
	}
	got := make(chan *batch.Batch)
	go func() {
		for range 3 {
			got <- q.get()
		}
	}()
	for range 2 {
		if <-got != small {
			t.Error("another order")
		}
	}
	q.close()
	if <-got != nil || q.get() != nil {
		t.Error("more than was put")
	}
	if n, bytes := q.waiting(); n != 0 || bytes != 0 {
		t.Errorf("%d batches, %d bytes are left over", n, bytes)
	}
	if q := newQueue(1); q.putWait(ctx, small) {
		t.Error("put after the context ended")
	}
}

// BenchmarkMinuteReport is what the rows of a report of all flows cost, batches and queue included.
func BenchmarkMinuteReport(b *testing.B) {
	tables := schema.Builtin()
	w, err := newWorker(tables, &place{agent: "a"}, nil, flow.Options{}, func(*batch.Batch) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	const flows = 2 * sealRows
	reports := make([]flow.Report, flows)
	for i := range reports {
		a := net.IPv4(10, 1, byte(i>>8), byte(i))
		reports[i] = flow.Report{TimeNanos: 1, FlowID: uint64(i), Client: packet.Addr(a), Server: packet.Addr(net.IPv4(10, 2, 0, 1)), Proto: 6, PacketsTx: uint64(i)}
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range reports {
			w.Flow(&reports[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/row")
}

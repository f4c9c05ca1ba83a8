package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// sealRows and sealBytes bound a batch, the latter but for its last row. All open flows may be reported at once, so it is
// looked at after each row.
const (
	sealRows  = 8192
	sealBytes = 4 << 20
)

// worker turns the frames of one source into batches of flows, spans and edges. Not safe for concurrent use.
type worker struct {
	dec   *packet.Decoder
	table *flow.Table
	flows *flowRows
	spans *spanRows
	edges *edges // nil when there are no rows of edges
	pkts  [flow.LookAhead]packet.Packet
	// emit takes a sealed batch.
	emit func(*batch.Batch) error
	// err is the first error of emit: from then on rows are no longer made.
	err     error
	decodes decodeCounts
}

// decodeCounts counts frames, and those that were not decoded, by cause.
type decodeCounts struct {
	Frames, Truncated, NotIP, Header, Other uint64
}

var _ flow.Handler = (*worker)(nil)

// newWorker makes a worker; without a Tagger it makes no rows of edges.
func newWorker(tables *schema.Registry, p *place, t Tagger, o flow.Options, emit func(*batch.Batch) error) (*worker, error) {
	flows, ok := tables.Table("flows")
	if !ok {
		return nil, fmt.Errorf("collect: %w: flows", schema.ErrUnknownTable)
	}
	spans, ok := tables.Table("spans")
	if !ok {
		return nil, fmt.Errorf("collect: %w: spans", schema.ErrUnknownTable)
	}
	w := &worker{dec: packet.NewDecoder(), flows: newFlowRows(flows, p), spans: newSpanRows(spans, p), emit: emit}
	if t != nil {
		var err error
		if w.edges, err = newEdges(tables, p, t, w.sealFull); err != nil {
			return nil, err
		}
		o.Seconds = w.edges
	}
	w.table = flow.New(o, w)
	return w, nil
}

// frames enters a batch of frames.
func (w *worker) frames(b *capture.Batch) error {
	for frames := b.Frames; len(frames) > 0; {
		n := min(len(frames), flow.LookAhead)
		w.table.Packets(w.decode(frames[:n]))
		frames = frames[n:]
	}
	return w.err
}

// decode decodes at most flow.LookAhead frames. Those that cannot be are counted.
func (w *worker) decode(frames []capture.Frame) []packet.Packet {
	w.decodes.Frames += uint64(len(frames))
	n := 0
	for i := range frames {
		if err := frames[i].Decode(w.dec, &w.pkts[n]); err != nil {
			w.decodes.count(err)
			continue
		}
		n++
	}
	return w.pkts[:n]
}

func (c *decodeCounts) count(err error) {
	switch {
	case errors.Is(err, packet.ErrTruncated):
		c.Truncated++
	case errors.Is(err, packet.ErrEtherType):
		c.NotIP++
	case errors.Is(err, packet.ErrHeaderLength), errors.Is(err, packet.ErrIPVersion), errors.Is(err, packet.ErrTooDeep):
		c.Header++
	default:
		c.Other++
	}
}

// Flow implements flow.Handler.
func (w *worker) Flow(r *flow.Report) {
	if w.err == nil {
		w.flows.add(r)
		w.sealFull(w.flows.Builder)
	}
}

// Exchange implements flow.Handler.
func (w *worker) Exchange(f *flow.Flow, e *l7.Exchange) {
	if w.err == nil {
		w.spans.add(f, e)
		w.sealFull(w.spans.Builder)
	}
	if w.edges != nil {
		w.edges.exchange(f, e)
	}
}

// sealFull hands over the rows of b when they make a batch.
func (w *worker) sealFull(b *batch.Builder) {
	if b.Len() >= sealRows || b.Bytes() >= sealBytes {
		w.hand(b.Seal())
	}
}

// seal hands over what rows there are.
func (w *worker) seal() error {
	w.hand(w.flows.Seal())
	w.hand(w.spans.Seal())
	if w.edges != nil {
		w.hand(w.edges.networkRows.Seal())
		w.hand(w.edges.applicationRows.Seal())
	}
	return w.err
}

func (w *worker) hand(b *batch.Batch) {
	if b != nil && w.err == nil {
		w.err = w.emit(b)
	}
}

// ImportOptions configure Import. The zero value is ready for use.
type ImportOptions struct {
	// Tables has the tables that rows are for; default schema.Builtin().
	Tables *schema.Registry
	// Agent goes into the column agent; default ''.
	Agent string
	// Tags gives the tag sets of addresses, for rows of network_1s and application_1s, one per edge and second. Without it
	// there are none.
	Tags Tagger
	// Flow are the flow table's options.
	Flow flow.Options
	// Filter leaves packets out that it does not match; default none.
	Filter *pcapfilter.Expr
	// Speed is how fast the packets are taken in, 1 as fast as they once came; the rows are the same. Zero: as fast as can be.
	Speed float64
	// Progress, if not nil, is called now and then with the bytes read so far and the size of the file.
	Progress func(read, total int64)
}

// ImportStats is what an import has read and made.
type ImportStats struct {
	Packets, Bytes uint64
	// Filtered packets were left out by the filter; they are not in Packets.
	Filtered uint64
	// Undecoded frames, by cause: cut off within a header, neither IPv4 nor IPv6, lying lengths, others.
	Truncated, NotIP, BadHeader, Other uint64
	Flows, Spans, Edges                int64 // rows; those of edges are of network_1s and application_1s
	Flow                               flow.Metrics
}

// Import reads a pcap or pcapng file and writes its flows, spans and edges to sink. All runs on the packets' own time, so the rows
// depend on the file alone. When reading fails in the middle, the rows of what was read are written all the same, and the
// error says where it ended.
func Import(ctx context.Context, path string, sink batch.Sink, opts ...func(*ImportOptions)) (ImportStats, error) {
	return importFrom(ctx, func(o func(*capture.FileOptions)) (*capture.File, error) { return capture.OpenFile(path, o) }, sink, opts)
}

// ImportFrom is Import of a capture that comes from a reader.
func ImportFrom(ctx context.Context, r io.Reader, sink batch.Sink, opts ...func(*ImportOptions)) (ImportStats, error) {
	return importFrom(ctx, func(o func(*capture.FileOptions)) (*capture.File, error) { return capture.NewReader(r, o) }, sink, opts)
}

func importFrom(ctx context.Context, open func(func(*capture.FileOptions)) (*capture.File, error), sink batch.Sink, opts []func(*ImportOptions)) (ImportStats, error) {
	var o ImportOptions
	for _, f := range opts {
		f(&o)
	}
	src, err := open(func(f *capture.FileOptions) { f.Progress, f.Filter = o.Progress, o.Filter })
	if err != nil {
		return ImportStats{}, err
	}
	stats, err := ImportSource(ctx, src, sink, opts...)
	return stats, errors.Join(err, src.Close())
}

// ImportSource is Import of a source that ends by itself, which is left open; Filter and Progress are the source's own matter.
func ImportSource(ctx context.Context, src capture.Source, sink batch.Sink, opts ...func(*ImportOptions)) (ImportStats, error) {
	var o ImportOptions
	for _, f := range opts {
		f(&o)
	}
	if o.Tables == nil {
		o.Tables = schema.Builtin()
	}
	var stats ImportStats
	w, err := newWorker(o.Tables, &place{agent: o.Agent}, o.Tags, o.Flow, func(b *batch.Batch) error {
		if err := sink.Write(ctx, b); err != nil {
			return fmt.Errorf("store %d rows of %s: %w", b.N, b.Table.Name, err)
		}
		switch b.Table.Name {
		case "flows":
			stats.Flows += int64(b.N)
		case "spans":
			stats.Spans += int64(b.N)
		default:
			stats.Edges += int64(b.N)
		}
		return nil
	})
	if err != nil {
		return stats, err
	}
	frames := w.frames
	if o.Speed > 0 {
		p := &pacer{w: w, speed: o.Speed, began: time.Now(), sealed: time.Now()}
		frames = func(b *capture.Batch) error { return p.frames(ctx, b) }
	}
	err = src.Run(ctx, frames)
	if w.err == nil { // the rows of what could be read are worth keeping, whatever ended the reading
		w.table.Flush(0) // at the newest packet time there was
		if serr := w.seal(); serr != nil {
			err = errors.Join(err, serr)
		}
	}
	m := src.Metrics()
	stats.Packets, stats.Bytes, stats.Filtered = m.Packets, m.Bytes, m.Filtered
	stats.Truncated, stats.NotIP, stats.BadHeader, stats.Other = w.decodes.Truncated, w.decodes.NotIP, w.decodes.Header, w.decodes.Other
	stats.Flow = w.table.Metrics()
	return stats, err
}

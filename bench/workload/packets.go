package workload

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/ingest/enrich"
)

// GoPacket is the name of a loop over gopacket's decoder, as a system.
const GoPacket = "gopacket"

// Forms of the workload packets: what is made of them.
const (
	PacketsAll   = ""        // rows of flows, spans and edges, from a ring in memory
	PacketsFlows = "flows"   // rows of flows alone
	PacketsFile  = "file"    // as PacketsAll, from a file
	PacketsOpen  = "million" // rows of flows, of a million connections that are open
	PacketsHTTP  = "http"    // HTTP/1 requests; the rows are requests
)

const (
	// packetPool is about how many packets differ: after so many they come again, later.
	packetPool = 512 << 10
	// packetOpen conversations are under way at a time.
	packetOpen = 16 << 10
	// packetStep is the time between two packets, in nanoseconds: a million come a second.
	packetStep = 1000
	// openFlows of PacketsOpen are at most so many.
	openFlows = 1_000_000
	// httpConns are the connections of PacketsHTTP.
	httpConns   = 1000
	packetBatch = 256
	packetStart = 1_700_000_000_000_000_000
)

// PacketFile is the file that the systems of the workload packets read; it is made if it is not there.
func PacketFile(s Spec) (string, error) {
	name := s.Dir + ".pcap"
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0xa1b23c4d)
	head = append(head, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
	w.Write(head) // Flush tells of errors
	p := packets(s)
	for i := range min(p.Len(), s.Rows) {
		at, data := packetTime(i), p.At(i)
		head = le.AppendUint32(head[:0], uint32(at/1e9))
		head = le.AppendUint32(head, uint32(at%1e9))
		head = le.AppendUint32(head, uint32(len(data)))
		w.Write(le.AppendUint32(head, uint32(len(data))))
		w.Write(data)
	}
	return name, errors.Join(w.Flush(), f.Close())
}

// packets are the different packets of a spec.
func packets(s Spec) *gen.Packets {
	n := min(s.Rows, packetPool)
	return gen.NewPackets(gen.PacketOptions{Seed: s.Seed, Packets: n, Open: min(packetOpen, n/32+1)})
}

func packetTime(i int) int64 { return packetStart + int64(i)*packetStep }

// ring is a source that hands out n frames, made or looked up by next.
type ring struct {
	n, given int
	next     func(i int, f *capture.Frame)
	bytes    uint64
	// end is called after the last frame, before Run ends.
	end func()
}

var _ capture.Source = (*ring)(nil)

func (r *ring) Run(ctx context.Context, fn func(*capture.Batch) error) error {
	b := &capture.Batch{Frames: make([]capture.Frame, 0, packetBatch)}
	for r.given < r.n {
		b.Frames = b.Frames[:min(packetBatch, r.n-r.given)]
		for i := range b.Frames {
			f := &b.Frames[i]
			f.TimeNanos, f.Link = packetTime(r.given+i), packet.LinkEthernet
			r.next(r.given+i, f)
			f.WireLen = len(f.Data)
			r.bytes += uint64(len(f.Data))
		}
		if err := fn(b); err != nil {
			return err
		}
		r.given += len(b.Frames)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if r.end != nil {
		r.end()
	}
	return nil
}

func (r *ring) Metrics() capture.Metrics {
	return capture.Metrics{Packets: uint64(r.given), Bytes: r.bytes}
}

func (r *ring) Close() error { return nil }

// count is a sink that counts rows by table.
type count map[string]int64

func (c count) Write(_ context.Context, b *batch.Batch) error {
	c[b.Table.Name] += int64(b.N)
	return nil
}

// packetRows makes rows of packets, in one goroutine. Rows of the outcome are packets, but for PacketsHTTP.
func packetRows(ctx context.Context, s Spec) (*Outcome, error) {
	opts := packetOptions(s.Form, enrich.New())
	var src capture.Source
	var err error
	out := &Outcome{}
	var m meter
	stop := func() {}
	switch s.Form {
	case PacketsFile:
		var name string
		if name, err = PacketFile(s); err == nil {
			src, err = capture.OpenFile(name)
		}
	case PacketsOpen:
		src = openRing(s.Rows, func() {
			m.stop(out)
			stop = func() {}
			out.BytesPerFlow = float64(heap()-out.heapBefore) / float64(min(openFlows, max(s.Rows/8, 1)))
		})
	case PacketsHTTP:
		src = httpRing(s.Rows)
	default:
		src = poolRing(s.Rows, packets(s))
	}
	if err != nil {
		return nil, err
	}
	out.heapBefore = heap()
	gc := gcSeconds()
	sink := count{}
	m = startMeter()
	stop = func() { m.stop(out) }
	st, err := collector.ImportSource(ctx, src, sink, opts)
	stop()
	if err = errors.Join(err, src.Close()); err != nil {
		return nil, err
	}
	out.GCShare = (gcSeconds() - gc) / max(out.CPU, 1e-9)
	out.Rows = int64(st.Packets)
	return out, packetNotes(s, out, &st, sink)
}

// packetOptions are those of a form.
func packetOptions(form string, t collector.Tagger) func(*collector.ImportOptions) {
	return func(o *collector.ImportOptions) {
		o.Agent = "bench"
		if form == PacketsFlows || form == PacketsOpen {
			o.Flow.DisableL7 = true
		} else {
			o.Tags = t
		}
	}
}

// poolRing hands out packets again and again, each time of other clients: 10.x for the x-th time, where servers are 10.96.
func poolRing(n int, p *gen.Packets) *ring {
	return &ring{n: n, next: func(i int, f *capture.Frame) {
		f.Data = p.At(i % p.Len())
		const src, dst = 26 + 1, 30 + 1
		if f.Data[src] != 96 {
			f.Data[src] = byte(i / p.Len() % 96)
		} else {
			f.Data[dst] = byte(i / p.Len() % 96)
		}
	}}
}

// packetNotes says what came of the packets, and fails where that is not what it has to be.
func packetNotes(s Spec, out *Outcome, st *collector.ImportStats, rows count) error {
	if st.Truncated+st.NotIP+st.BadHeader+st.Other > 0 || rows["flows"] == 0 {
		return fmt.Errorf("%+v", *st)
	}
	perPacket := out.CPU * 1e9 / float64(max(out.Rows, 1))
	switch s.Form {
	case PacketsHTTP:
		out.Rows = rows["spans"]
		if rows["spans"] != int64(s.Rows) {
			return fmt.Errorf("%d requests, not %d", rows["spans"], s.Rows)
		}
		out.Notes = append(out.Notes, fmt.Sprintf("%d packets with a request or a response each, %d connections, %d rows of spans and %d of edges",
			st.Packets, httpConns, rows["spans"], st.Edges))
	case PacketsOpen:
		out.Notes = append(out.Notes, fmt.Sprintf("%.0f B of heap per flow, %d flows open, %.0f ns a packet", out.BytesPerFlow, st.Flow.Created, perPacket))
	default:
		out.Notes = append(out.Notes, fmt.Sprintf("%.0f ns a packet; %d flows of %.0f B a packet gave %d rows of flows, %d of spans, %d of edges",
			perPacket, st.Flow.Created, float64(st.Bytes)/float64(max(st.Packets, 1)), rows["flows"], rows["spans"], st.Edges))
	}
	return nil
}

// heap is what is reachable, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// gcSeconds is the CPU time that collecting garbage took so far, assistance included.
func gcSeconds() float64 {
	runtime.GC() // the counters are as of the last one
	s := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64() - s[1].Value.Float64()
}

// openRing opens up to a million connections, an eighth of the packets at most, and then sends data on them in a scattered
// order.
func openRing(n int, end func()) *ring {
	flows := min(openFlows, max(n/8, 1))
	const size = 66 // of a segment without data
	p := gen.NewPackets(gen.PacketOptions{Packets: 1, Open: 1, TLS: true})
	script := [4][]byte{p.At(0), p.At(1), p.At(2), p.At(3)} // SYN, SYN-ACK, ACK, data
	seq := binary.BigEndian.Uint32(script[3][38:])
	bytes := uint32(len(script[3]) - size)
	buf := make([]byte, packetBatch*len(script[3]))
	at, sent := 0, make([]uint32, flows)
	return &ring{n: n, end: end, next: func(i int, f *capture.Frame) {
		k, which := 3, at
		if i < 3*flows {
			k, which = i%3, i/3
		}
		frame := script[k]
		data := buf[i%packetBatch*len(script[3]):][:len(frame):len(frame)]
		copy(data, frame)
		ip, port := data[26:30], data[34:36]
		if k == 1 {
			ip, port = data[30:34], data[36:38]
		}
		binary.BigEndian.PutUint32(ip, 0x0b000000+uint32(which))
		binary.BigEndian.PutUint16(port, uint16(1024+which%60000))
		if k == 3 {
			binary.BigEndian.PutUint32(data[38:], seq+sent[which]*bytes)
			sent[which]++
			at = (at + 7919) % flows
		}
		f.Data = data
	}}
}

// httpRing sends requests and their responses in turn over connections that stay open, each handshake first.
func httpRing(requests int) *ring {
	conns := min(httpConns, requests)
	p := gen.HTTPExchange()
	be := binary.BigEndian
	buf := make([]byte, packetBatch*2048)
	seq := make([][2]uint32, conns)
	return &ring{n: 3*conns + 2*requests, next: func(i int, f *capture.Frame) {
		k, which := i%3, i/3
		if n := i - 3*conns; n >= 0 {
			k, which = 3+n%2, n/2%conns
		}
		frame := p.At(k)
		data := buf[(i%packetBatch)*2048:][:len(frame):len(frame)]
		copy(data, frame)
		ip, port, dir := data[26:30], data[34:36], 0
		if k == 1 || k == 4 {
			ip, port, dir = data[30:34], data[36:38], 1
		}
		be.PutUint32(ip, 0x0b000000+uint32(which))
		be.PutUint16(port, uint16(1024+which))
		if k >= 3 {
			be.PutUint32(data[38:], be.Uint32(data[38:])+seq[which][dir])
			ack := seq[which][1-dir]
			if k == 4 { // of the request before it, which the frame acknowledges as it is
				ack -= uint32(len(p.At(3)) - 66)
			}
			be.PutUint32(data[42:], be.Uint32(data[42:])+ack)
			seq[which][dir] += uint32(len(frame) - 66)
		}
		f.Data = data
	}}
}

// gopacketLoop decodes the packets of the file with gopacket's fastest way, and counts them by protocol.
func gopacketLoop(ctx context.Context, s Spec) (*Outcome, error) {
	name, err := PacketFile(s)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReaderSize(f, 128<<10))
	if err != nil {
		return nil, err
	}
	var (
		eth     layers.Ethernet
		ip4     layers.IPv4
		ip6     layers.IPv6
		tcp     layers.TCP
		udp     layers.UDP
		payload gopacket.Payload
		decoded []gopacket.LayerType
		out     Outcome
		bytes   int
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &ip6, &tcp, &udp, &payload)
	parser.IgnoreUnsupported = true
	gc := gcSeconds()
	m := startMeter()
	for ; ctx.Err() == nil; out.Rows++ {
		data, _, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := parser.DecodeLayers(data, &decoded); err != nil {
			return nil, err
		}
		bytes += len(payload)
	}
	m.stop(&out)
	if bytes == 0 {
		return nil, errors.New("no packet has a payload")
	}
	out.GCShare = (gcSeconds() - gc) / max(out.CPU, 1e-9)
	out.Notes = []string{fmt.Sprintf("%.0f ns a packet", out.CPU*1e9/float64(max(out.Rows, 1)))}
	return &out, ctx.Err()
}

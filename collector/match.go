package collector

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

// FlowKey says which packets are a flow's, of either direction. Ports count for TCP and UDP.
type FlowKey struct {
	Protocol               string // as in the column protocol
	ClientIP, ServerIP     netip.Addr
	ClientPort, ServerPort uint16
	StartNanos, EndNanos   int64 // of its first and last packet
}

// Matcher finds the packets of flows. Add what is to be found, then ask with Match, from one goroutine.
type Matcher struct {
	dec    *packet.Decoder
	pkt    packet.Packet
	flows  map[ends][]*window
	sorted bool
	all    int
}

// ends are the two ends of a flow, the lower one first.
type ends struct {
	proto uint8
	a, b  packet.Addr
	pa    uint16
	pb    uint16
}

// window is when a flow had packets.
type window struct {
	from, to int64
	found    bool
}

// NewMatcher makes one that knows no flows.
func NewMatcher() *Matcher {
	return &Matcher{dec: packet.NewDecoder(), flows: map[ends][]*window{}}
}

func makeEnds(proto uint8, a, b packet.Addr, pa, pb uint16) ends {
	if c := slices.Compare(a[:], b[:]); c > 0 || c == 0 && pa > pb {
		a, b, pa, pb = b, a, pb, pa
	}
	return ends{proto, a, b, pa, pb}
}

// marginNanos widens the times of a flow: rows have whole microseconds.
const marginNanos = 1_000_000

// Add takes in a flow; rows of the same flow may be added one by one. False: there is no such protocol.
func (m *Matcher) Add(k FlowKey) bool {
	proto, ok := protocolNumber(k.Protocol)
	if !ok {
		return false
	}
	if proto != packet.ProtoTCP && proto != packet.ProtoUDP {
		k.ClientPort, k.ServerPort = 0, 0
	}
	e := makeEnds(proto, packet.Addr(k.ClientIP.As16()), packet.Addr(k.ServerIP.As16()), k.ClientPort, k.ServerPort)
	m.flows[e] = append(m.flows[e], &window{from: k.StartNanos - marginNanos, to: k.EndNanos + marginNanos})
	m.sorted = false
	return true
}

// merge makes one window of those that overlap.
func (m *Matcher) merge() {
	m.sorted, m.all = true, 0
	for e, list := range m.flows {
		slices.SortFunc(list, func(a, b *window) int { return cmp.Compare(a.from, b.from) })
		out := list[:1]
		for _, w := range list[1:] {
			if last := out[len(out)-1]; w.from <= last.to {
				last.to = max(last.to, w.to)
				last.found = last.found || w.found
				continue
			}
			out = append(out, w)
		}
		m.flows[e] = out
		m.all += len(out)
	}
}

// Match says whether the frame is a packet of one of the flows. A later fragment, which has no ports, is if one of the flows
// between its addresses had packets then.
func (m *Matcher) Match(f *capture.Frame) bool {
	if !m.sorted {
		m.merge()
	}
	p := &m.pkt
	if f.Decode(m.dec, p) != nil {
		return false
	}
	var pa, pb uint16
	switch p.Proto {
	case packet.ProtoTCP, packet.ProtoUDP:
		if p.FragOffset > 0 {
			return m.fragment(p)
		}
		pa, pb = p.SrcPort, p.DstPort
	}
	return find(m.flows[makeEnds(p.Proto, p.Src, p.Dst, pa, pb)], f.TimeNanos)
}

func (m *Matcher) fragment(p *packet.Packet) bool {
	for e, list := range m.flows {
		if e.proto == p.Proto && (e.a == p.Src && e.b == p.Dst || e.a == p.Dst && e.b == p.Src) && find(list, p.TimeNanos) {
			return true
		}
	}
	return false
}

// find looks in windows that are sorted and apart.
func find(list []*window, nanos int64) bool {
	i, ok := slices.BinarySearchFunc(list, nanos, func(w *window, t int64) int { return cmp.Compare(w.from, t) })
	if !ok {
		i--
	}
	if i < 0 || list[i].to < nanos {
		return false
	}
	list[i].found = true
	return true
}

// Found is how many flows there are, and of how many a packet has been found. Rows of a flow that follow each other count as one.
func (m *Matcher) Found() (found, all int) {
	if !m.sorted {
		m.merge()
	}
	for _, list := range m.flows {
		for _, w := range list {
			if w.found {
				found++
			}
		}
	}
	return found, m.all
}

// Span is from the first packet of all flows to the last.
func (m *Matcher) Span() (from, to int64) {
	first := true
	for _, list := range m.flows {
		for _, w := range list {
			if first {
				from, to, first = w.from, w.to, false
			}
			from, to = min(from, w.from), max(to, w.to)
		}
	}
	return from, to
}

// protocolNumber is the protocol of a name in the column protocol.
func protocolNumber(name string) (uint8, bool) {
	for p := range 256 {
		if protocolName(uint8(p)) == name {
			return uint8(p), true
		}
	}
	return 0, false
}

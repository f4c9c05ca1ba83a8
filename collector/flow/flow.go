// Package flow turns packets into flows: it finds out who is the client, follows TCP's states, measures delays and faults,
// hands payloads to package l7, and reports every flow each minute and when it ends. All time is packet time, so the same
// packets give the same reports however fast they are read.
package flow

import (
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// Bits of Flow.flags.
const (
	flagClientLo   = 1 << iota // the client is the lower endpoint of the key
	flagIPv6                   //
	flagReported               // there was a report before
	flagFirstDone              // the report of Options.FirstReport was made, or is not wanted
	flagL7OK                   // there was a successful response
	flagL7Reversed             // requests come from the server of the transport connection
	flagFedLo                  // the lower endpoint's payload has begun to go to the connection
	flagFedHi                  // the other's has
	flagCounted                // seconds were settled since the last report: counts holds what they counted
	flagSettled                // a second was settled before
	flagLateSecond             // the open second is older than the table's
)

// Flow is one flow, as Handler.Exchange sees it. It belongs to the Table and may be looked at only during the call.
//
// It holds no pointers, so that a million of them cost the garbage collector nothing. What every packet touches comes first.
type Flow struct {
	key flowKey
	// index is the flow's number in the arena, 0 when free. next and prev link the flows of one timer slot.
	index, next, prev uint32
	// slotSec is the second of packet time in whose timer slot the flow is.
	slotSec uint32
	iface   uint32
	due     int64 // when the flow times out, or is to be reported for the first time
	last    int64 // Unix nanoseconds of the newest packet
	start   int64 // of the first
	id      uint64
	open    uint32 // number of the flow's openSecond, 0 for none
	vlan    uint16
	flags   uint16
	// traffic has bit i set when there were packets in the i-th second before that of last; kept for seconds only.
	traffic    uint16
	state      tcpState
	timeout    timeoutKind
	score      uint8
	tier       uint8
	l7proto    l7.Protocol
	unanswered uint8 // requests that wait for their response; stays at 255
	perf       perf
	mac        [2][6]byte // client, server
	tls        tlsState
}

func (f *Flow) has(bit uint16) bool { return f.flags&bit != 0 }

// side is the index (0 client, 1 server) of the key's lower endpoint if lo, else of the other.
func (f *Flow) side(lo bool) int {
	if lo == f.has(flagClientLo) {
		return 0
	}
	return 1
}

// ID is the flow's id, as in its reports.
func (f *Flow) ID() uint64 { return f.id }

// StartNanos is the time of the first packet.
func (f *Flow) StartNanos() int64 { return f.start }

// Proto is the transport protocol's number.
func (f *Flow) Proto() uint8 { return f.key.proto }

// IPv6 says whether the packets are IPv6.
func (f *Flow) IPv6() bool { return f.has(flagIPv6) }

// Interface is the index of the interface that the first packet came from, 0 if unknown.
func (f *Flow) Interface() uint32 { return f.iface }

// VLAN is the innermost VLAN id, 0 for none.
func (f *Flow) VLAN() uint16 { return f.vlan }

// TunnelType and TunnelID are those of the innermost tunnel.
func (f *Flow) TunnelType() packet.TunnelType { return f.key.tunnel }

// TunnelID is the VNI or key of the innermost tunnel, 0 for none.
func (f *Flow) TunnelID() uint32 { return f.key.tunnelID }

// DirectionScore says how sure it is which side is the server: 0 (a guess) to 255 (it sent a SYN-ACK).
func (f *Flow) DirectionScore() uint8 { return f.score }

// L7Protocol is the application protocol, l7.Unknown until it is recognised.
func (f *Flow) L7Protocol() l7.Protocol { return f.l7proto }

// L7Reversed says that requests go from the server of the transport connection to its client: for the exchanges of such
// a flow, Server is the one who asks.
func (f *Flow) L7Reversed() bool { return f.has(flagL7Reversed) }

// Client returns the client's address and port (0 for protocols without ports).
func (f *Flow) Client() (packet.Addr, uint16) { return f.endpoint(f.has(flagClientLo)) }

// Server returns the server's address and port.
func (f *Flow) Server() (packet.Addr, uint16) { return f.endpoint(!f.has(flagClientLo)) }

// ClientMAC returns the client's Ethernet address.
func (f *Flow) ClientMAC() [6]byte { return f.mac[0] }

// ServerMAC returns the server's Ethernet address.
func (f *Flow) ServerMAC() [6]byte { return f.mac[1] }

func (f *Flow) endpoint(lo bool) (packet.Addr, uint16) {
	addr, port := f.key.hi, f.key.hiPort
	if lo {
		addr, port = f.key.lo, f.key.loPort
	}
	if f.key.proto != packet.ProtoTCP && f.key.proto != packet.ProtoUDP {
		port = 0
	}
	return addr, port
}

// reverse makes the client the server.
func (f *Flow) reverse() {
	f.flags ^= flagClientLo
	f.state = f.state.reversed()
	swap(&f.mac)
	f.tls.reverse()
	f.perf.reverse()
}

// seen is the packets of side dir since the flow began, at most 255.
func (f *Flow) seen(dir int) uint8 { return f.perf.peers[dir].packets }

// bothSeen says whether either side has sent a packet.
func (f *Flow) bothSeen() bool { return f.seen(0) > 0 && f.seen(1) > 0 }

// count adds a packet of side dir to the counters.
func (f *Flow) count(p *packet.Packet, dir int, payload uint32) {
	c := &f.perf.counts
	c.packets[dir]++
	c.bytes[dir] += uint64(p.WireLen)
	c.payload[dir] += uint64(payload)
	pe := &f.perf.peers[dir]
	pe.packets = inc(pe.packets)
	f.last = max(f.last, p.TimeNanos)
}

func inc(n uint8) uint8 {
	if n == 255 {
		return n
	}
	return n + 1
}

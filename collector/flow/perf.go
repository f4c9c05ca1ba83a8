package flow

import "github.com/flowlake/flowlake/collector/packet"

// The delays and faults of a TCP connection, packet by packet, after DeepFlow's agent/src/flow_generator/perf/tcp.rs:
//
//	rtt         first SYN -> the client's ACK of the SYN-ACK; only if the SYN came first
//	rtt_server  first SYN -> each SYN-ACK that answers it, until the handshake is done
//	rtt_client  first SYN-ACK -> the client's ACK of it
//	srt         PSH-ACK data -> the other side's pure ACK of exactly that data
//	art         PSH-ACK data -> the other side's next data in sequence; a pure ACK of that side between them is allowed
//	cit         the last packet before -> the client's PSH-ACK data
//
// srt and art are kept for both directions, because a flow may turn out to be the other way round.

// Delays above these bounds are not delays but idleness.
const (
	maxRTTNanos = 30e9
	maxSRTNanos = 10e9
	maxARTNanos = 30e9
)

// timeStat sums delays in microseconds.
type timeStat struct {
	sum   uint64
	max   uint32
	count uint32
}

func (s *timeStat) addNanos(d int64) {
	us := uint64(d) / 1000
	s.sum += us
	s.max = max(s.max, uint32(min(us, 1<<32-1)))
	s.count++
}

// addBounded adds a delay unless it is zero or above limit.
func (s *timeStat) addBounded(d, limit int64) {
	if d > 0 && d <= limit {
		s.addNanos(d)
	}
}

// Bits of peer.flags.
const (
	peerThreshold    = 1 << iota // threshold is set
	peerSYNSent                  // a SYN was sent
	peerHandshakeACK             // the handshake's ACK was sent, and no data since
	peerSRTCalc                  // a pure ACK of this side now makes an srt
	peerARTCalc                  // data of this side now makes an art
	peerRTTCalc                  // a packet of this side now makes an rtt_client or rtt_server
	peerFullPossible             // the SYN of this side came before the SYN-ACK
	peerFullCalc                 // an ACK of this side now makes an rtt
	peerSRTART       = peerSRTCalc | peerARTCalc
	peerFull         = peerFullPossible | peerFullCalc
)

// peer is what is remembered of one side.
type peer struct {
	lastNanos      int64 // its last packet that counts for delays
	handshakeNanos int64 // its first SYN (client) or SYN-ACK (server)
	threshold      uint32
	seq, length    uint32 // of its last packet; a SYN has length 1
	r              [inlineRanges]seqRange
	block          uint32 // number of the rangeBlock with the other ranges, 0 for none
	allFlags       uint16 // TCP flags since the start
	flagsSeen      uint16 // TCP flags since the last report
	n              uint8  // ranges
	flags          uint8
	packets        uint8 // since the start; stays at 255
	handshaking    bool  // the same for both sides
}

func (pe *peer) nextSeq() uint32           { return pe.seq + pe.length }
func (pe *peer) has(f uint8) bool          { return pe.flags&f != 0 }
func (pe *peer) isThreshold(n uint32) bool { return pe.has(peerThreshold) && pe.threshold == n }

// counts is what was counted and measured of a flow: since its last report, or in a part of that time. Index 0 is the
// client's side. The order of the fields keeps together what every packet touches.
type counts struct {
	packets     [2]uint32
	bytes       [2]uint64
	payload     [2]uint64
	art, srt    [2]timeStat // by the side that answers
	cit         timeStat
	rttServer   timeStat
	rrt         timeStat
	rttClient   uint32 // microseconds plus one; 0: not measured
	rtt         uint32 // as above
	zeroWindow  [2]uint32
	outOfOrder  [2]uint32
	retrans     [2]uint32
	syn, synACK uint32
	retransSYN  uint32
	retransSA   uint32
	fin         uint32
	// of the application protocol
	requests, responses, clientErrors, serverErrors, timeouts uint32
}

// perf is the state of both sides and what was counted since the last report. Index 0 is the client.
type perf struct {
	peers [2]peer
	counts
}

func (t *perf) handshaking() bool { return t.peers[0].handshaking }

func (t *perf) setHandshaking(v bool) { t.peers[0].handshaking, t.peers[1].handshaking = v, v }

// resetInterval forgets what was counted, but not the state of the connection.
func (t *perf) resetInterval() {
	t.counts = counts{}
	t.peers[0].flagsSeen, t.peers[1].flagsSeen = 0, 0
}

// reverse makes the client the server. Handshake delays and cit stay: they are of the side that opened.
func (t *perf) reverse() {
	swap(&t.peers)
	t.counts.reverse()
}

func (c *counts) reverse() {
	swap(&c.packets)
	swap(&c.bytes)
	swap(&c.payload)
	swap(&c.art)
	swap(&c.srt)
	swap(&c.zeroWindow)
	swap(&c.outOfOrder)
	swap(&c.retrans)
}

func swap[T any](a *[2]T) { a[0], a[1] = a[1], a[0] }

// perfVerdict is what became of a packet.
type perfVerdict uint8

const (
	perfOK      perfVerdict = iota
	perfIgnored             // flags that make no sense
	perfLate                // older than the connection's last packet
	perfOverlap             // data that overlaps what was seen without repeating it
	perfRST                 // a reset: nothing to measure
)

// tcpPacket is what the rules below ask of a packet.
type tcpPacket struct {
	*packet.Packet
	pureACK bool // ACK alone, without payload
	pshACK  bool // PSH-ACK with data
	data    bool // data that is not a keep-alive byte
	syn     bool
	synACK  bool
}

func classify(p *packet.Packet) tcpPacket {
	f := p.TCPFlags & 0x3f
	return tcpPacket{
		Packet:  p,
		pureACK: f == packet.FlagACK && p.PayloadLen == 0,
		pshACK:  f == packet.FlagPSH|packet.FlagACK && p.PayloadLen > 1,
		data:    p.PayloadLen > 1,
		syn:     f == packet.FlagSYN,
		synACK:  f == packet.FlagSYN|packet.FlagACK && p.PayloadLen == 0,
	}
}

// abnormal says whether the flags make no sense together.
func abnormal(f uint16) bool {
	const ackNeeded = packet.FlagPSH | packet.FlagFIN | packet.FlagURG
	switch {
	case f&packet.FlagSYN != 0 && f&(packet.FlagFIN|packet.FlagRST) != 0:
		return true
	case f&(packet.FlagSYN|packet.FlagACK|packet.FlagRST) == 0:
		return true
	}
	return f&packet.FlagACK == 0 && f&ackNeeded != 0
}

// tcp enters a packet sent by side dir.
func (t *perf) tcp(pool *rangePool, pkt *packet.Packet, dir int) perfVerdict {
	rst, bad := pkt.TCPFlags&packet.FlagRST != 0, abnormal(pkt.TCPFlags)
	if rst || bad {
		t.peers[0].flags &^= peerSRTART | peerFull
		t.peers[1].flags &^= peerSRTART | peerFull
		if bad {
			return perfIgnored
		}
		return perfRST
	}
	if pkt.TimeNanos < t.peers[0].lastNanos || pkt.TimeNanos < t.peers[1].lastNanos {
		return perfLate
	}
	p := classify(pkt)
	if p.TCPFlags&packet.FlagFIN != 0 {
		t.fin++
	}
	same, other := &t.peers[dir], &t.peers[1-dir]
	verdict := perfOK
	switch {
	case p.syn:
		t.sawSYN(p, same, dir)
	case p.synACK:
		t.sawSYNACK(p, same, other, dir)
	case p.data:
		switch same.segment(pool, p.Seq, p.PayloadLen) {
		case seqRetrans:
			t.retrans[dir]++
		case seqOutOfOrder:
			t.outOfOrder[dir]++
		case seqOverlap:
			verdict = perfOverlap
		}
	}
	if verdict == perfOverlap {
		same.flags &^= peerSRTART
		other.flags &^= peerSRTART
	} else if !t.handshaking() || !t.opening(p, same, other) {
		t.established(p, same, other, dir)
	}
	same.lastNanos = p.TimeNanos
	same.seq, same.length = p.Seq, p.PayloadLen
	if p.TCPFlags&packet.FlagSYN != 0 {
		same.length = 1
	}
	return verdict
}

// sawSYN counts a SYN. The first one begins the handshake, unless the other side answered before.
func (t *perf) sawSYN(p tcpPacket, same *peer, dir int) {
	t.syn++
	switch {
	case !same.has(peerThreshold):
		same.threshold = p.Seq + 1
		same.handshakeNanos = p.TimeNanos
		same.flags |= peerThreshold
		t.setHandshaking(true)
	case same.has(peerSYNSent):
		t.retransSYN++
		t.retrans[dir]++
	}
	same.flags |= peerSYNSent
}

// sawSYNACK counts a SYN-ACK.
func (t *perf) sawSYNACK(p tcpPacket, same, other *peer, dir int) {
	t.synACK++
	if same.has(peerThreshold) {
		t.retransSA++
		t.retrans[dir]++
		return
	}
	same.threshold = p.Seq + 1
	same.handshakeNanos = p.TimeNanos
	same.flags |= peerThreshold
	if other.has(peerThreshold) {
		other.flags |= peerFullPossible
	} else {
		other.threshold = p.Ack
		other.flags |= peerThreshold
	}
}

// opening measures the handshake; it says whether the packet was still part of it. The handshake ends with the client's
// ACK, or with the first packet that is neither SYN, SYN-ACK nor a pure ACK.
func (t *perf) opening(p tcpPacket, same, other *peer) bool {
	handshakeACK := p.pureACK && same.has(peerSYNSent) && other.isThreshold(p.Ack)
	answers := same.has(peerRTTCalc) && p.Ack == other.nextSeq() && other.handshakeNanos != 0
	switch d := p.TimeNanos - other.handshakeNanos; {
	case !answers:
	case p.synACK:
		t.rttServer.addBounded(d, maxRTTNanos)
	case handshakeACK && d > 0 && d <= maxRTTNanos:
		t.rttClient = uint32(d/1000) + 1
	}
	if handshakeACK && same.has(peerFullCalc) {
		if d := p.TimeNanos - same.handshakeNanos; d > 0 && d <= maxRTTNanos {
			t.rtt = uint32(d/1000) + 1
		}
	}
	switch {
	case handshakeACK:
		same.flags &^= peerRTTCalc | peerFull
		other.flags &^= peerRTTCalc
		same.flags |= peerHandshakeACK
		t.setHandshaking(false)
	case p.syn || p.synACK:
		same.flags = same.flags&^peerSRTART | peerRTTCalc
		other.flags = other.flags&^peerSRTART | peerRTTCalc
		if p.synACK && other.has(peerFullPossible) {
			other.flags |= peerFullCalc
		}
	case !p.pureACK:
		same.flags &^= peerRTTCalc | peerFullCalc
		other.flags &^= peerRTTCalc
		t.setHandshaking(false)
		return false
	}
	return true
}

// established measures what follows the handshake, or what was caught without it.
func (t *perf) established(p tcpPacket, same, other *peer, dir int) {
	if same.has(peerSRTCalc) && p.pureACK && p.Ack == other.nextSeq() {
		t.srt[dir].addBounded(p.TimeNanos-other.lastNanos, maxSRTNanos)
	}
	if same.has(peerARTCalc) && p.data && p.Seq == same.nextSeq() {
		t.art[dir].addBounded(p.TimeNanos-other.lastNanos, maxARTNanos)
	}
	switch {
	case p.pureACK: // after it, only this side's data still makes an art
		same.flags &^= peerSRTCalc
		other.flags &^= peerSRTART
	case p.pshACK: // now the other side may answer
		same.flags &^= peerSRTART
		other.flags |= peerSRTART
	default:
		same.flags &^= peerSRTART
		other.flags &^= peerSRTART
	}
	if p.Window == 0 { // a window of 0 is 0 whatever the scale
		t.zeroWindow[dir]++
	}
	if dir == 0 && p.pshACK {
		t.clientIdle(p, same, other)
	}
}

// clientIdle measures how long the client let the connection wait before the data of p.
func (t *perf) clientIdle(p tcpPacket, client, server *peer) {
	switch {
	case client.has(peerHandshakeACK):
		client.flags &^= peerHandshakeACK
		t.cit.addNanos(p.TimeNanos - max(client.lastNanos, server.lastNanos))
	case server.length > 1 && (client.length <= 1 || server.lastNanos > client.lastNanos):
		t.cit.addNanos(p.TimeNanos - server.lastNanos)
	}
}

// datagram enters a UDP packet: art is the time from the last packet of one side to the first answer of the other.
func (t *perf) datagram(p *packet.Packet, dir int) perfVerdict {
	same, other := &t.peers[dir], &t.peers[1-dir]
	if p.TimeNanos < same.lastNanos || p.TimeNanos < other.lastNanos {
		return perfLate
	}
	if same.has(peerARTCalc) {
		t.art[dir].addBounded(p.TimeNanos-other.lastNanos, maxARTNanos)
	}
	same.flags &^= peerARTCalc
	other.flags |= peerARTCalc
	same.lastNanos = p.TimeNanos
	return perfOK
}

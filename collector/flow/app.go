package flow

import (
	"math"

	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// payload hands the payload of p, sent by side dir, to the flow's connection, which begins with the first payload.
func (t *Table) payload(f *Flow, p *packet.Packet, dir int, seq uint32) {
	if f.key.proto == packet.ProtoTCP && f.isProbe(p, dir, seq) {
		return
	}
	c := t.arena.conn(f.index)
	if *c == nil {
		_, cp := f.Client()
		_, sp := f.Server()
		*c = t.tracker.NewConn(f.key.proto, cp, sp)
		(*c).Owner = f
	}
	wire := int(p.PayloadLen)
	if p.MoreFragments { // the datagram goes on
		wire++
	}
	side := l7.Side(dir ^ f.l7Turned())
	if f.key.proto == packet.ProtoTCP {
		t.begin(f, *c, side, p.TimeNanos, dir, seq)
	}
	if p.TCPFlags&packet.FlagACK != 0 {
		(*c).Ack(side, p.Ack)
	}
	(*c).Payload(side, p.TimeNanos, seq, p.Payload, wire)
}

// echo hands the message p of an echo flow, sent by side dir, to the flow's connection.
func (t *Table) echo(f *Flow, p *packet.Packet, dir int) {
	const header = 8
	t.icmp = p.AppendEcho(t.icmp[:0])
	q := *p
	q.Payload, q.PayloadLen = t.icmp, p.PayloadLen+header
	t.payload(f, &q, dir, 0)
}

// maxEarly is how far behind the start of a stream its first segment to be seen may lie, in bytes, for what is missing to
// be waited for.
const maxEarly = 1 << 16

// newStreams ends the flow's connection when p is the SYN of another one whose predecessor nobody was seen to close: its
// sequence numbers have nothing to do with the old ones.
func (t *Table) newStreams(f *Flow, p *packet.Packet, dir int) {
	c := t.arena.conn(f.index)
	if *c == nil || f.perf.peers[dir].isThreshold(p.Seq+1) {
		return
	}
	(*c).End(p.TimeNanos)
	*c = nil
	f.flags |= flagFedLo | flagFedHi // where they start, what is remembered of the old ones does not tell
}

// fedBit says that payload of side dir has gone to the connection.
func (f *Flow) fedBit(dir int) uint16 {
	if (dir == 0) == f.has(flagClientLo) {
		return flagFedLo
	}
	return flagFedHi
}

// isProbe says whether p repeats the last byte of a stream whose beginning was not seen: a keep-alive, whose byte may be
// anything. Where more of the stream was seen the byte is known to be old.
func (f *Flow) isProbe(p *packet.Packet, dir int, seq uint32) bool {
	return p.PayloadLen == 1 && !f.has(f.fedBit(dir)) && !f.perf.peers[dir].isThreshold(seq)
}

// begin tells the connection where the stream of side dir starts, when the handshake has told and its first payload to be
// seen, at seq, is not its first.
func (t *Table) begin(f *Flow, c *l7.Conn, side l7.Side, atNanos int64, dir int, seq uint32) {
	fed := f.fedBit(dir)
	if f.has(fed) {
		return
	}
	f.flags |= fed
	if pe := &f.perf.peers[dir]; pe.has(peerThreshold) && seq-pe.threshold-1 < maxEarly {
		c.Payload(side, atNanos, pe.threshold, nil, 0)
	}
}

// l7Turned is 1 when the connection's client is the flow's server.
func (f *Flow) l7Turned() int {
	if f.has(flagL7Reversed) {
		return 1
	}
	return 0
}

// l7Handler is what a Table's tracker reports to.
type l7Handler Table

var _ l7.Handler = (*l7Handler)(nil)

// Identified sets the protocol. A request tells who is the client, unless a SYN-ACK has told already: then only the
// exchanges go the other way.
func (h *l7Handler) Identified(c *l7.Conn, proto l7.Protocol, server l7.Side) {
	t, f := (*Table)(h), c.Owner.(*Flow)
	f.l7proto = proto
	if server == l7.Client {
		if f.score == scoreSYNACK {
			f.flags ^= flagL7Reversed
			return
		}
		t.turn(f)
	}
	f.score = max(f.score, scoreL7)
	if f.key.proto != packet.ProtoTCP && f.key.proto != packet.ProtoUDP { // the id of an echo is no service
		return
	}
	sa, sp := f.Server()
	ca, cp := f.Client()
	t.services.certain(service{sa, sp}, service{ca, cp}, scoreL7)
}

func (h *l7Handler) Request(c *l7.Conn, atNanos int64, awaited bool) {
	f := c.Owner.(*Flow)
	(*Table)(h).eventSecond(f, atNanos)
	f.perf.requests++
	if awaited && f.unanswered < math.MaxUint8 {
		f.unanswered++
	}
}

// answered notes that a request waits no longer.
func (f *Flow) answered() {
	if f.unanswered > 0 && f.unanswered < math.MaxUint8 {
		f.unanswered--
	}
}

func (h *l7Handler) Response(c *l7.Conn, atNanos int64, status l7.Status, rrtNanos int64) {
	f := c.Owner.(*Flow)
	(*Table)(h).eventSecond(f, atNanos)
	n := &f.perf.counts
	n.responses++
	switch status {
	case l7.StatusOK:
		f.flags |= flagL7OK
	case l7.StatusClientError:
		n.clientErrors++
	case l7.StatusServerError:
		n.serverErrors++
	}
	if rrtNanos >= 0 {
		n.rrt.addNanos(rrtNanos)
		f.answered()
	}
}

func (h *l7Handler) Timeout(c *l7.Conn, atNanos int64) {
	f := c.Owner.(*Flow)
	(*Table)(h).eventSecond(f, atNanos)
	f.perf.timeouts++
	f.answered()
}

func (h *l7Handler) Exchange(c *l7.Conn, e *l7.Exchange) { h.h.Exchange(c.Owner.(*Flow), e) }

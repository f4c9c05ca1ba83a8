package l7

import "github.com/flowlake/flowlake/collector/l7/http1"

// IANA protocol numbers.
const (
	transportICMP   = 1
	transportTCP    = 6
	transportUDP    = 17
	transportICMPv6 = 58
)

// Conn is one connection (TCP) or one pair of ports (UDP). It comes from NewConn and goes back with Close.
type Conn struct {
	// Owner is the caller's; the package never looks at it.
	Owner any
	// Proto is the protocol once it is recognised; only the package writes it.
	Proto Protocol

	off       bool       // nothing more is to be learned from the payloads
	uncertain bool       // a hole may have swallowed responses
	skipped   bool       // a hole behind the last request may have swallowed another one
	unseen    bool       // the end that answers has acknowledged bytes of the other that were not seen: requests, maybe
	group     bool       // answers do not come on this connection: a request without one has not timed out
	turn      uint8      // end = side ^ turn
	server    uint8      // the end that answers, once Proto is known
	over      transports // the one it is on
	misses    uint8      // payloads that count towards giving up
	missEnd   uint8      // the end of the last one
	missRun   uint8      // how many of them in a row
	missAll   uint16
	owed      uint16 // responses to come for requests already given up (ordered protocols)
	waiting   uint16 // length of the list first..last
	ports     [2]uint16
	note      uint64 // drv's: what fits in here needs no state

	t           *Tracker
	drv         driver   // of Proto
	state       any      // drv's memory of this connection; bounded
	first, last *pending // requests without response, oldest first
	half        [2]half  // by end: what each end has sent
}

// half is one direction of a connection.
type half struct {
	next    uint32 // TCP: number of the next byte
	state   parseState
	started bool       // next is known
	acked   bool       // until then: next is what the other end has acknowledged
	buf     *buffer    // the beginning of a message whose head is not complete; nil most of the time
	hold    *hold      // segments behind a hole; nil most of the time
	body    http1.Body // what to skip in stateBody
}

// parseState is where a direction's parser is.
type parseState uint8

const (
	stateResync parseState = iota // the next payload may start a message
	stateStart                    // a message starts here
	stateBody                     // within what is skipped
)

// buffer keeps the beginning of a message.
type buffer struct {
	data    []byte
	seq     uint32 // number of data[0]
	atNanos int64  // when it came
	scanned int    // bytes known not to complete the head
}

// NewConn returns a Conn for a connection of the given transport (6 TCP, 17 UDP, 1 and 58 ICMP). The ports are hints only.
func (t *Tracker) NewConn(transport uint8, clientPort, serverPort uint16) *Conn {
	var c *Conn
	if n := len(t.freeConns); n > 0 {
		c, t.freeConns = t.freeConns[n-1], t.freeConns[:n-1]
	} else {
		c = &Conn{}
	}
	t.m.Conns++
	*c = Conn{t: t, ports: [2]uint16{clientPort, serverPort}, server: uint8(Server)}
	switch transport {
	case transportTCP:
		c.over = overTCP
	case transportUDP:
		c.over = overUDP
	case transportICMP, transportICMPv6:
		c.over = overICMP
	}
	c.off = len(t.tried[c.over]) == 0
	return c
}

// Payload hands over the payload of one segment, datagram or ICMP message, sent by side. seq is the TCP sequence number of its first
// byte (0 for others), payload what was captured of its wireLen bytes. payload is borrowed until the call returns.
//
// A TCP call with wireLen 0 says that the next byte of side has the number seq (after a SYN: its number plus one); it is
// ignored once the side has sent something. It is optional.
func (c *Conn) Payload(side Side, atNanos int64, seq uint32, payload []byte, wireLen int) {
	if c.off || c.t == nil || side > Server {
		return
	}
	wireLen = min(max(wireLen, len(payload)), maxJump)
	end := int(uint8(side) ^ c.turn)
	if c.over != overTCP {
		if wireLen > 0 {
			c.datagram(end, atNanos, payload, wireLen)
		}
		return
	}
	c.segment(end, atNanos, seq, payload[:min(len(payload), wireLen)], wireLen)
}

// Ack says that the segment of side that Payload is told of next acknowledges the bytes of the other side before the number
// ack. It is optional: where requests or responses were not captured, it keeps others from being paired wrongly.
func (c *Conn) Ack(side Side, ack uint32) {
	if c.t == nil || c.off || c.over != overTCP || side > Server {
		return
	}
	end := uint8(side) ^ c.turn
	h := &c.half[end^1]
	for c.Proto != Unknown && h.hold != nil && int32(ack-h.hold.segs[0].seq) > 0 && !c.off {
		c.flushHold(int(end ^ 1)) // the missing segment has arrived there, and will not come by here
	}
	d := int32(ack - h.next)
	const fin = 1 // is acknowledged like a byte; a client that has said all closes its side before it reads
	ahead := c.Proto != Unknown && d > fin && d <= maxJump
	switch {
	case h.started:
		c.unseen = c.unseen || ahead && end == c.server // the other way, a hole will tell
		return
	case h.acked && ahead && end != c.server:
		c.uncertain = true
	}
	h.acked, h.next = true, ack
}

// Reverse tells the Conn that the caller had the direction the wrong way round and calls the sides by their right
// names from now on. It is not to be called in answer to Handler.Identified, where the Conn has turned already.
func (c *Conn) Reverse() { c.turn ^= 1 }

// Close is for a connection that is followed no longer: it reports the requests without a response, with unknown status,
// and takes c back: it must not be used any more. What was kept of incomplete messages is read first. It must not be called
// from within a Handler's method.
func (c *Conn) Close(atNanos int64) { c.close(atNanos, false) }

// End is Close for a connection that is over: the requests without a response have timed out, except where a response may
// have gone by unseen.
func (c *Conn) End(atNanos int64) { c.close(atNanos, true) }

func (c *Conn) close(atNanos int64, over bool) {
	t := c.t
	if t == nil {
		return
	}
	for _, end := range [2]int{int(c.server ^ 1), int(c.server)} {
		for c.half[end].hold != nil {
			c.flushHold(end)
		}
		if c.half[end].buf != nil {
			c.lose(end)
		}
	}
	over = over && !c.uncertain
	for c.first != nil {
		if over {
			c.expire(c.first, atNanos)
		} else {
			c.giveUp(c.first)
		}
	}
	c.release()
	t.m.Conns--
	*c = Conn{off: true}
	if len(t.freeConns) < maxFree {
		t.freeConns = append(t.freeConns, c)
	}
}

// stop ends the parsing: the connection is something else, or has become it.
func (c *Conn) stop() {
	c.off = true
	c.release()
}

// release gives back the buffers.
func (c *Conn) release() {
	for i := range c.half {
		c.dropBuffer(&c.half[i])
		if c.half[i].hold != nil {
			c.dropHold(&c.half[i])
		}
	}
}

// feed parses the next bytes of a direction, in order, and moves its next number.
func (c *Conn) feed(end int, p []byte, atNanos int64) {
	h := &c.half[end]
	seq := h.next
	h.next += uint32(len(p))
	limit := c.t.o.MaxConnBuffer
	for len(p) > 0 && !c.off {
		b := h.buf
		if b == nil {
			n := c.step(end, p, 0, atNanos, seq)
			if n == 0 {
				c.store(h, p, atNanos, seq)
				c.relieve(end)
				return
			}
			p, seq = p[n:], seq+uint32(n)
			continue
		}
		old := len(b.data)
		take := min(limit-old, len(p))
		b.data = append(b.data, p[:take]...)
		c.t.m.Buffered += take
		done := 0
		for done < old && !c.off {
			from := 0
			if done == 0 {
				from = b.scanned
			}
			n := c.step(end, b.data[done:], from, b.atNanos, b.seq+uint32(done))
			if n == 0 {
				break
			}
			done += n
		}
		if done >= old { // back to reading from the payload itself
			c.dropBuffer(h)
			p, seq = p[done-old:], seq+uint32(done-old)
			continue
		}
		if c.off {
			return
		}
		c.t.m.Buffered -= done
		b.data = append(b.data[:0], b.data[done:]...)
		b.seq += uint32(done)
		b.scanned = len(b.data)
		p, seq = p[take:], seq+uint32(take)
		c.relieve(end)
	}
}

// relieve reads the incomplete message of a direction as far as it is there when the Tracker keeps too much.
func (c *Conn) relieve(end int) {
	if t := c.t; t.m.Buffered > t.o.MaxTotalBuffer {
		t.m.DroppedBuffer++
		c.lose(end)
	}
}

// store keeps the beginning of a message. step asks for more only below MaxConnBuffer.
func (c *Conn) store(h *half, p []byte, atNanos int64, seq uint32) {
	t := c.t
	var b *buffer
	if n := len(t.freeBufs); n > 0 {
		b, t.freeBufs = t.freeBufs[n-1], t.freeBufs[:n-1]
	} else {
		b = &buffer{}
	}
	b.data = append(b.data[:0], p...)
	b.seq, b.atNanos, b.scanned = seq, atNanos, len(p)
	h.buf = b
	t.m.Buffered += len(p)
}

func (c *Conn) dropBuffer(h *half) {
	if b := h.buf; b != nil {
		h.buf = nil
		c.t.m.Buffered -= len(b.data)
		if t := c.t; len(t.freeBufs) < maxFreeBufs {
			t.freeBufs = append(t.freeBufs, b)
		}
	}
}

// step parses what p starts with and returns how many bytes that took; 0 asks for more, which it never does with
// MaxConnBuffer bytes. The first from bytes of p were not enough before. atNanos and seq belong to p[0].
func (c *Conn) step(end int, p []byte, from int, atNanos int64, seq uint32) int {
	h := &c.half[end]
	if h.state == stateBody {
		n, done, err := h.body.Consume(p)
		if err != nil {
			c.fail(h)
			return len(p)
		}
		if done {
			c.bodyDone(end)
		}
		return n
	}
	in := &c.t.in
	*in = input{server: end == int(c.server), p: p, size: len(p), cut: len(p) >= c.t.o.MaxConnBuffer, from: from, atNanos: atNanos, seq: seq}
	if h.state == stateResync {
		s := c.look(end, in)
		if s == shapeMaybe && !in.cut {
			return 0
		}
		if s <= shapeMaybe {
			if c.Proto == Unknown {
				c.miss(end)
			}
			return len(p)
		}
		h.state, in.from, in.server = stateStart, 0, end == int(c.server)
	}
	n, err := c.drv.step(c, in)
	switch {
	case err != nil || n < 0 || n == 0 && in.cut:
		c.fail(h)
		return len(p)
	case n > len(p):
		h.state, h.body = stateBody, http1.Counted(int64(n-len(p)))
		return len(p)
	}
	return n
}

// look says whether a message starts with in.p; of a connection without protocol a yes gives it one.
func (c *Conn) look(end int, in *input) shape {
	if c.Proto == Unknown {
		return c.infer(end, in)
	}
	s := c.drv.check(c, in, true)
	if s == shapeRequest && in.server || s == shapeResponse && !in.server {
		return shapeNo
	}
	return s
}

// datagram parses a datagram, of which p was captured.
func (c *Conn) datagram(end int, atNanos int64, p []byte, wire int) {
	c.t.m.GapBytes += uint64(wire - min(len(p), wire))
	in := &c.t.in
	*in = input{server: end == int(c.server), p: p, size: wire, cut: true, lost: len(p) < wire, atNanos: atNanos}
	if c.Proto == Unknown {
		if c.infer(end, in) <= shapeMaybe {
			c.miss(end)
			return
		}
		in.server = end == int(c.server)
	}
	for len(in.p) > 0 && !c.off {
		n, err := c.drv.step(c, in)
		if err != nil || n <= 0 {
			c.t.m.ParseFailures++
			return
		}
		n = min(n, len(in.p))
		in.p, in.size = in.p[n:], in.size-n
	}
}

// identify fixes the protocol and the end that answers, and tells the handler.
func (c *Conn) identify(proto Protocol, server int) {
	c.Proto, c.drv, c.server = proto, c.t.drivers[proto], uint8(server)
	c.t.m.Identified++
	side := Side(c.server ^ c.turn)
	if side == Client {
		c.turn ^= 1
	}
	c.t.h.Identified(c, proto, side)
}

// miss counts a payload that looks like nothing known. A run from one end counts a little only: it may be the middle of
// a long message.
func (c *Conn) miss(end int) {
	const run, factor = 3, 64
	if c.missAll > 0 && c.missEnd == uint8(end) {
		c.missRun = min(c.missRun+1, run+1)
	} else {
		c.missEnd, c.missRun = uint8(end), 1
	}
	c.missAll++
	if c.missRun <= run {
		c.misses++
	}
	if int(c.misses) >= c.t.o.InferPayloads || int(c.missAll) >= factor*c.t.o.InferPayloads {
		c.t.m.GaveUp++
		c.stop()
	}
}

// fail counts a message that could not be parsed and looks for the next one.
func (c *Conn) fail(h *half) {
	c.t.m.ParseFailures++
	c.t.m.Resyncs++
	h.state = stateResync
}

// bodyDone is called when what was skipped is over.
func (c *Conn) bodyDone(end int) {
	h := &c.half[end]
	h.state = stateStart
	if c.Proto == HTTP && end != int(c.server) {
		c.bodyDoneHTTP(h)
	}
}

// lose is called where bytes of a direction are lost: what there is of an incomplete message is read all the same, and
// the parser looks for the next one.
func (c *Conn) lose(end int) {
	h := &c.half[end]
	if b := h.buf; b != nil {
		if h.state == stateStart {
			in := &c.t.lost
			*in = input{server: end == int(c.server), p: b.data, size: len(b.data), cut: true, lost: true, from: b.scanned, atNanos: b.atNanos, seq: b.seq}
			if n, err := c.drv.step(c, in); err != nil || n <= 0 {
				c.t.m.ParseFailures++
				c.skipped = c.skipped || end != int(c.server) // it may have been a request
			}
		} else if end == int(c.server) && c.Proto != Unknown {
			c.uncertain = true // it may have been the beginning of a response
		}
		c.dropBuffer(h)
	}
	if c.Proto != Unknown {
		c.t.m.Resyncs++
	}
	h.state = stateResync
}

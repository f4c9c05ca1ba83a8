package l7

import (
	"github.com/flowlake/flowlake/collector/l7/dns"
	"github.com/flowlake/flowlake/collector/l7/http1"
)

// IANA protocol numbers.
const (
	transportTCP = 6
	transportUDP = 17
)

// Conn is one connection (TCP) or one pair of ports (UDP). It comes from NewConn and goes back with Close.
type Conn struct {
	// Owner is the caller's; the package never looks at it.
	Owner any
	// Proto is the protocol once it is recognised; only the package writes it.
	Proto Protocol

	off       bool  // nothing more is to be learned from the payloads
	uncertain bool  // a hole may have swallowed responses
	turn      uint8 // end = side ^ turn
	server    uint8 // the end that answers, once Proto is known
	transport uint8
	misses    uint8 // payloads that count towards giving up
	missEnd   uint8 // the end of the last one
	missRun   uint8 // how many of them in a row
	missAll   uint16
	owed      uint16 // responses to come for requests already given up (HTTP)
	waiting   uint16 // length of the list first..last
	lastID    uint16 // id of the last DNS answer, when answered is set
	ports     [2]uint16
	answered  uint32 // key of the last DNS answer, to know repeated ones; 0 for none

	t           *Tracker
	first, last *pending // requests without response, oldest first
	half        [2]half  // by end: what each end has sent
}

// half is one direction of a connection.
type half struct {
	next    uint32 // TCP: number of the next byte
	state   parseState
	started bool       // next is known
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

// NewConn returns a Conn for a connection of the given transport (6 TCP, 17 UDP). The ports are hints only.
func (t *Tracker) NewConn(transport uint8, clientPort, serverPort uint16) *Conn {
	var c *Conn
	if n := len(t.freeConns); n > 0 {
		c, t.freeConns = t.freeConns[n-1], t.freeConns[:n-1]
	} else {
		c = &Conn{}
	}
	t.m.Conns++
	*c = Conn{t: t, transport: transport, ports: [2]uint16{clientPort, serverPort}, server: uint8(Server)}
	c.off = transport != transportTCP && transport != transportUDP
	return c
}

// Payload hands over the payload of one segment or datagram, sent by side. seq is the TCP sequence number of its first
// byte (0 for UDP), payload what was captured of its wireLen bytes. payload is borrowed until the call returns.
//
// A TCP call with wireLen 0 says that the next byte of side has the number seq (after a SYN: its number plus one); it is
// ignored once the side has sent something. It is optional.
func (c *Conn) Payload(side Side, atNanos int64, seq uint32, payload []byte, wireLen int) {
	if c.off || c.t == nil || side > Server {
		return
	}
	wireLen = min(max(wireLen, len(payload)), maxJump)
	end := int(uint8(side) ^ c.turn)
	if c.transport == transportUDP {
		if wireLen > 0 {
			c.datagram(end, atNanos, payload, wireLen)
		}
		return
	}
	c.segment(end, atNanos, seq, payload[:min(len(payload), wireLen)], wireLen)
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
	switch h.state {
	case stateBody:
		n, done, err := h.body.Consume(p)
		if err != nil {
			c.fail(h)
			return len(p)
		}
		if done {
			c.bodyDone(end)
		}
		return n
	case stateResync:
		if n := emptyLines(p); n > 0 && c.Proto == HTTP {
			return n
		}
		v := c.look(end, p, from)
		if v == http1.Maybe && len(p) < c.t.o.MaxConnBuffer {
			return 0
		}
		if v != http1.Yes {
			if c.Proto == Unknown {
				c.miss(end)
			}
			return len(p)
		}
		h.state = stateStart
		from = 0
	}
	if c.Proto == DNS {
		return c.stepDNS(end, p, atNanos, seq)
	}
	return c.stepHTTP(end, p, from, atNanos, seq)
}

// look says whether a message starts with p; of a connection without protocol a Yes gives it one.
func (c *Conn) look(end int, p []byte, from int) http1.Verdict {
	switch c.Proto {
	case HTTP:
		if end == int(c.server) {
			return http1.CheckResponse(p)
		}
		return http1.CheckRequest(p, from)
	case DNS:
		return http1.Verdict(dns.CheckStream(p))
	}
	best := http1.No
	if c.t.enabled[HTTP] {
		rq, rs := http1.CheckRequest(p, from), http1.CheckResponse(p)
		if rq == http1.Yes || rs == http1.Yes {
			server := end
			if rq == http1.Yes {
				server ^= 1
			}
			c.identify(HTTP, server)
			return http1.Yes
		}
		best = max(rq, rs)
	}
	if c.t.enabled[DNS] {
		v := http1.Verdict(dns.CheckStream(p))
		if v == http1.Yes {
			server := end
			if p[4]&0x80 == 0 { // a query
				server ^= 1
			}
			c.identify(DNS, server)
		}
		best = max(best, v)
	}
	return best
}

// identify fixes the protocol and the end that answers, and tells the handler.
func (c *Conn) identify(proto Protocol, server int) {
	c.Proto, c.server = proto, uint8(server)
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
	if pd := c.last; c.Proto == HTTP && end != int(c.server) && pd != nil && pd.chunked && pd.headLen >= 0 {
		pd.ex.RequestBytes = pd.headLen + h.body.Seen()
	}
}

// lose is called where bytes of a direction are lost: what there is of an incomplete message is read all the same, and
// the parser looks for the next one.
func (c *Conn) lose(end int) {
	h := &c.half[end]
	if b := h.buf; b != nil {
		if h.state == stateStart {
			if c.Proto == HTTP {
				c.salvageHTTP(end, b)
			} else {
				c.salvageDNS(end, b)
			}
		}
		c.dropBuffer(h)
	}
	if c.Proto != Unknown {
		c.t.m.Resyncs++
	}
	h.state = stateResync
}

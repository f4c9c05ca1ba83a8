package l7

// A driver speaks one protocol: it finds messages in the bytes of a connection, and makes requests and responses of them
// with the methods of Conn below. There is one per Tracker and protocol; what it has to remember of a connection lies in
// Conn.state, its scratch space in itself.
type driver interface {
	// check says whether in.p begins a message. It is asked of connections without a protocol (of all protocols: a wrong yes
	// is far worse than a missed connection) and, where the place in the stream was lost, of connections of its own. hint says
	// that the protocol is the connection's, or usual on one of its ports.
	check(c *Conn, in *input, hint bool) shape
	// step reads the message that in.p begins with and returns its whole length, which may be more than len(in.p): the rest is
	// passed over unseen. 0 asks for more bytes, which it must not when in.cut. An error says that this is no message.
	step(c *Conn, in *input) (n int, err error)
}

// shape is what a driver makes of the first bytes of a message.
type shape uint8

const (
	shapeNo       shape = iota
	shapeMaybe          // more bytes would tell
	shapeRequest        // a message of the side that asks
	shapeResponse       // a message of the side that answers
	shapeEither         // a message whose side does not show
)

// input is the next bytes of one direction, beginning where a message begins (or may begin, for check).
type input struct {
	server  bool   // sent by the side that answers, as far as known
	p       []byte // borrowed for the call
	size    int    // of a datagram: its length on the wire, of which p may be the beginning; else len(p)
	cut     bool   // no more bytes of the message will come: they are lost, or p is as much as is kept (MaxConnBuffer)
	lost    bool   // cut because they are lost
	from    int    // the first from bytes were not enough before
	atNanos int64  // when p[0] came
	seq     uint32 // number of p[0], 0 for UDP
}

// newPending returns an empty request that began with in. The driver fills in pd.ex and, where responses are paired by
// number, pd.key; push, oneWay or drop take it.
func (c *Conn) newPending(in *input) *pending {
	t := c.t
	var pd *pending
	if n := len(t.freePending); n > 0 {
		pd, t.freePending = t.freePending[n-1], t.freePending[:n-1]
	} else {
		pd = &pending{}
	}
	ex := pd.ex
	resetExchange(&ex)
	*pd = pending{ex: ex, c: c, proto: c.Proto}
	pd.ex.Kind, pd.ex.Protocol = KindRequest, c.Proto
	pd.ex.StartNanos, pd.ex.EndNanos, pd.ex.RequestSeq = in.atNanos, in.atNanos, in.seq
	return pd
}

// push reports the request and makes it wait for its response; others may have to make room for it.
func (c *Conn) push(pd *pending) {
	c.t.m.Requests++
	c.skipped = false
	if c.first == nil {
		c.unseen = false // what was not seen came before
	}
	c.wait(pd)
	c.t.h.Request(c, pd.ex.StartNanos, true)
}

// oneWay reports a request that nobody answers.
func (c *Conn) oneWay(pd *pending) {
	c.t.m.Requests++
	c.t.h.Request(c, pd.ex.StartNanos, false)
	c.report(&pd.ex)
	c.t.putPending(pd)
}

// drop forgets a request that was not pushed.
func (c *Conn) drop(pd *pending) { c.t.putPending(pd) }

// find returns the oldest waiting request with the key, nil when there is none.
func (c *Conn) find(key uint64) *pending {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == key {
			return pd
		}
	}
	return nil
}

// take is find, and the request waits no longer.
func (c *Conn) take(key uint64) *pending {
	pd := c.find(key)
	if pd != nil {
		c.unlink(pd)
	}
	return pd
}

// takeOldest returns the request that the next response of an ordered protocol belongs to, which waits no longer; nil when
// that request was not seen or has been given up.
func (c *Conn) takeOldest() *pending {
	c.settle()
	if c.owed > 0 {
		c.owed--
		return nil
	}
	pd := c.first
	if pd != nil {
		c.unlink(pd)
	}
	return pd
}

// settle makes up for a hole that may have swallowed responses: without pipelining, only the last request can still be
// open. When requests were not seen either, not even that is sure.
func (c *Conn) settle() {
	if c.unseen || c.uncertain && c.skipped {
		for c.unseen, c.uncertain, c.skipped, c.owed = false, false, false, 0; c.first != nil; {
			c.t.m.LostPairing++
			c.giveUp(c.first)
		}
	}
	if !c.uncertain {
		return
	}
	for c.uncertain, c.owed = false, 0; c.first != c.last; {
		c.t.m.LostPairing++
		c.giveUp(c.first)
	}
}

// answer returns the exchange that a response beginning with in completes: pd's, or, when its request was not seen, one
// that is empty but for the response.
func (c *Conn) answer(pd *pending, in *input) *Exchange {
	t := c.t
	ex := &t.ex
	if pd != nil {
		ex = &pd.ex
		ex.Kind = KindSession
	} else {
		t.m.Unpaired++
		resetExchange(ex)
		ex.Kind, ex.Protocol, ex.StartNanos = KindResponse, c.Proto, in.atNanos
	}
	ex.EndNanos, ex.ResponseSeq = in.atNanos, in.seq
	return ex
}

// begin is answer for a response that comes in several messages, while its request stays in the list: should the rest not
// come, the exchange is reported as the driver has filled it in so far.
func (c *Conn) begin(pd *pending, in *input) *Exchange {
	if pd.begun {
		return &pd.ex
	}
	pd.begun = true
	return c.answer(pd, in)
}

// orphan makes a response whose request was not seen wait for its further messages, which find it by the key, as if it had one.
func (c *Conn) orphan(in *input, key uint64) *pending {
	c.t.m.Unpaired++
	pd := c.newPending(in)
	pd.key, pd.begun = key, true
	pd.ex.Kind, pd.ex.RequestSeq, pd.ex.ResponseSeq = KindResponse, 0, in.seq
	c.wait(pd)
	return pd
}

// touch makes pd wait as long as if it had begun at atNanos: a stream that is alive.
func (c *Conn) touch(pd *pending, atNanos int64) {
	list := &c.t.waiting[pd.proto]
	list.remove(pd)
	pd.deadline = atNanos + c.t.timeouts[pd.proto]
	list.add(pd)
}

// finish reports a response and its exchange. pd is not in the list any more, or nil.
func (c *Conn) finish(pd *pending, ex *Exchange) {
	t, rrt := c.t, int64(-1)
	if pd != nil && ex.Kind != KindResponse {
		rrt = max(ex.EndNanos-ex.StartNanos, 0)
	}
	t.m.Responses++
	t.h.Response(c, ex.EndNanos, ex.Status, rrt)
	c.report(ex)
	if pd != nil {
		t.putPending(pd)
	}
}

// report hands an exchange over.
func (c *Conn) report(ex *Exchange) {
	if ex.ServerInitiated {
		c.t.attribute(ex, "initiator", []byte("server"))
	}
	ex.context = rankNone
	c.t.h.Exchange(c, ex)
}

// become says that the connection goes on in another protocol from the next message on. It ends the parsing when nobody
// looks for that protocol.
func (c *Conn) become(proto Protocol) {
	if c.Proto == proto {
		return
	}
	d := c.t.drivers[proto]
	if d == nil {
		c.stop()
		return
	}
	if d != c.drv {
		c.state, c.note = nil, 0
	}
	c.Proto, c.drv = proto, d
	c.t.h.Identified(c, proto, Server)
}

// hasPort says whether one of the connection's ports is this one.
func (c *Conn) hasPort(port uint16) bool { return c.ports[0] == port || c.ports[1] == port }

// hinted says whether the protocol is usual on one of the connection's ports.
func (c *Conn) hinted(p Protocol) bool {
	for _, port := range protocols[p].ports {
		if c.hasPort(port) {
			return true
		}
	}
	return false
}

// infer asks the drivers whether in.p begins a message of theirs, those usual on the connection's ports first. A yes
// gives the connection its protocol.
func (c *Conn) infer(end int, in *input) shape {
	best := shapeNo
	for _, hint := range [2]bool{true, false} {
		for _, p := range c.t.tried[c.over] {
			if c.hinted(p) != hint {
				continue
			}
			s := c.t.drivers[p].check(c, in, hint)
			if s > shapeMaybe {
				c.identify(p, c.answering(end, s))
				c.unhide(end ^ 1)
				return s
			}
			best = max(best, s)
		}
	}
	return best
}

// unhide forgets what an end has sent before and is no message of the protocol: it would hide those that come.
func (c *Conn) unhide(end int) {
	h := &c.half[end]
	if h.buf == nil {
		return
	}
	in := &c.t.lost
	*in = input{server: end == int(c.server), p: h.buf.data, size: len(h.buf.data), atNanos: h.buf.atNanos, seq: h.buf.seq}
	if c.drv.check(c, in, true) == shapeNo {
		c.dropBuffer(h)
	}
}

// answering is the end that answers, when end has sent a message of that shape.
func (c *Conn) answering(end int, s shape) int {
	switch s {
	case shapeRequest:
		return end ^ 1
	case shapeResponse:
		return end
	}
	return int(uint8(Server) ^ c.turn)
}

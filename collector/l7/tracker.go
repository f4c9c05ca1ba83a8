package l7

// Tracker follows the application protocols of many connections: one per worker, not safe for concurrent use.
type Tracker struct {
	o Options
	h Handler
	m Metrics
}

// NewTracker returns a Tracker that reports to h.
func NewTracker(o Options, h Handler) *Tracker {
	return &Tracker{o: o.withDefaults(), h: h}
}

// Metrics returns the counters.
func (t *Tracker) Metrics() Metrics { return t.m }

// Tick gives up the requests that have waited too long at nowNanos, which is packet time. It costs O(given up).
func (t *Tracker) Tick(nowNanos int64) {}

// Conn is one connection (TCP) or one pair of ports (UDP). It comes from NewConn and goes back with Close.
type Conn struct {
	// Owner is the caller's; the package never looks at it.
	Owner any
	// Proto is the protocol once it is recognised; only the package writes it.
	Proto Protocol

	t *Tracker
}

// NewConn returns a Conn for a connection of the given transport (6 TCP, 17 UDP). The ports are hints only.
func (t *Tracker) NewConn(transport uint8, clientPort, serverPort uint16) *Conn {
	t.m.Conns++
	return &Conn{t: t}
}

// Payload hands over the payload of one segment or datagram, sent by side. seq is the TCP sequence number of its first
// byte (0 for UDP), payload what was captured of its wireLen bytes. payload is borrowed until the call returns.
//
// A TCP call with wireLen 0 says that the next byte of side has the number seq (after a SYN: its number plus one); it is
// ignored once the side has sent something. It is optional.
func (c *Conn) Payload(side Side, atNanos int64, seq uint32, payload []byte, wireLen int) {}

// Reverse tells the Conn that the caller had the direction the wrong way round and calls the sides by their right
// names from now on. It is not to be called in answer to Handler.Identified, where the Conn has turned already.
func (c *Conn) Reverse() {}

// Close reports the requests without a response, with unknown status, and takes c back: it must not be used any more.
// It must not be called from within a Handler's method.
func (c *Conn) Close(atNanos int64) { c.t.m.Conns-- }

package l7

// pending is a request that waits for its response. It stands in two lists: its connection's and its Tracker's.
type pending struct {
	ex       Exchange
	c        *Conn
	next     *pending // in the Conn, oldest first
	before   *pending // in the Tracker
	after    *pending
	deadline int64  // Unix nanoseconds
	key      uint64 // the number by which the response is known; 0 in ordered protocols
	aux      uint64 // the driver's
	headLen  int64  // of HTTP: bytes of the head
	size     int    // bytes of text
	proto    Protocol
	method   method
	chunked  bool
	begun    bool // its response has begun: it is not unanswered any more
	silent   bool // no response is one, too: it does not time out
}

// method tells the methods whose response has no body of its own.
type method uint8

const (
	methodOther method = iota
	methodHead
	methodConnect
)

// pendingList is a list of requests in order of deadline.
type pendingList struct{ first, last *pending }

// add puts pd in its place; that is the end, unless packet times run backwards. The search is bounded: after a leap
// backwards, requests time out with their neighbours.
func (l *pendingList) add(pd *pending) {
	const most = 64
	at := l.last
	for range most {
		if at == nil || at.deadline <= pd.deadline {
			break
		}
		at = at.before
	}
	if at != nil {
		pd.deadline = max(pd.deadline, at.deadline)
	}
	pd.before = at
	if at == nil {
		pd.after, l.first = l.first, pd
	} else {
		pd.after, at.after = at.after, pd
	}
	if pd.after == nil {
		l.last = pd
	} else {
		pd.after.before = pd
	}
}

func (l *pendingList) remove(pd *pending) {
	if pd.before == nil {
		l.first = pd.after
	} else {
		pd.before.after = pd.after
	}
	if pd.after == nil {
		l.last = pd.before
	} else {
		pd.after.before = pd.before
	}
	pd.before, pd.after = nil, nil
}

// resetExchange clears e but keeps the memory of its attributes.
func resetExchange(e *Exchange) {
	attrs := e.Attributes
	clear(attrs[:cap(attrs)])
	*e = Exchange{RequestID: -1, RequestBytes: -1, ResponseBytes: -1, ResponseCode: -1, AffectedRows: -1, Attributes: attrs[:0]}
}

// textBytes is how much text the request in e holds, in bytes.
func (e *Exchange) textBytes() int {
	n := len(e.RequestType) + len(e.RequestDomain) + len(e.RequestResource) + len(e.TraceID) + len(e.SpanID) +
		len(e.XRequestIDRequest)
	for i := range e.Attributes {
		n += len(e.Attributes[i].Value)
	}
	return n
}

// deepPipeline is how many times as many requests may wait where pipelines are deep.
const deepPipeline = 8

// maxPending is the most that MaxPending may be.
const maxPending = 1 << 15

// wait puts pd in the lists, and makes room for it if need be.
func (c *Conn) wait(pd *pending) {
	t := c.t
	most := t.o.MaxPending
	if protocols[pd.proto].deep {
		most = min(most*deepPipeline, maxPending)
	}
	if int(c.waiting) >= most {
		t.m.EvictedPending++
		c.owe()
		c.giveUp(c.first)
	}
	pd.size = pd.ex.textBytes()
	for t.m.Pending >= t.o.MaxTotalPending || t.m.Pending > 0 && t.m.PendingBytes+pd.size > t.o.MaxPendingBytes {
		oldest := t.waiting[pd.proto].first
		if oldest == nil { // all of them are of other protocols
			for i := range t.waiting {
				if oldest = t.waiting[i].first; oldest != nil {
					break
				}
			}
		}
		t.m.EvictedPending++
		oldest.c.owe()
		oldest.c.giveUp(oldest)
	}
	pd.deadline = pd.ex.StartNanos + t.timeouts[pd.proto]
	if c.last == nil {
		c.first = pd
	} else {
		c.last.next = pd
	}
	c.last = pd
	c.waiting++
	t.m.Pending++
	t.m.PendingBytes += pd.size
	t.waiting[pd.proto].add(pd)
}

// unlink takes pd out of both lists.
func (c *Conn) unlink(pd *pending) {
	var prev *pending
	for at := c.first; at != pd; at = at.next {
		prev = at
	}
	if prev == nil {
		c.first = pd.next
	} else {
		prev.next = pd.next
	}
	if c.last == pd {
		c.last = prev
	}
	pd.next = nil
	c.waiting--
	c.t.m.Pending--
	c.t.m.PendingBytes -= pd.size
	c.t.waiting[pd.proto].remove(pd)
}

// giveUp reports pd as a request nobody knows the end of.
func (c *Conn) giveUp(pd *pending) {
	c.unlink(pd)
	if pd.begun {
		c.finish(pd, &pd.ex)
		return
	}
	c.report(&pd.ex)
	c.t.putPending(pd)
}

// expire reports pd as a request that was not answered in time; where the answer comes on another connection (multicast) or
// may be silence, as one nobody knows the end of.
func (c *Conn) expire(pd *pending, atNanos int64) {
	if c.group || pd.begun || pd.silent {
		c.giveUp(pd)
		return
	}
	t := c.t
	t.m.Timeouts++
	c.unlink(pd)
	pd.ex.Status = StatusTimeout
	t.h.Timeout(c, atNanos)
	c.report(&pd.ex)
	t.putPending(pd)
}

// owe remembers that the oldest request leaves without its response, which must not be taken for another's.
func (c *Conn) owe() {
	if protocols[c.Proto].ordered && c.owed < 1<<16-1 {
		c.owed++
	}
}

func (t *Tracker) putPending(pd *pending) {
	pd.c = nil
	if len(t.freePending) < maxFree {
		t.freePending = append(t.freePending, pd)
	}
}

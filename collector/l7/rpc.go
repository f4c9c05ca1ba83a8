package l7

import "github.com/flowlake/flowlake/collector/l7/wire"

// What the drivers of RPC protocols have in common: their calls carry a number, and either end may call the other.

// contextKeys are the fields that contextField takes, for parsers that have to look for them.
var contextKeys = []string{"traceparent", "sw8", "sw6", "b3", "x-b3-traceid", "x-b3-spanid", "uber-trace-id", "x-request-id"}

// rpcShape is what a parser makes of a message: on a connection of its own either end may send it.
func (c *Conn) rpcShape(v wire.Verdict) shape {
	if c.Proto != Unknown && v > wire.Maybe {
		return shapeEither
	}
	return shape(v)
}

// enough says whether a message whose first want bytes are of interest can be read: they are there, or no more will come.
func (c *Conn) enough(in *input, want int) bool {
	if len(in.p) >= want {
		return true
	}
	if in.cut && !in.lost {
		c.t.m.DroppedBuffer++
	}
	return in.cut
}

// noID is the number of a response whose number is cut off: no request waits with it. A request without one is reported as if
// nobody answered it.
const noID = 1<<64 - 1

// directed is the value of Conn.note once a message has told which end asks.
const directed = 1

// asks says that the sender of in makes calls. Where the connection was recognised by messages that either end sends, that
// tells who is the client; from then on calls of the server are calls of the server.
func (c *Conn) asks(in *input) { c.direct(in, false) }

// direct says which side, as of the connection's first call, has sent in.
func (c *Conn) direct(in *input, server bool) {
	if c.note != directed && in.server != server {
		c.t.m.Identified-- // it is the same connection
		c.identify(c.Proto, int(c.server^1))
		in.server = server
	}
	c.note = directed
}

// call reports pd, which its sender knows by the number id, and makes it wait for its response unless it is oneWay. asks must
// have been called before newPending.
func (c *Conn) call(in *input, pd *pending, id uint64, oneWay bool) {
	pd.key, pd.ex.ServerInitiated = id, in.server
	if oneWay {
		c.oneWay(pd)
	} else {
		c.push(pd)
	}
}

// called returns the other end's call with the number id, which waits no longer, nil when it was not seen.
func (c *Conn) called(in *input, id uint64) *pending {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == id && pd.ex.ServerInitiated != in.server {
			c.unlink(pd)
			return pd
		}
	}
	return nil
}

// reply returns the exchange that a response with the number id completes, and its request, nil when that was not seen. ok is
// false for what the client answers to nobody knows what.
func (c *Conn) reply(in *input, id uint64) (pd *pending, ex *Exchange, ok bool) {
	c.direct(in, true)
	if pd = c.called(in, id); pd == nil && !in.server {
		c.t.m.WrongSide++
		return nil, nil, false
	}
	return pd, c.answer(pd, in), true
}

// setCall fills in what is called: a method of a service, either of which may be empty.
func (t *Tracker) setCall(ex *Exchange, service, method []byte) {
	ex.RequestType = t.text(method, t.o.MaxText)
	ex.RequestResource = t.text(service, t.o.MaxText)
	switch {
	case len(service) == 0:
		ex.Endpoint = ex.RequestType
	case len(method) == 0:
		ex.Endpoint = ex.RequestResource
	default:
		t.scratch = append(append(append(t.scratch[:0], service...), '/'), method...)
		ex.Endpoint = t.text(t.scratch, t.o.MaxText)
	}
}

// setException fills in an error: the name of its class, and its text behind a colon.
func (t *Tracker) setException(ex *Exchange, class, text []byte) {
	t.scratch = append(t.scratch[:0], class...)
	if len(class) > 0 && len(text) > 0 {
		t.scratch = append(t.scratch, ": "...)
	}
	t.scratch = append(t.scratch, text...)
	ex.ResponseException = t.text(t.scratch, t.o.MaxText)
}

// setIDs fills in trace context that is no header field, unless one has been there.
func (t *Tracker) setIDs(ex *Exchange, trace, span, parent []byte) {
	if ex.context == rankNone && len(trace) > 0 {
		ex.TraceID, ex.SpanID, ex.ParentSpanID = t.once(trace, maxID), t.once(span, maxID), t.once(parent, maxID)
	}
}

package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/websocket"
)

// webSocketDriver follows the frames of connections that HTTP/1 has upgraded: it counts messages, and reports how a connection
// was closed.
type webSocketDriver struct {
	t     *Tracker
	frame websocket.Frame
	text  []byte
}

// webSocketState is what is known of a connection: what the upgrade asked for, and what has gone by since, of the client and
// of the server.
type webSocketState struct {
	domain, resource, endpoint string
	messages, bytes            [2]int64
	lost                       bool // the counts are too low
}

func newWebSocketDriver(t *Tracker) driver { return &webSocketDriver{t: t} }

// becomeWebSocket goes on after an upgrade, whose exchange is ex.
func (c *Conn) becomeWebSocket(ex *Exchange) {
	st := &webSocketState{domain: ex.RequestDomain, resource: ex.RequestResource, endpoint: ex.Endpoint}
	if c.become(WebSocket); !c.off {
		c.state = st
	}
}

func (d *webSocketDriver) check(c *Conn, in *input, _ bool) shape {
	if c.Proto != WebSocket { // there is nothing in a frame that tells it from anything else
		return shapeNo
	}
	if st, ok := c.state.(*webSocketState); ok {
		st.lost = true
	}
	if websocket.Fills(in.p, !in.server) {
		return shapeEither
	}
	return shapeNo
}

func (d *webSocketDriver) step(c *Conn, in *input) (int, error) {
	f := &d.frame
	n, err := websocket.Parse(in.p, f)
	if errors.Is(err, websocket.ErrShort) && !in.cut {
		return 0, nil
	}
	if err == nil && f.Masked == in.server {
		err = websocket.ErrMalformed
	}
	st, ok := c.state.(*webSocketState)
	if err != nil || !ok {
		return 0, err
	}
	w := way(in.server)
	switch {
	case f.Opcode == websocket.Close:
		if len(f.Payload) < f.Length && !in.cut {
			return 0, nil
		}
		d.closed(c, st, in)
		c.stop()
		return n, nil
	case f.Opcode <= websocket.Binary:
		st.bytes[w] += int64(f.Length)
		if f.Final {
			st.messages[w]++
		}
	}
	return n, nil
}

// closed reports the end of a connection: who closed it, with what code, and what went by before.
func (d *webSocketDriver) closed(c *Conn, st *webSocketState, in *input) {
	t := d.t
	d.text = d.frame.AppendPayload(d.text[:0])
	code, reason := websocket.CloseCode(d.text)
	pd := c.newPending(in)
	ex := &pd.ex
	ex.Version, ex.RequestType, ex.RequestDomain, ex.RequestResource, ex.Endpoint = "13", "CLOSE", st.domain, st.resource, st.endpoint
	ex.ServerInitiated = in.server
	ex.ResponseCode = int64(code)
	ex.Status = statusWebSocket(code, in.server)
	if ex.Status != StatusOK {
		if ex.ResponseException = t.text(reason, t.o.MaxText); ex.ResponseException == "" {
			ex.ResponseException = websocket.CodeString(code)
		}
	}
	if !st.lost {
		ex.RequestBytes, ex.ResponseBytes = st.bytes[0], st.bytes[1]
		t.scratch = strconv.AppendInt(t.scratch[:0], st.messages[0], 10)
		t.attribute(ex, "websocket_client_messages", t.scratch)
		t.scratch = strconv.AppendInt(t.scratch[:0], st.messages[1], 10)
		t.attribute(ex, "websocket_server_messages", t.scratch)
	}
	c.oneWay(pd)
}

// statusWebSocket: an end closes because it is done, or because of what the other one did (RFC 6455 §7.4.1); an internal error,
// a restart and the like are the server's. Codes of applications say nothing.
func statusWebSocket(code int, server bool) Status {
	switch code {
	case 1000, 1001, websocket.NoStatus:
		return StatusOK
	case 1002, 1003, 1007, 1008, 1009, 1010:
		if server {
			return StatusClientError
		}
		return StatusServerError
	case 1011, 1012, 1013, 1014:
		return StatusServerError
	}
	return StatusUnknown
}

package l7

import (
	"net/netip"

	"github.com/flowlake/flowlake/collector/l7/ntp"
)

const portNTP = 123

// ntpDriver speaks NTP.
type ntpDriver struct {
	t   *Tracker
	msg ntp.Message
}

func newNTPDriver(t *Tracker) driver { return &ntpDriver{t: t} }

func (d *ntpDriver) check(c *Conn, in *input, _ bool) shape {
	if !c.hasPort(portNTP) {
		return shapeNo
	}
	return shape(ntp.Check(in.p, in.size))
}

func (d *ntpDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	if err := ntp.Parse(in.p, in.size, m); err != nil {
		return 0, err
	}
	switch m.Mode {
	case ntp.Client:
		d.request(c, in, m.Transmit)
	case ntp.Server:
		d.response(c, in, m.Origin)
	case ntp.Broadcast:
		c.direct(in, true)
		c.call(in, d.newPending(c, in), 0, true)
	case ntp.Control:
		key := uint64(m.Opcode)<<16 | uint64(m.Sequence)
		switch {
		case !m.Response:
			d.request(c, in, key)
		case m.Offset > 0: // goes on with the last one
			d.t.m.Duplicates++
		default:
			d.response(c, in, key)
		}
	default: // peers: who answers the other's last message does not ask
		if d.isAnswer(c, in) {
			d.response(c, in, m.Origin)
		} else {
			d.request(c, in, m.Transmit)
		}
	}
	return len(in.p), nil
}

// isAnswer says whether the message of a peer answers one of the other.
func (d *ntpDriver) isAnswer(c *Conn, in *input) bool {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == d.msg.Origin && pd.ex.ServerInitiated != in.server {
			return true
		}
	}
	return d.msg.Mode == ntp.SymmetricPassive && in.server
}

// newPending is a request, or a message without one.
func (d *ntpDriver) newPending(c *Conn, in *input) *pending {
	pd := c.newPending(in)
	d.setMode(&pd.ex)
	pd.ex.RequestBytes = int64(in.size)
	return pd
}

func (d *ntpDriver) setMode(ex *Exchange) {
	m := &d.msg
	ex.RequestType = m.Mode.String()
	if m.Mode == ntp.Control {
		ex.RequestType, ex.RequestID = ntp.OpcodeName(m.Opcode), int64(m.Sequence)
	}
	ex.Endpoint = ex.RequestType
	ex.Version = digits[m.Version : m.Version+1]
}

// digits are numbers of one digit.
const digits = "0123456789"

func (d *ntpDriver) request(c *Conn, in *input, key uint64) {
	c.asks(in)
	c.call(in, d.newPending(c, in), key, false)
}

func (d *ntpDriver) response(c *Conn, in *input, key uint64) {
	t, m := d.t, &d.msg
	pd, ex, ok := c.reply(in, key)
	if !ok {
		return
	}
	ex.ResponseBytes, ex.Status = int64(in.size), StatusOK
	const unsynchronised = 16
	switch {
	case m.Mode == ntp.Control:
		if m.Error {
			ex.Status, ex.ResponseCode = StatusServerError, int64(m.Status>>8)
		}
	case m.Stratum == 0:
		ex.Status, ex.ResponseException = ntpKiss(string(m.Kiss())), t.text(m.Kiss(), t.o.MaxText)
	case m.Leap == 3 || m.Stratum == unsynchronised:
		ex.Status, ex.ResponseException = StatusServerError, "unsynchronised"
	}
	if pd == nil {
		d.setMode(ex)
	}
	if m.Mode != ntp.Control {
		d.clock(ex)
	}
	c.finish(pd, ex)
}

// clock tells of the server's clock.
func (d *ntpDriver) clock(ex *Exchange) {
	t, m := d.t, &d.msg
	t.scratch = appendUint(t.scratch[:0], uint64(m.Stratum))
	t.attribute(ex, "ntp_stratum", t.scratch)
	switch code := m.Code(); {
	case m.Stratum <= 1 && len(code) > 0:
		t.attribute(ex, "ntp_reference", code)
	case m.Stratum > 1 && m.Reference != [4]byte{}:
		t.scratch = netip.AddrFrom4(m.Reference).AppendTo(t.scratch[:0])
		t.attribute(ex, "ntp_reference", t.scratch)
	}
}

// ntpKiss: the client is told to go away or to ask less often; any other code means that the server has no time to give.
func ntpKiss(code string) Status {
	switch code {
	case "DENY", "RATE", "RSTR":
		return StatusClientError
	}
	return StatusServerError
}

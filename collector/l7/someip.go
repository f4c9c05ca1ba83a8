package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/someip"
)

// someipDriver speaks SOME/IP, over TCP and UDP.
type someipDriver struct {
	t       *Tracker
	head    someip.Header
	numbers [2][8]byte
}

func newSomeIPDriver(t *Tracker) driver { return &someipDriver{t: t} }

// check wants the messages to fill the payload, where neither the port nor the connection tells: the header alone has little
// that other protocols could not have. Of a stream the last one may go on, if it is not too long.
func (d *someipDriver) check(c *Conn, in *input, hint bool) shape {
	const long = 1 << 16
	stream := c.over == overTCP
	if stream && !hint && len(in.p) > 5 && (in.p[4] != 0 || in.p[5] > 0) { // longer than that
		return shapeNo
	}
	s := c.rpcShape(someip.Check(in.p))
	if s <= shapeMaybe || hint && stream {
		return s
	}
	for at := 0; at != in.size; {
		rest := in.p[min(at, len(in.p)):]
		_, err := someip.Parse(rest, &d.head)
		switch {
		case errors.Is(err, someip.ErrShort) && (stream || in.lost) && len(rest) > 0:
			return s
		case err != nil:
			return shapeNo
		}
		at += d.head.Size
		switch {
		case at <= len(in.p):
		case in.lost && at <= in.size:
			return s
		case stream && d.head.Size <= long && in.cut:
			return s
		case stream && d.head.Size <= long:
			return shapeMaybe
		default:
			return shapeNo
		}
	}
	return s
}

func (d *someipDriver) step(c *Conn, in *input) (int, error) {
	h := &d.head
	n, err := someip.Parse(in.p, h)
	if errors.Is(err, someip.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	switch {
	case h.ID() == someip.ServiceDiscovery || h.Cookie() || h.Segment && !h.First:
	case h.Type == someip.Request || h.Type == someip.RequestNoReturn:
		d.request(c, in)
	case h.Type == someip.Notification:
		d.event(c, in)
	default:
		d.response(c, in)
	}
	return n, nil
}

// setCall fills in what is called, which responses say too.
func (d *someipDriver) setCall(ex *Exchange) {
	t, h := d.t, &d.head
	ex.RequestType = h.Type.String()
	ex.RequestResource = t.text(strconv.AppendUint(d.numbers[0][:0], uint64(h.Service), 10), t.o.MaxText)
	ex.Endpoint = t.text(strconv.AppendUint(d.numbers[1][:0], uint64(h.Method), 10), t.o.MaxText)
	ex.RequestID = int64(h.Session)
	t.scratch = append(t.scratch[:0], "Protocol 1 Interface "...)
	ex.Version = t.text(strconv.AppendUint(t.scratch, uint64(h.InterfaceVersion), 10), t.o.MaxText)
	t.attribute(ex, "someip_client_id", strconv.AppendUint(d.numbers[0][:0], uint64(h.Client), 10))
}

// key is by what a response is known.
func (d *someipDriver) key() uint64 {
	return uint64(d.head.ID())<<32 | uint64(d.head.Client)<<16 | uint64(d.head.Session)
}

func (d *someipDriver) request(c *Conn, in *input) {
	c.asks(in)
	pd := c.newPending(in)
	d.setCall(&pd.ex)
	pd.ex.RequestBytes = int64(d.head.Size)
	c.call(in, pd, d.key(), d.head.Type == someip.RequestNoReturn)
}

// event is what a service sends to those who have subscribed to it.
func (d *someipDriver) event(c *Conn, in *input) {
	c.direct(in, true)
	pd := c.newPending(in)
	d.setCall(&pd.ex)
	pd.ex.RequestBytes = int64(d.head.Size)
	c.call(in, pd, 0, true)
}

func (d *someipDriver) response(c *Conn, in *input) {
	h := &d.head
	pd, ex, ok := c.reply(in, d.key())
	if !ok {
		return
	}
	if pd == nil {
		d.setCall(ex)
	}
	ex.ResponseBytes, ex.ResponseCode, ex.Status = int64(h.Size), int64(h.Code), someipStatus(h)
	if h.Code != someip.OK {
		ex.ResponseException = h.Code.String()
	}
	c.finish(pd, ex)
}

// someipStatus: who asks for what there is not makes a client's error.
func someipStatus(h *someip.Header) Status {
	switch h.Code {
	case someip.OK:
		if h.Type == someip.Error {
			return StatusServerError
		}
		return StatusOK
	case someip.UnknownService, someip.UnknownMethod, someip.WrongProtocolVersion, someip.WrongInterfaceVersion, someip.WrongMessageType:
		return StatusClientError
	}
	return StatusServerError
}

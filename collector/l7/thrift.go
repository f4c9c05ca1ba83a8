package l7

import (
	"bytes"
	"errors"
	"hash/maphash"

	"github.com/flowlake/flowlake/collector/l7/thrift"
)

// thriftDriver speaks Thrift.
type thriftDriver struct {
	t   *Tracker
	msg thrift.Message
}

func newThriftDriver(t *Tracker) driver { return &thriftDriver{t: t} }

func (d *thriftDriver) check(c *Conn, in *input, _ bool) shape { return c.rpcShape(thrift.Check(in.p)) }

func (d *thriftDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := thrift.Parse(in.p, m)
	if errors.Is(err, thrift.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if m.Open && !in.cut || !c.enough(in, m.Want) {
		return 0, nil
	}
	switch m.Type {
	case thrift.Call, thrift.OneWay:
		d.request(c, in)
	case thrift.Reply, thrift.Exception:
		d.response(c, in)
	case thrift.Unknown: // hidden by a transform: the side tells
		if in.server {
			d.response(c, in)
		} else {
			d.request(c, in)
		}
	}
	if m.Open { // where the next message begins is unknown: look for it
		c.half[c.server^boolBit(!in.server)].state = stateResync
	}
	return n, nil
}

// setCall fills in what is called, which responses say too.
func (d *thriftDriver) setCall(ex *Exchange) {
	m := &d.msg
	service, method, ok := bytes.Cut(m.Name, []byte(":"))
	if !ok {
		service, method = nil, m.Name
	}
	d.t.setCall(ex, service, method)
	ex.RequestID = int64(m.SeqID)
	ex.Version = m.Encoding.String()
	ex.Attributes = append(ex.Attributes, Attribute{Key: "thrift_transport", Value: m.Transport.String()})
}

// size is the length of the message, -1 when its end was not to be seen.
func (d *thriftDriver) size() int64 {
	if d.msg.Open {
		return -1
	}
	return int64(d.msg.Size)
}

func (d *thriftDriver) request(c *Conn, in *input) {
	m := &d.msg
	c.asks(in)
	pd := c.newPending(in)
	d.setCall(&pd.ex)
	pd.ex.RequestBytes = d.size()
	for h := m.Headers(); h.Next(); {
		d.t.contextField(&pd.ex, h.Key, h.Value)
	}
	c.call(in, pd, d.key(), m.Type == thrift.OneWay)
}

// key is by what a response is known: the sequence id, which some clients leave 0, and the method. A response lacks the
// service.
func (d *thriftDriver) key() uint64 {
	method := d.msg.Name[bytes.IndexByte(d.msg.Name, ':')+1:]
	return maphash.Bytes(d.t.seed, method)<<32 | uint64(uint32(d.msg.SeqID))
}

func (d *thriftDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	if m.SeqID == 0 { // the order tells, unless something was lost
		c.settle()
	}
	pd, ex, ok := c.reply(in, d.key())
	if !ok {
		return
	}
	if pd == nil {
		d.setCall(ex)
	}
	ex.ResponseBytes = d.size()
	switch {
	case m.Type == thrift.Exception:
		ex.ResponseCode, ex.Status = int64(m.Code), thriftStatus(m.Code)
		t.setException(ex, []byte(thrift.CodeName(m.Code)), m.Text)
	case m.Type == thrift.Unknown:
	case m.Field > 0: // an exception that the method declares
		ex.Status = StatusServerError
		if ex.ResponseException = "exception"; len(m.Text) > 0 {
			t.setException(ex, nil, m.Text)
		}
	default:
		ex.ResponseCode, ex.Status = 0, StatusOK
	}
	c.finish(pd, ex)
}

// thriftStatus: what cannot be called or read is the client's error, everything else the server's.
func thriftStatus(code int32) Status {
	switch code {
	case thrift.UnknownMethod, thrift.InvalidMessageType, thrift.WrongMethodName, thrift.ProtocolError, thrift.InvalidTransform,
		thrift.InvalidProtocol, thrift.UnsupportedClientType:
		return StatusClientError
	}
	return StatusServerError
}

// boolBit is 1 for true.
func boolBit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

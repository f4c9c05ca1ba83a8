package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/dubbo"
)

// dubboDriver speaks Dubbo.
type dubboDriver struct {
	t   *Tracker
	msg dubbo.Message
	att dubbo.Attachments
}

func newDubboDriver(t *Tracker) driver { return &dubboDriver{t: t} }

func (d *dubboDriver) check(c *Conn, in *input, _ bool) shape { return c.rpcShape(dubbo.Check(in.p)) }

func (d *dubboDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := dubbo.Parse(in.p, m)
	if errors.Is(err, dubbo.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// An error may stand at the beginning of a response, what trace context there is at the end of a request.
	want := n
	if !m.Request {
		const head = 1024
		want = min(n, head)
	}
	if !c.enough(in, want) {
		return 0, nil
	}
	switch {
	case m.Event:
	case m.Request:
		d.request(c, in)
	default:
		d.response(c, in)
	}
	return n, nil
}

func (d *dubboDriver) request(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.asks(in)
	pd := c.newPending(in)
	ex := &pd.ex
	t.setCall(ex, m.Service, m.Method)
	ex.Version = t.text(m.Dubbo, t.o.MaxAttribute)
	ex.RequestID, ex.RequestBytes = int64(m.ID), int64(m.Size)
	ex.Attributes = append(ex.Attributes, Attribute{Key: "rpc_serialization", Value: m.Serialization()})
	t.attribute(ex, "rpc_service_version", m.Version)
	for m.Attachments(&d.att, contextKeys); d.att.Next(); {
		t.contextField(ex, d.att.Key, d.att.Value)
	}
	c.call(in, pd, m.ID, !m.TwoWay)
}

func (d *dubboDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	pd, ex, ok := c.reply(in, m.ID)
	if !ok {
		return
	}
	ex.RequestID, ex.ResponseBytes = int64(m.ID), int64(m.Size)
	ex.ResponseCode = int64(m.Status)
	ex.Status = dubboStatus(m.Status, m.Threw)
	switch {
	case m.Status != dubbo.OK:
		t.setException(ex, []byte(m.Status.String()), m.Text)
	case m.Threw && len(m.Class) == 0:
		ex.ResponseException = "exception"
	case m.Threw:
		t.setException(ex, m.Class, m.Text)
	}
	c.finish(pd, ex)
}

// dubboStatus: what the client did wrong or did not wait for is the client's error, everything else the server's, an
// exception that the method has thrown too.
func dubboStatus(s dubbo.Status, threw bool) Status {
	switch s {
	case dubbo.OK:
		if threw {
			return StatusServerError
		}
		return StatusOK
	case dubbo.ClientTimeout, dubbo.BadRequest, dubbo.ClientError:
		return StatusClientError
	}
	return StatusServerError
}

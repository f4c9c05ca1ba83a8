package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/sofarpc"
)

// sofarpcDriver speaks BOLT, SOFARPC's protocol.
type sofarpcDriver struct {
	t   *Tracker
	msg sofarpc.Message
}

func newSofaRPCDriver(t *Tracker) driver { return &sofarpcDriver{t: t} }

func (d *sofarpcDriver) check(c *Conn, in *input, _ bool) shape {
	return c.rpcShape(sofarpc.Check(in.p))
}

func (d *sofarpcDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := sofarpc.Parse(in.p, m)
	if errors.Is(err, sofarpc.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !c.enough(in, m.Want) {
		return 0, nil
	}
	switch {
	case m.Heartbeat:
	case m.Request:
		d.request(c, in)
	default:
		d.response(c, in)
	}
	return n, nil
}

func (d *sofarpcDriver) request(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.asks(in)
	pd := c.newPending(in)
	ex := &pd.ex
	t.setCall(ex, m.Service, m.Method)
	ex.Version = boltVersions[m.Version]
	ex.RequestID, ex.RequestBytes = int64(m.ID), int64(m.Size)
	for h := m.Headers(); h.Next(); {
		t.contextField(ex, h.Key, h.Value)
	}
	t.setIDs(ex, m.TraceID, m.SpanID, m.ParentID)
	c.call(in, pd, uint64(m.ID), m.OneWay)
}

var boltVersions = [...]string{1: "1", 2: "2"}

func (d *sofarpcDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	pd, ex, ok := c.reply(in, uint64(m.ID))
	if !ok {
		return
	}
	ex.RequestID, ex.ResponseBytes = int64(m.ID), int64(m.Size)
	ex.ResponseCode = int64(m.Status)
	switch m.Status {
	case sofarpc.Success:
		ex.Status = StatusOK
		if m.Failed {
			ex.Status = StatusServerError
			t.setException(ex, m.Thrown, m.Error)
		}
	case sofarpc.ClientSendError:
		ex.Status = StatusClientError
		ex.ResponseException = m.Status.String()
	default:
		ex.Status = StatusServerError
		ex.ResponseException = m.Status.String()
	}
	c.finish(pd, ex)
}

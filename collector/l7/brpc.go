package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/brpc"
)

// brpcDriver speaks baidu_std, bRPC's protocol.
type brpcDriver struct {
	t   *Tracker
	msg brpc.Message
	ids [3][16]byte // bRPC's own trace context as text
}

func newBRPCDriver(t *Tracker) driver { return &brpcDriver{t: t} }

func (d *brpcDriver) check(c *Conn, in *input, _ bool) shape { return c.rpcShape(brpc.Check(in.p)) }

func (d *brpcDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := brpc.Parse(in.p, m)
	if errors.Is(err, brpc.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !c.enough(in, m.Want) {
		return 0, nil
	}
	switch {
	case m.Request:
		d.request(c, in)
	case m.Response:
		d.response(c, in)
	}
	return n, nil
}

func (d *brpcDriver) request(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.asks(in)
	pd := c.newPending(in)
	ex := &pd.ex
	t.setCall(ex, m.Service, m.Method)
	ex.RequestID, ex.RequestBytes = m.CorrelationID, int64(m.Size)
	for f := m.Fields(); f.Next(); {
		t.contextField(ex, f.Key, f.Value)
	}
	if len(m.RequestID) > 0 {
		ex.XRequestIDRequest = t.once(m.RequestID, t.o.MaxText)
	}
	if m.LogID != 0 {
		t.scratch = strconv.AppendInt(t.scratch[:0], m.LogID, 10)
		t.attribute(ex, "rpc_log_id", t.scratch)
	}
	if m.TraceID != 0 {
		t.setIDs(ex, d.id(0, m.TraceID), d.id(1, m.SpanID), d.id(2, m.ParentSpanID))
	}
	c.call(in, pd, uint64(m.CorrelationID), !m.Numbered)
}

// id is an id in bRPC's own way of writing it; "" for 0.
func (d *brpcDriver) id(i int, id uint64) []byte {
	if id == 0 {
		return nil
	}
	return strconv.AppendUint(d.ids[i][:0], id, 16)
}

func (d *brpcDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	id := uint64(m.CorrelationID)
	if !m.Numbered {
		id = noID
	}
	pd, ex, ok := c.reply(in, id)
	if !ok {
		return
	}
	ex.RequestID, ex.ResponseBytes = m.CorrelationID, int64(m.Size)
	ex.ResponseCode = int64(m.ErrorCode)
	ex.Status = StatusOK
	if m.ErrorCode != 0 {
		ex.Status = StatusServerError
		t.setException(ex, nil, m.ErrorText)
	}
	c.finish(pd, ex)
}

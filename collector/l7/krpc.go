package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/krpc"
)

// krpcDriver speaks KRPC.
type krpcDriver struct {
	t       *Tracker
	msg     krpc.Message
	numbers [2][12]byte // service and method as text
}

func newKRPCDriver(t *Tracker) driver { return &krpcDriver{t: t} }

func (d *krpcDriver) check(c *Conn, in *input, _ bool) shape { return c.rpcShape(krpc.Check(in.p)) }

func (d *krpcDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := krpc.Parse(in.p, m)
	if errors.Is(err, krpc.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !c.enough(in, m.Want) {
		return 0, nil
	}
	switch {
	case m.Heartbeat():
	case m.Request:
		d.request(c, in)
	default:
		d.response(c, in)
	}
	return n, nil
}

// setCall fills in what is called, which responses say too.
func (d *krpcDriver) setCall(ex *Exchange) {
	d.t.setCall(ex, strconv.AppendInt(d.numbers[0][:0], int64(d.msg.Service), 10), strconv.AppendInt(d.numbers[1][:0], int64(d.msg.Method), 10))
	ex.RequestID = int64(d.msg.Sequence)
}

func (d *krpcDriver) request(c *Conn, in *input) {
	m := &d.msg
	c.asks(in)
	pd := c.newPending(in)
	d.setCall(&pd.ex)
	pd.ex.RequestBytes = int64(m.Size)
	d.t.setIDs(&pd.ex, m.TraceID, m.SpanID, m.ParentID)
	c.call(in, pd, uint64(uint32(m.Sequence)), !m.Numbered)
}

func (d *krpcDriver) response(c *Conn, in *input) {
	m := &d.msg
	id := uint64(uint32(m.Sequence))
	if !m.Numbered {
		id = noID
	}
	pd, ex, ok := c.reply(in, id)
	if !ok {
		return
	}
	if pd == nil {
		d.setCall(ex)
	}
	ex.ResponseBytes, ex.ResponseCode = int64(m.Size), int64(m.Code)
	ex.Status = StatusOK
	if m.Code != 0 {
		ex.Status = StatusServerError
	}
	c.finish(pd, ex)
}

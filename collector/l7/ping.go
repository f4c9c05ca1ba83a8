package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/icmp"
	"github.com/flowlake/flowlake/collector/l7/wire"
)

// errNoEcho is returned for an ICMP message that is neither echo nor reply.
var errNoEcho = errors.New("not an echo")

// pingDriver pairs ICMP echoes and their replies. The payload of such a connection is the whole ICMP message.
type pingDriver struct{ echo icmp.Echo }

func newPingDriver(*Tracker) driver { return &pingDriver{} }

func (d *pingDriver) check(_ *Conn, in *input, _ bool) shape { return shape(icmp.Parse(in.p, &d.echo)) }

func (d *pingDriver) step(c *Conn, in *input) (int, error) {
	if icmp.Parse(in.p, &d.echo) == wire.No {
		return 0, errNoEcho
	}
	key := uint64(d.echo.ID)<<16 | uint64(d.echo.Seq)
	switch {
	case d.echo.Reply == in.server:
	default: // both ends ask each other with the same id
		c.t.m.WrongSide++
		return len(in.p), nil
	}
	if d.echo.Reply {
		pd := c.take(key)
		ex := c.answer(pd, in)
		d.set(ex)
		ex.ResponseBytes, ex.ResponseCode, ex.Status = int64(in.size), 0, StatusOK
		c.finish(pd, ex)
		return len(in.p), nil
	}
	pd := c.newPending(in)
	d.set(&pd.ex)
	pd.ex.RequestBytes, pd.key = int64(in.size), key
	c.push(pd)
	return len(in.p), nil
}

func (d *pingDriver) set(ex *Exchange) {
	ex.RequestType, ex.Endpoint, ex.RequestID = "echo", "echo", int64(d.echo.Seq)
}

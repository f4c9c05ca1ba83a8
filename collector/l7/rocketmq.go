package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/rocketmq"
)

// rocketmqWant is how many bytes of a command are waited for behind its header: the first message of a pull.
const rocketmqWant = 4 << 10

// rocketmqDriver speaks RocketMQ's remoting protocol. pending.aux is the request's code.
type rocketmqDriver struct {
	t   *Tracker
	cmd rocketmq.Command
	buf []byte // properties without escapes; contextField uses the Tracker's scratch
}

func newRocketMQDriver(t *Tracker) driver { return &rocketmqDriver{t: t} }

func (d *rocketmqDriver) check(c *Conn, in *input, hint bool) shape {
	if !hint && len(in.p) < rocketmq.Prefix { // clients write the lengths at once
		return shapeNo
	}
	return c.rpcShape(rocketmq.Check(in.p))
}

func (d *rocketmqDriver) step(c *Conn, in *input) (int, error) {
	n := rocketmq.Size(in.p)
	switch {
	case n < 0:
		return 0, rocketmq.ErrMalformed
	case len(in.p) < rocketmq.Prefix:
		return 0, nil
	case !c.enough(in, min(n, rocketmq.HeaderEnd(in.p)+rocketmqWant)):
		return 0, nil
	}
	n, err := rocketmq.Parse(in.p, &d.cmd)
	if err != nil {
		if errors.Is(err, rocketmq.ErrShort) && in.cut {
			return n, rocketmq.ErrMalformed
		}
		return 0, err
	}
	if d.cmd.Response {
		c.direct(in, true)
		d.response(c, in, n)
	} else {
		c.asks(in)
		d.request(c, in, n)
	}
	return n, nil
}

func (d *rocketmqDriver) request(c *Conn, in *input, n int) {
	t, m := d.t, &d.cmd
	pd := c.newPending(in)
	pd.aux = uint64(uint32(m.Code))
	ex := &pd.ex
	ex.RequestType = rocketmq.RequestName(m.Code)
	ex.RequestID, ex.RequestBytes = int64(m.Opaque), int64(n)
	t.scratch = rocketmq.AppendVersion(t.scratch[:0], m.Version)
	ex.Version = t.text(t.scratch, t.o.MaxText)
	ex.RequestDomain = d.text(m.Topic)
	d.place(ex)
	if group := d.text(m.Group); group != "" {
		t.attribute(ex, "group", []byte(group))
	}
	d.buf = m.AppendText(d.buf[:0], m.Properties)
	d.properties(ex, d.buf)
	c.call(in, pd, uint64(uint32(m.Opaque)), m.OneWay)
}

func (d *rocketmqDriver) response(c *Conn, in *input, n int) {
	m := &d.cmd
	pd := c.called(in, uint64(uint32(m.Opaque)))
	ex := c.answer(pd, in)
	ex.RequestID, ex.ResponseBytes, ex.ResponseCode = int64(m.Opaque), int64(n), int64(m.Code)
	switch rocketmq.ClassOf(m.Code) {
	case rocketmq.OK:
		ex.Status = StatusOK
	case rocketmq.ClientError:
		ex.Status = StatusClientError
	default:
		ex.Status = StatusServerError
	}
	ex.ResponseResult = rocketmq.ResponseName(m.Code)
	if ex.Status != StatusOK {
		if ex.ResponseException = d.text(m.Remark); ex.ResponseException == "" {
			ex.ResponseException = ex.ResponseResult
		}
	}
	if m.Offset != nil && pd != nil {
		d.place(ex)
	}
	if pd != nil && pd.aux == rocketmq.PullMessage {
		if _, properties := rocketmq.FirstMessage(m.Body); properties != nil {
			d.properties(ex, properties)
		}
	}
	c.finish(pd, ex)
}

// text makes a string of a text of the header.
func (d *rocketmqDriver) text(p []byte) string {
	d.t.scratch = d.cmd.AppendText(d.t.scratch[:0], p)
	return d.t.text(d.t.scratch, d.t.o.MaxText)
}

// place fills in where in a topic: the endpoint topic-queue, the resource with the offset behind it.
func (d *rocketmqDriver) place(ex *Exchange) {
	t, m := d.t, &d.cmd
	if ex.RequestDomain == "" {
		return
	}
	if ex.RequestResource == "" {
		ex.RequestResource = ex.RequestDomain
	}
	if m.QueueID == nil {
		return
	}
	if _, err := strconv.Atoi(string(m.QueueID)); err != nil {
		return
	}
	t.scratch = append(append(append(t.scratch[:0], ex.RequestDomain...), '-'), m.QueueID...)
	ex.Endpoint = t.text(t.scratch, t.o.MaxText)
	ex.RequestResource = ex.Endpoint
	if m.Offset != nil {
		t.scratch = append(append(t.scratch, ':'), m.Offset...)
		ex.RequestResource = t.once(t.scratch, t.o.MaxText)
	}
}

// properties takes the trace context and the id of a message from its properties.
func (d *rocketmqDriver) properties(ex *Exchange, p []byte) {
	rocketmq.Each(p, func(name, value []byte) bool {
		if string(name) == "UNIQ_KEY" {
			d.t.attribute(ex, "message_id", value)
		} else {
			d.t.contextField(ex, name, value)
		}
		return true
	})
}

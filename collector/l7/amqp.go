package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/amqp"
)

// amqpDriver speaks AMQP 0-9-1.
type amqpDriver struct {
	t    *Tracker
	msg  amqp.Message
	head amqp.Message // the content header behind msg
}

// amqpConn is what is remembered of a connection.
type amqpConn struct {
	vhost    string
	confirms []amqpConfirm // channels on which the server confirms what is published; at most maxAMQPChannels
}

// amqpConfirm counts what is published on a channel, as the server does to confirm it.
type amqpConfirm struct {
	channel uint16
	next    uint64
}

const (
	maxAMQPChannels = 64
	// amqpPublished marks the key of a published message that waits for its confirmation: a number in place of the method.
	amqpPublished = 1 << 63
)

func newAMQPDriver(t *Tracker) driver { return &amqpDriver{t: t} }

// amqpState is what is remembered of c.
func amqpState(c *Conn) *amqpConn {
	s, _ := c.state.(*amqpConn)
	if s == nil {
		s = &amqpConn{}
		c.state = s
	}
	return s
}

func (d *amqpDriver) check(c *Conn, in *input, _ bool) shape {
	own := c.Proto == AMQP
	if own && !in.server { // what was published is not counted any more
		amqpState(c).confirms = nil
		c.giveUpWhere(func(pd *pending) bool { return pd.key&amqpPublished != 0 })
	}
	return shape(amqp.Check(in.p, own))
}

// giveUpWhere gives up the waiting requests that f selects.
func (c *Conn) giveUpWhere(f func(*pending) bool) {
	for pd := c.first; pd != nil; {
		next := pd.next
		if f(pd) {
			c.giveUp(pd)
		}
		pd = next
	}
}

func (d *amqpDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := amqp.Parse(in.p, m)
	switch {
	case errors.Is(err, amqp.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	case m.Kind != amqp.Method:
		return n, nil // what is content has been read with its method, or without
	case n > len(in.p) && !in.cut:
		return 0, nil
	}
	if from := shape(m.Sender()); from == shapeRequest && in.server || from == shapeResponse && !in.server {
		c.t.m.WrongSide++
		return 0, amqp.ErrMalformed
	}
	d.head = amqp.Message{}
	if m.Content() {
		more, wait := d.content(in, n)
		if wait {
			return 0, nil
		}
		n += more
	}
	d.method(c, in)
	return n, nil
}

// content reads the content header behind the n bytes of the method, which no client or server parts from it. wait asks for
// more bytes.
func (d *amqpDriver) content(in *input, n int) (more int, wait bool) {
	if n > len(in.p) {
		return 0, false
	}
	more, err := amqp.Parse(in.p[n:], &d.head)
	if errors.Is(err, amqp.ErrShort) || err == nil && d.head.Kind == amqp.Header && more > len(in.p)-n {
		if !in.cut {
			return 0, true
		}
	}
	if err != nil || d.head.Kind != amqp.Header || d.head.Channel != d.msg.Channel {
		d.head = amqp.Message{}
		return 0, false
	}
	return more, false
}

// amqpKey is the key of a request on a channel.
func amqpKey(channel uint16, id uint32) uint64 { return uint64(channel)<<40 | uint64(id) }

// amqpTag is the key of a message published on a channel that confirms.
func amqpTag(channel uint16, tag uint64) uint64 {
	return amqpPublished | uint64(channel)<<40 | tag&(1<<40-1)
}

// method makes a request or a response of the method in d.msg.
func (d *amqpDriver) method(c *Conn, in *input) {
	m := &d.msg
	switch {
	case m.Answers() != 0:
		d.response(c, in)
		return
	case in.server && (m.ID == amqp.BasicAck || m.ID == amqp.BasicNack):
		d.confirmed(c, in)
		return
	}
	s := amqpState(c)
	if m.ID == amqp.ConnectionOpen {
		s.vhost = c.t.text(m.VHost, c.t.o.MaxText)
	}
	failed := (m.ID == amqp.ChannelClose || m.ID == amqp.ConnectionClose) && d.closes(c, s, in)
	pd := c.newPending(in)
	d.request(&pd.ex, s)
	if failed {
		pd.ex.Status = StatusOK // the request that failed has the error
	}
	switch {
	case m.Waits():
		key := amqpKey(m.Channel, m.ID)
		if class := m.ID >> 16; class == amqp.ClassConnection || class == amqp.ClassChannel { // one at a time
			c.giveUpWhere(func(old *pending) bool { return old.key == key && old.ex.ServerInitiated == in.server })
		}
		if m.ID == amqp.ConfirmSelect {
			s.confirm(m.Channel)
		}
		c.call(in, pd, key, false)
	case m.ID == amqp.BasicPublish && s.counts(m.Channel) != nil:
		k := s.counts(m.Channel)
		key := amqpTag(m.Channel, k.next)
		k.next++
		c.call(in, pd, key, false)
	default:
		if pd.ex.Status == StatusUnknown {
			pd.ex.Status = StatusOK
		}
		if m.ID == amqp.ConfirmSelect {
			s.confirm(m.Channel)
		}
		c.call(in, pd, 0, true)
	}
}

// request fills in what d.msg and d.head say.
func (d *amqpDriver) request(ex *Exchange, s *amqpConn) {
	t, m := d.t, &d.msg
	ex.Version = "0-9-1"
	ex.RequestType = m.Name()
	ex.RequestDomain = s.vhost
	ex.RequestID = int64(m.Channel)
	ex.RequestBytes = int64(m.Size) + int64(d.head.Size) + int64(min(d.head.BodySize, 1<<62))
	ex.Endpoint, ex.RequestResource = d.names()
	d.properties(ex)
	if m.ReplyCode != 0 {
		ex.ResponseCode = int64(m.ReplyCode)
		ex.Status = statusAMQP(m.ReplyCode)
		if ex.Status == StatusOK {
			ex.ResponseResult = t.text(m.ReplyText, t.o.MaxText)
		} else {
			ex.ResponseException = t.text(m.ReplyText, t.o.MaxText)
		}
	}
}

// names are endpoint and resource: where a message goes or comes from.
func (d *amqpDriver) names() (endpoint, resource string) {
	t, m := d.t, &d.msg
	queue := t.text(m.Queue, t.o.MaxText)
	endpoint = queue
	switch {
	case len(m.Exchange) > 0:
		t.scratch = append(append(append(t.scratch[:0], m.Exchange...), '.'), m.RoutingKey...)
		endpoint = t.text(t.scratch, t.o.MaxText)
	case len(m.RoutingKey) > 0: // the default exchange: the key is the queue
		endpoint = t.text(m.RoutingKey, t.o.MaxText)
	}
	if resource = queue; resource == "" {
		resource = endpoint
	}
	return endpoint, resource
}

// properties keeps what identifies a message, and its trace context.
func (d *amqpDriver) properties(ex *Exchange) {
	t, m, h := d.t, &d.msg, &d.head
	if m.DeliveryTag != 0 {
		t.scratch = strconv.AppendUint(t.scratch[:0], m.DeliveryTag, 10)
		t.attribute(ex, "delivery_tag", t.scratch)
	}
	t.attribute(ex, "consumer_tag", m.ConsumerTag)
	t.attribute(ex, "correlation_id", h.CorrelationID)
	t.attribute(ex, "message_id", h.MessageID)
	t.attribute(ex, "reply_to", h.ReplyTo)
	for f := h.Headers; f.Next(); {
		if len(f.Value) > 0 {
			t.contextField(ex, f.Key, f.Value)
		}
	}
	if m.ID == amqp.ConnectionStart {
		for f := m.Table; f.Next(); {
			if string(f.Key) == "product" || string(f.Key) == "version" {
				t.attribute(ex, "server_"+string(f.Key), f.Value)
			}
		}
	}
}

// response takes the method in d.msg for the answer to the oldest one of its channel that it can answer.
func (d *amqpDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.settle()
	pd := c.called(in, amqpKey(m.Channel, m.Answers()))
	ex := c.answer(pd, in)
	if pd == nil {
		ex.ServerInitiated = !in.server
		d.request(ex, amqpState(c))
		ex.RequestType, ex.RequestBytes = m.AnswersName(), -1
	}
	ex.RequestID = int64(m.Channel)
	ex.ResponseBytes = int64(m.Size) + int64(d.head.Size) + int64(min(d.head.BodySize, 1<<62))
	switch m.ID {
	case amqp.QueueDeclareOk:
		if ex.RequestResource == "" { // the server has made up a name
			ex.RequestResource = t.text(m.Queue, t.o.MaxText)
		}
	case amqp.BasicGetOk:
		if pd != nil {
			d.properties(ex)
		}
		ex.ResponseResult = "message"
	case amqp.BasicGetEmpty:
		ex.ResponseResult = "empty"
	case amqp.ConnectionStartOk:
		t.attribute(ex, "mechanism", m.Mechanism)
	case amqp.ChannelCloseOk:
		amqpState(c).forget(m.Channel)
	}
	if ex.Status == StatusUnknown {
		ex.Status = StatusOK
	}
	c.finish(pd, ex)
}

// closes ends what waits on a channel, or on all, that in.server closes. It says whether that was because of a request that was
// seen: it has failed.
func (d *amqpDriver) closes(c *Conn, s *amqpConn, in *input) (failed bool) {
	t, m := d.t, &d.msg
	all := m.ID == amqp.ConnectionClose
	s.forget(m.Channel)
	if in.server {
		c.settle()
	}
	if in.server && m.Failed != 0 && statusAMQP(m.ReplyCode) != StatusOK {
		for pd := c.first; pd != nil; pd = pd.next {
			if uint32(pd.key) != m.Failed || pd.key&amqpPublished != 0 || pd.ex.ServerInitiated || !all && uint16(pd.key>>40) != m.Channel {
				continue
			}
			c.unlink(pd)
			ex := c.answer(pd, in)
			ex.ResponseBytes = int64(m.Size)
			ex.ResponseCode, ex.Status = int64(m.ReplyCode), statusAMQP(m.ReplyCode)
			ex.ResponseException = t.text(m.ReplyText, t.o.MaxText)
			c.finish(pd, ex)
			failed = true
			break
		}
	}
	if in.server {
		c.giveUpWhere(func(pd *pending) bool {
			return !pd.ex.ServerInitiated && (all || uint16(pd.key>>40) == m.Channel)
		})
	}
	return failed
}

// confirmed takes the server's word for what has been published.
func (d *amqpDriver) confirmed(c *Conn, in *input) {
	m := &d.msg
	last := amqpTag(m.Channel, m.DeliveryTag)
	for pd := c.first; pd != nil; {
		next := pd.next
		same := pd.key&amqpPublished != 0 && pd.key>>40 == last>>40
		if same && (pd.key == last || m.Multiple && (pd.key < last || m.DeliveryTag == 0)) {
			c.unlink(pd)
			ex := c.answer(pd, in)
			ex.ResponseBytes = int64(m.Size)
			if ex.Status = StatusOK; m.ID == amqp.BasicNack {
				ex.Status, ex.ResponseException = StatusServerError, "nack"
			}
			c.finish(pd, ex)
		}
		pd = next
	}
}

// confirm says that what is published on the channel from now on is counted from 1.
func (s *amqpConn) confirm(channel uint16) {
	if s.counts(channel) == nil && len(s.confirms) < maxAMQPChannels {
		s.confirms = append(s.confirms, amqpConfirm{channel, 1})
	}
}

// counts is the counter of a channel, nil when the server does not confirm or the count is not known.
func (s *amqpConn) counts(channel uint16) *amqpConfirm {
	for i := range s.confirms {
		if s.confirms[i].channel == channel {
			return &s.confirms[i]
		}
	}
	return nil
}

// forget ends the counting on a channel.
func (s *amqpConn) forget(channel uint16) {
	for i := range s.confirms {
		if s.confirms[i].channel == channel {
			s.confirms = append(s.confirms[:i], s.confirms[i+1:]...)
			return
		}
	}
}

// statusAMQP: a client asked for what is not there, not allowed or malformed (most of 4xx and 5xx); 320, 506, 540 and 541 are the
// server's own failures.
func statusAMQP(code uint16) Status {
	switch code {
	case 200:
		return StatusOK
	case 320, 506, 540, 541:
		return StatusServerError
	}
	return StatusClientError
}

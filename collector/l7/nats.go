package l7

import (
	"bytes"
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/nats"
)

// natsDriver speaks NATS.
type natsDriver struct {
	t   *Tracker
	msg nats.Message
}

// natsConn is what is remembered of a connection.
type natsConn struct {
	server, version string // name and version of the server
	verbose         bool   // the client wants its messages confirmed
	begun           bool   // messages have been seen
	greeted         bool   // the next confirmation is that of CONNECT
}

// Keys of requests; that of one to be answered on a subject is a number made of the subject.
const (
	natsInfo = iota + 1
	natsPing
	natsConfirmed
	natsReply = 1 << 63
)

func newNATSDriver(t *Tracker) driver { return &natsDriver{t: t} }

// natsState is what is remembered of c.
func natsState(c *Conn) *natsConn {
	s, _ := c.state.(*natsConn)
	if s == nil {
		s = &natsConn{}
		c.state = s
	}
	return s
}

func (d *natsDriver) check(c *Conn, in *input, _ bool) shape {
	own := c.Proto == NATS
	if s := natsState; own && s(c).begun { // what is paired by order is not any more
		s(c).verbose = false
		c.giveUpWhere(func(pd *pending) bool { return pd.key == natsConfirmed || pd.key == natsPing })
	}
	return shape(nats.Check(in.p, own))
}

func (d *natsDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := nats.Parse(in.p, m)
	switch {
	case errors.Is(err, nats.ErrShort) && !in.cut:
		return 0, nil
	case errors.Is(err, nats.ErrShort) && (m.Op == nats.Info || m.Op == nats.Connect): // a long list of addresses
		n = len(in.p)
	case err != nil:
		return 0, err
	}
	if !c.enough(in, d.wanted(in, n)) {
		return 0, nil
	}
	if from := shape(m.Op.Sender()); from == shapeRequest && in.server || from == shapeResponse && !in.server {
		c.t.m.WrongSide++
		return 0, nats.ErrMalformed
	}
	s := natsState(c)
	d.message(c, s, in)
	s.begun = true
	return n, nil
}

// wanted is how much of a message of n bytes is read: its header, and of the payload where an error of nRPC shows.
func (d *natsDriver) wanted(in *input, n int) int {
	const payload = 128
	m := &d.msg
	if m.Size < len(in.p) || m.Op < nats.Pub || m.Op > nats.HMsg {
		return min(n, len(in.p))
	}
	have := len(in.p) - len(m.Payload) // the line and what is there of the header
	if len(m.Payload) == 0 {
		return min(n, have+1)
	}
	return min(n, have+payload)
}

// message reports the message in d.msg.
func (d *natsDriver) message(c *Conn, s *natsConn, in *input) {
	m := &d.msg
	switch m.Op {
	case nats.Info:
		d.info(c, s, in)
	case nats.Connect:
		d.connect(c, s, in)
	case nats.Ping:
		pd := c.newPending(in)
		d.request(&pd.ex, s)
		c.call(in, pd, natsPing, false)
	case nats.Pong:
		if pd := c.called(in, natsPing); pd != nil {
			d.done(c, pd, in)
		}
	case nats.OK:
		if s.greeted {
			s.greeted = false
		} else if pd := c.called(in, natsConfirmed); pd != nil {
			d.done(c, pd, in)
		}
	case nats.Err:
		d.failed(c, s, in)
	default:
		d.publication(c, s, in)
	}
}

// done finishes a request that has been answered without more.
func (d *natsDriver) done(c *Conn, pd *pending, in *input) {
	ex := c.answer(pd, in)
	ex.ResponseBytes, ex.Status = int64(d.msg.Size), StatusOK
	ex.ResponseResult = d.msg.Op.String()
	c.finish(pd, ex)
}

// info takes the server's greeting, which the client answers with CONNECT, or further news of it.
func (d *natsDriver) info(c *Conn, s *natsConn, in *input) {
	t, m := d.t, &d.msg
	if v := nats.Field(m.Text, "version"); v != nil {
		s.version = t.text(v, t.o.MaxAttribute)
	}
	if v := nats.Field(m.Text, "server_name"); v != nil {
		s.server = t.text(v, t.o.MaxText)
	}
	pd := c.newPending(in)
	d.request(&pd.ex, s)
	if s.begun {
		pd.ex.Status = StatusOK
	}
	encrypted := string(nats.Field(m.Text, "tls_required")) == "true"
	c.call(in, pd, natsInfo, s.begun || encrypted)
	if encrypted && !s.begun {
		c.become(TLS)
	}
}

func (d *natsDriver) connect(c *Conn, s *natsConn, in *input) {
	t, m := d.t, &d.msg
	s.verbose = string(nats.Field(m.Text, "verbose")) == "true"
	s.greeted = s.verbose
	pd := c.called(in, natsInfo)
	var ex *Exchange
	if pd != nil {
		ex = c.answer(pd, in)
		ex.ResponseBytes, ex.ResponseResult = int64(m.Size), m.Op.String()
	} else {
		pd = c.newPending(in)
		ex = &pd.ex
		d.request(ex, s)
	}
	ex.Status = StatusOK
	t.attribute(ex, "client_lang", nats.Field(m.Text, "lang"))
	t.attribute(ex, "client_name", nats.Field(m.Text, "name"))
	t.attribute(ex, "client_version", nats.Field(m.Text, "version"))
	if ex.Kind == KindSession {
		c.finish(pd, ex)
		return
	}
	c.oneWay(pd)
}

// failed takes an error: that of the oldest message to be confirmed, or one that comes unasked.
func (d *natsDriver) failed(c *Conn, s *natsConn, in *input) {
	t, m := d.t, &d.msg
	var pd *pending
	if s.verbose && !s.greeted {
		pd = c.called(in, natsConfirmed)
	}
	asked := pd != nil
	var ex *Exchange
	if asked {
		ex = c.answer(pd, in)
		ex.ResponseBytes = int64(m.Size)
	} else {
		pd = c.newPending(in)
		ex = &pd.ex
		d.request(ex, s)
	}
	s.greeted = false
	ex.Status = statusNATS(m.Text)
	ex.ResponseException = t.text(m.Text, t.o.MaxText)
	if asked {
		c.finish(pd, ex)
		return
	}
	ex.ServerInitiated = true
	c.oneWay(pd)
}

// statusNATS: a server that has no room or goes away is the server's error, all else the client's.
func statusNATS(text []byte) Status {
	for _, s := range [...]string{"Server Shutdown", "Maximum Connections", "Internal", "maximum connections", "Cluster"} {
		if bytes.Contains(text, []byte(s)) {
			return StatusServerError
		}
	}
	return StatusClientError
}

// replyKey is the key of a request that is to be answered on the subject.
func (d *natsDriver) replyKey(subject []byte) uint64 {
	return natsReply | maphash.Bytes(d.t.seed, subject)
}

var natsInbox = []byte("_INBOX.")

// publication takes what is published or delivered on a subject, and subscriptions. On the subject that a request named for its
// reply, it is the reply.
func (d *natsDriver) publication(c *Conn, s *natsConn, in *input) {
	m := &d.msg
	message := m.Op != nats.Sub && m.Op != nats.Unsub
	if message && (in.server || !s.verbose) {
		if pd := c.called(in, d.replyKey(m.Subject)); pd != nil {
			d.reply(c, pd, in)
			return
		}
	}
	pd := c.newPending(in)
	ex := &pd.ex
	d.request(ex, s)
	switch {
	case message && bytes.HasPrefix(m.Reply, natsInbox) && !(in.server && s.verbose):
		c.call(in, pd, d.replyKey(m.Reply), false)
	case s.verbose && !in.server:
		c.call(in, pd, natsConfirmed, false)
	default:
		if ex.Status = StatusOK; m.Op == nats.HMsg {
			d.status(ex)
		}
		c.call(in, pd, 0, true)
	}
}

// request fills in what d.msg says.
func (d *natsDriver) request(ex *Exchange, s *natsConn) {
	t, m := d.t, &d.msg
	ex.RequestType = m.Op.String()
	ex.Version, ex.RequestDomain = s.version, s.server
	ex.RequestBytes = int64(m.Size)
	if m.Size == 0 {
		ex.RequestBytes = -1
	}
	ex.RequestResource = t.text(m.Subject, t.o.MaxText)
	first, _, _ := bytes.Cut(m.Subject, []byte("."))
	ex.Endpoint = t.text(first, t.o.MaxText)
	t.attribute(ex, "queue_group", m.Queue)
	t.attribute(ex, "reply_to", m.Reply)
	t.attribute(ex, "subscription_id", m.SID)
	d.context(ex)
}

// context takes the trace context from the header in d.msg.
func (d *natsDriver) context(ex *Exchange) {
	for f := d.msg.Fields(); f.Next(); {
		d.t.contextField(ex, f.Key, f.Value)
	}
}

// reply finishes a request with the message in d.msg.
func (d *natsDriver) reply(c *Conn, pd *pending, in *input) {
	t, m := d.t, &d.msg
	ex := c.answer(pd, in)
	ex.ResponseBytes, ex.Status = int64(m.Size), StatusOK
	d.status(ex)
	d.context(ex)
	if kind, text, ok := nats.ErrorOfNRPC(m.Payload); ok {
		ex.ResponseCode, ex.ResponseException = int64(kind), t.text(text, t.o.MaxText)
		if ex.Status = StatusServerError; kind == 0 {
			ex.Status = StatusClientError
		}
	}
	c.finish(pd, ex)
}

// status fills in the status in the header of d.msg, if it has one: 503 says that nobody answers on a subject.
func (d *natsDriver) status(ex *Exchange) {
	t, m := d.t, &d.msg
	code, text := m.Status()
	if code == 0 {
		return
	}
	ex.ResponseCode = int64(code)
	if code < 400 {
		return
	}
	if ex.Status = StatusClientError; code >= 500 {
		ex.Status = StatusServerError
	}
	if len(text) == 0 && code == 503 {
		ex.ResponseException = "No Responders"
		return
	}
	if len(text) == 0 {
		text = strconv.AppendInt(t.scratch[:0], int64(code), 10)
	}
	ex.ResponseException = t.text(text, t.o.MaxText)
}

package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/openwire"
)

// openWireDriver speaks OpenWire.
type openWireDriver struct {
	t   *Tracker
	msg openwire.Message
}

// openWireConn is what is remembered of a connection. Of each pair the first is the client's.
type openWireConn struct {
	offers  [2]openwire.Format
	offered [2]bool
	format  openwire.Format // as agreed
	caches  [2]openwire.Cache
	broker  string
	user    string
	// answered is the number of the last command that was answered: Artemis answers some twice.
	answered uint32
}

func newOpenWireDriver(t *Tracker) driver { return &openWireDriver{t: t} }

// openWireState is what is remembered of c.
func openWireState(c *Conn) *openWireConn {
	s, _ := c.state.(*openWireConn)
	if s == nil {
		s = &openWireConn{format: openwire.Format{Version: 12, Tight: true}}
		c.state = s
	}
	return s
}

func (d *openWireDriver) check(c *Conn, in *input, _ bool) shape {
	own := c.Proto == OpenWire
	if own && in.server { // the answer may be lost, and Artemis answers these twice
		c.giveUpWhere(func(pd *pending) bool { return pd.aux == uint64(openwire.RemoveInfo) })
	}
	v := openwire.Check(in.p, own)
	if own && shape(v) == shapeEither { // it has to be readable, too
		s := openWireState(c)
		f := s.format
		if _, err := openwire.Parse(in.p, &f, nil, &d.msg); err != nil && !errors.Is(err, openwire.ErrShort) {
			return shapeNo
		}
	}
	return shape(v)
}

// openWireSide is 0 for what the client has sent, 1 for what the server has.
func openWireSide(in *input) int {
	if in.server {
		return 1
	}
	return 0
}

func (d *openWireDriver) step(c *Conn, in *input) (int, error) {
	s, m := openWireState(c), &d.msg
	if len(in.p) >= 4 {
		size := int(uint32(in.p[0])<<24 | uint32(in.p[1])<<16 | uint32(in.p[2])<<8 | uint32(in.p[3]))
		if size <= 1<<30 && !c.enough(in, size+4) {
			return 0, nil
		}
	}
	n, err := openwire.Parse(in.p, &s.format, &s.caches[openWireSide(in)], m)
	switch {
	case errors.Is(err, openwire.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	}
	switch {
	case m.Type == openwire.WireFormatInfo:
		d.agree(c, s, openWireSide(in))
	case m.Type == openwire.KeepAliveInfo && !m.Wants:
	case m.Type.IsResponse():
		d.response(c, s, in)
	default:
		d.request(c, s, in)
	}
	return n, nil
}

// agree takes what a side offers.
func (d *openWireDriver) agree(c *Conn, s *openWireConn, side int) {
	s.offers[side], s.offered[side] = d.msg.Format, true
	s.format = s.offers[side]
	if s.offered[side^1] {
		s.format = openwire.Agree(s.offers[0], s.offers[1])
	}
	if s.format.NoSize && s.offered[side^1] {
		c.stop() // commands cannot be told apart any more
	}
}

// turn makes the side that connects or produces the client.
func (d *openWireDriver) turn(c *Conn, s *openWireConn, in *input) {
	was := in.server
	switch d.msg.Type {
	case openwire.ConnectionInfo, 4, 5, 6:
		c.direct(in, false)
	case openwire.BrokerInfo, openwire.MessageDispatch:
		c.direct(in, true)
	}
	if was != in.server {
		s.offers[0], s.offers[1] = s.offers[1], s.offers[0]
		s.offered[0], s.offered[1] = s.offered[1], s.offered[0]
		s.caches[0], s.caches[1] = s.caches[1], s.caches[0]
	}
}

func (d *openWireDriver) request(c *Conn, s *openWireConn, in *input) {
	t, m := d.t, &d.msg
	d.turn(c, s, in)
	if m.Broker != nil {
		s.broker = t.text(m.Broker, t.o.MaxText)
	}
	if len(m.User) > 0 {
		s.user = t.text(m.User, t.o.MaxAttribute)
	}
	pd := c.newPending(in)
	pd.aux = uint64(m.Type)
	ex := &pd.ex
	ex.Version = strconv.Itoa(int(s.format.Version))
	ex.RequestType = m.Type.String()
	ex.RequestDomain = s.broker
	ex.RequestID, ex.RequestBytes = int64(m.ID), int64(m.Size)
	ex.RequestResource = t.text(m.Destination, t.o.MaxText)
	ex.Endpoint = ex.RequestResource
	if m.Kind != 0 {
		t.attribute(ex, "destination_type", []byte(m.Kind.String()))
	}
	t.attribute(ex, "connection_id", m.Connection)
	t.attribute(ex, "correlation_id", m.Correlation)
	if m.HasSession {
		t.scratch = strconv.AppendInt(t.scratch[:0], m.Session, 10)
		t.attribute(ex, "session_id", t.scratch)
	}
	if m.Message != 0 {
		t.attribute(ex, "message_type", []byte(m.Message.String()))
	}
	if m.Type == openwire.ConnectionInfo {
		t.attribute(ex, "user", []byte(s.user))
	}
	for p := m.Properties; p.Next(); {
		if len(p.Value) > 0 {
			t.contextField(ex, p.Key, p.Value)
		}
	}
	if m.Type == openwire.ConnectionError {
		ex.Status = StatusServerError
		t.setException(ex, m.Class, m.Text)
	} else if !m.Wants {
		ex.Status = StatusOK
	}
	c.call(in, pd, uint64(m.ID), !m.Wants)
}

func (d *openWireDriver) response(c *Conn, s *openWireConn, in *input) {
	t, m := d.t, &d.msg
	pd := c.called(in, uint64(m.Answers))
	if pd == nil && m.Answers == s.answered && m.Answers != 0 {
		t.m.Duplicates++
		return
	}
	s.answered = m.Answers
	ex := c.answer(pd, in)
	ex.RequestID, ex.ResponseBytes, ex.Status = int64(m.Answers), int64(m.Size), StatusOK
	if pd == nil {
		ex.Version = strconv.Itoa(int(s.format.Version))
		ex.ServerInitiated = !in.server
	}
	ex.ResponseResult = m.Type.String()
	if m.Type == openwire.ExceptionResponse {
		ex.Status = StatusServerError
		t.setException(ex, m.Class, m.Text)
	}
	c.finish(pd, ex)
}

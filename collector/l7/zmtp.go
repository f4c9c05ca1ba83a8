package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/zmtp"
)

// zmtpDriver speaks ZMTP.
type zmtpDriver struct {
	t        *Tracker
	greeting zmtp.Greeting
	frame    zmtp.Frame
	command  zmtp.Command
	first    []byte // body of the first part of a message
	parts    int
}

// zmtpConn is what is remembered of a connection. Of each pair the first is the client's.
type zmtpConn struct {
	version   string
	socket    [2]string // types of socket, once they are known
	mechanism string
	identity  [2]bool // the next frame is the identity that ends a greeting of 2.0
	within    [2]bool // the next frame is a further part of a message
}

// Keys of requests.
const (
	zmtpHello = iota + 1
	zmtpReady
	zmtpCall
)

func newZMTPDriver(t *Tracker) driver { return &zmtpDriver{t: t} }

// zmtpState is what is remembered of c.
func zmtpState(c *Conn) *zmtpConn {
	s, _ := c.state.(*zmtpConn)
	if s == nil {
		s = &zmtpConn{}
		c.state = s
	}
	return s
}

func (d *zmtpDriver) check(c *Conn, in *input, _ bool) shape {
	own := c.Proto == ZMTP
	if own {
		s := zmtpState(c)
		s.within[zmtpSide(in)] = false
		c.giveUpWhere(func(pd *pending) bool { return pd.key == zmtpCall })
	}
	return shape(zmtp.Check(in.p, own))
}

// zmtpSide is 0 for what the client has sent, 1 for what the server has.
func zmtpSide(in *input) int {
	if in.server {
		return 1
	}
	return 0
}

func (d *zmtpDriver) step(c *Conn, in *input) (int, error) {
	s := zmtpState(c)
	if in.p[0] == 0xff {
		n, err := zmtp.ParseGreeting(in.p, &d.greeting)
		if errors.Is(err, zmtp.ErrShort) && !in.cut {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		d.greet(s, zmtpSide(in))
		return n, nil
	}
	n, err := zmtp.ParseFrame(in.p, &d.frame)
	if errors.Is(err, zmtp.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	side := zmtpSide(in)
	switch {
	case s.identity[side]:
		s.identity[side] = false
		return n, nil
	case s.within[side]:
		s.within[side] = d.frame.More
		return n, nil
	case d.frame.Command:
		return d.commanded(c, s, in, n)
	}
	return d.message(c, s, in)
}

// greet remembers what a greeting says.
func (d *zmtpDriver) greet(s *zmtpConn, side int) {
	g := &d.greeting
	switch {
	case g.Major == 2:
		s.version, s.socket[side], s.identity[side] = "2.0", g.Socket, true
	case g.Minor == 0:
		s.version = "3.0"
	default:
		s.version = "3.1"
	}
	if len(g.Mechanism) > 0 {
		s.mechanism = d.t.text(g.Mechanism, d.t.o.MaxAttribute)
	}
}

// commanded reads a command of n bytes.
func (d *zmtpDriver) commanded(c *Conn, s *zmtpConn, in *input, n int) (int, error) {
	if !c.enough(in, n) {
		return 0, nil
	}
	m := &d.command
	if err := zmtp.ParseCommand(d.frame.Body, m); err != nil {
		return 0, err
	}
	t := d.t
	switch string(m.Name) {
	case "PING", "PONG": // heartbeats
		return n, nil
	case "MESSAGE": // encrypted from here
		c.stop()
		return n, nil
	case "HELLO":
		c.direct(in, false)
		d.ask(c, s, in, zmtpHello, n)
	case "WELCOME":
		d.answer(c, in, zmtpHello, n)
	case "READY", "INITIATE":
		d.ready(c, s, in, n)
	case "ERROR":
		pd := c.called(in, zmtpReady)
		if pd == nil {
			pd = c.called(in, zmtpHello)
		}
		ex := c.answer(pd, in)
		ex.Version, ex.ResponseBytes = s.version, int64(n)
		ex.Status, ex.ResponseException = StatusServerError, t.text(m.Reason(), t.o.MaxText)
		ex.ServerInitiated = !in.server
		c.finish(pd, ex)
	default:
		pd := d.newRequest(c, s, in, n)
		if name := string(m.Name); name == "SUBSCRIBE" || name == "CANCEL" {
			d.topic(&pd.ex, m.Data)
		}
		pd.ex.Status = StatusOK
		c.call(in, pd, 0, true)
	}
	return n, nil
}

// newRequest is a request of the type of d.command, or of a message when there is none.
func (d *zmtpDriver) newRequest(c *Conn, s *zmtpConn, in *input, n int) *pending {
	pd := c.newPending(in)
	ex := &pd.ex
	ex.Version, ex.RequestBytes = s.version, int64(n)
	ex.RequestType = d.t.text(d.command.Name, d.t.o.MaxText)
	return pd
}

// ask reports a command that is answered.
func (d *zmtpDriver) ask(c *Conn, s *zmtpConn, in *input, key uint64, n int) {
	pd := d.newRequest(c, s, in, n)
	d.t.attribute(&pd.ex, "mechanism", []byte(s.mechanism))
	if key == zmtpReady {
		d.t.attribute(&pd.ex, "socket_type", []byte(s.socket[zmtpSide(in)]))
	}
	c.giveUpWhere(func(old *pending) bool { return old.key == key && old.ex.ServerInitiated == in.server })
	c.call(in, pd, key, false)
}

// answer finishes a command with its answer.
func (d *zmtpDriver) answer(c *Conn, in *input, key uint64, n int) {
	pd := c.called(in, key)
	if pd == nil {
		return
	}
	ex := c.answer(pd, in)
	ex.ResponseBytes, ex.Status = int64(n), StatusOK
	ex.ResponseResult = d.t.text(d.command.Name, d.t.o.MaxText)
	if key == zmtpReady {
		d.t.attribute(ex, "peer_socket_type", []byte(zmtpState(c).socket[zmtpSide(in)]))
	}
	c.finish(pd, ex)
}

// ready takes the end of a side's handshake, which says what kind of socket it has. READY answers INITIATE; without security
// either side sends it, unasked.
func (d *zmtpDriver) ready(c *Conn, s *zmtpConn, in *input, n int) {
	if s.mechanism == "" || s.mechanism == "NULL" || s.mechanism == "PLAIN" {
		if v := d.command.Property("Socket-Type"); len(v) > 0 {
			socket := d.t.text(v, d.t.o.MaxAttribute)
			d.turn(c, s, in, socket)
			s.socket[zmtpSide(in)] = socket
		}
	}
	switch {
	case string(d.command.Name) == "INITIATE":
		d.ask(c, s, in, zmtpReady, n)
	case s.mechanism == "" || s.mechanism == "NULL":
		pd := d.newRequest(c, s, in, n)
		pd.ex.Status = StatusOK
		d.t.attribute(&pd.ex, "mechanism", []byte(s.mechanism))
		d.t.attribute(&pd.ex, "socket_type", []byte(s.socket[zmtpSide(in)]))
		c.call(in, pd, 0, true)
	default:
		d.answer(c, in, zmtpReady, n)
	}
}

// turn makes the side that answers, or publishes, the server, unless the handshake has said who is.
func (d *zmtpDriver) turn(c *Conn, s *zmtpConn, in *input, socket string) {
	was := in.server
	switch socket {
	case "REP", "ROUTER", "PUB", "XPUB":
		c.direct(in, true)
	case "REQ", "DEALER", "SUB", "XSUB":
		c.direct(in, false)
	}
	if in.server != was {
		s.socket[0], s.socket[1] = s.socket[1], s.socket[0]
		s.identity[0], s.identity[1] = s.identity[1], s.identity[0]
		s.within[0], s.within[1] = s.within[1], s.within[0]
	}
}

// topic fills in what a message or subscription is about, if it is a text.
func (d *zmtpDriver) topic(ex *Exchange, topic []byte) {
	for _, b := range topic {
		if b < ' ' || b == 0x7f {
			return
		}
	}
	ex.RequestResource = d.t.text(topic, d.t.o.MaxText)
	ex.Endpoint = ex.RequestResource
}

// message reads a message with all its parts; of the last one the head is enough.
func (d *zmtpDriver) message(c *Conn, s *zmtpConn, in *input) (int, error) {
	side, n := zmtpSide(in), 0
	for d.parts = 0; ; d.parts++ {
		size, err := zmtp.ParseFrame(in.p[min(n, len(in.p)):], &d.frame)
		switch {
		case errors.Is(err, zmtp.ErrShort) && !in.cut:
			return 0, nil
		case errors.Is(err, zmtp.ErrShort) && d.parts > 0:
			s.within[side] = true
		case err != nil || d.frame.Command:
			return 0, zmtp.ErrMalformed
		}
		if err != nil {
			break
		}
		if d.parts == 0 {
			d.first = d.frame.Body
		}
		if n += size; !d.frame.More {
			d.parts++
			break
		}
		if n > len(in.p) {
			if !in.cut {
				return 0, nil
			}
			s.within[side] = true
			break
		}
	}
	d.report(c, s, in, n)
	return n, nil
}

// report says what a message of n bytes is: a request, an answer, or neither, as the sockets have it.
func (d *zmtpDriver) report(c *Conn, s *zmtpConn, in *input, n int) {
	d.command.Name = zmtpMessage
	side := zmtpSide(in)
	from, to := s.socket[side], s.socket[side^1]
	switch {
	case from == "REP" || from == "ROUTER" && to == "REQ":
		c.settle()
		pd := c.called(in, zmtpCall)
		ex := c.answer(pd, in)
		ex.Version, ex.RequestType = s.version, "MESSAGE"
		ex.ResponseBytes, ex.Status = int64(n), StatusOK
		ex.ServerInitiated = !in.server
		c.finish(pd, ex)
		return
	case from == "REQ" || from == "DEALER" && to == "REP":
		pd := d.newRequest(c, s, in, n)
		if from == "REQ" { // one at a time
			c.giveUpWhere(func(old *pending) bool { return old.key == zmtpCall })
		}
		c.call(in, pd, zmtpCall, false)
		return
	}
	pd := d.newRequest(c, s, in, n)
	switch subscriber := from == "SUB" || from == "XSUB"; {
	case subscriber && len(d.first) > 0 && d.first[0] <= 1: // before 3.1, subscriptions are messages
		pd.ex.RequestType = [2]string{"CANCEL", "SUBSCRIBE"}[d.first[0]]
		d.topic(&pd.ex, d.first[1:])
	case (from == "PUB" || from == "XPUB") && d.parts > 1:
		d.topic(&pd.ex, d.first)
	}
	pd.ex.Status = StatusOK
	c.call(in, pd, 0, true)
}

var zmtpMessage = []byte("MESSAGE")

package l7

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/smtp"
)

// smtpDriver speaks SMTP.
type smtpDriver struct {
	t   *Tracker
	cmd smtp.Command
	rep smtp.Reply
}

// smtpConn is what is remembered of a connection.
type smtpConn struct {
	domain    string // as the client has introduced itself
	begun     bool   // commands or replies have been seen
	announced bool   // the last command was DATA, which nothing has answered yet
	content   bool   // the client is sending a message
	lineStart bool   // what comes of it begins a line
	shaky     bool   // bytes of the server were lost, and no command has been seen since
	auth      bool   // the next line of the client is a part of AUTH
}

// What pending.aux says of a request.
const (
	smtpPlain = iota
	smtpData
	smtpContent
	smtpAuth
	smtpStartTLS
)

func newSMTPDriver(t *Tracker) driver { return &smtpDriver{t: t} }

// smtpState is what is remembered of c.
func smtpState(c *Conn) *smtpConn {
	s, _ := c.state.(*smtpConn)
	if s == nil {
		s = &smtpConn{}
		c.state = s
	}
	return s
}

func (d *smtpDriver) check(c *Conn, in *input, hint bool) shape {
	if c.Proto == SMTP && in.server {
		smtpState(c).shaky = true
	}
	if c.Proto == SMTP && !in.server {
		if s := smtpState(c); s.content || s.announced { // within a message every line is as good as any
			s.lineStart = false
			return shapeRequest
		}
	}
	return shape(smtp.Check(in.p, hint))
}

func (d *smtpDriver) step(c *Conn, in *input) (int, error) {
	s := smtpState(c)
	switch {
	case in.server:
		return d.reply(c, s, in)
	case s.content || s.announced:
		return d.content(c, s, in)
	case s.auth:
		n := bytes.IndexByte(in.p, '\n') + 1
		if n == 0 && in.cut {
			n = len(in.p)
		}
		s.auth = n == 0
		return n, nil
	}
	n, err := smtp.ParseCommand(in.p, &d.cmd)
	if errors.Is(err, smtp.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return n + d.command(c, s, in, n), nil
}

// content passes over a message.
func (d *smtpDriver) content(c *Conn, s *smtpConn, in *input) (int, error) {
	if !s.content { // what has answered DATA was not seen
		s.content, s.announced = true, false
	}
	n, done := smtp.End(in.p, s.lineStart)
	if n == 0 && !done {
		if !in.cut {
			return 0, nil
		}
		n = len(in.p)
	}
	pd := c.last
	if pd == nil || pd.aux != smtpContent {
		pd = c.newPending(in)
		pd.aux = smtpContent
		ex := &pd.ex
		ex.RequestType, ex.Endpoint, ex.RequestDomain, ex.RequestBytes = "message", "message", s.domain, 0
		c.push(pd)
	}
	pd.ex.RequestBytes += int64(n)
	s.content, s.lineStart = !done, n < len(in.p) || in.p[n-1] == '\n'
	return n, nil
}

// command reports the command in d.cmd, a line of n bytes, and returns how many bytes follow it.
func (d *smtpDriver) command(c *Conn, s *smtpConn, in *input, n int) (more int) {
	t, cmd := d.t, &d.cmd
	s.begun, s.shaky = true, false
	pd := c.newPending(in)
	ex := &pd.ex
	t.scratch = append(t.scratch[:0], cmd.Verb...)
	for i, b := range t.scratch {
		t.scratch[i] = b &^ 0x20
	}
	ex.RequestType = t.text(t.scratch, t.o.MaxText)
	ex.Endpoint = ex.RequestType
	switch {
	case cmd.Is("EHLO"), cmd.Is("HELO"), cmd.Is("LHLO"):
		s.domain = t.text(cmd.Arg, t.o.MaxText)
	case cmd.Is("MAIL"), cmd.Is("RCPT"):
		ex.RequestResource = d.address(cmd.Address())
	case cmd.Is("AUTH"):
		mechanism, _, _ := bytes.Cut(cmd.Arg, []byte(" "))
		ex.RequestResource = t.text(mechanism, t.o.MaxText)
		pd.aux = smtpAuth
	case cmd.Is("DATA"):
		pd.aux, s.announced, s.lineStart = smtpData, true, true
	case cmd.Is("STARTTLS"):
		pd.aux = smtpStartTLS
	case cmd.Is("BDAT"):
		size, _, _ := bytes.Cut(cmd.Arg, []byte(" "))
		if v, err := strconv.ParseUint(string(size), 10, 30); err == nil {
			more = int(v)
		}
	}
	ex.RequestDomain, ex.RequestBytes = s.domain, int64(n+more)
	c.push(pd)
	return more
}

// address is a mailbox, without the person's name unless literals are kept.
func (d *smtpDriver) address(a []byte) string {
	t := d.t
	if at := bytes.LastIndexByte(a, '@'); at >= 0 && !t.o.KeepLiterals {
		t.scratch = append(append(t.scratch[:0], '?'), a[at:]...)
		a = t.scratch
	}
	return t.text(a, t.o.MaxText)
}

func (d *smtpDriver) reply(c *Conn, s *smtpConn, in *input) (int, error) {
	r := &d.rep
	n, err := smtp.ParseReply(in.p, r)
	switch {
	case errors.Is(err, smtp.ErrShort) && !in.cut:
		return 0, nil
	case errors.Is(err, smtp.ErrShort) && r.Code != 0: // cut, but an answer all the same
		n = len(in.p)
	case err != nil:
		return 0, err
	}
	if s.shaky && c.first == nil && c.owed == 0 {
		return n, nil // the rest of a reply that was cut
	}
	greeting := !s.begun && (r.Code == 220 || r.Code == 554)
	s.begun = true
	if c.first == nil && c.owed == 0 && (greeting || r.Code == 421) { // unasked
		pd := c.newPending(in)
		ex := &pd.ex
		ex.RequestType = "notice"
		if greeting {
			ex.RequestType = "greeting"
		}
		ex.Endpoint, ex.ServerInitiated, ex.RequestBytes = ex.RequestType, true, int64(n)
		d.result(ex)
		c.oneWay(pd)
		return n, nil
	}
	c.settle()
	if pd := c.first; pd != nil && c.owed == 0 && pd.aux == smtpAuth && r.Code == 334 {
		s.auth = true
		c.touch(pd, in.atNanos)
		return n, nil
	}
	pd := c.takeOldest()
	ex := c.answer(pd, in)
	ex.ResponseBytes = int64(n)
	d.result(ex)
	encrypted := false
	if pd != nil {
		switch pd.aux {
		case smtpData:
			s.announced, s.content, s.lineStart = false, r.Code == 354, true
		case smtpContent:
			s.content = false
		case smtpStartTLS:
			encrypted = r.Code == 220
		case smtpAuth:
			s.auth = false
		}
	}
	c.finish(pd, ex)
	if encrypted {
		c.become(TLS)
	}
	return n, nil
}

// result fills in what d.rep says. A failure that may pass, or of the mail system or the network (x.3.x, x.4.x), is the
// server's error, all others the client's.
func (d *smtpDriver) result(ex *Exchange) {
	t, r := d.t, &d.rep
	ex.ResponseCode = int64(r.Code)
	t.attribute(ex, "enhanced_status", r.Enhanced)
	switch {
	case r.Code < 400:
		ex.Status = StatusOK
		return
	case r.Code < 500, len(r.Enhanced) > 2 && (r.Enhanced[2] == '3' || r.Enhanced[2] == '4') && r.Enhanced[3] == '.':
		ex.Status = StatusServerError
	default:
		ex.Status = StatusClientError
	}
	ex.ResponseException = t.text(d.anonymous(r.Text), t.o.MaxText)
}

// anonymous is a text with the names of mailboxes left out, unless literals are kept. It is valid until scratch is used.
func (d *smtpDriver) anonymous(text []byte) []byte {
	t := d.t
	if t.o.KeepLiterals || bytes.IndexByte(text, '@') < 0 {
		return text
	}
	out := t.scratch[:0]
	word := 0 // where the word begins, in out
	for _, b := range text {
		switch b {
		case ' ', '<', '>', '(', ')', ':', '"', '\'', ',', ';':
			word = len(out) + 1
		case '@':
			out = append(out[:word], '?')
		}
		out = append(out, b)
	}
	t.scratch = out
	return out
}

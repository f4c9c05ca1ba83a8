package l7

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/redis"
	"github.com/flowlake/flowlake/collector/l7/wire"
)

// redisDriver speaks RESP.
type redisDriver struct {
	t   *Tracker
	cmd redis.Command
	rep redis.Reply
}

// redisConn is what is remembered of a connection.
type redisConn struct {
	left      [2]int64 // by sender, 1 is the server: values still to come of the message that was begun
	counted   bool     // the client's message was pushed: what is to come of it counts for its length
	begun     bool     // what is to come of the server belongs to the oldest request (if that still waits)
	confirms  int      // confirmations still to come of the last SUBSCRIBE
	listening bool     // the client has subscribed: the server may send messages unasked
	watching  bool     // the client monitors the server
	quiet     bool     // CLIENT REPLY OFF
	skip      bool     // CLIENT REPLY SKIP: the next command is not answered
	shaky     bool     // the place in what the server sends was lost, and no request has been sent since
}

// What pending.aux says of a command.
const (
	redisPlain     = iota
	redisSubscribe // each of its channels is confirmed
	redisMonitor
	redisSync // what follows is replication
)

func newRedisDriver(t *Tracker) driver { return &redisDriver{t: t} }

func (d *redisDriver) check(c *Conn, in *input, hint bool) shape {
	if c.Proto != Redis {
		v := redis.CheckCommand(in.p, hint)
		if v == wire.No && hint {
			v = d.checkReply(in)
		}
		return shape(v)
	}
	s := redisState(c)
	if in.server {
		d.abandon(c, s)
		s.shaky = true
		c.doubt()
		return shape(redis.CheckReply(in.p))
	}
	s.left[0] = 0
	return shape(redis.CheckCommand(in.p, true))
}

// doubt is for an ordered protocol that has lost its place in what the server sends. When it has lost it in what the client sends,
// too, what comes may answer requests that were not seen.
func (c *Conn) doubt() {
	if c.half[c.server^1].state == stateResync {
		c.unseen = true
	}
}

// redisState is what is remembered of c.
func redisState(c *Conn) *redisConn {
	s, _ := c.state.(*redisConn)
	if s == nil {
		s = &redisConn{}
		c.state = s
	}
	return s
}

// checkReply says whether a connection of unknown protocol begins with a reply: one that is whole and alone, or the
// beginning of an array. A command whose answer it might be has not been seen.
func (d *redisDriver) checkReply(in *input) wire.Verdict {
	v := redis.CheckReply(in.p)
	if v != wire.Response {
		return v
	}
	if n, left, err := redis.Skip(in.p, 1); err == nil && left == 0 && n < len(in.p) {
		return wire.No
	}
	return v
}

func (d *redisDriver) step(c *Conn, in *input) (int, error) {
	s := redisState(c)
	if in.server {
		return d.reply(c, s, in)
	}
	return d.command(c, s, in)
}

// command reads a command; of a long one, what its text needs.
func (d *redisDriver) command(c *Conn, s *redisConn, in *input) (int, error) {
	if s.left[0] > 0 {
		return d.more(c, s, in)
	}
	n, left, err := redis.ParseCommand(in.p, &d.cmd)
	switch {
	case errors.Is(err, redis.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	case d.cmd.Count == 0: // an empty line
		return n, nil
	}
	whole := left == 0 && n <= len(in.p)
	if !whole && !in.cut && len(in.p) < d.t.o.MaxText {
		return 0, nil
	}
	if d.cmd.Len == 0 || d.cmd.Len == 1 && d.cmd.Cut { // half a name is none
		return 0, redis.ErrMalformed
	}
	pd := c.newPending(in)
	d.request(&pd.ex)
	pd.ex.RequestBytes = int64(n)
	if s.left[0] = left; left > 0 && (in.lost || s.quiet || s.skip) { // its length comes too late
		pd.ex.RequestBytes = -1
	}
	s.shaky = false
	d.send(c, s, pd)
	return n, nil
}

// more passes over what is to come of a command.
func (d *redisDriver) more(c *Conn, s *redisConn, in *input) (int, error) {
	n, left, err := redis.Skip(in.p, s.left[0])
	if err != nil {
		return 0, err
	}
	if s.left[0] = left; n == 0 && in.cut {
		return 0, redis.ErrMalformed
	}
	if pd := c.last; s.counted && pd != nil && pd.ex.RequestBytes >= 0 && !pd.begun {
		pd.ex.RequestBytes += int64(n)
	}
	return n, nil
}

// request fills in what d.cmd says.
func (d *redisDriver) request(ex *Exchange) {
	t, cmd := d.t, &d.cmd
	ex.RequestType = t.text(cmd.Name(), t.o.MaxText)
	t.scratch = cmd.AppendText(t.scratch[:0], t.o.KeepLiterals, t.o.MaxText)
	ex.RequestResource = t.text(t.scratch, t.o.MaxText)
	t.scratch = append(t.scratch[:0], cmd.Name()...)
	if cmd.Len > 1 && redis.HasSub(cmd.Name()) && len(cmd.Args[1]) <= maxRedisWord {
		t.scratch = append(append(t.scratch, ' '), cmd.Args[1]...)
	}
	for i, b := range t.scratch {
		if b >= 'a' && b <= 'z' {
			t.scratch[i] = b - ('a' - 'A')
		}
	}
	ex.Endpoint = t.text(t.scratch, t.o.MaxText)
}

// maxRedisWord bounds a subcommand, in bytes.
const maxRedisWord = 32

// send reports a request, and remembers what it changes.
func (d *redisDriver) send(c *Conn, s *redisConn, pd *pending) {
	cmd := &d.cmd
	silent := s.quiet || s.skip
	s.skip = false
	switch name := pd.ex.Endpoint; name {
	case "CLIENT REPLY":
		switch {
		case cmd.Is(2, "OFF"):
			s.quiet, silent = true, true
		case cmd.Is(2, "SKIP"):
			s.skip, silent = true, true
		case cmd.Is(2, "ON"):
			s.quiet, silent = false, false
		}
	case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
		s.listening, pd.aux = true, redisSubscribe
		pd.key = uint64(max(cmd.Count-1, 1))
	case "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE":
		pd.aux = redisSubscribe
		pd.key = uint64(max(cmd.Count-1, 1))
	case "MONITOR":
		pd.aux = redisMonitor
	case "SYNC", "PSYNC":
		pd.aux = redisSync
	case "REPLCONF":
		silent = silent || cmd.Is(1, "ACK")
	}
	if s.counted = !silent; silent {
		c.oneWay(pd)
		return
	}
	c.push(pd)
}

// reply reads the head of a message of the server, or passes over what is to come of one.
func (d *redisDriver) reply(c *Conn, s *redisConn, in *input) (int, error) {
	if s.left[1] > 0 {
		n, left, err := redis.Skip(in.p, s.left[1])
		if err != nil || n == 0 && in.cut {
			return 0, redis.ErrMalformed
		}
		s.left[1] = left
		if pd := c.first; pd != nil && pd.begun && s.begun {
			pd.ex.ResponseBytes += int64(n)
		}
		if left == 0 {
			d.end(c, s)
		}
		return n, nil
	}
	head, left, err := redis.ParseReply(in.p, in.cut, &d.rep)
	switch {
	case errors.Is(err, redis.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	}
	n := head
	if left > 0 && head < len(in.p) {
		var more int
		if more, left, err = redis.Skip(in.p[head:], left); err != nil {
			return 0, err
		}
		n += more
	}
	if d.unasked(c, s, in, n) {
		s.left[1], s.begun = left, false
		return n, nil
	}
	if s.shaky && c.first == nil && c.owed == 0 {
		return 0, redis.ErrMalformed // an element of a reply whose head was lost
	}
	d.answer(c, s, in, n, left)
	return n, nil
}

// answer takes the reply in d.rep, of which n bytes and left values more are known, for that of the oldest request.
func (d *redisDriver) answer(c *Conn, s *redisConn, in *input, n int, left int64) {
	s.left[1], s.begun = left, true
	c.settle()
	if c.owed > 0 || c.first == nil {
		if c.owed > 0 {
			c.owed--
		}
		ex := c.answer(nil, in)
		d.response(ex)
		if left == 0 {
			ex.ResponseBytes = int64(n)
		}
		s.begun = false
		c.finish(nil, ex)
		return
	}
	pd := c.first
	ex := c.begin(pd, in)
	d.response(ex)
	ex.ResponseBytes = int64(n)
	switch {
	case pd.aux == redisSubscribe && ex.Status == StatusOK:
		s.confirms = int(pd.key) - 1
	case pd.aux == redisMonitor:
		s.watching = ex.Status == StatusOK
	}
	if left == 0 {
		d.end(c, s)
	}
}

// end is called when a reply is over.
func (d *redisDriver) end(c *Conn, s *redisConn) {
	pd := c.first
	if !s.begun {
		return
	}
	s.begun = false
	switch {
	case pd != nil && pd.begun:
		sync := pd.aux == redisSync && pd.ex.Status == StatusOK
		c.unlink(pd)
		c.finish(pd, &pd.ex)
		if sync {
			c.stop()
		}
	case c.owed > 0: // its request has been given up meanwhile
		c.owed--
	}
}

// abandon ends a reply whose rest is lost.
func (d *redisDriver) abandon(c *Conn, s *redisConn) {
	if s.left[1] == 0 {
		return
	}
	s.left[1] = 0
	if pd := c.first; pd != nil && pd.begun && s.begun {
		pd.ex.ResponseBytes = -1
	}
	d.end(c, s)
}

// unasked says whether the message in d.rep, n bytes long, is not the answer to a request: a message to a subscriber, a
// confirmation of a further channel, a line for a monitor, an invalidation. Messages are reported.
func (d *redisDriver) unasked(c *Conn, s *redisConn, in *input, n int) bool {
	r := &d.rep
	push := r.Type == '>'
	switch {
	case s.watching && r.Type == '+' && len(r.Text) > 0 && r.Text[0] <= '9' && r.Text[0] >= '0':
		return true
	case !push && r.Type != '*':
		return false
	case isConfirmation(r):
		if c.first != nil && c.first.aux == redisSubscribe && c.owed == 0 && s.confirms == 0 &&
			bytes.EqualFold(r.Event, []byte(c.first.ex.RequestType)) {
			return false
		}
		s.confirms = max(s.confirms-1, 0)
		return push || s.listening || c.first == nil || c.first.aux == redisSubscribe
	case !push && (!isDelivery(r) || !s.listening && c.first != nil):
		return false
	}
	pd := c.newPending(in)
	ex := &pd.ex
	ex.ServerInitiated = true
	ex.RequestType = d.t.text(r.Event, d.t.o.MaxText)
	ex.RequestResource = d.t.text(r.Channel, d.t.o.MaxText)
	ex.Endpoint = ex.RequestType
	ex.Status = StatusOK
	c.oneWay(pd)
	return true
}

// isConfirmation says whether r confirms that a channel was subscribed to or left.
func isConfirmation(r *redis.Reply) bool {
	if r.Count != 3 || r.Event == nil {
		return false
	}
	switch string(r.Event) {
	case "subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe", "sunsubscribe":
		return true
	}
	return false
}

// isDelivery says whether r is a message of publish and subscribe.
func isDelivery(r *redis.Reply) bool {
	switch string(r.Event) {
	case "message", "smessage":
		return r.Count == 3
	case "pmessage":
		return r.Count == 4
	}
	return false
}

// response fills in what d.rep says.
func (d *redisDriver) response(ex *Exchange) {
	t, r := d.t, &d.rep
	ex.Status = StatusOK
	switch {
	case r.Err():
		code, _, _ := bytes.Cut(r.Text, []byte(" "))
		ex.Status = statusRedis(string(code))
		text := r.Text
		if i := bytes.Index(text, []byte(", with args beginning with")); i > 0 && !t.o.KeepLiterals {
			text = text[:i]
		}
		ex.ResponseException = t.text(text, t.o.MaxText)
		ex.ResponseResult = "error"
	case r.Null:
		ex.ResponseResult = "null"
	case r.Type == '+':
		ex.ResponseResult = t.text(r.Text, t.o.MaxText)
	default:
		ex.ResponseResult = redisTypes[r.Type]
	}
}

// redisTypes names the values of replies.
var redisTypes = [256]string{'$': "string", ':': "integer", '*': "array", '>': "push", '%': "map", '~': "set", ',': "double", '#': "boolean",
	'(': "big number", '=': "verbatim string"}

// statusRedis: another node has the key, which is no error; the command cannot be carried out as it was sent, or not for this
// client, which is the client's; anything else the server's.
func statusRedis(code string) Status {
	switch code {
	case "MOVED", "ASK":
		return StatusOK
	case "WRONGTYPE", "NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "EXECABORT", "NOSCRIPT", "CROSSSLOT", "NOPROTO", "BUSYGROUP", "BUSYKEY",
		"NOGROUP", "NOTBUSY", "INVALIDOBJ", "UNKILLABLE", "SYNTAX":
		return StatusClientError
	}
	return StatusServerError
}

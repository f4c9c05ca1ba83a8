package l7

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/memcached"
)

// memcachedDriver speaks the text and the binary protocol of memcached.
type memcachedDriver struct {
	t   *Tracker
	req memcached.Request
	rep memcached.Reply
	pkt memcached.Packet
}

// Bits of Conn.note.
const (
	mcParts  = 1 << iota // a reply of several lines has begun
	mcOrphan             // whose request was not seen
	mcWindow             // quiet meta commands are out: only MN tells where their replies end
	mcShaky              // the place in what the server sends was lost, and no request has been sent since
	mcMidway             // within a command whose beginning has been reported
)

// pending.aux of a command of the text protocol is its memcached.Kind, and above that the hits of a get.
const mcHit = 1 << 8

func kindMemcached(pd *pending) memcached.Kind { return memcached.Kind(pd.aux % mcHit) }

func newMemcachedDriver(t *Tracker) driver { return &memcachedDriver{t: t} }

func (d *memcachedDriver) check(c *Conn, in *input, hint bool) shape {
	if c.Proto == Memcached {
		if in.server {
			d.abandon(c)
			c.note |= mcShaky
			c.doubt()
		} else {
			c.note &^= mcMidway
		}
	}
	return shape(memcached.Check(in.p, hint))
}

func isMemcachedBinary(p []byte) bool {
	return p[0] == memcached.MagicRequest || p[0] == memcached.MagicResponse
}

func (d *memcachedDriver) step(c *Conn, in *input) (int, error) {
	if c.note&mcMidway != 0 && !in.server {
		i := bytes.IndexByte(in.p, '\n')
		if i < 0 {
			return len(in.p), nil
		}
		c.note &^= mcMidway
		return i + 1, nil
	}
	if isMemcachedBinary(in.p) {
		return d.packet(c, in)
	}
	if in.server {
		return d.reply(c, in)
	}
	n, err := memcached.ParseRequest(in.p, in.cut, &d.req)
	switch {
	case errors.Is(err, memcached.ErrShort):
		return 0, nil
	case err != nil:
		return 0, err
	}
	size := int64(n)
	if in.cut && bytes.IndexByte(in.p, '\n') < 0 {
		c.note |= mcMidway
		size = -1
		if !in.lost {
			d.t.m.DroppedBuffer++
		}
	}
	d.request(c, in, size)
	return n, nil
}

// request reports the command in d.req.
func (d *memcachedDriver) request(c *Conn, in *input, size int64) {
	t, r := d.t, &d.req
	c.note &^= mcShaky
	pd := c.newPending(in)
	ex := &pd.ex
	ex.RequestType = t.text(r.Verb, t.o.MaxText)
	ex.RequestResource = t.text(r.Line, t.o.MaxText)
	ex.Endpoint = ex.RequestType
	ex.RequestBytes = size
	switch {
	case r.NoReply:
		c.oneWay(pd)
		return
	case r.Quiet:
		c.note |= mcWindow
		c.oneWay(pd)
		return
	case c.note&mcWindow != 0 && (r.Kind == memcached.Meta || r.Kind == memcached.MetaSet):
		c.oneWay(pd) // its reply cannot be told from those of the quiet ones
		return
	case r.Keys > 1:
		d.count(ex, "memcached_keys", r.Keys)
	}
	if pd.aux = uint64(r.Kind); ex.RequestType == "watch" { // from now on the server prints its log
		c.oneWay(pd)
		c.stop()
		return
	}
	c.push(pd)
}

// count adds a number as an attribute.
func (d *memcachedDriver) count(ex *Exchange, key string, n int) {
	d.t.scratch = strconv.AppendInt(d.t.scratch[:0], int64(n), 10)
	d.t.attribute(ex, key, d.t.scratch)
}

// reply reads a line of the server: a reply or a part of one.
func (d *memcachedDriver) reply(c *Conn, in *input) (int, error) {
	r := &d.rep
	n, err := memcached.ParseReply(in.p, r)
	switch {
	case errors.Is(err, memcached.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	}
	if c.note&mcParts == 0 {
		pd := d.awaiting(c)
		if pd == nil {
			if c.note&mcShaky != 0 && c.first == nil {
				return 0, memcached.ErrMalformed // of a reply whose beginning was lost
			}
			d.orphan(c, in, n)
			return n, nil
		}
		ex := c.begin(pd, in)
		ex.ResponseBytes = 0
		d.response(ex)
	}
	if pd := c.first; pd != nil && pd.begun && c.note&mcOrphan == 0 {
		pd.ex.ResponseBytes += int64(n)
		switch {
		case r.Value && !r.Meta:
			pd.aux += mcHit
		case r.Fault != memcached.FaultNone:
			d.response(&pd.ex)
		}
	}
	if c.note |= mcParts; !r.Partial {
		d.end(c)
	}
	return n, nil
}

// awaiting returns the request that the line in d.rep begins to answer, nil when it was not seen. It keeps waiting.
func (d *memcachedDriver) awaiting(c *Conn) *pending {
	r := &d.rep
	if c.settle(); c.owed > 0 {
		c.owed--
		return nil
	}
	if string(r.Word) == "MN" {
		c.note &^= mcWindow
	}
	fits := c.first
	for fits != nil && !r.Answers(kindMemcached(fits)) {
		fits = fits.next
	}
	for fits != nil && c.first != fits { // replies come in order: theirs have been lost
		c.t.m.LostPairing++
		c.giveUp(c.first)
	}
	return fits
}

// orphan reports a reply without its request.
func (d *memcachedDriver) orphan(c *Conn, in *input, n int) {
	ex := c.answer(nil, in)
	d.response(ex)
	if d.rep.Partial {
		c.note |= mcParts | mcOrphan
	} else {
		ex.ResponseBytes = int64(n)
	}
	c.finish(nil, ex)
}

// end is called when a reply is over.
func (d *memcachedDriver) end(c *Conn) {
	orphan := c.note&mcOrphan != 0
	c.note &^= mcParts | mcOrphan
	switch pd := c.first; {
	case orphan:
	case pd != nil && pd.begun:
		c.unlink(pd)
		if k := kindMemcached(pd); (k == memcached.Get || k == memcached.Gat) && len(pd.ex.Attributes) > 0 {
			d.count(&pd.ex, "memcached_hits", int(pd.aux/mcHit))
		}
		c.finish(pd, &pd.ex)
	case c.owed > 0: // its request has been given up meanwhile
		c.owed--
	}
}

// abandon ends a reply whose rest is lost.
func (d *memcachedDriver) abandon(c *Conn) {
	if c.note&mcParts == 0 {
		return
	}
	if pd := c.first; pd != nil && pd.begun && c.note&mcOrphan == 0 {
		pd.ex.ResponseBytes = -1
	}
	d.end(c)
}

// response fills in what the line in d.rep says.
func (d *memcachedDriver) response(ex *Exchange) {
	t, r := d.t, &d.rep
	ex.Status = statusMemcached(r.Fault)
	switch {
	case r.Fault != memcached.FaultNone:
		ex.ResponseException = t.text(r.Line, t.o.MaxText)
		ex.ResponseResult = t.text(r.Word, t.o.MaxText)
	case r.Number && !t.o.KeepLiterals:
		ex.ResponseResult = "number"
	case !r.Partial || r.Value:
		ex.ResponseResult = t.text(r.Line, t.o.MaxText)
	default:
		ex.ResponseResult = t.text(r.Word, t.o.MaxText)
	}
}

func statusMemcached(f memcached.Fault) Status {
	switch f {
	case memcached.FaultClient:
		return StatusClientError
	case memcached.FaultServer:
		return StatusServerError
	}
	return StatusOK
}

// packet reads a message of the binary protocol.
func (d *memcachedDriver) packet(c *Conn, in *input) (int, error) {
	m := &d.pkt
	n, err := memcached.ParseBinary(in.p, m)
	switch {
	case errors.Is(err, memcached.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	case m.Response != in.server:
		d.t.m.WrongSide++
		return n, nil
	}
	const enough = 512 // bytes of the key, or of the text of an error
	if len(m.Key)+len(m.Value) < min(m.KeyLen, enough) || m.Status != 0 && len(in.p) < min(n, enough) {
		if !in.cut {
			return 0, nil
		}
	}
	if m.Response {
		d.answered(c, in)
	} else {
		d.asked(c, in)
	}
	return n, nil
}

// keyMemcached is what a request and its response have in common.
func keyMemcached(m *memcached.Packet) uint64 { return uint64(m.Opaque)<<8 | uint64(m.Opcode) }

// asked reports the request in d.pkt.
func (d *memcachedDriver) asked(c *Conn, in *input) {
	m := &d.pkt
	pd := c.newPending(in)
	pd.key, pd.silent = keyMemcached(m), m.Opcode.Quiet()
	pd.ex.RequestBytes = int64(m.Size)
	d.name(&pd.ex)
	if m.Opcode == memcached.OpQuitQ {
		c.oneWay(pd)
		return
	}
	c.push(pd)
}

// name fills in the command in d.pkt.
func (d *memcachedDriver) name(ex *Exchange) {
	t, m := d.t, &d.pkt
	ex.RequestType = m.Opcode.String()
	ex.RequestID = int64(m.Opaque)
	ex.Endpoint = ex.RequestType
	t.scratch = append(t.scratch[:0], ex.RequestType...)
	if len(m.Key) > 0 {
		t.scratch = append(append(t.scratch, ' '), m.Key...)
	}
	ex.RequestResource = t.text(t.scratch, t.o.MaxText)
}

// answered reports the response in d.pkt. Responses come in order: that of a later request says that the quiet ones before
// it have nothing to say.
func (d *memcachedDriver) answered(c *Conn, in *input) {
	t, m := d.t, &d.pkt
	pd := c.find(keyMemcached(m))
	if pd != nil {
		for c.first != pd && c.first.silent {
			quiet := c.first
			c.unlink(quiet)
			quiet.ex.Status = StatusOK
			c.report(&quiet.ex)
			t.putPending(quiet)
		}
	}
	if pd != nil && m.Opcode == memcached.OpStat && m.Status == 0 { // an empty one is the last
		ex := c.begin(pd, in)
		ex.ResponseBytes = max(ex.ResponseBytes, 0) + int64(m.Size)
		if ex.Status = StatusOK; m.KeyLen > 0 {
			return
		}
	}
	var ex *Exchange
	if pd != nil {
		c.unlink(pd)
		ex = c.begin(pd, in)
	} else {
		ex = c.answer(nil, in)
		d.name(ex)
		ex.RequestResource = "" // the key of a response is that of what was found
	}
	if ex.ResponseBytes < 0 {
		ex.ResponseBytes = int64(m.Size)
	}
	ex.ResponseCode = int64(m.Status)
	fault := memcached.StatusFault(m.Status)
	ex.Status = statusMemcached(fault)
	ex.ResponseResult = memcached.StatusName(m.Status)
	if fault != memcached.FaultNone {
		if ex.ResponseException = t.text(m.Value, t.o.MaxText); ex.ResponseException == "" {
			ex.ResponseException = ex.ResponseResult
		}
	}
	c.finish(pd, ex)
}

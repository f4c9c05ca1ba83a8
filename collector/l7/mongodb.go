package l7

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/mongodb"
)

// mongoDriver speaks the MongoDB wire protocol.
type mongoDriver struct {
	t        *Tracker
	msg      mongodb.Message
	cmd      mongodb.Command
	res      mongodb.Result
	inflater mongodb.Inflater
}

func newMongoDBDriver(t *Tracker) driver { return &mongoDriver{t: t} }

func (d *mongoDriver) check(_ *Conn, in *input, hint bool) shape {
	return shape(mongodb.Check(in.p, hint))
}

func (d *mongoDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := mongodb.Parse(in.p, m)
	switch {
	case errors.Is(err, mongodb.ErrShort) && !in.cut:
		return 0, nil
	case err != nil && (n == 0 || !errors.Is(err, mongodb.ErrShort)):
		return 0, err
	}
	want := m.Want
	if in.server && !m.Compressed && m.IsCursor() { // that is no error, and may be long
		want = 0
	}
	if !c.enough(in, want) {
		return 0, nil
	}
	if m.Compressed {
		d.inflate()
	}
	if in.server {
		d.response(c, in)
	} else {
		d.request(c, in)
	}
	return n, nil
}

// inflate reads what is in a compressed message, as far as it is there.
func (d *mongoDriver) inflate() {
	m := &d.msg
	body, err := d.inflater.Inflate(m.Compressor, m.Payload, d.t.o.MaxConnBuffer)
	if err == nil {
		err = m.ParseBody(body, max(m.Inflated, len(body)))
	}
	if err != nil && !errors.Is(err, mongodb.ErrShort) {
		d.t.m.ParseFailures++
		m.Doc, m.Flags = nil, 0
	}
}

// request reports the request in d.msg.
func (d *mongoDriver) request(c *Conn, in *input) {
	m := &d.msg
	if m.Op.Reply() {
		d.t.m.WrongSide++
		return
	}
	pd := c.newPending(in)
	pd.key = uint64(uint32(m.RequestID))
	ex := &pd.ex
	ex.RequestBytes = int64(m.Size)
	ex.RequestType = m.Op.String()
	ex.RequestID = int64(m.RequestID)
	d.command(ex)
	if m.Op.OneWay() || m.Op == mongodb.OpMsg && m.Flags&mongodb.MoreToCome != 0 {
		c.oneWay(pd)
		return
	}
	c.push(pd)
}

// command fills in what a request asks for.
func (d *mongoDriver) command(ex *Exchange) {
	t, m, cmd := d.t, &d.msg, &d.cmd
	m.Command(cmd)
	ex.RequestDomain = t.text(cmd.Database, t.o.MaxText)
	if len(m.Doc) > 0 {
		t.scratch = mongodb.AppendText(t.scratch[:0], m.Doc, cmd.IsCommand, t.o.KeepLiterals && !cmd.Secret(), t.o.MaxText)
		ex.RequestResource = t.text(t.scratch, t.o.MaxText)
	}
	t.scratch = append(t.scratch[:0], cmd.Name...)
	if len(cmd.Collection) > 0 {
		t.scratch = append(append(t.scratch, ' '), cmd.Collection...)
	}
	ex.Endpoint = t.text(t.scratch, t.o.MaxText)
	d.cursor(ex, cmd.Cursor)
	switch {
	case cmd.CommentDoc:
		var e mongodb.Element
		for r := mongodb.Elements(cmd.Comment); r.Next(&e); {
			if e.Kind == mongodb.String {
				t.contextField(ex, e.Name, e.Value)
			}
		}
	case len(cmd.Comment) > 0:
		d.comment(ex, cmd.Comment)
	}
}

// comment takes trace context from a comment: a traceparent alone, or name=value pairs with commas between.
func (d *mongoDriver) comment(ex *Exchange, text []byte) {
	for field := range bytes.SplitSeq(text, []byte{','}) {
		name, value, ok := bytes.Cut(bytes.TrimSpace(field), []byte{'='})
		if !ok {
			name, value = []byte("traceparent"), name
		}
		d.t.contextField(ex, name, bytes.Trim(value, `'"`))
	}
}

func (d *mongoDriver) cursor(ex *Exchange, id int64) {
	if id != 0 {
		d.t.scratch = strconv.AppendInt(d.t.scratch[:0], id, 10)
		d.t.attribute(ex, "mongodb_cursor", d.t.scratch)
	}
}

// mongoFollows marks in Conn.note that the reply with the number below is followed by another, without a request.
const mongoFollows = 1 << 32

// response reports the reply in d.msg. One may be followed by others, which respond to it (exhaust cursors): they belong to the
// first request.
func (d *mongoDriver) response(c *Conn, in *input) {
	t, m, res := d.t, &d.msg, &d.res
	if m.ResponseTo == 0 && !m.Op.Reply() && c.find(0) == nil { // unless a client counts from 0
		t.m.WrongSide++
		return
	}
	pd := c.take(uint64(uint32(m.ResponseTo)))
	follows := pd == nil && c.note == mongoFollows|uint64(uint32(m.ResponseTo))
	if pd != nil || follows {
		c.note = 0
	}
	if m.Op == mongodb.OpMsg && m.Flags&mongodb.MoreToCome != 0 {
		c.note = mongoFollows | uint64(uint32(m.RequestID))
	}
	if follows {
		t.m.Duplicates++
		return
	}
	ex := c.answer(pd, in)
	if pd == nil {
		ex.RequestID, ex.RequestType = int64(m.ResponseTo), m.Op.String()
	}
	ex.ResponseBytes = int64(m.Size)
	ex.Status, ex.ResponseCode = StatusOK, 0
	if m.Result(res); res.Failed {
		d.failure(ex)
	} else if t.o.KeepLiterals && len(m.Doc) > 0 {
		t.scratch = mongodb.AppendText(t.scratch[:0], m.Doc, false, true, t.o.MaxText)
		ex.ResponseResult = t.text(t.scratch, t.o.MaxText)
	}
	if pd == nil || len(ex.Attributes) == 0 { // of getMore the cursor is known already
		d.cursor(ex, res.Cursor)
	}
	c.finish(pd, ex)
}

// failure fills in the error in d.res.
func (d *mongoDriver) failure(ex *Exchange) {
	t, res := d.t, &d.res
	ex.ResponseCode = res.Code
	ex.Status = StatusClientError
	if mongodb.ServerFault(res.Code) {
		ex.Status = StatusServerError
	}
	text := res.Text
	if i := bytes.Index(text, []byte(" dup key: ")); i > 0 && !t.o.KeepLiterals {
		text = text[:i]
	}
	ex.ResponseException = t.text(text, t.o.MaxText)
	if ex.ResponseException == "" {
		ex.ResponseException = t.text(res.CodeName, t.o.MaxText)
	}
	ex.ResponseResult = t.text(res.CodeName, t.o.MaxText)
}

package l7

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/fastcgi"
)

// fastCGIDriver speaks FastCGI: HTTP between a web server, which asks, and the programs behind it.
type fastCGIDriver struct {
	t          *Tracker
	name       []byte // of a header field, made of a parameter's
	reqHeaders []kept
	rspHeaders []kept
}

// fastCGIState is the request of a connection whose parameters are coming.
type fastCGIState struct {
	pd   *pending // nil: there is none
	part []byte   // the beginning of a parameter that goes on in the next record; at most maxParam bytes
}

// maxParam bounds what is kept of a parameter in several records, in bytes.
const maxParam = 8 << 10

func newFastCGIDriver(t *Tracker) driver {
	return &fastCGIDriver{t: t, reqHeaders: keptHeaders(t.o.RequestHeaders, requestHeader), rspHeaders: keptHeaders(t.o.ResponseHeaders, responseHeader)}
}

func (d *fastCGIDriver) state(c *Conn) *fastCGIState {
	st, ok := c.state.(*fastCGIState)
	if !ok {
		st = &fastCGIState{}
		c.state = st
	}
	return st
}

func (d *fastCGIDriver) check(c *Conn, in *input, _ bool) shape {
	if c.Proto != FastCGI {
		return shape(fastcgi.Check(in.p))
	}
	if !in.server { // the rest of the parameters is lost
		d.begun(c, d.state(c))
	}
	return shape(fastcgi.Plausible(in.p))
}

func (d *fastCGIDriver) step(c *Conn, in *input) (int, error) {
	var r fastcgi.Record
	n, err := fastcgi.ParseRecord(in.p, &r)
	if errors.Is(err, fastcgi.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	content := in.p[fastcgi.HeaderLen:min(fastcgi.HeaderLen+r.Length, len(in.p))]
	server := r.Type == fastcgi.Stdout || r.Type == fastcgi.Stderr || r.Type == fastcgi.EndRequest
	if r.ID != 0 && server != in.server {
		c.t.m.WrongSide++
		return n, nil
	}
	if !in.cut && len(content) < r.Length && !d.fits(c, &r, content) {
		return 0, nil
	}
	switch r.Type {
	case fastcgi.BeginRequest:
		st := d.state(c)
		d.begun(c, st)
		st.pd = c.newPending(in)
		ex := &st.pd.ex
		st.pd.key, ex.RequestID, ex.Version, ex.RequestBytes = uint64(r.ID), int64(r.ID), "1", 0
	case fastcgi.Params:
		d.params(c, in, &r, content)
	case fastcgi.Stdin, fastcgi.Data:
		if pd := c.find(uint64(r.ID)); pd != nil && pd.ex.RequestBytes >= 0 {
			pd.ex.RequestBytes += int64(r.Length)
		}
	case fastcgi.Stdout, fastcgi.Stderr, fastcgi.EndRequest:
		d.response(c, in, &r, content)
	}
	return n, nil
}

// fits says whether what is there of a record is enough: all of it is read only where it matters.
func (d *fastCGIDriver) fits(c *Conn, r *fastcgi.Record, content []byte) bool {
	const enough = 1 << 10
	switch r.Type {
	case fastcgi.Stdin, fastcgi.Data:
		return true
	case fastcgi.Stderr:
		return len(content) >= enough
	case fastcgi.Stdout:
		pd := c.find(uint64(r.ID))
		return pd != nil && pd.begun || fastcgi.HeadEnd(content) > 0
	}
	return false
}

// params takes a record of parameters; one without content ends them.
func (d *fastCGIDriver) params(c *Conn, in *input, r *fastcgi.Record, content []byte) {
	st := d.state(c)
	if st.pd == nil || st.pd.key != uint64(r.ID) {
		return
	}
	ex := &st.pd.ex
	if r.Length == 0 {
		d.begun(c, st)
		return
	}
	ex.RequestBytes += int64(r.Length)
	p := content
	if len(st.part) > 0 {
		p = append(st.part, content...)
	}
	for len(p) > 0 {
		name, value, n, err := fastcgi.Param(p)
		if err != nil {
			break
		}
		d.param(ex, name, value)
		p = p[n:]
	}
	if len(content) < r.Length || len(p) > maxParam {
		if !in.lost {
			c.t.m.DroppedBuffer++
		}
		d.begun(c, st)
		return
	}
	st.part = append(st.part[:0], p...)
}

// begun reports the request whose parameters have come, as far as they did.
func (d *fastCGIDriver) begun(c *Conn, st *fastCGIState) {
	pd := st.pd
	st.pd, st.part = nil, st.part[:0]
	if pd == nil {
		return
	}
	ex := &pd.ex
	if ex.Endpoint == "" {
		ex.Endpoint = endpoint(ex.RequestResource)
	}
	c.push(pd)
}

// param takes a parameter (RFC 3875 §4.1); those that begin with HTTP_ are header fields of the request.
func (d *fastCGIDriver) param(ex *Exchange, name, value []byte) {
	t := d.t
	if len(value) == 0 {
		return
	}
	switch string(name) {
	case "REQUEST_METHOD":
		ex.RequestType = t.text(value, t.o.MaxText)
	case "REQUEST_URI":
		ex.RequestResource = t.text(value, t.o.MaxText)
	case "SCRIPT_NAME", "DOCUMENT_URI":
		if ex.RequestResource == "" {
			ex.RequestResource = t.text(value, t.o.MaxText)
		}
	case "SCRIPT_FILENAME":
		t.attribute(ex, "fastcgi_script", value)
	case "SERVER_NAME":
		if ex.RequestDomain == "" && string(value) != "_" && string(value) != "localhost" {
			ex.RequestDomain = t.text(value, t.o.MaxText)
		}
	case "CONTENT_TYPE":
		t.attribute(ex, "request_content_type", value)
	default:
		if field, ok := bytes.CutPrefix(name, []byte("HTTP_")); ok {
			d.field(ex, field, value)
		}
	}
}

// field takes a header field of the request, in capitals and with underscores.
func (d *fastCGIDriver) field(ex *Exchange, name, value []byte) {
	t := d.t
	d.name = d.name[:0]
	for _, c := range name {
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		d.name = append(d.name, c)
	}
	switch string(d.name) {
	case "host":
		ex.RequestDomain = t.text(value, t.o.MaxText)
	case "user-agent":
		t.attribute(ex, "user_agent", value)
	case "referer":
		t.attribute(ex, "referer", value)
	case "x-forwarded-for":
		t.attribute(ex, "x_forwarded_for", value)
	default:
		t.contextField(ex, d.name, value)
	}
	t.captureField(ex, d.reqHeaders, d.name, value)
}

// captureField adds a header field, its name in lower case, if the Options ask for it; of a repeated one the first.
func (t *Tracker) captureField(ex *Exchange, want []kept, name, value []byte) {
	for _, w := range want {
		if string(name) == w.name && ex.attributeOf(w.key) == "" {
			t.attribute(ex, w.key, value)
		}
	}
}

// response takes a record of the program: output, error text, or the end.
func (d *fastCGIDriver) response(c *Conn, in *input, r *fastcgi.Record, content []byte) {
	if st := d.state(c); st.pd != nil && st.pd.key == uint64(r.ID) { // the end of its parameters was lost
		d.begun(c, st)
	}
	pd := c.find(uint64(r.ID))
	if pd == nil && (r.Type != fastcgi.Stdout || r.Length == 0) { // the end of what was not seen
		return
	}
	fresh := pd == nil || !pd.begun
	if pd == nil {
		pd = c.orphan(in, uint64(r.ID))
		pd.ex.RequestID, pd.ex.Version = int64(r.ID), "1"
	}
	ex := c.begin(pd, in)
	if fresh {
		ex.ResponseBytes = 0
	}
	switch r.Type {
	case fastcgi.Stdout:
		ex.ResponseBytes += int64(r.Length)
		if ex.ResponseCode < 0 && r.Length > 0 {
			d.head(ex, content)
		}
	case fastcgi.Stderr:
		if len(content) > 0 {
			d.t.attribute(ex, "fastcgi_stderr", bytes.TrimSpace(content))
		}
	case fastcgi.EndRequest:
		d.end(c, pd, ex, content)
	}
}

// head reads the header fields that a program's output begins with. Without a Status the code is 200, or that of a redirection.
func (d *fastCGIDriver) head(ex *Exchange, p []byte) {
	t := d.t
	code, reason := http.StatusOK, []byte(nil)
	if n := fastcgi.HeadEnd(p); n > 0 {
		p = p[:n]
	}
	context := ex.context == rankNone
	for {
		name, value, rest, ok := fastcgi.Field(p)
		if !ok {
			break
		}
		p = rest
		d.name = append(d.name[:0], bytes.TrimSpace(name)...)
		for i, c := range d.name {
			if 'A' <= c && c <= 'Z' {
				d.name[i] += 'a' - 'A'
			}
		}
		switch string(d.name) {
		case "status":
			if n, words := fastcgi.Code(value); n > 0 {
				code, reason = n, words
			}
		case "location":
			if code == http.StatusOK {
				code = http.StatusFound
			}
		case "content-type":
			t.attribute(ex, "content_type", value)
		case "x-request-id":
			ex.XRequestIDResponse = t.once(value, t.o.MaxText)
		default:
			if context {
				t.contextField(ex, d.name, value)
			}
		}
		t.captureField(ex, d.rspHeaders, d.name, value)
	}
	ex.ResponseCode, ex.Status = int64(code), statusHTTP(code)
	if ex.Status != StatusOK {
		if ex.ResponseException = t.text(reason, t.o.MaxText); ex.ResponseException == "" {
			ex.ResponseException = http.StatusText(code)
		}
	}
}

// end reports an exchange.
func (d *fastCGIDriver) end(c *Conn, pd *pending, ex *Exchange, content []byte) {
	status, refused := fastcgi.End(content)
	switch {
	case refused != "":
		ex.Status, ex.ResponseException = StatusServerError, refused
	case ex.ResponseCode < 0 && status != 0:
		ex.Status = StatusServerError
	}
	if status != 0 {
		d.t.scratch = strconv.AppendInt(d.t.scratch[:0], status, 10)
		d.t.attribute(ex, "fastcgi_app_status", d.t.scratch)
	}
	c.unlink(pd)
	c.finish(pd, ex)
}

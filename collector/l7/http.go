package l7

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/http1"
)

// httpDriver speaks HTTP/1.
type httpDriver struct {
	t          *Tracker
	req        http1.Request
	rsp        http1.Response
	reqHeaders []kept
	rspHeaders []kept
}

// kept is a further header to keep: its name in lower case and the attribute it becomes.
type kept struct{ name, key string }

// Prefixes of the attributes that such headers become.
const (
	requestHeader  = "http.request.header."
	responseHeader = "http.response.header."
)

// keptHeaders prepares headers that the Options ask for.
func keptHeaders(names []string, prefix string) (ks []kept) {
	for _, n := range names {
		n = strings.ToLower(n)
		ks = append(ks, kept{name: n, key: prefix + n})
	}
	return ks
}

func newHTTPDriver(t *Tracker) driver {
	return &httpDriver{t: t, reqHeaders: keptHeaders(t.o.RequestHeaders, requestHeader), rspHeaders: keptHeaders(t.o.ResponseHeaders, responseHeader)}
}

func (d *httpDriver) check(c *Conn, in *input, _ bool) shape {
	p, from := in.p, in.from
	if c.Proto == HTTP {
		n := emptyLines(p)
		p, from = p[n:], max(from-n, 0)
		if len(p) == 0 {
			return shapeNo
		}
	}
	request, response := http1.No, http1.No
	if c.Proto == Unknown || !in.server {
		request = http1.CheckRequest(p, from)
	}
	if c.Proto == Unknown || in.server {
		response = http1.CheckResponse(p)
	}
	switch {
	case request == http1.Yes:
		return shapeRequest
	case response == http1.Yes:
		return shapeResponse
	case max(request, response) == http1.Maybe:
		return shapeMaybe
	}
	return shapeNo
}

// step parses the head of a message and sets the body that follows.
func (d *httpDriver) step(c *Conn, in *input) (int, error) {
	if n := emptyLines(in.p); n > 0 {
		return n, nil
	}
	t := c.t
	h := &c.half[c.server]
	if !in.server {
		h = &c.half[c.server^1]
	}
	p := in.p[:min(len(in.p), t.o.MaxConnBuffer)]
	if in.from > 0 && !in.cut && http1.FindEnd(p, in.from) == 0 {
		return 0, nil
	}
	n, err := d.parse(in, p, false)
	long := n == 0 && err == nil || in.lost
	if long {
		if !in.cut {
			return 0, nil
		}
		if !in.lost {
			t.m.DroppedBuffer++
		}
		n, err = d.parse(in, p, true)
	}
	if err != nil {
		return 0, err
	}
	h.body = http1.Body{}
	headLen := n
	if long {
		headLen = -1
	}
	if in.server {
		d.response(c, in, headLen)
	} else {
		d.request(c, in, headLen)
	}
	if long && !c.off {
		h.state, h.body = stateBody, http1.Drain(p, h.body)
	}
	return n, nil
}

// emptyLines returns how many bytes of empty lines p starts with: they may come before a message (RFC 9112 §2.2).
func emptyLines(p []byte) (n int) {
	for n < len(p) && (p[n] == '\r' || p[n] == '\n') {
		n++
	}
	return n
}

// parse parses a head into d.req or d.rsp, by the end that sent it.
func (d *httpDriver) parse(in *input, p []byte, partial bool) (int, error) {
	if in.server {
		return http1.ParseResponse(p, partial, &d.rsp)
	}
	return http1.ParseRequest(p, partial, &d.req)
}

// follow sets the body behind a head and returns its length, -1 when it is not known beforehand.
func (h *half) follow(head *http1.Head, untilClose bool) int64 {
	switch {
	case head.Chunked:
		h.state, h.body = stateBody, http1.ChunkedBody()
		return -1
	case head.BadLength:
		h.state = stateResync
		return -1
	case head.Length > 0:
		h.state, h.body = stateBody, http1.Counted(head.Length)
		return head.Length
	case head.Length < 0 && untilClose:
		h.state, h.body = stateBody, http1.UntilClose()
		return -1
	}
	return 0
}

// request handles the head in d.req, which took headLen bytes (-1: not all of it is there).
func (d *httpDriver) request(c *Conn, in *input, headLen int) {
	t, r, h := d.t, &d.req, &c.half[c.server^1]
	if sh := &c.half[c.server]; sh.state == stateBody && sh.body.IsUntilClose() {
		c.lose(int(c.server)) // the body did end before the connection
	}
	pd := c.newPending(in)
	ex := &pd.ex
	ex.Version = version(r.Minor)
	ex.RequestType = t.text(r.Method, t.o.MaxText)
	switch ex.RequestType {
	case "HEAD":
		pd.method = methodHead
	case "CONNECT":
		pd.method = methodConnect
	}
	host, path := splitTarget(r.Target, pd.method == methodConnect)
	if len(host) == 0 {
		host = r.Fields[http1.Host]
	}
	ex.RequestDomain = t.text(host, t.o.MaxText)
	ex.RequestResource = t.text(path, t.o.MaxText)
	ex.Endpoint = endpoint(ex.RequestResource)
	ex.XRequestIDRequest = t.once(r.Fields[http1.XRequestID], t.o.MaxText)
	t.trace(&r.Head, ex)
	t.attribute(ex, "referer", r.Fields[http1.Referer])
	t.attribute(ex, "request_content_type", r.Fields[http1.ContentType])
	t.attribute(ex, "user_agent", r.Fields[http1.UserAgent])
	t.attribute(ex, "x_forwarded_for", r.Fields[http1.XForwardedFor])
	t.capture(ex, d.reqHeaders, &r.Head)

	pd.headLen, pd.chunked = int64(headLen), r.Chunked
	if n := h.follow(&r.Head, false); n >= 0 && headLen >= 0 {
		ex.RequestBytes = pd.headLen + n
	}
	c.push(pd)
}

// response handles the head in d.rsp as request does.
func (d *httpDriver) response(c *Conn, in *input, headLen int) {
	const switching = 101
	r, h := &d.rsp, &c.half[c.server]
	if r.Code < 200 && r.Code != switching { // interim; the real one follows
		return
	}
	if r.Code == switching && isWord(r.Fields[http1.Upgrade], "h2c") {
		d.toHTTP2(c)
		return
	}
	pd := c.takeOldest()
	ex := c.answer(pd, in)
	m := methodOther
	if pd != nil {
		m = pd.method
	} else {
		ex.Version = version(r.Minor)
	}
	d.fill(ex)
	tunnel := r.Code == switching || m == methodConnect && r.Code < 300
	body := int64(0)
	if !tunnel && m != methodHead && r.Code != http.StatusNoContent && r.Code != http.StatusNotModified {
		body = h.follow(&r.Head, true)
	}
	if body >= 0 && headLen >= 0 {
		ex.ResponseBytes = int64(headLen) + body
	}
	upgrade := r.Fields[http1.Upgrade]
	if r.Code == switching {
		d.t.attribute(ex, "upgrade", upgrade)
	}
	if tunnel && !isWord(upgrade, "websocket") {
		c.finish(pd, ex)
		c.stop()
		return
	}
	if tunnel {
		c.becomeWebSocket(ex)
	}
	c.finish(pd, ex)
}

// isWord compares without regard to case.
func isWord(v []byte, word string) bool {
	return len(v) == len(word) && bytes.EqualFold(v, []byte(word))
}

// toHTTP2 goes on in HTTP/2 after an upgrade (RFC 7540 §3.2): what the request has asked for is answered there, as stream 1.
func (d *httpDriver) toHTTP2(c *Conn) {
	if pd := c.first; pd != nil && pd.next == nil && c.owed == 0 && !c.uncertain && d.t.drivers[HTTP2] != nil {
		ex := &pd.ex
		pd.key, ex.RequestID, ex.Protocol = 1, 1, HTTP2
		d.t.attribute(ex, "upgrade", d.rsp.Fields[http1.Upgrade])
	}
	c.become(HTTP2)
}

// fill fills in what the head in d.rsp says.
func (d *httpDriver) fill(ex *Exchange) {
	t, r := d.t, &d.rsp
	ex.ResponseCode, ex.Status = int64(r.Code), statusHTTP(r.Code)
	if ex.Status != StatusOK {
		if ex.ResponseException = t.text(r.Reason, t.o.MaxText); ex.ResponseException == "" {
			ex.ResponseException = http.StatusText(r.Code)
		}
	}
	ex.XRequestIDResponse = t.once(r.Fields[http1.XRequestID], t.o.MaxText)
	if ex.context == rankNone {
		t.trace(&r.Head, ex)
	}
	t.attribute(ex, "content_type", r.Fields[http1.ContentType])
	t.capture(ex, d.rspHeaders, &r.Head)
}

// bodyDoneHTTP is called when the body of a request is over: now its length is known.
func (c *Conn) bodyDoneHTTP(h *half) {
	if pd := c.last; pd != nil && pd.chunked && pd.headLen >= 0 {
		pd.ex.RequestBytes = pd.headLen + h.body.Seen()
	}
}

func version(minor uint8) string {
	return [10]string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9"}[minor]
}

func statusHTTP(code int) Status {
	switch {
	case code < 400:
		return StatusOK
	case code < 500:
		return StatusClientError
	case code < 600:
		return StatusServerError
	}
	return StatusUnknown
}

// splitTarget splits a request target (RFC 9112 §3.2) into authority, if it has one, and resource. User and password
// are left out.
func splitTarget(target []byte, connect bool) (host, path []byte) {
	if connect {
		return target, target
	}
	if target[0] == '/' {
		return nil, target
	}
	i := bytes.Index(target, []byte("://"))
	if i <= 0 || bytes.IndexByte(target[:i], '/') >= 0 {
		return nil, target
	}
	rest := target[i+3:]
	end := bytes.IndexAny(rest, "/?#")
	host, path = rest, []byte("/")
	if end >= 0 {
		host, path = rest[:end], rest[end:]
	}
	if at := bytes.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	return host, path
}

// endpoint is the path's first two segments, without the query.
func endpoint(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	if path == "" || path[0] != '/' {
		return path
	}
	slashes := 0
	for i := range len(path) {
		if path[i] == '/' {
			if slashes++; slashes == 3 {
				return path[:i]
			}
		}
	}
	return path
}

// attribute adds a value to e.Attributes, in order of keys.
func (t *Tracker) attribute(e *Exchange, key string, value []byte) {
	if len(value) == 0 {
		return
	}
	at := len(e.Attributes)
	for at > 0 && e.Attributes[at-1].Key > key {
		at--
	}
	e.Attributes = slices.Insert(e.Attributes, at, Attribute{Key: key, Value: t.text(value, t.o.MaxAttribute)})
}

// capture adds the further headers that the Options ask for; of a repeated one the first.
func (t *Tracker) capture(e *Exchange, want []kept, head *http1.Head) {
	for _, w := range want {
		head.All(func(name, value []byte) bool {
			if len(name) != len(w.name) || !bytes.EqualFold(name, []byte(w.name)) {
				return true
			}
			t.attribute(e, w.key, value)
			return false
		})
	}
}

package l7

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/http1"
)

// stepHTTP parses the head of a message at the start of p; see step.
func (c *Conn) stepHTTP(end int, p []byte, from int, atNanos int64, seq uint32) int {
	t, h := c.t, &c.half[end]
	if n := emptyLines(p); n > 0 {
		return n
	}
	q := p[:min(len(p), t.o.MaxConnBuffer)]
	full := len(q) == t.o.MaxConnBuffer
	if from > 0 && !full && http1.FindEnd(q, from) == 0 {
		return 0
	}
	n, err := c.parseHTTP(end, q, false)
	long := n == 0 && err == nil
	if long {
		if !full {
			return 0
		}
		t.m.DroppedBuffer++
		n, err = c.parseHTTP(end, q, true)
	}
	if err != nil {
		c.fail(h)
		return len(p)
	}
	h.state, h.body = stateStart, http1.Body{}
	headLen := n
	if long {
		headLen = -1
	}
	c.messageHTTP(end, headLen, atNanos, seq)
	if c.off {
		return n
	}
	if long {
		h.state, h.body = stateBody, http1.Drain(q, h.body)
	}
	return n
}

// emptyLines returns how many bytes of empty lines p starts with: they may come before a message (RFC 9112 §2.2).
func emptyLines(p []byte) (n int) {
	for n < len(p) && (p[n] == '\r' || p[n] == '\n') {
		n++
	}
	return n
}

// parseHTTP parses a head into t.req or t.rsp, by the end that sent it.
func (c *Conn) parseHTTP(end int, p []byte, partial bool) (int, error) {
	if end == int(c.server) {
		return http1.ParseResponse(p, partial, &c.t.rsp)
	}
	return http1.ParseRequest(p, partial, &c.t.req)
}

// salvageHTTP reads a head whose rest is lost.
func (c *Conn) salvageHTTP(end int, b *buffer) {
	if _, err := c.parseHTTP(end, b.data, true); err != nil {
		c.t.m.ParseFailures++
		return
	}
	c.messageHTTP(end, -1, b.atNanos, b.seq)
}

// messageHTTP handles the head in t.req or t.rsp, which took headLen bytes (-1: not all of it is there), and sets the
// body that follows.
func (c *Conn) messageHTTP(end, headLen int, atNanos int64, seq uint32) {
	if end == int(c.server) {
		c.responseHTTP(headLen, atNanos, seq)
	} else {
		c.requestHTTP(headLen, atNanos, seq)
	}
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

func (c *Conn) requestHTTP(headLen int, atNanos int64, seq uint32) {
	t, r, h := c.t, &c.t.req, &c.half[c.server^1]
	if sh := &c.half[c.server]; sh.state == stateBody && sh.body.IsUntilClose() {
		c.lose(int(c.server)) // the body did end before the connection
	}
	pd := c.newPending(atNanos, seq)
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
	t.capture(ex, t.reqHeaders, &r.Head)

	pd.headLen, pd.chunked = int64(headLen), r.Chunked
	if n := h.follow(&r.Head, false); n >= 0 && headLen >= 0 {
		ex.RequestBytes = pd.headLen + n
	}
	t.m.Requests++
	c.push(pd)
	t.h.Request(c, atNanos)
}

func (c *Conn) responseHTTP(headLen int, atNanos int64, seq uint32) {
	const switching = 101
	t, r, h := c.t, &c.t.rsp, &c.half[c.server]
	if r.Code < 200 && r.Code != switching { // interim; the real one follows
		h.state = stateStart
		return
	}
	pd, ex, rrt := c.pairHTTP(atNanos)
	m := methodOther
	if pd != nil {
		m = pd.method
	}
	t.answerHTTP(ex)
	ex.EndNanos, ex.ResponseSeq = atNanos, seq
	tunnel := r.Code == switching || m == methodConnect && r.Code < 300
	body := int64(0)
	if !tunnel && m != methodHead && r.Code != http.StatusNoContent && r.Code != http.StatusNotModified {
		body = h.follow(&r.Head, true)
	}
	if body >= 0 && headLen >= 0 {
		ex.ResponseBytes = int64(headLen) + body
	}
	t.m.Responses++
	t.h.Response(c, atNanos, ex.Status, rrt)
	t.h.Exchange(c, ex)
	if pd != nil {
		t.putPending(pd)
	}
	if tunnel {
		c.stop()
	}
}

// pairHTTP takes the request that the response in t.rsp answers out of its lists, nil when it was not seen, and returns
// the exchange to fill in and the time since the request.
func (c *Conn) pairHTTP(atNanos int64) (pd *pending, ex *Exchange, rrt int64) {
	t := c.t
	if c.uncertain { // without pipelining, only the last request can still be open
		for c.uncertain, c.owed = false, 0; c.first != c.last; {
			t.m.LostPairing++
			c.giveUp(c.first)
		}
	}
	pd = c.first
	if c.owed > 0 {
		c.owed--
		pd = nil
	}
	if pd != nil {
		c.unlink(pd)
		pd.ex.Kind = KindSession
		return pd, &pd.ex, max(atNanos-pd.ex.StartNanos, 0)
	}
	t.m.Unpaired++
	ex = &t.ex
	resetExchange(ex)
	ex.Kind, ex.Protocol, ex.StartNanos = KindResponse, HTTP, atNanos
	ex.Version = version(t.rsp.Minor)
	return nil, ex, -1
}

// answerHTTP fills in what the head in t.rsp says.
func (t *Tracker) answerHTTP(ex *Exchange) {
	r := &t.rsp
	ex.ResponseCode, ex.Status = int64(r.Code), statusHTTP(r.Code)
	if ex.Status != StatusOK {
		if ex.ResponseException = t.text(r.Reason, t.o.MaxText); ex.ResponseException == "" {
			ex.ResponseException = http.StatusText(r.Code)
		}
	}
	ex.XRequestIDResponse = t.once(r.Fields[http1.XRequestID], t.o.MaxText)
	if ex.TraceID == "" {
		t.trace(&r.Head, ex)
	}
	t.attribute(ex, "content_type", r.Fields[http1.ContentType])
	t.capture(ex, t.rspHeaders, &r.Head)
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
func (t *Tracker) capture(e *Exchange, want []capture, head *http1.Head) {
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

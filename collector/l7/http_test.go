package l7

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"
)

const (
	getA = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
	getB = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
	ok0  = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	no0  = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

	sessionA = "session GET h/a > 200 ok"
	sessionB = "session GET h/b > 404 client_error"
)

func TestHTTPFields(t *testing.T) {
	k := newTalk(t, Options{RequestHeaders: []string{"X-Tenant"}, ResponseHeaders: []string{"Server"}})
	req := "POST /api/v1/orders/7?x=1 HTTP/1.1\r\nHost: shop.example.com:8080\r\nUser-Agent: curl/8\r\nReferer: http://r/\r\n" +
		"X-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nContent-Type: a/b\r\nContent-Length: 3\r\nX-Request-ID: q1\r\nX-Tenant: blue\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"
	rsp := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nX-Request-Id: p1\r\nServer: s/1\r\n\r\n"
	reqSeq, rspSeq := k.seq[Client], k.seq[Server]
	k.client(req + "abc")
	k.server(rsp + "hello")
	got := k.one()
	want := Exchange{
		Kind: KindSession, Protocol: HTTP, Version: "1.1", StartNanos: 1e6, EndNanos: 2e6,
		RequestType: "POST", RequestDomain: "shop.example.com:8080", RequestResource: "/api/v1/orders/7?x=1",
		RequestID: -1, Endpoint: "/api/v1", RequestBytes: int64(len(req) + 3), ResponseBytes: int64(len(rsp) + 5),
		Status: StatusServerError, ResponseCode: 503, AffectedRows: -1, ResponseException: "Service Unavailable",
		TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
		XRequestIDRequest: "q1", XRequestIDResponse: "p1", RequestSeq: reqSeq, ResponseSeq: rspSeq,
		Attributes: []Attribute{{"content_type", "text/plain"}, {"http.request.header.x-tenant", "blue"},
			{"http.response.header.server", "s/1"}, {"referer", "http://r/"}, {"request_content_type", "a/b"},
			{"user_agent", "curl/8"}, {"x_forwarded_for", "1.2.3.4, 5.6.7.8"}},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	lines := "identified http server=1|request @1000000|response @2000000 server_error rrt=1000000|"
	if s := strings.Join(k.rec.lines, "|"); !strings.HasPrefix(s, lines) {
		t.Errorf("calls: %s", s)
	}
}

func TestHTTPTargets(t *testing.T) {
	f := func(line, header, domain, resource, endpoint string) {
		t.Helper()
		k := newTalk(t, Options{})
		k.client(line + " HTTP/1.1\r\n" + header + "\r\n")
		k.server(ok0)
		e := k.one()
		if e.RequestDomain != domain || e.RequestResource != resource || e.Endpoint != endpoint {
			t.Errorf("%s: %q %q %q, want %q %q %q", line, e.RequestDomain, e.RequestResource, e.Endpoint, domain, resource, endpoint)
		}
	}
	f("GET /", "Host: h\r\n", "h", "/", "/")
	f("GET /a/b/c/d?e=/f/g", "Host: h\r\n", "h", "/a/b/c/d?e=/f/g", "/a/b")
	f("GET /a?b=/c/d", "", "", "/a?b=/c/d", "/a")
	f("GET /a/#b/c", "", "", "/a/#b/c", "/a/")
	f("GET http://user:secret@proxied:81/x/y/z", "Host: other\r\n", "proxied:81", "/x/y/z", "/x/y")
	f("GET http://proxied", "", "proxied", "/", "/")
	f("GET http://proxied?a", "", "proxied", "?a", "")
	f("OPTIONS *", "Host: h\r\n", "h", "*", "*")
	f("CONNECT h:443", "Host: x\r\n", "h:443", "h:443", "h:443")
	f("GET /a?u=http://b/c", "Host: h\r\n", "h", "/a?u=http://b/c", "/a")
	f("GET /caf\xe9", "", "", "/caf\uFFFD", "/caf\uFFFD")
}

func TestHTTPTrace(t *testing.T) {
	f := func(header, trace, span string) {
		t.Helper()
		k := newTalk(t, Options{})
		k.client("GET / HTTP/1.1\r\n" + header + "\r\n\r\n")
		k.server(ok0)
		if e := k.one(); e.TraceID != trace || e.SpanID != span {
			t.Errorf("%s: %q %q, want %q %q", header, e.TraceID, e.SpanID, trace, span)
		}
	}
	const id, sp = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	f("traceparent: 00-"+id+"-"+sp+"-01", id, sp)
	f("traceparent: 00-"+id+"-"+sp, "", "")
	f("traceparent: 00-"+strings.Repeat("x", 32)+"-"+sp+"-01\r\nb3: "+id+"-"+sp+"-1", id, sp)
	f("sw8: 1-dHJhY2U=-c2VnbWVudA==-3-c3Zj-aW5z-L3g=-aDo4MA==", "trace", "segment-3")
	f("sw6: 1-dHJhY2U=-c2VnbWVudA==-3-1-2", "trace", "segment-3")
	f("sw8: 1-%%%-x-3", "", "")
	f("b3: "+id+"-"+sp+"-1-05e3ac9a4f6e3b90", id, sp)
	f("b3: 0", "", "")
	f("X-B3-TraceId: "+id+"\r\nX-B3-SpanId: "+sp+"\r\nX-B3-ParentSpanId: 1", id, sp)
	f("uber-trace-id: "+id+":"+sp+":0:1", id, sp)
	f("uber-trace-id: "+id+"%3A"+sp+"%3A0%3A1", id, sp)
}

func TestHTTPStatus(t *testing.T) {
	f := func(line, want, exception string) {
		t.Helper()
		k := newTalk(t, Options{})
		k.client(getA)
		k.server("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n\r\n")
		if e := k.one(); e.Status.String() != want || e.ResponseException != exception {
			t.Errorf("%s: %s %q", line, e.Status, e.ResponseException)
		}
	}
	f("204 No Content", "ok", "")
	f("302 Found", "ok", "")
	f("404 Nothing Here", "client_error", "Nothing Here")
	f("404 ", "client_error", "Not Found")
	f("500", "server_error", "Internal Server Error")
	f("700 Odd", "unknown", "Odd")
}

// TestHTTPFraming: after each response the next one must be found.
func TestHTTPFraming(t *testing.T) {
	f := func(request, response string, bytes int64) {
		t.Helper()
		k := newTalk(t, Options{})
		k.client(request)
		k.server(response)
		if e := k.one(); e.ResponseBytes != bytes {
			t.Errorf("%q: %d bytes, want %d", response, e.ResponseBytes, bytes)
		}
		k.client(getB)
		k.server(no0)
		k.want(sessionB)
		if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
			t.Errorf("%q: %+v", response, m)
		}
	}
	f(getA, ok0, int64(len(ok0)))
	f(getA, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n", 42)
	f("HEAD /a HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 38)
	f(getA, "HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", 38)
	f(getA, "HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n", 38)
	f(getA, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n", -1)
	f(getA, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"+ok0, int64(len(ok0)))
	f("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n", ok0, int64(len(ok0)))
	f("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /\r\n", ok0, int64(len(ok0)))
	f(getA, "\r\n"+ok0, int64(len(ok0)))
	f("GET /a HTTP/1.0\n\n", "HTTP/1.0 200 OK\nContent-Length: 1\n\nx", 36)
}

func TestHTTPRequestBytesOfChunked(t *testing.T) {
	k := newTalk(t, Options{})
	head := "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	k.client(head + "5\r\nabc")
	k.client("de\r\n1\r\nf\r\n0\r\n\r\n")
	k.server(ok0)
	if e := k.one(); e.RequestBytes != int64(len(head)+6) {
		t.Errorf("%d bytes", e.RequestBytes)
	}
}

func TestHTTPUntilClose(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA)
	k.server("HTTP/1.0 200 OK\r\n\r\nbody HTTP/1.1 500 No\r\n\r\n")
	k.server("HTTP/1.1 500 No\r\n\r\n")
	k.want(sessionA)
	// A new request shows that the body did end.
	k.client(getB)
	k.server(no0)
	k.want(sessionB)
}

func TestHTTPPipelining(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA + getB + getA)
	k.server(ok0 + no0)
	k.want(sessionA, sessionB)
	k.server(ok0)
	k.want(sessionA)
}

func TestHTTPTunnels(t *testing.T) {
	f := func(request, response, want string) {
		t.Helper()
		k := newTalk(t, Options{})
		k.client(request)
		k.server(response)
		k.want(want)
		k.client(getA)
		k.server(ok0)
		k.want()
	}
	f("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "session GET h/ws > 101 ok")
	f("CONNECT h:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "session CONNECT h:443h:443 > 200 ok")
	k := newTalk(t, Options{})
	k.client("CONNECT h:443 HTTP/1.1\r\n\r\n")
	k.server(no0) // refused: the connection goes on
	k.client(getA)
	k.server(ok0)
	k.want("session CONNECT h:443h:443 > 404 client_error", sessionA)
}

func TestHTTPDirection(t *testing.T) {
	t.Run("request from the server", func(t *testing.T) {
		k := newTalk(t, Options{})
		k.server(getA) // the caller has it wrong
		if k.rec.lines[0] != "identified http server=0" {
			t.Fatal(k.rec.lines)
		}
		k.seq[0], k.seq[1] = k.seq[1], k.seq[0] // and turns
		k.server(ok0)
		k.client(getB)
		k.server(no0)
		k.want(sessionA, sessionB)
	})
	t.Run("response from the client", func(t *testing.T) {
		k := newTalk(t, Options{})
		k.client("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
		k.client(getB)
		k.server(no0)
		k.want("response   > 200 ok", sessionB)
	})
	t.Run("turned by the caller", func(t *testing.T) {
		k := newTalk(t, Options{})
		k.server("GET /a HTT")
		k.c.Reverse()
		k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
		k.client("P/1.1\r\nHost: h\r\n\r\n")
		if k.rec.lines[0] != "identified http server=1" {
			t.Fatal(k.rec.lines)
		}
		k.server("HTTP/1.1 200 ")
		k.c.Reverse() // however often
		k.client("OK\r\n\r\n")
		if len(k.rec.exchanges) != 0 {
			t.Fatal("bytes of the other side were taken")
		}
	})
}

func TestHTTPResponseOnly(t *testing.T) {
	k := newTalk(t, Options{})
	k.server(no0)
	e := k.one()
	if e.Kind != KindResponse || e.StartNanos != 1e6 || e.EndNanos != 1e6 || e.RequestBytes != -1 || e.RequestSeq != 0 ||
		e.Status != StatusClientError || k.rec.lines[1] != "response @1000000 client_error rrt=-1" {
		t.Errorf("%+v %q", e, k.rec.lines)
	}
}

func TestHTTPClose(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA + getB)
	k.c.Close(9e6)
	k.want("request GET h/a > -1 unknown", "request GET h/b > -1 unknown")
	if m := k.tr.Metrics(); m.Conns != 0 || m.Pending != 0 || m.Timeouts != 0 {
		t.Errorf("%+v", m)
	}
	if c := k.tr.NewConn(transportTCP, 1, 2); c != k.c || c.Owner != nil || c.Proto != Unknown || c.off {
		t.Error("the Conn was not taken back clean")
	}
}

func TestHTTPTimeout(t *testing.T) {
	k := newTalk(t, Options{Timeouts: map[Protocol]time.Duration{HTTP: time.Second}})
	k.client(getA)
	k.tr.Tick(k.time + 1e9 - 1)
	k.want()
	k.tr.Tick(k.time + 1e9)
	k.want("request GET h/a > -1 timeout")
	if l := k.rec.lines[2]; l != "timeout @1001000000" {
		t.Error(l)
	}
	// The late answer must not be taken for the next request's.
	k.client(getB)
	k.server(ok0 + no0)
	k.want("response   > 200 ok", sessionB)
	if m := k.tr.Metrics(); m.Timeouts != 1 || m.Pending != 0 {
		t.Errorf("%+v", m)
	}
}

func TestHTTPMaxPending(t *testing.T) {
	k := newTalk(t, Options{MaxPending: 2})
	k.client(getA + getB + getB)
	k.want("request GET h/a > -1 unknown")
	k.server(ok0 + no0)
	k.want("response   > 200 ok", sessionB)
	if m := k.tr.Metrics(); m.EvictedPending != 1 || m.Pending != 1 {
		t.Errorf("%+v", m)
	}
}

func TestHTTPLongHead(t *testing.T) {
	for _, body := range []string{"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"} {
		k := newTalk(t, Options{MaxConnBuffer: 1024})
		content := "hello"
		if strings.HasPrefix(body, "T") {
			content = "5\r\nhello\r\n0\r\n\r\n"
		}
		all := "POST /long HTTP/1.1\r\nHost: h\r\n" + body + "Cookie: " + strings.Repeat("c", 5000) + "\r\nX: y\r\n\r\n" + content + getB
		for len(all) > 0 {
			n := min(700, len(all))
			k.client(all[:n])
			all = all[n:]
		}
		k.server(ok0 + no0)
		k.want("session POST h/long > 200 ok", sessionB)
		if m := k.tr.Metrics(); m.DroppedBuffer != 1 || m.ParseFailures != 0 {
			t.Errorf("%+v", m)
		}
	}
}

func TestHTTPGarbage(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA + getA)
	k.server(ok0)
	k.server("what is this?\r\n\r\n")
	k.server(ok0)
	k.want(sessionA, sessionA)
	if m := k.tr.Metrics(); m.ParseFailures != 1 {
		t.Errorf("%+v", m)
	}
	k.client("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
	k.client(getB)
	k.server(ok0 + no0)
	k.want("session POST / > 200 ok", sessionB)
}

func TestGiveUp(t *testing.T) {
	k := newTalk(t, Options{InferPayloads: 4})
	for range 3 {
		k.client("\x00\x00\x01")
		k.server("\x00\x00\x02")
	}
	k.client(getA)
	k.server(ok0)
	k.want()
	if m := k.tr.Metrics(); m.GaveUp != 1 || m.Identified != 0 {
		t.Errorf("%+v", m)
	}
	// A long message from one side alone is not enough: capture may have begun in its middle.
	k = newTalk(t, Options{InferPayloads: 4})
	for range 100 {
		k.server("\x00\x00\x02")
	}
	k.client(getA)
	k.server(ok0)
	k.want(sessionA)
}

func TestOptions(t *testing.T) {
	k := newTalk(t, Options{Protocols: []Protocol{DNS}})
	k.client(getA)
	k.server(ok0)
	k.want()
	k = newTalk(t, Options{MaxText: 16, MaxAttribute: 16})
	k.client("GET /" + strings.Repeat("\u00e9", 20) + " HTTP/1.1\r\nUser-Agent: " + strings.Repeat("u", 20) + "\r\n\r\n")
	k.server(ok0)
	if e := k.one(); e.RequestResource != "/"+strings.Repeat("\u00e9", 7) || e.Attributes[0].Value != strings.Repeat("u", 16) {
		t.Errorf("%q %q", e.RequestResource, e.Attributes)
	}
}

func TestConnIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 200 {
		t.Errorf("%d bytes", n)
	}
	if n := unsafe.Sizeof(half{}); n > 56 {
		t.Errorf("a half has %d bytes", n)
	}
}

// discard is a Handler that only counts.
type discard struct{ exchanges int }

func (d *discard) Identified(*Conn, Protocol, Side)     {}
func (d *discard) Request(*Conn, int64, bool)           {}
func (d *discard) Response(*Conn, int64, Status, int64) {}
func (d *discard) Timeout(*Conn, int64)                 {}
func (d *discard) Exchange(*Conn, *Exchange)            { d.exchanges++ }

func TestHTTPAllocations(t *testing.T) {
	d := &discard{}
	tr := NewTracker(Options{}, d)
	c := tr.NewConn(transportTCP, 40000, 80)
	req, rsp := []byte(getA), []byte(ok0)
	var cs, ss uint32
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, cs, req, len(req))
		c.Payload(Server, 2, ss, rsp, len(rsp))
		cs, ss = cs+uint32(len(req)), ss+uint32(len(rsp))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		c := tr.NewConn(transportTCP, 40000, 80)
		c.Payload(Client, 1, 0, req[:9], 9)
		c.Payload(Client, 1, 9, req[9:], len(req)-9)
		c.Payload(Server, 2, 9, rsp[9:], len(rsp)-9)
		c.Close(3)
	}); n != 0 {
		t.Errorf("%v allocations per connection", n)
	}
}

// TestHTTPHostileHeads: however long the heads of requests without response are, and over however many connections they
// come, what is kept of them is bounded.
func TestHTTPHostileHeads(t *testing.T) {
	rec := &recorder{}
	tr := NewTracker(Options{MaxPendingBytes: 1 << 20}, rec)
	long := strings.Repeat("x", 3000)
	head := "GET /" + long + " HTTP/1.1\r\nHost: " + long + "\r\nUser-Agent: " + long + "\r\nX-Request-ID: " + long + "\r\n\r\n"
	var conns []*Conn
	for i := range 2000 {
		c := tr.NewConn(transportTCP, uint16(i), 80)
		c.Payload(Client, int64(i), 1, []byte(head), len(head))
		conns = append(conns, c)
		if m := tr.Metrics(); m.PendingBytes > 1<<20 || m.Pending == 0 {
			t.Fatalf("%+v", m)
		}
	}
	m := tr.Metrics()
	if kept := m.PendingBytes / m.Pending; m.EvictedPending != uint64(2000-m.Pending) || kept < 3*1024 || kept > 3500 {
		t.Errorf("%+v", m)
	}
	for _, c := range conns {
		c.Close(9e9)
	}
	if m := tr.Metrics(); m.Pending != 0 || m.PendingBytes != 0 || len(rec.exchanges) != 2000 {
		t.Errorf("%+v", m)
	}
}

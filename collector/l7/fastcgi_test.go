package l7

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fcgi is a record.
func fcgi(kind byte, id uint16, content string) string {
	pad := -len(content) & 7
	return string([]byte{1, kind, byte(id >> 8), byte(id), byte(len(content) >> 8), byte(len(content)), byte(pad), 0}) + content + strings.Repeat("\x00", pad)
}

func fcgiBegin(id uint16) string { return fcgi(1, id, "\x00\x01\x01\x00\x00\x00\x00\x00") }

func fcgiEnd(id uint16, status, refused byte) string {
	return fcgi(3, id, string([]byte{0, 0, 0, status, refused, 0, 0, 0}))
}

// fcgiPairs is the content of parameters.
func fcgiPairs(kv ...string) string {
	s := ""
	for i := 0; i < len(kv); i += 2 {
		for _, v := range kv[i : i+2] {
			if len(v) > 127 {
				s += string([]byte{0x80, 0, byte(len(v) >> 8), byte(len(v))})
			} else {
				s += string([]byte{byte(len(v))})
			}
		}
		s += kv[i] + kv[i+1]
	}
	return s
}

// fcgiGet is a whole request.
func fcgiGet(id uint16, uri string, kv ...string) string {
	return fcgiBegin(id) + fcgi(4, id, fcgiPairs(append([]string{"REQUEST_METHOD", "GET", "REQUEST_URI", uri, "HTTP_HOST", "shop"}, kv...)...)) + fcgi(4, id, "") + fcgi(5, id, "")
}

func TestFastCGI(t *testing.T) {
	k := newTalk(t, Options{RequestHeaders: []string{"X-Tenant"}, ResponseHeaders: []string{"X-Powered-By"}})
	k.client(fcgiGet(1, "/api/v1/orders?id=7", "HTTP_USER_AGENT", "curl", "HTTP_REFERER", "http://r/", "HTTP_X_FORWARDED_FOR", "9.9.9.9", "HTTP_X_REQUEST_ID", "r1", "HTTP_X_TENANT", "blue",
		"HTTP_TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "SCRIPT_FILENAME", "/srv/x.php", "SERVER_NAME", "other", "SCRIPT_NAME", "/x.php", "CONTENT_TYPE", "text/plain"))
	k.server(fcgi(6, 1, "X-Powered-By: PHP\r\nStatus: 404 No Such Thing\r\nContent-Type: text/html\r\nX-Request-ID: r2\r\n\r\nnothing") + fcgi(6, 1, "more") + fcgi(7, 1, "oops\n") + fcgi(6, 1, "") + fcgiEnd(1, 3, 0))
	e := k.one()
	got := fmt.Sprint(e.Protocol, " ", brief(&e), " ", e.Endpoint, " ", e.RequestID, " ", e.ResponseException, " ", e.TraceID, e.SpanID, " ", e.XRequestIDRequest, e.XRequestIDResponse, " ", e.ResponseBytes, " ", e.EndNanos-e.StartNanos)
	want := "fastcgi session GET shop/api/v1/orders?id=7 > 404 client_error /api/v1 1 No Such Thing 4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7 r1r2 102 1000000"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	attrs := "[{content_type text/html} {fastcgi_app_status 3} {fastcgi_script /srv/x.php} {fastcgi_stderr oops} {http.request.header.x-tenant blue} {http.response.header.x-powered-by PHP} " +
		"{referer http://r/} {request_content_type text/plain} {user_agent curl} {x_forwarded_for 9.9.9.9}]"
	if fmt.Sprint(e.Attributes) != attrs {
		t.Errorf("attributes %v", e.Attributes)
	}
	if m := k.tr.Metrics(); m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 {
		t.Errorf("%+v", m)
	}
}

// TestFastCGIPieces: the same number for one request behind the other, byte by byte, parameters in many records.
func TestFastCGIPieces(t *testing.T) {
	k := newTalk(t, Options{})
	bytewise := func(side Side, s string) {
		for i := range len(s) {
			k.send(side, s[i:i+1])
		}
	}
	bytewise(Client, fcgiGet(1, "/a"))
	bytewise(Server, fcgi(6, 1, "Content-Type: text/html\r\n\r\nhello")+fcgiEnd(1, 0, 0))
	k.want("session GET shop/a > 200 ok")
	pairs := fcgiPairs("REQUEST_METHOD", "POST", "HTTP_COOKIE", strings.Repeat("c", 300), "REQUEST_URI", "/b", "HTTP_HOST", "shop")
	s := fcgiBegin(1)
	for len(pairs) > 0 {
		n := min(11, len(pairs))
		s += fcgi(4, 1, pairs[:n])
		pairs = pairs[n:]
	}
	k.client(s + fcgi(4, 1, "") + fcgi(5, 1, strings.Repeat("body", 15000)))
	k.client(fcgi(5, 1, "") + fcgiGet(2, "/c"))
	k.server(fcgi(6, 2, "Location: /d\r\n\r\n") + fcgi(6, 1, "Status: 500\r\n\r\n") + fcgiEnd(2, 0, 0) + fcgiEnd(1, 0, 0))
	if len(k.rec.exchanges) == 2 && k.rec.exchanges[1].RequestBytes < 60000 {
		t.Error(k.rec.exchanges[1].RequestBytes)
	}
	k.want("session GET shop/c > 302 ok", "session POST shop/b > 500 server_error")
	if m := k.tr.Metrics(); m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 || m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
}

func TestFastCGIEnds(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(fcgiGet(1, "/a"))
	k.server(fcgiEnd(1, 0, 2))
	if e := k.one(); brief(&e) != "session GET shop/a > -1 server_error" || e.ResponseException != "OVERLOADED" {
		t.Errorf("%+v", e)
	}
	k.client(fcgiGet(1, "/b"))
	k.server(fcgi(7, 1, "boom") + fcgiEnd(1, 255, 0))
	if e := k.one(); brief(&e) != "session GET shop/b > -1 server_error" || e.attributeOf("fastcgi_stderr") != "boom" || e.attributeOf("fastcgi_app_status") != "255" {
		t.Errorf("%+v", e)
	}
	k.client(fcgiGet(1, "/c"))
	k.time += 200e9
	k.tr.Tick(k.time)
	k.want("request GET shop/c > -1 timeout")
	k.server(fcgiEnd(1, 0, 0))
	k.want()
}

// TestFastCGIMiddle: responses whose request was not seen, requests whose parameters were lost.
func TestFastCGIMiddle(t *testing.T) {
	k := newTalk(t, Options{HoldTime: time.Millisecond})
	k.server(fcgi(6, 1, "Content-Type: text/html\r\n\r\nhello") + fcgi(6, 1, "") + fcgiEnd(1, 0, 0))
	k.client(fcgiGet(1, "/a"))
	k.server(fcgi(6, 1, "Status: 204\r\n\r\n") + fcgiEnd(1, 0, 0))
	k.want("response   > 200 ok", "session GET shop/a > 204 ok")
	whole := fcgiGet(1, "/lost", "HTTP_COOKIE", strings.Repeat("c", 3000))
	k.client(whole[:100])
	k.skip(Client, len(whole)-100)
	k.client(fcgiGet(2, "/b"))
	k.time += 1e9
	k.tr.Tick(k.time)
	k.server(fcgi(6, 2, "Status: 200\r\n\r\n") + fcgiEnd(2, 0, 0) + fcgi(6, 1, "Status: 200\r\n\r\n") + fcgiEnd(1, 0, 0))
	k.want("session GET shop/b > 200 ok", "session GET shop/lost > 200 ok")
	// A long parameter is passed over with those behind it.
	long := fcgiBegin(1) + fcgi(4, 1, fcgiPairs("REQUEST_METHOD", "GET", "REQUEST_URI", "/c", "HTTP_COOKIE", strings.Repeat("c", 20000), "HTTP_HOST", "shop")) + fcgi(4, 1, "") + fcgi(5, 1, "")
	for len(long) > 0 {
		n := min(1400, len(long))
		k.client(long[:n])
		long = long[n:]
	}
	k.server(fcgi(6, 1, "Status: 200\r\n\r\n") + fcgiEnd(1, 0, 0))
	k.want("session GET /c > 200 ok")
}

// TestCorpusFastCGI: there is no expectation for the capture; the values are those in its packets.
func TestCorpusFastCGI(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		rec, m := replay(t, filepath.Join(corpusDir(t), "l7", "fastcgi", "fastcgi.pcap"), Options{}, reversed)
		if len(rec.exchanges) != 1 || m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 {
			t.Fatalf("%d exchanges, %+v", len(rec.exchanges), m)
		}
		e := rec.exchanges[0]
		compare(t, "fastcgi", [][3]string{
			{"type", e.RequestType, "GET"}, {"resource", e.RequestResource, "/aaaaa"}, {"domain", e.RequestDomain, "172.17.0.3:8080"}, {"endpoint", e.Endpoint, "/aaaaa"},
			{"kind", e.Kind.String(), "session"}, {"status", e.Status.String(), "ok"}, {"code", num(e.ResponseCode), "200"}, {"id", num(e.RequestID), "1"}, {"bytes", num(e.RequestBytes), "536"},
		}...)
	}
}

func TestFastCGINoAllocation(t *testing.T) {
	k := newTalk(t, Options{})
	k.tr.h = &quiet{}
	request, response := []byte(fcgiGet(1, "/a", "HTTP_USER_AGENT", "curl")), []byte(fcgi(6, 1, "Status: 200\r\nContent-Type: text/html\r\n\r\nhello")+fcgiEnd(1, 0, 0))
	run := func() {
		k.c.Payload(Client, 1e9, k.seq[Client], request, len(request))
		k.c.Payload(Server, 2e9, k.seq[Server], response, len(response))
		k.seq[Client] += uint32(len(request))
		k.seq[Server] += uint32(len(response))
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m := k.tr.Metrics(); m.Responses != 102 {
		t.Errorf("%+v", m)
	}
}

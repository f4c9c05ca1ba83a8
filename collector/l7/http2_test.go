package l7

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2End makes the frames of one end.
type http2End struct {
	out, block bytes.Buffer
	fr         *xhttp2.Framer
	enc        *hpack.Encoder
}

func newHTTP2End() *http2End {
	e := &http2End{}
	e.fr = xhttp2.NewFramer(&e.out, nil)
	e.fr.AllowIllegalWrites = true
	e.enc = hpack.NewEncoder(&e.block)
	return e
}

// take returns what was written since the last call.
func (e *http2End) take() string {
	s := e.out.String()
	e.out.Reset()
	return s
}

// fields encodes names and values.
func (e *http2End) fields(kv ...string) []byte {
	e.block.Reset()
	for i := 0; i < len(kv); i += 2 {
		if err := e.enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]}); err != nil {
			panic(err)
		}
	}
	return e.block.Bytes()
}

func (e *http2End) headers(stream uint32, end bool, kv ...string) string {
	must(e.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, BlockFragment: e.fields(kv...), EndStream: end, EndHeaders: true}))
	return e.take()
}

func (e *http2End) get(stream uint32, path string, kv ...string) string {
	return e.headers(stream, true, append([]string{":method", "GET", ":scheme", "http", ":authority", "shop", ":path", path}, kv...)...)
}

func (e *http2End) data(stream uint32, end bool, s string) string {
	must(e.fr.WriteData(stream, end, []byte(s)))
	return e.take()
}

func (e *http2End) rst(stream uint32, code xhttp2.ErrCode) string {
	must(e.fr.WriteRSTStream(stream, code))
	return e.take()
}

func (e *http2End) goAway(last uint32, code xhttp2.ErrCode) string {
	must(e.fr.WriteGoAway(last, code, []byte("debug")))
	return e.take()
}

func (e *http2End) settings() string {
	must(e.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 100}))
	return e.take()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// http2Talk is a connection that has begun.
func http2Talk(t *testing.T, o Options) (k *talk, client, server *http2End) {
	t.Helper()
	k, client, server = newTalk(t, o), newHTTP2End(), newHTTP2End()
	k.client(xhttp2.ClientPreface + client.settings())
	k.server(server.settings())
	return k, client, server
}

func TestHTTP2(t *testing.T) {
	k, c, s := http2Talk(t, Options{RequestHeaders: []string{"X-Tenant"}, ResponseHeaders: []string{"Server"}})
	k.client(c.get(1, "/api/v1/orders?id=7", "user-agent", "curl/8", "referer", "http://r/", "x-forwarded-for", "9.9.9.9", "x-request-id", "r1", "x-tenant", "blue",
		"sw8", "1-dHJhY2U=-c2VnbWVudA==-3-x-y-z-w", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	k.server(s.headers(1, false, ":status", "404", "content-type", "text/html", "x-request-id", "r2", "server", "nginx"))
	k.server(s.data(1, true, "nothing here"))
	e := k.one()
	got := fmt.Sprint(e.Protocol, e.Version, " ", brief(&e), " ", e.Endpoint, " ", e.RequestID, " ", e.ResponseException, " ", e.TraceID, e.SpanID, " ", e.XRequestIDRequest, e.XRequestIDResponse, " ", e.EndNanos-e.StartNanos)
	want := "http22 session GET shop/api/v1/orders?id=7 > 404 client_error /api/v1 1 Not Found 4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7 r1r2 1000000"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	attrs := "[{content_type text/html} {http.request.header.x-tenant blue} {http.response.header.server nginx} {referer http://r/} {user_agent curl/8} {x_forwarded_for 9.9.9.9}]"
	if fmt.Sprint(e.Attributes) != attrs {
		t.Errorf("attributes %v", e.Attributes)
	}
	// The same again is nothing but numbers of the tables.
	request := c.get(3, "/api/v1/orders?id=7", "user-agent", "curl/8")
	k.client(request)
	response := s.headers(3, true, ":status", "404")
	k.server(response)
	e = k.one()
	if brief(&e) != "session GET shop/api/v1/orders?id=7 > 404 client_error" || e.RequestBytes != int64(len(request)-9) || e.ResponseBytes != int64(len(response)-9) {
		t.Errorf("%+v", e)
	}
	if m := k.tr.Metrics(); m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 || m.Requests != 2 || m.Responses != 2 {
		t.Errorf("%+v", m)
	}
}

func TestHTTP2Streams(t *testing.T) {
	k, c, s := http2Talk(t, Options{})
	k.client(c.get(1, "/a") + c.get(3, "/b") + c.get(5, "/c"))
	k.server(s.headers(5, false, ":status", "200") + s.headers(1, false, ":status", "100") + s.headers(3, true, ":status", "503") + s.data(5, false, "x") + s.headers(1, true, ":status", "204"))
	k.want("session GET shop/b > 503 server_error", "session GET shop/a > 204 ok")
	k.server(s.data(5, false, strings.Repeat("x", 16000)))
	k.server(s.headers(5, true, "checksum", "1")) // trailers
	e := k.one()
	if brief(&e) != "session GET shop/c > 200 ok" || e.ResponseBytes < 16001 || e.ResponseBytes > 16100 || e.EndNanos-e.StartNanos != 1e6 {
		t.Errorf("%+v", e)
	}
	k.server(s.data(5, true, "who asked")) // of no stream
	k.client(c.headers(5, true, "checksum", "2"))
	k.want()
	// Settings, credits and pings between them say nothing.
	must(c.fr.WritePing(false, [8]byte{1}))
	must(c.fr.WriteWindowUpdate(0, 1000))
	must(c.fr.WriteSettingsAck())
	must(c.fr.WritePriority(9, xhttp2.PriorityParam{StreamDep: 3}))
	must(c.fr.WriteRawFrame(0x10, 0, 0, []byte("priority update")))
	k.client(c.take() + c.get(7, "/d"))
	k.server(s.headers(7, true, ":status", "200"))
	k.want("session GET shop/d > 200 ok")
}

// TestHTTP2Frames: a header in several frames, padded, with a priority, byte by byte.
func TestHTTP2Frames(t *testing.T) {
	k, c, s := http2Talk(t, Options{})
	block := bytes.Clone(c.fields(":method", "POST", ":scheme", "http", ":authority", "shop", ":path", "/a", "x", strings.Repeat("y", 100)))
	must(c.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10], PadLength: 7, Priority: xhttp2.PriorityParam{StreamDep: 5, Weight: 3}}))
	must(c.fr.WriteContinuation(1, false, block[10:20]))
	must(c.fr.WriteContinuation(1, true, block[20:]))
	must(c.fr.WriteDataPadded(1, true, []byte("12345"), make([]byte, 50)))
	for _, b := range []byte(c.take()) {
		k.client(string([]byte{b}))
	}
	for _, b := range []byte(s.headers(1, false, ":status", "201") + s.data(1, true, "")) {
		k.server(string([]byte{b}))
	}
	e := k.one()
	if brief(&e) != "session POST shop/a > 201 ok" || e.RequestBytes != int64(len(block)+5) {
		t.Errorf("%d %+v", len(block), e)
	}
	// Something else between the frames of a header: the place is lost, and found again.
	must(c.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 3, BlockFragment: block[:10]}))
	must(c.fr.WriteData(3, true, []byte("12345")))
	k.client(c.take())
	k.client(c.get(5, "/new"))
	k.server(s.headers(5, true, ":status", "200"))
	k.want("session GET /new > 200 ok") // :authority has become unknown
	if m := k.tr.Metrics(); m.ParseFailures != 1 {
		t.Errorf("%+v", m)
	}
}

func TestHTTP2Reset(t *testing.T) {
	for _, c := range []struct {
		name         string
		begun        bool
		by           Side
		code         xhttp2.ErrCode
		want, excuse string
	}{
		{"refused", false, Server, xhttp2.ErrCodeRefusedStream, "session GET shop/a > -1 server_error", "REFUSED_STREAM"},
		{"given up", false, Client, xhttp2.ErrCodeCancel, "request GET shop/a > -1 client_error", "CANCEL"},
		{"broken off", true, Server, xhttp2.ErrCodeInternal, "session GET shop/a > 200 server_error", "INTERNAL_ERROR"},
		{"enough of it", true, Client, xhttp2.ErrCodeCancel, "session GET shop/a > 200 ok", ""},
		{"early answer", true, Server, xhttp2.ErrCodeNo, "session GET shop/a > 200 ok", ""},
	} {
		k, cl, s := http2Talk(t, Options{})
		k.client(cl.get(1, "/a"))
		if c.begun {
			k.server(s.headers(1, false, ":status", "200"))
		}
		k.send(c.by, newHTTP2End().rst(1, c.code))
		e := k.one()
		if brief(&e) != c.want || e.ResponseException != c.excuse {
			t.Errorf("%s: %s %q", c.name, brief(&e), e.ResponseException)
		}
		if a := e.attributeOf("rst_stream"); (a == "") != (c.code == xhttp2.ErrCodeNo) {
			t.Errorf("%s: attribute %q", c.name, a)
		}
	}
}

func TestHTTP2GoAway(t *testing.T) {
	for code, want := range map[xhttp2.ErrCode]string{
		xhttp2.ErrCodeNo:              "request GET shop/b > -1 unknown",
		xhttp2.ErrCodeEnhanceYourCalm: "session GET shop/b > -1 server_error",
	} {
		k, c, s := http2Talk(t, Options{})
		k.client(c.get(1, "/a") + c.get(3, "/b"))
		k.server(s.goAway(1, code))
		k.want(want)
		k.server(s.headers(1, true, ":status", "200"))
		k.want("session GET shop/a > 200 ok")
		k.client(c.goAway(0, xhttp2.ErrCodeNo))
		k.want()
	}
}

func TestHTTP2Push(t *testing.T) {
	k, c, s := http2Talk(t, Options{})
	k.client(c.get(1, "/page"))
	must(s.fr.WritePushPromise(xhttp2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true,
		BlockFragment: s.fields(":method", "GET", ":scheme", "http", ":authority", "shop", ":path", "/style.css")}))
	k.server(s.take() + s.headers(1, true, ":status", "200") + s.headers(2, true, ":status", "200", "content-type", "text/css"))
	if len(k.rec.exchanges) != 2 || !k.rec.exchanges[1].ServerInitiated || k.rec.exchanges[0].ServerInitiated {
		t.Errorf("%+v", k.rec.exchanges)
	}
	k.want("session GET shop/page > 200 ok", "session GET shop/style.css > 200 ok")
}

// TestHTTP2Middle: what went by before is unknown, what comes later is right.
func TestHTTP2Middle(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		c, s := newHTTP2End(), newHTTP2End()
		c.get(1, "/secret", "user-agent", "x") // the tables know these
		s.headers(1, true, ":status", "201", "content-type", "text/plain")
		k := newTalk(t, Options{})
		client, server := Client, Server
		if reversed {
			client, server = Server, Client
		}
		k.send(server, s.headers(1, false, ":status", "200", "grpc-encoding", "gzip")) // of a request that was not seen
		if reversed {                                                                  // the Conn has turned
			client, server = Client, Server
			k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
		}
		k.send(server, s.data(1, true, "abc"))
		e := k.one()
		if brief(&e) != "response   > 200 ok" || e.RequestSeq != 0 || e.RequestID != 1 || e.EndNanos != e.StartNanos {
			t.Errorf("%s %+v", brief(&e), e)
		}
		if last := k.rec.lines[len(k.rec.lines)-2]; last != "response @1000000 ok rrt=-1" {
			t.Error(last)
		}
		k.send(client, c.get(3, "/secret", "user-agent", "x"))
		k.send(server, s.headers(3, true, ":status", "201"))
		k.want("request GET  > -1 unknown") // neither its path nor what its end says is known
		k.send(client, c.get(5, "/new"))
		k.send(server, s.headers(5, false, ":status", "404")+s.data(5, true, ""))
		k.want("session GET /new > 404 client_error")
		k.send(client, c.get(7, "/new"))
		k.send(server, s.headers(7, true, ":status", "404"))
		k.want("session GET /new > 404 client_error")
	}
}

// TestHTTP2Lost: behind a hole nothing is taken for what it is not.
func TestHTTP2Lost(t *testing.T) {
	k, c, s := http2Talk(t, Options{HoldTime: time.Millisecond})
	k.client(c.get(1, "/a"))
	k.server(s.headers(1, true, ":status", "200"))
	k.want("session GET shop/a > 200 ok")
	k.skip(Client, len(c.get(3, "/lost")))
	k.client(c.get(5, "/lost"))
	k.time += 1e9
	k.tr.Tick(k.time)
	k.client(c.get(7, "/new"))
	k.server(s.headers(3, true, ":status", "200") + s.headers(5, true, ":status", "200") + s.headers(7, true, ":status", "200"))
	k.want("response   > 200 ok", "session GET  > 200 ok", "session GET /new > 200 ok")
}

// TestHTTP2ServerFirst: the settings of the server come before the preface; the caller may have the sides the wrong way round.
func TestHTTP2ServerFirst(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		k, c, s := newTalk(t, Options{}), newHTTP2End(), newHTTP2End()
		client, server := Client, Server
		if reversed {
			client, server = Server, Client
		}
		turned := uint8(0)
		turn := func() { // the Conn expects the sides by their right names
			if k.c.turn != turned {
				turned, client, server = k.c.turn, server, client
				k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
			}
		}
		k.send(server, s.settings())
		turn()
		k.send(client, xhttp2.ClientPreface+c.settings())
		turn()
		k.send(client, c.get(1, "/a"))
		k.send(server, s.headers(1, true, ":status", "200"))
		k.want("session GET shop/a > 200 ok")
	}
}

// TestHTTP2LongHeader: a header beyond what is kept is read as far as it goes.
func TestHTTP2LongHeader(t *testing.T) {
	k, c, s := http2Talk(t, Options{MaxConnBuffer: 4 << 10})
	block := bytes.Clone(c.fields(":method", "GET", ":scheme", "http", ":authority", "shop", ":path", "/a", "cookie", strings.Repeat("\x01", 20000)))
	must(c.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true}))
	must(c.fr.WriteContinuation(1, true, block[16000:]))
	long := c.take()
	for len(long) > 0 {
		n := min(1400, len(long))
		k.client(long[:n])
		long = long[n:]
	}
	k.client(c.get(3, "/b"))
	k.server(s.headers(1, true, ":status", "200") + s.headers(3, true, ":status", "200"))
	k.want("session GET shop/a > 200 ok", "session GET /b > 200 ok")
	if m := k.tr.Metrics(); m.DroppedBuffer != 1 || m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
}

func TestHTTP2Timeout(t *testing.T) {
	k, c, s := http2Talk(t, Options{Timeouts: map[Protocol]time.Duration{HTTP2: 10 * time.Second}})
	k.client(c.get(1, "/silent") + c.get(3, "/stream"))
	k.server(s.headers(3, false, ":status", "200"))
	for range 5 {
		k.time += 6e9
		k.server(s.data(3, false, "more"))
		k.tr.Tick(k.time)
	}
	k.want("request GET shop/silent > -1 timeout")
	k.time += 11e9
	k.tr.Tick(k.time)
	k.want("session GET shop/stream > 200 ok")
}

// message is a gRPC message of n bytes.
func message(n int) string { return "\x00\x00\x00\x00" + string(rune(n)) + strings.Repeat("m", n) }

func (e *http2End) call(stream uint32, path string, kv ...string) string {
	return e.headers(stream, false, append([]string{":method", "POST", ":scheme", "http", ":authority", "shop", ":path", path, "content-type", "application/grpc+proto", "te", "trailers"}, kv...)...)
}

func TestGRPC(t *testing.T) {
	const ok = "application/grpc"
	k, c, s := http2Talk(t, Options{})
	k.client(c.call(1, "/shop.v1.Orders/Get", "b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1") + c.data(1, true, message(5)))
	k.server(s.headers(1, false, ":status", "200", "content-type", ok) + s.data(1, false, message(9)))
	k.server(s.headers(1, true, "grpc-status", "0", "grpc-message", ""))
	e := k.one()
	got := fmt.Sprint(e.Protocol, " ", brief(&e), " ", e.Endpoint, " ", e.TraceID, e.SpanID, " ", e.Attributes)
	if want := "grpc session POST shopshop.v1.Orders > 0 ok /shop.v1.Orders/Get 80f198ee56343ba864fe8b2a57d3eff7e457b5a2e4d86bd1 [{content_type application/grpc} {request_content_type application/grpc+proto}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for i, f := range []struct {
		response []string
		want     string
	}{
		{[]string{"grpc-status", "5"}, "session POST shoporders > 5 client_error NOT_FOUND"},
		{[]string{"grpc-status", "14", "grpc-message", "caf%C3%A9 closed"}, "session POST shoporders > 14 server_error café closed"},
		{[]string{"grpc-message", "first", "grpc-status", "13"}, "session POST shoporders > 13 server_error first"},
		{[]string{"grpc-status", "77"}, "session POST shoporders > 77 server_error "},
		{[]string{"grpc-status", "x"}, "session POST shoporders > 200 unknown "},
		{nil, "session POST shoporders > 200 unknown "},
	} {
		stream := uint32(3 + 2*i)
		k.client(c.call(stream, "/orders/Get") + c.data(stream, true, message(5)))
		k.server(s.headers(stream, true, append([]string{":status", "200", "content-type", ok}, f.response...)...))
		if e := k.one(); brief(&e)+" "+e.ResponseException != f.want {
			t.Errorf("%s %s, want %s", brief(&e), e.ResponseException, f.want)
		}
	}
	// A proxy answers for the server.
	k.client(c.call(101, "/orders/Get"))
	k.server(s.headers(101, true, ":status", "503"))
	if e := k.one(); brief(&e) != "session POST shoporders > 503 server_error" || e.ResponseException != "Service Unavailable" {
		t.Errorf("%+v", e)
	}
}

func TestGRPCStreaming(t *testing.T) {
	for _, f := range []struct {
		requests, responses []string
		want                string
	}{
		{[]string{message(1)}, []string{message(1)}, ""},
		{[]string{message(1), message(2)}, []string{message(1)}, "client 2 "},
		{[]string{message(1)}, []string{message(3) + message(4) + message(5)[:3], message(5)[3:]}, "server  3"},
		{[]string{message(1) + message(60)}, []string{message(3), message(4)}, "bidi 2 2"},
		{[]string{"no", "messages"}, []string{message(1)}, ""},
	} {
		k, c, s := http2Talk(t, Options{})
		k.client(c.call(1, "/s/M"))
		for _, r := range f.requests {
			p := c.data(1, false, r)
			k.client(p[:len(p)/2])
			k.client(p[len(p)/2:])
		}
		k.server(s.headers(1, false, ":status", "200", "content-type", "application/grpc"))
		for _, r := range f.responses {
			k.server(s.data(1, false, r))
		}
		k.server(s.headers(1, true, "grpc-status", "0"))
		e := k.one()
		got := strings.TrimSpace(e.attributeOf("grpc_streaming") + " " + e.attributeOf("grpc_request_messages") + " " + e.attributeOf("grpc_response_messages"))
		if got != strings.TrimSpace(f.want) {
			t.Errorf("%q: %q", f.want, got)
		}
	}
}

func TestTriple(t *testing.T) {
	k, c, s := http2Talk(t, Options{})
	k.client(c.call(1, "/org.apache.Greeter/greet", "tri-service-version", "1.0.0", "tri-service-group", "blue", "tri-consumer-appname", "web", "tri-trace-traceid", "t1", "tri-trace-rpcid", "s1"))
	k.server(s.headers(1, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "0"))
	e := k.one()
	if got := fmt.Sprint(brief(&e), " ", e.TraceID, e.SpanID, " ", e.Attributes); got != "session POST shoporg.apache.Greeter > 0 ok t1s1 "+
		"[{content_type application/grpc} {request_content_type application/grpc+proto} {rpc_consumer web} {rpc_service_group blue} {rpc_service_version 1.0.0}]" {
		t.Error(got)
	}
}

// TestH2C: what an upgrade has asked for is answered in HTTP/2.
func TestH2C(t *testing.T) {
	k, c, s := newTalk(t, Options{}), newHTTP2End(), newHTTP2End()
	k.client("GET /a HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
	k.server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + s.settings() + s.headers(1, false, ":status", "200"))
	k.client(xhttp2.ClientPreface + c.settings() + c.get(3, "/b"))
	k.server(s.data(1, true, "a") + s.headers(3, true, ":status", "200"))
	if e := k.rec.exchanges; len(e) != 2 || e[0].Protocol != HTTP2 || e[0].RequestID != 1 || e[0].Version != "1.1" || fmt.Sprint(e[0].Attributes) != "[{upgrade h2c}]" {
		t.Errorf("%+v", e)
	}
	k.want("session GET shop/a > 200 ok", "session GET shop/b > 200 ok")
	if k.c.Proto != HTTP2 {
		t.Error(k.c.Proto)
	}
}

func TestHTTP2NoAllocation(t *testing.T) {
	k, c, s := http2Talk(t, Options{})
	k.tr.h = &quiet{}
	k.client(c.get(1, "/a", "user-agent", "curl") + c.call(3, "/s/M") + c.data(3, true, message(3)))
	k.server(s.headers(1, true, ":status", "200", "content-type", "text/html") + s.headers(3, false, ":status", "200", "content-type", "application/grpc") + s.data(3, false, message(3)) + s.headers(3, true, "grpc-status", "0"))
	request, response := c.get(5, "/a", "user-agent", "curl")+c.call(7, "/s/M")+c.data(7, true, message(3)),
		s.headers(5, true, ":status", "200", "content-type", "text/html")+s.headers(7, false, ":status", "200", "content-type", "application/grpc")+s.data(7, false, message(3))+s.headers(7, true, "grpc-status", "0")
	reqs, rsps := []byte(request), []byte(response)
	st := k.c.state.(*http2State)
	if n := testing.AllocsPerRun(100, func() {
		st.side[0].last = 1 // so that the streams are new
		k.c.Payload(Client, 1e9, k.seq[Client], reqs, len(reqs))
		k.c.Payload(Server, 2e9, k.seq[Server], rsps, len(rsps))
		k.seq[Client] += uint32(len(reqs))
		k.seq[Server] += uint32(len(rsps))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m := k.tr.Metrics(); m.Responses != 2+2*101 || m.Pending != 0 {
		t.Errorf("%+v", m)
	}
}

// quiet is a Handler that does nothing.
type quiet struct{}

func (*quiet) Identified(*Conn, Protocol, Side)     {}
func (*quiet) Request(*Conn, int64, bool)           {}
func (*quiet) Response(*Conn, int64, Status, int64) {}
func (*quiet) Timeout(*Conn, int64)                 {}
func (*quiet) Exchange(*Conn, *Exchange)            {}

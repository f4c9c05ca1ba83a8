package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// be is a number of n bytes, big-endian.
func be(n int, v uint64) string {
	return string(binary.BigEndian.AppendUint64(nil, v)[8-n:])
}

// sized is s behind its length in n bytes.
func sized(n int, s string) string { return be(n, uint64(len(s))) + s }

// rpc makes the messages of a protocol: calls of method m of service S, or what stands for them.
type rpc struct {
	proto Protocol
	call  func(id int, body string) string
	ok    func(id int, body string) string
	fail  func(id int) string
	// once is a call that nobody answers, beat what either side sends to show that it is there; "" where there is none.
	once, beat string
	// wantCall is type, domain and resource of the call, as brief has them, wantFail what it shows of the response to fail.
	wantCall, wantFail, exception string
	endpoint                      string
}

func bolt(kind, command, id int, status uint16, class, headers, content string) string {
	p := "\x01" + be(1, uint64(kind)) + be(2, uint64(command)) + "\x01" + be(4, uint64(id)) + "\x01"
	if kind == 0 {
		p += be(2, uint64(status))
	} else {
		p += be(4, 3000)
	}
	return p + be(2, uint64(len(class))) + be(2, uint64(len(headers))) + be(4, uint64(len(content))) + class + headers + content
}

func dubboMessage(flags, status byte, id int, body string) string {
	return "\xda\xbb" + string([]byte{flags, status}) + be(8, uint64(id)) + sized(4, body)
}

func brpcMessage(meta string, id int, body string) string {
	meta += "\x20" + string(binary.AppendUvarint(nil, uint64(id)))
	return "PRPC" + be(4, uint64(len(meta)+len(body))) + be(4, uint64(len(meta))) + meta + body
}

func tarsMessage(fields string) string { return be(4, uint64(len(fields)+4)) + fields }

func someipMessage(method, id int, kind, code byte, body string) string {
	return "\x00\x29" + be(2, uint64(method)) + be(4, uint64(len(body)+8)) + "\x00\x01" + be(2, uint64(id)) + "\x01\x01" + string([]byte{kind, code}) + body
}

func thriftMessage(kind byte, id int, body string) string {
	return sized(4, "\x80\x01\x00"+string([]byte{kind})+sized(4, "S:m")+be(4, uint64(id))+body)
}

func krpcMessage(direction byte, id int, meta, body string) string {
	meta = "\x08" + string([]byte{direction}) + "\x10\x05\x18\x07\x20" + string(binary.AppendUvarint(nil, uint64(id))) + meta
	return "KR" + be(2, uint64(len(meta))) + be(4, uint64(len(meta)+len(body))) + meta + body
}

var rpcs = []rpc{
	{
		proto: Dubbo,
		call: func(id int, body string) string {
			return dubboMessage(0xc2, 0, id, "\x052.0.2\x01S\x050.0.0\x01m\x12Ljava/lang/String;S"+sized(2, body)+"H\x03sw8\x1f1-dHJhY2U=-c2VnbWVudA==-3-x-y-zZ")
		},
		ok:       func(id int, body string) string { return dubboMessage(0x02, 20, id, "\x91S"+sized(2, body)) },
		fail:     func(id int) string { return dubboMessage(0x02, 60, id, "\x07nothing") },
		once:     dubboMessage(0x82, 0, 99, "\x052.0.2\x01S\x050.0.0\x01m\x00HZ"),
		beat:     dubboMessage(0xe2, 0, 77, "N"),
		wantCall: "m S", wantFail: "60 server_error", exception: "SERVICE_NOT_FOUND: nothing", endpoint: "S/m",
	},
	{
		proto: SofaRPC,
		call: func(id int, body string) string {
			return bolt(1, 1, id, 0, "a.SofaRequest", sized(4, "sofa_head_target_service")+sized(4, "S")+sized(4, "sofa_head_method_name")+sized(4, "m")+
				sized(4, "new_rpc_trace_context")+sized(4, "tcid=trace&spid=0.1&pspid=0&"), body)
		},
		ok:       func(id int, body string) string { return bolt(0, 2, id, 0, "a.SofaResponse", "", body) },
		fail:     func(id int) string { return bolt(0, 2, id, 8, "a.SofaResponse", "", "") },
		once:     bolt(2, 1, 99, 0, "a.SofaRequest", sized(4, "sofa_head_target_service")+sized(4, "S")+sized(4, "sofa_head_method_name")+sized(4, "m"), ""),
		beat:     bolt(1, 0, 77, 0, "", "", ""),
		wantCall: "m S", wantFail: "8 client_error", exception: "CLIENT_SEND_ERROR", endpoint: "S/m",
	},
	{
		proto: BRPC,
		call: func(id int, body string) string {
			return brpcMessage("\x0a\x0c\x0a\x01S\x12\x01m\x20\x0a\x28\x0b\x30\x0c", id, body)
		},
		ok:       func(id int, body string) string { return brpcMessage("\x12\x02\x08\x00", id, body) },
		fail:     func(id int) string { return brpcMessage("\x12\x08\x08\xea\x07\x12\x03bad", id, "") },
		wantCall: "m S", wantFail: "1002 server_error", exception: "bad", endpoint: "S/m",
	},
	{
		proto: Tars,
		call: func(id int, body string) string {
			return tarsMessage("\x10\x01\x2c\x3c\x42" + be(4, uint64(id)) + "\x56\x01S\x66\x01m\x7d\x00\x02" + sized(4, body) + "\x8c\x98\x00\x01\x06\x0btraceparent\x16\x3700-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\xa8\x0c")
		},
		ok: func(id int, body string) string {
			return tarsMessage("\x10\x01\x2c\x32" + be(4, uint64(id)) + "\x4c\x5c\x6d\x00\x02" + sized(4, body) + "\x78\x0c")
		},
		fail: func(id int) string {
			return tarsMessage("\x10\x01\x2c\x32" + be(4, uint64(id)) + "\x4c\x50\xf4\x6d\x00\x0c\x78\x0c\x86\x03why")
		},
		once:     tarsMessage("\x10\x01\x20\x01\x3c\x40\x63\x56\x01S\x66\x01m\x7d\x00\x0c\x8c\x98\x0c\xa8\x0c"),
		wantCall: "m S", wantFail: "-12 client_error", exception: "CLIENTDECODEERR: why", endpoint: "S/m",
	},
	{
		proto:    SomeIP,
		call:     func(id int, body string) string { return someipMessage(0x5004, id, 0, 0, body) },
		ok:       func(id int, body string) string { return someipMessage(0x5004, id, 0x80, 0, body) },
		fail:     func(id int) string { return someipMessage(0x5004, id, 0x81, 3, "") },
		once:     someipMessage(0x5004, 99, 1, 0, "x"),
		beat:     "\xff\xff\x81\x00\x00\x00\x00\x08\x00\x00\x00\x01\x01\x01\x02\x00",
		wantCall: "Request 41", wantFail: "3 client_error", exception: "E_UNKNOWN_METHOD", endpoint: "20484",
	},
	{
		proto: Thrift,
		call:  func(id int, body string) string { return thriftMessage(1, id, "\x0b\x00\x01"+sized(4, body)+"\x00") },
		ok:    func(id int, body string) string { return thriftMessage(2, id, "\x0b\x00\x00"+sized(4, body)+"\x00") },
		fail: func(id int) string {
			return thriftMessage(3, id, "\x0b\x00\x01"+sized(4, "why")+"\x08\x00\x02\x00\x00\x00\x01\x00")
		},
		once:     thriftMessage(4, 99, "\x00"),
		wantCall: "m S", wantFail: "1 client_error", exception: "UNKNOWN_METHOD: why", endpoint: "S/m",
	},
	{
		proto: KRPC,
		call: func(id int, body string) string {
			return krpcMessage(1, id, "\x3a\x0c\x12\x02tr\x1a\x01p\x22\x03spa", body)
		},
		ok:       func(id int, body string) string { return krpcMessage(2, id, "", body) },
		fail:     func(id int) string { return krpcMessage(2, id, "\x30\x9a\xfc\xff\xff\xff\xff\xff\xff\xff\x01", "") },
		beat:     "KR\x00\x06\x00\x00\x00\x06\x08\x01\x10\x01\x18\x01",
		wantCall: "7 5", wantFail: "-486 server_error", exception: "", endpoint: "5/7",
	},
}

// eachRPC runs f for each protocol, with a connection of nobody's port.
func eachRPC(t *testing.T, f func(t *testing.T, k *talk, r *rpc)) {
	t.Helper()
	for i := range rpcs {
		r := &rpcs[i]
		t.Run(r.proto.String(), func(t *testing.T) { f(t, newTalk(t, Options{}), r) })
	}
}

func (r *rpc) session(result string) string { return "session " + r.wantCall + " > " + result }

// want0 is what a session with a successful response shows; SOFARPC and others have a code 0, Dubbo 20.
func (r *rpc) want0() string {
	if r.proto == Dubbo {
		return r.session("20 ok")
	}
	return r.session("0 ok")
}

func TestRPCPairing(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.client(r.call(1, "one"))
		e := r.ok(1, "first")
		k.server(e)
		x := k.one()
		if brief(&x) != r.want0() || x.Endpoint != r.endpoint || x.RequestID != 1 || x.EndNanos-x.StartNanos != 1e6 || x.ResponseException != "" {
			t.Errorf("%+v", x)
		}
		if x.RequestBytes != int64(len(r.call(1, "one"))) || x.ResponseBytes != int64(len(e)) {
			t.Errorf("%d and %d bytes", x.RequestBytes, x.ResponseBytes)
		}
		// Several in one segment, answered the other way round.
		k.client(r.call(2, "") + r.call(3, "x") + r.call(4, "y"))
		k.server(r.fail(4))
		x = k.one()
		if brief(&x) != r.session(r.wantFail) || x.RequestID != 4 || x.ResponseException != r.exception {
			t.Errorf("%+v", x)
		}
		k.server(r.ok(3, "") + r.ok(2, "z"))
		if got := k.rec.exchanges; len(got) != 2 || got[0].RequestID != 3 || got[1].RequestID != 2 {
			t.Errorf("%+v", got)
		}
		k.want(r.want0(), r.want0())
		if m := k.tr.Metrics(); m.ParseFailures+m.Unpaired+m.WrongSide+m.Resyncs != 0 || m.Pending != 0 || m.Requests != 4 || m.Responses != 4 {
			t.Errorf("%+v", m)
		}
	})
}

func TestRPCBytewise(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		for id := range 2 {
			for _, b := range []byte(r.call(id+1, "some text")) {
				k.client(string([]byte{b}))
			}
			for _, b := range []byte(r.ok(id+1, "some text")) {
				k.server(string([]byte{b}))
			}
		}
		k.want(r.want0(), r.want0())
		k.c.Close(k.time)
		if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs != 0 || m.Buffered != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestRPCTimeout(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.client(r.call(1, "one"))
		k.tr.Tick(k.time + int64(usualTimeout))
		k.want("request " + r.wantCall + " > -1 timeout")
		k.server(r.ok(1, "")) // too late
		if x := k.one(); x.Kind != KindResponse || x.Status != StatusOK || x.RequestID != 1 {
			t.Errorf("%+v", x)
		}
		k.client(r.call(2, "two"))
		k.c.End(k.time)
		k.want("request " + r.wantCall + " > -1 timeout")
	})
}

func TestRPCOneWay(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		if r.once == "" {
			t.Skip("there is no such thing")
		}
		k.client(r.once + r.call(1, ""))
		x := k.one()
		if x.Kind != KindRequest || x.Status != StatusUnknown || x.Endpoint != r.endpoint || x.RequestID != 99 {
			t.Errorf("%+v", x)
		}
		k.server(r.ok(1, ""))
		k.want(r.want0())
		if m := k.tr.Metrics(); m.Requests != 2 || m.Timeouts != 0 {
			t.Errorf("%+v", m)
		}
	})
}

// TestRPCMidStream begins in the middle of a connection, with a response or with the end of a message.
func TestRPCMidStream(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.send(Client, r.ok(7, "x")) // the caller has the sides the wrong way round
		if x := k.one(); x.Kind != KindResponse || x.Status != StatusOK || x.RequestID != 7 {
			t.Errorf("%+v", x)
		}
		k.seq[0], k.seq[1] = k.seq[1], k.seq[0] // now it has them right
		k.client(r.call(8, "y"))
		k.server(r.fail(8))
		k.want(r.session(r.wantFail))
		if m := k.tr.Metrics(); m.WrongSide != 0 || m.Unpaired != 1 {
			t.Errorf("%+v", m)
		}

		k = newTalk(t, Options{})
		k.client(r.call(1, strings.Repeat("x", 3000))[2000:])
		k.client(r.call(2, ""))
		k.server(r.ok(2, ""))
		k.want(r.want0())
	})
}

// TestRPCLong has bodies beyond what is kept, with holes in them.
func TestRPCLong(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		if r.proto == Dubbo { // its attachments come last; a string of Hessian has 64 KiB at most
			k = newTalk(t, Options{MaxConnBuffer: 1024})
		}
		long := strings.Repeat("x", 60000)
		parts := func(send func(string), p string) {
			for len(p) > 0 {
				n := min(1400, len(p))
				send(p[:n])
				p = p[n:]
			}
		}
		parts(k.client, r.call(1, long))
		parts(k.server, r.ok(1, long))
		x := k.one()
		if brief(&x) != r.want0() || x.RequestBytes != int64(len(r.call(1, long))) || x.ResponseBytes != int64(len(r.ok(1, long))) {
			t.Errorf("%+v", x)
		}
		k.client(r.call(2, ""))
		k.server(r.ok(2, ""))
		k.want(r.want0())

		call := r.call(3, long) // its middle goes by unseen
		k.client(call[:1500])
		k.skip(Client, len(call)-3000)
		k.client(call[len(call)-1500:])
		k.client(r.call(4, ""))
		k.time += 2e9
		k.tr.Tick(k.time)
		k.server(r.ok(3, "") + r.ok(4, ""))
		k.want(r.want0(), r.want0())
		if m := k.tr.Metrics(); m.Pending != 0 || m.Buffered != 0 {
			t.Errorf("%+v", m)
		}
	})
}

// TestRPCServerCalls lets the server call: the same number may be under way both ways.
func TestRPCServerCalls(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.client(r.call(1, "one"))
		k.server(r.call(1, "one"))
		k.client(r.ok(1, ""))
		x := k.one()
		if brief(&x) != r.want0() || !x.ServerInitiated || !strings.Contains(fmt.Sprint(x.Attributes), "{initiator server}") || x.EndNanos-x.StartNanos != 1e6 {
			t.Errorf("%+v", x)
		}
		k.server(r.ok(1, ""))
		if x := k.one(); x.ServerInitiated || x.EndNanos-x.StartNanos != 3e6 {
			t.Errorf("%+v", x)
		}
		k.client(r.ok(5, "")) // to a call of which nothing is known
		k.want()
		if m := k.tr.Metrics(); m.WrongSide != 1 || m.Pending != 0 {
			t.Errorf("%+v", m)
		}
	})
}

// TestRPCHeartbeats recognises a connection by what either side sends; the first call tells who is the client.
func TestRPCHeartbeats(t *testing.T) {
	for _, caller := range []Side{Client, Server} {
		eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
			if r.beat == "" {
				t.Skip("there is no such thing")
			}
			k.client(r.beat)
			k.server(r.beat)
			k.client(r.beat)
			k.want()
			if k.c.Proto != r.proto {
				t.Fatalf("taken for %s", k.c.Proto)
			}
			k.send(caller, r.call(1, ""))
			if caller == Server { // the handler turns the sides
				k.seq[0], k.seq[1] = k.seq[1], k.seq[0]
			}
			k.server(r.beat + r.ok(1, ""))
			x := k.one()
			if brief(&x) != r.want0() || x.ServerInitiated {
				t.Errorf("%+v", x)
			}
			if got := k.rec.lines[len(k.rec.lines)-4]; caller == Server && got != "identified "+r.proto.String()+" server=0" {
				t.Errorf("%q", k.rec.lines)
			}
		})
	}
}

func TestRPCTraceContext(t *testing.T) {
	want := map[Protocol]string{
		Dubbo: "trace segment-3 ", SofaRPC: "trace 0.1 0", BRPC: "a b c", Tars: "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 ", KRPC: "tr spa p",
	}
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.client(r.call(1, ""))
		k.server(r.ok(1, ""))
		x := k.one()
		if got := x.TraceID + " " + x.SpanID + " " + x.ParentSpanID; strings.TrimSpace(got) != strings.TrimSpace(want[r.proto]) {
			t.Errorf("%q", got)
		}
	})
}

// silent is a Handler that forgets all.
type silent struct{}

func (silent) Identified(*Conn, Protocol, Side)     {}
func (silent) Request(*Conn, int64, bool)           {}
func (silent) Response(*Conn, int64, Status, int64) {}
func (silent) Timeout(*Conn, int64)                 {}
func (silent) Exchange(*Conn, *Exchange)            {}

// TestRPCNoAllocation: a call and its response cost no memory but that of their ids, which will not come again.
func TestRPCNoAllocation(t *testing.T) {
	ids := map[Protocol]float64{Dubbo: 2, SofaRPC: 3, BRPC: 0, Tars: 2, KRPC: 3} // bRPC's here are of one character
	for i := range rpcs {
		r := &rpcs[i]
		tr := NewTracker(Options{}, silent{})
		c := tr.NewConn(transportTCP, 40000, 40001)
		call, ok := []byte(r.call(1, "some text")), []byte(r.ok(1, "some text"))
		var at [2]uint32
		talk := func() {
			c.Payload(Client, 1, at[0], call, len(call))
			c.Payload(Server, 2, at[1], ok, len(ok))
			at[0], at[1] = at[0]+uint32(len(call)), at[1]+uint32(len(ok))
		}
		talk()
		if got := testing.AllocsPerRun(100, talk); got > ids[r.proto] {
			t.Errorf("%s: %v allocations, want %v", r.proto, got, ids[r.proto])
		}
		if m := tr.Metrics(); m.Responses != 102 || m.Unpaired != 0 {
			t.Errorf("%s: %+v", r.proto, m)
		}
	}
}

// BenchmarkRPC is a call and its response.
func BenchmarkRPC(b *testing.B) {
	for i := range rpcs {
		r := &rpcs[i]
		b.Run(r.proto.String(), func(b *testing.B) {
			tr := NewTracker(Options{}, silent{})
			c := tr.NewConn(transportTCP, 40000, 40001)
			call, ok := []byte(r.call(1, "some text")), []byte(r.ok(1, "some text"))
			var at [2]uint32
			b.ReportAllocs()
			for b.Loop() {
				c.Payload(Client, 1, at[0], call, len(call))
				c.Payload(Server, 2, at[1], ok, len(ok))
				at[0], at[1] = at[0]+uint32(len(call)), at[1]+uint32(len(ok))
			}
		})
	}
}

// TestThriftWithoutNumbers: clients that leave the sequence id 0 are answered in order, by method.
func TestThriftWithoutNumbers(t *testing.T) {
	call := func(name string) string { return sized(4, "\x80\x01\x00\x01"+sized(4, "S:"+name)+be(4, 0)+"\x00") }
	reply := func(name, result string) string {
		return sized(4, "\x80\x01\x00\x02"+sized(4, name)+be(4, 0)+result)
	}
	const void, thrown = "\x00", "\x0c\x00\x01\x0b\x00\x01\x00\x00\x00\x02no\x00\x00"
	k := newTalk(t, Options{})
	k.client(call("a") + call("a") + call("b"))
	k.server(reply("a", void) + reply("a", thrown))
	k.server(reply("b", void))
	k.want("session a S > 0 ok", "session a S > -1 server_error", "session b S > 0 ok")

	k.client(call("a"))
	k.skip(Server, len(reply("a", thrown))) // it is lost
	k.client(call("a"))
	k.server(reply("a", void))
	k.time += 2e9
	k.tr.Tick(k.time)
	k.want("request a S > -1 unknown", "session a S > 0 ok")

	k.client(call("a"))
	k.server(reply("b", void)) // not to that
	k.want("response b  > 0 ok")
}

// TestRPCCut: of messages of which only the beginning was captured, nothing is paired that does not belong together.
func TestRPCCut(t *testing.T) {
	eachRPC(t, func(t *testing.T, k *talk, r *rpc) {
		k.client(r.call(1, "text"))
		k.server(r.ok(1, "text"))
		k.want(r.want0())
		cut := func(side Side, s string, n int) {
			k.time += 1e6
			k.c.Payload(side, k.time, k.seq[side], []byte(s[:min(n, len(s))]), len(s))
			k.seq[side] += uint32(len(s))
		}
		for n := 1; n < 48; n++ {
			id := 4 * n
			cut(Client, r.call(id, "text"), n)
			cut(Client, r.call(id+1, "text"), n)
			cut(Server, r.ok(id+1, "text"), n)
			cut(Server, r.ok(id, "text"), n)
			for _, x := range k.rec.exchanges {
				if x.Kind == KindSession && (x.RequestID != int64(id) || x.EndNanos-x.StartNanos != 3e6) && (x.RequestID != int64(id+1) || x.EndNanos-x.StartNanos != 1e6) {
					t.Errorf("%d bytes: %+v", n, x)
				}
			}
			k.rec.exchanges = nil
		}
		k.c.Close(k.time)
		if m := k.tr.Metrics(); m.Pending != 0 || m.Buffered != 0 {
			t.Errorf("%+v", m)
		}
	})
}

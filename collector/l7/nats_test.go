package l7

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	natsHello  = `INFO {"server_id":"NA","server_name":"n1","version":"2.10.7","go":"go1.21.5"}` + "\r\n"
	natsQuiet  = `CONNECT {"verbose":false,"lang":"go","name":"app","version":"1.25.0"}` + "\r\n"
	natsChatty = `CONNECT {"verbose":true}` + "\r\n"
)

func newNATS(t *testing.T, connect string) *talk {
	t.Helper()
	k := newTalk(t, Options{})
	k.c = k.tr.NewConn(transportTCP, 40000, 4222)
	k.server(natsHello)
	k.client(connect)
	k.want("session INFO n1 > -1 ok")
	return k
}

func TestNATSFields(t *testing.T) {
	k := newTalk(t, Options{})
	k.server(natsHello[:30])
	k.server(natsHello[30:])
	k.client(natsQuiet + "PING\r\n")
	if s := k.rec.lines[0]; s != "identified nats server=1" {
		t.Error(s)
	}
	want := Exchange{Kind: KindSession, Protocol: NATS, Version: "2.10.7", StartNanos: 1e6, EndNanos: 3e6, RequestType: "INFO", RequestDomain: "n1", RequestID: -1,
		RequestBytes: int64(len(natsHello)), ResponseBytes: int64(len(natsQuiet)), Status: StatusOK, ResponseCode: -1, AffectedRows: -1, ResponseResult: "CONNECT",
		ServerInitiated: true, RequestSeq: 5000, ResponseSeq: 0xffffffe0,
		Attributes: []Attribute{{"client_lang", "go"}, {"client_name", "app"}, {"client_version", "1.25.0"}, {"initiator", "server"}}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	k.server("PONG\r\n" + natsHello)
	k.want("session PING n1 > -1 ok", "request INFO n1 > -1 ok")
}

// TestNATSCalls: what is published with an inbox for the reply waits for it, on either side.
func TestNATSCalls(t *testing.T) {
	k := newNATS(t, natsQuiet)
	k.client("SUB _INBOX.a.* 1\r\nPUB time.us _INBOX.a.1 0\r\n\r\nPUB time.eu _INBOX.a.2 2\r\nhi\r\nPUB log 1\r\nx\r\n")
	k.server("MSG _INBOX.a.2 1 3\r\nten\r\nHMSG _INBOX.a.1 1 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\nMSG _INBOX.a.2 1 3\r\nten\r\n")
	k.want("request SUB n1_INBOX.a.* > -1 ok", "request PUB n1log > -1 ok", "session PUB n1time.eu > -1 ok", "session PUB n1time.us > 503 server_error", "request MSG n1_INBOX.a.2 > -1 ok")
	k.server("MSG svc.add 2 _INBOX.z.9 1\r\nx\r\n")
	k.client("PUB _INBOX.z.9 7\r\n\x00\x08\x01\x12\x02no\r\n")
	e := k.one()
	if brief(&e) != "session MSG n1svc.add > 1 server_error" || !e.ServerInitiated || e.ResponseException != "no" || e.Endpoint != "svc" {
		t.Errorf("%+v", e)
	}
	k.client("PUB slow _INBOX.a.3 0\r\n\r\n")
	k.tr.Tick(k.time + int64(5*time.Minute))
	k.want("request PUB n1slow > -1 timeout")
}

func TestNATSVerbose(t *testing.T) {
	k := newNATS(t, natsChatty)
	k.server("+OK\r\n")
	k.client("PING\r\nSUB a 1\r\nPUB a 1\r\nx\r\n")
	k.server("PONG\r\n+OK\r\n-ERR 'Permissions Violation for Publish to \"a\"'\r\nMSG a 1 1\r\nx\r\n")
	k.want("session PING n1 > -1 ok", "session SUB n1a > -1 ok", "session PUB n1a > -1 client_error", "request MSG n1a > -1 ok")
	k.server("-ERR 'Server Shutdown'\r\n")
	if e := k.one(); brief(&e) != "request -ERR n1 > -1 server_error" || e.ResponseException != "Server Shutdown" || !e.ServerInitiated {
		t.Errorf("%+v", e)
	}
	k.client("PUB a 1\r\n")
	k.skip(Client, 40) // confirmations cannot be told apart any more
	k.client("PUB b 1\r\nx\r\n")
	k.tr.Tick(k.time + int64(time.Minute))
	k.server("+OK\r\n+OK\r\n")
	k.want("request PUB n1a > -1 unknown", "request PUB n1b > -1 ok")
}

// TestNATSLong: a payload costs nothing however long it is.
func TestNATSLong(t *testing.T) {
	k := newNATS(t, natsQuiet)
	k.client("PUB big 1000000\r\n" + strings.Repeat("x", 500))
	if m := k.tr.Metrics(); m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
	k.skip(Client, 1000000-501)
	k.client("x\r\nPUB b 1\r\n")
	k.client("x\r\n")
	if e := k.rec.exchanges[0]; e.RequestBytes != 17+1000000+2 {
		t.Errorf("%+v", e)
	}
	k.want("request PUB n1big > -1 ok", "request PUB n1b > -1 ok")
}

func TestNATSTLS(t *testing.T) {
	k := newTalk(t, Options{Protocols: []Protocol{NATS}})
	k.server(strings.Replace(natsHello, "}", `,"tls_required":true}`, 1))
	k.client("\x16\x03\x01\x00\x05hello")
	k.want("request INFO n1 > -1 unknown")
	if m := k.tr.Metrics(); m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

// TestNATSMiddle: a connection is recognised by what only one side says.
func TestNATSMiddle(t *testing.T) {
	for _, first := range []string{"PING\r\n", "+OK\r\n", "UNSUB 1\r\n"} {
		k := newTalk(t, Options{Protocols: []Protocol{NATS}})
		k.client(first)
		k.client("PUB a 1\r\nx\r\n")
		k.want("request PUB a > -1 ok")
		k.server("SUB a 1\r\n")
		if m := k.tr.Metrics(); m.WrongSide > 1 {
			t.Errorf("%+v", m)
		}
	}
}

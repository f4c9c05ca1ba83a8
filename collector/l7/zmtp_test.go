package l7

import (
	"fmt"
	"strings"
	"testing"
)

// zmtpHi is a greeting of 3.1.
func zmtpHi(mechanism string) string {
	return "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01" + mechanism + strings.Repeat("\x00", 52-len(mechanism))
}

// zmtpCommand is a command.
func zmtpCommand(name, data string) string {
	return string([]byte{4, byte(1 + len(name) + len(data)), byte(len(name))}) + name + data
}

func zmtpSocket(kind string) string {
	return "\x0bSocket-Type\x00\x00\x00" + string([]byte{byte(len(kind))}) + kind
}

func newZMTP(t *testing.T, client, server string) *talk {
	t.Helper()
	k := newTalk(t, Options{})
	k.client(zmtpHi("NULL")[:10])
	k.server(zmtpHi("NULL")[:11])
	k.client(zmtpHi("NULL")[10:])
	k.server(zmtpHi("NULL")[11:])
	k.client(zmtpCommand("READY", zmtpSocket(client)))
	if client == "PUB" { // from here on the Conn calls it the server
		k.seq[Client], k.seq[Server] = k.seq[Server], k.seq[Client]
		k.client(zmtpCommand("READY", zmtpSocket(server)))
	} else {
		k.server(zmtpCommand("READY", zmtpSocket(server)))
	}
	k.want("request READY  > -1 ok", "request READY  > -1 ok")
	return k
}

func TestZMTPFields(t *testing.T) {
	k := newZMTP(t, "REQ", "REP")
	k.client("\x01\x00\x00\x02hi")
	k.server("\x01\x00")
	k.server("\x02\x00\x00\x00\x00\x00\x00\x10\x00" + strings.Repeat("x", 100))
	want := Exchange{Kind: KindSession, Protocol: ZMTP, Version: "3.1", StartNanos: 7e6, EndNanos: 8e6, RequestType: "MESSAGE", RequestID: -1, RequestBytes: 6,
		ResponseBytes: 4096 + 11, Status: StatusOK, ResponseCode: -1, AffectedRows: -1, RequestSeq: 64 + 27 - 0x20, ResponseSeq: 5000 + 64 + 27, Attributes: []Attribute{}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	k.skip(Server, 4096-100)
	k.client("\x00\x02yo" + zmtpCommand("PING", "\x00\x00"))
	k.server("\x00\x00")
	k.want("session MESSAGE  > -1 ok")
	k.client("\x00\x02yo")
	k.tr.Tick(k.time + k.tr.timeouts[ZMTP])
	k.want("request MESSAGE  > -1 timeout")
}

// TestZMTPRoles: who publishes or answers is the server, whoever has connected.
func TestZMTPRoles(t *testing.T) {
	k := newZMTP(t, "PUB", "SUB")
	if s := k.rec.lines[1]; s != "identified zmtp server=0" {
		t.Error(k.rec.lines)
	}
	k.client(zmtpCommand("SUBSCRIBE", "a."))
	k.server("\x01\x03a.b\x00\x01x\x00\x03a.c")
	k.want("request SUBSCRIBE a. > -1 ok", "request MESSAGE a.b > -1 ok", "request MESSAGE  > -1 ok")
}

func TestZMTPOld(t *testing.T) {
	k := newTalk(t, Options{})
	k.client("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x02\x00\x00")
	k.server("\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x01\x01\x00\x02id")
	k.client("\x00\x04\x01abc\x00\x04\x00abc")
	k.server("\x01\x03abc\x00\x01x")
	k.want("request SUBSCRIBE abc > -1 ok", "request CANCEL abc > -1 ok", "request MESSAGE abc > -1 ok")
}

func TestZMTPSecurity(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(zmtpHi("PLAIN"))
	k.server(zmtpHi("PLAIN"))
	k.client(zmtpCommand("HELLO", "\x01a\x01b"))
	k.server(zmtpCommand("ERROR", "\x03bad"))
	if e := k.one(); brief(&e) != "session HELLO  > -1 server_error" || e.ResponseException != "bad" || fmt.Sprint(e.Attributes) != "[{mechanism PLAIN}]" {
		t.Errorf("%+v", e)
	}
	k = newTalk(t, Options{})
	k.client(zmtpHi("CURVE"))
	k.server(zmtpHi("CURVE"))
	k.client(zmtpCommand("INITIATE", "secret"))
	k.server(zmtpCommand("READY", "secret"))
	k.client(zmtpCommand("MESSAGE", "secret"))
	k.client("\x00\x01x")
	k.want("session INITIATE  > -1 ok")
}

// TestZMTPHole: what is answered behind lost bytes is nobody's answer.
func TestZMTPHole(t *testing.T) {
	k := newZMTP(t, "DEALER", "REP")
	k.client("\x00\x01a\x00\x01b")
	k.skip(Server, 3)
	k.server("\x00\x01B")
	k.tr.Tick(k.time + 2e9)
	k.want("request MESSAGE  > -1 unknown", "request MESSAGE  > -1 unknown", "response MESSAGE  > -1 ok")
	k.client("\x00\x01c")
	k.server("\x00\x01C")
	k.want("session MESSAGE  > -1 ok")
}

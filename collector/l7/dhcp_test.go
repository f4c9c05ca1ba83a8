package l7

import (
	"fmt"
	"strings"
	"testing"
)

// dhcpMessage makes a message for IPv4.
func dhcpMessage(op byte, id uint64, client, given, options string) string {
	address := func(a string) string { return (a + "\x00\x00\x00\x00")[:4] }
	return string([]byte{op, 1, 6, 0}) + be(4, id) + be(4, 0) + address(client) + address(given) + be(4, 0) + be(4, 0) + "\x02\x00\x00\x00\x00\x01" +
		strings.Repeat("\x00", 202) + "\x63\x82\x53\x63" + options + "\xff"
}

func TestDHCP(t *testing.T) {
	const me, offered = "\x0a\x00\x00\x05", "\x36\x04\x0a\x00\x00\x01\x33\x04\x00\x00\x0e\x10"
	k := newDgrams(t, transportUDP, 68, 67) // asking all: answers come on another connection
	k.send(Client, dhcpMessage(1, 1, "", "", "\x35\x01\x01\x0c\x03web\x32\x04"+me+"\x3c\x04udhc"))
	k.send(Client, dhcpMessage(1, 1, "", "", "\x35\x01\x01\x0c\x03web\x32\x04"+me+"\x3c\x04udhc"))
	k.tr.Tick(k.time + int64(shortTimeout))
	x := k.one()
	if brief(&x) != "request DISCOVER web10.0.0.5 > -1 unknown" || x.RequestID != 1 || x.Endpoint != "DISCOVER" || x.Version != "4" || x.RequestBytes != 261 ||
		fmt.Sprint(x.Attributes) != "[{dhcp_client 02:00:00:00:00:01} {dhcp_vendor udhc}]" {
		t.Errorf("%+v", x)
	}
	if m := k.tr.Metrics(); m.Duplicates != 1 || m.Timeouts != 0 {
		t.Errorf("%+v", m)
	}

	k = newDgrams(t, transportUDP, 67, 68) // the other connection, seen from the server
	k.send(Client, dhcpMessage(2, 1, "", me, "\x35\x01\x02"+offered))
	x = k.one()
	if brief(&x) != "response   > -1 ok" || x.ResponseResult != "OFFER 10.0.0.5 lease=3600s server=10.0.0.1" || x.RequestID != 1 || k.rec.lines[0] != "identified dhcp server=0" {
		t.Errorf("%+v %q", x, k.rec.lines)
	}

	k = newDgrams(t, transportUDP, 68, 67) // a renewal
	k.send(Client, dhcpMessage(1, 2, me, "", "\x35\x01\x03"))
	k.send(Server, dhcpMessage(2, 2, me, me, "\x35\x01\x05"+offered))
	if x = k.one(); brief(&x) != "session REQUEST 10.0.0.5 > -1 ok" || x.ResponseResult != "ACK 10.0.0.5 lease=3600s server=10.0.0.1" {
		t.Errorf("%+v", x)
	}
	k.send(Client, dhcpMessage(1, 3, me, "", "\x35\x01\x03"))
	k.send(Server, dhcpMessage(2, 3, "", "", "\x35\x01\x06\x38\x05wrong"))
	if x = k.one(); brief(&x) != "session REQUEST 10.0.0.5 > -1 client_error" || x.ResponseException != "NAK: wrong" || x.ResponseResult != "NAK" {
		t.Errorf("%+v", x)
	}
	k.send(Client, dhcpMessage(1, 4, me, "", "\x35\x01\x07"))
	if x = k.one(); brief(&x) != "request RELEASE 10.0.0.5 > -1 unknown" {
		t.Errorf("%+v", x)
	}
	k.send(Server, dhcpMessage(2, 5, "", "", "\x35\x01\x09"))
	if x = k.one(); x.RequestType != "FORCERENEW" || !x.ServerInitiated || x.Kind != KindRequest {
		t.Errorf("%+v", x)
	}
	k.send(Client, dhcpMessage(1, 6, me, "", "\x35\x01\x03"))
	k.tr.Tick(k.time + int64(shortTimeout))
	if x = k.one(); x.Status != StatusTimeout {
		t.Errorf("%+v", x)
	}
}

// TestDHCPElsewhere: what was asked of all is answered on other connections.
func TestDHCPElsewhere(t *testing.T) {
	const me, offered = "\x0a\x00\x00\x05", "\x36\x04\x0a\x00\x00\x01\x33\x04\x00\x00\x0e\x10"
	k := newDgrams(t, transportUDP, 68, 67)
	all, one := k.c, k.tr.NewConn(transportUDP, 67, 68)
	other := dhcpMessage(1, 1, "", "", "\x35\x01\x01")
	k.send(Client, other[:33]+"\x02"+other[34:]) // another client with the same number
	k.send(Client, dhcpMessage(1, 2, "", "", "\x35\x01\x01"))
	k.c = one
	k.send(Client, dhcpMessage(2, 2, "", me, "\x35\x01\x02"+offered)) // the caller takes the server for a client
	if x := k.one(); brief(&x) != "session DISCOVER  > -1 ok" || x.ResponseResult != "OFFER 10.0.0.5 lease=3600s server=10.0.0.1" || x.RequestID != 2 {
		t.Errorf("%+v", x)
	}
	k.send(Server, dhcpMessage(2, 2, "", me, "\x35\x01\x05"+offered)) // an acknowledgement of what nobody asked for
	k.send(Server, dhcpMessage(2, 1, "", me, "\x35\x01\x02"+offered)) // an offer to neither
	if got := k.rec.briefs(); got != "response   > -1 ok\nresponse   > -1 ok" {
		t.Errorf("%s", got)
	}
	all.Close(k.time)
	if x := k.one(); brief(&x) != "request DISCOVER  > -1 unknown" || x.RequestID != 1 {
		t.Errorf("%+v", x)
	}
	if m := k.tr.Metrics(); m.Pending != 0 || m.Unpaired != 2 || m.WrongSide != 0 {
		t.Errorf("%+v", m)
	}
}

func TestDHCP6(t *testing.T) {
	option := func(code uint64, v string) string { return be(2, code) + sized(2, v) }
	me := strings.Repeat("\x00", 15) + "\x07"
	ia := option(3, "123412341234"+option(5, "\xfd"+me[1:]+be(4, 0)+be(4, 60)))
	k := newDgrams(t, transportUDP, 546, 547)
	k.send(Client, "\x03\x00\x00\x09"+option(1, "\x00\x03")+option(39, "\x00\x03web\x00")+ia)
	k.send(Server, "\x07\x00\x00\x09"+option(1, "\x00\x03")+option(2, "srv")+ia)
	x := k.one()
	if brief(&x) != "session REQUEST webfd00::7 > -1 ok" || x.ResponseResult != "REPLY fd00::7 lease=60s" || x.Version != "6" || fmt.Sprint(x.Attributes) != "[{dhcp_client 00:03}]" {
		t.Errorf("%+v", x)
	}
	k.send(Client, "\x05\x00\x00\x0a"+option(1, "\x00\x03"))
	k.send(Server, "\x07\x00\x00\x0a"+option(2, "srv")+option(13, "\x00\x03gone"))
	if x = k.one(); brief(&x) != "session RENEW  > 3 client_error" || x.ResponseException != "NoBinding: gone" {
		t.Errorf("%+v", x)
	}
	k.send(Client, "\x01\x00\x00\x0b"+option(1, "\x00\x03"))
	k.send(Server, "\x02\x00\x00\x0b"+option(2, "srv")+option(13, "\x00\x02none"))
	if x = k.one(); brief(&x) != "session SOLICIT  > 2 server_error" {
		t.Errorf("%+v", x)
	}
	k.send(Client, "\x01\x00\x00\x0c"+option(1, "\x00\x03"))
	k.c.End(k.time)
	if x = k.one(); x.Status != StatusUnknown {
		t.Errorf("%+v", x)
	}
}

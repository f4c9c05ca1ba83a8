package l7

import (
	"fmt"
	"strings"
	"testing"
)

// ntpMessage makes a message of version 4.
func ntpMessage(mode, leap, stratum byte, reference string, origin, transmit uint64) string {
	return string([]byte{leap<<6 | 4<<3 | mode, stratum}) + strings.Repeat("\x00", 10) + (reference + "\x00\x00\x00\x00")[:4] + be(8, 1) + be(8, origin) + be(8, 2) + be(8, transmit)
}

func TestNTP(t *testing.T) {
	for _, c := range []struct {
		name, answer, brief, exception, attributes string
	}{
		{"ok", ntpMessage(4, 0, 2, "\x0a\x00\x00\x01", 5, 6), "session client  > -1 ok", "", "[{ntp_reference 10.0.0.1} {ntp_stratum 2}]"},
		{"clock", ntpMessage(4, 0, 1, "GPS", 5, 6), "session client  > -1 ok", "", "[{ntp_reference GPS} {ntp_stratum 1}]"},
		{"kiss", ntpMessage(4, 3, 0, "RATE", 5, 6), "session client  > -1 client_error", "RATE", "[{ntp_reference RATE} {ntp_stratum 0}]"},
		{"starting", ntpMessage(4, 3, 0, "INIT", 5, 6), "session client  > -1 server_error", "INIT", "[{ntp_reference INIT} {ntp_stratum 0}]"},
		{"unsynchronised", ntpMessage(4, 3, 16, "", 5, 6), "session client  > -1 server_error", "unsynchronised", "[{ntp_stratum 16}]"},
	} {
		k := newDgrams(t, transportUDP, 123, 123)
		k.send(Client, ntpMessage(3, 0, 0, "", 0, 4)) // it is lost
		k.send(Client, ntpMessage(3, 0, 0, "", 0, 5))
		k.send(Server, c.answer)
		x := k.one()
		if brief(&x) != c.brief || x.ResponseException != c.exception || fmt.Sprint(x.Attributes) != c.attributes || x.Version != "4" || x.Endpoint != "client" ||
			x.EndNanos-x.StartNanos != 1e6 || x.RequestBytes != 48 || x.ResponseBytes != 48 {
			t.Errorf("%s: %+v", c.name, x)
		}
		k.tr.Tick(k.time + int64(shortTimeout))
		if x := k.one(); x.Status != StatusTimeout {
			t.Errorf("%s: %+v", c.name, x)
		}
	}
}

func TestNTPOthers(t *testing.T) {
	k := newDgrams(t, transportUDP, 40000, 123)
	k.send(Client, "\x16\x02\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00")
	k.send(Server, "\x16\xa2\x00\x07\x00\x00\x00\x00\x00\x00\x00\x04abcd")
	k.send(Server, "\x16\x82\x00\x07\x00\x00\x00\x00\x00\x04\x00\x04efgh")
	if x := k.one(); brief(&x) != "session readvar  > -1 ok" || x.RequestID != 7 || x.Version != "2" {
		t.Errorf("%+v", x)
	}
	if m := k.tr.Metrics(); m.Duplicates != 1 || m.Unpaired != 0 {
		t.Errorf("%+v", m)
	}
	k.send(Client, "\x16\x01\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00")
	k.send(Server, "\x16\xc1\x00\x08\x05\x00\x00\x00\x00\x00\x00\x00")
	if x := k.one(); brief(&x) != "session readstat  > 5 server_error" {
		t.Errorf("%+v", x)
	}

	k = newDgrams(t, transportUDP, 123, 123) // peers
	k.send(Client, ntpMessage(1, 0, 3, "", 0, 10))
	k.send(Server, ntpMessage(1, 0, 2, "", 10, 11))
	k.send(Client, ntpMessage(1, 0, 3, "", 11, 12))
	k.send(Server, ntpMessage(2, 0, 2, "", 12, 13))
	if got := k.rec.briefs(); got != "session symmetric_active  > -1 ok\nsession symmetric_active  > -1 ok" {
		t.Errorf("%s", got)
	}

	k = newDgrams(t, transportUDP, 123, 123)
	k.send(Client, ntpMessage(5, 0, 2, "", 0, 10)) // a server's broadcast
	if x := k.one(); x.Kind != KindRequest || x.Status != StatusUnknown || x.RequestType != "broadcast" || !x.ServerInitiated || k.rec.lines[0] != "identified ntp server=0" {
		t.Errorf("%+v %q", x, k.rec.lines)
	}

	k = newDgrams(t, transportUDP, 40000, 40001) // not on its port
	k.send(Client, ntpMessage(3, 0, 0, "", 0, 5))
	if k.c.Proto == NTP {
		t.Error("taken for NTP")
	}
}

package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// message makes a message for IPv4 with options.
func message(op byte, id uint32, client, given, options string) string {
	p := make([]byte, minLen4)
	p[0], p[1], p[2] = op, 1, 6
	binary.BigEndian.PutUint32(p[4:], id)
	copy(p[12:], client)
	copy(p[16:], given)
	copy(p[28:], "\x02\x00\x00\x00\x00\x01")
	binary.BigEndian.PutUint32(p[236:], cookie)
	return string(p) + options
}

func option6(code int, v string) string {
	return string(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(code)), uint16(len(v)))) + v
}

func addr(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return "-"
	}
	return a.String()
}

func brief(m *Message) string {
	return fmt.Sprintf("%s %x %s client %s asked %s given %s for %d, %s %s %d %s", m.Name(), m.ID, m.Hostname, addr(m.Client), addr(m.Asked), addr(m.Given), m.Lease, m.Vendor, m.Hardware, m.Status, m.Text)
}

var (
	discover = message(1, 0xdeadbeef, "", "", "\x35\x01\x01\x00\x0c\x03web\x32\x04\x0a\x00\x00\x05\x3c\x04udhc\xff\x00\x00")
	ack      = message(2, 0xdeadbeef, "", "\x0a\x00\x00\x05", "\x35\x01\x05\x36\x04\x0a\x00\x00\x01\x33\x04\x00\x00\x0e\x10\xff")
	solicit  = "\x01\x12\x34\x56" + option6(1, "duid1") + option6(39, "\x00\x03web\x03lan\x00") + option6(16, "\x00\x00\x00\x01\x00\x01x") +
		option6(3, "123412341234"+option6(5, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x0e\x10"))
	reply = "\x07\x12\x34\x56" + option6(1, "duid1") + option6(2, "srv") +
		option6(3, "123412341234"+option6(5, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x0e\x10"))
	refused = "\x07\x12\x34\x57" + option6(2, "srv") + option6(25, "123412341234"+option6(13, "\x00\x06none"))
	prefix  = "\x02\x12\x34\x58" + option6(2, "srv") + option6(25, "123412341234"+option6(26, "\x00\x00\x00\x00\x00\x00\x0e\x10\x38\x20\x01\x0d\xb8\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	relayed = "\x0c\x00" + string(make([]byte, 32)) + option6(18, "eth0") + option6(9, solicit)
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p string
		v6      bool
		want    string
		verdict wire.Verdict
	}{
		{"discover", discover, false, "DISCOVER deadbeef web client - asked 10.0.0.5 given - for 0, udhc \x02\x00\x00\x00\x00\x01 0 ", wire.Request},
		{"ack", ack, false, "ACK deadbeef  client - asked - given 10.0.0.5 for 3600,  \x02\x00\x00\x00\x00\x01 0 ", wire.Response},
		{"nak", message(2, 1, "", "", "\x35\x01\x06\x38\x05wrong\xff"), false, "NAK 1  client - asked - given - for 0,  \x02\x00\x00\x00\x00\x01 0 wrong", wire.Response},
		{"renewal", message(1, 1, "\x0a\x00\x00\x05", "", "\x35\x01\x03"), false, "REQUEST 1  client 10.0.0.5 asked - given - for 0,  \x02\x00\x00\x00\x00\x01 0 ", wire.Request},
		{"cut option", message(1, 1, "", "", "\x35\x01\x01\x0c\x09web"), false, "DISCOVER 1  client - asked - given - for 0,  \x02\x00\x00\x00\x00\x01 0 ", wire.Request},
		{"solicit", solicit, true, "SOLICIT 123456 web client - asked 2001:db8::7 given - for 0, x duid1 0 ", wire.Request},
		{"reply", reply, true, "REPLY 123456  client - asked - given 2001:db8::7 for 3600,  duid1 0 ", wire.Response},
		{"refused", refused, true, "REPLY 123457  client - asked - given - for 0,   6 none", wire.Response},
		{"prefix", prefix, true, "ADVERTISE 123458  client - asked - given 2001:db8:1:: for 3600,   0 ", wire.Response},
		{"relayed", relayed, true, "SOLICIT 123456 web client - asked 2001:db8::7 given - for 0, x duid1 0 ", wire.Request},
		{"information", "\x0b\x00\x00\x01" + option6(6, "\x00\x17"), true, "INFORMATION-REQUEST 1  client - asked - given - for 0,   0 ", wire.Request},
	} {
		var m Message
		if err := Parse([]byte(c.p), c.v6, &m); err != nil || brief(&m) != c.want || m.Relayed != (c.name == "relayed") {
			t.Errorf("%s: %v, %q", c.name, err, brief(&m))
		}
		if v := Check([]byte(c.p), c.v6); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
	}
}

func TestMalformed(t *testing.T) {
	chain := relayed
	for range maxRelay + 1 {
		chain = "\x0c\x00" + string(make([]byte, 32)) + option6(9, chain)
	}
	for name, p := range map[string]string{
		"nothing": "", "bootp": message(1, 1, "", "", ""), "cookie": discover[:236] + "1234" + discover[240:], "op": "\x03" + discover[1:], "hardware": discover[:2] + "\x11" + discover[3:],
		"reply of a client": message(2, 1, "", "", "\x35\x01\x01"), "request of a server": message(1, 1, "", "", "\x35\x01\x02"), "type": message(1, 1, "", "", "\x35\x01\x63"),
	} {
		if err := Parse([]byte(p), false, &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, p := range map[string]string{
		"nothing": "", "type": "\x0e\x00\x00\x01", "no id": "\x01\x00\x00\x01", "cut": solicit[:len(solicit)-1], "relay of nothing": "\x0c\x00" + string(make([]byte, 32)), "short relay": "\x0c\x00", "chain": chain,
	} {
		if v := Check([]byte(p), true); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
	if StatusName(6) != "NoPrefixAvail" || StatusName(99) != "" || (&Message{Type: 99}).Name() != "" {
		t.Error("names")
	}
}

func TestNoAllocation(t *testing.T) {
	p, q := []byte(discover), []byte(relayed)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if Parse(p, false, &m) != nil || Parse(q, true, &m) != nil {
			t.Fatal("not read")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{discover, ack} {
		f.Add([]byte(p), false)
	}
	for _, p := range []string{solicit, reply, refused, prefix, relayed} {
		f.Add([]byte(p), true)
	}
	f.Fuzz(func(t *testing.T, p []byte, v6 bool) {
		var m Message
		if Parse(p, v6, &m) == nil && m.Name() == "" {
			t.Fatal("a message of no type")
		}
	})
}

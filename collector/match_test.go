package collector

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

func TestMatcher(t *testing.T) {
	at := func(secs int64, change func(ip []byte)) *capture.Frame {
		d := datagram(3)
		if change != nil {
			change(d[14:])
		}
		return &capture.Frame{Data: d, TimeNanos: secs * 1e9, WireLen: len(d), Link: packet.LinkEthernet}
	}
	key := func(from, to int64) FlowKey {
		return FlowKey{"udp", netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.255.255.1"), 40003, 9999, from * 1e9, to * 1e9}
	}
	m := NewMatcher()
	if m.Add(FlowKey{Protocol: "smoke"}) {
		t.Error("there is no such protocol")
	}
	for _, k := range []FlowKey{key(100, 160), key(160, 200), key(400, 400), key(900, 950)} {
		if !m.Add(k) {
			t.Fatal(k)
		}
	}
	if found, all := m.Found(); found != 0 || all != 3 {
		t.Errorf("%d of %d", found, all)
	}
	swap := func(ip []byte) {
		var old [8]byte
		copy(old[:], ip[12:20])
		copy(ip[12:], old[4:])
		copy(ip[16:], old[:4])
		a, b := binary.BigEndian.Uint16(ip[20:]), binary.BigEndian.Uint16(ip[22:])
		binary.BigEndian.PutUint16(ip[20:], b)
		binary.BigEndian.PutUint16(ip[22:], a)
	}
	for _, c := range []struct {
		name   string
		frame  *capture.Frame
		expect bool
	}{
		{"before", at(99, nil), false}, {"first", at(100, nil), true}, {"of the second row", at(161, nil), true}, {"last", at(200, nil), true},
		{"between two flows", at(300, nil), false}, {"of the second flow", at(400, nil), true}, {"after", at(999, nil), false},
		{"other direction", at(150, swap), true},
		{"another port", at(150, func(ip []byte) { ip[21]++ }), false},
		{"another address", at(150, func(ip []byte) { ip[15]++ }), false},
		{"another protocol", at(150, func(ip []byte) { ip[9] = 47 }), false},
		{"a later fragment", at(150, func(ip []byte) { ip[7] = 10 }), true},
		{"a later fragment, late", at(800, func(ip []byte) { ip[7] = 10 }), false},
		{"no packet", &capture.Frame{Data: []byte{1, 2}, WireLen: 2, Link: packet.LinkEthernet}, false},
	} {
		if m.Match(c.frame) != c.expect {
			t.Errorf("%s: match is %v", c.name, !c.expect)
		}
	}
	if found, all := m.Found(); found != 2 || all != 3 {
		t.Errorf("%d of %d", found, all)
	}
	if from, to := m.Span(); from != 100e9-marginNanos || to != 950e9+marginNanos {
		t.Errorf("from %d to %d", from, to)
	}
	ping := FlowKey{Protocol: "icmp", ClientIP: netip.MustParseAddr("10.0.0.0"), ServerIP: netip.MustParseAddr("10.255.255.1"), ClientPort: 7, EndNanos: 1e9}
	if !m.Add(ping) || !m.Match(at(1, func(ip []byte) { ip[9], ip[20], ip[21] = 1, 8, 0 })) {
		t.Error("a ping is not found")
	}
}

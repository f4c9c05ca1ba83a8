package mqtt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	connect5 = "\x10\x3e\x00\x04MQTT\x05\xc6\x00\x0a\x05\x11\x00\x00\x00\x0a\x00\x06reader\x05\x18\x00\x00\x00\x00\x00\x04will\x00\x03bye\x00\x03app\x00\x06secret"
	connect4 = "\x10\x1a\x00\x04MQTT\x04\x02\x00\n\x00\x0emqttx_eaf9a0c9"
	connect3 = "\x10\x11\x00\x06MQIsdp\x03\x02\x00\n\x00\x03old"
	publish1 = "\x32\x0d\x00\x05bench\x00\x02data"
	subThree = "\x82\x2f\x30w\x00\x07yunshan\x01\x00\x0edeepflow-agent\x01\x00\x0fdeepflow-server\x01"
)

// fixed puts a fixed header before a body.
func fixed(first byte, body string) string { return string([]byte{first, byte(len(body))}) + body }

func describe(m *Packet) string {
	s := fmt.Sprintf("%s size=%d id=%d code=%d", m.Type, m.Size, m.ID, m.Code)
	for _, f := range []struct {
		name string
		v    []byte
	}{{"client", m.ClientID}, {"user", m.User}, {"will", m.WillTopic}, {"topic", m.Topic}} {
		if len(f.v) > 0 {
			s += fmt.Sprintf(" %s=%s", f.name, f.v)
		}
	}
	if m.Level > 0 {
		s += fmt.Sprintf(" level=%d", m.Level)
	}
	if m.Type == Publish {
		s += fmt.Sprintf(" qos=%d dup=%v retain=%v", m.QoS, m.Dup, m.Retain)
	}
	m.Topics(func(t []byte) { s += " " + string(t) })
	var p Property
	for ps := m.Properties(); ps.Next(&p); {
		s += fmt.Sprintf(" [%#x %s %s %d]", p.ID, p.Key, p.Value, p.Number)
	}
	return s
}

func TestParse(t *testing.T) {
	user := "\x26\x00\x01k\x00\x01v"
	connect5 := fixed(0x10, connect5[2:])
	for _, c := range []struct {
		in    string
		level uint8
		want  string
	}{
		{connect4, 0, "CONNECT size=28 id=0 code=-1 client=mqttx_eaf9a0c9 level=4"},
		{connect3, 0, "CONNECT size=19 id=0 code=-1 client=old level=3"},
		{connect5, 0, fmt.Sprintf("CONNECT size=%d id=0 code=-1 client=reader user=app will=will level=5 [0x11   10]", len(connect5))},
		{"\x10\x0d\x00\x04MQTT\x84\x02\x00\n\x00\x01b", 0, "CONNECT size=15 id=0 code=-1 client=b level=4"},
		{" \x02\x00\x05", 0, "CONNACK size=4 id=0 code=5"},
		{" \x03\x00\x87\x00", 0, "CONNACK size=5 id=0 code=135 level=5"},
		{publish1, 4, "PUBLISH size=15 id=2 code=-1 topic=bench qos=1 dup=false retain=false"},
		{publish1, 0, "PUBLISH size=15 id=2 code=-1 topic=bench qos=1 dup=false retain=false"},
		{fixed(0x3d, "\x00\x01a\x00\x07\x07"+user+"xyz"), 5, "PUBLISH size=18 id=7 code=-1 topic=a qos=2 dup=true retain=true [0x26 k v 0]"},
		{fixed(0x30, "\x00\x01a"), 4, "PUBLISH size=5 id=0 code=-1 topic=a qos=0 dup=false retain=false"},
		{"@\x02\x00\x02", 0, "PUBACK size=4 id=2 code=-1"},
		{fixed(0x40, "\x00\x02\x97"), 0, "PUBACK size=5 id=2 code=151 level=5"},
		{fixed(0x40, "\x00\x02\x87\x06\x1f\x00\x03why"), 5, "PUBACK size=12 id=2 code=135 level=5 [0x1f  why 0]"},
		{"b\x020y", 0, "PUBREL size=4 id=12409 code=-1"},
		{subThree, 0, "SUBSCRIBE size=49 id=12407 code=-1 yunshan deepflow-agent deepflow-server"},
		{fixed(0x82, "\x00\x01\x00\x00\x03a/b\x01"), 0, "SUBSCRIBE size=11 id=1 code=-1 level=5 a/b"},
		{fixed(0x82, "\x00\x01\x02\x0b\x05\x00\x03a/b\x2d"), 5, "SUBSCRIBE size=13 id=1 code=-1 level=5 a/b [0xb   5]"},
		{"\x90\x050w\x01\x80\x01", 4, "SUBACK size=7 id=12407 code=128"},
		{fixed(0x90, "\x00\x01\x00\x02\x87\x8f"), 5, "SUBACK size=8 id=1 code=135"},
		{"\xa2\x0d0v\x00\x09testtopic", 4, "UNSUBSCRIBE size=15 id=12406 code=-1 testtopic"},
		{"\xb0\x020v", 4, "UNSUBACK size=4 id=12406 code=-1"},
		{"\xc0\x00", 0, "PINGREQ size=2 id=0 code=-1"},
		{"\xd0\x00", 0, "PINGRESP size=2 id=0 code=-1"},
		{"\xe0\x00", 0, "DISCONNECT size=2 id=0 code=-1"},
		{"\xe0\x01\x8b", 0, "DISCONNECT size=3 id=0 code=139 level=5"},
		{fixed(0xf0, "\x18\x00"), 5, "AUTH size=4 id=0 code=24 level=5"},
		// Cut.
		{publish1[:11], 4, "PUBLISH size=15 id=2 code=-1 topic=bench qos=1 dup=false retain=false"},
		{publish1[:10], 4, ErrShort.Error()}, {publish1[:1], 4, ErrShort.Error()}, {"\x32\xff\xff", 4, ErrShort.Error()},
		{fixed(0x3d, "\x00\x01a\x00\x07\x07"+user)[:12], 5, ErrShort.Error()},
		{connect4[:20], 0, "CONNECT size=28 id=0 code=-1 client=mqttx_ level=4"},
		{subThree[:20], 4, "SUBSCRIBE size=49 id=12407 code=-1 yunshan deep"},
		// Malformed.
		{"\x00\x00", 0, ErrMalformed.Error()}, {"\x36\x05\x00\x01a\x00\x01", 0, ErrMalformed.Error()}, {"\x32\xff\xff\xff\xff\x01", 0, ErrMalformed.Error()},
		{"\x32\x80\x00", 0, ErrMalformed.Error()}, {"@\x01\x00", 0, ErrMalformed.Error()}, {"A\x02\x00\x02", 0, ErrMalformed.Error()},
		{strings.Replace(connect4, "MQTT", "MQTX", 1), 0, ErrMalformed.Error()}, {fixed(0x32, "\x00\x01a\x00\x00"), 4, ErrMalformed.Error()},
		{fixed(0x30, "\x00\x09a"), 4, ErrMalformed.Error()}, {fixed(0x30, "\x00\x01a\x07\x26"), 5, ErrMalformed.Error()},
	} {
		var m Packet
		n, err := Parse([]byte(c.in), c.level, false, &m)
		got := describe(&m)
		if err != nil {
			got = err.Error()
		} else if n != m.Size {
			t.Errorf("%q: n=%d", c.in, n)
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	var m Packet
	if n, err := Parse([]byte(publish1[:8]), 4, true, &m); n != 15 || err != nil || string(m.Topic) != "benc" {
		t.Errorf("cut: %d %v %s", n, err, describe(&m))
	}
}

func TestReason(t *testing.T) {
	for _, c := range []struct {
		t      Type
		code   int
		want   string
		server bool
	}{
		{Connack, 0, "", false}, {Connack, 3, "server unavailable", true}, {Connack, 5, "not authorized", false}, {Suback, 2, "", false},
		{Suback, 0x80, "unspecified error", true}, {Connack, 0x88, "server unavailable", true}, {Puback, 0x10, "", false},
		{Puback, 0x87, "not authorized", false}, {Disconnect, 0xff, "code 255", false}, {Suback, 3, "", false}, {Connack, -1, "", false},
	} {
		if got := Reason(c.t, c.code); got != c.want || ServerFault(c.t, c.code) != c.server {
			t.Errorf("%s %d: %q", c.t, c.code, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		in             string
		strict, hinted wire.Verdict
	}{
		{connect4, wire.Request, wire.Request}, {connect3, wire.Request, wire.Request}, {connect4[:9], wire.Maybe, wire.Maybe},
		{connect4[:12], wire.Request, wire.Request}, {"\x10", wire.Maybe, wire.Maybe}, {"", wire.Maybe, wire.Maybe},
		{"\x10\x05hello", wire.No, wire.No}, {strings.Replace(connect4, "\x04\x02", "\x07\x02", 1), wire.No, wire.No},
		{publish1, wire.No, wire.Either}, {publish1 + publish1[:9], wire.No, wire.Either}, {publish1 + "GET /", wire.No, wire.No},
		{publish1[:2], wire.No, wire.Maybe},
		{subThree, wire.No, wire.Request}, {publish1 + subThree, wire.No, wire.Request},
		{" \x02\x00\x00", wire.No, wire.Response}, {"\x90\x050w\x01\x80\x01", wire.No, wire.Response}, {"\xd0\x00\x40\x02\x00\x01", wire.No, wire.Response},
		{"\xc0\x00", wire.No, wire.Request}, {"\xc0\x01x", wire.No, wire.No}, {"@\x02\x00\x02", wire.No, wire.Either},
		{fixed(0x30, "\x00\x03a/#"), wire.No, wire.No}, {fixed(0x30, "\x00\x00"), wire.No, wire.No}, {fixed(0x30, "\x00\x03a\xff\x00"), wire.No, wire.No},
		{"GET / HTTP/1.1\r\n", wire.No, wire.No}, {"\x16\x03\x01\x00\x05hello", wire.No, wire.No},
	} {
		if got := Check([]byte(c.in), false); got != c.strict {
			t.Errorf("%q: %d, want %d", c.in, got, c.strict)
		}
		if got := Check([]byte(c.in), true); got != c.hinted {
			t.Errorf("%q: %d with hint, want %d", c.in, got, c.hinted)
		}
	}
}

func TestAllocations(t *testing.T) {
	packets := []string{connect4, publish1, subThree, fixed(0x3d, "\x00\x01a\x00\x07\x07\x26\x00\x01k\x00\x01vxyz")}
	var in [][]byte
	for _, p := range packets {
		in = append(in, []byte(p))
	}
	var m Packet
	var prop Property
	total := 0
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range in {
			if _, err := Parse(p, 0, false, &m); err != nil {
				t.Fatal(err)
			}
			Check(p, true)
			m.Topics(func(topic []byte) { total += len(topic) })
			for ps := m.Properties(); ps.Next(&prop); {
				total += len(prop.Value)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{connect3, connect4, connect5, publish1, subThree, "\x90\x050w\x01\x80\x01", "\xe0\x01\x8b", "@\x02\x00\x02",
		fixed(0x3d, "\x00\x01a\x00\x07\x07\x26\x00\x01k\x00\x01vxyz")} {
		for level := range byte(6) {
			f.Add([]byte(s), level)
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, level byte) {
		Check(p, true)
		var m Packet
		n, err := Parse(p, level, len(p)%2 == 0, &m)
		if err != nil {
			return
		}
		if n < 2 || n != m.Size || m.Size-m.Remaining > 5 {
			t.Fatalf("n=%d %+v", n, m)
		}
		_ = describe(&m)
	})
}

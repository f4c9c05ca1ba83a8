package l7

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newMQTT is a conversation with an MQTT broker.
func newMQTT(t *testing.T, o Options) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 1883)
	return k
}

// mqttPacket puts a fixed header before a body of up to 127 bytes.
func mqttPacket(first byte, body string) string { return string([]byte{first, byte(len(body))}) + body }

// mqttString is a text with its length.
func mqttString(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// mqttHello is a CONNECT of a client called me.
func mqttHello(level byte) string {
	properties := ""
	if level == 5 {
		properties = "\x00"
	}
	return mqttPacket(0x10, "\x00\x04MQTT"+string(rune(level))+"\x82\x00\x0a"+properties+mqttString("me")+mqttString("app"))
}

func TestMQTTFields(t *testing.T) {
	k := newMQTT(t, Options{})
	k.client(mqttHello(4))
	k.server("\x20\x02\x00\x00")
	want := Exchange{Kind: KindSession, Protocol: MQTT, Version: "3.1.1", StartNanos: 1e6, EndNanos: 2e6, RequestType: "CONNECT", RequestDomain: "me",
		RequestID: -1, RequestBytes: 21, ResponseBytes: 4, Status: StatusOK, ResponseCode: 0, AffectedRows: -1, RequestSeq: 0xffffffe0,
		ResponseSeq: 5000, Attributes: []Attribute{{"mqtt_user", "app"}}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := strings.Join(k.rec.lines[:3], "|"); s != "identified mqtt server=1|request @1000000|response @2000000 ok rrt=1000000" {
		t.Error(s)
	}
	k.client(mqttPacket(0x33, mqttString("a/b")+"\x00\x07payload"))
	k.server(mqttPacket(0x40, "\x00\x07"))
	e := k.one()
	if e.RequestResource != "a/b" || e.Endpoint != "a/b" || e.RequestID != 7 || e.ResponseCode != -1 ||
		fmt.Sprint(e.Attributes) != "[{mqtt_qos 1} {mqtt_retain true}]" || e.RequestDomain != "me" {
		t.Errorf("%+v", e)
	}
}

func TestMQTTPairing(t *testing.T) {
	k := newMQTT(t, Options{})
	k.client(mqttHello(4) + mqttPacket(0x82, "\x00\x01"+mqttString("x/#")+"\x00"))
	k.server("\x20\x02\x00\x00" + mqttPacket(0x90, "\x00\x01\x00"))
	// Both sides publish with the same identifier.
	k.client(mqttPacket(0x34, mqttString("a")+"\x00\x01p") + mqttPacket(0x32, mqttString("b")+"\x00\x02p"))
	k.server(mqttPacket(0x32, mqttString("x/c")+"\x00\x01p") + mqttPacket(0x30, mqttString("x/d")+"p") + mqttPacket(0x40, "\x00\x02"))
	k.client(mqttPacket(0x40, "\x00\x01"))
	k.client(mqttPacket(0x3c, mqttString("a")+"\x00\x01p")) // again
	k.server(mqttPacket(0x50, "\x00\x01"))
	k.client(mqttPacket(0x62, "\x00\x01"))
	k.server(mqttPacket(0x70, "\x00\x01"))
	k.client("\xc0\x00")
	k.server("\xd0\x00")
	k.client("\xe0\x00")
	k.want("session CONNECT me > 0 ok", "session SUBSCRIBE mex/# > -1 ok", "request PUBLISH mex/d > -1 ok", "session PUBLISH meb > -1 ok",
		"session PUBLISH mex/c > -1 ok", "session PUBLISH mea > -1 ok", "session PUBREL me > -1 ok", "session PINGREQ me > -1 ok",
		"request DISCONNECT me > -1 ok")
	if m := k.tr.Metrics(); m.Duplicates != 1 || m.Unpaired+m.WrongSide+m.ParseFailures+uint64(m.Pending) != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMQTTInitiator(t *testing.T) {
	k := newMQTT(t, Options{})
	k.client(mqttHello(4))
	k.server(mqttPacket(0x32, mqttString("x/c")+"\x00\x01p"))
	k.client(mqttPacket(0x40, "\x00\x01"))
	e := k.one()
	if !e.ServerInitiated || e.Attributes[0] != (Attribute{"initiator", "server"}) || e.EndNanos-e.StartNanos != 1e6 {
		t.Errorf("%+v", e)
	}
}

func TestMQTTStatus(t *testing.T) {
	for _, c := range []struct{ level, client, server, want string }{
		{"\x04", "", "\x20\x02\x00\x05", "5 client_error not authorized"},
		{"\x04", "", "\x20\x02\x00\x03", "3 server_error server unavailable"},
		{"\x05", "", "\x20\x09\x00\x87\x06\x1f\x00\x03why", "135 client_error not authorized: why"},
		{"\x05", mqttPacket(0x32, mqttString("a")+"\x00\x01\x00p"), mqttPacket(0x40, "\x00\x01\x97"), "151 server_error quota exceeded"},
		{"\x05", mqttPacket(0x32, mqttString("a")+"\x00\x01\x00p"), mqttPacket(0x40, "\x00\x01\x10"), "-1 ok "},
		{"\x05", mqttPacket(0x82, "\x00\x01\x00"+mqttString("a")+"\x00"+mqttString("b")+"\x00"), mqttPacket(0x90, "\x00\x01\x00\x01\x87"), "135 client_error not authorized"},
		{"\x04", mqttPacket(0x82, "\x00\x01"+mqttString("a")+"\x00"), mqttPacket(0x90, "\x00\x01\x80"), "128 server_error unspecified error"},
	} {
		k := newMQTT(t, Options{})
		k.client(mqttHello(c.level[0]))
		if c.client != "" {
			k.server(map[string]string{"\x04": "\x20\x02\x00\x00", "\x05": "\x20\x03\x00\x00\x00"}[c.level])
			k.client(c.client)
		}
		k.rec.exchanges = nil
		k.server(c.server)
		if e := k.one(); fmt.Sprintf("%d %s %s", e.ResponseCode, e.Status, e.ResponseException) != c.want {
			t.Errorf("%s: %+v", c.want, e)
		}
	}
	k := newMQTT(t, Options{})
	k.client(mqttHello(5))
	k.server("\x20\x03\x00\x00\x00\xe0\x01\x8b")
	k.want("session CONNECT me > 0 ok", "request DISCONNECT me > 139 server_error")
}

func TestMQTT5(t *testing.T) {
	k := newMQTT(t, Options{})
	k.client(mqttHello(5))
	k.server(mqttPacket(0xf0, "\x18\x00")) // a challenge
	k.client(mqttPacket(0xf0, "\x18\x00"))
	k.server("\x20\x0b\x00\x00\x08\x12\x00\x05given")
	k.want("session AUTH given > 0 ok", "session CONNECT given > 0 ok")
	context := "\x26" + mqttString("traceparent") + mqttString("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	k.client(mqttPacket(0x30, mqttString("a")+string(rune(len(context)+3))+context+"\x23\x00\x05payload"))
	if e := k.one(); e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || e.SpanID != "00f067aa0ba902b7" || e.Version != "5.0" {
		t.Errorf("%+v", e)
	}
	k.client(mqttPacket(0x30, mqttString("")+"\x03\x23\x00\x05payload")) // by alias
	k.server(mqttPacket(0x30, mqttString("b")+"\x03\x23\x00\x05payload"))
	k.client(mqttPacket(0x30, mqttString("")+"\x03\x23\x00\x05payload"))
	k.client(mqttPacket(0x30, mqttString("c")+"\x0f\x23\x00\x05\x03\x00\x01j\x08\x00\x05reply"+"payload"))
	k.client(mqttPacket(0x30, mqttString("")+"\x03\x23\x00\x05payload"))
	if e := k.rec.exchanges[3]; fmt.Sprint(e.Attributes) != "[{mqtt_content_type j} {mqtt_qos 0} {mqtt_response_topic reply}]" {
		t.Errorf("%+v", e)
	}
	k.want("request PUBLISH givena > -1 ok", "request PUBLISH givenb > -1 ok", "request PUBLISH givena > -1 ok", "request PUBLISH givenc > -1 ok",
		"request PUBLISH givenc > -1 ok")
}

func TestMQTTLong(t *testing.T) {
	k := newMQTT(t, Options{})
	k.client(mqttHello(4))
	k.server("\x20\x02\x00\x00")
	k.rec.exchanges = nil
	const size = 200000
	head := string([]byte{0x32, size&0x7f | 0x80, size>>7&0x7f | 0x80, size >> 14})
	k.client(head + mqttString("a/b")[:3])
	k.client(mqttString("a/b")[3:] + "\x00\x01")
	k.skip(Client, size-7)
	k.client("\xc0\x00")
	k.server(mqttPacket(0x40, "\x00\x01") + "\xd0\x00")
	if e := k.rec.exchanges[0]; e.RequestBytes != size+4 {
		t.Errorf("%+v", e)
	}
	k.want("session PUBLISH mea/b > -1 ok", "session PINGREQ me > -1 ok")
	if m := k.tr.Metrics(); m.Buffered != 0 || m.ParseFailures+m.Resyncs != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMQTTPickUp(t *testing.T) {
	k := newMQTT(t, Options{})
	// The caller has the direction the wrong way round; packets that either side sends do not tell.
	k.server(mqttPacket(0x32, mqttString("a")+"\x00\x01p"))
	k.client(mqttPacket(0x40, "\x00\x01"))
	k.server(mqttPacket(0x82, "\x00\x02"+mqttString("x/#")+"\x00"))
	k.seq[0], k.seq[1] = k.seq[1], k.seq[0] // the caller has turned
	k.client(mqttPacket(0x82, "\x00\x03"+mqttString("y/#")+"\x00"))
	k.server(mqttPacket(0x90, "\x00\x02\x00"))
	k.server(mqttPacket(0x90, "\x00\x09\x00"))
	k.server("\xd0\x00")
	k.client("\xd0\x00")
	k.client(mqttPacket(0x40, "\x00\x77"))
	k.want("session PUBLISH a > -1 ok", "session SUBSCRIBE x/# > -1 ok", "response SUBSCRIBE  > -1 ok", "response PINGREQ  > -1 ok")
	if m := k.tr.Metrics(); m.WrongSide != 1 || m.Unpaired != 3 {
		t.Errorf("%+v", m)
	}
	k = newTalk(t, Options{Protocols: []Protocol{MQTT}}) // elsewhere only CONNECT will do
	k.client(mqttPacket(0x32, mqttString("a")+"\x00\x01p"))
	k.client(mqttHello(4))
	k.server("\x20\x02\x00\x00")
	k.want("session CONNECT me > 0 ok")
}

func TestMQTTTimeout(t *testing.T) {
	k := newMQTT(t, Options{Timeouts: map[Protocol]time.Duration{MQTT: time.Second}})
	k.client(mqttHello(4))
	k.server("\x20\x02\x00\x00")
	k.client(mqttPacket(0x32, mqttString("a")+"\x00\x01p"))
	k.client(mqttPacket(0x32, mqttString("b")+"\x00\x02p"))
	k.tr.Tick(3e6 + 1e9)
	k.server(mqttPacket(0x40, "\x00\x02"))
	k.server("\x40\x09bad")
	k.c.End(9e9)
	k.want("session CONNECT me > 0 ok", "request PUBLISH mea > -1 timeout", "session PUBLISH meb > -1 ok", "response PUBLISH me > -1 ok")
}

func TestMQTTAllocations(t *testing.T) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 1883)
	hello := []byte(mqttHello(4))
	c.Payload(Client, 1, 0, hello, len(hello))
	q, a := []byte(mqttPacket(0x32, mqttString("a/b/c")+"\x00\x01payload")), []byte(mqttPacket(0x40, "\x00\x01"))
	qs, as := uint32(len(hello)), uint32(0)
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, qs, q, len(q))
		c.Payload(Server, 2, as, a, len(a))
		qs, as = qs+uint32(len(q)), as+uint32(len(a))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

// mqttLine is what an expectation says of a packet: its type in capitals, client, topics and code.
func mqttLine(line string) (kind, client, topics, code string) {
	kind = strings.ToUpper(debugField(line, "pkt_type"))
	kind, _, _ = strings.Cut(kind, " ")
	return kind, debugField(line, "client_id"), debugField(line, "endpoint"), debugField(line, "code")
}

// mqttAnswers are the packets that are no requests, with the requests that they answer.
var mqttAnswers = map[string]string{"CONNACK": "CONNECT", "PUBACK": "PUBLISH", "PUBREC": "PUBLISH", "PUBCOMP": "PUBREL", "SUBACK": "SUBSCRIBE",
	"UNSUBACK": "UNSUBSCRIBE", "PINGRESP": "PINGREQ"}

// TestCorpusMQTT compares with the expectations, which have a line per packet: each request is an exchange, each answer a half
// of one. Deviations: the client identifier stands in all rows of a connection (there, in that of CONNECT only).
func TestCorpusMQTT(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "l7", "mqtt")
	for name, sessions := range map[string]int{"mqtt_pub": 3, "mqtt_roundtrip": 8, "mqtt_one_packet_multi_publish": 10} {
		file := filepath.Join(dir, name+".pcap")
		rec, m := replay(t, file, Options{}, false)
		if m.ParseFailures+m.Unpaired+m.WrongSide != 0 { // one has holes
			t.Errorf("%s: %+v", name, m)
		}
		open := map[string]int{} // answers to come, by type of request
		found := 0
		for i := range rec.exchanges {
			if e := &rec.exchanges[i]; e.Kind == KindSession {
				open[e.RequestType]++
				found++
			}
			if e := &rec.exchanges[i]; e.Status != StatusOK {
				t.Errorf("%s: %s", name, brief(e))
			}
		}
		if found != sessions {
			t.Errorf("%s: %d sessions, want %d", name, found, sessions)
		}
		used := make([]bool, len(rec.exchanges))
		for _, line := range resultLines(t, file) {
			kind, client, topics, code := mqttLine(line)
			if request, ok := mqttAnswers[kind]; ok {
				if open[request]--; open[request] < 0 {
					t.Errorf("%s: no answer to %s", name, request)
				}
				continue
			}
			ok := false
			for i := range rec.exchanges {
				e := &rec.exchanges[i]
				if ok = !used[i] && e.RequestType == kind && e.RequestResource == topics && e.Endpoint == topics &&
					(client == "" || e.RequestDomain == client) && (code == "" || fmt.Sprint(e.ResponseCode) == code); ok {
					used[i] = true
					break
				}
			}
			if !ok {
				t.Errorf("%s: nothing like %s", name, line)
			}
		}
		for i, u := range used {
			if !u {
				t.Errorf("%s: %s is not expected", name, brief(&rec.exchanges[i]))
			}
		}
	}
	// Has no expectation.
	rec, _ := replay(t, filepath.Join(dir, "mqtt_sub.pcap"), Options{}, false)
	if got := rec.briefs(); got != "session SUBSCRIBE hello/+/world > -1 ok" {
		t.Error(got)
	}
}

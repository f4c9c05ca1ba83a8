package rocketmq

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func frame(kind byte, header, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(kind)<<24|uint32(len(header)))
	return append(append(b, header...), body...)
}

// own is a header in RocketMQ's serialisation.
func own(code, flag int, fields ...string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	b = binary.BigEndian.AppendUint16(append(b, 0), 401)
	b = binary.BigEndian.AppendUint32(b, 9)
	b = binary.BigEndian.AppendUint32(b, uint32(flag))
	b = append(binary.BigEndian.AppendUint32(b, 2), "ok"...)
	var f []byte
	for i := 0; i < len(fields); i += 2 {
		f = append(binary.BigEndian.AppendUint16(f, uint16(len(fields[i]))), fields[i]...)
		f = append(binary.BigEndian.AppendUint32(f, uint32(len(fields[i+1]))), fields[i+1]...)
	}
	return string(append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...))
}

func TestParse(t *testing.T) {
	var m Command
	for name, p := range map[string][]byte{
		"json": frame(0, `{"code":11, "extFields" : {"topic":"t","x":"y","consumerGroup":"g","queueId":"2","queueOffset":"5"},"flag":0,"list":[{"a":"]"},1],"opaque":9,"remark":null,"version":401}`, "body"),
		"own":  frame(1, own(11, 0, "topic", "t", "x", "y", "consumerGroup", "g", "queueId", "2", "queueOffset", "5"), "body"),
	} {
		n, err := Parse(p, &m)
		if err != nil || n != len(p) || m.Code != 11 || m.Opaque != 9 || m.Version != 401 || m.Response || m.OneWay || string(m.Topic) != "t" ||
			string(m.Group) != "g" || string(m.QueueID) != "2" || string(m.Offset) != "5" || string(m.Body) != "body" {
			t.Errorf("%s: %d of %d, %v: %+v", name, n, len(p), err, m)
		}
		if v := Check(p); v != wire.Request {
			t.Errorf("%s: verdict %d", name, v)
		}
		for cut := range p[:HeaderEnd(p)] {
			if v := Check(p[:cut]); v != wire.Maybe {
				t.Fatalf("%s cut to %d: verdict %d", name, cut, v)
			}
			if _, err := Parse(p[:cut], &m); err == nil {
				t.Fatalf("%s cut to %d was read", name, cut)
			}
		}
	}
	if v := Check(frame(1, own(0, 1), "")); v != wire.Response {
		t.Errorf("response: verdict %d", v)
	}
}

func TestStrangers(t *testing.T) {
	for name, p := range map[string][]byte{
		"http":           []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"not an object":  frame(0, `["code"]`, ""),
		"no code":        frame(0, `{"flag":0,"opaque":9}`, ""),
		"control":        frame(0, "{\"code\":\x01}", ""),
		"unknown type":   frame(7, `{"code":1}`, ""),
		"header too big": append([]byte{0, 0, 0, 9, 0, 0, 1, 0}, `{"code":1}`...),
		"own, cut short": frame(1, own(11, 0)[:12], ""),
		"open object":    frame(0, `{"code":1,"x":{"y":"z"`, ""),
		"too many":       frame(0, `{"code":1`+strings.Repeat(`,"x":1`, 100)+`}`, ""),
	} {
		if v := Check(p); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
}

func TestTexts(t *testing.T) {
	m := Command{JSON: true}
	for in, want := range map[string]string{`a\u0001b\u00e9`: "a\x01bé", `\"q\"\n\t\\`: "\"q\"\n\t\\", `cut\u00`: "cut", `end\`: `end\`} {
		if got := string(m.AppendText(nil, []byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for v, want := range map[int32]string{293: "V4_4_0", 291: "V4_3_9", 289: "V4_3_8", 292: "V4_4_0_SNAPSHOT", 213: "V4_0_0", 399: "V4_9_3", 401: "V4_9_4", 413: "V5_0_0", 400: "V4_9_4_SNAPSHOT", 1: "1"} {
		if got := string(AppendVersion(nil, v)); got != want {
			t.Errorf("version %d: %q, want %q", v, got, want)
		}
	}
	if RequestName(34) != "HEART_BEAT" || RequestName(99999) != "99999" || ResponseName(17) != "TOPIC_NOT_EXIST" || ResponseName(-5) != "-5" {
		t.Error("names of codes")
	}
	got := ""
	Each([]byte("a\x011\x02b\x012\x02broken"), func(n, v []byte) bool { got += string(n) + "=" + string(v) + " "; return true })
	if got != "a=1 b=2 " {
		t.Errorf("properties %q", got)
	}
}

func TestFirstMessage(t *testing.T) {
	for flag, hosts := range map[uint32]int{0: 16, 0x10: 28, 0x30: 40} {
		b := make([]byte, 36)
		b = binary.BigEndian.AppendUint32(b, flag)
		b = append(b, make([]byte, 16+hosts+12)...)
		b = append(binary.BigEndian.AppendUint32(b, 4), "body"...)
		b = append(append(b, 5), "topic"...)
		b = append(binary.BigEndian.AppendUint16(b, 4), "k\x01v\x02"...)
		if topic, p := FirstMessage(b); string(topic) != "topic" || string(p) != "k\x01v\x02" {
			t.Errorf("flag %x: %q %q", flag, topic, p)
		}
		if topic, p := FirstMessage(b[:len(b)-1]); topic != nil || p != nil {
			t.Errorf("cut: %q %q", topic, p)
		}
	}
}

func TestAllocations(t *testing.T) {
	p := frame(0, `{"code":11,"extFields":{"topic":"t"},"flag":0,"opaque":9,"version":401}`, "body")
	var m Command
	if n := testing.AllocsPerRun(100, func() { _ = Check(p); _, _ = Parse(p, &m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(frame(0, `{"code":11,"extFields":{"topic":"t"},"flag":0,"opaque":9,"version":401}`, "body"))
	f.Add(frame(1, own(11, 1, "topic", "t"), "body"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Command
		v := Check(p)
		n, err := Parse(p, &m)
		if v > wire.Maybe && (err != nil || n < 8) {
			t.Fatalf("verdict %d, %d bytes, %v", v, n, err)
		}
		m.AppendText(nil, m.Properties)
		Each(m.Properties, func(_, _ []byte) bool { return true })
		FirstMessage(p)
	})
}

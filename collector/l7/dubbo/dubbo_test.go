package dubbo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	login = "\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00YX\x00\x00\x00\xf8\x052.0.2\x1bmy.demo.service.UserService\x050.0.0\x05login0$Ljava/lang/String;Ljava/lang/String;\x0b13780407607\x06x3#U9&H\x04path\x1bmy.demo.service.UserService\x12remote.application\x08shop-web\x05sw8-x\x010\x03sw8\x00\x0fsw8-correlation\x00\x09interface\x1bmy.demo.service.UserService\x07version\x050.0.0Z"
	reply = "\xda\xbb\x02\x14\x00\x00\x00\x00\x00\x00YX\x00\x00\x00\xbf\x94C\x1dmy.demo.service.ServiceResult\x93\x06result\x07message\x07success`C\x13my.demo.entity.User\x96\x0alastUpdate\x09createdAt\x05email\x06mobile\x08nickname\x06userIdaJ\x00\x00\x01|\xdc\xce\x0e\x00J\x00\x00\x01|\xde\x85\x82\x00\x00\x0b13780407607\x0b137****7607\xf8\x17\x00TH\x05dubbo\x052.0.2Z"
)

var names = []string{"traceparent", "sw8"}

// message makes a message of a body.
func message(flags, status uint8, body string) string {
	p := []byte{0xda, 0xbb, flags, status, 0, 0, 0, 0, 0, 0, 0, 7}
	return string(binary.BigEndian.AppendUint32(p, uint32(len(body)))) + body
}

// ascii is a short string as Kryo writes it.
func ascii(s string) string { return s[:len(s)-1] + string([]byte{s[len(s)-1] | 0x80}) }

// utf8 is a string with its length as Kryo writes it.
func utf8(s string) string {
	n := len([]rune(s)) + 1
	if n < 64 {
		return string([]byte{0x80 | byte(n)}) + s
	}
	return string([]byte{0xc0 | byte(n&0x3f), byte(n >> 6)}) + s
}

// block is a string in JSONB behind its length.
func block(jsonb string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(jsonb)))) + jsonb
}

func jsonb(s string) string {
	if len(s) < 48 {
		return string([]byte{byte(0x49 + len(s))}) + s
	}
	return string([]byte{0x79, byte(0x38 + len(s)>>8), byte(len(s))}) + s
}

func parse(t *testing.T, p string) (*Message, int) {
	t.Helper()
	m := &Message{}
	n, err := Parse([]byte(p), m)
	if err != nil {
		t.Fatal(err)
	}
	return m, n
}

func attachments(m *Message) string {
	var a Attachments
	var s []string
	for m.Attachments(&a, names); a.Next(); {
		s = append(s, fmt.Sprintf("%s=%s", a.Key, a.Value))
	}
	return strings.Join(s, " ")
}

func TestRequest(t *testing.T) {
	const sw8 = "1-YzgxNjRjYWU5MGU5NGZlNjg0OTNjMTA2ZWE5NWYxZWUuNjYuMTY2Njc5ODU0ODg1MTAwNjc=-YzgxNjRj-3-c2hvcC13ZWI="
	long := "com.example." + strings.Repeat("long.", 12) + "Service"
	for _, c := range []struct{ name, p, called, attachments string }{
		{"capture", login, "2.0.2 my.demo.service.UserService 0.0.0 login",
			"path=my.demo.service.UserService remote.application=shop-web sw8-x=0 sw8= sw8-correlation= interface=my.demo.service.UserService version=0.0.0"},
		{"objects as arguments", message(0xc2, 0, "\x052.0.2\x01S\x00\x01m\x16[ILa/B;Ljava/util/Map;"+"\x71\x04[int\x91C\x03a.B\x92\x01x\x01y\x60\x91\x5bH\x01k\x60\x92\x02hiZH\x03sw8\x011Z"),
			"2.0.2 S  m", "sw8=1"},
		{"argument that cannot be read", message(0xc2, 0, "\x052.0.2\x01S\x00\x01m\x01I\x62H\x03sw8\x011Z"), "2.0.2 S  m", ""},
		{"no attachments", message(0xc2, 0, "\x052.0.2\x01S\x00\x01m\x00"), "2.0.2 S  m", ""},
		{"kryo", message(0xc8, 0, ascii("2.0.2")+utf8(long)+ascii("0.0.0")+ascii("find")+utf8("I")+"\x02\x0a\x1d\x01\x02"+
			"\x03\x01"+ascii("xsw8")+"\x03\x01"+ascii("no")+"\x03\x01"+ascii("traceparent")+"\x03\x01"+ascii("00-4bf9")+"\x03\x01"+ascii("sw8")+"\x03\x01"+ascii("1-a")),
			"2.0.2 " + long + " 0.0.0 find", "traceparent=00-4bf9 sw8=1-a"},
		{"kryo, long value, empty strings", message(0xc8, 0, ascii("2.0.2")+ascii("a.Svc")+"\x81"+utf8("naïve")+"\x80"+"\x03\x01"+ascii("sw8")+"\x03\x01"+utf8(sw8)),
			"2.0.2 a.Svc  naïve", "sw8=" + sw8},
		{"fastjson", message(0xc6, 0, "\"2.0.2\"\n\"a.Svc\"\n\"0.0.0\"\n\"find\"\n\"Ljava/lang/String;\"\n\"arg \\\" 1\"\n{\"path\":\"a.Svc\",\"timeout\":1000,\"sw8\":\"1-a\\\"-b\"}\n"),
			"2.0.2 a.Svc 0.0.0 find", "path=a.Svc sw8=1-a\\\"-b"},
		{"fastjson in blocks", message(0xc6, 0, block(`"2.0.2"`)+block(`"a.Svc"`)+block(`"1"`)+block(`"find"`)+block(`"I"`)+block("7")+block(`{"@type":"java.util.HashMap","sw8":"1-a"}`)),
			"2.0.2 a.Svc 1 find", "@type=java.util.HashMap sw8=1-a"},
		{"fastjson without version", message(0xc6, 0, "\"2.0.2\"\r\n\"a.Svc\"\r\nnull\r\n\"find\"\r\n\"\"\r\n{}\r\n"), "2.0.2 a.Svc  find", ""},
		{"fastjson2", message(0xd7, 0, block(jsonb("2.0.2"))+block(jsonb(long))+block("\xaf")+block(jsonb("find"))+block(jsonb("I"))+block("\x05")+
			block("\xa6"+jsonb("path")+jsonb(long)+jsonb("none")+"\xaf"+jsonb("sw8")+jsonb("1-a")+"\xa5")),
			"2.0.2 " + long + "  find", "path=" + long + " none= sw8=1-a"},
		{"fastjson2, typed map", message(0xd7, 0, block(jsonb("2.0.2"))+block(jsonb("S"))+block(jsonb("1"))+block(jsonb("m"))+block(jsonb(""))+
			block("\x92"+jsonb("java.util.HashMap")+"\x00\xa6"+jsonb("sw8")+jsonb("1-a")+"\xa5")), "2.0.2 S 1 m", "sw8=1-a"},
		{"java", message(0xc3, 0, "\xac\xed\x00\x05"), "   ", ""},
	} {
		m, n := parse(t, c.p)
		called := fmt.Sprintf("%s %s %s %s", m.Dubbo, m.Service, m.Version, m.Method)
		if got := attachments(m); n != len(c.p) || !m.Request || !m.TwoWay || m.Event || called != c.called || got != c.attachments {
			t.Errorf("%s: %d of %d, %q, %q", c.name, n, len(c.p), called, got)
		}
		if v := Check([]byte(c.p)); v != wire.Request {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		for cut := range c.p { // what is there is read, and nothing else
			m := &Message{}
			if n, err := Parse([]byte(c.p[:cut]), m); cut < 16 != errors.Is(err, ErrShort) || err == nil && n != len(c.p) {
				t.Fatalf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
			if got := attachments(m); !strings.HasPrefix(c.attachments, got) {
				t.Fatalf("%s cut to %d: %q", c.name, cut, got)
			}
		}
	}
}

func TestResponse(t *testing.T) {
	for _, c := range []struct {
		name, p     string
		threw       bool
		class, text string
	}{
		{"capture", reply, false, "", ""},
		{"null", message(0x02, 20, "\x92"), false, "", ""},
		{"exception", message(0x02, 20, "\x90C\x03a.B\x92\x05cause\x0ddetailMessage\x60N\x04boom"), true, "a.B", "boom"},
		{"exception with attachments", message(0x02, 20, "\x93C\x03a.B\x91\x0ddetailMessage\x60\x04boomHZ"), true, "a.B", "boom"},
		{"exception, kryo", message(0x08, 20, "\x03\x03\x01"), true, "", ""},
		{"exception of a class, kryo", message(0x08, 20, "\x03\x01\x00"+ascii("a.Exception")+"\x01\xac\xed"), true, "a.Exception", ""},
		{"exception, fastjson", message(0x06, 20, "3\n{}\n"), true, "", ""},
		{"exception in blocks, fastjson", message(0x06, 20, block("3B")+block(`{"@type":"a.B","cause":null,"localizedMessage":"x","message":"boom","stackTrace":[{"@type":"c"}]}`)), true, "a.B", "boom"},
		{"value in blocks, fastjson", message(0x06, 20, block("4B")+block(`"x"`)), false, "", ""},
		{"exception, fastjson2", message(0x17, 20, "\x00\x00\x00\x01\x00\x00\x00\x00\x00"), true, "", ""},
		{"exception of a class, fastjson2", message(0x17, 20, block("\xbd\x03")+block("\x92"+jsonb("a.B")+"\x00\xa6\x7f"+jsonb("detailMessage")+"\x01"+jsonb("boom")+"\xa5")), true, "a.B", "boom"},
		{"exception without symbols, fastjson2", message(0x17, 20, block("\xbd\x03")+block("\x92"+jsonb("a.B")+"\x00\xa6"+jsonb("message")+jsonb("boom")+"\xa5")), true, "a.B", "boom"},
		{"exception without message, fastjson2", message(0x17, 20, block("\xbd\x03")+block("\x92"+jsonb("a.B")+"\x00\xa6"+jsonb("cause")+"\xaf\xa5")), true, "a.B", ""},
		{"value, fastjson2", message(0x17, 20, block("\xbd\x04")+block(jsonb("x"))), false, "", ""},
		{"value, fastjson", message(0x06, 20, "1\n\"x\"\n"), false, "", ""},
		{"not found", message(0x02, 60, "\x09not found"), false, "", "not found"},
		{"not found, kryo", message(0x08, 60, ascii("not found")), false, "", "not found"},
		{"not found, fastjson", message(0x06, 60, "\"not found\"\n"), false, "", "not found"},
		{"not found, fastjson2", message(0x17, 60, block(jsonb("not found"))), false, "", "not found"},
		{"empty", message(0x02, 20, ""), false, "", ""},
	} {
		m, n := parse(t, c.p)
		if n != len(c.p) || m.Request || m.Threw != c.threw || string(m.Class) != c.class || string(m.Text) != c.text || attachments(m) != "" {
			t.Errorf("%s: %d, threw %v, %q %q", c.name, n, m.Threw, m.Class, m.Text)
		}
		if v := Check([]byte(c.p)); v != wire.Response {
			t.Errorf("%s: verdict %d", c.name, v)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, p string
		want    wire.Verdict
	}{
		{"nothing", "", wire.Maybe}, {"one byte", "\xda", wire.Maybe}, {"header", login[:15], wire.Maybe}, {"whole header", login[:16], wire.Request},
		{"heartbeat", message(0xe2, 0, "N"), wire.Either}, {"its answer", message(0x22, 20, "N"), wire.Either},
		{"magic", "\xda\xbc", wire.No}, {"other", "GET / HTTP/1.1\r\n", wire.No},
		{"request with status", message(0xc2, 20, ""), wire.No}, {"response without", message(0x02, 0, ""), wire.No}, {"unknown status", message(0x02, 21, ""), wire.No},
		{"unknown serialization", message(0xc0, 0, ""), wire.No}, {"long", "\xda\xbb\xc2\x00\x00\x00\x00\x00\x00\x00\x00\x07\x7f\xff\xff\xff", wire.No},
	} {
		if got := Check([]byte(c.p)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if _, err := Parse([]byte("\xda\xbc"+login[2:]), &Message{}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestNoAllocation(t *testing.T) {
	kryo := []byte(message(0xc8, 0, ascii("2.0.2")+ascii("a.Svc")+"\x81"+ascii("find")+"\x80"+"\x03\x01"+ascii("sw8")+"\x03\x01"+ascii("1-a")))
	var m Message
	var a Attachments
	for _, p := range [][]byte{[]byte(login), []byte(reply), kryo} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Parse(p, &m); err != nil {
				t.Fatal(err)
			}
			for m.Attachments(&a, names); a.Next(); {
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(login))
	f.Add([]byte(reply))
	f.Add([]byte(message(0xc8, 0, ascii("2.0.2")+utf8("a.Svc")+"\x81"+ascii("find")+"\x80"+"\x03\x01"+ascii("sw8")+"\x03\x01"+ascii("1-a"))))
	f.Add([]byte(message(0xc6, 0, "\"2.0.2\"\n\"a.Svc\"\nnull\n\"find\"\n\"\"\n{\"a\":\"b\",\"c\":1}\n")))
	f.Add([]byte(message(0xd7, 0, block(jsonb("2.0.2"))+block(jsonb("S"))+block("\xaf")+block(jsonb("m"))+block(jsonb(""))+block("\xa6"+jsonb("sw8")+jsonb("1-a")+"\xa5"))))
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err != nil {
			return
		}
		if n < 16 || n > 16+maxBody {
			t.Fatal(n)
		}
		var a Attachments
		steps := 0
		for m.Attachments(&a, names); a.Next(); steps++ {
			if steps > len(p)+len(names) {
				t.Fatal("endless attachments")
			}
		}
		Check(p)
	})
}

package nats

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	info    = `INFO {"server_id":"NA","server_name":"us \"1\"","version":"2.10.7","go":"go1.21.5","port":4222,"headers":true,"max_payload":1048576} ` + "\r\n"
	connect = `CONNECT {"verbose":true,"pedantic":false,"name":"","lang":"go","version":"1.25.0"}` + "\r\n"
	hpub    = "HPUB FRONT.DOOR JOKE.22 45 56\r\nNATS/1.0\r\nBREAKFAST: donut\r\nLUNCH: burger\r\n\r\nKnock Knock\r\n"
	none    = "HMSG _INBOX.a.b 1 30 30\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n"
)

func brief(m *Message) string {
	s := m.Op.String()
	for _, f := range []struct {
		name string
		v    []byte
	}{{"subject", m.Subject}, {"reply", m.Reply}, {"queue", m.Queue}, {"sid", m.SID}, {"payload", m.Payload}} {
		if len(f.v) > 0 {
			s += fmt.Sprintf(" %s=%s", f.name, f.v)
		}
	}
	if m.Op == Err {
		s += " " + string(m.Text)
	}
	if code, text := m.Status(); code != 0 {
		s += fmt.Sprintf(" %d %s", code, text)
	}
	for f := m.Fields(); f.Next(); {
		s += fmt.Sprintf(" %s:%s", f.Key, f.Value)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		p, want      string
		verdict, own wire.Verdict
	}{
		{info, "INFO", wire.Response, wire.Response},
		{connect, "CONNECT", wire.Request, wire.Request},
		{hpub, "HPUB subject=FRONT.DOOR reply=JOKE.22 payload=Knock Knock BREAKFAST:donut LUNCH:burger", wire.Request, wire.Request},
		{none, "HMSG subject=_INBOX.a.b sid=1 503 No Responders", wire.Response, wire.Response},
		{"PUB foo 5\r\nhello\r\n", "PUB subject=foo payload=hello", wire.Request, wire.Request},
		{"pub foo  bar\t0\r\n\r\n", "PUB subject=foo reply=bar", wire.Request, wire.Request},
		{"MSG a.b 9 r 2\r\nhi\r\n", "MSG subject=a.b reply=r sid=9 payload=hi", wire.Response, wire.Response},
		{"SUB a.> q s1\r\n", "SUB subject=a.> queue=q sid=s1", wire.Request, wire.Request},
		{"SUB a 1\n", "SUB subject=a sid=1", wire.Request, wire.Request},
		{"UNSUB 1 5\r\n", "UNSUB sid=1", wire.No, wire.Request},
		{"PING\r\n", "PING", wire.No, wire.Either}, {"PONG \r\n", "PONG", wire.No, wire.Either}, {"+OK\r\n", "+OK", wire.No, wire.Response},
		{"-ERR 'Stale Connection'\r\n", "-ERR Stale Connection", wire.No, wire.Response},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		if got := brief(&m); err != nil || n != len(c.p) || got != c.want {
			t.Errorf("%q: %d of %d, %v, %q", c.p, n, len(c.p), err, got)
		}
		for cut := range c.p {
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Errorf("%q: %d, %v", c.p[:cut], n, err)
			}
		}
		for own, want := range map[bool]wire.Verdict{false: c.verdict, true: c.own} {
			for cut := range len(c.p) + 1 {
				if v := Check([]byte(c.p[:cut]), own); v != want && (cut == len(c.p) || v != wire.Maybe) {
					t.Errorf("%q, own %v: verdict %d", c.p[:cut], own, v)
				}
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"GET / HTTP/1.1\r\n", "CONNECT example.com:443 HTTP/1.1\r\n\r\n", "PUB\r\n", "PUB a\r\n", "PUB a x\r\n", "PUB a b c 1\r\n", "PUB a 1\r\nab\r\n", "PUB a 99999999999\r\n",
		"HPUB a 9 8\r\n", "HPUB a 8 8\r\nHTTP/1.0\r\n", "MSG a 1\r\n", "SUB a\r\n", "SUB a\x01 1\r\n", "UNSUB 1 x\r\n", "PINGS\r\n", "PING x\r\n", "INFO x\r\n", "+OK then\r\n",
		"PUB " + strings.Repeat("a", maxLine) + " 0\r\n\r\n",
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p), true); v != wire.No {
			t.Errorf("%.40q: verdict %d", p, v)
		}
	}
	for _, p := range []string{"INFO {}\r\n", "CONNECT {\"a\":1}\r\n", "CONNECT exam", "PONG", "INFO x"} {
		if v := Check([]byte(p), false); v > wire.Maybe || v == wire.Maybe && strings.Contains(p, " ") {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestField(t *testing.T) {
	var m Message
	if _, err := Parse([]byte(info), &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"server_id": "NA", "server_name": `us \"1\"`, "headers": "true", "port": "4222", "max_payload": "1048576", "NA": "", "1": "", "x": ""} {
		if got := Field(m.Text, name); string(got) != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, s := range []string{"", `{"a`, `{"a":`, `{"a":"b`, `{"a":1`, `{"a":\`} {
		if got := Field([]byte(s), "a"); got != nil {
			t.Errorf("%s: %q", s, got)
		}
	}
}

func TestErrorOfNRPC(t *testing.T) {
	if kind, text, ok := ErrorOfNRPC([]byte("\x00\x08\x01\x12\x03bad")); !ok || kind != 1 || string(text) != "bad" {
		t.Error(kind, string(text), ok)
	}
	for _, p := range []string{"", "\x00", "\x00\x08\x01", "\x0a\x05world", "\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7fx", "\x00\x08\x09\x12\x01x", "\x00\x12\x01x\x22"} {
		if _, _, ok := ErrorOfNRPC([]byte(p)); ok {
			t.Errorf("%q is an error", p)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	in, hello := []byte(hpub), []byte(info)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(in, &m); err != nil {
			t.Fatal(err)
		}
		for f := m.Fields(); f.Next(); {
			_ = f.Value
		}
		m.Status()
		if Check(hello, false) != wire.Response {
			t.Fatal("no")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{info, connect, hpub, none, "SUB a q 1\r\n", "-ERR 'x'\r\n", "PING\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && n <= 0 || err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
			t.Fatal(n, err)
		}
		for f := m.Fields(); f.Next(); {
			_ = f.Key
		}
		m.Status()
		Field(m.Text, "version")
		ErrorOfNRPC(p)
		for _, own := range []bool{false, true} {
			if v := Check(p, own); v > wire.Maybe && err != nil || v == wire.Maybe && err == nil {
				t.Fatalf("verdict %d, %v", v, err)
			}
		}
	})
}

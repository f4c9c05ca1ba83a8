package tars

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	ping  = "\x00\x00\x004\x10\x01,<@\x0fV\x13tars.tarslog.LogObjf\x09tars_ping}\x00\x0c\x81\x0b\xb8\x98\x0c\xa8\x0c"
	reply = "\x00\x00\x00\x10\x10\x01,0\x0fL\\m\x00\x0cx\x0c"
)

func message(fields string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(4+len(fields)))) + fields
}

func text(tag int, s string) string {
	return string([]byte{byte(tag<<4 | typeString1), byte(len(s))}) + s
}

func pairs(tag int, s ...string) string {
	p := string([]byte{byte(tag<<4 | typeMap), 0x00, byte(len(s) / 2)})
	for i, s := range s {
		p += text(i%2, s)
	}
	return p
}

var (
	traced = message("\x10\x01\x20\x01\x3c\x42\x00\x01\x00\x00" + text(5, "A.B.C") + text(6, "f") + "\x7d\x00\x00\x02xy" + "\x81\x0b\xb8" +
		pairs(9, "traceparent", "00-1", "k", "v") + pairs(10, "STATUS_X", "1"))
	failed = message("\x10\x01\x2c\x31\x01\x02\x4c\x50\xfd\x6d\x00\x0c" + pairs(7, "a", "b") + text(8, "no function"))
	tup    = message("\x10\x03\x2c\x3c\x40\x05" + text(5, "A.B.C") + text(6, "f") + "\x7d\x00\x0c\x8c\x98\x0c\xa8\x0c")
	// Fields of all other types behind the content.
	varied = message("\x10\x01\x2c\x3c\x40\x05" + text(5, "A") + text(6, "f") + "\x7d\x00\x0c" + "\x84abcd\x85abcdefgh\x87\x00\x00\x00\x01x\x89\x00\x01\x0c\x8a\x0c\x1a\x0b\x0b\xf0\x10\x01\x83abcdefgh" + pairs(9, "k", "v"))
)

func brief(m *Message) string {
	s := fmt.Sprintf("response %d %d %s", m.ID, m.Code, m.Description)
	if m.Request {
		s = fmt.Sprintf("request %d %s/%s", m.ID, m.Servant, m.Function)
	}
	if m.OneWay {
		s += " oneway"
	}
	for p := m.Pairs(); p.Next(); {
		s += fmt.Sprintf(" %s=%s", p.Key, p.Value)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p, want string
		verdict       wire.Verdict
	}{
		{"ping", ping, "request 15 tars.tarslog.LogObj/tars_ping", wire.Request},
		{"its answer", reply, "response 15 0 ", wire.Response},
		{"traced", traced, "request 65536 A.B.C/f oneway traceparent=00-1 k=v STATUS_X=1", wire.Request},
		{"failed", failed, "response 258 -3 no function a=b", wire.Response},
		{"tup", tup, "request 5 A.B.C/f", wire.Either},
		{"varied", varied, "request 5 A/f k=v", wire.Request},
		{"map of numbers", message("\x10\x01\x2c\x3c\x40\x05" + text(5, "A") + text(6, "f") + "\x7d\x00\x0c\x98\x00\x01\x00\x01\x10\x01" + pairs(10, "k", "v")), "request 5 A/f k=v", wire.Request},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		if got := brief(&m); err != nil || n != len(c.p) || got != c.want {
			t.Errorf("%s: %d of %d, %v, %q", c.name, n, len(c.p), err, got)
		}
		if v := Check([]byte(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		for cut := range c.p {
			var m Message
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Fatalf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
			if v := Check([]byte(c.p[:cut])); v != wire.Maybe && v != c.verdict {
				t.Fatalf("%s cut to %d: verdict %d", c.name, cut, v)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	name := text(5, "A") + text(6, "f") + "\x7d\x00\x0c\x8c"
	for _, p := range []string{
		"GET / HTTP/1.1\r\n\r\n", message("\x10\x01"), "\x7f\x00\x00\x00\x10\x01\x2c", message("\x10\x04\x2c\x3c\x40\x05" + name), message("\x10\x01\x20\x02\x3c\x40\x05" + name),
		message("\x10\x01\x3c\x2c\x40\x05" + name), message("\x10\x01\x2c\x3c\x40\x05" + text(5, "A b") + text(6, "f") + "\x7d\x00\x0c\x8c"),
		message("\x10\x01\x2c\x3c\x40\x05" + text(5, "A") + text(7, "f") + "\x7d\x00\x0c\x8c"), message("\x10\x01\x2c\x3c\x46\x01x" + name),
		message("\x10\x01\x2c\x3c\x4c\x5c\x66\x01x\x78\x0c"), message("\x10\x01\x2c\x3c\x40\x05\x56\xffA" + name),
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	deep := message("\x10\x01\x2c\x3c\x40\x05" + text(5, "A") + text(6, "f") + strings.Repeat("\x8a", 64) + pairs(9, "k", "v"))
	var m Message
	if _, err := Parse([]byte(deep), &m); err != nil || brief(&m) != "request 5 A/f" {
		t.Errorf("deep: %v, %q", err, brief(&m))
	}
}

func TestNames(t *testing.T) {
	for c, want := range map[Code]string{Success: "SERVERSUCCESS", -3: "SERVERNOFUNCERR", ClientDecodeError: "CLIENTDECODEERR", ServerUnknownError: "SERVERUNKNOWNERR", -13: "", 1: ""} {
		if c.String() != want {
			t.Errorf("%d is %q", c, c.String())
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p, q := []byte(traced), []byte(failed)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{p, q} {
			if _, err := Parse(p, &m); err != nil {
				t.Fatal(err)
			}
			for a := m.Pairs(); a.Next(); {
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{ping, reply, traced, failed, tup, varied} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		if n, err := Parse(p, &m); err == nil && n < minSize {
			t.Fatal(n)
		}
		steps := 0
		for a := m.Pairs(); a.Next(); steps++ {
			if steps > len(p) {
				t.Fatal("endless pairs")
			}
		}
		Check(p)
	})
}

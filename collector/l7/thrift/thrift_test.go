package thrift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func u16(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func u32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

func bin(typ Type, name string, seq int, body string) string {
	return "\x80\x01\x00" + string([]byte{byte(typ)}) + u32(len(name)) + name + u32(seq) + body
}

func compact(typ Type, name string, seq int, body string) string {
	p := binary.AppendUvarint([]byte{0x82, byte(typ)<<5 | 1}, uint64(seq))
	return string(append(p, byte(len(name)))) + name + body
}

func framed(p string) string { return u32(len(p)) + p }

// header puts a message in a frame of THeader.
func header(encoding byte, transforms, info, p string) string {
	h := string([]byte{encoding, byte(len(transforms))}) + transforms + info
	h += strings.Repeat("\x00", (4-len(h)%4)%4)
	return framed("\x0f\xff\x00\x00" + u32(77) + u16(len(h)/4) + h + p)
}

const (
	// {1: "x", 2: i32, 3: [true], 4: {1: i64}, 5: map[byte]double, 6: bool}
	binaryArgs = "\x0b\x00\x01\x00\x00\x00\x01x\x08\x00\x02\x00\x00\x00\x07\x0f\x00\x03\x02\x00\x00\x00\x01\x01\x0c\x00\x04\x0a\x00\x0112345678\x00" +
		"\x0d\x00\x05\x03\x04\x00\x00\x00\x01\x0112345678\x02\x00\x06\x01\x06\x00\x07ab\x10\x00\x080123456789abcdef\x00"
	compactArgs = "\x18\x01x\x15\x0e\x19\x11\x01\x1c\x16\x02\x00\x1b\x01\x37\x0112345678\x11\x14\x02\x1d0123456789abcdef\x0b\x14\x00\x1a\xf5\x01\x02\x00"
	fault       = "\x0b\x00\x01\x00\x00\x00\x04oops\x08\x00\x02\x00\x00\x00\x06\x00"
	faultC      = "\x18\x04oops\x15\x02\x00"
	infos       = "\x01\x02\x0btraceparent\x0500-4b\x01k\x01v"
)

func brief(m *Message) string {
	s := fmt.Sprintf("%s %s %d %s #%d field %d", m.Transport, m.Encoding, m.Type, m.Name, m.SeqID, m.Field)
	if m.Code != 0 || len(m.Text) > 0 {
		s += fmt.Sprintf(" %d %s", m.Code, m.Text)
	}
	for h := m.Headers(); h.Next(); {
		s += fmt.Sprintf(" %s=%s", h.Key, h.Value)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p, want string
		verdict       wire.Verdict
	}{
		{"binary", bin(Call, "add", 5, binaryArgs), "bare binary 1 add #5 field -1", wire.Request},
		{"compact", compact(Call, "add", 300, compactArgs), "bare compact 1 add #300 field -1", wire.Request},
		{"framed binary", framed(bin(OneWay, "Calc:zip", 6, "\x00")), "framed binary 4 Calc:zip #6 field -1", wire.Request},
		{"framed compact", framed(compact(Call, "add", 7, compactArgs)), "framed compact 1 add #7 field -1", wire.Request},
		{"header, binary", header(0, "", infos, bin(Call, "add", 8, binaryArgs)), "header binary 1 add #8 field -1 traceparent=00-4b k=v", wire.Request},
		{"header, compact", header(2, "", "", compact(Reply, "add", 8, "\x05\x00\x02\x00")), "header compact 2 add #8 field 0", wire.Response},
		{"header, transformed", header(2, "\x01", infos, "\x78\x9c123456"), "header compact 0  #77 field -1 traceparent=00-4b k=v", wire.Either},
		{"value", bin(Reply, "add", 5, "\x08\x00\x00\x00\x00\x00\x02\x00"), "bare binary 2 add #5 field 0", wire.Response},
		{"void", bin(Reply, "ping", 5, "\x00"), "bare binary 2 ping #5 field -1", wire.Response},
		{"declared exception", bin(Reply, "add", 5, "\x0c\x00\x01\x08\x00\x01\x00\x00\x00\x04\x0b\x00\x02\x00\x00\x00\x04zero\x00\x00"), "bare binary 2 add #5 field 1 0 zero", wire.Response},
		{"declared exception, compact", framed(compact(Reply, "add", 5, "\x1c\x15\x08\x18\x04zero\x00\x00")), "framed compact 2 add #5 field 1 0 zero", wire.Response},
		{"exception", framed(bin(Exception, "add", 5, fault)), "framed binary 3 add #5 field -1 6 oops", wire.Response},
		{"exception, compact", compact(Exception, "add", 5, faultC), "bare compact 3 add #5 field -1 1 oops", wire.Response},
	} {
		var m Message
		n, err := Parse([]byte(c.p+"\x80"), &m)
		if got := brief(&m); err != nil || n != len(c.p) || m.Open || m.Want > n || got != c.want {
			t.Errorf("%s: %d of %d, %v, open %v, wants %d, %q", c.name, n, len(c.p), err, m.Open, m.Want, got)
		}
		if v := Check([]byte(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		for cut := range c.p {
			var m Message
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) && !(m.Open && n == cut) || err != nil && !errors.Is(err, ErrShort) {
				t.Fatalf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
			if v := Check([]byte(c.p[:cut])); v != wire.Maybe && v != c.verdict {
				t.Fatalf("%s cut to %d: verdict %d", c.name, cut, v)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, p := range map[string]string{
		"text": "GET / HTTP/1.1\r\n\r\n", "version": "\x80\x02\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x00\x00", "type 0": bin(Unknown, "a", 1, "\x00"), "type 5": bin(5, "a", 1, "\x00"),
		"no name": bin(Call, "", 1, "\x00"), "long name": bin(Call, strings.Repeat("a", 256), 1, "\x00"), "blank": bin(Call, "a b", 1, "\x00"), "field type": bin(Call, "a", 1, "\x07"),
		"compact version": "\x82\x22\x01\x01a\x00", "compact type": "\x82\x01\x01\x01a\x00", "compact field": compact(Call, "a", 1, "\x1f"), "endless number": "\x82\x21\xff\xff\xff\xff\xff\x01",
		"short frame": u32(7) + "\x80\x01\x00\x01", "long frame": "\x7f\x00\x00\x00\x80\x01", "frame of something": framed("12345678"), "frame that ends in the head": framed(bin(Call, "abc", 1, "")),
		"header without words": framed("\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x00"), "header magic": framed("\x0f\xfe\x00\x00\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00"),
		"header encoding": header(3, "", "", bin(Call, "a", 1, "\x00")), "header past the frame": framed("\x0f\xff\x00\x00\x00\x00\x00\x01\x00\x09\x00\x00\x00\x00"),
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
}

func TestOpen(t *testing.T) {
	for name, body := range map[string]string{
		"deep": strings.Repeat("\x0c\x00\x01", 64), "negative length": "\x0b\x00\x01\xff\xff\xff\xff", "negative count": "\x0f\x00\x01\x08\xff\xff\xff\xff", "unknown type": "\x02\x00\x01\x00\x07\x00\x01", "cut": "\x08\x00\x01",
	} {
		var m Message
		p := bin(Call, "a", 1, body)
		if n, err := Parse([]byte(p), &m); err != nil || !m.Open || n != len(p) {
			t.Errorf("%s: %d of %d, %v", name, n, len(p), err)
		}
	}
}

func TestNames(t *testing.T) {
	if CodeName(InternalError) != "INTERNAL_ERROR" || CodeName(11) != "" || CodeName(-1) != "" || CodeName(UnsupportedClientType) != "UNSUPPORTED_CLIENT_TYPE" {
		t.Error("names of codes")
	}
}

func TestNoAllocation(t *testing.T) {
	all := [][]byte{[]byte(header(0, "", infos, bin(Call, "add", 8, binaryArgs))), []byte(compact(Call, "add", 300, compactArgs)), []byte(compact(Exception, "add", 5, faultC))}
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range all {
			if _, err := Parse(p, &m); err != nil {
				t.Fatal(err)
			}
			for h := m.Headers(); h.Next(); {
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{
		bin(Call, "add", 5, binaryArgs), compact(Call, "add", 300, compactArgs), framed(bin(Exception, "add", 5, fault)), compact(Exception, "add", 5, faultC),
		header(0, "", infos, bin(Call, "add", 8, binaryArgs)), header(2, "\x01", infos, "\x78\x9c123456"),
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && (n <= 0 || m.Want > n || m.Open && n != len(p)) {
			t.Fatal(n, m.Want, m.Open)
		}
		for h := m.Headers(); h.Next(); {
		}
	})
}

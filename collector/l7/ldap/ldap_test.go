package ldap

import (
	"errors"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	bind     = "\x30\x2a\x02\x01\x01\x60\x25\x02\x01\x03\x04\x18cn=admin,dc=shop,dc=test\x80\x06secret"
	sasl     = "\x30\x18\x02\x01\x02\x60\x13\x02\x01\x03\x04\x00\xa3\x0c\x04\x0aDIGEST-MD5"
	bound    = "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
	search   = "\x30\x4f\x02\x01\x02\x63\x4a\x04\x0fdc=shop,dc=test\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\xa0\x22\xa3\x15\x04\x0bobjectClass\x04\x06person\xa4\x09\x04\x02cn0\x03\x80\x01a0\x04\x04\x02sn"
	present  = "\x30\x37\x02\x01\x02\x63\x32\x04\x12dc=nowhere,dc=test\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectclass\x30\x00"
	missing  = "\x30\x10\x02\x01\x02\x65\x0b\x0a\x01\x20\x04\x00\x04\x04none"
	remove   = "\x30\x1b\x02\x01\x02\x4a\x16cn=ada,dc=shop,dc=test"
	unbind   = "\x30\x05\x02\x01\x03\x42\x00"
	abandon  = "\x30\x06\x02\x01\x04\x50\x01\x02"
	starttls = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	entry    = "\x30\x84\x00\x00\x00\x0d\x02\x01\x02\x64\x84\x00\x00\x00\x04\x04\x00\x30\x00"
	compare  = "\x30\x1c\x02\x01\x05\x6e\x0b\x04\x01a\x30\x06\x04\x01b\x04\x01c\xa0\x0a\x30\x08\x04\x06secret"
)

func brief(m *Message) string {
	s := fmt.Sprintf("%d %s %s", m.ID, m.Op, m.DN)
	if m.Final {
		s += fmt.Sprintf(" %d %s", m.Code, m.Text)
	}
	return s + fmt.Sprintf(" %s%s %s %s%s", m.Mechanism, m.Scope, m.Filter, m.Attribute, m.Name)
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		p, want      string
		verdict, own wire.Verdict
	}{
		{bind, "1 bind cn=admin,dc=shop,dc=test simple  ", wire.Request, wire.Request},
		{sasl, "2 bind  DIGEST-MD5  ", wire.Request, wire.Request},
		{bound, "1 response  0    ", wire.Response, wire.Response},
		{search, "2 search dc=shop,dc=test sub and ", wire.Request, wire.Request},
		{present, "2 search dc=nowhere,dc=test base present objectclass", wire.Request, wire.Request},
		{missing, "2 response  32 none   ", wire.Response, wire.Response},
		{remove, "2 delete cn=ada,dc=shop,dc=test   ", wire.No, wire.Request},
		{unbind, "3 unbind    ", wire.No, wire.Request},
		{abandon, "4 abandon    ", wire.No, wire.Request},
		{starttls, "1 extended    " + StartTLS, wire.Request, wire.Request},
		{entry, "2 response    ", wire.No, wire.Response},
		{compare, "5 compare a   ", wire.No, wire.Request},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		if got := brief(&m); err != nil || n != len(c.p) || got != c.want {
			t.Errorf("%q: %d of %d, %v, %q", c.p, n, len(c.p), err, got)
		}
		for own, want := range map[bool]wire.Verdict{false: c.verdict, true: c.own} {
			for cut := range len(c.p) + 1 {
				if v := Check([]byte(c.p[:cut]), own); v != want && (cut == len(c.p) || v != wire.Maybe) {
					t.Errorf("%q, own %v: verdict %d", c.p[:cut], own, v)
				}
			}
		}
		for cut := range c.p {
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Errorf("%q cut to %d: %d, %v", c.p, cut, n, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"GET / HTTP/1.1\r\n", "\x30\x80\x02\x01\x01", "\x30\x85\x01\x02\x03\x04\x05", "\x30\x05\x04\x01\x03\x42\x00", "\x30\x05\x02\x01\x03\x43\x00", "\x30\x06\x02\x01\x03\x42\x01x",
		"\x30\x05\x02\x01\x00\x42\x00", "\x30\x0c\x02\x01\x01\x61\x09\x0a\x01\x00\x04\x00\x04\x00", "\x30\x0c\x02\x01\x01\x61\x07\x0b\x01\x00\x04\x00\x04\x00",
		"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x09\x04\x00\x80\x00", "\x30\x07\x02\x01\x03\x42\x00\x04\x00", "\x30\x84\xff\xff\xff\xff\x02",
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrShort) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p), true); v > wire.Maybe {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	in := []byte(search)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(in, &m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{bind, sasl, bound, search, present, missing, remove, unbind, abandon, starttls, entry, compare} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && n < 5 || err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
			t.Fatal(n, err)
		}
		for _, own := range []bool{false, true} {
			if v := Check(p, own); v > wire.Maybe && err != nil {
				t.Fatalf("verdict %d, %v", v, err)
			}
		}
	})
}

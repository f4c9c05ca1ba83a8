package krpc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	call  = "KR\x00\xbd\x00\x00\x00\xbd\x08\x01\x10\xc7\x03\x18\x1e \x01(\xb0\xea\x01:\xad\x01\x0a\x10172.17.0.1:42518\x12!gtwdemo-ac110006-463659-122997101\x1a!gtwdemo-ac110006-463659-122997101\"!gtwdemo-ac110006-463659-122997102*0p-root-span-id=gtwdemo-ac110006-463659-122997101"
	reply = "KR\x00\x0c\x00\x00\x002\x08\x02\x10\xc7\x03\x18\x1e \x01p\x82:\x1a$\x0a\x011\"\x1f*\x1d\x0a\x0800:00:00\x12\x0809:00:00\x19\x00\x00\x00\x00\x00\xc0\x92@"
	fault = "KR\x00\x13\x00\x00\x00\x13\x08\x02\x10\x02\x18\x03 \x05\x30\x9a\xfc\xff\xff\xff\xff\xff\xff\xff\x01"
	beat  = "KR\x00\x06\x00\x00\x00\x06\x08\x01\x10\x01\x18\x01"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p, want string
		verdict       wire.Verdict
	}{
		{"call", call, "true 455/30 #1 0 gtwdemo-ac110006-463659-122997101 gtwdemo-ac110006-463659-122997101 gtwdemo-ac110006-463659-122997102", wire.Request},
		{"reply", reply, "false 455/30 #1 0   ", wire.Response},
		{"fault", fault, "false 2/3 #5 -486   ", wire.Response},
		{"heartbeat", beat, "true 1/1 #0 0   ", wire.Either},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		got := fmt.Sprintf("%v %d/%d #%d %d %s %s %s", m.Request, m.Service, m.Method, m.Sequence, m.Code, m.TraceID, m.ParentID, m.SpanID)
		if err != nil || n != len(c.p) || got != c.want {
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
			if c.name != "heartbeat" && m.Numbered && m.Sequence == 0 {
				t.Fatalf("%s cut to %d: a number that is not there", c.name, cut)
			}
			if v := Check([]byte(c.p[:cut])); v != wire.Maybe && v != c.verdict {
				t.Fatalf("%s cut to %d: verdict %d", c.name, cut, v)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"KS\x00\x06\x00\x00\x00\x06\x08\x01\x10\x01\x18\x01", "KR\x00\x07\x00\x00\x00\x06\x08\x01\x10\x01\x18\x01", "KR\x00\x06\x00\x00\x00\x06\x08\x03\x10\x01\x18\x01",
		"KR\x00\x06\x7f\x00\x00\x06\x08\x01\x10\x01\x18\x01", "KR\x00\x06\x00\x00\x00\x06\x18\x01\x10\x01\x18\x01",
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	if v := Check([]byte("KR\x00\x06\x00\x00\x00\x06\x08\x01\x10\x00\x18\x01")); v != wire.No {
		t.Errorf("service 0: verdict %d", v)
	}
}

func TestNoAllocation(t *testing.T) {
	p := []byte(call)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(p, &m); err != nil || Check(p) != wire.Request {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{call, reply, fault, beat} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		if n, err := Parse(p, &m); err == nil && (n < headerLen || m.Want > n) {
			t.Fatal(n, m.Want)
		}
		Check(p)
	})
}

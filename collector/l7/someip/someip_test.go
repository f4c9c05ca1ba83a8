package someip

import (
	"errors"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	request = "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x00"
	reply   = "\x00)P\x04\x00\x00\x00\x1d\x00\x01\x00\xab\x01\x01\x80\x00\x00\x00\x00\x11\x00\x00\x00\x03\x12\x15\x00\x00\x00\x00\x03\xff\xff\xff\x01\x10\x01"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p string
		want    Header
		verdict wire.Verdict
	}{
		{"request", request, Header{Service: 0x29, Method: 0x5004, Client: 1, Session: 171, InterfaceVersion: 1, Size: 16}, wire.Request},
		{"reply", reply, Header{Service: 0x29, Method: 0x5004, Client: 1, Session: 171, InterfaceVersion: 1, Type: Response, Size: 37}, wire.Response},
		{"error", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x81\x03", Header{Service: 0x29, Method: 0x5004, Client: 1, Session: 171, InterfaceVersion: 1, Type: Error, Code: UnknownMethod, Size: 16}, wire.Response},
		{"one way", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x01\x00", Header{Service: 0x29, Method: 0x5004, Client: 1, Session: 171, InterfaceVersion: 1, Type: RequestNoReturn, Size: 16}, wire.Request},
		{"event", "\x00)\x80\x04\x00\x00\x00\x08\x00\x00\x00\xab\x01\x01\x02\x00", Header{Service: 0x29, Method: 0x8004, Session: 171, InterfaceVersion: 1, Type: Notification, Size: 16}, wire.Response},
		{"first segment", "\x00)\x80\x04\x00\x00\x00\x0c\x00\x00\x00\xab\x01\x01\x22\x00\x00\x00\x00\x01", Header{Service: 0x29, Method: 0x8004, Session: 171, InterfaceVersion: 1, Type: Notification, Segment: true, First: true, Size: 20}, wire.Response},
		{"other segment", "\x00)\x80\x04\x00\x00\x00\x0c\x00\x00\x00\xab\x01\x01\x22\x00\x00\x00\x05\x71", Header{Service: 0x29, Method: 0x8004, Session: 171, InterfaceVersion: 1, Type: Notification, Segment: true, Size: 20}, wire.Response},
		{"discovery", "\xff\xff\x81\x00\x00\x00\x00\x08\x00\x00\x00\x01\x01\x01\x02\x00", Header{Service: 0xffff, Method: 0x8100, Session: 1, InterfaceVersion: 1, Type: Notification, Size: 16}, wire.Either},
		{"cookie", "\xff\xff\x00\x00\x00\x00\x00\x08\xde\xad\xbe\xef\x01\x01\x01\x00", Header{Service: 0xffff, Client: 0xdead, Session: 0xbeef, InterfaceVersion: 1, Type: RequestNoReturn, Size: 16}, wire.Either},
	} {
		var h Header
		n, err := Parse([]byte(c.p), &h)
		if err != nil || n != len(c.p) || h != c.want {
			t.Errorf("%s: %d of %d, %v, %+v", c.name, n, len(c.p), err, h)
		}
		if v := Check([]byte(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		if v := Check([]byte(c.p[:15])); v != wire.Maybe {
			t.Errorf("%s cut: verdict %d", c.name, v)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"\x00)P\x04\x00\x00\x00\x07\x00\x01\x00\xab\x01\x01\x00\x00", "\x00)P\x04\x10\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x00", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x02\x01\x00\x00",
		"\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x03\x00", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x01", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x80\x5f",
		"\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x20\x00",
	} {
		if n, err := Parse([]byte(p), &Header{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	for _, p := range []string{ // messages, but of no service that there is
		"\x00\x00P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x00", "\xff\xffP\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x00", "\x00)\xff\xff\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x80\x00",
		"\x00)\x80\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x00\x00", "\x00)P\x04\x00\x00\x00\x08\x00\x00\x00\x00\x01\x01\x00\x00", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x01\x01\x02\x00",
		"\x00)P\x04\x7f", "\x00)P\x04\x00\x00\x00\x08\x00\x01\x00\xab\x02",
	} {
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	if _, err := Parse([]byte(request[:15]), &Header{}); !errors.Is(err, ErrShort) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	if OK.String() != "E_OK" || UnknownMethod.String() != "E_UNKNOWN_METHOD" || Code(0x0f).String() != "E_E2E_NO_NEW_DATA" || Code(0x20).String() != "" {
		t.Error("names of codes")
	}
	if Notification.String() != "Notification" || RequestNoReturn.String() != "RequestNoReturn" || Error.String() != "Error" || Type(0x40).String() != "" {
		t.Error("names of types")
	}
}

func TestNoAllocation(t *testing.T) {
	p := []byte(reply)
	var h Header
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(p, &h); err != nil || Check(p) != wire.Response {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(request))
	f.Add([]byte(reply))
	f.Fuzz(func(t *testing.T, p []byte) {
		var h Header
		n, err := Parse(p, &h)
		if err == nil && (n < headerLen || n != h.Size) {
			t.Fatal(n)
		}
		if err != nil && !errors.Is(err, ErrShort) && Check(p) != wire.No {
			t.Fatal("not a message, but looks like one")
		}
	})
}

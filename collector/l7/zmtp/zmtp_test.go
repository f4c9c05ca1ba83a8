package zmtp

import (
	"errors"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const signature = "\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"

var (
	plain = signature + "\x03\x01PLAIN" + strings.Repeat("\x00", 15) + "\x01" + strings.Repeat("\x00", 31)
	old   = signature + "\x01\x03"
	ready = "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REP"
	part  = "\x01\x0esports.general"
	long  = "\x02\x00\x00\x00\x00\x00\x00\x01\x00" + strings.Repeat("x", 256)
)

func TestGreeting(t *testing.T) {
	for _, c := range []struct {
		p    string
		n    int
		want Greeting
	}{
		{plain, 64, Greeting{Major: 3, Minor: 1, Mechanism: []byte("PLAIN"), AsServer: true}},
		{old + "\x00\x00", 12, Greeting{Major: 2, Socket: "REQ"}},
		{signature + "\x03\x01\x00\x00", 12, Greeting{Major: 2, Socket: "PUB"}},
	} {
		var g Greeting
		n, err := ParseGreeting([]byte(c.p), &g)
		if err != nil || n != c.n || g.Major != c.want.Major || g.Minor != c.want.Minor || string(g.Mechanism) != string(c.want.Mechanism) ||
			g.AsServer != c.want.AsServer || g.Socket != c.want.Socket {
			t.Errorf("%q: %d, %v, %+v", c.p, n, err, g)
		}
		for cut := range n {
			if _, err := ParseGreeting([]byte(c.p[:cut]), &g); !errors.Is(err, ErrShort) {
				t.Errorf("%q: %v", c.p[:cut], err)
			}
			if v := Check([]byte(c.p[:cut]), false); v != wire.Maybe {
				t.Errorf("%q: verdict %d", c.p[:cut], v)
			}
		}
		if v := Check([]byte(c.p), false); v != wire.Either {
			t.Errorf("%q: verdict %d", c.p, v)
		}
	}
	for _, p := range []string{"GET / HTTP/1.1", "\xff\x00\x00\x01", signature[:9] + "\x00", signature + "\x02", signature + "\x01\x0b", signature + "\x03\x20NULL",
		signature + "\x03\x00null", plain[:40] + "x" + plain[41:], signature + "\x03\x01NULL\x00x" + strings.Repeat("\x00", 46)} {
		if _, err := ParseGreeting([]byte(p), &Greeting{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", p, err)
		}
		if v := Check([]byte(p), false); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestFrame(t *testing.T) {
	var f Frame
	var c Command
	if n, err := ParseFrame([]byte(ready), &f); err != nil || n != len(ready) || !f.Command || f.More {
		t.Errorf("%d, %v, %+v", n, err, f)
	}
	if err := ParseCommand(f.Body, &c); err != nil || string(c.Name) != "READY" || string(c.Property("socket-type")) != "REP" || c.Property("Identity") != nil {
		t.Errorf("%v, %+v", err, c)
	}
	if n, err := ParseFrame([]byte(part[:5]), &f); err != nil || n != len(part) || !f.More || string(f.Body) != "spo" {
		t.Errorf("%d, %v, %+v", n, err, f)
	}
	if n, err := ParseFrame([]byte(long), &f); err != nil || n != len(long) || len(f.Body) != 256 {
		t.Errorf("%d, %v", n, err)
	}
	for _, p := range []string{"", "\x01", "\x02\x00\x00\x00"} {
		if _, err := ParseFrame([]byte(p), &f); !errors.Is(err, ErrShort) {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"\x08\x00", "\x05\x00", "\x02\x01\x00\x00\x00\x00\x00\x00\x00"} {
		if _, err := ParseFrame([]byte(p), &f); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"\x00", "\x02a\n", "\x60" + strings.Repeat("a", 96)} {
		if err := ParseCommand([]byte(p), &c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if err := ParseCommand([]byte("\x05ERROR\x03bad"), &c); err != nil || string(c.Reason()) != "bad" {
		t.Errorf("%v, %q", err, c.Reason())
	}
	for p, want := range map[string]wire.Verdict{ready + part: wire.Either, ready + part[:4]: wire.Maybe, ready + "\x09": wire.No} {
		if v := Check([]byte(p), true); v != want {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	greeting, in := []byte(plain), []byte(ready)
	if n := testing.AllocsPerRun(100, func() {
		var g Greeting
		var f Frame
		var c Command
		if _, err := ParseGreeting(greeting, &g); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFrame(in, &f); err != nil || ParseCommand(f.Body, &c) != nil || c.Property("Socket-Type") == nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{plain, old, ready, part, long} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var g Greeting
		if n, err := ParseGreeting(p, &g); err == nil && (n <= 0 || n > len(p)) {
			t.Fatal(n)
		}
		var fr Frame
		if n, err := ParseFrame(p, &fr); err == nil && (n < fr.Head || len(fr.Body) > n) {
			t.Fatal(n)
		}
		var c Command
		if ParseCommand(p, &c) == nil {
			c.Property("Identity")
			c.Reason()
		}
		Check(p, false)
		Check(p, true)
	})
}

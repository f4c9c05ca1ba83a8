package smtp

import (
	"errors"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func TestCommand(t *testing.T) {
	for _, c := range []struct {
		p, verb, arg, address string
		verdict, own          wire.Verdict
	}{
		{"EHLO client.test\r\n", "EHLO", "client.test", "", wire.Request, wire.Request},
		{"helo a\n", "helo", "a", "", wire.Request, wire.Request},
		{"MAIL FROM:<a@b.test> SIZE=61\r\n", "MAIL", "FROM:<a@b.test> SIZE=61", "a@b.test", wire.Request, wire.Request},
		{"RCPT TO:<>\r\n", "RCPT", "TO:<>", "", wire.No, wire.Request},
		{"DATA\r\n", "DATA", "", "", wire.No, wire.Request}, {"XYZZY\r\n", "XYZZY", "", "", wire.No, wire.No},
		{"MAIL x\r\n", "MAIL", "x", "", wire.No, wire.Request}, {"EHLO\r\n", "EHLO", "", "", wire.No, wire.Request},
	} {
		var m Command
		n, err := ParseCommand([]byte(c.p), &m)
		if err != nil || n != len(c.p) || string(m.Verb) != c.verb || string(m.Arg) != c.arg || string(m.Address()) != c.address {
			t.Errorf("%q: %d, %v, %q %q %q", c.p, n, err, m.Verb, m.Arg, m.Address())
		}
		for own, want := range map[bool]wire.Verdict{false: c.verdict, true: c.own} {
			for cut := range len(c.p) + 1 {
				if v := Check([]byte(c.p[:cut]), own); v != want && (cut == len(c.p) || v != wire.Maybe) {
					t.Errorf("%q, own %v: verdict %d", c.p[:cut], own, v)
				}
			}
		}
	}
	for _, p := range []string{"GET / HTTP/1.1\r\n", "\x16\x03\x01\n", "AB\r\n", "EH1O x\r\n", "ABCDEFGHIJKLMN\r\n", "EHLO " + strings.Repeat("x", maxCommand) + "\r\n"} {
		if _, err := ParseCommand([]byte(p), &Command{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.20q: %v", p, err)
		}
	}
}

func TestReply(t *testing.T) {
	for _, c := range []struct {
		p, enhanced, text string
		code              int
		verdict           wire.Verdict
	}{
		{"220 mx.test ESMTP OpenSMTPD\r\n", "", "mx.test ESMTP OpenSMTPD", 220, wire.Response},
		{"250-mx.test Hello\r\n250-8BITMIME\r\n250 HELP\r\n", "", "mx.test Hello", 250, wire.No},
		{"250 2.1.5 Ok\r\n", "2.1.5", "Ok", 250, wire.No},
		{"550 5.7.100\r\n", "5.7.100", "", 550, wire.No},
		{"250 5.1.1 Ok\r\n", "", "5.1.1 Ok", 250, wire.No},
		{"354\r\n", "", "", 354, wire.No},
		{"220 ftp ready\r\n", "", "ftp ready", 220, wire.No},
		{"250 2..1 x\n", "", "2..1 x", 250, wire.No},
	} {
		var r Reply
		n, err := ParseReply([]byte(c.p), &r)
		if err != nil || n != len(c.p) || r.Code != c.code || string(r.Enhanced) != c.enhanced || string(r.Text) != c.text {
			t.Errorf("%q: %d, %v, %d %q %q", c.p, n, err, r.Code, r.Enhanced, r.Text)
		}
		for own, want := range map[bool]wire.Verdict{false: c.verdict, true: wire.Response} {
			if v := Check([]byte(c.p), own); v != want {
				t.Errorf("%q, own %v: verdict %d", c.p, own, v)
			}
		}
		for cut := range c.p {
			if _, err := ParseReply([]byte(c.p[:cut]), &r); !errors.Is(err, ErrShort) {
				t.Errorf("%q: %v", c.p[:cut], err)
			}
		}
	}
	for _, p := range []string{"1", "600 x\r\n", "25x", "250_\r\n", "250-a\r\n251 b\r\n", "25\r\n", "250-" + strings.Repeat("x\r\n250-", maxReply/7) + "\r\n250 x\r\n"} {
		if _, err := ParseReply([]byte(p), &Reply{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.20q: %v", p, err)
		}
	}
}

func TestEnd(t *testing.T) {
	for _, c := range []struct {
		p     string
		start bool
		n     int
		done  bool
	}{
		{".\r\nQUIT", true, 3, true}, {".\r\n", false, 3, false}, {"a\r\n..\r\n.\r\nx", true, 10, true}, {"a\n.\n", true, 4, true},
		{"a\r\n.", true, 3, false}, {"a\r\n.\r", true, 3, false}, {"abc", true, 3, false}, {"", true, 0, false}, {"a\r\n.b", true, 5, false},
	} {
		if n, done := End([]byte(c.p), c.start); n != c.n || done != c.done {
			t.Errorf("%q: %d %v", c.p, n, done)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	in, out := []byte("MAIL FROM:<a@b.test>\r\n"), []byte("250 2.1.5 Ok\r\n")
	if n := testing.AllocsPerRun(100, func() {
		var c Command
		var r Reply
		if _, err := ParseCommand(in, &c); err != nil || c.Address() == nil {
			t.Fatal(err)
		}
		if _, err := ParseReply(out, &r); err != nil {
			t.Fatal(err)
		}
		Check(in, false)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"EHLO a\r\n", "MAIL FROM:<a@b> SIZE=1\r\n", "250-a\r\n250 2.0.0 b\r\n", "x\r\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var c Command
		if n, err := ParseCommand(p, &c); err == nil && (n <= 0 || n > len(p)) {
			t.Fatal(n)
		}
		c.Address()
		var r Reply
		if n, err := ParseReply(p, &r); err == nil && (n <= 0 || n > len(p) || r.Code < 200 || r.Code > 599) {
			t.Fatal(n, r.Code)
		}
		if n, done := End(p, true); n > len(p) || done && n == 0 {
			t.Fatal(n)
		}
		Check(p, false)
		Check(p, true)
	})
}

package websocket

import (
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestParse has the examples of RFC 6455 §5.7, among others.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		n        int
		op       Opcode
		final    bool
		payload  string
		err      error
	}{
		{"text", "8105 48656c6c6f", 7, Text, true, "Hello", nil},
		{"masked", "8185 37fa213d 7f9f4d5158", 11, Text, true, "Hello", nil},
		{"first part", "0103 48656c", 5, Text, false, "Hel", nil},
		{"second part", "8002 6c6f", 4, Continuation, true, "lo", nil},
		{"ping", "8905 48656c6c6f", 7, Ping, true, "Hello", nil},
		{"pong", "8a85 37fa213d 7f9f4d5158", 11, Pong, true, "Hello", nil},
		{"256 bytes", "827e0100 4142", 260, Binary, true, "AB", nil},
		{"64 KiB", "827f0000000000010000 41", 65546, Binary, true, "A", nil},
		{"compressed", "c103 aabbcc", 5, Text, true, "\xaa\xbb\xcc", nil},
		{"close", "8802 03e8", 4, Close, true, "\x03\xe8", nil},
		{"empty", "", 0, 0, false, "", ErrShort},
		{"cut header", "827f00000000", 0, 0, false, "", ErrShort},
		{"cut mask", "8185 37fa", 0, 0, false, "", ErrShort},
		{"reserved opcode", "8300", 0, 0, false, "", ErrMalformed},
		{"reserved control", "8b00", 0, 0, false, "", ErrMalformed},
		{"reserved bit", "9100", 0, 0, false, "", ErrMalformed},
		{"a ping in parts", "0900", 0, 0, false, "", ErrMalformed},
		{"a long ping", "897e0100", 0, 0, false, "", ErrMalformed},
		{"a length that is longer than need be", "827e0001", 0, 0, false, "", ErrMalformed},
		{"an absurd length", "827fffffffffffffffff", 0, 0, false, "", ErrMalformed},
	} {
		var f Frame
		n, err := Parse(unhex(t, c.in), &f)
		if n != c.n || err != c.err || err == nil && (f.Opcode != c.op || f.Final != c.final || string(f.AppendPayload(nil)) != c.payload) {
			t.Errorf("%s: %d %v %+v", c.name, n, err, f)
		}
	}
}

func TestClose(t *testing.T) {
	for in, want := range map[string]string{"": "1005 ", "03": "1005 ", "03e8": "1000 ", "03f3 6f6f7073": "1011 oops"} {
		code, reason := CloseCode(unhex(t, in))
		if got := strings.Join([]string{itoa(code), string(reason)}, " "); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	for code := range 5000 {
		if known := code >= 1000 && code <= 1014 && code != 1004 && code != 1006; (CodeString(code) != "") != known {
			t.Errorf("%d is called %q", code, CodeString(code))
		}
	}
}

func itoa(n int) string {
	return string([]byte{'0' + byte(n/1000), '0' + byte(n/100%10), '0' + byte(n/10%10), '0' + byte(n%10)})
}

func TestFills(t *testing.T) {
	for in, want := range map[string]bool{"8105 48656c6c6f 8900": true, "8105 48656c6c6f 89": false, "8105 48656c6c": false, "8185 37fa213d 7f9f4d5158": false, "": true} {
		if Fills(unhex(t, in), false) != want {
			t.Error(in)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p := unhex(t, "8185 37fa213d 7f9f4d5158")
	var f Frame
	dst := make([]byte, 0, 16)
	if n := testing.AllocsPerRun(100, func() {
		if n, err := Parse(p, &f); n != len(p) || err != nil || len(f.AppendPayload(dst)) != 5 {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"8185 37fa213d 7f9f4d5158", "827f0000000000010000 41", "8802 03e8", "827e0100 4142"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var fr Frame
		n, err := Parse(p, &fr)
		if err != nil && n != 0 || err == nil && (n < 2 || len(fr.Payload) > fr.Length || n < fr.Length || n <= len(p) && len(fr.Payload) != fr.Length) {
			t.Fatal(n, err, fr)
		}
		if err == nil && n <= len(p) && !Fills(p[:n], fr.Masked) {
			t.Fatal("a frame does not fill itself")
		}
		CloseCode(fr.AppendPayload(nil))
	})
}

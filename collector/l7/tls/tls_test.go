package tls

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// block is b behind its length in n bytes.
func block(n int, b ...byte) []byte {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(b)))
	return append(size[8-n:], b...)
}

// ext is an extension.
func ext(kind uint16, content []byte) []byte {
	return append([]byte{byte(kind >> 8), byte(kind)}, block(2, content...)...)
}

// hello is the body of a ClientHello.
func hello(t testing.TB, ciphers string, extensions ...[]byte) []byte {
	b := append([]byte{3, 3}, make([]byte, 32)...)
	b = append(b, block(1, make([]byte, 32)...)...)
	b = append(b, block(2, unhex(t, ciphers)...)...)
	b = append(b, block(1, 0)...)
	if extensions == nil {
		return b
	}
	var all []byte
	for _, e := range extensions {
		all = append(all, e...)
	}
	return append(b, block(2, all...)...)
}

// record puts a handshake message into a record.
func record(kind byte, body []byte) []byte {
	return append([]byte{22, 3, 1}, block(2, append([]byte{kind}, block(3, body...)...)...)...)
}

// chrome is the hello that the fingerprint's authors explain it with: its order is the client's, and values that stand for
// nothing are in it.
func chrome(t testing.TB) []byte {
	e := [][]byte{ext(0x2a2a, nil)}
	for _, kind := range []uint16{0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0x0d, 5, 0x23, 0x12, 0x2b, 0xff01, 0x0b, 0x0a, 0x15} {
		var content []byte
		switch kind {
		case extServerName:
			content = block(2, append([]byte{0}, block(2, []byte("shop.example.com")...)...)...)
		case extALPN:
			content = block(2, append(block(1, []byte("h2")...), block(1, []byte("http/1.1")...)...)...)
		case extSignatures:
			content = block(2, unhex(t, "0403 0804 0401 0503 0805 0501 0806 0601")...)
		case extVersions:
			content = block(1, unhex(t, "3a3a 0304 0303")...)
		}
		e = append(e, ext(kind, content))
	}
	return hello(t, "5a5a 1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035", append(e, ext(0x7a7a, []byte{0}))...)
}

func TestClientHello(t *testing.T) {
	var h ClientHello
	if err := ParseClientHello(chrome(t), &h); err != nil {
		t.Fatal(err)
	}
	got := string(h.ServerName) + " " + VersionString(h.Version) + " " + string(AppendProtocols(nil, h.ALPN)) + " " + string(h.AppendVersions(nil))
	if got != "shop.example.com 1.3 h2,http/1.1 1.3,1.2" || h.Cut || h.Legacy != TLS12 {
		t.Error(got, h.Cut, h.Legacy)
	}
}

func TestJA4(t *testing.T) {
	versions := ext(extVersions, block(1, 3, 4))
	alpn := func(name string) []byte { return ext(extALPN, block(2, block(1, []byte(name)...)...)) }
	for _, c := range []struct {
		name, want string
		body       []byte
	}{
		{"published", "t13d1516h2_8daaf6152771_e5627efa2ab1", chrome(t)},
		{"nothing", "t12i000000_000000000000_000000000000", hello(t, "")},
		{"protocol of one letter", "t13i0102xx_", hello(t, "1301", versions, alpn("x"))},
		{"protocol with odd bytes", "t13i0102ab_", hello(t, "1301", versions, alpn("\xaah\xcb"))},
	} {
		var h ClientHello
		if err := ParseClientHello(c.body, &h); err != nil {
			t.Fatal(c.name, err)
		}
		if got := string(h.AppendJA4(nil)); !strings.HasPrefix(got, c.want) || len(got) != 36 {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if s := string(appendIDs(nil, []uint16{0x2f, 0xc02b})); s != "002f,c02b" {
		t.Error(s)
	}
}

// TestCutHello: what there is of a hello is read, and nothing is made of what is missing.
func TestCutHello(t *testing.T) {
	whole := chrome(t)
	for n := range whole {
		var h ClientHello
		err := ParseClientHello(whole[:n], &h)
		if err == nil && (!h.Cut && n > 2+32+33+2+34 || len(h.AppendJA4(nil)) > 0 && h.Cut) {
			t.Errorf("%d bytes: %+v", n, h)
		}
		if s := string(h.ServerName); s != "" && s != "shop.example.com" {
			t.Errorf("%d bytes: %q", n, s)
		}
	}
	for name, body := range map[string][]byte{
		"odd ciphers":                    hello(t, "1301 13"),
		"an extension beyond the others": hello(t, "1301", []byte{0, 0, 0, 9}),
	} {
		var h ClientHello
		if err := ParseClientHello(body, &h); err != ErrMalformed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServerHello(t *testing.T) {
	body := func(random string, extensions ...byte) []byte {
		b := append([]byte{3, 3}, random...)
		b = append(append(b, 0), 0x13, 0x01, 0)
		return append(b, block(2, extensions...)...)
	}
	random := strings.Repeat("r", 32)
	var h ServerHello
	if err := ParseServerHello(body(random, ext(extVersions, []byte{3, 4})...), &h); err != nil || h.Version != TLS13 || h.Cipher != 0x1301 || h.Retry {
		t.Errorf("%+v %v", h, err)
	}
	if err := ParseServerHello(body(retryRandom), &h); err != nil || h.Version != TLS12 || !h.Retry {
		t.Errorf("%+v %v", h, err)
	}
	if err := ParseServerHello(body(random, ext(extALPN, block(2, block(1, 'h', '2')...))...), &h); err != nil || string(h.ALPN) != "h2" {
		t.Errorf("%+v %v", h, err)
	}
	if err := ParseServerHello(body(random)[:38], &h); err != nil { // old servers have no extensions
		t.Error(err)
	}
	if err := ParseServerHello(body(random)[:36], &h); err != ErrShort {
		t.Error(err)
	}
}

func TestRecords(t *testing.T) {
	for in, want := range map[string]error{
		"16 0301 0005": nil, "17 0303 0000": nil, "16 0303 0000": ErrMalformed, "18 0303 0001": ErrMalformed, "16 0305 0001": ErrMalformed,
		"16 0203 0001": ErrMalformed, "16 0303 ffff": ErrMalformed, "16 0303 00": ErrShort, "": ErrShort,
	} {
		var r Record
		if n, err := ParseRecord(unhex(t, in), &r); err != want || err == nil && n != RecordLen+r.Length {
			t.Errorf("%s: %d %v", in, n, err)
		}
	}
}

func TestCheck(t *testing.T) {
	client := record(TypeClientHello, chrome(t))
	server := record(TypeServerHello, append(append([]byte{3, 3}, make([]byte, 33)...), 0x13, 1, 0))
	for _, c := range []struct {
		name string
		p    []byte
		want wire.Verdict
	}{
		{"client", client, wire.Request},
		{"its beginning", client[:44], wire.Request},
		{"less of it", client[:43], wire.Maybe},
		{"a byte", client[:1], wire.Maybe},
		{"nothing", nil, wire.Maybe},
		{"server", server, wire.Response},
		{"its beginning", server[:45], wire.Maybe},
		{"application data", unhex(t, "17 0303 0010 00112233445566778899aabbccddeeff"), wire.No},
		{"a certificate", record(TypeCertificate, make([]byte, 100)), wire.No},
		{"a version that is none", append([]byte{22, 3, 9}, client[3:]...), wire.No},
		{"a short record", unhex(t, "16 0301 0004 01000000"), wire.No},
		{"text", []byte("\x16\x03hello, world, how are you today? I am well, thank you"), wire.No},
	} {
		if got := Check(c.p); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if Plausible(client) != wire.Either || Plausible(append(client, 'x', 'x', 'x', 'x', 'x')) != wire.No || Plausible(nil) != wire.Maybe || Plausible([]byte("hello")) != wire.No {
		t.Error("plausible")
	}
}

func TestMessages(t *testing.T) {
	kind, body, n, err := Message(unhex(t, "0b 000003 616263 02"))
	if kind != TypeCertificate || string(body) != "abc" || n != 7 || err != nil {
		t.Error(kind, body, n, err)
	}
	kind, body, n, err = Message(unhex(t, "0b 000103 6162"))
	if kind != TypeCertificate || string(body) != "ab" || n != 0x107 || err != ErrShort {
		t.Error(kind, body, n, err)
	}
	if der := FirstCertificate(unhex(t, "000006 000003 616263")); string(der) != "abc" {
		t.Error(der)
	}
	if der := FirstCertificate(unhex(t, "000006 000003 6162")); der != nil {
		t.Error(der)
	}
	if code, name, fatal, ok := ParseAlert([]byte{2, 48}); code != 48 || name != "unknown_ca" || !fatal || !ok {
		t.Error(code, name, fatal, ok)
	}
	for _, bad := range []string{"", "02", "0330", "02ff", "0230aa"} {
		if _, _, _, ok := ParseAlert(unhex(t, bad)); ok {
			t.Error(bad)
		}
	}
	for v, want := range map[uint16]string{SSL30: "SSL 3.0", TLS10: "1.0", TLS11: "1.1", 0x7f1c: ""} {
		if VersionString(v) != want {
			t.Errorf("%x", v)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	client := record(TypeClientHello, chrome(t))
	var h ClientHello
	dst := make([]byte, 0, 64)
	run := func() {
		if Check(client) != wire.Request {
			t.Fatal("check")
		}
		_, body, _, err := Message(client[RecordLen:])
		if err != nil || ParseClientHello(body, &h) != nil || len(h.AppendJA4(dst)) != 36 {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(record(TypeClientHello, chrome(f)))
	f.Add(record(TypeClientHello, hello(f, "")))
	f.Add(record(TypeServerHello, append(append([]byte{3, 3}, retryRandom...), 0, 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4)))
	f.Add(record(TypeCertificate, unhex(f, "000006 000003 616263")))
	f.Fuzz(func(t *testing.T, p []byte) {
		Check(p)
		Plausible(p)
		var r Record
		n, err := ParseRecord(p, &r)
		if err != nil {
			return
		}
		rest := p[RecordLen:min(n, len(p))]
		for len(rest) > 0 {
			_, body, n, err := Message(rest)
			var c ClientHello
			if ParseClientHello(body, &c) == nil {
				if ja4 := c.AppendJA4(nil); len(ja4) != 36 && !c.Cut {
					t.Fatalf("%s", ja4)
				}
				AppendProtocols(nil, c.ALPN)
				c.AppendVersions(nil)
			}
			var s ServerHello
			_ = ParseServerHello(body, &s)
			FirstCertificate(body)
			ParseAlert(body)
			if err != nil {
				return
			}
			rest = rest[n:]
		}
	})
}

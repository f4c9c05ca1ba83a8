package l7

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// sent is what one end of a handshake has sent at once.
type sent struct {
	side Side
	data string
}

// buffered is one direction of a connection in memory whose writer never waits.
type buffered struct {
	mu     sync.Mutex
	more   *sync.Cond
	data   []byte
	closed bool
}

func newBuffered() *buffered {
	b := &buffered{}
	b.more = sync.NewCond(&b.mu)
	return b
}

func (b *buffered) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.data) == 0 {
		if b.closed {
			return 0, io.EOF
		}
		b.more.Wait()
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
	b.more.Broadcast()
	return len(p), nil
}

func (b *buffered) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Broadcast()
}

// wiretap is an end of a connection in memory; it notes what is sent.
type wiretap struct {
	net.Conn // nil: for the methods that nobody calls
	side     Side
	in, out  *buffered
	mu       *sync.Mutex
	all      *[]sent
}

func (w *wiretap) Read(p []byte) (int, error) { return w.in.Read(p) }

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	*w.all = append(*w.all, sent{w.side, string(p)})
	w.mu.Unlock()
	return w.out.Write(p)
}

func (w *wiretap) Close() error                     { w.out.end(); return nil }
func (w *wiretap) SetDeadline(time.Time) error      { return nil }
func (w *wiretap) SetReadDeadline(time.Time) error  { return nil }
func (w *wiretap) SetWriteDeadline(time.Time) error { return nil }

// handshake has two ends of crypto/tls speak to each other and returns what they have sent, ended by application data. The end
// that fails is the last to say something.
func handshake(t *testing.T, client, server *stdtls.Config) (all []sent) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	up, down := newBuffered(), newBuffered()
	wg.Go(func() {
		w := &wiretap{side: Client, in: down, out: up, mu: &mu, all: &all}
		defer w.Close()
		c := stdtls.Client(w, client)
		if c.Handshake() == nil {
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
			_, _ = c.Read(make([]byte, 100))
		}
	})
	wg.Go(func() {
		w := &wiretap{side: Server, in: up, out: down, mu: &mu, all: &all}
		defer w.Close()
		s := stdtls.Server(w, server)
		if s.Handshake() == nil {
			_, _ = s.Read(make([]byte, 100))
			_, _ = s.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		}
	})
	wg.Wait()
	return all
}

// testCertificate makes one for shop.test.
func testCertificate(t *testing.T) stdtls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop.test", Organization: []string{"Shop"}},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC), DNSNames: []string{"shop.test", "www.shop.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLS(t *testing.T) {
	cert := testCertificate(t)
	for _, c := range []struct {
		name           string
		client, server *stdtls.Config
		want           string
		attrs          string // that must be there
	}{
		{"1.3", &stdtls.Config{NextProtos: []string{"h2", "http/1.1"}}, &stdtls.Config{}, "1.3 session client_hello shop.testshop.test > -1 ok ",
			"tls_alpn_offered=h2,http/1.1 tls_versions_offered=1.3,1.2 tls_cert_subject= tls_cipher=TLS_"},
		{"1.2", &stdtls.Config{NextProtos: []string{"h2", "http/1.1"}, MaxVersion: stdtls.VersionTLS12}, &stdtls.Config{NextProtos: []string{"http/1.1"}},
			"1.2 session client_hello shop.testshop.test > -1 ok ",
			"tls_alpn=http/1.1 tls_cert_subject=CN=shop.test,O=Shop tls_cert_issuer=CN=shop.test,O=Shop tls_cert_names=shop.test,www.shop.test tls_cert_not_after=2040-01-02T03:04:05Z tls_cipher=TLS_ECDHE_ECDSA_ tls_versions_offered=1.2 tls_ja4=t12d"},
		{"asked again", &stdtls.Config{CurvePreferences: []stdtls.CurveID{stdtls.X25519, stdtls.CurveP384}}, &stdtls.Config{CurvePreferences: []stdtls.CurveID{stdtls.CurveP384}},
			"1.3 session client_hello shop.testshop.test > -1 ok ", "tls_hello_retry=true"},
		{"no common version", &stdtls.Config{MaxVersion: stdtls.VersionTLS12}, &stdtls.Config{MinVersion: stdtls.VersionTLS13},
			"1.2 session client_hello shop.testshop.test > 70 client_error protocol_version", "tls_ja4=t12d tls_cipher="},
		{"no common protocol", &stdtls.Config{NextProtos: []string{"h2"}}, &stdtls.Config{NextProtos: []string{"smtp"}},
			"1.3 session client_hello shop.testshop.test > 120 client_error no_application_protocol", "tls_alpn_offered=h2"},
		{"an unknown issuer", &stdtls.Config{MaxVersion: stdtls.VersionTLS12, RootCAs: x509.NewCertPool()}, &stdtls.Config{},
			"1.2 session client_hello shop.testshop.test > 42 server_error bad_certificate", "tls_cert_subject=CN=shop.test,O=Shop"},
	} {
		c.client.ServerName, c.client.InsecureSkipVerify = "shop.test", c.client.RootCAs == nil
		c.server.Certificates = []stdtls.Certificate{cert}
		all := handshake(t, c.client, c.server)
		for _, piece := range []int{1 << 20, 100, 1} {
			k := newTalk(t, Options{})
			for _, s := range all {
				for data := s.data; len(data) > 0; {
					n := min(piece, len(data))
					k.send(s.side, data[:n])
					data = data[n:]
				}
			}
			if len(k.rec.exchanges) == 0 {
				t.Fatalf("%s in pieces of %d: %d messages, %+v", c.name, piece, len(all), k.tr.Metrics())
			}
			e := k.one()
			if got := e.Version + " " + brief(&e) + " " + e.ResponseException; got != c.want || e.Endpoint != "shop.test" || e.Protocol != TLS {
				t.Errorf("%s in pieces of %d:\n got %s\nwant %s", c.name, piece, got, c.want)
			}
			for _, a := range strings.Fields(c.attrs) {
				key, value, _ := strings.Cut(a, "=")
				if got := e.attributeOf(key); !strings.HasPrefix(got, value) || value == "" && got != "" {
					t.Errorf("%s: %s is %q, want %q", c.name, key, got, value)
				}
			}
			if m := k.tr.Metrics(); m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 || m.Buffered != 0 || !k.c.off {
				t.Errorf("%s: %+v, off %v", c.name, m, k.c.off)
			}
		}
	}
}

// TestTLSHalves: one end's messages alone, or a handshake that stops.
func TestTLSHalves(t *testing.T) {
	cert := testCertificate(t)
	all := handshake(t, &stdtls.Config{ServerName: "shop.test", InsecureSkipVerify: true, MaxVersion: stdtls.VersionTLS12}, &stdtls.Config{Certificates: []stdtls.Certificate{cert}})
	play := func(keep func(i int, s sent) bool) *talk {
		k := newTalk(t, Options{})
		for i, s := range all {
			if keep(i, s) {
				k.send(s.side, s.data)
			}
		}
		k.time += 20e9
		k.tr.Tick(k.time)
		return k
	}
	play(func(_ int, s sent) bool { return s.side == Client }).want("request client_hello shop.testshop.test > -1 timeout")
	k := play(func(_ int, s sent) bool { return s.side == Server })
	e := k.one()
	if brief(&e) != "response   > -1 ok" || e.Version != "1.2" || !strings.HasPrefix(e.attributeOf("tls_cert_subject"), "CN=shop.test") {
		t.Errorf("%+v", e)
	}
	play(func(i int, _ sent) bool { return i == 0 }).want("request client_hello shop.testshop.test > -1 timeout")
	play(func(i int, _ sent) bool { return i < 2 }).want("session client_hello shop.testshop.test > -1 unknown")
	play(func(i int, _ sent) bool { return i >= 2 }).want()
}

// TestTLSFragments: messages in several records.
func TestTLSFragments(t *testing.T) {
	cert := testCertificate(t)
	all := handshake(t, &stdtls.Config{ServerName: "shop.test", InsecureSkipVerify: true, MaxVersion: stdtls.VersionTLS12}, &stdtls.Config{Certificates: []stdtls.Certificate{cert}})
	k := newTalk(t, Options{})
	for _, s := range all[:2] {
		for data := s.data; len(data) > 0; {
			n := 5 + int(data[3])<<8 + int(data[4])
			for content := data[5:n]; len(content) > 0; {
				m := min(60, len(content))
				k.send(s.side, data[:3]+"\x00"+string([]byte{byte(m)})+content[:m])
				content = content[m:]
			}
			data = data[n:]
		}
	}
	for _, s := range all[2:] {
		k.send(s.side, s.data)
	}
	e := k.one()
	if brief(&e) != "session client_hello shop.testshop.test > -1 ok" || e.attributeOf("tls_cert_not_after") == "" {
		t.Errorf("%+v", e)
	}
	// A message that has no end is not kept for ever.
	k = newTalk(t, Options{})
	k.client(all[0].data)
	k.server("\x16\x03\x03\x00\x30\x02\x00\x00\x2c\x03\x03" + strings.Repeat("r", 32) + "\x00\xc0\x2b\x00" + strings.Repeat("\x00", 6))
	for range 40 {
		k.server("\x16\x03\x03\x04\x00\x0b\xff\xff\xff" + strings.Repeat("x", 1020))
	}
	if m := k.tr.Metrics(); m.DroppedBuffer == 0 || m.ParseFailures == 0 {
		t.Errorf("%+v", m)
	}
	if st := k.c.state.(*tlsState); len(st.part[1]) > maxHandshake {
		t.Error(len(st.part[1]))
	}
}

func TestTLSStatus(t *testing.T) {
	for _, c := range []struct {
		code   uint8
		server bool
		want   Status
	}{{40, true, StatusClientError}, {48, false, StatusServerError}, {80, true, StatusServerError}, {80, false, StatusClientError}, {90, false, StatusUnknown}, {0, true, StatusUnknown}} {
		if got := statusTLS(c.code, c.server); got != c.want {
			t.Error(fmt.Sprint(c, got))
		}
	}
}

package l7

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"hash/maphash"
	"strings"
	"time"

	"github.com/flowlake/flowlake/collector/l7/tls"
)

// tlsDriver reads the handshake of TLS: the rest is secret.
type tlsDriver struct {
	t      *Tracker
	client tls.ClientHello
	server tls.ServerHello
	text   []byte
	certs  map[uint64]*certificate // by the hash of what was sent
}

// certificate is what is told of one.
type certificate struct{ subject, issuer, names, notAfter string }

// tlsState is a handshake under way, its directions those of the client and of the server.
type tlsState struct {
	part   [2][]byte // the beginning of a message that goes on in the next record; at most maxHandshake bytes
	secret [2]bool   // what follows is encrypted
}

const (
	maxHandshake    = 16 << 10 // bytes of a message in several records that are kept
	maxCertificates = 256      // remembered by a Tracker
)

func newTLSDriver(t *Tracker) driver { return &tlsDriver{t: t, certs: map[uint64]*certificate{}} }

func (d *tlsDriver) check(c *Conn, in *input, _ bool) shape {
	if c.Proto != TLS {
		return shape(tls.Check(in.p))
	}
	if st, ok := c.state.(*tlsState); ok {
		st.part[way(in.server)] = nil
	}
	return shape(tls.Plausible(in.p))
}

func (d *tlsDriver) step(c *Conn, in *input) (int, error) {
	st, ok := c.state.(*tlsState)
	if !ok {
		st = &tlsState{}
		c.state = st
	}
	var r tls.Record
	n, err := tls.ParseRecord(in.p, &r)
	if errors.Is(err, tls.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	w := way(in.server)
	switch r.Type {
	case tls.ApplicationData:
		if pd := c.first; pd == nil || pd.begun || in.server { // else it is early data
			d.done(c)
		}
		return n, nil
	case tls.ChangeCipherSpec:
		// Before the server's hello it says nothing (RFC 8446, D.4).
		if pd := c.first; pd != nil && pd.begun {
			if st.secret[w] = true; in.server {
				d.done(c)
			}
		}
		return n, nil
	}
	if st.secret[w] {
		return n, nil
	}
	if !c.enough(in, n) {
		return 0, nil
	}
	content := in.p[tls.RecordLen:min(n, len(in.p))]
	if r.Type == tls.Alert {
		if code, name, fatal, ok := tls.ParseAlert(content); ok && (fatal || code == tls.CloseNotify) {
			d.alert(c, in, code, name)
		}
		return n, nil
	}
	return n, d.handshake(c, st, in, content, len(content) == r.Length)
}

// handshake reads the messages in a record, which may begin in the one before and end in the next.
func (d *tlsDriver) handshake(c *Conn, st *tlsState, in *input, content []byte, whole bool) error {
	w := way(in.server)
	p := content
	if len(st.part[w]) > 0 {
		if len(st.part[w])+len(content) > maxHandshake {
			st.part[w] = nil
			d.t.m.DroppedBuffer++
			return tls.ErrMalformed
		}
		st.part[w] = append(st.part[w], content...)
		p = st.part[w]
	}
	for len(p) > 0 && !c.off {
		kind, body, n, err := tls.Message(p)
		if err != nil && whole {
			st.part[w] = append(st.part[w][:0], p...)
			return nil
		}
		if err := d.message(c, in, kind, body, n); err != nil {
			return err
		}
		if err != nil {
			break
		}
		p = p[n:]
	}
	st.part[w] = nil
	return nil
}

// message handles a message of n bytes.
func (d *tlsDriver) message(c *Conn, in *input, kind uint8, body []byte, n int) error {
	switch {
	case kind == tls.TypeClientHello && !in.server && c.first == nil: // another one asks for the same again
		return d.clientHello(c, in, body, n)
	case kind == tls.TypeServerHello && in.server:
		return d.serverHello(c, in, body, n)
	case kind == tls.TypeCertificate && in.server && c.first != nil:
		d.certificate(&c.first.ex, tls.FirstCertificate(body))
	case kind == tls.TypeClientHello && in.server, kind == tls.TypeServerHello && !in.server:
		c.t.m.WrongSide++
	}
	return nil
}

func (d *tlsDriver) clientHello(c *Conn, in *input, body []byte, n int) error {
	t, h := d.t, &d.client
	if err := tls.ParseClientHello(body, h); err != nil {
		return err
	}
	pd := c.newPending(in)
	ex := &pd.ex
	name := t.text(h.ServerName, t.o.MaxText)
	ex.RequestType, ex.RequestDomain, ex.RequestResource, ex.Endpoint = "client_hello", name, name, name
	ex.Version = tls.VersionString(h.Version)
	ex.RequestBytes = int64(n)
	d.text = tls.AppendProtocols(d.text[:0], h.ALPN)
	t.attribute(ex, "tls_alpn_offered", d.text)
	d.text = h.AppendJA4(d.text[:0])
	t.attribute(ex, "tls_ja4", d.text)
	d.text = h.AppendVersions(d.text[:0])
	t.attribute(ex, "tls_versions_offered", d.text)
	c.push(pd)
	return nil
}

func (d *tlsDriver) serverHello(c *Conn, in *input, body []byte, n int) error {
	t, h := d.t, &d.server
	if err := tls.ParseServerHello(body, h); err != nil {
		return err
	}
	pd := c.first
	if h.Retry {
		if pd != nil {
			t.attribute(&pd.ex, "tls_hello_retry", []byte("true"))
		}
		return nil
	}
	if pd == nil {
		pd = c.orphan(in, 0)
	}
	ex := c.begin(pd, in)
	ex.Version = tls.VersionString(h.Version)
	ex.ResponseBytes = int64(n)
	t.attribute(ex, "tls_alpn", h.ALPN)
	t.attribute(ex, "tls_cipher", []byte(stdtls.CipherSuiteName(h.Cipher)))
	if h.Version >= tls.TLS13 { // the rest is secret
		d.done(c)
	}
	return nil
}

// done ends the reading: the ends have agreed.
func (d *tlsDriver) done(c *Conn) {
	if pd := c.first; pd != nil && pd.begun {
		c.unlink(pd)
		pd.ex.Status = StatusOK
		c.finish(pd, &pd.ex)
	}
	c.stop()
}

// alert ends the handshake.
func (d *tlsDriver) alert(c *Conn, in *input, code uint8, name string) {
	pd := c.first
	if pd == nil {
		c.stop()
		return
	}
	c.unlink(pd)
	ex := &pd.ex
	if !pd.begun && in.server {
		ex = c.answer(pd, in)
		ex.ResponseBytes = 2
	}
	ex.ResponseCode, ex.Status = int64(code), statusTLS(code, in.server)
	if code != tls.CloseNotify {
		ex.ResponseException = name
	}
	if pd.begun || in.server {
		c.finish(pd, ex)
	} else { // the client has not waited
		c.report(ex)
		d.t.putPending(pd)
	}
	c.stop()
}

// statusTLS: an alert blames the other end, unless it tells of trouble at home or of none.
func statusTLS(code uint8, server bool) Status {
	switch {
	case code == tls.CloseNotify, code == tls.UserCanceled:
		return StatusUnknown
	case (code == tls.InternalError) == server:
		return StatusServerError
	}
	return StatusClientError
}

// certificate tells of a certificate.
func (d *tlsDriver) certificate(ex *Exchange, der []byte) {
	if len(der) == 0 {
		return
	}
	key := maphash.Bytes(d.t.seed, der)
	cert, ok := d.certs[key]
	if !ok {
		if len(d.certs) >= maxCertificates {
			clear(d.certs)
		}
		cert = readCertificate(der)
		d.certs[key] = cert
	}
	t := d.t
	t.attribute(ex, "tls_cert_issuer", []byte(cert.issuer))
	t.attribute(ex, "tls_cert_names", []byte(cert.names))
	t.attribute(ex, "tls_cert_not_after", []byte(cert.notAfter))
	t.attribute(ex, "tls_cert_subject", []byte(cert.subject))
}

// readCertificate reads a certificate; nothing is told of one that is not understood.
func readCertificate(der []byte) *certificate {
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return &certificate{}
	}
	return &certificate{subject: x.Subject.String(), issuer: x.Issuer.String(), names: strings.Join(x.DNSNames, ","), notAfter: x.NotAfter.UTC().Format(time.RFC3339)}
}

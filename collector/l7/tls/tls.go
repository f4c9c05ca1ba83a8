// Package tls reads what TLS (RFC 5246, RFC 8446) says in the clear: records, the two hellos, the server's certificate up to
// TLS 1.2, alerts; and makes the JA4 fingerprint of a client. Texts are views of the input.
package tls

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not TLS.
var ErrMalformed = errors.New("not TLS")

// ErrShort is returned when a record's header or a message is not all there.
var ErrShort = errors.New("incomplete TLS message")

// RecordLen is the length of a record's header in bytes.
const RecordLen = 5

// maxRecord is the greatest length of a record's content (RFC 5246 §6.2.3).
const maxRecord = 1<<14 + 2048

// ContentType is the type of a record.
type ContentType uint8

// Content types.
const (
	ChangeCipherSpec ContentType = 20
	Alert            ContentType = 21
	Handshake        ContentType = 22
	ApplicationData  ContentType = 23
)

// Types of handshake message.
const (
	TypeClientHello     = 1
	TypeServerHello     = 2
	TypeCertificate     = 11
	TypeServerHelloDone = 14
)

// Versions.
const (
	SSL30 = 0x0300
	TLS10 = 0x0301
	TLS11 = 0x0302
	TLS12 = 0x0303
	TLS13 = 0x0304
)

// Record is the header of a record.
type Record struct {
	Type    ContentType
	Version uint16
	Length  int // of the content, in bytes
}

// ParseRecord reads the header of a record into r and returns the length of the whole record, which may exceed len(p).
func ParseRecord(p []byte, r *Record) (n int, err error) {
	if len(p) < RecordLen {
		return 0, ErrShort
	}
	*r = Record{Type: ContentType(p[0]), Version: binary.BigEndian.Uint16(p[1:]), Length: int(binary.BigEndian.Uint16(p[3:]))}
	if r.Type < ChangeCipherSpec || r.Type > ApplicationData || r.Version>>8 != 3 || r.Version > TLS13 || r.Length > maxRecord ||
		r.Length == 0 && r.Type != ApplicationData {
		return 0, ErrMalformed
	}
	return RecordLen + r.Length, nil
}

// Check says whether p begins with a record that holds the hello of a client or of a server.
func Check(p []byte) wire.Verdict {
	const (
		kind, version, random = RecordLen, RecordLen + 4, RecordLen + 6 // places in the record
		session               = random + 32
		smallest              = 2 + 32 + 1 + 2 + 1 // of a hello's body
	)
	for i, want := range [...]byte{byte(Handshake), 3} {
		if i < len(p) && p[i] != want {
			return wire.No
		}
	}
	var r Record
	if _, err := ParseRecord(p, &r); err == ErrShort {
		return wire.Maybe
	} else if err != nil || r.Length < 4+smallest {
		return wire.No
	}
	if len(p) > kind && p[kind] != TypeClientHello && p[kind] != TypeServerHello {
		return wire.No
	}
	if len(p) <= session {
		return wire.Maybe
	}
	length := int(p[kind+1])<<16 | int(binary.BigEndian.Uint16(p[kind+2:]))
	if length < smallest || length > maxRecord || p[version] != 3 || p[version+1] > TLS12&0xff || p[session] > 32 {
		return wire.No
	}
	if p[kind] == TypeClientHello {
		return wire.Request
	}
	after := session + 1 + int(p[session])
	if len(p) <= after+2 {
		return wire.Maybe
	}
	if p[after+2] != 0 { // a method of compression
		return wire.No
	}
	return wire.Response
}

// Plausible says whether p begins with a record behind which, as far as p goes, others are.
func Plausible(p []byte) wire.Verdict {
	var r Record
	for at := 0; ; {
		n, err := ParseRecord(p[at:], &r)
		switch {
		case err == ErrShort && at == 0:
			return wire.Maybe
		case err == ErrMalformed:
			return wire.No
		case err == ErrShort || at+n >= len(p):
			return wire.Either
		}
		at += n
	}
}

// Message cuts the first handshake message off p: its type and its body. ErrShort, with what is there of the body, says that
// the rest is in the next record.
func Message(p []byte) (kind uint8, body []byte, n int, err error) {
	const header = 4
	r := wire.NewReader(p)
	kind = r.U8()
	length := int(r.U24())
	body = r.UpTo(length)
	if !r.OK() {
		return kind, body, header + length, ErrShort
	}
	return kind, body, header + length, nil
}

// ClientHello is what a client offers (RFC 8446 §4.1.2).
type ClientHello struct {
	Legacy  uint16 // version in the old place
	Version uint16 // the highest that is offered
	// ServerName is the name asked for, ALPN the list of protocols offered as it stands, each behind its length.
	ServerName, ALPN []byte
	// Cut says that the end was not there: there is no fingerprint then.
	Cut bool

	versions, ciphers, extensions, signatures []byte // lists as they stand
	named                                     bool   // there is an extension with names
	ids                                       []uint16
	text                                      []byte
}

// Extensions that are read.
const (
	extServerName = 0
	extSignatures = 13
	extALPN       = 16
	extVersions   = 43
)

// ParseClientHello reads the body of a ClientHello, of which p may be the beginning. h's scratch space is kept.
func ParseClientHello(p []byte, h *ClientHello) error {
	*h = ClientHello{ids: h.ids[:0], text: h.text[:0]}
	r := wire.NewReader(p)
	h.Legacy = r.U16()
	h.Version = h.Legacy
	r.Skip(32)
	r.Skip(int(r.U8()))
	if !r.OK() {
		return ErrShort
	}
	h.ciphers = r.UpTo(int(r.U16()))
	r.Skip(int(r.U8()))
	if len(h.ciphers)%2 != 0 && r.OK() {
		return ErrMalformed
	}
	if r.OK() && r.Len() == 0 { // no extensions
		return nil
	}
	h.extensions = r.UpTo(int(r.U16()))
	h.Cut = !r.OK()
	e := wire.NewReader(h.extensions)
	for e.Len() > 0 {
		kind, content := e.U16(), e.UpTo(int(e.U16()))
		if !e.OK() && !h.Cut {
			return ErrMalformed
		}
		c := wire.NewReader(content)
		switch kind {
		case extServerName:
			h.named = true
			if c.Skip(2); c.U8() == 0 { // of the only type there is
				h.ServerName = c.Bytes(int(c.U16()))
			}
		case extALPN:
			h.ALPN = c.UpTo(int(c.U16()))
		case extSignatures:
			h.signatures = c.UpTo(int(c.U16()))
		case extVersions:
			h.versions = c.UpTo(int(c.U8()))
			for v := h.versions; len(v) >= 2; v = v[2:] {
				if id := binary.BigEndian.Uint16(v); !isGREASE(id) && id <= TLS13 && (id > h.Version || h.Version > TLS13) {
					h.Version = id
				}
			}
		}
	}
	return nil
}

// isGREASE says whether a value is one of those that stand for nothing (RFC 8701).
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// NextProtocol cuts the first name off an ALPN list; nil at its end.
func NextProtocol(list []byte) (name, rest []byte) {
	r := wire.NewReader(list)
	name = r.Bytes(int(r.U8()))
	if !r.OK() {
		return nil, nil
	}
	return name, r.Rest()
}

// AppendVersions appends the versions offered to dst, best first as the client has them, separated by commas.
func (h *ClientHello) AppendVersions(dst []byte) []byte {
	if len(h.versions) == 0 {
		return append(dst, VersionString(h.Legacy)...)
	}
	begin := len(dst)
	for v := h.versions; len(v) >= 2; v = v[2:] {
		name := VersionString(binary.BigEndian.Uint16(v))
		if name == "" {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = append(dst, name...)
	}
	return dst
}

// AppendProtocols appends the names of an ALPN list to dst, separated by commas.
func AppendProtocols(dst, list []byte) []byte {
	begin := len(dst)
	for {
		var name []byte
		if name, list = NextProtocol(list); len(name) == 0 {
			return dst
		}
		if len(name) == 2 && isGREASE(binary.BigEndian.Uint16(name)) {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = append(dst, name...)
	}
}

// ServerHello is what a server has chosen (RFC 8446 §4.1.3).
type ServerHello struct {
	Version, Cipher uint16
	ALPN            []byte // the protocol chosen; TLS 1.3 keeps it secret
	Retry           bool   // a HelloRetryRequest: the client has to ask again
}

// retryRandom begins the random number that makes a ServerHello a HelloRetryRequest.
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// ParseServerHello reads the body of a ServerHello.
func ParseServerHello(p []byte, h *ServerHello) error {
	r := wire.NewReader(p)
	*h = ServerHello{Version: r.U16()}
	h.Retry = string(r.Bytes(32)) == retryRandom
	r.Skip(int(r.U8()))
	h.Cipher = r.U16()
	r.Skip(1)
	if !r.OK() {
		return ErrShort
	}
	e := wire.NewReader(r.UpTo(int(r.U16())))
	for e.Len() > 0 {
		kind, content := e.U16(), e.UpTo(int(e.U16()))
		if !e.OK() {
			break
		}
		c := wire.NewReader(content)
		switch kind {
		case extALPN:
			h.ALPN, _ = NextProtocol(c.UpTo(int(c.U16())))
		case extVersions:
			if v := c.U16(); c.OK() {
				h.Version = v
			}
		}
	}
	return nil
}

// FirstCertificate is the server's own certificate (DER) in the body of a Certificate message up to TLS 1.2, nil when it is not
// all there.
func FirstCertificate(p []byte) []byte {
	r := wire.NewReader(p)
	r.U24()
	der := r.Bytes(int(r.U24()))
	if len(der) == 0 {
		return nil
	}
	return der
}

// VersionString is the number of a version, "" for one that is none.
func VersionString(v uint16) string {
	switch v {
	case SSL30:
		return "SSL 3.0"
	case TLS10:
		return "1.0"
	case TLS11:
		return "1.1"
	case TLS12:
		return "1.2"
	case TLS13:
		return "1.3"
	}
	return ""
}

// alerts are the descriptions of alerts (IANA's registry).
var alerts = map[uint8]string{
	0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow", 30: "decompression_failure",
	40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
	45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
	51: "decrypt_error", 52: "too_many_cids_requested", 60: "export_restriction", 70: "protocol_version", 71: "insufficient_security",
	80: "internal_error", 86: "inappropriate_fallback", 90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension",
	110: "unsupported_extension", 111: "certificate_unobtainable", 112: "unrecognized_name", 113: "bad_certificate_status_response",
	114: "bad_certificate_hash_value", 115: "unknown_psk_identity", 116: "certificate_required", 120: "no_application_protocol",
}

// Alerts that blame nobody, or the one who sends them.
const (
	CloseNotify   = 0
	InternalError = 80
	UserCanceled  = 90
)

// ParseAlert reads the content of an alert in the clear; ok is false for one that is encrypted.
func ParseAlert(p []byte) (description uint8, name string, fatal, ok bool) {
	if len(p) != 2 || p[0] != 1 && p[0] != 2 {
		return 0, "", false, false
	}
	name, ok = alerts[p[1]]
	return p[1], name, p[0] == 2, ok
}

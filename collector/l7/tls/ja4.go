package tls

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// AppendJA4 appends the JA4 fingerprint of the client to dst, as FoxIO has published it: what is offered in plain text, then the
// hashes of the sorted ciphers and of the sorted extensions with the signature algorithms. Nothing for a hello that is cut.
func (h *ClientHello) AppendJA4(dst []byte) []byte {
	if h.Cut {
		return dst
	}
	dst = append(append(dst, 't'), ja4Version(h.Version)...)
	if h.named {
		dst = append(dst, 'd')
	} else {
		dst = append(dst, 'i')
	}
	h.ids = h.ids[:0]
	for p := h.ciphers; len(p) >= 2; p = p[2:] {
		h.add(binary.BigEndian.Uint16(p))
	}
	ciphers := len(h.ids)
	dst = appendCount(dst, ciphers)
	hidden := 0 // of the extensions, those that are counted but not hashed
	for p := h.extensions; len(p) >= 4; {
		kind, n := binary.BigEndian.Uint16(p), 4+int(binary.BigEndian.Uint16(p[2:]))
		if kind == extServerName || kind == extALPN {
			hidden++
		} else {
			h.add(kind)
		}
		p = p[min(n, len(p)):]
	}
	dst = appendCount(dst, len(h.ids)-ciphers+hidden)
	dst = appendALPN(dst, h.ALPN)

	slices.Sort(h.ids[:ciphers])
	slices.Sort(h.ids[ciphers:])
	h.text = appendIDs(h.text[:0], h.ids[:ciphers])
	dst = appendHash(append(dst, '_'), h.text)
	h.text = appendIDs(h.text[:0], h.ids[ciphers:])
	h.ids = h.ids[:0]
	for p := h.signatures; len(p) >= 2; p = p[2:] {
		h.add(binary.BigEndian.Uint16(p))
	}
	if len(h.ids) > 0 && len(h.text) > 0 {
		h.text = appendIDs(append(h.text, '_'), h.ids)
	}
	return appendHash(append(dst, '_'), h.text)
}

// add keeps a number that stands for something.
func (h *ClientHello) add(id uint16) {
	if !isGREASE(id) {
		h.ids = append(h.ids, id)
	}
}

func ja4Version(v uint16) string {
	switch v {
	case TLS13:
		return "13"
	case TLS12:
		return "12"
	case TLS11:
		return "11"
	case TLS10:
		return "10"
	case SSL30:
		return "s3"
	}
	return "00"
}

func appendCount(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, '0'+byte(n/10), '0'+byte(n%10))
}

// appendALPN appends the first and the last character of the first protocol, of its hexadecimal form when they are no letters
// or digits.
func appendALPN(dst, list []byte) []byte {
	const digits = "0123456789abcdef"
	name, _ := NextProtocol(list)
	if len(name) == 0 {
		return append(dst, "00"...)
	}
	first, last := name[0], name[len(name)-1]
	if !isAlphanumeric(first) || !isAlphanumeric(last) {
		first, last = digits[first>>4], digits[last&15]
	}
	return append(dst, first, last)
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// appendIDs appends numbers as four hexadecimal digits each, separated by commas.
func appendIDs(dst []byte, ids []uint16) []byte {
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = hex.AppendEncode(dst, []byte{byte(id >> 8), byte(id)})
	}
	return dst
}

// appendHash appends 12 digits of the text's hash; zeroes for no text.
func appendHash(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, "000000000000"...)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(dst, sum[:6])
}

package pcapfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// tokenKind tells tokens apart.
type tokenKind uint8

const (
	tokenEnd     tokenKind = iota
	tokenWord              // keyword or name
	tokenEscaped           // a name behind a backslash, which is no keyword
	tokenNumber
	tokenDotted // two to four numbers with dots between them: IPv4, whole or the beginning
	tokenIPv6
	tokenMAC
	tokenOp
)

// token is a piece of the text.
type token struct {
	kind tokenKind
	at   int
	text string // of an operator its one spelling: && for and, || for or, ! for not, = for ==
	num  uint32 // of a number; of tokenDotted the bits, left-aligned
	bits int    // of tokenDotted: 16, 24 or 32
	addr netip.Addr
	mac  [6]byte
}

func (t *token) String() string {
	if t.kind == tokenEnd {
		return "the end"
	}
	return strconv.Quote(t.text)
}

// operators, longer ones first.
var operators = []string{"&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "(", ")", "[", "]", ":", "!", "=", "<", ">", "+", "-",
	"*", "/", "%", "&", "|", "^"}

func (p *parser) errorf(at int, format string, args ...any) error {
	return &Error{Text: p.text, Offset: at, Message: fmt.Sprintf(format, args...)}
}

// lex splits the text into tokens.
func (p *parser) lex() error {
	brackets := 0 // within them a colon is between offset and size
	for at := 0; ; {
		for at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[at]) >= 0 {
			at++
		}
		if at == len(p.text) {
			p.tokens = append(p.tokens, token{kind: tokenEnd, at: at})
			return nil
		}
		t, size, err := p.token(at, brackets > 0)
		if err != nil {
			return err
		}
		switch {
		case t.kind == tokenOp && t.text == "[":
			brackets++
		case t.kind == tokenOp && t.text == "]":
			brackets--
		}
		p.tokens = append(p.tokens, t)
		at += size
	}
}

// token reads the token at an offset, and how long it is.
func (p *parser) token(at int, bracket bool) (token, int, error) {
	rest := p.text[at:]
	if !bracket {
		if t, n := colons(rest); n > 0 {
			t.at = at
			return t, n, nil
		}
	}
	if rest[0] == '\\' {
		n := 1
		for n < len(rest) && strings.IndexByte(" !()\t\r\n", rest[n]) < 0 {
			n++
		}
		if n == 1 {
			return token{}, 0, p.errorf(at, "a backslash without a name behind it")
		}
		return token{kind: tokenEscaped, at: at, text: rest[1:n]}, n, nil
	}
	if isWord(rest[0]) {
		return p.word(at)
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			text := op
			if op == "==" {
				text = "="
			}
			return token{kind: tokenOp, at: at, text: text}, len(op), nil
		}
	}
	r := []rune(rest)[0]
	return token{}, 0, p.errorf(at, "unexpected character %q", r)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// colons reads a MAC address or an IPv6 address, both of which have colons; 0 when it is neither.
func colons(rest string) (token, int) {
	n := 0
	for n < len(rest) && (isHex(rest[n]) || rest[n] == ':' || rest[n] == '.') {
		n++
	}
	text := rest[:n]
	if !strings.Contains(text, ":") || n < len(rest) && isWord(rest[n]) {
		return token{}, 0
	}
	if mac, ok := parseMAC(text, ":"); ok {
		return token{kind: tokenMAC, text: text, mac: mac}, n
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return token{kind: tokenIPv6, text: text, addr: a}, n
	}
	return token{}, 0
}

// parseMAC reads six bytes in hexadecimal with a separator.
func parseMAC(text, sep string) (mac [6]byte, ok bool) {
	parts := strings.Split(text, sep)
	if len(parts) != 6 {
		return mac, false
	}
	for i, s := range parts {
		v, err := strconv.ParseUint(s, 16, 8)
		if err != nil || len(s) > 2 {
			return mac, false
		}
		mac[i] = byte(v)
	}
	return mac, true
}

// wordMAC reads the spellings of a MAC address without colons: aa-bb-cc-dd-ee-ff, aa.bb.cc.dd.ee.ff, aabb.ccdd.eeff and
// aabbccddeeff.
func wordMAC(text string) (mac [6]byte, ok bool) {
	for _, sep := range []string{"-", "."} {
		if mac, ok := parseMAC(text, sep); ok {
			return mac, true
		}
	}
	hex := text
	if len(text) == 14 && text[4] == '.' && text[9] == '.' {
		hex = text[:4] + text[5:9] + text[10:]
	}
	if len(hex) != 12 {
		return mac, false
	}
	v, err := strconv.ParseUint(hex, 16, 48)
	if err != nil {
		return mac, false
	}
	for i := range mac {
		mac[i] = byte(v >> (40 - 8*i))
	}
	return mac, true
}

// word reads what begins with a letter or digit: a keyword, name, number, IPv4 address or MAC address. Dashes and dots
// within belong to it, as in 80-90 and tcp-syn.
func (p *parser) word(at int) (token, int, error) {
	rest := p.text[at:]
	n := 1
	for n < len(rest) && (isWord(rest[n]) || rest[n] == '-' || rest[n] == '.') {
		n++
	}
	for n > 1 && rest[n-1] == '-' {
		n--
	}
	t := token{at: at, text: rest[:n]}
	switch t.text {
	case "and":
		t.kind, t.text = tokenOp, "&&"
		return t, n, nil
	case "or":
		t.kind, t.text = tokenOp, "||"
		return t, n, nil
	case "not":
		t.kind, t.text = tokenOp, "!"
		return t, n, nil
	}
	if mac, ok := wordMAC(t.text); ok {
		t.kind, t.mac = tokenMAC, mac
		return t, n, nil
	}
	if digits := strings.TrimLeft(t.text, "0123456789"); digits == "" || isHexNumber(t.text) {
		v, err := strconv.ParseUint(t.text, 0, 32)
		if err != nil {
			return token{}, 0, p.errorf(at, "%s is not a number of 32 bits", t.text)
		}
		t.kind, t.num = tokenNumber, uint32(v)
		return t, n, nil
	}
	if bits, v, ok := dotted(t.text); ok {
		t.kind, t.bits, t.num = tokenDotted, bits, v
		return t, n, nil
	}
	t.kind = tokenWord
	return t, n, nil
}

func isHexNumber(s string) bool {
	if len(s) < 3 || s[0] != '0' || s[1]|0x20 != 'x' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}

// dotted reads two to four numbers of a byte each with dots between.
func dotted(text string) (bits int, v uint32, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return 0, 0, false
	}
	for i, s := range parts {
		b, err := strconv.ParseUint(s, 10, 8)
		if err != nil || len(s) > 3 {
			return 0, 0, false
		}
		v |= uint32(b) << (24 - 8*i)
	}
	return 8 * len(parts), v, true
}

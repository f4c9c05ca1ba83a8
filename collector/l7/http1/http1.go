// Package http1 reads HTTP/1.0 and 1.1 messages (RFC 9112) from bytes somebody else sent: start line and header into
// views of the input, bodies by counting. It allocates nothing and is lenient where a wrong reading costs nothing.
package http1

import (
	"bytes"
	"errors"
)

// ErrSyntax is returned when the bytes are not an HTTP/1 message.
var ErrSyntax = errors.New("not an HTTP/1 message")

// Verdict is the answer of a shape check on the first bytes of a message.
type Verdict uint8

// Verdicts. Maybe means that more bytes are needed.
const (
	No Verdict = iota
	Maybe
	Yes
)

// Field is a header field the package knows by name.
type Field uint8

// The known fields.
const (
	Host Field = iota
	UserAgent
	Referer
	XForwardedFor
	ContentType
	ContentLength
	TransferEncoding
	Upgrade
	XRequestID
	Traceparent
	SW8
	SW6
	B3
	XB3TraceID
	XB3SpanID
	UberTraceID
	numFields
)

// Head is the header of a message. All slices are views of the parsed bytes.
type Head struct {
	// Minor is the minor version: 0 for HTTP/1.0, 1 for HTTP/1.1.
	Minor uint8
	// Chunked says that the last transfer coding is chunked.
	Chunked bool
	// BadLength says that Content-Length is no number or there are several that differ: where the body ends is unknown.
	BadLength bool
	// Length is the Content-Length in bytes, -1 without one.
	Length int64
	// Fields are the values of the known fields, without the white space around them; of a repeated field the first.
	// A folded value holds its line breaks (see Unfold).
	Fields [numFields][]byte
	// Raw is the header section, for All.
	Raw []byte
}

// Request is the head of a request.
type Request struct {
	Method, Target []byte
	Head
}

// Response is the head of a response.
type Response struct {
	// Code is the status code, 100 to 999.
	Code   int
	Reason []byte
	Head
}

const (
	maxMethod    = 32
	versionTail  = " HTTP/1.x"
	statusPrefix = "HTTP/1."
)

// tokenBytes marks the bytes of a token (RFC 9110 §5.6.2).
var tokenBytes = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// methodLen returns the length of the token that p starts with when a space follows, 0 when that cannot be, and -1 when p
// ends too early to tell.
func methodLen(p []byte) int {
	for i, c := range p {
		if !tokenBytes[c] {
			if c == ' ' {
				return i
			}
			return 0
		}
		if i == maxMethod {
			return 0
		}
	}
	return -1
}

// CheckRequest says whether p starts with a request line. from is how much of p a former call answered with Maybe.
func CheckRequest(p []byte, from int) Verdict {
	n := methodLen(p)
	switch {
	case n < 0:
		return Maybe
	case n == 0:
		return No
	}
	n++
	if n < len(p) && p[n] <= ' ' {
		return No
	}
	fresh := p[min(max(n, from), len(p)):]
	i := bytes.IndexByte(fresh, '\n')
	if i < 0 {
		if hasControl(fresh) {
			return No
		}
		return Maybe
	}
	rest, _, ok := splitVersion(trimCR(p[:len(p)-len(fresh)+i]))
	if !ok || len(rest) <= n || hasControl(fresh[:i]) {
		return No
	}
	return Yes
}

// hasControl says whether p, part of a request line, has bytes that no text has.
func hasControl(p []byte) bool {
	for _, c := range p {
		if c < ' ' && c != '\r' && c != '\t' {
			return true
		}
	}
	return false
}

// CheckResponse says whether p starts with a status line.
func CheckResponse(p []byte) Verdict {
	const shape = "HTTP/1.d ddd"
	for i := 0; i < len(shape) && i < len(p); i++ {
		if c := p[i]; shape[i] == 'd' && (c < '0' || c > '9') || shape[i] != 'd' && c != shape[i] {
			return No
		}
	}
	if len(p) <= len(shape) {
		return Maybe
	}
	if c := p[len(shape)]; c != ' ' && c != '\r' && c != '\n' || p[9] == '0' {
		return No
	}
	return Yes
}

// splitVersion cuts " HTTP/1.x" off the end of a request line.
func splitVersion(line []byte) (rest []byte, minor uint8, ok bool) {
	n := len(line) - len(versionTail)
	if n < 1 || string(line[n:len(line)-1]) != versionTail[:len(versionTail)-1] {
		return nil, 0, false
	}
	minor = line[len(line)-1] - '0'
	return line[:n], minor, minor <= 9
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// ParseRequest reads the head of a request and returns its length, 0 when p ends before it does. With partial, what
// follows is lost: the complete lines of p are all there will be, and only the request line has to be there.
func ParseRequest(p []byte, partial bool, r *Request) (n int, err error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if partial || CheckRequest(p, 0) == No {
			return 0, ErrSyntax
		}
		return 0, nil
	}
	m := methodLen(p[:i])
	rest, minor, ok := splitVersion(trimCR(p[:i]))
	if m <= 0 || !ok || len(rest) < m+2 || rest[m+1] <= ' ' || hasControl(rest[m+1:]) {
		return 0, ErrSyntax
	}
	r.Method, r.Target = rest[:m], rest[m+1:]
	r.Head = Head{Minor: minor, Length: -1}
	return r.parse(p, i+1, partial), nil
}

// ParseResponse reads the head of a response, as ParseRequest does.
func ParseResponse(p []byte, partial bool, r *Response) (n int, err error) {
	if v := CheckResponse(p); v == No || v == Maybe && partial {
		return 0, ErrSyntax
	}
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if partial {
			return 0, ErrSyntax
		}
		return 0, nil
	}
	line := trimCR(p[:i])
	const code = len("HTTP/1.d ")
	if len(line) < code+3 {
		return 0, ErrSyntax
	}
	r.Code = int(line[code]-'0')*100 + int(line[code+1]-'0')*10 + int(line[code+2]-'0')
	r.Reason = trim(line[code+3:])
	r.Head = Head{Minor: line[len(statusPrefix)] - '0', Length: -1}
	return r.parse(p, i+1, partial), nil
}

// parse reads the header section that starts at p[at:] and returns the index behind its empty line; 0 without one.
func (h *Head) parse(p []byte, at int, partial bool) int {
	begin := at
	last, lastStart := numFields, 0 // the field a folded line goes on with, and where its value starts
	for {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			if partial {
				h.Raw = p[begin:at]
				h.frame()
				return len(p)
			}
			return 0
		}
		line := trimCR(p[at : at+i])
		if len(line) == 0 {
			h.Raw = p[begin:at]
			h.frame()
			return at + i + 1
		}
		if line[0] == ' ' || line[0] == '\t' {
			if last < numFields {
				h.Fields[last] = trim(p[lastStart : at+len(line)])
			}
			at += i + 1
			continue
		}
		last = numFields
		if c := bytes.IndexByte(line, ':'); c > 0 {
			if f := lookup(trim(line[:c])); f < numFields {
				v := trim(line[c+1:])
				switch {
				case f == TransferEncoding:
					h.Fields[f] = v // the last line holds the last coding
					last, lastStart = f, at+c+1
				case h.Fields[f] == nil:
					h.Fields[f] = v
					last, lastStart = f, at+c+1
				case f == ContentLength && !bytes.Equal(h.Fields[f], v):
					h.BadLength = true
				}
			}
		}
		at += i + 1
	}
}

// frame reads what says where the body ends.
func (h *Head) frame() {
	if te := h.Fields[TransferEncoding]; len(te) > 0 {
		if i := bytes.LastIndexByte(te, ','); i >= 0 {
			te = trim(te[i+1:])
		}
		h.Chunked = equalFold(te, "chunked")
	}
	if cl := h.Fields[ContentLength]; cl != nil {
		n, ok := number(cl)
		if !ok {
			h.BadLength = true
			return
		}
		h.Length = n
	}
}

// number reads a Content-Length; a list of equal numbers counts as one (RFC 9110 §8.6).
func number(v []byte) (int64, bool) {
	first := v
	if i := bytes.IndexByte(v, ','); i >= 0 {
		first = trim(v[:i])
		for rest := v[i+1:]; ; {
			j := bytes.IndexByte(rest, ',')
			if j < 0 {
				j = len(rest)
			}
			if !bytes.Equal(trim(rest[:j]), first) {
				return 0, false
			}
			if j == len(rest) {
				break
			}
			rest = rest[j+1:]
		}
	}
	if len(first) == 0 || len(first) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range first {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// FindEnd returns the index behind the empty line that ends a head, 0 when p has none; the first from bytes were searched
// before.
func FindEnd(p []byte, from int) int {
	for at := max(from-2, 0); ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := p[at:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return at + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return at + 2
		}
	}
}

// All calls f with each field of the header section, in order; a folded value holds its line breaks. It stops when f
// returns false.
func (h *Head) All(f func(name, value []byte) bool) {
	for p := h.Raw; len(p) > 0; {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		for i+1 < len(p) && (p[i+1] == ' ' || p[i+1] == '\t') {
			j := bytes.IndexByte(p[i+1:], '\n')
			if j < 0 {
				break
			}
			i += j + 1
		}
		line := p[:i]
		p = p[i+1:]
		if c := bytes.IndexByte(line, ':'); c > 0 && !f(trim(line[:c]), trim(line[c+1:])) {
			return
		}
	}
}

// Unfold appends v to dst with the line breaks of a folded value, and the white space around them, as one space.
func Unfold(dst, v []byte) []byte {
	for i := 0; i < len(v); i++ {
		if v[i] != '\r' && v[i] != '\n' {
			dst = append(dst, v[i])
			continue
		}
		for len(dst) > 0 && isSpace(dst[len(dst)-1]) {
			dst = dst[:len(dst)-1]
		}
		for i+1 < len(v) && isSpace(v[i+1]) {
			i++
		}
		dst = append(dst, ' ')
	}
	return dst
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trim(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares with a lower-case ASCII word.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// fieldNames are the names of the known fields in lower case.
var fieldNames = [numFields]string{
	Host: "host", UserAgent: "user-agent", Referer: "referer", XForwardedFor: "x-forwarded-for",
	ContentType: "content-type", ContentLength: "content-length", TransferEncoding: "transfer-encoding",
	Upgrade: "upgrade", XRequestID: "x-request-id", Traceparent: "traceparent", SW8: "sw8", SW6: "sw6", B3: "b3",
	XB3TraceID: "x-b3-traceid", XB3SpanID: "x-b3-spanid", UberTraceID: "uber-trace-id",
}

// fieldsByLen lists the known fields by the length of their name.
var fieldsByLen = func() (t [24][]Field) {
	for f, name := range fieldNames {
		t[len(name)] = append(t[len(name)], Field(f))
	}
	return t
}()

// lookup finds a known field by name, numFields for any other.
func lookup(name []byte) Field {
	if len(name) >= len(fieldsByLen) {
		return numFields
	}
	for _, f := range fieldsByLen[len(name)] {
		if equalFold(name, fieldNames[f]) {
			return f
		}
	}
	return numFields
}

// Package fastcgi reads FastCGI (FastCGI Specification 1.0) from bytes somebody else sent: records, parameters and the head of a CGI
// response (RFC 3875 §6). It allocates nothing; texts are views of the input.
package fastcgi

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not FastCGI.
var ErrMalformed = errors.New("not FastCGI")

// ErrShort is returned when a record's header is not all there.
var ErrShort = errors.New("incomplete FastCGI record")

// HeaderLen is the length of a record's header in bytes (§3.3).
const HeaderLen = 8

// Type is the type of a record (§8).
type Type uint8

// Types of record.
const (
	BeginRequest Type = 1
	AbortRequest Type = 2
	EndRequest   Type = 3
	Params       Type = 4
	Stdin        Type = 5
	Stdout       Type = 6
	Stderr       Type = 7
	Data         Type = 8
	GetValues    Type = 9
	lastType     Type = 11
)

// Record is the header of a record.
type Record struct {
	Type   Type
	ID     uint16 // of the request; 0: of none
	Length int    // of the content, in bytes; padding follows
}

// ParseRecord reads the header of a record into r and returns the length of the whole record, which may exceed len(p).
func ParseRecord(p []byte, r *Record) (n int, err error) {
	const version = 1
	if len(p) < HeaderLen {
		return 0, ErrShort
	}
	*r = Record{Type: Type(p[1]), ID: binary.BigEndian.Uint16(p[2:]), Length: int(binary.BigEndian.Uint16(p[4:]))}
	if p[0] != version || r.Type < BeginRequest || r.Type > lastType || (r.ID == 0) != (r.Type >= GetValues) ||
		(r.Type == BeginRequest || r.Type == EndRequest) && r.Length != 8 {
		return 0, ErrMalformed
	}
	return HeaderLen + r.Length + int(p[6]), nil
}

// Check says whether p begins with the beginning of a request, or with the head of a response. The record behind it, as far as it
// is there, has to be one of the same request.
func Check(p []byte) wire.Verdict {
	var r, next Record
	n, err := ParseRecord(p, &r)
	if err == ErrShort && len(p) > 1 && p[0] == 1 && (Type(p[1]) == BeginRequest || Type(p[1]) == Stdout) {
		return wire.Maybe
	}
	if err != nil || p[7] != 0 || r.Type != BeginRequest && r.Type != Stdout {
		return wire.No
	}
	verdict := wire.Request
	if r.Type == Stdout {
		verdict = wire.Response
	}
	content := p[HeaderLen:min(HeaderLen+r.Length, len(p))]
	if r.Type == BeginRequest {
		if len(content) < r.Length {
			return wire.Maybe
		}
		if content[0] != 0 || content[1] < 1 || content[1] > 3 || content[2] > 1 || !bytes.Equal(content[3:], make([]byte, 5)) {
			return wire.No
		}
	} else if v := checkHead(content); v != wire.Response {
		return v
	}
	if n >= len(p) {
		return verdict
	}
	_, err = ParseRecord(p[n:], &next)
	if err == ErrShort && p[n] == 1 || err == nil && next.ID == r.ID {
		return verdict
	}
	return wire.No
}

// checkHead says whether the output of a program begins with a header field.
func checkHead(content []byte) wire.Verdict {
	const longest = 40
	for i, c := range content {
		switch {
		case c == ':' && i > 1:
			return wire.Response
		case c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'), i == longest:
			return wire.No
		}
	}
	return wire.Maybe
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

// Param cuts the first name and value off the content of Params records (§3.4). ErrShort: they are not all there; n is then how
// long they are, 0 when not even that is known.
func Param(p []byte) (name, value []byte, n int, err error) {
	r := wire.NewReader(p)
	names, values := paramLen(&r), paramLen(&r)
	if !r.OK() {
		return nil, nil, 0, ErrShort
	}
	n = r.Off + names + values
	name, value = r.Bytes(names), r.Bytes(values)
	if !r.OK() {
		return nil, nil, n, ErrShort
	}
	return name, value, n, nil
}

// paramLen reads a length of one byte, or of four.
func paramLen(r *wire.Reader) int {
	if r.Peek()&0x80 == 0 {
		return int(r.U8())
	}
	return int(r.U32() &^ (1 << 31))
}

// End is what an EndRequest record says (§5.5): the program's status, and why the request was not served, "" if it was.
func End(content []byte) (status int64, refused string) {
	r := wire.NewReader(content)
	status = int64(int32(r.U32()))
	switch r.U8() {
	case 1:
		refused = "CANT_MPX_CONN"
	case 2:
		refused = "OVERLOADED"
	case 3:
		refused = "UNKNOWN_ROLE"
	}
	return status, refused
}

// HeadEnd returns the index behind the empty line that ends the head of a response, 0 without one.
func HeadEnd(p []byte) int {
	for at := 0; ; {
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

// Field cuts the first header field off the head of a response; ok is false at its end.
func Field(p []byte) (name, value, rest []byte, ok bool) {
	line, rest, whole := bytes.Cut(p, []byte("\n"))
	line = bytes.TrimRight(line, "\r")
	name, value, ok = bytes.Cut(line, []byte(":"))
	return name, bytes.TrimSpace(value), rest, ok && whole
}

// Code is the number that the value of a Status field begins with, and the words behind it; 0 when there is none.
func Code(value []byte) (code int, reason []byte) {
	if len(value) < 3 || len(value) > 3 && value[3] != ' ' {
		return 0, nil
	}
	for _, c := range value[:3] {
		if c < '0' || c > '9' {
			return 0, nil
		}
		code = code*10 + int(c-'0')
	}
	return code, bytes.TrimSpace(value[3:])
}

// Package thrift reads messages of Apache Thrift (thrift.apache.org: "Thrift Remote Procedure Call", doc/specs): strict binary
// and compact protocol, bare, in frames, or in the frames of THeader. Of a call it reads what is called, of a reply whether it
// is an exception. It allocates nothing; what it returns are views of its input.
package thrift

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the bytes end before the arguments or the result begin.
	ErrShort = errors.New("thrift: message is cut")
	// ErrMalformed is returned when the bytes are not a message.
	ErrMalformed = errors.New("thrift: not a message")
)

const (
	maxFrame  = 1 << 30 // bytes
	minFrame  = 8
	maxName   = 255
	maxDepth  = 32
	someBytes = 1024 // of a result: what is looked for is at its beginning

	headerMagic = 0x0fff
	headerLen   = 14 // of a frame of THeader, up to the words that its header counts
)

// Type is the type of a message.
type Type uint8

// Types. Unknown is that of a message which a transform of THeader hides.
const (
	Unknown Type = iota
	Call
	Reply
	Exception
	OneWay
)

// Encoding is a protocol.
type Encoding uint8

// Encodings.
const (
	Binary Encoding = iota
	Compact
)

// String is the encoding in words.
func (e Encoding) String() string {
	if e == Compact {
		return "compact"
	}
	return "binary"
}

// Transport is how a message is set off from the next.
type Transport uint8

// Transports.
const (
	Bare Transport = iota
	Framed
	Header
)

// String is the transport in words.
func (t Transport) String() string { return [...]string{"bare", "framed", "header"}[t] }

// Codes of a TApplicationException.
const (
	UnknownMethod         = 1
	InvalidMessageType    = 2
	WrongMethodName       = 3
	BadSequenceID         = 4
	MissingResult         = 5
	InternalError         = 6
	ProtocolError         = 7
	InvalidTransform      = 8
	InvalidProtocol       = 9
	UnsupportedClientType = 10
)

var codeNames = [...]string{
	"UNKNOWN", "UNKNOWN_METHOD", "INVALID_MESSAGE_TYPE", "WRONG_METHOD_NAME", "BAD_SEQUENCE_ID", "MISSING_RESULT", "INTERNAL_ERROR", "PROTOCOL_ERROR",
	"INVALID_TRANSFORM", "INVALID_PROTOCOL", "UNSUPPORTED_CLIENT_TYPE",
}

// CodeName is the code of a TApplicationException in words, "" for one that is not in the specification.
func CodeName(code int32) string {
	if code >= 0 && int(code) < len(codeNames) {
		return codeNames[code]
	}
	return ""
}

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	Type      Type
	Encoding  Encoding
	Transport Transport
	Name      []byte // of the method, with the service before a colon where several share a connection
	SeqID     int32
	// Size is the length of the message in bytes, as far as Open is not set; Want how many of them are enough to read it.
	Size, Want int
	// Open says that where the message ends was not to be seen: there is no frame, and the bytes end first.
	Open bool

	// Field is the number of the field that a Reply's result has: 0 for a value, -1 for none, others for declared exceptions.
	Field int16
	// Code and Text are those of an Exception; Text also the first text of a declared one.
	Code int32
	Text []byte

	info []byte // THeader's pairs, with their number
}

// Check says whether p begins with a message.
func Check(p []byte) wire.Verdict {
	var m Message
	_, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		return wire.Maybe
	case err != nil:
		return wire.No
	case m.Type == Call || m.Type == OneWay:
		return wire.Request
	case m.Type == Unknown:
		return wire.Either
	}
	return wire.Response
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p.
func Parse(p []byte, m *Message) (n int, err error) {
	*m = Message{Field: -1}
	r := reader{Reader: wire.NewReader(p)}
	switch {
	case len(p) == 0:
		return 0, ErrShort
	case p[0] == 0x80 || p[0] == 0x82:
		err = m.message(&r, p[0] == 0x82)
	default:
		err = m.frame(&r)
	}
	if err != nil {
		return 0, err
	}
	if m.Transport == Bare {
		m.bare(&r)
	}
	return m.Size, nil
}

// bare finds the end of a message without a frame behind its head, which r has read.
func (m *Message) bare(r *reader) {
	rest := *r
	rest.skip(r.structType(), 0)
	m.Size, m.Open = rest.Off, !rest.OK()
	if m.Open {
		m.Size = len(r.P)
	}
	m.Want = m.Size
}

// frame reads a message behind its length.
func (m *Message) frame(r *reader) error {
	size := r.U32()
	switch {
	case !r.OK() && r.P[0] >= maxFrame>>24:
		return ErrMalformed
	case !r.OK():
		return ErrShort
	case size < minFrame || size > maxFrame:
		return ErrMalformed
	case r.Len() == 0:
		return ErrShort
	}
	m.Transport = Framed
	whole := len(r.P) >= 4+int(size)
	m.Size = 4 + int(size)
	r.P = r.P[:min(len(r.P), m.Size)]
	var err error
	switch b := r.Peek(); b {
	case 0x80, 0x82:
		err = m.message(r, b == 0x82)
	case headerMagic >> 8:
		m.Transport = Header
		err = m.header(r)
	default:
		return ErrMalformed
	}
	if errors.Is(err, ErrShort) && whole {
		return ErrMalformed
	}
	m.Want = min(m.Want, m.Size)
	return err
}

// header reads the header of THeader (doc/specs/HeaderFormat.md) and the message behind it.
func (m *Message) header(r *reader) error {
	magic, _, seq, words := r.U16(), r.U16(), r.U32(), r.U16()
	end := headerLen + 4*int(words)
	switch {
	case !r.OK():
		return ErrShort
	case magic != headerMagic || words == 0 || end > m.Size:
		return ErrMalformed
	case len(r.P) < end:
		return ErrShort
	}
	h := reader{Reader: wire.Reader{P: r.P[:end], Off: r.Off}}
	encoding, transforms := h.Uvarint(), h.Uvarint()
	if encoding != 0 && encoding != 2 || transforms > 8 {
		return ErrMalformed
	}
	m.Encoding = Encoding(encoding / 2)
	for range transforms {
		h.Uvarint()
	}
	if !h.OK() {
		return ErrMalformed
	}
	m.info = h.Rest()
	m.SeqID, m.Want = int32(seq), end
	if transforms > 0 {
		return nil
	}
	r.Off = end
	return m.message(r, m.Encoding == Compact)
}

// message reads the head of a message, and of a result that it is an exception.
func (m *Message) message(r *reader, compact bool) error {
	r.compact = compact
	var name int64
	if compact {
		const version = 1
		m.Encoding = Compact
		id, b := r.U8(), r.U8()
		if r.OK() && (id != 0x82 || b&0x1f != version) {
			return ErrMalformed
		}
		m.Type = Type(b >> 5)
		m.SeqID = int32(r.varint(5))
		name = int64(r.varint(5))
	} else {
		v := r.U32()
		if r.OK() && v>>8 != 0x800100 {
			return ErrMalformed
		}
		m.Type = Type(v)
		name = int64(int32(r.U32()))
	}
	switch {
	case r.bad:
		return ErrMalformed
	case !r.OK():
		return ErrShort
	case m.Type < Call || m.Type > OneWay || name < 1 || name > maxName || !isName(r.P[r.Off:min(len(r.P), r.Off+int(name))]):
		return ErrMalformed
	}
	m.Name = r.Bytes(int(name))
	if !compact {
		m.SeqID = int32(r.U32())
	}
	if r.Len() == 0 {
		return ErrShort
	}
	if !r.beginsStruct() {
		return ErrMalformed
	}
	m.Want = r.Off
	if m.Type == Reply || m.Type == Exception {
		m.Want += someBytes
		m.result(*r)
	}
	return nil
}

// isName says whether s can be the name of a method.
func isName(s []byte) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != ':' && c != '-' && c != '/' && c != '$' {
			return false
		}
	}
	return true
}

// result reads from the structure of a result what went wrong, as far as it is there.
func (m *Message) result(r reader) {
	var last int16
	typ, id, ok := r.field(&last)
	if m.Type == Exception {
		for ; ok; typ, id, ok = r.field(&last) {
			switch {
			case id == 1 && typ == r.textType():
				m.Text = r.text()
			case id == 2 && typ == r.intType():
				m.Code = r.int()
			default:
				r.skip(typ, 0)
			}
		}
		return
	}
	if !ok {
		return
	}
	m.Field = id
	if id == 0 || typ != r.structType() {
		return
	}
	last = 0
	for typ, _, ok = r.field(&last); ok; typ, _, ok = r.field(&last) {
		if typ == r.textType() {
			m.Text = r.text()
			return
		}
		r.skip(typ, 0)
	}
}

// Headers walks over the pairs of text that go with a message of THeader.
type Headers struct {
	r          reader
	left       uint64
	Key, Value []byte
}

// Headers starts a walk.
func (m *Message) Headers() Headers {
	const keyValue, persistent = 1, 2
	h := Headers{r: reader{Reader: wire.NewReader(m.info)}}
	if kind := h.r.Uvarint(); kind == keyValue || kind == persistent {
		h.left = h.r.Uvarint()
	}
	return h
}

// Next goes to the next pair; false at the end.
func (h *Headers) Next() bool {
	if h.left == 0 || !h.r.OK() {
		return false
	}
	h.left--
	h.Key, h.Value = h.field(), h.field()
	return h.r.OK()
}

func (h *Headers) field() []byte {
	n := h.r.Uvarint()
	if n > uint64(h.r.Len()) {
		h.r.Short = true
		return nil
	}
	return h.r.Bytes(int(n))
}

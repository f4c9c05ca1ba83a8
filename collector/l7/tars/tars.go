// Package tars reads messages of the TARS protocol (doc.tarsyun.com, "TARS protocol"): a length of 4 bytes and a structure in
// JCE, in which each field begins with its tag and type. It allocates nothing; what it returns are views of its input.
package tars

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the beginning of the message, up to what is called, is not all there.
	ErrShort = errors.New("tars: message is cut")
	// ErrMalformed is returned when the bytes are not a message.
	ErrMalformed = errors.New("tars: not a message")
)

const (
	lengthLen = 4
	minSize   = lengthLen + 10
	maxSize   = 100 << 20 // bytes; the framework's own limit is 10 MiB
	maxDepth  = 16        // of values within values
	maxName   = 255
)

// Types of a field.
const (
	typeInt8 = iota
	typeInt16
	typeInt32
	typeInt64
	typeFloat
	typeDouble
	typeString1
	typeString4
	typeMap
	typeList
	typeStruct
	typeStructEnd
	typeZero
	typeBytes
)

// Code is the result of a call.
type Code int32

// Codes (basef/BaseF.tars).
const (
	Success            Code = 0
	AdapterNull        Code = -10
	InvokeByInvalidSet Code = -11
	ClientDecodeError  Code = -12
	ServerUnknownError Code = -99
)

var codeNames = [...]string{
	"SERVERSUCCESS", "SERVERDECODEERR", "SERVERENCODEERR", "SERVERNOFUNCERR", "SERVERNOSERVANTERR", "SERVERRESETGRID", "SERVERQUEUETIMEOUT",
	"INVOKETIMEOUT", "PROXYCONNECTERR", "SERVEROVERLOAD", "ADAPTERNULL", "INVOKEBYINVALIDESET", "CLIENTDECODEERR",
}

// String is the code in words, "" for one that is an application's own.
func (c Code) String() string {
	switch {
	case c == ServerUnknownError:
		return "SERVERUNKNOWNERR"
	case c <= 0 && int(-c) < len(codeNames):
		return codeNames[-c]
	}
	return ""
}

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	// Request says that the message says what is called. In TUP (versions 2 and 3) responses do so too.
	Request bool
	Version uint8
	OneWay  bool // nobody answers the request
	ID      uint32
	Code    Code
	// Size is the length of the message in bytes.
	Size int

	Servant, Function []byte
	Description       []byte // of a response, in words

	maps [2][]byte // of text, as they are: the context of a request and the status; each is cut where it cannot be read
}

// TUP says whether the message is of the generic protocol whose responses look like requests.
func (m *Message) TUP() bool { return m.Version != 1 }

// Check says whether p begins with a message: there is no magic number, so all up to what is called, or of a response up to
// its content, has to fit.
func Check(p []byte) wire.Verdict {
	const version = 1 << 4 // tag 1, of typeInt8
	if len(p) >= lengthLen {
		if n := binary.BigEndian.Uint32(p); n < minSize || n > maxSize {
			return wire.No
		}
	}
	if len(p) > lengthLen && p[lengthLen] != version || len(p) > lengthLen+1 && (p[lengthLen+1] < 1 || p[lengthLen+1] > 3) {
		return wire.No
	}
	var m Message
	_, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		return wire.Maybe
	case err != nil:
		return wire.No
	case m.Request && m.TUP():
		return wire.Either
	case m.Request:
		return wire.Request
	}
	return wire.Response
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p: of what comes behind
// the beginning it reads what is there.
func Parse(p []byte, m *Message) (n int, err error) {
	r := reader{wire.NewReader(p)}
	size := r.U32()
	if size < minSize && r.OK() || size > maxSize {
		return 0, ErrMalformed
	}
	r.P = p[:min(len(p), int(max(size, lengthLen)))]
	*m = Message{Size: int(size)}
	whole := len(p) >= int(size) && r.OK()
	if err := m.begin(&r); err != nil {
		if errors.Is(err, ErrShort) && whole {
			err = ErrMalformed
		}
		return 0, err
	}
	m.rest(&r)
	return m.Size, nil
}

// begin reads the fields 1 to 6 (RequestF.tars), of which tag 5 is text in a request and a number in a response. They come in
// order; numbers that are zero may be left out.
func (m *Message) begin(r *reader) error {
	var number [5]int64 // by tag, from 1 on
	last := uint8(0)
	for {
		tag, typ := r.head()
		switch {
		case !r.OK():
			return ErrShort
		case tag <= last || tag > 7:
			return ErrMalformed
		}
		if tag == 6 || tag == 7 { // there was no tag 5: a response
			if tag == 6 && typ != typeBytes {
				return ErrMalformed
			}
			break
		}
		last = tag
		if tag == 5 && (typ == typeString1 || typ == typeString4) {
			m.Request = true
			m.Servant = r.text(typ)
			if tag, typ = r.head(); r.OK() && tag != 6 {
				return ErrMalformed
			}
			m.Function = r.text(typ)
			break
		}
		v, ok := r.number(typ)
		if !ok {
			return ErrMalformed
		}
		number[tag-1] = v
	}
	if !r.OK() {
		return ErrShort
	}
	return m.fill(&number)
}

// fill takes over the numbers of the tags 1 to 5.
func (m *Message) fill(number *[5]int64) error {
	version, packet := number[0], number[1]
	if version < 1 || version > 3 || packet < 0 || packet > 1 {
		return ErrMalformed
	}
	m.Version, m.OneWay = uint8(version), packet == 1
	if !m.Request {
		m.ID, m.Code = uint32(number[2]), Code(number[4])
		return nil
	}
	m.ID = uint32(number[3])
	if !isName(m.Servant) || !isName(m.Function) {
		return ErrMalformed
	}
	return nil
}

// isName says whether s can be the name of an object or of a function.
func isName(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(s) > 0 && len(s) <= maxName
}

// rest reads what comes behind the content, as far as it is there.
func (m *Message) rest(r *reader) {
	if !m.Request {
		r.Off-- // the head of the content, which has been read
	}
	for r.Len() > 0 {
		tag, typ := r.head()
		at := r.Off
		switch {
		case typ == typeMap && m.Request && (tag == 9 || tag == 10):
			r.skip(typ, 0)
			m.maps[tag-9] = r.P[at:r.Off]
		case typ == typeMap && tag == 7:
			r.skip(typ, 0)
			m.maps[0] = r.P[at:r.Off]
		case !m.Request && tag == 8 && (typ == typeString1 || typ == typeString4):
			m.Description = r.text(typ)
		default:
			r.skip(typ, 0)
		}
	}
}

// reader reads JCE.
type reader struct{ wire.Reader }

// head reads the tag and type of a field.
func (r *reader) head() (tag, typ uint8) {
	b := r.U8()
	if tag = b >> 4; tag == 15 {
		tag = r.U8()
	}
	return tag, b & 15
}

// number reads an integer of the type; ok is false for other types.
func (r *reader) number(typ uint8) (v int64, ok bool) {
	switch typ {
	case typeInt8:
		return int64(int8(r.U8())), true
	case typeInt16:
		return int64(int16(r.U16())), true
	case typeInt32:
		return int64(int32(r.U32())), true
	case typeInt64:
		return int64(r.U64()), true
	case typeZero:
		return 0, true
	}
	return 0, false
}

// text reads a string of the type; for other types, and for one longer than any message, it makes r short.
func (r *reader) text(typ uint8) []byte {
	switch typ {
	case typeString1:
		return r.Bytes(int(r.U8()))
	case typeString4:
		if n := r.U32(); n <= maxSize {
			return r.Bytes(int(n))
		}
	}
	r.Short = true
	return nil
}

// skip passes over a value of the type.
func (r *reader) skip(typ uint8, depth int) {
	if depth > maxDepth {
		r.Short = true
		return
	}
	switch typ {
	case typeInt8, typeInt16, typeInt32, typeInt64, typeZero:
		r.number(typ)
	case typeFloat:
		r.Skip(4)
	case typeDouble:
		r.Skip(8)
	case typeString1, typeString4:
		r.text(typ)
	case typeBytes:
		r.head()
		r.Skip(r.count())
	case typeMap, typeList:
		n := r.count()
		if typ == typeMap {
			n *= 2
		}
		for ; n > 0 && r.OK(); n-- {
			_, typ := r.head()
			r.skip(typ, depth+1)
		}
	case typeStruct:
		for r.OK() {
			_, typ := r.head()
			if typ == typeStructEnd {
				return
			}
			r.skip(typ, depth+1)
		}
	default:
		r.Short = true
	}
}

// count reads how many elements a list or map has; each takes a byte at least.
func (r *reader) count() int {
	_, typ := r.head()
	n, ok := r.number(typ)
	if !ok || n < 0 || n > maxSize {
		r.Short = true
		return 0
	}
	return int(n)
}

// Pairs walks over pairs of text.
type Pairs struct {
	r          [2]reader
	left       int
	Key, Value []byte
}

// Pairs starts a walk over what goes with a message: the context of a request, and its status.
func (m *Message) Pairs() Pairs {
	p := Pairs{r: [2]reader{{wire.NewReader(m.maps[0])}, {wire.NewReader(m.maps[1])}}}
	p.begin()
	return p
}

func (p *Pairs) begin() {
	if p.left = 0; p.r[0].Len() > 0 {
		p.left = p.r[0].count()
	}
}

// Next goes to the next pair; false at the end.
func (p *Pairs) Next() bool {
	for p.left == 0 {
		if p.r[1].Len() == 0 {
			return false
		}
		p.r[0], p.r[1] = p.r[1], reader{}
		p.begin()
	}
	p.left--
	p.Key, p.Value = p.field(), p.field()
	if p.r[0].Short {
		p.left = 0
		return p.Next()
	}
	return true
}

func (p *Pairs) field() []byte {
	_, typ := p.r[0].head()
	return p.r[0].text(typ)
}

// Package ldap reads messages of LDAP (RFC 4511) from bytes somebody else sent, into views of the input. Values of filters and
// attributes, and passwords, are passed over. It allocates nothing.
package ldap

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a message of LDAP.
	ErrMalformed = errors.New("not LDAP")
	// ErrShort is returned when the bytes end before what is needed of a message.
	ErrShort = errors.New("LDAP is cut")
)

// Op is the operation of a message (RFC 4511 §4.2 to §4.13): its tag.
type Op uint8

// Operations.
const (
	BindRequest     Op = 0x60
	BindResponse    Op = 0x61
	UnbindRequest   Op = 0x42
	SearchRequest   Op = 0x63
	SearchEntry     Op = 0x64
	SearchDone      Op = 0x65
	ModifyRequest   Op = 0x66
	AddRequest      Op = 0x68
	DeleteRequest   Op = 0x4a
	ModifyDNRequest Op = 0x6c
	CompareRequest  Op = 0x6e
	AbandonRequest  Op = 0x50
	SearchReference Op = 0x73
	ExtendedRequest Op = 0x77
	ExtendedAnswer  Op = 0x78
	Intermediate    Op = 0x79
)

// ops are the names of requests; of responses "response".
var ops = [256]string{
	BindRequest: "bind", UnbindRequest: "unbind", SearchRequest: "search", ModifyRequest: "modify", AddRequest: "add", DeleteRequest: "delete",
	ModifyDNRequest: "modifyDN", CompareRequest: "compare", AbandonRequest: "abandon", ExtendedRequest: "extended",
	BindResponse: response, SearchEntry: response, SearchDone: response, 0x67: response, 0x69: response, 0x6b: response, 0x6d: response, 0x6f: response,
	SearchReference: response, ExtendedAnswer: response, Intermediate: response,
}

const response = "response"

// String is the name of a request; "response" for all responses.
func (o Op) String() string { return ops[o] }

// Request says whether the client sends it.
func (o Op) Request() bool { return ops[o] != "" && ops[o] != response }

// final says whether it has a result.
func (o Op) final() bool {
	return ops[o] == response && o != SearchEntry && o != SearchReference && o != Intermediate
}

// StartTLS is the name of the extended operation that turns encryption on.
const StartTLS = "1.3.6.1.4.1.1466.20037"

// Message is a message. All slices are views of the parsed bytes.
type Message struct {
	ID   uint32
	Op   Op
	Size int // bytes of the whole message
	// DN is what the operation is about: who binds, the base of a search, an entry.
	DN []byte
	// Version and Mechanism are those of a bind; Mechanism is "simple" or that of SASL.
	Version   uint8
	Mechanism []byte
	// Scope is that of a search, Filter the kind of its filter, Attribute what the filter asks for, if it is but one.
	Scope, Filter string
	Attribute     []byte
	// Name is the object identifier of an extended operation.
	Name []byte
	// Abandoned is the number of the operation that is abandoned.
	Abandoned uint32
	// Code is the result of a response that has one (Final), Text what the server says to it.
	Code  uint32
	Final bool
	Text  []byte
}

const maxSize = 1 << 30 // bytes of a message

var (
	scopes  = [...]string{"base", "one", "sub", "subordinate"}
	filters = [...]string{"and", "or", "not", "equality", "substrings", "greater", "less", "present", "approx", "extensible"}
	simple  = []byte("simple")
)

// element reads tag and length of an element, which is not longer than left bytes; left < 0 does not bound it.
func element(r *wire.Reader, left int) (tag byte, n int, ok bool) {
	tag = r.U8()
	n = int(r.U8())
	if n >= 0x80 {
		count := n & 0x7f
		if count == 0 || count > 4 {
			return 0, 0, !r.OK()
		}
		n = 0
		for range count {
			n = n<<8 | int(r.U8())
		}
	}
	if !r.OK() {
		return tag, 0, true
	}
	return tag, n, n >= 0 && n <= maxSize && (left < 0 || n <= left)
}

// number reads an element that is a number of at most 4 bytes, or of a choice.
func number(r *wire.Reader, want byte) (v uint32, ok bool) {
	tag, n, ok := element(r, -1)
	if !r.OK() {
		return 0, true
	}
	if !ok || tag != want || n < 1 || n > 4 {
		return 0, false
	}
	for range n {
		v = v<<8 | uint32(r.U8())
	}
	return v, v < 1<<31
}

// text reads an element that is a string.
func text(r *wire.Reader, want byte) (s []byte, ok bool) {
	tag, n, ok := element(r, -1)
	if !r.OK() {
		return nil, true
	}
	if !ok || tag != want {
		return nil, false
	}
	return r.UpTo(n), true
}

// Check says whether p begins with a message. own says that the connection is known to speak LDAP, or on its port; else only
// whole messages of the operations that connections begin with count.
func Check(p []byte, own bool) wire.Verdict {
	var m Message
	n, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		return wire.Maybe
	case err != nil:
		return wire.No
	}
	if !own {
		switch m.Op {
		case BindRequest, BindResponse, SearchRequest, SearchDone, ExtendedRequest, ExtendedAnswer:
		default:
			return wire.No
		}
		if n > len(p) {
			return wire.Maybe
		}
	}
	if m.Op.Request() {
		return wire.Request
	}
	return wire.Response
}

// Parse reads the message that p begins with and returns its whole length, which may be more than len(p): then what is there has
// been read.
func Parse(p []byte, m *Message) (n int, err error) {
	*m = Message{}
	if len(p) > 0 && p[0] != 0x30 {
		return 0, ErrMalformed
	}
	r := wire.NewReader(p)
	_, size, ok := element(&r, -1)
	switch {
	case !ok:
		return 0, ErrMalformed
	case !r.OK():
		return 0, ErrShort
	}
	m.Size = r.Off + size
	r.P = p[:min(len(p), m.Size)]
	end, whole := m.Size, len(p) >= m.Size
	if m.ID, ok = number(&r, 0x02); !ok {
		return 0, ErrMalformed
	}
	if r.OK() && r.Len() > 0 {
		m.Op = Op(r.Peek())
		if ops[m.Op] == "" || m.ID == 0 && m.Op != ExtendedAnswer {
			return 0, ErrMalformed
		}
	}
	at := r.Off
	_, length, ok := element(&r, end-at)
	switch {
	case !r.OK() && whole:
		return 0, ErrMalformed
	case !r.OK():
		return 0, ErrShort
	}
	if rest := end - r.Off - length; !ok || rest < 0 || rest > 0 && r.Off+length < len(p) && p[r.Off+length] != 0xa0 {
		return 0, ErrMalformed
	}
	r.P = r.P[:min(len(r.P), r.Off+length)]
	if !m.operation(&r, length) || whole && !r.OK() {
		return 0, ErrMalformed
	}
	return m.Size, nil
}

// operation reads what is of interest of an operation of n bytes.
func (m *Message) operation(r *wire.Reader, n int) (ok bool) {
	if m.Op.final() {
		m.Final = true
		if m.Code, ok = number(r, 0x0a); !ok {
			return false
		}
		if _, ok = text(r, 0x04); ok {
			m.Text, ok = text(r, 0x04)
		}
		return ok
	}
	ok = true
	switch m.Op {
	case BindRequest:
		return m.bind(r)
	case SearchRequest:
		return m.search(r)
	case UnbindRequest:
		return n == 0
	case DeleteRequest:
		m.DN = r.UpTo(n)
	case AbandonRequest:
		if n < 1 || n > 4 {
			return false
		}
		for range n {
			m.Abandoned = m.Abandoned<<8 | uint32(r.U8())
		}
	case ModifyRequest, AddRequest, ModifyDNRequest, CompareRequest:
		m.DN, ok = text(r, 0x04)
	case ExtendedRequest:
		m.Name, ok = text(r, 0x80)
	case SearchEntry:
		_, ok = text(r, 0x04)
	}
	return ok
}

func (m *Message) bind(r *wire.Reader) bool {
	v, ok := number(r, 0x02)
	if m.Version = uint8(v); !ok || r.OK() && (v < 1 || v > 3) {
		return false
	}
	if m.DN, ok = text(r, 0x04); !ok {
		return false
	}
	switch tag, _, ok := element(r, -1); {
	case !r.OK():
	case !ok:
		return false
	case tag == 0x80:
		m.Mechanism = simple
	case tag == 0xa3:
		m.Mechanism, ok = text(r, 0x04)
		return ok
	default:
		return tag >= 0x80
	}
	return true
}

func (m *Message) search(r *wire.Reader) bool {
	var ok bool
	if m.DN, ok = text(r, 0x04); !ok {
		return false
	}
	scope, ok := number(r, 0x0a)
	if !ok || int(scope) >= len(scopes) {
		return false
	}
	if deref, ok := number(r, 0x0a); !ok || deref > 3 {
		return false
	}
	for _, tag := range [...]byte{0x02, 0x02, 0x01} { // limits of size and time, types only
		if tag == 0x01 {
			if s, ok := text(r, tag); !ok || r.OK() && len(s) != 1 {
				return false
			}
		} else if _, ok := number(r, tag); !ok {
			return false
		}
	}
	tag, n, ok := element(r, -1)
	if !r.OK() {
		return true
	}
	kind := int(tag & 0x1f)
	if !ok || tag&0xc0 != 0x80 || kind >= len(filters) {
		return false
	}
	m.Scope, m.Filter = scopes[scope], filters[kind]
	switch kind {
	case 7:
		m.Attribute = r.UpTo(n)
	case 3, 4, 5, 6, 8:
		m.Attribute, ok = text(r, 0x04)
	}
	return ok
}

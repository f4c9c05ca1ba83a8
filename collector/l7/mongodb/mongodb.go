// Package mongodb reads the MongoDB wire protocol from bytes somebody else sent: OP_MSG, OP_QUERY and OP_REPLY, the other
// operations of old servers, OP_COMPRESSED, and as much of the BSON documents in them as there is. Parsing is into views of
// the input and allocates nothing.
package mongodb

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a message of MongoDB.
	ErrMalformed = errors.New("not a MongoDB message")
	// ErrShort is returned when the bytes end before what is needed of a message.
	ErrShort = errors.New("MongoDB message is cut")
)

// Op is an operation code.
type Op int32

// Operation codes.
const (
	OpReply        Op = 1
	OpUpdate       Op = 2001
	OpInsert       Op = 2002
	OpQuery        Op = 2004
	OpGetMore      Op = 2005
	OpDelete       Op = 2006
	OpKillCursors  Op = 2007
	OpCommand      Op = 2010
	OpCommandReply Op = 2011
	OpCompressed   Op = 2012
	OpMsg          Op = 2013
)

var opNames = map[Op]string{OpReply: "OP_REPLY", OpUpdate: "OP_UPDATE", OpInsert: "OP_INSERT", OpQuery: "OP_QUERY", OpGetMore: "OP_GET_MORE",
	OpDelete: "OP_DELETE", OpKillCursors: "OP_KILL_CURSORS", OpCommand: "OP_COMMAND", OpCommandReply: "OP_COMMANDREPLY",
	OpCompressed: "OP_COMPRESSED", OpMsg: "OP_MSG"}

// String is the name of the operation, "" of an unknown one.
func (o Op) String() string { return opNames[o] }

// OneWay says that the operation is a request that nobody answers.
func (o Op) OneWay() bool {
	return o == OpUpdate || o == OpInsert || o == OpDelete || o == OpKillCursors
}

// Reply says that only servers send the operation.
func (o Op) Reply() bool { return o == OpReply || o == OpCommandReply }

const (
	headerSize = 16
	maxMessage = 48000000 + 16<<10 // what servers take, and some room
	minDoc     = 5
)

// Flags of an OP_MSG.
const (
	ChecksumPresent = 1 << 0
	MoreToCome      = 1 << 1
	ExhaustAllowed  = 1 << 16
)

// Flags of an OP_REPLY.
const (
	CursorNotFound = 1 << 0
	QueryFailure   = 1 << 1
)

// Message is a message. The slices are views of the parsed bytes.
type Message struct {
	// Size is the length of the message in bytes, as it was sent.
	Size                  int
	RequestID, ResponseTo int32
	// Op is the operation; of a compressed message, that in it.
	Op Op
	// Compressed says that Payload has to be inflated by Compressor, which makes Inflated bytes of it, and read with ParseBody.
	Compressed bool
	Inflated   int
	Compressor Compressor
	Payload    []byte
	// Flags are those of OP_MSG, OP_QUERY and OP_REPLY.
	Flags uint32
	// Namespace is the name of database and collection, before OP_MSG.
	Namespace []byte
	// Doc is what there is of the (first) document, Want how many bytes of the message are needed for all of it.
	Doc  []byte
	Want int
	// Cursor is that of OP_REPLY and OP_GET_MORE.
	Cursor int64
}

// Parse reads the message that p begins with and returns its length, which may be more than len(p). Without the header and
// what comes before the first document it is ErrShort.
func Parse(p []byte, m *Message) (n int, err error) {
	*m = Message{}
	r := wire.NewReader(p)
	m.Size = int(int32(r.U32LE()))
	m.RequestID, m.ResponseTo = int32(r.U32LE()), int32(r.U32LE())
	m.Op = Op(r.U32LE())
	switch {
	case !r.OK():
		return 0, ErrShort
	case m.Size <= headerSize || m.Size > maxMessage || m.Op.String() == "":
		return 0, ErrMalformed
	}
	body := p[headerSize:min(m.Size, len(p))]
	if m.Op != OpCompressed {
		err = m.ParseBody(body, m.Size-headerSize)
		m.Want += headerSize
		return m.Size, err
	}
	r = wire.NewReader(body)
	m.Op = Op(r.U32LE())
	inflated := int32(r.U32LE())
	m.Compressor = Compressor(r.U8())
	switch {
	case !r.OK():
		return 0, ErrShort
	case m.Op == OpCompressed || m.Op.String() == "" || inflated < 0 || inflated > maxMessage || m.Compressor > Zstd:
		return 0, ErrMalformed
	}
	m.Compressed, m.Inflated, m.Payload, m.Want = true, int(inflated), r.Rest(), m.Size
	return m.Size, nil
}

// ParseBody reads what comes behind the header, size bytes, of which p may be the beginning.
func (m *Message) ParseBody(p []byte, size int) error {
	r := wire.NewReader(p)
	switch m.Op {
	case OpMsg:
		return m.sections(&r, size)
	case OpReply:
		m.Flags = r.U32LE()
		m.Cursor = int64(r.U64LE())
		r.Skip(8)
	case OpQuery:
		m.Flags = r.U32LE()
		m.Namespace = r.CString()
		r.Skip(8)
	case OpInsert:
		r.Skip(4)
		m.Namespace = r.CString()
	case OpUpdate, OpDelete:
		r.Skip(4)
		m.Namespace = r.CString()
		r.Skip(4)
	case OpGetMore:
		r.Skip(4)
		m.Namespace = r.CString()
		r.Skip(4)
		m.Cursor = int64(r.U64LE())
		return m.end(&r, size)
	case OpKillCursors:
		return m.end(&r, size)
	case OpCommand:
		m.Namespace = r.CString()
		r.CString()
	case OpCommandReply:
	default:
		return ErrMalformed
	}
	if err := m.end(&r, size); err != nil {
		return err
	}
	return m.document(&r, size)
}

// end says whether all was there that had to be.
func (m *Message) end(r *wire.Reader, size int) error {
	m.Want = r.Off
	switch {
	case r.OK():
		return nil
	case len(r.P) < size:
		return ErrShort
	}
	return ErrMalformed
}

// document finds the document that comes next, if there is one.
func (m *Message) document(r *wire.Reader, size int) error {
	start := r.Off
	if start == size {
		return nil
	}
	n := int(int32(r.U32LE()))
	if !r.OK() {
		if len(r.P) < size {
			return ErrShort
		}
		return ErrMalformed
	}
	if n < minDoc || n > size-start {
		return ErrMalformed
	}
	m.Doc, m.Want = r.P[start:min(start+n, len(r.P))], start+n
	return nil
}

// sections reads the flags and sections of an OP_MSG up to the one of kind 0, which is the command.
func (m *Message) sections(r *wire.Reader, size int) error {
	m.Flags = r.U32LE()
	if r.OK() && m.Flags&0xffff&^(ChecksumPresent|MoreToCome) != 0 { // unknown ones that must be understood
		return ErrMalformed
	}
	const most = 16
	for range most {
		kind := r.U8()
		start := r.Off
		if kind == 0 && r.OK() {
			return m.document(r, size)
		}
		n := int(int32(r.U32LE()))
		if err := m.end(r, size); err != nil {
			return err
		}
		if kind != 1 || n < minDoc || n > size-start {
			return ErrMalformed
		}
		if start+n >= len(r.P) { // the command is behind it
			m.Want = min(start+n+1, size)
			return nil
		}
		r.Off = start + n
	}
	return ErrMalformed
}

// Check says whether p begins with a message. Whether it is a request or a response shows by what it responds to. Without hint,
// the header has to be there: few bytes look like anything.
func Check(p []byte, hint bool) wire.Verdict {
	const sizeEnd = 4
	if len(p) >= sizeEnd {
		r := wire.NewReader(p)
		if n := r.U32LE(); n <= headerSize || n > maxMessage {
			return wire.No
		}
	}
	if len(p) < headerSize {
		if hint {
			return wire.Maybe
		}
		return wire.No
	}
	var m Message
	_, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		return wire.Maybe
	case err != nil:
		return wire.No
	case m.Op == OpMsg && !m.Compressed && m.Flags&^(ChecksumPresent|MoreToCome|ExhaustAllowed) != 0:
		return wire.No
	case m.Op != OpMsg && m.Op != OpReply && m.Op != OpCommandReply && m.Op != OpKillCursors && !m.Compressed && !isNamespace(m.Namespace):
		return wire.No
	case m.Compressed && len(m.Payload) == 0:
		return wire.Maybe
	}
	if len(m.Doc) > 0 {
		if v := checkDoc(m.Doc); v != wire.Either {
			return v
		}
	}
	if m.ResponseTo != 0 || m.Op.Reply() {
		if !m.Op.Reply() && m.Op != OpMsg {
			return wire.No
		}
		return wire.Response
	}
	return wire.Request
}

// isNamespace says whether name is one of a database and a collection.
func isNamespace(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return bytes.IndexByte(name, '.') > 0
}

// checkDoc looks at the first element of a document: wire.Either when it is one, or the document empty.
func checkDoc(doc []byte) wire.Verdict {
	r := wire.NewReader(doc)
	size := int(r.U32LE())
	if size == minDoc {
		return wire.Either
	}
	kind := Kind(r.U8())
	name := r.CString()
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			return wire.No
		}
	}
	const longest = 256
	switch {
	case !kind.valid() && len(doc) > 4, len(name) > longest, len(name) == 0 && r.OK():
		return wire.No
	case !r.OK():
		if len(doc) >= size {
			return wire.No
		}
		return wire.Maybe
	}
	return wire.Either
}

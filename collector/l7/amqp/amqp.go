// Package amqp reads the frames of AMQP 0-9-1, and what RabbitMQ adds to it, from bytes somebody else sent, into views of
// the input. It allocates nothing. Section numbers are those of the AMQP 0-9-1 specification.
package amqp

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a frame.
	ErrMalformed = errors.New("not AMQP")
	// ErrShort is returned when the bytes end before the head of a frame does.
	ErrShort = errors.New("AMQP is cut")
)

// Kind is what a frame is (§4.2.3).
type Kind uint8

// Kinds of frame. The numbers are those on the wire, but for Protocol.
const (
	Protocol  Kind = 0 // the protocol header that opens a connection
	Method    Kind = 1
	Header    Kind = 2
	Body      Kind = 3
	Heartbeat Kind = 8
)

const (
	header    = "AMQP\x00\x00\x09\x01"
	headLen   = 7 // type, channel, size
	frameEnd  = 0xCE
	maxFrame  = 1 << 27 // bytes of a payload: more than servers can be told to take
	maxMethod = 1 << 17 // bytes of a method's payload: what RabbitMQ takes at most
)

// Message is a frame. All slices are views of the parsed bytes; a text that is cut is shorter than it was.
type Message struct {
	Kind    Kind
	Channel uint16
	// Size is the length of the whole frame, in bytes.
	Size int

	// ID is class<<16 | method, of a Method.
	ID uint32
	// NoWait says that a method which is answered will not be.
	NoWait bool

	VHost, Queue, Exchange, RoutingKey, ConsumerTag, Mechanism []byte
	// Table is a table of arguments: the properties of server or client in the handshake.
	Table Table

	DeliveryTag uint64 // of Deliver, GetOk, Ack, Nack, Reject
	Multiple    bool   // of Ack and Nack: the tag and all before it

	// ReplyCode and ReplyText say why (Close, Return, Blocked); Failed is the method that was the cause, 0 if none.
	ReplyCode uint16
	ReplyText []byte
	Failed    uint32

	// Of a Header: the length of the body in bytes, and the properties (§1.8.1.1 of the XML specification).
	BodySize                                       uint64
	ContentType, CorrelationID, ReplyTo, MessageID []byte
	Type, AppID                                    []byte
	Headers                                        Table

	method *method
}

// Name is the method's, as in Queue.Declare; "" for other frames.
func (m *Message) Name() string {
	if m.method == nil {
		return ""
	}
	return m.method.name
}

// Answers is the method that this one answers, 0 if none.
func (m *Message) Answers() uint32 { return m.method.answers }

// AnswersName is the name of the method that this one answers.
func (m *Message) AnswersName() string {
	if a := methods[m.method.answers]; a != nil {
		return a.name
	}
	return ""
}

// Waits says that the method is answered.
func (m *Message) Waits() bool { return m.method.waits && !m.NoWait }

// Content says that a content header follows the method.
func (m *Message) Content() bool { return m.method != nil && m.method.content }

// Sender says who may have sent the frame: wire.Request is the client, wire.Response the server.
func (m *Message) Sender() wire.Verdict {
	switch {
	case m.Kind == Protocol:
		return wire.Request
	case m.method == nil || m.method.from == both:
		return wire.Either
	case m.method.from == client:
		return wire.Request
	}
	return wire.Response
}

// Check says whether p begins with a frame. own says that the connection is known to speak AMQP; else only the protocol
// header and methods whose sender is certain are taken for it, and methods only when their end is there.
func Check(p []byte, own bool) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	if p[0] == header[0] {
		n := min(len(p), len(header))
		switch {
		case string(p[:n]) != header[:n]:
			return wire.No
		case n < len(header):
			return wire.Maybe
		}
		return wire.Request
	}
	if Kind(p[0]) != Method && !own {
		return wire.No
	}
	var m Message
	n, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		return wire.Maybe
	case err != nil:
		return wire.No
	case n > len(p) && (!own || m.Kind != Body):
		return wire.Maybe
	}
	v := m.Sender()
	if v == wire.Either && !own {
		return wire.No
	}
	return v
}

// Parse reads the frame that p begins with and returns its whole length, which may be more than len(p): then what is there has been
// read.
func Parse(p []byte, m *Message) (n int, err error) {
	*m = Message{}
	if len(p) > 0 && p[0] == header[0] {
		switch n := min(len(p), len(header)); {
		case string(p[:n]) != header[:n]:
			return 0, ErrMalformed
		case n < len(header):
			return 0, ErrShort
		}
		m.Size = len(header)
		return len(header), nil
	}
	r := wire.NewReader(p)
	m.Kind, m.Channel = Kind(r.U8()), r.U16()
	size := r.U32()
	if len(p) > 0 && !m.Kind.valid() {
		return 0, ErrMalformed
	}
	if !r.OK() {
		return 0, ErrShort
	}
	if size > maxFrame || m.Kind == Method && size > maxMethod || m.Kind == Heartbeat && size != 0 {
		return 0, ErrMalformed
	}
	m.Size = headLen + int(size) + 1
	if m.Size <= len(p) && p[m.Size-1] != frameEnd {
		return 0, ErrMalformed
	}
	r.P = p[:min(len(p), m.Size-1)]
	whole := m.Size-1 <= len(p)
	switch m.Kind {
	case Method:
		err = m.readMethod(&r)
	case Header:
		err = m.readHeader(&r)
	}
	if err != nil || whole && !r.OK() {
		if err == nil {
			err = ErrMalformed
		}
		return 0, err
	}
	return m.Size, nil
}

func (k Kind) valid() bool { return k >= Method && k <= Body || k == Heartbeat }

// readMethod reads class, method and arguments.
func (m *Message) readMethod(r *wire.Reader) error {
	m.ID = r.U32()
	if !r.OK() {
		if m.Size-1 <= len(r.P) {
			return ErrMalformed
		}
		return ErrShort
	}
	if m.method = methods[m.ID]; m.method == nil {
		return ErrMalformed
	}
	if class := m.ID >> 16; (class == ClassConnection) != (m.Channel == 0) {
		return ErrMalformed
	}
	m.arguments(r)
	return nil
}

// arguments reads the arguments as the method's letters say: 1 and 2 pass over bytes, c code, y its text, M the method
// that failed, d delivery tag, u the bit multiple, N and a digit the bit no-wait, L a long text, T a table; the others are
// short texts.
func (m *Message) arguments(r *wire.Reader) {
	f := m.method.fields
	for i := 0; i < len(f); i++ {
		switch f[i] {
		case '1', '2':
			r.Skip(int(f[i] - '0'))
		case 'c':
			m.ReplyCode = r.U16()
		case 'y':
			m.ReplyText = shortText(r)
		case 'M':
			m.Failed = r.U32()
		case 'd':
			m.DeliveryTag = r.U64()
		case 'u':
			m.Multiple = r.U8()&1 != 0
		case 'N':
			i++
			m.NoWait = r.U8()>>(f[i]-'0')&1 != 0
		case 'L':
			r.UpTo(int(r.U32()))
		case 'T':
			m.Table = readTable(r)
		case 'q':
			m.Queue = shortText(r)
		case 'e':
			m.Exchange = shortText(r)
		case 'r':
			m.RoutingKey = shortText(r)
		case 't':
			m.ConsumerTag = shortText(r)
		case 'v':
			m.VHost = shortText(r)
		case 'm':
			m.Mechanism = shortText(r)
		case 's':
			shortText(r)
		}
	}
}

func shortText(r *wire.Reader) []byte { return r.UpTo(int(r.U8())) }

func readTable(r *wire.Reader) Table { return Table{r: wire.NewReader(r.UpTo(int(r.U32())))} }

// readHeader reads a content header (§4.2.6.1).
func (m *Message) readHeader(r *wire.Reader) error {
	class, weight := r.U16(), r.U16()
	if class != ClassBasic && r.OK() || weight != 0 {
		return ErrMalformed
	}
	m.BodySize = r.U64()
	flags := r.U16()
	if flags&1 != 0 { // there are but 14 properties
		return ErrMalformed
	}
	has := func(bit uint) bool { return flags>>bit&1 != 0 }
	text := func(bit uint) []byte {
		if !has(bit) {
			return nil
		}
		return shortText(r)
	}
	m.ContentType = text(15)
	text(14) // content-encoding
	if has(13) {
		m.Headers = readTable(r)
	}
	if has(12) { // delivery-mode
		r.Skip(1)
	}
	if has(11) { // priority
		r.Skip(1)
	}
	m.CorrelationID = text(10)
	m.ReplyTo = text(9)
	text(8) // expiration
	m.MessageID = text(7)
	if has(6) { // timestamp
		r.Skip(8)
	}
	m.Type = text(5)
	text(4) // user-id
	m.AppID = text(3)
	text(2) // cluster-id
	return nil
}

// Table reads the fields of a table one by one (§4.2.5.5); the zero value is an empty one.
type Table struct {
	r wire.Reader
	// Key and Value are the field's. Value is nil unless it is a text.
	Key, Value []byte
}

// Next moves to the next field; false at the end, or where the table is cut or not understood.
func (t *Table) Next() bool {
	if t.r.Len() == 0 {
		return false
	}
	t.Key, t.Value = shortText(&t.r), nil
	switch t.r.U8() {
	case 'S', 'x':
		t.Value = t.r.UpTo(int(t.r.U32()))
		return len(t.Value) > 0 || t.r.OK()
	case 't', 'b', 'B':
		t.r.Skip(1)
	case 's', 'u', 'U':
		t.r.Skip(2)
	case 'I', 'i', 'f':
		t.r.Skip(4)
	case 'L', 'l', 'd', 'T':
		t.r.Skip(8)
	case 'D':
		t.r.Skip(5)
	case 'F', 'A':
		t.r.Skip(int(t.r.U32()))
	case 'V':
	default:
		t.r.Short = true
	}
	return t.r.OK()
}

// Package nats reads the client protocol of NATS from bytes somebody else sent, into views of the input. It allocates
// nothing. The protocol is described in the NATS documentation, "NATS Client Protocol".
package nats

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a message of NATS.
	ErrMalformed = errors.New("not NATS")
	// ErrShort is returned when the bytes end before the line of a message does.
	ErrShort = errors.New("NATS is cut")
)

// Op is what a message does.
type Op uint8

// Operations.
const (
	Info Op = iota + 1
	Connect
	Pub
	HPub
	Sub
	Unsub
	Msg
	HMsg
	Ping
	Pong
	OK
	Err

	numOps
)

var names = [numOps]string{"", "INFO", "CONNECT", "PUB", "HPUB", "SUB", "UNSUB", "MSG", "HMSG", "PING", "PONG", "+OK", "-ERR"}

// String is the word on the wire.
func (o Op) String() string {
	if o < numOps {
		return names[o]
	}
	return ""
}

// Sender says who sends it: wire.Request is the client, wire.Response the server.
func (o Op) Sender() wire.Verdict {
	switch o {
	case Connect, Pub, HPub, Sub, Unsub:
		return wire.Request
	case Info, Msg, HMsg, OK, Err:
		return wire.Response
	case Ping, Pong:
		return wire.Either
	}
	return wire.No
}

const (
	longestOp  = 7        // CONNECT
	maxLine    = 64 << 10 // bytes of a line; servers take 4 KiB from clients, and send lists of addresses
	maxPayload = 1 << 30  // bytes
	maxFields  = 5
)

// Message is a message. All slices are views of the parsed bytes; what is cut is shorter than it was.
type Message struct {
	Op Op
	// Size is the length of the whole message, in bytes; 0 when it is not known.
	Size int
	// Subject is what a message is about; Reply where the answer is to go; Queue the group that shares a subscription; SID the
	// client's name of the subscription.
	Subject, Reply, Queue, SID []byte
	// Text is the JSON of Info and Connect, and the reason of Err without its quotes.
	Text []byte
	// Header is the block of header fields, its first line included; Payload what follows it.
	Header, Payload []byte
}

// token tells the operation that p begins with. It is 0 when there is none; short says that more bytes may make one.
func token(p []byte) (op Op, n int, short bool) {
	for n < len(p) && n <= longestOp && p[n] != ' ' && p[n] != '\t' && p[n] != '\r' {
		n++
	}
	for i := Info; i < numOps; i++ {
		name := names[i]
		if n == len(p) && n <= len(name) && equalFold(p, name[:n]) {
			short = true
		} else if n == len(name) && equalFold(p[:n], name) {
			return i, n, false
		}
	}
	return 0, 0, short
}

// equalFold says whether b is the word, which is in upper case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// Check says whether p begins with a message. own says that the connection is known to speak NATS; else short words and what
// other protocols say too count for nothing.
func Check(p []byte, own bool) wire.Verdict {
	op, _, short := token(p)
	switch {
	case op == 0 && short:
		return wire.Maybe
	case op == 0:
		return wire.No
	case !own && (op >= Ping || op == Unsub):
		return wire.No
	}
	var m Message
	_, err := Parse(p, &m)
	switch {
	case errors.Is(err, ErrShort):
		if !own && (op == Info || op == Connect) && len(m.Text) > 0 && m.Text[0] != '{' {
			return wire.No
		}
		return wire.Maybe
	case err != nil:
		return wire.No
	}
	if !own && (op == Info && Field(m.Text, "server_id") == nil || op == Connect && Field(m.Text, "verbose") == nil) {
		return wire.No
	}
	return op.Sender()
}

// Parse reads the message that p begins with and returns its whole length, which may be more than len(p): then what is there
// has been read. With ErrShort, the text of Info and Connect has been read as far as it is there.
func Parse(p []byte, m *Message) (n int, err error) {
	*m = Message{}
	op, at, short := token(p)
	switch {
	case op == 0 && short:
		return 0, ErrShort
	case op == 0:
		return 0, ErrMalformed
	}
	m.Op = op
	end := bytes.IndexByte(p, '\n')
	line := p[at:]
	if end >= 0 {
		line = bytes.TrimSuffix(p[at:end], []byte("\r"))
	}
	if op == Info || op == Connect || op == Err {
		m.Text = bytes.Trim(line, " \t'")
	}
	switch {
	case end > maxLine || end < 0 && len(p) > maxLine:
		return 0, ErrMalformed
	case end < 0 && (op == Ping || op == Pong || op == OK) && len(bytes.TrimSpace(line)) > 0:
		return 0, ErrMalformed
	case end < 0:
		return 0, ErrShort
	}
	m.Size = end + 1
	switch op {
	case Info, Connect:
		if len(m.Text) < 2 || m.Text[0] != '{' || m.Text[len(m.Text)-1] != '}' {
			return 0, ErrMalformed
		}
	case Ping, Pong, OK:
		if len(bytes.TrimSpace(line)) != 0 {
			return 0, ErrMalformed
		}
	case Err:
	default:
		return m.fields(p, line)
	}
	return m.Size, nil
}

// fields reads the words of a line, and the header and payload behind it.
func (m *Message) fields(p, line []byte) (int, error) {
	var f [maxFields][]byte
	n := 0
	for rest := line; ; n++ {
		rest = bytes.TrimLeft(rest, " \t")
		if len(rest) == 0 {
			break
		}
		if n == maxFields {
			return 0, ErrMalformed
		}
		i := bytes.IndexAny(rest, " \t")
		if i < 0 {
			i = len(rest)
		}
		f[n], rest = rest[:i], rest[i:]
		for _, c := range f[n] {
			if c < ' ' || c == 0x7f {
				return 0, ErrMalformed
			}
		}
	}
	w := f[:n]
	// How many words there are at least, and how many of them are lengths at the end.
	least, lengths := 2, 0
	switch m.Op {
	case Pub:
		lengths = 1
	case HPub:
		least, lengths = 3, 2
	case Msg:
		least, lengths = 3, 1
	case HMsg:
		least, lengths = 4, 2
	case Unsub:
		least = 1
	}
	if n < least || n > least+1 {
		return 0, ErrMalformed
	}
	switch optional := n > least; m.Op {
	case Unsub:
		m.SID = w[0]
		if _, ok := number(w[n-1]); optional && !ok {
			return 0, ErrMalformed
		}
	case Sub:
		if m.Subject, m.SID = w[0], w[n-1]; optional {
			m.Queue = w[1]
		}
	case Pub, HPub:
		if m.Subject = w[0]; optional {
			m.Reply = w[1]
		}
	case Msg, HMsg:
		if m.Subject, m.SID = w[0], w[1]; optional {
			m.Reply = w[2]
		}
	}
	if lengths == 0 {
		return m.Size, nil
	}
	return m.content(p, w[n-lengths:])
}

// content reads what is there of header and payload, whose lengths are given.
func (m *Message) content(p []byte, lengths [][]byte) (int, error) {
	head := 0
	all, ok := number(lengths[len(lengths)-1])
	if len(lengths) == 2 && ok {
		head, ok = number(lengths[0])
	}
	if !ok || head > all {
		return 0, ErrMalformed
	}
	at := m.Size
	m.Size += all + 2
	if m.Size <= len(p) && string(p[m.Size-2:m.Size]) != "\r\n" {
		return 0, ErrMalformed
	}
	m.Header = p[at:min(at+head, len(p))]
	m.Payload = p[min(at+head, len(p)):min(at+all, len(p))]
	if n := min(len(m.Header), len(headerLine)); len(lengths) == 2 && string(m.Header[:n]) != headerLine[:n] {
		return 0, ErrMalformed
	}
	return m.Size, nil
}

// number reads a length.
func number(w []byte) (n int, ok bool) {
	for _, c := range w {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + int(c-'0'); n > maxPayload {
			return 0, false
		}
	}
	return n, len(w) > 0
}

// headerLine is how the first line of a header begins.
const headerLine = "NATS/1.0"

// Status is the number and the text in the first line of the header, by which the server itself speaks to a client: 503
// where nobody answers. 0 when there is none.
func (m *Message) Status() (code int, text []byte) {
	line, _, _ := bytes.Cut(m.Header, []byte("\n"))
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte(headerLine)))
	digits, text, _ := bytes.Cut(line, []byte(" "))
	if len(digits) != 3 {
		return 0, nil
	}
	code, _ = number(digits)
	return code, bytes.TrimSpace(text)
}

// Fields reads the fields of a header one by one; the zero value has none.
type Fields struct {
	rest       []byte
	Key, Value []byte
}

// Fields are those of the message.
func (m *Message) Fields() Fields {
	_, rest, _ := bytes.Cut(m.Header, []byte("\n"))
	return Fields{rest: rest}
}

// Next moves to the next field; false at the end.
func (f *Fields) Next() bool {
	for len(f.rest) > 0 {
		var line []byte
		line, f.rest, _ = bytes.Cut(f.rest, []byte("\n"))
		key, value, ok := bytes.Cut(line, []byte(":"))
		if ok && len(key) > 0 {
			f.Key, f.Value = key, bytes.TrimSpace(value)
			return true
		}
	}
	return false
}

// Field finds a member of a JSON object by its name: a string without its quotes and as it is escaped, or a bare word. It is nil
// when there is none; members of inner objects count too.
func Field(object []byte, name string) []byte {
	for rest := object; ; {
		i := bytes.IndexByte(rest, '"')
		if i < 0 {
			return nil
		}
		rest = rest[i+1:]
		end := closing(rest)
		if end < 0 {
			return nil
		}
		word := rest[:end]
		rest = bytes.TrimLeft(rest[end+1:], " \t")
		if len(rest) == 0 || rest[0] != ':' || string(word) != name {
			continue
		}
		v := bytes.TrimLeft(rest[1:], " \t")
		if len(v) > 0 && v[0] == '"' {
			if end := closing(v[1:]); end >= 0 {
				return v[1 : end+1 : end+1]
			}
			return nil
		}
		end = bytes.IndexAny(v, ",}] ")
		if end <= 0 {
			return nil
		}
		return v[:end:end]
	}
}

// closing is where the string that p begins within ends; -1 when it does not.
func closing(p []byte) int {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// ErrorOfNRPC reads the payload of a response of nRPC (github.com/nats-rpc/nrpc): a zero byte before a message Error says
// that the call has failed. ok is false for everything else.
func ErrorOfNRPC(payload []byte) (kind uint64, text []byte, ok bool) {
	if len(payload) < 3 || payload[0] != 0 {
		return 0, nil, false
	}
	r := wire.NewReader(payload[1:])
	for r.Len() > 0 {
		switch tag := r.Uvarint(); tag {
		case 1 << 3:
			kind = r.Uvarint()
		case 2<<3 | 2:
			n := r.Uvarint()
			if n > uint64(r.Len()) {
				return 0, nil, false
			}
			text = r.Bytes(int(n))
		case 3 << 3:
			r.Uvarint()
		default:
			return 0, nil, false
		}
	}
	return kind, text, r.OK() && kind <= 4 && len(text) > 0
}

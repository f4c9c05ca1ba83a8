// Package rocketmq reads remoting commands of Apache RocketMQ (RemotingCommand of its remoting module) from bytes somebody else sent,
// into views of the input: headers in JSON and in RocketMQ's own serialisation, extension fields, message properties. It allocates
// nothing.
package rocketmq

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a remoting command.
	ErrMalformed = errors.New("not a RocketMQ command")
	// ErrShort is returned when the bytes end within the header.
	ErrShort = errors.New("RocketMQ command is cut")
)

// Serialisations of the header, as the highest byte of its length has them.
const (
	typeJSON = 0
	typeOwn  = 1
)

// Flags of a command.
const (
	flagResponse = 1
	flagOneWay   = 2
)

// Prefix is how many bytes come before the header: the frame's length, the header's type and length.
const Prefix = 8

const (
	maxFrame   = 64 << 20
	maxHeader  = 1 << 20
	maxFields  = 64
	separator1 = 1 // between name and value of a property
	separator2 = 2 // behind a property
)

// Command is a request or response. The slices are views of the parsed bytes; texts of a JSON header may hold escapes, which
// AppendText takes away.
type Command struct {
	Code     int32
	Opaque   int32
	Version  int32
	Response bool
	OneWay   bool
	JSON     bool
	Remark   []byte
	// Group is that of the producer or consumer.
	Group, Topic, QueueID, Offset, Properties []byte
	// Body is what there is of it.
	Body []byte
}

// Size is the length of the frame that p begins with, 0 when p is too short to tell, -1 when there is no such frame.
func Size(p []byte) int {
	if len(p) < 4 {
		return 0
	}
	r := wire.NewReader(p)
	n := r.U32()
	if n < 4 || n > maxFrame {
		return -1
	}
	if len(p) >= Prefix {
		h := r.U32()
		if kind, size := h>>24, h&0xffffff; kind > typeOwn || size == 0 || size > maxHeader || size+4 > n {
			return -1
		}
	}
	return 4 + int(n)
}

// HeaderEnd is how many bytes the frame takes up to the end of its header; Size must have been positive and p 8 bytes long.
func HeaderEnd(p []byte) int {
	r := wire.NewReader(p[4:])
	return Prefix + int(r.U32()&0xffffff)
}

// Check says whether p begins with a command: the lengths fit, and the header looks like what its type says.
func Check(p []byte) wire.Verdict {
	if n := Size(p); n < 0 {
		return wire.No
	}
	if len(p) < Prefix {
		return wire.Maybe
	}
	head := p[Prefix:min(HeaderEnd(p), len(p))]
	if p[4] == typeJSON {
		const begin = `{"`
		if !bytes.HasPrefix(head, []byte(begin)[:min(len(begin), len(head))]) {
			return wire.No
		}
		for _, c := range head {
			if c < ' ' {
				return wire.No
			}
		}
	}
	if len(head) < HeaderEnd(p)-Prefix {
		return wire.Maybe
	}
	var m Command
	if _, err := Parse(p, &m); err != nil || m.Code < 0 || m.Opaque < 0 {
		return wire.No
	}
	if m.Response {
		return wire.Response
	}
	return wire.Request
}

// Parse reads a command, whose header has to be there, and returns its whole length, which may exceed len(p).
func Parse(p []byte, m *Command) (n int, err error) {
	*m = Command{Code: -1, Opaque: -1}
	if n = Size(p); n < 0 {
		return 0, ErrMalformed
	}
	if len(p) < Prefix || len(p) < HeaderEnd(p) {
		return 0, ErrShort
	}
	end := HeaderEnd(p)
	m.Body = p[end:min(n, len(p))]
	if m.JSON = p[4] == typeJSON; m.JSON {
		return n, m.json(p[Prefix:end])
	}
	return n, m.own(p[Prefix:end])
}

// own reads a header in RocketMQ's own serialisation.
func (m *Command) own(p []byte) error {
	r := wire.NewReader(p)
	m.Code = int32(int16(r.U16()))
	r.Skip(1) // language
	m.Version, m.Opaque = int32(int16(r.U16())), int32(r.U32())
	m.flags(int32(r.U32()))
	m.Remark = r.Bytes(int(int32(r.U32())))
	fields := wire.NewReader(r.Bytes(int(int32(r.U32()))))
	for k := 0; k < maxFields && fields.Len() > 0; k++ {
		key := fields.Bytes(int(int16(fields.U16())))
		m.field(key, fields.Bytes(int(int32(fields.U32()))))
	}
	if !r.OK() || !fields.OK() {
		return ErrMalformed
	}
	return nil
}

func (m *Command) flags(flag int32) {
	m.Response, m.OneWay = flag&flagResponse != 0, flag&flagOneWay != 0
}

// field takes an extension field. SEND_MESSAGE_V2 and its kin shorten the names to letters (SendMessageRequestHeaderV2).
func (m *Command) field(key, value []byte) {
	short := m.Code == SendMessageV2 || m.Code == SendBatchMessage || m.Code == SendReplyMessageV2 || m.Code < 0
	switch string(key) {
	case "producerGroup", "consumerGroup", "group":
		m.Group = value
	case "topic":
		m.Topic = value
	case "queueId":
		m.QueueID = value
	case "queueOffset", "commitOffset":
		m.Offset = value
	case "properties":
		m.Properties = value
	case "a":
		if short {
			m.Group = value
		}
	case "b":
		if short {
			m.Topic = value
		}
	case "e":
		if short {
			m.QueueID = value
		}
	case "i":
		if short {
			m.Properties = value
		}
	}
}

// json reads a header in JSON: a flat object with one object of texts, extFields, in it.
func (m *Command) json(p []byte) error {
	s := scanner{p: p}
	err := s.object(func(key, value []byte, kind byte) error {
		switch string(key) {
		case "code":
			m.Code = number(value)
		case "opaque":
			m.Opaque = number(value)
		case "version":
			m.Version = number(value)
		case "flag":
			m.flags(number(value))
		case "remark":
			if kind == '"' {
				m.Remark = value
			}
		case "extFields":
			if kind == '{' {
				inner := scanner{p: value}
				return inner.object(func(key, value []byte, _ byte) error { m.field(key, value); return nil })
			}
		}
		return nil
	})
	if err != nil || m.Code < 0 {
		return ErrMalformed
	}
	return nil
}

func number(p []byte) int32 {
	n, err := strconv.ParseInt(string(p), 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// scanner walks JSON.
type scanner struct {
	p  []byte
	at int
}

func (s *scanner) space() {
	for s.at < len(s.p) && (s.p[s.at] == ' ' || s.p[s.at] == '\t' || s.p[s.at] == '\n' || s.p[s.at] == '\r') {
		s.at++
	}
}

func (s *scanner) next() byte {
	s.space()
	if s.at == len(s.p) {
		return 0
	}
	s.at++
	return s.p[s.at-1]
}

// object calls f with each key and value: of a text what is between the quotes, of an object or array all of it. kind is the
// value's first byte.
func (s *scanner) object(f func(key, value []byte, kind byte) error) error {
	if s.next() != '{' {
		return ErrMalformed
	}
	for k := 0; k < maxFields; k++ {
		switch s.next() {
		case '}':
			return nil
		case ',':
			if s.next() != '"' {
				return ErrMalformed
			}
		case '"':
		default:
			return ErrMalformed
		}
		key, ok := s.text()
		if !ok || s.next() != ':' {
			return ErrMalformed
		}
		value, kind, ok := s.value()
		if !ok {
			return ErrMalformed
		}
		if err := f(key, value, kind); err != nil {
			return err
		}
	}
	return ErrMalformed
}

// text reads up to the closing quote.
func (s *scanner) text() ([]byte, bool) {
	from := s.at
	for ; s.at < len(s.p); s.at++ {
		switch s.p[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.p[from : s.at-1], true
		}
	}
	return nil, false
}

func (s *scanner) value() (v []byte, kind byte, ok bool) {
	switch kind = s.next(); kind {
	case 0:
		return nil, 0, false
	case '"':
		v, ok = s.text()
		return v, kind, ok
	case '{', '[':
		from := s.at - 1
		for depth := 1; depth > 0; {
			switch s.next() {
			case 0:
				return nil, 0, false
			case '"':
				if _, ok := s.text(); !ok {
					return nil, 0, false
				}
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
		}
		return s.p[from:s.at], kind, true
	}
	from := s.at - 1
	for s.at < len(s.p) && s.p[s.at] != ',' && s.p[s.at] != '}' && s.p[s.at] != ' ' {
		s.at++
	}
	return s.p[from:s.at], kind, true
}

// AppendText appends a text of the header, without the escapes of JSON where m has them.
func (m *Command) AppendText(dst, text []byte) []byte {
	if !m.JSON || bytes.IndexByte(text, '\\') < 0 {
		return append(dst, text...)
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			dst = append(dst, text[i])
			continue
		}
		i++
		switch text[i] {
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'u':
			const digits = 4
			if i+digits >= len(text) {
				return dst // cut
			}
			v, err := strconv.ParseUint(string(text[i+1:i+1+digits]), 16, 16)
			if err != nil {
				return dst
			}
			if v < 0x80 {
				dst = append(dst, byte(v))
			} else {
				dst = append(dst, string(rune(v))...)
			}
			i += digits
		default:
			dst = append(dst, text[i])
		}
	}
	return dst
}

// Each calls f with the names and values of message properties, unescaped, until f returns false.
func Each(properties []byte, f func(name, value []byte) bool) {
	for k := 0; k < maxFields && len(properties) > 0; k++ {
		var one []byte
		one, properties, _ = bytes.Cut(properties, []byte{separator2})
		name, value, ok := bytes.Cut(one, []byte{separator1})
		if ok && !f(name, value) {
			return
		}
	}
}

// FirstMessage reads the properties of the first message in the body of a response to a pull, as the broker stores it
// (CommitLog's layout); nil when there is none.
func FirstMessage(body []byte) (topic, properties []byte) {
	const (
		bornV6, storeV6 = 0x10, 0x20
		host4, host6    = 8, 20
	)
	r := wire.NewReader(body)
	r.Skip(4 + 4 + 4 + 4 + 4 + 8 + 8) // size, magic, checksum, queue, flag, offsets
	flag := r.U32()
	host := func(v6 uint32) {
		if flag&v6 != 0 {
			r.Skip(host6)
		} else {
			r.Skip(host4)
		}
	}
	r.Skip(8) // born
	host(bornV6)
	r.Skip(8) // stored
	host(storeV6)
	r.Skip(4 + 8) // reconsumed, transaction
	r.Skip(int(int32(r.U32())))
	topic = r.Bytes(int(r.U8()))
	properties = r.Bytes(int(int16(r.U16())))
	if !r.OK() {
		return nil, nil
	}
	return topic, properties
}

// Package krpc reads messages of KRPC (github.com/bruceran/krpc, doc/develop.md): 8 bytes of header and an RpcMeta in protobuf,
// before the content. It allocates nothing; what it returns are views of its input.
package krpc

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the header is not all there.
	ErrShort = errors.New("krpc: header is cut")
	// ErrMalformed is returned when the bytes are not a message.
	ErrMalformed = errors.New("krpc: not a message")
)

const (
	headerLen = 8
	maxPacket = 1 << 30 // bytes

	directionRequest, directionResponse = 1, 2
)

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	Request bool // else a response
	// Service and Method are the numbers of what is called.
	Service, Method int32
	Sequence        int32 // of the call, by connection
	Numbered        bool  // Sequence is there, and not behind what is cut
	Code            int32 // of a response: 0, or an error
	// Size is the length of the message in bytes, Want that of the header and the meta data.
	Size, Want int

	TraceID, ParentID, SpanID []byte
}

// Heartbeat says whether the message only shows that its sender is there.
func (m *Message) Heartbeat() bool {
	return m.Numbered && m.Sequence == 0 && m.Service == 1 && m.Method == 1
}

// Check says whether p begins with a message: its meta data begin with the direction and what is called.
func Check(p []byte) wire.Verdict {
	const magic, begin = "KR", headerLen + 3
	if string(p[:min(len(p), len(magic))]) != magic[:min(len(p), len(magic))] {
		return wire.No
	}
	if len(p) < begin {
		return wire.Maybe
	}
	var m Message
	if _, err := Parse(p, &m); err != nil || p[headerLen+2] != 2<<3 {
		return wire.No
	}
	switch {
	case m.Heartbeat():
		return wire.Either
	case len(p) < m.Want:
		return wire.Maybe
	case m.Service <= 0 || m.Method <= 0:
		return wire.No
	case m.Request:
		return wire.Request
	}
	return wire.Response
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p: of meta data that are
// cut it reads what is there.
func Parse(p []byte, m *Message) (n int, err error) {
	if len(p) < headerLen+2 {
		return 0, ErrShort
	}
	meta, packet := int(binary.BigEndian.Uint16(p[2:])), int(binary.BigEndian.Uint32(p[4:]))
	if p[0] != 'K' || p[1] != 'R' || meta < 2 || packet < meta || packet > maxPacket {
		return 0, ErrMalformed
	}
	direction := p[headerLen+1]
	if p[headerLen] != 1<<3 || direction != directionRequest && direction != directionResponse {
		return 0, ErrMalformed
	}
	*m = Message{Request: direction == directionRequest, Size: headerLen + packet, Want: headerLen + meta}
	for rest := p[headerLen:min(len(p), m.Want)]; len(rest) > 0; {
		num, value, v, n := field(rest)
		if n < 0 {
			break
		}
		rest = rest[n:]
		switch num {
		case 2:
			m.Service = int32(value)
		case 3:
			m.Method = int32(value)
		case 4:
			m.Sequence, m.Numbered = int32(value), true
		case 6:
			m.Code = int32(value)
		case 7:
			m.trace(v)
		}
	}
	m.Numbered = m.Numbered || len(p) >= m.Want // 0 is left out
	return m.Size, nil
}

func (m *Message) trace(p []byte) {
	for len(p) > 0 {
		num, _, v, n := field(p)
		if n < 0 {
			return
		}
		p = p[n:]
		switch num {
		case 2:
			m.TraceID = v
		case 3:
			m.ParentID = v
		case 4:
			m.SpanID = v
		}
	}
}

// field reads a field: its number, and its value as a number or as bytes. n is its length, negative when it is cut.
func field(p []byte) (num protowire.Number, value uint64, v []byte, n int) {
	num, typ, at := protowire.ConsumeTag(p)
	if at < 0 {
		return 0, 0, nil, at
	}
	switch typ {
	case protowire.VarintType:
		value, n = protowire.ConsumeVarint(p[at:])
	case protowire.BytesType:
		v, n = protowire.ConsumeBytes(p[at:])
	default:
		n = protowire.ConsumeFieldValue(num, typ, p[at:])
	}
	if n < 0 {
		return 0, 0, nil, n
	}
	return num, value, v, at + n
}

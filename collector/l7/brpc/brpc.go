// Package brpc reads messages of bRPC's baidu_std protocol (brpc.apache.org, "baidu_std"): 12 bytes of header and an RpcMeta
// in protobuf, before the payload and its attachment. It allocates nothing; what it returns are views of its input.
package brpc

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the header is not all there.
	ErrShort = errors.New("baidu_std: header is cut")
	// ErrMalformed is returned when the bytes are not a message.
	ErrMalformed = errors.New("baidu_std: not a message")
)

const (
	headerLen = 12
	maxBody   = 1 << 30 // bytes
	maxMeta   = 1 << 20

	magic       = "PRPC"
	magicStream = "STRM" // a frame of a stream, which a call has opened
)

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	// Request and Response say which of the two the meta data describe; neither is set for a frame of a stream.
	Request, Response bool
	CorrelationID     int64
	Numbered          bool // CorrelationID is there, and not behind what is cut
	// Size is the length of the message in bytes, Want that of the header and the meta data.
	Size, Want int
	Compress   int64

	// Of a request.
	Service, Method               []byte
	LogID                         int64
	TraceID, SpanID, ParentSpanID uint64 // of bRPC's own tracing, 0 without
	RequestID                     []byte

	// Of a response.
	ErrorCode int32
	ErrorText []byte

	meta, request []byte
}

// Check says whether p begins with a message; a frame of a stream is none, since a call comes first.
func Check(p []byte) wire.Verdict {
	if string(p[:min(len(p), len(magic))]) != magic[:min(len(p), len(magic))] {
		return wire.No
	}
	if len(p) <= headerLen {
		return wire.Maybe
	}
	if _, _, ok := sizes(p); !ok {
		return wire.No
	}
	switch p[headerLen] { // the first field of the meta data
	case 1<<3 | byte(protowire.BytesType):
		return wire.Request
	case 2<<3 | byte(protowire.BytesType):
		return wire.Response
	}
	return wire.No
}

// sizes are the lengths of what is behind the header, and of the meta data in it.
func sizes(p []byte) (body, meta int, ok bool) {
	body, meta = int(binary.BigEndian.Uint32(p[4:])), int(binary.BigEndian.Uint32(p[8:]))
	return body, meta, body <= maxBody && meta <= min(body, maxMeta)
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p: of meta data that are
// cut it reads what is there.
func Parse(p []byte, m *Message) (n int, err error) {
	if len(p) < headerLen {
		return 0, ErrShort
	}
	body, meta, ok := sizes(p)
	stream := string(p[:4]) == magicStream
	if !stream && string(p[:4]) != magic || !ok {
		return 0, ErrMalformed
	}
	*m = Message{Size: headerLen + body, Want: headerLen + meta}
	if stream {
		m.Want = headerLen
		return m.Size, nil
	}
	m.meta = p[headerLen:min(len(p), m.Want)]
	for rest := m.meta; len(rest) > 0; {
		num, value, v, n := field(rest)
		if n < 0 {
			break
		}
		rest = rest[n:]
		switch {
		case num == 1 && v != nil:
			m.Request, m.request = true, v
			m.readRequest(v)
		case num == 2 && v != nil:
			m.Response = true
			m.readResponse(v)
		case num == 3:
			m.Compress = int64(value)
		case num == 4:
			m.CorrelationID, m.Numbered = int64(value), true
		}
	}
	whole := len(p) >= m.Want
	if m.Request == m.Response && whole {
		return 0, ErrMalformed
	}
	m.Numbered = m.Numbered || whole
	return m.Size, nil
}

// field reads a field: its number, and its value as a number or as bytes. n is its length, negative when it is cut; of bytes
// that are cut what is there is returned all the same, n then being what is left.
func field(p []byte) (num protowire.Number, value uint64, v []byte, n int) {
	num, typ, at := protowire.ConsumeTag(p)
	if at < 0 {
		return 0, 0, nil, at
	}
	switch typ {
	case protowire.VarintType:
		value, n = protowire.ConsumeVarint(p[at:])
	case protowire.BytesType:
		size, used := protowire.ConsumeVarint(p[at:])
		if used < 0 {
			return 0, 0, nil, used
		}
		at += used
		n = int(min(size, uint64(len(p)-at)))
		v = p[at : at+n : at+n]
	default:
		n = protowire.ConsumeFieldValue(num, typ, p[at:])
	}
	if n < 0 {
		return 0, 0, nil, n
	}
	return num, value, v, at + n
}

func (m *Message) readRequest(p []byte) {
	for len(p) > 0 {
		num, value, v, n := field(p)
		if n < 0 {
			return
		}
		p = p[n:]
		switch num {
		case 1:
			m.Service = v
		case 2:
			m.Method = v
		case 3:
			m.LogID = int64(value)
		case 4:
			m.TraceID = value
		case 5:
			m.SpanID = value
		case 6:
			m.ParentSpanID = value
		case extFields:
			if _, _, isPair := pair(v); !isPair {
				m.RequestID = v
			}
		}
	}
}

func (m *Message) readResponse(p []byte) {
	for len(p) > 0 {
		num, value, v, n := field(p)
		if n < 0 {
			return
		}
		p = p[n:]
		switch num {
		case 1:
			m.ErrorCode = int32(value)
		case 2:
			m.ErrorText = v
		}
	}
}

// Numbers of the fields that hold pairs: of the meta data, and of a request's. bRPC for Java has pairs in the latter, bRPC for
// C++ the request id.
const (
	userFields = 9
	extFields  = 7
)

// pair reads a message of two texts, a key and its value; ok is false when p is something else.
func pair(p []byte) (key, value []byte, ok bool) {
	if len(p) == 0 || p[0] != 1<<3|byte(protowire.BytesType) {
		return nil, nil, false
	}
	for len(p) > 0 {
		num, typ, at := protowire.ConsumeTag(p)
		if at < 0 || typ != protowire.BytesType || num > 2 {
			return nil, nil, false
		}
		v, n := protowire.ConsumeBytes(p[at:])
		if n < 0 {
			return nil, nil, false
		}
		if p = p[at+n:]; num == 1 {
			key = v
		} else {
			value = v
		}
	}
	return key, value, true
}

// Fields walks over the pairs of text that the caller has added.
type Fields struct {
	meta, request []byte
	Key, Value    []byte
}

// Fields starts a walk.
func (m *Message) Fields() Fields { return Fields{meta: m.meta, request: m.request} }

// Next goes to the next pair; false at the end.
func (f *Fields) Next() bool { return f.next(&f.request, extFields) || f.next(&f.meta, userFields) }

func (f *Fields) next(rest *[]byte, number protowire.Number) (ok bool) {
	for len(*rest) > 0 {
		num, _, v, n := field(*rest)
		if n < 0 {
			return false
		}
		*rest = (*rest)[n:]
		if num != number {
			continue
		}
		if f.Key, f.Value, ok = pair(v); ok {
			return true
		}
	}
	return false
}

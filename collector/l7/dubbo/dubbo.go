// Package dubbo reads messages of the Dubbo protocol (cn.dubbo.apache.org, "Dubbo2 protocol specification"): the header of
// 16 bytes, and of a body in Hessian 2, Kryo, Fastjson or Fastjson 2 what is called and the attachments. It allocates nothing;
// what it returns are views of its input.
package dubbo

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/hessian"
	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the header is not all there.
	ErrShort = errors.New("dubbo: header is cut")
	// ErrMalformed is returned when the bytes are not a Dubbo message.
	ErrMalformed = errors.New("dubbo: not a message")
)

const (
	headerLen = 16
	maxBody   = 1 << 30 // bytes

	flagRequest, flagTwoWay, flagEvent = 0x80, 0x40, 0x20
	serialMask                         = 0x1f
)

// Status is the status byte of a response.
type Status uint8

// Statuses.
const (
	OK                  Status = 20
	SerializationError  Status = 25
	ClientTimeout       Status = 30
	ServerTimeout       Status = 31
	ChannelInactive     Status = 35
	BadRequest          Status = 40
	BadResponse         Status = 50
	ServiceNotFound     Status = 60
	ServiceError        Status = 70
	ServerError         Status = 80
	ClientError         Status = 90
	ThreadPoolExhausted Status = 100
)

// Serialization ids whose bodies are read.
const (
	hessian2  = 2
	fastjson  = 6
	kryo      = 8
	fastjson2 = 23
	kryoTwo   = 25
)

// String is the status in words, "" for one that is not in the specification.
func (s Status) String() string {
	switch s {
	case OK:
		return "OK"
	case SerializationError:
		return "SERIALIZATION_ERROR"
	case ClientTimeout:
		return "CLIENT_TIMEOUT"
	case ServerTimeout:
		return "SERVER_TIMEOUT"
	case ChannelInactive:
		return "CHANNEL_INACTIVE"
	case BadRequest:
		return "BAD_REQUEST"
	case BadResponse:
		return "BAD_RESPONSE"
	case ServiceNotFound:
		return "SERVICE_NOT_FOUND"
	case ServiceError:
		return "SERVICE_ERROR"
	case ServerError:
		return "SERVER_ERROR"
	case ClientError:
		return "CLIENT_ERROR"
	case ThreadPoolExhausted:
		return "SERVER_THREADPOOL_EXHAUSTED_ERROR"
	}
	return ""
}

// serializations are the names of the serialization ids (org.apache.dubbo.common.serialize.Constants).
var serializations = [serialMask + 1]string{
	hessian2: "hessian2", 3: "java", 4: "compactedjava", fastjson: "fastjson", 7: "nativejava", kryo: "kryo", 9: "fst", 10: "native-hessian",
	11: "avro", 12: "protostuff", 16: "gson", 21: "protobuf-json", 22: "protobuf", fastjson2: "fastjson2", kryoTwo: "kryo2", 26: "custom", 27: "msgpack",
}

// Message is a parsed message; its slices are views of the bytes it was parsed from, or of itself (Kryo).
type Message struct {
	Request bool
	TwoWay  bool  // the request wants a response
	Event   bool  // a heartbeat, or the wish not to be asked any more
	Serial  uint8 // serialization id
	Status  Status
	ID      uint64
	// Size is the length of the message in bytes.
	Size int

	// Of a request that is no event, as far as the serialization is known: the version of Dubbo, what is called, and the
	// types of its arguments as JVM descriptors.
	Dubbo, Service, Version, Method, Types []byte

	// Threw says that a response of status OK is an exception of the called method.
	Threw bool
	// Class is the exception's class, Text its message, or that of a response whose status is not OK.
	Class, Text []byte

	rest  []byte // of a request: the arguments and what comes behind them
	r     hessian.Reader
	ascii [5][maxASCII]byte // strings that are no views
	used  int
}

// Serialization is the name of the message's serialization.
func (m *Message) Serialization() string { return serializations[m.Serial&serialMask] }

// Check says whether p begins with a message.
func Check(p []byte) wire.Verdict {
	if len(p) > 0 && p[0] != 0xda || len(p) > 1 && p[1] != 0xbb {
		return wire.No
	}
	if len(p) > 3 && !plausible(p[2], Status(p[3])) {
		return wire.No
	}
	if len(p) < headerLen {
		return wire.Maybe
	}
	if binary.BigEndian.Uint32(p[12:]) > maxBody {
		return wire.No
	}
	switch {
	case p[2]&flagEvent != 0: // either end sends heartbeats
		return wire.Either
	case p[2]&flagRequest != 0:
		return wire.Request
	}
	return wire.Response
}

// plausible says whether the flags and the status go together.
func plausible(flags uint8, status Status) bool {
	if serializations[flags&serialMask] == "" {
		return false
	}
	if flags&flagRequest != 0 {
		return status == 0
	}
	return status.String() != ""
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p: of a body that is cut
// it reads what is there.
func Parse(p []byte, m *Message) (n int, err error) {
	if len(p) < headerLen {
		return 0, ErrShort
	}
	size := binary.BigEndian.Uint32(p[12:])
	if p[0] != 0xda || p[1] != 0xbb || size > maxBody {
		return 0, ErrMalformed
	}
	flags := p[2]
	m.reset()
	m.Request, m.TwoWay, m.Event = flags&flagRequest != 0, flags&flagTwoWay != 0, flags&flagEvent != 0
	m.Serial, m.Status, m.ID = flags&serialMask, Status(p[3]), binary.BigEndian.Uint64(p[4:])
	m.Size = headerLen + int(size)
	body := p[headerLen:min(len(p), m.Size)]
	switch {
	case m.Event:
	case m.Request:
		m.request(body)
	default:
		m.response(body)
	}
	return m.Size, nil
}

// reset clears what is read from a message; the memory of the Hessian reader is big and needs no clearing.
func (m *Message) reset() {
	m.Dubbo, m.Service, m.Version, m.Method, m.Types = nil, nil, nil, nil, nil
	m.Threw, m.Class, m.Text, m.rest, m.used = false, nil, nil, nil, 0
	m.r.Reset(nil)
}

// request reads the strings that a request begins with, in each serialization in its way.
func (m *Message) request(body []byte) {
	var next func(*Message) ([]byte, bool)
	m.r.Reset(body)
	m.rest = body
	switch m.Serial {
	case hessian2:
		next = hessianText
	case kryo, kryoTwo:
		next = kryoText
	case fastjson:
		next = jsonText
	case fastjson2:
		next = jsonbText
	default:
		m.rest = nil
		return
	}
	for _, field := range [...]*[]byte{&m.Dubbo, &m.Service, &m.Version, &m.Method, &m.Types} {
		s, ok := next(m)
		if !ok {
			m.rest = nil
			return
		}
		*field = s
	}
}

// hessianText reads from m.r, which goes on with the arguments.
func hessianText(m *Message) ([]byte, bool) { return m.r.Text() }

// Flags that the body of a response begins with (DubboCodec).
const (
	withException            = 0
	exceptionWithAttachments = 3
	maxFlag                  = 5
)

// response reads the error a response tells of.
func (m *Message) response(body []byte) {
	m.r.Reset(body)
	m.rest = body
	if m.Status != OK {
		switch m.Serial {
		case hessian2:
			m.Text, _ = m.r.Text()
		case kryo, kryoTwo:
			m.Text, _ = kryoText(m)
		case fastjson:
			m.Text, _ = jsonText(m)
		case fastjson2:
			m.Text, _ = jsonbText(m)
		}
		return
	}
	flag := m.flag()
	m.Threw = flag == withException || flag == exceptionWithAttachments
	if !m.Threw {
		return
	}
	switch m.Serial {
	case hessian2:
		m.Class, m.Text = m.r.Throwable()
	case kryo, kryoTwo:
		m.Class = kryoClass(m)
	case fastjson:
		m.Class, m.Text = jsonThrowable(m.item())
	case fastjson2:
		p, _ := m.block()
		m.Class, m.Text = jsonbThrowable(p)
	}
}

// flag reads what kind of result follows, -1 if that cannot be seen.
func (m *Message) flag() int {
	switch m.Serial {
	case hessian2:
		if v, ok := m.r.Int(); ok {
			return v
		}
	case kryo, kryoTwo:
		if len(m.rest) > 0 {
			flag := int(m.rest[0])
			m.rest = m.rest[1:]
			return flag
		}
	case fastjson: // a number, which may have the mark of a byte: 4B
		if p := m.item(); len(p) > 0 && (len(p) == 1 || len(p) == 2 && p[1] == 'B') {
			return int(p[0]) - '0'
		}
	case fastjson2:
		p, _ := m.block()
		if len(p) == 2 && p[0] == jsonbByte {
			return int(p[1])
		}
		if v, _, ok := jsonbInt(p); ok {
			return v
		}
	}
	return -1
}

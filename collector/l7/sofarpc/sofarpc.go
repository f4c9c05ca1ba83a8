// Package sofarpc reads messages of SOFARPC's BOLT protocol, versions 1 and 2 (github.com/sofastack/sofa-bolt: RpcProtocol and
// RpcProtocolV2): the header, the map that goes with a request, and, of a content in Hessian, what is called and whether it
// failed. It allocates nothing; what it returns are views of its input.
package sofarpc

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the header is not all there.
	ErrShort = errors.New("bolt: header is cut")
	// ErrMalformed is returned when the bytes are not a BOLT message.
	ErrMalformed = errors.New("bolt: not a message")
)

const (
	maxContent = 1 << 30 // bytes
	someBytes  = 1024    // of a content: what is looked for is at its beginning

	typeResponse, typeRequest, typeOneWay   = 0, 1, 2
	commandHeartbeat, commandAsk, commandOK = 0, 1, 2
	switchCRC                               = 1 // a checksum of 4 bytes follows the content
)

// Status is the status of a response.
type Status uint16

// Statuses (ResponseStatus).
const (
	Success         Status = 0
	ClientSendError Status = 8
	highestStatus   Status = 0x12
)

var statusNames = [highestStatus + 1]string{
	"SUCCESS", "ERROR", "SERVER_EXCEPTION", "UNKNOWN", "SERVER_THREADPOOL_BUSY", "ERROR_COMM", "NO_PROCESSOR", "TIMEOUT",
	"CLIENT_SEND_ERROR", "CODEC_EXCEPTION", 0x10: "CONNECTION_CLOSED", "SERVER_SERIAL_EXCEPTION", "SERVER_DESERIAL_EXCEPTION",
}

// String is the status in words, "" for an unknown one.
func (s Status) String() string {
	if s <= highestStatus {
		return statusNames[s]
	}
	return ""
}

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	Version   uint8 // of BOLT: 1 or 2
	Request   bool
	OneWay    bool // nobody answers the request
	Heartbeat bool
	ID        uint32
	Codec     uint8
	Status    Status
	// Size is the length of the message in bytes, Want how many of them are enough to read it all.
	Size, Want int

	Class []byte // Java class of the content
	// Of a request: what is called, and the trace context in SOFATracer's way.
	Service, Method, TraceID, SpanID, ParentID []byte
	// Failed says that a response of status Success tells of an error: of the framework, or an exception of the called method,
	// whose class is then Thrown. Error is its text.
	Failed        bool
	Thrown, Error []byte

	headers []byte
}

// header is what the header says, wherever the versions put it.
type header struct {
	length                       int
	kind                         uint8
	command                      uint16
	version2, codec, switches    uint8
	id                           uint32
	status                       Status
	classLen, mapLen, contentLen int
}

// readHeader reads p's header; ok is false while it is cut.
func readHeader(p []byte, version uint8) (h header, ok bool) {
	r := wire.NewReader(p)
	r.Skip(1)
	if version == 2 {
		r.Skip(1) // 1: the version within version 2
	}
	h.kind, h.command, h.version2, h.id, h.codec = r.U8(), r.U16(), r.U8(), r.U32(), r.U8()
	if version == 2 {
		h.switches = r.U8()
	}
	if h.kind == typeResponse {
		h.status = Status(r.U16())
	} else {
		r.Skip(4) // how long the client waits, in ms
	}
	h.classLen, h.mapLen, h.contentLen = int(r.U16()), int(r.U16()), int(r.U32())
	h.length = r.Off
	return h, r.OK()
}

// valid says whether what was read of a header can be one; of a cut one only its beginning is looked at.
func (h *header) valid(whole bool) bool {
	switch {
	case h.kind > typeOneWay || h.version2 != 1:
		return false
	case h.kind == typeResponse && h.command != commandHeartbeat && h.command != commandOK:
		return false
	case h.kind != typeResponse && h.command != commandHeartbeat && h.command != commandAsk:
		return false
	case !whole:
		return true
	case h.command == commandHeartbeat && h.classLen+h.mapLen+h.contentLen > 0:
		return h.classLen < 256 && h.contentLen < 1<<16
	case h.kind == typeResponse && h.status.String() == "":
		return false
	}
	return h.contentLen <= maxContent && (h.codec <= 1 || h.codec == 11 || h.codec == 12)
}

// Check says whether p begins with a message.
func Check(p []byte) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	version := p[0]
	if version != 1 && version != 2 || version == 2 && len(p) > 1 && p[1] != 1 {
		return wire.No
	}
	const begin = 6 // up to the second version byte
	h, whole := readHeader(p, version)
	if len(p) < begin {
		return wire.Maybe
	}
	if !h.valid(whole) {
		return wire.No
	}
	if !whole {
		return wire.Maybe
	}
	if h.command == commandHeartbeat {
		return wire.Either
	}
	class := p[h.length:min(len(p), h.length+h.classLen)]
	if h.classLen == 0 || !isClass(class) {
		return wire.No
	}
	switch {
	case len(class) < h.classLen:
		return wire.Maybe
	case bytes.IndexByte(class, '.') < 0:
		return wire.No
	case h.kind == typeResponse:
		return wire.Response
	}
	return wire.Request
}

// isClass says whether s consists of what the names of Java classes do.
func isClass(s []byte) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '$' {
			return false
		}
	}
	return true
}

// Parse reads the message that p begins with, and returns its length, which may be more than that of p: of what is behind
// the header it reads what is there.
func Parse(p []byte, m *Message) (n int, err error) {
	if len(p) == 0 {
		return 0, ErrShort
	}
	version := p[0]
	if version != 1 && version != 2 {
		return 0, ErrMalformed
	}
	h, whole := readHeader(p, version)
	if !whole {
		return 0, ErrShort
	}
	if !h.valid(true) {
		return 0, ErrMalformed
	}
	*m = Message{
		Version: version, Request: h.kind != typeResponse, OneWay: h.kind == typeOneWay, Heartbeat: h.command == commandHeartbeat,
		ID: h.id, Codec: h.codec, Status: h.status,
	}
	head := h.length + h.classLen + h.mapLen
	m.Size = head + h.contentLen
	rest := p[:min(len(p), m.Size)]
	if h.switches&switchCRC != 0 {
		m.Size += 4
	}
	r := wire.Reader{P: rest, Off: h.length}
	m.Class = r.Bytes(h.classLen)
	m.headers = r.UpTo(h.mapLen)
	content := r.Rest()
	m.Want = head + min(h.contentLen, someBytes)
	switch {
	case m.Heartbeat:
	case m.Request:
		if m.request(content) {
			m.Want = head
		}
	case m.Status == Success:
		m.response(content)
	}
	return m.Size, nil
}

// Headers walks over the map that goes with a message.
type Headers struct {
	r          wire.Reader
	Key, Value []byte
}

// Headers starts a walk.
func (m *Message) Headers() Headers { return Headers{r: wire.NewReader(m.headers)} }

// Next goes to the next pair; false at the end.
func (h *Headers) Next() bool {
	h.Key, h.Value = h.field(), h.field()
	return h.r.OK()
}

// field reads a text behind its length, which is -1 for null.
func (h *Headers) field() []byte {
	n := int32(h.r.U32())
	if n == -1 {
		return nil
	}
	return h.r.Bytes(int(n))
}

// request reads what is called from the map, and from the content what the map does not say. It says whether the map said all.
func (m *Message) request(content []byte) bool {
	for h := m.Headers(); h.Next(); {
		switch string(h.Key) {
		case "sofa_head_target_service":
			m.Service = h.Value
		case "sofa_head_method_name":
			m.Method = h.Value
		case "rpc_trace_context.sofaTraceId":
			m.TraceID = h.Value
		case "rpc_trace_context.sofaRpcId":
			m.SpanID = h.Value
		case "new_rpc_trace_context":
			m.traceContext(h.Value)
		}
	}
	if m.Codec > 1 || len(m.Service) > 0 && len(m.Method) > 0 {
		return true
	}
	m.object(content)
	return false
}

// traceContext reads tcid=..&spid=..&pspid=..&sample=true&.
func (m *Message) traceContext(s []byte) {
	for len(s) > 0 {
		var pair []byte
		pair, s, _ = bytes.Cut(s, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		switch string(key) {
		case "tcid":
			m.TraceID = value
		case "spid":
			m.SpanID = value
		case "pspid":
			m.ParentID = value
		}
	}
}

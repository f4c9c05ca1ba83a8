// Package someip reads the header of SOME/IP messages (AUTOSAR PRS_SOMEIPProtocol): 16 bytes before a payload that only its
// interface definition can tell. It allocates nothing.
package someip

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrShort is returned when the header is not all there.
	ErrShort = errors.New("some/ip: header is cut")
	// ErrMalformed is returned when the bytes are not a message.
	ErrMalformed = errors.New("some/ip: not a message")
)

const (
	headerLen   = 16
	counted     = 8 // bytes of the header that the length counts
	maxLength   = 1 << 28
	version     = 1
	maxReturned = 0x5e
	flagTP      = 0x20 // a segment of a message (PRS_SOMEIPProtocol, SOME/IP-TP)

	// ServiceDiscovery is the message id of SOME/IP-SD (service 0xffff, method 0x8100).
	ServiceDiscovery = 0xffff8100
	cookieClient     = 0xffff0000 // magic cookies, which let one find messages in a stream
	cookieServer     = 0xffff8000
)

// Type is the type of a message, without the flag for segments.
type Type uint8

// Types.
const (
	Request         Type = 0x00
	RequestNoReturn Type = 0x01
	Notification    Type = 0x02
	Response        Type = 0x80
	Error           Type = 0x81
)

// String is the type in words.
func (t Type) String() string {
	switch t {
	case Request:
		return "Request"
	case RequestNoReturn:
		return "RequestNoReturn"
	case Notification:
		return "Notification"
	case Response:
		return "Response"
	case Error:
		return "Error"
	}
	return ""
}

// Code is a return code.
type Code uint8

// Return codes that say that the client did something wrong.
const (
	OK                    Code = 0
	UnknownService        Code = 2
	UnknownMethod         Code = 3
	WrongProtocolVersion  Code = 7
	WrongInterfaceVersion Code = 8
	WrongMessageType      Code = 10
)

var codeNames = [...]string{
	"E_OK", "E_NOT_OK", "E_UNKNOWN_SERVICE", "E_UNKNOWN_METHOD", "E_NOT_READY", "E_NOT_REACHABLE", "E_TIMEOUT", "E_WRONG_PROTOCOL_VERSION",
	"E_WRONG_INTERFACE_VERSION", "E_MALFORMED_MESSAGE", "E_WRONG_MESSAGE_TYPE", "E_E2E_REPEATED", "E_E2E_WRONG_SEQUENCE", "E_E2E", "E_E2E_NOT_AVAILABLE",
	"E_E2E_NO_NEW_DATA",
}

// String is the code in words, "" for one that the service defines.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return ""
}

// Header is the header of a message.
type Header struct {
	Service, Method  uint16 // of a notification the method is an event
	Client, Session  uint16
	InterfaceVersion uint8
	Type             Type
	Segment          bool // of a message that does not fit in a datagram
	// First says that the segment is the message's first.
	First bool
	Code  Code
	// Size is the length of the message in bytes.
	Size int
}

// ID is the message id: service and method.
func (h *Header) ID() uint32 { return uint32(h.Service)<<16 | uint32(h.Method) }

// Cookie says whether the message is a magic cookie.
func (h *Header) Cookie() bool { return h.ID() == cookieClient || h.ID() == cookieServer }

// Check says whether p begins with a message.
func Check(p []byte) wire.Verdict {
	if len(p) < headerLen {
		if len(p) > 12 && p[12] != version || len(p) > 4 && p[4] >= maxLength>>24 || len(p) > 1 && p[0] == 0 && p[1] == 0 {
			return wire.No
		}
		return wire.Maybe
	}
	var h Header
	if _, err := Parse(p, &h); err != nil {
		return wire.No
	}
	switch {
	case h.ID() == ServiceDiscovery:
		return wire.Either
	case h.Cookie():
		return wire.Either
	case h.Service == 0 || h.Service == 0xffff || h.Method == 0xffff:
		return wire.No
	case h.Type == Request || h.Type == RequestNoReturn:
		if h.Method&0x8000 != 0 || h.Session == 0 && h.Client == 0 {
			return wire.No
		}
		return wire.Request
	case h.Type == Notification && h.Method&0x8000 == 0:
		return wire.No
	}
	return wire.Response
}

// Parse reads the header that p begins with, and returns the length of the message, which may be more than that of p.
func Parse(p []byte, h *Header) (n int, err error) {
	if len(p) < headerLen {
		return 0, ErrShort
	}
	length := binary.BigEndian.Uint32(p[4:])
	*h = Header{
		Service: binary.BigEndian.Uint16(p), Method: binary.BigEndian.Uint16(p[2:]),
		Client: binary.BigEndian.Uint16(p[8:]), Session: binary.BigEndian.Uint16(p[10:]),
		InterfaceVersion: p[13], Type: Type(p[14] &^ flagTP), Segment: p[14]&flagTP != 0, Code: Code(p[15]), Size: int(length) + headerLen - counted,
	}
	switch {
	case length < counted || length >= maxLength || p[12] != version || h.Type.String() == "" || h.Code > maxReturned:
		return 0, ErrMalformed
	case h.Type < Response && h.Code != OK:
		return 0, ErrMalformed
	case h.Segment && length < counted+4:
		return 0, ErrMalformed
	}
	if h.Segment && len(p) >= headerLen+4 {
		h.First = binary.BigEndian.Uint32(p[headerLen:])>>4 == 0
	}
	return h.Size, nil
}

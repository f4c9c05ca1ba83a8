// Package websocket reads the frames of WebSocket (RFC 6455 §5) from bytes somebody else sent. It allocates nothing.
package websocket

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not a frame.
var ErrMalformed = errors.New("not a WebSocket frame")

// ErrShort is returned when a frame's header is not all there.
var ErrShort = errors.New("incomplete WebSocket frame")

// Opcode tells what a frame carries (§5.2).
type Opcode uint8

// Opcodes.
const (
	Continuation Opcode = 0
	Text         Opcode = 1
	Binary       Opcode = 2
	Close        Opcode = 8
	Ping         Opcode = 9
	Pong         Opcode = 10
)

// Frame is a frame. Payload is a view of what there is of its Length bytes, masked as it was sent.
type Frame struct {
	Opcode  Opcode
	Final   bool // the last frame of its message
	Masked  bool // a client's frames have to be
	Mask    [4]byte
	Length  int
	Payload []byte
}

const (
	maxControl = 125     // bytes in a control frame (§5.5)
	maxLength  = 1 << 40 // of any other: a greater number is rather no length
)

// Parse reads a frame into f and returns the length of the whole frame, which may exceed len(p).
func Parse(p []byte, f *Frame) (n int, err error) {
	const final, reserved, opcode, masked, two, eight = 0x80, 0x30, 0x0f, 0x80, 126, 127
	r := wire.NewReader(p)
	a, b := r.U8(), r.U8()
	*f = Frame{Opcode: Opcode(a & opcode), Final: a&final != 0, Masked: b&masked != 0, Length: int(b &^ masked)}
	control := f.Opcode >= Close
	if r.OK() && (a&reserved != 0 || f.Opcode > Binary && !control || f.Opcode > Pong || control && (!f.Final || f.Length > maxControl)) {
		return 0, ErrMalformed
	}
	switch f.Length {
	case two:
		f.Length = int(r.U16())
		if r.OK() && f.Length < two {
			return 0, ErrMalformed
		}
	case eight:
		v := r.U64()
		if r.OK() && (v < 1<<16 || v > maxLength) {
			return 0, ErrMalformed
		}
		f.Length = int(v)
	}
	if f.Masked {
		copy(f.Mask[:], r.Bytes(len(f.Mask)))
	}
	if !r.OK() {
		return 0, ErrShort
	}
	f.Payload = r.Bytes(min(f.Length, r.Len()))
	return r.Off - len(f.Payload) + f.Length, nil
}

// AppendPayload appends what there is of the payload to dst, without its mask.
func (f *Frame) AppendPayload(dst []byte) []byte {
	for i, c := range f.Payload {
		if f.Masked {
			c ^= f.Mask[i%len(f.Mask)]
		}
		dst = append(dst, c)
	}
	return dst
}

// NoStatus is the code of a close frame without one (§7.4.1).
const NoStatus = 1005

// CloseCode splits the payload of a close frame, unmasked, into code and reason.
func CloseCode(payload []byte) (code int, reason []byte) {
	if len(payload) < 2 {
		return NoStatus, nil
	}
	return int(payload[0])<<8 | int(payload[1]), payload[2:]
}

// CodeString is what a close code means (§7.4.1 and IANA's registry), "" for those that applications define.
func CodeString(code int) string {
	switch code {
	case 1000:
		return "normal closure"
	case 1001:
		return "going away"
	case 1002:
		return "protocol error"
	case 1003:
		return "unsupported data"
	case NoStatus:
		return "no status"
	case 1007:
		return "invalid payload"
	case 1008:
		return "policy violation"
	case 1009:
		return "message too big"
	case 1010:
		return "mandatory extension"
	case 1011:
		return "internal error"
	case 1012:
		return "service restart"
	case 1013:
		return "try again later"
	case 1014:
		return "bad gateway"
	}
	return ""
}

// Fills says whether p is nothing but whole frames, masked or not: what a segment in the middle of a connection, whose place
// was lost, has to be to be taken for one that begins with a frame.
func Fills(p []byte, masked bool) bool {
	var f Frame
	for len(p) > 0 {
		n, err := Parse(p, &f)
		if err != nil || n > len(p) || f.Masked != masked {
			return false
		}
		p = p[n:]
	}
	return true
}

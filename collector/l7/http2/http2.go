// Package http2 reads HTTP/2 (RFC 9113) from bytes somebody else sent: frames, header blocks (HPACK, RFC 7541) into views,
// and the message boundaries of gRPC. It allocates nothing per frame, and it may begin in the middle of a connection: a field
// whose name or value went by unseen is unknown, never wrong.
package http2

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not HTTP/2.
var ErrMalformed = errors.New("not HTTP/2")

// ErrShort is returned when a frame or header block is not all there.
var ErrShort = errors.New("incomplete HTTP/2 frame")

// Preface is what a client sends first (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// HeaderLen is the length of a frame's header in bytes (§4.1).
const HeaderLen = 9

// Type is the type of a frame (RFC 9113 §6).
type Type uint8

// Types of frame.
const (
	Data Type = iota
	Headers
	Priority
	RSTStream
	Settings
	PushPromise
	Ping
	GoAway
	WindowUpdate
	Continuation
)

// Flags of frames; their meaning depends on the type.
const (
	FlagEndStream  = 0x1 // Data, Headers
	FlagAck        = 0x1 // Settings, Ping
	FlagEndHeaders = 0x4 // Headers, PushPromise, Continuation
	FlagPadded     = 0x8 // Data, Headers, PushPromise
	FlagPriority   = 0x20
)

// minFrame is the greatest payload that every end takes without having said so (§4.2).
const minFrame = 1 << 14

// Frame is the header of a frame.
type Frame struct {
	Length int // of the payload, in bytes
	Type   Type
	Flags  uint8
	Stream uint32
}

// Has says whether the flag is set.
func (f *Frame) Has(flag uint8) bool { return f.Flags&flag != 0 }

// ParseFrame reads the header of a frame into f and returns the length of the whole frame, which may exceed len(p).
func ParseFrame(p []byte, f *Frame) (n int, err error) {
	if len(p) < HeaderLen {
		return 0, ErrShort
	}
	stream := binary.BigEndian.Uint32(p[5:])
	*f = Frame{Length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]), Type: Type(p[3]), Flags: p[4], Stream: stream &^ (1 << 31)}
	if stream>>31 != 0 || !f.fits() {
		return 0, ErrMalformed
	}
	return HeaderLen + f.Length, nil
}

// shapes says, per type, what length and stream the frame may have.
var shapes = [...]struct {
	length    int   // the only one, -1: any
	flags     uint8 // that have a meaning
	stream    bool  // it must belong to a stream
	noStream  bool  // it must not
	minLength int
}{
	Data:         {length: -1, flags: FlagEndStream | FlagPadded, stream: true},
	Headers:      {length: -1, flags: FlagEndStream | FlagEndHeaders | FlagPadded | FlagPriority, stream: true, minLength: 1},
	Priority:     {length: 5, stream: true},
	RSTStream:    {length: 4, stream: true},
	Settings:     {length: -1, flags: FlagAck, noStream: true},
	PushPromise:  {length: -1, flags: FlagEndHeaders | FlagPadded, stream: true, minLength: 4},
	Ping:         {length: 8, flags: FlagAck, noStream: true},
	GoAway:       {length: -1, noStream: true, minLength: 8},
	WindowUpdate: {length: 4},
	Continuation: {length: -1, flags: FlagEndHeaders, stream: true},
}

// fits says whether the length and the stream are such as the type asks for. Types of extensions are passed over (§5.5), but
// not when they are long: those are rather bytes out of place.
func (f *Frame) fits() bool {
	if int(f.Type) >= len(shapes) {
		return f.Length <= minFrame
	}
	s := &shapes[f.Type]
	return (s.length < 0 || f.Length == s.length) && f.Length >= s.minLength && (!s.stream || f.Stream != 0) &&
		(!s.noStream || f.Stream == 0) && (f.Type != Settings || f.Length%6 == 0 && (!f.Has(FlagAck) || f.Length == 0))
}

// usual says whether a frame is one that is met with: of a known type, no longer than every end allows, no flags that mean
// nothing.
func (f *Frame) usual() bool {
	const maxSettings = 6 * 32
	return int(f.Type) < len(shapes) && f.Flags&^shapes[f.Type].flags == 0 && f.Length <= minFrame &&
		(f.Type != Settings || f.Length <= maxSettings) && (f.Type != GoAway || f.Length <= 1<<10)
}

// Fragment is the part of a header block in the payload of a Headers, PushPromise or Continuation frame, without padding and
// priority, and the stream that a PushPromise promises. payload may be cut; then, ErrShort comes with what is there.
func (f *Frame) Fragment(payload []byte) (block []byte, promised uint32, err error) {
	whole := f.Length
	r := wire.NewReader(payload[:min(len(payload), whole)])
	pad := 0
	if f.Type != Continuation && f.Has(FlagPadded) {
		pad = int(r.U8())
		whole--
	}
	switch {
	case f.Type == PushPromise:
		promised = r.U32() &^ (1 << 31)
		whole -= 4
	case f.Type == Headers && f.Has(FlagPriority):
		r.Skip(5)
		whole -= 5
	}
	if whole-pad < 0 {
		return nil, 0, ErrMalformed
	}
	block = r.UpTo(whole - pad)
	if !r.OK() {
		return block, promised, ErrShort
	}
	return block, promised, nil
}

// Control reads what the payload of a RSTStream or GoAway frame says: the code (§7) and, of GoAway, the last stream that was
// or may be processed.
func (f *Frame) Control(payload []byte) (code, last uint32, ok bool) {
	r := wire.NewReader(payload)
	if f.Type == GoAway {
		last = r.U32() &^ (1 << 31)
	}
	code = r.U32()
	return code, last, r.OK()
}

// Check says whether p, the first bytes that are seen of a connection in one direction, is HTTP/2: the preface of a client, a
// header block with a name that every end knows, settings, or several frames that fill p to the byte. lenient is for
// connections where HTTP/2 is likely: then settings without content do. fs is scratch space.
func Check(p []byte, lenient bool, fs *Fields) wire.Verdict {
	if n := min(len(p), len(Preface)); string(p[:n]) == Preface[:n] {
		if n < len(Preface) {
			return wire.Maybe
		}
		return wire.Request
	}
	var f Frame
	for at, frames := 0, 0; ; frames++ {
		rest := p[at:]
		if len(rest) == 0 {
			if frames > 1 || lenient && frames == 1 && f.Type == Settings {
				return wire.Either
			}
			return wire.No
		}
		n, err := ParseFrame(rest, &f)
		switch {
		case err == ErrShort && frames > 1 && rest[0] == 0 && (len(rest) < 4 || int(rest[3]) < len(shapes)):
			return wire.Either
		case err != nil || !f.usual():
			return wire.No
		case n <= len(rest):
		case f.Type == Headers || f.Type == Settings:
			return atFirst(frames)
		default:
			return wire.No
		}
		payload := rest[HeaderLen:n]
		switch f.Type {
		case Headers:
			if v := checkHeaders(&f, payload, fs); v != wire.Maybe {
				return v
			}
		case Settings:
			if !checkSettings(payload) {
				return wire.No
			}
			if len(payload) > 0 && frames == 0 {
				return wire.Either
			}
		}
		at += n
	}
}

// atFirst is the verdict about a frame of which more has to come, behind others.
func atFirst(frames int) wire.Verdict {
	if frames > 1 {
		return wire.Either
	}
	return wire.Maybe
}

// checkSettings says whether all settings are known ones (RFC 9113 §6.5.2, 8441, 9218, and those that stand for nothing) with
// values they may have.
func checkSettings(p []byte) bool {
	const push, window, frame, connect, priorities = 2, 4, 5, 8, 9
	for ; len(p) >= 6; p = p[6:] {
		id, v := binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])
		switch id {
		case push, connect, priorities:
			if v > 1 {
				return false
			}
		case window:
			if v >= 1<<31 {
				return false
			}
		case frame:
			if v < minFrame || v >= 1<<24 {
				return false
			}
		case 1, 3, 6:
		default:
			if id&0x0f0f != 0x0a0a && id < 0xfe00 { // neither a reserved one nor a private one (gRPC's 0xfe03)
				return false
			}
		}
	}
	return true
}

// checkHeaders says whether a header block is a request or a response; Maybe when only unknown names are in it.
func checkHeaders(f *Frame, payload []byte, fs *Fields) wire.Verdict {
	block, _, err := f.Fragment(payload)
	if err != nil {
		return wire.No
	}
	verdict, regular, fields := wire.Maybe, false, 0
	for fs.Reset(nil, block); fs.Next(); fields++ {
		if !fs.NameKnown {
			continue
		}
		if !validName(fs.Name) || fs.ValueKnown && !validValue(fs.Value) {
			return wire.No
		}
		if fs.Name[0] != ':' {
			regular = true
			continue
		}
		v := wire.Request
		if string(fs.Name) == ":status" {
			v = wire.Response
		}
		if regular || verdict != wire.Maybe && verdict != v || Pseudo(fs.Name) == NoPseudo {
			return wire.No
		}
		verdict = v
	}
	if fs.Err() == ErrShort && !f.Has(FlagEndHeaders) {
		return verdict
	}
	if fs.Err() != nil || fields == 0 {
		return wire.No
	}
	return verdict
}

// PseudoField is a pseudo-header field (§8.3).
type PseudoField uint8

// Pseudo-header fields.
const (
	NoPseudo PseudoField = iota
	Method
	Scheme
	Authority
	Path
	Status
	Protocol
)

// Pseudo tells which pseudo-header field has the name.
func Pseudo(name []byte) PseudoField {
	switch string(name) {
	case ":method":
		return Method
	case ":scheme":
		return Scheme
	case ":authority":
		return Authority
	case ":path":
		return Path
	case ":status":
		return Status
	case ":protocol":
		return Protocol
	}
	return NoPseudo
}

// validName says whether a field may be called so: a token in lower case, perhaps behind a colon (§8.2).
func validName(name []byte) bool {
	if len(name) > 0 && name[0] == ':' {
		name = name[1:]
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f || 'A' <= c && c <= 'Z' || c == ':' || c == '"' || c == '(' || c == ',' || c == '/' || c == '{' {
			return false
		}
	}
	return len(name) > 0
}

func validValue(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Plausible says whether p, bytes of a connection known to be HTTP/2 whose place was lost, begins with a frame: one that is
// usual, behind which, as far as p goes, others are.
func Plausible(p []byte) wire.Verdict {
	var f Frame
	for at := 0; ; {
		rest := p[at:]
		n, err := ParseFrame(rest, &f)
		switch {
		case err == ErrShort && (len(rest) == 0 || rest[0] == 0):
			if at == 0 {
				return wire.Maybe
			}
			return wire.Either
		case err != nil || !f.usual():
			return wire.No
		case n >= len(rest):
			return wire.Either
		}
		at += n
	}
}

// codes are the names of error codes (§7).
var codes = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
	"HTTP_1_1_REQUIRED"}

// Codes that mean no failure of the server.
const (
	CodeNone   = 0
	CodeCancel = 8
)

// CodeString is the name of an error code, "UNKNOWN" for one that has none.
func CodeString(code uint32) string {
	if int64(code) < int64(len(codes)) {
		return codes[code]
	}
	return "UNKNOWN"
}

// Package ntp reads NTP messages (RFC 5905 §7.3), and the header of its control messages (RFC 9327). It allocates nothing.
package ntp

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not an NTP message of the modes 1 to 6.
var ErrMalformed = errors.New("ntp: not a message")

const (
	headerLen  = 48
	controlLen = 12
	maxStratum = 16
	maxOpcode  = 31
)

// Mode says who sends a message.
type Mode uint8

// Modes.
const (
	SymmetricActive Mode = 1 + iota
	SymmetricPassive
	Client
	Server
	Broadcast
	Control
)

var modeNames = [...]string{"", "symmetric_active", "symmetric_passive", "client", "server", "broadcast", "control"}

// String is the mode in words.
func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return ""
}

var opcodeNames = [...]string{
	"", "readstat", "readvar", "writevar", "readclock", "writeclock", "settrap", "trap", "configure", "saveconfig", "readmru", "readlist", "nonce",
}

// OpcodeName is the operation of a control message in words, "" for an unknown one.
func OpcodeName(op uint8) string {
	switch {
	case int(op) < len(opcodeNames):
		return opcodeNames[op]
	case op == maxOpcode:
		return "unsettrap"
	}
	return ""
}

// Message is a parsed message.
type Message struct {
	Version uint8
	Mode    Mode
	Leap    uint8 // 3: the clock is not synchronised
	Stratum uint8 // 0: a kiss, or unknown; 16: not synchronised
	// Reference is the id of what the clock is synchronised to: an address, or a code in ASCII.
	Reference [4]byte
	// Origin and Transmit are timestamps; Origin repeats the Transmit of the message that is answered.
	Origin, Transmit uint64

	// Of a control message; a long response comes in several, of which the first has Offset 0.
	Response, Error, More bool
	Opcode                uint8
	Sequence, Offset      uint16
	Status                uint16 // of a response; its upper byte is the error
}

// Kiss is the code with which a server sends a client away (RFC 5905 §7.4), "" without one.
func (m *Message) Kiss() []byte {
	if m.Mode != Server || m.Stratum != 0 {
		return nil
	}
	return m.Code()
}

// Code is the reference as text, nil when it is none.
func (m *Message) Code() []byte {
	n := 0
	for n < len(m.Reference) && m.Reference[n] > ' ' && m.Reference[n] < 0x7f {
		n++
	}
	for _, b := range m.Reference[n:] {
		if b != 0 {
			return nil
		}
	}
	return m.Reference[:n]
}

// Check says whether p, of a datagram of size bytes, is a message. It is to be asked on port 123 only: elsewhere 48 bytes
// may be anything.
func Check(p []byte, size int) wire.Verdict {
	var m Message
	if Parse(p, size, &m) != nil {
		return wire.No
	}
	switch m.Mode {
	case Client:
		return wire.Request
	case Server, Broadcast:
		return wire.Response
	case Control:
		if m.Response {
			return wire.Response
		}
		return wire.Request
	}
	return wire.Either
}

// Parse reads the message p, of a datagram of size bytes.
func Parse(p []byte, size int, m *Message) error {
	if len(p) < controlLen {
		return ErrMalformed
	}
	*m = Message{Leap: p[0] >> 6, Version: p[0] >> 3 & 7, Mode: Mode(p[0] & 7)}
	if m.Version < 1 || m.Version > 4 || m.Mode < SymmetricActive || m.Mode > Control {
		return ErrMalformed
	}
	if m.Mode == Control {
		return m.control(p, size)
	}
	// Behind the header come extension fields and an authenticator, in words.
	if size < headerLen || size%4 != 0 || len(p) < headerLen || p[1] > maxStratum {
		return ErrMalformed
	}
	m.Stratum = p[1]
	copy(m.Reference[:], p[12:])
	m.Origin, m.Transmit = binary.BigEndian.Uint64(p[24:]), binary.BigEndian.Uint64(p[40:])
	if m.Mode == Client && m.Transmit == 0 && m.Version > 3 || m.Mode == Server && m.Transmit == 0 && m.Stratum > 0 {
		return ErrMalformed
	}
	return nil
}

func (m *Message) control(p []byte, size int) error {
	m.Response, m.Error, m.More = p[1]&0x80 != 0, p[1]&0x40 != 0, p[1]&0x20 != 0
	m.Opcode, m.Sequence, m.Status = p[1]&0x1f, binary.BigEndian.Uint16(p[2:]), binary.BigEndian.Uint16(p[4:])
	m.Offset = binary.BigEndian.Uint16(p[8:])
	count := int(binary.BigEndian.Uint16(p[10:]))
	if OpcodeName(m.Opcode) == "" || controlLen+count > size || m.Leap != 0 || !m.Response && (m.Error || m.More) {
		return ErrMalformed
	}
	return nil
}

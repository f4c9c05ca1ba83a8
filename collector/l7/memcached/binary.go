package memcached

import (
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// First bytes of messages of the binary protocol (BinaryProtocolRevamped).
const (
	MagicRequest  = 0x80
	MagicResponse = 0x81
)

// HeaderSize is the length of the header of a binary message, in bytes.
const HeaderSize = 24

// Packet is a message of the binary protocol. The slices are views of the parsed bytes.
type Packet struct {
	Response bool
	Opcode   Opcode
	// Status is that of a response.
	Status uint16
	// Opaque is what the client has put in, which the response repeats.
	Opaque uint32
	// Size is the length of the message in bytes.
	Size int
	// KeyLen is the length of the key, of which Key is what is there, and Value what is there behind it.
	KeyLen     int
	Key, Value []byte
}

// Opcode is a command of the binary protocol.
type Opcode uint8

// Opcodes the driver has to know.
const (
	OpQuit  Opcode = 0x07
	OpStat  Opcode = 0x10
	OpQuitQ Opcode = 0x17
)

// opcode is what is known of an opcode: how long the extras of a request are, at least and at most, and whether it is only
// answered when something is out of the ordinary.
type opcode struct {
	name     string
	min, max uint8
	quiet    bool
}

var opcodes = [256]opcode{
	0x00: {"get", 0, 0, false}, 0x01: {"set", 8, 8, false}, 0x02: {"add", 8, 8, false}, 0x03: {"replace", 8, 8, false},
	0x04: {"delete", 0, 0, false}, 0x05: {"increment", 20, 20, false}, 0x06: {"decrement", 20, 20, false}, 0x07: {"quit", 0, 0, false},
	0x08: {"flush", 0, 4, false}, 0x09: {"getq", 0, 0, true}, 0x0a: {"noop", 0, 0, false}, 0x0b: {"version", 0, 0, false},
	0x0c: {"getk", 0, 0, false}, 0x0d: {"getkq", 0, 0, true}, 0x0e: {"append", 0, 0, false}, 0x0f: {"prepend", 0, 0, false},
	0x10: {"stat", 0, 0, false}, 0x11: {"setq", 8, 8, true}, 0x12: {"addq", 8, 8, true}, 0x13: {"replaceq", 8, 8, true},
	0x14: {"deleteq", 0, 0, true}, 0x15: {"incrementq", 20, 20, true}, 0x16: {"decrementq", 20, 20, true}, 0x17: {"quitq", 0, 0, true},
	0x18: {"flushq", 0, 4, true}, 0x19: {"appendq", 0, 0, true}, 0x1a: {"prependq", 0, 0, true}, 0x1b: {"verbosity", 4, 4, false},
	0x1c: {"touch", 4, 4, false}, 0x1d: {"gat", 4, 4, false}, 0x1e: {"gatq", 4, 4, true}, 0x23: {"gatk", 4, 4, false}, 0x24: {"gatkq", 4, 4, true},
	0x1f: {"hello", 0, 0, false}, 0x20: {"sasl_list_mechs", 0, 0, false}, 0x21: {"sasl_auth", 0, 0, false}, 0x22: {"sasl_step", 0, 0, false},
}

// String is the name of the command in lower case.
func (o Opcode) String() string {
	if name := opcodes[o].name; name != "" {
		return name
	}
	return "opcode " + strconv.Itoa(int(o))
}

// Quiet says that the command is not answered unless something is out of the ordinary.
func (o Opcode) Quiet() bool { return opcodes[o].quiet }

// Statuses of a response.
const (
	StatusOK          = 0
	StatusNotFound    = 1
	StatusExists      = 2
	StatusNotStored   = 5
	StatusAuthError   = 0x20
	StatusAuthGoesOn  = 0x21
	statusUnknown     = 0x81
	statusOutOfMemory = 0x82
)

var statuses = map[uint16]string{
	0: "OK", 1: "NOT_FOUND", 2: "EXISTS", 3: "TOO_LARGE", 4: "INVALID_ARGUMENTS", 5: "NOT_STORED", 6: "NON_NUMERIC", 7: "WRONG_VBUCKET",
	8: "AUTH_ERROR", 9: "AUTH_CONTINUE", 0x20: "AUTH_ERROR", 0x21: "AUTH_CONTINUE", statusUnknown: "UNKNOWN_COMMAND",
	statusOutOfMemory: "OUT_OF_MEMORY", 0x83: "NOT_SUPPORTED", 0x84: "INTERNAL_ERROR", 0x85: "BUSY", 0x86: "TEMPORARY_FAILURE",
}

// StatusName is the name of a status in the words of the text protocol, where it has one; "" of an unknown one.
func StatusName(s uint16) string { return statuses[s] }

// StatusFault is whose fault a status is. That something is not there, or there already, is nobody's.
func StatusFault(s uint16) Fault {
	switch {
	case s <= StatusExists, s == StatusNotStored, s == 9, s == StatusAuthGoesOn:
		return FaultNone
	case s < statusUnknown, s == statusUnknown:
		return FaultClient
	}
	return FaultServer
}

// ParseBinary reads the message that p begins with and returns its length, which may be more than len(p); what is there is
// read. The header must be.
func ParseBinary(p []byte, m *Packet) (n int, err error) {
	r := wire.NewReader(p)
	magic, op := r.U8(), r.U8()
	keyLen, extras, dataType := int(r.U16()), int(r.U8()), r.U8()
	status, body, opaque := r.U16(), int(r.U32()), r.U32()
	r.Skip(8)
	switch {
	case !r.OK():
		return 0, ErrShort
	case magic != MagicRequest && magic != MagicResponse, dataType > 7, keyLen+extras > body, body > maxData:
		return 0, ErrMalformed
	}
	*m = Packet{Response: magic == MagicResponse, Opcode: Opcode(op), Opaque: opaque, Size: HeaderSize + body, KeyLen: keyLen}
	if m.Response {
		m.Status = status
	}
	r.Skip(extras)
	m.Key = r.UpTo(keyLen)
	m.Value = r.UpTo(body - extras - keyLen)
	return m.Size, nil
}

// checkBinary says whether p begins with a binary message of a known command, whose extras are as long as they must be.
func checkBinary(p []byte) wire.Verdict {
	const opcodeAt, keyAt, extrasAt, typeAt = 1, 2, 4, 5
	if len(p) > opcodeAt && opcodes[p[opcodeAt]].name == "" || len(p) > typeAt && p[typeAt] != 0 ||
		len(p) > keyAt && p[keyAt] != 0 { // keys have at most 250 bytes
		return wire.No
	}
	if len(p) < HeaderSize {
		return wire.Maybe
	}
	var m Packet
	if _, err := ParseBinary(p, &m); err != nil || m.KeyLen > maxKey {
		return wire.No
	}
	op, extras := opcodes[p[opcodeAt]], p[extrasAt]
	if m.Response {
		if extras > 20 || StatusName(m.Status) == "" {
			return wire.No
		}
		return wire.Response
	}
	if extras < op.min || extras > op.max || p[6] != 0 || p[7] != 0 {
		return wire.No
	}
	return wire.Request
}

// Package pulsar reads frames of Apache Pulsar's binary protocol (pulsar-common/src/main/proto/PulsarApi.proto) from bytes somebody
// else sent, into views of the input: the command and, of messages, the metadata. It allocates nothing.
package pulsar

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a frame.
	ErrMalformed = errors.New("not a Pulsar frame")
	// ErrShort is returned when the bytes end within the command.
	ErrShort = errors.New("the Pulsar frame is cut")
)

const (
	// Prefix is how many bytes come before the command: the lengths of the frame and of the command.
	Prefix     = 8
	maxFrame   = 5<<20 + 10<<10 // bytes: the protocol's limit of a message, and its head (MAX_MESSAGE_SIZE, MESSAGE_SIZE_FRAME_PADDING)
	maxCommand = 1 << 20
	maxFields  = 64 // of a protobuf message that are looked at

	magicBroker   = 0x0e02 // before the broker's own metadata
	magicChecksum = 0x0e01 // before a checksum
	none          = ^uint64(0)
)

// Frame is a frame. The slices are views of the parsed bytes; what is absent is nil, an absent number None.
type Frame struct {
	Type Type
	// RequestID pairs most commands; None for those without one, and for an Error without a request.
	RequestID uint64
	// Producer and Consumer are ids of this connection; Sequence numbers a producer's messages.
	Producer, Consumer, Sequence uint64
	Topic, Subscription          []byte
	// Ledger and Entry are the place of a message.
	Ledger, Entry uint64
	// Error is the code of an error (ServerError), Failed that there is one; Message its text.
	Error   uint64
	Failed  bool
	Message []byte
	// Version is the protocol's, Software the client's or server's (Connect, Connected).
	Version  uint64
	Software []byte
	// Messages is how many a Send carries.
	Messages uint64
	// Metadata of the message that a Send or Message carries.
	Metadata []byte
}

// None is the value of numbers that are absent.
const None = none

// Size is the length of the frame that p begins with, 0 when p is too short to tell, -1 when there is no such frame.
func Size(p []byte) int {
	if len(p) < 4 {
		return 0
	}
	r := wire.NewReader(p)
	n := r.U32()
	if n < 6 || n > maxFrame {
		return -1
	}
	if len(p) >= Prefix {
		if size := r.U32(); size < 2 || size > maxCommand || size+4 > n {
			return -1
		}
	}
	return 4 + int(n)
}

// CommandEnd is how many bytes the frame takes up to the end of its command; p has at least Prefix bytes.
func CommandEnd(p []byte) int {
	r := wire.NewReader(p[4:])
	return Prefix + int(r.U32())
}

// Check says whether p begins with a frame: lengths that fit, and a command whose type is followed by that type's field.
func Check(p []byte) wire.Verdict {
	n := Size(p)
	switch {
	case n < 0:
		return wire.No
	case len(p) < Prefix+2:
		return wire.Maybe
	}
	// BaseCommand.type is field 1, and the first that is written.
	if p[Prefix] != 1<<3 || !Type(p[Prefix+1]).known() {
		return wire.No
	}
	end := CommandEnd(p)
	if len(p) < end {
		return wire.Maybe
	}
	t := Type(p[Prefix+1])
	if end < n && !t.carries() {
		return wire.No
	}
	var f Frame
	if _, err := Parse(p, &f); err != nil {
		return wire.No
	}
	return t.side()
}

// Parse reads a frame, whose command has to be there, and returns its whole length, which may exceed len(p).
func Parse(p []byte, f *Frame) (n int, err error) {
	*f = Frame{RequestID: none, Producer: none, Consumer: none, Sequence: none, Ledger: none, Entry: none, Version: none}
	if n = Size(p); n < 0 {
		return 0, ErrMalformed
	}
	if len(p) < Prefix || len(p) < CommandEnd(p) {
		return 0, ErrShort
	}
	end := CommandEnd(p)
	var command []byte
	ok := fields(p[Prefix:end], func(num protowire.Number, v uint64, b []byte) {
		switch {
		case num == 1:
			f.Type = Type(min(v, 255))
		case b != nil && num == protowire.Number(f.Type):
			command = b
		}
	})
	if !ok || !f.Type.known() || command == nil || !f.command(command) {
		return 0, ErrMalformed
	}
	if f.Type.carries() {
		f.payload(p[end:min(n, len(p))])
	}
	return n, nil
}

// fields calls fn with the fields of a protobuf message: v of numbers, b (never nil) of what has a length.
func fields(p []byte, fn func(num protowire.Number, v uint64, b []byte)) bool {
	for k := 0; len(p) > 0; k++ {
		num, typ, n := protowire.ConsumeTag(p)
		if n < 0 || k == maxFields {
			return n >= 0
		}
		p = p[n:]
		switch typ {
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(p)
			if n < 0 {
				return false
			}
			fn(num, v, nil)
			p = p[n:]
		case protowire.BytesType:
			b, n := protowire.ConsumeBytes(p)
			if n < 0 {
				return false
			}
			fn(num, 0, b[:len(b):len(b)])
			p = p[n:]
		default:
			n := protowire.ConsumeFieldValue(num, typ, p)
			if n < 0 {
				return false
			}
			p = p[n:]
		}
	}
	return true
}

// command reads the fields of the command; layouts says where they are.
func (f *Frame) command(p []byte) bool {
	l := &layouts[f.Type]
	is := func(num protowire.Number, field uint8) bool { return field != 0 && num == protowire.Number(field) }
	return fields(p, func(num protowire.Number, v uint64, b []byte) {
		switch {
		case is(num, l.request):
			f.RequestID = v
		case is(num, l.producer):
			f.Producer = v
		case is(num, l.consumer):
			f.Consumer = v
		case is(num, l.sequence):
			f.Sequence = v
		case is(num, l.messages):
			f.Messages = v
		case is(num, l.topic):
			f.Topic = b
		case is(num, l.subscription):
			f.Subscription = b
		case is(num, l.code):
			f.Error, f.Failed = v, true
		case is(num, l.text):
			f.Message = b
		case is(num, l.software):
			f.Software = b
		case is(num, l.version):
			f.Version = v
		case is(num, l.place) && b != nil:
			fields(b, func(num protowire.Number, v uint64, _ []byte) { // MessageIdData
				switch num {
				case 1:
					f.Ledger = v
				case 2:
					f.Entry = v
				}
			})
		}
	})
}

// payload finds the metadata of the message behind a command.
func (f *Frame) payload(p []byte) {
	r := wire.NewReader(p)
	magic := func() uint16 {
		if len(p)-r.Off < 2 {
			return 0
		}
		return uint16(p[r.Off])<<8 | uint16(p[r.Off+1])
	}
	if magic() == magicBroker {
		r.Skip(2)
		r.Skip(int(r.U32() & (1<<30 - 1)))
	}
	if r.OK() && magic() == magicChecksum {
		r.Skip(2 + 4)
	}
	f.Metadata = r.Bytes(int(r.U32() & (1<<30 - 1)))
}

// Properties calls fn with the properties in a message's metadata, until it returns false.
func Properties(metadata []byte, fn func(key, value []byte) bool) {
	const properties = 4
	more := true
	fields(metadata, func(num protowire.Number, _ uint64, b []byte) {
		if num != properties || b == nil || !more {
			return
		}
		var key, value []byte
		fields(b, func(num protowire.Number, _ uint64, b []byte) {
			switch num {
			case 1:
				key = b
			case 2:
				value = b
			}
		})
		more = fn(key, value)
	})
}

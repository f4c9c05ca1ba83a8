// Package zmtp reads the protocol of ZeroMQ, ZMTP 2.0, 3.0 and 3.1 (RFCs 15, 23 and 37 of rfc.zeromq.org), from bytes
// somebody else sent, into views of the input. It allocates nothing.
package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not ZMTP.
	ErrMalformed = errors.New("not ZMTP")
	// ErrShort is returned when the bytes end before what is needed does.
	ErrShort = errors.New("ZMTP is cut")
)

const (
	signatureLen  = 10
	greetingLen   = 64 // of 3.x
	greetingLen2  = 12 // of 2.0, up to the socket type
	mechanismLen  = 20
	maxFrame      = 1 << 40 // bytes of a frame's body
	maxNameLength = 64      // bytes of a command's name
)

// Greeting is what either side begins with.
type Greeting struct {
	Major, Minor uint8 // of what is spoken: a 3.x that has met a 2.0 speaks 2.0
	// Mechanism is that of security: NULL, PLAIN, CURVE, GSSAPI; of 3.x.
	Mechanism []byte
	AsServer  bool
	// Socket is the type of socket, of 2.0; an identity follows as a frame.
	Socket string
}

// sockets are the types of socket by their number in 2.0.
var sockets = [...]string{"PAIR", "PUB", "SUB", "REQ", "REP", "DEALER", "ROUTER", "PULL", "PUSH", "XPUB", "XSUB"}

// ParseGreeting reads a greeting and returns its length.
func ParseGreeting(p []byte, g *Greeting) (n int, err error) {
	*g = Greeting{}
	const zeros = "\x00\x00\x00\x00\x00\x00\x00"
	for i, c := range p[:min(len(p), signatureLen)] {
		switch {
		case i == 0 && c != 0xff, i > 0 && i <= len(zeros) && c != 0, i == signatureLen-1 && c != 0x7f:
			return 0, ErrMalformed
		}
	}
	if len(p) > signatureLen {
		if g.Major = p[signatureLen]; g.Major != 1 && g.Major != 3 {
			return 0, ErrMalformed
		}
	}
	if len(p) < greetingLen2+1 {
		if len(p) < greetingLen2 || g.Major == 3 {
			return 0, ErrShort
		}
	}
	if g.Major == 1 || p[greetingLen2] == 0 {
		if int(p[signatureLen+1]) >= len(sockets) {
			return 0, ErrMalformed
		}
		g.Major, g.Socket = 2, sockets[p[signatureLen+1]]
		return greetingLen2, nil
	}
	if g.Minor = p[signatureLen+1]; g.Minor > 9 {
		return 0, ErrMalformed
	}
	field := p[greetingLen2:min(len(p), greetingLen2+mechanismLen)]
	g.Mechanism = field
	if i := bytes.IndexByte(field, 0); i >= 0 {
		g.Mechanism = field[:i:i]
		if len(bytes.Trim(field[i:], "\x00")) != 0 {
			return 0, ErrMalformed
		}
	}
	for _, c := range g.Mechanism {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '+' {
			return 0, ErrMalformed
		}
	}
	if len(p) < greetingLen {
		return 0, ErrShort
	}
	if p[greetingLen2+mechanismLen] > 1 || len(bytes.Trim(p[greetingLen2+mechanismLen+1:greetingLen], "\x00")) != 0 {
		return 0, ErrMalformed
	}
	g.AsServer = p[greetingLen2+mechanismLen] == 1
	return greetingLen, nil
}

// Frame is a part of a message, or a command.
type Frame struct {
	More, Command bool
	// Head is the length of flags and length.
	Head int
	// Body is a view of the parsed bytes; it may be cut.
	Body []byte
}

// ParseFrame reads a frame and returns its whole length, which may be more than len(p).
func ParseFrame(p []byte, f *Frame) (n int, err error) {
	*f = Frame{}
	if len(p) == 0 {
		return 0, ErrShort
	}
	flags := p[0]
	f.More, f.Command = flags&1 != 0, flags&4 != 0
	if flags&^7 != 0 || f.More && f.Command {
		return 0, ErrMalformed
	}
	var size uint64
	if flags&2 == 0 {
		if f.Head = 2; len(p) < f.Head {
			return 0, ErrShort
		}
		size = uint64(p[1])
	} else {
		if f.Head = 9; len(p) < f.Head {
			return 0, ErrShort
		}
		if size = binary.BigEndian.Uint64(p[1:]); size > maxFrame {
			return 0, ErrMalformed
		}
	}
	n = f.Head + int(size)
	f.Body = p[f.Head:min(n, len(p))]
	return n, nil
}

// Command is the body of a command.
type Command struct {
	Name []byte
	Data []byte
}

// ParseCommand reads the body of a command.
func ParseCommand(body []byte, c *Command) error {
	*c = Command{}
	r := wire.NewReader(body)
	n := int(r.U8())
	c.Name = r.Bytes(n)
	if !r.OK() {
		return ErrShort
	}
	if n == 0 || n > maxNameLength {
		return ErrMalformed
	}
	for _, b := range c.Name {
		if b < ' ' || b > '~' {
			return ErrMalformed
		}
	}
	c.Data = r.Rest()
	return nil
}

// Reason is the text of a command ERROR.
func (c *Command) Reason() []byte {
	r := wire.NewReader(c.Data)
	return r.UpTo(int(r.U8()))
}

// Property finds a property of READY or INITIATE, whose names do not know case; nil when there is none.
func (c *Command) Property(name string) []byte {
	r := wire.NewReader(c.Data)
	for r.Len() > 0 {
		key := r.Bytes(int(r.U8()))
		size := r.U32()
		if size > 1<<20 {
			return nil
		}
		value := r.UpTo(int(size))
		if len(key) == len(name) && bytes.EqualFold(key, []byte(name)) {
			return value
		}
	}
	return nil
}

// Check says whether p begins with a greeting or, of a connection that is known to speak ZMTP, whether it is whole frames.
func Check(p []byte, own bool) wire.Verdict {
	if len(p) > 0 && p[0] == 0xff || !own {
		var g Greeting
		_, err := ParseGreeting(p, &g)
		switch {
		case errors.Is(err, ErrShort):
			return wire.Maybe
		case err != nil:
			return wire.No
		}
		return wire.Either
	}
	for len(p) > 0 {
		var f Frame
		n, err := ParseFrame(p, &f)
		if errors.Is(err, ErrShort) || err == nil && n > len(p) {
			return wire.Maybe
		}
		if err != nil {
			return wire.No
		}
		p = p[n:]
	}
	return wire.Either
}

// Package openwire reads OpenWire, the protocol of Apache ActiveMQ, in its tight and its loose encoding, from bytes somebody
// else sent, into views of the input. It follows the marshallers of versions 1 to 12. Nothing is allocated but what is to be
// remembered of cached objects.
package openwire

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not OpenWire.
	ErrMalformed = errors.New("not OpenWire")
	// ErrShort is returned when the bytes end before the head of a command does.
	ErrShort = errors.New("OpenWire is cut")
)

const (
	magic     = "ActiveMQ"
	sizeLen   = 4
	maxSize   = 1 << 30 // bytes of a command
	maxDepth  = 8       // of objects
	maxCached = 1024    // objects remembered: what brokers use
	maxText   = 1024    // bytes remembered of a cached name
)

// Format is how two ends have agreed to write (WireFormatInfo).
type Format struct {
	Version uint32
	Tight   bool // booleans in front, short numbers
	Cache   bool // objects that come again are but a number
	NoSize  bool // commands have no length in front
}

// Agree is what two ends that have sent a and b speak.
func Agree(a, b Format) Format {
	return Format{min(a.Version, b.Version), a.Tight && b.Tight, a.Cache && b.Cache, a.NoSize && b.NoSize}
}

// Cache is what a receiver remembers of objects. The zero value is an empty one.
type Cache struct{ objects map[uint16]cached }

type cached struct {
	kind    Type
	name    []byte
	session int64
}

// Message is a command. All slices are views of the parsed bytes; what is cut is shorter than it was.
type Message struct {
	Type Type
	// Size is the length of the command with the number in front.
	Size int
	// ID is the command's number; Wants says that it is answered; Answers is the number of the command that a response answers.
	ID      uint32
	Wants   bool
	Answers uint32
	// Connection is the name of the client's connection, Session the number of a session in it: HasSession.
	Connection []byte
	Session    int64
	HasSession bool
	// Destination is the name of a queue or topic, Kind which of them, 0 when there is none.
	Destination []byte
	Kind        Type
	// Message is the type of the message that a MessageDispatch brings.
	Message Type
	// Broker is the address of the broker, User the name of the user.
	Broker, User []byte
	// Correlation is the application's correlation id.
	Correlation []byte
	// Class and Text are those of an exception.
	Class, Text []byte
	// Properties are those of a message.
	Properties Properties
	// Format is what a WireFormatInfo offers.
	Format Format
}

// decoder reads the fields of a command.
type decoder struct {
	r     wire.Reader
	f     Format
	m     *Message
	cache *Cache
	bits  []byte // of the tight encoding
	bit   int
	bad   bool
	depth int
	last  cached // what was read of the last object
}

// Check says whether p begins with a WireFormatInfo, which either end sends first. own says that the connection is known to
// speak OpenWire: then any command counts.
func Check(p []byte, own bool) wire.Verdict {
	r := wire.NewReader(p)
	size, kind := r.U32(), Type(r.U8())
	switch {
	case len(p) >= sizeLen && (size < 1 || size > maxSize):
		return wire.No
	case !r.OK():
		return wire.Maybe
	case own && objects[kind].command && kind != 0:
		return wire.Either
	case kind != WireFormatInfo || size < 17 || size > 1<<16:
		return wire.No
	}
	n := min(len(r.Rest()), len(magic))
	switch {
	case string(r.Rest()[:n]) != magic[:n]:
		return wire.No
	case n < len(magic):
		return wire.Maybe
	}
	return wire.Either
}

// Parse reads the command that p begins with, in the format f with what cache has of the sender's objects, and returns its
// whole length, which may be more than len(p). Where what was agreed is not what is sent, f is mended.
func Parse(p []byte, f *Format, cache *Cache, m *Message) (n int, err error) {
	*m = Message{}
	r := wire.NewReader(p)
	size := r.U32()
	m.Type = Type(r.U8())
	if !r.OK() {
		return 0, ErrShort
	}
	if size < 1 || size > maxSize || objects[m.Type].name == "" || m.Type >= firstDestination {
		return 0, ErrMalformed
	}
	m.Size = sizeLen + int(size)
	r.P = p[:min(len(p), m.Size)]
	if m.Type == WireFormatInfo {
		if !m.wireFormat(&r) {
			return 0, ErrMalformed
		}
		return m.Size, nil
	}
	// Some agree to cache and do not.
	for _, try := range [...]Format{*f, {f.Version, f.Tight, !f.Cache, false}, {f.Version, !f.Tight, false, false}, {f.Version, !f.Tight, true, false}} {
		kind, length := m.Type, m.Size
		*m = Message{Type: kind, Size: length}
		d := decoder{r: r, f: try, m: m, cache: cache}
		if d.command() {
			f.Tight, f.Cache = try.Tight, try.Cache
			return m.Size, nil
		}
	}
	return 0, ErrMalformed
}

// command reads the fields of a command; false when they are none.
func (d *decoder) command() bool {
	if d.f.Tight {
		d.bitsOf()
	}
	m := d.m
	m.ID = d.r.U32()
	m.Wants = d.bool()
	d.fields(m.Type)
	return !d.bad && (d.r.OK() || m.Size > len(d.r.P))
}

// bitsOf reads the booleans that the tight encoding puts in front.
func (d *decoder) bitsOf() {
	n := int(d.r.U8())
	switch n {
	case 0xc0:
		n = int(d.r.U8())
	case 0x80:
		n = int(d.r.U16())
	}
	d.bits, d.bit = d.r.UpTo(n), 0
}

func (d *decoder) bool() bool {
	if !d.f.Tight {
		v := d.r.U8()
		if v > 1 {
			d.bad = true
		}
		return v == 1
	}
	if d.bit>>3 >= len(d.bits) {
		if d.r.OK() {
			d.bad = true
		}
		return false
	}
	v := d.bits[d.bit>>3]>>(d.bit&7)&1 != 0
	d.bit++
	return v
}

func (d *decoder) long() int64 {
	if !d.f.Tight {
		return int64(d.r.U64())
	}
	switch a, b := d.bool(), d.bool(); {
	case a && b:
		return int64(d.r.U64())
	case a:
		return int64(d.r.U32())
	case b:
		return int64(d.r.U16())
	}
	return 0
}

// text reads a string, in modified UTF-8.
func (d *decoder) text() []byte {
	if !d.bool() {
		return nil
	}
	if d.f.Tight {
		d.bool() // whether it is ASCII
	}
	return d.r.UpTo(int(d.r.U16()))
}

// bytes reads a sequence of bytes.
func (d *decoder) bytes() []byte {
	if !d.bool() {
		return nil
	}
	return d.r.UpTo(int(d.r.U32()))
}

// exception reads class and text of an exception; the stack behind them is passed over.
func (d *decoder) exception() {
	if d.bool() {
		d.m.Class = d.text()
		d.m.Text = d.text()
	}
}

// fields reads the fields of an object.
func (d *decoder) fields(kind Type) {
	m, list := d.m, objects[kind].fields
	if kind == messageID && d.f.Version >= 10 {
		d.text() // the id as text
	}
	for i := 0; i < len(list) && !d.bad && d.r.OK(); i++ {
		switch list[i] {
		case 'o':
			d.object()
		case 'c':
			d.cached()
		case 's':
			d.text()
		case 'l':
			d.long()
		case 'i':
			d.r.Skip(4)
		case 'y':
			d.r.Skip(1)
		case 'b':
			d.bool()
		case 'B':
			d.bytes()
		case 'K':
			d.last.name = d.text()
		case 'S':
			d.last.session = d.long()
		case 'D':
			d.last.name = d.text()
		case 'U':
			m.Broker = d.text()
		case 'N':
			m.User = d.text()
		case 'C':
			m.Correlation = d.text()
		case 'R':
			m.Answers = d.r.U32()
		case 'X':
			d.exception()
		case 'M':
			m.Properties = Properties{r: wire.NewReader(d.bytes())}
			m.Properties.left = int(m.Properties.r.U32())
		}
	}
}

// object reads an object, or that there is none.
func (d *decoder) object() {
	d.last = cached{}
	if !d.bool() {
		return
	}
	kind := Type(d.r.U8())
	if !d.r.OK() {
		return
	}
	if objects[kind].name == "" || d.depth >= maxDepth {
		d.bad = true
		return
	}
	if d.f.Tight && (kind.IsMessage() || kind == WireFormatInfo) && d.bool() { // ready-made bytes of its own
		d.r.Skip(5)
		d.bitsOf()
	}
	d.depth++
	if kind.IsMessage() {
		d.m.Message = kind
		d.r.Skip(4)
		d.bool()
	}
	d.last.kind = kind
	d.fields(kind)
	d.depth--
	if objects[kind].fields != "" && kind >= firstDestination {
		d.last.kind = kind
		d.keep()
	}
}

// keep takes what the last object says: the first destination and the first connection count.
func (d *decoder) keep() {
	m, o := d.m, d.last
	switch {
	case o.kind >= firstDestination && o.kind <= lastDestination:
		if m.Kind == 0 {
			m.Destination, m.Kind = o.name, o.kind
		}
	case o.kind >= 120 && o.kind <= 123 && m.Connection == nil:
		m.Connection, m.Session, m.HasSession = o.name, o.session, o.kind != 120
	}
}

// cached reads an object that may be in the cache.
func (d *decoder) cached() {
	if !d.f.Cache {
		d.object()
		return
	}
	if d.bool() {
		at := d.r.U16()
		d.object()
		if d.cache != nil && !d.bad && d.r.OK() {
			d.cache.put(at, d.last)
		}
		return
	}
	if at := d.r.U16(); d.cache != nil && d.r.OK() {
		d.last = d.cache.objects[at]
		d.keep()
	}
}

// put remembers an object, in memory of its own.
func (c *Cache) put(at uint16, o cached) {
	if c.objects == nil {
		c.objects = map[uint16]cached{}
	}
	if _, ok := c.objects[at]; !ok && len(c.objects) >= maxCached {
		return
	}
	o.name = append([]byte(nil), o.name[:min(len(o.name), maxText)]...)
	c.objects[at] = o
}

// wireFormat reads what a WireFormatInfo offers; it is always written loosely.
func (m *Message) wireFormat(r *wire.Reader) bool {
	if s := r.UpTo(len(magic)); string(s) != magic[:len(s)] {
		return false
	}
	m.Format.Version = r.U32()
	if r.U8() != 1 || !r.OK() {
		return r.OK() || m.Size > len(r.P)
	}
	p := Properties{r: wire.NewReader(r.UpTo(int(r.U32())))}
	for p.left = int(p.r.U32()); p.Next(); {
		switch string(p.Key) {
		case "TightEncodingEnabled":
			m.Format.Tight = p.True
		case "CacheEnabled":
			m.Format.Cache = p.True
		case "SizePrefixDisabled":
			m.Format.NoSize = p.True
		}
	}
	return true
}

// Properties reads the properties of a message one by one; the zero value has none.
type Properties struct {
	r    wire.Reader
	left int
	// Key is the name; Value a text, nil for other types; True the value of a boolean.
	Key, Value []byte
	True       bool
}

// Next moves to the next property; false at the end, or where they are cut or hold something else than plain values.
func (p *Properties) Next() bool {
	if p.left <= 0 || p.r.Len() == 0 {
		return false
	}
	p.left--
	p.Key, p.Value, p.True = p.r.UpTo(int(p.r.U16())), nil, false
	switch p.r.U8() {
	case 0: // null
	case 1:
		p.True = p.r.U8() != 0
	case 2:
		p.r.Skip(1)
	case 3, 4:
		p.r.Skip(2)
	case 5, 8:
		p.r.Skip(4)
	case 6, 7:
		p.r.Skip(8)
	case 9:
		p.Value = p.r.UpTo(int(p.r.U16()))
		return p.r.OK() || len(p.Value) > 0
	case 10:
		p.r.Skip(int(p.r.U32()))
	case 13:
		p.Value = p.r.UpTo(int(p.r.U32()))
		return p.r.OK() || len(p.Value) > 0
	default:
		p.r.Short = true
	}
	return p.r.OK()
}

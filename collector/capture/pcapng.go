package capture

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"github.com/flowlake/flowlake/collector/packet"
)

// The block format: draft-ietf-opsawg-pcapng. Every block is type, total length, body, total length again.
const (
	blockInterface = 1
	blockPacket    = 2 // obsolete, still found
	blockSimple    = 3
	blockEnhanced  = 6

	byteOrderMagic = 0x1a2b3c4d

	blockOverhead   = 12
	sectionMinBytes = 28
	// maxBlockBytes bounds a block that has to be in memory: the largest frame with generous options.
	maxBlockBytes = maxFrameBytes + 128<<10
	// maxInterfaces bounds what a file of nothing but interfaces can cost.
	maxInterfaces = 1 << 16
	// maxInterfaceName bounds the name of one; a longer one is not kept.
	maxInterfaceName = 256

	optionEnd        = 0
	optionResolution = 9
	optionOffset     = 14
)

// ngFormat reads pcapng. Sections may follow each other with other byte orders and interfaces.
type ngFormat struct {
	order
	names      map[uint32]string // by Frame.Interface, of those that have one
	interfaces []ngInterface
	base       uint32 // interfaces of earlier sections, so that numbers do not repeat
	last       int64  // time of the last packet, for packets without one
}

type ngInterface struct {
	link   packet.LinkType
	snap   uint32 // 0: no limit
	clock  ngClock
	offset int64 // seconds to add
}

// ngClock says what a tick is: 10^-exp or 2^-exp seconds.
type ngClock struct {
	binary bool
	exp    uint8
}

func (n *ngFormat) next(b []byte, f *Frame) (step, error) {
	if len(b) < blockOverhead {
		return step{size: blockOverhead}, nil
	}
	kind := n.u32(b)
	if kind == magicSection { // a palindrome; the byte order comes after the length
		switch uint32(byteOrderMagic) {
		case binary.LittleEndian.Uint32(b[8:]):
			n.big = false
		case binary.BigEndian.Uint32(b[8:]):
			n.big = true
		default:
			return step{}, fmt.Errorf("%w: byte order mark %x", ErrCorrupt, b[8:12])
		}
	}
	total := n.u32(b[4:])
	if total < blockOverhead || total%4 != 0 {
		return step{}, fmt.Errorf("%w: block length %d", ErrCorrupt, total)
	}
	switch kind {
	case magicSection, blockInterface, blockPacket, blockSimple, blockEnhanced:
	default:
		return step{size: int64(total), skip: true}, nil
	}
	if total > maxBlockBytes {
		return step{}, fmt.Errorf("%w: block length %d", ErrCorrupt, total)
	}
	if len(b) < int(total) {
		return step{size: int64(total)}, nil
	}
	if again := n.u32(b[total-4:]); again != total {
		return step{}, fmt.Errorf("%w: block length %d, at its end %d", ErrCorrupt, total, again)
	}
	st := step{size: int64(total)}
	body := b[8 : total-4]
	var err error
	switch kind {
	case magicSection:
		err = n.section(body)
	case blockInterface:
		err = n.addInterface(body)
	case blockSimple:
		st.frame, err = true, n.simple(body, f)
	default:
		st.frame, err = true, n.packet(kind, body, f)
	}
	return st, err
}

func (n *ngFormat) section(body []byte) error {
	if len(body) < sectionMinBytes-blockOverhead {
		return fmt.Errorf("%w: section header of %d bytes", ErrCorrupt, len(body))
	}
	if major := n.u16(body[4:]); major != 1 {
		return fmt.Errorf("%w: pcapng version %d.%d", ErrUnsupported, major, n.u16(body[6:]))
	}
	n.base += uint32(len(n.interfaces))
	n.interfaces = n.interfaces[:0]
	if len(n.names) > maxInterfaces { // of sections without number
		clear(n.names)
	}
	return nil
}

func (n *ngFormat) addInterface(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: interface block of %d bytes", ErrCorrupt, len(body))
	}
	if len(n.interfaces) == maxInterfaces {
		return fmt.Errorf("%w: more than %d interfaces", ErrCorrupt, maxInterfaces)
	}
	i := ngInterface{link: linkType(n.u16(body)), snap: n.u32(body[4:]), clock: ngClock{exp: 6}}
	for o := body[8:]; len(o) >= 4; {
		code, size := n.u16(o), int(n.u16(o[2:]))
		padded := (size + 3) &^ 3
		if code == optionEnd {
			break
		}
		if len(o) < 4+padded {
			return fmt.Errorf("%w: option %d of %d bytes", ErrCorrupt, code, size)
		}
		value := o[4 : 4+size]
		switch {
		case code == optionResolution && size == 1:
			i.clock = ngClock{binary: value[0]&0x80 != 0, exp: value[0] & 0x7f}
		case code == optionName && size > 0 && size <= maxInterfaceName:
			if n.names == nil {
				n.names = map[uint32]string{}
			}
			n.names[n.base+uint32(len(n.interfaces))+1] = strings.ToValidUTF8(string(value), "?")
		case code == optionOffset && size == 8:
			i.offset = int64(n.u64(value))
		}
		o = o[4+padded:]
	}
	if i.clock.exp > 63 || i.clock.exp > 19 && !i.clock.binary {
		return fmt.Errorf("%w: time resolution %+v", ErrCorrupt, i.clock)
	}
	n.interfaces = append(n.interfaces, i)
	return nil
}

// packet reads an enhanced packet block, or the obsolete one, which differs in how it numbers the interface.
func (n *ngFormat) packet(kind uint32, body []byte, f *Frame) error {
	const header = 20
	if len(body) < header {
		return fmt.Errorf("%w: packet block of %d bytes", ErrCorrupt, len(body))
	}
	id := n.u32(body)
	if kind == blockPacket {
		id = uint32(n.u16(body))
	}
	if int64(id) >= int64(len(n.interfaces)) {
		return fmt.Errorf("%w: packet of interface %d of %d", ErrCorrupt, id, len(n.interfaces))
	}
	captured, wire := n.u32(body[12:]), n.u32(body[16:])
	if captured > maxFrameBytes || int(captured) > len(body)-header {
		return fmt.Errorf("%w: captured length %d in a block of %d bytes", ErrCorrupt, captured, len(body))
	}
	i := &n.interfaces[id]
	nanos, ok := i.nanos(uint64(n.u32(body[4:]))<<32 | uint64(n.u32(body[8:])))
	if !ok {
		return fmt.Errorf("%w: time out of range", ErrCorrupt)
	}
	n.last = nanos
	n.fill(f, id, body[header:header+captured:header+captured], wire)
	return nil
}

// simple reads a simple packet block: no time, always the first interface.
func (n *ngFormat) simple(body []byte, f *Frame) error {
	if len(body) < 4 {
		return fmt.Errorf("%w: packet block of %d bytes", ErrCorrupt, len(body))
	}
	if len(n.interfaces) == 0 {
		return fmt.Errorf("%w: packet without an interface", ErrCorrupt)
	}
	wire := n.u32(body)
	captured := min(uint64(wire), uint64(len(body)-4), maxFrameBytes)
	if snap := n.interfaces[0].snap; snap != 0 {
		captured = min(captured, uint64(snap))
	}
	n.fill(f, 0, body[4:4+captured:4+captured], wire)
	return nil
}

func (n *ngFormat) fill(f *Frame, id uint32, data []byte, wire uint32) {
	*f = Frame{
		Data: data, TimeNanos: n.last, WireLen: wireLen(wire, uint32(len(data))),
		Interface: n.base + id + 1, Link: n.interfaces[id].link,
	}
}

// nanos converts ticks to Unix nanoseconds; false when they do not fit.
func (i *ngInterface) nanos(ticks uint64) (int64, bool) {
	var secs, frac uint64
	switch c := i.clock; {
	case c.binary:
		secs = ticks >> c.exp
		hi, lo := bits.Mul64(ticks&(1<<c.exp-1), 1e9)
		frac = hi<<(64-c.exp) | lo>>c.exp
	case c.exp == 6 && i.offset == 0 && ticks <= math.MaxInt64/1000: // nearly always
		return int64(ticks) * 1000, true
	case c.exp <= 9:
		secs, frac = ticks/pow10[c.exp], ticks%pow10[c.exp]*pow10[9-c.exp]
	default:
		secs, frac = ticks/pow10[c.exp], ticks%pow10[c.exp]/pow10[c.exp-9]
	}
	const maxSeconds = math.MaxInt64/1_000_000_000 - 1
	if secs > maxSeconds || i.offset > maxSeconds || i.offset < -maxSeconds {
		return 0, false
	}
	total := int64(secs) + i.offset
	if total > maxSeconds || total < -maxSeconds {
		return 0, false
	}
	return total*1e9 + int64(frac), true
}

// pow10 holds the powers of ten that fit a uint64.
var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

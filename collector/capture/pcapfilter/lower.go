package pcapfilter

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/packet"
)

// cond is a condition in terms of single tests of bytes: a tree of always, both, either, inverse, test and compare.
type cond interface{}

type (
	always  bool
	both    struct{ left, right cond }
	either  struct{ left, right cond }
	inverse struct{ of cond }
	// compare is a comparison whose sides code computes: of A with k, or with X.
	compare struct {
		code []ins
		op   testOp
		k    uint32
		x    bool
	}
)

func and(a, b cond) cond {
	switch {
	case a == always(false), b == always(true):
		return a
	case a == always(true):
		return b
	}
	return both{a, b} // even if b is never true: a may reject the frame, as libpcap has it
}

func or(a, b cond) cond {
	switch {
	case a == always(true), b == always(false):
		return a
	case a == always(false):
		return b
	}
	return either{a, b}
}

func not(a cond) cond {
	if c, ok := a.(always); ok {
		return !c
	}
	return inverse{a}
}

// frame is what Data of a frame begins with, as programs see it.
type frame uint8

const (
	frameEthernet frame = iota
	frameSLL
	frameSLL2
	frameLoopback // BSD's: four bytes
	frameRaw
	frameIPv4
	frameIPv6
	// frameTagged is Ethernet in the kernel, whose outermost VLAN tag lies beside the frame.
	frameTagged
	// frameKernel is any device of the kernel that is not Ethernet.
	frameKernel
)

// frameOf says what frames of a link type look like.
func frameOf(l packet.LinkType) (frame, bool) {
	switch l {
	case packet.LinkEthernet:
		return frameEthernet, true
	case packet.LinkLinuxSLL:
		return frameSLL, true
	case packet.LinkLinuxSLL2:
		return frameSLL2, true
	case packet.LinkNull, packet.LinkLoop:
		return frameLoopback, true
	case packet.LinkRaw:
		return frameRaw, true
	case packet.LinkIPv4:
		return frameIPv4, true
	case packet.LinkIPv6:
		return frameIPv6, true
	}
	return 0, false
}

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd
	etherMax  = 1500 // below, the field is a length

	// netOffset addresses the IP header wherever a device puts it (SKF_NET_OFF).
	netOffset = 0xfff00000

	outgoing = 4 // PACKET_OUTGOING, also in cooked headers
)

// lowerer turns an expression into tests of bytes, for one kind of frame. It goes through the expression from left to right:
// the keyword vlan changes what comes after it.
type lowerer struct {
	text  string
	frame frame
	// live: several kinds of frames come through one program, and a condition on what this kind lacks is never true.
	// Otherwise it is an error.
	live   bool
	shift  uint32 // of VLAN tags in the frame that have been passed
	beside bool   // the tag beside the frame has been passed
	tagged bool   // vlan was seen
	err    error
}

// net is the offset of the IP header.
func (l *lowerer) net() uint32 {
	switch l.frame {
	case frameEthernet, frameTagged:
		return 14 + l.shift
	case frameSLL:
		return 16 + l.shift
	case frameSLL2:
		return 20 + l.shift
	case frameLoopback:
		return 4
	case frameKernel:
		return netOffset
	}
	return 0
}

// lacks is a condition on something that this kind of frame does not have.
func (l *lowerer) lacks(at int, what string) cond {
	if !l.live && l.err == nil {
		l.err = &Error{Text: l.text, Offset: at, Message: "frames of this kind of link have no " + what}
	}
	return always(false)
}

func (l *lowerer) fail(at int, message string) {
	if l.err == nil {
		l.err = &Error{Text: l.text, Offset: at, Message: message}
	}
}

// field is a test of size bytes at an offset of the frame.
func field(off uint32, size uint8, mask uint32, op testOp, k uint32) cond {
	return test{load: load{base: baseFrame, off: off, size: size}, mask: mask, op: op, k: k}
}

const noMask = ^uint32(0)

// equal tests bytes behind the start of the IP header.
func (l *lowerer) equal(off uint32, size uint8, k uint32) cond {
	return field(l.net()+off, size, noMask, testEqual, k)
}

// extension tests a value that the kernel has beside the frame.
func extension(num, mask, k uint32) cond {
	return test{load: load{base: baseExtension, off: num, size: 4}, mask: mask, op: testEqual, k: k}
}

// Numbers of extensions (SKF_AD_*).
const (
	extProtocol   = 0
	extType       = 4
	extInterface  = 8
	extHatype     = 28
	extVLANTag    = 44
	extVLANExists = 48
)

// etherType: what is behind the link header is of this ether type.
func (l *lowerer) etherType(n uint32) cond {
	version := func(n uint32) cond { return field(l.net(), 1, 0xf0, testEqual, n<<4) }
	typed := l.net() - 2
	switch l.frame {
	case frameSLL2:
		if l.shift == 0 {
			typed = 0
		}
	case frameKernel:
		return extension(extProtocol, noMask, n)
	case frameLoopback, frameRaw:
		switch n {
		case etherIPv4:
			return version(4)
		case etherIPv6:
			return version(6)
		}
		return always(false)
	case frameIPv4:
		return always(n == etherIPv4)
	case frameIPv6:
		return always(n == etherIPv6)
	}
	if n > etherMax {
		return field(typed, 2, noMask, testEqual, n)
	}
	const llc = 4 // LINUX_SLL_P_802_2
	sap := field(l.net(), 1, noMask, testEqual, n)
	if l.frame == frameSLL || l.frame == frameSLL2 {
		return and(field(typed, 2, noMask, testEqual, llc), sap)
	}
	return and(not(field(typed, 2, noMask, testGreater, etherMax)), sap)
}

func (l *lowerer) node(n node) cond {
	switch n := n.(type) {
	case nil:
		return always(true)
	case andNode:
		left := l.node(n.left)
		return and(left, l.node(n.right))
	case orNode:
		left := l.node(n.left)
		return or(left, l.node(n.right))
	case notNode:
		return not(l.node(n.of))
	case protoNode:
		return l.proto(n.proto)
	case hostNode:
		return l.host(&n)
	case etherNode:
		return l.ether(&n)
	case portNode:
		return l.port(&n)
	case protoNumberNode:
		return l.protoNumber(n.proto, n.num)
	case castNode:
		return l.cast(&n)
	case lenNode:
		whole := load{base: baseLength, size: 4}
		if n.greater {
			return test{load: whole, mask: noMask, op: testGreaterEqual, k: n.n}
		}
		return not(test{load: whole, mask: noMask, op: testGreater, k: n.n})
	case directionNode:
		return l.direction(&n)
	case ifindexNode:
		switch {
		case l.live:
			return extension(extInterface, noMask, n.n)
		case l.frame == frameSLL2:
			return field(4, 4, noMask, testEqual, n.n)
		}
		return l.lacks(n.at, "number of the interface in them")
	case vlanNode:
		return l.vlan(&n)
	case relNode:
		return l.relation(&n)
	}
	panic("pcapfilter: unknown node") // the parser makes no others
}

// proto: a frame of this protocol.
func (l *lowerer) proto(p proto) cond {
	switch p {
	case protoIP:
		return l.etherType(etherIPv4)
	case protoIP6:
		return l.etherType(etherIPv6)
	case protoARP:
		return l.etherType(etherARP)
	case protoRARP:
		return l.etherType(etherRARP)
	case protoTCP, protoUDP, protoSCTP, protoPIM, protoAH, protoESP:
		n, _ := p.ipNumber()
		return l.protoNumber(protoDefault, n)
	case protoICMP6:
		return l.protoNumber(protoIP6, 58)
	}
	n, _ := p.ipNumber()
	return l.protoNumber(protoIP, n)
}

func (l *lowerer) protoNumber(p proto, n uint32) cond {
	const fragmentHeader = 44
	switch p {
	case protoLink:
		return l.etherType(n)
	case protoIP:
		return and(l.etherType(etherIPv4), l.equal(9, 1, n))
	case protoIP6:
		next := or(l.equal(6, 1, n), and(l.equal(6, 1, fragmentHeader), l.equal(40, 1, n)))
		return and(l.etherType(etherIPv6), next)
	}
	return or(l.protoNumber(protoIP, n), l.protoNumber(protoIP6, n))
}

// sides combines what source and destination are to be.
func sides(d direction, src, dst func() cond) cond {
	switch d {
	case dirSrc:
		return src()
	case dirDst:
		return dst()
	case dirBoth:
		return and(src(), dst())
	}
	return or(src(), dst())
}

func (l *lowerer) host(h *hostNode) cond {
	if h.v6 {
		return and(l.etherType(etherIPv6), l.address(h, 8, 24, 16))
	}
	ip := func() cond { return and(l.etherType(etherIPv4), l.address(h, 12, 16, 4)) }
	arp := func(etherType uint32) cond { return and(l.etherType(etherType), l.address(h, 14, 24, 4)) }
	switch h.q.proto {
	case protoIP:
		return ip()
	case protoARP:
		return arp(etherARP)
	case protoRARP:
		return arp(etherRARP)
	}
	return or(ip(), or(arp(etherARP), arp(etherRARP)))
}

// address tests the addresses at two offsets of the network header.
func (l *lowerer) address(h *hostNode, src, dst uint32, size int) cond {
	at := func(off uint32) func() cond {
		return func() cond {
			c := cond(always(true))
			for i := 0; i < size; i += 4 {
				mask, k := binary.BigEndian.Uint32(h.mask[i:]), binary.BigEndian.Uint32(h.addr[i:])
				if mask != 0 {
					c = and(c, field(l.net()+off+uint32(i), 4, mask, testEqual, k))
				}
			}
			return c
		}
	}
	return sides(h.q.dir, at(src), at(dst))
}

// hasMAC says whether there are MAC addresses at the start of the frame.
func (l *lowerer) hasMAC() bool { return l.frame == frameEthernet || l.frame == frameTagged }

func (l *lowerer) ether(e *etherNode) cond {
	if !l.hasMAC() {
		return l.lacks(e.at, "MAC addresses")
	}
	at := func(off uint32) func() cond {
		return func() cond {
			low := field(off+2, 4, noMask, testEqual, binary.BigEndian.Uint32(e.mac[2:]))
			return and(low, field(off, 2, noMask, testEqual, uint32(binary.BigEndian.Uint16(e.mac[:]))))
		}
	}
	return sides(e.dir, at(6), at(0))
}

func (l *lowerer) cast(n *castNode) cond {
	switch {
	case n.proto == protoIP:
		return and(l.etherType(etherIPv4), field(l.net()+16, 1, noMask, testGreaterEqual, 224))
	case n.proto == protoIP6:
		return and(l.etherType(etherIPv6), l.equal(24, 1, 255))
	case !l.hasMAC():
		return l.lacks(n.at, "MAC addresses")
	case n.multicast:
		return not(field(0, 1, 1, testEqual, 0))
	}
	return and(field(2, 4, noMask, testEqual, 0xffffffff), field(0, 2, noMask, testEqual, 0xffff))
}

func (l *lowerer) direction(n *directionNode) cond {
	var out cond
	switch {
	case l.live:
		out = extension(extType, noMask, outgoing)
	case l.frame == frameSLL:
		out = field(0, 2, noMask, testEqual, outgoing)
	case l.frame == frameSLL2:
		out = field(10, 1, noMask, testEqual, outgoing)
	default:
		return l.lacks(n.at, "direction in them")
	}
	if n.outbound {
		return out
	}
	return not(out)
}

// port looks for ports: of IPv4 in first fragments, of IPv6 right behind the header.
func (l *lowerer) port(n *portNode) cond {
	in := func(ld load) func() cond {
		return func() cond {
			if n.low == n.high {
				return test{load: ld, mask: noMask, op: testEqual, k: n.low}
			}
			return and(test{load: ld, mask: noMask, op: testGreaterEqual, k: n.low},
				not(test{load: ld, mask: noMask, op: testGreater, k: n.high}))
		}
	}
	protocol := func(off uint32) cond {
		if number, ok := n.q.proto.ipNumber(); ok {
			return l.equal(off, 1, number)
		}
		return or(l.equal(off, 1, 6), or(l.equal(off, 1, 17), l.equal(off, 1, 132)))
	}
	at6 := func(off uint32) load { return load{base: baseFrame, off: l.net() + 40 + off, size: 2} }
	at4 := func(off uint32) load { return load{base: baseTransport, off: l.net() + off, size: 2, header: l.net()} }
	v6 := and(l.etherType(etherIPv6), and(protocol(6), sides(n.q.dir, in(at6(0)), in(at6(2)))))
	v4 := and(protocol(9), and(l.firstFragment(), sides(n.q.dir, in(at4(0)), in(at4(2)))))
	return or(v6, and(l.etherType(etherIPv4), v4))
}

// firstFragment: of IPv4, the first fragment or a whole packet.
func (l *lowerer) firstFragment() cond { return field(l.net()+6, 2, 0x1fff, testEqual, 0) }

func (l *lowerer) vlan(n *vlanNode) cond {
	l.tagged = true
	var c cond
	switch {
	case l.frame == frameTagged && !l.beside:
		l.beside = true
		if n.any {
			return always(true)
		}
		return extension(extVLANTag, 0x0fff, n.id)
	case l.frame == frameEthernet || l.frame == frameTagged || l.frame == frameSLL || l.frame == frameSLL2:
		c = or(l.etherType(0x8100), or(l.etherType(0x88a8), l.etherType(0x9100)))
	default:
		return l.lacks(n.at, "VLAN tags")
	}
	if !n.any {
		c = and(c, field(l.net(), 2, 0x0fff, testEqual, n.id))
	}
	const maxShift = 4 * 64
	if l.shift += 4; l.shift > maxShift {
		l.fail(n.at, "more VLAN tags than a frame has")
	}
	return c
}

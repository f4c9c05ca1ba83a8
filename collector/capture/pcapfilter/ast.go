package pcapfilter

import "net/netip"

// proto is a protocol qualifier.
type proto uint8

const (
	protoDefault proto = iota
	protoLink
	protoIP
	protoIP6
	protoARP
	protoRARP
	protoTCP
	protoUDP
	protoSCTP
	protoICMP
	protoICMP6
	protoIGMP
	protoIGRP
	protoPIM
	protoVRRP
	protoAH
	protoESP
	protoUndefined // nothing can be taken over from a term like this
)

// protoWords are the keywords of protocols. vrrp and carp share a number.
var protoWords = map[string]proto{
	"ether": protoLink, "link": protoLink, "ip": protoIP, "ip6": protoIP6, "arp": protoARP, "rarp": protoRARP,
	"tcp": protoTCP, "udp": protoUDP, "sctp": protoSCTP, "icmp": protoICMP, "icmp6": protoICMP6, "igmp": protoIGMP,
	"igrp": protoIGRP, "pim": protoPIM, "vrrp": protoVRRP, "carp": protoVRRP, "ah": protoAH, "esp": protoESP,
}

// ipNumber is the IP protocol number of p, when it has one.
func (p proto) ipNumber() (uint32, bool) {
	switch p {
	case protoTCP:
		return 6, true
	case protoUDP:
		return 17, true
	case protoSCTP:
		return 132, true
	case protoICMP:
		return 1, true
	case protoICMP6:
		return 58, true
	case protoIGMP:
		return 2, true
	case protoIGRP:
		return 9, true
	case protoPIM:
		return 103, true
	case protoVRRP:
		return 112, true
	case protoAH:
		return 51, true
	case protoESP:
		return 50, true
	}
	return 0, false
}

// String is the keyword.
func (p proto) String() string {
	for w, q := range protoWords {
		if q == p && w != "link" && w != "carp" {
			return w
		}
	}
	return "default"
}

// direction is a direction qualifier.
type direction uint8

const (
	dirDefault direction = iota
	dirSrc
	dirDst
	dirEither
	dirBoth
)

// kind says what an address or number is one of.
type kind uint8

const (
	kindDefault kind = iota
	kindHost
	kindNet
	kindPort
	kindPortRange
	kindProto
)

var kindWords = map[string]kind{"host": kindHost, "net": kindNet, "port": kindPort, "portrange": kindPortRange, "proto": kindProto}

func (k kind) String() string {
	for w, q := range kindWords {
		if q == k {
			return w
		}
	}
	return "host"
}

// qualifiers are the keywords before an address or number, which those after it take over.
type qualifiers struct {
	proto proto
	dir   direction
	kind  kind
}

// node is a part of an expression that is true or false of a frame.
type node interface{}

type (
	andNode struct{ left, right node }
	orNode  struct{ left, right node }
	notNode struct{ of node }

	// protoNode: of this protocol.
	protoNode struct{ proto proto }
	// hostNode: an address in prefix, given as bytes and mask, since masks need not be prefixes.
	hostNode struct {
		q          qualifiers
		at         int // offset in the text
		addr, mask [16]byte
		v6         bool
	}
	// etherNode: a MAC address.
	etherNode struct {
		dir direction
		at  int
		mac [6]byte
	}
	// portNode: ports low to high.
	portNode struct {
		q         qualifiers
		low, high uint32
	}
	// protoNumberNode: a protocol by its number.
	protoNumberNode struct {
		proto proto // protoDefault, protoLink, protoIP or protoIP6
		num   uint32
	}
	// castNode: broadcast or multicast.
	castNode struct {
		proto     proto
		at        int
		multicast bool
	}
	// lenNode: length at most (less) or at least (greater).
	lenNode struct {
		greater bool
		n       uint32
	}
	// directionNode: inbound or outbound.
	directionNode struct {
		at       int
		outbound bool
	}
	// ifindexNode: number of the interface.
	ifindexNode struct {
		at int
		n  uint32
	}
	// vlanNode: a VLAN tag, of this id unless any.
	vlanNode struct {
		at  int
		id  uint32
		any bool
	}
	// relNode compares two numbers.
	relNode struct {
		at          int
		op          relOp
		left, right arith
	}
)

// relOp is a comparison of unsigned numbers.
type relOp uint8

const (
	relEqual relOp = iota
	relNotEqual
	relGreater
	relGreaterEqual
	relLess
	relLessEqual
)

// arith is an arithmetic expression over 32-bit unsigned numbers.
type arith interface{}

type (
	constant struct{ n uint32 }
	length   struct{}
	// loadExpr reads size bytes of a protocol's header.
	loadExpr struct {
		at    int
		proto proto
		index arith
		size  uint8 // 1, 2 or 4
	}
	binaryExpr struct {
		at          int
		op          byte // + - * / % & | ^ and < > for the shifts
		left, right arith
	}
	negated struct{ of arith }
)

// fromPrefix fills in address and mask of a hostNode.
func (h *hostNode) fromPrefix(p netip.Prefix) {
	a := p.Addr()
	h.v6 = a.Is6()
	b := a.AsSlice()
	copy(h.addr[:], b)
	for i := range b {
		left := min(max(p.Bits()-8*i, 0), 8)
		h.mask[i] = ^byte(0xff >> left)
		h.addr[i] &= h.mask[i]
	}
}

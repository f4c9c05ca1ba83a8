package packet

import "encoding/binary"

// LinkType says with which header a frame begins. Values are those of the pcap link-type registry
// (https://www.tcpdump.org/linktypes.html).
type LinkType uint16

// Link types that the decoder reads.
const (
	LinkNull      LinkType = 0   // BSD loopback: address family in the byte order of the capturing machine
	LinkEthernet  LinkType = 1   // Ethernet II, with or without VLAN tags
	LinkRaw       LinkType = 101 // IPv4 or IPv6, told apart by the version nibble
	LinkLoop      LinkType = 108 // OpenBSD loopback: address family in network byte order
	LinkLinuxSLL  LinkType = 113 // Linux cooked capture, 16 bytes
	LinkIPv4      LinkType = 228 // IPv4 only
	LinkIPv6      LinkType = 229 // IPv6 only
	LinkLinuxSLL2 LinkType = 276 // Linux cooked capture v2, 20 bytes
)

// Ether types, as registered with IEEE.
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeIPv6 = 0x86dd

	etherTypeVLAN   = 0x8100 // 802.1Q
	etherTypeQinQ   = 0x88a8 // 802.1ad
	etherTypeQinQ91 = 0x9100 // its common predecessor
	etherTypeTEB    = 0x6558 // transparent Ethernet bridging
)

const (
	ethernetHeader = 14
	vlanTag        = 4
	sllHeader      = 16
	sll2Header     = 20
	nullHeader     = 4

	// maxTags bounds the VLAN tags of one Ethernet header; more is an attack, not a network.
	maxTags = 8
)

// Supported reports whether Decode can read frames of this link type.
func (l LinkType) Supported() bool {
	switch l {
	case LinkNull, LinkEthernet, LinkRaw, LinkLoop, LinkLinuxSLL, LinkIPv4, LinkIPv6, LinkLinuxSLL2:
		return true
	}
	return false
}

// link takes the link header off. b is what was captured, wire >= len(b) what was on the wire; this holds for every
// layer below too.
func (d *Decoder) link(p *Packet, b []byte, wire int, l LinkType) error {
	switch l {
	case LinkEthernet:
		return d.ethernet(p, b, wire)
	case LinkRaw, LinkIPv4, LinkIPv6:
		return d.rawIP(p, b, wire)
	case LinkNull, LinkLoop:
		if len(b) < nullHeader {
			return ErrTruncated
		}
		return d.rawIP(p, b[nullHeader:], wire-nullHeader)
	case LinkLinuxSLL:
		if len(b) < sllHeader {
			return ErrTruncated
		}
		if binary.BigEndian.Uint16(b[4:]) == 6 {
			copy(p.SrcMAC[:], b[6:12])
		}
		return d.cooked(p, binary.BigEndian.Uint16(b[14:]), b[sllHeader:], wire-sllHeader)
	case LinkLinuxSLL2:
		if len(b) < sll2Header {
			return ErrTruncated
		}
		if b[11] == 6 {
			copy(p.SrcMAC[:], b[12:18])
		}
		return d.cooked(p, binary.BigEndian.Uint16(b), b[sll2Header:], wire-sll2Header)
	}
	return ErrLinkType
}

// ethernet decodes an Ethernet header and what follows; the frame's lengths count from here.
func (d *Decoder) ethernet(p *Packet, b []byte, wire int) error {
	if len(b) < ethernetHeader {
		return ErrTruncated
	}
	p.WireLen, p.CapLen = uint32(wire), uint32(len(b))
	copy(p.DstMAC[:], b[0:6])
	copy(p.SrcMAC[:], b[6:12])
	return d.tagged(p, binary.BigEndian.Uint16(b[12:]), b[ethernetHeader:], wire-ethernetHeader)
}

// cooked decodes what follows a header of the capturing kernel, which stands for an Ethernet header.
func (d *Decoder) cooked(p *Packet, etherType uint16, b []byte, wire int) error {
	p.WireLen, p.CapLen = uint32(wire+ethernetHeader), uint32(len(b)+ethernetHeader)
	return d.tagged(p, etherType, b, wire)
}

// tagged takes VLAN tags off and decodes the IP packet behind them.
func (d *Decoder) tagged(p *Packet, etherType uint16, b []byte, wire int) error {
	for n := 0; etherType == etherTypeVLAN || etherType == etherTypeQinQ || etherType == etherTypeQinQ91; n++ {
		if n == maxTags {
			return ErrTooDeep
		}
		if len(b) < vlanTag {
			return ErrTruncated
		}
		if id := binary.BigEndian.Uint16(b) & 0x0fff; id != 0 { // id 0 is a priority, no VLAN
			p.VLAN = id
		}
		etherType = binary.BigEndian.Uint16(b[2:])
		b, wire = b[vlanTag:], wire-vlanTag
	}
	p.EtherType = etherType
	switch etherType {
	case EtherTypeIPv4:
		return d.ipv4(p, b, wire)
	case EtherTypeIPv6:
		return d.ipv6(p, b, wire)
	}
	return ErrEtherType
}

// rawIP decodes an IP packet without a link header, told apart by the version nibble.
func (d *Decoder) rawIP(p *Packet, b []byte, wire int) error {
	p.WireLen, p.CapLen = uint32(wire+ethernetHeader), uint32(len(b)+ethernetHeader)
	if len(b) == 0 {
		return ErrTruncated
	}
	switch b[0] >> 4 {
	case 4:
		p.EtherType = EtherTypeIPv4
		return d.ipv4(p, b, wire)
	case 6:
		p.EtherType = EtherTypeIPv6
		return d.ipv6(p, b, wire)
	}
	return ErrIPVersion
}

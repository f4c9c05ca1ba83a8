package packet

import "encoding/binary"

// IP protocol numbers below the transport (IANA).
const (
	protoHopByHop = 0
	protoIPv4     = 4
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoNoNext   = 59
	protoDstOpts  = 60
)

const (
	ipv4Header = 20
	ipv6Header = 40
	// maxExtensions bounds the chain of extension headers; RFC 8200 §4.1 recommends at most one each of six kinds.
	maxExtensions = 12
)

// ipv4 decodes an IPv4 packet (RFC 791). Bytes behind the total length are padding. A total length of 0 is a segment
// that the capturing host has yet to split: it reaches to the end of the frame.
func (d *Decoder) ipv4(p *Packet, b []byte, wire int) error {
	if len(b) < ipv4Header {
		return short(wire, ipv4Header)
	}
	if b[0]>>4 != 4 {
		return ErrIPVersion
	}
	hdr := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = wire
	}
	if hdr < ipv4Header || total < hdr {
		return ErrHeaderLength
	}
	if len(b) < hdr {
		return short(wire, hdr)
	}
	if total > wire {
		d.m.Overlong++
	}
	b = b[:min(len(b), total)]

	p.IPv6 = false
	p.Src.setIPv4(b[12:16])
	p.Dst.setIPv4(b[16:20])
	p.TTL = b[8]
	p.Proto = b[9]
	p.IPID = uint32(binary.BigEndian.Uint16(b[4:]))
	p.L3Len = uint32(total - hdr)
	if frag := binary.BigEndian.Uint16(b[6:]); frag&0x3fff != 0 {
		p.Fragment, p.MoreFragments, p.FragOffset = true, frag&0x2000 != 0, frag<<3
		if p.FragOffset != 0 {
			return nil
		}
	}
	return d.extensions(p, p.Proto, b[hdr:], total-hdr)
}

// setIPv4 sets a zero address to a mapped IPv4 address, in one store.
func (a *Addr) setIPv4(b []byte) {
	binary.BigEndian.PutUint64(a[8:], 0xffff<<32|uint64(binary.BigEndian.Uint32(b)))
}

// ipv6 decodes an IPv6 packet (RFC 8200). A payload length of 0 is a jumbogram or a segment still to be split: it
// reaches to the end of the frame.
func (d *Decoder) ipv6(p *Packet, b []byte, wire int) error {
	if len(b) < ipv6Header {
		return short(wire, ipv6Header)
	}
	if b[0]>>4 != 6 {
		return ErrIPVersion
	}
	next := b[6]
	total := int(binary.BigEndian.Uint16(b[4:])) + ipv6Header
	if total == ipv6Header && next != protoNoNext {
		total = wire
	}
	if total > wire {
		d.m.Overlong++
	}
	b = b[:min(len(b), total)]

	p.IPv6 = true
	p.Src, p.Dst = Addr(b[8:24]), Addr(b[24:40])
	p.TTL = b[7]
	p.L3Len = uint32(total - ipv6Header)
	return d.extensions(p, next, b[ipv6Header:], total-ipv6Header)
}

// extensions walks IPv6 extension headers, and the authentication header in either version, down to the transport.
func (d *Decoder) extensions(p *Packet, next uint8, b []byte, wire int) error {
	for n := 0; ; n++ {
		switch next {
		case protoHopByHop, protoRouting, protoFragment, protoDstOpts:
			if !p.IPv6 {
				return d.transport(p, next, b, wire)
			}
		case protoAH:
		default:
			return d.transport(p, next, b, wire)
		}
		if n == maxExtensions {
			return ErrTooDeep
		}
		if len(b) < 8 {
			return short(wire, 8)
		}
		size := (int(b[1]) + 1) * 8
		switch next {
		case protoAH:
			size = (int(b[1]) + 2) * 4
		case protoFragment:
			size = 8
			frag := binary.BigEndian.Uint16(b[2:])
			// Offset 0 without a successor is a whole packet (RFC 6946).
			if frag&^6 != 0 {
				p.Fragment, p.MoreFragments, p.FragOffset = true, frag&1 != 0, frag&^7
			}
			p.IPID = binary.BigEndian.Uint32(b[4:])
			if p.FragOffset != 0 {
				p.Proto = b[0]
				return nil
			}
		}
		next = b[0]
		if len(b) < size {
			return short(wire, size)
		}
		b, wire = b[size:], wire-size
	}
}

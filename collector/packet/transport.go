package packet

import "encoding/binary"

const (
	tcpHeader  = 20
	udpHeader  = 8
	icmpHeader = 8

	// maxWScale is the largest shift that RFC 7323 §2.3 allows; larger ones count as it.
	maxWScale = 14
)

// transport decodes the header behind IP, or takes a tunnel off. b is what was captured of the wire bytes that the IP
// header announced.
func (d *Decoder) transport(p *Packet, proto uint8, b []byte, wire int) error {
	p.Proto = proto
	switch proto {
	case ProtoTCP:
		return p.tcp(b, wire)
	case ProtoUDP:
		return d.udp(p, b, wire)
	case ProtoICMP, ProtoICMPv6:
		return p.icmp(b, wire)
	case protoIPv4, protoIPv6, protoGRE:
		if d.ipTunnel(p, b, wire) {
			return nil
		}
	}
	p.PayloadLen, p.Payload = uint32(wire), b
	return nil
}

// tcp decodes a TCP header (RFC 9293).
func (p *Packet) tcp(b []byte, wire int) error {
	if len(b) < tcpHeader {
		return short(wire, tcpHeader)
	}
	hdr := int(b[12]>>4) * 4
	if hdr < tcpHeader || hdr > wire {
		return ErrHeaderLength
	}
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.Seq, p.Ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	p.TCPFlags = uint16(b[12]&1)<<8 | uint16(b[13])
	p.Window = binary.BigEndian.Uint16(b[14:])
	p.PayloadLen = uint32(wire - hdr)
	if len(b) > hdr {
		p.Payload = b[hdr:]
	}
	if p.TCPFlags&FlagSYN != 0 && hdr > tcpHeader {
		p.tcpOptions(b[tcpHeader:min(hdr, len(b))])
	}
	return nil
}

// tcpOptions reads what a SYN negotiates. A malformed option ends the list: the packet is still good.
func (p *Packet) tcpOptions(b []byte) {
	const endOfList, noOp, mss, wscale = 0, 1, 2, 3
	for len(b) > 1 {
		switch b[0] {
		case endOfList:
			return
		case noOp:
			b = b[1:]
			continue
		}
		size := int(b[1])
		if size < 2 || size > len(b) {
			return
		}
		switch {
		case b[0] == mss && size == 4:
			p.MSS = binary.BigEndian.Uint16(b[2:])
		case b[0] == wscale && size == 3:
			p.WScale = int8(min(b[2], maxWScale))
		}
		b = b[size:]
	}
}

// udp decodes a UDP header (RFC 768) and takes UDP tunnels off. A length of 0 (jumbogram, segments still to be split) or
// beyond the IP payload (first fragment) means up to the end of the IP payload.
func (d *Decoder) udp(p *Packet, b []byte, wire int) error {
	if len(b) < udpHeader {
		return short(wire, udpHeader)
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if size != 0 && size < udpHeader {
		return ErrHeaderLength
	}
	if size != 0 && size < wire {
		wire = size
		b = b[:min(len(b), size)]
	}
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	b, wire = b[udpHeader:], wire-udpHeader
	if d.udpTunnel(p, b, wire) {
		return nil
	}
	p.PayloadLen, p.Payload = uint32(wire), b
	return nil
}

// icmp decodes an ICMP (RFC 792) or ICMPv6 (RFC 4443) header: type and code, and the identifier and
// sequence number of an echo.
func (p *Packet) icmp(b []byte, wire int) error {
	if len(b) < icmpHeader {
		return short(wire, icmpHeader)
	}
	const echoReply, echo, echo6, echoReply6 = 0, 8, 128, 129
	p.SrcPort = binary.BigEndian.Uint16(b)
	switch {
	case p.Proto == ProtoICMP && (b[0] == echo || b[0] == echoReply),
		p.Proto == ProtoICMPv6 && (b[0] == echo6 || b[0] == echoReply6):
		p.DstPort, p.Seq = binary.BigEndian.Uint16(b[4:]), uint32(binary.BigEndian.Uint16(b[6:]))
	}
	p.PayloadLen, p.Payload = uint32(wire-icmpHeader), b[icmpHeader:]
	return nil
}

// AppendEcho appends the message of an ICMP echo or its reply, as far as it was captured: the header, without its checksum,
// and the payload.
func (p *Packet) AppendEcho(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, p.SrcPort)
	dst = binary.BigEndian.AppendUint16(dst, 0)
	dst = binary.BigEndian.AppendUint16(dst, p.DstPort)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Seq))
	return append(dst, p.Payload...)
}

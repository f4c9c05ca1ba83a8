package packet

import "encoding/binary"

const (
	vxlanHeader  = 8 // RFC 7348 §5, draft-ietf-nvo3-vxlan-gpe §3
	geneveHeader = 8 // RFC 8926 §3.4
	greHeader    = 4 // RFC 2784 §2, RFC 2890 §2
	nshHeader    = 8 // RFC 8300 §2: base and service path header

	etherTypeERSPAN2 = 0x88be // ERSPAN types I and II, draft-foschiano-erspan
	etherTypeERSPAN3 = 0x22eb
)

// inner is what a tunnel header says of what it carries.
type inner struct {
	kind      TunnelType
	id        uint32
	etherType uint16 // EtherTypeIPv4, EtherTypeIPv6 or etherTypeTEB
	skip      int    // bytes of tunnel header
}

// udpTunnel takes VXLAN, VXLAN-GPE or Geneve off a UDP payload; false leaves p as it was.
func (d *Decoder) udpTunnel(p *Packet, b []byte, wire int) bool {
	var in inner
	var ok bool
	switch {
	case contains(d.vxlan, p.DstPort):
		in, ok = vxlan(b)
	case contains(d.vxlanGPE, p.DstPort):
		in, ok = vxlanGPE(b)
	case contains(d.gnv, p.DstPort):
		in, ok = geneve(b)
	}
	return ok && d.enter(p, in, b, wire)
}

// ipTunnel takes IP in IP or GRE off an IP payload; false leaves p as it was.
func (d *Decoder) ipTunnel(p *Packet, b []byte, wire int) bool {
	in, ok := inner{kind: TunnelIPIP}, true
	switch p.Proto {
	case protoIPv4:
		in.etherType = EtherTypeIPv4
	case protoIPv6:
		in.etherType = EtherTypeIPv6
	default:
		in, ok = gre(b)
	}
	return ok && d.enter(p, in, b, wire)
}

// enter decodes the inside of a tunnel. When that is not an IP packet that decodes, or the tunnel is not to be taken
// off, p is left as it was and false returned.
func (d *Decoder) enter(p *Packet, in inner, b []byte, wire int) bool {
	if !d.tunnels.Has(in.kind) || p.Tunnel.Tier >= d.maxTiers || in.skip > len(b) {
		return false
	}
	b, wire = b[in.skip:], wire-in.skip
	outer := *p
	*p = Packet{
		TimeNanos: outer.TimeNanos, Interface: outer.Interface, WScale: -1,
		Tunnel: Tunnel{Type: in.kind, Tier: outer.Tunnel.Tier + 1, ID: in.id, Src: outer.Src, Dst: outer.Dst},
	}
	d.m.Tunnels++
	var err error
	if in.etherType == etherTypeTEB {
		err = d.ethernet(p, b, wire)
	} else {
		p.SrcMAC, p.DstMAC, p.VLAN = outer.SrcMAC, outer.DstMAC, outer.VLAN
		err = d.cooked(p, in.etherType, b, wire)
	}
	if err == nil {
		return true
	}
	d.m.Tunnels--
	d.m.OuterOnly++
	*p = outer
	return false
}

func vxlan(b []byte) (inner, bool) {
	const validVNI = 0x08
	if len(b) < vxlanHeader || b[0]&validVNI == 0 {
		return inner{}, false
	}
	return inner{TunnelVXLAN, binary.BigEndian.Uint32(b[4:]) >> 8, etherTypeTEB, vxlanHeader}, true
}

// vxlanGPE reads a VXLAN header whose next-protocol bit may announce IP or NSH in place of Ethernet.
func vxlanGPE(b []byte) (inner, bool) {
	const nextProtocol = 0x04
	const nsh = 4
	in, ok := vxlan(b)
	if !ok || b[0]&nextProtocol == 0 {
		return in, ok
	}
	if b[3] != nsh {
		in.etherType, ok = nextEtherType(b[3])
		return in, ok
	}
	h := b[vxlanHeader:]
	if len(h) < nshHeader || h[0]>>6 != 0 {
		return inner{}, false
	}
	size := int(h[1]&0x3f) * 4
	if size < nshHeader {
		return inner{}, false
	}
	in.kind, in.skip = TunnelVXLANNSH, vxlanHeader+size
	in.etherType, ok = nextEtherType(h[3])
	return in, ok
}

// nextEtherType maps the next-protocol numbers that VXLAN-GPE and NSH share.
func nextEtherType(next uint8) (uint16, bool) {
	switch next {
	case 1:
		return EtherTypeIPv4, true
	case 2:
		return EtherTypeIPv6, true
	case 3:
		return etherTypeTEB, true
	}
	return 0, false
}

func geneve(b []byte) (inner, bool) {
	if len(b) < geneveHeader || b[0]>>6 != 0 {
		return inner{}, false
	}
	in := inner{
		kind: TunnelGeneve, id: binary.BigEndian.Uint32(b[4:]) >> 8,
		etherType: binary.BigEndian.Uint16(b[2:]), skip: geneveHeader + int(b[0]&0x3f)*4,
	}
	return in, carried(in.etherType)
}

// gre reads a GRE header of version 0 with optional checksum, key and sequence number, and ERSPAN behind it. Source
// routing (RFC 1701) and version 1 (PPTP) are not taken off.
func gre(b []byte) (inner, bool) {
	const checksum, routing, key, sequence, version = 0x8000, 0x4000, 0x2000, 0x1000, 0x0007
	if len(b) < greHeader {
		return inner{}, false
	}
	flags := binary.BigEndian.Uint16(b)
	if flags&(routing|version) != 0 {
		return inner{}, false
	}
	in := inner{kind: TunnelGRE, etherType: binary.BigEndian.Uint16(b[2:]), skip: greHeader}
	if flags&checksum != 0 {
		in.skip += 4
	}
	if flags&key != 0 {
		if len(b) < in.skip+4 {
			return inner{}, false
		}
		in.id = binary.BigEndian.Uint32(b[in.skip:])
		in.skip += 4
	}
	if flags&sequence != 0 {
		in.skip += 4
	}
	switch in.etherType {
	case etherTypeERSPAN2:
		if flags&sequence == 0 { // type I has no header of its own
			in.etherType = etherTypeTEB
			return in, true
		}
		return erspan(in, b, 8)
	case etherTypeERSPAN3:
		return erspan(in, b, 12)
	}
	return in, carried(in.etherType)
}

// erspan reads an ERSPAN header of the given size at in.skip; the session id stands for the key.
func erspan(in inner, b []byte, size int) (inner, bool) {
	if len(b) < in.skip+size {
		return inner{}, false
	}
	h := b[in.skip:]
	in.id = uint32(binary.BigEndian.Uint16(h[2:]) & 0x3ff)
	in.skip += size
	in.etherType = etherTypeTEB
	if size == 12 {
		if h[11]&1 != 0 { // optional platform sub-header
			in.skip += 8
		}
		if ft := h[10] >> 2 & 0x1f; ft == 2 { // frame type: an IP packet
			return bareIP(in, b)
		}
	}
	return in, true
}

// bareIP tells the version of a bare IP packet at in.skip.
func bareIP(in inner, b []byte) (inner, bool) {
	if len(b) <= in.skip {
		return inner{}, false
	}
	in.etherType = EtherTypeIPv4
	if b[in.skip]>>4 == 6 {
		in.etherType = EtherTypeIPv6
	}
	return in, true
}

// carried reports whether a tunnel's protocol type is one that is decoded.
func carried(etherType uint16) bool {
	return etherType == EtherTypeIPv4 || etherType == EtherTypeIPv6 || etherType == etherTypeTEB
}

func contains(ports []uint16, port uint16) bool {
	for _, p := range ports {
		if p == port {
			return true
		}
	}
	return false
}

package packet

import "errors"

// Causes for which a frame is not decoded. Decode returns them as they are, never wrapped.
var (
	// ErrTruncated is returned when the captured bytes end within a header that the frame had.
	ErrTruncated = errors.New("packet: capture ends within a header")
	// ErrLinkType is returned for a link type that the decoder does not read.
	ErrLinkType = errors.New("packet: link type not supported")
	// ErrEtherType is returned for a frame that carries neither IPv4 nor IPv6 (ARP, LLDP, 802.3, ...). MACs, VLAN and
	// EtherType are set.
	ErrEtherType = errors.New("packet: neither IPv4 nor IPv6")
	// ErrIPVersion is returned when the version nibble of an IP header contradicts the header before it.
	ErrIPVersion = errors.New("packet: wrong IP version")
	// ErrHeaderLength is returned when a length in a header is smaller than the header or larger than what holds it.
	ErrHeaderLength = errors.New("packet: bad header length")
	// ErrTooDeep is returned for more VLAN tags or extension headers than any network uses.
	ErrTooDeep = errors.New("packet: too many headers")
)

// TunnelSet is a set of tunnel types.
type TunnelSet uint8

// AllTunnels holds every tunnel type.
const AllTunnels = TunnelSet(1<<TunnelVXLAN | 1<<TunnelIPIP | 1<<TunnelGRE | 1<<TunnelGeneve | 1<<TunnelVXLANNSH)

// Tunnels returns the set of the given types.
func Tunnels(types ...TunnelType) TunnelSet {
	var s TunnelSet
	for _, t := range types {
		s |= 1 << t & AllTunnels
	}
	return s
}

// Has reports whether t is in the set.
func (s TunnelSet) Has(t TunnelType) bool { return s>>t&1 != 0 }

// Options say which tunnels a Decoder takes off.
type Options struct {
	// Tunnels are the types to take off. Zero: all. VXLAN-GPE without NSH counts as VXLAN, ERSPAN as GRE.
	Tunnels TunnelSet
	// MaxTiers is how many nested tunnels are taken off one packet, at most 255. Zero: 4. Negative: none.
	MaxTiers int
	// VXLANPorts are the UDP destination ports of VXLAN. Empty: 4789 (IANA), 8472 (Linux), 6784 (Weave), 58678.
	VXLANPorts []uint16
	// VXLANGPEPorts are those of VXLAN-GPE, which also carries NSH. Empty: 4790.
	VXLANGPEPorts []uint16
	// GenevePorts are those of Geneve. Empty: 6081.
	GenevePorts []uint16
}

const (
	defaultMaxTiers = 4
	maxMaxTiers     = 255

	// maxWireLen is far above the largest frame of any link and the largest segment that a host leaves to be split
	// (512 KiB). It keeps a lie in a file out of byte counts.
	maxWireLen = 16 << 20
)

// setDefaults fills in what is zero.
func (o *Options) setDefaults() {
	if o.Tunnels == 0 {
		o.Tunnels = AllTunnels
	}
	switch {
	case o.MaxTiers == 0:
		o.MaxTiers = defaultMaxTiers
	case o.MaxTiers < 0:
		o.MaxTiers = 0
	}
	o.MaxTiers = min(o.MaxTiers, maxMaxTiers)
	if len(o.VXLANPorts) == 0 {
		o.VXLANPorts = []uint16{4789, 8472, 6784, 58678}
	}
	if len(o.VXLANGPEPorts) == 0 {
		o.VXLANGPEPorts = []uint16{4790}
	}
	if len(o.GenevePorts) == 0 {
		o.GenevePorts = []uint16{6081}
	}
}

// Metrics counts what a Decoder has seen. All values only grow.
type Metrics struct {
	// Decoded frames ended without an error.
	Decoded uint64
	// Frames that were not decoded, by cause (see the errors of this package).
	Truncated, LinkType, EtherType, IPVersion, HeaderLength, TooDeep uint64
	// Tunnels is how many tunnel headers were taken off.
	Tunnels uint64
	// OuterOnly counts tunnel packets whose inside was not decodable; they are described by their outer headers.
	OuterOnly uint64
	// Overlong counts IP headers that claim more bytes than were on the wire (a capture that lost the wire length, or a
	// lie); lengths are then still those of the header.
	Overlong uint64
}

// Decoder decodes frames in place. It allocates nothing per frame and is to be used by one goroutine at a time,
// Metrics included.
type Decoder struct {
	tunnels              TunnelSet
	maxTiers             uint8
	vxlan, vxlanGPE, gnv []uint16
	m                    Metrics
}

// NewDecoder returns a Decoder; the zero Options take every known tunnel off.
func NewDecoder(opts ...func(*Options)) *Decoder {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	o.setDefaults()
	return &Decoder{
		tunnels: o.Tunnels, maxTiers: uint8(o.MaxTiers),
		vxlan: o.VXLANPorts, vxlanGPE: o.VXLANGPEPorts, gnv: o.GenevePorts,
	}
}

// Metrics returns the counters. It belongs to the goroutine that decodes.
func (d *Decoder) Metrics() Metrics { return d.m }

// Decode decodes one frame into p. frame is what was captured of it and is borrowed by p.Payload; wireLen is its length
// on the wire in bytes; a value that cannot be, below len(frame) or beyond 16 MiB, counts as len(frame). TimeNanos and Interface of p are left alone,
// every other field is overwritten, also on an error. Checksums are not verified: offloading leaves them unset on the
// sending host.
//
// A tunnel is taken off when what is inside is an IP packet that decodes; otherwise the packet is described by its outer
// headers. The innermost headers decide every field but Tunnel.
func (d *Decoder) Decode(p *Packet, frame []byte, wireLen int, link LinkType) error {
	return d.DecodeTagged(p, frame, wireLen, link, 0)
}

// DecodeTagged is Decode for a frame whose outermost VLAN tag was taken off before it was captured: vlan is its 802.1Q id,
// 0 for none. The tag's 4 bytes are part of the lengths then, unless a tunnel is taken off.
func (d *Decoder) DecodeTagged(p *Packet, frame []byte, wireLen int, link LinkType, vlan uint16) error {
	*p = Packet{TimeNanos: p.TimeNanos, Interface: p.Interface, WScale: -1, VLAN: vlan}
	if wireLen < len(frame) || wireLen > maxWireLen {
		wireLen = len(frame)
	}
	err := d.link(p, frame, wireLen, link)
	if vlan != 0 && p.Tunnel.Tier == 0 {
		p.WireLen += vlanTag
		p.CapLen += vlanTag
	}
	if err == nil {
		d.m.Decoded++
		return nil
	}
	d.count(err)
	return err
}

func (d *Decoder) count(err error) {
	switch err {
	case ErrTruncated:
		d.m.Truncated++
	case ErrLinkType:
		d.m.LinkType++
	case ErrEtherType:
		d.m.EtherType++
	case ErrIPVersion:
		d.m.IPVersion++
	case ErrHeaderLength:
		d.m.HeaderLength++
	case ErrTooDeep:
		d.m.TooDeep++
	}
}

// short is the cause when a layer of which len(b) bytes were captured and wire were sent has less than it needs.
func short(wire, need int) error {
	if wire < need {
		return ErrHeaderLength
	}
	return ErrTruncated
}

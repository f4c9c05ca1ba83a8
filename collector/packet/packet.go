// Package packet decodes captured frames in place, without allocation: link layer, tunnels, IPv4/IPv6 and the
// transport header, down to the payload.
package packet

// Transport protocol numbers (IANA) that the decoder knows beyond the IP header.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// TCP flag bits as in the header's 13th and 14th byte (RFC 9293 §3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
	FlagNS
)

// TunnelType names the innermost tunnel that was taken off a packet.
type TunnelType uint8

// Tunnel types.
const (
	TunnelNone TunnelType = iota
	TunnelVXLAN
	TunnelIPIP
	TunnelGRE
	TunnelGeneve
	TunnelVXLANNSH
)

// Addr is an IP address in 16-byte form; IPv4 is mapped (::ffff:a.b.c.d, RFC 4291 §2.5.5.2).
type Addr [16]byte

// Tunnel describes what was taken off around the packet. The zero value means none.
type Tunnel struct {
	Type TunnelType
	// Tier is how many tunnels were taken off (1 for a plain VXLAN packet).
	Tier uint8
	// ID is the VNI or GRE key of the innermost tunnel; 0 where it has none.
	ID uint32
	// Src and Dst are the outer addresses of the innermost tunnel.
	Src, Dst Addr
}

// Packet is one decoded frame. It holds no pointer except the borrowed Payload, which is valid as long as the frame's
// bytes are. A Packet is meant to be reused: Decode overwrites every field but TimeNanos and Interface, which belong to
// the caller.
type Packet struct {
	// TimeNanos is the capture time, Unix nanoseconds.
	TimeNanos int64
	// Interface is the index of the capturing interface (0: unknown, as for pcap files; pcapng files number theirs).
	Interface uint32
	// WireLen is the length of the frame on the wire in bytes, from the (inner) Ethernet header on; CapLen what of it
	// was captured. Where there is no Ethernet header (raw IP, cooked capture, IP directly in a tunnel) an Ethernet
	// header of 14 bytes is assumed in its place, so that the same packet counts the same bytes on every kind of link.
	// Padding of an Ethernet frame counts, except inside a tunnel where the outer IP length tells it apart.
	WireLen, CapLen uint32

	SrcMAC, DstMAC [6]byte
	EtherType      uint16
	// VLAN is the innermost 802.1Q id, 0 when untagged. VLAN, SrcMAC and DstMAC are those of the inner Ethernet header
	// when the tunnel carries one, of the outer one otherwise.
	VLAN   uint16
	Tunnel Tunnel

	IPv6     bool
	Src, Dst Addr
	TTL      uint8
	// Proto is the transport protocol after IPv6 extension headers.
	Proto uint8
	// Fragment says that this is an IP fragment; FragOffset is its offset in bytes, MoreFragments whether others follow.
	// A fragment with a non-zero offset has no transport header: ports and PayloadLen are 0 and Payload is empty; its
	// L3Len still counts. In a first fragment PayloadLen is what this fragment carries.
	Fragment, MoreFragments bool
	FragOffset              uint16
	IPID                    uint32

	// SrcPort and DstPort are the TCP or UDP ports; for ICMP SrcPort is type<<8|code and DstPort the echo id.
	// All are 0 for other protocols, whose Payload is the whole IP payload.
	SrcPort, DstPort uint16
	// Seq is TCP's sequence number, or the sequence number of an ICMP echo.
	Seq, Ack uint32
	TCPFlags uint16
	Window   uint16
	// WScale is the window scale option of a SYN (0..14), -1 when absent; MSS of a SYN, 0 when absent.
	WScale int8
	MSS    uint16

	// L3Len is the IP payload length in bytes (IPv6 extension headers included), PayloadLen the transport payload
	// length, both by the headers (not by what was captured). PayloadLen <= L3Len.
	L3Len, PayloadLen uint32
	// Payload is what was captured of the transport payload; len(Payload) <= PayloadLen. It is borrowed from the frame.
	Payload []byte
}

// String is the design's word for the type: "", "vxlan", "ipip", "gre", "geneve", "vxlan_nsh".
func (t TunnelType) String() string {
	switch t {
	case TunnelVXLAN:
		return "vxlan"
	case TunnelIPIP:
		return "ipip"
	case TunnelGRE:
		return "gre"
	case TunnelGeneve:
		return "geneve"
	case TunnelVXLANNSH:
		return "vxlan_nsh"
	}
	return ""
}

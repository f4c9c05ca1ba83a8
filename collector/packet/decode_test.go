package packet

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"unsafe"
)

func addr(s string) Addr { return netip.MustParseAddr(s).As16() }

func decode(t *testing.T, link LinkType, frame []byte, opts ...func(*Options)) Packet {
	t.Helper()
	var p Packet
	if err := NewDecoder(opts...).Decode(&p, frame, len(frame), link); err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return p
}

// TestDecodeHello decodes the same TCP segment behind every link header and tunnel.
func TestDecodeHello(t *testing.T) {
	in4 := eth(0x0800, ip4(6, hello))
	in6 := eth(0x86dd, ip6(6, hello))
	u4 := func(dst int, body []byte) []byte { return eth(0x0800, ip4(17, udp(50000, dst, body))) }
	g4 := func(body []byte) []byte { return eth(0x0800, ip4(47, body)) }
	tests := []struct {
		name  string
		link  LinkType
		frame []byte
		v6    bool
		vlan  uint16
		kind  TunnelType
		tier  uint8
		id    uint32
		mac   bool
	}{
		{"ethernet", LinkEthernet, in4, false, 0, 0, 0, 0, true},
		{"ethernet ipv6", LinkEthernet, in6, true, 0, 0, 0, 0, true},
		{"vlan", LinkEthernet, eth(0x8100, vlan(0x2005, 0x0800, ip4(6, hello))), false, 5, 0, 0, 0, true},
		{"qinq", LinkEthernet, eth(0x88a8, vlan(100, 0x8100, vlan(200, 0x86dd, ip6(6, hello)))), true, 200, 0, 0, 0, true},
		{"qinq 9100", LinkEthernet, eth(0x9100, vlan(100, 0x8100, vlan(201, 0x0800, ip4(6, hello)))), false, 201, 0, 0, 0, true},
		{"ip options", LinkEthernet, eth(0x0800, ip4With(6, 0, []byte{7, 7, 4, 0, 0, 0, 0, 0}, hello)), false, 0, 0, 0, 0, true},
		{"don't fragment", LinkEthernet, eth(0x0800, ip4With(6, 0x4000, nil, hello)), false, 0, 0, 0, 0, true},
		{"ah in ipv4", LinkEthernet, eth(0x0800, ip4(51, cat([]byte{6, 4}, make([]byte, 22), hello))), false, 0, 0, 0, 0, true},
		{"ah in ipv6", LinkEthernet, eth(0x86dd, ip6(51, cat([]byte{6, 4}, make([]byte, 22), hello))), true, 0, 0, 0, 0, true},
		{"atomic fragment", LinkEthernet, eth(0x86dd, ip6(44, cat([]byte{6, 0, 0, 0, 0, 0, 0x12, 0x34}, hello))), true, 0, 0, 0, 0, true},
		{"padding", LinkEthernet, cat(in4, make([]byte, 7)), false, 0, 0, 0, 0, true},
		{"sll vlan", LinkLinuxSLL, cat(be16(4), be16(1), be16(6), make([]byte, 8), be16(0x8100), vlan(9, 0x0800, ip4(6, hello))), false, 9, 0, 0, 0, false},
		{"sll2", LinkLinuxSLL2, samples[16].frame, false, 0, 0, 0, 0, true},
		{"raw 4", LinkRaw, ip4(6, hello), false, 0, 0, 0, 0, false},
		{"raw 6", LinkIPv6, ip6(6, hello), true, 0, 0, 0, 0, false},
		{"null", LinkNull, cat([]byte{30, 0, 0, 0}, ip6(6, hello)), true, 0, 0, 0, 0, false},
		{"loop", LinkLoop, cat([]byte{0, 0, 0, 2}, ip4(6, hello)), false, 0, 0, 0, 0, false},
		{"vxlan", LinkEthernet, u4(4789, vx(8, 0, 42, in4)), false, 0, TunnelVXLAN, 1, 42, true},
		{"vxlan linux port, inner vlan", LinkEthernet, eth(0x8100, vlan(3, 0x0800, ip4(17, udp(1, 8472, vx(8, 0, 42, eth(0x8100, vlan(4, 0x86dd, ip6(6, hello)))))))), true, 4, TunnelVXLAN, 1, 42, true},
		{"vxlan clears vlan", LinkEthernet, eth(0x8100, vlan(3, 0x0800, ip4(17, udp(1, 8472, vx(8, 0, 42, in4))))), false, 0, TunnelVXLAN, 1, 42, true},
		{"vxlan in ipv6", LinkEthernet, eth(0x86dd, ip6(17, udp(1, 4789, vx(8, 0, 0xffffff, in4)))), false, 0, TunnelVXLAN, 1, 0xffffff, true},
		{"vxlan-gpe ethernet", LinkEthernet, u4(4790, vx(0x0c, 3, 42, in4)), false, 0, TunnelVXLAN, 1, 42, true},
		{"vxlan-gpe ipv6", LinkEthernet, u4(4790, vx(0x0c, 2, 42, ip6(6, hello))), true, 0, TunnelVXLAN, 1, 42, true},
		{"vxlan-gpe without P", LinkEthernet, u4(4790, vx(0x08, 0, 42, in4)), false, 0, TunnelVXLAN, 1, 42, true},
		{"nsh ipv4", LinkEthernet, u4(4790, vx(0x0c, 4, 7, cat([]byte{0x0f, 0xc3, 2, 1}, be32(1), make([]byte, 4), ip4(6, hello)))), false, 0, TunnelVXLANNSH, 1, 7, true},
		{"nsh ethernet", LinkEthernet, samples[14].frame, false, 0, TunnelVXLANNSH, 1, 5, true},
		{"geneve", LinkEthernet, u4(6081, gen(0x6558, 77, nil, in6)), true, 0, TunnelGeneve, 1, 77, true},
		{"geneve options", LinkEthernet, u4(6081, gen(0x6558, 77, make([]byte, 252), in4)), false, 0, TunnelGeneve, 1, 77, true},
		{"geneve ip", LinkEthernet, u4(6081, gen(0x0800, 77, nil, ip4(6, hello))), false, 0, TunnelGeneve, 1, 77, true},
		{"gre", LinkEthernet, g4(greHdr(0, 0x0800, ip4(6, hello))), false, 0, TunnelGRE, 1, 0, true},
		{"gre all flags", LinkEthernet, g4(greHdr(0xb000, 0x86dd, be32(0), be32(99), be32(1), ip6(6, hello))), true, 0, TunnelGRE, 1, 99, true},
		{"gre teb", LinkEthernet, g4(greHdr(0x2000, 0x6558, be32(0x2000000), in4)), false, 0, TunnelGRE, 1, 0x2000000, true},
		{"erspan 1", LinkEthernet, g4(greHdr(0, 0x88be, in4)), false, 0, TunnelGRE, 1, 0, true},
		{"erspan 2", LinkEthernet, g4(greHdr(0x1000, 0x88be, be32(1), []byte{0x10, 1, 0xf8, 100, 0, 0, 0, 0}, in4)), false, 0, TunnelGRE, 1, 100, true},
		{"erspan 3", LinkEthernet, g4(greHdr(0x1000, 0x22eb, be32(1), []byte{0x20, 1, 0, 101, 0, 0, 0, 0, 0, 0, 0, 0}, in4)), false, 0, TunnelGRE, 1, 101, true},
		{"erspan 3 sub-header", LinkEthernet, g4(greHdr(0x1000, 0x22eb, be32(1), []byte{0x20, 1, 0, 102, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 8), in4)), false, 0, TunnelGRE, 1, 102, true},
		{"erspan 3 ip", LinkEthernet, g4(greHdr(0x1000, 0x22eb, be32(1), []byte{0x20, 1, 0, 103, 0, 0, 0, 0, 0, 0, 8, 0}, ip6(6, hello))), true, 0, TunnelGRE, 1, 103, true},
		{"ipip", LinkEthernet, eth(0x0800, ip4(4, ip4(6, hello))), false, 0, TunnelIPIP, 1, 0, true},
		{"ipip keeps vlan", LinkEthernet, eth(0x8100, vlan(3, 0x0800, ip4(4, ip4(6, hello)))), false, 3, TunnelIPIP, 1, 0, true},
		{"6in4", LinkRaw, ip4(41, ip6(6, hello)), true, 0, TunnelIPIP, 1, 0, false},
		{"4in6", LinkEthernet, eth(0x86dd, ip6(4, ip4(6, hello))), false, 0, TunnelIPIP, 1, 0, true},
		{"geneve in vxlan", LinkEthernet, u4(4789, vx(8, 0, 42, u4(6081, gen(0x6558, 77, nil, in4)))), false, 0, TunnelGeneve, 2, 77, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := decode(t, tt.link, tt.frame)
			src, dst, etherType, ttl := addr("10.0.0.1"), addr("10.0.0.2"), uint16(0x0800), uint8(64)
			if tt.v6 {
				src, dst, etherType, ttl = addr("fd00::1"), addr("fd00::2"), 0x86dd, 63
			}
			if p.IPv6 != tt.v6 || p.Src != src || p.Dst != dst || p.EtherType != etherType || p.TTL != ttl {
				t.Errorf("IP: got v6=%v %x -> %x ether type %#x ttl %d", p.IPv6, p.Src, p.Dst, p.EtherType, p.TTL)
			}
			if p.Proto != ProtoTCP || p.SrcPort != 40000 || p.DstPort != 80 || p.Seq != 1000 || p.Ack != 2000 ||
				p.TCPFlags != FlagPSH|FlagACK || p.Window != 512 || p.WScale != -1 || p.MSS != 0 || p.Fragment {
				t.Errorf("TCP: %+v", p)
			}
			if string(p.Payload) != "hello" || p.PayloadLen != 5 || p.L3Len < 25 {
				t.Errorf("payload %q, length %d of %d", p.Payload, p.PayloadLen, p.L3Len)
			}
			if p.VLAN != tt.vlan || (p.SrcMAC == [6]byte{2, 0, 0, 0, 0, 1}) != tt.mac {
				t.Errorf("VLAN %d, source MAC %x", p.VLAN, p.SrcMAC)
			}
			if p.Tunnel.Type != tt.kind || p.Tunnel.Tier != tt.tier || p.Tunnel.ID != tt.id {
				t.Errorf("tunnel %+v", p.Tunnel)
			}
			if (p.Tunnel.Src == Addr{}) != (tt.kind == TunnelNone) {
				t.Errorf("tunnel addresses %x", p.Tunnel.Src)
			}
		})
	}
}

func TestLengths(t *testing.T) {
	plain := eth(0x0800, ip4(6, hello)) // 14+20+20+5 = 59
	padded := cat(plain, make([]byte, 60-len(plain)))
	vxlanPadded := cat(eth(0x0800, ip4(17, udp(1, 4789, vx(8, 0, 1, plain)))), make([]byte, 9))
	tests := []struct {
		name                  string
		link                  LinkType
		frame                 []byte
		wire                  int
		wantWire, wantCap     uint32
		wantL3, wantPayload   uint32
		wantCaptured, overlng int
	}{
		{"plain", LinkEthernet, plain, 0, 59, 59, 25, 5, 5, 0},
		{"padding counts on the wire only", LinkEthernet, padded, 60, 60, 60, 25, 5, 5, 0},
		{"cut payload", LinkEthernet, plain[:56], 59, 59, 56, 25, 5, 2, 0},
		{"headers only", LinkEthernet, plain[:54], 59, 59, 54, 25, 5, 0, 0},
		{"raw counts an Ethernet header", LinkRaw, ip4(6, hello), 45, 59, 59, 25, 5, 5, 0},
		{"cooked counts an Ethernet header", LinkLinuxSLL, samples[15].frame, 61, 59, 59, 25, 5, 5, 0},
		{"inner Ethernet", LinkEthernet, vxlanPadded, 0, 59, 59, 25, 5, 5, 0},
		{"inner Ethernet cut", LinkEthernet, vxlanPadded[:50+57], len(vxlanPadded), 59, 57, 25, 5, 3, 0},
		{"inner IP", LinkEthernet, cat(eth(0x0800, ip4(4, ip4(6, hello))), make([]byte, 5)), 0, 59, 59, 25, 5, 5, 0},
		{"wire length that cannot be", LinkRaw, ip4(6, hello), 1<<31 - 1, 59, 59, 25, 5, 5, 0},
		{"negative wire length", LinkRaw, ip4(6, hello), -1, 59, 59, 25, 5, 5, 0},
		{"header claims more than the wire", LinkEthernet, plain[:57], 57, 57, 57, 25, 5, 3, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder()
			var p Packet
			if err := d.Decode(&p, tt.frame, tt.wire, tt.link); err != nil {
				t.Fatal(err)
			}
			if p.WireLen != tt.wantWire || p.CapLen != tt.wantCap || p.L3Len != tt.wantL3 || p.PayloadLen != tt.wantPayload {
				t.Errorf("wire %d cap %d l3 %d payload %d", p.WireLen, p.CapLen, p.L3Len, p.PayloadLen)
			}
			if len(p.Payload) != tt.wantCaptured || int(d.Metrics().Overlong) != tt.overlng {
				t.Errorf("captured %d, overlong %d", len(p.Payload), d.Metrics().Overlong)
			}
		})
	}
}

// TestUnsplitSegment covers what a sending host captures before the network card splits it: IP and UDP lengths of 0.
func TestUnsplitSegment(t *testing.T) {
	body := make([]byte, 100_000)
	seg := func(hdr int, frame []byte, at int) []byte {
		f := bytes.Clone(frame[:hdr])
		f[at], f[at+1] = 0, 0
		return cat(f, body)
	}
	t4 := seg(54, eth(0x0800, ip4(6, hello)), 16)
	p := decode(t, LinkEthernet, t4)
	if p.PayloadLen != 100_000 || len(p.Payload) != 100_000 || p.L3Len != 100_020 {
		t.Errorf("ipv4: payload %d, l3 %d", p.PayloadLen, p.L3Len)
	}
	t6 := seg(74, eth(0x86dd, ip6(6, hello)), 18)
	p = decode(t, LinkEthernet, t6)
	if p.PayloadLen != 100_000 || p.L3Len != 100_020 {
		t.Errorf("ipv6: payload %d, l3 %d", p.PayloadLen, p.L3Len)
	}
	// A jumbogram (RFC 2675) has the hop-by-hop header and a UDP length of 0.
	jumbo := eth(0x86dd, ip6(0, cat([]byte{17, 0, 0xc2, 4}, be32(100_016), be16(1), be16(2), be16(0), be16(0), body)))
	jumbo[18], jumbo[19] = 0, 0
	p = decode(t, LinkEthernet, jumbo)
	if p.PayloadLen != 100_000 || p.DstPort != 2 {
		t.Errorf("jumbogram: payload %d, port %d", p.PayloadLen, p.DstPort)
	}
	// Without a next header there is nothing to reach for.
	p = decode(t, LinkEthernet, cat(eth(0x86dd, ip6(59, nil)), make([]byte, 6)))
	if p.PayloadLen != 0 || p.L3Len != 0 || p.Proto != 59 {
		t.Errorf("no next header: %+v", p)
	}
}

func TestFragments(t *testing.T) {
	datagram := udp(5000, 53, make([]byte, 40))
	first := decode(t, LinkEthernet, eth(0x0800, ip4With(17, 0x2000, nil, datagram[:24])))
	if !first.Fragment || !first.MoreFragments || first.FragOffset != 0 || first.DstPort != 53 || first.PayloadLen != 16 || first.IPID != 0x1234 {
		t.Errorf("first: %+v", first)
	}
	later := decode(t, LinkEthernet, eth(0x0800, ip4With(17, 3, nil, datagram[24:])))
	if !later.Fragment || later.MoreFragments || later.FragOffset != 24 || later.DstPort != 0 || later.PayloadLen != 0 ||
		later.L3Len != 24 || later.Proto != 17 || len(later.Payload) != 0 {
		t.Errorf("later: %+v", later)
	}
	middle := decode(t, LinkEthernet, eth(0x0800, ip4With(17, 0x3fff, nil, datagram[24:])))
	if !middle.MoreFragments || middle.FragOffset != 65528 {
		t.Errorf("middle: %+v", middle)
	}
	six := func(off uint16, body []byte) []byte {
		return eth(0x86dd, ip6(44, cat([]byte{17, 0}, be16(int(off)), be32(0xabcdef01), body)))
	}
	first = decode(t, LinkEthernet, six(1, datagram[:24]))
	if !first.Fragment || !first.MoreFragments || first.DstPort != 53 || first.IPID != 0xabcdef01 || first.PayloadLen != 16 || first.L3Len != 32 {
		t.Errorf("first ipv6: %+v", first)
	}
	later = decode(t, LinkEthernet, six(24, datagram[24:]))
	if !later.Fragment || later.MoreFragments || later.FragOffset != 24 || later.Proto != 17 || later.SrcPort != 0 {
		t.Errorf("later ipv6: %+v", later)
	}
}

func TestTCPOptions(t *testing.T) {
	tests := []struct {
		name    string
		flags   uint16
		options []byte
		wscale  int8
		mss     uint16
	}{
		{"syn", FlagSYN, synOptions, 7, 1460},
		{"syn-ack", FlagSYN | FlagACK, synOptions, 7, 1460},
		{"none", FlagSYN, nil, -1, 0},
		{"not a syn", FlagACK, synOptions, -1, 0},
		{"scale above 14", FlagSYN, []byte{3, 3, 200, 0}, 14, 0},
		{"scale 0", FlagSYN, []byte{3, 3, 0, 0}, 0, 0},
		{"option of length 0", FlagSYN, []byte{2, 0, 5, 0xb4}, -1, 0},
		{"option beyond the end", FlagSYN, []byte{1, 1, 2, 4}, -1, 0},
		{"end of list", FlagSYN, []byte{0, 3, 3, 7}, -1, 0},
		{"wrong size", FlagSYN, []byte{2, 3, 9, 1, 3, 3, 5, 0}, 5, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := decode(t, LinkEthernet, eth(0x0800, ip4(6, tcp(1, 2, tt.flags, tt.options, nil))))
			if p.WScale != tt.wscale || p.MSS != tt.mss || p.TCPFlags != tt.flags {
				t.Errorf("window scale %d, MSS %d, flags %#x", p.WScale, p.MSS, p.TCPFlags)
			}
		})
	}
	p := decode(t, LinkEthernet, eth(0x0800, ip4(6, tcp(1, 2, FlagNS|FlagCWR|FlagFIN, nil, nil))))
	if p.TCPFlags != FlagNS|FlagCWR|FlagFIN {
		t.Errorf("nine flag bits: %#x", p.TCPFlags)
	}
	// Options that the snap length cut off leave a good packet.
	f := eth(0x0800, ip4(6, tcp(1, 2, FlagSYN, synOptions, []byte("x"))))
	var q Packet
	if err := NewDecoder().Decode(&q, f[:54+6], len(f), LinkEthernet); err != nil || q.MSS != 1460 || q.WScale != -1 || q.PayloadLen != 1 || len(q.Payload) != 0 {
		t.Errorf("cut options: %v %+v", err, q)
	}
}

func TestOtherTransports(t *testing.T) {
	p := decode(t, LinkEthernet, eth(0x0800, ip4(1, cat([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, []byte("ping")))))
	if p.SrcPort != 0x0800 || p.DstPort != 0x1234 || string(p.Payload) != "ping" || p.PayloadLen != 4 {
		t.Errorf("echo: %+v", p)
	}
	p = decode(t, LinkEthernet, eth(0x0800, ip4(1, []byte{3, 3, 0, 0, 0x12, 0x34, 0, 1})))
	if p.SrcPort != 0x0303 || p.DstPort != 0 {
		t.Errorf("unreachable: %+v", p)
	}
	p = decode(t, LinkEthernet, eth(0x86dd, ip6(58, []byte{129, 0, 0, 0, 0x12, 0x34, 0, 1})))
	if p.SrcPort != 0x8100 || p.DstPort != 0x1234 {
		t.Errorf("echo reply 6: %+v", p)
	}
	p = decode(t, LinkEthernet, eth(0x0800, ip4(132, []byte("sctp"))))
	if p.Proto != 132 || p.SrcPort != 0 || string(p.Payload) != "sctp" || p.PayloadLen != 4 || p.WScale != -1 {
		t.Errorf("other protocol: %+v", p)
	}
	// Protocol 0 and 43 are extension headers in IPv6 only.
	p = decode(t, LinkEthernet, eth(0x0800, ip4(43, make([]byte, 20))))
	if p.Proto != 43 || p.PayloadLen != 20 {
		t.Errorf("protocol 43 in IPv4: %+v", p)
	}
	// UDP length below the IP payload: the rest is no payload. Above it: what IP says.
	u := udp(1, 2, []byte("abcdef"))
	u[5] -= 2
	if p = decode(t, LinkEthernet, eth(0x0800, ip4(17, u))); string(p.Payload) != "abcd" || p.PayloadLen != 4 {
		t.Errorf("short UDP length: %+v", p)
	}
	u[5] += 200
	if p = decode(t, LinkEthernet, eth(0x0800, ip4(17, u))); string(p.Payload) != "abcdef" || p.PayloadLen != 6 {
		t.Errorf("long UDP length: %+v", p)
	}
}

func TestErrors(t *testing.T) {
	set := func(f []byte, at int, v byte) []byte { f = bytes.Clone(f); f[at] = v; return f }
	good := eth(0x0800, ip4(6, hello))
	udp4 := eth(0x0800, ip4(17, udp(1, 2, []byte("x"))))
	good6 := eth(0x86dd, ip6(6, hello))
	tags := func(n int) []byte {
		b := ip4(6, hello)
		et := 0x0800
		for range n {
			b, et = vlan(1, et, b), 0x8100
		}
		return eth(et, b)
	}
	chain := func(n int) []byte {
		b, next := hello, 6
		for range n {
			b, next = cat([]byte{byte(next), 0, 0, 0, 0, 0, 0, 0}, b), 60
		}
		return eth(0x86dd, ip6(next, b))
	}
	tests := []struct {
		name  string
		link  LinkType
		frame []byte
		wire  int
		want  error
	}{
		{"link type", 147, good, 0, ErrLinkType},
		{"empty", LinkEthernet, nil, 0, ErrTruncated},
		{"empty raw", LinkRaw, nil, 0, ErrTruncated},
		{"short null", LinkNull, []byte{2, 0, 0}, 0, ErrTruncated},
		{"short sll", LinkLinuxSLL, good[:15], 0, ErrTruncated},
		{"short sll2", LinkLinuxSLL2, good[:19], 0, ErrTruncated},
		{"short ethernet", LinkEthernet, good[:13], 59, ErrTruncated},
		{"short tag", LinkEthernet, tags(1)[:17], 63, ErrTruncated},
		{"eight tags", LinkEthernet, tags(8), 0, nil},
		{"nine tags", LinkEthernet, tags(9), 0, ErrTooDeep},
		{"arp", LinkEthernet, eth(0x0806, make([]byte, 28)), 0, ErrEtherType},
		{"802.3", LinkEthernet, eth(38, make([]byte, 38)), 0, ErrEtherType},
		{"ipv4 header cut", LinkEthernet, good[:33], 59, ErrTruncated},
		{"ipv4 header absent", LinkEthernet, good[:33], 33, ErrHeaderLength},
		{"version 5", LinkEthernet, set(good, 14, 0x55), 0, ErrIPVersion},
		{"version 6 in ipv4", LinkEthernet, set(good, 14, 0x65), 0, ErrIPVersion},
		{"version 4 in ipv6", LinkEthernet, set(good6, 14, 0x40), 0, ErrIPVersion},
		{"version 0 raw", LinkRaw, []byte{5}, 0, ErrIPVersion},
		{"ihl 4", LinkEthernet, set(good, 14, 0x44), 0, ErrHeaderLength},
		{"total below header", LinkEthernet, set(good, 17, 19), 0, ErrHeaderLength},
		{"options cut", LinkEthernet, set(good, 14, 0x4f)[:54], 200, ErrHeaderLength}, // 60 > 45
		{"options cut by capture", LinkEthernet, eth(0x0800, ip4With(6, 0, make([]byte, 40), hello))[:50], 99, ErrTruncated},
		{"tcp cut", LinkEthernet, good[:53], 59, ErrTruncated},
		{"tcp absent", LinkEthernet, eth(0x0800, ip4(6, hello[:19])), 0, ErrHeaderLength},
		{"data offset 4", LinkEthernet, set(good, 46, 0x40), 0, ErrHeaderLength},
		{"data offset beyond", LinkEthernet, set(good, 46, 0x70), 0, ErrHeaderLength},
		{"udp cut", LinkEthernet, udp4[:41], 43, ErrTruncated},
		{"udp length 7", LinkEthernet, set(udp4, 39, 7), 0, ErrHeaderLength},
		{"icmp cut", LinkEthernet, eth(0x0800, ip4(1, make([]byte, 7))), 0, ErrHeaderLength},
		{"ipv6 cut", LinkEthernet, good6[:53], 79, ErrTruncated},
		{"extension beyond", LinkEthernet, eth(0x86dd, ip6(0, []byte{6, 9, 0, 0, 0, 0, 0, 0})), 0, ErrHeaderLength},
		{"extension cut", LinkEthernet, chain(2)[:58], 95, ErrTruncated},
		{"twelve extensions", LinkEthernet, chain(12), 0, nil},
		{"thirteen extensions", LinkEthernet, chain(13), 0, ErrTooDeep},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder()
			p := Packet{TimeNanos: 7, Interface: 3, MSS: 9, Payload: []byte("old")}
			if err := d.Decode(&p, tt.frame, tt.wire, tt.link); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if p.TimeNanos != 7 || p.Interface != 3 || p.MSS != 0 || string(p.Payload) == "old" {
				t.Errorf("fields not reset: %+v", p)
			}
			m := d.Metrics()
			sum := m.Truncated + m.LinkType + m.EtherType + m.IPVersion + m.HeaderLength + m.TooDeep
			if (sum == 1) != (tt.want != nil) || m.Decoded+sum != 1 {
				t.Errorf("metrics %+v", m)
			}
		})
	}
}

// TestOuterOnly shows that a tunnel whose inside does not decode is described by its outside.
func TestOuterOnly(t *testing.T) {
	bad := bytes.Clone(ip4(6, hello))
	bad[0] = 0x41
	tests := []struct {
		name  string
		frame []byte
		proto uint8
		port  uint16
		inner uint64
	}{
		{"arp in vxlan", eth(0x0800, ip4(17, udp(1, 4789, vx(8, 0, 42, eth(0x0806, make([]byte, 28)))))), 17, 4789, 1},
		{"bad ip in ipip", eth(0x0800, ip4(4, bad)), 4, 0, 1},
		{"not vxlan", eth(0x0800, ip4(17, udp(1, 4789, []byte("some other protocol")))), 17, 4789, 0},
		{"vxlan cut", eth(0x0800, ip4(17, udp(1, 4789, []byte{8, 0, 0}))), 17, 4789, 0},
		{"gre version 1", eth(0x0800, ip4(47, greHdr(0x0001, 0x880b, ip4(6, hello)))), 47, 0, 0},
		{"gre routing", eth(0x0800, ip4(47, greHdr(0x4000, 0x0800, ip4(6, hello)))), 47, 0, 0},
		{"gre other", eth(0x0800, ip4(47, greHdr(0, 0x8847, ip4(6, hello)))), 47, 0, 0},
		{"gre key cut", eth(0x0800, ip4(47, greHdr(0x2000, 0x0800, []byte{1, 2}))), 47, 0, 0},
		{"erspan cut", eth(0x0800, ip4(47, greHdr(0x1000, 0x88be, be32(1), []byte{1, 2}))), 47, 0, 0},
		{"geneve version 1", eth(0x0800, ip4(17, udp(1, 6081, cat([]byte{0x40, 0}, be16(0x6558), be32(0), hello)))), 17, 6081, 0},
		{"geneve options beyond", eth(0x0800, ip4(17, udp(1, 6081, cat([]byte{0x3f, 0}, be16(0x6558), be32(0), hello)))), 17, 6081, 0},
		{"nsh too short", eth(0x0800, ip4(17, udp(1, 4790, vx(0x0c, 4, 5, cat([]byte{0x0f, 0xc1, 2, 1}, be32(1), ip4(6, hello)))))), 17, 4790, 0},
		{"gpe next unknown", eth(0x0800, ip4(17, udp(1, 4790, vx(0x0c, 9, 5, ip4(6, hello))))), 17, 4790, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDecoder()
			var p Packet
			if err := d.Decode(&p, tt.frame, len(tt.frame), LinkEthernet); err != nil {
				t.Fatal(err)
			}
			if p.Proto != tt.proto || p.DstPort != tt.port || p.Tunnel != (Tunnel{}) || int(p.WireLen) != len(tt.frame) ||
				p.Src != addr("10.0.0.1") || len(p.Payload) == 0 {
				t.Errorf("%+v", p)
			}
			if m := d.Metrics(); m.OuterOnly != tt.inner || m.Tunnels != 0 || m.Decoded != 1 {
				t.Errorf("metrics %+v", m)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	nested := eth(0x0800, ip4(17, udp(1, 4789, vx(8, 0, 42, eth(0x0800, ip4(4, ip4(6, hello)))))))
	tests := []struct {
		name string
		opt  func(*Options)
		tier uint8
		kind TunnelType
	}{
		{"default", func(*Options) {}, 2, TunnelIPIP},
		{"one tier", func(o *Options) { o.MaxTiers = 1 }, 1, TunnelVXLAN},
		{"none", func(o *Options) { o.MaxTiers = -1 }, 0, TunnelNone},
		{"more tiers than fit", func(o *Options) { o.MaxTiers = 1 << 20 }, 2, TunnelIPIP},
		{"vxlan only", func(o *Options) { o.Tunnels = Tunnels(TunnelVXLAN) }, 1, TunnelVXLAN},
		{"ipip only", func(o *Options) { o.Tunnels = Tunnels(TunnelIPIP, TunnelGRE) }, 0, TunnelNone},
		{"other port", func(o *Options) { o.VXLANPorts = []uint16{1234} }, 0, TunnelNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := decode(t, LinkEthernet, nested, tt.opt)
			if p.Tunnel.Tier != tt.tier || p.Tunnel.Type != tt.kind {
				t.Errorf("%+v", p.Tunnel)
			}
		})
	}
	if AllTunnels.Has(TunnelNone) || Tunnels(TunnelNone) != 0 || !AllTunnels.Has(TunnelVXLANNSH) {
		t.Error("tunnel sets")
	}
}

// TestEchoes: type and code, identifier and sequence number of an echo; other ICMP packets have neither.
func TestEchoes(t *testing.T) {
	body := cat([]byte{0, 0, 0, 0, 0x12, 0x34, 0xab, 0xcd}, []byte("ping"))
	for _, c := range []struct {
		name     string
		proto    int
		kind     byte
		id       uint16
		sequence uint32
	}{
		{"request", ProtoICMP, 8, 0x1234, 0xabcd}, {"reply", ProtoICMP, 0, 0x1234, 0xabcd},
		{"request 6", ProtoICMPv6, 128, 0x1234, 0xabcd}, {"reply 6", ProtoICMPv6, 129, 0x1234, 0xabcd},
		{"unreachable", ProtoICMP, 3, 0, 0}, {"too big", ProtoICMPv6, 2, 0, 0},
		{"an echo of the other version", ProtoICMPv6, 8, 0, 0},
	} {
		b := bytes.Clone(body)
		b[0], b[1] = c.kind, 1
		frame := eth(0x0800, ip4(c.proto, b))
		if c.proto == ProtoICMPv6 {
			frame = eth(0x86dd, ip6(c.proto, b))
		}
		p := decode(t, LinkEthernet, frame)
		if p.SrcPort != uint16(c.kind)<<8|1 || p.DstPort != c.id || p.Seq != c.sequence || string(p.Payload) != "ping" {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

// TestDecodeTagged: a tag that was taken off counts as the outermost one.
func TestDecodeTagged(t *testing.T) {
	in := eth(0x0800, ip4(6, hello))
	for _, c := range []struct {
		name  string
		frame []byte
		vlan  uint16
		extra int
	}{
		{"only one", in, 42, 4},
		{"another within", eth(0x8100, vlan(7, 0x0800, ip4(6, hello))), 7, 4},
		{"a priority within", eth(0x8100, vlan(0x2000, 0x0800, ip4(6, hello))), 42, 4},
		{"IP in IP", eth(0x0800, ip4(4, ip4(6, hello))), 42, 0},
		{"GRE", eth(0x0800, ip4(47, greHdr(0, 0x0800, ip4(6, hello)))), 42, 0},
		{"VXLAN", eth(0x0800, ip4(17, udp(1, 4789, vx(8, 0, 1, in)))), 0, 0},
		{"VXLAN with a tag", eth(0x0800, ip4(17, udp(1, 4789, vx(8, 0, 1, eth(0x8100, vlan(9, 0x0800, ip4(6, hello))))))), 9, 0},
	} {
		var p, plain Packet
		d := NewDecoder()
		if err := errors.Join(d.DecodeTagged(&p, c.frame, len(c.frame), LinkEthernet, 42),
			d.Decode(&plain, c.frame, len(c.frame), LinkEthernet)); err != nil {
			t.Fatal(err)
		}
		if p.VLAN != c.vlan || int(p.WireLen) != int(plain.WireLen)+c.extra || int(p.CapLen) != int(plain.CapLen)+c.extra ||
			string(p.Payload) != "hello" {
			t.Errorf("%s: VLAN %d, %d of %d bytes", c.name, p.VLAN, p.CapLen, p.WireLen)
		}
	}
	arp := eth(0x0806, make([]byte, 28))
	var p Packet
	if err := NewDecoder().DecodeTagged(&p, arp, len(arp), LinkEthernet, 42); !errors.Is(err, ErrEtherType) || p.VLAN != 42 {
		t.Errorf("ARP: %v, VLAN %d", err, p.VLAN)
	}
}

func TestDecodeAllocates(t *testing.T) {
	d := NewDecoder()
	var p Packet
	for _, s := range samples {
		if n := testing.AllocsPerRun(100, func() { _ = d.Decode(&p, s.frame, len(s.frame), s.link) }); n != 0 {
			t.Errorf("%s: %v allocations", s.name, n)
		}
	}
}

// within reports whether part lies in the memory of whole.
func within(part, whole []byte) bool {
	if len(part) == 0 {
		return true
	}
	a, b := uintptr(unsafe.Pointer(unsafe.SliceData(part))), uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return a >= b && a+uintptr(len(part)) <= b+uintptr(len(whole))
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.frame, 0, uint16(s.link))
		f.Add(s.frame[:len(s.frame)*2/3], len(s.frame), uint16(s.link))
	}
	f.Fuzz(func(t *testing.T, frame []byte, wire int, link uint16) {
		d := NewDecoder()
		var p, q Packet
		err := d.Decode(&p, frame, wire, LinkType(link))
		if p.CapLen > p.WireLen || len(p.Payload) > int(p.PayloadLen) || p.PayloadLen > p.L3Len {
			t.Fatalf("lengths contradict each other: %+v", p)
		}
		if int(p.WireLen) > max(min(wire, maxWireLen), len(frame))+ethernetHeader+1<<16 || p.L3Len > max(1<<16, p.WireLen) {
			t.Fatalf("length out of nowhere: %+v", p)
		}
		if !within(p.Payload, frame) {
			t.Fatal("payload outside the frame")
		}
		if p.FragOffset != 0 && (p.SrcPort != 0 || p.Payload != nil) {
			t.Fatalf("later fragment with a transport header: %+v", p)
		}
		// A used Packet is overwritten, and decoding depends on nothing else.
		q = Packet{MSS: 1, Fragment: true, Tunnel: Tunnel{Tier: 3}, SrcPort: 1, Payload: frame, VLAN: 5, IPID: 1}
		if err2 := d.Decode(&q, frame, wire, LinkType(link)); err2 != err {
			t.Fatalf("first %v, then %v", err, err2)
		}
		if !bytes.Equal(p.Payload, q.Payload) {
			t.Fatal("payload differs")
		}
		p.Payload, q.Payload = nil, nil
		if !reflect.DeepEqual(p, q) {
			t.Fatalf("first %+v\nthen %+v", p, q)
		}
	})
}

package packet

import "encoding/binary"

// Frame builders for tests: each puts one header before what it carries and fills in the lengths.

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func be16(v int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(v)) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func eth(etherType int, body []byte) []byte {
	return cat([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}, be16(etherType), body)
}

func vlan(id, etherType int, body []byte) []byte { return cat(be16(id), be16(etherType), body) }

// ip4 goes from 10.0.0.1 to 10.0.0.2 with TTL 64.
func ip4(proto int, body []byte) []byte { return ip4With(proto, 0, nil, body) }

func ip4With(proto, frag int, options, body []byte) []byte {
	h := make([]byte, 20, 20+len(options)+len(body))
	h[0] = 0x40 | byte(5+len(options)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(body)))
	binary.BigEndian.PutUint16(h[4:], 0x1234)
	binary.BigEndian.PutUint16(h[6:], uint16(frag))
	h[8], h[9] = 64, byte(proto)
	copy(h[12:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	return cat(h, options, body)
}

// ip6 goes from fd00::1 to fd00::2 with hop limit 63.
func ip6(next int, body []byte) []byte {
	h := make([]byte, 40)
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	h[6], h[7] = byte(next), 63
	h[8], h[23], h[24], h[39] = 0xfd, 1, 0xfd, 2
	return cat(h, body)
}

func udp(src, dst int, body []byte) []byte {
	return cat(be16(src), be16(dst), be16(8+len(body)), be16(0), body)
}

func tcp(src, dst int, flags uint16, options, body []byte) []byte {
	h := make([]byte, 20)
	binary.BigEndian.PutUint16(h, uint16(src))
	binary.BigEndian.PutUint16(h[2:], uint16(dst))
	binary.BigEndian.PutUint32(h[4:], 1000)
	binary.BigEndian.PutUint32(h[8:], 2000)
	h[12] = byte(5+len(options)/4)<<4 | byte(flags>>8&1)
	h[13] = byte(flags)
	binary.BigEndian.PutUint16(h[14:], 512)
	return cat(h, options, body)
}

func vx(flags byte, next byte, vni uint32, body []byte) []byte {
	return cat([]byte{flags, 0, 0, next}, be32(vni<<8), body)
}

func gen(etherType int, vni uint32, options, body []byte) []byte {
	return cat([]byte{byte(len(options) / 4), 0}, be16(etherType), be32(vni<<8), options, body)
}

func greHdr(flags, proto int, rest ...[]byte) []byte {
	return cat(be16(flags), be16(proto), cat(rest...))
}

var synOptions = []byte{2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0}

// hello is the innermost packet of most tunnel tests.
var hello = tcp(40000, 80, FlagPSH|FlagACK, nil, []byte("hello"))

// samples are one good frame of each kind, also the seeds of the fuzz target.
var samples = []struct {
	name  string
	link  LinkType
	frame []byte
}{
	{"tcp4", LinkEthernet, eth(0x0800, ip4(6, hello))},
	{"tcp4-syn", LinkEthernet, eth(0x0800, ip4(6, tcp(40000, 80, FlagSYN, synOptions, nil)))},
	{"tcp6", LinkEthernet, eth(0x86dd, ip6(6, hello))},
	{"udp4", LinkEthernet, eth(0x0800, ip4(17, udp(5353, 53, []byte("query"))))},
	{"udp6-extensions", LinkEthernet, eth(0x86dd, ip6(0, cat([]byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{43, 1}, make([]byte, 14),
		[]byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(5353, 53, []byte("query")))))},
	{"qinq", LinkEthernet, eth(0x88a8, vlan(100, 0x8100, vlan(200, 0x0800, ip4(6, hello))))},
	{"icmp4", LinkEthernet, eth(0x0800, ip4(1, cat([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, []byte("ping"))))},
	{"icmp6", LinkEthernet, eth(0x86dd, ip6(58, cat([]byte{128, 0, 0, 0, 0x12, 0x34, 0, 1}, []byte("ping"))))},
	{"vxlan", LinkEthernet, eth(0x0800, ip4(17, udp(50000, 4789, vx(8, 0, 42, eth(0x0800, ip4(6, hello))))))},
	{"geneve", LinkEthernet, eth(0x0800, ip4(17, udp(50000, 6081, gen(0x6558, 77, make([]byte, 8), eth(0x0800, ip4(6, hello))))))},
	{"gre-key", LinkEthernet, eth(0x0800, ip4(47, greHdr(0x2000, 0x0800, be32(99), ip4(6, hello))))},
	{"ipip", LinkEthernet, eth(0x0800, ip4(4, ip4(6, hello)))},
	{"6in4", LinkEthernet, eth(0x0800, ip4(41, ip6(6, hello)))},
	{"4in6", LinkEthernet, eth(0x86dd, ip6(4, ip4(6, hello)))},
	{"nsh", LinkEthernet, eth(0x0800, ip4(17, udp(50000, 4790, vx(0x0c, 4, 5, cat([]byte{0x0f, 0xc2, 2, 3}, be32(1), eth(0x0800, ip4(6, hello)))))))},
	{"sll", LinkLinuxSLL, cat(be16(0), be16(1), be16(6), []byte{2, 0, 0, 0, 0, 1, 0, 0}, be16(0x0800), ip4(6, hello))},
	{"sll2", LinkLinuxSLL2, cat(be16(0x0800), be16(0), be32(3), be16(1), []byte{0, 6}, []byte{2, 0, 0, 0, 0, 1, 0, 0}, ip4(6, hello))},
	{"raw", LinkRaw, ip6(6, hello)},
	{"null", LinkNull, cat([]byte{2, 0, 0, 0}, ip4(6, hello))},
}

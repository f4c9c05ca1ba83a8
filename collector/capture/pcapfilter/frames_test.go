package pcapfilter

import (
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/packet"
)

// framed is what is behind an Ethernet header, and the header.
type framed struct {
	dst, src  [6]byte
	etherType uint16
	payload   []byte
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "").Replace(s))
	if err != nil {
		panic(err)
	}
	return b
}

// ip4 is a packet of IPv4: options in words, the fragment field, a protocol and what it carries.
func ip4(src, dst string, proto byte, fragment uint16, options int, payload []byte) []byte {
	h := make([]byte, 20+4*options)
	h[0], h[8], h[9] = byte(0x45+options), 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], unhex(src))
	copy(h[16:], unhex(dst))
	return append(h, payload...)
}

func ip6(src, dst string, next byte, payload []byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], unhex(src))
	copy(h[24:], unhex(dst))
	return append(h, payload...)
}

// ports is the beginning of a TCP, UDP or SCTP header and more.
func ports(src, dst uint16, more string) []byte {
	b := make([]byte, 4, 40)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	return append(b, unhex(more)...)
}

func arp(sender, target string) []byte {
	return unhex("0001 0800 06 04 0001 020000000001" + sender + "000000000000" + target)
}

// made are frames of all kinds.
func made() []framed {
	const a, b, c = "0a000001", "0a000102", "c0a80117" // 10.0.0.1, 10.0.1.2, 192.168.1.23
	const a6, b6 = "20010db8000000000000000000000001", "20010db8000100000000000000000002"
	const rest = "00000001 00000002 5012 ffff 0000 0000"
	one, two := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	all, group := [6]byte{255, 255, 255, 255, 255, 255}, [6]byte{1, 0, 0x5e, 0, 0, 5}
	out := []framed{
		{two, one, 0x0800, ip4(a, b, 6, 0, 0, ports(40000, 80, rest))},
		{one, two, 0x0800, ip4(b, a, 6, 0x4000, 0, ports(80, 40000, rest))},
		{two, one, 0x0800, ip4(a, c, 6, 0, 3, ports(443, 50000, rest))},
		{two, one, 0x0800, ip4(a, b, 17, 0, 0, ports(53, 5353, "0010 0000 01020304"))},
		{two, one, 0x0800, ip4(a, b, 17, 0x2000, 0, ports(53, 80, "0010 0000 01020304"))}, // first fragment
		{two, one, 0x0800, ip4(a, b, 17, 0x00b9, 0, ports(53, 80, "0010 0000 01020304"))}, // a later one
		{two, one, 0x0800, ip4(c, b, 132, 0, 0, ports(80, 81, "00000001 00000002"))},
		{two, one, 0x0800, ip4(c, b, 1, 0, 0, unhex("08 00 0000 0001 0001"))},
		{two, one, 0x0800, ip4(c, b, 1, 0, 0, unhex("03 01 0000 0000 0000"))},
		{group, one, 0x0800, ip4(c, "e0000005", 89, 0, 0, unhex("0201 002c 0a000001"))},
		{group, one, 0x0800, ip4(c, "e0000002", 2, 0, 1, unhex("16 00 0000 e0000005"))},
		{two, one, 0x0800, ip4(a, b, 50, 0, 0, unhex("00000001 00000002"))},
		{two, one, 0x0800, ip4(a, b, 51, 0, 0, unhex("06040000 00000001 00000002"))},
		{two, one, 0x0800, ip4(a, b, 47, 0, 0, unhex("0000 0800 45000014"))},
		{two, one, 0x0800, ip4(a, "e0000012", 112, 0, 0, unhex("21010001 00000000"))},
		{two, one, 0x0800, ip4(a, b, 6, 0, 0, ports(80, 80, ""))},
		{two, one, 0x0800, ip4(a, b, 6, 0, 0, nil)},
		{two, one, 0x0800, ip4(a, b, 6, 0, 0, ports(80, 22, rest))[:13]},
		{two, one, 0x86dd, ip6(a6, b6, 6, ports(40000, 80, rest))},
		{two, one, 0x86dd, ip6(b6, a6, 17, ports(53, 443, "0010 0000 01020304"))},
		{two, one, 0x86dd, ip6(b6, a6, 44, append(unhex("06 00 0001 00000001"), ports(80, 443, rest)...))},
		{two, one, 0x86dd, ip6(b6, a6, 44, append(unhex("11 00 0001 00000001"), ports(53, 443, rest)...))},
		{two, one, 0x86dd, ip6(b6, a6, 58, unhex("80 00 0000 0001 0001"))},
		{two, one, 0x86dd, ip6(b6, "ff020000000000000000000000000001", 58, unhex("86 00 0000 40 00 0000"))},
		{two, one, 0x86dd, ip6(a6, b6, 132, ports(80, 443, rest))[:30]},
		{all, one, 0x0806, arp(a, b)},
		{one, two, 0x0806, arp(b, a)},
		{all, one, 0x8035, arp(a, c)},
		{two, one, 0x0026, unhex("4242 03 0000000000 8000 0200000000010000 0000 8000 020000000001 8001 0000 1400 0200 0f00")},
		{two, one, 0x88cc, unhex("0207 04 020000000001")},
		{two, one, 0x8847, unhex("00001140 45000014")},
		{two, one, 0x0800, nil},
	}
	for _, f := range out[:25:25] {
		tag := func(tpid, id uint16, f framed) framed {
			p := make([]byte, 4, 4+len(f.payload))
			binary.BigEndian.PutUint16(p, id|0x2000)
			binary.BigEndian.PutUint16(p[2:], f.etherType)
			f.etherType, f.payload = tpid, append(p, f.payload...)
			return f
		}
		out = append(out, tag(0x8100, 5, f), tag(0x88a8, 100, tag(0x8100, 5, f)), tag(0x9100, 7, f))
	}
	return out
}

// as makes a frame for a kind of link; false where it cannot carry it.
func (f *framed) as(link packet.LinkType) ([]byte, bool) {
	var b []byte
	ip := f.etherType == 0x0800 || f.etherType == 0x86dd
	switch link {
	case packet.LinkEthernet:
		b = append(append(b, f.dst[:]...), f.src[:]...)
		b = binary.BigEndian.AppendUint16(b, f.etherType)
	case packet.LinkLinuxSLL:
		b = unhex("0004 0001 0006")
		b = append(append(b, f.src[:]...), 0, 0)
		if f.src[5] == 2 {
			b[1] = 0
		}
		b = binary.BigEndian.AppendUint16(b, f.cooked())
	case packet.LinkLinuxSLL2:
		b = binary.BigEndian.AppendUint16(b, f.cooked())
		b = append(b, unhex("0000 00000003 0001 04 06")...)
		b = append(append(b, f.src[:]...), 0, 0)
		if f.src[5] == 2 {
			b[10], b[7] = 0, 9
		}
	case packet.LinkNull, packet.LinkLoop:
		if !ip {
			return nil, false
		}
		family := byte(2)
		if f.etherType == 0x86dd {
			family = 30
		}
		b = []byte{0, 0, 0, family}
		if link == packet.LinkNull {
			b = []byte{family, 0, 0, 0}
		}
	default:
		if !ip || link == packet.LinkIPv4 && f.etherType != 0x0800 || link == packet.LinkIPv6 && f.etherType != 0x86dd {
			return nil, false
		}
	}
	return append(b, f.payload...), true
}

// cooked is the protocol in a cooked header.
func (f *framed) cooked() uint16 {
	if f.etherType <= 1500 {
		return 4
	}
	return f.etherType
}

// corpus are the frames of the captures beside the repository, a few of each; none where it is not there.
func corpus(tb testing.TB) []framed {
	tb.Helper()
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "corpus")
	}
	var out []framed
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pcap") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := 16
		if binary.LittleEndian.Uint32(b) == 0xa1b2cd34 {
			header = 24
		}
		for at, n := 24, 0; at+header <= len(b) && n < 20; n++ {
			size := int(binary.LittleEndian.Uint32(b[at+8:]))
			at += header
			d := b[at : at+size]
			at += size
			f := framed{etherType: binary.BigEndian.Uint16(d[12:]), payload: d[14:]}
			copy(f.dst[:], d)
			copy(f.src[:], d[6:])
			out = append(out, f)
		}
		return nil
	})
	if err != nil {
		tb.Logf("without the capture corpus (set FLOWLAKE_CORPUS): %v", err)
	}
	return out
}

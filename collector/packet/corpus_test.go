package packet

import (
	"encoding/binary"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// corpusDir finds the captures that lie beside the repository, or skips.
func corpusDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no capture corpus (set FLOWLAKE_CORPUS): %v", err)
	}
	return dir
}

type captured struct {
	frame []byte
	wire  int
}

// readPcap returns the frames of a little-endian Ethernet pcap file, also of the variant with longer record headers
// (magic a1b2cd34) that gopacket does not read.
func readPcap(tb testing.TB, path string) []captured {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(b[at:])) }
	hdr := 16
	switch uint32(u32(0)) {
	case 0xa1b2cd34:
		hdr = 24
	case 0xa1b2c3d4, 0xa1b23c4d:
	default:
		tb.Fatalf("%s: magic %#x", path, u32(0))
	}
	if u32(20) != int(LinkEthernet) {
		tb.Fatalf("%s: link type %d", path, u32(20))
	}
	var out []captured
	for at := 24; at < len(b); {
		n, wire := u32(at+8), u32(at+12)
		at += hdr
		out = append(out, captured{b[at : at+n], wire})
		at += n
	}
	return out
}

func toAddr(ip net.IP) Addr { return Addr(ip.To16()) }

// TestCorpusAgainstGopacket compares every field with gopacket's layers on every frame of the corpus.
func TestCorpusAgainstGopacket(t *testing.T) {
	dir := corpusDir(t)
	layers.RegisterUDPPortLayerType(58678, layers.LayerTypeVXLAN)
	files, frames := 0, 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pcap") {
			return err
		}
		files++
		d := NewDecoder(func(o *Options) { o.Tunnels = AllTunnels &^ Tunnels(TunnelVXLANNSH) })
		for i, c := range readPcap(t, path) {
			frames++
			var p Packet
			err := d.Decode(&p, c.frame, c.wire, LinkEthernet)
			compare(t, path, i, c, &p, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 80 || frames < 500 {
		t.Errorf("only %d files, %d frames", files, frames)
	}
	t.Logf("%d files, %d frames", files, frames)
}

func compare(t *testing.T, path string, n int, c captured, p *Packet, err error) {
	t.Helper()
	// An application decoder of gopacket must not get in between: tunnels are layers, payloads are not compared by it.
	pkt := gopacket.NewPacket(c.frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	bad := func(what string, got, want any) {
		t.Errorf("%s frame %d: %s is %v, gopacket says %v", filepath.Base(path), n+1, what, got, want)
	}
	var ip gopacket.NetworkLayer
	tunnels, pending := 0, 0 // a tunnel counts once IP follows in it
	var below gopacket.Layer
	for _, l := range pkt.Layers() {
		switch v := l.(type) {
		case *layers.IPv4:
			ip, below = v, nil
			tunnels, pending = tunnels+pending, 0
		case *layers.IPv6:
			ip, below = v, nil
			tunnels, pending = tunnels+pending, 0
		case *layers.TCP, *layers.UDP, *layers.ICMPv4:
			below = l
		case *layers.VXLAN, *layers.GRE, *layers.Geneve:
			pending++
		}
	}
	if ip == nil {
		if err == nil {
			bad("decoding", "good", "no IP")
		}
		return
	}
	if err != nil {
		bad("error", err, pkt)
		return
	}
	if p.Tunnel.Type != TunnelIPIP && int(p.Tunnel.Tier) != tunnels {
		bad("tiers", p.Tunnel.Tier, tunnels)
	}
	switch v := ip.(type) {
	case *layers.IPv4:
		frag := v.FragOffset != 0 || v.Flags&layers.IPv4MoreFragments != 0
		if p.Src != toAddr(v.SrcIP) || p.Dst != toAddr(v.DstIP) || p.TTL != v.TTL || p.IPID != uint32(v.Id) || p.IPv6 ||
			p.Proto != uint8(v.Protocol) || p.Fragment != frag || p.FragOffset != v.FragOffset*8 ||
			v.Length != 0 && p.L3Len != uint32(v.Length)-uint32(v.IHL)*4 {
			bad("IPv4", *p, v)
		}
		if frag {
			return
		}
	case *layers.IPv6:
		if p.Src != toAddr(v.SrcIP) || p.Dst != toAddr(v.DstIP) || p.TTL != v.HopLimit || !p.IPv6 {
			bad("IPv6", *p, v)
		}
	}
	compareTransport(bad, p, below)
}

func compareTransport(bad func(string, any, any), p *Packet, below gopacket.Layer) {
	switch v := below.(type) {
	case *layers.TCP:
		flags := map[uint16]bool{FlagFIN: v.FIN, FlagSYN: v.SYN, FlagRST: v.RST, FlagPSH: v.PSH, FlagACK: v.ACK, FlagURG: v.URG, FlagECE: v.ECE, FlagCWR: v.CWR, FlagNS: v.NS}
		for bit, on := range flags {
			if (p.TCPFlags&bit != 0) != on {
				bad("TCP flags", p.TCPFlags, v)
			}
		}
		if p.SrcPort != uint16(v.SrcPort) || p.DstPort != uint16(v.DstPort) || p.Seq != v.Seq || p.Ack != v.Ack ||
			p.Window != v.Window || string(p.Payload) != string(v.LayerPayload()) {
			bad("TCP", *p, v)
		}
		for _, o := range v.Options {
			if v.SYN && o.OptionType == layers.TCPOptionKindMSS && p.MSS != uint16(o.OptionData[0])<<8|uint16(o.OptionData[1]) {
				bad("MSS", p.MSS, o)
			}
			if v.SYN && o.OptionType == layers.TCPOptionKindWindowScale && p.WScale != int8(o.OptionData[0]) {
				bad("window scale", p.WScale, o)
			}
		}
	case *layers.UDP:
		if p.SrcPort != uint16(v.SrcPort) || p.DstPort != uint16(v.DstPort) || string(p.Payload) != string(v.LayerPayload()) ||
			p.PayloadLen != uint32(v.Length)-8 {
			bad("UDP", *p, v)
		}
	case *layers.ICMPv4:
		if p.SrcPort != uint16(v.TypeCode) || p.DstPort != v.Id || p.Seq != uint32(v.Seq) || string(p.Payload) != string(v.LayerPayload()) {
			bad("ICMP", *p, v)
		}
	}
}

// TestCorpusTunnels states what the tunnel captures hold.
func TestCorpusTunnels(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "tunnel")
	tests := []struct {
		file  string
		kind  TunnelType
		id    uint32
		outer string
		src   string
		proto uint8
		wire  uint32 // of the first frame
	}{
		{"ff-vxlan.pcap", TunnelVXLAN, 1, "10.50.15.7", "10.244.0.34", ProtoTCP, 141},
		{"geneve.pcap", TunnelGeneve, 3, "158.243.143.4", "10.156.0.19", ProtoICMP, 98},
		{"ipip.pcap", TunnelIPIP, 0, "10.162.42.93", "27.36.55.113", ProtoTCP, 78},
		{"vmware-gre-teb.pcap", TunnelGRE, 0x2000000, "10.25.6.6", "172.16.6.1", ProtoICMP, 98},
		{"vxlan-nsh.pcap", TunnelVXLANNSH, 0, "29.29.14.47", "172.16.3.10", ProtoICMP, 98},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			frames := readPcap(t, filepath.Join(dir, tt.file))
			d := NewDecoder()
			for i, c := range frames {
				var p Packet
				if err := d.Decode(&p, c.frame, c.wire, LinkEthernet); err != nil {
					t.Fatalf("frame %d: %v", i+1, err)
				}
				if tt.file == "vmware-gre-teb.pcap" && i == 6 { // LLDP inside
					if p.Tunnel.Tier != 0 || p.Proto != protoGRE {
						t.Errorf("frame 7: %+v", p)
					}
					continue
				}
				if p.Tunnel.Type != tt.kind || p.Tunnel.Tier != 1 {
					t.Errorf("frame %d: tunnel %+v", i+1, p.Tunnel)
				}
				if i == 0 && (p.Tunnel.ID != tt.id || p.Tunnel.Src != addr(tt.outer) || p.Src != addr(tt.src) || p.Proto != tt.proto || p.WireLen != tt.wire) {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

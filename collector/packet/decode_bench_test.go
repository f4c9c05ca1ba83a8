package packet

import (
	"path/filepath"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// BenchmarkDecode decodes one frame of each kind; BenchmarkGopacket is the same work by gopacket's allocation-free parser.
func BenchmarkDecode(b *testing.B) {
	for _, s := range samples {
		b.Run("kind="+s.name, func(b *testing.B) {
			d := NewDecoder()
			var p Packet
			b.SetBytes(int64(len(s.frame)))
			b.ReportAllocs()
			for b.Loop() {
				if d.Decode(&p, s.frame, len(s.frame), s.link) != nil {
					b.Fatal("not decoded")
				}
			}
		})
	}
}

func BenchmarkGopacket(b *testing.B) {
	for _, s := range samples {
		if s.link != LinkEthernet || s.name == "nsh" || s.name == "geneve" {
			continue
		}
		b.Run("kind="+s.name, func(b *testing.B) {
			parse := newParser()
			b.SetBytes(int64(len(s.frame)))
			b.ReportAllocs()
			for b.Loop() {
				parse(s.frame)
			}
		})
	}
}

// BenchmarkCorpus is a mixed load: all frames of a large capture in turn.
func BenchmarkCorpus(b *testing.B) {
	frames := readPcap(b, filepath.Join(corpusDir(b), "l4", "tcp-segment.pcap"))
	b.Run("decoder=flowlake", func(b *testing.B) {
		d := NewDecoder()
		var p Packet
		for i := 0; b.Loop(); i++ {
			c := &frames[i%len(frames)]
			_ = d.Decode(&p, c.frame, c.wire, LinkEthernet)
		}
	})
	b.Run("decoder=gopacket", func(b *testing.B) {
		parse := newParser()
		for i := 0; b.Loop(); i++ {
			parse(frames[i%len(frames)].frame)
		}
	})
}

func newParser() func([]byte) {
	var (
		e    layers.Ethernet
		q    layers.Dot1Q
		i4   layers.IPv4
		i6   layers.IPv6
		ext  layers.IPv6ExtensionSkipper
		t    layers.TCP
		u    layers.UDP
		c4   layers.ICMPv4
		c6   layers.ICMPv6
		vx   layers.VXLAN
		gr   layers.GRE
		load gopacket.Payload
	)
	p := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &e, &q, &i4, &i6, &ext, &t, &u, &c4, &c6, &vx, &gr, &load)
	p.IgnoreUnsupported = true
	found := make([]gopacket.LayerType, 0, 16)
	return func(frame []byte) { _ = p.DecodeLayers(frame, &found) }
}

package capture

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/packet"
)

// TestStaticProgram compares rules and expression for frames of each kind with their meaning.
func TestStaticProgram(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	port, err := pcapfilter.Parse("port 1 or port 2")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range []packet.LinkType{packet.LinkEthernet, packet.LinkNull, packet.LinkLoop, packet.LinkRaw} {
		passed := 0
		for range 200 {
			o := LiveOptions{SnapBytes: 100}
			for range r.IntN(3) {
				o.Exclude = append(o.Exclude, randomRule(r))
			}
			if r.IntN(2) == 0 {
				o.Only = append(o.Only, randomRule(r))
			}
			if r.IntN(2) == 0 {
				o.Filter = port
			}
			raw, err := staticProgram(&o, link)
			if err != nil {
				t.Fatal(err)
			}
			ins, _ := bpf.Disassemble(raw)
			vm, err := bpf.NewVM(ins)
			if err != nil {
				t.Fatal(err)
			}
			d := packet.NewDecoder(func(o *packet.Options) { o.MaxTiers = -1 })
			for range 30 {
				f := untagged(testFrame(r), link)
				var p packet.Packet
				if err := d.Decode(&p, f, len(f), link); err != nil {
					t.Fatalf("%v: %x", err, f)
				}
				want := len(o.Only) == 0 || matches(o.Only[0], &p)
				for _, x := range o.Exclude {
					want = want && !matches(x, &p)
				}
				if o.Filter != nil {
					hasPort := p.Proto == packet.ProtoTCP || p.Proto == packet.ProtoUDP || p.Proto == 132
					src, dst := uint16(0), uint16(0)
					if hasPort && p.FragOffset == 0 {
						src, dst = ports(f, link)
					}
					want = want && (src == 1 || src == 2 || dst == 1 || dst == 2)
				}
				got, err := vm.Run(f)
				if err != nil || (got > 0) != want {
					t.Fatalf("link %d, %+v: %d, want %v, %v\n%x", link, o, got, want, err, f)
				}
				if want {
					passed++
				}
			}
		}
		if passed == 0 {
			t.Errorf("nothing passed on link %d", link)
		}
	}
	o := LiveOptions{SnapBytes: 100, Exclude: []Rule{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}
	if _, err := staticProgram(&o, packet.LinkLinuxSLL); err == nil {
		t.Error("rules for cooked frames are accepted")
	}
}

// untagged makes a frame of another kind of link of an Ethernet frame; VLAN tags go.
func untagged(f []byte, link packet.LinkType) []byte {
	at := 12
	for binary.BigEndian.Uint16(f[at:]) == 0x8100 || binary.BigEndian.Uint16(f[at:]) == 0x88a8 {
		at += 4
	}
	ip := f[at+2:]
	switch link {
	case packet.LinkNull:
		return append([]byte{2, 0, 0, 0}, ip...)
	case packet.LinkLoop:
		return append([]byte{0, 0, 0, 2}, ip...)
	case packet.LinkRaw:
		return ip
	}
	return append(append([]byte(nil), f[:12]...), f[at:]...)
}

// ports reads the ports of a frame that untagged made.
func ports(f []byte, link packet.LinkType) (src, dst uint16) {
	ip := f[map[packet.LinkType]int{packet.LinkEthernet: 14, packet.LinkNull: 4, packet.LinkLoop: 4}[link]:]
	at := 40
	if ip[0]>>4 == 4 {
		at = 4 * int(ip[0]&15)
	}
	return binary.BigEndian.Uint16(ip[at:]), binary.BigEndian.Uint16(ip[at+2:])
}

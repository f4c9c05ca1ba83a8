package capture

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/flowlake/flowlake/collector/packet"
)

// ethernetFilter is the part of the program behind the kernel's extensions, which the VM in Go does not know.
func ethernetFilter(t *testing.T, o *LiveOptions) *bpf.VM {
	t.Helper()
	var a assembler
	a.ethernet()
	a.rules(o)
	raw, err := a.assemble(100)
	if err != nil {
		t.Fatal(err)
	}
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("program does not disassemble")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// matches is what Rule promises, said in Go.
func matches(r Rule, p *packet.Packet) bool {
	side := func(a packet.Addr, port uint16) bool {
		if r.Prefix.IsValid() && !unmapped(r.Prefix).Contains(netip.AddrFrom16(a).Unmap()) {
			return false
		}
		hasPort := (p.Proto == packet.ProtoTCP || p.Proto == packet.ProtoUDP) && p.FragOffset == 0
		return r.Port == 0 || hasPort && port == r.Port
	}
	return (r.Proto == 0 || r.Proto == p.Proto) && (side(p.Src, p.SrcPort) || side(p.Dst, p.DstPort))
}

// testFrame is a random frame of a small world, so that rules often match.
func testFrame(r *rand.Rand) []byte {
	proto := []byte{1, 6, 17, 132}[r.IntN(4)]
	transport := make([]byte, 20)
	binary.BigEndian.PutUint16(transport, uint16(r.IntN(3)))
	binary.BigEndian.PutUint16(transport[2:], uint16(r.IntN(3)))
	transport[12] = 5 << 4
	if proto == 17 {
		binary.BigEndian.PutUint16(transport[4:], 20)
	}
	var ip []byte
	etherType := uint16(0x0800)
	if r.IntN(2) == 0 {
		options := 4 * r.IntN(3)
		ip = make([]byte, 20+options)
		ip[0], ip[8], ip[9] = 0x45+byte(options/4), 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+20))
		if r.IntN(4) == 0 {
			ip[6+r.IntN(2)] |= 1
		}
		copy(ip[12:], []byte{10, 0, 0, byte(r.IntN(4)), 10, 0, 0, byte(r.IntN(4))})
	} else {
		etherType = 0x86dd
		ip = make([]byte, 40)
		ip[0], ip[5], ip[6] = 0x60, 20, proto
		ip[8], ip[23], ip[24], ip[39] = 0xfd, byte(r.IntN(4)), 0xfd, byte(r.IntN(4))
	}
	f := make([]byte, 12)
	for range r.IntN(3) {
		f = binary.BigEndian.AppendUint16(f, []uint16{0x8100, 0x88a8}[r.IntN(2)])
		f = binary.BigEndian.AppendUint16(f, 7)
	}
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(append(f, ip...), transport...)
}

func randomRule(r *rand.Rand) Rule {
	prefixes := []string{"", "10.0.0.1/32", "10.0.0.2/31", "10.0.0.0/8", "0.0.0.0/0", "fd00::1/128", "fd00::2/127", "fd00::/8",
		"::/0", "::ffff:10.0.0.3/128", "::ffff:10.0.0.0/127"}
	for {
		var x Rule
		if s := prefixes[r.IntN(len(prefixes))]; s != "" {
			x.Prefix = netip.MustParsePrefix(s)
		}
		x.Port = uint16(r.IntN(3))
		x.Proto = []uint8{0, 0, 6, 17, 132}[r.IntN(5)]
		if x != (Rule{}) {
			return x
		}
	}
}

// TestFilterProperty compares the program with the meaning of the rules on random rules and frames.
func TestFilterProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for range 300 {
		var o LiveOptions
		for range r.IntN(4) {
			o.Exclude = append(o.Exclude, randomRule(r))
		}
		for range r.IntN(3) {
			o.Only = append(o.Only, randomRule(r))
		}
		vm := ethernetFilter(t, &o)
		d := packet.NewDecoder(func(o *packet.Options) { o.MaxTiers = -1 })
		for range 50 {
			f := testFrame(r)
			var p packet.Packet
			if err := d.Decode(&p, f, len(f), packet.LinkEthernet); err != nil {
				t.Fatalf("%v: %x", err, f)
			}
			want := len(o.Only) == 0
			for _, x := range o.Only {
				want = want || matches(x, &p)
			}
			for _, x := range o.Exclude {
				want = want && !matches(x, &p)
			}
			n, err := vm.Run(f)
			if err != nil {
				t.Fatal(err)
			}
			if (n == 100) != want || n != 0 && n != 100 {
				t.Fatalf("verdict %d, want pass %v\nexclude %v\nonly %v\npacket %+v\nframe %x", n, want, o.Exclude, o.Only, p, f)
			}
			if want {
				passed++
			}
		}
	}
	if passed < 2000 || passed > 13000 {
		t.Errorf("%d of 15000 passed: the test does not test", passed)
	}
}

func TestFilterOther(t *testing.T) {
	arp := append([]byte{12: 8, 13: 6}, make([]byte, 28)...)
	rule := Rule{Port: 80}
	for _, tt := range []struct {
		o    LiveOptions
		want int
	}{{LiveOptions{Exclude: []Rule{rule}}, 100}, {LiveOptions{Only: []Rule{rule}}, 0}} {
		if n, err := ethernetFilter(t, &tt.o).Run(arp); err != nil || n != tt.want {
			t.Errorf("ARP: verdict %d, %v; want %d", n, err, tt.want)
		}
	}
}

func TestFilterLimits(t *testing.T) {
	v6 := Rule{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Port: 443, Proto: 6}
	o := LiveOptions{SnapBytes: 128}
	for range 50 {
		o.Exclude = append(o.Exclude, v6)
	}
	if raw, err := program(&o, nil); err != nil || len(raw) > maxFilter {
		t.Errorf("50 rules: %d instructions, %v", len(raw), err)
	}
	for range 500 {
		o.Exclude = append(o.Exclude, v6)
	}
	if _, err := program(&o, nil); !errors.Is(err, errFilterTooLong) {
		t.Errorf("550 rules: %v", err)
	}
	if raw, err := program(&LiveOptions{SnapBytes: 128}, nil); err != nil || len(raw) > 10 {
		t.Errorf("no rules: %d instructions, %v", len(raw), err)
	}
}

func TestLiveOptions(t *testing.T) {
	bad := map[string]func(*LiveOptions){
		"snap":        func(o *LiveOptions) { o.SnapBytes = 63 },
		"block":       func(o *LiveOptions) { o.BlockBytes = 5000 },
		"blocks":      func(o *LiveOptions) { o.Blocks = 1 },
		"timeout":     func(o *LiveOptions) { o.BlockTimeout = 1 },
		"promiscuous": func(o *LiveOptions) { o.Promiscuous = true },
		"empty rule":  func(o *LiveOptions) { o.Exclude = []Rule{{}} },
		"empty only":  func(o *LiveOptions) { o.Only = []Rule{{}} },
	}
	for name, f := range bad {
		var o LiveOptions
		f(&o)
		if err := o.setDefaults(); !errors.Is(err, errOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := LiveOptions{Interface: AnyInterface}
	if err := o.setDefaults(); err != nil || o.SnapBytes != 4096 || o.Interface != "" || o.Blocks*o.BlockBytes != 32<<20 {
		t.Errorf("defaults %+v, %v", o, err)
	}
}

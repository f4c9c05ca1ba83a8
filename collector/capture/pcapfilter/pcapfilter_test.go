package pcapfilter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/packet"
)

// matches compiles for a link and says which of the made frames match.
func matches(t *testing.T, text string, link packet.LinkType) []int {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	p, err := e.Compile(link)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	out := []int{}
	for i, f := range made() {
		if b, ok := f.as(link); ok && p.Match(b, len(b)) {
			out = append(out, i)
		}
	}
	return out
}

// TestMatch holds without libpcap what the differential test compares, and what differs on purpose.
func TestMatch(t *testing.T) {
	const tagged = 32 // made()[tagged:] are the first frames again with one tag, two tags, and one of an old type
	for _, c := range []struct {
		text string
		link packet.LinkType
		want []int
	}{
		{"tcp port 80", packet.LinkEthernet, []int{0, 1, 15, 18}},
		{"port 53 and not ip6", packet.LinkRaw, []int{3, 4}},
		{"host 10.0.0.1 and arp", packet.LinkLinuxSLL2, []int{25, 26}},
		{"icmp or icmp6", packet.LinkNull, []int{7, 8, 22, 23}},
		{"icmp or icmp6", packet.LinkLoop, []int{7, 8, 22, 23}},
		{"tcp port 80", packet.LinkNull, []int{0, 1, 15, 18}},
		{"192.168.1.23 and tcp", packet.LinkEthernet, []int{2}}, // an address alone
		{"ip proto tcp and ip[6:2] & 0x4000 != 0", packet.LinkEthernet, []int{1}},
		{"vlan 5 and tcp port 80", packet.LinkLinuxSLL, []int{tagged, tagged + 3, tagged + 45, tagged + 54}},
		{"vlan 5 and tcp port 80", packet.LinkLinuxSLL2, []int{tagged, tagged + 3, tagged + 45, tagged + 54}},
		{"vlan 100 and vlan 5 and ip6 and tcp port 80", packet.LinkLinuxSLL2, []int{tagged + 55}},
		{"ip[8] - (tcp[12] >> 4) = 59", packet.LinkEthernet, []int{0, 1, 2}}, // tcp[12] wants TCP
		{"ip[8] % 7 * 2 = 2", packet.LinkIPv4, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}},
	} {
		if got := matches(t, c.text, c.link); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%q on link %d: %v, want %v", c.text, c.link, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, message, caret string }{
		{"tcp prot 80", `"and", "or" or a keyword such as "host" or "port" expected`, "    ^"},
		{"prot 80", `unknown word "prot", did you mean "proto"?`, "^"},
		{"tcp and 80", `"80" needs a keyword such as "host" or "port" before it`, "        ^"},
		{"host 10.0.0.0/8", `needs the keyword "net"`, "     ^"},
		{"net 10.0.0.1/8", `bits outside of the mask of 8 bits`, "    ^"},
		{"port 70000", "greater than 65535", "     ^"},
		{"tcp and (port 80", `")" expected, not the end`, "                ^"},
		{"ip[0:3] = 1", "1, 2 or 4 bytes", "     ^"},
		{"host example.test", "not looked up here", "     ^"},
		{"gateway a", `"gateway" is not supported`, "^"},
		{"ip broadcast", "netmask", "   ^"},
		{"ip protochain 6", "loop", "   ^"},
		{"tcp # 1", "unexpected character", "    ^"},
		{"ip6 host 10.0.0.1", `"ip6" does not go with the address`, "         ^"},
		{"ether host 10.0.0.1", "needs a MAC address", "           ^"},
	} {
		_, err := Parse(c.text)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], c.message) || lines[1] != "  "+c.text || lines[2] != "  "+c.caret {
			t.Errorf("%q:\n%v", c.text, err)
		}
	}
	for text, links := range map[string][]packet.LinkType{
		"ether host 2:0:0:0:0:1": {packet.LinkRaw, packet.LinkLinuxSLL, packet.LinkNull}, "multicast": {packet.LinkLinuxSLL2},
		"inbound": {packet.LinkEthernet, packet.LinkRaw}, "ifindex 1": {packet.LinkEthernet, packet.LinkLinuxSLL}, "vlan": {packet.LinkRaw},
	} {
		e, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if _, err := e.Compile(l); !errors.Is(err, ErrSyntax) {
				t.Errorf("%q on link %d: %v", text, l, err)
			}
		}
		if _, err := e.CompileKernel(); err != nil {
			t.Errorf("%q in the kernel: %v", text, err)
		}
	}
	if e, err := Parse("ip"); err != nil {
		t.Error(err)
	} else if _, err := e.Compile(packet.LinkType(7)); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func TestHostNames(t *testing.T) {
	look := func(o *Options) {
		o.LookupHost = func(name string) ([]netip.Addr, error) {
			if name != "db.test" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("10.0.1.2"), netip.MustParseAddr("2001:db8:1::2")}, nil
		}
	}
	for text, frames := range map[string]int{"host db.test and tcp port 80": 5, "ip host db.test and tcp port 80": 3, "ip6 src host db.test": 5} {
		e, err := Parse(text, look)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Compile(packet.LinkEthernet)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range append(made(), made()[18]) {
			if b, _ := f.as(packet.LinkEthernet); p.Match(b, len(b)) {
				n++
			}
		}
		if n != frames {
			t.Errorf("%q: %d frames, want %d", text, n, frames)
		}
	}
	if _, err := Parse("host other.test", look); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Error(err)
	}
	if _, err := Parse("host 10.0.0.1 and port 80", func(o *Options) {
		o.LookupHost = func(string) ([]netip.Addr, error) { t.Error("an address was looked up"); return nil, nil }
	}); err != nil {
		t.Error(err)
	}
}

// TestLongJumps compiles more terms than a conditional jump reaches over, and more than a kernel takes.
func TestLongJumps(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "host 10.1.%d.%d or ", i/256, i%256)
		}
		return b.String() + "udp port 5353"
	}
	for _, n := range []int{10, 100, 200} {
		if got := matches(t, many(n), packet.LinkEthernet); fmt.Sprint(got) != "[3]" {
			t.Errorf("%d hosts: %v", n, got)
		}
	}
	e, err := Parse(many(3000))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Compile(packet.LinkEthernet); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
}

func TestNesting(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("(", n) + "tcp" + strings.Repeat(")", n) }
	if _, err := Parse(deep(maxNesting - 1)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{deep(maxNesting + 1), strings.Repeat("!", 60000) + "tcp", strings.Repeat("(", 60000), strings.Repeat("-", 60000) + "1=1",
		strings.Repeat("ip[", 20000), "host " + strings.Repeat("!", 60000), strings.Repeat("(", 199) + "1" + strings.Repeat(" or", 20000), strings.Repeat("x", maxText+1)} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	e, err := Parse("tcp port 80 and tcp[13] & 2 != 0 or ip[ip[0] & 15] = 3")
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Compile(packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	f := made()[0]
	b, _ := f.as(packet.LinkEthernet)
	if n := testing.AllocsPerRun(100, func() { p.Match(b, len(b)) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, list := range [][]string{expressions, onEthernet, onTagged, onCooked, refused} {
		for _, s := range list {
			f.Add(s)
		}
	}
	frames := made()
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			var ours *Error
			if !errors.As(err, &ours) || ours.Offset < 0 || ours.Offset > len(text) {
				t.Fatalf("error %v", err)
			}
			_ = err.Error()
			return
		}
		if _, err := e.CompileKernel(); err != nil && !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrTooLong) {
			t.Fatal(err)
		}
		p, err := e.Compile(packet.LinkEthernet)
		if err != nil {
			return
		}
		vm := newVM(t, p.Raw(1))
		for i := range frames {
			b, _ := frames[i].as(packet.LinkEthernet)
			if n, err := vm.Run(b); err != nil || (n > 0) != p.Match(b, len(b)) {
				t.Fatalf("frame %d: x/net's machine says %d, %v\n%s", i, n, err, p)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, text := range []string{"tcp port 80", "host 10.0.9.9 or net 192.168.0.0/16 or port 53"} {
		b.Run(text, func(b *testing.B) {
			e, err := Parse(text)
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Compile(packet.LinkEthernet)
			if err != nil {
				b.Fatal(err)
			}
			f := made()[2]
			data, _ := f.as(packet.LinkEthernet)
			for b.Loop() {
				p.Match(data, len(data))
			}
		})
	}
}

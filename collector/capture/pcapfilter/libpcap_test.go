package pcapfilter

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"github.com/flowlake/flowlake/collector/packet"
)

// expressions that libpcap knows too.
var expressions = []string{
	"", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim", "vrrp", "carp", "ah", "esp",
	"not ip", "! tcp", "not not ip", "tcp or udp", "tcp and not udp", "ip and tcp or udp and ip6", "(tcp or udp) and ip6",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src or dst host 10.0.0.1", "src and dst host 10.0.0.1",
	"ip host 10.0.0.1", "arp host 10.0.0.1", "rarp src host 10.0.0.1", "host 10", "host 10.1", "src 10.0.0.1", "dst 192.168.1.23",
	"host 10.0.0.1 or 192.168.1.23", "src (10.0.0.1 or 10.0.1.2)", "host (10.0.0.1 and 10.0.1.2)", "not host 10.0.0.1 and 192.168.1.23",
	"host 2001:db8::1", "src host 2001:db8::1", "ip6 dst host 2001:db8:1::2", "host ::1", "host ::ffff:10.0.0.1",
	"net 10", "net 10.0", "net 10.0.1", "net 10.0.0.0/16", "src net 192.168.0.0/16", "dst net 10.0.0.0/15", "net 0.0.0.0/0", "net 0",
	"net 10.0.0.0 mask 255.255.0.0", "net 10.0.1.0 mask 255.0.255.0", "ip net 10", "arp net 10", "net 2001:db8::/32", "src net 2001:db8:1::/48",
	"ip6 net 2001:db8::/33", "net ff00::/8", "net 2001:db8::1", "net ::/0",
	"port 80", "src port 80", "dst port 80", "src and dst port 80", "src or dst port 80", "tcp port 80", "udp port 53", "sctp port 80",
	"tcp src port 443", "udp dst port 5353", "port 80 or 443", "port (80 or 53)", "not port 80 and 443", "port domain", "tcp port http",
	"portrange 80-90", "tcp portrange 90-80", "src portrange 22-53", "udp portrange 1-65535", "portrange 80", "port 0x50", "port 0",
	"tcp port 80 and host 10.0.0.1", "host 10.0.0.1 and port 80", "tcp port 80 or udp port 53 or icmp",
	"proto 6", "ip proto 17", "ip6 proto 6", "ip proto \\tcp", "proto \\udp", "ip6 proto \\ipv6-icmp", "ether proto 0x800", "ether proto \\arp",
	"ether proto 0x88cc", "proto 47", "ip proto 89",
	"less 60", "greater 60", "len > 60", "len = 54", "ip and len - 14 = ip[2:2]", "length >= 100",
	"ip[0] & 0xf != 5", "ip[6:2] & 0x1fff != 0", "ip[8] < 65", "ip[8] <= 64", "ip[8] >= 64", "ip[8] > 64", "64 = ip[8]", "63 < ip[8]", "65 > ip[8]",
	"64 <= ip[8]", "64 >= ip[8]", "63 != ip[8]",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] = 0x12", "tcp[13] == 18", "tcp[0:2] = 80", "tcp[0:4] = 0x9c400050", "tcp[2:2] > tcp[0:2]",
	"udp[4:2] = 16", "udp[8:4] = 0x01020304", "icmp[icmptype] = icmp-echo", "icmp[icmpcode] == 1", "icmp6[icmp6type] = icmp6-echo",
	"icmp6[0] != 128", "igmp[0] = 0x16", "sctp[4:4] = 1", "vrrp[0] = 0x21", "arp[6:2] = 1", "ip6[6] = 6", "ip6[4:2] > 8",
	"tcp[12:1] & 0xf0 > 0x40", "(tcp[12] & 0xf0) >> 2 = 20", "tcp and ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
	"tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420", "ip[ip[0]] = 1", "ip[(ip[0] & 0xf) * 4] = 0x9c", "udp[udp[5]:1] = 1",
	"tcp[0] != 1 and not ip[0] = 1", "not tcp[13] & 2 != 0", "ip[0] = ip[0]", "ip[12:4] = ip[16:4]", "(ip[2:2] * 2 / 4) % 3 = 1", "ip[2:2] * 2 / 4 = 26",
	"ip[1] + 7 - 3 = 4", "ip[8] ^ 0x40 = 0", "ip[8] | 1 = 65", "-1 = -1", "1 = 2", "- ip[8] = - 64", "ip[8] * ip[9] > 384", "ip[8] / ip[9] = 10",
	"ip[8] % ip[9] = 4", "ip[0] / ip[1] = 1", "1 << ip[9] = 64", "ip[8] >> ip[9] = 1", "0xffffffff > ip[0]", "ip and len + ip[9] > 60 + 6",
	"tcp[100] = 1 or ip", "ip or tcp[100] = 1", "not tcp[100] = 1", "ip[1000] = 0",
	"ip multicast", "ip6 multicast",
	"tcp && port 80 || udp", "host 10.0.0.1 && ! port 22",
	"tcp and (port 80 or port 443) and not (src host 10.0.0.1 or dst net 192.168)",
	"((tcp)) and ((port 80))", "(ip[8]) = (64)", "((ip[8] + 1) * 2) = 130", "(ip[8] = 64) and (tcp)",
}

// onEthernet are expressions on what is in Ethernet frames only.
var onEthernet = []string{
	"ether host 02:00:00:00:00:01", "ether src 2:0:0:0:0:1", "ether dst 02-00-00-00-00-02", "ether src host 0200.0000.0001",
	"ether host 020000000002 and tcp", "broadcast", "ether broadcast", "multicast", "ether multicast", "ether[0] & 1 = 0",
	"ether[12:2] <= 1500", "link[12:2] = 0x800", "ether proto 0x42", "ether proto 1500",
	"ether src (02:00:00:00:00:01 or 02:00:00:00:00:02)", "ether[ether[5]] = 2",
}

// onTagged are expressions with VLAN tags.
var onTagged = []string{
	"vlan", "vlan 5", "vlan (5)", "vlan 4095", "not vlan", "vlan and ip", "vlan 5 and tcp port 80", "vlan and vlan", "vlan 100 and vlan 5 and host 10.0.0.1",
	"ip or vlan and ip", "vlan and (ip6 or arp)", "tcp or (vlan and tcp)", "vlan and ip[8] = 64", "vlan and tcp[13] = 0x12", "vlan and less 64",
	"ip6 or (vlan 5 and port 53)",
}

// onCooked are expressions on what is in cooked headers only.
var onCooked = []string{"inbound", "outbound", "not inbound and tcp", "link[0] = 8"}

var linkNames = map[packet.LinkType]string{
	packet.LinkEthernet: "EN10MB", packet.LinkLinuxSLL: "LINUX_SLL", packet.LinkLinuxSLL2: "LINUX_SLL2", packet.LinkRaw: "RAW",
	packet.LinkIPv4: "IPV4", packet.LinkIPv6: "IPV6",
}

// libpcap compiles with tcpdump.
func libpcap(t *testing.T, tool, link, expr string, flags ...string) ([]bpf.RawInstruction, error) {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(tool, append(flags, "-ddd", "-y", link, "--", expr)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if strings.Contains(stderr.String(), "expression rejects all packets") {
		return []bpf.RawInstruction{{Op: opReturn}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var code []bpf.RawInstruction
	for _, l := range lines[1:] {
		var i bpf.RawInstruction
		if _, err := fmt.Sscan(l, &i.Op, &i.Jt, &i.Jf, &i.K); err != nil {
			t.Fatalf("tcpdump printed %q: %v", l, err)
		}
		code = append(code, i)
	}
	return code, nil
}

// TestAgainstLibpcap compares what programs let through with those of libpcap, over frames of all kinds and cut ones.
func TestAgainstLibpcap(t *testing.T) {
	tool, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("no tcpdump")
	}
	frames := append(made(), corpus(t)...)
	for link, name := range linkNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exprs := append([]string(nil), expressions...)
			switch link {
			case packet.LinkEthernet:
				exprs = append(append(exprs, onEthernet...), onTagged...)
			case packet.LinkLinuxSLL: // libpcap has no VLAN tags there
				exprs = append(exprs[:60], onCooked...)
			case packet.LinkLinuxSLL2: // neither here
				exprs = append(exprs, onCooked...)
				exprs = append(exprs, "ifindex 3")
			case packet.LinkIPv4, packet.LinkIPv6: // as raw
				exprs = exprs[:20]
			}
			var list [][]byte
			for _, f := range frames {
				if b, ok := f.as(link); ok {
					list = append(list, b)
				}
			}
			for _, text := range exprs {
				compareWithLibpcap(t, tool, link, name, text, list)
			}
		})
	}
}

func compareWithLibpcap(t *testing.T, tool string, link packet.LinkType, name, text string, frames [][]byte) {
	e, err := Parse(text)
	if err != nil {
		t.Errorf("%q: %v", text, err)
		return
	}
	p, err := e.Compile(link)
	if err != nil {
		t.Errorf("%q: %v", text, err)
		return
	}
	// libpcap's optimizer moves and drops loads, so that of a cut frame another one fails first, and it takes two divisions
	// by constants for one. What frames come to is right if it is so with the optimizer or without, -O.
	var theirs, plain Program
	if theirs.code, err = libpcap(t, tool, name, text); err != nil {
		t.Errorf("%q: %v", text, err)
		return
	}
	ours := newVM(t, p.Raw(262144))
	matched := 0
	for i, b := range frames {
		cuts := []int{len(b)}
		for n := 0; i < 32 && n < len(b); n++ {
			cuts = append(cuts, n)
		}
		for _, n := range cuts {
			got, want := p.Match(b[:n], n), theirs.Match(b[:n], n)
			if got != want {
				if plain.code == nil {
					if plain.code, err = libpcap(t, tool, name, text, "-O"); err != nil {
						t.Errorf("%q: %v", text, err)
						return
					}
				}
				want = plain.Match(b[:n], n)
			}
			if got != want {
				t.Errorf("%q: frame %d, %d of %d bytes: %v, libpcap %v\n%x\nours:\n%s\nlibpcap's:\n%s", text, i, n, len(b), got, want, b, p, &plain)
				return
			}
			if got {
				matched++
			}
		}
		if got, err := ours.Run(b); err != nil || (got > 0) != p.Match(b, len(b)) {
			t.Errorf("%q: frame %d: x/net's machine says %d, %v", text, i, got, err)
			return
		}
	}
	if testing.Verbose() {
		t.Logf("%-60q %4d matches, %3d instructions, libpcap %3d", text, matched, p.Len(), theirs.Len())
	}
}

func newVM(t *testing.T, raw []bpf.RawInstruction) *bpf.VM {
	t.Helper()
	list, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatalf("instructions that x/net does not know: %v", list)
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// refused are expressions that libpcap refuses, too.
var refused = []string{
	"tcp and", "and tcp", "tcp udp", "(tcp", "tcp)", "host", "port", "port 70000", "portrange 1-70000", "net 10.0.0.1/8", "net 10.0.0.0/33", "host 10.0.0.0/8",
	"tcp host 10.0.0.1", "ip6 host 10.0.0.1", "ip host 2001:db8::1", "net 2001:db8::1/32", "arp port 80", "icmp port 1", "ether host 10.0.0.1",
	"host 02:00:00:00:00:01", "src proto 6", "tcp proto 6", "tcp broadcast", "ip[0:3] = 1", "ip[0]", "ip[0] =", "= 1", "ip[0] / 0 = 1",
	"ip[0] << 32 = 1", "ah[0] = 1", "5", "tcp and 80", "tcp or 10.0.0.1", "src", "src dst 10.0.0.1", "not", "()", "port http-nothing", "ip proto nothing",
	"vlan 4096", "@", "host 1.2.3.4.5", "port 99999999999", "len", "ip[", "ip[0", "\\", "less", "less x",
	"tcp port domain and 10.0.0.1", "host 300.1.2.3",
}

func TestRefused(t *testing.T) {
	tool, _ := exec.LookPath("tcpdump")
	for _, text := range refused {
		e, err := Parse(text)
		if err == nil {
			_, err = e.Compile(packet.LinkEthernet)
		}
		if err == nil {
			t.Errorf("%q is accepted", text)
		}
		if tool == "" {
			continue
		}
		if _, err := libpcap(t, tool, "EN10MB", text); err == nil {
			t.Errorf("libpcap accepts %q", text)
		}
	}
}

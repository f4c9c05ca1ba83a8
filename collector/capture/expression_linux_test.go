package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
)

// expression is an option with a filter.
func expression(t *testing.T, text string) func(*LiveOptions) {
	t.Helper()
	e, err := pcapfilter.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *LiveOptions) { o.Filter = e }
}

// ports are the destination ports seen, sorted.
func (c *collected) ports() []uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []uint16
	for i := range c.packets {
		out = append(out, c.packets[i].DstPort)
	}
	slices.Sort(out)
	return out
}

// expect runs a source per expression, has send make traffic, and compares the ports that each saw. What send makes
// last goes to port 9999, perhaps several times; every expression has to let one of these through.
func expect(t *testing.T, want map[string][]uint16, send func(), opts ...func(*LiveOptions)) {
	t.Helper()
	running := map[string]*collected{}
	sources := map[string]*Live{}
	for text := range want {
		// more blocks than send makes packets, so that none is dropped however late we are
		small := func(o *LiveOptions) { o.BlockBytes, o.Blocks = 16<<10, 32 }
		l := openLive(t, append(opts, small, expression(t, text))...)
		sources[text], running[text] = l, collect(l)
	}
	send()
	for text, c := range running {
		deadline(t, func() bool { return slices.Contains(c.ports(), 9999) })
		c.end(t, sources[text])
		got := slices.DeleteFunc(c.ports(), func(p uint16) bool { return p == 9999 })
		if fmt.Sprint(got) != fmt.Sprint(want[text]) {
			t.Errorf("%q: ports %v, want %v", text, got, want[text])
		}
	}
}

// TestLiveExpression runs programs in the kernel: on the loopback interface, whose frames look like Ethernet.
func TestLiveExpression(t *testing.T) {
	netns(t)
	expect(t, map[string][]uint16{
		"udp":                                {5000, 5001, 5002},
		"port 5001 or 9999":                  {5001},
		"src host 127.0.0.2 or port 9999":    {5001},
		"dst net 127.0.1.0/24 or port 9999":  {5002},
		"not port 5000 and not tcp":          {5001, 5002},
		"port 9999 or udp[8:4] = 0x68656c6c": {5000},
		"less 50 and udp":                    {5000, 5002},
		"inbound and udp":                    {5000, 5001, 5002},
		"ifindex 1 and udp":                  {5000, 5001, 5002},
		"ip[8] > 1 and portrange 5002-9999":  {5002},
	}, func() {
		newSender(t, "127.0.0.1:0", "127.0.0.9:5000").send(t, "hello")
		newSender(t, "127.0.0.2:0", "127.0.0.9:5001").send(t, "a longer text")
		newSender(t, "127.0.0.3:0", "127.0.1.9:5002").send(t, "")
		newSender(t, "127.0.0.3:0", "127.0.0.9:9999").send(t, "")
	})
}

// TestLiveExpressionRules combines rules and expression.
func TestLiveExpressionRules(t *testing.T) {
	netns(t)
	expect(t, map[string][]uint16{"udp": {5001}, "port 5000 or 9999": {}}, func() {
		for _, port := range []string{"5000", "5001", "9999"} {
			newSender(t, "127.0.0.1:0", "127.0.0.9:"+port).send(t, "hello")
		}
	}, func(o *LiveOptions) { o.Exclude = []Rule{{Port: 5000}} })
}

// TestLiveExpressionVLAN has tags beside the frame, where the kernel took them off, and in it.
func TestLiveExpressionVLAN(t *testing.T) {
	vethPair(t)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	index, err := interfaceIndex(fd, "va")
	if err != nil {
		t.Fatal(err)
	}
	send := func(port uint16, tags ...uint16) {
		b := []byte{2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa}
		for _, tag := range tags {
			b = append(b, 0x81, 0, byte(tag>>8), byte(tag))
		}
		b = append(b, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0x13, 0x88)
		b = append(binary.BigEndian.AppendUint16(b, port), 0, 12, 0, 0, 'b', 'o', 'd', 'y')
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6, Protocol: bigEndian16(0x8100)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, side := range []string{"va", "vb"} {
		beside := []uint16{6000}
		if side == "vb" { // the kernel took the first tag off, so that IP begins where it does without
			beside = []uint16{6000, 6001, 6003}
		}
		expect(t, map[string][]uint16{
			"vlan":                                   {6001, 6002, 6003},
			"vlan 42":                                {6001, 6002},
			"vlan 42 and udp port 6001 or 9999":      {6001},
			"vlan and vlan 43 and port 6002 or 9999": {6002},
			"udp and not vlan":                       {6000},
			"vlan 44 or vlan 43":                     {6002},
			"udp or (vlan 44 and udp)":               beside,
		}, func() {
			send(6000)
			send(6001, 42)
			send(6002, 42, 43)
			send(6003, 45)
			send(9999)
			send(9999, 42)
			send(9999, 44, 43)
		}, on(side))
	}
}

// TestLiveExpressionTun has frames without a link header.
func TestLiveExpressionTun(t *testing.T) {
	fd := tun(t)
	expect(t, map[string][]uint16{
		"udp": {53, 54}, "port 53 or 9999": {53}, "ether host 2:0:0:0:0:1 or udp port 54 or 9999": {54}, "udp[4:2] = 12 and ip[9] = 17": {53, 54},
		"net 10.7 and len = 32": {53, 54},
	}, func() {
		for _, port := range []uint16{53, 54, 9999} {
			if _, err := unix.Write(fd, datagram(port)); err != nil {
				t.Fatal(err)
			}
		}
	}, on("tun7"))
}

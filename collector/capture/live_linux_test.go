package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/packet"
)

// netns puts the test into a network namespace of its own with a loopback interface that is up. The thread is not given
// back, so it ends with the test.
func netns(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("capturing needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	linkUp(t, "lo")
}

func linkUp(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs iproute2 in the namespace of the test.
func ip(t *testing.T, args string) {
	t.Helper()
	tool, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("no ip command")
	}
	if out, err := exec.Command(tool, strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Skipf("ip %s: %v: %s", args, err, out)
	}
}

func openLive(t *testing.T, opts ...func(*LiveOptions)) *Live {
	t.Helper()
	small := func(o *LiveOptions) { o.BlockBytes, o.Blocks, o.BlockTimeout = 64<<10, 16, 5*time.Millisecond }
	l, err := OpenLive(append([]func(*LiveOptions){small}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func on(name string) func(*LiveOptions) { return func(o *LiveOptions) { o.Interface = name } }

// sender sends UDP datagrams from an IPv4 address to another.
type sender struct {
	fd int
	to unix.SockaddrInet4
}

func newSender(t *testing.T, from, to string) *sender {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	return &sender{fd, unix.SockaddrInet4{Port: int(b.Port()), Addr: b.Addr().As4()}}
}

func (s *sender) send(t *testing.T, payload string) {
	t.Helper()
	// On the loopback interface nobody listens: the ICMP error comes back as ECONNREFUSED only on connected sockets.
	if err := unix.Sendto(s.fd, []byte(payload), 0, &s.to); err != nil {
		t.Fatal(err)
	}
}

// collect runs the source in the background and keeps what its UDP packets carry.
type collected struct {
	mu      sync.Mutex
	packets []packet.Packet
	frames  []Frame
	done    chan error
}

func collect(l *Live) *collected {
	c := &collected{done: make(chan error, 1)}
	go func() {
		d := packet.NewDecoder()
		c.done <- l.Run(context.Background(), func(b *Batch) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			for i := range b.Frames {
				var p packet.Packet
				if b.Frames[i].Decode(d, &p) == nil && p.Proto == packet.ProtoUDP {
					p.Payload = append([]byte(nil), p.Payload...)
					c.packets = append(c.packets, p)
					f := b.Frames[i]
					f.Data = nil
					c.frames = append(c.frames, f)
				}
			}
			return nil
		})
	}()
	return c
}

func (c *collected) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.packets)
}

// end closes the source, which must not take long.
func (c *collected) end(t *testing.T, l *Live) {
	t.Helper()
	start := time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-c.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("Close took %v", d)
	}
}

func TestLiveLoopback(t *testing.T) {
	netns(t)
	for _, name := range []string{"lo", "any"} {
		l := openLive(t, on(name))
		c := collect(l)
		s := newSender(t, "127.0.0.1:0", "127.0.0.2:9999")
		before := time.Now().UnixNano()
		const n = 100
		for i := range n {
			s.send(t, fmt.Sprintf("datagram %d", i))
		}
		deadline(t, func() bool { return c.count() >= n })
		c.end(t, l)
		// Each is seen once though the interface shows it going out and coming in, in order, with the right facts.
		if c.count() != n {
			t.Fatalf("%s: %d packets of %d", name, c.count(), n)
		}
		for i, p := range c.packets {
			if string(p.Payload) != fmt.Sprintf("datagram %d", i) || p.DstPort != 9999 || p.WireLen != 14+28+p.PayloadLen || p.VLAN != 0 {
				t.Fatalf("%s: packet %d: %+v", name, i, p)
			}
			if p.Interface != 1 || p.TimeNanos < before-int64(time.Second) || p.TimeNanos > time.Now().UnixNano() {
				t.Fatalf("%s: interface %d, time %d", name, p.Interface, p.TimeNanos)
			}
		}
		if m := l.Metrics(); m.Packets < n || m.Bytes < n*50 || m.KernelDrops != 0 {
			t.Errorf("%s: metrics %+v", name, m)
		}
		if err := l.Run(context.Background(), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Run after Close: %v", err)
		}
	}
}

// vethPair makes two connected interfaces, va and vb, in a network namespace of the test. Only va has an address, so what
// is sent to its network travels to vb.
func vethPair(t *testing.T) {
	t.Helper()
	netns(t)
	ip(t, "link add va type veth peer name vb")
	ip(t, "link set va address 02:00:00:00:00:0a")
	ip(t, "link set vb address 02:00:00:00:00:0b")
	ip(t, "addr add 10.9.0.1/24 dev va")
	ip(t, "link set va up")
	ip(t, "link set vb up")
	// Nobody answers ARP for the other side, so it is told.
	ip(t, "neigh add 10.9.0.2 lladdr 02:00:00:00:00:0b dev va")
}

func TestLiveVeth(t *testing.T) {
	vethPair(t)
	out, in := openLive(t, on("va")), openLive(t, on("vb"), func(o *LiveOptions) { o.Promiscuous = true })
	co, ci := collect(out), collect(in)
	s := newSender(t, "10.9.0.1:5000", "10.9.0.2:6000")
	for range 50 {
		s.send(t, "hello")
	}
	deadline(t, func() bool { return co.count() >= 50 && ci.count() >= 50 })
	co.end(t, out)
	ci.end(t, in)
	for _, c := range []*collected{co, ci} {
		p := c.packets[49]
		if c.count() != 50 || string(p.Payload) != "hello" || p.SrcPort != 5000 || p.DstPort != 6000 ||
			p.SrcMAC != [6]byte{2, 0, 0, 0, 0, 0xa} || p.DstMAC != [6]byte{2, 0, 0, 0, 0, 0xb} || p.Interface == 0 {
			t.Errorf("%d packets, last %+v", c.count(), p)
		}
	}
	if co.packets[0].Interface == ci.packets[0].Interface {
		t.Error("both sides have the same interface index")
	}
}

// TestLiveVLAN sends tagged frames through a raw socket. The kernel takes the outer tag off what comes in.
func TestLiveVLAN(t *testing.T) {
	vethPair(t)
	rules := func(o *LiveOptions) { o.Exclude = []Rule{{Port: 6001}} }
	out, in := openLive(t, on("va"), rules), openLive(t, on("vb"), rules)
	co, ci := collect(out), collect(in)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	send := func(port uint16, tags ...uint16) {
		b := []byte{2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa}
		for _, tag := range tags {
			b = append(b, 0x81, 0, byte(tag>>8), byte(tag))
		}
		b = append(b, 8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2, 0x13, 0x88)
		b = append(binary.BigEndian.AppendUint16(b, port), 0, 12, 0, 0, 'b', 'o', 'd', 'y')
		to := unix.SockaddrLinklayer{Ifindex: out.index, Halen: 6, Protocol: bigEndian16(0x8100)}
		if err := unix.Sendto(fd, b, 0, &to); err != nil {
			t.Fatal(err)
		}
	}
	send(6001, 42) // excluded behind one tag and behind two
	send(6001, 42, 43)
	send(6000, 42)
	send(6000, 42, 43)
	deadline(t, func() bool { return co.count() >= 2 && ci.count() >= 2 })
	co.end(t, out)
	ci.end(t, in)
	for name, c := range map[string]*collected{"out": co, "in": ci} {
		if c.count() != 2 {
			t.Fatalf("%s: %d packets", name, c.count())
		}
		for i, want := range []struct {
			vlan uint16
			wire uint32
		}{{42, 50}, {43, 54}} {
			if p := c.packets[i]; p.VLAN != want.vlan || p.WireLen != want.wire || p.DstPort != 6000 || string(p.Payload) != "body" {
				t.Errorf("%s: packet %d: %+v", name, i, p)
			}
		}
	}
	if ci.frames[0].VLAN != 42 || ci.frames[1].VLAN != 42 || co.frames[0].VLAN != 0 {
		t.Errorf("tags beside the frame: in %d %d, out %d", ci.frames[0].VLAN, ci.frames[1].VLAN, co.frames[0].VLAN)
	}
}

func TestLiveFilter(t *testing.T) {
	netns(t)
	own := Rule{Prefix: netip.MustParsePrefix("127.0.0.1/32"), Port: 7700, Proto: 17}
	l := openLive(t, on("lo"), func(o *LiveOptions) { o.Exclude = []Rule{own, {Port: 7701}} })
	only := openLive(t, func(o *LiveOptions) { o.Only = []Rule{{Port: 7700}} })
	c, co := collect(l), collect(only)
	newSender(t, "127.0.0.1:7700", "127.0.0.2:5000").send(t, "own source")
	newSender(t, "127.0.0.3:0", "127.0.0.1:7700").send(t, "own destination")
	newSender(t, "127.0.0.3:0", "127.0.0.4:7701").send(t, "any address")
	newSender(t, "127.0.0.3:7700", "127.0.0.4:5000").send(t, "another address")
	newSender(t, "127.0.0.1:0", "127.0.0.2:5000").send(t, "another port")
	deadline(t, func() bool { return c.count() >= 2 && co.count() >= 3 })
	c.end(t, l)
	co.end(t, only)
	if c.count() != 2 || string(c.packets[0].Payload) != "another address" || string(c.packets[1].Payload) != "another port" {
		t.Errorf("excluding: %d packets %q", c.count(), c.packets[0].Payload)
	}
	if co.count() != 3 {
		t.Errorf("only: %d packets", co.count())
	}
}

// TestLiveFilterIPv6 sends over ::1, also a fragmented datagram.
func TestLiveFilterIPv6(t *testing.T) {
	netns(t)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer unix.Close(fd)
	l := openLive(t, func(o *LiveOptions) {
		o.Exclude = []Rule{{Prefix: netip.MustParsePrefix("::1/128"), Port: 7700}}
	})
	c := collect(l)
	send := func(port int, b []byte) {
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrInet6{Port: port, Addr: netip.IPv6Loopback().As16()}); err != nil {
			t.Skipf("no IPv6: %v", err)
		}
	}
	send(7700, []byte("own"))
	send(7702, []byte("other"))
	send(7703, make([]byte, 65000)) // within the MTU of lo no longer
	deadline(t, func() bool { return c.count() >= 2 })
	c.end(t, l)
	if string(c.packets[0].Payload) != "other" || !c.packets[0].IPv6 {
		t.Errorf("first packet %+v", c.packets[0])
	}
	p := c.packets[1]
	if p.DstPort != 7703 || p.PayloadLen < 60000 || len(p.Payload) > defaultSnapBytes || p.CapLen != defaultSnapBytes {
		t.Errorf("large datagram: payload %d of %d, captured %d", len(p.Payload), p.PayloadLen, p.CapLen)
	}
}

func TestLiveFanout(t *testing.T) {
	netns(t)
	all, err := OpenFanout(2, on("lo"), func(o *LiveOptions) { o.BlockBytes, o.Blocks, o.BlockTimeout = 64<<10, 8, 5*time.Millisecond })
	if err != nil {
		t.Fatal(err)
	}
	a, b := collect(all[0]), collect(all[1])
	const flows, each = 64, 5
	for i := range flows {
		from, to := fmt.Sprintf("127.0.0.1:%d", 20000+i), fmt.Sprintf("127.0.0.2:%d", 30000+i)
		forth, back := newSender(t, from, to), newSender(t, to, from)
		for range each {
			forth.send(t, "request")
			back.send(t, "response")
		}
	}
	deadline(t, func() bool { return a.count()+b.count() >= 2*flows*each })
	a.end(t, all[0])
	b.end(t, all[1])
	if a.count()+b.count() != 2*flows*each || a.count() == 0 || b.count() == 0 {
		t.Errorf("%d and %d packets", a.count(), b.count())
	}
	// A flow, both its directions, is on one side.
	owner := map[uint16]int{}
	for side, c := range []*collected{a, b} {
		for _, p := range c.packets {
			port := min(p.SrcPort, p.DstPort)
			if was, ok := owner[port]; ok && was != side {
				t.Fatalf("flow of port %d on both sides", port)
			}
			owner[port] = side
		}
	}
}

func TestLiveDrops(t *testing.T) {
	netns(t)
	l := openLive(t, on("lo"), func(o *LiveOptions) { o.BlockBytes, o.Blocks = 4096, 2 })
	s := newSender(t, "127.0.0.1:0", "127.0.0.2:9999")
	for range 200 { // nobody reads
		s.send(t, strings.Repeat("x", 1000))
	}
	m := l.Metrics()
	if m.KernelDrops == 0 || m.Freezes == 0 || m.Packets != 0 {
		t.Errorf("metrics %+v", m)
	}
	for range 200 {
		s.send(t, strings.Repeat("x", 1000))
	}
	if again := l.Metrics(); again.KernelDrops <= m.KernelDrops {
		t.Errorf("drops %d, then %d", m.KernelDrops, again.KernelDrops)
	}
	// Reading makes the ring thaw.
	c := collect(l)
	deadline(t, func() bool { s.send(t, "fresh"); return c.count() > 20 })
	c.end(t, l)
	if after := l.Metrics(); after.KernelDrops < m.KernelDrops || after.Packets == 0 {
		t.Errorf("metrics after Close %+v", after)
	}
}

func TestLiveEnds(t *testing.T) {
	netns(t)
	l := openLive(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	run := func(ctx context.Context, fn func(*Batch) error) { go func() { done <- l.Run(ctx, fn) }() }
	wait := func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			t.Fatal("Run goes on")
			return nil
		}
	}
	var seen atomic.Int64
	run(ctx, func(b *Batch) error { seen.Add(int64(len(b.Frames))); return nil })
	s := newSender(t, "127.0.0.1:0", "127.0.0.2:9999")
	deadline(t, func() bool { s.send(t, "x"); return seen.Load() > 0 })
	if err := l.Run(ctx, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("second Run: %v", err)
	}
	cancel()
	if err := wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// It can be run again, and a callback ends it.
	boom := errors.New("boom")
	run(context.Background(), func(*Batch) error { return boom })
	s.send(t, "x")
	if err := wait(); err != boom {
		t.Errorf("callback: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error("second Close:", err)
	}
}

func TestLiveInterfaceGoes(t *testing.T) {
	vethPair(t)
	if _, err := OpenLive(on("absent0")); !errors.Is(err, ErrNoInterface) {
		t.Errorf("absent: %v", err)
	}
	if _, err := OpenLive(on("a-name-too-long-for-linux")); !errors.Is(err, ErrNoInterface) {
		t.Errorf("long name: %v", err)
	}
	l := openLive(t, on("va"))
	c := collect(l)
	s := newSender(t, "10.9.0.1:0", "10.9.0.2:6000")
	s.send(t, "one")
	deadline(t, func() bool { return c.count() == 1 })
	ip(t, "link set va down") // and up again: capturing goes on
	ip(t, "link set va up")
	ip(t, "neigh replace 10.9.0.2 lladdr 02:00:00:00:00:0b dev va")
	s.send(t, "two")
	deadline(t, func() bool { return c.count() == 2 })
	ip(t, "link del va")
	select {
	case err := <-c.done:
		if !errors.Is(err, ErrNoInterface) {
			t.Errorf("gone: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run goes on without the interface")
	}
}

// TestLiveTun captures on a device without a link header.
// tun makes a tun device, tun7, in a network namespace of its own.
func tun(t *testing.T) (fd int) {
	t.Helper()
	netns(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no tun devices: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	req, err := unix.NewIfreq("tun7")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		t.Skipf("no tun device: %v", err)
	}
	linkUp(t, "tun7")
	return fd
}

// datagram is an IPv4 packet to a UDP port of 10.7.0.2.
func datagram(port uint16) []byte {
	b := make([]byte, 28, 32)
	b[0], b[3], b[8], b[9] = 0x45, 32, 64, 17
	copy(b[12:], []byte{10, 7, 0, 1, 10, 7, 0, 2})
	binary.BigEndian.PutUint16(b[20:], 1000)
	binary.BigEndian.PutUint16(b[22:], port)
	b[25] = 12
	return append(b, "body"...)
}

func TestLiveTun(t *testing.T) {
	fd := tun(t)
	l := openLive(t, on("tun7"), func(o *LiveOptions) { o.Exclude = []Rule{{Port: 53}} })
	c := collect(l)
	for _, port := range []uint16{53, 54} {
		if _, err := unix.Write(fd, datagram(port)); err != nil {
			t.Fatal(err)
		}
	}
	deadline(t, func() bool { return c.count() > 0 })
	c.end(t, l)
	if p := c.packets[0]; c.count() != 1 || p.DstPort != 54 || string(p.Payload) != "body" || p.WireLen != 46 || c.frames[0].Link != packet.LinkRaw {
		t.Errorf("%d packets, first %+v", c.count(), p)
	}
}

// TestLivePermission opens without the right to: in this thread when it can be given up, or as whoever runs the test.
func TestLivePermission(t *testing.T) {
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // never given back: the thread ends without its rights
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			t.Skipf("rights cannot be given up: %v", err)
		}
	}
	l, err := OpenLive(on("lo"))
	if err == nil {
		l.Close()
		t.Skip("this user may capture")
	}
	if !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") || !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v", err)
	}
}

// TestRingFrame gives the ring's reader headers that contradict themselves.
func TestRingFrame(t *testing.T) {
	h := func(mac, net uint16, captured uint32) []byte {
		b := make([]byte, 256)
		binary.NativeEndian.PutUint16(b[hdrMAC:], mac)
		binary.NativeEndian.PutUint16(b[hdrNet:], net)
		binary.NativeEndian.PutUint32(b[hdrSnap:], captured)
		binary.NativeEndian.PutUint16(b[llHatype:], 0xfffe)
		binary.BigEndian.PutUint16(b[llProtocol:], 0x0800)
		return b
	}
	var f Frame
	if ok, err := ringFrame(h(80, 96, 100), &f); !ok || err != nil || len(f.Data) != 84 || f.WireLen != 84 {
		t.Errorf("good: %v %v %+v", ok, err, f)
	}
	for name, b := range map[string][]byte{
		"frame within header": h(40, 40, 10), "frame beyond block": h(80, 96, 1<<31), "network before frame": h(96, 80, 10),
	} {
		if _, err := ringFrame(b, &f); !errors.Is(err, errRing) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := h(80, 96, 100)
	binary.BigEndian.PutUint16(other[llProtocol:], 0x0806)
	if ok, err := ringFrame(other, &f); ok || err != nil {
		t.Errorf("ARP without Ethernet: %v %v", ok, err)
	}
	l := &Live{o: LiveOptions{BatchFrames: 4}}
	block := make([]byte, 256)
	binary.NativeEndian.PutUint32(block[blockPackets:], 1)
	binary.NativeEndian.PutUint32(block[blockFirst:], 250)
	if err := l.deliver(block, nil); !errors.Is(err, errRing) {
		t.Errorf("packet beyond block: %v", err)
	}
}

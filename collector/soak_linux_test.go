package collector

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/db/batch"
)

// nowhere is a sink that keeps nothing.
type nowhere struct{}

func (nowhere) Write(context.Context, *batch.Batch) error { return nil }

// blaster sends frames on an interface, many with one call and past the queue discipline.
type blaster struct {
	fd       int
	frames   [][]byte
	iov      []unix.Iovec
	messages []message
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	n      uint32
	_      [4]byte
}

func newBlaster(t *testing.T, iface string, flows int) *blaster {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	req, err := unix.NewIfreq(iface)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(req.Uint32())})
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &blaster{fd: fd}
	for i := range flows {
		d := append(datagram(0), make([]byte, 18)...) // 64 bytes
		binary.BigEndian.PutUint16(d[16:], uint16(len(d)-14))
		binary.BigEndian.PutUint16(d[34:], uint16(10000+i))
		binary.BigEndian.PutUint16(d[38:], uint16(len(d)-34))
		b.frames = append(b.frames, d)
		b.iov = append(b.iov, unix.Iovec{Base: &d[0], Len: uint64(len(d))})
	}
	for i := range b.iov {
		m := message{}
		m.header.Iov, m.header.Iovlen = &b.iov[i], 1
		b.messages = append(b.messages, m)
	}
	return b
}

// send sends n frames at so many a second, and returns how many the kernel took.
func (b *blaster) send(t *testing.T, n, rate int) int {
	const burst = 64
	began, sent, at := time.Now(), 0, 0
	for sent < n {
		m := b.messages[at:min(at+min(burst, n-sent), len(b.messages))]
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), 0, 0, 0)
		if errno != 0 && errno != unix.ENOBUFS && errno != unix.EINTR {
			t.Fatal(errno)
		}
		if errno == 0 {
			sent += int(k)
			at = (at + int(k)) % len(b.messages)
		}
		if ahead := time.Duration(float64(sent)/float64(rate)*1e9) - time.Since(began); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
	}
	return sent
}

// TestSoakDrops sends 100, 300 and 600 thousand packets a second over a pair of interfaces and captures them with all that
// follows: every packet is taken or counted as dropped, by cause. How many are dropped depends on the machine, and is told.
func TestSoakDrops(t *testing.T) {
	if os.Getenv("FLOWLAKE_SOAK") == "" {
		t.Skip("a long test: set FLOWLAKE_SOAK")
	}
	if os.Geteuid() != 0 {
		t.Skip("capturing needs root")
	}
	runtime.LockOSThread() // and end with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	for _, args := range []string{"link add va type veth peer name vb", "link set va up", "link set vb up"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", args, err, out)
		}
	}
	only, err := pcapfilter.Parse("inbound and udp dst port 9999")
	if err != nil {
		t.Fatal(err)
	}
	b := newBlaster(t, "va", 1000)
	for _, rate := range []int{100_000, 300_000, 600_000} {
		c, err := New(nowhere{}, func(o *Options) { o.Interfaces, o.Filter = []string{"vb"}, only })
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		began := time.Now()
		before := processTime(t)
		sent := b.send(t, 3*rate, rate)
		took := time.Since(began)
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if m := c.Metrics().Capture; m.Packets+m.KernelDrops >= uint64(sent) {
				break
			}
		}
		cpu := processTime(t) - before
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m := c.Metrics()
		if m.Capture.Packets+m.Capture.KernelDrops != uint64(sent) || m.Frames != m.Capture.Packets || m.Flow.Packets != m.Capture.Packets {
			t.Errorf("%d packets a second: %d sent, %d taken, %d dropped; %d in flows", rate, sent, m.Capture.Packets, m.Capture.KernelDrops, m.Flow.Packets)
		}
		t.Logf("%6d packets/s wanted, %6.0f sent: %d of %d dropped (%.2f %%), %.0f ns of CPU a packet with sending", rate,
			float64(sent)/took.Seconds(), m.Capture.KernelDrops, sent, 100*float64(m.Capture.KernelDrops)/float64(sent), float64(cpu)/float64(sent))
	}
}

// processTime is what all threads have used.
func processTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Live is a Source that captures from network interfaces through an AF_PACKET socket with a TPACKET_V3 ring, memory that
// the kernel fills and Run reads.
type Live struct {
	o     LiveOptions
	fd    int
	wake  int    // eventfd that ends a wait for packets
	ring  []byte // shared with the kernel; a block belongs to us while its status says so
	index int    // of the interface, 0 for all
	next  int    // block to be read next; guarded by run
	down  bool   // the interface was down when last looked at; guarded by run
	run   sync.Mutex

	links   *links   // nil without a selection; guarded by run
	spans   []span   // of interfaces that are let through; guarded by run
	members []uint32 // interfaces that are promiscuous because of a selection; guarded by run

	closed atomic.Bool
	batch  Batch // guarded by run

	packets, bytes, ignored atomic.Uint64

	stats          sync.Mutex // guards what follows, and keeps fd and wake open for Metrics and wakeUp
	drops, freezes uint64
	fdClosed       bool
}

// SharedSocket says whether one source can capture on several interfaces: on all, or on those of a Selection.
const SharedSocket = true

// OpenLive starts to capture: frames wait in the ring for Run. Opening needs the right CAP_NET_RAW in the network
// namespace of the calling thread; without it the error is an ErrPermission.
func OpenLive(opts ...func(*LiveOptions)) (*Live, error) {
	l, err := OpenFanout(1, opts...)
	if err != nil {
		return nil, err
	}
	return l[0], nil
}

// OpenFanout opens n sources that share the frames of an interface by a hash of the flow, both directions to the same
// source. Each has its own ring, and is to be run by its own goroutine.
func OpenFanout(n int, opts ...func(*LiveOptions)) ([]*Live, error) {
	var o LiveOptions
	for _, f := range opts {
		f(&o)
	}
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	if n < 1 || n > 256 {
		return nil, fmt.Errorf("%w: fan-out of %d", errOption, n)
	}
	if o.Namespace == nil {
		return openGroup(n, o)
	}
	var all []*Live
	err := o.Namespace.Do(func() (err error) {
		all, err = openGroup(n, o)
		return err
	})
	return all, err
}

// openGroup opens the sources in the network namespace of the calling thread.
func openGroup(n int, o LiveOptions) ([]*Live, error) {
	if _, err := program(&o, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", errOption, err)
	}
	all := make([]*Live, 0, n)
	fail := func(err error) ([]*Live, error) {
		for _, l := range all {
			l.Close()
		}
		return nil, fmt.Errorf("capture on %s: %w", ifaceName(&o), err)
	}
	// Sockets of a group would each see everything until they have joined it, so they start with a filter that drops all.
	for range n {
		l, err := openSocket(o, n > 1)
		if err != nil {
			return fail(err)
		}
		all = append(all, l)
	}
	if n == 1 {
		return all, nil
	}
	group := 0
	for i, l := range all {
		var err error
		if group, err = l.join(group, i == 0); err != nil {
			return fail(err)
		}
	}
	for _, l := range all {
		if err := l.filter(); err != nil {
			return fail(err)
		}
	}
	return all, nil
}

// filter attaches the program for what is selected now.
func (l *Live) filter() error {
	p, err := program(&l.o, l.spans)
	if err != nil {
		return err
	}
	return attach(l.fd, p)
}

// choose looks which interfaces are selected, and has the kernel let them through if they are others than before.
func (l *Live) choose() error {
	spans, indexes := l.links.selected(l.o.Select)
	if l.o.Promiscuous {
		for _, i := range indexes {
			if slices.Contains(l.members, i) {
				continue
			}
			if err := promiscuous(l.fd, i); err != nil && !errors.Is(err, unix.ENODEV) { // it has just gone
				return err
			}
		}
		l.members = indexes
	}
	if slices.Equal(spans, l.spans) {
		return nil
	}
	l.spans = spans
	return l.filter()
}

func promiscuous(fd int, index uint32) error {
	m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return permission("set promiscuous", err)
	}
	return nil
}

// watch takes in what the kernel says about interfaces.
func (l *Live) watch() error {
	changed, _, err := l.links.read()
	if err != nil || !changed {
		return err
	}
	return l.choose()
}

func ifaceName(o *LiveOptions) string {
	name := o.Interface
	switch {
	case o.Select != nil:
		name = o.Select.String()
	case name == "":
		name = AnyInterface
	}
	if o.Namespace != nil {
		name += " in " + o.Namespace.Name()
	}
	return name
}

// openSocket returns a bound socket that captures what the filter lets through; nothing yet if it is to be closed.
func openSocket(o LiveOptions, closed bool) (_ *Live, err error) {
	// With protocol 0 nothing arrives before bind, so nothing gets past the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, permission("open packet socket", err)
	}
	l := &Live{o: o, fd: fd, wake: -1, batch: Batch{Frames: make([]Frame, 0, o.BatchFrames)}}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	if err = l.mapRing(); err != nil {
		return nil, err
	}
	if o.Interface != "" {
		if l.index, err = interfaceIndex(fd, o.Interface); err != nil {
			return nil, err
		}
	}
	if o.Select != nil {
		if l.links, err = openLinks(); err != nil {
			return nil, err
		}
		if err = l.choose(); err != nil {
			return nil, err
		}
	} else if o.Promiscuous {
		if err = promiscuous(fd, uint32(l.index)); err != nil {
			return nil, err
		}
	}
	if closed {
		err = attach(fd, dropAll())
	} else {
		err = l.filter()
	}
	if err != nil {
		return nil, err
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_ALL), Ifindex: l.index}); err != nil {
		return nil, permission("bind packet socket", err)
	}
	return l, nil
}

// mapRing sets the ring up and maps it.
func (l *Live) mapRing() error {
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("set TPACKET_V3 (needs Linux 3.2): %w", err)
	}
	const frameBytes = 2048 // of no meaning in version 3 but checked
	req := unix.TpacketReq3{
		Block_size: uint32(l.o.BlockBytes), Block_nr: uint32(l.o.Blocks),
		Frame_size: frameBytes, Frame_nr: uint32(l.o.BlockBytes / frameBytes * l.o.Blocks),
		Retire_blk_tov: uint32(l.o.BlockTimeout.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(l.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return permission(fmt.Sprintf("set up a ring of %d blocks of %d bytes", l.o.Blocks, l.o.BlockBytes), err)
	}
	ring, err := unix.Mmap(l.fd, 0, l.o.BlockBytes*l.o.Blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map ring of %d bytes: %w", l.o.BlockBytes*l.o.Blocks, err)
	}
	l.ring = ring
	return nil
}

// join makes the socket a member of a fan-out group; the first one creates it. It returns the group's id.
func (l *Live) join(group int, create bool) (int, error) {
	arg := group | unix.PACKET_FANOUT_HASH<<16
	if create {
		arg |= unix.PACKET_FANOUT_FLAG_UNIQUEID << 16
	}
	if err := unix.SetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_FANOUT, arg); err != nil {
		return 0, fmt.Errorf("join fan-out group: %w", err)
	}
	got, err := unix.GetsockoptInt(l.fd, unix.SOL_PACKET, unix.PACKET_FANOUT)
	if err != nil {
		return 0, fmt.Errorf("read fan-out group: %w", err)
	}
	return got & 0xffff, nil
}

func attach(fd int, filter []bpf.RawInstruction) error {
	ins := make([]unix.SockFilter, len(filter))
	for i, r := range filter {
		ins[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	p := unix.SockFprog{Len: uint16(len(ins)), Filter: &ins[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		return fmt.Errorf("attach filter of %d instructions: %w", len(ins), err)
	}
	return nil
}

// interfaceIndex asks in the network namespace of the socket, whatever thread this is.
func interfaceIndex(fd int, name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", ErrNoInterface, name)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		if errors.Is(err, unix.ENODEV) {
			return 0, ErrNoInterface
		}
		return 0, fmt.Errorf("look up interface: %w", err)
	}
	return int(req.Uint32()), nil
}

// present reports whether the interface is up, and fails when it no longer exists; it may have another name by now.
func (l *Live) present() (up bool, err error) {
	if l.index == 0 {
		return true, nil
	}
	req, err := unix.NewIfreq("")
	if err != nil {
		return false, fmt.Errorf("look up interface %d: %w", l.index, err)
	}
	req.SetUint32(uint32(l.index))
	if err := unix.IoctlIfreq(l.fd, unix.SIOCGIFNAME, req); err != nil {
		return false, fmt.Errorf("%w: it has gone away", ErrNoInterface)
	}
	if err := unix.IoctlIfreq(l.fd, unix.SIOCGIFFLAGS, req); err != nil {
		return false, nil // renamed or deleted since; the next look will tell
	}
	return req.Uint16()&unix.IFF_UP != 0, nil
}

// permission explains what is missing when the kernel refuses.
func permission(action string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w: the right CAP_NET_RAW is missing; run as root, or grant it to the program "+
			"(setcap cap_net_raw+ep FILE) or to the container (NET_RAW): %w", action, ErrPermission, err)
	}
	return fmt.Errorf("%s: %w", action, err)
}

// bigEndian16 is htons.
func bigEndian16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// Run delivers frames until the source is closed (nil), ctx ends, fn fails or the interface goes away. It may be called
// again after ctx ended. A batch's frames all lie in one block of the ring, which the kernel gets back once fn has
// returned for the last of them.
func (l *Live) Run(ctx context.Context, fn func(*Batch) error) error {
	if !l.run.TryLock() {
		return ErrBusy
	}
	defer l.run.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	stop := context.AfterFunc(ctx, l.wakeUp)
	defer stop()
	for !l.closed.Load() {
		if err := ctx.Err(); err != nil {
			return err
		}
		block := l.ring[l.next*l.o.BlockBytes:][:l.o.BlockBytes]
		status := (*uint32)(unsafe.Pointer(&block[blockStatus]))
		if atomic.LoadUint32(status)&unix.TP_STATUS_USER == 0 {
			if err := l.wait(); err != nil {
				return fmt.Errorf("capture on %s: %w", ifaceName(&l.o), err)
			}
			continue
		}
		err := l.deliver(block, fn)
		atomic.StoreUint32(status, unix.TP_STATUS_KERNEL)
		l.next = (l.next + 1) % l.o.Blocks
		if err != nil {
			return err
		}
		if l.links != nil { // wait, which looks as well, may not be called for long
			if err := l.watch(); err != nil {
				return fmt.Errorf("capture on %s: %w", ifaceName(&l.o), err)
			}
		}
	}
	return nil
}

// downPoll is how often an interface that is down is looked at, in milliseconds: the kernel tells a socket that its
// interface went down, but not that it was deleted afterwards.
const downPoll = 250

// wait returns when there may be a block, or somebody called wakeUp.
func (l *Live) wait() error {
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN | unix.POLLERR}, {Fd: int32(l.wake), Events: unix.POLLIN},
		{Fd: -1, Events: unix.POLLIN}} // a negative one is passed over
	if l.links != nil {
		fds[2].Fd = int32(l.links.fd)
	}
	timeout := -1
	if l.down {
		timeout = downPoll
	}
	n, err := unix.Poll(fds, timeout)
	if err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil
		}
		return os.NewSyscallError("poll", err)
	}
	if fds[1].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(l.wake, b[:]) // only to reset it; the caller looks at what was the reason
	}
	if fds[2].Revents != 0 {
		if err := l.watch(); err != nil {
			return err
		}
	}
	failed := fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0
	if failed {
		code, err := unix.GetsockoptInt(l.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
		if errno := unix.Errno(code); errno != 0 && errno != unix.ENETDOWN {
			return os.NewSyscallError("packet socket", errno)
		}
	}
	if failed || n == 0 {
		up, err := l.present()
		l.down = !up
		return err
	}
	return nil
}

// wakeUp ends a wait. It may come late, from a context that ended, so it must not touch a closed descriptor.
func (l *Live) wakeUp() {
	l.stats.Lock()
	defer l.stats.Unlock()
	if l.fdClosed {
		return
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(l.wake, b[:]) // fails only when it is already set
}

// Metrics returns the counters. The kernel's are read here, and kept by the source because reading resets them.
func (l *Live) Metrics() Metrics {
	m := Metrics{Packets: l.packets.Load(), Bytes: l.bytes.Load(), Ignored: l.ignored.Load()}
	l.stats.Lock()
	defer l.stats.Unlock()
	l.readStats()
	m.KernelDrops, m.Freezes = l.drops, l.freezes
	return m
}

// readStats adds the kernel's counters to ours; l.stats is held.
func (l *Live) readStats() {
	if l.fdClosed {
		return
	}
	if s, err := unix.GetsockoptTpacketStatsV3(l.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		l.drops += uint64(s.Drops)
		l.freezes += uint64(s.Freeze_q_cnt)
	}
}

// Close ends Run, waits for it and gives the ring back. It must not be called from the callback.
func (l *Live) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.wakeUp()
	l.run.Lock() // Run has ended; it will not start again
	defer l.run.Unlock()
	return l.release()
}

// release gives back what openSocket took.
func (l *Live) release() error {
	l.stats.Lock()
	defer l.stats.Unlock()
	l.readStats()
	l.fdClosed = true
	var errs []error
	if l.ring != nil {
		errs = append(errs, os.NewSyscallError("munmap", unix.Munmap(l.ring)))
		l.ring = nil
	}
	if l.links != nil {
		l.links.close()
		l.links = nil
	}
	if l.wake >= 0 {
		errs = append(errs, os.NewSyscallError("close", unix.Close(l.wake)))
	}
	errs = append(errs, os.NewSyscallError("close", unix.Close(l.fd)))
	return errors.Join(errs...)
}

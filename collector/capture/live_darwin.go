package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/packet"
)

// bpfDevice is a /dev/bpf device that is bound to an interface.
type bpfDevice struct {
	fd    int
	link  packet.LinkType
	index uint32

	buf  []byte // what the kernel hands out at once
	rest []byte // of it, what has not been delivered
}

// maxBPFDevices is how many /dev/bpfN are tried.
const maxBPFDevices = 256

// openDevice opens the first free device and binds it.
func openDevice(o *LiveOptions) (device, error) {
	ifi, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return nil, ErrNoInterface
	}
	fd, err := freeBPF()
	if err != nil {
		return nil, err
	}
	d := &bpfDevice{fd: fd, index: uint32(ifi.Index)}
	if err := d.set(o); err != nil {
		_ = d.close()
		return nil, err
	}
	return d, nil
}

func freeBPF() (int, error) {
	for i := range maxBPFDevices {
		fd, err := unix.Open(fmt.Sprintf("/dev/bpf%d", i), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EBUSY):
		case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
			return -1, fmt.Errorf("open /dev/bpf%d: %w: run as root, or let your user read /dev/bpf*: %w", i, ErrPermission, err)
		case errors.Is(err, fs.ErrNotExist):
			return -1, fmt.Errorf("open /dev/bpf%d: all devices are in use, or there are none: %w", i, err)
		default:
			return -1, fmt.Errorf("open /dev/bpf%d: %w", i, err)
		}
	}
	return -1, errors.New("all /dev/bpf devices are in use")
}

// set makes the device deliver. The size of the buffer has to be set before the interface, the filter after it, since it depends on
// the kind of link; what came in between is flushed.
func (d *bpfDevice) set(o *LiveOptions) error {
	size, err := syscall.SetBpfBuflen(d.fd, min(o.BlockBytes, 512<<10)) // it says what it could get
	if err != nil {
		return os.NewSyscallError("BIOCSBLEN", err)
	}
	if err := syscall.SetBpfInterface(d.fd, o.Interface); err != nil {
		if errors.Is(err, unix.ENXIO) {
			return ErrNoInterface
		}
		return os.NewSyscallError("BIOCSETIF", err)
	}
	link, err := syscall.BpfDatalink(d.fd)
	if err != nil {
		return os.NewSyscallError("BIOCGDLT", err)
	}
	d.link = linkType(uint16(link))
	if !d.link.Supported() {
		return fmt.Errorf("%w: link type %d", ErrUnsupported, d.link)
	}
	code, err := staticProgram(o, d.link)
	if err != nil {
		return err
	}
	ins := make([]syscall.BpfInsn, len(code))
	for i, c := range code {
		ins[i] = syscall.BpfInsn{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	if err := syscall.SetBpf(d.fd, ins); err != nil {
		return fmt.Errorf("attach filter of %d instructions: %w", len(ins), os.NewSyscallError("BIOCSETF", err))
	}
	if o.Promiscuous {
		if err := syscall.SetBpfPromisc(d.fd, 1); err != nil {
			return os.NewSyscallError("BIOCPROMISC", err)
		}
	}
	t := syscall.NsecToTimeval(int64(o.timeout()))
	if err := syscall.SetBpfTimeout(d.fd, &t); err != nil {
		return os.NewSyscallError("BIOCSRTIMEOUT", err)
	}
	d.buf = make([]byte, size) // a read has to ask for exactly this much
	return os.NewSyscallError("BIOCFLUSH", syscall.FlushBpf(d.fd))
}

// read implements device.
func (d *bpfDevice) read(b *Batch, most int) error {
	if len(d.rest) == 0 {
		n, err := unix.Read(d.fd, d.buf)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ENXIO):
			return fmt.Errorf("%w: it has gone away", ErrNoInterface)
		case err != nil:
			return os.NewSyscallError("read", err)
		}
		d.rest = d.buf[:n]
	}
	for len(b.Frames) < most && len(d.rest) > 0 {
		f, size, ok := bpfRecord(d.rest)
		if !ok {
			d.rest = nil
			return errors.New("the kernel's buffer is inconsistent")
		}
		f.Interface, f.Link = d.index, d.link
		b.Frames = append(b.Frames, f)
		d.rest = d.rest[size:]
	}
	return nil
}

// bpfRecord reads a record: a header, whose size it says itself, and the frame; the next one begins at a multiple of four.
func bpfRecord(b []byte) (f Frame, size int, ok bool) {
	if len(b) < int(unsafe.Sizeof(unix.BpfHdr{})) {
		return f, 0, false
	}
	h := (*unix.BpfHdr)(unsafe.Pointer(&b[0]))
	start, captured := int(h.Hdrlen), int(h.Caplen)
	if start < 18 || start+captured > len(b) { // 18: the fields without what pads them
		return f, 0, false
	}
	f = Frame{Data: b[start : start+captured : start+captured], WireLen: max(int(h.Datalen), captured),
		TimeNanos: int64(h.Tstamp.Sec)*int64(time.Second) + int64(h.Tstamp.Usec)*int64(time.Microsecond)}
	return f, min((start+captured+3)&^3, len(b)), true
}

// wake implements device: the wait ends by its timeout.
func (d *bpfDevice) wake() {}

// dropped implements device.
func (d *bpfDevice) dropped() (uint64, error) {
	s, err := syscall.BpfStats(d.fd)
	if err != nil {
		return 0, os.NewSyscallError("BIOCGSTATS", err)
	}
	return uint64(s.Drop), nil
}

func (d *bpfDevice) close() error { return os.NewSyscallError("close", unix.Close(d.fd)) }

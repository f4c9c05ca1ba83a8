package capture

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/flowlake/flowlake/collector/packet"
)

// adapterDevice is an interface opened by wpcap.dll.
type adapterDevice struct {
	w      *wpcap
	next   *windows.Proc // pcap_next_ex
	handle uintptr
	link   packet.LinkType
	index  uint32
	snap   int

	stat pcapStat
	buf  []byte // of the frames of a batch: the library's memory is valid for one frame only
}

// openDevice opens an interface by its name or alias.
func openDevice(o *LiveOptions) (device, error) {
	w, err := loadWpcap()
	if err != nil {
		return nil, err
	}
	d := &adapterDevice{w: w, snap: o.SnapBytes}
	if d.next, err = w.dll.FindProc("pcap_next_ex"); err != nil {
		return nil, fmt.Errorf("%w: %s has no pcap_next_ex: install a newer Npcap (npcap.com)", ErrUnsupported, w.dll.Name)
	}
	name, err := d.find(o.Interface)
	if err != nil {
		return nil, err
	}
	promiscuous := uintptr(0)
	if o.Promiscuous {
		promiscuous = 1
	}
	var text errorText
	if d.handle, err = w.call("pcap_open_live", uintptr(unsafe.Pointer(name)), uintptr(o.SnapBytes), promiscuous,
		uintptr(o.timeout().Milliseconds()), text.ptr()); err != nil {
		return nil, err
	}
	if d.handle == 0 {
		return nil, text.err()
	}
	if err := d.set(o); err != nil {
		_ = d.close()
		return nil, err
	}
	return d, nil
}

// find is the device's name, in bytes that end with a zero, of an interface that may be named by its alias.
func (d *adapterDevice) find(name string) (*byte, error) {
	list, err := Devices()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(v Device) bool { return v.Name == name || strings.EqualFold(v.Alias, name) })
	if i < 0 {
		return nil, ErrNoInterface
	}
	d.index = list[i].Index
	return windows.BytePtrFromString(list[i].Name)
}

// set sets what an open interface needs: its filter, and a larger buffer where the library has one.
func (d *adapterDevice) set(o *LiveOptions) error {
	_, _ = d.w.call("pcap_setbuff", d.handle, uintptr(min(o.BlockBytes*o.Blocks, 1<<30))) // of Windows only
	link, err := d.w.call("pcap_datalink", d.handle)
	if err != nil {
		return err
	}
	d.link = linkType(uint16(link))
	if !d.link.Supported() {
		return fmt.Errorf("%w: link type %d", ErrUnsupported, d.link)
	}
	code, err := staticProgram(o, d.link)
	if err != nil {
		return err
	}
	p := pcapProgram{uint32(len(code)), &code[0]}
	r, err := d.w.call("pcap_setfilter", d.handle, uintptr(unsafe.Pointer(&p)))
	if err != nil {
		return err
	}
	if int32(r) != 0 {
		return fmt.Errorf("attach filter of %d instructions: %w", len(code), d.lastError())
	}
	return nil
}

func (d *adapterDevice) lastError() error {
	r, err := d.w.call("pcap_geterr", d.handle)
	if err != nil || r == 0 {
		return fmt.Errorf("unknown error")
	}
	text := windows.BytePtrToString(*(**byte)(unsafe.Pointer(&r)))
	if strings.Contains(strings.ToLower(text), "not found") || strings.Contains(text, "went down") || strings.Contains(text, "disappeared") {
		return fmt.Errorf("%w: %s", ErrNoInterface, text)
	}
	return fmt.Errorf("%s", text)
}

// read implements device. A batch ends when nothing has come for the interface's timeout.
func (d *adapterDevice) read(b *Batch, most int) error {
	d.buf = d.buf[:0]
	if cap(d.buf) == 0 {
		d.buf = make([]byte, 0, max(1<<20, 2*d.snap))
	}
	for len(b.Frames) < most && cap(d.buf)-len(d.buf) >= d.snap {
		var h *pcapHeader
		var data *byte
		r, _, _ := d.next.Call(d.handle, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&data)))
		switch int32(r) {
		case 1:
		case 0, -2: // nothing in time, or woken up
			return nil
		default:
			return d.lastError()
		}
		at, n := len(d.buf), min(int(h.captured), d.snap)
		d.buf = append(d.buf, unsafe.Slice(data, n)...)
		b.Frames = append(b.Frames, Frame{Data: d.buf[at : at+n : at+n], TimeNanos: int64(h.sec)*1e9 + int64(h.micros)*1000,
			WireLen: max(int(h.len), n), Interface: d.index, Link: d.link})
	}
	return nil
}

// wake implements device: a library without pcap_breakloop ends its wait by its timeout.
func (d *adapterDevice) wake() { _, _ = d.w.call("pcap_breakloop", d.handle) }

// dropped implements device.
func (d *adapterDevice) dropped() (uint64, error) {
	r, err := d.w.call("pcap_stats", d.handle, uintptr(unsafe.Pointer(&d.stat)))
	if err != nil {
		return 0, err
	}
	if int32(r) != 0 {
		return 0, d.lastError()
	}
	return uint64(d.stat.dropped) + uint64(d.stat.ifDropped), nil
}

func (d *adapterDevice) close() error {
	_, err := d.w.call("pcap_close", d.handle)
	return err
}

package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/windows"
)

// wpcap is the library of Npcap or WinPcap. Every function is looked up when it is needed: libraries of some age lack some.
type wpcap struct {
	dll *windows.DLL
}

var loadWpcap = sync.OnceValues(func() (*wpcap, error) {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return nil, fmt.Errorf("find wpcap.dll: %w", err)
	}
	// Npcap lies in a folder of its own unless it was installed in WinPcap's place; its Packet.dll lies beside it.
	var errs []error
	for _, path := range []string{filepath.Join(dir, "Npcap", "wpcap.dll"), filepath.Join(dir, "wpcap.dll")} {
		h, err := windows.LoadLibraryEx(path, 0, windows.LOAD_WITH_ALTERED_SEARCH_PATH)
		if err == nil {
			return &wpcap{&windows.DLL{Name: path, Handle: h}}, nil
		}
		errs = append(errs, fmt.Errorf("load %s: %w", path, err))
	}
	return nil, fmt.Errorf("%w: neither Npcap (npcap.com) nor WinPcap is installed: %w", ErrUnsupported, errors.Join(errs...))
})

// call calls a function; the error says that the library lacks it.
func (w *wpcap) call(name string, args ...uintptr) (uintptr, error) {
	p, err := w.dll.FindProc(name)
	if err != nil {
		return 0, fmt.Errorf("%w: %s has no %s: install a newer Npcap (npcap.com)", ErrUnsupported, w.dll.Name, name)
	}
	r, _, _ := p.Call(args...) // the last error is not how this library tells of errors
	return r, nil
}

// errorText is a message in a buffer of PCAP_ERRBUF_SIZE bytes.
type errorText [256]byte

func (e *errorText) ptr() uintptr { return uintptr(unsafe.Pointer(e)) }

func (e *errorText) err() error {
	text := windows.ByteSliceToString(e[:])
	if text == "" {
		text = "unknown error"
	}
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "denied") || strings.Contains(lower, "permission"):
		return fmt.Errorf("%w: %s; run as administrator", ErrPermission, text)
	case strings.Contains(lower, "no such device") || strings.Contains(lower, "unable to open the adapter"):
		return fmt.Errorf("%w: %s", ErrNoInterface, text)
	}
	return errors.New(text)
}

// Layouts of pcap.h, as Windows has them: long is of 32 bits.
type (
	pcapIf struct {
		next        *pcapIf
		name        *byte
		description *byte
		addresses   *pcapAddr
		flags       uint32
	}
	pcapAddr struct {
		next      *pcapAddr
		addr      *windows.RawSockaddrAny
		netmask   uintptr
		broadcast uintptr
		peer      uintptr
	}
	pcapHeader struct {
		sec, micros   int32
		captured, len uint32
	}
	pcapProgram struct {
		len uint32
		ins *bpf.RawInstruction // the same layout as bpf_insn
	}
	pcapStat struct {
		received, dropped, ifDropped uint32
		more                         [16]uint32 // what some libraries add
	}
)

const (
	pcapLoopback = 1
	pcapUp       = 2
)

// Devices lists the interfaces that the library can capture on.
func Devices() ([]Device, error) {
	w, err := loadWpcap()
	if err != nil {
		return nil, err
	}
	aliases := adapters()
	var first *pcapIf
	var text errorText
	r, err := w.call("pcap_findalldevs", uintptr(unsafe.Pointer(&first)), text.ptr())
	if err != nil {
		return nil, err
	}
	if int32(r) != 0 {
		return nil, fmt.Errorf("list interfaces: %w", text.err())
	}
	var out []Device
	for d := first; d != nil; d = d.next {
		dev := Device{Name: windows.BytePtrToString(d.name), Loopback: d.flags&pcapLoopback != 0, Up: true}
		if d.description != nil {
			dev.Description = windows.BytePtrToString(d.description)
		}
		dev.Alias = dev.Name
		if a, ok := aliases[strings.ToUpper(guid(dev.Name))]; ok {
			dev.Alias, dev.Index, dev.Up = a.name, a.index, a.up
		}
		for a := d.addresses; a != nil; a = a.next {
			if ip, ok := sockaddr(a.addr); ok {
				dev.Addrs = append(dev.Addrs, ip)
			}
		}
		out = append(out, dev)
	}
	if first != nil {
		_, _ = w.call("pcap_freealldevs", uintptr(unsafe.Pointer(first))) // without it the list is lost, which is small
	}
	return out, nil
}

// guid is the {...} in the name of a device.
func guid(name string) string {
	i := strings.IndexByte(name, '{')
	if i < 0 {
		return ""
	}
	return name[i:]
}

func sockaddr(a *windows.RawSockaddrAny) (netip.Addr, bool) {
	if a == nil {
		return netip.Addr{}, false
	}
	switch a.Addr.Family {
	case windows.AF_INET:
		return netip.AddrFrom4((*windows.RawSockaddrInet4)(unsafe.Pointer(a)).Addr), true
	case windows.AF_INET6:
		return netip.AddrFrom16((*windows.RawSockaddrInet6)(unsafe.Pointer(a)).Addr), true
	}
	return netip.Addr{}, false
}

// adapter is what Windows knows of an interface.
type adapter struct {
	name  string
	index uint32
	up    bool
}

// adapters are the interfaces by their GUID; none when Windows does not tell.
func adapters() map[string]adapter {
	size := uint32(16 << 10)
	for range 3 {
		buf := make([]byte, size)
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buf[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, 0, 0, first, &size)
		if errors.Is(err, windows.ERROR_BUFFER_OVERFLOW) {
			continue // size says by now what is needed
		}
		if err != nil {
			return nil
		}
		out := map[string]adapter{}
		for a := first; a != nil; a = a.Next {
			index := a.IfIndex
			if index == 0 {
				index = a.Ipv6IfIndex
			}
			out[strings.ToUpper(windows.BytePtrToString(a.AdapterName))] =
				adapter{windows.UTF16PtrToString(a.FriendlyName), index, a.OperStatus == windows.IfOperStatusUp}
		}
		return out
	}
	return nil
}

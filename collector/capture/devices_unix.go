//go:build !windows

package capture

import (
	"fmt"
	"net"
	"net/netip"
)

// Devices lists the interfaces of this host, or of the network namespace of the calling thread.
func Devices() ([]Device, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []Device
	for _, i := range list {
		d := Device{Name: i.Name, Alias: i.Name, Index: uint32(i.Index), Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				d.Addrs = append(d.Addrs, p.Addr().WithZone(""))
			}
		}
		out = append(out, d)
	}
	return out, nil
}

package capture

import "net/netip"

// Device is an interface that may be captured on.
type Device struct {
	// Name is what LiveOptions.Interface takes. On Windows it is a path such as \Device\NPF_{...}; Alias is taken, too.
	Name string
	// Alias is the name that people know the interface by; on other systems than Windows it is the name.
	Alias string
	// Description in words, "" where there is none.
	Description string
	// Index is the system's number of the interface, 0 when it is not known.
	Index uint32
	Addrs []netip.Addr
	// Up says whether it works; Loopback, whether it is the host's to itself.
	Up, Loopback bool
}

// Matches says whether the device is in the set, by any of its names.
func (d *Device) Matches(s *Selection) bool {
	if d.Name == d.Alias {
		return s.Match(d.Name)
	}
	for _, name := range []string{d.Name, d.Alias} {
		for _, out := range s.without {
			if out(name) {
				return false
			}
		}
	}
	return s.Match(d.Name) || s.Match(d.Alias)
}

package exec

import (
	"net/netip"

	"github.com/flowlake/flowlake/db/schema"
)

func addrOf(v Value) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice([]byte(v.S))
	return a.Unmap(), ok
}

func inetBool(f func(netip.Addr) bool) []*Overload {
	return []*Overload{sig(tBool, func(a []Value) (Value, error) {
		ip, ok := addrOf(a[0])
		return BoolValue(ok && f(ip)), nil
	}, tInet)}
}

func init() {
	inet := func(name, signature, doc string, ov []*Overload, aliases ...string) {
		register(&Func{Name: name, Signature: signature, Group: "inet", Doc: doc, Overloads: ov}, aliases...)
	}
	inet("host", "host(inet)", "the address as text", []*Overload{sig(tText, func(a []Value) (Value, error) {
		return TextValue(string(appendInet(nil, a[0].S))), nil
	}, tInet)})
	inet("family", "family(inet)", "4 or 6; NULL for an unknown address", []*Overload{sig(tInt, func(a []Value) (Value, error) {
		ip, ok := addrOf(a[0])
		switch {
		case !ok:
			return NullValue(tInt), nil
		case ip.Is4():
			return IntValue(4), nil
		}
		return IntValue(6), nil
	}, tInet)})
	inet("mask", "mask(inet, bits)", "the address with all but its first bits cleared",
		[]*Overload{sig(tInet, maskAddr, tInet, tInt)})
	inet("is_private", "is_private(inet)", "whether the address is of a private, loopback or link-local range", inetBool(isPrivate))
	inet("is_internet", "is_internet(inet)", "whether the address is a public unicast one", inetBool(func(a netip.Addr) bool {
		return a.IsGlobalUnicast() && !isPrivate(a)
	}))
	inet("is_loopback", "is_loopback(inet)", "whether the address is of the own host", inetBool(netip.Addr.IsLoopback))
	inet("is_multicast", "is_multicast(inet)", "whether the address is of a multicast group", inetBool(netip.Addr.IsMulticast))
	inet("inet_contains", "inet_contains(cidr, inet)", "whether the network, as text, contains the address; also inet << 'cidr'",
		[]*Overload{sig(tBool, func(a []Value) (Value, error) {
			f, err := CIDRMatcher(a[0].S)
			if err != nil {
				return Value{}, err
			}
			return BoolValue(f([]byte(a[1].S))), nil
		}, tText, tInet)})
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}

// CIDRMatcher compiles a network such as 10.0.0.0/8 (or one address) into a condition on the 16 bytes of an address.
func CIDRMatcher(cidr string) (func(v []byte) bool, error) {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		a, err2 := netip.ParseAddr(cidr)
		if err2 != nil || a.Zone() != "" {
			return nil, runErrorf(stateBadText, "invalid network: %q", clip(cidr))
		}
		a = a.Unmap()
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	p = p.Masked()
	return func(v []byte) bool {
		a, ok := netip.AddrFromSlice(v)
		return ok && p.Contains(a.Unmap())
	}, nil
}

func maskAddr(a []Value) (Value, error) {
	ip, ok := addrOf(a[0])
	if !ok {
		return Value{Type: schema.Inet}, nil
	}
	if a[1].I < 0 || a[1].I > int64(ip.BitLen()) {
		return Value{}, runErrorf(stateBadArgument, "mask length %d is not in 0 to %d", a[1].I, ip.BitLen())
	}
	b := netip.PrefixFrom(ip, int(a[1].I)).Masked().Addr().As16()
	return Value{Type: schema.Inet, S: string(b[:])}, nil
}

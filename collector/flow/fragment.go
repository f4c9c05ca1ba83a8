package flow

import "github.com/flowlake/flowlake/collector/packet"

// Later fragments of a datagram have no ports. They belong to the flow of the first fragment, which is remembered by
// addresses, datagram id and, for IPv4, protocol (RFC 791 §3.2, RFC 8200 §4.5).

type fragmentKey struct {
	src, dst packet.Addr
	ipid     uint32
	tunnelID uint32
	proto    uint8
	tunnel   packet.TunnelType
}

// fragment names a flow; id tells whether it is still the same.
type fragment struct {
	id    uint64
	flow  uint32
	lo    bool // the sender is the lower endpoint of the flow's key
	nanos int64
}

// fragmentNanos is how long a datagram may be under way: the reassembly timeout of RFC 8200 §4.5.
const fragmentNanos = 60e9

func fragmentKeyOf(p *packet.Packet) fragmentKey {
	proto := p.Proto
	if p.IPv6 { // of later fragments that is the header behind the fragment header, perhaps another extension
		proto = 0
	}
	return fragmentKey{p.Src, p.Dst, p.IPID, p.Tunnel.ID, proto, p.Tunnel.Type}
}

// firstFragment remembers that the datagram of p belongs to f.
func (t *Table) firstFragment(p *packet.Packet, f *Flow, srcIsLo bool) {
	t.fragments.put(fragmentKeyOf(p), fragment{f.id, f.index, srcIsLo, p.TimeNanos})
}

// laterFragment counts a fragment in the flow of its datagram.
func (t *Table) laterFragment(p *packet.Packet) {
	fr, ok := t.fragments.get(fragmentKeyOf(p))
	if !ok || p.TimeNanos-fr.nanos > fragmentNanos {
		t.m.IgnoredFragment++
		return
	}
	f := t.arena.at(fr.flow)
	if f.index == 0 || f.id != fr.id || f.due <= t.now {
		t.m.IgnoredFragment++
		return
	}
	t.packetSecond(f, p.TimeNanos)
	f.count(p, f.side(fr.lo), p.L3Len)
	t.schedule(f)
}

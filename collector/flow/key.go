package flow

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/flowlake/flowlake/collector/packet"
)

// flowKey is what the packets of a flow have in common, whichever side sent them: the lower endpoint first.
type flowKey struct {
	lo, hi         packet.Addr
	loPort, hiPort uint16
	tunnelID       uint32
	proto          uint8
	tunnel         packet.TunnelType
}

// ICMP types that belong to an exchange of echoes.
const (
	icmpEchoReply   = 0
	icmpEcho        = 8
	icmpv6Echo      = 128
	icmpv6EchoReply = 129
)

// echoKind tells ICMP echo packets apart.
type echoKind uint8

const (
	echoNone echoKind = iota
	echoRequest
	echoReply
)

func echoOf(p *packet.Packet) echoKind {
	t := p.SrcPort >> 8
	switch {
	case p.Proto == packet.ProtoICMP && t == icmpEcho, p.Proto == packet.ProtoICMPv6 && t == icmpv6Echo:
		return echoRequest
	case p.Proto == packet.ProtoICMP && t == icmpEchoReply, p.Proto == packet.ProtoICMPv6 && t == icmpv6EchoReply:
		return echoReply
	}
	return echoNone
}

// ports are the ports to tell flows apart by: those of TCP and UDP, the id of ICMP echoes for both sides, the type and
// code of other ICMP packets for both sides (see keyOf), 0 else.
func ports(p *packet.Packet) (src, dst uint16) {
	switch p.Proto {
	case packet.ProtoTCP, packet.ProtoUDP:
		return p.SrcPort, p.DstPort
	case packet.ProtoICMP, packet.ProtoICMPv6:
		if echoOf(p) != echoNone {
			return p.DstPort, p.DstPort
		}
		return p.SrcPort, p.SrcPort
	}
	return 0, 0
}

// keyOf returns the key of p, and whether its source is the lower endpoint.
func keyOf(p *packet.Packet) (k flowKey, srcIsLo bool) {
	sp, dp := ports(p)
	c := bytes.Compare(p.Src[:], p.Dst[:])
	k.tunnelID, k.proto, k.tunnel = p.Tunnel.ID, p.Proto, p.Tunnel.Type
	srcIsLo = c < 0 || c == 0 && sp <= dp
	if srcIsLo {
		k.lo, k.hi, k.loPort, k.hiPort = p.Src, p.Dst, sp, dp
	} else {
		k.lo, k.hi, k.loPort, k.hiPort = p.Dst, p.Src, dp, sp
	}
	if p.Proto == packet.ProtoICMP || p.Proto == packet.ProtoICMPv6 {
		switch echoOf(p) {
		case echoNone:
			k.hiPort = ^k.loPort // a type and code is not the id of an echo
		case echoReply:
			srcIsLo = srcIsLo && c != 0 // a host that asks itself
		}
	}
	return k, srcIsLo
}

func (k *flowKey) equal(o *flowKey) bool {
	return k.loPort == o.loPort && k.hiPort == o.hiPort && k.lo == o.lo && k.hi == o.hi && k.tunnelID == o.tunnelID &&
		k.proto == o.proto && k.tunnel == o.tunnel
}

// The mixing function is the 64x64->128 bit multiply-and-fold of wyhash (Wang Yi, public domain); the constants are
// digits of pi.
const (
	mix0 = 0x243f6a8885a308d3
	mix1 = 0x13198a2e03707345
	mix2 = 0xa4093822299f31d1
	mix3 = 0x082efa98ec4e6c89
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hash spreads the key over 64 bits.
func (k *flowKey) hash(seed uint64) uint64 {
	le := binary.LittleEndian
	ports := uint64(k.loPort)<<48 | uint64(k.hiPort)<<32 | uint64(k.tunnelID)
	h := mix(le.Uint64(k.lo[:])^mix0^seed, le.Uint64(k.lo[8:])^mix1)
	h ^= mix(le.Uint64(k.hi[:])^mix2^seed, le.Uint64(k.hi[8:])^mix3)
	h = mix(h^ports^mix1, uint64(k.proto)<<8^uint64(k.tunnel)^mix2)
	return mix(h^seed, mix0)
}

// flowID is the id of the flow that began at startNanos: a hash, so that it needs no counter and comes out the same when
// the same packets are read again. It is never 0.
func (k *flowKey) flowID(startNanos int64, agent uint64) uint64 {
	id := k.hash(mix(uint64(startNanos)^mix3, agent^mix2))
	return max(id, 1)
}

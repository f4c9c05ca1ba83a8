package stages

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// frameOf is an Ethernet frame with an IPv4 TCP or UDP packet of n payload bytes, inside VXLAN when vni is not 0.
func frameOf(proto uint8, client bool, i, n int, flags byte, vni uint32) []byte {
	transport := 20
	if proto == packet.ProtoUDP {
		transport = 8
	}
	f := make([]byte, 14+20+transport+n)
	copy(f, []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0})
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(ip[2:], uint16(20+transport+n))
	src, dst := ip[12:16], ip[16:20]
	sport, dport := ip[20:22], ip[22:24]
	if !client {
		src, dst, sport, dport = dst, src, dport, sport
	}
	copy(src, []byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	copy(dst, []byte{10, 200, 0, byte(i % 200)})
	binary.BigEndian.PutUint16(sport, uint16(32768+i%28000))
	binary.BigEndian.PutUint16(dport, 443)
	if proto == packet.ProtoTCP {
		ip[32], ip[33] = 5<<4, flags
		binary.BigEndian.PutUint16(ip[34:], 512)
	} else {
		binary.BigEndian.PutUint16(ip[24:], uint16(8+n))
	}
	if vni != 0 {
		outer := frameOf(packet.ProtoUDP, true, i, 8+len(f), 0, 0)
		u := outer[14+20:]
		binary.BigEndian.PutUint16(u[2:], 4789)
		u[8] = 8
		binary.BigEndian.PutUint32(u[12:], vni<<8)
		copy(u[16:], f)
		return outer
	}
	return f
}

// mixedFrames is traffic of a thousand flows in no order: data, acknowledgements, some UDP, a tenth of it in VXLAN.
func mixedFrames() [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([][]byte, 4096)
	for k := range out {
		i, client, vni := rng.IntN(1000), rng.IntN(2) == 0, uint32(0)
		if rng.IntN(10) == 0 {
			vni = 42
		}
		switch rng.IntN(10) {
		case 0:
			out[k] = frameOf(packet.ProtoUDP, client, i, 60, 0, vni)
		case 1, 2, 3, 4:
			out[k] = frameOf(packet.ProtoTCP, client, i, 0, packet.FlagACK, vni)
		default:
			out[k] = frameOf(packet.ProtoTCP, client, i, 1400, packet.FlagPSH|packet.FlagACK, vni)
		}
	}
	return out
}

func BenchmarkDecodePacket(b *testing.B) {
	frames := mixedFrames()
	d := packet.NewDecoder()
	var p packet.Packet
	per(b, len(frames), "packet", func(int) {
		for _, f := range frames {
			if err := d.Decode(&p, f, len(f), packet.LinkEthernet); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type discard struct{ reports int }

func (d *discard) Flow(*flow.Report)                 { d.reports++ }
func (d *discard) Exchange(*flow.Flow, *l7.Exchange) {}

// decoded is a frame as a Packet.
func decoded(tb testing.TB, frame []byte, at int64, seq, ack uint32) packet.Packet {
	tb.Helper()
	var p packet.Packet
	if err := packet.NewDecoder().Decode(&p, frame, len(frame), packet.LinkEthernet); err != nil {
		tb.Fatal(err)
	}
	p.TimeNanos, p.Seq, p.Ack = at, seq, ack
	return p
}

// conversation is a short TCP connection: handshake, request, a response of two segments, close.
func conversation(tb testing.TB, at int64) []packet.Packet {
	const us = 1000
	step := []struct {
		client   bool
		n        int
		flags    byte
		seq, ack uint32
	}{
		{true, 0, packet.FlagSYN, 100, 0},
		{false, 0, packet.FlagSYN | packet.FlagACK, 500, 101},
		{true, 0, packet.FlagACK, 101, 501},
		{true, 200, packet.FlagPSH | packet.FlagACK, 101, 501},
		{false, 0, packet.FlagACK, 501, 301},
		{false, 1400, packet.FlagACK, 501, 301},
		{false, 600, packet.FlagPSH | packet.FlagACK, 1901, 301},
		{true, 0, packet.FlagACK, 301, 2501},
		{true, 0, packet.FlagFIN | packet.FlagACK, 301, 2501},
		{false, 0, packet.FlagFIN | packet.FlagACK, 2501, 302},
		{true, 0, packet.FlagACK, 302, 2502},
	}
	out := make([]packet.Packet, len(step))
	for k, s := range step {
		out[k] = decoded(tb, frameOf(packet.ProtoTCP, s.client, 1, s.n, s.flags, 0), at+int64(k)*50*us, s.seq, s.ack)
	}
	return out
}

// move gives a packet of a conversation the client of flow i.
func move(p *packet.Packet, i int) {
	side, port := &p.Src, &p.SrcPort
	if p.SrcPort == 443 {
		side, port = &p.Dst, &p.DstPort
	}
	side[13], side[14], side[15] = byte(i>>16), byte(i>>8), byte(i)
	*port = uint16(32768 + i%28000)
}

// BenchmarkFlowUpdate is what a packet costs the flow table: one of an open connection among 100,000 in a scattered
// order, and one of whole short connections, report included.
func BenchmarkFlowUpdate(b *testing.B) {
	const open, t0 = 100_000, int64(1767225600e9)
	k := conversation(b, t0)
	table := func() *flow.Table {
		t := flow.New(flow.Options{DisableL7: true}, &discard{})
		for i := range open {
			for j := range 3 {
				p := k[j]
				move(&p, i)
				t.Packet(&p)
			}
		}
		return t
	}
	b.Run("established", func(b *testing.B) {
		t := table()
		seqs := make([]uint32, open)
		i, at := 0, t0+1e9
		per(b, 1000, "packet", func(int) {
			for range 1000 {
				at += 1000
				p := k[3]
				move(&p, i)
				p.TimeNanos, p.Seq = at, 101+seqs[i]
				seqs[i] += p.PayloadLen
				t.Packet(&p)
				i = (i + 7919) % open
			}
		})
	})
	b.Run("conversation", func(b *testing.B) {
		t := table()
		i, at := open, t0+1e9
		per(b, len(k), "packet", func(int) {
			i = i%(1<<22) + 1
			at += 20_000
			for j := range k {
				p := k[j]
				move(&p, i)
				p.TimeNanos = at + int64(j)*1000
				t.Packet(&p)
			}
		})
	})
}

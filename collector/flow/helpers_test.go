package flow

import (
	"math/rand/v2"
	"sort"

	"github.com/flowlake/flowlake/collector/packet"
)

const (
	fin    = packet.FlagFIN
	syn    = packet.FlagSYN
	rst    = packet.FlagRST
	psh    = packet.FlagPSH
	ack    = packet.FlagACK
	urg    = packet.FlagURG
	synAck = syn | ack
	pshAck = psh | ack
	finAck = fin | ack

	ms = int64(1e6)
	// t0 lies 10 s behind a full minute.
	t0 = 1_700_000_000_000_000_000/int64(60e9)*int64(60e9) + 10*second
)

func addr4(a, b, c, d byte) packet.Addr {
	return packet.Addr{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d}
}

// talk builds the packets of one connection.
type talk struct {
	client, server         packet.Addr
	clientPort, serverPort uint16
	proto                  uint8
	packets                []packet.Packet
}

func newTalk() *talk {
	return &talk{client: addr4(10, 0, 0, 1), server: addr4(10, 0, 0, 2), clientPort: 40000, serverPort: 80,
		proto: packet.ProtoTCP}
}

// add appends a packet: dir 0 is from the client; at is in nanoseconds since t0.
func (k *talk) add(dir int, at int64, flags uint16, seq, ackNo, length uint32) *packet.Packet {
	p := packet.Packet{TimeNanos: t0 + at, WireLen: 54 + length, CapLen: 54 + length, Proto: k.proto, EtherType: 0x800,
		Src: k.client, Dst: k.server, SrcPort: k.clientPort, DstPort: k.serverPort, SrcMAC: [6]byte{1}, DstMAC: [6]byte{2},
		Seq: seq, Ack: ackNo, TCPFlags: flags, Window: 1000, WScale: -1, L3Len: 20 + length, PayloadLen: length}
	if dir == 1 {
		p.Src, p.Dst, p.SrcPort, p.DstPort, p.SrcMAC, p.DstMAC = p.Dst, p.Src, p.DstPort, p.SrcPort, p.DstMAC, p.SrcMAC
	}
	k.packets = append(k.packets, p)
	return &k.packets[len(k.packets)-1]
}

// handshake adds SYN, SYN-ACK and ACK at 0, 10 and 30 ms; data begins at 101 and 501.
func (k *talk) handshake() *talk {
	k.add(0, 0, syn, 100, 0, 0)
	k.add(1, 10*ms, synAck, 500, 101, 0)
	k.add(0, 30*ms, ack, 101, 501, 0)
	return k
}

// randomTalks makes the packets of n connections over some minutes, in the order of time: some lose packets, repeat or
// reorder them, some end and some do not.
func randomTalks(rnd *rand.Rand, n int) []packet.Packet {
	var all []packet.Packet
	for i := range n {
		k := newTalk()
		k.client = addr4(10, 1, byte(i>>8), byte(i))
		k.server = addr4(10, 2, 0, byte(rnd.IntN(8)))
		k.clientPort, k.serverPort = uint16(1024+rnd.IntN(64000)), []uint16{80, 443, 53, 5432, 33000}[rnd.IntN(5)]
		if rnd.IntN(4) == 0 {
			k.proto = packet.ProtoUDP
		}
		at := rnd.Int64N(200 * second)
		seq := [2]uint32{rnd.Uint32() >> 2, rnd.Uint32() >> 2} // far from the wrap
		step := func() int64 {
			at += rnd.Int64N(20*ms) + 1
			if rnd.IntN(20) == 0 {
				at += rnd.Int64N(50 * second)
			}
			return at / 1000 * 1000
		}
		if k.proto == packet.ProtoTCP && rnd.IntN(8) != 0 {
			k.add(0, step(), syn, seq[0], 0, 0)
			seq[0]++
			if rnd.IntN(8) != 0 {
				k.add(1, step(), synAck, seq[1], seq[0], 0)
				seq[1]++
				k.add(0, step(), ack, seq[0], seq[1], 0)
			}
		}
		for range rnd.IntN(40) {
			dir := rnd.IntN(2)
			length := uint32(rnd.IntN(3) * rnd.IntN(1400))
			flags := uint16(ack)
			if length > 0 && rnd.IntN(2) == 0 {
				flags = pshAck
			}
			s := seq[dir]
			switch rnd.IntN(12) {
			case 0:
				s -= uint32(rnd.IntN(2000))
			case 1:
				seq[dir] += uint32(rnd.IntN(3000))
			}
			p := k.add(dir, step(), flags, s, seq[1-dir], length)
			if rnd.IntN(30) == 0 {
				p.Window = 0
			}
			seq[dir] = max(seq[dir], s+length)
		}
		if k.proto == packet.ProtoTCP {
			switch rnd.IntN(4) {
			case 0:
				k.add(0, step(), finAck, seq[0], seq[1], 0)
				k.add(1, step(), finAck, seq[1], seq[0]+1, 0)
				k.add(0, step(), ack, seq[0]+1, seq[1]+1, 0)
			case 1:
				k.add(rnd.IntN(2), step(), rst, seq[0], 0, 0)
			}
		}
		all = append(all, k.packets...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].TimeNanos < all[j].TimeNanos })
	return all
}

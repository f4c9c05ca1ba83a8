package flow

import (
	"testing"

	"github.com/flowlake/flowlake/collector/packet"
)

// packetsFrom makes packets of arbitrary bytes, 12 bytes each: mostly of few connections, so that they meet.
func packetsFrom(b []byte) []packet.Packet {
	var all []packet.Packet
	at := t0
	protos := [...]uint8{packet.ProtoTCP, packet.ProtoTCP, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, 132,
		packet.ProtoICMPv6, packet.ProtoTCP}
	payload := make([]byte, 64)
	for ; len(b) >= 12; b = b[12:] {
		step := int64(int8(b[0])) * (1 << (b[1] & 31)) // from minus minutes to plus hours
		at += step
		p := packet.Packet{TimeNanos: at, Proto: protos[b[2]&7], Src: addr4(10, 0, 0, b[3]&1), Dst: addr4(10, 0, 0, b[3]>>1&1),
			SrcPort: uint16(b[3]>>2&3) * 20000, DstPort: uint16(b[3]>>4&3) * 20000, TCPFlags: uint16(b[4]),
			Seq: uint32(b[5])<<24 | uint32(b[6])<<4, Ack: uint32(b[7])<<24 | uint32(b[8])<<4, WScale: -1,
			PayloadLen: uint32(b[9]) * 8, Window: uint16(b[10]), Interface: uint32(b[2] >> 7), IPID: uint32(b[10]),
			WireLen: 54 + uint32(b[9])*8, L3Len: 20 + uint32(b[9])*8}
		for i := range payload {
			payload[i] = b[i%12]
		}
		if b[11]&64 != 0 {
			copy(payload, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		if b[11]&32 != 0 {
			copy(payload, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		p.Payload = append([]byte(nil), payload[:min(len(payload), int(p.PayloadLen))]...)
		if b[11]&3 == 3 {
			p.Fragment, p.FragOffset, p.MoreFragments = true, uint16(b[11]>>2&3)*8, b[11]&16 != 0
			if p.FragOffset > 0 {
				p.SrcPort, p.DstPort, p.PayloadLen, p.Payload = 0, 0, 0, nil
			}
		}
		all = append(all, p)
	}
	return all
}

// FuzzTable: whatever comes, nothing panics, every packet is accounted for, every flow ends, memory is bounded.
func FuzzTable(f *testing.F) {
	f.Add([]byte{})
	seed := make([]byte, 12*40)
	for i := range seed {
		seed[i] = byte(i * 37)
	}
	f.Add(seed)
	f.Add([]byte{
		1, 20, 0, 0x42, syn, 1, 1, 0, 0, 0, 9, 0,
		1, 20, 0, 0x19, synAck, 2, 2, 1, 1, 0, 9, 0,
		1, 20, 0, 0x42, ack, 1, 1, 2, 2, 0, 9, 0,
		1, 20, 0, 0x42, pshAck, 1, 2, 2, 2, 9, 9, 64,
		1, 20, 0, 0x19, pshAck, 2, 2, 1, 3, 9, 9, 32,
		1, 20, 0, 0x42, rst, 1, 2, 2, 2, 0, 9, 0,
	})
	f.Add([]byte{
		1, 20, 3, 0x12, 0, 0, 0, 0, 0, 9, 7, 3 | 16,
		1, 20, 3, 0x02, 0, 0, 0, 0, 0, 9, 7, 3 | 4 | 16,
		1, 20, 3, 0x02, 0, 0, 0, 0, 0, 9, 7, 3 | 8,
		127, 31, 4, 0x21, 0, 0, 0, 0, 0, 9, 7, 0,
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		packets := packetsFrom(b[:min(len(b), 12*500)])
		o := Options{MaxFlows: 5, ServiceTableSize: 4, FragmentTableSize: 4}
		if len(b) > 0 && b[0]&1 == 1 {
			o.FirstReport = 1e9
		}
		r, table := run(o, packets)
		m := table.Metrics()
		seconds, told := runSeconds(o, packets)
		compareReports(t, seconds.reports, r.reports)
		if told.seconds.n != 0 {
			t.Fatalf("%d seconds are open", told.seconds.n)
		}
		sums, reports := undirected(byFlow(seconds.sums)), undirected(byFlow(sumsOf(r.reports)))
		for _, m := range []map[flowSecond]*Sums{sums, reports} {
			for _, s := range m { // a connection may be opened anew with the same ports
				s.RTT, s.RTTClient, s.RTTServer = Delays{}, Delays{}, Delays{}
			}
		}
		compareSums(t, sums, reports)
		var n uint64
		for i := range r.reports {
			p := &r.reports[i]
			n += p.PacketsTx + p.PacketsRx
			if p.EndNanos < p.StartNanos || p.RTTMicros < -1 || p.RTTMicros > 30e6 || p.SRT.MaxMicros > 10e6 ||
				p.ART.MaxMicros > 30e6 || uint64(p.CIT.MaxMicros) > p.CIT.SumMicros {
				t.Fatalf("%+v", p)
			}
		}
		if n+m.IgnoredFragment+m.IgnoredLate+m.IgnoredTime != uint64(len(packets)) {
			t.Fatalf("%d packets, %d reported, %+v", len(packets), n, m)
		}
		if m.Open != 0 || m.Created != m.Closed || table.ranges.used != 0 || m.L7.Conns != 0 {
			t.Fatalf("left over: %+v, %d range blocks", m, table.ranges.used)
		}
		if len(table.arena.chunks) > 1 || len(table.index.slots) > minHashSlots || m.Services > 4 || m.Fragments > 4 {
			t.Fatalf("grew: %+v", m)
		}
	})
}

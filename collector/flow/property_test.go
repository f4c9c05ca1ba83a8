package flow

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/packet"
)

// totals are the sums over all reports of a flow.
type totals struct {
	packets, bytes, payload                 [2]uint64
	flags                                   [2]uint16
	syn, synack, fin, retransSYN, retransSA uint32
	retrans, ooo, zero                      [2]uint32
	srt, art, cit, rtt                      Delays
	rtts, rttClients                        int
	rttMicros, rttClientMicros              int64
	starts                                  int
	close                                   CloseType
	client, server                          packet.Addr
}

func (d *Delays) add(o Delays) {
	d.SumMicros += o.SumMicros
	d.Count += o.Count
	d.MaxMicros = max(d.MaxMicros, o.MaxMicros)
}

func (s *totals) add(r *Report) {
	s.packets[0] += r.PacketsTx
	s.packets[1] += r.PacketsRx
	s.bytes[0] += r.BytesTx
	s.bytes[1] += r.BytesRx
	s.payload[0] += r.PayloadBytesTx
	s.payload[1] += r.PayloadBytesRx
	s.flags[0] |= r.TCPFlagsTx
	s.flags[1] |= r.TCPFlagsRx
	s.syn += r.SYNCount
	s.synack += r.SYNACKCount
	s.fin += r.FINCount
	s.retransSYN += r.RetransSYN
	s.retransSA += r.RetransSYNACK
	s.retrans[0] += r.RetransTx
	s.retrans[1] += r.RetransRx
	s.ooo[0] += r.OutOfOrderTx
	s.ooo[1] += r.OutOfOrderRx
	s.zero[0] += r.ZeroWindowTx
	s.zero[1] += r.ZeroWindowRx
	s.srt.add(r.SRT)
	s.art.add(r.ART)
	s.cit.add(r.CIT)
	s.rtt.add(r.RTTServer)
	if r.RTTMicros >= 0 {
		s.rtts++
		s.rttMicros = r.RTTMicros
	}
	if r.RTTClientMicros >= 0 {
		s.rttClients++
		s.rttClientMicros = r.RTTClientMicros
	}
	if r.IsNew {
		s.starts++
	}
	s.close = r.CloseType
	s.client, s.server = r.Client, r.Server
}

func sum(reports []Report) map[uint64]totals {
	m := map[uint64]totals{}
	for i := range reports {
		s := m[reports[i].FlowID]
		s.add(&reports[i])
		m[reports[i].FlowID] = s
	}
	return m
}

func seeds(t *testing.T, f func(t *testing.T, rnd *rand.Rand)) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

// TestReportsAreOrderedAndComplete checks what must hold for any traffic.
func TestReportsAreOrderedAndComplete(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		r, table := run(Options{}, packets)
		var n, bytes uint64
		flushed := packets[len(packets)-1].TimeNanos
		open := map[uint64]bool{}
		for i := range r.reports {
			a := &r.reports[i]
			if i > 0 {
				b := &r.reports[i-1]
				if a.TimeNanos < b.TimeNanos || a.TimeNanos == b.TimeNanos && a.FlowID <= b.FlowID {
					if !table.reusedAt(a) {
						t.Fatalf("report %d (%d, %x) after (%d, %x)", i, a.TimeNanos, a.FlowID, b.TimeNanos, b.FlowID)
					}
				}
			}
			if a.IsNew == open[a.FlowID] {
				t.Fatalf("report %d: is_new is %v", i, a.IsNew)
			}
			open[a.FlowID] = true
			if a.CloseType == CloseForcedReport && (a.TimeNanos+1)%int64(time.Minute) != 0 && a.TimeNanos != flushed {
				t.Fatalf("forced report at %d", a.TimeNanos)
			}
			if a.EndNanos < a.StartNanos || a.TimeNanos < a.EndNanos {
				t.Fatalf("report %d: start %d, end %d, time %d", i, a.StartNanos, a.EndNanos, a.TimeNanos)
			}
			if a.RTTMicros < -1 || a.RTTClientMicros < -1 || a.RTTServerMicros < -1 || a.TLSRTTMicros < -1 {
				t.Fatalf("report %d: negative delays", i)
			}
			for _, d := range []Delays{a.SRT, a.ART, a.CIT, a.RTTServer, a.RRT} {
				if uint64(d.MaxMicros) > d.SumMicros || d.SumMicros > d.Count*uint64(d.MaxMicros) {
					t.Fatalf("report %d: %+v", i, d)
				}
			}
			n += a.PacketsTx + a.PacketsRx
			bytes += a.BytesTx + a.BytesRx
		}
		var want uint64
		for i := range packets {
			want += uint64(packets[i].WireLen)
		}
		if n != uint64(len(packets)) || bytes != want {
			t.Errorf("%d packets, %d bytes reported, want %d, %d", n, bytes, len(packets), want)
		}
		if m := table.Metrics(); m.Open != 0 || m.Created != m.Closed || int(m.Created) != len(open) {
			t.Errorf("%+v", m)
		}
		if table.ranges.used != 0 {
			t.Errorf("%d range blocks lost", table.ranges.used)
		}
	})
}

// reusedAt says whether a report may be out of order, because its flow made way for another one.
func (t *Table) reusedAt(r *Report) bool { return t.m.Reused > 0 && r.CloseType != CloseForcedReport }

// TestTicksChangeNothing: the same packets give the same reports with and without ticks between them.
func TestTicksChangeNothing(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		for _, o := range []Options{{}, {FirstReport: time.Second}, {ReportInterval: 5 * time.Second}} {
			packets := randomTalks(rnd, 40)
			want, _ := run(o, packets)
			got := &recorder{}
			table := New(o, got)
			for i := range packets {
				if i > 0 {
					for at := packets[i-1].TimeNanos; at < packets[i].TimeNanos; at += 1 + rnd.Int64N(3*second) {
						table.Tick(at)
					}
				}
				table.Packet(&packets[i])
			}
			table.Flush(table.now)
			compareReports(t, got.reports, want.reports)
		}
	})
}

func compareReports(t *testing.T, got, want []Report) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d reports, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("report %d:\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

// TestIntervalsAddUp: the sums over the reports of a flow do not depend on how often it is reported.
func TestIntervalsAddUp(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		want, _ := run(Options{ReportInterval: 24 * time.Hour}, packets)
		for _, o := range []Options{{}, {ReportInterval: time.Second}, {FirstReport: 500 * time.Millisecond}} {
			got, _ := run(o, packets)
			if a, b := sum(got.reports), sum(want.reports); !reflect.DeepEqual(a, b) {
				for id := range b {
					if a[id] != b[id] {
						t.Fatalf("flow %x:\n%+v, want\n%+v", id, a[id], b[id])
					}
				}
				t.Fatal("other flows")
			}
		}
	})
}

// TestTimeShift: whole minutes later, all is the same but the times and what is made from them.
func TestTimeShift(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		want, _ := run(Options{}, packets)
		shift := (rnd.Int64N(1e6) + 1) * int64(time.Minute)
		for i := range packets {
			packets[i].TimeNanos += shift
		}
		got, _ := run(Options{}, packets)
		// Flow ids depend on the start, and the order of simultaneous reports on the ids.
		type key struct {
			at, start      int64
			client, server packet.Addr
			cp, sp         uint16
		}
		byKey := map[key]Report{}
		for _, r := range want.reports {
			k := key{r.TimeNanos, r.StartNanos, r.Client, r.Server, r.ClientPort, r.ServerPort}
			byKey[k] = r
		}
		for _, r := range got.reports {
			r.TimeNanos -= shift
			r.StartNanos -= shift
			r.EndNanos -= shift
			w := byKey[key{r.TimeNanos, r.StartNanos, r.Client, r.Server, r.ClientPort, r.ServerPort}]
			w.FlowID = r.FlowID
			if r != w {
				t.Fatalf("%+v, want\n%+v", r, w)
			}
		}
		if len(got.reports) != len(want.reports) {
			t.Fatalf("%d reports, want %d", len(got.reports), len(want.reports))
		}
	})
}

// TestReversal: a flow that turns out to be the other way round reports what it would have reported had that been known.
func TestReversal(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 1)
		for len(packets) < 10 || packets[0].Proto != packet.ProtoTCP {
			packets = randomTalks(rnd, 1)
		}
		cut := rnd.IntN(len(packets))
		var a, b perf
		pool := &rangePool{max: 100}
		for i := range packets {
			dir := 0
			if packets[i].Src != packets[0].Src {
				dir = 1
			}
			if i == cut {
				b.reverse()
			}
			a.tcp(pool, &packets[i], dir)
			if i < cut {
				b.tcp(pool, &packets[i], 1-dir)
			} else {
				b.tcp(pool, &packets[i], dir)
			}
		}
		a.cit, b.cit = timeStat{}, timeStat{} // kept for the client of the moment only
		for i := range 2 {                    // clearing this bit is part of measuring cit
			a.peers[i].flags &^= peerHandshakeACK
			b.peers[i].flags &^= peerHandshakeACK
			a.peers[i].block, b.peers[i].block = 0, 0
		}
		if a != b {
			t.Fatalf("%+v, want\n%+v", b, a)
		}
		f := Flow{key: flowKey{lo: addr4(1, 1, 1, 1), hi: addr4(2, 2, 2, 2), loPort: 1, hiPort: 2, proto: packet.ProtoTCP}, perf: a,
			mac: [2][6]byte{{1}, {2}}}
		f.perf.peers[0].allFlags, f.perf.peers[1].allFlags, f.perf.peers[0].packets, f.perf.peers[1].packets = 1, 2, 3, 4
		g := f
		g.reverse()
		if g == f {
			t.Error("nothing changed")
		}
		if c, cp := g.Client(); c != addr4(1, 1, 1, 1) || cp != 1 || g.ClientMAC() != [6]byte{2} {
			t.Error("the client is not the former server")
		}
		if g.reverse(); g != f {
			t.Error("two reversals are not none")
		}
	})
}

// TestSequenceOffset: as long as the sequence space does not wrap, only differences count.
func TestSequenceOffset(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60) // initial numbers are below 2^30
		want, _ := run(Options{}, packets)
		for _, offset := range []uint32{1, 1 << 20, 1 << 31, 0xbf000000} {
			moved := append([]packet.Packet(nil), packets...)
			for i := range moved {
				moved[i].Seq += offset
				moved[i].Ack += offset
			}
			got, _ := run(Options{}, moved)
			// Acknowledgement numbers of packets without ACK do not matter.
			compareReports(t, got.reports, want.reports)
		}
	})
}

// TestSequenceWrap: a connection in good order has no fault where its sequence numbers wrap, and delays do not notice.
func TestSequenceWrap(t *testing.T) {
	make := func(base uint32) []packet.Packet {
		k := newTalk()
		seq := base
		for i := range int64(200) {
			k.add(0, i*40*ms, pshAck, seq, 77, 1000)
			seq += 1000
			k.add(1, i*40*ms+15*ms, ack, 77, seq, 0)
		}
		return k.packets
	}
	want, _ := run(Options{}, make(1000))
	for _, base := range []uint32{0xffffffff - 100_000, 0xffffffff - 99_999, 0xfffffc18} {
		got, _ := run(Options{}, make(base))
		compareReports(t, got.reports, want.reports)
	}
	s := sum(want.reports)
	for _, v := range s {
		if v.retrans != [2]uint32{} || v.ooo != [2]uint32{} || v.srt.Count != 200 || v.srt.MaxMicros != 15000 {
			t.Errorf("%+v", v)
		}
	}
}

// TestDisorderedPacketsStayBounded: any packets at all leave the counters consistent.
func TestDisorderedPacketsStayBounded(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		rnd.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
		r, table := run(Options{MaxFlows: 10}, packets)
		m := table.Metrics()
		var n uint64
		for i := range r.reports {
			n += r.reports[i].PacketsTx + r.reports[i].PacketsRx
		}
		if n+m.IgnoredLate != uint64(len(packets)) || m.Open != 0 || m.Closed != m.Created {
			t.Errorf("%d packets reported of %d, %+v", n, len(packets), m)
		}
	})
}

// TestLiveReportsAreOrdered: with a first report soon, and ends soon after it, reports still come in the order of time,
// whether or not the clock ticks.
func TestLiveReportsAreOrdered(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		o := Options{FirstReport: time.Second, Timeouts: Timeouts{ClosedFIN: 500 * time.Millisecond, Opening: 1100 * time.Millisecond,
			SingleDirection: 1300 * time.Millisecond, OpeningRST: 1050 * time.Millisecond}}
		packets := randomTalks(rnd, 300)
		for _, ticks := range []bool{false, true} {
			r := &recorder{}
			table := New(o, r)
			for i := range packets {
				if ticks && i > 0 {
					for at := packets[i-1].TimeNanos; at < packets[i].TimeNanos; at += 1 + rnd.Int64N(second) {
						table.Tick(at)
					}
				}
				table.Packet(&packets[i])
			}
			table.Flush(table.now)
			for i := range r.reports[1:] {
				a, b := &r.reports[i], &r.reports[i+1]
				if (b.TimeNanos < a.TimeNanos || b.TimeNanos == a.TimeNanos && b.FlowID <= a.FlowID) && table.m.Reused == 0 {
					t.Fatalf("ticks %v: (%d, %x) after (%d, %x)", ticks, b.TimeNanos, b.FlowID, a.TimeNanos, a.FlowID)
				}
			}
		}
	})
}

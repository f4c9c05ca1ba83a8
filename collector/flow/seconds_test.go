package flow

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/packet"
)

// flowSecond is one flow in one second.
type flowSecond struct {
	sec int64
	id  uint64
}

// secondsRecorder adds up what flows did by second.
type secondsRecorder struct {
	recorder
	sums  map[flowSecond]*Sums
	calls int
	over  int64
	late  int // seconds told after they were over
}

func (r *secondsRecorder) of(sec int64, f *Flow) *Sums {
	k := flowSecond{sec, f.ID()}
	if r.sums[k] == nil {
		r.sums[k] = &Sums{}
	}
	return r.sums[k]
}

func (r *secondsRecorder) Second(f *Flow, s *Second) {
	r.calls++
	if s.StartNanos+second <= r.over {
		r.late++
	}
	r.of(s.StartNanos/second, f).Add(s)
}

func (r *secondsRecorder) Ended(f *Flow, atNanos int64, c CloseType) {
	r.of(atNanos/second, f).Ended[c]++
}

func (r *secondsRecorder) SecondsOver(atNanos int64) { r.over = atNanos }

func runSeconds(o Options, packets []packet.Packet) (*secondsRecorder, *Table) {
	r := &secondsRecorder{sums: map[flowSecond]*Sums{}}
	o.Seconds = r
	t := New(o, r)
	for i := range packets {
		p := packets[i]
		t.Packet(&p)
	}
	t.Flush(0)
	return r, t
}

// sumsOf is the same from reports. Empty ones are left out.
func sumsOf(reports []Report) map[flowSecond]*Sums {
	m := map[flowSecond]*Sums{}
	for i := range reports {
		r := &reports[i]
		k := flowSecond{r.TimeNanos / second, r.FlowID}
		s := m[k]
		if s == nil {
			s = &Sums{}
		}
		active := s.PacketsTx+s.PacketsRx > 0
		addReport(s, r)
		if !active && s.PacketsTx+s.PacketsRx > 0 {
			s.ActiveFlows++
		}
		if *s != (Sums{}) {
			m[k] = s
		}
	}
	return m
}

func addReport(s *Sums, r *Report) {
	s.PacketsTx += r.PacketsTx
	s.PacketsRx += r.PacketsRx
	s.BytesTx += r.BytesTx
	s.BytesRx += r.BytesRx
	s.PayloadBytesTx += r.PayloadBytesTx
	s.PayloadBytesRx += r.PayloadBytesRx
	s.SYNCount += uint64(r.SYNCount)
	s.SYNACKCount += uint64(r.SYNACKCount)
	s.FINCount += uint64(r.FINCount)
	s.RetransSYN += uint64(r.RetransSYN)
	s.RetransSYNACK += uint64(r.RetransSYNACK)
	s.RetransTx += uint64(r.RetransTx)
	s.RetransRx += uint64(r.RetransRx)
	s.OutOfOrderTx += uint64(r.OutOfOrderTx)
	s.OutOfOrderRx += uint64(r.OutOfOrderRx)
	s.ZeroWindowTx += uint64(r.ZeroWindowTx)
	s.ZeroWindowRx += uint64(r.ZeroWindowRx)
	if r.IsNew {
		s.NewFlows++
	}
	s.RTT.Add(r.RTTMicros)
	s.RTTClient.Add(r.RTTClientMicros)
	s.RTTServer.Add(r.RTTServerMicros)
	s.SRT.add(r.SRT)
	s.ART.add(r.ART)
	s.CIT.add(r.CIT)
	s.RRT.add(r.RRT)
	s.L7Requests += uint64(r.L7Requests)
	s.L7Responses += uint64(r.L7Responses)
	s.L7ClientErrors += uint64(r.L7ClientErrors)
	s.L7ServerErrors += uint64(r.L7ServerErrs)
	s.L7Timeouts += uint64(r.L7Timeouts)
	if r.CloseType != CloseForcedReport {
		s.Ended[r.CloseType]++
	}
}

func compareSums(t *testing.T, got, want map[flowSecond]*Sums) {
	t.Helper()
	for k, s := range got {
		if w := want[k]; w == nil && *s != (Sums{}) {
			t.Fatalf("flow %x, second %d: %+v, want nothing", k.id, k.sec, *s)
		} else if w != nil && *w != *s {
			t.Fatalf("flow %x, second %d:\n%+v, want\n%+v", k.id, k.sec, *s, *w)
		}
	}
	for k, w := range want {
		if got[k] == nil {
			t.Fatalf("flow %x, second %d: nothing, want %+v", k.id, k.sec, *w)
		}
	}
}

// byFlow forgets the seconds.
func byFlow(m map[flowSecond]*Sums) map[flowSecond]*Sums {
	out := map[flowSecond]*Sums{}
	for k, s := range m {
		k.sec = 0
		if out[k] == nil {
			out[k] = &Sums{}
		}
		addSums(out[k], s)
	}
	return out
}

func addSums(a, s *Sums) {
	b := *s
	for _, d := range []struct{ a, b *Delays }{{&a.RTT, &b.RTT}, {&a.RTTClient, &b.RTTClient}, {&a.RTTServer, &b.RTTServer},
		{&a.SRT, &b.SRT}, {&a.ART, &b.ART}, {&a.CIT, &b.CIT}, {&a.RRT, &b.RRT}} {
		d.a.add(*d.b)
	}
	for _, d := range []struct{ a, b *uint64 }{{&a.PacketsTx, &b.PacketsTx}, {&a.PacketsRx, &b.PacketsRx}, {&a.BytesTx, &b.BytesTx},
		{&a.BytesRx, &b.BytesRx}, {&a.PayloadBytesTx, &b.PayloadBytesTx}, {&a.PayloadBytesRx, &b.PayloadBytesRx},
		{&a.SYNCount, &b.SYNCount}, {&a.SYNACKCount, &b.SYNACKCount}, {&a.FINCount, &b.FINCount}, {&a.RetransSYN, &b.RetransSYN},
		{&a.RetransSYNACK, &b.RetransSYNACK}, {&a.RetransTx, &b.RetransTx}, {&a.RetransRx, &b.RetransRx},
		{&a.OutOfOrderTx, &b.OutOfOrderTx}, {&a.OutOfOrderRx, &b.OutOfOrderRx}, {&a.ZeroWindowTx, &b.ZeroWindowTx},
		{&a.ZeroWindowRx, &b.ZeroWindowRx}, {&a.NewFlows, &b.NewFlows}, {&a.ActiveFlows, &b.ActiveFlows},
		{&a.L7Requests, &b.L7Requests}, {&a.L7Responses, &b.L7Responses}, {&a.L7ClientErrors, &b.L7ClientErrors},
		{&a.L7ServerErrors, &b.L7ServerErrors}, {&a.L7Timeouts, &b.L7Timeouts}} {
		*d.a += *d.b
	}
	for i := range a.Ended {
		a.Ended[i] += b.Ended[i]
	}
}

// TestSecondsAreReportsOfASecond: what a flow did in a second is what a report says where there is one each second,
// whatever the interval of the reports, and nothing that is reported changes because seconds are told.
func TestSecondsAreReportsOfASecond(t *testing.T) {
	check := func(t *testing.T, o Options, packets []packet.Packet) {
		t.Helper()
		each := o
		each.ReportInterval = time.Second
		want, _ := run(each, packets)
		got, table := runSeconds(o, packets)
		compareSums(t, got.sums, sumsOf(want.reports))
		if table.seconds.n != 0 || got.late > 0 {
			t.Errorf("%d seconds are open, %d were told late", table.seconds.n, got.late)
		}
		plain, _ := run(o, packets)
		compareReports(t, got.reports, plain.reports)
	}
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		for _, o := range []Options{{}, {FirstReport: 1500 * time.Millisecond}, {ReportInterval: 7 * time.Second}, {MaxFlows: 8}} {
			check(t, o, packets)
		}
	})
	files, _ := filepath.Glob(filepath.Join(corpusDir(t), "l*", "*.pcap"))
	more, _ := filepath.Glob(filepath.Join(corpusDir(t), "l7", "*", "*.pcap"))
	for _, file := range append(files, more...) {
		if b, err := os.ReadFile(file); err != nil || binary.LittleEndian.Uint32(b) == 0xa1b2cd34 {
			continue // "modified" pcap, which gopacket does not read
		}
		packets := readPcap(t, file)
		if !slices.IsSortedFunc(packets, func(a, b packet.Packet) int { return int(a.TimeNanos - b.TimeNanos) }) {
			continue // late packets count in the second of their own time, but in the next report
		}
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, Options{}, packets) })
	}
}

// TestLateSeconds: packets out of order count in the second of their own time, and nothing counts twice.
func TestLateSeconds(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		for i := range packets { // up to 3 s late
			if j := i + rnd.IntN(40); j < len(packets) && packets[j].TimeNanos-packets[i].TimeNanos < 3*second {
				packets[i], packets[j] = packets[j], packets[i]
			}
		}
		got, table := runSeconds(Options{}, packets)
		perSecond, active := map[int64]uint64{}, map[flowSecond]bool{}
		for i := range packets {
			perSecond[packets[i].TimeNanos/second]++
		}
		for k, s := range got.sums {
			perSecond[k.sec] -= s.PacketsTx + s.PacketsRx
			if s.ActiveFlows > 1 || (s.ActiveFlows == 1) != (s.PacketsTx+s.PacketsRx > 0) {
				t.Fatalf("%d flows in second %d of one with %d packets", s.ActiveFlows, k.sec, s.PacketsTx+s.PacketsRx)
			}
			active[k] = true
		}
		maps.DeleteFunc(perSecond, func(_ int64, n uint64) bool { return n == 0 })
		if len(perSecond) > 0 || table.Metrics().IgnoredLate > 0 {
			t.Errorf("seconds with other packets: %v", perSecond)
		}
		if got.late == 0 {
			t.Error("nothing was late")
		}
		// The handshake of one flow may be in several seconds, and is in one report.
		sums, reports := byFlow(got.sums), byFlow(sumsOf(got.reports))
		for _, m := range []map[flowSecond]*Sums{sums, reports} {
			for _, s := range m {
				s.RTTServer = Delays{}
			}
		}
		compareSums(t, undirected(sums), undirected(reports))
	})
}

// undirected are the sums of both directions: the seconds before a flow turns around are not counted anew. Delays of the
// side that answers, and in how many seconds there was traffic, are left out.
func undirected(m map[flowSecond]*Sums) map[flowSecond]*Sums {
	for _, s := range m {
		s.ActiveFlows, s.SRT, s.ART, s.CIT = 0, Delays{}, Delays{}, Delays{}
		for _, d := range [][2]*uint64{{&s.PacketsTx, &s.PacketsRx}, {&s.BytesTx, &s.BytesRx}, {&s.PayloadBytesTx, &s.PayloadBytesRx},
			{&s.RetransTx, &s.RetransRx}, {&s.OutOfOrderTx, &s.OutOfOrderRx}, {&s.ZeroWindowTx, &s.ZeroWindowRx}} {
			*d[0], *d[1] = *d[0]+*d[1], 0
		}
	}
	return m
}

// TestManySeconds: more flows than may have an open second lose nothing.
func TestManySeconds(t *testing.T) {
	const n = maxOpenSeconds + 1000
	r := &secondsRecorder{sums: map[flowSecond]*Sums{}}
	table := New(Options{DisableL7: true, Seconds: r}, r)
	p := newTalk().add(0, 0, syn, 100, 0, 0)
	for round := range int64(3) {
		for i := range n {
			endpoints(p, i)
			p.TimeNanos = t0 + round*second/2 + int64(i)
			table.Packet(p)
		}
	}
	table.Flush(0)
	var all Sums
	for _, s := range r.sums {
		addSums(&all, s)
	}
	if all.PacketsTx != 3*n || all.SYNCount != 3*n || all.NewFlows != n || all.ActiveFlows != 2*n || all.Ended[CloseServerSYNMiss] != n {
		t.Errorf("%+v", all)
	}
	if m := table.Metrics(); m.EarlySeconds == 0 || len(table.seconds.chunks)*secondsPerChunk != maxOpenSeconds {
		t.Errorf("%d early ends, %d chunks", m.EarlySeconds, len(table.seconds.chunks))
	}
}

// TestSecondsDoNotAllocate: a second of an open flow costs no memory.
func TestSecondsDoNotAllocate(t *testing.T) {
	var h countSeconds
	table, p := opened(1000, Options{DisableL7: true, Seconds: &h})
	i := 0
	if n := testing.AllocsPerRun(10_000, func() {
		i = (i + 1) % 1000
		endpoints(&p, i)
		p.TimeNanos += 1e6
		p.Seq += 100
		table.Packet(&p)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if h.seconds < 1000 {
		t.Errorf("%d seconds", h.seconds)
	}
}

type countSeconds struct {
	discard
	seconds int
	sums    Sums
}

func (c *countSeconds) Second(_ *Flow, s *Second)           { c.seconds++; c.sums.Add(s) }
func (c *countSeconds) Ended(_ *Flow, _ int64, _ CloseType) {}
func (c *countSeconds) SecondsOver(int64)                   {}

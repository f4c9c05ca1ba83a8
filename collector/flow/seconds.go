package flow

import "math"

// Seconds: what every flow did in each second of packet time, for those who add flows up.
//
// counts holds what a flow did since its last report. When a second opens for a flow that has counted something already,
// that is put aside in an openSecond, so that counts holds what the second brings; when the second is settled, the two are
// put together again. A second is settled when it is over, before a report of the flow, or when open seconds run short.

// SecondHandler is told what flows did, second by second. It must not call the Table nor keep the pointers.
type SecondHandler interface {
	// Second is called for each flow and second with packets or events of the flow, mostly once; again when a packet came
	// late, when the flow was reported in the middle of it, or when more than maxOpenSeconds flows had traffic at once.
	Second(f *Flow, s *Second)
	// Ended is called for each flow that ends, after its last second, with the time and close type of its last report. A flow
	// that the Table lets go of before its end (whose last report is forced) has not ended.
	Ended(f *Flow, atNanos int64, c CloseType)
	// SecondsOver is called when the second before atNanos is over: what follows is of later seconds, or late.
	SecondsOver(atNanos int64)
}

// Second is what a flow did in one second, or in a part of it.
type Second struct {
	// StartNanos is the beginning of the second: a multiple of a second since 1970.
	StartNanos int64
	// First is set once for each flow, Traffic once for each flow and second with packets.
	First, Traffic bool

	n *counts
}

// RTTMicros is the delay of the handshake that ended in this second, -1 for none.
func (s *Second) RTTMicros() int64 { return int64(s.n.rtt) - 1 }

// Sums adds up seconds and ends of flows. The zero value is empty. The fields are as in Report.
type Sums struct {
	PacketsTx, PacketsRx, BytesTx, BytesRx, PayloadBytesTx, PayloadBytesRx       uint64
	SYNCount, SYNACKCount, FINCount, RetransSYN, RetransSYNACK                   uint64
	RetransTx, RetransRx, OutOfOrderTx, OutOfOrderRx, ZeroWindowTx, ZeroWindowRx uint64
	NewFlows, ActiveFlows                                                        uint64
	RTT, RTTClient, RTTServer                                                    Delays // one sample per flow and second
	SRT, ART, CIT, RRT                                                           Delays
	L7Requests, L7Responses, L7ClientErrors, L7ServerErrors, L7Timeouts          uint64
	Ended                                                                        [numCloseTypes]uint32 // by CloseType
}

// Add adds a second of a flow.
func (a *Sums) Add(s *Second) {
	n := s.n
	a.PacketsTx += uint64(n.packets[0])
	a.PacketsRx += uint64(n.packets[1])
	a.BytesTx += n.bytes[0]
	a.BytesRx += n.bytes[1]
	a.PayloadBytesTx += n.payload[0]
	a.PayloadBytesRx += n.payload[1]
	a.SYNCount += uint64(n.syn)
	a.SYNACKCount += uint64(n.synACK)
	a.FINCount += uint64(n.fin)
	a.RetransSYN += uint64(n.retransSYN)
	a.RetransSYNACK += uint64(n.retransSA)
	a.RetransTx += uint64(n.retrans[0])
	a.RetransRx += uint64(n.retrans[1])
	a.OutOfOrderTx += uint64(n.outOfOrder[0])
	a.OutOfOrderRx += uint64(n.outOfOrder[1])
	a.ZeroWindowTx += uint64(n.zeroWindow[0])
	a.ZeroWindowRx += uint64(n.zeroWindow[1])
	if s.First {
		a.NewFlows++
	}
	if s.Traffic {
		a.ActiveFlows++
	}
	a.RTT.Add(int64(n.rtt) - 1)
	a.RTTClient.Add(int64(n.rttClient) - 1)
	a.RTTServer.Add(n.rttServer.mean())
	a.SRT.stat(&n.srt[1])
	a.ART.stat(&n.art[1])
	a.CIT.stat(&n.cit)
	a.RRT.stat(&n.rrt)
	a.L7Requests += uint64(n.requests)
	a.L7Responses += uint64(n.responses)
	a.L7ClientErrors += uint64(n.clientErrors)
	a.L7ServerErrors += uint64(n.serverErrors)
	a.L7Timeouts += uint64(n.timeouts)
}

// Add adds a delay, unless it is negative.
func (d *Delays) Add(micros int64) {
	if micros >= 0 {
		d.SumMicros += uint64(micros)
		d.Count++
		d.MaxMicros = max(d.MaxMicros, uint32(min(micros, math.MaxUint32)))
	}
}

func (d *Delays) stat(s *timeStat) {
	d.SumMicros += s.sum
	d.Count += uint64(s.count)
	d.MaxMicros = max(d.MaxMicros, s.max)
}

// openSecond is the second that is under way for a flow.
type openSecond struct {
	flow    uint32 // 0: settled
	no      uint32 // its own number
	sec     int64  // since 1970
	traffic bool
	kept    bool // before holds something
	before  counts
}

const (
	// maxOpenSeconds bounds the flows whose second is open at once: 16 MiB. Past it all are settled, and open anew.
	maxOpenSeconds  = 1 << 16
	secondsPerChunk = 256
	trafficSeconds  = 16 // of Flow.traffic
)

// seconds holds the open seconds of a Table, in the order in which they were opened. Those that were settled before their
// time leave a gap.
type seconds struct {
	h       SecondHandler
	chunks  []*[secondsPerChunk]openSecond
	n       uint32 // numbers in use, gaps included
	scratch Second
}

func (s *seconds) at(no uint32) *openSecond {
	return &s.chunks[(no-1)/secondsPerChunk][(no-1)%secondsPerChunk]
}

// packetSecond opens the second of a packet of f at nanos, which is not counted yet.
func (t *Table) packetSecond(f *Flow, nanos int64) {
	if t.seconds.h == nil || f.open != 0 && !f.has(flagLateSecond) && nanos >= t.nextStep-second {
		return // nearly always
	}
	t.otherSecond(f, nanos)
}

func (t *Table) otherSecond(f *Flow, nanos int64) {
	sec := nanos / second
	if f.open != 0 {
		if t.seconds.at(f.open).sec == sec {
			return
		}
		t.settle(f)
	}
	o := t.openSecond(f, sec)
	last := f.last / second
	var bit uint16
	switch {
	case sec > last:
		f.traffic = f.traffic<<min(sec-last, trafficSeconds) | 1
		o.traffic = true
		return
	case last-sec < trafficSeconds:
		bit = 1 << (last - sec)
	}
	o.traffic = bit&^f.traffic != 0
	f.traffic |= bit
}

// eventSecond makes sure that a second of f is open, for something that no packet has brought.
func (t *Table) eventSecond(f *Flow, nanos int64) {
	if t.seconds.h != nil && f.open == 0 {
		t.openSecond(f, max(nanos, t.now)/second)
	}
}

func (t *Table) openSecond(f *Flow, sec int64) *openSecond {
	s := &t.seconds
	if s.n == maxOpenSeconds {
		t.settleAll()
		t.m.EarlySeconds++
	}
	if s.n == uint32(len(s.chunks)*secondsPerChunk) {
		s.chunks = append(s.chunks, new([secondsPerChunk]openSecond))
	}
	s.n++
	o := s.at(s.n)
	o.flow, o.no, o.sec, o.traffic, o.kept = f.index, s.n, sec, false, f.has(flagCounted)
	if o.kept {
		o.before = f.perf.counts
		f.perf.counts = counts{}
	}
	f.open = s.n
	if sec*second < t.nextStep-second {
		f.flags |= flagLateSecond
		t.m.LateSeconds++
	}
	return o
}

// settle tells what f did in its open second, if there is one.
func (t *Table) settle(f *Flow) {
	if f.open == 0 {
		return
	}
	s := &t.seconds
	o := s.at(f.open)
	n := &f.perf.counts
	s.scratch = Second{StartNanos: o.sec * second, First: !f.has(flagSettled), Traffic: o.traffic, n: n}
	s.h.Second(f, &s.scratch)
	if o.kept {
		n.add(&o.before)
	}
	f.flags = f.flags&^flagLateSecond | flagCounted | flagSettled
	f.open, o.flow = 0, 0
	for s.n > 0 && s.at(s.n).flow == 0 {
		s.n--
	}
}

// settleAll settles every open second.
func (t *Table) settleAll() {
	s := &t.seconds
	for no, n := uint32(1), s.n; no <= n; no++ {
		if o := s.at(no); o.flow != 0 {
			t.settle(t.arena.at(o.flow))
		}
	}
	s.n = 0
}

// secondsOver settles what is open at the end of the second before nanos.
func (t *Table) secondsOver(nanos int64) {
	if t.seconds.h != nil {
		t.settleAll()
		t.seconds.h.SecondsOver(nanos)
	}
}

// add puts what was counted before into c. Both are of the same direction.
func (c *counts) add(o *counts) {
	for i := range 2 {
		c.packets[i] += o.packets[i]
		c.bytes[i] += o.bytes[i]
		c.payload[i] += o.payload[i]
		c.art[i].add(&o.art[i])
		c.srt[i].add(&o.srt[i])
		c.zeroWindow[i] += o.zeroWindow[i]
		c.outOfOrder[i] += o.outOfOrder[i]
		c.retrans[i] += o.retrans[i]
	}
	c.cit.add(&o.cit)
	c.rttServer.add(&o.rttServer)
	c.rrt.add(&o.rrt)
	if c.rttClient == 0 {
		c.rttClient = o.rttClient
	}
	if c.rtt == 0 {
		c.rtt = o.rtt
	}
	c.syn += o.syn
	c.synACK += o.synACK
	c.retransSYN += o.retransSYN
	c.retransSA += o.retransSA
	c.fin += o.fin
	c.requests += o.requests
	c.responses += o.responses
	c.clientErrors += o.clientErrors
	c.serverErrors += o.serverErrors
	c.timeouts += o.timeouts
}

func (s *timeStat) add(o *timeStat) {
	s.sum += o.sum
	s.max = max(s.max, o.max)
	s.count += o.count
}

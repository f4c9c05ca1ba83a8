package flow

import (
	"hash/maphash"
	"unsafe"

	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// Handler takes what a Table finds out. Its methods are called from within the Table's own; they must not call the Table.
// What the pointers show is reused after the call.
type Handler interface {
	// Flow is called for each report, in the order of (TimeNanos, FlowID), except that a report for a flow that was
	// evicted, or whose ports were reused, comes at that moment, and that the order begins anew when the clock was set
	// back.
	Flow(r *Report)
	// Exchange is called for each request with its response.
	Exchange(f *Flow, e *l7.Exchange)
}

// Times outside this range do not come from a clock.
const (
	minNanos = 1
	maxNanos = 4_200_000_000_000_000_000 // the year 2103
	second   = int64(1e9)
)

// Table is the table of open flows. It is for one goroutine.
type Table struct {
	o        Options
	h        Handler
	timeouts [numTimeouts]int64 // nanoseconds
	interval int64              // of reports, nanoseconds
	first    int64              // Options.FirstReport, nanoseconds
	disorder int64
	seed     uint64 // of the index only: nothing that is reported depends on it

	now      int64 // newest packet time or Tick; 0 before the first
	late     int   // packets in a row that were older than MaxDisorder
	nextStep int64 // the next full second, at which timers and reports are looked after

	arena     arena
	index     hashIndex
	ranges    rangePool
	timers    timers
	seconds   seconds
	services  serviceTable
	fragments *lru[fragmentKey, fragment]
	tracker   *l7.Tracker
	icmp      []byte // scratch space for an echo's message

	ahead   [LookAhead]found
	touched uint64 // keeps the loads of lookAhead

	rep     Report
	pending []pending // scratch of timers and reports
	m       Metrics
}

// New returns a Table that reports to h.
func New(o Options, h Handler) *Table {
	o = o.withDefaults()
	t := &Table{
		o: o, h: h,
		interval: int64(o.ReportInterval), first: int64(o.FirstReport), disorder: int64(o.MaxDisorder),
		seed:      maphash.Comparable(maphash.MakeSeed(), 0),
		index:     newHashIndex(),
		seconds:   seconds{h: o.Seconds},
		ranges:    rangePool{max: max(o.MaxFlows/8, blocksPerChunk)},
		services:  newServiceTable(&o),
		fragments: newLRU[fragmentKey, fragment](o.FragmentTableSize),
	}
	to := &o.Timeouts
	t.timeouts = [numTimeouts]int64{
		timeoutOpening: int64(to.Opening), timeoutSingle: int64(to.SingleDirection), timeoutException: int64(to.Exception),
		timeoutEstablished: int64(to.Established), timeoutEstablishedRST: int64(to.EstablishedRST),
		timeoutClosing: int64(to.Closing), timeoutOpeningRST: int64(to.OpeningRST), timeoutClosedFIN: int64(to.ClosedFIN),
		timeoutAnswered: int64(to.Answered),
	}
	if !o.DisableL7 {
		t.tracker = l7.NewTracker(o.L7, (*l7Handler)(t))
	}
	return t
}

// Metrics returns the counters.
func (t *Table) Metrics() Metrics {
	m := t.m
	m.Services, m.EvictedServices = t.services.scores.len(), t.services.scores.evicted
	m.Fragments, m.EvictedFragments = t.fragments.len(), t.fragments.evicted
	m.TableBytes = len(t.arena.chunks)*flowsPerChunk*int(unsafe.Sizeof(Flow{})+unsafe.Sizeof((*l7.Conn)(nil))) +
		len(t.index.slots)*int(unsafe.Sizeof(hashSlot{})) +
		len(t.ranges.chunks)*blocksPerChunk*int(unsafe.Sizeof(rangeBlock{})) +
		len(t.seconds.chunks)*secondsPerChunk*int(unsafe.Sizeof(openSecond{}))
	if t.tracker != nil {
		m.L7 = t.tracker.Metrics()
	}
	return m
}

// LookAhead is how many packets Packets looks up at once.
const LookAhead = 16

// found is where a packet belongs.
type found struct {
	key     flowKey
	hash    uint32
	srcIsLo bool
	// hint is the number of the flow that the index has first for the hash; 0 for none.
	hint uint32
}

func (t *Table) place(p *packet.Packet, a *found) {
	a.key, a.srcIsLo = keyOf(p)
	a.hash = uint32(a.key.hash(t.seed) >> 32)
}

// Packets enters packets as Packet does, one after the other, in less time: with many flows open each packet waits for
// memory, which is asked for here for several packets at once.
func (t *Table) Packets(ps []packet.Packet) {
	for len(ps) > 0 {
		n := min(len(ps), LookAhead)
		t.lookAhead(ps[:n])
		for i := range n {
			t.enter(&ps[i], &t.ahead[i])
		}
		ps = ps[n:]
	}
}

// lookAhead places packets and reads what they will need of the index, of flows and of connections into the caches. The loads
// of one loop do not wait for each other. Nothing is kept of them but the placing: flows come and go until their packet is entered.
func (t *Table) lookAhead(ps []packet.Packet) {
	mask := uint32(len(t.index.slots) - 1)
	for i := range ps {
		a := &t.ahead[i]
		t.place(&ps[i], a)
		a.hint = t.index.slots[a.hash&mask].flow
	}
	var x uint64
	for i := range ps {
		if hint := t.ahead[i].hint; hint != 0 {
			f := t.arena.at(hint)
			x += uint64(f.key.loPort) + uint64(f.due) + uint64(f.perf.peers[0].seq) + uint64(f.perf.peers[1].seq) + f.perf.bytes[1]
		}
	}
	if t.tracker != nil {
		for i := range ps {
			if hint := t.ahead[i].hint; hint != 0 && ps[i].PayloadLen > 0 {
				if c := *t.arena.conn(hint); c != nil {
					x += uint64(c.Proto)
				}
			}
		}
	}
	t.touched = x
}

// Packet enters a packet. Its time becomes the Table's unless that is later already; what is due by then is done first.
// p is not kept.
func (t *Table) Packet(p *packet.Packet) {
	t.place(p, &t.ahead[0])
	t.enter(p, &t.ahead[0])
}

// enter enters a packet that belongs to a.
func (t *Table) enter(p *packet.Packet, a *found) {
	t.m.Packets++
	if p.TimeNanos < minNanos || p.TimeNanos > maxNanos {
		t.m.IgnoredTime++
		return
	}
	if !t.inTime(p.TimeNanos) {
		t.m.IgnoredLate++
		return
	}
	t.now = max(t.now, p.TimeNanos)
	if p.Fragment && p.FragOffset != 0 {
		t.laterFragment(p)
		return
	}
	h, k, srcIsLo := a.hash, &a.key, a.srcIsLo
	f := t.index.find(h, &t.arena, k, p.Interface, t.o.KeyByInterface)
	if f != nil && f.due <= t.now {
		t.runTimers(t.now)
		f = t.index.find(h, &t.arena, k, p.Interface, t.o.KeyByInterface)
	}
	if f != nil && t.reusesPorts(f, p) {
		t.m.Reused++
		t.end(f, t.now, true)
		f = nil
	}
	if f == nil {
		f = t.open(p, k, h, srcIsLo)
	}
	if p.Fragment {
		t.firstFragment(p, f, srcIsLo)
	}
	t.packetSecond(f, p.TimeNanos)
	dir := f.side(srcIsLo)
	switch p.Proto {
	case packet.ProtoTCP:
		t.tcp(f, p, dir)
	case packet.ProtoUDP:
		t.udp(f, p, dir)
	default:
		t.other(f, p, dir)
	}
	t.schedule(f)
}

// maxLate is how many packets in a row may be too late before it is the clock that was set back, or one packet with a
// time from the future that spoilt it.
const maxLate = 128

// inTime makes the time at least nanos; false means that a packet of that time is too late.
func (t *Table) inTime(nanos int64) bool {
	switch {
	case nanos >= t.nextStep:
		t.advance(nanos)
	case nanos >= t.now-t.disorder:
	case t.late+1 < maxLate:
		t.late++
		return false
	default:
		t.setBack()
		t.advance(nanos)
	}
	t.late = 0
	return true
}

// setBack ends all flows as they are: their time will not come again.
func (t *Table) setBack() {
	t.m.SetBack++
	t.Flush(t.now)
}

// reusesPorts says whether p opens another connection with the ports of f.
func (t *Table) reusesPorts(f *Flow, p *packet.Packet) bool {
	if p.Proto != packet.ProtoTCP || p.TCPFlags&0x3f != packet.FlagSYN || !f.state.ended() {
		return false
	}
	c := &f.perf.peers[0]
	return !c.has(peerSYNSent) || c.threshold != p.Seq+1
}

// open makes the flow that p begins and decides, for the time being, who is its client.
func (t *Table) open(p *packet.Packet, k *flowKey, h uint32, srcIsLo bool) *Flow {
	if t.m.Open >= t.o.MaxFlows {
		t.evict()
	}
	i, f := t.arena.get()
	f.key = *k
	agent := t.o.Agent
	if t.o.KeyByInterface { // the same packet may pass several interfaces in the same nanosecond
		agent = mix(agent^mix0, uint64(p.Interface)^mix1)
	}
	f.id = k.flowID(p.TimeNanos, agent)
	f.start, f.last = p.TimeNanos, p.TimeNanos
	f.iface, f.vlan, f.tier = p.Interface, p.VLAN, p.Tunnel.Tier
	f.mac = [2][6]byte{p.SrcMAC, p.DstMAC}
	f.timeout = timeoutOpening
	if srcIsLo {
		f.flags |= flagClientLo
	}
	if p.IPv6 {
		f.flags |= flagIPv6
	}
	if t.first == 0 {
		f.flags |= flagFirstDone
	}
	t.index.insert(h, i)
	t.m.Open++
	t.m.Created++
	f.due = t.dueAt(f)
	t.timers.add(t, f, f.due)
	if src, dst := t.scores(p, true); src > dst {
		f.reverse()
		f.score = src
	} else {
		f.score = dst
	}
	return f
}

// scores says how likely either end of p is to be the server; first is set for the first packet of a flow.
func (t *Table) scores(p *packet.Packet, first bool) (src, dst uint8) {
	s, d := service{p.Src, p.SrcPort}, service{p.Dst, p.DstPort}
	switch p.Proto {
	case packet.ProtoTCP:
		switch p.TCPFlags & (packet.FlagSYN | packet.FlagACK | packet.FlagRST | packet.FlagFIN) {
		case packet.FlagSYN | packet.FlagACK:
			t.services.certain(s, d, scoreSYNACK)
			return scoreSYNACK, scoreClient
		case packet.FlagSYN:
			return t.services.syn(s, d, first)
		}
	case packet.ProtoUDP:
	default:
		switch echoOf(p) {
		case echoRequest:
			return scoreClient, scoreSYNACK
		case echoReply:
			return scoreSYNACK, scoreClient
		}
		return scoreClient, scoreClient
	}
	return t.services.first(s, d)
}

// turn makes the client of an open flow its server.
func (t *Table) turn(f *Flow) {
	f.reverse()
	if f.open != 0 {
		t.seconds.at(f.open).before.reverse()
	}
	t.m.Reversed++
}

// tcp enters a TCP packet of side dir.
func (t *Table) tcp(f *Flow, p *packet.Packet, dir int) {
	f.count(p, dir, p.PayloadLen)
	if p.TCPFlags&packet.FlagSYN != 0 {
		dir = t.handshakeDirection(f, p, dir)
	}
	pe := &f.perf.peers[dir]
	pe.flagsSeen |= p.TCPFlags
	pe.allFlags |= p.TCPFlags
	f.state, f.timeout = f.state.next(dir, p.TCPFlags)
	if !f.bothSeen() {
		f.timeout = timeoutSingle
	}
	if p.TCPFlags&0x3f == packet.FlagSYN {
		t.newStreams(f, p, dir)
	}
	t.verdict(f.perf.tcp(&t.ranges, p, dir))
	if p.PayloadLen == 0 {
		return
	}
	seq := p.Seq
	if p.TCPFlags&packet.FlagSYN != 0 { // data with a SYN (RFC 7413) comes after it in sequence
		seq++
	}
	if f.tls.flags&tlsOver == 0 {
		f.tls.segment(p, dir, seq, f.start)
	}
	if t.tracker != nil {
		t.payload(f, p, dir, seq)
	}
}

// handshakeDirection looks at a SYN or SYN-ACK: it tells who is the client. It returns the side that sent p.
func (t *Table) handshakeDirection(f *Flow, p *packet.Packet, dir int) int {
	bare := p.TCPFlags & 0x3f
	if int(f.seen(0))+int(f.seen(1)) == 1 { // open has scored it
		return dir
	}
	wrong := false
	switch bare {
	case packet.FlagSYN | packet.FlagACK:
		if dir == 0 && f.score == scoreSYNACK { // the other side has sent one too
			return dir
		}
		t.scores(p, false)
		f.score, wrong = scoreSYNACK, dir == 0
	case packet.FlagSYN:
		if dir == 1 && f.score == scoreSYNACK {
			return dir
		}
		_, server := t.scores(p, false)
		if wrong = dir == 1; wrong {
			f.score = server
		}
		f.score = max(f.score, server)
	}
	if !wrong {
		return dir
	}
	t.turn(f)
	if c := *t.arena.conn(f.index); c != nil {
		c.Reverse()
	}
	return 1 - dir
}

// udp enters a UDP packet of side dir.
func (t *Table) udp(f *Flow, p *packet.Packet, dir int) {
	f.count(p, dir, p.PayloadLen)
	if f.bothSeen() {
		f.timeout = timeoutClosing
	}
	t.verdict(f.perf.datagram(p, dir))
	if t.tracker != nil && p.PayloadLen > 0 {
		t.payload(f, p, dir, 0)
		if f.timeout == timeoutClosing && f.l7proto != l7.Unknown && f.unanswered == 0 {
			f.timeout = timeoutAnswered
		}
	}
}

// other enters a packet of another protocol.
func (t *Table) other(f *Flow, p *packet.Packet, dir int) {
	f.count(p, dir, p.PayloadLen)
	if f.bothSeen() {
		f.timeout = timeoutEstablishedRST
	}
	switch e := echoOf(p); {
	case e == echoRequest && dir == 0, e == echoReply && dir == 1:
		t.verdict(f.perf.echo(&t.ranges, p, dir))
		if t.tracker != nil {
			t.echo(f, p, dir)
		}
	}
}

func (t *Table) verdict(v perfVerdict) {
	switch v {
	case perfIgnored:
		t.m.UnmeasuredFlags++
	case perfLate:
		t.m.UnmeasuredLate++
	case perfOverlap:
		t.m.UnmeasuredOverlap++
	}
}

// end reports f for the last time and forgets it; over says that it has ended by itself, not because the Table lets go of
// it. Whoever calls it has taken f's timer into account.
func (t *Table) end(f *Flow, atNanos int64, over bool) {
	if c := t.arena.conn(f.index); *c != nil {
		if over {
			(*c).End(atNanos)
		} else {
			(*c).Close(atNanos)
		}
		*c = nil
	}
	ct := f.closeType()
	if ct == CloseTransferTimeout && !over { // nobody has waited for the timeout
		ct = CloseForcedReport
	}
	t.emit(f, atNanos, ct)
	if t.seconds.h != nil && ct != CloseForcedReport {
		t.seconds.h.Ended(f, atNanos, ct)
	}
	t.m.Closed++
	t.m.ClosedBy[ct]++
	t.m.Open--
	t.timers.remove(t, f)
	t.ranges.put(f.perf.peers[0].block)
	t.ranges.put(f.perf.peers[1].block)
	t.index.remove(uint32(f.key.hash(t.seed)>>32), f.index)
	t.arena.put(f.index)
}

func (t *Table) emit(f *Flow, atNanos int64, c CloseType) {
	t.settle(f)
	f.report(&t.rep, atNanos, c)
	f.flags |= flagFirstDone
	t.m.Reports++
	t.h.Flow(&t.rep)
}

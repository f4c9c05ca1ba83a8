package gen

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

const (
	tick = 200e6 // nanoseconds; how often a collector hands out what it has
	// mostIdle is how many reports in a row an open flow may have without a packet: after 300 s it times out.
	mostIdle = 4
	// mostLate is by how many virtual minutes a late row comes late at most.
	mostLate = 5
)

// conn is an open flow, as one collector sees it.
type conn struct {
	id             uint64
	start, last    int64 // times of the first and the newest packet
	client, server uint32
	rtt            float32 // of the handshake on average, microseconds
	perMinute      float32 // requests
	size           float32 // of a response on average, bytes
	agent, service uint16
	port           uint16 // the client's
	idle           uint8  // reports in a row without a packet
	reported       bool
	atClient       bool // whether the collector is on the client's node
	slow           bool // whether there are minutes without a packet
}

// report is a row to be made. How it is told from its values, not from a conn that goes on.
type report struct {
	conn
	at     int64
	how    uint8 // of closings
	active bool  // whether there were packets since the report before
}

// closing is a way in which a flow ends.
type closing struct {
	word, status string
	after        int64 // nanoseconds from the last packet until it is reported
	weight       int   // how often among a thousand closed TCP flows
	handshake    bool  // whether the connection was established
	rst          bool
}

const (
	forcedReport = iota
	transferTimeout
	closedUDP
	firstClosing // of TCP connections that end by themselves
)

var closings = [...]closing{
	forcedReport:    {"forced_report", "ok", 0, 0, true, false},
	transferTimeout: {"transfer_timeout", "server_error", 300e9, 0, true, false},
	closedUDP:       {"normal", "ok", 35e9, 0, false, false},
	firstClosing:    {"normal", "ok", 2e9, 910, true, false},
	{"normal_client_rst", "ok", 35e9, 20, true, true},
	{"client_rst", "client_error", 35e9, 20, true, true},
	{"server_rst", "server_error", 35e9, 15, true, true},
	{"server_direct_rst", "server_error", 5e9, 12, false, true},
	{"server_syn_miss", "server_error", 5e9, 8, false, false},
	{"server_half_close", "server_error", 35e9, 6, true, false},
	{"client_half_close", "client_error", 35e9, 6, true, false},
	{"client_ack_miss", "client_error", 5e9, 3, false, false},
}

// Flows makes batches of the table flows: what the collectors of a cluster report. Not safe for concurrent use.
type Flows struct {
	o       Options
	rnd     rnd
	cluster *cluster
	open    []conn // of the first collector, the second, ...
	seq     uint64 // flows begun

	minuteEnd, now int64   // now is the tick's end
	agent          int     // whose turn it is in the tick
	forced         int     // how many open flows this minute's end has reported; -1 before it
	perPiece       float64 // closed flows of a collector in a tick
	endPart        float64 // part of those that are not short
	late           [mostLate + 1][]report
	minutes        int
	out            []report // rows made but not handed out, from next on
	next           int
	r              render
}

// NewFlows starts a stream of flow reports. The flows that are open then began before.
func NewFlows(o Options) *Flows {
	o.setDefaults()
	f := &Flows{o: o, rnd: newRnd(o.Seed, 2), cluster: newCluster(&o), open: make([]conn, o.Flows), now: o.StartNanos, forced: -1}
	f.minuteEnd = (o.StartNanos/minute + 1) * minute
	ends := float64(o.Flows) / o.FlowMinutes
	short := (float64(o.Flows) + ends) * o.Short / (1 - o.Short)
	f.perPiece = (ends + short) / float64(o.Agents) / (minute / tick)
	f.endPart = ends / (ends + short)
	for i := range f.open {
		c := &f.open[i]
		f.begin(c, i*o.Agents/o.Flows, o.StartNanos)
		c.start -= f.rnd.around(o.FlowMinutes * minute)
		c.last = max(c.start, o.StartNanos-f.rnd.around(minute/2))
		c.reported = c.start < f.minuteEnd-minute
	}
	return f
}

// begin makes c a new flow that a collector sees from now on.
func (f *Flows) begin(c *conn, agent int, now int64) {
	r := &f.rnd
	f.seq++
	*c = conn{id: mix(f.seq^f.o.Seed<<40) >> 1, start: now, last: now, agent: uint16(agent), atClient: r.next()&1 == 0}
	c.client, c.server = f.cluster.ends(r, c.agent, c.atClient)
	c.service = f.cluster.service[podSlot(c.server)]
	c.port = uint16(32768 + r.below(28232))
	// what is alike between two services is alike in all their connections
	edge := mix(uint64(f.cluster.service[podSlot(c.client)])<<16 | uint64(c.service))
	c.rtt = 100 + float32(edge&1023)*float32(edge>>10&1023)/400
	c.perMinute = 1 + float32(edge>>20&255)*float32(edge>>28&255)/1000
	c.size = 100 + float32(edge>>36&255)*float32(edge>>44&255)/8
	c.slow = r.below(10) < 3
}

// closeHow is a way in which a flow ends by itself.
func (f *Flows) closeHow(c *conn) uint8 {
	if appOf(int(c.service)).protocol == "udp" {
		return closedUDP
	}
	k := f.rnd.below(1000)
	for how := firstClosing; ; how++ {
		if k -= closings[how].weight; k < 0 || how == len(closings)-1 {
			return uint8(how)
		}
	}
}

// Next is the next n rows. Tag-set columns hold ids, as storage wants them; ByValue and PodTags make sets of them.
func (f *Flows) Next(n int) *batch.Batch {
	for len(f.out)-f.next < n {
		if f.next > 0 {
			f.out = f.out[:copy(f.out, f.out[f.next:])]
			f.next = 0
		}
		f.step()
	}
	b := f.r.flows(&f.rnd, schema.Flows(), f.out[f.next:f.next+n])
	f.next += n
	return b
}

// step has a collector hand out what it has, or some of what it reports at the end of a minute.
func (f *Flows) step() {
	switch {
	case f.forced >= 0:
		f.reportOpen()
	case f.agent < f.o.Agents:
		f.reportClosed(f.agent)
		f.agent++
	case f.now < f.minuteEnd:
		f.now, f.agent = min(f.now+tick, f.minuteEnd), 0
	default:
		f.forced = 0
	}
}

// emit hands out a row, or puts it aside to come late.
func (f *Flows) emit(r *report) {
	if f.o.Late > 0 && f.rnd.chance(f.o.Late) {
		due := (f.minutes + 1 + f.rnd.below(mostLate)) % len(f.late)
		f.late[due] = append(f.late[due], *r)
		return
	}
	f.out = append(f.out, *r)
}

// reportClosed reports the flows of a collector that ended in this tick.
func (f *Flows) reportClosed(agent int) {
	r := &f.rnd
	n := int(f.perPiece*(0.5+r.unit()) + r.unit())
	lo, hi := f.ofAgent(agent)
	from := max(f.now-tick, f.minuteEnd-minute)
	for i := range n {
		at := from + int64((float64(i)+r.unit())/float64(n)*float64(f.now-from))
		if hi > lo && r.chance(f.endPart) {
			c := &f.open[lo+r.below(hi-lo)]
			f.end(c, at)
			continue
		}
		f.short(agent, at)
	}
}

// ofAgent is the range of the open flows that a collector sees.
func (f *Flows) ofAgent(agent int) (lo, hi int) {
	n, agents := len(f.open), f.o.Agents
	return (agent*n + agents - 1) / agents, ((agent+1)*n + agents - 1) / agents
}

// end reports the end of an open flow, whose last packet came a time-out before, and has another take its place.
func (f *Flows) end(c *conn, at int64) {
	rep := report{conn: *c, how: f.closeHow(c), active: true}
	for !closings[rep.how].handshake && rep.how != closedUDP { // it was established
		rep.how = f.closeHow(c)
	}
	after := closings[rep.how].after
	rep.last = max(rep.last, at-after)
	rep.active = rep.last > c.last || !c.reported
	rep.at = max(at, rep.last+after)
	f.emit(&rep)
	f.begin(c, int(c.agent), at-int64(f.rnd.below(tick)))
}

// short reports a flow that ended soon after it began.
func (f *Flows) short(agent int, at int64) {
	var rep report
	f.begin(&rep.conn, agent, at)
	rep.how = f.closeHow(&rep.conn)
	rep.at, rep.active = at, true
	rep.last = at - closings[rep.how].after
	rep.start = rep.last - f.rnd.around(40e6)
	rep.perMinute = 1.5
	f.emit(&rep)
}

// openPiece is how many open flows are reported in a step.
const openPiece = 1024

// reportOpen reports open flows at the end of a minute; after the last one the next minute begins.
func (f *Flows) reportOpen() {
	end := min(f.forced+openPiece, len(f.open))
	for i := f.forced; i < end; i++ {
		f.forcedReport(&f.open[i])
	}
	if f.forced = end; end < len(f.open) {
		return
	}
	f.forced, f.agent = -1, 0
	f.now = f.minuteEnd
	f.minuteEnd += minute
	f.minutes++
	f.cluster.restart(f.o.PodChurn * float64(f.o.Pods))
	late := &f.late[f.minutes%len(f.late)]
	f.out = append(f.out, *late...)
	*late = (*late)[:0]
}

func (f *Flows) forcedReport(c *conn) {
	r := &f.rnd
	if !f.cluster.alive(c.client) || !f.cluster.alive(c.server) || c.idle >= mostIdle {
		rep := report{conn: *c, how: transferTimeout}
		if c.idle < mostIdle { // a pod is gone
			rep.how = closingRST
		}
		if appOf(int(c.service)).protocol == "udp" {
			rep.how = closedUDP
		}
		rep.at = min(max(c.last+closings[rep.how].after, f.minuteEnd-minute), f.minuteEnd-1)
		f.emit(&rep)
		f.begin(c, int(c.agent), f.minuteEnd-1-int64(r.below(minute/2)))
	}
	rep := report{how: forcedReport, at: f.minuteEnd - 1}
	if rep.active = !c.reported || !c.slow || r.below(10) < 7; rep.active {
		gap := min(r.around(minute/2/float64(c.perMinute)), minute-1)
		c.last = max(c.last, f.minuteEnd-1-gap)
		c.idle = 0
	} else {
		c.idle++
	}
	rep.conn = *c
	c.reported = true
	f.emit(&rep)
}

// closingRST is how a connection ends whose pod is gone.
const closingRST = firstClosing + 3

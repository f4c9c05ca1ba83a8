package l7

// maxJump is the greatest distance, in bytes, from the expected sequence number that still belongs to the same stream.
const maxJump = 1 << 28

// hold keeps the segments of one direction that came before one that is missing.
type hold struct {
	c             *Conn
	end           uint8
	since         int64 // when the first of them came
	bytes         int
	segs          []heldSegment // by number; the slots behind len keep their memory
	before, after *hold         // in the Tracker's list, in order of since
}

type heldSegment struct {
	seq     uint32
	wire    int // bytes on the wire; data may be fewer
	atNanos int64
	data    []byte
}

type holdList struct{ first, last *hold }

// segment takes a TCP segment: it trims what is known, keeps what is early and parses the rest.
func (c *Conn) segment(end int, atNanos int64, seq uint32, p []byte, wire int) {
	h := &c.half[end]
	if !h.started {
		h.started, h.next = true, seq
	}
	if wire == 0 {
		return
	}
	d := int(int32(seq - h.next))
	switch {
	case d < -maxJump || d > maxJump: // another stream
		for h.hold != nil {
			c.flushHold(end)
		}
		c.lose(end)
		h.next, d = seq, 0
	case d > 0 && h.hold == nil && h.buf == nil && h.state == stateBody && h.body.Lose(int64(d)):
		// Within a body of known length nobody has to wait for the missing part.
		h.next += uint32(d)
		if h.body.Done() {
			c.bodyDone(end)
		}
		d = 0
	case d > 0:
		c.keep(end, atNanos, seq, p, wire)
		return
	}
	c.inOrder(end, atNanos, -d, p, wire)
	c.drain(end)
}

// inOrder parses a segment whose first old bytes are known already.
func (c *Conn) inOrder(end int, atNanos int64, old int, p []byte, wire int) {
	c.t.m.RetransmittedBytes += uint64(min(old, wire))
	if old >= wire || c.off {
		return
	}
	p, wire = p[min(old, len(p)):], wire-old
	c.feed(end, p, atNanos)
	if n := wire - len(p); n > 0 && !c.off {
		c.gap(end, n)
	}
}

// gap passes over n bytes that will not come.
func (c *Conn) gap(end, n int) {
	h := &c.half[end]
	c.t.m.GapBytes += uint64(n)
	h.next += uint32(n)
	if h.buf == nil && h.state == stateBody && h.body.Lose(int64(n)) {
		if h.body.Done() {
			c.bodyDone(end)
		}
		return
	}
	c.lose(end)
}

// keep puts an early segment aside. When there is no room the missing one is given up.
func (c *Conn) keep(end int, atNanos int64, seq uint32, p []byte, wire int) {
	t, h := c.t, &c.half[end]
	hd := h.hold
	full := t.m.Buffered+len(p) > t.o.MaxTotalBuffer
	if full && hd == nil {
		t.m.DroppedWindow++
		c.hole(end, int(int32(seq-h.next)))
		c.segment(end, atNanos, seq, p, wire)
		return
	}
	if hd != nil && (full || len(hd.segs) >= t.o.MaxHeldSegments || hd.bytes+len(p) > t.o.MaxConnBuffer) {
		t.m.DroppedWindow++
		c.flushHold(end)
		if !c.off {
			c.segment(end, atNanos, seq, p, wire)
		}
		return
	}
	if hd == nil {
		hd = t.newHold(c, end, atNanos)
		h.hold = hd
	}
	at := len(hd.segs)
	for at > 0 && int32(hd.segs[at-1].seq-seq) > 0 {
		at--
	}
	if at > 0 && hd.segs[at-1].seq == seq && hd.segs[at-1].wire >= wire {
		t.m.RetransmittedBytes += uint64(wire)
		return
	}
	t.m.HeldSegments++
	n := len(hd.segs)
	if n < cap(hd.segs) {
		hd.segs = hd.segs[:n+1]
	} else {
		hd.segs = append(hd.segs, heldSegment{})
	}
	slot := hd.segs[n]
	copy(hd.segs[at+1:], hd.segs[at:n])
	p = p[:min(len(p), t.o.MaxConnBuffer)]
	hd.segs[at] = heldSegment{seq: seq, wire: wire, atNanos: atNanos, data: append(slot.data[:0], p...)}
	hd.bytes += len(p)
	t.m.Buffered += len(p)
}

// drain parses the kept segments that the next byte belongs to.
func (c *Conn) drain(end int) {
	h := &c.half[end]
	for h.hold != nil {
		hd := h.hold
		s := hd.segs[0]
		d := int(int32(s.seq - h.next))
		if d > 0 {
			return
		}
		n := len(hd.segs) - 1
		copy(hd.segs, hd.segs[1:])
		hd.segs[n] = heldSegment{data: s.data} // the slot keeps its memory; nobody fills it during the call below
		hd.segs = hd.segs[:n]
		hd.bytes -= len(s.data)
		c.t.m.Buffered -= len(s.data)
		if n == 0 {
			c.dropHold(h)
		}
		c.inOrder(end, s.atNanos, -d, s.data, s.wire)
	}
}

// flushHold gives up the first hole of a direction and parses what waited behind it.
func (c *Conn) flushHold(end int) {
	h := &c.half[end]
	if d := int(int32(h.hold.segs[0].seq - h.next)); d > 0 {
		c.hole(end, d)
	}
	c.drain(end)
}

// hole passes over n bytes of whole segments that were not captured: whole responses may have been among them.
func (c *Conn) hole(end, n int) {
	c.gap(end, n) // what is read here came before it
	if end == int(c.server) {
		c.uncertain = true
	} else if c.half[end].state == stateResync { // else it was within a message
		c.skipped = true
	}
}

func (t *Tracker) newHold(c *Conn, end int, atNanos int64) *hold {
	var hd *hold
	if n := len(t.freeHolds); n > 0 {
		hd, t.freeHolds = t.freeHolds[n-1], t.freeHolds[:n-1]
	} else {
		hd = &hold{}
	}
	*hd = hold{c: c, end: uint8(end), since: atNanos, segs: hd.segs[:0], before: t.holds.last}
	if hd.before == nil {
		t.holds.first = hd
	} else {
		hd.before.after = hd
	}
	t.holds.last = hd
	return hd
}

func (c *Conn) dropHold(h *half) {
	t, hd := c.t, h.hold
	h.hold = nil
	t.m.Buffered -= hd.bytes
	if hd.before == nil {
		t.holds.first = hd.after
	} else {
		hd.before.after = hd.after
	}
	if hd.after == nil {
		t.holds.last = hd.before
	} else {
		hd.after.before = hd.before
	}
	hd.c, hd.before, hd.after = nil, nil, nil
	if len(t.freeHolds) < maxFreeBufs {
		t.freeHolds = append(t.freeHolds, hd)
	}
}

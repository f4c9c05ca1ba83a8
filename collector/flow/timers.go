package flow

import (
	"cmp"
	"slices"
)

// timers hold every open flow in a wheel of one-second slots of packet time. A packet only moves its flow's due time; the
// flow stays in its slot until that second has come, unless it is due earlier than that.
type timers struct {
	heads [wheelSlots]uint32 // flow numbers, 0 for none
	// cursor is the first second that may still hold flows; all flows are in [cursor, cursor+wheelSlots).
	cursor int64
}

const wheelSlots = 512 // seconds, more than the longest default timeout

// pending is a flow that something is to be done for.
type pending struct {
	at   int64 // packet time
	id   uint64
	flow uint32
}

// slotFor is the second whose slot a flow that is due at this time belongs to.
func (w *timers) slotFor(due int64) int64 {
	return min(max(due/second, w.cursor), w.cursor+wheelSlots-1)
}

func (w *timers) add(t *Table, f *Flow, due int64) {
	sec := w.slotFor(due)
	f.slotSec = uint32(sec)
	head := &w.heads[sec%wheelSlots]
	f.prev, f.next = 0, *head
	if *head != 0 {
		t.arena.at(*head).prev = f.index
	}
	*head = f.index
}

func (w *timers) remove(t *Table, f *Flow) {
	if f.prev != 0 {
		t.arena.at(f.prev).next = f.next
	} else {
		w.heads[int64(f.slotSec)%wheelSlots] = f.next
	}
	if f.next != 0 {
		t.arena.at(f.next).prev = f.prev
	}
}

// endOf is when f times out.
func (t *Table) endOf(f *Flow) int64 { return f.last + t.timeouts[f.timeout] }

// dueAt is when something is to be done for f.
func (t *Table) dueAt(f *Flow) int64 {
	due := t.endOf(f)
	if !f.has(flagFirstDone) {
		due = min(due, f.start+t.first)
	}
	return max(due, t.now+1)
}

// schedule notes when f is due after a packet.
func (t *Table) schedule(f *Flow) {
	f.due = t.dueAt(f)
	if f.due < int64(f.slotSec)*second {
		t.timers.remove(t, f)
		t.timers.add(t, f, f.due)
	}
}

// runTimers does all that is due until now, in the order of time and flow id.
func (t *Table) runTimers(now int64) {
	for sec := t.timers.cursor; sec <= now/second; sec++ {
		t.timers.cursor = sec
		t.runSlot(sec, now)
	}
}

// runSlot does what is due until now in one slot, and moves the flows that have got a later time.
func (t *Table) runSlot(sec, now int64) {
	todo := t.pending[:0]
	for i := t.timers.heads[sec%wheelSlots]; i != 0; {
		f := t.arena.at(i)
		i = f.next
		switch {
		case f.due <= now:
			todo = append(todo, pending{f.due, f.id, f.index})
			// After a first report the end may come in this slot too, among the others'.
			if end := t.endOf(f); end > f.due && end <= now && end/second <= sec {
				todo = append(todo, pending{end, f.id, f.index})
			}
		case f.due/second > sec:
			t.timers.remove(t, f)
			t.timers.add(t, f, f.due)
		}
	}
	slices.SortFunc(todo, comparePending)
	for _, d := range todo {
		f := t.arena.at(d.flow)
		end := t.endOf(f)
		if end <= d.at {
			t.end(f, d.at, true)
			continue
		}
		if !f.has(flagFirstDone) {
			t.emit(f, d.at, CloseForcedReport)
		}
		f.due = end
		if end > now || end/second > sec {
			t.timers.remove(t, f)
			t.timers.add(t, f, f.due)
		}
	}
	t.pending = todo[:0]
}

func comparePending(a, b pending) int {
	if c := cmp.Compare(a.at, b.at); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// advance makes the time now and does what is due at the full seconds until then: flows time out, requests of application
// protocols are given up, open flows are reported at the end of each interval.
func (t *Table) advance(now int64) {
	if t.nextStep == 0 || t.m.Open == 0 {
		t.timers.cursor = now / second
	}
	for step := t.nextStep; step != 0 && step <= now; {
		// What happens at the step itself belongs to the next interval.
		t.runTimers(step - 1)
		t.now = max(t.now, step-1)
		if t.tracker != nil {
			t.tracker.Tick(step - 1)
		}
		t.secondsOver(step)
		if step%t.interval == 0 {
			t.reportOpen(step - 1)
		}
		if t.m.Open == 0 {
			t.timers.cursor = now / second
			break
		}
		step += second
	}
	t.nextStep = now - now%second + second
	t.now = max(t.now, now)
}

// reportOpen reports every open flow.
func (t *Table) reportOpen(at int64) {
	for _, d := range t.allOpen(at) {
		t.emit(t.arena.at(d.flow), at, CloseForcedReport)
	}
}

// Tick tells the Table that it is nowNanos, for want of packets. It does what is due, and may be called at any time: what
// is reported does not depend on it, only when. A time older than MaxDisorder means that the clock was set back: the open
// flows end, and what comes is followed by the new time.
func (t *Table) Tick(nowNanos int64) {
	if nowNanos < minNanos || nowNanos > maxNanos {
		return
	}
	if nowNanos < t.now-t.disorder {
		t.setBack()
	}
	if nowNanos < t.now {
		return
	}
	if nowNanos >= t.nextStep {
		t.advance(nowNanos)
	}
	t.now = nowNanos
	t.runTimers(nowNanos)
}

// Report reports every open flow at nowNanos, as at the end of an interval, and the requests that wait for a response, with
// unknown status: for those who stop looking while flows go on.
func (t *Table) Report(nowNanos int64) {
	t.Tick(nowNanos)
	for _, d := range t.allOpen(t.now) {
		if c := t.arena.conn(d.flow); *c != nil {
			(*c).Close(d.at)
			*c = nil
			t.arena.at(d.flow).unanswered = 0
		}
	}
	t.reportOpen(t.now)
	t.secondsOver(t.now)
}

// allOpen lists every open flow, in the order of id; the list is t.pending's memory.
func (t *Table) allOpen(at int64) []pending {
	todo := t.pending[:0]
	for _, c := range t.arena.chunks {
		for i := range c.flows {
			if f := &c.flows[i]; f.index != 0 {
				todo = append(todo, pending{at, f.id, f.index})
			}
		}
	}
	slices.SortFunc(todo, comparePending)
	t.pending = todo[:0]
	return todo
}

// Flush ends all open flows at nowNanos, or the newest packet's time if that is later, as their state has it; an
// established connection that has not timed out by then gets a last forced report. The Table is as new afterwards, but for its counters and what it has learned about servers: packets of any time may follow.
func (t *Table) Flush(nowNanos int64) {
	t.Tick(min(max(nowNanos, t.now), maxNanos))
	for _, d := range t.allOpen(t.now) {
		t.end(t.arena.at(d.flow), d.at, false)
	}
	t.secondsOver(t.now)
	t.now, t.nextStep, t.timers.cursor, t.late = 0, 0, 0, 0
	evicted := t.fragments.evicted
	t.fragments = newLRU[fragmentKey, fragment](t.o.FragmentTableSize)
	t.fragments.evicted = evicted
}

// evict ends a flow before its time, to make room: one of those that time out next.
func (t *Table) evict() {
	w := &t.timers
	for sec := w.cursor; sec < w.cursor+wheelSlots; sec++ {
		for i := w.heads[sec%wheelSlots]; i != 0; {
			f := t.arena.at(i)
			i = f.next
			if f.due/second > sec && sec < w.cursor+wheelSlots-1 {
				w.remove(t, f)
				w.add(t, f, f.due)
				continue
			}
			t.m.Evicted++
			t.end(f, t.now, false)
			return
		}
	}
}

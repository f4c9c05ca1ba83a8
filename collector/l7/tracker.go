package l7

import (
	"bytes"
	"hash/maphash"
	"slices"
	"unicode/utf8"

	"github.com/flowlake/flowlake/collector/l7/http1"
)

const (
	internSlots = 2048 // texts remembered by a Tracker
	internWays  = 4    // places where one may be: those of one exchange must not drive each other out
	internMax   = 256  // bytes; longer texts are not remembered
	maxFree     = 1024 // unused objects of one kind a Tracker keeps
	maxFreeBufs = 64   // the same for buffers, which are bigger
)

// Tracker follows the application protocols of many connections: one per worker, not safe for concurrent use.
type Tracker struct {
	o Options
	h Handler
	m Metrics

	drivers  [numProtocols]driver      // nil: not looked for
	tried    [overICMP + 1][]Protocol  // by transport: those looked for, in order
	timeouts [numProtocols]int64       // ns
	waiting  [numProtocols]pendingList // by protocol: the timeout differs, so each list is in order of deadline
	holds    holdList

	// Scratch space; nothing in it lives longer than a call.
	in      input // what a driver is given; lost is that of lose, which a driver may call
	lost    input
	scratch []byte
	ex      Exchange // for responses without a request

	seed   maphash.Seed
	intern [internSlots / internWays][internWays]string

	freeConns   []*Conn
	freePending []*pending
	freeBufs    []*buffer
	freeHolds   []*hold
}

// NewTracker returns a Tracker that reports to h.
func NewTracker(o Options, h Handler) *Tracker {
	t := &Tracker{o: o.withDefaults(), h: h, seed: maphash.MakeSeed()}
	for p := range protocols {
		t.timeouts[p] = int64(protocols[p].timeout)
		if d := t.o.Timeouts[Protocol(p)]; d > 0 {
			t.timeouts[p] = int64(d)
		}
	}
	for p := range numProtocols {
		if protocols[p].make == nil || !slices.Contains(t.o.Protocols, p) {
			continue
		}
		t.drivers[p] = protocols[p].make(t)
		for _, over := range [...]transports{overTCP, overUDP, overICMP} {
			if protocols[p].over&over != 0 {
				t.tried[over] = append(t.tried[over], p)
			}
		}
	}
	for p := range protocols {
		if f := protocols[p].family; f != Unknown {
			t.drivers[p] = t.drivers[f]
		}
	}
	return t
}

// Metrics returns the counters.
func (t *Tracker) Metrics() Metrics { return t.m }

// Tick gives up the requests, and the segments behind a hole, that have waited too long at nowNanos, which is packet
// time. It costs O(given up).
func (t *Tracker) Tick(nowNanos int64) {
	for hd := t.holds.first; hd != nil && hd.since+int64(t.o.HoldTime) <= nowNanos; hd = t.holds.first {
		t.m.DroppedWindow++
		hd.c.flushHold(int(hd.end))
	}
	for i := range t.waiting {
		for pd := t.waiting[i].first; pd != nil && pd.deadline <= nowNanos; pd = t.waiting[i].first {
			c := pd.c
			if c.half[c.server].buf != nil { // the beginning of an answer is an answer
				c.lose(int(c.server))
				if t.waiting[i].first != pd {
					continue
				}
			}
			c.owe()
			c.expire(pd, nowNanos)
		}
	}
}

// text makes a string of at most limit bytes and valid UTF-8; frequent ones cost no allocation.
func (t *Tracker) text(b []byte, limit int) string {
	if len(b) == 0 {
		return ""
	}
	b = cutText(b, limit)
	if bytes.IndexByte(b, '\n') >= 0 {
		t.scratch = http1.Unfold(t.scratch[:0], b)
		b = t.scratch
	}
	if len(b) > internMax {
		return clean(b, limit)
	}
	ways := &t.intern[maphash.Bytes(t.seed, b)%uint64(len(t.intern))]
	for i := range ways {
		if ways[i] == string(b) {
			return ways[i]
		}
	}
	copy(ways[1:], ways[:internWays-1])
	ways[0] = clean(b, limit)
	return ways[0]
}

// once makes a string as text does, of something that will not come again.
func (t *Tracker) once(b []byte, limit int) string {
	return clean(cutText(b, limit), limit)
}

func clean(b []byte, limit int) string {
	if !utf8.Valid(b) {
		b = cutText(bytes.ToValidUTF8(b, []byte("\uFFFD")), limit)
	}
	return string(b)
}

// cutText cuts b to limit bytes without cutting a character in two.
func cutText(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	n := limit
	for n > limit-utf8.UTFMax && n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}

package l7

import (
	"bytes"
	"hash/maphash"
	"strings"
	"unicode/utf8"

	"github.com/flowlake/flowlake/collector/l7/dns"
	"github.com/flowlake/flowlake/collector/l7/http1"
)

const (
	internSlots = 2048 // texts remembered by a Tracker
	internMax   = 256  // bytes; longer texts are not remembered
	maxFree     = 1024 // unused objects of one kind a Tracker keeps
	maxFreeBufs = 64   // the same for buffers, which are bigger
)

// Tracker follows the application protocols of many connections: one per worker, not safe for concurrent use.
type Tracker struct {
	o Options
	h Handler
	m Metrics

	enabled    [numProtocols]bool
	waiting    [numProtocols]pendingList // by protocol: the timeout differs, so each list is in order of deadline
	holds      holdList
	reqHeaders []capture
	rspHeaders []capture

	// Scratch space of the parsers; nothing in it lives longer than a call.
	req     http1.Request
	rsp     http1.Response
	msg     dns.Message
	scratch []byte
	ex      Exchange // for responses without a request

	seed   maphash.Seed
	intern [internSlots]string

	freeConns   []*Conn
	freePending []*pending
	freeBufs    []*buffer
	freeHolds   []*hold
}

// capture is a further header to keep: its name in lower case and the attribute it becomes.
type capture struct{ name, key string }

// NewTracker returns a Tracker that reports to h.
func NewTracker(o Options, h Handler) *Tracker {
	t := &Tracker{o: o.withDefaults(), h: h, seed: maphash.MakeSeed()}
	for _, p := range t.o.Protocols {
		if p < numProtocols {
			t.enabled[p] = true
		}
	}
	captures := func(names []string, prefix string) (cs []capture) {
		for _, n := range names {
			n = strings.ToLower(n)
			cs = append(cs, capture{name: n, key: prefix + n})
		}
		return cs
	}
	t.reqHeaders = captures(t.o.RequestHeaders, "http.request.header.")
	t.rspHeaders = captures(t.o.ResponseHeaders, "http.response.header.")
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
	slot := &t.intern[maphash.Bytes(t.seed, b)%internSlots]
	if *slot != string(b) {
		*slot = clean(b, limit)
	}
	return *slot
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

package l7

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// at sends part of a side's stream: s[from:to], the stream starting at the side's present number.
func (k *talk) at(side Side, s string, from, to int) {
	k.time += 1e6
	k.c.Payload(side, k.time, k.seq[side]+uint32(from), []byte(s[from:to]), to-from)
}

func TestRetransmission(t *testing.T) {
	k := newTalk(t, Options{})
	k.at(Client, getA, 0, 10)
	k.at(Client, getA, 0, 10)
	k.at(Client, getA, 5, 20)
	k.at(Client, getA, 0, len(getA))
	k.at(Client, getA, 0, len(getA))
	k.server(ok0)
	k.want(sessionA)
	if m := k.tr.Metrics(); m.RetransmittedBytes != uint64(10+5+20+len(getA)) || m.Requests != 1 {
		t.Errorf("%+v", m)
	}
}

func TestOutOfOrder(t *testing.T) {
	k := newTalk(t, Options{})
	k.at(Client, getA, 0, 5)
	k.at(Client, getA, 15, len(getA))
	k.at(Client, getA, 15, len(getA)) // again
	k.at(Client, getA, 10, 15)
	k.want()
	k.at(Client, getA, 5, 10)
	k.server(ok0)
	k.want(sessionA)
	if m := k.tr.Metrics(); m.HeldSegments != 2 || m.GapBytes != 0 || k.c.half[0].hold != nil {
		t.Errorf("%+v", m)
	}
}

// TestAnnouncedStart: with the number from the SYN, a late first segment is no retransmission.
func TestAnnouncedStart(t *testing.T) {
	k := newTalk(t, Options{})
	k.c.Payload(Client, 1, k.seq[Client], nil, 0)
	k.at(Client, getA, 9, len(getA))
	k.at(Client, getA, 0, 9)
	k.server(ok0)
	k.want(sessionA)
}

func TestHole(t *testing.T) {
	k := newTalk(t, Options{HoldTime: time.Second})
	k.client(getA)
	k.server(ok0)
	k.client(getA)
	k.skip(Server, len(ok0)) // never captured
	k.client(getB)
	k.server(no0)
	k.want(sessionA) // so far the last one waits for what is missing
	k.tr.Tick(k.time + 2e9)
	k.want("request GET h/a > -1 unknown", sessionB)
	if m := k.tr.Metrics(); m.LostPairing != 1 || m.GapBytes != uint64(len(ok0)) || m.DroppedWindow != 1 {
		t.Errorf("%+v", m)
	}
}

func TestHoleInBody(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA)
	k.server("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
	k.skip(Server, 980)
	k.server("0123456789" + no0)
	k.client(getB)
	k.want(sessionA, "response   > 404 client_error")
	k.server(no0)
	k.want(sessionB)
	if m := k.tr.Metrics(); m.Resyncs+m.HeldSegments != 0 {
		t.Errorf("%+v", m)
	}
}

func TestWindowIsBounded(t *testing.T) {
	f := func(o Options, segments, size int) {
		t.Helper()
		k := newTalk(t, o)
		k.client(getA)
		k.server("HTTP/1.1 200 OK\r\nX-Long: ")
		k.skip(Server, 100)
		for range segments {
			k.server(strings.Repeat("x", size))
		}
		k.server(no0)
		k.client(getB)
		k.server(no0)
		k.want(sessionA, "response   > 404 client_error", sessionB)
		if m := k.tr.Metrics(); m.DroppedWindow != 1 {
			t.Errorf("%+v", m)
		}
	}
	f(Options{MaxHeldSegments: 4}, 4, 10)
	f(Options{MaxConnBuffer: 1024}, 2, 600)
}

func TestSnapped(t *testing.T) {
	k := newTalk(t, Options{})
	snap := func(side Side, s string, have int) {
		k.time++
		k.c.Payload(side, k.time, k.seq[side], []byte(s[:have]), len(s))
		k.seq[side] += uint32(len(s))
	}
	// Within the head: what is there counts, and the next message is found.
	snap(Client, "GET /a HTTP/1.1\r\nHost: h\r\nCookie: abc\r\n\r\n", 30)
	snap(Server, "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 10\r\n\r\n0123456789", 20)
	k.want(sessionA)
	// Within the body: nothing is missing.
	snap(Client, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789", 52)
	snap(Server, no0, len(no0))
	e := k.one()
	if brief(&e) != "session POST h/b > 404 client_error" || e.RequestBytes != 59 {
		t.Errorf("%+v", e)
	}
	if m := k.tr.Metrics(); m.ParseFailures != 0 || m.Resyncs != 2 {
		t.Errorf("%+v", m)
	}
}

func TestOtherStream(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(getA)
	k.seq[Client] += 1 << 30
	k.client(getB)
	k.server(ok0 + no0)
	k.want(sessionA, sessionB)
}

// TestTotalBuffer: past the bound of the Tracker, heads are read as far as they are there and holes are not waited for.
func TestTotalBuffer(t *testing.T) {
	rec := &recorder{}
	tr := NewTracker(Options{MaxTotalBuffer: 64 << 10}, rec)
	head := "GET /a HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("x", 8000)
	for range 20 {
		c := tr.NewConn(transportTCP, 1, 2)
		c.Payload(Client, 1, 0, []byte(head), len(head))
		c.Payload(Client, 1, uint32(len(head)), []byte("x"), 1)
	}
	if m := tr.Metrics(); m.Buffered > 64<<10 || m.Requests != 12 || m.DroppedBuffer != 12 {
		t.Errorf("%+v", m)
	}
	c := tr.NewConn(transportTCP, 1, 2)
	c.Payload(Client, 1, 0, []byte(getA), len(getA))
	early := getB + strings.Repeat("x", 8000)
	c.Payload(Client, 1, 1000, []byte(early), len(early))
	if m := tr.Metrics(); m.Requests != 14 || m.DroppedWindow != 1 {
		t.Errorf("%+v", m)
	}
}

func TestTotalPending(t *testing.T) {
	rec := &recorder{}
	tr := NewTracker(Options{MaxTotalPending: 2}, rec)
	for i := range 4 {
		c := tr.NewConn(transportTCP, 1, 2)
		c.Payload(Client, int64(i), 0, []byte(getA), len(getA))
	}
	c := tr.NewConn(transportUDP, 1, 53)
	q := []byte(dnsMessage(1, query, 1))
	c.Payload(Client, 5, 0, q, len(q))
	if m := tr.Metrics(); m.Pending != 2 || m.EvictedPending != 3 || len(rec.exchanges) != 3 || rec.exchanges[2].StartNanos != 2 {
		t.Errorf("%+v %q", m, rec.lines)
	}
}

// TestTimesRunBackwards: however the times of requests leap, each is given up once its own time is long over.
func TestTimesRunBackwards(t *testing.T) {
	rec := &recorder{}
	tr := NewTracker(Options{}, rec)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		c := tr.NewConn(transportTCP, 1, 2)
		c.Payload(Client, rng.Int64N(1e12), 0, []byte(getA), len(getA))
	}
	var last int64
	for pd := tr.waiting[HTTP].first; pd != nil; pd = pd.after {
		if pd.deadline < last {
			t.Fatal("the list is out of order")
		}
		last = pd.deadline
	}
	tr.Tick(2e12)
	if m := tr.Metrics(); m.Timeouts != 500 || m.Pending != 0 {
		t.Errorf("%+v", m)
	}
}

// script is a conversation: in each turn one side sends a text.
type script []struct {
	side Side
	text string
}

// play sends a script with the turns cut at random. Within a turn, segments may come twice and in another order.
func play(s script, rng *rand.Rand, o Options, shuffle bool) (*recorder, Metrics) {
	rec := &recorder{}
	tr := NewTracker(o, rec)
	c := tr.NewConn(transportTCP, 40000, 80)
	seq := [2]uint32{0xfffffff0, 77}
	c.Payload(Client, 1, seq[0], nil, 0)
	c.Payload(Server, 1, seq[1], nil, 0)
	type piece struct{ from, to int }
	for _, turn := range s {
		var pieces []piece
		for at := 0; at < len(turn.text); {
			n := len(turn.text) - at
			if rng != nil {
				n = min(n, 1+rng.IntN(1+rng.IntN(200)))
			}
			pieces = append(pieces, piece{at, at + n})
			at += n
		}
		if shuffle {
			for three := range slices.Chunk(pieces, 3) { // no piece more than two places early
				rng.Shuffle(len(three), func(i, j int) { three[i], three[j] = three[j], three[i] })
			}
			for i := 0; i < len(pieces); i += 1 + rng.IntN(5) {
				pieces = slices.Insert(pieces, i+rng.IntN(len(pieces)-i), pieces[i])
			}
		}
		for _, p := range pieces {
			c.Payload(turn.side, 1, seq[turn.side]+uint32(p.from), []byte(turn.text[p.from:p.to]), p.to-p.from)
		}
		seq[turn.side] += uint32(len(turn.text))
	}
	c.Close(1)
	return rec, tr.Metrics()
}

var scripts = map[string]script{
	"http": {
		{Client, getA}, {Server, ok0}, {Client, getA + getB}, {Server, ok0 + no0},
		{Client, "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n" + strings.Repeat("GET ", 7) + "\r\n"},
		{Server, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1a;x=y\r\n" + strings.Repeat("z", 26) + "\r\n0\r\nT: HTTP/1.1 500 No\r\n\r\n"},
		{Client, "HEAD /d HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n b\r\n\r\n"},
		{Server, "HTTP/1.1 500 Oh no\r\nContent-Length: 1000\r\nX-Request-ID: r\r\n\r\n"},
		{Client, "PUT /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"},
		{Server, "HTTP/1.1 201 Created\n\nuntil the end\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
	},
	"long head": {
		{Client, "GET /long HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("c", 3000) + "\r\nX: y\r\n\r\n" + getB}, {Server, ok0 + no0},
	},
	"dns": {
		{Client, "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01" +
			"\x00\x1d\x12\x35\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x1c\x00\x01"},
		{Server, "\x00\x1d\x12\x35\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x1c\x00\x01" +
			"\x00\x2d\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"},
	},
}

// TestSegmentation: however a stream is cut, repeated and reordered, the exchanges are the same.
func TestSegmentation(t *testing.T) {
	o := Options{MaxConnBuffer: 1024, MaxHeldSegments: 64}
	for name, s := range scripts {
		whole, m := play(s, nil, o, false)
		if len(whole.exchanges) < 2 || m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
			t.Fatalf("%s: %+v %q", name, m, whole.lines)
		}
		want := fmt.Sprintf("%+v", whole.exchanges)
		for seed := range uint64(400) {
			rng := rand.New(rand.NewPCG(seed, 1))
			rec, m := play(s, rng, o, seed%2 == 1)
			if got := fmt.Sprintf("%+v", rec.exchanges); got != want {
				t.Fatalf("%s, seed %d: %+v\n got %s\nwant %s", name, seed, m, got, want)
			}
		}
	}
}

// checkKept compares what c, the only connection of tr, keeps with the bounds and the gauge.
func checkKept(t *testing.T, tr *Tracker, c *Conn) {
	t.Helper()
	kept := 0
	for _, h := range c.half {
		if h.buf != nil {
			kept += len(h.buf.data)
		}
		if h.hold != nil {
			kept += h.hold.bytes
		}
		if h.buf != nil && len(h.buf.data) > tr.o.MaxConnBuffer || h.hold != nil && h.hold.bytes > tr.o.MaxConnBuffer {
			t.Fatal("more kept than allowed")
		}
	}
	if kept != tr.m.Buffered {
		t.Fatalf("%d bytes kept, %d counted", kept, tr.m.Buffered)
	}
}

// FuzzSegmentation cuts arbitrary streams: nothing panics, memory stays bounded and everything is given back.
func FuzzSegmentation(f *testing.F) {
	for _, s := range scripts {
		var c, r string
		for _, turn := range s {
			if turn.side == Client {
				c += turn.text
			} else {
				r += turn.text
			}
		}
		f.Add([]byte(c), []byte(r), uint64(1))
	}
	f.Fuzz(func(t *testing.T, client, server []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		rec := &recorder{}
		tr := NewTracker(Options{MaxConnBuffer: 1024, MaxPending: 3}, rec)
		transport := uint8(transportTCP)
		if seed%5 == 0 {
			transport = transportUDP
		}
		c := tr.NewConn(transport, 53, 80)
		streams := [2][]byte{client, server}
		var at [2]int
		for range 300 {
			side := Side(rng.IntN(2))
			s := streams[side]
			from := min(max(at[side]+rng.IntN(40)-15, 0), len(s))
			to := min(from+rng.IntN(300), len(s))
			cut := 0
			if rng.IntN(10) == 0 {
				cut = rng.IntN(to - from + 1)
			}
			if rng.IntN(3) > 0 {
				from = min(at[side], to)
			}
			c.Payload(side, int64(rng.IntN(1e9)), uint32(from)-1000, s[from:max(to-cut, from)], to-from)
			at[side] = max(at[side], to)
			if rng.IntN(20) == 0 {
				tr.Tick(int64(rng.IntN(2e9)))
			}
			if rng.IntN(50) == 0 {
				c.Reverse()
			}
			checkKept(t, tr, c)
		}
		c.Close(1)
		if m := tr.Metrics(); m.Pending+m.Conns+m.Buffered != 0 || tr.holds.first != nil || tr.waiting[HTTP].first != nil || tr.waiting[DNS].last != nil {
			t.Fatalf("%+v", m)
		}
		requests := 0
		for _, e := range rec.exchanges {
			if e.Kind != KindResponse {
				requests++
			}
		}
		if m := tr.Metrics(); uint64(requests) != m.Requests {
			t.Fatalf("%d of %d requests reported", requests, m.Requests)
		}
	})
}

// TestResponseBeforeHole: a response whose beginning came before a hole answers the request it would have answered
// without.
func TestResponseBeforeHole(t *testing.T) {
	k := newTalk(t, Options{})
	k.client("GET /1 HTTP/1.1\r\n\r\n")
	k.server("HTTP/1.1 200 OK\r\nContent-Le")
	k.skip(Server, 5000)
	k.server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
	k.client("GET /2 HTTP/1.1\r\n\r\n")
	k.client("GET /3 HTTP/1.1\r\n\r\n")
	k.tr.Tick(5e9)
	k.want("session GET /1 > 200 ok", "request GET /2 > -1 unknown", "session GET /3 > 404 client_error")
}

// TestEnd: what is not answered when a connection is over has timed out, unless the answer may have been missed.
func TestEnd(t *testing.T) {
	k := newTalk(t, Options{})
	k.client("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
	k.server("HTTP/1.1 200 OK\r\nContent-Le") // the beginning of an answer is an answer
	k.c.End(9e9)
	k.want("session GET /1 > 200 ok", "request GET /2 > -1 timeout")
	if m := k.tr.Metrics(); m.Timeouts != 1 || m.Pending != 0 || m.Conns != 0 || m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
	k = newTalk(t, Options{})
	k.server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	k.client("GET /3 HTTP/1.1\r\n\r\n")
	k.skip(Server, 5000)
	k.server("something")
	k.c.End(9e9)
	k.want("response   > 200 ok", "request GET /3 > -1 unknown")
}

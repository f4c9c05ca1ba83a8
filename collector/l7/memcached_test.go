package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// newMemcached is a conversation with a memcached.
func newMemcached(t *testing.T, o Options) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 11211)
	return k
}

// mcPacket is a message of memcached's binary protocol.
func mcPacket(magic, op byte, extras, key, value string, status uint16, opaque uint32) string {
	p := []byte{magic, op}
	p = binary.BigEndian.AppendUint16(p, uint16(len(key)))
	p = append(p, byte(len(extras)), 0)
	p = binary.BigEndian.AppendUint16(p, status)
	p = binary.BigEndian.AppendUint32(p, uint32(len(extras)+len(key)+len(value)))
	p = binary.BigEndian.AppendUint32(p, opaque)
	return string(append(p, make([]byte, 8)...)) + extras + key + value
}

func TestMemcachedFields(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client("get a b\r\n")
	k.server("VALUE a 0 3\r\nbar\r\n")
	k.server("END\r\n")
	want := Exchange{Kind: KindSession, Protocol: Memcached, StartNanos: 1e6, EndNanos: 2e6, RequestType: "get", RequestResource: "get a b",
		RequestID: -1, Endpoint: "get", RequestBytes: 9, ResponseBytes: 23, Status: StatusOK, ResponseCode: -1, AffectedRows: -1,
		ResponseResult: "VALUE a 0 3", RequestSeq: 0xffffffe0, ResponseSeq: 5000,
		Attributes: []Attribute{{"memcached_hits", "1"}, {"memcached_keys", "2"}}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := strings.Join(k.rec.lines[:3], "|"); s != "identified memcached server=1|request @1000000|response @3000000 ok rrt=1000000" &&
		s != "identified memcached server=1|request @1000000|response @2000000 ok rrt=1000000" {
		t.Error(s)
	}
}

func TestMemcachedText(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client("set a 0 0 1000\r\n" + strings.Repeat("x", 500))
	k.client(strings.Repeat("x", 500) + "\r\nget missing\r\nincr n 1\r\n")
	k.server("STORED\r\nEND\r\n5\r\n")
	k.client("set a 0 0 1 noreply\r\nx\r\nbogus\r\nflush_all\r\nquit\r\n")
	k.server("ERROR\r\nOK\r\n")
	k.want("session set set a 0 0 1000 > -1 ok", "session get get missing > -1 ok", "session incr incr n 1 > -1 ok",
		"request set set a 0 0 1 noreply > -1 unknown", "request quit quit > -1 unknown", "session bogus bogus > -1 client_error",
		"session flush_all flush_all > -1 ok")
	k.client("stats\r\n")
	k.server("STAT pid 1\r\nSTAT up")
	k.server("time 5\r\nEND\r\n")
	k.client("add a 0 0 1\r\nx\r\n")
	k.server("SERVER_ERROR out of memory storing object\r\n")
	k.want("session stats stats > -1 ok", "session add add a 0 0 1 > -1 server_error")
	if m := k.tr.Metrics(); m.ParseFailures+m.Unpaired+m.Resyncs+uint64(m.Pending) != 0 {
		t.Errorf("%+v", m)
	}
	k.client("watch fetchers\r\n")
	k.server("OK\r\nts=1 gid=1 type=item_get\r\n")
	if k.c.End(9e9); !k.c.off {
		t.Error("a log is read")
	}
	k.want("request watch watch fetchers > -1 unknown")
}

// TestMemcachedMeta: of quiet commands nobody knows which replies are theirs until MN.
func TestMemcachedMeta(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client("mg a v\r\nms b 2\r\nhi\r\nmg c v\r\n")
	k.server("VA 1\r\nx\r\nHD\r\nEN\r\n")
	k.want("session mg mg a v > -1 ok", "session ms ms b 2 > -1 ok", "session mg mg c v > -1 ok")
	k.client("mg a v q\r\nmg b v q\r\nmg c v\r\nmn\r\n")
	k.server("VA 1\r\nx\r\nEN\r\nMN\r\n")
	k.want("request mg mg a v q > -1 unknown", "request mg mg b v q > -1 unknown", "request mg mg c v > -1 unknown",
		"response   > -1 ok", "response   > -1 ok", "session mn mn > -1 ok")
	k.client("mg a v\r\n")
	k.server("HD\r\n")
	k.want("session mg mg a v > -1 ok")
}

func TestMemcachedBinary(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client(mcPacket(0x80, 0x0d, "", "a", "", 0, 1) + mcPacket(0x80, 0x0d, "", "b", "", 0, 2) + mcPacket(0x80, 0x0a, "", "", "", 0, 3))
	k.server(mcPacket(0x81, 0x0d, "\x00\x00\x00\x00", "b", "value", 0, 2) + mcPacket(0x81, 0x0a, "", "", "", 0, 3))
	k.want("request getkq getkq a > -1 ok", "session getkq getkq b > 0 ok", "session noop noop > 0 ok")
	k.client(mcPacket(0x80, 0x00, "", "a", "", 0, 0) + mcPacket(0x80, 0x05, "12345678123456781234", "n", "", 0, 0))
	k.server(mcPacket(0x81, 0x00, "", "", "Not found", 1, 0) + mcPacket(0x81, 0x05, "", "", "Non-numeric value", 6, 0))
	if e := k.rec.exchanges[1]; e.ResponseException != "Non-numeric value" || e.ResponseResult != "NON_NUMERIC" || e.RequestID != 0 {
		t.Errorf("%+v", e)
	}
	k.want("session get get a > 1 ok", "session increment increment n > 6 client_error")
	k.client(mcPacket(0x80, 0x10, "", "", "", 0, 9))
	k.server(mcPacket(0x81, 0x10, "", "pid", "1", 0, 9) + mcPacket(0x81, 0x10, "", "", "", 0, 9))
	if e := k.one(); e.ResponseBytes != 52 {
		t.Errorf("%+v", e)
	}
	k.server(mcPacket(0x81, 0x00, "", "", "", 0, 77))
	k.want("response get  > 0 ok")
	// A quiet command does not time out.
	k.client(mcPacket(0x80, 0x11, "12345678", "a", "v", 0, 1) + mcPacket(0x80, 0x17, "", "", "", 0, 2))
	k.c.End(9e9)
	k.want("request quitq quitq > -1 unknown", "request setq setq a > -1 unknown")
}

func TestMemcachedTimeout(t *testing.T) {
	k := newMemcached(t, Options{Timeouts: map[Protocol]time.Duration{Memcached: time.Second}})
	k.client("get a\r\n")
	k.client("get b\r\n")
	k.tr.Tick(1e6 + 1e9)
	k.want("request get get a > -1 timeout")
	k.server("VALUE a 0 1\r\nx\r\nEND\r\nEND\r\n")
	k.want("response   > -1 ok", "session get get b > -1 ok")
}

// TestMemcachedHoles: a reply that does not fit a command is not its reply, and a part of one none at all.
func TestMemcachedHoles(t *testing.T) {
	k := newMemcached(t, Options{HoldTime: time.Nanosecond})
	k.client("set a 0 0 1\r\nx\r\n")
	k.skip(Server, 8) // STORED
	k.client("get a\r\n")
	k.server("VALUE a 0 1\r\nx\r\nEND\r\n")
	k.tr.Tick(k.time + 1e9)
	k.want("request set set a 0 0 1 > -1 unknown", "session get get a > -1 ok")
	k.client("get a b\r\n")
	k.server("VALUE a 0 1\r\nx\r\n")
	k.skip(Server, 16)
	k.server("END\r\n")
	k.tr.Tick(k.time + 1e9)
	k.client("delete a\r\n")
	k.server("DELETED\r\n")
	k.want("session get get a b > -1 ok", "session delete delete a > -1 ok")
	k.client("get " + strings.Repeat("key ", 8000) + "x\r\n") // longer than what is kept
	k.server("END\r\n")
	k.client("touch a 5\r\n")
	k.server("TOUCHED\r\n")
	es := k.rec.exchanges
	if len(es) != 2 || es[0].RequestType != "get" || es[0].Kind != KindSession || es[1].RequestType != "touch" {
		t.Error(k.rec.briefs())
	}
}

// TestMemcachedCut: of a pipeline and its replies only the beginnings were captured; what comes next answers what was not seen.
func TestMemcachedCut(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client("set a 0 0 1\r\nx\r\n")
	k.server("STORED\r\n")
	cut := func(side Side, s string, have int) {
		k.time += 1e6
		k.c.Payload(side, k.time, k.seq[side], []byte(s[:have]), len(s))
		k.seq[side] += uint32(len(s))
	}
	cut(Client, "get a\r\nincr a 1\r\ndelete a\r\nbogus\r\n", 17)
	cut(Server, "VALUE a 0 1\r\nx\r\nEND\r\nCLIENT_ERROR not a number\r\nDELETED\r\n", 21)
	k.server("ERROR\r\n")
	k.client("get a\r\n")
	k.server("END\r\n")
	k.want("session set set a 0 0 1 > -1 ok", "session get get a > -1 ok", "request incr incr a 1 > -1 unknown",
		"session get get a > -1 ok")
}

func TestMemcachedPickUp(t *testing.T) {
	k := newTalk(t, Options{Protocols: []Protocol{Memcached}})
	k.client("get a\r\n")
	k.server("END\r\n")
	if k.c.Proto != Unknown {
		t.Error("recognised on a port not known for it")
	}
	k.client("get a\r\n")
	k.server("VALUE a 0 1\r\nx\r\nEND\r\n")
	k.client("get b\r\n")
	k.server("END\r\n")
	k.want("response   > -1 ok", "session get get b > -1 ok")
}

func TestMemcachedAllocations(t *testing.T) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 11211)
	q, a := []byte("get a b\r\n"), []byte("VALUE a 0 1\r\nx\r\nEND\r\n")
	var qs, as uint32
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, qs, q, len(q))
		c.Payload(Server, 2, as, a, len(a))
		qs, as = qs+uint32(len(q)), as+uint32(len(a))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

// between is the text of a line between two others.
func between(line, before, after string) string {
	_, line, _ = strings.Cut(line, before)
	line, _, _ = strings.Cut(line, after)
	return line
}

// TestCorpusMemcached compares with the expectation, a line per packet. Deviations, for each of which we reassemble and they
// do not: the data block of a set is part of the request (there a line of its own that cannot be read), a request's length is
// that of all of it, quit is a command.
func TestCorpusMemcached(t *testing.T) {
	file := corpusDir(t) + "/l7/memcached/memcached.pcap"
	lines := resultLines(t, file)
	for _, reversed := range []bool{false, true} {
		rec, m := replay(t, file, Options{}, reversed)
		if len(rec.exchanges) != 3 || m.ParseFailures+m.Resyncs+m.Unpaired+m.GapBytes != 0 {
			t.Fatalf("%q, %+v", rec.lines, m)
		}
		for i, at := range []struct{ req, rsp int }{{0, 2}, {3, 4}} {
			e, req, rsp := rec.exchanges[i], lines[at.req], lines[at.rsp]
			size := debugField(req, "req_size")
			if i == 0 {
				size = "20" // and "bar"
			}
			for _, c := range []struct{ what, got, want string }{
				{"request", e.RequestResource, between(req, " request: ", " req_size")},
				{"request bytes", fmt.Sprint(e.RequestBytes), size},
				{"result", e.ResponseResult, between(rsp, " result: ", " err_msg")},
				{"error", e.ResponseException, between(rsp, " err_msg: ", " res_size")},
				{"response bytes", fmt.Sprint(e.ResponseBytes), debugField(rsp, "res_size")},
				{"status", e.Status.String(), "ok"},
				{"kind", e.Kind.String(), "session"},
				{"rrt", fmt.Sprint((e.EndNanos - e.StartNanos) / 1000), debugField(rsp, "rtt")},
			} {
				if c.got != c.want {
					t.Errorf("reversed %v: %s %q, want %q", reversed, c.what, c.got, c.want)
				}
			}
		}
	}
}

package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// dnsMessage is a message about name.test; flags as on the wire, answers ready made.
func dnsMessage(id, flags, qtype uint16, answers ...string) string {
	p := binary.BigEndian.AppendUint16(nil, id)
	for _, v := range []uint16{flags, 1, uint16(len(answers)), 0, 0} {
		p = binary.BigEndian.AppendUint16(p, v)
	}
	p = append(p, "\x04Name\x04test\x00"...)
	p = binary.BigEndian.AppendUint16(p, qtype)
	return string(p) + "\x00\x01" + strings.Join(answers, "")
}

const (
	query, answer = 0x0100, 0x8180
	nameA         = "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"
)

// newDNS is a UDP conversation with a server port.
func newDNS(t *testing.T, o Options, port uint16) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportUDP, 40000, port)
	k.seq = [2]uint32{}
	return k
}

// datagram sends s, of which only the first have bytes were captured.
func (k *talk) datagram(side Side, s string, have int) {
	k.time += 1e6
	k.c.Payload(side, k.time, 0, []byte(s[:have]), len(s))
}

func (k *talk) ask(s string)   { k.datagram(Client, s, len(s)) }
func (k *talk) reply(s string) { k.datagram(Server, s, len(s)) }

func TestDNSFields(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	q, a := dnsMessage(7, query, 1), dnsMessage(7, answer, 1, nameA)
	k.ask(q)
	k.reply(a)
	want := Exchange{Kind: KindSession, Protocol: DNS, StartNanos: 1e6, EndNanos: 2e6, RequestType: "A", RequestDomain: "name.test",
		RequestResource: "name.test", RequestID: 7, Endpoint: "name.test", RequestBytes: int64(len(q)), ResponseBytes: int64(len(a)),
		Status: StatusOK, ResponseCode: 0, AffectedRows: -1, ResponseResult: "A=1.2.3.4 TTL=60", Attributes: []Attribute{}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := strings.Join(k.rec.lines[:3], "|"); s != "identified dns server=1|request @1000000|response @2000000 ok rrt=1000000" {
		t.Error(s)
	}
}

func TestDNSStatus(t *testing.T) {
	for code, want := range []string{"ok ", "client_error FORMERR", "server_error SERVFAIL", "client_error NXDOMAIN",
		"server_error NOTIMP", "server_error REFUSED"} {
		k := newDNS(t, Options{QuietNXDomain: []string{"est", "other.test"}}, 53)
		k.ask(dnsMessage(1, query, 1))
		k.reply(dnsMessage(1, answer|uint16(code), 1))
		if e := k.one(); e.Status.String()+" "+e.ResponseException != want || e.ResponseCode != int64(code) {
			t.Errorf("%d: %+v", code, e)
		}
	}
	for _, suffix := range []string{"test", ".test", "name.test"} {
		k := newDNS(t, Options{QuietNXDomain: []string{suffix}}, 53)
		k.ask(dnsMessage(1, query, 1))
		k.reply(dnsMessage(1, answer|3, 1))
		if e := k.one(); e.Status != StatusOK || e.ResponseException != "NXDOMAIN" {
			t.Errorf("%s: %+v", suffix, e)
		}
	}
}

func TestDNSPairing(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	k.ask(dnsMessage(1, query, 1))
	k.ask(dnsMessage(1, query, 28)) // the same id for another type
	k.ask(dnsMessage(2, query, 1))
	k.reply(dnsMessage(2, answer, 1, nameA))
	k.reply(dnsMessage(1, answer, 28))
	k.reply(dnsMessage(3, answer, 1))
	k.reply(dnsMessage(1, answer, 1, nameA))
	k.want("session A name.testname.test > 0 ok", "session AAAA name.testname.test > 0 ok",
		"response A name.testname.test > 0 ok", "session A name.testname.test > 0 ok")
	// An answer without its question goes by the id.
	k.ask(dnsMessage(9, query, 15))
	k.reply("\x00\x09\x81\x81\x00\x00\x00\x00\x00\x00\x00\x00")
	k.want("session MX name.test > 1 client_error")
}

func TestDNSRepeated(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	k.ask(dnsMessage(1, query, 1))
	k.ask(dnsMessage(1, query, 1))
	k.reply(dnsMessage(1, answer, 1, nameA))
	k.reply(dnsMessage(1, answer, 1, nameA))
	if e := k.one(); e.EndNanos-e.StartNanos != 2e6 {
		t.Errorf("%+v", e)
	}
	if m := k.tr.Metrics(); m.Duplicates != 2 || m.Requests != 1 || m.Responses != 1 {
		t.Errorf("%+v", m)
	}
	k.ask(dnsMessage(1, query, 1)) // later on it is a new one
	k.reply(dnsMessage(1, answer, 1, nameA))
	k.one()
}

func TestDNSTimeout(t *testing.T) {
	k := newDNS(t, Options{Timeouts: map[Protocol]time.Duration{DNS: time.Second}}, 53)
	k.ask(dnsMessage(1, query, 1))
	k.ask(dnsMessage(2, query, 28))
	k.tr.Tick(1e6 + 1e9)
	k.want("request A name.testname.test > -1 timeout")
	k.reply(dnsMessage(2, answer, 28))
	k.want("session AAAA name.testname.test > 0 ok")
	k.tr.Tick(1e18)
	k.c.Close(1e18)
	k.want()
}

func TestDNSDirection(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	k.reply(dnsMessage(1, query, 1))
	if k.rec.lines[0] != "identified dns server=0" {
		t.Fatal(k.rec.lines)
	}
	k.reply(dnsMessage(1, answer, 1, nameA)) // the caller has turned
	k.ask(dnsMessage(2, answer, 1, nameA))
	k.want("session A name.testname.test > 0 ok")
	if m := k.tr.Metrics(); m.WrongSide != 1 {
		t.Errorf("%+v", m)
	}
}

func TestDNSOtherPorts(t *testing.T) {
	k := newDNS(t, Options{}, 9999)
	k.ask(dnsMessage(1, query, 1) + "x") // bytes left over: not on a port unknown for it
	k.reply(dnsMessage(1, query, 1)[:20])
	k.want()
	if k.c.Proto != Unknown {
		t.Error("taken for DNS")
	}
	k.ask(dnsMessage(1, query, 1))
	k.reply(dnsMessage(1, answer, 1, nameA))
	k.want("session A name.testname.test > 0 ok")
}

func TestDNSSnappedAndBroken(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	k.ask(dnsMessage(1, query, 1))
	a := dnsMessage(1, answer, 1, nameA, nameA)
	k.datagram(Server, a, len(a)-5)
	if e := k.one(); e.ResponseResult != "A=1.2.3.4 TTL=60" || e.ResponseBytes != int64(len(a)) {
		t.Errorf("%+v", e)
	}
	k.reply("broken")
	if m := k.tr.Metrics(); m.ParseFailures != 1 || m.GapBytes != 5 {
		t.Errorf("%+v", m)
	}
}

func TestDNSOpcode(t *testing.T) {
	k := newDNS(t, Options{}, 53)
	k.ask(dnsMessage(1, 4<<11, 6))
	k.reply(dnsMessage(1, 0x8000|4<<11, 6))
	if e := k.one(); e.RequestType != "SOA" || fmt.Sprint(e.Attributes) != "[{dns_opcode NOTIFY}]" {
		t.Errorf("%+v", e)
	}
}

// framed puts the length before a message, as over TCP.
func framed(s string) string { return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s }

func TestDNSOverTCP(t *testing.T) {
	k := newTalk(t, Options{MaxConnBuffer: 1024})
	k.client(framed(dnsMessage(1, query, 1)))
	// Longer than the buffer: read as far as kept, and the next one is found.
	long := dnsMessage(1, answer, 1, strings.Split(strings.Repeat(nameA+"|", 200), "|")[:200]...)
	for s := framed(long) + framed(dnsMessage(2, answer, 28)); len(s) > 0; {
		n := min(len(s), 500)
		k.server(s[:n])
		s = s[n:]
	}
	k.want("session A name.testname.test > 0 ok", "response AAAA name.testname.test > 0 ok")
	if m := k.tr.Metrics(); m.DroppedBuffer != 1 || m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
	k.client(framed("short"))
	k.client(framed(dnsMessage(3, query, 1)))
	k.server(framed(dnsMessage(3, answer, 1, nameA))[:40])
	k.c.Close(9e9) // what there is of an answer is an answer
	k.want("session A name.testname.test > 0 ok")
}

func TestDNSAllocations(t *testing.T) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportUDP, 40000, 53)
	q, a := []byte(dnsMessage(7, query, 1)), []byte(dnsMessage(7, answer, 1, nameA))
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, 0, q, len(q))
		c.Payload(Server, 2, 0, a, len(a))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

// mdnsAnswer is an answer without question about host.local, with a TTL of 120 s.
const mdnsAnswer = "\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x04host\x05local\x00\x00\x01\x80\x01\x00\x00\x00\x78\x00\x04\x0a\x00\x00\x07"

// TestMDNS: hosts ask and answer on the same ports, in messages without or with several questions, and nobody answers on
// the connection that asked.
func TestMDNS(t *testing.T) {
	two := "\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x04_ipp\x05local\x00\x00\x0c\x00\x01\xc0\x0c\x00\x10\x00\x01"
	for _, first := range []string{mdnsAnswer, two} {
		k := newDNS(t, Options{Timeouts: map[Protocol]time.Duration{DNS: time.Second}}, 5353)
		k.c = k.tr.NewConn(transportUDP, 5353, 5353)
		k.ask(first)
		if k.rec.lines[0] != "identified dns server=1" { // the direction stays
			t.Fatal(k.rec.lines)
		}
		k.rec.exchanges = nil
		k.ask(two)
		k.ask(mdnsAnswer) // of the same host, to somebody else
		k.want("response A host.localhost.local > 0 ok")
		k.tr.Tick(10e9)
		k.want("request PTR _ipp.local > -1 unknown")
		k.ask(two)
		k.c.End(11e9)
		k.want("request PTR _ipp.local > -1 unknown")
		if m := k.tr.Metrics(); m.Timeouts != 0 || m.WrongSide != 0 || m.Pending != 0 {
			t.Errorf("%+v", m)
		}
	}
	// Whoever asks from another port gets the answer himself, from another address.
	k := newDNS(t, Options{}, 5353)
	k.reply(mdnsAnswer)
	if k.rec.lines[0] != "identified dns server=1" {
		t.Error(k.rec.lines)
	}
	k.want("response A host.localhost.local > 0 ok")
	for _, bad := range []string{"", mdnsAnswer[:20], "\x00\x00\x84\x10" + mdnsAnswer[4:], "\x00\x00\x00\x00\x00\x00" + mdnsAnswer[6:]} {
		k := newDNS(t, Options{}, 5353)
		k.reply(bad)
		if k.c.Proto != Unknown {
			t.Errorf("%q is taken for mDNS", bad)
		}
	}
	k = newDNS(t, Options{}, 53) // elsewhere an answer repeats the question
	k.reply(mdnsAnswer)
	if k.c.Proto != Unknown {
		t.Error("taken for DNS")
	}
}

// TestZoneTransfer: only the first message of a transfer is the answer, the others go on with it.
func TestZoneTransfer(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(framed(dnsMessage(1, query, 252)))
	k.server(framed(dnsMessage(1, answer, 252, nameA)))
	bare := "\x00\x01\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04"
	k.server(framed(bare) + framed(bare))
	k.server(framed(dnsMessage(1, answer, 252, nameA)))
	k.want("session AXFR name.test > 0 ok")
	if m := k.tr.Metrics(); m.Duplicates != 3 || m.Responses != 1 {
		t.Errorf("%+v", m)
	}
	k.server(framed("\x00\x02" + bare[2:])) // of a transfer whose beginning was not seen
	k.want("response A name.testname.test > 0 ok")
}

// TestDNSFlood: queries without end cost what MaxPending and MaxTotalPending allow.
func TestDNSFlood(t *testing.T) {
	rec := &recorder{}
	tr := NewTracker(Options{MaxPending: 10, MaxTotalPending: 100}, rec)
	var conns []*Conn
	for i := range 50 {
		conns = append(conns, tr.NewConn(transportUDP, uint16(40000+i), 53))
	}
	for i := range 5000 {
		q := []byte(dnsMessage(uint16(i), query, 1))
		conns[i%len(conns)].Payload(Client, int64(i), 0, q, len(q))
		if m := tr.Metrics(); m.Pending > 100 || m.Buffered != 0 {
			t.Fatalf("%+v", m)
		}
	}
	for _, c := range conns {
		c.End(6000)
	}
	if m := tr.Metrics(); m.Pending != 0 || m.Conns != 0 || m.EvictedPending != 4900 || m.Timeouts != 100 || len(rec.exchanges) != 5000 {
		t.Errorf("%+v, %d exchanges", m, len(rec.exchanges))
	}
}

package flow

import (
	"bytes"
	"cmp"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// say adds a data segment with text.
func (k *talk) say(dir int, at int64, seq, ackNo uint32, text string) *packet.Packet {
	p := k.add(dir, at, pshAck, seq, ackNo, uint32(len(text)))
	p.Payload = []byte(text)
	return p
}

const (
	httpRequest = "GET /index.html HTTP/1.1\r\nHost: example.com\r\n\r\n"
	httpOK      = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
	httpGone    = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
	httpFailed  = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
)

// TestL7Counters: requests and responses are counted in the flow, and decide how a client's RST is meant.
func TestL7Counters(t *testing.T) {
	for _, c := range []struct {
		name     string
		response string
		close    CloseType
		client   uint32
		server   uint32
	}{
		{"ok", httpOK, CloseNormalClientRST, 0, 0},
		{"client error", httpGone, CloseClientRST, 1, 0},
		{"server error", httpFailed, CloseClientRST, 0, 1},
	} {
		k := newTalk().handshake()
		k.say(0, 100*ms, 101, 501, httpRequest)
		k.say(1, 107*ms, 501, 101+uint32(len(httpRequest)), c.response)
		k.add(0, 120*ms, rst, 101+uint32(len(httpRequest)), 0, 0)
		r, table := run(Options{}, k.packets)
		g := last(t, r)
		if g.L7Protocol != l7.HTTP || g.L7Requests != 1 || g.L7Responses != 1 || g.L7ClientErrors != c.client ||
			g.L7ServerErrs != c.server || g.RRT != (Delays{7000, 1, 7000}) || g.CloseType != c.close {
			t.Errorf("%s: %+v", c.name, g)
		}
		if len(r.exchanges) != 1 || r.exchanges[0].RequestResource != "/index.html" {
			t.Errorf("%s: %+v", c.name, r.exchanges)
		}
		if m := table.Metrics(); m.L7.Conns != 0 {
			t.Errorf("%s: %d connections left", c.name, m.L7.Conns)
		}
	}
}

// TestL7Direction: a request tells who is the client where nothing else does.
func TestL7Direction(t *testing.T) {
	k := newTalk()
	k.clientPort, k.serverPort = 50000, 50001
	// The capture begins with an empty ACK of the server, which is taken for the client.
	k.add(1, 0, ack, 501, 101, 0)
	k.say(0, 10*ms, 101, 501, httpRequest)
	k.say(1, 15*ms, 501, 101+uint32(len(httpRequest)), httpOK)
	r, table := run(Options{}, k.packets)
	g := last(t, r)
	if g.Client != k.client || g.DirectionScore != scoreL7 || g.PacketsTx != 1 || g.PacketsRx != 2 ||
		g.L7Requests != 1 || g.L7Responses != 1 || g.ART.Count != 1 || g.ART.SumMicros != 5000 || g.L7Reversed ||
		table.Metrics().Reversed != 1 {
		t.Errorf("%+v", g)
	}
	// The next flow to that server is right from the start.
	k.clientPort = 50002
	k.add(1, second, ack, 501, 101, 0)
	r, _ = run(Options{}, k.packets)
	if g := last(t, r); g.Client != k.client || g.DirectionScore != scoreL7 {
		t.Errorf("%+v", g)
	}
}

// TestL7AgainstTheHandshake: a server that asks its client (a reverse tunnel) stays the server of the flow.
func TestL7AgainstTheHandshake(t *testing.T) {
	k := newTalk().handshake()
	k.say(1, 100*ms, 501, 101, httpRequest)
	k.say(0, 103*ms, 101, 501+uint32(len(httpRequest)), httpOK)
	r, _ := run(Options{}, k.packets)
	g := last(t, r)
	if g.Client != k.client || !g.L7Reversed || g.DirectionScore != scoreSYNACK || g.L7Requests != 1 || g.L7Responses != 1 ||
		g.RRT.SumMicros != 3000 {
		t.Errorf("%+v", g)
	}
}

// TestL7Timeout: a request without a response is a timeout, in the flow's counters too.
func TestL7Timeout(t *testing.T) {
	k := newTalk().handshake()
	k.say(0, 100*ms, 101, 501, httpRequest)
	k.add(0, 200*second, ack, 101+uint32(len(httpRequest)), 501, 0)
	r, _ := run(Options{L7: l7.Options{Timeouts: map[l7.Protocol]time.Duration{l7.HTTP: 20 * time.Second}}}, k.packets)
	var timeouts uint32
	for i := range r.reports {
		timeouts += r.reports[i].L7Timeouts
	}
	if timeouts != 1 || len(r.exchanges) != 1 || r.exchanges[0].Status != l7.StatusTimeout {
		t.Errorf("%d timeouts, %+v", timeouts, r.exchanges)
	}
}

// TestL7DNS: a UDP query and its answer.
func TestL7DNS(t *testing.T) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01")
	answer := bytes.Clone(query)
	answer[2], answer[3], answer[7] = 0x81, 0x80, 1
	answer = append(answer, "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x5d\xb8\xd8\x22"...)
	k := newTalk()
	k.proto, k.serverPort = packet.ProtoUDP, 53
	k.say(0, 0, 0, 0, string(query))
	k.say(1, 4*ms, 0, 0, string(answer))
	for _, answered := range []time.Duration{0, time.Second} { // a name look-up may end sooner than other flows
		want := cmp.Or(int64(answered), 35*second)
		r := &recorder{}
		table := New(Options{ReportInterval: time.Hour, Timeouts: Timeouts{Answered: answered}}, r)
		table.Packet(&k.packets[0])
		table.Packet(&k.packets[1])
		table.Tick(k.packets[1].TimeNanos + want - 1)
		early := len(r.reports)
		table.Tick(k.packets[1].TimeNanos + want)
		if early != 0 || len(r.reports) != 1 || r.reports[0].CloseType != CloseNormal {
			t.Errorf("answered %v: %d reports before the time, %+v", answered, early, r.reports)
		}
	}
	r, _ := run(Options{}, k.packets)
	g := last(t, r)
	if g.L7Protocol != l7.DNS || g.L7Requests != 1 || g.L7Responses != 1 || g.RRT.SumMicros != 4000 || g.ART.SumMicros != 4000 ||
		len(r.exchanges) != 1 || r.exchanges[0].RequestResource != "example.com" {
		t.Errorf("%+v, %+v", g, r.exchanges)
	}
}

// TestL7Disabled: nothing is looked at.
func TestL7Disabled(t *testing.T) {
	k := newTalk().handshake()
	k.say(0, 100*ms, 101, 501, httpRequest)
	k.say(1, 107*ms, 501, 101+uint32(len(httpRequest)), httpOK)
	r, table := run(Options{DisableL7: true}, k.packets)
	if g := last(t, r); g.L7Protocol != l7.Unknown || g.L7Requests != 0 || table.Metrics().L7 != (l7.Metrics{}) {
		t.Errorf("%+v", g)
	}
}

// witness compares what an exchange's flow says with the report that follows.
type witness struct {
	recorder
	id, start              uint64
	proto, score           uint8
	ipv6, reversed         bool
	iface, tunnelID        uint32
	vlan                   uint16
	tunnel                 packet.TunnelType
	l7                     l7.Protocol
	client, server         packet.Addr
	clientPort, serverPort uint16
	clientMAC, serverMAC   [6]byte
}

func (w *witness) Exchange(f *Flow, e *l7.Exchange) {
	w.id, w.start, w.proto, w.score, w.ipv6 = f.ID(), uint64(f.StartNanos()), f.Proto(), f.DirectionScore(), f.IPv6()
	w.iface, w.tunnelID, w.vlan, w.tunnel, w.l7 = f.Interface(), f.TunnelID(), f.VLAN(), f.TunnelType(), f.L7Protocol()
	w.client, w.clientPort = f.Client()
	w.server, w.serverPort = f.Server()
	w.clientMAC, w.serverMAC, w.reversed = f.ClientMAC(), f.ServerMAC(), f.L7Reversed()
	w.recorder.Exchange(f, e)
}

// TestExchangeKnowsItsFlow: an exchange says the same of its flow as the flow's report.
func TestExchangeKnowsItsFlow(t *testing.T) {
	k := newTalk().handshake()
	k.say(0, 100*ms, 101, 501, httpRequest)
	k.say(1, 107*ms, 501, 101+uint32(len(httpRequest)), httpOK)
	w := &witness{}
	table := New(Options{Agent: 3}, w)
	for i := range k.packets {
		p := &k.packets[i]
		p.Interface, p.VLAN, p.IPv6, p.Tunnel = 7, 12, true, packet.Tunnel{Type: packet.TunnelGeneve, Tier: 2, ID: 99}
		table.Packet(p)
	}
	table.Flush(table.now)
	g := last(t, &w.recorder)
	if len(w.exchanges) != 1 || w.id != g.FlowID || int64(w.start) != g.StartNanos || w.proto != g.Proto ||
		w.score != g.DirectionScore || w.ipv6 != g.IPv6 || w.iface != g.Interface || w.tunnelID != g.TunnelID ||
		w.vlan != g.VLAN || w.tunnel != g.TunnelType || w.l7 != g.L7Protocol || w.client != g.Client ||
		w.server != g.Server || w.clientPort != g.ClientPort || w.serverPort != g.ServerPort ||
		w.clientMAC != g.ClientMAC || w.serverMAC != g.ServerMAC || w.reversed != g.L7Reversed {
		t.Errorf("%+v, want %+v", w, g)
	}
	if g.Interface != 7 || g.VLAN != 12 || !g.IPv6 || g.TunnelID != 99 || g.TunnelTier != 2 || g.ServerPort != 80 {
		t.Errorf("%+v", g)
	}
}

// TestTwoServers: once a SYN-ACK has told who is the server, the other side's handshake packets do not turn the flow.
func TestTwoServers(t *testing.T) {
	k := newTalk().handshake()
	k.add(1, 40*ms, syn, 501, 0, 0)
	k.add(0, 41*ms, synAck, 101, 501, 0)
	r, table := run(Options{}, k.packets)
	if g := last(t, r); g.Client != k.client || g.DirectionScore != scoreSYNACK || table.Metrics().Reversed != 0 {
		t.Errorf("%+v", g)
	}
}

// TestL7NeverAnswered: a request that was not answered before its flow ended has timed out; what is cut off by the end of
// the capture, or may have been answered unseen, has not.
func TestL7NeverAnswered(t *testing.T) {
	query := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"
	dns := newTalk()
	dns.proto, dns.serverPort = packet.ProtoUDP, 53
	dns.say(0, 0, 0, 0, query)
	mdns := newTalk()
	mdns.proto, mdns.clientPort, mdns.serverPort = packet.ProtoUDP, 5353, 5353
	mdns.say(0, 0, 0, 0, query)
	after := uint32(101 + len(httpRequest))
	reset := newTalk().handshake()
	reset.say(0, 100*ms, 101, 501, httpRequest)
	reset.add(1, 200*ms, rst, 501, 0, 0)
	hole := newTalk().handshake()
	hole.say(0, 100*ms, 101, 501, httpRequest)
	hole.say(1, 110*ms, 501, after, httpOK[:20])
	hole.say(1, 120*ms, 5000, after, "something behind a hole")
	hole.say(0, 130*ms, after, 9000, httpRequest)
	hole.add(0, 2*second, rst, 2*after-101, 0, 0)
	for _, c := range []struct {
		name            string
		k               *talk
		ended, cut      l7.Status // of the last exchange
		timeouts, flush uint32
	}{
		{"DNS", dns, l7.StatusTimeout, l7.StatusUnknown, 1, 0},
		{"mDNS", mdns, l7.StatusUnknown, l7.StatusUnknown, 0, 0},
		{"reset", reset, l7.StatusTimeout, l7.StatusUnknown, 1, 0},
		{"hole", hole, l7.StatusUnknown, l7.StatusUnknown, 0, 0},
	} {
		for _, over := range []bool{true, false} {
			r, _ := run(Options{}, c.k.packets)
			status, timeouts := c.cut, c.flush
			if over {
				r, _ = runOut(Options{}, c.k.packets)
				status, timeouts = c.ended, c.timeouts
			}
			if n := len(r.exchanges); n == 0 || r.exchanges[n-1].Status != status || r.exchanges[n-1].Kind != l7.KindRequest ||
				last(t, r).L7Timeouts != timeouts {
				t.Errorf("%s, over %v: %+v, %d timeouts", c.name, over, r.exchanges, last(t, r).L7Timeouts)
			}
		}
	}
}

// TestL7BeginsOutOfOrder: the handshake tells where a stream begins, so that its first segment may come second.
func TestL7BeginsOutOfOrder(t *testing.T) {
	k := newTalk().handshake()
	k.say(0, 100*ms, 111, 501, httpRequest[10:])
	k.say(0, 101*ms, 101, 501, httpRequest[:10])
	after := uint32(101 + len(httpRequest))
	k.say(1, 105*ms, 521, after, httpOK[20:])
	k.say(1, 106*ms, 501, after, httpOK[:20])
	r, table := run(Options{}, k.packets)
	if len(r.exchanges) != 1 || r.exchanges[0].Kind != l7.KindSession || r.exchanges[0].RequestResource != "/index.html" ||
		table.Metrics().L7.HeldSegments != 2 {
		t.Errorf("%+v", r.exchanges)
	}
	// Without a handshake, the first to come is the first.
	r, _ = run(Options{}, k.packets[3:])
	if len(r.exchanges) != 0 {
		t.Errorf("%+v", r.exchanges)
	}
}

// TestL7DataWithSYN: the bytes that a SYN carries come after it in sequence (TCP Fast Open).
func TestL7DataWithSYN(t *testing.T) {
	k := newTalk()
	p := k.say(0, 0, 100, 0, httpRequest[:10])
	p.TCPFlags = syn
	k.add(1, 10*ms, synAck, 500, 111, 0)
	k.say(0, 20*ms, 111, 501, httpRequest[10:])
	k.say(1, 30*ms, 501, uint32(101+len(httpRequest)), httpOK)
	r, table := run(Options{}, k.packets)
	if len(r.exchanges) != 1 || r.exchanges[0].Kind != l7.KindSession || r.exchanges[0].RequestSeq != 101 ||
		r.exchanges[0].EndNanos-r.exchanges[0].StartNanos != 30*ms || table.Metrics().L7.HeldSegments != 0 {
		t.Errorf("%+v", r.exchanges)
	}
}

// TestL7KeepAlive: the repeated byte of a keep-alive probe disturbs nothing, however often it comes.
func TestL7KeepAlive(t *testing.T) {
	for _, start := range []*talk{newTalk(), newTalk().handshake()} { // caught in the middle, or from the start
		probe(t, start)
	}
}

func probe(t *testing.T, k *talk) {
	for i := range int64(20) {
		k.say(0, (i+1)*second, 100, 501, "\x00")
		k.add(1, (i+1)*second+1, ack, 501, 101, 0)
	}
	k.say(0, 30*second, 101, 501, httpRequest)
	k.say(1, 31*second, 501, uint32(101+len(httpRequest)), httpOK)
	r, _ := run(Options{ReportInterval: time.Hour}, k.packets)
	g := last(t, r)
	if len(r.exchanges) != 1 || r.exchanges[0].Kind != l7.KindSession || g.RetransTx != 0 || g.L7Requests != 1 ||
		g.SRT.Count != 0 || g.ART != (Delays{1e6, 1, 1e6}) {
		t.Errorf("%+v, %+v", r.exchanges, g)
	}
}

// TestL7NewStreams: requests are read on when a connection is opened anew, whatever its numbers are; a repeated SYN opens
// nothing.
func TestL7NewStreams(t *testing.T) {
	for _, c := range []struct {
		name string
		isn  uint32
		conn int
	}{{"before the old ones", 1000, 2}, {"behind them", 3000, 2}, {"far away", 1 << 31, 2}, {"the same", 2000, 1}} {
		k := newTalk()
		k.add(0, 0, syn, 2000, 0, 0)
		k.add(1, 1*ms, synAck, 7000, 2001, 0)
		k.add(0, 2*ms, ack, 2001, 7001, 0)
		next := uint32(2001 + len(httpRequest))
		k.say(0, 3*ms, 2001, 7001, httpRequest)
		k.say(1, 4*ms, 7001, next, httpOK)
		k.add(0, 5*ms, syn, c.isn, 0, 0)
		if c.conn == 2 {
			k.add(1, 6*ms, synAck, 6000, c.isn+1, 0)
			k.say(0, 7*ms, c.isn+1, 6001, httpRequest)
			k.say(1, 8*ms, 6001, c.isn+1+uint32(len(httpRequest)), httpGone)
		} else {
			k.say(0, 7*ms, next, 7001, httpRequest)
			k.say(1, 8*ms, 7001+uint32(len(httpOK)), next, httpGone)
		}
		r, table := run(Options{}, k.packets)
		if m := table.Metrics().L7; len(r.exchanges) != 2 || r.exchanges[0].ResponseCode != 200 || r.exchanges[1].ResponseCode != 404 ||
			r.exchanges[1].Kind != l7.KindSession || m.Identified != uint64(c.conn) || m.Resyncs != 0 || table.Metrics().Created != 1 {
			t.Errorf("%s: %+v, %+v", c.name, r.exchanges, m)
		}
	}
}

// TestReportTellsWhatWaits: whoever stops looking learns of the flows and of the requests under way.
func TestReportTellsWhatWaits(t *testing.T) {
	k := newTalk().handshake()
	k.say(0, 100*ms, 101, 501, httpRequest)
	r := &recorder{}
	table := New(Options{}, r)
	for i := range k.packets {
		table.Packet(&k.packets[i])
	}
	table.Report(t0 + second)
	if len(r.exchanges) != 1 || r.exchanges[0].Kind != l7.KindRequest || r.exchanges[0].Status != l7.StatusUnknown ||
		len(r.reports) != 1 || r.reports[0].CloseType != CloseForcedReport || r.reports[0].L7Requests != 1 || r.reports[0].L7Timeouts != 0 {
		t.Errorf("%+v, %+v", r.exchanges, r.reports)
	}
	table.Packet(k.say(1, 2*second, 501, 101+uint32(len(httpRequest)), httpOK)) // it goes on all the same
	if m := table.Metrics(); m.Open != 1 || len(r.exchanges) != 2 || r.exchanges[1].Kind != l7.KindResponse {
		t.Errorf("%+v, %+v", m, r.exchanges)
	}
}

// TestPings: an echo is a request, of a host to itself too; the id of the run tells them apart, the number within it pairs.
func TestPings(t *testing.T) {
	for _, itself := range []bool{false, true} {
		k := newTalk()
		echo := func(dir int, at int64, n uint32, kind uint16) {
			p := k.add(dir, at, 0, n, 0, 56)
			p.Proto, p.SrcPort, p.DstPort = packet.ProtoICMP, kind<<8, 77
			p.Payload = bytes.Repeat([]byte{'x'}, 56)
			if itself {
				p.Src, p.Dst = k.client, k.client
			}
		}
		echo(0, 0, 1, icmpEcho)
		echo(0, ms, 2, icmpEcho)
		echo(1, 3*ms, 2, icmpEchoReply)
		echo(1, 5*ms, 1, icmpEchoReply)
		echo(0, second, 3, icmpEcho)
		r, table := run(Options{}, k.packets)
		g := last(t, r)
		if g.L7Protocol != l7.Ping || g.L7Requests != 3 || g.L7Responses != 2 || g.L7Timeouts != 0 || g.RRT != (Delays{7000, 2, 5000}) || g.SRT != (Delays{7000, 2, 5000}) ||
			g.ServerPort != 0 || g.PacketsTx != 3 || g.PacketsRx != 2 {
			t.Errorf("itself %v: %+v", itself, g)
		}
		if len(r.exchanges) != 3 || r.exchanges[0].RequestID != 2 || r.exchanges[0].RequestBytes != 64 || r.exchanges[2].Kind != l7.KindRequest {
			t.Errorf("itself %v: %+v", itself, r.exchanges)
		}
		if m := table.Metrics(); m.L7.Conns != 0 || m.L7.GapBytes != 0 || m.L7.Unpaired != 0 {
			t.Errorf("itself %v: %+v", itself, m.L7)
		}
	}
}

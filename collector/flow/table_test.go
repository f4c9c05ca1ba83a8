package flow

import (
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/packet"
)

// last returns the only flow's last report.
func last(t *testing.T, r *recorder) Report {
	t.Helper()
	if len(r.reports) == 0 {
		t.Fatal("no report")
	}
	return r.reports[len(r.reports)-1]
}

// TestCloseTypes ends connections in every way there is.
func TestCloseTypes(t *testing.T) {
	for _, c := range []struct {
		name   string
		build  func(k *talk)
		want   CloseType
		status Status
	}{
		{"one SYN", func(k *talk) { k.add(0, 0, syn, 1, 0, 0) }, CloseServerSYNMiss, StatusServerError},
		{"SYN again", func(k *talk) { k.add(0, 0, syn, 1, 0, 0); k.add(0, second, syn, 1, 0, 0) }, CloseServerSYNMiss,
			StatusServerError},
		{"no ACK", func(k *talk) { k.add(0, 0, syn, 1, 0, 0); k.add(1, 1, synAck, 1, 2, 0) }, CloseClientACKMiss,
			StatusClientError},
		{"left open", func(k *talk) { k.handshake() }, CloseTransferTimeout, StatusServerError},
		{"SYN, ACK", func(k *talk) { k.add(0, 0, syn, 1, 0, 0); k.add(1, 1, ack, 9, 9, 0) }, CloseClientPortReuse,
			StatusClientError},
		{"SYN, ACK, RST", func(k *talk) {
			k.add(0, 0, syn, 1, 0, 0)
			k.add(1, 1, ack, 9, 9, 0)
			k.add(0, 2, rst, 9, 0, 0)
		}, CloseClientPortReuse, StatusClientError},
		{"refused", func(k *talk) { k.add(0, 0, syn, 1, 0, 0); k.add(1, 1, rst|ack, 0, 2, 0) }, CloseServerDirectRST,
			StatusServerError},
		{"client RST within handshake", func(k *talk) { k.add(0, 0, syn, 1, 0, 0); k.add(0, 1, rst, 2, 0, 0) },
			CloseClientEstablishRST, StatusClientError},
		{"client RST after SYN-ACK is a health check", func(k *talk) {
			k.add(0, 0, syn, 1, 0, 0)
			k.add(1, 1, synAck, 1, 2, 0)
			k.add(0, 2, rst, 2, 0, 0)
		}, CloseNormalClientRST, StatusOK},
		{"server RST within handshake", func(k *talk) {
			k.add(0, 0, syn, 1, 0, 0)
			k.add(1, 1, synAck, 1, 2, 0)
			k.add(1, 2, rst, 2, 0, 0)
		}, CloseServerEstablishRST, StatusServerError},
		{"health check", func(k *talk) { k.handshake(); k.add(0, second, rst|ack, 101, 501, 0) }, CloseNormalClientRST,
			StatusOK},
		{"server RST", func(k *talk) { k.handshake(); k.add(1, second, rst, 501, 0, 0) }, CloseServerRST,
			StatusServerError},
		{"client RST", func(k *talk) {
			k.handshake()
			k.add(0, 40*ms, pshAck, 101, 501, 10)
			k.add(0, second, rst, 111, 0, 0)
		}, CloseClientRST, StatusClientError},
		{"both RST", func(k *talk) {
			k.handshake()
			k.add(0, 40*ms, pshAck, 101, 501, 10)
			k.add(0, second, rst, 111, 0, 0)
			k.add(1, second+1, rst, 501, 0, 0)
		}, CloseServerRST, StatusServerError},
		{"client FIN only", func(k *talk) { k.handshake(); k.add(0, second, finAck, 101, 501, 0) }, CloseServerHalfClose,
			StatusServerError},
		{"server FIN only", func(k *talk) { k.handshake(); k.add(1, second, finAck, 501, 101, 0) }, CloseClientHalfClose,
			StatusClientError},
		{"two FIN", func(k *talk) {
			k.handshake()
			k.add(0, second, finAck, 101, 501, 0)
			k.add(1, second+1, finAck, 501, 102, 0)
		}, CloseNormal, StatusOK},
		{"closed by the server first", func(k *talk) {
			k.handshake()
			k.add(1, second, finAck, 501, 101, 0)
			k.add(0, second+1, finAck|psh, 101, 502, 3)
			k.add(1, second+2, ack, 502, 105, 0)
		}, CloseNormal, StatusOK},
		{"late packets after the end", func(k *talk) {
			k.handshake()
			k.add(0, second, finAck, 101, 501, 0)
			k.add(1, second+1, finAck, 501, 102, 0)
			k.add(0, second+2, ack, 102, 502, 0)
			k.add(1, second+3, ack, 502, 102, 0)
			k.add(0, second+4, rst, 102, 0, 0)
		}, CloseNormal, StatusOK},
		{"SYN-ACK again and again", func(k *talk) { k.handshake(); k.add(1, second, synAck, 500, 101, 0) },
			CloseServerQueueOverflow, StatusServerError},
		{"SYN-ACK again, then data", func(k *talk) {
			k.handshake()
			k.add(1, second, synAck, 500, 101, 0)
			k.add(1, 2*second, ack, 501, 101, 0)
		}, CloseTransferTimeout, StatusServerError},
		{"SYN-ACK again, then RST", func(k *talk) {
			k.handshake()
			k.add(1, second, synAck, 500, 101, 0)
			k.add(1, 2*second, synAck, 500, 101, 0)
			k.add(1, 3*second, rst, 501, 0, 0)
		}, CloseServerQueueOverflow, StatusServerError},
		{"few SYN-ACK, then RST", func(k *talk) {
			k.handshake()
			k.add(1, second, synAck, 500, 101, 0)
			k.add(1, 3*second, rst, 501, 0, 0)
		}, CloseClientRST, StatusClientError},
		{"nonsense", func(k *talk) { k.handshake(); k.add(0, second, fin|syn, 101, 501, 0) }, CloseOther, StatusUnknown},
		{"no flags", func(k *talk) { k.handshake(); k.add(0, second, 0, 101, 501, 0) }, CloseOther, StatusUnknown},
	} {
		k := newTalk()
		c.build(k)
		r, _ := runOut(Options{}, k.packets)
		if got := last(t, r); got.CloseType != c.want || got.Status != c.status {
			t.Errorf("%s: %v, %v, want %v, %v", c.name, got.CloseType, got.Status, c.want, c.status)
		}
		// When the Table lets go of a connection that is open, that is nobody's fault.
		if c.want == CloseTransferTimeout {
			c.want, c.status = CloseForcedReport, StatusOK
		}
		r, _ = run(Options{}, k.packets)
		if got := last(t, r); got.CloseType != c.want || got.Status != c.status {
			t.Errorf("%s, flushed: %v, %v, want %v, %v", c.name, got.CloseType, got.Status, c.want, c.status)
		}
	}
}

func TestCloseTypeNames(t *testing.T) {
	want := map[CloseType]string{1: "normal", 5: "forced_report", 2: "server_rst", 9: "client_rst", 3: "transfer_timeout",
		7: "server_syn_miss", 10: "client_ack_miss", 8: "server_half_close", 11: "client_half_close",
		13: "client_port_reuse", 15: "server_direct_rst", 17: "server_queue_overflow", 18: "client_establish_rst",
		19: "server_establish_rst", 20: "normal_client_rst"}
	for c := range CloseType(255) {
		w := want[c]
		if w == "" {
			w = "other"
		}
		if c.String() != w {
			t.Errorf("%d is %q, want %q", c, c, w)
		}
	}
	for s, w := range map[Status]string{StatusOK: "ok", StatusClientError: "client_error",
		StatusServerError: "server_error", StatusUnknown: "unknown"} {
		if s.String() != w {
			t.Errorf("%d is %q", s, s)
		}
	}
}

// TestTimeouts checks when flows end.
func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(k *talk)
		after int64 // of the last packet
	}{
		{"SYN", func(k *talk) { k.add(0, 0, syn, 1, 0, 0) }, 5 * second},
		{"one direction", func(k *talk) { k.add(0, 0, ack, 1, 1, 10) }, 5 * second},
		{"established", func(k *talk) { k.handshake() }, 300 * second},
		{"half closed", func(k *talk) { k.handshake(); k.add(0, second, finAck, 101, 501, 0) }, 35 * second},
		{"reset", func(k *talk) { k.handshake(); k.add(0, second, rst, 101, 501, 0) }, 35 * second},
		{"reset, then more", func(k *talk) {
			k.handshake()
			k.add(0, second, rst, 101, 501, 0)
			k.add(1, second, ack, 501, 101, 0)
		}, 5 * second},
		{"reset within handshake", func(k *talk) {
			k.add(0, 0, syn, 1, 0, 0)
			k.add(1, 1, synAck, 1, 2, 0)
			k.add(0, 2, rst, 2, 0, 0)
		}, second},
		{"closed", func(k *talk) {
			k.handshake()
			k.add(0, second, finAck, 101, 501, 0)
			k.add(1, second, finAck, 501, 102, 0)
			k.add(0, second, ack, 102, 502, 0)
		}, 2 * second},
		{"UDP, one side", func(k *talk) { k.proto = packet.ProtoUDP; k.add(0, 0, 0, 0, 0, 10) }, 5 * second},
		{"UDP, both sides", func(k *talk) {
			k.proto = packet.ProtoUDP
			k.add(0, 0, 0, 0, 0, 10)
			k.add(1, 1, 0, 0, 0, 10)
		}, 35 * second},
		{"another protocol", func(k *talk) {
			k.proto = 132
			k.add(0, 0, 0, 0, 0, 10)
			k.add(1, 1, 0, 0, 0, 10)
		}, 35 * second},
	} {
		k := newTalk()
		c.build(k)
		r := &recorder{}
		table := New(Options{ReportInterval: time.Hour}, r)
		for i := range k.packets {
			table.Packet(&k.packets[i])
		}
		end := k.packets[len(k.packets)-1].TimeNanos + c.after
		table.Tick(end - 1)
		if len(r.reports) != 0 {
			t.Errorf("%s: ended too early", c.name)
		}
		table.Tick(end)
		if len(r.reports) != 1 || r.reports[0].TimeNanos != end || table.Metrics().Open != 0 {
			t.Errorf("%s: %d reports", c.name, len(r.reports))
		}
	}
}

// TestLongTimeout: timeouts beyond the timer wheel work too.
func TestLongTimeout(t *testing.T) {
	r := &recorder{}
	table := New(Options{ReportInterval: 5000 * time.Hour, Timeouts: Timeouts{Established: 3 * time.Hour}}, r)
	k := newTalk().handshake()
	for i := range k.packets {
		table.Packet(&k.packets[i])
	}
	end := k.packets[2].TimeNanos + 3*3600*second
	table.Tick(end - 1)
	if len(r.reports) != 0 {
		t.Error("ended too early")
	}
	table.Tick(end + 1000*second)
	if len(r.reports) != 1 || r.reports[0].TimeNanos != end {
		t.Errorf("%+v", r.reports)
	}
}

// TestMinuteReports: an open flow is reported each minute, idle or not, and what happened is in the right minute.
func TestMinuteReports(t *testing.T) {
	k := newTalk().handshake()
	k.add(0, 49*second, pshAck, 101, 501, 10)               // 1 s before the minute
	k.add(1, 50*second, pshAck, 501, 111, 20)               // at the minute
	k.add(0, 175*second, pshAck, 111, 521, 30).WireLen = 99 // two minutes later
	r, _ := run(Options{}, k.packets)
	minute := t0 + 50*second
	want := []struct {
		at                 int64
		tx, rx             uint64
		bytesTx, payloadTx uint64
		isNew              bool
		close              CloseType
		rtt, rttCl, rttSrv int64
		end                int64
	}{
		{minute - 1, 3, 1, 54*2 + 64, 10, true, CloseForcedReport, 30000, 20000, 10000, t0 + 49*second},
		{minute + 60*second - 1, 0, 1, 0, 0, false, CloseForcedReport, -1, -1, -1, t0 + 50*second},
		{minute + 120*second - 1, 0, 0, 0, 0, false, CloseForcedReport, -1, -1, -1, t0 + 50*second},
		{t0 + 175*second, 1, 0, 99, 30, false, CloseForcedReport, -1, -1, -1, t0 + 175*second},
	}
	if len(r.reports) != len(want) {
		t.Fatalf("%d reports, want %d", len(r.reports), len(want))
	}
	for i, w := range want {
		g := r.reports[i]
		if g.TimeNanos != w.at || g.PacketsTx != w.tx || g.PacketsRx != w.rx || g.BytesTx != w.bytesTx ||
			g.PayloadBytesTx != w.payloadTx || g.IsNew != w.isNew || g.CloseType != w.close || g.RTTMicros != w.rtt ||
			g.RTTClientMicros != w.rttCl || g.RTTServerMicros != w.rttSrv || g.EndNanos != w.end || g.StartNanos != t0 {
			t.Errorf("report %d: %+v, want %+v", i, g, w)
		}
	}
}

// TestFirstReport: whoever watches live need not wait for the minute.
func TestFirstReport(t *testing.T) {
	k := newTalk().handshake()
	k.add(0, 20*second, pshAck, 101, 501, 10)
	r := &recorder{}
	table := New(Options{FirstReport: time.Second}, r)
	for i := range k.packets[:3] {
		table.Packet(&k.packets[i])
	}
	table.Tick(t0 + second - 1)
	if len(r.reports) != 0 {
		t.Fatal("too early")
	}
	table.Tick(t0 + second)
	if len(r.reports) != 1 || r.reports[0].CloseType != CloseForcedReport || r.reports[0].PacketsTx != 2 {
		t.Fatalf("%+v", r.reports)
	}
	table.Packet(&k.packets[3])
	table.Flush(t0 + 21*second)
	if len(r.reports) != 2 || r.reports[1].IsNew || r.reports[1].PacketsTx != 1 || r.reports[1].TimeNanos != t0+21*second {
		t.Fatalf("%+v", r.reports)
	}
}

// TestFirstReportAfterMinute: the report of the minute stands for the first one, and the flow lives on.
func TestFirstReportAfterMinute(t *testing.T) {
	k := newTalk()
	for _, at := range []int64{49_500 * ms, 49_510 * ms} {
		k.add(int(at/ms)%500/10, at, ack, 1, 1, 0)
	}
	r := &recorder{}
	table := New(Options{FirstReport: time.Second}, r)
	for i := range k.packets {
		table.Packet(&k.packets[i])
	}
	table.Tick(t0 + 52*second)
	if len(r.reports) != 1 || r.reports[0].TimeNanos != t0+50*second-1 || table.Metrics().Open != 1 {
		t.Fatalf("%+v", r.reports)
	}
}

// TestPortReuse: a new SYN after the end opens a new flow; a repeated one does not.
func TestPortReuse(t *testing.T) {
	k := newTalk().handshake()
	k.add(0, 40*ms, finAck, 101, 501, 0)
	k.add(1, 41*ms, finAck, 501, 102, 0)
	k.add(0, 42*ms, ack, 102, 502, 0)
	k.add(0, 43*ms, syn, 100, 0, 0) // the first connection's, seen again
	k.add(0, 50*ms, syn, 900, 0, 0)
	k.add(1, 60*ms, synAck, 700, 901, 0)
	r, table := run(Options{}, k.packets)
	if len(r.reports) != 2 || table.Metrics().Reused != 1 {
		t.Fatalf("%d reports, %+v", len(r.reports), table.Metrics())
	}
	a, b := r.reports[0], r.reports[1]
	if a.CloseType != CloseNormal || a.PacketsTx != 5 || a.RetransSYN != 1 {
		t.Errorf("%+v", a)
	}
	if b.CloseType != CloseClientACKMiss || b.PacketsTx != 1 || b.StartNanos != t0+50*ms || b.FlowID == a.FlowID ||
		!b.IsNew || b.RTTServerMicros != 10000 {
		t.Errorf("%+v", b)
	}
}

// TestDirection checks who is taken for the client, by what.
func TestDirection(t *testing.T) {
	for _, c := range []struct {
		name      string
		clientDir int // the side of talk that is the client
		score     uint8
		prepare   func(k *talk)
		options   Options
	}{
		{"SYN", 0, 1, func(k *talk) { k.add(0, 0, syn, 1, 0, 0) }, Options{}},
		{"SYN-ACK first", 0, 255, func(k *talk) { k.add(1, 0, synAck, 1, 2, 0) }, Options{}},
		{"SYN-ACK later", 0, 255, func(k *talk) { k.handshake() }, Options{}},
		{"high port talks first", 0, 1, func(k *talk) { k.add(0, 0, ack, 1, 1, 9) }, Options{}},
		{"low port talks first", 0, 1, func(k *talk) { k.add(1, 0, ack, 1, 1, 9) }, Options{}},
		{"two high ports: who talks first", 1, 1, func(k *talk) { k.serverPort = 50000; k.add(1, 0, ack, 1, 1, 9) }, Options{}},
		{"configured port", 0, 253, func(k *talk) { k.serverPort = 50000; k.add(1, 0, ack, 1, 1, 9) },
			Options{ServerPorts: []uint16{50000}}},
		{"middle of a stream, then SYN-ACK", 0, 255, func(k *talk) {
			k.serverPort = 50000
			k.add(1, 0, ack, 1, 1, 9)
			k.add(1, 1, synAck, 1, 1, 0)
		}, Options{}},
		{"middle of a stream, then SYN", 0, 2, func(k *talk) {
			k.serverPort = 50000
			k.add(1, 0, ack, 1, 1, 9)
			k.add(0, 1, syn, 1, 0, 0)
		}, Options{}},
		{"UDP", 0, 1, func(k *talk) { k.proto = packet.ProtoUDP; k.add(1, 0, 0, 0, 0, 9) }, Options{}},
		{"learned", 0, 255, func(k *talk) {
			k.serverPort = 50000
			k.clientPort = 50001
			k.handshake()
			k.clientPort = 50002
			k.add(1, second, ack, 1, 1, 9)
		}, Options{}},
	} {
		k := newTalk()
		c.prepare(k)
		r, _ := run(c.options, k.packets)
		g := last(t, r)
		want := k.client
		if c.clientDir == 1 {
			want = k.server
		}
		if g.Client != want || g.DirectionScore != c.score && c.name != "middle of a stream, then SYN" {
			t.Errorf("%s: client %v, score %d, want %v, %d", c.name, g.Client[12:], g.DirectionScore, want[12:], c.score)
		}
		if wantMAC := byte(1 + c.clientDir); g.ClientMAC[0] != wantMAC {
			t.Errorf("%s: client MAC %v", c.name, g.ClientMAC)
		}
	}
}

// TestICMP pairs echoes, whichever comes first.
func TestICMP(t *testing.T) {
	echo := func(k *talk, dir int, at int64) {
		p := k.add(dir, at, 0, 0, 0, 56)
		p.Proto, p.SrcPort, p.DstPort = packet.ProtoICMP, icmpEcho<<8, 77
		if dir == 1 {
			p.SrcPort = icmpEchoReply << 8
		}
	}
	k := newTalk()
	echo(k, 0, 0)
	echo(k, 1, 3*ms)
	echo(k, 0, second)
	echo(k, 1, second+5*ms)
	echo(k, 1, second+6*ms) // a second answer is none
	r, _ := run(Options{}, k.packets)
	g := last(t, r)
	if len(r.reports) != 1 || g.PacketsTx != 2 || g.PacketsRx != 3 || g.SRT != (Delays{8000, 2, 5000}) || g.ClientPort != 0 ||
		g.CloseType != CloseNormal || g.Client != k.client || g.DirectionScore != 255 {
		t.Errorf("%+v", g)
	}
	k = newTalk()
	echo(k, 1, 0)
	echo(k, 0, ms)
	r, _ = run(Options{}, k.packets)
	if g := last(t, r); g.Client != k.client || g.SRT.Count != 0 {
		t.Errorf("%+v", g)
	}
}

// TestICMPManyUnderWay: a reply belongs to the request with its own number, however many are under way.
func TestICMPManyUnderWay(t *testing.T) {
	for _, c := range []struct {
		name           string
		requests, loss int // of how many requests the first replies are lost
		first          uint32
		count          uint64
	}{
		{"one", 1, 0, 7, 1}, {"four", 4, 0, 7, 4}, {"in a block", 17, 0, 7, 17}, {"the oldest are forgotten", 20, 0, 7, 17},
		{"numbers wrap", 10, 0, 0xfffa, 10}, {"some are lost", 16, 5, 7, 11},
	} {
		k := newTalk()
		k.proto = packet.ProtoICMP
		echo := func(dir int, at int64, n uint32) {
			p := k.add(dir, at, 0, (c.first+n)&0xffff, 0, 56)
			p.SrcPort, p.DstPort = icmpEcho<<8, 77
			if dir == 1 {
				p.SrcPort = icmpEchoReply << 8
			}
		}
		for i := range c.requests {
			echo(0, int64(i)*ms, uint32(i))
		}
		for i := c.loss; i < c.requests; i++ {
			echo(1, int64(i)*ms+100*ms, uint32(i))
			echo(1, int64(i)*ms+100*ms+1, uint32(i)) // the same again
		}
		r, table := run(Options{}, k.packets)
		if g := last(t, r); g.SRT != (Delays{c.count * 100_000, c.count, 100_000}) {
			t.Errorf("%s: %+v", c.name, g.SRT)
		}
		if table.ranges.used != 0 {
			t.Errorf("%s: %d blocks left", c.name, table.ranges.used)
		}
	}
}

// TestICMPLost: what was not answered in time makes room, and a late reply is none.
func TestICMPLost(t *testing.T) {
	k := newTalk()
	k.proto = packet.ProtoICMP
	for i := range int64(60) {
		p := k.add(0, i*second, 0, uint32(i), 0, 56)
		p.SrcPort, p.DstPort = icmpEcho<<8, 77
		if i >= 11 && i%2 == 1 { // the reply to the one 11 s ago is too late, that to the last one not
			for _, n := range []int64{i - 11, i} {
				p := k.add(1, i*second+5*ms, 0, uint32(n), 0, 56)
				p.SrcPort, p.DstPort = icmpEchoReply<<8, 77
			}
		}
	}
	r, table := runOut(Options{ReportInterval: time.Hour}, k.packets)
	if g := last(t, r); len(r.reports) != 1 || g.SRT != (Delays{25 * 5000, 25, 5000}) || table.ranges.used != 0 {
		t.Errorf("%d reports, %+v", len(r.reports), g.SRT)
	}
}

// TestICMPKinds: an echo id that looks like the type and code of another message does not mix them.
func TestICMPKinds(t *testing.T) {
	k := newTalk()
	k.proto = packet.ProtoICMP
	p := k.add(0, 0, 0, 0, 0, 56)
	p.SrcPort, p.DstPort = icmpEcho<<8, 0x0303
	p = k.add(0, 1, 0, 0, 0, 56)
	p.SrcPort, p.DstPort = 0x0303, 0
	p = k.add(1, 2, 0, 0, 0, 56)
	p.SrcPort, p.DstPort = 0x0303, 0
	r, _ := run(Options{}, k.packets)
	if len(r.reports) != 2 || r.reports[0].PacketsTx+r.reports[0].PacketsRx+r.reports[1].PacketsTx+r.reports[1].PacketsRx != 3 {
		t.Errorf("%+v", r.reports)
	}
}

// TestIPv6Fragments: a later fragment names the header behind the fragment header, which may be another extension.
func TestIPv6Fragments(t *testing.T) {
	for _, v6 := range []bool{true, false} {
		k := newTalk()
		k.proto = packet.ProtoUDP
		p := k.add(0, 0, 0, 0, 0, 1000)
		p.IPv6, p.Fragment, p.MoreFragments, p.IPID = v6, true, true, 9
		k.proto = 60
		p = k.add(0, 1, 0, 0, 0, 0)
		p.IPv6, p.Fragment, p.FragOffset, p.IPID, p.SrcPort, p.DstPort, p.L3Len = v6, true, 1008, 9, 0, 0, 200
		r, table := run(Options{}, k.packets)
		if m := table.Metrics(); m.Created != 1 || (m.IgnoredFragment == 0) != v6 || (last(t, r).PacketsTx == 2) != v6 {
			t.Errorf("IPv6 %v: %+v", v6, m)
		}
	}
}

// TestClockSetBack: neither a clock that was set back nor a packet from the future make the Table deaf.
func TestClockSetBack(t *testing.T) {
	k := newTalk().handshake()
	back := int64(-3600 * second)
	r := &recorder{}
	table := New(Options{}, r)
	for i := range k.packets {
		table.Packet(&k.packets[i])
	}
	for i := range maxLate { // of other flows, an hour before
		p := *k.add(0, back+int64(i), ack, 7, 7, 1)
		p.SrcPort += uint16(i)
		table.Packet(&p)
	}
	m := table.Metrics()
	if m.SetBack != 1 || m.IgnoredLate != maxLate-1 || m.Created != 2 || m.Open != 1 || len(r.reports) != 1 ||
		r.reports[0].CloseType != CloseForcedReport || r.reports[0].TimeNanos != t0+30*ms {
		t.Errorf("%+v, %+v", m, r.reports)
	}
	// A live clock tells at once.
	table = New(Options{}, r)
	for i := range k.packets[:3] {
		table.Packet(&k.packets[i])
	}
	table.Tick(t0 + 30*ms - 10*second) // within MaxDisorder
	if m := table.Metrics(); m.SetBack != 0 || m.Open != 1 {
		t.Errorf("%+v", m)
	}
	table.Tick(t0 + back)
	table.Packet(k.add(0, back, ack, 7, 7, 1))
	if m := table.Metrics(); m.SetBack != 1 || m.Open != 1 || m.IgnoredLate != 0 {
		t.Errorf("%+v", m)
	}
}

// TestLateAmongOthers: packets that are too late are only that as long as others are in time.
func TestLateAmongOthers(t *testing.T) {
	k := newTalk()
	for i := range int64(10 * maxLate) {
		at := i * ms
		if i%maxLate != 0 {
			at -= 3600 * second
		}
		k.add(0, at, ack, 7, 7, 1)
	}
	_, table := run(Options{}, k.packets)
	if m := table.Metrics(); m.SetBack != 0 || m.IgnoredLate != 10*(maxLate-1) || m.Created != 1 {
		t.Errorf("%+v", m)
	}
}

// TestInterfaceIDs: a packet that passes two interfaces at once is of two flows with different ids.
func TestInterfaceIDs(t *testing.T) {
	k := newTalk()
	k.add(0, 0, syn, 1, 0, 0)
	k.add(0, 0, syn, 1, 0, 0).Interface = 5
	r, _ := run(Options{KeyByInterface: true}, k.packets)
	if len(r.reports) != 2 || r.reports[0].FlowID == r.reports[1].FlowID {
		t.Errorf("%+v", r.reports)
	}
	one, _ := run(Options{}, k.packets)
	if len(one.reports) != 1 || one.reports[0].RetransSYN != 1 {
		t.Errorf("%+v", one.reports)
	}
}

// TestSYNFlood: the memory of a flood is that of MaxFlows, and the connections that were there survive it.
func TestSYNFlood(t *testing.T) {
	r := &recorder{}
	table := New(Options{MaxFlows: 1000, ServiceTableSize: 100}, r)
	k := newTalk().handshake()
	for i := range k.packets {
		table.Packet(&k.packets[i])
	}
	p := *k.add(0, 40*ms, syn, 1, 0, 0)
	for i := range 100_000 {
		p.Src = addr4(192, byte(i>>16), byte(i>>8), byte(i))
		p.TimeNanos += 1000
		table.Packet(&p)
	}
	m := table.Metrics()
	if m.Open != 1000 || m.Evicted != 100_001-1000 || m.Services > 100 || m.TableBytes > 1<<20 || m.L7.Conns != 0 {
		t.Errorf("%+v", m)
	}
	p = *k.add(0, second, ack, 101, 501, 0)
	table.Packet(&p)
	if after := table.Metrics(); after.Created != m.Created {
		t.Error("the open connection was evicted")
	}
}

// TestFragments: later fragments count for the flow of the first.
func TestFragments(t *testing.T) {
	k := newTalk()
	k.proto = packet.ProtoUDP
	frag := func(id uint32, offset uint16, more bool, l3 uint32) {
		p := k.add(0, int64(len(k.packets))*ms, 0, 0, 0, 0)
		p.Fragment, p.FragOffset, p.MoreFragments, p.IPID, p.L3Len, p.WireLen = true, offset, more, id, l3, l3+34
		if offset == 0 {
			p.PayloadLen = l3 - 8
		} else {
			p.SrcPort, p.DstPort = 0, 0
		}
	}
	frag(1, 0, true, 1480)
	frag(1, 1480, true, 1480)
	frag(2, 2960, false, 48) // its first fragment never comes
	frag(1, 2960, false, 48)
	r, table := run(Options{}, k.packets)
	g := last(t, r)
	if len(r.reports) != 1 || g.PacketsTx != 3 || g.PayloadBytesTx != 3000 || g.BytesTx != 3008+3*34 ||
		table.Metrics().IgnoredFragment != 1 {
		t.Errorf("%+v, %+v", g, table.Metrics())
	}
}

func TestCorpusFragments(t *testing.T) {
	r, table := run(Options{}, readPcap(t, corpusDir(t)+"/l4/ip-fragment.pcap"))
	g := last(t, r)
	if len(r.reports) != 1 || g.PacketsTx != 18 || g.PayloadBytesTx != 6*3000 || g.BytesTx != 6*(1514+1514+82) ||
		table.Metrics().IgnoredFragment != 0 {
		t.Errorf("%+v, %+v", g, table.Metrics())
	}
}

// TestDropsAreCounted goes through all causes.
func TestDropsAreCounted(t *testing.T) {
	k := newTalk().handshake()
	k.add(0, 20*second, pshAck, 101, 501, 10)
	k.add(0, 9*second, pshAck, 111, 501, 10)  // older than the window
	k.add(0, 19*second, pshAck, 111, 501, 10) // within it, but behind the flow
	k.add(0, 21*second, syn|fin, 111, 501, 10)
	k.add(0, 22*second, pshAck, 131, 501, 10)
	k.add(0, 23*second, pshAck, 126, 501, 10) // overlaps
	k.packets = append(k.packets, packet.Packet{TimeNanos: -5}, packet.Packet{TimeNanos: maxNanos + 1})
	r, table := run(Options{}, k.packets)
	m := table.Metrics()
	if m.IgnoredLate != 1 || m.UnmeasuredLate != 1 || m.UnmeasuredFlags != 1 || m.UnmeasuredOverlap != 1 ||
		m.IgnoredTime != 2 || m.Packets != uint64(len(k.packets)) || m.Reports != uint64(len(r.reports)) {
		t.Errorf("%+v", m)
	}
}

// TestEviction: one flow too many ends the one that would time out next.
func TestEviction(t *testing.T) {
	var packets []packet.Packet
	for i := range 4 {
		k := newTalk()
		k.clientPort += uint16(i)
		if i == 1 {
			k.add(0, int64(i)*ms, syn, 1, 0, 0) // 5 s
		} else {
			k.handshake() // 300 s
			for j := range k.packets {
				k.packets[j].TimeNanos = t0 + int64(i)*ms
			}
		}
		packets = append(packets, k.packets...)
	}
	r, table := run(Options{MaxFlows: 3}, packets)
	if m := table.Metrics(); m.Evicted != 1 || m.Created != 4 || r.reports[0].ClientPort != 40001 ||
		r.reports[0].CloseType != CloseServerSYNMiss {
		t.Errorf("%+v, %+v", m, r.reports[0])
	}
}

// TestKeys: what tells flows apart, and what does not.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p *packet.Packet)
		o      Options
		flows  int
	}{
		{"same", func(p *packet.Packet) {}, Options{}, 1},
		{"port", func(p *packet.Packet) { p.SrcPort++ }, Options{}, 2},
		{"address", func(p *packet.Packet) { p.Dst[15]++ }, Options{}, 2},
		{"protocol", func(p *packet.Packet) { p.Proto = packet.ProtoUDP }, Options{}, 2},
		{"tunnel", func(p *packet.Packet) { p.Tunnel = packet.Tunnel{Type: packet.TunnelVXLAN, Tier: 1, ID: 5} }, Options{}, 2},
		{"vlan", func(p *packet.Packet) { p.VLAN = 5 }, Options{}, 1},
		{"interface", func(p *packet.Packet) { p.Interface = 5 }, Options{}, 1},
		{"interface as key", func(p *packet.Packet) { p.Interface = 5 }, Options{KeyByInterface: true}, 2},
	} {
		k := newTalk()
		k.add(0, 0, ack, 1, 1, 0)
		c.change(k.add(0, 1, ack, 1, 1, 0))
		_, table := run(c.o, k.packets)
		if n := table.Metrics().Created; n != uint64(c.flows) {
			t.Errorf("%s: %d flows", c.name, n)
		}
	}
}

// TestFlowID: ids depend on the endpoints, the start and the agent, and on nothing else.
func TestFlowID(t *testing.T) {
	k := newTalk().handshake()
	id := func(o Options, shift int64) uint64 {
		packets := append([]packet.Packet(nil), k.packets...)
		for i := range packets {
			packets[i].TimeNanos += shift
		}
		r, _ := run(o, packets)
		return last(t, r).FlowID
	}
	base := id(Options{}, 0)
	if base == 0 || id(Options{MaxFlows: 7}, 0) != base || id(Options{}, 1) == base || id(Options{Agent: 1}, 0) == base {
		t.Error("ids are not what they should be")
	}
}

// TestFlushStartsAnew: after a Flush packets of any time are welcome.
func TestFlushStartsAnew(t *testing.T) {
	r := &recorder{}
	table := New(Options{}, r)
	for _, at := range []int64{1000 * second, 0, 500 * second} {
		k := newTalk()
		p := k.add(0, at, syn, 1, 0, 0)
		table.Packet(p)
		table.Flush(p.TimeNanos)
	}
	if m := table.Metrics(); m.Created != 3 || m.Closed != 3 || m.IgnoredLate != 0 || len(r.reports) != 3 {
		t.Errorf("%+v", m)
	}
}

// TestTLS times handshakes of both generations.
func TestTLS(t *testing.T) {
	record := func(kind byte, body int) []byte {
		b := make([]byte, 5+body)
		b[0], b[1], b[2], b[3], b[4] = kind, 3, 3, byte(body>>8), byte(body)
		return b
	}
	hello := func(kind byte) []byte { b := record(tlsHandshake, 90); b[5] = kind; return b }
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	const tlsServerHello = 2
	type step struct {
		dir     int
		payload []byte
	}
	for _, c := range []struct {
		name  string
		steps []step
		want  int64 // milliseconds, -1 for none
	}{
		{"1.3", []step{{0, hello(tlsClientHello)},
			{1, join(hello(tlsServerHello), record(tlsChangeCipherSpec, 1), record(tlsAppData, 2000))},
			{0, join(record(tlsChangeCipherSpec, 1), record(tlsAppData, 50))}, {1, record(tlsAppData, 99)}}, 20},
		{"1.2", []step{{0, hello(tlsClientHello)}, {1, join(hello(tlsServerHello), record(tlsHandshake, 3000))},
			{0, join(record(tlsHandshake, 60), record(tlsChangeCipherSpec, 1), record(tlsHandshake, 40))},
			{1, join(record(tlsChangeCipherSpec, 1), record(tlsHandshake, 40))}}, 30},
		{"refused", []step{{0, hello(tlsClientHello)}, {1, record(tlsAlert, 2)}, {0, record(tlsAppData, 9)}}, -1},
		{"not TLS", []step{{0, []byte("GET / HTTP/1.1\r\n")}, {1, record(tlsAppData, 9)}}, -1},
		{"garbage", []step{{0, hello(tlsClientHello)}, {1, []byte("garbage instead of a record")}}, -1},
	} {
		k := newTalk().handshake()
		seq := [2]uint32{101, 501}
		for i, s := range c.steps {
			// In two segments each, cut within a record's body.
			cut := min(len(s.payload), 40)
			for j, part := range [][]byte{s.payload[:cut], s.payload[cut:]} {
				if len(part) == 0 {
					continue
				}
				p := k.add(s.dir, int64(40+10*i)*ms+int64(j), ack, seq[s.dir], seq[1-s.dir], uint32(len(part)))
				p.Payload = part
				seq[s.dir] += uint32(len(part))
			}
		}
		r, _ := run(Options{}, k.packets)
		got := last(t, r).TLSRTTMicros
		if got >= 0 {
			got = (got + 500) / 1000
		}
		if got != c.want {
			t.Errorf("%s: %d ms, want %d", c.name, got, c.want)
		}
	}
}

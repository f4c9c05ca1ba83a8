package flow

import "testing"

// measure enters the packets of a talk as they come.
func measure(k *talk) *perf {
	var p perf
	pool := &rangePool{max: 10}
	for i := range k.packets {
		dir := 0
		if k.packets[i].Src != k.client {
			dir = 1
		}
		p.tcp(pool, &k.packets[i], dir)
	}
	return &p
}

func stats(s timeStat) Delays { return s.delays() }

// TestHandshakeDelays covers what the captures do not.
func TestHandshakeDelays(t *testing.T) {
	for _, c := range []struct {
		name           string
		build          func(k *talk)
		rtt, rttClient uint32 // microseconds plus one, 0 for none
		rttServer      Delays
	}{
		{"clean", func(k *talk) { k.handshake() }, 30001, 20001, Delays{10000, 1, 10000}},
		{"ACK twice", func(k *talk) { k.handshake(); k.add(0, 50*ms, ack, 101, 501, 0) }, 30001, 20001,
			Delays{10000, 1, 10000}},
		{"SYN-ACK twice", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 10*ms, synAck, 500, 101, 0)
			k.add(1, 40*ms, synAck, 500, 101, 0)
			k.add(0, 60*ms, ack, 101, 501, 0)
		}, 60001, 50001, Delays{50000, 2, 40000}},
		{"no SYN", func(k *talk) { k.add(1, 10*ms, synAck, 500, 101, 0); k.add(0, 30*ms, ack, 101, 501, 0) }, 0, 0, Delays{}},
		{"no ACK", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 10*ms, synAck, 500, 101, 0)
			k.add(0, 30*ms, pshAck, 101, 501, 10)
		}, 0, 0, Delays{10000, 1, 10000}},
		{"wrong ACK", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 10*ms, synAck, 500, 101, 0)
			k.add(0, 30*ms, ack, 101, 555, 0)
		}, 0, 0, Delays{10000, 1, 10000}},
		{"ACK of the server is none", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 10*ms, synAck, 500, 101, 0)
			k.add(1, 20*ms, ack, 501, 101, 0)
			k.add(0, 30*ms, ack, 101, 501, 0)
		}, 30001, 20001, Delays{10000, 1, 10000}},
		{"above the cap", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 31*second, synAck, 500, 101, 0)
			k.add(0, 32*second, ack, 101, 501, 0)
		}, 0, 1e6 + 1, Delays{}},
		{"RST in between", func(k *talk) {
			k.add(0, 0, syn, 100, 0, 0)
			k.add(1, 10*ms, synAck, 500, 101, 0)
			k.add(1, 20*ms, rst, 501, 0, 0)
			k.add(0, 30*ms, ack, 101, 501, 0)
		}, 0, 20001, Delays{10000, 1, 10000}},
		{"numbers about to wrap", func(k *talk) {
			k.add(0, 0, syn, 0xffffffff, 0, 0)
			k.add(1, 10*ms, synAck, 0xffffffff, 0, 0)
			k.add(0, 30*ms, ack, 0, 0, 0)
		}, 30001, 20001, Delays{10000, 1, 10000}},
	} {
		k := newTalk()
		c.build(k)
		p := measure(k)
		if p.rtt != c.rtt || p.rttClient != c.rttClient || stats(p.rttServer) != c.rttServer {
			t.Errorf("%s: rtt %d, client %d, server %+v", c.name, p.rtt, p.rttClient, stats(p.rttServer))
		}
	}
}

// TestDataDelays covers srt, art and cit beyond the captures.
func TestDataDelays(t *testing.T) {
	for _, c := range []struct {
		name          string
		build         func(k *talk)
		srt, art, cit Delays
	}{
		{"request, ACK, response", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 101*ms, ack, 501, 111, 0)
			k.add(1, 105*ms, pshAck, 501, 111, 20)
			k.add(0, 106*ms, ack, 111, 521, 0)
			k.add(0, 200*ms, pshAck, 111, 521, 10)
		}, Delays{1000, 1, 1000}, Delays{5000, 1, 5000}, Delays{70000 + 95000, 2, 95000}},
		{"an ACK of less is no answer", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 101*ms, ack, 501, 105, 0)
		}, Delays{}, Delays{}, Delays{70000, 1, 70000}},
		{"data without PSH is no request", func(k *talk) {
			k.add(0, 100*ms, ack, 101, 501, 10)
			k.add(1, 101*ms, ack, 501, 111, 0)
			k.add(1, 102*ms, pshAck, 501, 111, 10)
		}, Delays{}, Delays{}, Delays{}},
		{"keep-alive", func(k *talk) {
			k.add(0, 100*ms, pshAck, 100, 501, 1)
			k.add(1, 101*ms, ack, 501, 101, 0)
		}, Delays{}, Delays{}, Delays{}},
		{"a response out of sequence", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 105*ms, pshAck, 601, 111, 20)
		}, Delays{}, Delays{}, Delays{70000, 1, 70000}},
		{"a FIN in between", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 101*ms, finAck, 501, 111, 0)
			k.add(1, 105*ms, pshAck, 502, 111, 20)
		}, Delays{}, Delays{}, Delays{70000, 1, 70000}},
		{"caps", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 11*second, ack, 501, 111, 0)
			k.add(1, 31*second, pshAck, 501, 111, 20)
		}, Delays{}, Delays{}, Delays{70000, 1, 70000}},
		{"just below the caps", func(k *talk) {
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 10*second+100*ms, ack, 501, 111, 0)
			k.add(1, 30*second+100*ms, pshAck, 501, 111, 20)
		}, Delays{1e7, 1, 1e7}, Delays{3e7, 1, 3e7}, Delays{70000, 1, 70000}},
		{"overlapping data", func(k *talk) {
			k.add(1, 90*ms, pshAck, 601, 101, 10)
			k.add(0, 100*ms, pshAck, 101, 501, 10)
			k.add(1, 105*ms, pshAck, 595, 111, 20) // runs into 601
			k.add(1, 106*ms, pshAck, 501, 111, 20)
		}, Delays{}, Delays{}, Delays{10000, 1, 10000}},
	} {
		k := newTalk().handshake()
		c.build(k)
		p := measure(k)
		if stats(p.srt[1]) != c.srt || stats(p.art[1]) != c.art || stats(p.cit) != c.cit {
			t.Errorf("%s: srt %+v, art %+v, cit %+v", c.name, stats(p.srt[1]), stats(p.art[1]), stats(p.cit))
		}
	}
}

// TestFaults counts retransmissions, disorder and closed windows by side.
func TestFaults(t *testing.T) {
	k := newTalk()
	k.add(0, 0, syn, 100, 0, 0).Window = 0 // within the handshake: not counted
	k.add(0, ms, syn, 100, 0, 0)
	k.add(1, 10*ms, synAck, 500, 101, 0)
	k.add(1, 11*ms, synAck, 500, 101, 0)
	k.add(0, 30*ms, ack, 101, 501, 0).Window = 0
	k.add(0, 40*ms, pshAck, 101, 501, 10)
	k.add(0, 41*ms, pshAck, 101, 501, 10) // again
	k.add(0, 42*ms, pshAck, 121, 501, 10) // after a hole
	k.add(0, 43*ms, pshAck, 111, 501, 10) // which is filled
	k.add(1, 44*ms, ack, 501, 131, 0).Window = 0
	k.add(1, 45*ms, ack, 501, 131, 0).Window = 0 // pure ACK: never a retransmission
	k.add(1, 46*ms, finAck, 501, 131, 0)
	k.add(1, 47*ms, finAck, 501, 131, 0)
	k.add(1, 48*ms, rst, 502, 0, 0).Window = 0 // a reset is not looked at
	p := measure(k)
	if p.syn != 2 || p.synACK != 2 || p.retransSYN != 1 || p.retransSA != 1 || p.fin != 2 ||
		p.retrans != [2]uint32{2, 1} || p.outOfOrder != [2]uint32{1, 0} ||
		p.zeroWindow != [2]uint32{0, 2} {
		t.Errorf("%+v", p)
	}
}

// TestUDPDelays: each first answer counts, whoever gives it.
func TestUDPDelays(t *testing.T) {
	var p perf
	k := newTalk()
	for _, s := range []struct {
		dir int
		at  int64
	}{{0, 0}, {0, 5}, {1, 7}, {1, 8}, {0, 10}, {1, 14}, {0, 20}, {1, 40_000}} {
		p.datagram(k.add(s.dir, s.at*ms, 0, 0, 0, 9), s.dir)
	}
	if stats(p.art[1]) != (Delays{6000, 2, 4000}) || stats(p.art[0]) != (Delays{8000, 2, 6000}) {
		t.Errorf("%+v", p.art)
	}
	if p.datagram(k.add(0, 0, 0, 0, 0, 9), 0) != perfLate {
		t.Error("time went back unnoticed")
	}
}

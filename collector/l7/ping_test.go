package l7

import "testing"

// dgrams is a conversation in datagrams, or in ICMP messages.
type dgrams struct {
	*testing.T
	tr   *Tracker
	rec  *recorder
	c    *Conn
	time int64
}

func newDgrams(t *testing.T, transport uint8, clientPort, serverPort uint16) *dgrams {
	t.Helper()
	k := &dgrams{T: t, rec: &recorder{}}
	k.tr = NewTracker(Options{}, k.rec)
	k.c = k.tr.NewConn(transport, clientPort, serverPort)
	return k
}

// send sends s from side, 1 ms after the last call.
func (k *dgrams) send(side Side, s string) {
	k.time += 1e6
	k.c.Payload(side, k.time, 0, []byte(s), len(s))
}

// one returns the only exchange since the last call.
func (k *dgrams) one() Exchange {
	k.Helper()
	if len(k.rec.exchanges) != 1 {
		k.Fatalf("%d exchanges, want 1: %s", len(k.rec.exchanges), k.rec.briefs())
	}
	e := k.rec.exchanges[0]
	k.rec.exchanges = nil
	return e
}

func echoMessage(kind byte, seq uint64) string {
	return string([]byte{kind, 0, 0, 0}) + be(2, 7) + be(2, seq) + "0123456789"
}

func TestPing(t *testing.T) {
	for _, v := range []struct{ transport, ask, answer byte }{{transportICMP, 8, 0}, {transportICMPv6, 128, 129}} {
		k := newDgrams(t, v.transport, 7, 7)
		k.send(Client, echoMessage(v.ask, 65535))
		k.send(Client, echoMessage(v.ask, 0))
		k.send(Server, echoMessage(v.answer, 0))
		if x := k.one(); brief(&x) != "session echo  > 0 ok" || x.RequestID != 0 || x.RequestBytes != 18 || x.ResponseBytes != 18 || x.EndNanos-x.StartNanos != 1e6 {
			t.Errorf("%+v", x)
		}
		k.send(Server, echoMessage(v.answer, 65535))
		if x := k.one(); x.Kind != KindSession || x.RequestID != 65535 {
			t.Errorf("%+v", x)
		}
		k.send(Server, echoMessage(v.answer, 65535)) // again
		if x := k.one(); x.Kind != KindResponse {
			t.Errorf("%+v", x)
		}
		k.send(Client, echoMessage(v.ask, 1))
		k.send(Server, echoMessage(v.ask, 1)) // the other asks with the same id
		k.send(Client, echoMessage(v.answer, 1))
		k.tr.Tick(k.time + int64(shortTimeout))
		if x := k.one(); x.Status != StatusTimeout {
			t.Errorf("%+v", x)
		}
		if m := k.tr.Metrics(); m.WrongSide != 2 || m.Unpaired != 1 || m.Pending != 0 || m.Timeouts != 1 {
			t.Errorf("%+v", m)
		}
		k.send(Client, "\x03\x03\x00\x00\x00\x00\x00\x00")
		if m := k.tr.Metrics(); m.ParseFailures != 1 {
			t.Errorf("%+v", m)
		}
	}
	k := newDgrams(t, transportICMP, 7, 7)
	k.send(Client, echoMessage(0, 1)) // the caller has the sides the wrong way round
	if x := k.one(); x.Kind != KindResponse || k.rec.lines[0] != "identified ping server=0" {
		t.Errorf("%+v %q", x, k.rec.lines)
	}
}

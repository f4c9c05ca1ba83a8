package l7

import (
	"fmt"
	"strings"
	"testing"
)

// recorder writes down what a Tracker says, one line per call, and keeps copies of the exchanges.
type recorder struct {
	lines     []string
	exchanges []Exchange
}

func (r *recorder) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Identified(_ *Conn, p Protocol, server Side) {
	r.add("identified %s server=%d", p, server)
}
func (r *recorder) Request(_ *Conn, at int64, _ bool) { r.add("request @%d", at) }
func (r *recorder) Response(_ *Conn, at int64, s Status, rrt int64) {
	r.add("response @%d %s rrt=%d", at, s, rrt)
}
func (r *recorder) Timeout(_ *Conn, at int64) { r.add("timeout @%d", at) }
func (r *recorder) Exchange(_ *Conn, e *Exchange) {
	x := *e
	x.Attributes = append([]Attribute(nil), e.Attributes...)
	r.exchanges = append(r.exchanges, x)
	r.add("exchange %s", brief(&x))
}

// brief is one line about an exchange.
func brief(e *Exchange) string {
	return fmt.Sprintf("%s %s %s%s > %d %s", e.Kind, e.RequestType, e.RequestDomain, e.RequestResource, e.ResponseCode, e.Status)
}

// briefs are the exchanges seen since the last call.
func (r *recorder) briefs() string {
	var s []string
	for i := range r.exchanges {
		s = append(s, brief(&r.exchanges[i]))
	}
	r.exchanges = nil
	return strings.Join(s, "\n")
}

// talk is a TCP connection under test: it keeps the sequence numbers.
type talk struct {
	*testing.T
	tr   *Tracker
	rec  *recorder
	c    *Conn
	seq  [2]uint32
	time int64
}

func newTalk(t *testing.T, o Options) *talk {
	t.Helper()
	k := &talk{T: t, rec: &recorder{}, seq: [2]uint32{0xffffffe0, 5000}} // the client's number wraps soon
	k.tr = NewTracker(o, k.rec)
	k.c = k.tr.NewConn(transportTCP, 40000, 80)
	return k
}

// send sends s from side, 1 ms after the last call.
func (k *talk) send(side Side, s string) {
	k.time += 1e6
	k.c.Payload(side, k.time, k.seq[side], []byte(s), len(s))
	k.seq[side] += uint32(len(s))
}

func (k *talk) client(s string) { k.send(Client, s) }
func (k *talk) server(s string) { k.send(Server, s) }

// skip lets n bytes of side go by unseen.
func (k *talk) skip(side Side, n int) { k.seq[side] += uint32(n) }

// want compares the exchanges since the last call.
func (k *talk) want(lines ...string) {
	k.Helper()
	if got, want := k.rec.briefs(), strings.Join(lines, "\n"); got != want {
		k.Errorf("exchanges:\n%s\nwant:\n%s", got, want)
	}
}

// one returns the only exchange since the last call.
func (k *talk) one() Exchange {
	k.Helper()
	if len(k.rec.exchanges) != 1 {
		k.Fatalf("%d exchanges, want 1: %s", len(k.rec.exchanges), k.rec.briefs())
	}
	e := k.rec.exchanges[0]
	k.rec.exchanges = nil
	return e
}

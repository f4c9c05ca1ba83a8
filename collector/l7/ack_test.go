package l7

import "testing"

// acked sends s from side, which acknowledges all that the other side has sent, seen or not.
func (k *talk) acked(side Side, s string) {
	k.c.Ack(side, k.seq[side^1])
	k.send(side, s)
}

// lost is acked, but the segment is not captured.
func (k *talk) lost(side Side, s string) {
	k.time += 1e6
	k.skip(side, len(s))
}

const (
	ackQuery = "\x03select a from "
	ackOK    = "\x00\x00\x00\x02\x00\x00\x00"
)

// TestAck: what acknowledgements tell of segments that were not captured. Requests and responses come in turn.
func TestAck(t *testing.T) {
	q := func(table string) string { return mp(0, ackQuery+table) }
	r := mp(1, ackOK)
	session := func(table string) string { return "session COM_QUERY select a from " + table + " > 0 ok" }
	request := func(table string) string { return "request COM_QUERY select a from " + table + " > -1 unknown" }
	const response = "response   > 0 ok"
	for _, c := range []struct {
		name string
		lost string // by segment: . captured, x not
		want []string
	}{
		{"nothing", "......", []string{session("t0"), session("t1"), session("t2")}},
		{"the first response", ".x....", []string{request("t0"), session("t1"), session("t2")}},
		{"the first response and the second request", ".xx...", []string{request("t0"), response, session("t2")}},
		{"the second response", "...x..", []string{session("t0"), request("t1"), session("t2")}},
		{"the second request", "..x...", []string{session("t0"), response, session("t2")}},
		{"the second response and the third request", "...xx.", []string{session("t0"), request("t1"), response}},
		{"the second exchange", "..xx..", []string{session("t0"), session("t2")}},
		{"the second request and the third response", "..x..x", []string{session("t0"), response, request("t2")}},
	} {
		k := newMySQLTalk(t, Options{})
		for i, lost := range c.lost {
			side, s := Side(i&1), r
			if side == Client {
				s = q("t" + string(rune('0'+i/2)))
			}
			if lost == 'x' {
				k.lost(side, s)
			} else {
				k.acked(side, s)
			}
		}
		k.c.Close(k.time)
		t.Run(c.name, func(t *testing.T) {
			k.T = t
			k.want(c.want...)
		})
	}
}

// TestAckEndsWaiting: a segment that the other side has acknowledged is not waited for.
func TestAckEndsWaiting(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	r := mp(1, ackOK)
	k.acked(Client, mp(0, ackQuery+"t0"))
	k.acked(Server, r)
	k.acked(Client, mp(0, ackQuery+"t1"))
	k.lost(Server, r)
	k.acked(Client, mp(0, ackQuery+"t2"))
	k.acked(Server, r)
	if m := k.tr.Metrics(); m.HeldSegments != 1 || m.Responses != 1 {
		t.Errorf("%+v", m)
	}
	k.acked(Client, mp(0, ackQuery+"t3"))
	k.want("session COM_QUERY select a from t0 > 0 ok", "request COM_QUERY select a from t1 > -1 unknown", "session COM_QUERY select a from t2 > 0 ok")
	if m := k.tr.Metrics(); m.Buffered != 0 || m.Pending != 1 {
		t.Errorf("%+v", m)
	}
	k.c.Ack(2, 0) // no side
	k.c.Close(k.time)
	k.c.Ack(Client, 0)
}

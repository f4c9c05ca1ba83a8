package l7

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

// pieces cuts each payload of a TCP connection in pieces of up to most bytes.
func pieces(all []captured, most int, r *rand.Rand) []captured {
	return each(all, func(p captured) (out []captured) {
		if p.transport != transportTCP || p.wire != len(p.payload) {
			return []captured{p}
		}
		for len(p.payload) > 0 {
			n := min(1+r.IntN(most), len(p.payload))
			q := p
			q.payload, q.wire = p.payload[:n], n
			out = append(out, q)
			p.payload, p.seq = p.payload[n:], p.seq+uint32(n)
		}
		return out
	})
}

// TestPieces: how a conversation is cut into segments, byte by byte even, changes nothing in what is said about it.
func TestPieces(t *testing.T) {
	var files []string
	for _, name := range []string{"redis", "memcached", "mqtt"} {
		files = append(files, filepath.Join("testdata", "captures", name+".pcap"))
	}
	files = append(files, "mongo")
	for _, f := range files {
		var all []captured
		if f == "mongo" {
			all = mongoTalk()
		} else {
			all = payloads(t, f)
		}
		o := Options{Protocols: []Protocol{Redis, Memcached, MQTT, MongoDB}, MaxPending: 1000}
		whole, _ := playPayloads(all, o, false)
		if len(whole.exchanges) == 0 {
			t.Fatalf("%s: nothing was seen", f)
		}
		want := map[string]int{}
		for i := range whole.exchanges {
			want[fmt.Sprintf("%+v", whole.exchanges[i])]++
		}
		r := rand.New(rand.NewPCG(1, 2))
		for _, most := range []int{1, 3, 10, 100} {
			rec, m := playPayloads(pieces(all, most, r), o, false)
			if m.ParseFailures+m.Resyncs+m.WrongSide != 0 || m.Buffered != 0 {
				t.Errorf("%s in pieces of %d: %+v", f, most, m)
			}
			left := len(want)
			got := map[string]int{}
			for i := range rec.exchanges {
				got[fmt.Sprintf("%+v", rec.exchanges[i])]++
			}
			for line, n := range want {
				if got[line] == n {
					left--
				}
			}
			if left != 0 || len(rec.exchanges) != len(whole.exchanges) {
				t.Errorf("%s in pieces of %d: %d exchanges, %d other ones; whole %d", f, most, len(rec.exchanges), left, len(whole.exchanges))
			}
		}
	}
}

// mongoTalk is a conversation with a MongoDB server, as captured.
func mongoTalk() (all []captured) {
	seq := [2]uint32{100, 200}
	say := func(side Side, s string) {
		all = append(all, captured{transport: transportTCP, ports: [2]uint16{40000, 27017}, side: side, atNanos: int64(len(all)) * 1000,
			seq: seq[side], payload: []byte(s), wire: len(s)})
		seq[side] += uint32(len(s))
	}
	for id := range uint32(20) {
		say(Client, mongoFind(id+1))
		say(Server, mongoMsg(1000+id, id+1, 0, bsonDoc(bsonSub("cursor", bsonDoc(bsonText("ns", "shop.users"), bsonInt("id", 0))), bsonInt("ok", 1))))
		say(Client, mongoMsg(id+100, 0, 0, bsonDoc(bsonText("insert", "users"), bsonText("$db", "shop")))+mongoFind(id+200))
		say(Server, mongoMsg(2000+id, id+200, 0, bsonDoc(bsonInt("ok", 0), bsonInt("code", 13), bsonText("errmsg", "no"))))
		say(Server, mongoMsg(2100+id, id+100, 0, mongoOK))
	}
	return all
}

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

// TestHalfClosed: a client that has sent all may close its side before it reads; the server acknowledges that, too.
func TestHalfClosed(t *testing.T) {
	k := newMemcached(t, Options{})
	k.client("stats\r\nquit\r\n")
	k.c.Ack(Server, k.seq[Client]+1)
	k.server("STAT pid 1\r\nEND\r\n")
	k.want("request quit quit > -1 unknown", "session stats stats > -1 ok")
	k.client("get a\r\n")
	k.c.Ack(Server, k.seq[Client]+20) // something was not seen
	k.server("END\r\n")
	k.want("request get get a > -1 unknown", "response   > -1 ok")
}

// FuzzKV plays what foreign ends may say to each other, in segments of any length, with holes: nothing is left behind, and
// nobody waits for more than there may be.
func FuzzKV(f *testing.F) {
	ports := []uint16{6379, 11211, 1883, 27017}
	add := func(port byte, says ...string) {
		var p []byte
		for i, s := range says {
			p = append(append(p, byte(i%2), byte(len(s))), s...)
		}
		f.Add(port, p)
	}
	add(0, resp("SUBSCRIBE", "a", "b"), ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", resp("MULTI"), "+OK\r\n*2\r\n:1\r\n$-1\r\n")
	add(0, resp("CLIENT", "REPLY", "SKIP"), "", resp("PSYNC", "?", "-1"), "-ERR no\r\n", "PING\r\n", "|1\r\n+a\r\n:1\r\n%1\r\n+a\r\n:1\r\n")
	add(1, "get a b\r\nset a 0 0 1\r\nx\r\n", "VALUE a 0 1\r\nx\r\nEND\r\nSTORED\r\n", "mg a q\r\nmn\r\n", "MN\r\n")
	add(1, mcPacket(0x80, 0x0d, "", "a", "", 0, 1)+mcPacket(0x80, 0x0a, "", "", "", 0, 3), mcPacket(0x81, 0x0a, "", "", "", 0, 3))
	add(2, mqttHello(5), "\x20\x03\x00\x00\x00", mqttPacket(0x32, mqttString("a")+"\x00\x01\x00p"), mqttPacket(0x40, "\x00\x01"))
	add(2, mqttPacket(0x82, "\x00\x01"+mqttString("x/#")+"\x00"), mqttPacket(0x90, "\x00\x01\x00"), "\xc0\x00", "\xd0\x00")
	add(3, mongoFind(7), mongoMsg(99, 7, 2, mongoOK), mongoMsg(8, 0, 2, mongoOK), mongoMsg(100, 99, 0, mongoOK))
	f.Fuzz(func(t *testing.T, port byte, p []byte) {
		tr := NewTracker(Options{MaxConnBuffer: 1024, MaxPending: 4, KeepLiterals: port&16 != 0}, &recorder{})
		c := tr.NewConn(transportTCP, 40000, ports[int(port)%len(ports)])
		var seq [2]uint32
		now := int64(0)
		for len(p) >= 2 {
			side, n := Side(p[0]&1), min(int(p[1]), len(p)-2)
			said := p[2 : 2+n]
			if now += 1e6; p[0]&2 != 0 { // a hole
				seq[side] += uint32(p[0])
			}
			wire := n
			if p[0]&4 != 0 { // cut
				said = said[:n/2]
			}
			c.Payload(side, now, seq[side], said, wire)
			if seq[side] += uint32(wire); p[0]&8 != 0 {
				now += 1e9
				tr.Tick(now)
			}
			p = p[2+n:]
		}
		if m := tr.Metrics(); m.Buffered > 64<<10 || m.Pending > 4*deepPipeline {
			t.Fatalf("%+v", m)
		}
		if c.End(now); tr.Metrics().Buffered != 0 || tr.Metrics().Pending != 0 || tr.Metrics().PendingBytes != 0 {
			t.Fatalf("left behind %+v", tr.Metrics())
		}
	})
}

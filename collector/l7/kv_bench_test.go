package l7

import "testing"

// BenchmarkKV plays exchanges of one connection, a request and its response each.
func BenchmarkKV(b *testing.B) {
	for _, c := range []struct {
		name     string
		port     uint16
		hello    string
		req, rsp string
	}{
		{"redis", 6379, "", resp("HGETALL", "user:4711"), resp("name", "Ada", "age", "36", "city", "London", "lang", "en")},
		{"memcached", 11211, "", "get user:4711\r\n", "VALUE user:4711 0 5\r\nhello\r\nEND\r\n"},
		{"memcached-binary", 11211, "", mcPacket(0x80, 0x00, "", "user:4711", "", 0, 1), mcPacket(0x81, 0x00, "\x00\x00\x00\x00", "", "hello", 0, 1)},
		{"mqtt", 1883, mqttHello(4), mqttPacket(0x32, mqttString("sensors/a/temperature")+"\x00\x0121.5"), mqttPacket(0x40, "\x00\x01")},
		{"mongodb", 27017, "", mongoFind(1), mongoMsg(2, 1, 0, bsonDoc(bsonSub("cursor", bsonDoc(bsonText("ns", "shop.users"), bsonInt("id", 0))), bsonInt("ok", 1)))},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := &discard{}
			tr := NewTracker(Options{}, d)
			conn := tr.NewConn(transportTCP, 40000, c.port)
			var cs, ss uint32
			if c.hello != "" {
				conn.Payload(Client, 0, cs, []byte(c.hello), len(c.hello))
				cs += uint32(len(c.hello))
			}
			req, rsp := []byte(c.req), []byte(c.rsp)
			var now int64
			b.SetBytes(int64(len(req) + len(rsp)))
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				conn.Payload(Client, now, cs, req, len(req))
				conn.Payload(Server, now+500, ss, rsp, len(rsp))
				cs, ss = cs+uint32(len(req)), ss+uint32(len(rsp))
			}
			if d.exchanges == 0 {
				b.Fatal("nothing was seen")
			}
			b.ReportMetric(float64(d.exchanges)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

package l7

import (
	"fmt"
	"testing"
)

// benchHTTP plays exchanges of one connection; vary makes ids unique, which costs their strings.
func benchHTTP(b *testing.B, vary bool) {
	d := &discard{}
	tr := NewTracker(Options{}, d)
	c := tr.NewConn(transportTCP, 40000, 80)
	req := []byte("GET /api/v1/orders/4711?expand=items HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n" +
		"Accept: */*\r\nX-Request-ID: 46364834-4fb8-9692-a5d6-ab638447a787\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")
	if !vary {
		req = []byte("GET /api/v1/orders/4711?expand=items HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n" +
			"Accept: */*\r\n\r\n")
	}
	head := "HTTP/1.1 200 OK\r\nServer: nginx/1.20.1\r\nDate: Thu, 19 May 2022 06:44:56 GMT\r\nContent-Type: application/json\r\n" +
		"Content-Length: 1000\r\nConnection: keep-alive\r\n\r\n"
	rsp := append([]byte(head), make([]byte, 1000)...)
	var cs, ss uint32
	var now int64
	b.SetBytes(int64(len(req) + len(rsp)))
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		c.Payload(Client, now, cs, req, len(req))
		c.Payload(Server, now+500, ss, rsp, len(rsp))
		cs, ss = cs+uint32(len(req)), ss+uint32(len(rsp))
	}
	if d.exchanges == 0 {
		b.Fatal("nothing was seen")
	}
	b.ReportMetric(float64(d.exchanges)/b.Elapsed().Seconds(), "requests/s")
}

func BenchmarkHTTP(b *testing.B) {
	for _, vary := range []bool{false, true} {
		b.Run(fmt.Sprintf("ids=%v", vary), func(b *testing.B) { benchHTTP(b, vary) })
	}
}

// BenchmarkHTTPConn opens and closes a connection for each request.
func BenchmarkHTTPConn(b *testing.B) {
	d := &discard{}
	tr := NewTracker(Options{}, d)
	req, rsp := []byte(getA), []byte(ok0)
	b.ReportAllocs()
	for b.Loop() {
		c := tr.NewConn(transportTCP, 40000, 80)
		c.Payload(Client, 1, 0, req, len(req))
		c.Payload(Server, 2, 0, rsp, len(rsp))
		c.Close(3)
	}
	b.ReportMetric(float64(d.exchanges)/b.Elapsed().Seconds(), "requests/s")
}

func BenchmarkDNS(b *testing.B) {
	d := &discard{}
	tr := NewTracker(Options{}, d)
	c := tr.NewConn(transportUDP, 40000, 53)
	q, a := []byte(dnsMessage(7, query, 1)), []byte(dnsMessage(7, answer, 1, nameA))
	b.ReportAllocs()
	for b.Loop() {
		c.Payload(Client, 1, 0, q, len(q))
		c.Payload(Server, 2, 0, a, len(a))
	}
	b.ReportMetric(float64(d.exchanges)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkUnknown is the price of a connection that speaks nothing known.
func BenchmarkUnknown(b *testing.B) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 443)
	p := make([]byte, 1400)
	var seq uint32
	b.ReportAllocs()
	for b.Loop() {
		c.Payload(Client, 1, seq, p, len(p))
		seq += uint32(len(p))
	}
}

// BenchmarkBody is the price of a segment within a body.
func BenchmarkBody(b *testing.B) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 80)
	head := []byte("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n")
	c.Payload(Server, 1, 0, head, len(head))
	p := make([]byte, 1400)
	seq := uint32(len(head))
	b.ReportAllocs()
	for b.Loop() {
		c.Payload(Server, 1, seq, p, len(p))
		seq += uint32(len(p))
	}
}

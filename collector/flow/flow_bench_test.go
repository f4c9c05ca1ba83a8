package flow

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// discard counts reports and nothing else.
type discard struct{ reports int }

func (d *discard) Flow(*Report)                 { d.reports++ }
func (d *discard) Exchange(*Flow, *l7.Exchange) {}

// endpoints gives packet p the addresses of flow i.
func endpoints(p *packet.Packet, i int) {
	p.Src = addr4(10, byte(i>>16), byte(i>>8), byte(i))
	p.SrcPort = uint16(1024 + i%60000)
}

// opened returns a table with n established connections, and a packet of the first.
func opened(n int, o Options) (*Table, packet.Packet) {
	t := New(o, &discard{})
	k := newTalk().handshake()
	for i := range n {
		for j := range k.packets {
			p := k.packets[j]
			if j == 1 {
				p.Dst, p.DstPort = addr4(10, byte(i>>16), byte(i>>8), byte(i)), uint16(1024+i%60000)
			} else {
				endpoints(&p, i)
			}
			t.Packet(&p)
		}
	}
	p := *k.add(0, 40*ms, pshAck, 101, 501, 100)
	endpoints(&p, 0)
	return t, p
}

// BenchmarkEstablished is the cost of a data packet of a connection that is open already, over all connections in a
// scattered order; time passes at a million packets a second.
func BenchmarkEstablished(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			t, p := opened(n, Options{DisableL7: true})
			seqs := make([]uint32, n)
			b.ReportAllocs()
			i, at := 0, p.TimeNanos
			for b.Loop() {
				at += 1000
				q := p
				endpoints(&q, i)
				q.TimeNanos, q.Seq = at, 101+seqs[i]
				seqs[i] += 100
				t.Packet(&q)
				i = (i + 7919) % n
			}
			m := t.Metrics()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpps")
			if n >= 1000 {
				b.ReportMetric(float64(m.TableBytes)/float64(m.Open), "B/flow")
			}
		})
	}
}

// BenchmarkEstablishedAhead is BenchmarkEstablished with LookAhead packets at a time.
func BenchmarkEstablishedAhead(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			t, p := opened(n, Options{DisableL7: true})
			seqs := make([]uint32, n)
			b.ReportAllocs()
			i, at := 0, p.TimeNanos
			var ps [LookAhead]packet.Packet
			for b.Loop() {
				for j := range ps {
					at += 1000
					ps[j] = p
					endpoints(&ps[j], i)
					ps[j].TimeNanos, ps[j].Seq = at, 101+seqs[i]
					seqs[i] += 100
					i = (i + 7919) % n
				}
				t.Packets(ps[:])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*LookAhead), "ns/packet")
		})
	}
}

// BenchmarkConversation is the cost per packet of a whole conversation in a table of open ones: handshake, request,
// response in two segments with their acknowledgements, and the close.
func BenchmarkConversation(b *testing.B) {
	k := newTalk().handshake()
	k.add(0, 40*ms, pshAck, 101, 501, 200)
	k.add(1, 41*ms, ack, 501, 301, 0)
	k.add(1, 42*ms, ack, 501, 301, 1400)
	k.add(1, 43*ms, pshAck, 1901, 301, 600)
	k.add(0, 44*ms, ack, 301, 2501, 0)
	k.add(0, 50*ms, finAck, 301, 2501, 0)
	k.add(1, 51*ms, finAck, 2501, 302, 0)
	k.add(0, 52*ms, ack, 302, 2502, 0)
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			t, _ := opened(n, Options{DisableL7: true})
			b.ReportAllocs()
			i, at := n, t0+60*ms
			for b.Loop() {
				i = i%(1<<24) + 1
				at += 20_000
				for j := range k.packets {
					p := k.packets[j]
					p.TimeNanos = at + int64(j)*1000
					if p.SrcPort == 80 {
						p.Dst, p.DstPort = addr4(11, byte(i>>16), byte(i>>8), byte(i)), uint16(1024+i%60000)
					} else {
						p.Src, p.SrcPort = addr4(11, byte(i>>16), byte(i>>8), byte(i)), uint16(1024+i%60000)
					}
					t.Packet(&p)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*len(k.packets)), "ns/packet")
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N), "ns/flow")
		})
	}
}

// BenchmarkSYNFlood is the cost of a packet that opens a flow nobody answers, its end and report included.
func BenchmarkSYNFlood(b *testing.B) {
	k := newTalk()
	p := *k.add(0, 0, syn, 100, 0, 0)
	t := New(Options{DisableL7: true}, &discard{})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 1) % (1 << 24)
		endpoints(&p, i)
		p.TimeNanos += 5000
		t.Packet(&p)
	}
	b.ReportMetric(float64(t.Metrics().Open), "open")
}

// BenchmarkReport is the cost per open flow of the report at the end of an interval.
func BenchmarkReport(b *testing.B) {
	const n = 100_000
	t, _ := opened(n, Options{DisableL7: true})
	runtime.GC()
	for b.Loop() {
		t.reportOpen(t.now)
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N*n), "ns/flow")
}

// BenchmarkHTTP is the cost of a request and its response on a connection that is kept open, application protocol included.
func BenchmarkHTTP(b *testing.B) {
	k := newTalk().handshake()
	t := New(Options{}, &discard{})
	for i := range k.packets {
		t.Packet(&k.packets[i])
	}
	request := *k.say(0, 0, 0, 0, httpRequest)
	resp := *k.say(1, 0, 0, 0, httpOK)
	request.Seq, resp.Seq = 101, 501
	at := t0 + second
	b.ReportAllocs()
	for b.Loop() {
		at += 10_000
		request.TimeNanos, request.Ack = at, resp.Seq
		t.Packet(&request)
		request.Seq += request.PayloadLen
		resp.TimeNanos, resp.Ack = at+5000, request.Seq
		t.Packet(&resp)
		resp.Seq += resp.PayloadLen
	}
	if m := t.Metrics(); m.L7.Responses < uint64(b.N) {
		b.Fatalf("%d responses of %d", m.L7.Responses, b.N)
	}
}

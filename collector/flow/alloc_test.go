package flow

import (
	"math/rand/v2"
	"testing"
)

// TestNoAllocationPerPacket: neither open flows nor new ones allocate once the table has its size.
func TestNoAllocationPerPacket(t *testing.T) {
	table, p := opened(1000, Options{DisableL7: true})
	seq, lost := p.Seq, uint32(0)
	if n := testing.AllocsPerRun(10_000, func() {
		p.TimeNanos += 1000
		lost++
		seq += 100 + lost%3*50 // with holes
		p.Seq = seq
		table.Packet(&p)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	k := newTalk()
	q := *k.add(0, second, syn, 1, 0, 0)
	flows := 0
	open := func() {
		flows++
		endpoints(&q, 1_000_000+flows%200_000)
		q.TimeNanos += 100_000
		table.Packet(&q)
	}
	for range 200_000 {
		open()
	}
	if n := testing.AllocsPerRun(10_000, open); n != 0 {
		t.Errorf("%v allocations per flow", n)
	}
	if table.Metrics().Closed == 0 {
		t.Error("no flow ended")
	}
}

// TestBytesPerFlow keeps the memory of an open flow where design says it has to be.
func TestBytesPerFlow(t *testing.T) {
	table, _ := opened(100_000, Options{DisableL7: true})
	m := table.Metrics()
	if per := m.TableBytes / m.Open; per > 512 {
		t.Errorf("%d bytes per flow", per)
	}
}

// TestPacketsIsPacket: packets entered together give what they give one by one.
func TestPacketsIsPacket(t *testing.T) {
	seeds(t, func(t *testing.T, rnd *rand.Rand) {
		packets := randomTalks(rnd, 60)
		for _, o := range []Options{{}, {MaxFlows: 8}} {
			want, _ := run(o, packets)
			got := &recorder{}
			table := New(o, got)
			for rest := packets; len(rest) > 0; {
				n := min(1+rnd.IntN(40), len(rest))
				table.Packets(rest[:n])
				rest = rest[n:]
			}
			table.Flush(table.now)
			compareReports(t, got.reports, want.reports)
		}
	})
}

package flow

import "github.com/flowlake/flowlake/collector/packet"

// Requests of an ICMP echo flow wait for the reply with their own sequence number in what TCP uses for sequence ranges: four
// inline, and the others in a rangeBlock when there are more under way at once. An entry is 16 bits of sequence number,
// a mark, and the lower 47 bits of the time in nanoseconds; 0 is a free one.
const (
	echoMark     = 1 << 47
	echoTimeMask = echoMark - 1
	inlineEchoes = 2 * inlineRanges
	maxEchoes    = inlineEchoes + maxRanges - inlineRanges
)

func (s *seqRange) echo() uint64     { return uint64(s.start)<<32 | uint64(s.end) }
func (s *seqRange) setEcho(v uint64) { s.start, s.end = uint32(v>>32), uint32(v) }

// echoAt is entry i of the flow's requests.
func (t *perf) echoAt(pool *rangePool, i int) *seqRange {
	if i < inlineEchoes {
		return &t.peers[i/inlineRanges].r[i%inlineRanges]
	}
	return &pool.at(t.peers[0].block).r[i-inlineEchoes]
}

// echoes is how many entries there are.
func (t *perf) echoes() int {
	if t.peers[0].block == 0 {
		return inlineEchoes
	}
	return maxEchoes
}

// echo enters an ICMP echo request (dir 0) or reply (dir 1): srt is the time from a request to its reply.
func (t *perf) echo(pool *rangePool, p *packet.Packet, dir int) perfVerdict {
	if p.TimeNanos < t.peers[0].lastNanos || p.TimeNanos < t.peers[1].lastNanos {
		return perfLate
	}
	t.peers[dir].lastNanos = p.TimeNanos
	if dir == 0 {
		t.echoRequest(pool, p)
		return perfOK
	}
	for i := range t.echoes() {
		if e := t.echoAt(pool, i); e.echo()>>47 == uint64(uint16(p.Seq))<<1|1 {
			t.srt[1].addBounded((p.TimeNanos-int64(e.echo()&echoTimeMask))&echoTimeMask, maxSRTNanos)
			e.setEcho(0)
			break
		}
	}
	return perfOK
}

// echoRequest remembers a request: in place of an older one with its number, in a free entry, or in place of the oldest.
func (t *perf) echoRequest(pool *rangePool, p *packet.Packet) {
	v := uint64(p.Seq)<<48 | echoMark | uint64(p.TimeNanos)&echoTimeMask
	slot, age := -1, int64(-1)
	for i := range t.echoes() {
		e := t.echoAt(pool, i).echo()
		switch a := (p.TimeNanos - int64(e&echoTimeMask)) & echoTimeMask; {
		case e>>47 == v>>47:
			t.echoAt(pool, i).setEcho(v)
			return
		case age == echoMark: // there is a free one already
		case e == 0:
			slot, age = i, echoMark
		case a > age:
			slot, age = i, a
		}
	}
	if age <= maxSRTNanos && t.peers[0].block == 0 { // all wait for a reply that may still come
		if b := pool.get(); b != 0 {
			pool.at(b).r = [maxRanges - inlineRanges]seqRange{}
			t.peers[0].block = b
			slot = inlineEchoes
		}
	}
	t.echoAt(pool, slot).setEcho(v)
}

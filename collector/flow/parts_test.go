package flow

import (
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/collector/packet"
)

// rangesOf reads the ranges of pe, highest first.
func rangesOf(pe *peer, pool *rangePool) []seqRange {
	all := append([]seqRange(nil), pe.r[:min(int(pe.n), inlineRanges)]...)
	if int(pe.n) > inlineRanges {
		all = append(all, pool.at(pe.block).r[:int(pe.n)-inlineRanges]...)
	}
	return all
}

// TestRangesVerdicts goes through the cases by hand.
func TestRangesVerdicts(t *testing.T) {
	pool := &rangePool{max: 10}
	var pe peer
	for i, c := range []struct {
		seq, n uint32
		want   seqVerdict
	}{
		{10, 10, seqNew},         // [10,20)
		{20, 10, seqNew},         // [10,30)
		{10, 10, seqRetrans},     //
		{25, 5, seqRetrans},      //
		{29, 5, seqRetrans},      // grows to [10,34)
		{34, 6, seqNew},          // [10,40)
		{60, 20, seqNew},         // [60,80) [10,40)
		{50, 15, seqOverlap},     // runs into [60,80)
		{50, 5, seqOutOfOrder},   // [60,80) [50,55) [10,40)
		{55, 5, seqOutOfOrder},   // [50,80) [10,40)
		{40, 10, seqOutOfOrder},  // [10,80)
		{5, 5, seqOutOfOrder},    // [5,80)
		{1, 2, seqOutOfOrder},    // [5,80) [1,3)
		{2, 10, seqRetrans},      // [1,80)
		{100, 10, seqNew},        // [100,110) [1,80)
		{70, 35, seqRetrans},     // [1,110)
		{0xffffff00, 10, seqNew}, // old, behind the wrap: not judged
		{0xffffff00, 10, seqNew},
	} {
		if got := pe.segment(pool, c.seq, c.n); got != c.want {
			t.Errorf("step %d: %d, want %d (now %v)", i, got, c.want, rangesOf(&pe, pool))
		}
	}
	if r := rangesOf(&pe, pool); len(r) != 1 || r[0] != (seqRange{1, 110}) {
		t.Errorf("%v", r)
	}
	// Wrap: a segment across it is not judged, the first behind it starts anew.
	pe = peer{}
	for i, c := range []struct {
		seq, n uint32
		want   seqVerdict
	}{{0xfffffff0, 10, seqNew}, {0xfffffffa, 20, seqNew}, {14, 10, seqNew}, {14, 10, seqRetrans}, {0xfffffff0, 10, seqNew}} {
		if got := pe.segment(pool, c.seq, c.n); got != c.want {
			t.Errorf("wrap, step %d: %d, want %d", i, got, c.want)
		}
	}
}

// TestRangesModel compares with a bitmap, as long as not more ranges are needed than there is room for.
func TestRangesModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		pool := &rangePool{max: 1}
		var pe peer
		var seen [400]bool
		top := uint32(0)
		for range 60 {
			seq, n := rnd.Uint32N(380)+1, rnd.Uint32N(18)+1
			count := func() (ranges int) {
				for i := 1; i < len(seen); i++ {
					if seen[i] && !seen[i-1] {
						ranges++
					}
				}
				return ranges
			}
			want, first := seqNew, top == 0
			switch {
			case first:
			case seen[seq]:
				want = seqRetrans
			default:
				for i := seq; i < seq+n; i++ {
					if seen[i] {
						want = seqOverlap
					}
				}
				if want == seqNew && seq < top {
					want = seqOutOfOrder
				}
			}
			if want != seqOverlap {
				for i := seq; i < seq+n; i++ {
					seen[i] = true
				}
				top = max(top, seq+n)
			}
			if count() > maxRanges {
				break
			}
			if got := pe.segment(pool, seq, n); got != want {
				t.Fatalf("[%d,%d): %d, want %d; ranges %v", seq, seq+n, got, want, rangesOf(&pe, pool))
			}
			r := rangesOf(&pe, pool)
			if len(r) != count() {
				t.Fatalf("%d ranges, want %d", len(r), count())
			}
			for i := range r {
				if i > 0 && r[i].end >= r[i-1].start || r[i].start >= r[i].end {
					t.Fatalf("not disjoint and descending: %v", r)
				}
			}
		}
		pool.put(pe.block)
		if pool.used != 0 {
			t.Fatal("a block is lost")
		}
	}
}

// TestRangesOverflow: the two lowest of sixteen are merged, and without blocks all beyond the inline ones.
func TestRangesOverflow(t *testing.T) {
	pool := &rangePool{max: 1}
	var pe, poor peer
	for i := range uint32(16) {
		pe.segment(pool, 100+i*100, 10)
	}
	r := rangesOf(&pe, pool)
	if len(r) != maxRanges || r[14] != (seqRange{100, 210}) || r[0] != (seqRange{1600, 1610}) {
		t.Errorf("%v", r)
	}
	for i := range uint32(16) {
		poor.segment(pool, 100+i*100, 10)
	}
	if r := rangesOf(&poor, pool); len(r) != 2 || r[1] != (seqRange{100, 1510}) || r[0] != (seqRange{1600, 1610}) {
		t.Errorf("%v", r)
	}
}

// TestHashIndexModel compares with a map, with hashes that collide.
func TestHashIndexModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	x := newHashIndex()
	var a arena
	type flow struct {
		hash, index uint32
		key         flowKey
	}
	var flows []flow
	for step := range 40_000 {
		if len(flows) == 0 || rnd.IntN(5) < 3 && step < 30_000 {
			i, f := a.get()
			f.key.loPort, f.key.tunnelID = uint16(step), uint32(step)
			h := rnd.Uint32N(300) | rnd.Uint32N(2)<<31 // clusters, also around the end of the slots
			if rnd.IntN(2) == 0 {
				h = -h
			}
			x.insert(h, i)
			flows = append(flows, flow{h, i, f.key})
		} else {
			i := rnd.IntN(len(flows))
			x.remove(flows[i].hash, flows[i].index)
			a.put(flows[i].index)
			gone := flows[i]
			flows[i] = flows[len(flows)-1]
			flows = flows[:len(flows)-1]
			if x.find(gone.hash, &a, &gone.key, 0, false) != nil {
				t.Fatal("found what was removed")
			}
		}
		if step%997 == 0 || step > 39_990 {
			for _, f := range flows {
				if g := x.find(f.hash, &a, &f.key, 0, false); g == nil || g.index != f.index {
					t.Fatalf("step %d: lost a flow", step)
				}
			}
			if x.used != len(flows) {
				t.Fatalf("%d used, want %d", x.used, len(flows))
			}
		}
	}
}

// TestLRU compares with a slow twin.
func TestLRU(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	c := newLRU[int, int](8)
	var order []int // oldest first
	vals := map[int]int{}
	touch := func(k int) {
		for i, o := range order {
			if o == k {
				order = append(order[:i], order[i+1:]...)
				break
			}
		}
		order = append(order, k)
	}
	for i := range 20_000 {
		k := rnd.IntN(12)
		switch rnd.IntN(3) {
		case 0:
			v, ok := c.get(k)
			w, want := vals[k]
			if ok != want || v != w {
				t.Fatalf("get %d: %d, %v, want %d, %v", k, v, ok, w, want)
			}
			if ok {
				touch(k)
			}
		case 1:
			c.put(k, i)
			vals[k] = i
			touch(k)
			if len(order) > 8 {
				delete(vals, order[0])
				order = order[1:]
			}
		case 2:
			c.drop(k)
			if _, ok := vals[k]; ok {
				touch(k)
				order = order[:len(order)-1]
				delete(vals, k)
			}
		}
		if c.len() != len(vals) || len(c.entries) > 9 {
			t.Fatalf("%d entries, want %d", c.len(), len(vals))
		}
	}
}

// TestServiceTable goes through the scores.
func TestServiceTable(t *testing.T) {
	newTable := func() (serviceTable, service, service) {
		o := Options{ServerPorts: []uint16{9999}}.withDefaults()
		return newServiceTable(&o), service{addr4(1, 1, 1, 1), 1234}, service{addr4(2, 2, 2, 2), 80}
	}
	check := func(what string, gs, gd, s, d uint8) {
		t.Helper()
		if gs != s || gd != d {
			t.Errorf("%s: %d, %d, want %d, %d", what, gs, gd, s, d)
		}
	}
	st, a, b := newTable()
	s, d := st.first(a, b)
	check("first packet", s, d, 0, 1)
	s, d = st.first(b, a)
	check("the other way: history goes down on one side, up on the other", s, d, 0, 1)
	for range 300 {
		s, d = st.first(a, b)
	}
	check("history ends at 252", s, d, 0, scoreHistoryMax)
	s, d = st.syn(b, a, true)
	check("a SYN makes a client of its sender", s, d, 0, 1)
	s, d = st.first(a, b)
	check("whose history is gone", s, d, 0, 1)
	st.certain(a, b, scoreSYNACK)
	s, d = st.first(b, a)
	check("a SYN-ACK decides", s, d, 0, scoreSYNACK)
	st.certain(a, b, scoreL7)
	s, d = st.first(a, b)
	check("and is not undone by less", s, d, scoreSYNACK, 0)

	st, a, b = newTable()
	a.port = 9999
	s, d = st.first(a, b)
	check("configured", s, d, scoreConfigured, 1)
	st, a, b = newTable()
	a.port = 40000
	s, d = st.first(b, a)
	check("the low port wins", s, d, 1, 0)
	a.port, b.port = 40000, 50000
	st, _, _ = newTable()
	s, d = st.first(b, a)
	check("not between two high ports", s, d, 0, 1)
	st, a, b = newTable()
	b.port = 40000
	for range 20 {
		s, d = st.first(a, b)
	}
	if s >= d {
		t.Errorf("long history outdoes the ports: %d, %d", s, d)
	}
}

// TestTransitions checks the states' table as a whole.
func TestTransitions(t *testing.T) {
	for dir := range 2 {
		for s := range numStates {
			for f := range uint16(64) {
				next, timeout := s.next(dir, f)
				if next >= numStates || timeout >= numTimeouts || next == stateRaw {
					t.Fatalf("state %d, flags %02x: %d, %d", s, f, next, timeout)
				}
				if flagClasses[f] == classInvalid && next != stateException {
					t.Errorf("state %d, flags %02x: %d", s, f, next)
				}
			}
			if s.reversed().reversed() != s {
				t.Errorf("state %d reversed twice is %d", s, s.reversed().reversed())
			}
		}
	}
	for _, c := range []struct {
		from  tcpState
		dir   int
		flags uint16
		to    tcpState
	}{
		{stateRaw, 1, synAck, stateOpening2}, {stateOpening1, 1, ack, stateSYN1}, {stateOpening1, 1, rst, stateServerReset},
		{stateOpening2, 1, rst | ack, stateEstablishReset}, {stateEstablished, 1, synAck, stateSYNACK1},
		{stateSYNACK1, 1, pshAck, stateEstablished}, {stateSYNACK1, 1, rst, stateQueueLack},
		{stateClosingTx1, 1, finAck, stateClosingTx2}, {stateClosingRx2, 1, ack, stateClosed},
		{stateOpening2, 0, ack, stateEstablished}, {stateOpening1, 0, rst, stateEstablishReset},
		{stateOpening2, 0, rst, stateOpeningRST}, {stateEstablished, 0, rst, stateReset},
		{stateSYN1, 0, rst, statePortReuse}, {stateClosingTx2, 0, ack, stateClosed}, {stateClosingRx1, 0, finAck, stateClosingRx2},
		{stateEstablished, 0, packet.FlagECE | packet.FlagCWR | pshAck, stateEstablished},
		{stateEstablished, 1, rst, stateReset}, {stateRaw, 0, pshAck | urg, stateEstablished},
		{stateEstablished, 0, finAck | pshAck | urg, stateClosingTx1},
	} {
		if got, _ := c.from.next(c.dir, c.flags); got != c.to {
			t.Errorf("%d with %02x from %d: %d, want %d", c.from, c.flags, c.dir, got, c.to)
		}
	}
}

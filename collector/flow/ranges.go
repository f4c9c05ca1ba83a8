package flow

// Sequence ranges: what of one direction's sequence space was seen, kept as at most maxRanges disjoint ranges, highest first.
// Numbers are compared as they are; where the space wraps, the ranges start anew, and a segment across the wrap or one
// that comes late from before it is not judged (DeepFlow: agent/src/flow_generator/perf/tcp.rs).

// seqRange is [start, end).
type seqRange struct{ start, end uint32 }

const (
	maxRanges    = 15
	inlineRanges = 2 // nearly all flows get by with these
	seqLow       = 0x40000000
	seqHigh      = 0xc0000000
)

// seqVerdict is what a segment is, judged by the ranges seen before.
type seqVerdict uint8

const (
	seqNew        seqVerdict = iota // in order, after a hole, or not judged
	seqRetrans                      // starts inside what was seen
	seqOutOfOrder                   // new, but below the highest range
	seqOverlap                      // starts in a hole and runs into what was seen
)

// rangeBlock holds the ranges of one direction that do not fit inline.
type rangeBlock struct {
	r    [maxRanges - inlineRanges]seqRange
	next uint32 // free list
}

const blocksPerChunk = 256

// rangePool hands out rangeBlocks by number; 0 is none. Blocks are kept in chunks that never move and hold no pointers.
type rangePool struct {
	chunks []*[blocksPerChunk]rangeBlock
	free   uint32
	used   int
	max    int
}

func (p *rangePool) at(i uint32) *rangeBlock {
	return &p.chunks[(i-1)/blocksPerChunk][(i-1)%blocksPerChunk]
}

// get returns the number of a block, 0 when there are max already.
func (p *rangePool) get() uint32 {
	if p.used >= p.max {
		return 0
	}
	if p.free == 0 {
		base := uint32(len(p.chunks) * blocksPerChunk)
		chunk := new([blocksPerChunk]rangeBlock)
		p.chunks = append(p.chunks, chunk)
		for i := range chunk {
			chunk[i].next = base + uint32(i) + 2
		}
		chunk[blocksPerChunk-1].next = 0
		p.free = base + 1
	}
	i := p.free
	p.free = p.at(i).next
	p.used++
	return i
}

func (p *rangePool) put(i uint32) {
	if i == 0 {
		return
	}
	p.at(i).next = p.free
	p.free = i
	p.used--
}

// segment judges the segment [seq, seq+n) and enters it into the ranges of pe. n > 0.
func (pe *peer) segment(pool *rangePool, seq, n uint32) seqVerdict {
	end := seq + n
	if end < seq {
		return seqNew
	}
	if pe.n == 0 {
		pe.restart(pool, seqRange{seq, end})
		return seqNew
	}
	top := &pe.r[0]
	if top.end == seq { // in order: nothing lies above top
		top.end = end
		return seqNew
	}
	if seq < seqLow && top.end > seqHigh {
		pe.restart(pool, seqRange{seq, end})
		return seqNew
	}
	if seq > seqHigh && top.end < seqLow {
		return seqNew
	}
	if seq >= top.start && end <= top.end {
		return seqRetrans
	}
	return pe.segmentSlow(pool, seqRange{seq, end})
}

// restart forgets all ranges but s.
func (pe *peer) restart(pool *rangePool, s seqRange) {
	pool.put(pe.block)
	pe.block, pe.n, pe.r[0] = 0, 1, s
}

// segmentSlow is segment for what is neither in order nor a plain repetition of the highest range.
func (pe *peer) segmentSlow(pool *rangePool, s seqRange) seqVerdict {
	var a [maxRanges + 1]seqRange
	n := int(pe.n)
	copy(a[:], pe.r[:min(n, inlineRanges)])
	if n > inlineRanges {
		copy(a[inlineRanges:n], pool.at(pe.block).r[:])
	}
	i := 0 // the first range that does not lie wholly above s.start
	for i < n && a[i].start > s.start {
		i++
	}
	verdict := seqNew
	switch {
	case i < n && s.start < a[i].end:
		if s.end > a[i].end {
			a[i].end = s.end
			_, n = joinUp(&a, i, n)
			pe.store(pool, &a, n)
		}
		return seqRetrans
	case i > 0 && s.end > a[i-1].start:
		return seqOverlap
	case i > 0:
		verdict = seqOutOfOrder
	}
	below, above := i < n && a[i].end == s.start, i > 0 && a[i-1].start == s.end
	switch {
	case below && above:
		a[i-1].start = a[i].start
		copy(a[i:], a[i+1:n])
		n--
	case below:
		a[i].end = s.end
	case above:
		a[i-1].start = s.start
	default:
		copy(a[i+1:n+1], a[i:n])
		a[i] = s
		n++
	}
	if n > maxRanges { // the hole between the two lowest is taken for seen
		a[n-2].start = a[n-1].start
		n--
	}
	pe.store(pool, &a, n)
	return verdict
}

// joinUp merges range i with those above that it has grown into; it returns where it is now and how many are left.
func joinUp(a *[maxRanges + 1]seqRange, i, n int) (int, int) {
	for i > 0 && a[i].end >= a[i-1].start {
		a[i-1].start = a[i].start
		a[i-1].end = max(a[i-1].end, a[i].end)
		copy(a[i:], a[i+1:n])
		n--
		i--
	}
	return i, n
}

// store puts n ranges back. Without a free block the lowest are merged into what fits inline.
func (pe *peer) store(pool *rangePool, a *[maxRanges + 1]seqRange, n int) {
	if n > inlineRanges && pe.block == 0 {
		pe.block = pool.get()
		if pe.block == 0 {
			a[inlineRanges-1].start = a[n-1].start
			n = inlineRanges
		}
	}
	if n <= inlineRanges && pe.block != 0 {
		pool.put(pe.block)
		pe.block = 0
	}
	copy(pe.r[:], a[:min(n, inlineRanges)])
	if n > inlineRanges {
		copy(pool.at(pe.block).r[:], a[inlineRanges:n])
	}
	pe.n = uint8(n)
}

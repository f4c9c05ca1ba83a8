package segment

import (
	"math"
	"math/bits"
)

// How the numbers of a page are stored is decided from a sample of them, page by page: the sizes that the two ways would
// take are estimated to a few percent, at a cost of a fraction of a nanosecond a value.

// form is a way to store numbers.
type form uint8

const (
	formDelta  form = iota // DELTA_BINARY_PACKED
	formPlanes             // BYTE_STREAM_SPLIT, each plane coded by entropy
	formSparse             // BYTE_STREAM_SPLIT, searched for repeats
	formRepeat             // PLAIN, searched for repeats
)

const (
	sampleStretch = 128 // values next to each other: a block of delta coding
	sampleMax     = 8 * sampleStretch
	sampleMin     = 256 // fewer values than this are not worth planes
	// planeCost is about what the block header and the Huffman table of a plane take, in bits.
	planeCost = 8 * 60
	// planesGain is what planes must save of delta coding, in percent: they cost more to read, up to five times as much.
	// Of columns that queries sum up they must save summedGain.
	planesGain, summedGain = 6, 15
	// repeatGain is what PLAIN must save of the next best: a search for repeats is what costs most to write.
	repeatGain = 20
	// rareBreaks: a plane hardly changes if at most one in so many bytes is not the one before.
	rareBreaks = 12
	// rareLow: such planes count above no more than so many others, as in counters. Of times that count up deltas, compressed,
	// may take far less than their widths say.
	rareLow = 3
	// breakCost is about what a search for repeats takes where a byte is not the one before, in bits.
	breakCost = 12
	// repeatCost is about what zstd takes to say that the value before comes again, in bits.
	repeatCost = 5
)

// wants is what the numbers of a column should be stored for.
type wants struct {
	gain   float64 // what planes must save, in percent
	repeat bool    // small rather than written fast: PLAIN is taken where values repeat the one before
}

// estimate is a form and about what it takes, in bits.
type estimate struct {
	form form
	bits float64
}

// sampler holds the counts of a sample.
type sampler struct {
	counts [8][256]uint16
	last   [8]byte
	breaks [8]int                   // positions at which a plane's byte is not that before
	seen   [tripleSlots / 64]uint64 // hashes of three values in a row
	fresh  int                      // triples that were not seen before
	again  int                      // values that are the one before
	low    int                      // planes of formPlanes to be coded by entropy: those above it hardly change
	// next is, where choose said formRepeat, what it would have been otherwise.
	next estimate
}

// entropyTable[c] is c*log2(c).
var entropyTable = func() (t [sampleMax + 1]float32) {
	for c := 1; c < len(t); c++ {
		t[c] = float32(float64(c) * math.Log2(float64(c)))
	}
	return t
}()

// choose says how v, which lies in [lo, hi], is stored best.
func (s *sampler) choose(v []int64, lo, hi int64, want wants) form {
	planes := planesOf(lo, hi)
	if planes == 0 || len(v) < sampleMin {
		return formDelta
	}
	stretches := min(sampleMax, len(v)) / sampleStretch
	clear(s.counts[:planes])
	clear(s.breaks[:planes])
	clear(s.seen[:])
	s.fresh, s.again = 0, 0
	deltaBits, n := 0, 0
	for k := range stretches {
		at := 0
		if stretches > 1 {
			at = k * (len(v) - sampleStretch) / (stretches - 1)
		}
		part := v[at : at+sampleStretch]
		deltaBits += deltaCost(part)
		s.count(part, planes)
		s.triples(part)
		n += len(part)
	}
	scale := float64(len(v)) / float64(n)
	delta := float64(deltaBits) * scale
	coded, rare, moving := 0.0, 0.0, 0 // rare is what a search for repeats saves in the planes that hardly change
	s.low = planes
	for p := planes - 1; p >= 0; p-- {
		cost := s.entropy(p, n)*scale + planeCost
		coded += cost
		switch {
		case s.breaks[p]*rareBreaks > n:
			moving++
		case p > 0 && p == s.low-1:
			rare += cost - float64(s.breaks[p]*breakCost)*scale
			s.low = p
		}
	}
	if s.low > rareLow {
		s.low, rare = planes, 0
	}
	coded -= rare
	if moving == 0 { // long runs: an entropy code takes a bit a value at the least, repeats nearly nothing
		return formSparse
	}
	// The same values in the same order again, as the times of one scrape after the other in every series.
	if s.fresh*repeatsFew < n && min(coded, delta) > float64(len(v)*repeatBits) {
		return formSparse
	}
	s.next = estimate{formDelta, delta}
	if coded < delta-delta*want.gain/100 {
		s.next = estimate{formPlanes, coded}
	}
	if want.repeat {
		once := float64(n-s.again) * scale * float64(8*planes+repeatCost)
		if once < s.next.bits*(100-repeatGain)/100 {
			return formRepeat
		}
	}
	return s.next.form
}

const (
	// repeatsFew: one in so many triples, at most, is a new one where values come in the same order again.
	repeatsFew = 4
	// repeatBits is what a value must take otherwise, in bits, for a search for repeats to pay.
	repeatBits  = 4
	tripleSlots = 1 << 13
)

// triples counts those three values in a row that did not come before in the sample, and values that are the one before.
func (s *sampler) triples(v []int64) {
	for i := 2; i < len(v); i++ {
		if v[i] == v[i-1] {
			s.again++
		}
		h := uint64(v[i-2])*0x9e3779b97f4a7c15 + uint64(v[i-1])
		h = (h^h>>29)*0xbf58476d1ce4e5b9 + uint64(v[i])
		h = (h ^ h>>32) * 0x94d049bb133111eb >> 51
		if bit := uint64(1) << (h & 63); s.seen[h>>6]&bit == 0 {
			s.seen[h>>6] |= bit
			s.fresh++
		}
	}
}

// deltaCost is the number of bits that delta coding takes for a block.
func deltaCost(v []int64) int {
	least := int64(math.MaxInt64)
	for i := 1; i < len(v); i++ {
		least = min(least, v[i]-v[i-1])
	}
	sum := 8 * 7 // minimum and widths
	for at := 1; at < len(v); at += 32 {
		or := uint64(0)
		for i := at; i < min(at+32, len(v)); i++ {
			or |= uint64(v[i]-v[i-1]) - uint64(least)
		}
		sum += 32 * bits.Len64(or)
	}
	return sum
}

func (s *sampler) count(v []int64, planes int) {
	for p := range planes {
		c, last, breaks := &s.counts[p], s.last[p], 0
		shift := uint(8*p) & 63
		for _, x := range v {
			b := byte(uint64(x) >> shift)
			c[b]++
			if b != last {
				breaks++
			}
			last = b
		}
		s.last[p] = last
		s.breaks[p] += breaks
	}
}

// entropy is the number of bits that an entropy code takes for the n sampled bytes of a plane: at least one for each. A
// sample shows fewer symbols than there are and so looks more ordered than it is; the usual correction is added.
func (s *sampler) entropy(p, n int) float64 {
	var sum float32
	symbols := 0
	for _, c := range s.counts[p] {
		if c != 0 {
			sum += entropyTable[c]
			symbols++
		}
	}
	e := float64(entropyTable[n]-sum) + float64(symbols-1)*0.72
	return max(min(e, float64(8*n)), float64(n))
}

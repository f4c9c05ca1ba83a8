package enc

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sync"
	"unsafe"
)

// scratch is what encoding or decoding one column needs beside its input and output. It is reused through scratchPool and
// holds nothing between calls.
type scratch struct {
	blocks     blockBuf
	sample     [sampleMax]uint64
	deltas     [sampleMax]int64
	wide       []uint64     // a column of 32 bits, widened
	ranges     []blockRange // of the column's groups
	a, b       []uint64     // runs and their lengths, or positions and values of exceptions
	scaled     []uint64
	ints       []int64
	codes      []uint64
	dict       [maxDict]uint64
	table      [2 * maxDict]uint16 // open addressing: index in dict + 1
	tmp, tmp2  []byte
	u32        []uint32
	values     stream
	lens       stream
	decodeDict [maxDict]uint64
}

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// Sizes of the sample that the choice of codec rests on.
const (
	sampleMax = 128
	sampleMin = 16
)

// intStats is what the choice of codec knows of a column.
type intStats struct {
	n    int
	size int    // bytes of a value in memory
	lo   uint64 // the minimum
	span uint64 // maximum - minimum

	// From the sample:
	cost     int    // bits of the whole column as blocks
	wide     int    // bits that a value needs unpatched
	delta    bool   // differences may be narrower
	distinct int    // estimated number of distinct values, 0 when too many to tell
	mode     uint64 // the most frequent value less the minimum
	modeFrac float64
	rare     int     // bits that a value other than the mode takes, patched
	runs     float64 // estimated number of stretches of equal values
	factor   uint64  // common divisor of all distances from the minimum, 0 or 1 for none
}

// appendInts appends an integer column; scale says whether a common factor may be taken out.
func appendInts[T word](dst []byte, v []T, s *scratch, scale bool) []byte {
	if len(v) == 0 {
		return dst
	}
	var zero T
	u := words(v, s)
	lo, hi := scanRanges(u, ^zero < 0, s)
	if lo == hi {
		return binary.AppendVarint(append(dst, codecConst), int64(lo))
	}
	if step, ok := linearStep(u); ok {
		dst = binary.AppendVarint(append(dst, codecLinear), int64(u[0]))
		return binary.AppendVarint(dst, step)
	}
	st := intStats{n: len(u), size: int(unsafe.Sizeof(zero)), lo: lo, span: hi - lo}
	sampleInts(&st, u, s)
	// Multiplying back costs a pass, so a factor must save a good part of the bits.
	if saved := bits.Len64(st.factor) - 1; scale && saved >= 2 && saved*st.n >= st.cost/8 {
		if out, ok := appendScaled(dst, u, &st, s); ok {
			return out
		}
	}
	at := len(dst)
	dst, ok := appendChosen(dst, u, &st, s)
	if !ok && st.cost > code64*st.n {
		return appendRaw(appendRange(append(dst, codecRaw), &st), u, st.size)
	}
	if !ok || len(dst)-at > blocksBound(&st) {
		dst = appendRange(append(dst[:at], codecBlocks), &st)
		dst = appendGroups(dst, u, s.ranges, lo, &s.blocks, st.delta)
	}
	if len(dst)-at > st.size*len(u)+16 {
		dst = appendRaw(appendRange(append(dst[:at], codecRaw), &st), u, st.size)
	}
	return dst
}

// words is v as 64-bit words: v itself where it has that size, else a copy in s.
func words[T word](v []T, s *scratch) []uint64 {
	if unsafe.Sizeof(v[0]) == 8 {
		return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
	}
	u := slices.Grow(s.wide[:0], len(v))[:len(v)]
	s.wide = u
	for i, x := range v {
		u[i] = uint64(x)
	}
	return u
}

// scanRanges fills s.ranges and returns the smallest and the largest of all values.
func scanRanges(u []uint64, signed bool, s *scratch) (lo, hi uint64) {
	ranges := s.ranges[:0]
	flip := uint64(0)
	if signed {
		flip = 1 << 63 // orders negative values before the others
	}
	lo, hi = ^uint64(0), 0
	for len(u) > 0 {
		k := min(len(u), blockLen)
		var r blockRange
		if signed {
			r = signedRange(u[:k])
		} else {
			r = unsignedRange(u[:k])
		}
		ranges = append(ranges, r)
		lo, hi = min(lo, r.lo^flip), max(hi, r.hi^flip)
		u = u[k:]
	}
	s.ranges = ranges
	return lo ^ flip, hi ^ flip
}

func appendRange(dst []byte, st *intStats) []byte {
	dst = binary.AppendVarint(dst, int64(st.lo))
	return binary.AppendUvarint(dst, st.span)
}

func appendRaw(dst []byte, u []uint64, size int) []byte {
	at := len(dst)
	dst = slices.Grow(dst, size*len(u))[:at+size*len(u)]
	out := dst[at:]
	if size == 4 {
		for i, x := range u {
			binary.LittleEndian.PutUint32(out[4*i:], uint32(x))
		}
		return dst
	}
	for i, x := range u {
		binary.LittleEndian.PutUint64(out[8*i:], x)
	}
	return dst
}

// blocksBound is a size that a blocks column does not exceed by much: the yardstick for the other codecs.
func blocksBound(st *intStats) int {
	return packedLen(st.n, uint8(bits.Len64(st.span))) + st.n/blockLen*8 + 32
}

// linearStep reports the constant difference of u, looking no further than the first place where it changes.
func linearStep(u []uint64) (step int64, ok bool) {
	if len(u) < 2 {
		return 0, false
	}
	d := u[1] - u[0]
	prev := u[1]
	for _, x := range u[2:] {
		if x-prev != d {
			return 0, false
		}
		prev = x
	}
	return int64(d), true
}

// sampleInts fills the estimates of st from values spread over u.
func sampleInts(st *intStats, u []uint64, s *scratch) {
	k := min(max(len(u)/32, sampleMin), sampleMax, len(u))
	step := len(u) / k
	sample := s.sample[:k]
	var values, others lenHist
	deltas, equal := s.deltas[:0], 0
	for i := range sample {
		at := i * step
		x := u[at] - st.lo
		sample[i] = x
		values[bits.Len64(x)]++
		st.factor = gcd(st.factor, x)
		if at+1 < len(u) {
			y := u[at+1] - st.lo
			deltas = append(deltas, int64(y-x))
			st.factor = gcd(st.factor, y)
			if x == y {
				equal++
			}
		}
	}
	perValue, wide := values.patched(k)
	perDelta, rising := deltaCost(deltas)
	st.cost = min(perValue, perDelta) * len(u) / k
	st.wide = wide
	st.delta = rising || perDelta+k/4 <= perValue // else not worth the pass that would tell
	st.runs = float64(len(u)) * float64(len(deltas)-equal+1) / float64(len(deltas)+1)
	distinct, best, mode := census(sample)
	st.mode = mode
	st.modeFrac = float64(best) / float64(k)
	if best < k {
		others = values
		others[bits.Len64(st.mode)] -= int32(best)
		cost, _ := others.patched(k - best)
		st.rare = cost/(k-best) + 1
	}
	// Birthday estimate of the population from the collisions among k draws.
	if c := k - distinct; c >= 2 {
		st.distinct = max(distinct, k*k/(2*c))
		if distinct*4 < k {
			st.distinct = distinct
		}
	}
}

// census counts the distinct values of a sample of up to sampleMax, and how often the most frequent one occurs.
func census(sample []uint64) (distinct, best int, mode uint64) {
	var slots [2 * sampleMax]uint8 // open addressing: index in sample + 1 of the first such value
	var counts [sampleMax]uint8
	for i, x := range sample {
		h := uint8(x * 0x9e3779b97f4a7c15 >> 56)
		for slots[h] != 0 && sample[slots[h]-1] != x {
			h++
		}
		first := int(slots[h]) - 1
		if first < 0 {
			first = i
			slots[h] = uint8(i + 1)
			distinct++
		}
		counts[first]++
		if n := int(counts[first]); n > best {
			best, mode = n, x
		}
	}
	return distinct, best, mode
}

// deltaCost is the bits that sampled differences take, packed as their distances from the least of them.
func deltaCost(deltas []int64) (cost int, rising bool) {
	if len(deltas) == 0 {
		return 0, false
	}
	lo := slices.Min(deltas)
	var h lenHist
	for _, d := range deltas {
		h[bits.Len64(uint64(d-lo))]++
	}
	cost, _ = h.patched(len(deltas))
	return cost, lo >= 0
}

// lenHist counts sampled values by their length in bits.
type lenHist [65]int32

// patched is the bits that k sampled values take when packed at the best width with outliers patched, and the longest.
func (h *lenHist) patched(k int) (cost, longest int) {
	for longest = 64; longest > 0 && h[longest] == 0; longest-- {
	}
	cost = k * longest
	above := 0
	for w := longest; w > 0; w-- {
		above += int(h[w])
		cost = min(cost, k*(w-1)+above*(posBits+longest-w+1))
	}
	return cost, longest
}

// gcd returns the greatest common divisor; gcd(0, x) is x.
func gcd(a, b uint64) uint64 {
	if a == 1 || b == 1 {
		return 1
	}
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// appendScaled takes the factor out of every value, if it divides them all.
func appendScaled(dst []byte, u []uint64, st *intStats, s *scratch) ([]byte, bool) {
	out := slices.Grow(s.scaled[:0], len(u))[:len(u)]
	s.scaled = out
	var ok bool
	switch st.factor { // constant divisors become multiplications
	case 1_000:
		ok = divide(out, u, st.lo, 1_000)
	case 1_000_000:
		ok = divide(out, u, st.lo, 1_000_000)
	case 1_000_000_000:
		ok = divide(out, u, st.lo, 1_000_000_000)
	default:
		ok = divide(out, u, st.lo, st.factor)
	}
	if !ok {
		return dst, false
	}
	dst = append(dst, codecScaled)
	dst = binary.AppendUvarint(dst, st.factor)
	dst = binary.AppendVarint(dst, int64(st.lo))
	return appendInts(dst, out, s, false), true
}

// divide is the loop of appendScaled, small enough to be inlined so that by may be a constant.
func divide(out, u []uint64, lo, by uint64) bool {
	for i, x := range u {
		q := (x - lo) / by
		if q*by != x-lo {
			return false
		}
		out[i] = q
	}
	return true
}

// denseDict is how many entries the writer puts into a dictionary that saves a little: its table stays in the L1 cache.
// Larger ones must save half.
const denseDict = 1024

// appendChosen tries the codec that the estimates favour over blocks; ok is false when that is none of them, or when it
// turned out not to fit.
func appendChosen(dst []byte, u []uint64, st *intStats, s *scratch) (out []byte, ok bool) {
	n := st.n
	best := st.cost + n/blockLen*32
	pick := byte(codecBlocks)
	if st.runs < float64(n)/4 {
		if c := int(st.runs * (float64(st.wide+2) + float64(bits.Len(uint(float64(n)/st.runs))))); c < best*9/10 {
			best, pick = c, codecRLE
		}
	}
	if st.modeFrac >= 0.5 && n >= 32 {
		exceptions := int(float64(n)*(1-st.modeFrac)) + 1
		if c := exceptions * (st.rare + bits.Len(uint(n/exceptions)) + 1); c < best*9/10 {
			best, pick = c, codecSparse
		}
	}
	if d := st.distinct; d >= 2 && d <= maxDict && n >= 64 && st.span >= uint64(2*d) {
		c := n*bits.Len(uint(d-1)) + d*(st.wide+1)
		if d <= denseDict && c < best*3/4 || c < best/2 {
			pick = codecDict
		}
	}
	switch pick {
	case codecRLE:
		return appendRLE(dst, u, st, s)
	case codecSparse:
		return appendSparse(dst, u, st, s)
	case codecDict:
		return appendDict(dst, u, st, s)
	}
	return dst, false
}

// appendNested appends vals as blocks behind the length of those bytes.
func appendNested(dst []byte, vals []uint64, s *scratch) []byte {
	s.tmp = appendBlocks(s.tmp[:0], vals, &s.blocks, true)
	dst = binary.AppendUvarint(dst, uint64(len(s.tmp)))
	return append(dst, s.tmp...)
}

// appendRLE gives up when the runs are many more than the sample made believe.
func appendRLE(dst []byte, u []uint64, st *intStats, s *scratch) ([]byte, bool) {
	vals, lens := s.a[:0], s.b[:0]
	limit := len(u) / 4
	for i := 0; i < len(u) && len(vals) <= limit; {
		x := u[i]
		j := i + 1
		for j < len(u) && u[j] == x {
			j++
		}
		vals = append(vals, x-st.lo)
		lens = append(lens, uint64(j-i-1))
		i = j
	}
	s.a, s.b = vals, lens
	if len(vals) > limit {
		return dst, false
	}
	dst = appendRange(append(dst, codecRLE), st)
	dst = binary.AppendUvarint(dst, uint64(len(vals)))
	dst = appendNested(dst, vals, s)
	return appendBlocks(dst, lens, &s.blocks, false), true
}

// appendSparse gives up when the mode is less frequent than the sample made believe.
func appendSparse(dst []byte, u []uint64, st *intStats, s *scratch) ([]byte, bool) {
	at := slices.Grow(s.a[:0], len(u))[:len(u)]
	vals := slices.Grow(s.b[:0], len(u))[:len(u)]
	s.a, s.b = at, vals
	common := st.lo + st.mode
	n := placesOfOthers(at, u, common)
	if n > len(u)*3/4 {
		return dst, false
	}
	at, vals = at[:n], vals[:n]
	last := ^uint64(0)
	for i, x := range at {
		vals[i] = u[x] - st.lo
		at[i] = x - last - 1
		last = x
	}
	dst = appendRange(append(dst, codecSparse), st)
	dst = binary.AppendUvarint(dst, st.mode)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = appendNested(dst, at, s)
	return appendBlocks(dst, vals, &s.blocks, true), true
}

// placesOfOthers fills at with the places of u that do not hold common, and returns how many there are. It has no branch:
// every place is noted, and the next takes its room if the value is common. Inlined, its counter would live in memory.
//
//go:noinline
func placesOfOthers(at, u []uint64, common uint64) (n int) {
	for i, x := range u {
		at[n] = uint64(i)
		if x != common {
			n++
		}
	}
	return n
}

func appendDict(dst []byte, u []uint64, st *intStats, s *scratch) ([]byte, bool) {
	// The table is four to eight times as large as the entries that are expected: looking further is a branch nobody foresees.
	log := uint(max(bits.Len(uint(4*st.distinct)), 9))
	log = min(log, uint(bits.Len(uint(len(s.table)-1))))
	table, shift := s.table[:1<<log], 64-log
	limit := min(len(table)/2, maxDict, len(u)/2)
	codes := slices.Grow(s.codes[:0], len(u))[:len(u)]
	s.codes = codes
	clear(table)
	// A sample sees too little of values that are rare; the first rows tell before all of them are tried in vain.
	head := min(dictHead, len(u))
	expected := int(float64(st.distinct)*(1-math.Exp(-float64(head)/float64(st.distinct)))*5/4) + 16
	size := dictCodes(codes, u[:head], table, s.dict[:min(limit, expected)], 0, st.lo, shift)
	if size > 0 {
		size = dictCodes(codes[head:], u[head:], table, s.dict[:limit], size, st.lo, shift)
	}
	if size < 2 {
		return dst, false
	}
	dst = appendRange(append(dst, codecDict), st)
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = appendNested(dst, s.dict[:size], s)
	return appendBlocks(dst, codes, &s.blocks, false), true
}

// dictHead is how many rows decide whether a dictionary is worth the others.
const dictHead = 1024

// dictCodes fills codes with the code of every value of u less lo and dict with the values, in order of arrival, of which
// size are there already. It returns how many there are then, 0 when more than dict holds. The half of table stays free.
//
//go:noinline
func dictCodes(codes, u []uint64, table []uint16, dict []uint64, size int, lo uint64, shift uint) int {
	codes = codes[:len(u)]
	for i, x := range u {
		x -= lo
		h := x * 0x9e3779b97f4a7c15 >> (shift & 63)
		for {
			slot := &table[h&uint64(len(table)-1)]
			if *slot == 0 {
				if size == len(dict) {
					return 0
				}
				dict[size] = x
				size++
				*slot = uint16(size)
			}
			if c := uint64(*slot - 1); c < uint64(len(dict)) && dict[c] == x {
				codes[i] = c
				break
			}
			h++
		}
	}
	return size
}

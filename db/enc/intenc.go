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
	a, b       []uint64 // runs and their lengths, or positions and values of exceptions
	scaled     []uint64
	ints       []int64
	codes      []uint16
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
	span uint64 // maximum - minimum
	runs int    // maximal stretches of equal values

	// From the sample:
	cost     int    // bits of the whole column as blocks
	wide     int    // bits that a value needs unpatched
	delta    bool   // differences may be narrower
	distinct int    // estimated number of distinct values, 0 when too many to tell
	mode     uint64 // the most frequent value less the minimum
	modeFrac float64
	factor   uint64 // common divisor of all distances from the minimum, 0 or 1 for none
}

// appendInts appends an integer column; scale says whether a common factor may be taken out.
func appendInts[T word](dst []byte, v []T, s *scratch, scale bool) []byte {
	if len(v) == 0 {
		return dst
	}
	lo, hi, runs := v[0], v[0], 1
	prev := v[0]
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
		if x != prev {
			runs++
		}
		prev = x
	}
	if lo == hi {
		return binary.AppendVarint(append(dst, codecConst), int64(lo))
	}
	if step, ok := linearStep(v); ok {
		dst = binary.AppendVarint(append(dst, codecLinear), int64(v[0]))
		return binary.AppendVarint(dst, step)
	}
	st := intStats{n: len(v), span: uint64(hi) - uint64(lo), runs: runs}
	sampleInts(&st, v, lo, s)
	// Multiplying back costs a pass, so a factor must save a good part of the bits.
	if saved := bits.Len64(st.factor) - 1; scale && saved >= 2 && saved*st.n >= st.cost/8 {
		if out, ok := appendScaled(dst, v, lo, st.factor, s); ok {
			return out
		}
	}
	at := len(dst)
	dst, ok := appendChosen(dst, v, lo, &st, s)
	if !ok && st.cost > code64*st.n {
		return appendRaw(appendRange(append(dst, codecRaw), lo, &st), v)
	}
	if !ok || len(dst)-at > blocksBound(&st) {
		dst = append(dst[:at], codecBlocks)
		dst = appendRange(dst, lo, &st)
		dst = appendBlocks(dst, v, lo, &s.blocks, st.delta)
	}
	if size := int(unsafe.Sizeof(v[0])) * len(v); len(dst)-at > size+16 {
		dst = append(dst[:at], codecRaw)
		dst = appendRange(dst, lo, &st)
		dst = appendRaw(dst, v)
	}
	return dst
}

func appendRange[T word](dst []byte, lo T, st *intStats) []byte {
	dst = binary.AppendVarint(dst, int64(lo))
	return binary.AppendUvarint(dst, st.span)
}

func appendRaw[T word](dst []byte, v []T) []byte {
	if unsafe.Sizeof(v[0]) == 4 {
		for _, x := range v {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(x))
		}
		return dst
	}
	for _, x := range v {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
	}
	return dst
}

// blocksBound is a size that a blocks column does not exceed by much: the yardstick for the other codecs.
func blocksBound(st *intStats) int {
	return packedLen(st.n, uint8(bits.Len64(st.span))) + st.n/blockLen*8 + 32
}

// linearStep reports the constant difference of v, looking no further than the first place where it changes.
func linearStep[T word](v []T) (step int64, ok bool) {
	if len(v) < 2 {
		return 0, false
	}
	d := v[1] - v[0]
	prev := v[1]
	for _, x := range v[2:] {
		if x-prev != d {
			return 0, false
		}
		prev = x
	}
	if unsafe.Sizeof(d) == 4 {
		step = int64(v[1]) - int64(v[0])
		last := int64(v[0]) + step*int64(len(v)-1)
		return step, last >= 0 && last <= math.MaxUint32 // a sequence that wraps would lie about its range
	}
	return int64(d), true
}

// sampleInts fills the estimates of st from values spread over v.
func sampleInts[T word](st *intStats, v []T, lo T, s *scratch) {
	k := min(max(len(v)/32, sampleMin), sampleMax, len(v))
	step := len(v) / k
	sample := s.sample[:k]
	var values, deltas lenHist
	for i := range sample {
		at := i * step
		x := uint64(v[at]) - uint64(lo)
		sample[i] = x
		values[bits.Len64(x)]++
		st.factor = gcd(st.factor, x)
		if at+1 < len(v) {
			y := uint64(v[at+1]) - uint64(lo)
			deltas[bits.Len64(zigzag(int64(y-x)))]++
			st.factor = gcd(st.factor, y)
		}
	}
	perValue, wide := values.patched(k)
	perDelta, _ := deltas.patched(k)
	st.cost = min(perValue, perDelta) * len(v) / k
	st.wide = wide
	st.delta = perDelta <= perValue+k/2
	slices.Sort(sample)
	distinct, run, best := 0, 0, 0
	for i, x := range sample {
		if i == 0 || x != sample[i-1] {
			distinct++
			run = 0
		}
		run++
		if run > best {
			best, st.mode = run, x
		}
	}
	st.modeFrac = float64(best) / float64(k)
	// Birthday estimate of the population from the collisions among k draws.
	if c := k - distinct; c >= 2 {
		st.distinct = max(distinct, k*k/(2*c))
		if distinct*4 < k {
			st.distinct = distinct
		}
	}
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
func appendScaled[T word](dst []byte, v []T, lo T, factor uint64, s *scratch) ([]byte, bool) {
	out := slices.Grow(s.scaled[:0], len(v))[:len(v)]
	s.scaled = out
	var ok bool
	switch factor { // constant divisors become multiplications
	case 1_000:
		ok = divide(out, v, lo, 1_000)
	case 1_000_000:
		ok = divide(out, v, lo, 1_000_000)
	case 1_000_000_000:
		ok = divide(out, v, lo, 1_000_000_000)
	default:
		for i, x := range v {
			u := uint64(x) - uint64(lo)
			q := u / factor
			if q*factor != u {
				return dst, false
			}
			out[i] = q
		}
		ok = true
	}
	if !ok {
		return dst, false
	}
	dst = append(dst, codecScaled)
	dst = binary.AppendUvarint(dst, factor)
	dst = binary.AppendVarint(dst, int64(lo))
	return appendInts(dst, out, s, false), true
}

// divide is the loop of appendScaled, small enough to be inlined so that by is a constant.
func divide[T word](out []uint64, v []T, lo T, by uint64) bool {
	for i, x := range v {
		u := uint64(x) - uint64(lo)
		q := u / by
		if q*by != u {
			return false
		}
		out[i] = q
	}
	return true
}

// appendChosen tries the codec that the estimates favour over blocks; ok is false when that is none of them, or when it
// turned out not to fit.
func appendChosen[T word](dst []byte, v []T, lo T, st *intStats, s *scratch) (out []byte, ok bool) {
	n := st.n
	best := st.cost + n/blockLen*32
	pick := byte(codecBlocks)
	if c := st.runs * (st.wide + bits.Len(uint(n/st.runs)) + 2); c < best*9/10 {
		best, pick = c, codecRLE
	}
	if st.modeFrac >= 0.7 && n >= 32 {
		exceptions := int(float64(n)*(1-st.modeFrac)) + 1
		if c := exceptions * (st.wide + bits.Len(uint(n/exceptions)) + 2); c < best*9/10 {
			best, pick = c, codecSparse
		}
	}
	if d := st.distinct; d >= 2 && d <= maxDict && n >= 64 {
		if c := n*bits.Len(uint(d-1)) + d*(st.wide+1); c < best*9/10 {
			pick = codecDict
		}
	}
	switch pick {
	case codecRLE:
		return appendRLE(dst, v, lo, st, s), true
	case codecSparse:
		return appendSparse(dst, v, lo, st, s)
	case codecDict:
		return appendDict(dst, v, lo, st, s)
	}
	return dst, false
}

// appendNested appends vals as blocks behind the length of those bytes.
func appendNested(dst []byte, vals []uint64, s *scratch) []byte {
	s.tmp = appendBlocks(s.tmp[:0], vals, 0, &s.blocks, true)
	dst = binary.AppendUvarint(dst, uint64(len(s.tmp)))
	return append(dst, s.tmp...)
}

func appendRLE[T word](dst []byte, v []T, lo T, st *intStats, s *scratch) []byte {
	vals, lens := s.a[:0], s.b[:0]
	for i := 0; i < len(v); {
		x := v[i]
		j := i + 1
		for j < len(v) && v[j] == x {
			j++
		}
		vals = append(vals, uint64(x)-uint64(lo))
		lens = append(lens, uint64(j-i-1))
		i = j
	}
	s.a, s.b = vals, lens
	dst = appendRange(append(dst, codecRLE), lo, st)
	dst = binary.AppendUvarint(dst, uint64(len(vals)))
	dst = appendNested(dst, vals, s)
	return appendBlocks(dst, lens, 0, &s.blocks, false)
}

func appendSparse[T word](dst []byte, v []T, lo T, st *intStats, s *scratch) ([]byte, bool) {
	gaps, vals := s.a[:0], s.b[:0]
	common := T(uint64(lo) + st.mode)
	limit := len(v) / 2
	last := -1
	for i, x := range v {
		if x == common {
			continue
		}
		gaps = append(gaps, uint64(i-last-1))
		vals = append(vals, uint64(x)-uint64(lo))
		last = i
		if len(vals) > limit {
			s.a, s.b = gaps, vals
			return dst, false
		}
	}
	s.a, s.b = gaps, vals
	dst = appendRange(append(dst, codecSparse), lo, st)
	dst = binary.AppendUvarint(dst, st.mode)
	dst = binary.AppendUvarint(dst, uint64(len(vals)))
	dst = appendNested(dst, gaps, s)
	return appendBlocks(dst, vals, 0, &s.blocks, true), true
}

func appendDict[T word](dst []byte, v []T, lo T, st *intStats, s *scratch) ([]byte, bool) {
	limit := min(maxDict, len(v)/2)
	codes := slices.Grow(s.codes[:0], len(v))[:len(v)]
	s.codes = codes
	clear(s.table[:])
	size := 0
	for i, x := range v {
		u := uint64(x) - uint64(lo)
		h := u * 0x9e3779b97f4a7c15 >> (64 - 13)
		for {
			c := s.table[h&(2*maxDict-1)]
			if c == 0 {
				if size == limit {
					return dst, false
				}
				s.dict[size] = u
				size++
				c = uint16(size)
				s.table[h&(2*maxDict-1)] = c
			}
			if s.dict[c-1] == u {
				codes[i] = c - 1
				break
			}
			h++
		}
	}
	if size < 2 {
		return dst, false
	}
	dst = appendRange(append(dst, codecDict), lo, st)
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = appendNested(dst, s.dict[:size], s)
	return appendBlocks(dst, codes, 0, &s.blocks, false), true
}

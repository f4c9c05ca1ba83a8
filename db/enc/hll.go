package enc

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// HLLError is the standard relative error of HLL.Estimate once there are more values than HLLExact.
const HLLError = 0.01625

// HLLExact is the number of distinct values up to which an HLL knows them one by one.
const HLLExact = 512

// Forms of an HLL's bytes.
const (
	hllSparse = 0x01
	hllDense  = 0x02
)

// A value is its hash's upper 40 bits: the upper 12 choose a register, the leading zeros of the other 28 are its rank.
const (
	hllHashBits  = 40
	hllIndexBits = 12
	hllRegisters = 1 << hllIndexBits
	hllRankBits  = hllHashBits - hllIndexBits
	hllMaxRank   = hllRankBits + 1
)

// HLL tells how many distinct values it was given: exactly up to HLLExact of them, within HLLError beyond (HyperLogLog;
// Flajolet et al. 2007, with the estimator of Ertl 2017). It merges with others without loss: what it holds depends only on the
// set of values, not on their order or on how they were split. The zero value is empty and ready. It is not safe for
// concurrent use. docs/format/columns.md has the bytes.
type HLL struct {
	hashes []uint64 // ascending and distinct, while there are at most HLLExact; then dense takes over
	dense  []uint8  // registers; nil while sparse
}

// HLLValue is what an HLL keeps of a value's 64-bit hash (xxhash of its bytes; of a number, of its 8 bytes little endian).
func HLLValue(hash uint64) uint64 { return hash >> (64 - hllHashBits) }

// Reset empties h and keeps some of its memory.
func (h *HLL) Reset() { h.hashes, h.dense = h.hashes[:0], nil }

// Add counts a value by its HLLValue.
func (h *HLL) Add(v uint64) {
	v &= 1<<hllHashBits - 1
	if h.dense != nil {
		h.register(v)
		return
	}
	i, ok := slices.BinarySearch(h.hashes, v)
	if ok {
		return
	}
	h.hashes = slices.Insert(h.hashes, i, v)
	if len(h.hashes) > HLLExact {
		h.densify()
	}
}

func (h *HLL) densify() {
	h.dense = make([]uint8, hllRegisters)
	for _, v := range h.hashes {
		h.register(v)
	}
	h.hashes = h.hashes[:0]
}

func (h *HLL) register(v uint64) {
	i := v >> hllRankBits
	rank := bits.LeadingZeros64(v<<(64-hllRankBits)|1<<(63-hllRankBits)) + 1
	h.dense[i] = max(h.dense[i], uint8(rank))
}

// MergeWith adds the values of o.
func (h *HLL) MergeWith(o *HLL) {
	for _, v := range o.hashes {
		h.Add(v)
	}
	if o.dense == nil {
		return
	}
	if h.dense == nil {
		h.densify()
	}
	for i, r := range o.dense {
		h.dense[i] = max(h.dense[i], r)
	}
}

// Estimate is the number of distinct values.
func (h *HLL) Estimate() uint64 {
	if h.dense == nil {
		return uint64(len(h.hashes))
	}
	var counts [hllMaxRank + 1]int
	for _, r := range h.dense {
		counts[r]++
	}
	const m = float64(hllRegisters)
	z := m * hllTau(1-float64(counts[hllMaxRank])/m)
	for k := hllMaxRank - 1; k >= 1; k-- {
		z = 0.5 * (z + float64(counts[k]))
	}
	z += m * hllSigma(float64(counts[0])/m)
	return max(uint64(math.Round(m*m/(2*math.Ln2*z))), HLLExact+1)
}

// hllSigma and hllTau are the corrections for empty and full registers.
func hllSigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		last := z
		z += x * y
		y += y
		if z == last {
			return z
		}
	}
}

func hllTau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		last := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == last {
			return z / 3
		}
	}
}

// AppendTo appends h's bytes; an empty one has none. Equal sets of values have equal bytes.
func (h *HLL) AppendTo(dst []byte) []byte {
	if h.dense == nil {
		return AppendHLL(dst, h.hashes)
	}
	dst = append(dst, hllDense)
	var acc uint64
	n := 0
	for _, r := range h.dense { // 5 bits each
		acc |= uint64(r) << n
		for n += 5; n >= 8; n -= 8 {
			dst = append(dst, byte(acc))
			acc >>= 8
		}
	}
	return dst
}

// AppendHLL appends the bytes of an HLL of some values (HLLValue), which ascend and may repeat: what rollups use instead of
// an HLL for each group.
func AppendHLL(dst []byte, values []uint64) []byte {
	n := 0
	for i, v := range values {
		if i == 0 || v != values[i-1] {
			n++
		}
	}
	if n == 0 {
		return dst
	}
	if n > HLLExact {
		h := HLL{dense: make([]uint8, hllRegisters)}
		for _, v := range values {
			h.register(v)
		}
		return h.AppendTo(dst)
	}
	dst = append(dst, hllSparse)
	dst = binary.AppendUvarint(dst, uint64(n))
	for i, v := range values {
		switch {
		case i == 0:
			dst = binary.AppendUvarint(dst, v)
		case v != values[i-1]:
			dst = binary.AppendUvarint(dst, v-values[i-1]-1)
		}
	}
	return dst
}

const hllDenseBytes = hllRegisters * 5 / 8

// Merge adds the values of an HLL's bytes. It fails with ErrCorrupt, leaving h as it was.
func (h *HLL) Merge(src []byte) error {
	if len(src) == 0 {
		return nil
	}
	if src[0] == hllDense {
		return h.mergeDense(src[1:])
	}
	var room [HLLExact]uint64
	values, err := HLLValues(room[:0], src)
	if err != nil {
		return err
	}
	for _, v := range values {
		h.Add(v)
	}
	return nil
}

func (h *HLL) mergeDense(src []byte) error {
	if len(src) != hllDenseBytes {
		return corrupt("length of a dense hyperloglog")
	}
	var regs [hllRegisters]uint8
	var acc uint64
	n, at := 0, 0
	for i := range regs {
		if n < 5 {
			acc |= uint64(src[at]) << n
			at, n = at+1, n+8
		}
		if regs[i] = uint8(acc & 31); regs[i] > hllMaxRank {
			return corrupt("register of a hyperloglog")
		}
		acc >>= 5
		n -= 5
	}
	if h.dense == nil {
		h.densify()
	}
	for i, r := range regs {
		h.dense[i] = max(h.dense[i], r)
	}
	return nil
}

// HLLDense says that an HLL's bytes do not hold its values one by one: HLLValues fails for it.
func HLLDense(src []byte) bool { return len(src) > 0 && src[0] == hllDense }

// HLLValues appends the values of an HLL's bytes, which are not dense, in ascending order. It fails with ErrCorrupt, and returns dst as
// it was then.
func HLLValues(dst []uint64, src []byte) ([]uint64, error) {
	if len(src) == 0 {
		return dst, nil
	}
	if src[0] != hllSparse {
		return dst, corrupt("hyperloglog version")
	}
	n, src, ok := uvarint(src[1:])
	if !ok || n == 0 || n > HLLExact {
		return dst, corrupt("hyperloglog values")
	}
	out := dst
	v := uint64(0)
	for i := range n {
		var gap uint64
		if gap, src, ok = uvarint(src); !ok || gap >= 1<<hllHashBits {
			return dst, corrupt("hyperloglog value")
		}
		if v += gap; i > 0 {
			v++
		}
		if v >= 1<<hllHashBits {
			return dst, corrupt("hyperloglog value")
		}
		out = append(out, v)
	}
	if len(src) != 0 {
		return dst, corrupt("bytes behind the hyperloglog")
	}
	return out, nil
}

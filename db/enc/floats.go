package enc

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"
)

// maxExp is the largest power of ten that a float64 holds exactly; maxExact the largest integer below which all are.
const (
	maxExp   = 22
	maxExact = 1 << 53
)

// tryExp bounds the decimals that the writer looks for: more digits than that are not worth an integer.
const tryExp = 14

var pow10 = [maxExp + 1]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
	1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// AppendFloat64 appends v as a float column. Every bit pattern comes back, NaN payloads and -0 too.
func AppendFloat64(dst []byte, v []float64) []byte {
	if len(v) == 0 {
		return dst
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	if e, ok := decimalExp(v); ok {
		if out, ok := appendDecimal(dst, v, e, s); ok {
			return out
		}
	}
	ints := slices.Grow(s.ints[:0], len(v))[:len(v)]
	s.ints = ints
	for i, f := range v {
		ints[i] = orderBits(int64(math.Float64bits(f)))
	}
	return appendInts(append(dst, codecFloatBits), ints, s, true)
}

// orderBits maps the bits of a float to an integer of the same order, and back.
func orderBits(b int64) int64 { return b ^ int64(uint64(b>>63)>>1) }

// toDecimal returns the integer i for which float64(i)/10^e is f, bit for bit.
func toDecimal(f, scale float64) (i int64, ok bool) {
	x := f * scale
	if !(x > -maxExact && x < maxExact) {
		return 0, false
	}
	i = int64(math.RoundToEven(x))
	return i, math.Float64bits(float64(i)/scale) == math.Float64bits(f)
}

// decimalExp picks from a sample the smallest number of decimals at which nearly all values are exact.
func decimalExp(v []float64) (e int, ok bool) {
	k := min(max(len(v)/32, sampleMin), sampleMax, len(v))
	step := len(v) / k
	// Each sampled value needs at least so many decimals; a few may need more and become exceptions.
	failed := 0
	for i := 0; i < k; i++ {
		f := v[i*step]
		if _, ok := toDecimal(f, pow10[e]); ok {
			continue
		}
		d := e + 1
		for ; d <= tryExp; d++ {
			if _, ok := toDecimal(f, pow10[d]); ok {
				break
			}
		}
		if d > tryExp {
			failed++
			if failed > k/10 {
				return 0, false
			}
			continue
		}
		e = d
	}
	return e, failed < k
}

// appendDecimal appends v as integers of 10^-e with exceptions; ok is false when there are too many of those.
func appendDecimal(dst []byte, v []float64, e int, s *scratch) (out []byte, ok bool) {
	ints := slices.Grow(s.ints[:0], len(v))[:len(v)]
	s.ints = ints
	gaps, bad := s.a[:0], s.b[:0]
	limit := len(v) / 8
	last := -1
	var prev int64
	scale := pow10[e]
	for i, f := range v {
		x, exact := toDecimal(f, scale)
		if !exact {
			if len(gaps) >= limit {
				s.a, s.b = gaps, bad
				return dst, false
			}
			gaps = append(gaps, uint64(i-last-1))
			bad = append(bad, math.Float64bits(f))
			last = i
			x = prev
		}
		ints[i] = x
		prev = x
	}
	s.a, s.b = gaps, bad
	dst = append(dst, codecDecimal, byte(e))
	dst = binary.AppendUvarint(dst, uint64(len(gaps)))
	if len(gaps) > 0 {
		dst = appendNested(dst, gaps, s)
		for _, b := range bad {
			dst = binary.LittleEndian.AppendUint64(dst, b)
		}
	}
	return appendInts(dst, ints, s, true), true
}

// DecodeFloat64 appends the n values of the float column at the head of src to dst and returns what follows the column.
func DecodeFloat64(dst []float64, src []byte, n int) (vals []float64, rest []byte, err error) {
	if n <= 0 {
		if n < 0 {
			return dst, src, corrupt("negative length")
		}
		return dst, src, nil
	}
	if len(src) == 0 {
		return dst, src, corrupt("no codec")
	}
	at := len(dst)
	out := slices.Grow(dst, n)[:at+n]
	switch src[0] {
	case codecDecimal:
		rest, err = fillDecimal(out[at:], src[1:])
	case codecFloatBits:
		f := out[at:]
		ints := asInt64(f)
		if rest, err = fillInts(ints, src[1:], true); err == nil {
			for i, x := range ints {
				ints[i] = orderBits(x)
			}
		}
	default:
		err = corrupt("unknown float codec")
	}
	if err != nil {
		return dst, src, err
	}
	return out, rest, nil
}

func fillDecimal(dst []float64, src []byte) ([]byte, error) {
	if len(src) == 0 || src[0] > maxExp {
		return nil, corrupt("decimal exponent")
	}
	scale := pow10[src[0]]
	count64, src, ok := uvarint(src[1:])
	if !ok || count64 > uint64(len(dst)) {
		return nil, corrupt("decimal exceptions")
	}
	count := int(count64)
	var nested, bad []byte
	if count > 0 {
		if nested, src, ok = readNested(src); !ok || len(src)/8 < count {
			return nil, corrupt("decimal exceptions")
		}
		bad, src = src[:count*8], src[count*8:]
	}
	ints := asInt64(dst)
	rest, err := fillInts(ints, src, true)
	if err != nil {
		return nil, err
	}
	if scale == 1 {
		for i, x := range ints {
			dst[i] = float64(x)
		}
	} else {
		for i, x := range ints {
			dst[i] = float64(x) / scale
		}
	}
	if count > 0 && !putExceptions(dst, nested, bad) {
		return nil, corrupt("decimal exceptions")
	}
	return rest, nil
}

// putExceptions overwrites the values at the positions in gaps with the float bits in bad.
func putExceptions(dst []float64, gaps, bad []byte) bool {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	s.lens.reset(gaps, len(bad)/8)
	at := uint64(0)
	for len(bad) > 0 {
		gap, ok := s.lens.one()
		if !ok || gap >= uint64(len(dst))-at {
			return false
		}
		at += gap
		dst[at] = math.Float64frombits(binary.LittleEndian.Uint64(bad))
		bad = bad[8:]
		at++
	}
	return len(s.lens.src) == 0
}

// asInt64 is the same memory seen as integers, so that a float column is decoded in place. Both element types have the
// same size and alignment and no pointers; the result lives as long as f.
func asInt64(f []float64) []int64 {
	return unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(f))), len(f))
}

package enc

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Range is what an integer column's header says of its values, unread.
type Range struct {
	Min, Max int64 // every value lies in [Min, Max]
	Constant bool  // all values equal Min
}

// PeekInt64 reads the range of the integer column of n values at the head of src, without decoding it. ok is false when the
// header is damaged, the values wrap around, or n < 1. Min and Max need not occur in the column.
func PeekInt64(src []byte, n int) (r Range, ok bool) {
	if n < 1 {
		return Range{}, false
	}
	return peekInts(src, n, true)
}

func peekInts(src []byte, n int, scale bool) (r Range, ok bool) {
	if len(src) == 0 {
		return Range{}, false
	}
	switch src[0] {
	case codecConst:
		v, _, ok := varint(src[1:])
		return Range{v, v, true}, ok
	case codecLinear:
		first, rest, ok := varint(src[1:])
		if !ok {
			return Range{}, false
		}
		step, _, ok := varint(rest)
		last, fits := mulAdd(step, uint64(n-1), first)
		return Range{min(first, last), max(first, last), step == 0 || n == 1}, ok && fits
	case codecBlocks, codecRLE, codecSparse, codecDict, codecRaw:
		lo, span, _, ok := readRange(src[1:])
		if !ok || span > uint64(math.MaxInt64)-uint64(lo) {
			return Range{}, false
		}
		return Range{lo, lo + int64(span), span == 0}, true
	case codecScaled:
		if !scale {
			return Range{}, false
		}
		factor, rest, ok := uvarint(src[1:])
		if !ok || factor > math.MaxInt64 {
			return Range{}, false
		}
		offset, rest, ok := varint(rest)
		if !ok {
			return Range{}, false
		}
		in, ok := peekInts(rest, n, false)
		if !ok || in.Min < 0 {
			return Range{}, false
		}
		lo, ok1 := mulAdd(int64(factor), uint64(in.Min), offset)
		hi, ok2 := mulAdd(int64(factor), uint64(in.Max), offset)
		return Range{lo, hi, in.Constant}, ok1 && ok2
	}
	return Range{}, false
}

// mulAdd returns a*k + b; ok is false when that overflows.
func mulAdd(a int64, k uint64, b int64) (v int64, ok bool) {
	neg := a < 0
	mag := uint64(a)
	if neg {
		mag = -mag
	}
	hi, lo := bits.Mul64(mag, k)
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	p := int64(lo)
	if neg {
		p = -p
	}
	v = p + b
	return v, (v > p) == (b > 0) || b == 0
}

// Describe names the codec of the column at the head of src and what its header says, for people who look at files. It
// reads no further than the header and never fails: damage is described too.
func Describe(src []byte) string {
	if len(src) == 0 {
		return "empty"
	}
	switch c := src[0]; c {
	case codecDecimal:
		if len(src) < 2 {
			return "decimal damaged"
		}
		count, rest, ok := uvarint(src[2:])
		if !ok {
			return "decimal damaged"
		}
		s := fmt.Sprintf("decimal(10^-%d)", src[1])
		if count == 0 {
			return s + " " + Describe(rest)
		}
		if nested, after, ok := readNested(rest); ok && len(nested) > 0 && uint64(len(after))/8 >= count {
			return fmt.Sprintf("%s %d exceptions %s", s, count, Describe(after[count*8:]))
		}
		return s + " damaged"
	case codecFloatBits:
		return "float-bits " + Describe(src[1:])
	case codecAllFalse:
		return "all-false"
	case codecAllTrue:
		return "all-true"
	case codecBitmap:
		return "bitmap"
	case codecBitRuns:
		return "bit-runs"
	case codecBytes, codecFront, codecBytesS2, codecFrontS2, codecFixed:
		return [...]string{"bytes", "bytes-front", "bytes+s2", "bytes-front+s2", "bytes-fixed"}[c-codecBytes]
	case codecScaled:
		factor, rest, ok := uvarint(src[1:])
		if !ok {
			return "scaled damaged"
		}
		if _, rest, ok = varint(rest); !ok || len(rest) > 0 && rest[0] == codecScaled {
			return "scaled damaged"
		}
		return "scaled(" + strconv.FormatUint(factor, 10) + ") " + Describe(rest)
	}
	return describeInts(src)
}

func describeInts(src []byte) string {
	names := [...]string{"const", "linear", "blocks", "rle", "sparse", "dict", "raw"}
	c := int(src[0]) - codecConst
	if c < 0 || c >= len(names) {
		return fmt.Sprintf("unknown(0x%02x)", src[0])
	}
	name := names[c]
	if src[0] == codecConst || src[0] == codecLinear {
		v, rest, ok := varint(src[1:])
		if !ok {
			return name + " damaged"
		}
		if src[0] == codecConst {
			return fmt.Sprintf("%s(%d)", name, v)
		}
		step, _, ok := varint(rest)
		if !ok {
			return name + " damaged"
		}
		return fmt.Sprintf("%s(%d%+d)", name, v, step)
	}
	lo, span, rest, ok := readRange(src[1:])
	if !ok {
		return name + " damaged"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s[%d..%d]", name, lo, lo+int64(span))
	switch src[0] {
	case codecRLE:
		if v, _, ok := uvarint(rest); ok {
			fmt.Fprintf(&b, " %d runs", v)
		}
	case codecDict:
		if v, _, ok := uvarint(rest); ok {
			fmt.Fprintf(&b, " %d entries", v)
		}
	case codecSparse:
		if common, rest, ok := uvarint(rest); ok {
			if v, _, ok := uvarint(rest); ok {
				fmt.Fprintf(&b, " mostly %d, %d others", lo+int64(common), v)
			}
		}
	}
	return b.String()
}

package enc

import (
	"encoding/binary"
	"math"
	"slices"
	"unsafe"
)

// decodeInts appends n values of an integer column.
func decodeInts[T word](dst []T, src []byte, n int) ([]T, []byte, error) {
	if n <= 0 {
		if n < 0 {
			return dst, src, corrupt("negative length")
		}
		return dst, src, nil
	}
	at := len(dst)
	out := slices.Grow(dst, n)[:at+n]
	rest, err := fillInts(out[at:], src, true)
	if err != nil {
		return dst, src, err
	}
	return out, rest, nil
}

// fillInts fills dst, which is not empty, from the integer column at the head of src.
func fillInts[T word](dst []T, src []byte, scale bool) (rest []byte, err error) {
	if len(src) == 0 {
		return nil, corrupt("no codec")
	}
	codec := src[0]
	src = src[1:]
	switch codec {
	case codecConst:
		v, rest, ok := varint(src)
		if !ok || !fits[T](v, 0) {
			return nil, corrupt("const value")
		}
		fill(dst, T(v))
		return rest, nil
	case codecLinear:
		return fillLinear(dst, src)
	case codecScaled:
		if !scale {
			return nil, corrupt("scaled twice")
		}
		return fillScaled(dst, src)
	case codecBlocks, codecRLE, codecSparse, codecDict, codecRaw:
	default:
		return nil, corrupt("unknown integer codec")
	}
	min, span, src, ok := readRange(src)
	if !ok || !fits[T](min, span) {
		return nil, corrupt("range")
	}
	switch lo := T(min); codec {
	case codecBlocks:
		rest, ok = decodeBlocks(dst, src, lo)
	case codecRaw:
		rest, ok = fillRaw(dst, src)
	case codecRLE:
		rest, ok = fillRLE(dst, src, lo)
	case codecSparse:
		rest, ok = fillSparse(dst, src, lo)
	case codecDict:
		rest, ok = fillDict(dst, src, lo)
	}
	if !ok {
		return nil, corrupt("integer column")
	}
	return rest, nil
}

func readRange(src []byte) (min int64, span uint64, rest []byte, ok bool) {
	if min, src, ok = varint(src); !ok {
		return 0, 0, nil, false
	}
	span, rest, ok = uvarint(src)
	return min, span, rest, ok
}

// fits reports whether [min, min+span] is within T.
func fits[T word](min int64, span uint64) bool {
	var zero T
	if unsafe.Sizeof(zero) == 8 {
		return true
	}
	return min >= 0 && min <= math.MaxUint32 && span <= math.MaxUint32-uint64(min)
}

func fillLinear[T word](dst []T, src []byte) ([]byte, error) {
	first, src, ok := varint(src)
	if !ok {
		return nil, corrupt("linear start")
	}
	step, src, ok := varint(src)
	if !ok || !fits[T](first, 0) {
		return nil, corrupt("linear step")
	}
	acc, add := T(first), T(step)
	for i := range dst {
		dst[i] = acc
		acc += add
	}
	return src, nil
}

func fillScaled[T word](dst []T, src []byte) ([]byte, error) {
	factor, src, ok := uvarint(src)
	if !ok {
		return nil, corrupt("factor")
	}
	offset, src, ok := varint(src)
	if !ok {
		return nil, corrupt("offset")
	}
	rest, err := fillInts(dst, src, false)
	if err != nil {
		return nil, err
	}
	mul, add := T(factor), T(offset)
	for i, u := range dst {
		dst[i] = u*mul + add
	}
	return rest, nil
}

func fillRaw[T word](dst []T, src []byte) ([]byte, bool) {
	size := int(unsafe.Sizeof(dst[0]))
	if len(src)/size < len(dst) {
		return nil, false
	}
	if size == 4 {
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint32(src[i*4:]))
		}
	} else {
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint64(src[i*8:]))
		}
	}
	return src[len(dst)*size:], true
}

// readNested splits off the bytes that stand behind their length.
func readNested(src []byte) (nested, rest []byte, ok bool) {
	size, src, ok := uvarint(src)
	if !ok || size > uint64(len(src)) {
		return nil, nil, false
	}
	return src[:size], src[size:], true
}

func fillRLE[T word](dst []T, src []byte, lo T) ([]byte, bool) {
	runs, src, ok := uvarint(src)
	if !ok || runs == 0 || runs > uint64(len(dst)) {
		return nil, false
	}
	nested, src, ok := readNested(src)
	if !ok {
		return nil, false
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	s.values.reset(nested, int(runs))
	s.lens.reset(src, int(runs))
	for {
		vals, lens := s.values.next(), s.lens.next()
		if len(vals) != len(lens) {
			return nil, false
		}
		if len(vals) == 0 {
			break
		}
		lens = lens[:len(vals)]
		for i, u := range vals {
			k := lens[i]
			if k >= uint64(len(dst)) {
				return nil, false
			}
			run := dst[:k+1]
			if len(run) > 64 {
				fill(run, lo+T(u))
			} else {
				x := lo + T(u)
				for j := range run {
					run[j] = x
				}
			}
			dst = dst[k+1:]
		}
	}
	return s.lens.src, len(dst) == 0 && s.lens.left == 0 && s.values.left == 0 && len(s.values.src) == 0
}

func fillSparse[T word](dst []T, src []byte, lo T) ([]byte, bool) {
	common, src, ok := uvarint(src)
	if !ok {
		return nil, false
	}
	count, src, ok := uvarint(src)
	if !ok || count > uint64(len(dst)) {
		return nil, false
	}
	nested, src, ok := readNested(src)
	if !ok {
		return nil, false
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	fill(dst, lo+T(common))
	s.lens.reset(nested, int(count))
	s.values.reset(src, int(count))
	at := uint64(0) // one past the last exception
	for left := int(count); left > 0; {
		gaps, vals := s.lens.next(), s.values.next()
		if len(gaps) == 0 || len(vals) != len(gaps) {
			return nil, false
		}
		vals = vals[:len(gaps)]
		for i, gap := range gaps {
			if gap >= uint64(len(dst))-at {
				return nil, false
			}
			at += gap
			dst[at] = lo + T(vals[i])
			at++
		}
		left -= len(gaps)
	}
	return s.values.src, len(s.lens.src) == 0
}

func fillDict[T word](dst []T, src []byte, lo T) ([]byte, bool) {
	size, src, ok := uvarint(src)
	if !ok || size == 0 || size > maxDict {
		return nil, false
	}
	nested, src, ok := readNested(src)
	if !ok {
		return nil, false
	}
	rest, ok := decodeBlocks(dst, src, 0)
	if !ok {
		return nil, false
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	dict := &s.decodeDict
	if tail, ok := decodeBlocks(dict[:size], nested, uint64(lo)); !ok || len(tail) != 0 {
		return nil, false
	}
	var top uint64
	for i, c := range dst {
		top = max(top, uint64(c))
		dst[i] = T(dict[c&(maxDict-1)])
	}
	return rest, top < size
}

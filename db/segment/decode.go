package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/parquet-go/bitpack"
	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Decoders of page values. Each yields exactly the values it is asked for or an error, whatever the bytes, and takes
// nothing from the heap. src must be followed by padding bytes within its capacity, which the unpacking kernels read.

// padding is what the kernels of package bitpack may read past the end of their input.
const padding = bitpack.PaddingInt64

var errValues = errors.New("values are malformed")

// deltaHeader is the beginning of n values as the writer makes it: what follows, and the first value.
func deltaHeader[T int32 | int64 | uint32](src []byte, n int) ([]byte, T, error) {
	size, n1 := binary.Uvarint(src)
	minis, n2 := binary.Uvarint(src[max(n1, 0):])
	if n1 <= 0 || n2 <= 0 || size != 128 || minis != 4 {
		return nil, 0, fmt.Errorf("%w: delta blocks of %d values in %d parts", errValues, size, minis)
	}
	src = src[n1+n2:]
	total, n1 := binary.Uvarint(src)
	first, n2 := binary.Varint(src[max(n1, 0):])
	if n1 <= 0 || n2 <= 0 || total != uint64(n) {
		return nil, 0, fmt.Errorf("%w: %d delta values instead of %d", errValues, total, n)
	}
	return src[n1+n2:], T(first), nil
}

// decodeDelta is DELTA_BINARY_PACKED of len(dst) values, in the block shape that the writer uses; it returns what follows.
func decodeDelta[T int32 | int64 | uint32](dst []T, src []byte) ([]byte, error) {
	src, last, err := deltaHeader[T](src, len(dst))
	if err != nil || len(dst) == 0 {
		return src, err
	}
	dst[0] = last
	dst = dst[1:]
	for len(dst) > 0 {
		step, n := binary.Varint(src)
		if n <= 0 || len(src) < n+4 {
			return nil, errValues
		}
		widths := [4]byte(src[n:])
		src = src[n+4:]
		if widths == [4]byte{} { // equal steps, none within a run of equal values
			last = fillSteps(dst[:min(128, len(dst))], last, T(step))
			dst = dst[min(128, len(dst)):]
			continue
		}
		var err error
		if src, err = unpackBlock(dst[:min(128, len(dst))], src, widths); err != nil {
			return nil, err
		}
		block := dst[:min(128, len(dst))]
		add := T(step)
		for i, d := range block {
			last += d + add
			block[i] = last
		}
		dst = dst[len(block):]
	}
	return src, nil
}

// fillSteps fills block with last+step, last+2*step and so on, and returns the last one.
func fillSteps[T int32 | int64 | uint32](block []T, last, step T) T {
	for i := range block {
		last += step
		block[i] = last
	}
	return last
}

// decodeDelta32 is decodeDelta of 32-bit values, which wrap, into wider ones.
func decodeDelta32(dst []int64, src []byte) error {
	src, last, err := deltaHeader[int32](src, len(dst))
	if err != nil || len(dst) == 0 {
		return err
	}
	dst[0] = int64(last)
	dst = dst[1:]
	var unpacked [128]int32
	for len(dst) > 0 {
		step, n := binary.Varint(src)
		if n <= 0 || len(src) < n+4 {
			return errValues
		}
		widths := [4]byte(src[n:])
		src = src[n+4:]
		block := dst[:min(128, len(dst))]
		dst = dst[len(block):]
		add := int32(step)
		if widths == [4]byte{} {
			for i := range block {
				last += add
				block[i] = int64(last)
			}
			continue
		}
		if src, err = unpackBlock(unpacked[:len(block)], src, widths); err != nil {
			return err
		}
		for i, d := range unpacked[:len(block)] {
			last += d + add
			block[i] = int64(last)
		}
	}
	return nil
}

// unpackBlock unpacks up to 128 differences, of which each 32 have a width.
func unpackBlock[T int32 | int64 | uint32](block []T, src []byte, widths [4]byte) ([]byte, error) {
	top := uint(32)
	if T(1)<<(top&63) != 0 {
		top = 64
	}
	if w := uint(widths[0]); len(block) == 128 && widths == [4]byte{widths[0], widths[0], widths[0], widths[0]} {
		switch n := int(16 * w); {
		case w > top || n > len(src):
			return nil, errValues
		case w == 0:
			clear(block)
		default:
			bitpack.Unpack(block, src, w)
			src = src[n:]
		}
		return src, nil
	}
	for _, width := range widths {
		k := min(32, len(block))
		if k == 0 {
			break
		}
		w := uint(width)
		n := int(4 * w)
		if w > top || n > len(src) {
			return nil, errValues
		}
		if w == 0 {
			clear(block[:k])
		} else {
			bitpack.Unpack(block[:k], src, w)
		}
		src, block = src[n:], block[k:]
	}
	return src, nil
}

// decodeCodes is RLE_DICTIONARY: a width, then runs and bit-packed groups. Every code is below limit.
func decodeCodes(dst []uint32, src []byte, limit uint32) error {
	if len(src) == 0 {
		return errValues
	}
	width := uint(src[0])
	if src = src[1:]; width > 32 {
		return fmt.Errorf("%w: codes of %d bits", errValues, width)
	}
	size := (int(width) + 7) / 8
	var top uint32
	for len(dst) > 0 {
		head, n := binary.Uvarint(src)
		if n <= 0 || head>>1 == 0 || head>>1 > math.MaxInt32 {
			return fmt.Errorf("%w: run of codes", errValues)
		}
		src = src[n:]
		count := int(head >> 1)
		if head&1 == 0 {
			if len(src) < size {
				return errValues
			}
			var v uint32
			for i := range size {
				v |= uint32(src[i]) << (8 * i)
			}
			src = src[size:]
			count = min(count, len(dst))
			run := dst[:count]
			for i := range run {
				run[i] = v
			}
			top = max(top, v)
			dst = dst[count:]
			continue
		}
		if uint64(count)*uint64(width) > uint64(len(src)) {
			return errValues
		}
		k := min(8*count, len(dst))
		run := dst[:k]
		if width == 0 {
			clear(run)
		} else {
			bitpack.Unpack(run, src, width)
			for _, c := range run {
				top = max(top, c)
			}
		}
		src, dst = src[count*int(width):], dst[k:]
	}
	if top >= limit {
		return fmt.Errorf("%w: code %d of a dictionary of %d", errValues, top, limit)
	}
	return nil
}

// decodeLevels is runs of one-bit levels for n rows; dst is cleared first.
func decodeLevels(dst batch.Bitmap, src []byte, n int) error {
	clear(dst)
	for i := 0; i < n; {
		head, k := binary.Uvarint(src)
		if k <= 0 || head>>1 == 0 || head>>1 > math.MaxInt32 {
			return fmt.Errorf("%w: run of levels", errValues)
		}
		src = src[k:]
		count := int(head >> 1)
		if head&1 == 0 {
			if len(src) == 0 || src[0] > 1 {
				return fmt.Errorf("%w: level", errValues)
			}
			count = min(count, n-i)
			if src[0] == 1 {
				setBits(dst, i, count)
			}
			src = src[1:]
			i += count
			continue
		}
		if count > len(src) {
			return fmt.Errorf("%w: run of levels", errValues)
		}
		for _, b := range src[:count] {
			left := n - i
			if left <= 0 {
				break
			}
			if left < 8 {
				b &= 1<<left - 1
			}
			dst[i>>6] |= uint64(b) << (uint(i) & 63)
			if s := uint(i) & 63; s > 56 && i>>6+1 < len(dst) {
				dst[i>>6+1] |= uint64(b) >> (64 - s)
			}
			i += min(8, left)
		}
		src = src[count:]
	}
	return nil
}

func setBits(dst batch.Bitmap, from, n int) {
	for i := from; i < from+n; {
		if i&63 == 0 && from+n-i >= 64 {
			dst[i>>6] = ^uint64(0)
			i += 64
			continue
		}
		dst.Set(i)
		i++
	}
}

// decodeBooleans is the RLE of BOOLEAN: a length, then runs of bits.
func decodeBooleans(dst []int64, bitmap batch.Bitmap, src []byte) error {
	if len(src) < 4 || uint64(binary.LittleEndian.Uint32(src)) > uint64(len(src)-4) {
		return errValues
	}
	if err := decodeLevels(bitmap, src[4:4+binary.LittleEndian.Uint32(src)], len(dst)); err != nil {
		return err
	}
	for i := range dst {
		dst[i] = int64(bitmap[i>>6] >> (uint(i) & 63) & 1)
	}
	return nil
}

func decodeFloats(dst []float64, src []byte, enc uint8) error {
	if len(src) != 8*len(dst) {
		return fmt.Errorf("%w: %d bytes of %d doubles", errValues, len(src), len(dst))
	}
	if enc == encByteSplit {
		_, err := new(bytestreamsplit.Encoding).DecodeDouble(dst, src)
		return err
	}
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
	return nil
}

// planesUsed is how many planes of a page of split numbers are looked at; -1 where that is not known or it is no such page.
func planesUsed(p *pageMeta, t schema.Type) int {
	switch {
	case p.enc != encByteSplit || p.flags&pageRange == 0 || t.Physical() != schema.Int64 || t == schema.Boolean:
		return -1
	case t == schema.Integer:
		return min(4, planesOf(p.min, p.max))
	}
	return planesOf(p.min, p.max)
}

// decodePlanes is BYTE_STREAM_SPLIT of numbers: the lowest byte of all values, then the second, and so on. Bytes that the
// page's range says to be the same in all values are not looked at.
func decodePlanes(dst []int64, src []byte, t schema.Type, p *pageMeta) error {
	n, width := len(dst), 8
	if t == schema.Integer {
		width = 4
	}
	planes, fixed := width, int64(0)
	if used := planesUsed(p, t); used >= 0 {
		planes = used
	}
	if len(src) != width*n && len(src) != planes*n {
		return fmt.Errorf("%w: %d bytes of %d numbers", errValues, len(src), n)
	}
	if p.flags&pageRange != 0 {
		fixed = p.min >> (8 * uint(planes) & 63) << (8 * uint(planes) & 63)
	}
	if planes == 8 {
		fixed = 0
	} else if width == 4 && planes == 4 {
		joinPlanes(dst, src[:4*n], 0)
		for i, x := range dst {
			dst[i] = int64(int32(x))
		}
		return nil
	}
	joinPlanes(dst, src[:planes*n], fixed)
	return nil
}

// joinPlanes puts numbers together from the planes in src, up to two at a time, and the bits of fixed above them.
func joinPlanes(dst []int64, src []byte, fixed int64) {
	n := len(dst)
	if n == 0 {
		return
	}
	planes := len(src) / n
	switch planes {
	case 0:
		for i := range dst {
			dst[i] = fixed
		}
		return
	case 1:
		for i, b := range src[:n] {
			dst[i] = fixed | int64(b)
		}
		return
	case 2:
		a, b := src[:n], src[n:2*n]
		for i := range dst {
			dst[i] = fixed | int64(a[i]) | int64(b[i])<<8
		}
		return
	}
	a, b, c := src[:n], src[n:2*n], src[2*n:3*n]
	for i := range dst {
		dst[i] = fixed | int64(a[i]) | int64(b[i])<<8 | int64(c[i])<<16
	}
	for p := 3; p < planes; p++ {
		shift := uint(8*p) & 63
		for i, x := range src[p*n : (p+1)*n] {
			dst[i] |= int64(x) << shift
		}
	}
}

// decodeLengths is DELTA_LENGTH_BYTE_ARRAY of n values: their ends within data. lens is scratch of n values.
func decodeLengths(ends []uint32, lens []int32, src []byte) (data []byte, err error) {
	if data, err = decodeDelta(lens, src); err != nil {
		return nil, err
	}
	sum := uint64(0)
	for i, n := range lens {
		if sum += uint64(uint32(n)); n < 0 || sum > uint64(len(data)) {
			return nil, fmt.Errorf("%w: length %d of value %d", errValues, n, i)
		}
		ends[i] = uint32(sum)
	}
	return data[:sum], nil
}

package enc

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// BitmapWords is the number of 64-bit words that hold n bits.
func BitmapWords(n int) int { return (n + 63) / 64 }

// AppendBools appends v as a bit column.
func AppendBools(dst []byte, v []bool) []byte {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	words := slices.Grow(s.scaled[:0], BitmapWords(len(v)))[:BitmapWords(len(v))]
	s.scaled = words
	clear(words)
	for i, b := range v {
		if b {
			words[i>>6] |= 1 << (i & 63)
		}
	}
	return appendBitmap(dst, words, len(v), s)
}

// AppendBitmap appends the first n bits of words as a bit column: bit i is bit i%64 of words[i/64]. Bits from n on are
// ignored. It panics when words holds fewer than n bits.
func AppendBitmap(dst []byte, words []uint64, n int) []byte {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	return appendBitmap(dst, words[:BitmapWords(n)], n, s)
}

func appendBitmap(dst []byte, words []uint64, n int, s *scratch) []byte {
	if n <= 0 {
		return dst
	}
	ones, flips := countBits(words, n)
	switch ones {
	case 0:
		return append(dst, codecAllFalse)
	case n:
		return append(dst, codecAllTrue)
	}
	size := (n + 7) / 8
	if (flips+1)*(bits.Len(uint(n/(flips+1)))+1)/8+4 < size {
		at := len(dst)
		if dst = appendBitRuns(dst, words, n, s); len(dst)-at <= size {
			return dst
		}
		dst = dst[:at]
	}
	dst = append(dst, codecBitmap)
	for i, w := range words {
		if i == len(words)-1 && n&63 != 0 {
			w &= 1<<(n&63) - 1
			for k := 0; k < (n&63+7)/8; k++ {
				dst = append(dst, byte(w>>(8*k)))
			}
			break
		}
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}

// countBits counts the ones, and the places where a bit differs from the one before it (the first from 0).
func countBits(words []uint64, n int) (ones, flips int) {
	carry := uint64(0)
	for i, w := range words {
		mask := ^uint64(0)
		if i == len(words)-1 && n&63 != 0 {
			mask = 1<<(n&63) - 1
		}
		ones += bits.OnesCount64(w & mask)
		flips += bits.OnesCount64((w ^ (w<<1 | carry)) & mask)
		carry = w >> 63
	}
	return ones, flips
}

func appendBitRuns(dst []byte, words []uint64, n int, s *scratch) []byte {
	runs := s.a[:0]
	start := 0
	carry := uint64(0)
	for i, w := range words {
		change := w ^ (w<<1 | carry)
		carry = w >> 63
		for change != 0 {
			at := i*64 + bits.TrailingZeros64(change)
			if at >= n {
				break
			}
			runs = append(runs, uint64(at-start))
			start = at
			change &= change - 1
		}
	}
	runs = append(runs, uint64(n-start))
	s.a = runs
	dst = binary.AppendUvarint(append(dst, codecBitRuns), uint64(len(runs)))
	return appendBlocks(dst, runs, &s.blocks, false)
}

// DecodeBools appends the n values of the bit column at the head of src to dst and returns what follows the column.
func DecodeBools(dst []bool, src []byte, n int) (vals []bool, rest []byte, err error) {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	words, rest, err := DecodeBitmap(s.scaled[:0], src, n)
	s.scaled = words[:0]
	if err != nil {
		return dst, src, err
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	for i := range dst[at:] {
		dst[at+i] = words[i>>6]>>(i&63)&1 != 0
	}
	return dst, rest, nil
}

// DecodeBitmap appends BitmapWords(n) words with the n values of the bit column at the head of src to dst and returns what
// follows the column. Unused bits are 0.
func DecodeBitmap(dst []uint64, src []byte, n int) (words []uint64, rest []byte, err error) {
	if n <= 0 {
		if n < 0 {
			return dst, src, corrupt("negative length")
		}
		return dst, src, nil
	}
	if len(src) == 0 {
		return dst, src, corrupt("no codec")
	}
	at, count := len(dst), BitmapWords(n)
	out := slices.Grow(dst, count)[:at+count]
	w := out[at:]
	clear(w)
	rest = src[1:]
	switch src[0] {
	case codecAllFalse:
	case codecAllTrue:
		setBits(w, 0, n)
	case codecBitmap:
		size := (n + 7) / 8
		if len(rest) < size {
			return dst, src, corrupt("bitmap")
		}
		for i := 0; i < n/64; i++ {
			w[i] = binary.LittleEndian.Uint64(rest[i*8:])
		}
		for i := n / 64 * 8; i < size; i++ {
			w[i/8] |= uint64(rest[i]) << (i & 7 * 8)
		}
		if n&63 != 0 {
			w[count-1] &= 1<<(n&63) - 1
		}
		rest = rest[size:]
	case codecBitRuns:
		var ok bool
		if rest, ok = fillBitRuns(w, rest, n); !ok {
			return dst, src, corrupt("bit runs")
		}
	default:
		return dst, src, corrupt("unknown bit codec")
	}
	return out, rest, nil
}

func fillBitRuns(w []uint64, src []byte, n int) ([]byte, bool) {
	runs, src, ok := uvarint(src)
	if !ok || runs == 0 || runs > uint64(n)+1 {
		return nil, false
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	s.lens.reset(src, int(runs))
	at := 0
	for i := uint64(0); i < runs; i++ {
		k, ok := s.lens.one()
		if !ok || k > uint64(n-at) {
			return nil, false
		}
		if i&1 == 1 {
			setBits(w, at, at+int(k))
		}
		at += int(k)
	}
	return s.lens.src, at == n
}

// setBits sets bits [from, to).
func setBits(w []uint64, from, to int) {
	if from >= to {
		return
	}
	first, last := from>>6, (to-1)>>6
	head := ^uint64(0) << (from & 63)
	tail := ^uint64(0) >> (63 - (to-1)&63)
	if first == last {
		w[first] |= head & tail
		return
	}
	w[first] |= head
	for i := first + 1; i < last; i++ {
		w[i] = ^uint64(0)
	}
	w[last] |= tail
}

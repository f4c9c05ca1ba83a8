package enc

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// word is what the kernels unpack into.
type word interface{ uint32 | int64 | uint64 }

// maxPacked is the widest value that one unaligned 8-byte load holds at any bit offset; wider ones take 64 bits.
const (
	maxPacked  = 57
	code64     = 58 // width code that stands for 64 bits
	maxTailBuf = 64 + 8
)

// widthOf is the number of bits that x is packed in: 0..57 or 64.
func widthOf(x uint64) uint8 {
	w := uint8(bits.Len64(x))
	if w > maxPacked {
		return 64
	}
	return w
}

func widthCode(w uint8) byte {
	if w == 64 {
		return code64
	}
	return w
}

// codeWidth is the inverse of widthCode; ok is false for codes that no writer emits.
func codeWidth(c byte) (w uint8, ok bool) {
	if c == code64 {
		return 64, true
	}
	return c, c <= maxPacked
}

// packedLen is the number of bytes that n values of w bits take.
func packedLen(n int, w uint8) int { return (n*int(w) + 7) / 8 }

// appendPacked appends the low w bits of every value less base.
func appendPacked(dst []byte, src []uint64, w uint8, base uint64) []byte {
	if w == 0 {
		return dst
	}
	if w == 64 {
		for _, v := range src {
			dst = binary.LittleEndian.AppendUint64(dst, v-base)
		}
		return dst
	}
	at, size := len(dst), packedLen(len(src), w)
	dst = slices.Grow(dst, (len(src)+7)/8*int(w)+8)
	room := dst[at:cap(dst)]
	full := len(src) &^ 7
	packGroups(room, src[:full], w, base)
	if full < len(src) {
		var last [8]uint64
		copy(last[:], src[full:])
		packGroups(room[full/8*int(w):], last[:], w, base)
	}
	return dst[:at+size]
}

// unpackBits fills dst with values of w bits, each plus base. src must hold packedLen(len(dst), w) bytes; it may go on
// after them, which spares the careful path for the last groups.
func unpackBits[T word](dst []T, src []byte, w uint8, base T) {
	switch w {
	case 0:
		fill(dst, base)
		return
	case 64:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint64(src)) + base
			src = src[8:]
		}
		return
	}
	n := unpackGroups(dst, src, w, base)
	dst, src = dst[n:], src[n/8*int(w):]
	for len(dst) > 0 {
		var buf [maxTailBuf]byte
		var vals [8]T
		copy(buf[:], src)
		unpackGroups(vals[:], buf[:], w, base)
		dst = dst[copy(dst, vals[:]):]
		src = src[min(int(w), len(src)):]
	}
}

// fill sets every element to v, in doubling copies.
func fill[T word](dst []T, v T) {
	if len(dst) == 0 {
		return
	}
	if v == 0 {
		clear(dst)
		return
	}
	head := min(len(dst), 32)
	for i := range dst[:head] {
		dst[i] = v
	}
	for done := head; done < len(dst); done *= 2 {
		copy(dst[done:], dst[:done])
	}
}

// uvarint reads an unsigned varint and returns what follows; ok is false when there is none.
func uvarint(src []byte) (v uint64, rest []byte, ok bool) {
	if len(src) > 0 && src[0] < 0x80 {
		return uint64(src[0]), src[1:], true
	}
	v, n := binary.Uvarint(src)
	if n <= 0 {
		return 0, nil, false
	}
	return v, src[n:], true
}

// varint is uvarint for zigzag values.
func varint(src []byte) (v int64, rest []byte, ok bool) {
	u, rest, ok := uvarint(src)
	return int64(u>>1) ^ -int64(u&1), rest, ok
}

// uvarintLen is the number of bytes of the varint of v.
func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

package enc

import (
	"encoding/binary"
	"math/bits"
)

// blockLen is the number of values in a group: small enough for its buffers to stay in the L1 cache.
const blockLen = 1024

// Bits of a group's head byte.
const (
	headWidth   = 0x3f
	headDelta   = 0x40
	headPatched = 0x80
)

// posBits is the width of a patched position: blockLen positions.
const posBits = 10

// blockBuf is what encoding one group needs.
type blockBuf struct {
	r, pos, high [blockLen]uint64
}

// blockRange is the smallest and the largest value of a group.
type blockRange struct{ lo, hi uint64 }

// unsignedRange and signedRange read a group, which is not empty, in two lanes that do not wait for each other.
func unsignedRange(u []uint64) blockRange {
	l0, h0 := u[0], u[0]
	l1, h1 := l0, h0
	i := 0
	for ; i+4 <= len(u); i += 4 {
		v := (*[4]uint64)(u[i:])
		l0, h0 = min(l0, v[0]), max(h0, v[0])
		l1, h1 = min(l1, v[1]), max(h1, v[1])
		l0, h0 = min(l0, v[2]), max(h0, v[2])
		l1, h1 = min(l1, v[3]), max(h1, v[3])
	}
	for _, x := range u[i:] {
		l0, h0 = min(l0, x), max(h0, x)
	}
	return blockRange{min(l0, l1), max(h0, h1)}
}

func signedRange(u []uint64) blockRange {
	l0, h0 := int64(u[0]), int64(u[0])
	l1, h1 := l0, h0
	i := 0
	for ; i+4 <= len(u); i += 4 {
		v := (*[4]uint64)(u[i:])
		l0, h0 = min(l0, int64(v[0])), max(h0, int64(v[0]))
		l1, h1 = min(l1, int64(v[1])), max(h1, int64(v[1]))
		l0, h0 = min(l0, int64(v[2])), max(h0, int64(v[2]))
		l1, h1 = min(l1, int64(v[3])), max(h1, int64(v[3]))
	}
	for _, x := range u[i:] {
		l0, h0 = min(l0, int64(x)), max(h0, int64(x))
	}
	return blockRange{uint64(min(l0, l1)), uint64(max(h0, h1))}
}

// appendBlocks appends u as groups. try says whether differences are worth a look.
func appendBlocks(dst []byte, u []uint64, b *blockBuf, try bool) []byte {
	for len(u) > 0 {
		k := min(len(u), blockLen)
		r := unsignedRange(u[:k])
		dst = appendBlock(dst, u[:k], r, 0, b, try)
		u = u[k:]
	}
	return dst
}

// appendGroups is appendBlocks of u less base, where the ranges of the groups are known.
func appendGroups(dst []byte, u []uint64, ranges []blockRange, base uint64, b *blockBuf, try bool) []byte {
	for _, r := range ranges {
		k := min(len(u), blockLen)
		dst = appendBlock(dst, u[:k], r, base, b, try)
		u = u[k:]
	}
	return dst
}

// appendBlock appends one group of 1..blockLen values in the given range, each less base.
func appendBlock(dst []byte, u []uint64, in blockRange, base uint64, b *blockBuf, try bool) []byte {
	w, lo := widthOf(in.hi-in.lo), in.lo-base
	if !try || w == 0 || len(u) < 2 {
		return appendResiduals(dst, u, 0, w, lo, in.lo, b)
	}
	r := b.r[:len(u)-1]
	prev := u[0]
	dlo, dhi := int64(u[1]-prev), int64(u[1]-prev)
	for i, x := range u[1:] {
		d := int64(x - prev)
		r[i] = uint64(d)
		dlo, dhi = min(dlo, d), max(dhi, d)
		prev = x
	}
	wd := widthOf(uint64(dhi) - uint64(dlo))
	first := u[0] - base
	cost := len(u)*int(w) + 8*uvarintLen(lo)
	costDelta := len(r)*int(wd) + 8*uvarintLen(first) + 8*uvarintLen(zigzag(dlo))
	// A rising sequence with one gap is as wide either way, but only its differences can be patched.
	rising := dlo >= 0 && wd <= w && len(u) >= 64
	if costDelta >= cost && !rising {
		return appendResiduals(dst, u, 0, w, lo, in.lo, b)
	}
	return appendResiduals(dst, r, headDelta, wd, first, uint64(dlo), b)
}

// appendResiduals appends a group's head and its packed values, r less sub, at most w bits wide, patching outliers where that
// is smaller. base is the field of that name, sub the step when flags say delta.
func appendResiduals(dst []byte, r []uint64, flags byte, w uint8, base, sub uint64, b *blockBuf) []byte {
	count := 0
	var hw uint8
	if pw := patchWidth(r, sub, w); pw < w {
		count = placesAbove(&b.pos, r, sub, pw)
		var all uint64
		for i, at := range b.pos[:count] {
			h := (r[at] - sub) >> (pw & 63)
			b.high[i] = h
			all |= h
		}
		hw = widthOf(all)
		if len(r)*int(pw)+count*(posBits+int(hw))+32 < len(r)*int(w) {
			w = pw
			flags |= headPatched
		}
	}
	dst = append(dst, flags|widthCode(w))
	dst = binary.AppendUvarint(dst, base)
	if flags&headDelta != 0 {
		dst = binary.AppendVarint(dst, int64(sub))
	}
	dst = appendPacked(dst, r, w, sub)
	if flags&headPatched != 0 {
		dst = binary.AppendUvarint(dst, uint64(count))
		dst = append(dst, widthCode(hw))
		dst = appendPacked(dst, b.pos[:count], posBits, 0)
		dst = appendPacked(dst, b.high[:count], hw, 0)
	}
	return dst
}

// placesAbove fills at with the places of r whose values less sub do not fit into w bits, fewer than 64, and returns how many there are;
// as placesOfOthers does.
//
//go:noinline
func placesAbove(at *[blockLen]uint64, r []uint64, sub uint64, w uint8) (n int) {
	limit := uint64(1) << w
	for i, x := range r {
		at[n&(blockLen-1)] = uint64(i)
		if x-sub >= limit {
			n++
		}
	}
	return n
}

// patchWidth guesses from a sample of r less sub, all at most w bits wide, the width at which packing and patching are cheapest.
func patchWidth(r []uint64, sub uint64, w uint8) uint8 {
	if w < 2 || len(r) < 16 {
		return w
	}
	var hist [65]uint16
	step := max(1, len(r)/128)
	samples := 0
	for i := 0; i < len(r); i += step {
		hist[bits.Len64(r[i]-sub)]++
		samples++
	}
	best, bestCost := w, samples*int(w)
	above := 0
	for pw := min(w, maxPacked+1); pw > 0; pw-- {
		above += int(hist[pw])
		if pw == code64 {
			for x := code64 + 1; x <= 64; x++ {
				above += int(hist[x])
			}
		}
		if cost := samples*int(pw-1) + above*(posBits+int(w-pw)+1); cost < bestCost {
			best, bestCost = pw-1, cost
		}
	}
	return best
}

// decodeBlock fills dst, at most blockLen values, from one group, adding base to each. It returns what follows the group,
// or false when the group is damaged.
func decodeBlock[T word](dst []T, src []byte, base T) (rest []byte, ok bool) {
	if len(src) == 0 {
		return nil, false
	}
	head := src[0]
	w, ok := codeWidth(head & headWidth)
	if !ok {
		return nil, false
	}
	first, src, ok := uvarint(src[1:])
	if !ok {
		return nil, false
	}
	base += T(first)
	r := dst
	add := base
	if head&headDelta != 0 {
		var step int64
		if step, src, ok = varint(src); !ok {
			return nil, false
		}
		dst[0] = base
		r, add = dst[1:], T(step)
	}
	size := packedLen(len(r), w)
	if len(src) < size {
		return nil, false
	}
	unpackBits(r, src, w, add)
	src = src[size:]
	if head&headPatched != 0 {
		if src, ok = patch(r, src, w); !ok {
			return nil, false
		}
	}
	if head&headDelta != 0 {
		acc := base
		for i, d := range r {
			acc += d
			r[i] = acc
		}
	}
	return src, true
}

// patch adds the high parts of the outliers to r, whose values were packed in w bits.
func patch[T word](r []T, src []byte, w uint8) (rest []byte, ok bool) {
	count64, src, ok := uvarint(src)
	if !ok || count64 == 0 || count64 > uint64(len(r)) || len(src) == 0 {
		return nil, false
	}
	hw, ok := codeWidth(src[0])
	src = src[1:]
	count := int(count64)
	posLen, highLen := packedLen(count, posBits), packedLen(count, hw)
	if !ok || len(src) < posLen+highLen {
		return nil, false
	}
	pos, high := src[:posLen], src[posLen:]
	rest = src[posLen+highLen:]
	const step = 64
	for done := 0; done < count; done += step {
		var p [step]uint32
		var h [step]T
		k := min(step, count-done)
		unpackBits(p[:k], pos[done*posBits/8:], posBits, 0)
		unpackBits(h[:k], high[done*int(hw)/8:], hw, 0)
		for i, at := range p[:k] {
			if int(at) >= len(r) {
				return nil, false
			}
			r[at] += h[i] << w
		}
	}
	return rest, true
}

// decodeBlocks fills dst from as many groups as it takes.
func decodeBlocks[T word](dst []T, src []byte, base T) (rest []byte, ok bool) {
	for len(dst) > 0 {
		k := min(len(dst), blockLen)
		if src, ok = decodeBlock(dst[:k], src, base); !ok {
			return nil, false
		}
		dst = dst[k:]
	}
	return src, true
}

// stream reads nested groups one at a time into a buffer of its own.
type stream struct {
	src  []byte
	left int // values not yet unpacked
	at   int // next value of buf to hand out
	have int // values in buf
	buf  [blockLen]uint64
}

func (s *stream) reset(src []byte, n int) { s.src, s.left, s.at, s.have = src, n, 0, 0 }

// next returns the values of the next group, nil when there are no more or the group is damaged.
func (s *stream) next() []uint64 {
	k := min(s.left, blockLen)
	if k == 0 {
		return nil
	}
	rest, ok := decodeBlock(s.buf[:k], s.src, 0)
	if !ok {
		s.left = 0
		return nil
	}
	s.src = rest
	s.left -= k
	s.at, s.have = 0, k
	return s.buf[:k]
}

// one returns the next value.
func (s *stream) one() (uint64, bool) {
	if s.at == s.have && s.next() == nil {
		return 0, false
	}
	v := s.buf[s.at]
	s.at++
	return v, true
}

package segment

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/klauspost/compress/huff0"
)

// Numbers that are stored as BYTE_STREAM_SPLIT lie in the page byte by byte: first the lowest byte of every value, then
// the second, and so on. Each of these planes has a distribution of its own, so the page's zstd frame is built here, with a
// block and a Huffman code for each plane; the library would take all planes of a page as one block with one code. Planes
// that never change are a run of four bytes, and are not even laid out. Any zstd decoder reads the frame.

// planesOf is how many of the low bytes of numbers in [lo, hi] are not the same in all of them.
func planesOf(lo, hi int64) int { return (bits.Len64(uint64(lo)^uint64(hi)) + 7) / 8 }

// split lays out the lowest planes of v one after the other, in a buffer of the encoder.
func (e *encoder) split64(v []int64, planes int) []byte {
	n := len(v)
	e.planes = extend(e.planes, 0, planes*n)
	p := 0
	for ; p+2 <= planes; p += 2 { // two at a time: the loads are shared
		a, b := e.planes[p*n:(p+1)*n], e.planes[(p+1)*n:(p+2)*n]
		shift := uint(8*p) & 63
		for i, x := range v {
			u := uint64(x) >> shift
			a[i], b[i] = byte(u), byte(u>>8)
		}
	}
	if p < planes {
		a, shift := e.planes[p*n:(p+1)*n], uint(8*p)&63
		for i, x := range v {
			a[i] = byte(uint64(x) >> shift)
		}
	}
	return e.planes
}

const (
	zstdMagic      = 0xfd2fb528
	zstdBlockMax   = 128 << 10
	zstdRaw        = 0
	zstdRun        = 1
	zstdCompressed = 2
)

// packPlanes is a zstd frame of width planes of n bytes: those in data, then one constant byte of fixed each (the bytes of
// a value above those in data). The lowest low planes are coded by entropy alone, the others searched for repeats.
func (e *encoder) packPlanes(data []byte, n, width int, fixed uint64, low int) []byte {
	dst := e.pack[:0]
	planes := len(data) / n
	dst = appendFrameHeader(dst, width*n)
	low = min(low, planes)
	for p := range low {
		dst = e.appendPlane(dst, data[p*n:(p+1)*n])
	}
	if low < planes {
		e.runs = e.dense.EncodeAll(data[low*n:], e.runs[:0])
		dst = appendFrameBlocks(dst, e.runs)
	}
	last := len(dst) // of the block that is last so far
	for p := planes; p < width; p++ {
		last = len(dst)
		dst = appendBlockHeader(dst, zstdRun, n)
		dst = append(dst, byte(fixed>>(8*uint(p))))
	}
	if planes == width {
		last = len(dst)
		dst = appendBlockHeader(dst, zstdRaw, 0)
	}
	dst[last] |= 1
	e.pack = dst
	return dst
}

// appendFrameHeader begins a frame of size bytes in one segment, without checksum (the page has one).
func appendFrameHeader(dst []byte, size int) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, zstdMagic)
	dst = append(dst, 2<<6|1<<5) // content size of four bytes, single segment
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

func appendBlockHeader(dst []byte, kind, size int) []byte {
	h := uint32(kind)<<1 | uint32(size)<<3
	return append(dst, byte(h), byte(h>>8), byte(h>>16))
}

// appendFrameBlocks appends the blocks of a frame, none of them marked as the last. Before them there must be none with
// sequences, since they rely on the offsets that a decoder begins with.
func appendFrameBlocks(dst, frame []byte) []byte {
	flags := frame[4]
	head := 5 + [4]int{0, 2, 4, 8}[flags>>6]
	if flags&(1<<5) == 0 {
		head++ // window
	} else if flags>>6 == 0 {
		head++ // content size of one byte
	}
	for blocks := frame[head:]; ; {
		h := uint32(blocks[0]) | uint32(blocks[1])<<8 | uint32(blocks[2])<<16
		size := int(h >> 3)
		if h>>1&3 == zstdRun {
			size = 1
		}
		at := len(dst)
		dst = append(dst, blocks[:3+size]...)
		dst[at] &^= 1
		if h&1 != 0 {
			return dst
		}
		blocks = blocks[3+size:]
	}
}

// appendPlane appends a plane as a block: a run, literals coded by entropy without sequences, or as it is.
func (e *encoder) appendPlane(dst, plane []byte) []byte {
	if len(plane) >= 1024 { // below, four streams and their table do not pay
		e.huff.Reuse = huff0.ReusePolicyNone
		out, _, err := huff0.Compress4X(plane, &e.huff)
		switch {
		case errors.Is(err, huff0.ErrUseRLE):
			return append(appendBlockHeader(dst, zstdRun, len(plane)), plane[0])
		case err == nil && len(out)+6 < len(plane)-len(plane)/64:
			return appendLiterals(dst, out, len(plane))
		}
	}
	return append(appendBlockHeader(dst, zstdRaw, len(plane)), plane...)
}

// appendLiterals appends a block of nothing but Huffman-coded literals, in four streams.
func appendLiterals(dst, coded []byte, size int) []byte {
	const literals, streams = 2, 3 // compressed with a table; four streams, sizes of 18 bits
	dst = appendBlockHeader(dst, zstdCompressed, 5+len(coded)+1)
	h := uint64(literals) | streams<<2 | uint64(size)<<4 | uint64(len(coded))<<22
	dst = append(dst, byte(h), byte(h>>8), byte(h>>16), byte(h>>24), byte(h>>32))
	dst = append(dst, coded...)
	return append(dst, 0) // no sequences
}

// cutPlanes makes a frame of packPlanes for want bytes one of only the lowest planes of n bytes, by changing it where it
// lies: runs of bytes that nobody looks at are not laid out. It is nil, and the frame as it was, where that is not
// possible: a frame of another maker is uncompressed whole.
func cutPlanes(frame []byte, n, planes, want int) []byte {
	const head = 9
	if n <= 0 || planes*n >= want || want != 4*n && want != 8*n || len(frame) < head || frame[4] != 2<<6|1<<5 {
		return nil
	}
	drop := want/n - planes // blocks at the end, each a run of n bytes
	var runs [8]int         // where the last runs begin, as long as no other block follows
	count, prev := 0, -1    // prev is the block before the first of them
	for at := head; ; {
		if at+3 > len(frame) {
			return nil
		}
		h := int(frame[at]) | int(frame[at+1])<<8 | int(frame[at+2])<<16
		size := h >> 3
		if h>>1&3 == zstdRun && size == n {
			if count == drop { // the first of them belongs to what is kept
				prev = runs[0]
				copy(runs[:], runs[1:count])
				count--
			}
			runs[count] = at
			count++
			size = 1
		} else {
			if h>>1&3 == zstdRun {
				size = 1
			}
			count, prev = 0, at
		}
		if at += 3 + size; h&1 != 0 {
			if at != len(frame) {
				return nil
			}
			break
		}
	}
	if count != drop || planes > 0 && prev < 0 {
		return nil
	}
	if planes == 0 {
		return frame[:0]
	}
	frame[prev] |= 1
	binary.LittleEndian.PutUint32(frame[5:], uint32(planes*n))
	return frame[:runs[0]]
}

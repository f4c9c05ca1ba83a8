package enc

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"
)

// Byte strings are packed with s2 when there are enough bytes and it saves enough of them.
const (
	packMin  = 4 << 10 // bytes
	packGain = 10      // smallest saving, percent
)

// AppendBytesList appends len(offsets)-1 byte strings as a column: string i is data[offsets[i]:offsets[i+1]]. Offsets
// must ascend and lie within data; it panics otherwise. Strings in ascending order are front-coded where that pays.
func AppendBytesList(dst, data []byte, offsets []uint32) []byte {
	if len(offsets) < 2 {
		return dst
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	b := bytesScratch(s, len(offsets)-1)
	saved := 0
	var prev []byte
	for i := range b.suffix {
		cur := data[offsets[i]:offsets[i+1]]
		p := 0
		if i > 0 && bytes.Compare(prev, cur) <= 0 {
			p = sharedPrefix(prev, cur)
		}
		b.prefix[i], b.suffix[i] = uint32(p), uint32(len(cur)-p)
		saved += p
		prev = cur
	}
	n := len(b.suffix)
	body := data[offsets[0]:offsets[n]]
	at := len(dst)
	small := len(body) <= MaxListBytes
	if saved > 2*n+len(body)/16 && small {
		s.tmp2 = s.tmp2[:0]
		for i := range b.suffix {
			s.tmp2 = append(s.tmp2, data[offsets[i]+b.prefix[i]:offsets[i+1]]...)
		}
		body = s.tmp2
		dst = append(dst, codecFront)
		dst = appendInts(dst, b.prefix, s, true)
	} else {
		dst = append(dst, codecBytes)
		for i := range b.suffix {
			b.suffix[i] += b.prefix[i]
		}
	}
	dst = appendInts(dst, b.suffix, s, true)
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	if len(body) >= packMin && small {
		if out, ok := appendPackedBytes(dst, body); ok {
			out[at] += codecBytesS2 - codecBytes
			return out
		}
	}
	return append(dst, body...)
}

// lengths are the two length columns of a list under encoding.
type lengths struct{ prefix, suffix []uint32 }

func bytesScratch(s *scratch, n int) lengths {
	s.u32 = slices.Grow(s.u32[:0], 2*n)[:2*n]
	return lengths{prefix: s.u32[:n], suffix: s.u32[n:]}
}

// appendPackedBytes appends the packed length and the s2 block of body, if that is enough smaller.
func appendPackedBytes(dst, body []byte) ([]byte, bool) {
	room := s2.MaxEncodedLen(len(body))
	if room < 0 {
		return dst, false
	}
	at := len(dst)
	// The length stands before the block and is known only afterwards: leave room for the longest and close up.
	dst = slices.Grow(dst, binary.MaxVarintLen64+room)
	block := s2.Encode(dst[at+binary.MaxVarintLen64:at+binary.MaxVarintLen64+room], body)
	if len(block) > len(body)-len(body)*packGain/100 {
		return dst[:at], false
	}
	dst = binary.AppendUvarint(dst, uint64(len(block)))
	return append(dst, block...), true
}

func sharedPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && binary.LittleEndian.Uint64(a[i:]) == binary.LittleEndian.Uint64(b[i:]) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// MaxListBytes bounds what a front-coded or packed list may unpack to; bigger lists are stored plainly, so that decoding
// never takes much more memory than the source.
const MaxListBytes = 256 << 20

// DecodeBytesList appends the n byte strings of the column at the head of src to data and their ends to offsets, and returns
// what follows the column. An empty offsets first gets len(data) as the start; otherwise its last element must be len(data).
// A column that would unpack to more than maxBytes, or whose codec expands to more than MaxListBytes, is refused with
// ErrTooLarge before memory is taken for it.
func DecodeBytesList(data []byte, offsets []uint32, src []byte, n, maxBytes int) (d []byte, o []uint32, rest []byte, err error) {
	if n < 0 {
		return data, offsets, src, corrupt("negative length")
	}
	if n == 0 {
		if len(offsets) == 0 {
			offsets = append(offsets, uint32(len(data)))
		}
		return data, offsets, src, nil
	}
	limit := min(uint64(max(maxBytes, 0)), math.MaxUint32-uint64(len(data)), math.MaxInt)
	d, o, rest, err = decodeBytesList(data, offsets, src, n, limit)
	if err != nil {
		return data, offsets, src, err
	}
	return d, o, rest, nil
}

func decodeBytesList(data []byte, offsets []uint32, src []byte, n int, limit uint64) ([]byte, []uint32, []byte, error) {
	if len(src) == 0 {
		return nil, nil, nil, corrupt("no codec")
	}
	codec := src[0]
	src = src[1:]
	if codec < codecBytes || codec > codecFrontS2 {
		return nil, nil, nil, corrupt("unknown bytes codec")
	}
	front := codec == codecFront || codec == codecFrontS2
	if codec != codecBytes {
		limit = min(limit, MaxListBytes)
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	b := bytesScratch(s, n)
	var err error
	if front {
		if src, err = fillInts(b.prefix, src, true); err != nil {
			return nil, nil, nil, err
		}
	}
	if src, err = fillInts(b.suffix, src, true); err != nil {
		return nil, nil, nil, err
	}
	if !front {
		clear(b.prefix)
	}
	unpacked, stored := uint64(0), uint64(0)
	for i, k := range b.suffix {
		stored += uint64(k)
		unpacked += uint64(k) + uint64(b.prefix[i])
	}
	if unpacked > limit {
		return nil, nil, nil, ErrTooLarge
	}
	total, src, ok := uvarint(src)
	if !ok || total != stored {
		return nil, nil, nil, corrupt("bytes total")
	}
	body, rest, err := readBody(src, int(total), codec >= codecBytesS2, s)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(offsets) == 0 {
		offsets = append(offsets, uint32(len(data)))
	}
	if front {
		return joinFront(data, offsets, b, body, rest, int(unpacked))
	}
	end := uint32(len(data))
	data = append(data, body...)
	offsets = slices.Grow(offsets, n)
	for _, k := range b.suffix {
		end += k
		offsets = append(offsets, end)
	}
	return data, offsets, rest, nil
}

// readBody returns the total bytes of a list, which live in src or in s.
func readBody(src []byte, total int, packed bool, s *scratch) (body, rest []byte, err error) {
	if !packed {
		if total > len(src) {
			return nil, nil, corrupt("bytes cut short")
		}
		return src[:total], src[total:], nil
	}
	block, rest, ok := readNested(src)
	if !ok {
		return nil, nil, corrupt("packed bytes cut short")
	}
	if size, err := s2.DecodedLen(block); err != nil || size != total {
		return nil, nil, corrupt("packed bytes length")
	}
	s.tmp2 = slices.Grow(s.tmp2[:0], total)
	body, err = s2.Decode(s.tmp2[:total], block)
	if err != nil || len(body) != total {
		return nil, nil, corrupt("packed bytes")
	}
	return body, rest, nil
}

// joinFront puts shared prefixes and suffixes together; size is the bytes that this makes.
func joinFront(data []byte, offsets []uint32, b lengths, body, rest []byte, size int) ([]byte, []uint32, []byte, error) {
	data = slices.Grow(data, size)
	offsets = slices.Grow(offsets, len(b.suffix))
	start, prev := len(data), 0 // where the string before this one is, and how long
	for i, k := range b.suffix {
		p := int(b.prefix[i])
		if p > prev {
			return nil, nil, nil, corrupt("shared prefix longer than the string before")
		}
		next := len(data)
		data = append(data, data[start:start+p]...)
		data = append(data, body[:k]...)
		body = body[k:]
		start, prev = next, p+int(k)
		offsets = append(offsets, uint32(len(data)))
	}
	return data, offsets, rest, nil
}

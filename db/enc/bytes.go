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
// must ascend and lie within data; it panics otherwise. Strings in ascending order are front-coded where that pays, and
// those of one length, such as addresses, are packed as numbers.
func AppendBytesList(dst, data []byte, offsets []uint32) []byte {
	if len(offsets) < 2 {
		return dst
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	n := len(offsets) - 1
	body := data[offsets[0]:offsets[n]]
	small := len(body) <= MaxListBytes
	ascending := mostlyAscending(data, offsets)
	if !ascending && small {
		if out, ok := appendFixed(dst, body, offsets, s); ok {
			return out
		}
	}
	b := bytesScratch(s, n)
	saved := 0
	if ascending {
		saved = frontLengths(b, data, offsets)
	} else {
		for i := range b.suffix {
			b.prefix[i], b.suffix[i] = 0, offsets[i+1]-offsets[i]
		}
	}
	at := len(dst)
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

// mostlyAscending looks at some pairs of neighbours.
func mostlyAscending(data []byte, offsets []uint32) bool {
	pairs := len(offsets) - 2
	k := min(pairs, 32)
	falling := 0
	for j := range k {
		i := j * pairs / k
		if bytes.Compare(data[offsets[i]:offsets[i+1]], data[offsets[i+1]:offsets[i+2]]) > 0 {
			falling++
		}
	}
	return falling <= k/4
}

// frontLengths splits every string into what it shares with the one before, where that is not greater, and the rest. It
// returns how many bytes are shared.
func frontLengths(b lengths, data []byte, offsets []uint32) (saved int) {
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
	return saved
}

// maxFixed is the longest string that is packed as numbers, in bytes; fixedMin the fewest strings.
const (
	maxFixed = 64
	fixedMin = 64
)

// appendFixed appends strings that all have one length, a multiple of eight, as columns of big-endian numbers. ok is false
// when they do not, or when that saves little.
func appendFixed(dst, body []byte, offsets []uint32, s *scratch) (out []byte, ok bool) {
	n := len(offsets) - 1
	size := int(offsets[1] - offsets[0])
	if n < fixedMin || size == 0 || size > maxFixed || size%8 != 0 || len(body) != n*size {
		return dst, false
	}
	for i, end := range offsets[1:] {
		if end-offsets[i] != uint32(size) {
			return dst, false
		}
	}
	at := len(dst)
	dst = append(dst, codecFixed, byte(size))
	words := slices.Grow(s.wide[:0], n)[:n]
	s.wide = words
	for k := 0; k < size; k += 8 {
		for i := range words {
			words[i] = binary.BigEndian.Uint64(body[i*size+k:])
		}
		dst = appendBlocks(dst, words, &s.blocks, false)
	}
	if len(dst)-at > len(body)*3/4 {
		return dst[:at], false
	}
	return dst, true
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
	switch {
	case codec == codecFixed:
		return decodeFixed(data, offsets, src, n, limit)
	case codec < codecBytes || codec > codecFrontS2:
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

// decodeFixed is decodeBytesList for strings of one length that were packed as numbers.
func decodeFixed(data []byte, offsets []uint32, src []byte, n int, limit uint64) ([]byte, []uint32, []byte, error) {
	if len(src) == 0 || src[0] == 0 || src[0] > maxFixed || src[0]%8 != 0 {
		return nil, nil, nil, corrupt("length of fixed strings")
	}
	size := int(src[0])
	src = src[1:]
	if uint64(n)*uint64(size) > min(limit, MaxListBytes) {
		return nil, nil, nil, ErrTooLarge
	}
	if len(src) < 2*(size/8)*((n+blockLen-1)/blockLen) {
		return nil, nil, nil, corrupt("fixed strings cut short") // before memory is taken for them
	}
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	words := slices.Grow(s.wide[:0], n)[:n]
	s.wide = words
	at := len(data)
	data = slices.Grow(data, n*size)[:at+n*size]
	body := data[at:]
	for k := 0; k < size; k += 8 {
		var ok bool
		if src, ok = decodeBlocks(words, src, 0); !ok {
			return nil, nil, nil, corrupt("fixed strings")
		}
		for i, w := range words {
			binary.BigEndian.PutUint64(body[i*size+k:], w)
		}
	}
	end := uint32(at)
	if len(offsets) == 0 {
		offsets = append(offsets, end)
	}
	offsets = slices.Grow(offsets, n)
	for range n {
		end += uint32(size)
		offsets = append(offsets, end)
	}
	return data, offsets, src, nil
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

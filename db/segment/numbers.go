package segment

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/parquet-go/bitpack"

	"github.com/flowlake/flowlake/db/schema"
)

// Numbers that stay the same for many rows, as ports do where rows are sorted by server, are stored as RLE_DICTIONARY: a
// run costs its reader a few bytes whatever its length, while a search for repeats lays out every byte of every value.

const (
	// numberEntries bounds a row group's dictionary of numbers; a page that would outgrow it is stored in another way.
	numberEntries = 1024
	numberSlots   = 4 * numberEntries
)

// numberDict gives the numbers of a row group codes, in the order they come.
type numberDict struct {
	values []int64
	slots  []uint16 // by hash: code plus one, 0 is free; numberSlots of them or none
}

func (d *numberDict) reset() {
	if len(d.values) > 0 {
		clear(d.slots)
	}
	d.values = d.values[:0]
}

// code is the code of x, -1 where the dictionary is full.
func (d *numberDict) code(x int64) int32 {
	if d.slots == nil {
		d.slots = make([]uint16, numberSlots)
	}
	for i := uint64(x) * 0x9e3779b97f4a7c15 >> 52; ; i = (i + 1) % numberSlots {
		c := d.slots[i]
		if c == 0 {
			if len(d.values) == numberEntries {
				return -1
			}
			d.values = append(d.values, x)
			d.slots[i] = uint16(len(d.values))
			return int32(len(d.values) - 1)
		}
		if d.values[c-1] == x {
			return int32(c - 1)
		}
	}
}

// truncate forgets all values from number n on.
func (d *numberDict) truncate(n int) {
	if n == len(d.values) {
		return
	}
	d.values = d.values[:n]
	clear(d.slots)
	for c, x := range d.values {
		i := uint64(x) * 0x9e3779b97f4a7c15 >> 52
		for d.slots[i] != 0 {
			i = (i + 1) % numberSlots
		}
		d.slots[i] = uint16(c + 1)
	}
}

// codes are v in codes of the dictionary; false, with the dictionary as it was, where it would outgrow its bound.
func (d *numberDict) codes(dst []int32, v []int64) ([]int32, bool) {
	have := len(d.values)
	dst = extend(dst, 0, len(v))
	last, code := v[0], d.code(v[0])
	for i, x := range v {
		if x != last {
			last, code = x, d.code(x)
		}
		if code < 0 {
			d.truncate(have)
			return dst, false
		}
		dst[i] = code
	}
	return dst, true
}

// asCodes encodes v in codes of the row group's dictionary, if that may be worth it: ok says so.
func (w *columnWriter) asCodes(e *encoder, v []int64) (values []byte, ok bool, err error) {
	if hasBloom(w.col) {
		return nil, false, nil
	}
	have := len(w.numbers.values)
	if w.code, ok = w.numbers.codes(w.code, v); !ok {
		return nil, false, nil
	}
	if values, err = e.codes(w.code[:len(v)]); err != nil {
		return nil, false, fmt.Errorf("column %s: %w", w.col.Name, err)
	}
	if 8*len(values) > codeBits*len(v) {
		w.numbers.truncate(have)
		return nil, false, nil
	}
	return values, true, nil
}

// codeBits is up to how many bits a value may take as a code: past it, entropy codes and searches for repeats are smaller by
// more than reading them costs.
const codeBits = 2

// plainNumbers is PLAIN of numbers.
func (e *encoder) plainNumbers(v []int64, t schema.Type) []byte {
	if t == schema.Integer {
		e.out = extend(e.out, 0, 4*len(v))
		for i, x := range v {
			binary.LittleEndian.PutUint32(e.out[4*i:], uint32(x))
		}
		return e.out
	}
	e.out = extend(e.out, 0, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(e.out[8*i:], uint64(x))
	}
	return e.out
}

// parseNumbers is the n entries of a dictionary of numbers.
func parseNumbers(src []byte, n int, t schema.Type) ([]int64, error) {
	if len(src) < 4*n || t == schema.Boolean {
		return nil, errValues
	}
	values := make([]int64, n)
	return values, decodePlain(values, src, t)
}

// decodePlain is PLAIN of numbers.
func decodePlain(dst []int64, src []byte, t schema.Type) error {
	if t == schema.Integer {
		if len(src) != 4*len(dst) {
			return fmt.Errorf("%w: %d bytes of %d numbers", errValues, len(src), len(dst))
		}
		for i := range dst {
			dst[i] = int64(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
		return nil
	}
	if len(src) != 8*len(dst) {
		return fmt.Errorf("%w: %d bytes of %d numbers", errValues, len(src), len(dst))
	}
	for i := range dst {
		dst[i] = int64(binary.LittleEndian.Uint64(src[8*i:]))
	}
	return nil
}

// decodeNumbers is RLE_DICTIONARY of numbers: as decodeCodes, with the entry of each code.
func decodeNumbers(dst []int64, src []byte, entries []int64) error {
	if len(src) == 0 || len(entries) == 0 {
		return errValues
	}
	width := uint(src[0])
	if src = src[1:]; width > 32 {
		return fmt.Errorf("%w: codes of %d bits", errValues, width)
	}
	size := (int(width) + 7) / 8
	for len(dst) > 0 {
		head, n := binary.Uvarint(src)
		if n <= 0 || head>>1 == 0 || head>>1 > math.MaxInt32 {
			return fmt.Errorf("%w: run of codes", errValues)
		}
		src = src[n:]
		count := int(head >> 1)
		if head&1 != 0 {
			if uint64(count)*uint64(width) > uint64(len(src)) {
				return errValues
			}
			k := min(8*count, len(dst))
			if err := unpackNumbers(dst[:k], src, width, entries); err != nil {
				return err
			}
			src, dst = src[count*int(width):], dst[k:]
			continue
		}
		if len(src) < size {
			return errValues
		}
		var c uint32
		for i := range size {
			c |= uint32(src[i]) << (8 * i)
		}
		if uint64(c) >= uint64(len(entries)) {
			return errCode(c, len(entries))
		}
		src = src[size:]
		run, x := dst[:min(count, len(dst))], entries[c]
		for i := range run {
			run[i] = x
		}
		dst = dst[len(run):]
	}
	return nil
}

func errCode(code uint32, entries int) error {
	return fmt.Errorf("%w: code %d of a dictionary of %d", errValues, code, entries)
}

// unpackNumbers fills dst with the entries of bit-packed codes.
func unpackNumbers(dst []int64, src []byte, width uint, entries []int64) error {
	if width == 0 {
		for i := range dst {
			dst[i] = entries[0]
		}
		return nil
	}
	var codes [256]uint32
	for len(dst) > 0 {
		part := codes[:min(len(codes), len(dst))]
		bitpack.Unpack(part, src, width)
		for i, c := range part {
			if uint64(c) >= uint64(len(entries)) {
				return errCode(c, len(entries))
			}
			dst[i] = entries[c]
		}
		dst = dst[len(part):]
		if len(dst) > 0 {
			src = src[len(codes)/8*int(width):]
		}
	}
	return nil
}

// Package wire reads numbers and byte strings out of foreign bytes. A Reader never panics and never reads past its end:
// what is not there reads as zero and is remembered, so that a parser asks once, at the end, whether all was there.
package wire

import "encoding/binary"

// Reader reads P from Off on. The zero value reads nothing. Byte strings are views of P.
type Reader struct {
	P   []byte
	Off int
	// Short is set by the first read that asks for more than there is; from then on every read is zero.
	Short bool
}

// NewReader returns a Reader of p.
func NewReader(p []byte) Reader { return Reader{P: p} }

// Len is how many bytes are left.
func (r *Reader) Len() int {
	if r.Short {
		return 0
	}
	return len(r.P) - r.Off
}

// OK says that nothing was missing so far.
func (r *Reader) OK() bool { return !r.Short }

// Rest is what is left.
func (r *Reader) Rest() []byte {
	if r.Short {
		return nil
	}
	return r.P[r.Off:]
}

// take moves on by n bytes.
func (r *Reader) take(n int) []byte {
	if r.Short || n < 0 || n > len(r.P)-r.Off {
		r.Short = true
		return nil
	}
	b := r.P[r.Off : r.Off+n : r.Off+n]
	r.Off += n
	return b
}

// Skip passes over n bytes; a negative n is short.
func (r *Reader) Skip(n int) { r.take(n) }

// Bytes is the next n bytes, nil when they are not all there. A negative n is short.
func (r *Reader) Bytes(n int) []byte { return r.take(n) }

// UpTo is the next n bytes, or those that are there: a text that is cut is still worth showing. Unless all were there, the
// Reader is short from then on.
func (r *Reader) UpTo(n int) []byte {
	if r.Short || n < 0 {
		r.Short = true
		return nil
	}
	if have := len(r.P) - r.Off; n > have {
		b := r.take(have)
		r.Short = true
		return b
	}
	return r.take(n)
}

// Peek is the next byte without moving on, 0 at the end.
func (r *Reader) Peek() byte {
	if r.Len() == 0 {
		return 0
	}
	return r.P[r.Off]
}

// U8 reads a byte.
func (r *Reader) U8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads a big-endian number of 2 bytes.
func (r *Reader) U16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// U24 reads a big-endian number of 3 bytes.
func (r *Reader) U24() uint32 {
	if b := r.take(3); b != nil {
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return 0
}

// U32 reads a big-endian number of 4 bytes.
func (r *Reader) U32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// U64 reads a big-endian number of 8 bytes.
func (r *Reader) U64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// U16LE reads a little-endian number of 2 bytes.
func (r *Reader) U16LE() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U24LE reads a little-endian number of 3 bytes.
func (r *Reader) U24LE() uint32 {
	if b := r.take(3); b != nil {
		return uint32(b[2])<<16 | uint32(b[1])<<8 | uint32(b[0])
	}
	return 0
}

// U32LE reads a little-endian number of 4 bytes.
func (r *Reader) U32LE() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64LE reads a little-endian number of 8 bytes.
func (r *Reader) U64LE() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads a number in groups of 7 bits, the lowest first (protobuf's varint, Kafka's unsigned varint); one of more
// than 64 bits is short.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest())
	if n <= 0 {
		r.Short = true
		return 0
	}
	r.Off += n
	return v
}

// Varint reads a zig-zag number in groups of 7 bits.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Rest())
	if n <= 0 {
		r.Short = true
		return 0
	}
	r.Off += n
	return v
}

// CString reads up to the next zero byte and passes over it; without one it is short and returns what is there.
func (r *Reader) CString() []byte {
	rest := r.Rest()
	for i, b := range rest {
		if b == 0 {
			r.Off += i + 1
			return rest[:i:i]
		}
	}
	r.Short = true
	return rest
}

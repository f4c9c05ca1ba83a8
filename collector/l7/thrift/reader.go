package thrift

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// Types of a value in the binary protocol (doc/specs/thrift-binary-protocol.md).
const (
	binaryStop   = 0
	binaryBool   = 2
	binaryByte   = 3
	binaryDouble = 4
	binaryI16    = 6
	binaryI32    = 8
	binaryI64    = 10
	binaryText   = 11
	binaryStruct = 12
	binaryMap    = 13
	binarySet    = 14
	binaryList   = 15
	binaryUUID   = 16
)

// Types of a value in the compact protocol (doc/specs/thrift-compact-protocol.md).
const (
	compactTrue   = 1
	compactFalse  = 2
	compactByte   = 3
	compactI16    = 4
	compactI32    = 5
	compactI64    = 6
	compactDouble = 7
	compactText   = 8
	compactList   = 9
	compactSet    = 10
	compactMap    = 11
	compactStruct = 12
	compactUUID   = 13
)

// reader reads values in either protocol.
type reader struct {
	wire.Reader
	compact bool
	bad     bool // not short, but wrong
}

func (r *reader) structType() uint8 { return binaryStruct } // the same in both

func (r *reader) textType() uint8 {
	if r.compact {
		return compactText
	}
	return binaryText
}

func (r *reader) intType() uint8 {
	if r.compact {
		return compactI32
	}
	return binaryI32
}

// varint reads a number of at most most bytes of 7 bits.
func (r *reader) varint(most int) uint64 {
	rest := r.Rest()
	v, n := binary.Uvarint(rest[:min(len(rest), most)])
	switch {
	case n > 0:
		r.Off += n
		return v
	case len(rest) >= most || n < 0:
		r.bad = true
	}
	r.Short = true
	return 0
}

// int reads an i32.
func (r *reader) int() int32 {
	if r.compact {
		v := r.varint(5)
		return int32(uint32(v>>1) ^ -uint32(v&1))
	}
	return int32(r.U32())
}

// text reads a string.
func (r *reader) text() []byte {
	n := int64(0)
	if r.compact {
		n = int64(r.varint(5))
	} else {
		n = int64(int32(r.U32()))
	}
	if n < 0 || n > int64(r.Len()) {
		r.Short = true
		return nil
	}
	return r.Bytes(int(n))
}

// beginsStruct says whether the next byte can begin a structure.
func (r *reader) beginsStruct() bool {
	b := r.Peek()
	if r.compact {
		return b == 0 || b&15 >= compactTrue && b&15 <= compactUUID
	}
	switch b {
	case binaryStop, binaryBool, binaryByte, binaryDouble, binaryI16, binaryI32, binaryI64, binaryText, binaryStruct, binaryMap, binarySet, binaryList, binaryUUID:
		return true
	}
	return false
}

// field reads the head of a field; ok is false at the end of the structure. last is the number of the field before it.
func (r *reader) field(last *int16) (typ uint8, id int16, ok bool) {
	b := r.U8()
	if b == 0 {
		return 0, 0, false
	}
	if !r.compact {
		id = int16(r.U16())
		return b, id, r.OK()
	}
	if delta := int16(b >> 4); delta > 0 {
		id = *last + delta
	} else {
		v := r.varint(3)
		id = int16(uint16(v>>1) ^ -uint16(v&1))
	}
	*last = id
	return b & 15, id, r.OK()
}

// skip passes over a value of the type.
func (r *reader) skip(typ uint8, depth int) {
	if depth > maxDepth {
		r.Short = true
	}
	if !r.OK() {
		return
	}
	switch {
	case typ == binaryStruct:
		var last int16
		for typ, _, ok := r.field(&last); ok; typ, _, ok = r.field(&last) {
			r.skip(typ, depth+1)
		}
	case r.compact:
		r.skipCompact(typ, depth)
	default:
		r.skipBinary(typ, depth)
	}
}

func (r *reader) skipBinary(typ uint8, depth int) {
	switch typ {
	case binaryBool, binaryByte:
		r.Skip(1)
	case binaryI16:
		r.Skip(2)
	case binaryI32:
		r.Skip(4)
	case binaryI64, binaryDouble:
		r.Skip(8)
	case binaryUUID:
		r.Skip(16)
	case binaryText:
		r.text()
	case binaryMap:
		key, value := r.U8(), r.U8()
		r.elements(int64(int32(r.U32())), key, value, depth)
	case binarySet, binaryList:
		value := r.U8()
		r.elements(int64(int32(r.U32())), 0, value, depth)
	default:
		r.Short = true
	}
}

func (r *reader) skipCompact(typ uint8, depth int) {
	switch typ {
	case compactTrue, compactFalse: // the type is the value
	case compactByte:
		r.Skip(1)
	case compactI16, compactI32, compactI64:
		r.varint(10)
	case compactDouble:
		r.Skip(8)
	case compactUUID:
		r.Skip(16)
	case compactText:
		r.text()
	case compactList, compactSet:
		b := r.U8()
		n := int64(b >> 4)
		if n == 15 {
			n = int64(r.varint(5))
		}
		r.elements(n, 0, b&15, depth)
	case compactMap:
		n := int64(r.varint(5))
		if n > 0 {
			b := r.U8()
			r.elements(n, b>>4, b&15, depth)
		}
	default:
		r.Short = true
	}
}

// elements passes over n values, or pairs of a key and a value; key is 0 without. Each value takes a byte at least.
func (r *reader) elements(n int64, key, value uint8, depth int) {
	if n < 0 || n > int64(r.Len()) {
		r.Short = true
		return
	}
	for ; n > 0 && r.OK(); n-- {
		if key != 0 {
			r.element(key, depth+1)
		}
		r.element(value, depth+1)
	}
}

// element passes over a value in a collection, where a bool of the compact protocol takes a byte.
func (r *reader) element(typ uint8, depth int) {
	if r.compact && (typ == compactTrue || typ == compactFalse) {
		r.Skip(1)
		return
	}
	r.skip(typ, depth)
}

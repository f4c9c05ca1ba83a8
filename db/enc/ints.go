package enc

// Codec bytes; docs/format/columns.md has their bodies.
const (
	codecConst     = 0x10
	codecLinear    = 0x11
	codecBlocks    = 0x12
	codecRLE       = 0x13
	codecSparse    = 0x14
	codecDict      = 0x15
	codecRaw       = 0x16
	codecScaled    = 0x17
	codecDecimal   = 0x20
	codecFloatBits = 0x21
	codecAllFalse  = 0x30
	codecAllTrue   = 0x31
	codecBitmap    = 0x32
	codecBitRuns   = 0x33
	codecBytes     = 0x40
	codecFront     = 0x41
	codecBytesS2   = 0x42
	codecFrontS2   = 0x43
	codecFixed     = 0x44
)

// maxDict is the largest dictionary of an integer column.
const maxDict = 4096

// AppendInt64 appends v as an integer column.
func AppendInt64(dst []byte, v []int64) []byte {
	s := scratchPool.Get().(*scratch)
	dst = appendInts(dst, v, s, true)
	scratchPool.Put(s)
	return dst
}

// DecodeInt64 appends the n values of the integer column at the head of src to dst and returns what follows the column.
func DecodeInt64(dst []int64, src []byte, n int) (vals []int64, rest []byte, err error) {
	return decodeInts(dst, src, n)
}

// AppendUint32 appends v, such as dictionary or tag-set codes, as an integer column.
func AppendUint32(dst []byte, v []uint32) []byte {
	s := scratchPool.Get().(*scratch)
	dst = appendInts(dst, v, s, true)
	scratchPool.Put(s)
	return dst
}

// DecodeUint32 appends the n values of the integer column at the head of src to dst and returns what follows the column.
// A column whose header speaks of values outside uint32 is refused.
func DecodeUint32(dst []uint32, src []byte, n int) (vals []uint32, rest []byte, err error) {
	return decodeInts(dst, src, n)
}

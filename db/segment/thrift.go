package segment

import "encoding/binary"

// Types of the Thrift compact protocol, which is how Parquet writes its headers and its footer.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI32    = 5
	thriftI64    = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

// thriftWriter appends one struct in the compact protocol to b. Fields must be written in ascending order of their id.
// We write a dozen fixed structures and read none, so this is all of the protocol that is needed; unlike a codec by
// reflection it allocates nothing per page header and can write fields that a library's struct does not have.
type thriftWriter struct {
	b     []byte
	last  int16   // id of the last field in the current struct
	stack []int16 // last of the structs around it
}

func (t *thriftWriter) reset(b []byte) { t.b, t.last, t.stack = b, 0, t.stack[:0] }

func (t *thriftWriter) header(id int16, typ byte) {
	if d := id - t.last; d > 0 && d <= 15 {
		t.b = append(t.b, byte(d)<<4|typ)
	} else {
		t.b = binary.AppendVarint(append(t.b, typ), int64(id))
	}
	t.last = id
}

func (t *thriftWriter) i32(id int16, v int32) {
	t.header(id, thriftI32)
	t.b = binary.AppendVarint(t.b, int64(v))
}

func (t *thriftWriter) i64(id int16, v int64) {
	t.header(id, thriftI64)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thriftWriter) i8(id int16, v int8) {
	t.header(id, thriftByte)
	t.b = append(t.b, byte(v))
}

func (t *thriftWriter) boolean(id int16, v bool) {
	if v {
		t.header(id, thriftTrue)
	} else {
		t.header(id, thriftFalse)
	}
}

func (t *thriftWriter) bin(id int16, v []byte) {
	t.header(id, thriftBinary)
	t.elemBin(v)
}

func (t *thriftWriter) str(id int16, v string) {
	t.header(id, thriftBinary)
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

// open begins a struct that is a field; shut ends it, or the outermost one.
func (t *thriftWriter) open(id int16) {
	t.header(id, thriftStruct)
	t.elem()
}

// elem begins a struct that is an element of a list; shut ends it.
func (t *thriftWriter) elem() {
	t.stack = append(t.stack, t.last)
	t.last = 0
}

func (t *thriftWriter) shut() {
	t.b = append(t.b, 0)
	if n := len(t.stack); n > 0 {
		t.last, t.stack = t.stack[n-1], t.stack[:n-1]
	}
}

// union writes a field that is a union whose member id is an empty struct.
func (t *thriftWriter) union(id, member int16) {
	t.open(id)
	t.open(member)
	t.shut()
	t.shut()
}

// list begins a list field of n elements, which the caller writes with the elem methods.
func (t *thriftWriter) list(id int16, typ byte, n int) {
	t.header(id, thriftList)
	if n < 15 {
		t.b = append(t.b, byte(n)<<4|typ)
	} else {
		t.b = binary.AppendUvarint(append(t.b, 0xf0|typ), uint64(n))
	}
}

func (t *thriftWriter) elemBin(v []byte) {
	t.b = append(binary.AppendUvarint(t.b, uint64(len(v))), v...)
}

func (t *thriftWriter) elemInt(v int64) { t.b = binary.AppendVarint(t.b, v) }

func (t *thriftWriter) elemBool(v bool) {
	if v {
		t.b = append(t.b, thriftTrue)
	} else {
		t.b = append(t.b, thriftFalse)
	}
}

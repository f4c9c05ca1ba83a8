package exec

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
)

// Value is one SQL value. Which field holds it follows from Type.Physical(); NULL has the zero value in all of them.
type Value struct {
	Type schema.Type
	Null bool
	I    int64   // integers, booleans, timestamps (Unix nanoseconds), intervals (nanoseconds)
	F    float64 // DOUBLE
	S    string  // text, the 16 bytes of an address, encodings
	// Months is the calendar part of an interval literal; only + and - with a timestamp and time_bucket know it.
	Months int64
}

// NullValue is NULL of a type.
func NullValue(t schema.Type) Value { return Value{Type: t, Null: true} }

// IntValue is a BIGINT.
func IntValue(i int64) Value { return Value{Type: schema.BigInt, I: i} }

// FloatValue is a DOUBLE.
func FloatValue(f float64) Value { return Value{Type: schema.Double, F: f} }

// BoolValue is a BOOLEAN.
func BoolValue(b bool) Value { return Value{Type: schema.Boolean, I: b2i(b)} }

// TextValue is a VARCHAR.
func TextValue(s string) Value { return Value{Type: schema.Varchar, S: s} }

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ValueAt is row i of a vector. Text is copied.
func ValueAt(v *batch.Vector, i int) Value {
	out := Value{Type: v.Type}
	if v.IsNull(i) {
		out.Null = true
		return out
	}
	switch v.Type.Physical() {
	case schema.Int64:
		out.I = v.I64[i]
	case schema.Float64:
		out.F = v.F64[i]
	default:
		if v.Dict == nil {
			out.I = int64(v.Codes[i])
		} else {
			out.S = string(v.Bytes(i))
		}
	}
	return out
}

// viewAt is ValueAt without the copy: its text lives as long as the vector's dictionary.
func viewAt(v *batch.Vector, i int) Value {
	if v.Dict == nil || v.IsNull(i) {
		return ValueAt(v, i)
	}
	b := v.Bytes(i)
	return Value{Type: v.Type, S: unsafe.String(unsafe.SliceData(b), len(b))}
}

// Text is the value as SQL prints it, "NULL" for NULL. A time is RFC 3339 in UTC with as many digits as it needs.
func (v Value) Text() string {
	if v.Null {
		return "NULL"
	}
	return string(AppendText(nil, v))
}

// AppendText appends a value that is not NULL as a cast to text gives it.
func AppendText(dst []byte, v Value) []byte {
	switch v.Type {
	case schema.Boolean:
		return strconv.AppendBool(dst, v.I != 0)
	case schema.Integer, schema.BigInt, schema.TagSet:
		return strconv.AppendInt(dst, v.I, 10)
	case schema.Double:
		return appendFloat(dst, v.F)
	case schema.Timestamp:
		return time.Unix(0, v.I).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999999999Z07:00")
	case schema.Interval:
		return ast.AppendInterval(dst, v.Months, 0, v.I)
	case schema.Inet:
		return appendInet(dst, v.S)
	case schema.Map:
		return appendMap(dst, v.S)
	case schema.Bytes:
		return fmt.Appendf(dst, "\\x%x", v.S)
	}
	return append(dst, v.S...)
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendInet(dst []byte, s string) []byte {
	if a, ok := netip.AddrFromSlice([]byte(s)); ok {
		return a.Unmap().AppendTo(dst)
	}
	return dst // unknown address
}

// literal is the value as a literal in EXPLAIN.
func (v Value) literal() string {
	if v.Null {
		return "NULL"
	}
	switch v.Type {
	case schema.Boolean, schema.Integer, schema.BigInt, schema.Double:
		return v.Text()
	case schema.Varchar:
		return "'" + v.S + "'"
	}
	return v.Type.String() + " '" + v.Text() + "'"
}

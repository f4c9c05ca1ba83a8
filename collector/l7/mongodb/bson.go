package mongodb

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// Kind is the type of a BSON element (bsonspec.org, version 1.1).
type Kind uint8

// Types of elements.
const (
	Double     Kind = 0x01
	String     Kind = 0x02
	Document   Kind = 0x03
	Array      Kind = 0x04
	Binary     Kind = 0x05
	Undefined  Kind = 0x06
	ObjectID   Kind = 0x07
	Boolean    Kind = 0x08
	Date       Kind = 0x09
	Null       Kind = 0x0a
	Regex      Kind = 0x0b
	DBPointer  Kind = 0x0c
	Code       Kind = 0x0d
	Symbol     Kind = 0x0e
	ScopedCode Kind = 0x0f
	Int32      Kind = 0x10
	Timestamp  Kind = 0x11
	Int64      Kind = 0x12
	Decimal    Kind = 0x13
	MinKey     Kind = 0xff
	MaxKey     Kind = 0x7f
)

func (k Kind) valid() bool { return k >= Double && k <= Decimal || k == MinKey || k == MaxKey }

// Element is an element of a document.
type Element struct {
	Kind Kind
	Name []byte
	// Value is what there is of the value: of String, Symbol, Code the text, of Binary the bytes, of Document and Array the
	// whole of it, else the bytes as they are.
	Value []byte
	// Subtype is that of Binary.
	Subtype byte
}

// Number is the value of a number, of a Boolean 0 or 1; ok is false for all else.
func (e *Element) Number() (v int64, ok bool) {
	switch {
	case e.Kind == Int32 && len(e.Value) == 4:
		return int64(int32(binary.LittleEndian.Uint32(e.Value))), true
	case e.Kind == Int64 && len(e.Value) == 8:
		return int64(binary.LittleEndian.Uint64(e.Value)), true
	case e.Kind == Boolean && len(e.Value) == 1:
		return int64(e.Value[0]), true
	case e.Kind == Double && len(e.Value) == 8:
		f := math.Float64frombits(binary.LittleEndian.Uint64(e.Value))
		if f >= -1<<53 && f <= 1<<53 {
			return int64(f), true
		}
	}
	return 0, false
}

// Reader reads the elements of a document, one by one.
type Reader struct{ r wire.Reader }

// Elements returns a reader of a document, which may be cut.
func Elements(doc []byte) Reader {
	r := Reader{wire.NewReader(doc)}
	if n := int(int32(r.r.U32LE())); n >= minDoc && n < len(doc) {
		r.r.P = doc[:n]
	}
	return r
}

// Next reads the next element; false at the end, or where the document is cut or broken. The value of the last one may be cut.
func (d *Reader) Next(e *Element) bool {
	r := &d.r
	*e = Element{Kind: Kind(r.U8())}
	if e.Kind == 0 || !e.Kind.valid() {
		r.Short = true
		return false
	}
	if e.Name = r.CString(); !r.OK() {
		return false
	}
	switch e.Kind {
	case Double, Date, Timestamp, Int64:
		e.Value = r.UpTo(8)
	case Int32:
		e.Value = r.UpTo(4)
	case ObjectID:
		e.Value = r.UpTo(12)
	case Decimal:
		e.Value = r.UpTo(16)
	case Boolean:
		e.Value = r.UpTo(1)
	case String, Symbol, Code:
		e.Value = text(r)
	case Binary:
		n := int(int32(r.U32LE()))
		e.Subtype = r.U8()
		e.Value = r.UpTo(n)
	case Document, Array, ScopedCode:
		e.Value = nested(r)
	case Regex:
		e.Value = r.CString()
		r.CString()
	case DBPointer:
		e.Value = text(r)
		r.Skip(12)
	}
	return true
}

// text reads a text with its length and the zero behind it.
func text(r *wire.Reader) []byte {
	n := int(int32(r.U32LE()))
	b := r.UpTo(n)
	if r.OK() && n > 0 {
		b = b[:n-1]
	}
	return b
}

// nested reads a document with its length.
func nested(r *wire.Reader) []byte {
	at := *r
	n := int(int32(at.U32LE()))
	if !at.OK() || n < minDoc {
		r.Short = true
		return nil
	}
	return r.UpTo(n)
}

// maxDepth bounds how deep documents are shown.
const maxDepth = 16

// AppendText appends the document as text, until dst is limit bytes long: { "find": "users", "filter": { "age": 5 } }. Unless
// literals are wanted, values are question marks, but for the collection and database of a command, and what every command has
// (session, cluster time) is left out; of arrays the first element is shown, of pipelines all stages.
func AppendText(dst, doc []byte, command, literals bool, limit int) []byte {
	w := writer{dst: dst, limit: limit, literals: literals}
	w.document(doc, 0, command)
	return w.dst[:min(len(w.dst), max(limit, 0))]
}

type writer struct {
	dst      []byte
	limit    int
	literals bool
}

func (w *writer) full() bool { return len(w.dst) >= w.limit }

func (w *writer) document(doc []byte, depth int, command bool) {
	w.dst = append(w.dst, '{')
	var e Element
	n := 0
	for r := Elements(doc); !w.full() && r.Next(&e); {
		first := command && n == 0
		if n++; !w.literals && depth == 0 && isNoise(e.Name) {
			continue
		}
		if w.dst[len(w.dst)-1] != '{' {
			w.dst = append(w.dst, ',')
		}
		w.dst = append(w.dst, ` "`...)
		w.dst = append(w.dst, e.Name...)
		w.dst = append(w.dst, `": `...)
		if w.literals || e.Kind == Document || e.Kind == Array {
			w.value(&e, depth)
			continue
		}
		if name := string(e.Name); e.Kind == String && (first || command && (name == "$db" || name == "collection")) {
			w.text(e.Value)
			continue
		}
		w.dst = append(w.dst, '?')
	}
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ' ')
	}
	w.dst = append(w.dst, '}')
}

// isNoise says whether an element of a command is one that says nothing about it.
func isNoise(name []byte) bool {
	switch string(name) {
	case "lsid", "$clusterTime", "txnNumber", "operationTime", "$readPreference", "apiVersion":
		return true
	}
	return false
}

func (w *writer) array(doc []byte, depth int, all bool) {
	w.dst = append(w.dst, '[')
	var e Element
	n := 0
	for r := Elements(doc); !w.full() && r.Next(&e); n++ {
		shape := e.Kind == Document || e.Kind == Array
		if !w.literals && n > 0 && !(all && shape) {
			w.dst = append(w.dst, ", ..."...)
			break
		}
		if n > 0 {
			w.dst = append(w.dst, ", "...)
		}
		if w.literals || shape {
			w.value(&e, depth)
		} else {
			w.dst = append(w.dst, '?')
		}
	}
	w.dst = append(w.dst, ']')
}

func (w *writer) text(b []byte) {
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, b[:min(len(b), w.limit)]...)
	w.dst = append(w.dst, '"')
}

// value appends a value as it is.
func (w *writer) value(e *Element, depth int) {
	if depth >= maxDepth {
		w.dst = append(w.dst, "..."...)
		return
	}
	v := e.Value
	switch e.Kind {
	case Document:
		w.document(v, depth+1, false)
		return
	case Array:
		w.array(v, depth+1, string(e.Name) == "pipeline")
		return
	case String, Symbol:
		w.text(v)
		return
	case Null, Undefined:
		w.dst = append(w.dst, "null"...)
		return
	case MinKey:
		w.dst = append(w.dst, "MinKey"...)
		return
	case MaxKey:
		w.dst = append(w.dst, "MaxKey"...)
		return
	case Binary:
		w.dst = append(w.dst, "Binary(0x"...)
		w.dst = strconv.AppendUint(w.dst, uint64(e.Subtype), 16)
		w.dst = append(w.dst, ", "...)
		w.dst = base64.StdEncoding.AppendEncode(w.dst, v[:min(len(v), w.limit)])
		w.dst = append(w.dst, ')')
		return
	}
	w.scalar(e.Kind, v)
}

// scalar appends a value of a fixed length.
func (w *writer) scalar(k Kind, v []byte) {
	switch {
	case k == ObjectID && len(v) == 12:
		w.dst = append(w.dst, `ObjectId("`...)
		w.dst = hex.AppendEncode(w.dst, v)
		w.dst = append(w.dst, `")`...)
	case k == Boolean && len(v) == 1:
		w.dst = strconv.AppendBool(w.dst, v[0] != 0)
	case k == Int32 && len(v) == 4:
		w.dst = strconv.AppendInt(w.dst, int64(int32(binary.LittleEndian.Uint32(v))), 10)
	case len(v) != 8:
		w.dst = append(w.dst, '?')
	case k == Double:
		w.dst = strconv.AppendFloat(w.dst, math.Float64frombits(binary.LittleEndian.Uint64(v)), 'f', -1, 64)
	case k == Int64:
		w.dst = strconv.AppendInt(w.dst, int64(binary.LittleEndian.Uint64(v)), 10)
	case k == Timestamp:
		w.dst = append(w.dst, "Timestamp("...)
		w.dst = strconv.AppendUint(w.dst, uint64(binary.LittleEndian.Uint32(v[4:])), 10)
		w.dst = append(w.dst, ", "...)
		w.dst = strconv.AppendUint(w.dst, uint64(binary.LittleEndian.Uint32(v)), 10)
		w.dst = append(w.dst, ')')
	case k == Date:
		w.dst = append(w.dst, `DateTime("`...)
		w.dst = time.UnixMilli(int64(binary.LittleEndian.Uint64(v))).UTC().AppendFormat(w.dst, "2006-01-02T15:04:05.000Z")
		w.dst = append(w.dst, `")`...)
	default:
		w.dst = append(w.dst, '?')
	}
}

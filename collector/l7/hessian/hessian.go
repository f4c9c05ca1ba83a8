// Package hessian passes over values in Hessian 2.0 (http://hessian.caucho.com/doc/hessian-serialization.html), the
// serialization of Dubbo, and reads the strings and maps of strings among them. It builds no objects and allocates nothing;
// what foreign bytes can make it do is bounded by their number and by the limits below.
package hessian

import "bytes"

const (
	maxDepth   = 32  // of values within values
	maxClasses = 128 // class definitions remembered of one message
)

// Reader reads the values of P from Off on. It must be Reset before use. Strings are views of P.
type Reader struct {
	P   []byte
	Off int
	// Bad is set by what cannot be read: the bytes end, are no Hessian, or go past a limit. From then on nothing is read.
	Bad bool

	classes int
	fields  [maxClasses]uint16 // by class definition: how many fields
}

// Reset makes r read p.
func (r *Reader) Reset(p []byte) { r.P, r.Off, r.Bad, r.classes = p, 0, false, 0 }

// Peek is the next byte, 0 at the end.
func (r *Reader) Peek() byte {
	if r.Bad || r.Off >= len(r.P) {
		return 0
	}
	return r.P[r.Off]
}

// More says whether there is something left to read.
func (r *Reader) More() bool { return !r.Bad && r.Off < len(r.P) }

func (r *Reader) take(n int) []byte {
	if r.Bad || n < 0 || n > len(r.P)-r.Off {
		r.Bad = true
		return nil
	}
	b := r.P[r.Off : r.Off+n : r.Off+n]
	r.Off += n
	return b
}

// number reads n bytes, big-endian.
func (r *Reader) number(n int) (v int) {
	for _, b := range r.take(n) {
		v = v<<8 | int(b)
	}
	return v
}

// chars takes n characters of text: of Java's, so one beyond U+FFFF counts twice when it comes in four bytes.
func (r *Reader) chars(n int) []byte {
	at := r.Off
	for ; n > 0 && at < len(r.P); n-- {
		switch c := r.P[at]; {
		case c < 0x80:
			at++
		case c < 0xe0:
			at += 2
		case c < 0xf0:
			at += 3
		default:
			at += 4
			n--
		}
	}
	if n > 0 {
		r.Bad = true
		return nil
	}
	return r.take(at - r.Off)
}

// Text reads a string; of one in several chunks the first. isText is false, and nothing is read, when the next value is
// something else; null is an empty string.
func (r *Reader) Text() (s []byte, isText bool) {
	switch c := r.Peek(); {
	case !r.More():
		return nil, false
	case c == 'N':
		r.Off++
		return nil, true
	case c < 0x20:
		r.Off++
		s = r.chars(int(c))
	case c >= 0x30 && c < 0x34:
		s = r.chars(r.number(2) - 0x3000)
	case c == 'S':
		r.Off++
		s = r.chars(r.number(2))
	case c == 'R':
		r.Off++
		s = r.chars(r.number(2))
		for r.Peek() == 'R' {
			r.Off++
			r.chars(r.number(2))
		}
		if _, last := r.Text(); !last {
			r.Bad = true
		}
	default:
		return nil, false
	}
	return s, !r.Bad
}

// Int reads an int; isInt is false, and nothing is read, when the next value is something else.
func (r *Reader) Int() (v int, isInt bool) {
	c := int(r.Peek())
	switch {
	case c >= 0x80 && c <= 0xbf:
		r.Off++
		v = c - 0x90
	case c >= 0xc0 && c <= 0xcf:
		v = r.number(2) - 0xc800
	case c >= 0xd0 && c <= 0xd7:
		v = r.number(3) - 0xd40000
	case c == 'I':
		r.Off++
		v = int(int32(uint32(r.number(4))))
	default:
		return 0, false
	}
	return v, !r.Bad
}

// Skip passes over one value.
func (r *Reader) Skip() { r.skip(0) }

func (r *Reader) skip(depth int) {
	if depth > maxDepth || !r.More() {
		r.Bad = true
		return
	}
	if _, ok := r.Text(); ok || r.Bad {
		return
	}
	if _, ok := r.Int(); ok || r.Bad {
		return
	}
	c := int(r.P[r.Off])
	r.Off++
	switch {
	case c >= 0x20 && c <= 0x2f: // binary
		r.take(c - 0x20)
	case c >= 0x34 && c <= 0x37:
		r.take((c-0x34)<<8 | r.number(1))
	case c == 'A' || c == 'B':
		r.binary(byte(c))
	case c >= 0x38 && c <= 0x3f: // long of 3 bytes
		r.take(2)
	case c >= 0xd8 && c <= 0xef, c == 'T', c == 'F', c == 0x5b, c == 0x5c:
	case c >= 0xf0, c == 0x5d:
		r.take(1)
	case c == 0x5e:
		r.take(2)
	case c == 'K', c == 'Y', c == 0x5f:
		r.take(4)
	case c == 'D', c == 'J', c == 'L':
		r.take(8)
	case c == 'Q':
		r.mustInt()
	case c == 'C':
		r.class()
		r.skip(depth + 1) // the object that needs the definition
	case c == 'O':
		r.object(r.mustInt(), depth)
	case c >= 0x60 && c <= 0x6f:
		r.object(c-0x60, depth)
	case c == 'H':
		r.until(depth)
	case c == 'M', c == 'U':
		r.typeName()
		r.until(depth)
	case c == 'W':
		r.until(depth)
	case c == 'V':
		r.typeName()
		r.values(r.mustInt(), depth)
	case c == 'X':
		r.values(r.mustInt(), depth)
	case c >= 0x70 && c <= 0x77:
		r.typeName()
		r.values(c-0x70, depth)
	case c >= 0x78 && c <= 0x7f:
		r.values(c-0x78, depth)
	default:
		r.Bad = true
	}
}

func (r *Reader) mustInt() int {
	v, ok := r.Int()
	if !ok {
		r.Bad = true
	}
	return v
}

// binary passes over the chunks of a byte string, of which the first is of kind c.
func (r *Reader) binary(c byte) {
	for {
		r.take(r.number(2))
		if c == 'B' || r.Bad {
			return
		}
		switch c = r.Peek(); {
		case c == 'A' || c == 'B':
			r.Off++
		case c >= 0x20 && c <= 0x2f, c >= 0x34 && c <= 0x37:
			r.skip(maxDepth)
			return
		default:
			r.Bad = true
			return
		}
	}
}

// typeName passes over the type of a list or map: a string, or the number of an earlier one.
func (r *Reader) typeName() {
	if _, ok := r.Text(); !ok {
		r.mustInt()
	}
}

// until passes over values up to the end mark.
func (r *Reader) until(depth int) {
	for r.More() {
		if r.P[r.Off] == 'Z' {
			r.Off++
			return
		}
		r.skip(depth + 1)
	}
	r.Bad = true
}

func (r *Reader) values(n, depth int) {
	if n < 0 || n > len(r.P)-r.Off { // a value is a byte at least
		r.Bad = true
		return
	}
	for ; n > 0 && !r.Bad; n-- {
		r.skip(depth + 1)
	}
}

func (r *Reader) object(class, depth int) {
	if class < 0 || class >= r.classes {
		r.Bad = true
		return
	}
	r.values(int(r.fields[class]), depth)
}

// class reads a class definition behind its mark.
func (r *Reader) class() (name []byte, detail int) {
	detail = -1
	name, ok := r.Text()
	n := r.mustInt()
	if !ok || r.Bad || n < 0 || n > len(r.P)-r.Off || n > 1<<16-1 || r.classes == maxClasses {
		r.Bad = true
		return nil, -1
	}
	for i := range n {
		field, ok := r.Text()
		if !ok {
			r.Bad = true
			return nil, -1
		}
		if detail < 0 && bytes.Equal(field, detailMessage) {
			detail = i
		}
	}
	r.fields[r.classes] = uint16(n)
	r.classes++
	return name, detail
}

var detailMessage = []byte("detailMessage")

// Throwable reads as much of a Java exception as there is: the name of its class and its message; both empty when the next
// value is no object. Behind it nothing more can be read.
func (r *Reader) Throwable() (class, message []byte) {
	if r.Peek() != 'C' {
		return nil, nil
	}
	r.Off++
	class, detail := r.class()
	c := int(r.Peek())
	if r.Bad || detail < 0 || c != 'O' && (c < 0x60 || c > 0x6f) {
		return class, nil
	}
	r.Off++
	if c == 'O' {
		r.mustInt()
	}
	for range detail {
		r.Skip()
	}
	message, _ = r.Text()
	return class, message
}

// Map steps into the next value when it is a map.
func (r *Reader) Map() bool {
	switch r.Peek() {
	case 'H':
		r.Off++
	case 'M':
		r.Off++
		r.typeName()
	default:
		return false
	}
	return !r.Bad
}

// Next reads the next pair of the map that Map has stepped into; what is not text is passed over and nil. It is false at the
// map's end.
func (r *Reader) Next() (key, value []byte, ok bool) {
	if r.Peek() == 'Z' {
		r.Off++
		return nil, nil, false
	}
	if !r.More() {
		r.Bad = true
		return nil, nil, false
	}
	if key, ok = r.Text(); !ok {
		r.Skip()
	}
	if value, ok = r.Text(); !ok {
		r.Skip()
	}
	return key, value, !r.Bad
}

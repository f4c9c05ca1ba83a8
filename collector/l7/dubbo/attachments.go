package dubbo

import (
	"bytes"
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/l7/hessian"
)

// Attachments walks over the attachments of a request: the pairs of text that go with the call, behind its arguments. Of
// Kryo, whose arguments cannot be passed over without knowing their classes, only those with one of the names given are found.
type Attachments struct {
	serial uint8
	r      *hessian.Reader
	rest   []byte
	names  []string
	ended  bool
	key    [maxASCII]byte
	buf    [maxASCII]byte

	Key, Value []byte
}

// Attachments starts a walk, in a, which refers to m. It may be done once per message.
func (m *Message) Attachments(a *Attachments, names []string) {
	a.serial, a.rest, a.names, a.r, a.ended = m.Serial, m.rest, names, &m.r, false
	if m.rest == nil {
		a.ended = true
		return
	}
	switch m.Serial {
	case hessian2:
		for range arguments(m.Types) {
			m.r.Skip()
		}
		a.ended = !m.r.Map()
	case fastjson:
		for range arguments(m.Types) {
			m.item()
		}
		a.rest, a.ended = jsonObject(m.item())
	case fastjson2:
		for range arguments(m.Types) {
			if _, ok := m.block(); !ok {
				a.ended = true
			}
		}
		object, _ := m.block()
		a.rest, a.ended = jsonbObject(object)
	}
}

// Next goes to the next attachment; false at the end.
func (a *Attachments) Next() (ok bool) {
	if a.ended {
		return false
	}
	switch a.serial {
	case hessian2:
		a.Key, a.Value, ok = a.r.Next()
	case kryo, kryoTwo:
		ok = a.nextKryo()
	case fastjson:
		ok = a.nextJSON()
	case fastjson2:
		ok = a.nextJSONB()
	}
	a.ended = !ok
	return ok
}

// arguments counts the types in a method's JVM descriptor.
func arguments(types []byte) (n int) {
	for i := 0; i < len(types); i++ {
		switch types[i] {
		case '[':
			continue
		case 'L':
			end := bytes.IndexByte(types[i:], ';')
			if end < 0 {
				return n
			}
			i += end
		}
		n++
	}
	return n
}

// maxASCII is how long the strings are that Kryo writes without a length.
const maxASCII = 64

// kryoText reads a string of Kryo from m.rest.
func kryoText(m *Message) (s []byte, ok bool) {
	s, m.rest, ok = kryoString(m.rest, &m.ascii[m.used])
	m.used = (m.used + 1) % len(m.ascii)
	return s, ok
}

// kryoString reads a string as Kryo 4 and 5 write it (Output.writeString): plain ASCII up to a byte with the highest bit set,
// or the number of characters plus one, its first byte with the highest bit set and six bits of it, and the text in UTF-8. The
// former is copied into buf, without the mark.
func kryoString(p []byte, buf *[maxASCII]byte) (s, rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, nil, false
	}
	if p[0]&0x80 == 0 {
		for i, c := range p[:min(len(p), maxASCII)] {
			buf[i] = c & 0x7f
			if c&0x80 != 0 {
				return buf[:i+1], p[i+1:], true
			}
		}
		return nil, nil, false
	}
	n, at := int(p[0]&0x3f), 1
	for shift, more := 6, p[0]&0x40 != 0; more; shift += 7 {
		if at >= len(p) || shift > 20 {
			return nil, nil, false
		}
		more = p[at]&0x80 != 0
		n |= int(p[at]&0x7f) << shift
		at++
	}
	end := at
	for ; n > 1; n-- {
		switch {
		case end >= len(p):
			return nil, nil, false
		case p[end] < 0x80:
			end++
		case p[end] < 0xe0:
			end += 2
		default:
			end += 3
		}
	}
	if end > len(p) {
		return nil, nil, false
	}
	return p[at:end:end], p[end:], true
}

// kryoClass reads the name of a class that is not registered, with which an object begins; the object is Java's own
// serialization of the exception.
func kryoClass(m *Message) []byte {
	if len(m.rest) < 2 || m.rest[0] != 1 || m.rest[1] != 0 {
		return nil
	}
	m.rest = m.rest[2:]
	class, _ := kryoText(m)
	return class
}

// nextKryo finds the next name of those asked for that is there. The bytes between a key and its value are the value's class
// and whether it has been seen before.
func (a *Attachments) nextKryo() bool {
	for len(a.names) > 0 {
		name := a.names[0]
		a.names = a.names[1:]
		if value, ok := a.kryoValue(name); ok {
			a.Key, a.Value = append(a.key[:0], name...), value
			return true
		}
	}
	return false
}

func (a *Attachments) kryoValue(name string) ([]byte, bool) {
	if len(name) < 2 || len(name) > len(a.key) {
		return nil, false
	}
	marked := append(a.key[:0], name...)
	marked[len(marked)-1] |= 0x80
	at := bytes.Index(a.rest, marked)
	for at > 0 && a.rest[at-1] >= ' ' { // the end of a longer key
		next := bytes.Index(a.rest[at+1:], marked)
		if next < 0 {
			return nil, false
		}
		at += 1 + next
	}
	if at < 0 {
		return nil, false
	}
	rest := a.rest[at+len(name):]
	for i := 0; i < 3 && len(rest) > 0 && rest[0] < ' '; i++ {
		rest = rest[1:]
	}
	value, _, ok := kryoString(rest, &a.buf)
	return value, ok
}

// item takes a value in JSON from m.rest: a line, or in later versions what stands behind its length.
func (m *Message) item() []byte {
	if len(m.rest) > 0 && m.rest[0] == 0 {
		p, _ := m.block()
		return p
	}
	line, rest, _ := bytes.Cut(m.rest, newline)
	m.rest = rest
	return bytes.TrimRight(line, "\r")
}

// jsonText reads a string from m.rest.
func jsonText(m *Message) (s []byte, ok bool) {
	p := m.item()
	if bytes.Equal(p, null) {
		return nil, true
	}
	n := jsonString(p)
	if n < 0 || n != len(p) {
		return nil, false
	}
	return p[1 : n-1], true
}

var newline, null = []byte("\n"), []byte("null")

// jsonString is the length of the JSON string that p begins with, -1 if that is none. Escapes stay as they are.
func jsonString(p []byte) int {
	if len(p) == 0 || p[0] != '"' {
		return -1
	}
	for i := 1; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// jsonObject steps into an object.
func jsonObject(p []byte) (rest []byte, ended bool) {
	if len(p) == 0 || p[0] != '{' {
		return nil, true
	}
	return p[1:], false
}

// jsonThrowable reads the class and the message of an exception from the fields before its stack trace.
func jsonThrowable(p []byte) (class, message []byte) {
	a := Attachments{serial: fastjson}
	for a.rest, a.ended = jsonObject(p); a.Next(); {
		switch string(a.Key) {
		case "@type":
			class = a.Value
		case "message":
			message = a.Value
		}
	}
	return class, message
}

// nextJSON reads the next pair of a JSON object whose value is a string.
func (a *Attachments) nextJSON() bool {
	for {
		n := jsonString(a.rest)
		if n < 0 || n >= len(a.rest) || a.rest[n] != ':' {
			return false
		}
		a.Key, a.rest = a.rest[1:n-1], a.rest[n+1:]
		n = jsonString(a.rest)
		isText := n >= 0
		if isText {
			a.Value = a.rest[1 : n-1]
		} else if n = bytes.IndexAny(a.rest, ",[{}"); n < 0 || a.rest[n] == '[' || a.rest[n] == '{' {
			return false
		}
		a.rest = a.rest[n:]
		if len(a.rest) > 0 && a.rest[0] == ',' {
			a.rest = a.rest[1:]
		}
		if isText {
			return true
		}
	}
}

// block takes what one call of Dubbo's writer left in m.rest in Fastjson 2: JSONB behind its length.
func (m *Message) block() (p []byte, ok bool) {
	if len(m.rest) < 4 {
		m.rest = nil
		return nil, false
	}
	n := int(int32(binary.BigEndian.Uint32(m.rest)))
	if n < 0 || n > len(m.rest)-4 {
		m.rest = nil
		return nil, false
	}
	p, m.rest = m.rest[4:4+n], m.rest[4+n:]
	return p, true
}

// jsonbText reads a block with a string from m.rest.
func jsonbText(m *Message) ([]byte, bool) {
	p, _ := m.block()
	if len(p) == 1 && p[0] == jsonbNull {
		return nil, true
	}
	s, _, ok := jsonbString(p)
	return s, ok
}

// Marks of JSONB (com.alibaba.fastjson2.JSONB.Constants).
const (
	jsonbSymbol     = 0x7f // a key, and the number it gets
	jsonbShortASCII = 0x49 // up to 0x78: of 0 to 47 bytes
	jsonbASCII      = 0x79
	jsonbUTF8       = 0x7a
	jsonbTyped      = 0x92
	jsonbObjectEnd  = 0xa5
	jsonbObjectMark = 0xa6
	jsonbNull       = 0xaf
	jsonbByte       = 0xbd
)

// jsonbString reads a string in ASCII or UTF-8, which is how Java writes those that matter.
func jsonbString(p []byte) (s, rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, nil, false
	}
	var n int
	switch c := p[0]; {
	case c >= jsonbShortASCII && c < jsonbASCII:
		n, p = int(c-jsonbShortASCII), p[1:]
	case c == jsonbASCII || c == jsonbUTF8:
		if n, p, ok = jsonbInt(p[1:]); !ok {
			return nil, nil, false
		}
	default:
		return nil, nil, false
	}
	if n < 0 || n > len(p) {
		return nil, nil, false
	}
	return p[:n:n], p[n:], true
}

// jsonbInt reads an int.
func jsonbInt(p []byte) (v int, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	switch c := int(p[0]); {
	case c >= 0xf0:
		return c - 256, p[1:], true
	case c <= 0x2f:
		return c, p[1:], true
	case c <= 0x3f && len(p) >= 2:
		return (c-0x38)<<8 + int(p[1]), p[2:], true
	case c >= 0x40 && c <= 0x47 && len(p) >= 3:
		return (c-0x44)<<16 + int(binary.BigEndian.Uint16(p[1:])), p[3:], true
	case c == 0x48 && len(p) >= 5:
		return int(int32(binary.BigEndian.Uint32(p[1:]))), p[5:], true
	}
	return 0, nil, false
}

// jsonbObject steps into an object, whose class may stand before it.
func jsonbObject(p []byte) (rest []byte, ended bool) {
	if len(p) > 0 && p[0] == jsonbTyped {
		_, r, ok := jsonbString(p[1:])
		if !ok {
			return nil, true
		}
		if _, p, ok = jsonbInt(r); !ok { // the number the class gets
			return nil, true
		}
	}
	if len(p) == 0 || p[0] != jsonbObjectMark {
		return nil, true
	}
	return p[1:], false
}

// jsonbThrowable reads the class and the message of an exception, which is its first field.
func jsonbThrowable(p []byte) (class, message []byte) {
	if len(p) == 0 || p[0] != jsonbTyped {
		return nil, nil
	}
	class, _, ok := jsonbString(p[1:])
	rest, ended := jsonbObject(p)
	if !ok || ended || len(rest) == 0 {
		return class, nil
	}
	isSymbol := rest[0] == jsonbSymbol
	if isSymbol {
		rest = rest[1:]
	}
	key, rest, ok := jsonbString(rest)
	if ok && isSymbol {
		_, rest, ok = jsonbInt(rest)
	}
	if !ok || string(key) != "detailMessage" && string(key) != "message" {
		return class, nil
	}
	message, _, _ = jsonbString(rest)
	return class, message
}

// nextJSONB reads the next pair of an object. Dubbo's attachments are strings; another value ends the walk.
func (a *Attachments) nextJSONB() bool {
	var ok bool
	if len(a.rest) == 0 || a.rest[0] == jsonbObjectEnd {
		return false
	}
	if a.Key, a.rest, ok = jsonbString(a.rest); !ok || len(a.rest) == 0 {
		return false
	}
	if a.rest[0] == jsonbNull {
		a.Value, a.rest = nil, a.rest[1:]
		return true
	}
	a.Value, a.rest, ok = jsonbString(a.rest)
	return ok
}

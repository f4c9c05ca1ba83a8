package sofarpc

import "github.com/flowlake/flowlake/collector/l7/wire"

// SOFARPC's Hessian is a draft of version 2 (com.caucho.hessian.io.Hessian2Output of hessian 3.1): 'O' defines a class and 'o'
// begins an object of it. Of an object the texts it begins with are read, and a map that follows them.

// maxFields bounds how many fields of a class are looked at.
const maxFields = 16

// draft reads values of that draft.
type draft struct{ wire.Reader }

// text reads a string of one chunk; isText is false, and nothing is read, when the next value is something else.
func (d *draft) text() (s []byte, isText bool) {
	switch c := d.Peek(); {
	case d.Len() == 0:
		return nil, false
	case c == 'N':
		d.Skip(1)
		return nil, true
	case c < 0x20:
		d.Skip(1)
		return d.Bytes(int(c)), d.OK() // ASCII, as names are: a character is a byte
	case c == 'S':
		d.Skip(1)
		return d.Bytes(int(d.U16())), d.OK()
	}
	return nil, false
}

// length reads an int that is one of the compact forms.
func (d *draft) length() int {
	switch c := int(d.U8()); {
	case c >= 0x80 && c <= 0xbf:
		return c - 0x90
	case c >= 0xc0 && c <= 0xcf:
		return (c-0xc8)<<8 + int(d.U8())
	case c == 'I':
		return int(int32(d.U32()))
	}
	d.Short = true
	return 0
}

// class reads the definition of a class and the beginning of an object of it. fields are the names, as many as fit.
func (d *draft) class(fields *[maxFields][]byte) (name []byte, n int, ok bool) {
	if d.U8() != 'O' {
		return nil, 0, false
	}
	name = d.Bytes(d.length())
	if n = d.length(); n < 0 || n > maxFields {
		return nil, 0, false
	}
	for i := range n {
		field, ok := d.text()
		if !ok {
			return nil, 0, false
		}
		fields[i] = field
	}
	if d.U8() != 'o' {
		return nil, 0, false
	}
	d.length()
	return name, n, d.OK()
}

// object reads what is called from a SofaRequest: the texts among its first fields, and the texts in its map of properties.
func (m *Message) object(content []byte) {
	d := draft{wire.NewReader(content)}
	var fields [maxFields][]byte
	_, n, ok := d.class(&fields)
	if !ok {
		return
	}
	for _, field := range fields[:n] {
		s, ok := d.text()
		if !ok {
			break
		}
		switch {
		case string(field) == "methodName" && len(m.Method) == 0:
			m.Method = s
		case string(field) == "targetServiceUniqueName" && len(m.Service) == 0:
			m.Service = s
		}
	}
	if len(m.TraceID) == 0 {
		m.properties(&d)
	}
}

// properties reads the trace context from a map of texts and of further such maps.
func (m *Message) properties(d *draft) {
	var key []byte
	for isKey := true; d.Len() > 0; {
		switch d.Peek() {
		case 'M':
			d.Skip(1)
			if d.Peek() == 't' {
				d.Skip(1)
				d.Skip(int(d.U16()))
			}
			isKey = true
			continue
		case 'z':
			d.Skip(1)
			isKey = true
			continue
		}
		s, ok := d.text()
		if !ok {
			return
		}
		if isKey = !isKey; !isKey {
			key = s
			continue
		}
		switch string(key) {
		case "sofaTraceId":
			m.TraceID = s
		case "sofaRpcId":
			m.SpanID = s
		case "new_rpc_trace_context":
			m.traceContext(s)
		}
	}
}

// response reads whether the called method failed: the map says so of both kinds of error, a SofaResponse of the framework's
// by isError and errorMsg. An exception of the method is what it returns.
func (m *Message) response(content []byte) {
	for h := m.Headers(); h.Next(); {
		if string(h.Key) == "sofa_head_response_error" {
			m.Failed = string(h.Value) == "true"
		}
	}
	if m.Codec > 1 {
		return
	}
	d := draft{wire.NewReader(content)}
	var fields [maxFields][]byte
	_, n, ok := d.class(&fields)
	if !ok || n < 3 || string(fields[0]) != "isError" || string(fields[1]) != "errorMsg" || string(fields[2]) != "appResponse" {
		return
	}
	m.Failed = d.U8() == 'T' || m.Failed
	if m.Error, ok = d.text(); !ok || !m.Failed || len(m.Error) > 0 {
		return
	}
	class, n, ok := d.class(&fields)
	if !ok {
		return
	}
	for _, field := range fields[:n] {
		s, ok := d.text()
		if !ok {
			return
		}
		if string(field) == "detailMessage" {
			m.Thrown, m.Error = class, s
			return
		}
	}
}

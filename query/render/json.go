package render

import (
	"bufio"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/flowlake/flowlake/db/schema"
)

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// appendJSONCell appends a value as JSON: numbers and booleans bare, maps as objects, all else (NaN too) as strings.
func appendJSONCell(dst []byte, t schema.Type, c Cell) []byte {
	switch {
	case c.Null:
		return append(dst, "null"...)
	case t == schema.Boolean, isNumber(t) && len(c.Text) > 0 && finite(c.Text), t == schema.Map, t == schema.TagSet:
		return append(dst, c.Text...)
	}
	return appendJSONString(dst, c.Text)
}

// finite tells numbers from NaN and Infinity, which JSON has no word for.
func finite(text []byte) bool {
	last := text[len(text)-1]
	return last != 'N' && last != 'y'
}

// jsonWriter writes objects: as one array, or one a line.
type jsonWriter struct {
	w     *bufio.Writer
	array bool
	cols  []Column
	keys  [][]byte // `"name":` and `,"name":`
	buf   []byte
	rows  int
}

func newJSON(w io.Writer, _ Options) Writer {
	return &jsonWriter{w: bufio.NewWriterSize(w, 64<<10), array: true}
}
func newNDJSON(w io.Writer, _ Options) Writer { return &jsonWriter{w: bufio.NewWriterSize(w, 64<<10)} }

func (j *jsonWriter) Columns(cols []Column) error {
	j.cols = cols
	for i, c := range cols {
		var key []byte
		if i > 0 {
			key = append(key, ',')
		}
		j.keys = append(j.keys, append(appendJSONString(key, []byte(c.Name)), ':'))
	}
	if j.array {
		return j.w.WriteByte('[')
	}
	return nil
}

func (j *jsonWriter) Row(cells []Cell) error {
	b := j.buf[:0]
	if j.array {
		if j.rows > 0 {
			b = append(b, ',')
		}
		b = append(b, '\n')
	}
	b = append(b, '{')
	for i, c := range cells {
		b = append(b, j.keys[i]...)
		b = appendJSONCell(b, j.cols[i].Type, c)
	}
	b = append(b, '}')
	if !j.array {
		b = append(b, '\n')
	}
	j.buf = b
	j.rows++
	_, err := j.w.Write(b)
	return err
}

func (j *jsonWriter) Flush() error { return j.w.Flush() }

func (j *jsonWriter) Close() error {
	if j.array {
		if j.rows > 0 {
			_ = j.w.WriteByte('\n') // Flush reports it
		}
		_, _ = j.w.WriteString("]\n")
	}
	return j.w.Flush()
}

// rowsWriter writes the columns, then arrays: what RowReader reads.
type rowsWriter struct {
	w    *bufio.Writer
	cols []Column
	buf  []byte
}

func newRowsJSON(w io.Writer, _ Options) Writer {
	return &rowsWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (r *rowsWriter) Columns(cols []Column) error {
	r.cols = cols
	if cols == nil {
		cols = []Column{}
	}
	head, err := json.Marshal(struct {
		Columns []Column `json:"columns"`
	}{cols})
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(head, '\n'))
	return err
}

func (r *rowsWriter) Row(cells []Cell) error {
	b := append(r.buf[:0], '[')
	for i, c := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		if c.Null {
			b = append(b, "null"...)
		} else {
			b = appendJSONString(b, c.Text) // text, so that nothing is lost on the way
		}
	}
	r.buf = append(b, ']', '\n')
	_, err := r.w.Write(r.buf)
	return err
}

func (r *rowsWriter) Flush() error { return r.w.Flush() }
func (r *rowsWriter) Close() error { return r.w.Flush() }

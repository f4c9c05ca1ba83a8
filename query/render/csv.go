package render

import (
	"bufio"
	"bytes"
	"io"
)

// csvWriter writes RFC 4180 with "\n" line ends. A NULL is empty; where that would make an empty line, which readers pass
// over, it is written as "".
type csvWriter struct {
	w   *bufio.Writer
	buf []byte
}

func newCSV(w io.Writer, _ Options) Writer { return &csvWriter{w: bufio.NewWriterSize(w, 64<<10)} }

func (c *csvWriter) Columns(cols []Column) error {
	cells := make([]Cell, len(cols))
	for i, col := range cols {
		cells[i].Text = []byte(col.Name)
	}
	return c.Row(cells)
}

func (c *csvWriter) Row(cells []Cell) error {
	if len(cells) == 0 {
		return nil
	}
	b := c.buf[:0]
	for i, cell := range cells {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCSVField(b, cell.Text)
	}
	if len(b) == 0 {
		b = append(b, '"', '"')
	}
	c.buf = append(b, '\n')
	_, err := c.w.Write(c.buf)
	return err
}

// appendCSVField quotes what a reader would else take apart, and space at the ends, which some cut off.
func appendCSVField(dst, field []byte) []byte {
	if len(field) == 0 {
		return dst
	}
	if !bytes.ContainsAny(field, "\",\r\n") && field[0] != ' ' && field[len(field)-1] != ' ' {
		return append(dst, field...)
	}
	dst = append(dst, '"')
	for {
		i := bytes.IndexByte(field, '"')
		if i < 0 {
			break
		}
		dst = append(append(dst, field[:i+1]...), '"')
		field = field[i+1:]
	}
	return append(append(dst, field...), '"')
}

func (c *csvWriter) Flush() error { return c.w.Flush() }
func (c *csvWriter) Close() error { return c.w.Flush() }

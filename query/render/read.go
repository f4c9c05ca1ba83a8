package render

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/flowlake/flowlake/db/schema"
)

var (
	// ErrRows is returned by RowReader for bytes that are not the format "rows".
	ErrRows = errors.New("not a result of the format rows")
	// ErrRowTooLong is returned by RowReader for a line that is longer than MaxLineBytes.
	ErrRowTooLong = errors.New("row is too long")
)

// MaxLineBytes bounds a line that RowReader takes.
const MaxLineBytes = 64 << 20

// maxColumns bounds the columns that RowReader takes.
const maxColumns = 1 << 16

// RowReader reads a result of the format "rows": what one Flowlake hands to another. The cells it returns, given to a
// Writer, make the bytes that the sender's Writer would have made. For one goroutine.
type RowReader struct {
	r    *bufio.Reader
	cols []Column
	line []byte
	// cells are of the current row; they lie in the reader's buffer, in line or, where they had escapes, on their own.
	cells []Cell
	rows  int64
}

// NewRowReader reads the columns.
func NewRowReader(r io.Reader) (*RowReader, error) {
	rr := &RowReader{r: bufio.NewReaderSize(r, 64<<10)}
	line, err := rr.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read columns: %w", err)
	}
	var head struct {
		Columns []Column `json:"columns"`
	}
	if err := json.Unmarshal(line, &head); err != nil || head.Columns == nil || len(head.Columns) > maxColumns {
		return nil, fmt.Errorf("read columns: %w", ErrRows)
	}
	for i := range head.Columns {
		head.Columns[i].Type = ParseType(head.Columns[i].TypeName)
	}
	rr.cols = head.Columns
	rr.cells = make([]Cell, len(rr.cols))
	return rr, nil
}

// Columns are the result's columns.
func (r *RowReader) Columns() []Column { return r.cols }

// Next is the next row, borrowed until the call after; io.EOF at the end.
func (r *RowReader) Next() ([]Cell, error) {
	line, err := r.next()
	if err != nil {
		return nil, err
	}
	r.rows++
	if err := r.parse(line); err != nil {
		return nil, fmt.Errorf("read row %d: %w", r.rows, err)
	}
	return r.cells, nil
}

// next is the next line without its end. An end of the input within a line is an error.
func (r *RowReader) next() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.r.ReadSlice('\n')
		if len(r.line)+len(part) > MaxLineBytes {
			return nil, ErrRowTooLong
		}
		switch {
		case err == nil && len(r.line) == 0:
			return part[:len(part)-1], nil
		case err == nil:
			r.line = append(r.line, part...)
			return r.line[:len(r.line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			r.line = append(r.line, part...)
		case errors.Is(err, io.EOF) && len(part)+len(r.line) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// parse reads an array of texts and nulls, one for each column.
func (r *RowReader) parse(line []byte) error {
	if len(line) < 2 || line[0] != '[' || line[len(line)-1] != ']' {
		return ErrRows
	}
	line = line[1 : len(line)-1]
	for i := range r.cells {
		if i > 0 {
			if len(line) == 0 || line[0] != ',' {
				return ErrRows
			}
			line = line[1:]
		}
		var err error
		if r.cells[i], line, err = parseCell(line); err != nil {
			return err
		}
	}
	if len(line) > 0 {
		return ErrRows
	}
	return nil
}

func parseCell(line []byte) (c Cell, rest []byte, err error) {
	if rest, ok := bytes.CutPrefix(line, []byte("null")); ok {
		return Cell{Null: true}, rest, nil
	}
	if len(line) == 0 || line[0] != '"' {
		return c, nil, ErrRows
	}
	escaped := false
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if !escaped {
				return Cell{Text: line[1:i]}, line[i+1:], nil
			}
			var s string
			if json.Unmarshal(line[:i+1], &s) != nil {
				return c, nil, ErrRows
			}
			return Cell{Text: []byte(s)}, line[i+1:], nil
		}
	}
	return c, nil, ErrRows
}

// ParseType is the type whose SQL name is given; Varchar when it is not known, so that a newer server's types are shown as
// text.
func ParseType(name string) schema.Type {
	for t := schema.Boolean; t <= schema.Bytes; t++ {
		if t.String() == name {
			return t
		}
	}
	return schema.Varchar
}

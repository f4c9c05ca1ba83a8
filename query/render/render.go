// Package render writes query results as text: CSV, JSON, NDJSON, a table for the terminal. The command line and the HTTP
// door both use it, so the same question gives the same bytes everywhere.
package render

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/ast"
)

// ErrFormat is returned for a format name that is not known.
var ErrFormat = errors.New("unknown format")

// Column is the name and type of a column of a result.
type Column struct {
	Name string      `json:"name"`
	Type schema.Type `json:"-"`
	// TypeName is Type as it is called in SQL: what travels.
	TypeName string `json:"type"`
}

// Cell is a value as text. Text is borrowed until the row is written.
type Cell struct {
	Text []byte
	Null bool
}

// Writer writes one result: Columns once, Row for each row, then Close. For one goroutine.
type Writer interface {
	Columns(cols []Column) error
	// Row writes a row; cells are parallel to the columns and borrowed.
	Row(cells []Cell) error
	// Flush hands on what can be written already; a table keeps its first rows until it knows their widths.
	Flush() error
	// Close ends the result and flushes; it does not close what is below.
	Close() error
}

// Options say how a result is written.
type Options struct {
	// Width is the width of the terminal in characters; 0 does not fit tables to one.
	Width int
	// MaxRows bounds what a table buffers to align its columns; further rows are laid out like the first ones. Default 10000.
	MaxRows int
}

type format struct {
	name, mime string
	make       func(w io.Writer, o Options) Writer
}

var formats = []format{
	{"table", "text/plain; charset=utf-8", newTable},                // aligned columns, fitted to the terminal
	{"csv", "text/csv; charset=utf-8; header=present", newCSV},      // RFC 4180 with a header line; NULL is empty
	{"json", "application/json", newJSON},                           // one array of objects
	{"ndjson", "application/x-ndjson", newNDJSON},                   // one object a line
	{"rows", "application/vnd.flowlake.rows+x-ndjson", newRowsJSON}, // a line with the columns and their types, then one array a line
	{"markdown", "text/markdown; charset=utf-8", newMarkdown},       // a Markdown table
	{"vertical", "text/plain; charset=utf-8", newVertical},          // one value a line
}

// Names lists the formats.
func Names() []string {
	var out []string
	for _, f := range formats {
		out = append(out, f.name)
	}
	return out
}

// MIME is the media type of a format, "" when it is not known.
func MIME(name string) string {
	for _, f := range formats {
		if f.name == name {
			return f.mime
		}
	}
	return ""
}

// ByMIME is the first format with a media type, given without parameters; "" where there is none.
func ByMIME(mime string) string {
	for _, f := range formats {
		if base, _, _ := strings.Cut(f.mime, ";"); base == mime {
			return f.name
		}
	}
	return ""
}

// New makes a writer of the named format; the error for an unknown one wraps ErrFormat and names those there are.
func New(name string, w io.Writer, o Options) (Writer, error) {
	if o.MaxRows <= 0 {
		o.MaxRows = 10000
	}
	for _, f := range formats {
		if f.name == name {
			return f.make(w, o), nil
		}
	}
	return nil, fmt.Errorf("%w %q; there are %s", ErrFormat, name, strings.Join(Names(), ", "))
}

// Rows feeds batches to a Writer as cells. For one goroutine.
type Rows struct {
	w     Writer
	cells []Cell
	arena []byte
	ends  []int
}

// NewRows writes the header and returns what takes the batches. It fills in the TypeName of the columns.
func NewRows(w Writer, cols []Column) (*Rows, error) {
	cols = slices.Clone(cols)
	for i := range cols {
		cols[i].TypeName = cols[i].Type.String()
	}
	if err := w.Columns(cols); err != nil {
		return nil, err
	}
	return Body(w, len(cols)), nil
}

// Body is NewRows for a Writer that has its columns already.
func Body(w Writer, columns int) *Rows {
	return &Rows{w: w, cells: make([]Cell, columns), ends: make([]int, columns)}
}

// Batch writes all rows of b, whose columns are those given to NewRows.
func (r *Rows) Batch(b *batch.Batch) error {
	for row := range b.N {
		r.arena = r.arena[:0]
		for c, v := range b.Cols {
			if !v.IsNull(row) {
				r.arena = AppendValue(r.arena, v, row)
			}
			r.ends[c] = len(r.arena)
		}
		start := 0
		for c, v := range b.Cols {
			r.cells[c] = Cell{Text: r.arena[start:r.ends[c]], Null: v.IsNull(row)}
			start = r.ends[c]
		}
		if err := r.w.Row(r.cells); err != nil {
			return err
		}
	}
	return nil
}

// AppendValue appends the text of a value that is not NULL: times in RFC 3339 with nanoseconds, intervals as a
// cast to text gives them,
// maps and tag sets as JSON objects, bytes in hexadecimal with \x in front.
func AppendValue(dst []byte, v *batch.Vector, row int) []byte {
	switch v.Type {
	case schema.Boolean:
		return strconv.AppendBool(dst, v.I64[row] != 0)
	case schema.Integer, schema.BigInt:
		return strconv.AppendInt(dst, v.I64[row], 10)
	case schema.Double:
		return appendFloat(dst, v.F64[row])
	case schema.Timestamp:
		return time.Unix(0, v.I64[row]).UTC().AppendFormat(dst, time.RFC3339Nano)
	case schema.Interval:
		return ast.AppendInterval(dst, 0, 0, v.I64[row])
	case schema.Inet:
		return AppendInet(dst, v.Bytes(row))
	case schema.TagSet:
		if v.Dict == nil {
			return strconv.AppendUint(dst, uint64(v.Codes[row]), 10)
		}
		return AppendMap(dst, v.Bytes(row))
	case schema.Map:
		return AppendMap(dst, v.Bytes(row))
	case schema.Bytes:
		return hex.AppendEncode(append(dst, `\x`...), v.Bytes(row))
	}
	return append(dst, v.Bytes(row)...)
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// AppendInet appends an address of 16 bytes in canonical text; nothing for the unknown address.
func AppendInet(dst, addr []byte) []byte {
	if len(addr) != 16 {
		return dst
	}
	return netip.AddrFrom16([16]byte(addr)).Unmap().AppendTo(dst)
}

// AppendMap appends a tag-set encoding as a JSON object, keys ascending; damage is shown as it is.
func AppendMap(dst, enc []byte) []byte {
	dst = append(dst, '{')
	first := true
	err := tags.Each(enc, func(k, v []byte) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONString(dst, k)
		dst = append(dst, ':')
		dst = appendJSONString(dst, v)
	})
	if err != nil {
		dst = append(dst, `"error":`...)
		dst = appendJSONString(dst, []byte(err.Error()))
	}
	return append(dst, '}')
}

// isNumber says whether a column's text is a JSON number, and is aligned to the right.
func isNumber(t schema.Type) bool {
	return slices.Contains([]schema.Type{schema.Integer, schema.BigInt, schema.Double}, t)
}

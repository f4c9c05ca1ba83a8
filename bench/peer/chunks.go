package peer

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// Column is a column of a peer's table.
type Column struct {
	Name     string
	Type     schema.Type
	Nullable bool
	// Few says that values repeat often enough for a dictionary.
	Few bool
	// Distinct is the number of different texts among the first rows.
	Distinct int
	// source is the column of our table; key is the tag, where source is a tag set.
	source int
	key    string
}

// columns is the columns of a peer's table for rows like b's: one for each column and, peers having no tag sets, one for
// each tag key of a side. Maps, which the generator leaves empty, and sketches are left out.
func columns(b *batch.Batch) ([]Column, error) {
	var out []Column
	for i, c := range b.Table.Columns {
		v := b.Cols[i]
		switch c.Type {
		case schema.Map, schema.Bytes:
			if c.Role == schema.Sketch { // what is in it is in other columns too
				continue
			}
			if v != nil {
				return nil, fmt.Errorf("column %s: values of type %v have no form for peers", c.Name, c.Type)
			}
		case schema.TagSet:
			keys, err := tagKeys(v)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
			for _, k := range keys {
				out = append(out, Column{Name: c.Name + "_" + k, Type: schema.Varchar, Few: true, Distinct: v.Dict.Len(), source: i, key: k})
			}
		default:
			distinct := 0
			if v != nil {
				distinct = v.Dict.Len()
			}
			few := v == nil || v.Dict != nil && distinct <= b.N/4
			out = append(out, Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable, Few: few, Distinct: distinct, source: i})
		}
	}
	// a Parquet group has its fields by name
	slices.SortFunc(out, func(a, b Column) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

func tagKeys(v *batch.Vector) ([]string, error) {
	var keys []string
	if v == nil {
		return nil, nil
	}
	for i := range v.Dict.Len() {
		err := tags.Each(v.Dict.At(i), func(k, _ []byte) {
			if at, ok := slices.BinarySearch(keys, string(k)); !ok {
				keys = slices.Insert(keys, at, string(k))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (c *Column) node() parquet.Node {
	var n parquet.Node
	switch c.Type {
	case schema.Boolean:
		n = parquet.Leaf(parquet.BooleanType)
	case schema.Integer:
		n = parquet.Int(32)
	case schema.BigInt:
		n = parquet.Int(64)
	case schema.Double:
		n = parquet.Leaf(parquet.DoubleType)
	case schema.Timestamp:
		n = parquet.TimestampAdjusted(parquet.Nanosecond, false)
	default:
		n = parquet.String()
		if c.Few {
			n = parquet.Encoded(n, &parquet.RLEDictionary)
		}
	}
	if c.Nullable {
		n = parquet.Optional(n)
	}
	return n
}

// WriteChunks writes the different rows of a spec as Parquet files of ChunkRows rows below dir.
func WriteChunks(s workload.Spec, dir string) (files []string, cols []Column, err error) {
	g, err := workload.NewGenerator(s)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, nil, err
	}
	var w *chunkWriter
	for b := g.Next(); b != nil; b = g.Next() {
		if cols == nil {
			if cols, err = columns(b); err != nil {
				return nil, nil, err
			}
		}
		if w == nil {
			path := filepath.Join(dir, fmt.Sprintf("%s-%04d.parquet", s.Table, len(files)))
			if w, err = newChunkWriter(path, cols); err != nil {
				return nil, nil, err
			}
			files = append(files, path)
		}
		if err := w.append(b); err != nil {
			return nil, nil, fmt.Errorf("write %s: %w", files[len(files)-1], err)
		}
		if w.rows >= s.ChunkRows {
			if err := w.close(); err != nil {
				return nil, nil, err
			}
			w = nil
		}
	}
	if w != nil {
		err = w.close()
	}
	return files, cols, err
}

// chunkWriter writes one file.
type chunkWriter struct {
	f    *os.File
	w    *parquet.GenericWriter[any]
	cols []Column
	rows int
}

func newChunkWriter(path string, cols []Column) (*chunkWriter, error) {
	group := parquet.Group{}
	for i := range cols {
		group[cols[i].Name] = cols[i].node()
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &chunkWriter{f: f, cols: cols, w: parquet.NewGenericWriter[any](f, parquet.NewSchema("rows", group), parquet.Compression(&parquet.Snappy))}, nil
}

func (w *chunkWriter) close() error {
	err := w.w.Close()
	if e := w.f.Close(); err == nil {
		err = e
	}
	return err
}

// append writes the rows of a batch.
func (w *chunkWriter) append(b *batch.Batch) error {
	values := make([]parquet.Value, b.N*len(w.cols)) // row after row
	for i := range w.cols {
		if err := w.cols[i].fill(b, values, i, len(w.cols)); err != nil {
			return fmt.Errorf("column %s: %w", w.cols[i].Name, err)
		}
	}
	rows := make([]parquet.Row, b.N)
	for i := range rows {
		rows[i] = values[i*len(w.cols) : (i+1)*len(w.cols)]
	}
	_, err := w.w.WriteRows(rows)
	w.rows += b.N
	return err
}

// fill sets every stride-th value, from the at-th, to the column's values.
func (c *Column) fill(b *batch.Batch, values []parquet.Value, at, stride int) error {
	v := b.Cols[c.source]
	if v == nil {
		v = &batch.Vector{}
		v.Default(&b.Table.Columns[c.source], b.N)
	}
	texts, err := c.texts(v)
	if err != nil {
		return err
	}
	level := 0
	if c.Nullable {
		level = 1
	}
	for i := range b.N {
		var p parquet.Value
		switch {
		case v.IsNull(i):
			values[i*stride+at] = parquet.NullValue().Level(0, 0, at)
			continue
		case texts != nil:
			p = texts[v.Codes[i]]
		case c.Type == schema.Double:
			p = parquet.DoubleValue(v.F64[i])
		case c.Type == schema.Boolean:
			p = parquet.BooleanValue(v.I64[i] != 0)
		case c.Type == schema.Integer:
			p = parquet.Int32Value(int32(v.I64[i]))
		default:
			p = parquet.Int64Value(v.I64[i])
		}
		values[i*stride+at] = p.Level(0, level, at)
	}
	return nil
}

// texts is what the entries of a vector's dictionary are in the column; nil for columns without one.
func (c *Column) texts(v *batch.Vector) ([]parquet.Value, error) {
	if v.Dict == nil {
		return nil, nil
	}
	out := make([]parquet.Value, v.Dict.Len())
	for i := range out {
		text := v.Dict.At(i)
		switch {
		case c.key != "":
			text, _ = tags.Get(text, c.key)
		case c.Type == schema.Inet:
			addr, ok := netip.AddrFromSlice(text)
			if len(text) > 0 && !ok {
				return nil, fmt.Errorf("an address of %d bytes", len(text))
			}
			if text = nil; ok {
				text = []byte(addr.String())
			}
		}
		out[i] = parquet.ByteArrayValue(text)
	}
	return out, nil
}

package segment

import (
	"fmt"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// Inspection is what a segment is made of, for `flowlake inspect segment`.
type Inspection struct {
	Info    Info
	Columns []ColumnInspection
	// IndexBytes is what lies behind the pages: Bloom filters, page indexes, index block and footer.
	IndexBytes int64
}

// ColumnInspection is one column over all row groups. Sizes are bytes with page headers.
type ColumnInspection struct {
	Name       string
	Type       schema.Type
	Nullable   bool
	Pages      int
	Encodings  map[string]int // data pages by encoding
	Compressed int            // data pages that are compressed
	Constant   int            // data pages whose rows all hold the same number
	Nulls      int64
	// Stored is what the column takes in the file, dictionaries included; Raw the same before compression.
	Stored, Raw int64
	// Plain is what the values would take one by one without any encoding: of numbers, tag sets and booleans. Of text it is
	// Raw, since only that is known without reading the pages.
	Plain           int64
	Dictionaries    int64 // bytes of Stored that are dictionary pages
	DictionaryItems int64 // entries of all dictionaries
	Bloom           int64 // bytes of Bloom filters and page locators
}

// Inspect describes a segment of any table. It reads only what is behind the pages.
func Inspect(fs vfs.FS, path string) (in *Inspection, err error) {
	defer guard(path, 0, &err)
	file, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	defer file.Close()
	r := &opened{path: path, file: file}
	if err := r.load(); err != nil {
		return nil, err
	}
	in = &Inspection{Info: r.index.info, IndexBytes: r.index.info.Bytes}
	for k, c := range r.index.columns {
		col := ColumnInspection{Name: c.name, Type: c.typ, Nullable: c.optional, Encodings: map[string]int{}}
		for g := range r.index.groups {
			col.add(&r.index.groups[g].chunks[k])
		}
		col.Plain = plainBytes(&col, r.index.info.Rows)
		in.IndexBytes -= col.Stored
		in.Columns = append(in.Columns, col)
	}
	return in, nil
}

func (c *ColumnInspection) add(m *chunkMeta) {
	if m.dictLen > 0 {
		c.Dictionaries += int64(m.dict.hdr + m.dict.size)
		c.Stored += int64(m.dict.hdr + m.dict.size)
		c.Raw += int64(m.dict.hdr + m.dict.raw)
		c.DictionaryItems += int64(m.dictLen)
	}
	c.Bloom += int64(m.bloomLen) + m.locator.bytes()
	for _, p := range m.pages {
		c.Pages++
		c.Encodings[encodingNames[p.enc]]++
		if p.flags&pageCompressed != 0 {
			c.Compressed++
		}
		c.Nulls += int64(p.nulls)
		if c.Type.Physical() == schema.Int64 && p.flags&pageRange != 0 && p.min == p.max && p.nulls == 0 {
			c.Constant++
		}
		c.Stored += int64(p.hdr + p.size)
		c.Raw += int64(p.hdr + p.raw)
	}
}

// plainBytes is what rows of the column take without any encoding.
func plainBytes(c *ColumnInspection, rows int64) int64 {
	rows -= c.Nulls
	switch physicalOf(c.Type) {
	case pqBoolean:
		return (rows + 7) / 8
	case pqInt32:
		return 4 * rows
	case pqByteArray:
		return c.Raw
	}
	return 8 * rows
}

// Why says in words what of the data led to the column's encoding.
func (c *ColumnInspection) Why() string {
	switch e := c.Encodings; {
	case c.Pages == 0:
		return ""
	case c.Constant == c.Pages:
		return "constant"
	case c.Type.Physical() == schema.Int64 && e["RLE_DICTIONARY"] > 0 && len(e) > 1:
		return "page by page: runs of few values, entropy of the bytes, differences"
	case c.Type.Physical() == schema.Int64 && e["PLAIN"] == c.Pages:
		return "many are the one before"
	case c.Type.Physical() == schema.Int64 && e["PLAIN"] > 0:
		return "page by page: repeats of the one before, entropy of the bytes, differences"
	case e["BYTE_STREAM_SPLIT"] > 0 && e["DELTA_BINARY_PACKED"]+e["PLAIN"] > 0:
		return "page by page: entropy of the bytes against differences"
	case e["BYTE_STREAM_SPLIT"] > 0:
		return "no order, few different bytes"
	case e["RLE_DICTIONARY"] > 0 && len(e) > 1:
		return "values repeat, until the dictionary was full"
	case e["RLE_DICTIONARY"] > 0:
		return "values repeat"
	case e["DELTA_LENGTH_BYTE_ARRAY"] > 0:
		return "values hardly repeat"
	case e["DELTA_BINARY_PACKED"] > 0:
		return "small differences, or no pattern at all"
	}
	return "as it is"
}

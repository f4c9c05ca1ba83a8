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
	Nulls      int64
	// Stored is what the column takes in the file, dictionaries included; Raw the same before compression.
	Stored, Raw     int64
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
	r := &Reader{path: path, file: file}
	if err := r.load(); err != nil {
		return nil, err
	}
	in = &Inspection{Info: r.Info(), IndexBytes: r.Info().Bytes}
	for k, c := range r.index.columns {
		col := ColumnInspection{Name: c.name, Type: c.typ, Nullable: c.optional, Encodings: map[string]int{}}
		for g := range r.index.groups {
			col.add(&r.index.groups[g].chunks[k])
		}
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
		c.Stored += int64(p.hdr + p.size)
		c.Raw += int64(p.hdr + p.raw)
	}
}

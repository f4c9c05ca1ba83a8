package segment

import "github.com/flowlake/flowlake/db/schema"

// UnitBytes is about what all columns of a unit take in memory when they are decoded, dictionaries included: the typed
// slices, and the text as it is stored uncompressed.
func (r *Reader) UnitBytes(u Unit) int64 {
	var n int64
	g := &r.index.groups[u.RowGroup]
	for _, k := range r.columns {
		if k < 0 {
			n += 8 * int64(u.Rows)
			continue
		}
		c := &g.chunks[k]
		width := int64(8)
		switch r.index.columns[k].typ.Physical() {
		case schema.ID, schema.Code:
			width = 4
			n += int64(c.dict.raw) + int64(c.dictLen)*4
		}
		if int(u.Page) >= len(c.pages) {
			continue
		}
		p := &c.pages[u.Page]
		n += width * int64(p.rows)
		if width == 4 && !c.allDict {
			n += int64(p.raw) + 4*int64(p.rows) // text that is stored as it is becomes a dictionary of its own
		}
	}
	return n
}

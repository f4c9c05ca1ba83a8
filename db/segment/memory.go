package segment

import (
	"unsafe"

	"github.com/flowlake/flowlake/db/schema"
)

// memory is about what the index takes.
func (x *fileIndex) memory() int64 {
	n := int64(len(x.text)) + int64(unsafe.Sizeof(*x))
	for i := range x.columns {
		n += int64(unsafe.Sizeof(x.columns[i])) + int64(len(x.columns[i].name))
	}
	for g := range x.groups {
		chunks := x.groups[g].chunks
		n += int64(unsafe.Sizeof(x.groups[g]))
		for i := range chunks {
			c := &chunks[i]
			n += int64(unsafe.Sizeof(*c)) + int64(cap(c.pages))*int64(unsafe.Sizeof(pageMeta{})) +
				int64(cap(c.bloomCRC))*4 + int64(cap(c.locator.sections))*int64(unsafe.Sizeof(locatorPart{}))
		}
	}
	return n
}

// unitBytes is Reader.UnitBytes.
func (r *opened) unitBytes(u Unit) int64 {
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
		default:
			n += int64(c.dictLen) * 8
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

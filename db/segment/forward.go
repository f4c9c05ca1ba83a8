package segment

import "github.com/flowlake/flowlake/db/schema"

// What merging asks of segments beside their rows: where it need not read them, and how much it may hold. A merge holds its
// inputs open, so that none of this can fail.

// Hold opens the segment, if it is closed, and keeps it open until the caller calls Let.
func (r *Reader) Hold() error {
	_, err := r.pin()
	return err
}

// Let ends a Hold.
func (r *Reader) Let() { r.unpin() }

// Uniform says, without reading them, whether all rows of a unit are known to hold the same value in a column: a number or
// tag-set id, or NULL; of text only that of a column which the file does not have, "". The segment must be held.
func (r *Reader) Uniform(u Unit, column int) (value int64, null, ok bool) {
	return r.held().uniform(u, column)
}

// Direct says that a unit's text is stored value by value: its dictionary is the page's own. The segment must be held.
func (r *Reader) Direct(u Unit, column int) bool { return r.held().direct(u, column) }

// TextBytes is about the memory of a unit's text as it is stored value by value, and of the dictionaries of its row group,
// which its other text is in. The segment must be held.
func (r *Reader) TextBytes(u Unit) (direct, dictionaries int64) { return r.held().textBytes(u) }

// uniform is Reader.Uniform.
func (r *opened) uniform(u Unit, column int) (value int64, null, ok bool) {
	c := &r.table.Columns[column]
	k := r.columns[column]
	if k < 0 {
		return 0, c.Nullable, true
	}
	p := &r.index.groups[u.RowGroup].chunks[k].pages[u.Page]
	typ := r.index.columns[k].typ.Physical()
	switch {
	case typ != schema.Int64 && typ != schema.ID:
		return 0, false, false
	case p.nulls > 0: // where the table's column is not nullable any more, NULL is 0
		return 0, c.Nullable, p.nulls == p.rows
	}
	return p.min, false, p.flags&pageRange != 0 && p.min == p.max
}

// direct is Reader.Direct.
func (r *opened) direct(u Unit, column int) bool {
	k := r.columns[column]
	return k >= 0 && r.index.groups[u.RowGroup].chunks[k].pages[u.Page].enc != encDictionary
}

// textBytes is Reader.TextBytes.
func (r *opened) textBytes(u Unit) (direct, dictionaries int64) {
	g := &r.index.groups[u.RowGroup]
	for _, k := range r.columns {
		if k < 0 || r.index.columns[k].typ.Physical() != schema.Code {
			continue
		}
		c := &g.chunks[k]
		dictionaries += int64(c.dict.raw)
		if p := &c.pages[u.Page]; p.enc != encDictionary {
			direct += int64(p.raw) + 4*int64(p.rows)
		}
	}
	return direct, dictionaries
}

// Room is how many rows the row group in hand still takes.
func (w *Writer) Room() int { return w.opt.RowGroupRows - w.groupN - w.pageN }

package compact

import (
	"runtime"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// window joins parts of several inputs into one batch, column by column. Its memory is used again by every window.
type window struct {
	b     batch.Batch
	vecs  []batch.Vector
	remap []uint32 // code of a part -> code in the window plus one
	text  []arena  // by column
	valid []batch.Bitmap
}

type arena struct {
	data []byte
	offs []uint32
}

func (w *window) init(t *schema.Table) {
	w.vecs = make([]batch.Vector, len(t.Columns))
	w.text = make([]arena, len(t.Columns))
	w.valid = make([]batch.Bitmap, len(t.Columns))
	w.b = batch.Batch{Table: t, Cols: make([]*batch.Vector, len(t.Columns))}
	for i := range w.vecs {
		w.b.Cols[i] = &w.vecs[i]
	}
}

// join is the parts one after another; ends are their ends. The batch is valid until the next join.
func (w *window) join(parts []part) (b *batch.Batch, ends []int) {
	w.b.N = 0
	for _, p := range parts {
		w.b.N += p.to - p.from
		ends = append(ends, w.b.N)
	}
	for i := range w.vecs {
		if i%8 == 0 {
			runtime.Gosched()
		}
		w.column(i, parts)
	}
	return &w.b, ends
}

func (w *window) column(i int, parts []part) {
	v, typ := &w.vecs[i], w.b.Table.Columns[i].Type
	v.Reset(typ, w.b.N)
	w.validity(i, parts)
	at := 0
	if typ.Physical() != schema.Code {
		for _, p := range parts {
			src := p.in.rows.Cols[i]
			switch typ.Physical() {
			case schema.Int64:
				at += copy(v.I64[at:], src.I64[p.from:p.to])
			case schema.Float64:
				at += copy(v.F64[at:], src.F64[p.from:p.to])
			default:
				at += copy(v.Codes[at:], src.Codes[p.from:p.to])
			}
		}
		return
	}
	a := &w.text[i]
	a.data, a.offs = a.data[:0], append(a.offs[:0], 0)
	for _, p := range parts {
		n := p.to - p.from
		w.codes(a, v.Codes[at:at+n], p.in.rows.Cols[i], p.from)
		at += n
	}
	v.Dict = batch.NewDict(a.data, a.offs) // a new header each time: the address of a dictionary tells it from others
}

// codes appends to the arena the entries that the part uses and sets dst to their codes. Entries of different parts may be
// equal: the writer tells, it looks each entry up once.
func (w *window) codes(a *arena, dst []uint32, src *batch.Vector, from int) {
	data, offs := src.Dict.Arena()
	codes := src.Codes[from : from+len(dst)]
	if cap(w.remap) < src.Dict.Len() {
		w.remap = make([]uint32, src.Dict.Len())
	}
	remap := w.remap[:src.Dict.Len()]
	clear(remap)
	for k, c := range codes {
		if remap[c] == 0 {
			a.data = append(a.data, data[offs[c]:offs[c+1]]...)
			a.offs = append(a.offs, uint32(len(a.data)))
			remap[c] = uint32(len(a.offs) - 1)
		}
		dst[k] = remap[c] - 1
	}
}

// validity joins the NULL bitmaps, if any part has one.
func (w *window) validity(i int, parts []part) {
	some := false
	for _, p := range parts {
		some = some || p.in.rows.Cols[i].Valid != nil
	}
	if !some {
		return
	}
	words := (w.b.N + 63) / 64
	if cap(w.valid[i]) < words {
		w.valid[i] = batch.NewBitmap(w.b.N)
	}
	valid := w.valid[i][:words]
	clear(valid)
	at := 0
	for _, p := range parts {
		src := p.in.rows.Cols[i]
		for r := p.from; r < p.to; r++ {
			if !src.IsNull(r) {
				valid.Set(at)
			}
			at++
		}
	}
	w.vecs[i].Valid = valid
}

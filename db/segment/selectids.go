package segment

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/pred"
)

// denseIDs is up to which id, for each id asked, a table of bits by id is cheaper than asking the set of ids.
const denseIDs = 32

// idTable is the set of ids of a Tags term: as bits by id, once that pays, else as it is. It is kept for as long as units
// share a request.
type idTable struct {
	req   *pred.Request
	set   *roaring.Bitmap
	flip  uint64   // ~0 for NOT
	words []uint64 // bits by id, 0 for ids beyond; nil while set is to be asked
	asked uint64   // ids asked so far
}

// idTable is the table of term i, of which so many ids will be asked.
func (q *unitRead) idTable(t *pred.Term, i, ask int) *idTable {
	s := &q.s.luts[i].ids
	if s.req != q.req {
		*s = idTable{req: q.req, words: s.words[:0:0]}
		s.begin(t)
	}
	s.ask(ask)
	return s
}

func (s *idTable) begin(t *pred.Term) {
	if s.set = t.IDs; t.Not {
		s.flip = ^uint64(0)
	}
}

// ask notes that so many ids will be asked, and makes the table if they are enough by now.
func (s *idTable) ask(n int) {
	s.asked += uint64(n)
	if len(s.words) > 0 {
		return
	}
	if s.set.IsEmpty() {
		s.words = []uint64{0}
	} else if uint64(s.set.Maximum()) < denseIDs*s.asked {
		s.words = s.set.ToDense()
	}
}

// bit is 1 when the term is true of an id. The table must be there.
func (s *idTable) bit(id uint32) uint64 {
	var word uint64
	if w := int(id >> 6); w < len(s.words) {
		word = s.words[w]
	}
	return (word ^ s.flip) >> (id & 63) & 1
}

// has says whether the term is true of an id.
func (s *idTable) has(id uint32) bool {
	if len(s.words) > 0 {
		return s.bit(id) != 0
	}
	return s.set.Contains(id) != (s.flip != 0)
}

// truth appends whether the term is true of each id.
func (s *idTable) truth(to []bool, ids []uint32) []bool {
	for _, id := range ids {
		to = append(to, s.has(id))
	}
	return to
}

// selectIDs appends to rows those of the selection for whose ids term i is true. rows may be q.sel[:0].
func (q *unitRead) selectIDs(rows []int32, ids []uint32, t *pred.Term, i int) []int32 {
	var own idTable
	asked := len(ids)
	if q.sel != nil {
		asked = len(q.sel)
	}
	s := &own
	if i >= 0 {
		s = q.idTable(t, i, asked)
	} else {
		s.begin(t)
		s.ask(asked)
	}
	return s.selectRows(rows, ids, q.sel)
}

func (s *idTable) selectRows(rows []int32, ids []uint32, in []int32) []int32 {
	if len(s.words) == 0 {
		return s.askRows(rows, ids, in)
	}
	k := len(rows)
	if in == nil {
		rows = extend(rows, k, len(ids))
		for i, id := range ids {
			rows[k] = int32(i)
			k += int(s.bit(id))
		}
		return rows[:k]
	}
	rows = extend(rows, k, len(in))
	for _, i := range in { // what is written has been read
		rows[k] = i
		k += int(s.bit(ids[i]))
	}
	return rows[:k]
}

// askRows is selectRows without a table; neighbours often have the same id.
func (s *idTable) askRows(rows []int32, ids []uint32, in []int32) []int32 {
	not := s.flip != 0
	last, ok := uint32(0), s.set.Contains(0) != not
	keep := func(i int32) {
		if id := ids[i]; id != last {
			last, ok = id, s.set.Contains(id) != not
		}
		if ok {
			rows = append(rows, i)
		}
	}
	if in != nil {
		for _, i := range in {
			keep(i)
		}
		return rows
	}
	for i := range int32(len(ids)) {
		keep(i)
	}
	return rows
}

package segment

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"github.com/flowlake/flowlake/db/schema"
)

// This file is what other readers see: Parquet's page headers, page index and footer (parquet-format, parquet.thrift).

func (t *thriftWriter) dataPage(p *pageMeta) {
	t.i32(1, pageDataV2)
	t.i32(2, int32(p.raw))
	t.i32(3, int32(p.size))
	t.i32(4, int32(p.crc))
	t.open(8)
	t.i32(1, int32(p.rows))
	t.i32(2, int32(p.nulls))
	t.i32(3, int32(p.rows))
	t.i32(4, int32(p.enc))
	t.i32(5, int32(p.def))
	t.i32(6, 0) // no repetition levels
	t.boolean(7, p.flags&pageCompressed != 0)
	t.shut()
	t.shut()
}

func (t *thriftWriter) dictionaryPage(p *pageMeta, entries uint32) {
	t.i32(1, pageDictionary)
	t.i32(2, int32(p.raw))
	t.i32(3, int32(p.size))
	t.i32(4, int32(p.crc))
	t.open(7)
	t.i32(1, int32(entries))
	t.i32(2, encPlain)
	t.shut()
	t.shut()
}

func (t *thriftWriter) bloomHeader(size int) {
	t.i32(1, int32(size))
	t.union(2, 1) // split block
	t.union(3, 1) // xxHash
	t.union(4, 1) // uncompressed
	t.shut()
}

// footer writes the page indexes and the metadata of a finished writer.
type footer struct {
	w       *Writer
	indexes []indexPlace // per row group and column
}

type indexPlace struct {
	column, offset       int64
	columnLen, offsetLen int32
}

func (f *footer) pageIndexes() error {
	w := f.w
	f.indexes = make([]indexPlace, len(w.sums))
	for g := range w.index.groups {
		for i := range w.columns {
			m, at := &w.index.groups[g].chunks[i], &f.indexes[g*len(w.columns)+i]
			if !hasColumnIndex(m) {
				continue
			}
			w.thrift.reset(w.thrift.b[:0])
			f.columnIndex(m, w.columns[i].col)
			at.column, at.columnLen = w.pos(), int32(len(w.thrift.b))
			if err := w.write(w.thrift.b); err != nil {
				return err
			}
		}
	}
	for g := range w.index.groups {
		for i := range w.columns {
			at := &f.indexes[g*len(w.columns)+i]
			w.thrift.reset(w.thrift.b[:0])
			f.offsetIndex(&w.index.groups[g].chunks[i])
			at.offset, at.offsetLen = w.pos(), int32(len(w.thrift.b))
			if err := w.write(w.thrift.b); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasColumnIndex: Parquet wants bounds for every page that is not all NULL, or no index at all.
func hasColumnIndex(m *chunkMeta) bool {
	for _, p := range m.pages {
		if p.flags&pageRange == 0 && p.nulls < p.rows {
			return false
		}
	}
	return true
}

func (f *footer) columnIndex(m *chunkMeta, c *schema.Column) {
	t := &f.w.thrift
	t.list(1, thriftTrue, len(m.pages))
	for _, p := range m.pages {
		t.elemBool(p.nulls == p.rows)
	}
	var buf []byte
	t.list(2, thriftBinary, len(m.pages))
	for i := range m.pages {
		lo, _ := f.bounds(buf, &m.pages[i], c.Type)
		t.elemBin(lo)
	}
	t.list(3, thriftBinary, len(m.pages))
	for i := range m.pages {
		_, hi := f.bounds(buf, &m.pages[i], c.Type)
		t.elemBin(hi)
	}
	t.i32(4, f.boundaryOrder(m, c.Type))
	t.list(5, thriftI64, len(m.pages))
	for _, p := range m.pages {
		t.elemInt(int64(p.nulls))
	}
	t.shut()
}

// bounds are a page's minimum and maximum in PLAIN encoding; nil when it has none. buf may be nil.
func (f *footer) bounds(buf []byte, p *pageMeta, t schema.Type) (lo, hi []byte) {
	if p.flags&pageRange == 0 {
		return nil, nil
	}
	le := binary.LittleEndian
	switch physicalOf(t) {
	case pqByteArray:
		return textAt(f.w.enc.text, p.min), textAt(f.w.enc.text, p.max)
	case pqBoolean:
		return append(buf, byte(p.min)), append(buf, byte(p.max))
	case pqInt32:
		return le.AppendUint32(buf, uint32(p.min)), le.AppendUint32(buf, uint32(p.max))
	}
	return le.AppendUint64(buf, uint64(p.min)), le.AppendUint64(buf, uint64(p.max))
}

// boundaryOrder: 1 when both bounds ascend over the pages, 2 when both descend, else 0.
func (f *footer) boundaryOrder(m *chunkMeta, t schema.Type) int32 {
	up, down := true, true
	var prev *pageMeta
	for i := range m.pages {
		p := &m.pages[i]
		if p.flags&pageRange == 0 {
			continue
		}
		if prev != nil {
			lo, hi := f.compare(prev.min, p.min, t), f.compare(prev.max, p.max, t)
			up = up && lo <= 0 && hi <= 0
			down = down && lo >= 0 && hi >= 0
		}
		prev = p
	}
	switch {
	case up:
		return 1
	case down:
		return 2
	}
	return 0
}

func (f *footer) compare(a, b int64, t schema.Type) int {
	switch t.Physical() {
	case schema.Code:
		x, y := string(textAt(f.w.enc.text, a)), string(textAt(f.w.enc.text, b))
		if x < y {
			return -1
		} else if x > y {
			return 1
		}
		return 0
	case schema.Float64:
		x, y := math.Float64frombits(uint64(a)), math.Float64frombits(uint64(b))
		if x < y {
			return -1
		} else if x > y {
			return 1
		}
		return 0
	}
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

func (f *footer) offsetIndex(m *chunkMeta) {
	t := &f.w.thrift
	t.list(1, thriftStruct, len(m.pages))
	row := int64(0)
	for _, p := range m.pages {
		t.elem()
		t.i64(1, p.off)
		t.i32(2, int32(p.hdr+p.size))
		t.i64(3, row)
		t.shut()
		row += int64(p.rows)
	}
	t.shut()
}

// metadata is the FileMetaData struct.
func (f *footer) metadata() []byte {
	w := f.w
	t := &w.thrift
	t.reset(nil)
	t.i32(1, 2)
	t.list(2, thriftStruct, len(w.columns)+1)
	t.elem()
	t.str(4, "flowlake")
	t.i32(5, int32(len(w.columns)))
	t.shut()
	for _, c := range w.columns {
		f.schemaElement(c.col)
	}
	t.i64(3, w.index.info.Rows)
	t.list(4, thriftStruct, len(w.index.groups))
	for g := range w.index.groups {
		f.rowGroup(g)
	}
	f.keyValues()
	t.str(6, w.opt.CreatedBy)
	t.list(7, thriftStruct, len(w.columns))
	for range w.columns {
		t.elem()
		t.open(1) // order as the type defines it
		t.shut()
		t.shut()
	}
	t.shut()
	return t.b
}

func (f *footer) schemaElement(c *schema.Column) {
	t := &f.w.thrift
	t.elem()
	t.i32(1, physicalOf(c.Type))
	t.i32(3, int32(boolByte(c.Nullable))) // REQUIRED or OPTIONAL
	t.str(4, c.Name)
	switch c.Type {
	case schema.Varchar, schema.Inet, schema.Map:
		t.i32(6, 0) // UTF8
		t.union(10, 1)
	case schema.TagSet:
		t.i32(6, 13) // UINT_32
		t.open(10)
		t.open(10)
		t.i8(1, 32)
		t.boolean(2, false)
		t.shut()
		t.shut()
	case schema.Timestamp:
		t.open(10)
		t.open(8)
		t.boolean(1, true) // UTC
		t.union(2, 3)      // nanoseconds
		t.shut()
		t.shut()
	}
	t.shut()
}

func (f *footer) keyValues() {
	w, t := f.w, &f.w.thrift
	i := &w.index.info
	pairs := map[string]string{
		"flowlake.format":     fmt.Sprint(formatVersion),
		"flowlake.table":      i.Table,
		"flowlake.resolution": i.Resolution,
		"flowlake.level":      fmt.Sprint(i.Level),
		"flowlake.log":        fmt.Sprintf("%d-%d", i.MinIndex, i.MaxIndex),
	}
	keys := make([]string, 0, len(pairs))
	for k := range pairs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	t.list(5, thriftStruct, len(keys))
	for _, k := range keys {
		t.elem()
		t.str(1, k)
		t.str(2, pairs[k])
		t.shut()
	}
}

func (f *footer) rowGroup(g int) {
	w, t := f.w, &f.w.thrift
	group := &w.index.groups[g]
	sums := w.sums[g*len(w.columns) : (g+1)*len(w.columns)]
	t.elem()
	t.list(1, thriftStruct, len(group.chunks))
	var raw, stored int64
	for i := range group.chunks {
		f.chunk(i, &group.chunks[i], &sums[i], &f.indexes[g*len(w.columns)+i])
		raw += sums[i].raw
		stored += sums[i].stored
	}
	t.i64(2, raw)
	t.i64(3, group.rows)
	f.sorting(sums[0].sorting)
	t.i64(5, sums[0].start)
	t.i64(6, stored)
	t.shut()
}

func (f *footer) sorting(terms int) {
	t := &f.w.thrift
	var columns []int
	for _, s := range f.w.table.Sort[:terms] {
		if s.Bucket == 0 {
			columns = append(columns, s.Column)
		}
	}
	if len(columns) == 0 {
		return
	}
	t.list(4, thriftStruct, len(columns))
	for _, c := range columns {
		t.elem()
		t.i32(1, int32(c))
		t.boolean(2, false)
		t.boolean(3, false)
		t.shut()
	}
}

func (f *footer) chunk(i int, m *chunkMeta, s *chunkSums, at *indexPlace) {
	t, c := &f.w.thrift, f.w.columns[i].col
	t.elem()
	t.i64(2, 0) // file offset: deprecated, 0 by the format's advice
	t.open(3)
	t.i32(1, physicalOf(c.Type))
	stats := encodingStats(m, c.Nullable)
	t.list(2, thriftI32, len(stats.encodings))
	for _, e := range stats.encodings {
		t.elemInt(int64(e))
	}
	t.list(3, thriftBinary, 1)
	t.elemBin([]byte(c.Name))
	t.i32(4, int32(m.codec))
	var rows, nulls int64
	for _, p := range m.pages {
		rows, nulls = rows+int64(p.rows), nulls+int64(p.nulls)
	}
	t.i64(5, rows)
	t.i64(6, s.raw)
	t.i64(7, s.stored)
	t.i64(9, m.pages[0].off)
	if m.dictLen > 0 {
		t.i64(11, m.dict.off)
	}
	f.statistics(m, c.Type, nulls)
	t.list(13, thriftStruct, len(stats.counts))
	for _, n := range stats.counts {
		t.elem()
		t.i32(1, n.page)
		t.i32(2, int32(n.encoding))
		t.i32(3, n.count)
		t.shut()
	}
	if m.bloomLen > 0 {
		t.i64(14, s.bloomHeader)
		t.i32(15, s.bloomLength)
	}
	t.shut()
	t.i64(4, at.offset)
	t.i32(5, at.offsetLen)
	if at.columnLen > 0 {
		t.i64(6, at.column)
		t.i32(7, at.columnLen)
	}
	t.shut()
}

// statistics are the chunk's bounds: the outermost of its pages'.
func (f *footer) statistics(m *chunkMeta, typ schema.Type, nulls int64) {
	t := &f.w.thrift
	t.open(12)
	t.i64(3, nulls)
	var lo, hi *pageMeta
	for i := range m.pages {
		p := &m.pages[i]
		if p.flags&pageRange == 0 {
			if p.nulls < p.rows && p.flags&pageNaN == 0 {
				lo = nil
				break
			}
			continue
		}
		if lo == nil || f.compare(p.min, lo.min, typ) < 0 {
			lo = p
		}
		if hi == nil || f.compare(p.max, hi.max, typ) > 0 {
			hi = p
		}
	}
	if lo != nil {
		_, most := f.bounds(nil, hi, typ)
		least, _ := f.bounds(nil, lo, typ)
		t.bin(5, most)
		t.bin(6, least)
		t.boolean(7, hi.flags&pageMaxCut == 0)
		t.boolean(8, lo.flags&pageMinCut == 0)
	}
	t.shut()
}

type pageCount struct {
	page     int32
	encoding uint8
	count    int32
}

type chunkEncodings struct {
	encodings []uint8
	counts    []pageCount
}

func encodingStats(m *chunkMeta, optional bool) (s chunkEncodings) {
	var seen [16]bool
	add := func(page int32, enc uint8) {
		if !seen[enc] {
			seen[enc] = true
			s.encodings = append(s.encodings, enc)
		}
		for i := range s.counts {
			if s.counts[i].page == page && s.counts[i].encoding == enc {
				s.counts[i].count++
				return
			}
		}
		s.counts = append(s.counts, pageCount{page, enc, 1})
	}
	if m.dictLen > 0 {
		add(pageDictionary, encPlain)
	}
	for _, p := range m.pages {
		add(pageDataV2, p.enc)
	}
	if optional && !seen[encRLE] {
		s.encodings = append(s.encodings, encRLE)
	}
	return s
}

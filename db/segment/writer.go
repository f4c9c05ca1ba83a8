package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// Writer writes one segment. It is for one goroutine. Its memory is one page of values plus one row group of encoded
// pages, whatever the number of rows.
type Writer struct {
	fs    vfs.FS
	path  string
	file  vfs.File
	table *schema.Table
	opt   Options

	enc     *encoder
	columns []*columnWriter
	index   fileIndex
	thrift  thriftWriter
	body    []byte // a page's levels and values as stored
	buf     []byte // bytes not written yet
	off     int64  // bytes written to the file
	pageN   int    // rows in the page in hand
	groupN  int    // rows in the row group in hand, without the page
	cuts    []pageCut
	// what the row groups' Parquet metadata needs beyond the index
	sums  []chunkSums // per row group and column
	err   error
	ended bool
}

// chunkSums is the part of a chunk's Parquet metadata that the index does not repeat.
type chunkSums struct {
	start       int64 // first byte of the chunk
	stored, raw int64 // bytes of all pages with headers, compressed and not
	bloomHeader int64 // offset of the Bloom filter's header
	bloomLength int32 // of header and bitset
	sorting     int   // row group's sorting columns, in the first chunk of a group
}

func (o *Options) fill(t *schema.Table) error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.PageRows, 16<<10)
	groupRows := maxGroupRows
	for i := range t.Columns {
		if hasBloom(&t.Columns[i]) { // a looked-up id should lead to few rows, and its dictionary stay small
			groupRows = maxGroupRows / 4
		}
	}
	def(&o.RowGroupRows, groupRows)
	def(&o.PageBytes, 4<<20)
	def(&o.DictionaryBytes, 4<<20)
	if o.CreatedBy == "" {
		o.CreatedBy = "flowlake"
	}
	switch {
	case o.PageRows < 64 || o.PageRows > maxPageRows:
		return fmt.Errorf("page rows %d: must be 64 to %d", o.PageRows, maxPageRows)
	case o.RowGroupRows < o.PageRows || o.RowGroupRows > maxGroupRows:
		return fmt.Errorf("row group rows %d: must be %d to %d", o.RowGroupRows, o.PageRows, maxGroupRows)
	case o.PageBytes < 1024 || o.PageBytes > MaxValueBytes || o.DictionaryBytes < 0 || o.DictionaryBytes > MaxValueBytes/2:
		return fmt.Errorf("page bytes %d, dictionary bytes %d: out of range", o.PageBytes, o.DictionaryBytes)
	}
	return nil
}

// NewWriter creates the file and starts a segment of the table. End it with Finish or Abort.
func NewWriter(fs vfs.FS, path string, t *schema.Table, o Options) (*Writer, error) {
	if err := o.fill(t); err != nil {
		return nil, fmt.Errorf("write segment %s: %w", path, err)
	}
	enc, err := takeEncoder()
	if err != nil {
		return nil, fmt.Errorf("write segment %s: %w", path, err)
	}
	file, err := fs.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	w := &Writer{fs: fs, path: path, file: file, table: t, opt: o, enc: enc}
	for i := range t.Columns {
		c := &t.Columns[i]
		w.columns = append(w.columns, newColumnWriter(c, &w.opt))
		w.index.columns = append(w.index.columns, columnMeta{name: c.Name, typ: c.Type, optional: c.Nullable})
	}
	w.index.version = formatVersion
	w.index.info = Info{
		Path: path, Table: t.Name, Resolution: t.Resolution, Format: formatVersion, Level: o.Level, Sorted: o.Sorted, Order: t.Order,
		MinIndex: o.MinIndex, MaxIndex: o.MaxIndex,
	}
	w.buf = append(w.buf, parquetMagic...)
	return w, nil
}

// Append adds b's rows, in the given order (a list of row numbers, each at most once; nil takes them as they are). b is in the table's
// layout: Cols parallel to Table.Columns, nil for a column of defaults, TagSet vectors holding ids. b is not kept. After
// an error the writer only takes Abort.
func (w *Writer) Append(b *batch.Batch, order []int32) error { return w.AppendColumns(b, order, nil) }

// AppendColumns is Append of a batch that does not have all of its columns yet: load is asked for those that are nil in b,
// one after the other, and its answer (nil for defaults) is used until the next question. So only one of them need be in
// memory, and it is in the cache when its rows are gathered from all over it. Text must be in b, since pages are cut by
// its size. A column is asked for once per row group. With a nil load it is Append.
func (w *Writer) AppendColumns(b *batch.Batch, order []int32, load func(col int) (*batch.Vector, error)) error {
	if w.err != nil {
		return w.err
	}
	if len(b.Cols) != len(w.columns) {
		return w.fail(fmt.Errorf("batch has %d columns, table %s has %d", len(b.Cols), w.table.Name, len(w.columns)))
	}
	n := b.N
	if order != nil {
		n = len(order)
	}
	widest := w.widest(b)
	w.enc.placed = false
	for start := 0; start < n; {
		cuts := w.plan(b, order, start, n, widest)
		// Column by column, so that a column stays in the cache while its rows are gathered from all over it.
		for i, c := range w.columns {
			w.yield() // what comes first is to gather, or to decode
			v := b.Cols[i]
			if v == nil && load != nil && c.col.Type.Physical() != schema.Code {
				var err error
				if v, err = load(i); err != nil {
					return w.fail(err)
				}
			}
			in := order
			if v != nil && order != nil {
				if s, ok := w.enc.straighten(v, b.N, order); ok {
					v, in = s, nil
				} else {
					c.near = w.enc.nearer(v, b.N)
				}
			}
			err := w.appendColumn(c, v, in, cuts)
			c.near = nil
			if err != nil {
				return w.fail(err)
			}
		}
		last := cuts[len(cuts)-1]
		start = last.from + last.rows
		if w.groupN == w.opt.RowGroupRows {
			if err := w.flushGroup(); err != nil {
				return w.fail(err)
			}
		}
	}
	return nil
}

// pageCut is rows of a batch (of its order) that go into one page.
type pageCut struct {
	from, rows int
	ends       bool // the page ends with them
}

// plan cuts the rows [start, n) into pages, up to the end of the row group.
func (w *Writer) plan(b *batch.Batch, order []int32, start, n int, widest []int) []pageCut {
	cuts := w.cuts[:0]
	for start < n && w.groupN < w.opt.RowGroupRows {
		take := min(n-start, w.opt.PageRows-w.pageN, w.opt.RowGroupRows-w.groupN-w.pageN)
		fit := w.fit(b, order, start, take, widest)
		w.count(b, order, start, fit, widest)
		w.pageN += fit
		cut := pageCut{from: start, rows: fit, ends: fit < take || w.pageN == w.opt.PageRows || w.groupN+w.pageN == w.opt.RowGroupRows}
		cuts = append(cuts, cut)
		start += fit
		if cut.ends {
			w.endPage()
		}
	}
	w.cuts = cuts
	return cuts
}

// endPage begins a new page in the writer's account; the columns still have to encode the one that ends.
func (w *Writer) endPage() {
	w.groupN += w.pageN
	w.pageN = 0
	for _, c := range w.columns {
		c.textBytes = 0
	}
}

func (w *Writer) appendColumn(c *columnWriter, v *batch.Vector, order []int32, cuts []pageCut) error {
	w.enc.lend(c)
	defer w.enc.takeBack(c)
	for _, cut := range cuts {
		if err := c.append(v, order, cut.from, cut.rows); err != nil {
			return err
		}
		if cut.ends {
			if err := w.encodePage(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) fail(err error) error {
	w.err = fmt.Errorf("write segment %s: %w", w.path, err)
	return w.err
}

// widest is, for each text column, the length of the longest entry of b's dictionary.
func (w *Writer) widest(b *batch.Batch) []int {
	longest := make([]int, len(b.Cols))
	for i, v := range b.Cols {
		if v == nil || v.Type.Physical() != schema.Code {
			continue
		}
		_, offs := v.Dict.Arena()
		for k := 1; k < len(offs); k++ {
			longest[i] = max(longest[i], int(offs[k]-offs[k-1]))
		}
	}
	return longest
}

// fit is how many of the next take rows the page has room for by bytes: 0 when it must end first. Only columns whose
// dictionary holds long values are looked at row by row.
func (w *Writer) fit(b *batch.Batch, order []int32, start, take int, widest []int) int {
	for i, v := range b.Cols {
		c := w.columns[i]
		if v == nil || c.textBytes+widest[i]*take <= w.opt.PageBytes {
			continue
		}
		_, offs := v.Dict.Arena()
		sum := c.textBytes
		for k := range take {
			r := start + k
			if order != nil {
				r = int(order[r])
			}
			code := v.Codes[r]
			if sum += int(offs[code+1] - offs[code]); sum > w.opt.PageBytes {
				take = k
				break
			}
		}
	}
	if take == 0 && w.pageN == 0 {
		return 1 // a value larger than a page is a page
	}
	return take
}

// count adds the bytes of n rows that were just appended to the columns' account of the page; where that was cheap to
// know, a bound of them.
func (w *Writer) count(b *batch.Batch, order []int32, start, n int, widest []int) {
	for i, v := range b.Cols {
		c := w.columns[i]
		if v == nil || widest[i] == 0 {
			continue
		}
		if c.textBytes+widest[i]*n <= w.opt.PageBytes/2 {
			c.textBytes += widest[i] * n
			continue
		}
		_, offs := v.Dict.Arena()
		for r := start; r < start+n; r++ {
			k := r
			if order != nil {
				k = int(order[r])
			}
			code := v.Codes[k]
			c.textBytes += int(offs[code+1] - offs[code])
		}
	}
}

// flushPage encodes the page in hand of every column.
func (w *Writer) flushPage() error {
	if w.pageN == 0 {
		return nil
	}
	for _, c := range w.columns {
		if err := w.encodePage(c); err != nil {
			return err
		}
	}
	w.endPage()
	return nil
}

// yield lets others go first: segments are made in the background, and who waits to acknowledge a write is in a hurry.
func (w *Writer) yield() {
	if w.opt.Urgent == nil || !w.opt.Urgent() {
		runtime.Gosched()
	}
}

func (w *Writer) encodePage(c *columnWriter) error {
	w.yield()
	if p := c.col.Type.Physical(); p == schema.Code || p == schema.ID {
		c.checkDictionary(w.opt.DictionaryBytes)
	}
	p := pageMeta{rows: uint32(c.n), nulls: uint32(c.nulls)}
	values, raw, err := c.values(&p, w.enc)
	if err != nil {
		return err
	}
	body := w.body[:0]
	if c.col.Nullable {
		body = appendLevels(body, c.valid, c.n)
		p.def = uint32(len(body))
	}
	if len(values) > maxPageBytes-len(body) {
		return fmt.Errorf("column %s: %w: page of %d bytes", c.col.Name, ErrValue, len(values))
	}
	if raw > 0 {
		p.raw = uint32(len(body) + raw)
		p.flags |= pageCompressed
	} else {
		p.raw = uint32(len(body) + len(values))
		compress := c.tryCompress
		if c.direct && c.col.Type.Physical() == schema.Code {
			compress = c.compressText
		}
		if packed := compress(values, w.enc); packed != nil {
			p.flags |= pageCompressed
			values = packed
		}
	}
	body = append(body, values...)
	p.size = uint32(len(body))
	p.crc = crc32.ChecksumIEEE(body)
	w.thrift.reset(w.thrift.b[:0])
	w.thrift.dataPage(&p)
	p.hdr = uint32(len(w.thrift.b))
	p.hdrCRC = crc32.Checksum(w.thrift.b, castagnoli)
	p.off = int64(c.size)
	c.pages = append(c.pages, w.enc.pages.keep(w.thrift.b, body))
	c.size += len(w.thrift.b) + len(body)
	w.body = body
	c.meta.pages = append(c.meta.pages, p)
	c.endPage()
	return nil
}

// tryCompress is values as zstd when that saves more than 5 %, else nil. A column whose pages do not shrink is tried
// ever more rarely.
func (c *columnWriter) tryCompress(values []byte, e *encoder) []byte {
	if len(values) < 64 {
		return nil
	}
	if c.skip > 0 {
		c.skip--
		return nil
	}
	packed := e.compress(values, c.direct && c.col.Type.Physical() == schema.Code || c.col.Type == schema.Double)
	if len(packed) > len(values)-len(values)/20 {
		c.backoff = min(2*c.backoff+1, 15)
		c.skip = c.backoff
		return nil
	}
	c.backoff = 0
	return packed
}

// flushGroup writes the row group in hand.
func (w *Writer) flushGroup() error {
	g := groupMeta{rows: int64(w.groupN), chunks: make([]chunkMeta, len(w.columns))}
	for i, c := range w.columns {
		w.yield()
		c.meta.codec = codecZstd
		if err := w.writeChunk(c); err != nil {
			return err
		}
		g.chunks[i] = c.meta
	}
	for i, c := range w.columns {
		w.yield()
		if err := w.writeBloom(c, &g.chunks[i], &w.sums[len(w.sums)-len(w.columns)+i]); err != nil {
			return err
		}
		if err := w.writeLocator(c, &g.chunks[i]); err != nil {
			return err
		}
		c.endGroup()
	}
	w.enc.pages.reset()
	w.sums[len(w.sums)-len(w.columns)].sorting = w.sortedBy(&g)
	w.index.groups = append(w.index.groups, g)
	w.index.info.Rows += g.rows
	w.index.info.Units += len(g.chunks[0].pages)
	w.groupN = 0
	return nil
}

// writeChunk writes the dictionary page and the data pages of a column.
func (w *Writer) writeChunk(c *columnWriter) error {
	s := chunkSums{start: w.pos()}
	if err := w.writeDictionary(c); err != nil {
		return err
	}
	base := w.pos()
	if d := &c.meta.dict; c.meta.dictLen > 0 {
		s.stored = int64(d.hdr) + int64(d.size)
		s.raw = int64(d.hdr) + int64(d.raw)
	}
	c.meta.allDict = c.meta.dictLen > 0
	for i := range c.meta.pages {
		p := &c.meta.pages[i]
		p.off += base
		s.stored += int64(p.hdr) + int64(p.size)
		s.raw += int64(p.hdr) + int64(p.raw)
		c.meta.allDict = c.meta.allDict && p.enc == encDictionary
	}
	w.sums = append(w.sums, s)
	for _, p := range c.pages {
		if err := w.write(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) writeDictionary(c *columnWriter) error {
	var values []byte
	switch n := c.text.len(); {
	case n > 0:
		c.meta.dictLen = uint32(n)
		values = w.enc.plainBytes(c.text.data, c.text.offs)
	case len(c.ids.ids) > 0:
		c.meta.dictLen = uint32(len(c.ids.ids))
		values = w.enc.plainInt32s(c.ids.ids)
	case len(c.numbers.values) > 0:
		c.meta.dictLen = uint32(len(c.numbers.values))
		values = w.enc.plainNumbers(c.numbers.values, c.col.Type)
	default:
		return nil
	}
	p := pageMeta{enc: encPlain, raw: uint32(len(values))}
	// A dictionary page has no flag for "stored as it is", and some readers take a column's codec to be that of its first
	// row group: so all chunks say zstd, and dictionaries are always compressed.
	values = w.enc.compress(values, true)
	p.flags |= pageCompressed
	p.size = uint32(len(values))
	p.crc = crc32.ChecksumIEEE(values)
	w.thrift.reset(w.thrift.b[:0])
	w.thrift.dictionaryPage(&p, c.meta.dictLen)
	p.off = w.pos()
	p.hdr = uint32(len(w.thrift.b))
	p.hdrCRC = crc32.Checksum(w.thrift.b, castagnoli)
	c.meta.dict = p
	return errors.Join(w.write(w.thrift.b), w.write(values))
}

// writeBloom writes the Bloom filter of a column's row group, if it has one.
func (w *Writer) writeBloom(c *columnWriter, m *chunkMeta, s *chunkSums) error {
	if !hasBloom(c.col) {
		return nil
	}
	hashes := append(c.hashes, c.text.hashes...)
	size := bloomSize(len(hashes))
	if len(c.hashes) == 0 { // a wrong guess means to unpack a dictionary
		size = min(2*size, maxBloom)
	}
	filter := make([]byte, size)
	for _, h := range hashes {
		bloomAdd(filter, h)
	}
	s.bloomHeader = w.pos()
	w.thrift.reset(w.thrift.b[:0])
	w.thrift.bloomHeader(len(filter))
	s.bloomLength = int32(len(w.thrift.b) + len(filter))
	if err := w.write(w.thrift.b); err != nil {
		return err
	}
	m.bloomOff = w.pos()
	m.bloomLen = uint32(len(filter))
	for rest := filter; len(rest) > 0; rest = rest[min(bloomSection, len(rest)):] {
		m.bloomCRC = append(m.bloomCRC, crc32.Checksum(rest[:min(bloomSection, len(rest))], castagnoli))
	}
	return w.write(filter)
}

const writeBuffer = 1 << 20

// pos is the offset of the next byte.
func (w *Writer) pos() int64 { return w.off + int64(len(w.buf)) }

// write puts p into the file, through a buffer.
func (w *Writer) write(p []byte) error {
	if len(p) >= writeBuffer {
		if err := w.drain(); err != nil {
			return err
		}
		n, err := w.file.Write(p)
		w.off += int64(n)
		return err
	}
	w.buf = append(w.buf, p...)
	if len(w.buf) < writeBuffer {
		return nil
	}
	return w.drain()
}

func (w *Writer) drain() error {
	n, err := w.file.Write(w.buf)
	w.off += int64(n)
	w.buf = w.buf[:0]
	return err
}

// Finish writes what is left, the indexes and the footer, syncs and closes the file. The caller renames it and syncs the
// directory. After an error the file is removed.
func (w *Writer) Finish() (Info, error) {
	if w.err == nil {
		if err := w.finish(); err != nil {
			_ = w.fail(err)
		}
	}
	if w.err != nil {
		err := w.err
		w.Abort()
		return Info{}, err
	}
	w.ended, w.err = true, ErrClosed
	w.release()
	return w.index.info, nil
}

// EndGroup ends the row group in hand, if it has rows: what comes next differs from it, and shall have dictionaries of its
// own.
func (w *Writer) EndGroup() error {
	if w.err != nil {
		return w.err
	}
	if err := w.endGroup(); err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *Writer) endGroup() error {
	if err := w.flushPage(); err != nil {
		return err
	}
	if w.groupN > 0 {
		return w.flushGroup()
	}
	return nil
}

func (w *Writer) finish() error {
	if err := w.endGroup(); err != nil {
		return err
	}
	w.summarise()
	f := footer{w: w}
	if err := f.pageIndexes(); err != nil {
		return err
	}
	s := seal{version: w.index.version, indexOff: uint64(w.pos())}
	w.index.text = w.enc.text
	block := w.index.appendIndex(nil)
	s.indexLen, s.indexCRC = uint32(len(block)), crc32.Checksum(block, castagnoli)
	foot := f.metadata()
	s.footCRC = crc32.Checksum(foot, castagnoli)
	if err := w.write(block); err != nil {
		return err
	}
	tail := s.append(nil)
	tail = append(tail, foot...)
	tail = binary.LittleEndian.AppendUint32(tail, uint32(len(foot)))
	tail = append(tail, parquetMagic...)
	if err := w.write(tail); err != nil {
		return err
	}
	if err := w.drain(); err != nil {
		return err
	}
	w.index.info.Bytes = w.off
	w.index.info.FooterCRC = s.indexCRC ^ s.footCRC
	w.index.info.RowGroups = len(w.index.groups)
	return w.close(true)
}

func (w *Writer) close(sync bool) error {
	var err error
	if sync {
		err = w.file.Sync()
	}
	err = errors.Join(err, w.file.Close())
	w.file = nil
	return err
}

// Abort gives up: the file is closed and removed. It does nothing after Finish.
func (w *Writer) Abort() {
	if w.ended {
		return
	}
	w.ended, w.err = true, ErrClosed
	if w.file != nil {
		_ = w.close(false) // the file goes away
	}
	w.release()
	_ = w.fs.Remove(w.path)
}

// release gives the memory that is worth keeping to the next writer.
func (w *Writer) release() {
	for _, c := range w.columns {
		c.pages = nil
	}
	w.index.text = nil
	w.enc.giveBack()
	w.enc = nil
}

// summarise fills the file's ranges from those of its pages.
func (w *Writer) summarise() {
	i := &w.index.info
	times, tags := false, false
	for _, g := range w.index.groups {
		for k := range g.chunks {
			isTime := k == w.table.TimeColumn
			if !isTime && w.columns[k].col.Type != schema.TagSet {
				continue
			}
			for _, p := range g.chunks[k].pages {
				switch {
				case isTime && !times:
					i.MinTime, i.MaxTime, times = p.min, p.max, true
				case isTime:
					i.MinTime, i.MaxTime = min(i.MinTime, p.min), max(i.MaxTime, p.max)
				case !tags:
					i.MinTag, i.MaxTag, tags = uint32(p.min), uint32(p.max), true
				default:
					i.MinTag, i.MaxTag = min(i.MinTag, uint32(p.min)), max(i.MaxTag, uint32(p.max))
				}
			}
		}
	}
	for _, c := range w.columns {
		i.BadText += c.conv.bad
	}
}

// sortedBy is how many of the table's sort terms the row group is truthfully sorted by as Parquet understands it. A time
// bucket that is the same for all rows sorts nothing and is passed over; a bucket that is not, and an address (sorted by
// its bytes, not by its text), end the list.
func (w *Writer) sortedBy(g *groupMeta) (terms int) {
	if !w.opt.Sorted {
		return 0
	}
	for i, t := range w.table.Sort {
		if w.columns[t.Column].col.Type == schema.Inet {
			return i
		}
		if t.Bucket == 0 {
			continue
		}
		lo, hi := g.chunks[t.Column].intRange()
		if floorDiv(lo, t.Bucket) != floorDiv(hi, t.Bucket) {
			return i
		}
	}
	return len(w.table.Sort)
}

func (c *chunkMeta) intRange() (lo, hi int64) {
	for i, p := range c.pages {
		if i == 0 {
			lo, hi = p.min, p.max
		}
		lo, hi = min(lo, p.min), max(hi, p.max)
	}
	return lo, hi
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

package segment

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/flowlake/flowlake/db/schema"
)

// Everything fixed about the file is in this file and in docs/format/segment.md.
const (
	// formatVersion: 2 added integers as BYTE_STREAM_SPLIT, 3 page locators, 4 integers as RLE_DICTIONARY, 5 locators of
	// rows, 6 integers as PLAIN
	formatVersion  = 6
	versionLocator = 3
	versionRows    = 5

	parquetMagic = "PAR1"
	sealMagic    = "FLSG"
	sealSize     = 32
	tailSize     = 8 // footer length and magic

	maxIndexBytes = 256 << 20
	maxColumns    = 4096
	// maxPageBytes bounds what a page may take uncompressed: a page of values of MaxValueBytes has one row.
	maxPageBytes = MaxValueBytes + 1<<20
	maxPageRows  = 64 << 10
	maxGroupRows = 1 << 20
	maxTextStat  = 64 // bytes kept of a text minimum or maximum

	bloomSection = 4096 // bytes of a Bloom filter under one checksum
)

// Parquet's numbers.
const (
	pqBoolean, pqInt32, pqInt64, pqDouble, pqByteArray = 0, 1, 2, 5, 6

	encPlain       = 0
	encRLE         = 3
	encDelta       = 5
	encDeltaLength = 6
	encDictionary  = 8
	encByteSplit   = 9

	codecNone = 0
	codecZstd = 6

	pageDictionary = 2
	pageDataV2     = 3
)

var encodingNames = map[uint8]string{
	encPlain: "PLAIN", encRLE: "RLE", encDelta: "DELTA_BINARY_PACKED", encDeltaLength: "DELTA_LENGTH_BYTE_ARRAY",
	encDictionary: "RLE_DICTIONARY", encByteSplit: "BYTE_STREAM_SPLIT",
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// typeCodes are the numbers of types in the index block: stable, whatever order package schema lists them in.
var typeCodes = map[schema.Type]uint8{
	schema.Boolean: 1, schema.Integer: 2, schema.BigInt: 3, schema.Double: 4, schema.Timestamp: 5, schema.Varchar: 6,
	schema.Inet: 7, schema.TagSet: 8, schema.Map: 9, schema.Bytes: 10,
}

func typeOfCode(code uint8) schema.Type {
	for t, c := range typeCodes {
		if c == code {
			return t
		}
	}
	return schema.Invalid
}

// physicalOf is the Parquet type a column is stored in.
func physicalOf(t schema.Type) int32 {
	switch t {
	case schema.Boolean:
		return pqBoolean
	case schema.Integer, schema.TagSet:
		return pqInt32
	case schema.Double:
		return pqDouble
	case schema.Varchar, schema.Inet, schema.Map, schema.Bytes:
		return pqByteArray
	}
	return pqInt64
}

// hasTextStats says whether a text column's minimum and maximum are worth keeping.
func hasTextStats(t schema.Type) bool { return t == schema.Varchar || t == schema.Inet }

// Flags of a page.
const (
	pageCompressed = 1 << iota // values are a zstd frame; definition levels never are
	pageRange                  // min and max are there: every value that is not NULL (nor NaN) lies between
	pageNaN                    // a DOUBLE page that holds NaN
	pageMinCut                 // text min is a prefix of the true one
	pageMaxCut                 // text max is greater than the true one
)

// pageMeta is what the reader knows about a page. All offsets are of the file.
type pageMeta struct {
	off    int64  // page header
	hdr    uint32 // length of the header
	size   uint32 // bytes after the header: definition levels and values as stored
	raw    uint32 // the same uncompressed
	def    uint32 // of both: definition levels
	rows   uint32
	nulls  uint32
	crc    uint32 // CRC-32 (IEEE) of the bytes after the header, as in the header
	hdrCRC uint32 // CRC-32C of the header
	enc    uint8
	flags  uint8
	// min and max: integers as they are, tag-set ids, bits of doubles; of text, offset<<32|length within the index block.
	min, max int64
}

// chunkMeta is one column of one row group.
type chunkMeta struct {
	codec    uint8
	dict     pageMeta // dictionary page; size 0 where there is none
	dictLen  uint32   // its entries
	allDict  bool     // every page is dictionary coded: the dictionary holds exactly the chunk's values
	bloomOff int64    // bitset, not its header
	bloomLen uint32
	bloomCRC []uint32 // per section of bloomSection bytes
	locator  locatorMeta
	pages    []pageMeta
}

type groupMeta struct {
	rows   int64
	chunks []chunkMeta // parallel to fileIndex.columns
}

type columnMeta struct {
	name     string
	typ      schema.Type
	optional bool
}

// fileIndex is the index block in memory. It is read-only once parsed.
type fileIndex struct {
	version uint16
	info    Info
	columns []columnMeta
	groups  []groupMeta
	text    []byte // the block itself, into which text minima and maxima point
}

var errIndex = errors.New("index block is malformed")

// appendIndex encodes x. Text minima and maxima are taken from x.text; after decoding they point into the block.
func (x *fileIndex) appendIndex(b []byte) []byte {
	i := &x.info
	b = appendString(b, i.Table)
	b = appendString(b, i.Resolution)
	b = binary.AppendUvarint(b, uint64(i.Rows))
	b = binary.AppendVarint(b, i.MinTime)
	b = binary.AppendVarint(b, i.MaxTime)
	b = binary.AppendUvarint(b, uint64(i.MinTag))
	b = binary.AppendUvarint(b, uint64(i.MaxTag))
	b = binary.AppendUvarint(b, i.MinIndex)
	b = binary.AppendUvarint(b, i.MaxIndex)
	b = binary.AppendUvarint(b, uint64(i.Level))
	b = append(b, boolByte(i.Sorted)|byte(i.Order)<<1)
	b = binary.AppendUvarint(b, uint64(i.BadText))
	b = binary.AppendUvarint(b, uint64(len(x.columns)))
	for _, c := range x.columns {
		b = append(appendString(b, c.name), typeCodes[c.typ], boolByte(c.optional))
	}
	b = binary.AppendUvarint(b, uint64(len(x.groups)))
	for g := range x.groups {
		b = x.appendGroup(b, &x.groups[g])
	}
	return b
}

func (x *fileIndex) appendGroup(b []byte, g *groupMeta) []byte {
	b = binary.AppendUvarint(b, uint64(g.rows))
	var pages []pageMeta
	if len(g.chunks) > 0 {
		pages = g.chunks[0].pages
	}
	b = binary.AppendUvarint(b, uint64(len(pages)))
	for i := range pages {
		b = binary.AppendUvarint(b, uint64(pages[i].rows))
	}
	for i := range g.chunks {
		b = x.appendChunk(b, &g.chunks[i], x.columns[i].typ)
	}
	return b
}

func (x *fileIndex) appendChunk(b []byte, c *chunkMeta, t schema.Type) []byte {
	b = append(b, c.codec, boolByte(c.allDict))
	b = binary.AppendUvarint(b, uint64(c.dictLen))
	if c.dictLen > 0 {
		b = x.appendPage(b, &c.dict, t)
	}
	b = binary.AppendUvarint(b, uint64(c.bloomLen))
	if c.bloomLen > 0 {
		b = binary.AppendUvarint(b, uint64(c.bloomOff))
		for _, s := range c.bloomCRC {
			b = binary.LittleEndian.AppendUint32(b, s)
		}
	}
	if x.version >= versionLocator {
		b = c.locator.append(b)
	}
	for i := range c.pages {
		b = x.appendPage(b, &c.pages[i], t)
	}
	return b
}

func (x *fileIndex) appendPage(b []byte, p *pageMeta, t schema.Type) []byte {
	b = append(b, p.enc, p.flags)
	b = binary.AppendUvarint(b, uint64(p.off))
	b = binary.AppendUvarint(b, uint64(p.hdr))
	b = binary.AppendUvarint(b, uint64(p.size))
	b = binary.AppendUvarint(b, uint64(p.raw))
	b = binary.AppendUvarint(b, uint64(p.def))
	b = binary.AppendUvarint(b, uint64(p.nulls))
	b = binary.LittleEndian.AppendUint32(b, p.crc)
	b = binary.LittleEndian.AppendUint32(b, p.hdrCRC)
	if p.flags&pageRange == 0 {
		return b
	}
	switch t.Physical() {
	case schema.Code:
		b = appendBytes(b, textAt(x.text, p.min))
		b = appendBytes(b, textAt(x.text, p.max))
	case schema.Float64:
		b = binary.LittleEndian.AppendUint64(b, uint64(p.min))
		b = binary.LittleEndian.AppendUint64(b, uint64(p.max))
	default:
		b = binary.AppendVarint(b, p.min)
		b = binary.AppendUvarint(b, uint64(p.max)-uint64(p.min))
	}
	return b
}

func textAt(text []byte, ref int64) []byte {
	o, n := uint64(ref)>>32, uint64(ref)&(1<<32-1)
	return text[o : o+n]
}

func textRef(off, n int) int64 { return int64(uint64(off)<<32 | uint64(n)) }

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// cursor reads an index block; after the first error every read yields zero.
type cursor struct {
	b   []byte
	pos int
	err error
}

func (c *cursor) fail() {
	c.err = errIndex
	c.pos = len(c.b)
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b[c.pos:])
	if n <= 0 {
		c.fail()
		return 0
	}
	c.pos += n
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b[c.pos:])
	if n <= 0 {
		c.fail()
		return 0
	}
	c.pos += n
	return v
}

// upTo reads a number that must not exceed limit.
func (c *cursor) upTo(limit uint64) uint64 {
	v := c.uvarint()
	if v > limit {
		c.fail()
		return 0
	}
	return v
}

// count reads the number of things that follow, each of at least size bytes.
func (c *cursor) count(size, limit int) int {
	return int(c.upTo(uint64(min((len(c.b)-c.pos)/size, limit))))
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b)-c.pos {
		c.fail()
		return make([]byte, min(n, 8))
	}
	c.pos += n
	return c.b[c.pos-n : c.pos]
}

func (c *cursor) byte() byte       { return c.take(1)[0] }
func (c *cursor) fixed32() uint32  { return binary.LittleEndian.Uint32(c.take(4)) }
func (c *cursor) fixed64() uint64  { return binary.LittleEndian.Uint64(c.take(8)) }
func (c *cursor) bytes() []byte    { return c.take(c.count(1, maxIndexBytes)) }
func (c *cursor) ref() (ref int64) { b := c.bytes(); return textRef(c.pos-len(b), len(b)) }

// parseIndex decodes an index block of a version; fileSize bounds what its offsets may point to. The memory it takes is a small
// multiple of len(block), which it keeps.
func parseIndex(block []byte, fileSize int64, version uint16) (*fileIndex, error) {
	c := &cursor{b: block}
	x := &fileIndex{text: block, version: version}
	i := &x.info
	i.Table, i.Resolution = string(c.bytes()), string(c.bytes())
	i.Rows = int64(c.upTo(1 << 40))
	i.MinTime, i.MaxTime = c.varint(), c.varint()
	i.MinTag, i.MaxTag = uint32(c.upTo(1<<32-1)), uint32(c.upTo(1<<32-1))
	i.MinIndex, i.MaxIndex = c.uvarint(), c.uvarint()
	i.Level = int(c.upTo(1 << 16))
	order := c.byte()
	i.Sorted, i.Order = order&1 != 0, int(order>>1)
	i.BadText = int64(c.upTo(1 << 62))
	x.columns = make([]columnMeta, c.count(3, maxColumns))
	for k := range x.columns {
		m := &x.columns[k]
		m.name = string(c.bytes())
		if m.typ = typeOfCode(c.byte()); m.typ == schema.Invalid {
			c.fail()
		}
		m.optional = c.byte() != 0
	}
	x.groups = make([]groupMeta, c.count(2, 1<<20))
	var rows int64
	for g := range x.groups {
		x.parseGroup(c, &x.groups[g], fileSize)
		rows += x.groups[g].rows
		i.Units += len(x.groups[g].unitPages())
		if c.err != nil {
			return nil, c.err
		}
	}
	if c.err == nil && (c.pos != len(block) || rows != i.Rows) {
		c.err = errIndex
	}
	i.RowGroups = len(x.groups)
	return x, c.err
}

// unitPages are the pages of the first column: all columns have the same rows in each page.
func (g *groupMeta) unitPages() []pageMeta {
	if len(g.chunks) == 0 {
		return nil
	}
	return g.chunks[0].pages
}

func (x *fileIndex) parseGroup(c *cursor, g *groupMeta, fileSize int64) {
	g.rows = int64(c.upTo(maxGroupRows))
	rows := make([]uint32, c.count(1, maxGroupRows))
	var sum int64
	for i := range rows {
		rows[i] = uint32(c.upTo(maxPageRows))
		if rows[i] == 0 {
			c.fail()
		}
		sum += int64(rows[i])
	}
	if sum != g.rows {
		c.fail()
	}
	if c.err != nil {
		return
	}
	g.chunks = make([]chunkMeta, len(x.columns))
	for i := range g.chunks {
		if c.err != nil {
			return
		}
		x.parseChunk(c, &g.chunks[i], rows, x.columns[i], fileSize)
	}
}

const minPageEntry = 16 // bytes of a page in the index block at the least

func (x *fileIndex) parseChunk(c *cursor, m *chunkMeta, rows []uint32, col columnMeta, fileSize int64) {
	m.codec = c.byte()
	m.allDict = c.byte() != 0
	if m.codec != codecNone && m.codec != codecZstd {
		c.fail()
	}
	if m.dictLen = uint32(c.upTo(maxGroupRows)); m.dictLen > 0 {
		parsePage(c, &m.dict, col, fileSize)
	}
	if m.bloomLen = uint32(c.upTo(1 << 30)); m.bloomLen > 0 {
		m.bloomOff = int64(c.upTo(uint64(fileSize)))
		n := (int(m.bloomLen) + bloomSection - 1) / bloomSection
		if m.bloomLen%32 != 0 || m.bloomOff+int64(m.bloomLen) > fileSize || n*4 > len(c.b)-c.pos {
			c.fail()
			return
		}
		m.bloomCRC = make([]uint32, n)
		for i := range m.bloomCRC {
			m.bloomCRC[i] = c.fixed32()
		}
	}
	if x.version >= versionLocator {
		m.locator.parse(c, fileSize)
		m.locator.pages = x.version < versionRows
	}
	if len(rows)*minPageEntry > len(c.b)-c.pos {
		c.fail()
		return
	}
	m.pages = make([]pageMeta, len(rows))
	for i := range m.pages {
		p := &m.pages[i]
		parsePage(c, p, col, fileSize)
		if p.rows = rows[i]; p.nulls > p.rows || p.nulls > 0 && !col.optional || p.enc == encDictionary && m.dictLen == 0 ||
			p.flags&pageCompressed != 0 && m.codec != codecZstd {
			c.fail()
		}
	}
}

func parsePage(c *cursor, p *pageMeta, col columnMeta, fileSize int64) {
	p.enc, p.flags = c.byte(), c.byte()
	p.off = int64(c.upTo(uint64(fileSize)))
	p.hdr = uint32(c.upTo(1 << 16))
	p.size = uint32(c.upTo(maxPageBytes))
	p.raw = uint32(c.upTo(maxPageBytes))
	p.def = uint32(c.upTo(uint64(min(p.size, p.raw))))
	p.nulls = uint32(c.upTo(maxPageRows))
	p.crc, p.hdrCRC = c.fixed32(), c.fixed32()
	if p.off+int64(p.hdr)+int64(p.size) > fileSize || p.def > 0 && !col.optional {
		c.fail()
	}
	if p.flags&pageRange == 0 {
		return
	}
	switch col.typ.Physical() {
	case schema.Code:
		p.min = c.ref()
		p.max = c.ref()
	case schema.Float64:
		p.min, p.max = int64(c.fixed64()), int64(c.fixed64())
	default:
		p.min = c.varint()
		p.max = int64(uint64(p.min) + c.uvarint())
	}
}

// seal is the fixed block before the footer that says where the index block is and how to check both.
type seal struct {
	version  uint16
	indexOff uint64
	indexLen uint32
	indexCRC uint32
	footCRC  uint32
}

func (s *seal) append(b []byte) []byte {
	start := len(b)
	b = append(b, sealMagic...)
	b = binary.LittleEndian.AppendUint16(b, s.version)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, s.indexOff)
	b = binary.LittleEndian.AppendUint32(b, s.indexLen)
	b = binary.LittleEndian.AppendUint32(b, s.indexCRC)
	b = binary.LittleEndian.AppendUint32(b, s.footCRC)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// parse reads a seal; the reason is empty when it is whole.
func (s *seal) parse(b []byte) (reason string) {
	le := binary.LittleEndian
	switch {
	case string(b[:4]) != sealMagic:
		return "no seal before the footer: not a segment of flowlake"
	case crc32.Checksum(b[:sealSize-4], castagnoli) != le.Uint32(b[sealSize-4:]):
		return "seal has a wrong checksum"
	}
	s.version = le.Uint16(b[4:])
	s.indexOff, s.indexLen = le.Uint64(b[8:]), le.Uint32(b[16:])
	s.indexCRC, s.footCRC = le.Uint32(b[20:]), le.Uint32(b[24:])
	return ""
}

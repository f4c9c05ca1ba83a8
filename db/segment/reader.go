package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// opened is a segment's file and its index while they are held.
type opened struct {
	path  string
	file  vfs.File
	table *schema.Table
	index *fileIndex
	// columns maps ordinals of the table to columns of the file, -1 where the file is older than the column.
	columns []int
	cache   *Cache
	id      uint64 // in the cache
	bytes   int64  // about what the index takes in memory
	owner   *Reader
}

const openRead = 64 << 10 // first read of Open: nearly always seal, index block and footer at once

func (r *opened) corrupt(off int64, format string, args ...any) error {
	return &CorruptionError{File: r.path, Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// load reads and checks everything behind the pages.
func (r *opened) load() error {
	st, err := r.file.Stat()
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	size := st.Size()
	if size < int64(len(parquetMagic)+sealSize+tailSize) {
		return r.corrupt(0, "%d bytes are too few for a segment", size)
	}
	tail, err := r.readTail(nil, size, min(size, openRead))
	if err != nil {
		return err
	}
	end := tail[len(tail)-tailSize:]
	footLen := int64(binary.LittleEndian.Uint32(end))
	sealOff := size - tailSize - footLen - sealSize
	if string(end[4:]) != parquetMagic || sealOff < int64(len(parquetMagic)) || footLen > maxIndexBytes {
		return r.corrupt(size-tailSize, "no Parquet footer: the file is cut short or no Parquet file")
	}
	if tail, err = r.readTail(tail, size, size-sealOff); err != nil {
		return err
	}
	var s seal
	b := tail[int64(len(tail))-(size-sealOff):]
	if reason := s.parse(b[:sealSize]); reason != "" {
		return r.corrupt(sealOff, "%s", reason)
	}
	if s.version > formatVersion {
		return fmt.Errorf("open segment %s: %w: version %d, this program knows %d", r.path, ErrNewerFormat, s.version, formatVersion)
	}
	foot := b[sealSize : sealSize+footLen]
	if crc32.Checksum(foot, castagnoli) != s.footCRC {
		return r.corrupt(sealOff+sealSize, "footer has a wrong checksum")
	}
	if s.indexOff > uint64(sealOff) || int64(s.indexOff)+int64(s.indexLen) != sealOff {
		return r.corrupt(sealOff, "index block does not end at the seal")
	}
	if tail, err = r.readTail(tail, size, size-int64(s.indexOff)); err != nil {
		return err
	}
	block := tail[int64(len(tail))-(size-int64(s.indexOff)):]
	block = append([]byte(nil), block[:s.indexLen]...) // without the footer, which nobody needs
	if crc32.Checksum(block, castagnoli) != s.indexCRC {
		return r.corrupt(int64(s.indexOff), "index block has a wrong checksum")
	}
	if r.index, err = parseIndex(block, size, s.version); err != nil {
		return r.corrupt(int64(s.indexOff), "%v", err)
	}
	i := &r.index.info
	i.Path, i.Format, i.Bytes, i.FooterCRC = r.path, int(s.version), size, s.indexCRC^s.footCRC
	return nil
}

// readTail makes have, the last bytes of the file, at least n bytes long.
func (r *opened) readTail(have []byte, size, n int64) ([]byte, error) {
	if int64(len(have)) >= n {
		return have, nil
	}
	if n > 2*maxIndexBytes {
		return nil, r.corrupt(size-tailSize, "index of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := r.file.ReadAt(b, size-n); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read segment %s: %w", r.path, err)
	}
	return b, nil
}

// bind finds the table's columns in the file.
func (r *opened) bind() error {
	byName := make(map[string]int, len(r.index.columns))
	for i, c := range r.index.columns {
		byName[c.name] = i
	}
	r.columns = make([]int, len(r.table.Columns))
	for i, c := range r.table.Columns {
		k, ok := byName[c.Name]
		if !ok {
			r.columns[i] = -1
			continue
		}
		if have := r.index.columns[k].typ; have != c.Type && (have.Physical() != schema.Int64 || c.Type.Physical() != schema.Int64) {
			return fmt.Errorf("open segment %s: %w: %s is %s, the table has %s", r.path, ErrColumnType, c.Name, have, c.Type)
		}
		r.columns[i] = k
	}
	return nil
}

// scratch is the memory behind Scratch.
type scratch struct {
	zstd    *zstd.Decoder
	page    []byte // as stored
	raw     []byte // uncompressed
	i32     []int32
	i64     []int64 // values that are not NULL, before they are spread over the rows
	f64     []float64
	bits    batch.Bitmap
	rows    []int32
	columns []columnScratch // by ordinal of the table
	luts    []termLUT       // by term of the request
	unit    uint64          // counts reads, to tell which columns are decoded
	page8   pageBytes
	// of a page of text of which some rows are wanted: its blocks, those that are laid out, and one of them as a frame
	blocks []textBlock
	parts  []textPart
	one    []byte
	read   int64 // bytes read from the file in this unit
}

// columnScratch holds one decoded column of the current unit.
type columnScratch struct {
	vec   batch.Vector
	unit  uint64 // vec is of this unit
	valid batch.Bitmap
	data  []byte
	ends  []uint32
}

// pageBytes is a page taken apart: levels and values are padded.
type pageBytes struct {
	levels, values []byte
}

// readPage reads a page as it is stored and checks its checksum.
func (r *opened) readPage(p *pageMeta, s *scratch) error {
	n := int(p.size)
	s.page = extend(s.page, 0, n+padding)[:n]
	off := p.off + int64(p.hdr)
	if _, err := r.file.ReadAt(s.page, off); err != nil {
		if errors.Is(err, io.EOF) {
			return r.corrupt(off, "file ends within a page of %d bytes", n)
		}
		return fmt.Errorf("read segment %s at %d: %w", r.path, off, err)
	}
	s.read += int64(n)
	if crc32.ChecksumIEEE(s.page) != p.crc {
		return r.corrupt(off, "page has a wrong checksum")
	}
	s.page8 = pageBytes{levels: s.page[:p.def], values: s.page[p.def:]}
	return nil
}

// loadPage reads a page and uncompresses its values: all of them or, where planes is not negative, at least so many planes of
// split numbers.
func (r *opened) loadPage(p *pageMeta, planes int, s *scratch) error {
	if err := r.readPage(p, s); err != nil {
		return err
	}
	off := p.off + int64(p.hdr)
	if p.flags&pageCompressed == 0 {
		if p.raw != p.size {
			return r.corrupt(off, "page of %d bytes should have %d", p.size, p.raw)
		}
		return nil
	}
	want := int(p.raw - p.def)
	if !frameHolds(s.page8.values, want) { // before memory is taken for it
		return r.corrupt(off, "page does not uncompress to %d bytes", want)
	}
	if n := int(p.rows - p.nulls); planes >= 0 {
		if frame := cutPlanes(s.page8.values, n, planes, want); frame != nil {
			s.page8.values, want = frame, planes*n
		}
	}
	if want == 0 && planes == 0 {
		s.page8.values = s.raw[:0]
		return nil
	}
	s.raw = extend(s.raw, 0, want+padding)
	z, err := s.decoder()
	if err != nil {
		return err
	}
	out, err := z.DecodeAll(s.page8.values, s.raw[:0:want])
	if err != nil || len(out) != want {
		return r.corrupt(off, "page does not uncompress to %d bytes: %v", want, err)
	}
	s.page8.values = s.raw[:want]
	return nil
}

// decoder is the goroutine's decoder of zstd.
func (s *scratch) decoder() (*zstd.Decoder, error) {
	if s.zstd == nil {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(maxPageBytes))
		if err != nil {
			return nil, err
		}
		s.zstd = z
	}
	return s.zstd, nil
}

// frameHolds says whether src may be a zstd frame of want bytes: frames nearly always state their content's size.
func frameHolds(src []byte, want int) bool {
	var h zstd.Header
	if h.Decode(src) != nil {
		return false
	}
	return !h.HasFCS || h.FrameContentSize == uint64(want)
}

// dictionary is a chunk's dictionary, from the cache or the file.
func (r *opened) dictionary(g, column int, s *scratch) (*dictionary, error) {
	key := cacheKey{r.id, int32(g), int32(column)}
	if d := r.cache.get(key); d != nil {
		return d, nil
	}
	m := &r.index.groups[g].chunks[column]
	if err := r.loadPage(&m.dict, -1, s); err != nil {
		return nil, err
	}
	return r.keepDictionary(g, column, s)
}

// keepDictionary puts a chunk's dictionary, whose page is loaded, into the cache.
func (r *opened) keepDictionary(g, column int, s *scratch) (*dictionary, error) {
	key := cacheKey{r.id, int32(g), int32(column)}
	m := &r.index.groups[g].chunks[column]
	d, err := parseDictionary(s.page8.values, int(m.dictLen), r.index.columns[column].typ)
	if err != nil {
		return nil, r.corrupt(m.dict.off, "dictionary of column %s: %v", r.index.columns[column].name, err)
	}
	return r.cache.put(key, d), nil
}

// plainHas says whether a dictionary of text as it is stored holds a value, in the form that it has there.
func plainHas(src, value []byte) bool {
	for len(src) >= 4 {
		n := uint64(binary.LittleEndian.Uint32(src))
		if n > uint64(len(src)-4) {
			return true // malformed: whoever parses it says so
		}
		if n == uint64(len(value)) && string(src[4:4+n]) == string(value) {
			return true
		}
		src = src[4+n:]
	}
	return len(src) > 0
}

func parseDictionary(src []byte, n int, t schema.Type) (*dictionary, error) {
	if t.Physical() == schema.ID {
		if len(src) != 4*n {
			return nil, errValues
		}
		ids := make([]uint32, n)
		for i := range ids {
			ids[i] = binary.LittleEndian.Uint32(src[4*i:])
		}
		return &dictionary{ids: ids, cost: int64(4*n) + 64}, nil
	}
	if t.Physical() == schema.Int64 {
		ints, err := parseNumbers(src, n, t)
		return &dictionary{ints: ints, cost: int64(8*n) + 64}, err
	}
	if len(src) < 4*n || t.Physical() != schema.Code {
		return nil, errValues
	}
	data := make([]byte, 0, len(src)-4*n)
	offs := make([]uint32, 1, n+1)
	plain := plainText(t)
	for range n {
		if len(src) < 4 || uint64(binary.LittleEndian.Uint32(src)) > uint64(len(src)-4) {
			return nil, errValues
		}
		end := 4 + int(binary.LittleEndian.Uint32(src))
		if plain {
			data = append(data, src[4:end]...)
		} else {
			var err error
			if data, err = loaded(data, t, src[4:end]); err != nil {
				return nil, err
			}
		}
		src = src[end:]
		offs = append(offs, uint32(len(data)))
	}
	if len(src) != 0 {
		return nil, errValues
	}
	return &dictionary{text: batch.NewDict(data, offs), cost: int64(cap(data)+4*cap(offs)) + 128}, nil
}

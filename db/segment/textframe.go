package segment

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/db/batch"
)

// Ids in text are digits without repeats: a search for repeats finds only chance ones, which cost more than they save. A page
// of such text is a zstd frame that is built here: its lengths are a block, each textChunk bytes of its values another, all
// of Huffman-coded literals with a code of their own. So a reader that wants some rows of the page need not decode the rest.

const textChunk = 32 << 10

// packText is such a frame of a page's values as lengths makes them.
func (e *encoder) packText(values []byte) []byte {
	dst := appendFrameHeader(e.pack[:0], len(values))
	dst = e.appendPlane(dst, values[:e.lensBytes])
	last := len(dst)
	for rest := values[e.lensBytes:]; len(rest) > 0; rest = rest[min(textChunk, len(rest)):] {
		last = len(dst)
		dst = e.appendPlane(dst, rest[:min(textChunk, len(rest))])
	}
	if last == len(dst) { // no text at all: the lengths are the last block
		last = 9
	}
	dst[last] |= 1
	e.pack = dst
	return dst
}

// compressText is a page of direct text as zstd, nil when that does not pay. Which way suits the column is seen at the first
// page of each row group.
func (c *columnWriter) compressText(values []byte, e *encoder) []byte {
	if len(c.meta.pages) > 0 && !c.digits || len(values) < sampleMin || e.lensBytes > zstdBlockMax || e.lensBytes == 0 {
		return c.tryCompress(values, e)
	}
	other := 0
	if len(c.meta.pages) == 0 {
		other = len(e.compress(values, true))
	}
	packed := e.packText(values)
	if len(c.meta.pages) == 0 {
		if c.digits = len(packed) <= other; !c.digits {
			return c.tryCompress(values, e)
		}
	}
	if len(packed) > len(values)-len(values)/20 {
		return nil
	}
	return packed
}

// textBlock is a block of a frame: where it is stored, and where it is laid out.
type textBlock struct {
	at, size int // with its header
	raw, end int
}

// textBlocks lists the blocks of a frame that hold want bytes, if each can be decoded without those before it; nil if not.
func textBlocks(dst []textBlock, frame []byte, want int) []textBlock {
	const head = 9
	if len(frame) < head || frame[4] != 2<<6|1<<5 {
		return nil
	}
	dst = dst[:0]
	raw := 0
	for at := head; ; {
		if at+3 > len(frame) {
			return nil
		}
		h := int(frame[at]) | int(frame[at+1])<<8 | int(frame[at+2])<<16
		size, n := 3+h>>3, h>>3
		switch h >> 1 & 3 {
		case zstdRun:
			size = 4
		case zstdRaw:
		case zstdCompressed:
			if at+size > len(frame) || size < 9 || frame[at+3]&15 != 2|3<<2 || frame[at+size-1] != 0 {
				return nil // not literals with a table of their own and no sequences
			}
			lit := (uint64(binary.LittleEndian.Uint32(frame[at+3:])) | uint64(frame[at+7])<<32) >> 4
			n = int(lit & (1<<18 - 1))
			if 3+5+int(lit>>18&(1<<18-1))+1 != size {
				return nil
			}
		default:
			return nil
		}
		if at+size > len(frame) || n > zstdBlockMax {
			return nil
		}
		dst = append(dst, textBlock{at, size, raw, raw + n})
		raw += n
		if at += size; h&1 != 0 {
			if at != len(frame) || raw != want {
				return nil
			}
			return dst
		}
	}
}

// fewRows is up to how many rows of a page are looked for block by block.
const fewRows = 2048

// textRows lays out the parts of a page of text that the rows need: its lengths and the blocks in which the rows' values lie. What
// is between them is undefined. ok is false where the page has to be laid out whole; src is the page's frame of want bytes.
func (s *scratch) textRows(src []byte, want, n int, rows []int32) (ok bool, err error) {
	s.parts = s.parts[:0]
	s.blocks = textBlocks(s.blocks, src, want)
	if len(s.blocks) < 3 || len(rows) == 0 {
		return false, nil
	}
	s.raw = extend(s.raw, 0, want+padding)
	if err := s.block(src, &s.blocks[0]); err != nil {
		return false, err
	}
	s.i32 = extend(s.i32, 0, n)
	head := s.raw[:s.blocks[0].end:min(cap(s.raw), s.blocks[0].end+padding)]
	rest, err := decodeDelta(s.i32, head)
	if err != nil || len(rest) > 0 {
		return false, nil // of another maker, who cut blocks elsewhere
	}
	pos, row, k, filled := s.blocks[0].end, 0, 1, 1
	for _, r := range rows {
		for ; row < int(r); row++ {
			pos += int(uint32(s.i32[row]))
		}
		end := pos + int(uint32(s.i32[row]))
		if s.i32[row] < 0 || end > want {
			return false, nil // the whole says what is wrong
		}
		for k > 1 && s.blocks[k-1].end > pos { // the block of the row before may hold this one, too
			k--
		}
		for ; k < len(s.blocks) && s.blocks[k].raw < end; k++ {
			b := &s.blocks[k]
			if b.end <= pos || k < filled {
				continue
			}
			if err := s.block(src, b); err != nil {
				return false, err
			}
			filled = k + 1
			s.parts = append(s.parts, textPart{b.raw, b.end})
		}
	}
	return true, nil
}

// textPart is a part of a page that is laid out.
type textPart struct{ from, to int }

// block lays a block out where it belongs.
func (s *scratch) block(frame []byte, b *textBlock) error {
	n := b.end - b.raw
	s.one = appendFrameHeader(s.one[:0], n)
	at := len(s.one)
	s.one = append(s.one, frame[b.at:b.at+b.size]...)
	s.one[at] |= 1
	z, err := s.decoder()
	if err != nil {
		return err
	}
	out, err := z.DecodeAll(s.one, s.raw[b.raw:b.raw:b.end])
	if err == nil && len(out) != n {
		err = errValues
	}
	return err
}

// copyParts copies what is laid out of a page's values; data is the end of them.
func (s *scratch) copyParts(dst, data []byte, total int) {
	shift := total - len(data)
	for _, p := range s.parts {
		from, to := max(p.from-shift, 0), p.to-shift
		if to > from {
			copy(dst[from:to], data[from:to])
		}
	}
}

// partly decodes of a column of text only what the selected rows need; false where all of it has to be decoded.
func (q *unitRead) partly(v *batch.Vector, p *pageMeta, k, column int) (bool, error) {
	col := q.r.index.columns[k]
	if q.sel == nil || len(q.sel) > fewRows || len(q.sel) > q.n/4 || p.enc != encDeltaLength || p.flags&pageCompressed == 0 || p.nulls > 0 || !plainText(col.typ) {
		return false, nil
	}
	if err := q.r.readPage(p, q.s); err != nil {
		return false, err
	}
	want := int(p.raw - p.def)
	if !frameHolds(q.s.page8.values, want) {
		return false, nil
	}
	ok, err := q.s.textRows(q.s.page8.values, want, int(p.rows), q.sel)
	if err != nil {
		return false, q.r.corrupt(p.off, "column %s: %v", col.name, err)
	}
	if !ok {
		return false, nil
	}
	q.s.page8 = pageBytes{values: q.s.raw[:want]}
	defer func() { q.s.parts = q.s.parts[:0] }()
	if err := decodeValues(v, p, col, nil, &q.s.columns[column], q.s); err != nil {
		return false, q.r.corrupt(p.off, "column %s: %v", col.name, err)
	}
	return true, nil
}

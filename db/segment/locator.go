package segment

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A locator tells in which pages of a row group a value lies, for text that is stored value by value: a Bloom filter only
// says that it is in the group, and to unpack and compare 16 pages of ids costs many times the rest of a lookup. It is
// sections by the highest bits of the value's hash; a section is the number of entries of each of its slots (a byte each),
// then the entries in the order of their slots: four more bits of the hash and the sixteenth of the group's pages.

const (
	locatorSection  = 4096 // entries of a section, at most on average
	locatorSlotBits = 10   // of the slots in a section, at most
	locatorParts    = 16   // of a row group
	// locatorLookups is how many values of a term are looked up; terms of more are left to the Bloom filter.
	locatorLookups = 64
)

// locatorMeta is where a chunk's locator lies.
type locatorMeta struct {
	off      int64
	slotBits uint8
	sections []locatorPart // 2^n of them; none: there is no locator
}

type locatorPart struct {
	at, size uint32 // from off
	crc      uint32 // CRC-32C
}

// locatorPage is the hashes of one page: those from the end of the page before to end.
type locatorPage struct {
	page, end int
}

// part is the sixteenth of the pages that a page is in.
func (m *chunkMeta) part(page int) int { return page * locatorParts / len(m.pages) }

// locatorOf builds the locator of a chunk from the hashes of its pages; no sections where there is nothing to tell apart
// or, which only somebody who wants it achieves, a slot has more entries than it can count.
func locatorOf(m *chunkMeta, pages []locatorPage, hashes []uint64) (l locatorMeta, data []byte) {
	if len(pages) < 2 || len(hashes) == 0 {
		return l, nil
	}
	n := len(hashes)
	sectionBits := bits.Len(uint((n - 1) / locatorSection))
	l.slotBits = uint8(max(0, min(locatorSlotBits, bits.Len(uint(n>>sectionBits))-2)))
	l.sections = make([]locatorPart, 1<<sectionBits)
	entries, ends := l.sort(m, pages, hashes)
	data = make([]byte, 0, n+len(l.sections)<<l.slotBits)
	begin := uint32(0)
	for s := range l.sections {
		from := len(data)
		data = append(data, make([]byte, 1<<l.slotBits)...)
		for slot := range 1 << l.slotBits {
			end := ends[s<<l.slotBits+slot]
			k := len(data)
			data = appendDistinct(data, entries[begin:end])
			if begin = end; len(data)-k > 255 {
				return locatorMeta{}, nil
			}
			data[from+slot] = byte(len(data) - k)
		}
		l.sections[s] = locatorPart{at: uint32(from), size: uint32(len(data) - from), crc: crc32.Checksum(data[from:], castagnoli)}
	}
	return l, data
}

// sort gives the entries of all hashes by slot, over all sections, and where each slot ends.
func (l *locatorMeta) sort(m *chunkMeta, pages []locatorPage, hashes []uint64) (entries []byte, ends []uint32) {
	sectionBits := bits.TrailingZeros(uint(len(l.sections)))
	shift := 64 - sectionBits - int(l.slotBits)
	ends = make([]uint32, len(l.sections)<<l.slotBits)
	for _, h := range hashes {
		ends[h>>shift]++
	}
	sum := uint32(0)
	for i, n := range ends { // where each begins, until its entries are placed
		ends[i] = sum
		sum += n
	}
	entries = make([]byte, len(hashes))
	begin := 0
	for _, p := range pages {
		part := byte(m.part(p.page))
		for _, h := range hashes[begin:p.end] {
			at := &ends[h>>shift]
			entries[*at] = byte(h<<(64-shift)>>60)<<4 | part
			*at++
		}
		begin = p.end
	}
	return entries, ends
}

// appendDistinct appends the distinct bytes of list.
func appendDistinct(dst, list []byte) []byte {
	var seen [4]uint64
	for _, e := range list {
		if bit := uint64(1) << (e & 63); seen[e>>6]&bit == 0 {
			seen[e>>6] |= bit
			dst = append(dst, e)
		}
	}
	return dst
}

// section is the section of a hash.
func (l *locatorMeta) section(hash uint64) int {
	return int(hash >> 1 >> (63 - bits.TrailingZeros(uint(len(l.sections)))))
}

// slot is the slot of a hash within its section, and the four bits that its entry has.
func (l *locatorMeta) slot(hash uint64) (slot int, tag uint8) {
	rest := hash << bits.TrailingZeros(uint(len(l.sections)))
	return int(rest >> 1 >> (63 - l.slotBits)), uint8(rest << l.slotBits >> 60)
}

// find says in which parts of the pages a value of that hash may lie: a bit for each. section is the hash's.
func (l *locatorMeta) find(section []byte, hash uint64) (parts uint32) {
	slot, tag := l.slot(hash)
	counts := section[:1<<l.slotBits]
	at := len(counts)
	for _, c := range counts[:slot] {
		at += int(c)
	}
	end := at + int(counts[slot])
	if end > len(section) {
		return 1<<locatorParts - 1 // made wrong by somebody who made its checksum right
	}
	for _, e := range section[at:end] {
		if e>>4 == tag {
			parts |= 1 << (e & 15)
		}
	}
	return parts
}

// append encodes where the locator lies, for the index block.
func (l *locatorMeta) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(l.sections)))
	if len(l.sections) == 0 {
		return b
	}
	b = append(b, l.slotBits)
	b = binary.AppendUvarint(b, uint64(l.off))
	for _, s := range l.sections {
		b = binary.AppendUvarint(b, uint64(s.size))
		b = binary.LittleEndian.AppendUint32(b, s.crc)
	}
	return b
}

func (l *locatorMeta) parse(c *cursor, fileSize int64) {
	n := c.count(5, maxGroupRows)
	if n == 0 {
		return
	}
	l.slotBits = uint8(c.upTo(locatorSlotBits)) // a number below 128 is a byte
	l.off = int64(c.upTo(uint64(fileSize)))
	if n&(n-1) != 0 {
		c.fail()
		return
	}
	l.sections = make([]locatorPart, n)
	at := uint64(0)
	for i := range l.sections {
		size := c.upTo(uint64(fileSize))
		l.sections[i] = locatorPart{at: uint32(at), size: uint32(size), crc: c.fixed32()}
		if at += size; at > 1<<31 || l.off+int64(at) > fileSize || size < 1<<l.slotBits {
			c.fail()
			return
		}
	}
}

// bytes is the size of the locator in the file.
func (l *locatorMeta) bytes() int64 {
	if len(l.sections) == 0 {
		return 0
	}
	last := l.sections[len(l.sections)-1]
	return int64(last.at) + int64(last.size)
}

// writeLocator writes the locator of a column's row group, where it has one.
func (w *Writer) writeLocator(c *columnWriter, m *chunkMeta) error {
	l, data := locatorOf(m, c.hashPages, c.hashes)
	if len(data) == 0 {
		return nil
	}
	l.off = w.pos()
	m.locator = l
	return w.write(data)
}

// located takes out of units, which are of row group g, those whose pages do not have a value of the term.
func (p *pruner) located(g int, t *pruneTerm, units []Unit) []Unit {
	m := &p.r.index.groups[g].chunks[t.column]
	if len(m.locator.sections) == 0 || len(t.hashes) == 0 || len(t.hashes) > locatorLookups || len(units) < 2 {
		return units
	}
	var parts uint32
	for _, h := range t.hashes {
		s := m.locator.sections[m.locator.section(h)]
		p.s.page = extend(p.s.page, 0, int(s.size))
		if _, err := p.r.file.ReadAt(p.s.page, m.locator.off+int64(s.at)); err != nil {
			return units
		}
		p.s.read += int64(s.size)
		if crc32.Checksum(p.s.page, castagnoli) != s.crc {
			return units // a damaged locator rules nothing out; Verify tells
		}
		parts |= m.locator.find(p.s.page, h)
	}
	keep := units[:0]
	for _, u := range units {
		if m.pages[u.Page].enc == encDictionary || parts>>m.part(int(u.Page))&1 != 0 {
			keep = append(keep, u)
		}
	}
	return keep
}

func (r *opened) verifyLocator(m *chunkMeta, s *scratch) error {
	l := &m.locator
	for _, part := range l.sections {
		off := l.off + int64(part.at)
		if err := r.readAt(off, int(part.size), s); err != nil {
			return err
		}
		if crc32.Checksum(s.page, castagnoli) != part.crc {
			return r.corrupt(off, "page locator has a wrong checksum")
		}
		counts := s.page[:1<<l.slotBits]
		entries := 0
		for _, c := range counts {
			entries += int(c)
		}
		if len(counts)+entries != len(s.page) {
			return r.corrupt(off, "page locator has %d entries in %d bytes", entries, len(s.page)-len(counts))
		}
	}
	return nil
}

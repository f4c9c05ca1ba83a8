package segment

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
)

// A locator tells in which rows of a row group a value lies, for text that is stored value by value: a Bloom filter only
// says that it is in the group, and to unpack and compare 16 pages of ids costs many times the rest of a lookup. It is
// sections by the highest bits of the value's hash; a section is the number of entries of each of its slots (a byte each),
// then the entries in the order of their slots: eight more bits of the hash, the tag, and the part of the group's rows, in two
// bytes. Before version 5 it was four bits of the hash and the sixteenth of the group's pages, in one.

const (
	locatorSection  = 4096 // entries of a section, at most on average
	locatorSlotBits = 10   // of the slots in a section, at most
	locatorParts    = 255  // of a row group's rows
	locatorAll      = 255  // the entry of a value that is in most parts
	locatorMany     = 24   // parts of a value from which on it has that entry
	locatorFew      = 4096 // values of a row group of one page from which on it has a locator
	locatorPages    = 16   // parts of a row group's pages, before version 5
	// locatorLookups is how many values of a term are looked up; terms of more are left to the Bloom filter.
	locatorLookups = 64
)

// locatorMeta is where a chunk's locator lies.
type locatorMeta struct {
	off      int64
	slotBits uint8
	pages    bool          // its entries are those of before version 5
	sections []locatorPart // 2^n of them; none: there is no locator
}

type locatorPart struct {
	at, size uint32 // from off
	crc      uint32 // CRC-32C
}

// locatorPage is the hashes of one page: those from the end of the page before to end, one for each row.
type locatorPage struct {
	page, end int
}

// partSet is a set of parts.
type partSet [4]uint64

func (s *partSet) add(p int)      { s[p>>6] |= 1 << (p & 63) }
func (s *partSet) has(p int) bool { return s[p>>6]>>(p&63)&1 != 0 }

// pagePart is the sixteenth of the pages that a page is in.
func (m *chunkMeta) pagePart(page int) int { return page * locatorPages / len(m.pages) }

// rowPart is the part that a row of a group of n rows is in.
func rowPart(row, n int) int { return row * locatorParts / n }

// starts is the first row of each page, and the number of all rows.
func (m *chunkMeta) starts() []int {
	out := make([]int, len(m.pages)+1)
	for i := range m.pages {
		out[i+1] = out[i] + int(m.pages[i].rows)
	}
	return out
}

// locatorOf builds the locator of a chunk from the hashes of its pages; no sections where there is nothing to tell apart
// or, which only somebody who wants it achieves, a slot has more entries than it can count. byPage makes one of before version 5.
func locatorOf(m *chunkMeta, pages []locatorPage, hashes []uint64, byPage bool) (l locatorMeta, data []byte) {
	n := len(hashes)
	if n == 0 || len(pages) < 2 && (byPage || n < locatorFew) {
		return l, nil
	}
	l.pages = byPage
	sectionBits := bits.Len(uint((n - 1) / locatorSection))
	l.slotBits = uint8(max(0, min(locatorSlotBits, bits.Len(uint(n>>sectionBits))-2)))
	l.sections = make([]locatorPart, 1<<sectionBits)
	entries, ends := l.sort(m, pages, hashes)
	data = make([]byte, 0, 2*n+len(l.sections)<<l.slotBits)
	begin := uint32(0)
	for s := range l.sections {
		from := len(data)
		data = append(data, make([]byte, 1<<l.slotBits)...)
		for slot := range 1 << l.slotBits {
			end := ends[s<<l.slotBits+slot]
			list := distinct(entries[begin:end], byPage)
			begin = end
			if len(list) > 255 {
				return locatorMeta{}, nil
			}
			data[from+slot] = byte(len(list))
			for _, e := range list {
				if byPage {
					data = append(data, byte(e))
				} else {
					data = binary.LittleEndian.AppendUint16(data, e)
				}
			}
		}
		l.sections[s] = locatorPart{at: uint32(from), size: uint32(len(data) - from), crc: crc32.Checksum(data[from:], castagnoli)}
	}
	return l, data
}

// sort gives the entries of all hashes by slot, over all sections, and where each slot ends.
func (l *locatorMeta) sort(m *chunkMeta, pages []locatorPage, hashes []uint64) (entries []uint16, ends []uint32) {
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
	entries = make([]uint16, len(hashes))
	begin, starts := 0, m.starts()
	all := starts[len(m.pages)]
	for _, p := range pages {
		pagePart := uint16(m.pagePart(p.page))
		first := starts[p.page]
		for i, h := range hashes[begin:p.end] {
			at := &ends[h>>shift]
			if l.pages {
				entries[*at] = uint16(h<<(64-shift)>>60)<<4 | pagePart
			} else {
				entries[*at] = uint16(h<<(64-shift)>>56)<<8 | uint16(rowPart(first+i, all))
			}
			*at++
		}
		begin = p.end
	}
	return entries, ends
}

// distinct is the distinct entries of a slot, in its place. Those of a value that is in many parts become one that says so.
func distinct(list []uint16, byPage bool) []uint16 {
	if len(list) < 2 {
		return list
	}
	if len(list) <= 64 {
		slices.Sort(list)
		list = slices.Compact(list)
	} else {
		var seen [1 << 10]uint64
		for _, e := range list {
			seen[e>>6] |= 1 << (e & 63)
		}
		list = list[:0]
		for i, word := range seen {
			for ; word != 0; word &= word - 1 {
				list = append(list, uint16(i<<6|bits.TrailingZeros64(word)))
			}
		}
	}
	if byPage || len(list) < locatorMany {
		return list
	}
	kept := list[:0]
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[j]>>8 == list[i]>>8 {
			j++
		}
		if j-i >= locatorMany {
			kept = append(kept, list[i]|locatorAll)
		} else {
			kept = append(kept, list[i:j]...)
		}
		i = j
	}
	return kept
}

// section is the section of a hash.
func (l *locatorMeta) section(hash uint64) int {
	return int(hash >> 1 >> (63 - bits.TrailingZeros(uint(len(l.sections)))))
}

// slot is the slot of a hash within its section, and the bits behind it.
func (l *locatorMeta) slot(hash uint64) (slot int, rest uint64) {
	rest = hash << bits.TrailingZeros(uint(len(l.sections)))
	return int(rest >> 1 >> (63 - l.slotBits)), rest << l.slotBits
}

// find adds the parts in which a value of that hash may lie. section is the hash's; one that was made wrong by somebody who made
// its checksum right rules nothing out.
func (l *locatorMeta) find(parts *partSet, section []byte, hash uint64) {
	slot, rest := l.slot(hash)
	counts := section[:1<<l.slotBits]
	at := 0
	for _, c := range counts[:slot] {
		at += int(c)
	}
	width := 2
	if l.pages {
		width = 1
	}
	from, to := len(counts)+width*at, len(counts)+width*(at+int(counts[slot]))
	if to > len(section) {
		*parts = partSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		return
	}
	for list := section[from:to]; len(list) > 0; list = list[width:] {
		switch {
		case l.pages && uint64(list[0]>>4) == rest>>60:
			parts.add(int(list[0] & 15))
		case !l.pages && uint64(list[1]) == rest>>56 && list[0] == locatorAll:
			*parts = partSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		case !l.pages && uint64(list[1]) == rest>>56:
			parts.add(int(list[0]))
		}
	}
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
	l, data := locatorOf(m, c.hashPages, c.hashes, w.index.version < versionRows)
	if len(data) == 0 {
		return nil
	}
	l.off = w.pos()
	m.locator = l
	return w.write(data)
}

// located takes out of units, which are of row group g, those whose pages do not have a value of the term, and says of the
// others which of their rows may have one.
func (p *pruner) located(g int, t *pruneTerm, units []Unit) []Unit {
	m := &p.r.index.groups[g].chunks[t.column]
	if len(m.locator.sections) == 0 || len(t.hashes) == 0 || len(t.hashes) > locatorLookups || len(units) == 0 {
		return units
	}
	var parts partSet
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
		m.locator.find(&parts, p.s.page, h)
	}
	keep, starts := units[:0], m.starts()
	for _, u := range units {
		switch {
		case m.pages[u.Page].enc == encDictionary:
			keep = append(keep, u)
		case m.locator.pages:
			if parts.has(m.pagePart(int(u.Page))) {
				keep = append(keep, u)
			}
		default:
			if s := parts.slices(starts[u.Page], int(u.Rows), starts[len(m.pages)]); u.narrow(s) {
				keep = append(keep, u)
			}
		}
	}
	return keep
}

// slices is the slices of a page of n rows, from row first of a group of all rows on, that parts of the set lie in.
func (s *partSet) slices(first, n, all int) (out uint64) {
	for part := rowPart(first, all); part <= rowPart(first+n-1, all); part++ {
		if !s.has(part) {
			continue
		}
		from := max((part*all+locatorParts-1)/locatorParts, first) - first
		to := min(((part+1)*all+locatorParts-1)/locatorParts, first+n) - first
		for k := from * unitSlices / n; k <= (to-1)*unitSlices/n; k++ {
			out |= 1 << k
		}
	}
	return out
}

// unitSlices is into how many slices a unit's rows are divided.
const unitSlices = 64

// narrow leaves only some of a unit's slices; false if none are left.
func (u *Unit) narrow(slices uint64) bool {
	if u.slices != 0 {
		slices &= u.slices
	}
	u.slices = slices
	return slices != 0
}

// rows appends the rows of a unit of n rows that lie in its slices.
func (u *Unit) rows(dst []int32, n int) []int32 {
	for k := range unitSlices {
		if u.slices>>k&1 == 0 {
			continue
		}
		for row := (k*n + unitSlices - 1) / unitSlices; row < ((k+1)*n+unitSlices-1)/unitSlices; row++ {
			dst = append(dst, int32(row))
		}
	}
	return dst
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
		if !l.pages {
			entries *= 2
		}
		if len(counts)+entries != len(s.page) {
			return r.corrupt(off, "page locator has %d entries in %d bytes", entries, len(s.page)-len(counts))
		}
	}
	return nil
}

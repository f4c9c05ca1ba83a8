package segment

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/flowlake/flowlake/db/batch"
)

// verify is Reader.Verify.
func (r *opened) verify(ctx context.Context) (err error) {
	defer guard(r.path, 0, &err)
	var s scratch
	if err := r.readAt(0, len(parquetMagic), &s); err != nil {
		return err
	}
	if string(s.page) != parquetMagic {
		return r.corrupt(0, "file does not begin with %s", parquetMagic)
	}
	for g := range r.index.groups {
		for k := range r.index.columns {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.verifyChunk(g, k, &s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *opened) verifyChunk(g, k int, s *scratch) error {
	m, col := &r.index.groups[g].chunks[k], r.index.columns[k]
	var d *dictionary
	if m.dictLen > 0 {
		if err := r.verifyHeader(&m.dict, s); err != nil {
			return err
		}
		if err := r.loadPage(&m.dict, -1, s); err != nil {
			return err
		}
		var err error
		if d, err = parseDictionary(s.page8.values, int(m.dictLen), col.typ); err != nil {
			return r.corrupt(m.dict.off, "dictionary of column %s: %v", col.name, err)
		}
	}
	var v batch.Vector
	var c columnScratch
	for i := range m.pages {
		p := &m.pages[i]
		if err := r.verifyHeader(p, s); err != nil {
			return err
		}
		if err := r.loadPage(p, -1, s); err != nil {
			return err
		}
		if err := decodeValues(&v, p, col, d, &c, s); err != nil {
			return r.corrupt(p.off, "column %s: %v", col.name, err)
		}
	}
	if err := r.verifyBloom(m, s); err != nil {
		return err
	}
	return r.verifyLocator(m, s)
}

func (r *opened) verifyHeader(p *pageMeta, s *scratch) error {
	if err := r.readAt(p.off, int(p.hdr), s); err != nil {
		return err
	}
	if crc32.Checksum(s.page, castagnoli) != p.hdrCRC {
		return r.corrupt(p.off, "page header has a wrong checksum")
	}
	return nil
}

func (r *opened) verifyBloom(m *chunkMeta, s *scratch) error {
	for i, crc := range m.bloomCRC {
		off := m.bloomOff + int64(i*bloomSection)
		if err := r.readAt(off, min(bloomSection, int(m.bloomLen)-i*bloomSection), s); err != nil {
			return err
		}
		if crc32.Checksum(s.page, castagnoli) != crc {
			return r.corrupt(off, "Bloom filter has a wrong checksum")
		}
	}
	return nil
}

// readAt reads n bytes into s.page.
func (r *opened) readAt(off int64, n int, s *scratch) error {
	s.page = extend(s.page, 0, n)
	if _, err := r.file.ReadAt(s.page, off); errors.Is(err, io.EOF) {
		return r.corrupt(off, "file ends within %d bytes", n)
	} else if err != nil {
		return fmt.Errorf("read segment %s at %d: %w", r.path, off, err)
	}
	return nil
}

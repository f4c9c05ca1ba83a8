package segment

import "encoding/binary"

// Where rows repeat those before them in some columns, so do stretches of dictionary codes, in no step with the eights that
// bit-packing goes by: an entropy code or a search for repeats sees nothing of it. Codes in whole bytes, which Parquet
// allows too (a page names the width of its codes), can be searched. Reading them takes the unpacking of one to two bytes
// a row more, so only text is stored like that, in segments that are merged: tag sets are what most queries filter and
// group by.

const (
	wideGain  = 15 // what wide codes must save, in percent
	wideEvery = 16 // pages for which a trial holds
	// wideLeast is from how many bytes of narrow codes for a thousand values on wide ones are tried.
	wideLeast = 100
)

// wideTrial remembers whether wide codes were smaller in the page that tried both.
type wideTrial struct {
	pays bool
	left int // pages until the next trial
}

// pack is codes in whole bytes, compressed, and their size before; 0 if narrow, the same codes bit-packed, are as good.
func (t *wideTrial) pack(e *encoder, narrow []byte, codes []int32) (packed []byte, raw int) {
	if len(narrow)*1000 < len(codes)*wideLeast || codeWidth(codes) > 16 {
		return nil, 0
	}
	least := len(narrow)
	trial := t.left == 0
	switch {
	case trial:
		least = min(least, len(e.compress(narrow, false)))
		t.left = wideEvery
	case !t.pays:
		t.left--
		return nil, 0
	}
	t.left--
	wide := e.wideCodes(codes)
	packed = e.compress(wide, true)
	if pays := len(packed) < least-least*wideGain/100; trial || !pays {
		t.pays = pays
	}
	if !t.pays {
		return nil, 0
	}
	return packed, len(wide)
}

// wideCodes is RLE_DICTIONARY of codes below 1<<16 in one stretch of whole bytes each.
func (e *encoder) wideCodes(codes []int32) []byte {
	groups := (len(codes) + 7) / 8
	size := (codeWidth(codes) + 7) / 8
	size = max(size, 1)
	e.planes = binary.AppendUvarint(append(e.planes[:0], byte(8*size)), uint64(groups)<<1|1)
	head := len(e.planes)
	e.planes = extend(e.planes, head, 8*groups*size)
	dst := e.planes[head:]
	if size == 1 {
		for i, c := range codes {
			dst[i] = byte(c)
		}
	} else {
		for i, c := range codes {
			binary.LittleEndian.PutUint16(dst[2*i:], uint16(c))
		}
	}
	clear(dst[size*len(codes):])
	return e.planes
}

package segment

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync"
	"unicode/utf8"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"

	"github.com/flowlake/flowlake/db/batch"
)

// encoder turns a page's values into bytes. Its buffers are shared by all columns of a writer, and by one writer after the
// other: what a method returns is valid until the next call.
type encoder struct {
	zstd  *zstd.Encoder // for codes and integers: only repeats are worth looking for
	dense *zstd.Encoder // for text and doubles: bytes that do not repeat may still be few, as hexadecimal digits are
	out   []byte
	pack  []byte // compressed values
	i32   []int32
	bits  batch.Bitmap
	lens  []int32
	// lensBytes is how many of the bytes that lengths gave last are lengths
	lensBytes int
	text      []byte // minima and maxima of text pages: lives as long as the writer
	delta     delta.BinaryPackedEncoding
	rle       rle.Encoding
	runs      []byte // dictionary codes
	split     bytestreamsplit.Encoding
	// numbers stored byte by byte
	sample sampler
	planes []byte
	huff   huff0.Scratch
	pages  pageStore
	// columns that need no gathering, and the places of the order in hand (if placed)
	sorted       batch.Vector
	fullInts     []int64
	near         narrow
	fullCodes    []uint32
	rare, places []int32
	placed       bool
	// zeros is the encoding of zeroCount zeros
	zeros     []byte
	zeroCount int
	zero      []int64 // nothing but zeros
	// page buffers for a column that has none of its own; nil while lent
	pageInts  []int64
	pageCodes []int32
}

var encoders sync.Pool

// takeEncoder is an encoder for a writer, to be given back.
func takeEncoder() (*encoder, error) {
	if e, ok := encoders.Get().(*encoder); ok {
		return e, nil
	}
	return newEncoder()
}

// maxKeptText bounds what an idle encoder holds of each buffer that values of any length go through.
const maxKeptText = 1 << 20

// maxKeptRows bounds the rows for which it holds whole columns.
const maxKeptRows = 256 << 10

func (e *encoder) giveBack() {
	e.pages.reset()
	e.pages.free = e.pages.free[:min(len(e.pages.free), maxKeptBlocks)]
	for _, b := range []*[]byte{&e.out, &e.pack, &e.text} {
		if cap(*b) > maxKeptText {
			*b = nil
		}
	}
	e.text = e.text[:0]
	e.sorted = batch.Vector{} // it refers to a dictionary
	if cap(e.fullInts) > maxKeptRows {
		e.fullInts, e.fullCodes, e.rare, e.places, e.near = nil, nil, nil, nil, narrow{}
	}
	encoders.Put(e)
}

// lend gives a column that begins a page the shared page buffers; takeBack takes them when the page in hand is empty again.
// A column that keeps rows between two batches keeps its buffer.
func (e *encoder) lend(c *columnWriter) {
	if c.i64 == nil {
		c.i64, e.pageInts = e.pageInts, nil
	}
	if c.code == nil {
		c.code, e.pageCodes = e.pageCodes, nil
	}
}

func (e *encoder) takeBack(c *columnWriter) {
	if c.n > 0 {
		return
	}
	if e.pageInts == nil {
		e.pageInts, c.i64 = c.i64, nil
	}
	if e.pageCodes == nil {
		e.pageCodes, c.code = c.code, nil
	}
}

const (
	pageBlock     = 256 << 10
	maxKeptBlocks = 64 // 16 MiB, of an idle encoder
)

// pageStore keeps the encoded pages of a row group, of all columns, in blocks of memory that are used again for the next.
type pageStore struct {
	block      []byte // the one that is being filled
	full, free [][]byte
}

// keep is a copy of two slices, one after the other, valid until reset.
func (s *pageStore) keep(a, b []byte) []byte {
	n := len(a) + len(b)
	if n > pageBlock/2 { // pages that would leave much of a block empty
		return append(append(make([]byte, 0, n), a...), b...)
	}
	if cap(s.block)-len(s.block) < n {
		if s.block != nil {
			s.full = append(s.full, s.block)
		}
		if k := len(s.free); k > 0 {
			s.block, s.free = s.free[k-1], s.free[:k-1]
		} else {
			s.block = make([]byte, 0, pageBlock)
		}
	}
	at := len(s.block)
	s.block = append(append(s.block, a...), b...)
	return s.block[at:len(s.block):len(s.block)]
}

func (s *pageStore) reset() {
	for i, b := range s.full {
		s.free = append(s.free, b[:0])
		s.full[i] = nil
	}
	s.full, s.block = s.full[:0], s.block[:0]
}

func newEncoder() (*encoder, error) {
	fast := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)}
	z, err := zstd.NewWriter(nil, fast...)
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewWriter(nil, append(fast, zstd.WithAllLitEntropyCompression(true))...)
	if err != nil {
		return nil, err
	}
	return &encoder{zstd: z, dense: d}, nil
}

func (e *encoder) int64s(v []int64) (out []byte, err error) {
	e.out, err = e.delta.EncodeInt64(e.out, v)
	return e.out, err
}

// constant is int64s of n > 0 values x: of the encoding only the first value depends on x, all differences are 0.
func (e *encoder) constant(x int64, n int) ([]byte, error) {
	if e.zeroCount != n {
		for len(e.zero) < n {
			e.zero = append(e.zero, make([]int64, 1<<14)...)
		}
		all, err := e.int64s(e.zero[:n])
		if err != nil {
			return nil, err
		}
		e.zeros, e.zeroCount = append(e.zeros[:0], all...), n
	}
	head := 0 // block size, miniblocks, number of values; then the first value, a zero of one byte
	for range 3 {
		_, k := binary.Uvarint(e.zeros[head:])
		head += k
	}
	e.out = binary.AppendVarint(append(e.out[:0], e.zeros[:head]...), x)
	e.out = append(e.out, e.zeros[head+1:]...)
	return e.out, nil
}

func (e *encoder) int32s(v []int64) ([]byte, error) {
	e.i32 = extend(e.i32, 0, len(v))
	for i, x := range v {
		e.i32[i] = int32(x)
	}
	return e.rawInt32s(e.i32)
}

func (e *encoder) rawInt32s(v []int32) (out []byte, err error) {
	e.out, err = e.delta.EncodeInt32(e.out, v)
	return e.out, err
}

// booleans is RLE of single bits after its length.
func (e *encoder) booleans(v []int64) []byte {
	e.bits = extend(e.bits, 0, (len(v)+63)/64)
	clear(e.bits)
	for i, x := range v {
		e.bits[i>>6] |= uint64(x) << (uint(i) & 63)
	}
	e.out = appendLevels(append(e.out[:0], 0, 0, 0, 0), e.bits, len(v))
	binary.LittleEndian.PutUint32(e.out, uint32(len(e.out)-4))
	return e.out
}

// codes is RLE_DICTIONARY: the width of the codes, then runs of one code and bit-packed stretches between them. The
// library writes a run only where eight codes in step are equal; sorted columns have shorter ones.
func (e *encoder) codes(v []int32) ([]byte, error) {
	width := codeWidth(v)
	e.rle.BitWidth = width
	e.out = append(e.out[:0], byte(width))
	size := (width + 7) / 8
	least := 8
	if width > 0 { // what a run and the header of the stretch behind it take must be less than the codes packed
		least = max(2, (8*(2+size)+width-1)/width)
	}
	packed := 0 // codes before it are written
	for i := 0; i < len(v); {
		c := v[i]
		j := i + 1
		for j < len(v) && v[j] == c {
			j++
		}
		from := i + (packed-i)&7 // a packed stretch is of whole eights
		if j-from >= least {
			if err := e.packCodes(v[packed:from]); err != nil {
				return nil, err
			}
			e.out = binary.AppendUvarint(e.out, uint64(j-from)<<1)
			for k := range size {
				e.out = append(e.out, byte(c>>(8*k)))
			}
			packed = j
		}
		i = j
	}
	return e.out, e.packCodes(v[packed:])
}

func (e *encoder) packCodes(v []int32) (err error) {
	if len(v) == 0 {
		return nil
	}
	if e.runs, err = e.rle.EncodeInt32(e.runs, v); err == nil {
		e.out = append(e.out, e.runs...)
	}
	return err
}

// codeWidth is the number of bits that the largest code takes.
func codeWidth(v []int32) int {
	var a, b, c, d int32
	i := 0
	for ; i+4 <= len(v); i += 4 {
		q := v[i : i+4 : i+4]
		a, b, c, d = a|q[0], b|q[1], c|q[2], d|q[3]
	}
	for _, x := range v[i:] {
		a |= x
	}
	return bits.Len32(uint32(a | b | c | d))
}

func (e *encoder) plainFloats(v []float64) []byte {
	e.out = extend(e.out, 0, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(e.out[8*i:], math.Float64bits(x))
	}
	return e.out
}

func (e *encoder) splitFloats(v []float64) (out []byte, err error) {
	e.out, err = e.split.EncodeDouble(e.out, v)
	return e.out, err
}

// splitPays says whether these values are smaller split into byte streams, after compression.
func (e *encoder) splitPays(v []float64) bool {
	plain := len(e.compress(e.plainFloats(v), true))
	split, err := e.splitFloats(v)
	return err == nil && len(e.compress(split, true)) < plain
}

// lengths is DELTA_LENGTH_BYTE_ARRAY of the values that end at ends in arena.
func (e *encoder) lengths(arena []byte, ends []uint32) (out []byte, err error) {
	e.lens = extend(e.lens, 0, len(ends))
	begin := uint32(0)
	for i, end := range ends {
		e.lens[i] = int32(end - begin)
		begin = end
	}
	e.out, err = e.delta.EncodeInt32(e.out, e.lens)
	e.lensBytes = len(e.out)
	e.out = append(e.out, arena...)
	return e.out, err
}

// compress is values as a zstd frame, in a buffer of its own.
func (e *encoder) compress(values []byte, dense bool) []byte {
	z := e.zstd
	if dense {
		z = e.dense
	}
	e.pack = z.EncodeAll(values, e.pack[:0])
	return e.pack
}

// plainBytes is PLAIN of a text dictionary: each value after its length.
func (e *encoder) plainBytes(data []byte, offs []uint32) []byte {
	e.out = e.out[:0]
	for i := range len(offs) - 1 {
		v := data[offs[i]:offs[i+1]]
		e.out = append(binary.LittleEndian.AppendUint32(e.out, uint32(len(v))), v...)
	}
	return e.out
}

func (e *encoder) plainInt32s(v []uint32) []byte {
	e.out = e.out[:0]
	for _, x := range v {
		e.out = binary.LittleEndian.AppendUint32(e.out, x)
	}
	return e.out
}

// levels appends the definition levels (0 NULL, 1 not) of n rows: runs of whole words become RLE, the rest is bit-packed.
func appendLevels(dst []byte, valid batch.Bitmap, n int) []byte {
	words := (n + 63) / 64
	for i := 0; i < words; {
		j := i
		switch w := valid[i]; {
		case w == 0 || w == ^uint64(0) || j == words-1 && w == ^uint64(0)>>(uint(-n)&63):
			full := w != 0
			for j < words && (!full && valid[j] == 0 || full && valid[j] == ^uint64(0) ||
				full && j == words-1 && valid[j] == ^uint64(0)>>(uint(-n)&63)) {
				j++
			}
			dst = binary.AppendUvarint(dst, uint64(min(64*j, n)-64*i)<<1)
			dst = append(dst, boolByte(full))
		default:
			for j < words && valid[j] != 0 && valid[j] != ^uint64(0) {
				j++
			}
			dst = binary.AppendUvarint(dst, uint64((min(64*j, n)-64*i+7)/8)<<1|1)
			for k := 64 * i; k < 64*j && k < n; k += 8 {
				dst = append(dst, byte(valid[k>>6]>>(uint(k)&63)))
			}
		}
		i = j
	}
	return dst
}

// textRange notes a text page's minimum and maximum, cut to a length that keeps headers small.
func (e *encoder) textRange(p *pageMeta, lo, hi []byte) {
	p.flags |= pageRange
	if len(lo) > maxTextStat {
		p.flags |= pageMinCut
		lo = cutText(lo)
	}
	p.min = e.keep(lo)
	if len(hi) > maxTextStat {
		if up := nextText(cutText(hi)); up != nil {
			p.flags |= pageMaxCut
			hi = up
		} // else it is all of the last code point: kept whole, there is nothing shorter above it
	}
	p.max = e.keep(hi)
}

func (e *encoder) keep(v []byte) int64 {
	off := len(e.text)
	e.text = append(e.text, v...)
	return textRef(off, len(v))
}

// cutText is a prefix of v of at most maxTextStat bytes that does not end inside a character.
func cutText(v []byte) []byte {
	n := maxTextStat
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// nextText is the least text above everything that begins with v: v with its last character one higher; nil where
// there is none.
func nextText(v []byte) []byte {
	for len(v) > 0 {
		r, n := utf8.DecodeLastRune(v)
		v = v[:len(v)-n]
		if r++; r == 0xd800 {
			r = 0xe000
		}
		if r <= utf8.MaxRune {
			return utf8.AppendRune(append([]byte(nil), v...), r)
		}
	}
	return nil
}

package segment

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/bytestreamsplit"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"

	"github.com/flowlake/flowlake/db/batch"
)

// encoder turns a page's values into bytes. Its buffers are shared by all columns of a writer: what a method returns is
// valid until the next call.
type encoder struct {
	zstd  *zstd.Encoder // for codes and integers: only repeats are worth looking for
	dense *zstd.Encoder // for text and doubles: bytes that do not repeat may still be few, as hexadecimal digits are
	out   []byte
	pack  []byte // compressed values
	i32   []int32
	bits  batch.Bitmap
	lens  []int32
	text  []byte // minima and maxima of text pages: lives as long as the writer
	delta delta.BinaryPackedEncoding
	dict  rle.DictionaryEncoding
	split bytestreamsplit.Encoding
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

func (e *encoder) codes(v []int32) (out []byte, err error) {
	e.out, err = e.dict.EncodeInt32(e.out, v)
	return e.out, err
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

package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
)

// Errors of Open and AppendFrame.
var (
	// ErrBadFrame is returned when bytes are not a frame: magic, checksum, a length or a code is wrong.
	ErrBadFrame = errors.New("bad frame")
	// ErrNewerFrame is returned when a frame was written by a later format version.
	ErrNewerFrame = errors.New("frame of a newer format")
	// ErrTooLarge is returned when a batch has more rows (MaxRows) or larger dictionaries (MaxDictBytes) than a frame holds.
	ErrTooLarge = errors.New("too large for one frame")
)

// Bounds of a frame, as docs/format/frame.md states them.
const (
	frameMagic   = "FLF1"
	MaxRows      = 1 << 20
	MaxDictBytes = 64 << 20 // of one column's dictionary
	maxColumns   = 4096
	maxTableName = 255
	nullableBit  = 0x80
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends the encoded form of b to dst. b has at least one row and at most MaxRows.
func AppendFrame(dst []byte, b *Batch) ([]byte, error) {
	if b.N < 1 || b.N > MaxRows {
		return dst, fmt.Errorf("encode %d rows of %s: %w", b.N, b.Table.Name, ErrTooLarge)
	}
	scratch := scratchPool.Get().(*encodeScratch)
	defer scratchPool.Put(scratch)
	headers, bodies, n, err := appendColumns(scratch.headers[:0], scratch.bodies[:0], b)
	scratch.headers, scratch.bodies = headers, bodies
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = slices.Grow(dst, 64+len(b.Table.Name)+len(headers)+len(bodies))
	dst = append(dst, frameMagic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(len(b.Table.Name)))
	dst = append(dst, b.Table.Name...)
	dst = binary.AppendUvarint(dst, uint64(b.N))
	lo, hi, _ := b.TimeRange()
	dst = binary.AppendVarint(dst, lo)
	dst = binary.AppendUvarint(dst, uint64(hi-lo))
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, headers...)
	dst = append(dst, bodies...)
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst, nil
}

// encodeScratch is where columns are encoded before their lengths are known, so that a frame is allocated once, at its size.
type encodeScratch struct{ headers, bodies []byte }

var scratchPool = sync.Pool{New: func() any { return new(encodeScratch) }}

// appendColumns encodes the columns that are there: n of them.
func appendColumns(headers, bodies []byte, b *Batch) (h, d []byte, n int, err error) {
	for i, v := range b.Cols {
		if v == nil {
			continue
		}
		before := len(bodies)
		if bodies, err = appendColumn(bodies, v, b.N); err != nil {
			return headers, bodies, 0, fmt.Errorf("encode %s.%s: %w", b.Table.Name, b.Table.Columns[i].Name, err)
		}
		typ := byte(v.Type)
		if v.Valid != nil {
			typ |= nullableBit
		}
		headers = binary.AppendUvarint(headers, uint64(i))
		headers = append(headers, typ)
		headers = binary.AppendUvarint(headers, uint64(len(bodies)-before))
		n++
	}
	return headers, bodies, n, nil
}

func appendColumn(dst []byte, v *Vector, n int) ([]byte, error) {
	if v.Len() != n {
		return dst, fmt.Errorf("%d values for %d rows: %w", v.Len(), n, ErrBadFrame)
	}
	if v.Valid != nil {
		dst = enc.AppendBitmap(dst, v.Valid, n)
	}
	switch v.Type.Physical() {
	case schema.Int64:
		return enc.AppendInt64(dst, v.I64), nil
	case schema.Float64:
		return enc.AppendFloat64(dst, v.F64), nil
	}
	if v.Dict == nil {
		return dst, fmt.Errorf("tag-set ids cannot leave their database: %w", ErrBadFrame)
	}
	data, offs := v.Dict.Arena()
	if len(data) > MaxDictBytes || v.Dict.Len() > MaxRows+1 {
		return dst, fmt.Errorf("a dictionary of %d entries, %d bytes: %w", v.Dict.Len(), len(data), ErrTooLarge)
	}
	dst = enc.AppendUint32(dst, v.Codes)
	dst = binary.AppendUvarint(dst, uint64(v.Dict.Len()))
	return enc.AppendBytesList(dst, data, offs), nil
}

// View is a frame opened for reading. It borrows the frame's bytes, which must not change. Its methods are safe for
// concurrent use.
type View struct {
	Table            *schema.Table
	N                int
	MinTime, MaxTime int64

	frame []byte
	cols  []viewColumn // by ordinal; zero value: absent
}

type viewColumn struct {
	body     []byte
	nullable bool
	present  bool
}

// Open checks a frame and finds its columns. The table must be in the registry. Errors are ErrBadFrame, ErrNewerFrame or
// schema.ErrUnknownTable, with the reason.
func Open(frame []byte, reg *schema.Registry) (*View, error) {
	if len(frame) < 8 || string(frame[:3]) != frameMagic[:3] {
		return nil, fmt.Errorf("open frame: no magic: %w", ErrBadFrame)
	}
	if frame[3] != frameMagic[3] {
		if frame[3] > frameMagic[3] {
			return nil, fmt.Errorf("open frame: version %q: %w", frame[3], ErrNewerFrame)
		}
		return nil, fmt.Errorf("open frame: version %q: %w", frame[3], ErrBadFrame)
	}
	if crc32.Checksum(frame[8:], castagnoli) != binary.LittleEndian.Uint32(frame[4:]) {
		return nil, fmt.Errorf("open frame: checksum: %w", ErrBadFrame)
	}
	r := reader{b: frame[8:]}
	name := r.bytes(r.count(maxTableName))
	if r.bad {
		return nil, fmt.Errorf("open frame: table name: %w", ErrBadFrame)
	}
	t, ok := reg.Table(string(name))
	if !ok {
		return nil, fmt.Errorf("open frame: table %q: %w", name, schema.ErrUnknownTable)
	}
	v := &View{Table: t, frame: frame, cols: make([]viewColumn, len(t.Columns))}
	v.N = r.count(MaxRows)
	v.MinTime = r.varint()
	v.MaxTime = v.MinTime + int64(r.uvarint())
	if r.bad || v.N == 0 || v.MaxTime < v.MinTime {
		return nil, fmt.Errorf("open frame of %s: rows or times: %w", t.Name, ErrBadFrame)
	}
	if err := v.openColumns(&r); err != nil {
		return nil, fmt.Errorf("open frame of %s: %w", t.Name, err)
	}
	return v, nil
}

func (v *View) openColumns(r *reader) error {
	type header struct {
		col, size int
		typ       byte
	}
	n := r.count(maxColumns)
	headers := make([]header, 0, min(n, 256))
	for last := -1; n > 0 && !r.bad; n-- {
		h := header{col: r.count(maxColumns), typ: r.byte(), size: r.count(len(r.b))}
		if h.col <= last {
			return fmt.Errorf("column %d after %d: %w", h.col, last, ErrBadFrame)
		}
		last = h.col
		headers = append(headers, h)
	}
	for _, h := range headers {
		body := r.bytes(h.size)
		if r.bad {
			break
		}
		if h.col >= len(v.cols) {
			continue // a newer writer's column
		}
		want := v.Table.Columns[h.col].Type
		if schema.Type(h.typ&^nullableBit).Physical() != want.Physical() {
			return fmt.Errorf("column %s is %s here: %w", v.Table.Columns[h.col].Name, schema.Type(h.typ&^nullableBit), ErrBadFrame)
		}
		v.cols[h.col] = viewColumn{body: body, nullable: h.typ&nullableBit != 0, present: true}
	}
	if r.bad || len(r.b) != 0 {
		return fmt.Errorf("column lengths: %w", ErrBadFrame)
	}
	return nil
}

// Bytes is the frame itself, borrowed.
func (v *View) Bytes() []byte { return v.frame }

// Has says whether the frame carries the column; the others have their default in every row.
func (v *View) Has(col int) bool { return v.cols[col].present }

// Column decodes a column into dst, reusing its memory. A tag-set column keeps its own codes and dictionary.
func (v *View) Column(col int, dst *Vector) error { return v.column(col, dst, true) }

// Codes is Column without the dictionary: dst.Dict stays nil. It is for those who know what the codes stand for.
func (v *View) Codes(col int, dst *Vector) error { return v.column(col, dst, false) }

func (v *View) column(col int, dst *Vector, withDict bool) error {
	c := &v.cols[col]
	def := &v.Table.Columns[col]
	if !c.present {
		dst.Default(def, v.N)
		if def.Type == schema.TagSet && withDict {
			dst.Dict = emptyDict
		}
		return nil
	}
	dst.Reset(def.Type, 0)
	if err := v.decode(c, dst, withDict); err != nil {
		return fmt.Errorf("decode %s.%s: %w: %w", v.Table.Name, def.Name, ErrBadFrame, err)
	}
	return nil
}

func (v *View) decode(c *viewColumn, dst *Vector, withDict bool) (err error) {
	src := c.body
	if c.nullable {
		var words []uint64
		if words, src, err = enc.DecodeBitmap(nil, src, v.N); err != nil {
			return err
		}
		dst.Valid = words
	}
	switch dst.Type.Physical() {
	case schema.Int64:
		dst.I64, src, err = enc.DecodeInt64(dst.I64, src, v.N)
	case schema.Float64:
		dst.F64, src, err = enc.DecodeFloat64(dst.F64, src, v.N)
	default:
		if dst.Codes, src, err = enc.DecodeUint32(dst.Codes, src, v.N); err != nil {
			return err
		}
		n, list, err := dictSize(src)
		if err == nil {
			err = checkCodes(dst.Codes, n)
		}
		if err != nil || !withDict {
			return err
		}
		dst.Dict, err = decodeDict(list, n)
		return err
	}
	if err == nil && len(src) != 0 {
		err = fmt.Errorf("%d bytes too many", len(src))
	}
	return err
}

// Dict is the dictionary of a dictionary-coded or tag-set column; the column must be present.
func (v *View) Dict(col int) (*Dict, error) {
	var codes Vector
	if err := v.Column(col, &codes); err != nil {
		return nil, err
	}
	return codes.Dict, nil
}

// dictSize reads the number of entries of a dictionary and returns the list of them.
func dictSize(src []byte) (n int, list []byte, err error) {
	r := reader{b: src}
	n = r.count(MaxRows + 1) // one more than the rows: the default a builder may have added
	if r.bad {
		return 0, nil, errors.New("dictionary size")
	}
	return n, r.b, nil
}

func decodeDict(list []byte, n int) (*Dict, error) {
	data, offs, rest, err := enc.DecodeBytesList(nil, nil, list, n, MaxDictBytes)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	if err != nil {
		return nil, err
	}
	return NewDict(data, offs), nil
}

func checkCodes(codes []uint32, n int) error {
	var hi uint32
	for _, c := range codes {
		hi = max(hi, c)
	}
	if int(hi) >= n {
		return fmt.Errorf("code %d of a dictionary of %d", hi, n)
	}
	return nil
}

// reader takes a frame's header apart; after the first thing that does not fit, bad is set and everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count is a uvarint of at most limit.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
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
	// ErrRange is returned when a batch has values that are outside the range of their column's type.
	ErrRange = errors.New("values out of range")
)

// Bounds of a frame, as docs/format/frame.md states them.
const (
	frameMagic   = "FLF2"
	oldVersion   = '1' // is read, too: it has no columns of ids
	MaxRows      = 1 << 20
	MaxDictBytes = 64 << 20 // of one column's dictionary
	maxColumns   = 4096
	maxTableName = 255
	nullableBit  = 0x80
	idsBit       = 0x40
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendFrame appends the encoded form of b to dst. b has at least one row and at most MaxRows. Codes beyond their
// dictionary are refused; what the values are is not looked at.
func AppendFrame(dst []byte, b *Batch) ([]byte, error) {
	scratch := scratchPool.Get().(*encodeScratch)
	defer scratchPool.Put(scratch)
	scratch.ranges = false
	return appendFrame(dst, b, nil, scratch)
}

// TagIDs is a tag-set column for the log of a database: ids for the sets that the database has.
type TagIDs struct {
	// Codes has for every row its tag set: below Sets.Len() an entry of Sets, from there on Sets.Len() + an id.
	Codes []uint32
	// Sets are the sets that have no id yet.
	Sets *Dict
}

// Encode is AppendFrame with ids in place of tag sets, where tags, which is parallel to b.Cols, is not nil. It refuses
// integers and booleans outside the range of their column's type, and returns the frame opened, without reading it again.
func Encode(b *Batch, tags []*TagIDs) (*View, error) {
	scratch := scratchPool.Get().(*encodeScratch)
	defer scratchPool.Put(scratch)
	scratch.ranges = true
	frame, err := appendFrame(nil, b, tags, scratch)
	if err != nil {
		return nil, err
	}
	v := &View{Table: b.Table, N: b.N, frame: frame, cols: make([]viewColumn, len(b.Table.Columns))}
	v.MinTime, v.MaxTime, _ = b.TimeRange()
	body := frame[len(frame)-len(scratch.bodies):]
	for _, h := range scratch.columns {
		v.cols[h.col] = viewColumn{body: body[:h.size:h.size], nullable: h.typ&nullableBit != 0, ids: h.typ&idsBit != 0, present: true}
		body = body[h.size:]
	}
	return v, nil
}

// appendFrame leaves in scratch what the columns are.
func appendFrame(dst []byte, b *Batch, tags []*TagIDs, scratch *encodeScratch) ([]byte, error) {
	if b.N < 1 || b.N > MaxRows {
		return dst, fmt.Errorf("encode %d rows of %s: %w", b.N, b.Table.Name, ErrTooLarge)
	}
	if err := scratch.encode(b, tags); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = slices.Grow(dst, 64+len(b.Table.Name)+8*len(scratch.columns)+len(scratch.bodies))
	dst = append(dst, frameMagic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(len(b.Table.Name)))
	dst = append(dst, b.Table.Name...)
	dst = binary.AppendUvarint(dst, uint64(b.N))
	lo, hi, _ := b.TimeRange()
	dst = binary.AppendVarint(dst, lo)
	dst = binary.AppendUvarint(dst, uint64(hi-lo))
	dst = binary.AppendUvarint(dst, uint64(len(scratch.columns)))
	for _, h := range scratch.columns {
		dst = binary.AppendUvarint(dst, uint64(h.col))
		dst = append(dst, h.typ)
		dst = binary.AppendUvarint(dst, uint64(h.size))
	}
	dst = append(dst, scratch.bodies...)
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+8:], castagnoli))
	return dst, nil
}

// columnHeader is a column of a frame: its ordinal, its type with the bits, the length of its body.
type columnHeader struct {
	col, size int
	typ       byte
}

// encodeScratch is where columns are encoded before their lengths are known, so that a frame is allocated once, at its size.
type encodeScratch struct {
	columns []columnHeader
	bodies  []byte
	ranges  bool // whether numbers must be in the range of their type
}

var scratchPool = sync.Pool{New: func() any { return new(encodeScratch) }}

// encode encodes the columns that are there.
func (s *encodeScratch) encode(b *Batch, tags []*TagIDs) (err error) {
	s.columns, s.bodies = s.columns[:0], s.bodies[:0]
	for i, v := range b.Cols {
		if v == nil {
			continue
		}
		before, typ := len(s.bodies), byte(v.Type)
		if v.Valid != nil {
			typ |= nullableBit
		}
		if i < len(tags) && tags[i] != nil {
			typ |= idsBit
			s.bodies, err = appendIDs(s.bodies, v, tags[i], b.N)
		} else {
			s.bodies, err = appendColumn(s.bodies, v, b.N)
		}
		if err == nil && s.ranges {
			err = checkRange(b.Table.Columns[i].Type, v, s.bodies[before:], b.N)
		}
		if err != nil {
			return fmt.Errorf("encode %s.%s: %w", b.Table.Name, b.Table.Columns[i].Name, err)
		}
		s.columns = append(s.columns, columnHeader{col: i, typ: typ, size: len(s.bodies) - before})
	}
	return nil
}

func appendColumn(dst []byte, v *Vector, n int) ([]byte, error) {
	if v.Len() != n {
		return dst, fmt.Errorf("%d values for %d rows: %w", v.Len(), n, ErrBadFrame)
	}
	switch v.Type.Physical() {
	case schema.Int64:
		return enc.AppendInt64(appendBits(dst, v, n), v.I64), nil
	case schema.Float64:
		return enc.AppendFloat64(appendBits(dst, v, n), v.F64), nil
	}
	if v.Dict == nil {
		return dst, fmt.Errorf("tag-set ids cannot leave their database: %w", ErrBadFrame)
	}
	return appendCodes(dst, v, v.Codes, v.Dict, n, v.Dict.Len())
}

func appendIDs(dst []byte, v *Vector, tags *TagIDs, n int) ([]byte, error) {
	if len(tags.Codes) != n || v.Type.Physical() != schema.ID {
		return dst, fmt.Errorf("%d tag-set ids for %d rows of %s: %w", len(tags.Codes), n, v.Type, ErrBadFrame)
	}
	return appendCodes(dst, v, tags.Codes, tags.Sets, n, math.MaxUint32)
}

// checkRange says whether a column that was just encoded has integers outside the range of the type. The header of the
// integers tells, so that nobody reads them for it.
func checkRange(t schema.Type, v *Vector, body []byte, n int) error {
	lo, hi := int64(math.MinInt32), int64(math.MaxInt32)
	switch t {
	case schema.Integer:
	case schema.Boolean:
		lo, hi = 0, 1
	default:
		return nil
	}
	if v.Valid != nil {
		_, rest, err := enc.DecodeBitmap(nil, body, n)
		if err != nil {
			return err
		}
		body = rest
	}
	if r, ok := enc.PeekInt64(body, n); !ok || r.Min < lo || r.Max > hi {
		return fmt.Errorf("%s from %d to %d: %w", t, r.Min, r.Max, ErrRange)
	}
	return nil
}

func appendBits(dst []byte, v *Vector, n int) []byte {
	if v.Valid == nil {
		return dst
	}
	return enc.AppendBitmap(dst, v.Valid, n)
}

// appendCodes appends a column of n codes, each less than limit, and its dictionary.
func appendCodes(dst []byte, v *Vector, codes []uint32, dict *Dict, n, limit int) ([]byte, error) {
	data, offs := dict.Arena()
	if len(data) > MaxDictBytes || dict.Len() > MaxRows+1 {
		return dst, fmt.Errorf("a dictionary of %d entries, %d bytes: %w", dict.Len(), len(data), ErrTooLarge)
	}
	dst = appendBits(dst, v, n)
	at := len(dst)
	dst = enc.AppendUint32(dst, codes)
	if r, ok := enc.PeekInt64(dst[at:], n); !ok || r.Max >= int64(limit) {
		return dst, fmt.Errorf("code %d of a dictionary of %d: %w", r.Max, limit, ErrBadFrame)
	}
	dst = binary.AppendUvarint(dst, uint64(dict.Len()))
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
	ids      bool // codes beyond the dictionary are ids of tag sets
	present  bool
}

// Open checks a frame and finds its columns. The table must be in the registry. Errors are ErrBadFrame, ErrNewerFrame or
// schema.ErrUnknownTable, with the reason.
func Open(frame []byte, reg *schema.Registry) (*View, error) {
	if len(frame) < 8 || string(frame[:3]) != frameMagic[:3] {
		return nil, fmt.Errorf("open frame: no magic: %w", ErrBadFrame)
	}
	if frame[3] != frameMagic[3] && frame[3] != oldVersion {
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
	n := r.count(maxColumns)
	headers := make([]columnHeader, 0, min(n, 256))
	for last := -1; n > 0 && !r.bad; n-- {
		h := columnHeader{col: r.count(maxColumns), typ: r.byte(), size: r.count(len(r.b))}
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
		want, typ := v.Table.Columns[h.col].Type.Physical(), schema.Type(h.typ&^(nullableBit|idsBit))
		ids := h.typ&idsBit != 0
		if typ.Physical() != want || ids && (want != schema.ID || v.frame[3] == oldVersion) {
			return fmt.Errorf("column %s is %s (0x%02x) here: %w", v.Table.Columns[h.col].Name, typ, h.typ, ErrBadFrame)
		}
		v.cols[h.col] = viewColumn{body: body, nullable: h.typ&nullableBit != 0, ids: ids, present: true}
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

// HasIDs says whether a tag-set column has ids in place of sets, as Encode writes it: TagIDs says what its Codes mean, and
// Column is refused.
func (v *View) HasIDs(col int) bool { return v.cols[col].ids }

// Sets reads the dictionary of a tag-set column that the frame carries. Where HasIDs, these are the sets without an id, and
// ids is one more than the largest id in the column, 0 if there is none.
func (v *View) Sets(col int) (sets *Dict, ids uint32, err error) {
	var codes Vector
	c, def := &v.cols[col], &v.Table.Columns[col]
	if !c.present || def.Type != schema.TagSet {
		return nil, 0, fmt.Errorf("sets of %s.%s, which has none here: %w", v.Table.Name, def.Name, ErrBadFrame)
	}
	if !c.ids {
		err = v.column(col, &codes, true)
		return codes.Dict, 0, err
	}
	codes.Reset(def.Type, 0)
	list, n, err := v.decodeCodes(c, &codes)
	if err == nil {
		sets, err = decodeDict(list, n)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("decode %s.%s: %w: %w", v.Table.Name, def.Name, ErrBadFrame, err)
	}
	if top := slices.Max(codes.Codes); int64(top) >= int64(n) {
		ids = top - uint32(n) + 1
	}
	return sets, ids, nil
}

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
	if p := dst.Type.Physical(); p == schema.Code || p == schema.ID {
		list, n, err := v.decodeCodes(c, dst)
		switch {
		case err != nil:
			return err
		case c.ids && withDict:
			return errors.New("ids in place of tag sets")
		case !c.ids:
			if err = checkCodes(dst.Codes, n); err != nil || !withDict {
				return err
			}
			dst.Dict, err = decodeDict(list, n)
		}
		return err
	}
	src, err := v.decodeBits(c, dst)
	if err != nil {
		return err
	}
	if dst.Type.Physical() == schema.Int64 {
		dst.I64, src, err = enc.DecodeInt64(dst.I64, src, v.N)
	} else {
		dst.F64, src, err = enc.DecodeFloat64(dst.F64, src, v.N)
	}
	if err == nil && len(src) != 0 {
		err = fmt.Errorf("%d bytes too many", len(src))
	}
	return err
}

// decodeBits decodes what says which rows are NULL, and returns the values.
func (v *View) decodeBits(c *viewColumn, dst *Vector) (values []byte, err error) {
	if !c.nullable {
		return c.body, nil
	}
	dst.Valid, values, err = enc.DecodeBitmap(nil, c.body, v.N)
	return values, err
}

// decodeCodes decodes the codes of a column, unchecked, and returns its dictionary of n entries, packed.
func (v *View) decodeCodes(c *viewColumn, dst *Vector) (list []byte, n int, err error) {
	src, err := v.decodeBits(c, dst)
	if err == nil {
		dst.Codes, src, err = enc.DecodeUint32(dst.Codes, src, v.N)
	}
	if err != nil {
		return nil, 0, err
	}
	n, list, err = dictSize(src)
	return list, n, err
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

package tags

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/flowlake/flowlake/db/enc"
)

// Bounds of one range; docs/format/tags.md has its bytes.
const (
	maxRangeSets  = 1 << 16
	maxRangeBytes = 64 << 20 // of the encodings together
	rangeVersion  = 0x01
	rangeHead     = 8 // length and checksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// rangeKey is one key of a range under construction.
type rangeKey struct {
	at     []uint32 // positions in the range of the sets that have it
	codes  []uint32
	values map[string]uint32
	data   []byte // of the values, in order of code
	offs   []uint32
}

// AppendRange appends sets [from, to) of the view, or as many of them as one range holds, and returns the id after the
// last. Call it again from there until it returns to. from is at least 1 and less than to; to is at most the view's length.
func (v *View) AppendRange(dst []byte, from, to uint32) (out []byte, end uint32) {
	keys := map[string]*rangeKey{}
	var names []string
	total := 0
	end = from
	for ; end < to && end-from < maxRangeSets; end++ {
		set := v.Set(end)
		if total+len(set) > maxRangeBytes {
			break
		}
		total += len(set)
		for len(set) > 0 {
			var k, val []byte
			k, val, set, _ = next(set)
			rk := keys[string(k)]
			if rk == nil {
				rk = &rangeKey{values: map[string]uint32{}, offs: []uint32{0}}
				keys[string(k)] = rk
				names = append(names, string(k))
			}
			rk.add(end-from, val)
		}
	}
	slices.Sort(names)
	start := len(dst)
	dst = append(dst, make([]byte, rangeHead)...)
	dst = append(dst, rangeVersion)
	dst = binary.AppendUvarint(dst, uint64(from))
	dst = binary.AppendUvarint(dst, uint64(end-from))
	dst = binary.AppendUvarint(dst, uint64(total))
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	data, offs := []byte(nil), []uint32{0}
	for _, name := range names {
		data = append(data, name...)
		offs = append(offs, uint32(len(data)))
	}
	dst = enc.AppendBytesList(dst, data, offs)
	for _, name := range names {
		dst = keys[name].appendTo(dst, int(end-from))
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-rangeHead))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(dst[start+rangeHead:], castagnoli))
	return dst, end
}

func (k *rangeKey) add(at uint32, value []byte) {
	code, ok := k.values[string(value)]
	if !ok {
		code = uint32(len(k.values))
		k.values[string(value)] = code
		k.data = append(k.data, value...)
		k.offs = append(k.offs, uint32(len(k.data)))
	}
	k.at = append(k.at, at)
	k.codes = append(k.codes, code)
}

func (k *rangeKey) appendTo(dst []byte, sets int) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(k.at)))
	if len(k.at) < sets {
		dst = enc.AppendUint32(dst, k.at)
	}
	dst = binary.AppendUvarint(dst, uint64(len(k.offs)-1))
	dst = enc.AppendBytesList(dst, k.data, k.offs)
	return enc.AppendUint32(dst, k.codes)
}

// LoadRange adds the sets of the range at the head of src, whose first id must be the store's next, and returns what follows
// it. A damaged range is refused with ErrCorrupt before any set is added; ids that are not next with ErrOrder; a set that is in
// the store already with ErrDuplicate, leaving those before it added.
func (s *Store) LoadRange(src []byte) (rest []byte, err error) {
	if len(src) < rangeHead {
		return src, fmt.Errorf("%w: cut short", ErrCorrupt)
	}
	size := binary.LittleEndian.Uint32(src)
	if uint64(size) > uint64(len(src)-rangeHead) {
		return src, fmt.Errorf("%w: %d bytes of %d", ErrCorrupt, len(src)-rangeHead, size)
	}
	body := src[rangeHead : rangeHead+int(size)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(src[4:]) {
		return src, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	r := rangeReader{src: body}
	if err := r.read(); err != nil {
		return src, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range r.sets {
		if err := s.load(r.from+uint32(i), r.set(i)); err != nil {
			return src, err
		}
	}
	return src[rangeHead+int(size):], nil
}

// rangeReader rebuilds the sets of a range.
type rangeReader struct {
	src  []byte
	from uint32
	sets int
	data []byte // encodings one after another
	offs []int  // sets+1 offsets into data
}

func (r *rangeReader) set(i int) []byte { return r.data[r.offs[i]:r.offs[i+1]] }

// readColumn is one key of a range being read.
type readColumn struct {
	name  []byte
	at    []uint32 // nil when every set has it
	codes []uint32
	data  []byte
	offs  []uint32
}

func (c *readColumn) value(i int) []byte { return c.data[c.offs[c.codes[i]]:c.offs[c.codes[i]+1]] }

func (c *readColumn) position(i int) int {
	if c.at == nil {
		return i
	}
	return int(c.at[i])
}

func (r *rangeReader) read() error {
	if len(r.src) == 0 || r.src[0] != rangeVersion {
		return fmt.Errorf("unknown version")
	}
	r.src = r.src[1:]
	from, ok1 := r.count(math.MaxInt32)
	sets, ok2 := r.count(maxRangeSets)
	total, ok3 := r.count(maxRangeBytes)
	keys, ok4 := r.count(len(r.src))
	if !ok1 || !ok2 || !ok3 || !ok4 || from == 0 {
		return fmt.Errorf("counts")
	}
	r.from, r.sets = uint32(from), sets
	names, offs, rest, err := enc.DecodeBytesList(nil, nil, r.src, keys, min(total, keys*MaxKeyBytes))
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	r.src = rest
	cols := make([]readColumn, keys)
	pairs, room := 0, total
	for i := range cols {
		c := &cols[i]
		c.name = names[offs[i]:offs[i+1]]
		if err := r.column(c, room); err != nil {
			return fmt.Errorf("key %q: %w", c.name, err)
		}
		room -= len(c.data) // each distinct value is in some encoding
		// A pair takes four bytes at least, so pairs that a few bytes of columns claim are bounded too.
		if pairs += len(c.codes); pairs > total/4 {
			return fmt.Errorf("more pairs than %d bytes hold", total)
		}
	}
	if len(r.src) != 0 {
		return fmt.Errorf("%d bytes too many", len(r.src))
	}
	return r.rebuild(cols, total)
}

// count reads a number of at most limit.
func (r *rangeReader) count(limit int) (int, bool) {
	v, n := binary.Uvarint(r.src)
	if n <= 0 || v > uint64(limit) {
		return 0, false
	}
	r.src = r.src[n:]
	return int(v), true
}

func (r *rangeReader) column(c *readColumn, total int) (err error) {
	sets, ok := r.count(r.sets)
	if !ok || sets == 0 {
		return fmt.Errorf("number of sets")
	}
	if sets < r.sets {
		if c.at, r.src, err = enc.DecodeUint32(nil, r.src, sets); err != nil {
			return err
		}
		for i, at := range c.at {
			if int(at) >= r.sets || i > 0 && at <= c.at[i-1] {
				return fmt.Errorf("position %d", at)
			}
		}
	}
	values, ok := r.count(sets)
	if !ok || values == 0 {
		return fmt.Errorf("number of values")
	}
	if c.data, c.offs, r.src, err = enc.DecodeBytesList(nil, nil, r.src, values, total); err != nil {
		return err
	}
	if c.codes, r.src, err = enc.DecodeUint32(nil, r.src, sets); err != nil {
		return err
	}
	for _, code := range c.codes {
		if int(code) >= values {
			return fmt.Errorf("code %d of %d", code, values)
		}
	}
	return nil
}

// rebuild writes the encodings: first their lengths, then the pairs, key by key in ascending order.
func (r *rangeReader) rebuild(cols []readColumn, total int) error {
	r.offs = make([]int, r.sets+1)
	for k := range cols {
		c := &cols[k]
		for i := range c.codes {
			value := c.value(i)
			r.offs[c.position(i)+1] += uvarintLen(len(c.name)) + len(c.name) + uvarintLen(len(value)) + len(value)
		}
	}
	for i := range r.sets {
		r.offs[i+1] += r.offs[i]
		if r.offs[i+1] > total {
			return fmt.Errorf("more than %d bytes", total)
		}
	}
	if r.offs[r.sets] != total {
		return fmt.Errorf("%d bytes of %d", r.offs[r.sets], total)
	}
	r.data = make([]byte, total)
	fill := slices.Clone(r.offs[:r.sets])
	for k := range cols {
		c := &cols[k]
		for i := range c.codes {
			at := fill[c.position(i)]
			at += binary.PutUvarint(r.data[at:], uint64(len(c.name)))
			at += copy(r.data[at:], c.name)
			value := c.value(i)
			at += binary.PutUvarint(r.data[at:], uint64(len(value)))
			at += copy(r.data[at:], value)
			fill[c.position(i)] = at
		}
	}
	for i := range r.sets {
		if err := Valid(r.set(i)); err != nil {
			return fmt.Errorf("set %d: %w", r.from+uint32(i), err)
		}
	}
	return nil
}

func uvarintLen(n int) int {
	size := 1
	for n >= 0x80 {
		n >>= 7
		size++
	}
	return size
}

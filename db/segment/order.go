package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// order packs the sort terms of each row into words, the most significant term first, sorts by the first word with a radix
// sort and breaks ties by the next. A term takes only the bits its range needs, and a dictionary column the rank of its
// entries, so that a row's key is one to three words in all.
func order(b *batch.Batch) []int32 {
	rows := make([]int32, b.N)
	for i := range rows {
		rows[i] = int32(i)
	}
	if b.N < 2 {
		return rows
	}
	s := sorter{words: keyWords(b), rows: rows, a: make([]keyRow, b.N), b: make([]keyRow, b.N)}
	s.sort(0, b.N, 0)
	return rows
}

// keyWords are the packed keys: words[k][row]. A term is never split over two words.
func keyWords(b *batch.Batch) (words [][]uint64) {
	var word []uint64
	free := 0
	key := make([]uint64, b.N)
	for _, t := range b.Table.Sort {
		v := b.Cols[t.Column]
		if v == nil {
			continue // all equal
		}
		width := termKey(key, v, t)
		if width == 0 {
			continue
		}
		if width > free {
			word, free = make([]uint64, b.N), 64
			words = append(words, word)
		}
		free -= width
		for i, k := range key {
			word[i] |= k << uint(free)
		}
	}
	return words
}

// termKey sets key[i] to a number below 1<<width that orders row i as the term does; a width of 0 leaves key alone.
func termKey(key []uint64, v *batch.Vector, t schema.SortTerm) (width int) {
	n := len(key)
	switch v.Type.Physical() {
	case schema.Code:
		rank, top := ranks(v.Dict, v.Codes[:n])
		if width = bits.Len32(top); width > 0 {
			for i, c := range v.Codes[:n] {
				key[i] = uint64(rank[c])
			}
		}
		return width
	case schema.ID:
		lo, hi := slices.Min(v.Codes[:n]), slices.Max(v.Codes[:n])
		for i, c := range v.Codes[:n] {
			key[i] = uint64(c - lo)
		}
		return bits.Len32(hi - lo)
	case schema.Float64:
		for i, x := range v.F64[:n] {
			key[i] = floatKey(x)
		}
		return 64
	}
	lo, hi := slices.Min(v.I64[:n]), slices.Max(v.I64[:n])
	if t.Bucket == 0 {
		for i, x := range v.I64[:n] {
			key[i] = uint64(x) - uint64(lo)
		}
		return bits.Len64(uint64(hi) - uint64(lo))
	}
	first, last := floorDiv(lo, t.Bucket), floorDiv(hi, t.Bucket)
	if first == last {
		return 0
	}
	for i, x := range v.I64[:n] {
		key[i] = uint64(floorDiv(x, t.Bucket)) - uint64(first)
	}
	return bits.Len64(uint64(last) - uint64(first))
}

// floatKey orders like the number; NaN is above all.
func floatKey(x float64) uint64 {
	if x != x {
		return math.MaxUint64
	}
	k := math.Float64bits(x + 0) // -0 becomes 0
	if k>>63 != 0 {
		return ^k
	}
	return k | 1<<63
}

// ranks is, by code, the rank of the dictionary entries that are used; equal entries share one. top is the highest.
func ranks(d *batch.Dict, codes []uint32) (rank []uint32, top uint32) {
	rank = make([]uint32, d.Len())
	var used []entryKey
	for _, c := range codes {
		if rank[c] == 0 {
			rank[c] = 1
			used = append(used, keyOfEntry(d.At(int(c)), c))
		}
	}
	slices.SortFunc(used, func(a, b entryKey) int {
		if c := cmp.Compare(a.hi, b.hi); c != 0 {
			return c
		}
		if c := cmp.Compare(a.lo, b.lo); c != 0 {
			return c
		}
		return bytes.Compare(d.At(int(a.code)), d.At(int(b.code)))
	})
	for i, e := range used {
		if i > 0 && !bytes.Equal(d.At(int(e.code)), d.At(int(used[i-1].code))) {
			top++
		}
		rank[e.code] = top
	}
	return rank, top
}

// entryKey is a dictionary entry with its first sixteen bytes as numbers: all of an address, enough of most text.
type entryKey struct {
	hi, lo uint64
	code   uint32
}

func keyOfEntry(v []byte, code uint32) entryKey {
	if len(v) < 16 {
		var b [16]byte
		copy(b[:], v)
		v = b[:]
	}
	return entryKey{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:]), code}
}

type keyRow struct {
	key uint64
	row int32
}

// sorter sorts rows by the words of their keys; a and b are as long as rows.
type sorter struct {
	words [][]uint64
	rows  []int32
	a, b  []keyRow
}

const radixMin = 2048 // below it comparing is faster than counting

// sort sorts rows[from:to], which are equal in all words before k.
func (s *sorter) sort(from, to, k int) {
	if k == len(s.words) || to-from < 2 {
		return
	}
	word, rows := s.words[k], s.rows[from:to]
	a := s.a[from:to]
	for i, r := range rows {
		a[i] = keyRow{word[r], r}
	}
	if len(a) < radixMin {
		slices.SortFunc(a, func(x, y keyRow) int {
			if x.key != y.key {
				return cmp.Compare(x.key, y.key)
			}
			return cmp.Compare(x.row, y.row) // rows come in ascending order: this is what makes it stable
		})
	} else {
		a = radixSort(a, s.b[from:to])
	}
	for i := range a {
		rows[i] = a[i].row
	}
	if k+1 == len(s.words) {
		return
	}
	begin, key := 0, a[0].key
	var ends []int32 // of the runs to sort on: a is overwritten while they are
	for i := 1; i <= len(a); i++ {
		if i < len(a) && a[i].key == key {
			continue
		}
		if i-begin > 1 {
			ends = append(ends, int32(begin), int32(i))
		}
		if i < len(a) {
			begin, key = i, a[i].key
		}
	}
	for i := 0; i < len(ends); i += 2 {
		s.sort(from+int(ends[i]), from+int(ends[i+1]), k+1)
	}
}

const radixBits = 11

// radixSort sorts a by key, stably, from the least significant digit on; digits that are the same in all keys are passed
// over. The result is in a or in b.
func radixSort(a, b []keyRow) []keyRow {
	const digits = (64 + radixBits - 1) / radixBits
	var counts [digits][1 << radixBits]int32
	for i := range a {
		k := a[i].key
		for d := range counts {
			counts[d][k>>(radixBits*d)&(1<<radixBits-1)]++
		}
	}
	for d := range counts {
		c := &counts[d]
		shift := uint(radixBits * d)
		if c[a[0].key>>shift&(1<<radixBits-1)] == int32(len(a)) {
			continue
		}
		sum := int32(0)
		for i := range c {
			c[i], sum = sum, sum+c[i]
		}
		for _, e := range a {
			digit := e.key >> shift & (1<<radixBits - 1)
			b[c[digit]] = e
			c[digit]++
		}
		a, b = b, a
	}
	return a
}

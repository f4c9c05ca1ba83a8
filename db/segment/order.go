package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"runtime"
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
		runtime.Gosched() // see encodePage
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
	if len(a) >= yieldRows {
		runtime.Gosched()
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
	paused := from
	for i := 0; i < len(ends); i += 2 {
		begin := from + int(ends[i])
		if begin-paused >= yieldRows {
			paused = begin
			runtime.Gosched()
		}
		s.sort(begin, from+int(ends[i+1]), k+1)
	}
}

// yieldRows is after how many rows who sorts lets others go first; see encodePage.
const yieldRows = 16 << 10

const radixBits = 11

// radixSort sorts a by key, stably, from the least significant digit on; digits that are the same in all keys are passed
// over. The result is in a or in b.
func radixSort(a, b []keyRow) []keyRow {
	const digits = (64 + radixBits - 1) / radixBits
	var counts [digits][1 << radixBits]int32
	runtime.Gosched()
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
		runtime.Gosched()
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

// MergeOrder is Order of a batch that is made of sorted runs one after another: run k is rows ends[k-1] to ends[k]. It
// costs a comparison of packed keys per row and level of merging, less where runs hardly overlap.
func MergeOrder(b *batch.Batch, ends []int) []int32 {
	rows := make([]int32, b.N)
	for i := range rows {
		rows[i] = int32(i)
	}
	m := merger{words: keyWords(b)}
	if len(m.words) == 0 || len(ends) < 2 {
		return rows
	}
	from, to := make([]keyRow, b.N), make([]keyRow, b.N)
	for i, k := range m.words[0] {
		from[i] = keyRow{k, int32(i)}
	}
	for len(ends) > 1 {
		runtime.Gosched()
		var next []int
		begin := 0
		for i := 0; i < len(ends); i += 2 {
			mid, end := ends[i], ends[min(i+1, len(ends)-1)]
			m.merge(to[begin:end], from[begin:mid], from[mid:end])
			next = append(next, end)
			begin = end
		}
		from, to, ends = to, from, next
	}
	for i := range from {
		rows[i] = from[i].row
	}
	return rows
}

type merger struct{ words [][]uint64 }

// after says that x lies behind y in the order; equal rows lie in neither.
func (m *merger) after(x, y keyRow) bool {
	if x.key != y.key {
		return x.key > y.key
	}
	for _, w := range m.words[1:] {
		if p, q := w[x.row], w[y.row]; p != q {
			return p > q
		}
	}
	return false
}

// gallopAfter is the length of a run after which merge looks for its end by doubling steps.
const gallopAfter = 8

// merge merges two sorted runs into dst; of equal rows those of a come first.
func (m *merger) merge(dst, a, b []keyRow) {
	streak := 0 // rows in a row from the same side: positive a, negative b
	for len(a) > 0 && len(b) > 0 {
		if m.after(a[0], b[0]) {
			dst[0], b = b[0], b[1:]
			streak = min(streak, 0) - 1
		} else {
			dst[0], a = a[0], a[1:]
			streak = max(streak, 0) + 1
		}
		dst = dst[1:]
		if streak > -gallopAfter && streak < gallopAfter || len(a) == 0 || len(b) == 0 {
			continue
		}
		var n int
		if streak > 0 {
			n = gallop(len(a), func(i int) bool { return !m.after(a[i], b[0]) })
			copy(dst, a[:n])
			a = a[n:]
		} else {
			n = gallop(len(b), func(i int) bool { return m.after(a[0], b[i]) })
			copy(dst, b[:n])
			b = b[n:]
		}
		dst = dst[n:]
		streak = 0
	}
	copy(dst, a)
	copy(dst[len(a):], b)
}

// gallop is the number of leading i below n for which in holds; it holds for a prefix.
func gallop(n int, in func(i int) bool) int {
	step := 1
	for step <= n && in(step-1) {
		step *= 2
	}
	lo, hi := step/2, min(step-1, n) // in holds below lo, and not at hi unless hi is n
	for lo < hi {
		if mid := (lo + hi) / 2; in(mid) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

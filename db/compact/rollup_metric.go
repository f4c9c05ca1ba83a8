package compact

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
)

// metric is one merged column: its state by group, of which the slices that its merge and type need are used.
type metric struct {
	in, out int            // in is -1 for the number of rows
	from    *schema.Column // the input
	merge   schema.Merge
	typ     schema.Type // of the target
	null    bool        // whether a group without values is NULL

	i64  []int64
	f64  []float64
	some batch.Bitmap // groups with a value, where null

	ones   blocks[uint64]      // buckets of single values: the group in the upper half, the key in the lower
	merged blocks[sketchEntry] // buckets of sketches
	room   []enc.KeyCount
	counts []enc.KeyCount

	uniq   blocks[uniqEntry]
	dense  map[uint32]*enc.HLL // groups that got a dense one
	values []uint64
	hashes []uint64 // by dictionary entry
}

// sketchEntry is a bucket of a group's sketch, uniqEntry one value of its distinct count.
type sketchEntry struct {
	group uint32
	key   int32
	count uint64
}

type uniqEntry struct {
	group uint32
	value uint64
}

// blocks are entries one after the other, in pieces of memory: adding moves none of them, and all is used again.
type blocks[E any] struct {
	full, free [][]E
	last       []E
}

const blockEntries = 16 << 10

// reserve is an empty slice with room for n entries; put takes it back.
func (b *blocks[E]) reserve(n int) []E {
	if cap(b.last)-len(b.last) < n {
		size := max(n, min(2*cap(b.last), blockEntries))
		if len(b.last) > 0 {
			b.full = append(b.full, b.last)
		}
		if k := len(b.free); k > 0 && cap(b.free[k-1]) >= n {
			b.last, b.free = b.free[k-1], b.free[:k-1]
		} else {
			b.last = make([]E, 0, size)
		}
	}
	return b.last[len(b.last):len(b.last):cap(b.last)]
}

// put adds the entries that were appended to what reserve returned.
func (b *blocks[E]) put(entries []E) { b.last = b.last[:len(b.last)+len(entries)] }

func (b *blocks[E]) len() (n int) {
	for _, f := range b.full {
		n += len(f)
	}
	return n + len(b.last)
}

// each calls f for all pieces, in order.
func (b *blocks[E]) each(f func(entries []E)) {
	for _, e := range b.full {
		f(e)
	}
	f(b.last)
}

func (b *blocks[E]) reset() {
	for _, e := range b.full {
		b.free = append(b.free, e[:0])
	}
	clear(b.full)
	b.full, b.last = b.full[:0], b.last[:0]
}

// skipsDefault says that rows with the column's default change nothing.
func (p *metric) skipsDefault() bool {
	return p.from.Nullable || p.merge == schema.MergeSum || p.from.Type == schema.Bytes
}

func (p *metric) bytes() int64 {
	return int64(8*len(p.i64) + 8*len(p.f64) + 24*p.ones.len() + 32*p.merged.len() + 24*p.uniq.len() + 4096*len(p.dense))
}

// grow makes room for n groups; new ones begin with what changes no value that is merged with it.
func (p *metric) grow(n int) {
	switch p.merge {
	case schema.MergeSketch, schema.MergeUniq:
		return
	}
	if p.null {
		for len(p.some) < (n+63)/64 {
			p.some = append(p.some, 0)
		}
	}
	if p.typ.Physical() == schema.Float64 {
		zero := 0.0
		switch p.merge {
		case schema.MergeMin:
			zero = math.NaN() // above all
		case schema.MergeMax:
			zero = math.Inf(-1)
		}
		p.f64 = extend(p.f64, n, zero)
		return
	}
	zero := int64(0)
	switch p.merge {
	case schema.MergeMin:
		zero = math.MaxInt64
	case schema.MergeMax:
		zero = math.MinInt64
	}
	p.i64 = extend(p.i64, n, zero)
}

func extend[T any](s []T, n int, v T) []T {
	from := len(s)
	s = slices.Grow(s, max(n-from, 0))[:max(n, from)]
	for i := from; i < n; i++ {
		s[i] = v
	}
	return s
}

func (p *metric) add(gids []uint32, v *batch.Vector) error {
	switch p.merge {
	case schema.MergeCount:
		p.count(gids, v)
	case schema.MergeSketch:
		return p.addSketch(gids, v)
	case schema.MergeUniq:
		return p.addUniq(gids, v)
	default:
		p.mark(gids, v)
		if p.typ.Physical() == schema.Float64 {
			p.addFloats(gids, v)
		} else {
			p.addInts(gids, v)
		}
	}
	return nil
}

func (p *metric) count(gids []uint32, v *batch.Vector) {
	s := p.i64
	if v == nil || v.Valid == nil {
		for _, g := range gids {
			s[g]++
		}
		return
	}
	for i, g := range gids {
		if v.Valid.Get(i) {
			s[g]++
		}
	}
}

// mark notes the groups that have a value.
func (p *metric) mark(gids []uint32, v *batch.Vector) {
	if !p.null {
		return
	}
	for i, g := range gids {
		if !v.IsNull(i) {
			p.some.Set(int(g))
		}
	}
}

func (p *metric) addInts(gids []uint32, v *batch.Vector) {
	s, vals := p.i64, v.I64[:len(gids)]
	switch p.merge {
	case schema.MergeSum: // NULL rows hold 0
		if allZero(vals) {
			return // many counters count what seldom happens
		}
		for i, g := range gids {
			s[g] += vals[i]
		}
	case schema.MergeMin:
		for i, g := range gids {
			if vals[i] < s[g] && !v.IsNull(i) {
				s[g] = vals[i]
			}
		}
	default:
		for i, g := range gids {
			if vals[i] > s[g] && !v.IsNull(i) {
				s[g] = vals[i]
			}
		}
	}
}

func allZero(vals []int64) bool {
	for _, x := range vals {
		if x != 0 {
			return false
		}
	}
	return true
}

func (p *metric) addFloats(gids []uint32, v *batch.Vector) {
	s, vals := p.f64, v.F64[:len(gids)]
	switch p.merge {
	case schema.MergeSum:
		for i, g := range gids {
			s[g] += vals[i]
		}
	case schema.MergeMin:
		for i, g := range gids {
			if x := vals[i]; (x < s[g] || s[g] != s[g]) && !v.IsNull(i) {
				s[g] = x
			}
		}
	default:
		for i, g := range gids {
			if x := vals[i]; (x > s[g] || x != x) && !v.IsNull(i) {
				s[g] = x
			}
		}
	}
}

func (p *metric) addSketch(gids []uint32, v *batch.Vector) (err error) {
	switch v.Type.Physical() {
	case schema.Int64:
		out := p.ones.reserve(len(gids))
		for i, g := range gids {
			if !v.IsNull(i) {
				key, _ := enc.SketchKey(float64(v.I64[i]))
				out = append(out, uint64(g)<<32|uint64(uint32(key)))
			}
		}
		p.ones.put(out)
	case schema.Float64:
		out := p.ones.reserve(len(gids))
		for i, g := range gids {
			if key, ok := enc.SketchKey(v.F64[i]); ok && !v.IsNull(i) {
				out = append(out, uint64(g)<<32|uint64(uint32(key)))
			}
		}
		p.ones.put(out)
	default:
		for i, g := range gids {
			if p.counts, err = enc.SketchCounts(p.counts[:0], v.Bytes(i)); err != nil {
				return err
			}
			out := p.merged.reserve(len(p.counts))
			for _, c := range p.counts {
				out = append(out, sketchEntry{g, c.Key, c.Count})
			}
			p.merged.put(out)
		}
	}
	return nil
}

func (p *metric) addUniq(gids []uint32, v *batch.Vector) error {
	if v.Type == schema.Bytes {
		return p.mergeUniq(gids, v)
	}
	if v.Type.Physical() == schema.Code {
		p.hashes = p.hashes[:0]
		for i := range v.Dict.Len() {
			p.hashes = append(p.hashes, enc.HLLValue(xxhash.Sum64(v.Dict.At(i))))
		}
	}
	last := uniqEntry{group: math.MaxUint32}
	out := p.uniq.reserve(len(gids))
	for i, g := range gids {
		e := uniqEntry{group: g}
		switch v.Type.Physical() {
		case schema.Code:
			e.value = p.hashes[v.Codes[i]]
		case schema.ID:
			e.value = hashNumber(uint64(v.Codes[i]))
		case schema.Float64:
			e.value = hashNumber(math.Float64bits(v.F64[i]))
		default:
			e.value = hashNumber(uint64(v.I64[i]))
		}
		if e != last && !v.IsNull(i) {
			out, last = append(out, e), e
		}
	}
	p.uniq.put(out)
	return nil
}

func hashNumber(x uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], x)
	return enc.HLLValue(xxhash.Sum64(b[:]))
}

func (p *metric) mergeUniq(gids []uint32, v *batch.Vector) (err error) {
	for i, g := range gids {
		b := v.Bytes(i)
		if enc.HLLDense(b) {
			if p.dense == nil {
				p.dense = map[uint32]*enc.HLL{}
			}
			if p.dense[g] == nil {
				p.dense[g] = &enc.HLL{}
			}
			if err := p.dense[g].Merge(b); err != nil {
				return err
			}
			continue
		}
		if p.values, err = enc.HLLValues(p.values[:0], b); err != nil {
			return err
		}
		out := p.uniq.reserve(len(p.values))
		for _, x := range p.values {
			out = append(out, uniqEntry{g, x})
		}
		p.uniq.put(out)
	}
	return nil
}

// emit makes a vector of the first n groups and forgets them. Its slices are not the metric's.
func (p *metric) emit(n int) *batch.Vector {
	v := &batch.Vector{}
	v.Reset(p.typ, n)
	switch p.merge {
	case schema.MergeSketch:
		v.Dict = p.emitSketches(n)
	case schema.MergeUniq:
		v.Dict = p.emitUniqs(n)
	default:
		if p.null {
			v.Valid = batch.NewBitmap(n)
			copy(v.Valid, p.some)
			p.some = p.some[:0]
			for i := range n {
				if v.Valid.Get(i) {
					continue
				}
				if p.typ.Physical() == schema.Float64 {
					p.f64[i] = 0
				} else {
					p.i64[i] = 0
				}
			}
		}
		copy(v.I64, p.i64)
		copy(v.F64, p.f64)
		p.i64, p.f64 = p.i64[:0], p.f64[:0]
		return v
	}
	for i := range v.Codes {
		v.Codes[i] = uint32(i)
	}
	return v
}

// begins turns the number of entries of each group, at one behind it, to where the group's entries begin.
func begins(at []uint32) {
	for i := 1; i < len(at); i++ {
		at[i] += at[i-1]
	}
}

func (p *metric) emitSketches(n int) *batch.Dict {
	at := make([]uint32, n+1)
	p.ones.each(func(list []uint64) {
		for _, e := range list {
			at[e>>32+1]++
		}
	})
	p.merged.each(func(list []sketchEntry) {
		for i := range list {
			at[list[i].group+1]++
		}
	})
	begins(at)
	total := int(at[n])
	p.room = resize(p.room, total)
	next := slices.Clone(at)
	p.ones.each(func(list []uint64) {
		for _, e := range list {
			g := e >> 32
			p.room[next[g]] = enc.KeyCount{Key: int32(uint32(e)), Count: 1}
			next[g]++
		}
	})
	p.merged.each(func(list []sketchEntry) {
		for _, e := range list {
			p.room[next[e.group]] = enc.KeyCount{Key: e.key, Count: e.count}
			next[e.group]++
		}
	})
	data, offs := make([]byte, 0, 4*total), make([]uint32, 1, n+1)
	for g := range n {
		run := p.room[at[g]:at[g+1]]
		sortKeys(run)
		data = enc.AppendSketch(data, run)
		offs = append(offs, uint32(len(data)))
	}
	p.ones.reset()
	p.merged.reset()
	return batch.NewDict(data, offs)
}

// sortKeys sorts a sketch's buckets: usually a few, often in order already.
func sortKeys(run []enc.KeyCount) {
	if len(run) > 32 {
		slices.SortFunc(run, func(a, b enc.KeyCount) int { return cmp.Compare(a.Key, b.Key) })
		return
	}
	for i := 1; i < len(run); i++ {
		for k := i; k > 0 && run[k].Key < run[k-1].Key; k-- {
			run[k], run[k-1] = run[k-1], run[k]
		}
	}
}

func (p *metric) emitUniqs(n int) *batch.Dict {
	at := make([]uint32, n+1)
	p.uniq.each(func(list []uniqEntry) {
		for i := range list {
			at[list[i].group+1]++
		}
	})
	begins(at)
	p.values = resize(p.values, int(at[n]))
	next := slices.Clone(at)
	p.uniq.each(func(list []uniqEntry) {
		for _, e := range list {
			p.values[next[e.group]] = e.value
			next[e.group]++
		}
	})
	data, offs := make([]byte, 0, 6*len(p.values)), make([]uint32, 1, n+1)
	for g := range n {
		run := p.values[at[g]:at[g+1]]
		if h := p.dense[uint32(g)]; h != nil {
			for _, x := range run {
				h.Add(x)
			}
			data = h.AppendTo(data)
		} else {
			slices.Sort(run)
			data = enc.AppendHLL(data, run)
		}
		offs = append(offs, uint32(len(data)))
	}
	p.uniq.reset()
	clear(p.dense)
	return batch.NewDict(data, offs)
}

package exec

import (
	"math/bits"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Segments are sorted by their keys, so neighbours often belong to one group. Where they do, a batch is grouped run by
// run: keys are looked up once for each run, and aggregates add up slices without a look at the groups in between.

const (
	// minRun is how many rows a run must have on average to be worth its bookkeeping, of firstRuns runs and later ones.
	minRun    = 6
	firstRuns = 64
	// runsPause is how many batches are grouped by row after one that had too many runs.
	runsPause = 15
)

// runList is the rows of a batch as runs of neighbours with equal keys.
type runList struct {
	starts []int32 // the first row of each run, then the number of rows
	gids   []uint32
	ends   []int // by key: the end of the run of that key alone
}

// count is the number of runs.
func (r *runList) count() int { return len(r.gids) }

// find splits n rows by the keys, which may be none; false means that there are too many runs.
func (r *runList) find(keys []*batch.Vector, n int) bool {
	r.starts = r.starts[:0]
	r.ends = resize(r.ends, len(keys))
	clear(r.ends)
	for at := 0; at < n; {
		next := n
		for k, v := range keys {
			if r.ends[k] == at {
				r.ends[k] = runEnd(v, at, n)
			}
			next = min(next, r.ends[k])
		}
		r.starts = append(r.starts, int32(at))
		if at = next; len(r.starts) >= firstRuns && at < minRun*len(r.starts) {
			return false
		}
	}
	r.gids = resize(r.gids, len(r.starts))
	r.starts = append(r.starts, int32(n))
	return true
}

// expand makes gids the group of each row.
func (r *runList) expand(gids []uint32) {
	for i, g := range r.gids {
		rows := gids[r.starts[i]:r.starts[i+1]]
		for k := range rows {
			rows[k] = g
		}
	}
}

// runEnd is where the run of equal values that starts at row at ends, n at most.
func runEnd(v *batch.Vector, at, n int) int {
	end := n
	if v.Valid != nil {
		end = bitsEnd(v.Valid, at, n)
	}
	switch v.Type.Physical() {
	case schema.Int64:
		return at + equalPrefix(v.I64[at:end])
	case schema.Float64:
		vals := v.F64[at:end]
		for at++; at < end && v.F64[at] == vals[0]; at++ { // a NaN ends a run, which is as good
		}
		return at
	}
	return at + equalPrefix(v.Codes[at:end])
}

// equalPrefix is how many values at the beginning of s, which is not empty, equal the first one; at least one.
func equalPrefix[T int64 | uint32](s []T) int {
	first, i := s[0], 1
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8 : i+8]
		if (b[0]^first)|(b[1]^first)|(b[2]^first)|(b[3]^first)|(b[4]^first)|(b[5]^first)|(b[6]^first)|(b[7]^first) != 0 {
			break
		}
	}
	for i < len(s) && s[i] == first {
		i++
	}
	return i
}

// bitsEnd is where the bits from at on cease to be equal, n at most.
func bitsEnd(b batch.Bitmap, at, n int) int {
	flip := -(b[at>>6] >> (uint(at) & 63) & 1) // all ones where the bit is set: the run's bits become 0
	word := (b[at>>6] ^ flip) >> (uint(at) & 63)
	if word != 0 {
		return min(n, at+bits.TrailingZeros64(word))
	}
	for at = (at | 63) + 1; at < n; at += 64 {
		if word = b[at>>6] ^ flip; word != 0 {
			return min(n, at+bits.TrailingZeros64(word))
		}
	}
	return n
}

// countBits is the number of bits set in rows from to to.
func countBits(b batch.Bitmap, from, to int) int64 {
	n := 0
	for from < to {
		word := b[from>>6] >> (uint(from) & 63)
		if k := to - from; k < 64 {
			word &= 1<<uint(k) - 1
		}
		n += bits.OnesCount64(word)
		from = (from | 63) + 1
	}
	return int64(n)
}

// runAdder is an aggregate that takes runs of rows of one group each. It is what add does with r expanded.
type runAdder interface {
	addRuns(r *runList, groups int, args []*batch.Vector) error
}

func (s *countState) addRuns(r *runList, groups int, args []*batch.Vector) error {
	s.n = extend(s.n, groups)
	starts := r.starts
	if len(args) == 0 || args[0].Valid == nil {
		for i, g := range r.gids {
			s.n[g] += int64(starts[i+1] - starts[i])
		}
		return nil
	}
	for i, g := range r.gids {
		s.n[g] += countBits(args[0].Valid, int(starts[i]), int(starts[i+1]))
	}
	return nil
}

func (s *sumInt) addRuns(r *runList, groups int, args []*batch.Vector) error {
	v := args[0]
	mark := s.seen.begin(v, groups)
	s.sum = extend(s.sum, groups)
	for i, g := range r.gids {
		from, to := int(r.starts[i]), int(r.starts[i+1])
		vals := v.I64[from:to]
		if v.Valid != nil {
			var ok bool
			if s.sum[g], ok = addValid(s.sum[g], vals, v.Valid, from); !ok {
				return s.overflow()
			}
			if countBits(v.Valid, from, to) > 0 {
				s.seen.bits[g] = 1
			}
			continue
		}
		if mark {
			s.seen.bits[g] = 1
		}
		t, ok := addAll(s.sum[g], vals)
		if !ok {
			return s.overflow()
		}
		s.sum[g] = t
	}
	return nil
}

// addAll is sum plus all values; false when that leaves the range.
func addAll(sum int64, vals []int64) (int64, bool) {
	// Partial sums of smaller numbers cannot leave the range, so what is looked at is how large they are: together, in the end.
	var a, b, c, d, big int64
	rest := vals
	for len(rest) >= 4 {
		w, x, y, z := rest[0], rest[1], rest[2], rest[3]
		a, b, c, d = a+w, b+x, c+y, d+z
		big |= w ^ w>>63 | x ^ x>>63 | y ^ y>>63 | z ^ z>>63
		rest = rest[4:]
	}
	for _, x := range rest {
		a += x
		big |= x ^ x>>63
	}
	if big>>46 != 0 || len(vals) > 1<<16 {
		return addChecked(sum, vals)
	}
	a += b + c + d
	t := sum + a
	return t, (sum^t)&(a^t) >= 0
}

func addChecked(sum int64, vals []int64) (int64, bool) {
	for _, x := range vals {
		t := sum + x
		if (sum^t)&(x^t) < 0 {
			return 0, false
		}
		sum = t
	}
	return sum, true
}

// addValid is addAll of the values that are not NULL; the first one is row from.
func addValid(sum int64, vals []int64, valid batch.Bitmap, from int) (int64, bool) {
	var bad int64
	for i, x := range vals {
		x &= -int64(valid[(from+i)>>6] >> (uint(from+i) & 63) & 1)
		t := sum + x
		bad |= (sum ^ t) & (x ^ t)
		sum = t
	}
	return sum, bad >= 0
}

func (s *meanState) addRuns(r *runList, groups int, args []*batch.Vector) error {
	v := args[0]
	s.sum, s.n = extend(s.sum, groups), extend(s.n, groups)
	ints := v.Type.Physical() == schema.Int64
	for i, g := range r.gids {
		from, to := int(r.starts[i]), int(r.starts[i+1])
		sum := s.sum[g] // one after the other, as add does: sums of floats depend on the order
		switch {
		case v.Valid != nil:
			for k := from; k < to; k++ {
				if !v.Valid.Get(k) {
					continue
				}
				if ints {
					sum += float64(v.I64[k])
				} else {
					sum += v.F64[k]
				}
			}
			s.n[g] += countBits(v.Valid, from, to)
		case ints:
			for _, x := range v.I64[from:to] {
				sum += float64(x)
			}
			s.n[g] += int64(to - from)
		default:
			for _, x := range v.F64[from:to] {
				sum += x
			}
			s.n[g] += int64(to - from)
		}
		s.sum[g] = sum
	}
	return nil
}

func (s *extremeInt) addRuns(r *runList, groups int, args []*batch.Vector) error {
	v := args[0]
	s.best, s.has = extend(s.best, groups), extend(s.has, groups)
	for i, g := range r.gids {
		from, to := int(r.starts[i]), int(r.starts[i+1])
		best, has := s.best[g], s.has[g]
		if v.Valid == nil {
			if !has {
				best, has = v.I64[from], true
			}
			if s.max {
				for _, x := range v.I64[from:to] {
					best = max(best, x)
				}
			} else {
				for _, x := range v.I64[from:to] {
					best = min(best, x)
				}
			}
		} else {
			for k := from; k < to; k++ {
				if x := v.I64[k]; v.Valid.Get(k) && (!has || (x > best) == s.max && x != best) {
					best, has = x, true
				}
			}
		}
		s.best[g], s.has[g] = best, has
	}
	return nil
}

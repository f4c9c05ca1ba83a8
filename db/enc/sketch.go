package enc

import (
	"encoding/binary"
	"math"
	"slices"
)

// SketchAccuracy is the relative error of a sketch's quantiles.
const SketchAccuracy = 0.01

// Bounds of what a sketch tells apart: below sketchMin is zero, above sketchMax counts as sketchMax.
const (
	sketchMinExp  = -30
	sketchMaxExp  = 63
	sketchVersion = 0x01
	sketchSigned  = 0x02 // with negative values
)

// sketchScale is buckets per unit of the interpolated logarithm: with the cubic, 7/10 of 1/ln(gamma).
var (
	sketchScale    = 7 / (10 * math.Log((1+SketchAccuracy)/(1-SketchAccuracy)))
	sketchMin      = math.Ldexp(1, sketchMinExp)
	sketchMax      = math.Ldexp(1, sketchMaxExp)
	sketchMinIndex = int(math.Floor(sketchMinExp * sketchScale))
	sketchMaxIndex = int(math.Floor(sketchMaxExp * sketchScale))
)

// Sketch counts values, such as latencies in microseconds, so that any quantile can be told to within SketchAccuracy of the
// true value, and merges with others without loss. The zero value is empty and ready. It is not safe
// for concurrent use. docs/format/columns.md has the bytes.
type Sketch struct {
	zeros  uint64
	total  uint64   // zeros and negatives included
	first  int      // bucket index of counts[0]
	counts []uint64 // dense window over the buckets in use
	neg    *Sketch  // of the negated negative values, without zeros; nil before there was one
}

// Reset empties the sketch and keeps its memory.
func (s *Sketch) Reset() {
	s.zeros, s.total = 0, 0
	s.counts = s.counts[:0]
	if s.neg != nil {
		s.neg.Reset()
	}
}

// negative is the sketch of the negated negative values.
func (s *Sketch) negative() *Sketch {
	if s.neg == nil {
		s.neg = &Sketch{}
	}
	return s.neg
}

// negatives is the number of negative values.
func (s *Sketch) negatives() uint64 {
	if s.neg == nil {
		return 0
	}
	return s.neg.total
}

// Add counts v once.
func (s *Sketch) Add(v float64) { s.AddN(v, 1) }

// AddN counts v n times. NaN is ignored.
func (s *Sketch) AddN(v float64, n uint64) {
	if n == 0 || v != v {
		return
	}
	s.total = satAdd(s.total, n)
	switch {
	case v >= sketchMin:
		s.bucket(sketchIndex(min(v, sketchMax)), n)
	case v <= -sketchMin:
		s.negative().AddN(-v, n)
	default:
		s.zeros = satAdd(s.zeros, n)
	}
}

// sketchIndex is the bucket of v, which lies in [sketchMin, sketchMax]. The conversions forbid fused multiply-add, whose
// rounding would let two machines disagree about a bucket.
func sketchIndex(v float64) int {
	b := math.Float64bits(v)
	e := float64(int(b>>52) - 1023)
	f := math.Float64frombits(b&(1<<52-1)|1023<<52) - 1
	p := float64(f*(6.0/35.0)) - 3.0/5.0
	p = float64(p*f) + 10.0/7.0
	return int(math.Floor(float64(float64(float64(p*f)+e) * sketchScale)))
}

// sketchLower is the smallest value of bucket i.
func sketchLower(i int) float64 {
	x := float64(i) / sketchScale
	e := math.Floor(x)
	x -= e
	// Invert the cubic, which rises over [0, 1), by Newton's method.
	f := x
	for range 8 {
		p := ((6.0/35.0*f-3.0/5.0)*f + 10.0/7.0) * f
		d := (18.0/35.0*f-6.0/5.0)*f + 10.0/7.0
		f -= (p - x) / d
	}
	return math.Ldexp(1+f, int(e))
}

// sketchValue is the value that stands for bucket i: the one whose relative error is the same at both ends.
func sketchValue(i int) float64 {
	lo, hi := sketchLower(i), sketchLower(i+1)
	return 2 * lo * hi / (lo + hi)
}

// bucket adds n to bucket i, widening the window.
func (s *Sketch) bucket(i int, n uint64) {
	const spare = 16
	switch {
	case len(s.counts) == 0:
		s.first = i
		s.counts = append(s.counts[:0], n)
		return
	case i < s.first:
		more := s.first - i
		if s.first-more-spare >= sketchMinIndex {
			more += spare
		}
		s.counts = slices.Grow(s.counts, more)
		old := s.counts
		s.counts = s.counts[:len(old)+more]
		copy(s.counts[more:], old)
		clear(s.counts[:more])
		s.first -= more
	case i >= s.first+len(s.counts):
		more := i + 1 - s.first - len(s.counts)
		at := len(s.counts)
		s.counts = slices.Grow(s.counts, more)[:at+more]
		clear(s.counts[at:])
	}
	s.counts[i-s.first] = satAdd(s.counts[i-s.first], n)
}

func satAdd(a, b uint64) uint64 {
	if c := a + b; c >= a {
		return c
	}
	return math.MaxUint64
}

// Count is the number of values.
func (s *Sketch) Count() uint64 { return s.total }

// Quantile returns the value below which the share q of the values lies, q in [0, 1], to within SketchAccuracy; NaN when the
// sketch is empty or q is out of range.
func (s *Sketch) Quantile(q float64) float64 {
	if s.total == 0 || !(q >= 0 && q <= 1) {
		return math.NaN()
	}
	rank := uint64(q * float64(s.total-1))
	n := s.negatives()
	if rank < n {
		return -s.neg.value(n - 1 - rank)
	}
	return s.value(rank - n)
}

// value is the value of a rank among those that are not negative.
func (s *Sketch) value(rank uint64) float64 {
	if rank < s.zeros {
		return 0
	}
	seen, last := s.zeros, 0.0
	for i, c := range s.counts {
		if c == 0 {
			continue
		}
		last = float64(s.first + i)
		if seen = satAdd(seen, c); rank < seen {
			break
		}
	}
	return sketchValue(int(last))
}

// MergeWith adds the values of o.
func (s *Sketch) MergeWith(o *Sketch) {
	s.zeros = satAdd(s.zeros, o.zeros)
	s.total = satAdd(s.total, o.total)
	for i, c := range o.counts {
		if c != 0 {
			s.bucket(o.first+i, c)
		}
	}
	if o.negatives() > 0 {
		s.negative().MergeWith(o.neg)
	}
}

// AppendTo appends the sketch's bytes; an empty one has none.
func (s *Sketch) AppendTo(dst []byte) []byte {
	if s.total == 0 {
		return dst
	}
	if s.negatives() == 0 {
		return s.appendBody(append(dst, sketchVersion))
	}
	dst = s.neg.appendBody(append(dst, sketchSigned))
	return s.appendBody(dst)
}

// appendBody appends what is not negative.
func (s *Sketch) appendBody(dst []byte) []byte {
	w := beginSketch(dst, s.zeros, s.used())
	for i, c := range s.counts {
		if c != 0 {
			w.add(s.first+i, c)
		}
	}
	return w.dst
}

// used is the number of buckets that are not empty.
func (s *Sketch) used() (n int) {
	for _, c := range s.counts {
		if c != 0 {
			n++
		}
	}
	return n
}

// sketchWriter appends buckets in ascending order.
type sketchWriter struct {
	dst   []byte
	last  int
	begun bool
}

func beginSketch(dst []byte, zeros uint64, buckets int) sketchWriter {
	dst = binary.AppendUvarint(dst, zeros)
	return sketchWriter{dst: binary.AppendUvarint(dst, uint64(buckets))}
}

func (w *sketchWriter) add(index int, count uint64) {
	if w.begun {
		w.dst = binary.AppendUvarint(w.dst, uint64(index-w.last-1))
	} else {
		w.dst = binary.AppendVarint(w.dst, int64(index))
	}
	w.last, w.begun = index, true
	w.dst = binary.AppendUvarint(w.dst, count)
}

// Merge adds the values of a sketch's bytes. It fails with ErrCorrupt, leaving s as it was.
func (s *Sketch) Merge(src []byte) error {
	neg, pos, err := readSketch(src)
	if err != nil {
		return err
	}
	if neg.left > 0 {
		s.negative().take(neg)
		s.total = satAdd(s.total, neg.total)
	}
	s.take(pos)
	return nil
}

// take adds what a reader has, which was found sound.
func (s *Sketch) take(r sketchReader) {
	s.zeros = satAdd(s.zeros, r.zeros)
	s.total = satAdd(s.total, r.total)
	for r.left > 0 && r.next() {
		s.bucket(r.index, r.count)
	}
}

// sketchReader walks the buckets of one sign of a sketch's bytes.
type sketchReader struct {
	src   []byte
	zeros uint64
	total uint64 // zeros and all buckets
	left  uint64 // buckets not read yet
	index int
	count uint64
	begun bool
}

// readSketch checks a sketch's bytes; the readers that it gives do not fail.
func readSketch(src []byte) (neg, pos sketchReader, err error) {
	if len(src) == 0 {
		return neg, pos, nil
	}
	version := src[0]
	src = src[1:]
	switch version {
	case sketchVersion:
	case sketchSigned:
		if neg, src, err = readSketchBody(src); err != nil {
			return neg, pos, err
		}
		if neg.zeros != 0 || neg.left == 0 {
			return neg, pos, corrupt("negative part of a sketch")
		}
	default:
		return neg, pos, corrupt("sketch version")
	}
	if pos, src, err = readSketchBody(src); err != nil {
		return neg, pos, err
	}
	if len(src) != 0 {
		return neg, pos, corrupt("bytes behind the sketch")
	}
	if pos.total == 0 && version == sketchVersion {
		return neg, pos, corrupt("sketch of nothing")
	}
	return neg, pos, nil
}

func readSketchBody(src []byte) (r sketchReader, rest []byte, err error) {
	zeros, src, ok := uvarint(src)
	if !ok {
		return r, nil, corrupt("sketch zeros")
	}
	left, src, ok := uvarint(src)
	if !ok || left > uint64(sketchMaxIndex-sketchMinIndex+1) {
		return r, nil, corrupt("sketch buckets")
	}
	r = sketchReader{src: src, zeros: zeros, left: left}
	total := zeros
	probe := r
	for probe.left > 0 {
		if !probe.next() {
			return r, nil, corrupt("sketch bucket")
		}
		total = satAdd(total, probe.count)
	}
	r.total = total
	return r, probe.src, nil
}

func (r *sketchReader) next() bool {
	var ok bool
	if !r.begun {
		var v int64
		if v, r.src, ok = varint(r.src); !ok || v < int64(sketchMinIndex) || v > int64(sketchMaxIndex) {
			return false
		}
		r.index, r.begun = int(v), true
	} else {
		var gap uint64
		if gap, r.src, ok = uvarint(r.src); !ok || gap >= uint64(sketchMaxIndex-r.index) {
			return false
		}
		r.index += int(gap) + 1
	}
	if r.count, r.src, ok = uvarint(r.src); !ok || r.count == 0 {
		return false
	}
	r.left--
	return true
}

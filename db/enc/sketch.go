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
)

// sketchScale is buckets per unit of the interpolated logarithm: with the cubic, 7/10 of 1/ln(gamma).
var (
	sketchScale    = 7 / (10 * math.Log((1+SketchAccuracy)/(1-SketchAccuracy)))
	sketchMin      = math.Ldexp(1, sketchMinExp)
	sketchMax      = math.Ldexp(1, sketchMaxExp)
	sketchMinIndex = int(math.Floor(sketchMinExp * sketchScale))
	sketchMaxIndex = int(math.Floor(sketchMaxExp * sketchScale))
)

// Sketch counts non-negative values, such as latencies in microseconds, so that any quantile can be told to within
// SketchAccuracy of the true value, and merges with others without loss. The zero value is empty and ready. It is not safe
// for concurrent use. docs/format/columns.md has the bytes.
type Sketch struct {
	zeros  uint64
	total  uint64   // zeros included
	first  int      // bucket index of counts[0]
	counts []uint64 // dense window over the buckets in use
}

// Reset empties the sketch and keeps its memory.
func (s *Sketch) Reset() {
	s.zeros, s.total = 0, 0
	s.counts = s.counts[:0]
}

// Add counts v once.
func (s *Sketch) Add(v float64) { s.AddN(v, 1) }

// AddN counts v n times. NaN is ignored, what is not positive counts as zero.
func (s *Sketch) AddN(v float64, n uint64) {
	if n == 0 || v != v {
		return
	}
	s.total = satAdd(s.total, n)
	if v < sketchMin {
		s.zeros = satAdd(s.zeros, n)
		return
	}
	s.bucket(sketchIndex(min(v, sketchMax)), n)
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
}

// AppendTo appends the sketch's bytes; an empty one has none.
func (s *Sketch) AppendTo(dst []byte) []byte {
	if s.total == 0 {
		return dst
	}
	used := 0
	for _, c := range s.counts {
		if c != 0 {
			used++
		}
	}
	dst = append(dst, sketchVersion)
	dst = binary.AppendUvarint(dst, s.zeros)
	dst = binary.AppendUvarint(dst, uint64(used))
	last := math.MinInt
	for i, c := range s.counts {
		if c == 0 {
			continue
		}
		if at := s.first + i; last == math.MinInt {
			dst = binary.AppendVarint(dst, int64(at))
		} else {
			dst = binary.AppendUvarint(dst, uint64(at-last-1))
		}
		last = s.first + i
		dst = binary.AppendUvarint(dst, c)
	}
	return dst
}

// Merge adds the values of a sketch's bytes. It fails with ErrCorrupt, leaving s as it was.
func (s *Sketch) Merge(src []byte) error {
	r, err := readSketch(src)
	if err != nil {
		return err
	}
	for probe := r; probe.left > 0; {
		if !probe.next() {
			return corrupt("sketch bucket")
		}
		if probe.left == 0 && len(probe.src) != 0 {
			return corrupt("bytes behind the sketch")
		}
	}
	s.zeros = satAdd(s.zeros, r.zeros)
	s.total = satAdd(s.total, r.zeros)
	for r.left > 0 && r.next() {
		s.total = satAdd(s.total, r.count)
		s.bucket(r.index, r.count)
	}
	return nil
}

// sketchReader walks the buckets of a sketch's bytes.
type sketchReader struct {
	src   []byte
	zeros uint64
	left  uint64 // buckets not read yet
	index int
	count uint64
	begun bool
}

func readSketch(src []byte) (r sketchReader, err error) {
	if len(src) == 0 {
		return r, nil
	}
	if src[0] != sketchVersion {
		return r, corrupt("sketch version")
	}
	zeros, src, ok := uvarint(src[1:])
	if !ok {
		return r, corrupt("sketch zeros")
	}
	left, src, ok := uvarint(src)
	if !ok || left > uint64(sketchMaxIndex-sketchMinIndex+1) || left == 0 && (zeros == 0 || len(src) != 0) {
		return r, corrupt("sketch buckets")
	}
	return sketchReader{src: src, zeros: zeros, left: left}, nil
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

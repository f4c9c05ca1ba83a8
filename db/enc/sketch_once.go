package enc

// MergeOnce is Merge in one pass, for queries that merge many sketches and give up on the first bad one: when it fails with
// ErrCorrupt, s holds an unknown part of the values.
func (s *Sketch) MergeOnce(src []byte) error {
	if len(src) == 0 || src[0] != sketchVersion {
		return s.Merge(src) // negative values are rare
	}
	zeros, b, ok := uvarint(src[1:])
	if !ok {
		return corrupt("sketch zeros")
	}
	left, b, ok := uvarint(b)
	if !ok || left > uint64(sketchMaxIndex-sketchMinIndex+1) || left == 0 && zeros == 0 {
		return corrupt("sketch buckets")
	}
	total := zeros
	if left > 0 {
		v, rest, ok := varint(b)
		if !ok || v < int64(sketchMinIndex) || v > int64(sketchMaxIndex) {
			return corrupt("sketch bucket")
		}
		var n uint64
		if n, b = s.mergeBuckets(int(v), left, rest); n == 0 {
			return corrupt("sketch bucket")
		}
		total = satAdd(total, n)
	}
	if len(b) != 0 {
		return corrupt("bytes behind the sketch")
	}
	s.zeros = satAdd(s.zeros, zeros)
	s.total = satAdd(s.total, total)
	return nil
}

// mergeBuckets adds left buckets, whose first has the given index, and gives the number of their values, 0 when they are not
// sound, and the bytes behind them.
func (s *Sketch) mergeBuckets(index int, left uint64, b []byte) (total uint64, rest []byte) {
	count, b, ok := uvarint(b)
	for {
		if !ok || count == 0 {
			return 0, nil
		}
		total = satAdd(total, count)
		if k := index - s.first; uint(k) < uint(len(s.counts)) {
			s.counts[k] = satAdd(s.counts[k], count)
		} else {
			s.bucket(index, count)
		}
		if left--; left == 0 {
			return total, b
		}
		var gap uint64
		if len(b) > 1 && b[0]|b[1] < 0x80 { // both fit a byte each: the rule
			gap, count, b = uint64(b[0]), uint64(b[1]), b[2:]
		} else {
			if gap, b, ok = uvarint(b); !ok {
				return 0, nil
			}
			count, b, ok = uvarint(b)
		}
		if gap >= uint64(sketchMaxIndex-index) {
			return 0, nil
		}
		index += int(gap) + 1
	}
}

package enc

// Rollups count values of many sketches at once: they collect (sketch, key) pairs, sort them, and append each sketch's bytes
// in one go, without a Sketch for each.

// SketchKey is the bucket of v as one number that ascends with the value: 0 for zero, negative for negative values. ok is
// false for NaN, which a sketch does not count.
func SketchKey(v float64) (key int32, ok bool) {
	switch {
	case v != v:
		return 0, false
	case v >= sketchMin:
		return int32(sketchIndex(min(v, sketchMax))-sketchMinIndex) + 1, true
	case v <= -sketchMin:
		return -int32(sketchIndex(min(-v, sketchMax))-sketchMinIndex) - 1, true
	}
	return 0, true
}

// KeyCount is how often values of a bucket were counted; Count is at least 1.
type KeyCount struct {
	Key   int32
	Count uint64
}

// AppendSketch appends the bytes of the sketch with the given counts, whose keys ascend; equal ones, which are neighbours
// then, add up. The bytes are those of a Sketch with the same values. counts is overwritten.
func AppendSketch(dst []byte, counts []KeyCount) []byte {
	n := 0
	for _, c := range counts {
		if n > 0 && counts[n-1].Key == c.Key {
			counts[n-1].Count = satAdd(counts[n-1].Count, c.Count)
			continue
		}
		counts[n] = c
		n++
	}
	counts = counts[:n]
	if n == 0 {
		return dst
	}
	neg := 0
	for neg < n && counts[neg].Key < 0 {
		neg++
	}
	if neg == 0 {
		dst = append(dst, sketchVersion)
	} else {
		w := beginSketch(append(dst, sketchSigned), 0, neg)
		for i := neg - 1; i >= 0; i-- {
			w.add(sketchMinIndex-1-int(counts[i].Key), counts[i].Count)
		}
		dst = w.dst
	}
	counts = counts[neg:]
	zeros := uint64(0)
	if len(counts) > 0 && counts[0].Key == 0 {
		zeros, counts = counts[0].Count, counts[1:]
	}
	w := beginSketch(dst, zeros, len(counts))
	for _, c := range counts {
		w.add(int(c.Key)-1+sketchMinIndex, c.Count)
	}
	return w.dst
}

// SketchCounts appends the counts of a sketch's bytes to dst; their order is not said. It fails with ErrCorrupt, and returns
// dst as it was then.
func SketchCounts(dst []KeyCount, src []byte) ([]KeyCount, error) {
	neg, pos, err := readSketch(src)
	if err != nil {
		return dst, err
	}
	for neg.left > 0 && neg.next() {
		dst = append(dst, KeyCount{-int32(neg.index-sketchMinIndex) - 1, neg.count})
	}
	if pos.zeros > 0 {
		dst = append(dst, KeyCount{0, pos.zeros})
	}
	for pos.left > 0 && pos.next() {
		dst = append(dst, KeyCount{int32(pos.index-sketchMinIndex) + 1, pos.count})
	}
	return dst, nil
}

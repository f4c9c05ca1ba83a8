package wal

import (
	"math/bits"
	"sync"
)

// Metrics are figures since Open, except for what is said to be of now.
type Metrics struct {
	Appends       uint64 // acknowledged calls of Append and AppendAt
	Records       uint64 // in them
	PayloadBytes  uint64 // in them
	WrittenBytes  uint64 // to segments, with headers and padding
	Groups        uint64 // writes that were synced together
	Syncs         uint64
	SyncErrors    uint64
	WriteErrors   uint64 // writes that failed and were undone, or ended the log
	Rotations     uint64 // new segments
	Recycled      uint64 // of them, from used files
	Removed       uint64 // segments that the front has passed
	RemoveErrors  uint64 // of them, left to the next Open because removing failed
	TornTails     uint64 // tails cut at Open, 0 or 1
	TornRecords   uint64 // records seen in what was cut, none of them acknowledged
	Segments      int    // now
	SpareSegments int    // now
	DiskBytes     int64  // now: reserved by segments, without spares

	SyncNanos Histogram // time of each sync
	GroupSize Histogram // appends in each group
}

// metrics is Metrics with its lock.
type metrics struct {
	mu sync.Mutex // guards m
	m  Metrics
}

func (m *metrics) update(f func(*Metrics)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.m)
}

// Metrics returns the figures of the log.
func (l *Log) Metrics() Metrics {
	l.met.mu.Lock()
	m := l.met.m
	l.met.mu.Unlock()
	l.state.RLock()
	defer l.state.RUnlock()
	m.Segments, m.SpareSegments = len(l.segs), l.spareCount
	for _, s := range l.segs {
		m.DiskBytes += s.capacity
	}
	return m
}

// Histogram counts values >= 0 in buckets of a quarter of a power of two, so a quantile is at most 25 % too high.
type Histogram struct {
	Count  uint64
	Sum    int64
	Max    int64
	counts [4 * 64]uint32
}

// bucket numbers values: 0 to 3 are their own, then four per power of two.
func bucket(v int64) int {
	if v < 4 {
		return int(max(v, 0))
	}
	exp := bits.Len64(uint64(v)) - 1
	return (exp-1)*4 + int(v>>(exp-2))&3
}

// bucketTop is the largest value in a bucket.
func bucketTop(b int) int64 {
	if b < 4 {
		return int64(b)
	}
	exp := b/4 + 1
	return int64(4+b%4+1)<<(exp-2) - 1
}

func (h *Histogram) observe(v int64) {
	h.Count++
	h.Sum += v
	h.Max = max(h.Max, v)
	h.counts[bucket(v)]++
}

// Quantile returns a value that a share q (0 to 1) of the observed ones do not exceed, by up to 25 % too high; 0 when
// nothing was observed.
func (h *Histogram) Quantile(q float64) int64 {
	rank := uint64(q * float64(h.Count))
	var seen uint64
	for b, n := range h.counts {
		if seen += uint64(n); n > 0 && seen > rank || seen == h.Count && seen > 0 {
			return min(bucketTop(b), h.Max)
		}
	}
	return 0
}

// Mean returns the mean of the observed values, 0 when there are none.
func (h *Histogram) Mean() float64 {
	if h.Count == 0 {
		return 0
	}
	return float64(h.Sum) / float64(h.Count)
}

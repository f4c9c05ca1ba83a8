package gen

import (
	"fmt"
	"math"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// SampleOptions shape the samples. Zero values take the defaults.
type SampleOptions struct {
	// Seed chooses the values; equal seeds give equal rows.
	Seed uint64
	// Series is the number of series; default 1000. An instance has twenty: half are counters, half gauges that move slowly.
	Series int
	// StartNanos is the time of the first scrape, Unix nanoseconds; default 2026-01-01.
	StartNanos int64
	// EverySeconds is the time between two scrapes of a series; default 15.
	EverySeconds int64
	// Churn is the part of all instances that are replaced by others between two scrapes, and with them their series; default
	// none.
	Churn float64
}

// metrics is the number of series of an instance.
const metrics = 20

// Samples makes batches of the table samples, scrape by scrape: every series once in each. Not safe for concurrent use.
type Samples struct {
	rnd    rnd
	o      SampleOptions
	table  *schema.Table
	lives  []uint32 // of each instance: how many were in its place before
	values []float64
	series int // next
	scrape int64
	tags   [][]byte // of each series
}

// NewSamples starts a stream of samples.
func NewSamples(o SampleOptions) *Samples {
	if o.Series <= 0 {
		o.Series = 1000
	}
	if o.StartNanos == 0 {
		o.StartNanos = 1767225600e9
	}
	if o.EverySeconds <= 0 {
		o.EverySeconds = 15
	}
	s := &Samples{rnd: newRnd(o.Seed, 4), o: o, table: schema.Samples(), values: make([]float64, o.Series), tags: make([][]byte, o.Series),
		lives: make([]uint32, (o.Series+metrics-1)/metrics)}
	for i := range s.values {
		s.tags[i] = seriesTags(i, 0)
		s.values[i] = float64(s.rnd.below(1000))
	}
	return s
}

// seriesTags is the labels of a series in the given life of its instance; even metrics are counters.
func seriesTags(i int, life uint32) []byte {
	metric, instance := i%metrics, i/metrics
	name := fmt.Sprintf("app_requests_%02d_total", metric)
	if metric%2 == 1 {
		name = fmt.Sprintf("app_pool_%02d_size", metric)
	}
	return tags.AppendSet(nil,
		tags.Tag{Key: "__name__", Value: name},
		tags.Tag{Key: "job", Value: fmt.Sprintf("svc-%03d", instance/10)},
		tags.Tag{Key: "instance", Value: fmt.Sprintf("10.%d.%d.%d:9100", life, instance>>8, instance&255)},
		tags.Tag{Key: "namespace", Value: fmt.Sprintf("team-%02d", instance/10%12)},
		tags.Tag{Key: "cluster", Value: "prod-1"},
	)
}

// Next is the next n rows; the tag sets are carried by value.
func (s *Samples) Next(n int) *batch.Batch {
	times, codes, values := make([]int64, n), make([]uint32, n), make([]float64, n)
	var known coder
	var data []byte
	offs := make([]uint32, 1, min(n, len(s.tags))+1)
	known.reset(n)
	for i := range n {
		k := s.series
		s.move(k)
		times[i] = s.o.StartNanos + s.scrape*s.o.EverySeconds*1e9
		code, isNew := known.code(uint64(s.lives[k/metrics])<<32 | uint64(k))
		if isNew {
			data = append(data, s.tags[k]...)
			offs = append(offs, uint32(len(data)))
		}
		codes[i], values[i] = code, s.values[k]
		if s.series++; s.series == s.o.Series {
			s.series, s.scrape = 0, s.scrape+1
			s.replace()
		}
	}
	b := &batch.Batch{Table: s.table, N: n, Cols: make([]*batch.Vector, len(s.table.Columns))}
	b.Cols[s.table.MustColumn("time")] = &batch.Vector{Type: schema.Timestamp, I64: times}
	b.Cols[s.table.MustColumn("tags")] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: batch.NewDict(data, offs)}
	b.Cols[s.table.MustColumn("value")] = &batch.Vector{Type: schema.Double, F64: values}
	return b
}

// move gives series k its next value.
func (s *Samples) move(k int) {
	switch {
	case k%metrics%2 == 0: // a counter; one in two stands still
		if k%4 != 0 {
			s.values[k] += float64(s.rnd.below(50))
		}
	case s.rnd.below(20) == 0: // a gauge, which moves now and then
		s.values[k] = max(0, s.values[k]+float64(s.rnd.below(9)-4))
	}
}

// replace ends some instances; others come in their place, whose counters begin at 0.
func (s *Samples) replace() {
	n := s.o.Churn * float64(len(s.lives))
	whole := math.Floor(n)
	if s.rnd.chance(n - whole) {
		whole++
	}
	for range int(whole) {
		i := s.rnd.below(len(s.lives))
		s.lives[i]++
		for k := i * metrics; k < min((i+1)*metrics, len(s.values)); k++ {
			s.tags[k], s.values[k] = seriesTags(k, s.lives[i]), 0
		}
	}
}

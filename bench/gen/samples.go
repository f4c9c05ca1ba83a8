package gen

import (
	"fmt"
	"math/rand/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// SampleOptions shape the samples. Zero values take the defaults.
type SampleOptions struct {
	// Seed chooses the values; equal seeds give equal rows.
	Seed uint64
	// Series is the number of series; default 1000. Half are counters, half gauges that move slowly.
	Series int
	// StartNanos is the time of the first scrape, Unix nanoseconds; default 2026-01-01.
	StartNanos int64
	// EverySeconds is the time between two scrapes of a series; default 15.
	EverySeconds int64
}

// Samples makes batches of table samples, scrape by scrape: every series once in each.
type Samples struct {
	rng    *rand.Rand
	o      SampleOptions
	table  *schema.Table
	dict   *batch.Dict // tag set of each series
	values []float64
	series int // next
	scrape int64
}

// NewSamples starts a stream of samples.
func NewSamples(o SampleOptions) *Samples {
	if o.Series == 0 {
		o.Series = 1000
	}
	if o.StartNanos == 0 {
		o.StartNanos = 1767225600e9
	}
	if o.EverySeconds == 0 {
		o.EverySeconds = 15
	}
	s := &Samples{rng: rand.New(rand.NewPCG(o.Seed, 0x6a09e667f3bcc908)), o: o, table: schema.Samples(), values: make([]float64, o.Series)}
	var dict batch.DictBuilder
	for i := range o.Series {
		dict.Code(seriesTags(i))
		s.values[i] = float64(s.rng.IntN(1000))
	}
	s.dict = dict.Seal()
	return s
}

// seriesTags is the labels of a series: 20 metrics for each instance; even metrics are counters.
func seriesTags(i int) []byte {
	metric, instance := i%20, i/20
	name := fmt.Sprintf("app_requests_%02d_total", metric)
	if metric%2 == 1 {
		name = fmt.Sprintf("app_pool_%02d_size", metric)
	}
	return tags.AppendSet(nil,
		tags.Tag{Key: "__name__", Value: name},
		tags.Tag{Key: "job", Value: fmt.Sprintf("svc-%03d", instance/10)},
		tags.Tag{Key: "instance", Value: fmt.Sprintf("10.0.%d.%d:9100", instance>>8, instance&255)},
		tags.Tag{Key: "namespace", Value: fmt.Sprintf("team-%02d", instance/10%12)},
		tags.Tag{Key: "cluster", Value: "prod-1"},
	)
}

// Next is the next n rows; the tag sets are carried by value.
func (s *Samples) Next(n int) *batch.Batch {
	times, codes, values := make([]int64, n), make([]uint32, n), make([]float64, n)
	for i := range n {
		k := s.series
		switch {
		case k%20%2 == 0: // a counter; one in four stands still
			if k%4 != 0 {
				s.values[k] += float64(s.rng.IntN(50))
			}
		case s.rng.IntN(20) == 0: // a gauge, which moves now and then
			s.values[k] = max(0, s.values[k]+float64(s.rng.IntN(9)-4))
		}
		times[i] = s.o.StartNanos + s.scrape*s.o.EverySeconds*1e9
		codes[i], values[i] = uint32(k), s.values[k]
		if s.series++; s.series == s.o.Series {
			s.series, s.scrape = 0, s.scrape+1
		}
	}
	b := &batch.Batch{Table: s.table, N: n, Cols: make([]*batch.Vector, len(s.table.Columns))}
	b.Cols[s.table.MustColumn("time")] = &batch.Vector{Type: schema.Timestamp, I64: times}
	b.Cols[s.table.MustColumn("tags")] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: s.dict}
	b.Cols[s.table.MustColumn("value")] = &batch.Vector{Type: schema.Double, F64: values}
	return b
}

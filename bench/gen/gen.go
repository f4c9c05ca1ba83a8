// Package gen makes rows that look like those of a busy cluster, for benchmarks and tests: seeded, so that the same seed
// gives the same rows, and of any number, in memory that does not grow with it.
//
// The cluster has services of which a few have most of the pods and most of the traffic (zipf), a graph of who calls whom,
// and a collector on each node. Its time goes on as fast as rows are asked for.
package gen

import (
	"math"
	"math/bits"
)

// Defaults of Options.
const (
	defaultFlows       = 200_000
	defaultPods        = 20_000
	defaultAgents      = 64
	defaultFlowMinutes = 10
	defaultShort       = 0.3
	defaultLate        = 0.01
	defaultPodChurn    = 0.001
	defaultSpanRate    = 10_000
	// defaultStart is ten seconds before the first minute of 2026 is over: the reports of open flows come soon.
	defaultStart = 1767225650e9
	minute       = 60e9
)

// Options shape the traffic. Zero values take the defaults.
type Options struct {
	// Seed chooses the traffic; equal seeds give equal rows.
	Seed uint64
	// StartNanos is where time begins, Unix nanoseconds; default 2026-01-01 00:00:50 UTC. Open flows began before it.
	StartNanos int64
	// Flows is the number of flows open at any moment, each seen by one collector; default 200,000. Each is reported once a
	// virtual minute.
	Flows int
	// Pods is the number of pods that run at any moment; default 20,000, at most 1<<20-1. Each has a tag set.
	Pods int
	// Agents is the number of collectors, one on each node; default 64. With the default a collector has the name of its
	// pods' tag node.
	Agents int
	// FlowMinutes is how many virtual minutes a flow stays open on average; default 10. Others take its place.
	FlowMinutes float64
	// Short is the part of all flow rows that are of flows so short that they have only one; default 0.3, negative for none.
	Short float64
	// Late is the part of all flow rows that come one to five virtual minutes after their time; default 0.01, negative for
	// none.
	Late float64
	// PodChurn is the part of all pods that restart each virtual minute, with a new address and a new tag set; default
	// 0.001, negative for none.
	PodChurn float64
	// SpansPerSecond is how many spans there are in a virtual second; default 10,000.
	SpansPerSecond int
}

// setDefaults fills what is not said.
func (o *Options) setDefaults() {
	count := func(v *int, most, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
		*v = min(*v, most)
	}
	count(&o.Flows, math.MaxInt32, defaultFlows)
	count(&o.Pods, maxPods, defaultPods)
	count(&o.Agents, math.MaxUint16, defaultAgents)
	count(&o.SpansPerSecond, 1e9, defaultSpanRate)
	part := func(v *float64, otherwise float64) {
		switch {
		case *v == 0:
			*v = otherwise
		case *v < 0:
			*v = 0
		}
		*v = min(*v, 0.95)
	}
	part(&o.Short, defaultShort)
	part(&o.Late, defaultLate)
	part(&o.PodChurn, defaultPodChurn)
	if o.FlowMinutes <= 0 {
		o.FlowMinutes = defaultFlowMinutes
	}
	o.FlowMinutes = max(o.FlowMinutes, 1.5)
	if o.StartNanos == 0 {
		o.StartNanos = defaultStart
	}
	o.Agents = min(o.Agents, o.Flows, o.Pods)
}

// rnd is a generator of random numbers that is as fast as a multiplication. Not safe for concurrent use.
type rnd struct{ state uint64 }

func newRnd(seed, stream uint64) rnd { return rnd{mix(seed ^ mix(stream))} }

func (r *rnd) next() uint64 {
	r.state += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(r.state, r.state^0xe7037ed1a0b428db)
	return hi ^ lo
}

// below is a number in [0,n).
func (r *rnd) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// unit is a number in [0,1).
func (r *rnd) unit() float64 { return float64(r.next()>>11) / (1 << 53) }

// chance is true with probability p.
func (r *rnd) chance(p float64) bool { return r.unit() < p }

// around is a number that is spread widely about mean, as latencies and sizes are (exponentially).
func (r *rnd) around(mean float64) int64 {
	x := r.next()
	// a step of the table, and a place within it: no two of a thousand are equal by chance
	e := expTable[x>>52]
	e += (expTable[x>>52+1] - e) * float64(x&0xfffff) / (1 << 20)
	return int64(mean * e)
}

const expSteps = 1 << 12

// expTable is the inverse of the exponential distribution, cut where it goes to infinity.
var expTable = func() (t [expSteps + 1]float64) {
	for i := range t {
		t[i] = -math.Log(1 - min(float64(i), expSteps-0.25)/expSteps)
	}
	return t
}()

// mix makes one number of another so that close ones become unlike.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xe9846af9b1a615d
	x ^= x >> 32
	x *= 0xe9846af9b1a615d
	return x ^ x>>28
}

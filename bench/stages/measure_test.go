package stages

import (
	"runtime"
	"testing"
	"time"
)

// meter takes wall clock, CPU time and allocations of what runs between start and stop. CPU time is that of the whole
// process, garbage collection and background work included: the machine is shared, so it says more than the wall clock.
type meter struct {
	wall, cpu time.Duration
	allocs    uint64

	began     time.Time
	cpuBegan  time.Duration
	heapBegan runtime.MemStats
}

func (m *meter) start() {
	runtime.ReadMemStats(&m.heapBegan)
	m.cpuBegan = cpuTime()
	m.began = time.Now()
}

func (m *meter) stop() {
	m.wall += time.Since(m.began)
	m.cpu += cpuTime() - m.cpuBegan
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	m.allocs += after.Mallocs - m.heapBegan.Mallocs
}

// report says what one of n things cost; what is their name: row, packet, set.
func (m *meter) report(b *testing.B, n int, what string) {
	b.ReportMetric(float64(m.wall.Nanoseconds())/float64(n), "ns/"+what)
	b.ReportMetric(float64(m.cpu.Nanoseconds())/float64(n), "cpu-ns/"+what)
	b.ReportMetric(float64(m.allocs)/float64(n), "allocs/"+what)
	b.ReportMetric(0, "ns/op") // a batch is no unit that anybody thinks in
}

// perRow measures b.N calls of op, each of which handles n rows.
func perRow(b *testing.B, n int, op func(i int)) { per(b, n, "row", op) }

func per(b *testing.B, n int, what string, op func(i int)) {
	b.Helper()
	runtime.GC()
	var m meter
	b.ResetTimer()
	m.start()
	for i := range b.N {
		op(i)
	}
	m.stop()
	b.StopTimer()
	m.report(b, n*b.N, what)
}

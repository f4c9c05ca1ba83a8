package gen

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
)

// small is a cluster that goes through many minutes quickly.
var small = Options{Seed: 7, Flows: 3000, Pods: 400, Agents: 8, FlowMinutes: 4, PodChurn: 0.01}

// each calls f for so many rows, batch by batch.
func each(g interface{ Next(int) *batch.Batch }, rows int, f func(b *batch.Batch)) {
	for ; rows > 0; rows -= 1000 {
		f(g.Next(1000))
	}
}

// reader reads columns of a batch by name.
type reader struct{ b *batch.Batch }

func (r reader) num(name string) []int64 { return r.b.Cols[r.b.Table.MustColumn(name)].I64 }
func (r reader) text(name string, i int) string {
	return string(r.b.Cols[r.b.Table.MustColumn(name)].Bytes(i))
}
func (r reader) ids(name string) []uint32 { return r.b.Cols[r.b.Table.MustColumn(name)].Codes }

func TestBatchesAreSound(t *testing.T) {
	for name, g := range map[string]interface{ Next(int) *batch.Batch }{
		"network_1s": NewNetwork(EdgeOptions{Seed: 1}), "application_1s": NewApplication(EdgeOptions{Seed: 1}), "flows": NewFlows(small), "spans": NewSpans(small), "samples": NewSamples(SampleOptions{Seed: 1}),
	} {
		each(g, 20000, func(b *batch.Batch) {
			ByValue(b, PodTags)
			if err := batch.Check(b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			for i, v := range b.Cols {
				if v == nil || v.Dict == nil {
					continue
				}
				seen := map[string]bool{}
				for k := range v.Dict.Len() {
					if seen[v.Dict.String(k)] {
						t.Fatalf("%s.%s: %q is twice in the dictionary", name, b.Table.Columns[i].Name, v.Dict.String(k))
					}
					seen[v.Dict.String(k)] = true
				}
			}
		})
	}
}

// TestFlowsAreReportedAsByACollector: open flows once a minute, at its last nanosecond, in order and with the same start; a
// flow that has ended never again.
func TestFlowsAreReportedAsByACollector(t *testing.T) {
	type state struct {
		start, at, end int64
		client, server uint32
		ended          bool
	}
	o := small
	o.Late = -1
	flows := map[int64]*state{}
	perMinute := map[int64]int{}
	rows, closed, short, restarted := 0, 0, 0, 0
	each(NewFlows(o), 60000, func(b *batch.Batch) {
		r := reader{b}
		at, start, end, id, isNew := r.num("time"), r.num("start_time"), r.num("end_time"), r.num("flow_id"), r.num("is_new")
		client, server := r.ids("client_tags"), r.ids("server_tags")
		for i := range b.N {
			rows++
			forced := r.text("close_type", i) == "forced_report"
			if start[i] > end[i] || end[i] > at[i] {
				t.Fatalf("start %d, end %d, time %d", start[i], end[i], at[i])
			}
			if forced != ((at[i]+1)%minute == 0 && forced) {
				t.Fatalf("an open flow is reported at %d", at[i])
			}
			s := flows[id[i]]
			if s == nil {
				s = &state{start: start[i], client: client[i], server: server[i], at: at[i] - 1}
				flows[id[i]] = s
				if isNew[i] == 0 && start[i] > o.StartNanos+defaultStart {
					t.Fatal("a flow whose first report is not new")
				}
			} else if isNew[i] != 0 {
				t.Fatal("a flow is new twice")
			}
			if s.ended || s.start != start[i] || s.at >= at[i] || s.end > end[i] || s.client != client[i] || s.server != server[i] {
				t.Fatalf("flow %d: %+v, then start %d time %d end %d", id[i], s, start[i], at[i], end[i])
			}
			s.at, s.end = at[i], end[i]
			if forced {
				perMinute[at[i]]++
			} else {
				s.ended = true
				closed++
				if isNew[i] != 0 {
					short++
				}
			}
			if client[i]>>slotBits > 0 {
				restarted++
			}
		}
	})
	if len(perMinute) < 10 {
		t.Fatalf("%d minutes", len(perMinute))
	}
	full := 0
	for _, n := range perMinute {
		if n == o.Flows {
			full++
		}
	}
	if full < len(perMinute)-1 {
		t.Errorf("%d of %d minutes have a report of each open flow", full, len(perMinute))
	}
	part := func(what string, n int, lo, hi float64) {
		if p := float64(n) / float64(rows); p < lo || p > hi {
			t.Errorf("%.3f of the rows are %s, want %v to %v", p, what, lo, hi)
		}
	}
	part("closed", closed, 0.4, 0.5) // 0.3 short, 1/4 of the flows a minute
	part("short", short, 0.28, 0.40)
	part("of restarted pods", restarted, 0.01, 0.3)
}

func TestLateRows(t *testing.T) {
	o := small
	o.Late = 0.02
	var newest int64
	rows, late, most := 0, 0, int64(0)
	each(NewFlows(o), 80000, func(b *batch.Batch) {
		for _, at := range (reader{b}).num("time") {
			rows++
			newest = max(newest, at)
			if by := newest - at; by > minute {
				late++
				most = max(most, by)
			}
		}
	})
	if p := float64(late) / float64(rows); p < 0.005 || p > 0.025 {
		t.Errorf("%.4f of the rows are more than a minute late", p)
	}
	if most < 3*minute || most > (mostLate+1)*minute {
		t.Errorf("the latest row is %d s late", most/1e9)
	}
}

// TestServicesAreZipf: the first services have most of the rows, and many have some.
func TestServicesAreZipf(t *testing.T) {
	rows := make([]int, services)
	hosts := map[string]bool{}
	each(NewFlows(Options{Seed: 3, Flows: 50000}), 60000, func(b *batch.Batch) {
		for _, id := range (reader{b}).ids("server_tags") {
			rows[serviceOf(podSlot(id))]++
			hosts[string(PodTags(id))] = true
		}
	})
	if first := float64(rows[0]) / 60000; first < 0.03 || first > 0.4 {
		t.Errorf("the first service has %.3f of the rows", first)
	}
	slices.Sort(rows)
	slices.Reverse(rows)
	head, some := 0, 0
	for i, n := range rows {
		if i < services/10 {
			head += n
		}
		if n > 0 {
			some++
		}
	}
	if p := float64(head) / 60000; p < 0.5 {
		t.Errorf("a tenth of the services has %.3f of the rows", p)
	}
	if some < services/2 {
		t.Errorf("%d services have rows", some)
	}
	if len(hosts) < 5000 {
		t.Errorf("%d tag sets", len(hosts))
	}
}

func TestTagSets(t *testing.T) {
	sets := map[string]bool{}
	values := map[string]map[string]bool{}
	for slot := range defaultPods {
		for restarts := range uint32(2) {
			set := PodTags(podID(slot, restarts))
			if sets[string(set)] {
				t.Fatalf("slot %d restart %d has another's tags", slot, restarts)
			}
			sets[string(set)] = true
			err := tags.Each(set, func(k, v []byte) {
				if values[string(k)] == nil {
					values[string(k)] = map[string]bool{}
				}
				values[string(k)][string(v)] = true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(values) != 18 {
		t.Errorf("%d keys", len(values))
	}
	for _, key := range []string{"host", "container", "version"} {
		if n := len(values[key]); n < manyValues*8/10 || n > manyValues {
			t.Errorf("%s has %d values", key, n)
		}
		for v := range values[key] {
			if len(v) != 16 {
				t.Fatalf("%s: %q", key, v)
			}
		}
	}
}

func TestAddressesDiffer(t *testing.T) {
	seen := map[[16]byte]bool{}
	for slot := range maxPods >> 3 {
		ip := podIP(podID(slot, 1))
		if seen[ip] {
			t.Fatalf("slot %d has another's address", slot)
		}
		seen[ip] = true
	}
	if podIP(podID(5, 0)) == podIP(podID(5, 1)) {
		t.Error("a restarted pod keeps its address")
	}
}

func TestSameSeedSameFlows(t *testing.T) {
	frame := func(seed uint64, n int) []byte {
		o := small
		o.Seed = seed
		g := NewFlows(o)
		var out []byte
		for rows := 0; rows < 12000; rows += n {
			b := g.Next(n)
			for _, at := range (reader{b}).num("bytes_rx") {
				out = append(out, byte(at), byte(at>>8))
			}
		}
		return out
	}
	if !bytes.Equal(frame(1, 1000), frame(1, 1000)) {
		t.Error("one seed, different rows")
	}
	if bytes.Equal(frame(1, 1000), frame(2, 1000)) {
		t.Error("two seeds, equal rows")
	}
}

// TestMemoryDoesNotGrow: the rows that wait, late ones among them, are bounded however many were made.
func TestMemoryDoesNotGrow(t *testing.T) {
	g := NewFlows(small)
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	each(g, 40000, func(*batch.Batch) {})
	before := live()
	each(g, 200000, func(*batch.Batch) {})
	if after := live(); after > before+8<<20 {
		t.Errorf("%d KiB live, then %d", before>>10, after>>10)
	}
	runtime.KeepAlive(g)
}

// TestSpansAreTrees: spans of a trace follow each other, each inside its parent, whose server is its client.
func TestSpansAreTrees(t *testing.T) {
	type span struct {
		trace      string
		start, end int64
		server     uint32
	}
	spans := map[string]span{}
	traces := map[string]int{}
	roots := 0
	each(NewSpans(small), 20000, func(b *batch.Batch) {
		r := reader{b}
		start, end := r.num("time"), r.num("end_time")
		for i := range b.N {
			s := span{r.text("trace_id", i), start[i], end[i], r.ids("server_tags")[i]}
			spans[r.text("span_id", i)] = s
			traces[s.trace]++
			parent := r.text("parent_span_id", i)
			if parent == "" {
				roots++
				continue
			}
			p, ok := spans[parent]
			if !ok || p.trace != s.trace || p.start > s.start || p.end < s.end || p.server != r.ids("client_tags")[i] {
				t.Fatalf("span %+v has the parent %+v", s, p)
			}
		}
	})
	if len(spans) != 20000 || roots != len(traces) {
		t.Errorf("%d span ids, %d traces, %d first spans", len(spans), len(traces), roots)
	}
	if mean := 20000 / float64(len(traces)); mean < 2 || mean > 15 {
		t.Errorf("%.1f spans in a trace", mean)
	}
}

func BenchmarkFlows(b *testing.B) {
	g := NewFlows(Options{Seed: 1})
	g.Next(8192)
	rows := 0
	for b.Loop() {
		rows += g.Next(8192).N
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

func BenchmarkSpans(b *testing.B) {
	g := NewSpans(Options{Seed: 1})
	rows := 0
	for b.Loop() {
		rows += g.Next(8192).N
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows), "ns/row")
}

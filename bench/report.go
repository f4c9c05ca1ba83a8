package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/flowlake/flowlake/bench/workload"
)

// report is what a run prints.
type report struct {
	Workload string `json:"workload"`
	Commit   string `json:"commit"`
	Machine  string `json:"machine"`
	// Systems are by name. What is more than one measurement of a system is told apart by a suffix: "flowlake.spans.flush".
	Systems map[string]system `json:"systems"`
	// Ratio is ours over the best peer, of what the workload is about: rows per second (more is better), bytes,
	// milliseconds or, at a given rate, CPU time (less is better). It is left out where there is no peer.
	Ratio float64 `json:"ratio,omitempty"`

	notes []string // what was found besides, for people
}

// system is what was measured of one. What does not apply is 0 and left out.
type system struct {
	Rows     int64   `json:"rows"`
	RowsPerS float64 `json:"rows_per_s,omitempty"`
	CPU      float64 `json:"cpu_s,omitempty"`
	PeakRSS  int64   `json:"peak_rss_bytes,omitempty"`
	Disk     int64   `json:"disk_bytes,omitempty"`
	P50      float64 `json:"p50_ms,omitempty"`
	P99      float64 `json:"p99_ms,omitempty"`
	// of packets
	BytesPerFlow float64 `json:"bytes_per_flow,omitempty"`
	GCShare      float64 `json:"gc_share,omitempty"`
}

// measured is the entry of a process's outcome. Times of several processes are merged before.
func measured(phase string, o *workload.Outcome, rss int64) system {
	s := system{Rows: o.Rows, Disk: o.Disk}
	if phase == workload.PhaseSize {
		return s
	}
	s.PeakRSS, s.CPU = rss, round(o.CPU, 3)
	s.P50, s.P99 = round(percentile(o.Millis, 0.5), 3), round(percentile(o.Millis, 0.99), 3)
	switch phase {
	case workload.PhaseIngest, workload.PhaseRollup, workload.PhaseTags:
		s.RowsPerS = math.Round(float64(o.Rows) / o.Seconds)
	case workload.PhaseScan:
		s.RowsPerS = math.Round(float64(o.Rows) * 1000 / percentile(o.Millis, 0.5))
	}
	return s
}

// percentile is the smallest value that at least that part of all does not exceed.
func percentile(all []float64, part float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[max(0, int(math.Ceil(part*float64(len(s))))-1)]
}

func round(v float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(v*p) / p
}

// atRate stands for the workload ingest at a given rate, in which rows per second say nothing.
const atRate = "ingest at a rate"

// figure is what the workload is about, and whether more of it is better.
func (s system) figure(kind string) (v float64, more bool) {
	switch kind {
	case "ingest", "scan":
		return s.RowsPerS, true
	case workload.PhasePackets:
		return s.RowsPerS, true
	case atRate:
		return s.CPU / float64(max(1, s.Rows)), false
	case "size":
		return float64(s.Disk) / float64(max(1, s.Rows)), false
	}
	return s.P50, false
}

// ratio is ours over the best of the peers; 0 without one.
func ratio(kind string, systems map[string]system, peers []string) float64 {
	ours, more := systems[ourName].figure(kind)
	if kind == workload.PhasePackets { // the peers read the file
		ours, more = systems[ourName+".file"].figure(kind)
	}
	var best float64
	for _, name := range peers {
		s, ok := systems[name]
		if v, _ := s.figure(kind); ok && (best == 0 || more == (v > best)) {
			best = v
		}
	}
	if best == 0 {
		return 0
	}
	return round(ours/best, 4)
}

// heads are the titles of table and Markdown.
var heads = []string{"system", "rows", "rows/s", "CPU s", "CPU us/row", "peak MiB", "disk MiB", "B/row", "p50 ms", "p99 ms"}

// lines are the rows of the table, ours first.
func (r *report) lines() [][]string {
	num := func(format string, v float64) string {
		if v == 0 {
			return ""
		}
		return fmt.Sprintf(format, v)
	}
	names := slices.SortedFunc(maps.Keys(r.Systems), func(a, b string) int {
		if x, y := strings.HasPrefix(a, ourName), strings.HasPrefix(b, ourName); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var out [][]string
	for _, name := range names {
		s := r.Systems[name]
		rows := float64(max(1, s.Rows))
		out = append(out, []string{name, fmt.Sprint(s.Rows), num("%.0f", s.RowsPerS), num("%.3g", s.CPU), num("%.3g", s.CPU*1e6/rows),
			num("%.0f", float64(s.PeakRSS)/(1<<20)), num("%.1f", float64(s.Disk)/(1<<20)), num("%.2f", float64(s.Disk)/rows),
			num("%.2f", s.P50), num("%.2f", s.P99)})
	}
	return out
}

// table prints the report for people.
func (r *report) table(out io.Writer) error {
	fmt.Fprintf(out, "%s, commit %s\n%s\n\n", r.Workload, r.Commit, r.Machine)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, line := range append([][]string{heads}, r.lines()...) {
		fmt.Fprintln(w, strings.Join(line, "\t")+"\t")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, n := range r.notes {
		fmt.Fprintln(out, n)
	}
	if r.Ratio == 0 {
		return nil
	}
	_, err := fmt.Fprintf(out, "\nours over the best peer: %.3g\n", r.Ratio)
	return err
}

// machine describes where this runs.
func machine() string {
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(info), "\n") {
			if name, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(load))
	return fmt.Sprintf("%d cores of %s, %s %s, %s, load average %s", runtime.NumCPU(), cpu, runtime.GOOS, strings.TrimSpace(string(kernel)),
		runtime.Version(), strings.Join(words[:min(3, len(words))], " "))
}

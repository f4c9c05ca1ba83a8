// Command report makes the table bench/results/stages.md of the output of the benchmarks in bench/stages.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/bench/revision"
)

func main() {
	command := flag.String("command", "", "the command whose output is read")
	files := flag.String("files", "unknown", "kind of file system the benchmarks wrote to")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *command, *files); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, command, files string) error {
	results, cpu, err := parse(in)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("no benchmark in the input")
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, head, command, machine(cpu, files), ownColumns)
	known := map[string]bool{}
	for _, s := range stages {
		known[s.bench] = true
		s.write(w, results)
	}
	for _, name := range names(results) {
		if base, _ := splitProcs(name); !known[base] {
			return fmt.Errorf("stage %s is not in the table: add it to stages.go", base)
		}
	}
	fmt.Fprintf(w, foot, ownColumns)
	return w.Flush()
}

// result is the values of a benchmark by unit, one for each run.
type result map[string][]float64

// parse reads the lines of go test -bench; a name ends in "-N" for N cores, without it for one.
func parse(in io.Reader) (results map[string]result, cpu string, err error) {
	results = map[string]result{}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if c, ok := strings.CutPrefix(line, "cpu: "); ok {
			cpu = c
		}
		if strings.HasPrefix(line, "--- FAIL") || strings.HasPrefix(line, "FAIL") {
			return nil, "", fmt.Errorf("a benchmark failed: %s", line)
		}
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if results[name] == nil {
			results[name] = result{}
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, "", fmt.Errorf("value of %s: %w", name, err)
			}
			results[name][f[i+1]] = append(results[name][f[i+1]], v)
		}
	}
	return results, cpu, lines.Err()
}

func names(results map[string]result) []string {
	var out []string
	for n := range results {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// splitProcs takes the number of cores off a benchmark's name.
func splitProcs(name string) (base string, procs int) {
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if n, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i], n
		}
	}
	return name, 1
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// find is the median of the unit that begins with prefix, and what comes after the prefix.
func (r result) find(prefix string) (v float64, rest string, ok bool) {
	for unit, values := range r {
		if after, yes := strings.CutPrefix(unit, prefix); yes {
			return median(values), after, true
		}
	}
	return 0, "", false
}

// number prints three significant digits.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func (s *stage) write(w io.Writer, results map[string]result) {
	for _, name := range names(results) {
		base, procs := splitProcs(name)
		if base != s.bench {
			continue
		}
		r := results[name]
		wall, what, _ := r.find("ns/")
		cpu, _, _ := r.find("cpu-ns/")
		title := s.title
		if procs > 1 {
			title += fmt.Sprintf(", %d cores", procs)
		}
		var more []string
		if v, _, ok := r.find("B/"); ok {
			more = append(more, number(v)+" B/"+what)
		}
		if v, _, ok := r.find("sets/batch"); ok {
			more = append(more, number(v)+" tag sets a batch")
		}
		if v, _, ok := r.find("merges/row"); ok {
			more = append(more, "each row merged "+number(v)+" times")
		}
		if v, _, ok := r.find("%rows"); ok && v < 100 {
			more = append(more, number(v)+" % of the rows")
		}
		if v, _, ok := r.find("allocs/"); ok && v >= 0.005 {
			more = append(more, number(v)+" allocs/"+what)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", title, what, number(wall), number(cpu), strings.Join(more, ", "), s.reference(), s.ratio(cpu))
	}
}

func machine(cpu, files string) string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	busy := strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " ")
	return fmt.Sprintf("%d cores of %s, %s %s, files on %s; %s; commit %s; %s; load average at the end %s",
		runtime.NumCPU(), cpu, runtime.GOOS, strings.TrimSpace(string(kernel)), files, runtime.Version(), revision.Commit(),
		time.Now().UTC().Format(time.DateOnly), busy)
}

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const output = `goos: linux
cpu: Some CPU
BenchmarkEncodeFrame 	 151	 77.94 B/row	 0.003 allocs/row	 483.7 cpu-ns/row	 480.6 ns/row	 3287 sets/batch
BenchmarkEncodeFrame 	 151	 77.94 B/row	 0.003 allocs/row	 164.0 cpu-ns/row	 170.0 ns/row	 3287 sets/batch
BenchmarkEncodeFrame 	 151	 77.94 B/row	 0.003 allocs/row	 143.0 cpu-ns/row	 150.0 ns/row	 3287 sets/batch
BenchmarkIngest-2 	 2	 1000 cpu-ns/row	 700 ns/row
PASS
`

func TestReport(t *testing.T) {
	var out strings.Builder
	if err := run(strings.NewReader(output), &out, "make it", "ext4"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`make it`", "flows: 69 columns", "ours by 69,", "Some CPU", "files on ext4",
		"| encode a frame of 8,192 rows | row | 170 | 164 | 77.9 B/row, 3287 tag sets a batch | 82.0 (dictionary + bit-pack) | 1.13 per column |\n",
		"compact, 2 cores | row | 700 | 1000 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestReportRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "no benchmark",
		"BenchmarkNew 1 2 ns/row\n":            "New is not in the table",
		"BenchmarkEncodeFrame 1 x ns/row\n":    "value of EncodeFrame",
		output + "--- FAIL: BenchmarkIngest\n": "a benchmark failed",
	} {
		if err := run(strings.NewReader(in), &strings.Builder{}, "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", in, err, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
}

// TestAllStagesKnown: a benchmark without a line in the table would be noticed only after minutes of measuring.
func TestAllStagesKnown(t *testing.T) {
	files, err := filepath.Glob("../*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no benchmarks", err)
	}
	known := map[string]bool{}
	for _, s := range stages {
		name, _, _ := strings.Cut(s.bench, "/")
		known[name] = true
	}
	declared := regexp.MustCompile(`(?m)^func Benchmark(\w+)\(`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			if !known[m[1]] {
				t.Errorf("%s: Benchmark%s is not in the table: add it to stages.go", f, m[1])
			}
			delete(known, m[1])
		}
	}
	for name := range known {
		t.Errorf("the table has %s, which no benchmark measures", name)
	}
}

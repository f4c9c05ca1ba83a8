package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/bench/peer"
	"github.com/flowlake/flowlake/bench/workload"
)

// TestMain lets the test program be the child of its own tests.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(exit(child(context.Background(), spec, os.Stdout)))
	}
	os.Exit(m.Run())
}

var (
	storing = []string{"cpu_s", "disk_bytes", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"}
	packets = []string{"cpu_s", "peak_rss_bytes", "rows", "rows_per_s"}
	asking  = []string{"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"}
)

// keys are what each entry of a report must have.
var keys = map[string]map[string][]string{
	"ingest": {"flowlake": {"cpu_s", "disk_bytes", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"},
		"flowlake.samples": {"cpu_s", "disk_bytes", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"}},
	"size": {
		"flowlake": {"disk_bytes", "rows"}, "flowlake.flush": {"disk_bytes", "rows"},
		"flowlake.spans": {"disk_bytes", "rows"}, "flowlake.spans.flush": {"disk_bytes", "rows"},
		"flowlake.samples": {"disk_bytes", "rows"}, "flowlake.samples.flush": {"disk_bytes", "rows"},
	},
	"scan":   {"flowlake": {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"}},
	"needle": {"flowlake": {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows"}},
	"rollup": {"flowlake": {"cpu_s", "disk_bytes", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"},
		"flowlake.1m":  {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"},
		"flowlake.raw": {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows", "rows_per_s"}},
	"tags": {"flowlake": storing, "flowlake.query": asking, "flowlake.strings": storing, "flowlake.strings.query": asking,
		"flowlake.ids": storing, "flowlake.ids.query": asking},
	"packets": {"flowlake": packets, "flowlake.flows": packets, "flowlake.million": append([]string{"bytes_per_flow"}, packets...),
		"flowlake.http": packets, "flowlake.file": packets},
	"start": {"flowlake": {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows"},
		"flowlake.log": {"cpu_s", "p50_ms", "p99_ms", "peak_rss_bytes", "rows"}},
}

func TestEveryWorkloadPrintsItsJSON(t *testing.T) {
	for _, k := range workload.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			var out, log bytes.Buffer
			if err := run(context.Background(), []string{k.Name, "--rows", "2000", "--peers", "none", "--json"}, &out, &log); err != nil {
				t.Fatalf("%v\n%s", err, &log)
			}
			var r struct {
				Workload, Commit, Machine string
				Systems                   map[string]map[string]float64
				Ratio                     *float64
			}
			d := json.NewDecoder(&out)
			d.DisallowUnknownFields()
			if err := d.Decode(&r); err != nil {
				t.Fatal(err)
			}
			if d.More() {
				t.Error("more than one JSON object")
			}
			if r.Workload != k.Name || r.Commit == "" || r.Machine == "" || r.Ratio != nil {
				t.Errorf("got %+v", r)
			}
			if got, want := slices.Sorted(maps.Keys(r.Systems)), slices.Sorted(maps.Keys(keys[k.Name])); !slices.Equal(got, want) {
				t.Fatalf("systems %q, want %q", got, want)
			}
			for name, s := range r.Systems {
				got := slices.Sorted(maps.Keys(s))
				// a kernel that counts CPU by ticks may see none in so little work
				got = slices.DeleteFunc(got, func(k string) bool { return k == "cpu_s" || k == "gc_share" })
				want := slices.DeleteFunc(slices.Clone(keys[k.Name][name]), func(k string) bool { return k == "cpu_s" || k == "gc_share" })
				if !slices.Equal(got, want) {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
				if s["rows"] != 2000 {
					t.Errorf("%s has %v rows", name, s["rows"])
				}
			}
		})
	}
}

// TestRateIsKept: rows that are offered slowly are not taken faster.
func TestRateIsKept(t *testing.T) {
	var out, log bytes.Buffer
	if err := run(context.Background(), []string{"ingest", "--rows", "20000", "--rate", "40000", "--peers", "none", "--json"}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	// the third and last batch is due after 16,384 rows
	if got := r.Systems[ourName].RowsPerS; got <= 0 || got > 40000*20000/16384 {
		t.Errorf("%v rows per second", got)
	}
}

// TestSustained: rows come for as long as is said, and the backlog is told.
func TestSustained(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results", "x.md")
	var out, log bytes.Buffer
	if err := run(context.Background(), []string{"ingest", "--seconds", "1", "--rows", "20000", "--peers", "none", "--out", file}, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	md, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"in the head", "due to be merged", "write amplification", "us a row", "| flowlake |", "`go run ./bench ingest --seconds 1 --rows 20000 --peers none`"} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the results do not have %q:\n%s", want, md)
		}
	}
	if strings.Contains(out.String(), ".samples") {
		t.Errorf("samples have no part in it:\n%s", &out)
	}
}

// TestEveryWorkloadIsExplained: its results say what was measured and what is not equal.
func TestEveryWorkloadIsExplained(t *testing.T) {
	for _, k := range workload.Kinds() {
		if a := about[k.Name]; a.what == "" || a.ratio == "" || a.equal == "" {
			t.Errorf("%s: %+v", k.Name, a)
		}
	}
}

func TestPeerThatCannotBeHadIsSkipped(t *testing.T) {
	t.Setenv(peer.PythonEnv, filepath.Join(t.TempDir(), "no-python"))
	var out, log bytes.Buffer
	if err := run(context.Background(), []string{"--peers=duckdb", "scan", "--rows=1000"}, &out, &log); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "duckdb is skipped: find Python") {
		t.Errorf("no reason is given:\n%s", &log)
	}
	if !strings.Contains(out.String(), "flowlake  1000") || strings.Contains(out.String(), "duckdb  ") || !strings.Contains(out.String(), "duckdb is skipped") {
		t.Errorf("got\n%s", &out)
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--help"}, &out, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	for _, k := range workload.Kinds() {
		if !strings.Contains(out.String(), "  "+k.Name+" ") {
			t.Errorf("help does not tell of %s:\n%s", k.Name, &out)
		}
	}
}

func TestWrongCommandLines(t *testing.T) {
	for args, want := range map[string]string{
		"":                               "name one workload, not 0",
		"scan size":                      "name one workload, not 2",
		"walk":                           `no workload "walk"`,
		"scan --rows -5":                 "negative",
		"ingest --rate -1":               "rows per second",
		"scan --rate 1000":               "of the workload ingest only",
		"scan --rows x":                  "invalid value",
		"scan --peers postgres":          `no peer "postgres"; there are chdb, duckdb, questdb, victoriametrics`,
		"ingest --seconds -1":            "of the workload ingest",
		"ingest --seconds 1 --rate 1000": "without --rate",
		"scan --seconds 1":               "of the workload ingest",
		"scan --colour":                  "not defined: -colour",
	} {
		err := run(context.Background(), strings.Fields(args), &bytes.Buffer{}, &bytes.Buffer{})
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestFolderWithFilesIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	err := run(context.Background(), []string{"scan", "--data", dir, "--peers", ""}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("got %v", err)
	}
}

func TestRatioIsOverTheBestPeer(t *testing.T) {
	systems := map[string]system{
		"flowlake": {Rows: 100, RowsPerS: 300, CPU: 1, Disk: 20, P50: 2},
		"chdb":     {Rows: 100, RowsPerS: 200, CPU: 4, Disk: 80, P50: 4},
		"duckdb":   {Rows: 50, RowsPerS: 100, CPU: 3, Disk: 20, P50: 8},
	}
	for kind, want := range map[string]float64{"ingest": 1.5, atRate: 0.25, "scan": 1.5, "size": 0.5, "needle": 0.5, "start": 0.5} {
		for _, peers := range [][]string{{"chdb", "duckdb"}, {"duckdb", "chdb"}} {
			if got := ratio(kind, systems, peers); got != want {
				t.Errorf("%s: %v, want %v", kind, got, want)
			}
		}
	}
	if got := ratio("scan", systems, nil); got != 0 {
		t.Errorf("without peers: %v", got)
	}
}

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		all  []float64
		part float64
		want float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.99, 7}, {[]float64{3, 1, 2}, 0.5, 2}, {[]float64{4, 3, 2, 1}, 0.5, 2}, {[]float64{1, 2, 3, 4}, 0.99, 4},
	} {
		if got := percentile(c.all, c.part); got != c.want {
			t.Errorf("percentile(%v, %v) = %v, want %v", c.all, c.part, got, c.want)
		}
	}
}

func TestNearly(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"x|1|100\ny|2|7", "x|1|101.5\ny|2|7", true},
		{"x|1|100", "x|1|107", false},
		{"x|1|100", "x|2|100", false},
		{"x|1|100", "x|1|100\ny|1|1", false},
		{"x|1|", "x|1|nan", true},
		{"x|1|NULL", "x|1|", true},
		{"x|1|", "x|1|3", false},
		{"3", "3", false},
	} {
		if got := nearly(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

func TestDifferentAnswersAreAnError(t *testing.T) {
	r := newRunner(options{}, t.TempDir(), &bytes.Buffer{})
	s := workload.Spec{Phase: workload.PhaseScan, Table: "flows", Queries: []string{"SELECT 1"}}
	if err := r.agree("flowlake", s, []string{"1"}); err != nil {
		t.Fatal(err)
	}
	if err := r.agree("chdb", s, []string{"1"}); err != nil {
		t.Fatal(err)
	}
	var wrong *wrongAnswer
	if err := r.agree("duckdb", s, []string{"2"}); !errors.As(err, &wrong) || wrong.a != "flowlake" || wrong.b != "duckdb" {
		t.Errorf("got %v", err)
	}
}

// Command bench compares Flowlake with other systems: each is put to the same workload with the same rows, in a process of
// its own, in one run. docs/guide/bench.md says what is measured and how.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/bench/peer"
	"github.com/flowlake/flowlake/bench/revision"
	"github.com/flowlake/flowlake/bench/workload"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if spec := os.Getenv(childEnv); spec != "" {
		os.Exit(exit(child(ctx, spec, os.Stdout)))
	}
	os.Exit(exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr)))
}

// exit is the exit code for an error, which it prints.
func exit(err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "bench: %v\nbench --help says how it is used\n", err)
		return 2
	}
	fmt.Fprintf(os.Stderr, "bench: %v\n", err)
	return 1
}

// errUsage is returned when the command line is wrong.
var errUsage = errors.New("wrong command line")

func usage(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(w, "Usage: go run ./bench WORKLOAD [--rows N] [--rate N | --seconds N] [--peers chdb,duckdb] [--data DIR] [--out FILE] [--json]\n\nWorkloads:\n")
	for _, k := range workload.Kinds() {
		fmt.Fprintf(w, "  %-8s %s (%d rows)\n", k.Name, k.Doc, k.Rows)
	}
	fmt.Fprint(w, "\nOptions:\n")
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprintf(w, "\nThe environment variable %s names the Python for the peers; the default is python3. What is not there is fetched\ninto the user's cache folder.\n", peer.PythonEnv)
}

// options are what the command line says.
type options struct {
	kind workload.Kind
	rows int
	rate int
	// seconds is how long an ingest goes on; 0: until all rows are written
	seconds int
	out     string // a file for the results in words
	peers   []string
	data    string
	seed    uint64
	json    bool
	list    bool // only name the workloads
	commit  bool // only name the commit
}

// parse reads the command line; options may come before and after the workload.
func parse(args []string, out io.Writer) (options, error) {
	var o options
	var peers string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&o.rows, "rows", 0, "`number` of rows; 0 means the workload's default")
	flags.IntVar(&o.rate, "rate", 0, "of ingest: `rows` offered per second; 0 means as many as are taken")
	flags.IntVar(&o.seconds, "seconds", 0, "of ingest: how many `seconds` of flows are written at full speed, whatever --rows says")
	flags.StringVar(&o.out, "out", "", "a `file` for the results in words (Markdown), besides what is printed")
	flags.StringVar(&peers, "peers", strings.Join(append(peer.Names(), packetPeers...), ","), "the other `systems`, by comma; empty or none for none")
	flags.StringVar(&o.data, "data", "", "`folder` for the files, which are left there; default a temporary one")
	flags.Uint64Var(&o.seed, "seed", 1, "chooses the rows: equal seeds give equal rows")
	flags.BoolVar(&o.commit, "commit", false, "print the commit that results are marked with and do nothing")
	flags.BoolVar(&o.list, "list", false, "print the names of the workloads and do nothing")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	var names []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			usage(out, flags)
			return o, err
		} else if err != nil {
			return o, fmt.Errorf("%w: %w", errUsage, err)
		}
		if args = flags.Args(); len(args) == 0 {
			break
		}
		names, args = append(names, args[0]), args[1:]
	}
	if o.commit || o.list {
		return o, nil
	}
	if len(names) != 1 {
		return o, fmt.Errorf("%w: name one workload, not %d", errUsage, len(names))
	}
	var err error
	if o.kind, err = workload.Named(names[0]); err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.rows < 0 {
		return o, fmt.Errorf("%w: --rows %d is negative", errUsage, o.rows)
	}
	if o.rate < 0 || o.rate > 0 && o.kind.Name != "ingest" {
		return o, fmt.Errorf("%w: --rate %d: it is a number of rows per second, of the workload ingest only", errUsage, o.rate)
	}
	if o.seconds < 0 || o.seconds > 0 && (o.kind.Name != "ingest" || o.rate > 0) {
		return o, fmt.Errorf("%w: --seconds %d: it is of the workload ingest without --rate", errUsage, o.seconds)
	}
	if o.rows == 0 {
		o.rows = o.kind.Rows
	}
	if o.seconds > 0 || o.rate > 0 {
		o.kind.Tables = o.kind.Tables[:1]
	}
	for name := range strings.SplitSeq(peers, ",") {
		if name = strings.TrimSpace(name); name == "" || name == "none" {
			continue
		}
		names := append(peer.Names(), packetPeers...)
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("%w: there is no peer %q; there are %s", errUsage, name, strings.Join(names, ", "))
		}
		o.peers = append(o.peers, name)
	}
	return o, nil
}

// run measures as the command line says and prints the report on out, what it does meanwhile on log.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if o.commit {
		_, err := fmt.Fprintln(out, revision.Commit())
		return err
	}
	if o.list {
		for _, k := range workload.Kinds() {
			fmt.Fprintln(out, k.Name)
		}
		return nil
	}
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "flowlake-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if err := empty(dir); err != nil {
		return err
	}
	r := newRunner(o, dir, log)
	report, err := r.run(ctx)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := report.write(o.out, args); err != nil {
			return err
		}
	}
	if o.json {
		return json.NewEncoder(out).Encode(report)
	}
	return report.table(out)
}

// empty makes the folder, or makes sure that there is nothing in it.
func empty(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("folder %s is not empty: its rows would be measured too", dir)
	}
	return err
}

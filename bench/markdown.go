package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// write writes the report as Markdown to a file, which appears whole or not at all.
func (r *report) write(path string, args []string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Workload %s\n\n%s\n\n", r.Workload, about[r.Workload].what)
	fmt.Fprintf(&b, "Command: `go run ./bench %s`\n\nMachine: %s\n\nCommit %s, %s\n\n", command(args), r.Machine, r.Commit, time.Now().UTC().Format(time.DateOnly))
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(heads)
	fmt.Fprintf(&b, "|---|%s\n", strings.Repeat("---:|", len(heads)-1))
	for _, line := range r.lines() {
		row(line)
	}
	if r.Ratio != 0 {
		fmt.Fprintf(&b, "\n**Ours over the best peer: %.3g** (%s)\n", r.Ratio, about[r.Workload].ratio)
	}
	if len(r.notes) > 0 {
		b.WriteString("\n")
		for _, n := range r.notes {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(strings.TrimSpace(n), "\n", " "))
		}
	}
	fmt.Fprintf(&b, "\n%s\n\n[The guide](../../docs/guide/bench.md) says more of how it is measured.\n", about[r.Workload].equal)
	tmp := path + ".tmp"
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(tmp, []byte(b.String()), 0o666); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return os.Rename(tmp, path)
}

// command is the arguments without the file of the results, which does not matter.
func command(args []string) string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch name, _, whole := strings.Cut(strings.TrimLeft(args[i], "-"), "="); {
		case !strings.HasPrefix(args[i], "-") || name != "out" && name != "data":
			out = append(out, args[i])
		case !whole:
			i++
		}
	}
	return strings.Join(out, " ")
}

// about is what the results of a workload say besides the figures.
var about = map[string]struct{ what, ratio, equal string }{
	"ingest": {
		"Durable batches of `flows` (69 columns, 18 tags a side), and of `samples`, until all rows are in segments. p50 and p99 are of one acknowledged batch.",
		"rows per second of `flows`, more is better; at a given rate CPU per row, less is better",
		"Equal: the rows, one writer, and that each batch is on disk when it is acknowledged (VictoriaMetrics: it never promises that). Not equal: ours are " +
			"batches of 8,192 columnar rows with tag sets by value; ClickHouse, DuckDB and QuestDB copy 65,536 rows from a table in memory of their own, with a " +
			"column for each tag; VictoriaMetrics parses requests of 8,192 samples. So p50 and p99 are not of equal batches. The peers' figures do not have " +
			"what a client or network would cost, nor do ours.",
	},
	"size": {
		"Bytes on disk: `.flush` as first written, the others after merging as far as the system goes.",
		"bytes per row of `flows`, less is better",
		"Equal: the rows. Not equal: peers have no tag sets, each tag is a column with the encoding their makers recommend. ClickHouse has ZSTD(1) everywhere, " +
			"DuckDB compresses lightly and does not sort, QuestDB does not compress. VictoriaMetrics keeps milliseconds.",
	},
	"scan": {
		"`GROUP BY server_port, l7_protocol` with a count and a sum over all rows of `flows`, files in the page cache.",
		"rows per second, more is better",
		"Equal: the rows, the question, the answers (compared), all cores for each system. All are merged or checkpointed before.",
	},
	"needle": {
		"The spans of one trace id, 12 ids; files out of the page cache and opened anew for each.",
		"p50, less is better",
		"Equal: the rows, the question, the answers (compared). ClickHouse has a Bloom filter on `trace_id`, DuckDB an index. Opening is not timed.",
	},
	"start": {
		"Opening the folder until `count(*)` is answered, files out of the page cache; `.log` with all rows still in the log.",
		"p50, less is better",
		"Equal: the rows, and that loading the program is not timed - except for QuestDB, a server whose Java virtual machine starts with it. ClickHouse and " +
			"QuestDB keep no rows in a log.",
	},
	"tags": {
		"Rows of flows with 18 tags a side, a port and a number of bytes: as one tag set a side, `.strings` as 36 columns of text, `.ids` as 36 columns of numbers and a table of " +
			"what they stand for, all in Flowlake; `chdb` has 36 columns `LowCardinality(String)`, `duckdb` 36 columns `VARCHAR`. Rows per second, CPU, memory and disk are of storing, p50 and p99 of " +
			"`GROUP BY server.service WHERE client.az = ...`, seven times after a first; `.query` has the CPU time and memory of that.",
		"p50 of the question, less is better",
		"Equal: the rows, the sort order (tag sets being told apart by their pods; DuckDB keeps rows as they come), the question, the answers (compared). Not equal: numbers are given to values " +
			"before the clock starts, as are the dictionaries of text in each of our batches, so `.ids` and `.strings` cost more than it says; the peers take 65,536 rows at once " +
			"and we 8,192. Memory is of the process with the rows that wait in it, whose form differs: the notes say how much of it they are.",
	},
	"packets": {
		"Packets to rows, in one goroutine: decoding, flow table, application protocols, rows of `flows`, `spans`, `network_1s` and `application_1s` as batches that nobody stores. A third " +
			"of the conversations each are DNS, HTTP/1 and TLS, 16,384 under way at a time, a million packets a virtual second. `rows` are packets and `rows/s` are those a second of CPU time, of one core therefore. " +
			"`.flows` makes rows of flows alone, `.million` those of a million connections that are open (opening them included), `.file` reads the first of the packets, some 700,000, from a pcap file; of `.http` the rows are requests of HTTP/1.",
		"packets a second of CPU time of `.file`, more is better",
		"Equal: the file. Not equal: `gopacket` only decodes headers (DecodingLayerParser, nothing allocated), without flows, requests or rows; `tshark` dissects and keeps conversations, its start is in its time. " +
			"Our packets lie in memory of their own as in a ring; reading them there misses the caches as often.",
	},
	"rollup": {
		"Rows of `network_1s` (100 a virtual second, 24.9 hours) come in and are rolled up by service every five minutes; then a dashboard asks for requests, bytes and " +
			"the 99th percentile of the round-trip time of the 20 busiest services in 24 hours. Rows per second, CPU, memory and disk are of storing, p50 and p99 of " +
			"asking. `.1m` asks the built-in rollup by minute and edge, `.raw` the rows themselves.",
		"p50 of the dashboard, less is better",
		"Equal: the rows, the question, the answers (compared; percentiles to 5 %). ClickHouse fills an AggregatingMergeTree by a materialised view with the same keys, " +
			"buckets and sketches of the same error; DuckDB has no rollups and is asked over the rows, with an exact percentile. Not equal: ours stores the sketches of " +
			"each row, the peers the one value that is in it, and only ours also keeps a rollup by minute and edge with every metric.",
	},
}

package workload

import (
	"fmt"
	"slices"
)

// Phases of a workload. Each runs in a process of its own.
const (
	PhaseIngest  = "ingest"   // write all rows, timing every batch
	PhaseSize    = "size"     // write all rows and weigh what is on disk
	PhaseLoad    = "load"     // write all rows; nothing is measured
	PhaseLoadWAL = "load-log" // as load, but the rows stay in the log
	PhaseScan    = "scan"     // ask Queries[0] again and again
	PhaseRollup  = "rollup"   // write all rows with a rollup declared
	PhaseTags    = "tags"     // write all rows, their tags in the spec's form, and merge
	PhaseNeedle  = "needle"   // open the files cold and ask one query, for each query
	PhaseStart   = "start"    // open the files cold and count the rows, once
	PhasePackets = "packets"  // make rows of packets, as the spec's form says
)

// Spec tells a process what to do; it travels as JSON.
type Spec struct {
	System string `json:"system"` // "flowlake" or the name of a peer
	Phase  string `json:"phase"`
	Table  string `json:"table"`
	// Form is what the tags of the workload tags are stored as, and what is made of packets; "" everywhere else.
	Form string `json:"form,omitempty"`
	// Rows is how many rows to write or to find; Pool is how many of them differ: after so many they come again, later.
	Rows int `json:"rows"`
	Pool int `json:"pool"`
	// ChunkRows is the number of rows a peer takes at once; Flowlake takes BatchRows.
	ChunkRows int    `json:"chunk_rows"`
	Seed      uint64 `json:"seed"`
	Dir       string `json:"dir"` // where the system keeps its files
	// Rate is how many rows per second an ingest offers; 0 is as many as are taken. Offered rows do not wait for the batch
	// before: the time of a batch counts from when it was due.
	Rate int `json:"rate,omitempty"`
	// Seconds, where it is not 0, is how long an ingest goes on, whatever Rows says.
	Seconds int `json:"seconds,omitempty"`
	// Repeat is how often a query of a scan is asked.
	Repeat  int      `json:"repeat,omitempty"`
	Queries []string `json:"queries,omitempty"`
	// For peers: files of ChunkRows rows each, the statement that makes the table, and those of its columns that the files
	// have, with those among them that are times, and ids.
	Chunks  []string `json:"chunks,omitempty"`
	Create  []string `json:"create,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Times   []string `json:"times,omitempty"`
	IDs     []string `json:"ids,omitempty"`
	// Program is the file of a peer that is not a Python package.
	Program string `json:"program,omitempty"`
	// ShiftNanos is how much later the rows of the pool come each time they come again.
	ShiftNanos int64 `json:"shift_nanos"`
}

// Outcome is what a process found; it travels as JSON. Peak memory is the parent's to see.
type Outcome struct {
	Rows      int64     `json:"rows"`
	Seconds   float64   `json:"seconds"`     // of the measured part
	CPU       float64   `json:"cpu_s"`       // of the measured part
	Disk      int64     `json:"disk_bytes"`  // of the table, at the end
	FlushDisk int64     `json:"flush_bytes"` // before merging; 0 where that was not measured
	Millis    []float64 `json:"millis"`      // of each batch or query
	// BytesPerFlow and GCShare are of packets: heap of a flow, and the part of the CPU time that went to the garbage collector.
	BytesPerFlow float64 `json:"bytes_per_flow,omitempty"`
	GCShare      float64 `json:"gc_share,omitempty"`
	// Notes are findings in words: one line each.
	Notes []string `json:"notes,omitempty"`
	// Answers are the rows of each query, for comparison between systems.
	Answers []string `json:"answers"`

	heapBefore int64
}

const (
	// BatchRows is the number of rows of a batch that Flowlake takes: as a busy agent sends it.
	BatchRows = 8 << 10
	// ChunkRows is the number of rows that a peer takes at once: what ClickHouse and DuckDB ask for.
	ChunkRows = 64 << 10
	// PoolRows is how many different rows a workload has that says the same rows may come again.
	PoolRows = 512 << 10
	// samplesSeries is the number of series of the table samples: each batch is a scrape of all of them.
	samplesSeries = BatchRows
)

// poolNanos is how much later a table's pool comes each time it comes again: what it spans, for flows, which are reported at
// the ends of minutes, in whole minutes.
var poolNanos = map[string]int64{"flows": 120e9, "samples": PoolRows / samplesSeries * 15e9, EdgesTable: 88 * 60e9, TaggedTable: 120e9}

// Kind is a workload by name.
type Kind struct {
	Name string
	// Rows is the default number of rows.
	Rows int
	// Tables are those whose rows it writes; the ratio is of the first.
	Tables []string
	// Cycle says that a pool of rows may come again and again, later each time.
	Cycle bool
	Doc   string
}

// Kinds are the workloads there are.
func Kinds() []Kind {
	return []Kind{
		{"ingest", 4 << 20, []string{"flows", "samples"}, true, "durable batches of flows, 18 tags a side, and of samples; one writer"},
		{"size", 1 << 20, []string{"flows", "spans", "samples"}, false, "bytes on disk at flush and after merging"},
		{"scan", 4 << 20, []string{"flows"}, true, "group by two columns over all rows, warm"},
		{"needle", 2 << 20, []string{"spans"}, false, "the spans of one trace, files cold"},
		{"rollup", RollupRows, []string{EdgesTable}, true, "rows of edges by second, rolled up; then 24 hours by service with p99"},
		{"tags", 2 << 20, []string{TaggedTable}, true, "18 tags a side as sets, as columns of text and as columns of numbers: storing them and a question"},
		{"start", 2 << 20, []string{"flows"}, true, "open the folder and count its rows, files cold; again with the rows in the log"},
		{PhasePackets, 8 << 20, []string{PhasePackets}, true, "packets to rows of flows, spans and edges; a million open flows; HTTP/1 requests"},
	}
}

// Named is the workload of that name.
func Named(name string) (Kind, error) {
	all := Kinds()
	if i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == name }); i >= 0 {
		return all[i], nil
	}
	return Kind{}, fmt.Errorf("there is no workload %q", name)
}

// Spec is the spec of a phase of the workload over a table. Rows are rounded up to whole chunks once there is more than
// one, so that every system gets the same rows.
func (k Kind) Spec(table string, rows int, seed uint64) Spec {
	s := Spec{Table: table, Rows: rows, Pool: rows, ChunkRows: ChunkRows, Seed: seed, ShiftNanos: poolNanos[table]}
	if rows <= ChunkRows {
		s.ChunkRows = rows
	} else {
		s.Rows = (rows + ChunkRows - 1) / ChunkRows * ChunkRows
		s.Pool = s.Rows
		if k.Cycle {
			s.Pool = min(s.Rows, PoolRows)
		}
	}
	return s
}

// GroupBy is the question of the workload scan, for all systems.
const GroupBy = "SELECT server_port, l7_protocol, count(*), sum(bytes_rx) FROM flows GROUP BY server_port, l7_protocol ORDER BY server_port, l7_protocol"

// Needle is the question of the workload needle.
func Needle(traceID string) string {
	return "SELECT count(*), sum(duration_us) FROM spans WHERE trace_id = '" + traceID + "'"
}

package main

import (
	"fmt"

	"github.com/flowlake/flowlake/db/schema"
)

// stage is a line of the table.
type stage struct {
	bench string
	title string
	// ref is the CPU time of the same step in the reference measurements, in ns per row or packet, 0 where there is none;
	// note says what it was.
	ref  float64
	note string
	// columns is the number of columns of the reference's row where the step handles all of them, else 0.
	columns int
}

// ownColumns is the number of columns of a row of flows.
var ownColumns = len(schema.Flows().Columns)

// stages are in the order of the journey.
var stages = []stage{
	{"DecodePacket", "decode a packet (TCP and UDP, a tenth in VXLAN)", 781, "all of DeepFlow's agent, UDP flood", 0},
	{"FlowUpdate/established", "packet of an open flow, 100,000 open", 0, "", 0},
	{"FlowUpdate/conversation", "packet of a short connection, report included", 0, "", 0},
	{"BuildRows", "set a row's columns one by one (reading the source row included)", 0, "", 0},
	{"EncodeFrame", "encode a frame of 8,192 rows", 82, "dictionary + bit-pack", 39},
	{"DecodeFrame/columns=all", "open a frame, decode all columns", 60, "estimate", 39},
	{"DecodeFrame/columns=3", "open a frame, decode 3 columns", 0, "", 0},
	{"AppendLog/sync=on", "append to the log, fdatasync for every 8,192 rows", 80, "raft-wal + fsync, 40 B a row", 39},
	{"AppendLog/sync=off", "append to the log, no sync", 0, "", 0},
	{"InternTags/hit", "find the id of a known set of 18 tags", 15, "string to id in a Go map of 10,000", 0},
	{"InternTags/miss", "give a new set of 18 tags an id, index it", 0, "", 0},
	{"AppendHead", "open a frame, intern its tags, add it to the head", 13, "append to the memtable", 39},
	{"Write/sync=off", "DB.Write: check, encode, log, head; no sync", 175, "encode + log + memtable", 39},
	{"Write/sync=on", "DB.Write with sync, one writer", 175, "encode + log + memtable", 39},
	{"WriteKnown/sync=off", "DB.Write, all tag sets known; no sync", 175, "encode + log + memtable", 39},
	{"WriteKnown/sync=on", "DB.Write with sync, all tag sets known", 175, "encode + log + memtable", 39},
	{"SortRows", "order of 131,072 rows for a flush", 0, "", 0},
	{"WriteSegment", "gather, encode, compress, write, sync a segment", 190, "encode + zstd without gather", 39},
	{"Flush", "DB.Flush: decode, sort, gather, write segments", 337, "sort + gather 147, encode + zstd 190", 39},
	{"FlushLarge/flows", "the same for heads of 96 MiB", 337, "sort + gather 147, encode + zstd 190", 39},
	{"FlushLarge/spans", "the same for spans", 0, "", 0},
	{"FlushRollup", "DB.Flush with a rollup over all metrics of the rows", 0, "", 0},
	{"Backfill", "roll up rows that are in segments already", 0, "", 0},
	{"Compact", "merge 8 segments into one", 300, "estimate: one re-read + rewrite", 39},
	{"Ingest", "sustained: write with sync, flush, compact", 812, "sum of the above with an estimate for compaction, without rollup", 39},
	{"ScanHead", "scan 3 columns of the head", 0, "", 0},
	{"ScanSegments", "scan 3 columns of segments", 8.4, "parquet-go pages to typed slices", 0},
	{"Filter", "scan 1 column where l7_protocol = 'mysql'", 0, "", 0},
	{"GroupBy/rows=segments", "SQL: count and sum by server.service (one of 18 tags), in segments", 9.7, "read 3 columns 8.4 + dense group by 1.0 to 1.3, no SQL", 0},
	{"GroupBy/rows=head", "the same, in the head", 0, "", 0},
}

const head = `# What a row costs, stage by stage

Medians of repeated runs. *CPU* is user + system time of the whole process, garbage collection and background work
included; the machine is shared, so it says more than the wall clock. Rows are those of the table flows: %[3]d columns, 8,192
to a batch, zipf over a few thousand pairs of pods, each pod with a set of 18 tags (bench/gen). One core unless a line says
otherwise.

Command: ` + "`%[1]s`" + `

Machine: %[2]s

| stage | per | wall ns | CPU ns | besides | reference, CPU ns | CPU, times the reference |
|---|---|---|---|---|---|---|
`

const foot = `
The *reference* figures were measured before Flowlake was written, on a machine of the same kind, as CPU time on one core
with the best of 3 to 5 runs: a prototype over the same libraries, with a row of 39 columns (one time, 18 integer codes for
tags, 18 counters, 2 short strings) and no tag sets, addresses or NULLs. They are no other system's figures, except for
DeepFlow's, whose documentation states 1.28 million packets a second for its whole agent on one core (capture included).
Where a step handles every column of a row, the last column compares the time per column: ours by %d, theirs by 39.
`

func (s *stage) reference() string {
	if s.ref == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s)", number(s.ref), s.note)
}

func (s *stage) ratio(cpu float64) string {
	if s.ref == 0 || cpu == 0 {
		return ""
	}
	r := cpu / s.ref
	if s.columns > 0 {
		return number(r*float64(s.columns)/float64(ownColumns)) + " per column"
	}
	return number(r)
}

package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/packetring"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/ingest"
)

// counter is a figure of one stage on the way from the wire to the disk: what system.ingest lists and /metrics shows, as
// flowlake_<stage>_<name>_total{cause="..."}.
type counter struct {
	stage, name, cause string
	value              float64
	gauge              bool
	doc                string
}

// counts collects the figures of one stage.
type counts struct {
	stage string
	list  []counter
}

func (c *counts) add(name, doc string, value float64) {
	c.list = append(c.list, counter{stage: c.stage, name: name, doc: doc, value: value})
}

func (c *counts) now(name, doc string, value float64) {
	c.list = append(c.list, counter{stage: c.stage, name: name, doc: doc, value: value, gauge: true})
}

// by adds a figure for each cause.
func by[T int64 | uint64](c *counts, name, doc string, causes map[string]T) {
	for _, k := range slices.Sorted(maps.Keys(causes)) {
		c.list = append(c.list, counter{stage: c.stage, name: name, cause: k, doc: doc, value: float64(causes[k])})
	}
}

func collectorCounters(m collector.Metrics) []counter {
	c := &counts{stage: "capture"}
	c.add("packets", "packets taken from the kernel", float64(m.Capture.Packets))
	c.add("bytes", "bytes of them", float64(m.Capture.Bytes))
	by(c, "dropped_packets", "packets lost before they were looked at", map[string]uint64{
		"ring_full": m.Capture.KernelDrops, "unknown_link": m.Capture.Ignored})
	by(c, "undecoded_packets", "packets that are no flow's", m.Undecoded)
	f := m.Flow
	c.stage = "flow"
	c.now("open", "flows followed now", float64(f.Open))
	c.now("table_bytes", "memory of the flow tables", float64(f.TableBytes))
	c.add("created", "flows seen to begin", float64(f.Created))
	c.add("closed", "flows seen to end", float64(f.Closed))
	c.add("reports", "rows of flows made", float64(f.Reports))
	c.add("evicted", "flows ended early because there were too many", float64(f.Evicted))
	c.add("early_seconds", "times that seconds of flows were told before they were over: too many had traffic", float64(f.EarlySeconds))
	c.add("late_seconds", "times that a packet belonged to an earlier second than those before it", float64(f.LateSeconds))
	by(c, "ignored_packets", "packets that were not counted in a flow", map[string]uint64{
		"time": f.IgnoredTime, "late": f.IgnoredLate, "fragment": f.IgnoredFragment})
	by(c, "unmeasured_packets", "packets counted in their flow but not measured", map[string]uint64{
		"flags": f.UnmeasuredFlags, "late": f.UnmeasuredLate, "overlap": f.UnmeasuredOverlap})
	l := f.L7
	c.stage = "l7"
	c.now("connections", "connections whose requests are followed now", float64(l.Conns))
	c.now("buffered_bytes", "memory of incomplete messages", float64(l.Buffered))
	c.add("requests", "requests seen", float64(l.Requests))
	c.add("responses", "responses seen", float64(l.Responses))
	c.add("unrecognised", "connections whose protocol was not recognised", float64(l.GaveUp))
	c.add("parse_failures", "messages that could not be parsed", float64(l.ParseFailures))
	c.add("gap_bytes", "bytes of messages never seen", float64(l.GapBytes))
	by(c, "dropped_messages", "messages not made a span, or made half of one", map[string]uint64{
		"wrong_side": l.WrongSide, "duplicate": l.Duplicates, "unpaired": l.Unpaired, "timeout": l.Timeouts,
		"too_many": l.EvictedPending, "lost_pairing": l.LostPairing, "window": l.DroppedWindow, "buffer": l.DroppedBuffer})
	c.stage = "edges"
	by(c, "rows", "rows of edges made, by table", map[string]uint64{"network_1s": m.Edges.NetworkRows, "application_1s": m.Edges.ApplicationRows})
	c.add("early_rows", "rows of them made before their second was over: too many edges", float64(m.Edges.EarlyRows))
	c.add("others", "times that something counted as the edge of all others: far too many edges", float64(m.Edges.Others))
	c.stage = "collector"
	c.add("rows", "rows handed to the pipeline", float64(m.Rows))
	c.now("queued_batches", "batches that wait for the pipeline", float64(m.QueuedBatches))
	by(c, "dropped_rows", "rows lost in the collector", m.DroppedRows)
	return c.list
}

func ringCounters(m packetring.Metrics) []counter {
	c := &counts{stage: "packet_ring"}
	c.add("packets", "packets written to the packet ring", float64(m.Packets))
	c.add("bytes", "bytes of files written for them", float64(m.Bytes))
	by(c, "dropped_packets", "packets that are not in the packet ring", map[string]uint64{"buffer": m.DroppedBuffer, "disk": m.DroppedDisk})
	c.now("files", "files of the packet ring", float64(m.Files))
	c.now("disk_bytes", "bytes of them", float64(m.DiskBytes))
	c.now("oldest_seconds", "time of its oldest packet, Unix seconds; 0 when there is none", float64(m.OldestNanos)/1e9)
	return c.list
}

func pipelineCounters(m ingest.Metrics) []counter {
	c := &counts{stage: "pipeline"}
	c.add("rows", "rows taken and acknowledged", float64(m.Rows))
	c.add("batches", "batches taken and acknowledged", float64(m.Batches))
	c.add("groups", "batches they were put together to", float64(m.Groups))
	c.now("queue_bytes", "bytes that wait to be stored", float64(m.QueueBytes))
	by(c, "dropped_rows", "rows left out of what was acknowledged", m.Dropped)
	by(c, "refused_rows", "rows whose sender was told that they are not stored", m.Refused)
	return c.list
}

func dbCounters(m db.Metrics) []counter {
	c := &counts{stage: "db"}
	c.add("writes", "batches acknowledged", float64(m.Writes))
	c.add("rows", "rows acknowledged", float64(m.Rows))
	c.add("bytes", "encoded bytes acknowledged", float64(m.Bytes))
	by(c, "refused_rows", "rows not taken", m.Refused)
	c.add("stalls", "times that a write waited for a flush", float64(m.Stalls))
	c.add("tag_overflows", "tag sets replaced by the empty one because there were too many", float64(m.TagOverflow))
	c.now("head_rows", "rows that are not in segments yet", float64(m.HeadRows))
	c.now("head_bytes", "encoded bytes of them", float64(m.HeadBytes))
	c.now("segments", "segments there are", float64(m.Segments))
	c.now("segment_rows", "rows in segments", float64(m.SegmentRows))
	c.now("segment_bytes", "bytes of segments on disk", float64(m.SegmentBytes))
	c.now("tag_sets", "distinct tag sets", float64(m.TagSets))
	c.now("tag_keys", "distinct tag keys", float64(m.TagKeys))
	c.now("tag_bytes", "memory of tag sets", float64(m.TagBytes))
	c.now("open_segments", "segments that are held open", float64(m.OpenSegments))
	c.now("segment_index_bytes", "memory of the indexes of open segments", float64(m.IndexBytes))
	c.now("tag_bytes_per_set", "memory that each tag set takes, all its tags together", float64(m.TagBytes)/float64(max(m.TagSets, 1)))
	c.now("cache_bytes", "memory of decoded dictionaries that are kept", float64(m.CacheBytes))
	c.add("flushes", "times that rows went to segments", float64(m.Flushes))
	c.add("flushed_rows", "rows that did", float64(m.FlushedRows))
	c.add("flushed_bytes", "bytes of segments made of them", float64(m.FlushedBytes))
	c.add("compactions", "merges of segments", float64(m.Compactions))
	c.add("compacted_rows", "rows rewritten by merges", float64(m.CompactedRows))
	c.add("compacted_bytes", "bytes written by merges", float64(m.CompactedBytes))
	c.now("unmerged_segments", "segments that are due to be merged", float64(m.Unmerged))
	c.now("write_amplification", "bytes written to segments, over those that flushes wrote", m.WriteAmplification())
	c.add("expired_rows", "rows dropped because of their age", float64(m.ExpiredRows))
	c.add("rollup_rows", "rows taken into rollups, once for each", float64(m.RollupRows))
	c.add("rollup_partials", "partial rows that they became", float64(m.RollupPartials))
	c.add("backfilled_segments", "segments rolled up after they were written", float64(m.BackfilledSegments))
	c.add("quarantined_segments", "damaged segments set aside", float64(m.Quarantined))
	c.add("scrubbed_files", "files read and checked in the background", float64(m.ScrubbedFiles))
	c.add("scrubbed_bytes", "bytes of them", float64(m.ScrubbedBytes))
	c.add("scrub_problems", "of them, those with damage", float64(m.ScrubProblems))
	c.add("background_errors", "background work that failed and is tried again", float64(m.BackgroundErrors))
	c.stage = "tag"
	by(c, "refused", "rows not taken because their tag sets would pass this limit", m.TagRefused)
	c.stage = "wal"
	c.add("appends", "appends to the log acknowledged", float64(m.Log.Appends))
	c.add("written_bytes", "bytes written to the log", float64(m.Log.WrittenBytes))
	c.add("syncs", "times that the log was made durable", float64(m.Log.Syncs))
	c.add("sync_seconds", "time spent on that", float64(m.Log.SyncNanos.Sum)/1e9)
	c.add("sync_errors", "times that it failed", float64(m.Log.SyncErrors))
	c.add("write_errors", "writes to the log that failed", float64(m.Log.WriteErrors))
	c.now("segments", "files of the log", float64(m.Log.Segments))
	c.now("disk_bytes", "bytes reserved by them", float64(m.Log.DiskBytes))
	return c.list
}

// promCounters shows counters to Prometheus as they are when asked.
type promCounters struct{ read func() []counter }

var _ prometheus.Collector = promCounters{}

// Describe implements prometheus.Collector; there are no fixed descriptions.
func (promCounters) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (p promCounters) Collect(ch chan<- prometheus.Metric) {
	for _, c := range p.read() {
		name, kind := fmt.Sprintf("flowlake_%s_%s", c.stage, c.name), prometheus.GaugeValue
		if !c.gauge {
			name, kind = name+"_total", prometheus.CounterValue
		}
		var labels, values []string
		if c.cause != "" {
			labels, values = []string{"cause"}, []string{c.cause}
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, upperFirst(c.doc)+".", labels, nil), kind, c.value, values...)
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		ch <- m
	}
}

func upperFirst(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

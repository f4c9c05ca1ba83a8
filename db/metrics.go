package db

import (
	"sync/atomic"

	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/wal"
)

// counters count since Open.
type counters struct {
	writes, rows, bytes                                               atomic.Int64
	refusedBad                                                        atomic.Int64
	refusedTagSets, refusedTagBytes, refusedTagKeys, refusedTagValues atomic.Int64
	refusedBusy, refusedLog                                           atomic.Int64
	stalls, tagOverflow                                               atomic.Int64
	flushes, flushedRows                                              atomic.Int64
	flushedBytes                                                      atomic.Int64
	compactions, compactedRows                                        atomic.Int64
	compactedBytes, expiredRows                                       atomic.Int64
	quarantined, backgroundErrors                                     atomic.Int64
	scrubbedFiles, scrubbedBytes                                      atomic.Int64
	scrubRounds, scrubProblems                                        atomic.Int64
	rollupRows, rollupPartials                                        atomic.Int64
	backfilledSegments                                                atomic.Int64
}

// Metrics is the state of a database and what it has done since Open.
type Metrics struct {
	// Writes, Rows and Bytes are acknowledged batches, their rows, and their encoded size.
	Writes, Rows, Bytes int64
	// Refused is rows that Write did not take, by cause: "bad_batch", "tag_limit", "busy", "log".
	Refused map[string]int64
	// Stalls is how often Write had to wait for a flush.
	Stalls int64
	// TagOverflow is how often a tag set was replaced by the empty one because the store was full.
	TagOverflow int64
	// HeadRows and HeadBytes are what is not in segments yet.
	HeadRows, HeadBytes int64
	// Segments, SegmentRows and SegmentBytes are what is.
	Segments, SegmentRows, SegmentBytes int64
	// Unmerged is the number of segments that are due to be merged (Options.MaxUnmerged).
	Unmerged int64
	// TagRefused is the rows of Refused["tag_limit"] by the limit that their tag sets would have passed: "sets", "bytes",
	// "keys", "values" (Options.MaxTagSets and the next).
	TagRefused map[string]int64
	// TagSets and TagKeys are the numbers of distinct tag sets and tag keys, TagBytes their memory in bytes.
	TagSets, TagKeys, TagBytes int64
	// CacheBytes is the memory of decoded dictionaries that are kept (Options.CacheBytes).
	CacheBytes int64
	// OpenSegments is how many segments are open (Options.MaxOpenFiles), IndexBytes what their indexes take (Options.IndexBytes).
	OpenSegments int
	IndexBytes   int64

	Flushes, FlushedRows, FlushedBytes         int64
	Compactions, CompactedRows, CompactedBytes int64
	ExpiredRows                                int64
	Quarantined                                int64
	BackgroundErrors                           int64
	// ScrubbedFiles and ScrubbedBytes are what the scrubber has read, ScrubRounds how often it came to the end, and
	// ScrubProblems what it found.
	ScrubbedFiles, ScrubbedBytes, ScrubRounds, ScrubProblems int64
	// RollupRows are the rows that flushes and backfills took into rollups, once for each rollup; RollupPartials the partial
	// rows that they became; BackfilledSegments the segments that were rolled up after they were written.
	RollupRows, RollupPartials, BackfilledSegments int64
	// Log is the log's own metrics; zero with Options.ExternalLog.
	Log wal.Metrics
}

// refuseTags counts rows that a limit of tag sets kept out.
func (c *counters) refuseTags(cause tags.Cause, rows int64) {
	switch cause {
	case tags.CauseBytes:
		c.refusedTagBytes.Add(rows)
	case tags.CauseKeys:
		c.refusedTagKeys.Add(rows)
	case tags.CauseValues:
		c.refusedTagValues.Add(rows)
	default:
		c.refusedTagSets.Add(rows)
	}
}

func (c *counters) tagRefused() map[string]int64 {
	return map[string]int64{
		string(tags.CauseSets): c.refusedTagSets.Load(), string(tags.CauseBytes): c.refusedTagBytes.Load(),
		string(tags.CauseKeys): c.refusedTagKeys.Load(), string(tags.CauseValues): c.refusedTagValues.Load(),
	}
}

func sum(counts map[string]int64) (n int64) {
	for _, x := range counts {
		n += x
	}
	return n
}

// WriteAmplification is how often a byte of a segment has been written since Open: once by its flush, and again by each
// merge it went through. It is 1 while nothing was merged, and 0 before the first flush.
func (m *Metrics) WriteAmplification() float64 {
	if m.FlushedBytes == 0 {
		return 0
	}
	return float64(m.FlushedBytes+m.CompactedBytes) / float64(m.FlushedBytes)
}

// Metrics is a snapshot.
func (d *DB) Metrics() Metrics {
	c, t := &d.counts, d.tags.Stats()
	m := Metrics{
		Writes: c.writes.Load(), Rows: c.rows.Load(), Bytes: c.bytes.Load(),
		Refused: map[string]int64{
			"bad_batch": c.refusedBad.Load(), "tag_limit": sum(c.tagRefused()),
			"busy": c.refusedBusy.Load(), "log": c.refusedLog.Load(),
		},
		Stalls: c.stalls.Load(), TagOverflow: c.tagOverflow.Load(),
		TagRefused: c.tagRefused(), TagSets: int64(t.Sets), TagKeys: int64(t.Keys), TagBytes: t.Bytes,
		CacheBytes: d.cache.Bytes(),
		Flushes:    c.flushes.Load(), FlushedRows: c.flushedRows.Load(), FlushedBytes: c.flushedBytes.Load(),
		Compactions: c.compactions.Load(), CompactedRows: c.compactedRows.Load(), CompactedBytes: c.compactedBytes.Load(),
		ExpiredRows: c.expiredRows.Load(), Quarantined: c.quarantined.Load(), BackgroundErrors: c.backgroundErrors.Load(),
		ScrubbedFiles: c.scrubbedFiles.Load(), ScrubbedBytes: c.scrubbedBytes.Load(),
		ScrubRounds: c.scrubRounds.Load(), ScrubProblems: c.scrubProblems.Load(),
	}
	m.RollupRows, m.RollupPartials = c.rollupRows.Load(), c.rollupPartials.Load()
	m.Unmerged = d.backlog.Load()
	m.BackfilledSegments = c.backfilledSegments.Load()
	m.OpenSegments, m.IndexBytes = d.cache.Open()
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, h := range append(d.sealed[:len(d.sealed):len(d.sealed)], d.active) {
		s := h.Stats()
		m.HeadRows += s.Rows
		m.HeadBytes += s.Bytes
	}
	for _, list := range d.segments {
		for _, s := range list {
			m.Segments++
			m.SegmentRows += s.meta.Rows
			m.SegmentBytes += s.meta.Bytes
		}
	}
	if d.log != nil {
		m.Log = d.log.Metrics()
	}
	return m
}

func (d *DB) backgroundError(action string, err error) {
	d.counts.backgroundErrors.Add(1)
	if f := d.opts.Events.BackgroundError; f != nil {
		f(action, err)
	}
}

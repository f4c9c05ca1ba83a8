package db

import (
	"fmt"
	"runtime"
	"time"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// Options tune a database. The zero value of a field means its default.
type Options struct {
	// FS is where the folder lies; default the operating system's file system.
	FS vfs.FS
	// Tables are the tables there are; default schema.Builtin(). A table that has segments must stay defined.
	Tables *schema.Registry
	// BudgetBytes is the memory that the database is to get along with, in bytes: heads, flushes, merges and tag sets
	// together, without what scans hold, which is their caller's. Where it is less than their sum, the defaults of
	// HeadBytes, MemoryBytes, FlushRows, MergeBytes, CacheBytes, IndexBytes, PageRows and MaxTagSets follow from it. What is set by hand stands. The
	// garbage of the runtime is not in it: a process should be allowed about twice as much, and say so to the runtime
	// (debug.SetMemoryLimit). At least 32 MiB; default 0: the defaults as they stand at each field.
	BudgetBytes int64
	// HeadBytes is the size of encoded rows at which the head is flushed to segments. Default 32 MiB.
	HeadBytes int64
	// HeadAge is the age at which a head with rows is flushed. Default 1 minute.
	HeadAge time.Duration
	// MemoryBytes bounds the encoded rows that are not in segments yet; past it Write waits. Default 4 times HeadBytes,
	// and at least that.
	MemoryBytes int64
	// MaxWait is how long Write waits for room under MemoryBytes before it returns ErrBusy. Default 5 seconds.
	MaxWait time.Duration
	// FlushRows bounds the rows that a flush decodes and sorts at once, and so its memory (some 350 bytes a row of the
	// table flows, at most about 1 KiB of a wide table) and the size of the segments it makes. Default 524288, which is a
	// head of HeadBytes or a little less: larger segments are merged fewer times.
	FlushRows int
	// MergeBytes bounds what a merge holds of rows, of all inputs together (some 250 bytes a row of the table flows, of up to a
	// million). Where a page of each does not fit, fewer are merged at a time. Default 256 MiB.
	MergeBytes int64
	// MaxUnmerged is the number of segments due to be merged at which flushes wait for merges, and so writers, when unflushed
	// rows reach MemoryBytes; from half of it on merges do not yield to writers any more. Default 32; negative: no bound.
	MaxUnmerged int
	// PageRows is the number of rows in a page of a segment: 64 to 65536. A merge holds a page of each input at least. Default 16384.
	PageRows int
	// Portable has segments leave out BYTE_STREAM_SPLIT, which older readers of Parquet do not know (arrow/go v15, Spark's
	// vectorised reader). They are some 15 % larger then. Segments that are there stay as they are until they are merged.
	Portable bool
	// CacheBytes bounds the decoded dictionaries of segments that are kept between reads; what a query reads beyond it is
	// decoded again. Default 64 MiB; negative: none are kept.
	CacheBytes int64
	// IndexBytes bounds the indexes of open segments (footers: about 70 bytes a page and column), in bytes. A query that
	// reads more segments reads them again, about a millisecond each. Default 64 MiB, which is some 150 million rows of flows.
	IndexBytes int64
	// MaxOpenFiles bounds the segments that are held open between reads. Default 512.
	MaxOpenFiles int
	// MaxTagSets bounds the number of distinct tag sets. Past this bound and the next three, Write refuses batches that
	// bring new ones, with ErrTooManyTagSets; those with known ones are taken. Default 10 million.
	MaxTagSets int
	// MaxTagBytes bounds the memory of tag sets, in bytes: about 100 to 150 a set of 18 tags. Default 1.5 GiB, at most 2.25 GiB.
	MaxTagBytes int64
	// MaxTagKeys bounds the number of distinct tag keys. Default 49152.
	MaxTagKeys int
	// MaxTagValues bounds the number of distinct values of one tag key, so that one key cannot take the room of all others.
	// Default: half of MaxTagSets, but at least 49152.
	MaxTagValues int
	// LogSegmentBytes is the size of a file of the log. Default 64 MiB.
	LogSegmentBytes int64
	// NoSync acknowledges writes before they are on disk: for tests and data that may be lost in a power cut.
	NoSync bool
	// NoCompaction leaves segments as they were flushed and does not apply retention.
	NoCompaction bool
	// CompactEvery is how often segments are looked at for compaction and retention. Default 30 seconds; a flush also
	// causes it.
	CompactEvery time.Duration
	// ScrubEvery is the time in which each segment and tag file is read once in the background to find damage. Default 7
	// days; negative: never.
	ScrubEvery time.Duration
	// Retention overrides the default retention of tables by name; 0 keeps rows for ever. SetRetention goes before it.
	Retention map[string]time.Duration
	// ExternalLog says that the caller keeps the log and calls Apply: the database has none of its own, and Write fails.
	ExternalLog bool
	// Events are told what happens in the background.
	Events Events
	// Now is the clock for ages and retention; default time.Now.
	Now func() time.Time
}

// Events are callbacks for what happens in the background. Any may be nil. They run on the goroutine that does the work,
// hold no lock of the database, and must return soon.
type Events struct {
	// Flushed is called after rows went from the log to segments.
	Flushed func(segments int, rows, bytes int64, took time.Duration)
	// Compacted is called after in segments of a table became one.
	Compacted func(table string, in int, rows, bytes int64, took time.Duration)
	// Expired is called after a segment was dropped because of its age.
	Expired func(table, path string, rows int64)
	// Backfilled is called after the rows of a segment that was there before a rollup came into it: done of total are.
	Backfilled func(rollup, path string, rows, done, total int64, took time.Duration)
	// Quarantined is called after a damaged segment was set aside.
	Quarantined func(path string, reason error)
	// BackgroundError is called when background work failed; it is tried again.
	BackgroundError func(action string, err error)
}

func (o *Options) ensureDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Tables == nil {
		o.Tables = schema.Builtin()
	}
	if o.BudgetBytes > 0 {
		o.fitBudget()
	}
	def(&o.HeadBytes, 32<<20)
	def(&o.HeadAge, time.Minute)
	def(&o.MemoryBytes, 4*o.HeadBytes)
	o.MemoryBytes = max(o.MemoryBytes, 2*o.HeadBytes)
	def(&o.MaxWait, 5*time.Second)
	def(&o.FlushRows, defaultFlush)
	def(&o.MergeBytes, 256<<20)
	def(&o.MaxUnmerged, 32)
	def(&o.CacheBytes, 64<<20)
	def(&o.IndexBytes, 64<<20)
	def(&o.MaxOpenFiles, 512)
	def(&o.MaxTagSets, 10_000_000)
	def(&o.MaxTagBytes, 3<<29)
	def(&o.MaxTagKeys, 48<<10)
	def(&o.MaxTagValues, max(o.MaxTagSets/2, 48<<10))
	def(&o.LogSegmentBytes, 64<<20)
	def(&o.CompactEvery, 30*time.Second)
	def(&o.ScrubEvery, 7*24*time.Hour)
	if o.Now == nil {
		o.Now = time.Now
	}
}

// What the parts of the budget take, at most; the shares of fitBudget come from measuring (docs/adr).
const (
	minBudget      = 32 << 20
	flushRowBytes  = 1 << 10 // of a wide row while it is flushed
	tagSetBytes    = 64      // the least that a tag set of some ten tags takes
	defaultPage    = 16384
	defaultFlush   = 512 << 10
	maxFlush       = 3 << 19
	wideRowBytes   = 384 // of a wide row while very many are flushed
	mergesPerFlush = 16  // inputs of a merge
	maxFlushers    = 2
	flushersBudget = 2 << 30 // below it one flush at a time
)

// fitBudget derives the defaults from BudgetBytes: an eighth each for unflushed rows, for the rows of a flush, and for the
// rows of a merge; a quarter for tag sets, a sixteenth for dictionaries, a thirty-second for the
// indexes of open segments. The rest is for what the writers of segments hold, the log's buffers and the frames of writers that are about to be let in.
func (o *Options) fitBudget() {
	b := o.BudgetBytes
	def(&o.HeadBytes, HeadBytesOf(b))
	def(&o.MemoryBytes, min(b/8, 4*o.HeadBytes))
	row := int64(flushRowBytes)
	if b >= flushersBudget {
		row = wideRowBytes
	}
	def(&o.FlushRows, int(min(b/8/row, maxFlush)))
	def(&o.MergeBytes, min(b/8, 256<<20))
	def(&o.CacheBytes, min(b/16, 64<<20))
	def(&o.IndexBytes, min(b/32, 64<<20))
	def(&o.PageRows, max(min(o.FlushRows/mergesPerFlush, defaultPage), 256))
	def(&o.MaxTagBytes, min(b/6, 3<<29)) // see tagLimits for the rest of the quarter
	def(&o.MaxTagSets, int(min(o.MaxTagBytes/tagSetBytes, 10_000_000)))
}

// HeadBytesOf is the default of HeadBytes for a budget. A large one makes heads of more than a million wide rows, whose segments are
// final at once (docs/adr/0008-fewer-merges.md).
func HeadBytesOf(budget int64) int64 { return min(budget/32, 96<<20) }

// flushers is how many heads are written to segments side by side when several wait: there are two cores for it, and memory
// for the rows of both.
func (o *Options) flushers() int {
	if o.BudgetBytes > 0 && o.BudgetBytes < flushersBudget {
		return 1
	}
	return min(runtime.GOMAXPROCS(0), maxFlushers)
}

// tagLimits are the limits of the store of tag sets, which admits up to three quarters of them (tags.Store.Admits).
func (o *Options) tagLimits() tags.Limits {
	return tags.Limits{
		MaxSets: o.MaxTagSets / 3 * 4, MaxBytes: o.MaxTagBytes / 3 * 4, MaxKeys: o.MaxTagKeys / 3 * 4, MaxValues: o.MaxTagValues / 3 * 4,
		RecentBytes: min(o.MaxTagBytes/8, 32<<20), DenseBytes: min(o.MaxTagBytes/4, 256<<20),
		NowNanos: func() int64 { return o.Now().UnixNano() },
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (o *Options) validate() error {
	if o.HeadBytes < 0 || o.HeadAge < 0 || o.FlushRows < 0 || o.MaxTagSets < 0 || o.LogSegmentBytes < 0 || o.MaxWait < 0 ||
		o.MemoryBytes < 0 || o.CompactEvery < 0 || o.BudgetBytes < 0 || o.MergeBytes < 0 || o.PageRows < 0 ||
		o.MaxTagBytes < 0 || o.MaxTagKeys < 0 || o.MaxTagValues < 0 || o.IndexBytes < 0 || o.MaxOpenFiles < 0 {
		return fmt.Errorf("open database: negative option: %+v", *o)
	}
	if o.BudgetBytes > 0 && o.BudgetBytes < minBudget {
		return fmt.Errorf("open database: BudgetBytes is %d, at least %d are needed", o.BudgetBytes, minBudget)
	}
	return nil
}

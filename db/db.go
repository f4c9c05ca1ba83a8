package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
)

var _ batch.Sink = (*DB)(nil)

// DB is an open database. All methods are safe for concurrent use.
type DB struct {
	dir  string
	fs   vfs.FS
	opts Options
	lock io.Closer
	log  *wal.Log // nil with Options.ExternalLog

	tags  *tags.Store // written only while entries are applied
	cache *segment.Cache

	// commitMu is held while the MANIFEST and the set of segments change; it comes before mu.
	commitMu sync.Mutex
	manifest *manifest
	tagsTo   uint32 // tag sets with ids below this are in tag files
	// tagReaders is how many read tag files that a merge may replace meanwhile; goneTags are those that it did, which the last
	// of them removes. Guarded by commitMu.
	tagReaders int
	goneTags   []string

	nextSeq atomic.Uint64 // of the next file's name; commits write it down
	durable sync.Map      // folders whose names are known to be on disk (ensureDir)

	compactMu sync.Mutex // held while a merge runs; it comes before commitMu
	// backfillMu is held while segments are rolled up that were there before their rollup; it comes before commitMu.
	backfillMu sync.Mutex
	applyMu    sync.Mutex // serialises Apply; the log does that for Write
	// doubtful are files of MANIFEST edits that may be on disk although their commit failed; guarded by commitMu.
	doubtful []string

	mu       sync.RWMutex // guards what follows
	active   *head.Head
	sealed   []*head.Head // oldest first
	segments map[*schema.Table][]*segmentRef
	// registry is the tables and rollups that there are. It changes while commitMu and mu are held, and is read without a lock
	// or, with what else a scan sees, under mu.
	registry atomic.Pointer[schema.Registry]
	applied  uint64 // index of the last applied entry
	// quarantined are the segments that were set aside
	quarantined []quarantined
	room        chan struct{} // closed and replaced whenever a head was flushed
	closed      bool

	failed   atomic.Pointer[error] // why the database is read-only
	counts   counters
	scratch  sync.Pool       // of *writeScratch
	flushes  chan chan error // requests to the flusher
	flushed  chan struct{}   // closed when the flusher has ended
	kick     chan struct{}   // a head was sealed
	compact  chan struct{}   // segments came
	merged   chan struct{}   // a merge ended
	merging  atomic.Bool     // one runs
	backlog  atomic.Int64    // segments that are due to be merged (compact.Backlog)
	backfill chan struct{}   // a rollup came
	damaged  chan damage
	stop     context.CancelFunc
	wg       sync.WaitGroup // background goroutines
}

const formatVersion = 1

// optionsFile is the content of OPTIONS.
type optionsFile struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
}

// Open opens the database in a folder, which is made if it does not exist. The folder belongs to one process at a time
// (ErrLocked). Rows that were acknowledged before a crash are there when Open returns.
func Open(dir string, opts ...func(*Options)) (*DB, error) {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.ensureDefaults()
	d := &DB{
		scratch: sync.Pool{New: func() any { return new(writeScratch) }},
		dir:     dir, fs: o.FS, opts: o,
		tags:     tags.New(o.tagLimits()),
		cache:    segment.NewCacheOf(segment.Limits{DictionaryBytes: max(o.CacheBytes, 0), IndexBytes: o.IndexBytes, Files: o.MaxOpenFiles}),
		segments: map[*schema.Table][]*segmentRef{},
		room:     make(chan struct{}),
		flushes:  make(chan chan error),
		kick:     make(chan struct{}, 1),
		compact:  make(chan struct{}, 1),
		merged:   make(chan struct{}, 1),
		backfill: make(chan struct{}, 1),
		damaged:  make(chan damage, 64),
		active:   head.New(),
		flushed:  make(chan struct{}),
	}
	if err := d.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", dir, err), d.release())
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.wg.Add(3)
	go d.flusher(ctx)
	go d.maintainer(ctx)
	go d.backfiller(ctx)
	return d, nil
}

func (d *DB) open() error {
	if err := d.prepareFolder(); err != nil {
		return err
	}
	m, err := openManifest(d.fs, d.dir)
	if err != nil {
		return err
	}
	d.manifest, d.quarantined = m, m.quarantine
	d.nextSeq.Store(m.nextSeq)
	if err := d.removeUnknown("tmp", nil); err != nil {
		return err
	}
	if err := d.loadTags(); err != nil {
		return err
	}
	if err := d.openRollups(); err != nil {
		return err
	}
	if err := d.openSegments(); err != nil {
		return err
	}
	d.applied = m.flushed
	if !d.opts.ExternalLog {
		if err := d.openLog(); err != nil {
			return err
		}
	}
	return d.removeOrphans() // last: only a MANIFEST that everything else agrees with may say what is left over
}

// prepareFolder makes the folder if need be, takes its lock and checks its version.
func (d *DB) prepareFolder() error {
	if st, err := d.fs.Stat(d.dir); err == nil && !st.IsDir() {
		return fmt.Errorf("%s is a file: %w", d.dir, ErrNotAFolder)
	}
	optionsPath := filepath.Join(d.dir, "OPTIONS")
	text, err := vfs.ReadFile(d.fs, optionsPath, 1<<20)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case fresh:
		if err := d.refuseForeignFolder(); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("read options: %w", err)
	default:
		var o optionsFile
		if err := json.Unmarshal(text, &o); err != nil {
			return &CorruptionError{File: optionsPath, Reason: err.Error()}
		}
		if o.Format > formatVersion {
			return fmt.Errorf("it has format %d, this program knows up to %d; use a newer Flowlake: %w", o.Format, formatVersion, ErrNewerFormat)
		}
	}
	if err := vfs.MkdirAllSync(d.fs, filepath.Join(d.dir, "tmp")); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	lock, err := d.fs.Lock(filepath.Join(d.dir, "LOCK"))
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	} else if err != nil {
		return fmt.Errorf("lock folder: %w", err)
	}
	d.lock = lock
	if !fresh {
		return nil
	}
	text, err = json.Marshal(optionsFile{Format: formatVersion, Created: d.opts.Now().UTC()})
	if err != nil {
		return fmt.Errorf("write options: %w", err)
	}
	if err := vfs.WriteFileAtomic(d.fs, optionsPath, append(text, '\n')); err != nil {
		return fmt.Errorf("write options: %w", err)
	}
	return nil
}

// refuseForeignFolder keeps us from making a database among somebody's other files.
func (d *DB) refuseForeignFolder() error {
	names, err := d.fs.List(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list folder: %w", err)
	}
	for _, n := range names {
		switch n {
		case "LOCK", "tmp", "lost+found", "OPTIONS.tmp": // a first start that was cut short, or a fresh disk
		default:
			return fmt.Errorf("it holds %s but no OPTIONS file; use an empty or new folder: %w", n, ErrNotAFolder)
		}
	}
	return nil
}

// removeOrphans deletes files that the MANIFEST does not name: left over from a crash.
func (d *DB) removeOrphans() error {
	known := map[string]bool{}
	for p := range d.manifest.segments {
		known[p] = true
	}
	for _, t := range d.manifest.tags {
		known[t.Path] = true
	}
	for _, top := range []string{"tables", "tags"} {
		if err := d.removeUnknown(top, known); err != nil {
			return err
		}
	}
	return nil
}

func (d *DB) removeUnknown(rel string, known map[string]bool) error {
	full := filepath.Join(d.dir, filepath.FromSlash(rel))
	names, err := d.fs.List(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("list %s: %w", full, err)
	}
	for _, n := range names {
		child := rel + "/" + n
		st, err := d.fs.Stat(filepath.Join(full, n))
		if err != nil {
			return fmt.Errorf("look for left-over files: %w", err)
		}
		switch {
		case st.IsDir():
			if err := d.removeUnknown(child, known); err != nil {
				return err
			}
		case !known[child]:
			if err := d.fs.Remove(filepath.Join(full, n)); err != nil {
				return fmt.Errorf("remove left-over file: %w", err)
			}
		}
	}
	return nil
}

// openLog opens the log and applies what is not in segments yet. Memory stays bounded: past
// MemoryBytes heads are flushed on the way.
func (d *DB) openLog() error {
	l, err := wal.Open(filepath.Join(d.dir, "wal"), func(o *wal.Options) {
		o.FS, o.SegmentBytes, o.NoSync, o.Committed = d.fs, d.opts.LogSegmentBytes, d.opts.NoSync, d.applyRecords
	})
	switch {
	case errors.Is(err, wal.ErrCorrupt):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	case errors.Is(err, wal.ErrNewerFormat):
		return fmt.Errorf("%w: %w", ErrNewerFormat, err)
	case err != nil:
		return err
	}
	d.log = l
	return d.replay()
}

func (d *DB) replay() error {
	flushed, first, next := d.manifest.flushed, d.log.FirstIndex(), d.log.NextIndex()
	if first == 0 { // no records
		first = next
	}
	if next <= flushed || first > flushed+1 {
		return &CorruptionError{File: filepath.Join(d.dir, "wal"), Reason: fmt.Sprintf(
			"records from %d on are expected, the log has %d to %d", flushed+1, first, next-1)}
	}
	return d.log.Range(max(flushed+1, first), func(index uint64, rec []byte) error {
		if err := d.apply(index, append([]byte(nil), rec...)); err != nil {
			return fmt.Errorf("apply log record %d: %w", index, err)
		}
		// what has room stays for the flusher: nobody has to wait for it
		for len(d.sealed) > 0 && d.unflushedLocked() > d.opts.MemoryBytes {
			if _, err := d.flushOldest(); vfs.IsNoSpace(err) && d.unflushedLocked() < 2*d.opts.MemoryBytes {
				return nil // a full disk: reads go on, the flusher tries again
			} else if err != nil {
				return err
			}
		}
		return nil
	})
}

// Close flushes what is in the head, ends background work and releases the folder. The rows stay safe when it returns an
// error: they are in the log.
func (d *DB) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return ErrClosed
	}
	d.closed = true
	close(d.room) // writers that wait learn of it
	d.room = make(chan struct{})
	d.mu.Unlock()
	d.stop()
	d.wg.Wait()
	err := d.flushAll()
	return errors.Join(err, d.release())
}

// release closes what Open opened.
func (d *DB) release() error {
	var errs []error
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	d.compactMu.Lock() // a merge, backfill or flush that somebody asked for ends first
	defer d.compactMu.Unlock()
	d.backfillMu.Lock()
	defer d.backfillMu.Unlock()
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	d.mu.Lock()
	d.closed = true
	for _, list := range d.segments {
		for _, s := range list {
			errs = append(errs, s.release())
		}
	}
	clear(d.segments)
	d.mu.Unlock()
	if d.manifest != nil {
		errs = append(errs, d.manifest.close())
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// Tables lists the tables there are, by name, rollups among them.
func (d *DB) Tables() []*schema.Table { return d.tables().Tables() }

// Table is the named table.
func (d *DB) Table(name string) (*schema.Table, bool) { return d.tables().Table(name) }

// Tags is a snapshot of the tag sets: those of every row that a later Scan sees may need a later snapshot.
func (d *DB) Tags() *tags.View { return d.tags.View() }

// Dir is the data folder.
func (d *DB) Dir() string { return d.dir }

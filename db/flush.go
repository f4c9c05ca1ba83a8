package db

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// flushRetry is the pause after a failed flush.
const flushRetry = time.Second

// flusher writes sealed heads to segments, oldest first, and seals heads that have become old.
func (d *DB) flusher(ctx context.Context) {
	defer d.wg.Done()
	defer close(d.flushed)
	tick := time.NewTicker(max(min(d.opts.HeadAge/4, 5*time.Second), time.Millisecond))
	defer tick.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case reply := <-d.flushes:
			reply <- d.flushAll()
			continue
		case <-d.kick:
		case <-d.merged: // flushing may have waited for it
		case <-retry.C:
		case <-tick.C:
			d.mu.RLock()
			old := d.active.Stats().Rows > 0 && d.opts.Now().Sub(d.active.Created()) >= d.opts.HeadAge
			d.mu.RUnlock()
			if old {
				d.seal()
			}
		}
		if err := d.flushSealed(true); err != nil {
			d.backgroundError("flush", err)
			retry.Reset(flushRetry)
		}
	}
}

// Flush writes everything that was applied before the call to segments.
func (d *DB) Flush(ctx context.Context) error {
	if err := d.usable(); errors.Is(err, ErrClosed) {
		return err
	}
	reply := make(chan error, 1)
	select {
	case d.flushes <- reply:
	case <-d.flushed:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("flush: %w", ctx.Err())
	}
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("flush: %w", ctx.Err())
	}
}

func (d *DB) flushAll() error {
	d.seal()
	return d.flushSealed(false)
}

// flushSealed flushes the sealed heads; where it is paced, not while merges are behind: then a merge that ends goes on with it,
// and writers wait when unflushed rows reach their bound.
func (d *DB) flushSealed(paced bool) error {
	for {
		if paced && d.mergesBehind() {
			return nil
		}
		if n, err := d.flushOldest(); n == 0 || err != nil {
			return err
		}
	}
}

// flushOldest writes the oldest sealed heads to segments, side by side where there are several, and makes them the database's
// one after the other, each in one step for readers. It says how many there were.
func (d *DB) flushOldest() (int, error) {
	d.commitMu.Lock()
	d.mu.RLock()
	heads := slices.Clone(d.sealed[:min(len(d.sealed), d.opts.flushers())])
	d.mu.RUnlock()
	if len(heads) == 0 {
		d.commitMu.Unlock()
		return 0, nil
	}
	began := d.opts.Now()
	writers := make([]*flushWriter, len(heads))
	_ = each(len(heads), len(heads), func(i int) error {
		w := &flushWriter{d: d, stats: heads[i].Stats()}
		writers[i], w.err = w, w.write(heads[i])
		return nil
	})
	var err error
	done := 0
	for _, w := range writers {
		if err == nil {
			err = d.commitFlush(w)
		} else {
			d.removeFiles(w.paths) // an older head is not stored: neither is this one
		}
		if err == nil {
			done++
		}
	}
	d.noteBacklog(d.candidates())
	d.commitMu.Unlock()
	for _, w := range writers[:done] {
		d.flushedHead(w, began)
	}
	return len(heads), err
}

// flushedHead tells of a head that is in segments, and drops its records from the log.
func (d *DB) flushedHead(w *flushWriter, began time.Time) {
	var bytes int64
	for _, s := range w.edit.Add {
		bytes += s.Bytes
	}
	d.counts.flushes.Add(1)
	d.counts.flushedRows.Add(w.stats.Rows)
	d.counts.flushedBytes.Add(bytes)
	d.counts.rollupRows.Add(w.rolledIn)
	d.counts.rollupPartials.Add(w.rolled)
	if f := d.opts.Events.Flushed; f != nil {
		f(len(w.edit.Add), w.stats.Rows, bytes, d.opts.Now().Sub(began))
	}
	select {
	case d.compact <- struct{}{}:
	default:
	}
	if d.log == nil {
		return
	}
	if err := d.log.TruncateFront(w.stats.Last); err != nil {
		d.backgroundError("drop flushed log records", err) // replay skips them; the next flush tries again
	}
}

// commitFlush makes the segments of the oldest sealed head the database's. The caller holds commitMu.
func (d *DB) commitFlush(w *flushWriter) error {
	err := w.finish()
	if err != nil {
		d.removeFiles(w.paths)
		return fmt.Errorf("flush records %d to %d: %w", w.stats.First, w.stats.Last, err)
	}
	refs, err := d.openRefs(w.edit.Add)
	if err != nil {
		d.removeFiles(w.paths)
		return fmt.Errorf("flush records %d to %d: open new segments: %w", w.stats.First, w.stats.Last, err)
	}
	if err := d.commit(&w.edit, w.paths); err != nil {
		return fmt.Errorf("flush records %d to %d: %w", w.stats.First, w.stats.Last, errors.Join(err, releaseAll(refs)))
	}
	if len(w.edit.Tags) > 0 {
		d.tagsTo = w.edit.Tags[0].To
	}
	d.mu.Lock()
	d.sealed = d.sealed[1:]
	d.addSegmentsLocked(refs)
	close(d.room)
	d.room = make(chan struct{})
	d.mu.Unlock()
	return nil
}

// commit makes an edit that adds some files. Their names stay taken when it fails in doubt: they are removed after a later
// commit, which settles that the edit does not count. The caller holds commitMu.
func (d *DB) commit(e *edit, files []string) error {
	inDoubt, err := d.manifest.commit(e)
	switch {
	case err == nil:
		d.removeFiles(d.doubtful)
		d.doubtful = nil
	case inDoubt:
		d.doubtful = append(d.doubtful, files...)
	default:
		d.removeFiles(files)
	}
	return err
}

// removeFiles removes files that belong to nothing; what cannot be removed is a left-over for the next start.
func (d *DB) removeFiles(paths []string) {
	for _, p := range paths {
		_ = d.fs.Remove(p)
	}
}

// flushWriter makes the segments of one head. Several may work side by side: they read what changes only under commitMu,
// which whoever waits for them holds.
type flushWriter struct {
	d     *DB
	stats head.Stats
	edit  edit
	paths []string // files made so far
	dirs  map[string]bool
	err   error // of write
	keep  int64 // of a backfill: when its rows were written; 0 is now
	// rows that rollups took, and partial rows that they became
	rolledIn, rolled int64

	// the lot in hand: entries, and their rows as far as order and page sizes need them
	entries []*head.Entry
	views   []*batch.View
	rows    batch.Batch
	concat  batch.Concat
	packed  batch.Batch    // what concat fills: the columns of rows that are there
	scratch []batch.Vector // an entry's columns, on their way to concat
	column  batch.Vector   // one of the other columns
}

// write makes the segments of the head's rows, and of what rollups make of them.
func (w *flushWriter) write(h *head.Head) error {
	w.dirs = map[string]bool{}
	w.edit.Flushed = w.stats.Last
	for _, t := range h.Tables() {
		if err := w.table(t, h.Entries(t)); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return w.rollups(h)
}

// finish completes the edit by what depends on the edits before it. The caller holds commitMu.
func (w *flushWriter) finish() error {
	if w.err != nil {
		return w.err
	}
	w.edit.Rollups = slices.DeleteFunc(w.edit.Rollups, func(r rollupMeta) bool {
		_, ok := w.d.manifest.rollups[r.Name]
		return ok
	})
	if err := w.tags(); err != nil {
		return err
	}
	if err := w.syncDirs(); err != nil {
		return err
	}
	w.edit.NextSeq = w.d.nextSeq.Load()
	return nil
}

// table decodes a table's entries some at a time, and writes each lot sorted, one segment a day.
func (w *flushWriter) table(t *schema.Table, entries []*head.Entry) error {
	early := earlyColumns(t, entries)
	for len(w.scratch) < len(early) {
		w.scratch = append(w.scratch, batch.Vector{})
	}
	share := evenShare(entries, w.d.opts.FlushRows)
	for len(entries) > 0 {
		n, err := w.lot(t, early, entries, share)
		if err != nil {
			return err
		}
		w.entries, entries = entries[:n], entries[n:]
		w.views = w.views[:0]
		for _, e := range w.entries {
			w.views = append(w.views, e.View)
		}
		if err := w.days(t, w.entries[0].Index, w.entries[n-1].Index); err != nil {
			return err
		}
	}
	return nil
}

// evenShare is the number of rows at which a lot is complete: a head that is a little more than a lot makes two halves, not
// a large segment and a tiny one.
func evenShare(entries []*head.Entry, limit int) int {
	rows := 0
	for _, e := range entries {
		rows += e.View.N
	}
	lots := max(1, (rows+limit-1)/limit)
	return (rows + lots - 1) / lots
}

// earlyColumns are the columns that are decoded before the rows can be ordered and cut into pages: those rows are sorted
// by, the time and text. What no entry has is left out.
func earlyColumns(t *schema.Table, entries []*head.Entry) []int {
	var early []int
	for i, c := range t.Columns {
		needed := c.Type.Physical() == schema.Code
		for _, term := range t.Sort {
			needed = needed || term.Column == i
		}
		has := func(e *head.Entry) bool { return e.View.Has(i) }
		if i == t.TimeColumn || needed && slices.ContainsFunc(entries, has) {
			early = append(early, i)
		}
	}
	return early
}

// lot decodes the early columns of the leading entries that are written together: n of them.
func (w *flushWriter) lot(t *schema.Table, early []int, entries []*head.Entry, share int) (n int, err error) {
	w.concat.Reset(t, early, &w.packed)
	full := func(rows, more int) bool {
		return rows > 0 && (rows >= share || rows+more > w.d.opts.FlushRows)
	}
	rows := 0
	for _, e := range entries {
		if full(rows, e.View.N) {
			break
		}
		rows += e.View.N
	}
	w.concat.Reserve(rows)
	for _, e := range entries {
		if n > 0 && (full(w.concat.Rows(), e.View.N) || w.concat.Bytes() >= maxBatchText) {
			break
		}
		runtime.Gosched() // those who wait to be acknowledged go first: a time slice of the scheduler is 10 ms
		for k, col := range early {
			if err := e.Column(col, &w.scratch[k]); err != nil {
				return 0, err
			}
		}
		w.concat.Append(w.scratch[:len(early)], e.View.N, nil)
		n++
	}
	w.concat.Finish()
	w.rows = batch.Batch{Table: t, N: w.packed.N, Cols: make([]*batch.Vector, len(t.Columns))}
	for k, col := range early {
		w.rows.Cols[col] = w.packed.Cols[k]
	}
	return n, nil
}

// late decodes a column of the lot that is not early; nil when all rows hold the default. It is valid until the next call.
func (w *flushWriter) late(col int) (*batch.Vector, error) {
	v := &w.column
	if w.rows.Table.Columns[col].Type != schema.TagSet {
		ok, err := batch.Numbers(w.views, col, v)
		if !ok {
			return nil, err
		}
		return v, nil
	}
	v.Reset(schema.TagSet, 0)
	for _, e := range w.entries {
		if err := e.Column(col, &w.scratch[0]); err != nil {
			return nil, err
		}
		v.Codes = append(v.Codes, w.scratch[0].Codes...)
	}
	return v, nil
}

// A day has a segment of its own where it has this share of a lot's rows; the other days share one. So a lot makes few files,
// however many days its rows are of.
const ownDayShare = 8

// days writes the decoded rows as one sorted segment per UTC day, and the rows of days that have few as one together.
func (w *flushWriter) days(t *schema.Table, first, last uint64) error {
	order := segment.Order(&w.rows)
	o := segment.Options{PageRows: w.d.opts.PageRows, Portable: w.d.opts.Portable, Sorted: true, MinIndex: first, MaxIndex: last}
	lo, hi, _ := w.rows.TimeRange()
	if day := compact.Day(lo); day == compact.Day(hi) {
		return w.segment(t, day, o, order)
	}
	times := w.rows.Cols[t.TimeColumn].I64
	byDay := map[int64][]int32{}
	var days []int64
	for _, r := range order {
		day := compact.Day(times[r])
		if _, ok := byDay[day]; !ok {
			days = append(days, day)
		}
		byDay[day] = append(byDay[day], r)
	}
	slices.Sort(days)
	var late []int32
	lateDays := 0
	for _, day := range days {
		if len(byDay[day])*ownDayShare < len(order) {
			late = append(late, byDay[day]...)
			lateDays++
			continue
		}
		if err := w.segment(t, day, o, byDay[day]); err != nil {
			return err
		}
	}
	if len(late) == 0 {
		return nil
	}
	o.Sorted = lateDays == 1
	return w.segment(t, compact.Day(times[late[0]]), o, late)
}

// segment writes some rows of the lot as one segment.
func (w *flushWriter) segment(t *schema.Table, day int64, o segment.Options, rows []int32) error {
	rel := w.d.segmentPath(t, day, o)
	info, err := w.file(rel, t, o, func(s *segment.Writer) error { return s.AppendColumns(&w.rows, rows, w.late) })
	if err != nil {
		return err
	}
	written := w.keep
	if written == 0 {
		written = w.d.opts.Now().UnixNano()
	}
	w.edit.Add = append(w.edit.Add, newMeta(t, rel, o, info, written))
	return nil
}

// file writes one file and notes its path and folder.
func (w *flushWriter) file(rel string, t *schema.Table, o segment.Options, fill func(*segment.Writer) error) (segment.Info, error) {
	info, err := w.d.writeFile(rel, func(tmp string) (segment.Info, error) {
		s, err := segment.NewWriter(w.d.fs, tmp, t, o)
		if err != nil {
			return segment.Info{}, err
		}
		if err := fill(s); err != nil {
			s.Abort()
			return segment.Info{}, err
		}
		return s.Finish()
	})
	if err == nil {
		full := filepath.Join(w.d.dir, filepath.FromSlash(rel))
		w.paths = append(w.paths, full)
		w.dirs[filepath.Dir(full)] = true
	}
	return info, err
}

// segmentPath is a path that was never used for a segment.
func (d *DB) segmentPath(t *schema.Table, day int64, o segment.Options) string {
	seq := d.nextSeq.Add(1) - 1
	date := time.Unix(day*int64(24*time.Hour/time.Second), 0).UTC().Format(time.DateOnly)
	return path.Join("tables", t.Base, t.Resolution, date, fmt.Sprintf("%d-%d-%d.parquet", o.MinIndex, o.MaxIndex, seq))
}

func newMeta(t *schema.Table, rel string, o segment.Options, info segment.Info, written int64) segmentMeta {
	return segmentMeta{
		Table: t.Name, Path: rel, Level: o.Level, Rows: info.Rows, Bytes: info.Bytes,
		MinTime: info.MinTime, MaxTime: info.MaxTime, MinIndex: o.MinIndex, MaxIndex: o.MaxIndex, Written: written,
	}
}

// ensureDir makes a folder below the data folder, durably. That a folder is there does not say that its name is on disk: an
// earlier attempt, or process, may have ended between the two. So each process syncs the way to a folder once.
func (d *DB) ensureDir(dir string) error {
	if _, ok := d.durable.Load(dir); ok {
		return nil
	}
	if err := d.fs.MkdirAll(dir); err != nil {
		return err
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if err := vfs.SyncDir(d.fs, up); err != nil {
			return fmt.Errorf("sync %s: %w", up, err)
		}
		if len(up) <= len(filepath.Clean(d.dir)) {
			break
		}
	}
	d.durable.Store(dir, true)
	return nil
}

// writeFile has a segment file written and synced in tmp/ and renames it to its place. The caller syncs that folder.
func (d *DB) writeFile(rel string, write func(tmp string) (segment.Info, error)) (segment.Info, error) {
	full := filepath.Join(d.dir, filepath.FromSlash(rel))
	tmp := filepath.Join(d.dir, "tmp", filepath.Base(full))
	info, err := write(tmp)
	if err != nil {
		_ = d.fs.Remove(tmp) // usually gone already; tmp/ is emptied at start
		return info, fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := d.ensureDir(filepath.Dir(full)); err != nil {
		return info, fmt.Errorf("make folder: %w", err)
	}
	if err := d.fs.Rename(tmp, full); err != nil {
		return info, fmt.Errorf("move segment to its place: %w", err)
	}
	return info, nil
}

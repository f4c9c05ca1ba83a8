package db

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
)

// Write stores a batch: when it returns nil, the rows are on disk and every later Scan sees them. An error means that none
// of them was stored, except ErrReadOnly, after which that is known only when the folder is opened again.
// It waits while unflushed rows fill their bound (Options.MemoryBytes), at most Options.MaxWait.
func (d *DB) Write(ctx context.Context, b *batch.Batch) error {
	if b == nil || b.N == 0 {
		return nil
	}
	if d.opts.ExternalLog {
		return fmt.Errorf("write: this database has no log of its own, use Apply: %w", ErrReadOnly)
	}
	if err := d.usable(); err != nil {
		return err
	}
	if err := d.check(b, false); err != nil {
		d.counts.refusedBad.Add(int64(b.N))
		return fmt.Errorf("write: %w: %w", err, ErrBadBatch)
	}
	scratch := d.scratch.Get().(*writeScratch)
	defer d.recycle(scratch)
	rec, err := d.encode(b, scratch)
	if err != nil {
		d.refuse(b, err)
		return err
	}
	if err := d.admit(ctx, d.opts.MaxWait); err != nil {
		d.counts.refusedBusy.Add(int64(b.N))
		return err
	}
	frame := rec.view.Bytes()
	if _, err := d.log.AppendNoted([][]byte{frame}, rec); err != nil {
		d.counts.refusedLog.Add(int64(b.N))
		return d.logError(err)
	}
	if err := d.readOnlyReason(); err != nil {
		return err
	}
	d.counts.writes.Add(1)
	d.counts.rows.Add(int64(b.N))
	d.counts.bytes.Add(int64(len(frame)))
	return nil
}

// refuse counts a batch that encode refused.
func (d *DB) refuse(b *batch.Batch, err error) {
	if errors.Is(err, ErrTooManyTagSets) {
		d.counts.refuseTags(limitCause(err), int64(b.N))
		return
	}
	d.counts.refusedBad.Add(int64(b.N))
}

// record is a log record beside what it was made from, so that whoever applies it need not read it. It is borrowed from a
// Write.
type record struct {
	view *batch.View
	tags []*batch.TagIDs // by column; nil where the frame has no tag sets
}

// encode makes the log record of a batch that check accepts.
func (d *DB) encode(b *batch.Batch, s *writeScratch) (*record, error) {
	if err := d.referTags(b, s); err != nil {
		return nil, err
	}
	view, err := batch.Encode(b, s.rec.tags)
	if err != nil {
		return nil, fmt.Errorf("write: %w: %w", ErrBadBatch, err)
	}
	if n := len(view.Bytes()); n > maxFrameBytes {
		return nil, fmt.Errorf("write: %d rows are %d bytes encoded, at most %d go into one batch: %w", b.N, n, maxFrameBytes, ErrBadBatch)
	}
	s.rec.view = view
	return &s.rec, nil
}

func (d *DB) logError(err error) error {
	switch {
	case errors.Is(err, wal.ErrReadOnly):
		return fmt.Errorf("write: %w: %w", ErrReadOnly, err)
	case vfs.IsNoSpace(err):
		return fmt.Errorf("write: %w: %w", ErrDiskFull, err)
	case errors.Is(err, wal.ErrClosed):
		return fmt.Errorf("write: %w", ErrClosed)
	}
	return fmt.Errorf("write: %w", err)
}

// Apply applies a log entry that the caller has made durable in a log of its own (Options.ExternalLog): rec is a frame
// (batch.AppendFrame of a batch that Check accepts), which the database keeps. Indexes ascend; it waits while unflushed rows
// fill their bound. After Open the caller applies the entries after Applied again. An index that is
// in segments already is skipped.
func (d *DB) Apply(index uint64, rec []byte) error {
	if !d.opts.ExternalLog {
		return fmt.Errorf("apply: this database keeps its own log: %w", ErrReadOnly)
	}
	if err := d.usable(); err != nil {
		return err
	}
	if err := d.admit(context.Background(), 0); err != nil {
		return err
	}
	d.applyMu.Lock()
	defer d.applyMu.Unlock()
	if index <= d.Applied() {
		return nil
	}
	return d.apply(index, rec)
}

// Applied is the log index of the last applied entry.
func (d *DB) Applied() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.applied
}

func (d *DB) usable() error {
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	return d.readOnlyReason()
}

func (d *DB) readOnlyReason() error {
	if p := d.failed.Load(); p != nil {
		return fmt.Errorf("%w: %w", ErrReadOnly, *p)
	}
	return nil
}

// Check says whether a batch fits its table, as Write does before it logs it: ErrBadBatch with the reason, or nil.
func (d *DB) Check(b *batch.Batch) error {
	if err := d.check(b, true); err != nil {
		return fmt.Errorf("write: %w: %w", err, ErrBadBatch)
	}
	return nil
}

// check is Check; unless all is wanted, without codes and the range of numbers, which batch.Encode sees to.
func (d *DB) check(b *batch.Batch, all bool) error {
	shape := batch.CheckShape
	if all {
		shape = batch.Check
	}
	if err := shape(b); err != nil {
		return err
	}
	t, ok := d.tables().Table(b.Table.Name)
	switch {
	case !ok:
		return fmt.Errorf("there is no table %q", b.Table.Name)
	case t != b.Table:
		return fmt.Errorf("table %q has another definition in this database", t.Name)
	case d.isRollup(t):
		return fmt.Errorf("table %q is a rollup: its rows are made from those of its source", t.Name)
	case b.N > batch.MaxRows:
		return fmt.Errorf("%d rows, at most %d go into one batch", b.N, batch.MaxRows)
	case len(b.Cols) <= t.TimeColumn || b.Cols[t.TimeColumn] == nil:
		return fmt.Errorf("no values for the time column %s", t.Columns[t.TimeColumn].Name)
	}
	text := 0
	for i, v := range b.Cols {
		if v == nil {
			continue
		}
		err := checkDict(&t.Columns[i], v)
		if err == nil && all {
			err = checkNumbers(&t.Columns[i], v)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
		text += v.Dict.Bytes()
	}
	if text > maxBatchText {
		return fmt.Errorf("%d bytes of text, at most %d go into one batch", text, maxBatchText)
	}
	return nil
}

// checkNumbers refuses numbers outside the range of their type.
func checkNumbers(c *schema.Column, v *batch.Vector) error {
	lo, hi := int64(math.MinInt32), int64(math.MaxInt32)
	switch c.Type {
	case schema.Integer:
	case schema.Boolean:
		lo, hi = 0, 1
	default:
		return nil
	}
	for _, x := range v.I64 {
		if x < lo || x > hi {
			return fmt.Errorf("%d is out of the range of %s", x, c.Type)
		}
	}
	return nil
}

// checkDict refuses entries of a dictionary that a segment could not hold, before they are acknowledged.
func checkDict(c *schema.Column, v *batch.Vector) error {
	if v.Dict.Len() == 0 {
		return nil
	}
	_, offs := v.Dict.Arena()
	for i, end := range offs[1:] {
		switch n := end - offs[i]; {
		case c.Type == schema.Inet && n != 0 && n != 16:
			return fmt.Errorf("an address of %d bytes", n)
		case c.Type == schema.Map:
			if err := tags.Valid(v.Dict.At(i)); err != nil {
				return err
			}
		case n > maxValueBytes:
			return fmt.Errorf("a value of %d bytes, at most %d", n, maxValueBytes)
		}
	}
	return nil
}

// maxValueBytes bounds one text value, maxBatchText the dictionaries of a batch: whoever decodes it holds them at once.
// maxFrameBytes is what the log takes.
const (
	maxValueBytes = 16 << 20
	maxBatchText  = 64 << 20
	maxFrameBytes = 64 << 20
)

// writeScratch is what a Write needs besides the record that the head keeps.
type writeScratch struct {
	rec   record
	ids   []uint32       // of a dictionary's entries, then what stands for them in a row
	cols  []batch.TagIDs // what rec.tags points to, with their Codes
	fresh [][]byte       // sets without an id, of all columns
}

// recycle lets go of what the batch and the head own.
func (d *DB) recycle(s *writeScratch) {
	s.rec.view = nil
	clear(s.fresh)
	for i := range s.cols {
		s.cols[i].Sets = nil
	}
	d.scratch.Put(s)
}

// referTags fills s.rec.tags with ids in place of the tag sets that have ids: whoever applies the record has applied those
// that gave them. It refuses a batch with tag sets that are none, or so many new ones that they would pass the limit.
func (d *DB) referTags(b *batch.Batch, s *writeScratch) error {
	n := 0
	s.fresh = s.fresh[:0]
	s.rec.tags = append(s.rec.tags[:0], make([]*batch.TagIDs, len(b.Cols))...)
	for len(s.cols) < len(b.Cols) {
		s.cols = append(s.cols, batch.TagIDs{})
	}
	for i, v := range b.Cols {
		if v == nil || v.Type != schema.TagSet {
			continue
		}
		to := &s.cols[n]
		n++
		if err := d.columnIDs(v, to, s); err != nil {
			return fmt.Errorf("write: column %s: %w: %w", b.Table.Columns[i].Name, err, ErrBadBatch)
		}
		s.rec.tags[i] = to
	}
	return d.admitTags(s.fresh)
}

// columnIDs fills to from a tag-set column, and appends to s.fresh its sets without an id.
func (d *DB) columnIDs(v *batch.Vector, to *batch.TagIDs, s *writeScratch) error {
	s.ids = slices.Grow(s.ids[:0], v.Dict.Len())[:v.Dict.Len()]
	sets, ends := v.Dict.Arena()
	unknown := uint32(d.tags.LookupAll(sets, ends, s.ids))
	data, offs := []byte(nil), make([]uint32, 1, unknown+1)
	for j, id := range s.ids {
		if id != tags.Unknown {
			s.ids[j] = id + unknown
			continue
		}
		set := v.Dict.At(j)
		s.ids[j] = uint32(len(offs) - 1)
		data = append(data, set...)
		offs = append(offs, uint32(len(data)))
		s.fresh = append(s.fresh, set)
	}
	to.Sets = batch.NewDict(data, offs)
	to.Codes = slices.Grow(to.Codes[:0], len(v.Codes))[:len(v.Codes)]
	for r, c := range v.Codes {
		if int(c) >= len(s.ids) {
			return fmt.Errorf("code %d of a dictionary of %d", c, len(s.ids))
		}
		to.Codes[r] = s.ids[c]
	}
	return nil
}

// admitTags refuses new tag sets that are none, or so many that they would pass the limit.
func (d *DB) admitTags(fresh [][]byte) error {
	if len(fresh) == 0 {
		return nil
	}
	switch err := d.tags.Admits(fresh); {
	case errors.Is(err, tags.ErrTooManySets):
		return fmt.Errorf("write: a batch with %d new tag sets: %w; SHOW TAG CARDINALITY lists the keys: send what varies from row to row as a column, or raise %s: %w",
			len(fresh), err, limitOption(err), ErrTooManyTagSets)
	case err != nil:
		return fmt.Errorf("write: %w: %w", err, ErrBadBatch)
	}
	return nil
}

// limitOption is the name of the option that refused tag sets.
func limitOption(err error) string {
	return map[tags.Cause]string{tags.CauseSets: "MaxTagSets", tags.CauseBytes: "MaxTagBytes", tags.CauseKeys: "MaxTagKeys",
		tags.CauseValues: "MaxTagValues"}[limitCause(err)]
}

// limitCause is the limit that refused tag sets.
func limitCause(err error) tags.Cause {
	var l *tags.LimitError
	if errors.As(err, &l) {
		return l.Cause
	}
	return tags.CauseSets
}

// internSets gives ids to the tag sets of a record that is being applied.
func (d *DB) internSets(sets *batch.Dict) ([]uint32, error) {
	ids := make([]uint32, sets.Len())
	for i := range ids {
		set := sets.At(i)
		if len(set) > 0 && set[0] == oldReference {
			id, n := binary.Uvarint(set[1:])
			if n != len(set)-1 || id >= uint64(d.tags.Len()) {
				return nil, fmt.Errorf("reference to tag set %d of %d: %w", id, d.tags.Len(), batch.ErrBadFrame)
			}
			ids[i] = uint32(id)
			continue
		}
		id, _, err := d.tags.Intern(set)
		switch {
		case errors.Is(err, tags.ErrTooManySets):
			d.counts.tagOverflow.Add(1) // the empty set: the rows stay, their tags do not
		case err != nil:
			return nil, err
		default:
			ids[i] = id
		}
	}
	return ids, nil
}

// oldReference begins a dictionary entry that names a tag set by its id, as logs had them before frames of version 2. No
// tag-set encoding begins so: its first byte is the length of a key.
const oldReference = 0

// admit waits until unflushed rows are under their bound, at most for so long; 0 waits until ctx ends.
func (d *DB) admit(ctx context.Context, wait time.Duration) error {
	var timeout <-chan time.Time
	for {
		d.mu.RLock()
		full, room, closed := d.unflushedLocked() >= d.opts.MemoryBytes, d.room, d.closed
		d.mu.RUnlock()
		if closed {
			return ErrClosed
		}
		if !full {
			return nil
		}
		if timeout == nil {
			d.counts.stalls.Add(1)
			t := time.NewTimer(cmp.Or(wait, math.MaxInt64))
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-room:
		case <-timeout:
			return fmt.Errorf("write: %d MiB wait to be flushed: %w", d.opts.MemoryBytes>>20, ErrBusy)
		case <-ctx.Done():
			return fmt.Errorf("write: %w: %w", ErrBusy, ctx.Err())
		}
	}
}

func (d *DB) unflushedLocked() int64 {
	n := d.active.Stats().Bytes
	for _, h := range d.sealed {
		n += h.Stats().Bytes
	}
	return n
}

// applyRecords is the log's commit hook: it runs for durable records in order, one call at a time, before their Append
// returns. The records are the frames that Write made; the head keeps them.
func (d *DB) applyRecords(first uint64, recs [][]byte, note any) {
	for i, r := range recs {
		var err error
		if rec, ok := note.(*record); ok {
			err = d.applyRecord(first, rec)
		} else {
			err = d.apply(first+uint64(i), r)
		}
		if err != nil {
			err = fmt.Errorf("apply record %d: %w", first+uint64(i), err)
			d.failed.CompareAndSwap(nil, &err)
			return
		}
	}
}

// applyRecord is apply for a record that Write has just made: there is nothing to decode.
func (d *DB) applyRecord(index uint64, rec *record) error {
	e := &head.Entry{Index: index, View: rec.view, IDs: map[int][]uint32{}}
	for col, t := range rec.tags {
		if t == nil {
			continue
		}
		ids, err := d.internSets(t.Sets)
		if err != nil {
			return fmt.Errorf("tag set: %w", err)
		}
		e.IDs[col] = ids
	}
	d.add(e)
	return nil
}

// apply makes an entry visible: its tag sets get ids, the active head takes it. It is deterministic: every replica that
// applies the same entries in the same order gives the same ids. Calls do not overlap.
func (d *DB) apply(index uint64, rec []byte) error {
	v, err := batch.Open(rec, d.tables())
	if err != nil {
		return err
	}
	e := &head.Entry{Index: index, View: v, IDs: map[int][]uint32{}}
	for col, c := range v.Table.Columns {
		if c.Type != schema.TagSet || !v.Has(col) {
			continue
		}
		sets, known, err := v.Sets(col)
		if err != nil {
			return err
		}
		if int64(known) > int64(d.tags.Len()) {
			return fmt.Errorf("reference to tag set %d of %d: %w", known-1, d.tags.Len(), batch.ErrBadFrame)
		}
		if e.IDs[col], err = d.internSets(sets); err != nil {
			return fmt.Errorf("tag set: %w", err)
		}
	}
	d.add(e)
	return nil
}

// add gives an entry to the active head, which is sealed when it is full.
func (d *DB) add(e *head.Entry) {
	d.mu.Lock() // sealing must not come between, and Applied never runs ahead of what a scan sees
	d.active.Add(e, d.opts.Now())
	d.applied = e.Index
	full := d.active.Stats().Bytes >= d.opts.HeadBytes
	d.mu.Unlock()
	if full {
		d.seal()
	}
}

// seal makes the active head, when it has rows, the youngest sealed one.
func (d *DB) seal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active.Stats().Rows == 0 {
		return
	}
	d.sealed = append(d.sealed[:len(d.sealed):len(d.sealed)], d.active)
	d.active = head.New()
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

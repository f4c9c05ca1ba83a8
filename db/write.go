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
	if err := d.Check(b); err != nil {
		d.counts.refusedBad.Add(int64(b.N))
		return err
	}
	known, err := d.referTags(b)
	if err != nil {
		if errors.Is(err, ErrTooManyTagSets) {
			d.counts.refuseTags(limitCause(err), int64(b.N))
		} else {
			d.counts.refusedBad.Add(int64(b.N))
		}
		return err
	}
	frame, err := batch.AppendFrame(nil, known)
	if err != nil {
		d.counts.refusedBad.Add(int64(b.N))
		return fmt.Errorf("write: %w: %w", ErrBadBatch, err)
	}
	if len(frame) > maxFrameBytes {
		d.counts.refusedBad.Add(int64(b.N))
		return fmt.Errorf("write: %d rows are %d bytes encoded, at most %d go into one batch: %w", b.N, len(frame), maxFrameBytes, ErrBadBatch)
	}
	if err := d.admit(ctx, d.opts.MaxWait); err != nil {
		d.counts.refusedBusy.Add(int64(b.N))
		return err
	}
	if _, err := d.log.Append([][]byte{frame}); err != nil {
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
	if err := d.check(b); err != nil {
		return fmt.Errorf("write: %w: %w", err, ErrBadBatch)
	}
	return nil
}

func (d *DB) check(b *batch.Batch) error {
	if err := batch.Check(b); err != nil {
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
		if err := checkValues(&t.Columns[i], v); err != nil {
			return fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
		text += v.Dict.Bytes()
	}
	if text > maxBatchText {
		return fmt.Errorf("%d bytes of text, at most %d go into one batch", text, maxBatchText)
	}
	return nil
}

// checkValues refuses what a segment could not hold, before it is acknowledged.
func checkValues(c *schema.Column, v *batch.Vector) error {
	switch c.Type.Physical() {
	case schema.Int64:
		lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
		switch c.Type {
		case schema.Integer:
			lo, hi = math.MinInt32, math.MaxInt32
		case schema.Boolean:
			lo, hi = 0, 1
		}
		for _, x := range v.I64 {
			if x < lo || x > hi {
				return fmt.Errorf("%d is out of the range of %s", x, c.Type)
			}
		}
		return nil
	case schema.Float64:
		return nil
	}
	for i := range v.Dict.Len() {
		e := v.Dict.At(i)
		switch {
		case c.Type == schema.Inet && len(e) != 0 && len(e) != 16:
			return fmt.Errorf("an address of %d bytes", len(e))
		case c.Type == schema.Map:
			if err := tags.Valid(e); err != nil {
				return err
			}
		case len(e) > maxValueBytes:
			return fmt.Errorf("a value of %d bytes, at most %d", len(e), maxValueBytes)
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

// tagReference begins a dictionary entry that names a tag set by its id. No tag-set encoding begins so: its first byte is
// the length of a key.
const tagReference = 0

// referTags returns b with references in place of the tag sets that have ids: whoever applies the record has applied those
// that gave them. It refuses a batch with tag sets that are none, or so many new ones that they would pass the limit.
func (d *DB) referTags(b *batch.Batch) (*batch.Batch, error) {
	var fresh [][]byte
	out := *b
	for i, v := range b.Cols {
		if v == nil || v.Type != schema.TagSet {
			continue
		}
		ids := make([]uint32, v.Dict.Len())
		if len(ids) > 0 {
			sets, ends := v.Dict.Arena()
			d.tags.LookupAll(sets, ends, ids)
		}
		data, offs := make([]byte, 0, 5*len(ids)), make([]uint32, 1, len(ids)+1)
		for j, id := range ids {
			if id != tags.Unknown {
				data = binary.AppendUvarint(append(data, tagReference), uint64(id))
			} else {
				set := v.Dict.At(j)
				data = append(data, set...)
				fresh = append(fresh, set)
			}
			offs = append(offs, uint32(len(data)))
		}
		if &out.Cols[0] == &b.Cols[0] {
			out.Cols = slices.Clone(b.Cols)
		}
		out.Cols[i] = &batch.Vector{Type: v.Type, Codes: v.Codes, Dict: batch.NewDict(data, offs)}
	}
	if len(fresh) == 0 {
		return &out, nil
	}
	switch err := d.tags.Admits(fresh); {
	case errors.Is(err, tags.ErrTooManySets):
		return nil, fmt.Errorf("write: a batch with %d new tag sets: %w; SHOW TAG CARDINALITY lists the keys: send what varies from row to row as a column, or raise %s: %w",
			len(fresh), err, limitOption(err), ErrTooManyTagSets)
	case err != nil:
		return nil, fmt.Errorf("write: %w: %w", err, ErrBadBatch)
	}
	return &out, nil
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

// tagID is the id of a dictionary entry of a record that is being applied: the one it refers to, or the one that its set
// has or gets.
func (d *DB) tagID(entry []byte) (uint32, error) {
	if len(entry) > 0 && entry[0] == tagReference {
		id, n := binary.Uvarint(entry[1:])
		if n != len(entry)-1 || id >= uint64(d.tags.Len()) {
			return 0, fmt.Errorf("reference to tag set %d of %d: %w", id, d.tags.Len(), batch.ErrBadFrame)
		}
		return uint32(id), nil
	}
	id, _, err := d.tags.Intern(entry)
	if errors.Is(err, tags.ErrTooManySets) {
		d.counts.tagOverflow.Add(1) // the empty set: the rows stay, their tags do not
		return 0, nil
	}
	return id, err
}

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
func (d *DB) applyRecords(first uint64, recs [][]byte) {
	for i, r := range recs {
		if err := d.apply(first+uint64(i), r); err != nil {
			err = fmt.Errorf("apply record %d: %w", first+uint64(i), err)
			d.failed.CompareAndSwap(nil, &err)
			return
		}
	}
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
		dict, err := v.Dict(col)
		if err != nil {
			return err
		}
		ids := make([]uint32, dict.Len())
		for i := range ids {
			if ids[i], err = d.tagID(dict.At(i)); err != nil {
				return fmt.Errorf("tag set: %w", err)
			}
		}
		e.IDs[col] = ids
	}
	d.mu.Lock() // sealing must not come between, and Applied never runs ahead of what a scan sees
	d.active.Add(e, d.opts.Now())
	d.applied = index
	full := d.active.Stats().Bytes >= d.opts.HeadBytes
	d.mu.Unlock()
	if full {
		d.seal()
	}
	return nil
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

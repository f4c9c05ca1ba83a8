package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/compact"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

var _ schema.RollupAdmin = (*DB)(nil)

// rollupBytes bounds the groups that a flush or a backfill holds; past it they are written as partial rows.
const rollupBytes = 128 << 20

// tables are the tables and rollups that there are now.
func (d *DB) tables() *schema.Registry { return d.registry.Load() }

// openRollups takes up the rollups of the MANIFEST, and those of the program that it does not know while their source has
// rows: a folder from before there were such.
func (d *DB) openRollups() error {
	reg, err := d.manifest.registry(d.opts.Tables)
	if err != nil {
		return fmt.Errorf("rollups: %w", err)
	}
	d.registry.Store(reg)
	e := &edit{}
	for _, u := range reg.Rollups() {
		if _, ok := d.manifest.rollups[u.Def.Name]; ok {
			continue
		}
		if m := d.newRollupMeta(u.Def); m.Total > 0 {
			e.Rollups = append(e.Rollups, m)
		}
	}
	if len(e.Rollups) == 0 {
		return nil
	}
	if err := d.commit(e, nil); err != nil {
		return fmt.Errorf("add built-in rollups: %w", err)
	}
	return nil
}

// newRollupMeta is a rollup for which all present segments of its source are pending. The caller holds commitMu, or opens.
func (d *DB) newRollupMeta(def schema.RollupDef) rollupMeta {
	m := rollupMeta{RollupDef: def, Created: d.opts.Now().UnixNano()}
	for p, s := range d.manifest.segments {
		if s.Table == def.Source {
			m.Pending = append(m.Pending, p)
		}
	}
	slices.Sort(m.Pending)
	m.Total = int64(len(m.Pending))
	return m
}

// Rollups implements schema.RollupAdmin.
func (d *DB) Rollups() []schema.RollupStatus {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	var out []schema.RollupStatus
	damaged := map[string]int64{}
	for _, q := range d.manifest.quarantine {
		damaged[q.Rollup]++
	}
	for _, u := range d.tables().Rollups() {
		m := d.manifest.rollups[u.Def.Name] // a built-in one without rows is not there: all of it is ready
		s := schema.RollupStatus{Rollup: u, Total: m.Total, Done: m.Total - int64(len(m.Pending)), Ready: len(m.Pending) == 0,
			Damaged: damaged[u.Def.Name]}
		if m.Created != 0 {
			s.Created = time.Unix(0, m.Created).UTC()
		}
		out = append(out, s)
	}
	return out
}

// CreateRollup implements schema.RollupAdmin.
func (d *DB) CreateRollup(ctx context.Context, def schema.RollupDef) error {
	if err := d.changeable(ctx); err != nil {
		return fmt.Errorf("create rollup %s: %w", def.Name, err)
	}
	d.commitMu.Lock() // no flush, merge or expiry comes between the list of segments and the edit
	defer d.commitMu.Unlock()
	next, err := d.tables().With(def)
	if err != nil {
		return fmt.Errorf("create rollup: %w", err)
	}
	u, _ := next.Rollup(def.Name)
	if err := d.commit(&edit{Rollups: []rollupMeta{d.newRollupMeta(u.Def)}}, nil); err != nil {
		return fmt.Errorf("create rollup %s: %w", def.Name, err)
	}
	d.mu.Lock()
	d.registry.Store(next)
	d.mu.Unlock()
	d.wakeBackfill()
	return nil
}

// changeable says why definitions cannot be changed now.
func (d *DB) changeable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.usable()
}

// DropRollup implements schema.RollupAdmin.
func (d *DB) DropRollup(ctx context.Context, name string, ifExists bool) error {
	if err := d.changeable(ctx); err != nil {
		return fmt.Errorf("drop rollup %s: %w", name, err)
	}
	gone, err := d.dropRollup(name)
	if ifExists && errors.Is(err, schema.ErrUnknownRollup) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("drop rollup: %w", err)
	}
	if err := dropAll(gone); err != nil {
		d.backgroundError("remove the segments of a dropped rollup", err) // left over until the next start
	}
	return nil
}

func (d *DB) dropRollup(name string) ([]*segmentRef, error) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	reg := d.tables()
	next, err := reg.Without(name)
	if err != nil {
		return nil, err
	}
	u, _ := reg.Rollup(name)
	if _, ok := d.opts.Tables.Rollup(name); ok {
		return nil, fmt.Errorf("%w: %s", schema.ErrBuiltinRollup, name)
	}
	e := &edit{DropRollups: []string{name}}
	paths := map[string]bool{}
	for p, s := range d.manifest.segments {
		if s.Table == u.Target.Name {
			e.Drop = append(e.Drop, p)
			paths[p] = true
		}
	}
	slices.Sort(e.Drop)
	if err := d.commit(e, nil); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.registry.Store(next)
	gone := d.removeSegmentsLocked(paths)
	delete(d.segments, u.Target)
	return gone, nil
}

// SetRetention implements schema.RollupAdmin. What it sets goes before Options.Retention and the table's own.
func (d *DB) SetRetention(ctx context.Context, table string, keep time.Duration) error {
	if err := d.changeable(ctx); err != nil {
		return fmt.Errorf("set retention of %s: %w", table, err)
	}
	if keep < 0 {
		return fmt.Errorf("set retention of %s: %w: %s is negative", table, schema.ErrRollupDef, keep)
	}
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	if _, ok := d.tables().Table(table); !ok {
		return fmt.Errorf("set retention: %w: %q", schema.ErrUnknownTable, table)
	}
	if err := d.commit(&edit{Retention: map[string]int64{table: int64(keep)}}, nil); err != nil {
		return fmt.Errorf("set retention of %s: %w", table, err)
	}
	select {
	case d.compact <- struct{}{}: // what is too old now need not wait
	default:
	}
	return nil
}

// Retention implements schema.RollupAdmin; 0 also for a table that there is not.
func (d *DB) Retention(table string) time.Duration {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	return d.retention(table, "")
}

// retention is how long rows of a table are kept. The caller holds commitMu.
func (d *DB) retention(table, _ string) time.Duration {
	if keep, ok := d.manifest.retention[table]; ok {
		return time.Duration(keep)
	}
	if keep, ok := d.opts.Retention[table]; ok {
		return keep
	}
	t, ok := d.tables().Table(table)
	if !ok {
		return 0
	}
	return t.Retention
}

// isRollup says whether rows of a table are made by the database.
func (d *DB) isRollup(t *schema.Table) bool {
	_, ok := d.tables().Rollup(t.Name)
	return ok
}

// rollups writes partial rows of the head's rows for every rollup, into the edit that makes the rows themselves segments:
// so each row is in each rollup exactly once.
func (w *flushWriter) rollups(h *head.Head) error {
	for _, u := range w.d.tables().Rollups() {
		entries := h.Entries(u.Source)
		if len(entries) == 0 {
			continue
		}
		if _, ok := w.d.manifest.rollups[u.Def.Name]; !ok { // the first rows for a built-in one
			w.edit.Rollups = append(w.edit.Rollups, w.d.newRollupMeta(u.Def))
		}
		if err := w.rollup(u, entries); err != nil {
			return fmt.Errorf("rollup %s: %w", u.Def.Name, err)
		}
	}
	return nil
}

func (w *flushWriter) rollup(u *schema.Rollup, entries []*head.Entry) error {
	g := compact.NewRollupGrouper(u, w.d.tags.View(), nil)
	req := &pred.Request{Table: u.Source, Columns: g.Inputs(), From: pred.MinTime, To: pred.MaxTime}
	out := partialWriter{w: w, u: u, g: g, first: entries[0].Index, last: entries[len(entries)-1].Index}
	var s head.Scratch
	var rows batch.Batch
	for _, unit := range head.Units(entries, req) {
		if err := unit.Read(context.Background(), req, &s, &rows); err != nil {
			return err
		}
		if err := out.add(&rows); err != nil {
			return err
		}
	}
	return out.end()
}

// partialWriter rolls up rows and writes the partial rows as segments.
type partialWriter struct {
	w           *flushWriter
	u           *schema.Rollup
	g           *compact.Grouper
	first, last uint64 // log indexes of the rows
	rowsIn      int64
}

// add takes rows whose columns are the grouper's inputs.
func (p *partialWriter) add(rows *batch.Batch) error {
	if err := p.g.Add(rows.Cols, rows.N); err != nil {
		return err
	}
	p.rowsIn += int64(rows.N)
	if p.g.Bytes() < rollupBytes {
		return nil
	}
	return p.emit()
}

func (p *partialWriter) emit() error {
	if p.g.Groups() == 0 {
		return nil
	}
	p.g.Emit(&p.w.rows)
	p.w.entries, p.w.views = nil, nil
	p.w.rolled += int64(p.w.rows.N)
	return p.w.days(p.u.Target, p.first, p.last)
}

func (p *partialWriter) end() error {
	if err := p.emit(); err != nil {
		return err
	}
	p.w.rolledIn += p.rowsIn
	return nil
}

// syncDirs makes the names of the files written durable.
func (w *flushWriter) syncDirs() error {
	for dir := range w.dirs {
		if err := vfs.SyncDir(w.d.fs, dir); err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	return nil
}

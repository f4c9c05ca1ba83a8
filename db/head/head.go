// Package head holds the rows that are in the log but not yet in a segment: the frames as they were logged, scannable at
// once, column by column.
package head

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Entry is one applied log record.
type Entry struct {
	// Index is the record's log index.
	Index uint64
	View  *batch.View
	// IDs are, by column ordinal, the tag-set ids of a tag-set column's dictionary; nil for a column that the frame lacks.
	IDs map[int][]uint32
}

// Head is a run of applied records of all tables. Add is for one goroutine, everything else is safe for concurrent use.
// Entries are never removed: a head is sealed, flushed and dropped whole.
type Head struct {
	mu      sync.RWMutex // guards all below
	created time.Time    // of the first entry
	// entries by table; the slices only grow, so a reader's copy of a slice header is a snapshot
	tables      map[*schema.Table][]*Entry
	bytes       int64
	rows        int64
	first, last uint64
}

// New makes an empty head.
func New() *Head { return &Head{tables: map[*schema.Table][]*Entry{}} }

// Created is when the first entry was added; the zero time for an empty head.
func (h *Head) Created() time.Time {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.created
}

// Add publishes an entry. Indexes ascend.
func (h *Head) Add(e *Entry, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first == 0 {
		h.created = now
	}
	t := e.View.Table
	h.tables[t] = append(h.tables[t], e)
	h.bytes += int64(len(e.View.Bytes()))
	h.rows += int64(e.View.N)
	if h.first == 0 {
		h.first = e.Index
	}
	h.last = e.Index
}

// Stats is the size of a head.
type Stats struct {
	Bytes, Rows int64
	// First and Last are the log indexes of the first and last entry, 0 when there is none.
	First, Last uint64
}

// Stats is the head's present size.
func (h *Head) Stats() Stats {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return Stats{Bytes: h.bytes, Rows: h.rows, First: h.first, Last: h.last}
}

// Entries are the entries of a table so far, in log order.
func (h *Head) Entries(t *schema.Table) []*Entry {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := h.tables[t]
	return s[:len(s):len(s)]
}

// Tables are the tables that have entries, by name.
func (h *Head) Tables() []*schema.Table {
	h.mu.RLock()
	defer h.mu.RUnlock()
	ts := make([]*schema.Table, 0, len(h.tables))
	for t := range h.tables {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, func(a, b *schema.Table) int { return cmp.Compare(a.Name, b.Name) })
	return ts
}

// Column decodes a column of an entry into dst, reusing its memory; tag-set columns hold ids afterwards.
func (e *Entry) Column(col int, dst *batch.Vector) error {
	if e.View.Table.Columns[col].Type != schema.TagSet {
		return e.View.Column(col, dst)
	}
	if err := e.View.Codes(col, dst); err != nil {
		return err
	}
	ids := e.IDs[col]
	switch {
	case e.View.HasIDs(col):
		toIDs(dst.Codes, ids)
		return nil
	case ids == nil:
		return nil // absent: all codes are 0, and id 0 is the empty set
	}
	for i, c := range dst.Codes {
		if int(c) >= len(ids) {
			return fmt.Errorf("decode %s: tag code %d of %d: %w", e.View.Table.Columns[col].Name, c, len(ids), batch.ErrBadFrame)
		}
		dst.Codes[i] = ids[c]
	}
	return nil
}

// toIDs makes ids of what batch.TagIDs.Codes are.
func toIDs(codes, ids []uint32) {
	n := uint32(len(ids))
	if n == 0 {
		return
	}
	for i, c := range codes {
		if c < n {
			codes[i] = ids[c]
		} else {
			codes[i] = c - n
		}
	}
}

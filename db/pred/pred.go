// Package pred is what goes down to storage: which columns of which rows a scan wants, and what it gives back. It is the
// contract between the query engine, which makes requests, and the database, which answers them.
package pred

import (
	"context"
	"math"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Request asks for rows of one table.
type Request struct {
	Table *schema.Table
	// Columns are the ordinals of the columns to return, in this order; none asks for row counts only.
	Columns []int
	// From and To bound the time column: From <= time < To. MinTime and MaxTime stand for no bound: with To == MaxTime
	// a row at MaxTime is in, too.
	From, To int64
	// SourceTime says, for the table of a rollup, that From and To bound the time of the rows rolled up instead of that of
	// the buckets: of the buckets that the bounds cut, only the rows within them count.
	SourceTime bool
	// Terms must all hold. Storage evaluates them exactly; it also uses them to skip segments and pages.
	Terms []Term
	// Stats, when not nil, is counted up while the scan runs.
	Stats *Stats
}

// MinTime and MaxTime are the bounds of a request without a time range.
const (
	MinTime = math.MinInt64
	MaxTime = math.MaxInt64
)

// Kind says which fields of a Term are used.
type Kind uint8

// Kinds of terms. A NULL value satisfies only IsNull (also under Not, as in SQL).
const (
	IntRange   Kind = iota // Lo <= value <= Hi
	IntSet                 // value is in Ints (ascending)
	FloatRange             // FLo <= value <= FHi; NaN is greater than every number, as in PostgreSQL
	Text                   // Match(value); Equal lists the only values that can match, nil when not known
	Tags                   // the tag-set id is in IDs
	IsNull                 // value is NULL
)

// Term is a condition on one column.
type Term struct {
	Column int
	Kind   Kind
	// Not inverts the term for rows whose value is not NULL.
	Not bool

	Lo, Hi   int64
	Ints     []int64
	FLo, FHi float64
	Match    func(v []byte) bool
	Equal    [][]byte
	IDs      *roaring.Bitmap
}

// Int evaluates an integer term for a value that is not NULL.
func (t *Term) Int(v int64) bool {
	var ok bool
	switch t.Kind {
	case IntRange:
		ok = t.Lo <= v && v <= t.Hi
	case IntSet:
		_, ok = slices.BinarySearch(t.Ints, v)
	}
	return ok != t.Not
}

// Float evaluates a FloatRange term for a value that is not NULL.
func (t *Term) Float(v float64) bool {
	var ok bool
	if v != v {
		ok = t.FHi != t.FHi // a NaN bound stands for "and NaN"
	} else {
		ok = v >= t.FLo && (v <= t.FHi || t.FHi != t.FHi)
	}
	return ok != t.Not
}

// MayContain says whether a column whose values lie in [lo, hi] can have rows that satisfy an integer term.
func (t *Term) MayContain(lo, hi int64) bool {
	switch t.Kind {
	case IntRange:
		if t.Not {
			return lo < t.Lo || hi > t.Hi
		}
		return t.Lo <= hi && t.Hi >= lo
	case IntSet:
		if t.Not {
			return lo != hi || t.Int(lo)
		}
		i, _ := slices.BinarySearch(t.Ints, lo)
		return i < len(t.Ints) && t.Ints[i] <= hi
	}
	return true
}

// Scan is the running answer to a Request over one consistent snapshot. Its units are independent: any number of
// goroutines may Read different units at the same time, each with a batch of its own.
type Scan interface {
	// Units is the number of units; each is some ten thousand rows at most, and many turn out empty.
	Units() int
	// Read fills dst with the rows of a unit that satisfy the request: dst.Cols is parallel to Request.Columns (vectors are
	// never nil), dst.N the number of rows. dst's memory is reused; vectors are valid until the next Read into dst or Close.
	// Tag-set columns hold ids.
	Read(ctx context.Context, unit int, dst *batch.Batch) error
	// Close releases the snapshot. It must be called once, after the last Read has returned.
	Close()
}

// Stats counts what a scan touched. All fields may be read while it runs.
type Stats struct {
	Segments, SegmentsPruned atomic.Int64
	Pages, PagesPruned       atomic.Int64
	HeadBatches              atomic.Int64
	RowsScanned, RowsMatched atomic.Int64
	BytesRead                atomic.Int64
}

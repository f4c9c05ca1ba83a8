// Package batch is the unit in which rows travel: a table's rows as columns, the builder that makes it row by row, and
// its encoded frame (docs/format/frame.md), which is what agents send and the log records.
package batch

import (
	"context"
	"errors"
	"math/bits"

	"github.com/flowlake/flowlake/db/schema"
)

// ErrRefused is what a Sink's error wraps when the batch itself is at fault: writing it again cannot succeed, other batches
// are not affected.
var ErrRefused = errors.New("batch refused")

// Sink takes batches. Write borrows b until it returns; b is sealed and read-only, so a sink may also keep it.
// An error means that none of the batch's rows was taken, unless the sink's documentation says otherwise.
type Sink interface {
	Write(ctx context.Context, b *Batch) error
}

// Batch is rows of one table as columns. A sealed batch is read-only; a derived one shares its vectors.
type Batch struct {
	Table *schema.Table
	N     int
	// Cols is parallel to Table.Columns; a nil vector means that every row has the column's default (0, "" or, for
	// nullable columns, NULL). A batch read by a scan is parallel to the requested columns instead.
	Cols []*Vector
}

// Bitmap is a set of row numbers, 64 to a word.
type Bitmap []uint64

// NewBitmap is a bitmap for n rows, all bits clear.
func NewBitmap(n int) Bitmap { return make(Bitmap, (n+63)/64) }

// Get says whether bit i is set.
func (b Bitmap) Get(i int) bool { return b[i>>6]&(1<<(uint(i)&63)) != 0 }

// Set sets bit i.
func (b Bitmap) Set(i int) { b[i>>6] |= 1 << (uint(i) & 63) }

// Clear clears bit i.
func (b Bitmap) Clear(i int) { b[i>>6] &^= 1 << (uint(i) & 63) }

// Fill sets the first n bits and clears the rest.
func (b Bitmap) Fill(n int) {
	for i := range b {
		b[i] = 0
	}
	for i := 0; i < n>>6; i++ {
		b[i] = ^uint64(0)
	}
	if r := uint(n) & 63; r != 0 {
		b[n>>6] = 1<<r - 1
	}
}

// Count is the number of set bits.
func (b Bitmap) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Vector is the values of one column. Which slice is used follows from Type.Physical(); the others are nil.
type Vector struct {
	Type schema.Type
	// Valid has a bit per row that is not NULL; nil means that none is NULL. NULL rows hold a zero value or code.
	Valid Bitmap
	I64   []int64   // schema.Int64
	F64   []float64 // schema.Float64
	// Codes are, for schema.Code, indexes into Dict; for schema.ID, indexes into Dict (entries are tag-set encodings) or,
	// where Dict is nil, tag-set ids.
	Codes []uint32
	Dict  *Dict
}

// Len is the number of rows.
func (v *Vector) Len() int {
	switch v.Type.Physical() {
	case schema.Int64:
		return len(v.I64)
	case schema.Float64:
		return len(v.F64)
	}
	return len(v.Codes)
}

// IsNull says whether row i is NULL.
func (v *Vector) IsNull(i int) bool { return v.Valid != nil && !v.Valid.Get(i) }

// Bytes is the value of row i of a dictionary-coded vector, borrowed from the dictionary.
func (v *Vector) Bytes(i int) []byte { return v.Dict.At(int(v.Codes[i])) }

// Reset empties v for n rows of type t, keeping its memory. The caller fills the slice of t's physical form, which has
// length n and undefined contents.
func (v *Vector) Reset(t schema.Type, n int) {
	v.Type, v.Valid = t, nil
	v.I64, v.F64, v.Codes, v.Dict = v.I64[:0], v.F64[:0], v.Codes[:0], nil
	switch t.Physical() {
	case schema.Int64:
		v.I64 = grow(v.I64, n)
	case schema.Float64:
		v.F64 = grow(v.F64, n)
	default:
		v.Codes = grow(v.Codes, n)
	}
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Default fills v with n rows of the column's default: 0, "", the empty tag set or, where c is nullable, NULL.
func (v *Vector) Default(c *schema.Column, n int) {
	v.Reset(c.Type, n)
	clear(v.I64)
	clear(v.F64)
	clear(v.Codes)
	switch c.Type.Physical() {
	case schema.Code:
		v.Dict = emptyDict
	}
	if c.Nullable {
		v.Valid = NewBitmap(n)
	}
}

// Gather makes dst hold rows rows of src, in that order. dst shares src's dictionary and must not be src.
func Gather(dst, src *Vector, rows []int32) {
	dst.Reset(src.Type, len(rows))
	dst.Dict = src.Dict
	switch src.Type.Physical() {
	case schema.Int64:
		s, d := src.I64, dst.I64
		for i, r := range rows {
			d[i] = s[r]
		}
	case schema.Float64:
		s, d := src.F64, dst.F64
		for i, r := range rows {
			d[i] = s[r]
		}
	default:
		s, d := src.Codes, dst.Codes
		for i, r := range rows {
			d[i] = s[r]
		}
	}
	if src.Valid != nil {
		dst.Valid = NewBitmap(len(rows))
		for i, r := range rows {
			if src.Valid.Get(int(r)) {
				dst.Valid.Set(i)
			}
		}
	}
}

// TimeRange is the smallest and largest value of the time column; ok is false for an empty batch.
func (b *Batch) TimeRange() (lo, hi int64, ok bool) {
	if b.N == 0 {
		return 0, 0, false
	}
	v := b.Cols[b.Table.TimeColumn]
	if v == nil {
		return 0, 0, true
	}
	lo, hi = v.I64[0], v.I64[0]
	for _, t := range v.I64 {
		lo, hi = min(lo, t), max(hi, t)
	}
	return lo, hi, true
}

package segment

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Gathering a column's rows in sorted order reads memory all over the place, which is the dearest thing that writing does.
// Of columns in which nearly all rows hold the same value (faults, errors, names that one host has) only the others need
// be moved: to where the order puts them, in a column that is filled with the common value.

const (
	sparseMin     = 4096 // rows below which gathering is as cheap
	sparseSamples = 64   // rows looked at before all of them are
	sparsePart    = 32   // one row of so many may hold another value
)

// straighten is rows of v in the given order, if that can be had without gathering; ok is false if not. The vector is valid
// until the next call. Text and tag sets keep their codes.
func (e *encoder) straighten(v *batch.Vector, rows int, order []int32) (s *batch.Vector, ok bool) {
	if v.Valid != nil || len(order) < sparseMin {
		return nil, false
	}
	e.sorted = batch.Vector{Type: v.Type, Dict: v.Dict}
	switch v.Type.Physical() {
	case schema.Int64:
		e.fullInts, ok = spreadRare(e, e.fullInts, v.I64[:rows], order)
		e.sorted.I64 = e.fullInts
	case schema.Code, schema.ID:
		e.fullCodes, ok = spreadRare(e, e.fullCodes, v.Codes[:rows], order)
		e.sorted.Codes = e.fullCodes
	}
	return &e.sorted, ok
}

// spreadRare fills dst with the rows of src in the given order if nearly all of src is one value.
func spreadRare[T comparable](e *encoder, dst, src []T, order []int32) (full []T, ok bool) {
	common, odd := src[0], 0
	if src[1] != common { // the first may be the rare one
		common = src[2]
	}
	for i := range sparseSamples {
		if src[i*(len(src)/sparseSamples)] != common {
			odd++
		}
	}
	if odd > sparseSamples/sparsePart {
		return dst, false
	}
	e.rare = e.rare[:0]
	most := len(src) / sparsePart
	for i, x := range src {
		if x != common {
			if len(e.rare) == most {
				return dst, false
			}
			e.rare = append(e.rare, int32(i))
		}
	}
	full = extend(dst, 0, len(order))
	for i := range full {
		full[i] = common
	}
	if len(e.rare) == 0 {
		return full, true
	}
	place := e.inverse(order, len(src))
	for _, r := range e.rare {
		if p := place[r]; p >= 0 {
			full[p] = src[r]
		}
	}
	return full, true
}

// inverse is, by row, its place in order, -1 for a row that is not in it.
func (e *encoder) inverse(order []int32, rows int) []int32 {
	if e.placed {
		return e.places
	}
	e.placed = true
	e.places = extend(e.places, 0, rows)
	if len(order) < rows {
		for i := range e.places {
			e.places[i] = -1
		}
	}
	for i, r := range order {
		e.places[r] = int32(i)
	}
	return e.places
}

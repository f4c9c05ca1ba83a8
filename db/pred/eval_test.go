package pred

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// A term on tag-set ids selects the same rows whether the ids lie close together or one of them is wild, and a wild one
// costs no table.
func TestSelectIDs(t *testing.T) {
	dense := []uint32{3, 3, 0, 7, 70000, 7, 3}
	wild := append(slices.Clone(dense), math.MaxUint32, math.MaxUint32, 3, math.MaxUint32-1)
	valid := batch.NewBitmap(len(wild))
	for _, i := range []int{0, 2, 3, 7, 9, 10} {
		valid.Set(i)
	}
	someRows := []int32{1, 2, 3, 6}
	for _, ids := range [][]uint32{{}, {3}, {0, 7}, {3, 70000, math.MaxUint32}, {math.MaxUint32 - 1}} {
		for _, not := range []bool{false, true} {
			for _, codes := range [][]uint32{dense, wild} {
				for _, bits := range []batch.Bitmap{nil, valid} {
					for _, in := range [][]int32{nil, someRows} {
						term := Term{Kind: Tags, IDs: roaring.BitmapOf(ids...), Not: not}
						v := &batch.Vector{Type: schema.TagSet, Codes: codes, Valid: bits}
						want := []int32{}
						for i, c := range codes {
							if (in == nil || slices.Contains(in, int32(i))) && !v.IsNull(i) && slices.Contains(ids, c) != not {
								want = append(want, int32(i))
							}
						}
						if got := term.Select(nil, v, len(codes), in, nil); !slices.Equal(got, want) {
							t.Errorf("ids %d not %v of %d in %d: rows %d, want %d", ids, not, codes, in, got, want)
						}
					}
				}
			}
		}
	}
	term := Term{Kind: Tags, IDs: roaring.BitmapOf(3)}
	if lut := term.matchIDs(&batch.Vector{Type: schema.TagSet, Codes: wild}, nil); lut != nil {
		t.Errorf("a table of %d for %d rows", len(lut), len(wild))
	}
	if lut := term.matchIDs(&batch.Vector{Type: schema.TagSet, Codes: dense[:4]}, nil); len(lut) != 8 {
		t.Errorf("a table of %d, want 8", len(lut))
	}
}

// TestSelectInts compares the kernels without branches with Term.Int, row by row.
func TestSelectInts(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	edges := []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 5, math.MaxInt64 - 1, math.MaxInt64}
	number := func() int64 {
		if rng.IntN(2) == 0 {
			return edges[rng.IntN(len(edges))]
		}
		return rng.Int64N(10)
	}
	for range 3000 {
		n := rng.IntN(140)
		v := &batch.Vector{Type: schema.BigInt, I64: make([]int64, n)}
		if rng.IntN(2) == 0 {
			v.Valid = batch.NewBitmap(n)
		}
		lut, codes := []bool{true, false, rng.IntN(2) == 0}, make([]uint32, n)
		var in []int32
		for i := range v.I64 {
			v.I64[i], codes[i] = number(), rng.Uint32N(3)
			if v.Valid != nil && rng.IntN(3) > 0 {
				v.Valid.Set(i)
			}
			if rng.IntN(2) == 0 {
				in = append(in, int32(i))
			}
		}
		if rng.IntN(2) == 0 {
			in = nil
		}
		term := Term{Kind: IntRange, Lo: number(), Hi: number(), Not: rng.IntN(2) == 0}
		want, wantCodes := []int32{}, []int32{}
		for i := range int32(n) {
			if in != nil && !slices.Contains(in, i) {
				continue
			}
			if !v.IsNull(int(i)) && term.Int(v.I64[i]) {
				want = append(want, i)
			}
			if lut[codes[i]] {
				wantCodes = append(wantCodes, i)
			}
		}
		if got := SelectLUT(nil, codes, in, lut); !slices.Equal(got, wantCodes) {
			t.Fatalf("codes %d in %d: rows %d, want %d", codes, in, got, wantCodes)
		}
		if got := term.Select([]int32{-7}, v, n, in, nil); !slices.Equal(got[1:], want) || got[0] != -7 {
			t.Fatalf("%+v of %d in %d: rows %d, want %d", term, v.I64, in, got, want)
		}
		if in != nil { // in its own memory
			if got := term.Select(in[:0], v, n, in, nil); !slices.Equal(got, want) {
				t.Fatalf("%+v of %d: rows %d, want %d", term, v.I64, got, want)
			}
		}
	}
}

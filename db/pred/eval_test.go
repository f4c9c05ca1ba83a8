package pred

import (
	"math"
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

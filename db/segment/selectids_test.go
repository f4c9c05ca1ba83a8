package segment

import (
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
)

// TestSelectIDs: small ids, which are looked up in a table, and large ones select the rows that a loop over all does.
func TestSelectIDs(t *testing.T) {
	const n = 300
	for _, step := range []uint32{1, 63, 64, 5_000_000} {
		set, codes := roaring.New(), make([]uint32, n)
		for i := range codes {
			codes[i] = uint32(i*7919%n) * step
			if i%3 == 0 {
				set.Add(uint32(i/2) * step)
			}
		}
		for _, ids := range []*roaring.Bitmap{set, roaring.New(), roaring.BitmapOf(0)} {
			for _, in := range [][]int32{nil, {}, {0}, {1, 2, 50, 299}} {
				for _, not := range []bool{false, true} {
					var want []int32
					for i, id := range codes {
						if (in == nil || slices.Contains(in, int32(i))) && ids.Contains(id) != not {
							want = append(want, int32(i))
						}
					}
					got := selectIDs(nil, &batch.Vector{Codes: codes}, n, in, &pred.Term{IDs: ids, Not: not})
					if !slices.Equal(got, want) {
						t.Fatalf("step %d, in %v, not %v: %v, want %v", step, in, not, got, want)
					}
				}
			}
		}
	}
}

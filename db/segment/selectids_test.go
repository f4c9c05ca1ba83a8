package segment

import (
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

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
					var s idTable
					s.begin(&pred.Term{IDs: ids, Not: not})
					for range 3 { // more and more are asked
						got := s.selectRows(make([]int32, 0, n), codes, in)
						if !slices.Equal(got, want) {
							t.Fatalf("step %d, in %v, not %v: %v, want %v", step, in, not, got, want)
						}
						for i, ok := range s.truth(nil, codes) {
							if ok != (ids.Contains(codes[i]) != not) {
								t.Fatalf("step %d, not %v: id %d is %v", step, not, codes[i], ok)
							}
						}
						if in != nil {
							if got = s.selectRows(slices.Clone(in)[:0], codes, in); !slices.Equal(got, want) {
								t.Fatalf("in place: %v, want %v", got, want)
							}
						}
						s.ask(n)
					}
				}
			}
		}
	}
}

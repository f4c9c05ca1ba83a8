package segment

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

func TestNarrowGathersTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n = narrowMin
	order := make([]int32, n)
	for i, r := range rng.Perm(n) {
		order[i] = int32(r)
	}
	order = order[:n-n/3]
	var e encoder
	for _, c := range []struct {
		name  string
		lo    int64
		span  uint64
		bytes int // of a number in the copy; 0 for none
	}{
		{"constant", -5, 0, 2}, {"words", -40_000, math.MaxUint16, 2}, {"longs", 1e18, math.MaxUint16 + 1, 4},
		{"widest longs", math.MaxInt64 - math.MaxUint32, math.MaxUint32, 4}, {"too wide", 0, math.MaxUint32 + 1, 0},
		{"everything", math.MinInt64, math.MaxUint64, 0}, {"words again", 7, 9, 2},
	} {
		v := &batch.Vector{Type: schema.BigInt, I64: make([]int64, n)}
		for i := range v.I64 {
			x := rng.Uint64()
			if c.span != math.MaxUint64 {
				x %= c.span + 1
			}
			v.I64[i] = int64(uint64(c.lo) + x)
		}
		v.I64[order[0]], v.I64[order[1]] = c.lo, int64(uint64(c.lo)+c.span)
		near := e.nearer(v, n)
		switch {
		case (near == nil) != (c.bytes == 0):
			t.Errorf("%s: a copy: %v", c.name, near != nil)
			continue
		case near == nil:
			continue
		case (len(near.words) == n) != (c.bytes == 2) || (len(near.longs) == n) != (c.bytes == 4):
			t.Errorf("%s: %d words, %d longs", c.name, len(near.words), len(near.longs))
		}
		got, want := make([]int64, len(order)), make([]int64, len(order))
		lo, hi := near.gather(got, order)
		wantLo, wantHi := gatherRange(want, v.I64, order, 0)
		if lo != wantLo || hi != wantHi || !slices.Equal(got, want) {
			t.Errorf("%s: gathered otherwise: range %d to %d, want %d to %d", c.name, lo, hi, wantLo, wantHi)
		}
	}
	if e.nearer(&batch.Vector{Type: schema.BigInt, I64: make([]int64, n)}, n-1) != nil {
		t.Error("a copy of few rows")
	}
}

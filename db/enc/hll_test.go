package enc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
)

func hllOf(i uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], i)
	return HLLValue(xxhash.Sum64(b[:]))
}

func TestHLLEstimate(t *testing.T) {
	var h HLL
	if h.Estimate() != 0 || len(h.AppendTo(nil)) != 0 {
		t.Fatal("an empty one holds something")
	}
	next := uint64(1)
	for i := uint64(1); i <= 300_000; i++ {
		h.Add(hllOf(i))
		h.Add(hllOf(i))
		if i != next {
			continue
		}
		next += next/3 + 1
		got := float64(h.Estimate())
		bound := 0.0
		if i > HLLExact {
			bound = 3.5 * HLLError
		}
		if math.Abs(got/float64(i)-1) > bound {
			t.Errorf("%d values: estimate %g", i, got)
		}
	}
}

// TestHLLMerge: the bytes depend on the set of values alone.
func TestHLLMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 100, HLLExact - 1, HLLExact, HLLExact + 1, 5000} {
		var values []uint64
		for i := range n {
			values = append(values, hllOf(uint64(i)))
		}
		var whole HLL
		for _, v := range values {
			whole.Add(v)
		}
		want := whole.AppendTo(nil)
		slices.Sort(values)
		if got := AppendHLL(nil, values); !bytes.Equal(got, want) {
			t.Fatalf("%d values: AppendHLL differs from Add", n)
		}
		var parts [4]HLL
		for _, v := range values {
			parts[r.IntN(4)].Add(v)
			parts[r.IntN(4)].Add(v)
		}
		var ab, ba HLL
		for i := range parts {
			if err := ab.Merge(parts[i].AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
			ba.MergeWith(&parts[3-i])
		}
		if !bytes.Equal(ab.AppendTo(nil), want) || !bytes.Equal(ba.AppendTo(nil), want) {
			t.Fatalf("%d values: merging depends on the order", n)
		}
	}
}

func TestHLLDamage(t *testing.T) {
	var sparse, dense HLL
	for i := range uint64(5000) {
		if i < 100 {
			sparse.Add(hllOf(i))
		}
		dense.Add(hllOf(i))
	}
	for _, h := range []*HLL{&sparse, &dense} {
		src := h.AppendTo(nil)
		before := slices.Clone(src)
		for cut := 1; cut < len(src); cut++ {
			if err := h.Merge(src[:cut]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if err := h.Merge(append(slices.Clip(src), 0)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bytes behind: %v", err)
		}
		if err := h.Merge([]byte{9}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("version 9: %v", err)
		}
		if !bytes.Equal(h.AppendTo(nil), before) {
			t.Fatal("a failed merge changed it")
		}
	}
	if !HLLDense(dense.AppendTo(nil)) || HLLDense(sparse.AppendTo(nil)) {
		t.Fatal("HLLDense")
	}
}

func FuzzHLLMerge(f *testing.F) {
	var h HLL
	f.Add([]byte{}, h.AppendTo(nil))
	h.Add(7)
	f.Add(h.AppendTo(nil), []byte{1, 1, 0})
	for i := range uint64(1000) {
		h.Add(hllOf(i))
	}
	f.Add(h.AppendTo(nil), h.AppendTo(nil))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y, ab, ba HLL
		if x.Merge(a) != nil || y.Merge(b) != nil {
			return
		}
		ab.MergeWith(&x)
		ab.MergeWith(&y)
		ba.MergeWith(&y)
		ba.MergeWith(&x)
		if !bytes.Equal(ab.AppendTo(nil), ba.AppendTo(nil)) {
			t.Fatal("merge is not commutative")
		}
		var back HLL
		if err := back.Merge(ab.AppendTo(nil)); err != nil || back.Estimate() != ab.Estimate() {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

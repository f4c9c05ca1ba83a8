package tags

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// arena lays sets out as a dictionary does.
func arena(sets ...[]byte) (data []byte, offs []uint32) {
	offs = []uint32{0}
	for _, enc := range sets {
		data = append(data, enc...)
		offs = append(offs, uint32(len(data)))
	}
	return data, offs
}

// All sets at once have the ids that they have one by one, whether they were met lately or not.
func TestLookupAll(t *testing.T) {
	for _, recent := range []int64{1, 1 << 20} {
		s := New(Limits{RecentBytes: recent})
		var sets [][]byte
		for i := range 3000 {
			sets = append(sets, wide(i))
			if i%3 != 0 {
				if _, _, err := s.Intern(sets[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		sets = append(sets, nil, []byte{3, 'a'}, []byte("no set"), sets[1])
		for _, n := range []int{0, 1, 63, 64, 65, len(sets)} {
			some := sets[len(sets)-n:]
			want, unknown := make([]uint32, n), 0
			for i, enc := range some {
				id, ok := s.Lookup(enc)
				if want[i] = id; !ok {
					want[i] = Unknown
					unknown++
				}
			}
			data, offs := arena(some...)
			got := append(make([]uint32, n), 77)
			if miss := s.LookupAll(data, offs, got); miss != unknown || got[n] != 77 || !slices.Equal(got[:n], want) {
				t.Fatalf("recent %d, %d sets: %d unknown, want %d; ids differ: %v", recent, n, miss, unknown, !slices.Equal(got[:n], want))
			}
		}
	}
	if n := New(Limits{}).LookupAll(nil, nil, nil); n != 0 {
		t.Errorf("%d of no sets are unknown", n)
	}
}

// What is found while sets are added has its id.
func TestLookupAllWhileAdding(t *testing.T) {
	const n = 4000
	s := New(Limits{RecentBytes: 4096})
	sets := wideSets(n)
	data, offs := arena(sets...)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for _, enc := range sets {
			s.Intern(enc)
		}
	}()
	ids := make([]uint32, n)
	for done := false; !done; {
		done = s.Len() > n
		s.LookupAll(data, offs, ids)
		for i, id := range ids {
			if id != Unknown && id != uint32(i)+1 {
				t.Fatalf("set %d has id %d", i+1, id)
			}
		}
	}
	wg.Wait() // a set is counted before it is found
	if n := s.LookupAll(data, offs, ids); n > 0 || slices.Contains(ids, Unknown) {
		t.Errorf("%d sets were not found after all were added", n)
	}
}

func TestLookupAllAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are not counted with the race detector")
	}
	s := New(Limits{})
	sets := wideSets(500)
	for _, enc := range sets {
		s.Intern(enc)
	}
	data, offs := arena(sets...)
	ids := make([]uint32, len(sets))
	if n := testing.AllocsPerRun(10, func() { s.LookupAll(data, offs, ids) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookupAll(b *testing.B) {
	for _, n := range []int{8192, 100_000} {
		sets := wideSets(n)
		s := New(Limits{})
		for _, enc := range sets {
			s.Intern(enc)
		}
		data, offs := arena(sets...)
		ids := make([]uint32, n)
		perSet := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/set")
		}
		b.Run(fmt.Sprintf("all/sets=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.LookupAll(data, offs, ids)
			}
			perSet(b)
		})
		b.Run(fmt.Sprintf("each/sets=%d", n), func(b *testing.B) {
			for b.Loop() {
				for i := range ids {
					ids[i], _ = s.Lookup(data[offs[i]:offs[i+1]])
				}
			}
			perSet(b)
		})
	}
}

package tags

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// world makes sets that look like a cluster's: a few regions, many pods that come and go, labels that some sets have.
func world(r *rand.Rand, i int) []Tag {
	svc := i / 7 % 50
	t := []Tag{
		{"region", []string{"eu", "us"}[i%2]},
		{"service", fmt.Sprint("svc-", svc)},
		{"pod", fmt.Sprintf("svc-%d-%x", svc, i/3)},
		{"series", fmt.Sprint(i)},
	}
	if r.IntN(3) == 0 {
		t = append(t, Tag{"app", fmt.Sprint("app-", r.IntN(300))})
	}
	if i%1000 == 17 {
		t = append(t, Tag{fmt.Sprint("rare-", i/1000), "yes"})
	}
	if i > 5000 {
		t = append(t, Tag{"late", fmt.Sprint(r.IntN(3))})
	}
	return t
}

func fill(t testing.TB, n int) (*Store, []map[string]string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	s := New(Limits{})
	model := []map[string]string{{}}
	for i := range n {
		tags := world(r, i)
		id, created, err := s.Intern(AppendSet(nil, tags...))
		if err != nil || !created || int(id) != i+1 {
			t.Fatalf("set %d: id %d created %v err %v", i, id, created, err)
		}
		m := map[string]string{}
		for _, tag := range tags {
			m[tag.Key] = tag.Value
		}
		model = append(model, m)
	}
	return s, model
}

func TestInternIsStable(t *testing.T) {
	s, model := fill(t, 9000)
	v := s.View()
	for id, m := range model {
		var tags []Tag
		for k, val := range m {
			tags = append(tags, Tag{k, val})
		}
		enc := AppendSet(nil, tags...)
		if !bytes.Equal(v.Set(uint32(id)), enc) {
			t.Fatalf("set %d is %q, want %q", id, print(v.Set(uint32(id))), print(enc))
		}
		if got, ok := s.Lookup(enc); !ok || int(got) != id {
			t.Fatalf("lookup of %d: %d %v", id, got, ok)
		}
		if got, created, err := s.Intern(enc); created || err != nil || int(got) != id {
			t.Fatalf("intern of %d again: %d %v %v", id, got, created, err)
		}
		if val, ok := v.Value(uint32(id), "pod"); ok != (id > 0) || val != m["pod"] {
			t.Fatalf("pod of %d: %q %v", id, val, ok)
		}
	}
	if v.Set(uint32(len(model))) != nil || v.Set(0) != nil {
		t.Error("sets that are not there")
	}
	if _, ok := s.Lookup(set("no", "such")); ok {
		t.Error("found a set that is not there")
	}
}

// Every question, at several points in time, has the answer that a loop over the sets gives.
func TestViewAgainstModel(t *testing.T) {
	s, model := fill(t, 9000)
	keys := []string{"region", "service", "pod", "series", "app", "late", "rare-3", "rare-8", "none"}
	for _, n := range []int{1, 2, 30, 4095, 4096, 4097, 5003, 8192, 8193, 9001} {
		v := &View{s: s, n: uint32(n)}
		for _, key := range keys {
			checkKey(t, v, model[:n], key)
		}
		infos := v.Keys()
		if !slices.IsSortedFunc(infos, func(a, b KeyInfo) int { return strings.Compare(a.Key, b.Key) }) {
			t.Errorf("n=%d: keys out of order", n)
		}
		for _, info := range infos {
			values, sets := map[string]bool{}, 0
			for _, m := range model[:n] {
				if val, ok := m[info.Key]; ok {
					values[val] = true
					sets++
				}
			}
			if info.Sets != sets || info.Values != len(values) {
				t.Errorf("n=%d: %+v, want %d sets and %d values", n, info, sets, len(values))
			}
		}
	}
}

func checkKey(t *testing.T, v *View, model []map[string]string, key string) {
	t.Helper()
	where := func(f func(string, bool) bool) *roaring.Bitmap {
		b := roaring.New()
		for id, m := range model {
			if val, ok := m[key]; f(val, ok) {
				b.Add(uint32(id))
			}
		}
		return b
	}
	same := func(what string, got, want *roaring.Bitmap) {
		t.Helper()
		if !got.Equals(want) {
			t.Errorf("n=%d %s %s: %d ids, want %d", len(model), key, what, got.GetCardinality(), want.GetCardinality())
		}
	}
	some := map[string]bool{"eu": true, "svc-7": true, "no such value": true, "yes": true}
	for _, id := range []int{1, len(model) / 2, len(model) - 1, len(model) * 3 / 4} {
		some[model[id%len(model)][key]] = true
	}
	var list []string
	for val := range some {
		list = append(list, val)
		same("= "+val, v.Equal(key, val), where(func(s string, _ bool) bool { return s == val }))
	}
	same("in", v.In(key, list...), where(func(s string, _ bool) bool { return some[s] }))
	same("in nothing", v.In(key), roaring.New())
	odd := func(s string) bool { return len(s)%2 == 1 }
	same("odd", v.Match(key, odd), where(func(s string, ok bool) bool { return ok && odd(s) }))
	same("prefix", v.Match(key, HasPrefix("svc-1")), where(func(s string, _ bool) bool { return strings.HasPrefix(s, "svc-1") }))
	same("has", v.Has(key), where(func(_ string, ok bool) bool { return ok }))
	same("missing", v.Missing(key), where(func(_ string, ok bool) bool { return !ok }))

	want := map[string]bool{}
	for _, m := range model {
		if val, ok := m[key]; ok {
			want[val] = true
		}
	}
	got := v.Values(key, nil, 0)
	if len(got) != len(want) || !slices.IsSorted(got) {
		t.Errorf("n=%d %s: %d values, want %d", len(model), key, len(got), len(want))
	}
	if few := v.Values(key, nil, 3); !slices.Equal(few, got[:min(3, len(got))]) {
		t.Errorf("n=%d %s: first values %q", len(model), key, few)
	}
	for _, val := range v.Values(key, odd, 0) {
		if !want[val] || !odd(val) {
			t.Errorf("n=%d %s: value %q", len(model), key, val)
		}
	}
	checkDense(t, v, model, key, len(want))
}

func checkDense(t *testing.T, v *View, model []map[string]string, key string, distinct int) {
	t.Helper()
	d := v.Dense(key)
	values := d.Values()
	if len(d.Codes) != len(model) || d.Len() != distinct+1 || len(values) != d.Len() || values[0] != "" {
		t.Fatalf("n=%d %s: dense map of %d sets and %d values, want %d and %d", len(model), key, len(d.Codes), d.Len()-1, len(model), distinct)
	}
	for id, m := range model {
		if values[d.Codes[id]] != m[key] {
			t.Fatalf("n=%d %s: set %d has %q, want %q", len(model), key, id, values[d.Codes[id]], m[key])
		}
	}
}

func TestDenseWithoutCache(t *testing.T) {
	s, model := fill(t, 6000)
	s.limits.DenseBytes = 10_000
	for _, n := range []int{100, 5000, 6001} {
		checkDense(t, &View{s: s, n: uint32(n)}, model[:n], "app", len((&View{s: s, n: uint32(n)}).Values("app", nil, 0)))
	}
	if got := s.Stats().Dense; got > 10_000 {
		t.Errorf("cached %d bytes", got)
	}
}

func TestLimits(t *testing.T) {
	s := New(Limits{MaxSets: 3, MaxKeys: 3})
	for _, c := range []struct {
		enc []byte
		id  uint32
		err error
	}{
		{set("a", "1"), 1, nil},
		{set("a", "1", "b", "2", "c", "3", "d", "4"), 0, ErrTooManySets}, // keys
		{[]byte{9}, 0, ErrMalformed},
		{set("a", "2", "b", "3"), 2, nil},
		{set("a", "3"), 0, ErrTooManySets},
		{set("a", "1"), 1, nil},
		{nil, 0, nil},
	} {
		if id, _, err := s.Intern(c.enc); id != c.id || !errors.Is(err, c.err) {
			t.Errorf("%s: %d %v, want %d %v", print(c.enc), id, err, c.id, c.err)
		}
	}
	st := s.Stats()
	if st.Sets != 3 || st.Keys != 2 || st.Misses != 2 || st.RefusedSets != 1 || st.RefusedKeys != 1 || st.RefusedInvalid != 1 {
		t.Errorf("%+v", st)
	}
	s = New(Limits{MaxBytes: 3000})
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, _, err = s.Intern(set("pod", fmt.Sprint("pod-", n)))
	}
	if !errors.Is(err, ErrTooManySets) || s.Stats().RefusedBytes != 1 || s.Stats().Bytes > 3000 || n < 5 {
		t.Errorf("after %d sets: %v, %+v", n, err, s.Stats())
	}
}

func TestLoad(t *testing.T) {
	s := New(Limits{})
	for _, c := range []struct {
		id   uint32
		enc  []byte
		want error
	}{
		{1, set("a", "1"), nil},
		{1, set("a", "2"), ErrOrder},
		{3, set("a", "2"), ErrOrder},
		{2, set("a", "1"), ErrDuplicate},
		{2, nil, ErrDuplicate},
		{2, []byte{1}, ErrMalformed},
		{2, set("a", "2"), nil},
	} {
		if err := s.Load(c.id, c.enc); !errors.Is(err, c.want) {
			t.Errorf("load %d %q: %v, want %v", c.id, c.enc, err, c.want)
		}
	}
	if s.Len() != 3 {
		t.Errorf("%d sets", s.Len())
	}
}

// Readers ask everything while the writer adds; the race detector and the answers tell.
func TestConcurrentReaders(t *testing.T) {
	s := New(Limits{})
	sets := 6000
	if raceEnabled {
		sets = 1500 // one block is enough for the detector; it is slow
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for !done.Load() {
				readAll(t, s.View(), r)
			}
		}()
	}
	for w := range 2 { // Intern may be called by several
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range sets {
				enc := set("n", fmt.Sprint(i), "even", fmt.Sprint(i%2), "mid", fmt.Sprint(i/10), "k"+fmt.Sprint(i/500), "x")
				id, _, err := s.Intern(enc)
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				if got, ok := s.Lookup(enc); !ok || got != id {
					t.Errorf("writer %d: set %d looked up as %d %v", w, id, got, ok)
					return
				}
			}
			done.Store(true)
		}()
	}
	wg.Wait()
	if s.Len() != sets+1 {
		t.Errorf("%d sets", s.Len())
	}
}

func readAll(t *testing.T, v *View, r *rand.Rand) {
	n := uint64(v.Len())
	even, odd := v.Equal("even", "0"), v.Equal("even", "1")
	if even.GetCardinality()+odd.GetCardinality() != n-1 {
		t.Errorf("of %d sets %d are even and %d odd", n, even.GetCardinality(), odd.GetCardinality())
	}
	if m := v.Match("mid", HasPrefix("1")); m.GetCardinality() > n {
		t.Errorf("%d of %d match", m.GetCardinality(), n)
	}
	if n == 1 {
		return
	}
	id := uint32(1 + r.IntN(int(n)-1))
	val, ok := v.Value(id, "n")
	if b := v.Equal("n", val); !ok || b.GetCardinality() != 1 || !b.Contains(id) {
		t.Errorf("set %d of %d: n is %q, which has %d ids", id, n, val, b.GetCardinality())
	}
	d := v.Dense("mid")
	if mid, _ := v.Value(id, "mid"); uint64(len(d.Codes)) != n || d.Value(d.Codes[id]) != mid {
		t.Errorf("set %d of %d: mid is %q, in the dense map %q", id, n, mid, d.Value(d.Codes[id]))
	}
	for _, k := range v.Keys() {
		if k.Sets == 0 || k.Values == 0 || uint64(k.Sets) >= n+1 {
			t.Errorf("key %+v of %d sets", k, n)
		}
	}
	if vals := v.Values("n", nil, 0); uint64(len(vals)) != n-1 {
		t.Errorf("%d values of %d sets", len(vals), n)
	}
}

func TestHitsDoNotAllocate(t *testing.T) {
	s := New(Limits{})
	enc := set("a", "1", "b", "2")
	s.Intern(enc)
	v := s.View()
	var room []byte
	if n := testing.AllocsPerRun(100, func() {
		s.Intern(enc)
		s.Lookup(enc)
		s.search(enc)
		room = v.AppendSet(room[:0], 1)
		v.Value(1, "b")
	}); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

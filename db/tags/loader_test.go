package tags

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// A loaded store is the one that was stored: ids, encodings, and what it takes.
func TestLoaderEqualsIntern(t *testing.T) {
	s, model := fill(t, 9000)
	v := s.View()
	again := New(Limits{})
	l := again.NewLoader()
	for id := uint32(1); int(id) < s.Len(); id++ {
		var refs []Ref
		v.Each(id, func(key, value string) {
			ref, err := l.Pair([]byte(key), []byte(value))
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, ref)
		})
		if err := l.Add(id, refs); err != nil {
			t.Fatal(err)
		}
	}
	w := again.View()
	for id := range model {
		if a, b := v.Set(uint32(id)), w.Set(uint32(id)); !bytes.Equal(a, b) {
			t.Fatalf("set %d is %q, loaded %q", id, print(a), print(b))
		}
	}
	for _, key := range []string{"region", "series", "late", "rare-3"} {
		checkKey(t, w, model, key)
	}
	if a, b := s.Stats().Bytes, again.Stats().Bytes; a != b {
		t.Errorf("%d bytes, loaded %d: refusal would differ", a, b)
	}
	enc := set("pod", "new")
	a, _, _ := s.Intern(enc)
	b, _, err := again.Intern(enc)
	if a != b || err != nil {
		t.Errorf("next id %d, loaded %d %v", a, b, err)
	}
}

func TestLoaderRefuses(t *testing.T) {
	pairs := func(l *Loader, kv ...string) (refs []Ref, err error) {
		for i := 0; i < len(kv) && err == nil; i += 2 {
			var r Ref
			r, err = l.Pair([]byte(kv[i]), []byte(kv[i+1]))
			refs = append(refs, r)
		}
		return refs, err
	}
	long := strings.Repeat("v", MaxValueBytes)
	var wide, huge []string
	for i := range MaxKeys + 1 {
		wide = append(wide, fmt.Sprintf("k%03d", i), "v")
		if i < 16 {
			huge = append(huge, fmt.Sprintf("k%03d", i), long)
		}
	}
	for _, c := range []struct {
		id   uint32
		kv   []string
		want error
	}{
		{2, []string{"a", "2"}, nil},
		{3, []string{"a", "2"}, ErrOrder},
		{2, []string{"a", "1"}, ErrDuplicate},
		{2, nil, ErrDuplicate},
		{2, []string{"b", "1", "a", "1"}, ErrMalformed},
		{2, []string{"a", "1", "a", "2"}, ErrMalformed},
		{2, []string{"a", ""}, ErrMalformed},
		{2, []string{"", "a"}, ErrMalformed},
		{2, []string{"a", "\xff"}, ErrNotUTF8},
		{2, []string{"a", long + "v"}, ErrValueTooLong},
		{2, []string{strings.Repeat("k", MaxKeyBytes+1), "v"}, ErrKeyTooLong},
		{2, wide, ErrTooManyKeys},
		{2, huge, ErrSetTooLong},
		{2, huge[:len(huge)-2], nil},
	} {
		l := New(Limits{}).NewLoader()
		refs, err := pairs(l, "a", "1")
		if err == nil {
			err = l.Add(1, refs)
		}
		if err != nil {
			t.Fatal(err)
		}
		if refs, err = pairs(l, c.kv...); err == nil {
			err = l.Add(c.id, refs)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%d %.40q: %v, want %v", c.id, c.kv, err, c.want)
		}
	}
}

// Sets that are many more than the cache holds are found all the same, and it stays within its bytes.
func TestRecentIsBounded(t *testing.T) {
	s := New(Limits{RecentBytes: 20_000})
	r := rand.New(rand.NewPCG(5, 5))
	for i := range 5000 {
		enc := set("pod", fmt.Sprint("pod-", i), "region", "eu")
		if id, _, err := s.Intern(enc); err != nil || int(id) != i+1 {
			t.Fatalf("%d %v", id, err)
		}
		old := r.IntN(i + 1)
		if id, ok := s.Lookup(set("pod", fmt.Sprint("pod-", old), "region", "eu")); !ok || int(id) != old+1 {
			t.Fatalf("set %d looked up as %d %v", old+1, id, ok)
		}
	}
	st := s.Stats()
	if st.Recent <= 0 || st.Recent > 20_000 {
		t.Errorf("%d bytes are cached", st.Recent)
	}
}

// Readers and writers of one line never take a set for another.
func TestRecentTorn(t *testing.T) {
	var r recent
	r.init(1)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range 20_000 {
				id := uint32(1 + rng.IntN(500))
				h := r.hash(binary.LittleEndian.AppendUint32(nil, id))
				h.first &^= 15 // all in one line
				if got, ok := r.get(h); ok && got != id {
					t.Errorf("set %d is %d", id, got)
				} else if !ok {
					r.put(h, id)
				}
			}
		})
	}
	wg.Wait()
}

// What the store says it takes is what it takes.
func TestBytesAreTrue(t *testing.T) {
	const n = 60_000
	sets := wideSets(n)
	before := heap()
	s := New(Limits{RecentBytes: 1})
	for _, enc := range sets {
		if _, _, err := s.Intern(enc); err != nil {
			t.Fatal(err)
		}
	}
	took, says := int64(heap()-before), s.Stats().Bytes
	if says < took*2/3 || says > took*3/2 {
		t.Errorf("%d bytes a set, it says %d", took/n, says/n)
	}
	if took/n > 200 {
		t.Errorf("%d bytes a set", took/n)
	}
	t.Logf("%d B/set, says %d, of %d encoded", took/n, says/n, len(sets[n-1]))
	if len(sets) != n { // keeps them until here
		t.Fatal()
	}
}

// Sets of equal keys in other numbers, of no common key, and look-ups of what is none.
func TestShapes(t *testing.T) {
	s := New(Limits{})
	r := rand.New(rand.NewPCG(9, 9))
	ids := map[string]uint32{}
	for range 20_000 {
		var tags []Tag
		for k := range 8 {
			if r.IntN(2) == 0 {
				tags = append(tags, Tag{fmt.Sprint("k", k), fmt.Sprint(r.IntN(3))})
			}
		}
		enc := AppendSet(nil, tags...)
		want, known := ids[string(enc)]
		if id, ok := s.Lookup(enc); len(enc) > 0 && (ok != known || id != want) {
			t.Fatalf("%s is %d %v, want %d %v", print(enc), id, ok, want, known)
		}
		id, created, err := s.Intern(enc)
		if err != nil || created == known && len(enc) > 0 || known && id != want {
			t.Fatalf("%s: %d %v %v, want %d", print(enc), id, created, err, want)
		}
		ids[string(enc)] = id
	}
	v := s.View()
	for enc, id := range ids {
		if got := v.Set(id); string(got) != enc {
			t.Fatalf("set %d is %s, want %s", id, print(got), print([]byte(enc)))
		}
	}
	for _, enc := range []string{"\x01", "\x02k0\x00", "\x02k0\x010\x02k0\x010", "\x00\x00", "\x02k1\x010\x02k0\x010"} {
		if id, ok := s.Lookup([]byte(enc)); ok {
			t.Errorf("%q is %d", enc, id)
		}
	}
}

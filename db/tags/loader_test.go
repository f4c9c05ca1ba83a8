package tags

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// load gives the sets of a view to a loader, set after set or key after key.
func load(t *testing.T, l *Loader, v *View, from, to uint32, byKey bool) error {
	t.Helper()
	if byKey {
		return v.Columns(from, to, 700, func(c *Column) error {
			no, err := l.Key([]byte(c.Key))
			for i, code := range c.Codes {
				if err == nil {
					c.Codes[i], err = l.Value(no, c.Data[c.Offs[code]:c.Offs[code+1]], uint32(c.IDs[i]))
				}
			}
			if err != nil {
				return err
			}
			return l.Add(no, c.IDs, c.Codes)
		})
	}
	var err error
	for id := from; id < to && err == nil; id++ {
		v.Each(id, func(key, value string) {
			if err == nil {
				err = loadPair(l, id, key, value)
			}
		})
	}
	return err
}

func loadPair(l *Loader, id uint32, key, value string) error {
	no, err := l.Key([]byte(key))
	if err != nil {
		return err
	}
	code, err := l.Value(no, []byte(value), id)
	if err != nil {
		return err
	}
	return l.Add(no, []int64{int64(id)}, []uint32{code})
}

// A loaded store is the one that was stored: ids, encodings, and what it takes, however many files there were.
func TestLoaderEqualsIntern(t *testing.T) {
	s, model := fill(t, 9000)
	v := s.View()
	for _, ends := range [][]uint32{{9001}, {1, 9001}, {2, 4095, 4096, 4097, 8200, 9001}} {
		for _, byKey := range []bool{true, false} {
			again := New(Limits{NowNanos: func() int64 { return 1e18 }})
			from := uint32(1)
			for _, to := range ends {
				l, err := again.NewLoader(from, to)
				if err != nil {
					t.Fatal(err)
				}
				if err := load(t, l, v, from, to, byKey); err != nil {
					t.Fatal(err)
				}
				if err := l.Finish(); err != nil {
					t.Fatal(err)
				}
				from = to
			}
			sameStore(t, s, again, model)
		}
	}
}

func sameStore(t *testing.T, s, again *Store, model []map[string]string) {
	t.Helper()
	v, w := s.View(), again.View()
	if v.Len() != w.Len() {
		t.Fatalf("%d sets, loaded %d", v.Len(), w.Len())
	}
	for id := range v.Len() {
		a, b := v.Set(uint32(id)), w.Set(uint32(id))
		if !bytes.Equal(a, b) {
			t.Fatalf("set %d is %q, loaded %q", id, print(a), print(b))
		}
		if got, ok := again.Lookup(a); !ok || int(got) != id {
			t.Fatalf("set %d is found as %d %v", id, got, ok)
		}
	}
	for _, key := range []string{"region", "series", "late", "rare-3"} {
		checkKey(t, w, model, key)
	}
	if a, b := s.Stats().Bytes, again.Stats().Bytes; a != b {
		t.Errorf("%d bytes, loaded %d: refusal would differ", a, b)
	}
	if got := w.Cardinality(1)[0].NewValues; got != 0 {
		t.Errorf("%v new values a minute of what was only loaded", got)
	}
	id, _, err := again.Intern(set("pod", "new"))
	if err != nil || int(id) != v.Len() {
		t.Errorf("next id %d %v, want %d", id, err, v.Len())
	}
}

func TestLoaderRefuses(t *testing.T) {
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
		{1, []string{"a", "2"}, ErrOrder},
		{2, []string{"a", "1"}, ErrDuplicate},
		{2, nil, ErrDuplicate},
		{2, []string{"b", "1", "a", "1"}, ErrMalformed},
		{2, []string{"a", "1", "a", "2"}, ErrOrder},
		{2, []string{"a", ""}, ErrMalformed},
		{2, []string{"", "a"}, ErrMalformed},
		{2, []string{"a", "\xff"}, ErrNotUTF8},
		{2, []string{"a", long + "v"}, ErrValueTooLong},
		{2, []string{strings.Repeat("k", MaxKeyBytes+1), "v"}, ErrKeyTooLong},
		{2, wide, ErrTooManyKeys},
		{2, huge, ErrSetTooLong},
		{2, huge[:len(huge)-2], nil},
	} {
		l, err := New(Limits{}).NewLoader(1, 3)
		if err == nil {
			err = loadPair(l, 1, "a", "1")
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(c.kv) && err == nil; i += 2 {
			err = loadPair(l, c.id, c.kv[i], c.kv[i+1])
		}
		if err == nil {
			err = l.Finish()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%d %.40q: %v, want %v", c.id, c.kv, err, c.want)
		}
	}
	s := New(Limits{})
	for _, c := range [][2]uint32{{0, 1}, {2, 3}, {1, 0}} {
		if _, err := s.NewLoader(c[0], c[1]); !errors.Is(err, ErrOrder) {
			t.Errorf("loader of %v: %v", c, err)
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

// What the store says it takes is what it takes, whatever the sets are like, interned or loaded: MaxBytes bounds the heap.
func TestBytesAreTrue(t *testing.T) {
	const n = 60_000
	few := func(i int) []byte { return set("pod", fmt.Sprintf("pod-%08d", i), "app", fmt.Sprint(i%50)) }
	for _, c := range []struct {
		name string
		make func(i int) []byte
		most int64 // bytes a set
	}{
		{"18 tags, two unique", wide, 200},
		{"2 tags, one unique", few, 80},
		{"no value unique", func(i int) []byte {
			return set("a", fmt.Sprint(i%300), "b", fmt.Sprint(i/300), "c", fmt.Sprint(i%7))
		}, 40},
		{"long values", func(i int) []byte { return set("path", strings.Repeat("x", 300)+fmt.Sprint(i)) }, 550},
		{"keys that few sets have", func(i int) []byte {
			return set("pod", fmt.Sprintf("pod-%08d", i), fmt.Sprint("label-", i%500), fmt.Sprint(i%3))
		}, 120},
		{"each its own keys", func(i int) []byte { return set(fmt.Sprint("key-", i/4), "1", "n", fmt.Sprint(i)) }, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			sets := make([][]byte, n)
			for i := range sets {
				sets[i] = c.make(i)
			}
			before := heap()
			s := New(Limits{RecentBytes: 1})
			for _, enc := range sets {
				if _, _, err := s.Intern(enc); err != nil {
					t.Fatal(err)
				}
			}
			took, says := int64(heap()-before), s.Stats().Bytes
			if says < took*4/5 || says > took*6/5 || took/n > c.most {
				t.Errorf("%d bytes a set, it says %d", took/n, says/n)
			}
			t.Logf("%d B/set, says %d, of %d encoded", took/n, says/n, len(sets[n-1]))
			before = heap()
			again := New(Limits{RecentBytes: 1})
			l, err := again.NewLoader(1, uint32(s.Len()))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(load(t, l, s.View(), 1, uint32(s.Len()), true), l.Finish()); err != nil {
				t.Fatal(err)
			}
			l = nil
			if took := int64(heap() - before); says < took*4/5 || says > took*6/5 {
				t.Errorf("%d bytes a set loaded, it says %d", took/n, says/n)
			}
			runtime.KeepAlive(sets)
			runtime.KeepAlive(s)
			runtime.KeepAlive(again)
		})
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

// A file whose first sets have new values each, and whose others do not, leaves no more room behind than it needs.
func TestLoaderGivesRoomBack(t *testing.T) {
	const fresh, all = 30_000, 120_000
	s := New(Limits{})
	l, err := s.NewLoader(1, all)
	if err != nil {
		t.Fatal(err)
	}
	pod, _ := l.Key([]byte("pod"))
	var ids []int64
	var codes []uint32
	for id := uint32(1); id < all; id++ {
		code, err := l.Value(pod, fmt.Appendf(nil, "pod-%08d", id%fresh), id)
		if err != nil {
			t.Fatal(err)
		}
		ids, codes = append(ids, int64(id)), append(codes, code)
	}
	if err := l.Add(pod, ids, codes); err != nil {
		t.Fatal(err)
	}
	series, _ := l.Key([]byte("series"))
	for i, id := range ids {
		if codes[i], err = l.Value(series, fmt.Appendf(nil, "%d", id), uint32(id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Add(series, ids, codes), l.Finish()); err != nil {
		t.Fatal(err)
	}
	for _, k := range *s.list.Load() {
		st, n := k.values.state.Load(), int(k.values.n.Load())
		if len(st.offs) > 2*n || len(st.data) > 2*int(st.offs[n]) || len(st.table) > 3*n {
			t.Errorf("%s: %d values, room for %d, %d slots", k.name, n, len(st.offs), len(st.table))
		}
	}
	v := s.View()
	for id := uint32(1); id < all; id += 997 {
		enc := v.Set(id)
		if want := set("pod", fmt.Sprintf("pod-%08d", id%fresh), "series", fmt.Sprint(id)); !bytes.Equal(enc, want) {
			t.Fatalf("set %d is %s, want %s", id, print(enc), print(want))
		}
		if got, ok := s.Lookup(enc); !ok || got != id {
			t.Fatalf("set %d is found as %d", id, got)
		}
	}
}

// FuzzLoader gives a loader pairs in any order: it refuses them, or has just the sets that they make, all different.
func FuzzLoader(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x01\x02\x01\x02\x01\x02"))
	f.Add([]byte("\x01\x01\x01\x02\x01\x01\x01\x02\x02"))
	f.Add([]byte("\x02\x01\x01\x01\x01\x01"))
	f.Add([]byte("\x01a1\x02a2\x03a3\x04a4\x05a5\x06a6"))
	f.Add([]byte("\x01a1\x02a1\x03a3\x01b1\x02b2\x04c1\x05d1\x06e1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		const sets = 6
		s := New(Limits{})
		l, err := s.NewLoader(1, sets+1)
		if err != nil {
			t.Fatal(err)
		}
		model := make([]map[string]string, sets+2)
		for ; len(in) >= 3; in = in[3:] {
			id, key, value := int64(in[0]%(sets+2)), in[1:2], in[2:3]
			no, err := l.Key(key)
			if err != nil {
				return
			}
			code, err := l.Value(no, value, uint32(id))
			if err == nil {
				err = l.Add(no, []int64{id}, []uint32{code})
			}
			if err != nil {
				return
			}
			if model[id] == nil {
				model[id] = map[string]string{}
			}
			model[id][string(key)] = string(value)
		}
		if err := l.Finish(); err != nil {
			return
		}
		seen := map[string]bool{}
		for id := 1; id <= sets; id++ {
			var tags []Tag
			for k, v := range model[id] {
				tags = append(tags, Tag{k, v})
			}
			enc := AppendSet(nil, tags...)
			if got := s.View().Set(uint32(id)); !bytes.Equal(got, enc) || len(enc) == 0 || seen[string(enc)] {
				t.Fatalf("set %d is %q, want %q", id, got, enc)
			}
			if got, ok := s.Lookup(enc); !ok || got != uint32(id) {
				t.Fatalf("set %d is found as %d %v", id, got, ok)
			}
			seen[string(enc)] = true
		}
	})
}

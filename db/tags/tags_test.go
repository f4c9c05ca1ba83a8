package tags

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

func set(pairs ...string) []byte {
	var t []Tag
	for i := 0; i < len(pairs); i += 2 {
		t = append(t, Tag{pairs[i], pairs[i+1]})
	}
	return AppendSet(nil, t...)
}

func print(enc []byte) string {
	var b strings.Builder
	if err := Each(enc, func(k, v []byte) { fmt.Fprintf(&b, "%s=%s ", k, v) }); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func TestAppendSet(t *testing.T) {
	cases := []struct {
		in   []Tag
		want string
	}{
		{nil, ""},
		{[]Tag{{"a", "1"}}, "a=1"},
		{[]Tag{{"a", "1"}, {"b", "2"}}, "a=1 b=2"},
		{[]Tag{{"b", "2"}, {"a", "1"}}, "a=1 b=2"},
		{[]Tag{{"a", "1"}, {"a", "2"}}, "a=2"},
		{[]Tag{{"b", "x"}, {"a", "1"}, {"b", "y"}, {"a", "0"}}, "a=0 b=y"},
		{[]Tag{{"a", ""}, {"b", "2"}}, "b=2"},
		{[]Tag{{"a", "1"}, {"a", ""}}, ""},
		{[]Tag{{"", "1"}}, ""},
	}
	for _, c := range cases {
		in := slices.Clone(c.in)
		got := AppendSet(nil, c.in...)
		if print(got) != c.want || Valid(got) != nil {
			t.Errorf("%v: %q, want %q; %v", c.in, print(got), c.want, Valid(got))
		}
		if !slices.Equal(in, c.in) {
			t.Errorf("%v was reordered", in)
		}
	}
	if got := AppendTag(AppendTag(AppendTag(nil, []byte("a"), []byte("1")), []byte("b"), nil), []byte("c"), []byte("2")); print(got) != "a=1 c=2" {
		t.Errorf("tag by tag: %q", print(got))
	}
}

func TestAppendSetCanonical(t *testing.T) {
	f := func(m map[string]string, seed uint64) bool {
		var in []Tag
		want := 0
		for k, v := range m {
			if len(k) > MaxKeyBytes || len(v) > MaxValueBytes {
				continue
			}
			in = append(in, Tag{k, v})
			if k != "" && v != "" {
				want++
			}
		}
		a := AppendSet(nil, in...)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		b := AppendSet(nil, in...)
		n := 0
		ok := Each(a, func(k, v []byte) {
			if m[string(k)] == string(v) {
				n++
			}
		})
		return bytes.Equal(a, b) && ok == nil && n == want && Valid(a) == nil
	}
	if err := quick.Check(f, nil); err != nil {
		t.Fatal(err)
	}
}

func TestAppendSetAllocations(t *testing.T) {
	in := []Tag{{"pod", "checkout-1"}, {"az", "eu-1a"}, {"service", "checkout"}, {"node", "n1"}}
	dst := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() { dst = AppendSet(dst[:0], in...) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestValid(t *testing.T) {
	many := func(n int) []byte {
		var enc []byte
		for i := range n {
			enc = AppendTag(enc, fmt.Appendf(nil, "k%05d", i), []byte("v"))
		}
		return enc
	}
	long := func(k, v int) []byte {
		return AppendTag(nil, bytes.Repeat([]byte("k"), k), bytes.Repeat([]byte("v"), v))
	}
	var big []byte
	for i := range 20 {
		big = AppendTag(big, fmt.Appendf(nil, "k%05d", i), bytes.Repeat([]byte("v"), MaxValueBytes))
	}
	cases := []struct {
		name string
		enc  []byte
		want error
	}{
		{"empty", nil, nil},
		{"one", set("a", "1"), nil},
		{"most keys", many(MaxKeys), nil},
		{"too many keys", many(MaxKeys + 1), ErrTooManyKeys},
		{"longest", long(MaxKeyBytes, MaxValueBytes), nil},
		{"long key", long(MaxKeyBytes+1, 1), ErrKeyTooLong},
		{"long value", long(1, MaxValueBytes+1), ErrValueTooLong},
		{"long set", big, ErrSetTooLong},
		{"descending", []byte("\x01b\x011\x01a\x011"), ErrMalformed},
		{"twice", []byte("\x01a\x011\x01a\x012"), ErrMalformed},
		{"empty value", []byte("\x01a\x00"), ErrMalformed},
		{"empty key", []byte("\x00\x011"), ErrMalformed},
		{"key only", []byte("\x01a"), ErrMalformed},
		{"cut", []byte("\x01a\x05x"), ErrMalformed},
		{"long varint", []byte("\x81\x00a\x011"), ErrMalformed},
		{"huge length", []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a"), ErrMalformed},
		{"endless varint", bytes.Repeat([]byte{0xff}, 20), ErrMalformed},
	}
	for _, c := range cases {
		if err := Valid(c.enc); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestGet(t *testing.T) {
	enc := set("a", "1", "c", "3", "e", "5")
	for _, c := range []struct {
		key, want string
		ok        bool
	}{{"a", "1", true}, {"c", "3", true}, {"e", "5", true}, {"b", "", false}, {"f", "", false}, {"", "", false}} {
		if v, ok := Get(enc, c.key); string(v) != c.want || ok != c.ok {
			t.Errorf("%s: %q %v", c.key, v, ok)
		}
	}
	if _, ok := Get([]byte{5, 'a'}, "a"); ok {
		t.Error("found a key in damage")
	}
	if err := Each([]byte("\x01a\x011\x05"), func(k, v []byte) {}); !errors.Is(err, ErrMalformed) {
		t.Errorf("each over damage: %v", err)
	}
}

func FuzzValid(f *testing.F) {
	f.Add(set("a", "1", "b", "22"))
	f.Add([]byte("\x81\x00a\x011"))
	f.Add([]byte("\x01b\x011\x01a\x011"))
	f.Fuzz(func(t *testing.T, enc []byte) {
		err := Valid(enc)
		var back []Tag
		each := Each(enc, func(k, v []byte) { back = append(back, Tag{string(k), string(v)}) })
		if err != nil {
			return
		}
		if each != nil || !bytes.Equal(AppendSet(nil, back...), enc) {
			t.Fatalf("valid but not canonical: %q, %v", enc, each)
		}
		for _, tag := range back {
			if v, ok := Get(enc, tag.Key); !ok || string(v) != tag.Value {
				t.Fatalf("%q not found", tag.Key)
			}
		}
		s := New(Limits{})
		id, created, err := s.Intern(enc)
		if err != nil || created != (len(enc) > 0) || !bytes.Equal(s.View().Set(id), enc) {
			t.Fatalf("intern: %d %v %v", id, created, err)
		}
	})
}

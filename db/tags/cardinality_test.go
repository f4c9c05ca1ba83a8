package tags

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestCardinality(t *testing.T) {
	now := int64(1e18)
	s := New(Limits{NowNanos: func() int64 { return now }})
	add := func(n int, f func(i int) []byte) {
		t.Helper()
		for i := range n {
			if _, created, err := s.Intern(f(i)); err != nil || !created {
				t.Fatal(created, err)
			}
		}
	}
	// 100 pods of 10 services, and 30 requests in each of the first ten: only the request multiplies.
	add(100, func(i int) []byte { return set("pod", fmt.Sprint("pod-", i), "service", fmt.Sprint(i%10)) })
	now += 3 * 60e9
	add(300, func(i int) []byte {
		return set("pod", fmt.Sprint("pod-", i%10), "service", fmt.Sprint(i%10), "request", fmt.Sprint(i))
	})
	now += 60e9
	got := s.View().Cardinality(0)
	if len(got) != 3 || got[0].Key != "request" || got[1].Key != "pod" || got[2].Key != "service" {
		t.Fatalf("%+v", got)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.05*want {
			t.Errorf("%s is %g, want about %g", what, got, want)
		}
	}
	near("multiplies of request", got[0].Multiplies, 30)
	near("multiplies of pod", got[1].Multiplies, 400.0/310)
	near("multiplies of service", got[2].Multiplies, 1)
	near("growth of request", got[0].NewValues, 300.0/4)
	if got[0].Values != 300 || got[0].Sets != 300 || got[1].Values != 100 || got[1].Sets != 400 || got[2].Values != 10 {
		t.Errorf("%+v", got)
	}
	share := 0.0
	for _, k := range got {
		share += k.Share
		if k.Bytes <= 0 {
			t.Errorf("%+v", k)
		}
	}
	near("all shares", share, 1)
	if top := s.View().Cardinality(1); len(top) != 1 || top[0].Key != "request" {
		t.Errorf("%+v", top)
	}
	now += 60 * 60e9
	if got := s.View().Cardinality(1); got[0].NewValues != 0 {
		t.Errorf("%g new values a minute after an hour of none", got[0].NewValues)
	}
	if got := New(Limits{}).View().Cardinality(0); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// Every limit refuses, by Intern and by Admits, names itself, and leaves the store as it was.
func TestLimitErrors(t *testing.T) {
	unique := func(i int) []byte { return set("pod", fmt.Sprint("pod-", i), "env", "prod") }
	for _, c := range []struct {
		limits Limits
		make   func(i int) []byte
		cause  Cause
		says   string
	}{
		{Limits{MaxSets: 40}, unique, CauseSets, `"pod" has the most values`},
		{Limits{MaxBytes: 8000}, unique, CauseBytes, `"pod" has the most values`},
		{Limits{MaxValues: 20}, unique, CauseValues, `key "pod" has 20 distinct values`},
		{Limits{MaxKeys: 10}, func(i int) []byte { return set(fmt.Sprint("k", i), "v") }, CauseKeys, "distinct tag keys"},
	} {
		s := New(c.limits)
		var err error
		promised := true
		n := 0
		for ; err == nil && n < 1000; n++ {
			promised = s.Admits([][]byte{c.make(n)}) == nil
			_, _, err = s.Intern(c.make(n))
		}
		var l *LimitError
		if !errors.As(err, &l) || !errors.Is(err, ErrTooManySets) || l.Cause != c.cause || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.limits, err)
			continue
		}
		if promised {
			t.Errorf("%s: refused what was admitted", c.cause)
		}
		if l.Want <= l.Limit || l.Have > l.Limit {
			t.Errorf("%+v", l)
		}
		before := s.Stats()
		if _, _, err := s.Intern(c.make(n)); !errors.As(err, &l) {
			t.Errorf("%s: then taken", c.cause)
		}
		if err := s.Admits([][]byte{c.make(n), c.make(n + 1)}); !errors.As(err, &l) || l.Cause != c.cause {
			t.Errorf("admits says %v, want %s", err, c.cause)
		}
		if s.Len() != before.Sets || s.Stats().Bytes != before.Bytes || s.Stats().Keys != before.Keys {
			t.Errorf("%s: the store changed", c.cause)
		}
		if err := s.Admits([][]byte{c.make(0)}); err != nil {
			t.Errorf("%s: a set that is there is refused: %v", c.cause, err)
		}
	}
}

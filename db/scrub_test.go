package db

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestScrubberSetsDamageAside(t *testing.T) {
	mem, segments := damageable(t)
	victim := segments[2]
	flip(t, mem, "data/"+victim.Path, 40)
	var mu sync.Mutex
	var aside []string
	d := mustOpen(t, mem, func(o *Options) {
		o.NoCompaction, o.HeadBytes, o.ScrubEvery = true, 1<<20, 40*time.Millisecond
		o.Events.Quarantined = func(path string, _ error) { mu.Lock(); aside = append(aside, path); mu.Unlock() }
	})
	defer d.Close()
	eventually(t, "two rounds", func() bool { return d.Metrics().ScrubRounds >= 2 })
	m := d.Metrics()
	if m.Quarantined != 1 || m.ScrubProblems != 1 || m.ScrubbedFiles < 8 || m.ScrubbedBytes == 0 || m.BackgroundErrors != 0 {
		t.Fatalf("%+v", m)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(aside, []string{victim.Path}) {
		t.Fatalf("set aside %q", aside)
	}
	if ids := allIDs(t, d); len(ids) != 70-int(victim.Rows) {
		t.Fatalf("%d rows", len(ids))
	}
}

// What cannot be set aside, or cannot be read, is told; the other files are checked.
func TestScrubberTellsOfTheRest(t *testing.T) {
	mem, segments := damageable(t)
	var broken atomic.Bool
	fsys := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if broken.Load() && c.Kind == vfs.OpRead && strings.HasSuffix(c.Path, segments[0].Path) {
			return vfs.Fault{Err: syscall.EIO}
		}
		return vfs.Fault{}
	}))
	tag := namesOf(t, mem, "tags")[0]
	var mu sync.Mutex
	said := map[string]bool{}
	d := mustOpen(t, fsys, func(o *Options) {
		o.NoCompaction, o.HeadBytes, o.ScrubEvery = true, 1<<20, -1
		o.Events.BackgroundError = func(action string, err error) {
			mu.Lock()
			defer mu.Unlock()
			for _, f := range []string{tag, segments[0].Path} {
				if strings.Contains(err.Error(), f) && action == "scrub" {
					said[f] = true
				}
			}
		}
	})
	defer d.Close()
	flip(t, mem, "data/"+tag, 40)
	broken.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); d.scrubber(ctx, 40*time.Millisecond) }()
	eventually(t, "a round", func() bool { return d.Metrics().ScrubRounds >= 1 })
	cancel()
	<-ended
	mu.Lock()
	defer mu.Unlock()
	if len(said) != 2 || d.Metrics().Quarantined != 0 {
		t.Fatalf("told of %v, %d set aside", said, d.Metrics().Quarantined)
	}
}

// Each file has its turn, also when the process never lives for a whole round.
func TestScrubberGoesOnAfterRestarts(t *testing.T) {
	mem, _ := damageable(t)
	now := time.Unix(0, t0)
	var all, seen []string
	for range 12 {
		d := mustOpen(t, mem, func(o *Options) {
			o.NoCompaction, o.HeadBytes, o.ScrubEvery = true, 1<<20, -1
			o.Now = func() time.Time { return now }
		})
		c := d.scrubContents()
		all = all[:0]
		for p := nextPath(c, ""); p != ""; p = nextPath(c, p) {
			all = append(all, p)
		}
		d.releaseTags()
		state := d.loadScrub()
		for range 2 { // the second one is not due
			if _, err := d.scrubDue(context.Background(), time.Hour, &state); err != nil {
				t.Fatal(err)
			}
		}
		if state.After != "" && (len(seen) == 0 || seen[len(seen)-1] != state.After) {
			seen = append(seen, state.After)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour / time.Duration(len(all)))
	}
	if len(all) < 5 || len(seen) < len(all) || len(seen) > 11 {
		t.Fatalf("%d files, %d were checked: %q", len(all), len(seen), seen)
	}
	slices.Sort(seen)
	if got := slices.Compact(seen); !slices.Equal(got, all) {
		t.Fatalf("checked %q of %q", got, all)
	}
}

func TestScrubStateOfOthers(t *testing.T) {
	mem, _ := damageable(t)
	for _, text := range []string{"", "{", `{"nanos":-1}`, `{"after":"zzz","nanos":9000000000000000000}`, `{"after":"zzz","nanos":1}`} {
		if err := write(mem, "data/SCRUB", text); err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, mem, func(o *Options) { o.NoCompaction, o.ScrubEvery = true, -1 })
		state := d.loadScrub()
		wait, err := d.scrubDue(context.Background(), time.Hour, &state)
		if err != nil || wait <= 0 || wait > time.Hour || state.Nanos <= 1 || state.Nanos > time.Now().UnixNano() {
			t.Errorf("%q: %+v, wait %v, %v", text, state, wait, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A file is read no faster than the rate.
func TestVerifyKeepsToItsRate(t *testing.T) {
	mem, segments := damageable(t)
	began := time.Now()
	total := int64(0)
	for _, s := range segments {
		total += s.Bytes
	}
	p, err := VerifyFolder(context.Background(), mem, "data", nil, withEvents, func(o *VerifyOptions) { o.BytesPerSecond = total * 5 })
	if err != nil || len(p) > 0 {
		t.Fatal(p, err)
	}
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Fatalf("%d bytes in %v", total, took)
	}
}

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

// filled returns a log of n records in several segments, closed.
func filled(t testing.TB, n int) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	l := mustOpen(t, mem)
	fill(t, l, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return mem
}

func lastSegment(t testing.TB, fsys vfs.FS) uint64 {
	t.Helper()
	d, err := readFolder(fsys, "data/wal")
	if err != nil {
		t.Fatal(err)
	}
	return d.segments[len(d.segments)-1]
}

func TestDamage(t *testing.T) {
	// The place of every record of the last segment and of one before it.
	mem := filled(t, 200)
	last := lastSegment(t, mem)
	var offs [2][]int64
	if err := Inspect(mem, "data/wal", func(i Info) error {
		for at, seq := range []uint64{last - 1, last} {
			if i.File == segmentName(seq) && (i.Kind == InfoRecord || i.Kind == InfoEnd) {
				offs[at] = append(offs[at], i.Offset)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	check := func(seq uint64, off int64, wantCut bool) {
		t.Helper()
		c := mem.CrashClone(vfs.CrashConfig{})
		b := make([]byte, 1)
		f, err := c.Open("data/wal/" + segmentName(seq))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		overwrite(t, c, segmentName(seq), off, []byte{b[0] ^ 0x10})
		l, err := Open("data/wal", testOptions(c))
		var corrupt *CorruptionError
		switch {
		case wantCut && err == nil:
			checkLog(t, l, 1, 199)
			_ = l.Close()
		case wantCut || !errors.As(err, &corrupt) || !errors.Is(err, ErrCorrupt):
			t.Fatalf("damage at %d of segment %d: %v", off, seq, err)
		case corrupt.File != segmentName(seq) || off >= dataStart && (corrupt.Offset > off || corrupt.Offset < off-5000):
			t.Fatalf("damage at %d of segment %d is reported as %v", off, seq, err)
		}
	}
	for at, seq := range []uint64{last - 1, last} {
		n := len(offs[at]) - 1 // the last is the end
		for i, off := range offs[at][:n] {
			for _, d := range []int64{0, 5, 9, 17, 20, 21, 22, recordHeader} {
				// The last record of all looks torn; any other is damage.
				check(seq, off+d, seq == last && i == n-1)
			}
		}
	}
	for _, off := range []int64{0, 20, 30, 50, 70} {
		check(last, off, false)
	}
}

func TestMissingAndShortSegments(t *testing.T) {
	mem := filled(t, 300)
	last := lastSegment(t, mem)
	open := func(c *vfs.Mem) error {
		l, err := Open("data/wal", testOptions(c))
		if err == nil {
			_ = l.Close()
		}
		return err
	}
	for seq := uint64(1); seq < last; seq++ {
		c := mem.CrashClone(vfs.CrashConfig{})
		if err := c.Remove("data/wal/" + segmentName(seq)); err != nil {
			t.Fatal(err)
		}
		if err := open(c); !errors.Is(err, ErrCorrupt) {
			t.Errorf("without segment %d: %v", seq, err)
		}
		for _, size := range []int64{0, 10, headerBytes, dataStart, 20000} {
			c := mem.CrashClone(vfs.CrashConfig{})
			f, err := c.OpenReadWrite("data/wal/" + segmentName(seq))
			if err == nil {
				err = errors.Join(f.Truncate(size), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := open(c); !errors.Is(err, ErrCorrupt) {
				t.Errorf("segment %d of %d bytes: %v", seq, size, err)
			}
		}
	}
	c := mem.CrashClone(vfs.CrashConfig{})
	overwrite(t, c, segmentName(last), 8, []byte{2})
	if err := open(c); !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrCorrupt) {
		t.Errorf("newer version: %v", err)
	}
	if err := c.Rename("data/wal/"+segmentName(1), "data/wal/"+segmentName(last)); err != nil {
		t.Fatal(err)
	}
	if err := open(c); !errors.Is(err, ErrCorrupt) {
		t.Errorf("renamed segment: %v", err)
	}
}

// TestDamageWhileOpen changes bytes under an open log: Get and Range say so and give nothing wrong.
func TestDamageWhileOpen(t *testing.T) {
	mem := filled(t, 50)
	l := mustOpen(t, mem)
	s, err := l.find(7)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, mem, s.name, s.offset(7)+recordHeader, []byte{0xaa, 0xbb, 0xcc})
	if _, err := l.Get(7, nil); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	n := 0
	if err := l.Range(0, func(uint64, []byte) error { n++; return nil }); !errors.Is(err, ErrCorrupt) || n != 6 {
		t.Fatalf("range gave %d records and %v", n, err)
	}
}

// TestRecycledNeverResurrects uses files again many times and compares after each reopening: what an earlier use has left
// behind the end must never count.
func TestRecycledNeverResurrects(t *testing.T) {
	mem := vfs.NewMem()
	l := mustOpen(t, mem)
	recs := [][]byte{bytes.Repeat([]byte("r"), 1000)} // the same in each use, at the same offsets
	for round := range 40 {
		for range 50 {
			mustAppend(t, l, recs...)
		}
		next := l.NextIndex()
		if err := l.TruncateFront(next - 5); err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			again := mustOpen(t, mem.CrashClone(vfs.CrashConfig{Seed: uint64(round), KeepUnsynced: 0.5}))
			if again.NextIndex() != next || again.FirstIndex() != next-4 {
				t.Fatalf("round %d: log is %d to %d, want %d to %d", round, again.FirstIndex(), again.NextIndex(), next-4, next)
			}
		}
	}
	if m := l.Metrics(); m.Recycled < 20 || m.SpareSegments > 2 {
		t.Fatalf("%d files used again, %d spare", m.Recycled, m.SpareSegments)
	}
}

// TestRecycledWithHigherIndices uses a file again in which indices are that come next: only the salt tells them apart.
func TestRecycledWithHigherIndices(t *testing.T) {
	mem := vfs.NewMem()
	l := mustOpen(t, mem)
	rec := bytes.Repeat([]byte("r"), 1000)
	for range 55 {
		mustAppend(t, l, rec)
	}
	for range 2 { // the second time the first file is used again
		if err := l.TruncateBack(1); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, rec)
	}
	if l.Metrics().Recycled != 1 {
		t.Fatal("the file was not used again")
	}
	_ = l.Close()
	if l = mustOpen(t, mem); l.LastIndex() != 1 {
		t.Fatalf("log ends at %d, want 1", l.LastIndex())
	}
}

// TestCrashWhileRecycling cuts the power while a spare becomes a segment, and lets the restarted log use all its spares.
func TestCrashWhileRecycling(t *testing.T) {
	mem := vfs.NewMem()
	crashes, seeds := 0, uint64(12)
	if raceEnabled {
		seeds = 1
	}
	counting := vfs.NewCounting(mem, nil)
	l := mustOpen(t, counting)
	fill(t, l, 5)
	counting.OnDone(func(c vfs.Call, _ error) {
		if c.Kind&(vfs.OpRename|vfs.OpSyncDir) == 0 {
			return
		}
		crashes++
		first, last := l.front, l.next-1 // as the leader sees it
		for seed := range seeds {
			crashed := mem.CrashClone(vfs.CrashConfig{Seed: seed<<20 | uint64(c.Seq), KeepUnsynced: 0.5})
			again, err := Open("data/wal", testOptions(crashed))
			if err != nil {
				t.Fatalf("%s of %s: %v", c.Kind, c.Path, err)
			}
			if again.FirstIndex() < first || again.LastIndex() != last {
				t.Fatalf("%s of %s: log is %d to %d, was %d to %d", c.Kind, c.Path, again.FirstIndex(), again.LastIndex(), first, last)
			}
			from := again.FirstIndex()
			fill(t, again, 120)
			checkLog(t, again, from, last+120)
			_ = again.Close()
			again = mustOpen(t, crashed)
			checkLog(t, again, from, last+120)
			_ = again.Close()
		}
	})
	for range 6 {
		fill(t, l, 60)
		if err := l.TruncateFront(l.LastIndex() - 3); err != nil {
			t.Fatal(err)
		}
	}
	counting.OnDone(nil)
	if crashes < 15 || l.Metrics().Recycled < 3 {
		t.Fatalf("%d crashes, %d files used again", crashes, l.Metrics().Recycled)
	}
}

func TestNoSync(t *testing.T) {
	mem := vfs.NewMem()
	counting := vfs.NewCounting(mem, func(c vfs.Call, _ error) {
		if c.Kind&(vfs.OpSync|vfs.OpSyncData|vfs.OpSyncDir) != 0 {
			t.Errorf("%s of %s in spite of NoSync", c.Kind, c.Path)
		}
	})
	noSync := func(o *Options) { o.NoSync = true }
	l := mustOpen(t, counting, noSync)
	fill(t, l, 100)
	_ = l.Close()
	l = mustOpen(t, mem) // with syncs from here on
	checkLog(t, l, 1, 100)
	fill(t, l, 10)
	_ = l.Close()
	checkLog(t, mustOpen(t, mem), 1, 110)
	if err := vfs.SyncDir(mem, "."); err != nil {
		t.Fatal(err)
	}
	checkLog(t, mustOpen(t, mem.CrashClone(vfs.CrashConfig{})), 1, 110) // all is durable since
}

func TestInspect(t *testing.T) {
	mem := filled(t, 120)
	l := mustOpen(t, mem)
	if err := l.TruncateFront(70); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	count := map[InfoKind]int{}
	var front, next uint64
	see := func(i Info) error {
		count[i.Kind]++
		front, next = max(front, i.Front), max(next, i.Index)
		return nil
	}
	if err := Inspect(mem, "data/wal", see); err != nil {
		t.Fatal(err)
	}
	if front != 71 || next != 121 || count[InfoFront] != 1 || count[InfoSegment] != count[InfoEnd] || count[InfoRecord] < 50 ||
		count[InfoSpare] == 0 || count[InfoDamage] > 0 {
		t.Fatalf("front %d, next %d, %v", front, next, count)
	}
	last := lastSegment(t, mem)
	for _, c := range []struct {
		seq uint64
		off int64
	}{{last, 3}, {last, dataStart + 2}, {last - 1, dataStart + 30}, {last, 8}} {
		bad := mem.CrashClone(vfs.CrashConfig{})
		overwrite(t, bad, segmentName(c.seq), c.off, []byte{0xee})
		clear(count)
		if err := Inspect(bad, "data/wal", see); err != nil || count[InfoDamage] != 1 {
			t.Errorf("damage at %v: %v, %v", c, count, err)
		}
	}
	if err := Inspect(mem, "missing", see); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestStable(t *testing.T) {
	mem := vfs.NewMem()
	want := map[string]string{}
	counting := vfs.NewCounting(mem, nil)
	var trying string // key whose change is under way
	counting.OnDone(func(c vfs.Call, _ error) {
		for seed, keep := range []float64{0, 0.5, 1} {
			s, err := OpenStable(mem.CrashClone(vfs.CrashConfig{Seed: uint64(seed), KeepUnsynced: keep}), "stable")
			if err != nil {
				t.Fatalf("after %s: %v", c.Kind, err)
			}
			for k, v := range want {
				if got, err := s.Get(k); k != trying && (err != nil || string(got) != v) {
					t.Fatalf("after %s: %s is %q, %v; want %q", c.Kind, k, got, err, v)
				}
			}
		}
	})
	s, err := OpenStable(counting, "stable")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		trying = fmt.Sprint("key", i%7)
		v := fmt.Sprint("value ", i)
		if err := s.Set(trying, []byte(v)); err != nil {
			t.Fatal(err)
		}
		want[trying], trying = v, ""
	}
	if err := s.SetUint64("term", 42); err != nil {
		t.Fatal(err)
	}
	counting.OnDone(nil)
	if err := s.SetAll(map[string][]byte{"key0": nil, "key1": []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenStable(mem, "stable"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("key0"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if n, err := s.GetUint64("term"); n != 42 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := s.GetUint64("none"); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := s.GetUint64("key1"); err == nil {
		t.Fatal("a text was read as a number")
	}
	if err := s.Set("big", make([]byte, stableLimit)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
}

func TestStableFailure(t *testing.T) {
	var rules vfs.Rules
	s, err := OpenStable(vfs.NewInjecting(vfs.NewMem(), &rules), "stable")
	if err != nil {
		t.Fatal(err)
	}
	rules.Add(vfs.Rule{Kinds: vfs.OpSync, Count: 1})
	for range 2 {
		if err := s.Set("a", []byte("1")); !errors.Is(err, ErrReadOnly) {
			t.Fatal(err)
		}
	}
	if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Fatal("a failed change is visible")
	}
}

// FuzzStable feeds foreign bytes: no panic, and what is accepted prints back the same.
func FuzzStable(f *testing.F) {
	f.Add(appendStable(nil, nil))
	f.Add(appendStable(nil, map[string][]byte{"term": {1}, "": {}, "vote": []byte("node-2")}))
	f.Add([]byte(stableMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := parseStable("x", b)
		if err != nil {
			return
		}
		again, err := parseStable("x", appendStable(nil, pairs))
		if err != nil || len(again) != len(pairs) {
			t.Fatalf("%q does not print back: %v", pairs, err)
		}
	})
}

// FuzzSegment opens a log whose only segment has foreign bytes behind a good header, or anywhere: no panic, no endless work,
// and what is recovered can be read and appended to. Checksums are mended at places the fuzzer picks, so that it gets past them.
func FuzzSegment(f *testing.F) {
	mem := vfs.NewMem()
	l := mustOpen(f, mem)
	for i := range 5 {
		mustAppend(f, l, bytes.Repeat([]byte{byte(i)}, 10*i), []byte("second"))
	}
	if err := l.TruncateFront(3); err != nil {
		f.Fatal(err)
	}
	_ = l.Close()
	file, err := vfs.ReadFile(mem, "data/wal/"+segmentName(1), 0)
	if err != nil {
		f.Fatal(err)
	}
	header, body := file[:dataStart], file[dataStart:dataStart+800]
	f.Add(body, true, uint16(0))
	f.Add(body, true, uint16(9))
	f.Add(file[:500], false, uint16(0))
	f.Add(bytes.Repeat([]byte{0xff}, 300), true, uint16(3))
	f.Add([]byte{}, true, uint16(0))
	hdr, err := parseSegmentHeader("seed", header)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, behind bool, mend uint16) {
		if len(b) > 64<<10 {
			return
		}
		if at := int(mend) * recordAlign; at+recordHeader <= len(b) && behind {
			b = bytes.Clone(b)
			n := min(int(le.Uint32(b[at+4:])), len(b)-at-recordHeader)
			payload := b[at+recordHeader:][:max(n, 0)]
			copy(b[at:], appendRecordHeader(nil, saltCRC(hdr.salt), b[at+20], b[at+21], le.Uint64(b[at+8:]), le.Uint32(b[at+16:]), payload))
		}
		if behind {
			b = append(bytes.Clone(header), b...)
		}
		fsys := vfs.NewEphemeral()
		if err := errors.Join(fsys.MkdirAll("data/wal"), vfs.WriteFileAtomic(fsys, "data/wal/"+segmentName(1), b)); err != nil {
			t.Fatal(err)
		}
		seen := 0
		if err := Inspect(fsys, "data/wal", func(Info) error { seen++; return nil }); err != nil || seen == 0 {
			t.Fatalf("inspect told %d things, %v", seen, err)
		}
		l, err := Open("data/wal", testOptions(fsys))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
				t.Fatal(err)
			}
			return
		}
		defer l.Close()
		count := func() (n uint64) {
			if err := l.Range(0, func(uint64, []byte) error { n++; return nil }); err != nil {
				t.Fatal(err)
			}
			return n
		}
		n := count()
		if l.NextIndex() < 1<<63 {
			mustAppend(t, l, []byte("after"))
			if got := count(); got != n+1 {
				t.Fatalf("%d records after appending one to %d", got, n)
			}
		}
	})
}

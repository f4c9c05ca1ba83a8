package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

// history is what a workload has done, so that a crash at any moment can be judged.
type history struct {
	mu      sync.Mutex        // guards all; the hook of the file system reads it
	recs    map[uint64][]byte // acknowledged, by index
	first   uint64            // lowest acknowledged index that has not been removed
	last    uint64
	pending func(h *history) bool // h after the change under way, which a crash may or may not have done; false: leave it
}

// clone is a copy of the acknowledged state.
func (h *history) clone() *history {
	c := &history{recs: map[uint64][]byte{}, first: h.first, last: h.last, pending: h.pending}
	for i, r := range h.recs {
		c.recs[i] = r
	}
	return c
}

// matches says how the log differs from the state, "" if not.
func (h *history) matches(l *Log) string {
	first, last := h.first, h.last
	if first > last {
		first, last = 0, 0
	}
	if l.FirstIndex() != first || l.LastIndex() != last || l.NextIndex() != h.last+1 {
		return fmt.Sprintf("log is %d to %d, next %d; want %d to %d, next %d",
			l.FirstIndex(), l.LastIndex(), l.NextIndex(), first, last, h.last+1)
	}
	n := h.first
	err := l.Range(0, func(index uint64, rec []byte) error {
		if index != n || !bytes.Equal(rec, h.recs[index]) {
			return fmt.Errorf("record %d is not what was acknowledged", index)
		}
		n++
		return nil
	})
	if err != nil {
		return err.Error()
	}
	if last > 0 && n != last+1 {
		return fmt.Sprintf("range ended before %d", n)
	}
	return ""
}

// judge opens what a crash has left and checks it against the history: exactly the acknowledged state, or that with the
// whole change under way.
func (h *history) judge(t *testing.T, fsys vfs.FS, what string, opts ...func(*Options)) *Log {
	t.Helper()
	l, err := Open("data/wal", testOptions(fsys, opts...))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	diff := h.matches(l)
	if diff != "" && h.pending != nil {
		if c := h.clone(); h.pending(c) {
			if c.matches(l) == "" {
				diff = ""
			}
		}
	}
	if diff != "" {
		t.Fatalf("%s: %s", what, diff)
	}
	return l
}

// change runs op and records what it did; after says how the state looks when it is done.
func (h *history) change(t *testing.T, op func() error, after func(h *history) bool) {
	t.Helper()
	h.mu.Lock()
	h.pending = after
	h.mu.Unlock()
	err := op()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending = nil
	if err != nil {
		t.Fatal(err)
	}
	after(h)
}

func (h *history) append(t *testing.T, l *Log, recs [][]byte) {
	h.change(t, func() error { _, err := l.Append(recs); return err }, func(h *history) bool {
		for _, r := range recs {
			h.last++
			h.recs[h.last] = r
		}
		return true
	})
}

func newHistory() *history { return &history{recs: map[uint64][]byte{}, first: 1} }

// randomWorkload does n random changes.
func randomWorkload(t *testing.T, h *history, l *Log, rng *rand.Rand, n int) {
	for range n {
		switch p := rng.IntN(100); {
		case p < 80:
			recs := make([][]byte, 1+rng.IntN(4))
			for i := range recs {
				recs[i] = make([]byte, rng.IntN(5000))
				for j := range recs[i] {
					recs[i][j] = byte(rng.Uint32())
				}
			}
			h.append(t, l, recs)
		case p < 92:
			upto := h.first + rng.Uint64N(h.last-h.first+2)
			h.change(t, func() error { return l.TruncateFront(upto) }, func(h *history) bool {
				h.first = max(h.first, min(upto, h.last)+1)
				return true
			})
		default:
			if h.last == 0 {
				continue
			}
			from := max(h.last-rng.Uint64N(min(h.last, 10)), 1)
			h.change(t, func() error { return l.TruncateBack(from) }, func(h *history) bool {
				for i := from; i <= h.last; i++ {
					delete(h.recs, i)
				}
				h.last = min(h.last, from-1)
				h.first = min(h.first, from)
				return true
			})
		}
	}
}

// TestCrashAfterEveryOperation cuts the power after every single file operation of random workloads, with several choices
// of what survives, and again while the log recovers from that.
func TestCrashAfterEveryOperation(t *testing.T) {
	seeds := uint64(3)
	if testing.Short() {
		seeds = 1
	}
	cuts := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 7))
		h := newHistory()
		mem := vfs.NewMem()
		counting := vfs.NewCounting(mem, nil)
		counting.OnDone(func(c vfs.Call, err error) {
			if c.Kind&vfs.OpChanges == 0 {
				return
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			for i, keep := range []float64{0, 0.5, 0.9, 1} {
				cfg := vfs.CrashConfig{Seed: uint64(c.Seq)<<8 | uint64(i), KeepUnsynced: keep, SectorBytes: 512 << (3 * (i % 2))}
				what := fmt.Sprintf("seed %d, crash after operation %d (%s %s), %+v", seed, c.Seq, c.Kind, c.Path, cfg)
				crashed := mem.CrashClone(cfg)
				if cuts%5 == 0 {
					crashInRecovery(t, h, crashed, what, uint64(cuts))
				}
				l := h.judge(t, crashed, what)
				goOn(t, l, crashed, what)
				cuts++
			}
		})
		l := mustOpen(t, counting)
		randomWorkload(t, h, l, rng, 60)
		_ = l.Close()
	}
	t.Logf("%d crashes", cuts)
	if cuts < 500 {
		t.Fatalf("only %d crashes", cuts)
	}
}

// goOn appends after a recovery, cuts the power again, and checks that it is there and nothing cut has come back.
func goOn(t *testing.T, l *Log, fsys *vfs.Mem, what string) {
	t.Helper()
	last := l.NextIndex() - 1
	rec := []byte("after the crash")
	if _, err := l.Append([][]byte{rec}); err != nil {
		t.Fatalf("%s: append after it: %v", what, err)
	}
	_ = l.Close()
	again, err := Open("data/wal", testOptions(fsys.CrashClone(vfs.CrashConfig{Seed: 1, KeepUnsynced: 0.5})))
	if err != nil {
		t.Fatalf("%s: open after append after it: %v", what, err)
	}
	defer again.Close()
	if got, err := again.Get(last+1, nil); err != nil || !bytes.Equal(got, rec) || again.LastIndex() != last+1 {
		t.Fatalf("%s: record %d appended after it: %q, %v; log ends at %d", what, last+1, got, err, again.LastIndex())
	}
}

// crashInRecovery cuts the power after each operation of an Open. Its outcome must not change from one try to the next,
// as the first may have been seen; so the state to compare with is that of the first.
func crashInRecovery(t *testing.T, h *history, crashed *vfs.Mem, what string, seed uint64) {
	t.Helper()
	copied := crashed.CrashClone(vfs.CrashConfig{KeepUnsynced: 1})
	l, err := Open("data/wal", testOptions(vfs.NewCounting(copied, func(c vfs.Call, _ error) {
		if c.Kind&vfs.OpChanges != 0 {
			cfg := vfs.CrashConfig{Seed: seed ^ uint64(c.Seq), KeepUnsynced: 0.5}
			_ = h.judge(t, copied.CrashClone(cfg), what+", then in recovery after "+c.Kind.String()+" "+c.Path).Close()
		}
	})))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	_ = l.Close()
}

// TestCrashConcurrent cuts the power while several callers append: acknowledged ones are there, each append whole or absent.
func TestCrashConcurrent(t *testing.T) {
	mem := vfs.NewMem()
	var mu sync.Mutex
	acked := map[string]uint64{} // record -> index
	check := func(c vfs.Call, _ error) {
		if c.Kind&vfs.OpChanges == 0 || c.Seq%3 != 0 {
			return
		}
		mu.Lock()
		want := make(map[string]uint64, len(acked))
		for k, v := range acked {
			want[k] = v
		}
		mu.Unlock()
		l, err := Open("data/wal", testOptions(mem.CrashClone(vfs.CrashConfig{Seed: uint64(c.Seq), KeepUnsynced: 0.5})))
		if err != nil {
			t.Error(err)
			return
		}
		defer l.Close()
		parts := map[string]int{}
		if err := l.Range(0, func(index uint64, rec []byte) error {
			name, _, _ := bytes.Cut(rec, []byte{0})
			parts[string(name)]++
			if at, ok := want[string(name)]; ok && at != index && at+1 != index {
				return fmt.Errorf("%s acknowledged at %d is at %d", name, at, index)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		for name := range want {
			if parts[name] != 2 {
				t.Errorf("operation %d: acknowledged %s has %d of 2 records", c.Seq, name, parts[name])
			}
		}
		for name, n := range parts {
			if n != 2 {
				t.Errorf("operation %d: append %s is there in part", c.Seq, name)
			}
		}
	}
	l := mustOpen(t, vfs.NewCounting(mem, check))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("w%d-%d", w, i)
				rec := append(append([]byte(name), 0), make([]byte, 900*w)...)
				first, err := l.Append([][]byte{rec, rec})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acked[name] = first
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestFaults fails each operation in turn, once, with each way to fail, and checks that a failed append is absent at once and
// for ever unless the log says that it does not know, and that the log goes on or is read-only.
func TestFaults(t *testing.T) {
	faults := []vfs.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC}, {Err: syscall.ENOSPC, ShortBytes: 700}, {Err: syscall.EIO, ShortBytes: 30}}
	stride := int64(1)
	if raceEnabled {
		stride = 5
	}
	for fi, fault := range faults {
		for k := 1 + int64(fi)%stride; k < 200; k += stride {
			mem := vfs.NewMem()
			h := newHistory()
			injected := vfs.Call{}
			l, err := Open("data/wal", testOptions(vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
				if c.Seq == k && c.Kind&vfs.OpChanges != 0 {
					injected = c
					return fault
				}
				return vfs.Fault{}
			}))))
			if err != nil {
				if injected.Kind == 0 {
					t.Fatal(err)
				}
				continue // a failed Open has nothing to keep
			}
			what := func() string {
				return fmt.Sprintf("fault %d in operation %d (%s %s)", fi, k, injected.Kind, injected.Path)
			}
			faultWorkload(t, h, l, what)
			if l.Err() == nil && h.pending != nil {
				t.Fatalf("%s: unknown outcome of a log that goes on", what())
			}
			for i, keep := range []float64{0, 0.5, 1} {
				_ = h.judge(t, mem.CrashClone(vfs.CrashConfig{Seed: uint64(k), KeepUnsynced: keep}), fmt.Sprint(what(), ", crash ", i)).Close()
			}
			_ = l.Close()
			_ = h.judge(t, mem, what()+", reopened").Close()
			if injected.Kind == 0 {
				break // the workload has fewer operations
			}
		}
	}
}

// faultWorkload appends and truncates; what fails with ErrReadOnly stays pending, what fails otherwise must be absent.
func faultWorkload(t *testing.T, h *history, l *Log, what func() string) {
	t.Helper()
	do := func(op func() error, after func(h *history) bool) {
		wasReadOnly := l.Err() != nil
		err := op()
		switch {
		case wasReadOnly:
			if !errors.Is(err, ErrReadOnly) {
				t.Fatalf("%s: a read-only log answered %v", what(), err)
			}
		case errors.Is(err, ErrReadOnly):
			h.pending = after
		case err == nil:
			after(h)
		}
		live := h.matches(l)
		if h.pending != nil && live != "" {
			if c := h.clone(); h.pending(c) && c.matches(l) == "" {
				live = "" // e.g. the front was moved and only the removal failed
			}
		}
		if live != "" {
			t.Fatalf("%s: after %v: %s", what(), err, live)
		}
	}
	for i := range 30 {
		recs := [][]byte{testRecord(uint64(i), 1), testRecord(uint64(i), 2), testRecord(uint64(i), 3)}
		do(func() error { _, err := l.Append(recs); return err }, func(h *history) bool {
			for _, r := range recs {
				h.last++
				h.recs[h.last] = r
			}
			return true
		})
		if i%10 == 9 {
			upto := h.last - 5
			do(func() error { return l.TruncateFront(upto) }, func(h *history) bool { h.first = max(h.first, upto+1); return true })
			from := h.last - 1
			do(func() error { return l.TruncateBack(from) }, func(h *history) bool { h.last = from - 1; return true })
		}
	}
}

// TestSyncFailure checks that after a failed sync nothing is written or synced any more and that reads go on.
func TestSyncFailure(t *testing.T) {
	var rules vfs.Rules
	fsys := vfs.NewInjecting(vfs.NewMem(), &rules)
	l := mustOpen(t, fsys)
	fill(t, l, 10)
	rules.Add(vfs.Rule{Kinds: vfs.OpSyncData, Count: 1})
	if _, err := l.Append([][]byte{[]byte("lost")}); !errors.Is(err, ErrReadOnly) || !errors.Is(err, vfs.ErrInjected) {
		t.Fatal(err)
	}
	changes := fsys.Changes()
	for _, err := range []error{second(l.Append([][]byte{[]byte("x")})), l.TruncateFront(3), l.TruncateBack(3), l.Err()} {
		if !errors.Is(err, ErrReadOnly) {
			t.Fatalf("after a failed sync: %v", err)
		}
	}
	checkLog(t, l, 1, 10)
	if fsys.Changes() != changes {
		t.Fatal("a read-only log has touched the disk")
	}
	if m := l.Metrics(); m.SyncErrors != 1 || m.Appends != 10 {
		t.Fatalf("metrics %+v", m)
	}
}

func second(_ uint64, err error) error { return err }

// TestFullDisk fills the disk: appends fail without a trace, reads go on, and when there is room again so do appends.
func TestFullDisk(t *testing.T) {
	for capacity := int64(testSegment); capacity < 4*testSegment; capacity += testSegment / 3 {
		mem := vfs.NewMem()
		mem.SetCapacity(capacity)
		l, err := Open("data/wal", testOptions(mem))
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for failed < 3 {
			next := l.NextIndex()
			if _, err := l.Append([][]byte{testRecord(next, 0)}); err != nil {
				if !vfs.IsNoSpace(err) || errors.Is(err, ErrReadOnly) {
					t.Fatal(err)
				}
				failed++
			}
		}
		last := l.LastIndex()
		checkLog(t, l, min(last, 1), last)
		for i := range uint64(4) {
			again := mustOpen(t, mem.CrashClone(vfs.CrashConfig{Seed: i, KeepUnsynced: float64(i) / 3}))
			checkLog(t, again, min(last, 1), last)
		}
		mem.SetCapacity(0)
		fill(t, l, 50)
		checkLog(t, l, 1, last+50)
		_ = l.Close()
		checkLog(t, mustOpen(t, mem), 1, last+50)
	}
}

// TestFailedAppendNeverReturns retries a failed append with the same records in part: what the failed one left behind them
// must not count, though it fits.
func TestFailedAppendNeverReturns(t *testing.T) {
	a, b, c := bytes.Repeat([]byte("a"), 500), bytes.Repeat([]byte("b"), 500), bytes.Repeat([]byte("c"), 500)
	var rules vfs.Rules
	mem := vfs.NewMem()
	l := mustOpen(t, vfs.NewInjecting(mem, &rules))
	mustAppend(t, l, []byte("start"))
	// All of it is written, then the write fails.
	rules.Add(vfs.Rule{Kinds: vfs.OpWrite, Count: 1, Fault: vfs.Fault{Err: syscall.EIO, ShortBytes: 1 << 20}})
	if _, err := l.Append([][]byte{a, b, c}); err == nil || errors.Is(err, ErrReadOnly) {
		t.Fatal(err)
	}
	check := func(last uint64) {
		t.Helper()
		for i := range uint64(60) {
			cfg := vfs.CrashConfig{Seed: i, KeepUnsynced: float64(i%4) / 3, SectorBytes: 4096}
			again := mustOpen(t, mem.CrashClone(cfg))
			if again.LastIndex() != last {
				t.Fatalf("log ends at %d, want %d", again.LastIndex(), last)
			}
		}
	}
	check(1)
	mustAppend(t, l, a)
	check(2)
}

// TestTornTailNeverReturns tears the first record of an append of three, appends another record of the same size where it
// was, and checks that the second and third, still whole in the file unless it was cut, do not come back behind it.
func TestTornTailNeverReturns(t *testing.T) {
	mem := vfs.NewMem()
	l := mustOpen(t, mem)
	mustAppend(t, l, []byte("start"))
	end := l.segs[0].end
	part := func(c byte) []byte { return bytes.Repeat([]byte{c}, 500) }
	mustAppend(t, l, part('a'), part('b'), part('c'))
	_ = l.Close()
	overwrite(t, mem, segmentName(1), end+100, []byte{0})
	l = mustOpen(t, mem)
	if m := l.Metrics(); l.LastIndex() != 1 || m.TornTails != 1 || m.TornRecords != 2 {
		t.Fatalf("log ends at %d, metrics %+v", l.LastIndex(), m)
	}
	mustAppend(t, l, part('A'))
	_ = l.Close()
	if l = mustOpen(t, mem); l.LastIndex() != 2 {
		t.Fatalf("log ends at %d, want 2", l.LastIndex())
	}
}

// overwrite changes bytes of a file of the log.
func overwrite(t testing.TB, fsys vfs.FS, name string, off int64, b []byte) {
	t.Helper()
	f, err := fsys.OpenReadWrite("data/wal/" + name)
	if err == nil {
		_, err = f.WriteAt(b, off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKillThenPowerCut kills the process after each file operation, goes on in a new one, and cuts the power then: what the
// second process found may have been in the page cache only, and is durable all the same once it was seen.
func TestKillThenPowerCut(t *testing.T) {
	stride := int64(1)
	if raceEnabled {
		stride = 7
	}
	for k := int64(1); ; k += stride {
		mem := vfs.NewMem()
		fsys := vfs.NewInjecting(mem, vfs.CutAfter(k))
		l, err := Open("data/wal", testOptions(fsys))
		if err == nil {
			for i := range 150 {
				if _, err = l.Append([][]byte{testRecord(uint64(i), 3), testRecord(uint64(i), 4)}); err == nil && i%30 == 29 {
					err = l.TruncateFront(l.LastIndex() - 10)
				}
				if err != nil {
					break
				}
			}
		}
		done := fsys.Changes() < k
		if l, err = Open("data/wal", testOptions(mem)); err != nil {
			t.Fatalf("killed after operation %d: %v", k, err)
		}
		mustAppend(t, l, []byte("seen"))
		if err := vfs.SyncDir(mem, "."); err != nil { // the folder above data is its owner's to sync
			t.Fatal(err)
		}
		for i, keep := range []float64{0, 0.5} {
			again, err := Open("data/wal", testOptions(mem.CrashClone(vfs.CrashConfig{Seed: uint64(k), KeepUnsynced: keep})))
			if err != nil {
				t.Fatalf("killed after operation %d, crash %d: %v", k, i, err)
			}
			if again.FirstIndex() != l.FirstIndex() || again.LastIndex() != l.LastIndex() {
				t.Fatalf("killed after operation %d, crash %d: log is %d to %d, was %d to %d", k, i,
					again.FirstIndex(), again.LastIndex(), l.FirstIndex(), l.LastIndex())
			}
			_ = again.Close()
		}
		_ = l.Close()
		if done {
			break
		}
	}
}

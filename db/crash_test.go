package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// history knows which rows were acknowledged: each batch of rows is there exactly once, whole, from then on. A batch whose
// write has not returned may be there, whole, or not.
type history struct {
	mu      sync.Mutex
	acked   map[int]bool // first id of a batch
	pending map[int]bool
	merges  atomic.Int64
}

const batchRows = 5

func newHistory() *history { return &history{acked: map[int]bool{}, pending: map[int]bool{}} }

func (h *history) write(d *DB, first int) error {
	h.mu.Lock()
	h.pending[first] = true
	h.mu.Unlock()
	err := d.Write(context.Background(), rowsOf(first, batchRows))
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.acked[first] = true
		delete(h.pending, first)
	} else if !errors.Is(err, ErrReadOnly) { // then it is not known
		delete(h.pending, first)
	}
	return err
}

func (h *history) snapshot() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := newHistory()
	for k := range h.acked {
		c.acked[k] = true
	}
	for k := range h.pending {
		c.pending[k] = true
	}
	return c
}

// judge says what is wrong with the rows that are there; it uses up h.
func (h *history) judge(ids []int) error {
	count := map[int]int{}
	for _, id := range ids {
		count[id-id%batchRows]++
	}
	for first, n := range count {
		if n != batchRows {
			return fmt.Errorf("batch %d has %d rows", first, n)
		}
		if !h.acked[first] && !h.pending[first] {
			return fmt.Errorf("batch %d was never written, or failed", first)
		}
		delete(h.acked, first)
	}
	if len(h.acked) > 0 {
		return fmt.Errorf("%d acknowledged batches are missing", len(h.acked))
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		return errors.New("rows are there twice")
	}
	return nil
}

// verify opens what a crash left and judges it. It writes on, and opens a second time.
func (h *history) verify(t *testing.T, fsys vfs.FS) error {
	d, err := Open("data", options(fsys, func(o *Options) { o.Tables, o.NoCompaction = eventsOnly, true }))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	ids, err := scanIDs(d, t0-1e18, t0+1e18)
	if err == nil {
		err = h.snapshot().judge(ids)
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	const next = 1_000_000
	if err := h.write(d, next); err != nil {
		return errors.Join(fmt.Errorf("write after recovery: %w", err), d.Close())
	}
	if err := d.Close(); err != nil {
		return fmt.Errorf("close after recovery: %w", err)
	}
	d, err = Open("data", options(fsys, func(o *Options) { o.Tables, o.NoCompaction = eventsOnly, true }))
	if err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer d.Close()
	again, err := scanIDs(d, t0-1e18, t0+1e18)
	if err != nil {
		return err
	}
	if !slices.Equal(again, append(ids, next, next+1, next+2, next+3, next+4)) {
		return fmt.Errorf("what is there changed from one start to the next: %v, then %v", ids, again)
	}
	return nil
}

// workload writes, flushes, merges, and closes and opens now and then; it stops at the first error of a write.
func workload(t *testing.T, fsys vfs.FS, h *history, rng *rand.Rand, steps int) error {
	open := func() (*DB, error) {
		return Open("data", options(fsys, func(o *Options) { o.Tables = eventsOnly; o.HeadBytes = 2 << 10 }))
	}
	d, err := open()
	if err != nil {
		return err
	}
	merges := int64(0)
	defer func() { h.merges.Add(merges) }()
	for step := range steps {
		merges = max(merges, d.Metrics().Compactions)
		switch {
		case step%19 == 18:
			if err := d.Close(); err != nil {
				return err
			}
			if d, err = open(); err != nil {
				return err
			}
		case rng.IntN(5) == 0:
			err = d.Flush(context.Background())
		case rng.IntN(12) == 0:
			err = d.Compact(context.Background())
		default:
			err = h.write(d, step*batchRows)
		}
		if err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return d.Close()
}

// TestCrashAfterEveryFileOperation cuts the power after every single change to the file system, with nothing kept of what
// was not synced, with all of it, and with a random part.
func TestCrashAfterEveryFileOperation(t *testing.T) {
	seeds, steps := uint64(1), 40
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		seeds, steps = 20, 80
	}
	every := int64(1)
	if raceEnabled {
		every = 7
	}
	for seed := range seeds {
		mem := vfs.NewMem()
		h := newHistory()
		cuts := 0
		var mu sync.Mutex // one crash at a time
		counting := vfs.NewCounting(mem, func(c vfs.Call, _ error) {
			if c.Kind&vfs.OpChanges == 0 || t.Failed() {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if cuts++; int64(cuts)%every != 0 {
				return
			}
			for _, keep := range []float64{0, 0.5} {
				state := h.snapshot()
				clone := mem.CrashClone(vfs.CrashConfig{Seed: seed*1_000_003 + uint64(c.Seq), KeepUnsynced: keep})
				if err := state.verify(t, clone); err != nil {
					t.Errorf("seed %d, power cut after operation %d (%s %s), %.1f of the unsynced kept: %v", seed, c.Seq, c.Kind, c.Path, keep, err)
				}
			}
		})
		if err := workload(t, counting, h, rand.New(rand.NewPCG(seed, 5)), steps); err != nil {
			t.Fatal(err)
		}
		t.Logf("seed %d: %d power cuts, %d batches acknowledged", seed, cuts, len(h.acked))
		if cuts < 100 || h.merges.Load() == 0 {
			t.Fatalf("only %d file operations, %d merges: the workload is too small to prove anything", cuts, h.merges.Load())
		}
	}
}

// TestFaultInEveryFileOperation makes the k-th change fail, for each k: the database says so or goes on, and loses nothing.
func TestFaultInEveryFileOperation(t *testing.T) {
	faults := map[string]error{"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}
	stride := int64(1)
	if raceEnabled {
		stride = 19
	}
	for name, fault := range faults {
		for at := int64(1); ; at += stride {
			mem := vfs.NewMem()
			hit := false
			inj := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
				if c.Kind&vfs.OpChanges != 0 && c.Seq == at {
					hit = true
					return vfs.Fault{Err: fault}
				}
				return vfs.Fault{}
			}))
			h := newHistory()
			err := workload(t, inj, h, rand.New(rand.NewPCG(9, 9)), 40)
			if !hit {
				break
			}
			what := fmt.Sprintf("%s in operation %d", name, at)
			if err != nil && !errors.Is(err, fault) && !errors.Is(err, ErrReadOnly) {
				t.Fatalf("%s: the error does not say so: %v", what, err)
			}
			if err := h.verify(t, mem.CrashClone(vfs.CrashConfig{Seed: uint64(at), KeepUnsynced: 0.5})); err != nil {
				t.Fatalf("%s (%v): %v", what, err, err)
			}
		}
	}
}

// TestFullDisk fills a small disk: writes are refused, reads go on, and when there is room again so do writes.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetCapacity(300 << 10)
	d := mustOpen(t, mem, func(o *Options) { o.MaxWait = 10 * time.Millisecond; o.LogSegmentBytes = 64 << 10 })
	n := 0
	var err error
	for range 20_000 {
		if err = d.Write(context.Background(), rowsOf(n, 50)); err != nil {
			break
		}
		n += 50
	}
	if !errors.Is(err, ErrDiskFull) && !errors.Is(err, ErrBusy) {
		t.Fatalf("after %d rows: %v", n, err)
	}
	equalIDs(t, "on the full disk", allIDs(t, d), upTo(n))
	mem.SetCapacity(0)
	eventually(t, "writes go on when there is room again", func() bool {
		err = d.Write(context.Background(), rowsOf(n, 50))
		return err == nil
	})
	n += 50
	equalIDs(t, "after there was room again", allIDs(t, d), upTo(n))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, mem)
	defer d.Close()
	equalIDs(t, "opened again", allIDs(t, d), upTo(n))
}

// TestDamagedSegmentIsSetAside flips a byte in each segment file in turn.
func TestDamagedSegmentIsSetAside(t *testing.T) {
	mem := vfs.NewMem()
	d := mustOpen(t, mem, func(o *Options) { o.NoCompaction = true })
	for i := range 4 {
		mustWrite(t, d, rowsOf(i*100, 100))
		mustFlush(t, d)
	}
	segments := d.Segments()
	if len(segments) < 4 {
		t.Fatalf("%d segments", len(segments))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	victim := segments[1]
	st, err := mem.Stat("data/" + victim.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []int64{40, st.Size() - 20} { // a page, and the index at the end
		fsys := mem.CrashClone(vfs.CrashConfig{KeepUnsynced: 1})
		flip(t, fsys, "data/"+victim.Path, where)
		var set []string
		var mu sync.Mutex
		d := mustOpen(t, fsys, func(o *Options) {
			o.NoCompaction = true
			o.Events.Quarantined = func(path string, reason error) { mu.Lock(); set = append(set, path); mu.Unlock() }
		})
		ids, err := scanIDs(d, t0-1e18, t0+1e18)
		if err != nil { // found by this scan: it says so, and the next one goes without
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), victim.Path) {
				t.Fatalf("byte %d: %v", where, err)
			}
			eventually(t, "the damaged segment is set aside", func() bool { return d.Metrics().Quarantined > 0 })
			ids, err = scanIDs(d, t0-1e18, t0+1e18)
		}
		if err != nil || len(ids) != 400-int(victim.Rows) {
			t.Fatalf("byte %d: %d rows, %v; want those of the other segments, %d", where, len(ids), err, 400-victim.Rows)
		}
		mu.Lock()
		if !slices.Equal(set, []string{victim.Path}) {
			t.Fatalf("byte %d: set aside %v", where, set)
		}
		mu.Unlock()
		last := d.Segments()[len(d.Segments())-1]
		if last.State != "quarantined" || last.Path != victim.Path || last.Reason == "" {
			t.Fatalf("listed as %+v", last)
		}
		if _, err := fsys.Stat("data/quarantine/" + quarantineName(victim.Path)); err != nil {
			t.Fatalf("the file is gone: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		mustOpen(t, fsys).Close()
	}
}

func flip(t *testing.T, fsys vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// faultHistory does everything that touches files: new tag sets, late rows, flushes, merges, expiry, restarts, a backup by
// links and one by copies, a restore, verification.
var faultHistory = []metaOp{
	{Op: "write", Table: 0, First: 0, N: 40}, {Op: "write", Table: 1, First: 40, N: 60}, {Op: "flush"}, {Op: "scan", Table: 1, Seed: 5},
	{Op: "write", Table: 1, First: 100, N: 30}, {Op: "flush"}, {Op: "write", Table: 1, First: 130, N: 30}, {Op: "flush"},
	{Op: "write", Table: 1, First: 160, N: 30}, {Op: "flush"}, {Op: "write", Table: 1, First: 190, N: 30}, {Op: "flush"},
	{Op: "write", Table: 1, First: 220, N: 30}, {Op: "flush"}, {Op: "write", Table: 1, First: 250, N: 30}, {Op: "flush"},
	{Op: "write", Table: 1, First: 280, N: 30}, {Op: "flush"}, {Op: "write", Table: 1, First: 310, N: 30}, {Op: "flush"},
	{Op: "compact"}, {Op: "write", Table: 0, First: 340, N: 20}, {Op: "reopen"}, {Op: "scan", Table: 0}, {Op: "scan", Table: 1},
	{Op: "backup", Seed: 1}, {Op: "write", Table: 0, First: 360, N: 20}, {Op: "backup", Seed: 2}, {Op: "verify"},
	{Op: "write", Table: 1, First: 7000, N: 20}, {Op: "compact"}, // the clock is days further: rows expire
	{Op: "restore"}, {Op: "write", Table: 0, First: 7020, N: 20}, {Op: "flush"}, {Op: "reopen"}, {Op: "scan", Table: 0}, {Op: "scan", Table: 1},
}

// faultRollups does what rollups add to that: creating some over rows that are in segments and in heads, filling them, flushing
// and merging their rows, letting them expire, restarting, copying, dropping. It scrubs all files as well.
var faultRollups = []metaOp{
	{Op: "write", Table: 1, First: 0, N: 40}, {Op: "flush"}, {Op: "write", Table: 0, First: 40, N: 20}, {Op: "flush"}, {Op: "write", Table: 1, First: 60, N: 20},
	{Op: "create", Table: 2}, {Op: "create", Table: 0}, {Op: "backfill"}, {Op: "rolled", Table: 2}, {Op: "flush"}, {Op: "rolled", Table: 2},
	{Op: "write", Table: 1, First: 80, N: 20}, {Op: "flush"}, {Op: "create", Table: 3}, {Op: "reopen"}, {Op: "write", Table: 1, First: 100, N: 20}, {Op: "flush"},
	{Op: "write", Table: 1, First: 120, N: 20}, {Op: "flush"}, {Op: "write", Table: 1, First: 140, N: 20}, {Op: "flush"}, {Op: "write", Table: 1, First: 160, N: 20},
	{Op: "flush"}, {Op: "write", Table: 1, First: 180, N: 20}, {Op: "flush"}, {Op: "backfill"}, {Op: "compact"}, {Op: "rolled", Table: 3}, {Op: "scrub"},
	{Op: "drop", Table: 0}, {Op: "create", Table: 1}, {Op: "backup", Seed: 2}, {Op: "rolled", Table: 1}, {Op: "keep", Table: 3, Seed: 1}, // 30 hours
	{Op: "write", Table: 1, First: 7000, N: 20}, {Op: "compact"}, {Op: "restore"}, {Op: "write", Table: 0, First: 7020, N: 20}, {Op: "flush"},
	{Op: "drop", Table: 2}, {Op: "reopen"}, {Op: "rolled", Table: 1}, {Op: "rolled", Table: 3}, {Op: "scan", Table: 1}, {Op: "scrub"},
}

// faultRun is a history in which one file operation fails.
type faultRun struct {
	*metaRun
	fault   error
	unknown []metaOp        // writes of which it is not known whether they are there
	maybe   map[string]bool // rollups that an operation was to create or drop and failed
}

// excused says that an error is what the fault may cause. Verification gives it as text.
func (r *faultRun) excused(err error) bool {
	return errors.Is(err, r.fault) || errors.Is(err, ErrReadOnly) || strings.Contains(err.Error(), r.fault.Error())
}

// runFault makes the at-th file operation of some kinds fail; hit is that operation, zero where there are not so many.
func runFault(history []metaOp, set func(*Options), kinds vfs.OpKind, at int64, fault vfs.Fault) (hit vfs.Call, err error) {
	var n atomic.Int64
	var done atomic.Pointer[vfs.Call]
	in := vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if c.Kind&kinds == 0 || n.Add(1) != at {
			return vfs.Fault{}
		}
		done.Store(&c)
		return fault
	})
	r := &faultRun{metaRun: &metaRun{set: set, mem: vfs.NewMem(), in: in, dir: "data", now: metaClock(0), rows: []map[int]bool{{}, {}}, kept: noRollups()}, fault: fault.Err, maybe: map[string]bool{}}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if r.d != nil {
			if cerr := r.close(); cerr != nil && !r.excused(cerr) {
				err = errors.Join(err, cerr)
			}
		}
		if c := done.Load(); c != nil {
			hit = *c
		}
	}()
	for i, op := range history {
		if err := r.step(op); err != nil {
			return hit, fmt.Errorf("operation %d, %v: %w", i, op, err)
		}
	}
	return hit, r.judge()
}

// step does an operation, and opens the folder again where it was closed or became read-only.
func (r *faultRun) step(op metaOp) error {
	if err := r.ready(); err != nil {
		return err
	}
	err := r.act(op)
	if err != nil && !r.excused(err) {
		return fmt.Errorf("the error does not say so: %w", err)
	}
	if err != nil && op.Op == "write" && (errors.Is(err, ErrReadOnly) || r.d.opts.ExternalLog) {
		r.unknown = append(r.unknown, op)
	}
	if errors.Is(err, ErrReadOnly) {
		if err := r.close(); err != nil && !r.excused(err) {
			return err
		}
	}
	if r.d == nil {
		return nil
	}
	return r.rollups()
}

// act does one operation.
func (r *faultRun) act(op metaOp) error {
	switch op.Op {
	case "scrub":
		state, rounds := scrubState{}, r.d.counts.scrubRounds.Load()
		for range 1000 { // of some dozen files
			state.Nanos = 1 // long ago: the next file is due
			if _, err := r.d.scrubDue(context.Background(), time.Hour, &state); err != nil || r.d.counts.scrubRounds.Load() > rounds {
				return err
			}
		}
		return errors.New("no end of files to scrub")
	case "create", "drop":
		name := metaRollups[op.Table].def.Name
		err := r.do(op)
		if r.maybe[name] = err != nil; err == nil {
			delete(r.maybe, name)
		}
		return err
	}
	return r.do(op)
}

// rollups finds out whether rollups are there whose creation or end failed; all others are as they were said to be.
func (r *faultRun) rollups() error {
	there := map[string]bool{}
	for _, s := range r.d.Rollups() {
		there[s.Rollup.Def.Name] = true
	}
	for _, u := range metaRollups {
		name := u.def.Name
		switch _, known := r.kept[name]; {
		case known == there[name]:
		case !r.maybe[name]:
			return fmt.Errorf("rollup %s: it is there: %v, should be: %v", name, there[name], known)
		case known:
			delete(r.kept, name)
		default:
			r.kept[name] = forever(r.d.Retention(name))
		}
	}
	return nil
}

// ready opens the folder if it is closed. Only one operation fails, so a second attempt works.
func (r *faultRun) ready() error {
	if r.d != nil {
		return nil
	}
	err := r.open()
	if err != nil && r.excused(err) {
		if r.d != nil { // open, but entries were not applied again
			err = r.close()
		}
		if err == nil || r.excused(err) {
			err = r.open()
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(r.resolve(), r.rollups())
}

// resolve finds out whether batches are there whose writes did not say.
func (r *faultRun) resolve() error {
	for _, op := range r.unknown {
		n, err := r.present(op)
		for i := 0; err != nil && r.excused(err) && i < 2; i++ {
			n, err = r.present(op)
		}
		switch {
		case err != nil:
			return err
		case n == op.N:
			r.take(op)
		case n != 0:
			return fmt.Errorf("%d rows of a batch of %d are there: %v", n, op.N, op)
		}
	}
	r.unknown = nil
	return nil
}

// judge looks at what a power cut at the end leaves.
func (r *faultRun) judge() error {
	if err := r.ready(); err != nil {
		return err
	}
	left := r.mem.CrashClone(vfs.CrashConfig{Seed: 1, KeepUnsynced: 0.5})
	if err := r.close(); err != nil && !r.excused(err) {
		return err
	}
	r.in = nil
	r.mem = left
	if err := r.open(); err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	if err := r.resolve(); err != nil {
		return err
	}
	err := errors.Join(r.scan(metaOp{Table: 0}), r.scan(metaOp{Table: 1}), r.rollups())
	for _, u := range metaRollups {
		if _, ok := r.kept[u.def.Name]; ok && err == nil {
			err = r.rolled(u)
		}
	}
	if err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.background != nil && !r.excused(r.background) {
		return fmt.Errorf("in the background: %w", r.background)
	}
	return nil
}

// TestFaultInEveryOperation makes each single file operation of a history fail in turn, reads and closes too, with an I/O error,
// a full disk, or a short write: each error says so, nothing acknowledged is lost, nothing is there in part or twice, no
// segment is taken for damaged, and all goes on. The short form takes a sample of them.
func TestFaultInEveryOperation(t *testing.T) {
	faults := []vfs.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC}, {Err: syscall.ENOSPC, ShortBytes: 1}, {Err: syscall.EIO, ShortBytes: 700}}
	// Of what changes files every 61st and of the rest every 701st fails: primes, so that what comes in a rhythm is met in
	// every phase. TestFaultInEveryFileOperation does all of the changes of a shorter history.
	classes := []struct {
		kinds        vfs.OpKind
		stride, long int64
	}{{vfs.OpChanges, 61, 1}, {vfs.OpAny &^ vfs.OpChanges, 701, 7}}
	sets := []func(*Options){
		func(o *Options) { o.ScrubEvery = -1 }, // or there would be ever more operations
		func(o *Options) { o.ScrubEvery, o.ExternalLog = -1, true },
	}
	kinds := map[vfs.OpKind]int{}
	for h, history := range [][]metaOp{faultHistory, faultRollups} {
		for s, set := range sets {
			for f, fault := range faults {
				for _, c := range classes {
					stride := c.stride
					switch {
					case os.Getenv("FLOWLAKE_SOAK") != "":
						stride = c.long
					case raceEnabled:
						stride *= 5
					}
					for at := 1 + int64(7*f)%stride; ; at += stride {
						hit, err := runFault(history, set, c.kinds, at, fault)
						if err != nil {
							t.Fatalf("history %d, options %d, %v (%d bytes written) in operation %d, %s %s: %v", h, s, fault.Err, fault.ShortBytes, at, hit.Kind, hit.Path, err)
						}
						if hit.Kind == 0 {
							break
						}
						kinds[hit.Kind]++
					}
				}
			}
		}
	}
	t.Logf("faults by operation: %v", kinds)
}

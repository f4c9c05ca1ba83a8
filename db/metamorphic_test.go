package db

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// metaConfigs are the option sets: whatever they are, the answers are equal.
var metaConfigs = []struct {
	name string
	set  func(*Options)
}{
	{"small", func(o *Options) {}},
	{"busy", func(o *Options) { // everything in the background, all the time
		o.HeadBytes, o.CompactEvery, o.ScrubEvery, o.HeadAge = 2<<10, time.Millisecond, 20*time.Millisecond, time.Nanosecond
	}},
	{"huge heads", func(o *Options) { o.HeadBytes, o.FlushRows = 256<<20, 1<<20 }},
	{"no compaction", func(o *Options) { o.HeadBytes, o.NoCompaction = 1<<10, true }},
	{"external log", func(o *Options) { o.ExternalLog = true }},
	{"a row a segment", func(o *Options) { o.FlushRows = 1 }},
	{"little memory", func(o *Options) { o.HeadBytes, o.MemoryBytes, o.MaxWait = 512, 1<<10, 10*time.Minute }},
	{"odd sizes", func(o *Options) {
		o.HeadBytes, o.FlushRows, o.LogSegmentBytes, o.CompactEvery = 3001, 37, 128<<10, 5*time.Millisecond
	}},
}

// metaRun is a history under way.
type metaRun struct {
	set  func(*Options)
	mem  *vfs.Mem
	in   vfs.Injector // of faults; nil: none
	fsys vfs.FS       // mem, with faults and power cuts
	dir  string
	dirs int
	d    *DB
	now  time.Time
	ids  int // no row has this id or a greater one

	rows    []map[int]bool           // by table, the ids that are there
	kept    map[string]time.Duration // rollups that there are: the shortest time for which each was kept
	entries [][]byte                 // the log of a database without one

	mu         sync.Mutex // guards what follows: hooks and events come from any goroutine
	background error
	cutAfter   int // changes of files until the power is cut; 0 never
	keep       float64
	seed       uint64
	clone      *vfs.Mem
}

// runHistory does the operations one after the other and says what is wrong.
func runHistory(set func(*Options), ops []metaOp) (err error) {
	r := &metaRun{set: set, mem: vfs.NewMem(), dir: "data", now: metaClock(0), rows: []map[int]bool{{}, {}}, kept: noRollups()}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if r.d != nil {
			err = errors.Join(err, r.d.Close())
		}
	}()
	if err := r.open(); err != nil {
		return err
	}
	for i, op := range ops {
		if err := r.do(op); err != nil {
			return fmt.Errorf("operation %d, %v: %w", i, op, err)
		}
		r.mu.Lock()
		err := r.background
		r.mu.Unlock()
		if err != nil {
			return fmt.Errorf("in the background, by operation %d, %v: %w", i, op, err)
		}
	}
	return nil
}

func (r *metaRun) options(fsys vfs.FS) func(*Options) {
	return options(fsys, r.set, func(o *Options) {
		o.Tables = metaRegistry
		o.Retention = map[string]time.Duration{"edges": metaKeep}
		o.Now = func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now }
		o.Events.BackgroundError = func(action string, err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.background = errors.Join(r.background, fmt.Errorf("%s: %w", action, err))
		}
		o.Events.Quarantined = func(path string, reason error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.background = errors.Join(r.background, fmt.Errorf("%s is set aside: %w", path, reason))
		}
	})
}

// open opens the folder, on a file system that can have its power cut, and brings a database without a log up to date.
func (r *metaRun) open() error {
	mem := r.mem
	fsys := vfs.NewInjecting(mem, r.in)
	r.fsys = fsys
	fsys.OnDone(func(c vfs.Call, _ error) {
		if c.Kind&vfs.OpChanges == 0 {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.cutAfter > 0 {
			if r.cutAfter--; r.cutAfter == 0 {
				r.clone = mem.CrashClone(vfs.CrashConfig{Seed: r.seed, KeepUnsynced: r.keep})
			}
		}
	})
	d, err := Open(r.dir, r.options(fsys))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	r.d = d
	if d.opts.ExternalLog {
		for i := d.Applied(); i < uint64(len(r.entries)); i++ {
			if err := d.Apply(i+1, r.entries[i]); err != nil {
				return fmt.Errorf("apply %d again: %w", i+1, err)
			}
		}
	}
	return nil
}

func (r *metaRun) close() error {
	d := r.d
	r.d = nil
	return d.Close()
}

func (r *metaRun) do(op metaOp) error {
	ctx := context.Background()
	switch op.Op {
	case "write":
		if err := r.write(op); err != nil {
			return err
		}
		r.take(op)
		return nil
	case "scan":
		return r.scan(op)
	case "flush":
		return r.d.Flush(ctx)
	case "compact":
		return r.d.Compact(ctx)
	case "reopen":
		if err := r.close(); err != nil {
			return err
		}
		return r.open()
	case "backup", "restore":
		return r.backup(op)
	case "verify":
		problems, err := r.d.Verify(ctx, nil)
		if err == nil && len(problems) > 0 {
			err = fmt.Errorf("%v", problems)
		}
		return err
	case "create", "drop", "keep", "backfill", "rolled":
		return r.rollup(op)
	case "crash":
		return r.crash(op)
	}
	return fmt.Errorf("no such operation")
}

// write stores rows; take has the model know them.
func (r *metaRun) write(op metaOp) error {
	r.ids = max(r.ids, op.First+op.N)
	r.mu.Lock()
	r.now = metaClock(r.ids)
	r.mu.Unlock()
	b := metaBatch(metaTables[op.Table], op.First, op.N)
	if !r.d.opts.ExternalLog {
		return r.d.Write(context.Background(), b)
	}
	if err := r.d.Check(b); err != nil {
		return err
	}
	frame, err := batch.AppendFrame(nil, b)
	if err != nil {
		return err
	}
	r.entries = append(r.entries, frame)
	return r.d.Apply(uint64(len(r.entries)), frame)
}

func (r *metaRun) take(op metaOp) {
	for id := op.First; id < op.First+op.N; id++ {
		r.rows[op.Table][id] = true
	}
}

// crash cuts the power in the middle of an operation, or right after it, and goes on with what is left.
func (r *metaRun) crash(op metaOp) error {
	rng := rand.New(rand.NewPCG(op.Seed, 3))
	r.mu.Lock()
	r.clone, r.seed, r.keep, r.cutAfter = nil, op.Seed, []float64{0, 0.5, 1}[rng.IntN(3)], 1+rng.IntN(1<<rng.IntN(7))
	r.mu.Unlock()
	inner := op
	inner.Op = op.In
	var err error
	if inner.Op == "write" {
		err = r.write(inner)
	} else {
		err = r.do(inner)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	cut := r.clone != nil
	if !cut {
		r.clone = r.mem.CrashClone(vfs.CrashConfig{Seed: r.seed, KeepUnsynced: r.keep})
	}
	left := r.clone
	r.cutAfter = 0
	r.mu.Unlock()
	if err := r.close(); err != nil {
		return err
	}
	r.mem = left
	if err := r.open(); err != nil {
		return fmt.Errorf("after a power cut: %w", err)
	}
	if err := r.sameRollups(cut); err != nil {
		return err
	}
	if inner.Op != "write" {
		return nil
	}
	n, err := r.present(op)
	if err != nil {
		return err
	}
	if n != 0 && n != op.N || n == 0 && (!cut || r.d.opts.ExternalLog) {
		return fmt.Errorf("after a power cut %d rows of a batch of %d are there (in the middle: %v)", n, op.N, cut)
	}
	if n > 0 {
		r.take(op)
	}
	return nil
}

// present counts the rows of a batch that are there.
func (r *metaRun) present(op metaOp) (n int, err error) {
	t := metaTables[op.Table]
	term := pred.Term{Column: 1, Kind: pred.IntRange, Lo: int64(op.First), Hi: int64(op.First + op.N - 1)}
	err = r.each(&pred.Request{Table: t, Columns: []int{1}, From: pred.MinTime, To: pred.MaxTime, Terms: []pred.Term{term}},
		func(b *batch.Batch, i int) error { n++; return nil })
	return n, err
}

// each scans, with units in order.
func (r *metaRun) each(req *pred.Request, f func(b *batch.Batch, row int) error) error {
	s, err := r.d.Scan(context.Background(), req)
	if err != nil {
		return err
	}
	defer s.Close()
	var b batch.Batch
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, &b); err != nil {
			return err
		}
		for i := range b.N {
			if err := f(&b, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// backup copies the database and compares the copy; "restore" goes on with a folder made of it.
func (r *metaRun) backup(op metaOp) error {
	r.dirs++
	copied := fmt.Sprint("backup-", r.dirs)
	if err := r.d.Backup(context.Background(), copied, func(o *BackupOptions) { o.Copy = op.Seed%2 == 0 }); err != nil {
		return err
	}
	external := r.d.opts.ExternalLog
	verify := func(o *VerifyOptions) { o.Tables, o.ExternalLog = metaRegistry, external }
	if op.Op == "backup" {
		problems, err := VerifyFolder(context.Background(), r.fsys, copied, nil, verify)
		if err == nil && len(problems) > 0 {
			err = fmt.Errorf("the backup has problems: %v", problems)
		}
		if err != nil {
			return err
		}
		other := &metaRun{set: r.set, mem: r.mem, in: r.in, dir: copied, now: r.now, rows: r.rows, kept: r.kept, ids: r.ids}
		if r.d.opts.ExternalLog {
			other.entries = r.entries[:r.d.Applied():r.d.Applied()]
		}
		if err := other.open(); err != nil {
			return err
		}
		err = errors.Join(other.scan(metaOp{Table: 0}), other.scan(metaOp{Table: 1}))
		for i := range metaRollups {
			err = errors.Join(err, other.do(metaOp{Op: "rolled", Table: i}))
		}
		if err = errors.Join(err, other.d.Close(), other.background); err != nil {
			return fmt.Errorf("the backup answers otherwise: %w", err)
		}
		return r.fsys.RemoveAll(copied)
	}
	if err := r.close(); err != nil {
		return err
	}
	dir := fmt.Sprint("restored-", r.dirs)
	if err := Restore(context.Background(), r.fsys, copied, dir, func(o *RestoreOptions) { o.Verify = verify }); err != nil {
		return err
	}
	r.dir = dir
	return r.open()
}

// scan compares the answer to a random request with the model's. Seed 0 asks for everything.
func (r *metaRun) scan(op metaOp) error {
	t := metaTables[op.Table]
	rng := rand.New(rand.NewPCG(op.Seed, 2))
	req := &pred.Request{Table: t, From: pred.MinTime, To: pred.MaxTime, Columns: rng.Perm(len(t.Columns))}
	view := r.d.Tags()
	var terms []metaTerm
	if op.Seed != 0 {
		req.Columns = req.Columns[:rng.IntN(len(req.Columns))]
		if rng.IntN(2) == 0 {
			a, b := metaTime(rng.IntN(r.ids+1)), metaTime(rng.IntN(r.ids+1))
			req.From, req.To = min(a, b), max(a, b)
		}
		for range rng.IntN(3) {
			m := metaTermOf(t, rng.IntN(len(t.Columns)), rng, view, r.ids)
			terms, req.Terms = append(terms, m), append(req.Terms, m.term)
		}
	}
	idAt := slices.Index(req.Columns, 1)
	if idAt < 0 {
		idAt = len(req.Columns)
		req.Columns = append(req.Columns, 1)
	}
	timeless := int64(pred.MinTime) // rows before this may have been dropped
	if t == edges {
		timeless = r.d.opts.Now().Add(-metaKeep).UnixNano()
	}
	seen := map[int]bool{}
	view = r.d.Tags()
	err := r.each(req, func(b *batch.Batch, i int) error {
		id := int(b.Cols[idAt].I64[i])
		if seen[id] {
			return fmt.Errorf("row %d is there twice", id)
		}
		seen[id] = true
		if !r.rows[op.Table][id] {
			return fmt.Errorf("row %d was never written", id)
		}
		want := makeRow(t, id)
		if !r.wanted(req, terms, want) {
			return fmt.Errorf("row %d, %v, does not match", id, want)
		}
		for k, col := range req.Columns {
			got := metaValue(b.Cols[k], i)
			if t.Columns[col].Type == schema.TagSet {
				got = view.Set(b.Cols[k].Codes[i])
			}
			if !sameValue(got, want[col]) {
				return fmt.Errorf("row %d: %s is %v, was written as %v", id, t.Columns[col].Name, got, want[col])
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("scan %+v: %w", req, err)
	}
	for id := range r.rows[op.Table] {
		if !seen[id] && metaTime(id) >= timeless && r.wanted(req, terms, makeRow(t, id)) {
			return fmt.Errorf("scan %+v: row %d, %v, is missing", req, id, makeRow(t, id))
		}
	}
	return nil
}

func (r *metaRun) wanted(req *pred.Request, terms []metaTerm, row metaRow) bool {
	at := row[0].(int64)
	if at < req.From || at >= req.To && req.To != pred.MaxTime {
		return false
	}
	for i := range terms {
		if !terms[i].match(row) {
			return false
		}
	}
	return true
}

// metaValue is a row's value in the form of a metaRow; of tag sets it is the id.
func metaValue(v *batch.Vector, i int) any {
	switch {
	case v.IsNull(i):
		return nil
	case v.Type == schema.TagSet:
		return v.Codes[i]
	case v.Type.Physical() == schema.Int64:
		return v.I64[i]
	case v.Type.Physical() == schema.Float64:
		return v.F64[i]
	}
	return v.Bytes(i)
}

func sameValue(a, b any) bool {
	x, ok := a.([]byte)
	y, both := b.([]byte)
	if ok && both {
		return bytes.Equal(x, y)
	}
	return a == b
}

// shrink leaves out operations as long as what is left still fails. Work in the background makes some failures rare: each
// try is repeated a few times.
func shrink(set func(*Options), ops []metaOp) []metaOp {
	fails := func(ops []metaOp) bool {
		for range 3 {
			if runHistory(set, ops) != nil {
				return true
			}
		}
		return false
	}
	for size := len(ops) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(ops); {
			if less := slices.Concat(ops[:at], ops[at+size:]); fails(less) {
				ops = less
			} else {
				at += size
			}
		}
	}
	return ops
}

// TestMetamorphic does random operations under several option sets and compares every answer with that of a model: so all
// of them give equal answers, whatever is in the head, in one segment or in many, and wherever the power was cut. A failure
// is shrunk, and printed as lines that FLOWLAKE_METAMORPHIC=FILE runs again (under all option sets).
func TestMetamorphic(t *testing.T) {
	if name := os.Getenv("FLOWLAKE_METAMORPHIC"); name != "" {
		ops := readHistory(t, name)
		for _, c := range metaConfigs {
			if err := runHistory(c.set, ops); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		return
	}
	seeds, steps := 3, 120
	if testing.Short() {
		seeds = 1
	}
	base := uint64(0) // the short form is always the same: who changes something else is not to find out about an old fault
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		seeds, steps, base = 100, 400, uint64(time.Now().UnixNano())
	}
	for n := range seeds {
		seed := base + uint64(n)
		ops := metaHistory(seed, steps)
		for _, c := range metaConfigs {
			err := runHistory(c.set, ops)
			if err == nil {
				continue
			}
			ops = shrink(c.set, ops)
			var lines strings.Builder
			for _, op := range ops {
				fmt.Fprintln(&lines, op)
			}
			t.Fatalf("options %q, seed %d: %v\n%d operations do (write them to a file, FLOWLAKE_METAMORPHIC=that file):\n%s"+
				"which end in: %v", c.name, seed, err, len(ops), &lines, runHistory(c.set, ops))
		}
	}
}

func readHistory(t *testing.T, name string) (ops []metaOp) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var op metaOp
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op)
	}
	return ops
}

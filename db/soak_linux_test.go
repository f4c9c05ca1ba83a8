package db

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// The child of TestSoak serves until it is killed: "DIR N0 N1 ..." with, for each writer, how many batches are known to be
// acknowledged. It prints "a WRITER N" when a writer's N-th batch was acknowledged, "s ..." with its state each second, and
// "e ..." and ends when something is wrong.
const soakEnv = "FLOWLAKE_TEST_SOAK"

func init() { children[soakEnv] = soakChild }

const (
	soakWriters = 3
	soakBatch   = 500 // rows
	soakPause   = 60 * time.Millisecond
	soakKeep    = 20 * time.Second // of edges
	soakMemory  = 512 << 20
)

// soaker is the child at work. Writer w's rows have ids w, w+soakWriters, ...: from the number of its batches follow
// number and sum of its rows.
type soaker struct {
	d     *DB
	acked [soakWriters]atomic.Int64 // batches
	begun [soakWriters]atomic.Int64
	edges atomic.Int64 // rows written to the table with retention

	checks, busy         atomic.Int64
	rollupChecks, churns atomic.Int64
	rows                 atomic.Int64 // that the last check saw
}

func soakChild(order string) error {
	words := strings.Fields(order)
	debug.SetMemoryLimit(soakMemory * 3 / 4)
	s := &soaker{}
	for w := range soakWriters {
		n, err := strconv.ParseInt(words[1+w], 10, 64)
		if err != nil {
			return err
		}
		s.acked[w].Store(n)
		s.begun[w].Store(n + 1) // one may have been under way when the last process was killed
	}
	err := s.run(words[0])
	fmt.Printf("e %v\n", err)
	return err
}

func (s *soaker) run(dir string) error {
	errs := make(chan error, 16)
	fail := func(err error) {
		select {
		case errs <- err:
		default:
		}
	}
	d, err := Open(dir, func(o *Options) {
		o.Tables, o.BudgetBytes, o.HeadAge, o.CompactEvery, o.ScrubEvery = metaRegistry, soakMemory/2, 2*time.Second, time.Second, time.Minute
		o.HeadBytes = 1 << 20
		o.Retention = map[string]time.Duration{"edges": soakKeep}
		o.Events.BackgroundError = func(action string, err error) { fail(fmt.Errorf("%s: %w", action, err)) }
		o.Events.Quarantined = func(path string, err error) { fail(fmt.Errorf("%s is set aside: %w", path, err)) }
	})
	if err != nil {
		return err
	}
	s.d = d
	if err := s.recount(); err != nil {
		return fmt.Errorf("after the start: %w", err)
	}
	if err := s.prepareRollups(context.Background()); err != nil {
		return fmt.Errorf("rollups at the start: %w", err)
	}
	for w := range soakWriters {
		go func() { fail(s.write(w)) }()
	}
	go func() { fail(s.writeEdges()) }()
	go func() { fail(s.churnRollups()) }()
	go func() {
		for {
			if err := s.check(); err != nil {
				fail(err)
				return
			}
		}
	}()
	for {
		select {
		case err := <-errs:
			return err
		case <-time.After(time.Second):
		}
		m := d.Metrics()
		fds, _ := os.ReadDir("/proc/self/fd")
		fmt.Printf("s rss=%d goroutines=%d fds=%d segments=%d rows=%d checks=%d busy=%d expired=%d merges=%d rolled=%d churns=%d sets=%d\n",
			peakRSS("self")>>20, runtime.NumGoroutine(), len(fds), m.Segments, s.rows.Load(), s.checks.Load(), s.busy.Load(), m.ExpiredRows, m.Compactions,
			s.rollupChecks.Load(), s.churns.Load(), m.TagSets)
	}
}

// soakRows is a writer's n-th batch: some rows late, the tags changing slowly.
func soakRows(w int, n int64) *batch.Batch {
	b := batch.NewBuilder(events)
	now := time.Now().UnixNano()
	for i := n * soakBatch; i < (n+1)*soakBatch; i++ {
		at := now
		if i%50 == 7 {
			at -= i * 7919 % (3 * 24 * 3600) * 1e9
		}
		b.Int(0, at)
		b.Int(1, i*soakWriters+int64(w))
		b.String(2, nameOf(int(i)))
		b.Tags(4, tags.AppendSet(nil, tags.Tag{Key: "pod", Value: fmt.Sprint("pod-", i%100+i/2_000)}, tags.Tag{Key: "app", Value: fmt.Sprint("app-", i%5)}))
		b.EndRow()
	}
	return b.Seal()
}

func (s *soaker) write(w int) error {
	for n := s.acked[w].Load(); ; n++ {
		b := soakRows(w, n)
		s.begun[w].Store(n + 1)
		err := s.d.Write(context.Background(), b)
		for ; errors.Is(err, ErrBusy); err = s.d.Write(context.Background(), b) {
			s.busy.Add(1)
		}
		if err != nil {
			return err
		}
		s.acked[w].Store(n + 1)
		fmt.Printf("a %d %d\n", w, n+1) // one call: a line is whole or absent
		time.Sleep(soakPause)
	}
}

// writeEdges writes rows that retention drops again.
func (s *soaker) writeEdges() error {
	for id := 0; ; id += soakBatch {
		b := metaBatch(edges, id%20_000, soakBatch) // the same tag sets again and again: they stay when rows go
		at := make([]int64, b.N)
		for i := range at {
			at[i] = time.Now().UnixNano()
		}
		b.Cols[0] = &batch.Vector{Type: b.Cols[0].Type, I64: at}
		if err := s.d.Write(context.Background(), b); err != nil && !errors.Is(err, ErrBusy) {
			return err
		}
		s.edges.Add(soakBatch)
		time.Sleep(soakPause)
	}
}

// tally is what a scan saw of each writer's rows.
type tally struct {
	rows, sum [soakWriters]int64 // of the batches that were acknowledged before the scan
	more      [soakWriters]int64 // rows of later ones
}

func (s *soaker) count(acked [soakWriters]int64, terms ...pred.Term) (t tally, err error) {
	sc, err := s.d.Scan(context.Background(), &pred.Request{Table: events, Columns: []int{1}, From: pred.MinTime, To: pred.MaxTime, Terms: terms})
	if err != nil {
		return t, err
	}
	defer sc.Close()
	var b batch.Batch
	for u := range sc.Units() {
		if err := sc.Read(context.Background(), u, &b); err != nil {
			return t, err
		}
		for _, id := range b.Cols[0].I64 {
			w := id % soakWriters
			if id/soakWriters < acked[w]*soakBatch {
				t.rows[w]++
				t.sum[w] += id
			} else {
				t.more[w]++
			}
		}
	}
	return t, nil
}

// exact compares a tally with what had been acknowledged before it.
func (s *soaker) exact(acked [soakWriters]int64, t tally) error {
	for w := range int64(soakWriters) {
		n := acked[w] * soakBatch
		if sum := soakWriters*n*(n-1)/2 + n*w; t.rows[w] != n || t.sum[w] != sum {
			return fmt.Errorf("writer %d: %d rows with the sum %d, want %d and %d", w, t.rows[w], t.sum[w], n, sum)
		}
	}
	return nil
}

// judge compares the tally of one scan of everything with what had been acknowledged before and was begun by its end.
func (s *soaker) judge(acked [soakWriters]int64, t tally) error {
	if err := s.exact(acked, t); err != nil {
		return err
	}
	total := int64(0)
	for w := range int64(soakWriters) {
		if limit := (s.begun[w].Load() - acked[w]) * soakBatch; t.more[w] > limit || t.more[w]%soakBatch != 0 {
			return fmt.Errorf("writer %d: %d rows more than acknowledged, at most %d are on their way", w, t.more[w], limit)
		}
		total += t.rows[w] + t.more[w]
	}
	if last := s.rows.Swap(total); total < last {
		return fmt.Errorf("%d rows, there were %d", total, last)
	}
	s.checks.Add(1)
	return nil
}

func (s *soaker) known() (acked [soakWriters]int64) {
	for w := range acked {
		acked[w] = s.acked[w].Load()
	}
	return acked
}

// recount finds out, before anything is written, whether the last process' writes under way came through.
func (s *soaker) recount() error {
	acked := s.known()
	t, err := s.count(acked)
	if err != nil {
		return err
	}
	if err := s.judge(acked, t); err != nil {
		return err
	}
	for w := range acked {
		s.acked[w].Add(t.more[w] / soakBatch)
	}
	return nil
}

// check counts everything, and once more by the values of a tag.
func (s *soaker) check() error {
	acked := s.known()
	t, err := s.count(acked)
	if err != nil {
		return err
	}
	if err := s.judge(acked, t); err != nil {
		return err
	}
	var sum tally
	acked = s.known()
	for app := range 5 {
		ids := s.d.Tags().Equal("app", fmt.Sprint("app-", app))
		if ids == nil {
			continue
		}
		part, err := s.count(acked, pred.Term{Column: 4, Kind: pred.Tags, IDs: ids})
		if err != nil {
			return err
		}
		for w := range acked {
			sum.rows[w] += part.rows[w]
			sum.sum[w] += part.sum[w]
		}
	}
	return s.exact(acked, sum)
}

// soakReport is what the parent has seen of all children.
type soakReport struct {
	acked                            [soakWriters]int64
	kills, states                    int
	rss, goroutines, fds, overhead   int // most; overhead is fds beyond one for each segment
	checks, busy, expired, merges    int64
	segments, rows                   int64
	lastChecks, lastBusy, lastMerges int64
	lastExpired                      int64
	rolled, churns, sets             int64
	lastRolled, lastChurns           int64
}

func (r *soakReport) line(text string) error {
	kind, rest, _ := strings.Cut(text, " ")
	switch kind {
	case "a":
		var w int
		var n int64
		if _, err := fmt.Sscanf(rest, "%d %d", &w, &n); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		r.acked[w] = max(r.acked[w], n)
		return nil
	case "s":
		var rss, goroutines, fds int
		if _, err := fmt.Sscanf(rest, "rss=%d goroutines=%d fds=%d segments=%d rows=%d checks=%d busy=%d expired=%d merges=%d rolled=%d churns=%d sets=%d",
			&rss, &goroutines, &fds, &r.segments, &r.rows, &r.lastChecks, &r.lastBusy, &r.lastExpired, &r.lastMerges,
			&r.lastRolled, &r.lastChurns, &r.sets); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		r.states++
		r.rss, r.goroutines, r.fds = max(r.rss, rss), max(r.goroutines, goroutines), max(r.fds, fds)
		r.overhead = max(r.overhead, fds-int(r.segments))
		return nil
	}
	return fmt.Errorf("the child says: %s", text)
}

// ended adds up what a child did.
func (r *soakReport) ended() {
	r.checks, r.busy, r.expired, r.merges = r.checks+r.lastChecks, r.busy+r.lastBusy, r.expired+r.lastExpired, r.merges+r.lastMerges
	r.lastChecks, r.lastBusy, r.lastExpired, r.lastMerges = 0, 0, 0, 0
	r.rolled, r.churns = r.rolled+r.lastRolled, r.churns+r.lastChurns
	r.lastRolled, r.lastChurns = 0, 0
}

// soakOnce runs a child for a while from its first state on, and kills it.
func soakOnce(t *testing.T, dir string, r *soakReport, life time.Duration) {
	t.Helper()
	order := dir
	for _, n := range r.acked {
		order += fmt.Sprint(" ", n)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), soakEnv+"="+order)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill sync.Once
	var killed atomic.Bool
	stop := func() { kill.Do(func() { killed.Store(true); _ = cmd.Process.Kill() }) }
	defer stop()
	patience := time.AfterFunc(10*time.Minute+life, stop)
	defer patience.Stop()
	states := r.states
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if err := r.line(lines.Text()); err != nil {
			t.Fatalf("%v %s", err, stderr.String())
		}
		if r.states == states+1 {
			states = -2 // once
			timer := time.AfterFunc(life, stop)
			defer timer.Stop()
		}
	}
	err = cmd.Wait()
	if !killed.Load() || states != -2 {
		t.Fatalf("the child ended by itself, or did nothing: %v %s", err, stderr.String())
	}
	r.ended()
	r.kills++
}

// TestSoak is the long proof: FLOWLAKE_SOAK says how long (make soak SOAK=30m). A process writes from several goroutines at
// a rate, some rows late, while scans check that counts never fall and sums are exact; it flushes, merges, scrubs and drops
// expired rows all the time, and rollups come, are filled, tell of as many rows, expire and go. It is killed after lives from one second to five minutes; the next one recounts all that was
// acknowledged. Between them the power is cut in random histories on a file system in memory. Memory, goroutines and
// files of the processes stay within bounds.
func TestSoak(t *testing.T) {
	want := os.Getenv("FLOWLAKE_SOAK")
	if want == "" {
		t.Skip("FLOWLAKE_SOAK is not set: make soak")
	}
	length, err := time.ParseDuration(want)
	if err != nil {
		length = 30 * time.Minute
	}
	dir := t.TempDir() + "/data"
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &soakReport{}
	cuts := 0
	end := time.Now().Add(length)
	for round := 0; time.Now().Before(end); round++ {
		life := time.Duration(float64(time.Second) * []float64{1, 3, 10, 40, 300}[round%5] * (0.5 + rng.Float64()))
		life = min(life, max(time.Until(end), time.Second))
		soakOnce(t, dir, r, life)
		cuts += soakPowerCuts(t, seed+uint64(round))
		t.Logf("%v to go: %d kills, %d power cuts, acknowledged %v batches, %d segments, peak %d MiB, %d goroutines, %d files, %d checks",
			time.Until(end).Round(time.Second), r.kills, cuts, r.acked, r.segments, r.rss, r.goroutines, r.fds, r.checks)
		if r.rss<<20 > soakMemory || r.goroutines > 40 || r.overhead > 64 {
			t.Fatalf("it has grown: %+v", *r)
		}
	}
	if p, err := VerifyFolder(context.Background(), vfs.OS, dir, nil, func(o *VerifyOptions) { o.Tables = metaRegistry }); err != nil || len(p) > 0 {
		t.Errorf("verify: %v %v", p, err)
	}
	if length > 5*time.Minute && (r.merges == 0 || r.expired == 0 || r.churns == 0) {
		t.Errorf("nothing was merged, nothing expired, or no rollup came and went: %+v", *r)
	}
	t.Logf("%v: %d rows of %d writers acknowledged and found, %d kills, %d power cuts, %d checks, %d merges, %d rows expired, %d times ErrBusy; "+
		"%d checks of rollups, %d created, filled and dropped, %d tag sets; peak %d MiB, %d goroutines, %d files beside those of segments", length, (r.acked[0]+r.acked[1]+r.acked[2])*soakBatch, soakWriters,
		r.kills, cuts, r.checks, r.merges, r.expired, r.busy,
		r.rolled, r.churns, r.sets, r.rss, r.goroutines, r.overhead)
}

// soakPowerCuts runs a random history with power cuts under one option set, and says how many there were.
func soakPowerCuts(t *testing.T, seed uint64) int {
	t.Helper()
	ops := metaHistory(seed, 300)
	c := metaConfigs[seed%uint64(len(metaConfigs))]
	if err := runHistory(c.set, ops); err != nil {
		t.Fatalf("options %q, history %d: %v; TestMetamorphic prints a short one", c.name, seed, err)
	}
	cuts := slices.DeleteFunc(ops, func(op metaOp) bool { return op.Op != "crash" })
	return len(cuts)
}

package db

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// The child of TestMemoryBound: "fill DIR BYTES ROWS" writes, scans and merges as fast as it can; "count DIR BYTES" opens
// the folder and counts.
const boundEnv = "FLOWLAKE_TEST_BOUND"

const (
	boundWriters = 4
	boundRows    = 4096 // of a batch
	boundDays    = 60   // back from now that late rows come from
	boundSets    = 500  // batches that bring new tag sets, 256 each; then they come again
)

func init() { children[boundEnv] = boundChild }

func boundChild(order string) error {
	words := strings.Fields(order)
	budget, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return err
	}
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // the parent has bounded us by now
	debug.SetMemoryLimit(budget * 3 / 4)              // what the runtime does not count is code, stacks of others, the kernel's buffers
	d, err := Open(words[1], func(o *Options) {
		o.BudgetBytes, o.CompactEvery, o.MaxWait = budget/2, 100*time.Millisecond, 50*time.Millisecond
		o.Retention = map[string]time.Duration{"flows": 0}
	})
	if err != nil {
		return err
	}
	if words[0] == "count" {
		return boundCount(d)
	}
	batches, err := strconv.Atoi(words[3])
	if err != nil {
		return err
	}
	return boundFill(d, batches)
}

// boundFill writes batches from several goroutines beside a reader, says so for each, and at last waits to be killed.
func boundFill(d *DB, batches int) error {
	pool := make([]*batch.Batch, 4)
	for i := range pool {
		pool[i] = gen.NewFlows(gen.Options{Seed: uint64(i)}).Next(boundRows)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, boundWriters+1)
	var wg sync.WaitGroup
	var busy atomic.Int64
	for w := range boundWriters {
		wg.Go(func() {
			for i := w; i < batches; i += boundWriters {
				b := boundBatch(pool[i%len(pool)], i)
				err := d.Write(ctx, b)
				for ; errors.Is(err, ErrBusy); err = d.Write(ctx, b) {
					busy.Add(1)
				}
				if err != nil {
					errs <- err
					return
				}
				fmt.Fprintf(os.Stdout, "%d\n", i) // one call: a line is whole or absent
			}
		})
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for ctx.Err() == nil {
			if _, err := boundScan(d, nil); err != nil {
				errs <- err
				return
			}
		}
	}()
	wg.Wait()
	cancel()
	<-read
	select {
	case err := <-errs:
		return err
	default:
	}
	m := d.Metrics()
	fmt.Fprintf(os.Stdout, "full peak=%d busy=%d stalls=%d merges=%d segments=%d sets=%d errors=%d\n",
		peakRSS("self"), busy.Load(), m.Stalls, m.Compactions, m.Segments, m.TagSets, m.BackgroundErrors)
	select {} // until it is killed
}

// boundBatch is a batch of its own: ids follow from its number, one row in 16 is late, and 32 rows each share a tag set.
func boundBatch(b *batch.Batch, number int) *batch.Batch {
	t := b.Table
	out := *b
	out.Cols = append([]*batch.Vector(nil), b.Cols...)
	id, at := t.MustColumn("flow_id"), t.TimeColumn
	ids, times := make([]int64, b.N), make([]int64, b.N)
	now := time.Now().UnixNano()
	for i := range b.N {
		ids[i], times[i] = int64(number*boundRows+i), now
		if i%16 == 0 {
			times[i] -= int64((number+i/16)%boundDays) * int64(24*time.Hour)
		}
	}
	out.Cols[id] = &batch.Vector{Type: schema.BigInt, I64: ids}
	out.Cols[at] = &batch.Vector{Type: schema.Timestamp, I64: times}
	for _, side := range []string{"client_tags", "server_tags"} {
		data, offs := []byte(nil), []uint32{0}
		codes := make([]uint32, b.N)
		for i := range codes {
			if i%32 == 0 {
				data = tags.AppendSet(data, tags.Tag{Key: "pod", Value: fmt.Sprintf("%s-%d-%d", side, number%boundSets, i)},
					tags.Tag{Key: "namespace", Value: fmt.Sprint("namespace-", number%50)}, tags.Tag{Key: "cluster", Value: "production-eu-1"})
				offs = append(offs, uint32(len(data)))
			}
			codes[i] = uint32(len(offs) - 2)
		}
		out.Cols[t.MustColumn(side)] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: batch.NewDict(data, offs)}
	}
	return &out
}

// boundScan reads some columns of every row and calls f, if not nil, with each flow_id.
func boundScan(d *DB, f func(id int64)) (rows int, err error) {
	t := schema.Flows()
	req := &pred.Request{Table: t, From: pred.MinTime, To: pred.MaxTime, Columns: []int{t.MustColumn("flow_id"), t.MustColumn("agent"),
		t.MustColumn("client_ip"), t.MustColumn("client_tags"), t.MustColumn("bytes_tx")}}
	s, err := d.Scan(context.Background(), req)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var b batch.Batch
	for u := range s.Units() {
		if err := s.Read(context.Background(), u, &b); err != nil {
			return rows, err
		}
		rows += b.N
		if f != nil {
			for _, id := range b.Cols[0].I64 {
				f(id)
			}
		}
	}
	return rows, nil
}

// boundCount prints how many rows of each batch there are.
func boundCount(d *DB) error {
	count := map[int64]int{}
	seen := map[int64]uint64{}
	twice := 0
	_, err := boundScan(d, func(id int64) {
		if seen[id/64]&(1<<(id%64)) != 0 {
			twice++
		}
		seen[id/64] |= 1 << (id % 64)
		count[id/boundRows]++
	})
	if err != nil {
		return err
	}
	for number, n := range count {
		fmt.Printf("%d %d\n", number, n)
	}
	fmt.Printf("counted twice=%d peak=%d\n", twice, peakRSS("self"))
	return d.Close()
}

// peakRSS is the most memory that a process has had, in bytes.
func peakRSS(pid string) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kb, _ := strconv.ParseInt(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]), 10, 64)
	return kb << 10
}

// memoryGroup makes a control group with a hard limit of memory, "" where that cannot be: not root, no such controller.
func memoryGroup(t *testing.T, dir string, limit int64) string {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		return "" // its files would count as the process's memory
	}
	for _, c := range []struct{ root, file string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		group := filepath.Join(c.root, fmt.Sprint("flowlake-test-", os.Getpid()))
		if _, err := os.Stat(filepath.Join(c.root, "cgroup.procs")); err != nil {
			continue
		}
		if err := os.Mkdir(group, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			for range 1000 { // the kernel forgets a process some time after it ended
				if os.Remove(group) == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		if err := os.WriteFile(filepath.Join(group, c.file), strconv.AppendInt(nil, limit, 10), 0o644); err == nil {
			return group
		}
	}
	return ""
}

// boundRun runs a child and gives its lines to f until f says that it is enough; then it is killed.
func boundRun(t *testing.T, group, order string, f func(line string) bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), boundEnv+"="+order)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // killed
	defer func() { _ = cmd.Process.Kill() }()
	if group != "" {
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), strconv.AppendInt(nil, int64(cmd.Process.Pid), 10), 0o644); err != nil {
			t.Logf("no hard limit: %v", err)
		}
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(10*time.Minute, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if f(lines.Text()) {
			return
		}
	}
	_ = cmd.Process.Kill()
	err = cmd.Wait()
	t.Fatalf("%s: the child ended: %v %s", order, err, stderr.String())
}

// TestMemoryBound lets a process write wide rows as fast as it can, late ones of many days and ones with new tag sets among
// them, beside scans and merges, in 512 MiB all told; kills it, and has another replay the log in as much. Where it may, it
// has the kernel enforce the limit. Nothing that was acknowledged is lost.
func TestMemoryBound(t *testing.T) {
	const limit = 512 << 20
	batches := 150
	if os.Getenv("FLOWLAKE_SOAK") != "" {
		batches = 4000
	}
	if testing.Short() {
		t.Skip("writes 600,000 rows")
	}
	parent := t.TempDir()
	group := memoryGroup(t, parent, limit)
	dir := filepath.Join(parent, "data")
	acked := map[int64]bool{}
	boundRun(t, group, fmt.Sprint("fill ", dir, " ", limit, " ", batches), func(line string) bool {
		if strings.HasPrefix(line, "full ") {
			t.Logf("%s (hard limit: %v)", line, group != "")
			var peak int64
			if _, err := fmt.Sscanf(line, "full peak=%d", &peak); err != nil || peak > limit {
				t.Errorf("%d MiB, at most %d are allowed; %v", peak>>20, limit>>20, err)
			}
			return true
		}
		number, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			t.Fatalf("the child said %q", line)
		}
		acked[number] = true
		return false
	})
	boundRun(t, group, fmt.Sprint("count ", dir, " ", limit), func(line string) bool {
		var number, n, peak int64
		if _, err := fmt.Sscanf(line, "counted twice=%d peak=%d", &n, &peak); err == nil {
			t.Log(line)
			if n != 0 || peak > limit {
				t.Errorf("%d rows are there twice; %d MiB, at most %d are allowed", n, peak>>20, limit>>20)
			}
			return true
		}
		if _, err := fmt.Sscanf(line, "%d %d", &number, &n); err != nil {
			t.Fatalf("the child said %q", line)
		}
		if n != boundRows {
			t.Errorf("batch %d has %d rows", number, n)
		}
		delete(acked, number)
		return false
	})
	if len(acked) > 0 {
		t.Errorf("%d acknowledged batches are missing", len(acked))
	}
}

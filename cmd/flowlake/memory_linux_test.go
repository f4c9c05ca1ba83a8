package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db"
)

// serverMemory is what the server of TestServerMemoryBound gets.
const serverMemory = 512 << 20

// memoryGroup makes a control group (version 1 or 2) with a hard limit, or skips.
func memoryGroup(t *testing.T) string {
	t.Helper()
	var last error
	for _, c := range []struct{ root, file string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		if _, last = os.Stat(filepath.Join(c.root, "cgroup.procs")); last != nil {
			continue
		}
		group := filepath.Join(c.root, fmt.Sprint("flowlake-server-", os.Getpid()))
		if last = os.Mkdir(group, 0o755); last != nil {
			continue
		}
		t.Cleanup(func() {
			for end := time.Now().Add(patience); os.Remove(group) != nil && time.Now().Before(end); { // once the kernel has forgotten the process
				time.Sleep(10 * time.Millisecond)
			}
		})
		if last = os.WriteFile(filepath.Join(group, c.file), strconv.AppendInt(nil, serverMemory, 10), 0o644); last == nil {
			return group
		}
	}
	t.Skipf("no control group can be given a limit of memory here: %v", last)
	return ""
}

// TestServerMemoryBound has the program itself serve 600,000 wide rows of 24 segments in a control group of 512 MiB, with a
// replay of half of the rows, merges, a rollup that is filled, and aggregations over HTTP from four clients at a time. The
// kernel ends it if it takes more.
func TestServerMemoryBound(t *testing.T) {
	if os.Getenv("FLOWLAKE_SOAK") == "" {
		t.Skip("FLOWLAKE_SOAK is not set: make soak")
	}
	dir := filepath.Join(t.TempDir(), "data")
	const rows = 600_000
	fillFolder(t, dir, rows)
	group := memoryGroup(t)
	cmd := exec.Command("sh", "-c", `read go; exec flowlake server --data "$0" --collect off --memory 512MiB --http 127.0.0.1:0 --retention flows=0`, dir)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), strconv.AppendInt(nil, int64(cmd.Process.Pid), 10), 0o644); err != nil {
		t.Skipf("a process cannot be put into the control group: %v", err)
	}
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	url := serverURL(t, &out)
	if got := ask(t, url, "CREATE ROLLUP flows_1h ON flows EVERY 1 hour GROUP BY server.service, client_ip"); strings.Contains(got, "error") {
		t.Fatal(got)
	}
	var wg sync.WaitGroup
	for client := range 4 {
		wg.Go(func() {
			for i := range 8 {
				sql := []string{
					"SELECT client_ip, server_ip, count(*), sum(bytes_tx), approx_percentile(rtt_us, 0.99) FROM flows GROUP BY 1, 2 ORDER BY 4 DESC LIMIT 10",
					"SELECT server.service, client.service, sum(bytes_tx) FROM flows GROUP BY 1, 2",
					"SELECT count(*) FROM flows", "SELECT * FROM flows ORDER BY bytes_rx DESC LIMIT 100",
				}[(client+i)%4]
				if got := ask(t, url, sql); sql == "SELECT count(*) FROM flows" && !strings.Contains(got, fmt.Sprint(rows)) {
					t.Errorf("count: %s", got)
				}
			}
		})
	}
	wg.Wait()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatalf("the server is gone: %v\n%s", err, out.String())
	}
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if peak == nil {
		t.Fatalf("the server is gone\n%s", out.String())
	}
	kb, err := strconv.ParseInt(string(peak[1]), 10, 64)
	if err != nil || kb<<10 > serverMemory {
		t.Errorf("%d KiB at most, %v", kb, err)
	}
	t.Logf("%d MiB at most", kb>>10)
}

// fillFolder writes rows in 24 batches, the first half of them flushed to a segment each, and leaves the folder as a kill would.
func fillFolder(t *testing.T, dir string, rows int) {
	t.Helper()
	d, err := db.Open(dir+".live", func(o *db.Options) { o.NoCompaction = true; o.Retention = map[string]time.Duration{"flows": 0} })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	flows := gen.NewFlows(gen.Options{Seed: 3})
	const batches = 24
	for i := range batches {
		b := flows.Next(rows / batches)
		gen.ByValue(b, gen.PodTags)
		if err := d.Write(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if i < batches/2 {
			if err := d.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	// what is on disk now, without an orderly end
	if out, err := exec.Command("cp", "-r", dir+".live", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// lockedBuffer is a buffer that a process writes to while we read.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serverURL waits until the server is ready.
func serverURL(t *testing.T, out *lockedBuffer) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, rest, ok := strings.Cut(out.String(), "  http      ")
		if url, _, whole := strings.Cut(rest, " "); ok && whole {
			return url
		}
	}
	t.Fatalf("the server is not ready: %s", out.String())
	return ""
}

// ask posts a statement; one that may not have the memory or the place it needs is refused with an error that says so.
func ask(t *testing.T, url, sql string) string {
	res, err := http.Post(url+"/api/v1/sql?format=csv&timeout=5m", "text/plain", strings.NewReader(sql))
	if err != nil {
		t.Errorf("%s: %v", sql, err)
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK && !strings.Contains(string(body), `"sqlstate":"53`) {
		t.Errorf("%s: %s %v %.300s", sql, res.Status, err, body)
	}
	return string(body)
}

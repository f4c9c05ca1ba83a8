package db

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The child process of TestKill: it writes batches from several goroutines into the folder that the environment names and
// prints the first id of each batch after it was acknowledged.
const killEnv = "FLOWLAKE_TEST_KILL_DIR"

// children are what this program does instead of testing when a variable of the environment has a value.
var children = map[string]func(value string) error{killEnv: writeUntilKilled}

func TestMain(m *testing.M) {
	for name, child := range children {
		if v := os.Getenv(name); v != "" {
			if err := child(v); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

func writeUntilKilled(dir string) error {
	d, err := Open(dir, func(o *Options) {
		o.Tables, o.HeadBytes, o.FlushRows, o.LogSegmentBytes, o.CompactEvery = eventsOnly, 4<<10, 2000, 64<<10, 2*time.Millisecond
	})
	if err != nil {
		return err
	}
	start, err := strconv.Atoi(os.Getenv(killEnv + "_FROM"))
	if err != nil {
		return err
	}
	fmt.Println("open")
	errs := make(chan error, 4)
	for w := range 4 {
		go func() {
			for i := w; ; i += 4 {
				first := start + i*batchRows
				if err := d.Write(context.Background(), rowsOf(first, batchRows)); err != nil {
					errs <- err
					return
				}
				// one write call each: a line is whole or absent in the pipe
				fmt.Fprintf(os.Stdout, "%d\n", first)
			}
		}()
	}
	return <-errs
}

// TestKill kills a writing process, 200 times (10 with -short), on one folder that lives on: every acknowledged row is there
// exactly once after each. Every fourth one may be killed before it has written anything, the others after two batches at
// least: how far a process comes in some milliseconds is up to the machine.
func TestKill(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 10
	}
	dir := t.TempDir()
	h := newHistory()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	next := 0
	for round := range rounds {
		acks := 2
		if round%4 == 3 {
			acks = 0
		}
		next = killOnce(t, dir, h, next, acks, time.Duration(rng.IntN(12_000))*time.Microsecond)
		d, err := Open(dir, func(o *Options) { o.Tables, o.HeadBytes, o.LogSegmentBytes = eventsOnly, 4<<10, 64<<10 })
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		ids, err := scanIDs(d, t0-1e18, t0+1e18)
		if err == nil {
			err = h.snapshot().judge(ids)
		}
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills, %d batches acknowledged and found", rounds, len(h.acked))
	if len(h.acked) < rounds {
		t.Fatalf("only %d batches were acknowledged in %d rounds: this proves little", len(h.acked), rounds)
	}
}

// killOnce runs the child for a while after it has opened the folder and said so many batches, and kills it. It returns the
// first id that was never used.
func killOnce(t *testing.T, dir string, h *history, from, acks int, after time.Duration) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir, killEnv+"_FROM="+strconv.Itoa(from))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var kill sync.Once
	stop := func() { kill.Do(func() { _ = cmd.Process.Kill() }) }
	defer stop()
	deadline := time.AfterFunc(3*time.Minute, stop)
	defer deadline.Stop()
	if !lines.Scan() || lines.Text() != "open" {
		stop()
		_ = cmd.Wait() // killed
		t.Fatalf("the child did not open the folder: %q %s", lines.Text(), stderr.String())
	}
	var timer *time.Timer
	highest := from
	for n := 0; ; n++ {
		if n == acks {
			timer = time.AfterFunc(after, stop)
			defer timer.Stop()
		}
		if !lines.Scan() {
			break
		}
		first, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the child said %q", lines.Text())
		}
		h.acked[first] = true
		highest = max(highest, first)
	}
	_ = cmd.Wait() // killed
	if timer == nil {
		t.Fatalf("the child ended by itself, or did not write in time: %s", stderr.String())
	}
	// what was under way when it was killed may be there or not: no more than a batch of each writer, and those that were
	// acknowledged but not yet printed
	const margin = 64
	for first := from; first <= highest+margin*batchRows; first += batchRows {
		if !h.acked[first] {
			h.pending[first] = true
		}
	}
	return highest + (margin+1)*batchRows
}

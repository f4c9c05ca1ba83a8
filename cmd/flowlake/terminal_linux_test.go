package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/db"
)

// terminal is a program that runs at a pseudo-terminal of 100 columns.
type terminal struct {
	t    *testing.T
	ptm  *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex // guards seen
	seen strings.Builder
	done chan struct{} // closed when all output was read
}

func openTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals:", err)
	}
	t.Cleanup(func() { _ = ptm.Close() }) // closed already when all went well
	if err := unix.IoctlSetPointerInt(int(ptm.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptm.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(ptm.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}); err != nil {
		t.Fatal(err)
	}
	pts, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals:", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, ptm: ptm, done: make(chan struct{})}
	// the test binary is the program when it is called flowlake: testscript.Main
	x.cmd = &exec.Cmd{Path: exe, Args: append([]string{"flowlake"}, args...), Env: append(os.Environ(), env...), Stdin: pts, Stdout: pts, Stderr: pts,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true}}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := pts.Close(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		_, _ = io.Copy(x, ptm) // ends with an error when the program does
	}()
	return x
}

// Write notes what the program writes, and answers when it asks where the cursor is.
func (x *terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	x.seen.Write(p)
	x.mu.Unlock()
	for range strings.Count(string(p), "\x1b[6n") {
		if _, err := x.ptm.WriteString("\x1b[1;1R"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen.String()
}

// expect waits until text comes, and forgets what came before its end.
func (x *terminal) expect(text string) {
	x.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		x.mu.Lock()
		_, rest, ok := strings.Cut(x.seen.String(), text)
		if ok {
			x.seen.Reset()
			x.seen.WriteString(rest)
		}
		x.mu.Unlock()
		if ok {
			return
		}
	}
	_ = x.cmd.Process.Kill() // or Wait would not return
	x.t.Fatalf("%q did not come, but %q", text, x.text())
}

func (x *terminal) send(text string) {
	x.t.Helper()
	if _, err := x.ptm.WriteString(text); err != nil {
		x.t.Fatal(err)
	}
}

// Somebody types: several lines, a mistake, Ctrl-C, a word to complete, a command, and quits; the history is kept.
func TestShellAtATerminal(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	d, err := db.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	x := openTerminal(t, []string{"XDG_STATE_HOME=" + dir, "TERM=xterm", "HOME=" + dir}, "sql", "--data", data)
	x.expect("flowlake> ")
	x.send("SELECT 40 + 1 AS first,\r")
	x.send("40 + 2 AS second;\r")
	x.expect(" 41 │     42")
	x.expect("flowlake> ")
	x.send("SELECT nope;\r")
	x.expect(`column "nope" does not exist`)
	x.expect("flowlake> ")
	x.send("SELECT 'half")
	x.expect("'half")
	x.send("\x03")
	x.expect("flowlake> ")
	x.send("\\timing on\r")
	x.expect("Timing is on.")
	x.expect("flowlake> ")
	x.send("SELECT count(*) AS rows_there FROM span\t")
	x.expect("FROM spans")
	x.send(";\r")
	x.expect(" rows_there\r\n")
	x.expect("Time: ")
	x.expect("flowlake> ")
	x.send("\\q\r")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = x.cmd.Process.Kill() })
	defer stop()
	if err := x.cmd.Wait(); err != nil {
		t.Errorf("%v, %q", err, x.text())
	}
	<-x.done
	history, err := os.ReadFile(filepath.Join(dir, "flowlake", "history"))
	if err != nil || !strings.Contains(string(history), "SELECT 40 + 1 AS first,") || !strings.Contains(string(history), "FROM spans") {
		t.Errorf("history is %q, %v", history, err)
	}
}

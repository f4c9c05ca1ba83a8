package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
)

// In a terminal that is full nothing of a result is overwritten by the next prompt. tmux is the terminal, as what counts is
// what is on the screen in the end.
func TestShellInAFullTerminal(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("no tmux:", err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	d, err := db.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "flowlake") // testscript.Main goes by the name
	if err := os.Symlink(exe, program); err != nil {
		t.Fatal(err)
	}
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "tmux", append([]string{"-S", filepath.Join(dir, "socket"), "-f", "/dev/null"}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm", "XDG_STATE_HOME="+filepath.Join(dir, "state"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "60", "-y", "10", "-s", "shell", program, "sql", "--data", data)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", filepath.Join(dir, "socket"), "kill-server").Run() }) // gone when the shell is
	screen := func(want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if got = tmux("capture-pane", "-p", "-S", "-", "-t", "shell"); strings.Contains(got, want) {
				return
			}
		}
		t.Fatalf("the screen has no %q but\n%s", want, got)
	}
	screen("\nflowlake>")
	edge := "SELECT 5 AS " + strings.Repeat("a", 60-len("flowlake> ")-len("SELECT 5 AS "))
	for _, step := range []struct{ typed, want string }{
		{"SELECT 1 AS one;", " one\n─────\n   1\n(1 row)\nflowlake>"},
		{"SELECT 2 AS two;", " two\n─────\n   2\n(1 row)\nflowlake>"},
		{"SELECT 3 AS three,\r4 AS four;", " three │ four\n───────┼──────\n     3 │    4\n(1 row)\nflowlake>"},
		{edge + ";", " 5\n(1 row)\nflowlake>"},
		{"SELECT nope;", "line 1: SELECT nope\n               ^\nflowlake>"},
		{"SELECT 6 AS six;", "line 1: SELECT nope\n               ^\nflowlake> SELECT 6 AS six;\n six\n─────\n   6\n(1 row)\nflowlake>"},
	} {
		for _, r := range step.typed { // key by key, as a hand does
			tmux("send-keys", "-t", "shell", "-H", hexByte(byte(r)))
		}
		tmux("send-keys", "-t", "shell", "Enter")
		screen(step.want)
	}
}

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

package revision

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	dir := t.TempDir()
	t.Chdir(dir)
	if got := Commit(); got != "unknown" {
		t.Errorf("outside of a repository: %q", got)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@y"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	write("a.go", "package a")
	write("bench/results/size.md", "old")
	git("init", "-q")
	git("add", "-A")
	git("commit", "-q", "-m", "first")
	hash := git("rev-parse", "--short=12", "HEAD")
	write("bench/results/size.md", "new")
	if got := Commit(); got != hash {
		t.Errorf("with new results: %q, want %q", got, hash)
	}
	write("a.go", "package b")
	t.Chdir(filepath.Join(dir, "bench"))
	if got := Commit(); got != hash+"-dirty" {
		t.Errorf("with other code: %q, want %q", got, hash+"-dirty")
	}
}

//go:build unix

package sqlshell

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// blocking is a session whose statements run until they are canceled.
type blocking struct{ started chan struct{} }

func (b blocking) Where() string { return "" }
func (b blocking) Keeps() bool   { return true }
func (b blocking) Query(ctx context.Context, _ string, _ time.Duration) (Result, error) {
	b.started <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// Ctrl-C ends the statement, not the shell.
func TestInterrupt(t *testing.T) {
	b := blocking{make(chan struct{}, 1)}
	r, o := newRunner(b)
	go func() {
		<-b.started
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			panic(err)
		}
	}()
	in := &typed{lines: []string{"SELECT 1;", `\l`}}
	if err := r.Interactive(context.Background(), in); err != nil || in.i != 2 || !strings.Contains(o.err.String(), "error: canceled") {
		t.Errorf("%v %q", err, o.err.String())
	}
}

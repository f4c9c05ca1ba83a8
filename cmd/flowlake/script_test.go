package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/flowlake/flowlake/cmd/flowlake/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"flowlake": main})
}

// corpus is the folder of captures with expectations, "" where there is none.
func corpus() string {
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CORPUS", corpus())
			e.Setenv("ID", fmt.Sprintf("x%08x", rand.Uint32())) // tells traffic of ours from that of other tests on this machine
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "corpus":
				return corpus() != "", nil
			case "root":
				return os.Geteuid() == 0, nil
			case "tmpfs":
				return runtime.GOOS == "linux" && os.Geteuid() == 0 && exec.Command("unshare", "-m", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exit":    exitCode,
			"repeat":  repeat,
			"cutfile": cutFile,
			"waitfor": waitFor,
			"get":     get,
			"post":    post,
			"metrics": parseMetrics,
			"web":     web,
			"lookup":  lookUp,
			"until":   until,
			"sigterm": sigTerm,
		},
	})
}

// exit CODE CMD...: the command ends with this code.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE CMD...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var e *exec.ExitError
	if errors.As(err, &e) {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// repeat FILE PREFIX TEXT N SUFFIX: the file holds prefix, N times the text, suffix.
func repeat(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[3])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]+strings.Repeat(args[2], n)+args[4]), 0o600))
}

// cutfile FROM TO BYTES: the first bytes of a file.
func cutFile(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b[:min(n, len(b))], 0o600))
}

// patience is how long something is waited for: a busy machine may not run us for seconds.
const patience = 90 * time.Second

// eventually tries f until it works.
func eventually(ts *testscript.TestScript, f func() error) {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	ts.Fatalf("after %v: %v", patience, err)
}

// waitfor FILE VAR [DOOR]: waits for the address of a door (http, agents) that a server prints to a file and sets VAR to it.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	door := "http"
	if len(args) > 2 {
		door = args[2]
	}
	eventually(ts, func() error {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return err
		}
		_, rest, ok := strings.Cut(string(b), fmt.Sprintf("  %-9s ", door))
		url, _, whole := strings.Cut(rest, " ")
		if !ok || !whole {
			return fmt.Errorf("no address in %q", b)
		}
		ts.Setenv(args[1], url)
		return nil
	})
}

// get URL [CODE]: prints the body; fails when the code is another.
func get(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Get(args[0])
	answer(ts, res, err, args[1:])
}

// post URL BODY [CODE].
func post(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Post(args[0], "text/plain", strings.NewReader(args[1]))
	answer(ts, res, err, args[2:])
}

func answer(ts *testscript.TestScript, res *http.Response, err error, code []string) {
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", body)
	want := "200"
	if len(code) > 0 {
		want = code[0]
	}
	if got := strconv.Itoa(res.StatusCode); got != want {
		ts.Fatalf("status %s, want %s: %s", got, want, body)
	}
}

// metrics URL NAME...: the text parses, and the named families are there.
func parseMetrics(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Get(args[0])
	ts.Check(err)
	defer res.Body.Close()
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(res.Body)
	ts.Check(err)
	for _, name := range args[1:] {
		if families[name] == nil {
			ts.Fatalf("no %s in %d families", name, len(families))
		}
	}
}

// web PATH CODE: asks a small web server on this host, which answers with the code.
func web(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "hello")
	}))
	defer s.Close()
	res, err := s.Client().Get(s.URL + args[0])
	ts.Check(err)
	_, err = io.Copy(io.Discard, res.Body)
	ts.Check(err)
	ts.Check(res.Body.Close())
	s.Client().CloseIdleConnections()
}

// lookup NAME: asks a small DNS server on this host, on port 53 of an address of its own, for the A records of a name.
func lookUp(ts *testscript.TestScript, _ bool, args []string) {
	var server net.PacketConn
	eventually(ts, func() (err error) {
		server, err = net.ListenPacket("udp4", fmt.Sprintf("127.%d.%d.%d:53", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
		return err
	})
	defer server.Close()
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 512)
		n, from, err := server.ReadFrom(buf)
		if err == nil {
			q := bytes.Clone(buf[:n])
			q[2], q[3], q[7] = 0x81, 0x80, 1 // an answer without error, of one record
			q = append(q, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
			_, err = server.WriteTo(q, from)
		}
		done <- err
	}()
	client, err := net.Dial("udp4", server.LocalAddr().String())
	ts.Check(err)
	defer client.Close()
	ts.Check(client.SetDeadline(time.Now().Add(patience)))
	q := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(args[0], ".") {
		q = append(append(q, byte(len(label))), label...)
	}
	_, err = client.Write(append(q, 0, 0, 1, 0, 1))
	ts.Check(err)
	_, err = client.Read(make([]byte, 512))
	ts.Check(err)
	ts.Check(<-done)
}

// sigterm: asks the commands in the background to end.
func sigTerm(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// until TEXT CMD...: runs a command again until its output contains the text.
func until(ts *testscript.TestScript, _ bool, args []string) {
	eventually(ts, func() error {
		var out bytes.Buffer
		code := cli.Run(context.Background(), args[1:], cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out, Getenv: ts.Getenv,
			Environ: func() []string { return nil }})
		if !strings.Contains(out.String(), args[0]) {
			return fmt.Errorf("exit code %d and %q, without %q", code, out.String(), args[0])
		}
		return nil
	})
}

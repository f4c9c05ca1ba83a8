package collector

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/capture"
)

// inNamespace starts a process in a network namespace of its own, with a loopback interface that is up. end ends it.
func inNamespace(t *testing.T) (n *capture.Namespace, end func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("capturing needs root")
	}
	cmd := exec.Command("cat") // until its input ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	end = func() { in.Close(); _ = cmd.Wait() }
	t.Cleanup(end)
	n, err = capture.OpenNamespace(strconv.Itoa(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	err = n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, end
}

// talk sends datagrams to a port of the loopback interface of a namespace, nil for ours.
func talk(t *testing.T, n *capture.Namespace, port int) {
	t.Helper()
	send := func() error {
		c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		defer c.Close()
		_, _ = c.Write([]byte("hello")) // the second time it may hear that nobody listens
		return nil
	}
	err := send
	if n != nil {
		err = func() error { return n.Do(send) }
	}
	if err := err(); err != nil {
		t.Fatal(err)
	}
}

func (s *table) waitFor(t *testing.T, again func(), match func(map[string]string) bool) map[string]string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if again(); s.find("flows", match) != nil {
			return s.find("flows", match)
		}
	}
	t.Fatal("the row did not come within a minute")
	return nil
}

// TestNamespaces captures in our namespace, in one that is there at the start, in one that comes later, and no longer in one
// that has gone.
func TestNamespaces(t *testing.T) {
	early, endEarly := inNamespace(t)
	var s table
	c, stop := live(t, &s, func(o *Options) { o.Interfaces, o.Namespaces = []string{"lo*"}, []string{AllNamespaces} })
	port := func(n int) func(map[string]string) bool {
		return func(r map[string]string) bool { return r["server_port"] == strconv.Itoa(n) }
	}
	row := s.waitFor(t, func() { talk(t, nil, 20001) }, port(20001))
	if row["interface"] != "lo" || row["observation_point"] != "local" {
		t.Errorf("in ours: %v", row)
	}
	row = s.waitFor(t, func() { talk(t, early, 20002) }, port(20002))
	if !strings.HasSuffix(row["interface"], "/lo") || row["observation_point"] != "local" {
		t.Errorf("in an early one: %v", row)
	}
	late, _ := inNamespace(t)
	row = s.waitFor(t, func() { talk(t, late, 20003) }, port(20003))
	if row["interface"] != late.Name()+"/lo" {
		t.Errorf("in a late one: %v", row)
	}
	before := c.Metrics()
	id := early.ID()
	early.Close()
	endEarly()
	gone := false
	for end := time.Now().Add(time.Minute); !gone && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		gone = true
		for _, tap := range c.current() {
			gone = gone && (tap.namespace == nil || tap.namespace.ID() != id)
		}
	}
	if !gone {
		t.Error("the tap of a namespace that has gone stays")
	}
	if after := c.Metrics(); after.Frames < before.Frames || after.Flow.Packets < before.Flow.Packets {
		t.Errorf("metrics went back: %+v, %+v", before, after)
	}
	stop()
	late.Close()
}

// TestOneNamespace captures in a named one only.
func TestOneNamespace(t *testing.T) {
	n, _ := inNamespace(t)
	defer n.Close()
	var s table
	_, stop := live(t, &s, func(o *Options) { o.Interfaces, o.Namespaces = []string{"lo"}, []string{n.Name()} })
	s.waitFor(t, func() { talk(t, nil, 20004); talk(t, n, 20005) }, func(r map[string]string) bool { return r["server_port"] == "20005" })
	stop()
	if r := s.find("flows", func(r map[string]string) bool { return r["server_port"] == "20004" }); r != nil {
		t.Errorf("a row of our own namespace: %v", r)
	}
}

func TestNoSuchNamespace(t *testing.T) {
	if _, err := New(&table{}, func(o *Options) { o.Namespaces = []string{"no-such-namespace"} }); err == nil || !strings.Contains(err.Error(), "no-such-namespace") {
		t.Error(err)
	}
}

package capture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func selection(t *testing.T, patterns ...string) func(*LiveOptions) {
	t.Helper()
	s, err := ParseSelection(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *LiveOptions) { o.Select = s }
}

// addVeth makes a pair of interfaces that are up, of which the first has an address.
func addVeth(t *testing.T, a, b, addr string) {
	t.Helper()
	ip(t, "link add "+a+" type veth peer name "+b)
	ip(t, "addr add "+addr+"/24 dev "+a)
	linkUp(t, a)
	linkUp(t, b)
}

// TestLiveSelect has interfaces come, go and change their names.
func TestLiveSelect(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprint(n), func(t *testing.T) { testSelect(t, n) })
	}
}

func testSelect(t *testing.T, workers int) {
	netns(t)
	addVeth(t, "wan0", "peer0", "10.8.0.1")
	addVeth(t, "other0", "peer9", "10.8.9.1")
	small := func(o *LiveOptions) { o.BlockBytes, o.Blocks = 16<<10, 32 }
	group, err := OpenFanout(workers, small, selection(t, "wan*", "!wan7"), func(o *LiveOptions) { o.Promiscuous = true })
	if err != nil {
		t.Fatal(err)
	}
	var all []*collected
	for _, l := range group {
		t.Cleanup(func() { l.Close() })
		all = append(all, collect(l))
	}
	seen := func(payload string) bool {
		for _, c := range all {
			if c.has(payload) {
				return true
			}
		}
		return false
	}
	udp := func(from, payload string) {
		s := newSender(t, from+":0", strings.TrimSuffix(from, "1")+"2:5000")
		s.send(t, payload)
	}
	// neighbours that do not answer: what is sent waits for them, so tell the kernel where they are
	neighbour := func(name, addr string) { ip(t, "neigh replace "+addr+" lladdr 02:00:00:00:00:09 dev "+name) }
	neighbour("wan0", "10.8.0.2")
	neighbour("other0", "10.8.9.2")
	udp("10.8.9.1", "not selected")
	deadline(t, func() bool { udp("10.8.0.1", "there from the beginning"); return seen("there from the beginning") })

	addVeth(t, "wan1", "peer1", "10.8.1.1")
	addVeth(t, "wan7", "peer7", "10.8.7.1")
	neighbour("wan1", "10.8.1.2")
	neighbour("wan7", "10.8.7.2")
	deadline(t, func() bool { udp("10.8.1.1", "came later"); return seen("came later") })
	udp("10.8.7.1", "not selected")

	ip(t, "link del wan0")
	ip(t, "link set other0 down")
	ip(t, "link set other0 name wan2")
	linkUp(t, "wan2")
	neighbour("wan2", "10.8.9.2")
	deadline(t, func() bool { udp("10.8.9.1", "has another name"); return seen("has another name") })
	if seen("not selected") {
		t.Error("a packet of an interface that is not selected")
	}
	for i, c := range all {
		c.end(t, group[i])
	}
}

// has says whether a packet had this payload.
func (c *collected) has(payload string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.packets {
		if string(c.packets[i].Payload) == payload {
			return true
		}
	}
	return false
}

// inNamespace starts a process in a network namespace of its own, whose loopback interface is up.
func inNamespace(t *testing.T) (pid int) {
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
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func TestNamespace(t *testing.T) {
	pid := inNamespace(t)
	ns, err := OpenNamespace(strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(func() error { linkUp(t, "lo"); return nil }); err != nil {
		t.Fatal(err)
	}
	l := openLive(t, on("lo"), func(o *LiveOptions) { o.Namespace = ns })
	c := collect(l)
	err = ns.Do(func() error {
		newSender(t, "127.0.0.1:0", "127.0.0.9:5000").send(t, "over there")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	deadline(t, func() bool { return c.count() >= 1 })
	c.end(t, l)
	if c.count() != 1 || !c.has("over there") {
		t.Errorf("%d packets", c.count())
	}
	if _, err := OpenLive(on("none0"), func(o *LiveOptions) { o.Namespace = ns }); !errors.Is(err, ErrNoInterface) ||
		!strings.Contains(err.Error(), fmt.Sprintf("none0 in %d", pid)) {
		t.Error(err)
	}
	fail := errors.New("mine")
	if err := ns.Do(func() error { return fail }); !errors.Is(err, fail) {
		t.Error(err)
	}

	list, err := Namespaces()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, n := range list {
		found = found || n.ID() == ns.ID() && n.Name() != ""
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if !found {
		t.Errorf("%d is not among %d namespaces", pid, len(list))
	}
}

func TestNamespaceErrors(t *testing.T) {
	for _, name := range []string{"", ".", "..", "no-such-namespace", "2147483647", "/dev/null", "/proc/self/ns/uts"} {
		if n, err := OpenNamespace(name); err == nil {
			n.Close()
			t.Errorf("%q is opened", name)
		}
	}
	own, err := OpenNamespace("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if os.Geteuid() == 0 {
		return
	}
	if err := own.Do(func() error { return nil }); !errors.Is(err, ErrPermission) {
		t.Error(err)
	}
}

// TestLinks holds what the kernel says about bridges and their ports against what is made of it.
func TestLinks(t *testing.T) {
	netns(t)
	k, err := openLinks()
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	ip(t, "link add br0 type bridge")
	addVeth(t, "va", "vb", "10.8.0.1")
	ip(t, "link set vb master br0")
	ip(t, "link set vb nomaster")
	ip(t, "link del br0")
	s, err := ParseSelection([]string{"v*"})
	if err != nil {
		t.Fatal(err)
	}
	var spans []span
	var indexes []uint32
	deadline(t, func() bool {
		if _, _, err := k.read(); err != nil {
			t.Fatal(err)
		}
		spans, indexes = k.selected(s)
		return len(indexes) == 2 && len(k.names) == 3
	})
	if len(spans) != 1 || spans[0] != (span{indexes[0], indexes[1]}) {
		t.Errorf("spans %v of %v", spans, indexes)
	}
	if err := k.list(); err != nil || len(k.names) != 3 {
		t.Errorf("names %v, %v", k.names, err)
	}
}

// TestManySpans has the kernel take a program of many spans.
func TestManySpans(t *testing.T) {
	netns(t)
	var spans []span
	for i := range uint32(500) {
		spans = append(spans, span{10 * i, 10*i + 3})
	}
	p, err := program(&LiveOptions{SnapBytes: 128, Select: &Selection{}}, spans)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := attach(fd, p); err != nil {
		t.Error(err)
	}
}

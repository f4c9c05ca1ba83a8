package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace is a network namespace, kept open: it goes on to exist while it is. Its methods may be called from several
// goroutines at a time; after Close, Do fails with an os.ErrClosed.
type Namespace struct {
	name string
	id   uint64
	file *os.File
}

// namedNamespaces is where "ip netns add" puts them.
const namedNamespaces = "/run/netns"

// OpenNamespace opens the network namespace of a name (of "ip netns"), of a process by its number, or of a file by its path.
// To capture there the process needs CAP_SYS_ADMIN, and CAP_NET_RAW in that namespace.
func OpenNamespace(name string) (*Namespace, error) {
	file := name
	switch _, err := strconv.ParseUint(name, 10, 31); {
	case err == nil:
		file = filepath.Join("/proc", name, "ns", "net")
	case name == "" || name == "." || name == "..":
		return nil, fmt.Errorf("network namespace %q: %w", name, fs.ErrNotExist)
	case !strings.Contains(name, "/"):
		file = filepath.Join(namedNamespaces, name)
	}
	return openNamespace(name, file)
}

func openNamespace(name, file string) (*Namespace, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("open network namespace %s: %w", name, os.NewSyscallError("fstat", err))
	}
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, fmt.Errorf("open network namespace %s: %s is none", name, file)
	}
	return &Namespace{name: name, id: st.Ino, file: f}, nil
}

// Name is how it was found: the name or number it was opened by.
func (n *Namespace) Name() string { return n.name }

// ID tells namespaces apart while they exist.
func (n *Namespace) ID() uint64 { return n.id }

// Close lets go of it.
func (n *Namespace) Close() error { return n.file.Close() }

// Do calls f on a thread in the namespace: sockets that f opens belong there. f must not start goroutines that matter.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error)
	go func() {
		done <- n.enter(f)
	}()
	return <-done
}

// enter runs f in the namespace. The thread goes back to where it was; one that cannot ends with its goroutine.
func (n *Namespace) enter(f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() { // others look at the main thread for where the process is: leave it there
		defer runtime.UnlockOSThread()
		return n.Do(f)
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", n.name, err)
	}
	defer home.Close()
	if err := n.set(); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("enter network namespace %s: %w: the right CAP_SYS_ADMIN is missing: %w", n.name, ErrPermission, err)
		}
		return fmt.Errorf("enter network namespace %s: %w", n.name, err)
	}
	err = f()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// set moves the thread there. It may run while another goroutine calls Close: the error is an os.ErrClosed then.
func (n *Namespace) set() error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = os.NewSyscallError("setns", unix.Setns(int(fd), unix.CLONE_NEWNET)) })
	if err != nil {
		return err
	}
	return failed
}

// Namespaces are the network namespaces there are: those with names and those of processes, each once, under its first name or
// else the number of its first process; the namespace of the calling thread is not among them. The caller closes them. Those that
// cannot be opened, for lack of a right or because they are gone, are left out.
func Namespaces() ([]*Namespace, error) {
	var own unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", os.NewSyscallError("stat", err))
	}
	seen := map[uint64]bool{own.Ino: true}
	var out []*Namespace
	add := func(name, file string) {
		var st unix.Stat_t
		if unix.Stat(file, &st) != nil || seen[st.Ino] {
			return
		}
		n, err := openNamespace(name, file)
		if err != nil {
			return
		}
		if seen[n.id] { // another by now
			n.Close()
			return
		}
		seen[n.id] = true
		out = append(out, n)
	}
	named, err := os.ReadDir(namedNamespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	for _, e := range named {
		add(e.Name(), filepath.Join(namedNamespaces, e.Name()))
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		for _, n := range out {
			n.Close()
		}
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var pids []int
	for _, e := range processes {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	for _, pid := range pids {
		name := strconv.Itoa(pid)
		add(name, filepath.Join("/proc", name, "ns", "net"))
	}
	return out, nil
}

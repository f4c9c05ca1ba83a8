package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/capture"
)

// capabilities by their number in linux/capability.h, and what they are for here.
var capabilities = []struct {
	bit               uint
	name, lost, state string // state when it is missing
}{
	{13, "CAP_NET_RAW", "no live capture of packets", "missing"},
	{39, "CAP_BPF", "nothing in this version: eBPF capture comes later", "not needed"},
	{38, "CAP_PERFMON", "nothing in this version: eBPF capture comes later", "not needed"},
	{21, "CAP_SYS_ADMIN", "nothing in this version: eBPF capture on kernels before 5.8", "not needed"},
}

// kernelFindings looks at the kernel and at the rights of the process. It changes nothing.
func kernelFindings() []finding {
	out := []finding{kernelVersion(), packetSocket()}
	out = append(out, capabilityFindings()...)
	return append(out, btf(), ringBuffer(), memlock(), openFiles())
}

// release is the version of the running kernel.
func release() (text string, major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown", 0, 0
	}
	text = unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(text, "%d.%d", &major, &minor); err != nil {
		return text, 0, 0
	}
	return text, major, minor
}

func atLeast(major, minor int) bool {
	_, a, b := release()
	return a > major || a == major && b >= minor
}

func kernelVersion() finding {
	text, _, _ := release()
	f := finding{"kernel", text, "ok", "", ""}
	if !atLeast(3, 2) {
		f.state, f.without, f.todo = "missing", "no live capture: it needs Linux 3.2", "use a newer kernel"
	}
	return f
}

// packetSocket opens a capture on the loopback interface for a moment: what the server would do.
func packetSocket() finding {
	f := finding{"live capture (AF_PACKET)", "works", "ok", "", ""}
	l, err := capture.OpenLive(func(o *capture.LiveOptions) { o.Interface, o.Blocks = "lo", 2 })
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		f.found, f.state, f.without = strings.TrimPrefix(err.Error(), "capture: "), "missing", "no live capture; captured files can be imported"
		if errors.Is(err, capture.ErrPermission) {
			f.found, f.todo = "not permitted", grantHint()
		}
	}
	return f
}

// grantHint says how the right to capture is given to this program.
func grantHint() string {
	exe, err := os.Executable()
	if err != nil {
		exe = "flowlake"
	}
	return "run as root, or: sudo setcap cap_net_raw+ep " + exe
}

func capabilityFindings() []finding {
	effective, err := effectiveCapabilities()
	var out []finding
	for _, c := range capabilities {
		f := finding{c.name, "granted", "ok", "", ""}
		switch {
		case err != nil:
			f.found, f.state = "unknown: "+err.Error(), "unknown"
		case effective&(1<<c.bit) == 0:
			f.found, f.state, f.without = "not granted", c.state, c.lost
			if c.state == "missing" {
				f.todo = grantHint()
			}
		}
		out = append(out, f)
	}
	return out
}

// effectiveCapabilities reads the CapEff line of /proc/self/status.
func effectiveCapabilities() (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if hex, ok := strings.CutPrefix(lines.Text(), "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.Join(errors.New("/proc/self/status has no CapEff"), lines.Err())
}

func btf() finding {
	f := finding{"kernel type information (BTF)", "/sys/kernel/btf/vmlinux", "ok", "", ""}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		f.found, f.state, f.without = "not there", "not needed", "nothing in this version: eBPF capture comes later"
		if !errors.Is(err, fs.ErrNotExist) {
			f.found = err.Error()
		}
	}
	return f
}

func ringBuffer() finding {
	f := finding{"BPF ring buffer", "Linux 5.8 or later", "ok", "", ""}
	if !atLeast(5, 8) {
		f.found, f.state, f.without = "older than Linux 5.8", "not needed", "nothing in this version: eBPF capture comes later"
	}
	return f
}

func limit(resource int) (found string, soft uint64) {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		return "unknown: " + err.Error(), 0
	}
	if l.Cur == unix.RLIM_INFINITY {
		return "unlimited", l.Cur
	}
	return strconv.FormatUint(l.Cur, 10), l.Cur
}

func memlock() finding {
	found, soft := limit(unix.RLIMIT_MEMLOCK)
	f := finding{"locked memory (ulimit -l)", found, "ok", "", ""}
	if soft != unix.RLIM_INFINITY && soft < 64<<20 && !atLeast(5, 11) {
		f.state, f.without = "not needed", "nothing in this version: eBPF capture on kernels before 5.11"
	}
	return f
}

func openFiles() finding {
	found, soft := limit(unix.RLIMIT_NOFILE)
	f := finding{"open files (ulimit -n)", found, "ok", "", ""}
	if soft < 1024 { // segments held open are 512 at most (db.Options.MaxOpenFiles)
		f.state, f.without, f.todo = "low", "too few for files of the database and connections together", "raise it: ulimit -n 65536, or LimitNOFILE= in a systemd unit"
	}
	return f
}

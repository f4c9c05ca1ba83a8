package cli

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// availableMemory is the memory of the machine, or the limit of a control group above this process if that is less.
func availableMemory() int64 {
	var info unix.Sysinfo_t
	total := int64(0)
	if unix.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return total
	}
	if limit := groupLimit(string(groups), os.ReadFile); limit > 0 && (total == 0 || limit < total) {
		return limit
	}
	return total
}

// groupLimit is the least memory limit of the control groups that /proc/self/cgroup names and of those above them, 0 when
// there is none. Both versions are known. In a container the groups often lie at the root, whatever the names say.
func groupLimit(groups string, read func(string) ([]byte, error)) (least int64) {
	consider := func(file string) {
		text, err := read(file)
		if err != nil {
			return
		}
		// version 2 says "max", version 1 a number near 2^63 for no limit
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && n < 1<<60 && (least == 0 || n < least) {
			least = n
		}
	}
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, name := "/sys/fs/cgroup", "memory.max"
		if parts[1] != "" {
			if parts[1] != "memory" {
				continue
			}
			root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			consider(path.Join(root, dir, name))
			if dir == "/" {
				break
			}
		}
	}
	return least
}

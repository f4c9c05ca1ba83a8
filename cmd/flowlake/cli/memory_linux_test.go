package cli

import (
	"io/fs"
	"testing"
)

func TestGroupLimit(t *testing.T) {
	files := map[string]string{
		"/sys/fs/cgroup/memory.max":                            "max\n",
		"/sys/fs/cgroup/pod/memory.max":                        "1073741824\n",
		"/sys/fs/cgroup/pod/main/memory.max":                   "max\n",
		"/sys/fs/cgroup/memory/memory.limit_in_bytes":          "536870912\n",
		"/sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": "9223372036854771712\n",
		"/sys/fs/cgroup/memory/bad/memory.limit_in_bytes":      "much\n",
	}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	for groups, want := range map[string]int64{
		"":                            0,
		"0::/\n":                      0,
		"0::/pod/main\n":              1 << 30,
		"0::/pod/other/deeper\n":      1 << 30,
		"4:memory:/docker/a\n0::/\n":  512 << 20,
		"4:memory:/gone\n5:cpu:/x\n":  512 << 20,
		"4:memory:/bad\n0::/pod\n":    512 << 20,
		"nonsense\n::\n7:cpu,io:/x\n": 0,
	} {
		if got := groupLimit(groups, read); got != want {
			t.Errorf("%q: %d, want %d", groups, got, want)
		}
	}
	if n := availableMemory(); n < 1<<20 {
		t.Errorf("this machine has %d bytes", n)
	}
}

package workload

import (
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db/tags"
)

// CPUTime is the CPU time of the process so far, user and system; 0 where it is not known.
func CPUTime() time.Duration { return cpuTime() }

// tagKeys are the 18 keys of PodSet and SharedSet, ascending, with how many values each has; 0: as many as there are sets.
var tagKeys = [...]struct {
	name string
	card int
}{
	{"app", 5000}, {"az", 4}, {"cluster", 5}, {"container", 0}, {"env", 2}, {"host", 5000}, {"namespace", 50}, {"node", 5000},
	{"pod", 0}, {"region", 2}, {"service", 5000}, {"subnet", 300}, {"team", 50}, {"tier", 3}, {"version", 1000}, {"vpc", 10},
	{"workload", 5000}, {"workload_kind", 4},
}

// PodSet appends the i-th set of 18 tags with values of 16 characters, of which the container and the pod differ in each set.
func PodSet(dst []byte, i int) []byte { return appendTags(dst, i, 1<<62) }

// SharedSet is PodSet without a tag that differs in each set: of 5,000 values each at most.
func SharedSet(dst []byte, i int) []byte { return appendTags(dst, i, 5000) }

func appendTags(dst []byte, i, most int) []byte {
	var room [32]byte
	for k, key := range tagKeys {
		v := i
		switch {
		case key.card == 0 && most == 5000 && k > 4:
			v = i % most // with the container, which counts the rounds, it tells the sets apart
		case key.card == 0:
			v = i / max(1, 5000*b2i(most == 5000)) % most
		default:
			v = i / (k + 1) % key.card
		}
		dst = tags.AppendTag(dst, append(room[:0], key.name...), fmt.Appendf(room[16:16], "%c%c%014d", key.name[0], key.name[1], v))
	}
	return dst
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

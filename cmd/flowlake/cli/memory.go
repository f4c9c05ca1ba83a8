package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"

	"github.com/flowlake/flowlake/db"
)

// least memory that a server takes: below it there is no room for anything beside what a program is made of.
const minMemory = 256 << 20

// memoryPlan is how the memory that the process may have in all (--memory) is shared. What the runtime itself needs, garbage
// among it, is what the shares leave over: a third.
type memoryPlan struct {
	runtime    int64 // bound of the Go heap, beyond which garbage is collected at any price
	budget     int64 // of the database: three eighths
	queries    int   // that run at the same time
	queryBytes int64 // each
	queue      int64 // batches that wait to be stored: a sixteenth
}

// planMemory shares total bytes, of which rings are memory of the kernel that counts as ours.
func planMemory(total, rings int64) memoryPlan {
	const perQuery = 64 << 20 // what a query should have at least
	p := memoryPlan{runtime: max(total-total/8-rings, total/2), budget: total / 8 * 3, queue: min(total/16, 128<<20)}
	p.queries = int(max(min(total/4/perQuery, int64(4*runtime.GOMAXPROCS(0))), 1))
	p.queryBytes = min(total/4/int64(p.queries), 1<<30) &^ (1<<20 - 1)
	return p
}

// fitMemory gives the settings that were not made by hand the values that follow from --memory.
func (f *serverFlags) fitMemory(flags *pflag.FlagSet) error {
	if f.total == 0 {
		return nil // not known, and not said
	}
	if f.total < minMemory {
		return usagef("--memory %v is less than %s", &f.total, formatBytes(minMemory))
	}
	rings := int64(0)
	if f.collect != "off" {
		rings = int64(f.ring) * int64(f.captureWorkers*max(len(f.interfaces), 1))
	}
	if rings > int64(f.total)/4 {
		if flags.Lookup("capture-ring-bytes").Changed {
			return usagef("--capture-ring-bytes of all interfaces and workers together are %s, more than a quarter of --memory %v", formatBytes(rings), &f.total)
		}
		f.ring = max(f.ring*size(int64(f.total)/4)/size(rings), 2<<20)
		rings = int64(f.total) / 4
	}
	f.plan = planMemory(int64(f.total), rings)
	set := func(name string, to *size, v int64) {
		if !flags.Lookup(name).Changed {
			*to = size(v)
		}
	}
	set("head-bytes", &f.head, db.HeadBytesOf(f.plan.budget))
	set("memory-bytes", &f.memory, 4*int64(f.head))
	set("query-memory", &f.queryMemory, f.plan.queryBytes)
	if !flags.Lookup("query-limit").Changed {
		f.queryLimit = f.plan.queries
	}
	return nil
}

// boundRuntime has the Go runtime keep to the plan, unless the environment says otherwise (GOMEMLIMIT).
func (f *serverFlags) boundRuntime(getenv func(string) string) {
	if f.total > 0 && getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(f.plan.runtime)
	}
}

// defaultMemory is half of what this process may have: of the machine, or of the control group it is in; 0 when not known.
func defaultMemory() int64 { return availableMemory() / 2 &^ (1<<20 - 1) }

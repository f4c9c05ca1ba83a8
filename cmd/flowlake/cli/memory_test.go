package cli

import "testing"

// What the parts of a server may take together leaves the runtime a third of the memory, at any size.
func TestPlanMemory(t *testing.T) {
	for _, total := range []int64{minMemory, 512 << 20, 1 << 30, 24 << 30, 1 << 40} {
		p := planMemory(total, 32<<20)
		if sum := p.budget + int64(p.queries)*p.queryBytes + p.queue; sum > total*11/16 || p.queries < 1 || p.queryBytes < 32<<20 {
			t.Errorf("%s: %+v, together %s", formatBytes(total), p, formatBytes(sum))
		}
		if p.runtime+32<<20 > total || p.runtime < total/2 {
			t.Errorf("%s: %+v", formatBytes(total), p)
		}
	}
}

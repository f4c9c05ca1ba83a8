package exec

import (
	"fmt"
	"strings"
	"time"
)

// Explain is a tree as lines; with analyze, with what each operator did. Times are of all workers together, of the
// operator alone.
func Explain(n Node, analyze bool) []string {
	var out []string
	explain(&out, n, 0, analyze)
	return out
}

func explain(out *[]string, n Node, depth int, analyze bool) {
	line, detail := n.Describe()
	pad := strings.Repeat("  ", depth)
	if analyze {
		s := n.stats()
		self := s.Nanos.Load()
		for _, in := range n.Inputs() {
			self -= in.stats().Nanos.Load()
		}
		line += fmt.Sprintf("  (rows %d, batches %d, time %s)", s.Rows.Load(), s.Batches.Load(), time.Duration(max(self, 0)).Round(time.Microsecond))
	}
	*out = append(*out, pad+line)
	for _, d := range detail {
		*out = append(*out, pad+"    "+d)
	}
	for _, in := range n.Inputs() {
		explain(out, in, depth+1, analyze)
	}
}

// Brief leaves out of a tree's explanation what was considered and not done.
func Brief(n Node) {
	if s, ok := n.(*Scan); ok {
		s.Rejected = nil
	}
	for _, in := range n.Inputs() {
		Brief(in)
	}
}

package workload

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
)

// TestTagFormsAnswerAlike: the rows are the same whatever their tags are stored as.
func TestTagFormsAnswerAlike(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	first := ""
	for _, f := range TagForms("flowlake") {
		s := Spec{Phase: PhaseTags, Table: TaggedTable, Form: f.Form, Rows: 6000, Pool: 3000, Seed: 7, ShiftNanos: 120e9,
			Dir: filepath.Join(dir, "db"+f.Form), Queries: []string{f.SQL}}
		out, err := Run(ctx, s)
		if err != nil {
			t.Fatalf("%q: %v", f.Form, err)
		}
		if out.Rows != 6000 || out.Disk == 0 {
			t.Errorf("%q: %+v", f.Form, out)
		}
		s.Phase = PhaseScan
		if out, err = Run(ctx, s); err != nil {
			t.Fatalf("%q: %v", f.Form, err)
		}
		if first == "" {
			first = out.Answers[0]
		}
		if out.Answers[0] != first {
			t.Errorf("%q answers\n%s\nand not\n%s", f.Form, out.Answers[0], first)
		}
	}
	if n := strings.Count(first, "\n"); n < 100 || !strings.Contains(first, "svc-") {
		t.Errorf("%d services:\n%s", n, first)
	}
}

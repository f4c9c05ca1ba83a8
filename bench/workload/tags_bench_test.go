package workload

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/query"
)

// BenchmarkTagForms asks the question of the workload tags of a million rows, in each form that they are stored in.
func BenchmarkTagForms(b *testing.B) {
	const rows = 1 << 20
	ctx := context.Background()
	for _, f := range TagForms("flowlake") {
		name := "form=" + f.Form
		if f.Form == TagSets {
			name = "form=sets"
		}
		b.Run(name, func(b *testing.B) {
			s := Spec{Phase: PhaseTags, Table: TaggedTable, Form: f.Form, Rows: rows, Pool: rows / 2, Seed: 1, ShiftNanos: poolNanos[TaggedTable],
				Dir: filepath.Join(b.TempDir(), "db")}
			if _, err := Run(ctx, s); err != nil {
				b.Fatal(err)
			}
			d, err := db.Open(s.Dir, keep, s.tables)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			e := query.New(d)
			if _, err := ask(ctx, e, f.SQL); err != nil {
				b.Fatal(err)
			}
			before := cpuTime()
			for b.Loop() {
				if _, err := ask(ctx, e, f.SQL); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N)/rows, "cpu-ns/row")
		})
	}
}

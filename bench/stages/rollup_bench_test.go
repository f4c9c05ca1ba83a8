package stages

import (
	"context"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/schema"
)

// byService is a rollup of flows as a dashboard wants it: by the two services, each minute; all metrics.
func byService(name string) schema.RollupDef {
	return schema.RollupDef{Name: name, Source: "flows", Every: time.Minute, Keys: []schema.RollupKey{
		{Column: "client_tags", TagKey: "service"}, {Column: "server_tags", TagKey: "service"}, {Column: "observation_point"},
	}}
}

func create(tb testing.TB, d *db.DB) {
	tb.Helper()
	if err := d.CreateRollup(context.Background(), byService("by_service")); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkFlushRollup is BenchmarkFlush with a rollup of the rows: the difference is what the rollup costs.
func BenchmarkFlushRollup(b *testing.B) {
	perDB(b, func(d *db.DB) { create(b, d); writeAll(b, d, flowBatches()) }, func(d *db.DB) { flush(b, d) }, idle, noSync)
}

// BenchmarkBackfill rolls up rows that are in segments already.
func BenchmarkBackfill(b *testing.B) {
	perDB(b, func(d *db.DB) { writeAll(b, d, flowBatches()); flush(b, d) }, func(d *db.DB) {
		create(b, d)
		if err := d.Backfill(context.Background()); err != nil {
			b.Fatal(err)
		}
	}, idle, noSync)
}

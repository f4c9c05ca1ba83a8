package main

import (
	"context"
	"testing"
	"time"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db"
)

// BenchmarkStart opens a folder with 200,000 tag sets, each with two tags that no other has.
func BenchmarkStart(b *testing.B) {
	const sets = 200_000
	dir := b.TempDir()
	opts := func(o *db.Options) { o.NoSync, o.Retention = true, map[string]time.Duration{"samples": 0} }
	d, err := db.Open(dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < sets; at += workload.BatchRows {
		if err := d.Write(context.Background(), rows(at, min(workload.BatchRows, sets-at), workload.PodSet)); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	var used time.Duration
	for b.Loop() {
		before := workload.CPUTime()
		d, err := db.Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		used += workload.CPUTime() - before
		b.StopTimer()
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/sets, "cpu-ns/set")
}

// Package db is the embeddable engine: a durable, columnar store for telemetry rows.
//
//	d, err := db.Open("data")            // two lines to embed it:
//	err = d.Write(ctx, batch)            // acknowledged = durable = visible
//
// A batch is logged, synced and applied to the head, where scans see it at once; heads are flushed to sorted Parquet
// segments, which compaction merges. DESIGN.md beside this file says why it is so; docs/format describes every file.
// Queries in SQL are package query's: query.New(d).
package db

package db_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// A database is a folder. What Write has acknowledged is on disk and visible.
func Example() {
	dir, err := os.MkdirTemp("", "flowlake")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	d, err := db.Open(filepath.Join(dir, "data"))
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	samples := schema.Samples()
	b := batch.NewBuilder(samples)
	for i := range 3 {
		b.Int(samples.MustColumn("time"), int64(i)*1e9)
		b.Tags(samples.MustColumn("tags"), tags.AppendSet(nil, tags.Tag{Key: "__name__", Value: "up"}, tags.Tag{Key: "job", Value: "web"}))
		b.Float(samples.MustColumn("value"), float64(i))
		b.EndRow()
	}
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		log.Fatal(err)
	}

	scan, err := d.Scan(context.Background(), &pred.Request{
		Table: samples, Columns: []int{samples.MustColumn("value")}, From: 1e9, To: pred.MaxTime,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer scan.Close()
	var rows batch.Batch
	for u := range scan.Units() {
		if err := scan.Read(context.Background(), u, &rows); err != nil {
			log.Fatal(err)
		}
		fmt.Println(rows.Cols[0].F64)
	}
	// Output: [1 2]
}

// A checkpoint is a second database that shares the files of the first.
func ExampleDB_Checkpoint() {
	dir, err := os.MkdirTemp("", "flowlake")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	d, err := db.Open(filepath.Join(dir, "data"))
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	if err := d.Checkpoint(context.Background(), filepath.Join(dir, "copy")); err != nil {
		log.Fatal(err)
	}
	c, err := db.Open(filepath.Join(dir, "copy"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Metrics().SegmentRows)
	c.Close()
	// Output: 0
}

package stages

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/flowlake/flowlake/query"
)

// BenchmarkGroupBy answers a question in SQL: parse, plan, scan, find each row's service by its tag set, aggregate.
func BenchmarkGroupBy(b *testing.B) {
	const question = "SELECT server.service, count(*), sum(bytes_rx) FROM flows GROUP BY 1"
	for _, c := range []struct {
		name     string
		segments bool
	}{{"rows=segments", true}, {"rows=head", false}} {
		b.Run(c.name, func(b *testing.B) {
			d := openDB(b, idle, noSync)
			defer closeDB(b, d)
			writeAll(b, d, flowBatches())
			if c.segments {
				flush(b, d)
			}
			e := query.New(d)
			perRow(b, batches*batchRows, func(int) { ask(b, e, question) })
		})
	}
}

// ask runs the question and checks that its second column adds up to all rows.
func ask(b *testing.B, e *query.Engine, question string) {
	r, err := e.Query(context.Background(), question)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	var rows int64
	for {
		out, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range out.Cols[1].I64 {
			rows += n
		}
	}
	if rows != batches*batchRows {
		b.Fatalf("%d rows counted", rows)
	}
}

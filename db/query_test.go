package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query"
)

var _ query.Source = (*db.DB)(nil)
var _ query.Flusher = (*db.DB)(nil)

// flowRows makes rows of flows that look alike enough for groups to form.
func flowRows(rng *rand.Rand, n int) *batch.Batch {
	t := schema.Flows()
	col := t.MustColumn
	b := batch.NewBuilder(t)
	set := func(i int) []byte {
		return tags.AppendSet(nil, tags.Tag{Key: "pod", Value: fmt.Sprint("pod-", i)}, tags.Tag{Key: "service", Value: fmt.Sprint("svc-", i%7)})
	}
	for range n {
		at := 1_700_000_000_000_000_000 + int64(rng.IntN(300_000))*1e9 // three days and a half
		c, s := rng.IntN(40), rng.IntN(25)
		b.Int(col("time"), at)
		b.Int(col("start_time"), at-int64(rng.IntN(1e9)))
		b.Int(col("flow_id"), rng.Int64N(1<<40))
		b.String(col("protocol"), []string{"tcp", "udp"}[rng.IntN(2)])
		b.Text(col("client_ip"), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 1, byte(c)})
		b.Text(col("server_ip"), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 2, byte(s)})
		b.Int(col("server_port"), int64(80+s%3))
		b.Int(col("bytes_tx"), int64(rng.IntN(100_000)))
		if rng.IntN(3) > 0 {
			b.Int(col("rtt_us"), int64(rng.IntN(5000)))
		}
		b.Tags(col("client_tags"), set(c))
		b.Tags(col("server_tags"), set(100+s))
		b.EndRow()
	}
	return b.Seal()
}

var questions = []string{
	`SELECT count(*), sum(bytes_tx), min(time), max(time) FROM flows`,
	`SELECT protocol, server_port, count(*), avg(rtt_us), count(rtt_us) FROM flows GROUP BY protocol, server_port ORDER BY 1, 2`,
	`SELECT client.pod, count(*) AS n FROM flows WHERE server.service = 'svc-3' GROUP BY client.pod ORDER BY n DESC, 1 LIMIT 7`,
	`SELECT server.service, sum(bytes_tx) FROM flows WHERE client.pod LIKE 'pod-1%' GROUP BY 1 ORDER BY 1`,
	`SELECT time_bucket('1 day', time) AS day, count(*), max(rtt_us) FROM flows GROUP BY day ORDER BY day`,
	`SELECT count(*) FROM flows WHERE rtt_us IS NULL AND protocol = 'udp'`,
	`SELECT count(*) FROM flows WHERE client_ip = '10.0.1.7' AND server_port IN (80, 82)`,
	`SELECT flow_id, bytes_tx FROM flows WHERE bytes_tx > 99000 ORDER BY bytes_tx DESC, flow_id LIMIT 20`,
	`SELECT count(*) FROM flows WHERE time >= TIMESTAMP '2023-11-15 00:00:00' AND time < TIMESTAMP '2023-11-16 12:00:00'`,
	`SELECT DISTINCT server_ip FROM flows WHERE server_port = 81 ORDER BY server_ip`,
	`SELECT approx_percentile(rtt_us, 0.5) > 2000, percentile_cont(0.5) WITHIN GROUP (ORDER BY rtt_us) FROM flows`,
	`SELECT count(*) FROM flows WHERE client.pod <> 'pod-1' AND NOT (server.service IN ('svc-1', 'svc-2'))`,
	`SELECT count(*) FROM flows WHERE client.nothing IS NULL`,
}

func answers(t *testing.T, d *db.DB) []string {
	t.Helper()
	e := query.New(d)
	var out []string
	for _, q := range questions {
		res, err := e.Query(context.Background(), q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		rows, err := res.All(context.Background())
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if err := res.Close(); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(rows))
	}
	return out
}

// TestAnswersDoNotDependOnWhereRowsAre asks the same questions while rows lie in the head, in segments, in merged segments,
// in some of each, and after the folder was opened again.
func TestAnswersDoNotDependOnWhereRowsAre(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	small := func(o *db.Options) { o.FlushRows = 3000; o.NoSync = true }
	d, err := db.Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 1))
	var parts []*batch.Batch
	for range 12 {
		parts = append(parts, flowRows(rng, 1+rng.IntN(2500)))
	}
	for _, b := range parts {
		if err := d.Write(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	want := answers(t, d)
	if strings.Contains(want[0], "[0 ") || want[2] == "[]" {
		t.Fatalf("the questions find nothing: %v", want)
	}
	same := func(where string) {
		t.Helper()
		for i, got := range answers(t, d) {
			if got != want[i] {
				t.Errorf("%s: %s\n got %s\nwant %s", where, questions[i], got, want[i])
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.Flush(ctx))
	same("in segments")
	must(d.Compact(ctx))
	same("in merged segments")
	must(d.Close())
	d, err = db.Open(dir, small)
	must(err)
	same("opened again")
	must(d.Close())

	// the same rows, written anew, some flushed, some merged, some in the head
	dir = filepath.Join(t.TempDir(), "mixed")
	d, err = db.Open(dir, small)
	must(err)
	for i, b := range parts {
		must(d.Write(ctx, b))
		if i%3 == 0 {
			must(d.Flush(ctx))
		}
		if i == 7 {
			must(d.Compact(ctx))
		}
	}
	same("everywhere")
	must(d.Close())
}

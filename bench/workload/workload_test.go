package workload

import (
	"context"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
)

func TestSpecRounds(t *testing.T) {
	flows, err := Named("ingest")
	if err != nil {
		t.Fatal(err)
	}
	spans, err := Named("needle")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		k                         Kind
		rows                      int
		wantRows, pool, perInsert int
	}{
		{flows, 2000, 2000, 2000, 2000},
		{flows, ChunkRows, ChunkRows, ChunkRows, ChunkRows},
		{flows, ChunkRows + 1, 2 * ChunkRows, 2 * ChunkRows, ChunkRows},
		{flows, 10 * ChunkRows, 10 * ChunkRows, PoolRows, ChunkRows},
		{spans, 10*ChunkRows - 1, 10 * ChunkRows, 10 * ChunkRows, ChunkRows},
	} {
		s := c.k.Spec("flows", c.rows, 1)
		if s.Rows != c.wantRows || s.Pool != c.pool || s.ChunkRows != c.perInsert {
			t.Errorf("%s %d: %d rows, pool %d, %d at once", c.k.Name, c.rows, s.Rows, s.Pool, s.ChunkRows)
		}
	}
	if _, err := Named("none"); err == nil {
		t.Error("a workload that is not there has a name")
	}
}

// TestPoolComesAgainLater: the second round has the rows of the first, moved in time, and the first stays as it was.
func TestPoolComesAgainLater(t *testing.T) {
	s := Spec{Table: "flows", Rows: 4 * BatchRows, Pool: 2 * BatchRows, Seed: 1, ShiftNanos: 1e9}
	st, err := newStream(s, true)
	if err != nil {
		t.Fatal(err)
	}
	var all []*batch.Batch
	for b := st.next(); b != nil; b = st.next() {
		all = append(all, b)
	}
	if len(all) != 4 {
		t.Fatalf("%d batches", len(all))
	}
	table := all[0].Table
	at, bytes := table.MustColumn("time"), table.MustColumn("bytes_rx")
	for k := range 2 {
		for i := range BatchRows {
			if all[k+2].Cols[at].I64[i] != all[k].Cols[at].I64[i]+1e9 || all[k+2].Cols[bytes].I64[i] != all[k].Cols[bytes].I64[i] {
				t.Fatalf("batch %d row %d is not that of the first round a second later", k, i)
			}
		}
	}
}

func TestSameSeedSameRows(t *testing.T) {
	for _, table := range []string{"flows", "spans", "samples"} {
		frame := func(seed uint64) string {
			g, err := NewGenerator(Spec{Table: table, Pool: 1000, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			f, err := batch.AppendFrame(nil, g.Next())
			if err != nil {
				t.Fatal(err)
			}
			if g.Next() != nil {
				t.Fatal("rows beyond the last")
			}
			return string(f)
		}
		first := frame(1)
		if again := frame(1); first != again {
			t.Errorf("%s: one seed, different rows", table)
		}
		if first == frame(2) {
			t.Errorf("%s: two seeds, equal rows", table)
		}
	}
	if _, err := NewGenerator(Spec{Table: "logs"}); err == nil {
		t.Error("rows of a table without a generator")
	}
}

// TestNeedlesAreFound: each trace id that the workload looks for is among the rows.
func TestNeedlesAreFound(t *testing.T) {
	s := Spec{Phase: PhaseLoad, Table: "spans", Rows: 3000, Pool: 3000, Seed: 5, Dir: t.TempDir()}
	ctx := context.Background()
	if _, err := Run(ctx, s); err != nil {
		t.Fatal(err)
	}
	ids, err := TraceIDs(s, 4)
	if err != nil || len(ids) != 4 {
		t.Fatalf("%q, %v", ids, err)
	}
	s.Phase = PhaseNeedle
	for _, id := range ids {
		s.Queries = append(s.Queries, Needle(id))
	}
	out, err := Run(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Answers) != 4 || len(out.Millis) != 4 {
		t.Fatalf("%+v", out)
	}
	for i, a := range out.Answers {
		if a == "" || a[0] == '0' {
			t.Errorf("trace %s: answer %q", ids[i], a)
		}
	}
	if _, err := Run(ctx, Spec{Phase: "none"}); err == nil {
		t.Error("a phase that is not there ran")
	}
}

package query_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query"
)

func TestVirtualTables(t *testing.T) {
	tab := &schema.Table{Name: "system.things", Doc: "things", TimeColumn: -1, Columns: []schema.Column{
		{Name: "name", Type: schema.Varchar}, {Name: "size", Type: schema.BigInt, Unit: "bytes"}, {Name: "unset", Type: schema.Double}}}
	broken := errors.New("not now")
	fail := false
	e := query.New(fill(t), func(o *query.Options) {
		o.Virtual = []query.VirtualTable{{Table: tab, Rows: func(context.Context) (*batch.Batch, error) {
			if fail {
				return nil, broken
			}
			b := batch.NewBuilder(tab)
			for i, n := range []string{"a", "b", "c"} {
				b.String(0, n)
				b.Int(1, int64(i*10))
				b.EndRow()
			}
			return b.Seal(), nil
		}}}
	})
	for _, tc := range []struct{ sql, want string }{
		{"SELECT * FROM system.things WHERE size > 5 ORDER BY name DESC", "name VARCHAR | size BIGINT (bytes) | unset DOUBLE\nc | 20 | 0\nb | 10 | 0\n"},
		{"SELECT sum(size), count(*) FROM system.things", "sum BIGINT (bytes) | count BIGINT\n30 | 3\n"},
		{"SELECT count(*) FROM public.system.things", "count BIGINT\n3\n"},
	} {
		if got := answer(e, tc.sql, false); got != tc.want {
			t.Errorf("%s: got %s", tc.sql, got)
		}
	}
	if got := answer(e, "SHOW TABLES LIKE 'system%'", false); !strings.Contains(got, "system.things |  | things") {
		t.Errorf("SHOW TABLES: %s", got)
	}
	if got := answer(e, "SELECT * FROM system.thing", false); !strings.Contains(got, "did you mean system.things?") {
		t.Errorf("a misspelt name: %s", got)
	}
	fail = true
	if _, err := e.Query(context.Background(), "SELECT * FROM system.things"); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

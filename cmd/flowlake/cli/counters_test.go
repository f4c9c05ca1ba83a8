package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query"
)

// taggedSamples are n samples, each with a tag set of its own.
func taggedSamples(first, n int, set func(i int) []tags.Tag) *batch.Batch {
	t := schema.Samples()
	b := batch.NewBuilder(t)
	for i := first; i < first+n; i++ {
		b.Int(t.TimeColumn, time.Date(2026, 1, 2, 3, 4, 5, i, time.UTC).UnixNano())
		b.Tags(t.MustColumn("tags"), tags.AppendSet(nil, set(i)...))
		b.EndRow()
	}
	return b.Seal()
}

// tagRefused is flowlake_tag_refused_total by cause, as a scraper sees it.
func tagRefused(t *testing.T, d *db.DB) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(promCounters{read: func() []counter { return dbCounters(d.Metrics()) }})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "flowlake_tag_refused_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); len(l) != 1 || l[0].GetName() != "cause" {
				t.Fatalf("labels %v", l)
			}
			out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return out
}

// Each limit of tag sets refuses a batch as a whole, counts its rows under its cause, and leaves SHOW TAG CARDINALITY to say which key it
// was; what is known is taken as before.
func TestTagLimitsRefuseAndSay(t *testing.T) {
	pods := func(i int) []tags.Tag {
		return []tags.Tag{{Key: "env", Value: "prod"}, {Key: "pod", Value: fmt.Sprint("pod-", i)}}
	}
	for _, c := range []struct {
		cause  string
		limit  func(*db.Options)
		set    func(i int) []tags.Tag
		option string
		top    string // key with the most values
	}{
		{"sets", func(o *db.Options) { o.MaxTagSets = 40 }, pods, "MaxTagSets", "pod"},
		{"bytes", func(o *db.Options) { o.MaxTagBytes = 20000 }, pods, "MaxTagBytes", "pod"},
		{"values", func(o *db.Options) { o.MaxTagValues = 40 }, pods, "MaxTagValues", "pod"},
		{"keys", func(o *db.Options) { o.MaxTagKeys = 40 },
			func(i int) []tags.Tag { return []tags.Tag{{Key: fmt.Sprint("key-", i), Value: "v"}} }, "MaxTagKeys", "key-0"},
	} {
		t.Run(c.cause, func(t *testing.T) {
			d, err := db.Open(filepath.Join(t.TempDir(), "data"), c.limit, func(o *db.Options) { o.NoSync = true })
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			const size = 10
			taken := 0
			for ; taken < 1000; taken += size {
				if err = d.Write(context.Background(), taggedSamples(taken, size, c.set)); err != nil {
					break
				}
			}
			if taken < size || !errors.Is(err, db.ErrTooManyTagSets) || !errors.Is(err, batch.ErrRefused) || !strings.Contains(err.Error(), c.option) {
				t.Fatalf("after %d rows: %v", taken, err)
			}
			if err := d.Write(context.Background(), taggedSamples(taken-size, size, c.set)); err != nil {
				t.Errorf("sets that are known: %v", err)
			}
			want := map[string]float64{"sets": 0, "bytes": 0, "keys": 0, "values": 0}
			want[c.cause] = size
			if got := tagRefused(t, d); !maps.Equal(got, want) {
				t.Errorf("flowlake_tag_refused_total %v, want %v", got, want)
			}
			s := query.New(d).NewSession()
			res, err := s.Query(context.Background(), "SHOW TAG CARDINALITY LIMIT 1")
			if err != nil {
				t.Fatal(err)
			}
			rows, err := res.All(context.Background())
			if err != nil || len(rows) != 1 {
				t.Fatal(rows, err)
			}
			values := fmt.Sprint(taken)
			if c.cause == "keys" {
				values = "1"
			}
			if rows[0][0] != c.top || rows[0][1] != values {
				t.Errorf("SHOW TAG CARDINALITY begins with %v, want %s with %s values", rows[0], c.top, values)
			}
			if res, err = s.Query(context.Background(), "SELECT count(*) FROM samples"); err != nil {
				t.Fatal(err)
			}
			if rows, err = res.All(context.Background()); err != nil || rows[0][0] != fmt.Sprint(taken+size) {
				t.Errorf("%v rows are there, want %d: %v", rows, taken+size, err)
			}
		})
	}
}

package gen

import (
	"bytes"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
)

func TestSamplesAreScrapes(t *testing.T) {
	s := NewSamples(SampleOptions{Seed: 1, Series: 40})
	b := s.Next(100)
	if err := batch.Check(b); err != nil {
		t.Fatal(err)
	}
	times, sets := b.Cols[b.Table.MustColumn("time")].I64, b.Cols[b.Table.MustColumn("tags")]
	for i, at := range times {
		if want := int64(1767225600e9) + int64(i/40)*15e9; at != want {
			t.Fatalf("row %d at %d, want %d", i, at, want)
		}
		if err := tags.Valid(sets.Bytes(i)); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
	}
	values := b.Cols[b.Table.MustColumn("value")].F64
	for i := 40; i < 100; i += 2 {
		if values[i] < values[i-40] {
			t.Errorf("counter %d fell from %v to %v", i%40, values[i-40], values[i])
		}
	}
}

func TestByValue(t *testing.T) {
	ids := NewFlows(Options{Seed: 1}).Next(500)
	col := ids.Table.MustColumn("server_tags")
	want := append([]uint32(nil), ids.Cols[col].Codes...)
	ByValue(ids, PodTags)
	if err := batch.Check(ids); err != nil {
		t.Fatal(err)
	}
	for i, id := range want {
		if !bytes.Equal(ids.Cols[col].Bytes(i), PodTags(id)) {
			t.Fatalf("row %d has another set than that of pod %d", i, id)
		}
	}
}

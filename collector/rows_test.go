package collector

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// TestTextFromTheWireIsText: whatever bytes a header holds, the row can be stored.
func TestTextFromTheWireIsText(t *testing.T) {
	spans := schema.Spans()
	w := newSpanRows(spans, &place{})
	w.add(&flow.Flow{}, &l7.Exchange{
		RequestResource: "/caf\xe9?x=\xff\xfe",
		Attributes:      []l7.Attribute{{Key: "user_agent", Value: "M\xf6zilla"}, {Key: strings.Repeat("k", 300), Value: strings.Repeat("ü", 5000)}},
	})
	b := w.Seal()
	if got := string(b.Cols[spans.MustColumn("request_resource")].Bytes(0)); !utf8.ValidString(got) || !strings.HasPrefix(got, "/caf\uFFFD?x=") {
		t.Errorf("resource %q", got)
	}
	enc := b.Cols[spans.MustColumn("attributes")].Bytes(0)
	if err := tags.Valid(enc); err != nil {
		t.Fatalf("attributes: %v", err)
	}
	if v, _ := tags.Get(enc, "user_agent"); string(v) != "M\uFFFDzilla" {
		t.Errorf("user agent %q", v)
	}
}

// TestNumbersBelowZero: -1 stands for a number that is not there, any other is one.
func TestNumbersBelowZero(t *testing.T) {
	spans := schema.Spans()
	w := newSpanRows(spans, &place{})
	w.add(&flow.Flow{}, &l7.Exchange{RequestID: -5_000_000_000, ResponseCode: -3, RequestBytes: -1, ResponseBytes: 7})
	b := w.Seal()
	for name, want := range map[string]int64{"request_id": -5_000_000_000, "response_code": -3, "response_bytes": 7} {
		if c := b.Cols[spans.MustColumn(name)]; c.IsNull(0) || c.I64[0] != want {
			t.Errorf("%s: want %d", name, want)
		}
	}
	if c := b.Cols[spans.MustColumn("request_bytes")]; c != nil && !c.IsNull(0) {
		t.Error("request_bytes is there")
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 5, "abc"}, {"abc", 2, "ab"}, {"aü", 2, "a"}, {"ü", 1, ""}, {"", 0, ""}} {
		if got := cut(c.in, c.n); got != c.want {
			t.Errorf("cut(%q, %d) = %q, want %q", c.in, c.n, got, c.want)
		}
	}
}

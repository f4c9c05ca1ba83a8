package enrich

import (
	"net/netip"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

func ip(s string) []byte {
	a := netip.MustParseAddr(s).As16()
	return a[:]
}

func show(enc []byte) string {
	out := ""
	if err := tags.Each(enc, func(k, v []byte) { out += string(k) + "=" + string(v) + ";" }); err != nil {
		return err.Error()
	}
	return out
}

func TestLookup(t *testing.T) {
	c := New()
	c.Set([]netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, tags.Tag{Key: "host", Value: "a"})
	for addr, want := range map[string]string{
		"10.0.0.1": "host=a;", "fd00::1": "host=a;", "::ffff:10.0.0.1": "host=a;",
		"10.0.0.2": "ip=10.0.0.2;", "192.168.3.4": "ip=192.168.3.4;", "127.0.0.1": "ip=127.0.0.1;", "169.254.1.1": "ip=169.254.1.1;",
		"100.64.1.2": "ip=100.64.1.2;", "fe80::1": "ip=fe80::1;", "224.0.0.251": "ip=224.0.0.251;", "255.255.255.255": "ip=255.255.255.255;",
		"8.8.8.8": "internet=true;", "2606:4700::1": "internet=true;", "0.0.0.0": "", "::": "",
	} {
		if got := show(c.Lookup(nil, ip(addr))); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := c.Lookup(nil, nil); len(got) != 0 {
		t.Errorf("no address: %q", got)
	}
}

func TestEnrichSetsTagsOfBothSides(t *testing.T) {
	c := New()
	c.Set([]netip.Addr{netip.MustParseAddr("10.0.0.1")}, tags.Tag{Key: "host", Value: "a"})
	table := schema.Flows()
	b := batch.NewBuilder(table)
	for _, pair := range [][2]string{{"10.0.0.1", "8.8.8.8"}, {"10.9.9.9", "10.0.0.1"}, {"10.0.0.1", "1.1.1.1"}} {
		b.Int(0, 1)
		b.Text(table.MustColumn("client_ip"), ip(pair[0]))
		b.Text(table.MustColumn("server_ip"), ip(pair[1]))
		b.EndRow()
	}
	in := b.Seal()
	out := c.Enrich(in)
	ct, st := table.MustColumn("client_tags"), table.MustColumn("server_tags")
	if in.Cols[ct] != nil || out.Cols[0] != in.Cols[0] {
		t.Fatal("the sealed batch was changed, or its columns were copied")
	}
	want := [][2]string{{"host=a;", "internet=true;"}, {"ip=10.9.9.9;", "host=a;"}, {"host=a;", "internet=true;"}}
	for i, w := range want {
		if got := [2]string{show(out.Cols[ct].Bytes(i)), show(out.Cols[st].Bytes(i))}; got != w {
			t.Errorf("row %d: %v, want %v", i, got, w)
		}
	}
	if out.Cols[st].Dict.Len() != 2 {
		t.Errorf("%d tag sets, 2 are distinct", out.Cols[st].Dict.Len())
	}
	if again := c.Enrich(out); again != out {
		t.Error("tags that are there were set anew")
	}
	metrics := batch.NewBuilder(schema.Samples())
	metrics.Int(0, 1)
	metrics.EndRow()
	if m := metrics.Seal(); c.Enrich(m) != m {
		t.Error("a table without addresses was changed")
	}
}

// TestEnrichLeavesBadAddressesAlone: a batch that is not what it claims is for the sink to refuse; here it must not panic.
func TestEnrichLeavesBadAddressesAlone(t *testing.T) {
	table := schema.Flows()
	for what, v := range map[string]*batch.Vector{
		"code beyond its dictionary": {Type: schema.Inet, Codes: []uint32{7}, Dict: batch.DictOf("0123456789abcdef")},
		"no dictionary":              {Type: schema.Inet, Codes: []uint32{0}},
		"too many rows":              {Type: schema.Inet, Codes: []uint32{0, 0}, Dict: batch.DictOf("0123456789abcdef")},
		"too few rows":               {Type: schema.Inet, Dict: batch.DictOf("0123456789abcdef")},
		"numbers":                    {Type: schema.BigInt, I64: []int64{1}},
	} {
		b := &batch.Batch{Table: table, N: 1, Cols: make([]*batch.Vector, len(table.Columns))}
		b.Cols[table.MustColumn("client_ip")] = v
		if out := New().Enrich(b); out != b {
			t.Errorf("%s: tags were made of it", what)
		}
	}
}

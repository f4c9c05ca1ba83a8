package icmp

import (
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		p    string
		v    wire.Verdict
		want Echo
	}{
		{"\x08\x00\x00\x00\x00\x01\x00\x02data", wire.Request, Echo{ID: 1, Seq: 2}}, {"\x00\x00\x00\x00\x00\x01\x00\x02", wire.Response, Echo{Reply: true, ID: 1, Seq: 2}},
		{"\x80\x00\x00\x00\xff\xff\x00\x02", wire.Request, Echo{ID: 0xffff, Seq: 2}}, {"\x81\x00\x00\x00\x00\x01\x00\x02", wire.Response, Echo{Reply: true, ID: 1, Seq: 2}},
		{"\x03\x00\x00\x00\x00\x01\x00\x02", wire.No, Echo{}}, {"\x08\x01\x00\x00\x00\x01\x00\x02", wire.No, Echo{}}, {"\x08\x00\x00\x00\x00\x01\x00", wire.No, Echo{}}, {"", wire.No, Echo{}},
	} {
		var e Echo
		if v := Parse([]byte(c.p), &e); v != c.v || v != wire.No && e != c.want {
			t.Errorf("%q: %d %+v", c.p, v, e)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p := []byte("\x08\x00\x00\x00\x00\x01\x00\x02")
	var e Echo
	if n := testing.AllocsPerRun(100, func() { Parse(p, &e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x08\x00\x00\x00\x00\x01\x00\x02data"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var e Echo
		if Parse(p, &e) == wire.Response && !e.Reply {
			t.Fatal("a response that is no reply")
		}
	})
}

package brpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	echo  = "PRPC\x00\x00\x004\x00\x00\x00'\x0a\x1d\x0a\x13example.EchoService\x12\x04Echo\x18\x00\x18\x00 \x82\x80\x80\x80\x10\x0a\x0bhello world"
	reply = "PRPC\x00\x00\x00\x19\x00\x00\x00\x0c\x12\x02\x08\x00\x18\x00 \x82\x80\x80\x80\x10\x0a\x0bhello world"
)

func text(n protowire.Number, s string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s))
}

func number(n protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v))
}

func message(meta, payload string) string {
	p := binary.BigEndian.AppendUint32([]byte("PRPC"), uint32(len(meta)+len(payload)))
	return string(binary.BigEndian.AppendUint32(p, uint32(len(meta)))) + meta + payload
}

var (
	traced = message(text(1, text(1, "S")+text(2, "m")+number(3, 9)+number(4, 10)+number(5, 11)+number(6, 12)+text(7, "r-1"))+number(4, 5)+
		"\x51\x00\x00\x00\x00\x00\x00\x00\x00"+text(9, text(1, "sw8")+text(2, "1-a"))+text(9, text(1, "k")), "body")
	java   = message(text(1, text(1, "S")+text(2, "m")+number(3, 9)+text(7, text(1, "traceparent")+text(2, "00-1"))+text(7, text(1, "k")+text(2, "v")))+number(4, 6), "body")
	failed = message(text(2, number(1, 1003)+text(2, "bad"))+number(3, 2)+number(4, 5), "")
	stream = "STRM\x00\x00\x00\x05\x00\x00\x00\x02\x08\x01abc"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p, want, fields string
		verdict               wire.Verdict
	}{
		{"echo", echo, "request 4294967298 example.EchoService/Echo log 0 trace 0 0 0  ", "", wire.Request},
		{"its answer", reply, "response 4294967298 0 ", "", wire.Response},
		{"traced", traced, "request 5 S/m log 9 trace 10 11 12 r-1 ", "sw8=1-a k= ", wire.Request},
		{"java", java, "request 6 S/m log 9 trace 0 0 0  ", "traceparent=00-1 k=v ", wire.Request},
		{"failed", failed, "response 5 1003 bad", "", wire.Response},
		{"stream", stream, "", "", wire.No},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		got := ""
		switch {
		case m.Request:
			got = fmt.Sprintf("request %d %s/%s log %d trace %d %d %d %s ", m.CorrelationID, m.Service, m.Method, m.LogID, m.TraceID, m.SpanID, m.ParentSpanID, m.RequestID)
		case m.Response:
			got = fmt.Sprintf("response %d %d %s", m.CorrelationID, m.ErrorCode, m.ErrorText)
		}
		fields := ""
		for f := m.Fields(); f.Next(); {
			fields += fmt.Sprintf("%s=%s ", f.Key, f.Value)
		}
		if err != nil || n != len(c.p) || got != c.want || fields != c.fields {
			t.Errorf("%s: %d of %d, %v, %q, %q", c.name, n, len(c.p), err, got, fields)
		}
		if v := Check([]byte(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		for cut := range c.p {
			var m Message
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Fatalf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
			if m.Numbered && (m.Request || m.Response) && m.CorrelationID == 0 {
				t.Fatalf("%s cut to %d: a number that is not there", c.name, cut)
			}
			if v := Check([]byte(c.p[:cut])); v != wire.Maybe && v != c.verdict {
				t.Fatalf("%s cut to %d: verdict %d", c.name, cut, v)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"PRPD\x00\x00\x00\x04\x00\x00\x00\x04\x08\x01\x08\x01", "PRPC\x00\x00\x00\x04\x00\x00\x00\x05\x0a\x00\x08\x01\x00", "PRPC\x7f\x00\x00\x04\x00\x00\x00\x04\x0a\x00\x08\x01",
		"PRPC\x00\x00\x00\x02\x00\x00\x00\x02\x08\x01", message(text(1, "")+text(2, ""), ""),
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
	}
	for _, p := range []string{"POST / HTTP/1.1", "PRPC\x00\x00\x00\x02\x00\x00\x00\x02\x08\x01", "PRPC\x00\x00\x00\x02\x00\x00\x00\x05\x0a\x01"} {
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p, q := []byte(traced), []byte(failed)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{p, q} {
			if _, err := Parse(p, &m); err != nil {
				t.Fatal(err)
			}
			for f := m.Fields(); f.Next(); {
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{echo, reply, traced, java, failed, stream} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && (n < headerLen || m.Want > n) {
			t.Fatal(n, m.Want)
		}
		for f := m.Fields(); f.Next(); {
		}
		Check(p)
	})
}

package pulsar

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func number(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func text(num protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), v)
}

func frame(typ byte, fields, behind []byte) []byte {
	command := append(number(1, uint64(typ)), protowire.AppendBytes(protowire.AppendTag(nil, protowire.Number(typ), protowire.BytesType), fields)...)
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(command)+len(behind)))
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(command))), command...)
	return append(b, behind...)
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// send is a SEND with metadata, behind metadata of the broker and a checksum where they are asked for.
func send(broker, checksum bool) []byte {
	metadata := join(text(1, "p"), text(4, string(join(text(1, "k"), text(2, "v")))), text(4, string(join(text(1, "k2"), text(2, "v2")))))
	var behind []byte
	if broker {
		behind = append(behind, 0x0e, 0x02, 0, 0, 0, 3, 8, 1, 16)
	}
	if checksum {
		behind = append(behind, 0x0e, 0x01, 9, 9, 9, 9)
	}
	behind = append(binary.BigEndian.AppendUint32(behind, uint32(len(metadata))), metadata...)
	return frame(6, join(number(1, 4), number(2, 77), number(3, 2)), append(behind, "payload"...))
}

func TestSend(t *testing.T) {
	for _, broker := range []bool{false, true} {
		for _, checksum := range []bool{false, true} {
			p := send(broker, checksum)
			var f Frame
			n, err := Parse(p, &f)
			if err != nil || n != len(p) || f.Type != Send || f.Producer != 4 || f.Sequence != 77 || f.Messages != 2 || f.RequestID != None {
				t.Errorf("%d of %d, %v: %+v", n, len(p), err, f)
			}
			got := ""
			Properties(f.Metadata, func(k, v []byte) bool { got += string(k) + "=" + string(v) + " "; return true })
			if got != "k=v k2=v2 " {
				t.Errorf("properties %q", got)
			}
			if v := Check(p); v != wire.Request {
				t.Errorf("verdict %d", v)
			}
			for cut := range p {
				if v := Check(p[:cut]); v != wire.Maybe && cut < CommandEnd(p) {
					t.Fatalf("cut to %d: verdict %d", cut, v)
				}
				_, _ = Parse(p[:cut], &f)
			}
		}
	}
}

func TestCommands(t *testing.T) {
	for name, c := range map[string]struct {
		p       []byte
		verdict wire.Verdict
		ok      func(*Frame) bool
	}{
		"subscribe": {frame(4, join(text(1, "t"), text(2, "s"), number(4, 3), number(5, 8)), nil), wire.Request,
			func(f *Frame) bool {
				return string(f.Topic) == "t" && string(f.Subscription) == "s" && f.Consumer == 3 && f.RequestID == 8
			}},
		"error": {frame(14, join(number(1, 8), number(2, 4), text(3, "no")), nil), wire.Response,
			func(f *Frame) bool {
				return f.RequestID == 8 && f.Failed && f.Error == 4 && string(f.Message) == "no" && ClientError(f.Error)
			}},
		"receipt": {frame(7, join(number(1, 4), number(2, 77), text(3, string(join(number(1, 5), number(2, 6))))), nil), wire.Response,
			func(f *Frame) bool { return f.Producer == 4 && f.Sequence == 77 && f.Ledger == 5 && f.Entry == 6 }},
		"ping": {frame(18, nil, nil), wire.Either, func(f *Frame) bool { return f.Type == Ping }},
	} {
		var f Frame
		if n, err := Parse(c.p, &f); err != nil || n != len(c.p) || !c.ok(&f) {
			t.Errorf("%s: %d of %d, %v: %+v", name, n, len(c.p), err, f)
		}
		if v := Check(c.p); v != c.verdict {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
	if ErrorName(4) != "AuthorizationError" || ErrorName(25) != "ProducerFenced" || ErrorName(99) != "99" || Type(6).String() != "SEND" || Type(200).String() != "" {
		t.Error("names")
	}
}

func TestStrangers(t *testing.T) {
	for name, p := range map[string][]byte{
		"http":              []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"unknown command":   frame(60, nil, nil),
		"another's field":   join([]byte{0, 0, 0, 8, 0, 0, 0, 4}, number(1, 4), []byte{3<<3 | 2, 0}),
		"something behind":  frame(4, text(1, "t"), []byte("more")),
		"zero":              make([]byte, 16),
		"not a protobuf":    {0, 0, 0, 9, 0, 0, 0, 5, 8, 4, 0xff, 0xff, 0xff},
		"command too large": {0, 0, 0, 9, 0, 0, 1, 5, 8, 4, 34, 0, 0},
	} {
		if v := Check(p); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
}

func TestAllocations(t *testing.T) {
	p := send(true, true)
	var f Frame
	if n := testing.AllocsPerRun(100, func() {
		_ = Check(p)
		_, _ = Parse(p, &f)
		Properties(f.Metadata, func(_, _ []byte) bool { return true })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(send(true, true))
	f.Add(frame(4, join(text(1, "t"), number(5, 8)), nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		var fr Frame
		v := Check(p)
		n, err := Parse(p, &fr)
		if v > wire.Maybe && (err != nil || n < Prefix) {
			t.Fatalf("verdict %d, %d bytes, %v", v, n, err)
		}
		Properties(fr.Metadata, func(_, _ []byte) bool { return true })
	})
}

package openwire

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func unhex(s string) []byte {
	p, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return p
}

func size(p []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)
}

// Commands as clients and brokers write them, without their length.
const (
	offer        = "014163746976654d510000000b010000005f00000003001444" // version 11, the first name below
	tightSession = "04012e0000000379002549443a746573742e6c6f63616c2d36343531372d313730353634383333393931352d313a310001"
	tightProduce = "0602af07000000047b002549443a746573742e6c6f63616c2d36343531372d313730353634383333393931352d313a31000100016400045445535400000000"
	tightAnswer  = "1e01000000000000000001"
	looseAnswer  = "1e000000000000000004"
	looseFailed  = "1f00000000000000000101" + "01000f6a6176612e6c616e672e4572726f72" + "0100036261640000"
	looseMessage = "1c0000000a00017b01002049443a6c6f63616c686f73742d312d313730363636393432323434332d303a31000000000000000100000000000000010165010008544553542e464f4f" +
		"0000016e00017b01002049443a6c6f63616c686f73742d312d313730363636393432323434332d303a3100000000000000010000000000000001000000000000000600000000000000000000000000000100124d79206f776e204d65737361676549443a35" +
		"00000000000000000004000000018d5d6cb8510001000000026869010000000f000000010003737738090003612d620000"
)

func format(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(n))), n...)
		list = append(list, 1, 1)
	}
	list = append(binary.BigEndian.AppendUint32(nil, uint32(len(names))), list...)
	p := append([]byte("\x01ActiveMQ\x00\x00\x00\x0b\x01"), binary.BigEndian.AppendUint32(nil, uint32(len(list)))...)
	return size(append(p, list...))
}

func brief(m *Message) string {
	s := fmt.Sprintf("%s %d %s %d %s %s", m.Type, m.ID, m.Connection, m.Session, m.Kind, m.Destination)
	if m.Type.IsResponse() {
		s += fmt.Sprint(" answers ", m.Answers)
	}
	if m.Wants {
		s += " wants"
	}
	if m.Class != nil {
		s += fmt.Sprintf(" %s: %s", m.Class, m.Text)
	}
	if m.Correlation != nil {
		s += " correlation " + string(m.Correlation)
	}
	for p := m.Properties; p.Next(); {
		s += fmt.Sprintf(" %s=%s", p.Key, p.Value)
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		p    string
		f    Format
		want string
	}{
		{tightSession, Format{Version: 11, Tight: true}, "SessionInfo 3 ID:test.local-64517-1705648339915-1:1 1  "},
		{tightProduce, Format{Version: 11, Tight: true}, "ProducerInfo 4 ID:test.local-64517-1705648339915-1:1 1 queue TEST wants"},
		{tightAnswer, Format{Version: 11, Tight: true}, "Response 0  0   answers 1"},
		{looseAnswer, Format{Version: 11}, "Response 0  0   answers 4"},
		{looseFailed, Format{Version: 11}, "ExceptionResponse 0  0   answers 1 java.lang.Error: bad"},
		{looseMessage, Format{Version: 11}, "ActiveMQTextMessage 10 ID:localhost-1-1706669422443-0:1 1 topic TEST.FOO correlation My own MessageID:5 sw8=a-b"},
	} {
		for _, f := range []Format{c.f, {c.f.Version, c.f.Tight, true, false}} { // they say that they cache and do not
			p := size(unhex(c.p))
			var m Message
			n, err := Parse(p, &f, &Cache{}, &m)
			if got := brief(&m); err != nil || n != len(p) || got != c.want {
				t.Errorf("%+v: %d of %d, %v, %q, want %q", f, n, len(p), err, got, c.want)
			}
			for cut := range p {
				if n, err := Parse(p[:cut], &f, nil, &m); err == nil && n != len(p) || err != nil && !errors.Is(err, ErrShort) {
					t.Errorf("%q cut to %d: %d, %v", c.want, cut, n, err)
				}
			}
			if v := Check(p, true); v != wire.Either {
				t.Errorf("%q: verdict %d", c.want, v)
			}
			if v := Check(p, false); v != wire.No {
				t.Errorf("%q: verdict %d of an unknown connection", c.want, v)
			}
		}
	}
}

// TestCache: an object that comes again is but its number.
func TestCache(t *testing.T) {
	f, cache := Format{Version: 9, Cache: true}, &Cache{}
	var m Message
	session := "0001" + "01" + "79" + "010001" + "61" + "0000000000000007" // number 1: session 7 of connection a
	if _, err := Parse(size(unhex("040000000100"+"01"+session)), &f, cache, &m); err != nil || brief(&m) != "SessionInfo 1 a 7  " {
		t.Errorf("%v, %q", err, brief(&m))
	}
	if _, err := Parse(size(unhex("0c0000000201"+"00"+"0001")), &f, cache, &m); err != nil || brief(&m) != "RemoveInfo 2 a 7   wants" || !f.Cache {
		t.Errorf("%v, %q", err, brief(&m))
	}
	for i := range 2 * maxCached {
		cache.put(uint16(i), cached{name: make([]byte, 4*maxText)})
	}
	if len(cache.objects) != maxCached || len(cache.objects[5].name) != maxText {
		t.Error(len(cache.objects))
	}
}

func TestFormat(t *testing.T) {
	var m Message
	f := Format{}
	a := format("TightEncodingEnabled", "CacheEnabled", "StackTraceEnabled")
	if n, err := Parse(a, &f, nil, &m); err != nil || n != len(a) || m.Format != (Format{11, true, true, false}) {
		t.Errorf("%d, %v, %+v", n, err, m.Format)
	}
	for cut := range a {
		if v := Check(a[:cut], false); v != wire.Maybe && (cut < 13 || v != wire.Either) {
			t.Errorf("cut to %d: verdict %d", cut, v)
		}
	}
	if got := Agree(Format{12, true, true, true}, m.Format); got != (Format{11, true, true, false}) {
		t.Errorf("%+v", got)
	}
	if v := Check(unhex("0000007f"+offer), false); v != wire.Either {
		t.Errorf("verdict %d", v)
	}
}

func TestMalformed(t *testing.T) {
	f := Format{Version: 11, Tight: true}
	for _, p := range [][]byte{
		[]byte("GET / HTTP/1.1\r\n"), size([]byte("\x00")), size([]byte("\x0d123456")), size([]byte("\x64123456")), {0, 0, 0, 0, 1}, size(unhex("0402ff1e00000303ff02")),
		size(unhex(tightAnswer)[:8]), size([]byte("\x01ActiveMX\x00\x00\x00\x01\x00")),
	} {
		if n, err := Parse(p, &f, nil, &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check(p, false); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	in := size(unhex(looseMessage))
	f := Format{Version: 11}
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(in, &f, nil, &m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{tightSession, tightProduce, tightAnswer, looseAnswer, looseFailed, looseMessage} {
		f.Add(size(unhex(s)), uint8(1))
	}
	f.Add(format("CacheEnabled"), uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, mode uint8) {
		var m Message
		var cache Cache
		form := Format{Version: uint32(mode >> 4), Tight: mode&1 != 0, Cache: mode&2 != 0}
		n, err := Parse(p, &form, &cache, &m)
		if err == nil && n < 5 || err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
			t.Fatal(n, err)
		}
		for i := 0; m.Properties.Next(); i++ {
			if i > len(p) {
				t.Fatal("endless properties")
			}
		}
		Check(p, false)
		Check(p, true)
	})
}

package memcached

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// packet is a binary message.
func packet(magic, op byte, extras, key, value string, status uint16, opaque uint32) string {
	p := []byte{magic, op}
	p = binary.BigEndian.AppendUint16(p, uint16(len(key)))
	p = append(p, byte(len(extras)), 0)
	p = binary.BigEndian.AppendUint16(p, status)
	p = binary.BigEndian.AppendUint32(p, uint32(len(extras)+len(key)+len(value)))
	p = binary.BigEndian.AppendUint32(p, opaque)
	return string(append(p, make([]byte, 8)...)) + extras + key + value
}

func TestParseRequest(t *testing.T) {
	long := "get " + strings.Repeat("k", maxKey+1)
	for in, want := range map[string]string{
		"set foo 0 0 3\r\nbar\r\n":         "20 set foo 0",
		"set foo 0 0 3\r\n":                "20 set foo 0",
		"add foo 1 -1 1048576 noreply\r\n": "1048608 add foo 0 noreply",
		"cas foo 0 0 3 12345\r\nbar\r\n":   "26 cas foo 0",
		"get a b  c\r\n":                   "12 get a 3",
		"gets a\n":                         "7 gets a 1",
		"gat 60 a b\r\n":                   "12 gat a 2",
		"incr n 5\r\n":                     "10 incr n 0",
		"decr n 5 noreply\r\n":             "18 decr n 0 noreply",
		"touch n 60\r\n":                   "12 touch n 0",
		"delete n\r\n":                     "10 delete n 0",
		"delete n 0 noreply\r\n":           "20 delete n 0 noreply",
		"mg key v q O123\r\n":              "17 mg key 0 quiet",
		"ms key 2 T60\r\nhi\r\n":           "18 ms key 0",
		"mn\r\n":                           "4 mn  0",
		"stats items\r\n":                  "13 stats  0",
		"flush_all 10 noreply\r\n":         "22 flush_all  0 noreply",
		"quit\r\n":                         "6 quit  0 noreply",
		"bogus text\r\n":                   "12 bogus  0",
		"set foo 0 0 3":                    ErrShort.Error(),
		"":                                 ErrShort.Error(),
		"set foo 0 0\r\n":                  ErrMalformed.Error(),
		"set foo x 0 3\r\n":                ErrMalformed.Error(),
		"set foo 0 0 99999999999\r\n":      ErrMalformed.Error(),
		"set foo 0 0 3\r\nbarbaz":          ErrMalformed.Error(),
		"get\r\n":                          ErrMalformed.Error(),
		long + "\r\n":                      ErrMalformed.Error(),
		"incr n x\r\n":                     ErrMalformed.Error(),
		"delete n 5\r\n":                   ErrMalformed.Error(),
		"mg key 12\r\n":                    ErrMalformed.Error(),
		"{\"a\": 1}\r\n":                   ErrMalformed.Error(),
		"\r\n":                             ErrMalformed.Error(),
		strings.Repeat("get a ", 20000):    ErrMalformed.Error(),
	} {
		var r Request
		n, err := ParseRequest([]byte(in), false, &r)
		got := fmt.Sprintf("%d %s %s %d", n, r.Verb, r.Key, r.Keys)
		if r.NoReply {
			got += " noreply"
		}
		if r.Quiet {
			got += " quiet"
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%.60q: %s, want %s", in, got, want)
		}
	}
	var r Request
	if n, err := ParseRequest([]byte("get a b"), true, &r); n != 7 || err != nil || r.Keys != 2 {
		t.Errorf("cut: %d %v %+v", n, err, r)
	}
	if _, err := ParseRequest([]byte("dele"), true, &r); err == nil {
		t.Error("half a name is taken for one")
	}
}

func TestParseReply(t *testing.T) {
	for in, want := range map[string]string{
		"STORED\r\n":                      "8 STORED",
		"VALUE foo 0 3\r\nbar\r\nEND\r\n": "20 VALUE foo 0 3 partial value",
		"VALUE foo 0 1000 77\r\n":         "1023 VALUE foo 0 1000 77 partial value",
		"VA 2 t0\r\nhi\r\n":               "13 VA 2 t0 meta value",
		"HD\r\n":                          "4 HD meta",
		"STAT pid 1\r\n":                  "12 STAT pid 1 partial",
		"key=a exp=0\r\n":                 "13 key=a exp=0 partial",
		"42  \r\n":                        "6 42   number",
		"ERROR\r\n":                       "7 ERROR fault 1",
		"CLIENT_ERROR bad\r\n":            "18 CLIENT_ERROR bad fault 1",
		"SERVER_ERROR out of memory\r\n":  "28 SERVER_ERROR out of memory fault 2",
		"VALUE foo 0 3\r\nbarbaz":         ErrMalformed.Error(),
		"VALUE foo 3\r\n":                 ErrMalformed.Error(),
		"VA x\r\n":                        ErrMalformed.Error(),
		"HELLO\r\n":                       ErrMalformed.Error(),
		"STORED":                          ErrShort.Error(),
	} {
		var r Reply
		n, err := ParseReply([]byte(in), &r)
		got := fmt.Sprintf("%d %s", n, r.Line)
		for _, f := range []struct {
			is   bool
			text string
		}{{r.Meta, " meta"}, {r.Partial, " partial"}, {r.Value, " value"}, {r.Number, " number"}, {r.Fault > 0, fmt.Sprint(" fault ", r.Fault)}} {
			if f.is {
				got += f.text
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	for in, want := range map[string][]Kind{
		"STORED": {Store, Cas}, "VALUE a 0 0": {Get, Gat}, "END": {Get, Gat, Admin}, "NOT_FOUND": {Store, Cas, Change, Touch, Delete},
		"DELETED": {Delete}, "TOUCHED": {Touch}, "5": {Change}, "OK": {Admin}, "HD": {MetaSet, Meta}, "MN": {Noop},
		"ERROR": {Store, Cas, Get, Gat, Change, Touch, Delete, MetaSet, Meta, Noop, Admin, Silent},
	} {
		var r Reply
		if _, err := ParseReply([]byte(in+"\r\n"), &r); err != nil {
			t.Fatal(in, err)
		}
		var got []Kind
		for k := Store; k <= Silent; k++ {
			if r.Answers(k) {
				got = append(got, k)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || !r.Answers(Other) {
			t.Errorf("%s answers %v, want %v", in, got, want)
		}
	}
}

func TestBinary(t *testing.T) {
	var m Packet
	p := packet(MagicRequest, 0x01, "\x00\x00\x00\x00\x00\x00\x00\x00", "foo", "bar", 0, 7)
	for cut := range len(p) + 1 {
		n, err := ParseBinary([]byte(p[:cut]), &m)
		if (err == nil) != (cut >= HeaderSize) || err == nil && (n != len(p) || m.KeyLen != 3 || m.Opaque != 7 || m.Opcode.String() != "set") {
			t.Fatalf("%d: %d %v %+v", cut, n, err, m)
		}
	}
	if string(m.Key) != "foo" || string(m.Value) != "bar" || m.Response {
		t.Errorf("%+v", m)
	}
	if _, err := ParseBinary([]byte(packet(MagicResponse, 0, "", "", "Not found", 1, 7)), &m); err != nil || m.Status != 1 || !m.Response ||
		string(m.Value) != "Not found" {
		t.Errorf("%v %+v", err, m)
	}
	for _, bad := range []string{"\x82" + p[1:], p[:2] + "\x00\xff" + p[4:], p[:8] + "\xff" + p[9:], p[:5] + "\x55" + p[6:]} {
		if _, err := ParseBinary([]byte(bad), &m); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if Opcode(0xfe).String() != "opcode 254" || !Opcode(0x09).Quiet() || Opcode(0).Quiet() {
		t.Error("opcodes")
	}
	for s, want := range map[uint16]Fault{0: 0, 1: 0, 2: 0, 3: FaultClient, 4: FaultClient, 5: 0, 6: FaultClient, 8: FaultClient, 9: 0, 0x20: FaultClient,
		0x21: 0, 0x81: FaultClient, 0x82: FaultServer, 0x84: FaultServer} {
		if StatusFault(s) != want {
			t.Errorf("status %#x", s)
		}
	}
}

func TestCheck(t *testing.T) {
	get := packet(MagicRequest, 0, "", "foo", "", 0, 1)
	for _, c := range []struct {
		in             string
		strict, hinted wire.Verdict
	}{
		{"set foo 0 0 3\r\nbar\r\n", wire.Request, wire.Request},
		{"set foo 0 0 3", wire.Maybe, wire.Maybe},
		{"set foo bar\r\n", wire.No, wire.No},
		{"get foo\r\n", wire.No, wire.Request},
		{"incr foo 1\r\n", wire.Request, wire.Request},
		{"VALUE foo 0 3\r\nbar\r\n", wire.Response, wire.Response},
		{"STORED\r\n", wire.No, wire.Response},
		{"42\r\n", wire.No, wire.No},
		{"se", wire.Maybe, wire.Maybe}, {"", wire.Maybe, wire.Maybe},
		{"quit\r\n", wire.No, wire.Request},
		{"GET / HTTP/1.1\r\n", wire.No, wire.No}, {"GET /", wire.No, wire.No}, {"bogus\r\n", wire.No, wire.No},
		{get, wire.Request, wire.Request}, {get[:10], wire.Maybe, wire.Maybe},
		{packet(MagicResponse, 0, "\x00\x00\x00\x00", "", "bar", 0, 1), wire.Response, wire.Response},
		{packet(MagicRequest, 0, "\x00\x00\x00\x00", "foo", "", 0, 1), wire.No, wire.No},
		{packet(MagicRequest, 0xcc, "", "foo", "", 0, 1), wire.No, wire.No},
		{packet(MagicResponse, 0, "", "", "", 0x999, 1), wire.No, wire.No},
	} {
		if got := Check([]byte(c.in), false); got != c.strict {
			t.Errorf("%q: %d, want %d", c.in, got, c.strict)
		}
		if got := Check([]byte(c.in), true); got != c.hinted {
			t.Errorf("%q: %d with hint, want %d", c.in, got, c.hinted)
		}
	}
}

func TestAllocations(t *testing.T) {
	req, rep, bin := []byte("cas foo 0 0 3 12345\r\nbar\r\n"), []byte("VALUE foo 0 3\r\nbar\r\n"), []byte(packet(MagicRequest, 0, "", "foo", "", 0, 1))
	var q Request
	var r Reply
	var m Packet
	if n := testing.AllocsPerRun(100, func() {
		_, err1 := ParseRequest(req, false, &q)
		_, err2 := ParseReply(rep, &r)
		_, err3 := ParseBinary(bin, &m)
		if err1 != nil || err2 != nil || err3 != nil || !r.Answers(Get) || Check(bin, false) != wire.Request || Check(req, true) != wire.Request {
			t.Fatal(err1, err2, err3)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"set foo 0 0 3\r\nbar\r\n", "get foo\r\n", "VALUE foo 0 3\r\nbar\r\nEND\r\n", "STORED\r\n", "mg key v q\r\n", "VA 2 t0\r\nhi\r\n",
		"gat 60 a b\r\n", packet(MagicRequest, 1, "12345678", "foo", "bar", 0, 7), packet(MagicResponse, 0, "", "", "Not found", 1, 7)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		Check(p, true)
		Check(p, false)
		var q Request
		if n, err := ParseRequest(p, len(p)%2 == 0, &q); err == nil && (n <= 0 && len(p) > 0 || len(q.Line) > len(p)) {
			t.Fatalf("n=%d", n)
		}
		var r Reply
		if n, err := ParseReply(p, &r); err == nil && n <= 0 {
			t.Fatalf("n=%d", n)
		}
		var m Packet
		if n, err := ParseBinary(p, &m); err == nil && (n < HeaderSize || len(m.Key) > m.KeyLen) {
			t.Fatalf("n=%d", n)
		}
	})
}

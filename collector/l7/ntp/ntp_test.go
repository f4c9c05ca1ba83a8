package ntp

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// message makes a message without extensions.
func message(first, stratum byte, reference string, origin, transmit uint64) string {
	p := make([]byte, headerLen)
	p[0], p[1] = first, stratum
	copy(p[12:], reference)
	binary.BigEndian.PutUint64(p[24:], origin)
	binary.BigEndian.PutUint64(p[40:], transmit)
	return string(p)
}

const readvar = "\x16\x02\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p string
		want    Message
		verdict wire.Verdict
		kiss    string
	}{
		{"client", message(0x23, 0, "", 0, 5), Message{Version: 4, Mode: Client, Transmit: 5}, wire.Request, ""},
		{"client with authenticator", message(0x1b, 0, "", 0, 0) + "12345678901234567890", Message{Version: 3, Mode: Client}, wire.Request, ""},
		{"server", message(0x24, 1, "GPS\x00", 5, 6), Message{Version: 4, Mode: Server, Stratum: 1, Reference: [4]byte{'G', 'P', 'S'}, Origin: 5, Transmit: 6}, wire.Response, ""},
		{"kiss", message(0xe4, 0, "RATE", 5, 0), Message{Version: 4, Mode: Server, Leap: 3, Reference: [4]byte{'R', 'A', 'T', 'E'}, Origin: 5}, wire.Response, "RATE"},
		{"peer", message(0x21, 2, "\x0a\x00\x00\x01", 5, 6), Message{Version: 4, Mode: SymmetricActive, Stratum: 2, Reference: [4]byte{10, 0, 0, 1}, Origin: 5, Transmit: 6}, wire.Either, ""},
		{"broadcast", message(0x25, 2, "", 0, 6), Message{Version: 4, Mode: Broadcast, Stratum: 2, Transmit: 6}, wire.Response, ""},
		{"control", readvar, Message{Version: 2, Mode: Control, Opcode: 2, Sequence: 7}, wire.Request, ""},
		{"its answer", "\x16\xc2\x00\x07\x05\x00\x00\x00\x00\x00\x00\x04abcd", Message{Version: 2, Mode: Control, Response: true, Error: true, Opcode: 2, Sequence: 7, Status: 0x500}, wire.Response, ""},
	} {
		var m Message
		if err := Parse([]byte(c.p), len(c.p), &m); err != nil || m != c.want || string(m.Kiss()) != c.kiss {
			t.Errorf("%s: %v, %+v", c.name, err, m)
		}
		if v := Check([]byte(c.p), len(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, p := range map[string]string{
		"nothing": "", "short": message(0x23, 0, "", 0, 5)[:47], "odd": message(0x23, 0, "", 0, 5) + "x", "version 0": message(0x03, 0, "", 0, 5), "version 5": message(0x2b, 0, "", 0, 5),
		"mode 0": message(0x20, 0, "", 0, 5), "mode 7": message(0x27, 0, "", 0, 5), "stratum": message(0x24, 17, "", 5, 6), "no time": message(0x24, 2, "", 5, 0), "client without time": message(0x23, 0, "", 0, 0),
		"opcode": "\x16\x0d" + readvar[2:], "count": readvar[:10] + "\x00\x01", "more in a request": "\x16\x22" + readvar[2:], "leap": "\xd6" + readvar[1:],
	} {
		if err := Parse([]byte(p), len(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if v := Check([]byte(p), len(p)); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
}

func TestNames(t *testing.T) {
	if OpcodeName(31) != "unsettrap" || OpcodeName(2) != "readvar" || OpcodeName(20) != "" || Mode(7).String() != "" || Broadcast.String() != "broadcast" {
		t.Error("names")
	}
	if m := (Message{Reference: [4]byte{'A', 0, 'B'}}); m.Code() != nil {
		t.Errorf("%q", m.Code())
	}
}

func TestNoAllocation(t *testing.T) {
	p := []byte(message(0xe4, 0, "RATE", 5, 0))
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if Parse(p, len(p), &m) != nil || len(m.Kiss()) != 4 {
			t.Fatal("not read")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(message(0x23, 0, "", 0, 5)), 48)
	f.Add([]byte(message(0x24, 1, "GPS\x00", 5, 6)), 48)
	f.Add([]byte(readvar), 12)
	f.Fuzz(func(t *testing.T, p []byte, size int) {
		var m Message
		if err := Parse(p, size, &m); err != nil && Check(p, size) != wire.No {
			t.Fatal("not a message, but looks like one")
		}
		m.Kiss()
	})
}

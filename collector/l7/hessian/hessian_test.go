package hessian

import (
	"fmt"
	"strings"
	"testing"
)

func reader(p string) *Reader {
	var r Reader
	r.Reset([]byte(p))
	return &r
}

func TestSkip(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, p := range map[string]string{
		"null": "N", "true": "T", "false": "F", "empty string": "\x00", "short string": "\x03abc",
		"string of 300": "\x31\x2c" + long, "S": "S\x00\x03abc", "chunks": "R\x00\x02abR\x00\x01cS\x00\x01d", "chunks, short end": "R\x00\x02ab\x01c",
		"two-byte text": "\x02\xc3\xa9\xe4\xb8\xad", "surrogates": "\x02\xf0\x9f\x98\x80",
		"int 1": "\x90", "int 2": "\xc8\x30", "int 3": "\xd4\x01\x00", "int 4": "I\x00\x00\x00\x01",
		"long 1": "\xe0", "long 2": "\xf8\x01", "long 3": "\x3c\x00\x01", "long 4": "Y\x00\x00\x00\x01", "long 8": "L12345678",
		"double 0": "\x5b", "double 1": "\x5c", "double byte": "\x5d\x01", "double short": "\x5e\x01\x02", "double mill": "\x5f\x01\x02\x03\x04", "double": "D12345678",
		"date": "J12345678", "date minutes": "K1234", "binary": "\x23abc", "binary 300": "\x35\x2c" + long, "B": "B\x00\x01x", "binary chunks": "A\x00\x01xB\x00\x01y", "binary chunks, short end": "A\x00\x01x\x21y",
		"ref": "Q\x90", "map": "H\x01a\x91Z", "typed map": "M\x01t\x01a\x91Z", "typed map, type by number": "M\x90\x01a\x91Z",
		"list": "\x7a\x91\x92", "typed list": "\x72\x02[i\x91\x92", "X": "X\x92\x91\x92", "V": "V\x02[i\x92\x91\x92", "W": "W\x91\x92Z", "U": "U\x01t\x91Z",
		"object": "C\x01A\x92\x01x\x01y\x60\x91\x02hi", "two objects": "\x7aC\x01A\x91\x01x\x60\x91O\x90\x92", "object without fields": "C\x01A\x90\x60",
		"nested": "H\x01a\x7a\x91H\x01bNZZ",
	} {
		r := reader(p + "T")
		r.Skip()
		if r.Bad || r.Off != len(p) {
			t.Errorf("%s: at %d of %d, bad %v", name, r.Off, len(p), r.Bad)
		}
		for n := range p { // nothing that is cut is a value
			if r := reader(p[:n]); !skipped(r) {
				t.Errorf("%s cut to %d: at %d, not bad", name, n, r.Off)
			}
		}
	}
}

func skipped(r *Reader) (bad bool) {
	r.Skip()
	return r.Bad
}

func TestBad(t *testing.T) {
	for name, p := range map[string]string{
		"nothing": "", "reserved": "E", "end mark": "Z", "unknown class": "\x60", "class by far": "O\xcf\xff", "many values": "X\xcf\xff\x91",
		"negative length": "X\x80", "deep": strings.Repeat("\x79", 64) + "N", "endless map": "H\x01a", "class of many fields": "C\x01AI\x7f\xff\xff\xff",
		"chunk without end": "R\x00\x01aT", "binary without end": "A\x00\x01aT", "text past the end": "\x05ab", "list without type": "\x71T\x90",
		"too many classes": strings.Repeat("C\x01A\x90", maxClasses+1) + "\x60",
	} {
		r := reader(p)
		r.Skip()
		if !r.Bad {
			t.Errorf("%s: read to %d", name, r.Off)
		}
		off := r.Off
		r.Skip()
		if _, ok := r.Text(); ok || r.Off != off {
			t.Errorf("%s: goes on", name)
		}
	}
}

func TestMap(t *testing.T) {
	r := reader("H\x04path\x01s\x01n\x91\x91\x01v\x02no" + "N" + "Z\x01x")
	if !r.Map() {
		t.Fatal("no map")
	}
	var got []string
	for k, v, ok := r.Next(); ok; k, v, ok = r.Next() {
		got = append(got, fmt.Sprintf("%s=%s", k, v))
	}
	if s, _ := r.Text(); strings.Join(got, " ") != "path=s n= =v no=" || string(s) != "x" {
		t.Errorf("%q then %q", got, s)
	}
	if reader("N").Map() || reader("").Map() {
		t.Error("a map of nothing")
	}
	r = reader("H\x01a")
	r.Map()
	if _, _, ok := r.Next(); ok || !r.Bad {
		t.Error("a cut pair")
	}
}

func TestThrowable(t *testing.T) {
	for _, c := range []struct{ p, class, message string }{
		{"C\x03a.B\x93\x05cause\x0ddetailMessage\x01z\x60N\x04boom\x91", "a.B", "boom"},
		{"C\x03a.B\x91\x0ddetailMessageO\x90\x04boom", "a.B", "boom"},
		{"C\x03a.B\x91\x01x\x60N", "a.B", ""},
		{"C\x03a.B\x91\x0ddetailMessage\x60\x05bo", "a.B", ""},
		{"T", "", ""}, {"C\x03a", "", ""},
	} {
		class, message := reader(c.p).Throwable()
		if string(class) != c.class || string(message) != c.message {
			t.Errorf("%q: %q %q", c.p, class, message)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	p := []byte("\x03abcC\x01A\x92\x01x\x01y\x60\x91\x02hiH\x04path\x01sZ")
	var r Reader
	if n := testing.AllocsPerRun(100, func() {
		r.Reset(p)
		r.Text()
		r.Skip()
		r.Map()
		for _, _, ok := r.Next(); ok; _, _, ok = r.Next() {
		}
		if r.Bad {
			t.Fatal("bad")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSkip(f *testing.F) {
	f.Add([]byte("H\x01a\x7a\x91H\x01bNZZ"))
	f.Add([]byte("C\x01A\x92\x01x\x01y\x60\x91\x02hi"))
	f.Add([]byte("\x94C\x1dmy.demo.service.ServiceResult\x93\x06result\x07message\x07success`\x91\x01a\x01b"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Reader
		r.Reset(p)
		for r.More() {
			off := r.Off
			if r.Map() {
				for _, _, ok := r.Next(); ok; _, _, ok = r.Next() {
				}
			} else {
				r.Skip()
			}
			if r.Off > len(p) || r.Off == off && !r.Bad {
				t.Fatalf("from %d to %d of %d", off, r.Off, len(p))
			}
		}
		r.Reset(p)
		r.Throwable()
	})
}

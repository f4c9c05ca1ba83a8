package fastcgi

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	begin    = "01 01 0001 0008 00 00 0001 00 0000000000"
	params   = "01 04 0001 0013 05 00 0e 03 524551554553545f4d4554484f44 474554 0000000000"
	response = "01 06 0001 001c 04 00 5374617475733a2032303120437265617465640d0a0d0a6974656d37 00000000"
	end      = "01 03 0001 0008 00 00 00000001 00 000000"
)

func TestRecords(t *testing.T) {
	for in, want := range map[string]string{
		begin: "16 {1 1 8} <nil>", params: "32 {4 1 19} <nil>", response: "40 {6 1 28} <nil>", "01 09 0000 0000 00 00": "8 {9 0 0} <nil>",
		"01 05 0001 ffff ff 00": "65798 {5 1 65535} <nil>", "01 05 0001": "0 {0 0 0} incomplete FastCGI record", "02 05 0001 0000 00 00": "0 {5 1 0} not FastCGI",
		"01 00 0001 0000 00 00": "0 {0 1 0} not FastCGI", "01 05 0000 0000 00 00": "0 {5 0 0} not FastCGI", "01 09 0001 0000 00 00": "0 {9 1 0} not FastCGI",
		"01 0c 0001 0000 00 00": "0 {12 1 0} not FastCGI", "01 01 0001 0007 00 00": "0 {1 1 7} not FastCGI",
	} {
		var r Record
		n, err := ParseRecord(unhex(t, in), &r)
		if got := fmt.Sprint(n, " ", r, " ", err); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for in, want := range map[string]wire.Verdict{
		begin: wire.Request, begin + params: wire.Request, response: wire.Response, response + end: wire.Response, begin + "02": wire.No, begin + "01": wire.Request,
		begin[:22]: wire.Maybe, "0101": wire.Maybe, "01": wire.No, "": wire.No, params: wire.No, end: wire.No, "01 01 0001 0008 00 00 0004 00 0000000000": wire.No,
		"01 01 0001 0008 00 00 0001 02 0000000000": wire.No, "01 01 0001 0008 00 00 0001 00 0000000001": wire.No, "01 01 0001 0008 00 01 0001 00 0000000000": wire.No,
		"01 06 0001 0004 00 00 61626364": wire.Maybe, "01 06 0001 0004 00 00 6120623a": wire.No, begin + "01 04 0002 0000 00 00": wire.No,
	} {
		if got := Check(unhex(t, in)); got != want {
			t.Errorf("%s: %d, want %d", in, got, want)
		}
	}
	if Plausible(unhex(t, params+end)) != wire.Either || Plausible(nil) != wire.Maybe || Plausible([]byte("GET / HTTP")) != wire.No || Plausible(unhex(t, params+"ffffffffffffffff")) != wire.No {
		t.Error("plausible")
	}
}

func TestParam(t *testing.T) {
	for in, want := range map[string]string{
		"01 02 61 6263":             "a=bc 5 <nil>",
		"01 00 61":                  "a= 3 <nil>",
		"80000001 80000002 61 6263": "a=bc 11 <nil>",
		"01 02 61 62":               "= 5 incomplete FastCGI record",
		"01":                        "= 0 incomplete FastCGI record",
		"8000":                      "= 0 incomplete FastCGI record",
		"ffffffff ffffffff 61":      "= 4294967302 incomplete FastCGI record",
	} {
		name, value, n, err := Param(unhex(t, in))
		if got := fmt.Sprintf("%s=%s %d %v", name, value, n, err); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestHead(t *testing.T) {
	head := "Status: 404 Not Found\r\nX-Empty:\nContent-Type:  text/html \r\n\r\nStatus: 500"
	n := HeadEnd([]byte(head))
	var got []string
	for p := []byte(head)[:n]; ; {
		name, value, rest, ok := Field(p)
		if !ok {
			break
		}
		got, p = append(got, string(name)+"="+string(value)), rest
	}
	if s := strings.Join(got, " "); s != "Status=404 Not Found X-Empty= Content-Type=text/html" {
		t.Error(s)
	}
	for in, want := range map[string]string{"200": "200 ", "404 Not Found": "404 Not Found", "2000": "0 ", "20x": "0 ", "": "0 "} {
		if code, reason := Code([]byte(in)); fmt.Sprintf("%d %s", code, reason) != want {
			t.Errorf("%s: %d %s", in, code, reason)
		}
	}
	for in, want := range map[string]string{"00000001 00 000000": "1 ", "ffffffff 02 000000": "-1 OVERLOADED", "00000000 01": "0 CANT_MPX_CONN", "00000000 03": "0 UNKNOWN_ROLE", "": "0 "} {
		if status, refused := End(unhex(t, in)); fmt.Sprint(status, " ", refused) != want {
			t.Errorf("%s: %d %s", in, status, refused)
		}
	}
	if HeadEnd([]byte("a\n\nb")) != 3 || HeadEnd([]byte("a\r\n")) != 0 {
		t.Error("end of head")
	}
}

func TestNoAllocation(t *testing.T) {
	p := unhex(t, begin+params)
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		if Check(p) != wire.Request {
			t.Fatal("check")
		}
		n, err := ParseRecord(p, &r)
		if err != nil {
			t.Fatal(err)
		}
		if name, _, _, err := Param(p[n+HeaderLen:]); err != nil || len(name) != 14 {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{begin + params, response + end, params, "80000001 80000002 61 6263"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		Check(p)
		Plausible(p)
		for rest := p; len(rest) > 0; {
			name, value, n, err := Param(rest)
			if err != nil {
				break
			}
			if n < 2+len(name)+len(value) || n > len(rest) {
				t.Fatal(n)
			}
			rest = rest[n:]
		}
		for rest := p[:HeadEnd(p)]; ; {
			_, value, next, ok := Field(rest)
			if !ok {
				break
			}
			Code(value)
			rest = next
		}
		End(p)
		var r Record
		if n, err := ParseRecord(p, &r); err == nil && n < HeaderLen+r.Length {
			t.Fatal(n)
		}
	})
}

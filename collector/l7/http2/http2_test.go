package http2

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// unhex reads hexadecimal digits with spaces between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fields reads a block into one text; what is not known is a question mark.
func fields(f *Fields, t *Table, block []byte) string {
	var out []string
	for f.Reset(t, block); f.Next(); {
		name, value := "?", "?"
		if f.NameKnown {
			name = string(f.Name)
		}
		if f.ValueKnown {
			value = string(f.Value)
		}
		out = append(out, name+"="+value)
	}
	if f.Err() != nil {
		out = append(out, f.Err().Error())
	}
	return strings.Join(out, " ")
}

// TestRFC7541 reads the examples of appendix C.
func TestRFC7541(t *testing.T) {
	for name, blocks := range map[string][][2]string{
		"C.2": {{"400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key=custom-header"}, {"040c2f73616d706c652f70617468", ":path=/sample/path"},
			{"100870617373776f726406736563726574", "password=secret"}, {"82", ":method=GET"}},
		"C.4": {{"828684418cf1e3c2e5f23a6ba0ab90f4ff", ":method=GET :scheme=http :path=/ :authority=www.example.com"},
			{"828684be5886a8eb10649cbf", ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache"},
			{"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value"}},
		// The table of C.6 has 256 bytes: 3fe101 says so.
		"C.6": {{"3fe101 488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
			":status=302 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"},
			{"4883640effc1c0bf", ":status=307 cache-control=private date=Mon, 21 Oct 2013 20:13:21 GMT location=https://www.example.com"},
			{"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
				":status=200 cache-control=private date=Mon, 21 Oct 2013 20:13:22 GMT location=https://www.example.com content-encoding=gzip set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"}},
	} {
		var f Fields
		var table Table
		table.Begin()
		for i, b := range blocks {
			if got := fields(&f, &table, unhex(t, b[0])); got != b[1] {
				t.Errorf("%s.%d:\n got %s\nwant %s", name, i+1, got, b[1])
			}
		}
	}
}

// encoder makes blocks as another end would, of fields that repeat.
type encoder struct {
	buf bytes.Buffer
	enc *hpack.Encoder
	r   *rand.Rand
}

func newEncoder(seed uint64) *encoder {
	e := &encoder{r: rand.New(rand.NewPCG(seed, 1))}
	e.enc = hpack.NewEncoder(&e.buf)
	e.enc.SetMaxDynamicTableSizeLimit(64 << 10)
	return e
}

func (e *encoder) block() (block []byte, want []string) {
	e.buf.Reset()
	if e.r.IntN(20) == 0 {
		e.enc.SetMaxDynamicTableSize(uint32(e.r.IntN(9)) * 1000)
	}
	for range 1 + e.r.IntN(8) {
		f := hpack.HeaderField{Name: fmt.Sprintf("n%d", e.r.IntN(30)), Value: strings.Repeat("v", e.r.IntN(40)) + fmt.Sprint(e.r.IntN(4)), Sensitive: e.r.IntN(10) == 0}
		switch e.r.IntN(12) {
		case 0:
			f.Value = strings.Repeat("long", e.r.IntN(2000))
		case 1:
			f = hpack.HeaderField{Name: ":status", Value: "200"}
		}
		if err := e.enc.WriteField(f); err != nil {
			panic(err)
		}
		want = append(want, f.Name+"="+f.Value)
	}
	return e.buf.Bytes(), want
}

// TestWholeConnection: of a connection seen from its beginning, everything is read.
func TestWholeConnection(t *testing.T) {
	for seed := range uint64(20) {
		e := newEncoder(seed)
		var f Fields
		var table Table
		table.Begin()
		for i := range 300 {
			block, want := e.block()
			if got := fields(&f, &table, block); got != strings.Join(want, " ") {
				t.Fatalf("seed %d, block %d:\n got %s\nwant %s", seed, i, got, strings.Join(want, " "))
			}
			if len(table.data) > 3*tableLimit || len(table.entries) > 3*tableLimit/entryOverhead {
				t.Fatalf("%d bytes, %d entries", len(table.data), len(table.entries))
			}
		}
	}
}

// TestMiddle: of a connection picked up anywhere, what is read is right, and soon all of it.
func TestMiddle(t *testing.T) {
	known := 0
	for seed := range uint64(40) {
		e := newEncoder(seed)
		for range e.r.IntN(60) {
			e.block()
		}
		var f Fields
		var table Table
		for i := range 200 {
			block, want := e.block()
			if i%70 == 69 { // this one is lost
				table.Lose()
				continue
			}
			at := 0
			for f.Reset(&table, block); f.Next(); at++ {
				name, value, _ := strings.Cut(want[at], "=")
				if f.NameKnown && string(f.Name) != name || f.ValueKnown && string(f.Value) != value {
					t.Fatalf("seed %d, block %d: %s=%s, want %s", seed, i, f.Name, f.Value, want[at])
				}
				if f.ValueKnown {
					known++
				}
			}
			if f.Err() != nil || at != len(want) {
				t.Fatalf("seed %d, block %d: %v", seed, i, f.Err())
			}
		}
	}
	if known < 20000 {
		t.Errorf("only %d values were known", known)
	}
}

func TestMalformedBlocks(t *testing.T) {
	var f Fields
	for in, want := range map[string]string{
		"80": ErrMalformed.Error(), "be": "?=?", "ff": ErrShort.Error(), "ffffffffff7f": ErrMalformed.Error(), "82 20": ":method=GET " + ErrMalformed.Error(),
		"20 82": ":method=GET", "41": ErrShort.Error(), "41 05 61": ErrShort.Error(), "41 81 ff ": ErrMalformed.Error(), "40 01 61": ErrShort.Error(), "7f 20 01 61": "?=a", "": "",
	} {
		if got := fields(&f, nil, unhex(t, in)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want Frame
		err  error
	}{
		{"000008 06 01 00000000 0102", 17, Frame{8, Ping, FlagAck, 0}, nil},
		{"ffffff 00 01 00000001", 1<<24 + 8, Frame{1<<24 - 1, Data, FlagEndStream, 1}, nil},
		{"000008 06 01 000000", 0, Frame{}, ErrShort},
		{"000008 06 01 00000001", 0, Frame{}, ErrMalformed}, // a ping of a stream
		{"000007 06 00 00000000", 0, Frame{}, ErrMalformed},
		{"000000 00 00 00000000", 0, Frame{}, ErrMalformed}, // data of no stream
		{"000000 01 04 00000001", 0, Frame{}, ErrMalformed}, // an empty header
		{"000005 04 00 00000000", 0, Frame{}, ErrMalformed},
		{"000006 04 01 00000000", 0, Frame{}, ErrMalformed}, // an acknowledgement with content
		{"000001 01 04 80000001", 0, Frame{}, ErrMalformed},
		{"000003 10 00 00000000", 12, Frame{3, 16, 0, 0}, nil},
		{"010000 10 00 00000000", 0, Frame{}, ErrMalformed},
	} {
		var f Frame
		n, err := ParseFrame(unhex(t, c.in), &f)
		if n != c.n || err != c.err || err == nil && f != c.want {
			t.Errorf("%s: %d %v %+v", c.in, n, err, f)
		}
	}
}

func TestFragment(t *testing.T) {
	for _, c := range []struct {
		f        Frame
		in, want string
		promised uint32
		err      error
	}{
		{Frame{3, Headers, FlagEndHeaders, 1}, "828684", "828684", 0, nil},
		{Frame{6, Headers, FlagPadded, 1}, "02 828684 0000", "828684", 0, nil},
		{Frame{8, Headers, FlagPriority, 1}, "80000000 ff 828684", "828684", 0, nil},
		{Frame{11, Headers, FlagPriority | FlagPadded, 1}, "02 80000000 ff 828684 0000", "828684", 0, nil},
		{Frame{7, PushPromise, FlagEndHeaders, 1}, "00000002 828684", "828684", 2, nil},
		{Frame{3, Continuation, FlagPadded, 1}, "828684", "828684", 0, nil},
		{Frame{3, Headers, 0, 1}, "8286", "8286", 0, ErrShort},
		{Frame{3, Headers, FlagPadded, 1}, "03 8286", "", 0, ErrMalformed},
		{Frame{3, Headers, FlagPriority, 1}, "828684", "", 0, ErrMalformed},
	} {
		block, promised, err := c.f.Fragment(unhex(t, c.in))
		if hex.EncodeToString(block) != c.want || promised != c.promised || err != c.err {
			t.Errorf("%+v %s: %x %d %v", c.f, c.in, block, promised, err)
		}
	}
}

// Captured beginnings: a preface, a request, responses.
const (
	preface      = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a"
	settings     = "000006040000000000000500004000"
	grpcRequest  = "00004e0104000000018386459863726c28e935536e2d9dcc42b17a8316a4ee4d851d3b75de418c08170ae265710ae32f3cf3df5f8b1d75d0620d263d4c4d65647a8a9acac8b4c7602bb8d2e040027465864d833505b11f"
	grpcResponse = "00000e010400000001885f8b1d75d0620d263d4c4d6564"
	grpcTrailer  = "00001801050000000140889acac8b21234da8f013040899acac8b5254207317f00"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, in        string
		strict, lenient wire.Verdict
	}{
		{"preface", preface, wire.Request, wire.Request},
		{"part of it", preface[:20], wire.Maybe, wire.Maybe},
		{"nothing", "", wire.Maybe, wire.Maybe},
		{"request", grpcRequest, wire.Request, wire.Request},
		{"cut within the frame's header", grpcRequest[:16], wire.No, wire.No},
		{"cut", grpcRequest[:60], wire.Maybe, wire.Maybe},
		{"response", grpcResponse, wire.Response, wire.Response},
		{"trailer", grpcTrailer, wire.No, wire.No},
		{"response behind settings of nothing", "000000 04 00 00000000 " + grpcResponse, wire.Response, wire.Response},
		{"settings", settings, wire.Either, wire.Either},
		{"settings of nothing", "000000 04 00 00000000", wire.No, wire.Either},
		{"acknowledgement", "000000 04 01 00000000", wire.No, wire.Either},
		{"credit and ping", "0000040800000000000000001e00000806000000000002041010090e0707", wire.Either, wire.Either},
		{"ping", "00000806000000000002041010090e0707", wire.No, wire.No},
		{"zeroes", strings.Repeat("00", 40), wire.No, wire.No},
		{"odd settings", "000006 04 00 00000000 0099 00004000", wire.No, wire.No},
		{"a name in capitals", "000008 01 04 00000001 82 00 02 4141 02 6161", wire.No, wire.No},
		{"a strange pseudo-header field", "000009 01 04 00000001 82 00 03 3a6161 02 6161", wire.No, wire.No},
		{"request and response", "000002 01 04 00000001 8288", wire.No, wire.No},
		{"a control character", "000007 01 04 00000001 82 00 0161 02 6101", wire.No, wire.No},
		{"data", "000003 00 00 00000001 616263", wire.No, wire.No},
		{"HTTP/1", hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), wire.No, wire.No},
	} {
		var f Fields
		for lenient, want := range map[bool]wire.Verdict{false: c.strict, true: c.lenient} {
			if got := Check(unhex(t, c.in), lenient, &f); got != want {
				t.Errorf("%s, lenient %v: %d, want %d", c.name, lenient, got, want)
			}
		}
	}
}

func TestPlausible(t *testing.T) {
	for in, want := range map[string]wire.Verdict{
		"": wire.Maybe, "00": wire.Maybe, "61": wire.No, grpcTrailer: wire.Either, grpcTrailer + "00": wire.Either, grpcTrailer + "0000040800000000000000001e": wire.Either,
		grpcTrailer + "ffffff41414141414141": wire.No, "004000 00 00 00000001 616263": wire.Either, "004001 00 00 00000001 616263": wire.No,
	} {
		if got := Plausible(unhex(t, in)); got != want {
			t.Errorf("%s: %d, want %d", in, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	in := unhex(t, "00 00000003 616263 00 00000000 01 00000001 61 00 00000100")
	for cut := range len(in) + 1 {
		var m Messages
		m.Walk(in[:cut], cut)
		m.Walk(in[cut:], len(in)-cut)
		m.Walk(nil, 256)
		if m.Count != 4 || m.Lost() {
			t.Errorf("cut at %d: %+v", cut, m)
		}
	}
	var m Messages
	m.Walk(in[:5], 8) // the content is not there
	if m.Count != 1 || m.Lost() {
		t.Errorf("%+v", m)
	}
	m.Walk(nil, 8) // the second message is not
	if m.Count != 1 || !m.Lost() {
		t.Errorf("%+v", m)
	}
	m = Messages{}
	if m.Walk([]byte("hello"), 5); !m.Lost() {
		t.Error("not a message")
	}
}

func TestNames(t *testing.T) {
	if CodeString(CodeCancel) != "CANCEL" || CodeString(0) != "NO_ERROR" || CodeString(99) != "UNKNOWN" || CodeString(1<<31) != "UNKNOWN" {
		t.Error("codes")
	}
	if GRPCCodeString(16) != "UNAUTHENTICATED" || GRPCCodeString(17) != "" || GRPCCodeString(-1) != "" || GRPCClientError(13) || !GRPCClientError(5) {
		t.Error("gRPC codes")
	}
	for ct, want := range map[string]bool{"application/grpc": true, "application/grpc+proto": true, "application/grpc;x": true, "application/grpcx": false, "application/json": false, "": false} {
		if IsGRPC([]byte(ct)) != want {
			t.Errorf("%q", ct)
		}
	}
	if got := string(AppendUnescaped(nil, []byte("a%20b%c3%A9%zz%2"))); got != "a bé%zz%2" {
		t.Errorf("%q", got)
	}
	f := Frame{Type: GoAway}
	if code, last, ok := f.Control(unhex(t, "00000005 0000000b 6f6f")); code != 11 || last != 5 || !ok {
		t.Error(code, last, ok)
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector lets pools forget")
	}
	request := unhex(t, grpcRequest)
	var fs Fields
	var f Frame
	var table Table
	run := func() {
		if Check(request, false, &fs) != wire.Request {
			t.Fatal("check")
		}
		if n, err := ParseFrame(request, &f); n != len(request) || err != nil {
			t.Fatal(n, err)
		}
		block, _, err := f.Fragment(request[HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for fs.Reset(&table, block); fs.Next(); n++ {
		}
		if n != 7 || fs.Err() != nil {
			t.Fatal(n, fs.Err())
		}
	}
	for range 1000 { // until the table has its size
		run()
	}
	if n := testing.AllocsPerRun(500, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{preface, settings, grpcRequest, grpcResponse, grpcTrailer, "00001101050000000140889acac8"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var fs Fields
		v := Check(p, true, &fs)
		if Check(p, false, &fs) > wire.Maybe && v <= wire.Maybe {
			t.Fatal("lenient is stricter")
		}
		Plausible(p)
		var fr Frame
		var table Table
		var m Messages
		for len(p) > 0 {
			n, err := ParseFrame(p, &fr)
			if err != nil {
				return
			}
			if n != fr.Length+HeaderLen {
				t.Fatal(n)
			}
			payload := p[HeaderLen:min(n, len(p))]
			fr.Control(payload)
			m.Walk(payload, fr.Length)
			if block, _, err := fr.Fragment(payload); err == nil {
				for fs.Reset(&table, block); fs.Next(); {
					if !fs.NameKnown && len(fs.Name) > 0 || !fs.ValueKnown && len(fs.Value) > 0 {
						t.Fatal("content of what is not known")
					}
				}
			}
			if table.size > tableLimit+8<<10 && table.size > tableLimit+len(p) {
				t.Fatal("the table grows")
			}
			p = p[len(payload)+HeaderLen:]
		}
	})
}

// FuzzBlock compares with x/net's decoder, as far as that goes.
func FuzzBlock(f *testing.F) {
	f.Add(unhex(f, "828684418cf1e3c2e5f23a6ba0ab90f4ff"), unhex(f, "828684be5886a8eb10649cbf"))
	f.Add(unhex(f, "3fe101488264025885aec3771a4b"), unhex(f, "4883640effc1c0bf"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var fs Fields
		var table Table
		table.Begin()
		dec := hpack.NewDecoder(defaultMax, nil)
		dec.SetAllowedMaxDynamicTableSize(1 << 30)
		for _, block := range [][]byte{a, b} {
			want, err := dec.DecodeFull(block)
			if err != nil {
				return
			}
			for fs.Reset(&table, block); fs.Next(); want = want[1:] {
				if !fs.NameKnown || !fs.ValueKnown {
					if table.max > tableLimit {
						return
					}
					t.Fatal("unknown")
				}
				if len(want) == 0 || string(fs.Name) != want[0].Name || string(fs.Value) != want[0].Value {
					t.Fatalf("%s=%s, want %v", fs.Name, fs.Value, want)
				}
			}
			if fs.Err() == ErrMalformed {
				return // a change of size behind a field, or a number that is absurd: x/net takes them at times
			}
			if fs.Err() != nil || len(want) > 0 {
				t.Fatal(fs.Err(), want)
			}
		}
	})
}

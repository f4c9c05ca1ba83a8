package mysql

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// Packets of real servers and clients, and some written by hand.
const (
	greeting8 = "4a0000000a382e302e323600fa5d6d010339572675600b1c00fff7ff0200ff8f1500000000000000000000051560193b1f772107577a6d006d7973716c5f6e61746976655f70617373776f726400"
	greetingM = "640000000a352e352e352d31302e31312e31392d4d6172696144422d302b6465623132753100040000004a53412d5d6d2d3400fef7080200ff81150000000000001d0000005e5d3a473823446c737d3c51006d7973716c5f6e61746976655f70617373776f726400"
	login8    = "cc0000018da2bf0900000001210000000000000000000000000000000000000000000000726f6f74001436c71d11378fcab8baf9ef935dcb954dd81b59b67975616e6368616f006d7973716c5f6e61746976655f70617373776f72640072045f7069640432353138095f706c6174666f726d067838365f3634035f6f73054c696e75780c5f636c69656e745f6e616d65086c69626d7973716c076f735f7573657204726f6f740f5f636c69656e745f76657273696f6e06382e302e32360c70726f6772616d5f6e616d65056d7973716c"
	loginNone = "280000010ca201000000000100" + "0000000000000000000000000000000000000000000000" + "726f6f740000006d7900"
	sslAsk    = "200000018dae0f0000000001ff0000000000000000000000000000000000000000000000"
	query8    = "2500000003000164656c6574652066726f6d20746573745f7461626c65202077686572652069643d31"
	execute   = "20000000176000000000010000000001fe001164656570666c6f772d7365727665722d30"
	closeStmt = "050000001960000000"
	okSchema  = "1400000200000002400000000b0109087975616e6368616f"
	okInfo    = "2e00000100000003000000265265636f7264733a203520204475706c6963617465733a203020205761726e696e67733a2030"
	ok5       = "0700000100050002000000"
	errNoDB   = "20000001ff1904233432303030556e6b6e6f776e20646174616261736520276162636427"
	prepareOK = "0c00000100600000001100010000000017000002"
	resultset = "0100000101270000020364656600000011404076657273696f6e5f636f6d6d656e74000c2100ffff0000fd00001f00001d0000031c4d7953514c"
)

func raw(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// body is the payload of a packet.
func body(t testing.TB, s string) []byte { return raw(t, s)[HeaderLen:] }

func TestGreeting(t *testing.T) {
	for _, c := range []struct {
		p, version string
		thread     uint32
	}{{greeting8, "8.0.26", 0x16d5dfa}, {greetingM, "5.5.5-10.11.19-MariaDB-0+deb12u1", 4}} {
		var m Greeting
		if err := ParseGreeting(body(t, c.p), &m); err != nil || string(m.Version) != c.version || m.ThreadID != c.thread || m.Caps&CapProtocol41 == 0 {
			t.Errorf("%s: %+v, %v", c.version, m, err)
		}
		for i := range len(body(t, c.p)) - 40 {
			if err := ParseGreeting(body(t, c.p)[:i], &m); err == nil && m.Caps>>16 != 0 {
				t.Errorf("cut to %d: %+v", i, m)
			}
		}
	}
	for _, p := range []string{"", "\x09abc", "\x0a\x00", "\x0a8.0\x00\x01\x02\x03\x0412345678X\xff\xff", "\x0a8\x01\x00\x01\x02\x03\x0412345678\x00\xff\xff"} {
		var m Greeting
		if err := ParseGreeting([]byte(p), &m); err == nil {
			t.Errorf("%q is a greeting", p)
		}
	}
}

func TestLogin(t *testing.T) {
	var m Login
	if err := ParseLogin(body(t, login8), &m); err != nil || string(m.User) != "root" || string(m.Database) != "yuanchao" || m.SSL {
		t.Errorf("%+v, %v", m, err)
	}
	var got []string
	it := m.Attributes()
	for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
		got = append(got, fmt.Sprintf("%s=%s", k, v))
	}
	if want := "_pid=2518 _platform=x86_64 _os=Linux _client_name=libmysql os_user=root _client_version=8.0.26 program_name=mysql"; strings.Join(got, " ") != want {
		t.Errorf("attributes %q", got)
	}
	if err := ParseLogin(body(t, login8)[:60], &m); err != ErrShort || string(m.User) != "root" {
		t.Errorf("cut: %+v, %v", m, err)
	}
	if err := ParseLogin(body(t, sslAsk), &m); err != nil || !m.SSL || len(m.User) != 0 {
		t.Errorf("TLS: %+v, %v", m, err)
	}
	if err := ParseLogin(body(t, loginNone), &m); err != nil || string(m.User) != "root" || string(m.Database) != "" {
		t.Errorf("without password: %+v, %v", m, err)
	}
	p := body(t, login8)
	p[15] = 1 // a reserved byte
	if err := ParseLogin(p, &m); err != ErrMalformed {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestRequest(t *testing.T) {
	const attribute = "\x01\x01\x00\x01\xfd\x00\x0btraceparent\x0700-1-2\x33"
	for _, c := range []struct {
		name, p string
		caps    uint32
		known   Known
		want    string
	}{
		{"query", "\x03select 1", 0, CapsKnown, "COM_QUERY select 1 -1"},
		{"query with no attributes", "\x03\x00\x01select 1", CapQueryAttributes, CapsKnown, "COM_QUERY select 1 -1"},
		{"the same, login unseen", "\x03\x00\x01select 1", 0, CapsUnknown, "COM_QUERY select 1 -1"},
		{"query with attributes", "\x03" + attribute + "select 1", CapQueryAttributes, CapsKnown, "COM_QUERY select 1 -1 traceparent=00-1-23"},
		{"the same, login unseen ", "\x03" + attribute + "select 1", 0, CapsUnknown, "COM_QUERY select 1 -1 traceparent=00-1-23"},
		{"all types of attributes", "\x03\x0a\x01\x00\x00\x01" +
			"\x01\x00\x01a\x02\x00\x01b\x03\x00\x01c\x08\x00\x01d\x0c\x00\x01e\x0b\x00\x01f\x06\x00\x01g\x05\x00\x01h\x04\x00\x01i\x0f\x00\x01j" +
			"1" + "22" + "4444" + "88888888" + "\x04dddd" + "\x00" + "88888888" + "4444" + "\x02jj" + "select 1",
			CapQueryAttributes, CapsKnown, "COM_QUERY select 1 -1 a= b= c= d= e= f= g= h= i= j=jj"},
		{"prepare", "\x16select ?", 0, CapsKnown, "COM_STMT_PREPARE select ? -1"},
		{"execute", string(body(t, execute)), 0, CapsKnown, "COM_STMT_EXECUTE  96"},
		{"execute with attributes", "\x17\x05\x00\x00\x00\x08\x01\x00\x00\x00" + "\x02\x00\x01\x08\x00\x00\xfd\x00\x0btraceparent" + "88888888\x0300-", CapQueryAttributes, CapsKnown, "COM_STMT_EXECUTE  5 = traceparent=00-"},
		{"execute of the last one", "\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00", 0, CapsKnown, "COM_STMT_EXECUTE  4294967295"},
		{"close", string(body(t, closeStmt)), 0, CapsKnown, "COM_STMT_CLOSE  96"},
		{"use", "\x02shop", 0, CapsKnown, "COM_INIT_DB shop -1"},
		{"fields", "\x04orders\x00%", 0, CapsKnown, "COM_FIELD_LIST orders -1"},
		{"change user", "\x11root\x00...", 0, CapsKnown, "COM_CHANGE_USER root -1"},
		{"ping", "\x0e", 0, CapsKnown, "COM_PING  -1"},
		{"bulk", "\xfa\x01\x00\x00\x00", 0, CapsKnown, "COM_STMT_BULK_EXECUTE  1"},
		{"of the server", "\x00", 0, CapsKnown, "not a MySQL packet"},
		{"unknown", "\x77", 0, CapsKnown, "not a MySQL packet"},
		{"nothing", "", 0, CapsKnown, "MySQL packet cut short"},
		{"cut", "\x17\x01", 0, CapsKnown, "MySQL packet cut short"},
	} {
		var m Request
		got := ""
		if err := ParseRequest([]byte(c.p), c.caps, c.known, &m); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s %s %d", m.Command, m.Text, m.Statement)
			it := m.Attributes()
			for k, v, ok := it.Next(); ok; k, v, ok = it.Next() {
				got += fmt.Sprintf(" %s=%s", k, v)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestCommandNames(t *testing.T) {
	for c := range 256 {
		if name := Command(c).String(); (name != "") != Command(c).Valid() {
			t.Errorf("%#x is called %q", c, name)
		}
	}
	if ComStmtExecute.String() != "COM_STMT_EXECUTE" || ComResetConnection.String() != "COM_RESET_CONNECTION" || ComPing.String() != "COM_PING" {
		t.Error("the names are out of place")
	}
	for _, c := range []Command{ComQuit, ComStmtClose, ComStmtLongData} {
		if c.Answered() {
			t.Errorf("%s is answered", c)
		}
	}
}

func TestOK(t *testing.T) {
	for _, c := range []struct{ p, want string }{
		{ok5, `5 2 "" ""`},
		{okInfo, `0 3 "Records: 5  Duplicates: 0  Warnings: 0" ""`},
		{okSchema, `0 4002 "" "yuanchao"`},
		{"09000001" + "000001020000006869", `0 2 "hi" ""`},
		{"05000001" + "00fc0102" + "00", "short"},
		{"00000000", "short"},
	} {
		var m OK
		got := "short"
		if ParseOK(body(t, c.p), &m) == nil {
			got = fmt.Sprintf("%d %x %q %q", m.Affected, m.Status, m.Info, m.Schema)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.p, got, c.want)
		}
	}
}

func TestErr(t *testing.T) {
	var m Err
	if err := ParseErr(body(t, errNoDB), &m); err != nil || m.Code != 1049 || string(m.State) != "42000" || string(m.Message) != "Unknown database 'abcd'" {
		t.Errorf("%+v, %v", m, err)
	}
	if err := ParseErr([]byte("\xff\x10\x04Too many connections"), &m); err != nil || m.Code != 1040 || m.State != nil || string(m.Message) != "Too many connections" {
		t.Errorf("%+v, %v", m, err)
	}
	if err := ParseErr([]byte("\xff\x10"), &m); err != ErrShort {
		t.Errorf("%+v, %v", m, err)
	}
	for _, c := range []struct {
		code    uint16
		state   string
		client  bool
		repeats bool
	}{
		{1049, "42000", true, false}, {1045, "28000", true, false}, {1062, "23000", true, true}, {1064, "42000", true, true}, {1146, "42S02", true, false},
		{1040, "08004", false, false}, {1205, "HY000", false, false}, {1213, "40001", false, false}, {1226, "42000", false, false}, {2006, "HY000", false, false},
		{1366, "HY000", true, true}, {1040, "", false, false}, {1317, "70100", true, false},
	} {
		m := Err{Code: c.code, State: []byte(c.state)}
		if m.ClientFault() != c.client || m.Repeats() != c.repeats {
			t.Errorf("%d %s: client %v, repeats %v", c.code, c.state, m.ClientFault(), m.Repeats())
		}
	}
}

func TestResults(t *testing.T) {
	var m Prepared
	if err := ParsePrepared(body(t, prepareOK), &m); err != nil || m != (Prepared{ID: 96, Columns: 17, Params: 1}) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := ParsePrepared([]byte("\x00\x01"), &m); err != ErrShort {
		t.Error(err)
	}
	if status, err := ParseEOF([]byte("\xfe\x00\x00\x22\x00")); status != 0x22 || err != nil {
		t.Error(status, err)
	}
	if _, err := ParseEOF([]byte("\xfe\x00")); err != ErrShort {
		t.Error(err)
	}
	for _, c := range []struct {
		p       string
		n       int
		defined bool
		ok      bool
	}{{"\x01", 1, true, true}, {"\x05\x00", 5, false, true}, {"\x05\x01", 5, true, true}, {"\xfc\x00\x02", 512, true, true}, {"\x00", 0, false, false},
		{"\xfb", 0, false, false}, {"\xff", 0, false, false}, {"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", 0, false, false}, {"\x05\x00\x00", 0, false, false}, {"", 0, false, false}} {
		n, defined, err := ParseColumns([]byte(c.p))
		if n != c.n || defined != c.defined || (err == nil) != c.ok {
			t.Errorf("%q: %d, %v, %v", c.p, n, defined, err)
		}
	}
}

func TestCheck(t *testing.T) {
	packet := func(seq byte, s string) string { return string([]byte{byte(len(s)), byte(len(s) >> 8), 0, seq}) + s }
	for _, c := range []struct {
		name, p       string
		strict, loose Shape
	}{
		{"greeting", string(raw(t, greeting8)), IsGreeting, IsGreeting},
		{"greeting of MariaDB", string(raw(t, greetingM)), IsGreeting, IsGreeting},
		{"login", string(raw(t, login8)), IsLogin, IsLogin},
		{"login, cut", string(raw(t, login8)[:100]), IsLogin, IsLogin},
		{"demand for TLS", string(raw(t, sslAsk)), IsLogin, IsLogin},
		{"query", string(raw(t, query8)), IsRequest, IsRequest},
		{"query, cut", packet(0, "\x03select * from t")[:12], IsRequest, IsRequest},
		{"query, cut within its verb", "\x99\x00\x00\x00\x03sel", Maybe, Maybe},
		{"two queries", packet(0, "\x03select 1") + packet(0, "\x03select 2"), IsRequest, IsRequest},
		{"query and something else", packet(0, "\x03select 1") + "abcdefgh", No, No},
		{"no SQL", packet(0, "\x03hello world"), No, No},
		{"execute", string(raw(t, execute)), IsRequest, IsRequest},
		{"execute with strange flags", string(strings.Replace(string(raw(t, execute)), "\x60\x00\x00\x00\x00", "\x60\x00\x00\x00\xf0", 1)), No, No},
		{"close", string(raw(t, closeStmt)), No, IsRequest},
		{"ping", packet(0, "\x0e"), No, IsRequest},
		{"use", packet(0, "\x02shop"), No, IsRequest},
		{"option", packet(0, "\x1b\x00\x00"), No, IsRequest},
		{"fetch", packet(0, "\x1c\x01\x00\x00\x00\x01\x00\x00\x00"), No, IsRequest},
		{"refusal", packet(0, "\xff\x10\x04Too many connections"), No, IsGreeting},
		{"header alone", "\x10\x00\x00\x00", Maybe, Maybe},
		{"answer", string(raw(t, ok5)), No, No},
		{"nothing", "", No, No},
		{"zeros", "\x00\x00\x00\x00\x00\x00", No, No},
		{"HTTP", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", No, No},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", No, No},
	} {
		if s, l := Check([]byte(c.p), false), Check([]byte(c.p), true); s != c.strict || l != c.loose {
			t.Errorf("%s: %d, %d, want %d, %d", c.name, s, l, c.strict, c.loose)
		}
	}
	for _, p := range []string{ok5, errNoDB, prepareOK, resultset, "05000001fe00002200", "05000001fb2f746d70"} {
		if CheckResponse(raw(t, p)) != IsResponse {
			t.Errorf("%s is no response", p)
		}
	}
	for _, p := range []string{"", "01", "01000001"} {
		if CheckResponse(raw(t, p)) != Maybe {
			t.Errorf("%s may be no response", p)
		}
	}
	for _, p := range []string{"01000002", greeting8, query8, okSchema, "05000002fe00002200", "ff00000141414141"} {
		if CheckResponse(raw(t, p)) != No {
			t.Errorf("%s is a response", p)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	g, l, q, o, e := raw(t, greeting8), raw(t, login8), raw(t, query8), body(t, okSchema), body(t, errNoDB)
	var (
		greeting Greeting
		login    Login
		request  Request
		ok       OK
		fail     Err
	)
	if n := testing.AllocsPerRun(100, func() {
		ParseGreeting(g[HeaderLen:], &greeting)
		ParseLogin(l[HeaderLen:], &login)
		it := login.Attributes()
		for _, _, ok := it.Next(); ok; _, _, ok = it.Next() {
		}
		ParseRequest(q[HeaderLen:], CapQueryAttributes, CapsKnown, &request)
		ParseOK(o, &ok)
		ParseErr(e, &fail)
		if Check(g, false) != IsGreeting || Check(l, false) != IsLogin || Check(q, false) != IsRequest || !fail.ClientFault() {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: no panic; views lie within the input.
func FuzzParse(f *testing.F) {
	for _, s := range []string{greeting8, greetingM, login8, sslAsk, query8, execute, closeStmt, okSchema, okInfo, ok5, errNoDB, prepareOK, resultset} {
		f.Add(raw(f, s), uint32(0xffffffff))
	}
	f.Add([]byte("....\x03\x01\x01\x00\x01\xfd\x00\x0btraceparent\x0700-1-23select 1"), uint32(0))
	f.Fuzz(func(t *testing.T, p []byte, caps uint32) {
		Check(p, false)
		Check(p, true)
		CheckResponse(p)
		if len(p) < HeaderLen {
			return
		}
		b := p[HeaderLen:]
		var (
			greeting Greeting
			login    Login
			request  Request
			ok       OK
			fail     Err
			prepared Prepared
		)
		ParseGreeting(b, &greeting)
		ParseLogin(b, &login)
		n := 0
		for it := login.Attributes(); ; n++ {
			if _, _, ok := it.Next(); !ok {
				break
			}
		}
		for _, known := range []Known{CapsUnknown, CapsKnown} {
			ParseRequest(b, caps, known, &request)
			for it := request.Attributes(); ; n++ {
				if _, _, ok := it.Next(); !ok {
					break
				}
			}
		}
		ParseOK(b, &ok)
		ParseErr(b, &fail)
		fail.ClientFault()
		ParseEOF(b)
		ParsePrepared(b, &prepared)
		ParseColumns(b)
		if n > 4*len(p)+2*1024 || len(ok.Info)+len(request.Text)+len(login.User) > 3*len(p) {
			t.Fatalf("too much from %d bytes", len(p))
		}
	})
}

package postgresql

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// msg is a message of this type.
func msg(typ byte, body string) string {
	return string(typ) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

// first is a message without type.
func first(code uint32, body string) string {
	p := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return string(binary.BigEndian.AppendUint32(p, code)) + body
}

const (
	startup = "user\x00app\x00database\x00shop\x00application_name\x00psql\x00\x00"
	bind    = "\x00S_1\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01a\xff\xff\xff\xff\x00\x00"
	fields  = "SERROR\x00VERROR\x00C42P01\x00Mrelation \"x\" does not exist\x00P15\x00\x00"
)

var ready = msg(ReadyForQuery, "I")

func TestStartup(t *testing.T) {
	for _, c := range []struct{ name, p, want string }{
		{"startup", first(CodeStartup, startup), `30000 "app" "shop" "psql" 0`},
		{"minor version", first(CodeStartup|2, startup), `30002 "app" "shop" "psql" 0`},
		{"TLS", first(CodeSSL, ""), `4d2162f "" "" "" 0`},
		{"GSS", first(CodeGSS, ""), `4d21630 "" "" "" 0`},
		{"cancel", first(CodeCancel, "\x00\x00\x00\x05....."), `4d2162e "" "" "" 5`},
		{"binary", first(CodeStartup, "user\x00\x01\x00\x00"), "not a PostgreSQL message"},
		{"cut", first(CodeStartup, startup)[:20], "PostgreSQL message cut short"},
		{"short", "\x00\x00", "PostgreSQL message cut short"},
	} {
		var m Startup
		got := ""
		if err := ParseStartup([]byte(c.p), &m); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%x %q %q %q %d", m.Code, m.User, m.Database, m.Application, m.PID)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	for p, want := range map[string]int{
		first(CodeStartup, startup): 8 + len(startup), first(CodeSSL, ""): 8, first(CodeSSL, "x"): 0, first(CodeCancel, "x"): 0, first(2<<16, "x"): 0,
		"\x00\x00\x00\x07\x00\x03\x00\x00": 0, "\x7f\x00\x00\x07\x00\x03\x00\x00": 0,
	} {
		if _, whole := StartupHeader([]byte(p)); whole != want {
			t.Errorf("%q: %d, want %d", p, whole, want)
		}
	}
}

func TestMessages(t *testing.T) {
	if typ, whole := Header([]byte(msg(Query, "select 1\x00"))); typ != Query || whole != 14 {
		t.Error(typ, whole)
	}
	for _, p := range []string{"Q\x00\x00\x00\x03", "Q\x7f\x00\x00\x00"} {
		if _, whole := Header([]byte(p)); whole != 0 {
			t.Errorf("%q: %d", p, whole)
		}
	}
	if q := ParseQuery([]byte("select 1\x00")); string(q) != "select 1" {
		t.Errorf("%q", q)
	}
	if q := ParseQuery([]byte("select cut")); string(q) != "select cut" {
		t.Errorf("%q", q)
	}
	if name, sql, err := ParseParse([]byte("s1\x00select $1\x00\x00\x01\x00\x00\x00\x17")); string(name) != "s1" || string(sql) != "select $1" || err != nil {
		t.Errorf("%q %q %v", name, sql, err)
	}
	if _, _, err := ParseParse([]byte("s1")); err != ErrShort {
		t.Error(err)
	}
	if portal, stmt, n, err := ParseBind([]byte(bind)); len(portal) != 0 || string(stmt) != "S_1" || n != 2 || err != nil {
		t.Errorf("%q %q %d %v", portal, stmt, n, err)
	}
	if _, _, n, err := ParseBind([]byte(bind[:6])); n != -1 || err != nil {
		t.Error(n, err)
	}
	if _, _, _, err := ParseBind([]byte("p\x00s")); err != ErrShort {
		t.Error(err)
	}
	if portal, err := ParseExecute([]byte("p\x00\x00\x00\x00\x00")); string(portal) != "p" || err != nil {
		t.Errorf("%q %v", portal, err)
	}
	if _, err := ParseExecute(nil); err != ErrShort {
		t.Error(err)
	}
	if kind, name, err := ParseName([]byte("Sx\x00")); kind != 'S' || string(name) != "x" || err != nil {
		t.Errorf("%c %q %v", kind, name, err)
	}
	if code, err := ParseAuthentication([]byte("\x00\x00\x00\x0a")); code != 10 || err != nil {
		t.Error(code, err)
	}
	if name, value := ParseParameter([]byte("TimeZone\x00UTC\x00")); string(name) != "TimeZone" || string(value) != "UTC" {
		t.Errorf("%q %q", name, value)
	}
	if ch := ParseNotification([]byte("\x00\x00\x00\x01jobs\x00x\x00")); string(ch) != "jobs" {
		t.Errorf("%q", ch)
	}
}

func TestTag(t *testing.T) {
	for tag, want := range map[string]int64{
		"SELECT 5": 5, "INSERT 0 12": 12, "UPDATE 0": 0, "COPY 100": 100, "CREATE TABLE": -1, "BEGIN": -1, "": -1, "7": -1, "X7": -1,
		"SELECT 1234567890123456789": -1,
	} {
		if got, rows := ParseTag([]byte(tag + "\x00")); string(got) != tag || rows != want {
			t.Errorf("%q: %q %d", tag, got, rows)
		}
	}
}

func TestError(t *testing.T) {
	var m Error
	if err := ParseError([]byte(fields), &m); err != nil || string(m.State) != "42P01" || string(m.Message) != `relation "x" does not exist` || string(m.Severity) != "ERROR" {
		t.Errorf("%+v, %v", m, err)
	}
	if err := ParseError([]byte("SERROR\x00\x00"), &m); err != ErrMalformed {
		t.Error(err)
	}
	for state, want := range map[string][2]bool{
		"42P01": {true, false}, "42601": {true, true}, "22P02": {true, true}, "23505": {true, false}, "28P01": {true, false}, "57014": {true, false},
		"57P01": {false, false}, "53300": {false, false}, "40001": {false, false}, "XX000": {false, false}, "08006": {false, false}, "55P03": {false, false},
		"P0001": {true, false}, "": {false, false},
	} {
		m := Error{State: []byte(state)}
		if m.ClientFault() != want[0] || m.Repeats() != want[1] {
			t.Errorf("%s: client %v, repeats %v", state, m.ClientFault(), m.Repeats())
		}
	}
}

func TestCheck(t *testing.T) {
	execute, sync := msg(Execute, "\x00\x00\x00\x00\x00"), msg(Sync, "")
	for _, c := range []struct {
		name, p        string
		client, server Shape
	}{
		{"startup", first(CodeStartup, startup), IsRequest, No},
		{"startup, cut", first(CodeStartup, startup)[:20], IsRequest, No},
		{"startup, cut early", first(CodeStartup, startup)[:6], Maybe, No},
		{"TLS", first(CodeSSL, ""), IsRequest, No},
		{"TLS and more", first(CodeSSL, "") + "x", No, No},
		{"cancel", first(CodeCancel, "12345678"), IsRequest, No},
		{"query", msg(Query, "select 1\x00"), IsRequest, No},
		{"query, cut", msg(Query, "select 1 from t where x = 1\x00")[:16], IsRequest, No},
		{"query, cut in its verb", msg(Query, "select 1\x00")[:7], Maybe, No},
		{"query without end", msg(Query, "select 1"), No, No},
		{"no SQL", msg(Query, "hello\x00"), No, No},
		{"parse", msg(Parse, "\x00select $1\x00\x00\x00") + msg(Bind, bind) + execute + sync, IsRequest, No},
		{"parse and something else", msg(Parse, "\x00select $1\x00\x00\x00") + "~~~~~~", No, No},
		{"bind", msg(Bind, bind) + execute + sync, IsRequest, No},
		{"bind alone", msg(Bind, bind), No, No},
		{"bind with wrong lengths", msg(Bind, bind+"x") + execute + sync, No, No},
		{"execute", execute + sync, No, No},
		{"an answer", msg(BindComplete, "") + msg(CommandComplete, "UPDATE 1\x00") + ready, No, IsResponse},
		{"an error", msg(ErrorResponse, fields) + ready, No, IsResponse},
		{"an answer without end", msg(BindComplete, "") + msg(CommandComplete, "UPDATE 1\x00"), No, No},
		{"an answer and more", msg(CommandComplete, "UPDATE 1\x00") + ready + "x", No, No},
		{"in no known state", msg(CommandComplete, "UPDATE 1\x00") + msg(ReadyForQuery, "x"), No, No},
		{"ready", ready, No, No},
		{"nothing", "", No, No},
		{"zeros", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", No, No},
		{"HTTP", "PUT / HTTP/1.1\r\n\r\n", No, No},
		{"HTTP again", "HTTP/1.1 200 OK\r\n\r\n", No, No},
	} {
		if cl, sv := CheckClient([]byte(c.p)), CheckServer([]byte(c.p)); cl != c.client || sv != c.server {
			t.Errorf("%s: %d, %d, want %d, %d", c.name, cl, sv, c.client, c.server)
		}
	}
	for _, c := range []struct {
		p              string
		client, server bool
	}{
		{execute + sync, true, false}, {sync, true, false}, {msg(DataRow, "\x00\x01\x00\x00\x00\x01x"), true, true}, {ready, false, true},
		{msg(BindComplete, ""), false, true}, {msg(BindComplete, "x"), false, false}, {msg(CopyData, "xyz")[:6], true, true},
		{msg(CommandComplete, "UPDATE 1\x00")[:7], false, false}, {"abcdefg", false, false}, {"D\x7f\x00\x00\x00x", false, false},
	} {
		if cl, sv := Again([]byte(c.p), false), Again([]byte(c.p), true); (cl == IsRequest) != c.client || (sv == IsResponse) != c.server {
			t.Errorf("%q: %v, %v", c.p, cl, sv)
		}
	}
	if Again([]byte("T\x00"), true) != Maybe || Again([]byte("\x01\x00"), true) != No || Again(nil, true) != Maybe {
		t.Error("the beginning of a header")
	}
}

func TestNoAllocation(t *testing.T) {
	st := []byte(first(CodeStartup, startup))
	p := []byte(msg(Parse, "\x00select $1\x00\x00\x00") + msg(Bind, bind) + msg(Execute, "\x00\x00\x00\x00\x00") + msg(Sync, ""))
	a := []byte(msg(BindComplete, "") + msg(CommandComplete, "UPDATE 1\x00") + ready)
	b, f := []byte(bind), []byte(fields)
	var (
		s Startup
		e Error
	)
	if n := testing.AllocsPerRun(100, func() {
		ParseStartup(st, &s)
		ParseBind(b)
		ParseError(f, &e)
		if CheckClient(st) != IsRequest || CheckClient(p) != IsRequest || CheckServer(a) != IsResponse || !e.ClientFault() || Again(a, true) != IsResponse {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: no panic; what is found is no more than there is.
func FuzzParse(f *testing.F) {
	for _, s := range []string{first(CodeStartup, startup), first(CodeSSL, ""), first(CodeCancel, "12345678"), msg(Query, "select 1\x00"), msg(Bind, bind),
		msg(Parse, "s\x00select $1\x00\x00\x00") + msg(Bind, bind) + msg(Execute, "\x00\x00\x00\x00\x00") + msg(Sync, ""),
		msg(BindComplete, "") + msg(CommandComplete, "UPDATE 1\x00") + ready, msg(ErrorResponse, fields) + ready, msg(Notification, "\x00\x00\x00\x01jobs\x00x\x00")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		CheckClient(p)
		CheckServer(p)
		Again(p, false)
		Again(p, true)
		var s Startup
		ParseStartup(p, &s)
		if len(p) < HeaderLen {
			return
		}
		Header(p)
		if len(p) >= StartupHeaderLen {
			StartupHeader(p)
		}
		b := p[HeaderLen:]
		var e Error
		name, sql, _ := ParseParse(b)
		portal, stmt, n, _ := ParseBind(b)
		tag, rows := ParseTag(b)
		ParseQuery(b)
		ParseExecute(b)
		ParseName(b)
		ParseAuthentication(b)
		ParseParameter(b)
		ParseNotification(b)
		if ParseError(b, &e) == nil {
			e.ClientFault()
		}
		if len(name)+len(sql) > len(b) || len(portal)+len(stmt) > len(b) || len(tag) > len(b) || rows < -1 || n < -1 || n > 1<<16 {
			t.Fatalf("too much from %d bytes", len(p))
		}
	})
}

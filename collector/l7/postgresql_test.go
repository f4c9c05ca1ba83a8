package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// pm is a message of PostgreSQL.
func pm(typ byte, body string) string {
	return string(typ) + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
}

// ps is a first message.
func ps(code uint32, body string) string {
	p := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return string(binary.BigEndian.AppendUint32(p, code)) + body
}

const (
	pgStart  = "user\x00app\x00database\x00shop\x00application_name\x00billing\x00\x00"
	pgParsed = "1\x00\x00\x00\x04"
	pgBound  = "2\x00\x00\x00\x04"
	pgSync   = "S\x00\x00\x00\x04"
	pgReady  = "Z\x00\x00\x00\x05I"
	pgFail   = "Z\x00\x00\x00\x05E"
	pgSSL    = 1234<<16 | 5679
	pgGSS    = 1234<<16 | 5680
)

func pgText(sql string) string        { return pm('Q', sql+"\x00") }
func pgParse(name, sql string) string { return pm('P', name+"\x00"+sql+"\x00\x00\x00") }
func pgRun(portal string) string      { return pm('E', portal+"\x00\x00\x00\x00\x00") }
func pgDone(tag string) string        { return pm('C', tag+"\x00") }
func pgRow(v string) string           { return pm('D', "\x00\x01\x00\x00\x00"+string(rune(len(v)))+v) }

// pgBindTo binds a statement with one parameter.
func pgBindTo(portal, name string) string {
	return pm('B', portal+"\x00"+name+"\x00\x00\x00\x00\x01\x00\x00\x00\x017\x00\x00")
}

func pgError(state, message string) string {
	return pm('E', "SERROR\x00VERROR\x00C"+state+"\x00M"+message+"\x00\x00")
}

func newPgTalk(t *testing.T, o Options) *talk {
	t.Helper()
	o.Protocols = []Protocol{PostgreSQL, TLS}
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 5432)
	return k
}

const pgTwo = "T\x00\x00\x00\x06\x00\x00" // of no columns

func TestPostgreSQLLogin(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.client(ps(pgSSL, ""))
	k.server("N")
	k.client(ps(pgGSS, ""))
	k.server("N")
	k.client(ps(3<<16, pgStart))
	k.server(pm('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"))
	k.client(pm('p', "SCRAM-SHA-256\x00\x00\x00\x00\x04abcd"))
	k.server(pm('R', "\x00\x00\x00\x0bxyz"))
	k.client(pm('p', "secret"))
	k.server(pm('R', "\x00\x00\x00\x0cv=1") + pm('R', "\x00\x00\x00\x00") + pm('S', "server_version\x0016.1\x00") + pm('S', "TimeZone\x00UTC\x00") + pm('K', "12345678") + pgReady)
	e := k.one()
	if got := myExchange(&e); got != "session STARTUP shopLogin username: app db: shop > -1 ok [Login username: app db: shop] id=-1 rows=-1 bytes=57/71" {
		t.Error(got)
	}
	if got := fmt.Sprint(e.Attributes); got != "[{application_name billing} {db_user app} {server_version 16.1}]" {
		t.Error(got)
	}
	k.client(pgText("select 1"))
	k.server(pgTwo + pgRow("1") + pgDone("SELECT 1") + pgReady)
	k.client(pm('X', ""))
	k.wantRows("session QUERY shopselect ? > -1 ok [SELECT] id=-1 rows=1 bytes=14/39 (SELECT 1)",
		"request TERMINATE shop > -1 ok [] id=-1 rows=-1 bytes=5/-1")
	k.sound()

	k = newPgTalk(t, Options{})
	k.client(ps(3<<16, pgStart))
	k.server(pm('R', "\x00\x00\x00\x03"))
	k.client(pm('p', "secret\x00"))
	k.server(pgError("28P01", `password authentication failed for user "app"`))
	k.wantRows(`session STARTUP shopLogin username: app db: shop > -1 client_error [Login username: app db: shop] id=-1 rows=-1 bytes=57/74 (password authentication failed for user "app")`)

	k = newPgTalk(t, Options{}) // the database is looked for when the user is in
	k.client(ps(3<<16, pgStart))
	k.server(pm('R', "\x00\x00\x00\x00") + pgError("3D000", `database "shop" does not exist`))
	k.wantRows(`session STARTUP shopLogin username: app db: shop > -1 client_error [Login username: app db: shop] id=-1 rows=-1 bytes=57/68 (database "shop" does not exist)`)

	k = newPgTalk(t, Options{})
	k.client(ps(1234<<16|5678, "\x00\x00\x00\x2a1234"))
	k.wantRows("request CANCEL  > -1 ok [] id=42 rows=-1 bytes=16/-1")
}

func TestPostgreSQLBecomesTLS(t *testing.T) {
	for code, yes := range map[uint32]string{pgSSL: "S", pgGSS: "G"} {
		k := newPgTalk(t, Options{})
		k.client(ps(code, ""))
		k.server(yes)
		k.client("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		k.wantRows()
		if !k.c.off && k.c.Proto != TLS {
			t.Errorf("still %s", k.c.Proto)
		}
	}
}

func TestPostgreSQLQueries(t *testing.T) {
	const q = "select a from t"
	for _, c := range []struct{ name, sql, rsp, want string }{
		{"rows", q, pgTwo + strings.Repeat(pgRow("x"), 300) + pgDone("SELECT 300") + pgReady, "ok [SELECT t] id=-1 rows=300 bytes=21/%d (SELECT 300)"},
		{"notices", q, pm('N', "SNOTICE\x00\x00") + pgTwo + pm('S', "a\x00b\x00") + pgDone("SELECT 0") + pgReady, "ok [SELECT t] id=-1 rows=0 bytes=21/%d (SELECT 0)"},
		{"several", "select a from t; update t set a=1", pgTwo + pgRow("x") + pgDone("SELECT 1") + pgDone("UPDATE 5") + pgReady, "ok [SELECT t] id=-1 rows=6 bytes=39/%d (UPDATE 5)"},
		{"the second fails", "update t set a=1; x", pgDone("UPDATE 5") + pgError("42601", `syntax error at or near "x"`) + pgReady, `client_error [UPDATE t] id=-1 rows=5 bytes=25/%d (syntax error at or near "?"UPDATE 5)`},
		{"no rows to count", "begin", pgDone("BEGIN") + "Z\x00\x00\x00\x05T", "ok [BEGIN] id=-1 rows=-1 bytes=11/%d (BEGIN)"},
		{"the client's fault", q, pgError("42P01", `relation "t" does not exist`) + pgReady, `client_error [SELECT t] id=-1 rows=-1 bytes=21/%d (relation "t" does not exist)`},
		{"the server's", q, pgError("40P01", "deadlock detected") + pgReady, "server_error [SELECT t] id=-1 rows=-1 bytes=21/%d (deadlock detected)"},
		{"after some rows", q, pgTwo + pgRow("x") + pgError("57P01", "terminating connection") + pgReady, "server_error [SELECT t] id=-1 rows=-1 bytes=21/%d (terminating connection)"},
		{"a copy to the client", "copy t to stdout", pm('H', "\x00\x00\x00") + strings.Repeat(pm('d', "x\n"), 100) + pm('c', "") + pgDone("COPY 100") + pgReady, "ok [COPY t] id=-1 rows=100 bytes=22/%d (COPY 100)"},
	} {
		for _, split := range []int{0, 1, 6, 50} {
			k := newPgTalk(t, Options{})
			k.client(pgText(c.sql))
			rsp := c.rsp
			for split > 0 && len(rsp) > split {
				k.server(rsp[:split])
				rsp = rsp[split:]
			}
			k.server(rsp)
			received := len(c.rsp)
			if strings.Contains(c.want, "error") {
				received -= len(pgReady)
			}
			if c.name == "notices" {
				received -= len(pm('N', "SNOTICE\x00\x00"))
			}
			if e := k.one(); !strings.HasSuffix(myExchange(&e), fmt.Sprintf(c.want, received)) {
				t.Errorf("%s, in pieces of %d: %s, want "+c.want, c.name, split, myExchange(&e), received)
			}
			k.sound()
		}
	}
}

func TestPostgreSQLCopyIn(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.client(pgText("copy t from stdin"))
	k.server(pm('G', "\x00\x00\x00"))
	for range 10 {
		k.client(strings.Repeat(pm('d', strings.Repeat("x", 1000)), 10))
	}
	k.client(pm('c', ""))
	k.server(pgDone("COPY 100") + pgReady)
	k.client(pgText("copy t from stdin"))
	k.server(pm('G', "\x00\x00\x00"))
	k.client(pm('d', "x") + pm('f', "no more\x00"))
	k.server(pgError("57014", "COPY from stdin failed: no more") + pgReady)
	k.client(pgText("select 1"))
	k.server(pgDone("SELECT 1") + pgReady)
	k.wantRows("session QUERY copy t from stdin > -1 ok [COPY t] id=-1 rows=100 bytes=100523/28 (COPY 100)",
		"session QUERY copy t from stdin > -1 client_error [COPY t] id=-1 rows=-1 bytes=29/68 (COPY from stdin failed: no more)",
		"session QUERY select ? > -1 ok [SELECT] id=-1 rows=1 bytes=14/20 (SELECT 1)")
	k.sound()
}

func TestPostgreSQLExtended(t *testing.T) {
	const sql = "select a from t where b=$1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"
	const st = "select a from t where b=?"
	k := newPgTalk(t, Options{})
	k.client(pgParse("", sql) + pgBindTo("", "") + pm('D', "P\x00") + pgRun("") + pgSync)
	k.server(pgParsed + pgBound + pgTwo + pgRow("x") + pgDone("SELECT 1") + pgReady)
	if e := k.rec.exchanges[0]; e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || fmt.Sprint(e.Attributes) != "[{statement_parameters 1}]" {
		t.Errorf("%+v", e)
	}
	k.client(pgParse("s1", sql) + pm('D', "Ss1\x00") + pgSync) // prepared first, run twice, once by a portal with a name
	k.server(pgParsed + pm('t', "\x00\x01\x00\x00\x00\x17") + pgTwo + pgReady)
	k.client(pgBindTo("", "s1") + pgRun("") + pgSync)
	k.server(pgBound + pgRow("x") + pgRow("y") + pgDone("SELECT 2") + pgReady)
	k.client(pgBindTo("p", "s1") + pgRun("p") + pgRun("p") + pgSync)
	k.server(pgBound + pgRow("x") + pm('s', "") + pgRow("x") + pgDone("SELECT 1") + pgReady)
	k.client(pm('C', "Ss1\x00") + pgSync)
	k.server(pm('3', "") + pgReady)
	k.client(pgBindTo("", "s1") + pgRun("") + pgSync) // unknown now
	k.server(pgError("26000", `prepared statement "s1" does not exist`) + pgReady)
	for i, want := range []string{"4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736", "", ""} {
		if got := k.rec.exchanges[i].TraceID; got != want {
			t.Errorf("trace id of %d is %q", i, got)
		}
	}
	k.wantRows("session EXECUTE "+st+" > -1 ok [SELECT t] id=-1 rows=1 bytes=144/43 (SELECT 1)",
		"session PARSE "+st+" > -1 ok [SELECT t] id=-1 rows=-1 bytes=125/5",
		"session EXECUTE "+st+" > -1 ok [SELECT t] id=-1 rows=2 bytes=30/43 (SELECT 2)",
		"session EXECUTE "+st+" > -1 ok [SELECT t] id=-1 rows=1 bytes=32/22",
		"session EXECUTE "+st+" > -1 ok [SELECT t] id=-1 rows=1 bytes=11/26 (SELECT 1)",
		`session EXECUTE  > -1 client_error [] id=-1 rows=-1 bytes=30/67 (prepared statement "s1" does not exist)`)
	k.sound()
}

// TestPostgreSQLPipeline: several groups of several statements under way at once; an error ends its group only.
func TestPostgreSQLPipeline(t *testing.T) {
	one := func(table string) string {
		return pgParse("", "insert into "+table+" values ($1)") + pgBindTo("", "") + pgRun("")
	}
	good := pgParsed + pgBound + pgDone("INSERT 0 1")
	bad := pgParsed + pgBound + pgError("23505", "duplicate key")
	k := newPgTalk(t, Options{})
	k.client(one("a") + one("b") + pgSync + one("c") + one("d") + one("e") + pgSync + pm('C', "Sx\x00") + pgSync + one("f") + pgSync)
	k.server(good + good + pgReady + good + bad + pgReady + pm('3', "") + pgReady + good + pgReady)
	var got []string
	for i := range k.rec.exchanges {
		e := &k.rec.exchanges[i]
		got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Endpoint, e.Status))
	}
	if s := strings.Join(got, ", "); s != "session INSERT a ok, session INSERT b ok, session INSERT c ok, session INSERT d client_error, request INSERT e unknown, session INSERT f ok" {
		t.Error(s)
	}
	k.sound()

	k = newPgTalk(t, Options{MaxPending: 2}) // of those given up the responses are known
	k.client(one("a") + one("b") + one("c") + one("d") + pgSync)
	k.server(good + good + good + good + pgReady)
	k.client(one("e") + pgSync)
	k.server(good + pgReady)
	got = nil
	for i := range k.rec.exchanges {
		e := &k.rec.exchanges[i]
		got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Endpoint, e.Status))
	}
	if s := strings.Join(got, ", "); s != "request INSERT a unknown, request INSERT b unknown, session INSERT c ok, session INSERT d ok, session INSERT e ok" {
		t.Error(s)
	}
}

func TestPostgreSQLOthers(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.client(pgText("listen jobs"))
	k.server(pgDone("LISTEN") + pgReady)
	k.rec.exchanges = nil
	k.server(pm('A', "\x00\x00\x00\x01jobs\x00payload\x00"))
	e := k.one()
	if got := myExchange(&e); got != "response NOTIFY jobs > -1 ok [] id=-1 rows=-1 bytes=-1/22" || !e.ServerInitiated {
		t.Error(got)
	}
	k.client(pm('F', "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"))
	k.server(pm('V', "\x00\x00\x00\x00") + pgReady)
	k.client(pgText(""))
	k.server(pm('I', "") + pgReady)
	k.client(pgText("start_replication slot s"))
	k.server(pm('W', "\x00\x00\x00"))
	k.server(pm('d', "wal") + pm('d', "wal"))
	k.client(pm('d', "status"))
	k.wantRows("session FUNCTION_CALL  > -1 ok [] id=-1 rows=-1 bytes=15/15",
		"session QUERY  > -1 ok [] id=-1 rows=-1 bytes=6/11",
		"session QUERY start_replication slot s > -1 ok [] id=-1 rows=-1 bytes=30/8")
}

func TestPostgreSQLTimeout(t *testing.T) {
	k := newPgTalk(t, Options{Timeouts: map[Protocol]time.Duration{PostgreSQL: time.Second}})
	k.client(pgText("select 1 from a"))
	k.tr.Tick(2e9)
	k.server(pgTwo + pgRow("x") + pgDone("SELECT 1") + pgReady)
	k.client(pgText("select 1 from b"))
	for range 8 {
		k.time += 3e8
		k.server(pgRow("x"))
		k.tr.Tick(k.time)
	}
	k.server(pgDone("SELECT 8") + pgReady)
	k.wantRows("request QUERY select ? from a > -1 timeout [SELECT a] id=-1 rows=-1 bytes=21/-1",
		"session QUERY select ? from b > -1 ok [SELECT b] id=-1 rows=8 bytes=21/116 (SELECT 8)")
}

// TestPostgreSQLHoles: what is lost of a response is not waited for, and not taken for another's.
func TestPostgreSQLHoles(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.client(pgText("select 1 from a"))
	k.server(pgTwo + pgRow("x"))
	k.skip(Server, 100)
	k.client(pgText("select 1 from b"))
	k.server(pgTwo + pgRow("x") + pgDone("SELECT 1") + pgReady)
	k.time += 2e9
	k.tr.Tick(k.time)
	k.client(pgText("select 1 from c"))
	k.server(pgTwo + pgRow("x") + pgRow("x") + pgDone("SELECT 2") + pgReady)
	k.c.Close(k.time)
	k.wantRows("session QUERY select ? from a > -1 ok [SELECT a] id=-1 rows=-1 bytes=21/-1",
		"session QUERY select ? from b > -1 ok [SELECT b] id=-1 rows=1 bytes=21/39 (SELECT 1)",
		"session QUERY select ? from c > -1 ok [SELECT c] id=-1 rows=2 bytes=21/51 (SELECT 2)")
}

// TestPostgreSQLMiddle: a connection that is seen from its middle on, from either side.
func TestPostgreSQLMiddle(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.server("xx" + pgRow("x") + pgDone("SELECT 1") + pgReady)
	k.server(pgBound + pgDone("UPDATE 3") + pgReady)
	k.client(pgBindTo("", "S_1") + pgRun("") + pgSync)
	k.server(pgBound + pgDone("UPDATE 4") + pgReady)
	k.wantRows("response   > -1 ok [] id=-1 rows=3 bytes=-1/-1 (UPDATE 3)",
		"session EXECUTE  > -1 ok [] id=-1 rows=4 bytes=31/19 (UPDATE 4)")
}

func TestPostgreSQLLiterals(t *testing.T) {
	const sql = "select 'x'\n from t"
	for keep, want := range map[bool]string{false: "select ? from t", true: sql} {
		k := newPgTalk(t, Options{KeepLiterals: keep})
		k.client(pgText(sql))
		k.server(pgError("22P02", `invalid input syntax for type integer: "x"`) + pgReady)
		e := k.one()
		if e.RequestResource != want || strings.Contains(e.ResponseException, `"x"`) != keep {
			t.Errorf("keep %v: %+v", keep, e)
		}
	}
}

// TestPostgreSQLBounded: what is remembered of portals and statements is bounded.
func TestPostgreSQLBounded(t *testing.T) {
	k := newPgTalk(t, Options{})
	k.client(pgText("select 1"))
	for i := range 1000 {
		k.client(pgParse(fmt.Sprint("s", i), "select 1 from t") + pgBindTo(fmt.Sprint("p", i), fmt.Sprint("s", i)))
	}
	st := k.c.state.(*pgState)
	if len(st.portals) > maxPortals || len(st.stmts.m) > maxStatements || len(st.stmts.m) == 0 {
		t.Errorf("%d portals, %d statements", len(st.portals), len(st.stmts.m))
	}
}

// TestPostgreSQLAllocations: statements and their rows cost no allocation but the texts that are new.
func TestPostgreSQLAllocations(t *testing.T) {
	tr := NewTracker(Options{Protocols: []Protocol{PostgreSQL}}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 5432)
	q := []byte(pgParse("", "select a, b from orders where id in ($1)") + pgBindTo("", "") + pgRun("") + pgSync + pgText("select 1 from t where x = 'y'"))
	a := []byte(pgParsed + pgBound + pgTwo + strings.Repeat(pgRow("x"), 10) + pgDone("SELECT 10") + pgReady + pgTwo + pgRow("x") + pgDone("SELECT 1") + pgReady)
	var qs, as uint32
	turn := func() {
		c.Payload(Client, 1, qs, q, len(q))
		c.Payload(Server, 2, as, a, len(a))
		qs, as = qs+uint32(len(q)), as+uint32(len(a))
	}
	turn()
	if n := testing.AllocsPerRun(200, turn); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if m := tr.Metrics(); m.Responses < 400 || m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

// FuzzPostgreSQL plays both sides from any bytes: no panic, nothing is left behind.
func FuzzPostgreSQL(f *testing.F) {
	seed := func(parts ...string) {
		var b []byte
		for i, p := range parts {
			b = append(b, byte(i&1), byte(len(p)), byte(len(p)>>8))
			b = append(b, p...)
		}
		f.Add(b)
	}
	seed(pgText("select 1"), pgTwo+pgRow("x")+pgDone("SELECT 1")+pgReady, pm('X', ""))
	seed(pgParse("s", "select $1")+pgBindTo("p", "s")+pgRun("p")+pgSync, pgParsed+pgBound+pgError("42601", `near "x"`)+pgFail)
	seed(ps(pgSSL, ""), "N", ps(3<<16, pgStart), pm('R', "\x00\x00\x00\x00")+pm('S', "server_version\x0016\x00")+pgReady)
	f.Fuzz(func(t *testing.T, b []byte) { fuzzConn(t, PostgreSQL, 5432, b) })
}

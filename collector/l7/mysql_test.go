package l7

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/l7/mysql"
)

// mp is a MySQL packet.
func mp(seq int, body string) string {
	return string([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), byte(seq)}) + body
}

const (
	myGreeting = "\x0a8.0.26\x00\x01\x00\x00\x0012345678\x00\xff\xff\xff\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "123456789012\x00mysql_native_password\x00"
	myDef      = "\x03def\x01d\x01t\x01t\x01a\x01a\x0c\x21\x00\x40\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
	myEOF      = "\xfe\x00\x00\x22\x00"
	myOK       = "\x00\x00\x00\x02\x00\x00\x00"
	// The capabilities of logins.
	myCaps      = mysql.CapProtocol41 | mysql.CapSecureConnection | mysql.CapConnectWithDB | mysql.CapConnectAttrs
	myUnknown   = "\xff\x1a\x04#42000Unknown database 'x'"
	myDuplicate = "\xff\x26\x04#23000Duplicate entry 'a@b' for key 'mail'"
	myDeadlock  = "\xff\xbd\x04#40001Deadlock found"
)

// myLogin is a login.
func myLogin(caps uint32) string {
	s := string([]byte{byte(caps), byte(caps >> 8), byte(caps >> 16), byte(caps >> 24)}) + "\x00\x00\x00\x01\x21" + strings.Repeat("\x00", 23)
	return s + "app\x00\x03abcshop\x00" + "\x20\x0cprogram_name\x07billing\x05_pidx\x043210"
}

// myRows are a header, definitions, rows and their end, the first of which has the number seq.
func myRows(seq, columns, rows int, deprecateEOF bool, status string) string {
	var b strings.Builder
	add := func(body string) { b.WriteString(mp(seq, body)); seq = (seq + 1) & 255 }
	add(string(rune(columns)))
	for range columns {
		add(myDef)
	}
	if !deprecateEOF {
		add("\xfe\x00\x00\x02\x00")
	}
	for i := range rows {
		add(fmt.Sprintf("\x03%03d", i%1000))
	}
	if deprecateEOF {
		add("\xfe\x00\x00" + status + "\x00\x00")
	} else {
		add("\xfe\x00\x00" + status)
	}
	return b.String()
}

const (
	myDone = "\x02\x00"
	myMore = "\x0a\x00"
)

func newMySQLTalk(t *testing.T, o Options) *talk {
	t.Helper()
	o.Protocols = []Protocol{MySQL, TLS}
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 3306)
	return k
}

// myExchange is a line about an exchange.
func myExchange(e *Exchange) string {
	s := fmt.Sprintf("%s [%s] id=%d rows=%d bytes=%d/%d", brief(e), e.Endpoint, e.RequestID, e.AffectedRows, e.RequestBytes, e.ResponseBytes)
	if e.ResponseException != "" || e.ResponseResult != "" {
		s += " (" + e.ResponseException + e.ResponseResult + ")"
	}
	return s
}

// wantRows compares the exchanges since the last call.
func (k *talk) wantRows(lines ...string) {
	k.Helper()
	var got []string
	for i := range k.rec.exchanges {
		got = append(got, myExchange(&k.rec.exchanges[i]))
	}
	k.rec.exchanges = nil
	if g, w := strings.Join(got, "\n"), strings.Join(lines, "\n"); g != w {
		k.Errorf("exchanges:\n%s\nwant:\n%s", g, w)
	}
}

func (k *talk) sound() {
	k.Helper()
	if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs+m.WrongSide+m.Unpaired+m.LostPairing != 0 {
		k.Errorf("%+v", m)
	}
}

func TestMySQLLogin(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.server(mp(0, myGreeting))
	k.client(mp(1, myLogin(myCaps)))
	k.server(mp(2, "\xfemysql_native_password\x0012345678901234567890\x00"))
	k.client(mp(3, "12345678901234567890"))
	k.server(mp(4, myOK))
	e := k.one()
	if got := myExchange(&e); got != "session LOGIN shopLogin username: app db: shop > 0 ok [Login username: app db: shop] id=-1 rows=-1 bytes=82/11" {
		t.Error(got)
	}
	if got := fmt.Sprint(e.Attributes); got != "[{db_user app} {program_name billing} {server_version 8.0.26}]" {
		t.Error(got)
	}
	k.client(mp(0, "\x03select 1"))
	k.server(myRows(1, 1, 1, false, myDone))
	k.client(mp(0, "\x02other"))
	k.server(mp(1, myOK))
	k.client(mp(0, "\x03update t set a=1"))
	k.server(mp(1, "\x00\x05\x00\x02\x00\x00\x00"))
	k.client(mp(0, "\x01"))
	k.wantRows("session COM_QUERY shopselect ? > 0 ok [SELECT] id=-1 rows=1 bytes=13/62",
		"session COM_INIT_DB shopother > 0 ok [] id=-1 rows=0 bytes=10/11",
		"session COM_QUERY otherupdate t set a=? > 0 ok [UPDATE t] id=-1 rows=5 bytes=21/11",
		"request COM_QUIT other > -1 ok [] id=-1 rows=-1 bytes=5/-1")
	k.sound()
}

func TestMySQLLoginFails(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.server(mp(0, myGreeting))
	k.client(mp(1, myLogin(myCaps)))
	k.server(mp(2, "\xff\x15\x04#28000Access denied for user 'app'@'h'"))
	k.wantRows("session LOGIN shopLogin username: app db: shop > 1045 client_error [Login username: app db: shop] id=-1 rows=-1 bytes=82/45 (Access denied for user 'app'@'h')")

	k = newMySQLTalk(t, Options{}) // before anybody asks
	k.server(mp(0, "\xff\x10\x04Too many connections"))
	k.wantRows("response LOGIN  > 1040 server_error [] id=-1 rows=-1 bytes=-1/27 (Too many connections)")
}

func TestMySQLBecomesTLS(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.server(mp(0, myGreeting))
	k.client(mp(1, myLogin(myCaps | mysql.CapSSL)[:32]))
	k.client("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
	k.wantRows()
	if !k.c.off && k.c.Proto != TLS {
		t.Errorf("still %s", k.c.Proto)
	}
	k.sound()
}

func TestMySQLResults(t *testing.T) {
	q := mp(0, "\x03select a from t")
	for _, c := range []struct{ name, rsp, want string }{
		{"rows", myRows(1, 2, 3, false, myDone), "rows=3"},
		{"rows without EOF", myRows(1, 2, 3, true, myDone), "rows=3"},
		{"no rows", myRows(1, 1, 0, false, myDone), "rows=0"},
		{"no rows without EOF", myRows(1, 1, 0, true, myDone), "rows=0"},
		{"many", myRows(1, 1, 1000, true, myDone), "rows=1000"},
		{"two results", myRows(1, 1, 2, false, myMore) + myRows(8, 1, 3, false, myDone), "rows=5"},
		{"a result and an OK", myRows(1, 1, 2, true, myMore) + mp(6, "\x00\x07\x00\x02\x00\x00\x00"), "rows=9"},
		{"definitions left out", mp(1, "\x01\x00") + mp(2, myEOF) + mp(3, "\x01a") + mp(4, myEOF), "rows=1"},
	} {
		for _, split := range []int{0, 1, 3, 7, 100} {
			k := newMySQLTalk(t, Options{})
			k.client(q)
			rsp := c.rsp
			for split > 0 && len(rsp) > split {
				k.server(rsp[:split])
				rsp = rsp[split:]
				if split > 1 {
					split += 13
				}
			}
			k.server(rsp)
			want := fmt.Sprintf("%s bytes=20/%d", c.want, len(c.rsp))
			if e := k.one(); !strings.Contains(myExchange(&e), want) || e.Status != StatusOK {
				t.Errorf("%s, in pieces of %d: %s, want %s", c.name, split, myExchange(&e), want)
			}
			if m := k.tr.Metrics(); split == 0 && m.ParseFailures+m.Resyncs != 0 {
				t.Errorf("%s: %+v", c.name, m)
			}
		}
	}
}

func TestMySQLErrors(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	for _, rsp := range []string{mp(1, myUnknown), mp(1, myDuplicate), mp(1, myDeadlock), mp(1, "\x01") + mp(2, myDef) + mp(3, myEOF) + mp(4, "\x01a") + mp(5, myDeadlock)} {
		k.client(mp(0, "\x03select a from t"))
		k.server(rsp)
	}
	k.wantRows("session COM_QUERY select a from t > 1050 client_error [SELECT t] id=-1 rows=-1 bytes=20/33 (Unknown database 'x')",
		"session COM_QUERY select a from t > 1062 client_error [SELECT t] id=-1 rows=-1 bytes=20/49 (Duplicate entry '?' for key '?')",
		"session COM_QUERY select a from t > 1213 server_error [SELECT t] id=-1 rows=-1 bytes=20/27 (Deadlock found)",
		"session COM_QUERY select a from t > 1213 server_error [SELECT t] id=-1 rows=-1 bytes=20/78 (Deadlock found)")
	k.sound()
}

func TestMySQLPrepared(t *testing.T) {
	prepared := mp(1, "\x00\x05\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00") + mp(2, myDef) + mp(3, myDef) + mp(4, myEOF) + mp(5, myDef) + mp(6, myEOF)
	execute := func(id int) string { return mp(0, fmt.Sprintf("\x17%c\x00\x00\x00\x00\x01\x00\x00\x00\x00\x01", id)) }
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x16select a from t where b=? and c=? /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"))
	k.server(prepared)
	k.client(execute(5))
	k.server(myRows(1, 1, 2, false, myDone))
	first := k.rec.exchanges
	k.client(execute(5))
	k.server(myRows(1, 1, 1, true, myDone))
	k.client(execute(6)) // unknown
	k.server(mp(1, myOK))
	k.client(mp(0, "\x18\x05\x00\x00\x00\x00\x00data"))
	k.client(mp(0, "\x19\x05\x00\x00\x00"))
	k.client(execute(5))
	k.server(mp(1, myOK))
	if n := len(first); n != 2 || first[1].TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || k.rec.exchanges[2].TraceID != "" {
		t.Errorf("trace ids of %d exchanges", n)
	}
	if got := fmt.Sprint(first[1].Attributes); got != "[{statement_parameters 2}]" {
		t.Error(got)
	}
	const st = "select a from t where b=? and c=?"
	k.wantRows("session COM_STMT_PREPARE "+st+" > 0 ok [SELECT t] id=5 rows=-1 bytes=112/16",
		"session COM_STMT_EXECUTE "+st+" > 0 ok [SELECT t] id=5 rows=2 bytes=16/70",
		"session COM_STMT_EXECUTE "+st+" > 0 ok [SELECT t] id=5 rows=1 bytes=16/55",
		"session COM_STMT_EXECUTE  > 0 ok [] id=6 rows=0 bytes=16/11",
		"request COM_STMT_SEND_LONG_DATA  > -1 ok [] id=5 rows=-1 bytes=15/-1",
		"request COM_STMT_CLOSE  > -1 ok [] id=5 rows=-1 bytes=9/-1",
		"session COM_STMT_EXECUTE  > 0 ok [] id=5 rows=0 bytes=16/11")
	k.sound()
}

func TestMySQLCursor(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x16select a from t"))
	k.server(mp(1, "\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00") + mp(2, myDef) + mp(3, myEOF))
	k.client(mp(0, "\x17\x01\x00\x00\x00\x01\x01\x00\x00\x00"))
	k.server(mp(1, "\x01") + mp(2, myDef) + mp(3, "\xfe\x00\x00\x42\x00"))
	k.client(mp(0, "\x1c\x01\x00\x00\x00\x02\x00\x00\x00"))
	k.server(mp(1, "\x00\x00\x01a") + mp(2, "\x00\x00\x01b") + mp(3, "\xfe\x00\x00\x42\x00"))
	k.client(mp(0, "\x1c\x01\x00\x00\x00\x02\x00\x00\x00"))
	k.server(mp(1, "\xfe\x00\x00\x82\x00"))
	k.wantRows("session COM_STMT_PREPARE select a from t > 0 ok [SELECT t] id=1 rows=-1 bytes=20/16",
		"session COM_STMT_EXECUTE select a from t > 0 ok [SELECT t] id=1 rows=0 bytes=14/45",
		"session COM_STMT_FETCH  > 0 ok [] id=1 rows=2 bytes=13/25",
		"session COM_STMT_FETCH  > 0 ok [] id=1 rows=0 bytes=13/9")
	k.sound()
}

func TestMySQLInfile(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x03load data local infile '/x' into table t"))
	k.server(mp(1, "\xfb/x"))
	k.client(mp(2, "\x03select 1") + mp(0, "\x03select 2"))
	k.client(mp(1, ""))
	k.server(mp(5, "\x00\x09\x00\x02\x00\x00\x00Records: 9"))
	k.client(mp(0, "\x0e"))
	k.server(mp(1, myOK))
	k.wantRows("session COM_QUERY load data local infile ? into table t > 0 ok [LOAD t] id=-1 rows=9 bytes=45/28 (Records: 9)",
		"session COM_PING  > 0 ok [] id=-1 rows=0 bytes=5/11")
	k.sound()
}

// TestMySQLProgress: MariaDB reports on long statements in packets that look like errors.
func TestMySQLProgress(t *testing.T) {
	const report = "\xff\xff\xff\x01\x01\x02\x00\x00\x00\x09copy to t"
	k := newMySQLTalk(t, Options{})
	for range 2 {
		k.client(mp(0, "\x03alter table t add x int"))
		k.server(mp(1, report))
		k.server(mp(2, report) + mp(3, report))
		k.server(mp(4, "\x00\x07\x00\x02\x00\x00\x00"))
	}
	k.client(mp(0, "\x03load data local infile '/x' into table t"))
	k.server(mp(1, "\xfb/x"))
	k.client(mp(2, ""))
	k.server(mp(3, report) + mp(4, "\x00\x09\x00\x02\x00\x00\x00"))
	k.client(mp(0, "\x03select a from t"))
	k.server(mp(1, "\x01") + mp(2, myDef) + mp(3, myEOF) + mp(4, "\x01a") + mp(5, report) + mp(6, "\x01a") + mp(7, myEOF))
	k.wantRows("session COM_QUERY alter table t add x int > 0 ok [ALTER t] id=-1 rows=7 bytes=28/11",
		"session COM_QUERY alter table t add x int > 0 ok [ALTER t] id=-1 rows=7 bytes=28/11",
		"session COM_QUERY load data local infile ? into table t > 0 ok [LOAD t] id=-1 rows=9 bytes=45/18",
		"session COM_QUERY select a from t > 0 ok [SELECT t] id=-1 rows=2 bytes=20/89")
	k.sound()
}

func TestMySQLOthers(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x03select 1"))
	k.server(myRows(1, 1, 1, true, myDone))
	k.client(mp(0, "\x09"))
	k.server(mp(1, "Uptime: 5  Threads: 1"))
	k.client(mp(0, "\x04orders\x00"))
	k.server(mp(1, myDef) + mp(2, myDef) + mp(3, myEOF))
	k.client(mp(0, "\x1b\x00\x00"))
	k.server(mp(1, myEOF))
	k.client(mp(0, "\x03use other"))
	k.server(mp(1, myOK))
	k.client(mp(0, "\x11root\x00\x00"))
	k.server(mp(1, "\xfemysql_native_password\x0012345678901234567890\x00"))
	k.client(mp(2, "12345678901234567890"))
	k.server(mp(3, myOK))
	k.client(mp(0, "\x12\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00binlog"))
	k.server(mp(1, "\x00event one is long") + mp(2, "\x00event"))
	k.server(mp(3, "\x00event"))
	k.rec.exchanges = k.rec.exchanges[1:]
	k.wantRows("session COM_STATISTICS  > 0 ok [] id=-1 rows=-1 bytes=5/25",
		"session COM_FIELD_LIST orders > 0 ok [] id=-1 rows=-1 bytes=12/71",
		"session COM_SET_OPTION  > 0 ok [] id=-1 rows=-1 bytes=7/9",
		"session COM_QUERY use other > 0 ok [USE other] id=-1 rows=0 bytes=14/11",
		"session COM_CHANGE_USER Login username: root > 0 ok [Login username: root] id=-1 rows=0 bytes=11/11",
		"session COM_BINLOG_DUMP other > 0 ok [] id=-1 rows=-1 bytes=21/22")
	k.sound()
}

// TestMySQLLong: statements of more than MaxConnBuffer are read as far as they are there; those of more than one packet of
// 16 MiB are one.
func TestMySQLLong(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	long := "\x03insert into t values ('" + strings.Repeat("x", 40<<10) + "')"
	k.client(mp(0, long))
	k.server(mp(1, myOK))
	k.wantRows("session COM_QUERY insert into t values (?) > 0 ok [INSERT t] id=-1 rows=0 bytes=40990/11")

	huge := "\x03insert into t values ('" + strings.Repeat("x", mysql.MaxPayload-24)
	k.client(mp(0, huge))
	k.client(mp(1, "xxx')"))
	k.server(mp(1, myOK))
	k.client(mp(0, "\x03select 1"))
	k.server(mp(1, "\x01") + mp(2, myDef) + mp(3, myEOF) + mp(4, strings.Repeat("r", mysql.MaxPayload)) + mp(5, "rest") + mp(6, "\x01a") + mp(7, myEOF))
	k.wantRows("session COM_QUERY insert into t values (? > 0 ok [INSERT t] id=-1 rows=0 bytes=16777219/11",
		"session COM_QUERY select ? > 0 ok [SELECT] id=-1 rows=2 bytes=13/16777287")
	if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMySQLLiterals(t *testing.T) {
	const sql = "select 'x' /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/"
	for keep, want := range map[bool]string{false: "select ?", true: sql} {
		k := newMySQLTalk(t, Options{KeepLiterals: keep})
		k.client(mp(0, "\x03"+sql))
		k.server(mp(1, myOK))
		if e := k.one(); e.RequestResource != want || e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || e.SpanID != "00f067aa0ba902b7" {
			t.Errorf("keep %v: %+v", keep, e)
		}
		k.client(mp(0, "\x03create user u identified by 'secret'"))
		k.server(mp(1, myOK))
		if e := k.one(); e.RequestResource != "create user u identified by ?" {
			t.Errorf("keep %v: %s", keep, e.RequestResource)
		}
	}
	k := newMySQLTalk(t, Options{}) // attributes of a query
	k.client(mp(0, "\x03\x01\x01\x00\x01\xfd\x00\x0btraceparent\x3700-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01select 1"))
	k.server(mp(1, myOK))
	if e := k.one(); e.RequestResource != "select ?" || e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" {
		t.Errorf("%+v", e)
	}
}

func TestMySQLPipeline(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x16insert into t values (?)") + mp(0, "\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00\x00\x01"))
	k.server(mp(1, "\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00") + mp(2, myDef) + mp(3, myEOF) + mp(1, "\x00\x01\x00\x02\x00\x00\x00"))
	k.wantRows("session COM_STMT_PREPARE insert into t values (?) > 0 ok [INSERT t] id=1 rows=-1 bytes=29/16",
		"session COM_STMT_EXECUTE insert into t values (?) > 0 ok [INSERT t] id=-1 rows=1 bytes=16/11")
	k.sound()
}

func TestMySQLTimeout(t *testing.T) {
	k := newMySQLTalk(t, Options{Timeouts: map[Protocol]time.Duration{MySQL: time.Second}})
	k.client(mp(0, "\x03select 1"))
	k.tr.Tick(2e9)
	k.client(mp(0, "\x03select 2 from t"))
	k.server(myRows(1, 1, 1, true, myDone)) // of the first
	k.server(myRows(1, 1, 2, true, myDone))
	k.wantRows("request COM_QUERY select ? > -1 timeout [SELECT] id=-1 rows=-1 bytes=13/-1",
		"response   > 0 ok [] id=-1 rows=-1 bytes=-1/-1",
		"session COM_QUERY select ? from t > 0 ok [SELECT t] id=-1 rows=2 bytes=20/63")

	// A response that goes on for longer than that is one.
	k.client(mp(0, "\x03select 3"))
	rows := myRows(1, 1, 8, true, myDone)
	size := len(rows)
	for len(rows) > 20 {
		k.server(rows[:20])
		k.time += 3e8
		k.tr.Tick(k.time)
		rows = rows[20:]
	}
	k.server(rows)
	k.wantRows(fmt.Sprintf("session COM_QUERY select ? > 0 ok [SELECT] id=-1 rows=8 bytes=13/%d", size))
}

// TestMySQLHoles: what is lost of a response is not waited for, and not taken for another's.
func TestMySQLHoles(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(mp(0, "\x03select 1 from t"))
	rows := myRows(1, 1, 100, true, myDone)
	k.server(rows[:300])
	k.skip(Server, len(rows)-300)
	k.client(mp(0, "\x03select 2 from u"))
	k.server(myRows(1, 1, 1, true, myDone))
	k.time += 2e9
	k.tr.Tick(k.time)
	k.client(mp(0, "\x0e"))
	k.server(mp(1, myOK))
	k.c.Close(k.time)
	k.wantRows("session COM_QUERY select ? from t > 0 ok [SELECT t] id=-1 rows=-1 bytes=20/-1",
		"session COM_QUERY select ? from u > 0 ok [SELECT u] id=-1 rows=1 bytes=20/55",
		"session COM_PING  > 0 ok [] id=-1 rows=0 bytes=5/11")
}

// TestMySQLMiddle: a connection that is seen from its middle on.
func TestMySQLMiddle(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.server("\x01b" + mp(7, "\x01c") + mp(8, myEOF))
	k.client(mp(0, "\x03select 1"))
	k.server(myRows(1, 1, 1, true, myDone))
	k.wantRows("session COM_QUERY select ? > 0 ok [SELECT] id=-1 rows=1 bytes=13/55")
}

// frame is a compressed packet; inflated when it is longer than plain bytes.
func frame(seq int, plain string, compress bool) string {
	body, size := plain, 0
	if compress {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write([]byte(plain))
		w.Close()
		body, size = b.String(), len(plain)
	}
	n := len(body)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(seq), byte(size), byte(size >> 8), byte(size >> 16)}) + body
}

func TestMySQLCompressed(t *testing.T) {
	rows := myRows(1, 3, 2000, true, myDone)
	for name, login := range map[string]bool{"from the login": true, "from the middle": false} {
		k := newMySQLTalk(t, Options{})
		if login {
			k.server(mp(0, myGreeting))
			k.client(mp(1, myLogin(myCaps|mysql.CapCompress)))
			k.server(mp(2, myOK))
			k.rec.exchanges = nil
		}
		k.client(frame(0, mp(0, "\x03select 1 from t"), false))
		for i := 0; i < len(rows); i += 5000 { // packets go on over frames
			k.server(frame(1+i/5000, rows[i:min(i+5000, len(rows))], i%2 == 0))
		}
		k.client(frame(0, mp(0, "\x03select '"+strings.Repeat("x", 500)+"' from u"), true))
		k.server(frame(1, myRows(1, 1, 1, true, myDone), false))
		k.client(frame(0, mp(0, "\x0e"), false))
		k.server(frame(1, mp(1, myOK), false))
		db := ""
		if login {
			db = "shop"
		}
		k.wantRows("session COM_QUERY "+db+"select ? from t > 0 ok [SELECT t] id=-1 rows=2000 bytes=20/16109",
			"session COM_QUERY "+db+"select ? from u > 0 ok [SELECT u] id=-1 rows=1 bytes=521/55",
			"session COM_PING "+db+" > 0 ok [] id=-1 rows=0 bytes=5/11")
		if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

// TestMySQLBomb: what a frame inflates to is bounded, and the connection goes on behind it.
func TestMySQLBomb(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.client(frame(0, mp(0, "\x03select 1 from t"), false))
	k.server(frame(1, mp(1, "\x01")+mp(2, myDef)+strings.Repeat(mp(3, ""), 1)+strings.Repeat("\x00", 8<<20), true))
	k.client(frame(0, mp(0, "\x03select 2 from t"), false))
	k.server(frame(1, mp(1, myOK), false))
	k.c.Close(k.time)
	k.wantRows("session COM_QUERY select ? from t > 0 ok [SELECT t] id=-1 rows=-1 bytes=20/-1",
		"session COM_QUERY select ? from t > 0 ok [SELECT t] id=-1 rows=0 bytes=20/11")
}

// TestMySQLZstd: frames that cannot be inflated are responses all the same.
func TestMySQLZstd(t *testing.T) {
	k := newMySQLTalk(t, Options{})
	k.server(mp(0, myGreeting))
	k.client(mp(1, myLogin(myCaps|mysql.CapZstd)))
	k.server(mp(2, myOK))
	k.rec.exchanges = nil
	k.client(frame(0, mp(0, "\x03select 1 from t"), false))
	f := []byte(frame(1, "\x28\xb5\x2f\xfd0123456789", false))
	f[4] = 99
	k.server(string(f))
	k.client(frame(0, mp(0, "\x03select 2 from t"), false))
	k.server(frame(1, mp(1, myOK), false))
	k.wantRows("session COM_QUERY shopselect ? from t > -1 unknown [SELECT t] id=-1 rows=-1 bytes=20/-1",
		"session COM_QUERY shopselect ? from t > 0 ok [SELECT t] id=-1 rows=0 bytes=20/11")
}

// TestMySQLStatementsBounded: what is remembered of prepared statements is bounded.
func TestMySQLStatementsBounded(t *testing.T) {
	var s sqlStatements[uint32]
	for i := range uint32(10000) {
		s.put(i, sqlStatement{resource: strings.Repeat("x", int(i%1000))})
		s.put(i, sqlStatement{resource: strings.Repeat("x", int(i%1000))})
		if len(s.m) > maxStatements || s.bytes > maxStatementBytes {
			t.Fatalf("%d statements, %d bytes", len(s.m), s.bytes)
		}
	}
	sum := 0
	for id, st := range s.m {
		sum += len(st.resource)
		defer s.drop(id)
	}
	if sum != s.bytes {
		t.Errorf("%d bytes, counted %d", sum, s.bytes)
	}
	if s.clear(); s.bytes != 0 || len(s.m) != 0 {
		t.Error("not cleared")
	}
}

// TestMySQLAllocations: a query and its rows cost no allocation but the texts that are new.
func TestMySQLAllocations(t *testing.T) {
	tr := NewTracker(Options{Protocols: []Protocol{MySQL}}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 3306)
	q := []byte(mp(0, "\x03select a, b from orders where id in (1, 2, 3) and name = 'x'"))
	a := []byte(myRows(1, 2, 10, true, myDone))
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
	if m := tr.Metrics(); m.Responses < 200 || m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

// FuzzMySQL plays both sides from any bytes: no panic, nothing is left behind.
func FuzzMySQL(f *testing.F) {
	seed := func(parts ...string) {
		var b []byte
		for i, p := range parts {
			b = append(b, byte(i&1), byte(len(p)), byte(len(p)>>8))
			b = append(b, p...)
		}
		f.Add(b)
	}
	seed(mp(0, "\x03select 1"), myRows(1, 2, 3, false, myDone), mp(0, "\x01"))
	seed(frame(0, mp(0, "\x03select 1 from t"), false), frame(1, myRows(1, 1, 9, true, myDone), true))
	seed(mp(0, "\x03select 1"), mp(1, "\x01")+mp(2, myDef)+mp(3, "")+mp(254, "\xff"))
	seed(mp(0, myGreeting), mp(1, myLogin(myCaps)), mp(2, myOK), mp(0, "\x16select ?"), mp(1, "\x00\x05\x00\x00\x00\x01\x00\x02\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { fuzzConn(t, MySQL, 3306, b) })
}

// fuzzConn hands over payloads: a byte for side and what may happen to it, two for the length, and the bytes.
func fuzzConn(t *testing.T, p Protocol, port uint16, b []byte) {
	tr := NewTracker(Options{Protocols: []Protocol{p}, MaxConnBuffer: 1 << 10, MaxPending: 4}, &discard{})
	c := tr.NewConn(transportTCP, 40000, port)
	var seq [2]uint32
	now := int64(0)
	for len(b) >= 3 {
		side, n := Side(b[0]&1), min(int(b[1])|int(b[2])<<8, len(b)-3)
		if b[0]&0x70 == 0x70 {
			seq[side] += uint32(n) // lost
		}
		now += 1e6
		wire := n
		if b[0]&0x0e == 0x0e {
			wire += 7 // cut
		}
		c.Ack(side, seq[side^1]+uint32(b[0]>>7))
		c.Payload(side, now, seq[side], b[3:3+n], wire)
		seq[side] += uint32(wire)
		b = b[3+n:]
		tr.Tick(now)
	}
	c.Close(now)
	if m := tr.Metrics(); m.Pending != 0 || m.Buffered != 0 || m.Conns != 0 || m.PendingBytes != 0 {
		t.Fatalf("left behind %+v", m)
	}
}

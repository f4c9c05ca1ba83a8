package sqltext

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		d         Dialect
		sql, want string
	}{
		{MySQL, "", ""},
		{MySQL, "  select 1 ;\n", "select ?"},
		{MySQL, "SELECT * FROM `t` WHERE a = 'x''y\\'z' AND b=\"q\" AND c=-5 AND d-5 > .5e-3", "SELECT * FROM `t` WHERE a = ? AND b=? AND c=? AND d-? > ?"},
		{MySQL, "select\t a ,\r\n b  -- why\n from t # because\n where /* of */ x=1", "select a , b from t where x=?"},
		{MySQL, "select 5--1, a--1", "select ?-?, a-?"},
		{MySQL, "select 0xFF, x'4d', b'01', N'n', _utf8'u', _binary '\x00\xff', 1e10, 12abc", "select ?, ?, ?, ?, _utf8?, _binary ?, ?, ?"},
		{MySQL, "select t1.c2, `a``b`, @x, @@sql_mode, null, true", "select t1.c2, `a``b`, @x, @@sql_mode, null, true"},
		{MySQL, "select 1 where a in (1, 2,3) and b IN ('x') and c not in (?, ?)", "select ? where a in (?) and b IN (?) and c not in (?)"},
		{MySQL, "select 1 where a in (1, 2+3, 4)", "select ? where a in (?, ?+?, ?)"},
		{MySQL, "select 1 where a in (select b from c where d in (1,2))", "select ? where a in (select b from c where d in (?))"},
		{MySQL, "select 1 where (a,b) in ((1,2), (3,4),(5,6)) and c=1", "select ? where (a,b) in ((?,?)) and c=?"},
		{MySQL, "select f(1, 2), g(-1)", "select f(?, ?), g(?)"},
		{MySQL, "insert into t (a,b) values (1, 'x'), (2, 'y'),(f(3, (4)), DEFAULT)", "insert into t (a,b) values (?, ?)"},
		{MySQL, "insert into t values (1),(2) on duplicate key update a=values(a),b=values(b)", "insert into t values (?) on duplicate key update a=values(a),b=values(b)"},
		{MySQL, "/*!40101 SET NAMES utf8mb4 */;", "SET NAMES utf8mb4"},
		{MySQL, "/*M!999999\\- enable the sandbox mode */ /*M!100616 SET NAMES x */", "SET NAMES x"},
		{MySQL, "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t", "SELECT a FROM t"},
		{MySQL, "select 'cut off he", "select ?"},
		{MySQL, "select a /* cut off", "select a"},
		{MySQL, "insert into t values (1,2),(3,", "insert into t values (?,?)"},
		{MySQL, "select 'a\\", "select ?"},
		{MySQL, "kill 12", "kill ?"},
		{PostgreSQL, `SELECT "A b" FROM t WHERE x = $1 AND y = 'it''s' AND z = E'a\'b' AND w='c:\' AND v=1`, `SELECT "A b" FROM t WHERE x = ? AND y = ? AND z = ? AND w=? AND v=?`},
		{PostgreSQL, "select $1::int, $2, a from t where b = any($3) and c in ($4, $5,$6)", "select ?::int, ?, a from t where b = any(?) and c in (?)"},
		{PostgreSQL, "do $$ begin perform 'x'; end $$; select $q$a $$ b$q$, 2", "do ?; select ?, ?"},
		{PostgreSQL, "select array[1, 2, 3], '{1,2}'::int[], a[1]", "select array[?], ?::int[], a[?]"},
		{PostgreSQL, "select a /* x /* y */ z */ from t --end", "select a from t"},
		{PostgreSQL, "select a#>'{b}', c->>'d', e--f\n-1", "select a#>?, c->>?, e -?"},
		{PostgreSQL, "select $cut", "select ?"},
		{PostgreSQL, "select $$ cut", "select ?"},
		{PostgreSQL, "select date '2020-01-01', U&'\\0061'", "select date ?, U&?"},
	} {
		var s Statement
		s.Parse([]byte(c.sql), c.d, 1000)
		if string(s.Text) != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.sql, s.Text, c.want)
		}
		var again Statement // what is written once stays as it is
		again.Parse(s.Text, c.d, 1000)
		if string(again.Text) != string(s.Text) && !strings.Contains(c.want, "-?") {
			t.Errorf("%q written twice: %q", s.Text, again.Text)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for _, c := range []struct {
		d         Dialect
		sql, want string
	}{
		{MySQL, "SELECT * FROM `az_controller_connection`", "SELECT az_controller_connection"},
		{MySQL, "select a from `db`.`t` x join u", "SELECT db.t"},
		{MySQL, "select a from db . t", "SELECT db.t"},
		{MySQL, "select (select max(b) from inner_t) from outer_t", "SELECT outer_t"},
		{MySQL, "select * from (select a from (select b from deep) x) y", "SELECT deep"},
		{MySQL, "select extract(year from created), trim(both 'x' from name), substring(a from 2) from orders", "SELECT orders"},
		{PostgreSQL, "select a is distinct from b from only public.\"Orders\"", "SELECT public.Orders"},
		{MySQL, "SELECT DATABASE()", "SELECT"},
		{MySQL, "(select a from t1) union (select b from t2)", "SELECT t1"},
		{MySQL, "insert low_priority ignore into tmp (id) values (1)", "INSERT tmp"},
		{MySQL, "insert tmp select * from other", "INSERT tmp"},
		{MySQL, "REPLACE INTO `t` VALUES (1)", "REPLACE t"},
		{MySQL, "update orders set a=(select b from c)", "UPDATE orders"},
		{MySQL, "delete from test_table  where id=1", "DELETE test_table"},
		{MySQL, "delete a from orders a join b", "DELETE orders"},
		{MySQL, "drop table if exists test_table_2", "DROP test_table_2"},
		{MySQL, "create temporary table if not exists x as select * from y", "CREATE x"},
		{MySQL, "create unique index i on t (a)", "CREATE t"},
		{MySQL, "create user 'u'@'h' identified by 'p'", "CREATE"},
		{MySQL, "alter table t add column c int", "ALTER t"},
		{MySQL, "truncate table t", "TRUNCATE t"},
		{MySQL, "truncate t", "TRUNCATE t"},
		{MySQL, "call db.proc(1)", "CALL db.proc"},
		{MySQL, "{call proc(1)}", "CALL proc"},
		{MySQL, "desc test_table", "DESC test_table"},
		{MySQL, "load data local infile '/x' into table t fields terminated by ','", "LOAD t"},
		{MySQL, "lock tables t write", "LOCK t"},
		{MySQL, "set @@SQL_SELECT_LIMIT=60001", "SET"},
		{MySQL, "use `test`", "USE test"},
		{MySQL, "rollback", "ROLLBACK"},
		{MySQL, "/* app */ /*!40000 alter table `t` disable keys */", "ALTER t"},
		{MySQL, "hello world", ""},
		{MySQL, "'x' select", ""},
		{MySQL, "", ""},
		{MySQL, "select * from \"ansi\"", "SELECT ansi"},
		{MySQL, "select a from `cut", "SELECT cut"},
		{MySQL, "select a from", "SELECT"},
		{PostgreSQL, "with x as (select * from a), y as (select 1) insert into z select * from x", "INSERT z"},
		{PostgreSQL, "with recursive x as (select 1) select * from x", "SELECT x"},
		{PostgreSQL, "copy public.t (a, b) from stdin", "COPY public.t"},
		{PostgreSQL, "copy (select 1) to stdout", "COPY"},
		{PostgreSQL, "select * from generate_series(1, 2)", "SELECT generate_series"},
		{PostgreSQL, "refresh materialized view concurrently v", "REFRESH v"},
		{PostgreSQL, "select 1 union select a from b", "SELECT b"},
		{PostgreSQL, "merge into t using s on t.a = s.a", "MERGE t"},
	} {
		var s Statement
		s.Parse([]byte(c.sql), c.d, 0)
		if got := string(s.AppendEndpoint(nil)); got != c.want {
			t.Errorf("%q: %q, want %q", c.sql, got, c.want)
		}
		if len(s.Text) != 0 {
			t.Errorf("%q: text %q without a limit for it", c.sql, s.Text)
		}
		if got := Verb([]byte(c.sql), c.d); (got == "") != (c.want == "") {
			t.Errorf("%q begins with %q", c.sql, got)
		}
	}
}

func TestFields(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, c := range []struct{ sql, want string }{
		{"select 1", ""},
		{"select 1 /*traceparent='" + parent + "',route='%2Fa%20b'*/", "traceparent=" + parent + " route=/a b"},
		{"/* traceparent: " + parent + " */ select 1", "traceparent=" + parent},
		{"-- traceparent=" + parent + "\nselect 1", "traceparent=" + parent},
		{"# sw8: 1-dHJhY2U=-c2Vn-3-x, other\nselect 1", "sw8=1-dHJhY2U=-c2Vn-3-x"},
		{"select 1 /* uber-trace-id=\"a:b:0:1\"; x */ + /*k=v", "uber-trace-id=a:b:0:1 k=v"},
		{"select '/*a=b*/'", ""},
		{"select 1 /*a=\\'b\\'*/", "a=b"},
		{"select 1 /*a=*/ /*=b*/ /*:*/ /*a = 'cut", "a= a=cut"},
		{"select 1 /*a='%4'*/ /*b='%zz%'*/", "a=%4 b=%zz%"},
		{strings.Repeat("/*k=v*/", 20) + "select 1 /*last=1*/", strings.Repeat("k=v ", 7) + "last=1"},
	} {
		var s Statement
		s.Parse([]byte(c.sql), MySQL, 100)
		var got []string
		it := s.Fields()
		for {
			k, v, ok := it.Next()
			if !ok {
				break
			}
			got = append(got, fmt.Sprintf("%s=%s", k, AppendUnescaped(nil, v)))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%q: %q, want %q", c.sql, g, c.want)
		}
	}
}

func TestMasked(t *testing.T) {
	for _, c := range []struct {
		quote      byte
		text, want string
	}{
		{'\'', "Duplicate entry 'a@b.c' for key 't.PRIMARY'", "Duplicate entry '?' for key '?'"},
		{'\'', "near 'it's' at line 1", "near '?' at line 1"},
		{'\'', "near 'cut", "near '?"},
		{'"', `invalid input syntax for type integer: "x"`, `invalid input syntax for type integer: "?"`},
		{'"', "", ""},
	} {
		if got := string(AppendMasked(nil, []byte(c.text), c.quote)); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestSecret(t *testing.T) {
	for sql, want := range map[string]bool{
		"create user u identified by 'x'": true, "ALTER ROLE r PASSWORD 'x'": true, "set password = 'x'": true,
		"select 'password'": false, "select passwords from t": false,
	} {
		var s Statement
		if s.Parse([]byte(sql), PostgreSQL, 0); s.Secret != want {
			t.Errorf("%q: %v", sql, s.Secret)
		}
	}
}

// TestLimit: the text is never longer than asked for, and no character is cut in two.
func TestLimit(t *testing.T) {
	sql := []byte("select `größe`, `höhe` from `straße` where a in (1,2) /*traceparent='x'*/")
	for limit := range len(sql) {
		var s Statement
		s.Parse(sql, MySQL, limit)
		if len(s.Text) > limit || !utf8.Valid(s.Text) {
			t.Errorf("limit %d: %q", limit, s.Text)
		}
		if string(s.Table) != "straße" {
			t.Errorf("limit %d: table %q", limit, s.Table)
		}
		it := s.Fields()
		if k, _, ok := it.Next(); !ok || string(k) != "traceparent" {
			t.Errorf("limit %d: key %q", limit, k)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	sql := []byte("SELECT `a`, count(*) FROM `db`.`orders` WHERE id IN (1, 2, 3) AND name = 'x' /*traceparent='00-1-2-3'*/")
	var s Statement
	s.Parse(sql, MySQL, 1000)
	buf := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		s.Parse(sql, MySQL, 1000)
		buf = s.AppendEndpoint(buf[:0])
		it := s.Fields()
		for _, v, ok := it.Next(); ok; _, v, ok = it.Next() {
			buf = AppendUnescaped(buf[:0], v)
		}
		if Verb(sql, MySQL) != "SELECT" {
			t.Fatal("no verb")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: no panic, the text stays within its limit, and no string of the input is in it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"SELECT * FROM `t` WHERE a = 'x''y\\'z' AND b=\"q\"", "select 1 where (a,b) in ((1,2), (3,4),(5,6))", "insert into t values (1),(2)",
		"do $$ begin perform 'x'; end $$", "select a /* x /* y */ z */ from t --end", "/*!40101 SET NAMES utf8 */", "with x as (select 1) select * from x",
		"select 0xFF, x'4d', 1e-5, .5", "select $tag$ a $tag$", "delete from a.b.c where x in (1", "select 1 /*traceparent='00-1-2-3',a='b'*/",
	} {
		f.Add([]byte(s), 1, 64)
	}
	f.Fuzz(func(t *testing.T, sql []byte, dialect, limit int) {
		limit &= 1023
		var s Statement
		d := Dialect(dialect & 1)
		s.Parse(sql, d, limit)
		if len(s.Text) > limit || len(s.Table) > maxTable+8 {
			t.Fatalf("too long: %q %q", s.Text, s.Table)
		}
		it := s.Fields()
		for n := 0; ; n++ {
			_, v, ok := it.Next()
			if !ok {
				break
			}
			if n > len(sql) || len(AppendUnescaped(nil, v)) > len(v) {
				t.Fatal("fields without end")
			}
		}
		secret := []byte("select a from t where b = '5ecr3t-")
		for _, b := range sql {
			if b != '\'' && b != '\\' {
				secret = append(secret, b)
			}
		}
		s.Parse(append(secret, '\''), d, 1023)
		if string(s.Text) != "select a from t where b = ?" {
			t.Fatalf("%q: %q", secret, s.Text)
		}
		AppendMasked(nil, sql, '\'')
	})
}

func BenchmarkParse(b *testing.B) {
	sql := []byte("SELECT `a`, count(*) FROM `db`.`orders` o JOIN `customers` c ON o.id = c.id WHERE o.id IN (1, 2, 3) AND c.name = 'x' GROUP BY 1 ORDER BY 2 LIMIT 10")
	b.SetBytes(int64(len(sql)))
	var s Statement
	for b.Loop() {
		s.Parse(sql, MySQL, 1024)
	}
}

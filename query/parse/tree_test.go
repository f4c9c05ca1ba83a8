package parse

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/parse/gen"
)

// TestCanonical pins how texts are understood, by what they print as.
func TestCanonical(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"a + b * c", "a + b * c"},
		{"(a + b) * c", "(a + b) * c"},
		{"a - (b - c)", "a - (b - c)"},
		{"((a)) - ((b * c))", "a - b * c"},
		{"-a ^ 2", "-a ^ 2"},
		{"-1", "-1"},
		{"- -1", "-(-1)"},
		{"-(1)", "-(1)"},
		{"+a", "a"},
		{"-1::int", "-CAST(1 AS int)"},
		{"a OR (b OR c)", "a OR b OR c"},
		{"a AND (b OR c)", "a AND (b OR c)"},
		{"NOT (a = b)", "NOT a = b"},
		{"a = b IS NULL", "a = b IS NULL"},
		{"a = (b IS NULL)", "a = (b IS NULL)"},
		{"a = b LIKE c", "a = b LIKE c"},
		{"(a = b) LIKE c", "(a = b) LIKE c"},
		{"a ~ 'x' || 'y'", "a ~ 'x' || 'y'"},
		{"a =~ 'x'", "a ~ 'x'"},
		{"a != b", "a <> b"},
		{"x OPERATOR(pg_catalog.*) y + z", "x * (y + z)"},
		{"TIMESTAMP '2026-01-01'", "CAST('2026-01-01' AS timestamp)"},
		{"a::timestamp without time zone", "CAST(a AS timestamp)"},
		{"INTERVAL '90' MINUTE", "INTERVAL '90 minutes'"},
		{"INTERVAL '1 day 01:30'", "INTERVAL '1 day 90 minutes'"},
		{"CURRENT_TIMESTAMP", "current_timestamp()"},
		{`"current_timestamp"`, `"current_timestamp"`},
		{"Client.Pod", "client.pod"},
		{`"Client".pod`, `"Client".pod`},
		{"9223372036854775808", "9223372036854775808"},
		{"-9223372036854775808", "-9223372036854775808"},
		{"0x10", "16"},
		{"0xffffffffffffffff", "18446744073709551615"},
		{".5", "0.5"},
		{"1.", "1.0"},
		{"1_000.5E+3", "1000.5e+3"},
		{"00099999999999999999999", "99999999999999999999"},
		{"a = SOME (b)", "a = ANY (b)"},
		{"(1, 2)", "ROW(1, 2)"},
		{"((SELECT 1))", "(SELECT 1)"},
		{"a IN ((SELECT 1))", "a IN (SELECT 1)"},
		{"substring(a FROM 2 FOR 3)", "substring(a, 2, 3)"},
		{"sum(a) OVER (ROWS 1 PRECEDING)", "sum(a) OVER (ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"},
		{`E'\x41\u00e9\n\''`, "'Aé\n'''"},
		{"'a''b'", "'a''b'"},
		{"count(ALL a)", "count(a)"},
		{"a COLLATE \"C\"", `a COLLATE "C"`},
	} {
		e, err := ParseExpr(tc.in)
		if err != nil {
			t.Errorf("%s\n%s", tc.in, detail(err, tc.in))
			continue
		}
		if got := e.String(); got != tc.want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.in, got, tc.want)
		}
	}
	for _, tc := range []struct{ in, want string }{
		{"select 1 union select 2 intersect select 3", "SELECT 1 UNION SELECT 2 INTERSECT SELECT 3"},
		{"(select 1 union select 2) intersect select 3", "(SELECT 1 UNION SELECT 2) INTERSECT SELECT 3"},
		{"((select 1 limit 2))", "SELECT 1 LIMIT 2"},
		{"table flows", "SELECT * FROM flows"},
		{"select a fetch first row only", "SELECT a LIMIT 1"},
		{"select a limit all offset 2 rows", "SELECT a OFFSET 2"},
		{"select * from a b", "SELECT * FROM a AS b"},
		{"desc flows", "DESCRIBE flows"},
		{"show all", "SHOW SETTINGS"},
		{"show transaction isolation level", "SHOW transaction_isolation"},
		{"show tag values from t key 'k8s.pod'", `SHOW TAG VALUES FROM t KEY "k8s.pod"`},
		{"set time zone 'UTC'", "SET timezone = 'UTC'"},
		{"set x to on", "SET x = 'on'"},
		{"reset x", "SET x TO DEFAULT"},
		{"start transaction read only", "BEGIN"},
		{"end", "COMMIT"},
		{"explain (format json, analyze) select 1", "EXPLAIN (FORMAT json, ANALYZE) SELECT 1"},
	} {
		s, err := ParseOne(tc.in)
		if err != nil {
			t.Errorf("%s\n%s", tc.in, detail(err, tc.in))
			continue
		}
		if got := s.String(); got != tc.want {
			t.Errorf("%s\ngot  %s\nwant %s", tc.in, got, tc.want)
		}
	}
}

func TestTreeShapes(t *testing.T) {
	e, err := ParseExpr("a and b and (c and d) and e")
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := e.(*ast.Logical); !ok || l.Or || len(l.Terms) != 5 {
		t.Errorf("the chain is not one node: %#v", e)
	}
	e, _ = ParseExpr("-9223372036854775808")
	if i, ok := e.(*ast.Integer); !ok || i.Value != math.MinInt64 {
		t.Errorf("the least integer is %#v", e)
	}
	e, _ = ParseExpr(`server.label['app']`)
	if s, ok := e.(*ast.Subscript); !ok || s.Base.(*ast.Ident).Name() != "label" || s.Index.(*ast.String).Value != "app" {
		t.Errorf("subscript is %#v", e)
	}
	e, _ = ParseExpr(`"Pod"`)
	if i := e.(*ast.Ident); !i.Quoted {
		t.Error("the name is not marked as quoted")
	}
}

func TestPositions(t *testing.T) {
	sql := "SELECT 'ü😀',\n\tbytes + 1\nFROM flows"
	s, err := ParseOne(sql)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]ast.Pos{
		"'ü😀'":         {Offset: 7, Line: 1, Column: 8},
		"bytes":        {Offset: 18, Line: 2, Column: 2},
		"bytes + 1":    {Offset: 24, Line: 2, Column: 8},
		"flows":        {Offset: 33, Line: 3, Column: 6},
		"1":            {Offset: 26, Line: 2, Column: 10},
		s.String():     {Offset: 0, Line: 1, Column: 1},
		"no such node": {},
	}
	got := map[string]ast.Pos{"no such node": {}}
	ast.Walk(s, func(n ast.Node) bool {
		if p, ok := n.(interface{ String() string }); ok {
			got[p.String()] = n.Position()
		}
		return true
	})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestReservedAgrees holds ast's list of reserved words against the grammar.
func TestReservedAgrees(t *testing.T) {
	byType, list := keywords()
	if len(list) < 100 {
		t.Fatalf("only %d keywords", len(list))
	}
	for typ, w := range byType {
		lower := strings.ToLower(w)
		_, err := ParseExpr(w)
		e, isName := ast.Expr(nil), false
		if err == nil {
			e, _ = ParseExpr(w)
			_, isName = e.(*ast.Ident)
		}
		if isName == ast.IsReserved(lower) {
			t.Errorf("%s (token %d): a name in the grammar: %v, reserved in ast: %v", w, typ, isName, ast.IsReserved(lower))
		}
		// Reserved words stand after AS and after a dot, and in quotes anywhere.
		roundTrip(t, "SELECT 1 AS "+w+", t."+w+`, "`+lower+`" FROM "`+lower+`" AS "`+lower+`"`)
		if !ast.IsReserved(lower) {
			roundTrip(t, "SELECT "+w+", "+w+"."+w+", "+w+"(1) FROM "+w+" AS "+w+" JOIN "+w+" USING ("+w+")")
		}
	}
	if typ := gen.FlowlakeSQLLexerSELECT; byType[typ] != "SELECT" {
		t.Errorf("token %d is %q", typ, byType[typ])
	}
}

func TestComplete(t *testing.T) {
	for sql, want := range map[string]bool{
		"":                           true,
		"  -- nothing\n":             true,
		"SELECT 1":                   false,
		"SELECT 1;":                  true,
		"SELECT 1; -- done":          true,
		"SELECT 1; /* done */ ":      true,
		"SELECT 1; /* not done ":     false,
		"SELECT 1; SELECT":           false,
		"SELECT ';":                  false,
		"SELECT ';'":                 false,
		"SELECT ';';":                true,
		"SELECT 'it''s;":             false,
		`SELECT ";`:                  false,
		`SELECT ";";`:                true,
		`SELECT E'\';`:               false,
		`SELECT E'\';';`:             true,
		"SELECT 1 -- ;":              false,
		"SELECT 1 -- it's\n;":        true,
		"SELECT 'a\nb\n';":           true,
		"SELECT 1 /* ; */":           false,
		"SELECT name'x;":             false,
		"SELECT 1;;":                 true,
		"SELECT /*/ 1;":              false,
		"SELECT tablee'x\\';":        true,
		"SELECT 1 - -1;":             true,
		"SELECT 'ü;' || \"日本;\" ;\t": true,
	} {
		if got := Complete(sql); got != want {
			t.Errorf("Complete(%q) = %v", sql, got)
		}
	}
}

func TestSplit(t *testing.T) {
	got := Split(" SELECT ';' ;; -- c;\n /* ; */ SELECT 2 ; \"a;b\" ")
	want := []string{"SELECT ';'", "SELECT 2", `"a;b"`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSuggest(t *testing.T) {
	cols := []string{"client_ip", "server_ip", "client_port", "server_port", "bytes_tx", "bytes_rx", "rtt_us", "time", "Status"}
	for word, want := range map[string]string{
		"cleint_ip": "client_ip", "client_prot": "client_port", "byte_tx": "bytes_tx", "tiem": "time", "status": "Status",
		"statsu": "Status", "rtt": "", "x": "", "": "", "completely_else": "", "BYTES_TX": "bytes_tx", "server_ipp": "server_ip",
		strings.Repeat("a", 100): "",
	} {
		if got := Suggest(word, cols); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

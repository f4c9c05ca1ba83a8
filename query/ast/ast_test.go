package ast

import (
	"errors"
	"testing"
)

func id(name string) *Ident { return &Ident{Parts: []string{name}} }
func num(n int64) *Integer  { return &Integer{Value: n} }
func bin(op BinaryOp, l, r Expr) *Binary {
	return &Binary{Op: op, Left: l, Right: r}
}

func TestPrintParentheses(t *testing.T) {
	a, b, c := id("a"), id("b"), id("c")
	for _, tc := range []struct {
		e    Expr
		want string
	}{
		{bin(OpAdd, bin(OpAdd, a, b), c), "a + b + c"},
		{bin(OpAdd, a, bin(OpAdd, b, c)), "a + (b + c)"},
		{bin(OpMul, bin(OpAdd, a, b), c), "(a + b) * c"},
		{bin(OpAdd, bin(OpMul, a, b), c), "a * b + c"},
		{bin(OpEq, bin(OpEq, a, b), c), "(a = b) = c"},
		{bin(OpEq, a, &Like{Expr: b, Pattern: c}), "a = b LIKE c"},
		{&Like{Expr: bin(OpEq, a, b), Pattern: c}, "(a = b) LIKE c"},
		{&Is{Expr: bin(OpEq, a, b)}, "a = b IS NULL"},
		{bin(OpEq, &Is{Expr: a}, b), "(a IS NULL) = b"},
		{&Unary{Op: OpNot, Expr: &Logical{Terms: []Expr{a, b}}}, "NOT (a AND b)"},
		{&Logical{Terms: []Expr{&Unary{Op: OpNot, Expr: a}, b}}, "NOT a AND b"},
		{&Logical{Terms: []Expr{&Logical{Or: true, Terms: []Expr{a, b}}, c}}, "(a OR b) AND c"},
		{&Logical{Or: true, Terms: []Expr{&Logical{Terms: []Expr{a, b}}, c}}, "a AND b OR c"},
		{&Unary{Op: OpNeg, Expr: &Unary{Op: OpNeg, Expr: a}}, "- -a"},
		{&Unary{Op: OpNeg, Expr: num(-5)}, "-(-5)"},
		{&Unary{Op: OpNeg, Expr: num(5)}, "-(5)"},
		{bin(OpSub, a, num(-5)), "a - -5"},
		{&Subscript{Base: bin(OpAdd, a, b), Index: num(1)}, "(a + b)[1]"},
		{&Subscript{Base: num(-1), Index: num(1)}, "(-1)[1]"},
		{&Between{Expr: a, Low: b, High: bin(OpAdd, b, c)}, "a BETWEEN b AND b + c"},
		{&Between{Expr: a, Low: &Logical{Terms: []Expr{b, c}}, High: c}, "a BETWEEN (b AND c) AND c"},
		{&AtTimeZone{Expr: a, Zone: bin(OpConcat, b, c)}, "a AT TIME ZONE (b || c)"},
		{id("select"), `"select"`},
		{id("Pod"), `"Pod"`},
		{id(`a"b`), `"a""b"`},
		{id("über"), `"über"`},
		{&String{Value: "it's"}, "'it''s'"},
		{&Ident{Parts: []string{"client", "pod"}}, "client.pod"},
	} {
		if got := tc.e.String(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestSetOpParentheses(t *testing.T) {
	s := func(n string) QueryBody { return &Select{Items: []*SelectItem{{Expr: id(n)}}} }
	op := func(k SetOpKind, l, r QueryBody) *SetOp { return &SetOp{Kind: k, Left: l, Right: r} }
	for _, tc := range []struct {
		b    QueryBody
		want string
	}{
		{op(Union, op(Union, s("a"), s("b")), s("c")), "SELECT a UNION SELECT b UNION SELECT c"},
		{op(Union, s("a"), op(Union, s("b"), s("c"))), "SELECT a UNION (SELECT b UNION SELECT c)"},
		{op(Union, s("a"), op(Intersect, s("b"), s("c"))), "SELECT a UNION SELECT b INTERSECT SELECT c"},
		{op(Intersect, op(Union, s("a"), s("b")), s("c")), "(SELECT a UNION SELECT b) INTERSECT SELECT c"},
		{op(Except, op(Intersect, s("a"), s("b")), s("c")), "SELECT a INTERSECT SELECT b EXCEPT SELECT c"},
	} {
		if got := tc.b.String(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

func TestParseInterval(t *testing.T) {
	for _, tc := range []struct {
		in                  string
		months, days, nanos int64
		canon               string
	}{
		{"5 minutes", 0, 0, 300e9, "5 minutes"},
		{"1h", 0, 0, 3600e9, "1 hour"},
		{"1h30m", 0, 0, 5400e9, "90 minutes"},
		{"90", 0, 0, 90e9, "90 seconds"},
		{"1 year 2 months 3 days 04:05:06.007", 14, 3, 14706007e6, "14 months 3 days 14706007 milliseconds"},
		{"-1.5 hours", 0, 0, -5400e9, "-90 minutes"},
		{"2 weeks ago", 0, -14, 0, "-14 days"},
		{"1.5 days", 0, 1, 43200e9, "1 day 12 hours"},
		{"1.5 months", 1, 15, 0, "1 month 15 days"},
		{"0.5 year", 6, 0, 0, "6 months"},
		{"P1Y2M3DT4H5M6.5S", 14, 3, 14706500e6, "14 months 3 days 14706500 milliseconds"},
		{"PT15M", 0, 0, 900e9, "15 minutes"},
		{"-P1D", 0, -1, 0, "-1 day"},
		{"-02:30", 0, 0, -9000e9, "-150 minutes"},
		{"250us", 0, 0, 250e3, "250 microseconds"},
		{"7 ns", 0, 0, 7, "7 nanoseconds"},
		{"0", 0, 0, 0, "0 seconds"},
		{"1 day -1 hour", 0, 1, -3600e9, "1 day -1 hour"},
	} {
		m, d, n, err := ParseInterval(tc.in)
		if err != nil || m != tc.months || d != tc.days || n != tc.nanos {
			t.Errorf("%q: got %d %d %d %v", tc.in, m, d, n, err)
		}
		canon := string(AppendInterval(nil, m, d, n))
		if canon != tc.canon {
			t.Errorf("%q: canonical %q, want %q", tc.in, canon, tc.canon)
		}
		if m2, d2, n2, err := ParseInterval(canon); err != nil || m2 != m || d2 != d || n2 != n {
			t.Errorf("%q does not read back: %d %d %d %v", canon, m2, d2, n2, err)
		}
	}
	for _, bad := range []string{"", " ", "abc", "5 parsecs", "1 2 3", "ago", "P", "PT", "P1H", "PT1D", "1:99", "1:2:3:4",
		"999999999999 years", "300 years 9999999999999 hours", "1h ago x", "--1h", "1..5h", "@"} {
		if m, d, n, err := ParseInterval(bad); !errors.Is(err, ErrInterval) {
			t.Errorf("%q: got %d %d %d %v", bad, m, d, n, err)
		}
	}
}

func FuzzParseInterval(f *testing.F) {
	for _, s := range []string{"1h30m", "P1Y2M3DT4H5M6.5S", "1 day -02:03:04.000000005", "1.000000001 months ago", "µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, d, n, err := ParseInterval(s)
		if err != nil {
			return
		}
		canon := string(AppendInterval(nil, m, d, n))
		if m2, d2, n2, err := ParseInterval(canon); err != nil || m2 != m || d2 != d || n2 != n {
			t.Fatalf("%q -> %q does not read back: %v", s, canon, err)
		}
	})
}

func TestRewriteSharesAndCopies(t *testing.T) {
	inner := bin(OpAdd, id("x"), num(1))
	e := &Logical{Terms: []Expr{
		bin(OpEq, inner, id("y")),
		&FuncCall{Name: []string{"f"}, Args: []Expr{id("x")}, Over: &Window{OrderBy: []*OrderItem{{Expr: id("x")}}}},
		&Case{Whens: []*When{{Cond: id("x"), Result: id("z")}}},
		&In{Expr: id("x"), List: []Expr{id("x"), num(2)}},
	}}
	before := e.String()
	same := RewriteExpr(e, func(x Expr) Expr { return x })
	if same != Expr(e) {
		t.Error("nothing changed, yet the tree was copied")
	}
	got := RewriteExpr(e, func(x Expr) Expr {
		if i, ok := x.(*Ident); ok && i.Name() == "x" {
			return id("q")
		}
		return x
	})
	want := "q + 1 = y AND f(q) OVER (ORDER BY q) AND CASE WHEN q THEN z END AND q IN (q, 2)"
	if got.String() != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if e.String() != before {
		t.Error("the original was changed")
	}
}

func TestWalkAndEqual(t *testing.T) {
	q := &Query{Body: &Select{
		Items: []*SelectItem{{Expr: id("a"), Alias: "b"}},
		From:  []TableRef{&TableName{Parts: []string{"t"}}},
		Where: &In{Expr: id("a"), Query: &Query{Body: &Values{Rows: [][]Expr{{num(1)}}}}},
	}, Limit: num(3)}
	var n, outer int
	Walk(q, func(Node) bool { n++; return true })
	Walk(q, func(x Node) bool {
		outer++
		_, sub := x.(*Query)
		return !sub || x == Node(q)
	})
	if n != 11 || outer != 9 {
		t.Errorf("visited %d and %d nodes", n, outer)
	}
	other := *q
	other.Pos = Pos{Offset: 9, Line: 2, Column: 4}
	other.OrderBy = []*OrderItem{}
	if !Equal(q, &other) {
		t.Error("position or empty list counted")
	}
	other.Limit = num(4)
	if Equal(q, &other) {
		t.Error("limit did not count")
	}
	if Equal(q, num(1)) || !Equal(nil, nil) || Equal(q, nil) {
		t.Error("types and nil")
	}
}

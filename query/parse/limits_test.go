package parse

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/antlr4-go/antlr/v4"

	"github.com/flowlake/flowlake/query/ast"
)

func wantError(t *testing.T, sql, state, contains string, opts ...func(*Options)) {
	t.Helper()
	_, err := Parse(sql, opts...)
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%.40q: error %v", sql, err)
		return
	}
	if e.SQLState != state || !strings.Contains(e.Error(), contains) {
		t.Errorf("%.40q: %s %s", sql, e.SQLState, e.Error())
	}
	if strings.Contains(e.Error(), "\n") {
		t.Errorf("%q has several lines", e.Error())
	}
}

func TestLimits(t *testing.T) {
	rep := strings.Repeat
	wantError(t, "SELECT "+rep("(", 10_000)+"1"+rep(")", 10_000), "54001", "MaxNesting")
	wantError(t, "SELECT "+rep("(", 1_000_000), "54001", "MaxNesting")
	wantError(t, "SELECT "+rep("a[", 10_000)+"1"+rep("]", 10_000), "54001", "MaxNesting")
	wantError(t, "SELECT "+rep("CASE WHEN a THEN ", 10_000)+"1"+rep(" END", 10_000), "54001", "MaxNesting")
	wantError(t, "SELECT "+rep("f(", 201)+rep(")", 201), "54001", "MaxNesting")
	wantError(t, "SELECT "+rep("1+", 100_000)+"1", "54000", "MaxTokens")
	wantError(t, "SELECT "+rep("1+", 100_000)+"1", "54001", "MaxDepth", func(o *Options) { o.MaxTokens = 1 << 20 })
	wantError(t, "SELECT "+rep("- ", 50_000)+"a", "54001", "MaxDepth")
	wantError(t, "SELECT "+rep("NOT ", 50_000)+"a", "54001", "MaxDepth")
	wantError(t, "SELECT a"+rep("::int", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT a"+rep("[1]", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT a"+rep(" IS NULL", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT 1"+rep(" UNION SELECT 1", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT 1"+rep(" INTERSECT SELECT 1", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT * FROM a"+rep(" CROSS JOIN a", 5_000), "54001", "MaxDepth")
	wantError(t, "SELECT '"+rep("x", 1<<20)+"'", "54000", "the limit is 1048576 (MaxBytes)")
	wantError(t, "SELECT "+rep("1,", 60_000)+"1", "54000", "MaxTokens")
	wantError(t, "SELECT 'a\xff'", "22021", "0xff")
	wantError(t, "SELECT E'\\000'", "22021", "character 0")
	wantError(t, "SELECT 1", "54000", "MaxBytes", func(o *Options) { o.MaxBytes = 7 })
	wantError(t, "SELECT ((1))", "54001", "MaxNesting", func(o *Options) { o.MaxNesting = 1 })
}

func TestWithinLimits(t *testing.T) {
	rep := strings.Repeat
	for _, sql := range []string{
		"SELECT " + rep("(", 199) + "1" + rep(")", 199),
		"SELECT " + rep("(SELECT ", 190) + "1" + rep(")", 190),
		"SELECT * FROM " + rep("(", 190) + "SELECT 1" + rep(")", 190),
		"SELECT " + rep("CASE WHEN a THEN ", 190) + "1" + rep(" END", 190),
		"SELECT 1 WHERE " + rep("a = 1 OR ", 10_000) + "b = 2",
		"SELECT 1 WHERE a IN (" + rep("1, ", 20_000) + "2)",
		"SELECT " + rep("1 + ", 1900) + "1",
		"SELECT '" + rep("x", 1<<19) + "'",
	} {
		s, err := ParseOne(sql)
		if err != nil {
			t.Errorf("%.60s: %v", sql, err)
			continue
		}
		again, err := ParseOne(s.String())
		if err != nil || !ast.Equal(s, again) {
			t.Errorf("%.60s does not read back: %v", sql, err)
		}
	}
}

// TestSLLIsEnough holds the grammar to what its header says: the corpus needs
// no LL parse, and full-context prediction finds no ambiguity but the two named.
func TestSLLIsEnough(t *testing.T) {
	p := newParser()
	rule := func(p *parser) antlr.ParserRuleContext { return p.gram.Script() }
	amb := &ambiguities{}
	p.gram.AddErrorListener(amb)
	for _, sql := range corpus(t) {
		p.load(sql)
		p.gram.SetTokenStream(p.stream)
		p.errs.first = nil
		p.gram.GetInterpreter().SetPredictionMode(antlr.PredictionModeSLL)
		if rule(p); p.errs.first != nil {
			t.Errorf("SLL fails: %s", sql)
		}
		p.stream.Seek(0)
		p.gram.SetTokenStream(p.stream)
		p.gram.GetInterpreter().SetPredictionMode(antlr.PredictionModeLLExactAmbigDetection)
		amb.found = nil
		rule(p)
		for _, text := range amb.found {
			if !strings.Contains(strings.ToUpper(text), "UNBOUNDED") && !strings.Contains(strings.ToUpper(sql), "' MINUTE") {
				t.Errorf("ambiguous at %q: %s", text, sql)
			}
		}
	}
}

type ambiguities struct {
	*antlr.DefaultErrorListener
	found []string
}

func (a *ambiguities) ReportAmbiguity(r antlr.Parser, _ *antlr.DFA, start, stop int, _ bool, _ *antlr.BitSet, _ *antlr.ATNConfigSet) {
	a.found = append(a.found, r.GetTokenStream().GetTextFromInterval(antlr.NewInterval(start, stop)))
}

func (a *ambiguities) ReportAttemptingFullContext(antlr.Parser, *antlr.DFA, int, int, *antlr.BitSet, *antlr.ATNConfigSet) {
}

func (a *ambiguities) ReportContextSensitivity(antlr.Parser, *antlr.DFA, int, int, int, *antlr.ATNConfigSet) {
}

func TestConcurrent(t *testing.T) {
	all := corpus(t)
	want := make([]string, len(all))
	for i, sql := range all {
		stmts, err := Parse(sql)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = stmts[0].String()
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range all {
				i = (i*7 + w*31) % len(all)
				stmts, err := Parse(all[i])
				if err != nil || stmts[0].String() != want[i] {
					t.Errorf("%s: %v", all[i], err)
				}
				if _, err := Parse(all[i] + " oops oops"); err == nil && i%5 == 0 && !strings.HasPrefix(all[i], "SHOW") {
					_, err = Parse(all[i] + " ) (")
					if err == nil {
						t.Errorf("no error: %s", all[i])
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocationBudget holds the garbage of a warm parse of benchSQL, most of it
// ANTLR's rule contexts.
func TestAllocationBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops objects at random under the race detector")
	}
	got := testing.AllocsPerRun(50, func() {
		if _, err := Parse(benchSQL); err != nil {
			t.Fatal(err)
		}
	})
	if got > 900 {
		t.Errorf("a parse allocates %.0f times, the budget is 900", got)
	}
	s, err := ParseOne(benchSQL)
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(50, func() { _ = s.String() }); got > 12 {
		t.Errorf("printing allocates %.0f times, the budget is 12", got)
	}
}

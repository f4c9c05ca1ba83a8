package parse

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/antlr4-go/antlr/v4"
)

// benchSQL has 330 characters, as the statement of the first measurements had.
const benchSQL = `SELECT time_bucket(INTERVAL '1 minute', time) AS t, client.pod, server.service, sum(bytes_tx) AS tx, percentile_cont(0.99) WITHIN GROUP (ORDER BY rtt_us) AS p99 FROM network WHERE time >= now() - INTERVAL '1 hour' AND server.label['app'] IN ('web', 'db') AND rtt_us > 0 GROUP BY 1, 2, 3 HAVING count(*) > 10 ORDER BY t, p99 DESC LIMIT 50`

func BenchmarkParse(b *testing.B) {
	short := "SELECT count(*) FROM flows WHERE server_port = 443"
	list := "SELECT a FROM t WHERE id IN (" + strings.Repeat("12345, ", 999) + "1)"
	for _, c := range []struct{ name, sql string }{{"short", short}, {"chars=330", benchSQL}, {"in=1000", list}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.sql)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.sql); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		b.SetBytes(int64(len(benchSQL)))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := Parse(benchSQL); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkMode shows what SLL prediction saves, and the parts of a parse.
func BenchmarkMode(b *testing.B) {
	rule := func(p *parser) antlr.ParserRuleContext { return p.gram.Script() }
	run := func(name string, mode int) {
		b.Run(name, func(b *testing.B) {
			p := newParser()
			b.ReportAllocs()
			for b.Loop() {
				p.load(benchSQL)
				p.gram.SetTokenStream(p.stream)
				p.gram.GetInterpreter().SetPredictionMode(mode)
				p.errs.first = nil
				if rule(p); p.errs.first != nil {
					b.Fatal(p.errs.first)
				}
			}
		})
	}
	run("tree/SLL", antlr.PredictionModeSLL)
	run("tree/LL", antlr.PredictionModeLL)
	b.Run("lex", func(b *testing.B) {
		p := newParser()
		b.ReportAllocs()
		for b.Loop() {
			p.load(benchSQL)
		}
	})
	b.Run("measure", func(b *testing.B) {
		var o Options
		o.ensureDefaults()
		for b.Loop() {
			if err := measure(benchSQL, &o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("print", func(b *testing.B) {
		s, err := ParseOne(benchSQL)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			_ = s.String()
		}
	})
}

// BenchmarkError is the cost of finding out what was meant.
func BenchmarkError(b *testing.B) {
	sql := strings.Replace(benchSQL, "WHERE", "WEHRE", 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(sql); err == nil {
			b.Fatal("no error")
		}
	}
}

// BenchmarkCold is the first parse of a process: it runs itself as a child.
func BenchmarkCold(b *testing.B) {
	var first, warm time.Duration
	for b.Loop() {
		cmd := exec.Command(os.Args[0], "-test.run=^TestColdChild$")
		cmd.Env = append(os.Environ(), "FLOWLAKE_PARSE_COLD=1")
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		var f, w int64
		if _, err := fmt.Sscanf(string(out), "cold %d warm %d", &f, &w); err != nil {
			b.Fatalf("%v in %q", err, out)
		}
		first += time.Duration(f)
		warm += time.Duration(w)
	}
	b.ReportMetric(float64(first.Nanoseconds())/float64(b.N), "ns/first")
	b.ReportMetric(float64(warm.Nanoseconds())/float64(b.N), "ns/Warm")
}

func TestColdChild(t *testing.T) {
	if os.Getenv("FLOWLAKE_PARSE_COLD") == "" {
		t.Skip("runs only as a child of BenchmarkCold")
	}
	start := time.Now()
	if _, err := Parse(benchSQL); err != nil {
		t.Fatal(err)
	}
	first := time.Since(start)
	start = time.Now()
	Warm()
	fmt.Printf("cold %d warm %d\n", first, time.Since(start))
}

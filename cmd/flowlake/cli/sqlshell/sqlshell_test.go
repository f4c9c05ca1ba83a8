package sqlshell

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reeflective/readline"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/render"
)

// newEngine is an engine over a database with three spans.
func newEngine(t *testing.T) *query.Engine {
	t.Helper()
	d, err := db.Open("data", func(o *db.Options) { o.FS = vfs.NewMem() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	spans, _ := d.Table("spans")
	b := batch.NewBuilder(spans)
	for i := range int64(3) {
		b.Int(spans.TimeColumn, 1_700_000_000_000_000_000+i)
		b.String(spans.MustColumn("endpoint"), "/"+strings.Repeat("a", int(i)+1))
		b.EndRow()
	}
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		t.Fatal(err)
	}
	return query.New(d)
}

// sessions are both kinds of session over one engine.
func sessions(t *testing.T) map[string]Session {
	t.Helper()
	run := api.Engine(newEngine(t))
	s := httptest.NewServer(api.New(api.Options{Query: run}))
	t.Cleanup(s.Close)
	remote, err := Remote(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Session{"local": Local("data", run), "remote": remote}
}

type output struct{ out, err bytes.Buffer }

func newRunner(s Session) (*Runner, *output) {
	o := &output{}
	return &Runner{Session: s, Out: &o.out, Err: &o.err, Format: "csv"}, o
}

func TestText(t *testing.T) {
	for kind, s := range sessions(t) {
		for _, c := range []struct{ name, text, out, err string }{
			{"one", "SELECT 1 AS n", "n\n1\n", ""},
			{"several", "SELECT 1 AS n; SELECT 'a;b' AS s;", "n\n1\ns\na;b\n", ""},
			{"rows", "SELECT endpoint FROM spans ORDER BY time", "endpoint\n/a\n/aa\n/aaa\n", ""},
			{"no rows", "SELECT endpoint FROM spans WHERE endpoint = ''", "endpoint\n", ""},
			{"first error ends", "SELECT 1 AS n; SELECT nope; SELECT 2 AS m", "n\n1\n", "nope"},
			{"place and hint", "SELECT endpoin FROM spans", "", "line 1: SELECT endpoin FROM spans\n               ^\nhint: did you mean endpoint?"},
			{"nothing", " ; -- nothing", "", "there is no statement"},
			{"command", `\l`, s.Where() + "\n", ""},
			{"unknown command", `\nope`, "", `\? lists`},
			{"error of a row", "SELECT CAST(endpoint AS bigint) FROM spans", "", "/a"},
		} {
			r, o := newRunner(s)
			err := r.Text(context.Background(), c.text)
			if got := o.out.String(); got != c.out {
				t.Errorf("%s, %s: %q, want %q", kind, c.name, got, c.out)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(Explain(err), c.err) {
				t.Errorf("%s, %s: %v, want %q", kind, c.name, err, c.err)
			}
		}
	}
}

func TestScript(t *testing.T) {
	dir := t.TempDir()
	include := filepath.Join(dir, "include.sql")
	if err := os.WriteFile(include, []byte("SELECT 'included' AS s;\n\\q\nSELECT nope;\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	itself := filepath.Join(dir, "itself.sql")
	if err := os.WriteFile(itself, []byte(`\i `+itself+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "out.csv")
	for kind, s := range sessions(t) {
		for _, c := range []struct{ name, text, out, err string }{
			{"lines", "SELECT\n 1\n AS n;\n\n-- two; in a comment\nSELECT 2 AS m", "n\n1\nm\n2\n", ""},
			{"two in a line", "SELECT 1 AS n; SELECT 2 AS m; SELECT\n3 AS l;", "n\n1\nm\n2\nl\n3\n", ""},
			{"semicolon in text", "SELECT 'a;\nb' AS s;", "s\n\"a;\nb\"\n", ""},
			{"commands between", "\\format json\nSELECT 1 AS n;\n  \\format ndjson\nSELECT 2 AS n;", "[\n{\"n\":1}\n]\n{\"n\":2}\n", ""},
			{"quit", "SELECT 1 AS n;\n\\q\nSELECT nope;", "n\n1\n", ""},
			{"include", "\\i " + include + "\nSELECT 1 AS n;", "s\nincluded\nn\n1\n", ""},
			{"include itself", "\\i " + itself, "", "more than 16 deep"},
			{"include nothing", "\\i " + dir + "/nope", "", "no such file"},
			{"output", "\\o " + to + "\nSELECT 1 AS n;\n\\o\nSELECT 2 AS n;", "n\n2\n", ""},
			{"describe", "\\format csv\n\\d spans\n", "", ""},
			{"place", "SELECT 1 AS n;\n\nSELECT\nnope;\n", "n\n1\n", "statement at line 3: column \"nope\""},
			{"too long", "SELECT 1 AS n;\nSELECT '" + strings.Repeat("x", 1<<20), "n\n1\n", "longer than 1 MiB"},
			{"empty", "", "", ""},
		} {
			r, o := newRunner(s)
			err := r.Script(context.Background(), iotestHalf{strings.NewReader(c.text)})
			if got := o.out.String(); got != c.out && c.name != "describe" {
				t.Errorf("%s, %s: %.200q, want %q", kind, c.name, got, c.out)
			} else if c.name == "describe" && !strings.Contains(got, "\nendpoint,VARCHAR,") {
				t.Errorf("%s, %s: %.300q", kind, c.name, got)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(Explain(err), c.err) {
				t.Errorf("%s, %s: %v, want %q", kind, c.name, err, c.err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(to); c.name == "output" && string(got) != "n\n1\n" {
				t.Errorf("%s: file has %q, %v", kind, got, err)
			}
		}
	}
}

// iotestHalf reads few bytes at a time, as pipes do.
type iotestHalf struct{ r io.Reader }

func (h iotestHalf) Read(p []byte) (int, error) { return h.r.Read(p[:min(len(p), 1000)]) }

func TestCommandsSetTheRunner(t *testing.T) {
	s := sessions(t)["local"]
	r, o := newRunner(s)
	for _, c := range []struct {
		line, err, note string
		check           func() bool
	}{
		{`\timing`, "", "Timing is on.", func() bool { return r.Timing }},
		{`\timing off`, "", "Timing is off.", func() bool { return !r.Timing }},
		{`\timing maybe`, "takes on or off", "", func() bool { return !r.Timing }},
		{`\x`, "", "Expanded display is on.", func() bool { return r.Expanded == ExpandOn }},
		{`\x`, "", "Expanded display is auto.", func() bool { return r.Expanded == ExpandAuto }},
		{`\x off;`, "", "Expanded display is off.", func() bool { return r.Expanded == ExpandOff }},
		{`\x so`, "takes on, off or auto", "", func() bool { return r.Expanded == ExpandOff }},
		{`\format table`, "", "Format is table.", func() bool { return r.Format == "table" }},
		{`\format xml`, "there are table, csv", "", func() bool { return r.Format == "table" }},
		{`\q now`, "takes no argument", "", func() bool { return true }},
		{`\i`, "name of a file", "", func() bool { return true }},
	} {
		o.err.Reset()
		err := r.Meta(context.Background(), c.line)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(Explain(err), c.err) || !c.check() || !strings.Contains(o.err.String(), c.note) {
			t.Errorf("%s: %v, %q", c.line, err, o.err.String())
		}
	}
	r.Expanded, r.Timing = ExpandOn, true
	o.out.Reset()
	if err := r.Statement(context.Background(), "SELECT 1 AS n"); err != nil || !strings.Contains(o.out.String(), "row 1") || !strings.Contains(o.err.String(), "(1 row)") {
		t.Errorf("%v %q %q", err, o.out.String(), o.err.String())
	}
	o.out.Reset()
	if err := r.Meta(context.Background(), `\?`); err != nil || strings.Count(o.out.String(), "\n") != len(metaCommands)+1 {
		t.Errorf("%v %q", err, o.out.String())
	}
}

func TestSettingsHoldOnlyInAFolder(t *testing.T) {
	run := newEngine(t).NewSession()
	local := Local("data", func(ctx context.Context, sql string, args ...any) (api.Rows, error) {
		return api.Result(run.Query(ctx, sql, args...))
	})
	r, o := newRunner(local)
	if err := r.Text(context.Background(), "SET query_timeout = '90 seconds'; SHOW query_timeout"); err != nil || !strings.Contains(o.out.String(), "1m30s") || o.err.Len() > 0 {
		t.Errorf("%v %q %q", err, o.out.String(), o.err.String())
	}
	r, o = newRunner(sessions(t)["remote"])
	if err := r.Text(context.Background(), "SET query_timeout = '90 seconds'"); err != nil || !strings.Contains(o.err.String(), "SET had no effect") {
		t.Errorf("%v %q", err, o.err.String())
	}
}

func TestRemoteFailures(t *testing.T) {
	for _, a := range []string{"", "ftp://x", "http://", "http://x?y", ":::"} {
		if _, err := Remote(a); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", a, err)
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	answers := map[string]http.HandlerFunc{
		"is it a Flowlake server?": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>no</html>", 404) },
		"not a result":             func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>hello</html>\n") },
		"after 1 rows": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"columns":[{"name":"n","type":"BIGINT"}]}`+"\n[\"1\"]\n")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"division by something": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Flowlake-Error")
			_, _ = io.WriteString(w, `{"columns":[{"name":"n","type":"BIGINT"}]}`+"\n")
			w.Header().Set("X-Flowlake-Error", `{"message":"division by something"}`)
		},
	}
	for want, h := range answers {
		s := httptest.NewUnstartedServer(h)
		s.Start()
		session, err := Remote(strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		r, _ := newRunner(session)
		if err := r.Text(context.Background(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		s.Close()
	}
	session, err := Remote(closed.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := newRunner(session)
	if err := r.Text(context.Background(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "flowlake server") {
		t.Error(err)
	}
}

// typed is what somebody types, line by line.
type typed struct {
	lines []string
	i     int
}

func (l *typed) Readline() (string, error) {
	if l.i == len(l.lines) {
		return "", io.EOF
	}
	l.i++
	if s := l.lines[l.i-1]; s != "^C" {
		return s, nil
	}
	return "", readline.ErrInterrupt
}

func TestInteractive(t *testing.T) {
	for kind, s := range sessions(t) {
		r, o := newRunner(s)
		in := &typed{lines: []string{"SELECT 1 AS n;", "^C", "SELECT nope;", "", `\nope`, "help", "SELECT 2 AS m; SELECT 3 AS l;", "quit", "SELECT 4;"}}
		if err := r.Interactive(context.Background(), in); err != nil || in.i != 8 {
			t.Errorf("%s: %v after %d lines", kind, err, in.i)
		}
		if got := o.out.String(); !strings.HasPrefix(got, "n\n1\n") || !strings.HasSuffix(got, "m\n2\nl\n3\n") {
			t.Errorf("%s: %q", kind, got)
		}
		if got := o.err.String(); strings.Count(got, "error: ") != 2 {
			t.Errorf("%s: %q", kind, got)
		}
		if err := r.Interactive(context.Background(), &typed{}); err != nil {
			t.Errorf("%s: end of input: %v", kind, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	for kind, s := range sessions(t) {
		r, _ := newRunner(s)
		r.Timeout = time.Nanosecond
		err := r.Text(context.Background(), "SELECT count(*) FROM spans")
		var p *api.Problem
		if !errors.As(err, &p) || p.SQLState != "57014" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestAccept(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, " ": true, "SELECT 1": false, "SELECT 1;": true, "SELECT ';": false, `\d`: true, "quit": true, "-- x": true, "help": true,
	} {
		if accept(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestComplete(t *testing.T) {
	for kind, s := range sessions(t) {
		c := &Completer{Session: s}
		for _, x := range []struct {
			text       string // | is the cursor
			want, deny string // values that are and are not offered
		}{
			{"sel|", "select", "SELECT"},
			{"SEL|", "SELECT", "select"},
			{"SELECT * FROM fl|", "flows", "spans"},
			{"SELECT * FROM |", "spans", "SELECT"},
			{"SELECT endp| FROM spans", "endpoint", "close_type"},
			{"SELECT clos| FROM spans", "", "close_type"},
			{"SELECT s.endp| FROM spans s", "endpoint", "s.endpoint"},
			{"SELECT x.dur| FROM flows f JOIN spans AS x", "duration_us", ""},
			{"SELECT approx_perc|", "approx_percentile", ""},
			{`\ti|`, `\timing`, `\x`},
			{`\d sp|`, "spans", "flows"},
			{`\format nd|`, "ndjson", "csv"},
			{`\x a|`, "auto", "on"},
			{"日本 sel|", "select", ""},
		} {
			text, rest, _ := strings.Cut(x.text, "|")
			from, list := c.Complete(text+rest, len(text))
			got := map[string]bool{}
			for _, v := range list {
				got[v.Value] = true
				if !strings.HasPrefix(strings.ToLower(v.Value), strings.ToLower(text[from:])) {
					t.Errorf("%s, %q: %q does not continue %q", kind, x.text, v.Value, text[from:])
				}
			}
			if x.want != "" && !got[x.want] || got[x.deny] {
				t.Errorf("%s, %q: %v", kind, x.text, list)
			}
		}
	}
}

func FuzzComplete(f *testing.F) {
	f.Add("SELECT s.e FROM spans s", 10)
	f.Add(`\i /et`, 6)
	f.Add("SELECT 'é", 8)
	c := &Completer{Session: blocked{}}
	f.Fuzz(func(t *testing.T, text string, cursor int) {
		if strings.HasPrefix(strings.TrimSpace(text), `\`) {
			return // would list files
		}
		from, _ := c.Complete(text, cursor)
		if from < 0 || from > len(text) {
			t.Fatal(from)
		}
	})
}

// blocked is a session that answers nothing.
type blocked struct{}

func (blocked) Where() string { return "" }
func (blocked) Keeps() bool   { return true }
func (blocked) Query(context.Context, string, time.Duration) (Result, error) {
	return nil, errors.New("no")
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "history")
	h, err := openHistory(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &history{h}
	for _, s := range []string{"SELECT 1;", "SELECT\n2;", strings.Repeat("x", maxHistoryEntry+1)} {
		if _, err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	again, err := openHistory(path)
	if err != nil || again.Len() != 2 {
		t.Fatalf("%v, %d entries", err, again.Len())
	}
	if got, err := again.GetLine(1); err != nil || got != "SELECT\n2;" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := openHistory(filepath.Join(path, "below", "a", "file")); err == nil {
		t.Error("a history below a file was opened")
	}
}

func TestExplain(t *testing.T) {
	p := &api.Problem{Message: "m", Hint: "h"}
	for want, err := range map[string]error{
		"m\nhint: h":                      p,
		"statement at line 3: m\nhint: h": &ScriptError{3, p},
		"statement at line 3: EOF":        &ScriptError{3, io.EOF},
		"d":                               &api.Problem{Message: "m", Detail: "d"},
		render.ErrFormat.Error():          render.ErrFormat,
	} {
		if got := Explain(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/render"
)

// fakeRows are n batches of two rows, then err (io.EOF when nil).
type fakeRows struct {
	n      int
	err    error
	block  bool // wait for the context before the last batch
	boom   bool // panic instead of ending
	closed *atomic.Int64
	next   int64
}

func (f *fakeRows) Columns() []render.Column {
	return []render.Column{{Name: "n", Type: schema.BigInt}, {Name: "s", Type: schema.Varchar}}
}

func (f *fakeRows) Next(ctx context.Context) (*batch.Batch, error) {
	if f.n == 0 {
		if f.boom {
			panic("boom")
		}
		if f.block {
			<-ctx.Done()
			return nil, &Problem{Message: "canceled", SQLState: "57014"}
		}
		if f.err != nil {
			return nil, f.err
		}
		return nil, io.EOF
	}
	f.n--
	f.next += 2
	return &batch.Batch{N: 2, Cols: []*batch.Vector{
		{Type: schema.BigInt, I64: []int64{f.next - 1, f.next}},
		{Type: schema.Varchar, Codes: []uint32{0, 1}, Dict: batch.DictOf("a", `b,"`)},
	}}, nil
}

func (f *fakeRows) Close() error { f.closed.Add(1); return nil }

// fake is an engine that knows a few statements.
type fake struct {
	opened, closed atomic.Int64
	sql            atomic.Pointer[string]
	args           atomic.Pointer[[]any]
}

func (f *fake) query(ctx context.Context, sql string, args ...any) (Rows, error) {
	f.sql.Store(&sql)
	f.args.Store(&args)
	rows := &fakeRows{closed: &f.closed}
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	switch word {
	case "BAD":
		return nil, fmt.Errorf("query: %w", &Problem{Message: "unknown column", SQLState: "42703", Line: 1, Column: 5, Detail: "unknown column\nBAD\n    ^", Hint: `did you mean "time"?`})
	case "INTERNAL":
		return nil, errors.New("disk on fire")
	case "LATE":
		rows.n, rows.err = 1, &Problem{Message: "division by zero", SQLState: "22012"}
	case "EARLY":
		rows.err = &Problem{Message: "out of memory", SQLState: "53200"}
	case "BLOCK":
		rows.block = true
	case "STREAM":
		rows.n, rows.block = 1, true
	case "PANIC":
		panic("boom")
	case "PANICLATE":
		rows.n, rows.boom = 1, true
	case "EMPTY":
	case "ENDLESS":
		rows.n = 1 << 40
	default:
		rows.n = 2
	}
	f.opened.Add(1)
	return rows, nil
}

func newServer(t *testing.T, change func(*Options)) (*fake, *httptest.Server) {
	t.Helper()
	f := &fake{}
	reg := prometheus.NewRegistry()
	o := Options{Query: f.query, Metrics: reg}
	if change != nil {
		change(&o)
	}
	h := New(o)
	reg.MustRegister(h)
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.Close()
		if o, c := f.opened.Load(), f.closed.Load(); o != c {
			t.Errorf("%d statements were opened, %d closed", o, c)
		}
	})
	return f, s
}

type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

func do(t *testing.T, method, u, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b), err}
}

const (
	wantCSV    = "n,s\n1,a\n2,\"b,\"\"\"\n3,a\n4,\"b,\"\"\"\n"
	wantJSON   = "[\n{\"n\":1,\"s\":\"a\"},\n{\"n\":2,\"s\":\"b,\\\"\"},\n{\"n\":3,\"s\":\"a\"},\n{\"n\":4,\"s\":\"b,\\\"\"}\n]\n"
	wantNDJSON = "{\"n\":1,\"s\":\"a\"}\n{\"n\":2,\"s\":\"b,\\\"\"}\n{\"n\":3,\"s\":\"a\"}\n{\"n\":4,\"s\":\"b,\\\"\"}\n"
)

func TestFormsOfARequest(t *testing.T) {
	f, s := newServer(t, nil)
	for _, c := range []struct {
		name, query, contentType, accept, body string
		sql, mime, want                        string
	}{
		{"plain", "", "", "", "SELECT 1", "SELECT 1", "application/json", wantJSON},
		{"text", "?format=csv", "text/plain; charset=utf-8", "", "SELECT 1", "SELECT 1", "text/csv; charset=utf-8; header=present", wantCSV},
		{"curl -d", "?format=ndjson", "application/x-www-form-urlencoded", "*/*", "SELECT a=1&b%20", "SELECT a=1&b%20", "application/x-ndjson", wantNDJSON},
		{"form", "", "application/x-www-form-urlencoded", "", url.Values{"sql": {"SELECT '&='"}, "format": {"csv"}}.Encode(), "SELECT '&='", "text/csv; charset=utf-8; header=present", wantCSV},
		{"json", "", "application/json", "", `{"sql":"SELECT 1","format":"ndjson","timeout":"5s"}`, "SELECT 1", "application/x-ndjson", wantNDJSON},
		{"address wins", "?format=csv", "application/json", "application/json", `{"sql":"SELECT 1","format":"ndjson"}`, "SELECT 1", "text/csv; charset=utf-8; header=present", wantCSV},
		{"accept", "", "", "text/html, text/csv;q=0.9, application/json;q=0.2", "SELECT 1", "SELECT 1", "text/csv; charset=utf-8; header=present", wantCSV},
		{"accept any", "", "", "text/html, */*;q=0.1", "SELECT 1", "SELECT 1", "application/json", wantJSON},
	} {
		res := do(t, "POST", s.URL+"/api/v1/sql"+c.query, c.body, "Content-Type", c.contentType, "Accept", c.accept)
		if c.accept == "" { // the header was sent empty: nothing can be made
			res = do(t, "POST", s.URL+"/api/v1/sql"+c.query, c.body, "Content-Type", c.contentType)
		}
		if res.StatusCode != 200 || res.err != nil || res.body != c.want || res.Header.Get("Content-Type") != c.mime || *f.sql.Load() != c.sql {
			t.Errorf("%s: %d %v %s %q, statement %q", c.name, res.StatusCode, res.err, res.Header.Get("Content-Type"), res.body, *f.sql.Load())
		}
		if res.Trailer.Get("X-Flowlake-Rows") != "4" || res.Trailer.Get("X-Flowlake-Elapsed") == "" || res.Trailer.Get("X-Flowlake-Error") != "" {
			t.Errorf("%s: trailers %v", c.name, res.Trailer)
		}
	}
}

func TestParameters(t *testing.T) {
	f, s := newServer(t, nil)
	res := do(t, "POST", s.URL+"/api/v1/sql", `{"sql":"SELECT $1","params":[null,true,7,1.5,9223372036854775807,"x",1e3]}`, "Content-Type", "application/json")
	if res.StatusCode != 200 {
		t.Fatal(res.body)
	}
	want := []any{nil, true, int64(7), 1.5, int64(9223372036854775807), "x", 1e3}
	if got := *f.args.Load(); fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		t.Errorf("%#v, want %#v", got, want)
	}
}

func TestRefusals(t *testing.T) {
	_, s := newServer(t, func(o *Options) { o.MaxBodyBytes = 1000 })
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		code                     int
		want                     string // within the body
	}{
		{"nothing there", "GET", "/api/v2", "", nil, 404, "POST /api/v1/sql"},
		{"root", "GET", "/", "", nil, 404, "GET /metrics"},
		{"method", "GET", "/api/v1/sql?sql=1", "", nil, 405, "takes POST"},
		{"method of health", "POST", "/healthz", "", nil, 405, "GET, HEAD"},
		{"odd method", "G", "/healthz", "", nil, 405, "GET, HEAD"},
		{"no statement", "POST", "/api/v1/sql", " \n", nil, 400, "there is no statement"},
		{"semantics", "POST", "/api/v1/sql", "BAD x", nil, 400, `"sqlstate":"42703","line":1,"column":5`},
		{"hint", "POST", "/api/v1/sql", "BAD x", nil, 400, `did you mean \"time\"?`},
		{"internal", "POST", "/api/v1/sql", "INTERNAL", nil, 500, "disk on fire"},
		{"panic", "POST", "/api/v1/sql", "PANIC", nil, 500, "internal error"},
		{"before the first row", "POST", "/api/v1/sql", "EARLY", nil, 422, "out of memory"},
		{"timeout", "POST", "/api/v1/sql?timeout=10ms", "BLOCK", nil, 504, "57014"},
		{"bad timeout", "POST", "/api/v1/sql?timeout=-1", "SELECT 1", nil, 400, "not a duration"},
		{"format", "POST", "/api/v1/sql?format=xml", "SELECT 1", nil, 406, "table, csv, json, ndjson"},
		{"accept", "POST", "/api/v1/sql", "SELECT 1", []string{"Accept", "image/png"}, 406, "table, csv, json"},
		{"too long", "POST", "/api/v1/sql", strings.Repeat(" ", 1001), nil, 413, "1000 bytes"},
		{"media type", "POST", "/api/v1/sql", "SELECT 1", []string{"Content-Type", "image/png"}, 415, "text/plain"},
		{"broken media type", "POST", "/api/v1/sql", "SELECT 1", []string{"Content-Type", "a;;=/"}, 415, "Content-Type"},
		{"compressed", "POST", "/api/v1/sql", "SELECT 1", []string{"Content-Encoding", "br"}, 415, "br"},
		{"json syntax", "POST", "/api/v1/sql", "{", []string{"Content-Type", "application/json"}, 400, "JSON body"},
		{"json key", "POST", "/api/v1/sql", `{"query":""}`, []string{"Content-Type", "application/json"}, 400, `unknown field \"query\"`},
		{"json rest", "POST", "/api/v1/sql", `{"sql":"SELECT 1"} x`, []string{"Content-Type", "application/json"}, 400, "behind the object"},
		{"json parameter", "POST", "/api/v1/sql", `{"sql":"SELECT 1","params":[[1]]}`, []string{"Content-Type", "application/json"}, 400, "$1"},
		{"json number", "POST", "/api/v1/sql", `{"sql":"SELECT 1","params":[1e999]}`, []string{"Content-Type", "application/json"}, 400, "out of range"},
		{"form key", "POST", "/api/v1/sql", "sql=SELECT+1&x=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, `unknown form key`},
		{"form escape", "POST", "/api/v1/sql", "sql=%zz", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400, "form"},
		{"page elsewhere", "POST", "/api/v1/sql", "SELECT 1", []string{"Origin", "https://evil.example"}, 403, "evil.example"},
		{"rebound name", "POST", "/api/v1/sql", "SELECT 1", []string{"Host", "evil.example:7700"}, 403, "localhost"},
	} {
		res := do(t, c.method, s.URL+c.path, c.body, c.header...)
		if res.StatusCode != c.code || !strings.Contains(res.body, c.want) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, res.StatusCode, res.body, c.code, c.want)
		}
		var e struct{ Error *Problem }
		if err := json.Unmarshal([]byte(res.body), &e); err != nil || e.Error == nil || e.Error.Message == "" {
			t.Errorf("%s: body %q: %v", c.name, res.body, err)
		}
	}
	for _, host := range []string{"localhost:7700", "LOCALHOST.", "app.localhost", "127.0.0.1", "[::1]:7700"} {
		if res := do(t, "POST", s.URL+"/api/v1/sql", "SELECT 1", "Host", host); res.StatusCode != 200 {
			t.Errorf("host %s: %d", host, res.StatusCode)
		}
	}
	if res := do(t, "POST", s.URL+"/api/v1/sql", "SELECT 1", "Origin", s.URL); res.StatusCode != 200 {
		t.Errorf("page of our own: %d", res.StatusCode)
	}
}

func TestAnyHost(t *testing.T) {
	_, s := newServer(t, func(o *Options) { o.AnyHost = true })
	if res := do(t, "POST", s.URL+"/api/v1/sql", "SELECT 1", "Host", "flowlake.example"); res.StatusCode != 200 {
		t.Error(res.StatusCode, res.body)
	}
}

// An error behind the first rows cuts the response off, or comes as a trailer for who takes those.
func TestLateErrors(t *testing.T) {
	_, s := newServer(t, nil)
	for _, sql := range []string{"LATE", "PANICLATE"} {
		res := do(t, "POST", s.URL+"/api/v1/sql?format=csv", sql)
		if res.StatusCode != 200 || !errors.Is(res.err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %d %v %q", sql, res.StatusCode, res.err, res.body)
		}
	}
	res := do(t, "POST", s.URL+"/api/v1/sql?format=csv", "LATE", "TE", "trailers")
	var p Problem
	if err := json.Unmarshal([]byte(res.Trailer.Get("X-Flowlake-Error")), &p); err != nil || p.SQLState != "22012" || res.err != nil {
		t.Errorf("%v %v %v", res.Trailer, err, res.err)
	}
	if res.body != "n,s\n1,a\n2,\"b,\"\"\"\n" {
		t.Errorf("%q", res.body)
	}
}

// The rows that are there come before the statement ends, and a client that leaves ends the statement.
func TestStreamsAndCancels(t *testing.T) {
	f, s := newServer(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, zip := range []string{"identity", "gzip"} {
		ctx, cancel := context.WithCancel(ctx)
		r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/api/v1/sql?format=ndjson", strings.NewReader("STREAM"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", zip)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body := io.Reader(res.Body)
		if zip == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, 16)
		if _, err := io.ReadFull(body, got); err != nil || string(got) != `{"n":1,"s":"a"}`+"\n" {
			t.Fatalf("%q %v", got, err)
		}
		cancel()
		res.Body.Close()
	}
	deadline := time.Now().Add(time.Minute)
	for f.closed.Load() != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the statement goes on though its client is gone")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestGzip(t *testing.T) {
	_, s := newServer(t, nil)
	res := do(t, "POST", s.URL+"/api/v1/sql?format=csv", "SELECT 1", "Accept-Encoding", "br, gzip;q=0.5")
	if res.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal(res.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(res.body))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != wantCSV || res.Trailer.Get("X-Flowlake-Rows") != "4" {
		t.Errorf("%q %v %v", got, err, res.Trailer)
	}
	if res := do(t, "POST", s.URL+"/api/v1/sql?format=csv", "SELECT 1", "Accept-Encoding", "gzip;q=0"); res.body != wantCSV {
		t.Errorf("gzip was not to be used: %q", res.body)
	}
}

func TestBusy(t *testing.T) {
	f, s := newServer(t, func(o *Options) { o.MaxConcurrent, o.QueueTimeout = 1, 10*time.Millisecond })
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/api/v1/sql", strings.NewReader("STREAM"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	res := do(t, "POST", s.URL+"/api/v1/sql", "SELECT 1")
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(res.body, "53300") {
		t.Errorf("%d %v %s", res.StatusCode, res.Header, res.body)
	}
	if n := f.opened.Load(); n != 1 {
		t.Errorf("%d statements were started", n)
	}
	cancel()
}

func TestReadiness(t *testing.T) {
	var notReady atomic.Bool
	notReady.Store(true)
	_, s := newServer(t, func(o *Options) {
		o.Ready = func() error {
			if notReady.Load() {
				return errors.New("replaying the log")
			}
			return nil
		}
	})
	if res := do(t, "GET", s.URL+"/readyz", ""); res.StatusCode != 503 || !strings.Contains(res.body, "replaying the log") {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	if res := do(t, "POST", s.URL+"/api/v1/sql", "SELECT 1"); res.StatusCode != 503 || !strings.Contains(res.body, "replaying the log") || res.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	if res := do(t, "GET", s.URL+"/healthz", ""); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
	notReady.Store(false)
	if res := do(t, "GET", s.URL+"/readyz", ""); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, res.body)
	}
}

func TestMetricsOfTheDoor(t *testing.T) {
	_, s := newServer(t, nil)
	do(t, "POST", s.URL+"/api/v1/sql?format=csv", "SELECT 1")
	do(t, "POST", s.URL+"/api/v1/sql?format=csv", "BAD x")
	do(t, "POST", s.URL+"/api/v1/sql?format=csv", "LATE")
	do(t, "GET", s.URL+"/some/where", "")
	res := do(t, "GET", s.URL+"/metrics", "")
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(strings.NewReader(res.body))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range families["flowlake_http_requests_total"].GetMetric() {
		got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	for key, want := range map[string]float64{"/api/v1/sql 200": 1, "/api/v1/sql 400": 1, "/api/v1/sql 0": 1, "other 404": 1} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v (%v)", key, got[key], want, got)
		}
	}
	if n := families["flowlake_http_rows_total"].GetMetric()[0].GetCounter().GetValue(); n != 6 {
		t.Errorf("%v rows", n)
	}
	if families["flowlake_http_request_seconds"] == nil || families["flowlake_http_response_bytes_total"] == nil {
		t.Error("latency or bytes are missing")
	}
}

// A client that stalls, sending or reading, is given up.
func TestStalls(t *testing.T) {
	f, s := newServer(t, func(o *Options) { o.StallTimeout = 50 * time.Millisecond })
	pr, pw := io.Pipe()
	defer pw.Close()
	res, err := http.Post(s.URL+"/api/v1/sql", "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestTimeout {
		t.Errorf("%d", res.StatusCode)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST /api/v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nENDLESS")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for f.closed.Load() < 1 { // we read nothing: buffers fill up
		if time.Now().After(deadline) {
			t.Fatal("the statement goes on though its client does not read")
		}
		time.Sleep(time.Millisecond)
	}
}

func FuzzParseBody(f *testing.F) {
	f.Add("application/json", []byte(`{"sql":"SELECT 1","params":[1,"x",null],"format":"csv","timeout":"1s"}`), "text/csv;q=0.5, */*")
	f.Add("application/x-www-form-urlencoded", []byte("sql=SELECT+1&format=json"), "")
	f.Add("text/plain", []byte("SELECT 1"), "image/png")
	f.Add("application/x-www-form-urlencoded", []byte("SELECT 1"), "application/*")
	f.Fuzz(func(t *testing.T, contentType string, body []byte, accept string) {
		req, bad := parseBody(contentType, body)
		if bad == nil {
			bad = req.check([]string{accept})
		}
		if bad != nil {
			if bad.code < 400 || bad.code > 499 || bad.Message == "" {
				t.Fatalf("%d %q", bad.code, bad.Message)
			}
			return
		}
		if render.MIME(req.Format) == "" || len(bytes.TrimSpace([]byte(req.SQL))) == 0 || req.timeout < 0 {
			t.Fatalf("%+v", req)
		}
	})
}

package db_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/exec"
)

// The rows lie in two days of January 2026. DuckDB's TIMESTAMP counts microseconds, so theirs are whole ones.
var duckStart = time.Date(2026, 1, 4, 21, 30, 0, 0, time.UTC)

const duckSpan = 26 * time.Hour

func duckTime(rng *rand.Rand) int64 {
	return duckStart.UnixNano() + rng.Int64N(int64(duckSpan/time.Microsecond))*1000
}

func v4(a, b, c, d byte) []byte {
	return []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}
}

// podTags is the tag set of pod i; every fourth has no label, pod 0 no tags at all.
func podTags(i int) []byte {
	if i == 0 {
		return nil
	}
	set := []tags.Tag{{Key: "pod", Value: fmt.Sprint("pod-", i)}, {Key: "service", Value: fmt.Sprint("svc-", i%7)}, {Key: "zone", Value: string(rune('a' + i%3))}}
	if i%4 != 0 {
		set = append(set, tags.Tag{Key: "label.app", Value: fmt.Sprint("App_", i%5)})
	}
	return tags.AppendSet(nil, set...)
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func duckFlows(rng *rand.Rand, n int) *batch.Batch {
	t := schema.Flows()
	col, b := t.MustColumn, batch.NewBuilder(t)
	for range n {
		at, c, s := duckTime(rng), rng.IntN(40), rng.IntN(25)
		b.Int(col("time"), at)
		b.Int(col("start_time"), at-rng.Int64N(90e6)*1000)
		b.Int(col("end_time"), at)
		b.Int(col("flow_id"), rng.Int64N(1<<50))
		b.Bool(col("is_new"), rng.IntN(3) == 0)
		b.String(col("close_type"), pick(rng, "normal", "normal", "forced_report", "server_rst", "", "client_rst"))
		b.String(col("protocol"), pick(rng, "tcp", "tcp", "udp", "icmp"))
		b.String(col("l7_protocol"), pick(rng, "http", "grpc", "dns", "", "mysql"))
		b.Text(col("client_ip"), v4(10, 0, 1, byte(c)))
		b.Text(col("server_ip"), v4(10, 0, 2, byte(s)))
		b.Int(col("client_port"), 32768+rng.Int64N(1000))
		b.Int(col("server_port"), pick(rng, int64(80), 443, 53, 3306))
		b.Int(col("bytes_tx"), int64(rng.ExpFloat64()*20_000))
		b.Int(col("bytes_rx"), int64(rng.ExpFloat64()*90_000))
		b.Int(col("packets_tx"), rng.Int64N(50))
		b.Int(col("packets_rx"), rng.Int64N(50))
		b.Int(col("tcp_flags_tx"), rng.Int64N(64))
		if rng.IntN(3) > 0 {
			b.Int(col("rtt_us"), int64(rng.ExpFloat64()*3000))
		}
		if rng.IntN(4) == 0 {
			b.Int(col("tls_rtt_us"), rng.Int64N(4000))
		}
		b.Tags(col("client_tags"), podTags(c))
		b.Tags(col("server_tags"), podTags(100+s))
		b.EndRow()
	}
	return b.Seal()
}

func duckSpans(rng *rand.Rand, n, firstID int) *batch.Batch {
	t := schema.Spans()
	col, b := t.MustColumn, batch.NewBuilder(t)
	for i := range n {
		at, c, s := duckTime(rng), rng.IntN(40), rng.IntN(25)
		b.Int(col("time"), at)
		b.Int(col("id"), int64(firstID+i))
		b.Text(col("client_ip"), v4(10, 0, 1, byte(c)))
		b.Text(col("server_ip"), v4(10, 0, 2, byte(s)))
		b.String(col("l7_protocol"), pick(rng, "http", "http2", "grpc", "mysql"))
		b.String(col("request_type"), pick(rng, "GET", "POST", "put", "Delete"))
		b.String(col("request_domain"), pick(rng, "shop.example.com", "API.example.com", "münchen.example", "10%_off.example", ""))
		b.String(col("request_resource"), fmt.Sprintf("/api/v%d/%s/%d?q=%d", 1+rng.IntN(2), pick(rng, "users", "Orders", "café"), rng.IntN(500), rng.IntN(9)))
		b.String(col("endpoint"), pick(rng, "/api/users", "/api/Orders", "  /padded ", "/日本/x", "", "/api/v1/a.b-c"))
		b.String(col("response_status"), pick(rng, "ok", "ok", "ok", "client_error", "server_error", "timeout"))
		if rng.IntN(6) > 0 {
			b.Int(col("duration_us"), int64(rng.ExpFloat64()*8000))
			b.Int(col("end_time"), at+1e6)
			b.Int(col("response_code"), pick(rng, int64(200), 200, 204, 404, 500, 503))
		}
		if rng.IntN(5) > 0 {
			b.Int(col("request_bytes"), rng.Int64N(3000)-500)
		}
		b.String(col("trace_id"), fmt.Sprintf("%032x", rng.IntN(900)))
		b.String(col("service_name"), fmt.Sprint("svc-", s%7))
		b.Int(col("thread_request"), rng.Int64N(64))
		b.Bool(col("is_tls"), rng.IntN(2) == 0)
		if rng.IntN(3) > 0 {
			b.Text(col("attributes"), tags.AppendSet(nil, tags.Tag{Key: "http.route", Value: pick(rng, "/u", "/o")}, tags.Tag{Key: "n", Value: strconv.Itoa(rng.IntN(30))}))
		}
		b.Tags(col("client_tags"), podTags(c))
		b.Tags(col("server_tags"), podTags(100+s))
		b.EndRow()
	}
	return b.Seal()
}

func duckSamples(rng *rand.Rand, n int) *batch.Batch {
	t := schema.Samples()
	col, b := t.MustColumn, batch.NewBuilder(t)
	for range n {
		b.Int(col("time"), duckTime(rng))
		b.Float(col("value"), pick(rng, rng.NormFloat64()*1000, float64(rng.IntN(20)-10)/4, rng.Float64(), 0))
		b.Tags(col("tags"), tags.AppendSet(nil, tags.Tag{Key: "__name__", Value: "load"}, tags.Tag{Key: "job", Value: fmt.Sprint("job-", rng.IntN(6))}))
		b.EndRow()
	}
	return b.Seal()
}

// duckDatabase is a database whose rows lie in segments of several flushes, some of them merged. It gives the Parquet files
// of each table, and those of tag sets under "tags".
func duckDatabase(t *testing.T) (*db.DB, map[string][]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	d, err := db.Open(dir, func(o *db.Options) {
		o.FlushRows, o.NoSync, o.CompactEvery = 700, true, time.Hour
		o.Now = func() time.Time { return duckStart.Add(duckSpan) }
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, rng := context.Background(), rand.New(rand.NewPCG(7, 11))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		must(d.Write(ctx, duckFlows(rng, 400)))
		must(d.Write(ctx, duckSpans(rng, 350, 350*i)))
		must(d.Write(ctx, duckSamples(rng, 200)))
		must(d.Flush(ctx))
		if i == 3 {
			must(d.Compact(ctx))
		}
	}
	// a checkpoint stands still while the database merges on
	still := filepath.Join(t.TempDir(), "checkpoint")
	must(d.Checkpoint(ctx, still))
	files := map[string][]string{}
	for _, name := range []string{"flows", "spans", "samples", "tags"} {
		pattern := filepath.Join(still, "tables", name, "*", "*", "*.parquet")
		if name == "tags" {
			pattern = filepath.Join(still, name, "*.parquet")
		}
		if files[name], err = filepath.Glob(pattern); err != nil || len(files[name]) == 0 {
			t.Fatalf("no Parquet file of %s", name)
		}
	}
	return d, files
}

// duckServer answers JSON lines {"sql": ...} with {"types": [...], "rows": [[...]]} or {"error": ...}. A time is the text of
// its Unix nanoseconds, an interval that of its microseconds.
//
// Its settings make DuckDB order NULLs, divide integers and treat division by zero as Postgres and we do (docs/sql).
const duckServer = `
import duckdb, json, sys
if int(duckdb.__version__.split('.')[0]) < 2:
    print(json.dumps({'version': duckdb.__version__}), flush=True); sys.exit()
print(json.dumps({'version': duckdb.__version__, 'new': True}), flush=True)
c = duckdb.connect()
for s in ["default_null_order='nulls_last_on_asc_first_on_desc'", "integer_division=true", "ieee_floating_point_ops=false", "error_on_division_by_zero=false", "TimeZone='UTC'", "threads=2"]:
    c.execute('SET ' + s)
def text(v):
    if v is None: return None
    if isinstance(v, bool): return 'true' if v else 'false'
    if isinstance(v, float): return repr(v)
    return str(v)
for line in sys.stdin:
    sql = json.loads(line)['sql']
    try:
        if sql.startswith('CREATE'):
            c.execute(sql)
            answer = {'types': [], 'rows': []}
        else:
            c.execute('CREATE OR REPLACE TEMP TABLE answer AS ' + sql)
            cols, types = [], []
            for d in c.execute('DESCRIBE answer').fetchall():
                q = '"%s"' % d[0].replace('"', '""')
                if d[1].startswith(('TIMESTAMP', 'DATE')): q = 'epoch_ns(%s)' % q
                elif d[1] == 'INTERVAL': q = '(epoch(%s) * 1000000)::BIGINT' % q
                elif '(' in d[1] and not d[1].startswith('DECIMAL') or d[1].endswith(']'): q += '::VARCHAR'
                cols.append(q); types.append(d[1])
            rows = c.execute('SELECT %s FROM answer ORDER BY rowid' % ', '.join(cols)).fetchall()
            answer = {'types': types, 'rows': [[text(v) for v in r] for r in rows]}
    except Exception as e:
        answer = {'error': str(e)}
    print(json.dumps(answer), flush=True)
`

// duckAnswer is one line of duckServer.
type duckAnswer struct {
	Types []string
	Rows  [][]*string
	Error string
}

// duck is a DuckDB that runs in its own process.
type duck struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// startDuck skips the test where there is no Python with DuckDB 2 or later.
func startDuck(t *testing.T) *duck {
	t.Helper()
	python := cmp.Or(os.Getenv("FLOWLAKE_PYTHON"), "python3")
	if out, err := osexec.Command(python, "-c", "import duckdb").CombinedOutput(); err != nil {
		t.Skipf("%s has no module duckdb (FLOWLAKE_PYTHON names another): %v %s", python, err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := osexec.CommandContext(ctx, python, "-c", duckServer)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("duckdb: %v\n%s", err, stderr.String())
		}
		cancel()
	})
	d := &duck{t: t, in: in, out: bufio.NewReader(out)}
	var hello struct {
		Version string
		New     bool
	}
	d.read(&hello)
	if !hello.New {
		t.Skipf("DuckDB %s is older than 2.0", hello.Version)
	}
	return d
}

func (d *duck) read(v any) {
	d.t.Helper()
	line, err := d.out.ReadBytes('\n')
	if err != nil {
		d.t.Fatalf("duckdb ended: %v", err)
	}
	if err := json.Unmarshal(line, v); err != nil {
		d.t.Fatal(err)
	}
}

func (d *duck) ask(sql string) duckAnswer {
	d.t.Helper()
	line, err := json.Marshal(map[string]string{"sql": sql})
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.in.Write(append(line, '\n')); err != nil {
		d.t.Fatal(err)
	}
	var a duckAnswer
	d.read(&a)
	return a
}

// views makes tables that read as ours: times in microseconds, tag sets joined as structs, attributes as a map.
func (d *duck) views(files map[string][]string) {
	d.t.Helper()
	list := func(name string) string { return "read_parquet(['" + strings.Join(files[name], "', '") + "'])" }
	set := func(side, name string) string {
		return fmt.Sprintf("{'pod': %[1]s.pod, 'service': %[1]s.service, 'zone': %[1]s.zone, 'job': %[1]s.job, 'label': MAP {'app': %[1]s.app}} AS %[2]s", side, name)
	}
	at := func(c string) string { return fmt.Sprintf("make_timestamp(epoch_ns(r.%[1]s) // 1000) AS %[1]s", c) }
	for _, sql := range []string{
		`CREATE TABLE sets AS SELECT id, max(value) FILTER (key = 'pod') AS pod, max(value) FILTER (key = 'service') AS service,
			max(value) FILTER (key = 'zone') AS zone, max(value) FILTER (key = 'job') AS job, max(value) FILTER (key = 'label.app') AS app
			FROM ` + list("tags") + ` GROUP BY id`,
		`CREATE TABLE flows AS SELECT r.* REPLACE (` + at("time") + `, ` + at("start_time") + `, ` + at("end_time") + `), ` + set("c", "client") + `, ` + set("s", "server") +
			` FROM ` + list("flows") + ` r LEFT JOIN sets c ON c.id = r.client_tags LEFT JOIN sets s ON s.id = r.server_tags`,
		`CREATE TABLE spans AS SELECT r.* REPLACE (` + at("time") + `, ` + at("end_time") + `, (r.attributes::JSON)::MAP(VARCHAR, VARCHAR) AS attributes), ` + set("c", "client") + `, ` + set("s", "server") +
			` FROM ` + list("spans") + ` r LEFT JOIN sets c ON c.id = r.client_tags LEFT JOIN sets s ON s.id = r.server_tags`,
		`CREATE TABLE samples AS SELECT r.* REPLACE (` + at("time") + `), ` + set("c", "tag") + ` FROM ` + list("samples") + ` r LEFT JOIN sets c ON c.id = r.tags`,
	} {
		if a := d.ask(sql); a.Error != "" {
			d.t.Fatalf("duckdb: %s\n%s", a.Error, sql)
		}
	}
}

// ourAnswer is a result in the form of a duckAnswer, with our types.
func ourAnswer(e *query.Engine, sql string) duckAnswer {
	ctx := context.Background()
	res, err := e.Query(ctx, sql)
	if err != nil {
		return duckAnswer{Error: err.Error()}
	}
	defer res.Close()
	var a duckAnswer
	for _, c := range res.Columns() {
		a.Types = append(a.Types, c.Type.String())
	}
	for {
		b, err := res.Next(ctx)
		if errors.Is(err, io.EOF) {
			return a
		}
		if err != nil {
			return duckAnswer{Error: err.Error()}
		}
		for i := range b.N {
			row := make([]*string, len(b.Cols))
			for c, v := range b.Cols {
				row[c] = ourText(exec.ValueAt(v, i))
			}
			a.Rows = append(a.Rows, row)
		}
	}
}

func ourText(v exec.Value) *string {
	var s string
	switch {
	case v.Null:
		return nil
	case v.Type == schema.Timestamp:
		s = strconv.FormatInt(v.I, 10)
	case v.Type == schema.Interval:
		s = strconv.FormatInt(v.I/1000, 10)
	default:
		s = v.Text()
	}
	return &s
}

func isFloat(typ string) bool {
	return typ == "DOUBLE" || typ == "FLOAT" || strings.HasPrefix(typ, "DECIMAL")
}

// sameCell compares numbers with a fraction to 1e-9 of their value (sums are added in another order), all else as text.
func sameCell(a, b *string, float bool) bool {
	if a == nil || b == nil || *a == *b || !float {
		return a == b || a != nil && b != nil && *a == *b
	}
	x, err1 := strconv.ParseFloat(*a, 64)
	y, err2 := strconv.ParseFloat(*b, 64)
	return err1 == nil && err2 == nil && (x == y || math.Abs(x-y) <= 1e-9*max(math.Abs(x), math.Abs(y), 1e-3))
}

func showRow(r []*string) string {
	out := make([]string, len(r))
	for i, c := range r {
		out[i] = "NULL"
		if c != nil {
			out[i] = strconv.Quote(*c)
		}
	}
	return strings.Join(out, " | ")
}

// difference is "" when both answers are the same. Rows are compared in order when ordered, sorted otherwise.
func difference(ours, duck duckAnswer, ordered bool) string {
	if ours.Error != "" || duck.Error != "" {
		if ours.Error != "" && duck.Error != "" {
			return fmt.Sprintf("both refuse it:\nours %s\nduck %s", ours.Error, duck.Error)
		}
		return fmt.Sprintf("ours %d rows %s\nduck %d rows %s", len(ours.Rows), ours.Error, len(duck.Rows), duck.Error)
	}
	if len(ours.Types) != len(duck.Types) || len(ours.Rows) != len(duck.Rows) {
		return fmt.Sprintf("ours is %d rows of %d columns, duck's %d of %d", len(ours.Rows), len(ours.Types), len(duck.Rows), len(duck.Types))
	}
	if !ordered {
		byText := func(a, b []*string) int { return cmp.Compare(showRow(a), showRow(b)) }
		slices.SortFunc(ours.Rows, byText)
		slices.SortFunc(duck.Rows, byText)
	}
	for i, o := range ours.Rows {
		for c := range o {
			if !sameCell(o[c], duck.Rows[i][c], isFloat(ours.Types[c]) || isFloat(duck.Types[c])) {
				return fmt.Sprintf("row %d, column %d (%s, duck %s):\nours %s\nduck %s", i, c, ours.Types[c], duck.Types[c], showRow(o), showRow(duck.Rows[i]))
			}
		}
	}
	return ""
}

// TestAnswersAreThoseOfDuckDB asks us and DuckDB the same questions over the same Parquet files.
func TestAnswersAreThoseOfDuckDB(t *testing.T) {
	duck := startDuck(t)
	d, files := duckDatabase(t)
	duck.views(files)
	e := query.New(d)
	rows := 0
	for _, c := range duckCases {
		ours, theirs := ourAnswer(e, c.sql), duck.ask(cmp.Or(c.duck, c.sql))
		rows += len(ours.Rows)
		switch diff := difference(ours, theirs, strings.Contains(c.sql, "ORDER BY")); {
		case c.differs == "" && diff != "":
			t.Errorf("%s\n%s", c.sql, diff)
		case c.differs != "" && diff == "":
			t.Errorf("%s\nis said to differ (%s) and does not", c.sql, c.differs)
		case diff == "" && len(ours.Rows) == 0:
			t.Errorf("%s\nfinds nothing: it compares nothing", c.sql)
		}
	}
	t.Logf("%d questions, %d rows", len(duckCases), rows)
}

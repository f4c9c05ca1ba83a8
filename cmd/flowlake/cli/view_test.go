package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// viewFolder makes a data folder with a name that is hard to quote: two segments of spans in two days, with tags and without.
func viewFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "it's [1]*")
	table := schema.Spans()
	for day, service := range []string{"shop", ""} {
		d, err := db.Open(dir, func(o *db.Options) { o.NoCompaction = true })
		if err != nil {
			t.Fatal(err)
		}
		b := batch.NewBuilder(table)
		b.Int(table.MustColumn("time"), time.Date(2026, 1, 2+day, 3, 4, 5, 0, time.UTC).UnixNano())
		b.Int(table.MustColumn("server_port"), int64(80+day))
		if service != "" {
			b.Tags(table.MustColumn("server_tags"), tags.AppendSet(nil, tags.Tag{Key: "service", Value: service}, tags.Tag{Key: "zone", Value: "a'b"}))
		}
		b.EndRow()
		if err := d.Write(context.Background(), b.Seal()); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func views(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	code := Run(t.Context(), append([]string{"inspect", "view"}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &errs,
		Getenv: func(string) string { return "" }, Environ: func() []string { return nil }})
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	return out.String()
}

func TestViewNamesFiles(t *testing.T) {
	dir := viewFolder(t)
	sql := views(t, "--data", dir)
	for _, want := range []string{`it''s [[]1][*]/tags/*.parquet'`, `it''s [[]1][*]/tables/spans/raw/*/*.parquet'`, `VIEW "spans"`, "AS client", "AS server"} {
		if !strings.Contains(sql, want) {
			t.Errorf("no %q in\n%s", want, sql)
		}
	}
	if strings.Contains(sql, `"flows"`) {
		t.Errorf("a view of a table without files:\n%s", sql)
	}
	sql = views(t, "--files", "--data", dir)
	for _, want := range []string{"/raw/2026-01-02/", "/raw/2026-01-03/"} {
		if strings.Count(sql, want) != 1 {
			t.Errorf("not one %q in\n%s", want, sql)
		}
	}
	if strings.Contains(sql, "/*") {
		t.Errorf("a pattern in\n%s", sql)
	}
}

// viewPython runs the views of a file and prints rows as JSON.
const viewPython = `
import duckdb, json, sys
c = duckdb.connect()
c.execute(open(sys.argv[1]).read())
print(json.dumps(c.sql("SELECT server_port, server['service'], server['zone'], cardinality(client) FROM spans ORDER BY time").fetchall()))
`

func TestViewInDuckDB(t *testing.T) {
	python := cmp.Or(os.Getenv("FLOWLAKE_PYTHON"), "python3")
	if out, err := exec.Command(python, "-c", "import duckdb").CombinedOutput(); err != nil {
		t.Skipf("%s has no module duckdb (FLOWLAKE_PYTHON names another): %v %s", python, err, out)
	}
	dir := viewFolder(t)
	for _, args := range [][]string{{"--data", dir}, {"--data", dir, "--files"}} {
		file := filepath.Join(t.TempDir(), "views.sql")
		if err := os.WriteFile(file, []byte(views(t, args...)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), python, "-c", viewPython, file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		var got [][]any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %v in %s", args, err, out)
		}
		want := [][]any{{80.0, "shop", "a'b", 0.0}, {81.0, nil, nil, 0.0}}
		if !slices.EqualFunc(got, want, slices.Equal[[]any]) {
			t.Errorf("%v: %v, want %v", args, got, want)
		}
	}
}

package render

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

func codes(t schema.Type, values ...string) *batch.Vector {
	v := &batch.Vector{Type: t, Dict: batch.DictOf(values...)}
	for i := range values {
		v.Codes = append(v.Codes, uint32(i))
	}
	return v
}

func ints(t schema.Type, values ...int64) *batch.Vector { return &batch.Vector{Type: t, I64: values} }

func inet(s string) string {
	if s == "" {
		return ""
	}
	a := netip.MustParseAddr(s).As16()
	return string(a[:])
}

func tagSet(kv ...string) string {
	var list []tags.Tag
	for i := 0; i < len(kv); i += 2 {
		list = append(list, tags.Tag{Key: kv[i], Value: kv[i+1]})
	}
	return string(tags.AppendSet(nil, list...))
}

// sample has three rows of every type; NULLs in the second row where a type allows them.
func sample() ([]Column, *batch.Batch) {
	valid := batch.NewBitmap(3)
	valid.Set(0)
	valid.Set(2)
	nullable := func(v *batch.Vector) *batch.Vector { v.Valid = valid; return v }
	vectors := []*batch.Vector{
		ints(schema.Boolean, 1, 0, 1),
		nullable(ints(schema.Integer, -7, 0, 42)),
		ints(schema.BigInt, math.MinInt64, 0, math.MaxInt64),
		nullable(&batch.Vector{Type: schema.Double, F64: []float64{1.5, 0, math.NaN()}}),
		ints(schema.Timestamp, 1_700_000_000_123_456_789, 0, -1),
		ints(schema.Interval, 90e9, 0, 1500),
		codes(schema.Varchar, `a "quoted", text`, "", "line\none\ttab \x1b[31m"),
		codes(schema.Inet, inet("10.1.2.3"), "", inet("2001:db8::1")),
		{Type: schema.TagSet, Codes: []uint32{7, 0, 1}},
		codes(schema.Map, tagSet("k", `v"`, "b", "c"), tagSet(), tagSet("x", "y")),
		codes(schema.Bytes, "\x00\xff", "", "a"),
	}
	var cols []Column
	for _, v := range vectors {
		cols = append(cols, Column{Name: "c_" + strings.ToLower(strings.SplitN(v.Type.String(), "(", 2)[0]), Type: v.Type})
	}
	return cols, &batch.Batch{N: 3, Cols: vectors}
}

func draw(t *testing.T, format string, o Options, cols []Column, batches ...*batch.Batch) string {
	t.Helper()
	var out bytes.Buffer
	w, err := New(format, &out, o)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := NewRows(w, cols)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range batches {
		if err := rows.Batch(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestCSVIsReadBack(t *testing.T) {
	cols, b := sample()
	got, err := csv.NewReader(strings.NewReader(draw(t, "csv", Options{}, cols, b))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"c_boolean", "c_integer", "c_bigint", "c_double", "c_timestamp", "c_interval", "c_varchar", "c_inet", "c_tags", "c_map", "c_bytea"},
		{"true", "-7", "-9223372036854775808", "1.5", "2023-11-14T22:13:20.123456789Z", "90 seconds", `a "quoted", text`, "10.1.2.3", "7", `{"b":"c","k":"v\""}`, `\x00ff`},
		{"false", "", "0", "", "1970-01-01T00:00:00Z", "0 seconds", "", "", "0", "{}", `\x`},
		{"true", "42", "9223372036854775807", "NaN", "1969-12-31T23:59:59.999999999Z", "1500 nanoseconds", "line\none\ttab \x1b[31m", "2001:db8::1", "1", `{"x":"y"}`, `\x61`},
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		for j := range want[i] {
			if got[i][j] != want[i][j] {
				t.Errorf("record %d, %s: %q, want %q", i, want[0][j], got[i][j], want[i][j])
			}
		}
	}
}

func TestCSVKeepsALonelyNull(t *testing.T) {
	v := ints(schema.BigInt, 1, 0, 3)
	v.Valid = batch.NewBitmap(3)
	v.Valid.Set(0)
	v.Valid.Set(2)
	got := draw(t, "csv", Options{}, []Column{{Name: "n", Type: schema.BigInt}}, &batch.Batch{N: 3, Cols: []*batch.Vector{v}})
	if want := "n\n1\n\"\"\n3\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJSONIsReadBack(t *testing.T) {
	cols, b := sample()
	var rows []map[string]any
	if err := json.Unmarshal([]byte(draw(t, "json", Options{}, cols, b)), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || len(rows[0]) != len(cols) {
		t.Fatalf("%d rows of %d", len(rows), len(rows[0]))
	}
	for key, want := range map[string]any{"c_boolean": true, "c_integer": -7.0, "c_double": 1.5, "c_varchar": `a "quoted", text`,
		"c_timestamp": "2023-11-14T22:13:20.123456789Z", "c_inet": "10.1.2.3"} {
		if rows[0][key] != want {
			t.Errorf("%s is %v, want %v", key, rows[0][key], want)
		}
	}
	if m, ok := rows[0]["c_map"].(map[string]any); !ok || m["k"] != `v"` {
		t.Errorf("map is %v", rows[0]["c_map"])
	}
	if v, ok := rows[1]["c_integer"]; !ok || v != nil {
		t.Errorf("NULL is %v", v)
	}
	if rows[2]["c_double"] != "NaN" || rows[2]["c_varchar"] != "line\none\ttab \x1b[31m" {
		t.Errorf("third row is %v", rows[2])
	}
	for i, line := range strings.Split(strings.TrimSpace(draw(t, "ndjson", Options{}, cols, b)), "\n") {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil || len(row) != len(cols) {
			t.Errorf("line %d: %v", i, err)
		}
	}
}

func TestEmptyResults(t *testing.T) {
	one := []Column{{Name: "n", Type: schema.BigInt}}
	for _, c := range []struct {
		format string
		cols   []Column
		n      int
		want   string
	}{
		{"json", one, 0, "[]\n"}, {"json", nil, 0, "[]\n"}, {"json", nil, 2, "[\n{},\n{}\n]\n"},
		{"ndjson", one, 0, ""}, {"ndjson", nil, 1, "{}\n"},
		{"csv", one, 0, "n\n"}, {"csv", nil, 0, ""},
		{"rows", one, 0, `{"columns":[{"name":"n","type":"BIGINT"}]}` + "\n"}, {"rows", nil, 1, `{"columns":[]}` + "\n[]\n"},
		{"table", one, 0, " n\n───\n(0 rows)\n"}, {"table", nil, 0, ""},
		{"vertical", one, 0, ""}, {"markdown", one, 0, "| n |\n|---:|\n"},
	} {
		if got := draw(t, c.format, Options{}, c.cols, &batch.Batch{N: c.n}); got != c.want {
			t.Errorf("%s of %d columns, %d rows: %q, want %q", c.format, len(c.cols), c.n, got, c.want)
		}
	}
}

// What travels between two Flowlakes gives the same bytes in every format as where it came from.
func TestRowsTravel(t *testing.T) {
	cols, b := sample()
	wire := draw(t, "rows", Options{}, cols, b, b)
	for _, format := range Names() {
		r, err := NewRowReader(iotestOneByte{strings.NewReader(wire)})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w, err := New(format, &out, Options{Width: 200})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Columns(r.Columns()); err != nil {
			t.Fatal(err)
		}
		for {
			cells, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if err := w.Row(cells); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := draw(t, format, Options{Width: 200}, cols, b, b); out.String() != want {
			t.Errorf("%s differs:\n%s\nwant:\n%s", format, out.String(), want)
		}
	}
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

func TestRowReaderRefuses(t *testing.T) {
	head := `{"columns":[{"name":"n","type":"BIGINT"},{"name":"s","type":"LATER"}]}` + "\n"
	for in, want := range map[string]error{
		"": io.ErrUnexpectedEOF, "{}\n": ErrRows, "<html>\n": ErrRows, `{"columns":[]}`: io.ErrUnexpectedEOF,
		head + `["1"]` + "\n": ErrRows, head + `["1","2","3"]` + "\n": ErrRows, head + `["1","2"]`: io.ErrUnexpectedEOF,
		head + `["1",2]` + "\n": ErrRows, head + `["1","\q"]` + "\n": ErrRows, head + `["1","2]` + "\n": ErrRows,
		head + `["1","2\"]` + "\n": ErrRows, head + "[\n": ErrRows, head + "[" + strings.Repeat(" ", MaxLineBytes): ErrRowTooLong,
	} {
		r, err := NewRowReader(strings.NewReader(in))
		if err == nil {
			if r.Columns() != nil && len(r.Columns()) == 2 && r.Columns()[1].Type != schema.Varchar {
				t.Errorf("unknown type is %v", r.Columns()[1].Type)
			}
			_, err = r.Next()
		}
		if !errors.Is(err, want) {
			t.Errorf("%.100q: %v, want %v", in, err, want)
		}
	}
}

func FuzzRowReader(f *testing.F) {
	f.Add([]byte(`{"columns":[{"name":"n","type":"BIGINT"},{"name":"s","type":"VARCHAR"}]}` + "\n" + `["1",null]` + "\n" + `["a\"\u0041","\n"]` + "\n"))
	f.Add([]byte(`{"columns":[]}` + "\n[]\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := NewRowReader(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := New("rows", &again, Options{})
		if err != nil || w.Columns(r.Columns()) != nil {
			t.Fatal(err)
		}
		for {
			cells, err := r.Next()
			if err != nil {
				return
			}
			if len(cells) != len(r.Columns()) {
				t.Fatalf("%d cells for %d columns", len(cells), len(r.Columns()))
			}
			if err := w.Row(cells); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestTableFitsTheTerminal(t *testing.T) {
	cols, b := sample()
	cols, b.Cols = cols[6:8], b.Cols[6:8]
	got := draw(t, "table", Options{Width: 30}, cols, b)
	want := "" +
		" c_varchar      │ c_inet\n" +
		"────────────────┼─────────────\n" +
		" a \"quoted\", t… │ 10.1.2.3\n" +
		"                │\n" +
		" line⏎one\\u000… │ 2001:db8::1\n" +
		"(3 rows)\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for _, line := range strings.Split(got, "\n") {
		if n := len([]rune(line)); n > 30 {
			t.Errorf("%q has %d characters", line, n)
		}
	}
	// what cannot be cut to fit is written one value a line
	cols, b = sample()
	if got := draw(t, "table", Options{Width: 30}, cols, b); !strings.HasPrefix(got, "─[ row 1 ]─") || !strings.Contains(got, "c_timestamp │ 2023-11-14T22:13:20.123456789Z\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestTableShowsNoControlCharacters(t *testing.T) {
	v := codes(schema.Varchar, "\x1b]0;title\a", "\u202egnp.exe", "\xff\xfe", "日本語")
	for _, format := range []string{"table", "vertical", "markdown"} {
		got := draw(t, format, Options{}, []Column{{Name: "s", Type: schema.Varchar}}, &batch.Batch{N: 4, Cols: []*batch.Vector{v}})
		if strings.ContainsAny(got, "\x1b\a\u202e") || !strings.Contains(got, "日本語") {
			t.Errorf("%s: %q", format, got)
		}
	}
}

// A table knows its widths after MaxRows rows and streams the others.
func TestTableStreams(t *testing.T) {
	var out bytes.Buffer
	w, err := New("table", &out, Options{MaxRows: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Columns([]Column{{Name: "s", Type: schema.Varchar}}); err != nil {
		t.Fatal(err)
	}
	for i, s := range []string{"ab", "abc", "abcdef"} {
		if err := w.Row([]Cell{{Text: []byte(s)}}); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if started := out.Len() > 0; started != (i > 0) {
			t.Errorf("after row %d: %q", i, out.String())
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := " s\n─────\n ab\n abc\n ab…\n(3 rows)\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestMarkdown(t *testing.T) {
	got := draw(t, "markdown", Options{}, []Column{{Name: "a|b", Type: schema.Varchar}, {Name: "n", Type: schema.BigInt}},
		&batch.Batch{N: 1, Cols: []*batch.Vector{codes(schema.Varchar, "<x>|\n"), ints(schema.BigInt, 1)}})
	if want := "| a\\|b | n |\n|---|---:|\n| &lt;x>\\|⏎ | 1 |\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestUnknownFormatNamesThoseThereAre(t *testing.T) {
	_, err := New("xml", io.Discard, Options{})
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "table, csv, json, ndjson, rows, markdown, vertical") {
		t.Error(err)
	}
	if ByMIME("text/csv") != "csv" || ByMIME("text/plain") != "table" || ByMIME("image/png") != "" || MIME("json") != "application/json" || MIME("x") != "" {
		t.Error("media types")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestErrorsOfTheStreamAreReported(t *testing.T) {
	cols, b := sample()
	for _, format := range Names() {
		w, err := New(format, failing{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := NewRows(w, cols)
		if err == nil {
			err = rows.Batch(b)
		}
		if err == nil {
			err = w.Close()
		}
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestWritersDoNotAllocate(t *testing.T) {
	cols, b := sample()
	for _, format := range []string{"csv", "json", "ndjson", "rows"} {
		w, err := New(format, io.Discard, Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := NewRows(w, cols)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() {
			if err := rows.Batch(b); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations for 3 rows", format, n)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	cols, rows := sample()
	for _, format := range Names() {
		b.Run(format, func(b *testing.B) {
			w, err := New(format, io.Discard, Options{Width: 0, MaxRows: 10})
			if err != nil {
				b.Fatal(err)
			}
			r, err := NewRows(w, cols)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := r.Batch(rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(3*b.N), "ns/row")
		})
	}
}

package l7

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pgLine is a line of a PostgreSQL expectation: one packet with payload.
type pgLine struct {
	Message  string `json:"msg_type"`
	Type     string `json:"request_type"`
	Resource string `json:"request_resource"`
	Status   string `json:"status"`
	Affected *int64 `json:"sql_affected_rows"`
}

// pgRules are the ways in which our rows differ from the expectations, with the reason.
var pgRules = []struct {
	reason  string
	explain func(i int, l *pgLine, field, got, want string) bool
}{
	{"a Parse and the Execute behind it are one row, named by what is run",
		func(_ int, l *pgLine, field, got, _ string) bool {
			return field == "type" && l.Type == "P" && got == "EXECUTE"
		}},
	{"they know of no rows where there are 0",
		func(_ int, l *pgLine, field, got, want string) bool {
			return field == "affected" && got == "0" && want == "-1"
		}},
	{"a statement or response that takes several packets is read whole, theirs is none",
		func(_ int, l *pgLine, field, _, want string) bool {
			return field == "row" && l.Message == "Other" && want == ""
		}},
}

// TestCorpusPostgreSQL compares each packet of the capture with what is expected of it.
func TestCorpusPostgreSQL(t *testing.T) {
	base := filepath.Join(corpusDir(t), "l7", "postgre", "pgsql-all")
	text, err := os.ReadFile(base + ".result")
	if err != nil {
		t.Fatal(err)
	}
	var lines []pgLine
	for line := range strings.Lines(string(text)) {
		var l pgLine
		if err := json.NewDecoder(strings.NewReader(line)).Decode(&l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	all := payloads(t, base+".pcap")
	if len(all) != len(lines) {
		t.Fatalf("%d packets, %d lines", len(all), len(lines))
	}
	used := map[string]int{}
	for _, reversed := range []bool{false, true} {
		rec, m := playPayloads(all, Options{KeepLiterals: true}, reversed)
		if m.ParseFailures+m.WrongSide+m.Resyncs+m.Unpaired != 0 {
			t.Errorf("%+v", m)
		}
		for i := range lines {
			comparePostgreSQL(t, i, &lines[i], rec.exchanges, all[i].seq, used)
		}
	}
	for _, r := range pgRules {
		if used[r.reason] == 0 {
			t.Errorf("this explains nothing: %s", r.reason)
		}
	}
}

// comparePostgreSQL compares a line with the row whose request or response has the number seq.
func comparePostgreSQL(t *testing.T, i int, l *pgLine, rows []Exchange, seq uint32, used map[string]int) {
	t.Helper()
	differ := func(field, got, want string) {
		if got == want {
			return
		}
		for _, r := range pgRules {
			if r.explain(i, l, field, got, want) {
				used[r.reason]++
				return
			}
		}
		t.Errorf("line %d, %s: got %q, want %q", i+1, field, got, want)
	}
	var e *Exchange
	for j := range rows {
		if l.Message != "Response" && rows[j].RequestSeq == seq || l.Message != "Request" && rows[j].ResponseSeq == seq {
			e = &rows[j]
		}
	}
	switch {
	case l.Message == "Other":
		if e != nil {
			differ("row", brief(e), "")
		}
		return
	case e == nil:
		differ("row", "", l.Message)
		return
	case l.Message == "Request":
		differ("type", e.RequestType, map[string]string{"P": "PARSE", "E": "EXECUTE", "Q": "QUERY"}[l.Type])
		differ("resource", e.RequestResource, l.Resource)
		return
	}
	differ("status", e.Status.String(), l.Status)
	want := int64(-1)
	if l.Affected != nil {
		want = *l.Affected
	}
	differ("affected", fmt.Sprint(e.AffectedRows), fmt.Sprint(want))
}

package l7

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/mysql"
)

// mysqlLine is a line of a MySQL expectation: one packet with payload.
type mysqlLine struct {
	Message   string  `json:"msg_type"`
	Type      uint8   `json:"request_type"`
	Resource  string  `json:"request_resource"`
	Endpoint  *string `json:"endpoint"`
	Code      int64   `json:"response_code"`
	Exception string  `json:"response_execption"`
	Status    string  `json:"response_status"`
	Statement int64   `json:"statement_id"`
	Affected  int64   `json:"sql_affected_rows"`
	TraceIDs  []any   `json:"trace_ids"`
}

// mysqlRules are the ways in which our rows differ from the expectations, with the reason; each says whether it explains
// a difference in the field.
var mysqlRules = []struct {
	reason  string
	explain func(file string, l *mysqlLine, field, got, want string) bool
}{
	{"a statement without a table has its verb as endpoint (and DESC, USE have a name), so that they can be told apart",
		func(_ string, l *mysqlLine, field, got, want string) bool {
			verb, _, _ := strings.Cut(got, " ")
			return field == "endpoint" && want == "" && len(got) > 0 && strings.EqualFold(verb, l.Resource[:min(len(verb), len(l.Resource))])
		}},
	{"they have the endpoint in the request's line only, we have one row",
		func(_ string, l *mysqlLine, field, _, want string) bool {
			return field == "endpoint" && l.Message == "Response" && want == ""
		}},
	{"COM_QUIT and COM_STMT_CLOSE are requests that nobody answers: theirs are sessions",
		func(_ string, l *mysqlLine, field, got, _ string) bool {
			return field == "kind" && l.Message == "Session" && got == "request"
		}},
	{"they print the first byte of the response as its code, we have the code of the error, 0 without one",
		func(_ string, l *mysqlLine, field, got, _ string) bool {
			return field == "code" && (l.Code == 254 && got == "0" || l.Code == 255 && got != "0")
		}},
	{"an unknown database is the client's fault",
		func(_ string, l *mysqlLine, field, got, _ string) bool {
			return field == "status" && strings.HasPrefix(l.Exception, "Unknown database") && got == "client_error"
		}},
	{"a login that fails is no success: theirs says ok in the line of the request",
		func(_ string, l *mysqlLine, field, _, _ string) bool {
			return field == "status" && l.Message == "Request" && strings.HasPrefix(l.Resource, "Login")
		}},
	{"they read part of an OK packet, or of its affected rows, as the number of a statement",
		func(_ string, l *mysqlLine, field, _, _ string) bool {
			return field == "statement" && l.Message == "Response" && (l.Statement > 1<<15 || l.Statement == 98)
		}},
	{"they follow the connections of a capture with one state, and take responses for those of other connections' requests",
		func(file string, l *mysqlLine, field, _, _ string) bool {
			return file == "mysql-statement" && l.Message == "Response" && (field == "endpoint" || field == "affected" && l.Statement == 98)
		}},
	{"the resource of an execution is the statement prepared, if that was seen; parameters are only counted",
		func(_ string, l *mysqlLine, field, _, _ string) bool {
			return (field == "resource" || field == "endpoint") && l.Type == uint8(mysql.ComStmtExecute)
		}},
	{"they write characters of the statement that are no UTF-8 in their own way",
		func(file string, _ *mysqlLine, field, _, _ string) bool {
			return field == "resource" && file == "binary-in-sql"
		}},
	{"their parser is given 1024 bytes of a packet",
		func(file string, l *mysqlLine, field, got, want string) bool {
			return field == "resource" && strings.HasPrefix(got, want[:min(len(want), 1000)])
		}},
	{"a packet in the middle of a response is no response of its own",
		func(file string, l *mysqlLine, field, _, _ string) bool {
			return field == "row" && file == "partial-packet-compressed"
		}},
}

func mysqlLines(t *testing.T, file string) (lines []mysqlLine) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l mysqlLine
		if err := json.NewDecoder(strings.NewReader(line)).Decode(&l); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// TestCorpusMySQL compares each packet of the captures with what is expected of it: the row that begins with it, or whose
// response does.
func TestCorpusMySQL(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "mysql", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	used := map[string]int{}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		t.Run(name, func(t *testing.T) {
			lines := mysqlLines(t, strings.TrimSuffix(f, ".pcap")+".result")
			all := payloads(t, f)
			if len(all) != len(lines) {
				t.Fatalf("%d packets, %d lines", len(all), len(lines))
			}
			for _, reversed := range []bool{false, true} {
				rec, m := playPayloads(all, Options{KeepLiterals: true}, reversed)
				if m.ParseFailures+m.WrongSide+m.Resyncs != 0 && name != "partial-packet-compressed" {
					t.Errorf("%+v", m)
				}
				for i := range lines {
					compareMySQL(t, name, i, &lines[i], rec.exchanges, all[i].seq, used)
				}
			}
		})
	}
	for _, r := range mysqlRules {
		if used[r.reason] == 0 {
			t.Errorf("this explains nothing: %s", r.reason)
		}
	}
}

// compareMySQL compares a line with the row whose request or response has the number seq.
func compareMySQL(t *testing.T, file string, i int, l *mysqlLine, rows []Exchange, seq uint32, used map[string]int) {
	t.Helper()
	differ := func(field, got, want string) {
		if got == want {
			return
		}
		for _, r := range mysqlRules {
			if r.explain(file, l, field, got, want) {
				used[r.reason]++
				return
			}
		}
		t.Errorf("line %d, %s: got %q, want %q", i+1, field, got, want)
	}
	var e *Exchange
	for j := range rows {
		if l.Message != "Response" && rows[j].RequestSeq == seq || l.Message == "Response" && rows[j].ResponseSeq == seq {
			e = &rows[j]
		}
	}
	if l.Message == "Other" {
		if e != nil {
			differ("row", brief(e), "")
		}
		return
	}
	if e == nil {
		differ("row", "", l.Message)
		return
	}
	endpoint := ""
	if l.Endpoint != nil {
		endpoint = *l.Endpoint
	}
	differ("endpoint", e.Endpoint, endpoint)
	if e.TraceID != "" || len(l.TraceIDs) > 0 {
		differ("trace", e.TraceID, fmt.Sprint(l.TraceIDs))
	}
	if l.Message != "Response" {
		want := mysql.Command(l.Type).String()
		if l.Type == 0 {
			want = "LOGIN"
		}
		differ("type", e.RequestType, want)
		differ("resource", e.RequestResource, l.Resource)
		kind := map[string]string{"Request": e.Kind.String(), "Session": "session"}[l.Message]
		differ("kind", e.Kind.String(), kind)
		if l.Statement != 0 {
			differ("statement", fmt.Sprint(e.RequestID), fmt.Sprint(l.Statement))
		}
		if l.Status != "unknown" {
			differ("status", e.Status.String(), l.Status)
		}
		return
	}
	differ("code", fmt.Sprint(e.ResponseCode), fmt.Sprint(l.Code))
	differ("exception", e.ResponseException, l.Exception)
	differ("status", e.Status.String(), l.Status)
	if l.Statement != 0 {
		differ("statement", fmt.Sprint(e.RequestID), fmt.Sprint(l.Statement))
	}
	if l.Affected != 0 {
		differ("affected", fmt.Sprint(e.AffectedRows), fmt.Sprint(l.Affected))
	}
}

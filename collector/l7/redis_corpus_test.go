package l7

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// debugField finds a field of a line of an expectation, name: value or name: "value"; "" when it is not there or None.
func debugField(line, name string) string {
	m := regexp.MustCompile(`\b` + name + `: (?:Some\()?(?:"((?:[^"\\]|\\.)*)"|([^,") }]*))`).FindStringSubmatch(line)
	if m == nil || m[2] == "None" {
		return ""
	}
	return m[1] + m[2]
}

// resultLines are the lines of the expectation beside a capture.
func resultLines(t *testing.T, pcap string) []string {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(pcap, ".pcap") + ".result")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// TestCorpusRedis compares with the expectations, a line of the request and one of the response. They have no status, and an
// error with the byte that tells its type before it.
func TestCorpusRedis(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "redis", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		lines := resultLines(t, f)
		for _, reversed := range []bool{false, true} {
			rec, m := replay(t, f, Options{KeepLiterals: true}, reversed)
			if len(rec.exchanges) != 1 || len(lines) != 2 || m.ParseFailures+m.Resyncs+m.Unpaired+m.GapBytes != 0 {
				t.Fatalf("%s: %q, %+v", f, rec.lines, m)
			}
			e := rec.exchanges[0]
			failed := debugField(lines[1], "response_result") == "Error"
			result := strings.ToLower(debugField(lines[1], "response_result"))
			for _, c := range []struct{ what, got, want string }{
				{"type", e.RequestType, debugField(lines[0], "request_type")},
				{"resource", e.RequestResource, debugField(lines[0], "request")},
				{"error", e.ResponseException, strings.TrimPrefix(debugField(lines[1], "error"), "-")},
				{"result", e.ResponseResult, result},
				{"status", e.Status.String(), map[bool]string{false: "ok", true: "client_error"}[failed]},
				{"kind", e.Kind.String(), "session"},
			} {
				if c.got != c.want {
					t.Errorf("%s, reversed %v: %s %q, want %q", filepath.Base(f), reversed, c.what, c.got, c.want)
				}
			}
		}
	}
}

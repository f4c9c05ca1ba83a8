package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query"
)

// empty is a query.Source without rows.
type empty struct{ tags *tags.Store }

func (empty) Tables() []*schema.Table                                { return schema.Builtin().Tables() }
func (empty) Table(name string) (*schema.Table, bool)                { return schema.Builtin().Table(name) }
func (e empty) Tags() *tags.View                                     { return e.tags.View() }
func (empty) Scan(context.Context, *pred.Request) (pred.Scan, error) { return nil, io.ErrUnexpectedEOF }

func newServer() *httptest.Server {
	e := query.New(empty{tags.New(tags.Limits{})})
	return httptest.NewServer(api.New(api.Options{Query: api.Engine(e)}))
}

func post(url, contentType, body string) string {
	res, err := http.Post(url, contentType, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, text)
}

// A statement as plain text, the answer as CSV.
func Example() {
	s := newServer()
	defer s.Close()
	fmt.Print(post(s.URL+"/api/v1/sql?format=csv", "text/plain", "SELECT 1 + 1 AS two, 'a' AS letter"))
	// Output:
	// 200 two,letter
	// 2,a
}

// Parameters and format in a JSON object.
func Example_json() {
	s := newServer()
	defer s.Close()
	fmt.Print(post(s.URL+"/api/v1/sql", "application/json",
		`{"sql": "SELECT $1 || '!' AS greeting, $2 + 1 AS next", "params": ["hello", 41], "format": "ndjson", "timeout": "5s"}`))
	// Output:
	// 200 {"greeting":"hello!","next":42}
}

// What is wrong with a statement, where, and what may have been meant.
func Example_error() {
	s := newServer()
	defer s.Close()
	fmt.Print(post(s.URL+"/api/v1/sql", "text/plain", "SELECT count(*) FROM flow"))
	// Output:
	// 400 {"error":{"message":"table \"flow\" does not exist","sqlstate":"42P01","line":1,"column":22,"detail":"table \"flow\" does not exist\nline 1: SELECT count(*) FROM flow\n                             ^\nhint: did you mean flows?","hint":"did you mean flows?"}}
}

func TestLimitsOfTheEngine(t *testing.T) {
	s := newServer()
	defer s.Close()
	for name, c := range map[string]struct{ sql, want string }{
		"a statement of 1 MiB and more": {"SELECT '" + strings.Repeat("x", 1<<20) + "'", "413 "},
		"10,000 parentheses":            {"SELECT " + strings.Repeat("(", 10000) + "1" + strings.Repeat(")", 10000), "400 "},
		"several statements":            {"SELECT 1; SELECT 2", "400 "},
		"an overflow":                   {"SELECT 9223372036854775807 + 1", "400 "},
		"not UTF-8":                     {"SELECT '\xff'", "400 "},
	} {
		if got := post(s.URL+"/api/v1/sql", "text/plain", c.sql); !strings.HasPrefix(got, c.want) || !strings.Contains(got, `"sqlstate"`) {
			t.Errorf("%s: %.300s", name, got)
		}
	}
}

package parse

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/query/ast"
)

// corpus returns every statement of testdata/*.sql.
func corpus(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Split(string(b))...)
	}
	return out
}

func TestCorpusRoundTrip(t *testing.T) {
	all := corpus(t)
	if len(all) < 200 {
		t.Errorf("the corpus has %d statements only", len(all))
	}
	for _, sql := range all {
		roundTrip(t, sql)
	}
}

// TestDocs parses every example of the language's page, and holds its list of
// reserved words against the grammar's.
func TestDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/sql/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rollups, err := os.ReadFile("../../docs/guide/rollups.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, block := range strings.Split(string(raw)+string(rollups), "```sql\n")[1:] {
		sql, _, _ := strings.Cut(block, "```")
		for _, s := range Split(sql) {
			n++
			roundTrip(t, s)
		}
	}
	if n < 15 {
		t.Errorf("only %d examples", n)
	}
	var listed []string
	for _, line := range strings.Split(string(raw), "\n") {
		if rest, ok := strings.CutPrefix(line, "> "); ok {
			listed = append(listed, strings.Fields(rest)...)
		}
	}
	_, all := keywords()
	var want []string
	for _, w := range all {
		if ast.IsReserved(strings.ToLower(w)) {
			want = append(want, w)
		}
	}
	if !slices.Equal(listed, want) {
		t.Errorf("the page lists\n%v\nreserved are\n%v", listed, want)
	}
}

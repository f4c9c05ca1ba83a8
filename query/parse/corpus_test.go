package parse

import (
	"os"
	"path/filepath"
	"testing"
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

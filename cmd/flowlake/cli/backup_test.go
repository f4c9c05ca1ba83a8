package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

func runCommand(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(context.Background(), args, Streams{In: strings.NewReader(""), Out: &o, Err: &e,
		Getenv: func(string) string { return "" }, Environ: func() []string { return nil }})
	return code, o.String(), e.String()
}

// samplesFolder is a data folder with three rows in a segment.
func samplesFolder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	d, err := db.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	tab, ok := schema.Builtin().Table("samples")
	if !ok {
		t.Fatal("no table of samples")
	}
	b := batch.NewBuilder(tab)
	for i := range 3 {
		for c, col := range tab.Columns {
			if col.Role == schema.Time {
				b.Int(c, 1_700_000_000_000_000_000+int64(i))
			}
		}
		b.EndRow()
	}
	if err := d.Write(context.Background(), b.Seal()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBackupVerifyRestore(t *testing.T) {
	data := samplesFolder(t)
	dest, back := filepath.Join(t.TempDir(), "dest"), filepath.Join(t.TempDir(), "back")
	for _, c := range [][]string{
		{"verify", "--data", data}, {"backup", dest, "--data", data, "--copy"}, {"verify", "--data", dest}, {"restore", dest, "--data", back},
	} {
		if code, out, errOut := runCommand(t, c...); code != 0 || out != "" || errOut == "" {
			t.Fatalf("%q: exit code %d, %q, %q", c, code, out, errOut)
		}
	}
	code, out, errOut := runCommand(t, "sql", "--data", back, "--format", "csv", "-c", "SELECT count(*) AS n FROM samples")
	if code != 0 || out != "n\n3\n" {
		t.Fatalf("restored: %d, %q, %q", code, out, errOut)
	}
	segments, err := filepath.Glob(filepath.Join(dest, "tables", "samples", "*", "*", "*.parquet"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %q, %v", segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	text[40] ^= 1
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut = runCommand(t, "verify", "--data", dest, "--format", "csv")
	rel, _ := filepath.Rel(dest, segments[0])
	if code != 1 || !strings.Contains(out, "segment,"+filepath.ToSlash(rel)+",") || !strings.Contains(errOut, "1 problem") {
		t.Fatalf("damaged: %d, %q, %q", code, out, errOut)
	}
	// the database sets it aside, and from then on that is said
	d, err := db.Open(dest)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := d.Verify(context.Background(), nil, func(o *db.VerifyOptions) { o.SetAside = true })
	if err = errors.Join(err, d.Close()); err != nil || len(problems) != 1 || !problems[0].SetAside {
		t.Fatalf("set aside: %v, %v", problems, err)
	}
	if code, out, errOut := runCommand(t, "verify", "--data", dest); code != 0 || out != "" || !strings.Contains(errOut, "note: 1 segment set aside") {
		t.Fatalf("afterwards: %d, %q, %q", code, out, errOut)
	}
}

// Paths that lead to the same place through symbolic links are told.
func TestBackupIntoItself(t *testing.T) {
	data := samplesFolder(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Skip("no symbolic links:", err)
	}
	for _, dest := range []string{data, filepath.Join(data, "tables", "x"), filepath.Join(link, "x", "y")} {
		if code, _, errOut := runCommand(t, "backup", dest, "--data", data); code != 1 || !strings.Contains(errOut, "inside the other") {
			t.Errorf("into %s: %d, %q", dest, code, errOut)
		}
	}
}

package flowlake

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/flowlake/flowlake/"

// rule says what the packages below some folders must never depend on, not even indirectly, and why.
type rule struct {
	folders []string
	never   []string // of ours: folders; of others: import path prefixes
	why     string
}

var foreign = struct{ raft, ebpf, antlr, grpc, prometheus, parquet string }{
	"github.com/hashicorp/raft", "github.com/cilium/ebpf", "github.com/antlr4-go", "google.golang.org/grpc",
	"github.com/prometheus", "github.com/parquet-go",
}

var rules = []rule{
	{[]string{"db/schema", "db/batch", "db/tags", "db/pred", "db/enc", "db/vfs"},
		[]string{"db", "db/wal", "db/head", "db/segment", "db/compact", "query", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
			foreign.raft, foreign.ebpf, foreign.antlr, foreign.grpc, foreign.prometheus, foreign.parquet},
		"layer 0 is what everybody shares: it imports the standard library, itself downwards and small libraries only"},
	{[]string{"db", "db/wal", "db/head", "db/segment", "db/compact"},
		[]string{"query", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
			foreign.raft, foreign.ebpf, foreign.antlr, foreign.grpc, foreign.prometheus},
		"an embedder of the engine gets storage only: no consensus, no parser, no server"},
	{[]string{"bpf"}, []string{"db", "query", "ingest", "collector", "cluster", "compat", "cmd", "web"},
		"kernel programs and their loaders stand alone"},
	{[]string{"query"}, []string{"=db", "db/wal", "db/head", "db/segment", "db/compact", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
		foreign.raft, foreign.ebpf, foreign.grpc, foreign.parquet},
		"query asks any Source: it knows layer 0, not how rows are stored"},
	{[]string{"ingest", "collector"}, []string{"=db", "db/wal", "db/head", "db/segment", "db/compact", "query", "cluster", "compat", "cmd", "web",
		foreign.raft, foreign.antlr, foreign.parquet},
		"what makes rows hands batches to a Sink; it knows neither storage nor queries"},
	{[]string{"ingest"}, []string{"collector", "bpf", foreign.ebpf}, "layer 2 packages do not know each other"},
	{[]string{"collector"}, []string{"ingest"}, "layer 2 packages do not know each other"},
	{[]string{"cluster"}, []string{"collector", "ingest", "compat", "cmd", "web"}, "a node routes batches and queries; it does not make or serve them"},
	{[]string{"compat"}, []string{"=db", "db/wal", "db/head", "db/segment", "db/compact", "cluster", "collector", "cmd"},
		"a door takes a batch.Sink and a query.Engine, nothing else"},
}

type listed struct {
	ImportPath string
	Name       string
	Doc        string
	Deps       []string
	GoFiles    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Deps,GoFiles", "./...").Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Skipf("go list: %v (the go command is needed for this test)", err)
	}
	var ps []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// TestLayering keeps the table of design and docs/ARCHITECTURE.md: who may import whom.
func TestLayering(t *testing.T) {
	checked := 0
	for _, p := range listPackages(t) {
		rel, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		for _, r := range rules {
			if !inAny(rel, r.folders) {
				continue
			}
			checked++
			for _, d := range p.Deps {
				if bad := violates(d, r.never); bad != "" && !inAny(strings.TrimPrefix(d, module), r.folders) {
					t.Errorf("%s depends on %s (rule %q): %s", rel, d, bad, r.why)
				}
			}
		}
		if dir, ok := strings.CutPrefix(rel, "compat/"); ok {
			for _, d := range p.Deps {
				other, isDoor := strings.CutPrefix(d, module+"compat/")
				if isDoor && first(other) != first(dir) && first(other) != "compattest" {
					t.Errorf("%s depends on %s: no door imports another", rel, d)
				}
			}
		}
		for _, d := range p.Deps {
			if d == module+"query/parse/gen" && !strings.HasPrefix(rel, "query") && !strings.HasPrefix(rel, "cmd") &&
				!strings.HasPrefix(rel, "compat") && !strings.HasPrefix(rel, "cluster") && !strings.HasPrefix(rel, "bench") {
				t.Errorf("%s depends on the generated parser: only query/parse imports it", rel)
			}
		}
	}
	if checked == 0 {
		t.Fatal("no package was checked: the folders have moved, the rules have not")
	}
}

// inAny says whether rel lies in one of the folders. "db" stands for the package alone, every other folder for all below it.
func inAny(rel string, folders []string) bool {
	for _, f := range folders {
		if rel == f || f != "db" && strings.HasPrefix(rel, f+"/") {
			return true
		}
	}
	return false
}

func violates(dep string, never []string) string {
	rel, ours := strings.CutPrefix(dep, module)
	for _, n := range never {
		exact := strings.TrimPrefix(n, "=")
		switch {
		case ours && (rel == exact || n != "db" && exact == n && strings.HasPrefix(rel, n+"/")):
			return n
		case !ours && strings.Contains(n, ".") && strings.HasPrefix(dep, n):
			return n
		}
	}
	return ""
}

func first(p string) string {
	if i := strings.IndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return p
}

// TestEveryPackageSaysWhatItIsFor wants a package comment that begins as go doc expects.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.GoFiles) == 0 {
			continue
		}
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = ""
		}
		if p.Doc == "" || !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment is %q; it should be a sentence that begins %q", p.ImportPath, p.Doc, want)
		}
		if base := path.Base(p.ImportPath); base == "util" || base == "common" || base == "helpers" || base == "types" || base == "pkg" {
			t.Errorf("%s: a package is named after what it holds, not %q", p.ImportPath, base)
		}
	}
}

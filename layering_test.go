package flowlake

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flowlake/flowlake/"

// rule says what the packages below some folders must never depend on, not even indirectly, and why.
type rule struct {
	folders []string
	never   []string // of ours: folders; of others: import path prefixes
	why     string
	only    []string // of ours: nothing but these folders and the rule's own, unless empty
}

var foreign = struct{ raft, ebpf, antlr, grpc, prometheus, parquet string }{
	"github.com/hashicorp/raft", "github.com/cilium/ebpf", "github.com/antlr4-go", "google.golang.org/grpc",
	"github.com/prometheus", "github.com/parquet-go",
}

var layer0 = []string{"db/schema", "db/batch", "db/tags", "db/pred", "db/enc", "db/vfs"}

var rules = []rule{
	{folders: layer0,
		never: []string{"db", "db/wal", "db/head", "db/segment", "db/compact", "query", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
			foreign.raft, foreign.ebpf, foreign.antlr, foreign.grpc, foreign.prometheus, foreign.parquet},
		why: "layer 0 is what everybody shares: it imports the standard library, itself downwards and small libraries only"},
	{folders: []string{"db", "db/wal", "db/head", "db/segment", "db/compact"},
		never: []string{"query", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
			foreign.raft, foreign.ebpf, foreign.antlr, foreign.grpc, foreign.prometheus},
		why: "an embedder of the engine gets storage only: no consensus, no parser, no server"},
	{folders: []string{"bpf"}, never: []string{"db", "query", "ingest", "collector", "cluster", "compat", "cmd", "web"},
		why: "kernel programs and their loaders stand alone"},
	{folders: []string{"query"}, never: []string{"=db", "db/wal", "db/head", "db/segment", "db/compact", "ingest", "collector", "cluster", "compat", "cmd", "bpf", "web",
		foreign.raft, foreign.ebpf, foreign.grpc, foreign.parquet},
		why: "query asks any Source: it knows layer 0, not how rows are stored"},
	{folders: []string{"ingest", "collector"}, never: []string{"=db", "db/wal", "db/head", "db/segment", "db/compact", "query", "cluster", "compat", "cmd", "web",
		foreign.raft, foreign.antlr, foreign.parquet},
		why: "what makes rows hands batches to a Sink; it knows neither storage nor queries"},
	{folders: []string{"ingest"}, never: []string{"collector", "bpf", foreign.ebpf}, why: "layer 2 packages do not know each other"},
	{folders: []string{"collector"}, never: []string{"ingest"}, why: "layer 2 packages do not know each other"},
	{folders: []string{"cluster"}, never: []string{"collector", "ingest", "compat", "cmd", "web"}, why: "a node routes batches and queries; it does not make or serve them"},
	{folders: []string{"compat"}, only: append([]string{"query"}, layer0...),
		never: []string{foreign.raft, foreign.ebpf, foreign.parquet},
		why:   "a door takes a batch.Sink and a query.Engine, nothing else"},
}

// compattest is the folder below compat that holds what the tests of several doors share.
const compattest = "compattest"

type listed struct {
	ImportPath string
	Name       string
	Doc        string
	Deps       []string
	GoFiles    []string
	// imports of its tests, of those in the package's name and of those in package x_test
	TestImports, XTestImports []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Deps,GoFiles,TestImports,XTestImports", "./...").Output()
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
				if bad := r.violates(d); bad != "" {
					t.Errorf("%s depends on %s (rule %q): %s", rel, d, bad, r.why)
				}
			}
		}
		for _, bad := range doorViolations(rel, p) {
			t.Errorf("%s depends on %s: no door imports another, only their tests compat/compattest", rel, bad)
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

// TestLayeringRules has the rules look at packages that are not there.
func TestLayeringRules(t *testing.T) {
	for _, c := range []struct {
		rel, dep string
		bad      bool
	}{
		{"compat/api", "ingest", true}, {"compat/api", "ingest/enrich", true}, {"compat/api", "collector/l7", true}, {"compat/api", "bpf/socket", true},
		{"compat/api", "db", true}, {"compat/api", "db/segment", true}, {"compat/api", "cluster", true},
		{"compat/api", "query/render", false}, {"compat/api", "db/batch", false}, {"compat/api", "db/schema", false}, {"compat/api", "compat/api/x", false},
		{"query/exec", "db", true}, {"query/exec", "db/pred", false}, {"db", "db/wal", false}, {"db/batch", "db/wal", true}, {"db/batch", "db/enc", false},
		{"ingest", "collector", true}, {"collector/l7", "ingest", true}, {"collector", "collector/flow", false},
	} {
		bad := false
		for _, r := range rules {
			bad = bad || inAny(c.rel, r.folders) && r.violates(module+c.dep) != ""
		}
		if bad != c.bad {
			t.Errorf("%s may import %s: %v", c.rel, c.dep, !bad)
		}
	}
	api, influx, shared := []string{module + "compat/api"}, []string{module + "compat/influx/x"}, []string{module + "compat/compattest"}
	for _, c := range []struct {
		what, rel string
		p         listed
		bad       bool
	}{
		{"a door in a door", "compat/api", listed{Deps: influx}, true},
		{"a door in a door's test", "compat/api", listed{TestImports: influx}, true},
		{"a door in a door's outer test", "compat/api", listed{XTestImports: influx}, true},
		{"itself", "compat/api", listed{Deps: api, XTestImports: api}, false},
		{"compattest in a door", "compat/api", listed{Deps: shared}, true},
		{"compattest in a door's test", "compat/api", listed{TestImports: shared, XTestImports: shared}, false},
		{"compattest in a program", "cmd/flowlake", listed{Deps: shared}, true},
		{"compattest in a program's test", "cmd/flowlake", listed{TestImports: shared}, false},
		{"a door in a program", "cmd/flowlake", listed{Deps: api}, false},
		{"a door in compattest", "compat/compattest", listed{Deps: api}, true},
	} {
		if bad := doorViolations(c.rel, c.p); (len(bad) > 0) != c.bad {
			t.Errorf("%s: %v", c.what, bad)
		}
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

// violates says which word of the rule forbids its folders to depend on dep, "" when none does.
func (r *rule) violates(dep string) string {
	rel, ours := strings.CutPrefix(dep, module)
	if ours && inAny(rel, r.folders) {
		return ""
	}
	if ours && len(r.only) > 0 && !inAny(rel, r.only) {
		return "only " + strings.Join(r.only, ", ")
	}
	for _, n := range r.never {
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

// doorViolations are the doors that a package may not depend on: for a door all others, in its own tests too, and for what
// is shipped compattest, which is for tests.
func doorViolations(rel string, p listed) []string {
	dir, isDoor := strings.CutPrefix(rel, "compat/")
	other := func(d string) (name string, yes bool) {
		o, ok := strings.CutPrefix(d, module+"compat/")
		return first(o), ok && first(o) != first(dir)
	}
	var bad []string
	for _, d := range p.Deps {
		if name, yes := other(d); yes && (isDoor || name == compattest) {
			bad = append(bad, d)
		}
	}
	for _, d := range slices.Concat(p.TestImports, p.XTestImports) {
		if name, yes := other(d); yes && isDoor && name != compattest {
			bad = append(bad, d)
		}
	}
	return bad
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

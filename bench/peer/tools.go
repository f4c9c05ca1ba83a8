package peer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

//go:embed run.py
var runScript string

//go:embed servers.py
var serversScript string

// Script is the program that a peer runs in: it takes a workload.Spec as its argument and prints a workload.Outcome.
func Script() string { return serversScript + "\n\n" + runScript }

// The peers.
const (
	ClickHouse      = "chdb"
	DuckDB          = "duckdb"
	QuestDB         = "questdb"
	VictoriaMetrics = "victoriametrics"
)

// Names are the peers there are.
func Names() []string { return []string{ClickHouse, DuckDB, QuestDB, VictoriaMetrics} }

// Applies says whether a peer is put to a table of a workload.
func Applies(name, workload, table string) bool {
	if workload == "tags" { // the one with a type made for such columns, and the one that finds out by itself
		return name == ClickHouse || name == DuckDB
	}
	switch name {
	case QuestDB: // no index for ids that occur a few times each, no sketches
		return table != "spans" && slices.Contains([]string{"ingest", "size", "scan", "start"}, workload)
	case VictoriaMetrics: // it stores samples and nothing else, and speaks no SQL
		return table == "samples" && slices.Contains([]string{"ingest", "size"}, workload)
	}
	return true
}

// PythonEnv names the environment variable with the Python to use.
const PythonEnv = "FLOWLAKE_PYTHON"

// questVersion is the version of QuestDB that is fetched from Maven Central.
const questVersion = "9.3.4"

// Tools are the programs that a peer needs.
type Tools struct {
	Python string
	// Program is the peer itself where it is not a Python package: a file.
	Program string
}

// Find finds what a peer needs. What is not there is fetched from the registry of its kind (PyPI, Maven Central, Debian)
// into the user's cache folder. What it does is said on log; the error says what is missing. Where log is nil, nothing is
// fetched: the error is errNotFetched.
func Find(ctx context.Context, name string, log io.Writer) (Tools, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Tools{}, err
	}
	cache = filepath.Join(cache, "flowlake")
	base := os.Getenv(PythonEnv)
	if base == "" {
		base = "python3"
	}
	if base, err = exec.LookPath(base); err != nil {
		return Tools{}, fmt.Errorf("find Python (%s names it): %w", PythonEnv, err)
	}
	t := Tools{Python: base}
	switch name {
	case QuestDB:
		t.Program, err = questJar(ctx, cache, log)
	case VictoriaMetrics:
		t.Program, err = victoria(ctx, cache, log)
	default:
		t.Python, err = withPackage(ctx, base, name, cache, log)
	}
	return t, err
}

// errNotFetched is returned for what is not there and was not to be fetched.
var errNotFetched = errors.New("not fetched yet: a comparison that asks for it does that")

// withPackage is a Python that has a package, base or one of our own.
func withPackage(ctx context.Context, base, name, cache string, log io.Writer) (string, error) {
	if has(ctx, base, name) {
		return base, nil
	}
	env := filepath.Join(cache, "bench-venv")
	python := filepath.Join(env, "bin", "python3")
	if runtime.GOOS == "windows" {
		python = filepath.Join(env, "Scripts", "python.exe")
	}
	_, err := os.Stat(python)
	if err == nil && has(ctx, python, name) {
		return python, nil
	}
	if log == nil {
		return "", errNotFetched
	}
	if errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(log, "make a Python environment in %s\n", env)
		if err := quiet(ctx, "", base, "-m", "venv", env); err != nil {
			return "", fmt.Errorf("make a Python environment: %w", err)
		}
	}
	fmt.Fprintf(log, "install %s from PyPI into %s\n", name, env)
	if err := quiet(ctx, "", python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	if !has(ctx, python, name) {
		return "", fmt.Errorf("%s is installed but cannot be imported", name)
	}
	return python, nil
}

func has(ctx context.Context, python, name string) bool {
	return exec.CommandContext(ctx, python, "-c", "import "+name).Run() == nil
}

// questJar is QuestDB's library, which needs a Java 17 besides.
func questJar(ctx context.Context, cache string, log io.Writer) (string, error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("find Java: %w", err)
	}
	jar := filepath.Join(cache, "questdb-"+questVersion+".jar")
	if _, err := os.Stat(jar); err == nil {
		return jar, nil
	}
	if log == nil {
		return "", errNotFetched
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("find Maven, to fetch QuestDB: %w", err)
	}
	fmt.Fprintf(log, "fetch QuestDB %s from Maven Central into %s\n", questVersion, cache)
	err = quiet(ctx, "", mvn, "--batch-mode", "dependency:copy", "-Dartifact=org.questdb:questdb:"+questVersion, "-DoutputDirectory="+cache)
	if err == nil {
		_, err = os.Stat(jar)
	}
	if err != nil {
		return "", fmt.Errorf("fetch QuestDB: %w", err)
	}
	return jar, nil
}

// victoria is the program of VictoriaMetrics: one that is installed, or that of Debian's package, unpacked into the cache.
func victoria(ctx context.Context, cache string, log io.Writer) (string, error) {
	const program = "victoria-metrics"
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	dir := filepath.Join(cache, program)
	path := filepath.Join(dir, "usr", "bin", program)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if log == nil {
		return "", errNotFetched
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	fmt.Fprintf(log, "fetch Debian's package %s into %s\n", program, dir)
	if err := quiet(ctx, dir, "apt-get", "download", program); err != nil {
		return "", fmt.Errorf("fetch Debian's package %s: %w", program, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, program+"_*.deb"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("package %s of Debian is not in %s", program, dir)
	}
	if err := quiet(ctx, dir, "dpkg", "-x", files[len(files)-1], dir); err != nil {
		return "", fmt.Errorf("unpack %s: %w", files[len(files)-1], err)
	}
	_, err = os.Stat(path)
	return path, err
}

// quiet runs a command in a folder; its error has the last line of what it printed.
func quiet(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return nil
}

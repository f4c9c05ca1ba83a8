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
	"strings"
)

// Script is the program that a peer runs in: it takes a workload.Spec as its argument and prints a workload.Outcome.
//
//go:embed run.py
var Script string

// Names are the peers there are.
func Names() []string { return []string{"chdb", "duckdb"} }

// PythonEnv names the environment variable with the Python to use.
const PythonEnv = "FLOWLAKE_PYTHON"

// Python finds a Python that has the package of a peer. Where there is none, it installs the package from PyPI into an
// environment of its own in the user's cache folder. What it does is said on log.
func Python(ctx context.Context, name string, log io.Writer) (string, error) {
	base := os.Getenv(PythonEnv)
	if base == "" {
		base = "python3"
	}
	base, err := exec.LookPath(base)
	if err != nil {
		return "", fmt.Errorf("find Python (%s names it): %w", PythonEnv, err)
	}
	if has(ctx, base, name) {
		return base, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	env := filepath.Join(cache, "flowlake", "bench-venv")
	python := filepath.Join(env, "bin", "python3")
	if runtime.GOOS == "windows" {
		python = filepath.Join(env, "Scripts", "python.exe")
	}
	if _, err := os.Stat(python); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(log, "make a Python environment in %s\n", env)
		if err := quiet(ctx, base, "-m", "venv", env); err != nil {
			return "", fmt.Errorf("make a Python environment: %w", err)
		}
	}
	if has(ctx, python, name) {
		return python, nil
	}
	fmt.Fprintf(log, "install %s from PyPI into %s\n", name, env)
	if err := quiet(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name); err != nil {
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

// quiet runs a command; its error has the last line of what it printed.
func quiet(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return nil
}

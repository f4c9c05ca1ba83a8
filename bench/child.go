package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowlake/flowlake/bench/peer"
	"github.com/flowlake/flowlake/bench/workload"
)

// childEnv is the environment variable that makes this program do one phase: a job in JSON.
const childEnv = "FLOWLAKE_BENCH_PHASE"

// ourName is our name among the systems.
const ourName = "flowlake"

// Phases besides those of workload that need memory or time, and so a process that is not the one that starts all others:
// the kernel counts a parent's peak memory as its child's.
const (
	phaseChunks = "chunks"    // write the rows as files for the peers
	phaseBodies = "bodies"    // write the rows as requests of remote write
	phaseTraces = "trace-ids" // find Repeat trace ids
)

// phaseTimeout ends a phase that hangs: none takes as long.
const phaseTimeout = 20 * time.Minute

// prepared is what a child answers to the phases above.
type prepared struct {
	Files    []string      `json:"files"`
	Columns  []peer.Column `json:"columns"`
	TraceIDs []string      `json:"trace_ids"`
}

// child does one phase and prints the outcome.
func child(ctx context.Context, job string, out io.Writer) error {
	var s workload.Spec
	if err := json.Unmarshal([]byte(job), &s); err != nil {
		return fmt.Errorf("%s: %w", childEnv, err)
	}
	var answer any
	var err error
	switch s.Phase {
	case phaseChunks:
		var p prepared
		p.Files, p.Columns, err = peer.WriteChunks(s, s.Dir)
		answer = p
	case phaseBodies:
		var p prepared
		p.Files, err = peer.WriteRequests(s, s.Dir)
		answer = p
	case phaseTraces:
		var p prepared
		p.TraceIDs, err = workload.TraceIDs(s, s.Repeat)
		answer = p
	default:
		answer, err = workload.Run(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Phase, err)
	}
	return json.NewEncoder(out).Encode(answer)
}

// start runs a phase in a process of its own, decodes what it prints into answer and says how much memory it took at most.
// python is empty for Flowlake.
func start(ctx context.Context, s workload.Spec, python string, answer any) (rss int64, err error) {
	job, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, phaseTimeout)
	defer cancel()
	var cmd *exec.Cmd
	if python != "" {
		cmd = exec.CommandContext(ctx, python, "-c", peer.Script(), string(job))
	} else {
		self, err := os.Executable()
		if err != nil {
			return 0, err
		}
		cmd = exec.CommandContext(ctx, self)
		cmd.Env = append(os.Environ(), childEnv+"="+string(job))
	}
	if err := os.MkdirAll(filepath.Dir(s.Dir), 0o777); err != nil {
		return 0, err
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		return 0, errors.Join(ctx.Err(), fmt.Errorf("%s %s: %w: %s", s.System, s.Phase, err, strings.Join(lines[max(0, len(lines)-3):], "\n")))
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return 0, fmt.Errorf("%s %s: outcome: %w", s.System, s.Phase, err)
	}
	return peakRSS(cmd.ProcessState), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/bench/peer"
	"github.com/flowlake/flowlake/bench/revision"
	"github.com/flowlake/flowlake/bench/workload"
)

const (
	scanRepeat = 7  // times that a scan is asked
	needles    = 12 // trace ids looked for
	// rollupRepeat is how often a dashboard is asked for.
	rollupRepeat = 15
	starts       = 5 // times that a folder is opened
)

// participant is a system that takes part.
type participant struct {
	name  string
	tools peer.Tools // of a peer
}

// runner carries a workload out.
type runner struct {
	o       options
	dir     string
	log     io.Writer
	systems map[string]system
	// answers to the queries of a measurement, and who gave them
	answers  map[string][]string
	answerer map[string]string
	chunks   map[string]prepared // by table and form
	notes    []string
}

func newRunner(o options, dir string, log io.Writer) *runner {
	return &runner{o: o, dir: dir, log: log, systems: map[string]system{}, answers: map[string][]string{}, answerer: map[string]string{}, chunks: map[string]prepared{}}
}

func (r *runner) say(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

// note says something that belongs into the results too.
func (r *runner) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, line)
	r.say("%s", line)
}

// run measures all systems, ours first. A peer that cannot be had or fails is left out, which is said; when we fail, all is.
func (r *runner) run(ctx context.Context) (*report, error) {
	if r.o.kind.Name == workload.PhasePackets {
		return r.packets(ctx)
	}
	if err := r.system(ctx, participant{name: ourName}); err != nil {
		return nil, err
	}
	var took []string
	for _, name := range r.o.peers {
		if slices.Contains(packetPeers, name) { // they know no rows
			continue
		}
		if !slices.ContainsFunc(r.o.kind.Tables, func(table string) bool { return peer.Applies(name, r.o.kind.Name, table) }) {
			r.note("%s has no part in it", name)
			continue
		}
		tools, err := peer.Find(ctx, name, r.log)
		if err != nil {
			r.note("%s is skipped: %v", name, err)
			continue
		}
		if err := r.system(ctx, participant{name, tools}); err != nil {
			return nil, err
		}
		took = append(took, name)
	}
	about := r.o.kind.Name
	if r.o.rate > 0 {
		about = atRate
	}
	return &report{Workload: r.o.kind.Name, Commit: revision.Commit(), Machine: machine(), Systems: r.systems,
		Ratio: ratio(about, r.systems, took), notes: r.notes}, nil
}

// system puts one system to the workload. A table with which a peer fails is left out; that is not an error, a wrong answer is.
func (r *runner) system(ctx context.Context, p participant) error {
	for i, table := range r.o.kind.Tables {
		if p.name != ourName && !peer.Applies(p.name, r.o.kind.Name, table) {
			continue
		}
		s := r.o.kind.Spec(table, r.o.rows, r.o.seed)
		if s.Rows != r.o.rows && p.name == ourName && i == 0 {
			r.say("%d rows: whole chunks of %d", s.Rows, s.ChunkRows)
		}
		s.System, s.Dir = p.name, filepath.Join(r.dir, p.name, table)
		name := p.name
		if i > 0 {
			name += "." + table
		}
		err := r.forPeer(ctx, p, &s)
		if err == nil {
			err = r.phases(ctx, p, s, name)
		}
		if r.o.data == "" { // the next ones need the room
			err = errors.Join(err, os.RemoveAll(filepath.Join(r.dir, p.name)))
		}
		var wrong *wrongAnswer
		if err != nil && (p.name == ourName || errors.As(err, &wrong) || ctx.Err() != nil) {
			return errors.Join(err, ctx.Err())
		}
		if err != nil {
			for _, suffix := range []string{"", ".flush", ".log", ".query"} {
				delete(r.systems, name+suffix) // half a measurement is none
			}
			r.note("%s is skipped: %v", name, err)
		}
	}
	return nil
}

// forPeer adds to a spec what peers need: the rows as files, which are written once, and how the table is made.
func (r *runner) forPeer(ctx context.Context, p participant, s *workload.Spec) error {
	if p.name == ourName {
		return nil
	}
	phase, key := phaseChunks, s.Table
	if p.name == peer.VictoriaMetrics {
		phase, key = phaseBodies, key+" bodies"
		s.ChunkRows = min(s.ChunkRows, workload.BatchRows)
	}
	made, ok := r.chunks[key]
	if !ok {
		r.say("write %d rows of %s for %s", s.Pool, s.Table, p.name)
		c := *s
		c.System, c.Phase, c.Dir = ourName, phase, filepath.Join(r.dir, "rows", key)
		if _, err := start(ctx, c, "", &made); err != nil {
			return err
		}
		r.chunks[key] = made
	}
	s.Chunks, s.Program = made.Files, p.tools.Program
	return peer.Describe(s, made.Columns)
}

// phases carries the workload out over one table; what is measured goes to r.systems[name].
func (r *runner) phases(ctx context.Context, p participant, s workload.Spec, name string) error {
	switch r.o.kind.Name {
	case "ingest":
		s.Rate, s.Seconds = r.o.rate, r.o.seconds
		_, err := r.measure(ctx, p, s, workload.PhaseIngest, name)
		return err
	case "size":
		out, err := r.measure(ctx, p, s, workload.PhaseSize, name)
		if err != nil {
			return err
		}
		r.systems[name+".flush"] = system{Rows: out.Rows, Disk: out.FlushDisk}
		r.say("%s %s: %.2f B/row at flush, %.2f merged", p.name, s.Table, float64(out.FlushDisk)/float64(out.Rows), float64(out.Disk)/float64(out.Rows))
		return nil
	case "scan":
		s.Repeat, s.Queries = scanRepeat, []string{workload.GroupBy}
		return r.loaded(ctx, p, s, workload.PhaseLoad, workload.PhaseScan, name)
	case "rollup":
		return r.rollup(ctx, p, s, name)
	case "tags":
		return r.tags(ctx, p, s, name)
	case "needle":
		t := s
		t.System, t.Phase, t.Repeat = ourName, phaseTraces, needles
		var found prepared
		if _, err := start(ctx, t, "", &found); err != nil {
			return err
		}
		for _, id := range found.TraceIDs {
			s.Queries = append(s.Queries, workload.Needle(id))
		}
		return r.loaded(ctx, p, s, workload.PhaseLoad, workload.PhaseNeedle, name)
	case "start":
		if err := r.loaded(ctx, p, s, workload.PhaseLoad, workload.PhaseStart, name); err != nil {
			return err
		}
		if p.name != ourName && p.name != peer.DuckDB {
			r.note("%s keeps no rows in a log: it does not start from one", p.name)
			return nil
		}
		s.Dir += "-log"
		return r.loaded(ctx, p, s, workload.PhaseLoadWAL, workload.PhaseStart, name+".log")
	}
	return fmt.Errorf("workload %s: no phases are known", r.o.kind.Name)
}

// rollup stores the rows and asks for the dashboard in every form that the system has. The entry of the system is of both:
// rows per second, CPU time, memory and disk of storing, and p50 and p99 of asking.
func (r *runner) rollup(ctx context.Context, p participant, s workload.Spec, name string) error {
	if _, err := r.measure(ctx, p, s, workload.PhaseRollup, name); err != nil {
		return err
	}
	whole := r.systems[name]
	s.Repeat = rollupRepeat
	for _, f := range workload.Dashboard(p.name) {
		s.Queries = []string{f.SQL}
		if _, err := r.measure(ctx, p, s, workload.PhaseScan, name+f.Suffix); err != nil {
			return err
		}
		if f.Suffix == "" {
			whole.P50, whole.P99 = r.systems[name].P50, r.systems[name].P99
		}
	}
	r.systems[name] = whole
	return nil
}

// tags stores the rows in each form that the system has, and asks. The entry of a form is of storing but for p50 and p99,
// which are of asking; all that asking took is in the one with the suffix ".query".
func (r *runner) tags(ctx context.Context, p participant, s workload.Spec, name string) error {
	dir := s.Dir
	for _, f := range workload.TagForms(p.name) {
		s.Form, s.Dir, s.Repeat, s.Queries = f.Form, dir, scanRepeat, []string{f.SQL}
		entry := name
		if f.Form != workload.TagSets {
			entry, s.Dir = name+"."+f.Form, dir+"-"+f.Form
		}
		if _, err := r.measure(ctx, p, s, workload.PhaseTags, entry); err != nil {
			return err
		}
		if _, err := r.measure(ctx, p, s, workload.PhaseScan, entry+".query"); err != nil {
			return err
		}
		stored := r.systems[entry]
		stored.P50, stored.P99 = r.systems[entry+".query"].P50, r.systems[entry+".query"].P99
		r.systems[entry] = stored
	}
	return nil
}

// loaded measures a phase on rows that another phase has stored.
func (r *runner) loaded(ctx context.Context, p participant, s workload.Spec, load, phase, name string) error {
	s.Phase = load
	began := time.Now()
	if _, err := start(ctx, s, p.tools.Python, &workload.Outcome{}); err != nil {
		return err
	}
	r.say("%s: loaded %d rows of %s in %.1f s", p.name, s.Rows, s.Table, time.Since(began).Seconds())
	_, err := r.measure(ctx, p, s, phase, name)
	return err
}

// measure runs a phase, a start several times, and enters what it finds as name.
func (r *runner) measure(ctx context.Context, p participant, s workload.Spec, phase, name string) (*workload.Outcome, error) {
	s.Phase = phase
	times := 1
	if phase == workload.PhaseStart {
		times = starts
	}
	var all workload.Outcome
	var peak int64
	for range times {
		var out workload.Outcome
		rss, err := start(ctx, s, p.tools.Python, &out)
		if err != nil {
			return nil, err
		}
		if out.Rows != int64(s.Rows) && s.Seconds == 0 {
			return nil, fmt.Errorf("%s %s: %d rows, not %d", p.name, phase, out.Rows, s.Rows)
		}
		if err := r.agree(p.name, s, out.Answers); err != nil {
			return nil, err
		}
		for _, line := range out.Notes {
			r.note("%s: %s", name, line)
		}
		peak = max(peak, rss)
		out.Millis = append(all.Millis, out.Millis...)
		out.CPU += all.CPU
		all = out
	}
	all.CPU /= float64(times)
	r.systems[name] = measured(phase, &all, peak)
	if phase != workload.PhaseSize {
		m := r.systems[name]
		r.say("%s %s: p50 %.2f ms, p99 %.2f ms, CPU %.2f s, %d MiB", name, phase, m.P50, m.P99, m.CPU, m.PeakRSS>>20)
	}
	return &all, nil
}

// wrongAnswer says that two systems answered differently: then nothing is worth comparing.
type wrongAnswer struct{ a, b, query, answerA, answerB string }

func (w *wrongAnswer) Error() string {
	short := func(s string) string { return s[:min(len(s), 1500)] }
	return fmt.Sprintf("%s and %s answer %q differently:\n%s\nand\n%s", w.a, w.b, w.query, short(w.answerA), short(w.answerB))
}

// agree makes sure that all systems answer a phase's queries equally.
func (r *runner) agree(name string, s workload.Spec, answers []string) error {
	key := s.Phase + " " + s.Table
	first, ok := r.answers[key]
	if !ok {
		r.answers[key], r.answerer[key] = answers, name
		return nil
	}
	equal := func(a, b string) bool { return a == b }
	if r.o.kind.Name == "rollup" {
		equal = nearly
	}
	if slices.EqualFunc(first, answers, equal) {
		return nil
	}
	for i := range min(len(first), len(answers)) {
		if !equal(first[i], answers[i]) {
			q := "count of " + s.Table
			if i < len(s.Queries) {
				q = s.Queries[i]
			}
			return &wrongAnswer{r.answerer[key], name, q, first[i], answers[i]}
		}
	}
	return fmt.Errorf("%s gave %d answers, %s %d", r.answerer[key], len(first), name, len(answers))
}

// sketchError is by how much two sketches' percentiles may differ, and what the next value above or below is besides.
const sketchError = 0.05

// nearly says whether two answers are equal but for the last column, a percentile of a sketch.
func nearly(a, b string) bool {
	linesA, linesB := strings.Split(a, "\n"), strings.Split(b, "\n")
	return slices.EqualFunc(linesA, linesB, func(a, b string) bool {
		i, j := strings.LastIndexByte(a, '|'), strings.LastIndexByte(b, '|')
		if i < 0 || j < 0 || a[:i] != b[:j] {
			return false
		}
		x, okA := number(a[i+1:])
		y, okB := number(b[j+1:])
		if !okA || !okB {
			return okA == okB
		}
		return math.Abs(x-y) <= sketchError*max(math.Abs(x), math.Abs(y))
	})
}

// number is a number in an answer; no system has a word in common for the percentile of nothing.
func number(text string) (float64, bool) {
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsNaN(v)
}

package workload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/query"
)

// Run puts Flowlake to one phase. The process should end soon after it: load-log and start leave the folder open, so that
// the log stays as it is.
func Run(ctx context.Context, s Spec) (*Outcome, error) {
	switch s.Phase {
	case PhaseIngest:
		return ingest(ctx, s)
	case PhaseSize:
		return size(ctx, s)
	case PhaseLoad, PhaseLoadWAL:
		return load(ctx, s)
	case PhaseScan:
		return scan(ctx, s)
	case PhaseRollup:
		return rollup(ctx, s)
	case PhaseTags:
		return tagged(ctx, s)
	case PhaseNeedle:
		return needle(ctx, s)
	case PhaseStart:
		return start(ctx, s)
	case PhasePackets:
		if s.System == GoPacket {
			return gopacketLoop(ctx, s)
		}
		return packetRows(ctx, s)
	}
	return nil, fmt.Errorf("there is no phase %q", s.Phase)
}

// keep is the defaults, except that rows of a fixed day do not expire.
func keep(o *db.Options) {
	o.Retention = map[string]time.Duration{"flows": 0, "spans": 0, "samples": 0, EdgesTable: 0, "network_1m": 0, TaggedTable: 0, valuesTable: 0}
}

// server gives the database the memory that flowlake server gives it on a machine of 24 GiB. The writer waits for room as long
// as it takes.
func server(o *db.Options) { o.BudgetBytes, o.MaxWait = 9<<29, time.Hour }

// unflushed leaves all rows in the log until told otherwise.
func unflushed(o *db.Options) {
	o.HeadBytes, o.MemoryBytes, o.HeadAge = 64<<30, 64<<30, 1000*time.Hour
}

// meter measures a part of the process's life.
type meter struct {
	began time.Time
	cpu   time.Duration
}

func startMeter() meter { return meter{time.Now(), cpuTime()} }

// stop adds what passed since the start.
func (m meter) stop(o *Outcome) {
	o.Seconds += time.Since(m.began).Seconds()
	o.CPU += (cpuTime() - m.cpu).Seconds()
}

func millis(since time.Time) float64 { return float64(time.Since(since).Nanoseconds()) / 1e6 }

// ingest stores all rows until they are in segments; what compaction does meanwhile counts. With Seconds it goes on for so
// long, and the outcome has notes of what is left to do at the beginning, in the middle and at the end.
func ingest(ctx context.Context, s Spec) (*Outcome, error) {
	rows, err := newStream(s, true)
	if err != nil {
		return nil, err
	}
	d, err := db.Open(s.Dir, keep, server)
	if err != nil {
		return nil, err
	}
	out := &Outcome{}
	b := backlog{d: d, every: time.Duration(s.Seconds) * time.Second / 6}
	m := startMeter()
	if err := writeAll(ctx, d, rows, func(began time.Time) bool {
		out.Millis = append(out.Millis, millis(began))
		if s.Seconds == 0 {
			return true
		}
		b.look(time.Since(m.began))
		return time.Since(m.began) < time.Duration(s.Seconds)*time.Second
	}); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if err := d.Flush(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	m.stop(out)
	out.Rows = d.Metrics().Rows
	if s.Seconds > 0 {
		out.Notes = b.notes(out)
	}
	if err := d.Close(); err != nil {
		return nil, err
	}
	out.Disk, err = diskBytes(s.Dir)
	return out, err
}

// backlog watches what a database still has to do.
type backlog struct {
	d      *db.DB
	every  time.Duration
	next   time.Duration
	stalls int64
	lines  []string
}

// look notes the backlog when it is time for it.
func (b *backlog) look(after time.Duration) {
	if after < b.next {
		return
	}
	b.next += b.every
	b.lines = append(b.lines, fmt.Sprintf("after %2.0f s: %s", after.Seconds(), b.now()))
}

func (b *backlog) now() string {
	m := b.d.Metrics()
	stalls := m.Stalls - b.stalls
	b.stalls = m.Stalls
	return fmt.Sprintf("%d rows written, %.0f MiB in the head, %d segments due to be merged, %d segments in all, %d writes had to wait",
		m.Rows, float64(m.HeadBytes)/(1<<20), m.Unmerged, m.Segments, stalls)
}

func (b *backlog) notes(o *Outcome) []string {
	m := b.d.Metrics()
	rows := float64(max(1, m.Rows))
	return append(b.lines,
		"at the end, flushed: "+b.now(),
		fmt.Sprintf("CPU: %.3f us a row, on %.2f cores", o.CPU*1e6/rows, o.CPU/o.Seconds),
		fmt.Sprintf("write amplification: each row merged %.2f times; segments written %.2f times the bytes of what was flushed, log and segments %.1f B a row",
			float64(m.CompactedRows)/rows, float64(m.FlushedBytes+m.CompactedBytes)/float64(max(1, m.FlushedBytes)),
			float64(m.Bytes+m.FlushedBytes+m.CompactedBytes)/rows))
}

// writeAll writes the rows, at the rate of the spec if it has one. done, which may be nil, is told when each batch was begun
// or due, and says whether to go on.
func writeAll(ctx context.Context, d *db.DB, rows *stream, done func(began time.Time) bool) error {
	first, given := time.Now(), 0
	for b := rows.next(); b != nil; b = rows.next() {
		began := time.Now()
		if rows.s.Rate > 0 {
			began = first.Add(time.Duration(float64(given) / float64(rows.s.Rate) * 1e9))
			if err := waitUntil(ctx, began); err != nil {
				return err
			}
		}
		given += b.N
		if err := d.Write(ctx, b); err != nil {
			return err
		}
		if done != nil && !done(began) {
			return nil
		}
	}
	return nil
}

func waitUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

// size flushes with the default options, weighs, compacts as far as it goes, and weighs again.
func size(ctx context.Context, s Spec) (*Outcome, error) {
	rows, err := newStream(s, false)
	if err != nil {
		return nil, err
	}
	weigh := func(compacted bool) (int64, int64, error) {
		d, err := db.Open(s.Dir, keep, func(o *db.Options) { o.NoCompaction = !compacted })
		if err != nil {
			return 0, 0, err
		}
		if compacted {
			err = d.Compact(ctx)
		} else if err = writeAll(ctx, d, rows, nil); err == nil {
			err = d.Flush(ctx)
		}
		n := d.Metrics().SegmentRows
		if err = errors.Join(err, d.Close()); err != nil {
			return 0, 0, err
		}
		bytes, err := diskBytes(s.Dir)
		return n, bytes, err
	}
	out := &Outcome{}
	if _, out.FlushDisk, err = weigh(false); err != nil {
		return nil, err
	}
	out.Rows, out.Disk, err = weigh(true)
	return out, err
}

// patient has writes that are not measured wait for a busy machine.
func patient(o *db.Options) { o.MaxWait = 10 * time.Minute }

// load writes all rows: into compacted segments, or into the log, where the end of the process leaves them.
func load(ctx context.Context, s Spec) (*Outcome, error) {
	rows, err := newStream(s, s.Pool < s.Rows)
	if err != nil {
		return nil, err
	}
	opts := []func(*db.Options){keep, patient}
	if s.Phase == PhaseLoadWAL {
		opts = append(opts, unflushed)
	}
	d, err := db.Open(s.Dir, opts...)
	if err != nil {
		return nil, err
	}
	if err := writeAll(ctx, d, rows, nil); err != nil {
		return nil, err
	}
	out := &Outcome{Rows: d.Metrics().Rows}
	if s.Phase == PhaseLoadWAL {
		return out, nil
	}
	return out, errors.Join(d.Flush(ctx), d.Compact(ctx), d.Close())
}

// ask is the answer to a query, rows by line.
func ask(ctx context.Context, e *query.Engine, sql string) (string, error) {
	r, err := e.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	defer r.Close()
	rows, err := r.All(ctx)
	if err != nil {
		return "", err
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = strings.Join(row, "|")
	}
	return strings.Join(lines, "\n"), nil
}

// scan asks once to warm up, then Repeat times.
func scan(ctx context.Context, s Spec) (*Outcome, error) {
	d, err := db.Open(s.Dir, keep, s.tables)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	e := query.New(d)
	out := &Outcome{Rows: int64(s.Rows)}
	answer, err := ask(ctx, e, s.Queries[0])
	if err != nil {
		return nil, err
	}
	out.Answers = []string{answer}
	m := startMeter()
	for range s.Repeat {
		began := time.Now()
		if _, err := ask(ctx, e, s.Queries[0]); err != nil {
			return nil, err
		}
		out.Millis = append(out.Millis, millis(began))
	}
	m.stop(out)
	return out, nil
}

// needle measures each query on a folder opened anew, with none of its files in the page cache. Opening is start's to measure.
func needle(ctx context.Context, s Spec) (*Outcome, error) {
	out := &Outcome{Rows: int64(s.Rows)}
	for _, q := range s.Queries {
		if err := evict(s.Dir); err != nil {
			return nil, err
		}
		d, err := db.Open(s.Dir, keep)
		if err != nil {
			return nil, err
		}
		m := startMeter()
		answer, err := ask(ctx, query.New(d), q)
		out.Millis = append(out.Millis, millis(m.began))
		m.stop(out)
		if err := errors.Join(err, d.Close()); err != nil {
			return nil, err
		}
		out.Answers = append(out.Answers, answer)
	}
	return out, nil
}

// start measures opening the folder until the rows are counted.
func start(ctx context.Context, s Spec) (*Outcome, error) {
	if err := evict(s.Dir); err != nil {
		return nil, err
	}
	out := &Outcome{Rows: int64(s.Rows)}
	m := startMeter()
	d, err := db.Open(s.Dir, keep, unflushed)
	if err != nil {
		return nil, err
	}
	answer, err := ask(ctx, query.New(d), "SELECT count(*) FROM "+s.Table)
	if err != nil {
		return nil, err
	}
	m.stop(out)
	out.Millis, out.Answers = []float64{out.Seconds * 1e3}, []string{answer}
	return out, nil
}

// logFolder is where a database keeps its log: files that are made at their full size and used again.
const logFolder = "wal"

// diskBytes is the size of the files of a database that has flushed all its rows. The log, which then holds none, is left out.
func diskBytes(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == logFolder {
			return fs.SkipDir
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

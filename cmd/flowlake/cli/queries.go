package cli

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db/batch"
)

// queryInfo is a statement as system.queries shows it.
type queryInfo struct {
	id, startNanos, rows int64
	seconds              float64
	state, err, sql      string
}

const (
	recentQueries = 100
	shownSQL      = 4096
)

// queryLog remembers the statements that run and the last that ran.
type queryLog struct {
	now func() time.Time

	mu            sync.Mutex // guards what follows and all trackedRows in it
	last          int64
	running       map[int64]*trackedRows
	recent        []queryInfo // oldest first
	total, failed int64
	seconds       float64
}

func newQueryLog() *queryLog { return &queryLog{now: time.Now, running: map[int64]*trackedRows{}} }

// track makes a QueryFunc whose statements are remembered.
func (l *queryLog) track(run api.QueryFunc) api.QueryFunc {
	return func(ctx context.Context, sql string, args ...any) (api.Rows, error) {
		t := l.begin(sql)
		rows, err := run(ctx, sql, args...)
		if err != nil {
			l.end(t, err)
			return nil, err
		}
		t.Rows = rows
		return t, nil
	}
}

func (l *queryLog) begin(sql string) *trackedRows {
	if len(sql) > shownSQL {
		sql = strings.ToValidUTF8(sql[:shownSQL], "") + "…"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	t := &trackedRows{log: l, start: l.now(), info: queryInfo{id: l.last, state: "running", sql: strings.Clone(sql)}}
	t.info.startNanos = t.start.UnixNano()
	l.running[t.info.id] = t
	return t
}

func (l *queryLog) end(t *trackedRows, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.running[t.info.id]; !ok {
		return
	}
	delete(l.running, t.info.id)
	t.info.seconds = l.now().Sub(t.start).Seconds()
	t.info.state = "done"
	l.total++
	l.seconds += t.info.seconds
	if err != nil {
		t.info.state, t.info.err = "failed", err.Error()
		l.failed++
	}
	l.recent = append(l.recent, t.info)
	if len(l.recent) > recentQueries {
		l.recent = slices.Delete(l.recent, 0, len(l.recent)-recentQueries)
	}
}

// list is what is remembered, by id.
func (l *queryLog) list() []queryInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.recent)
	for _, t := range l.running {
		q := t.info
		q.seconds = l.now().Sub(t.start).Seconds()
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b queryInfo) int { return int(a.id - b.id) })
	return out
}

func (l *queryLog) counters() []counter {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &counts{stage: "query"}
	c.now("running", "statements that run now", float64(len(l.running)))
	c.add("statements", "statements that ended", float64(l.total))
	c.add("failed", "statements that failed", float64(l.failed))
	c.add("seconds", "time that statements took", l.seconds)
	return c.list
}

// trackedRows are rows of a statement that is remembered.
type trackedRows struct {
	api.Rows
	log   *queryLog
	start time.Time
	info  queryInfo
	err   error // of the last Next; of the goroutine that reads
}

// Next counts the rows.
func (t *trackedRows) Next(ctx context.Context) (*batch.Batch, error) {
	b, err := t.Rows.Next(ctx)
	if err == nil {
		t.log.mu.Lock()
		t.info.rows += int64(b.N)
		t.log.mu.Unlock()
	} else if !errors.Is(err, io.EOF) {
		t.err = err
	}
	return b, err
}

// Close ends the statement.
func (t *trackedRows) Close() error {
	err := t.Rows.Close()
	t.log.end(t, errors.Join(t.err, err))
	return err
}

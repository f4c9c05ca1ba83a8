package query

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/plan"
)

// Source is what offers tables: a database, a shard, a test. It is safe for concurrent use.
type Source interface {
	// Tables lists the stored tables.
	Tables() []*schema.Table
	// Table is the named table; ok is false where there is none.
	Table(name string) (t *schema.Table, ok bool)
	// Scan answers a request over a consistent snapshot.
	Scan(ctx context.Context, req *pred.Request) (pred.Scan, error)
	// Tags are the tag sets known now, those of all rows that a scan opened before may give.
	Tags() *tags.View
}

// Flusher is a Source that can make all it has taken durable in segments, for the statement CHECKPOINT.
type Flusher interface {
	Flush(ctx context.Context) error
}

// VirtualTable is a table whose rows are made when it is read, such as system.segments.
type VirtualTable struct {
	// Table has the full name ("system.segments") and the columns; it needs no time column.
	Table *schema.Table
	// Rows makes the rows; nil when there are none. Its columns are parallel to Table.Columns.
	Rows func(ctx context.Context) (*batch.Batch, error)
}

// Options are the settings of an Engine. Zero values mean the defaults.
type Options struct {
	// Workers is how many goroutines one query may use; default GOMAXPROCS.
	Workers int
	// MemoryLimit bounds what the tables, sorts and results of one query hold, in bytes; default 1 GiB, negative for no limit.
	MemoryLimit int64
	// Timeout bounds a query from its start until its result is closed; default 30 s, negative for no limit.
	Timeout time.Duration
	// MaxResultRows bounds the rows of one result; default (0) no limit.
	MaxResultRows int64
	// RollupOff answers every query from the table it names, never from a rollup of it; the setting rollup.
	RollupOff bool
	// ReadOnly refuses the statements that change the database: CREATE ROLLUP, DROP ROLLUP, ALTER TABLE.
	ReadOnly bool
	// Now is the clock behind now(); default time.Now.
	Now func() time.Time
	// Location is the zone of times that name none; default UTC.
	Location *time.Location
	// Virtual are tables beside those of the Source.
	Virtual []VirtualTable
	// Version is what version() answers; default "Flowlake".
	Version string
}

// ensureDefaults replaces zero values.
func (o *Options) ensureDefaults() {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = 1 << 30
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Version == "" {
		o.Version = "Flowlake"
	}
}

// Engine answers statements. It is safe for concurrent use.
type Engine struct {
	src  Source
	opts Options
}

// New makes an engine over a source.
func New(src Source, opts ...func(*Options)) *Engine {
	e := &Engine{src: src}
	for _, f := range opts {
		f(&e.opts)
	}
	e.opts.ensureDefaults()
	return e
}

// Query runs one statement with the settings of the engine; args are the values of $1, $2, ...: nil, bool, integers,
// floats, string, []byte, time.Time, time.Duration or netip.Addr. The result must be closed. The context covers the
// result too. Errors are of type *Error.
func (e *Engine) Query(ctx context.Context, sql string, args ...any) (*Result, error) {
	return e.NewSession().Query(ctx, sql, args...)
}

// table finds a table by the parts of its name; the schema public may be named.
func (e *Engine) table(parts []string) (plan.Table, bool) {
	for len(parts) > 1 && (parts[0] == "public" || parts[0] == "flowlake") {
		parts = parts[1:]
	}
	name := strings.Join(parts, ".")
	for _, v := range e.opts.Virtual {
		if v.Table.Name == name {
			return plan.Table{Schema: v.Table, Load: v.Rows}, true
		}
	}
	if t, ok := e.src.Table(name); ok {
		return plan.Table{Schema: t, Exact: t.Base != "" && t.Base != t.Name}, true
	}
	t, ok := e.src.Table(name + finest)
	return plan.Table{Schema: t}, ok && t.Base == name
}

// finest ends the name of the table that a logical table such as network stands for: the one its rollups are made of.
const finest = "_1s"

// tables lists stored and virtual tables by name.
func (e *Engine) tables() []*schema.Table {
	out := slices.Clone(e.src.Tables())
	for _, v := range e.opts.Virtual {
		out = append(out, v.Table)
	}
	for _, t := range e.src.Tables() {
		if base, ok := strings.CutSuffix(t.Name, finest); ok && base == t.Base {
			out = append(out, &schema.Table{Name: base, Doc: t.Doc + "; the resolution is chosen by the query", TimeColumn: -1})
		}
	}
	slices.SortFunc(out, func(a, b *schema.Table) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// env is what expressions need of the source.
func (e *Engine) env() *exec.Env {
	var mu sync.Mutex
	dicts := map[string]*exec.TagDict{} // guarded by mu; workers share them
	return &exec.Env{
		TagDict: func(key string) *exec.TagDict {
			mu.Lock()
			defer mu.Unlock()
			if d := dicts[key]; d != nil {
				return d
			}
			out := &exec.TagDict{Dict: batch.DictOf("")}
			if v := e.src.Tags(); v != nil {
				d := v.Dense(key)
				out = &exec.TagDict{Codes: d.Codes, Dict: batch.NewDict(d.Data, d.Offs)}
			}
			dicts[key] = out
			return out
		},
		MapGet: tags.Get,
		TagSet: func(id uint32) []byte {
			v := e.src.Tags()
			if v == nil || int(id) >= v.Len() {
				return nil
			}
			return v.Set(id)
		},
	}
}

// Session is settings that SET changes, over an engine. It is for one goroutine at a time.
type Session struct {
	engine *Engine
	opts   Options
	// extra are settings that clients set and nothing depends on.
	extra map[string]string
}

// NewSession starts with the settings of the engine.
func (e *Engine) NewSession() *Session {
	return &Session{engine: e, opts: e.opts, extra: map[string]string{}}
}

func (s *Session) planner(args []any) (*plan.Planner, error) {
	e := s.engine
	p := &plan.Planner{
		Lookup: e.table,
		TableNames: func() []string {
			var out []string
			for _, t := range e.tables() {
				out = append(out, t.Name)
			}
			return out
		},
		Scan: e.src.Scan, Tags: e.src.Tags(), NowNanos: s.opts.Now().UnixNano(), Location: s.opts.Location,
		Constants: map[string]exec.Value{
			"version": exec.TextValue(s.opts.Version), "current_database": exec.TextValue("flowlake"), "current_catalog": exec.TextValue("flowlake"),
			"current_schema": exec.TextValue("public"), "current_user": exec.TextValue("flowlake"), "session_user": exec.TextValue("flowlake"),
			"user": exec.TextValue("flowlake"), "pg_is_in_recovery": exec.BoolValue(false),
		},
	}
	if a, ok := e.src.(schema.RollupAdmin); ok && !s.opts.RollupOff {
		p.Rollups = a
	}
	for i, a := range args {
		v, err := argument(a)
		if err != nil {
			return nil, errorf("22023", "", "parameter $%d: %v", i+1, err)
		}
		p.Params = append(p.Params, v)
	}
	return p, nil
}

func argument(a any) (exec.Value, error) {
	switch a := a.(type) {
	case nil:
		return exec.NullValue(schema.Invalid), nil
	case bool:
		return exec.BoolValue(a), nil
	case int:
		return exec.IntValue(int64(a)), nil
	case int32:
		return exec.IntValue(int64(a)), nil
	case int64:
		return exec.IntValue(a), nil
	case uint32:
		return exec.IntValue(int64(a)), nil
	case float64:
		return exec.FloatValue(a), nil
	case string:
		return exec.TextValue(a), nil
	case []byte:
		return exec.Value{Type: schema.Bytes, S: string(a)}, nil
	case time.Time:
		return exec.Value{Type: schema.Timestamp, I: a.UnixNano()}, nil
	case time.Duration:
		return exec.Value{Type: schema.Interval, I: int64(a)}, nil
	case fmt.Stringer: // netip.Addr and what else writes itself
		return exec.TextValue(a.String()), nil
	}
	return exec.Value{}, fmt.Errorf("type %T is not supported", a)
}

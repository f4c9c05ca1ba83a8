package query

import (
	"context"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
	"github.com/flowlake/flowlake/query/plan"
)

// Query runs one statement; see Engine.Query. SET changes the settings of the session.
func (s *Session) Query(ctx context.Context, sql string, args ...any) (*Result, error) {
	stmt, err := parse.ParseOne(sql)
	if err != nil {
		return nil, wrapError(sql, err)
	}
	return s.Run(ctx, sql, stmt, args...)
}

// Run is Query for a statement that is parsed already; sql is its text, for messages.
func (s *Session) Run(ctx context.Context, sql string, stmt ast.Statement, args ...any) (*Result, error) {
	r := &Result{sql: sql, session: s, started: time.Now()}
	ctx, r.cancel = context.WithCancel(ctx)
	if s.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.opts.Timeout, ErrTimeout)
		outer := r.cancel
		r.cancel = func() { cancel(); outer() }
	}
	err := s.start(ctx, r, stmt, args)
	if err != nil {
		r.Close()
		return nil, wrapError(sql, err)
	}
	return r, nil
}

func (s *Session) start(ctx context.Context, r *Result, stmt ast.Statement, args []any) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	p, err := s.planner(args)
	if err != nil {
		return err
	}
	p.Run = func(n exec.Node, max int) ([][]exec.Value, error) { return s.collect(ctx, n, max) }
	switch stmt := stmt.(type) {
	case *ast.Query:
		n, err := p.Query(stmt)
		if err != nil {
			return err
		}
		return s.stream(ctx, r, "SELECT", n)
	case *ast.Show:
		return s.show(ctx, r, p, stmt)
	case *ast.Describe:
		return s.describe(ctx, r, p, stmt)
	case *ast.Explain:
		return s.explain(ctx, r, p, stmt)
	case *ast.Set:
		r.Command = "SET"
		return s.set(p, stmt)
	case *ast.Checkpoint:
		r.Command = "CHECKPOINT"
		f, ok := s.engine.src.(Flusher)
		if !ok {
			return errorf("0A000", "", "this source has no CHECKPOINT")
		}
		return f.Flush(ctx)
	case *ast.CreateRollup:
		r.Command = "CREATE ROLLUP"
		return s.createRollup(ctx, p, stmt)
	case *ast.DropRollup:
		r.Command = "DROP ROLLUP"
		return s.dropRollup(ctx, stmt)
	case *ast.SetRetention:
		r.Command = "ALTER TABLE"
		return s.setRetention(ctx, p, stmt)
	case *ast.Transaction: // queries only read: there is nothing to keep together
		r.Command = stmt.Kind.String()
		return nil
	}
	return errorf("0A000", "", "this statement is not supported")
}

// stream starts a tree whose rows are the result.
func (s *Session) stream(ctx context.Context, r *Result, command string, n exec.Node) error {
	r.Command, r.root = command, n
	for _, c := range n.Cols() {
		r.cols = append(r.cols, Column{Name: c.Name, Type: c.Type, Unit: c.Unit})
	}
	r.run = s.newRun(false)
	r.run.Begin(ctx)
	rows, err := r.run.Start(n)
	r.rows = rows
	return err
}

func (s *Session) newRun(analyze bool) *exec.Run {
	limit := max(s.opts.MemoryLimit, 0)
	return &exec.Run{Workers: s.opts.Workers, Env: s.engine.env(), Budget: &exec.Budget{Limit: limit}, Analyze: analyze}
}

// collect runs a subquery and gives its rows, at most max.
func (s *Session) collect(ctx context.Context, n exec.Node, max int) ([][]exec.Value, error) {
	run := s.newRun(false)
	run.Begin(ctx)
	defer run.Close()
	rows, err := run.Start(n)
	if err != nil {
		return nil, err
	}
	var out [][]exec.Value
	for len(out) < max {
		b, err := rows.Next()
		if err != nil || b == nil {
			return out, err
		}
		for i := 0; i < b.N && len(out) < max; i++ {
			row := make([]exec.Value, len(b.Cols))
			for c, v := range b.Cols {
				row[c] = exec.ValueAt(v, i)
			}
			out = append(out, row)
		}
		if err := run.Budget.Charge(int64(b.N * len(b.Cols) * 64)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Session) explain(ctx context.Context, r *Result, p *plan.Planner, stmt *ast.Explain) error {
	q, ok := stmt.Statement.(*ast.Query)
	if !ok {
		return errorf("0A000", "", "EXPLAIN is for queries")
	}
	if stmt.Format != "" && stmt.Format != "text" {
		return errorf("0A000", "", "EXPLAIN (FORMAT %s) is not supported, only text", strings.ToUpper(stmt.Format))
	}
	n, err := p.Query(q)
	if err != nil {
		return err
	}
	if !stmt.Analyze && !stmt.Verbose {
		exec.Brief(n)
	}
	var lines []string
	if stmt.Analyze {
		if lines, err = s.analyze(ctx, n); err != nil {
			return err
		}
	} else {
		lines = exec.Explain(n, false)
	}
	return s.list(ctx, r, "EXPLAIN", p, &ast.Show{}, []exec.Col{{Name: "QUERY PLAN", Type: schema.Varchar}}, textRows(lines))
}

func textRows(lines []string) [][]exec.Value {
	rows := make([][]exec.Value, len(lines))
	for i, l := range lines {
		rows[i] = []exec.Value{exec.TextValue(l)}
	}
	return rows
}

// analyze runs a tree to its end and tells what each operator did.
func (s *Session) analyze(ctx context.Context, n exec.Node) ([]string, error) {
	run := s.newRun(true)
	run.Begin(ctx)
	defer run.Close()
	t := time.Now()
	rows, err := run.Start(n)
	if err != nil {
		return nil, err
	}
	for {
		b, err := rows.Next()
		if err != nil {
			return nil, err
		}
		if b == nil {
			break
		}
	}
	lines := exec.Explain(n, true)
	return append(lines, "Execution time: "+time.Since(t).Round(time.Microsecond).String()+
		", peak memory: "+exec.FormatBytes(run.Budget.Peak())), nil
}

// list answers with a list made beforehand.
func (s *Session) list(ctx context.Context, r *Result, command string, p *plan.Planner, show *ast.Show, cols []exec.Col, rows [][]exec.Value) error {
	n, err := p.List(show, cols, rows)
	if err != nil {
		return err
	}
	return s.stream(ctx, r, command, n)
}

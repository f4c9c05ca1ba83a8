package plan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
)

// Error is what is wrong with a statement, and where.
type Error struct {
	Pos   ast.Pos
	State string // SQLSTATE
	Msg   string
	Hint  string // what may have been meant; may be empty
}

// Error is the message without the place.
func (e *Error) Error() string { return e.Msg }

func errorAt(n ast.Node, state, format string, args ...any) *Error {
	return &Error{Pos: n.Position(), State: state, Msg: fmt.Sprintf(format, args...)}
}

func (e *Error) hint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// SQLSTATEs of the planner.
const (
	stateUnknownTable    = "42P01"
	stateUnknownColumn   = "42703"
	stateUnknownFunction = "42883"
	stateAmbiguous       = "42702"
	stateGrouping        = "42803"
	stateMismatch        = "42804"
	stateSyntax          = "42601"
	stateBadOrder        = "42P10"
	stateUnsupported     = "0A000"
	stateTooComplex      = "54001"
	stateCardinality     = "21000"
	stateBadLimit        = "2201W"
	stateBadParam        = "08P01"
	stateDuplicate       = "42701"
)

// Table is what a name in FROM stands for.
type Table struct {
	// Schema has the columns; for stored tables it is the table itself.
	Schema *schema.Table
	// Load gives the rows of a virtual table; nil for stored tables.
	Load func(ctx context.Context) (*batch.Batch, error)
	// Exact tables were named with their resolution: they are read themselves, never a rollup of them.
	Exact bool
}

// Planner plans statements for one snapshot of names. It is used by one goroutine, for one statement.
type Planner struct {
	// Lookup finds a table by its parts ("flows"; "system", "segments").
	Lookup func(parts []string) (Table, bool)
	// TableNames lists all tables, for suggestions.
	TableNames func() []string
	// Scan opens a scan of a stored table.
	Scan func(ctx context.Context, req *pred.Request) (pred.Scan, error)
	// Tags are the tag sets known now; nil when there are none.
	Tags *tags.View
	// NowNanos is the value of now().
	NowNanos int64
	// Location is the zone of times that name none.
	Location *time.Location
	// Params are the values of $1, $2, ...
	Params []exec.Value
	// Rollups are what aggregates may be answered from; nil for none.
	Rollups schema.RollupAdmin
	// Run evaluates a subquery beforehand: at most max rows, an error beyond that.
	Run func(n exec.Node, max int) ([][]exec.Value, error)
	// Constants are functions without arguments that the session answers, such as current_user.
	Constants map[string]exec.Value

	ctes      []cte
	relations int
}

type cte struct {
	def  *ast.CTE
	seen int // CTEs that it may refer to: those before it
}

// limits of one statement
const (
	maxRelations = 500
	maxInValues  = 1_000_000
)

// Query plans a query. The tree is optimised and ready to run.
func (p *Planner) Query(q *ast.Query) (exec.Node, error) {
	rel, err := p.query(q)
	if err != nil {
		return nil, err
	}
	return p.optimize(p.presentable(rel).node), nil
}

// optimize makes a tree ready to run.
func (p *Planner) optimize(n exec.Node) exec.Node { return Optimize(p.useRollups(n), p.Tags) }

// relation is an operator with the names of its columns.
type relation struct {
	node exec.Node
	cols []relCol
}

type relCol struct {
	table string // alias it is reached by; "" for none
	name  string
	typ   schema.Type
	unit  string
	// hidden columns are those a join with USING merged: only the name of their table reaches them.
	hidden bool
	// merge is set for columns of sketches, which are shown as text.
	merge schema.Merge
}

func (r *relation) column(i int) *exec.Column {
	return &exec.Column{Index: i, Typ: r.cols[i].typ, Name: r.cols[i].name}
}

func relationOf(n exec.Node, table string) *relation {
	r := &relation{node: n}
	for _, c := range n.Cols() {
		r.cols = append(r.cols, relCol{table: table, name: c.Name, typ: c.Type, unit: c.Unit})
	}
	return r
}

// presentable turns tag sets, whose ids mean nothing to a client, into maps, and sketches into what they tell.
func (p *Planner) presentable(r *relation) *relation {
	found := false
	for _, c := range r.cols {
		found = found || c.typ == schema.TagSet || c.typ == schema.Invalid || c.typ == schema.Bytes
	}
	if !found {
		return r
	}
	proj := &exec.Project{Input: r.node}
	for i, c := range r.cols {
		var e exec.Expr = r.column(i)
		switch c.typ {
		case schema.TagSet:
			e = &exec.Cast{X: e, Typ: schema.Map}
		case schema.Invalid:
			e = &exec.Cast{X: e, Typ: schema.Varchar}
		case schema.Bytes:
			name := map[schema.Merge]string{schema.MergeSketch: "sketch_text", schema.MergeUniq: "uniq_text"}[c.merge]
			if fn := exec.OperatorFunc(name); fn != nil {
				e = &exec.Call{Fn: fn, Impl: fn.Overloads[0], Args: []exec.Expr{e}, Typ: schema.Varchar}
			}
		}
		proj.Exprs = append(proj.Exprs, e)
		proj.Output = append(proj.Output, exec.Col{Name: c.name, Type: e.Type(), Unit: c.unit})
	}
	return relationOf(proj, "")
}

// atPos gives an error of evaluation the place of the expression.
func atPos(n ast.Node, err error) error {
	var pe *Error
	if errors.As(err, &pe) {
		return err
	}
	var re *exec.RunError
	if errors.As(err, &re) {
		return errorAt(n, re.State, "%s", re.Msg)
	}
	return err
}

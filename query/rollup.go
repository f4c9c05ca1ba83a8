package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
	"github.com/flowlake/flowlake/query/plan"
)

// SQLSTATEs of statements about rollups.
const (
	stateExists    = "42P07"
	stateNoTable   = "42P01"
	stateBadDef    = "42P17"
	stateWrongKind = "42809"
	stateReadOnly  = "25006"
	stateNotHere   = "0A000"
	stateBadValue  = "22023"
)

const day = 24 * time.Hour

// admin is the source's rollups; an error where it keeps none.
func (s *Session) admin(n ast.Node) (schema.RollupAdmin, error) {
	if a, ok := s.engine.src.(schema.RollupAdmin); ok {
		return a, nil
	}
	return nil, at(n, stateNotHere, "", "this source has no rollups and no retention to set")
}

// writable refuses a statement that changes the database where that is not allowed.
func (s *Session) writable(n ast.Node, what string) error {
	if s.opts.ReadOnly {
		return at(n, stateReadOnly, "this door only reads", "%s is not allowed here", what)
	}
	return nil
}

// at is an error with the place of a part of the statement.
func at(n ast.Node, state, hint, format string, args ...any) error {
	return &plan.Error{Pos: n.Position(), State: state, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// plainName joins the parts of a name; the schema public may be named.
func plainName(t *ast.TableName) string {
	parts := t.Parts
	for len(parts) > 1 && (parts[0] == "public" || parts[0] == "flowlake") {
		parts = parts[1:]
	}
	return strings.Join(parts, ".")
}

// span is an interval as a duration. Where loose, months are 30 days and years 365.
func span(iv *ast.Interval, what string, loose bool) (time.Duration, error) {
	if iv.Months != 0 && !loose {
		return 0, at(iv, stateBadValue, "write days, hours, minutes or seconds", "%s cannot be months or years: they are not all of one length", what)
	}
	days := float64(iv.Days) + float64(iv.Months/12*365+iv.Months%12*30)
	if total := days*float64(day) + float64(iv.Nanos); total <= 0 || total >= math.MaxInt64 {
		return 0, at(iv, stateBadValue, "", "%s must be positive and at most 292 years", what)
	}
	return time.Duration(days)*day + time.Duration(iv.Nanos), nil
}

func (s *Session) createRollup(ctx context.Context, p *plan.Planner, stmt *ast.CreateRollup) error {
	if err := s.writable(stmt, "CREATE ROLLUP"); err != nil {
		return err
	}
	a, err := s.admin(stmt)
	if err != nil {
		return err
	}
	src, err := s.storedTable(p, stmt.Table)
	if err != nil {
		return err
	}
	def := schema.RollupDef{Name: plainName(stmt.Name), Source: src.Name}
	if stmt.IfNotExists && findRollup(a, def.Name) != nil {
		return nil
	}
	if def.Every, err = span(stmt.Every, "EVERY", false); err != nil {
		return err
	}
	if stmt.Keep != nil {
		if def.Keep, err = span(stmt.Keep, "KEEP", true); err != nil {
			return err
		}
	}
	if def.Keys, err = p.RollupKeys(src, stmt.Keys); err != nil {
		return err
	}
	return s.rollupError(a, stmt.Name, a.CreateRollup(ctx, def))
}

// storedTable is the stored table of a name; network stands for network_1s.
func (s *Session) storedTable(p *plan.Planner, name *ast.TableName) (*schema.Table, error) {
	t, ok := s.engine.table(name.Parts)
	if !ok {
		return nil, p.UnknownTable(name)
	}
	if t.Load != nil {
		return nil, at(name, stateWrongKind, "", "%s is made when it is read: it has no rollups and no retention", plainName(name))
	}
	return t.Schema, nil
}

func findRollup(a schema.RollupAdmin, name string) *schema.RollupStatus {
	list := a.Rollups()
	for i := range list {
		if list[i].Rollup.Def.Name == name {
			return &list[i]
		}
	}
	return nil
}

// rollupError gives an error of storage its SQLSTATE and place.
func (s *Session) rollupError(a schema.RollupAdmin, name *ast.TableName, err error) error {
	switch written := plainName(name); {
	case err == nil:
		return nil
	case errors.Is(err, schema.ErrRollupExists):
		hint := ""
		if findRollup(a, written) != nil {
			hint = "DROP ROLLUP removes it; SHOW CREATE ROLLUP shows how it was made"
		}
		return at(name, stateExists, hint, "%q exists already", written)
	case errors.Is(err, schema.ErrUnknownRollup):
		return unknownRollup(a, name)
	case errors.Is(err, schema.ErrBuiltinRollup):
		return at(name, stateWrongKind, "ALTER TABLE ... SET RETENTION says how long it is kept", "%s is built in and cannot be dropped", written)
	case errors.Is(err, schema.ErrUnknownTable):
		return at(name, stateNoTable, "SHOW TABLES lists all tables", "table %q does not exist", written)
	case errors.Is(err, schema.ErrRollupDef):
		msg := strings.TrimPrefix(err.Error(), schema.ErrRollupDef.Error()+": ")
		return at(name, stateBadDef, "", "%s", msg)
	}
	return err
}

func unknownRollup(a schema.RollupAdmin, name *ast.TableName) error {
	var names []string
	for _, r := range a.Rollups() {
		names = append(names, r.Rollup.Def.Name)
	}
	hint := "SHOW ROLLUPS lists all rollups"
	if m := parse.Suggest(plainName(name), names); m != "" {
		hint = "did you mean " + m + "?"
	}
	return at(name, stateNoTable, hint, "rollup %q does not exist", plainName(name))
}

func (s *Session) dropRollup(ctx context.Context, stmt *ast.DropRollup) error {
	if err := s.writable(stmt, "DROP ROLLUP"); err != nil {
		return err
	}
	a, err := s.admin(stmt)
	if err != nil {
		return err
	}
	return s.rollupError(a, stmt.Name, a.DropRollup(ctx, plainName(stmt.Name), stmt.IfExists))
}

func (s *Session) setRetention(ctx context.Context, p *plan.Planner, stmt *ast.SetRetention) error {
	if err := s.writable(stmt, "ALTER TABLE"); err != nil {
		return err
	}
	a, err := s.admin(stmt)
	if err != nil {
		return err
	}
	t, err := s.storedTable(p, stmt.Table)
	if err != nil {
		return err
	}
	if name := plainName(stmt.Table); t.Name != name {
		return at(stmt.Table, stateWrongKind, "name one of them, such as "+t.Name, "%s is several tables", name)
	}
	var keep time.Duration
	if stmt.Keep != nil {
		if keep, err = span(stmt.Keep, "a retention", true); err != nil {
			return err
		}
	}
	return s.rollupError(a, stmt.Table, a.SetRetention(ctx, t.Name, keep))
}

// retentionOf is how long rows of a table are kept, 0 for ever.
func (s *Session) retentionOf(t *schema.Table) time.Duration {
	if a, ok := s.engine.src.(schema.RollupAdmin); ok && t.TimeColumn >= 0 {
		if _, stored := s.engine.src.Table(t.Name); stored {
			return a.Retention(t.Name)
		}
	}
	return t.Retention
}

func (s *Session) showRetention() ([]exec.Col, [][]exec.Value) {
	var rows [][]exec.Value
	for _, t := range s.engine.src.Tables() {
		rows = append(rows, append(textRow(t.Name, plan.SpanText(s.retentionOf(t))), exec.TextValue(t.Doc)))
	}
	return textCols("table", "retention", "description"), rows
}

func (s *Session) showRollups(ctx context.Context, n ast.Node) ([]exec.Col, [][]exec.Value, error) {
	cols := append(textCols("name", "source", "every", "keys", "keep", "state"), exec.Col{Name: "rows", Type: schema.BigInt},
		exec.Col{Name: "bytes", Type: schema.BigInt, Unit: "bytes"}, exec.Col{Name: "created", Type: schema.Timestamp})
	a, err := s.admin(n)
	if err != nil {
		return nil, nil, err
	}
	sizes, err := s.sizes(ctx)
	if err != nil {
		return nil, nil, err
	}
	var rows [][]exec.Value
	for _, r := range a.Rollups() {
		d := &r.Rollup.Def
		var keys []string
		for _, k := range d.Keys {
			keys = append(keys, keyExpr(k).String())
		}
		state := "ready"
		if !r.Ready {
			state = fmt.Sprintf("backfill: %d of %d segments", r.Done, r.Total)
		}
		if r.Damaged > 0 {
			state += fmt.Sprintf(", %d damaged segments set aside", r.Damaged)
		}
		row := textRow(d.Name, d.Source, plan.SpanText(d.Every), strings.Join(keys, ", "), plan.SpanText(a.Retention(d.Name)), state)
		size, known := exec.NullValue(schema.BigInt), [2]int64{}
		if sizes == nil {
			row = append(row, size, size)
		} else {
			known = sizes[r.Rollup.Target.Name]
			row = append(row, exec.IntValue(known[0]), exec.IntValue(known[1]))
		}
		created := exec.NullValue(schema.Timestamp)
		if !r.Created.IsZero() {
			created = exec.Value{Type: schema.Timestamp, I: r.Created.UnixNano()}
		}
		rows = append(rows, append(row, created))
	}
	return cols, rows, nil
}

// sizes is the rows and bytes of the segments of each table, from system.segments; nil where there is no such table.
func (s *Session) sizes(ctx context.Context) (map[string][2]int64, error) {
	i := slices.IndexFunc(s.opts.Virtual, func(v VirtualTable) bool { return v.Table.Name == "system.segments" })
	if i < 0 {
		return nil, nil
	}
	b, err := s.opts.Virtual[i].Rows(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][2]int64{}
	col := func(name string) int {
		return slices.IndexFunc(s.opts.Virtual[i].Table.Columns, func(c schema.Column) bool { return c.Name == name })
	}
	table, rows, bytes, state := col("table_name"), col("rows"), col("bytes"), col("state")
	if b == nil || min(table, rows, bytes, state) < 0 {
		return out, nil
	}
	for r := range b.N {
		if string(b.Cols[state].Bytes(r)) != "live" {
			continue
		}
		name := string(b.Cols[table].Bytes(r))
		n := out[name]
		out[name] = [2]int64{n[0] + b.Cols[rows].I64[r], n[1] + b.Cols[bytes].I64[r]}
	}
	return out, nil
}

// keyExpr is a key as SQL writes it.
func keyExpr(k schema.RollupKey) ast.Expr {
	if k.TagKey == "" {
		return &ast.Ident{Parts: []string{k.Column}}
	}
	side := schema.TagSide(k.Column)
	if label, ok := strings.CutPrefix(k.TagKey, "label."); ok {
		return &ast.Subscript{Base: &ast.Ident{Parts: []string{side, "label"}}, Index: &ast.String{Value: label}}
	}
	return &ast.Ident{Parts: []string{side, k.TagKey}}
}

func interval(d time.Duration) *ast.Interval {
	return &ast.Interval{Days: int64(d / day), Nanos: int64(d % day)}
}

func (s *Session) showCreateRollup(stmt *ast.Show) ([][]exec.Value, error) {
	a, err := s.admin(stmt)
	if err != nil {
		return nil, err
	}
	r := findRollup(a, plainName(stmt.Table))
	if r == nil {
		return nil, unknownRollup(a, stmt.Table)
	}
	d := &r.Rollup.Def
	c := &ast.CreateRollup{Name: &ast.TableName{Parts: []string{d.Name}}, Table: &ast.TableName{Parts: []string{d.Source}}, Every: interval(d.Every)}
	for _, k := range d.Keys {
		c.Keys = append(c.Keys, keyExpr(k))
	}
	if d.Keep > 0 {
		c.Keep = interval(d.Keep)
	}
	return [][]exec.Value{textRow(d.Name, c.String())}, nil
}

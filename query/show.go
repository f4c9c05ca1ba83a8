package query

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/plan"
)

func textCols(names ...string) []exec.Col {
	out := make([]exec.Col, len(names))
	for i, n := range names {
		out[i] = exec.Col{Name: n, Type: schema.Varchar}
	}
	return out
}

func textRow(values ...string) []exec.Value {
	out := make([]exec.Value, len(values))
	for i, v := range values {
		out[i] = exec.TextValue(v)
	}
	return out
}

func (s *Session) show(ctx context.Context, r *Result, p *plan.Planner, stmt *ast.Show) error {
	var cols []exec.Col
	var rows [][]exec.Value
	var err error
	switch stmt.Kind {
	case ast.ShowTables:
		cols = textCols("table", "retention", "description")
		for _, t := range s.engine.tables() {
			rows = append(rows, textRow(t.Name, s.retention(t), t.Doc))
		}
	case ast.ShowRollups:
		cols, rows, err = s.showRollups(ctx, stmt)
	case ast.ShowRetention:
		cols, rows = s.showRetention()
	case ast.ShowCreateRollup:
		cols = textCols("name", "statement")
		rows, err = s.showCreateRollup(stmt)
	case ast.ShowColumns:
		cols, rows, err = s.columns(p, stmt.Table)
	case ast.ShowTagKeys:
		cols = append(textCols("key"), exec.Col{Name: "sets", Type: schema.BigInt}, exec.Col{Name: "values", Type: schema.BigInt})
		rows, err = s.tagKeys(ctx, p, stmt)
	case ast.ShowTagCardinality:
		cols, rows = s.tagCardinality()
	case ast.ShowTagValues:
		cols = append(textCols("value"), exec.Col{Name: "sets", Type: schema.BigInt})
		rows, err = s.tagValues(ctx, p, stmt)
	case ast.ShowSettings:
		cols = textCols("name", "value", "description")
		for _, d := range settings {
			rows = append(rows, textRow(d.name, d.get(&s.opts), d.doc))
		}
	case ast.ShowFunctions:
		cols = textCols("name", "group", "signature", "description")
		for _, f := range exec.Functions() {
			rows = append(rows, textRow(f.Name, f.Group, f.Signature, f.Doc))
		}
	case ast.ShowSetting:
		cols = textCols(stmt.Name)
		var v string
		if v, err = s.setting(stmt); err == nil {
			rows = [][]exec.Value{textRow(v)}
		}
	}
	if err != nil {
		return err
	}
	return s.list(ctx, r, "SHOW", p, stmt, cols, rows)
}

// retention is the word for how long a table's rows are kept; "" where that is not limited.
func (s *Session) retention(t *schema.Table) string {
	if d := s.retentionOf(t); t.TimeColumn >= 0 && d > 0 {
		return plan.SpanText(d)
	}
	return ""
}

func (s *Session) lookup(p *plan.Planner, name *ast.TableName) (*schema.Table, error) {
	t, ok := s.engine.table(name.Parts)
	if !ok {
		return nil, p.UnknownTable(name)
	}
	return t.Schema, nil
}

func (s *Session) columns(p *plan.Planner, name *ast.TableName) ([]exec.Col, [][]exec.Value, error) {
	t, err := s.lookup(p, name)
	if err != nil {
		return nil, nil, err
	}
	cols := append(textCols("column", "type", "unit", "role"), exec.Col{Name: "nullable", Type: schema.Boolean}, exec.Col{Name: "description", Type: schema.Varchar})
	var rows [][]exec.Value
	for _, c := range t.Columns {
		row := textRow(c.Name, c.Type.String(), c.Unit, c.Role.String())
		rows = append(rows, append(row, exec.BoolValue(c.Nullable), exec.TextValue(c.Doc)))
	}
	return cols, rows, nil
}

func (s *Session) describe(ctx context.Context, r *Result, p *plan.Planner, stmt *ast.Describe) error {
	if stmt.Query == nil {
		cols, rows, err := s.columns(p, stmt.Table)
		if err != nil {
			return err
		}
		return s.list(ctx, r, "DESCRIBE", p, &ast.Show{}, cols, rows)
	}
	n, err := p.Query(stmt.Query)
	if err != nil {
		return err
	}
	var rows [][]exec.Value
	for _, c := range n.Cols() {
		rows = append(rows, textRow(c.Name, c.Type.String(), c.Unit))
	}
	return s.list(ctx, r, "DESCRIBE", p, &ast.Show{}, textCols("column", "type", "unit"), rows)
}

// tagCount counts tag sets and distinct values of a key.
type tagCount struct {
	sets   int64
	values map[string]int64
}

// usedTags gives the keys and values of the tag sets that rows of a table refer to, of one side ("client") or of all ("").
func (s *Session) usedTags(ctx context.Context, t *schema.Table, side string, view *tags.View, f func(key, value string)) error {
	for i, c := range t.Columns {
		if c.Type != schema.TagSet || side != "" && c.Name != side+"_tags" {
			continue
		}
		req := &pred.Request{Table: t, Columns: []int{i}, From: pred.MinTime, To: pred.MaxTime, Stats: &pred.Stats{}}
		scan := &exec.Scan{Open: s.engine.src.Scan, Request: req, Output: []exec.Col{{Name: c.Name, Type: c.Type}}}
		key := &exec.Column{Typ: c.Type, Name: c.Name}
		n := &exec.Aggregate{Input: scan, Keys: []exec.Expr{key}, Output: scan.Output}
		rows, err := s.collect(ctx, n, 1<<30)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if int(row[0].I) < view.Len() {
				if err := tags.Each(view.Set(uint32(row[0].I)), func(k, v []byte) { f(string(k), string(v)) }); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (s *Session) tagKeys(ctx context.Context, p *plan.Planner, stmt *ast.Show) ([][]exec.Value, error) {
	view := s.engine.src.Tags()
	if view == nil {
		return nil, nil
	}
	var rows [][]exec.Value
	t, err := s.lookup(p, stmt.Table)
	if err != nil {
		return nil, err
	}
	keys := map[string]*tagCount{}
	err = s.usedTags(ctx, t, "", view, func(key, value string) {
		c := keys[key]
		if c == nil {
			c = &tagCount{values: map[string]int64{}}
			keys[key] = c
		}
		c.sets++
		c.values[value]++
	})
	for k, c := range keys {
		rows = append(rows, append(textRow(k), exec.IntValue(c.sets), exec.IntValue(int64(len(c.values)))))
	}
	sortRows(rows)
	return rows, err
}

// tagCardinality lists the keys of all tag sets, those with the most values first, as system.tags does in any order.
func (s *Session) tagCardinality() ([]exec.Col, [][]exec.Value) {
	cols := append(textCols("key"), exec.Col{Name: "values", Type: schema.BigInt}, exec.Col{Name: "sets", Type: schema.BigInt},
		exec.Col{Name: "multiplies", Type: schema.Double}, exec.Col{Name: "bytes", Type: schema.BigInt, Unit: "bytes"},
		exec.Col{Name: "share", Type: schema.Double}, exec.Col{Name: "new_values_per_minute", Type: schema.Double},
		exec.Col{Name: "bytes_per_set", Type: schema.Double, Unit: "bytes"})
	view := s.engine.src.Tags()
	if view == nil {
		return cols, nil
	}
	var rows [][]exec.Value
	for _, k := range view.Cardinality(0) {
		multiplies := exec.FloatValue(math.Round(k.Multiplies*100) / 100)
		if k.Multiplies == 0 {
			multiplies = exec.NullValue(schema.Double)
		}
		rows = append(rows, append(textRow(k.Key), exec.IntValue(int64(k.Values)), exec.IntValue(int64(k.Sets)), multiplies,
			exec.IntValue(k.Bytes), exec.FloatValue(math.Round(k.Share*1e4)/1e4), exec.FloatValue(k.NewValues),
			exec.FloatValue(math.Round(k.BytesPerSet()*10)/10)))
	}
	return cols, rows
}

func sortRows(rows [][]exec.Value) {
	slices.SortFunc(rows, func(a, b []exec.Value) int { return strings.Compare(a[0].S, b[0].S) })
}

// tagKey is the key that SHOW TAG VALUES names, pod, client.pod or server.label['app'], and its side, "" for all.
func tagKey(t *schema.Table, e ast.Expr) (side, key string) {
	var parts []string
	switch e := e.(type) {
	case *ast.String:
		return "", e.Value
	case *ast.Ident:
		parts = e.Parts
	case *ast.Subscript:
		base, ok := e.Base.(*ast.Ident)
		index, isText := e.Index.(*ast.String)
		if !ok || !isText {
			return "", e.String()
		}
		parts = append(slices.Clone(base.Parts), index.Value)
	}
	if len(parts) > 1 && parts[0] == t.Name {
		parts = parts[1:]
	}
	if len(parts) > 1 {
		switch {
		case t.Column(parts[0]+"_tags") >= 0:
			return parts[0], strings.Join(parts[1:], ".")
		case parts[0] == "tag" || parts[0] == "tags":
			parts = parts[1:]
		}
	}
	return "", strings.Join(parts, ".")
}

func (s *Session) tagValues(ctx context.Context, p *plan.Planner, stmt *ast.Show) ([][]exec.Value, error) {
	t, err := s.lookup(p, stmt.Table)
	view := s.engine.src.Tags()
	if err != nil || view == nil {
		return nil, err
	}
	side, key := tagKey(t, stmt.Key)
	counts := map[string]int64{}
	err = s.usedTags(ctx, t, side, view, func(k, v string) {
		if k == key {
			counts[v]++
		}
	})
	var rows [][]exec.Value
	for v, n := range counts {
		rows = append(rows, append(textRow(v), exec.IntValue(n)))
	}
	sortRows(rows)
	return rows, err
}

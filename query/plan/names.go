package plan

import (
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
)

// side is the word by which the keys of a tag-set column are read: client for client_tags, tag for tags.
func (c *relCol) side() string {
	switch {
	case c.typ != schema.TagSet:
		return ""
	case c.name == "tags":
		return "tag"
	}
	return strings.TrimSuffix(c.name, "_tags")
}

// name resolves a dotted name: a column, a table's column, a tag of a side (client.pod, tag.job), or, where the relation
// has one tag set per row, a tag by its bare key.
func (x *binder) name(id *ast.Ident) (exec.Expr, error) {
	if e, err := x.lookup(id, id.Parts); e != nil || err != nil {
		return e, err
	}
	return nil, x.unknownName(id)
}

// lookup is nil without an error where the name means nothing.
func (x *binder) lookup(n ast.Node, parts []string) (exec.Expr, error) {
	if len(parts) == 1 {
		i, err := x.rel.find(n, "", parts[0])
		if err != nil || i >= 0 {
			return x.columnOrNil(i), err
		}
		if i := x.rel.oneSided(); i >= 0 && x.hasKey(parts[0]) {
			return &exec.TagValue{X: x.rel.column(i), Key: parts[0]}, nil
		}
		return nil, nil
	}
	if x.rel.hasTable(parts[0]) {
		if len(parts) == 2 {
			i, err := x.rel.find(n, parts[0], parts[1])
			if err != nil || i >= 0 {
				return x.columnOrNil(i), err
			}
		} else if e := x.rel.tag(parts[0], parts[1], strings.Join(parts[2:], ".")); e != nil {
			return e, nil
		}
		if i := x.rel.oneSidedOf(parts[0]); i >= 0 && len(parts) == 2 && x.hasKey(parts[1]) {
			return &exec.TagValue{X: x.rel.column(i), Key: parts[1]}, nil
		}
	}
	if e := x.rel.tag("", parts[0], strings.Join(parts[1:], ".")); e != nil {
		return e, nil
	}
	// In a rollup the tag is a column of that name.
	table := ""
	if len(parts) > 2 && x.rel.hasTable(parts[0]) {
		table, parts = parts[0], parts[1:]
	}
	i, err := x.rel.find(n, table, strings.Join(parts, "."))
	return x.columnOrNil(i), err
}

func (x *binder) columnOrNil(i int) exec.Expr {
	if i < 0 {
		return nil
	}
	return x.rel.column(i)
}

func (x *binder) hasKey(key string) bool {
	return x.p.Tags != nil && !x.p.Tags.Has(key).IsEmpty()
}

// find is the index of a column, -1 when there is none.
func (r *relation) find(n ast.Node, table, name string) (int, error) {
	at := -1
	for i, c := range r.cols {
		if c.name != name || table != "" && c.table != table || c.hidden && table == "" {
			continue
		}
		if at >= 0 {
			return -1, errorAt(n, stateAmbiguous, "column %q is ambiguous", name).
				hint("write %s.%s or %s.%s", r.cols[at].table, name, c.table, name)
		}
		at = i
	}
	return at, nil
}

func (r *relation) hasTable(name string) bool {
	return slices.ContainsFunc(r.cols, func(c relCol) bool { return c.table == name })
}

// tag is a key of the tag set of a side; nil when there is no such side.
func (r *relation) tag(table, side, key string) exec.Expr {
	at := -1
	for i := range r.cols {
		c := &r.cols[i]
		if c.side() == side && side != "" && (table == "" || c.table == table) {
			if at >= 0 {
				return nil // of which table?
			}
			at = i
		}
	}
	if at < 0 {
		return nil
	}
	return &exec.TagValue{X: r.column(at), Key: key}
}

// oneSided is the only tag-set column when it is named tags, else -1.
func (r *relation) oneSided() int { return r.oneSidedOf("") }

func (r *relation) oneSidedOf(table string) int {
	at := -1
	for i := range r.cols {
		if r.cols[i].typ == schema.TagSet && (table == "" || r.cols[i].table == table) {
			if at >= 0 || r.cols[i].side() != "tag" {
				return -1
			}
			at = i
		}
	}
	return at
}

func (x *binder) unknownName(id *ast.Ident) error {
	written := strings.Join(id.Parts, ".")
	last := id.Name()
	if len(id.Parts) > 1 && !x.rel.hasTable(id.Parts[0]) {
		err := errorAt(id, stateUnknownColumn, "column %q does not exist", written)
		if s := parse.Suggest(id.Parts[0], x.qualifiers()); s != "" {
			err.hint("did you mean %s.%s?", s, strings.Join(id.Parts[1:], "."))
		}
		return err
	}
	err := errorAt(id, stateUnknownColumn, "column %q does not exist", written)
	for _, c := range x.rel.cols {
		if s := c.side(); s != "" && s != "tag" && x.hasKey(last) {
			return err.hint("did you mean %s.%s?", s, last)
		}
	}
	if s := parse.Suggest(last, x.columnNames()); s != "" {
		return err.hint("did you mean %s?", s)
	}
	if id.Quoted {
		return err.hint("%s", parse.QuotedHint(last))
	}
	return err
}

func (x *binder) qualifiers() []string {
	var out []string
	for i := range x.rel.cols {
		for _, s := range []string{x.rel.cols[i].table, x.rel.cols[i].side()} {
			if s != "" && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// columnNames are what a bare name can mean: columns and, in one-sided relations, tag keys.
func (x *binder) columnNames() []string {
	var out []string
	for _, c := range x.rel.cols {
		out = append(out, c.name)
	}
	if x.p.Tags != nil && x.rel.oneSided() >= 0 {
		for _, k := range x.p.Tags.Keys() {
			out = append(out, k.Key)
		}
	}
	return out
}

// path flattens client.label['app'] to client, label, app.
func path(e ast.Expr) ([]string, bool) {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Parts, true
	case *ast.Subscript:
		base, ok := path(e.Base)
		key, isText := e.Index.(*ast.String)
		if !ok || !isText {
			return nil, false
		}
		return append(slices.Clone(base), key.Value), true
	}
	return nil, false
}

// subscript is attributes['key'] of a map, tags['key'] of a tag set, or client.label['app'].
func (x *binder) subscript(e *ast.Subscript) (exec.Expr, error) {
	if id, ok := e.Base.(*ast.Ident); ok {
		base, err := x.lookup(id, id.Parts)
		if err != nil {
			return nil, err
		}
		if key, ok := e.Index.(*ast.String); ok && base != nil {
			switch base.Type() {
			case schema.Map:
				return &exec.MapValue{X: base, Key: key.Value}, nil
			case schema.TagSet:
				return &exec.TagValue{X: base, Key: key.Value}, nil
			}
		}
		if base != nil {
			if _, isTag := base.(*exec.TagValue); !isTag {
				return nil, errorAt(e, stateMismatch, "cannot take an element of %s, which is %s", id, base.Type()).
					hint("elements are taken of maps and tag sets, by a text: attributes['key'], client.label['app']")
			}
		}
	}
	parts, ok := path(e)
	if !ok {
		return nil, errorAt(e, stateUnsupported, "an element is taken by a text in quotes, of a map or a tag set").
			hint("write attributes['key'] or client.label['app']")
	}
	out, err := x.lookup(e, parts)
	if err != nil || out != nil {
		return out, err
	}
	return nil, x.unknownName(&ast.Ident{Pos: e.Pos, Parts: parts[:len(parts)-1]})
}

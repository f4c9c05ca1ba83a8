package ast

import "strings"

func appendParenQuery(dst []byte, q *Query) []byte {
	return append(appendQuery(append(dst, '('), q), ')')
}

func appendQuery(dst []byte, q *Query) []byte {
	if q.With != nil {
		dst = append(appendWith(dst, q.With), ' ')
	}
	dst = appendBody(dst, q.Body)
	if len(q.OrderBy) > 0 {
		dst = appendOrderBy(append(dst, ' '), q.OrderBy)
	}
	if q.Limit != nil {
		dst = appendExpr(append(dst, " LIMIT "...), q.Limit, precLowest)
	}
	if q.Offset != nil {
		dst = appendExpr(append(dst, " OFFSET "...), q.Offset, precLowest)
	}
	return dst
}

func appendWith(dst []byte, w *With) []byte {
	dst = append(dst, "WITH "...)
	if w.Recursive {
		dst = append(dst, "RECURSIVE "...)
	}
	for i, c := range w.CTEs {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendColumns(appendIdent(dst, c.Name), c.Columns)
		dst = appendParenQuery(append(dst, " AS "...), c.Query)
	}
	return dst
}

// appendColumns prints " (a, b)", or nothing.
func appendColumns(dst []byte, cols []string) []byte {
	if len(cols) == 0 {
		return dst
	}
	dst = append(dst, " ("...)
	for i, c := range cols {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendIdent(dst, c)
	}
	return append(dst, ')')
}

func appendBody(dst []byte, b QueryBody) []byte {
	switch b := b.(type) {
	case *Select:
		return appendSelect(dst, b)
	case *Values:
		dst = append(dst, "VALUES "...)
		for i, row := range b.Rows {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(appendExprs(append(dst, '('), row), ')')
		}
		return dst
	case *SetOp:
		return appendSetOp(dst, b)
	case *Query:
		return appendParenQuery(dst, b)
	}
	return dst
}

// appendSetOp needs parentheses on the right for equals and on either side
// where UNION or EXCEPT stands below INTERSECT.
func appendSetOp(dst []byte, s *SetOp) []byte {
	side := func(b QueryBody, right bool) {
		sub, ok := b.(*SetOp)
		if ok && (right && (s.Kind == Intersect || sub.Kind != Intersect) ||
			!right && s.Kind == Intersect && sub.Kind != Intersect) {
			dst = append(appendSetOp(append(dst, '('), sub), ')')
			return
		}
		dst = appendBody(dst, b)
	}
	side(s.Left, false)
	dst = append(append(dst, ' '), s.Kind.String()...)
	if s.All {
		dst = append(dst, " ALL"...)
	}
	dst = append(dst, ' ')
	side(s.Right, true)
	return dst
}

func appendSelect(dst []byte, s *Select) []byte {
	dst = append(dst, "SELECT"...)
	if s.Distinct {
		dst = append(dst, " DISTINCT"...)
	}
	for i, it := range s.Items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendExpr(append(dst, ' '), it.Expr, precLowest)
		if it.Alias != "" {
			dst = appendIdent(append(dst, " AS "...), it.Alias)
		}
	}
	for i, f := range s.From {
		if i == 0 {
			dst = append(dst, " FROM "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = appendTable(dst, f)
	}
	if s.Where != nil {
		dst = appendExpr(append(dst, " WHERE "...), s.Where, precLowest)
	}
	if len(s.GroupBy) > 0 {
		dst = appendExprs(append(dst, " GROUP BY "...), s.GroupBy)
	}
	if s.Having != nil {
		dst = appendExpr(append(dst, " HAVING "...), s.Having, precLowest)
	}
	return dst
}

func appendOrderBy(dst []byte, items []*OrderItem) []byte {
	dst = append(dst, "ORDER BY "...)
	for i, it := range items {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendExpr(dst, it.Expr, precLowest)
		if it.Desc {
			dst = append(dst, " DESC"...)
		}
		switch it.Nulls {
		case NullsFirst:
			dst = append(dst, " NULLS FIRST"...)
		case NullsLast:
			dst = append(dst, " NULLS LAST"...)
		}
	}
	return dst
}

func appendAlias(dst []byte, a *Alias) []byte {
	if a == nil {
		return dst
	}
	return appendColumns(appendIdent(append(dst, " AS "...), a.Name), a.Columns)
}

func appendTable(dst []byte, t TableRef) []byte {
	switch t := t.(type) {
	case *TableName:
		return appendAlias(appendName(dst, t.Parts), t.Alias)
	case *TableSubquery:
		return appendAlias(appendParenQuery(dst, t.Query), t.Alias)
	case *TableFunc:
		dst = appendArgs(appendName(dst, t.Call.Name), t.Call) // left( would be a join here
		if t.Ordinality {
			dst = append(dst, " WITH ORDINALITY"...)
		}
		return appendAlias(dst, t.Alias)
	case *Join:
		return appendJoin(dst, t)
	}
	return dst
}

func appendJoin(dst []byte, j *Join) []byte {
	dst = append(appendTable(dst, j.Left), ' ')
	if j.Natural {
		dst = append(dst, "NATURAL "...)
	}
	if j.Asof {
		dst = append(dst, "ASOF "...)
	}
	if k := j.Kind.String(); k != "" {
		dst = append(append(dst, k...), ' ')
	}
	dst = append(dst, "JOIN "...)
	if _, ok := j.Right.(*Join); ok {
		dst = append(appendTable(append(dst, '('), j.Right), ')')
	} else {
		dst = appendTable(dst, j.Right)
	}
	if j.On != nil {
		dst = appendExpr(append(dst, " ON "...), j.On, precLowest)
	}
	if len(j.Using) > 0 {
		dst = appendColumns(append(dst, " USING"...), j.Using)
	}
	return dst
}

func appendStatement(dst []byte, s Statement) []byte {
	switch s := s.(type) {
	case *Query:
		return appendQuery(dst, s)
	case *Show:
		return appendShow(dst, s)
	case *Describe:
		dst = append(dst, "DESCRIBE "...)
		if s.Query != nil {
			return appendQuery(dst, s.Query)
		}
		return appendTable(dst, s.Table)
	case *Explain:
		return appendExplain(dst, s)
	case *Checkpoint:
		return append(dst, "CHECKPOINT"...)
	case *Set:
		return appendSet(dst, s)
	case *Transaction:
		return append(dst, s.Kind.String()...)
	case *CreateRollup:
		return appendCreateRollup(dst, s)
	case *DropRollup:
		dst = append(dst, "DROP ROLLUP "...)
		if s.IfExists {
			dst = append(dst, "IF EXISTS "...)
		}
		return appendTable(dst, s.Name)
	case *SetRetention:
		dst = appendTable(append(dst, "ALTER TABLE "...), s.Table)
		dst = append(dst, " SET RETENTION "...)
		if s.Keep == nil {
			return append(dst, "FOREVER"...)
		}
		return appendBare(dst, s.Keep)
	}
	return dst
}

func appendCreateRollup(dst []byte, s *CreateRollup) []byte {
	dst = append(dst, "CREATE ROLLUP "...)
	if s.IfNotExists {
		dst = append(dst, "IF NOT EXISTS "...)
	}
	dst = appendTable(dst, s.Name)
	dst = appendTable(append(dst, " ON "...), s.Table)
	dst = appendBare(append(dst, " EVERY "...), s.Every)
	dst = appendExprs(append(dst, " GROUP BY "...), s.Keys)
	if s.Keep != nil {
		dst = appendBare(append(dst, " KEEP "...), s.Keep)
	}
	return dst
}

func appendExplain(dst []byte, s *Explain) []byte {
	dst = append(dst, "EXPLAIN "...)
	if s.Format != "" {
		dst = append(dst, "(FORMAT "...)
		dst = appendIdent(dst, s.Format)
		if s.Analyze {
			dst = append(dst, ", ANALYZE"...)
		}
		if s.Verbose {
			dst = append(dst, ", VERBOSE"...)
		}
		return appendStatement(append(dst, ") "...), s.Statement)
	}
	if s.Analyze {
		dst = append(dst, "ANALYZE "...)
	}
	if s.Verbose {
		dst = append(dst, "VERBOSE "...)
	}
	return appendStatement(dst, s.Statement)
}

func appendShow(dst []byte, s *Show) []byte {
	dst = append(dst, "SHOW "...)
	switch s.Kind {
	case ShowTables:
		dst = append(dst, "TABLES"...)
	case ShowColumns:
		dst = append(dst, "COLUMNS"...)
	case ShowTagKeys:
		dst = append(dst, "TAG KEYS"...)
	case ShowTagValues:
		dst = append(dst, "TAG VALUES"...)
	case ShowTagCardinality:
		dst = append(dst, "TAG CARDINALITY"...)
	case ShowSettings:
		dst = append(dst, "SETTINGS"...)
	case ShowFunctions:
		dst = append(dst, "FUNCTIONS"...)
	case ShowRollups:
		dst = append(dst, "ROLLUPS"...)
	case ShowRetention:
		dst = append(dst, "RETENTION"...)
	case ShowCreateRollup:
		return appendTable(append(dst, "CREATE ROLLUP "...), s.Table)
	case ShowSetting:
		// Words such as tables mean something else here; no such word has a _.
		if first, rest, dotted := strings.Cut(s.Name, "."); strings.Contains(first, "_") {
			dst = appendSettingName(dst, s.Name)
		} else if dst = appendQuoted(dst, first, '"'); dotted {
			dst = appendSettingName(append(dst, '.'), rest)
		}
	}
	if s.Table != nil {
		dst = appendTable(append(dst, " FROM "...), s.Table)
	}
	if s.Key != nil {
		dst = appendExpr(append(dst, " KEY "...), s.Key, precPostfix)
	}
	if s.Like != nil {
		if s.ILike {
			dst = append(dst, " ILIKE "...)
		} else {
			dst = append(dst, " LIKE "...)
		}
		dst = appendExpr(dst, s.Like, precPrimary)
	}
	if s.Where != nil {
		dst = appendExpr(append(dst, " WHERE "...), s.Where, precLowest)
	}
	if s.Limit != nil {
		dst = appendExpr(append(dst, " LIMIT "...), s.Limit, precLowest)
	}
	return dst
}

func appendSet(dst []byte, s *Set) []byte {
	dst = append(dst, "SET "...)
	if s.Local {
		dst = append(dst, "LOCAL "...)
	}
	dst = appendSettingName(dst, s.Name)
	if len(s.Values) == 0 {
		return append(dst, " TO DEFAULT"...)
	}
	return appendExprs(append(dst, " = "...), s.Values)
}

// appendSettingName prints a dotted name part by part.
func appendSettingName(dst []byte, name string) []byte {
	start := 0
	for i := 0; i <= len(name); i++ {
		if i == len(name) || name[i] == '.' {
			if start > 0 {
				dst = append(dst, '.')
			}
			dst = appendIdent(dst, name[start:i])
			start = i + 1
		}
	}
	return dst
}

package ast

import "strings"

// reserved are the words that cannot be a bare name: those that start or join
// clauses, and those with a call syntax of their own. package parse tests that
// the list agrees with the grammar.
var reserved = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`
		all and any array as asc asof between case cast collate cross
		current_catalog current_date current_role current_schema current_time
		current_timestamp current_user default desc distinct else end except
		exists extract false fetch for from full group having ilike in inner
		intersect into is join lateral left like limit localtime localtimestamp
		natural not null offset on or order right row select session_user some
		symmetric table then true try_cast union using values when where window
		with`) {
		m[w] = true
	}
	return m
}()

// callable are the reserved words that are bare as the name of a function.
var callable = map[string]bool{
	"left": true, "right": true,
	"current_catalog": true, "current_date": true, "current_role": true, "current_schema": true,
	"current_time": true, "current_timestamp": true, "current_user": true, "localtime": true,
	"localtimestamp": true, "session_user": true,
}

// IsReserved reports whether the lower-case word must be quoted to be a name.
func IsReserved(word string) bool { return reserved[word] }

// QuoteIdent returns the name as it is written in SQL: bare when the parser
// would read it back the same, else in double quotes.
func QuoteIdent(name string) string { return string(appendIdent(nil, name)) }

// QuoteString returns the text as an SQL literal in single quotes.
func QuoteString(s string) string { return string(appendQuoted(nil, s, '\'')) }

func appendIdent(dst []byte, name string) []byte {
	if isBare(name) {
		return append(dst, name...)
	}
	return appendQuoted(dst, name, '"')
}

func appendName(dst []byte, parts []string) []byte {
	for i, p := range parts {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = appendIdent(dst, p)
	}
	return dst
}

// isBare is stricter than the lexer: letters beyond ASCII are quoted, since
// folding them is a matter of the Unicode version.
func isBare(name string) bool {
	if name == "" || reserved[name] {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', c == '_':
		case i > 0 && ('0' <= c && c <= '9' || c == '$'):
		default:
			return false
		}
	}
	return true
}

func appendQuoted(dst []byte, s string, q byte) []byte {
	dst = append(dst, q)
	for i := 0; i < len(s); i++ {
		if s[i] == q {
			dst = append(dst, q)
		}
		dst = append(dst, s[i])
	}
	return append(dst, q)
}

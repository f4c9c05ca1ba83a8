package parse

import (
	"strings"
	"unicode/utf8"
)

// scanner finds the rough tokens of SQL: enough to know what is inside quotes
// and comments. It must agree with the lexer on where those end.
type scanner struct {
	s   string
	pos int
}

// rough is the kind of a rough token.
type rough uint8

const (
	roughEOF  rough = iota
	roughWord       // a name, keyword or number
	roughText       // '...', E'...' or "..."
	roughSign       // one byte of anything else
	roughOpen       // a quote or comment that does not end
)

// next returns the next token and where it lies; comments and spaces are passed over.
func (sc *scanner) next() (kind rough, start, end int) {
	for sc.pos < len(sc.s) {
		start := sc.pos
		c := sc.s[sc.pos]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			sc.pos++
			continue
		case c == '-' && strings.HasPrefix(sc.s[start:], "--"):
			if i := strings.IndexAny(sc.s[start:], "\r\n"); i >= 0 {
				sc.pos = start + i
			} else {
				sc.pos = len(sc.s)
			}
			continue
		case c == '/' && strings.HasPrefix(sc.s[start:], "/*"):
			i := strings.Index(sc.s[start+2:], "*/")
			if i < 0 {
				sc.pos = len(sc.s)
				return roughOpen, start, sc.pos
			}
			sc.pos = start + 2 + i + 2
			continue
		case c == '\'' || c == '"':
			return sc.quoted(start, false)
		case (c == 'e' || c == 'E') && strings.HasPrefix(sc.s[start+1:], "'"):
			sc.pos++
			return sc.quoted(start, true)
		case isWordByte(c):
			for sc.pos < len(sc.s) && isWordByte(sc.s[sc.pos]) {
				sc.pos++
			}
			return roughWord, start, sc.pos
		}
		sc.pos++
		return roughSign, start, sc.pos
	}
	return roughEOF, sc.pos, sc.pos
}

// quoted passes over a text whose opening quote is at sc.pos.
func (sc *scanner) quoted(start int, escapes bool) (rough, int, int) {
	q := sc.s[sc.pos]
	for sc.pos++; sc.pos < len(sc.s); sc.pos++ {
		switch c := sc.s[sc.pos]; {
		case c == '\\' && escapes:
			sc.pos++
		case c == q:
			if sc.pos+1 < len(sc.s) && sc.s[sc.pos+1] == q {
				sc.pos++
				continue
			}
			sc.pos++
			return roughText, start, sc.pos
		}
	}
	sc.pos = len(sc.s)
	return roughOpen, start, sc.pos
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '_' || c == '$' || c >= utf8.RuneSelf
}

// Complete reports whether the text ends a statement: its last token is a
// semicolon outside quotes and comments. A shell reads lines until it does;
// text without any token is complete too.
func Complete(sql string) bool {
	sc := scanner{s: sql}
	last := byte(';')
	for {
		kind, start, _ := sc.next()
		switch kind {
		case roughEOF:
			return last == ';'
		case roughOpen:
			return false
		}
		last = sql[start]
	}
}

// Split cuts a script into its statements, without their semicolons and
// surrounding space; empty ones are left out. It does not parse them.
func Split(sql string) []string {
	var out []string
	sc := scanner{s: sql}
	first, last := -1, 0
	for {
		kind, start, end := sc.next()
		if kind == roughEOF || kind == roughSign && sql[start] == ';' {
			if first >= 0 {
				out = append(out, sql[first:last])
			}
			if kind == roughEOF {
				return out
			}
			first = -1
			continue
		}
		if first < 0 {
			first = start
		}
		last = end
	}
}

// measure enforces the limits before any memory is spent on the text.
func measure(sql string, o *Options) *Error {
	if len(sql) > o.MaxBytes {
		return limitError("54000", "the SQL text has %d bytes, the limit is %d (MaxBytes)", len(sql), o.MaxBytes)
	}
	if !utf8.ValidString(sql) {
		return invalidUTF8(sql)
	}
	sc := scanner{s: sql}
	tokens, depth := 0, 0
	for {
		kind, start, end := sc.next()
		switch kind {
		case roughEOF:
			return nil
		case roughWord:
			if end-start == 4 && strings.EqualFold(sql[start:end], "case") {
				depth++
			} else if end-start == 3 && strings.EqualFold(sql[start:end], "end") && depth > 0 {
				depth--
			}
		case roughSign:
			switch sql[start] {
			case '(', '[':
				depth++
			case ')', ']':
				depth = max(depth-1, 0)
			}
		}
		if tokens++; tokens > o.MaxTokens {
			err := limitError("54000", "the SQL text has more than %d words and signs (MaxTokens)", o.MaxTokens)
			return err.at(sql, start)
		}
		if depth > o.MaxNesting {
			err := limitError("54001", "parentheses, brackets and CASE are nested more than %d deep (MaxNesting)", o.MaxNesting)
			return err.at(sql, start)
		}
	}
}

// Package sqltext reads SQL as applications send it: it writes a statement without its literals, so that all runs of one
// statement look the same and no data shows, finds what it does to which table, and the trace context in its comments. It
// knows words and quotes, not grammar: any text gets through, also one that is cut. Nothing is allocated but the output.
package sqltext

// Dialect tells how a text is cut into words.
type Dialect uint8

// Dialects.
const (
	// MySQL: `names`, "strings", backslashes escape, # comments, /*! code */.
	MySQL Dialect = iota
	// PostgreSQL: "names", $tag$ strings, E'\n', $1, /* nested */ comments.
	PostgreSQL
)

// Statement is a parsed statement; Parse may be called again and again, which makes use of the memory again.
type Statement struct {
	// Verb is the first keyword in upper case, behind WITH the one that follows; "" when it is none of SQL.
	Verb string
	// Table is the name, without quotes, of the table (view, procedure, database, ...) that the statement is mainly about,
	// with its schema if the text has it; empty for none.
	Table []byte
	// Text is the statement with ? for each literal and placeholder, one space where white space or comments were, lists
	// of literals behind IN and all rows behind VALUES shortened to the first.
	Text []byte
	// Secret says that the statement has to do with passwords: it is not to be shown but as Text.
	Secret bool

	comments comments
	spot     spotter
}

// Parse reads a statement. Text is cut at limit bytes; with limit 0 it is not written. The results refer to sql and to s.
func (s *Statement) Parse(sql []byte, d Dialect, limit int) {
	s.comments.n, s.Secret = 0, false
	s.spot.reset(s.Table[:0])
	w := writer{l: lexer{sql: sql, dialect: d, comments: &s.comments}, out: s.Text[:0], limit: limit}
	for {
		tok := w.l.next()
		if tok.kind == kindEnd {
			break
		}
		text := sql[tok.start:tok.end]
		if tok.kind == kindWord && (len(text) == 8 && equalFold(text, "PASSWORD") || len(text) == 10 && equalFold(text, "IDENTIFIED")) {
			s.Secret = true
		}
		s.spot.see(text, tok.kind)
		if len(w.out) < limit {
			w.write(tok)
		}
	}
	s.Text = w.finish()
	s.Verb, s.Table = s.spot.result()
}

// AppendEndpoint appends what the statement does to which table: "SELECT orders", or the verb alone.
func (s *Statement) AppendEndpoint(dst []byte) []byte {
	dst = append(dst, s.Verb...)
	if len(s.Verb) > 0 && len(s.Table) > 0 {
		dst = append(append(dst, ' '), s.Table...)
	}
	return dst
}

// Verb is the first keyword of a text, in upper case; "" when SQL has no statement that begins so. It is a cheap test for
// SQL.
func Verb(sql []byte, d Dialect) string {
	l := lexer{sql: sql, dialect: d}
	for range 8 {
		tok := l.next()
		switch {
		case tok.kind == kindWord:
			v, _ := verbOf(sql[tok.start:tok.end])
			return v
		case tok.kind != kindPunct || sql[tok.start] != '(' && sql[tok.start] != '{' && sql[tok.start] != ';':
			return ""
		}
	}
	return ""
}

// listState is where the writer is in a list that is to be shortened.
type listState uint8

const (
	listNone  listState = iota
	listIn              // behind IN or ARRAY: ( or [ opens a list of literals
	listRows            // behind VALUES: ( opens a row, of which the first is kept
	listValue           // behind the opening
)

// writer writes the text of a statement.
type writer struct {
	l     lexer
	out   []byte
	limit int
	list  listState
	depth int // parentheses open
	row   int // depth in which the kept row began; 0 for none
}

// write appends a token and passes over what is left out behind it.
func (w *writer) write(tok token) {
	text := w.l.sql[tok.start:tok.end]
	if tok.spaced && len(w.out) > 0 {
		w.out = append(w.out, ' ')
	}
	if tok.kind == kindLiteral || tok.kind == kindParam {
		w.out = append(w.out, '?')
		if w.list == listValue {
			w.skipValues()
		}
		w.list = listNone
		return
	}
	w.out = append(w.out, text[:min(len(text), w.limit)]...)
	list := w.list
	w.list = listNone
	switch {
	case tok.kind == kindWord:
		w.list = listBehind(text)
	case tok.kind != kindPunct:
	case text[0] == '(' || text[0] == '[':
		w.depth++
		switch {
		case list == listIn:
			w.list = listValue
		case list == listRows || list == listValue && text[0] == '(': // IN ((1, 2), (3, 4))
			w.row = w.depth
		}
	case text[0] == ')' || text[0] == ']':
		if w.row > 0 && w.row == w.depth {
			w.row = 0
			w.skipRows()
		}
		w.depth = max(w.depth-1, 0)
	}
}

// listBehind is what may follow a word.
func listBehind(word []byte) listState {
	switch {
	case len(word) == 2 && word[0]|0x20 == 'i' && word[1]|0x20 == 'n',
		len(word) == 5 && equalFold(word, "ARRAY"):
		return listIn
	case (len(word) == 6 || len(word) == 5) && equalFold(word, "VALUES"[:len(word)]):
		return listRows
	}
	return listNone
}

// skipValues passes over further literals of a list.
func (w *writer) skipValues() {
	for {
		ahead := w.l
		ahead.comments = nil
		if !ahead.is(',') {
			return
		}
		if k := ahead.next().kind; k != kindLiteral && k != kindParam {
			return
		}
		behind := ahead
		tok := behind.next()
		if tok.kind != kindEnd && (tok.kind != kindPunct || w.l.sql[tok.start] != ',' && w.l.sql[tok.start] != ')' && w.l.sql[tok.start] != ']') {
			return // the literal is part of an expression
		}
		w.moveTo(ahead)
	}
}

// skipRows passes over further rows in parentheses.
func (w *writer) skipRows() {
	for {
		ahead := w.l
		ahead.comments = nil
		if !ahead.is(',') || !ahead.is('(') {
			return
		}
		for depth := 1; depth > 0; {
			tok := ahead.next()
			if tok.kind == kindEnd {
				break
			}
			if tok.kind == kindPunct {
				switch ahead.sql[tok.start] {
				case '(':
					depth++
				case ')':
					depth--
				}
			}
		}
		w.moveTo(ahead)
	}
}

// moveTo goes on from where ahead is.
func (w *writer) moveTo(ahead lexer) {
	ahead.comments = w.l.comments
	w.l = ahead
}

// is takes the next token and says whether it is this one.
func (l *lexer) is(b byte) bool {
	tok := l.next()
	return tok.kind == kindPunct && l.sql[tok.start] == b
}

// finish returns the text: what ends a statement is no part of it.
func (w *writer) finish() []byte {
	out := w.out
	if len(out) > w.limit {
		n := w.limit
		for n > 0 && n > w.limit-4 && out[n]&0xC0 == 0x80 { // no character is cut in two
			n--
		}
		out = out[:n]
	}
	for len(out) > 0 && (out[len(out)-1] == ' ' || out[len(out)-1] == ';') {
		out = out[:len(out)-1]
	}
	return out
}

// AppendMasked appends a server's message with ? for what stands in quotes: for those messages that repeat values.
func AppendMasked(dst, message []byte, quote byte) []byte {
	for i := 0; i < len(message); i++ {
		dst = append(dst, message[i])
		if message[i] != quote {
			continue
		}
		end := i + 1
		for end < len(message) && (message[end] != quote || end+1 < len(message) && classes[message[end+1]] == classLetter) {
			end++ // a quote before a letter stands within the text
		}
		dst = append(dst, '?')
		if end < len(message) {
			dst = append(dst, quote)
		}
		i = end
	}
	return dst
}

// equalFold says whether word is upper but for its case.
func equalFold(word []byte, upper string) bool {
	if len(word) != len(upper) {
		return false
	}
	for i, b := range word {
		if b >= 'a' && b <= 'z' {
			b -= 'a' - 'A'
		}
		if b != upper[i] {
			return false
		}
	}
	return true
}

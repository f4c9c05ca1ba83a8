package sqltext

import "bytes"

// kind is what a token is.
type kind uint8

const (
	kindEnd     kind = iota
	kindWord         // a keyword or a name without quotes
	kindQuoted       // a name in quotes
	kindLiteral      // a number or a string
	kindParam        // a place for one: ?, $1
	kindPunct        // any other byte
)

// token is sql[start:end].
type token struct {
	kind   kind
	spaced bool // white space or a comment came before it
	start  int
	end    int
}

// lexer cuts a statement into tokens. It is a value: a copy looks ahead.
type lexer struct {
	sql       []byte
	at        int
	dialect   Dialect
	versioned bool // within /*! ... */, whose content MySQL runs
	operand   bool // the last token was a value or a name: a sign behind it is an operator
	comments  *comments
}

// Classes of bytes.
const (
	classSpace = 1 << iota
	classDigit
	classLetter // and _ and what is not ASCII
	classDollar
)

var classes = func() (c [256]uint8) {
	for i := range c {
		switch {
		case i <= ' ' || i == 0x7f:
			c[i] = classSpace
		case i >= '0' && i <= '9':
			c[i] = classDigit
		case i >= 'a' && i <= 'z' || i >= 'A' && i <= 'Z' || i == '_' || i >= 0x80:
			c[i] = classLetter
		case i == '$':
			c[i] = classDollar
		}
	}
	return c
}()

// next returns the next token; what is cut off at the end of the text counts as whole.
func (l *lexer) next() token {
	tok := token{spaced: l.space(), start: l.at}
	if l.at >= len(l.sql) {
		tok.end = l.at
		return tok
	}
	b := l.sql[l.at]
	class := classes[b]
	switch {
	case class == classLetter || class == classDollar && l.dialect == MySQL:
		tok.kind = l.word()
	case class == classDigit || b == '.' && !l.operand && l.isDigit(l.at+1):
		tok.kind = l.number()
	case (b == '-' || b == '+') && !l.operand && l.isNumber(l.at+1):
		l.at++
		tok.kind = l.number()
	case b == '\'':
		l.quoted('\'', l.dialect == MySQL)
		tok.kind = kindLiteral
	case b == '"' && l.dialect == MySQL:
		l.quoted('"', true)
		tok.kind = kindLiteral
	case b == '"', b == '`' && l.dialect == MySQL:
		l.quoted(b, false)
		tok.kind = kindQuoted
	case b == '?':
		l.at++
		tok.kind = kindParam
	case b == '$':
		tok.kind = l.dollar()
	default:
		l.at++
		tok.kind = kindPunct
	}
	tok.end = l.at
	l.operand = tok.kind != kindPunct || b == ')' || b == ']'
	return tok
}

// space passes over white space and comments and says whether there were any.
func (l *lexer) space() bool {
	sql, from := l.sql, l.at
	for l.at < len(sql) {
		b := sql[l.at]
		if classes[b] == classSpace {
			l.at++
			continue
		}
		switch {
		case b == '/' && l.peek(1) == '*':
			l.block()
		case b == '*' && l.versioned && l.peek(1) == '/':
			l.versioned = false
			l.at += 2
		case b == '-' && l.peek(1) == '-' && (l.dialect == PostgreSQL || l.at+2 >= len(sql) || classes[sql[l.at+2]] == classSpace):
			l.line(2)
		case b == '#' && l.dialect == MySQL:
			l.line(1)
		default:
			return l.at > from
		}
	}
	return l.at > from
}

// peek is the byte n further on, 0 at the end.
func (l *lexer) peek(n int) byte {
	if l.at+n < len(l.sql) {
		return l.sql[l.at+n]
	}
	return 0
}

// line passes over a comment up to the end of the line.
func (l *lexer) line(mark int) {
	rest := l.sql[l.at+mark:]
	n := bytes.IndexByte(rest, '\n')
	if n < 0 {
		n = len(rest)
	}
	l.comments.add(rest[:n])
	l.at += mark + n
}

// block passes over a comment between /* and */, in PostgreSQL nested ones; of one whose content MySQL runs over its
// beginning only.
func (l *lexer) block() {
	if l.dialect == MySQL && (l.peek(2) == '!' || l.peek(2) == 'M' && l.peek(3) == '!') {
		start := l.at
		for l.at += 3; l.at < len(l.sql) && (classes[l.sql[l.at]] == classDigit || l.sql[l.at] == '!'); {
			l.at++
		}
		if !bytes.HasSuffix(l.sql[:l.at], []byte("999999")) { // a version that never comes
			l.versioned = true
			return
		}
		l.at = start
	}
	start, depth := l.at+2, 1
	for l.at = start; l.at < len(l.sql); l.at++ {
		switch {
		case l.sql[l.at] == '*' && l.peek(1) == '/':
			if depth--; depth == 0 {
				l.comments.add(l.sql[start:l.at])
				l.at += 2
				return
			}
			l.at++
		case l.sql[l.at] == '/' && l.peek(1) == '*' && l.dialect == PostgreSQL:
			depth++
			l.at++
		}
	}
	l.comments.add(l.sql[start:])
}

func (l *lexer) isDigit(at int) bool { return at < len(l.sql) && classes[l.sql[at]] == classDigit }

func (l *lexer) isNumber(at int) bool {
	return l.isDigit(at) || at < len(l.sql) && l.sql[at] == '.' && l.isDigit(at+1)
}

// word passes over a keyword or name; the prefix of a string (x'4d', E'\n') belongs to the string.
func (l *lexer) word() kind {
	start := l.at
	for l.at++; l.at < len(l.sql) && classes[l.sql[l.at]]&(classLetter|classDigit|classDollar) != 0; {
		l.at++
	}
	if l.at-start == 1 && l.peek(0) == '\'' {
		switch l.sql[start] {
		case 'e', 'E':
			l.quoted('\'', true)
			return kindLiteral
		case 'x', 'X', 'b', 'B', 'n', 'N':
			l.quoted('\'', l.dialect == MySQL)
			return kindLiteral
		}
	}
	return kindWord
}

// number passes over a number: 1, 1.5, .5, 1e-5, 0xff. A name that begins with a digit is taken for one.
func (l *lexer) number() kind {
	start := l.at
	hex := l.sql[start] == '0' && (l.peek(1) == 'x' || l.peek(1) == 'X')
	for l.at++; l.at < len(l.sql); l.at++ {
		b := l.sql[l.at]
		if classes[b]&(classLetter|classDigit) != 0 || b == '.' {
			continue
		}
		last := l.sql[l.at-1]
		if (b != '-' && b != '+') || hex || last != 'e' && last != 'E' || !l.isDigit(l.at+1) {
			break
		}
	}
	return kindLiteral
}

// quoted passes over what stands between two quotes. A doubled quote stands for one; with escapes so does one behind a
// backslash.
func (l *lexer) quoted(quote byte, escapes bool) {
	for l.at++; l.at < len(l.sql); l.at++ {
		switch b := l.sql[l.at]; {
		case b == '\\' && escapes:
			l.at++
		case b == quote && l.peek(1) == quote:
			l.at++
		case b == quote:
			l.at++
			return
		}
	}
	l.at = len(l.sql)
}

// dollar passes over $1, or a string between two $tag$ (PostgreSQL §4.1.2.4).
func (l *lexer) dollar() kind {
	start := l.at
	if l.isDigit(start + 1) {
		for l.at++; l.isDigit(l.at); {
			l.at++
		}
		return kindParam
	}
	for l.at++; l.at < len(l.sql) && classes[l.sql[l.at]]&(classLetter|classDigit) != 0; {
		l.at++
	}
	if l.peek(0) != '$' {
		if l.at < len(l.sql) {
			l.at = start + 1
			return kindPunct
		}
		return kindLiteral // cut within the tag
	}
	l.at++
	tag := l.sql[start:l.at]
	n := bytes.Index(l.sql[l.at:], tag)
	if n < 0 {
		l.at = len(l.sql)
		return kindLiteral
	}
	l.at += n + len(tag)
	return kindLiteral
}

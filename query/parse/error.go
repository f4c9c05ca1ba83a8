package parse

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is what is wrong with a text. Line and Column count from 1, Column in
// code points; Offset is in bytes from 0. It is the only type of error that
// Parse, ParseOne and ParseExpr return.
type Error struct {
	Line, Column, Offset int
	Msg                  string // what is wrong, without the place
	Hint                 string // what may have been meant; may be empty
	Near                 string // the token it is about; "" at the end of the text
	SQLState             string // five characters, as in Postgres: 42601 is a syntax error
}

// Error returns place, message and hint in one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteByte(')')
	}
	return b.String()
}

// Detail returns message, the line of sql it is about with a caret under the
// place, and the hint, in up to four lines without a newline at the end. Give
// it the text that was parsed.
func (e *Error) Detail(sql string) string {
	var b strings.Builder
	b.WriteString(e.Msg)
	if caret := Caret(sql, e.Offset); e.Line > 0 && caret != "" {
		fmt.Fprintf(&b, "\nline %d: ", e.Line)
		line, mark, _ := strings.Cut(caret, "\n")
		pad := strings.Repeat(" ", len(fmt.Sprintf("line %d: ", e.Line)))
		b.WriteString(line + "\n" + pad + mark)
	}
	if e.Hint != "" {
		b.WriteString("\nhint: " + e.Hint)
	}
	return b.String()
}

// caretWidth is how many code points of a long line Caret shows on each side.
const caretWidth = 60

// Caret returns the line of sql that holds the byte offset, and below it a
// caret under the place. Long lines are cut, tabs and control characters shown
// as spaces. The planner uses it for its own errors.
func Caret(sql string, offset int) string {
	offset = max(0, min(offset, len(sql)))
	start := strings.LastIndexByte(sql[:offset], '\n') + 1
	end := len(sql)
	if i := strings.IndexByte(sql[offset:], '\n'); i >= 0 {
		end = offset + i
	}
	left, right := start, end
	for n, i := 0, offset; i > start; n++ {
		_, size := utf8.DecodeLastRuneInString(sql[start:i])
		if i -= size; n == caretWidth-1 {
			left = i
			break
		}
	}
	for n, i := 0, offset; i < end; n++ {
		_, size := utf8.DecodeRuneInString(sql[i:end])
		if i += size; n == caretWidth-1 {
			right = i
			break
		}
	}
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == utf8.RuneError {
				return ' '
			}
			return r
		}, s)
	}
	var b strings.Builder
	pad := utf8.RuneCountInString(sql[left:offset])
	if left > start {
		b.WriteString("...")
		pad += 3
	}
	b.WriteString(clean(sql[left:right]))
	if right < end {
		b.WriteString("...")
	}
	b.WriteByte('\n')
	b.WriteString(strings.Repeat(" ", pad))
	b.WriteByte('^')
	return b.String()
}

// at sets the place to a byte offset of sql.
func (e *Error) at(sql string, offset int) *Error {
	e.Offset = offset
	e.Line = 1 + strings.Count(sql[:offset], "\n")
	e.Column = 1 + utf8.RuneCountInString(sql[strings.LastIndexByte(sql[:offset], '\n')+1:offset])
	return e
}

func limitError(state, format string, args ...any) *Error {
	return &Error{Msg: fmt.Sprintf(format, args...), SQLState: state}
}

func invalidUTF8(sql string) *Error {
	off := 0
	for off < len(sql) {
		r, size := utf8.DecodeRuneInString(sql[off:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		off += size
	}
	e := &Error{Msg: fmt.Sprintf("the byte 0x%02x is not UTF-8", sql[off]), SQLState: "22021"}
	return e.at(sql, off)
}

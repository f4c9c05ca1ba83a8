// Package redis reads the protocol of Redis and what speaks it too (RESP2, RESP3 and inline commands) from bytes somebody
// else sent, into views of the input. Values are counted, not read: one of any size or depth costs its headers only. It
// allocates nothing.
package redis

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not RESP.
	ErrMalformed = errors.New("not RESP")
	// ErrShort is returned when the bytes end before what is needed of a message.
	ErrShort = errors.New("RESP is cut")
)

const (
	// MaxArgs is how many words of a command are read; the others are passed over.
	MaxArgs = 32

	maxHeader  = 32       // bytes of the line before a bulk string or an aggregate
	maxBulk    = 1 << 31  // bytes of a bulk string; the server's default is 512 MiB
	maxCount   = 1 << 31  // elements of an aggregate
	maxLeft    = 1 << 40  // values to come, over all levels
	maxWords   = 1 << 20  // words of a command: what the server takes
	maxCommand = 64       // bytes of the name of a command
	maxInline  = 64 << 10 // bytes of an inline command: what the server takes
)

// Command is a command of a client. All slices are views of the parsed bytes.
type Command struct {
	// Args are the first words, the name of the command included. The last one may be cut.
	Args [MaxArgs][]byte
	// Len is how many of Args there are; Count is how many words the command has.
	Len, Count int
	// Cut says that the last of Args is not all there.
	Cut bool
	// Inline says that the command is a line of text.
	Inline bool
}

// Name is the first word; nil when there is none, as in an empty line, which the server ignores.
func (c *Command) Name() []byte {
	if c.Len == 0 {
		return nil
	}
	return c.Args[0]
}

// Is says whether the word with the number i is the given one, which is in upper case.
func (c *Command) Is(i int, word string) bool { return i < c.Len && equalFold(c.Args[i], word) }

// equalFold says whether b is the word, which is in upper case.
func equalFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// header reads a line with a number, as in "*3" or "$-1"; n is its length with its end, 0 when the end is not there yet.
func header(p []byte) (v int64, n int, err error) {
	i, neg := 1, false
	if len(p) > 1 && p[1] == '-' {
		i, neg = 2, true
	}
	first := i
	for ; i < len(p); i++ {
		c := p[i]
		switch {
		case c >= '0' && c <= '9' && i < maxHeader:
			v = min(v*10+int64(c-'0'), maxLeft)
			continue
		case c != '\r' || i == first:
			return 0, 0, ErrMalformed
		case i+1 == len(p):
			return 0, 0, nil
		case p[i+1] != '\n':
			return 0, 0, ErrMalformed
		}
		if neg {
			v = -v
		}
		return v, i + 2, nil
	}
	return 0, 0, nil
}

// line returns the text of a line behind its first byte; n is its length with its end, 0 when the end is not there yet.
func line(p []byte) (text []byte, n int, err error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, 0, nil
	}
	if i < 2 || p[i-1] != '\r' {
		return nil, 0, ErrMalformed
	}
	return p[1 : i-1], i + 1, nil
}

// bulk reads a bulk string: what is there of it, and its length with header and end, which may be more than len(p). n is 0
// when the header is not all there. A null is nil.
func bulk(p []byte) (text []byte, n int, err error) {
	size, head, err := header(p)
	switch {
	case err != nil || head == 0:
		return nil, 0, err
	case size == -1:
		return nil, head, nil
	case size < 0 || size > maxBulk:
		return nil, 0, ErrMalformed
	}
	n = head + int(size) + 2
	end := n - 2
	for i, c := range [2]byte{'\r', '\n'} {
		if end+i < len(p) && p[end+i] != c {
			return nil, 0, ErrMalformed
		}
	}
	return p[head:min(end, len(p)):min(end, len(p))], n, nil
}

// Skip passes over values, of which left are to come, as far as p goes. n is how much of p that takes: more than len(p) when
// a bulk string goes on behind it, less when the header of a value is not all there. left is how many are to come behind
// that.
func Skip(p []byte, left int64) (n int, more int64, err error) {
	for left > 0 && n < len(p) {
		size, values, err := skip(p[n:])
		if err != nil {
			return n, left, err
		}
		if size == 0 {
			break
		}
		n += size
		if left += values - 1; left > maxLeft {
			return n, left, ErrMalformed
		}
	}
	return n, left, nil
}

// skip passes over a scalar or the header of an aggregate, which holds values others. n is 0 when more bytes are needed.
func skip(p []byte) (n int, values int64, err error) {
	switch p[0] {
	case '+', '-', ':', ',', '(', '#', '_':
		_, n, err = line(p)
	case '$', '=', '!':
		_, n, err = bulk(p)
	case '*', '~', '>', '%', '|':
		var v int64
		v, n, err = header(p)
		switch {
		case err != nil || n == 0:
		case v < -1 || v > maxCount:
			err = ErrMalformed
		case v == -1: // null
		case p[0] == '%':
			values = 2 * v
		case p[0] == '|': // attributes come before the value that they are of
			values = 2*v + 1
		default:
			values = v
		}
	default:
		err = ErrMalformed
	}
	return n, values, err
}

// ParseCommand reads the command that p begins with (RESP specification, "Sending commands to a Redis server"). n is how
// much of p it takes, which is more than len(p) when a word goes on behind it; left is how many words are still to come
// behind n, for Skip.
func ParseCommand(p []byte, c *Command) (n int, left int64, err error) {
	c.Len, c.Count, c.Cut, c.Inline = 0, 0, false, false
	if len(p) == 0 {
		return 0, 0, ErrShort
	}
	if p[0] != '*' {
		n, err = c.inline(p)
		return n, 0, err
	}
	count, n, err := header(p)
	switch {
	case err != nil:
		return 0, 0, err
	case n == 0:
		return 0, 0, ErrShort
	case count < -1 || count > maxWords:
		return 0, 0, ErrMalformed
	}
	c.Count = int(max(count, 0))
	for left = int64(c.Count); left > 0 && n < len(p); left-- {
		if p[n] != '$' {
			return n, left, ErrMalformed
		}
		word, size, err := bulk(p[n:])
		if err != nil || word == nil && size > 0 {
			return n, left, ErrMalformed
		}
		if size == 0 {
			break
		}
		if c.Len < MaxArgs {
			c.Args[c.Len] = word
			c.Len++
			c.Cut = n+size-2 > len(p)
		}
		n += size
	}
	return n, left, nil
}

// inline reads a command in a line, words with white space between (quotes are left where they are).
func (c *Command) inline(p []byte) (n int, err error) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		if len(p) > maxInline || !isText(p) {
			return 0, ErrMalformed
		}
		return 0, ErrShort
	}
	c.Inline = true
	for f := range bytes.FieldsSeq(p[:i]) {
		if !isText(f) {
			return 0, ErrMalformed
		}
		if c.Count++; c.Len < MaxArgs {
			c.Args[c.Len] = f
			c.Len++
		}
	}
	if c.Count > 0 && !isName(c.Args[0]) {
		return 0, ErrMalformed
	}
	return i + 1, nil
}

// isText says that p has no control characters but those of a line of text.
func isText(p []byte) bool {
	for _, b := range p {
		if b < ' ' && b != '\r' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// isName says whether p may be the name of a command: of the server's own or, with a dot, of a module.
func isName(p []byte) bool {
	if len(p) == 0 || len(p) > maxCommand {
		return false
	}
	for _, c := range p {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return p[0] > '9'
}

// Reply is the beginning of a message of the server. The slices are views of the parsed bytes.
type Reply struct {
	// Type is the first byte: '+', '-', ':', '$', '*', '>', ...
	Type byte
	// Null says that the value is null.
	Null bool
	// Text is a line's text, or what is there of a bulk string.
	Text []byte
	// Count is the number of elements of an aggregate (pairs of a map) and of bytes of a bulk string.
	Count int64
	// Event and Channel are the first two elements of an array or a push of 2 to 4, if they are strings: what a message
	// of publish and subscribe, and its confirmation, begins with. Number says that the last of 3 is an integer, as in
	// confirmations.
	Event, Channel []byte
	Number         bool
}

// Err says that the reply is an error; the text begins with its code.
func (r *Reply) Err() bool { return r.Type == '-' || r.Type == '!' }

// ParseReply reads the head of the message that p begins with. n is how much of p it takes, left how many values are to come
// behind that, for Skip. cut says that no more bytes will come; otherwise what is missing of the head is ErrShort.
func ParseReply(p []byte, cut bool, r *Reply) (n int, left int64, err error) {
	*r = Reply{}
	if len(p) == 0 {
		return 0, 0, ErrShort
	}
	if p[0] == '|' {
		n, _, err = attributes(p)
		if err != nil {
			return 0, 0, err
		}
	}
	rest := p[n:]
	r.Type = rest[0]
	size, values, err := skip(rest)
	switch {
	case err != nil || r.Type == '|':
		return 0, 0, ErrMalformed
	case size == 0:
		return 0, 0, ErrShort
	}
	switch r.Type {
	case '$', '=', '!':
		r.Text, _, _ = bulk(rest)
		r.Count, r.Null = int64(len(r.Text)), r.Text == nil
		if v, _, _ := header(rest); v > 0 {
			r.Count = v
		}
	case '*', '~', '>', '%':
		r.Count, _, _ = header(rest)
		r.Null = r.Count < 0
	default:
		r.Text, _, _ = line(rest)
		r.Null = r.Type == '_'
	}
	if r.Type == '*' || r.Type == '>' {
		if err = r.event(rest[size:]); err != nil && !cut {
			return 0, 0, err
		}
	}
	return n + size, values, nil
}

// attributes passes over the attributes before a value (RESP3, "Attributes").
func attributes(p []byte) (n int, left int64, err error) {
	v, n, err := header(p)
	if err != nil || v < 0 || v > maxCount {
		return 0, 0, ErrMalformed
	}
	if n == 0 {
		return 0, 0, ErrShort
	}
	size, left, err := Skip(p[n:], 2*v)
	if err != nil {
		return 0, 0, err
	}
	if n += size; left > 0 || n >= len(p) {
		return 0, 0, ErrShort
	}
	return n, 0, nil
}

// event reads the first elements of a short array. What is longer than an event or a channel is none, and not waited for.
func (r *Reply) event(p []byte) error {
	const most, longestEvent, longestChannel = 4, 32, 1024
	if r.Count < 2 || r.Count > most {
		return nil
	}
	var n int
	var err error
	if r.Event, n, err = element(p, longestEvent); n == 0 {
		return err
	}
	p = p[n:]
	if r.Channel, n, err = element(p, longestChannel); n == 0 {
		return err
	}
	if p = p[n:]; r.Count != 3 {
		return nil
	}
	if len(p) == 0 {
		return ErrShort
	}
	r.Number = p[0] == ':'
	return nil
}

// element reads a bulk string of up to most bytes; n is 0 when there is something else.
func element(p []byte, most int64) (text []byte, n int, err error) {
	if len(p) == 0 {
		return nil, 0, ErrShort
	}
	if p[0] != '$' {
		return nil, 0, nil
	}
	size, head, err := header(p)
	switch {
	case err != nil:
		return nil, 0, err
	case head == 0:
		return nil, 0, ErrShort
	case size < 0 || size > most:
		return nil, 0, nil
	}
	if text, n, err = bulk(p); err == nil && n > len(p) {
		return text, 0, ErrShort
	}
	return text, n, err
}

// CheckCommand says whether p begins with a command: an array of strings, the first of which is the name of a command that
// the package knows or that may be a module's (wire.Request). With hint, a line that begins with a known name will do, and any
// other array of strings may be a command or a reply (wire.Either).
func CheckCommand(p []byte, hint bool) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	var c Command
	_, _, err := ParseCommand(p, &c)
	switch {
	case errors.Is(err, ErrShort):
		if p[0] != '*' && !hint {
			return wire.No
		}
		if p[0] != '*' && len(p) > maxCommand && !Known(firstWord(p)) {
			return wire.No
		}
		return wire.Maybe
	case err != nil || p[0] == '*' && c.Count == 0:
		return wire.No
	case p[0] != '*' && (!hint || c.Count == 0):
		return wire.No
	case c.Len == 0 || c.Len == 1 && c.Cut:
		if !hint && c.Len > 0 && len(c.Name()) > 0 && !isName(c.Name()) {
			return wire.No
		}
		return wire.Maybe
	case c.Inline && bytes.Contains(p, []byte(" HTTP/1.")):
		return wire.No
	case Known(c.Args[0]) || !c.Inline && isName(c.Args[0]) && bytes.IndexByte(c.Args[0], '.') > 0:
		return wire.Request
	case hint && !c.Inline:
		return wire.Either
	}
	return wire.No
}

// firstWord is the text up to the first space.
func firstWord(p []byte) []byte {
	if i := bytes.IndexByte(p, ' '); i >= 0 {
		return p[:i]
	}
	return p
}

// CheckReply says whether p begins with a message of the server. It is wire.Response or not; many protocols have lines that
// look like one of them.
func CheckReply(p []byte) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	switch p[0] {
	case '+', '-', ':', ',', '(', '#', '_':
		text, n, err := line(p)
		if n == 0 {
			if err != nil || !isText(p) {
				return wire.No
			}
			return wire.Maybe
		}
		if err != nil || !isText(text) || !isScalar(p[0], text) {
			return wire.No
		}
		return wire.Response
	case '$', '=', '!', '*', '~', '>', '%', '|':
		n, left, err := Skip(p, 1)
		switch {
		case err != nil:
			return wire.No
		case n == 0:
			return wire.Maybe
		case left > 0 && n == len(p) && n < maxHeader: // nothing but a number so far
			return wire.Maybe
		}
		return wire.Response
	}
	return wire.No
}

// isScalar says whether text is what follows the given first byte.
func isScalar(kind byte, text []byte) bool {
	switch kind {
	case '-':
		return isName(firstWord(text))
	case '#':
		return string(text) == "t" || string(text) == "f"
	case '_':
		return len(text) == 0
	case ':', '(':
		if len(text) > 1 && (text[0] == '-' || text[0] == '+') {
			text = text[1:]
		}
		for _, c := range text {
			if c < '0' || c > '9' {
				return false
			}
		}
	}
	return len(text) > 0 || kind == '+'
}

// Package smtp reads the commands and replies of SMTP (RFC 5321) from bytes somebody else sent, into views of the input. It
// allocates nothing.
package smtp

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not SMTP.
	ErrMalformed = errors.New("not SMTP")
	// ErrShort is returned when the bytes end before a command or a reply does.
	ErrShort = errors.New("SMTP is cut")
)

const (
	maxCommand = 12 << 10 // bytes of a line: what AUTH may take (RFC 4954 §4)
	maxReply   = 64 << 10 // bytes of all lines of a reply
	maxVerb    = 12
)

// Command is a command.
type Command struct {
	// Verb is its first word, Arg the rest of the line.
	Verb, Arg []byte
	// Known says that it is one of those that RFCs define.
	Known bool
}

// Reply is a reply, of one or more lines.
type Reply struct {
	Code int
	// Enhanced is the status code of RFC 3463 that the text begins with, as in 5.1.1; nil when there is none.
	Enhanced []byte
	// Text is that of the first line, behind codes.
	Text []byte
}

// verbs are the commands that are known, in upper case.
var verbs = [...]string{"EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH", "ETRN", "TURN",
	"XCLIENT", "XFORWARD", "BURL", "ATRN", "SEND"}

// Is says whether the verb is the word, which is in upper case.
func (c *Command) Is(word string) bool { return len(c.Verb) == len(word) && hasFold(c.Verb, word) }

// hasFold says whether b begins with the word, which is in upper case, or the word with b.
func hasFold(b []byte, word string) bool {
	for i := range min(len(b), len(word)) {
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

// Check says whether p begins with a greeting of a server (220 or 554, and ESMTP or SMTP in its text) or with EHLO, HELO, LHLO or
// MAIL FROM. own says that the connection is known to speak SMTP, or on its port: then any command that is known and any reply
// counts.
func Check(p []byte, own bool) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	if p[0] >= '2' && p[0] <= '5' {
		var r Reply
		_, err := ParseReply(p, &r)
		switch {
		case errors.Is(err, ErrShort):
			return wire.Maybe
		case err != nil:
			return wire.No
		case own, (r.Code == 220 || r.Code == 554) && hasWord(r.Text):
			return wire.Response
		}
		return wire.No
	}
	var c Command
	_, err := ParseCommand(p, &c)
	switch {
	case errors.Is(err, ErrShort):
		for _, v := range verbs {
			if n := min(len(p), len(v)); hasFold(p[:n], v) && (len(p) <= len(v) || p[len(v)] == ' ' || p[len(v)] == '\r') {
				return wire.Maybe
			}
		}
		return wire.No
	case err != nil || !c.Known:
		return wire.No
	case own, (c.Is("EHLO") || c.Is("HELO") || c.Is("LHLO")) && len(c.Arg) > 0, c.Is("MAIL") && len(c.Arg) > 5 && hasFold(c.Arg, "FROM:"):
		return wire.Request
	}
	return wire.No
}

// hasWord says whether a greeting names the protocol.
func hasWord(text []byte) bool {
	for i := range text {
		if len(text)-i >= 4 && hasFold(text[i:], "SMTP") {
			return true
		}
	}
	return false
}

// line is the line that p begins with, without its end; n is its length, 0 when its end is not there.
func line(p []byte) (text []byte, n int) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(p[:i], []byte("\r")), i + 1
}

// ParseCommand reads a command and returns its length.
func ParseCommand(p []byte, c *Command) (n int, err error) {
	*c = Command{}
	text, n := line(p)
	switch {
	case n > maxCommand || n == 0 && len(p) > maxCommand:
		return 0, ErrMalformed
	case n == 0:
		return 0, ErrShort
	}
	verb, arg, _ := bytes.Cut(text, []byte(" "))
	if len(verb) < 4 || len(verb) > maxVerb {
		return 0, ErrMalformed
	}
	for _, b := range verb {
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			return 0, ErrMalformed
		}
	}
	c.Verb, c.Arg = verb, bytes.TrimSpace(arg)
	for _, v := range verbs {
		c.Known = c.Known || c.Is(v)
	}
	return n, nil
}

// Address is the mailbox in an argument such as FROM:<a@b> SIZE=1: what stands between the angle brackets.
func (c *Command) Address() []byte {
	i := bytes.IndexByte(c.Arg, '<')
	if i < 0 {
		return nil
	}
	j := bytes.IndexByte(c.Arg[i:], '>')
	if j < 0 {
		return nil
	}
	return c.Arg[i+1 : i+j : i+j]
}

// ParseReply reads a reply with all its lines and returns its length. With ErrShort, the first line has been read as far as it
// is there; Code is 0 if it is not.
func ParseReply(p []byte, r *Reply) (n int, err error) {
	*r = Reply{}
	for {
		text, size := line(p[n:])
		rest := p[n:]
		if size != 0 {
			rest = text
		}
		code := 0
		for i, b := range rest[:min(len(rest), 4)] {
			switch {
			case i < 3 && (b < '0' || b > '9' || i == 0 && (b < '2' || b > '5')), i == 3 && b != ' ' && b != '-' && b != '\r':
				return 0, ErrMalformed
			case i < 3:
				code = code*10 + int(b-'0')
			}
		}
		switch {
		case n+size > maxReply || size == 0 && len(p) > maxReply:
			return 0, ErrMalformed
		case size == 0:
			if n == 0 && len(rest) > 3 {
				r.Code = code
				r.text(rest[4:])
			}
			return 0, ErrShort
		case len(text) < 3 || n > 0 && code != r.Code:
			return 0, ErrMalformed
		}
		if n == 0 {
			r.Code = code
			r.text(text[min(4, len(text)):])
		}
		if n += size; len(text) < 4 || text[3] == ' ' {
			return n, nil
		}
	}
}

// text takes the enhanced status code off.
func (r *Reply) text(s []byte) {
	r.Text = s
	word, rest, _ := bytes.Cut(s, []byte(" "))
	dots := 0
	for i, b := range word {
		switch {
		case b == '.' && i > 0 && word[i-1] != '.':
			dots++
		case b < '0' || b > '9' || i == 0 && int(b-'0') != r.Code/100:
			return
		}
	}
	if dots == 2 && len(word) <= 9 && word[1] == '.' && word[len(word)-1] != '.' {
		r.Enhanced, r.Text = word, rest
	}
}

// End finds the end of a message that DATA has announced: the line with nothing but a dot. n is how much of p belongs to the
// message, the end included if done is set. lineStart says that p begins a line; what is not done has to be shown again, from n
// on.
func End(p []byte, lineStart bool) (n int, done bool) {
	for {
		if lineStart {
			switch rest := p[n:]; {
			case len(rest) >= 3 && string(rest[:3]) == ".\r\n":
				return n + 3, true
			case len(rest) >= 2 && string(rest[:2]) == ".\n":
				return n + 2, true
			case string(rest) == "." || string(rest) == ".\r":
				return n, false
			}
		}
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			return len(p), false
		}
		n, lineStart = n+i+1, true
	}
}

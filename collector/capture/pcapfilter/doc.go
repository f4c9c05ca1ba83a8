// Package pcapfilter compiles filter expressions as tcpdump has them (pcap-filter(7)) to classic BPF, in pure Go: for frames
// of a capture file, which Program.Match looks at, and for Linux packet sockets, whose kernel runs the program.
//
// What an expression means is what it means to libpcap, down to the details: "and" and "or" bind equally and to the left;
// an address or number without a keyword takes that of the one before ("port 80 or 443"); ports of IPv6 are looked for right
// behind the fixed header only; tcp[...] reads IPv4 only; the keyword vlan moves the offsets of all that is written after it;
// a byte beyond what was captured rejects the frame, whatever the rest of the expression says. A differential test holds the
// compiled programs against those of libpcap. Where libpcap 1.10 has a quirk, this package has not: an arithmetic expression
// needs the protocols of all its parts, not of the first only; % binds like * and /, and ^ between | and &, as in C; VLAN
// tags are found in cooked frames too; an address alone is a host.
//
// Not supported, with an error that says so: gateway, protochain, ip broadcast (it needs a netmask), the link types of
// 802.11, FDDI, Token Ring and ATM, and the protocols of old (DECnet, AppleTalk, ISO, IPX, LAT, MOP); of encapsulations only
// vlan.
package pcapfilter

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// ErrSyntax is wrapped by every *Error: the expression cannot be compiled.
var ErrSyntax = errors.New("filter expression")

// Error says what is wrong with an expression, and where.
type Error struct {
	// Text is the whole expression.
	Text string
	// Offset in bytes of what is wrong.
	Offset int
	// Message says what it is.
	Message string
}

// Error is of three lines: the message, the expression and a caret below what is wrong.
func (e *Error) Error() string {
	const around = 60 // characters shown before the caret at most
	text := strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Text)
	at := min(e.Offset, len(text))
	before, after := text[:at], text[at:]
	if n := utf8.RuneCountInString(before); n > around {
		before = "..." + string([]rune(before)[n-around:])
	}
	if n := utf8.RuneCountInString(after); n > around {
		after = string([]rune(after)[:around]) + "..."
	}
	return fmt.Sprintf("%v: %s\n  %s%s\n  %s^", ErrSyntax, e.Message, before, after, strings.Repeat(" ", utf8.RuneCountInString(before)))
}

// Unwrap returns ErrSyntax.
func (e *Error) Unwrap() error { return ErrSyntax }

// Options say how names are understood.
type Options struct {
	// LookupHost finds the addresses of a host's name. Nil: names of hosts are an error.
	LookupHost func(name string) ([]netip.Addr, error)
	// LookupPort finds the port of a service; network is "tcp" or "udp". Nil: net.LookupPort, which knows the system's
	// list of services.
	LookupPort func(network, service string) (port int, err error)
}

func (o *Options) setDefaults() {
	if o.LookupPort == nil {
		o.LookupPort = net.LookupPort
	}
}

// maxText bounds an expression in bytes, maxNesting how deep parentheses, signs and brackets may lie in each other.
const (
	maxText    = 64 << 10
	maxNesting = 200
)

// Expr is a parsed expression. It is immutable and may be shared.
type Expr struct {
	text string
	root node // nil: everything matches
}

// Parse reads an expression; the empty one matches everything. The error is an *Error.
func Parse(text string, opts ...func(*Options)) (*Expr, error) {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	o.setDefaults()
	p := &parser{text: text, o: &o}
	if len(text) > maxText {
		return nil, p.errorf(0, "is longer than %d bytes", maxText)
	}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &Expr{text: text, root: root}, nil
}

// String returns the text of the expression.
func (e *Expr) String() string { return e.text }

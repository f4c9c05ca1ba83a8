// Package memcached reads the protocols of memcached, text (with the meta commands) and binary, from bytes somebody else
// sent, into views of the input. Data blocks are passed over. It allocates nothing.
package memcached

import (
	"bytes"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a message of memcached.
	ErrMalformed = errors.New("not a memcached message")
	// ErrShort is returned when the bytes end before what is needed of a message.
	ErrShort = errors.New("memcached message is cut")
)

const (
	maxKey  = 250      // bytes, as the server has it
	maxData = 1 << 30  // bytes of a value; the server's default is 1 MiB
	maxLine = 64 << 10 // bytes of a line: many keys
)

// Request is a command of the text protocol (protocol.txt). The slices are views of the parsed bytes.
type Request struct {
	// Line is the command without its end; Verb and Key are its first and the word that is a key, the first of several.
	Line, Verb, Key []byte
	// Keys is how many keys it asks for.
	Keys int
	// NoReply says that nobody answers; Quiet that of a meta command only what is out of the ordinary is answered.
	NoReply, Quiet bool
	// Kind tells how it is answered.
	Kind Kind
}

// Kind is how a command is put together and answered.
type Kind uint8

// Kinds of command.
const (
	Other   Kind = iota // not known
	Store               // key flags exptime bytes [noreply]
	Cas                 // key flags exptime bytes unique [noreply]
	Get                 // keys
	Gat                 // exptime keys
	Change              // key number [noreply]
	Touch               // the same
	Delete              // key [0] [noreply]
	MetaSet             // key bytes flags
	Meta                // key flags
	Noop                // mn: nothing
	Admin               // anything [noreply]
	Silent              // nothing, and nobody answers
)

// kinds are the commands.
var kinds = map[string]Kind{
	"set": Store, "add": Store, "replace": Store, "append": Store, "prepend": Store, "cas": Cas,
	"get": Get, "gets": Get, "gat": Gat, "gats": Gat,
	"incr": Change, "decr": Change, "touch": Touch, "delete": Delete,
	"ms": MetaSet, "mg": Meta, "md": Meta, "ma": Meta, "me": Meta, "mn": Noop,
	"stats": Admin, "flush_all": Admin, "version": Admin, "verbosity": Admin, "slabs": Admin, "lru": Admin,
	"lru_crawler": Admin, "cache_memlimit": Admin, "watch": Admin, "extstore": Admin, "refresh_certs": Admin,
	"quit": Silent, "shutdown": Silent,
}

// lineEnd returns the line that p begins with and its length with its end; 0 when the end is not there.
func lineEnd(p []byte) (line []byte, n int) {
	i := bytes.IndexByte(p, '\n')
	if i < 0 {
		return nil, 0
	}
	return bytes.TrimSuffix(p[:i], []byte{'\r'}), i + 1
}

// word cuts the first word off a line.
func word(line []byte) (w, rest []byte) {
	for len(line) > 0 && line[0] == ' ' {
		line = line[1:]
	}
	if i := bytes.IndexByte(line, ' '); i >= 0 {
		return line[:i], line[i+1:]
	}
	return line, nil
}

// number reads a decimal number, not more than most.
func number(w []byte, most int64) (v int64, ok bool) {
	if len(w) == 0 || len(w) > 20 {
		return 0, false
	}
	for _, c := range w {
		if c < '0' || c > '9' {
			return 0, false
		}
		if v = v*10 + int64(c-'0'); v > most {
			return 0, false
		}
	}
	return v, true
}

// isDigits says whether w is a number of up to 64 bits, with a sign if there may be one.
func isDigits(w []byte, signed bool) bool {
	if signed && len(w) > 1 && w[0] == '-' {
		w = w[1:]
	}
	for _, c := range w {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(w) > 0 && len(w) <= 20
}

func isKey(w []byte) bool {
	for _, c := range w {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(w) > 0 && len(w) <= maxKey
}

// ParseRequest reads the command that p begins with and returns its length with its data block, which may be more than
// len(p). With cut, a line that does not end is read as far as it goes and n is len(p).
func ParseRequest(p []byte, cut bool, r *Request) (n int, err error) {
	*r = Request{}
	line, n := lineEnd(p)
	if n == 0 {
		if len(p) > maxLine {
			return 0, ErrMalformed
		}
		if !cut {
			return 0, ErrShort
		}
		line, n = p, len(p)
	}
	data, err := r.parse(line)
	if err != nil {
		return 0, err
	}
	if r.Kind == Other && n == len(line) { // half a name is none
		return 0, ErrMalformed
	}
	if data >= 0 {
		n += int(data) + 2
		if end := n - 2; end < len(p) && p[end] != '\r' || n <= len(p) && p[n-1] != '\n' {
			return 0, ErrMalformed
		}
	}
	return n, nil
}

// parse reads a line; data is the length of the data block behind it, -1 without one.
func (r *Request) parse(line []byte) (data int64, err error) {
	r.Line = line
	verb, rest := word(line)
	r.Verb = verb
	ok := true
	data = -1
	switch r.Kind = kinds[string(verb)]; r.Kind {
	case Other:
		ok = len(verb) > 0 && isWord(verb) && isText(rest)
	case Store, Cas:
		data, ok = r.store(rest, r.Kind == Cas)
	case Get, Gat:
		if r.Kind == Gat {
			var exptime []byte
			exptime, rest = word(rest)
			ok = isDigits(exptime, true)
		}
		for w, rest := word(rest); ok && len(w) > 0; w, rest = word(rest) {
			if r.Keys++; r.Keys == 1 {
				r.Key = w
			}
			ok = isKey(w)
		}
		ok = ok && r.Keys > 0
	case Change, Touch:
		var v []byte
		r.Key, rest = word(rest)
		v, rest = word(rest)
		ok = isKey(r.Key) && isDigits(v, true) && r.last(rest)
	case Delete:
		r.Key, rest = word(rest)
		if w, more := word(rest); len(w) == 1 && w[0] == '0' {
			rest = more
		}
		ok = isKey(r.Key) && r.last(rest)
	case Meta, MetaSet:
		data, ok = r.meta(rest, r.Kind == MetaSet)
	case Noop:
		ok = len(rest) == 0
	case Silent:
		r.NoReply = true
	default:
		r.NoReply = bytes.HasSuffix(line, []byte(" noreply"))
	}
	if !ok {
		return -1, ErrMalformed
	}
	return data, nil
}

// last reads what may come at the end.
func (r *Request) last(rest []byte) bool {
	w, rest := word(rest)
	r.NoReply = string(w) == "noreply"
	more, _ := word(rest)
	return (len(w) == 0 || r.NoReply) && len(more) == 0
}

func (r *Request) store(rest []byte, cas bool) (data int64, ok bool) {
	r.Key, rest = word(rest)
	flags, rest := word(rest)
	exptime, rest := word(rest)
	size, rest := word(rest)
	data, ok = number(size, maxData)
	if cas {
		var unique []byte
		unique, rest = word(rest)
		ok = ok && isDigits(unique, false)
	}
	return data, ok && isKey(r.Key) && isDigits(flags, false) && isDigits(exptime, true) && r.last(rest)
}

// meta reads a meta command: a key, for ms a length, flags of one letter, some with a value.
func (r *Request) meta(rest []byte, set bool) (data int64, ok bool) {
	data = -1
	r.Key, rest = word(rest)
	if ok = isKey(r.Key); set {
		var size []byte
		size, rest = word(rest)
		var valid bool
		data, valid = number(size, maxData)
		ok = ok && valid
	}
	for w, rest := word(rest); len(w) > 0; w, rest = word(rest) {
		if c := w[0] | 0x20; c < 'a' || c > 'z' {
			return -1, false
		}
		r.Quiet = r.Quiet || string(w) == "q"
	}
	return data, ok
}

// Reply is a line of the server. The slices are views of the parsed bytes.
type Reply struct {
	// Line is the line without its end, Word its first word.
	Line, Word []byte
	// Partial says that more lines of the same reply follow.
	Partial bool
	// Value says that a value follows, which is a hit.
	Value bool
	// Meta says that it answers a meta command.
	Meta bool
	// Number says that it is but a number.
	Number bool
	// Fault is the class of an error.
	Fault Fault
}

// Fault is whose fault an error is.
type Fault uint8

// Faults.
const (
	FaultNone Fault = iota
	FaultClient
	FaultServer
)

// replyKind is how a reply goes on.
type replyKind uint8

const (
	replyNone replyKind = iota
	replyLine
	replyMeta
	replyMetaData // size flags, data
	replyValue    // key flags bytes [unique], data, more lines
	replyMore     // more lines
	replyClient
	replyServer
)

var replies = map[string]replyKind{
	"STORED": replyLine, "NOT_STORED": replyLine, "EXISTS": replyLine, "NOT_FOUND": replyLine, "DELETED": replyLine, "TOUCHED": replyLine,
	"OK": replyLine, "RESET": replyLine, "END": replyLine, "VERSION": replyLine, "BUSY": replyLine, "BADCLASS": replyLine,
	"NOSPARE": replyLine, "NOTFULL": replyLine, "UNSAFE": replyLine, "SAME": replyLine,
	"HD": replyMeta, "EN": replyMeta, "NS": replyMeta, "EX": replyMeta, "NF": replyMeta, "MN": replyMeta, "ME": replyMeta, "VA": replyMetaData,
	"VALUE": replyValue, "STAT": replyMore, "ITEM": replyMore,
	"ERROR": replyClient, "CLIENT_ERROR": replyClient, "SERVER_ERROR": replyServer,
}

// ParseReply reads the line that p begins with and returns its length with its data block, which may be more than len(p).
func ParseReply(p []byte, r *Reply) (n int, err error) {
	*r = Reply{}
	line, n := lineEnd(p)
	if n == 0 {
		if len(p) > maxLine {
			return 0, ErrMalformed
		}
		return 0, ErrShort
	}
	w, rest := word(line)
	r.Line, r.Word = line, w
	data, ok := int64(-1), true
	switch replies[string(w)] {
	case replyLine:
	case replyMeta:
		r.Meta = true
	case replyMetaData:
		r.Meta, r.Value = true, true
		size, _ := word(rest)
		data, ok = number(size, maxData)
	case replyValue:
		data, ok = value(rest)
		r.Value, r.Partial = true, true
	case replyMore:
		r.Partial = true
	case replyClient:
		r.Fault = FaultClient
	case replyServer:
		r.Fault = FaultServer
	default:
		r.Number = isDigits(w, false) && len(bytes.TrimSpace(rest)) == 0 // decr leaves spaces behind
		r.Partial = bytes.HasPrefix(line, []byte("key="))                // of lru_crawler metadump
		ok = r.Number || r.Partial
	}
	if !ok {
		return 0, ErrMalformed
	}
	if data >= 0 {
		n += int(data) + 2
		if end := n - 2; end < len(p) && p[end] != '\r' || n <= len(p) && p[n-1] != '\n' {
			return 0, ErrMalformed
		}
	}
	return n, nil
}

// value reads key flags bytes [unique].
func value(rest []byte) (data int64, ok bool) {
	key, rest := word(rest)
	flags, rest := word(rest)
	size, rest := word(rest)
	unique, rest := word(rest)
	data, ok = number(size, maxData)
	return data, ok && isKey(key) && isDigits(flags, false) && len(rest) == 0 && (len(unique) == 0 || isDigits(unique, false))
}

// Check says whether p begins with a message of either protocol. Without hint, only commands and replies count that hardly
// anything else looks like: those with numbers in their places, VALUE, and what is binary.
func Check(p []byte, hint bool) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	if p[0] == MagicRequest || p[0] == MagicResponse {
		return checkBinary(p)
	}
	line, n := lineEnd(p)
	if n == 0 {
		p = bytes.TrimSuffix(p, []byte{'\r'})
		w, _ := word(p)
		if len(p) > maxLine || len(w) > len("cache_memlimit") || !isWord(w) {
			return wire.No
		}
		if len(w) < len(p) && kinds[string(w)] == Other && replies[string(w)] == replyNone {
			return wire.No
		}
		return wire.Maybe
	}
	w, _ := word(line)
	switch kinds[string(w)] {
	case Other:
	case Store, Cas, Gat, MetaSet, Change, Touch:
		return checkRequest(p)
	default:
		if hint {
			return checkRequest(p)
		}
		return wire.No
	}
	var r Reply
	if kind := replies[string(w)]; kind == replyNone || kind != replyValue && !hint {
		return wire.No
	}
	if _, err := ParseReply(p, &r); err != nil {
		return wire.No
	}
	return wire.Response
}

func checkRequest(p []byte) wire.Verdict {
	var r Request
	if _, err := ParseRequest(p, false, &r); err != nil {
		return wire.No
	}
	return wire.Request
}

// Answers says whether the reply may be that to a command of the kind.
func (r *Reply) Answers(k Kind) bool {
	if r.Fault != FaultNone || k == Other {
		return true
	}
	switch string(r.Word) {
	case "MN":
		return k == Noop
	case "VALUE":
		return k == Get || k == Gat
	case "END":
		return k == Get || k == Gat || k == Admin
	case "STORED", "NOT_STORED", "EXISTS":
		return k == Store || k == Cas
	case "NOT_FOUND":
		return k == Store || k == Cas || k == Delete || k == Touch || k == Change
	case "DELETED":
		return k == Delete
	case "TOUCHED":
		return k == Touch
	}
	switch {
	case r.Meta:
		return k == Meta || k == MetaSet
	case r.Number:
		return k == Change
	}
	return k == Admin
}

// isText says that p has no control characters.
func isText(p []byte) bool {
	for _, c := range p {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// isWord says whether w has the letters of a command or reply only.
func isWord(w []byte) bool {
	for _, c := range w {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' {
			return false
		}
	}
	return true
}

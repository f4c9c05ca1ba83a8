// Package dns reads DNS messages (RFC 1035 and its successors) from bytes somebody else sent, without allocation, and
// writes their records as text.
package dns

import (
	"encoding/binary"
	"errors"
)

// ErrFormat is returned when the bytes are not a DNS message.
var ErrFormat = errors.New("not a DNS message")

const (
	headerLen  = 12
	maxName    = 255  // bytes of a name on the wire, RFC 1035 §2.3.4
	maxRecords = 4096 // records looked at in one message; 64 KiB hold at most 5957
)

// Message is a parsed message. It refers to the bytes it was parsed from.
type Message struct {
	ID       uint16
	Response bool
	Opcode   uint8
	// Flags are the second pair of header bytes as they are.
	Flags uint16
	// RCode is the response code, with the upper bits of the OPT record (RFC 6891 §6.1.3) when there is one.
	RCode uint16
	// Questions, Answers, Authorities and Additionals are the counts the header claims.
	Questions, Answers, Authorities, Additionals uint16
	// QType and QClass are those of the first question, 0 without one.
	QType, QClass uint16
	// Cut says that the bytes ended before the last record did.
	Cut bool
	// Size is how many bytes the message takes.
	Size int

	p       []byte
	qname   int // where the first question's name starts, 0 without one
	records int // where the first record starts
}

// Parse reads a message. Records behind the end of p make m.Cut true and are no error; a question there is one.
func Parse(p []byte, m *Message) error {
	if len(p) < headerLen {
		return ErrFormat
	}
	flags := binary.BigEndian.Uint16(p[2:])
	*m = Message{
		ID: binary.BigEndian.Uint16(p), Flags: flags, Response: flags&0x8000 != 0,
		Opcode: uint8(flags >> 11 & 15), RCode: flags & 15,
		Questions: binary.BigEndian.Uint16(p[4:]), Answers: binary.BigEndian.Uint16(p[6:]),
		Authorities: binary.BigEndian.Uint16(p[8:]), Additionals: binary.BigEndian.Uint16(p[10:]),
		p: p, records: headerLen,
	}
	at := headerLen
	for i := 0; i < int(m.Questions); i++ {
		end := skipName(p, at)
		if end < 0 || end+4 > len(p) {
			return ErrFormat
		}
		if i == 0 {
			m.qname, m.QType, m.QClass = at, binary.BigEndian.Uint16(p[end:]), binary.BigEndian.Uint16(p[end+2:])
		}
		at = end + 4
	}
	m.records, m.Size = at, at
	var r Record
	it := m.Records()
	for it.Next(&r) {
		if r.Type == TypeOPT && r.Section == Additional {
			m.RCode |= uint16(r.TTL>>24) << 4
		}
	}
	m.Size, m.Cut = it.at, it.bad
	return nil
}

// AppendQName appends the first question's name as text: lower case, without the last dot ("." for the root), with \. \\
// and \DDD for what would be misread. It appends nothing without a question.
func (m *Message) AppendQName(dst []byte) []byte {
	if m.qname == 0 {
		return dst
	}
	dst, _ = appendName(dst, m.p, m.qname)
	return dst
}

// AppendName appends the name that r belongs to, as AppendQName does.
func (m *Message) AppendName(dst []byte, r *Record) []byte {
	dst, _ = appendName(dst, m.p, r.name)
	return dst
}

// Section is the part of a message a record stands in.
type Section uint8

// Sections.
const (
	Answer Section = iota
	Authority
	Additional
)

// Record is a resource record. Data is a view of the message.
type Record struct {
	Section     Section
	Type, Class uint16
	TTL         uint32 // seconds
	Data        []byte

	name int // where the owner name starts
	data int // where Data starts
}

// Records walks over the records of a message.
type Records struct {
	m   *Message
	at  int
	n   int
	bad bool
}

// Records starts a walk over the message's records.
func (m *Message) Records() Records { return Records{m: m, at: m.records} }

// Next reads the next record; false at the end, and where the bytes end before the record does.
func (it *Records) Next(r *Record) bool {
	m := it.m
	an, ns := int(m.Answers), int(m.Authorities)
	if it.bad || it.n >= min(an+ns+int(m.Additionals), maxRecords) {
		return false
	}
	end := skipName(m.p, it.at)
	if end < 0 || end+10 > len(m.p) {
		it.bad = true
		return false
	}
	data := end + 10
	size := int(binary.BigEndian.Uint16(m.p[end+8:]))
	if data+size > len(m.p) {
		it.bad = true
		return false
	}
	*r = Record{
		Section: Answer, Type: binary.BigEndian.Uint16(m.p[end:]), Class: binary.BigEndian.Uint16(m.p[end+2:]),
		TTL: binary.BigEndian.Uint32(m.p[end+4:]), Data: m.p[data : data+size], name: it.at, data: data,
	}
	switch {
	case it.n >= an+ns:
		r.Section = Additional
	case it.n >= an:
		r.Section = Authority
	}
	it.n++
	it.at = data + size
	return true
}

// skipName returns the index behind the name that starts at p[at], -1 when it does not end within p. It does not follow
// a compression pointer.
func skipName(p []byte, at int) int {
	for n := 0; at >= 0 && at < len(p); {
		switch c := int(p[at]); {
		case c == 0:
			return at + 1
		case c < 0x40:
			at += 1 + c
			if n += 1 + c; n >= maxName {
				return -1
			}
		case c >= 0xc0:
			if at+2 > len(p) {
				return -1
			}
			return at + 2
		default:
			return -1
		}
	}
	return -1
}

// appendName appends the name that starts at p[at] as text: lower case, without the last dot ("." for the root), with
// \. \\ and \DDD for what would be misread (RFC 1035 §5.1). ok is false when the name is broken: what was readable has
// been appended. A pointer must point before the part it ends, so there are no loops.
func appendName(dst, p []byte, at int) (_ []byte, ok bool) {
	begin := len(dst)
	limit := at // pointers must go below this
	for n := 0; ; {
		if at >= len(p) {
			return dst, false
		}
		c := int(p[at])
		switch {
		case c == 0:
			if len(dst) == begin {
				dst = append(dst, '.')
			}
			return dst, true
		case c < 0x40:
			if n += 1 + c; n >= maxName || at+1+c > len(p) {
				return dst, false
			}
			if len(dst) > begin {
				dst = append(dst, '.')
			}
			for _, b := range p[at+1 : at+1+c] {
				dst = appendLabelByte(dst, b)
			}
			at += 1 + c
		case c >= 0xc0:
			if at+2 > len(p) {
				return dst, false
			}
			to := (c&0x3f)<<8 | int(p[at+1])
			if to >= limit || to < headerLen {
				return dst, false
			}
			at, limit = to, to
		default:
			return dst, false
		}
	}
}

func appendLabelByte(dst []byte, b byte) []byte {
	switch {
	case 'A' <= b && b <= 'Z':
		return append(dst, b+'a'-'A')
	case b == '.' || b == '\\':
		return append(dst, '\\', b)
	case b <= ' ' || b >= 0x7f:
		return append(dst, '\\', '0'+b/100, '0'+b/10%10, '0'+b%10)
	}
	return append(dst, b)
}

// Verdict is the answer of a shape check on the first bytes of a message.
type Verdict uint8

// Verdicts. Maybe means that more bytes are needed.
const (
	No Verdict = iota
	Maybe
	Yes
)

// CheckStream says whether p starts with a message behind its length, as DNS goes over TCP (RFC 1035 §4.2.2).
func CheckStream(p []byte) Verdict {
	if len(p) < 2 {
		return Maybe
	}
	n := int(binary.BigEndian.Uint16(p))
	return Check(p[2:], n)
}

// Check says whether p is the beginning of a message of n bytes. It wants an ordinary message with one question: it is
// made to tell DNS from other protocols.
func Check(p []byte, n int) Verdict {
	const minLen = headerLen + 1 + 4
	if n < minLen {
		return No
	}
	if len(p) < 4 {
		return Maybe
	}
	flags := binary.BigEndian.Uint16(p[2:])
	op := flags >> 11 & 15
	if op > 6 || op == 3 || flags&0x40 != 0 || flags&0x8000 == 0 && flags&15 != 0 {
		return No
	}
	if len(p) < headerLen {
		if len(p) >= 6 && (p[4] != 0 || p[5] != 1) {
			return No
		}
		return Maybe
	}
	rr := int(binary.BigEndian.Uint16(p[6:])) + int(binary.BigEndian.Uint16(p[8:])) + int(binary.BigEndian.Uint16(p[10:]))
	if p[4] != 0 || p[5] != 1 || minLen+rr*11 > n {
		return No
	}
	return checkQuestion(p[:min(len(p), n)], n)
}

func checkQuestion(p []byte, n int) Verdict {
	short := No // the answer when p ends too early
	if len(p) < n {
		short = Maybe
	}
	at := headerLen
	for {
		if at >= len(p) {
			return short
		}
		c := int(p[at])
		if c == 0 {
			break
		}
		if c >= 0x40 || at-headerLen+c >= maxName {
			return No
		}
		for i := at + 1; i <= at+c && i < len(p); i++ {
			if p[i] <= ' ' || p[i] >= 0x7f {
				return No
			}
		}
		at += 1 + c
	}
	if at+5 > len(p) {
		return short
	}
	switch class := binary.BigEndian.Uint16(p[at+3:]) &^ 0x8000; class { // mDNS uses the top bit, RFC 6762 §5.4
	case 1, 3, 4, 254, 255:
	default:
		return No
	}
	if binary.BigEndian.Uint16(p[at+1:]) == 0 {
		return No
	}
	return Yes
}

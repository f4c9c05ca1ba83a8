package l7

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/dns"
)

// Ports where DNS is expected: DNS, mDNS (RFC 6762) and LLMNR (RFC 4795).
const (
	portDNS   = 53
	portMDNS  = 5353
	portLLMNR = 5355
)

// dnsDriver speaks DNS, and mDNS and LLMNR, which are DNS to a group.
type dnsDriver struct {
	t   *Tracker
	msg dns.Message
}

func newDNSDriver(t *Tracker) driver { return &dnsDriver{t: t} }

// isGroup says whether queries go to a multicast group: answers come from its members, to the group or straight to the one
// who asked, and are therefore not seen on this connection.
func isGroup(c *Conn) bool { return c.hasPort(portMDNS) || c.hasPort(portLLMNR) }

// isPeers says whether both ends ask and answer: hosts that speak mDNS to their group.
func isPeers(c *Conn) bool { return c.ports == [2]uint16{portMDNS, portMDNS} }

func (d *dnsDriver) check(c *Conn, in *input, hint bool) shape {
	const flags, stream = 2, 2 // the flags' place in a message; in a stream its length comes before it
	at := flags
	if c.over == overTCP {
		switch dns.CheckStream(in.p) {
		case dns.No:
			return shapeNo
		case dns.Maybe:
			return shapeMaybe
		}
		at += stream
	} else if !d.isDatagram(c, in, hint) {
		return shapeNo
	}
	switch {
	case c.Proto == DNS || isPeers(c): // either may send either
		return shapeEither
	case in.p[at]&0x80 == 0:
		return shapeRequest
	}
	return shapeResponse
}

// isDatagram says whether a datagram is a DNS message: by its shape on a port known for it, elsewhere only when every byte
// of it fits.
func (d *dnsDriver) isDatagram(c *Conn, in *input, hint bool) bool {
	if dns.Check(in.p, in.size) != dns.Yes {
		return c.hasPort(portMDNS) && d.isMDNS(in)
	}
	return hint || dns.Parse(in.p, &d.msg) == nil && !d.msg.Cut && d.msg.Size == in.size
}

// isMDNS says whether a datagram is an mDNS message, which may have no question or several (RFC 6762 §6, §7.1) and whose
// header has but few bits set (§18).
func (d *dnsDriver) isMDNS(in *input) bool {
	const response, authoritative, truncated = 0x8000, 0x0400, 0x0200
	m := &d.msg
	if dns.Parse(in.p, m) != nil || m.Cut && !in.lost || m.Flags&^(response|authoritative|truncated) != 0 {
		return false
	}
	if m.Response {
		return m.Answers > 0
	}
	return m.Questions > 0
}

func (d *dnsDriver) step(c *Conn, in *input) (int, error) {
	c.group = isGroup(c)
	if c.over == overUDP {
		return len(in.p), d.message(c, in, in.p, in.size)
	}
	const prefix, minLen = 2, 12
	if len(in.p) < prefix {
		return 0, nil
	}
	size := int(binary.BigEndian.Uint16(in.p))
	if size < minLen {
		return 0, dns.ErrFormat
	}
	if len(in.p) < prefix+size {
		if !in.cut {
			return 0, nil
		}
		if !in.lost {
			d.t.m.DroppedBuffer++
		}
	}
	return prefix + size, d.message(c, in, in.p[prefix:min(prefix+size, len(in.p))], size)
}

// message handles a message of size bytes, of which p is there.
func (d *dnsDriver) message(c *Conn, in *input, p []byte, size int) error {
	t, m := d.t, &d.msg
	if err := dns.Parse(p, m); err != nil {
		return err
	}
	aside := !in.server && m.Response && isPeers(c) // an answer to somebody else
	if m.Response != in.server && !aside {
		t.m.WrongSide++
		return nil
	}
	t.scratch = m.AppendQName(t.scratch[:0])
	key := uint64(m.ID) | uint64(m.QType)<<16 | uint64(uint32(maphash.Bytes(t.seed, t.scratch)))<<32
	var pd *pending
	if !aside {
		pd = d.find(c, key)
	}
	if !m.Response {
		if pd != nil { // asked again: the first time counts
			t.m.Duplicates++
			return nil
		}
		pd = c.newPending(in)
		pd.key = key
		pd.ex.RequestBytes = int64(size)
		d.question(&pd.ex)
		c.push(pd)
		return nil
	}
	answered := answeredDNS(key)
	if pd == nil && (m.Questions > 0 && uint32(c.note) == answered || d.isContinued(c)) {
		t.m.Duplicates++
		return nil
	}
	c.note = uint64(m.ID)<<32 | uint64(answered)
	d.answer(c, pd, in, size)
	return nil
}

// answeredDNS shortens the key of an answer, which note keeps with the id above to know it again; it is never 0.
func answeredDNS(key uint64) uint32 { return uint32(key) ^ uint32(key>>32) | 1 }

// isContinued says whether the message goes on with the last answer: of a zone transfer only the first message has to
// repeat the question (RFC 5936 §2.2.1).
func (d *dnsDriver) isContinued(c *Conn) bool {
	return c.over == overTCP && d.msg.Questions == 0 && c.note != 0 && uint16(c.note>>32) == d.msg.ID
}

// find returns the query with the same id and question; an answer without question goes by its id.
func (d *dnsDriver) find(c *Conn, key uint64) *pending {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == key || d.msg.Response && d.msg.Questions == 0 && uint16(pd.key) == d.msg.ID {
			return pd
		}
	}
	return nil
}

// question fills in the request from d.msg; its name is in t.scratch. An answer without question is told by its first
// record.
func (d *dnsDriver) question(ex *Exchange) {
	t, m := d.t, &d.msg
	ex.RequestID = int64(m.ID)
	qtype := m.QType
	if m.Questions == 0 {
		var r dns.Record
		it := m.Records()
		if !m.Response || !it.Next(&r) || r.Section != dns.Answer {
			return
		}
		t.scratch = m.AppendName(t.scratch[:0], &r)
		qtype = r.Type
	}
	name := t.text(t.scratch, t.o.MaxText)
	ex.RequestType = dns.TypeString(qtype)
	ex.RequestResource, ex.Endpoint = name, name
	if qtype == dns.TypeA || qtype == dns.TypeAAAA {
		ex.RequestDomain = name
	}
	if m.Opcode != 0 {
		ex.Attributes = append(ex.Attributes, Attribute{Key: "dns_opcode", Value: dns.OpcodeString(m.Opcode)})
	}
}

// answer reports the answer in d.msg to pd, which is nil when the query was not seen; the name is in t.scratch.
func (d *dnsDriver) answer(c *Conn, pd *pending, in *input, size int) {
	t, m := d.t, &d.msg
	if pd != nil {
		c.unlink(pd)
	}
	ex := c.answer(pd, in)
	if pd == nil {
		d.question(ex)
	}
	ex.ResponseBytes = int64(size)
	ex.ResponseCode = int64(m.RCode)
	ex.Status = t.statusDNS(m.RCode, ex.RequestResource)
	if m.RCode != 0 {
		ex.ResponseException = dns.RCodeString(m.RCode)
	}
	t.scratch = m.AppendResult(t.scratch[:0], t.o.MaxText)
	ex.ResponseResult = t.text(t.scratch, t.o.MaxText)
	c.finish(pd, ex)
}

// statusDNS: the server could not read the question, or the name does not exist: the client's error; any other code but
// 0 the server's.
func (t *Tracker) statusDNS(code uint16, name string) Status {
	const formErr, nxDomain = 1, 3
	switch code {
	case 0:
		return StatusOK
	case nxDomain:
		for _, s := range t.o.QuietNXDomain {
			if rest, ok := strings.CutSuffix(name, strings.TrimPrefix(s, ".")); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
				return StatusOK
			}
		}
		return StatusClientError
	case formErr:
		return StatusClientError
	}
	return StatusServerError
}

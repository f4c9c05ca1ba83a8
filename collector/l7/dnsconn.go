package l7

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/dns"
	"github.com/flowlake/flowlake/collector/l7/http1"
)

// Ports where DNS is expected: DNS, mDNS (RFC 6762) and LLMNR (RFC 4795).
const (
	portDNS   = 53
	portMDNS  = 5353
	portLLMNR = 5355
)

func isDNSPort(port uint16) bool { return port == portDNS || port == portMDNS || port == portLLMNR }

func (c *Conn) hasPort(port uint16) bool { return c.ports[0] == port || c.ports[1] == port }

// isGroup says whether queries go to a multicast group: answers come from its members, to the group or straight to the one
// who asked, and are therefore not seen on this connection.
func (c *Conn) isGroup() bool { return c.Proto == DNS && (c.hasPort(portMDNS) || c.hasPort(portLLMNR)) }

// isPeers says whether both ends ask and answer: hosts that speak mDNS to their group.
func (c *Conn) isPeers() bool { return c.ports == [2]uint16{portMDNS, portMDNS} }

// datagram parses a UDP payload.
func (c *Conn) datagram(end int, atNanos int64, p []byte, wire int) {
	t := c.t
	if len(p) < wire {
		t.m.GapBytes += uint64(wire - len(p))
	}
	if c.Proto == Unknown {
		if !t.enabled[DNS] || !c.isDatagramDNS(p, wire) {
			c.miss(end)
			return
		}
		server := end
		switch {
		case c.isPeers(): // the direction stays as it is
			server = int(uint8(Server) ^ c.turn)
		case p[2]&0x80 == 0: // a query
			server ^= 1
		}
		c.identify(DNS, server)
	}
	if !c.messageDNS(end, p, wire, atNanos, 0) {
		t.m.ParseFailures++
	}
}

// isDatagramDNS says whether p is a DNS message: by its shape on a port known for it, elsewhere only when every byte of
// it fits.
func (c *Conn) isDatagramDNS(p []byte, wire int) bool {
	if dns.Check(p, wire) != dns.Yes {
		return c.hasPort(portMDNS) && c.isMDNS(p, wire)
	}
	if isDNSPort(c.ports[0]) || isDNSPort(c.ports[1]) {
		return true
	}
	m := &c.t.msg
	return dns.Parse(p, m) == nil && !m.Cut && m.Size == wire
}

// isMDNS says whether p is an mDNS message, which may have no question or several (RFC 6762 §6, §7.1) and whose header has
// but few bits set (§18).
func (c *Conn) isMDNS(p []byte, wire int) bool {
	const response, authoritative, truncated = 0x8000, 0x0400, 0x0200
	m := &c.t.msg
	if dns.Parse(p, m) != nil || m.Cut && len(p) == wire || m.Flags&^(response|authoritative|truncated) != 0 {
		return false
	}
	if m.Response {
		return m.Answers > 0
	}
	return m.Questions > 0
}

// stepDNS parses a message behind its length at the start of p; see step.
func (c *Conn) stepDNS(end int, p []byte, atNanos int64, seq uint32) int {
	const prefix, minLen = 2, 12
	h := &c.half[end]
	if len(p) < prefix {
		return 0
	}
	size := int(binary.BigEndian.Uint16(p))
	if size < minLen {
		c.fail(h)
		return len(p)
	}
	have := min(size, c.t.o.MaxConnBuffer-prefix)
	if len(p) < prefix+have {
		return 0
	}
	h.state = stateStart
	if !c.messageDNS(end, p[prefix:prefix+have], size, atNanos, seq) {
		c.fail(h)
		return len(p)
	}
	if have < size {
		c.t.m.DroppedBuffer++
		h.state, h.body = stateBody, http1.Counted(int64(size-have))
	}
	return prefix + have
}

// salvageDNS reads a message whose rest is lost.
func (c *Conn) salvageDNS(end int, b *buffer) {
	const prefix = 2
	if len(b.data) < prefix {
		return
	}
	size := int(binary.BigEndian.Uint16(b.data))
	if !c.messageDNS(end, b.data[prefix:], size, b.atNanos, b.seq) {
		c.t.m.ParseFailures++
	}
}

// messageDNS handles a message of size bytes, of which p is there; false when it cannot be read.
func (c *Conn) messageDNS(end int, p []byte, size int, atNanos int64, seq uint32) bool {
	t := c.t
	m := &t.msg
	if dns.Parse(p, m) != nil {
		return false
	}
	aside := end != int(c.server) && m.Response && c.isPeers() // an answer to somebody else
	if m.Response != (end == int(c.server)) && !aside {
		t.m.WrongSide++
		return true
	}
	t.scratch = m.AppendQName(t.scratch[:0])
	key := uint64(m.ID) | uint64(m.QType)<<16 | uint64(uint32(maphash.Bytes(t.seed, t.scratch)))<<32
	var pd *pending
	if !aside {
		pd = c.findDNS(key, m)
	}
	if !m.Response {
		if pd != nil { // asked again: the first time counts
			t.m.Duplicates++
			return true
		}
		pd = c.newPending(atNanos, seq)
		pd.key = key
		pd.ex.RequestBytes = int64(size)
		t.questionDNS(&pd.ex)
		t.m.Requests++
		c.push(pd)
		t.h.Request(c, atNanos)
		return true
	}
	answered := uint32(key) ^ uint32(key>>32) | 1 // 0 is none
	if pd == nil && (m.Questions > 0 && c.answered == answered || c.isContinued(m)) {
		t.m.Duplicates++
		return true
	}
	c.answered, c.lastID = answered, m.ID
	c.responseDNS(pd, size, atNanos, seq)
	return true
}

// isContinued says whether m goes on with the last answer: of a zone transfer only the first message has to repeat the
// question (RFC 5936 §2.2.1).
func (c *Conn) isContinued(m *dns.Message) bool {
	return c.transport == transportTCP && m.Questions == 0 && c.answered != 0 && c.lastID == m.ID
}

// findDNS returns the query with the same id and question; an answer without question goes by its id.
func (c *Conn) findDNS(key uint64, m *dns.Message) *pending {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == key || m.Response && m.Questions == 0 && uint16(pd.key) == m.ID {
			return pd
		}
	}
	return nil
}

// questionDNS fills in the request from t.msg; its name is in t.scratch. An answer without question is told by its first
// record.
func (t *Tracker) questionDNS(ex *Exchange) {
	m := &t.msg
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

// responseDNS reports the answer in t.msg to pd, which is nil when the query was not seen; the name is in t.scratch.
func (c *Conn) responseDNS(pd *pending, size int, atNanos int64, seq uint32) {
	t, m := c.t, &c.t.msg
	ex, rrt := &t.ex, int64(-1)
	if pd != nil {
		c.unlink(pd)
		ex, rrt = &pd.ex, max(atNanos-pd.ex.StartNanos, 0)
		ex.Kind = KindSession
	} else {
		t.m.Unpaired++
		resetExchange(ex)
		ex.Kind, ex.Protocol, ex.StartNanos = KindResponse, DNS, atNanos
		t.questionDNS(ex)
	}
	ex.EndNanos, ex.ResponseSeq, ex.ResponseBytes = atNanos, seq, int64(size)
	ex.ResponseCode = int64(m.RCode)
	ex.Status = t.statusDNS(m.RCode, ex.RequestResource)
	if m.RCode != 0 {
		ex.ResponseException = dns.RCodeString(m.RCode)
	}
	t.scratch = m.AppendResult(t.scratch[:0], t.o.MaxText)
	ex.ResponseResult = t.text(t.scratch, t.o.MaxText)
	t.m.Responses++
	t.h.Response(c, atNanos, ex.Status, rrt)
	t.h.Exchange(c, ex)
	if pd != nil {
		t.putPending(pd)
	}
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

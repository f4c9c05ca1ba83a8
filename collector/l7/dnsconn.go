package l7

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/dns"
	"github.com/flowlake/flowlake/collector/l7/http1"
)

// Ports where DNS is expected: DNS, mDNS (RFC 6762) and LLMNR (RFC 4795).
func isDNSPort(port uint16) bool { return port == 53 || port == 5353 || port == 5355 }

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
		if p[2]&0x80 == 0 { // a query
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
		return false
	}
	if isDNSPort(c.ports[0]) || isDNSPort(c.ports[1]) {
		return true
	}
	m := &c.t.msg
	return dns.Parse(p, m) == nil && !m.Cut && m.Size == wire
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
	if m.Response != (end == int(c.server)) {
		t.m.WrongSide++
		return true
	}
	t.scratch = m.AppendQName(t.scratch[:0])
	key := uint64(m.ID) | uint64(m.QType)<<16 | uint64(uint32(maphash.Bytes(t.seed, t.scratch)))<<32
	pd := c.findDNS(key, m)
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
	if pd == nil && c.answered == answered {
		t.m.Duplicates++
		return true
	}
	c.answered = answered
	c.responseDNS(pd, size, atNanos, seq)
	return true
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

// questionDNS fills in the request from t.msg; its name is in t.scratch.
func (t *Tracker) questionDNS(ex *Exchange) {
	m := &t.msg
	ex.RequestID = int64(m.ID)
	if m.Questions == 0 {
		return
	}
	name := t.text(t.scratch, t.o.MaxText)
	ex.RequestType = dns.TypeString(m.QType)
	ex.RequestResource, ex.Endpoint = name, name
	if m.QType == dns.TypeA || m.QType == dns.TypeAAAA {
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

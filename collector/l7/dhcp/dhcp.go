// Package dhcp reads DHCP messages, for IPv4 (RFC 2131, options of RFC 2132) and for IPv6 (RFC 8415). It allocates nothing;
// what it returns are views of its input.
package dhcp

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// ErrMalformed is returned when the bytes are not a DHCP message.
var ErrMalformed = errors.New("dhcp: not a message")

const (
	minLen4  = 240 // fixed fields and the cookie
	cookie   = 0x63825363
	maxHW    = 16
	maxRelay = 32 // relays a message of IPv6 may have passed (RFC 8415 §7.6: 8)
)

// Types of a message for IPv4 (option 53).
const (
	Discover = 1 + iota
	Offer
	Request
	Decline
	Ack
	Nak
	Release
	Inform
)

// Types of a message for IPv6.
const (
	Solicit = 1 + iota
	Advertise
	Request6
	Confirm
	Renew
	Rebind
	Reply
	Release6
	Decline6
	Reconfigure
	InformationRequest
	RelayForward
	RelayReply
)

var names4 = [...]string{
	"", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM", "FORCERENEW", "LEASEQUERY", "LEASEUNASSIGNED", "LEASEUNKNOWN", "LEASEACTIVE",
}

var names6 = [...]string{
	"", "SOLICIT", "ADVERTISE", "REQUEST", "CONFIRM", "RENEW", "REBIND", "REPLY", "RELEASE", "DECLINE", "RECONFIGURE", "INFORMATION-REQUEST",
}

// Message is a parsed message; its slices are views of the bytes it was parsed from.
type Message struct {
	V6      bool
	Type    uint8
	FromSrv bool   // sent by a server
	ID      uint32 // of the transaction
	Relayed bool

	Hostname, Vendor []byte
	Hardware         []byte // address of the client; for IPv6 its DUID
	// Addresses of 4 or 16 bytes: the client's now, the one it asks for, the one it gets, the server's (its DUID for IPv6);
	// nil where there is none.
	Client, Asked, Given, Server []byte
	Lease                        uint32 // seconds, 0 without one
	Broadcast                    bool   // answers are for everybody: the client cannot receive others yet
	Text                         []byte // why, in words
	Status                       uint16 // of a message for IPv6: 0, or an error
}

// Name is the type of the message in words.
func (m *Message) Name() string {
	names := names4[:]
	if m.V6 {
		names = names6[:]
	}
	if int(m.Type) < len(names) {
		return names[m.Type]
	}
	return ""
}

var statusNames = [...]string{"Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail"}

// StatusName is a status of IPv6 in words, "" for an unknown one.
func StatusName(s uint16) string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return ""
}

// Check says whether p is a message for IPv4 or, if v6, for IPv6, whose messages are to be looked for on its own ports only.
func Check(p []byte, v6 bool) wire.Verdict {
	var m Message
	if Parse(p, v6, &m) != nil {
		return wire.No
	}
	if m.FromSrv {
		return wire.Response
	}
	return wire.Request
}

// Parse reads the message p. Options behind the end of p are not there.
func Parse(p []byte, v6 bool, m *Message) error {
	*m = Message{V6: v6}
	if v6 {
		return m.parse6(p, 0)
	}
	return m.parse4(p)
}

func (m *Message) parse4(p []byte) error {
	const opRequest, opReply = 1, 2
	if len(p) < minLen4 || p[0] != opRequest && p[0] != opReply || p[2] > maxHW || binary.BigEndian.Uint32(p[236:]) != cookie {
		return ErrMalformed
	}
	m.FromSrv, m.ID, m.Broadcast = p[0] == opReply, binary.BigEndian.Uint32(p[4:]), p[10]&0x80 != 0
	m.Hardware = p[28 : 28+int(p[2])]
	m.Client, m.Given, m.Relayed = address(p[12:16]), address(p[16:20]), address(p[24:28]) != nil
	m.options4(p[minLen4:])
	if m.Name() == "" || m.FromSrv != fromServer(m.Type) {
		return ErrMalformed
	}
	return nil
}

// fromServer says whether servers send messages of the type for IPv4.
func fromServer(typ uint8) bool {
	const forceRenew, leaseUnassigned = 9, 11
	return typ == Offer || typ == Ack || typ == Nak || typ == forceRenew || typ >= leaseUnassigned
}

// address is a, nil when it is all zero.
func address(a []byte) []byte {
	for _, b := range a {
		if b != 0 {
			return a
		}
	}
	return nil
}

func (m *Message) options4(p []byte) {
	const (
		pad, end                                       = 0, 255
		host, asked, lease, kind, server, text, vendor = 12, 50, 51, 53, 54, 56, 60
	)
	for len(p) > 0 && p[0] != end {
		if p[0] == pad {
			p = p[1:]
			continue
		}
		if len(p) < 2 || len(p) < 2+int(p[1]) {
			return
		}
		code, v := p[0], p[2:2+int(p[1])]
		p = p[2+len(v):]
		switch {
		case code == host:
			m.Hostname = v
		case code == asked && len(v) == 4:
			m.Asked = address(v)
		case code == lease && len(v) == 4:
			m.Lease = binary.BigEndian.Uint32(v)
		case code == kind && len(v) == 1:
			m.Type = v[0]
		case code == server && len(v) == 4:
			m.Server = address(v)
		case code == text:
			m.Text = v
		case code == vendor:
			m.Vendor = v
		}
	}
}

// parse6 reads a message, or the one that relays carry in theirs.
func (m *Message) parse6(p []byte, relays int) error {
	const relayHeader, header = 34, 4
	if len(p) < header || p[0] == 0 || p[0] > RelayReply {
		return ErrMalformed
	}
	m.Type = p[0]
	if m.Type == RelayForward || m.Type == RelayReply {
		const relayed = 9
		if len(p) < relayHeader || relays == maxRelay {
			return ErrMalformed
		}
		m.Relayed = true
		for o := (options6{p: p[relayHeader:]}); o.next(); {
			if o.code == relayed {
				return m.parse6(o.value, relays+1)
			}
		}
		return ErrMalformed
	}
	m.ID = uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
	m.FromSrv = m.Type == Advertise || m.Type == Reply || m.Type == Reconfigure
	o := options6{p: p[header:]}
	for o.next() {
		m.option6(&o)
	}
	if o.bad || m.Hardware == nil && m.Server == nil { // every message has the id of a client or a server, save some requests for information
		if o.bad || m.Type != InformationRequest {
			return ErrMalformed
		}
	}
	return nil
}

func (m *Message) option6(o *options6) {
	const (
		client, server, addresses, prefixes, status, vendor, name = 1, 2, 3, 25, 13, 16, 39
		iaHeader                                                  = 12
	)
	v := o.value
	switch {
	case o.code == client:
		m.Hardware = v
	case o.code == server:
		m.Server = v
	case (o.code == addresses || o.code == prefixes) && len(v) >= iaHeader:
		m.identity(v[iaHeader:])
	case o.code == status && len(v) >= 2:
		m.Status, m.Text = binary.BigEndian.Uint16(v), v[2:]
	case o.code == vendor && len(v) > 6:
		m.Vendor = v[6:]
	case o.code == name && len(v) > 2: // flags, and a name of DNS of which the first label is the host's
		if n := int(v[1]); n > 0 && n < 0x40 && 2+n <= len(v) {
			m.Hostname = v[2 : 2+n]
		}
	}
}

// identity reads the first address or prefix of an identity association, and its status.
func (m *Message) identity(p []byte) {
	const addr, prefix, status = 5, 26, 13
	for o := (options6{p: p}); o.next(); {
		v := o.value
		switch {
		case o.code == addr && len(v) >= 24 && m.Given == nil && m.Asked == nil:
			m.found(v[:16], binary.BigEndian.Uint32(v[20:]))
		case o.code == prefix && len(v) >= 25 && m.Given == nil && m.Asked == nil:
			m.found(v[9:25], binary.BigEndian.Uint32(v[4:]))
		case o.code == status && len(v) >= 2 && m.Status == 0:
			m.Status, m.Text = binary.BigEndian.Uint16(v), v[2:]
		}
	}
}

func (m *Message) found(address []byte, lease uint32) {
	if m.FromSrv {
		m.Given, m.Lease = address, lease
	} else {
		m.Asked = address
	}
}

// options6 walks over the options of IPv6.
type options6 struct {
	p     []byte
	code  uint16
	value []byte
	bad   bool // the last option is cut
}

func (o *options6) next() bool {
	if len(o.p) < 4 {
		o.bad = len(o.p) > 0
		return false
	}
	n := int(binary.BigEndian.Uint16(o.p[2:]))
	if 4+n > len(o.p) {
		o.bad = true
		return false
	}
	o.code, o.value, o.p = binary.BigEndian.Uint16(o.p), o.p[4:4+n:4+n], o.p[4+n:]
	return true
}

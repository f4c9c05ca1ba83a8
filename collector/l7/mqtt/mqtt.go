// Package mqtt reads control packets of MQTT 3.1, 3.1.1 and 5 from bytes somebody else sent, into views of the input. Payloads
// are passed over. It allocates nothing.
package mqtt

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a control packet.
	ErrMalformed = errors.New("not an MQTT packet")
	// ErrShort is returned when the bytes end before what is needed of a packet.
	ErrShort = errors.New("MQTT packet is cut")
)

// Type is the type of a control packet (MQTT 5.0 §2.1.2).
type Type uint8

// Types of control packets.
const (
	Connect Type = 1 + iota
	Connack
	Publish
	Puback
	Pubrec
	Pubrel
	Pubcomp
	Subscribe
	Suback
	Unsubscribe
	Unsuback
	Pingreq
	Pingresp
	Disconnect
	Auth
)

var typeNames = [16]string{"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE",
	"UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// String is the name of the type as the specification writes it.
func (t Type) String() string { return typeNames[t&15] }

// Levels of the protocol, as CONNECT has them.
const (
	Level31  = 3
	Level311 = 4
	Level5   = 5
)

// Packet is a control packet. The slices are views of the parsed bytes; those of a packet that is cut may be missing.
type Packet struct {
	Type Type
	// Dup, QoS and Retain are those of a PUBLISH.
	Dup, Retain bool
	QoS         uint8
	// Size is the length of the packet in bytes, Remaining what its header says: without the header.
	Size, Remaining int
	// ID is the packet identifier, 0 when there is none.
	ID uint16
	// Level is that of a CONNECT; of another packet Level5 when only that version has the like, else 0.
	Level uint8
	// ClientID, User and WillTopic are those of a CONNECT.
	ClientID, User, WillTopic []byte
	// Topic is that of a PUBLISH.
	Topic []byte
	// Code is the return or reason code of an acknowledgement, of several the first that is a failure; -1 without one.
	Code int

	topics     []byte // of SUBSCRIBE and UNSUBSCRIBE
	options    bool   // a byte follows each of them
	properties []byte
}

// header reads the fixed header (§2.1): n is its length, 0 when it is not all there.
func header(p []byte) (remaining, n int, err error) {
	for i := 1; i < len(p); i++ {
		remaining |= int(p[i]&0x7f) << (7 * (i - 1))
		if p[i] < 0x80 {
			if i > 1 && p[i] == 0 { // not the shortest form
				return 0, 0, ErrMalformed
			}
			return remaining, i + 1, nil
		}
		if i == 4 {
			return 0, 0, ErrMalformed
		}
	}
	return 0, 0, nil
}

// Parse reads the packet that p begins with and returns its length, which may be more than len(p). level is that of the
// connection, 0 when unknown: then properties are not read. The packet may be cut; ErrShort is returned when it is cut in its
// header, or in the topic, identifier or properties of a PUBLISH, unless cut says that no more will come.
func Parse(p []byte, level uint8, cut bool, m *Packet) (n int, err error) {
	*m = Packet{Code: -1}
	remaining, head, err := header(p)
	if err != nil {
		return 0, err
	}
	if head == 0 {
		return 0, ErrShort
	}
	m.Type, m.Remaining, m.Size = Type(p[0]>>4), remaining, head+remaining
	r := wire.NewReader(p[head:min(m.Size, len(p))])
	whole := m.Size <= len(p)
	flags := p[0] & 15
	switch m.Type {
	case Connect:
		err = m.connect(&r)
	case Connack:
		r.Skip(1)
		m.code(&r)
	case Publish:
		m.Dup, m.QoS, m.Retain = flags&8 != 0, flags>>1&3, flags&1 != 0
		err = m.publish(&r, level)
		if err == nil && !r.OK() && !whole && !cut {
			return 0, ErrShort
		}
	case Puback, Pubrec, Pubrel, Pubcomp:
		m.ID = r.U16()
		m.code(&r)
	case Subscribe, Unsubscribe:
		m.ID = r.U16()
		m.subscribe(&r, level, whole)
	case Suback, Unsuback:
		m.ID = r.U16()
		m.codes(&r, level)
	case Disconnect, Auth:
		m.code(&r)
	case Pingreq, Pingresp:
	default:
		return 0, ErrMalformed
	}
	if err != nil || !validFlags(m.Type, flags) || whole && !r.OK() {
		return 0, ErrMalformed
	}
	return m.Size, nil
}

// validFlags says whether the flags of the fixed header may be those of the type (§2.1.3).
func validFlags(t Type, flags uint8) bool {
	switch t {
	case Publish:
		return flags&6 != 6
	case Pubrel, Subscribe, Unsubscribe:
		return flags&^8 == 2 // 3.1 had a dup flag here
	}
	return flags == 0
}

// connect reads a CONNECT (§3.1). The password is not looked at.
func (m *Packet) connect(r *wire.Reader) error {
	name := r.Bytes(int(r.U16()))
	m.Level = r.U8()
	flags := r.U8()
	r.U16()
	if r.OK() && !isConnect(name, m.Level, flags) {
		return ErrMalformed
	}
	m.Level &^= bridge
	if m.Level == Level5 {
		m.readProperties(r)
	}
	m.ClientID = r.UpTo(int(r.U16()))
	const will, user = 4, 0x80
	if flags&will != 0 {
		if m.Level == Level5 {
			r.Skip(int(varint(r)))
		}
		m.WillTopic = r.Bytes(int(r.U16()))
		r.Skip(int(r.U16()))
	}
	if flags&user != 0 {
		m.User = r.Bytes(int(r.U16()))
	}
	return nil
}

// bridge is a bit of the level that brokers set among themselves.
const bridge = 0x80

// isConnect says whether name, level and flags are those of a CONNECT.
func isConnect(name []byte, level, flags uint8) bool {
	if flags&1 != 0 || flags>>3&3 == 3 {
		return false
	}
	switch string(name) {
	case "MQIsdp":
		return level&^bridge == Level31
	case "MQTT":
		return level&^bridge == Level311 || level == Level5
	}
	return false
}

func (m *Packet) publish(r *wire.Reader, level uint8) error {
	m.Topic = r.UpTo(int(r.U16()))
	if m.QoS > 0 {
		if m.ID = r.U16(); r.OK() && m.ID == 0 {
			return ErrMalformed
		}
	}
	if level == Level5 {
		m.readProperties(r)
	}
	return nil
}

// code reads a code and, behind it, properties: of an acknowledgement that has no more than its identifier, 0.
func (m *Packet) code(r *wire.Reader) {
	if r.Len() == 0 {
		return
	}
	m.Code = int(r.U8())
	if more := r.Len() > 0; more || m.Type != Connack {
		m.Level = Level5
		if more {
			m.readProperties(r)
		}
	}
}

// subscribe finds the topic filters. Before them version 5 has properties; where the version is unknown, that is tried when
// the packet cannot be read without.
func (m *Packet) subscribe(r *wire.Reader, level uint8, whole bool) {
	m.options = m.Type == Subscribe
	rest := r.Rest()
	if level == Level5 || level == 0 && whole && !fits(rest, m.options) {
		m.readProperties(r)
		m.Level = Level5
		rest = r.Rest()
	}
	m.topics = rest
}

// fits says whether p is topic filters and nothing else.
func fits(p []byte, options bool) bool {
	r := wire.NewReader(p)
	for r.Len() > 0 {
		if len(r.Bytes(int(r.U16()))) == 0 || options && r.U8() > 2 {
			return false
		}
	}
	return r.OK() && len(p) > 0
}

// codes reads the codes of a SUBACK or UNSUBACK; 3.1.1 has none in UNSUBACK.
func (m *Packet) codes(r *wire.Reader, level uint8) {
	if level == Level5 {
		m.readProperties(r)
	}
	for _, c := range r.Rest() {
		if m.Code < 0 || c >= Failure && m.Code < Failure {
			m.Code = int(c)
		}
	}
}

// varint reads a variable byte integer (§1.5.5).
func varint(r *wire.Reader) uint32 {
	var v uint32
	for i := range 4 {
		b := r.U8()
		v |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v
		}
	}
	r.Short = true
	return 0
}

func (m *Packet) readProperties(r *wire.Reader) { m.properties = r.UpTo(int(varint(r))) }

// Topics calls f with each topic filter of a SUBSCRIBE or UNSUBSCRIBE; of the last one, perhaps its beginning.
func (m *Packet) Topics(f func(topic []byte)) {
	r := wire.NewReader(m.topics)
	for r.Len() > 0 {
		if topic := r.UpTo(int(r.U16())); len(topic) > 0 {
			f(topic)
		}
		if m.options {
			r.Skip(1)
		}
	}
}

// Property identifiers (§2.2.2.2) that drivers look for.
const (
	PropContentType    = 0x03
	PropResponseTopic  = 0x08
	PropAssignedClient = 0x12
	PropReason         = 0x1f
	PropTopicAlias     = 0x23
	PropUser           = 0x26
)

// Property is a property of version 5.
type Property struct {
	ID uint8
	// Value is that of a text or of bytes, Key the name of a user property.
	Key, Value []byte
	// Number is that of a number.
	Number uint32
}

// Properties reads the properties of a packet, one by one.
type Properties struct{ r wire.Reader }

// Properties returns a reader of the packet's properties.
func (m *Packet) Properties() Properties { return Properties{wire.NewReader(m.properties)} }

// Next reads the next property; false at the end, or where one is not known or cut.
func (ps *Properties) Next(p *Property) bool {
	r := &ps.r
	if r.Len() == 0 {
		return false
	}
	*p = Property{ID: r.U8()}
	switch p.ID {
	case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a:
		p.Number = uint32(r.U8())
	case 0x13, 0x21, 0x22, PropTopicAlias:
		p.Number = uint32(r.U16())
	case 0x02, 0x11, 0x18, 0x27:
		p.Number = r.U32()
	case 0x0b:
		p.Number = varint(r)
	case PropContentType, PropResponseTopic, 0x09, PropAssignedClient, 0x15, 0x16, 0x1a, 0x1c, PropReason:
		p.Value = r.Bytes(int(r.U16()))
	case PropUser:
		p.Key = r.Bytes(int(r.U16()))
		p.Value = r.Bytes(int(r.U16()))
	default:
		r.Short = true
	}
	return r.OK()
}

// Failure is the first code that says that something did not work (§2.4).
const Failure = 0x80

// reasons are the reason codes of version 5 (§2.4) that are failures.
var reasons = map[int]string{0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "implementation specific error",
	0x84: "unsupported protocol version", 0x85: "client identifier not valid", 0x86: "bad user name or password", 0x87: "not authorized",
	0x88: "server unavailable", 0x89: "server busy", 0x8a: "banned", 0x8b: "server shutting down", 0x8c: "bad authentication method",
	0x8d: "keep alive timeout", 0x8e: "session taken over", 0x8f: "topic filter invalid", 0x90: "topic name invalid",
	0x91: "packet identifier in use", 0x92: "packet identifier not found", 0x93: "receive maximum exceeded", 0x94: "topic alias invalid",
	0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x98: "administrative action", 0x99: "payload format invalid",
	0x9a: "retain not supported", 0x9b: "qos not supported", 0x9c: "use another server", 0x9d: "server moved",
	0x9e: "shared subscriptions not supported", 0x9f: "connection rate exceeded", 0xa0: "maximum connect time",
	0xa1: "subscription identifiers not supported", 0xa2: "wildcard subscriptions not supported"}

// refusals are the return codes of a CONNACK before version 5 (MQTT 3.1.1 §3.2.2.3).
var refusals = [6]string{1: "unacceptable protocol version", 2: "identifier rejected", 3: "server unavailable", 4: "bad user name or password",
	5: "not authorized"}

// Reason is what a code says that is a failure; "" for one that is not.
func Reason(t Type, code int) string {
	switch {
	case t == Connack && code > 0 && code < len(refusals):
		return refusals[code]
	case code < Failure:
		return ""
	}
	if s := reasons[code]; s != "" {
		return s
	}
	return "code " + strconv.Itoa(code)
}

// ServerFault says whether a failure is the server's: it cannot, or not now. All others are the client's.
func ServerFault(t Type, code int) bool {
	const unavailable = 3
	switch code {
	case unavailable:
		return t == Connack
	case 0x80, 0x83, 0x88, 0x89, 0x8b, 0x97, 0x98, 0x9c, 0x9d, 0xa0:
		return true
	}
	return false
}

// Check says whether p begins with a control packet. Without hint only CONNECT counts, which is like nothing else; with it,
// all of p has to be packets, the last of which may be cut.
func Check(p []byte, hint bool) wire.Verdict {
	if len(p) == 0 {
		return wire.Maybe
	}
	if p[0] == byte(Connect)<<4 {
		return checkConnect(p)
	}
	if !hint {
		return wire.No
	}
	const most = 16
	side := wire.Either
	for range most {
		if len(p) == 0 {
			break
		}
		v, n := checkPacket(p)
		switch {
		case v <= wire.Maybe:
			return v
		case side == wire.Either:
			side = v
		}
		p = p[min(n, len(p)):]
	}
	return side
}

// checkConnect looks at a CONNECT up to its flags.
func checkConnect(p []byte) wire.Verdict {
	remaining, head, err := header(p)
	const name, least = 2, 12
	switch {
	case err != nil || head > 0 && remaining < least:
		return wire.No
	case head == 0 || len(p) < head+name:
		return wire.Maybe
	}
	r := wire.NewReader(p[head:])
	size := int(r.U16())
	if size != len("MQTT") && size != len("MQIsdp") {
		return wire.No
	}
	text := r.Bytes(size)
	level, flags := r.U8(), r.U8()
	switch {
	case !r.OK():
		return wire.Maybe
	case isConnect(text, level, flags):
		return wire.Request
	}
	return wire.No
}

// checkPacket looks at one packet, and returns its length.
func checkPacket(p []byte) (wire.Verdict, int) {
	remaining, head, err := header(p)
	t := Type(p[0] >> 4)
	if err != nil || t == 0 || !validFlags(t, p[0]&15) {
		return wire.No, 0
	}
	if head == 0 {
		return wire.Maybe, 0
	}
	n, body := head+remaining, p[head:min(head+remaining, len(p))]
	ok, side := false, wire.Either
	switch t {
	case Connect:
		return checkConnect(p), n
	case Connack:
		ok, side = remaining >= 2 && (len(body) == 0 || body[0] <= 1), wire.Response
	case Publish:
		if len(body) < min(3, remaining) {
			return wire.Maybe, n
		}
		ok = checkPublish(body, remaining)
	case Puback, Pubrec, Pubrel, Pubcomp:
		ok = remaining >= 2 && remaining < 1<<10
	case Subscribe:
		ok, side = remaining >= 6, wire.Request
	case Unsubscribe:
		ok, side = remaining >= 5, wire.Request
	case Suback:
		ok, side = remaining >= 3, wire.Response
	case Unsuback:
		ok, side = remaining >= 2, wire.Response
	case Pingreq:
		ok, side = remaining == 0, wire.Request
	case Pingresp:
		ok, side = remaining == 0, wire.Response
	case Disconnect:
		ok = remaining < 1<<10
	case Auth:
		ok = remaining >= 2 && remaining < 1<<14
	}
	var m Packet
	if ok && len(body) == remaining {
		_, err = Parse(p, 0, false, &m)
		ok = err == nil
	}
	if !ok {
		return wire.No, 0
	}
	return side, n
}

// checkPublish looks at the topic, which has no wildcards and no control characters.
func checkPublish(body []byte, remaining int) bool {
	r := wire.NewReader(body)
	size := int(r.U16())
	topic := r.UpTo(size)
	if size == 0 || size+2 > remaining || r.OK() && !utf8.Valid(topic) {
		return false
	}
	for _, c := range topic {
		if c < ' ' || c == 0x7f || c == '+' || c == '#' {
			return false
		}
	}
	return true
}

package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/mqtt"
)

// mqttDriver speaks MQTT.
type mqttDriver struct {
	t   *Tracker
	pkt mqtt.Packet
}

// mqttConn is what is remembered of a connection.
type mqttConn struct {
	level   uint8       // 0 when unknown
	client  string      // client identifier
	aliases []mqttAlias // topics that have got a number
}

// mqttAlias is a number for a topic, for the packets of one side.
type mqttAlias struct {
	server bool
	number uint16
	topic  string
}

// maxAliases bounds the aliases remembered of a connection; those of others have no topic.
const maxAliases = 32

func newMQTTDriver(t *Tracker) driver { return &mqttDriver{t: t} }

func (d *mqttDriver) check(_ *Conn, in *input, hint bool) shape { return shape(mqtt.Check(in.p, hint)) }

func (d *mqttDriver) step(c *Conn, in *input) (int, error) {
	s, _ := c.state.(*mqttConn)
	if s == nil {
		s = &mqttConn{}
		c.state = s
	}
	m := &d.pkt
	n, err := mqtt.Parse(in.p, s.level, in.cut, m)
	switch {
	case errors.Is(err, mqtt.ErrShort) && !in.cut:
		return 0, nil
	case err != nil:
		return 0, err
	}
	const most = 4096 // bytes of a packet without payload that are waited for
	if m.Type != mqtt.Publish && !c.enough(in, min(n, most)) {
		return 0, nil
	}
	if s.level == 0 {
		s.level = m.Level
	}
	if client := ofMQTTClient(m.Type); client || ofMQTTServer(m.Type) {
		c.direct(in, !client)
	}
	d.packet(c, s, in)
	return n, nil
}

// packet makes a request or a response of the packet in d.pkt.
func (d *mqttDriver) packet(c *Conn, s *mqttConn, in *input) {
	m := &d.pkt
	if ofMQTTClient(m.Type) && in.server || ofMQTTServer(m.Type) && !in.server {
		d.t.m.WrongSide++
		return
	}
	switch m.Type {
	case mqtt.Connect:
		s.level = m.Level
		s.client = d.t.text(m.ClientID, d.t.o.MaxText)
		d.push(c, in, d.request(c, s, in))
	case mqtt.Subscribe, mqtt.Unsubscribe, mqtt.Pingreq, mqtt.Pubrel:
		d.push(c, in, d.request(c, s, in))
	case mqtt.Publish:
		d.publish(c, s, in)
	case mqtt.Connack:
		if pd := c.take(keyMQTT(mqtt.Auth, false, 0)); pd != nil {
			d.response(c, s, in, pd)
		}
		d.response(c, s, in, c.take(keyMQTT(mqtt.Connect, false, 0)))
	case mqtt.Suback:
		d.answer(c, s, in, mqtt.Subscribe)
	case mqtt.Unsuback:
		d.answer(c, s, in, mqtt.Unsubscribe)
	case mqtt.Pingresp:
		d.answer(c, s, in, mqtt.Pingreq)
	case mqtt.Puback, mqtt.Pubrec:
		d.answer(c, s, in, mqtt.Publish)
	case mqtt.Pubcomp:
		d.answer(c, s, in, mqtt.Pubrel)
	case mqtt.Disconnect:
		pd := d.request(c, s, in)
		d.code(&pd.ex)
		c.oneWay(pd)
	case mqtt.Auth:
		d.auth(c, s, in)
	}
}

// ofMQTTClient says whether only clients send packets of the type.
func ofMQTTClient(t mqtt.Type) bool {
	return t == mqtt.Connect || t == mqtt.Subscribe || t == mqtt.Unsubscribe || t == mqtt.Pingreq
}

// ofMQTTServer says whether only servers send packets of the type.
func ofMQTTServer(t mqtt.Type) bool {
	return t == mqtt.Connack || t == mqtt.Suback || t == mqtt.Unsuback || t == mqtt.Pingresp
}

// keyMQTT is how a request is known by its answer.
func keyMQTT(t mqtt.Type, server bool, id uint16) uint64 {
	key := uint64(t)<<32 | uint64(id)
	if server {
		key |= 1 << 31
	}
	return key
}

// request begins the request in d.pkt.
func (d *mqttDriver) request(c *Conn, s *mqttConn, in *input) *pending {
	m := &d.pkt
	pd := c.newPending(in)
	pd.ex.RequestBytes = int64(m.Size)
	pd.ex.ServerInitiated = in.server
	d.fill(&pd.ex, s, m.Type)
	if m.ID > 0 {
		pd.ex.RequestID = int64(m.ID)
	}
	t := d.t
	t.scratch = t.scratch[:0]
	m.Topics(func(topic []byte) {
		if len(t.scratch) < t.o.MaxText {
			if len(t.scratch) > 0 {
				t.scratch = append(t.scratch, ',')
			}
			t.scratch = append(t.scratch, topic...)
		}
	})
	pd.ex.RequestResource = t.text(t.scratch, t.o.MaxText)
	pd.ex.Endpoint = pd.ex.RequestResource
	if m.Type == mqtt.Connect {
		t.attribute(&pd.ex, "mqtt_user", m.User)
		t.attribute(&pd.ex, "mqtt_will_topic", m.WillTopic)
	}
	d.properties(&pd.ex)
	return pd
}

// fill fills in what is known of a request of the type without having seen it.
func (d *mqttDriver) fill(ex *Exchange, s *mqttConn, t mqtt.Type) {
	ex.RequestType = t.String()
	ex.RequestDomain = s.client
	switch s.level {
	case mqtt.Level31:
		ex.Version = "3.1"
	case mqtt.Level311:
		ex.Version = "3.1.1"
	case mqtt.Level5:
		ex.Version = "5.0"
	}
}

// properties takes trace context and other things worth keeping from the properties in d.pkt.
func (d *mqttDriver) properties(ex *Exchange) {
	t := d.t
	var p mqtt.Property
	for ps := d.pkt.Properties(); ps.Next(&p); {
		switch p.ID {
		case mqtt.PropUser:
			t.contextField(ex, p.Key, p.Value)
		case mqtt.PropContentType:
			t.attribute(ex, "mqtt_content_type", p.Value)
		case mqtt.PropResponseTopic:
			t.attribute(ex, "mqtt_response_topic", p.Value)
		}
	}
}

// push makes a request wait for its answer. One that is sent again waits already.
func (d *mqttDriver) push(c *Conn, in *input, pd *pending) {
	pd.key = keyMQTT(d.pkt.Type, in.server, d.pkt.ID)
	if d.pkt.Type != mqtt.Connect && d.pkt.ID > 0 && c.find(pd.key) != nil {
		d.t.m.Duplicates++
		c.drop(pd)
		return
	}
	c.push(pd)
}

// publish reports a PUBLISH. Without quality of service nobody answers.
func (d *mqttDriver) publish(c *Conn, s *mqttConn, in *input) {
	m := &d.pkt
	pd := d.request(c, s, in)
	ex := &pd.ex
	ex.RequestResource = d.topic(s, in.server)
	ex.Endpoint = ex.RequestResource
	d.t.attribute(ex, "mqtt_qos", [][]byte{{'0'}, {'1'}, {'2'}, nil}[m.QoS])
	if m.Retain {
		d.t.attribute(ex, "mqtt_retain", []byte("true"))
	}
	if m.QoS > 0 {
		d.push(c, in, pd)
		return
	}
	ex.Status = StatusOK
	c.oneWay(pd)
}

// topic returns the topic of the PUBLISH in d.pkt, which may be an alias (MQTT 5.0 §3.3.2.3.4).
func (d *mqttDriver) topic(s *mqttConn, server bool) string {
	m := &d.pkt
	topic := d.t.text(m.Topic, d.t.o.MaxText)
	number := uint16(0)
	var p mqtt.Property
	for ps := m.Properties(); ps.Next(&p); {
		if p.ID == mqtt.PropTopicAlias {
			number = uint16(p.Number)
		}
	}
	if number == 0 {
		return topic
	}
	for i := range s.aliases {
		if a := &s.aliases[i]; a.server == server && a.number == number {
			if topic != "" {
				a.topic = topic
			}
			return a.topic
		}
	}
	if topic != "" && len(s.aliases) < maxAliases {
		s.aliases = append(s.aliases, mqttAlias{server, number, topic})
	}
	return topic
}

// answer reports the packet in d.pkt as the answer to the other side's request of the given type with the same identifier.
func (d *mqttDriver) answer(c *Conn, s *mqttConn, in *input, request mqtt.Type) {
	pd := c.take(keyMQTT(request, !in.server, d.pkt.ID))
	if pd == nil && !in.server { // of something that was not seen
		d.t.m.Unpaired++
		return
	}
	d.response(c, s, in, pd)
}

// response reports the packet in d.pkt as the answer to pd, nil when that was not seen.
func (d *mqttDriver) response(c *Conn, s *mqttConn, in *input, pd *pending) {
	m := &d.pkt
	ex := c.answer(pd, in)
	if pd == nil {
		d.fill(ex, s, requestMQTT(m.Type))
		if m.ID > 0 {
			ex.RequestID = int64(m.ID)
		}
	}
	ex.ResponseBytes = int64(m.Size)
	d.code(ex)
	var p mqtt.Property
	for ps := m.Properties(); ps.Next(&p); {
		if p.ID == mqtt.PropAssignedClient && m.Type == mqtt.Connack {
			s.client = d.t.text(p.Value, d.t.o.MaxText)
			ex.RequestDomain = s.client
		}
	}
	c.finish(pd, ex)
}

// requestMQTT is the type of the packet that one of the given type answers. PUBACK and PUBREC answer PUBLISH.
func requestMQTT(t mqtt.Type) mqtt.Type {
	if t == mqtt.Pubrec {
		return mqtt.Publish
	}
	return t - 1
}

// code fills in the status from the code in d.pkt.
func (d *mqttDriver) code(ex *Exchange) {
	t, m := d.t, &d.pkt
	ex.Status = StatusOK
	reason := mqtt.Reason(m.Type, m.Code)
	if m.Code >= 0 && (m.Type == mqtt.Connack || reason != "" || m.Type == mqtt.Disconnect && m.Code > 0) {
		ex.ResponseCode = int64(m.Code)
	}
	if reason == "" {
		return
	}
	ex.Status = StatusClientError
	if mqtt.ServerFault(m.Type, m.Code) {
		ex.Status = StatusServerError
	}
	ex.ResponseException = reason
	var p mqtt.Property
	for ps := m.Properties(); ps.Next(&p); {
		if p.ID == mqtt.PropReason && len(p.Value) > 0 {
			t.scratch = append(append(append(t.scratch[:0], reason...), ": "...), p.Value...)
			ex.ResponseException = t.text(t.scratch, t.o.MaxText)
		}
	}
}

// auth reports the AUTH in d.pkt: the client's is a request, the server's the answer to it, or a part of the way from CONNECT
// to CONNACK (MQTT 5.0 §4.12).
func (d *mqttDriver) auth(c *Conn, s *mqttConn, in *input) {
	if !in.server {
		d.push(c, in, d.request(c, s, in))
		return
	}
	if pd := c.take(keyMQTT(mqtt.Auth, false, 0)); pd != nil {
		d.response(c, s, in, pd)
	}
}

package l7

import (
	"encoding/hex"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/kafka"
)

const (
	kafkaWant  = 4 << 10 // bytes of a message that are waited for: its head, and the head of its first records
	kafkaNames = 4096    // topic ids whose names a Tracker remembers
)

// kafkaDriver speaks Kafka's protocol. pending.aux is the call's version, and its key above it.
type kafkaDriver struct {
	t     *Tracker
	req   kafka.Request
	rsp   kafka.Response
	batch kafka.Batch
	// names of topics by id, told by Metadata responses: newer calls name topics by id only.
	names map[[16]byte]string
}

func newKafkaDriver(t *Tracker) driver { return &kafkaDriver{t: t, names: map[[16]byte]string{}} }

func (d *kafkaDriver) check(c *Conn, in *input, hint bool) shape {
	if c.Proto == Unknown || !in.server {
		return shape(kafka.CheckRequest(in.p, hint))
	}
	id, ok := kafka.Correlation(in.p)
	switch n := kafka.Size(in.p); {
	case n < 0:
		return shapeNo
	case !ok:
		return shapeMaybe
	case c.find(uint64(uint32(id))) == nil:
		return shapeNo
	}
	return shapeResponse
}

func (d *kafkaDriver) step(c *Conn, in *input) (int, error) {
	n := kafka.Size(in.p)
	switch {
	case n < 0:
		return 0, kafka.ErrMalformed
	case n == 0:
		return 0, nil
	case !c.enough(in, min(n, kafkaWant)):
		return 0, nil
	case in.server:
		return d.response(c, in)
	}
	return d.request(c, in)
}

func (d *kafkaDriver) request(c *Conn, in *input) (int, error) {
	n, err := kafka.ParseRequest(in.p, &d.req)
	if err != nil {
		return 0, err
	}
	t, m := d.t, &d.req
	pd := c.newPending(in)
	pd.key, pd.aux = uint64(uint32(m.Correlation)), uint64(uint16(m.API))<<16|uint64(uint16(m.Version))
	ex := &pd.ex
	ex.RequestType, ex.RequestID, ex.RequestBytes = m.API.String(), int64(m.Correlation), int64(n)
	t.scratch = strconv.AppendInt(t.scratch[:0], int64(m.Version), 10)
	ex.Version = t.text(t.scratch, t.o.MaxText)
	d.place(ex, m.Topic, m.TopicID, m.Partition, m.Offset)
	t.attribute(ex, "client_id", m.ClientID)
	t.attribute(ex, "group", m.Group)
	t.attribute(ex, "sasl_mechanism", m.Mechanism)
	t.attribute(ex, "client_software", m.Software)
	t.attribute(ex, "client_software_version", m.SoftwareVersion)
	d.records(ex, m.Records)
	if m.NoResponse {
		c.oneWay(pd)
	} else {
		c.push(pd)
	}
	return n, nil
}

func (d *kafkaDriver) response(c *Conn, in *input) (int, error) {
	id, _ := kafka.Correlation(in.p)
	pd := c.take(uint64(uint32(id)))
	api, version := kafka.API(-1), int16(0)
	if pd != nil {
		api, version = kafka.API(pd.aux>>16), int16(uint16(pd.aux))
	}
	m := &d.rsp
	n, err := kafka.ParseResponse(in.p, api, version, m)
	if err != nil {
		if pd != nil {
			c.push(pd)
		}
		return 0, err
	}
	ex := c.answer(pd, in)
	ex.RequestID, ex.ResponseBytes = int64(m.Correlation), int64(n)
	if ex.Status = StatusUnknown; pd != nil {
		ex.Status = StatusOK
	}
	if m.HasCode {
		if ex.ResponseCode = int64(m.Code); m.Code != 0 {
			ex.Status, ex.ResponseException = StatusServerError, kafka.CodeString(m.Code)
		}
	}
	for i := range m.Names {
		d.learn(&m.Names[i])
	}
	if ex.Endpoint == "" || api == kafka.Produce { // only now is the offset known
		d.place(ex, m.Topic, m.TopicID, m.Partition, m.Offset)
	}
	d.records(ex, m.Records)
	c.finish(pd, ex)
	return n, nil
}

// learn remembers the name of a topic.
func (d *kafkaDriver) learn(n *kafka.TopicName) {
	id := [16]byte(n.ID)
	if d.names[id] == string(n.Name) {
		return
	}
	if len(d.names) >= kafkaNames {
		clear(d.names)
	}
	d.names[id] = d.t.text(n.Name, d.t.o.MaxText)
}

// place fills in the topic, partition and offset, as far as they are known.
func (d *kafkaDriver) place(ex *Exchange, topic, id []byte, partition int32, offset int64) {
	t := d.t
	switch {
	case topic != nil:
		ex.RequestDomain = t.text(topic, t.o.MaxText)
	case id != nil:
		if ex.RequestDomain = d.names[[16]byte(id)]; ex.RequestDomain == "" {
			t.scratch = hex.AppendEncode(t.scratch[:0], id)
			ex.RequestDomain = t.text(t.scratch, t.o.MaxText)
		}
	default:
		return
	}
	if partition < 0 {
		ex.RequestResource, ex.Endpoint = ex.RequestDomain, ex.RequestDomain
		return
	}
	t.scratch = append(append(t.scratch[:0], ex.RequestDomain...), '-')
	t.scratch = strconv.AppendInt(t.scratch, int64(partition), 10)
	ex.Endpoint = t.text(t.scratch, t.o.MaxText)
	if offset >= 0 {
		t.scratch = strconv.AppendInt(append(t.scratch, ':'), offset, 10)
		ex.RequestResource = t.once(t.scratch, t.o.MaxText)
	} else {
		ex.RequestResource = ex.Endpoint
	}
}

// records takes what the first batch of records says: how many there are, and the trace context of the first.
func (d *kafkaDriver) records(ex *Exchange, p []byte) {
	if p == nil || !kafka.ParseBatch(p, &d.batch) {
		return
	}
	t := d.t
	t.scratch = strconv.AppendInt(t.scratch[:0], int64(d.batch.Records), 10)
	t.attribute(ex, "records", t.scratch)
	d.batch.Headers(func(key, value []byte) bool {
		t.contextField(ex, key, value)
		return true
	})
}

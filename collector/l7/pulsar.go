package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/pulsar"
)

const (
	pulsarWant = 2 << 10 // bytes of a message's metadata that are waited for
	pulsarIDs  = 1024    // producers, and consumers, that are remembered of a connection
)

// Keys of requests: most have a number, messages that of their producer and their own, Connect none.
const (
	pulsarSend    = 1 << 63
	pulsarConnect = 1 << 62
)

// pulsarDriver speaks Pulsar's binary protocol.
type pulsarDriver struct {
	t *Tracker
	f pulsar.Frame
}

// pulsarConn is what is remembered of a connection: which topics its producers and consumers are of.
type pulsarConn struct{ producers, consumers map[uint64]string }

func newPulsarDriver(t *Tracker) driver { return &pulsarDriver{t: t} }

func (d *pulsarDriver) check(c *Conn, in *input, hint bool) shape {
	if !hint && len(in.p) < pulsar.Prefix { // clients write the lengths at once
		return shapeNo
	}
	return shape(pulsar.Check(in.p))
}

func (d *pulsarDriver) step(c *Conn, in *input) (int, error) {
	n := pulsar.Size(in.p)
	switch {
	case n < 0:
		return 0, pulsar.ErrMalformed
	case len(in.p) < pulsar.Prefix:
		return 0, nil
	case !c.enough(in, min(n, pulsar.CommandEnd(in.p)+pulsarWant)):
		return 0, nil
	}
	n, err := pulsar.Parse(in.p, &d.f)
	if errors.Is(err, pulsar.ErrShort) {
		err = pulsar.ErrMalformed // there will be no more
	}
	if err != nil {
		return 0, err
	}
	s, _ := c.state.(*pulsarConn)
	if s == nil {
		s = &pulsarConn{map[uint64]string{}, map[uint64]string{}}
		c.state = s
	}
	switch f := &d.f; {
	case f.Type.Delivered() || in.server && (f.Type == pulsar.CloseProducer || f.Type == pulsar.CloseConsumer):
		d.delivered(c, s, in, n)
	case !in.server:
		d.request(c, s, in, n)
	default:
		d.response(c, in, n)
	}
	return n, nil
}

// key is by what f is paired; ok that it is paired at all.
func (d *pulsarDriver) key() (key uint64, ok bool) {
	switch f := &d.f; {
	case f.Type == pulsar.Connect || f.Type == pulsar.Connected || f.Type == pulsar.Error && f.RequestID == pulsar.None:
		return pulsarConnect, true
	case f.Type == pulsar.Send || f.Type == pulsar.SendReceipt || f.Type == pulsar.SendError:
		return pulsarSend | (f.Producer<<40^f.Sequence)&^pulsarSend, f.Sequence != pulsar.None
	default:
		return f.RequestID &^ (pulsarSend | pulsarConnect), f.RequestID != pulsar.None
	}
}

// request handles a command of the client. Permits, keep-alives and acknowledgements that nobody answers make no rows.
func (d *pulsarDriver) request(c *Conn, s *pulsarConn, in *input, n int) {
	f := &d.f
	key, paired := d.key()
	if !paired {
		return
	}
	pd := c.newPending(in)
	pd.key = key
	ex := &pd.ex
	ex.RequestBytes = int64(n)
	d.describe(ex, s)
	switch f.Type {
	case pulsar.Producer:
		remember(s.producers, f.Producer, ex.RequestDomain)
	case pulsar.Subscribe:
		remember(s.consumers, f.Consumer, ex.RequestDomain)
	}
	c.push(pd)
}

func remember(ids map[uint64]string, id uint64, topic string) {
	if len(ids) < pulsarIDs {
		ids[id] = topic
	}
}

// describe fills in what d.f says of a request.
func (d *pulsarDriver) describe(ex *Exchange, s *pulsarConn) {
	t, f := d.t, &d.f
	ex.RequestType = f.Type.String()
	if f.RequestID != pulsar.None {
		ex.RequestID = int64(f.RequestID &^ (1 << 63))
	} else if f.Sequence != pulsar.None {
		ex.RequestID = int64(f.Sequence &^ (1 << 63))
	}
	switch {
	case f.Topic != nil:
		ex.RequestDomain = t.text(f.Topic, t.o.MaxText)
	case f.Producer != pulsar.None:
		ex.RequestDomain = s.producers[f.Producer]
	case f.Consumer != pulsar.None:
		ex.RequestDomain = s.consumers[f.Consumer]
	}
	ex.RequestResource, ex.Endpoint = ex.RequestDomain, ex.RequestDomain
	d.place(ex)
	if f.Version != pulsar.None {
		t.scratch = strconv.AppendUint(t.scratch[:0], f.Version, 10)
		ex.Version = t.text(t.scratch, t.o.MaxText)
	}
	t.attribute(ex, "client_software", f.Software)
	t.attribute(ex, "subscription", f.Subscription)
	if f.Messages > 1 {
		t.scratch = strconv.AppendUint(t.scratch[:0], f.Messages, 10)
		t.attribute(ex, "messages", t.scratch)
	}
	pulsar.Properties(f.Metadata, func(key, value []byte) bool {
		t.contextField(ex, key, value)
		return true
	})
}

// place puts a message's ledger and entry behind the topic.
func (d *pulsarDriver) place(ex *Exchange) {
	t, f := d.t, &d.f
	if f.Ledger == pulsar.None || f.Entry == pulsar.None || ex.RequestDomain == "" {
		return
	}
	t.scratch = append(append(t.scratch[:0], ex.RequestDomain...), ':')
	t.scratch = strconv.AppendUint(t.scratch, f.Ledger, 10)
	t.scratch = strconv.AppendUint(append(t.scratch, ':'), f.Entry, 10)
	ex.RequestResource = t.once(t.scratch, t.o.MaxText)
}

// delivered handles what the server sends unasked.
func (d *pulsarDriver) delivered(c *Conn, s *pulsarConn, in *input, n int) {
	pd := c.newPending(in)
	ex := &pd.ex
	ex.ServerInitiated, ex.Status, ex.RequestBytes = true, StatusOK, int64(n)
	d.describe(ex, s)
	c.oneWay(pd)
}

func (d *pulsarDriver) response(c *Conn, in *input, n int) {
	t, f := d.t, &d.f
	key, paired := d.key()
	if !paired { // a keep-alive
		return
	}
	pd := c.take(key)
	ex := c.answer(pd, in)
	ex.ResponseBytes, ex.Status, ex.ResponseResult = int64(n), StatusOK, f.Type.String()
	if f.Failed {
		ex.Status, ex.ResponseCode = StatusServerError, int64(min(f.Error, 1<<31))
		if pulsar.ClientError(f.Error) {
			ex.Status = StatusClientError
		}
		ex.ResponseException = pulsar.ErrorName(f.Error)
		if f.Message != nil {
			t.scratch = append(append(append(t.scratch[:0], ex.ResponseException...), ": "...), f.Message...)
			ex.ResponseException = t.text(t.scratch, t.o.MaxText)
		}
	}
	t.attribute(ex, "server_software", f.Software)
	d.place(ex)
	c.finish(pd, ex)
}

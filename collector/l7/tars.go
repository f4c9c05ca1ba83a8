package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/tars"
)

// tarsDriver speaks TARS.
type tarsDriver struct {
	t   *Tracker
	msg tars.Message
}

func newTarsDriver(t *Tracker) driver { return &tarsDriver{t: t} }

func (d *tarsDriver) check(c *Conn, in *input, _ bool) shape { return c.rpcShape(tars.Check(in.p)) }

func (d *tarsDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	n, err := tars.Parse(in.p, m)
	if errors.Is(err, tars.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if isOK := !m.Request && m.Code == tars.Success; !isOK && !c.enough(in, n) { // what is wanted comes last
		return 0, nil
	}
	if m.Request && !(m.TUP() && d.isAnswer(c, in)) {
		d.request(c, in)
	} else {
		d.response(c, in)
	}
	return n, nil
}

// isAnswer says whether a message of TUP, which says what is called either way, answers a call.
func (d *tarsDriver) isAnswer(c *Conn, in *input) bool {
	for pd := c.first; pd != nil; pd = pd.next {
		if pd.key == uint64(d.msg.ID) && pd.ex.ServerInitiated != in.server {
			return true
		}
	}
	return in.server && c.note == directed
}

func (d *tarsDriver) request(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.asks(in)
	pd := c.newPending(in)
	ex := &pd.ex
	t.setCall(ex, m.Servant, m.Function)
	ex.Version = tarsVersions[m.Version]
	ex.RequestID, ex.RequestBytes = int64(m.ID), int64(m.Size)
	for p := m.Pairs(); p.Next(); {
		t.contextField(ex, p.Key, p.Value)
	}
	c.call(in, pd, uint64(m.ID), m.OneWay)
}

var tarsVersions = [...]string{1: "1", 2: "2", 3: "3"}

func (d *tarsDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	pd, ex, ok := c.reply(in, uint64(m.ID))
	if !ok {
		return
	}
	code, text := m.Code, m.Description
	if m.Request { // TUP has the result in the status
		if pd == nil {
			t.setCall(ex, m.Servant, m.Function)
		}
		for p := m.Pairs(); p.Next(); {
			switch string(p.Key) {
			case "STATUS_RESULT_CODE":
				n, _ := strconv.ParseInt(string(p.Value), 10, 32)
				code = tars.Code(n)
			case "STATUS_RESULT_DESC":
				text = p.Value
			}
		}
	}
	ex.RequestID, ex.ResponseBytes = int64(m.ID), int64(m.Size)
	ex.ResponseCode, ex.Status = int64(code), tarsStatus(code)
	if code != tars.Success {
		t.setException(ex, []byte(code.String()), text)
	}
	c.finish(pd, ex)
}

// tarsStatus: what the client's own framework reports is the client's error, everything else the server's.
func tarsStatus(code tars.Code) Status {
	switch code {
	case tars.Success:
		return StatusOK
	case tars.AdapterNull, tars.InvokeByInvalidSet, tars.ClientDecodeError:
		return StatusClientError
	}
	return StatusServerError
}

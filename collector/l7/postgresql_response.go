package l7

import "github.com/flowlake/flowlake/collector/l7/postgresql"

// fromServer handles a message of the server.
func (d *pgDriver) fromServer(c *Conn, st *pgState, in *input, typ byte, body []byte, whole int) error {
	if c.first != nil && c.first.begun && typ != postgresql.ReadyForQuery {
		st.received += int64(whole)
	}
	switch typ {
	case postgresql.NoticeResponse, postgresql.BackendKey, postgresql.Negotiate:
		return nil
	case postgresql.ParameterStatus:
		name, value := postgresql.ParseParameter(body)
		if pd := c.first; pd != nil && pd.aux == pgStartup && string(name) == "server_version" {
			d.t.attribute(&pd.ex, "server_version", value)
		}
		return nil
	case postgresql.Notification:
		d.notification(c, st, in, body, whole)
		return nil
	case postgresql.ReadyForQuery:
		d.ready(c, st, in, whole)
		return nil
	case postgresql.Authentication:
		if code, err := postgresql.ParseAuthentication(body); err != nil || code != 0 {
			return err // the login goes on
		}
	}
	pd := d.turn(c, st, in, typ)
	if pd == nil {
		d.unpaired(c, st, in, typ, body, whole)
		return nil
	}
	if !pd.begun {
		st.received = int64(whole)
		st.rows = 0
	}
	d.part(c, st, pd, c.begin(pd, in), typ, body)
	return nil
}

// part handles a message of the response to pd.
func (d *pgDriver) part(c *Conn, st *pgState, pd *pending, ex *Exchange, typ byte, body []byte) {
	switch typ {
	case postgresql.ErrorResponse:
		d.failed(ex, body)
		d.finish(c, st, pd)
	case postgresql.CommandComplete:
		d.complete(ex, body)
		if pd.aux == pgExecute {
			d.finish(c, st, pd)
		}
	case postgresql.EmptyQuery:
		ex.Status = StatusOK
		if pd.aux == pgExecute {
			d.finish(c, st, pd)
		}
	case postgresql.PortalSuspended:
		ex.Status, ex.AffectedRows = StatusOK, st.rows
		d.finish(c, st, pd)
	case postgresql.ParseComplete:
		if pd.aux == pgPrepare {
			ex.Status = StatusOK
			d.finish(c, st, pd)
		}
	case postgresql.CopyBoth: // replication has no end
		ex.Status = StatusOK
		d.finish(c, st, pd)
	case postgresql.CopyIn, postgresql.CopyOut, postgresql.FunctionResponse, postgresql.Authentication:
		ex.Status = StatusOK
	}
}

// begins says whether a message comes at the beginning of a response only.
func begins(typ byte) bool {
	switch typ {
	case postgresql.ParseComplete, postgresql.BindComplete, postgresql.RowDescription, postgresql.CopyIn, postgresql.CopyOut,
		postgresql.CopyBoth, postgresql.Authentication:
		return true
	}
	return false
}

// turn is the request that a message of the server belongs to; nil when it was not seen.
func (d *pgDriver) turn(c *Conn, st *pgState, in *input, typ byte) *pending {
	if c.uncertain || c.unseen {
		shared := c.sharesGroup()
		c.settle()
		if c.first != nil && (shared || begins(typ) && c.first.begun) {
			c.giveUp(c.first)
		}
		st.done = st.group
		if c.first != nil {
			if c.first.ex.StartNanos > in.atNanos { // what waited behind a hole is older
				c.uncertain = true
				return nil
			}
			st.done = c.first.key
		}
	}
	pd := c.first
	if pd != nil && pd.aux == pgStartup && !pd.begun && typ != postgresql.Authentication && typ != postgresql.ErrorResponse {
		c.giveUp(pd) // the end of the login was not seen
		st.done = max(st.done, pd.key+1)
		pd = c.first
	}
	if c.owed > 0 || pd == nil || pd.key != st.done || st.shaky && !pd.begun && !begins(typ) {
		return nil
	}
	return pd
}

// sharesGroup says whether several requests of the last group wait: which of them a response is for, cannot be told behind a
// hole.
func (c *Conn) sharesGroup() bool {
	for pd := c.first; pd != nil && pd != c.last; pd = pd.next {
		if pd.key == c.last.key {
			return true
		}
	}
	return false
}

// finish ends the response to pd.
func (d *pgDriver) finish(c *Conn, st *pgState, pd *pending) {
	pd.ex.ResponseBytes = st.received
	c.unlink(pd)
	c.finish(pd, &pd.ex)
}

// ready handles the end of a group: its requests are answered, or will not be.
func (d *pgDriver) ready(c *Conn, st *pgState, in *input, whole int) {
	d.turn(c, st, in, postgresql.ReadyForQuery)
	st.shaky = false
	for c.first != nil && c.first.key == st.done && c.first.ex.StartNanos <= in.atNanos {
		pd := c.first
		if !pd.begun { // skipped behind an error
			c.giveUp(pd)
			continue
		}
		st.received += int64(whole)
		if pd.ex.Status == StatusUnknown {
			pd.ex.Status = StatusOK
		}
		d.finish(c, st, pd)
	}
	if st.done < st.group {
		st.done++
	}
	if c.first == nil || c.first.key == st.done {
		c.owed = 0
	}
}

// unpaired handles a message whose request was not seen: it is reported when it ends a response.
func (d *pgDriver) unpaired(c *Conn, st *pgState, in *input, typ byte, body []byte, whole int) {
	switch typ {
	case postgresql.ErrorResponse, postgresql.CommandComplete, postgresql.EmptyQuery, postgresql.PortalSuspended:
	default:
		return
	}
	if c.owed > 0 { // of one that was given up
		c.owed--
		return
	}
	ex := c.answer(nil, in)
	ex.RequestDomain = st.db
	switch typ {
	case postgresql.ErrorResponse:
		d.failed(ex, body)
	case postgresql.CommandComplete:
		d.complete(ex, body)
	default:
		ex.Status = StatusOK
	}
	c.finish(nil, ex)
}

// complete handles a CommandComplete.
func (d *pgDriver) complete(ex *Exchange, body []byte) {
	tag, rows := postgresql.ParseTag(body)
	ex.Status = StatusOK
	ex.ResponseResult = d.t.text(tag, d.t.o.MaxText)
	if rows >= 0 {
		ex.AffectedRows = max(ex.AffectedRows, 0) + rows
	}
}

// failed handles an ErrorResponse.
func (d *pgDriver) failed(ex *Exchange, body []byte) {
	m := &d.err
	ex.Status = StatusServerError
	if postgresql.ParseError(body, m) != nil {
		return
	}
	if m.ClientFault() {
		ex.Status = StatusClientError
	}
	ex.ResponseException = d.sql.message(m.Message, m.Repeats(), '"')
	d.t.attribute(ex, "sqlstate", m.State)
}

// notification handles what another client has sent to those that listen.
func (d *pgDriver) notification(c *Conn, st *pgState, in *input, body []byte, whole int) {
	ex := c.answer(nil, in)
	ex.RequestType, ex.RequestDomain, ex.ServerInitiated = "NOTIFY", st.db, true
	ex.RequestResource = d.t.text(postgresql.ParseNotification(body), d.t.o.MaxText)
	ex.ResponseBytes, ex.Status = int64(whole), StatusOK
	c.finish(nil, ex)
}

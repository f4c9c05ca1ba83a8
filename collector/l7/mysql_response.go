package l7

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/mysql"
)

// errPlace is returned when the packets of the server do not follow each other.
var errPlace = errors.New("the number of a packet is not the next one")

// fromServer reads a packet of the server that is neither a definition nor a row.
func (d *mysqlDriver) fromServer(c *Conn, st *mysqlState, in *input, p []byte, cut bool) (int, error) {
	size, seq := mysql.Header(p)
	whole := mysql.HeaderLen + size
	if size == 0 || st.phase == mysqlStream || st.phase == mysqlIdle && seq > 1 && !(st.progress && seq == st.seq+1) {
		return whole, nil
	}
	if len(p) < whole && !cut {
		return 0, nil
	}
	if len(p) == mysql.HeaderLen {
		return whole, nil
	}
	body := p[mysql.HeaderLen:min(whole, len(p))]
	if seq == 0 && (st.phase == mysqlIdle || st.phase == mysqlAuth) {
		return whole, d.greet(c, st, in, body, whole)
	}
	st.seq = seq
	if st.progress = mysql.IsProgress(body); st.progress {
		return whole, nil
	}
	switch st.phase {
	case mysqlNext, mysqlInfile:
		st.bytes += int64(whole)
		ex := &d.lost
		if pd := current(c, st); pd != nil {
			ex = &pd.ex
		}
		d.result(st, ex, mysql.ComQuery, body)
	default:
		if st.phase == mysqlAuth && (body[0] == mysql.EOFByte || body[0] == mysql.MoreByte) {
			return whole, nil // the login goes on
		}
		d.began = true
		for st.phase == mysqlIdle && c.first != nil && c.first.aux == mysqlLogin { // the end of the login was not seen
			c.giveUp(c.first)
		}
		pd := c.waitingAt(in.atNanos)
		st.rows, st.bytes, st.paired = 0, int64(whole), pd != nil
		if pd == nil {
			ex := c.answer(nil, in)
			ex.RequestDomain = st.db
			d.result(st, ex, mysql.ComQuery, body)
			if st.phase == mysqlIdle {
				ex.ResponseBytes = st.bytes
			}
			c.finish(nil, ex)
			return whole, nil
		}
		ex := c.begin(pd, in)
		if pd.aux == mysqlLogin {
			d.loginResult(c, st, ex, body)
		} else {
			d.result(st, ex, mysql.Command(pd.aux), body)
		}
	}
	if st.phase == mysqlIdle || st.phase == mysqlTail || st.phase == mysqlStream {
		d.close(c, st)
	}
	return whole, nil
}

// waitingAt is the request, which waits on, that a response beginning at atNanos belongs to, for protocols whose responses
// come in order and in several messages; nil when it was not seen.
func (c *Conn) waitingAt(atNanos int64) *pending {
	hole := c.uncertain
	c.settle()
	if c.first != nil && c.first.begun { // the end of the response before was not seen
		c.giveUp(c.first)
	}
	switch {
	case c.owed > 0:
		c.owed--
		return nil
	case hole && c.first != nil && c.first.ex.StartNanos > atNanos: // what waited behind a hole is older
		return nil
	}
	return c.first
}

// current is the request whose response is in progress; nil when it has been given up.
func current(c *Conn, st *mysqlState) *pending {
	if st.paired && c.first != nil && c.first.begun {
		return c.first
	}
	return nil
}

// close ends the response in progress.
func (d *mysqlDriver) close(c *Conn, st *mysqlState) {
	pd := current(c, st)
	switch {
	case pd != nil:
		pd.ex.ResponseBytes = st.bytes
		c.unlink(pd)
		c.finish(pd, &pd.ex)
	case st.paired && c.owed > 0:
		c.owed--
	}
	st.paired = false
}

// greet handles the first packet of a connection: a greeting, or a refusal.
func (d *mysqlDriver) greet(c *Conn, st *mysqlState, in *input, body []byte, whole int) error {
	if body[0] == mysql.ErrByte {
		ex := c.answer(nil, in)
		ex.RequestType, ex.ResponseBytes = "LOGIN", int64(whole)
		d.failed(st, ex, body)
		c.finish(nil, ex)
		return nil
	}
	if err := mysql.ParseGreeting(body, &d.greeting); err != nil {
		return err
	}
	st.greeted = true
	st.version = d.t.text(d.greeting.Version, d.t.o.MaxAttribute)
	st.serverCaps = d.greeting.Caps
	return nil
}

// loginResult handles the end of a login.
func (d *mysqlDriver) loginResult(c *Conn, st *mysqlState, ex *Exchange, body []byte) {
	st.phase = mysqlIdle
	if body[0] != mysql.OKByte {
		d.failed(st, ex, body)
		return
	}
	ex.Status, ex.ResponseCode = StatusOK, 0
	st.compress = st.caps&(mysql.CapCompress|mysql.CapZstd) != 0
}

// result handles the first packet of a response, or of a further result in it.
func (d *mysqlDriver) result(st *mysqlState, ex *Exchange, cmd mysql.Command, body []byte) {
	st.phase = mysqlIdle
	ex.Status, ex.ResponseCode = StatusOK, 0
	switch cmd {
	case mysql.ComStatistics:
		return
	case mysql.ComStmtFetch, mysql.ComFieldList:
		if body[0] != mysql.ErrByte {
			d.firstRow(st, ex, cmd, body)
			return
		}
	case mysql.ComBinlogDump, mysql.ComBinlogDumpGTID:
		if body[0] == mysql.OKByte {
			st.phase = mysqlStream
			return
		}
	case mysql.ComStmtPrepare:
		if body[0] == mysql.OKByte {
			d.prepared(st, ex, body)
			return
		}
	case mysql.ComQuery:
		if body[0] == mysql.OKByte && ex.Kind == KindResponse && isPrepared(body) {
			d.prepared(st, ex, body)
			return
		}
	}
	switch b := body[0]; {
	case b == mysql.OKByte:
		d.okay(st, ex, body)
	case b == mysql.ErrByte:
		d.failed(st, ex, body)
	case b == mysql.EOFByte && len(body) <= eofLen:
		if status, err := mysql.ParseEOF(body); err == nil && status&mysql.StatusMoreResults != 0 {
			st.phase = mysqlNext
		}
	case b == mysql.InfileByte:
		st.phase = mysqlInfile
	default:
		n, defined, err := mysql.ParseColumns(body)
		if err != nil {
			ex.Status, ex.ResponseCode = StatusUnknown, -1
			return
		}
		st.phase, st.left, st.defined = mysqlColumns, n, true
		if !defined {
			st.phase, st.left = mysqlRows, 0
		}
	}
}

// firstRow handles a response that begins with rows.
func (d *mysqlDriver) firstRow(st *mysqlState, ex *Exchange, cmd mysql.Command, body []byte) {
	switch {
	case body[0] == mysql.EOFByte && len(body) <= eofLen:
	default:
		st.phase, st.defined = mysqlRows, false
		if cmd == mysql.ComStmtFetch {
			st.rows = 1
		}
	}
	if cmd == mysql.ComFieldList {
		st.rows = -1 << 62 // definitions are no rows
	}
	if st.phase == mysqlIdle {
		d.affected(ex, st.rows)
	}
}

// isPrepared says whether an OK packet whose command was not seen is that of a prepared statement: a byte of it is always 0
// that is text in others of its length.
func isPrepared(body []byte) bool {
	const filler = 9
	return len(body) == mysql.PreparedLen && body[filler] == 0
}

// prepared handles the answer to COM_STMT_PREPARE.
func (d *mysqlDriver) prepared(st *mysqlState, ex *Exchange, body []byte) {
	var m mysql.Prepared
	if mysql.ParsePrepared(body, &m) != nil {
		return
	}
	ex.RequestID = int64(m.ID)
	if ex.Kind == KindSession {
		var s sqlStatement
		s.remember(ex)
		s.params = int(m.Params)
		st.stmts.put(m.ID, s)
		st.last = m.ID
	}
	if st.left = int(m.Params) + int(m.Columns); st.left > 0 {
		st.phase = mysqlTail
	}
}

// okay handles an OK packet.
func (d *mysqlDriver) okay(st *mysqlState, ex *Exchange, body []byte) {
	m := &d.ok
	if mysql.ParseOK(body, m) != nil {
		return
	}
	d.affected(ex, int64(m.Affected))
	if len(m.Info) > 0 {
		ex.ResponseResult = d.t.text(m.Info, d.t.o.MaxText)
	}
	d.database(st, ex)
	if m.Status&mysql.StatusMoreResults != 0 {
		st.phase = mysqlNext
	}
}

// database keeps the database that the command in ex, which went well, has chosen.
func (d *mysqlDriver) database(st *mysqlState, ex *Exchange) {
	const use = "USE "
	switch {
	case len(d.ok.Schema) > 0:
		st.db = d.t.text(d.ok.Schema, d.t.o.MaxText)
	case ex.RequestType == "COM_INIT_DB":
		st.db = ex.RequestResource
	case len(ex.Endpoint) > len(use) && ex.Endpoint[:len(use)] == use:
		st.db = ex.Endpoint[len(use):]
	}
}

// affected adds rows to those of the results before.
func (d *mysqlDriver) affected(ex *Exchange, n int64) {
	if sum := max(ex.AffectedRows, 0) + n; n >= 0 && sum >= 0 {
		ex.AffectedRows = sum
	}
}

// failed handles an ERR packet.
func (d *mysqlDriver) failed(st *mysqlState, ex *Exchange, body []byte) {
	m := &d.err
	st.phase = mysqlIdle
	if mysql.ParseErr(body, m) != nil {
		ex.Status, ex.ResponseCode = StatusServerError, -1
		return
	}
	ex.Status = StatusServerError
	if m.ClientFault() {
		ex.Status = StatusClientError
	}
	ex.ResponseCode = int64(m.Code)
	ex.ResponseException = d.sql.message(m.Message, m.Repeats(), '\'')
	d.t.attribute(ex, "sqlstate", m.State)
}

// run reads definitions and rows, as many as there are in p: of rows the first byte.
func (d *mysqlDriver) run(c *Conn, st *mysqlState, in *input, p []byte, cut bool) (n int, err error) {
	if pd := current(c, st); pd != nil && pd.deadline-in.atNanos < d.t.timeouts[MySQL]/2 {
		c.touch(pd, in.atNanos)
	}
	for len(p)-n > mysql.HeaderLen && (st.phase == mysqlColumns || st.phase == mysqlTail || st.phase == mysqlRows) {
		size, seq := mysql.Header(p[n:])
		if seq != st.seq+1 {
			if n > 0 {
				return n, nil
			}
			return 0, errPlace
		}
		body := p[n+mysql.HeaderLen:]
		if st.phase == mysqlRows && isLast(body[0], size) {
			if len(body) < size && !cut {
				break
			}
			st.seq = seq
			st.bytes += int64(mysql.HeaderLen + size)
			if body = body[:min(size, len(body))]; !mysql.IsProgress(body) {
				d.endOfRows(c, st, body, size)
			}
		} else {
			st.seq = seq
			st.bytes += int64(mysql.HeaderLen + size)
			d.skipOne(st, body[0], size)
		}
		n += mysql.HeaderLen + size
		if size == mysql.MaxPayload {
			st.more[Server] = true
			break
		}
	}
	if n == 0 {
		return orNothing(p, cut), nil
	}
	return n, nil
}

// isLast says whether a packet ends the rows: a row that begins with these bytes is longer.
func isLast(b byte, size int) bool {
	return size > 0 && (b == mysql.ErrByte || b == mysql.EOFByte && size < mysql.MaxPayload)
}

// skipOne counts a definition or a row.
func (d *mysqlDriver) skipOne(st *mysqlState, b byte, size int) {
	switch st.phase {
	case mysqlColumns:
		if st.left--; st.left <= 0 {
			st.phase = mysqlRows
		}
	case mysqlTail:
		if b != mysql.EOFByte || size != eofLen {
			if st.left--; st.left <= 0 {
				st.phase = mysqlIdle // an EOF that may follow is passed over
			}
		}
	case mysqlRows:
		st.rows++
		st.defined = false
	}
}

// endOfRows handles the packet behind the rows, or behind the definitions of columns.
func (d *mysqlDriver) endOfRows(c *Conn, st *mysqlState, body []byte, size int) {
	ex := &d.lost
	if pd := current(c, st); pd != nil {
		ex = &pd.ex
	}
	status := uint16(0)
	switch {
	case body[0] == mysql.ErrByte:
		d.failed(st, ex, body)
		d.close(c, st)
		return
	case size <= eofLen:
		status, _ = mysql.ParseEOF(body)
		if st.defined && status&mysql.StatusCursorExists == 0 { // rows follow
			st.defined = false
			return
		}
	default: // CapDeprecateEOF
		if mysql.ParseOK(body, &d.ok) == nil {
			status = d.ok.Status
		}
	}
	d.affected(ex, st.rows)
	st.rows, st.defined = 0, false
	if status&mysql.StatusMoreResults != 0 {
		st.phase = mysqlNext
		return
	}
	st.phase = mysqlIdle
	d.close(c, st)
}

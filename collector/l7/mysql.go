package l7

import (
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/mysql"
	"github.com/flowlake/flowlake/collector/l7/sqltext"
)

// mysqlDriver speaks MySQL.
type mysqlDriver struct {
	t        *Tracker
	sql      sqlReader
	inflate  inflater
	join     []byte
	view     input
	began    bool     // a response has begun in the frame
	lost     Exchange // filled in for responses that nobody waits for any more
	req      mysql.Request
	ok       mysql.OK
	err      mysql.Err
	login    mysql.Login
	greeting mysql.Greeting
}

// mysqlPhase is what the server's next packet is.
type mysqlPhase uint8

const (
	mysqlIdle    mysqlPhase = iota // the first of a response; others belong to a response whose beginning was not seen
	mysqlAuth                      // part of a login
	mysqlNext                      // the first of a further result of the same response
	mysqlColumns                   // the definition of a column of a result
	mysqlTail                      // the definition of a parameter or column of a prepared statement
	mysqlRows                      // a row
	mysqlInfile                    // the end of a response whose statement makes the client send a file
	mysqlStream                    // an event of a binlog; there is no end
)

// mysqlState is what the driver knows of a connection.
type mysqlState struct {
	known      mysql.Known
	caps       uint32
	serverCaps uint32
	greeted    bool
	version    string // of the server
	db         string
	stmts      sqlStatements[uint32]
	last       uint32 // the statement prepared last

	phase    mysqlPhase
	seq      uint8   // number of the server's last packet
	progress bool    // it was a report on progress: the response is still to come
	paired   bool    // the response in progress was the oldest request's
	defined  bool    // the definitions of columns have been read, an EOF may follow
	left     int     // definitions to come
	rows     int64   // of the response in progress
	bytes    int64   // likewise
	more     [2]bool // by side: the next packet goes on with the last message
	compress bool
	inner    *[2]innerStream // by side, of a compressed connection
}

// mysqlLogin is the aux of a login; others have their command.
const mysqlLogin = 1 << 8

// minOK is the length of the shortest OK packet; an EOF packet has 5 bytes.
const minOK, eofLen = 7, 5

func newMySQLDriver(t *Tracker) driver {
	d := &mysqlDriver{t: t, sql: sqlReader{t: t}}
	resetExchange(&d.lost)
	return d
}

func (d *mysqlDriver) check(c *Conn, in *input, hint bool) shape {
	if c.Proto == MySQL {
		return d.again(c, in)
	}
	switch mysql.Check(in.p, hint) {
	case mysql.IsRequest, mysql.IsLogin:
		return shapeRequest
	case mysql.IsGreeting:
		return shapeResponse
	case mysql.Maybe:
		return shapeMaybe
	}
	if d.isFrame(in.p, hint) {
		return shapeRequest
	}
	return shapeNo
}

// again finds the place in a stream of which bytes are lost.
func (d *mysqlDriver) again(c *Conn, in *input) shape {
	st := d.state(c, in)
	if st.compress {
		return d.againFrame(st, in)
	}
	if len(in.p) < mysql.HeaderLen {
		return shapeMaybe
	}
	if !in.server {
		switch mysql.Check(in.p, true) {
		case mysql.IsRequest, mysql.IsLogin:
		case mysql.Maybe:
			return shapeMaybe
		default:
			return shapeNo
		}
		st.more[Client] = false
		if st.phase == mysqlInfile {
			st.phase = mysqlIdle
		}
		return shapeRequest
	}
	s := mysql.CheckResponse(in.p)
	switch {
	case s == mysql.IsResponse || mysql.Check(in.p, false) == mysql.IsGreeting:
		st.more[Server], st.phase, st.progress = false, mysqlIdle, false
		return shapeResponse
	case s == mysql.Maybe:
		return shapeMaybe
	case st.phase == mysqlAuth:
		return endOfLogin(in.p)
	}
	return shapeNo
}

// endOfLogin says whether p is the last packet of a login.
func endOfLogin(p []byte) shape {
	const most = 1 << 10
	if len(p) < mysql.HeaderLen+1 {
		return shapeMaybe
	}
	size, seq := mysql.Header(p)
	switch {
	case seq < 2 || seq > 15 || size < minOK || size > most || len(p) > mysql.HeaderLen+size, p[4] != mysql.OKByte && p[4] != mysql.ErrByte:
		return shapeNo
	case len(p) < mysql.HeaderLen+size:
		return shapeMaybe
	}
	return shapeResponse
}

// state returns what is known of the connection.
func (d *mysqlDriver) state(c *Conn, in *input) *mysqlState {
	if st, ok := c.state.(*mysqlState); ok {
		return st
	}
	st := &mysqlState{}
	if s := mysql.Check(in.p, true); !in.server && s != mysql.IsRequest && s != mysql.IsLogin {
		st.compress = d.isFrame(in.p, true)
	}
	c.state = st
	return st
}

func (d *mysqlDriver) step(c *Conn, in *input) (int, error) {
	st := d.state(c, in)
	if st.compress {
		return d.frame(c, st, in)
	}
	return d.packet(c, st, in, in.p, in.cut)
}

// packet reads the packet at the beginning of p, or several rows. It asks for more with 0.
func (d *mysqlDriver) packet(c *Conn, st *mysqlState, in *input, p []byte, cut bool) (int, error) {
	if len(p) < mysql.HeaderLen {
		return orNothing(p, cut), nil
	}
	size, seq := mysql.Header(p)
	side := sideOf(in)
	if st.more[side] {
		st.more[side] = size == mysql.MaxPayload
		if in.server {
			st.seq = seq
			st.bytes += int64(mysql.HeaderLen + size)
		}
		return mysql.HeaderLen + size, nil
	}
	var n int
	var err error
	switch {
	case !in.server:
		n, err = d.fromClient(c, st, in, p, cut)
	case st.phase == mysqlColumns || st.phase == mysqlTail || st.phase == mysqlRows:
		return d.run(c, st, in, p, cut)
	default:
		n, err = d.fromServer(c, st, in, p, cut)
	}
	st.more[side] = n > 0 && size == mysql.MaxPayload
	return n, err
}

// orNothing passes over p when no more will come, else asks for more.
func orNothing(p []byte, cut bool) int {
	if cut {
		return len(p)
	}
	return 0
}

// fromClient reads a packet of the client.
func (d *mysqlDriver) fromClient(c *Conn, st *mysqlState, in *input, p []byte, cut bool) (int, error) {
	size, seq := mysql.Header(p)
	whole := mysql.HeaderLen + size
	switch {
	case st.phase == mysqlInfile: // the file, up to an empty packet
		return whole, nil
	case seq == 1 && (st.greeted || mysql.Check(p, true) == mysql.IsLogin):
		if len(p) < whole && !cut {
			return 0, nil
		}
		return whole, d.loginRequest(c, st, in, p[mysql.HeaderLen:min(whole, len(p))], whole)
	case seq != 0: // secrets of a login
		return whole, nil
	}
	if st.phase == mysqlAuth {
		st.phase = mysqlIdle // its end was not seen
		if st.caps&(mysql.CapCompress|mysql.CapZstd) != 0 && mysql.Check(p, true) != mysql.IsRequest {
			st.compress = true
			return d.frame(c, st, in)
		}
	}
	if size == 0 {
		return 0, mysql.ErrMalformed
	}
	want := whole
	if len(p) > mysql.HeaderLen {
		want = min(whole, mysql.HeaderLen+wanted(p[mysql.HeaderLen:]))
	}
	if len(p) < want && !cut {
		return 0, nil
	}
	return whole, d.request(c, st, in, p[mysql.HeaderLen:min(whole, len(p))], whole)
}

// wanted is how many bytes of a command have to be there: values may be long, and tell nothing.
func wanted(body []byte) int {
	const head, flags, counted = 10, 5, 1 << 3
	switch mysql.Command(body[0]) {
	case mysql.ComStmtLongData, mysql.ComStmtBulkExecute:
		return head
	case mysql.ComStmtExecute:
		if len(body) <= flags || body[flags]&counted == 0 {
			return head
		}
	}
	return mysql.MaxPayload
}

// loginRequest handles a login, or a demand for TLS.
func (d *mysqlDriver) loginRequest(c *Conn, st *mysqlState, in *input, body []byte, whole int) error {
	t, m := d.t, &d.login
	st.greeted = false
	err := mysql.ParseLogin(body, m)
	if err == mysql.ErrMalformed || err != nil && len(m.User) == 0 {
		return err
	}
	if m.SSL {
		c.become(TLS)
		return nil
	}
	st.known, st.caps = mysql.CapsKnown, m.Caps
	if st.serverCaps != 0 {
		st.caps &= st.serverCaps
	}
	pd := c.newPending(in)
	ex := &pd.ex
	pd.aux = mysqlLogin
	ex.RequestType = "LOGIN"
	ex.RequestBytes = int64(whole)
	d.sql.login(ex, m.User, m.Database)
	st.db = ex.RequestDomain
	it := m.Attributes()
	for key, value, ok := it.Next(); ok; key, value, ok = it.Next() {
		switch string(key) {
		case "_client_name":
			t.attribute(ex, "client_name", value)
		case "_client_version":
			t.attribute(ex, "client_version", value)
		case "program_name":
			t.attribute(ex, "program_name", value)
		}
	}
	if st.version != "" {
		t.attribute(ex, "server_version", []byte(st.version))
	}
	st.phase = mysqlAuth
	c.push(pd)
	return nil
}

// request handles a command.
func (d *mysqlDriver) request(c *Conn, st *mysqlState, in *input, body []byte, whole int) error {
	m := &d.req
	if err := mysql.ParseRequest(body, st.caps, st.known, m); err != nil {
		return err
	}
	pd := c.newPending(in)
	ex := &pd.ex
	pd.aux = uint64(m.Command)
	ex.RequestType = m.Command.String()
	ex.RequestBytes = int64(whole)
	ex.RequestDomain = st.db
	ex.RequestID = m.Statement
	d.fill(c, st, ex)
	if !m.Command.Answered() {
		ex.Status = StatusOK
		c.oneWay(pd)
		return nil
	}
	if m.Command == mysql.ComChangeUser && st.phase == mysqlIdle {
		st.phase = mysqlAuth
	}
	c.push(pd)
	return nil
}

// fill fills in what the command in d.req is about.
func (d *mysqlDriver) fill(c *Conn, st *mysqlState, ex *Exchange) {
	t, m := d.t, &d.req
	it := m.Attributes()
	for key, value, ok := it.Next(); ok; key, value, ok = it.Next() {
		t.contextField(ex, key, value)
	}
	switch m.Command {
	case mysql.ComQuery, mysql.ComStmtPrepare:
		d.sql.statement(ex, m.Text, sqltext.MySQL)
	case mysql.ComStmtExecute, mysql.ComStmtBulkExecute:
		id := uint32(m.Statement)
		if m.Statement == mysql.Last {
			ex.RequestID = -1
			if last := c.last; last != nil && last.aux == uint64(mysql.ComStmtPrepare) { // not answered yet
				ex.RequestResource, ex.Endpoint = last.ex.RequestResource, last.ex.Endpoint
				return
			}
			id = st.last
		}
		s := st.stmts.take(id)
		s.run(ex)
		if s.params >= 0 {
			d.sql.buf = strconv.AppendInt(d.sql.buf[:0], int64(s.params), 10)
			t.attribute(ex, "statement_parameters", d.sql.buf)
		}
	case mysql.ComStmtClose:
		st.stmts.drop(uint32(m.Statement))
	case mysql.ComResetConnection:
		st.stmts.clear()
	case mysql.ComChangeUser:
		st.stmts.clear()
		d.sql.login(ex, m.Text, nil)
	default:
		ex.RequestResource = t.text(m.Text, t.o.MaxText)
	}
}

package l7

import (
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/postgresql"
	"github.com/flowlake/flowlake/collector/l7/sqltext"
)

// pgDriver speaks PostgreSQL.
type pgDriver struct {
	t     *Tracker
	sql   sqlReader
	text  Exchange // filled in for statements that are prepared
	start postgresql.Startup
	err   postgresql.Error
}

// What pending.aux says of a request. Its key is the number of its group: the messages up to a Sync, which the server
// answers, whatever goes wrong, with one ReadyForQuery.
const (
	pgStartup  = iota
	pgQuery    // ends with its group
	pgExecute  // ends with a CommandComplete or the like
	pgPrepare  // a Parse that is not run in the same group; ends with its group or a ParseComplete
	pgFunction // ends with its group
)

// pgState is what the driver knows of a connection.
type pgState struct {
	db         string
	stmts      sqlStatements[string]
	unnamed    sqlStatement            // the statement without a name
	portals    map[string]sqlStatement // those with a name
	portal     sqlStatement            // the portal without one
	encryption byte                    // the answer to a demand for encryption comes next: S or G says yes

	// The request that is coming together: its first message, and what it has been up to now.
	open    bool
	parsed  bool // it has a Parse
	bound   bool // it has a Bind
	atNanos int64
	seq     uint32
	bytes   int64
	parse   sqlStatement

	group uint64 // Syncs and the like of the client
	done  uint64 // ReadyForQuerys of the server

	answered bool  // the server has been heard
	shaky    bool  // the place in what it sends was lost: only the first message of a response begins one
	rows     int64 // DataRows of the response in progress
	received int64 // its bytes
}

const maxPortals = 64

func newPostgreSQLDriver(t *Tracker) driver {
	d := &pgDriver{t: t, sql: sqlReader{t: t}}
	resetExchange(&d.text)
	return d
}

func pgStateOf(c *Conn) *pgState {
	st, ok := c.state.(*pgState)
	if !ok {
		st = &pgState{}
		c.state = st
	}
	return st
}

func (d *pgDriver) check(c *Conn, in *input, _ bool) shape {
	if c.Proto == PostgreSQL {
		return d.again(c, in)
	}
	switch postgresql.CheckClient(in.p) {
	case postgresql.IsRequest:
		return shapeRequest
	case postgresql.Maybe:
		return shapeMaybe
	}
	if postgresql.CheckServer(in.p) == postgresql.IsResponse {
		return shapeResponse
	}
	return shapeNo
}

// again finds the place in a stream of which bytes are lost.
func (d *pgDriver) again(c *Conn, in *input) shape {
	st := pgStateOf(c)
	if in.server && st.encryption != 0 && len(in.p) == 1 {
		return shapeResponse
	}
	switch postgresql.Again(in.p, in.server) {
	case postgresql.IsRequest:
		st.open, st.parsed = false, false
		return shapeRequest
	case postgresql.IsResponse:
		if st.shaky = st.answered; st.shaky && c.first != nil && (c.first.begun || c.first != c.last) {
			c.uncertain = true // the ends of responses may be among what is lost
		}
		return shapeResponse
	case postgresql.Maybe:
		return shapeMaybe
	}
	return shapeNo
}

func (d *pgDriver) step(c *Conn, in *input) (int, error) {
	st := pgStateOf(c)
	if in.server && st.encryption != 0 {
		return d.encryption(c, st, in)
	}
	if !in.server && in.p[0] == 0 {
		return d.first(c, st, in)
	}
	if len(in.p) < postgresql.HeaderLen {
		return orNothing(in.p, in.cut), nil
	}
	typ, whole := postgresql.Header(in.p)
	if whole == 0 {
		return 0, postgresql.ErrMalformed
	}
	if pd := c.first; pd != nil && pd.begun && pd.deadline-in.atNanos < d.t.timeouts[PostgreSQL]/2 {
		c.touch(pd, in.atNanos)
	}
	want := whole
	switch {
	case typ == postgresql.CopyData || typ == postgresql.Password && !in.server || typ == postgresql.DataRow && in.server:
		return d.run(c, st, in, typ), nil
	case in.server && (typ == postgresql.RowDescription || typ == postgresql.ParameterDesc):
		want = postgresql.HeaderLen
	case !in.server && typ == postgresql.Bind:
		const names = 512
		want = min(whole, names)
	case !in.server && typ == postgresql.FunctionCall:
		want = postgresql.HeaderLen
	}
	if len(in.p) < want && !in.cut {
		return 0, nil
	}
	body := in.p[postgresql.HeaderLen:min(whole, len(in.p))]
	if in.server {
		st.answered = true
		return whole, d.fromServer(c, st, in, typ, body, whole)
	}
	return whole, d.fromClient(c, st, in, typ, body, whole)
}

// run passes over messages of a type that comes in great numbers and is only counted.
func (d *pgDriver) run(c *Conn, st *pgState, in *input, typ byte) (n int) {
	rows := int64(0)
	for len(in.p)-n >= postgresql.HeaderLen {
		t, whole := postgresql.Header(in.p[n:])
		if t != typ || whole == 0 {
			break
		}
		n += whole
		rows++
	}
	if in.server {
		st.answered = true
		if pd := d.turn(c, st, in, typ); pd != nil {
			if !pd.begun {
				st.rows, st.received = 0, 0
			}
			c.begin(pd, in).Status = StatusOK
			st.received += int64(n)
			if typ == postgresql.DataRow {
				st.rows += rows
			}
		}
	} else if typ == postgresql.CopyData && c.last != nil {
		c.last.ex.RequestBytes += int64(n)
	}
	return n
}

// encryption reads the answer to a demand for encryption: a single byte, or an error.
func (d *pgDriver) encryption(c *Conn, st *pgState, in *input) (int, error) {
	asked := st.encryption
	st.encryption = 0
	switch b := in.p[0]; {
	case b == asked && b == 'S':
		c.become(TLS)
	case b == asked:
		c.stop()
	case b != 'N':
		return 0, postgresql.ErrMalformed // an error of a server that knows nothing of it; the client connects anew
	}
	return 1, nil
}

// first reads the first message of a client.
func (d *pgDriver) first(c *Conn, st *pgState, in *input) (int, error) {
	p := in.p
	if len(p) < postgresql.StartupHeaderLen {
		return orNothing(p, in.cut), nil
	}
	code, whole := postgresql.StartupHeader(p)
	if whole == 0 {
		return 0, postgresql.ErrMalformed
	}
	if len(p) < whole && !in.cut {
		return 0, nil
	}
	t, m := d.t, &d.start
	if err := postgresql.ParseStartup(p[:min(whole, len(p))], m); err != nil && len(m.User) == 0 {
		return 0, err
	}
	switch code {
	case postgresql.CodeSSL:
		st.encryption = 'S'
		return whole, nil
	case postgresql.CodeGSS:
		st.encryption = 'G'
		return whole, nil
	}
	pd := c.newPending(in)
	ex := &pd.ex
	ex.RequestBytes = int64(whole)
	if code == postgresql.CodeCancel {
		ex.RequestType, ex.RequestID, ex.Status = "CANCEL", int64(m.PID), StatusOK
		c.oneWay(pd)
		return whole, nil
	}
	database := m.Database
	if len(database) == 0 {
		database = m.User
	}
	ex.RequestType = "STARTUP"
	pd.aux, pd.key = pgStartup, st.group
	d.sql.login(ex, m.User, database)
	t.attribute(ex, "application_name", m.Application)
	st.db = ex.RequestDomain
	st.group++
	c.push(pd)
	return whole, nil
}

// fromClient handles a message of the client.
func (d *pgDriver) fromClient(c *Conn, st *pgState, in *input, typ byte, body []byte, whole int) error {
	if typ == postgresql.CopyDone || typ == postgresql.CopyFail {
		return nil
	}
	if !st.open {
		st.begin(in)
	}
	st.bytes += int64(whole)
	switch typ {
	case postgresql.Query:
		pd := d.request(c, st, in, pgQuery, "QUERY")
		d.sql.statement(&pd.ex, postgresql.ParseQuery(body), sqltext.PostgreSQL)
		st.group++
		c.push(pd)
	case postgresql.Parse:
		if st.parsed && !st.bound { // that one is for later
			st.bytes -= int64(whole)
			d.prepared(c, st, in)
			st.begin(in)
			st.bytes = int64(whole)
		}
		return d.prepare(st, body)
	case postgresql.Bind:
		st.bound = true
		return d.bind(st, body)
	case postgresql.Execute:
		portal, err := postgresql.ParseExecute(body)
		if err != nil {
			return err
		}
		d.execute(c, st, in, portal)
	case postgresql.Close:
		kind, name, err := postgresql.ParseName(body)
		if err != nil {
			return err
		}
		if kind == 'S' {
			st.stmts.drop(string(name))
		} else {
			delete(st.portals, string(name))
		}
	case postgresql.Flush:
		d.prepared(c, st, in)
	case postgresql.Sync:
		d.prepared(c, st, in)
		st.open = false
		st.group++
	case postgresql.FunctionCall:
		pd := d.request(c, st, in, pgFunction, "FUNCTION_CALL")
		st.group++
		c.push(pd)
	case postgresql.Terminate:
		pd := d.request(c, st, in, 0, "TERMINATE")
		pd.ex.Status = StatusOK
		c.oneWay(pd)
	case postgresql.Describe:
	default:
		return postgresql.ErrMalformed
	}
	return nil
}

// begin says that the next request begins with in.
func (st *pgState) begin(in *input) {
	st.open, st.parsed, st.bound = true, false, false
	st.atNanos, st.seq, st.bytes = in.atNanos, in.seq, 0
}

// request returns a request made of the messages that have come together.
func (d *pgDriver) request(c *Conn, st *pgState, in *input, kind uint64, name string) *pending {
	pd := c.newPending(in)
	ex := &pd.ex
	ex.StartNanos, ex.EndNanos, ex.RequestSeq = st.atNanos, st.atNanos, st.seq
	ex.RequestType, ex.RequestDomain, ex.RequestBytes = name, st.db, st.bytes
	pd.aux, pd.key = kind, st.group
	st.open, st.parsed = false, false
	return pd
}

// prepare handles a Parse.
func (d *pgDriver) prepare(st *pgState, body []byte) error {
	name, sql, err := postgresql.ParseParse(body)
	if err != nil {
		return err
	}
	ex := &d.text
	resetExchange(ex)
	d.sql.statement(ex, sql, sqltext.PostgreSQL)
	st.parse.remember(ex)
	st.parse.params = -1
	st.parsed = true
	if len(name) == 0 {
		st.unnamed = st.parse
	} else {
		st.stmts.put(string(name), st.parse)
	}
	return nil
}

// prepared handles the end of messages among which there was a Parse but no Execute.
func (d *pgDriver) prepared(c *Conn, st *pgState, in *input) {
	if !st.open || !st.parsed {
		return
	}
	pd := d.request(c, st, in, pgPrepare, "PARSE")
	st.parse.run(&pd.ex)
	c.push(pd)
}

// bind handles a Bind.
func (d *pgDriver) bind(st *pgState, body []byte) error {
	portal, name, params, err := postgresql.ParseBind(body)
	if err != nil {
		return err
	}
	var s sqlStatement
	if len(name) == 0 {
		s = st.unnamed
		st.unnamed.forgetContext()
	} else {
		s = st.stmts.take(string(name))
	}
	s.params = params
	switch {
	case len(portal) == 0:
		st.portal = s
	case len(st.portals) < maxPortals:
		if st.portals == nil {
			st.portals = map[string]sqlStatement{}
		}
		st.portals[string(portal)] = s
	}
	return nil
}

// execute handles an Execute.
func (d *pgDriver) execute(c *Conn, st *pgState, in *input, portal []byte) {
	pd := d.request(c, st, in, pgExecute, "EXECUTE")
	s := &st.portal
	var named sqlStatement
	if len(portal) > 0 {
		named = st.portals[string(portal)]
		s = &named
	}
	s.run(&pd.ex)
	if len(portal) > 0 && named.resource != "" {
		st.portals[string(portal)] = named
	}
	if s.params > 0 {
		d.sql.buf = strconv.AppendInt(d.sql.buf[:0], int64(s.params), 10)
		d.t.attribute(&pd.ex, "statement_parameters", d.sql.buf)
	}
	c.push(pd)
}

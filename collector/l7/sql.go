package l7

import "github.com/flowlake/flowlake/collector/l7/sqltext"

// sqlReader makes the request of an exchange out of SQL, for the drivers of databases.
type sqlReader struct {
	t    *Tracker
	stmt sqltext.Statement
	buf  []byte
}

// statement fills in resource, endpoint and trace context of ex.
func (r *sqlReader) statement(ex *Exchange, sql []byte, d sqltext.Dialect) {
	t, s := r.t, &r.stmt
	s.Parse(sql, d, t.o.MaxText)
	if t.o.KeepLiterals && !s.Secret {
		ex.RequestResource = t.once(sql, t.o.MaxText)
	} else {
		ex.RequestResource = t.text(s.Text, t.o.MaxText)
	}
	r.buf = s.AppendEndpoint(r.buf[:0])
	ex.Endpoint = t.text(r.buf, t.o.MaxText)
	it := s.Fields()
	for key, value, ok := it.Next(); ok; key, value, ok = it.Next() {
		r.buf = sqltext.AppendUnescaped(r.buf[:0], value)
		t.contextField(ex, key, r.buf)
	}
}

// message keeps what a server says about an error; repeats says that it holds values between quotes.
func (r *sqlReader) message(text []byte, repeats bool, quote byte) string {
	t := r.t
	if repeats && !t.o.KeepLiterals {
		r.buf = sqltext.AppendMasked(r.buf[:0], text, quote)
		text = r.buf
	}
	return t.text(text, t.o.MaxText)
}

// login fills in who logs in where.
func (r *sqlReader) login(ex *Exchange, user, database []byte) {
	t := r.t
	r.buf = append(append(r.buf[:0], "Login username: "...), user...)
	if len(database) > 0 {
		r.buf = append(append(r.buf, " db: "...), database...)
	}
	ex.RequestResource = t.text(r.buf, t.o.MaxText)
	ex.Endpoint = ex.RequestResource
	ex.RequestDomain = t.text(database, t.o.MaxText)
	t.attribute(ex, "db_user", user)
}

// sqlStatement is what a connection remembers of a prepared statement.
type sqlStatement struct {
	resource, endpoint string
	params             int
	// The trace context of its text is that of the request that prepared it: it goes with its first run only.
	traceID, spanID, parentSpanID string
	context                       contextRank
}

// remember makes a prepared statement of an exchange's request.
func (s *sqlStatement) remember(ex *Exchange) {
	*s = sqlStatement{resource: ex.RequestResource, endpoint: ex.Endpoint,
		traceID: ex.TraceID, spanID: ex.SpanID, parentSpanID: ex.ParentSpanID, context: ex.context}
}

// run fills in the request that runs the statement.
func (s *sqlStatement) run(ex *Exchange) {
	ex.RequestResource, ex.Endpoint = s.resource, s.endpoint
	if s.context != rankNone && ex.context == rankNone {
		ex.TraceID, ex.SpanID, ex.ParentSpanID, ex.context = s.traceID, s.spanID, s.parentSpanID, s.context
	}
	s.forgetContext()
}

func (s *sqlStatement) forgetContext() {
	s.traceID, s.spanID, s.parentSpanID, s.context = "", "", "", rankNone
}

// Bounds of what a connection remembers.
const (
	maxStatements     = 256
	maxStatementBytes = 64 << 10
)

// sqlStatements are the prepared statements of a connection. When there are too many, any of them is forgotten.
type sqlStatements[K comparable] struct {
	m     map[K]sqlStatement
	bytes int
}

func (s *sqlStatements[K]) put(id K, st sqlStatement) {
	s.drop(id)
	for len(s.m) >= maxStatements || len(s.m) > 0 && s.bytes+len(st.resource) > maxStatementBytes {
		for id := range s.m {
			s.drop(id)
			break
		}
	}
	if s.m == nil {
		s.m = map[K]sqlStatement{}
	}
	s.m[id] = st
	s.bytes += len(st.resource)
}

func (s *sqlStatements[K]) drop(id K) {
	if st, ok := s.m[id]; ok {
		s.bytes -= len(st.resource)
		delete(s.m, id)
	}
}

// take returns a statement that is to be run; with its trace context the first time. One that is not known has -1 parameters.
func (s *sqlStatements[K]) take(id K) sqlStatement {
	st, ok := s.m[id]
	if !ok {
		return sqlStatement{params: -1}
	}
	if st.context != rankNone {
		later := st
		later.forgetContext()
		s.m[id] = later
	}
	return st
}

func (s *sqlStatements[K]) clear() {
	clear(s.m)
	s.bytes = 0
}

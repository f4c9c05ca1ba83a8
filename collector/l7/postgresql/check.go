package postgresql

import (
	"strings"

	"github.com/flowlake/flowlake/collector/l7/sqltext"
	"github.com/flowlake/flowlake/collector/l7/wire"
)

// Shape is what bytes look like.
type Shape uint8

// Shapes.
const (
	No         Shape = iota
	Maybe            // more bytes would tell
	IsRequest        // messages of the client
	IsResponse       // messages of the server
)

// CheckClient says whether p begins with a message of the client.
func CheckClient(p []byte) Shape {
	if len(p) == 0 {
		return No
	}
	if p[0] == 0 {
		return checkStartup(p)
	}
	if p[0] != Query && p[0] != Parse && p[0] != Bind {
		return No
	}
	if len(p) < HeaderLen {
		return Maybe
	}
	typ, whole := Header(p)
	const longest = 1 << 24
	if whole == 0 || whole > longest {
		return No
	}
	body := p[HeaderLen:min(len(p), whole)]
	if typ == Bind {
		return checkBind(p, body, whole)
	}
	sql := body
	if typ == Parse {
		r := wire.NewReader(body)
		name := r.CString()
		if len(name) > 64 || !printable(name) {
			return No
		}
		if !r.OK() {
			return cutShape(p, whole)
		}
		sql = r.Rest()
	}
	if sqltext.Verb(sql, sqltext.PostgreSQL) == "" {
		if len(p) < whole && len(sql) < 10 {
			return Maybe
		}
		return No
	}
	if len(p) >= whole {
		if typ == Query && (body[len(body)-1] != 0 || len(p) > whole && !follows(p[whole:])) {
			return No
		}
		if typ == Parse && len(p) > whole && !follows(p[whole:]) {
			return No
		}
	}
	return IsRequest
}

// cutShape is what to say of a message that goes well as far as it is there.
func cutShape(p []byte, whole int) Shape {
	if len(p) < whole {
		return Maybe
	}
	return No
}

func checkStartup(p []byte) Shape {
	if len(p) < StartupHeaderLen {
		if len(p) < 4 || p[1] != 0 || p[2] == 0 && p[3] < StartupHeaderLen {
			return No
		}
		for i, b := range p[4:] { // the code may begin with 3 or 1234
			if i == 0 && b != 0 && b != 1234>>8 || i == 1 && b != 3 && b != 1234&0xff || i == 2 && b != 0 && b != 5678>>8 {
				return No
			}
		}
		return Maybe
	}
	code, whole := StartupHeader(p)
	if whole == 0 || len(p) > whole {
		return No
	}
	if code == CodeSSL || code == CodeGSS {
		return IsRequest
	}
	var m Startup
	switch err := ParseStartup(p, &m); {
	case err == ErrMalformed:
		return No
	case code == CodeCancel && len(p) == whole, len(m.User) > 0:
		return IsRequest
	case len(p) < whole:
		return Maybe
	}
	return No
}

// checkBind: every length in a Bind has to fit, and what follows it too.
func checkBind(p, body []byte, whole int) Shape {
	if len(p) < whole {
		return No // too little to be sure of
	}
	r := wire.NewReader(body)
	portal, statement := r.CString(), r.CString()
	if len(portal) > 64 || len(statement) > 64 || !printable(portal) || !printable(statement) {
		return No
	}
	for range r.U16() {
		if r.U16() > 1 {
			return No
		}
	}
	for range r.U16() {
		if n := int(int32(r.U32())); n >= 0 {
			r.Skip(n)
		} else if n != -1 {
			return No
		}
	}
	for range r.U16() {
		if r.U16() > 1 {
			return No
		}
	}
	if !r.OK() || r.Len() != 0 || len(p) == whole || !follows(p[whole:]) {
		return No
	}
	if typ := p[whole]; typ != Execute && typ != Describe {
		return No
	}
	return IsRequest
}

// follows says whether p begins with further messages of the client, up to its end.
func follows(p []byte) bool {
	_, ok := walk(p, clientTypes)
	return ok
}

// walk passes over messages of these types and returns the last one that is there as a whole. The last of all may be cut.
func walk(p []byte, types string) (last []byte, ok bool) {
	for len(p) >= HeaderLen {
		typ, whole := Header(p)
		if whole == 0 || strings.IndexByte(types, typ) < 0 {
			return last, false
		}
		if whole > len(p) {
			return last, true
		}
		last, p = p[:whole], p[whole:]
	}
	return last, len(p) == 0 || strings.IndexByte(types, p[0]) >= 0
}

// CheckServer says whether p is a whole answer of the server: messages of it, the last of which says that it is ready for
// another query.
func CheckServer(p []byte) Shape {
	const shortest = 12
	if len(p) < shortest || strings.IndexByte("123TtnCIERSN", p[0]) < 0 {
		return No
	}
	last, ok := walk(p, serverTypes)
	if !ok || len(last) != HeaderLen+1 || len(last) > 0 && (last[0] != ReadyForQuery || &last[HeaderLen] != &p[len(p)-1]) {
		return No
	}
	if s := last[HeaderLen]; s != 'I' && s != 'T' && s != 'E' {
		return No
	}
	return IsResponse
}

// Again says whether p begins with a message of one side, on a connection that is PostgreSQL's: one that is whole, or the
// beginning of one that may be long.
func Again(p []byte, server bool) Shape {
	types, long, found := clientTypes, "QPBd", IsRequest
	if server {
		types, long, found = serverTypes, "TDd12", IsResponse
	}
	if s := CheckClient(p); !server && s != No {
		return s
	}
	switch {
	case len(p) > 0 && strings.IndexByte(types, p[0]) < 0:
		return No
	case len(p) < HeaderLen:
		return Maybe
	}
	return again(p, server, types, long, found)
}

func again(p []byte, server bool, types, long string, found Shape) Shape {
	const likely, short = 1 << 20, 1 << 12
	typ, whole := Header(p)
	if whole == 0 || whole > likely {
		return No
	}
	if n := fixed(typ, server); n > 0 && whole != n {
		return No
	}
	if server && (typ == ParameterStatus && whole < 8 || typ == ErrorResponse && len(p) > HeaderLen && p[HeaderLen] != 'S') {
		return No // a Sync, an Execute
	}
	if whole > len(p) && strings.IndexByte(long, typ) < 0 {
		if whole <= short {
			return Maybe
		}
		return No
	}
	if _, ok := walk(p, types); !ok {
		return No
	}
	return found
}

// fixed is the length of messages that have always the same, 0 for others.
func fixed(typ byte, server bool) int {
	if server {
		switch typ {
		case ReadyForQuery:
			return HeaderLen + 1
		case ParseComplete, BindComplete, CloseComplete, NoData, EmptyQuery, PortalSuspended, CopyDone:
			return HeaderLen
		}
		return 0
	}
	switch typ {
	case Sync, Flush, Terminate, CopyDone:
		return HeaderLen
	}
	return 0
}

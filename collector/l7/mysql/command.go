package mysql

import (
	"github.com/flowlake/flowlake/collector/l7/sqltext"
	"github.com/flowlake/flowlake/collector/l7/wire"
)

// Command is the first byte of a command ("Command Phase").
type Command uint8

// Commands that are told apart.
const (
	ComQuit            Command = 0x01
	ComInitDB          Command = 0x02
	ComQuery           Command = 0x03
	ComFieldList       Command = 0x04
	ComCreateDB        Command = 0x05
	ComDropDB          Command = 0x06
	ComRefresh         Command = 0x07
	ComStatistics      Command = 0x09
	ComProcessKill     Command = 0x0c
	ComPing            Command = 0x0e
	ComChangeUser      Command = 0x11
	ComBinlogDump      Command = 0x12
	ComStmtPrepare     Command = 0x16
	ComStmtExecute     Command = 0x17
	ComStmtLongData    Command = 0x18
	ComStmtClose       Command = 0x19
	ComStmtReset       Command = 0x1a
	ComSetOption       Command = 0x1b
	ComStmtFetch       Command = 0x1c
	ComBinlogDumpGTID  Command = 0x1e
	ComResetConnection Command = 0x1f
	ComStmtBulkExecute Command = 0xfa // MariaDB
)

var commandNames = [...]string{
	"COM_SLEEP", "COM_QUIT", "COM_INIT_DB", "COM_QUERY", "COM_FIELD_LIST", "COM_CREATE_DB", "COM_DROP_DB", "COM_REFRESH", "COM_SHUTDOWN",
	"COM_STATISTICS", "COM_PROCESS_INFO", "COM_CONNECT", "COM_PROCESS_KILL", "COM_DEBUG", "COM_PING", "COM_TIME", "COM_DELAYED_INSERT",
	"COM_CHANGE_USER", "COM_BINLOG_DUMP", "COM_TABLE_DUMP", "COM_CONNECT_OUT", "COM_REGISTER_SLAVE", "COM_STMT_PREPARE", "COM_STMT_EXECUTE",
	"COM_STMT_SEND_LONG_DATA", "COM_STMT_CLOSE", "COM_STMT_RESET", "COM_SET_OPTION", "COM_STMT_FETCH", "COM_DAEMON", "COM_BINLOG_DUMP_GTID",
	"COM_RESET_CONNECTION", "COM_CLONE",
}

// String is the command's name, "" for what a client does not send.
func (c Command) String() string {
	switch {
	case int(c) < len(commandNames) && c.Valid():
		return commandNames[c]
	case c == ComStmtBulkExecute:
		return "COM_STMT_BULK_EXECUTE"
	}
	return ""
}

// Valid says whether clients send it.
func (c Command) Valid() bool {
	switch c {
	case 0x00, 0x0b, 0x0f, 0x10, 0x14, 0x1d: // the server's own
		return false
	}
	return int(c) < len(commandNames) || c == ComStmtBulkExecute
}

// Answered says whether the server answers it.
func (c Command) Answered() bool { return c != ComQuit && c != ComStmtClose && c != ComStmtLongData }

// Request is a command with what it is about.
type Request struct {
	Command Command
	// Text is the statement, or the name of the database, table or user; that of a long one may be cut.
	Text []byte
	// Statement is the number of a prepared statement, -1 without one; Last is the last one that was prepared (MariaDB).
	Statement int64

	attrs attributes
}

// Last is the number that stands for the statement that was prepared last.
const Last = 1<<32 - 1

// Known tells what the capabilities of a connection are: a capture may begin behind its login.
type Known uint8

// Values of Known.
const (
	CapsUnknown Known = iota
	CapsKnown
)

// ParseRequest reads the payload of a command, of which p may be the beginning. caps are those of client and server.
func ParseRequest(p []byte, caps uint32, known Known, m *Request) error {
	*m = Request{Statement: -1}
	r := wire.NewReader(p)
	m.Command = Command(r.U8())
	if !r.OK() {
		return ErrShort
	}
	if !m.Command.Valid() {
		return ErrMalformed
	}
	switch m.Command {
	case ComQuery:
		m.query(r.Rest(), caps, known)
	case ComInitDB, ComCreateDB, ComDropDB, ComStmtPrepare:
		m.Text = r.Rest()
	case ComFieldList, ComChangeUser:
		m.Text = r.CString()
		return nil
	case ComStmtExecute:
		m.execute(&r, caps, known)
	case ComStmtBulkExecute, ComStmtLongData, ComStmtClose, ComStmtReset, ComStmtFetch:
		m.Statement = int64(r.U32LE())
	case ComProcessKill:
		m.Statement = -1
	}
	if !r.OK() {
		return ErrShort
	}
	return nil
}

// query reads the text of a COM_QUERY, before which there may be attributes. Without knowledge of the login, attributes are
// told by the number of their sets, which is always 1: no statement has this byte there.
func (m *Request) query(p []byte, caps uint32, known Known) {
	m.Text = p
	if known == CapsKnown && caps&CapQueryAttributes == 0 || len(p) < 2 {
		return
	}
	if known == CapsUnknown && (p[0] >= ' ' || p[1] != 1) {
		return
	}
	r := wire.NewReader(p)
	n, _ := lenenc(&r)
	lenenc(&r) // sets
	attrs := attributes{named: true}
	if n > 0 && !attrs.read(&r, n) || !r.OK() {
		return
	}
	if known == CapsUnknown && n > 0 && sqltext.Verb(r.Rest(), sqltext.MySQL) == "" {
		return
	}
	m.Text, m.attrs = r.Rest(), attrs
}

// execute reads the head of a COM_STMT_EXECUTE. Attributes stand among its parameters and have names, which the parameters
// have not.
func (m *Request) execute(r *wire.Reader, caps uint32, known Known) {
	const counted = 1 << 3 // PARAMETER_COUNT_AVAILABLE
	m.Statement = int64(r.U32LE())
	flags := r.U8()
	r.U32LE() // always 1
	if flags&counted == 0 || known == CapsKnown && caps&CapQueryAttributes == 0 {
		return
	}
	rest := *r
	n, _ := lenenc(&rest)
	attrs := attributes{named: true}
	if n > 0 && attrs.read(&rest, n) {
		m.attrs = attrs
	}
}

// attributes are values with names, in the format of a statement's parameters ("COM_QUERY": parameters).
type attributes struct {
	n      int
	named  bool
	nulls  []byte
	types  []byte // type, flags, and name of each
	values []byte
}

// read reads n of them and moves r behind them.
func (a *attributes) read(r *wire.Reader, n uint64) bool {
	const most = 1 << 10
	if n > most {
		return false
	}
	a.n = int(n)
	a.nulls = r.Bytes((a.n + 7) / 8)
	if r.U8() != 1 { // the types follow
		return false
	}
	from := r.Off
	for range a.n {
		r.Skip(2)
		r.Skip(lenencLen(r))
	}
	if !r.OK() {
		return false
	}
	a.types, a.values = r.P[from:r.Off], r.Rest()
	it := AttributeIter{a: *a, types: wire.NewReader(a.types), values: wire.NewReader(a.values)}
	for {
		if _, _, ok := it.Next(); !ok {
			break
		}
	}
	r.Skip(it.values.Off)
	return it.i == a.n && it.values.OK()
}

// AttributeIter walks over the attributes of a request.
type AttributeIter struct {
	a             attributes
	types, values wire.Reader
	i             int
}

// Attributes walks over the attributes that the client sent with the request; traceparent may be among them.
func (m *Request) Attributes() AttributeIter {
	return AttributeIter{a: m.attrs, types: wire.NewReader(m.attrs.types), values: wire.NewReader(m.attrs.values)}
}

// Next returns the next attribute; value is nil unless it is text.
func (it *AttributeIter) Next() (key, value []byte, ok bool) {
	if it.i >= it.a.n {
		return nil, nil, false
	}
	typ := uint8(it.types.U16LE())
	key = it.types.Bytes(lenencLen(&it.types))
	if it.a.nulls[it.i/8]&(1<<(it.i%8)) == 0 {
		value = readValue(&it.values, typ)
	}
	it.i++
	return key, value, it.types.OK() && it.values.OK()
}

// readValue passes over a value ("Binary Protocol Value") and returns it when it is text.
func readValue(r *wire.Reader, typ uint8) []byte {
	switch typ {
	case 0x01: // TINY
		r.Skip(1)
	case 0x02, 0x0d: // SHORT, YEAR
		r.Skip(2)
	case 0x03, 0x09, 0x04: // LONG, INT24, FLOAT
		r.Skip(4)
	case 0x08, 0x05: // LONGLONG, DOUBLE
		r.Skip(8)
	case 0x06: // NULL
	case 0x07, 0x0a, 0x0b, 0x0c: // TIMESTAMP, DATE, TIME, DATETIME
		r.Skip(int(r.U8()))
	default:
		return r.Bytes(lenencLen(r))
	}
	return nil
}

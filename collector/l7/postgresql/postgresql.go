// Package postgresql reads the messages of PostgreSQL's frontend/backend protocol, version 3, from bytes somebody else sent,
// without allocation. It knows messages, not connections. Sections are those of chapter 54 of the PostgreSQL documentation.
package postgresql

import (
	"encoding/binary"
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not what they are read as.
	ErrMalformed = errors.New("not a PostgreSQL message")
	// ErrShort is returned when the bytes end before what is asked for.
	ErrShort = errors.New("PostgreSQL message cut short")
)

// HeaderLen is the length of a message's header: its type and its length, which does not count the type (§54.1.1).
const HeaderLen = 5

// Header reads the header of a message, of which at least HeaderLen bytes must be there. whole is the length of the message
// with its header; 0 when it cannot be one.
func Header(p []byte) (typ byte, whole int) {
	const longest = 1 << 30
	n := binary.BigEndian.Uint32(p[1:])
	if n < 4 || n > longest {
		return p[0], 0
	}
	return p[0], int(n) + 1
}

// Types of messages of the client (§54.7).
const (
	Query        = 'Q'
	Parse        = 'P'
	Bind         = 'B'
	Describe     = 'D'
	Execute      = 'E'
	Close        = 'C'
	Flush        = 'H'
	Sync         = 'S'
	FunctionCall = 'F'
	Password     = 'p'
	CopyData     = 'd' // of either side
	CopyDone     = 'c' // of either side
	CopyFail     = 'f'
	Terminate    = 'X'
)

// Types of messages of the server.
const (
	Authentication   = 'R'
	ParameterStatus  = 'S'
	ReadyForQuery    = 'Z'
	RowDescription   = 'T'
	DataRow          = 'D'
	CommandComplete  = 'C'
	EmptyQuery       = 'I'
	PortalSuspended  = 's'
	ErrorResponse    = 'E'
	NoticeResponse   = 'N'
	Notification     = 'A'
	ParseComplete    = '1'
	BindComplete     = '2'
	CloseComplete    = '3'
	ParameterDesc    = 't'
	NoData           = 'n'
	CopyIn           = 'G'
	CopyOut          = 'H'
	CopyBoth         = 'W'
	BackendKey       = 'K'
	FunctionResponse = 'V'
	Negotiate        = 'v'
)

const (
	clientTypes = "QPBDECHSFpdcfX"
	serverTypes = "RSZTDCIsENA123tnGHWdcKVv"
)

// Codes of the messages that come before all others and have no type.
const (
	CodeStartup = 3 << 16 // and a minor version
	CodeCancel  = 1234<<16 | 5678
	CodeSSL     = 1234<<16 | 5679
	CodeGSS     = 1234<<16 | 5680
)

// Startup is the client's first message.
type Startup struct {
	Code                        uint32
	User, Database, Application []byte
	PID                         uint32 // of CodeCancel
}

// StartupHeaderLen is how many bytes its length and its code take.
const StartupHeaderLen = 8

// StartupHeader reads them; whole is 0 when this cannot be one.
func StartupHeader(p []byte) (code uint32, whole int) {
	const longest = 10000 // the server's limit
	n := binary.BigEndian.Uint32(p)
	code = binary.BigEndian.Uint32(p[4:])
	switch {
	case n < StartupHeaderLen || n > longest:
		return code, 0
	case (code == CodeSSL || code == CodeGSS) && n != StartupHeaderLen, code == CodeCancel && (n < 16 || n > 300):
		return code, 0
	case code != CodeSSL && code != CodeGSS && code != CodeCancel && code>>16 != CodeStartup>>16:
		return code, 0
	}
	return code, int(n)
}

// ParseStartup reads a first message, of which p may be the beginning.
func ParseStartup(p []byte, m *Startup) error {
	*m = Startup{}
	r := wire.NewReader(p)
	r.Skip(4)
	m.Code = r.U32()
	if m.Code == CodeCancel {
		m.PID = r.U32()
	}
	if !r.OK() {
		return ErrShort
	}
	if m.Code>>16 != CodeStartup>>16 {
		return nil
	}
	for r.Len() > 0 && r.Peek() != 0 {
		key, value := r.CString(), r.CString()
		if !r.OK() {
			return ErrShort
		}
		if !printable(key) || !printable(value) {
			return ErrMalformed
		}
		switch string(key) {
		case "user":
			m.User = value
		case "database":
			m.Database = value
		case "application_name":
			m.Application = value
		}
	}
	return nil
}

// ParseQuery reads the body of a Query: the text.
func ParseQuery(body []byte) []byte {
	r := wire.NewReader(body)
	return r.CString()
}

// ParseParse reads the body of a Parse: the statement's name, empty for the unnamed one, and its text.
func ParseParse(body []byte) (name, sql []byte, err error) {
	r := wire.NewReader(body)
	name = r.CString()
	if !r.OK() {
		return nil, nil, ErrShort
	}
	return name, r.CString(), nil
}

// ParseBind reads the body of a Bind: the names of portal and statement, and the number of parameters, -1 when that is cut off.
func ParseBind(body []byte) (portal, statement []byte, params int, err error) {
	r := wire.NewReader(body)
	portal, statement = r.CString(), r.CString()
	if !r.OK() {
		return nil, nil, 0, ErrShort
	}
	r.Skip(2 * int(r.U16()))
	if params = int(r.U16()); !r.OK() {
		params = -1
	}
	return portal, statement, params, nil
}

// ParseExecute reads the body of an Execute: the portal.
func ParseExecute(body []byte) (portal []byte, err error) {
	r := wire.NewReader(body)
	if portal = r.CString(); !r.OK() {
		return nil, ErrShort
	}
	return portal, nil
}

// ParseName reads the body of a Describe or Close: S and a statement's name, or P and a portal's.
func ParseName(body []byte) (kind byte, name []byte, err error) {
	r := wire.NewReader(body)
	kind, name = r.U8(), r.CString()
	if !r.OK() {
		return 0, nil, ErrShort
	}
	return kind, name, nil
}

// ParseTag reads the body of a CommandComplete: the tag, and the number of rows at its end, -1 without one.
func ParseTag(body []byte) (tag []byte, rows int64) {
	r := wire.NewReader(body)
	tag = r.CString()
	i := len(tag)
	for i > 0 && tag[i-1] >= '0' && tag[i-1] <= '9' {
		i--
	}
	if i == len(tag) || i == 0 || tag[i-1] != ' ' || len(tag)-i > 18 {
		return tag, -1
	}
	for _, b := range tag[i:] {
		rows = rows*10 + int64(b-'0')
	}
	return tag, rows
}

// ParseAuthentication reads the body of an Authentication: 0 says that the client is in.
func ParseAuthentication(body []byte) (code uint32, err error) {
	r := wire.NewReader(body)
	if code = r.U32(); !r.OK() {
		return 0, ErrShort
	}
	return code, nil
}

// ParseParameter reads the body of a ParameterStatus.
func ParseParameter(body []byte) (name, value []byte) {
	r := wire.NewReader(body)
	return r.CString(), r.CString()
}

// ParseNotification reads the body of a Notification: the channel.
func ParseNotification(body []byte) (channel []byte) {
	r := wire.NewReader(body)
	r.Skip(4) // the process
	return r.CString()
}

// Error is the body of an ErrorResponse or NoticeResponse (§54.8).
type Error struct {
	Severity []byte
	State    []byte // SQLSTATE, 5 characters
	Message  []byte
}

// ParseError reads it; fields that are cut off are absent or short.
func ParseError(body []byte, m *Error) error {
	*m = Error{}
	r := wire.NewReader(body)
	for r.Len() > 0 {
		typ := r.U8()
		if typ == 0 {
			break
		}
		value := r.CString()
		switch typ {
		case 'S':
			m.Severity = value
		case 'V': // not translated
			m.Severity = value
		case 'C':
			m.State = value
		case 'M':
			m.Message = value
		}
	}
	if len(m.State) == 0 && len(m.Message) == 0 {
		return ErrMalformed
	}
	return nil
}

// ClientFault says whether an error is the client's: its statement is wrong, or it may not or cannot do that with this data.
// Else the server failed: overload, storage, deadlocks, shutdown (appendix A, by class).
func (m *Error) ClientFault() bool {
	if len(m.State) < 5 {
		return false
	}
	switch string(m.State) {
	case "57014", "08P01", "55006", "55000": // cancelled, protocol violation, object in use or not in that state
		return true
	}
	switch string(m.State[:2]) {
	case "02", "03", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26", "27", "28", "2B", "2D", "2F",
		"34", "38", "39", "3B", "3D", "3F", "42", "44", "54", "P0":
		return true
	}
	return false
}

// Repeats says whether the message repeats, in quotes, values or the statement.
func (m *Error) Repeats() bool {
	return len(m.State) == 5 && (string(m.State[:2]) == "22" || string(m.State) == "42601")
}

func printable(p []byte) bool {
	for _, b := range p {
		if b < ' ' || b == 0x7f {
			return false
		}
	}
	return true
}
